"""10,000 levels, a million scalars, long texts, large integers: saved right, or refused with a way out."""

from __future__ import annotations

import argparse
import functools
import os
import subprocess
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from safetensors import safe_open
from torch import nn

import torchkeep

LEVELS = 10_000


class Pair(NamedTuple):
    inner: Any
    level: int


class Holder:
    pass


class Slotted:
    __slots__ = ("inner",)


class Block(nn.Module):
    def __init__(self, inner: nn.Module | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.inner = inner


def _holding(obj: Any, inner: Any) -> Any:
    obj.inner = inner
    return obj


def _noted(inner: Any) -> torch.Tensor:
    tensor = torch.ones(1)
    vars(tensor)["inner"] = inner
    return tensor


DEEP: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "list": (lambda inner: [inner], lambda made: made[0]),
    "tuple": (lambda inner: (inner,), lambda made: made[0]),
    "dict": (lambda inner: {"k": inner}, lambda made: made["k"]),
    "OrderedDict": (lambda inner: OrderedDict(k=inner), lambda made: made["k"]),
    "Counter": (lambda inner: Counter(k=inner), lambda made: made["k"]),
    "Namespace": (lambda inner: argparse.Namespace(inner=inner), lambda made: made.inner),
    "SimpleNamespace": (lambda inner: SimpleNamespace(inner=inner), lambda made: made.inner),
    "namedtuple": (lambda inner: Pair(inner, 1), lambda made: made.inner),
    "object": (lambda inner: _holding(Holder(), inner), lambda made: made.inner),
    "slots": (lambda inner: _holding(Slotted(), inner), lambda made: made.inner),
    "partial": (lambda inner: functools.partial(nn.functional.relu, inner), lambda made: made.args[0]),
    "tensor": (_noted, lambda made: made.inner),
    "Sequential": (lambda inner: nn.Sequential(*[inner] * (inner is not None)), lambda made: next(iter(made), None)),
    "modules": (Block, lambda made: made.inner),
    "module attributes": (lambda inner: _holding(nn.Identity(), (inner,)), lambda made: made.inner[0]),
}


def _deep(make: Callable[[Any], Any], levels: int) -> Any:
    made = None
    for _ in range(levels):
        made = make(made)
    return made


@pytest.fixture
def free() -> Iterator[Callable[[Any, Callable[[Any], Any]], None]]:
    """Takes deep objects apart level by level, from outside; nothing of ours is at stake in how Python frees them."""
    kept: list[tuple[Any, Callable[[Any], Any]]] = []
    yield lambda made, inner: kept.append((made, inner))
    for made, inner in kept:
        levels = []
        while made is not None:
            levels.append(made)
            made = inner(made)
        while levels:
            levels.pop()


@pytest.mark.parametrize("name", DEEP)
def test_levels(name: str, tmp_path: Path, free: Callable[..., None]) -> None:
    make, inner = DEEP[name]
    path = tmp_path / "deep.safetensors"
    obj = _deep(make, LEVELS)
    torchkeep.save(obj, path, durable=False)
    report = torchkeep.inspect(path)
    assert len(report.text()) < 100_000
    assert report.to_dict()["nbytes"] == path.stat().st_size
    loaded = torchkeep.load(path, classes=[Pair, Holder, Slotted, Block])
    free(obj, inner)
    free(loaded, inner)
    levels = 0
    while loaded is not None:
        assert type(loaded) is type(obj)
        loaded = inner(loaded)
        levels += 1
    assert levels == LEVELS
    with safe_open(path, "pt") as opened:
        assert len(opened.keys()) == (LEVELS if name in ("tensor", "modules") else 0)


def test_levels_of_everything_at_once(tmp_path: Path, free: Callable[..., None]) -> None:
    names = [name for name in DEEP if name not in ("Sequential", "modules", "partial", "tensor")]
    obj: Any = None
    for i in range(LEVELS):
        obj = DEEP[names[i % len(names)]][0](obj)

    def inner(made: Any) -> Any:
        for name in names:
            if type(made) is type(DEEP[name][0](None)):
                return DEEP[name][1](made)
        raise AssertionError(type(made))

    path = tmp_path / "deep.safetensors"
    torchkeep.save(obj, path, durable=False)
    loaded = torchkeep.load(path, classes=[Pair, Holder, Slotted])
    free(obj, inner)
    free(loaded, inner)
    while obj is not None:
        assert type(obj) is type(loaded)
        obj, loaded = inner(obj), inner(loaded)
    assert loaded is None


@pytest.mark.parametrize("make", [lambda inner: defaultdict(None, k=inner), lambda inner: deque([inner]), slice])
def test_what_python_frees_by_recursion_is_refused_beyond_its_limit(make: Callable[[Any], Any], tmp_path: Path) -> None:
    obj = _deep(make, 1001)
    with pytest.raises(torchkeep.SaveError, match=r"more than 1000 levels of .* Nothing was written\."):
        torchkeep.save(obj, tmp_path / "deep.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("make", [lambda inner: (inner,), lambda inner: frozenset([inner])], ids=["tuple", "frozenset"])
def test_a_key_of_many_levels_is_refused(make: Callable[[Any], Any], tmp_path: Path) -> None:
    key = _deep(make, 2000)
    with pytest.raises(torchkeep.UnsaveableError, match=r"^\[TK-UNSAVEABLE\] obj\['a'\] cannot be saved: .*1000 parts"):
        torchkeep.save({"a": {key: 1}}, tmp_path / "deep.safetensors")


def test_an_error_far_down_has_a_message_that_can_be_read(tmp_path: Path) -> None:
    with pytest.raises(torchkeep.UnsaveableError) as caught:
        torchkeep.save(_deep(lambda inner: {"key": inner or print}, LEVELS), tmp_path / "deep.safetensors")
    assert caught.value.where == "obj" + "['key']" * LEVELS
    assert len(str(caught.value)) < 25_000
    assert "Nothing was written." in str(caught.value)


def test_a_deep_model_and_load_into(tmp_path: Path) -> None:
    """torch's own walks recurse: what they cannot do is refused, and the target is as it was."""
    path, flat = tmp_path / "deep.safetensors", tmp_path / "flat.safetensors"
    model = _deep(Block, LEVELS)
    torchkeep.save(model, path, durable=False)
    torchkeep.save(nn.Linear(1, 1), flat)
    with pytest.raises(torchkeep.LoadError, match=r"levels\. The target was not changed\."):
        torchkeep.load_into(model, path)
    with pytest.raises(torchkeep.BindError, match=r"nested deeper than .* The target was not changed\."):
        torchkeep.load_into(model, flat, strict=False)
    skeleton = torchkeep.load(path, route="skeleton")
    levels = 0
    while skeleton is not None:
        assert torch.equal(vars(skeleton)["_parameters"]["weight"], torch.ones(1))
        skeleton = vars(skeleton)["_modules"].get("inner")
        levels += 1
    assert levels == LEVELS


HUNDRED_THOUSAND = """
import sys, torch, torchkeep
from torch import nn
sys.setrecursionlimit(200)
def seq(inner):
    made = nn.Sequential()
    if inner is not None:
        made._modules["0"] = inner
    return made
obj = None
for _ in range(50_000):
    obj = seq(obj)
for _ in range(25_000):
    obj = {"k": [obj]}
torchkeep.save(obj, sys.argv[1], durable=False)
del obj
torchkeep.inspect(sys.argv[1]).text()
loaded = torchkeep.load(sys.argv[1])
assert type(loaded["k"][0]["k"]) is list
del loaded
print("freed")
"""


@pytest.mark.slow
def test_a_hundred_thousand_levels_under_a_small_stack(tmp_path: Path) -> None:
    """Nothing of ours recurses, and what Python frees it frees without: in a process of its own, which could crash."""
    command = f"ulimit -s 1024; exec {sys.executable} -c '{HUNDRED_THOUSAND}' {tmp_path / 'x.safetensors'}"
    if sys.platform == "win32":
        pytest.skip("no ulimit")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    asked = ["bash", "-c", command]
    done = subprocess.run(asked, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stdout.strip()) == (0, "freed"), done.stderr


# --- a million --------------------------------------------------------------------------------------

MILLION = 1_000_000

MANY: dict[str, Callable[[], Any]] = {
    "integers": lambda: list(range(MILLION)),
    "booleans": lambda: [i % 3 == 0 for i in range(MILLION)],
    "lists of a thousand": lambda: [list(range(i, i + 1000)) for i in range(1000)],
    "floats by name": lambda: {f"k{i}": i / 64 for i in range(MILLION // 4)},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MANY)
def test_a_million_scalars(name: str, tmp_path: Path) -> None:
    obj = MANY[name]()
    path = tmp_path / "x.safetensors"
    torchkeep.save(obj, path, durable=False)
    loaded = torchkeep.load(path)
    assert loaded == obj
    assert path.stat().st_size < 25_000_000
    torchkeep.inspect(path).text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "largest"),
    [
        (lambda: {"epoch": 3, "losses": [1 / (i + 1) for i in range(MILLION)]}, "obj['losses'], a list of 1000000"),
        (lambda: {"by": {f"k{i}": 1 / (i + 1) for i in range(600_000)}}, "obj['by'], a dict of 600000"),
    ],
    ids=["floats", "floats by name"],
)
def test_what_is_too_much_for_a_header_is_refused_with_a_way_out(
    make: Callable[[], Any], largest: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"what was there")
    with pytest.raises(torchkeep.SaveError) as caught:
        torchkeep.save(make(), path)
    message = str(caught.value)
    assert "readers accept 25000000" in message
    assert largest in message
    assert "Nothing was written." in message
    assert "as tensors" in message
    assert path.read_bytes() == b"what was there"
    assert list(tmp_path.iterdir()) == [path]


def test_a_million_numbers_as_the_message_says(tmp_path: Path) -> None:
    losses = torch.tensor([1 / (i + 1) for i in range(MILLION)], dtype=torch.float64)
    torchkeep.save({"epoch": 3, "losses": losses}, tmp_path / "x.safetensors", durable=False)
    assert torch.equal(torchkeep.load(tmp_path / "x.safetensors")["losses"], losses)


def test_many_tensors_that_ask_for_one_name(tmp_path: Path) -> None:
    """Keys that have no spelling all give the same name; numbering them is linear work."""
    path = tmp_path / "x.safetensors"

    def save_and_load(count: int) -> None:
        obj = {(i,): torch.tensor(i) for i in range(count)}
        torchkeep.save(obj, path, durable=False)
        loaded = torchkeep.load(path)
        assert list(loaded) == list(obj)
        assert all(loaded[key].item() == key[0] for key in loaded)

    save_and_load(10)  # what is made once
    few, many = (_lines_of(functools.partial(save_and_load, count)) for count in (200, 1600))
    assert many < 9 * few


def _lines_of(run: Callable[[], object]) -> int:
    """How many lines of torchkeep a call goes through: work that no busy machine makes longer."""
    package, lines = str(Path(torchkeep.__file__).parent), 0

    def trace(frame: Any, event: str, arg: object) -> Any:
        nonlocal lines
        lines += event == "line"
        return trace if frame.f_code.co_filename.startswith(package) else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(before)
    return lines


# --- long texts, large integers ---------------------------------------------------------------------


@pytest.mark.slow
def test_texts_of_a_hundred_megabytes(tmp_path: Path) -> None:
    text, data = "é\0\ud800a" * 25_000_000, bytes(range(256)) * 400_000
    path = tmp_path / "x.safetensors"
    torchkeep.save({"text": text, "data": data, text: data}, path, durable=False)
    loaded = torchkeep.load(path)
    assert loaded["text"] == text
    assert loaded["data"] == data
    assert loaded[text] is loaded["data"]
    assert len(torchkeep.inspect(path).text()) < 10_000


LIMIT_NBITS = 8 * 65_536


@pytest.mark.parametrize("sign", [1, -1])
def test_integers_up_to_the_limit(sign: int, tmp_path: Path) -> None:
    largest = sign * (2**LIMIT_NBITS - 1)
    torchkeep.save({"n": largest, "k": {sign * 2**64: 1}}, tmp_path / "x.safetensors")
    assert torchkeep.load(tmp_path / "x.safetensors") == {"n": largest, "k": {sign * 2**64: 1}}
    assert "<int>" in torchkeep.inspect(tmp_path / "x.safetensors").text()
    with pytest.raises(torchkeep.UnsaveableError, match=r"longer than 65536 bytes.*Keep it as a string or as a tensor"):
        torchkeep.save([sign * 2**LIMIT_NBITS], tmp_path / "y.safetensors")
    with pytest.raises(torchkeep.UnsaveableError, match="too many for a key"):
        torchkeep.save({largest: 1}, tmp_path / "y.safetensors")


@pytest.mark.parametrize(
    ("make", "where"),
    [
        (type("C" * 20_000, (), {}), "obj"),
        (lambda: _named("a" * 20_000, Holder()), "obj." + "a" * 20_000),
        (lambda: _named("a" * 20_000, nn.Linear(1, 1)), "model." + "a" * 20_000),
    ],
    ids=["class", "attribute", "module attribute"],
)
def test_a_name_that_is_too_long(make: Callable[[], Any], where: str, tmp_path: Path) -> None:
    with pytest.raises(torchkeep.UnsaveableError, match=r"16384.*Nothing was written\. Rename it\.") as caught:
        torchkeep.save(make(), tmp_path / "x.safetensors")
    assert caught.value.where == where
    assert len(str(caught.value)) < 25_000


def _named(name: str, obj: Any) -> Any:
    vars(obj)[name] = 1
    return obj
