"""Lazy modules: saved before they know their shapes they come back lazy, saved afterwards as what they became."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

import torchkeep


class Gate(nn.Module):
    """What `LazyGate` becomes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale + self.shift  # type: ignore[operator]


class LazyGate(LazyModuleMixin, Gate):
    cls_to_become = Gate  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.scale = UninitializedParameter()
        self.register_buffer("shift", UninitializedBuffer(), persistent=False)

    def initialize_parameters(self, x: torch.Tensor) -> None:  # type: ignore[override]
        if self.has_uninitialized_params():
            with torch.no_grad():
                self.scale.materialize(x.shape[-1:])
                self.shift.materialize(x.shape[-1:])
                self.scale.normal_()
                self.shift.zero_()


class StaysLazy(LazyGate):
    cls_to_become = None  # type: ignore[assignment]


class Eager(nn.Module):
    """No lazy class."""


LAZY: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "LazyLinear": (lambda: nn.LazyLinear(3), (2, 4)),
    "LazyLinear without bias": (lambda: nn.LazyLinear(3, bias=False), (2, 4)),
    **{
        f"LazyConv{n}d": (lambda n=n: getattr(nn, f"LazyConv{n}d")(3, 2), (2, 4, *[5] * n))  # type: ignore[misc]
        for n in (1, 2, 3)
    },
    **{
        f"LazyConvTranspose{n}d": (lambda n=n: getattr(nn, f"LazyConvTranspose{n}d")(3, 2), (2, 4, *[5] * n))  # type: ignore[misc]
        for n in (1, 2, 3)
    },
    **{
        f"Lazy{kind}Norm{n}d": (
            lambda n=n, kind=kind: getattr(nn, f"Lazy{kind}Norm{n}d")(affine=True, track_running_stats=True),  # type: ignore[misc]
            (2, 4, *[5] * n),
        )
        for n in (1, 2, 3)
        for kind in ("Batch", "Instance")
    },
    "of the program": (LazyGate, (2, 4)),
    "that stays lazy": (StaysLazy, (2, 4)),
    "bfloat16": (lambda: nn.LazyLinear(3, dtype=torch.bfloat16), (2, 4)),
}


def first_call(model: nn.Module, shape: tuple[int, ...]) -> torch.Tensor:
    torch.manual_seed(3)
    dtype = next((each.dtype for each in model.parameters()), torch.float32)
    result: torch.Tensor = model(torch.randn(shape, dtype=dtype))
    return result.detach()


def require_equal(one: nn.Module, other: nn.Module) -> None:
    ours, theirs = one.state_dict(), other.state_dict()
    assert list(ours) == list(theirs)
    assert ours._metadata == theirs._metadata  # type: ignore[attr-defined]
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def form(model: nn.Module) -> dict[str, tuple[Any, ...]]:
    held = [*model.named_parameters(), *model.named_buffers()]
    return {name: (type(each), each.dtype, each.requires_grad, sorted(vars(each))) for name, each in held}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.safetensors"


def back(model: Any, path: Path, **more: Any) -> Any:
    torchkeep.save(model, path)
    return torchkeep.load(path, **more)


@pytest.mark.parametrize("name", LAZY)
def test_before_its_first_call_a_module_comes_back_lazy(path: Path, name: str) -> None:
    make, shape = LAZY[name]
    model = make()
    loaded = back(model, path, mode="saved")
    assert type(loaded) is type(model)
    assert form(loaded) == form(model)
    assert list(vars(loaded)["_parameters"]) == list(vars(model)["_parameters"])
    assert loaded.has_uninitialized_params()
    ours, theirs = first_call(model, shape), first_call(loaded, shape)
    assert torch.equal(ours, theirs)
    assert type(loaded) is type(model)
    require_equal(model, loaded)
    assert not loaded._forward_pre_hooks
    assert not loaded._load_state_dict_pre_hooks
    assert vars(loaded).keys() == vars(model).keys()


@pytest.mark.parametrize("name", LAZY)
def test_after_it_a_module_comes_back_as_what_it_became(path: Path, name: str) -> None:
    make, shape = LAZY[name]
    model = make()
    first_call(model, shape)
    loaded = back(model, path, mode="saved")
    assert type(loaded) is type(model)
    require_equal(model, loaded)
    assert torch.equal(first_call(model, shape), first_call(loaded, shape))


@pytest.mark.parametrize("name", LAZY)
def test_a_state_dict_gives_it_its_shapes(path: Path, name: str) -> None:
    make, shape = LAZY[name]
    ready = make()
    first_call(ready, shape)
    loaded = back(make(), path, mode="saved")
    loaded.load_state_dict(ready.state_dict())
    half_way = back(loaded, path, mode="saved")  # with shapes, and still with the hooks of a lazy module
    require_equal(ready, half_way)
    if name in ("LazyLinear", "LazyConv2d", "LazyBatchNorm1d", "bfloat16"):
        assert torch.equal(first_call(ready, shape), first_call(half_way, shape))
        assert type(half_way) is type(ready)


def test_frozen_cast_and_copied(path: Path) -> None:
    model = nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d())
    model[0].bias = UninitializedParameter(requires_grad=False)
    model[0].weight.note = "kept"
    loaded = back(model, path, dtype=torch.float64)
    loaded[0] = copy.deepcopy(loaded[0])
    assert [each.dtype for each in loaded.parameters()] == [torch.float64] * 4
    assert loaded[1].running_mean.dtype == torch.float64
    assert not loaded[0].bias.requires_grad
    assert loaded(torch.ones(2, 5, dtype=torch.float64)).shape == (2, 3)
    assert back(model, path)[0].weight.note == "kept"
    assert back(model, path, device="meta")[0].weight.device.type == "meta"


def test_a_tied_one_stays_tied_and_an_optimizer_holds_it(path: Path) -> None:
    model = nn.Sequential(nn.LazyLinear(3), nn.LazyLinear(3))
    model[1].weight = model[0].weight
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loaded = back({"model": model, "optimizer": optimizer}, path)
    weight = loaded["model"][0].weight
    assert loaded["model"][1].weight is weight
    assert loaded["optimizer"].param_groups[0]["params"][0] is weight


def test_a_part_of_a_model_may_be_lazy_still(path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.LazyLinear(2))
    loaded = back(model, path)
    require_equal(model[0], loaded[0])
    assert torch.equal(first_call(model, (2, 4)), first_call(loaded, (2, 4)))


def test_its_state_dict_is_saved_too(path: Path) -> None:
    state = nn.LazyLinear(3).state_dict()
    loaded = back(state, path)
    assert list(loaded) == ["weight", "bias"]
    assert type(loaded["weight"]) is UninitializedParameter


def test_hooks_of_others_are_told(path: Path) -> None:
    model = nn.LazyLinear(3)
    model.register_forward_pre_hook(lambda *_: None)
    with pytest.warns(torchkeep.TorchkeepWarning, match="a forward pre-hook cannot"):
        torchkeep.save(model, path)
    with pytest.warns(torchkeep.TorchkeepWarning, match="without its"):
        loaded = torchkeep.load(path, allow={"hooks"})
    assert loaded(torch.ones(2, 4)).shape == (2, 3)


def test_a_class_that_is_lazy_no_more_is_refused(path: Path) -> None:
    torchkeep.save(LazyGate(), path)
    with pytest.raises(torchkeep.LoadError, match=r"was lazy when it was saved, and .*Eager is no LazyModuleMixin"):
        torchkeep.load(path, classes={f"{__name__}:LazyGate": Eager}, allow={"changed"})


def test_inspect_shows_what_has_no_shape(path: Path) -> None:
    torchkeep.save(nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d()), path)
    report = torchkeep.inspect(path)
    text = report.text()
    assert "torch.nn:LazyLinear(in_features=0, out_features=3) (lazy)" in text
    assert "weight: uninitialized parameter float32" in text
    assert "running_mean: uninitialized buffer float32" in text
    assert [each.name for each in report.tensors] == ["1.num_batches_tracked"]


# --- load_into --------------------------------------------------------------------------------------


def test_load_into_gives_a_lazy_target_its_shapes(path: Path) -> None:
    torch.manual_seed(0)
    source = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    source(torch.randn(5, 4))
    torchkeep.save(source, path)
    for assign in (False, True):
        target = nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d())
        weight = target[0].weight
        report = torchkeep.load_into(target, path, assign=assign)
        assert (report.matched, report.total) == (7, 7)
        require_equal(source, target)
        assert assign or target[0].weight is weight
        x = torch.randn(2, 4)
        assert torch.equal(source.eval()(x), target.eval()(x))
        assert type(target[0]) is nn.Linear


def test_load_into_casts_to_a_lazy_target(path: Path) -> None:
    torchkeep.save(nn.Linear(4, 3, dtype=torch.float64), path)
    target = nn.LazyLinear(3)
    with pytest.warns(torchkeep.TorchkeepWarning, match="cast"):
        torchkeep.load_into(target, path)
    assert target.weight.dtype == torch.float32


def test_load_into_leaves_a_lazy_target_lazy_where_it_does_not_fit(path: Path) -> None:
    torchkeep.save(nn.Sequential(nn.Linear(4, 3), nn.Linear(5, 5)), path)
    target = nn.Sequential(nn.LazyLinear(3), nn.Linear(2, 2))
    before, kept = form(target), target[1].weight.detach().clone()
    with pytest.raises(torchkeep.BindError, match="he target was not changed"):
        torchkeep.load_into(target, path)
    assert form(target) == before
    assert torch.equal(target[1].weight, kept)
    assert torchkeep.load_into(nn.Sequential(nn.LazyLinear(3), nn.LazyLinear(5)), path).matched == 4
    assert target[0](torch.ones(2, 6)).shape == (2, 3)


def test_load_into_from_a_file_of_lazy_modules(path: Path) -> None:
    torchkeep.save(nn.Sequential(nn.LazyLinear(3), nn.Linear(3, 2)), path)
    lazy = nn.Sequential(nn.LazyLinear(3), nn.Linear(3, 2))
    assert torchkeep.load_into(lazy, path).matched == 4
    assert lazy[0].has_uninitialized_params()
    ready = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    kept = ready[1].weight.detach().clone()
    with pytest.raises(torchkeep.BindError, match=r"file: not yet initialized; target: shape \(3, 4\)"):
        torchkeep.load_into(ready, path)
    assert torch.equal(ready[1].weight, kept)


def test_load_into_refuses_what_is_lazy_without_a_lazy_module(path: Path) -> None:
    torchkeep.save(nn.Linear(2, 2), path)
    target = nn.Module()
    target.weight = UninitializedParameter()
    target.bias = nn.Parameter(torch.zeros(2))
    with pytest.raises(torchkeep.BindError, match="lazy"):
        torchkeep.load_into(target, path)
    assert type(target.weight) is UninitializedParameter
