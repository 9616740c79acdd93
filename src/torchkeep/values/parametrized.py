"""Parametrized modules (`torch.nn.utils.parametrize`): the class that torch makes up for one, off and on again.

torch swaps the class of such a module for one derived from it, with a property in the place of each tensor. A file
names the class below; its child `parametrizations` tells which properties there were.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.utils import parametrizations, parametrize

from ..errors import LoadError, in_code
from .registry import class_name
from .state import namespace_of

_CHILD = "parametrizations"


def base_of(module: torch.nn.Module) -> type[torch.nn.Module]:
    """The class of a module, below the one that parametrizing it made up."""
    cls = type(module)
    getstate = vars(cls).get("__getstate__")
    made_up = getattr(getstate, "__qualname__", "") == "_inject_new_class.<locals>.getstate"
    return cls.__bases__[0] if made_up and _names(namespace_of(module).get("_modules", {})) else cls


def is_own_hook(hook: object) -> bool:
    """Whether a hook is the one that `weight_norm` sets, for state_dicts of its older sort; `restore` sets it again."""
    function = getattr(hook, "hook", None)
    made_in = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    return made_in == (parametrizations.__name__, "weight_norm.<locals>._weight_norm_compat_hook")


def _names(modules: Mapping[str, Any]) -> list[str]:
    """The parametrized tensors of a module, by its children."""
    child = modules.get(_CHILD)
    if not isinstance(child, torch.nn.ModuleDict):
        return []
    held = vars(child)["_modules"]
    return list(held) if all(isinstance(each, parametrize.ParametrizationList) for each in held.values()) else []


def restore(module: torch.nn.Module, *, named: bool) -> None:
    """Give a module that was put together its properties again.

    torch's own functions make them, on a module without behaviour; they are then moved, so that no code of the
    module's class runs.

    Args:
        module: as it was saved, its children complete.
        named: whether the caller named its class, so that deriving from it may run its code.

    Raises:
        LoadError: a property would hide what the class does, or deriving from the class runs its code.
    """
    names = _names(vars(module)["_modules"])
    if not names:
        return
    cls = type(module)
    if not named and (type(cls) not in (type, abc.ABCMeta) or _derives(cls)):
        raise LoadError(
            f"{cls.__qualname__} is parametrized, and deriving from it runs code of its own. Nothing was loaded. Pass "
            f"classes=[{in_code(class_name(cls))}] to load it."
        )
    stand_in = torch.nn.Module()
    parametrize._inject_new_class(stand_in)
    for name in names:
        if any(name in vars(base) for base in cls.__mro__) or (name.startswith("__") and name.endswith("__")):
            raise LoadError(f"the parametrized {name!r} would hide what {cls.__qualname__} does. Nothing was loaded.")
        parametrize._inject_property(stand_in, name)
    kept = ("__getstate__",) if hasattr(cls, "__deepcopy__") else ("__getstate__", "__deepcopy__")
    members = {name: vars(type(stand_in))[name] for name in (*kept, *names)}
    made_up = type(f"Parametrized{cls.__name__}", (cls,), members | {"__module__": parametrize.__name__})
    object.__setattr__(module, "__class__", made_up)
    for name in names:
        if any(isinstance(each, parametrizations._WeightNorm) for each in _held(module, name)):
            _accept_older_names(module, name)


def _derives(cls: type) -> bool:
    """Whether a class says what happens when another derives from it."""
    bases = (base for base in cls.__mro__ if base is not object and base.__module__ != "typing")
    return any("__init_subclass__" in vars(base) for base in bases)


def _held(module: torch.nn.Module, name: str) -> list[Any]:
    child = vars(module)["_modules"][_CHILD]
    return list(vars(vars(child)["_modules"][name])["_modules"].values())


def _accept_older_names(module: torch.nn.Module, name: str) -> None:
    """The hook by which `weight_norm` reads ``weight_g`` and ``weight_v`` of older files; made by torch, and moved."""
    other = torch.nn.Module()
    other.register_parameter(name, torch.nn.Parameter(torch.ones(1, 1)))
    parametrizations.weight_norm(other, name)
    for hook in vars(other)["_load_state_dict_pre_hooks"].values():
        hooks = vars(module)["_load_state_dict_pre_hooks"]
        hooks[len(hooks)] = hook
