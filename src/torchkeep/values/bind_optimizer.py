"""Optimizer state in a file -> an optimizer that the caller holds, each state to its own parameter.

torch matches by position alone, so a reordered parameter silently gets another's momentum. Here a state
finds its parameter, in this order: by identity, where the file holds the model beside the optimizer and
the target's model is given beside the target's optimizer; by name, where both have `param_names`; else by
position, with every state's shape held against its parameter's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from ..document import Document, Ref, Seq, TensorRef, Value, items_of
from . import torch_table
from .bind import SameBytes
from .names import match_prefixes
from .registry import class_name

How = Literal["identity", "names", "position"]

_OWN_SHAPES = frozenset({"row_var", "col_var"})
"""State that Adafactor keeps in other shapes than its parameter's."""


@dataclass(slots=True)
class SavedOptimizer:
    """An optimizer, or the state_dict of one, as a file has it.

    Attributes:
        kind: its class, as the file names it; None for a state_dict.
        groups: hyperparameters of each group, ``params`` and ``param_names`` left out.
        params: for each group its parameters, as keys of `state`.
        names: for each group the names of its parameters, or None where the file has none.
        state: for each parameter that has state, the map of it.
        by_identity: whether the names come from the model that was saved beside it.
    """

    kind: str | None = None
    groups: list[dict[Value, Value]] = field(default_factory=list)
    params: list[list[Value]] = field(default_factory=list)
    names: list[list[str] | None] = field(default_factory=list)
    state: dict[Value, Value] = field(default_factory=dict)
    by_identity: bool = False


def saved_optimizer(
    document: Document, value: Value, names_of_saved: Mapping[Value, str] | None
) -> SavedOptimizer | None:
    """Read an optimizer's state from a Document.

    Args:
        document: a checked Document.
        value: an optimizer, or a dict with ``state`` and ``param_groups``.
        names_of_saved: names that the target's model has for tensors of the file, where the two were saved
            together; None otherwise.

    Returns:
        None where `value` is no optimizer state.
    """
    optimizer = document.typed(value, "optimizer")
    parts = optimizer.fields if optimizer else items_of(document, value) or {}
    groups = document.node(parts.get("param_groups"))
    state = items_of(document, parts.get("state"))
    if not isinstance(groups, Seq) or state is None:
        return None
    saved = SavedOptimizer(optimizer.text("class") if optimizer else None, state=state)
    for group in groups.items:
        entries = dict(items_of(document, group) or {})
        params = document.node(entries.pop("params", None))
        names = document.node(entries.pop("param_names", None))
        if not isinstance(params, Seq):
            return None
        saved.groups.append(entries)
        saved.params.append(list(params.items))
        listed = [str(name) for name in names.items] if isinstance(names, Seq) else None
        saved.names.append(listed if listed is None or len(listed) == len(params.items) else None)
    if names_of_saved is not None and any(p in names_of_saved for params in saved.params for p in params):
        saved.names = [[names_of_saved.get(p, _unnamed(p)) for p in params] for params in saved.params]
        saved.by_identity = True
    return saved


def _unnamed(parameter: Value) -> str:
    """What stands for the name of a parameter that no module of the file has."""
    return f"(tensor {parameter.index})" if isinstance(parameter, TensorRef | Ref) else repr(parameter)


@dataclass(slots=True)
class OptimizerMatch:
    """Which state of the file goes to which parameter of the target.

    Attributes:
        optimizer: the target.
        how: what the match rests on.
        state: for each position of the target's parameters, the map of its state.
        groups: for each group of the target, the hyperparameters that it takes from the file.
        missing: parameters of the target that the file does not know.
        unexpected: parameters of the file that the target does not have.
        mismatched: state that does not fit: (what, in the file, in the target).
    """

    optimizer: torch.optim.Optimizer
    how: How
    state: dict[int, Value] = field(default_factory=dict)
    groups: list[dict[Value, Value] | None] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[tuple[str, str, str]] = field(default_factory=list)


def match_optimizer(
    document: Document,
    saved: SavedOptimizer,
    optimizer: torch.optim.Optimizer,
    names_of_targets: Mapping[int, str] | None,
    same_bytes: SameBytes,
) -> OptimizerMatch:
    """Find the parameter of each saved state.

    Args:
        document: a checked Document.
        saved: the state in the file.
        optimizer: the target.
        names_of_targets: by `id`, names of the target's parameters in the model beside it; None without one.
        same_bytes: whether two stored tensors have the same bytes.
    """
    if (other := _other_kind(saved, optimizer)) is not None:
        return OptimizerMatch(optimizer, "position", groups=[None] * len(optimizer.param_groups), mismatched=[other])
    names = _target_names(optimizer, names_of_targets if saved.by_identity else None)
    if names is None and names_of_targets is not None:
        names = _target_names(optimizer, names_of_targets)
    if names is not None and all(group is not None for group in saved.names):
        found = OptimizerMatch(optimizer, "identity" if saved.by_identity else "names")
        _by_names(document, saved, names, found, same_bytes)
    else:
        found = OptimizerMatch(optimizer, "position")
        _by_position(saved, found)
    _check_shapes(document, found)
    return found


def _target_names(optimizer: torch.optim.Optimizer, by_id: Mapping[int, str] | None) -> list[list[str]] | None:
    """Names of the target's parameters by group; None where any has none."""
    names: list[list[str]] = []
    for group in optimizer.param_groups:
        listed = group.get("param_names")
        if by_id is not None:
            listed = [by_id.get(id(parameter)) for parameter in group["params"]]
        if listed is None or None in listed or len(listed) != len(group["params"]):
            return None
        names.append(list(listed))
    return names


def _by_names(
    document: Document,
    saved: SavedOptimizer,
    names: Sequence[Sequence[str]],
    found: OptimizerMatch,
    same_bytes: SameBytes,
) -> None:
    home = {
        name: (group, key)
        for group, (listed, keys) in enumerate(zip(saved.names, saved.params, strict=True))
        for name, key in zip(listed or (), keys, strict=True)
    }
    prefixed = match_prefixes(list(home), [name for listed in names for name in listed])
    home = {prefixed[name]: place for name, place in home.items()}
    position = 0
    for number, listed in enumerate(names):
        origins: dict[int, None] = {}
        for name in listed:
            if name in home:
                group, key = home.pop(name)
                origins[group] = None
                if key in saved.state:
                    found.state[position] = saved.state[key]
            else:
                found.missing.append(name)
            position += 1
        found.groups.append(saved.groups[next(iter(origins))] if origins else None)
        for what, ours in _disagreements(document, saved, list(origins), same_bytes):
            found.mismatched.append((f"param_groups[{number}][{what!r}]", ours, "one group"))
    found.unexpected.extend(home)


def _disagreements(
    document: Document, saved: SavedOptimizer, origins: list[int], same_bytes: SameBytes
) -> Iterator[tuple[Value, str]]:
    """Hyperparameters in which groups of the file differ that are one group in the target."""
    first = saved.groups[origins[0]] if origins else {}
    for other in origins[1:]:
        for key in dict.fromkeys([*first, *saved.groups[other]]):
            one, two = first.get(key), saved.groups[other].get(key)
            if not _equal(document, one, two, same_bytes):
                yield key, f"{_shown(document, one)} in group {origins[0]}, {_shown(document, two)} in group {other}"


def _equal(document: Document, one: Value, two: Value, same_bytes: SameBytes) -> bool:
    if isinstance(one, TensorRef) and isinstance(two, TensorRef):
        table = document.tensors
        stored = table.stored[one.index], table.stored[two.index]
        return table.shape(one.index) == table.shape(two.index) and same_bytes(*stored)
    return _plain(document, one) == _plain(document, two)


def _plain(document: Document, value: Value) -> object:
    """A hyperparameter for comparing: a tuple of betas by its items."""
    node = document.node(value)
    return node.items if isinstance(node, Seq) else value


def _shown(document: Document, value: Value) -> str:
    return "a tensor" if isinstance(value, TensorRef) else repr(_plain(document, value))


_OPTIONS = frozenset(
    {"amsgrad", "capturable", "decoupled_weight_decay", "differentiable", "foreach", "fused", "maximize"}
)
"""Hyperparameters that older releases of torch did not have."""


def _other_kind(saved: SavedOptimizer, optimizer: torch.optim.Optimizer) -> tuple[str, str, str] | None:
    """What tells that the state is of another kind of optimizer: its class, or what its groups lack."""
    ours = torch_table.name_of(type(optimizer)) or class_name(type(optimizer))
    if saved.kind is not None:
        same = saved.kind.rpartition(".")[2].rpartition(":")[2] == type(optimizer).__name__
        return None if same else ("class", saved.kind, ours)
    lacking = sorted(set(optimizer.defaults) - _OPTIONS - set().union(*saved.groups))
    return ("param_groups", f"without {', '.join(lacking)}", ours) if lacking and saved.groups else None


def _by_position(saved: SavedOptimizer, found: OptimizerMatch) -> None:
    groups = found.optimizer.param_groups
    ours, theirs = [len(params) for params in saved.params], [len(group["params"]) for group in groups]
    if ours != theirs:
        found.mismatched.append(
            ("param_groups", f"groups of {ours} parameters without names", f"groups of {theirs} parameters")
        )
        return
    keys = [key for params in saved.params for key in params]
    found.state = {position: saved.state[key] for position, key in enumerate(keys) if key in saved.state}
    found.groups = list(saved.groups)


def _check_shapes(document: Document, found: OptimizerMatch) -> None:
    """State of the shape of another parameter belongs to another parameter."""
    parameters = [p for group in found.optimizer.param_groups for p in group["params"]]
    if isinstance(found.optimizer, torch.optim.LBFGS):
        return  # its state is of all parameters together, flattened
    for position, state in list(found.state.items()):
        shape = tuple(parameters[position].shape)
        for key, item in (items_of(document, state) or {}).items():
            if not isinstance(item, TensorRef) or key in _OWN_SHAPES:
                continue
            saved = document.tensors.shape(item.index)
            if saved not in ((), (1,), shape):
                what = f"state[{position}][{key!r}]"
                found.mismatched.append((what, f"shape {saved}", f"a parameter of shape {shape}"))
                found.state.pop(position, None)


def apply(found: OptimizerMatch, state: Mapping[int, Any], groups: Sequence[Mapping[str, Any] | None]) -> None:
    """Hand matched state, in memory, to the optimizer's own `load_state_dict`, which casts and places it.

    Args:
        found: the match.
        state: by position, the state of each parameter.
        groups: by group, the hyperparameters that it takes; None leaves it as it is.
    """
    position = 0
    param_groups = []
    for group, taken in zip(found.optimizer.param_groups, groups, strict=True):
        own = {key: value for key, value in group.items() if key != "params"}
        count = len(group["params"])
        param_groups.append(own | dict(taken or {}) | {"params": list(range(position, position + count))})
        position += count
    found.optimizer.load_state_dict({"state": dict(state), "param_groups": param_groups})
