"""Makes the `os` of this process that of another system, as far as a library of files can tell.

Imported by the children of `test_systems.py`, after torch and before torchkeep.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

WINDOWS_LACKS = """
    preadv pwritev pread pwrite readv writev posix_fallocate posix_fadvise fdatasync sync sendfile copy_file_range
    fchmod fchown chown lchown mkfifo mknod fork forkpty getxattr setxattr listxattr statvfs fstatvfs sysconf pathconf
    memfd_create eventfd splice lockf uname getuid geteuid getgid getegid openpty
    O_CLOEXEC O_NOFOLLOW O_NONBLOCK O_NOCTTY O_DIRECTORY O_SYNC O_DSYNC O_DIRECT O_TMPFILE O_PATH O_NOATIME
"""
MACOS_LACKS = "posix_fallocate posix_fadvise fdatasync copy_file_range memfd_create eventfd splice O_DIRECT O_TMPFILE"
POSIX_ONLY = ("fcntl", "resource", "pwd", "grp", "termios")

MOST_NBYTES = 20 << 20
"""In place of the 2 GiB that other systems move in one call."""

full_flushes: list[int] = []
"""Descriptors that the disk was told to write out."""


def become(system: str) -> None:
    """`system` is ``"linux"`` (nothing changes), ``"bare"``, ``"windows"`` or ``"macos"``."""
    if system in ("bare", "windows"):
        _drop(WINDOWS_LACKS + ("link symlink" if system == "bare" else ""))
        for name in ("MAP_PRIVATE", "MAP_SHARED", "MAP_NORESERVE", "PROT_READ", "PROT_WRITE"):
            vars(mmap).pop(name, None)
        for module in POSIX_ONLY:
            sys.modules[module] = None  # type: ignore[assignment]
    if system == "macos":
        _drop(MACOS_LACKS)
        sys.modules["fcntl"] = SimpleNamespace(F_FULLFSYNC=51, fcntl=_full_flush)  # type: ignore[assignment]
    if system != "linux":
        for name in {"write", "pwritev", "preadv"} & set(vars(os)):
            setattr(os, name, _limited(getattr(os, name)))
    if system == "windows":
        _windows()


def _drop(names: str) -> None:
    for name in names.split():
        vars(os).pop(name, None)


def _full_flush(fd: int, command: int) -> None:
    assert command == 51
    full_flushes.append(fd)


def _limited(call: Callable[..., Any]) -> Callable[..., Any]:
    def move(fd: int, data: Any, *more: Any) -> Any:
        buffers = data if isinstance(data, (list, tuple)) else [data]
        if sum(memoryview(buffer).nbytes for buffer in buffers) > MOST_NBYTES:
            raise OSError(errno.EINVAL, "Invalid argument")
        return call(fd, data, *more)

    return move


def refused(path: str, code: int) -> PermissionError:
    """What Windows raises: 5 access is denied, 32 another handle is open."""
    error = PermissionError(errno.EACCES, "The process cannot access the file", path)
    error.winerror = code  # type: ignore[attr-defined]
    return error


def _is_held(path: str) -> bool:
    """Whether this process has a file open or mapped."""
    path = os.path.realpath(path)
    for fd in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{fd}") == path:
                return True
        except FileNotFoundError:
            pass
    with open("/proc/self/maps") as maps:
        return any(line.rstrip("\n").partition("/")[2] == path[1:] for line in maps)


def _expect_movable(path: str) -> None:
    if os.path.lexists(path):
        if _is_held(path):
            raise refused(path, 32)
        if not os.lstat(path).st_mode & stat.S_IWUSR:
            raise refused(path, 5)


def _windows() -> None:
    """Text mode unless told otherwise; nothing that is open or read-only is replaced or removed."""
    os.O_BINARY = 0x8000  # type: ignore[attr-defined]  # Linux calls this O_LARGEFILE, and has it anyway
    real_open, real_replace, real_unlink, real_chmod = os.open, os.replace, os.unlink, os.chmod

    def open_(path: Any, flags: int, mode: int = 0o777) -> int:
        ours = "safetensors" in str(path) or ".torchkeep-" in str(path)
        assert flags & 0x8000 or not ours, "opened in text mode: line ends would be translated"
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real_open(path, flags, mode)

    def replace(source: Any, target: Any) -> None:
        if _is_held(source):
            raise refused(source, 32)
        _expect_movable(target)
        real_replace(source, target)

    def unlink(path: Any) -> None:
        _expect_movable(path)
        real_unlink(path)

    def chmod(path: Any, mode: int) -> None:
        real_chmod(path, 0o666 if mode & stat.S_IWUSR else 0o444)  # all that a mode says there

    os.open, os.replace, os.chmod = open_, replace, chmod  # type: ignore[assignment]
    os.unlink = os.remove = unlink  # type: ignore[assignment]
