"""Tensors -> tensor table and bytes: which memory is stored, under which name, and who views it.

Tensors that share bytes share one stored tensor. Tensors that only share an allocation, without sharing
a byte, are stored apart: nothing can tell, and each then has a name that other tools can read.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import torch

from ..document import (
    CONJ,
    NEG,
    PARAMETER,
    REQUIRES_GRAD,
    SAFETENSORS_NAME,
    Finding,
    Shape,
    TensorTable,
    View,
    extent,
    is_contiguous,
    is_dense,
    row_major,
)
from ..errors import SaveError, printable
from ..limits import LIMITS
from .dtypes import carrier, dtype_name

RESERVED = "__torchkeep__/"
"""Names that no state_dict has: raw memory, hidden tensors, names that collide."""

_CUT_NBYTES = 256
"""What is left of a name that is too long."""

_WASTE_NBYTES = 4096
"""Unused bytes of an allocation that are worth a note."""


@dataclass(frozen=True, slots=True)
class Found:
    """A tensor met in the object, and the name it asks for.

    Attributes:
        tensor: the tensor.
        name: dotted name, as a state_dict would have it.
        hidden: whether no state_dict holds it, so that its name is reserved.
    """

    tensor: torch.Tensor
    name: str
    hidden: bool


@dataclass(slots=True)
class _Piece:
    """The memory that one tensor reaches, in bytes from the start of its storage."""

    row: int
    memory: torch.Tensor
    begin: int
    end: int


@dataclass(slots=True)
class Packed:
    """A tensor table, the memory behind each stored tensor, and what was noticed."""

    table: TensorTable = field(default_factory=TensorTable)
    memory: list[torch.Tensor] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def buffers(self, order: Iterable[int]) -> Iterator[ctypes.Array[ctypes.c_char]]:
        """The bytes of each stored tensor in contiguous logical order, made one at a time."""
        for index in order:
            if is_cut(self.memory[index]):
                what = f"{printable(self.table.names[index])}: its memory {_CUT} while it was being saved"
                raise SaveError(f"{what}. Nothing was written. Save it again.")
            yield buffer_of(self.memory[index])


_CUT = "was freed or made smaller (by storage.resize_(), as sharding does)"


def is_cut(tensor: torch.Tensor) -> bool:
    """Whether a tensor reaches beyond its storage; torch looks for that when it makes a view, and not afterwards."""
    end = extent(tuple(tensor.shape), tensor.stride(), int(tensor.storage_offset())) * tensor.itemsize
    return tensor.numel() > 0 and end > tensor.untyped_storage().nbytes()


def pack(found: list[Found], path_of: Callable[[int], str]) -> Packed:
    """Lay out the tensors of an object; `path_of` tells where the tensor of a row is, for messages."""
    packed = Packed()
    table = packed.table
    table.stored = [-1] * len(found)
    by_storage: dict[object, list[_Piece]] = {}
    for row, item in enumerate(found):
        tensor = item.tensor
        table.flags.append(
            (PARAMETER if type(tensor) is torch.nn.Parameter else 0) | (REQUIRES_GRAD if tensor.requires_grad else 0)
        )
        memory, lazy = _physical(tensor)
        if lazy:
            table.lazy[row] = lazy
        itemsize = memory.itemsize
        begin = int(memory.storage_offset()) * itemsize
        end = begin + memory.nbytes
        if not memory.is_contiguous():
            end = begin + extent(tuple(memory.shape), memory.stride(), 0) * itemsize
        if is_cut(memory):
            where = printable(path_of(row))
            raise SaveError(f"{where} cannot be saved: its memory {_CUT}. Nothing was written. Fill it again first.")
        key = _identity(memory.untyped_storage()) if end > begin else ("empty", row)
        by_storage.setdefault(key, []).append(_Piece(row, memory, begin, end))
    taken: dict[str, int] = {}
    clusters = [cluster for pieces in by_storage.values() for cluster in _clusters(pieces)]
    for cluster in clusters:
        cluster.sort(key=_row)
    for cluster in sorted(clusters, key=lambda pieces: pieces[0].row):
        _store(cluster, found, packed, taken)
    for pieces in by_storage.values():
        _note_unused(pieces, path_of, packed)
    return packed


def _identity(storage: torch.UntypedStorage) -> object:
    """What two storages have in common if they are one memory: `torch.from_numpy` makes a new one at each call."""
    return ("cpu", storage.data_ptr()) if storage.device.type == "cpu" else storage._cdata


def _physical(tensor: torch.Tensor) -> tuple[torch.Tensor, int]:
    """The tensor as its memory is, and the lazy bits that torch reads it through."""
    memory = tensor.detach()
    lazy = 0
    if memory.is_neg():
        memory, lazy = torch._neg_view(memory), NEG
    if memory.is_conj():
        memory, lazy = memory.conj(), lazy | CONJ
    return memory, lazy


def _clusters(pieces: list[_Piece]) -> Iterator[list[_Piece]]:
    """Pieces of one storage, grouped so that those of different groups share no byte."""
    if len(pieces) == 1:
        yield pieces
        return
    pieces = sorted(pieces, key=lambda piece: (piece.begin, piece.end))
    cluster, end = [pieces[0]], pieces[0].end
    for piece in pieces[1:]:
        if piece.begin >= end:
            yield cluster
            cluster = []
        cluster.append(piece)
        end = max(end, piece.end)
    yield cluster


def _store(cluster: list[_Piece], found: list[Found], packed: Packed, taken: dict[str, int]) -> None:
    """One stored tensor for a cluster, and a view for each tensor that is not all of it."""
    base = _base(cluster)
    if base is None:
        _store_raw(cluster, found, packed, taken)
        return
    stored = _add(packed, base.memory, _name_for(base, found, packed.table, taken), taken)
    if not base.memory.is_contiguous() and (strides := _closed_up(base.memory)) is not None:
        packed.table.strides[stored] = strides
    shape = packed.table.shapes[stored]
    strides = packed.table.strides.get(stored) or row_major(shape)
    whole = View(packed.table.dtypes[stored], shape, strides, 0)
    for piece in cluster:
        packed.table.stored[piece.row] = stored
        if piece is base:
            continue
        view = _view(piece, base.begin)
        if view != whole:
            packed.table.views[piece.row] = view


def _store_raw(cluster: list[_Piece], found: list[Found], packed: Packed, taken: dict[str, int]) -> None:
    """The bytes that a cluster reaches, as they lie in memory, where no tensor of it is all of them."""
    begin = min(piece.begin for piece in cluster)
    begin -= begin % max(piece.memory.itemsize for piece in cluster)
    memory = _raw(cluster, begin, max(piece.end for piece in cluster))
    stored = _add(packed, memory, _unique(RESERVED + found[cluster[0].row].name, taken), taken)
    for piece in cluster:
        packed.table.stored[piece.row] = stored
        packed.table.views[piece.row] = _view(piece, begin)


def _add(packed: Packed, memory: torch.Tensor, name: str, taken: dict[str, int]) -> int:
    """A new stored tensor; its index."""
    table = packed.table
    taken.setdefault(name, 1)
    table.names.append(name)
    table.dtypes.append(dtype_name(memory.dtype))
    table.shapes.append(tuple(memory.shape))
    packed.memory.append(memory)
    return len(packed.memory) - 1


def _name_for(base: _Piece, found: list[Found], table: TensorTable, taken: dict[str, int]) -> str:
    """The name that the tensor asks for, if other tools read under it what it holds; else a reserved one."""
    owner = found[base.row]
    readable = base.row not in table.lazy and not owner.hidden and _is_nameable(base.memory)
    if readable and owner.name not in taken and _is_writable(owner.name):
        return owner.name
    return _unique(RESERVED + owner.name, taken)


def _view(piece: _Piece, begin: int) -> View:
    memory = piece.memory
    offset = (piece.begin - begin) // memory.itemsize
    return View(dtype_name(memory.dtype), tuple(memory.shape), memory.stride(), offset)


def _base(cluster: list[_Piece]) -> _Piece | None:
    """The tensor whose memory is that of the whole cluster, so that its bytes serve for all; None without one."""
    if len(cluster) == 1:
        memory = cluster[0].memory  # gaps between its elements, if any, belong to nobody: they are not stored
        return cluster[0] if _is_dense(memory) or _is_disjoint(memory) else None
    begin = min(piece.begin for piece in cluster)
    end = max(piece.end for piece in cluster)
    if any((piece.begin - begin) % piece.memory.itemsize for piece in cluster):
        return None
    whole = (piece for piece in cluster if piece.begin == begin and piece.end == end and _is_dense(piece.memory))
    return next(whole, None)


def _row(piece: _Piece) -> int:
    return piece.row


def _is_dense(memory: torch.Tensor) -> bool:
    return memory.is_contiguous() or is_dense(tuple(memory.shape), memory.stride())


def _closed_up(memory: torch.Tensor) -> Shape | None:
    """The strides of a tensor without the gaps between its elements; None where they are then row-major."""
    shape, strides = tuple(memory.shape), memory.stride()
    if not is_dense(shape, strides):
        dense, step = list(strides), 1
        for axis in sorted(range(len(shape)), key=lambda axis: (strides[axis], shape[axis])):
            dense[axis] = step
            step *= max(1, shape[axis])
        strides = tuple(dense)
    return None if is_contiguous(shape, strides) else strides


def _is_disjoint(memory: torch.Tensor) -> bool:
    """Whether no two elements share memory, as far as sorted strides show it."""
    reach = 0
    for stride, size in sorted(zip(memory.stride(), memory.shape, strict=True)):
        if size > 1:
            if stride <= reach:
                return False
            reach += (size - 1) * stride
    return True


def _raw(cluster: list[_Piece], begin: int, end: int) -> torch.Tensor:
    """Bytes `begin` to `end` of a storage: in the element type of its views if they have one, else bytes."""
    first = cluster[0].memory
    dtype = first.dtype if all(piece.memory.dtype == first.dtype for piece in cluster) else torch.uint8
    raw = torch.empty(0, dtype=dtype, device=first.device)
    storage = max((piece.memory.untyped_storage() for piece in cluster), key=torch.UntypedStorage.nbytes)
    return over(raw, storage, begin // raw.itemsize, ((end - begin) // raw.itemsize,), (1,))


def over(
    tensor: torch.Tensor, storage: torch.UntypedStorage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> torch.Tensor:
    """`tensor`, made to see `storage` with this geometry, in elements of its own dtype."""
    seen: torch.Tensor = tensor.set_(storage, offset, shape, strides)
    return seen


def _is_nameable(memory: torch.Tensor) -> bool:
    """Whether safetensors has a name for the element type; F4 needs a last size to double."""
    name = SAFETENSORS_NAME.get(dtype_name(memory.dtype))
    return name is not None and not (name == "F4" and memory.dim() == 0)


def _is_writable(name: str) -> bool:
    """Whether a name can stand in a header as it is."""
    if not name or name == "__metadata__" or name.startswith(RESERVED) or "\ufffd" in name:
        return False
    return (name.isascii() and len(name) <= LIMITS.name_nbytes) or len(name.encode()) <= LIMITS.name_nbytes


def _unique(name: str, taken: dict[str, int]) -> str:
    """`name`, cut if it is beyond the limit, and numbered if somebody has it."""
    if len(text := name.encode()) > LIMITS.name_nbytes - 16:
        name = text[:_CUT_NBYTES].decode("utf-8", "ignore")  # short: a deep object has many, all of them in the header
    candidate, count = name, taken.get(name, 0)
    while candidate in taken:
        count += 1
        candidate = f"{name}~{count}"
    if candidate != name:
        taken[name] = count  # where the next one goes on
    return candidate


def _note_unused(pieces: list[_Piece], path_of: Callable[[int], str], packed: Packed) -> None:
    """Say so where an allocation is far larger than what the object uses of it, or has gaps that are closed."""
    first = pieces[0]
    if first.end == first.begin:
        return
    have = first.memory.untyped_storage().nbytes()
    stored = {packed.table.stored[piece.row] for piece in pieces}
    used = sum(packed.memory[index].nbytes for index in stored)
    for piece in pieces:
        if packed.memory[packed.table.stored[piece.row]] is piece.memory and not _is_dense(piece.memory):
            message = f"has gaps between its elements (strides {piece.memory.stride()}); they were not written."
            packed.findings.append(Finding("packed", "note", printable(path_of(piece.row)), message))
    if have - used > max(_WASTE_NBYTES, used):
        packed.findings.append(
            Finding(
                "trimmed",
                "note",
                printable(path_of(first.row)),
                f"uses {used} bytes of an allocation of {have}; only those were written.",
            )
        )


def buffer_of(tensor: torch.Tensor) -> ctypes.Array[ctypes.c_char]:
    """A buffer over the tensor's bytes in contiguous logical order; it keeps that memory alive.

    A contiguous tensor in the CPU's memory is not copied: writing to the buffer writes to the tensor.
    """
    if tensor.device.type != "cpu":
        tensor = tensor.cpu()
    if not tensor.is_contiguous():
        tensor = tensor.view(carrier(tensor.dtype)).contiguous()
    nbytes = tensor.nbytes
    buffer = (ctypes.c_char * nbytes).from_address(tensor.data_ptr())
    buffer.keep_alive = tensor  # type: ignore[attr-defined]
    return buffer
