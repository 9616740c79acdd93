"""An OSError, told as one of torchkeep's errors: what, where, what was left unchanged, the next step."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
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

from ..errors import AccessError, ExistsError, FullError, NotAFileError, NotFoundError, PathError

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


def path_error(error: OSError, path: str, *, doing: str, unchanged: str) -> PathError:
    """Tell `error` in full: `doing` is what failed, `unchanged` what was left as it was."""
    kind, advice = _ERRORS.get(error.errno or 0, (PathError, "Check the disk and the file system."))
    reason = error.strerror or str(error) or type(error).__name__
    return kind(f"{doing}: {reason}; {unchanged}. {advice}", errno=error.errno, filename=path)


@contextmanager
def typed(path: str, *, doing: str, unchanged: str) -> Iterator[None]:
    """Turn an OSError of the body into a PathError; one that is typed already passes through."""
    try:
        yield
    except PathError:
        raise
    except OSError as error:
        raise path_error(error, path, doing=doing, unchanged=unchanged) from error


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
