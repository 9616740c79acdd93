"""An OSError, told as one of torchkeep's errors: what, where, what was left unchanged, the next step."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from errno import (
    EACCES,
    EDQUOT,
    EEXIST,
    EFBIG,
    EINVAL,
    EISDIR,
    ELOOP,
    ENAMETOOLONG,
    ENOENT,
    ENOSPC,
    ENOTDIR,
    ENXIO,
    EPERM,
    EROFS,
)

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

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}

_ERRORS: dict[int, tuple[type[PathError], str]] = {
    ENOENT: (NotFoundError, "Check the path; relative paths start at the working directory."),
    EACCES: (AccessError, "Check who owns it, and its permissions and those of its directory."),
    EPERM: (AccessError, "Check its attributes and its owner."),
    EROFS: (AccessError, "The file system is read-only; choose another."),
    EEXIST: (ExistsError, "Choose another name, or pass overwrite=True."),
    EISDIR: (NotAFileError, "Name a file."),
    ENOTDIR: (PathError, "A part of the path is a file; check the path."),
    ENXIO: (NotAFileError, "Name a regular file."),
    ENOSPC: (FullError, "Free some space, or choose another file system."),
    EDQUOT: (FullError, "Free some of the quota, or choose another file system."),
    EFBIG: (FullError, "Raise the limit on file size, or choose another file system."),
    ELOOP: (PathError, "Its symbolic links lead in a circle; repair them."),
    ENAMETOOLONG: (PathError, "Choose a shorter name."),
    EINVAL: (PathError, "Check the path."),
}


_BY_CLASS: tuple[tuple[type[OSError], int], ...] = (
    (FileNotFoundError, ENOENT),
    (FileExistsError, EEXIST),
    (PermissionError, EACCES),
    (IsADirectoryError, EISDIR),
    (NotADirectoryError, ENOTDIR),
)
"""What a storage means that raises ``FileNotFoundError(name)``, without a number."""


def path_error(error: OSError, path: str, *, doing: str, unchanged: str) -> PathError:
    """Tell `error` in full: `doing` is what failed, `unchanged` what was left as it was."""
    number = error.errno or next((number for cls, number in _BY_CLASS if isinstance(error, cls)), None)
    kind, advice = _ERRORS.get(number or 0, (PathError, "Check the disk and the file system."))
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
        errno=EISDIR if kind == _KINDS[stat.S_IFDIR] else EINVAL,
        filename=path,
    )


def path_text(path: str | os.PathLike[str], *, unchanged: str) -> str:
    """The path as text. A NUL, which would raise a bare ValueError much later, is refused here."""
    text = os.fspath(path)
    if not isinstance(text, str):
        raise TypeError(f"a path must be str or os.PathLike[str], not {type(path).__name__}")
    if "\0" in text:
        raise PathError(f"{text!r} holds a NUL; {unchanged}. Check the path.", errno=EINVAL, filename=text)
    return text
