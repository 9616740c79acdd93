"""Storages through the suite for them: local files on both paths, memory, fsspec, members of a zip archive."""

from __future__ import annotations

import io
import os
import threading
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import fsspec
import pytest

from torchkeep.storage.local import LocalStorage
from torchkeep.testing import MemoryStorage, StorageSuite


@pytest.mark.usefixtures("each_path")
class TestLocal(StorageSuite):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def make_storage(self) -> LocalStorage:
        return LocalStorage()

    def make_name(self) -> str:
        return str(self.folder / f"object-{next(self._count)}")

    def names(self, storage: Any) -> Iterable[str]:
        return os.listdir(self.folder)


class TestMemory(StorageSuite):
    scheme = "memory"

    def make_storage(self) -> MemoryStorage:
        return MemoryStorage()

    def names(self, storage: Any) -> Iterable[str]:
        return list(storage.objects)


class _Spooled:
    """An object that is collected in memory until somebody puts it where it belongs."""

    def __init__(self, nbytes: int) -> None:
        self._data = bytearray(nbytes)

    def write(self, buffers: Sequence[memoryview], offset: int) -> int:
        start = offset
        for buffer in buffers:
            self._data[offset : offset + len(buffer)] = buffer
            offset += len(buffer)
        return offset - start

    def discard(self) -> None:
        pass


class _File:
    """A file of Python's, read under a lock, since it has one position."""

    def __init__(self, file: Any, nbytes: int) -> None:
        self.nbytes = nbytes
        self._file = file
        self._turn = threading.Lock()

    def read_into(self, buffers: Sequence[memoryview], offset: int) -> int:
        moved = 0
        with self._turn:
            self._file.seek(offset)
            for buffer in buffers:
                data = self._file.read(len(buffer))
                buffer[: len(data)] = data
                moved += len(data)
        return moved

    def close(self) -> None:
        self._file.close()


class Fsspec:
    """Whatever fsspec reaches: the scheme chooses the file system."""

    def open(self, name: str) -> _File:
        filesystem, path = fsspec.core.url_to_fs(name)
        return _File(io.BytesIO(filesystem.cat_file(path)), filesystem.size(path))

    def stage(self, name: str, *, nbytes: int, durable: bool, overwrite: bool) -> Any:
        filesystem, path = fsspec.core.url_to_fs(name)

        class Writing(_Spooled):
            def commit(self) -> None:
                if not overwrite and filesystem.exists(path):
                    raise FileExistsError(name)
                filesystem.pipe_file(path, bytes(self._data))

        return Writing(nbytes)


class TestFsspec(StorageSuite):
    scheme = "memory"

    @pytest.fixture(autouse=True)
    def _empty(self) -> Iterable[None]:
        yield
        fsspec.filesystem("memory").store.clear()

    def make_storage(self) -> Fsspec:
        return Fsspec()

    def names(self, storage: Any) -> Iterable[str]:
        return list(fsspec.filesystem("memory").store)


class ZipMembers:
    """Members of one zip archive, which is written anew at each commit."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turn = threading.Lock()
        zipfile.ZipFile(path, "w").close()

    def open(self, name: str) -> _File:
        with zipfile.ZipFile(self._path) as archive:
            try:
                info = archive.getinfo(self._member(name))
            except KeyError:
                raise FileNotFoundError(name) from None
            return _File(io.BytesIO(archive.read(info)), info.file_size)

    def stage(self, name: str, *, nbytes: int, durable: bool, overwrite: bool) -> Any:
        storage, member = self, self._member(name)

        class Writing(_Spooled):
            def commit(self) -> None:
                with storage._turn:
                    with zipfile.ZipFile(storage._path) as archive:
                        members = {each: archive.read(each) for each in archive.namelist()}
                    if not overwrite and member in members:
                        raise FileExistsError(name)
                    members[member] = bytes(self._data)
                    with zipfile.ZipFile(storage._path, "w") as archive:
                        for each, data in members.items():
                            archive.writestr(each, data)

        return Writing(nbytes)

    @staticmethod
    def _member(name: str) -> str:
        return name.partition("://")[2]

    def listed(self) -> list[str]:
        with zipfile.ZipFile(self._path) as archive:
            return archive.namelist()


class TestZipMembers(StorageSuite):
    scheme = "zip"

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def make_storage(self) -> ZipMembers:
        return ZipMembers(self.folder / "archive.zip")

    def names(self, storage: Any) -> Iterable[str]:
        return list(storage.listed())
