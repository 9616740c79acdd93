"""Train, eval and mixtures of both, by one program; and what is refused since no program can do it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from torchkeep.errors import CallError
from torchkeep.programs import Example
from torchkeep.programs.capture import capture
from torchkeep.programs.examples import CannotCapture

from .conftest import ByProgram


def called(model: nn.Module, *args: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(3)
    output = model(*args)
    assert isinstance(output, torch.Tensor)
    return output


class Attention(nn.Module):
    """Chooses by its own flag, in a function."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.dropout(self.drop(self.norm(x)), 0.3, self.training)


@pytest.mark.parametrize(
    "chosen", [(), ("",), ("norm",), ("drop",), ("", "norm"), ("norm", "drop"), ("", "norm", "drop")]
)
def test_any_mixture_of_modes(by_program: ByProgram, chosen: tuple[str, ...]) -> None:
    model = Attention()
    loaded = by_program(model, (torch.randn(6, 4),))
    for root in (model, loaded):
        for path, module in root.named_modules():
            module.training = path in chosen
    x = torch.randn(6, 4)
    assert torch.equal(called(model, x), called(loaded, x))
    assert torch.equal(model.norm.running_mean, loaded.norm.running_mean)  # type: ignore[arg-type]
    assert model.norm.num_batches_tracked == loaded.norm.num_batches_tracked


def test_one_step_of_training(by_program: ByProgram) -> None:
    model = Attention().train()
    loaded = by_program(model, (torch.randn(6, 4),), mode="saved")
    x = torch.randn(6, 4)
    for each in (model, loaded):
        called(each, x).square().sum().backward()
    for a, b in zip(model.parameters(), loaded.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)  # type: ignore[arg-type]


class Told(nn.Module):
    """Is told what to do by the module around it, and looks at its own flag as well."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Inner()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x, 0.5 if self.training else 0.0)


class Inner(nn.Module):
    def forward(self, x: torch.Tensor, p: float) -> torch.Tensor:
        return F.dropout(x, p, True) + (1 if self.training else 0)


def test_where_two_flags_may_have_decided_both_have_to_agree(by_program: ByProgram) -> None:
    model = Told()
    loaded = by_program(model, (torch.randn(6, 4),))
    x = torch.randn(6, 4)
    for mode in (True, False):
        assert torch.equal(called(model.train(mode), x), called(loaded.train(mode), x))
    loaded.inner.train()
    with pytest.raises(CallError, match=r"the model itself, inner: the computation does not hold this mixture"):
        loaded(x)


class Helped(nn.Module):
    """Has a head that only training has."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head, self.help = nn.Linear(4, 4), nn.Linear(4, 2), nn.Linear(4, 2)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        y = self.drop(self.body(x))
        return self.head(y), self.help(y) if self.training else None


def test_a_head_that_only_training_has(by_program: ByProgram) -> None:
    model = Helped()
    loaded = by_program(model, (torch.randn(6, 4),))
    x = torch.randn(6, 4)
    assert loaded(x)[1] is None
    for root in (model, loaded):
        root.train()
        root.drop.eval()  # a mixture, whose head is decided by the model alone
    assert torch.equal(loaded(x)[1], model(x)[1])  # type: ignore[arg-type]


def test_a_train_that_leaves_modules_in_eval_mode_is_told(by_program: ByProgram) -> None:
    class Frozen(nn.Sequential):
        def train(self, mode: bool = True) -> Frozen:
            super().train(mode)
            self[0].eval()
            return self

    loaded = by_program(Frozen(nn.BatchNorm1d(4), nn.Linear(4, 2)), (torch.randn(3, 4),))
    assert (
        "train() of the model leaves modules in eval mode, and train() of its computation does not: 0. There, call "
        "eval() of these after train()." in loaded.noticed
    )
    loaded.train()
    loaded[0].eval() if isinstance(loaded, nn.Sequential) else vars(loaded)["_modules"]["0"].eval()
    loaded(torch.randn(3, 4))
    assert vars(loaded)["_modules"]["0"].num_batches_tracked == 0


def in_training(draw: Callable[[], float]) -> nn.Module:
    class Drawing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * draw() if self.training else x

    return Drawing()


@pytest.mark.parametrize(("whose", "draw"), [("Python", random.random), ("numpy", np.random.rand)])
def test_random_numbers_that_are_not_torchs_are_refused(whose: str, draw: Callable[[], float]) -> None:
    found = capture(in_training(draw), [Example(torch.randn(3, 4))])
    assert list(found.traces) == ["eval"]
    assert found.failures == {
        "train": f"its code draws random numbers from {whose}'s random, and a program would give the same ones in "
        "every call; torch's own random numbers are drawn anew"
    }


def test_torchs_random_numbers_are_drawn_anew(by_program: ByProgram) -> None:
    class Depth(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            keep = torch.rand(x.shape[0], 1) > 0.5 if self.training else torch.ones(x.shape[0], 1)
            return x * keep

    loaded = by_program(Depth(), (torch.ones(64, 4),)).train()
    x = torch.ones(64, 4)
    assert torch.equal(called(loaded, x), called(Depth().train(), x))
    assert not torch.equal(loaded(x), loaded(x))


def test_one_mode_alone(by_program: ByProgram) -> None:
    loaded = by_program(in_training(random.random), (torch.randn(3, 4),))
    with pytest.raises(CallError, match=r"captured in eval mode alone, and the model is not in it. Call \.eval\(\)"):
        loaded.train()(torch.randn(3, 4))


class Counting(nn.Module):
    def __init__(self, *, by: bool) -> None:
        super().__init__()
        self.calls, self.by = 0, by

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return x * self.calls if self.by else x


def test_a_count_by_which_the_next_call_computes_is_refused() -> None:
    with pytest.raises(CannotCapture, match="a call changes calls, and the next one"):
        capture(Counting(by=True), [Example(torch.randn(3, 4))])


def test_a_count_alone_makes_no_difference(by_program: ByProgram) -> None:
    model = Counting(by=False)
    loaded = by_program(model, (torch.randn(3, 4),))
    assert model.calls == 0
    assert not any("changes" in text for text in loaded.noticed)


def test_what_a_call_remembers_is_told(by_program: ByProgram) -> None:
    class Remembering(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shapes: list[Any] = []

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.shapes.append(x.dtype)
            return x

    loaded = by_program(Remembering(), (torch.randn(3, 4),))
    assert (
        "a call of the model changes what is no buffer, and its computation in the file does not: shapes. Where later "
        "calls depend on them, make them buffers that are changed in place." in loaded.noticed
    )


def test_a_buffer_that_is_put_in_place_of_another(by_program: ByProgram) -> None:
    class Average(nn.Module):
        mean: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.zeros(4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training:
                self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
            return x - self.mean

    model = Average().train()
    loaded = by_program(model, (torch.randn(5, 4),), mode="saved")
    for _ in range(3):
        x = torch.randn(5, 4)
        assert torch.equal(model(x), loaded(x))
    assert torch.equal(model.mean, loaded.mean)
    assert model.mean.any()


def test_what_writes_into_a_tensor_that_it_is_given(by_program: ByProgram) -> None:
    torch.manual_seed(0)
    model = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3)).train()
    loaded = by_program(model, (torch.randn(5, 4),), mode="saved")
    for _ in range(3):
        x = torch.randn(5, 4)
        assert torch.equal(model(x), loaded(x))
    for a, b in zip(model.buffers(), loaded.buffers(), strict=True):
        assert torch.equal(a, b)


def everything(model: nn.Module) -> Any:
    state = [
        {name: (id(value), value._version) for name, value in [*each._parameters.items(), *each._buffers.items()]}
        for each in model.modules()
    ]
    return state, [each.training for each in model.modules()], random.getstate(), np.random.get_state()[1].tolist()


def test_the_model_is_left_as_it_was() -> None:
    class Remembering(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(4)
            self.seen: list[Any] = [1]
            self.by_name: dict[str, Any] = {"a": {"b": 2}}

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.seen.append(x)
            self.by_name["a"]["b"] = x
            self.new = 3
            return self.norm(x)

    model = Remembering()
    model.norm.eval()
    model(torch.randn(3, 4)).sum().backward()
    model.seen, model.by_name = [1], {"a": {"b": 2}}
    del model.new
    before, torch_state, keys = everything(model), torch.get_rng_state(), list(vars(model))
    gradient = model.norm.weight.grad
    assert gradient is not None
    whole = gradient.clone()
    capture(model, [Example(torch.randn(3, 4, generator=torch.Generator()))])
    assert everything(model) == before
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (model.seen, model.by_name, list(vars(model))) == ([1], {"a": {"b": 2}}, keys)
    assert model.norm.weight.grad is gradient
    assert torch.equal(gradient, whole)
    assert "training" not in vars(nn.Module)
