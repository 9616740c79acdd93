"""What a comparison of two Documents remembers: where it was, what stands for what, and how tensors are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, TypeAlias

from .geometry import row_major
from .nodes import Value
from .tensors import PARAMETER, REQUIRES_GRAD, Shape, TensorTable

Digests: TypeAlias = Sequence[int | None]
"""For each stored tensor of a Document the digest of its bytes; None where nothing asks for it."""

ROOT = 0
"""The place of the two values that are compared."""

ATTRIBUTE = 1
OF_B = 2
"""Bits of a step: it names an attribute; it is a key of the second side, which the first one lacks."""


class Places:
    """Places below the root, each one step below another: a tree as columns, so that deep ones are no more work."""

    def __init__(self) -> None:
        self.above = [-1]
        self.steps: list[Value] = [None]
        self.bits = bytearray(1)

    def add(self, above: int, step: Value, bits: int) -> int:
        """A new place; its number."""
        self.above.append(above)
        self.steps.append(step)
        self.bits.append(bits)
        return len(self.above) - 1


class Link(NamedTuple):
    """What was known of two things that were met beside each other.

    Attributes:
        fresh_a: whether the first one had not been met before.
        fresh_b: whether the second one had not.
        split: where they do not stand for each other: the place at which each was met first, None where it is new.
    """

    fresh_a: bool
    fresh_b: bool
    split: tuple[int | None, int | None] | None


_NEW = Link(True, True, None)


class Links:
    """Which things of one side stand for which of the other, each met first at one place."""

    def __init__(self) -> None:
        self.there: dict[int, int] = {}
        self.back: dict[int, int] = {}
        self._places: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self._split: set[tuple[int, int]] = set()

    def is_known(self, x: int, y: int) -> bool:
        """Whether these two were met beside each other before."""
        return (self.there.get(x) == y and self.back.get(y) == x) or (x, y) in self._split

    def link(self, x: int, y: int, at: int) -> Link:
        """Two things that are met beside each other for the first time."""
        places_a, places_b = self._places
        fresh_a, fresh_b = x not in self.there, y not in self.back
        if fresh_a:
            self.there[x], places_a[x] = y, at
        if fresh_b:
            self.back[y], places_b[y] = x, at
        if fresh_a and fresh_b:
            return _NEW
        self._split.add((x, y))
        return Link(fresh_a, fresh_b, (None if fresh_a else places_a[x], None if fresh_b else places_b[y]))

    def meet(self, side: int, index: int, at: int) -> bool:
        """A thing that only one side has at a place; whether it had not been met before."""
        return self._places[side].setdefault(index, at) == at


class Facet(NamedTuple):
    """One way in which two tensors differ."""

    kind: Literal["dtype", "shape", "flag", "values", "layout"]
    a: object
    b: object
    what: str = ""


class Memory:
    """The tensors of one side, with the digests of their bytes.

    Attributes:
        table: the tensors.
        is_plain: whether each is all of its stored tensor, row-major, and read as it is.
        is_apart: whether no two share memory.
    """

    def __init__(self, table: TensorTable, digests: Digests) -> None:
        self.table = table
        self.digests = digests
        self.is_plain = not (table.views or table.strides or table.lazy)
        self.is_apart = len(set(table.stored)) == len(table.stored)

    def content(self, row: int) -> object:
        """What tells the values of a tensor from those of others with its dtype and shape."""
        return self.reading(row), self.digests[self.table.stored[row]], self.table.lazy.get(row, 0)

    def reading(self, row: int) -> object:
        """How the bytes of its stored tensor are read; equal where equal bytes mean equal values."""
        table, stored = self.table, self.table.stored[row]
        whole = table.dtypes[stored], table.shapes[stored]
        view = table.views.get(row)
        if view is None:
            return whole
        in_memory = table.strides.get(stored) or row_major(whole[1])
        if (view.dtype, view.shape, view.offset) == (*whole, 0) and all(
            size == 1 or mine == its for size, mine, its in zip(view.shape, view.strides, in_memory, strict=True)
        ):
            return whole
        return whole, in_memory, view

    def strides(self, row: int) -> Shape | None:
        """Steps between the elements of a tensor in memory; None where they are row-major without being said."""
        view = self.table.views.get(row)
        return view.strides if view else self.table.strides.get(self.table.stored[row])

    def digest(self, row: int) -> int:
        """The digest of a tensor's stored bytes."""
        digest = self.digests[self.table.stored[row]]
        assert digest is not None, "a tensor with a counterpart has a digest"
        return digest


def are_alike(one: Memory, x: int, other: Memory, y: int) -> bool:
    """Whether two tensors certainly do not differ: a short way to say so of most."""
    mine, its = one.table, other.table
    if not (one.is_plain and other.is_plain) or mine.flags[x] != its.flags[y]:
        return False
    x, y = mine.stored[x], its.stored[y]
    return (
        mine.dtypes[x] == its.dtypes[y]
        and mine.shapes[x] == its.shapes[y]
        and one.digests[x] is not None
        and one.digests[x] == other.digests[y]
    )


def facets(one: Memory, x: int, other: Memory, y: int, *, bare: bool) -> Iterator[Facet]:
    """Everything in which two tensors differ; of their flags, unless `bare`."""
    mine, its = one.table, other.table
    flags, theirs = mine.flags[x], its.flags[y]
    if flags != theirs and not bare:
        for what, bit in (("parameter", PARAMETER), ("requires_grad", REQUIRES_GRAD)):
            if (flags ^ theirs) & bit:
                yield Facet("flag", bool(flags & bit), bool(theirs & bit), what)
    dtype, shape = mine.dtype(x), mine.shape(x)
    if dtype != its.dtype(y):
        yield Facet("dtype", dtype, its.dtype(y))
    if shape != its.shape(y):
        yield Facet("shape", shape, its.shape(y))
    if dtype != its.dtype(y) or shape != its.shape(y):
        return
    if (lazy := mine.lazy.get(x, 0)) != its.lazy.get(y, 0):
        yield Facet("values", lazy, its.lazy.get(y, 0), "lazy")
    if one.reading(x) != other.reading(y):
        yield Facet("layout", one.strides(x), other.strides(y), "strides" if 0 in shape else "view")
        return
    if 0 not in shape and one.digest(x) != other.digest(y):
        yield Facet("values", None, None)
    if one.strides(x) != other.strides(y):
        contiguous = row_major(shape)
        yield from _strides(one.strides(x) or contiguous, other.strides(y) or contiguous)


def _strides(one: Shape, other: Shape) -> Iterator[Facet]:
    if one != other:
        yield Facet("layout", one, other, "strides")
