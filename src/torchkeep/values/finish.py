"""After the build: modes, the choice of dtype, and the report that an object carries."""

from __future__ import annotations

import functools
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import torch

from ..document import (
    CARRYING_KINDS,
    EXACT_KINDS,
    ROLES,
    TENSOR_KINDS,
    Document,
    Finding,
    Ref,
    Seq,
    TensorRef,
    Typed,
    Value,
    is_optimizer,
    items_of,
)
from .audit import Audit
from .state import is_a, namespace_of


def require_floating(dtype: Any) -> None:
    """
    Raises:
        TypeError: `dtype` is neither None nor a floating-point dtype.
    """
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise TypeError(f"dtype is a floating-point dtype, such as torch.bfloat16, not {dtype!r}")


@dataclass(frozen=True, slots=True)
class OptimizerRows:
    """Tensors that are optimizer state, by row.

    Attributes:
        present: whether there is an optimizer, or an optimizer's state_dict, at all.
        all: rows of all state; a cast leaves them alone.
        steps: rows of step counters that torch keeps on the CPU.
    """

    present: bool
    all: frozenset[int]
    steps: frozenset[int]


def optimizer_rows(document: Document, positions: Iterable[int]) -> OptimizerRows:
    """What of the nodes of a part belongs to optimizers."""
    present = False
    state_rows: set[int] = set()
    seen: set[Value] = set()
    steps: set[int] = set()
    for position in positions:
        value = Ref(position)
        state_rows.update(_rows_of_training(document, position))
        if not is_optimizer(document, value):
            continue
        present = True
        optimizer = document.typed(value, "optimizer")
        parts = optimizer.fields if optimizer else items_of(document, value) or {}
        groups = document.node(parts.get("param_groups"))
        for held in (parts.get("defaults"), *(groups.items if isinstance(groups, Seq) else ())):
            state_rows.update(v.index for v in document.entries(held).values() if isinstance(v, TensorRef))
        on_device = isinstance(groups, Seq) and any(
            entries.get("capturable") or entries.get("fused") for entries in map(document.entries, groups.items)
        )
        for state in document.entries(parts.get("state")).values():
            if state in seen:
                continue
            seen.add(state)
            for name, item in document.entries(state).items():
                if isinstance(item, TensorRef):
                    state_rows.add(item.index)
                    if name == "step" and not on_device:
                        steps.add(item.index)
    return OptimizerRows(present, frozenset(state_rows), frozenset(steps))


def _rows_of_training(document: Document, position: int) -> Iterator[int]:
    """Tensors that a scheduler or a scaler of torch keeps, such as learning rates: attributes, and lists there."""
    node = document.nodes[position]
    of_torch = ("torch.optim.", "torch.amp.")
    if isinstance(node, Typed) and node.kind == "object" and node.text("class").startswith(of_torch):
        for held in document.entries(node.fields["attributes"]).values():
            inner = document.node(held)
            values = inner.items if isinstance(inner, Seq) else (held,)
            yield from (value.index for value in values if isinstance(value, TensorRef))


def host_rows(document: Document, positions: Iterable[int]) -> frozenset[int]:
    """Tensors that only carry something else, such as the bytes of a long text: they stay as they are, on the CPU."""
    rows: set[int] = set()
    for node in (document.nodes[position] for position in positions):
        if isinstance(node, Typed) and node.kind in CARRYING_KINDS:
            rows.update(value.index for value in node.fields.values() if isinstance(value, TensorRef))
        elif isinstance(node, Typed) and node.fields.get("class") == "torch.nn.utils.rnn:PackedSequence":
            items = document.node(node.fields.get("items"))
            sizes = items.items[1:2] if isinstance(items, Seq) else ()  # batch_sizes, which torch wants there
            rows.update(value.index for value in sizes if isinstance(value, TensorRef))
    return frozenset(rows)


@dataclass(frozen=True, slots=True)
class InnerRows:
    """Tensors inside of those that are nodes, by row.

    Attributes:
        on_cpu: rows that torch makes a tensor of where it can look at them; that one then goes to its device.
        exact: rows that a cast would make other numbers of.
    """

    on_cpu: frozenset[int]
    exact: frozenset[int]


def inner_rows(document: Document, positions: Iterable[int]) -> InnerRows:
    """What of the nodes of a part is inside of a tensor."""
    on_cpu: set[int] = set()
    exact: set[int] = set()
    for position in positions:
        node = document.nodes[position]
        if isinstance(node, Typed) and node.kind in TENSOR_KINDS:
            held = (*node.fields.values(), *document.entries(node.fields.get("tensors")).values())
            rows = [value.index for value in held if isinstance(value, TensorRef)]
            exact.update(rows if node.kind in EXACT_KINDS else ())
            on_cpu.update(rows if node.kind not in ROLES else ())
    return InnerRows(frozenset(on_cpu), frozenset(exact))


def set_mode(modules: Iterable[torch.nn.Module], mode: Literal["eval", "train", "saved"]) -> None:
    """Write the training flags; `train()` itself may be overridden, and a load runs no code of a class."""
    if mode != "saved":
        for module in modules:
            namespace_of(module)["training"] = mode == "train"


def route_taken(modules: Iterable[torch.nn.Module], audit: Audit) -> str:
    """What a load did: ``"data"`` where there were no modules."""
    if audit.taken is not None:
        return audit.taken
    return "skeleton" if audit.stood_in else "structure" if any(True for _ in modules) else "data"


def cast_findings(cast: list[tuple[str, str, str]]) -> tuple[Finding, ...]:
    """One warning for all casts of a load."""
    if not cast:
        return ()
    pairs = sorted({f"{saved} to {now}" for _, saved, now in cast})
    return (
        Finding(
            "cast",
            "warning",
            "",
            f"{len(cast)} tensor{'s were' if len(cast) != 1 else ' was'} cast: {', '.join(pairs)}.",
        ),
    )


# --- reports ----------------------------------------------------------------------------------------


_reports: dict[int, tuple[weakref.ref[Any], Any]] = {}
"""By the object's id: something that lives as long as the object does, and the report."""

_loose: deque[tuple[Any, Any]] = deque(maxlen=16)
"""The last objects that nothing weak can point at: plain values without a tensor in them."""


def remember_report(obj: Any, report: Any) -> None:
    """Keep a report for as long as the object lives; the modules of a dict or list get it, too."""
    members = _members(obj)
    anchor = obj if is_a(obj, _WEAKLY_HELD) else next(iter(members), None)
    if anchor is None:
        _loose.append((obj, report))
        return
    for held in (obj, *members):
        key = id(held)
        holds = held if is_a(held, _WEAKLY_HELD) else anchor
        _reports[key] = (weakref.ref(holds, functools.partial(_forget, key)), report)


def _forget(key: int, _: object) -> None:
    _reports.pop(key, None)


def report_of(obj: Any) -> Any:
    """The report that was kept for an object.

    Raises:
        LookupError: none was.
    """
    kept = _reports.get(id(obj))
    if kept is not None:
        anchor = kept[0]()
        if anchor is obj or any(member is anchor for member in _members(obj)):
            return kept[1]
    for held, report in _loose:
        if held is obj:
            return report
    raise LookupError(f"this {type(obj).__name__} was not returned by torchkeep.load")


_WEAKLY_HELD = (torch.nn.Module, torch.Tensor, torch.optim.Optimizer)


def _members(obj: Any) -> list[Any]:
    """What else a report is kept for: modules and optimizers directly in a dict, list or tuple.

    Where there are none, the first tensor, which lives as long as the dict does.
    """
    values = obj.values() if is_a(obj, dict) else obj if is_a(obj, (list, tuple)) else ()
    members = [value for value in values if is_a(value, (torch.nn.Module, torch.optim.Optimizer))]
    return members or [value for value in islice(values, 1) if is_a(value, torch.Tensor)]
