"""Lazy modules, and what they hold before they know its shape."""

from __future__ import annotations

import types
from typing import Any

import torch
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.modules.module import _WrappedHook
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torch.utils.hooks import RemovableHandle

from ..document import LAZY_HANDLES, Typed
from ..errors import LoadError
from .dtypes import BY_NAME, dtype_name
from .encode import Context, Hidden, Parts, codecs, typed
from .state import namespace_of

_METHODS = ("_lazy_load_hook", "_infer_parameters")


def handles_of(module: torch.nn.Module, state: dict[str, Any]) -> dict[str, set[int]] | None:
    """The keys of the hooks that a lazy module put there for itself, by dict; None if it is not lazy now."""
    if not isinstance(module, LazyModuleMixin):
        return None
    load, initialize = state.get("_load_hook"), state.get("_initialize_hook")
    if type(load) is not RemovableHandle or type(initialize) is not RemovableHandle:
        return None
    wrapped = (state.get("_load_state_dict_pre_hooks") or {}).get(load.id)
    hooks = getattr(wrapped, "hook", wrapped), (state.get("_forward_pre_hooks") or {}).get(initialize.id)
    for hook, name in zip(hooks, _METHODS, strict=True):
        if type(hook) is not types.MethodType or hook.__self__ is not module or hook.__func__.__name__ != name:
            return None
    return {"_load_state_dict_pre_hooks": {load.id}, "_forward_pre_hooks": {initialize.id}}


def why_not_lazy(cls: type) -> str | None:
    """Why a class cannot stand for one that was lazy, or None."""
    if not issubclass(cls, LazyModuleMixin):
        return "is no LazyModuleMixin"
    missing = [name for name in _METHODS if type(_member(cls, name)) is not types.FunctionType]
    return f"has no method {missing[0]!r}" if missing else None


def _member(cls: type, name: str) -> object:
    return next((vars(base)[name] for base in cls.__mro__ if name in vars(base)), None)


def make_lazy(module: torch.nn.Module) -> None:
    """Set the two hooks by which a module gets its shapes, as the constructor of `LazyModuleMixin` does."""
    state = namespace_of(module)
    on_load, on_call = (types.MethodType(_member(type(module), name), module) for name in _METHODS)  # type: ignore[arg-type]
    load = RemovableHandle(state["_load_state_dict_pre_hooks"])
    state["_load_state_dict_pre_hooks"][load.id] = _WrappedHook(on_load, None)
    call = RemovableHandle(state["_forward_pre_hooks"], extra_dict=state["_forward_pre_hooks_with_kwargs"])
    state["_forward_pre_hooks"][call.id] = on_call
    state["_forward_pre_hooks_with_kwargs"][call.id] = True
    state.update(zip(("_load_hook", "_initialize_hook"), (load, call), strict=True))


def without_handles(attributes: dict[str, Any]) -> dict[str, Any]:
    """The attributes of a lazy module that a file holds."""
    return {name: value for name, value in attributes.items() if name not in LAZY_HANDLES}


# --- what has no shape yet --------------------------------------------------------------------------


def _uninitialized(obj: Any, context: Context) -> Parts:
    fields: dict[str, Any] = {
        "dtype": dtype_name(obj.dtype),
        "parameter": type(obj) is UninitializedParameter,
        "requires_grad": obj.requires_grad,
    }
    if vars(obj):
        fields["attributes"] = Hidden(vars(obj))
    return typed("torch.uninitialized", fields)


codecs.update({UninitializedParameter: _uninitialized, UninitializedBuffer: _uninitialized})


def make_uninitialized(node: Typed, device: torch.device, dtype: torch.dtype | None) -> torch.Tensor:
    """An uninitialized parameter or buffer, without its attributes.

    Raises:
        LoadError: this torch does not have its dtype.
    """
    saved = BY_NAME.get(node.text("dtype"))
    if saved is None:
        raise LoadError(
            f"the file holds an uninitialized tensor of {node.text('dtype')}, a dtype that torch {torch.__version__} "
            "does not have. Nothing was loaded. Install a newer torch."
        )
    cls: Any = UninitializedParameter if node.fields["parameter"] else UninitializedBuffer
    cast = dtype if dtype is not None and saved.is_floating_point else saved
    made: torch.Tensor = cls(node.fields["requires_grad"], device=device, dtype=cast)
    vars(made).clear()
    return made
