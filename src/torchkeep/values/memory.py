"""Tensor table -> tensors: memory for the stored tensors, and the views that the object holds."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch

from ..document import CONJ, NEG, PARAMETER, REQUIRES_GRAD, TensorTable, View
from ..errors import LoadError
from .dtypes import BY_NAME, UNCASTABLE, carrier
from .pack import buffer_of, over
from .place import move


@dataclass(slots=True)
class Memory:
    """Memory of one's own for the stored tensors that some rows of a table need.

    Attributes:
        table: the tensor table.
        stored: for each stored tensor that is needed, the contiguous CPU memory that its bytes are read to.
        given: those of them that need no reading: mapped, or without memory.
        cast: rows that came back in another dtype than they were saved in: (name, saved, now).
    """

    table: TensorTable
    stored: dict[int, torch.Tensor] = field(default_factory=dict)
    given: Mapping[int, torch.Tensor] = field(default_factory=dict)
    cast: list[tuple[str, str, str]] = field(default_factory=list)

    def buffers(self) -> dict[int, ctypes.Array[ctypes.c_char]]:
        """A writable buffer over the memory of each stored tensor that has to be read."""
        return {index: buffer_of(tensor) for index, tensor in self.stored.items() if index not in self.given}

    @property
    def mapped_nbytes(self) -> int:
        """Bytes that are the file's own, mapped."""
        return sum(tensor.nbytes for tensor in self.given.values() if tensor.device.type == "cpu")


def allocate(table: TensorTable, rows: Iterable[int], *, given: Mapping[int, torch.Tensor] | None = None) -> Memory:
    """Memory for every stored tensor that `rows` view, but for those that are given.

    Each stored tensor becomes one storage of exactly its size, so that saving or freeing one never drags
    another along.

    Raises:
        LoadError: this torch does not have a dtype of the file.
    """
    memory = Memory(table, given=given or {})
    for index in dict.fromkeys(table.stored[row] for row in rows):
        if index in memory.given:
            memory.stored[index] = memory.given[index]
            continue
        dtype = _dtype(table.dtypes[index])
        try:
            memory.stored[index] = torch.empty(table.shapes[index], dtype=dtype)
        except (RuntimeError, MemoryError) as error:
            raise LoadError(
                f"there is no memory for the {table.nbytes(index)} bytes of {table.names[index]!r}"
            ) from error
    return memory


def _dtype(name: str) -> torch.dtype:
    dtype = BY_NAME.get(name)
    if dtype is None:
        raise LoadError(
            f"the file holds {name} tensors, and torch {torch.__version__} has no such dtype. Nothing was loaded. "
            "Install a newer torch."
        )
    return dtype


def tensors(
    memory: Memory,
    rows: Iterable[int],
    *,
    device: torch.device,
    dtype: torch.dtype | None = None,
    on_cpu: frozenset[int] = frozenset(),
    uncast: frozenset[int] = frozenset(),
) -> dict[int, torch.Tensor]:
    """The tensors of `rows`, once their memory is filled: views, flags, device, dtype.

    Args:
        memory: filled memory.
        rows: rows of the tensor table.
        device: where they go.
        dtype: what floating-point tensors become; None leaves them as they were saved.
        on_cpu: rows that stay on the CPU whatever `device` says (step counters of optimizers). What shares memory
            with one of them and goes elsewhere shares it no more.
        uncast: rows that keep their dtype whatever `dtype` says.

    Raises:
        LoadError: `dtype` asks to cast tensors that see the same bytes in different dtypes.
    """
    table = memory.table
    rows = list(rows)
    by_stored: dict[int, list[int]] = {}
    for row in rows:
        by_stored.setdefault(table.stored[row], []).append(row)
    made: dict[int, torch.Tensor] = {}
    for index, views in by_stored.items():
        base = _arranged(memory.stored[index], table.strides.get(index))
        if dtype is not None and base.dtype != dtype and not uncast.issuperset(views):
            base = _cast(base, dtype, memory, views)
        moved = base
        if device.type != "cpu" and not on_cpu.issuperset(views):
            moved = move(base, device, name=table.names[index])
        for position, row in enumerate(views):
            home = base if row in on_cpu else moved
            view = table.views.get(row)
            same_dtype = view is not None and view.dtype == table.dtypes[index]  # as it may have been cast
            whole = position == 0 and len(views) == 1
            tensor = _view(home, view, home.dtype if same_dtype else None) if view else home if whole else home.detach()
            made[row] = _flagged(tensor, table.flags[row], table.lazy.get(row, 0))
    return {row: made[row] for row in rows}


def _arranged(contiguous: torch.Tensor, strides: tuple[int, ...] | None) -> torch.Tensor:
    """The tensor with its elements laid out in memory as they were."""
    if strides is None:
        return contiguous
    arranged = torch.empty_strided(contiguous.shape, strides, dtype=contiguous.dtype, device=contiguous.device)
    arranged.view(carrier(arranged.dtype)).copy_(contiguous.view(carrier(arranged.dtype)))
    return arranged


def _cast(base: torch.Tensor, dtype: torch.dtype, memory: Memory, views: list[int]) -> torch.Tensor:
    table = memory.table
    dtypes = {table.dtype(row) for row in views}
    saved = str(base.dtype).removeprefix("torch.")
    if saved in UNCASTABLE or not any(BY_NAME[name].is_floating_point for name in dtypes):
        return base
    if dtypes != {saved}:
        raise LoadError(
            f"tensors of {', '.join(sorted(dtypes))} share the bytes of {table.name(views[0])!r}, so they cannot be "
            f"cast to {dtype}. Nothing was loaded. Load without dtype=, and cast afterwards."
        )
    now = str(dtype).removeprefix("torch.")
    memory.cast.append((table.name(views[0]), saved, now))
    return base.to(dtype)


def _view(base: torch.Tensor, view: View, dtype: torch.dtype | None) -> torch.Tensor:
    seen = torch.empty(0, dtype=dtype or _dtype(view.dtype), device=base.device)
    return over(seen, base.untyped_storage(), view.offset, view.shape, view.strides)


def _flagged(tensor: torch.Tensor, flags: int, lazy: int) -> torch.Tensor:
    if lazy & CONJ:
        tensor = tensor.conj()
    if lazy & NEG:
        tensor = torch._neg_view(tensor)
    if flags & PARAMETER:
        return torch.nn.Parameter(tensor, requires_grad=bool(flags & REQUIRES_GRAD))
    return tensor.requires_grad_() if flags & REQUIRES_GRAD else tensor
