"""One new object on its way to its name: buffers written and digested in passing, then one commit, or nothing.

Whatever the storage, the destination is what it was until the commit, and the new object, whole, after it.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from xxhash import xxh3_64, xxh3_64_intdigest

from ..errors import TorchkeepWarning, printable
from .failures import expect_count, expect_methods, path_text, typed
from .protocols import Writing
from .registry import storage_of
from .vectors import MAX_VECTORS, as_bytes, pieces, remaining

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_UNCHANGED = "nothing was saved, and what was there is as it was"
_BATCH_NBYTES = 16 << 20
_PIECE_NBYTES = 4 << 20


class Staged:
    """An object on its way to `path`; made by `stage`.

    Order of calls: `write` as often as you like, `patch` what had to wait for the digests, `commit` once.

    Attributes:
        path: the path as it was given.
        nbytes: its size.
    """

    __slots__ = ("_committed", "_open", "_writing", "nbytes", "path")

    def __init__(self, writing: Writing, path: str, *, nbytes: int) -> None:
        self._writing = writing
        self.path = path
        self.nbytes = nbytes
        self._open = True
        self._committed = False

    def write(
        self,
        buffers: Iterable[ReadableBuffer],
        offset: int,
        *,
        progress: Callable[[int], None] | None = None,
    ) -> list[int]:
        """Write `buffers` one after another from `offset`, and return the xxh3_64 of each.

        The iterable is consumed as the writing goes, in batches of some 16 MiB or 1,000 buffers, so what it
        makes on the way need not fit in memory at once. A batch is written together: memory of one buffer
        must not be used again for the next. `progress` hears, after each batch and each piece of a long
        buffer, how many bytes this call has written.

        Each byte is read once: what is digested is what is written, also where another thread trains meanwhile.
        """
        written = 0

        def put(views: Sequence[memoryview]) -> None:
            nonlocal written
            written += self._put(views, offset + written)
            if progress is not None:
                progress(written)

        digests: list[int] = []
        for batch in _batches(buffers):
            if len(batch) > 1:
                copy = memoryview(b"".join(batch))
                digests.extend(map(xxh3_64_intdigest, _cut(copy, batch)))
                put([copy])
            else:
                digests.append(_digest_passing(batch[0], put))
        return digests

    def patch(self, data: ReadableBuffer, offset: int) -> None:
        """Write `data` over what stands at `offset`."""
        self._put([as_bytes(data)], offset)

    def commit(self) -> None:
        """Put it in its place, once."""
        self._expect_open()
        self._open = False
        with self._typed("cannot save"):
            self._writing.commit()
        self._committed = True

    def close(self) -> None:
        """Drop what was not committed. What keeps a storage from clearing up is a warning: the name is as it was."""
        self._open = False
        if self._committed:
            return
        try:
            self._writing.discard()
        except Exception as error:
            told = f"what was staged for {self.path!r} may still take up space: {type(error).__name__}: {error}"
            warnings.warn(printable(told), TorchkeepWarning, stacklevel=2)

    def _expect_open(self) -> None:
        if not self._open:
            raise ValueError(f"the staged file for {self.path!r} is closed; it takes one commit, and no more")

    def _put(self, views: Sequence[memoryview], offset: int) -> int:
        """Write `views`, one after another, at `offset`; return how many bytes they are."""
        self._expect_open()
        nbytes = sum(view.nbytes for view in views)
        end = offset + nbytes
        if not 0 <= offset <= end <= self.nbytes:
            raise ValueError(f"bytes {offset} to {end} are outside a file of {self.nbytes}")
        with self._typed("cannot write"):
            while offset < end:
                moved = self._writing.write(views, offset)
                expect_count(moved, 1, end - offset, self.path, "write", unchanged=_UNCHANGED)
                offset += moved
                if offset < end:
                    views = remaining(views, moved)
        return nbytes

    def _typed(self, doing: str) -> AbstractContextManager[None]:
        return typed(self.path, doing=f"{doing} {self.path!r}", unchanged=_UNCHANGED)


@contextmanager
def stage(
    path: str | os.PathLike[str], *, nbytes: int, durable: bool = True, overwrite: bool = True
) -> Iterator[Staged]:
    """Open an object of `nbytes` that takes the place of `path` when it is committed, and only then.

    Leaving the body without a commit, by any way, leaves `path` as it was, and nothing beside it.
    """
    text = path_text(path, unchanged=_UNCHANGED)
    with storage_of(path, text) as storage, typed(text, doing=f"cannot save {text!r}", unchanged=_UNCHANGED):
        writing = storage.stage(text, nbytes=nbytes, durable=durable, overwrite=overwrite)
        expect_methods(writing, ("write", "commit", "discard"), text, "stage", unchanged=_UNCHANGED)
    staged = Staged(writing, text, nbytes=nbytes)
    try:
        yield staged
    finally:
        staged.close()


def _digest_passing(view: memoryview, put: Callable[[Sequence[memoryview]], None]) -> int:
    """Hand a copy of a buffer to `put` piece by piece, small enough to be digested and written from a cache."""
    hasher, room = xxh3_64(), memoryview(bytearray(min(view.nbytes, _PIECE_NBYTES)))
    for piece in pieces(view, _PIECE_NBYTES):
        copy = room[: piece.nbytes]
        copy[:] = piece
        hasher.update(copy)
        put([copy])
    return hasher.intdigest()


def _cut(whole: memoryview, like: Sequence[memoryview]) -> Iterator[memoryview]:
    """The parts of a buffer that has several in a row."""
    begin = 0
    for view in like:
        yield whole[begin : begin + view.nbytes]
        begin += view.nbytes


def _batches(buffers: Iterable[ReadableBuffer]) -> Iterator[list[memoryview]]:
    """Group buffers into what one call can write; a long one is a batch by itself.

    It is the same list each time, emptied before the next buffer is asked for: what was written is let go.
    """
    batch: list[memoryview] = []
    total = 0
    for buffer in buffers:
        view = as_bytes(buffer)
        nbytes = view.nbytes
        if batch and total + nbytes > _BATCH_NBYTES:
            yield batch
            batch.clear()
            total = 0
        batch.append(view)
        total += nbytes
        del buffer, view
        if total >= _BATCH_NBYTES or len(batch) == MAX_VECTORS:
            yield batch
            batch.clear()
            total = 0
    if batch:
        yield batch
