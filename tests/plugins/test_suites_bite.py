"""The suites fail where a plug-in is at fault: one faulty plug-in, at least, for each rule of each suite."""

from __future__ import annotations

import inspect
import itertools
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch

import torchkeep
from torchkeep.containers import registry as containers
from torchkeep.plugins import Contents, Limits, Placement, Source, Span, of_tensors
from torchkeep.storage import registry as storages
from torchkeep.testing import ContainerSuite, MemoryStorage, StorageSuite, TypeSuite
from torchkeep.testing.memory import MemoryReading, MemoryWriting
from torchkeep.values import registry


@pytest.fixture(autouse=True)
def _registries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_by_class", dict(registry._by_class))
    monkeypatch.setattr(storages, "_storages", {})
    monkeypatch.setattr(containers, "_containers", {})


def rules(suite: type) -> list[str]:
    return [name for name, _ in inspect.getmembers(suite, inspect.isfunction) if name.startswith("test_")]


def broken(suite: Any, rule: str) -> None:
    """The rule fails, and says so as an AssertionError of its own words."""
    with pytest.raises(AssertionError) as caught:
        getattr(suite, rule)()
    assert str(caught.value)


def passes(suite: Any) -> None:
    for rule in rules(type(suite)):
        getattr(suite, rule)()


# --- types ------------------------------------------------------------------------------------------


class Tokens(tuple[str, ...]):
    """The class under test."""

    def __new__(cls, texts: Any = ()) -> Tokens:
        texts = list(texts)
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("tokens are texts")
        return super().__new__(cls, texts)


class Other(Tokens):
    """A class that a decode makes by mistake."""


class Box:
    """A class that can change, and can hold itself."""

    __slots__ = ("items",)

    def __init__(self, items: Any) -> None:
        self.items = items

    def __reduce__(self) -> Any:
        raise TypeError("not pickled")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Box) and self.items == other.items

    __hash__ = None  # type: ignore[assignment]


class Good(TypeSuite):
    encode: Callable[[Any], Any] = staticmethod(list)
    decode: Callable[[Any], Any] = staticmethod(Tokens)

    def __init__(self) -> None:
        if type(self).encode is not None:
            torchkeep.register(Tokens, encode=type(self).encode, decode=type(self).decode)

    def make_objects(self) -> Sequence[Any]:
        return [Tokens(), Tokens(["a"]), Tokens(["b", "a"])]

    def make_hostile_states(self) -> Sequence[Any]:
        return [[1], None]

    def make_cycle(self) -> Any:
        torchkeep.register(Box, encode=lambda box: {"items": box.items}, decode=lambda state: Box(state["items"]))
        box = Box([])
        box.items.append(box)
        return box

    def make_unsaveable(self) -> Sequence[Any]:
        torchkeep.register(Box, encode=lambda box: box.items, decode=Box)
        return [Box(lambda: None)]


def sort_when_saved(box: Box) -> Any:
    box.items.sort()
    return list(box.items)


class OfBox(Good):
    encode = None  # type: ignore[assignment]
    box: tuple[Any, Any] = (lambda box: list(box.items), Box)

    def __init__(self) -> None:
        encode, decode = type(self).box
        torchkeep.register(Box, encode=encode, decode=decode)

    def make_objects(self) -> Sequence[Any]:
        return [Box([1]), Box([3, 2])]


ONE = Tokens(["a"])
CACHE: dict[Any, Tokens] = {}
COUNT = itertools.count()

TYPE_FAULTS: list[tuple[str, dict[str, Any], type[Good]]] = [
    ("test_there_is_something_to_test", {"make_objects": lambda self: [Tokens()]}, Good),
    ("test_there_is_something_to_test", {"make_objects": lambda self: [Tokens(), Tokens()]}, Good),
    ("test_there_is_something_to_test", {"make_objects": lambda self: [ONE, Tokens()]}, Good),
    ("test_there_is_something_to_test", {"make_objects": lambda self: [{}, []]}, Good),
    ("test_there_is_something_to_test", {"equal": lambda self, one, other: True}, Good),
    ("test_value_and_type", {"decode": lambda state: Tokens(state[:1])}, Good),
    ("test_value_and_type", {"encode": sorted}, Good),
    ("test_value_and_type", {"decode": Other}, Good),
    ("test_wherever_it_stands", {"decode": lambda state: Tokens(state[:1])}, Good),
    ("test_sharing", {"decode": lambda state: CACHE.setdefault(tuple(state), Tokens(state))}, Good),
    ("test_a_cycle_around_it", {"decode": lambda state: Tokens(state[:1])}, Good),
    ("test_equal_objects_make_equal_bytes", {"encode": lambda tokens: [*tokens, str(next(COUNT))]}, Good),
    ("test_equal_objects_make_equal_bytes", {"encode": lambda tokens: [], "decode": Tokens}, Good),
    ("test_saving_changes_nothing", {"box": (sort_when_saved, Box)}, OfBox),
    ("test_the_state_is_its_own", {"decode": lambda state: CACHE.setdefault(tuple(state), Tokens(state))}, Good),
    ("test_hostile_states", {"decode": lambda state: Tokens(map(str, state))}, Good),
    ("test_what_cannot_be_saved_is_refused_with_its_path", {"make_unsaveable": lambda self: [Tokens()]}, Good),
    ("test_inspect_names_the_class", {"make_objects": lambda self: [1, 2]}, Good),
]


def test_a_good_type_passes() -> None:
    passes(Good())


@pytest.mark.parametrize(("rule", "changes", "base"), TYPE_FAULTS, ids=itertools.count())
def test_faulty_type(rule: str, changes: dict[str, Any], base: type[Good]) -> None:
    CACHE.clear()
    static = {k: staticmethod(v) if k in ("encode", "decode") else v for k, v in changes.items()}
    broken(type("Faulty", (base,), static)(), rule)


# --- containers -------------------------------------------------------------------------------------

TOY = b"TOY1"


class Toy:
    """Magic, number of names, then for each: its length, the name, its number of floats; then the floats."""

    kind = "toy"

    def probe(self, head: bytes) -> bool:
        return head[:4] == TOY

    def read(self, source: Source, limits: Limits) -> Contents:
        if source.nbytes < 5:
            raise ValueError("no header")
        count, at = source.read(Span(4, 1))[0], 5
        names, shapes = [], []
        for _ in range(count):
            length = source.read(Span(at, 1))[0]
            names.append(source.read(Span(at + 1, length)).decode())
            shapes.append((struct.unpack("<I", source.read(Span(at + 1 + length, 4)))[0],))
            at += 5 + length
        spans = []
        for (numel,) in shapes:
            spans.append(Span(at, 4 * numel))
            at += 4 * numel
        if at != source.nbytes:
            raise ValueError("cut short")
        return Contents(of_tensors(names, ["float32"] * count, shapes), Placement(spans))


class GoodToy(ContainerSuite):
    cls: type[Toy] = Toy
    flips = 300

    def make_container(self) -> Toy:
        return type(self).cls()

    def make_sample(self) -> bytes:
        header = TOY + bytes([3])
        for name, numel in (("a", 1), ("empty", 0), ("bb", 200)):
            header += bytes([len(name)]) + name.encode() + struct.pack("<I", numel)
        return header + struct.pack("<201f", *range(201))

    def expected(self) -> Any:
        return {"a": torch.tensor([0.0]), "empty": torch.empty(0), "bb": torch.arange(1.0, 201.0)}


class FromDisk(Toy):
    def read(self, source: Source, limits: Limits) -> Contents:
        Path(source.path).read_bytes()
        return super().read(source, limits)


class ByName(Toy):
    def read(self, source: Source, limits: Limits) -> Contents:
        if source.path.endswith(".pt"):
            raise ValueError("a torch file")
        return super().read(source, limits)


class Shifted(Toy):
    def read(self, source: Source, limits: Limits) -> Contents:
        found = super().read(source, limits)
        first, *rest = found.placement.spans
        return Contents(found.document, Placement([Span(first.offset + 4, first.nbytes), *rest]))


class Trusting(Toy):
    """Takes the last tensor to be as long as the file is."""

    def read(self, source: Source, limits: Limits) -> Contents:
        count, at = source.read(Span(4, 1))[0], 5
        names = []
        for _ in range(count):
            length = source.read(Span(at, 1))[0]
            names.append(source.read(Span(at + 1, length)).decode())
            at += 5 + length
        numels = [1, 0, (source.nbytes - at) // 4 - 1]
        spans = [Span(at, 4), Span(at, 0), Span(at + 4, 4 * numels[2])]
        return Contents(of_tensors(names, ["float32"] * count, [(n,) for n in numels]), Placement(spans))


class Loose(Toy):
    """Believes what the file says of its size, and leaves the rest to whoever reads."""

    def read(self, source: Source, limits: Limits) -> Contents:
        found = super().read(source, limits)
        spans = [Span(span.offset, span.nbytes - 1) if span.nbytes else span for span in found.placement.spans]
        return Contents(found.document, Placement(spans))


class WithTorch(Toy):
    def read(self, source: Source, limits: Limits) -> Contents:
        import torch as again

        assert again.float32
        return super().read(source, limits)


class Moody(Toy):
    def read(self, source: Source, limits: Limits) -> Contents:
        found = super().read(source, limits)
        return Contents(found.document, found.placement, {"at": str(next(COUNT))})


class Whole(Toy):
    def read(self, source: Source, limits: Limits) -> Contents:
        source.read(Span(0, source.nbytes))
        return super().read(source, limits)


class Kinds(Toy):
    """A kind that is another each time."""

    @property
    def kind(self) -> str:  # type: ignore[override]
        return f"toy{next(COUNT)}"


def probing(answer: Callable[[bytes], Any]) -> type[Toy]:
    return type("Probing", (Toy,), {"probe": lambda self, head: answer(head)})


CONTAINER_FAULTS: list[tuple[str, dict[str, Any]]] = [
    ("test_probe_takes_its_own", {"cls": probing(lambda head: False)}),
    ("test_probe_takes_its_own", {"cls": probing(lambda head: head[:4] == TOY and 1)}),
    ("test_probe_refuses_others", {"cls": probing(lambda head: True)}),
    ("test_probe_refuses_others", {"cls": probing(lambda head: head[8:9] == b"{")}),
    ("test_probe_refuses_others", {"cls": probing(lambda head: head[:2] == b"PK")}),
    ("test_probe_never_raises", {"cls": probing(lambda head: head[4] == 3)}),
    ("test_probe_never_raises", {"cls": probing(lambda head: struct.unpack("<I", head[:4])[0] == 1)}),
    ("test_probe_never_raises", {"cls": probing(lambda head: head.startswith(TOY) or None)}),
    ("test_load", {"cls": Shifted}),
    ("test_load", {"expected": lambda self: {"a": torch.tensor([0.0])}}),
    ("test_the_name_means_nothing", {"cls": ByName}),
    ("test_kind", {"cls": Kinds}),
    ("test_inspect_needs_no_torch", {"cls": WithTorch}),
    ("test_reading_is_repeatable", {"cls": Moody}),
    ("test_inspect_reads_headers_only", {"cls": Whole}),
    ("test_every_truncation", {"cls": Trusting}),
    ("test_bytes_added", {"cls": Trusting}),
    ("test_flipped_bits", {"cls": Loose}),
    ("test_flipped_bits", {"detects_damage": True}),
]


def test_a_good_container_passes() -> None:
    passes(GoodToy())


@pytest.mark.parametrize(("rule", "changes"), CONTAINER_FAULTS, ids=itertools.count())
def test_faulty_container(rule: str, changes: dict[str, Any]) -> None:
    broken(type("Faulty", (GoodToy,), changes)(), rule)


def test_a_container_that_needs_a_path() -> None:
    """It opens the path by itself: nothing of the storage can be read so."""
    suite = type("Faulty", (GoodToy,), {"cls": FromDisk})()
    with pytest.raises(torchkeep.FormatError, match="FileNotFoundError"):
        suite.test_load()


def test_an_error_that_is_none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the border not there, the suite would tell."""
    monkeypatch.setattr(
        "torchkeep.containers.detect.contract.read_by", lambda container, source, limits: container.read(source, limits)
    )
    broken(GoodToy(), "test_every_truncation")


def test_a_registry_that_lets_others_first(monkeypatch: pytest.MonkeyPatch) -> None:
    class Thief(Toy):
        def probe(self, head: bytes) -> bool:
            return True

        def read(self, source: Source, limits: Limits) -> Contents:
            return Contents(of_tensors(["weight"], ["float32"], [(2,)]), Placement([Span(0, 8)]), {}, self.kind)

    monkeypatch.setattr("torchkeep.containers.detect._NATIVE", Thief())
    broken(GoodToy(), "test_torchkeep_files_stay_torchkeeps")


# --- storages ---------------------------------------------------------------------------------------


class GoodMemory(StorageSuite):
    scheme = "toy"
    reading: Mapping[str, Any] = MappingProxyType({})
    writing: Mapping[str, Any] = MappingProxyType({})
    storage: Mapping[str, Any] = MappingProxyType({})

    def make_storage(self) -> Any:
        reading = type("Reading", (MemoryReading,), dict(self.reading))
        writing = type("Writing", (MemoryWriting,), dict(self.writing))

        def open_one(self: Any, name: str) -> Any:
            found = MemoryStorage.open(self, name)
            found.__class__ = reading
            found.storage, found.name, found.at = self, name, 0
            return found

        def stage(self: Any, name: str, **how: Any) -> Any:
            found = MemoryStorage.stage(self, name, **how)
            found.__class__ = writing
            return found

        return type("Storage", (MemoryStorage,), {"open": open_one, "stage": stage, **self.storage})()

    def names(self, storage: Any) -> Any:
        return list(storage.objects)


fill = MemoryReading.read_into


def padded(self: Any, buffers: Any, offset: int) -> int:
    fill(self, buffers, offset)
    return sum(map(len, buffers))


def first_only(self: Any, buffers: Any, offset: int) -> int:
    fill(self, buffers[:1], offset)
    return sum(map(len, buffers))


def one_position(self: Any, buffers: Any, offset: int) -> int:
    """Seek, then read: another thread may seek in between."""
    self.at = offset
    time.sleep(0)
    total = 0
    for buffer in buffers:
        at = self.at
        time.sleep(0.0001)
        total += fill(self, [buffer], at)
        self.at = at + len(buffer)
    return total


def as_it_is_now(self: Any, buffers: Any, offset: int) -> int:
    self._data = self.storage.objects[self.name]
    return fill(self, buffers, offset)


def shared(self: Any) -> Any:
    """One mapping for all who ask."""
    return self.storage.__dict__.setdefault("mapping", bytearray(self._data))


def live(self: Any) -> Any:
    mapping = bytearray(self._data)
    self.storage.mappings = [*getattr(self.storage, "mappings", ()), mapping]
    return mapping


def commit_into_mappings(self: Any) -> None:
    MemoryWriting.commit(self)
    for mapping in getattr(self._storage, "mappings", ()):
        mapping[: len(self._data)] = self._data


def written_through(self: Any) -> Any:
    """What is written to the mapping is there for who opens the name."""
    mapping = bytearray(self._data)
    self.storage.mapping = mapping
    return mapping


def from_mapping(self: Any, buffers: Any, offset: int) -> int:
    if hasattr(self.storage, "mapping"):
        self._data = bytes(self.storage.mapping[: len(self._data)])
    return fill(self, buffers, offset)


def close_once(self: Any) -> None:
    if self.at is None:
        raise ValueError("closed")
    self.at = None


write = MemoryWriting.write


def seen_at_once(self: Any, buffers: Any, offset: int) -> int:
    moved = write(self, buffers, offset)
    self._storage.objects[self._name] = bytes(self._data)
    return moved


def in_order_only(self: Any, buffers: Any, offset: int) -> int:
    """Appends, whatever the offset."""
    self.end = getattr(self, "end", 0)
    moved = write(self, buffers, self.end)
    self.end += moved
    return moved


def kept(self: Any, buffers: Any, offset: int) -> int:
    self.pieces = getattr(self, "pieces", [])
    self.pieces += [(offset, buffers[0])]
    return len(buffers[0])


def commit_kept(self: Any) -> None:
    for offset, piece in getattr(self, "pieces", ()):
        self._data[offset : offset + len(piece)] = piece
    MemoryWriting.commit(self)


def commit_over(self: Any) -> None:
    self._storage.objects[self._name] = bytes(self._data)


def commit_part(self: Any) -> None:
    old = self._storage.objects.get(self._name, b"")
    self._storage.objects[self._name] = bytes(self._data) + old[len(self._data) :]


def discard_all(self: Any) -> None:
    self._storage.objects.pop(self._name, None)


def leave_litter(self: Any) -> None:
    self._storage.objects[f"{self._name}.tmp"] = b""


def missing(self: Any, name: str) -> Any:
    return MemoryReading(self.objects[name])


def one_place(self: Any, name: str, **how: Any) -> Any:
    """One place for all that is on its way to a name."""
    found = MemoryStorage.stage(self, name, nbytes=how["nbytes"], durable=False, overwrite=how["overwrite"])
    self.places = getattr(self, "places", {})
    found._data = self.places.setdefault((name, how["nbytes"]), found._data)
    return found


def careless_stage(self: Any, name: str, **how: Any) -> Any:
    return MemoryStorage.stage(self, name, nbytes=how["nbytes"], durable=False, overwrite=True)


def hidden(self: Any, buffers: Any, offset: int) -> int:
    """Gives the last good object's bytes: a cache that no damage gets past."""
    GOOD.setdefault(self.name, self._data)
    self._data = GOOD[self.name]
    return fill(self, buffers, offset)


GOOD: dict[str, bytes] = {}

STORAGE_FAULTS: list[tuple[str, dict[str, Any]]] = [
    ("test_spans", {"reading": {"read_into": lambda self, buffers, offset: fill(self, buffers, 0)}}),
    ("test_spans", {"reading": {"read_into": first_only}}),
    ("test_spans", {"reading": {"read_into": lambda self, buffers, offset: fill(self, buffers, offset) + 1}}),
    ("test_spans", {"reading": {"nbytes": property(lambda self: 12, lambda self, value: None)}}),
    ("test_the_end", {"reading": {"read_into": padded}}),
    ("test_the_end", {"reading": {"read_into": lambda self, buffers, offset: fill(self, buffers, offset) or 1}}),
    ("test_an_empty_object", {"reading": {"read_into": padded}}),
    ("test_a_large_object", {"reading": {"read_into": first_only}, "writing": {"write": in_order_only}}),
    ("test_reads_of_two_threads", {"reading": {"read_into": one_position}}),
    ("test_closing_twice", {"reading": {"close": close_once}}),
    ("test_what_is_not_there", {"storage": {"open": missing}}),
    ("test_what_is_not_there", {"storage": {"open": lambda self, name: MemoryReading(self.objects.get(name, b""))}}),
    ("test_an_open_object_stays", {"reading": {"read_into": as_it_is_now}}),
    ("test_a_mapping", {"reading": {"map": lambda self: self._data}}),
    ("test_a_mapping", {"reading": {"map": lambda self: bytearray(self._data)[:-1]}}),
    ("test_a_mapping", {"reading": {"map": lambda self: bytearray(len(self._data))}}),
    ("test_a_mapping", {"reading": {"map": shared}}),
    ("test_a_mapping", {"reading": {"map": live}, "writing": {"commit": commit_into_mappings}}),
    ("test_a_mapping", {"reading": {"map": written_through, "read_into": from_mapping}}),
    ("test_nothing_is_seen_before_the_commit", {"writing": {"write": seen_at_once}}),
    ("test_commit", {"writing": {"commit": commit_part}}),
    ("test_commit", {"writing": {"commit": lambda self: None}}),
    ("test_discard", {"writing": {"discard": discard_all}}),
    ("test_discard", {"writing": {"discard": commit_over}}),
    ("test_discard", {"writing": {"discard": leave_litter}}),
    ("test_any_order_and_again", {"writing": {"write": in_order_only}}),
    ("test_buffers_are_copied", {"writing": {"write": kept, "commit": commit_kept}}),
    ("test_without_overwriting", {"writing": {"commit": commit_over}}),
    ("test_without_overwriting", {"storage": {"stage": careless_stage}}),
    ("test_two_at_once", {"storage": {"stage": one_place}}),
    ("test_save_and_load", {"storage": {"stage": careless_stage}}),
    ("test_a_save_that_fails", {"writing": {"discard": leave_litter}}),
    ("test_a_save_that_fails", {"writing": {"write": seen_at_once}}),
    ("test_damage_is_found", {"reading": {"read_into": hidden}}),
]


def test_a_good_storage_passes() -> None:
    passes(GoodMemory())
    passes(type("Mapping", (GoodMemory,), {"reading": {"map": lambda self: bytearray(self._data)}})())


@pytest.mark.parametrize(("rule", "changes"), STORAGE_FAULTS, ids=itertools.count())
def test_faulty_storage(rule: str, changes: dict[str, Any]) -> None:
    GOOD.clear()
    broken(type("Faulty", (GoodMemory,), changes)(), rule)


# --- all of them ------------------------------------------------------------------------------------


def test_each_rule_has_a_fault() -> None:
    """A rule that no fault here breaks might be one that never fails."""
    shown = {rule for rule, *_ in (*TYPE_FAULTS, *CONTAINER_FAULTS, *STORAGE_FAULTS)}
    elsewhere = {"test_torchkeep_files_stay_torchkeeps", "test_any_state", "test_a_cycle_through_it"}
    every = {rule for suite in (TypeSuite, ContainerSuite, StorageSuite) for rule in rules(suite)}
    assert every == shown | elsewhere


def test_any_state_would_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """`load` itself refuses what is no object of the class; without that, the suite would."""
    suite = Good()
    monkeypatch.setattr(suite, "_with_state", lambda obj, state: state)
    broken(suite, "test_any_state")


def test_a_cycle_that_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Save or load refuse a cycle through an object; if it came back open, the suite would tell."""
    suite = Good()
    suite.test_a_cycle_through_it()
    monkeypatch.setattr("torchkeep.testing.types._saved", lambda obj: repr(obj.items).encode())
    monkeypatch.setattr("torchkeep.testing.types._loaded", lambda file: Box([]))
    broken(suite, "test_a_cycle_through_it")


def test_hooks_have_to_be_there() -> None:
    hooks = [TypeSuite().make_objects, StorageSuite().make_storage]
    hooks += [getattr(ContainerSuite(), name) for name in ("make_container", "make_sample", "expected")]
    for hook in hooks:
        with pytest.raises(NotImplementedError, match=hook.__name__):
            hook()
