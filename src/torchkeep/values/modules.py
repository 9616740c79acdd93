"""nn.Module and Optimizer -> parts. How they come back is told in `values.build`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import chain
from typing import Any

import torch

from ..document import KINDS, MODULE_INTERNALS
from ..errors import brief
from . import torch_table
from .encode import Context, Hidden, Named, Parts, Step, attribute, codecs, codecs_by_base, mapping, typed
from .hooked import take_off
from .lazy import handles_of, without_handles
from .parametrized import base_of, is_own_hook
from .registry import class_name
from .standins import OWN_NAMES, RUNNER, Origin, Skeleton
from .state import is_a, state_of
from .trust import hides, is_makeable

_HOOKS = {
    "_forward_pre_hooks": "forward pre-hook",
    "_forward_hooks": "forward hook",
    "_backward_pre_hooks": "backward pre-hook",
    "_backward_hooks": "backward hook",
    "_state_dict_hooks": "state_dict hook",
    "_state_dict_pre_hooks": "state_dict pre-hook",
    "_load_state_dict_pre_hooks": "load_state_dict pre-hook",
    "_load_state_dict_post_hooks": "load_state_dict post-hook",
}


def _module(module: torch.nn.Module, context: Context) -> Parts:
    cls = base_of(module)
    origin = _origin(module, context) if is_a(module, Skeleton) else None
    name_of_class = _class(module, cls, context) if origin is None else vars(module)["(class)"]
    state, direct = _state(module, cls, context)
    attributes = {name: value for name, value in state.items() if name not in MODULE_INTERNALS | OWN_NAMES}
    attributes = context.without_typing(attributes)
    if callable(attributes.get("extra_repr")):
        del attributes["extra_repr"]  # torchao sets one on each layer that it changes
        context.note("extra-repr", "note", "has an extra_repr of its own, which only changes how it is shown.")
    own = handles_of(module, state)
    if own is not None:
        attributes = without_handles(attributes)
    hooked = take_off(state, attributes, cls, context)
    attributes = hooked.attributes
    for name, value in attributes.items():
        if callable(value) and hides(cls, name):
            reason = f"hides the method {name!r} of {class_name(cls)}: the file would hold code, not data"
            way_out = "Define it in the class, or delete the attribute."
            left = context.refuse(value, context.unsaveable(value, reason, attribute(name), way_out=way_out))
            attributes[name] = left
    parameters, buffers, children = state["_parameters"], state["_buffers"], state["_modules"]
    _require_names(module, (parameters, buffers, children, attributes), context)
    fields: dict[str, Any] = {"class": name_of_class, "training": bool(state["training"])}
    non_persistent = sorted(state["_non_persistent_buffers_set"] & set(buffers))
    if parameters:
        fields["parameters"] = Named(parameters)
    if buffers:
        fields["buffers"] = _Buffers(buffers, frozenset(non_persistent))
    if non_persistent:
        fields["non_persistent"] = tuple(non_persistent)
    if children:
        fields["modules"] = Named(children)
    if attributes:
        fields["attributes"] = Hidden(attributes)
    steps: dict[str, Step] = {}
    if cls.get_extra_state is not torch.nn.Module.get_extra_state:
        extra = fields["extra_state"] = context.ask(module, module.get_extra_state)
        steps["extra_state"] = attribute("_extra_state", hidden=not isinstance(extra, torch.Tensor))
    known = (own or {}, hooked.known)
    if hooks := [kind for name, kind in _HOOKS.items() if _has_others(state.get(name) or {}, name, known)]:
        fields["hooks"] = tuple(hooks)
        context.note(
            "hooks",
            "warning",
            f"a {' and a '.join(hooks)} cannot be saved: hooks are code.",
            'Loading the whole model will ask for allow={"hooks"}; register them again after loading.',
        )
    if direct:
        fields["direct"] = True
    if origin is not None:
        lost = dict.fromkeys((*origin.fields.get("hooks", ()), *fields.get("hooks", ())))
        fields |= origin.fields | ({"hooks": tuple(lost)} if lost else {})
    if hooked.hooks:
        fields["computed"] = tuple(hooked.hooks.values())
    if own is not None:
        fields["lazy"] = True
    if RUNNER in vars(module):
        fields["program"] = vars(module)[RUNNER]
    fields.update(context.beside.get(id(module), {}))
    return typed("module", {name: fields[name] for name in KINDS["module"].fields if name in fields}, steps)


def _origin(module: torch.nn.Module, context: Context) -> Origin:
    """What a Skeleton stands for, as the file had it that it came from.

    Raises:
        UnsaveableError: that is not all of it.
    """
    name, origin = vars(module)["(class)"], vars(module).get("(origin)")
    if not isinstance(origin, Origin) or not origin.whole:
        way_out = f"Load it again with classes={{{name!r}: ...}} and save that."
        raise context.unsaveable(module, f"stands in for {name}, of which it does not have all", way_out=way_out)
    if origin.info is not None:
        context.classes.setdefault(name, origin.info)
        context.expect_version(module, name, origin.info.version)
    return origin


def _has_others(hooks: Mapping[int, Any], name: str, known: tuple[Mapping[str, set[int]], ...]) -> bool:
    """Whether a dict of hooks has any that do not come back."""
    keys = set().union(*(each.get(name, ()) for each in known))
    return not all(key in keys or is_own_hook(hook) for key, hook in hooks.items())


def _state(module: torch.nn.Module, cls: type[torch.nn.Module], context: Context) -> tuple[dict[str, Any], bool]:
    """The module's `__dict__` and slots, or what its own `__getstate__` makes of it; and whether that was passed by.

    It is where it tells how to make the module anew, as einops' layers do, and not what the module holds.
    """
    own = getattr(cls, "__getstate__", None)
    if own is None or own is getattr(torch.nn.Module, "__getstate__", None):
        return state_of(module), False
    state = context.ask(module, own, module)
    if isinstance(state, dict) and state.keys() >= _STATE:
        return state, False
    return state_of(module), True


_STATE = frozenset({"_parameters", "_buffers", "_modules", "_non_persistent_buffers_set", "training"})


def _require_names(module: torch.nn.Module, columns: tuple[dict[Any, Any], ...], context: Context) -> None:
    """What torch asks of names when they are registered, and does not ask of those that are written past it."""
    every = Counter(chain.from_iterable(columns))
    if twice := [name for name, count in every.items() if count > 1]:
        raise context.unsaveable(module, f"has two things of the name {brief(twice[0])}", way_out="Delete one of them.")
    dotted = [name for column in columns[:3] for name in column if type(name) is str and "." in name]
    if dotted or "" in every:
        reason = f"has a part of the name {brief((dotted or [''])[0])}, which leads nowhere"
        raise context.unsaveable(module, reason, way_out="Give it a name without dots that is not empty.")


def _class(module: torch.nn.Module, cls: type[torch.nn.Module], context: Context) -> str:
    if name := torch_table.name_of(cls):
        return name
    if not is_makeable(cls):
        raise context.unsaveable(module, "derives from a builtin class, whose part no module keeps")
    if torch_table.is_code_carrier(cls):
        raise context.unsaveable(module, "carries code of its own")
    if torch_table.is_torch(class_name(cls)):
        raise context.unsaveable(module, "is not in the closed table of torch's modules")
    return context.remember(cls)


class _Buffers(Named):
    """Buffers by name: those that are not persistent are hidden from every state_dict."""

    def __init__(self, buffers: dict[str, Any], non_persistent: frozenset[str]) -> None:
        super().__init__(buffers)
        self.non_persistent = non_persistent


def _buffers(obj: _Buffers, context: Context) -> Parts:
    return mapping(dict(obj), lambda name: attribute(name, hidden=name in obj.non_persistent))


_OPTIMIZER_INTERNALS = frozenset(
    {
        "defaults",
        "state",
        "param_groups",
        "_zero_grad_profile_name",
        "_warned_capturable_if_run_uncaptured",
        "step",  # wrapped by an LR scheduler
    }
)


def _optimizer(optimizer: torch.optim.Optimizer, context: Context) -> Parts:
    cls = type(optimizer)
    name = torch_table.name_of(cls)
    if name is None:
        if torch_table.is_torch(class_name(cls)):
            raise context.unsaveable(optimizer, "is not in the closed table of torch's optimizers")
        name = context.remember(cls)
    attributes = {}
    for key, value in vars(optimizer).items():
        if key.endswith("_hooks"):
            if value:
                context.note("lost-hooks", "warning", f"{key.strip('_')} of an optimizer cannot be saved.")
        elif key not in _OPTIMIZER_INTERNALS:
            attributes[key] = value
    fields: dict[str, Any] = {
        "class": name,
        "defaults": dict(optimizer.defaults),
        "state": _OptimizerState(optimizer),
        "param_groups": optimizer.param_groups,
    }
    if attributes:
        fields["attributes"] = Hidden(attributes)
    return typed("optimizer", fields, {"param_groups": attribute("param_groups")})


class _OptimizerState(dict[Any, Any]):
    """An optimizer's state by parameter, with each parameter's position, as its state_dict numbers them."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        super().__init__(optimizer.state)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.position = {id(p): i for i, p in enumerate(parameters)}


def _optimizer_state(obj: _OptimizerState, context: Context) -> Parts:
    def step(parameter: Any) -> Step:
        position = obj.position.get(id(parameter), "?")
        return Step(f".state[{position}]", f"state.{position}")

    return mapping(dict(obj), step)


codecs.update({_Buffers: _buffers, _OptimizerState: _optimizer_state})
codecs_by_base.update({torch.nn.Module: _module, torch.optim.Optimizer: _optimizer})
