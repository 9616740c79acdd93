"""One new file: written beside its destination under another name, then put in its place in one step.

Until the commit, the destination is what it was: an older file, whole and with its own bytes even where it
is mapped, or nothing. After it, the destination is the new file, whole. Nothing is in between, and
whatever goes wrong, no temporary file is left behind by a process that still lives. One that is killed outright
leaves its ``.torchkeep-<16 hex digits>.tmp``. Nothing reads it, and nothing here removes it, either: whether the
process that made it still writes, perhaps on another machine, cannot be known.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING

from xxhash import xxh3_64, xxh3_64_intdigest

from .failures import codes, expect_regular, is_in_use, not_a_file, path_error, path_text, typed
from .vectors import MAX_VECTORS, as_bytes, optional_flags, pieces, remaining

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_HAVE_PWRITEV = hasattr(os, "pwritev")
_HAVE_FALLOCATE = hasattr(os, "posix_fallocate")
_HAVE_FCHMOD = hasattr(os, "fchmod")
_HAVE_LINK = hasattr(os, "link")
_HAVE_DIRECTORY_FSYNC = hasattr(os, "O_DIRECTORY")
_FULL_FSYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)
"""macOS: what makes the disk write its own cache, too. There, `fsync` only hands the bytes over to the disk."""

_CREATE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | optional_flags("O_CLOEXEC", "O_NOFOLLOW", "O_BINARY")
_UNCHANGED = "nothing was saved, and what was there is as it was"
_BATCH_NBYTES = 16 << 20
_UNSUPPORTED = codes("EOPNOTSUPP", "ENOTSUP", "ENOSYS", "EINVAL", "ENOTTY")
_NO_LINKS = _UNSUPPORTED | codes("EPERM", "EACCES", "EMLINK")
_WAITS_S = (0.05, 0.1, 0.2, 0.4)
"""How long to wait, again and again, for a reader or a virus scanner that holds a file in its place on Windows."""


class Staged:
    """A file on its way to `path`; made by `stage`.

    Order of calls: `write` as often as you like, `patch` what had to wait for the digests, `commit` once.

    Attributes:
        path: where the commit puts it, symbolic links resolved.
        nbytes: its size.
    """

    __slots__ = ("_committed", "_durable", "_fd", "_overwrite", "_temporary", "nbytes", "path")

    def __init__(self, path: str, temporary: str, fd: int, *, nbytes: int, durable: bool, overwrite: bool) -> None:
        self.path = path
        self.nbytes = nbytes
        self._temporary = temporary
        self._fd = fd
        self._durable = durable
        self._overwrite = overwrite
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
        must not be used again for the next. `progress` hears, after each batch and each 16 MiB of a long
        buffer, how many bytes this call has written.
        """
        written = 0

        def put(vectors: Sequence[ReadableBuffer]) -> None:
            nonlocal written
            written += self._put(vectors, offset + written)
            if progress is not None:
                progress(written)

        digests: list[int] = []
        for batch in _batches(buffers):
            if len(batch) > 1:
                digests.extend(map(xxh3_64_intdigest, batch))
                put(batch)
            else:
                digests.append(_digest_passing(batch[0], put))
        return digests

    def patch(self, data: ReadableBuffer, offset: int) -> None:
        """Write `data` over what stands at `offset`."""
        self._put([data], offset)

    def commit(self) -> None:
        """Put the file in its place: flush it, rename it, flush the directory.

        A flush that fails is never tried again: the system may have dropped the pages and would then call
        the second one a success.
        """
        self._expect_open()
        with self._typed("cannot save"):
            try:
                if self._durable:
                    _flush(self._fd)
            finally:
                self.close()
            if self._overwrite:
                _replace(self._temporary, self.path)
            else:
                self._place_new()
            self._committed = True
        if self._durable and _HAVE_DIRECTORY_FSYNC:
            self._flush_directory()

    def close(self) -> None:
        """Close the descriptor, once."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _expect_open(self) -> None:
        if self._fd < 0:
            raise ValueError(f"the staged file for {self.path!r} is closed; it takes one commit, and no more")

    def _put(self, vectors: Sequence[ReadableBuffer], offset: int) -> int:
        """Write `vectors`, one after another, at `offset`; return how many bytes they are."""
        self._expect_open()
        nbytes = sum(memoryview(vector).nbytes for vector in vectors)
        end = offset + nbytes
        if not 0 <= offset <= end <= self.nbytes:
            raise ValueError(f"bytes {offset} to {end} are outside a file of {self.nbytes}")
        move = self._pwritev if _HAVE_PWRITEV else self._seek_write
        with self._typed("cannot write"):
            while offset < end:
                moved = move(vectors, offset)
                if not moved:
                    raise OSError(errno.EIO, "the system wrote nothing")
                offset += moved
                if offset < end:
                    vectors = remaining(vectors, moved)
        return nbytes

    def _pwritev(self, vectors: Sequence[ReadableBuffer], offset: int) -> int:
        return os.pwritev(self._fd, vectors, offset)

    def _seek_write(self, vectors: Sequence[ReadableBuffer], offset: int) -> int:
        os.lseek(self._fd, offset, os.SEEK_SET)
        total = 0
        for vector in vectors:
            moved = os.write(self._fd, vector)
            total += moved
            if moved < memoryview(vector).nbytes:
                break
        return total

    def _place_new(self) -> None:
        """Give the file its name unless somebody has it: a link never replaces, where a rename would."""
        try:
            if not _HAVE_LINK:
                raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
            os.link(self._temporary, self.path)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            os.close(os.open(self.path, _CREATE, 0o600))  # claims the name; the rename then fills it
            try:
                _replace(self._temporary, self.path)
            except BaseException:
                with suppress(OSError):
                    _unlink(self.path)
                raise
        else:
            with suppress(OSError):  # the file has its name: too late to fail
                _unlink(self._temporary)

    def _flush_directory(self) -> None:
        directory = os.path.dirname(self.path)
        try:
            fd = os.open(directory, os.O_RDONLY | optional_flags("O_DIRECTORY", "O_CLOEXEC"))
            try:
                _flush(fd)
            finally:
                os.close(fd)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise path_error(
                    error,
                    self.path,
                    doing=f"cannot flush the directory of {self.path!r}",
                    unchanged="the new file is in place and whole, but may not survive a power cut",
                ) from error

    def _typed(self, doing: str) -> AbstractContextManager[None]:
        return typed(self.path, doing=f"{doing} {self.path!r}", unchanged=_UNCHANGED)


@contextmanager
def stage(
    path: str | os.PathLike[str], *, nbytes: int, durable: bool = True, overwrite: bool = True
) -> Iterator[Staged]:
    """Open a file of `nbytes` that takes the place of `path` when it is committed, and only then.

    A symbolic link is followed to the file that it stands for. A new file gets the mode that the umask
    leaves; one that replaces another gets the other's permission bits. The space is reserved now, so that
    a full disk is known before the first byte. Leaving the body without a commit, by any way, removes
    the temporary file and leaves `path` as it was.
    """
    target, replaced = _destination(path_text(path, unchanged=_UNCHANGED), overwrite=overwrite)
    directory = os.path.dirname(target)
    temporary = os.path.join(directory, f".torchkeep-{os.urandom(8).hex()}.tmp")
    with typed(directory, doing=f"cannot create a file in {directory!r}", unchanged=_UNCHANGED):
        # Not even for a moment may the new bytes be open to more readers than the old ones were.
        fd = os.open(temporary, _CREATE, 0o666 if replaced is None else 0o600)
    staged = Staged(target, temporary, fd, nbytes=nbytes, durable=durable, overwrite=overwrite)
    try:
        with staged._typed(f"cannot reserve {nbytes} bytes for"):
            if replaced is not None:
                _set_mode(fd, temporary, replaced.st_mode & 0o777)
            _reserve(fd, nbytes)
        yield staged
    finally:
        with suppress(OSError):
            staged.close()
        if not staged._committed:
            with suppress(OSError):
                _unlink(temporary)


def _destination(path: str, *, overwrite: bool) -> tuple[str, os.stat_result | None]:
    """The file that `path` stands for, and its state if there is one."""
    if path and not os.path.basename(path):
        raise not_a_file(path, "a directory", unchanged=_UNCHANGED)
    target = os.path.realpath(path)
    with typed(path, doing=f"cannot save {path!r}", unchanged=_UNCHANGED):
        try:
            state = os.lstat(target)
        except FileNotFoundError:
            return target, None
        if stat.S_ISLNK(state.st_mode):  # realpath gave up: a circle
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        expect_regular(state.st_mode, path, unchanged=_UNCHANGED)
        if not overwrite:
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
    return target, state


def _set_mode(fd: int, path: str, mode: int) -> None:
    if _HAVE_FCHMOD:
        os.fchmod(fd, mode)
    else:
        os.chmod(path, mode)


def _flush(fd: int) -> None:
    """Wait until the disk itself has the bytes, as far as this system can say so."""
    if _FULL_FSYNC is not None:
        try:
            fcntl.fcntl(fd, _FULL_FSYNC)
            return
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
    os.fsync(fd)


def _replace(temporary: str, path: str) -> None:
    """Rename over `path`. Windows refuses that while anybody has the old file open, which may be for a moment only."""
    for wait_s in _WAITS_S:
        try:
            os.replace(temporary, path)
            return
        except OSError as error:
            if not is_in_use(error):
                raise
            time.sleep(wait_s)
    os.replace(temporary, path)


def _unlink(path: str) -> None:
    """Remove a file. Windows removes none that is read-only, as one is that shall replace a read-only one."""
    try:
        os.unlink(path)
    except PermissionError:
        os.chmod(path, 0o600)
        os.unlink(path)


def _reserve(fd: int, nbytes: int) -> None:
    """Take the space now where the file system can; else only set the size."""
    if _HAVE_FALLOCATE and nbytes:
        try:
            os.posix_fallocate(fd, 0, nbytes)
            return
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
    os.ftruncate(fd, nbytes)


def _digest_passing(buffer: ReadableBuffer, put: Callable[[Sequence[ReadableBuffer]], None]) -> int:
    """Hand a buffer to `put` piece by piece, digesting each while it is in a cache."""
    hasher = xxh3_64()
    for piece in pieces(as_bytes(buffer), _BATCH_NBYTES):
        hasher.update(piece)
        put([piece])
    return hasher.intdigest()


def _batches(buffers: Iterable[ReadableBuffer]) -> Iterator[list[ReadableBuffer]]:
    """Group buffers into what one call can write; a long one is a batch by itself.

    It is the same list each time, emptied before the next buffer is asked for: what was written is let go.
    """
    batch: list[ReadableBuffer] = []
    total = 0
    for buffer in buffers:
        nbytes = memoryview(buffer).nbytes
        if batch and total + nbytes > _BATCH_NBYTES:
            yield batch
            batch.clear()
            total = 0
        batch.append(buffer)
        total += nbytes
        del buffer
        if total >= _BATCH_NBYTES or len(batch) == MAX_VECTORS:
            yield batch
            batch.clear()
            total = 0
    if batch:
        yield batch
