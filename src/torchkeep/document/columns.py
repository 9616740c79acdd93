"""Nodes as columns of steps and values: what stands below a node, as a person reaches it.

The maps that are part of an object (a module's parameters, the items of an OrderedDict) stand in its own
columns, so that a way through a Document is the one that `key=` takes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Hashable, Iterable, Sequence

import msgspec

from .kinds import CARRYING_KINDS, KEY_KINDS
from .model import Document
from .nodes import Map, Node, Opaque, Ref, Seq, TensorRef, Typed, Value
from .pairs import Digests

WHOLE_KINDS = KEY_KINDS - CARRYING_KINDS - {"namedtuple"} | {
    "function",
    "class",
    "torch.Generator",
    "Random",
    "torch.averaging",
}
"""Kinds of values that have no parts of their own for a person: they differ as a whole."""


class Column(msgspec.Struct, frozen=True, gc=False):
    """Some of what a node holds.

    Attributes:
        group: which of the node's columns this is; ``"items"`` is the main one of a container.
        attribute: whether the steps are names of attributes rather than keys and positions.
        keys: the step to each value; None for a sequence, whose steps are positions.
        values: the values.
        ordered: whether their order means something.
    """

    group: str
    attribute: bool
    keys: tuple[Value, ...] | None
    values: tuple[Value, ...]
    ordered: bool = True


def steps_of(column: Column) -> Sequence[Value]:
    """The step to each value of a column."""
    return range(len(column.values)) if column.keys is None else column.keys


def columns(document: Document, node: Node) -> list[Column]:
    """What stands below a node. Fields that say what the node itself is (class, training) are not among it."""
    if isinstance(node, Map):
        return [Column("items", False, node.keys, node.values)]
    if isinstance(node, Seq):
        if node.kind in ("set", "frozenset"):
            return [Column("elements", False, node.items, node.items, ordered=False)]
        return [Column("items", False, None, node.items)]
    found: list[Column] = []
    fields: dict[str, Value] = {}
    for name, value in node.fields.items():
        inner = document.node(value)
        if inner is not None and isinstance(node, Typed) and (node.kind, name) == ("derived", "value"):
            found += columns(document, inner)
        elif isinstance(node, Typed) and name in _OWN:
            found.append(_own(document, name, value, document.texts(node.fields.get("names"))))
        elif isinstance(node, Opaque) or name not in _OF_THE_NODE:
            fields[name] = value
    if fields:
        found.append(Column("fields", True, tuple(fields), tuple(fields.values())))
    return found


def attributes_of(document: Document, row: int) -> list[Column]:
    """Python attributes of a tensor."""
    return [_own(document, "attributes", document.tensors.attributes.get(row))]


def _own(document: Document, field: str, value: Value, names: tuple[str, ...] = ()) -> Column:
    node = document.node(value)
    if isinstance(node, Seq):
        named = len(set(names)) == len(node.items)  # a namedtuple, whose items have names
        return Column(field, named, names if named else None, node.items)
    keys, values = (node.keys, node.values) if isinstance(node, Map) else ((), ())
    return Column(field, field in _ATTRIBUTES, keys, values)


_ATTRIBUTES = frozenset({"attributes", "parameters", "buffers", "modules"})
_OWN = _ATTRIBUTES | {"items"}
"""Fields whose entries a person reaches from the object itself."""

_OF_THE_NODE = frozenset({"class", "training", "non_persistent", "names"})
"""Fields that are told of the node itself."""

_TEXTS = frozenset({str})


def are_texts(keys: Iterable[Value]) -> bool:
    """Whether all of these are strings, for which Python's equality is exact."""
    return _TEXTS.issuperset(map(type, keys))


def same_scalar(one: Value, other: Value) -> bool:
    """Whether two scalars are the same: of one type, and floats to the bit."""
    kind = type(one)
    if kind is not type(other):
        return False
    if kind is float or kind is complex:
        return token(one) == token(other)
    return one == other


def token(value: Value) -> Hashable:
    """A scalar in a form in which equal means the same; of a hash that no file can choose to collide."""
    if type(value) is str:
        return value
    if isinstance(value, float):
        return "f", struct.pack("<d", value)
    if isinstance(value, complex):
        return "c", struct.pack("<dd", value.real, value.imag)
    if type(value) is int:
        return ("i", value) if -_SMALL < value < _SMALL else ("i", hex(value))
    return type(value).__name__, value


_SMALL = 2**60
"""Integers below this have hashes of their own."""


def same_whole(one: Document, node: Typed, other: Document, its: Typed) -> bool:
    """Whether two values of one kind of `WHOLE_KINDS` are the same. As deep as the kinds are, whatever the file."""
    if node.fields.keys() != its.fields.keys():
        return False
    for value, theirs in zip(node.fields.values(), its.fields.values(), strict=True):
        inner, outer = one.node(value), other.node(theirs)
        if isinstance(inner, Typed) and isinstance(outer, Typed):
            if inner.kind != outer.kind or not same_whole(one, inner, other, outer):
                return False
        elif isinstance(inner, Seq) and isinstance(outer, Seq):
            if len(inner.items) != len(outer.items) or not all(map(same_scalar, inner.items, outer.items)):
                return False
        elif inner is not None or outer is not None or not same_scalar(value, theirs):
            return False
    return True


Number = Callable[[int], int | None]


class Keys:
    """Keys and set elements of two Documents in one form, in which equal means the same; each node looked at once.

    Keys are immutable, small and without cycles, as `check` makes sure (V-2).
    """

    def __init__(self, documents: tuple[Document, Document], digests: tuple[Digests, Digests]) -> None:
        self._documents = documents
        self._digests = digests
        self._known: tuple[dict[int, Hashable], dict[int, Hashable]] = ({}, {})
        self._ids: dict[Hashable, int] = {}

    def token(self, side: int, key: Value, number: Number) -> Hashable:
        """The form of one key.

        Args:
            side: whose key it is, 0 or 1.
            key: the key.
            number: gives for a row of that side, and for the row that stands for it, the same number, or None.
        """
        if not isinstance(key, Ref):
            return self._leaf(side, key, number)
        known, nodes = self._known[side], self._documents[side].nodes
        stack = [key.index]
        while stack:
            position = stack[-1]
            if position in known:
                stack.pop()
                continue
            node = nodes[position]
            assert isinstance(node, Seq | Typed)
            values = node.items if isinstance(node, Seq) else tuple(node.fields.values())
            waiting = [value.index for value in values if isinstance(value, Ref) and value.index not in known]
            if waiting:
                stack += waiting
                continue
            parts: list[Hashable] = [
                known[value.index] if isinstance(value, Ref) else self._leaf(side, value, number) for value in values
            ]
            form: Hashable = node.kind, tuple(parts)
            if node.kind == "frozenset":
                form = node.kind, frozenset(parts)
            elif node.kind in CARRYING_KINDS:
                form = node.kind, self._content(side, values[0])
            elif isinstance(node, Typed):
                form = node.kind, tuple(node.fields), tuple(parts)
            known[position] = "n", self._ids.setdefault(form, len(self._ids))
            stack.pop()
        return known[key.index]

    def _content(self, side: int, data: Value) -> Hashable:
        assert isinstance(data, TensorRef)
        return self._digests[side][self._documents[side].tensors.stored[data.index]]

    def _leaf(self, side: int, value: Value, number: Number) -> Hashable:
        if not isinstance(value, TensorRef):
            return token(value)
        row = number(value.index)
        return ("t", row) if row is not None else ("name", self._documents[side].tensors.name(value.index))
