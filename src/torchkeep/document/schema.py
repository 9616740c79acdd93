"""The schema of a Document's JSON, as types that msgspec holds a text against in C.

A composite is a JSON array that begins with its tag; ``spec/format.md`` sections 6 and 7 are the standard.
"""

from __future__ import annotations

import msgspec

from .nodes import Ref, SeqKind, TensorRef
from .tensors import Shape


class _Array(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """A JSON array that begins with its tag."""


class Int(_Array, frozen=True, tag="i"):
    hex: str


class Float(_Array, frozen=True, tag="f"):
    text: str


class Complex(_Array, frozen=True, tag="c"):
    real: str
    imag: str


class Bytes(_Array, frozen=True, tag="b"):
    base64: str


class Str(_Array, frozen=True, tag="s"):
    base64: str  # UTF-8 with lone surrogates, which JSON text cannot hold


class NameFrom(_Array, frozen=True, tag="="):
    start: int  # the key is the tail of the name of the tensor beside it


Value = None | bool | int | str | TensorRef | Ref | Int | Float | Complex | Bytes | Str
Key = None | bool | int | str | TensorRef | Ref | Int | Float | Complex | Bytes | Str | NameFrom
Values = tuple[Value, ...]


class Seq(_Array, frozen=True, tag="seq"):
    kind: SeqKind
    items: Values


class Map(_Array, frozen=True, tag="map"):
    keys: tuple[Key, ...]
    values: Values


class Keyed(_Array, frozen=True, tag="m"):
    keys: int  # a map whose keys stand in `keysets`, since another map has them, too
    values: Values


class Object(_Array, frozen=True, tag="o"):
    record: int  # kind, version, class and names of fields stand in `records`
    values: Values


class Opaque(_Array, frozen=True, tag="opaque"):
    what: str
    fields: dict[str, Value]


Node = Seq | Map | Keyed | Object | Opaque
Record = tuple[str, int, str | None, tuple[str, ...]]
Keys = tuple[str, ...]


class Tensors(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    differ: list[tuple[int, str, Shape]]  # stored tensors whose dtype or shape is not as shown
    strides: list[tuple[int, Shape]]
    stored: list[int] | None  # None: tensor i views stored tensor i
    flags: str  # one digit a tensor
    views: list[tuple[int, str, Shape, Shape, int]]
    lazy: list[tuple[int, int]]
    attributes: list[tuple[int, Value]]
    shown: tuple[list[str], list[str], list[Shape]] | None = None


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    version: str
    environment: dict[str, str]
    classes: list[tuple[str, int, str | None, str | None]]
    findings: list[tuple[str, str, str, str, str]]
    records: list[Record]
    keysets: list[Keys]
    root: Value
    nodes: list[Node]
    tensors: Tensors
    sources: list[tuple[str, str, str]] = []  # module, package, text


class Version(msgspec.Struct, frozen=True):
    version: str
