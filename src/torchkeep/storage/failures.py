"""An OSError, told as one of torchkeep's errors: what, where, what was left unchanged, the next step."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ..errors import (
    AccessError,
    ExistsError,
    FullError,
    NotAFileError,
    NotFoundError,
    PathError,
    TorchkeepError,
    brief,
    brief_text,
)
from .vectors import as_bytes

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}

_ERRORS: dict[str, tuple[type[PathError], str]] = {
    "ENOENT": (NotFoundError, "Check the path; relative paths start at the working directory."),
    "EACCES": (AccessError, "Check who owns it, and its permissions and those of its directory."),
    "EPERM": (AccessError, "Check its attributes and its owner."),
    "EROFS": (AccessError, "The file system is read-only; choose another."),
    "EEXIST": (ExistsError, "Choose another name, or pass overwrite=True."),
    "EISDIR": (NotAFileError, "Name a file."),
    "ENOTDIR": (PathError, "A part of the path is a file; check the path."),
    "ENXIO": (NotAFileError, "Name a regular file."),
    "ENOSPC": (FullError, "Free some space, or choose another file system."),
    "EDQUOT": (FullError, "Free some of the quota, or choose another file system."),
    "EFBIG": (FullError, "Raise the limit on file size, or choose another file system."),
    "ELOOP": (PathError, "Its symbolic links lead in a circle; repair them."),
    "ENAMETOOLONG": (PathError, "Choose a shorter name."),
    "EINVAL": (PathError, "Check the path."),
    "EILSEQ": (PathError, "The file system cannot write this name; choose another."),
}
"""By the name of the errno: no system has all of them, and each has numbers of its own."""

_BY_CLASS: tuple[tuple[type[OSError], int], ...] = (
    (FileNotFoundError, errno.ENOENT),
    (FileExistsError, errno.EEXIST),
    (PermissionError, errno.EACCES),
    (IsADirectoryError, errno.EISDIR),
    (NotADirectoryError, errno.ENOTDIR),
)
"""What a storage means that raises ``FileNotFoundError(name)``, without a number."""

_IN_USE = frozenset({5, 32, 33, 1224})
"""Windows' own codes (`OSError.winerror`) where another handle or a mapping keeps a file in its place."""


def codes(*names: str) -> frozenset[int]:
    """The numbers of those errno names that this system has."""
    return frozenset(number for name in names if (number := getattr(errno, name, None)) is not None)


def is_in_use(error: OSError) -> bool:
    """Whether a file could not be replaced since somebody has it open or mapped. Only Windows minds."""
    return getattr(error, "winerror", None) in _IN_USE


def path_error(error: OSError, path: str, *, doing: str, unchanged: str) -> PathError:
    """Tell `error` in full: `doing` is what failed, `unchanged` what was left as it was."""
    number = error.errno or next((number for cls, number in _BY_CLASS if isinstance(error, cls)), None)
    name = errno.errorcode.get(number or 0, "")
    kind, advice = _ERRORS.get(name, (PathError, "Check the disk and the file system."))
    if is_in_use(error):
        kind = AccessError
        advice = (
            "Where it is not its permissions, a program has the file open, or its tensors are mapped "
            "(torchkeep.load(mmap=True)): close it, drop what was loaded from it, or save under another name."
        )
    reason = error.strerror or brief_text(str(error)) or type(error).__name__
    return kind(f"{doing}: {reason}; {unchanged}. {advice}", errno=number, filename=path)


@contextmanager
def typed(path: str, *, doing: str, unchanged: str) -> Iterator[None]:
    """Turn what the body raises into a PathError; what is typed already passes through."""
    try:
        yield
    except (TorchkeepError, MemoryError):
        raise
    except OSError as error:
        raise path_error(error, path, doing=doing, unchanged=unchanged) from error
    except Exception as error:  # a storage may fail in any way
        what = brief_text(f"{type(error).__name__}: {error}")
        raise PathError(f"{doing}: {what}; {unchanged}. The storage failed; see its error.", filename=path) from error


def expect_count(found: object, least: int, most: int, path: str, what: str, *, unchanged: str) -> None:
    """Refuse a number of bytes from a storage that cannot be one."""
    if type(found) is not int or not least <= found <= most:
        raise PathError(
            f"the storage of {path!r} broke its contract: {what} gave {brief(found)}, and not a number from {least} "
            f"to {most}; {unchanged}. Correct the storage.",
            filename=path,
        )


def expect_memory(found: object, nbytes: int, path: str, what: str, *, unchanged: str) -> memoryview:
    """The bytes of a mapped object, flat; refused from a storage that gave something else, or not all of them."""
    try:
        view = as_bytes(found)  # type: ignore[arg-type]
    except TypeError:  # no buffer at all, or none that is flat
        view = None
    if view is None or view.readonly or not view.c_contiguous or view.nbytes != nbytes:
        raise PathError(
            f"the storage of {path!r} broke its contract: {what} gave {brief(found)}, and not writable memory of "
            f"{nbytes} bytes; {unchanged}. Correct the storage.",
            filename=path,
        )
    return view


def expect_methods(found: object, names: Iterable[str], path: str, what: str, *, unchanged: str) -> None:
    """Refuse an object from a storage that cannot do what is asked of it."""
    if lacking := [name for name in names if not callable(getattr(found, name, None))]:
        raise PathError(
            f"the storage of {path!r} broke its contract: {what} gave {brief(found)}, which has no "
            f"{' and no '.join(lacking)}; {unchanged}. Correct the storage.",
            filename=path,
        )


def expect_regular(mode: int, path: str, *, unchanged: str) -> None:
    """Refuse anything but a regular file, and say what it is."""
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "not a regular file")
        raise not_a_file(path, kind, unchanged=unchanged)


def not_a_file(path: str, kind: str, *, unchanged: str) -> NotAFileError:
    return NotAFileError(
        f"{path!r} is {kind}; {unchanged}. Name a regular file.",
        errno=errno.EISDIR if kind == _KINDS[stat.S_IFDIR] else errno.EINVAL,
        filename=path,
    )


def path_text(path: str | os.PathLike[str], *, unchanged: str) -> str:
    """The path as text. What no system call takes, and would raise a bare ValueError much later, is refused here."""
    text = os.fspath(path)
    if not isinstance(text, str):
        raise TypeError(f"a path must be str or os.PathLike[str], not {type(path).__name__}")
    if "\0" in text:
        raise PathError(f"{text!r} holds a NUL; {unchanged}. Check the path.", errno=errno.EINVAL, filename=text)
    try:
        os.fsencode(text)
    except UnicodeEncodeError as error:
        unwritable = OSError(errno.EILSEQ, f"{error.object[error.start : error.end]!r} is no character of a name here")
        raise path_error(unwritable, text, doing=f"{text!r} names no file", unchanged=unchanged) from error
    return text
