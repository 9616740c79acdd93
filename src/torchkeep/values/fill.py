"""`load_into`, once everything fits: first what is read beside the target, then what is written into it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from ..document import DATA_KINDS, Document, Finding, Opaque, TensorRef, Typed, Value
from ..errors import BindError, PartialLoadError, TorchkeepError, TrustError
from .audit import audit
from .bind import Match, extra_states_of, memory_of, tensors_of
from .bind_optimizer import OptimizerMatch, apply
from .binding import Binding
from .build import build
from .memory import Memory, allocate, tensors
from .transfer import (
    Direct,
    assign,
    copy_batch,
    copy_whole,
    intervenes,
    load_by_its_own,
    note_written,
    transfer,
)
from .trust import Resolver

_CPU = torch.device("cpu")


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
    run = _Fill(document, reader, path, replace, allowed, [], [])
    steps = [run.optimizer(found) for found in binding.optimizers.values()]
    steps += [run.extra_state(label, found, binding) for label, found in binding.modules.items() if found.extra]
    steps = [run.module(label, found, binding) for label, found in binding.modules.items()] + steps
    for step in steps:
        run.write(step)
    return run.findings


@dataclass(slots=True)
class _Fill:
    """One load: each method reads what it can beside the target and returns the step that writes."""

    document: Document
    reader: Reader
    path: str
    replace: bool
    allowed: frozenset[str]
    overwritten: list[str]
    findings: list[Finding]

    def write(self, step: Callable[[], None]) -> None:
        try:
            step()
        except PartialLoadError:
            raise
        except Exception as error:
            if not self.overwritten:
                raise
            shown = ", ".join(self.overwritten[:8]) + (", ..." if len(self.overwritten) > 8 else "")
            count = len(self.overwritten)
            things = f"{count} tensor{'s' * (count != 1)}"
            what = error.text if isinstance(error, TorchkeepError) else f"{type(error).__name__}: {error}"
            raise PartialLoadError(
                f"{what.rstrip('.')}. {things} of the target had been overwritten by then: {shown}. "
                'Load a whole copy of the file; verify="first" has every byte checked before one is written.',
                overwritten=tuple(self.overwritten),
            ) from error

    def module(self, label: str, found: Match, binding: Binding) -> Callable[[], None]:
        if intervenes(found.module):
            rows = {name: value.index for name, value in found.given.items() if isinstance(value, TensorRef)}
            state: dict[str, Any] = dict(self._made(rows))
            others = (name for name in found.given if name not in rows)
            state |= {name: self._built(found.given[name]).detach() for name in others}
            state |= {name: self._built(value) for name, value in found.extra.items()}
            targets = tensors_of(found.module)
            state |= {name: targets[name] for name in found.blank}  # as it is: neither has anything to give
            return lambda: self._by_its_own(found, state)
        built = {name: self._built(value).detach() for name, value in found.others.items()}
        if self.replace:
            made = self._made(found.rows) | built

            def put() -> None:
                self.overwritten.extend(binding.label(label, name) for name in made)
                assign(found, made)

            return put

        def write() -> None:
            self._in_place(label, found, binding)
            targets = tensors_of(found.module)
            for name, tensor in built.items():
                self.overwritten.append(binding.label(label, name))
                copy_whole(targets[name], tensor)

        return write

    def _made(self, rows: dict[str, int]) -> dict[str, torch.Tensor]:
        """Tensors of their own for names of the file."""
        memory = allocate(self.document.tensors, rows.values())
        self.reader.fill(memory)
        made = tensors(memory, list(dict.fromkeys(rows.values())), device=_CPU)
        return {name: made[row].detach() for name, row in rows.items()}

    def _in_place(self, label: str, found: Match, binding: Binding) -> None:
        plan = transfer(self.document, found)
        names: dict[object, list[str]] = {}
        targets = tensors_of(found.module)
        for name, target in targets.items():
            names.setdefault(memory_of(target), []).append(binding.label(label, name))
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

    def _by_its_own(self, found: Match, state: dict[str, Any]) -> None:
        def accept(keys: Any) -> None:
            lost = {"missing": list(keys.missing_keys), "unexpected": list(keys.unexpected_keys)}
            problems = [f"{kind} {names}" for kind, names in lost.items() if names and kind not in self.allowed]
            filled = sum(name not in lost["missing"] for name in tensors_of(found.module))
            if found.total and not filled:
                problems.append("no name matched")
            if problems:
                raise RuntimeError("; ".join(problems))
            found.missing, found.unexpected, found.mismatched = lost["missing"], lost["unexpected"], []
            found.by_itself = filled

        try:
            load_by_its_own(found.module, state, assign=self.replace, accept=accept)
        except Exception as error:
            whose, what = type(found.module).__name__, str(error).rstrip(".")
            unchanged = "" if self.overwritten else " The target was not changed."
            raise BindError(f"{whose}'s own load_state_dict: {what}.{unchanged}") from error
        self.findings.append(
            Finding(
                "own-load",
                "note",
                "",
                f"{type(found.module).__name__} has hooks or a load_state_dict of its own, which did the loading.",
            )
        )

    def extra_state(self, label: str, found: Match, binding: Binding) -> Callable[[], None]:
        if intervenes(found.module):
            return lambda: None
        owners = extra_states_of(found.module)
        built = {name: self._built(value) for name, value in found.extra.items()}

        def hand_over() -> None:
            for name, state in built.items():
                self.overwritten.append(binding.label(label, name))
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
