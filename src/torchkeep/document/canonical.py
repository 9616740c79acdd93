"""Document <-> canonical JSON: one text for each Document, and one Document for each text.

The wire types below are the schema; msgspec holds every text against them in C. `decode` then writes
the Document again and compares: whatever JSON allows in two ways (key order, duplicate keys, blanks,
escapes, ``1.0`` for ``1``) is thereby allowed in one.

A file's header already names its stored tensors, so the Document does not say that again: `Shown` is
what the container shows, and only differences from it are written.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TypeVar

import msgspec

from ..errors import FormatError, LimitError, VersionError
from ..limits import LIMITS, Limits
from .findings import Finding
from .model import FORMAT_VERSION, ClassInfo, Document
from .nodes import Map, Node, Opaque, Ref, Seq, SeqKind, TensorRef, Typed, Value
from .tensors import Shape, TensorTable, View

MAX_EXACT_INT = 2**53 - 1
"""Largest integer that every JSON reader holds exactly."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a container says of the stored tensors by itself, as columns: name, dtype, shape."""

    names: Sequence[str] = field(default_factory=list)
    dtypes: Sequence[str] = field(default_factory=list)
    shapes: Sequence[Shape] = field(default_factory=list)


# --- the wire ---------------------------------------------------------------------------------------


class _Wire(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """Base of the wire types: a JSON array that begins with its tag."""


class _Int(_Wire, frozen=True, tag="i"):
    hex: str


class _Float(_Wire, frozen=True, tag="f"):
    text: str


class _Complex(_Wire, frozen=True, tag="c"):
    real: str
    imag: str


class _Bytes(_Wire, frozen=True, tag="b"):
    base64: str


class _Str(_Wire, frozen=True, tag="s"):
    base64: str  # UTF-8 with lone surrogates, which JSON text cannot hold


class _NameFrom(_Wire, frozen=True, tag="="):
    start: int  # the key is the tail of the name of the tensor beside it


_WireValue = None | bool | int | str | TensorRef | Ref | _Int | _Float | _Complex | _Bytes | _Str
_WireKey = None | bool | int | str | TensorRef | Ref | _Int | _Float | _Complex | _Bytes | _Str | _NameFrom
_Values = tuple[_WireValue, ...]


class _Seq(_Wire, frozen=True, tag="seq"):
    kind: SeqKind
    items: _Values


class _Map(_Wire, frozen=True, tag="map"):
    keys: tuple[_WireKey, ...]
    values: _Values


class _Keyed(_Wire, frozen=True, tag="m"):
    keys: int  # a map whose keys stand in `keysets`, since another map has them, too
    values: _Values


class _Object(_Wire, frozen=True, tag="o"):
    record: int  # kind, version, class and names of fields stand in `records`
    values: _Values


class _Opaque(_Wire, frozen=True, tag="opaque"):
    what: str
    fields: dict[str, _WireValue]


_WireNode = _Seq | _Map | _Keyed | _Object | _Opaque
_Record = tuple[str, int, str | None, tuple[str, ...]]
_Keys = tuple[str, ...]


class _WireTensors(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    differ: list[tuple[int, str, Shape]]  # stored tensors whose dtype or shape is not as shown
    strides: list[tuple[int, Shape]]
    stored: list[int] | None  # None: tensor i views stored tensor i
    flags: str  # one digit a tensor
    views: list[tuple[int, str, Shape, Shape, int]]
    lazy: list[tuple[int, int]]
    attributes: list[tuple[int, _WireValue]]
    shown: tuple[list[str], list[str], list[Shape]] | None = None


class _WireDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: str
    environment: dict[str, str]
    classes: list[tuple[str, int, str | None, str | None]]
    findings: list[tuple[str, str, str, str, str]]
    records: list[_Record]
    keysets: list[_Keys]
    root: _WireValue
    nodes: list[_WireNode]
    tensors: _WireTensors


class _WireVersion(msgspec.Struct, frozen=True):
    version: str


_decoder = msgspec.json.Decoder(_WireDocument)
_version_decoder = msgspec.json.Decoder(_WireVersion)
_encoder = msgspec.json.Encoder()


# --- scalars ----------------------------------------------------------------------------------------


def _float_text(value: float) -> str:
    """The shortest decimal that reads back the same, as Python's repr; a NaN with its bits."""
    if math.isnan(value):
        bits = struct.pack(">d", value).hex()
        return "nan" if bits == "7ff8000000000000" else f"nan:{bits}"
    return repr(value)


def _float(text: str) -> float:
    if text.startswith("nan:"):
        value: float = struct.unpack(">d", bytes.fromhex(text[4:]).rjust(8)[:8])[0]
    else:
        value = float(text)
    if _float_text(value) != text:
        raise FormatError(f"{text!r} is not the canonical text of a float", clause="D-6")
    return value


def _to_wire(value: Value) -> _WireValue:
    """A value as the JSON writer takes it."""
    if value is None or isinstance(value, bool | TensorRef | Ref):
        return value
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return _Str(base64.b64encode(value.encode("utf-8", "surrogatepass")).decode())
        return value
    if isinstance(value, int):
        return value if -MAX_EXACT_INT <= value <= MAX_EXACT_INT else _Int(hex(value))
    if isinstance(value, float):
        return _Float(_float_text(value))
    if isinstance(value, complex):
        return _Complex(_float_text(value.real), _float_text(value.imag))
    if isinstance(value, bytes):
        return _Bytes(base64.b64encode(value).decode())
    raise TypeError(f"{type(value).__name__} is not a Value")


def _from_wire(value: _WireKey, limits: Limits) -> Value:
    if isinstance(value, _Float):
        return _float(value.text)
    if isinstance(value, _Complex):
        return complex(_float(value.real), _float(value.imag))
    if isinstance(value, _Int):
        if len(value.hex) > 2 * limits.int_nbytes + 3:
            raise LimitError(f"an integer is longer than {limits.int_nbytes} bytes")
        return int(value.hex, 16)
    if isinstance(value, _Bytes):
        return base64.b64decode(value.base64, validate=True)
    if isinstance(value, _Str):
        return base64.b64decode(value.base64, validate=True).decode("utf-8", "surrogatepass")
    assert not isinstance(value, _NameFrom)
    return value


_AS_THEY_ARE = frozenset({type(None), bool, TensorRef, Ref})
_FROM_WIRE_AS_THEY_ARE = _AS_THEY_ARE | {int, str}


def _all_to_wire(values: tuple[Value, ...]) -> _Values:
    if _AS_THEY_ARE.issuperset(map(type, values)):
        return values  # type: ignore[return-value]
    return tuple(map(_to_wire, values))


def _all_from_wire(values: _Values, limits: Limits) -> tuple[Value, ...]:
    if _FROM_WIRE_AS_THEY_ARE.issuperset(map(type, values)):
        return values  # type: ignore[return-value]
    return tuple(_from_wire(value, limits) for value in values)


# --- nodes ------------------------------------------------------------------------------------------


def _key_to_wire(key: Value, value: Value, names: Sequence[str], stored: Sequence[int]) -> _WireKey:
    """A key that is the tail of its tensor's name is not written twice."""
    if type(value) is TensorRef and type(key) is str and key and 0 <= value.index < len(stored):
        name = names[stored[value.index]]
        if name.endswith(key):
            return _NameFrom(len(name) - len(key))
    return _to_wire(key)


class _Tables:
    """What many nodes have in common, each said once, in the order in which nodes first say it."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self.records: dict[_Record, int] = {}
        counts: dict[tuple[Value, ...], int] = {}
        for node in nodes:
            if isinstance(node, Map) and node.keys and all(map(_is_text, node.keys)):
                counts[node.keys] = counts.get(node.keys, 0) + 1
        shared = (keys for keys, count in counts.items() if count > 1)
        self.keysets = {keys: i for i, keys in enumerate(shared)}

    def record(self, node: Typed) -> int:
        cls = node.fields.get("class")
        names = tuple(name for name in node.fields if name != "class")
        return self.records.setdefault(
            (node.kind, node.version, cls if isinstance(cls, str) else None, names), len(self.records)
        )


def _is_text(key: Value) -> bool:
    """Whether a key is a string that JSON holds as it is."""
    return type(key) is str and (key.isascii() or _to_wire(key) is key)


def _node_to_wire(node: Node, names: Sequence[str], stored: Sequence[int], tables: _Tables) -> _WireNode:
    if isinstance(node, Typed):
        fields = tuple(value for name, value in node.fields.items() if name != "class")
        return _Object(tables.record(node), _all_to_wire(fields))
    if isinstance(node, Map):
        values = _all_to_wire(node.values)
        if (keyset := tables.keysets.get(node.keys)) is not None:
            return _Keyed(keyset, values)
        pairs = zip(node.keys, node.values, strict=True)
        return _Map(tuple(_key_to_wire(key, value, names, stored) for key, value in pairs), values)
    if isinstance(node, Seq):
        return _Seq(node.kind, _all_to_wire(node.items))
    return _Opaque(node.what, {name: _to_wire(value) for name, value in node.fields.items()})


def _node_from_wire(
    node: _WireNode, names: Sequence[str], stored: Sequence[int], wire: _WireDocument, limits: Limits
) -> Node:
    if isinstance(node, _Object):
        kind, version, cls, fields = _at(wire.records, node.record)
        if len(fields) != len(node.values):
            raise FormatError("an object has not as many values as its record has fields", clause="D-3")
        values = dict(zip(fields, _all_from_wire(node.values, limits), strict=True))
        return Typed(kind, version, values if cls is None else {"class": cls, **values})
    if isinstance(node, _Keyed | _Map):
        items = _all_from_wire(node.values, limits)
        keys: tuple[Value, ...] = (
            _at(wire.keysets, node.keys)
            if isinstance(node, _Keyed)
            else _keys_from_wire(node.keys, items, names, stored, limits)
        )
        if len(keys) != len(items):
            raise FormatError("a map has not as many keys as values", clause="D-3")
        return Map(keys, items)
    if isinstance(node, _Seq):
        return Seq(node.kind, _all_from_wire(node.items, limits))
    return Opaque(node.what, {name: _from_wire(value, limits) for name, value in node.fields.items()})


_Row = TypeVar("_Row")


def _at(table: Sequence[_Row], index: int) -> _Row:
    if not 0 <= index < len(table):
        raise FormatError("a node refers to a record or a keyset that is not there", clause="D-4")
    return table[index]


def _keys_from_wire(
    keys: tuple[_WireKey, ...],
    values: tuple[Value, ...],
    names: Sequence[str],
    stored: Sequence[int],
    limits: Limits,
) -> tuple[Value, ...]:
    if _FROM_WIRE_AS_THEY_ARE.issuperset(map(type, keys)):
        return keys  # type: ignore[return-value]
    return tuple(
        _name_tail(key.start, value, names, stored) if type(key) is _NameFrom else _from_wire(key, limits)
        for key, value in zip_longest(keys, values)
    )


def _name_tail(start: int, value: Value, names: Sequence[str], stored: Sequence[int]) -> str:
    try:
        if not isinstance(value, TensorRef) or start < 0 or value.index < 0:
            raise IndexError
        return names[stored[value.index]][start:]
    except IndexError:
        raise FormatError("a key refers to the name of a tensor that is not there", clause="D-4") from None


# --- documents --------------------------------------------------------------------------------------


def encode(document: Document, shown: Shown | None = None) -> str:
    """Canonical JSON text of a Document.

    Args:
        document: what to write.
        shown: what the container already says of the stored tensors. None writes a text that stands
            alone, names included: for equality, snapshots and readable twins.
    """
    table = document.tensors
    whole = Shown(table.names, table.dtypes, table.shapes)
    against = shown or whole
    tables = _Tables(document.nodes)
    nodes = [_node_to_wire(node, table.names, table.stored, tables) for node in document.nodes]
    wire = _WireDocument(
        version=FORMAT_VERSION,
        environment=dict(sorted(document.environment.items())),
        classes=[(n, c.version, c.digest, c.package) for n, c in sorted(document.classes.items())],
        findings=[(f.code, f.severity, f.path, f.message, f.hint) for f in document.findings],
        root=_to_wire(document.root),
        records=list(tables.records),
        keysets=list(tables.keysets),  # type: ignore[arg-type]
        nodes=nodes,
        tensors=_WireTensors(
            differ=[
                (i, dtype, tuple(shape))
                for i, (dtype, shape) in enumerate(zip(table.dtypes, table.shapes, strict=True))
                if dtype != against.dtypes[i] or shape != against.shapes[i]
            ],
            strides=sorted(table.strides.items()),
            stored=None if table.stored == list(range(len(table.names))) else table.stored,
            flags="".join(map(str, table.flags)),
            views=[(i, v.dtype, v.shape, v.strides, v.offset) for i, v in sorted(table.views.items())],
            lazy=sorted(table.lazy.items()),
            attributes=[(i, _to_wire(v)) for i, v in sorted(table.attributes.items())],
            shown=None if shown else (list(whole.names), list(whole.dtypes), list(whole.shapes)),
        ),
    )
    return _encoder.encode(wire).decode()


def decode(text: str, shown: Shown | None = None, *, limits: Limits = LIMITS) -> Document:
    """The Document that a canonical JSON text describes; `check` it before use.

    Raises:
        VersionError: a newer torchkeep wrote it.
        FormatError: the text is not JSON, not of the schema, or not in canonical form (clause D-1).
        LimitError: it has more of something than `limits` allow.
    """
    try:
        version = _version_decoder.decode(text).version
        if version != FORMAT_VERSION:
            raise VersionError(
                f"the file has format version {version!r}; this torchkeep reads {FORMAT_VERSION!r}. "
                "Nothing was loaded. Install the torchkeep that the file's environment names, or a newer one.",
                clause="N-3",
            )
        wire = _decoder.decode(text)
        document = _from_wire_document(wire, shown, limits)
    except (ValueError, RecursionError) as error:  # every msgspec and conversion error is a ValueError
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"the document is not of its schema: {error}", clause="D-2") from error
    if encode(document, shown) != text:
        raise FormatError("the document is not in canonical form", clause="D-1")
    return document


def _from_wire_document(wire: _WireDocument, shown: Shown | None, limits: Limits) -> Document:
    if shown is None:
        shown = Shown(*(wire.tensors.shown or ((), (), ())))
    count = len(shown.names)
    if not count == len(shown.dtypes) == len(shown.shapes):
        raise FormatError("the columns of stored tensors differ in length", clause="D-5")
    stored = list(range(count)) if wire.tensors.stored is None else wire.tensors.stored
    if max(count, len(stored)) > limits.tensors or len(wire.nodes) > limits.nodes:
        raise LimitError(f"more than {limits.tensors} tensors or {limits.nodes} nodes")
    if not all(0 <= i < count for i in stored):
        raise FormatError("a tensor refers to a stored tensor that is not there", clause="D-4")
    dtypes, shapes = list(shown.dtypes), list(shown.shapes)
    for i, dtype, shape in wire.tensors.differ:
        if not 0 <= i < count:
            raise FormatError("a stored tensor that is not there differs", clause="D-4")
        dtypes[i], shapes[i] = dtype, shape
    for dtype_shape in (wire.tensors.differ, wire.tensors.views):
        for _, _, shape, *_ in dtype_shape:
            if max(shape, default=0) > limits.numel:
                raise LimitError(f"a size of {max(shape)}; the limit is {limits.numel}")
    if not all(0 < version < 2**31 for _, version, _, _ in wire.records):
        raise FormatError("a version that is not from 1 to 2**31", clause="K-1")
    rows = len(stored)
    table = TensorTable(
        names=list(shown.names),
        dtypes=dtypes,
        shapes=shapes,
        strides=_sparse(wire.tensors.strides, count),
        stored=stored,
        flags=[int(flag, 4) for flag in wire.tensors.flags],
        views=_sparse([(i, View(d, shape, strides, at)) for i, d, shape, strides, at in wire.tensors.views], rows),
        lazy=_sparse(wire.tensors.lazy, rows),
        attributes=_sparse([(i, _from_wire(v, limits)) for i, v in wire.tensors.attributes], rows),
    )
    return Document(
        root=_from_wire(wire.root, limits),
        nodes=[_node_from_wire(node, table.names, stored, wire, limits) for node in wire.nodes],
        tensors=table,
        classes={name: ClassInfo(*rest) for name, *rest in wire.classes},  # type: ignore[arg-type]
        environment=wire.environment,
        findings=list(_findings(wire.findings)),
    )


def _sparse(pairs: Iterable[tuple[int, _Row]], count: int) -> dict[int, _Row]:
    """A sparse column; rows are looked at before they are hashed."""
    pairs = list(pairs)
    if not all(0 <= row < count for row, _ in pairs):
        raise FormatError("the tensor table tells of a tensor that is not there", clause="D-4")
    return dict(pairs)


def _findings(rows: Iterable[tuple[str, str, str, str, str]]) -> Iterable[Finding]:
    for code, severity, path, message, hint in rows:
        if severity not in ("note", "warning", "error"):
            raise FormatError(f"a finding has severity {severity!r}", clause="D-2")
        yield Finding(code, severity, path, message, hint)  # type: ignore[arg-type]
