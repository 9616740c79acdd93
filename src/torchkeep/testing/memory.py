"""A storage in memory: small enough to read as an example, whole enough to pass `StorageSuite`."""

from __future__ import annotations

import threading
from collections.abc import Sequence


class MemoryStorage:
    """Objects of bytes in a dict.

    Attributes:
        objects: every object by its name.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self._commits = threading.Lock()

    def open(self, name: str) -> MemoryReading:
        """Open an object; as `torchkeep.plugins.Storage` has it.

        Args:
            name: its whole name.

        Returns:
            It, open for reading.

        Raises:
            FileNotFoundError: there is none.
        """
        try:
            return MemoryReading(self.objects[name])
        except KeyError:
            raise FileNotFoundError(f"there is no {name!r}") from None

    def stage(self, name: str, *, nbytes: int, durable: bool, overwrite: bool) -> MemoryWriting:
        """Begin an object; as `torchkeep.plugins.Storage` has it.

        Args:
            name: its whole name.
            nbytes: its size.
            durable: no matter; memory forgets.
            overwrite: whether one that has the name is replaced.

        Returns:
            It, open for writing.

        Raises:
            FileExistsError: somebody has the name, and `overwrite` is False.
        """
        if not overwrite and name in self.objects:
            raise FileExistsError(f"there is a {name!r}")
        return MemoryWriting(self, name, nbytes, overwrite=overwrite)

    def put(self, name: str, data: bytes, *, overwrite: bool = True) -> None:
        """Give an object its name.

        Args:
            name: the name.
            data: the object.
            overwrite: whether one that has the name is replaced.

        Raises:
            FileExistsError: somebody has the name, and `overwrite` is False.
        """
        with self._commits:
            if not overwrite and name in self.objects:
                raise FileExistsError(f"there is a {name!r}")
            self.objects[name] = data


class MemoryReading:
    """One object of bytes."""

    def __init__(self, data: bytes) -> None:
        self.nbytes = len(data)
        self._data = data

    def read_into(self, buffers: Sequence[memoryview], offset: int) -> int:
        """Fill buffers; as `torchkeep.plugins.Reading` has it."""
        start = offset
        for buffer in buffers:
            piece = self._data[offset : offset + buffer.nbytes]
            buffer[: len(piece)] = piece
            offset += len(piece)
        return offset - start

    def close(self) -> None:
        """Let go of it."""


class MemoryWriting:
    """One object on its way."""

    def __init__(self, storage: MemoryStorage, name: str, nbytes: int, *, overwrite: bool) -> None:
        self._storage = storage
        self._name = name
        self._data = bytearray(nbytes)
        self._overwrite = overwrite

    def write(self, buffers: Sequence[memoryview], offset: int) -> int:
        """Take buffers; as `torchkeep.plugins.Writing` has it."""
        start = offset
        for buffer in buffers:
            self._data[offset : offset + buffer.nbytes] = buffer
            offset += buffer.nbytes
        return offset - start

    def commit(self) -> None:
        """Give it its name."""
        self._storage.put(self._name, bytes(self._data), overwrite=self._overwrite)

    def discard(self) -> None:
        """Drop it."""
