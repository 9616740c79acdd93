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


class _T(_Wire, frozen=True, tag="t"):
    index: int


class _R(_Wire, frozen=True, tag="r"):
    index: int


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


_WireValue = None | bool | int | str | _T | _R | _Int | _Float | _Complex | _Bytes | _Str
_WireKey = None | bool | int | str | _T | _R | _Int | _Float | _Complex | _Bytes | _Str | _NameFrom


class _Seq(_Wire, frozen=True, tag="seq"):
    kind: SeqKind
    items: list[_WireValue]


class _Map(_Wire, frozen=True, tag="map"):
    keys: list[_WireKey]
    values: list[_WireValue]


class _Typed(_Wire, frozen=True, tag="typed"):
    kind: str
    version: int
    fields: dict[str, _WireValue]


class _Opaque(_Wire, frozen=True, tag="opaque"):
    what: str
    fields: dict[str, _WireValue]


_WireNode = _Seq | _Map | _Typed | _Opaque


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
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, TensorRef):
        return _T(value.index)
    if isinstance(value, Ref):
        return _R(value.index)
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
    if isinstance(value, _T):
        return TensorRef(value.index)
    if isinstance(value, _R):
        return Ref(value.index)
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
    return value  # type: ignore[return-value]


# --- nodes ------------------------------------------------------------------------------------------


def _key_to_wire(key: Value, value: Value, names: Sequence[str], stored: Sequence[int]) -> _WireKey:
    """A key that is the tail of its tensor's name is not written twice."""
    if type(value) is TensorRef and type(key) is str and key and value.index < len(stored):
        name = names[stored[value.index]]
        if name.endswith(key):
            return _NameFrom(len(name) - len(key))
    return _to_wire(key)


def _node_to_wire(node: Node, names: Sequence[str], stored: Sequence[int]) -> _WireNode:
    if isinstance(node, Map):
        keys = [_key_to_wire(k, v, names, stored) for k, v in zip(node.keys, node.values, strict=True)]
        return _Map(keys, [_to_wire(v) for v in node.values])
    if isinstance(node, Seq):
        return _Seq(node.kind, [_to_wire(v) for v in node.items])
    fields = {name: _to_wire(value) for name, value in node.fields.items()}
    return _Typed(node.kind, node.version, fields) if isinstance(node, Typed) else _Opaque(node.what, fields)


def _node_from_wire(node: _WireNode, names: Sequence[str], stored: Sequence[int], limits: Limits) -> Node:
    if isinstance(node, _Map):
        values = tuple(_from_wire(v, limits) for v in node.values)
        if len(node.keys) != len(values):
            raise FormatError("a map has not as many keys as values", clause="D-3")
        keys = [
            _name_tail(k.start, v, names, stored) if isinstance(k, _NameFrom) else _from_wire(k, limits)
            for k, v in zip(node.keys, values, strict=True)
        ]
        return Map(tuple(keys), values)
    if isinstance(node, _Seq):
        return Seq(node.kind, tuple(_from_wire(v, limits) for v in node.items))
    fields = {name: _from_wire(v, limits) for name, v in node.fields.items()}
    return Typed(node.kind, node.version, fields) if isinstance(node, _Typed) else Opaque(node.what, fields)


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
    wire = _WireDocument(
        version=FORMAT_VERSION,
        environment=dict(sorted(document.environment.items())),
        classes=[(n, c.version, c.digest, c.package) for n, c in sorted(document.classes.items())],
        findings=[(f.code, f.severity, f.path, f.message, f.hint) for f in document.findings],
        root=_to_wire(document.root),
        nodes=[_node_to_wire(node, table.names, table.stored) for node in document.nodes],
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
    table = TensorTable(
        names=list(shown.names),
        dtypes=dtypes,
        shapes=shapes,
        strides=dict(wire.tensors.strides),
        stored=stored,
        flags=[int(flag, 4) for flag in wire.tensors.flags],
        views={i: View(dtype, shape, strides, at) for i, dtype, shape, strides, at in wire.tensors.views},
        lazy=dict(wire.tensors.lazy),
        attributes={i: _from_wire(v, limits) for i, v in wire.tensors.attributes},
    )
    return Document(
        root=_from_wire(wire.root, limits),
        nodes=[_node_from_wire(node, table.names, stored, limits) for node in wire.nodes],
        tensors=table,
        classes={name: ClassInfo(*rest) for name, *rest in wire.classes},  # type: ignore[arg-type]
        environment=wire.environment,
        findings=list(_findings(wire.findings)),
    )


def _findings(rows: Iterable[tuple[str, str, str, str, str]]) -> Iterable[Finding]:
    for code, severity, path, message, hint in rows:
        if severity not in ("note", "warning", "error"):
            raise FormatError(f"a finding has severity {severity!r}", clause="D-2")
        yield Finding(code, severity, path, message, hint)  # type: ignore[arg-type]
