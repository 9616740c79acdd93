"""Document <-> canonical JSON: one text for each Document, and one Document for each text.

msgspec holds every text against the types of `schema` in C. `decode` then writes the Document again and
compares: whatever JSON allows in two ways (key order, duplicate keys, blanks, escapes, ``1.0`` for ``1``)
is thereby allowed in one.

A file's header already names its stored tensors, so the Document does not say that again: `Shown` is
what the container shows, and only differences from it are written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Sized
from typing import TypeVar

import msgspec

from ..errors import FormatError, LimitError, VersionError
from ..limits import LIMITS, Limits
from . import schema
from .findings import Finding
from .model import FORMAT_VERSION, ClassInfo, Document
from .nodes import Map, Node, Opaque, Seq, TensorRef, Typed, Value
from .scalars import all_from_wire, all_to_wire, from_wire, is_json_text, to_wire
from .tensors import Shape, TensorTable, View
from .texts import SourceText


class Shown(msgspec.Struct, frozen=True):
    """What a container says of the stored tensors by itself, as columns: name, dtype, shape."""

    names: Sequence[str] = []
    dtypes: Sequence[str] = []
    shapes: Sequence[Shape] = []


_decoder = msgspec.json.Decoder(schema.Document)
_version_decoder = msgspec.json.Decoder(schema.Version)
_encoder = msgspec.json.Encoder()


# --- nodes ------------------------------------------------------------------------------------------


class _Writer:
    """Nodes to JSON. What many nodes have in common is said once, in the order in which nodes first say it.

    Attributes:
        records: kinds, versions, classes and fields of typed nodes.
        keysets: keys that more than one map has.
    """

    def __init__(self, document: Document) -> None:
        self._names = document.tensors.names
        self._stored = document.tensors.stored
        self.records: dict[schema.Record, int] = {}
        self._forms: dict[object, int] = {}  # the same, as nodes have them
        counts: dict[tuple[Value, ...], int] = {}
        for node in document.nodes:
            if isinstance(node, Map) and node.keys:
                counts[node.keys] = counts.get(node.keys, 0) + 1
        shared = (keys for keys, count in counts.items() if count > 1 and all(map(_is_json_text, keys)))
        self.keysets = {keys: i for i, keys in enumerate(shared)}

    def node(self, node: Node) -> schema.Node:
        if isinstance(node, Typed):
            fields = tuple([value for name, value in node.fields.items() if name != "class"])
            return schema.Object(self._record(node), all_to_wire(fields))
        if isinstance(node, Map):
            values = all_to_wire(node.values)
            if self.keysets and (keyset := self.keysets.get(node.keys)) is not None:
                return schema.Keyed(keyset, values)
            return schema.Map(self._keys(node), values)
        if isinstance(node, Seq):
            return schema.Seq(node.kind, all_to_wire(node.items))
        return schema.Opaque(node.what, {name: to_wire(value) for name, value in node.fields.items()})

    def _record(self, node: Typed) -> int:
        cls = node.fields.get("class")
        form = (node.kind, node.version, cls, tuple(node.fields))
        record = self._forms.get(form)
        if record is None:
            fields = tuple(name for name in node.fields if name != "class")
            row = (node.kind, node.version, cls if isinstance(cls, str) else None, fields)
            record = self._forms[form] = self.records.setdefault(row, len(self.records))
        return record

    def _keys(self, node: Map) -> tuple[schema.Key, ...]:
        """A key that is the tail of its tensor's name is not written twice."""
        names, stored, count = self._names, self._stored, len(self._stored)
        keys: list[schema.Key] = []
        for key, value in zip(node.keys, node.values, strict=True):
            if type(value) is TensorRef and type(key) is str and key and 0 <= value.index < count:
                name = names[stored[value.index]]
                if name.endswith(key):
                    keys.append(schema.NameFrom(len(name) - len(key)))
                    continue
            keys.append(to_wire(key))
        return tuple(keys)


def _is_json_text(key: Value) -> bool:
    return type(key) is str and is_json_text(key)


class _Reader:
    """Nodes from JSON."""

    def __init__(self, wire: schema.Document, names: Sequence[str], stored: Sequence[int], limits: Limits) -> None:
        self._wire = wire
        self._names = names
        self._stored = stored
        self._limits = limits

    def node(self, node: schema.Node) -> Node:
        if isinstance(node, schema.Object):
            kind, version, cls, fields = _at(self._wire.records, node.record)
            values = all_from_wire(node.values, self._limits)
            if len(fields) != len(values):
                raise FormatError("an object has not as many values as its record has fields", clause="D-3")
            named: dict[str, Value] = {} if cls is None else {"class": cls}
            named.update(zip(fields, values, strict=True))
            return Typed(kind, version, named)
        if isinstance(node, schema.Keyed):
            keyset = _at(self._wire.keysets, node.keys)
            _expect_pairs(keyset, node.values)
            return Map(keyset, all_from_wire(node.values, self._limits))
        if isinstance(node, schema.Map):
            _expect_pairs(node.keys, node.values)
            values = all_from_wire(node.values, self._limits)
            return Map(self._keys(node.keys, values), values)
        if isinstance(node, schema.Seq):
            return Seq(node.kind, all_from_wire(node.items, self._limits))
        return Opaque(node.what, {name: from_wire(value, self._limits) for name, value in node.fields.items()})

    def _keys(self, keys: tuple[schema.Key, ...], values: tuple[Value, ...]) -> tuple[Value, ...]:
        names, stored, count = self._names, self._stored, len(self._stored)
        found: list[Value] = []
        for key, value in zip(keys, values, strict=True):
            if type(key) is not schema.NameFrom:
                found.append(from_wire(key, self._limits))
            elif type(value) is TensorRef and 0 <= value.index < count and key.start >= 0:
                found.append(names[stored[value.index]][key.start :])
            else:
                raise FormatError("a key refers to the name of a tensor that is not there", clause="D-4")
        return tuple(found)


def _expect_pairs(keys: Sized, values: Sized) -> None:
    if len(keys) != len(values):
        raise FormatError("a map has not as many keys as values", clause="D-3")


_Row = TypeVar("_Row")


def _at(table: Sequence[_Row], index: int) -> _Row:
    if not 0 <= index < len(table):
        raise FormatError("a node refers to a record or a keyset that is not there", clause="D-4")
    return table[index]


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
    writer = _Writer(document)
    nodes = list(map(writer.node, document.nodes))
    wire = schema.Document(
        version=FORMAT_VERSION,
        environment=dict(sorted(document.environment.items())),
        classes=[(n, c.version, c.digest, c.package) for n, c in sorted(document.classes.items())],
        findings=[(f.code, f.severity, f.path, f.message, f.hint) for f in document.findings],
        root=to_wire(document.root),
        records=list(writer.records),
        keysets=list(writer.keysets),  # type: ignore[arg-type]
        nodes=nodes,
        tensors=schema.Tensors(
            differ=_differences(table, against),
            strides=sorted(table.strides.items()),
            stored=None if table.stored == list(range(len(table.names))) else table.stored,
            flags=bytes(table.flags).translate(_DIGITS).decode(),
            views=[(i, v.dtype, v.shape, v.strides, v.offset) for i, v in sorted(table.views.items())],
            lazy=sorted(table.lazy.items()),
            attributes=[(i, to_wire(v)) for i, v in sorted(table.attributes.items())],
            shown=None if shown else (list(whole.names), list(whole.dtypes), list(whole.shapes)),
        ),
        sources=[(name, it.package, it.text) for name, it in sorted(document.sources.items())],
    )
    return _encoder.encode(wire).decode()


_DIGITS = bytes(range(ord("0"), ord("9") + 1)).ljust(256, b"?")


def _differences(table: TensorTable, shown: Shown) -> list[tuple[int, str, Shape]]:
    """Stored tensors whose dtype or shape is not as shown."""
    if table.dtypes == shown.dtypes and table.shapes == shown.shapes:
        return []
    rows = zip(table.dtypes, table.shapes, shown.dtypes, shown.shapes, strict=True)
    return [
        (i, dtype, tuple(shape))
        for i, (dtype, shape, shown_dtype, shown_shape) in enumerate(rows)
        if dtype != shown_dtype or shape != shown_shape
    ]


def decode(text: str, shown: Shown | None = None, *, limits: Limits = LIMITS) -> Document:
    """The Document that a canonical JSON text describes; `check` it before use.

    Raises:
        VersionError: a newer torchkeep wrote it.
        FormatError: the text is not JSON, not of the schema, or not in canonical form (clause D-1).
        LimitError: it has more of something than `limits` allow.
    """
    try:
        document = _from_wire_document(_decode(text), shown, limits)
    except (ValueError, RecursionError) as error:  # every msgspec and conversion error is a ValueError
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"the document is not of its schema: {error}", clause="D-2") from error
    if encode(document, shown) != text:
        raise FormatError("the document is not in canonical form", clause="D-1")
    return document


def _decode(text: str) -> schema.Document:
    """N-3: a text of another version is told as such, also where its schema is another."""
    try:
        wire = _decoder.decode(text)
        version = wire.version
    except msgspec.ValidationError:
        wire, version = None, _version_decoder.decode(text).version
        if version == FORMAT_VERSION:
            raise
    if wire is None or version != FORMAT_VERSION:
        raise VersionError(
            f"the file has format version {version!r}; this torchkeep reads {FORMAT_VERSION!r}. "
            "Nothing was loaded. Install the torchkeep that the file's environment names, or a newer one.",
            clause="N-3",
        )
    return wire


def _from_wire_document(wire: schema.Document, shown: Shown | None, limits: Limits) -> Document:
    if shown is None:
        shown = Shown(*(wire.tensors.shown or ((), (), ())))
    count = len(shown.names)
    if not count == len(shown.dtypes) == len(shown.shapes):
        raise FormatError("the columns of stored tensors differ in length", clause="D-5")
    stored = list(range(count)) if wire.tensors.stored is None else wire.tensors.stored
    if max(count, len(stored)) > limits.tensors or len(wire.nodes) > limits.nodes:
        raise LimitError(f"more than {limits.tensors} tensors or {limits.nodes} nodes")
    if stored and not (min(stored) >= 0 and max(stored) < count):
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
        flags=_flags(wire.tensors.flags),
        views=_sparse([(i, View(d, shape, strides, at)) for i, d, shape, strides, at in wire.tensors.views], rows),
        lazy=_sparse(wire.tensors.lazy, rows),
        attributes=_sparse([(i, from_wire(v, limits)) for i, v in wire.tensors.attributes], rows),
    )
    return Document(
        root=from_wire(wire.root, limits),
        nodes=list(map(_Reader(wire, table.names, stored, limits).node, wire.nodes)),
        tensors=table,
        classes={name: ClassInfo(*rest) for name, *rest in wire.classes},  # type: ignore[arg-type]
        environment=wire.environment,
        findings=list(_findings(wire.findings)),
        sources={name: SourceText(package, text) for name, package, text in wire.sources},
    )


def _flags(digits: str) -> list[int]:
    if not set(digits) <= set("0123"):
        raise FormatError("flags of tensors are not digits from 0 to 3", clause="D-2")
    return [digit - ord("0") for digit in digits.encode()]


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
