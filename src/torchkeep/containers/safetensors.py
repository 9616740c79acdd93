"""The safetensors container: 8 bytes of header length, a JSON header, tensor data without gaps.

Format: https://github.com/huggingface/safetensors#format. This module reads any safetensors file,
as strictly as the `safetensors` library and in places more so, and knows nothing of torchkeep's own
metadata; `containers.native` adds that. Clauses are those of ``spec/format.md``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

import msgspec

from ..document import ITEMSIZE, SAFETENSORS_NAME, Shape, Shown
from ..errors import FormatError, LimitError
from ..limits import Limits
from ..storage import Source, Span

LENGTH_NBYTES = 8

DTYPES: dict[str, str] = {name: torch_name for torch_name, name in SAFETENSORS_NAME.items()}
"""safetensors' names of element types -> torch's. F4 counts elements of 4 bits, torch pairs of them."""


class Entry(msgspec.Struct, gc=False):
    """One tensor of a header. All optional, since `__metadata__` passes through the same decoder."""

    dtype: str | None = None
    shape: tuple[int, ...] | None = None
    data_offsets: tuple[int, int] | None = None


class _Metadata(msgspec.Struct):
    metadata: dict[str, str] | msgspec.UnsetType = msgspec.field(name="__metadata__", default=msgspec.UNSET)


_entries = msgspec.json.Decoder(dict[str, Entry])
_entry = msgspec.json.Decoder(Entry)
_any_entries = msgspec.json.Decoder(dict[str, msgspec.Raw])
_metadata = msgspec.json.Decoder(_Metadata)


class Header(msgspec.Struct, frozen=True):
    """A header that holds: every tensor has its bytes, and every byte its tensor.

    Attributes:
        raw: the header as it stands in the file, length included.
        metadata: the strings under ``__metadata__``, or None where there is none.
        shown: names, dtypes (torch's names) and shapes, in the header's order.
        spans: where each tensor's bytes lie in the file.
        entries: the header's entries as they stand.
    """

    raw: bytes
    metadata: dict[str, str] | None
    shown: Shown
    spans: list[Span]
    entries: dict[str, Entry]


def read_raw(source: Source, limits: Limits) -> bytes:
    """The header's bytes, length included, under the limits.

    Raises:
        FormatError: H-1 the length does not fit the file; H-2 the header is not a JSON object.
        LimitError: the header is longer than `limits` allow.
    """
    if source.nbytes < LENGTH_NBYTES + 2:
        raise FormatError(f"{source.nbytes} bytes are too few for a header", clause="H-1")
    length = int.from_bytes(source.read(Span(0, LENGTH_NBYTES)), "little")
    if LENGTH_NBYTES + length > source.nbytes:
        raise FormatError(
            f"the header should be {length} bytes long, and the file has {source.nbytes} bytes in all: it was cut "
            "short, or is no safetensors file",
            clause="H-1",
        )
    if length > limits.header_nbytes:
        raise LimitError(f"a header of {length} bytes; the limit is {limits.header_nbytes}")
    raw = source.read(Span(0, LENGTH_NBYTES + length))
    if raw[LENGTH_NBYTES : LENGTH_NBYTES + 1] != b"{":
        raise FormatError("the header is not a JSON object", clause="H-2")
    return raw


def parse(raw: bytes, *, file_nbytes: int, limits: Limits) -> Header:
    """Read a header's JSON and hold it against the file's size.

    Duplicate keys are looked for by `check_plain_json`; a torchkeep header needs no such look, since it
    has to be in canonical form.

    Raises:
        FormatError: H-2 not JSON, H-3 not of the schema, H-4 a dtype or shape that cannot be,
            H-5 spans that leave gaps, overlap, or end elsewhere than the file.
        LimitError: more tensors than `limits` allow.
    """
    text = memoryview(raw)[LENGTH_NBYTES:]
    try:
        entries = _decode_entries(text)
        metadata = _metadata.decode(text).metadata
    except (ValueError, RecursionError) as error:
        clause = "H-3" if isinstance(error, msgspec.ValidationError) else "H-2"
        raise FormatError(f"the header cannot be read: {error}", clause=clause) from error
    if len(entries) > limits.tensors:
        raise LimitError(f"{len(entries)} tensors; the limit is {limits.tensors}")

    if (longest := max(map(len, entries), default=0)) > limits.name_nbytes:
        raise LimitError(f"a tensor's name of {longest} characters; the limit is {limits.name_nbytes} bytes")

    start = len(raw)
    dtypes: list[str] = []
    shapes: list[Shape] = []
    spans: list[Span] = []
    cursor, in_order = start, True
    geometries: dict[tuple[str, Shape], tuple[str, Shape, int]] = {}
    for name, entry in entries.items():
        dtype, shape, offsets = entry.dtype, entry.shape, entry.data_offsets
        if dtype is None or shape is None or offsets is None:
            raise FormatError(f"{name!r} is no tensor: dtype, shape or data_offsets is missing", clause="H-3")
        geometry = geometries.get((dtype, shape))
        if geometry is None:
            if max(shape, default=0) > limits.numel or len(shape) > limits.rank:
                raise LimitError(f"a tensor of {len(shape)} dimensions, the largest of {max(shape)}")
            geometry = geometries[dtype, shape] = _geometry(dtype, shape, limits)
        begin, end = offsets
        if end - begin != geometry[2]:
            raise FormatError(
                f"{name!r} is {dtype} {list(shape)}, {geometry[2]} bytes, and has {end - begin}", clause="H-4"
            )
        dtypes.append(geometry[0])
        shapes.append(geometry[1])
        span = Span(start + begin, end - begin)
        spans.append(span)
        in_order = in_order and span.offset == cursor
        cursor += span.nbytes
    if not in_order:
        _check_gaps(start, spans, entries)
    if cursor != file_nbytes:
        raise FormatError(
            f"tensors end at byte {cursor} and the file at byte {file_nbytes}: it was cut short or added to. "
            "Copy or download it again",
            clause="H-5",
        )
    shown = Shown(list(entries), dtypes, shapes)
    return Header(raw, None if metadata is msgspec.UNSET else metadata, shown, spans, entries)


def _decode_entries(text: memoryview) -> dict[str, Entry]:
    """The tensors of a header. Where `__metadata__` has keys named as an entry's, it is told apart first."""
    try:
        entries = _entries.decode(text)
    except msgspec.ValidationError:
        raw = _any_entries.decode(text)
        entries = {name: _entry.decode(each) for name, each in raw.items() if name != "__metadata__"}
    entries.pop("__metadata__", None)
    return entries


def _check_gaps(start: int, spans: list[Span], names: Iterable[str]) -> None:
    """H-5 of tensors that are not listed in the order of their bytes."""
    for span, name in sorted(zip(spans, names, strict=True), key=lambda pair: (pair[0].offset, pair[0].nbytes)):
        if span.offset != start:
            raise FormatError(f"the bytes of {name!r} leave a gap or overlap", clause="H-5")
        start += span.nbytes


def _geometry(dtype: str, shape: Shape, limits: Limits) -> tuple[str, Shape, int]:
    """torch's dtype and shape of a header's, and the number of bytes."""
    torch_name = DTYPES.get(dtype)
    if torch_name is None:
        raise FormatError(f"dtype {dtype!r} has no counterpart in torch", clause="H-4")
    if any(size < 0 for size in shape):
        raise FormatError(f"shape {list(shape)} has a negative size", clause="H-4")
    if len(shape) > limits.rank or math.prod(size for size in shape if size) > limits.numel:
        raise LimitError(f"a tensor of shape {list(shape)}")
    if dtype == "F4":
        if not shape or shape[-1] % 2:
            raise FormatError(f"F4 {list(shape)} does not fill whole bytes along its last size", clause="H-4")
        shape = (*shape[:-1], shape[-1] // 2)
    return torch_name, shape, math.prod(shape) * ITEMSIZE[torch_name]


_STRUCTURE = re.compile(rb"[^\s{}\[\]:,0-9]")


def check_plain_json(header: Header) -> None:
    """Refuse what a JSON parser lets pass and two readers may understand in two ways.

    Raises:
        FormatError: H-6 a key stands twice or is not of the schema; H-3 a number is not a plain
            decimal integer.
    """
    unescaped = header.raw[LENGTH_NBYTES:].replace(rb"\\", b"").replace(rb"\"", b"")
    outside = unescaped.split(b'"')[0::2]  # what stands between the strings; a key is a string before a colon
    keys = sum(part.lstrip().startswith(b":") for part in outside[1:])
    expected = 4 * len(header.spans) + (0 if header.metadata is None else 1 + len(header.metadata))
    if keys != expected:
        raise FormatError("the header has a key twice, or a key of no meaning", clause="H-6")
    if any(map(_STRUCTURE.search, outside)):
        raise FormatError("a number in the header is not a plain decimal integer", clause="H-3")


def shown_as(dtype: str, shape: Shape) -> tuple[str, Shape]:
    """dtype (safetensors' name) and shape under which a header lists a tensor: U8 where it has no name."""
    name = SAFETENSORS_NAME.get(dtype)
    if name is None or (name == "F4" and not shape):
        return "U8", (math.prod(shape) * ITEMSIZE[dtype],)
    if name == "F4":
        return name, (*shape[:-1], shape[-1] * 2)
    return name, shape


def order(itemsizes: Sequence[int]) -> list[int]:
    """Larger items first, so that every tensor is aligned to its items; else as in the header."""
    if len(set(itemsizes)) <= 1:
        return list(range(len(itemsizes)))
    return sorted(range(len(itemsizes)), key=lambda i: -itemsizes[i])


def spans_of(sizes: Sequence[int], in_order: Sequence[int]) -> list[Span]:
    """Consecutive spans from 0, in that order."""
    spans = [Span(0, 0)] * len(sizes)
    cursor = 0
    for index in in_order:
        spans[index] = Span(cursor, sizes[index])
        cursor += sizes[index]
    return spans
