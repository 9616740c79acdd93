"""Storage where a system differs in one thing: what macOS and Windows say, made up one answer at a time."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from torchkeep.errors import AccessError, FullError, NotAFileError, PathError
from torchkeep.storage import local, open_source, stage
from torchkeep.storage.failures import codes

OLD = b"old"


def save(path: Path, data: bytes = b"new", **options: bool) -> None:
    with stage(path, nbytes=len(data), **options) as file:
        file.write([data], 0)
        file.commit()


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


def fail_with(number: int, *, winerror: int | None = None) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        error = OSError(number, os.strerror(number))
        if winerror is not None:
            error.winerror = winerror  # type: ignore[attr-defined]
        raise error

    return fail


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "a"
    path.write_bytes(OLD)
    return path


# macOS: fsync does not reach the disk


@pytest.fixture
def flushes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is flushed, and how, on a system with F_FULLFSYNC."""
    calls: list[str] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("fsync"), fsync(fd)))
    monkeypatch.setattr(local, "_FULL_FSYNC", 51)
    monkeypatch.setattr(
        local, "fcntl", SimpleNamespace(fcntl=lambda fd, command: calls.append(f"full {command} {fd >= 0}"))
    )
    return calls


def test_a_durable_save_has_the_disk_flushed(tmp_path: Path, flushes: list[str]) -> None:
    save(tmp_path / "a", durable=False)
    assert flushes == []
    save(tmp_path / "a")
    assert flushes == ["full 51 True"] * (1 + local._HAVE_DIRECTORY_FSYNC)


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.ENOTTY, errno.EINVAL])
def test_a_file_system_without_full_flushes_gets_plain_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flushes: list[str], number: int
) -> None:
    monkeypatch.setattr(local, "fcntl", SimpleNamespace(fcntl=fail_with(number)))
    save(tmp_path / "a")
    assert flushes == ["fsync"] * (1 + local._HAVE_DIRECTORY_FSYNC)


def test_a_full_flush_that_fails_is_a_failed_save(
    old: Path, monkeypatch: pytest.MonkeyPatch, flushes: list[str]
) -> None:
    """A plain flush must not be tried in its place: it might call a success what was lost."""
    monkeypatch.setattr(local, "fcntl", SimpleNamespace(fcntl=fail_with(errno.EIO)))
    with pytest.raises(PathError, match="as it was"):
        save(old)
    assert flushes == []
    assert old.read_bytes() == OLD
    assert names(old.parent) == ["a"]


# Directories that cannot be flushed


@pytest.mark.skipif(not local._HAVE_DIRECTORY_FSYNC, reason="no directory is flushed here")
@pytest.mark.parametrize(("number", "told"), [(errno.EINVAL, False), (errno.EACCES, True)])
def test_a_directory_that_cannot_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, told: bool
) -> None:
    """Where a file system has no such thing, nothing is promised; where it refuses, the promise is not kept."""
    real = os.open

    def refuse(path: Any, *more: Any) -> int:
        if os.path.isdir(path):
            fail_with(number)()
        return real(path, *more)

    monkeypatch.setattr(os, "open", refuse)
    if told:
        with pytest.raises(AccessError, match="in place and whole, but may not survive a power cut"):
            save(tmp_path / "a")
    else:
        save(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert names(tmp_path) == ["a"]


# Windows: what somebody has open stays in its place


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited


@pytest.mark.parametrize("winerror", [5, 32, 1224])
@pytest.mark.parametrize("overwrite", [True, False])
def test_a_file_that_is_open_or_mapped_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: list[float], winerror: int, overwrite: bool
) -> None:
    path = tmp_path / "a"
    if overwrite:
        path.write_bytes(OLD)
    monkeypatch.setattr(local, "_HAVE_LINK", False)
    monkeypatch.setattr(os, "replace", fail_with(errno.EACCES if winerror < 1224 else errno.EINVAL, winerror=winerror))
    with pytest.raises(AccessError, match=r"nothing was saved.*as it was.*open, or its tensors are mapped") as caught:
        save(path, overwrite=overwrite)
    assert isinstance(caught.value, PermissionError)
    assert caught.value.filename == str(path.resolve())
    assert 0.5 < sum(waits) < 1
    assert names(tmp_path) == ["a"] * overwrite
    assert not overwrite or path.read_bytes() == OLD


def test_who_holds_it_for_a_moment_is_waited_for(
    old: Path, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    real, calls = os.replace, []

    def busy(source: str, target: str) -> None:
        calls.append(source)
        if len(calls) < 3:
            fail_with(errno.EACCES, winerror=32)()
        real(source, target)

    monkeypatch.setattr(os, "replace", busy)
    save(old)
    assert len(waits) == 2
    assert old.read_bytes() == b"new"
    assert names(old.parent) == ["a"]


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.EACCES, AccessError), (errno.EPERM, AccessError), (errno.ENOSPC, FullError)]
)
def test_nobody_waits_where_waiting_does_not_help(
    old: Path, monkeypatch: pytest.MonkeyPatch, waits: list[float], number: int, kind: type[PathError]
) -> None:
    monkeypatch.setattr(os, "replace", fail_with(number))
    with pytest.raises(kind, match="as it was") as caught:
        save(old)
    assert "mapped" not in str(caught.value)
    assert waits == []
    assert old.read_bytes() == OLD
    assert names(old.parent) == ["a"]


def test_a_read_only_temporary_file_is_removed(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read-only since the file that it should replace is; Windows removes it only once it is not."""
    unlink = os.unlink

    def refuse(path: str) -> None:
        if not os.stat(path).st_mode & 0o200:
            fail_with(errno.EACCES)()
        unlink(path)

    old.chmod(0o444)
    monkeypatch.setattr(os, "unlink", refuse)
    monkeypatch.setattr(os, "replace", fail_with(errno.EACCES))
    with pytest.raises(AccessError):
        save(old)
    assert names(old.parent) == ["a"]


def test_a_directory_that_cannot_be_opened_as_a_file_is_called_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "open", fail_with(errno.EACCES))
    with pytest.raises(NotAFileError, match="is a directory"):
        open_source(tmp_path)


# Numbers of errors


def test_errors_that_a_system_does_not_have() -> None:
    assert codes("ENOENT", "ENOSUCHNAME") == {errno.ENOENT}
    assert codes("ENOSUCHNAME") == frozenset()


@pytest.mark.parametrize("refused", [errno.EPERM, errno.EACCES, errno.EOPNOTSUPP])
def test_a_file_system_without_links_claims_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: int
) -> None:
    monkeypatch.setattr(os, "link", fail_with(refused), raising=False)
    save(tmp_path / "a", overwrite=False)
    assert (tmp_path / "a").read_bytes() == b"new"
    assert names(tmp_path) == ["a"]
