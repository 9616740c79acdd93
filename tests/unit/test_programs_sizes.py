"""Which sizes of a program vary, and what is said of those that do not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn

import torchkeep
from torchkeep.errors import CallError
from torchkeep.programs import Example, deadline
from torchkeep.programs.align import aligned
from torchkeep.programs.capture import capture
from torchkeep.programs.merge import merge
from torchkeep.programs.model import Dim, Formula
from torchkeep.programs.sizes import value_of

from .conftest import ByProgram


class Pairs(nn.Module):
    """Takes a batch of any size, of an even number of rows of 4."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.view(x.shape[0], x.shape[1] // 2, 2, 4)).flatten(1, 2)


class Five(nn.Module):
    """Takes five rows, and looks."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[1] != 5:
            raise ValueError("five rows")
        return x * 2


def agree(model: nn.Module, loaded: nn.Module, *shape: int) -> bool:
    x = torch.randn(shape)
    return torch.equal(model.eval()(x), loaded(x))


@pytest.mark.parametrize("shapes", [None, "auto", {"x": {0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO}}])
def test_every_size_varies(by_program: ByProgram, shapes: Any) -> None:
    model = Pairs()
    loaded = by_program(model, (torch.randn(3, 4, 4),), shapes)
    assert all(agree(model, loaded, *shape) for shape in ((3, 4, 4), (1, 4, 4), (5, 8, 4), (1, 2, 4)))


def test_the_batch_alone_varies(by_program: ByProgram) -> None:
    model = Pairs()
    loaded = by_program(model, (torch.randn(3, 4, 4),), "batch")
    assert agree(model, loaded, 7, 4, 4)
    with pytest.raises(CallError, match="x has size 8 in dimension 1, and the computation was captured for 4"):
        loaded(torch.randn(3, 8, 4))


def test_nothing_varies(by_program: ByProgram) -> None:
    model = Pairs()
    loaded = by_program(model, (torch.randn(3, 4, 4),), "static")
    assert agree(model, loaded, 3, 4, 4)
    with pytest.raises(CallError, match="x has size 2 in dimension 0, and the computation was captured for 3"):
        loaded(torch.randn(2, 4, 4))


def test_what_differs_between_examples_varies(by_program: ByProgram) -> None:
    model = Pairs()
    loaded = by_program(model, [(torch.randn(3, 4, 4),), (torch.randn(3, 6, 4),)])
    assert agree(model, loaded, 3, 10, 4)
    with pytest.raises(CallError, match="dimension 0"):
        loaded(torch.randn(2, 4, 4))


def test_an_example_with_a_batch_of_one_is_captured_for_any(by_program: ByProgram) -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    loaded = by_program(model, (torch.randn(1, 4),))
    assert agree(model, loaded, 1, 4)
    assert agree(model, loaded, 6, 4)


def test_code_that_wants_a_batch_of_one_is_captured_for_that(by_program: ByProgram) -> None:
    class One(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.sum() if x.shape[0] == 1 else x

    loaded = by_program(One(), (torch.ones(1, 4),))
    assert loaded(torch.ones(1, 4)) == 4
    with pytest.raises(CallError, match="captured for 1"):
        loaded(torch.ones(2, 4))


def test_the_line_that_fixes_a_size_is_named(by_program: ByProgram) -> None:
    loaded = by_program(Five(), (torch.randn(3, 5),))
    assert any("the size of x in dimension 1 is always 5" in text for text in loaded.noticed)
    assert any("test_programs_sizes.py:" in text and "asks for it" in text for text in loaded.noticed)


def test_a_length_that_code_cannot_take_is_told_by_what_has_to_hold(by_program: ByProgram) -> None:
    loaded = by_program(Pairs(), (torch.randn(3, 4, 4),))
    with pytest.raises((CallError, RuntimeError)):
        loaded(torch.randn(3, 5, 4))


@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("first", [False, True])
def test_sequences_of_recurrent_layers_vary(by_program: ByProgram, layer: Any, first: bool) -> None:
    model = layer(3, 4, num_layers=2, bidirectional=True, batch_first=first)
    loaded = by_program(model, (torch.randn(5, 2, 3),))
    for shape in ((5, 2, 3), (9, 2, 3), (1, 1, 3), (2, 7, 3)):
        x = torch.randn(shape)
        assert torch.equal(model.eval()(x)[0], loaded(x)[0])
    assert loaded(torch.randn(5, 2, 3))[0].is_contiguous() is not first


@pytest.fixture
def no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever has a limit is over it at once."""

    @contextmanager
    def within(seconds: float | None) -> Iterator[None]:
        if seconds is not None:
            raise deadline.OutOfTime
        yield

    monkeypatch.setattr(deadline, "within", within)


@pytest.mark.usefixtures("no_time")
def test_without_time_it_steps_down() -> None:
    found = capture(Pairs(), [Example(torch.randn(3, 4, 4))])
    assert found.levels == {"eval": "static", "train": "static"}
    assert [(each.mode, each.level) for each in found.tried] == [("eval", "auto"), ("eval", "batch")]
    assert all(each.why == "it took longer than 30 s" for each in found.tried)


@pytest.mark.usefixtures("no_time")
def test_stepping_down_is_told(by_program: ByProgram) -> None:
    loaded = by_program(Pairs(), (torch.randn(3, 4, 4),))
    told = next(text for text in loaded.noticed if "every size" in text)
    assert told == (
        "in eval mode no size varies, since capturing it so that every size varies failed: it took longer than 30 s. "
        "Two examples of different sizes, example=[(x,), (y,)], say best which sizes have to vary."
    )


def test_train_begins_where_eval_ended() -> None:
    class Picky(nn.Module):
        """Its code does not take sizes that vary."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            calls.append(self.training)
            if not isinstance(x.shape[0], int):
                raise TypeError("no")
            return x * 2

    calls: list[bool] = []
    found = capture(Picky(), [Example(torch.randn(3, 4))])
    assert found.levels == {"eval": "static", "train": "static"}
    assert calls == [False, False, False, True]


def test_what_no_sizes_mend_is_tried_once() -> None:
    class ByValue(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            calls.append(self.training)
            return x * 2 if x.sum() > 0 else x

    calls: list[bool] = []
    with pytest.raises(Exception, match="depends on the values of a tensor"):
        capture(ByValue(), [Example(torch.randn(3, 4))])
    assert calls == [False, True]


@pytest.mark.parametrize(
    ("shapes", "text"),
    [
        ("all", "dynamic_shapes is 'auto', 'batch', 'static', or what torch.export.export takes, not 'all'"),
        ({"y": {0: None}}, "dynamic_shapes names 'y'; the example gives x"),
        ({"x": {7: None}}, "dynamic_shapes of x names a dimension that it does not have: it has 3"),
    ],
)
def test_dynamic_shapes_of_another_form(shapes: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text.replace("(", r"\(")):
        torchkeep.save(Pairs(), "never.safetensors", example=(torch.randn(3, 4, 4),), dynamic_shapes=shapes)


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        (Formula("+", (Dim(0, 0), Dim(0, 1), 1)), 8),
        (Formula("*", (Dim(0, 0), Dim(0, 1))), 12),
        (Formula("//", (Dim(0, 1), 3)), 1),
        (Formula("//", (Dim(0, 1), 0)), -1),
        (Formula("%", (Dim(0, 1), 3)), 1),
        (Formula("min", (Dim(0, 0), Dim(0, 1))), 3),
        (Formula("max", (Dim(0, 0), Dim(0, 1))), 4),
        (Formula("and", (Formula("<", (Dim(0, 0), Dim(0, 1))), Formula("!=", (Dim(0, 0), 3)))), 0),
        (Formula("or", (Formula(">", (Dim(0, 0), Dim(0, 1))), Formula("==", (Dim(0, 0), 3)))), 1),
        (Formula("not", (Formula(">=", (Dim(0, 0), 3)),)), 0),
    ],
)
def test_arithmetic_on_sizes(formula: Formula, value: int) -> None:
    assert value_of(formula, [torch.empty(3, 4)]) == value


def test_sizes_beyond_all_measure() -> None:
    with pytest.raises(CallError, match="the sizes of the inputs are too large"):
        value_of(Formula("*", (Dim(0, 0),) * 2000), [torch.empty(3, 4)])


def test_lists_side_by_side() -> None:
    assert list(aligned("abcd", "abcd")) == [(0, 0), (1, 1), (2, 2), (3, 3)]
    assert list(aligned("abd", "abcd")) == [(0, 0), (1, 1), (None, 2), (2, 3)]
    assert list(aligned("", "ab")) == [(None, 0), (None, 1)]
    assert list(aligned("aa", "a")) == [(0, 0), (1, None)]
    assert list(aligned("axb", "ayb")) == [(0, 0), (1, None), (None, 1), (2, 2)]


def test_inputs_that_share_a_size_are_one(by_program: ByProgram) -> None:
    class Sum(nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return x + y

    loaded = by_program(Sum(), (torch.randn(3, 4), torch.randn(3, 4)))
    assert loaded(torch.ones(5, 6), torch.ones(5, 6)).shape == (5, 6)
    with pytest.raises(CallError, match=r"y has size 4 in dimension 0, .* captured for 5 \(x.shape\[0\]\)"):
        loaded(torch.ones(5, 6), torch.ones(4, 6))


def test_merge_refuses_inputs_that_are_changed() -> None:
    with pytest.raises(Exception, match="it changes its input input in place"):
        merge(capture(nn.Sequential(nn.ReLU(inplace=True)), [Example(torch.randn(3, 4))]))
