"""Optimizer state in a file -> an optimizer that the caller holds, each state to its own parameter.

torch matches by position alone, so a reordered parameter silently gets another's momentum. Here each parameter
finds its state, in this order: by identity, where the file holds its model beside the optimizer and the target's
model is given beside the target's optimizer; by name, where both have one, in `param_names` or in a model that is
given. What nothing tells apart goes by position, if there is as much of it on both sides, with every state's shape
held against its parameter's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ..document import Document, Ref, Seq, TensorRef, Value, items_of
from . import torch_table
from .bind import SameBytes
from .dtypes import dtype_name
from .names import Renames, match_prefixes
from .registry import class_name

_OWN_SHAPES = frozenset({"row_var", "col_var"})
"""State that Adafactor keeps in other shapes than its parameter's."""


@dataclass(slots=True)
class SavedOptimizer:
    """An optimizer, or the state_dict of one, as a file has it.

    Attributes:
        kind: its class, as the file names it; None for a state_dict.
        groups: hyperparameters of each group, ``params`` and ``param_names`` left out.
        params: for each group its parameters, as keys of `state`.
        names: for each group the names of its parameters, None where the file has none.
        state: for each parameter that has state, the map of it.
    """

    kind: str | None = None
    groups: list[dict[Value, Value]] = field(default_factory=list)
    params: list[list[Value]] = field(default_factory=list)
    names: list[list[str | None]] = field(default_factory=list)
    state: dict[Value, Value] = field(default_factory=dict)


def saved_optimizer(document: Document, value: Value) -> SavedOptimizer | None:
    """Read an optimizer's state from a Document.

    Args:
        document: a checked Document.
        value: an optimizer, or a dict with ``state`` and ``param_groups``.

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
        saved.names.append(_listed(names.items if isinstance(names, Seq) else None, len(params.items)))
    return saved


def _listed(names: Iterable[object] | None, count: int) -> list[str | None]:
    """Names for so many parameters, if there are as many."""
    listed: list[str | None] = [str(name) for name in names or ()]
    return listed if len(listed) == count else [None] * count


@dataclass(frozen=True, slots=True)
class Known:
    """Names that parameters have in the modules that are loaded beside an optimizer.

    Attributes:
        saved: by tensor of the file, the name of the target's that it goes to.
        targets: by `id`, the name of each tensor of the target.
    """

    saved: Mapping[Value, str]
    targets: Mapping[int, str]


@dataclass(slots=True)
class OptimizerMatch:
    """Which state of the file goes to which parameter of the target.

    Attributes:
        optimizer: the target.
        ways: what the match rests on: ``identity``, ``names``, ``position``, as many as took part.
        state: for each position of the target's parameters, the map of its state.
        groups: for each group of the target, the hyperparameters that it takes from the file.
        missing: parameters of the target that the file does not know.
        unexpected: parameters of the file that the target does not have.
        mismatched: state that does not fit: (what, in the file, in the target).
        cast: state whose dtype changed, once it has: (what, in the file, in the target).
        guessed: how many states went by position though the file has names for some, and why.
    """

    optimizer: torch.optim.Optimizer
    ways: list[str] = field(default_factory=list)
    state: dict[int, Value] = field(default_factory=dict)
    groups: list[dict[Value, Value] | None] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[tuple[str, str, str]] = field(default_factory=list)
    cast: list[tuple[str, str, str]] = field(default_factory=list)
    guessed: tuple[int, str] | None = None

    @property
    def how(self) -> str:
        """What the match rests on, as a report has it."""
        return " and ".join(self.ways) or "position"


def match_optimizer(
    document: Document,
    saved: SavedOptimizer,
    optimizer: torch.optim.Optimizer,
    known: Known,
    *,
    renames: Renames,
    same_bytes: SameBytes,
    where: str,
) -> OptimizerMatch:
    """Find the parameter of each saved state.

    Args:
        document: a checked Document.
        saved: the state in the file.
        optimizer: the target.
        known: names in the models beside it.
        renames: the caller's `rename=`, for names in the file.
        same_bytes: whether two stored tensors have the same bytes.
        where: the file, for messages.

    Raises:
        BindError: `rename=` makes two names one.
    """
    found = OptimizerMatch(optimizer)
    if (other := _other_kind(saved, optimizer)) is not None:
        found.groups, found.mismatched = [None] * len(optimizer.param_groups), [other]
        return found
    pairing = _Pairing(found, _of_file(saved, known), _of_target(optimizer, known))
    pairing.by_identity()
    pairing.by_names(renames, where)
    pairing.by_position(saved.state)
    keys = {position: each.key for position, each in pairing.pairs.items()}
    found.state = {position: saved.state[key] for position, key in keys.items() if key in saved.state}
    found.groups = list(_groups(document, saved, found, pairing.pairs, same_bytes))
    if isinstance(optimizer, torch.optim.LBFGS):
        _check_order(saved, found, pairing.pairs)  # its state is of all parameters together, flattened
    else:
        _check_shapes(document, found)
    return found


@dataclass(slots=True)
class _Parameter:
    """A parameter of either side.

    Attributes:
        position: its number among all of its side.
        group: the number of its group.
        key: what the file's state has it under; None for the target's.
        known: its name in a module that is loaded beside the optimizer.
        name: its name in `param_names`, or what is taken for it.
    """

    position: int
    group: int
    key: Value
    known: str | None
    name: str | None

    def __str__(self) -> str:
        if self.known is None and self.name is None and isinstance(self.key, TensorRef | Ref):
            return f"(tensor {self.key.index})"
        return self.known or self.name or f"(parameter {self.position})"


def _of_file(saved: SavedOptimizer, known: Known) -> list[_Parameter]:
    every: list[_Parameter] = []
    for group, (keys, names) in enumerate(zip(saved.params, saved.names, strict=True)):
        for key, name in zip(keys, names, strict=True):
            every.append(_Parameter(len(every), group, key, known.saved.get(key), name))
    return _distinct(every)


def _of_target(optimizer: torch.optim.Optimizer, known: Known) -> list[_Parameter]:
    every: list[_Parameter] = []
    for group, entries in enumerate(optimizer.param_groups):
        parameters = entries["params"]
        for parameter, name in zip(parameters, _listed(entries.get("param_names"), len(parameters)), strict=True):
            every.append(_Parameter(len(every), group, None, known.targets.get(id(parameter)), name))
    return _distinct(every)


def _distinct(parameters: list[_Parameter]) -> list[_Parameter]:
    """A name that several have is none."""
    counts = Counter(each.name for each in parameters)
    for each in parameters:
        if counts[each.name] > 1:
            each.name = None
    return parameters


@dataclass(slots=True)
class _Pairing:
    """Parameters of both sides that have not found each other yet, and those that have.

    Attributes:
        found: what becomes of it.
        saved: parameters of the file, in order.
        wanted: parameters of the target, in order.
        pairs: for each position of the target, the parameter of the file.
        compared: whether names were.
        reason: why what is left of a file that has names would go by position.
    """

    found: OptimizerMatch
    saved: list[_Parameter]
    wanted: list[_Parameter]
    pairs: dict[int, _Parameter] = field(default_factory=dict)
    compared: bool = False
    reason: str = ""

    def by_identity(self) -> None:
        """Pair what belongs to a model that was saved beside the optimizer, and is loaded beside it."""
        if all(each.known is None for each in self.saved):
            return
        self.reason = "no model that was loaded with it has them"
        home: dict[str | None, _Parameter] = {}
        for each in self.saved:
            if each.known is not None:
                home.setdefault(each.known, each)
        self._pair("identity", [(home.get(each.known), each) for each in self.wanted])
        self.found.missing += [str(each) for each in self.wanted if each.known is not None]
        self.found.unexpected += [str(each) for each in self.saved if each.known is not None]
        self.saved = [each for each in self.saved if each.known is None]
        self.wanted = [each for each in self.wanted if each.known is None]

    def by_names(self, renames: Renames, where: str) -> None:
        """Pair what is left and has a name on both sides."""
        new = renames.apply([each.name for each in self.saved if each.name is not None], where=where)
        self.saved = [each for each in self.saved if each.name is None or each.name in new]
        if all(each.name is None for each in self.wanted):
            for each in self.wanted:
                each.name = each.known
        wanted = [each.name for each in self.wanted if each.name is not None]
        # A prefix is looked through between all names of both sides; one name that is left proves nothing.
        prefixed = {} if self.reason else match_prefixes(list(new.values()), wanted)
        if new and not self.reason:
            self.reason = "no name is known on both sides" if wanted else "the file has names, and the target has none"
        if not new or not wanted:
            return
        self.compared = True
        for each in self.saved:
            if each.name is not None:
                each.name = prefixed.get(new[each.name], new[each.name])
        home: dict[str | None, _Parameter] = {each.name: each for each in self.saved if each.name is not None}
        self._pair("names", [(home.get(each.name), each) for each in self.wanted])

    def by_position(self, state: Mapping[Value, Value]) -> None:
        """Pair what nothing tells apart, if both sides have as much of it in as many groups."""
        named = [[each for each in side if each.name is not None] for side in (self.saved, self.wanted)]
        all_named = named == [self.saved, self.wanted]
        if not self.saved or not self.wanted or (self.compared and all_named):
            self.found.missing += map(str, self.wanted)
            self.found.unexpected += map(str, self.saved)
            return
        ours, theirs = _sizes(self.saved), _sizes(self.wanted)
        if self.compared and all(named):
            self._doubt(f"groups of {ours} parameters, some with names", f"groups of {theirs}, some with other names")
        elif ours != theirs:
            without = "that no name tells apart" if self.reason else "without names"
            self._doubt(f"groups of {ours} parameters {without}", f"groups of {theirs} parameters")
        else:
            count = sum(each.key in state for each in self.saved)
            if count and self.reason:
                self.found.guessed = count, self.reason
            self._pair("position", list(zip(self.saved, self.wanted, strict=True)))

    def _doubt(self, ours: str, theirs: str) -> None:
        self.found.mismatched.append(("param_groups", ours, theirs))

    def _pair(self, way: str, pairs: Sequence[tuple[_Parameter | None, _Parameter]]) -> None:
        new = {theirs.position: ours for ours, theirs in pairs if ours is not None}
        if not new:
            return
        self.found.ways.append(way)
        self.pairs |= new
        used = {each.position for each in new.values()}
        self.saved = [each for each in self.saved if each.position not in used]
        self.wanted = [each for each in self.wanted if each.position not in new]


def _sizes(parameters: Iterable[_Parameter]) -> list[int]:
    """How many parameters each group has, of groups that have any."""
    return list(Counter(each.group for each in parameters).values())


def _groups(
    document: Document,
    saved: SavedOptimizer,
    found: OptimizerMatch,
    pairs: Mapping[int, _Parameter],
    same_bytes: SameBytes,
) -> Iterator[dict[Value, Value] | None]:
    """The hyperparameters that each group of the target takes: those of the group that its parameters were in."""
    position = 0
    for number, group in enumerate(found.optimizer.param_groups):
        members = range(position, position + len(group["params"]))
        position = members.stop
        origins = list(dict.fromkeys(pairs[member].group for member in members if member in pairs))
        if not members and number < len(saved.params) and not saved.params[number]:
            origins = [number]  # both empty
        yield saved.groups[origins[0]] if origins else None
        for what, ours in _disagreements(document, saved, origins, same_bytes):
            found.mismatched.append((f"param_groups[{number}][{what!r}]", ours, "one group"))


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


def _parameters(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _check_shapes(document: Document, found: OptimizerMatch) -> None:
    """State of the shape of another parameter belongs to another parameter."""
    parameters = _parameters(found.optimizer)
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


def _check_order(saved: SavedOptimizer, found: OptimizerMatch, pairs: Mapping[int, _Parameter]) -> None:
    """State of all parameters together, flattened, is only good for the same parameters in the same order."""
    order = [pairs[position].position for position in sorted(pairs)]
    count = sum(map(len, saved.params))
    if found.state and not (order == list(range(count)) and count == len(_parameters(found.optimizer))):
        found.mismatched.append(("state", "of all parameters, in their order", "other parameters, or another order"))
        found.state.clear()


def changed_dtypes(found: OptimizerMatch, state: Mapping[int, Any]) -> Iterator[tuple[str, str, str]]:
    """What of the state that the optimizer was handed has another dtype there: (what, in the file, there)."""
    for position, parameter in enumerate(_parameters(found.optimizer)):
        given, held = state.get(position), found.optimizer.state.get(parameter)
        if not isinstance(given, dict) or not isinstance(held, dict):
            continue
        for key, value in given.items():
            pairs = zip(_tensors(value), _tensors(held.get(key)), strict=False)
            changed = [(was.dtype, now.dtype) for was, now in pairs if was.dtype != now.dtype]
            if changed:
                was, now = changed[0]
                yield f"state[{position}][{key!r}]", dtype_name(was), dtype_name(now)


def _tensors(value: Any) -> list[torch.Tensor]:
    held = value if isinstance(value, list | tuple) else [value]
    return [each for each in held if isinstance(each, torch.Tensor)]


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
