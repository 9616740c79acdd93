"""Wrappers that are no part of a model: `torch.compile`'s, DataParallel's. What is in them is saved in their place."""

from __future__ import annotations

import sys
from typing import Any

import torch

_WRAPPERS = (
    ("torch._dynamo.eval_frame", "OptimizedModule", "_orig_mod"),
    ("torch.nn.parallel.data_parallel", "DataParallel", "module"),
    ("torch.nn.parallel.distributed", "DistributedDataParallel", "module"),
)
"""Where each wrapper is, its name, and the child that it wraps."""


def unwrapped(module: torch.nn.Module) -> tuple[torch.nn.Module, list[str]]:
    """What is inside of a module's wrappers, and the names of these, outermost first.

    A wrapper that nobody imported wraps nothing, so asking imports nothing.
    """
    names: list[str] = []
    while (found := _inside(module)) is not None:
        module, name = found
        names.append(name)
    return module, names


def _inside(module: torch.nn.Module) -> tuple[torch.nn.Module, str] | None:
    for where, name, child in _WRAPPERS:
        wrapper: Any = getattr(sys.modules.get(where), name, None)
        if wrapper is not None and type(module) is wrapper:
            inner = vars(module)["_modules"][child]
            return (inner, name) if isinstance(inner, torch.nn.Module) else None
    return None


def names_inside(module: torch.nn.Module) -> dict[str, str]:
    """Names of a model's tensors without wrappers inside of it: for each that then differs, the one that it has."""
    short: dict[str, str] = {"": ""}
    wrappers = {path for path, child in module.named_modules() if _inside(child) is not None}
    found: dict[str, str] = {}
    for path, child in module.named_modules() if wrappers else ():
        above, _, last = path.rpartition(".")
        if path:
            short[path] = short[above] if above in wrappers else f"{short[above]}.{last}".lstrip(".")
        if short[path] != path:
            held = (*child._parameters, *child._buffers)
            found |= {f"{short[path]}.{name}".lstrip("."): f"{path}.{name}" for name in held}
    return found
