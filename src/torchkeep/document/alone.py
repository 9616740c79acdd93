"""What only one of two Documents has: values, and the tensors below them, each told by itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from .changes import Change
from .columns import attributes_of, columns, steps_of
from .kinds import CARRYING_KINDS
from .model import Document
from .nodes import Ref, TensorRef, Typed, Value
from .pairs import ATTRIBUTE, OF_B, Links, Memory, Places


class Only(NamedTuple):
    """A value that one side has at a place, and the other not.

    Attributes:
        side: which side, 0 or 1.
        at: the place.
        value: the value.
        told: whether the value itself was told of already, as one of another kind.
    """

    side: int
    at: int
    value: Value
    told: bool


class Alone:
    """After the walk over both sides: what it met on one side only."""

    def __init__(
        self,
        documents: tuple[Document, Document],
        memory: tuple[Memory, Memory],
        places: Places,
        nodes: Links,
        tensors: Links,
    ) -> None:
        self._documents = documents
        self._memory = memory
        self._places = places
        self._nodes = nodes
        self._tensors = tensors
        self._found: tuple[dict[int, int], dict[int, int]] = ({}, {})  # the row of the tensor at each place

    def tell(self, some: Iterable[Only]) -> list[Change]:
        """What was added and removed; a tensor whose bytes are elsewhere on the other side was renamed."""
        changes: list[Change] = []
        for side, at, value, told in some:
            if isinstance(value, TensorRef):
                if not self._below(side, at, value):  # only one of its places
                    changes.append(_only(side, at, value, tensor=True))
                continue
            if not told:
                changes.append(_only(side, at, value))
            self._below(side, at, value)
        renamed = self._renamed()
        for side, rows in enumerate(self._found):
            for at, row in rows.items():
                if at not in renamed:
                    changes.append(_only(side, at, TensorRef(row), tensor=True))
                elif side == 0:
                    changes.append(Change("renamed", at, TensorRef(row), renamed[at], tensor=True))
        return changes

    def _below(self, side: int, at: int, value: Value) -> bool:
        """Find every tensor below a value but for those that its side has elsewhere; whether there is any."""
        document, found = self._documents[side], self._found[side]
        before = len(found)
        stack = [(at, value)]
        while stack:
            at, value = stack.pop()
            below = []
            if isinstance(value, TensorRef):
                if self._tensors.meet(side, value.index, at):
                    found[at] = value.index
                    below = attributes_of(document, value.index)
            elif isinstance(value, Ref) and self._nodes.meet(side, value.index, at):
                node = document.nodes[value.index]
                if not isinstance(node, Typed) or node.kind not in CARRYING_KINDS:
                    below = columns(document, node)
            for column in reversed(below):
                bits = (ATTRIBUTE if column.attribute else 0) | (OF_B if side else 0)
                for step, each in reversed(list(zip(steps_of(column), column.values, strict=True))):
                    if isinstance(each, Ref | TensorRef):
                        stack.append((self._places.add(at, step, bits), each))
        return len(found) > before

    def _renamed(self) -> dict[int, int]:
        """Places of tensors that are the same, byte for byte, at another place of the other side, which is given.

        Those whose names end alike find each other first. Where one side has more of the same than the other, nothing
        tells which is which.
        """
        found: dict[int, int] = {}
        for by_name in (True, False):
            same: dict[object, tuple[list[int], list[int]]] = {}
            for side, rows in enumerate(self._found):
                memory = self._memory[side]
                for at, row in rows.items():
                    if at not in found and 0 not in memory.table.shape(row):
                        step = self._places.steps[at] if by_name else None
                        name = step.rpartition(".")[2] if isinstance(step, str) else ""
                        same.setdefault((memory.content(row), name), ([], []))[side].append(at)
            for olds, news in same.values():
                if len(olds) == len(news):
                    found.update(zip(olds, news, strict=True))
                    found.update(zip(news, olds, strict=True))
        return found


_KINDS: tuple[Literal["removed"], Literal["added"]] = ("removed", "added")


def _only(side: int, at: int, value: Value, *, tensor: bool = False) -> Change:
    a, b = (value, None) if side == 0 else (None, value)
    return Change(_KINDS[side], at, a, b, tensor=tensor)
