"""Migrations: the state of an older version of a class becomes that of today's, before the object is put together.

They are code of the program and run for the classes that it registered them with. What one leaves is held against
what torch asks of what is registered with a module; what migrations added goes where the load goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from ..document import MODULE_INTERNALS, Document, Finding, Ref, TensorRef, Typed, Value
from ..errors import ChangedClassError, LoadError, brief
from . import sources
from .place import move
from .registry import ModuleState, registration
from .state import is_a, namespace_of, set_state, state_of
from .trust import a, hides


def migrate(document: Document, name: str, cls: type, state: ModuleState) -> bool:
    """Bring the state of an object to the version of today's class; False where there is nothing to do.

    Args:
        document: what knows the version that was saved.
        name: the class, as the file calls it.
        cls: the class as it is today.
        state: changed in place.

    Raises:
        LoadError: a migration raised, or left what no object of the class can hold.
        ChangedClassError: the last one left out what today's `__init__` assigns.
    """
    info, known = document.classes.get(name), registration(cls)
    if info is None or known is None or info.version >= known.version:
        return False
    for version in range(info.version, known.version):
        if (step := known.migrations.get(version)) is None:  # the audit found that it does without
            continue
        hidden = set(state.non_persistent)
        try:
            step(state)
        except Exception as error:
            raise LoadError(
                f"the migration of {name} from version {version} raised {type(error).__name__}: {error}. "
                "Nothing was loaded."
            ) from error
        wrong = _why_none(state)
        if not wrong:
            _sort_out(cls, state)
            state.non_persistent -= hidden - state.buffers.keys()  # as torch forgets one that is deleted
            wrong = next(_wrong(cls, state), None)
        if wrong:
            raise LoadError(
                f"the migration of {name} from version {version} left {wrong}. Nothing was loaded. Correct the "
                "migration."
            )
    return True


def require_complete(cls: type, name: str, state: ModuleState, computed: Iterable[str] = ()) -> None:
    """What today's `__init__` assigns has to be there after the last migration, or be among what is computed.

    Raises:
        ChangedClassError: it is not.
    """
    there = state.attributes.keys() | state.parameters.keys() | state.buffers.keys() | state.modules.keys()
    if lacking := sorted(sources.assigned_by_init(cls) - there - {"training", *computed}):
        raise ChangedClassError(
            f"the migrations of {name} left out {', '.join(lacking)}, which {cls.__name__}.__init__ assigns. "
            "Nothing was loaded. Have the last migration set them."
        )


# --- what a migration left --------------------------------------------------------------------------


def _sort_out(cls: type, state: ModuleState) -> None:
    """What a migration left among the attributes of a module goes where assigning it would have put it.

    A tensor is a buffer where today's `__init__` registers one of its name.
    """
    if not issubclass(cls, torch.nn.Module):
        return
    homes = sources.homes_by_init(cls) if any(map(_may_be_registered, state.attributes.values())) else {}
    for name, value in list(state.attributes.items()):
        if is_a(value, torch.nn.Module):
            home = "modules"
        elif isinstance(value, torch.nn.Parameter):
            home = "parameters"
        elif isinstance(value, torch.nn.Buffer):
            home = "buffers" if value.persistent else "non_persistent"
        elif name in homes and _may_be_registered(value):
            home = homes[name]
        else:
            continue
        del state.attributes[name]
        if home == "non_persistent":
            state.non_persistent.add(name)
        getattr(state, "buffers" if home == "non_persistent" else home)[name] = value


def _may_be_registered(value: object) -> bool:
    return value is None or is_a(value, torch.Tensor)


def _why_none(state: ModuleState) -> str | None:
    """Why a state is none at all: a part of it is no dict or set any more."""
    for part in (*_COLUMNS, "attributes"):
        if not isinstance(getattr(state, part), dict):
            return f"state.{part} as {a(type(getattr(state, part)).__name__)}, and it is a dict"
    if not isinstance(state.non_persistent, set):
        return f"state.non_persistent as {a(type(state.non_persistent).__name__)}, and it is a set"
    return None


_COLUMNS: dict[str, type] = {
    "parameters": torch.nn.Parameter,
    "buffers": torch.Tensor,
    "modules": torch.nn.Module,
}
"""What a module registers, apart from its attributes, and what that is besides None."""


def _wrong(cls: type, state: ModuleState) -> Iterator[str]:
    """What an object of a class cannot hold."""
    homes: dict[Any, str] = {}
    for part in (*_COLUMNS, "attributes"):
        column: dict[Any, Any] = getattr(state, part)
        if column and part != "attributes" and not issubclass(cls, torch.nn.Module):
            yield f"state.{part} of an object that has attributes alone"
        for name, value in column.items():
            here = f"{brief(name)} in state.{part}"
            if type(name) is not str or not name or (part != "attributes" and "." in name):
                yield f"{here}: a name is a text that is not empty and has no dot"
            if name in homes:
                yield f"{brief(name)} both in state.{homes[name]} and in state.{part}"
            homes[name] = part
            if part == "attributes":
                if name in MODULE_INTERNALS and issubclass(cls, torch.nn.Module):
                    yield f"{here}: nn.Module keeps that for itself"
                if callable(value) and hides(cls, name):
                    yield f"{here}: it would hide what the class does"
            elif value is not None and not isinstance(value, _COLUMNS[part]):
                yield f"{here}: it is of type {type(value).__name__} and no {_COLUMNS[part].__name__}"
    for name in state.non_persistent - state.buffers.keys():
        yield f"{brief(name)} in state.non_persistent: there is no such buffer"


# --- what the migrations of a load added ------------------------------------------------------------


@dataclass(slots=True)
class Additions:
    """What the migrations of one load added, on its way to where the load goes.

    Attributes:
        device: where tensors go.
        dtype: what floating-point tensors become; None leaves them as they are.
        known: by id, what came from the file.
        modules: the modules that were added.
    """

    device: torch.device
    dtype: torch.dtype | None
    known: frozenset[int]
    modules: list[torch.nn.Module] = field(default_factory=list)
    _seen: set[int] = field(default_factory=set)
    _placed: dict[int, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)

    def settle(self, migrated: Any) -> None:
        """Bring what was added to an object, and to every module below it, to the device and the dtype of the load.

        Raises:
            DeviceError: a tensor cannot go there.
        """
        own = {name: value for name, value in state_of(migrated).items() if is_a(value, torch.Tensor)}
        moved = {name: self._tensor(value, name) for name, value in own.items()}
        set_state(migrated, {name: value for name, value in moved.items() if value is not own[name]})
        if is_a(migrated, torch.nn.Module):
            self._settle_modules(migrated)

    def _settle_modules(self, outermost: torch.nn.Module) -> None:
        waiting = [outermost]
        while waiting:
            module = waiting.pop()
            if id(module) in self._seen:
                continue
            self._seen.add(id(module))
            state = namespace_of(module)
            for column in (state.get("_parameters", {}), state.get("_buffers", {})):
                for name, held in column.items():
                    if held is not None:
                        column[name] = self._tensor(held, name)  # no name is new, so that the loop may go on
            if is_a(module, torch.nn.RNNBase) and "_flat_weights" in state:
                flat = state["_flat_weights"]
                state["_flat_weights"] = [held if held is None else self._tensor(held, "weight") for held in flat]
            for child in children_of(module):
                if id(child) not in self.known and id(child) not in self._seen:
                    self.modules.append(child)
                    if not state.get("training", True):
                        namespace_of(child)["training"] = False
                waiting.append(child)

    def _tensor(self, tensor: torch.Tensor, name: str) -> torch.Tensor:
        """A tensor where it goes; a parameter stays the object that it is where torch lets it."""
        if id(tensor) in self.known:
            return tensor
        if id(tensor) not in self._placed:
            dtype = self.dtype if self.dtype is not None and tensor.is_floating_point() else tensor.dtype
            with torch.no_grad():
                moved = move(tensor.to(dtype), self.device, name=name)
            if moved is not tensor and isinstance(tensor, torch.nn.Parameter):
                if torch._has_compatible_shallow_copy_type(tensor, moved):
                    tensor.data = moved
                    moved = tensor
                else:
                    moved = torch.nn.Parameter(moved, requires_grad=tensor.requires_grad)
            self._placed[id(tensor)] = tensor, moved
        return self._placed[id(tensor)][1]


def children_of(module: torch.nn.Module) -> list[torch.nn.Module]:
    """The children of a module, past whatever its class says of them."""
    held = namespace_of(module).get("_modules", {}).values()
    return [child for child in held if is_a(child, torch.nn.Module)]


# --- optimizers of the same file --------------------------------------------------------------------


def left_behind(document: Document, made: Mapping[int, Any], tensors: Mapping[int, torch.Tensor]) -> Iterator[Finding]:
    """Tell of each optimizer that holds parameters that were a module's, and that no module has any more."""
    modules = [(i, document.nodes[i]) for i, obj in made.items() if is_a(obj, torch.nn.Module)]
    had: dict[int, str] = {}
    inner: set[int] = set()
    for _, node in modules:
        assert isinstance(node, Typed)
        for name, value in document.named(node.fields.get("parameters")).items():
            if isinstance(value, TensorRef | Ref):
                held = tensors[value.index] if isinstance(value, TensorRef) else made[value.index]
                had[id(held)] = _name_of(document, value, name)
        children = document.named(node.fields.get("modules")).values()
        inner.update(value.index for value in children if isinstance(value, Ref))
    now = set(_parameters_below(made[i] for i, _ in modules if i not in inner))
    for optimizer in made.values():
        if not is_a(optimizer, torch.optim.Optimizer):
            continue
        groups = namespace_of(optimizer).get("param_groups", ())
        held_by_it = [id(parameter) for group in groups for parameter in group.get("params", ())]
        if lost := [had[one] for one in held_by_it if one in had and one not in now]:
            shown = ", ".join(lost[:_SHOWN]) + (f" and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else "")
            message = f"{type(optimizer).__name__} steps parameters that no module has since the migrations: {shown}."
            yield Finding("optimizer", "warning", "", message, "Make a new one of the model's parameters.")


_SHOWN = 8
"""Parameters that a message names."""


def _name_of(document: Document, value: Value, name: str) -> str:
    return document.tensors.name(value.index) if isinstance(value, TensorRef) else name


def _parameters_below(modules: Iterable[torch.nn.Module]) -> Iterator[int]:
    """The ids of the parameters of modules and of all below them."""
    seen: set[int] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if id(module) not in seen:
            seen.add(id(module))
            yield from map(id, namespace_of(module).get("_parameters", {}).values())
            waiting += children_of(module)
