"""Which storage a name belongs to: the one that was registered for its scheme, or else the local files.

The registry is the process's; nothing in a file can add to it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import NotFoundError
from .local import LOCAL
from .protocols import Storage

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+")
_NAME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_FOLDED = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/(?!/)")

_storages: dict[str, Storage] = {}


def register_storage(scheme: str, storage: Storage) -> None:
    """Let `save`, `load`, `load_into`, `inspect` and `diff` take names of the form ``scheme://...``.

    Args:
        scheme: what stands before ``://``, in lower case and of two characters or more, such as ``"s3"``.
            Registering it again replaces the storage.
        storage: where such names lie; see `torchkeep.plugins.Storage` for what it has to do.

    Raises:
        TypeError: `storage` is a class rather than an object, or lacks `open` or `stage`.
        ValueError: `scheme` cannot be one.

    Examples:
        `torchkeep.testing.MemoryStorage` is a whole storage in a few lines, to read and to use in tests:

        >>> from torchkeep.testing import MemoryStorage
        >>> torchkeep.register_storage("memory", MemoryStorage())
        >>> report = torchkeep.save({"epoch": 3}, "memory://runs/7")
        >>> torchkeep.load("memory://runs/7")
        {'epoch': 3}
    """
    if not _SCHEME.fullmatch(scheme):
        raise ValueError(f"{scheme!r} is no scheme; it is two or more of a-z, 0-9, '+', '.', '-', such as 's3'")
    if isinstance(storage, type):
        raise TypeError(f"register_storage takes an object, such as {storage.__name__}(...), not a class")
    if lacking := [name for name in ("open", "stage") if not callable(getattr(storage, name, None))]:
        raise TypeError(f"a storage has open and stage; {type(storage).__name__} lacks {' and '.join(lacking)}")
    _storages[scheme] = storage


@contextmanager
def registered_meanwhile(scheme: str, storage: Storage) -> Iterator[None]:
    """Register a storage for as long as the body runs."""
    before = _storages.get(scheme)
    register_storage(scheme, storage)
    try:
        yield
    finally:
        if before is None:
            del _storages[scheme]
        else:
            _storages[scheme] = before


@contextmanager
def storage_of(path: str | os.PathLike[str], text: str) -> Iterator[Storage]:
    """The storage of a path, whose text is `text`; what the body does not find is told with its scheme.

    Only a string has a scheme: a `Path` is a local path whatever it looks like, and has lost a slash besides.
    """
    found = _NAME.match(text) if isinstance(path, str) else None
    storage = _storages.get(found[1].lower()) if found else None
    try:
        yield LOCAL if storage is None else storage
    except NotFoundError as error:
        if storage is None:
            error.message += _hint(text, found)
        raise


def _hint(text: str, found: re.Match[str] | None) -> str:
    """What is missing where a local path looks like a name of another storage."""
    if found:
        scheme = found[1].lower()
        return (
            f" It was looked for as a local file, since no storage is registered for {scheme}:// names; "
            f"torchkeep.register_storage({scheme!r}, ...) adds one."
        )
    if (folded := _FOLDED.match(text)) and folded[1].lower() in _storages:
        return f" A pathlib.Path is a local path; write a name of a storage as a string: '{folded[1]}://...'."
    return ""
