"""`load_into`: the parts of a file that belong to the parts of a target, all checked before any is changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch

from ..document import Document, Finding, StateDict, Value, is_optimizer, items_of, parts_with_weights, state_dict_of
from ..errors import BindError
from .bind import Match, SameBytes, initialized_by_loading, match, refuse_conflicts, tensors_of
from .bind_optimizer import Known, OptimizerMatch, match_optimizer, saved_optimizer
from .names import Renames
from .own_load import Say, say_of, takes

Target: TypeAlias = "torch.nn.Module | torch.optim.Optimizer | Mapping[str, Any]"

_SHOWN = 20
"""Lines of a message; the rest is counted."""


@dataclass(slots=True)
class Binding:
    """What of a file goes where in a target.

    Attributes:
        part: where the weights are, such as ``"['model']"``; ``""`` where they are the whole.
        modules: a match for each module of the target, by label; ``""`` for a target that is one.
        optimizers: the same for optimizers.
        says: for each module, what of its loading is up to itself.
        problems: what does not fit: (kind, where, what), kinds as in `allow`.
        findings: what else was noticed.
    """

    part: str = ""
    modules: dict[str, Match] = field(default_factory=dict)
    optimizers: dict[str, OptimizerMatch] = field(default_factory=dict)
    says: dict[str, Say] = field(default_factory=dict)
    problems: list[tuple[str, str, str]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def label(self, label: str, name: str) -> str:
        """A name of the target as a report has it."""
        return f"{label}.{name}" if label else name


def bind(
    document: Document,
    start: Value,
    target: Target,
    *,
    path: str,
    renames: Renames,
    assign: bool,
    same_bytes: SameBytes,
    allowed: frozenset[str],
) -> Binding:
    """Match a target with the part of a file at `start`; nothing of the target is changed.

    Raises:
        BindError: something does not fit and is not allowed, or nothing matched at all; one message for all.
        TypeError: the target is no module, optimizer, or dict of these.
        ValueError: it is an empty dict.
    """
    found = Binding()
    if isinstance(target, torch.nn.Module):
        found.part, weights = _weights(document, start, path)
        _bind_module(
            found, "", document, weights, target, renames=renames, assign=assign, same_bytes=same_bytes, where=path
        )
    elif isinstance(target, torch.optim.Optimizer):
        found.part, value = _optimizer(document, start, path)
        _bind_optimizer(found, "", document, value, target, path=path, renames=renames, same_bytes=same_bytes)
    elif isinstance(target, Mapping):
        _bind_dict(found, document, start, target, path=path, renames=renames, assign=assign, same_bytes=same_bytes)
    else:
        raise TypeError(f"load_into takes a module, an optimizer, or a dict of these, not {type(target).__name__}")
    renames.require_used(path)
    _require_fit(found, path, allowed)
    return found


def _bind_dict(
    found: Binding,
    document: Document,
    start: Value,
    target: Mapping[str, Any],
    *,
    path: str,
    renames: Renames,
    assign: bool,
    same_bytes: SameBytes,
) -> None:
    if not target:
        raise ValueError(
            "load_into takes a module, an optimizer, or a dict of these, and this dict is empty: nothing would be "
            'loaded. Name parts of the file, such as {"model": model}.'
        )
    for label, part in target.items():
        if not isinstance(part, torch.nn.Module | torch.optim.Optimizer):
            kind = type(part).__name__
            raise TypeError(
                f"load_into takes modules and optimizers; the target's {label!r} is of type {kind}. "
                f"Other parts come from torchkeep.load(path, key={label!r})"
            )
    entries = items_of(document, start) or {}
    if absent := [label for label in target if label not in entries]:
        there = ", ".join(repr(key) for key in entries) or "no parts"
        raise BindError(
            f"{path} has no part {', '.join(map(repr, absent))} for the target; it has {there}. The target was not "
            "changed."
        )
    for label, part in target.items():
        if isinstance(part, torch.nn.Module):
            weights = state_dict_of(document, entries[label])
            if weights is None:
                raise BindError(f"{path}: {label!r} is neither a module nor a state_dict. The target was not changed.")
            _bind_module(
                found, label, document, weights, part, renames=renames, assign=assign, same_bytes=same_bytes, where=path
            )
    for label, part in target.items():
        if isinstance(part, torch.optim.Optimizer):
            _bind_optimizer(
                found, label, document, entries[label], part, path=path, renames=renames, same_bytes=same_bytes
            )


def _weights(document: Document, start: Value, path: str) -> tuple[str, StateDict]:
    """The one state_dict of a part: itself, or the only entry that is one."""
    weights = state_dict_of(document, start)
    if weights is not None:
        return "", weights
    parts = list(parts_with_weights(document, start))
    if len(parts) == 1:
        return f"[{parts[0][0]!r}]", parts[0][1]
    if parts:
        calls = "\n".join(f"  key={key!r}  {len(found.rows)} tensors" for key, found in parts)
        raise BindError(f"{path} has weights in {len(parts)} places; the target was not changed. Choose one:\n{calls}")
    items = items_of(document, start)
    if items is not None and not items:
        return "", StateDict()
    raise BindError(
        f"{path} has no module and no state_dict at its top. The target was not changed. key= names a part further in; "
        "torchkeep.inspect(path) shows the tree."
    )


def _optimizer(document: Document, start: Value, path: str) -> tuple[str, Value]:
    """The one optimizer of a part: itself, or the only entry that is one."""
    if is_optimizer(document, start):
        return "", start
    parts = [(key, item) for key, item in (items_of(document, start) or {}).items() if is_optimizer(document, item)]
    if len(parts) == 1:
        return f"[{parts[0][0]!r}]", parts[0][1]
    if parts:
        keys = ", ".join(f"key={key!r}" for key, _ in parts)
        raise BindError(f"{path} has {len(parts)} optimizers; the target was not changed. Choose one: {keys}")
    raise BindError(
        f"{path} has no optimizer at its top. The target was not changed. key= names a part further in; "
        "torchkeep.inspect(path) shows the tree."
    )


def _bind_module(
    found: Binding,
    label: str,
    document: Document,
    weights: StateDict,
    module: torch.nn.Module,
    *,
    renames: Renames,
    assign: bool,
    same_bytes: SameBytes,
    where: str,
) -> None:
    try:
        made = match(document, weights, module, renames=renames, assign=assign, same_bytes=same_bytes, where=where)
    except RecursionError as error:
        raise BindError(
            f"{where}: the target's modules are nested deeper than torch's own walks go. The target was not changed. "
            "torchkeep.load(path) loads a model of any depth."
        ) from error
    refuse_conflicts(document, made, found.modules, same_bytes)
    found.modules[label] = made
    lazy = initialized_by_loading(module)
    for name, target in tensors_of(module).items():
        if torch.nn.parameter.is_lazy(target) and name not in lazy and name not in made.blank:
            found.problems.append(
                ("lazy", f"{label or 'model'}[{name!r}]", "lazy: run one batch through the target first")
            )
    say = found.says[label] = say_of(module)
    if assign and say.overridden and not takes(module, "assign"):
        raise BindError(
            f"{where}: {type(module).__name__}'s own load_state_dict takes no assign=. The target was not changed. "
            "Leave assign=True out."
        )
    # What a module has its own idea of is up to its load_state_dict, but for what no load can do.
    place = label or "model"
    for name in made.missing:
        if not (say.judges or say.owns(name)):
            found.problems.append(("missing", f"{place}[{name!r}]", "missing from the file"))
    for name in made.unexpected:
        if not (say.judges or say.owns(name)):
            found.problems.append(("unexpected", f"{place}[{name!r}]", "in the file, not in the target"))
    for name, ours, theirs in made.mismatched:
        if name in made.hopeless or not say.owns(name):
            found.problems.append(("mismatched", f"{place}[{name!r}]", f"file: {ours}; target: {theirs}"))
    if (made.total or made.given) and not made.matched and not made.extra and not (say.prefixes or say.judges):
        found.problems.append(("nothing", place, _nothing(made)))


def _nothing(made: Match) -> str:
    if made.mismatched:
        return "every name matched and no tensor fits: is this the model's file?"
    if not made.given:
        return "rename= left no name"
    ours = next(iter(made.given))
    theirs = next(iter(tensors_of(made.module)), None)
    return f"no name matched: the file has names like {ours!r}, the target like {theirs!r}"


def _bind_optimizer(
    found: Binding,
    label: str,
    document: Document,
    value: Value,
    optimizer: torch.optim.Optimizer,
    *,
    path: str,
    renames: Renames,
    same_bytes: SameBytes,
) -> None:
    saved = saved_optimizer(document, value)
    if saved is None:
        raise BindError(f"{path}: {label!r} is no optimizer and no optimizer's state_dict. The target was not changed.")
    known = _known(found)
    made = match_optimizer(document, saved, optimizer, known, renames=renames, same_bytes=same_bytes, where=path)
    found.optimizers[label] = made
    place = label or "optimizer"
    for name in made.missing:
        found.problems.append(("missing", f"{place}[{name!r}]", "its parameter is unknown to the file"))
    for name in made.unexpected:
        found.problems.append(("unexpected", f"{place}[{name!r}]", "a parameter of the file, not of the target"))
    for what, ours, theirs in made.mismatched:
        found.problems.append(("mismatched", f"{place}.{what}", f"file: {ours}; target: {theirs}"))
    if made.guessed is not None:
        number, why = made.guessed
        states = "state of 1 parameter" if number == 1 else f"states of {number} parameters"
        found.findings.append(
            Finding(
                "by-position",
                "warning",
                "",
                f"{path}: {place}: the {states} went by position, and only shapes were compared: {why}.",
                "Load every model of the optimizer with it, or make optimizers from model.named_parameters().",
            )
        )
    if saved.state and not made.state:
        found.problems.append(("nothing", place, "no state of the file belongs to a parameter of the target"))


def _known(found: Binding) -> Known:
    """What the modules that are loaded beside an optimizer tell about its parameters."""
    rows: dict[Value, str] = {}
    targets: dict[int, str] = {}
    for label, made in found.modules.items():
        prefix = f"{label}." if len(found.modules) > 1 else ""
        tensors = tensors_of(made.module)
        for name, tensor in tensors.items():
            targets.setdefault(id(tensor), prefix + name)
        filled = [(name, made.given[name]) for name in (*made.rows, *made.others)]
        for name, row in (*filled, *made.given.items()):
            rows.setdefault(row, targets[id(tensors[name])] if name in tensors else prefix + name)
    return Known(rows, targets)


def _require_fit(found: Binding, path: str, allowed: frozenset[str]) -> None:
    serious = [problem for problem in found.problems if problem[0] not in allowed]
    if not serious:
        return
    total = sum(made.total for made in found.modules.values())
    matched = sum(made.matched for made in found.modules.values())
    ways = sorted({kind for kind, _, _ in serious} - {"nothing"})
    nothing = any(kind == "nothing" for kind, _, _ in serious)
    count = len(serious) - nothing
    things = f" of {total} tensors" if 0 < count <= total and not found.optimizers else " part" + "s" * (count != 1)
    fit = f"{count}{things} do{'es' * (count == 1)} not fit" if count else "nothing fits"
    lines = [f"{path}: {fit}; the target was not changed."]
    lines += _aligned([(where, what) for _, where, what in serious[:_SHOWN]])
    if len(serious) > _SHOWN:
        lines.append(f"  ... and {len(serious) - _SHOWN} more")
    if any(kind == "lazy" for kind, _, _ in serious):
        lines.append("  A lazy module has no shapes to load into yet.")
    elif nothing and count:
        lines.append("  Check with torchkeep.inspect(path), or choose another part with key=.")
    elif nothing:
        lines.append("  Give rename=[(old, new)] to say which names stand for which, or choose another part with key=.")
    else:
        quoted = ", ".join(f'"{way}"' for way in ways)
        rest = f" to load the other {matched}" if matched else ""
        named = bool(found.modules) or any("names" in made.ways for made in found.optimizers.values())
        other = "rename=[(old, new)]" if named else "give the model beside the optimizer, so that names match"
        lines.append(f"  Pass allow={{{quoted}}}{rest}, or {other}.")
    raise BindError("\n".join(lines))


def _aligned(rows: list[tuple[str, str]]) -> Iterator[str]:
    width = min(max(len(where) for where, _ in rows), 60)
    return (f"  {where:{width}s}  {what}" for where, what in rows)
