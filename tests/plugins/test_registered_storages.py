"""Names of registered storages: where they are accepted, and what a storage that breaks its contract leads to."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import torchkeep
from torchkeep.errors import (
    AccessError,
    ExistsError,
    FormatError,
    NotFoundError,
    PartialLoadError,
    PathError,
    TorchkeepWarning,
)
from torchkeep.storage import registry
from torchkeep.testing import MemoryStorage

NAME = "mem://nets/a"


@pytest.fixture(autouse=True)
def _registries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_storages", {})


@pytest.fixture
def memory() -> MemoryStorage:
    storage = MemoryStorage()
    torchkeep.register_storage("mem", storage)
    return storage


# --- names ------------------------------------------------------------------------------------------


def test_every_verb_takes_a_name(memory: MemoryStorage) -> None:
    model = torch.nn.Linear(2, 3)
    report = torchkeep.save(model, NAME)
    assert (report.path, report.nbytes) == (NAME, len(memory.objects[NAME]))
    loaded = torchkeep.load(NAME)
    assert torch.equal(loaded.weight, model.weight)
    assert torchkeep.report_of(loaded).path == NAME
    assert torchkeep.load_into(torch.nn.Linear(2, 3), NAME).matched == 2
    assert torchkeep.diff(NAME, NAME).equal
    assert torchkeep.inspect(NAME).routes[0].call == f"torchkeep.load({NAME!r})"


def test_a_scheme_is_the_same_in_capitals(memory: MemoryStorage) -> None:
    torchkeep.save(1, "MEM://A")
    assert list(memory.objects) == ["MEM://A"], "the storage gets the name as it was written"
    assert torchkeep.load("MEM://A") == 1


def test_the_suffix_of_a_torch_file_is_refused_here_too(memory: MemoryStorage) -> None:
    with pytest.raises(torchkeep.DestinationError):
        torchkeep.save(1, "mem://a.pt")
    assert not memory.objects


@pytest.mark.parametrize("verb", [torchkeep.load, torchkeep.inspect, lambda name: torchkeep.save(1, name)])
def test_an_unknown_scheme(verb: Callable[[str], Any]) -> None:
    with pytest.raises(NotFoundError, match=r"no storage is registered for s3:// names; .*register_storage\('s3'"):
        verb("s3://bucket/key")


def test_a_path_is_local(memory: MemoryStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFoundError, match="write a name of a storage as a string: 'mem://"):
        torchkeep.load(Path(NAME))
    (tmp_path / "mem:" / "nets").mkdir(parents=True)
    torchkeep.save(1, Path(NAME))
    assert not memory.objects
    assert torchkeep.load(Path(NAME)) == 1


def test_a_local_file_that_looks_like_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x:" / "y").mkdir(parents=True)
    torchkeep.save(1, "x://y/z")
    assert torchkeep.load("x://y/z") == 1
    assert (tmp_path / "x:" / "y" / "z").exists()


def test_a_missing_name_of_a_storage(memory: MemoryStorage) -> None:
    with pytest.raises(NotFoundError) as caught:
        torchkeep.load("mem://nobody")
    assert "registered" not in str(caught.value)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, "mem://nobody")


@pytest.mark.parametrize(
    ("scheme", "storage", "kind", "said"),
    [
        ("S3", MemoryStorage(), ValueError, "no scheme"),
        ("c", MemoryStorage(), ValueError, "no scheme"),
        ("a://", MemoryStorage(), ValueError, "no scheme"),
        ("s3", MemoryStorage, TypeError, r"an object, such as MemoryStorage\(...\), not a class"),
        ("s3", object(), TypeError, "object lacks open and stage"),
    ],
)
def test_what_cannot_be_registered(scheme: str, storage: Any, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        torchkeep.register_storage(scheme, storage)


# --- storages that break their contract -------------------------------------------------------------


class Reading:
    """The reading of MemoryStorage with one thing changed."""

    def __init__(self, real: Any, **changes: Any) -> None:
        self._real = real
        self._changes = changes

    def __getattr__(self, name: str) -> Any:
        changed = self._changes.get(name)
        if changed is None:
            return getattr(self._real, name)
        return changed(self._real) if name == "nbytes" else lambda *a, **k: changed(self._real, *a, **k)


class Faulty(MemoryStorage):
    def __init__(self, *, opened: Any = None, staged: Any = None) -> None:
        super().__init__()
        self.opened, self.staged = opened or {}, staged or {}

    def open(self, name: str) -> Any:
        return Reading(super().open(name), **self.opened) if isinstance(self.opened, dict) else self.opened

    def stage(self, name: str, **how: Any) -> Any:
        return Reading(super().stage(name, **how), **self.staged) if isinstance(self.staged, dict) else self.staged


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


READ_FAULTS: dict[str, tuple[Any, type[Exception], str]] = {
    "nothing at all": (3, PathError, "open gave 3, which has no read_into and no close"),
    "a size that is no number": ({"nbytes": lambda real: "12"}, PathError, "nbytes gave '12'"),
    "a size below 0": ({"nbytes": lambda real: -1}, PathError, "nbytes gave -1"),
    "a size that is True": ({"nbytes": lambda real: True}, PathError, "nbytes gave True"),
    "a size too large": ({"nbytes": lambda real: real.nbytes + 1}, FormatError, "end at byte"),
    "a size too small": ({"nbytes": lambda real: real.nbytes - 1}, FormatError, "cut short"),
    "more than asked": ({"read_into": lambda real, buffers, at: real.read_into(buffers, at) + 1}, PathError, "gave"),
    "less than nothing": ({"read_into": lambda real, buffers, at: -1}, PathError, "read_into gave -1"),
    "no count": ({"read_into": lambda real, buffers, at: None}, PathError, "read_into gave None"),
    "an early end": ({"read_into": lambda real, buffers, at: 0}, FormatError, "truncated while reading"),
    "a count without bytes": (
        {"read_into": lambda real, buffers, at: sum(map(len, buffers))},
        FormatError,
        "no safetensors|header|digest|few",
    ),
    "any error": ({"read_into": raising(KeyError("key"))}, PathError, "cannot read .*KeyError: 'key'"),
    "no permission": ({"read_into": raising(PermissionError("token"))}, AccessError, "token"),
    "an error when it closes": ({"close": raising(RuntimeError("busy"))}, PathError, "cannot close .*busy"),
}


@pytest.mark.parametrize(("opened", "kind", "said"), READ_FAULTS.values(), ids=READ_FAULTS)
def test_faulty_reading(opened: Any, kind: type[Exception], said: str) -> None:
    storage = Faulty()
    torchkeep.register_storage("mem", storage)
    torchkeep.save({"a": torch.ones(5)}, NAME)
    storage.opened = opened
    for verb in (torchkeep.load, torchkeep.inspect):
        with pytest.raises(kind, match=said) as caught:
            verb(NAME)
        assert NAME in str(caught.value)


MAP_FAULTS: dict[str, tuple[Any, type[Exception], str]] = {
    "no memory": (lambda real: None, PathError, "map gave None, and not writable memory"),
    "memory to read only": (lambda real: bytes(real.nbytes), PathError, "not writable memory"),
    "too little": (lambda real: bytearray(real.nbytes - 1), PathError, r"not writable memory of \d+ bytes"),
    "too much": (lambda real: bytearray(real.nbytes + 1), PathError, "not writable memory"),
    "memory with gaps": (lambda real: memoryview(bytearray(2 * real.nbytes))[::2], PathError, "not writable memory"),
    "it is shorter now": (raising(EOFError("short")), FormatError, "truncated while reading"),
    "it cannot": (raising(OSError(errno.ENODEV, "no device")), PathError, "no device; nothing.*without mmap=True"),
    "any error": (raising(KeyError("key")), PathError, "cannot map .*KeyError: 'key'"),
}


@pytest.mark.parametrize(("mapped", "kind", "said"), MAP_FAULTS.values(), ids=MAP_FAULTS)
def test_faulty_mapping(mapped: Any, kind: type[Exception], said: str) -> None:
    storage = Faulty(opened={"map": mapped})
    torchkeep.register_storage("mem", storage)
    torchkeep.save({"a": torch.ones(5)}, NAME)
    with pytest.raises(kind, match=said) as caught:
        torchkeep.load(NAME, mmap=True)
    assert NAME in str(caught.value)
    assert torchkeep.load(NAME)["a"].tolist() == [1] * 5


def test_a_storage_that_maps() -> None:
    storage = Faulty(opened={"map": lambda real: bytearray(real._data)})
    torchkeep.register_storage("mem", storage)
    torchkeep.save({"a": torch.arange(50), "b": torch.ones(3)}, NAME)
    before = storage.objects[NAME]
    loaded = torchkeep.load(NAME, mmap=True)
    assert torch.equal(loaded["a"], torch.arange(50))
    assert torchkeep.report_of(loaded).mapped_nbytes == 412
    loaded["b"] += 1
    assert storage.objects[NAME] == before


def test_a_storage_that_cannot_map_is_read(memory: MemoryStorage) -> None:
    """And checked, which a mapping is not; the report tells that nothing is mapped."""
    torchkeep.save({"a": torch.arange(50)}, NAME)
    loaded = torchkeep.load(NAME, mmap=True)
    assert torch.equal(loaded["a"], torch.arange(50))
    report = torchkeep.report_of(loaded)
    assert report.mapped_nbytes == 0
    assert str(report).endswith(", 0 bytes mapped")
    memory.objects[NAME] = memory.objects[NAME][:-1] + b"?"
    with pytest.raises(torchkeep.DigestError):
        torchkeep.load(NAME, mmap=True)


@pytest.mark.parametrize("limit", [1, 7])
def test_short_calls_are_made_again(limit: int) -> None:
    def short(real: Any, buffers: Sequence[memoryview], at: int) -> int:
        count: int = (real.write if hasattr(real, "write") else real.read_into)([buffers[0][:limit]], at)
        return count

    torchkeep.register_storage("mem", Faulty(opened={"read_into": short}, staged={"write": short}))
    torchkeep.save({"a": torch.arange(50), "b": torch.ones(3)}, NAME)
    assert torch.equal(torchkeep.load(NAME)["a"], torch.arange(50))


WRITE_FAULTS: dict[str, tuple[Any, type[Exception], str]] = {
    "nothing at all": ({"x": 1}.keys(), PathError, "which has no write and no commit and no discard"),
    "nothing is taken": ({"write": lambda real, buffers, at: 0}, PathError, "write gave 0"),
    "more is taken": ({"write": lambda real, buffers, at: 10**9}, PathError, "write gave 1000000000"),
    "no count": ({"write": lambda real, buffers, at: None}, PathError, "write gave None"),
    "any error": ({"write": raising(RuntimeError("net"))}, PathError, "cannot write .*RuntimeError: net"),
    "at the commit": ({"commit": raising(ConnectionError("lost"))}, PathError, "cannot save .*lost"),
    "somebody has it": ({"commit": raising(FileExistsError("a"))}, ExistsError, "cannot save"),
}


@pytest.mark.parametrize(("staged", "kind", "said"), WRITE_FAULTS.values(), ids=WRITE_FAULTS)
def test_faulty_writing(staged: Any, kind: type[Exception], said: str) -> None:
    storage, discarded = Faulty(), []
    torchkeep.register_storage("mem", storage)
    torchkeep.save(1, NAME)
    before = dict(storage.objects)
    storage.staged = staged | {"discard": lambda real: discarded.append(1)} if isinstance(staged, dict) else staged
    with pytest.raises(kind, match=said) as caught:
        torchkeep.save({"a": torch.ones(5)}, NAME)
    assert "nothing was saved, and what was there is as it was" in str(caught.value)
    assert storage.objects == before
    assert discarded == ([1] if isinstance(staged, dict) else [])


def test_what_cannot_be_cleared_up_is_a_warning() -> None:
    staged = {"commit": raising(OSError("down")), "discard": raising(OSError("still down"))}
    torchkeep.register_storage("mem", Faulty(staged=staged))
    with pytest.raises(PathError, match="down"), pytest.warns(TorchkeepWarning, match="may still take up space.*still"):
        torchkeep.save(1, NAME)


def test_a_target_that_was_partly_written() -> None:
    """A storage that fails late: the error names what was overwritten."""
    storage = Faulty()
    torchkeep.register_storage("mem", storage)
    torchkeep.save(torch.nn.Linear(2000, 2000), NAME)
    calls: Iterator[int] = iter(range(100))

    def late(real: Any, buffers: Sequence[memoryview], at: int) -> Any:
        if next(calls) >= 4:
            raise OSError(errno.EIO, "the line is down")
        return real.read_into(buffers, at)

    storage.opened = {"read_into": late}
    with pytest.raises(PartialLoadError, match="the line is down") as caught:
        torchkeep.load_into(torch.nn.Linear(2000, 2000), NAME)
    assert "weight" in caught.value.overwritten
