"""`load_into`, once everything fits: first what is read beside the target, then what is written into it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from ..document import DATA_KINDS, Document, Finding, Opaque, TensorRef, Typed, Value
from ..errors import BindError, PartialLoadError, TorchkeepError, TrustError
from .audit import audit
from .bind import Match, extra_states_of, memory_of, tensors_of
from .bind_optimizer import OptimizerMatch, apply, changed_dtypes
from .binding import Binding
from .build import build
from .dtypes import dtype_name
from .memory import Memory, allocate, tensors
from .own_load import Say, load_by_its_own, lost_names, told
from .transfer import (
    Direct,
    assign,
    copy_batch,
    copy_whole,
    hand_on,
    newly_shared,
    note_written,
    replaced,
    transfer,
)
from .trust import Resolver

_CPU = torch.device("cpu")

_SHOWN = 8
"""Names in a message; the rest is counted."""


class Reader(Protocol):
    """How bytes come from the file; the caller knows where they are."""

    def fill(self, memory: Memory) -> None:
        """Read the bytes of every stored tensor that has memory, and check them."""

    def read(self, direct: Sequence[Direct], started: list[int]) -> None:
        """Read straight into buffers; `started` gets the index of each before it may change."""


def stored_of(document: Document, binding: Binding) -> list[int]:
    """Every stored tensor that a binding will read, once each."""
    rows: list[int] = []
    beside: list[Value] = [
        value for found in binding.modules.values() for value in (*found.given.values(), *found.extra.values())
    ]
    for optimizer in binding.optimizers.values():
        beside += optimizer.state.values()
        beside += [value for taken in optimizer.groups if taken for value in taken.values()]
    for value in beside:
        rows += document.reachable(value)[1]
    return list(dict.fromkeys(document.tensors.stored[row] for row in rows))


def fill(
    document: Document,
    binding: Binding,
    reader: Reader,
    *,
    path: str,
    replace: bool,
    allowed: frozenset[str],
) -> list[Finding]:
    """Load what a binding matched.

    Args:
        document: a checked Document.
        binding: a binding without problems that are not allowed.
        reader: where the bytes come from.
        path: the file, for messages.
        replace: whether tensors take the place of the target's (``assign=True``).
        allowed: losses that are accepted.

    Returns:
        What was noticed.

    Raises:
        LoadError: reading failed before the target was touched.
        PartialLoadError: reading failed afterwards; the message says what was overwritten.
    """
    run = _Fill(document, binding, reader, path, replace, allowed)
    steps = [run.optimizer(found) for found in binding.optimizers.values()]
    steps += [run.extra_state(label, found) for label, found in binding.modules.items() if found.extra]
    steps = [run.module(label, found) for label, found in binding.modules.items()] + steps
    for step in steps:
        run.write(step)
    return [*binding.findings, *run.findings]


@dataclass(slots=True)
class _Fill:
    """One load: each method reads what it can beside the target and returns the step that writes."""

    document: Document
    binding: Binding
    reader: Reader
    path: str
    replace: bool
    allowed: frozenset[str]
    overwritten: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    replaced: dict[int, torch.Tensor] = field(default_factory=dict)
    kept: list[dict[str, torch.Tensor]] = field(default_factory=list)
    """What was replaced, which an `id` stands for as long as it lives."""

    def write(self, step: Callable[[], None]) -> None:
        try:
            step()
        except PartialLoadError:
            raise
        except Exception as error:
            if not self.overwritten:
                raise
            shown = ", ".join(self.overwritten[:_SHOWN]) + (", ..." if len(self.overwritten) > _SHOWN else "")
            count = len(self.overwritten)
            things = f"{count} tensor{'s' * (count != 1)}"
            what = error.text if isinstance(error, TorchkeepError) else f"{type(error).__name__}: {error}"
            raise PartialLoadError(
                f"{what.rstrip('.')}. {things} of the target had been overwritten by then: {shown}. "
                'Load a whole copy of the file; verify="first" has every byte checked before one is written.',
                overwritten=tuple(self.overwritten),
            ) from error

    def module(self, label: str, found: Match) -> Callable[[], None]:
        say = self.binding.says[label]
        if say.loads:
            state = self._state_for(found, say)
            return lambda: self._replacing(label, found, lambda: self._by_its_own(label, found, say, state))
        built = {name: self._built(value).detach() for name, value in found.others.items()}
        if self.replace:
            made = self._made(found.rows) | built

            def put() -> None:
                self.overwritten.extend(self.binding.label(label, name) for name in made)
                assign(found, made, self.replaced)

            return lambda: self._replacing(label, found, put)

        def write() -> None:
            self._in_place(label, found)
            targets = tensors_of(found.module)
            for name, tensor in built.items():
                self.overwritten.append(self.binding.label(label, name))
                copy_whole(targets[name], tensor)

        return write

    def _replacing(self, label: str, found: Match, step: Callable[[], None]) -> None:
        """Take a step in which tensors may be replaced, and have the optimizers go on with the new ones."""
        before = tensors_of(found.module)
        step()
        after = tensors_of(found.module)
        new = replaced(before, after)
        if not new:
            return
        self.kept.append(before)
        self.replaced |= new
        for optimizer in self.binding.optimizers.values():
            hand_on(optimizer.optimizer, new)
        for one, other in newly_shared(before, after):
            names = f"{self.binding.label(label, one)!r} and {self.binding.label(label, other)!r}"
            self.findings.append(
                Finding(
                    "shared",
                    "warning",
                    "",
                    f"{self.path}: {names} are one tensor in the file and two in the target, over the same memory now:",
                    "what changes one changes the other. Tie them in the target, or load without assign=True.",
                )
            )

    def _state_for(self, found: Match, say: Say) -> dict[str, Any]:
        """What a module's own `load_state_dict` gets: all of the file but what is known not to fit."""
        out = found.hopeless | {name for name, *_ in found.mismatched if not say.owns(name)}
        given = {name: value for name, value in found.given.items() if name not in out}
        rows = {name: value.index for name, value in given.items() if isinstance(value, TensorRef)}
        state: dict[str, Any] = dict(self._made(rows))
        state |= {name: self._built(value).detach() for name, value in given.items() if name not in rows}
        state |= {name: self._built(value) for name, value in found.extra.items()}
        targets = tensors_of(found.module)
        state |= {name: targets[name] for name in found.blank}  # as it is: neither has anything to give
        self._tie(found, state, targets)
        return state

    def _tie(self, found: Match, state: dict[str, Any], targets: dict[str, torch.Tensor]) -> None:
        """Let every name of one tensor have the same values: under ``assign=True``, the same parameter."""
        same = id if self.replace else memory_of
        names: dict[object, list[str]] = {}
        for name in (*found.rows, *found.tied):
            names.setdefault(same(targets[name]), []).append(name)
        for tied in names.values():
            if len(tied) == 1 or tied[0] not in state:
                continue
            first, target = state[tied[0]], targets[tied[0]]
            if self.replace and isinstance(target, torch.nn.Parameter):
                first = torch.nn.Parameter(first, requires_grad=target.requires_grad)
            state |= dict.fromkeys(tied, first)

    def _made(self, rows: dict[str, int]) -> dict[str, torch.Tensor]:
        """Tensors of their own for names of the file."""
        memory = allocate(self.document.tensors, rows.values())
        self.reader.fill(memory)
        made = tensors(memory, list(dict.fromkeys(rows.values())), device=_CPU)
        return {name: made[row].detach() for name, row in rows.items()}

    def _in_place(self, label: str, found: Match) -> None:
        plan = transfer(self.document, found)
        names: dict[object, list[str]] = {}
        targets = tensors_of(found.module)
        for name, target in targets.items():
            names.setdefault(memory_of(target), []).append(self.binding.label(label, name))
        started: list[int] = []
        try:
            self.reader.read(plan.direct, started)
        finally:
            for i in started:
                self.overwritten.extend(names.pop(memory_of(targets[plan.direct[i].name]), ()))
            note_written(plan)
        for batch in plan.batches:
            memory = allocate(self.document.tensors, [staged.row for staged in batch])
            self.reader.fill(memory)
            for name in copy_batch(batch, memory):
                self.overwritten.extend(names.pop(memory_of(targets[name]), ()))

    def _by_its_own(self, label: str, found: Match, say: Say, state: dict[str, Any]) -> None:
        """Hand a state over; if that fails and misfits are allowed, once more without those it might have mended."""
        whose = type(found.module).__name__
        misfits = {name for name, *_ in found.mismatched}
        doubtful = misfits & set(state)
        retry = bool(doubtful) and "mismatched" in self.allowed
        try:
            try:
                self._hand_over(found, say, state, misfits - doubtful)
            except Exception:
                if not retry:
                    raise
                self._hand_over(found, say, state, misfits)
        except Exception as error:
            unchanged = "" if self.overwritten else " The target was not changed."
            hint = f' Pass allow={{"mismatched"}} to leave out {len(doubtful)} that may not fit.' if doubtful else ""
            raise BindError(
                f"{whose}'s own load_state_dict: {told(error)}.{unchanged}{'' if retry else hint}"
            ) from error
        self.overwritten.extend(self.binding.label(label, name) for name in tensors_of(found.module) if name in state)
        self.findings.append(
            Finding(
                "own-load", "note", "", f"{whose} has hooks or a load_state_dict of its own, which did the loading."
            )
        )

    def _hand_over(self, found: Match, say: Say, state: dict[str, Any], out: set[str]) -> None:
        offered = {name: value for name, value in state.items() if name not in out}
        targets = tensors_of(found.module)
        dtypes = {name: dtype_name(tensor.dtype) for name, tensor in targets.items()}
        lossless = {"missing", "unexpected"}.isdisjoint(self.allowed)

        def accept(answer: Any) -> None:
            missing, unexpected = lost_names(answer)
            missing = [name for name in missing if name not in out]
            unexpected += [name for name in found.unexpected if name not in offered]
            lost = {"missing": missing, "unexpected": unexpected}
            problems = [
                f"{kind} {_listed(names)}" for kind, names in lost.items() if names and kind not in self.allowed
            ]
            gone = out | set(missing)
            filled = [name for name in targets if name not in gone]
            if found.total and not filled:
                problems.append("no name matched")
            if void := [
                name for name, tensor in tensors_of(found.module).items() if name in offered and tensor.is_meta
            ]:
                problems.append(f"{_listed(void)} on the meta device, which holds no values: pass assign=True")
            if problems:
                raise RuntimeError("; ".join(problems))
            if answer is None and not lossless and (found.missing or found.unexpected):
                self.findings.append(_untold(found))
            found.missing, found.unexpected, found.by_itself = missing, unexpected, len(filled)
            found.mismatched = [row for row in found.mismatched if row[0] in out]
            pairs = [] if self.replace else [name for name in filled if name in offered and name in found.given]
            casts = [(name, dtype_name(offered[name].dtype), dtypes[name]) for name in pairs]
            found.cast = [row for row in casts if row[1] != row[2]]

        load_by_its_own(
            found.module,
            offered,
            strict=say.overridden and lossless and not out,
            assign=self.replace,
            accept=accept,
        )

    def extra_state(self, label: str, found: Match) -> Callable[[], None]:
        if self.binding.says[label].loads:
            return lambda: None
        owners = extra_states_of(found.module)
        built = {name: self._built(value) for name, value in found.extra.items()}

        def hand_over() -> None:
            for name, state in built.items():
                self.overwritten.append(self.binding.label(label, name))
                owners[name].set_extra_state(state)

        return hand_over

    def optimizer(self, found: OptimizerMatch) -> Callable[[], None]:
        for value in (*found.state.values(), *(item for taken in found.groups if taken for item in taken.values())):
            self._require_data(value)
        state = {position: self._built(value) for position, value in found.state.items()}
        groups = [
            None if taken is None else {str(key): self._built(value) for key, value in taken.items()}
            for taken in found.groups
        ]
        return lambda: self._apply(found, state, groups)

    def _require_data(self, value: Value) -> None:
        """Optimizer state is plain data: torch makes new containers of its type with what is in them."""
        for position in self.document.reachable(value)[0]:
            node = self.document.nodes[position]
            if isinstance(node, Typed | Opaque) and not (isinstance(node, Typed) and node.kind in DATA_KINDS):
                what = node.kind if isinstance(node, Typed) else node.what
                raise BindError(f"{self.path}: optimizer state holds a {what}. The target was not changed.")

    def _apply(self, found: OptimizerMatch, state: dict[int, Any], groups: list[Any]) -> None:
        self.overwritten.append(f"the state of {type(found.optimizer).__name__}")
        apply(found, state, groups)
        found.cast = list(changed_dtypes(found, state))

    def _built(self, value: Value) -> Any:
        """A value of the file as an object: plain data, since nobody opened any class."""
        positions, rows = self.document.reachable(value)
        memory = allocate(self.document.tensors, rows)
        self.reader.fill(memory)
        made = tensors(memory, rows, device=_CPU)
        try:
            opened = audit(self.document, positions, Resolver(None, ()), path=self.path)
        except TrustError as error:
            raise TrustError(
                f"{self.path}: the state holds objects of {', '.join(error.names)}, which load_into makes only for "
                "classes that are registered. The target was not changed. Call torchkeep.register(cls) for each.",
                names=error.names,
            ) from error
        self.findings.extend(opened.findings)
        return build(self.document, value, made, opened).obj


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{names[:_SHOWN]}{more}"


def _untold(found: Match) -> Finding:
    """What names alone tell of a load whose own `load_state_dict` returned nothing."""
    lacks = f"{len(found.missing)} of the target's names are not in the file, {len(found.unexpected)} of the file's not"
    return Finding(
        "own-load",
        "warning",
        "",
        f"{type(found.module).__name__}'s own load_state_dict does not tell what was left out: {lacks} in the target.",
        "Let it return what torch's returns.",
    )
