"""Partials of Python's own types: kept where a call makes no more than it is given, refused otherwise."""

from __future__ import annotations

import collections
import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import torchkeep
from torchkeep.values import data_table

SMALL: list[tuple[Any, object]] = [
    (functools.partial(collections.deque, maxlen=3), collections.deque(maxlen=3)),
    (functools.partial(collections.deque, [1], 2), collections.deque([1], 2)),
    (functools.partial(collections.deque, maxlen=2**63 - 1), collections.deque(maxlen=2**63 - 1)),
    (functools.partial(dict, a=1, b=[2]), {"a": 1, "b": [2]}),
    (functools.partial(collections.OrderedDict, a=None), collections.OrderedDict(a=None)),
    (functools.partial(collections.Counter, a=1), collections.Counter(a=1)),
    (functools.partial(collections.defaultdict, list, a=[1]), collections.defaultdict(list, a=[1])),
    (functools.partial(collections.defaultdict, functools.partial(collections.deque, maxlen=1)), {}),
    (functools.partial(collections.defaultdict, None), {}),
    (functools.partial(list, (0, 0)), [0, 0]),
    (functools.partial(tuple, [1]), (1,)),
    (functools.partial(int, 5), 5),
    (functools.partial(int, "ff", base=16), 255),
    (functools.partial(float, "nan"), float("nan")),
    (functools.partial(complex, real=1, imag=2), 1 + 2j),
    (functools.partial(str, 1.5), "1.5"),
    (functools.partial(bool, 0), False),
    (functools.partial(np.float32, 0.5), np.float32(0.5)),
    (functools.partial(object), None),
]


@pytest.mark.parametrize(("value", "made"), SMALL, ids=lambda value: f"{value!r:.60}")
def test_they_come_back(tmp_path: Path, value: Any, made: object) -> None:
    path = tmp_path / "p.safetensors"
    torchkeep.save({"p": value}, path)
    found = torchkeep.load(path)["p"]
    assert type(found) is functools.partial
    assert (found.func, repr(found)) == (value.func, repr(value))
    assert made is None or repr(found()) == repr(made) or found() == made
    again = tmp_path / "again.safetensors"
    torchkeep.save({"p": found}, again)
    assert again.read_bytes() == path.read_bytes()


def test_a_factory_and_a_converter_keep_working(tmp_path: Path) -> None:
    path = tmp_path / "d.safetensors"
    windows = collections.defaultdict(functools.partial(collections.deque, maxlen=3))
    torchkeep.save({"windows": windows, "binary": functools.partial(int, base=2)}, path)
    found = torchkeep.load(path)
    found["windows"]["loss"].extend(range(5))
    assert found["windows"]["loss"] == collections.deque([2, 3, 4], maxlen=3)
    assert found["binary"]("101") == 5


LARGE: list[Any] = [
    functools.partial(bytes, 10**10),
    functools.partial(bytearray, 10**10),
    functools.partial(np.bytes_, 10**10),
    functools.partial(np.str_, "a"),
    functools.partial(list, range(10**10)),
    functools.partial(tuple, "ab"),
    functools.partial(collections.deque, range(10**10), 1),
    functools.partial(collections.deque, maxlen=[1]),
    functools.partial(set, [(1, 2)]),
    functools.partial(frozenset, ()),
    functools.partial(dict, [(1, 2)]),
    functools.partial(dict, {}),
    functools.partial(collections.Counter, [1]),
    functools.partial(range, 10**10),
    functools.partial(str, b"abc"),
    functools.partial(str, encoding="utf-7"),
    functools.partial(int, "1" * 4301),
    functools.partial(int, base="2"),
    functools.partial(np.float32, [1.0]),
    functools.partial(np.datetime64, "2024"),
    functools.partial(object, 1),
    functools.partial(slice, 1),
]


@pytest.mark.parametrize("value", LARGE, ids=lambda value: f"{value!r:.60}")
def test_what_might_make_anything_is_refused_by_save(tmp_path: Path, value: Any) -> None:
    with pytest.raises(
        torchkeep.UnsaveableError, match=r"obj\['f'\] .* is a partial of \w+ with arguments .* any size"
    ):
        torchkeep.save({"f": value}, tmp_path / "p.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_others_gives_an_inert_one_with_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p.safetensors"
    with monkeypatch.context() as other:
        other.setattr(data_table, "is_small_call", lambda *call: True)
        torchkeep.save([collections.defaultdict(functools.partial(bytes, 10**10)), functools.partial(range, 5)], path)
    with pytest.warns(torchkeep.TorchkeepWarning, match=r"a partial of builtins:(bytes|range) came back as an inert R"):
        groups, numbers = torchkeep.load(path)
    assert groups.default_factory is None
    assert (type(numbers), numbers.args) == (torchkeep.Record, (5,))


def test_what_a_module_makes_of_them_is_as_before(tmp_path: Path) -> None:
    torchkeep.save({"norm": functools.partial(nn.LayerNorm, eps=1e-6), "f": functools.partial(torch.mul, other=2)},
                   tmp_path / "n.safetensors")  # fmt: skip
    found = torchkeep.load(tmp_path / "n.safetensors")
    assert found["norm"](4).eps == 1e-6
    assert found["f"](torch.ones(1)) == 2
