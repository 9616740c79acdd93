"""One open file or object: spans of it read into buffers that the caller owns, their digests checked in passing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

import msgspec
from xxhash import xxh3_64, xxh3_64_intdigest

from ..errors import DigestError, FormatError, PathError
from .failures import expect_count, expect_memory, expect_methods, path_text, typed
from .protocols import Reading
from .registry import storage_of
from .vectors import MAX_VECTORS, Span, as_bytes, pieces, remaining

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_UNCHANGED = "nothing was read"
_RUN_NBYTES = 8 << 20
"""Bytes read between two digests: many enough for the disk, few enough to be still in a cache."""
_MAX_GAP = 4096
"""Bytes between two spans that are cheaper to read and drop than a second call is."""
_LARGEST = 2**63 - 1
"""Most bytes that an object can have: what an offset can count."""


class Read(msgspec.Struct, frozen=True, gc=False):
    """A span, the writable buffer of the same size that it fills, and the digest that it must have.

    `buffer` is any contiguous writable buffer: a bytearray, a memoryview, a ctypes array. `digest` is the
    xxh3_64 of the bytes, or None where there is none to check. `name` is for messages.
    """

    span: Span
    buffer: WriteableBuffer
    digest: int | None
    name: str


class Source:
    """An object of some storage, mostly a local file, opened once: if it is replaced meanwhile, it is still read as
    it was.

    Attributes:
        path: the path as it was given.
        nbytes: the size in bytes when it was opened. No span may reach past it.
    """

    __slots__ = ("_open", "_reading", "nbytes", "path")

    def __init__(self, reading: Reading, path: str, nbytes: int) -> None:
        self._reading = reading
        self._open = True
        self.path = path
        self.nbytes = nbytes

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it; nothing can be read afterwards."""
        self._open = False
        with typed(self.path, doing=f"cannot close {self.path!r}", unchanged="the file was only read"):
            self._reading.close()

    def read(self, span: Span) -> bytes:
        """Exactly the bytes of `span`.

        Raises:
            FormatError: the file does not have them.
            PathError: they cannot be read.
        """
        self._expect_inside(span, "the read")
        buffer = bytearray(span.nbytes)
        self._fill([memoryview(buffer)], span)
        return bytes(buffer)

    def map(self) -> memoryview | None:
        """The whole object as memory: its pages are read when they are first touched. None where it cannot be had.

        The mapping is private: writing to it never reaches the object, nor another process. It outlives the source.

        Raises:
            FormatError: the object has become shorter.
            PathError: it cannot be mapped.
        """
        self._expect_open()
        mapped = getattr(self._reading, "map", None)
        if not callable(mapped):
            return None
        with typed(self.path, doing=f"cannot map {self.path!r}", unchanged=_UNCHANGED):
            try:
                found = mapped()
            except EOFError as error:
                raise FormatError(
                    f"{self.path!r} was truncated while reading: it is shorter than the {self.nbytes} bytes that it "
                    "had. Another program changes it; load a copy that nothing writes to."
                ) from error
            except OSError as error:
                raise PathError(
                    f"cannot map {self.path!r}: {error.strerror or error}; {_UNCHANGED}. Load it without mmap=True, "
                    "or by parts with key=.",
                    errno=error.errno,
                    filename=self.path,
                ) from error
            return expect_memory(found, self.nbytes, self.path, "map", unchanged=_UNCHANGED)

    def read_into(self, reads: Sequence[Read], *, started: list[int] | None = None) -> None:
        """Fill each buffer from its span, then check its digest.

        The order is that of the file. Neighbours share a call, and small gaps between them are read and
        dropped. All spans are checked against the size of the file before the first byte moves; after
        that, `started` receives the index of each read before its buffer may change, so that a caller can
        tell what an error overwrote. The first bad digest ends it.
        """
        views: list[memoryview] = []
        for read in reads:
            self._expect_inside(read.span, read.name)
            view = as_bytes(read.buffer)
            if view.nbytes != read.span.nbytes:
                raise ValueError(f"the buffer of {read.name!r} is not of the {read.span.nbytes} bytes of its span")
            views.append(view)
        for run in _runs([read.span for read in reads]):
            if started is not None:
                started.extend(run)
            self._fill_run([(reads[index], views[index]) for index in run])

    def check(self, parts: Iterable[tuple[Span, int, str]]) -> None:
        """Raise the first `damaged` of `parts`: (span, digest, name) each."""
        for error in self.damaged(parts):
            raise error

    def damaged(self, parts: Iterable[tuple[Span, int, str]]) -> Iterator[DigestError]:
        """One error for each part whose bytes have another digest, in the order of the file.

        The bytes pass through one bounded buffer and are not kept. A span that the file does not have, or
        a failing disk, is raised: it says nothing about the digest.
        """
        parts = list(parts)
        for span, _, name in parts:
            self._expect_inside(span, name)
        for index, found in self._digested([span for span, _, _ in parts]):
            span, digest, name = parts[index]
            if found != digest:
                yield self._damage(span, name, saved=digest, found=found)

    def digests(self, parts: Iterable[tuple[Span, str]]) -> list[int]:
        """The xxh3_64 of each part, (span, name), through one bounded buffer; read in the order of the file."""
        parts = list(parts)
        for span, name in parts:
            self._expect_inside(span, name)
        found = dict(self._digested([span for span, _ in parts]))
        return [found[index] for index in range(len(parts))]

    def _digested(self, spans: Sequence[Span]) -> Iterator[tuple[int, int]]:
        """The index and the digest of each span, in the order of the file."""
        bounce = memoryview(bytearray(min(_RUN_NBYTES, self.nbytes)))
        for run in _runs(spans):
            whole = Span(spans[run[0]].offset, spans[run[-1]].end - spans[run[0]].offset)
            if whole.nbytes <= len(bounce):
                self._fill([bounce[: whole.nbytes]], whole)
            for index in run:
                span = spans[index]
                if whole.nbytes <= len(bounce):
                    start = span.offset - whole.offset
                    yield index, xxh3_64_intdigest(bounce[start : start + span.nbytes])
                else:
                    yield index, self._digest_through(bounce, span)

    def _fill_run(self, run: Sequence[tuple[Read, memoryview]]) -> None:
        """Fill the buffers of one run and check their digests."""
        start = end = run[0][0].span.offset
        if run[0][0].span.nbytes > _RUN_NBYTES:  # then it is alone
            self._fill_long(*run[0])
            return
        dropped = memoryview(bytearray(_MAX_GAP))
        vectors: list[memoryview] = []
        for read, view in run:
            if read.span.offset > end:
                vectors.append(dropped[: read.span.offset - end])
            if read.span.nbytes:
                vectors.append(view)
            end = read.span.end
        self._fill(vectors, Span(start, end - start))
        for read, view in run:
            if read.digest is not None:
                self._expect_digest(read, xxh3_64_intdigest(view))

    def _fill_long(self, read: Read, view: memoryview) -> None:
        hasher, offset = xxh3_64(), read.span.offset
        for piece in pieces(view, _RUN_NBYTES):
            self._fill([piece], Span(offset, piece.nbytes))
            offset += piece.nbytes
            if read.digest is not None:
                hasher.update(piece)
        if read.digest is not None:
            self._expect_digest(read, hasher.intdigest())

    def _digest_through(self, bounce: memoryview, span: Span) -> int:
        hasher = xxh3_64()
        for offset in range(span.offset, span.end, len(bounce)):
            piece = bounce[: min(len(bounce), span.end - offset)]
            self._fill([piece], Span(offset, piece.nbytes))
            hasher.update(piece)
        return hasher.intdigest()

    def _fill(self, vectors: Sequence[memoryview], span: Span) -> None:
        """Fill `vectors`, one after another, from `span`, which is as long as they are together."""
        self._expect_open()
        with typed(self.path, doing=f"cannot read {span} of {self.path!r}", unchanged="the file was only read"):
            offset, rest = span.offset, vectors
            while offset < span.end:
                moved = self._reading.read_into(rest, offset)
                expect_count(moved, 0, span.end - offset, self.path, "read_into", unchanged="the file was only read")
                if not moved:
                    raise FormatError(
                        f"{self.path!r} was truncated while reading: it ends at byte {offset}, and {span} "
                        "were asked for. Another program changes it; load a copy that nothing writes to."
                    )
                offset += moved
                if offset < span.end:
                    rest = remaining(rest, moved)

    def _expect_open(self) -> None:
        if not self._open:
            raise ValueError(f"{self.path!r} is closed")

    def _expect_inside(self, span: Span, name: str) -> None:
        if not 0 <= span.offset <= span.end <= self.nbytes:
            raise FormatError(
                f"{name!r} is truncated: {span} are outside {self.path!r}, which has {self.nbytes} bytes; "
                f"{_UNCHANGED}. Copy or download the file again."
            )

    def _expect_digest(self, read: Read, found: int) -> None:
        if read.digest is not None and found != read.digest:
            raise self._damage(read.span, read.name, saved=read.digest, found=found)

    def _damage(self, span: Span, name: str, *, saved: int, found: int) -> DigestError:
        return DigestError(
            f"{name!r} is damaged: {span} of {self.path!r} have the digest {found:016x}, and were saved with "
            f"{saved:016x}. The file was only read; copy or download it again."
        )


def open_source(path: str | os.PathLike[str]) -> Source:
    """Open what a path names, in the storage that it belongs to.

    Raises:
        PathError: it cannot be opened, or the storage broke its contract.
    """
    text = path_text(path, unchanged=_UNCHANGED)
    with storage_of(path, text) as storage, typed(text, doing=f"cannot open {text!r}", unchanged=_UNCHANGED):
        reading = storage.open(text)
        expect_methods(reading, ("read_into", "close"), text, "open", unchanged=_UNCHANGED)
        try:
            nbytes = reading.nbytes
            expect_count(nbytes, 0, _LARGEST, text, "nbytes", unchanged=_UNCHANGED)
        except BaseException:
            reading.close()
            raise
        return Source(reading, text, nbytes)


def _runs(spans: Sequence[Span]) -> Iterator[list[int]]:
    """Group spans, by their indexes and in the order of the file, into what one call can read.

    A run is at most `_RUN_NBYTES` long, unless it is one longer span. A gap before each buffer may take
    a vector of its own, hence half of MAX_VECTORS.
    """
    run: list[int] = []
    start = end = 0
    for index in sorted(range(len(spans)), key=lambda index: spans[index].offset):
        span = spans[index]
        joins = 0 <= span.offset - end <= _MAX_GAP and span.end - start <= _RUN_NBYTES
        if run and not (joins and len(run) < MAX_VECTORS // 2):
            yield run
            run = []
        if not run:
            start = span.offset
        run.append(index)
        end = span.end
    if run:
        yield run
