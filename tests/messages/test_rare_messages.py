"""Messages that few people meet: odd objects, optimizers that do not fit, storages that fail."""

from __future__ import annotations

import argparse
import enum
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn, optim

import torchkeep
from torchkeep.storage.failures import typed
from torchkeep.values import registry


class Pen(enum.Enum):
    RED = 1


def test_an_enum_without_a_name(tmp_path: Path) -> None:
    odd = object.__new__(Pen)
    odd._name_, odd._value_ = "GREEN", 2
    with pytest.raises(
        torchkeep.UnsaveableError, match=r"obj\[0\] cannot be saved: .*Pen is no member of its class\. Nothing was"
    ):
        torchkeep.save([odd], tmp_path / "x.safetensors")


def test_a_module_with_two_things_of_one_name(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    model._buffers["weight"] = torch.ones(2)
    with pytest.raises(
        torchkeep.UnsaveableError, match=r"two things of the name 'weight'\. Nothing.*Delete one of them"
    ):
        torchkeep.save(model, tmp_path / "x.safetensors")


def stepped(model: nn.Module, more: list[nn.Parameter] | None = None) -> optim.Optimizer:
    optimizer = optim.Adam([*model.parameters(), *(more or [])])
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return optimizer


def test_optimizer_state_that_is_no_data(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    optimizer = stepped(model)
    optimizer.state[model.weight]["note"] = argparse.Namespace(a=1)
    torchkeep.save({"model": model, "optimizer": optimizer}, tmp_path / "x.safetensors")
    target = nn.Linear(2, 2)
    before = target.weight.detach().clone()
    with pytest.raises(torchkeep.BindError, match=r"optimizer state holds a Namespace\. The target was not changed"):
        torchkeep.load_into({"model": target, "optimizer": optim.Adam(target.parameters())}, tmp_path / "x.safetensors")
    assert torch.equal(target.weight, before)


class Extra(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.state: Any = None

    def get_extra_state(self) -> Any:
        return self.state

    def set_extra_state(self, state: Any) -> None:
        self.state = state


class Vocabulary:
    def __init__(self, words: list[str]) -> None:
        self.words = words


def test_extra_state_of_a_class_that_needs_its_codec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Words(Vocabulary):
        pass

    monkeypatch.setattr(registry, "_by_class", dict(registry._by_class))
    torchkeep.register(Words, encode=lambda words: words.words, decode=Words)
    model = Extra()
    model.state = Words(["a"])
    torchkeep.save(model, tmp_path / "x.safetensors")
    monkeypatch.setattr(registry, "_by_class", {})
    with pytest.raises(
        torchkeep.TrustError,
        match=r"the state holds objects of .*Words, which load_into makes only for classes that are registered\. The "
        r"target was not changed\. Call torchkeep\.register\(cls\) for each",
    ):
        torchkeep.load_into(Extra(), tmp_path / "x.safetensors")


def test_a_class_that_a_module_only_re_exports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = types.ModuleType("exporting")
    exec("from torch import nn\nclass Net(nn.Module): ...\nclass Plain: ...", vars(package))
    monkeypatch.setitem(sys.modules, "exporting", package)
    torchkeep.save(vars(package)["Net"](), tmp_path / "x.safetensors")
    named = vars(package)["Net"]
    vars(package)["Net"] = Extra
    with pytest.raises(torchkeep.TrustError, match=r"exporting:Net +\(module\) is another name of .*:Extra now"):
        torchkeep.load(tmp_path / "x.safetensors")
    vars(package)["Net"] = 5
    with pytest.raises(torchkeep.TrustError, match=r"exporting:Net .* exporting defines no class of that name"):
        torchkeep.load(tmp_path / "x.safetensors")
    vars(package)["Net"] = type("Net", (), {"__module__": "exporting"})
    with pytest.raises(torchkeep.TrustError, match=r"exporting:Net +\(module\) is imported, but is no nn\.Module"):
        torchkeep.load(tmp_path / "x.safetensors")
    assert type(torchkeep.load(tmp_path / "x.safetensors", classes=[named])) is named


@contextmanager
def failing() -> Iterator[None]:
    with typed("s3://bucket/x", doing="cannot read 's3://bucket/x'", unchanged="nothing was loaded"):
        yield


def test_a_storage_that_fails_in_its_own_way() -> None:
    with (
        pytest.raises(
            torchkeep.PathError,
            match=r"cannot read 's3://bucket/x': RuntimeError: throttled; nothing was loaded\. The storage failed",
        ) as caught,
        failing(),
    ):
        raise RuntimeError("throttled")
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_name_that_no_file_system_takes() -> None:
    with pytest.raises(torchkeep.PathError, match=r"names no file: '\\ud800' is no character of a name here; nothing"):
        torchkeep.save(torch.ones(1), "a\ud800b")
