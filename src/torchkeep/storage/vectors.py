"""What reading and writing share: spans of a file, buffers of memory, and batches of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

MAX_VECTORS = 1000
"""Buffers in one call. Linux, macOS and the BSDs take 1024 (IOV_MAX)."""


class Span(msgspec.Struct, frozen=True, gc=False):
    """A byte range of a file.

    Attributes:
        offset: the first byte, counted from the file's start.
        nbytes: how many bytes.
    """

    offset: int
    nbytes: int

    @property
    def end(self) -> int:
        """One past the last byte."""
        return self.offset + self.nbytes

    def __str__(self) -> str:
        return f"bytes {self.offset} to {self.end}"


def as_bytes(buffer: ReadableBuffer) -> memoryview:
    """A flat view of the bytes of a contiguous buffer, whatever its shape and format."""
    view = memoryview(buffer)
    if view.format == "B" and view.ndim == 1:
        return view
    return view.cast("B") if view.nbytes else memoryview(b"")


def pieces(view: memoryview, nbytes: int) -> Iterator[memoryview]:
    """Cut `view` into pieces of at most `nbytes`, which is below the 2 GiB that macOS and Windows move in one call."""
    for start in range(0, view.nbytes, nbytes):
        yield view[start : start + nbytes]


def remaining(vectors: Sequence[ReadableBuffer], moved: int) -> list[memoryview]:
    """What is left of a batch of which the system moved only the first `moved` bytes."""
    views = [as_bytes(vector) for vector in vectors]
    for index, view in enumerate(views):
        if moved < view.nbytes:
            return [view[moved:], *views[index + 1 :]]
        moved -= view.nbytes
    return []


def optional_flags(*names: str) -> int:
    """The flags of `os.open` that this platform has, together."""
    flags = 0
    for name in names:
        flags |= getattr(os, name, 0)
    return flags
