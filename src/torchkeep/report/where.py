"""Places that two files have in common, and values, in a few words."""

from __future__ import annotations

from typing import Any, TypeAlias

from ..document import ATTRIBUTE, CARRYING_KINDS, OF_B, Document, Places, Ref, TensorRef, Typed
from ..errors import brief, brief_text, printable
from .file import in_brief

Step: TypeAlias = None | bool | int | float | complex | str | bytes

TEXT_LENGTH = 60
"""Characters of a text that are shown."""

_MAX_STEPS = 50
"""Most steps of a place that are told; of a deeper one the last."""


class Where:
    """Places of both files, and what their steps say."""

    def __init__(self, places: Places, a: Document, b: Document) -> None:
        self._places = places
        self._documents = (a, b)
        self._texts: dict[tuple[int, int], str] = {}  # of nodes, which may differ at many places

    def told(self, side: int, value: Any) -> str:
        """A value of one side in a few words."""
        if not isinstance(value, Ref):
            return value_text(self._documents[side], value)
        key = side, value.index
        if key not in self._texts:
            self._texts[key] = brief_text(value_text(self._documents[side], value))
        return self._texts[key]

    def _up(self, at: int, limit: int | None) -> list[int]:
        """The place and those above it, root first and without it; the last `limit` of them."""
        found: list[int] = []
        while at > 0 and (limit is None or len(found) < limit):
            found.append(at)
            at = self._places.above[at]
        return found[::-1] if at <= 0 else [-1, *found[::-1]]

    def _step(self, at: int) -> Step:
        step = self._places.steps[at]
        if not isinstance(step, Ref | TensorRef):
            return step
        document = self._documents[1 if self._places.bits[at] & OF_B else 0]
        return printable(document.tensors.name(step.index) if isinstance(step, TensorRef) else in_brief(document, step))

    def path(self, at: int) -> tuple[Step, ...]:
        return tuple(map(self._step, self._up(at, None)))

    def steps(self, at: int) -> list[None | bool | int | str]:
        """The last steps of a place as JSON has them; what it does not have, or only at length, as a short text."""
        found: list[None | bool | int | str] = []
        for place in self._up(at, _MAX_STEPS):
            step = "..." if place < 0 else self._step(place)
            if (
                step is None
                or isinstance(step, bool)
                or (isinstance(step, int) and abs(step) < 2**53)
                or (isinstance(step, str) and len(step) <= _LONGEST_STEP)
            ):
                found.append(step)
            else:
                found.append(key_text(step))
        return found

    def text(self, at: int) -> str:
        parts: list[str] = []
        for place in self._up(at, _MAX_STEPS):
            if place < 0:
                parts.append("...")
            elif not self._places.bits[place] & ATTRIBUTE:
                node = isinstance(self._places.steps[place], Ref | TensorRef)
                parts.append(f"[{brief_text(str(self._step(place))) if node else key_text(self._step(place))}]")
            else:
                name = self._places.steps[place]
                assert isinstance(name, str)
                parts.append(f"[{brief_text(name)}]" if name.isdigit() else f".{brief_text(name)}")
        return "".join(parts)


_LONGEST_STEP = 4096
"""Most characters of a step that JSON has in full."""


def key_text(step: Step) -> str:
    """A key as a person reads it; a long one is cut before it is spelled."""
    return brief(step[: 2 * TEXT_LENGTH] if isinstance(step, str | bytes) else step)


def value_text(document: Document, value: Any) -> str:
    """A value in a few words."""
    node = document.node(value)
    if isinstance(node, Typed) and node.kind in CARRYING_KINDS:
        data = node.fields["data"]
        assert isinstance(data, TensorRef)
        shape = document.tensors.shape(data.index)
        if node.kind != "numpy.ndarray":
            return f"{node.kind} of {shape[0]:,} bytes"
        return f"{node.kind} {printable(node.text('dtype'))} {shape_text(shape)}"
    if type(value) is int and value.bit_length() > _LONG_NBITS:
        return f"an int of {value.bit_length():,} bits"
    return in_brief(document, value)


_LONG_NBITS = 160


def shape_text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"
