"""`diff`: each kind of difference by itself, at its place, and nothing else."""

from __future__ import annotations

import argparse
import copy
import datetime
import decimal
import enum
import json
import pathlib
import subprocess
import sys
import types
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import torchkeep
from torchkeep import DiffReport, KeyMissingError, document
from torchkeep.document import Changes, Document, Map, Ref, Seq, TensorRef, TensorTable, Typed
from torchkeep.report import tell as report_of

Diff = Callable[..., DiffReport]


@pytest.fixture
def diff(tmp_path: Path) -> Diff:
    """Saves two objects and compares the files."""

    def compare(a: Any, b: Any, **options: Any) -> DiffReport:
        for name, obj in (("a", a), ("b", b)):
            torchkeep.save(obj, tmp_path / name, durable=False)
        there = torchkeep.diff(tmp_path / "a", tmp_path / "b", **options)
        back = torchkeep.diff(tmp_path / "b", tmp_path / "a", **options)
        assert there.equal == back.equal
        assert there.compared == back.compared
        assert len(there.differences) == len(back.differences)
        json.dumps(there.to_dict())
        return there

    return compare


def told(report: DiffReport) -> list[tuple[Any, ...]]:
    return [(d.kind, d.path, d.what, d.before, d.after) for d in report.differences]


def lines(report: DiffReport) -> list[str]:
    """The lines of a report that are about differences."""
    return [line.strip() for line in report.text(limit=None).splitlines() if line.startswith("  ")]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 3)
        self.second = nn.Linear(3, 3)
        self.register_buffer("scale", torch.ones(3))
        self.rate = 0.5


class Other(Net):
    pass


class Config:
    def __init__(self, **state: Any) -> None:
        vars(self).update(state)


class Color(enum.Enum):
    RED = 1
    BLUE = 2


Point = namedtuple("Point", ["x", "y"])


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net()


def changed(net: Net, change: Callable[[Net], object]) -> Net:
    other = copy.deepcopy(net)
    change(other)
    return other


# --- no difference ---


def test_no_difference(diff: Diff, net: Net) -> None:
    report = diff({"net": net, "epoch": 3}, copy.deepcopy({"net": net, "epoch": 3}))
    assert report.equal
    assert report.tensors_equal
    assert report.differences == ()
    assert report.compared == 5
    a, b, rest = report.text().partition(": ")
    assert a.endswith("/b")
    assert (b, rest) == (": ", "no difference\ntensors  5 compared, none changed")
    assert report  # a report is true whatever it says
    assert repr(report).endswith("no difference)")


# --- tensors ---


def test_values(diff: Diff, net: Net) -> None:
    other = changed(net, lambda n: n.second.weight.data[1, 1].add_(1))
    report = diff({"net": net}, {"net": other})
    assert told(report) == [
        ("values", ("net", "second", "weight"), "", "parameter float32 3x3", "parameter float32 3x3")
    ]
    assert lines(report) == ["~ ['net'].second.weight: other values, parameter float32 3x3"]
    assert report.changed == list(report.differences)
    assert not report.equal
    assert not report.tensors_equal
    assert "5 compared, 1 changed" in report.text()


def test_the_path_is_a_key(diff: Diff, net: Net, tmp_path: Path) -> None:
    report = diff({"net": [net]}, {"net": [changed(net, lambda n: n.second.weight.data.add_(1))]})
    found = torchkeep.load(tmp_path / "b", key=report.differences[0].path)
    assert torch.equal(found, net.second.weight + 1)


def test_negative_zero_and_nan_are_bits(diff: Diff) -> None:
    assert told(diff([torch.zeros(2)], [-torch.zeros(2)])) == [
        ("values", (0,), "", "tensor float32 2", "tensor float32 2")
    ]
    assert diff([torch.tensor(float("nan"))], [torch.tensor(float("nan"))]).equal


def test_dtype_and_shape(diff: Diff) -> None:
    report = diff({"w": torch.zeros(2, 3), "v": torch.zeros(3)}, {"w": torch.zeros(6), "v": torch.zeros(3).double()})
    assert told(report) == [("shape", ("w",), "", "2x3", "6"), ("dtype", ("v",), "", "float32", "float64")]
    assert lines(report) == ["~ ['w']: shape 2x3 -> 6", "~ ['v']: dtype float32 -> float64"]
    both = diff([torch.zeros(2)], [torch.zeros((), dtype=torch.int8)])
    assert told(both) == [("dtype", (0,), "", "float32", "int8"), ("shape", (0,), "", "2", "scalar")]
    assert len(both.changed) == 1


def test_added_and_removed(diff: Diff) -> None:
    report = diff({"a": torch.zeros(2)}, {"b": torch.ones(2), "c": 1})
    assert told(report) == [
        ("added", ("c",), "", None, "1"),
        ("removed", ("a",), "", "tensor float32 2", None),
        ("added", ("b",), "", None, "tensor float32 2"),
    ]
    assert lines(report) == ["- ['a']: tensor float32 2", "+ ['b']: tensor float32 2", "+ ['c']: 1"]
    assert [d.path for d in report.added] == [("b",)]
    assert [d.path for d in report.removed] == [("a",)]


def test_a_whole_module_is_added(diff: Diff, net: Net) -> None:
    report = diff(net, changed(net, lambda n: n.add_module("third", nn.Linear(1, 1))))
    assert told(report) == [
        ("added", ("third",), "", None, "torch.nn:Linear"),
        ("added", ("third", "weight"), "", None, "parameter float32 1x1"),
        ("added", ("third", "bias"), "", None, "parameter float32 1"),
    ]


def test_renamed(diff: Diff, net: Net) -> None:
    def rename(n: Net) -> None:
        n.last = n._modules.pop("second")

    report = diff(net, changed(net, rename))
    assert [(d.path, d.new_path) for d in report.renamed] == [
        (("second", "weight"), ("last", "weight")),
        (("second", "bias"), ("last", "bias")),
    ]
    assert lines(report) == [
        "> .second.weight is now .last.weight: the same bytes, parameter float32 3x3",
        "> .second.bias is now .last.bias: the same bytes, parameter float32 3",
        "- .second: torch.nn:Linear",
        "+ .last: torch.nn:Linear",
    ]
    assert report.added == report.removed == []


def test_what_is_many_times_there_was_not_renamed(diff: Diff) -> None:
    report = diff({"a": torch.zeros(2)}, {"b": torch.zeros(2), "c": torch.zeros(2)})
    assert report.renamed == []
    even = diff({"x.w": torch.zeros(2), "x.b": torch.zeros(2)}, {"y.b": torch.zeros(2), "y.w": torch.zeros(2)})
    assert {d.path: d.new_path for d in even.renamed} == {("x.w",): ("y.w",), ("x.b",): ("y.b",)}


def test_flags(diff: Diff, net: Net) -> None:
    report = diff(net, changed(net, lambda n: n.first.bias.requires_grad_(False)))
    assert told(report) == [("flag", ("first", "bias"), "requires_grad", "True", "False")]
    assert lines(report) == ["~ .first.bias: requires_grad True -> False"]
    assert report.tensors_equal
    assert told(diff([torch.ones(1)], [nn.Parameter(torch.ones(1), requires_grad=False)])) == [
        ("flag", (0,), "parameter", "False", "True")
    ]


def test_a_flag_at_many_places_is_one_line(diff: Diff, net: Net) -> None:
    report = diff(net, copy.deepcopy(net).eval())
    assert [d.what for d in report.differences] == ["training"] * 3
    assert report.text().splitlines()[2:] == ["  ~ training True -> False, at 3 places: the root, .first, .second"]
    assert lines(report) == [f"~ {place}: training True -> False" for place in ("the root", ".first", ".second")]


def test_a_buffer_that_persists_no_more(diff: Diff, net: Net) -> None:
    report = diff(net, changed(net, lambda n: n._non_persistent_buffers_set.add("scale")))
    assert told(report) == [("flag", ("scale",), "persistent", "True", "False")]


def test_a_parameter_that_became_a_buffer(diff: Diff, net: Net) -> None:
    def move(n: Net) -> None:
        weight = n.first._parameters.pop("weight")
        n.first.register_buffer("weight", weight.detach())

    report = diff(net, changed(net, move))
    assert told(report) == [
        ("kind", ("first", "weight"), "place", "a parameter", "a buffer"),
        ("flag", ("first", "weight"), "parameter", "True", "False"),
        ("flag", ("first", "weight"), "requires_grad", "True", "False"),
    ]


def test_layout(diff: Diff) -> None:
    image = torch.randn(2, 3, 4, 5)
    report = diff([image], [image.to(memory_format=torch.channels_last)])
    assert told(report) == [("layout", (0,), "strides", "(60, 20, 5, 1)", "(60, 1, 15, 3)")]
    assert report.tensors_equal


def test_lazy(diff: Diff) -> None:
    whole = torch.randn(3, dtype=torch.complex64)
    report = diff([whole], [whole.conj()])
    assert told(report) == [("values", (0,), "lazy", "as it is stored", "conjugated")]
    assert lines(report) == ["~ [0]: read through a lazy view, as it is stored -> conjugated"]


def test_views(diff: Diff) -> None:
    base = torch.arange(12.0)
    report = diff([base, base[2:5]], [base, base[3:6]])
    assert [(d.kind, d.path, d.what) for d in report.differences] == [("layout", (1,), "view")]
    assert not report.tensors_equal
    apart = diff([base, base[2:5]], [base, base[2:5].clone()])
    assert ("sharing", (1,), "memory", "shared with [0]", "its own") in told(apart)
    assert diff([base, base[2:5]], [base, base[2:5]]).equal
    tied = diff([base, base.view(3, 4)], [base + 1, (base + 1).view(3, 4)])
    assert {d.kind for d in tied.differences} >= {"values"}


def test_tied_weights_that_are_no_longer_tied(diff: Diff, net: Net) -> None:
    net.second.weight = nn.Parameter(torch.zeros(3, 3))
    net.third = nn.Linear(3, 3)
    net.third.weight = net.second.weight

    def untie(n: Net) -> None:
        n.third.weight = nn.Parameter(n.second.weight.detach().clone())

    report = diff(net, changed(net, untie))
    assert told(report) == [
        ("sharing", ("third", "weight"), "object", "the same object as .second.weight", "an object of its own")
    ]
    assert lines(report) == ["~ .third.weight: sharing: the same object as .second.weight -> an object of its own"]
    assert report.tensors_equal


def test_a_shared_module_that_is_copied_is_compared_again(diff: Diff) -> None:
    one = nn.Linear(2, 2)
    two = copy.deepcopy(one)
    two.bias.data.add_(1)
    report = diff([one, one], [one, two])
    assert [(d.kind, d.path) for d in report.differences] == [
        ("sharing", (1,)),
        ("sharing", (1, "weight")),
        ("sharing", (1, "bias")),
        ("values", (1, "bias")),
    ]


def test_attributes_of_a_tensor(diff: Diff) -> None:
    one, other = torch.ones(2), torch.ones(2)
    one.note, other.note = "a", "b"
    assert told(diff([one], [other])) == [("value", (0, "note"), "", "'a'", "'b'")]
    assert told(diff([torch.ones(2)], [other])) == [("added", (0, "note"), "", None, "'b'")]


# --- values ---


@pytest.mark.parametrize(
    ("a", "b", "before", "after"),
    [
        (1, True, "1", "True"),
        (1, 1.0, "1", "1.0"),
        (0.0, -0.0, "0.0", "-0.0"),
        (0, None, "0", "None"),
        ("a", b"a", "'a'", "b'a'"),
        (float("nan"), -float("nan"), "nan (bits 7ff8000000000000)", "nan (bits fff8000000000000)"),
        (complex(0, 0.0), complex(0, -0.0), "0j", "-0j"),
        (2**5000, -(2**5000), "an int of 5,001 bits", "an int of 5,001 bits (not the same)"),
        (2**62, 2**63, str(2**62), str(2**63)),
        ("x" * 99 + "a", "x" * 99 + "b", "...'xxxxxxxxxxxxa' (of 100)", "...'xxxxxxxxxxxxb' (of 100)"),
        ("x" * 17_000, "x" * 17_001, "str of 17,000 bytes", "str of 17,001 bytes"),
        (b"x" * 17_000, b"x" * 16_999 + b"y", "bytes of 17,000 bytes", "bytes of 17,000 bytes (not the same)"),
        ("abc", "x" * 17_000, "'abc'", "str of 17,000 bytes"),
        (torch.float32, torch.float16, "float32", "float16"),
        (torch.Size([1, 2]), torch.Size([1, 3]), "torch.Size (1, 2)", "torch.Size (1, 3)"),
        (range(3), range(4), "range 0, 3, 1", "range 0, 4, 1"),
        (Color.RED, Color.BLUE, f"{__name__}:Color.RED", f"{__name__}:Color.BLUE"),
        (pathlib.PurePosixPath("a"), pathlib.PurePosixPath("b"), "pure posix path 'a'", "pure posix path 'b'"),
        (decimal.Decimal("1.0"), decimal.Decimal("1.00"), "Decimal '1.0'", "Decimal '1.00'"),
        (datetime.date(2024, 1, 1), datetime.date(2024, 1, 2), "date 2024-01-01", "date 2024-01-02"),
        (np.bytes_(b"1"), np.bytes_(b"2"), "numpy.scalar 'S', b'1'", "numpy.scalar 'S', b'2'"),
        (np.arange(3), np.arange(1, 4), "numpy.ndarray <i8 3", "numpy.ndarray <i8 3 (not the same)"),
        (np.arange(3), np.arange(4), "numpy.ndarray <i8 3", "numpy.ndarray <i8 4"),
        (np.zeros(3, "<f4"), np.zeros(3, "<i4"), "numpy.ndarray <f4 3", "numpy.ndarray <i4 3"),
    ],
)  # fmt: skip
def test_a_value(diff: Diff, a: Any, b: Any, before: str, after: str) -> None:
    report = diff({"k": [a]}, {"k": [b]})
    assert diff({"k": [a]}, {"k": [a]}).equal
    (found,) = report.differences
    assert (found.kind, found.path, found.tensor) == ("value", ("k", 0), False)
    assert (found.before, found.after) == (before, after)
    assert lines(report) == [f"~ ['k'][0]: {before} -> {after}"]
    assert report.compared == 0
    assert report.tensors_equal


def test_an_array_that_is_read_only(diff: Diff) -> None:
    fixed = np.arange(3)
    fixed.flags.writeable = False
    assert told(diff([np.arange(3)], [fixed])) == [("flag", (0,), "writeable", "True", "False")]


@pytest.mark.parametrize(
    ("a", "b", "before", "after"),
    [
        ([1], (1,), "[1]", "(1,)"),
        ({"a": 1}, OrderedDict(a=1), "dict of 1", "OrderedDict"),
        ({1}, frozenset({1}), "{1}", "frozenset{1}"),
        ([1], 1, "[1]", "1"),
        (None, [1], "None", "[1]"),
        (None, torch.ones(2), "None", "tensor float32 2"),
        (torch.ones(2), np.ones(2), "tensor float32 2", "numpy.ndarray <f8 2"),
    ],
)
def test_another_kind(diff: Diff, a: Any, b: Any, before: str, after: str) -> None:
    assert told(diff({"k": a}, {"k": b})) == [("kind", ("k",), "", before, after)]


def test_what_is_below_another_kind_is_compared(diff: Diff) -> None:
    report = diff({"k": [1, 2]}, {"k": (1, 3)})
    assert told(report) == [("kind", ("k",), "", "[1, 2]", "(1, 3)"), ("value", ("k", 1), "", "2", "3")]
    gone = diff({"k": [torch.ones(1)]}, {"k": 5})
    assert told(gone) == [
        ("kind", ("k",), "", "list of 1", "5"),
        ("removed", ("k", 0), "", "tensor float32 1", None),
    ]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([1, 2], [1], [("removed", (1,), "2", None)]),
        ({1, 2, "x"}, {1, "x", 3}, [("removed", (2,), "2", None), ("added", (3,), None, "3")]),
        ({(1, "a"): 1}, {(1, "a"): 2}, [("value", ("(1, 'a')",), "1", "2")]),
        ({1: "x"}, {True: "x"}, [("removed", (1,), "'x'", None), ("added", (True,), None, "'x'")]),
        (defaultdict(list, a=1), defaultdict(list, a=2), [("value", ("a",), "1", "2")]),
        (defaultdict(list), defaultdict(dict), [("value", ("factory",), "builtins:list", "builtins:dict")]),
        (slice(1), slice(2), [("value", ("stop",), "1", "2")]),
        (Counter(a=1), Counter(a=2), [("value", ("a",), "1", "2")]),
        (deque([1], 3), deque([2], 4), [("value", (0,), "1", "2"), ("value", ("maxlen",), "3", "4")]),
        (Point(1, 2), Point(1, 3), [("value", ("y",), "2", "3")]),
        (argparse.Namespace(a=1), argparse.Namespace(a=2), [("value", ("a",), "1", "2")]),
        (types.SimpleNamespace(a=1), types.SimpleNamespace(b=1),
         [("removed", ("a",), "1", None), ("added", ("b",), None, "1")]),
        (Config(a=1), Config(a=[1]), [("kind", ("a",), "1", "[1]")]),
    ],
)  # fmt: skip
def test_containers(diff: Diff, a: Any, b: Any, expected: list[tuple[Any, ...]]) -> None:
    report = diff(a, b)
    assert [(d.kind, d.path, d.before, d.after) for d in report.differences] == expected
    assert [tuple(map(type, d.path)) for d in report.differences] == [tuple(map(type, e[1])) for e in expected]
    assert diff(a, a).equal


def test_order(diff: Diff) -> None:
    report = diff({"a": 1, "b": 2, "c": 3}, {"a": 1, "c": 3, "b": 2})
    assert told(report) == [("order", (), "items", "'b', 'c'", "'c', 'b'")]
    assert lines(report) == ["~ the root: order of keys 'b', 'c' -> 'c', 'b'"]
    between = diff({"a": 1, "b": 2}, {"a": 1, "new": 3, "b": 2})
    assert [d.kind for d in between.differences] == ["added"]
    assert [d.kind for d in diff(OrderedDict(a=1, b=2), OrderedDict(b=2, a=1)).differences] == ["order"]
    assert diff({"x", "y", "z"}, {"z", "y", "x"}).equal


def test_order_of_modules(diff: Diff, net: Net) -> None:
    def turn(n: Net) -> None:
        n._modules["first"] = n._modules.pop("first")

    assert told(diff(net, changed(net, turn))) == [("order", (), "modules", "'first', 'second'", "'second', 'first'")]


def test_sharing_of_objects(diff: Diff) -> None:
    one = [1]
    assert told(diff({"a": one, "b": one}, {"a": [1], "b": [1]})) == [
        ("sharing", ("b",), "object", "the same object as ['a']", "an object of its own")
    ]
    ring: list[Any] = []
    ring.append(ring)
    assert [(d.kind, d.path, d.before, d.after) for d in diff([[]], ring).differences] == [
        ("sharing", (0,), "an object of its own", "the same object as the root"),
        ("added", (0, 0), None, "list of 1"),
    ]
    longer: list[Any] = [[]]
    longer[0].append(longer)
    assert not diff(ring, longer).equal
    assert diff(longer, longer).equal


# --- modules ---


def test_class(diff: Diff, net: Net) -> None:
    other = copy.deepcopy(net)
    other.__class__ = Other
    report = diff(net, other)
    assert told(report) == [("class", (), "", f"{__name__}:Net", f"{__name__}:Other")]
    assert lines(report) == [f"~ the root: class {__name__}:Net -> {__name__}:Other"]


def test_hyperparameters(diff: Diff, net: Net) -> None:
    report = diff(net, changed(net, lambda n: setattr(n, "rate", 0.25)))
    assert told(report) == [("value", ("rate",), "", "0.5", "0.25")]


def test_an_optimizer(diff: Diff, net: Net) -> None:
    def trained(rate: float) -> dict[str, Any]:
        model = copy.deepcopy(net)
        adam = torch.optim.Adam(model.parameters(), lr=rate)
        model.first(torch.ones(2)).sum().backward()
        adam.step()
        return {"adam": adam, "model": model}

    report = diff(trained(0.5), trained(0.5))
    assert report.equal
    report = diff(trained(0.5), trained(0.25))
    assert [d.path for d in report.differences if not d.tensor] == [
        ("adam", "defaults", "lr"),
        ("adam", "param_groups", 0, "lr"),
    ]
    assert {d.path for d in report.changed} == {("adam", "param_groups", 0, "params", i) for i in (0, 1)}


def test_tensors_as_keys_in_another_order(diff: Diff) -> None:
    one, other = torch.ones(2), torch.zeros(2)
    report = diff({"by": {one: 1, other: 2}, "all": [one, other]}, {"by": {other: 2, one: 1}, "all": [one, other]})
    assert [(d.kind, d.path) for d in report.differences] == [("order", ("by",))]
    alone = diff({one: 1, other: 2}, {one: 1, other: 3})
    assert [(d.kind, d.before, d.after) for d in alone.differences] == [("value", "2", "3")]


# --- parts, and plain files ---


def test_parts(diff: Diff, net: Net, tmp_path: Path) -> None:
    other = changed(net, lambda n: n.first.bias.data.add_(1))
    report = diff({"net": net, "epoch": 1}, {"net": other, "epoch": 2}, key="net")
    assert [d.path for d in report.differences] == [("first", "bias")]
    assert report.text().startswith(f"{tmp_path / 'a'}['net'] -> {tmp_path / 'b'}['net']: 1 difference\n")
    torchkeep.save({"net": [net]}, tmp_path / "ckpt")
    torchkeep.save(net, tmp_path / "net")
    assert torchkeep.diff(tmp_path / "ckpt", tmp_path / "net", key_a=("net", 0)).equal
    assert torchkeep.diff(tmp_path / "net", tmp_path / "ckpt", key_b=("net", 0)).equal
    with pytest.raises(KeyMissingError, match=r"ckpt has no part 'no'; there are 'net'"):
        torchkeep.diff(tmp_path / "net", tmp_path / "ckpt", key_b="no")


def test_a_checkpoint_against_a_model_says_which_part(diff: Diff, net: Net, tmp_path: Path) -> None:
    torchkeep.save({"net": net, "epoch": 1}, tmp_path / "ckpt")
    torchkeep.save(net, tmp_path / "net")
    (note,) = torchkeep.diff(tmp_path / "net", tmp_path / "ckpt").notes
    assert str(note).endswith("weights at 'net'. Pass key_b='net' to compare these.")


def test_plain_files(tmp_path: Path) -> None:
    weights = {"b": torch.ones(2), "a": torch.arange(6.0).view(2, 3), "gone": torch.ones(3), "empty": torch.ones(0)}
    save_file(weights, tmp_path / "a")
    save_file(weights, tmp_path / "same")
    assert torchkeep.diff(tmp_path / "a", tmp_path / "same").equal
    weights["a"] = weights["a"] + 1
    weights["new"] = weights.pop("gone")
    save_file(weights, tmp_path / "b")
    report = torchkeep.diff(tmp_path / "a", tmp_path / "b")
    assert {(d.kind, d.path, d.new_path) for d in report.differences} == {
        ("values", ("a",), None),
        ("renamed", ("gone",), ("new",)),
    }


def test_a_plain_file_says_nothing_of_order_and_flags(net: Net, tmp_path: Path) -> None:
    save_file(dict(net.state_dict()), tmp_path / "plain")
    torchkeep.save(net, tmp_path / "net")
    torchkeep.save(dict(net.named_parameters()) | {"scale": net.scale}, tmp_path / "dict")
    assert torchkeep.diff(tmp_path / "plain", tmp_path / "dict").equal
    for a, b in (("plain", "net"), ("net", "plain"), ("dict", "net")):
        report = torchkeep.diff(tmp_path / a, tmp_path / b)
        assert [(d.kind, d.path) for d in report.differences] == [("kind", ())]
        assert report.tensors_equal
        assert report.compared == 5
    net.second.bias.data.add_(1)
    torchkeep.save(net, tmp_path / "net")
    report = torchkeep.diff(tmp_path / "net", tmp_path / "plain")
    assert [(d.kind, d.path) for d in report.changed] == [("values", ("second.bias",))]


def test_large_tensors_of_plain_files_pass_through_a_small_buffer(tmp_path: Path) -> None:
    large = torch.zeros(24 << 20, dtype=torch.uint8)
    save_file({"large": large}, tmp_path / "a")
    large[-1] = 1
    save_file({"large": large}, tmp_path / "b")
    script = (
        "import sys, resource, torchkeep\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "report = torchkeep.diff(*sys.argv[1:])\n"
        "print(report.differences[0].kind, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) < 20_000)\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
    )
    pytest.importorskip("resource")
    command = [sys.executable, "-c", script, tmp_path / "a", tmp_path / "b"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "values True\n"


def test_no_tensor_byte_is_read_where_there_are_digests(diff: Diff, tmp_path: Path) -> None:
    torchkeep.save([torch.ones(5000)], tmp_path / "a")
    whole = bytearray((tmp_path / "a").read_bytes())
    whole[-1] ^= 1
    (tmp_path / "b").write_bytes(whole)  # damage is for `load` to find
    assert torchkeep.diff(tmp_path / "a", tmp_path / "b").equal


# --- hostile pairs ---


def compared(a: Document, b: Document) -> Changes:
    document.check(a)
    document.check(b)
    return document.diff(a, b, [0] * len(a.tensors.names), [0] * len(b.tensors.names), start_a=a.root, start_b=b.root)


def chain(depth: int, end: Any, *more: Any) -> Document:
    """Lists in each other, each with some scalars beside the next one."""
    nodes = [Seq("list", (*more, Ref(i + 1))) for i in range(depth)]
    return Document(root=Ref(0), nodes=[*nodes, Seq("list", (end,))])


def ring(length: int) -> Document:
    return Document(root=Ref(0), nodes=[Seq("list", (Ref((i + 1) % length),)) for i in range(length)])


def test_depth_is_no_limit() -> None:
    a, b = chain(10_000, 1, "x"), chain(10_000, 2, "x")
    assert compared(a, a).changes == []
    report = report_of(compared(a, b), a, b, path_a="a", path_b="b")
    (found,) = report.differences
    assert found.path == (1,) * 10_000 + (0,)
    assert found.where == "..." + "[1]" * 49 + "[0]"
    assert report.to_dict()["differences"][0]["path"] == ["...", *[1] * 49, 0]
    assert lines(report) == [f"~ {found.where}: 1 -> 2"]


def test_differences_at_every_level_of_a_deep_object() -> None:
    a, b = chain(20_000, 1, "x"), chain(20_000, 1, "y")
    report = report_of(compared(a, b), a, b, path_a="a", path_b="b")
    assert len(report.differences) == 20_000
    assert len(report.text().splitlines()) == 202
    assert len(report.differences[-1].to_dict()["path"]) == 51


def test_cycles_of_different_length_are_little_work() -> None:
    a, b = ring(10_007), ring(10_009)  # beside each other they would meet 100 million times
    assert {change.kind for change in compared(a, b).changes} == {"sharing"}
    assert compared(a, ring(10_007)).changes == []


def test_what_one_side_shares_and_the_other_has_many_times_is_bounded_work() -> None:
    wide = Map(tuple(map(str, range(20_000))), (None,) * 20_000)
    many = 2_000
    a = Document(root=Ref(0), nodes=[Seq("list", (Ref(1),) * many), wide])
    b = Document(root=Ref(0), nodes=[Seq("list", tuple(Ref(i + 1) for i in range(many))), *[Map((), ())] * many])
    found = compared(a, b)
    assert not found.complete
    assert len(found.changes) < 150_000
    notes = report_of(found, a, b, path_a="a", path_b="b").notes
    assert [note.code for note in notes] == ["shared"]


def test_attributes_of_a_tensor_that_one_side_shares_are_bounded_work() -> None:
    many, wide = 1_000, Map(tuple(map(str, range(20_000))), (None,) * 20_000)
    one = TensorTable(["t"], ["float32"], [(1,)], stored=[0], flags=[0], attributes={0: Ref(1)})
    a = Document(root=Ref(0), nodes=[Seq("list", (TensorRef(0),) * many), wide], tensors=one)
    names = [f"t{i}" for i in range(many)]
    rows = list(range(many))
    each = {i: Ref(i + 1) for i in rows}
    table = TensorTable(names, ["float32"] * many, [(1,)] * many, stored=rows, flags=[0] * many, attributes=each)
    b = Document(root=Ref(0), nodes=[Seq("list", tuple(map(TensorRef, rows))), *[Map((), ())] * many], tensors=table)
    found = compared(a, b)
    assert not found.complete
    assert len(found.changes) < 150_000


def test_long_names_and_keys_are_cut() -> None:
    long = "x" * 1_000_000
    a = Document(
        root=Ref(0),
        nodes=[Map((long,), (Ref(1),)), Typed("enum", 1, {"class": long, "members": Ref(2)}), Seq("tuple", (long,))],
    )
    b = Document(root=Ref(0), nodes=[Map((long,), (1,))])
    report = report_of(compared(a, b), a, b, path_a="a", path_b="b")
    assert len(report.text()) < 1_000
    assert len(json.dumps(report.to_dict())) < 1_000
    assert report.differences[0].path == (long,)


def test_keys_that_share_what_they_hold_are_each_looked_at_once() -> None:
    nodes: list[Any] = [Seq("tuple", (Ref(i + 2), Ref(i + 2)) if i < 7 else (1,)) for i in range(8)]
    a = Document(root=Ref(0), nodes=[Map((Ref(1),), (1,)), *nodes])
    assert compared(a, a).changes == []
    b = msgspec.structs.replace(a, nodes=[*a.nodes[:-1], Seq("tuple", (2,))])
    assert [change.kind for change in compared(a, b).changes] == ["removed", "added"]


def test_many_numbers_that_are_no_number() -> None:
    a = Document(root=Ref(0), nodes=[Map(tuple(map(float, ["nan"] * 3)), (1, 2, 3))])
    b = Document(root=Ref(0), nodes=[Map(tuple(map(float, ["nan"] * 3)), (1, 2, 4))])
    assert compared(a, a).changes == []
    assert [(change.kind, change.a, change.b) for change in compared(a, b).changes] == [("value", 3, 4)]


def test_an_integer_too_long_to_be_written_out(diff: Diff) -> None:
    report = diff({2**60_000: torch.ones(1), 1: [2**60_000]}, {3: torch.ones(1), 1: [2**60_000 + 1], 2**59_999: 1})
    assert report.differences[0].path == (1, 0)
    assert [(d.where, d.new_where) for d in report.renamed] == [("[<int>]", "[3]")]
    assert "~ [1][0]: an int of 60,001 bits -> an int of 60,001 bits (not the same)" in lines(report)


HOSTILE = "a\x1b[31m\x07\r\n\u202e\ud800z"


def test_no_text_of_a_file_reaches_a_terminal_as_it_is(diff: Diff) -> None:
    one, other = torch.ones(1), torch.zeros(1)
    one.note = other.note = HOSTILE
    a = {
        HOSTILE: [HOSTILE, one],
        (HOSTILE,): 1,
        "gone" + HOSTILE: one,
        "net": nn.Sequential(OrderedDict({HOSTILE: nn.Linear(1, 1)})),
    }
    b = {
        HOSTILE: ["b", other],
        (HOSTILE,): HOSTILE,
        "new" + HOSTILE: {1: other},
        "net": nn.Sequential(OrderedDict({HOSTILE: nn.ReLU()})),
    }
    for text in (diff(a, b).text(), *map(str, diff(a, b).differences), *(d.where for d in diff(b, a).differences)):
        assert all(c.isprintable() or c == "\n" for c in text), ascii(text)


# --- notes ---


def test_environment_and_sources_are_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchkeep.values import sources

    net = Net()
    torchkeep.save(net, tmp_path / "a")
    monkeypatch.setattr(sys.modules["torchkeep.values.encode"], "environment", lambda: {"torch": "1.0"})
    monkeypatch.setattr(sources, "digest", lambda cls: "0" * 16)
    torchkeep.save(net, tmp_path / "b")
    report = torchkeep.diff(tmp_path / "a", tmp_path / "b")
    assert report.equal
    assert {note.code for note in report.notes} == {"environment", "class"}
    assert f"saved with torch {torch.__version__} and torch 1.0." in [str(note) for note in report.notes]
    assert f"{__name__}:Net: is of another source in the two files." in [str(note) for note in report.notes]
    assert "notes" in report.text()
