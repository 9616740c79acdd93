"""Hostile files by hand: any Document, valid or not, sealed as a native file whose digests all hold.

A digest is no signature, so an attacker seals as well as anybody. This writer is independent of
`containers.native`: it follows the format's own words, and checks nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from xxhash import xxh3_64_hexdigest, xxh3_64_intdigest

from torchkeep import document as d

PREFIX = b'{"__metadata__":{"torchkeep.digests":"'


# --- what a Document is made of, as literals --------------------------------------------------------


@dataclass(eq=False)
class N:
    """A `Typed` node."""

    kind: str
    fields: dict[str, Any]
    version: int = 1


@dataclass(eq=False)
class Sq:
    """A sequence whose items Python could not put into one, such as a set of lists."""

    kind: Any
    items: list[Any]


@dataclass(eq=False)
class Mp:
    """A map with any keys, repeated ones too."""

    pairs: list[tuple[Any, Any]]


@dataclass(eq=False)
class Op:
    """An `Opaque` node."""

    what: str
    fields: dict[str, Any]


@dataclass(eq=False)
class S:
    """A stored tensor."""

    name: str = "t"
    dtype: str = "float32"
    shape: tuple[int, ...] = (2,)
    strides: tuple[int, ...] | None = None
    data: bytes | None = None


@dataclass(eq=False)
class T:
    """A tensor: all of a stored tensor, or a view (dtype, shape, strides, offset) of it."""

    stored: S = field(default_factory=S)
    view: tuple[str, tuple[int, ...], tuple[int, ...], int] | None = None
    flags: int = 0
    lazy: int = 0
    attributes: Any = None


def parameter(name: str = "weight", shape: tuple[int, ...] = (2,), dtype: str = "float32", **more: Any) -> T:
    return T(S(name, dtype, shape), flags=3, **more)


def module(cls: str = "torch.nn:Identity", **fields: Any) -> N:
    """A module; fields that are not given are absent."""
    known = ("parameters", "buffers", "non_persistent", "modules", "attributes", "extra_state", "hooks")
    known += ("computed", "lazy", "program")
    return N("module", {"class": cls, "training": False} | {name: fields[name] for name in known if name in fields})


def plain(cls: str, **attributes: Any) -> N:
    return N("object", {"class": cls, "attributes": attributes})


def function(name: str) -> N:
    return N("function", {"name": name})


def partial(of: Any, *args: Any, **keywords: Any) -> N:
    return N("partial", {"function": of, "args": args, "keywords": keywords})


def optimizer(cls: str = "torch.optim:SGD", **fields: Any) -> N:
    base = {"class": cls, "defaults": {}, "state": {}, "param_groups": []}
    return N("optimizer", base | fields)


def _children(spec: Any) -> list[Any]:
    if isinstance(spec, N | Op):
        return list(spec.fields.values())
    if isinstance(spec, Sq):
        return spec.items
    if isinstance(spec, Mp):
        return [part for pair in spec.pairs for part in pair]
    if isinstance(spec, dict):
        return [part for pair in spec.items() for part in pair]
    return list(spec)


_COMPOSITE = (N, Op, Sq, Mp, dict, list, tuple, set, frozenset)


def doc(root: Any, **more: Any) -> d.Document:
    """The Document of a literal; numbered depth first, whatever else is wrong with it."""
    nodes: dict[int, int] = {}
    order: list[Any] = []
    rows: dict[int, int] = {}
    tensors: list[T] = []
    stack = [root]
    while stack:
        spec = stack.pop()
        if isinstance(spec, T):
            if id(spec) not in rows:
                rows[id(spec)] = len(tensors)
                tensors.append(spec)
                if spec.attributes is not None:
                    stack.append(spec.attributes)
        elif isinstance(spec, _COMPOSITE) and id(spec) not in nodes:
            nodes[id(spec)] = len(order)
            order.append(spec)
            stack.extend(reversed(_children(spec)))

    def value(spec: Any) -> Any:
        if isinstance(spec, T):
            return d.TensorRef(rows[id(spec)])
        return d.Ref(nodes[id(spec)]) if isinstance(spec, _COMPOSITE) else spec

    def node(spec: Any) -> d.Node:
        if isinstance(spec, N):
            return d.Typed(spec.kind, spec.version, {k: value(v) for k, v in spec.fields.items()})
        if isinstance(spec, Op):
            return d.Opaque(spec.what, {k: value(v) for k, v in spec.fields.items()})
        if isinstance(spec, dict | Mp):
            pairs = list(spec.items()) if isinstance(spec, dict) else spec.pairs
            return d.Map(tuple(value(k) for k, _ in pairs), tuple(value(v) for _, v in pairs))
        kind = spec.kind if isinstance(spec, Sq) else type(spec).__name__
        return d.Seq(kind, tuple(map(value, _children(spec))))

    stored: dict[int, int] = {}
    table = d.TensorTable()
    for row, spec in enumerate(tensors):
        at = stored.get(id(spec.stored))
        if at is None:
            at = stored[id(spec.stored)] = len(table.names)
            table.names.append(spec.stored.name)
            table.dtypes.append(spec.stored.dtype)
            table.shapes.append(spec.stored.shape)
            if spec.stored.strides is not None:
                table.strides[at] = spec.stored.strides
        table.stored.append(at)
        table.flags.append(spec.flags)
        if spec.view is not None:
            table.views[row] = d.View(*spec.view)
        if spec.lazy:
            table.lazy[row] = spec.lazy
        if spec.attributes is not None:
            table.attributes[row] = value(spec.attributes)
    made = d.Document(root=value(root), nodes=[node(spec) for spec in order], tensors=table)
    for name, given in more.items():
        setattr(made, name, given)
    return made


# --- files ------------------------------------------------------------------------------------------


def _listed(dtype: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...], int]:
    itemsize = d.ITEMSIZE.get(dtype, 1)
    nbytes = max(0, math.prod(shape) * itemsize)
    name = d.SAFETENSORS_NAME.get(dtype)
    if name is None or (name == "F4" and not shape):
        return "U8", (nbytes,), nbytes
    return name, ((*shape[:-1], shape[-1] * 2) if name == "F4" else shape), nbytes


def native(
    document: d.Document,
    *,
    data: dict[int, bytes] | None = None,
    edit: Callable[[str], str] | None = None,
    raw: Callable[[bytes], bytes] | None = None,
    file_nbytes: int | None = None,
) -> bytes:
    """A sealed native file.

    Args:
        document: what it says; unchecked.
        data: bytes of stored tensors; zeros otherwise.
        edit: changes the Document's text before it is sealed.
        raw: changes the header's JSON before it is padded and sealed.
        file_nbytes: how many bytes of data to write, where that is not their sum.
    """
    table = document.tensors
    listed = [_listed(*each) for each in zip(table.dtypes, table.shapes, strict=True)]
    order = sorted(range(len(listed)), key=lambda i: -d.ITEMSIZE.get(table.dtypes[i], 1))
    offsets, cursor = [(0, 0)] * len(listed), 0
    for i in order:
        offsets[i] = (cursor, cursor + listed[i][2])
        cursor += listed[i][2]
    shown = d.Shown(table.names, [], [])
    for i, (name, shape, _) in enumerate(listed):
        bytes_only = name == "U8" and table.dtypes[i] != "uint8"
        shown.dtypes.append("uint8" if bytes_only else table.dtypes[i])  # type: ignore[attr-defined]
        shown.shapes.append(shape if bytes_only else table.shapes[i])  # type: ignore[attr-defined]
    text = d.encode(document, shown)
    if edit is not None:
        text = edit(text)
    given = data or {}
    blobs = [given[i] if i in given else b"\0" * nbytes for i, (_, _, nbytes) in enumerate(listed)]
    digests = "".join(f"{xxh3_64_intdigest(blob):016x}" for blob in blobs)
    metadata = {"torchkeep.digests": "0" * 16 + digests, "format": "pt", "torchkeep": text}
    entries = {
        name: {"dtype": listed[i][0], "shape": listed[i][1], "data_offsets": offsets[i]}
        for i, name in enumerate(table.names)
    }
    header = msgspec.json.encode({"__metadata__": metadata, **entries})
    blob = b"".join(blobs[i] for i in order)
    return seal(raw(header) if raw else header) + (blob if file_nbytes is None else blob[:file_nbytes])


def seal(header: bytes) -> bytes:
    """A native header's JSON, padded, with its own digest."""
    length = -(-(8 + len(header)) // 4096) * 4096 - 8
    framed = length.to_bytes(8, "little") + header.ljust(length)
    at = 8 + len(PREFIX)
    if not framed.startswith(PREFIX, 8):
        return framed
    zeroed = framed[:at] + b"0" * 16 + framed[at + 16 :]
    return framed[:at] + xxh3_64_hexdigest(zeroed).encode() + framed[at + 16 :]


def safetensors(header: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    """A plain safetensors file: a header as bytes, text, or an object for JSON."""
    text = header if isinstance(header, bytes | str) else json.dumps(header)
    raw = text.encode() if isinstance(text, str) else text
    return (len(raw) if length is None else length).to_bytes(8, "little") + raw + data


def file(root: Any, *, data: dict[int, bytes] | None = None, edit: Any = None, raw: Any = None, **more: Any) -> bytes:
    """A native file of a literal; `more` are other parts of the Document."""
    return native(doc(root, **more), data=data, edit=edit, raw=raw)


def chain(levels: int, wrap: Callable[[Any], Any], inner: Any) -> Any:
    """A literal nested many levels deep, without recursion."""
    for _ in range(levels):
        inner = wrap(inner)
    return inner


def swapped(pairs: Iterable[tuple[str, str]]) -> Callable[[str], str]:
    """An edit of the text: each old, which has to be there, becomes new."""

    def edit(text: str) -> str:
        for old, new in pairs:
            assert old in text, (old, text[:500])
            text = text.replace(old, new)
        return text

    return edit
