"""Local files as a storage: read through one descriptor; written beside the destination, then put in its place.

Until the commit, the destination is what it was: an older file, whole and with its own bytes even where it
is mapped, or nothing. After it, the destination is the new file, whole. Nothing is in between, and
whatever goes wrong, no temporary file is left behind by a process that still lives. One that is killed outright
leaves its ``.torchkeep-<16 hex digits>.tmp``. Nothing reads it, and nothing here removes it, either: whether the
process that made it still writes, perhaps on another machine, cannot be known.
"""

from __future__ import annotations

import errno
import io
import mmap
import os
import platform
import stat
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress

from .failures import codes, expect_regular, is_in_use, not_a_file, path_error, typed
from .vectors import optional_flags

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_HAVE_PREADV = hasattr(os, "preadv")
_HAVE_MAP_PRIVATE = hasattr(mmap, "MAP_PRIVATE")
_IS_COMMON_LINUX = sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")
_NO_RESERVE: int = getattr(mmap, "MAP_NORESERVE", 0x4000 if _IS_COMMON_LINUX else 0)
"""No memory is set aside for pages that may never be written, so a file may be larger than all there is. Linux alone
asks for it, and Python before 3.13 has no name for the number."""

_HAVE_PWRITEV = hasattr(os, "pwritev")
_HAVE_FALLOCATE = hasattr(os, "posix_fallocate")
_HAVE_FCHMOD = hasattr(os, "fchmod")
_HAVE_LINK = hasattr(os, "link")
_HAVE_DIRECTORY_FSYNC = hasattr(os, "O_DIRECTORY")
_FULL_FSYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)
"""macOS: what makes the disk write its own cache, too. There, `fsync` only hands the bytes over to the disk."""

_READ = os.O_RDONLY | optional_flags("O_CLOEXEC", "O_NONBLOCK", "O_NOCTTY", "O_BINARY")
_CREATE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | optional_flags("O_CLOEXEC", "O_NOFOLLOW", "O_BINARY")
_UNREAD = "nothing was read"
_UNCHANGED = "nothing was saved, and what was there is as it was"
_UNSUPPORTED = codes("EOPNOTSUPP", "ENOTSUP", "ENOSYS", "EINVAL", "ENOTTY")
_NO_LINKS = _UNSUPPORTED | codes("EPERM", "EACCES", "EMLINK")
_WAITS_S = (0.05, 0.1, 0.2, 0.4)
"""How long to wait, again and again, for a reader or a virus scanner that holds a file in its place on Windows."""


class LocalStorage:
    """Regular files of this machine, by path."""

    def open(self, name: str) -> LocalReading:
        """Open a regular file for reading, without ever waiting for one that isn't.

        O_NONBLOCK keeps a FIFO from blocking and means nothing to a regular file; fstat then judges what was
        opened, not what the path may name a moment later.
        """
        try:
            fd = os.open(name, _READ)
        except OSError:
            if os.path.exists(name):  # a socket, or a directory on Windows: say so, not why open failed
                expect_regular(os.stat(name).st_mode, name, unchanged=_UNREAD)
            raise
        try:
            state = os.fstat(fd)
            expect_regular(state.st_mode, name, unchanged=_UNREAD)
            return LocalReading(io.FileIO(fd), state.st_size)
        except BaseException:
            os.close(fd)
            raise

    def stage(self, name: str, *, nbytes: int, durable: bool, overwrite: bool) -> LocalWriting:
        """Create a temporary file beside the one that `name` stands for, and reserve its space.

        A symbolic link is followed to the file that it stands for. A new file gets the mode that the umask
        leaves; one that replaces another gets the other's permission bits. A full disk is known before the
        first byte.
        """
        target, replaced = _destination(name, overwrite=overwrite)
        directory = os.path.dirname(target)
        temporary = os.path.join(directory, f".torchkeep-{os.urandom(8).hex()}.tmp")
        with typed(directory, doing=f"cannot create a file in {directory!r}", unchanged=_UNCHANGED):
            # Not even for a moment may the new bytes be open to more readers than the old ones were.
            fd = os.open(temporary, _CREATE, 0o666 if replaced is None else 0o600)
        writing = LocalWriting(target, temporary, fd, durable=durable, overwrite=overwrite)
        try:
            with typed(target, doing=f"cannot reserve {nbytes} bytes for {target!r}", unchanged=_UNCHANGED):
                if replaced is not None:
                    _set_mode(fd, temporary, replaced.st_mode & 0o777)
                _reserve(fd, nbytes)
        except BaseException:
            writing.discard()
            raise
        return writing


LOCAL = LocalStorage()


class LocalReading:
    """A regular file, read through one descriptor: one that is replaced meanwhile is still read as it was."""

    __slots__ = ("_file", "_turn", "nbytes")

    def __init__(self, file: io.FileIO, nbytes: int) -> None:
        self._file = file
        self._turn = threading.Lock()
        self.nbytes = nbytes

    def read_into(self, buffers: Sequence[memoryview], offset: int) -> int:
        return self._preadv(buffers, offset) if _HAVE_PREADV else self._readinto(buffers, offset)

    def map(self) -> mmap.mmap:
        """The file's pages, read when they are first touched.

        Who shortens the file meanwhile takes the pages away, and whoever then touches them dies of SIGBUS.
        """
        fd = self._file.fileno()
        try:
            if not _HAVE_MAP_PRIVATE:
                return mmap.mmap(fd, self.nbytes, access=mmap.ACCESS_COPY)
            flags = mmap.MAP_PRIVATE | _NO_RESERVE
            return mmap.mmap(fd, self.nbytes, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        except ValueError as error:  # what Python says of a file that has become shorter
            raise EOFError(str(error)) from error

    def close(self) -> None:
        self._file.close()

    def _preadv(self, buffers: Sequence[memoryview], offset: int) -> int:
        return os.preadv(self._file.fileno(), buffers, offset)

    def _readinto(self, buffers: Sequence[memoryview], offset: int) -> int:
        total = 0
        with self._turn:  # the descriptor has one position, whoever reads
            self._file.seek(offset)
            for buffer in buffers:
                moved = self._file.readinto(buffer) or 0
                total += moved
                if moved < buffer.nbytes:
                    break
        return total


class LocalWriting:
    """A temporary file on its way to `path`, symbolic links resolved."""

    __slots__ = ("_committed", "_durable", "_fd", "_overwrite", "_temporary", "path")

    def __init__(self, path: str, temporary: str, fd: int, *, durable: bool, overwrite: bool) -> None:
        self.path = path
        self._temporary = temporary
        self._fd = fd
        self._durable = durable
        self._overwrite = overwrite
        self._committed = False

    def write(self, buffers: Sequence[memoryview], offset: int) -> int:
        move = self._pwritev if _HAVE_PWRITEV else self._seek_write
        with self._typed("cannot write"):
            moved = move(buffers, offset)
            if not moved:
                raise OSError(errno.EIO, "the system wrote nothing")
        return moved

    def commit(self) -> None:
        """Flush the file, rename it, flush the directory.

        A flush that fails is never tried again: the system may have dropped the pages and would then call
        the second one a success.
        """
        with self._typed("cannot save"):
            try:
                if self._durable:
                    _flush(self._fd)
            finally:
                self._close()
            if self._overwrite:
                _replace(self._temporary, self.path)
            else:
                self._place_new()
            self._committed = True
        if self._durable and _HAVE_DIRECTORY_FSYNC:
            self._flush_directory()

    def discard(self) -> None:
        with suppress(OSError):
            self._close()
        if not self._committed:
            with suppress(OSError):
                _unlink(self._temporary)

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _pwritev(self, buffers: Sequence[memoryview], offset: int) -> int:
        return os.pwritev(self._fd, buffers, offset)

    def _seek_write(self, buffers: Sequence[memoryview], offset: int) -> int:
        os.lseek(self._fd, offset, os.SEEK_SET)
        total = 0
        for buffer in buffers:
            moved = os.write(self._fd, buffer)
            total += moved
            if moved < buffer.nbytes:
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


def _destination(path: str, *, overwrite: bool) -> tuple[str, os.stat_result | None]:
    """The file that `path` stands for, and its state if there is one."""
    if path and not os.path.basename(path):
        raise not_a_file(path, "a directory", unchanged=_UNCHANGED)
    target = os.path.realpath(path)
    with typed(path, doing=f"cannot save {path!r}", unchanged=_UNCHANGED):
        if not path:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
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
