"""What a program says of the module tree that it stands at: paths of modules, and tensors by name.

A name of a file is looked up among what modules hold, and never asked of their classes: a property of a class is code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.utils import parametrize

from ..errors import CallError, FormatError, brief
from .model import Program, StateRef

_MISSING = object()


def require(program: Program, root: torch.nn.Module, is_stand_in: Callable[[Any], bool]) -> None:
    """P-10: hold a program against a tree that was just built.

    Args:
        program: a checked one.
        root: the module that it belongs to.
        is_stand_in: whether an object stands for a tensor whose class did not open.

    Raises:
        FormatError: the tree lacks a module or a tensor.
    """
    for path in program.modules:
        if _module(root, path) is None:
            raise FormatError(f"the program needs a module {brief(path)}, and there is none", clause="P-10")
    for row in program.state:
        held = _held(root, row)
        if not isinstance(held, torch.Tensor) and not is_stand_in(held):
            raise FormatError(f"the program needs a tensor {brief(_place(row))}, and there is none", clause="P-10")


def module_at(root: torch.nn.Module, path: str) -> torch.nn.Module:
    """The module of a path.

    Raises:
        CallError: there is none any more.
    """
    found = _module(root, path)
    if found is None:
        raise CallError(f"the module has no module {brief(path)} any more, and the computation needs it")
    return found


def tensor_at(root: torch.nn.Module, row: StateRef) -> torch.Tensor:
    """The tensor of a name, whatever holds it now.

    Raises:
        CallError: there is none any more.
    """
    held = _held(root, row)
    if not isinstance(held, torch.Tensor):
        raise CallError(f"the module has no tensor {brief(_place(row))} any more, and the computation needs it")
    return held


def _place(row: StateRef) -> str:
    return f"{row.module}.{row.name}" if row.module else row.name


def _module(root: torch.nn.Module, path: str) -> torch.nn.Module | None:
    found: torch.nn.Module | None = root
    for name in path.split(".") if path else ():
        if found is None:
            return None
        found = found._modules.get(name)
    return found


def _held(root: torch.nn.Module, row: StateRef) -> Any:
    """What a module has under a name; of one that is parametrized also what torch's own properties compute."""
    module = _module(root, row.module)
    if module is None:
        return _MISSING
    for held in (module._parameters, module._buffers, module.__dict__):
        if row.name in held:
            return held[row.name]
    if parametrize.is_parametrized(module, row.name):
        return getattr(module, row.name)
    return _MISSING
