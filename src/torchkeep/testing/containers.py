"""The suite for a file format."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from .. import api
from ..containers import HEAD_NBYTES, Container
from ..containers import registered_meanwhile as container_meanwhile
from ..errors import FormatError, TorchkeepError
from ..storage import registered_meanwhile as storage_meanwhile
from .memory import MemoryStorage
from .same import expect, fail, same

_NAME = "torchkeep-suite://file"
_OWN = {"torchkeep": ("a torchkeep file",), "safetensors": ("a torchkeep file", "a safetensors file")}
"""torchkeep's own containers, and what they rightly take: every torchkeep file is a safetensors file."""

_OTHERS: dict[str, bytes] = {
    "a zip archive": b"PK\x03\x04\x14\x00\x00\x00\x08\x00".ljust(HEAD_NBYTES, b"\0"),
    "an HDF5 file": b"\x89HDF\r\n\x1a\n".ljust(HEAD_NBYTES, b"\0"),
    "a numpy file": b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }".ljust(128)
    + b"abcd",
    "a GGUF file": b"GGUF\x03\x00\x00\x00".ljust(HEAD_NBYTES, b"\0"),
    "a pickle": b"\x80\x04\x95\x0f\x00\x00\x00\x00\x00\x00\x00",
    "a gzip archive": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
    "a picture": b"\x89PNG\r\n\x1a\n".ljust(64, b"\0"),
    "a JSON text": b'{"weight": [1, 2, 3]}',
    "a web page": b"<!DOCTYPE html><html></html>",
    "a script": b"#!/bin/sh\necho\n",
    "zeros": bytes(HEAD_NBYTES),
    "one byte": b"\x93",
}


class ContainerSuite:
    """What must hold for a container of ``torchkeep.register_container``.

    Override `make_container`, `make_sample` and `expected`. The sample is small (some KiB), and has what makes the
    format hard: several tensors, an empty one, one without dimensions, whatever there is.

    Attributes:
        detects_damage: True for a format whose digests cover every byte: then a changed byte is always an error
            or changes nothing. Without digests a changed weight is another weight, and nobody can tell.
        flips: how many single bits are flipped, one at a time.
    """

    detects_damage = False
    flips = 2000

    # --- what a subclass says ---

    def make_container(self) -> Container:
        """A new container.

        Returns:
            It.
        """
        raise NotImplementedError("a subclass of ContainerSuite makes the container: make_container")

    def make_sample(self) -> bytes:
        """A whole file of the format, the same in each call.

        Returns:
            Its bytes.
        """
        raise NotImplementedError("a subclass of ContainerSuite makes a file of the format: make_sample")

    def expected(self) -> Any:
        """What `torchkeep.load` gives of the sample.

        Returns:
            The object, such as a dict from names to tensors.
        """
        raise NotImplementedError("a subclass of ContainerSuite says what the sample holds: expected")

    def equal(self, found: Any, expected: Any) -> bool:
        """Whether what was loaded is what was expected; to the bit by default (`torchkeep.testing.same`).

        Args:
            found: what was loaded.
            expected: what `expected` gave.

        Returns:
            Whether it is.
        """
        return same(found, expected)

    # --- the rules ---

    def test_probe_takes_its_own(self) -> None:
        """The first 512 bytes are enough, and the answer is True itself."""
        found: object = self.make_container().probe(self.make_sample()[:HEAD_NBYTES])
        expect(found is True, f"probe gives {found!r} for the sample, not True")

    def test_probe_refuses_others(self) -> None:
        """Other formats, and files too short to be anything."""
        container, sample = self.make_container(), self.make_sample()
        others = {"a torchkeep file": _torchkeep_file(), "a safetensors file": _safetensors_file(), **_OTHERS}
        for what, file in others.items():
            if file[:4] == sample[:4] or what in _OWN.get(container.kind, ()):
                continue
            found: object = container.probe(file[:HEAD_NBYTES])
            expect(found is False, f"probe gives {found!r} for {what}, not False")

    def test_probe_never_raises(self) -> None:
        """However short or strange the head is, the answer is True or False."""
        container, head = self.make_container(), self.make_sample()[:HEAD_NBYTES]
        noise = random.Random(0)
        heads = [head[:length] for length in range(1, len(head) + 1)]
        heads += [noise.randbytes(length) for length in (1, 2, 8, 9, 100, HEAD_NBYTES)]
        for each in heads:
            try:
                found: object = container.probe(each)
            except Exception as error:
                fail(f"probe raises {type(error).__name__} for {each[:16]!r}, {len(each)} bytes")
            expect(found is True or found is False, f"probe gives {found!r} for {each[:16]!r}, neither True nor False")

    def test_load(self) -> None:
        """The sample loads, and is what was expected."""
        found = self._load(self.make_sample())
        expect(self.equal(found, self.expected()), f"load gives {found!r}, not {self.expected()!r}")

    def test_the_name_means_nothing(self) -> None:
        """Whatever a file is called, it is what its bytes are; and they come from the source, not from its path."""
        for name in ("x", "x.pt", "x.safetensors", "x.npz", "../x y%20z"):
            try:
                found = self._load(self.make_sample(), name=f"torchkeep-suite://{name}")
            except FormatError as error:
                fail(f"under the name {name!r}: {error.text}")
            expect(self.equal(found, self.expected()), f"under the name {name!r}, load gives {found!r}")

    def test_kind(self) -> None:
        """Reports call the file by the container's kind."""
        container = self.make_container()
        with self._registered(self.make_sample(), container):
            kind = api.inspect(_NAME).kind
        expect(kind == container.kind, f"inspect calls the file {kind!r}, and the container {container.kind!r}")

    def test_inspect_needs_no_torch(self) -> None:
        """`inspect` works where there is no torch."""
        with self._registered(self.make_sample()), _without_torch():
            try:
                report = api.inspect(_NAME)
            except FormatError as error:
                fail(f"inspect fails without torch: {error.text}")
        expect(report.tensors or not self._tensors(), "inspect tells of no tensor")

    def test_reading_is_repeatable(self) -> None:
        """Two looks at one file see the same."""
        first, second = self._told(), self._told()
        expect(first == second, "two calls of inspect tell different things of one file")

    def test_inspect_reads_headers_only(self) -> None:
        """Of the tensors' bytes, `inspect` reads no more than stand among a file's first 512."""
        sample = self.make_sample()
        storage = _Watched(sample)
        with self._registered(sample, storage=storage):
            api.inspect(_NAME)
            headers = storage.reads
            storage.reads = []
            api.load(_NAME, mode="saved")
            loaded = storage.reads
        again = loaded[len(headers) :]  # load reads the same headers first, and then the tensors
        bytes_of_tensors = {i for start, end in again for i in range(max(start, HEAD_NBYTES), end)}
        early = {i for start, end in headers for i in range(start, end)} & bytes_of_tensors
        expect(not early, f"inspect reads {len(early)} bytes of tensors, from byte {min(early, default=0)} on")

    def test_every_truncation(self) -> None:
        """Cut short anywhere, a file is a typed error; or what was cut off meant nothing."""
        sample = self.make_sample()
        for length in _lengths(len(sample)):
            self._expect_sound(sample[:length], f"cut to {length} of {len(sample)} bytes", whole=True)

    def test_bytes_added(self) -> None:
        """What is added at the end is a typed error or means nothing."""
        for more in (b"\0", b"x" * 9, self.make_sample()):
            self._expect_sound(self.make_sample() + more, f"with {len(more)} bytes added", whole=True)

    def test_flipped_bits(self) -> None:
        """A flipped bit is a typed error, or another weight where no digest can tell; and never anything else."""
        sample = self.make_sample()
        noise = random.Random(1)
        head = min(len(sample), HEAD_NBYTES)
        for i in range(self.flips):
            at = noise.randrange(head if i % 2 else len(sample)) if sample else 0
            file = bytearray(sample)
            file[at] ^= 1 << noise.randrange(8)
            self._expect_sound(bytes(file), f"with a bit of byte {at} flipped", whole=self.detects_damage)

    def test_torchkeep_files_stay_torchkeeps(self) -> None:
        """With the container registered, torchkeep and safetensors files are read as ever."""
        for kind, file in (("torchkeep", _torchkeep_file()), ("safetensors", _safetensors_file())):
            with self._registered(file):
                try:
                    found, loaded = api.inspect(_NAME).kind, api.load(_NAME)
                except FormatError as error:
                    fail(f"a {kind} file is refused: {error.text}")
            expect(found == kind, f"a {kind} file is taken for {found!r}")
            expect(same(loaded, {"weight": torch.ones(2)}), f"a {kind} file loads as {loaded!r}")

    def _expect_sound(self, file: bytes, what: str, *, whole: bool) -> None:
        """Load a changed file. `whole`: what loads without an error has to be the object of the sample."""
        try:
            found = self._load(file)
        except TorchkeepError as error:
            expect("broke its contract" not in error.message, f"{what}, {error.message}")
            return
        except Exception as error:
            fail(f"{what}, a file ends in {type(error).__name__}: {error}, which is none of torchkeep's errors")
        if whole:
            expect(self.equal(found, self.expected()), f"{what}, a file loads without an error as {found!r}")

    def _load(self, file: bytes, *, name: str = _NAME) -> Any:
        with self._registered(file, name=name):
            return api.load(name, mode="saved")

    def _told(self) -> dict[str, Any]:
        with self._registered(self.make_sample()):
            return api.inspect(_NAME).to_dict()

    def _tensors(self) -> list[Any]:
        expected = self.expected()
        values = expected.values() if isinstance(expected, dict) else [expected]
        return [value for value in values if isinstance(value, torch.Tensor)]

    @contextmanager
    def _registered(
        self,
        file: bytes,
        container: Container | None = None,
        *,
        name: str = _NAME,
        storage: MemoryStorage | None = None,
    ) -> Iterator[None]:
        """The container, and a storage that has `file`. torchkeep's own containers need no registration."""
        container = container or self.make_container()
        storage = storage or MemoryStorage()
        storage.objects[name] = file
        with ExitStack() as stack:
            stack.enter_context(storage_meanwhile("torchkeep-suite", storage))
            if container.kind not in _OWN:
                stack.enter_context(container_meanwhile(container))
            yield


class _Watched(MemoryStorage):
    """Remembers which bytes of its one object were read."""

    def __init__(self, file: bytes) -> None:
        super().__init__()
        self.reads: list[tuple[int, int]] = []
        self.file = file

    def open(self, name: str) -> Any:
        reading = super().open(name)
        fill = reading.read_into

        def read_into(buffers: Any, offset: int) -> int:
            moved = fill(buffers, offset)
            self.reads.append((offset, offset + moved))
            return moved

        reading.read_into = read_into  # type: ignore[method-assign]
        return reading


def _lengths(nbytes: int) -> list[int]:
    """Every length below `nbytes` that is short or close to it, and some between."""
    close = {*range(min(nbytes, 2048)), *range(max(0, nbytes - 256), nbytes)}
    return sorted(close | {*range(0, nbytes, max(1, nbytes // 256))})


@contextmanager
def _without_torch() -> Iterator[None]:
    """An `import torch` of the body fails."""
    kept = sys.modules["torch"]
    sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.modules["torch"] = kept


def _torchkeep_file() -> bytes:
    storage = MemoryStorage()
    with storage_meanwhile("torchkeep-suite", storage):
        api.save({"weight": torch.ones(2)}, _NAME)
    return storage.objects[_NAME]


def _safetensors_file() -> bytes:
    header = b'{"weight":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    return len(header).to_bytes(8, "little") + header + bytes.fromhex("0000803f0000803f")
