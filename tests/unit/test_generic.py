"""Objects of generic classes, made as ``Net[int]()``: Python leaves an ``__orig_class__`` in each."""

from __future__ import annotations

import collections
import functools
from pathlib import Path
from typing import Any, Generic, TypeVar

import pytest
import torch
from torch import nn

import torchkeep

T = TypeVar("T")


class Plain(Generic[T]):
    def __init__(self) -> None:
        self.a = 1


class Stated(Plain[T]):
    def __getstate__(self) -> dict[str, Any]:
        return dict(vars(self))


class Items(dict[str, T], Generic[T]):
    pass


class Block(nn.Module, Generic[T]):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x)


class Net(Block[T]):
    def __init__(self) -> None:
        super().__init__()
        self.block = Block[str]()
        self.plain, self.stated, self.items = Plain[int](), Stated[str](), Items[int](x=1)
        self.ordered = collections.OrderedDict[str, int](a=1)
        self.counts = collections.Counter[str]("ab")
        self.call = functools.partial[int](torch.add)


NOT_TYPED = ["block", "plain", "stated", "items", "ordered", "counts", "call"]


def test_they_come_back_without_it(tmp_path: Path) -> None:
    path, again = tmp_path / "n.safetensors", tmp_path / "again.safetensors"
    net = Net[int]()
    assert all("__orig_class__" in vars(one) for one in (net, *(getattr(net, name) for name in NOT_TYPED)))
    report = torchkeep.save(net, path)
    found = torchkeep.load(path)
    noted = {finding.path for finding in report.findings if finding.code == "typing"}
    assert noted == {"model", *(f"model.{name}" for name in NOT_TYPED)}
    for one in (found, *(getattr(found, name) for name in NOT_TYPED)):
        assert "__orig_class__" not in vars(one)
    assert (found.plain.a, found.items, found.counts) == (1, {"x": 1}, {"a": 1, "b": 1})
    assert "__orig_class__" in vars(net)
    x = torch.ones(1, 2)
    assert torch.equal(found(x), net.eval()(x))
    report = torchkeep.save(found.train(), again)
    assert not report.findings


def test_another_attribute_of_that_name_is_refused(tmp_path: Path) -> None:
    net = Block[int]()
    vars(net)["__orig_class__"] = 3
    with pytest.raises(torchkeep.UnsaveableError, match=r"__orig_class__ .* dunder name"):
        torchkeep.save(net, tmp_path / "n.safetensors")


def test_one_with_nothing_else_is_as_one_that_has_nothing(tmp_path: Path) -> None:
    written = []
    for i, value in enumerate((Items[int](), Items())):
        path = tmp_path / f"{i}.safetensors"
        torchkeep.save({"a": value}, path)
        written.append(torchkeep.inspect(path).tree())
    assert list(written[0]) == list(written[1])
