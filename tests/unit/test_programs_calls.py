"""What a call of a program gives and gets: arguments, objects, and what is said of a call that does not fit."""

from __future__ import annotations

import copy
import gc
import weakref
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

import torchkeep
from torchkeep.errors import CallError, ProgramError
from torchkeep.programs.direct import DIRECT
from torchkeep.programs.ops import OPS
from torchkeep.programs.resolve import overload

from .conftest import ByProgram

Pair = namedtuple("Pair", "first second")


@dataclass
class Result:
    loss: torch.Tensor | None
    logits: torch.Tensor
    name: str


class Mapped(OrderedDict[str, Any]):
    """As the output classes of libraries are."""


class Returning(nn.Module):
    def __init__(self, make: Any) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.make = make

    def forward(self, x: torch.Tensor) -> Any:
        return self.make(self.linear(x))


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(2, 4)


def returned(by_program: ByProgram, make: Any, x: torch.Tensor) -> tuple[Any, torch.Tensor]:
    model = Returning(make)
    return _through(by_program, model, x)(x), model.linear(x)


def _through(by_program: ByProgram, model: Returning, x: torch.Tensor) -> Any:
    """A lambda cannot be saved, so the class has it while the module is captured."""
    kind = type("Made", (Returning,), {"make": staticmethod(vars(model).pop("make"))})
    model.__class__ = kind
    return by_program(model, (x,))


def test_a_namedtuple(by_program: ByProgram, x: torch.Tensor) -> None:
    output, wanted = returned(by_program, lambda y: Pair(y, y + 1), x)
    assert torch.equal(output.first, wanted)
    assert torch.equal(output[1], wanted + 1)
    first, _ = output
    assert first is output.first
    with pytest.raises(AttributeError, match="this output has no 'third'"):
        _ = output.third


def test_a_dataclass(by_program: ByProgram, x: torch.Tensor) -> None:
    output, wanted = returned(by_program, lambda y: Result(None, y, "r"), x)
    assert torch.equal(output.logits, wanted)
    assert (output.loss, output["name"], list(output)) == (None, "r", ["loss", "logits", "name"])
    assert output.to_tuple() == (output.logits, "r")
    assert output[0] is output.logits


def test_a_mapping_of_a_library(by_program: ByProgram, x: torch.Tensor) -> None:
    output, wanted = returned(by_program, lambda y: Mapped(logits=y, hidden=(y * 2,)), x)
    assert torch.equal(output.hidden[0], wanted * 2)
    with pytest.raises(AttributeError, match="this output has no 'loss'; it has logits, hidden"):
        _ = output.loss


def test_dicts_lists_numbers_and_nothing(by_program: ByProgram, x: torch.Tensor) -> None:
    made = lambda y: {"a": [y, None, 3], 5: (True, "t", 0.5), "shape": y.shape[0]}  # noqa: E731
    output, wanted = returned(by_program, made, x)
    assert type(output) is dict
    assert torch.equal(output["a"][0], wanted)
    assert (output["a"][1:], output[5], output["shape"]) == ([None, 3], (True, "t", 0.5), 2)


def test_a_size_that_is_returned_is_that_of_the_call(by_program: ByProgram, x: torch.Tensor) -> None:
    model = Returning(lambda y: (y, y.shape[0] * 2))
    assert _through(by_program, model, x)(torch.randn(7, 4))[1] == 14


class Asking(nn.Module):
    def forward(
        self, x: torch.Tensor, mask: torch.Tensor | None = None, *, scale: float = 1.0, more: Any = None
    ) -> torch.Tensor:
        y = x * scale if mask is None else x * mask * scale
        return y if more is None else y + more["a"][0] + more["b"]


@pytest.fixture
def asking(by_program: ByProgram, x: torch.Tensor) -> Any:
    example = torchkeep.Example(x, mask=x > 0, scale=2.0, more={"a": [x], "b": x})
    return by_program(Asking(), example, "batch")


def test_arguments_by_name_and_within_dicts(asking: Any) -> None:
    y = torch.randn(5, 4)
    more = {"b": y, "a": [y * 2]}
    wanted = Asking()(y, y > 1, scale=2.0, more=more)
    assert torch.equal(asking(y, y > 1, scale=2.0, more=more), wanted)
    assert torch.equal(asking(more=more, scale=2, mask=y > 1, x=y), wanted)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda f, x: f(x), "mask is missing; the examples gave it"),
        (
            lambda f, x: f(x, x > 0, scale=3.0, more={"a": [x], "b": x}),
            "scale is 3.0, and the computation was captured",
        ),
        (lambda f, x: f(x, x > 0, scale=2.0, more={"a": [x]}), r"more has the keys 'a'; the examples gave 'a', 'b'"),
        (
            lambda f, x: f(x, x > 0, scale=2.0, more={"a": [x, x], "b": x}),
            r"more\['a'\] is a list; the examples gave 1 items",
        ),
        (lambda f, x: f(x, x > 0, scale=2.0, more={"a": x, "b": x}), r"more\['a'\]"),
        (lambda f, x: f(x, x, scale=2.0, more={"a": [x], "b": x}), "mask is float32, and the example was bool"),
        (lambda f, x: f(x[0], x > 0, scale=2.0, more={"a": [x], "b": x}), "x has 1 dimensions, and the example had 2"),
        (lambda f, x: f(x, x > 0, x, scale=2.0), "the call gives 1 arguments too many; the model takes x, mask, scale"),
        (lambda f, x: f(x, x > 0, other=1), "the call gives an argument 'other'; the model takes x, mask, scale, more"),
        (lambda f, x: f(x, x=x), "x is given twice"),
    ],
)
def test_a_call_that_does_not_fit(asking: Any, x: torch.Tensor, call: Any, text: str) -> None:
    with pytest.raises(CallError, match=text):
        call(asking, x)


def test_an_example_that_does_not_fit(by_program: ByProgram, x: torch.Tensor) -> None:
    with pytest.raises(ProgramError, match="holds no computation"):
        by_program(Asking(), (x, x, x, x))


def test_shared_modules_and_tied_parameters(by_program: ByProgram) -> None:
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.Tanh(), shared, nn.Sequential(shared, nn.Linear(4, 4)))
    model[3][1].weight = shared.weight
    y = torch.randn(3, 4)
    loaded = by_program(model, (y,))
    for each in (model, loaded):
        each.train()(y).square().sum().backward()
    gradients = [dict(each.named_parameters()) for each in (model, loaded)]
    assert list(gradients[0]) == list(gradients[1])
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(*(each.values() for each in gradients), strict=True))


def test_a_part_that_is_replaced_or_taken_away(by_program: ByProgram, x: torch.Tensor) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    loaded = by_program(model, (x,))
    loaded(x)
    parts = vars(loaded)["_modules"]
    parts["1"] = nn.Linear(4, 2)
    assert torch.equal(loaded(x), parts["1"](model[0](x)))
    parts["1"].bias = None
    with pytest.raises(CallError, match=r"the module has no tensor '1.bias' any more, and the computation needs it"):
        loaded(x)
    del parts["1"]
    with pytest.raises(CallError, match="the module has no part '1' any more"):
        loaded(x)


def test_copies_are_apart_and_go_when_nobody_has_them(by_program: ByProgram, x: torch.Tensor) -> None:
    model = nn.Sequential(nn.Linear(4, 2))
    loaded = by_program(model, (x,))
    twin = copy.deepcopy(loaded)
    with torch.no_grad():
        vars(twin)["_modules"]["0"].weight.zero_()
    assert torch.equal(loaded(x), model(x))
    assert not torch.equal(twin(x), model(x))
    gone = weakref.ref(twin)
    del twin
    gc.collect()
    assert gone() is None


def test_an_error_of_an_operator_names_the_call(by_program: ByProgram) -> None:
    loaded = by_program(nn.Sequential(nn.Embedding(5, 3)), (torch.tensor([1, 2]),))
    with pytest.raises(CallError, match=r"call 0 of the program, aten\.embedding\.default in 0, raised IndexError: "):
        loaded(torch.tensor([1, 7]))


def test_operators_that_are_called_directly_are_in_the_list() -> None:
    assert len(DIRECT) == 41
    for name, function in DIRECT.items():
        base = name.split(".")[1]
        assert name in OPS
        assert overload(name, OPS[name].schema) is not None
        assert function.__name__ == base


class Masked(nn.Module):
    """Has the smallest number of its dtype in a mask, and zeros of its dtype."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.linear(x)
        y = y + torch.zeros(4, dtype=self.linear.weight.dtype)
        return y.masked_fill(y < 0, torch.finfo(y.dtype).min).softmax(-1)


class Upcast(nn.Module):
    """Computes in float32 whatever it is given, and gives back what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x.to(torch.float32)
        y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + 1e-6)
        return self.weight * y.to(x.dtype) + x


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.LSTM(4, 3),
        lambda: nn.Sequential(nn.Linear(4, 4), nn.Softmax(-1)),
        Masked,
        Upcast,
    ],
)
def test_a_cast_module_computes_what_the_cast_model_does(by_program: ByProgram, dtype: torch.dtype, make: Any) -> None:
    model = make()
    y = torch.randn(5, 2, 4)
    loaded = by_program(model, (y,)).to(dtype)
    wanted, have = (each.to(dtype).eval()(y.to(dtype)) for each in (model, loaded))
    wanted, have = (each[0] if isinstance(each, tuple) else each for each in (wanted, have))
    assert wanted.dtype == have.dtype
    assert torch.equal(wanted, have)


def test_a_cast_that_cannot_be_taken_is_told(by_program: ByProgram) -> None:
    class Stubborn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(x.to(torch.float32))

    y = torch.randn(2, 4)
    loaded = by_program(Stubborn(), (y,)).half()
    with pytest.raises(CallError) as raised:
        loaded(y)
    assert "the model is float16 now, and its computation was captured in float32; call " in str(raised.value)
    assert "aten.linear.default in linear, does not take it: " in str(raised.value)
    assert "Cast the model before you save it, and save it again with its example" in str(raised.value)
