"""A codec's `decode` gets its whole state: an object that its own state leads back to is refused on both ways."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import torchkeep
from torchkeep.document import Node, Ref, Seq
from torchkeep.values import encode, registry
from torchkeep.values.cycles import on_cycles

ENCODE: Any = sys.modules["torchkeep.values.encode"]


class Box:
    __slots__ = ("items",)

    def __init__(self, items: Any) -> None:
        self.items = items

    def __reduce__(self) -> Any:
        raise TypeError("not pickled")


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_by_class", dict(registry._by_class))
    torchkeep.register(Box, encode=lambda box: box.items, decode=Box)


def through(items: Any) -> Box:
    """A box that its items lead back to."""
    box = Box(items)
    inner = items if isinstance(items, list) else items["in"]
    inner.append(box)
    return box


@pytest.mark.parametrize("items", [[], {"in": []}, [[]]], ids=["list", "dict", "nested"])
def test_a_save_is_refused(tmp_path: Path, items: Any) -> None:
    with pytest.raises(torchkeep.UnsaveableError, match=r"obj\['a'\]\[0\] .*refers to itself") as caught:
        torchkeep.save({"a": [through(items)]}, tmp_path / "x.safetensors")
    assert caught.value.where == "obj['a'][0]"
    assert not list(tmp_path.iterdir())


def test_a_file_of_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program may have written it: nothing of a state that is not whole reaches decode."""
    monkeypatch.setattr(ENCODE._Walk, "_refuse_cycles", lambda self, nodes: None)
    torchkeep.save(through([]), tmp_path / "x.safetensors")
    decoded: list[Any] = []
    known = registry.registration(Box)
    assert known is not None
    with (
        registry.replaced_meanwhile(dataclasses.replace(known, decode=decoded.append)),
        pytest.raises(torchkeep.LoadError, match="leads back to the object"),
    ):
        torchkeep.load(tmp_path / "x.safetensors")
    assert not decoded


def test_what_only_looks_like_one(tmp_path: Path) -> None:
    """Sharing, cycles beside it and inside of its state, and boxes in boxes, by the thousand."""
    around: list[Any] = []
    around.append(around)
    box = Box([around, 1])
    for _ in range(2000):
        box = Box([box, around])
    torchkeep.save([box, box, around], tmp_path / "x.safetensors")
    one, other, loaded = torchkeep.load(tmp_path / "x.safetensors")
    assert one is other
    for _ in range(2001):
        assert loaded[0] is loaded
        inner, beside = one.items
        assert (beside is loaded) or (beside == 1 and inner is loaded)
        one = inner


@given(st.lists(st.lists(st.integers(0, 11), max_size=4), min_size=12, max_size=12))
def test_cycles_are_those_that_a_walk_finds(below: list[list[int]]) -> None:
    nodes: list[Node] = [Seq("list", tuple(map(Ref, children))) for children in below]
    due = set()
    for start in range(12):
        reached: set[int] = set()
        waiting = list(below[start])
        while waiting:
            if (here := waiting.pop()) not in reached:
                reached.add(here)
                waiting += below[here]
        if start in reached:
            due.add(start)
    found = list(on_cycles(nodes))
    assert set(found) == due
    assert len(found) == len(due)


def test_a_decode_that_makes_something_else(tmp_path: Path) -> None:
    torchkeep.save(Box([1]), tmp_path / "x.safetensors")
    torchkeep.register(Box, encode=lambda box: box.items, decode=tuple)
    with pytest.raises(torchkeep.LoadError, match=r"made a tuple of its state.*Nothing was loaded"):
        torchkeep.load(tmp_path / "x.safetensors")


def test_encode_without_codecs_looks_for_no_cycles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ENCODE, "on_cycles", lambda nodes: pytest.fail("looked"))
    around: list[Any] = []
    around.append(around)
    assert encode(around).document.nodes
