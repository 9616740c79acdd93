"""Modules with a say of their own in how they are loaded: what is theirs to decide, and how they are asked.

torch's `load_state_dict` asks each module below it for its hooks and its `_load_from_state_dict`, and gives it
the names that begin with its own. So a module decides about these, and nobody's decision reaches further, except
that a hook which runs afterwards may judge every name that was missing or unexpected.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from .encode import is_plain
from .pack import buffer_of
from .transfer import copy_whole

_HARMLESS = (torch.nn.modules.batchnorm._NormBase, torch.nn.modules.instancenorm._InstanceNorm)
"""Classes of torch whose `_load_from_state_dict` only has words about files older than this format."""

_PLAIN = frozenset({torch.nn.Module._load_from_state_dict, *(cls._load_from_state_dict for cls in _HARMLESS)})


@dataclass(frozen=True, slots=True)
class Say:
    """What of its loading is up to a module itself.

    Attributes:
        loads: whether its `load_state_dict` has to do the loading.
        prefixes: beginnings of names that are a module's own to rename, to reshape and to cast.
        judges: whether a hook decides, afterwards, which names may be missing or unexpected.
        overridden: whether `load_state_dict` is not torch's, so that all is up to it.
    """

    loads: bool = False
    prefixes: frozenset[str] = frozenset()
    judges: bool = False
    overridden: bool = False

    def owns(self, name: str) -> bool:
        """Whether a module that has its own idea of loading is given this name."""
        if not self.prefixes or "" in self.prefixes:
            return bool(self.prefixes)
        return any(name[: dot.end()] in self.prefixes for dot in re.finditer(r"\.", name))


def say_of(module: torch.nn.Module) -> Say:
    """What a module, or those below it, have to say: hooks, `_load_from_state_dict`, `load_state_dict`."""
    if type(module).load_state_dict is not torch.nn.Module.load_state_dict or "load_state_dict" in vars(module):
        return Say(loads=True, prefixes=frozenset({""}), overridden=True)
    prefixes: set[str] = set()
    loads = judges = False
    for name, child in module.named_modules(remove_duplicate=False):
        before = set(child._load_state_dict_pre_hooks)
        loads |= bool(before)
        before.discard(getattr(vars(child).get("_load_hook"), "id", -1))  # a lazy module's, which only gives it shapes
        if before or type(child)._load_from_state_dict not in _PLAIN or "_load_from_state_dict" in vars(child):
            prefixes.add(name + "." if name else "")
        judges |= bool(child._load_state_dict_post_hooks)
    return Say(loads or judges or bool(prefixes), frozenset(prefixes), judges)


def takes(module: torch.nn.Module, word: str) -> bool:
    """Whether a module's `load_state_dict` has a parameter of this name."""
    try:
        parameters = inspect.signature(module.load_state_dict).parameters
    except (TypeError, ValueError):
        return True
    return word in parameters or any(each.kind is each.VAR_KEYWORD for each in parameters.values())


def lost_names(answer: Any) -> tuple[list[str], list[str]]:
    """Names that are missing and unexpected as a `load_state_dict` tells them; one that returns nothing tells none."""
    if isinstance(answer, tuple) and len(answer) == 2:
        return list(answer[0]), list(answer[1])
    return list(getattr(answer, "missing_keys", ())), list(getattr(answer, "unexpected_keys", ()))


_SHOWN = 8
"""Lines of another's error that a message shows."""


def told(error: BaseException) -> str:
    """What an error of torch says, on one line."""
    lines = [line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].startswith("Error(s) in loading state_dict"):
        del lines[0]
    more = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    text = "; ".join([*lines[:_SHOWN], *more]) or type(error).__name__
    text = re.sub(r"torch\.Size\(\[(\d+)\]\)", r"(\1,)", text)
    return re.sub(r"torch\.Size\(\[([^\]]*)\]\)", r"(\1)", text)


def load_by_its_own(
    module: torch.nn.Module, state: dict[str, Any], *, strict: bool, assign: bool, accept: Callable[[Any], None]
) -> None:
    """Load through the module's own `load_state_dict`; if anything raises, put back every tensor.

    Args:
        module: the target.
        state: the state_dict that it gets.
        strict: as torch's, where it takes it.
        assign: as torch's.
        accept: gets what `load_state_dict` returned, and raises if that is not good enough.
    """
    homes = [home for child in module.modules() for home in (child._parameters, child._buffers)]
    before: list[tuple[dict[str, Any], dict[str, Any]]] = [(home, dict(home)) for home in homes]
    every = {id(t): t for _, held in before for t in held.values() if t is not None}.values()
    lazy = [
        (tensor, type(tensor), tensor.device, tensor.dtype) for tensor in every if torch.nn.parameter.is_lazy(tensor)
    ]
    values = [
        (tensor, tensor.detach().clone())
        for tensor in every
        if is_plain(tensor) or (tensor.device.type != "meta" and type(tensor) in (torch.Tensor, torch.nn.Parameter))
    ]
    words = {"strict": strict} if takes(module, "strict") else {}
    if assign:
        words["assign"] = True
    try:
        accept(module.load_state_dict(state, **words))
    except BaseException:
        for home, held in before:
            home.clear()
            home.update(held)
        for tensor, cls, device, dtype in lazy:
            if type(tensor) is not cls:  # it took a shape
                tensor.data = torch.empty(0, device=device, dtype=dtype)
                tensor.__class__ = cls
        for tensor, value in values:
            if not is_plain(tensor):
                copy_whole(tensor, value)
            elif bytes(buffer_of(tensor.detach())) != bytes(buffer_of(value)):
                with torch.inference_mode(tensor.is_inference()), torch.no_grad():
                    tensor.copy_(value)
        raise
