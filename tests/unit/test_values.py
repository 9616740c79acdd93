"""Values of Python's library, of numpy and of torch that are neither tensors nor modules: each comes back as it was."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import io
import os
import pathlib
import random
import struct
import subprocess
import sys
import types
import uuid
import zoneinfo
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

import torchkeep
from torchkeep.values import data_table, registry


class Color(enum.Enum):
    RED = 1
    BLUE = "blue"
    ALSO_RED = 1  # noqa: PIE796 (an alias)


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 9


class Perm(enum.Flag):
    READ = 1
    WRITE = 2
    RUN = 4
    ALL = 7


class Kept(enum.IntFlag):
    R = 1
    W = 2


class Size(tuple, enum.Enum):  # type: ignore[type-arg]
    SMALL = (1, 1)
    LARGE = (9, 9)


Point = collections.namedtuple("Point", "x y")


class Corner(Point, enum.Enum):
    TOP = 0, 1
    BOTTOM = 0, [0]


class Row(NamedTuple):
    name: str
    items: list[int]


@dataclasses.dataclass
class Config:
    lr: float
    layers: list[int] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    width: int
    name: str = "x"


class Slotted:
    __slots__ = ("__private", "unset", "value")

    def __init__(self, value: Any) -> None:
        self.value = value
        self.__private = [value]

    def private(self) -> Any:
        return self.__private


class Both(Slotted):
    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self.more = "in __dict__"


CLASSES = [Color, Level, Perm, Kept, Size, Corner, Point, Row, Config, Frozen, Slotted, Both]


@pytest.fixture
def trip(tmp_path: Path) -> Any:
    def trip(value: Any, **options: Any) -> Any:
        torchkeep.save({"value": value}, tmp_path / "value.safetensors")
        return torchkeep.load(tmp_path / "value.safetensors", **({"classes": CLASSES} | options))["value"]

    return trip


UTC = datetime.timezone.utc
HAVE_ZONES = "Europe/Berlin" in zoneinfo.available_timezones()
EQUAL: list[Any] = [
    collections.defaultdict(list, {"a": [1]}),
    collections.defaultdict(None, {1: 2}),
    collections.defaultdict(functools.partial(collections.defaultdict, int), {"a": 1}),
    collections.defaultdict(nn.ReLU),
    collections.Counter("hello"),
    collections.Counter({(1, 2): -3}),
    collections.deque([1, "a", [2]]),
    collections.deque([1, 2], maxlen=2),
    collections.deque(maxlen=0),
    slice(None),
    slice(1, "b", (3, 4)),
    range(10),
    range(10**30, -5, -3),
    range(0),
    ...,
    (slice(None), ..., 0),
    bytearray(),
    bytearray(b"a\0\xff"),
    bytearray(70_000),
    argparse.Namespace(lr=0.1, names=["a"]),
    types.SimpleNamespace(a=1, b=types.SimpleNamespace()),
    Point(1, 2),
    Row("a", [1]),
    Color.RED,
    Color.BLUE,
    Color.ALSO_RED,
    Level.HIGH,
    Perm.READ,
    Perm.READ | Perm.RUN,
    Perm.ALL,
    Perm(0),
    Kept(9),
    Kept(2**63),
    Kept.R | Kept.W,
    Size.LARGE,
    Corner.TOP,
    Corner.BOTTOM,
    Config(0.1, [2, 3]),
    Frozen(3),
    pathlib.Path("a/b c"),
    pathlib.Path(),
    pathlib.PurePosixPath("/x/../y"),
    pathlib.PureWindowsPath("C:/x\\y"),
    pathlib.PureWindowsPath("//server/share/x"),
    datetime.date(1, 1, 1),
    datetime.date.max,
    datetime.time(23, 59, 59, 999999, fold=1),
    datetime.time(1, tzinfo=UTC),
    datetime.datetime(2024, 2, 29, 12, 30),
    datetime.datetime(2024, 2, 29, 1, 2, 3, 4, UTC, fold=1),
    datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=5, minutes=45), "NPT")),
    datetime.timedelta(-3, 4, 5),
    datetime.timedelta.max,
    UTC,
    datetime.timezone(datetime.timedelta(0), "Z"),
    datetime.timezone(-datetime.timedelta(hours=23, minutes=59)),
    uuid.UUID(int=5),
    uuid.uuid5(uuid.NAMESPACE_DNS, "torchkeep"),
    decimal.Decimal("1.00"),
    decimal.Decimal("-0"),
    decimal.Decimal("Infinity"),
    decimal.Decimal("1E+999999"),
    fractions.Fraction(-7, 3),
    fractions.Fraction(0),
    torch.channels_last,
    torch.preserve_format,
    torch.sparse_csr,
    torch.strided,
    np.float32(1.5),
    np.float64(0.1),
    np.int64(-3),
    np.uint8(255),
    np.complex64(1 + 2j),
    np.bool_(True),
    np.str_("é\0"),
    np.str_(""),
    np.bytes_(b"\xff"),
    np.datetime64("2024-01-01T00:00:01", "s"),
    np.timedelta64(3, "D"),
    np.dtype("float32"),
    np.dtype(">i4"),
    np.dtype("<U7"),
    np.dtype("M8[ns]"),
]

if HAVE_ZONES:
    EQUAL += [
        zoneinfo.ZoneInfo("Europe/Berlin"),
        datetime.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
        datetime.time(1, tzinfo=zoneinfo.ZoneInfo("Etc/GMT+5")),
    ]


def _same(found: Any, value: Any) -> None:
    assert type(found) is type(value)
    assert found == value
    assert repr(found) == repr(value)


@pytest.mark.parametrize("value", EQUAL, ids=lambda value: f"{type(value).__name__}-{value!r:.30}")
def test_it_comes_back_equal(trip: Any, value: Any) -> None:
    _same(trip(value), value)


@pytest.mark.parametrize("value", EQUAL, ids=lambda value: f"{type(value).__name__}-{value!r:.30}")
def test_two_saves_of_it_are_the_same_bytes(tmp_path: Path, value: Any) -> None:
    for name in "ab":
        torchkeep.save([value, {"again": value}], tmp_path / f"{name}.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_what_equality_does_not_see(trip: Any) -> None:
    assert trip(datetime.datetime(2024, 1, 1, fold=1)).fold == 1
    assert trip(datetime.timezone(datetime.timedelta(0), "Z")).tzname(None) == "Z"
    assert trip(UTC) is UTC
    assert trip(collections.deque(maxlen=3)).maxlen == 3
    assert trip(uuid.uuid1()).is_safe is not None
    signalling = decimal.Decimal("-sNaN12")
    assert str(trip(signalling)) == "-sNaN12"
    nan = np.frombuffer(b"\x01\x00\xc0\x7f", "<f4")[0]
    assert trip(nan).tobytes() == nan.tobytes()
    counter = collections.Counter("ab")
    counter.note = "of its own"  # type: ignore[attr-defined]
    assert vars(trip(counter)) == {"note": "of its own"}


@pytest.mark.skipif(not HAVE_ZONES, reason="there are no time zones here")
def test_a_zone_that_this_machine_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "z.safetensors"
    zone = zoneinfo.ZoneInfo("Europe/Berlin")
    torchkeep.save({"now": datetime.datetime(2024, 1, 2, 3, tzinfo=zone), zone: 1, "step": 3}, path)
    assert torchkeep.load(path)["now"].tzinfo is zone

    def _none(key: str) -> None:
        raise zoneinfo.ZoneInfoNotFoundError(key)

    monkeypatch.setattr("torchkeep.values.library.zoneinfo.ZoneInfo", _none)
    with pytest.warns(torchkeep.TorchkeepWarning, match=r"Europe/Berlin came back as an inert Record.*no such zone"):
        found = torchkeep.load(path)
    assert (found["step"], type(found["now"]), found["now"].hour) == (3, torchkeep.Record, 3)
    assert found["now"].timezone.key == "Europe/Berlin"


def test_a_zone_without_a_name_is_refused(tmp_path: Path) -> None:
    rules = b"TZif".ljust(20, b"\0") + struct.pack(">6llbb", 0, 0, 0, 0, 1, 4, 3600, 0, 0) + b"CET\0"
    for key in (None, "../UTC"):
        zone = zoneinfo.ZoneInfo.from_file(io.BytesIO(rules), key=key)
        for value in (zone, datetime.datetime(2024, 1, 1, tzinfo=zone)):
            with pytest.raises(torchkeep.UnsaveableError, match=r"obj\['a'\] .* without a name"):
                torchkeep.save({"a": value}, tmp_path / "z.safetensors")


def test_an_array_of_bytes_is_one_object_that_can_change(trip: Any) -> None:
    shared = bytearray(b"ab")
    found = trip({"a": [shared, shared], "model": shared})
    assert found["a"][0] is found["a"][1] is found["model"]
    found["model"] += b"c"
    assert found["a"][0] == b"abc"


def test_members_are_the_members(trip: Any) -> None:
    assert trip(Color.RED) is Color.RED
    assert trip(Perm.READ) is Perm.READ
    assert trip(Perm.READ | Perm.WRITE) is Perm.READ | Perm.WRITE


@pytest.mark.skipif(sys.version_info < (3, 11), reason="flags have no boundary")
def test_a_flag_that_keeps_what_no_member_has(tmp_path: Path) -> None:
    path = tmp_path / "f.safetensors"
    mode = enum.Flag("Mode", "A B", boundary=enum.KEEP)
    mode.__module__ = mode.__qualname__ = "mode"
    torchkeep.save({"mode": mode(0b1001)}, path)
    assert torchkeep.load(path, classes={"mode:mode": mode})["mode"] == mode(9)
    with pytest.warns(torchkeep.TorchkeepWarning, match="inert Records"):
        assert (vars(torchkeep.load(path)["mode"])["members"], torchkeep.load(path)["mode"].rest) == (("A",), 8)
    more = enum.Flag("Mode", "A B C D")
    assert torchkeep.load(path, classes={"mode:mode": more})["mode"] is more.A | more.D
    for boundary in (enum.STRICT, enum.CONFORM, enum.EJECT):
        other = enum.Flag("Mode", "A B", boundary=boundary)
        with pytest.raises(torchkeep.ChangedClassError, match=r"bits that no member has.*as a Record"):
            torchkeep.load(path, classes={"mode:mode": other})
    with pytest.raises(torchkeep.LoadError, match="which is no Flag"):
        torchkeep.load(path, classes={"mode:mode": enum.Enum("Mode", "A B")})
    assert "['mode']: mode:mode.A|8" in "\n".join(torchkeep.inspect(path).tree())


def test_a_flag_of_too_many_bits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(torchkeep.UnsaveableError, match="more than 64 bits"):
        torchkeep.save([Kept(2**64)], tmp_path / "f.safetensors")


def test_slots(trip: Any) -> None:
    found = trip([Slotted(5), Both("x")])
    assert (found[0].value, found[0].private()) == (5, [5])
    assert not hasattr(found[0], "unset")
    assert (found[1].value, found[1].private(), vars(found[1])) == ("x", ["x"], {"more": "in __dict__"})


def test_containers_hold_themselves(trip: Any) -> None:
    value: dict[str, Any] = {
        "defaultdict": collections.defaultdict(list),
        "deque": collections.deque([1], maxlen=4),
        "namespace": types.SimpleNamespace(),
        "counter": collections.Counter(),
        "config": Config(1.0),
    }
    value["defaultdict"]["me"] = value["defaultdict"]
    value["deque"].append(value["deque"])
    value["namespace"].me = value["namespace"]
    value["counter"]["me"] = value["counter"]
    value["config"].layers.append(value["config"])
    found = trip(value)
    assert found["defaultdict"]["me"] is found["defaultdict"]
    assert found["deque"][1] is found["deque"]
    assert found["namespace"].me is found["namespace"]
    assert found["counter"]["me"] is found["counter"]
    assert found["config"].layers[0] is found["config"]
    found["defaultdict"]["new"].append(1)
    assert found["defaultdict"]["new"] == [1]


def test_what_is_shared_stays_shared(trip: Any) -> None:
    shared = [1]
    value = [
        Point(shared, 1),
        collections.deque([shared]),
        argparse.Namespace(a=shared),
        slice(shared),
        collections.defaultdict(list, a=shared),
    ]
    point, queue, namespace, part, mapping = trip(value)
    assert point.x is queue[0] is namespace.a is part.stop is mapping["a"]
    again = Point(1, 2)
    found = trip([again, again])
    assert found[0] is found[1]


KEYS: list[Any] = [
    Color.RED, Level.LOW, Perm.READ | Perm.WRITE, Kept(9), Size.SMALL, Corner.TOP, ..., (1, ...),
    pathlib.Path("x"), uuid.UUID(int=3), range(3), UTC,
    datetime.date(2024, 1, 1), datetime.datetime(2024, 1, 1, tzinfo=UTC), datetime.time(1), datetime.timedelta(3),
    decimal.Decimal(5), fractions.Fraction(1, 3), Point(7, (8, frozenset({9}))), np.int64(77), np.str_("s"),
    np.dtype("f4"), torch.channels_last, torch.strided, *([zoneinfo.ZoneInfo("UTC")] if HAVE_ZONES else []),
]  # fmt: skip


def test_keys_and_elements(trip: Any) -> None:
    found = trip([dict.fromkeys(KEYS, 1), set(KEYS), {(key, 1): key for key in KEYS}])
    assert [type(key) for key in found[0]] == [type(key) for key in KEYS]
    assert found == [dict.fromkeys(KEYS, 1), set(KEYS), {(key, 1): key for key in KEYS}]


def test_sets_are_written_in_one_order_whatever_the_hashes(tmp_path: Path) -> None:
    code = (
        "import sys, torchkeep; sys.path.insert(0, sys.argv[2])\n"
        "from test_values import KEYS\n"
        "torchkeep.save({'set': set(KEYS), 'inner': {frozenset(KEYS[:5]), frozenset(KEYS[5:])}}, sys.argv[1])"
    )
    written = []
    for seed in ("1", "2"):
        path = tmp_path / f"{seed}.safetensors"
        environment = os.environ | {"PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", code, str(path), str(Path(__file__).parent)]
        subprocess.run(command, check=True, env=environment)
        written.append(path.read_bytes())
    assert written[0] == written[1]


# --- numpy ------------------------------------------------------------------------------------------

ARRAYS = {
    "bool": np.array([True, False]),
    "zero dimensions": np.array(5, np.int16),
    "empty": np.zeros((0, 3), np.float32),
    "empty text": np.zeros((2, 0), "<U3"),
    "Fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "steps": np.arange(24, dtype=np.uint16).reshape(4, 6)[::2, 1::2],
    "backwards": np.arange(6)[::-1],
    "repeated": np.broadcast_to(np.arange(3.0), (2, 3)),
    "big endian": np.array([1, 2, 300], ">i4"),
    "big endian, steps": np.array([1, 2, 3, 4], ">f8")[::2],
    "text": np.array([["ab", "ü"], ["", "xyz"]]),
    "text of no dimensions": np.array("abc"),
    "bytes": np.array([b"a", b"bcd"]),
    "dates": np.array(["2024-01-01", "NaT"], "M8[D]"),
    "spans": np.array([1, -2], "m8[25us]"),
    "complex": np.array([1 + 2j], np.complex128),
    "a field": np.array([(1, 2.5), (3, 4.5)], "i4,f8")["f1"],
    "misaligned": np.frombuffer(b"\0" + np.arange(3.0).tobytes(), "<f8", offset=1),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays(trip: Any, name: str) -> None:
    array = ARRAYS[name]
    found = trip(array)
    assert type(found) is np.ndarray
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.dtype.byteorder == array.dtype.byteorder
    assert found.flags.writeable == array.flags.writeable
    np.testing.assert_array_equal(found, array)


def test_every_number_that_numpy_has(trip: Any) -> None:
    for code in "?bBhHiIlLqQefdFD":
        array = np.array([[0, 1], [1, 0]]).astype(code)
        for one in (array, array.T, array.astype(array.dtype.newbyteorder(">"))):
            np.testing.assert_array_equal(trip(one), one)
            assert trip(one).dtype == one.dtype


def test_tensors_of_one_array_share_its_memory(trip: Any) -> None:
    base = np.arange(6.0)
    array, whole, part, turned = trip(
        [base, torch.from_numpy(base), torch.from_numpy(base)[2:4], torch.as_tensor(base).view(2, 3).t()]
    )
    array[3] = 9.0
    assert whole[3] == part[1] == turned[0, 1] == 9.0


def test_arrays_and_tensors_share_their_memory(trip: Any) -> None:
    base, tensor = np.arange(12.0).reshape(3, 4), torch.arange(4.0)
    found = trip([base, base[1:, ::2], base.T, tensor, tensor.numpy()[1:], torch.from_numpy(base)[0]])
    found[0][1, 0] = 100
    assert found[1][0, 0] == found[2][0, 1] == 100
    found[3][1] = 7
    assert found[4][0] == 7
    assert np.shares_memory(found[0], found[1])


def test_an_array_in_a_module_is_no_part_of_its_state_dict(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    model.table = np.arange(5.0)
    torchkeep.save(model, tmp_path / "m.safetensors")
    with pytest.warns(torchkeep.TorchkeepWarning, match="2 tensors were cast"):
        found = torchkeep.load(tmp_path / "m.safetensors", dtype=torch.float16)
    assert found.table.dtype == np.float64
    np.testing.assert_array_equal(found.table, model.table)
    half = torchkeep.load(tmp_path / "m.safetensors", device="meta")
    np.testing.assert_array_equal(half.table, model.table)  # the array is numpy's, wherever the tensors are
    other = nn.Linear(2, 2)
    torchkeep.load_into(other, tmp_path / "m.safetensors")
    assert torch.equal(other.weight, model.weight)


def test_a_cast_does_not_reach_arrays(tmp_path: Path) -> None:
    tensor = torch.arange(4.0)
    torchkeep.save({"array": np.arange(3.0), "tensor": tensor}, tmp_path / "a.safetensors")
    with pytest.warns(torchkeep.TorchkeepWarning, match="float16"):
        found = torchkeep.load(tmp_path / "a.safetensors", dtype=torch.float16)
    assert (found["array"].dtype, found["tensor"].dtype) == (np.float64, torch.float16)
    torchkeep.save({"array": tensor.numpy(), "tensor": tensor}, tmp_path / "b.safetensors")
    with pytest.raises(torchkeep.LoadError, match=r"shares its memory with a tensor that became torch\.float16"):
        torchkeep.load(tmp_path / "b.safetensors", dtype=torch.float16)


def test_memory_of_an_array_that_nobody_else_holds(tmp_path: Path) -> None:
    """What `__getstate__` makes on the spot lives until it is written."""

    class Holder:
        def __getstate__(self) -> dict[str, Any]:
            return {"array": np.full(100_000, 7, np.int32)}

    torchkeep.save(Holder(), tmp_path / "h.safetensors")
    with pytest.warns(torchkeep.TorchkeepWarning, match="Record"):
        assert (torchkeep.load(tmp_path / "h.safetensors").array == 7).all()


# --- torch ------------------------------------------------------------------------------------------


def test_a_generator_goes_on_where_it_was(trip: Any) -> None:
    generator = torch.Generator().manual_seed(3)
    torch.randn(5, generator=generator)
    found = trip(generator)
    assert torch.equal(torch.randn(9, generator=found), torch.randn(9, generator=generator))


def test_a_generator_of_python_goes_on_where_it_was(trip: Any) -> None:
    generator = random.Random(3)
    generator.gauss(0, 1)
    generator.random()
    found = trip([generator, generator])
    assert found[0] is found[1]
    assert type(found[0]) is random.Random
    assert found[0].getstate() == generator.getstate()
    assert [found[0].gauss(0, 1) for _ in range(3)] == [generator.gauss(0, 1) for _ in range(3)]
    assert trip(random.Random("a seed")).random() == random.Random("a seed").random()
    with pytest.raises(torchkeep.UnsaveableError, match="of a type that this release does not save"):
        trip(random.SystemRandom())


BITS = ["MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"]


@pytest.mark.parametrize("name", BITS)
def test_a_generator_of_numpy_goes_on_where_it_was(trip: Any, tmp_path: Path, name: str) -> None:
    bits = getattr(np.random, name)(5)
    rng = np.random.Generator(bits)
    rng.integers(0, 9, 7, dtype=np.int32)
    first, second, made = trip([rng, np.random.Generator(bits), bits])
    assert type(first) is np.random.Generator
    assert first.bit_generator is second.bit_generator is made
    torchkeep.save({"value": [first, second, made]}, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "value.safetensors").read_bytes()
    for draw in (lambda one: one.integers(0, 9, 5, dtype=np.int32), lambda one: one.random(700)):
        np.testing.assert_array_equal(draw(first), draw(rng))
    np.testing.assert_array_equal(first.spawn(2)[1].random(3), rng.spawn(2)[1].random(3))


def test_an_old_generator_of_numpy(trip: Any) -> None:
    for made in (np.random.RandomState(3), np.random.RandomState(np.random.PCG64(3))):
        made.normal()
        found = trip(made)
        np.testing.assert_array_equal(found.normal(size=9), made.normal(size=9))
        np.testing.assert_array_equal(trip(made).normal(size=9), made.normal(size=9))


def test_seeds_of_numpy(trip: Any) -> None:
    for entropy in (5, 2**127, [1, 2**70], np.array([7, 8], np.uint32)):
        seeds = np.random.SeedSequence(entropy, spawn_key=(3,), pool_size=8)
        seeds.spawn(2)
        found = trip(seeds)
        assert repr(found) == repr(seeds).replace("array([7, 8], dtype=uint32)", "[7, 8]")
        np.testing.assert_array_equal(found.spawn(1)[0].generate_state(4), seeds.spawn(1)[0].generate_state(4))
    with pytest.raises(torchkeep.UnsaveableError, match="pool of more than 64 words"):
        trip(np.random.SeedSequence(1, pool_size=65))
    with pytest.raises(torchkeep.UnsaveableError, match="seeds of more than 1024 bits"):
        trip(np.random.SeedSequence(2**1024))


# --- classes as values ------------------------------------------------------------------------------


def test_data_types_are_values(trip: Any) -> None:
    types_: list[Any] = [int, float, dict, type(None), collections.OrderedDict, np.float32, nn.Linear]
    assert trip(types_, classes=None) == types_


def test_the_table_of_data_types_names_what_it_says() -> None:
    for module_name, names in data_table._TYPES.items():
        for name in names:
            found = data_table.lookup(f"{module_name}:{name}")
            assert isinstance(found, type), name
            assert found is type(None) or data_table.name_of(found) in (f"{module_name}:{name}", f"{module_name}:bool")
    for name in (
        "builtins:eval",
        "builtins:type",
        "collections:UserDict",
        "numpy:memmap",
        "numpy:ndarray",
        "os:system",
        "builtins",
    ):
        assert data_table.lookup(name) is None


# --- classes that nobody named, or that changed -----------------------------------------------------


def test_without_their_classes_they_are_records(tmp_path: Path) -> None:
    path = tmp_path / "r.safetensors"
    torchkeep.save(
        {"point": Point(1, [2]), "color": Color.RED, "flag": Perm.READ | Perm.RUN, "slots": Slotted(3)}, path
    )
    with pytest.warns(torchkeep.TorchkeepWarning, match="came back as inert Records"):
        found = torchkeep.load(path)
    assert {name: type(value) for name, value in found.items()} == dict.fromkeys(found, torchkeep.Record)
    assert (found["point"].x, found["point"].y) == (1, [2])
    assert (found["color"].members, found["flag"].members) == (("RED",), ("READ", "RUN"))
    assert found["slots"].value == 3
    assert torchkeep.load(path, key=("point", "y")) == [2]
    assert {(need.role, need.name.rpartition(":")[2]) for need in torchkeep.inspect(path).needs} == {
        ("namedtuple", "Point"), ("enum", "Color"), ("enum", "Perm"), ("object", "Slotted"),
    }  # fmt: skip


class Holder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.act, self.at, self.slots, self.frozen = Color.BLUE, Point(1, 2), Slotted(1), Frozen(2)


def test_a_module_brings_the_values_of_its_own_package(tmp_path: Path) -> None:
    torchkeep.save(Holder(), tmp_path / "h.safetensors")
    found = torchkeep.load(tmp_path / "h.safetensors")
    assert (found.act, found.at, found.slots.value, found.frozen) == (Color.BLUE, Point(1, 2), 1, Frozen(2))


def test_a_namedtuple_whose_fields_changed(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    torchkeep.save(Point(1, 2), path)
    changed = collections.namedtuple("Point", "x y z")
    with pytest.raises(torchkeep.ChangedClassError, match=r"had the fields x, y .* has x, y, z.*as a Record"):
        torchkeep.load(path, classes={f"{__name__}:Point": changed})


def test_an_enum_that_lost_a_member(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    torchkeep.save(Color.BLUE, path)
    changed = enum.Enum("Color", "RED GREEN")
    with pytest.raises(torchkeep.ChangedClassError, match=r"has no member BLUE.*as a Record"):
        torchkeep.load(path, classes={f"{__name__}:Color": changed})


def test_a_class_of_another_sort_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    torchkeep.save([Color.BLUE, Point(1, 2)], path)
    with pytest.warns(torchkeep.TorchkeepWarning, match=r"which is no (Enum|namedtuple)"):
        found = torchkeep.load(path, classes={f"{__name__}:Color": Config, f"{__name__}:Point": Config})
    assert [type(value) for value in found] == [torchkeep.Record] * 2


def test_inspect_shows_them(tmp_path: Path) -> None:
    path = tmp_path / "v.safetensors"
    value = {
        "color": Color.RED, "at": Point(1, 2), "when": datetime.date(2024, 1, 2), "table": np.zeros((2, 3), "f4"),
        "queue": collections.deque([1], 5), "names": argparse.Namespace(lr=1), "random": torch.Generator(),
        "counts": collections.Counter("a"), Color.BLUE: 1, "half": np.float64(0.5), "texts": np.array(["ab", "c"]),
        "at noon": datetime.datetime(2024, 5, 6, 12, 0, 0, 5, UTC), "path": pathlib.PureWindowsPath("C:\\x"),
    }  # fmt: skip
    torchkeep.save(value, path)
    tree = "\n".join(torchkeep.inspect(path).tree())
    for line in (
        f"['color']: {__name__}:Color.RED",
        f"['at']: {__name__}:Point of 2\n    x: 1",
        "['when']: date 2024-01-02",
        "['at noon']: datetime 2024-05-06 12:00:00.000005 with a time zone",
        "['half']: numpy.scalar 0.5 (<f8)",
        "['path']: pure windows path 'C:\\\\x'",
        "['table']: numpy.ndarray <f4 2x3",
        "['texts']: numpy.ndarray <U2 2",
        "['queue']: deque of 1\n    [0]: 1",
        "['names']: Namespace\n    lr: 1",
        "['random']: torch.Generator on cpu",
        "['counts']: Counter of 1\n    ['a']: 1",
        f"[{__name__}:Color.BLUE]: 1",
    ):
        assert line in tree, tree


def test_records_are_saved_as_what_they_stand_for(tmp_path: Path) -> None:
    """A checkpoint may be loaded and saved again by a program that has none of its classes."""
    first, again = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    config = Config(0.1, [1, 2])
    value = [config, config, Point(1, config), Color.RED, Perm.READ | Perm.RUN, Frozen(3), Both([1])]
    torchkeep.save(value, first)
    with pytest.warns(torchkeep.TorchkeepWarning, match="inert Records"):
        loaded = torchkeep.load(first)
    assert [type(each) for each in loaded] == [torchkeep.Record] * 7
    assert repr(loaded[0]) == f"<Record of {__name__}:Config: lr=0.1, layers=...>"
    torchkeep.save(loaded, again)
    assert first.read_bytes() == again.read_bytes()
    assert torchkeep.diff(first, again).equal
    whole = torchkeep.load(again, classes=CLASSES)
    assert whole[:6] == value[:6]
    assert whole[0] is whole[1] is whole[2].y
    loaded[0].lr = 0.2
    torchkeep.save(loaded, again)
    assert torchkeep.load(again, classes=CLASSES)[0] == Config(0.2, [1, 2])


def test_a_file_of_values_is_open_without_their_classes(tmp_path: Path) -> None:
    path = tmp_path / "v.safetensors"
    torchkeep.save({"config": Config(1), "model": nn.Linear(1, 1)}, path)
    [structure, *_] = torchkeep.inspect(path).routes
    assert structure.open
    assert structure.lacks == (
        f"{__name__}:Config: classes={{'{__name__}:Config': Config}}; without it, an inert Record",
    )
    with pytest.warns(torchkeep.TorchkeepWarning, match="inert Records"):
        assert type(torchkeep.load(path)["config"]) is torchkeep.Record


def test_keys_and_paths_of_the_wrong_type(tmp_path: Path) -> None:
    path = tmp_path / "v.safetensors"
    torchkeep.save({"model": nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 2))}, path)
    assert torchkeep.load(path, key=("model", 1)).out_features == 2
    assert torchkeep.load(path, key=("model", "1")).out_features == 2
    with pytest.raises(torchkeep.KeyMissingError, match=r"\['model'\] has no part '2'; there are '0', '1'"):
        torchkeep.load(path, key=("model", 2))
    swapped = r"a path is a str or an os\.PathLike, not Linear: save\(obj, path\)"
    for call in (lambda: torchkeep.save(str(path), nn.Linear(1, 1)), lambda: torchkeep.load(nn.Linear(1, 1))):
        with pytest.raises(TypeError, match=swapped):
            call()


class Aged:
    def __init__(self) -> None:
        self.a = 1


def test_a_record_of_another_version_than_its_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_by_class", dict(registry._by_class))
    path = tmp_path / "v.safetensors"
    torchkeep.save({"x": Aged()}, path)
    with pytest.warns(torchkeep.TorchkeepWarning, match="inert"):
        record = torchkeep.load(path)["x"]
    torchkeep.register(Aged, version=2, migrations={1: lambda state: None})
    for value in ({"old": record, "new": Aged()}, {"new": Aged(), "old": record}):
        with pytest.raises(
            torchkeep.UnsaveableError, match=r"is of version \d of .*Aged, and something else here is of"
        ):
            torchkeep.save(value, path)


def test_a_record_with_fields_that_its_class_has_not(tmp_path: Path) -> None:
    path = tmp_path / "v.safetensors"
    torchkeep.save([Point(1, 2), Color.RED], path)
    with pytest.warns(torchkeep.TorchkeepWarning, match="inert"):
        point, color = torchkeep.load(path)
    for record in (point, color):
        record.more = 3
        with pytest.raises(torchkeep.UnsaveableError, match="which has other fields"):
            torchkeep.save(record, path)


def test_attributes_of_what_derives_from_a_builtin_have_keys(tmp_path: Path) -> None:
    class Items(dict):  # type: ignore[type-arg]
        pass

    items = Items(a=1)
    items.extra = 2  # type: ignore[attr-defined]
    torchkeep.save({"d": items}, tmp_path / "v.safetensors")
    assert torchkeep.load(tmp_path / "v.safetensors", key=("d", "extra")) == 2
    assert torchkeep.load(tmp_path / "v.safetensors", key=("d", "a")) == 1


def test_a_callable_that_is_a_number_is_no_function_to_a_partial(tmp_path: Path) -> None:
    class Step(int):
        def __call__(self) -> None:
            pass

    with pytest.raises(torchkeep.UnsaveableError, match=r"obj\['f'\]"):
        torchkeep.save({"f": functools.partial(bytes, Step(10**9))}, tmp_path / "v.safetensors")


def test_a_packed_sequence_of_a_class_of_its_own_is_refused(tmp_path: Path) -> None:
    class Packed(nn.utils.rnn.PackedSequence):
        pass

    packed = tuple.__new__(Packed, (torch.zeros(3, 2), torch.tensor([5, 900_000]), None, None))
    with pytest.raises(torchkeep.UnsaveableError, match="PackedSequence of a class of its own"):
        torchkeep.save(packed, tmp_path / "v.safetensors")
