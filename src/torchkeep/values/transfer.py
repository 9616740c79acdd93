"""Matched tensors -> where their bytes go: straight into the target's memory where that is possible."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from ..document import Document
from .bind import Match, memory_of, tensors_of
from .dtypes import dtype_name
from .encode import is_plain
from .memory import Memory, tensors
from .pack import buffer_of

_BATCH_NBYTES = 256 << 20
"""Most bytes held beside the target at a time, unless one tensor alone is larger."""


@dataclass(slots=True)
class Direct:
    """A stored tensor whose bytes are read straight into a tensor of the target."""

    name: str
    stored: int
    buffer: Any


@dataclass(slots=True)
class Staged:
    """A tensor that is read beside the target and then copied: cast, moved, or laid out otherwise."""

    name: str
    row: int
    target: torch.Tensor


@dataclass(slots=True)
class Transfer:
    """Everything that a match moves.

    Attributes:
        direct: reads into the target's own memory.
        batches: tensors that are read and copied, some at a time.
        written: the target's tensors that direct reads change.
    """

    direct: list[Direct] = field(default_factory=list)
    batches: list[list[Staged]] = field(default_factory=list)
    written: list[torch.Tensor] = field(default_factory=list)


def transfer(document: Document, found: Match) -> Transfer:
    """Say how each matched tensor moves; the target is not touched."""
    table = document.tensors
    targets = tensors_of(found.module)
    plan = Transfer()
    room = 0
    for name, row in found.rows.items():
        target = targets[name]
        stored = table.stored[row]
        if _is_direct(document, row, target):
            plan.direct.append(Direct(name, stored, buffer_of(target.detach())))
            plan.written.append(target)
            continue
        nbytes = table.nbytes(stored)
        if not plan.batches or room < nbytes:
            plan.batches.append([])
            room = _BATCH_NBYTES
        plan.batches[-1].append(Staged(name, row, target))
        room -= nbytes
    return plan


def _is_direct(document: Document, row: int, target: torch.Tensor) -> bool:
    """Whether the bytes in the file are the bytes that the target's memory shall have."""
    table = document.tensors
    return (
        row not in table.views
        and row not in table.lazy
        and target.device.type == "cpu"
        and target.is_contiguous()
        and not target.is_conj()
        and not target.is_neg()
        and dtype_name(target.dtype) == table.dtype(row)
    )


def note_written(plan: Transfer) -> None:
    """Tell autograd of the memory that changed behind its back."""
    tracked = [tensor for tensor in plan.written if not tensor.is_inference()]
    if tracked:
        torch.autograd.graph.increment_version(tracked)


def copy_batch(batch: list[Staged], memory: Memory) -> Iterator[str]:
    """Copy a batch from filled memory into the target; gives each name before it is written."""
    made = tensors(memory, [staged.row for staged in batch], device=torch.device("cpu"))
    for staged in batch:
        yield staged.name
        with torch.inference_mode(staged.target.is_inference()), torch.no_grad():
            staged.target.copy_(made[staged.row])


def copy_whole(target: torch.Tensor, tensor: torch.Tensor) -> None:
    """Copy a sparse or quantized tensor over one of its layout and dtype: with its indices, scale and zero point."""
    with torch.inference_mode(target.is_inference()), torch.no_grad():
        if target.layout not in (torch.strided, torch.sparse_coo):
            target.resize_as_sparse_(tensor)
        target.copy_(tensor)


def assign(found: Match, made: dict[str, torch.Tensor], new: dict[int, torch.Tensor]) -> None:
    """Put tensors in the place of the target's own, by name, and under every other name that a replaced one had.

    As with torch's ``assign=True``, the file's dtype stays, and the target's `requires_grad`.

    Args:
        found: the match.
        made: tensors by name of the target.
        new: what took the place of tensors of other modules, by `id`: one that modules share stays shared, where
            it gets the same values from both.
    """
    targets = tensors_of(found.module)
    own: dict[int, torch.Tensor] = {}
    for name, given in made.items():
        target = targets[name]
        if id(target) not in own:
            tensor = given.detach()
            if isinstance(target, torch.nn.Parameter):
                tensor = torch.nn.Parameter(tensor, requires_grad=target.requires_grad)
            before = new.get(id(target))
            own[id(target)] = before if before is not None and _equal(before, tensor) else tensor
    for name, target in targets.items():
        if id(target) in own:
            parent_name, _, last = name.rpartition(".")
            parent = found.module.get_submodule(parent_name)
            owned: dict[str, Any] = parent._parameters if last in parent._parameters else parent._buffers
            owned[last] = own[id(target)]


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    plain = is_plain(one) and is_plain(other)
    return plain and one.dtype == other.dtype and one.shape == other.shape and torch.equal(one, other)


def replaced(before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor]) -> dict[int, torch.Tensor]:
    """What took whose place: by `id` of the tensor that was there, the first that took one of its places."""
    new: dict[int, torch.Tensor] = {}
    for name, tensor in before.items():
        if name in after and after[name] is not tensor:
            new.setdefault(id(tensor), after[name])
    return new


def newly_shared(before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor]) -> list[tuple[str, str]]:
    """Names of tensors that are different objects over the same memory, and were not: pairs with the first of each."""
    first: dict[object, str] = {}
    found = []
    for name, tensor in after.items():
        other = first.setdefault(memory_of(tensor), name)
        same_before = name in before and other in before and memory_of(before[name]) == memory_of(before[other])
        if after[other] is not tensor and not same_before:
            found.append((other, name))
    return found


def hand_on(optimizer: torch.optim.Optimizer, new: Mapping[int, torch.Tensor]) -> None:
    """Let an optimizer go on with what took the places of its parameters, in its groups and in its state."""
    for group in optimizer.param_groups:
        group["params"][:] = [new.get(id(parameter), parameter) for parameter in group["params"]]
    for old in [key for key in optimizer.state if id(key) in new]:
        optimizer.state[new[id(old)]] = optimizer.state.pop(old)
