"""What a place that holds bytes has to offer. Local files are one such place; `register_storage` adds others.

A storage knows names and bytes. It never learns what the bytes mean, and nobody asks it to: spans, digests,
resuming short calls, typed errors and messages are the business of `Source` and `Staged`, for every storage alike.
What a storage returns is held against this contract, and what it raises is told as a `PathError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class Reading(Protocol):
    """One object, open for reading.

    Order of calls: `read_into` as often as it takes, from any thread, also from several at once; `close` at the
    end, perhaps more than once, and nothing after it. Every byte comes from the object that was opened: where
    another takes its name meanwhile, reading goes on in the old one, or raises.
    """

    @property
    def nbytes(self) -> int:
        """The object's size in bytes when it was opened."""

    def read_into(self, buffers: Sequence[memoryview], offset: int) -> int:
        """Fill `buffers`, one after another, with the bytes from `offset` on.

        Args:
            buffers: flat writable views of bytes (format ``"B"``), none of them empty.
            offset: where to begin, in bytes from the start of the object.

        Returns:
            How many bytes were filled: all of them, or fewer, and then the rest is asked for in another call.
            0 means that the object ends at `offset`. What lies behind the bytes that count is ignored.

        Raises:
            OSError: they cannot be read.
        """

    def close(self) -> None:
        """Let go of it."""


class Mappable(Reading, Protocol):
    """A Reading that can also be memory, for ``torchkeep.load(mmap=True)``. Where one cannot, it has no `map`, and its
    bytes are read instead.
    """

    def map(self) -> WriteableBuffer:
        """The whole object as memory, whose bytes need not be there before they are first touched.

        The memory is the caller's: what is written to it never reaches the object, nor whoever else maps it. It
        stays as it is, and outlives `close` and whatever takes the object's name, until nobody refers to it.

        Returns:
            Writable memory of `nbytes` bytes.

        Raises:
            EOFError: the object has become shorter than `nbytes`.
            OSError: it cannot be mapped.
        """


class Writing(Protocol):
    """One object on its way to its name. Nobody sees it before `commit`.

    Order of calls: `write` as often as it takes; then `commit` once. Where anything goes wrong before the commit
    or in it, `discard` once. All calls come from one thread.
    """

    def write(self, buffers: Sequence[memoryview], offset: int) -> int:
        """Write `buffers`, one after another, from `offset` on.

        Offsets come in any order, and bytes may be written again: a file's header comes last. Once all is
        written, every byte of the object has been.

        Args:
            buffers: flat views of bytes (format ``"B"``). They may change after the call: copy what is kept.
            offset: where to begin, in bytes from the start of the object.

        Returns:
            How many bytes were taken: all of them, or fewer, and then the rest comes in another call. Never 0.

        Raises:
            OSError: they cannot be written.
        """

    def commit(self) -> None:
        """Give the object its name, whole and in one step.

        Raises:
            FileExistsError: it was staged with ``overwrite=False``, and somebody has the name.
            OSError: it cannot be done, and what had the name still has it.
        """

    def discard(self) -> None:
        """Drop what was staged. Who had the name keeps it. After a `commit` that raised, only clear up."""


class Storage(Protocol):
    """A place that holds objects of bytes by name.

    Any number of names may be open or staged at once, from any thread.
    """

    def open(self, name: str) -> Reading:
        """Open an object for reading.

        Args:
            name: the whole name as the user wrote it, scheme included: ``"s3://bucket/key"``.

        Raises:
            FileNotFoundError: there is none of this name.
            OSError: it cannot be opened.
        """

    def stage(self, name: str, *, nbytes: int, durable: bool, overwrite: bool) -> Writing:
        """Begin an object that takes `name` when it is committed, and only then.

        Args:
            name: the whole name as the user wrote it, scheme included.
            nbytes: the size that it will have, in bytes.
            durable: whether `commit` waits until the bytes would survive a power cut.
            overwrite: whether an object that has the name is replaced.

        Raises:
            FileExistsError: somebody has the name, and `overwrite` is False. `commit` looks again.
            OSError: it cannot be begun.
        """
