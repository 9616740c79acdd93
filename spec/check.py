"""Conformance checker of the torchkeep file format, written from ``spec/format.md``.

It shares no code with the library and imports nothing but Python's standard library, so it is a second
opinion: where it and the library disagree about a file, one of them is wrong.

    python spec/check.py FILE...        prints "accept" or "reject CLAUSE: reason" for each file

From Python, `check` raises `Reject` for the first clause that the bytes of a file break. Clause "LIMIT"
stands for the limits of section 11, which a reader may set otherwise.
"""

from __future__ import annotations

import base64
import binascii
import calendar
import datetime
import decimal
import hashlib
import itertools
import json
import keyword
import math
import re
import struct
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any

MAX_HEADER = 100_000_000
MAX_TENSORS = 2_000_000
MAX_NODES = 5_000_000
MAX_RANK = 64
MAX_NUMEL = 2**48
MAX_INT_NBYTES = 65_536
MAX_FRACTION_NBITS = 16_384
MAX_EQUAL_HASHES = 64
MAX_NAME = 4096
MAX_INDEX = 2**62
MAX_PLAIN_INT = 2**53 - 1
MAX_VERSION = 2**31 - 1
MAX_KEY_WEIGHT = 1000
MAX_SOURCES = 2_000
MAX_SOURCE_NAME = 255
MAX_SOURCE_NBYTES = 8_000_000

PREFIX = b'{"__metadata__":{"torchkeep.digests":"'
VERSION = "0.1"


class Reject(Exception):
    """A file does not conform: `clause` says which rule, `reason` how it is broken."""

    def __init__(self, clause: str, reason: str) -> None:
        super().__init__(f"{clause}: {reason}")
        self.clause = clause
        self.reason = reason


def require(holds: object, clause: str, reason: str) -> None:
    """Raise `Reject` unless the condition holds."""
    if not holds:
        raise Reject(clause, reason)


# --- element types (section 5, table) ----------------------------------------------------------------

NAMED = {
    "BOOL": ("bool", 1), "U8": ("uint8", 1), "I8": ("int8", 1), "U16": ("uint16", 2), "I16": ("int16", 2),
    "U32": ("uint32", 4), "I32": ("int32", 4), "U64": ("uint64", 8), "I64": ("int64", 8),
    "F16": ("float16", 2), "BF16": ("bfloat16", 2), "F32": ("float32", 4), "F64": ("float64", 8),
    "C64": ("complex64", 8), "F8_E4M3": ("float8_e4m3fn", 1), "F8_E4M3FNUZ": ("float8_e4m3fnuz", 1),
    "F8_E5M2": ("float8_e5m2", 1), "F8_E5M2FNUZ": ("float8_e5m2fnuz", 1), "F8_E8M0": ("float8_e8m0fnu", 1),
    "F4": ("float4_e2m1fn_x2", 1),
}  # fmt: skip
UNNAMED = {
    "complex32": 4, "complex128": 16, "bits1x8": 1, "bits2x4": 1, "bits4x2": 1, "bits8": 1, "bits16": 2,
    "int1": 1, "int2": 1, "int3": 1, "int4": 1, "int5": 1, "int6": 1, "int7": 1,
    "uint1": 1, "uint2": 1, "uint3": 1, "uint4": 1, "uint5": 1, "uint6": 1, "uint7": 1,
}  # fmt: skip
SIZE = dict(NAMED.values()) | UNNAMED
LISTED = {name: listed for listed, (name, _) in NAMED.items()}


def listing(dtype: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    """The dtype and shape under which a header must list a stored tensor."""
    listed = LISTED.get(dtype)
    if listed == "F4" and shape:
        return "F4", (*shape[:-1], 2 * shape[-1])
    if listed is None or listed == "F4":
        return "U8", (math.prod(shape) * SIZE[dtype],)
    return listed, shape


# --- XXH3-64, seed 0 ---------------------------------------------------------------------------------

_M64 = 2**64 - 1
_P32_1, _P32_2, _P32_3 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D
_P64_1, _P64_2, _P64_3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
_P64_4, _P64_5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
_MX1, _MX2 = 0x165667919E3779F9, 0x9FB21C651E98DF25
_SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
    "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
    "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
    "eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e"
    "2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)
_STRIPE, _BLOCK = 64, 1024


def _u64(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little")


def _secret(at: int) -> int:
    return _u64(_SECRET, at)


def _fold(a: int, b: int) -> int:
    product = a * b
    return (product & _M64) ^ (product >> 64)


def _avalanche(h: int) -> int:
    h = (h ^ (h >> 37)) * _MX1 & _M64
    return h ^ (h >> 32)


def _avalanche64(h: int) -> int:
    h = (h ^ (h >> 33)) * _P64_2 & _M64
    h = (h ^ (h >> 29)) * _P64_3 & _M64
    return h ^ (h >> 32)


def _rotl(h: int, by: int) -> int:
    return (h << by | h >> (64 - by)) & _M64


def _mix16(data: bytes, at: int, secret_at: int) -> int:
    return _fold(_u64(data, at) ^ _secret(secret_at), _u64(data, at + 8) ^ _secret(secret_at + 8))


def xxh3_64(data: bytes) -> int:
    """XXH3-64 of the bytes, with seed 0."""
    n = len(data)
    if n > 240:
        return _xxh3_long(data)
    if n > 16:
        return _xxh3_medium(data)
    if n > 8:
        low = _u64(data, 0) ^ _secret(24) ^ _secret(32)
        high = _u64(data, n - 8) ^ _secret(40) ^ _secret(48)
        swapped = int.from_bytes(low.to_bytes(8, "little"), "big")
        return _avalanche((n + swapped + high + _fold(low, high)) & _M64)
    if n > 3:
        first, last = int.from_bytes(data[:4], "little"), int.from_bytes(data[-4:], "little")
        h = (last + (first << 32)) ^ _secret(8) ^ _secret(16)
        h ^= _rotl(h, 49) ^ _rotl(h, 24)
        h = h * _MX2 & _M64
        h ^= (h >> 35) + n
        h = h * _MX2 & _M64
        return h ^ (h >> 28)
    if n:
        combined = data[0] << 16 | data[n >> 1] << 24 | data[-1] | n << 8
        return _avalanche64(combined ^ (_secret(0) & 0xFFFFFFFF) ^ (_secret(4) & 0xFFFFFFFF))
    return _avalanche64(_secret(56) ^ _secret(64))


def _xxh3_medium(data: bytes) -> int:
    n = len(data)
    h = n * _P64_1
    if n <= 128:
        for i in range((n - 1) // 32 + 1):
            h += _mix16(data, 16 * i, 32 * i) + _mix16(data, n - 16 * (i + 1), 32 * i + 16)
        return _avalanche(h & _M64)
    for i in range(8):
        h += _mix16(data, 16 * i, 16 * i)
    h = _avalanche(h & _M64)
    for i in range(8, n // 16):
        h += _mix16(data, 16 * i, 16 * (i - 8) + 3)
    return _avalanche((h + _mix16(data, n - 16, 119)) & _M64)


def _xxh3_long(data: bytes) -> int:
    n = len(data)
    acc = [_P32_3, _P64_1, _P64_2, _P64_3, _P64_4, _P32_2, _P64_5, _P32_1]
    keys = [[_secret(8 * (stripe + lane)) for lane in range(8)] for stripe in range(17)]

    def accumulate(at: int, key: list[int]) -> None:
        for lane, value in enumerate(struct.unpack_from("<8Q", data, at)):
            mixed = value ^ key[lane]
            acc[lane ^ 1] = (acc[lane ^ 1] + value) & _M64
            acc[lane] = (acc[lane] + (mixed & 0xFFFFFFFF) * (mixed >> 32)) & _M64

    blocks = (n - 1) // _BLOCK
    for block in range(blocks):
        for stripe in range(16):
            accumulate(block * _BLOCK + stripe * _STRIPE, keys[stripe])
        for lane in range(8):
            value = acc[lane]
            acc[lane] = (value ^ (value >> 47) ^ keys[16][lane]) * _P32_1 & _M64
    for stripe in range((n - 1 - blocks * _BLOCK) // _STRIPE):
        accumulate(blocks * _BLOCK + stripe * _STRIPE, keys[stripe])
    accumulate(n - _STRIPE, [_secret(121 + 8 * lane) for lane in range(8)])
    h = n * _P64_1
    for lane in range(0, 8, 2):
        h += _fold(acc[lane] ^ _secret(11 + 8 * lane), acc[lane + 1] ^ _secret(19 + 8 * lane))
    return _avalanche(h & _M64)


# --- JSON --------------------------------------------------------------------------------------------


class Pairs(list[tuple[str, Any]]):
    """A JSON object as it stands: pairs in order, duplicates included."""

    def names(self) -> list[str]:
        """The keys, in order."""
        return [key for key, _ in self]

    def last(self) -> dict[str, Any]:
        """The last value of each key."""
        return dict(self)


@dataclass(frozen=True)
class Odd:
    """A number that is not a plain decimal integer, such as 1.0, 1e3, or in a header -0."""

    text: str


def _constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def parse_json(text: str, clause: str) -> Any:
    """JSON text -> values; objects as `Pairs`, odd numbers as `Odd`."""
    try:
        found = json.loads(
            text,
            object_pairs_hook=Pairs,
            parse_int=lambda digits: Odd(digits) if digits == "-0" and clause == "H-2" else int(digits),
            parse_float=Odd,
            parse_constant=_constant,
        )
    except (ValueError, RecursionError) as error:
        raise Reject(clause, f"not JSON: {error}") from None
    stack = [found]
    while stack:
        value = stack.pop()
        if isinstance(value, Pairs):
            stack.extend(part for pair in value for part in pair)
        elif isinstance(value, list):
            stack.extend(value)
        elif isinstance(value, str):
            require(not _has_surrogates(value), clause, "an escape that is half of a pair")
    return found


def canonical(value: Any) -> str:
    """JSON without blanks, with no escape that is not needed."""
    if isinstance(value, Pairs):
        return "{" + ",".join(f"{canonical(key)}:{canonical(item)}" for key, item in value) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(canonical, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text) if not text.isascii() else False


def is_int(value: Any) -> bool:
    """Whether a JSON value is an integer (true and false are not)."""
    return type(value) is int


# --- the safetensors layer (section 3) ----------------------------------------------------------------


@dataclass
class Header:
    """What a header says: the columns of its tensors, and the spans of their bytes."""

    raw: bytes
    json: Pairs
    metadata: dict[str, str] | None
    names: list[str]
    listed: list[tuple[str, tuple[int, ...]]]
    dtypes: list[str]
    shapes: list[tuple[int, ...]]
    spans: list[tuple[int, int]]


def check(data: bytes) -> None:
    """Hold the bytes of a file against the standard.

    Raises:
        Reject: the first clause that they break.
    """
    require(len(data) >= 10, "H-1", "too short for a header")
    length = int.from_bytes(data[:8], "little")
    require(8 + length <= len(data), "H-1", "the header is longer than the file")
    require(length <= MAX_HEADER, "LIMIT", "the header is too long")
    raw = data[: 8 + length]
    require(raw[8:9] == b"{", "H-2", "the header does not begin with an opening brace")
    native = raw.startswith(PREFIX, 8)
    if native:
        at = 8 + len(PREFIX)
        zeroed = raw[:at] + b"0" * 16 + raw[at + 16 :]
        require(raw[at : at + 16] == b"%016x" % xxh3_64(zeroed), "N-2", "the header's digest is another")
    header = parse_header(raw, len(data))
    if native:
        check_native(header, data)
        return
    ours = {"torchkeep", "torchkeep.digests"} & set(header.metadata or {})
    require(not ours, "N-1", "torchkeep's metadata, but the header does not begin with it")
    check_plain(header)


def parse_header(raw: bytes, file_nbytes: int) -> Header:
    """H-2 to H-5."""
    try:
        text = raw[8:].decode("utf-8")
    except UnicodeDecodeError as error:
        raise Reject("H-2", f"not UTF-8: {error}") from None
    found = parse_json(text, "H-2")
    require(isinstance(found, Pairs), "H-2", "not a JSON object")
    fields = found.last()
    metadata = fields.pop("__metadata__", Pairs())
    require(isinstance(metadata, Pairs), "H-3", "__metadata__ is not an object")
    require(all(isinstance(v, str) for _, v in metadata), "H-3", "__metadata__ is not made of strings")
    require(len(fields) <= MAX_TENSORS, "LIMIT", "too many tensors")
    has = "__metadata__" in found.names()
    header = Header(raw, found, metadata.last() if has else None, list(fields), [], [], [], [])
    for name, entry in fields.items():
        _parse_entry(header, name, entry)
    cursor = len(raw)
    for begin, end in sorted(header.spans):
        require(begin == cursor, "H-5", "bytes with a gap or an overlap")
        cursor = end
    require(cursor == file_nbytes, "H-5", "the tensors do not end where the file ends")
    return header


def _parse_entry(header: Header, name: str, entry: Any) -> None:
    require(isinstance(entry, Pairs), "H-3", f"{name!r} is not an object")
    fields = entry.last()
    require({"dtype", "shape", "data_offsets"} <= set(fields), "H-3", f"{name!r} lacks a field")
    listed, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    require(isinstance(listed, str), "H-3", f"dtype of {name!r} is not a string")
    for numbers in (shape, offsets):
        good = type(numbers) is list and all(map(is_int, numbers))
        require(good, "H-3", f"{name!r} has something other than a list of integers")
    require(len(offsets) == 2, "H-3", f"{name!r} does not have two offsets")
    shape = tuple(shape)
    _limit_sizes(shape)
    require(len(name) <= MAX_NAME, "LIMIT", "the name of a tensor is too long")
    require(listed in NAMED, "H-4", f"{name!r} has dtype {listed!r}")
    require(all(size >= 0 for size in shape), "H-4", f"{name!r} has a negative size")
    _limit_shape(shape)
    dtype, itemsize = NAMED[listed]
    own = shape
    if listed == "F4":
        require(shape and shape[-1] % 2 == 0, "H-4", f"{name!r} does not fill whole bytes")
        own = (*shape[:-1], shape[-1] // 2)
    begin, end = offsets
    require(end - begin == math.prod(own) * itemsize, "H-4", f"{name!r} has bytes of another number")
    header.listed.append((listed, shape))
    header.dtypes.append(dtype)
    header.shapes.append(own)
    header.spans.append((len(header.raw) + begin, len(header.raw) + end))


def _limit_sizes(shape: tuple[int, ...]) -> None:
    require(len(shape) <= MAX_RANK, "LIMIT", "too many dimensions")
    require(max(shape, default=0) <= MAX_NUMEL, "LIMIT", "a size is too large")


def _limit_shape(shape: tuple[int, ...]) -> None:
    _limit_sizes(shape)
    require(math.prod(size for size in shape if size) <= MAX_NUMEL, "LIMIT", "too many elements")


def check_plain(header: Header) -> None:
    """H-6, and what H-3 says of numbers, for a file that is not torchkeep's."""
    for pairs in (header.json, *(value for _, value in header.json if isinstance(value, Pairs))):
        require(len(set(pairs.names())) == len(pairs), "H-6", "a key stands twice")
    for name, entry in header.json:
        require(name == "__metadata__" or len(entry) == 3, "H-6", f"{name!r} has a field of no meaning")


# --- torchkeep's metadata (section 4) -----------------------------------------------------------------


def check_native(header: Header, data: bytes) -> None:
    """N-1 to N-7, and the Document's own clauses. N-2 holds already."""
    metadata = header.metadata or {}
    require(list(metadata) == ["torchkeep.digests", "format", "torchkeep"], "N-1", "keys of __metadata__")
    require(metadata["format"] == "pt", "N-1", 'format is not "pt"')
    column, count = metadata["torchkeep.digests"], len(header.names)
    good = re.fullmatch(r"[0-9a-f]*", column) and len(column) == 16 * (count + 1)
    require(good, "N-5", "not 16 digits for the header and for each tensor")
    _check_header_form(header, metadata)
    document = parse_document(metadata["torchkeep"], header)
    check_references(document)
    check_table(document)
    check_nodes(document)
    for i, dtype in enumerate(document.dtypes):
        require(listing(dtype, document.shapes[i]) == header.listed[i], "N-7", f"tensor {i} is listed otherwise")
    cursor = len(header.raw)
    for i in sorted(range(count), key=lambda i: (-SIZE[document.dtypes[i]], i)):
        require(header.spans[i][0] == cursor, "N-6", f"the bytes of tensor {i} are not in their place")
        cursor = header.spans[i][1]
    for i, (begin, end) in enumerate(header.spans):
        stated = column[16 * (i + 1) : 16 * (i + 2)]
        require(
            stated == f"{xxh3_64(data[begin:end]):016x}",
            "N-5",
            f"the bytes of tensor {i} have another digest",
        )
    check_content(document, [data[begin:end] for begin, end in header.spans])


def _check_header_form(header: Header, metadata: dict[str, str]) -> None:
    wanted = Pairs([("__metadata__", Pairs(metadata.items()))])
    for name, (listed, shape), (begin, end) in zip(header.names, header.listed, header.spans, strict=True):
        offsets = [begin - len(header.raw), end - len(header.raw)]
        wanted.append((name, Pairs([("dtype", listed), ("shape", list(shape)), ("data_offsets", offsets)])))
    text = canonical(wanted).encode()
    size = -(-(8 + len(text)) // 4096) * 4096
    require(header.raw[8:] == text.ljust(size - 8), "N-4", "the header is not in canonical form")


# --- the Document (section 6) -------------------------------------------------------------------------


@dataclass(frozen=True)
class T:
    """A reference to a tensor."""

    index: int


@dataclass(frozen=True)
class R:
    """A reference to a node."""

    index: int


@dataclass
class Node:
    """A node. `kind` is that of a sequence, "map", or a typed node's; `values` are in walking order."""

    tag: str
    kind: str
    values: list[Any]
    keys: list[Any] = field(default_factory=list)
    version: int = 1

    def refers(self) -> Iterator[T | R]:
        """Everything that the node refers to, in walking order."""
        parts: Any = self.values
        if self.tag == "map":
            parts = (part for pair in zip(self.keys, self.values, strict=True) for part in pair)
        return (part for part in parts if isinstance(part, T | R))

    def fields(self) -> dict[str, Any]:
        """A typed node's fields, by name."""
        return dict(zip(self.keys, self.values, strict=True))


@dataclass(frozen=True)
class View:
    """The geometry of a tensor that is not all of its stored tensor."""

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int


@dataclass
class Document:
    """A Document after D-1, D-2, D-3 and D-6."""

    names: list[str]
    dtypes: list[str]
    shapes: list[tuple[int, ...]]
    stored: list[int]
    flags: str
    root: Any = None
    nodes: list[Node] = field(default_factory=list)
    strides: dict[int, tuple[int, ...]] = field(default_factory=dict)
    views: dict[int, View] = field(default_factory=dict)
    lazy: dict[int, int] = field(default_factory=dict)
    attributes: dict[int, Any] = field(default_factory=dict)

    def dtype(self, tensor: int) -> str:
        """Element type of a tensor."""
        view = self.views.get(tensor)
        return view.dtype if view else self.dtypes[self.stored[tensor]]

    def geometry(self, tensor: int) -> tuple[tuple[int, ...], tuple[int, ...], int]:
        """Shape, strides and offset of a tensor."""
        if view := self.views.get(tensor):
            return view.shape, view.strides, view.offset
        row = self.stored[tensor]
        return self.shapes[row], self.strides.get(row, _row_major(self.shapes[row])), 0

    def node(self, value: Any) -> Node | None:
        """The node that a value refers to."""
        return self.nodes[value.index] if isinstance(value, R) else None


DOCUMENT_KEYS = ["version", "environment", "classes", "findings", "records", "keysets", "root", "nodes", "tensors"]
TENSORS_KEYS = ["differ", "strides", "stored", "flags", "views", "lazy", "attributes"]

Shape = Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_text_or_null(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_sizes(value: Any) -> bool:
    return type(value) is list and all(map(is_int, value))


def _is_list_of_texts(value: Any) -> bool:
    return type(value) is list and all(isinstance(item, str) for item in value)


def _is_any(value: Any) -> bool:
    return True


def _row(*columns: Shape) -> Shape:
    def holds(value: Any) -> bool:
        if type(value) is not list or len(value) != len(columns):
            return False
        return all(test(item) for test, item in zip(columns, value, strict=True))

    return holds


def _rows(*columns: Shape) -> Shape:
    row = _row(*columns)
    return lambda value: type(value) is list and all(map(row, value))


def _is_texts(value: Any) -> bool:
    return isinstance(value, Pairs) and all(isinstance(item, str) for _, item in value)


DOCUMENT_SHAPE: dict[str, Shape] = {
    "version": _is_text,
    "environment": _is_texts,
    "classes": _rows(_is_text, is_int, _is_text_or_null, _is_text_or_null),
    "findings": _rows(_is_text, lambda v: v in ("note", "warning", "error"), _is_text, _is_text, _is_text),
    "records": _rows(_is_text, is_int, _is_text_or_null, _is_list_of_texts),
    "keysets": lambda v: type(v) is list and all(map(_is_list_of_texts, v)),
    "root": _is_any,
    "nodes": lambda v: type(v) is list,
    "tensors": lambda v: isinstance(v, Pairs),
    "sources": _rows(_is_text, _is_text, _is_text),
}
TENSORS_SHAPE: dict[str, Shape] = {
    "differ": _rows(is_int, _is_text, _is_sizes),
    "strides": _rows(is_int, _is_sizes),
    "stored": lambda v: v is None or _is_sizes(v),
    "flags": lambda v: isinstance(v, str) and set(v) <= set("0123"),
    "views": _rows(is_int, _is_text, _is_sizes, _is_sizes, is_int),
    "lazy": _rows(is_int, is_int),
    "attributes": _rows(is_int, _is_any),
}


def _fields(pairs: Pairs, keys: list[str], shapes: dict[str, Shape], optional: set[str]) -> dict[str, Any]:
    found = pairs.last()
    keys = keys + ["sources"] * ("sources" in found and keys is DOCUMENT_KEYS)
    require(set(keys) <= set(found) <= set(keys) | optional, "D-2", f"fields {sorted(found)}")
    for key in keys:
        require(shapes[key](found[key]), "D-2", f"{key!r} is not of its type")
    require(pairs.names() == keys, "D-1", "fields out of order, twice, or not for a file")
    return found


def parse_document(text: str, header: Header) -> Document:
    """N-3, D-1 to D-6, D-9, D-10, and K-1 for versions that no kind has."""
    found = parse_json(text, "D-2")
    require(isinstance(found, Pairs), "D-2", "not an object")
    version = found.last().get("version")
    require(isinstance(version, str), "D-2", "no version")
    require(version == VERSION, "N-3", f"version {version!r}")
    document = _fields(found, DOCUMENT_KEYS, DOCUMENT_SHAPE, set())
    tensors = _fields(document["tensors"], TENSORS_KEYS, TENSORS_SHAPE, {"shown"})
    count = len(header.names)
    stored = list(range(count)) if tensors["stored"] is None else tensors["stored"]
    crowded = len(stored) > MAX_TENSORS or len(document["nodes"]) > MAX_NODES
    require(not crowded, "LIMIT", "too many tensors or nodes")
    require(all(0 <= i < count for i in stored), "D-4", "a stored tensor that is not there")
    made = Document(header.names, list(header.dtypes), list(header.shapes), stored, tensors["flags"])
    for i, dtype, shape in tensors["differ"]:
        require(0 <= i < count, "D-4", "a stored tensor that is not there differs")
        changed = (dtype, tuple(shape)) != (header.dtypes[i], header.shapes[i])
        require(changed, "D-1", "a stored tensor is said to differ and does not")
        made.dtypes[i], made.shapes[i] = dtype, tuple(shape)
    for key in ("strides", "views", "lazy", "attributes"):
        rows = count if key == "strides" else len(stored)
        require(all(0 <= row[0] < rows for row in tensors[key]), "D-4", f"{key} of a tensor that is not there")
    for _, _, shape, *_ in (*tensors["differ"], *tensors["views"]):
        require(max(shape, default=0) <= MAX_NUMEL, "LIMIT", "a size is too large")
    for kind, version, _, _ in document["records"]:
        require(1 <= version <= MAX_VERSION, "K-1", f"version {version} of {kind!r}")
    made.strides = {i: tuple(strides) for i, strides in tensors["strides"]}
    made.views = {i: View(d, tuple(s), tuple(t), o) for i, d, s, t, o in tensors["views"]}
    made.lazy = dict(tensors["lazy"])
    made.attributes = {i: parse_value(value) for i, value in tensors["attributes"]}
    made.root = parse_value(document["root"])
    records, keysets = document["records"], document["keysets"]
    made.nodes = [parse_node(node, made, records, keysets) for node in document["nodes"]]
    _check_records(document["nodes"], records)
    _check_keysets(document["nodes"], made.nodes, keysets)
    for key in ("differ", "strides", "views", "lazy", "attributes"):
        _require_ascending([row[0] for row in tensors[key]], key)
    _require_ascending([row[0] for row in document["classes"]], "classes")
    _require_ascending(document["environment"].names(), "environment")
    require(tensors["stored"] != list(range(count)), "D-1", "stored is null where tensor i views stored tensor i")
    require(canonical(found) == text, "D-1", "not in canonical form")
    for name, version, _, _ in document["classes"]:
        require(1 <= version <= MAX_VERSION, "D-9", f"version {version} of class {name!r}")
    _check_sources(document.get("sources"))
    return made


WORDS = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")
KEYWORDS = (
    {"False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue", "def", "del"}
    | {"elif", "else", "except", "finally", "for", "from", "global", "if", "import", "in", "is", "lambda", "nonlocal"}
    | {"not", "or", "pass", "raise", "return", "try", "while", "with", "yield"}
)


def _is_module(name: str) -> bool:
    return bool(WORDS.fullmatch(name)) and not KEYWORDS.intersection(name.split("."))


def _check_sources(rows: list[Any] | None) -> None:
    """D-10: source text of modules, which is text."""
    if rows is None:
        return
    require(rows != [], "D-1", "sources are absent where there are none")
    _require_ascending([name for name, _, _ in rows], "sources")
    require(len(rows) <= MAX_SOURCES, "LIMIT", "too many modules")
    require(
        all(len(text) <= MAX_SOURCE_NAME for row in rows for text in row[:2]), "LIMIT", "a module's name is too long"
    )
    packages = {name: package for name, package, _ in rows}
    for name, package, text in rows:
        require(_is_module(name), "D-10", f"{name!r} names no module")
        above = name.rpartition(".")[0]
        if name == "__main__":
            require(package == "" or _is_module(package), "D-10", f"{package!r} names no package")
        else:
            require(package in (name, above), "D-10", f"{name!r} is not in the package {package!r}")
        require(packages.get(above, above) == above, "D-10", f"{above!r} is no package")
        require("\0" not in text, "D-10", f"the text of {name!r} holds a NUL")
    require(sum(len(text.encode()) for _, _, text in rows) <= MAX_SOURCE_NBYTES, "LIMIT", "too much text of modules")


def _require_ascending(keys: list[Any], what: str) -> None:
    require(all(a < b for a, b in itertools.pairwise(keys)), "D-1", f"{what} is not in order")


def parse_float(text: str) -> float:
    """D-6: the one text of a float."""
    if re.fullmatch(r"nan:[0-9a-f]{16}", text):
        value = struct.unpack(">d", bytes.fromhex(text[4:]))[0]
        require(math.isnan(value) and text != "nan:7ff8000000000000", "D-6", f"{text!r} is not the text of a NaN")
        return float(value)
    try:
        value = float(text)
    except ValueError:
        raise Reject("D-2", f"{text!r} is no float") from None
    require(repr(value) == text, "D-6", f"{text!r} is not the shortest text")
    return value


def _base64(text: str) -> bytes:
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Reject("D-2", "not base64") from None
    require(base64.b64encode(value).decode() == text, "D-1", "base64 in another form")
    return value


def _long_int(text: str) -> int:
    require(len(text) <= 2 * MAX_INT_NBYTES + 3, "LIMIT", "an integer is too long")
    require(re.fullmatch(r"-?0x[0-9a-fA-F]+", text), "D-2", "not a hexadecimal integer")
    value = int(text, 16)
    require(hex(value) == text and abs(value) > MAX_PLAIN_INT, "D-1", "an integer in another form")
    return value


def _surrogates(text: str) -> str:
    try:
        value = _base64(text).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise Reject("D-2", "not UTF-8") from None
    require(_has_surrogates(value), "D-1", "a string that JSON could hold")
    return value


VALUE_TAGS: dict[str, tuple[Callable[..., Any], Shape]] = {
    "t": (T, _row(_is_any, is_int)),
    "r": (R, _row(_is_any, is_int)),
    "i": (_long_int, _row(_is_any, _is_text)),
    "f": (parse_float, _row(_is_any, _is_text)),
    "c": (
        lambda real, imag: complex(parse_float(real), parse_float(imag)),
        _row(_is_any, _is_text, _is_text),
    ),
    "b": (_base64, _row(_is_any, _is_text)),
    "s": (_surrogates, _row(_is_any, _is_text)),
}


def parse_value(value: Any) -> Any:
    """A value of the wire -> None, bool, int, float, complex, str, bytes, T or R."""
    if value is None or isinstance(value, bool | str):
        return value
    if is_int(value):
        require(abs(value) <= MAX_PLAIN_INT, "D-1", "an integer that many readers would round")
        return value
    tag = value[0] if type(value) is list and value else None
    require(isinstance(tag, str) and tag in VALUE_TAGS, "D-2", "neither a scalar nor a reference")
    make, shape = VALUE_TAGS[str(tag)]
    require(shape(value), "D-2", "neither a scalar nor a reference")
    return make(*value[1:])


def parse_node(node: Any, document: Document, records: list[Any], keysets: list[Any]) -> Node:
    """D-2, D-3, D-4: a node of the wire."""
    tag = node[0] if type(node) is list and node else None
    if tag == "seq" and len(node) == 3 and type(node[2]) is list:
        require(node[1] in ("list", "tuple", "set", "frozenset"), "D-2", "kind of a sequence")
        return Node("seq", node[1], [parse_value(item) for item in node[2]])
    if tag == "map" and len(node) == 3 and type(node[1]) is list and type(node[2]) is list:
        values = [parse_value(item) for item in node[2]]
        require(len(node[1]) == len(values), "D-3", "not as many keys as values")
        keys = [parse_key(key, value, document) for key, value in zip(node[1], values, strict=True)]
        return Node("map", "map", values, keys)
    if tag in ("m", "o") and _row(_is_any, is_int, lambda v: type(v) is list)(node):
        values, table = [parse_value(item) for item in node[2]], keysets if tag == "m" else records
        require(0 <= node[1] < len(table), "D-4", "a record or a keyset that is not there")
        common = table[node[1]]
        names = common if tag == "m" else common[3]
        require(len(names) == len(values), "D-3", "not as many values as names")
        if tag == "m":
            return Node("map", "map", values, names)
        kind, version, cls, _ = common
        first = [] if cls is None else ["class"]
        return Node("typed", kind, [cls, *values] if first else values, first + names, version)
    require(tag == "opaque" and _row(_is_any, _is_text, _is_any)(node), "D-2", "no node")
    require(isinstance(node[2], Pairs), "D-2", "the fields of a node are no object")
    values = [parse_value(value) for _, value in node[2]]
    require(len(set(node[2].names())) == len(values), "D-1", "a field stands twice")
    return Node("opaque", node[1], values, node[2].names())


def _check_records(nodes: list[Any], records: list[Any]) -> None:
    """D-1: in the order of their use, and each once."""
    used = list(dict.fromkeys(node[1] for node in nodes if node[0] == "o"))
    require(used == list(range(len(records))), "D-1", "records out of order, or of no use")
    different = {(kind, str(version), cls, tuple(names)) for kind, version, cls, names in records}
    require(len(different) == len(records), "D-1", "a record stands twice")
    for _, _, _, names in records:
        require(len({"class", *names}) == 1 + len(names), "D-1", "a record with a field twice")


def _check_keysets(wire: list[Any], nodes: list[Node], keysets: list[Any]) -> None:
    """D-1: what several maps have in common, and nothing else."""
    counts: Counter[tuple[str, ...]] = Counter()
    for node in nodes:
        if node.tag == "map" and _is_list_of_texts(node.keys) and not any(map(_has_surrogates, node.keys)):
            counts[tuple(node.keys)] += 1
    common = {keys: None for keys, count in counts.items() if keys and count > 1}
    require([tuple(keys) for keys in keysets] == list(common), "D-1", "other keysets than maps have in common")
    for (tag, *_), node in zip(wire, nodes, strict=True):
        fits = tag == "m" or node.tag != "map" or not _is_list_of_texts(node.keys) or tuple(node.keys) not in common
        require(fits, "D-1", "a map that says keys that stand in a keyset")


def parse_key(key: Any, value: Any, document: Document) -> Any:
    """D-4, D-1: a key of a map, beside its value."""
    name = ""
    if isinstance(value, T) and 0 <= value.index < len(document.stored):
        name = document.names[document.stored[value.index]]
    if type(key) is list and key[:1] == ["="]:
        require(_row(_is_any, is_int)(key), "D-2", "no key")
        there = isinstance(value, T) and 0 <= value.index < len(document.stored)
        require(there and key[1] >= 0, "D-4", "a key from a name that is not there")
        require(key[1] < len(name), "D-1", "a key that is nothing of a name")
        return name[key[1] :]
    found = parse_value(key)
    tail = isinstance(found, str) and found != "" and name.endswith(found)
    require(not tail, "D-1", "a key that is the tail of its tensor's name is written in full")
    return found


def check_references(document: Document) -> None:
    """D-4 and D-7."""
    counts = {T: len(document.stored), R: len(document.nodes)}
    everything = [value for value in (document.root, *document.attributes.values()) if isinstance(value, T | R)]
    for node in document.nodes:
        everything.extend(node.refers())
    for value in everything:
        require(0 <= value.index < counts[type(value)], "D-4", f"{value} is not there")
    order: dict[T | R, None] = {}
    stack = [document.root]
    while stack:
        value = stack.pop()
        if not isinstance(value, T | R) or value in order:
            continue
        order[value] = None
        if isinstance(value, R):
            stack.extend(reversed(list(document.nodes[value.index].refers())))
        elif value.index in document.attributes:
            stack.append(document.attributes[value.index])
    for kind, count in counts.items():
        met = [value.index for value in order if isinstance(value, kind)]
        require(met == list(range(count)), "D-7", "something is unreachable or out of order")


# --- tensors (section 7) ------------------------------------------------------------------------------


def _is_real_or_complex(dtype: str) -> bool:
    return dtype.startswith(("float", "bfloat", "complex"))


def check_table(document: Document) -> None:
    """D-5, D-8 and the clauses T."""
    count, stored_count = len(document.stored), len(document.names)
    require(len(document.flags) == count, "D-5", "not one flag a tensor")
    require(set(document.stored) == set(range(stored_count)), "D-8", "a stored tensor belongs to no tensor")
    for dtype, shape in zip(document.dtypes, document.shapes, strict=True):
        _check_geometry(dtype, shape)
    for i, strides in document.strides.items():
        require(_is_dense(document.shapes[i], strides), "T-3", "strides that are not dense")
        require(not _is_contiguous(document.shapes[i], strides), "T-3", "strides of contiguous memory")
    for i, view in document.views.items():
        _check_view(document, document.stored[i], view)
    for i, bits in document.lazy.items():
        require(bits in (1, 2, 3), "T-5", "no lazy bits")
        dtype = document.dtype(i)
        fits = dtype.startswith("complex") if bits & 1 else _is_real_or_complex(dtype)
        require(fits, "T-5", f"lazy bits of {dtype}")
    for i, flag in enumerate(document.flags):
        fits = flag in "02" or _is_real_or_complex(document.dtype(i))
        require(fits, "T-6", f"{document.dtype(i)} requires a gradient")


def _check_geometry(dtype: str, shape: tuple[int, ...]) -> None:
    require(dtype in SIZE, "T-1", f"dtype {dtype!r}")
    require(all(0 <= size < MAX_INDEX for size in shape), "T-2", f"shape {shape}")
    _limit_shape(shape)


def _check_view(document: Document, stored: int, view: View) -> None:
    _check_geometry(view.dtype, view.shape)
    require(len(view.strides) == len(view.shape), "T-4", "not one stride a dimension")
    good = all(0 <= number < MAX_INDEX for number in (*view.strides, view.offset))
    require(good, "T-4", "a stride or an offset that cannot be")
    if (view.dtype, view.shape, view.offset) == (document.dtypes[stored], document.shapes[stored], 0):
        strides = document.strides.get(stored, _row_major(view.shape))
        require(view.strides != strides, "T-4", "a view that is all of its stored tensor")
    end = view.offset
    if 0 not in view.shape:
        end += 1 + sum((size - 1) * stride for size, stride in zip(view.shape, view.strides, strict=True))
    nbytes = math.prod(document.shapes[stored]) * SIZE[document.dtypes[stored]]
    require(end * SIZE[view.dtype] <= nbytes, "T-4", "a view reaches past its stored tensor")


def _is_dense(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    if len(shape) != len(strides) or not all(0 <= stride < MAX_INDEX for stride in strides):
        return False
    step = 1
    for stride, size in sorted(zip(strides, shape, strict=True)):
        if size != 1 and stride != step:
            return False
        step *= size
    return True


def _row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(max(size, 1) for size in shape[i + 1 :]) for i in range(len(shape)))


def _is_contiguous(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    return 0 in shape or all(n == 1 or s == r for n, s, r in zip(shape, strides, _row_major(shape), strict=True))


# --- kinds (section 8) --------------------------------------------------------------------------------


def _text_field(document: Document, value: Any) -> bool:
    return isinstance(value, str)


def _flag_field(document: Document, value: Any) -> bool:
    return isinstance(value, bool)


def _any_field(document: Document, value: Any) -> bool:
    return True


def _tensor_field(document: Document, value: Any) -> bool:
    return isinstance(value, T)


def _any_tensor_field(document: Document, value: Any) -> bool:
    """A tensor of any sort."""
    node = document.node(value)
    return isinstance(value, T) or (node is not None and node.tag == "typed" and node.kind in TENSORS)


def _flags_field(document: Document, value: Any) -> bool:
    return is_int(value) and 0 <= value <= 3


def _map_field(document: Document, value: Any) -> bool:
    node = document.node(value)
    return node is not None and node.tag == "map"


def _list_field(document: Document, value: Any) -> bool:
    node = document.node(value)
    return node is not None and node.tag == "seq" and node.kind == "list"


def _tuple_field(document: Document, value: Any) -> bool:
    node = document.node(value)
    return node is not None and node.tag == "seq" and node.kind == "tuple"


def _texts_field(document: Document, value: Any) -> bool:
    return _tuple_field(document, value) and all(map(_is_text, document.nodes[value.index].values))


def _sizes_field(document: Document, value: Any) -> bool:
    return _tuple_field(document, value) and all(map(is_int, document.nodes[value.index].values))


def _integer_field(document: Document, value: Any) -> bool:
    return is_int(value)


def _number_field(document: Document, value: Any) -> bool:
    return is_int(value) or isinstance(value, float)


def _bytes_field(document: Document, value: Any) -> bool:
    return isinstance(value, bytes)


def _long_bytes_field(document: Document, value: Any) -> bool:
    """Bytes of any length, in place or as a node."""
    node = document.node(value)
    return isinstance(value, bytes) or (node is not None and node.tag == "typed" and node.kind == "bytes")


def _tensors_field(document: Document, value: Any) -> bool:
    """A tuple of tensors of any sort."""
    return _tuple_field(document, value) and all(
        _any_tensor_field(document, item) for item in document.nodes[value.index].values
    )


def _float_field(document: Document, value: Any) -> bool:
    return isinstance(value, float)


Field = Callable[[Document, Any], bool]


def _true_field(document: Document, value: Any) -> bool:
    return value is True


def _parameter_field(document: Document, value: Any) -> bool:
    if isinstance(value, T):
        return document.flags[value.index] in "23"
    if _blank_field(document, value):
        return document.nodes[value.index].fields().get("parameter") is True
    return _any_tensor_field(document, value) and document.nodes[value.index].fields().get("flags") in (2, 3)


def _buffer_field(document: Document, value: Any) -> bool:
    return _any_tensor_field(document, value) or _blank_field(document, value)


def _typed_field(*kinds: str) -> Field:
    def holds(document: Document, value: Any) -> bool:
        node = document.node(value)
        return node is not None and node.tag == "typed" and node.kind in kinds

    return holds


def _builtin_field(document: Document, value: Any) -> bool:
    node = document.node(value)
    if node is None:
        return is_int(value) or isinstance(value, (float, complex, str, bytes))
    return node.tag in ("seq", "map") or (node.tag == "typed" and node.kind in BUILTINS)


def _or_null(test: Field) -> Field:
    return lambda document, value: value is None or test(document, value)


def _named_field(test: Field) -> Field:
    def holds(document: Document, value: Any) -> bool:
        if not _map_field(document, value):
            return False
        node = document.nodes[value.index]
        if not all(isinstance(key, str) for key in node.keys):
            return False
        return all(item is None or test(document, item) for item in node.values)

    return holds


def _each_field(test: Field) -> Field:
    """A map from strings to values of one type, none of them null."""
    names = _named_field(test)
    return lambda document, value: names(document, value) and None not in document.nodes[value.index].values


def _result_field(document: Document, value: Any) -> bool:
    if isinstance(value, R):
        return _typed_field("golden.sampled", "str")(document, value)
    return isinstance(value, (bool, float, str, T)) or is_int(value)


CALLABLES = ("function", "class", "method", "module", "object", "custom")
"""What a partial may be of."""
BUILTINS = ("OrderedDict", "defaultdict", "Counter", "deque", "str", "bytes")
"""Typed nodes whose types a class may derive from."""
NAMES = _named_field(_any_field)
_module_field = _typed_field("module")
_blank_field = _typed_field("torch.uninitialized")


def _tuple_of_field(*kinds: str) -> Field:
    test = _typed_field(*kinds)
    return lambda document, value: (
        _tuple_field(document, value) and all(test(document, item) for item in document.nodes[value.index].values)
    )


_timezone_field = _or_null(_typed_field("timezone", "ZoneInfo"))
DATE: dict[str, Field] = dict.fromkeys(("year", "month", "day"), _integer_field)
CLOCK: dict[str, Field] = dict.fromkeys(("hour", "minute", "second", "microsecond", "fold"), _integer_field)
KINDS: dict[str, dict[str, Field]] = {
    "OrderedDict": {"items": _map_field, "attributes?": NAMES},
    "torch.Size": {"dims": _sizes_field},
    "torch.dtype": {"name": _text_field},
    "torch.device": {"name": _text_field},
    "bytes": {"data": _tensor_field},
    "str": {"data": _tensor_field},
    "bytearray": {"data": _tensor_field},
    "class": {"name": _text_field},
    "function": {"name": _text_field},
    "method": {"self": _module_field, "name": _text_field},
    "partial": {"function": _typed_field(*CALLABLES), "args": _tuple_field, "keywords": NAMES},
    "object": {"class": _text_field, "attributes": NAMES},
    "derived": {"class": _text_field, "value": _builtin_field, "attributes?": NAMES},
    "module": {
        "class": _text_field,
        "training": _flag_field,
        "parameters?": _named_field(_parameter_field),
        "buffers?": _named_field(_buffer_field),
        "non_persistent?": _texts_field,
        "modules?": _named_field(_module_field),
        "attributes?": NAMES,
        "extra_state?": _any_field,
        "hooks?": _texts_field,
        "direct?": _true_field,
        "computed?": _tuple_of_field("torch.weight_norm", "torch.spectral_norm", "torch.prune"),
        "lazy?": _true_field,
        "program?": _typed_field("program"),
        "golden?": _typed_field("golden"),
    },
    "golden": {"environment": _each_field(_text_field), "examples": _tuple_of_field("golden.example")},
    "golden.example": {
        "args": _tuple_field,
        "keywords": NAMES,
        "random": _flag_field,
        "outputs": _tuple_of_field("golden.output"),
    },
    "golden.output": {
        "where": _text_field,
        "value": _result_field,
        "scale": _float_field,
        "tolerance": _float_field,
        "evidence": _each_field(_float_field),
    },
    "golden.sampled": {
        "dtype": _text_field,
        "shape": _sizes_field,
        "digest": _text_field,
        "finite": lambda document, value: is_int(value) and value >= 0,
        **dict.fromkeys(("minimum", "maximum", "mean", "deviation"), _float_field),
        "sample": _tensor_field,
    },
    "golden.object": {"sequence": _flag_field, "parts": NAMES},
    "program": {"summary": _text_field, "text": _long_bytes_field, "constants": _tensors_field},
    "custom": {"class": _text_field, "state": _any_field},
    "optimizer": {
        "class": _text_field,
        "defaults": _map_field,
        "state": _map_field,
        "param_groups": _list_field,
        "attributes?": NAMES,
    },
    "defaultdict": {"factory": _or_null(_typed_field(*CALLABLES, "partial")), "items": _map_field},
    "Counter": {"items": _map_field, "attributes?": NAMES},
    "deque": {"items": _tuple_field, "maxlen": _or_null(lambda document, value: is_int(value) and value >= 0)},
    "Namespace": {"attributes": NAMES},
    "SimpleNamespace": {"attributes": NAMES},
    "namedtuple": {"class": _text_field, "names": _texts_field, "items": _tuple_field},
    "enum": {"class": _text_field, "members": _texts_field, "rest?": _integer_field},
    "slice": dict.fromkeys(("start", "stop", "step"), _any_field),
    "range": dict.fromkeys(("start", "stop", "step"), _integer_field),
    "Ellipsis": {},
    "path": {"flavour": _text_field, "pure": _flag_field, "text": _text_field},
    "date": DATE,
    "time": {**CLOCK, "timezone": _timezone_field},
    "datetime": {**DATE, **CLOCK, "timezone": _timezone_field},
    "timedelta": dict.fromkeys(("days", "seconds", "microseconds"), _integer_field),
    "timezone": {"offset": _typed_field("timedelta"), "name?": _text_field},
    "ZoneInfo": {"key": _text_field},
    "UUID": {"hex": _text_field, "safe?": _text_field},
    "Decimal": {"text": _text_field},
    "Fraction": dict.fromkeys(("numerator", "denominator"), _integer_field),
    "Random": {"state": _bytes_field, "gauss": _or_null(lambda document, value: isinstance(value, float))},
    "torch.memory_format": {"name": _text_field},
    "torch.layout": {"name": _text_field},
    "torch.Generator": {"device": _text_field, "state": _bytes_field},
    "torch.averaging": {"function": _text_field, "decay?": _number_field},
    "torch.uninitialized": {
        "dtype": _text_field,
        "parameter": _flag_field,
        "requires_grad": _flag_field,
        "attributes?": NAMES,
    },
    "torch.weight_norm": {"name": _text_field, "dim": _integer_field},
    "torch.spectral_norm": {
        "name": _text_field,
        "dim": _integer_field,
        "power_iterations": _integer_field,
        "eps": _number_field,
    },
    "torch.prune": {"name": _text_field, "methods": _tuple_of_field("pruning_method"), "container": _flag_field},
    "pruning_method": {"class": _text_field, "attributes?": NAMES},
    "numpy.ndarray": {"dtype": _text_field, "data": _tensor_field, "writeable": _flag_field},
    "numpy.scalar": {"dtype": _text_field, "data": _bytes_field},
    "numpy.dtype": {"name": _text_field},
    "numpy.BitGenerator": {
        "name": _text_field,
        "state": _bytes_field,
        "seed": _or_null(_typed_field("numpy.SeedSequence")),
    },
    "numpy.Generator": {"bit_generator": _typed_field("numpy.BitGenerator")},
    "numpy.RandomState": {
        "bit_generator": _typed_field("numpy.BitGenerator"),
        "gauss": _or_null(lambda document, value: isinstance(value, float)),
    },
    "numpy.SeedSequence": {
        "entropy": lambda document, value: is_int(value) or _sizes_field(document, value),
        "spawn_key": _sizes_field,
        "pool_size": _integer_field,
        "spawned": _integer_field,
    },
    "torch.sparse": {
        "layout": _text_field,
        "shape": _sizes_field,
        "compressed": _or_null(_tensor_field),
        "indices": _tensor_field,
        "values": _tensor_field,
        "coalesced": _flag_field,
        "flags": _flags_field,
        "attributes?": NAMES,
    },
    "torch.quantized": {
        "dtype": _text_field,
        "shape": _sizes_field,
        "data": _tensor_field,
        "scale": _any_field,
        "zero_point": _any_field,
        "axis": _any_field,
        "flags": _flags_field,
        "attributes?": NAMES,
    },
    "torch.nested": {
        **dict.fromkeys(("values", "sizes", "strides", "offsets"), _tensor_field),
        "flags": _flags_field,
        "attributes?": NAMES,
    },
    "torch.jagged": {
        "values": _tensor_field,
        "offsets": _tensor_field,
        "lengths": _or_null(_tensor_field),
        "ragged_dim": _integer_field,
        "min_length": _or_null(_integer_field),
        "max_length": _or_null(_integer_field),
        "flags": _flags_field,
    },
    "torch.meta": {
        "dtype": _text_field,
        "shape": _sizes_field,
        "strides": _sizes_field,
        "flags": _flags_field,
        "attributes?": NAMES,
    },
    "tensor_subclass": {
        "class": _text_field,
        "data": _tensor_field,
        "flags": _flags_field,
        "attributes?": NAMES,
    },
    "wrapper_tensor": {
        "class": _text_field,
        "tensors": _named_field(_any_tensor_field),
        "context": _any_field,
        "shape": _sizes_field,
        "strides": _sizes_field,
        "flags": _flags_field,
    },
}
MODULE_INTERNALS = {
    "training", "_parameters", "_buffers", "_modules", "_non_persistent_buffers_set", "_backward_pre_hooks",
    "_backward_hooks", "_is_full_backward_hook", "_forward_hooks", "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called", "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs",
    "_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks", "_compiled_call_impl",
}  # fmt: skip
OWN_FIELDS = {
    "items", "attributes", "keywords", "parameters", "buffers", "modules", "defaults", "state", "args", "dims",
    "non_persistent", "hooks", "names", "members", "shape", "strides", "tensors", "computed", "methods",
    "value", "entropy", "spawn_key", "constants", "environment", "examples", "outputs", "evidence", "parts",
}  # fmt: skip
"""Fields whose map or sequence is a part of the node."""
RNNS = {"torch.nn:RNNBase", "torch.nn:RNN", "torch.nn:LSTM", "torch.nn:GRU"}
MUTABLE = {
    "list", "set", "map", "OrderedDict", "defaultdict", "Counter", "deque", "Namespace", "SimpleNamespace",
    "object", "module", "optimizer", "torch.uninitialized",
}  # fmt: skip
"""Kinds of node that exist before what they hold does, so that a cycle may pass through them."""
KEYS = {
    "torch.Size", "torch.dtype", "torch.device", "torch.memory_format", "torch.layout", "bytes", "str", "range",
    "Ellipsis", "namedtuple", "enum", "path", "date", "time", "datetime", "timedelta", "timezone", "ZoneInfo", "UUID",
    "Decimal", "Fraction", "numpy.scalar", "numpy.dtype",
}  # fmt: skip
"""Typed nodes that may be a key."""
TENSORS = {
    "torch.sparse", "torch.quantized", "torch.nested", "torch.jagged", "torch.meta", "tensor_subclass",
    "wrapper_tensor",
}  # fmt: skip
"""Typed nodes that are tensors."""
NAMED_KINDS = {"torch.dtype", "torch.device", "torch.memory_format", "torch.layout", "numpy.dtype", "ZoneInfo"}
"""Those that are equal where their names are."""


def check_nodes(document: Document) -> None:
    """The clauses K, M, A, V-2 and V-4, V-3 for inline values; M-3, K-5 and V-5 but for what the bytes say."""
    weights = _weigh(document)
    hashes = _hash_nodes(document)
    referred = Counter(value for node in document.nodes for value in node.refers())
    beside = (document.root, *document.attributes.values())
    referred.update(value for value in beside if isinstance(value, R))
    for node in document.nodes:
        if node.tag == "typed":
            _check_typed(document, node, referred)
        elif node.tag == "map":
            _check_keys(node.keys, weights, hashes)
        elif node.tag == "seq" and node.kind in ("set", "frozenset"):
            _check_keys(node.values, weights, hashes)
    check_hooks(document, referred)
    views = Counter(document.stored)
    check_golden(document, referred, views)
    for node in document.nodes:
        if node.tag == "typed" and node.kind in ("bytes", "str", "bytearray"):
            tensor = node.values[0]
            alone = referred[tensor] == 1 and views[document.stored[tensor.index]] == 1
            require(alone, "V-5", f"the tensor of {node.kind!r} is not its own")
            _check_text(document, tensor.index)
    for value in document.attributes.values():
        require(_map_field(document, value), "A-1", "the attributes of a tensor are no map")
        require(referred[value] == 1, "K-4", "the attributes of a tensor are not its own")
        _check_attributes(document.nodes[value.index])
    _check_cycles(document)
    for node in document.nodes:
        if node.tag == "typed" and node.kind in VALUES:
            holds = VALUES[node.kind](document, node.fields())
            require(holds, "K-5", f"no {node.kind} is written like this")
        if node.tag == "typed" and node.kind in LAYOUTS:
            holds = LAYOUTS[node.kind](document, node.fields())
            require(holds, "K-6", f"the parts of a {node.kind} do not fit")


def _check_text(document: Document, tensor: int) -> None:
    """V-5: nothing but bytes in one dimension."""
    row = document.stored[tensor]
    plain = all(tensor not in column for column in (document.views, document.lazy, document.attributes))
    require(plain and document.flags[tensor] == "0", "V-5", "the tensor of a text is more than its bytes")
    good = document.dtypes[row] == "uint8" and len(document.shapes[row]) == 1
    require(good, "V-5", "not bytes in one dimension")


def _check_typed(document: Document, node: Node, referred: Counter[T | R]) -> None:
    kind = KINDS.get(node.kind)
    if kind is None or node.version != 1:
        raise Reject("K-1", f"version {node.version} of {node.kind!r}")
    fields = node.fields()
    wanted = [name.rstrip("?") for name in kind if not name.endswith("?") or name[:-1] in fields]
    require(node.keys == wanted, "K-2", f"{node.kind!r} has the fields {node.keys}")
    for name, test in kind.items():
        if (name := name.rstrip("?")) in fields:
            value = fields[name]
            require(test(document, value), "K-3", f"{name!r} of {node.kind!r} is not of its type")
            own = name in OWN_FIELDS and _is_part(node, document.node(value))
            require(not own or referred[value] == 1, "K-4", f"{name!r} of {node.kind!r} is not its own")
    if node.kind == "module":
        _check_module(document, fields)
    if "attributes" in fields:
        _check_attributes(document.nodes[fields["attributes"].index])


def _is_part(holder: Node, node: Node | None) -> bool:
    """Whether a node, in a field of its own, may be referred to by nothing else."""
    if node is None or node.tag == "typed":
        return node is not None and holder.kind == "derived"
    return node.tag == "map" or (node.tag == "seq" and bool(node.values))


def _check_module(document: Document, fields: dict[str, Any]) -> None:
    seen: set[str] = set()
    for part in ("parameters", "buffers", "modules", "attributes"):
        keys = set(document.nodes[fields[part].index].keys) if part in fields else set()
        for name in keys:
            dotted = "." in name and part != "attributes"
            require(name and not dotted, "M-1", f"{name!r} is no name for one of {part}")
        require(not keys & (seen | MODULE_INTERNALS), "M-1", "a name that is taken")
        seen |= keys
    if "non_persistent" in fields:
        buffers = document.nodes[fields["buffers"].index].keys if "buffers" in fields else []
        names = document.nodes[fields["non_persistent"].index].values
        few = len(names) <= len(buffers)
        require(few and set(names) <= set(buffers), "M-2", "a non-persistent buffer that is no buffer")
        ordered = all(a < b for a, b in itertools.pairwise(names))
        require(ordered, "M-2", "non-persistent buffers out of order, or twice")
    package = re.split("[:.]", fields["class"])[0]
    require("direct" not in fields or package != "torch", "M-6", "a module of torch whose state is direct")


def _check_attributes(node: Node) -> None:
    for name in node.keys:
        good = isinstance(name, str) and not (name.startswith("__") and name.endswith("__"))
        require(good, "A-1", f"{name!r} is no attribute")


# --- golden outputs (G) --------------------------------------------------------------------------------

GOLDEN = {"golden", "golden.example", "golden.output", "golden.sampled", "golden.object"}
"""Kinds that are parts of the golden outputs of a module."""
DATA = {"str", "slice", "Ellipsis", "torch.dtype", "torch.device", "torch.layout", "torch.memory_format"}
"""Kinds of typed node that an argument may be, without going into them."""
SAMPLE_SIZE = 1024
MAX_STEPS = 64


def check_golden(document: Document, referred: Counter[T | R], views: Counter[int]) -> None:
    """The clauses G."""
    parts: set[int] = set()
    for node in document.nodes:
        if node.tag == "typed" and node.kind == "module" and "golden" in node.keys:
            _check_golden(document, node.fields()["golden"], referred, views, parts)
    for i, node in enumerate(document.nodes):
        strange = node.tag == "typed" and node.kind in GOLDEN and i not in parts
        require(not strange, "G-1", f"a {node.kind!r} that is no part of golden outputs")


def _check_golden(
    document: Document, golden: R, referred: Counter[T | R], views: Counter[int], parts: set[int]
) -> None:
    def part(reference: R) -> dict[str, Any]:
        require(referred[reference] == 1, "G-1", "a part of golden outputs that is not its own")
        parts.add(reference.index)
        return document.nodes[reference.index].fields()

    def tensor(reference: T) -> None:
        plain = all(reference.index not in c for c in (document.views, document.lazy, document.attributes))
        own = referred[reference] == 1 and views[document.stored[reference.index]] == 1
        good = plain and own and document.flags[reference.index] == "0"
        require(good, "G-3", "a tensor of golden outputs that is not its own")

    for example in document.nodes[part(golden)["examples"].index].values:
        fields = part(example)
        for begin in ("args", "keywords"):
            for value in _arguments(document, fields[begin], referred):
                if isinstance(value, T):
                    tensor(value)
                else:
                    part(value)
        outputs = [part(output) for output in document.nodes[fields["outputs"].index].values]
        for output in outputs:
            numbers = [output["scale"], output["tolerance"], *document.nodes[output["evidence"].index].values]
            require(all(0 <= number < math.inf for number in numbers), "G-4", "no finite number from 0")
            if isinstance(output["value"], T):
                tensor(output["value"])
            elif isinstance(output["value"], R) and document.nodes[output["value"].index].kind != "str":
                sampled = part(output["value"])
                tensor(sampled["sample"])
                require(_is_sampled(document, sampled), "G-5", "a sample that does not fit")
        require(len({output["where"] for output in outputs}) == len(outputs), "G-4", "two outputs at one place")


def _arguments(document: Document, root: R, referred: Counter[T | R]) -> Iterator[T | R]:
    """Every tensor and every `golden.object` below the arguments of a call (G-2)."""
    stack: list[tuple[Any, int]] = [(root, 0)]
    while stack:
        value, steps = stack.pop()
        require(steps <= MAX_STEPS, "G-2", "an argument that is too deep")
        if isinstance(value, T):
            yield value
            continue
        node = document.node(value)
        if node is None:
            scalar = value is None or isinstance(value, (bool, float, str)) or is_int(value)
            require(scalar, "G-2", "an argument that is no scalar of these")
            continue
        inner = node
        if node.tag == "typed":
            if node.kind in DATA:
                bare = node.kind == "str" or not any(True for _ in node.refers())
                require(bare, "G-2", f"a {node.kind!r} that holds more")
                continue
            fields = node.fields()
            ordered = node.kind == "OrderedDict" and "attributes" not in fields
            require(ordered or node.kind == "golden.object", "G-2", f"an argument that is a {node.kind!r}")
            inner = document.nodes[fields["items" if ordered else "parts"].index]
            if not ordered:
                yield value
        require(inner.tag == "map" or inner.kind in ("list", "tuple"), "G-2", f"an argument that is a {inner.kind!r}")
        keys = all(key is None or isinstance(key, (bool, str)) or is_int(key) for key in inner.keys)
        require(inner.tag != "map" or keys, "G-2", "a key that is no text or integer")
        require(not inner.values or referred[value] == 1, "G-2", "an argument that is not its own")
        stack.extend((below, steps + 1) for below in inner.values)


def _is_sampled(document: Document, fields: dict[str, Any]) -> bool:
    shape, sample = document.nodes[fields["shape"].index].values, fields["sample"].index
    if len(shape) > MAX_RANK or not all(0 <= size < MAX_INDEX for size in shape):
        return False
    numel = math.prod(shape)
    fits = document.dtype(sample) == fields["dtype"] and document.geometry(sample)[0] == (min(numel, SAMPLE_SIZE),)
    digest = re.fullmatch("[0-9a-f]{16}", fields["digest"])
    return numel < MAX_INDEX and fits and digest is not None and fields["finite"] <= numel


# --- hooks that compute, and lazy modules (M-4, M-5) ---------------------------------------------------

SOURCES = {
    "torch.weight_norm": (("_v", "parameters"), ("_g", "parameters")),
    "torch.spectral_norm": (("_orig", "parameters"), ("_u", "buffers"), ("_v", "buffers")),
    "torch.prune": (("_orig", "parameters"), ("_mask", "buffers")),
}
"""What each computes from: ends of names, and where these are. The first is as large as the result."""
HOOKS = {*SOURCES, "pruning_method"}
Form = tuple[str, tuple[int, ...]]


def check_hooks(document: Document, referred: Counter[T | R]) -> None:
    used: list[R] = []
    begun: set[int] = set()
    for node in document.nodes:
        fields = node.fields() if node.tag == "typed" and node.kind == "module" else {}
        if "computed" in fields or "lazy" in fields:
            parts = {part: _entries(document, fields.get(part)) for part in PARTS}
            everywhere = set().union(*parts.values())
            lazy = "lazy" in fields and everywhere & {"_load_hook", "_initialize_hook"}
            require(not lazy, "M-5", "an attribute where a handle of a lazy module goes")
            hooks = _items(document, fields["computed"]) if "computed" in fields else []
            used += hooks
            used += [method for hook in hooks for method in _methods(document, hook)]
            names = [document.nodes[hook.index].fields()["name"] for hook in hooks]
            require(len(set(names)) == len(names), "M-4", "one attribute that two hooks compute")
            for hook in hooks:
                _check_hook(document, document.nodes[hook.index], parts, begun)
    there = [R(i) for i, node in enumerate(document.nodes) if node.tag == "typed" and node.kind in HOOKS]
    require(all(referred[hook] == 1 for hook in there), "M-4", "a hook that is there twice")
    require(set(used) >= set(there), "M-4", "a hook outside of a module")


PARTS = ("parameters", "buffers", "modules", "attributes")


def _entries(document: Document, value: Any) -> dict[str, Any]:
    node = document.node(value)
    return dict(zip(node.keys, node.values, strict=True)) if node else {}


def _methods(document: Document, hook: R) -> list[R]:
    fields = document.nodes[hook.index].fields()
    return _items(document, fields["methods"]) if "methods" in fields else []


def _check_hook(document: Document, node: Node, parts: dict[str, dict[str, Any]], begun: set[int]) -> None:
    fields = node.fields()
    name: str = fields["name"]
    dunder = name.startswith("__") and name.endswith("__")
    require(
        name and "." not in name and not dunder and name not in MODULE_INTERNALS, "M-4", f"{name!r} is no attribute"
    )
    require(not any(name in parts[part] for part in PARTS[:3]), "M-4", f"{name!r} is a parameter, buffer or module")
    tensors = [parts[part].get(name + end) for end, part in SOURCES[node.kind]]
    require(all(isinstance(tensor, T) for tensor in tensors), "M-4", f"{name!r} cannot be computed: a tensor lacks")
    forms = [(document.dtype(tensor.index), document.geometry(tensor.index)[0]) for tensor in tensors]
    require(_is_real_or_complex(forms[0][0]) and 0 not in forms[0][1], "M-4", "not floating, or empty")
    require(FITS[node.kind](document, fields, *forms), "M-4", f"{name!r} cannot be computed from these shapes")
    if name in parts["attributes"]:
        require(isinstance(parts["attributes"][name], T), "M-4", "what a hook computes is no tensor")
        return
    stored = document.stored[tensors[0].index]
    have = math.prod(document.shapes[stored]) * SIZE[document.dtypes[stored]]
    require(math.prod(forms[0][1]) * SIZE[forms[0][0]] <= have, "M-4", "what is computed is larger than what is stored")
    require(stored not in begun, "M-4", "what is stored once is computed from twice")
    begun.add(stored)


def _fits_weight_norm(document: Document, fields: dict[str, Any], v: Form, g: Form) -> bool:
    dim, rank = fields["dim"], len(v[1])
    if v[0] != g[0] or v[0].startswith("complex") or not rank:
        return False
    if dim == -1:
        return g[1] == ()
    return -rank <= dim < rank and g[1] == tuple(n if i == dim % rank else 1 for i, n in enumerate(v[1]))


def _fits_spectral_norm(document: Document, fields: dict[str, Any], orig: Form, u: Form, v: Form) -> bool:
    dim, shape = fields["dim"], orig[1]
    if not orig[0] == u[0] == v[0] or not 0 <= dim < len(shape) or not 1 <= fields["power_iterations"] <= 10_000:
        return False
    return u[1] == (shape[dim],) and v[1] == (math.prod(shape[:dim] + shape[dim + 1 :]),)


def _fits_prune(document: Document, fields: dict[str, Any], orig: Form, mask: Form) -> bool:
    return orig[1] == mask[1] and (fields["container"] or len(_items(document, fields["methods"])) == 1)


FITS: dict[str, Callable[..., bool]] = {
    "torch.weight_norm": _fits_weight_norm,
    "torch.spectral_norm": _fits_spectral_norm,
    "torch.prune": _fits_prune,
}
"""Whether a hook computes from tensors of these dtypes and shapes."""


def _is_composite_key(node: Node) -> bool:
    return node.tag == "seq" and node.kind in ("tuple", "frozenset")


def _is_typed_key(node: Node) -> bool:
    """A `Decimal` that is a signalling NaN has no hash."""
    if node.kind == "Decimal" and any(isinstance(value, str) and "sNaN" in value for value in node.values):
        return False
    return node.tag == "typed" and (node.kind in KEYS or node.kind in TENSORS)


def _weigh(document: Document) -> dict[int, int]:
    """What each node weighs as a key; what can change, or is on a cycle, has no weight."""
    below: dict[int, list[int]] = {}
    for i, node in enumerate(document.nodes):
        if _is_composite_key(node) or _is_typed_key(node):
            below[i] = [] if node.kind in TENSORS else [value.index for value in node.refers() if isinstance(value, R)]
    weights: dict[int, int] = {}
    for i in _leaves_first(below):
        if document.nodes[i].kind in TENSORS:
            weights[i] = 1
        elif all(j in weights for j in below[i]):
            inline = [_weight_of(value) for value in document.nodes[i].values if not isinstance(value, R)]
            spare = 0 if _is_composite_key(document.nodes[i]) else len(inline)  # a field counts for its length alone
            weight = 1 + sum(inline) - spare + sum(weights[j] for j in below[i])
            weights[i] = min(weight, MAX_KEY_WEIGHT + 1)
    return weights


def _weight_of(value: Any) -> int:
    """What a scalar weighs in a key."""
    return 1 + abs(value).bit_length() // 64 if type(value) is int else 1


def _leaves_first(below: dict[int, list[int]]) -> Iterator[int]:
    """The nodes that are not on a cycle and lead to none, each after those below it."""
    needs = {i: sum(j in below for j in inner) for i, inner in below.items()}
    holders: dict[int, list[int]] = {}
    for i, inner in below.items():
        for j in inner:
            holders.setdefault(j, []).append(i)
    free = [i for i, count in needs.items() if count == 0]
    while free:
        yield (i := free.pop())
        for holder in holders.get(i, ()):
            needs[holder] -= 1
            if needs[holder] == 0:
                free.append(holder)


def _hash_nodes(document: Document, values: dict[int, Any] | None = None) -> dict[int, int]:
    """For each tuple and frozenset that can be a key a hash, the same where those of the items are.

    Args:
        document: what holds them.
        values: what nodes of other kinds stand for, where that counts. One without a value has a hash of its own.
    """
    below = {
        i: [value.index for value in node.refers() if isinstance(value, R)]
        for i, node in enumerate(document.nodes)
        if _is_composite_key(node)
    }
    hashes = {i: hash(value) for i, value in (values or {}).items()}
    for i in _leaves_first(below):
        node = document.nodes[i]
        inner = [_hash_of(value, hashes) for value in node.values]
        hashes[i] = hash((node.kind, *(inner if node.kind == "tuple" else sorted(inner))))
    return hashes


def _hash_of(key: Any, hashes: dict[int, int]) -> int:
    return hashes.get(key.index, hash(("node", key))) if isinstance(key, R) else hash(key)


def _check_keys(keys: list[Any], weights: dict[int, int], hashes: dict[int, int]) -> None:
    for key in keys:
        if isinstance(key, R):
            require(key.index in weights, "V-2", "a key that can change or holds itself")
            require(weights[key.index] <= MAX_KEY_WEIGHT, "V-2", "a key that weighs too much")
    inline = [key for key in keys if not isinstance(key, R)]
    require(all(_weight_of(key) <= MAX_KEY_WEIGHT for key in inline), "V-2", "a key that weighs too much")
    _limit_hashes(keys, hashes)
    require(len(set(inline)) == len(inline), "V-3", "a key stands twice")


def _limit_hashes(keys: list[Any], hashes: dict[int, int]) -> None:
    alike = len(keys) - len({_hash_of(key, hashes) for key in keys})
    require(alike <= MAX_EQUAL_HASHES, "LIMIT", "too many keys of equal hashes")


def _check_cycles(document: Document) -> None:
    """V-4: no cycle through immutable nodes alone, a map in a field of one being a part of it."""
    fixed = {i for i, node in enumerate(document.nodes) if not _is_mutable(document, node)}
    below: dict[int, list[int]] = {}
    for i in fixed:
        node = document.nodes[i]
        inner = [value.index for value in node.refers() if isinstance(value, R)]
        parts = [j for j in inner if node.tag == "typed" and document.nodes[j].tag == "map"]
        below[i] = [j for j in inner if j in fixed] + parts
        for j in parts:
            if j not in below:
                values = document.nodes[j].refers()
                below[j] = [value.index for value in values if isinstance(value, R) and value.index in fixed]
    require(len(list(_leaves_first(below))) == len(below), "V-4", "an immutable node holds itself")


def _is_mutable(document: Document, node: Node) -> bool:
    if node.tag == "typed" and node.kind == "derived":
        held = document.node(node.fields()["value"])
        return held is not None and (held.tag == "map" or held.kind in MUTABLE)
    return node.tag == "opaque" or node.kind in MUTABLE


# --- values of Python's and numpy's own types (K-5) ----------------------------------------------------

Fields = dict[str, Any]

DECIMALS = decimal.Context(traps=[decimal.InvalidOperation], capitals=1)
TORCH_DTYPES = {
    "|b1": "bool", "|i1": "int8", "|u1": "uint8", "<i2": "int16", "<i4": "int32", "<i8": "int64",
    "<u2": "uint16", "<u4": "uint32", "<u8": "uint64", "<f2": "float16", "<f4": "float32", "<f8": "float64",
    "<c8": "complex64", "<c16": "complex128",
}  # fmt: skip
"""numpy's text for a dtype -> torch's."""
FORMATS = {"<f2": "<e", "<f4": "<f", "<f8": "<d", "<c8": "<2f", "<c16": "<2d"}
"""numpy's text for a dtype -> that of the struct module."""


def _items(document: Document, value: Any) -> list[Any]:
    return document.nodes[value.index].values


def _is_deque(document: Document, fields: Fields) -> bool:
    maxlen = fields["maxlen"]
    return maxlen is None or len(_items(document, fields["items"])) <= maxlen < 2**63


def _is_namedtuple(document: Document, fields: Fields) -> bool:
    names = _items(document, fields["names"])
    return len(names) == len(_items(document, fields["items"])) == len(set(names)) and all(map(_is_field_name, names))


def _is_field_name(name: str) -> bool:
    return name.isidentifier() and not name.startswith("_") and not keyword.iskeyword(name)


def _is_enum(document: Document, fields: Fields) -> bool:
    members = _items(document, fields["members"])
    return len(set(members)) == len(members) and 0 < fields.get("rest", 1) < 2**64


def _is_range(document: Document, fields: Fields) -> bool:
    return fields["step"] != 0


def _pure_path(fields: Fields) -> PurePath | None:
    flavours: dict[str, type[PurePath]] = {"posix": PurePosixPath, "windows": PureWindowsPath}
    flavour = flavours.get(fields["flavour"])
    return flavour(fields["text"]) if flavour else None


def _is_path(document: Document, fields: Fields) -> bool:
    path = _pure_path(fields)
    return path is not None and str(path) == fields["text"]


def _is_date(document: Document, fields: Fields) -> bool:
    year, month, day = fields["year"], fields["month"], fields["day"]
    return 1 <= year <= 9999 and 1 <= month <= 12 and 1 <= day <= calendar.monthrange(year, month)[1]


def _is_time(document: Document, fields: Fields) -> bool:
    ends = {"hour": 24, "minute": 60, "second": 60, "microsecond": 10**6, "fold": 2}
    return all(0 <= fields[name] < end for name, end in ends.items())


def _is_datetime(document: Document, fields: Fields) -> bool:
    return _is_date(document, fields) and _is_time(document, fields)


def _is_timedelta(document: Document, fields: Fields) -> bool:
    small = 0 <= fields["seconds"] < 86_400 and 0 <= fields["microseconds"] < 10**6
    return small and abs(fields["days"]) <= 999_999_999


def _is_timezone(document: Document, fields: Fields) -> bool:
    days, seconds, microseconds = _items(document, fields["offset"])
    return abs((days * 86_400 + seconds) * 10**6 + microseconds) < 86_400 * 10**6


def _is_zone(document: Document, fields: Fields) -> bool:
    part = "[A-Za-z][A-Za-z0-9_+-]*"
    return len(fields["key"]) <= 255 and re.fullmatch(f"{part}(/{part})*", fields["key"]) is not None


def _is_uuid(document: Document, fields: Fields) -> bool:
    return bool(re.fullmatch("[0-9a-f]{32}", fields["hex"])) and fields.get("safe", "safe") in ("safe", "unsafe")


def _is_decimal(document: Document, fields: Fields) -> bool:
    try:
        return DECIMALS.to_sci_string(decimal.Decimal(fields["text"], DECIMALS)) == fields["text"]
    except decimal.InvalidOperation:
        return False


def _is_fraction(document: Document, fields: Fields) -> bool:
    numerator, denominator = fields["numerator"], fields["denominator"]
    long = max(numerator.bit_length(), denominator.bit_length()) > MAX_FRACTION_NBITS
    require(not long, "LIMIT", "a fraction is too long")
    return denominator >= 1 and math.gcd(numerator, denominator) == 1


def _is_random(document: Document, fields: Fields) -> bool:
    return len(fields["state"]) == 2500 and int.from_bytes(fields["state"][2496:], "little") <= 624


BIT_GENERATORS = {"MT19937": 2500, "PCG64": 40, "PCG64DXSM": 40, "Philox": 92, "SFC64": 40}
"""Bytes of the state of each."""


def _is_bit_generator(document: Document, fields: Fields) -> bool:
    name, state = fields["name"], fields["state"]
    if BIT_GENERATORS.get(name) != len(state):
        return False
    place, half, last = struct.unpack("<3I", state[-12:])
    return last <= 624 if name == "MT19937" else half <= 1 and (name != "Philox" or place <= 4)


def _is_seed_sequence(document: Document, fields: Fields) -> bool:
    entropy = fields["entropy"]
    seeds = [entropy] if is_int(entropy) else _items(document, entropy)
    fit = all(0 <= seed < 2**1024 for seed in (*seeds, *_items(document, fields["spawn_key"])))
    return fit and 4 <= fields["pool_size"] <= 64 and 0 <= fields["spawned"] < 2**32


def _itemsize(text: str) -> int | None:
    """Bytes of an element of one of numpy's dtypes; None for a text that is none of a file."""
    if text in TORCH_DTYPES or re.fullmatch(">([iu][248]|f[248]|c8|c16)", text):
        return int(text[2:])
    if re.fullmatch(r"([<>]U|\|S)[1-9][0-9]{0,5}", text):
        return int(text[2:]) * (4 if text[1] == "U" else 1)
    units = "Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as"
    return 8 if re.fullmatch(rf"[<>][Mm]8(\[([2-9]|[1-9][0-9]{{1,5}})?({units})\])?", text) else None


def _is_averaging(document: Document, fields: Fields) -> bool:
    if fields["function"] in ("get_swa_avg_fn", "get_swa_multi_avg_fn"):
        return "decay" not in fields
    return fields["function"] in ("get_ema_avg_fn", "get_ema_multi_avg_fn") and 0 <= fields.get("decay", -1) <= 1


def _is_array(document: Document, fields: Fields) -> bool:
    dtype, tensor = fields["dtype"], fields["data"].index
    if dtype in TORCH_DTYPES:
        return document.dtype(tensor) == TORCH_DTYPES[dtype]
    shape, strides, _ = document.geometry(tensor)
    of_bytes = document.dtype(tensor) == "uint8" and shape and strides[-1] == 1
    return bool(of_bytes) and shape[-1] == _itemsize(dtype)


def _is_scalar(document: Document, fields: Fields) -> bool:
    dtype, data = fields["dtype"], fields["data"]
    if dtype in ("U", "S"):
        return dtype == "S" or _is_utf8(data)
    known = _itemsize(dtype) == len(data) and dtype[0] != ">" and dtype[1] not in "US"
    return known and (dtype != "|b1" or data in (b"\0", b"\1"))


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def _is_uninitialized(document: Document, fields: Fields) -> bool:
    return fields["dtype"] in SIZE and not (fields["requires_grad"] and not _is_real_or_complex(fields["dtype"]))


PRUNING = {
    "Identity": "",
    "RandomUnstructured": "amount",
    "L1Unstructured": "amount",
    "RandomStructured": "amount dim",
    "LnStructured": "amount n dim",
    "CustomFromMask": "mask",
}
"""Methods of torch, and the names of their attributes."""
PRUNING_TESTS: dict[str, Callable[[Any], bool]] = {
    "amount": lambda value: (is_int(value) and value >= 0) or (isinstance(value, float) and 0 <= value <= 1),
    "dim": is_int,
    "n": lambda value: is_int(value) or isinstance(value, float) or value in ("fro", "nuc"),
    "mask": lambda value: isinstance(value, T),
}


def _is_pruning_method(document: Document, fields: Fields) -> bool:
    package, _, name = fields["class"].partition(":")
    if package != "torch.nn.utils.prune" or name not in PRUNING:
        return True
    given = _entries(document, fields.get("attributes"))
    return set(given) == set(PRUNING[name].split()) and all(PRUNING_TESTS[key](given[key]) for key in given)


def _is_numpy_dtype(document: Document, fields: Fields) -> bool:
    return _itemsize(fields["name"]) is not None


VALUES: dict[str, Callable[[Document, Fields], bool]] = {
    "deque": _is_deque,
    "namedtuple": _is_namedtuple,
    "enum": _is_enum,
    "range": _is_range,
    "path": _is_path,
    "date": _is_date,
    "time": _is_time,
    "datetime": _is_datetime,
    "timedelta": _is_timedelta,
    "timezone": _is_timezone,
    "ZoneInfo": _is_zone,
    "UUID": _is_uuid,
    "Decimal": _is_decimal,
    "Fraction": _is_fraction,
    "Random": _is_random,
    "torch.averaging": _is_averaging,
    "torch.uninitialized": _is_uninitialized,
    "pruning_method": _is_pruning_method,
    "numpy.ndarray": _is_array,
    "numpy.scalar": _is_scalar,
    "numpy.dtype": _is_numpy_dtype,
    "numpy.BitGenerator": _is_bit_generator,
    "numpy.SeedSequence": _is_seed_sequence,
}
"""Whether fields, each of its type, are those of a value."""


# --- tensors that are nodes (K-6) -------------------------------------------------------------------


class Bare:
    """A tensor without flags, lazy bits and attributes; of no dtype where a value is none."""

    def __init__(self, document: Document, value: Any) -> None:
        self.dtype, self.shape = "", ()
        if not isinstance(value, T) or document.flags[value.index] != "0":
            return
        if value.index in document.lazy or value.index in document.attributes:
            return
        view, stored = document.views.get(value.index), document.stored[value.index]
        dtype, shape = (view.dtype, view.shape) if view else (document.dtypes[stored], document.shapes[stored])
        if math.prod(shape) * SIZE[dtype] <= math.prod(document.shapes[stored]) * SIZE[document.dtypes[stored]]:
            self.dtype, self.shape = dtype, shape

    def is_of(self, rank: int, *dtypes: str) -> bool:
        return self.dtype in dtypes and len(self.shape) == rank


def _sizes_of(document: Document, value: Any) -> tuple[int, ...] | None:
    sizes = tuple(document.nodes[value.index].values)
    counted = math.prod(size for size in sizes if size)
    return sizes if all(0 <= size < MAX_INDEX for size in sizes) and counted < MAX_INDEX else None


def _is_geometry(document: Document, fields: dict[str, Any]) -> bool:
    shape, strides = (_sizes_of(document, fields["shape"]), document.nodes[fields["strides"].index].values)
    return shape is not None and len(strides) == len(shape) and all(0 <= stride < MAX_INDEX for stride in strides)


def _is_meta(document: Document, fields: dict[str, Any]) -> bool:
    return _is_geometry(document, fields) and fields["dtype"] in SIZE


def _is_sparse(document: Document, fields: dict[str, Any]) -> bool:
    shape = _sizes_of(document, fields["shape"])
    values, indices = Bare(document, fields["values"]), Bare(document, fields["indices"])
    if shape is None or not values.dtype:
        return False
    if fields["layout"] == "sparse_coo":
        if fields["compressed"] is not None or not indices.is_of(2, "int64") or indices.shape[0] > len(shape):
            return False
        return values.shape == (indices.shape[1], *shape[indices.shape[0] :])
    if fields["layout"] not in ("sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc") or fields["coalesced"]:
        return False
    pointers, rank = Bare(document, fields["compressed"]), len(indices.shape)
    if indices.dtype not in ("int32", "int64") or not pointers.is_of(rank, indices.dtype) or not 0 < rank < len(shape):
        return False
    return values.shape[:rank] == indices.shape


def _is_quantized(document: Document, fields: dict[str, Any]) -> bool:
    shape, data = _sizes_of(document, fields["shape"]), Bare(document, fields["data"])
    if shape is None:
        return False
    whole = {"qint8": "int8", "quint8": "uint8", "qint32": "int32"}
    if fields["dtype"] in whole:
        good = (data.dtype, data.shape) == (whole[fields["dtype"]], shape)
    else:
        nbits = {"quint4x2": 4, "quint2x4": 2}.get(fields["dtype"], 0)
        last = shape[-1] if shape else 1
        good = nbits > 0 and data.dtype == "uint8" and data.shape == (math.prod(shape[:-1]) * -(-last * nbits // 8),)
    axis, scale, point = fields["axis"], fields["scale"], fields["zero_point"]
    if axis is None:
        whole_scale = isinstance(scale, float) and math.isfinite(scale)
        return good and whole_scale and is_int(point) and -(2**31) <= point < 2**31
    if not is_int(axis) or not 0 <= axis < len(shape):
        return False
    each = [Bare(document, scale), Bare(document, point)]
    dtypes = [one.dtype for one in each]
    return (
        good
        and dtypes in (["float64", "int64"], ["float32", "float32"])
        and all(one.shape == (shape[axis],) for one in each)
    )


def _is_nested(document: Document, fields: dict[str, Any]) -> bool:
    values, sizes, strides, offsets = (Bare(document, fields[n]) for n in ("values", "sizes", "strides", "offsets"))
    good = sizes.is_of(2, "int64") and strides.is_of(2, "int64") and offsets.is_of(1, "int64")
    one = bool(values.dtype) and len(values.shape) == 1
    return good and one and sizes.shape == strides.shape and offsets.shape == sizes.shape[:1]


def _is_jagged(document: Document, fields: dict[str, Any]) -> bool:
    values, offsets = Bare(document, fields["values"]), Bare(document, fields["offsets"])
    if not values.dtype or not offsets.is_of(1, "int32", "int64") or offsets.shape == (0,):
        return False
    if fields["lengths"] is not None:
        lengths = Bare(document, fields["lengths"])
        if not lengths.is_of(1, offsets.dtype) or lengths.shape[0] != offsets.shape[0] - 1:
            return False
    bounds = [fields[name] for name in ("min_length", "max_length") if fields[name] is not None]
    return 0 < fields["ragged_dim"] <= len(values.shape) and all(0 <= bound < MAX_INDEX for bound in bounds)


LAYOUTS: dict[str, Callable[[Document, dict[str, Any]], bool]] = {
    "torch.sparse": _is_sparse,
    "torch.quantized": _is_quantized,
    "torch.nested": _is_nested,
    "torch.jagged": _is_jagged,
    "torch.meta": _is_meta,
    "tensor_subclass": lambda document, fields: bool(Bare(document, fields["data"]).dtype),
    "wrapper_tensor": _is_geometry,
}
"""Whether the parts of a tensor fit together."""


def _value_of(document: Document, node: Node) -> Any:
    """What a node that is a key stands for, as Python has it; None where that takes a class, or more than Python.

    K-5 holds already. Only hashes and equality of what is returned count.
    """
    fields = node.fields()
    if node.kind == "Decimal":
        return decimal.Decimal(fields["text"])
    if node.kind == "numpy.scalar":
        return _value_of_scalar(fields["dtype"], fields["data"])
    if node.kind == "path":
        return _pure_path(fields)
    if node.kind == "UUID":
        return uuid.UUID(fields["hex"])
    if node.kind == "Ellipsis":
        return ...
    if node.kind == "timezone":
        return datetime.timezone(datetime.timedelta(*_items(document, fields["offset"])))
    if node.kind in ("time", "datetime"):
        *numbers, _, zone = node.values
        if zone and document.nodes[zone.index].kind == "ZoneInfo":  # whose rules each machine has of its own
            return node.kind, *numbers, *document.nodes[zone.index].values
        make: Any = datetime.time if node.kind == "time" else datetime.datetime
        return make(*numbers, _value_of(document, document.nodes[zone.index]) if zone else None)
    makers: dict[str, Any] = {"range": range, "Fraction": Fraction, "date": datetime.date}
    makers["timedelta"] = datetime.timedelta
    return makers[node.kind](*node.values) if node.kind in makers else None


def _value_of_scalar(dtype: str, data: bytes) -> Any:
    if dtype == "U":
        return data.decode("utf-8", "surrogatepass")
    if dtype in FORMATS:
        number = struct.unpack(FORMATS[dtype], data)
        return complex(*number) if len(number) == 2 else number[0]
    if dtype == "S" or dtype[1] in "Mm":
        return data if dtype == "S" else None
    return int.from_bytes(data, "little", signed=dtype[1] == "i")


def _check_characters(document: Document, dtype: str, tensor: int, data: bytes) -> None:
    """K-5 for what the bytes of an array of characters say; sets of positions are the bits of an integer."""
    shape, strides, offset = document.geometry(tensor)
    if 0 in shape:
        return
    units = 1 << offset
    for size, stride in zip((*shape[:-1], shape[-1] // 4), (*strides[:-1], 4), strict=True):
        done = 1
        while done < size:
            step = min(done, size - done)
            units |= units << (step * stride)
            done += step
    memory = _memory(document, document.stored[tensor], data)
    first = int(memory[::-1].translate(b"0" + b"1" * 255), 2)
    second = int(memory[::-1].translate(b"0" * 17 + b"1" * 239), 2)
    large = first >> 3 | second >> 2 if dtype[0] == "<" else first | second >> 1
    require(not units & large, "K-5", "an array of characters with something that is none")


def _memory(document: Document, row: int, data: bytes) -> bytes:
    """The bytes of a stored tensor in the order that its memory has."""
    if row not in document.strides:
        return data
    memory, size = bytearray(len(data)), SIZE[document.dtypes[row]]
    ranges = map(range, document.shapes[row])
    for i, index in enumerate(itertools.product(*ranges)):
        at = size * sum(map(lambda a, b: a * b, index, document.strides[row]))
        memory[at : at + size] = data[i * size : (i + 1) * size]
    return bytes(memory)


# --- what needs the tensors' bytes, or the object (V-3 of composite keys, V-5 of text, M-3) -------------


def check_content(document: Document, stored: list[bytes]) -> None:
    """K-5 and V-5 for what the bytes say, V-3 for keys that are nodes, and M-3."""
    for node in document.nodes:
        if node.tag == "typed" and node.kind == "numpy.ndarray" and node.values[0][1] == "U":
            dtype, tensor, _ = node.values
            _check_characters(document, dtype, tensor.index, stored[document.stored[tensor.index]])
    typed = [i for i, node in enumerate(document.nodes) if _is_typed_key(node)]
    found = ((i, _value_of(document, document.nodes[i])) for i in typed)
    values = {i: value for i, value in found if value is not None}
    hashes = _hash_nodes(document, values)
    same = _same_values(document, _digest_texts(document, stored), values)
    for node in document.nodes:
        if node.tag == "map" or (node.tag == "seq" and node.kind in ("set", "frozenset")):
            keys = node.keys if node.tag == "map" else node.values
            if any(isinstance(key, R) for key in keys):
                _limit_hashes(keys, hashes)
                met = set(map(same, keys))
                require(len(met) == len(keys), "V-3", "two keys are equal")
    good: set[Any] = set()
    for node in document.nodes:
        if node.tag == "typed" and node.kind == "module" and node.values[0] in RNNS:
            attributes = document.node(node.fields().get("attributes"))
            weights = dict(zip(attributes.keys, attributes.values, strict=True)) if attributes else {}
            names = weights.get("_all_weights")
            require(names in good or _is_names_of_weights(document, names), "M-3", "an RNN whose weights have no names")
            good.add(names)


def _is_names_of_weights(document: Document, value: Any) -> bool:
    """Whether a value is a list of lists of texts, none of them empty. Lists may be there more than once."""
    if not _list_field(document, value) or not document.nodes[value.index].values:
        return False
    lists = set(document.nodes[value.index].values)
    if not all(_list_field(document, names) and document.nodes[names.index].values for names in lists):
        return False
    return all(_is_any_text(document, name) for names in lists for name in document.nodes[names.index].values)


def _is_any_text(document: Document, value: Any) -> bool:
    node = document.node(value)
    return isinstance(value, str) or (node is not None and node.tag == "typed" and node.kind == "str")


def _digest(*parts: bytes) -> bytes:
    return hashlib.blake2b(b"".join(parts), digest_size=24).digest()


def _digest_texts(document: Document, stored: list[bytes]) -> dict[int, bytes]:
    """What each `bytes` and `str` node means, as the digest of an equal key."""
    found: dict[int, bytes] = {}
    for i, node in enumerate(document.nodes):
        if node.tag == "typed" and node.kind in ("bytes", "str"):
            data = stored[document.stored[node.values[0].index]]
            if node.kind == "str":
                try:
                    data.decode("utf-8", "surrogatepass")
                except UnicodeDecodeError:
                    raise Reject("V-5", "text that is not UTF-8") from None
            found[i] = _digest(node.kind.encode(), b" ", data)
    return found


def _same_values(document: Document, texts: dict[int, bytes], values: dict[int, Any]) -> Callable[[Any], bytes]:
    """A digest for each value that may be a key, the same for those that are equal. V-2 holds already."""
    of_node: dict[int, bytes] = {}
    nans = itertools.count()
    met: dict[Any, int] = {}

    def digest(value: Any) -> bytes:
        if isinstance(value, R):
            return of_node[value.index]
        if isinstance(value, T):
            return _digest(b"tensor %d" % value.index)
        if isinstance(value, bytes):
            return _digest(b"bytes ", value)
        if isinstance(value, str):
            return _digest(b"str ", value.encode("utf-8", "surrogatepass"))
        if value is None:
            return _digest(b"none")
        if value != value:  # noqa: PLR0124 - a NaN equals nothing
            return _digest(b"nan %d" % next(nans))
        return _digest(b"number ", _number(value))

    def meaning(i: int) -> bytes:
        node = document.nodes[i]
        if node.tag == "seq" and node.kind == "tuple":
            return _digest(b"tuple", *map(digest, node.values))
        if node.tag == "seq" and node.kind == "frozenset":
            return _digest(b"frozenset", *sorted(map(digest, node.values)))
        if node.tag == "typed" and node.kind == "torch.Size":
            return _sizes(node.values[0].index)
        if isinstance(values.get(i), bytes | str | Number):
            return digest(values[i])
        if i in values:
            return _digest(b"value %d" % met.setdefault(values[i], len(met)))
        if node.kind in NAMED_KINDS:
            return _digest(node.kind.encode(), b" ", node.values[0].encode("utf-8", "surrogatepass"))
        return texts.get(i) or _digest(b"node %d" % i)

    def _sizes(i: int) -> bytes:
        if i not in of_node:
            of_node[i] = meaning(i)
        return of_node[i]

    below = {
        i: [value.index for value in node.refers() if isinstance(value, R)] if _is_composite_key(node) else []
        for i, node in enumerate(document.nodes)
        if _is_composite_key(node) or _is_typed_key(node)
    }
    for i in _leaves_first(below):
        if all(j in of_node for j in below[i]):
            of_node.setdefault(i, meaning(i))
    return digest


Number = int | float | complex | Fraction | decimal.Decimal


def _number(value: Number) -> bytes:
    """A text for a number, the same for those that are equal."""
    if isinstance(value, complex):
        if value.imag != 0:
            return b"%s %s" % (_number(value.real), _number(value.imag))
        value = value.real
    if value in (math.inf, -math.inf):
        return b"inf" if value > 0 else b"-inf"
    if isinstance(value, decimal.Decimal):
        sign, digits, exponent = value.as_tuple()
        zeros = next((i for i, digit in enumerate(reversed(digits)) if digit), len(digits))
        digits, low = digits[: len(digits) - zeros], int(exponent) + zeros
        if digits and (low < -MAX_FRACTION_NBITS or low + len(digits) > 3 * MAX_INT_NBYTES):
            return b"%d %s %d" % (sign, bytes(digits), low)  # no other type has such a number
        value = value if digits else 0
    return b"%x/%x" % value.as_integer_ratio()


def main(paths: list[str]) -> int:
    """Check each file; 0 where all of them conform."""
    status = 0
    for path in paths:
        try:
            check(Path(path).read_bytes())
            verdict = "accept"
        except Reject as error:
            verdict, status = f"reject {error}", 1
        sys.stdout.write(f"{path}: {verdict}\n" if len(paths) > 1 else f"{verdict}\n")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
