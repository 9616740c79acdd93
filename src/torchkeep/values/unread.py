"""Stored tensors whose bytes need no reading: those that are the file itself, mapped, and those without memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from ..document import Document, TensorRef, TensorTable, Typed, row_major
from .dtypes import BY_NAME
from .pack import over


def unread(
    table: TensorTable,
    rows: Iterable[int],
    *,
    device: torch.device,
    dtype: torch.dtype | None,
    on_cpu: frozenset[int],
    uncast: frozenset[int],
    looked_at: frozenset[int],
    mapped: Callable[[int], memoryview] | None,
) -> dict[int, torch.Tensor]:
    """Those stored tensors that can do without reading, by index.

    A tensor is mapped if the file has it as memory shall have it: on the CPU, in its dtype, its arrangement and at an
    address that suits its elements. All others are left to be read, and their digests to be checked.

    Args:
        table: the tensor table.
        rows: rows of the table that are wanted.
        device: where they go.
        dtype: what floating-point tensors become, or None.
        on_cpu: rows that stay on the CPU whatever `device` says.
        uncast: rows that keep their dtype whatever `dtype` says.
        looked_at: rows of which other values are made, by what their bytes are: always read.
        mapped: gives the file's own bytes of a stored tensor as writable memory; None to map nothing.
    """
    by_stored: dict[int, list[int]] = {}
    for row in rows:
        by_stored.setdefault(table.stored[row], []).append(row)
    found: dict[int, torch.Tensor] = {}
    for index, views in by_stored.items():
        own = BY_NAME.get(table.dtypes[index])
        if own is None or not looked_at.isdisjoint(views):
            continue
        shape = table.shapes[index]
        stays = device.type == "cpu" or on_cpu.issuperset(views)
        as_it_is = dtype in (None, own) or uncast.issuperset(views) or not _has_floats(table, views)
        if device.type == "meta" and on_cpu.isdisjoint(views):
            found[index] = torch.empty(shape, dtype=own, device=device)
        elif mapped is not None and stays and as_it_is and index not in table.strides and table.nbytes(index):
            tensor = _over(mapped(index), own, shape)
            if tensor.data_ptr() % own.itemsize == 0:
                found[index] = tensor
    return found


def _has_floats(table: TensorTable, views: list[int]) -> bool:
    """Whether a cast would touch any of them."""
    return any(BY_NAME[table.dtype(row)].is_floating_point for row in views if table.dtype(row) in BY_NAME)


def _over(memory: memoryview, dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
    """A tensor whose storage is exactly this memory, and keeps it alive."""
    storage = torch.frombuffer(memory, dtype=torch.uint8).untyped_storage()
    return over(torch.empty(0, dtype=dtype), storage, 0, shape, row_major(shape))


def looked_at_rows(document: Document, positions: Iterable[int]) -> frozenset[int]:
    """Tensors that are a field of a value rather than a value of their own: an array's, a long text's."""
    nodes = (document.nodes[position] for position in positions)
    fields = (value for node in nodes if isinstance(node, Typed) for value in node.fields.values())
    return frozenset(value.index for value in fields if isinstance(value, TensorRef))
