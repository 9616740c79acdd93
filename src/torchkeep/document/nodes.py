"""The nodes of a Document: small, frozen, pure data.

Composites live in one list, `Document.nodes`, and are always referred to by position, never nested.
So sharing is two `Ref`s to one position, a cycle is a `Ref` backwards, and nothing that walks a
Document recurses, however deep the object was.

    Value  = None | bool | int | float | complex | str | bytes | TensorRef | Ref
    Node   = Seq | Map | Typed | Opaque
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Literal, TypeAlias

import msgspec

SeqKind = Literal["list", "tuple", "set", "frozenset"]


class TensorRef(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="t", forbid_unknown_fields=True):
    """A tensor; in JSON ``["t", row]``.

    Attributes:
        index: its row in the tensor table.
    """

    index: int


class Ref(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="r", forbid_unknown_fields=True):
    """A composite; in JSON ``["r", position]``.

    Attributes:
        index: its position in `Document.nodes`.
    """

    index: int


Scalar: TypeAlias = None | bool | int | float | complex | str | bytes
Value: TypeAlias = Scalar | TensorRef | Ref


class Seq(msgspec.Struct, frozen=True):
    """A list, tuple, set or frozenset.

    Attributes:
        kind: which of them.
        items: what it holds, in order.
    """

    kind: SeqKind
    items: tuple[Value, ...]


class Map(msgspec.Struct, frozen=True):
    """A dict in its own order: a column of keys beside a column of values.

    Attributes:
        keys: the keys, each once.
        values: for each key its value.
    """

    keys: tuple[Value, ...]
    values: tuple[Value, ...]


class Typed(msgspec.Struct, frozen=True):
    """An object of a known kind, taken apart.

    Attributes:
        kind: the kind, one of those that `document.kinds` lists.
        version: version of the kind's fields, 1 or more.
        fields: its parts by name, in the order of the kind.
    """

    kind: str
    version: int
    fields: dict[str, Value]

    def text(self, field: str) -> str:
        """A field that holds a string, as a checked Document has it."""
        value = self.fields[field]
        assert isinstance(value, str)
        return value


class Opaque(msgspec.Struct, frozen=True):
    """Something that can be described but not built: it is shown and compared, never run.

    Attributes:
        what: what it was, for people.
        fields: its parts by name.
    """

    what: str
    fields: dict[str, Value]


Node: TypeAlias = Seq | Map | Typed | Opaque


_REFERENCES = frozenset({TensorRef, Ref})


def children(node: Node) -> list[TensorRef | Ref]:
    """Every tensor and node that `node` refers to, keys of a map included, in order."""
    values: Iterable[Value]
    if isinstance(node, Map):
        values = node.values
        if not _REFERENCES.isdisjoint(map(type, node.keys)):
            values = chain.from_iterable(zip(node.keys, node.values, strict=True))
    elif isinstance(node, Seq):
        values = node.items
    else:
        values = node.fields.values()
    return [value for value in values if type(value) in _REFERENCES]  # type: ignore[misc]
