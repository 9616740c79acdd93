"""Damaged files: each is refused with a typed error, or is the very same object.

Ten small files: every truncation, and every single-bit flip, the spaces that pad a header to 4 KiB included. The
files lie in memory where the system has a place for that.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

import torchkeep
from torchkeep import containers, storage
from torchkeep.document import encode
from torchkeep.errors import FormatError, LimitError, OtherFormatError


def _views() -> Any:
    whole = torch.arange(6, dtype=torch.uint8)
    return [whole, whole[1:4], whole.view(2, 3).t(), whole[0].expand(3)]


def _checkpoint() -> Any:
    model = torch.nn.Linear(1, 1)
    adam = torch.optim.Adam(model.parameters())
    model(torch.ones(1)).sum().backward()
    adam.step()
    return {"model": model, "adam": adam, "epoch": 3}


OBJECTS: dict[str, Callable[[], Any]] = {
    "state dict": lambda: OrderedDict(weight=torch.ones(2), bias=torch.zeros(1, dtype=torch.int8)),
    "whole model": lambda: torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.ReLU()),
    "checkpoint": _checkpoint,
    "views": _views,
    "dtypes": lambda: [
        torch.ones(2, dtype=d) for d in (torch.bool, torch.bfloat16, torch.complex64, torch.float8_e5m2)
    ],
    "scalars": lambda: [None, True, -1, 2**70, 1.5, float("nan"), 1j, b"b", "s", "\ud800", (1,), {2}, {3: 4}],
    "empty dict": dict,
    "long strings": lambda: ["s" * 16_385, torch.ones(1)],
    "not contiguous": lambda: [torch.arange(8, dtype=torch.uint8).view(2, 4).t(), torch.zeros(3, 0)],
    "unicode names": lambda: {"größe": torch.ones(1), "層.重み": torch.zeros(1), "\x1b\u202e": torch.ones(0)},
}


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        yield Path(name) / "file"


@pytest.fixture(params=list(OBJECTS))
def saved(request: pytest.FixtureRequest, place: Path) -> bytes:
    torch.manual_seed(0)
    torchkeep.save(OBJECTS[request.param](), place, durable=False)
    return place.read_bytes()


class _Bytes:
    """A file that is rewritten a thousand times a second, read as `load` reads it, all tensors included."""

    def __init__(self, place: Path, data: bytes) -> None:
        self.place = place
        place.write_bytes(data)

    def read(self) -> tuple[str, list[bytes]]:
        """The Document's text and every tensor's bytes, each digest checked."""
        with storage.open_source(self.place) as source:
            contents = containers.read(source)
            placement = contents.placement
            names = contents.document.tensors.names
            buffers = [bytearray(span.nbytes) for span in placement.spans]
            digests = placement.digests or [None] * len(buffers)
            rows = zip(placement.spans, buffers, digests, names, strict=True)
            source.read_into([storage.Read(*row) for row in rows])
            return contents.kind + encode(contents.document), list(map(bytes, buffers))


def _refused_or(same: tuple[str, list[bytes]], file: _Bytes, what: str) -> bool:
    """Whether a damaged file was refused; anything but a FormatError, or another object, fails."""
    try:
        found = file.read()
    except FormatError as error:
        assert error.message, what  # noqa: PT017
        return True
    assert found == same, f"{what}: read as another object"
    return False


def test_every_bit(saved: bytes, place: Path) -> None:
    file = _Bytes(place, saved)
    same = file.read()
    damaged = bytearray(saved)
    with place.open("r+b", buffering=0) as handle:
        for bit in range(8 * len(saved)):
            at = bit // 8
            handle.seek(at)
            handle.write(bytes([damaged[at] ^ 1 << bit % 8]))
            assert _refused_or(same, file, f"bit {bit % 8} of byte {at}"), f"bit {bit % 8} of byte {at} went unnoticed"
            handle.seek(at)
            handle.write(saved[at : at + 1])
    assert file.read() == same


def test_every_length(saved: bytes, place: Path) -> None:
    file = _Bytes(place, saved)
    for length in reversed(range(len(saved))):
        os.truncate(place, length)
        with pytest.raises(FormatError):
            file.read()


def test_what_load_says(saved: bytes, place: Path) -> None:
    """The verbs themselves, for a sample: typed, the path in it, and nothing loaded."""
    rng = random.Random(1)
    target = torch.nn.Linear(1, 1)
    before = [parameter.clone() for parameter in target.parameters()]
    for _ in range(40):
        data = bytearray(saved)
        if rng.random() < 0.5:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        else:
            del data[rng.randrange(len(data)) :]
        place.write_bytes(data)
        for verb in (torchkeep.load, lambda path: torchkeep.load_into(target, path)):
            with pytest.raises(torchkeep.TorchkeepError) as caught:
                verb(place)
            assert str(place) in caught.value.message
    assert all(torch.equal(a, b) for a, b in zip(before, target.parameters(), strict=True))


@pytest.mark.parametrize("count", [2, 3, 17])
def test_swapped_blocks(saved: bytes, place: Path, count: int) -> None:
    """Blocks of zeros, repeated and exchanged blocks: what disks and downloads do."""
    file = _Bytes(place, saved)
    same = file.read()
    size = max(1, len(saved) // count)
    blocks = [saved[at : at + size] for at in range(0, len(saved), size)]
    for i, block in enumerate(blocks):
        for other in (b"\0" * len(block), blocks[i - 1], block[::-1]):
            place.write_bytes(b"".join([*blocks[:i], other, *blocks[i + 1 :]]))
            _refused_or(same, file, f"block {i} of {count}")


@pytest.mark.parametrize("extra", [b"\0", b" ", b"x" * 5000])
def test_something_after_the_end(saved: bytes, place: Path, extra: bytes) -> None:
    place.write_bytes(saved + extra)
    with pytest.raises(FormatError):
        torchkeep.load(place)


# --- files that change while they are read ----------------------------------------------------------


@contextmanager
def _while_reading(change: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let `change` happen between the header and the tensors."""
    read = containers.read

    def then(source: Any, **limits: Any) -> Any:
        contents = read(source, **limits)
        change()
        return contents

    with monkeypatch.context() as patch:
        patch.setattr(containers, "read", then)
        yield


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    torchkeep.save({"weight": torch.arange(1e5), "bias": torch.ones(3)}, path)
    return path


def test_truncated_meanwhile(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with _while_reading(lambda: os.truncate(model, 5000), monkeypatch), pytest.raises(FormatError, match="truncated"):
        torchkeep.load(model)


def test_overwritten_meanwhile(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def change() -> None:
        with model.open("r+b") as file:
            file.seek(20_000)
            file.write(b"other")

    with _while_reading(change, monkeypatch), pytest.raises(torchkeep.errors.DigestError, match="weight"):
        torchkeep.load(model)


def test_replaced_meanwhile(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torchkeep.save({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with _while_reading(lambda: os.replace(tmp_path / "other.safetensors", model), monkeypatch):
        assert torch.equal(torchkeep.load(model)["weight"], torch.arange(1e5))
    assert torchkeep.load(model)["weight"].shape == (1,)


def test_grown_meanwhile(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def change() -> None:
        with model.open("ab") as file:
            file.write(b"x" * 10_000)

    with _while_reading(change, monkeypatch):
        assert torch.equal(torchkeep.load(model)["weight"], torch.arange(1e5))
    with pytest.raises(FormatError):
        torchkeep.load(model)


def test_target_of_a_file_that_shrinks(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = torch.nn.Module()
    target.weight, target.bias = torch.nn.Parameter(torch.zeros(100_000)), torch.nn.Parameter(torch.zeros(3))
    with _while_reading(lambda: os.truncate(model, 5000), monkeypatch):
        with pytest.raises(torchkeep.errors.PartialLoadError) as caught:
            torchkeep.load_into(target, model)
        assert set(caught.value.overwritten) <= {"weight", "bias"}
    torchkeep.save({"weight": torch.arange(1e5), "bias": torch.ones(3)}, model)
    target.weight.data.zero_()
    with _while_reading(lambda: os.truncate(model, 5000), monkeypatch), pytest.raises(FormatError):
        torchkeep.load_into(target, model, verify="first")
    assert not target.weight.any()


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"\0" * 8, b"\0" * 5000, b"{" * 5000, b"\xff" * 5000, b"PK\x03\x04", b"\x80\x02."]
)
def test_what_is_no_file_of_ours(place: Path, data: bytes) -> None:
    place.write_bytes(data)
    with pytest.raises((OtherFormatError, LimitError, FormatError)):
        torchkeep.load(place)
