"""What differs between two Documents: one walk over both at once, without recursion.

Two nodes, or two tensors, that are met at one place stand for each other from then on. Where one of them is met
again beside another, the objects share what they hold in another way. So every node is gone into about once,
whatever the depth, the sharing and the cycles.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from ..errors import LimitError
from .alone import Alone, Only
from .changes import Change, ChangeKind, Changes
from .columns import WHOLE_KINDS, Column, Keys, are_texts, attributes_of, columns, same_scalar, same_whole, steps_of
from .kinds import CARRYING_KINDS
from .model import Document
from .nodes import Map, Node, Opaque, Ref, TensorRef, Typed, Value
from .pairs import ATTRIBUTE, OF_B, ROOT, Digests, Link, Links, Memory, Places, are_alike, facets
from .state_dict import StateDict, state_dict_of


def diff(
    a: Document,
    b: Document,
    digests_a: Digests,
    digests_b: Digests,
    *,
    start_a: Value,
    start_b: Value,
    bare: bool = False,
) -> Changes:
    """Everything in which two values differ.

    Args:
        a: a checked Document.
        b: another.
        digests_a: digests of the stored tensors of `a`; at least of those with the dtype and shape of one of `b`.
        digests_b: the same of `b`.
        start_a: the value in `a`.
        start_b: the value in `b`.
        bare: whether one of them says names and tensors only; order, flags and sharing are then not compared.
    """
    walk = _Walk(a, b, digests_a, digests_b, bare)
    walk.run(start_a, start_b)
    return Changes(walk.changes, walk.places, (start_a, start_b), walk.compared, walk.complete)


_EXCESS = 100_000
"""Most entries of nodes that are gone into again, beside another node that has fewer."""

_Item = tuple[int, Value, int, Value, Value]  # the place above, the step and its bits, and both values


_Left = dict[tuple[str, Hashable], tuple[str, Value, int, Value]]
"""What only one side has, by its step: its column, the step and its bits, and the value."""


class _Walk:
    """The state of one walk."""

    def __init__(self, a: Document, b: Document, digests_a: Digests, digests_b: Digests, bare: bool) -> None:
        self.a, self.b, self.bare = a, b, bare
        self.places = Places()
        self.changes: list[Change] = []
        self.nodes, self.tensors, self.memory = Links(), Links(), Links()
        self.compared, self.complete = 0, True
        self._keys = Keys((a, b), (digests_a, digests_b))
        self._memory = Memory(a.tensors, digests_a), Memory(b.tensors, digests_b)
        self._stack: list[_Item] = []
        self._later: list[tuple[int, list[tuple[Column, Column]]]] = []
        self._only: list[Only] = []
        self._excess = _EXCESS

    def run(self, one: Value, other: Value) -> None:
        """Walk from two values; afterwards tell what only one side has."""
        if not self._as_state_dicts(one, other):
            self._pair(ROOT, one, other)
        while self._stack or self._later:
            if self._stack:
                self._step(*self._stack.pop())
            else:
                self._compare(*self._later.pop())
        documents, memory = (self.a, self.b), self._memory
        self.changes += Alone(documents, memory, self.places, self.nodes, self.tensors).tell(self._only)

    def note(self, kind: ChangeKind, at: int, a: object = None, b: object = None, what: str = "") -> None:
        """One difference that is not of a tensor."""
        self.changes.append(Change(kind, at, a, b, what))

    def note_tensor(self, kind: ChangeKind, at: int, a: object = None, b: object = None, what: str = "") -> None:
        """One difference of a tensor."""
        self.changes.append(Change(kind, at, a, b, what, True))

    def _as_state_dicts(self, one: Value, other: Value) -> bool:
        """A module against a dict of tensors: weights are compared by the names that a state_dict gives them."""
        if (self.a.typed(one, "module") is None) == (self.b.typed(other, "module") is None):
            return False
        try:
            mine, its = state_dict_of(self.a, one), state_dict_of(self.b, other)
        except LimitError:
            return False
        if mine is None or its is None:
            return False
        self.bare = True
        self.note("kind", ROOT, one, other)
        self._compare(ROOT, list(zip(_as_columns(mine), _as_columns(its), strict=True)))
        return True

    # --- two values ---

    def _step(self, above: int, step: Value, bits: int, x: Value, y: Value) -> None:
        """Two values below a place: they get a place of their own where there may be something to say."""
        if isinstance(x, Ref) and isinstance(y, Ref):
            known = self.nodes.is_known(x.index, y.index)
        elif isinstance(x, TensorRef) and isinstance(y, TensorRef):
            known = self.tensors.is_known(x.index, y.index)
        else:
            known = same_scalar(x, y)
        if not known:
            self._pair(self.places.add(above, step, bits), x, y)

    def _pair(self, at: int, x: Value, y: Value) -> None:
        if isinstance(x, Ref) and isinstance(y, Ref):
            self._pair_of_nodes(at, x, y)
        elif isinstance(x, TensorRef) and isinstance(y, TensorRef):
            self._pair_of_tensors(at, x.index, y.index)
        elif isinstance(x, Ref | TensorRef) or isinstance(y, Ref | TensorRef):
            self._unlike(at, x, y)
        elif not same_scalar(x, y):
            self.note("value", at, x, y)

    def _unlike(self, at: int, x: Value, y: Value) -> None:
        """Two values of different kinds; what they hold, each has alone."""
        if _is_text(self.a, x) and _is_text(self.a, x) == _is_text(self.b, y):  # a short one and a long one
            self.note("value", at, x, y)
            return
        note = self.note_tensor if TensorRef in (type(x), type(y)) else self.note
        note("kind", at, x, y)
        self._only += [Only(side, at, value, True) for side, value in enumerate((x, y)) if isinstance(value, Ref)]

    def _pair_of_nodes(self, at: int, x: Ref, y: Ref) -> None:
        link = self.nodes.link(x.index, y.index, at)
        p, q = self.a.nodes[x.index], self.b.nodes[y.index]
        mine, its = columns(self.a, p), columns(self.b, q)
        if link.split is not None:
            if not self.bare:
                self.note("sharing", at, *link.split, what="object")
            if not self._may_go_into(mine, its, link.fresh_a, link.fresh_b):
                return
        if _form(self.a, p) == _form(self.b, q):
            if not isinstance(p, Typed) or not isinstance(q, Typed) or self._typed(at, x, p, y, q):
                self._go_into(at, mine, its)
            return
        mine = [column for column in mine if column.group == "items"]
        its = [column for column in its if column.group == "items"]
        if mine and its and (mine[0].keys is None) == (its[0].keys is None):
            self.note("kind", at, x, y)  # a list that became a tuple, a dict that became an OrderedDict
            self._go_into(at, mine, its)
        else:
            self._unlike(at, x, y)

    def _may_go_into(self, mine: list[Column], its: list[Column], fresh_a: bool, fresh_b: bool) -> bool:
        """Whether a node that was met before is gone into again, beside a new one: as long as that is little work."""
        if not (fresh_a or fresh_b):
            return False
        more = sum(len(column.values) for column in mine) - sum(len(column.values) for column in its)
        self._excess -= max(0, more if fresh_b else -more)
        self.complete = self.complete and self._excess >= 0
        return self._excess >= 0

    def _typed(self, at: int, x: Ref, p: Typed, y: Ref, q: Typed) -> bool:
        """Two objects of one kind, by themselves; whether what they hold is left to compare."""
        if p.kind in CARRYING_KINDS:
            self._carried(at, x, p, y, q)
            return False
        if p.kind in WHOLE_KINDS:
            same = same_whole(self.a, p, self.b, q)
            if not same:
                self.note("value", at, x, y)
            return same  # its parts may be shared in another way all the same
        if p.fields.get("class") != q.fields.get("class"):
            self.note("class", at, p.fields.get("class"), q.fields.get("class"))
        if p.fields.get("training") is not q.fields.get("training"):
            self.note("flag", at, p.fields.get("training"), q.fields.get("training"), what="training")
        mine, its = self.a.texts(p.fields.get("non_persistent")), self.b.texts(q.fields.get("non_persistent"))
        if mine != its:
            both = self.a.named(p.fields.get("buffers")).keys() & self.b.named(q.fields.get("buffers")).keys()
            for name in sorted((set(mine) ^ set(its)) & both):
                place = self.places.add(at, name, ATTRIBUTE)
                self.note_tensor("flag", place, name not in mine, name not in its, what="persistent")
        return True

    def _carried(self, at: int, x: Ref, p: Typed, y: Ref, q: Typed) -> None:
        """An array, or a long text: its tensor is no tensor to a person."""
        one, other = p.fields["data"], q.fields["data"]
        assert isinstance(one, TensorRef)
        assert isinstance(other, TensorRef)
        if not self.tensors.is_known(one.index, other.index):
            self._link_tensors(at, one.index, other.index)
        found = list(facets(self._memory[0], one.index, self._memory[1], other.index, bare=True))
        if p.fields.get("dtype") != q.fields.get("dtype") or any(facet.kind != "layout" for facet in found):
            self.note("value", at, x, y)
        else:
            for facet in found:
                self.note("layout", at, facet.a, facet.b, facet.what)
        if p.fields.get("writeable") is not q.fields.get("writeable"):
            self.note("flag", at, p.fields["writeable"], q.fields["writeable"], "writeable")

    def _pair_of_tensors(self, at: int, x: int, y: int) -> None:
        self.compared += 1
        link = self._link_tensors(at, x, y)
        one, other = self._memory
        for facet in () if are_alike(one, x, other, y) else facets(one, x, other, y, bare=self.bare):
            of_tensors = facet.kind == "values" and not facet.what
            a, b = (TensorRef(x), TensorRef(y)) if of_tensors else (facet.a, facet.b)
            self.note_tensor(facet.kind, at, a, b, facet.what)
        if x in self.a.tensors.attributes or y in self.b.tensors.attributes:
            mine, its = attributes_of(self.a, x), attributes_of(self.b, y)
            if link.split is None or self._may_go_into(mine, its, link.fresh_a, link.fresh_b):
                self._go_into(at, mine, its)

    def _link_tensors(self, at: int, x: int, y: int) -> Link:
        """The objects are shared as they were, or else the memory is, or else that is a difference."""
        link = self.tensors.link(x, y, at)
        if link.split is not None:
            if not self.bare:
                self.note_tensor("sharing", at, *link.split, what="object")
        elif not (self._memory[0].is_apart and self._memory[1].is_apart):
            one, other = self.a.tensors.stored[x], self.b.tensors.stored[y]
            split = None if self.memory.is_known(one, other) else self.memory.link(one, other, at).split
            if split is not None and not self.bare:
                self.note_tensor("sharing", at, *split, what="memory")
        return link

    # --- what stands below ---

    def _go_into(self, at: int, mine: list[Column], its: list[Column]) -> None:
        """What two nodes hold. Keys that are no scalars wait until it is known which stand for which."""
        there = {column.group: column for column in its}
        pairs = [(column, there.pop(column.group, _none(column))) for column in mine]
        pairs += [(_none(column), column) for column in there.values()]
        if any(map(_has_nodes, (column.keys for pair in pairs for column in pair))):
            self._later.append((at, pairs))
        else:
            self._compare(at, pairs)

    def _compare(self, at: int, pairs: list[tuple[Column, Column]]) -> None:
        below: list[_Item] = []
        left: tuple[_Left, _Left] = ({}, {})
        for mine, its in pairs:
            if mine.keys is not None and mine.keys == its.keys and are_texts(mine.keys):
                bits = ATTRIBUTE if mine.attribute else 0
                rows = zip(mine.keys, mine.values, its.values, strict=True)
                below += [(at, key, bits, x, y) for key, x, y in rows if x is not y]
            else:
                below += self._match(at, mine, its, left)
        for name in [name for name in left[0] if name in left[1]]:  # a parameter that became a buffer
            group, key, bits, x = left[0].pop(name)
            its_group, _, _, y = left[1].pop(name)
            self.note("kind", self.places.add(at, key, bits), group, its_group, "place")
            below.append((at, key, bits, x, y))
        for side, bit in enumerate((0, OF_B)):
            for _, key, bits, value in left[side].values():
                self._only.append(Only(side, self.places.add(at, key, bits | bit), value, False))
        self._stack += reversed(below)

    def _match(self, at: int, mine: Column, its: Column, left: tuple[_Left, _Left]) -> list[_Item]:
        """What has the same step on both sides; the rest goes to `left`."""
        keys, others = steps_of(mine), steps_of(its)
        one, other = self._tokens(0, keys), self._tokens(1, others)
        both = [token for token in one if token in other]
        if mine.ordered and not self.bare:
            again = [token for token in other if token in one]
            if both != again:
                first = next(i for i, (x, y) in enumerate(zip(both, again, strict=True)) if x != y)
                a = tuple(keys[one[token]] for token in both[first : first + _SHOWN])
                b = tuple(others[other[token]] for token in again[first : first + _SHOWN])
                self.note("order", at, a, b, mine.group)
        bits = ATTRIBUTE if mine.attribute else 0
        items: list[_Item] = []
        for token in both:
            key, another = keys[one[token]], others[other[token]]
            items.append((at, key, bits, mine.values[one[token]], its.values[other[token]]))
            if type(key) in _REFERENCES and mine.ordered:
                items.append((at, key, bits, key, another))  # they may be shared in another way
        for side, column, found, against in ((0, mine, one, other), (1, its, other, one)):
            group = "" if column.group in _NAMED else column.group
            for token, position in found.items():
                if token not in against:
                    left[side][group, token] = column.group, steps_of(column)[position], bits, column.values[position]
        return items

    def _tokens(self, side: int, keys: Sequence[Value]) -> dict[Hashable, int]:
        """The position of each key, by a form that is equal on both sides."""
        if are_texts(keys):
            return {key: position for position, key in enumerate(keys)}
        number = self.tensors.there.get if side == 0 else self._known_row
        found: dict[Hashable, int] = {}
        times: dict[Hashable, int] = {}
        for position, key in enumerate(keys):
            token = self._keys.token(side, key, number)
            if isinstance(key, TensorRef) and number(key.index) is None:
                token = ("tensor",)  # nothing else tells which one it is but their order
            times[token] = time = times.get(token, 0) + 1
            found[token if time == 1 else (token, time)] = position
        return found

    def _known_row(self, row: int) -> int | None:
        return row if row in self.tensors.back else None


_SHOWN = 6
"""Most keys that are told of an order."""

_REFERENCES = frozenset({Ref, TensorRef})
_NAMED = frozenset({"parameters", "buffers", "modules", "attributes"})
"""Columns of a module, between which a name may move."""


def _as_columns(found: StateDict) -> list[Column]:
    """The weights of a state_dict, and its extra states."""
    rows = tuple(map(TensorRef, found.rows.values()))
    return [
        Column("items", False, tuple(found.rows), rows, ordered=False),
        Column("extra", False, tuple(found.extra), tuple(found.extra.values()), ordered=False),
    ]


def _none(column: Column) -> Column:
    """The same column where a node lacks it."""
    return Column(column.group, column.attribute, None if column.keys is None else (), (), column.ordered)


def _has_nodes(keys: tuple[Value, ...] | None) -> bool:
    return keys is not None and not _REFERENCES.isdisjoint(map(type, keys))


def _form(document: Document, node: Node) -> tuple[str, str]:
    """What two nodes have to have in common to be compared field by field."""
    if isinstance(node, Typed) and node.kind == "derived" and (held := document.node(node.fields["value"])):
        return node.kind, _form(document, held)[1]
    if isinstance(node, Map):
        return "dict", ""
    return type(node).__name__, node.what if isinstance(node, Opaque) else node.kind


def _is_text(document: Document, value: Value) -> str | None:
    """``"str"`` or ``"bytes"``, however long it is; None for anything else."""
    if isinstance(value, str | bytes):
        return type(value).__name__
    node = document.node(value)
    return node.kind if isinstance(node, Typed) and node.kind in ("str", "bytes") else None
