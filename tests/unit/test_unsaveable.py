"""What cannot be saved: refused with its path, or left out where the caller allows it."""

from __future__ import annotations

import collections
import functools
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import torchkeep


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.act = lambda x: x
        self.held = {"lock": threading.Lock(), "rest": [torch.ones(2), sys.stdout]}
        self.counts = collections.defaultdict(lambda: 0, a=1)
        self.later = functools.partial(lambda x: x, 1)


LEFT = ["model.act", "model.held['lock']", "model.held['rest'][1]", "model.counts", "model.later"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "net.safetensors"
    with pytest.warns(torchkeep.TorchkeepWarning, match="it was left out"):
        report = torchkeep.save(Net(), path, allow={"unsaveable"})
    assert [finding.path for finding in report.findings if finding.code == "unsaveable"] == LEFT
    return path


def test_it_is_refused_unless_allowed(tmp_path: Path) -> None:
    with pytest.raises(torchkeep.UnsaveableError, match=r"^\[TK-UNSAVEABLE\] model\.act cannot be saved") as caught:
        torchkeep.save(Net(), tmp_path / "net.safetensors")
    assert caught.value.where == "model.act"
    assert callable(caught.value.subject)
    assert not list(tmp_path.iterdir())


def test_the_whole_is_closed_and_says_so(path: Path) -> None:
    for trusted in ({}, {"classes": [Net]}):
        with pytest.raises(torchkeep.LoadError) as caught:
            torchkeep.load(path, **trusted)  # type: ignore[arg-type]
        message = str(caught.value)
        assert "Net.__init__.<locals>.<lambda> could not be saved and was left out (model.act, " in message
        assert "Nothing was loaded." in message
        assert f"torchkeep.load_into(model, {str(path)!r})" in message
        assert f"torchkeep.load({str(path)!r}, route='skeleton')" in message


def test_weights_parts_and_skeleton_are_kept(path: Path) -> None:
    model = Net()
    report = torchkeep.load_into(model, path)
    assert (report.matched, report.total) == (2, 2)
    assert isinstance(torchkeep.load(path, key="fc"), nn.Linear)
    assert torch.equal(torchkeep.load(path, key=("held", "rest", 0)), torch.ones(2))
    with pytest.warns(torchkeep.TorchkeepWarning, match="came back as an inert Record"):
        skeleton = torchkeep.load(path, route="skeleton")
    assert type(skeleton.act) is type(skeleton.held["lock"]) is torchkeep.Record
    assert type(skeleton.later) is torchkeep.Record
    assert skeleton.counts == {"a": 1}
    with pytest.raises(KeyError):
        skeleton.counts["b"]
    assert torch.equal(skeleton.fc.weight, model.fc.weight)


def test_inspect_tells(path: Path) -> None:
    report = torchkeep.inspect(path)
    routes = {route.name: route for route in report.routes}
    assert not routes["structure"].open
    assert any("_thread.lock: it could not be saved" in lack for lack in routes["structure"].lacks)
    assert routes["weights"].open
    assert routes["skeleton"].open
    assert any("opaque an object of _thread.lock" in line for line in report.tree())


def test_an_attribute_that_hides_a_method_is_left_out(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    model.forward = lambda x: x  # type: ignore[method-assign]
    with pytest.warns(torchkeep.TorchkeepWarning, match=r"model\.forward: .* hides the method 'forward'"):
        torchkeep.save(model, tmp_path / "m.safetensors", allow="unsaveable")
    target = nn.Linear(2, 2)
    torchkeep.load_into(target, tmp_path / "m.safetensors")
    assert torch.equal(target.weight, model.weight)


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (threading.Lock(), "obj"),  # nothing would be left
        ({threading.Lock(): 1}, "obj"),  # a key
        ([torch.fx.symbolic_trace(nn.ReLU())], "obj[0]"),  # weights would be lost
        ([torch.ones(2).to_mkldnn()], "obj[0]"),
    ],
    ids=["all of it", "a key", "a module", "a tensor"],
)
def test_what_would_take_weights_along_is_refused_all_the_same(tmp_path: Path, value: Any, where: str) -> None:
    with pytest.raises(torchkeep.UnsaveableError) as caught:
        torchkeep.save(value, tmp_path / "x.safetensors", allow={"unsaveable"})
    assert caught.value.where == where
    assert not list(tmp_path.iterdir())


def test_many_are_told_in_few_warnings(tmp_path: Path) -> None:
    with pytest.warns(torchkeep.TorchkeepWarning) as told:
        report = torchkeep.save(
            [threading.Lock() for _ in range(100)], tmp_path / "x.safetensors", allow={"unsaveable"}
        )
    assert len(told) < 30
    assert "more like these" in str(told[-1].message)
    assert len(report.findings) == 100


def test_allow_takes_known_words(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"allow takes \['unsaveable'\], not \['everything'\]"):
        torchkeep.save(1, tmp_path / "x.safetensors", allow={"everything"})
