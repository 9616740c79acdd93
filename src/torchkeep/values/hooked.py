"""Hooks of torch's older functions (`weight_norm`, `spectral_norm`, `prune`): data in a file, and hooks again.

Such a hook computes an attribute from parameters before each call. What it computes is not saved: it is computed
again at load, by torch's own code, on a module that has the parameters and nothing else, so that no code of the
module's class runs.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

import torch
from torch.nn.utils import prune
from torch.nn.utils.spectral_norm import SpectralNorm, SpectralNormLoadStateDictPreHook, SpectralNormStateDictHook
from torch.nn.utils.weight_norm import WeightNorm

from ..document import PRUNING_ATTRIBUTES, SOURCES, Form, is_computable_name, is_dense, misfit
from ..errors import LoadError
from . import torch_table
from .dtypes import dtype_name
from .encode import Context, Hidden, Parts, codecs, typed
from .registry import class_name
from .state import namespace_of, set_state, state_of
from .trust import hides

_KEPT = ("_forward_pre_hooks", "_state_dict_hooks", "_load_state_dict_pre_hooks")
"""Where such hooks are."""


@dataclass(eq=False, slots=True)
class Hook:
    """A hook as data: its kind in a file, and its fields there; of a pruning method, its class opened."""

    kind: str
    fields: dict[str, Any]
    cls: type | None = None


@dataclass(slots=True)
class Found:
    """The hooks of a module that a file can hold.

    Attributes:
        hooks: these, in the order in which they run.
        attributes: the module's attributes, without what the hooks compute.
        known: for each dict of hooks, the keys of those that come back.
    """

    hooks: dict[str, Hook]
    attributes: dict[str, Any]
    known: dict[str, set[int]] = field(default_factory=lambda: {name: set() for name in _KEPT})


# --- to a file --------------------------------------------------------------------------------------


def take_off(state: dict[str, Any], attributes: dict[str, Any], cls: type, context: Context) -> Found:
    """Tell the hooks that a file can hold from all others.

    Args:
        state: the `__dict__` of a module.
        attributes: what of it are attributes.
        cls: the module's class.
        context: the walk.
    """
    found = Found({}, attributes)
    with_keywords = state.get("_forward_pre_hooks_with_kwargs") or {}
    for key, hook in (state.get("_forward_pre_hooks") or {}).items():
        name = _name_of(hook)
        if name is None or name in found.hooks or key in with_keywords or hides(cls, name):
            continue
        made = _described(hook, name, context)
        sources = _sources(made, state) if made else None
        if made is None or sources is None or type(attributes.get(name, sources[0])) not in _PLAIN:
            continue
        found.hooks[name] = made
        found.known["_forward_pre_hooks"].add(key)
        if name in attributes:
            found.attributes = _without(found.attributes, name, _is_needed(hook, attributes[name], sources[0], context))
    _find_hooks_of_state(state, found, context)
    return found


_PLAIN = frozenset({torch.Tensor, torch.nn.Parameter})


def _name_of(hook: object) -> str | None:
    """The attribute that a hook of torch computes, or None."""
    if type(hook) in (WeightNorm, SpectralNorm):
        name = vars(hook).get("name")
    elif isinstance(hook, prune.BasePruningMethod):
        name = vars(hook).get("_tensor_name")
    else:
        return None
    return name if type(name) is str and is_computable_name(name) else None


def _described(hook: Any, name: str, context: Context) -> Hook | None:
    """A hook as data; None where it is not quite what torch makes."""
    if type(hook) is WeightNorm:
        return Hook("torch.weight_norm", {"name": name, "dim": hook.dim}) if type(hook.dim) is int else None
    if type(hook) is SpectralNorm:
        numbers = {"dim": hook.dim, "power_iterations": hook.n_power_iterations, "eps": hook.eps}
        plain = all(type(number) is int for number in (hook.dim, hook.n_power_iterations))
        return Hook("torch.spectral_norm", {"name": name, **numbers}) if plain and type(hook.eps) in _NUMBERS else None
    container = type(hook) is prune.PruningContainer
    methods = [_method(each, name, context) for each in (hook._pruning_methods if container else (hook,))]
    if None in methods:
        return None
    return Hook("torch.prune", {"name": name, "methods": tuple(methods), "container": container})


_NUMBERS: tuple[type, ...] = (int, float)
_STATE_METHODS = ("__getstate__", "__reduce__", "__reduce_ex__")


def _method(method: Any, name: str, context: Context) -> Hook | None:
    """One way to prune as data."""
    cls = type(method)
    own = any(getattr(cls, key, None) is not getattr(object, key, None) for key in _STATE_METHODS)
    if own or isinstance(method, prune.PruningContainer) or not isinstance(method, prune.BasePruningMethod):
        return None
    state = state_of(method)
    if state.pop("_tensor_name", None) != name or any(hides(cls, key) for key in state):
        return None
    table_name = torch_table.name_of(cls)
    if table_name is not None:
        state = {key: _plain_number(value) for key, value in state.items()}
        tests = PRUNING_ATTRIBUTES[table_name]
        if state.keys() != tests.keys() or not all(_passes(key, state[key], tests) for key in state):
            return None
    fields: dict[str, Any] = {"class": table_name or context.remember(cls)}
    if state:
        fields["attributes"] = Hidden(state)
    return Hook("pruning_method", fields)


def _plain_number(value: Any) -> Any:
    """A number of numpy as Python's, which is what it stands for."""
    if isinstance(value, Real) and type(value) not in _NUMBERS:
        return int(value) if isinstance(value, Integral) else float(value)
    return value


def _passes(name: str, value: Any, tests: Mapping[str, Callable[[Any], bool]]) -> bool:
    return type(value) in _PLAIN if name == "mask" else tests[name](value)


def _sources(hook: Hook, state: Mapping[str, Any]) -> list[torch.Tensor] | None:
    """What a hook computes from; None where it could not."""
    name = hook.fields["name"]
    if any(name in state[part] for part in ("_parameters", "_buffers", "_modules")):
        return None
    found = {end: state[f"_{part}"].get(name + end) for end, part in SOURCES[hook.kind].items()}
    if not all(type(each) in _PLAIN and each.layout == torch.strided for each in found.values()):
        return None
    if any(each.is_quantized or each.is_nested for each in found.values()):
        return None
    forms = {end: Form(dtype_name(each.dtype), tuple(each.shape)) for end, each in found.items()}
    return None if misfit(hook.kind, hook.fields, forms) else list(found.values())


def _is_needed(hook: object, value: torch.Tensor, source: torch.Tensor, context: Context) -> bool:
    """Whether what a hook computed has to be saved, since computing it would not give it again, or is not bounded.

    `spectral_norm` leaves the parameter itself there until the first call, and modules that nobody calls, such as
    the last one in attention, go on with that. A reader computes no more than the file has bytes for (M-4).
    """
    storage = source.untyped_storage()._cdata
    if value.untyped_storage()._cdata == storage:
        return True
    if isinstance(hook, prune.BasePruningMethod) and type(hook).apply_mask is not prune.BasePruningMethod.apply_mask:
        return True
    taken: set[int] = context.memo.setdefault("computed from", set())
    if storage in taken or not is_dense(tuple(source.shape), source.stride()):
        return True
    taken.add(storage)
    return False


def _without(attributes: dict[str, Any], name: str, needed: bool) -> dict[str, Any]:
    """Attributes without a computed one, or with its values alone; an RNN lists its weights once more."""
    value = attributes[name]
    now = value.detach() if needed else None
    changed = {key: held for key, held in attributes.items() if key != name} | ({name: now} if needed else {})
    flat = attributes.get("_flat_weights")
    if type(flat) is list and any(each is value for each in flat):
        changed["_flat_weights"] = [now if each is value else each for each in flat]
    return changed


def _find_hooks_of_state(state: dict[str, Any], found: Found, context: Context) -> None:
    """Those by which `spectral_norm` notes its version in a state_dict, and reads older ones."""
    normed = {name for name, hook in found.hooks.items() if hook.kind == "torch.spectral_norm"}
    for key, hook in (state.get("_state_dict_hooks") or {}).items():
        if type(hook) is SpectralNormStateDictHook and hook.fn.name in normed:
            found.known["_state_dict_hooks"].add(key)
    there = {_name_of(hook) for hook in (state.get("_forward_pre_hooks") or {}).values() if type(hook) is SpectralNorm}
    for key, hook in (state.get("_load_state_dict_pre_hooks") or {}).items():
        inner = getattr(hook, "hook", None)
        if type(inner) is SpectralNormLoadStateDictPreHook and inner.fn.name not in there - normed:
            found.known["_load_state_dict_pre_hooks"].add(key)
            if inner.fn.name not in there:
                message = "a hook for state_dicts that remove_spectral_norm had left behind was not saved."
                context.note("hooks", "note", message)


def _hook(obj: Hook, context: Context) -> Parts:
    return typed(obj.kind, obj.fields)


codecs[Hook] = _hook

# --- from a file ------------------------------------------------------------------------------------


def put_on(module: torch.nn.Module, hooks: tuple[Hook, ...]) -> list[str]:
    """Give a module that was put together its hooks again, and what they compute.

    Args:
        module: as it was saved, its parameters and buffers there.
        hooks: in the order in which they run.

    Returns:
        The attributes that came back without their hook, since a method that prunes did not open.

    Raises:
        LoadError: a hook cannot compute from what there is now.
    """
    state = namespace_of(module)
    left = []
    for hook in hooks:
        name = hook.fields["name"]
        sources = _sources(hook, state)
        if sources is None:
            raise LoadError(
                f"{class_name(type(module))} has no tensors that a {hook.kind} can compute {name!r} from. Nothing was "
                "loaded. If a migration changed them, have it leave the names and shapes."
            )
        bare = torch.nn.Module()
        for end, part in SOURCES[hook.kind].items():
            vars(bare)[f"_{part}"][name + end] = state[f"_{part}"][name + end]
        made = _MAKE[hook.kind](hook, bare)
        if name not in state:
            try:
                with torch.no_grad():
                    state[name] = _compute(made, name, bare)
            except (RuntimeError, NotImplementedError) as error:
                raise LoadError(f"a {hook.kind} cannot compute {name!r}: {error}. Nothing was loaded.") from error
            _list_again(state, name)
        if made is None:
            left.append(name)
        for each in _KEPT:
            state[each].update(vars(bare)[each])
    return left


def _compute(made: Any, name: str, bare: torch.nn.Module) -> torch.Tensor:
    """What a hook gives for the values that there are. Like what `spectral_norm` leaves, it has no history."""
    if type(made) is WeightNorm:
        result = made.compute_weight(bare)
    elif type(made) is SpectralNorm:
        result = made.compute_weight(bare, do_power_iteration=False)
    else:  # whatever its class does about it: that runs at the next call
        apply_mask: Any = prune.BasePruningMethod.apply_mask
        result = apply_mask(types.SimpleNamespace(_tensor_name=name), bare)
    computed: torch.Tensor = result
    return computed


def _list_again(state: dict[str, Any], name: str) -> None:
    """An RNN finds its weights in a list, by position."""
    names, flat = state.get("_flat_weights_names"), state.get("_flat_weights")
    if type(names) is list and type(flat) is list:
        for i, (each, held) in enumerate(zip(names, flat, strict=False)):
            if held is None and type(each) is str and each == name:
                flat[i] = state[name]


def _make_weight_norm(hook: Hook, bare: torch.nn.Module) -> WeightNorm:
    made = WeightNorm(hook.fields["name"], hook.fields["dim"])
    bare.register_forward_pre_hook(made)
    return made


def _make_spectral_norm(hook: Hook, bare: Any) -> SpectralNorm:
    fields = hook.fields
    made = SpectralNorm(fields["name"], fields["power_iterations"], fields["dim"], fields["eps"])
    bare.register_forward_pre_hook(made)
    bare._register_state_dict_hook(SpectralNormStateDictHook(made))
    bare._register_load_state_dict_pre_hook(SpectralNormLoadStateDictPreHook(made))
    return made


def _make_prune(hook: Hook, bare: torch.nn.Module) -> Any:
    name, methods = hook.fields["name"], []
    for method in hook.fields["methods"]:
        if method.cls is None:
            return None
        methods.append(object.__new__(method.cls))
        set_state(methods[-1], {**method.fields.get("attributes", {}), "_tensor_name": name})
    made: Any = methods[0] if methods else None
    if hook.fields["container"]:
        made = object.__new__(prune.PruningContainer)
        vars(made).update({"_pruning_methods": tuple(methods), "_tensor_name": name})
    bare.register_forward_pre_hook(made)
    return made


_MAKE: dict[str, Callable[[Hook, torch.nn.Module], Any]] = {
    "torch.weight_norm": _make_weight_norm,
    "torch.spectral_norm": _make_spectral_norm,
    "torch.prune": _make_prune,
}
