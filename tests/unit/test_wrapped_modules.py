"""Modules that something was done to: parametrized, wrapped, with slots. They come back so that training goes right."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

import torchkeep


class Symmetric(nn.Module):
    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return X.triu() + X.triu(1).transpose(-1, -2)

    def right_inverse(self, A: torch.Tensor) -> torch.Tensor:
        return A.triu()


class Scaled(nn.Linear):
    """A class of the program below the parametrization, with a parametrized buffer too."""

    def __init__(self) -> None:
        super().__init__(3, 3)
        self.register_buffer("mask", torch.ones(3, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(x, self.weight * self.mask, self.bias)


def _of(module: nn.Module, name: str, *parts: nn.Module) -> nn.Module:
    for part in parts:
        parametrize.register_parametrization(module, name, part)
    return module


PARAMETRIZED: dict[str, Callable[[], nn.Module]] = {
    "weight_norm": lambda: parametrizations.weight_norm(nn.Linear(3, 3)),
    "weight_norm of a convolution": lambda: parametrizations.weight_norm(nn.Conv1d(3, 3, 1), dim=1),
    "spectral_norm": lambda: parametrizations.spectral_norm(nn.Linear(3, 3)),
    "orthogonal": lambda: parametrizations.orthogonal(nn.Linear(3, 3)),
    "orthogonal by cayley": lambda: parametrizations.orthogonal(nn.Linear(3, 3), orthogonal_map="cayley"),
    "orthogonal by householder": lambda: parametrizations.orthogonal(nn.Linear(3, 2), orthogonal_map="householder"),
    "the user's": lambda: _of(nn.Linear(3, 3), "weight", Symmetric()),
    "two in a chain": lambda: _of(nn.Linear(3, 3), "weight", Symmetric(), nn.Identity()),
    "two tensors": lambda: _of(_of(Scaled(), "weight", Symmetric()), "mask", Symmetric()),
    "in a model": lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 3)), nn.ReLU(), nn.Linear(3, 3)),
    "twice in a model": lambda: nn.Sequential(*[parametrizations.weight_norm(nn.Linear(3, 3))] * 2),
}
CLASSES = [Symmetric, Scaled]


def _inputs(model: nn.Module) -> torch.Tensor:
    return torch.randn(4, 3, 5) if any(isinstance(m, nn.Conv1d) for m in model.modules()) else torch.randn(4, 3)


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("name", PARAMETRIZED)
def test_it_computes_and_trains_the_same(tmp_path: Path, name: str, mode: Any) -> None:
    torch.manual_seed(0)
    model = PARAMETRIZED[name]()
    torchkeep.save(model, tmp_path / "m.safetensors")
    found = torchkeep.load(tmp_path / "m.safetensors", classes=CLASSES, mode=mode)
    model.train(mode == "train")
    assert list(found.state_dict()) == list(model.state_dict())
    assert [n for n, _ in found.named_modules()] == [n for n, _ in model.named_modules()]
    assert repr(found) == repr(model)
    inputs = _inputs(model)
    for _ in range(2):
        torch.manual_seed(1)
        ours = model(inputs)
        torch.manual_seed(1)
        theirs = found(inputs)
        assert torch.equal(ours, theirs)
        for one, out in ((model, ours), (found, theirs)):
            optimizer = torch.optim.SGD(one.parameters(), lr=0.1)
            optimizer.zero_grad()
            out.square().sum().backward()
            optimizer.step()
    for (_, one), (_, other) in zip(model.named_parameters(), found.named_parameters(), strict=True):
        assert torch.equal(one, other)


def test_changing_what_it_is_made_of_changes_the_output(tmp_path: Path) -> None:
    torchkeep.save(parametrizations.weight_norm(nn.Linear(3, 3)), tmp_path / "m.safetensors")
    found = torchkeep.load(tmp_path / "m.safetensors")
    before = found(torch.ones(1, 3)) - found.bias
    with torch.no_grad():
        found.parametrizations.weight.original0 *= 2
    assert torch.allclose(found(torch.ones(1, 3)) - found.bias, 2 * before)
    found.weight = torch.eye(3)
    assert torch.allclose(found.weight, torch.eye(3))
    assert parametrize.is_parametrized(found, "weight")
    assert type(found).__name__ == "ParametrizedLinear"
    with parametrize.cached():
        assert found.weight is found.weight
    again = copy.deepcopy(found)
    assert torch.equal(again.weight, found.weight)
    parametrize.remove_parametrizations(found, "weight")
    assert type(found) is nn.Linear


def test_weight_norm_reads_its_older_state_dicts(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        older = torch.nn.utils.weight_norm(nn.Linear(3, 3)).state_dict()
    torchkeep.save(parametrizations.weight_norm(nn.Linear(3, 3)), tmp_path / "m.safetensors")
    found = torchkeep.load(tmp_path / "m.safetensors")
    found.load_state_dict(older)
    assert torch.equal(found.parametrizations.weight.original1, older["weight_v"])


def test_weights_go_into_a_parametrized_target(tmp_path: Path) -> None:
    model = parametrizations.weight_norm(nn.Linear(3, 3))
    torchkeep.save(model, tmp_path / "m.safetensors")
    target = parametrizations.weight_norm(nn.Linear(3, 3))
    torchkeep.load_into(target, tmp_path / "m.safetensors")
    assert torch.equal(target.weight, model.weight)


def test_a_hook_of_the_program_still_is_a_finding(tmp_path: Path) -> None:
    model = parametrizations.weight_norm(nn.Linear(3, 3))
    model.register_forward_hook(lambda *_: None)
    with pytest.warns(torchkeep.TorchkeepWarning, match="a forward hook cannot be saved"):
        torchkeep.save(model, tmp_path / "m.safetensors")


class Derived(nn.Linear):
    derived: list[type] = []  # noqa: RUF012 (what the test looks at)

    def __init_subclass__(cls) -> None:
        cls.derived.append(cls)


def test_deriving_from_a_class_runs_its_code_only_if_it_was_named(tmp_path: Path) -> None:
    torchkeep.save(parametrizations.weight_norm(Derived(3, 3)), tmp_path / "m.safetensors")
    seen = len(Derived.derived)
    with pytest.raises(torchkeep.LoadError, match=r"runs code of its own.*classes=\[Derived\]"):
        torchkeep.load(tmp_path / "m.safetensors")
    assert len(Derived.derived) == seen
    assert parametrize.is_parametrized(torchkeep.load(tmp_path / "m.safetensors", classes=[Derived]))


@pytest.mark.parametrize("name", ["forward", "extra_repr", "dump_patches", "call_super_init"])
def test_a_property_hides_nothing_that_the_class_does(tmp_path: Path, name: str) -> None:
    model = nn.Linear(3, 3)
    held = nn.ModuleDict()
    held._modules[name] = parametrize.ParametrizationList([nn.Identity()], nn.Parameter(torch.ones(2)))
    model.parametrizations = held
    torchkeep.save(model, tmp_path / "m.safetensors")
    with pytest.raises(torchkeep.LoadError, match=f"the parametrized '{name}' would hide what Linear does"):
        torchkeep.load(tmp_path / "m.safetensors")


# --- wrappers ---------------------------------------------------------------------------------------


pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script_method")  # what importing the compiler warns of


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x)


WRAPPERS: dict[str, Callable[[nn.Module], Any]] = {
    "compiled": torch.compile,
    "DataParallel": nn.DataParallel,
    "both": lambda model: nn.DataParallel(torch.compile(model)),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapper_is_no_part_of_the_model(tmp_path: Path, name: str) -> None:
    model = Net()
    report = torchkeep.save(WRAPPERS[name](model), tmp_path / "m.safetensors")
    assert [(f.code, f.severity) for f in report.findings] == [("unwrapped", "note")]
    found = torchkeep.load(tmp_path / "m.safetensors")
    assert type(found) is Net
    assert list(found.state_dict()) == ["fc.weight", "fc.bias"]
    assert torch.equal(found(torch.ones(1, 2)), model(torch.ones(1, 2)))


def test_what_a_wrapper_shares_with_others_stays_shared(tmp_path: Path) -> None:
    model = Net()
    compiled = torch.compile(model)
    value = {"compiled": compiled, "raw": model, "again": compiled, "in": nn.ModuleList([compiled])}
    torchkeep.save(value, tmp_path / "m.safetensors")
    found = torchkeep.load(tmp_path / "m.safetensors", classes=[Net])
    assert found["compiled"] is found["raw"] is found["again"] is found["in"][0]


def test_a_model_compiled_in_place(tmp_path: Path) -> None:
    model = Net()
    model.compile()
    torchkeep.save(model, tmp_path / "m.safetensors")
    assert torch.equal(torchkeep.load(tmp_path / "m.safetensors").fc.weight, model.fc.weight)


def test_distributed_data_parallel(tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        model = Net()
        report = torchkeep.save(nn.parallel.DistributedDataParallel(model), tmp_path / "m.safetensors")
        assert "DistributedDataParallel" in str(report.findings[0])
        found = torchkeep.load(tmp_path / "m.safetensors")
        assert type(found) is Net
        assert torch.equal(found.fc.weight, model.fc.weight)
    finally:
        torch.distributed.destroy_process_group()


# --- slots ------------------------------------------------------------------------------------------


class Slotted(nn.Module):
    __slots__ = ("scale", "unset")

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.scale = [3.0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x) * self.scale[0]


def test_a_module_with_slots(tmp_path: Path) -> None:
    model = Slotted()
    torchkeep.save(model, tmp_path / "m.safetensors")
    found = torchkeep.load(tmp_path / "m.safetensors")
    assert found.scale == [3.0]
    assert "scale" not in vars(found)
    assert not hasattr(found, "unset")
    assert torch.equal(found(torch.ones(1, 2)), model(torch.ones(1, 2)))


class Shadow(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.type = "x"
        self.float = 3
        self.half = ["y"]


def test_data_over_a_method_is_no_shadowing(tmp_path: Path) -> None:
    """`self.type = "conv"` is what many programs do; only what can be called takes the place of a method."""
    torchkeep.save(Shadow(), tmp_path / "m.safetensors")
    found = torchkeep.load(tmp_path / "m.safetensors")
    assert (found.type, found.float, found.half) == ("x", 3, ["y"])


def test_load_into_a_model_with_wrappers_inside(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    saved = nn.Sequential(nn.DataParallel(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))), nn.Linear(2, 1))
    torchkeep.save(saved, path)
    for target in (
        nn.Sequential(nn.DataParallel(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))), nn.Linear(2, 1)),
        nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.DataParallel(nn.BatchNorm1d(2))), nn.Linear(2, 1)),
        nn.DataParallel(
            nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), nn.DataParallel(nn.Linear(2, 1)))
        ),
    ):
        report = torchkeep.load_into(target, path)
        assert not report.missing_keys
        values = zip(saved.state_dict().values(), target.state_dict().values(), strict=True)
        assert all(torch.equal(one, other) for one, other in values)
    torchkeep.save(saved.state_dict(), path)  # with the words of the wrapper
    torchkeep.load_into(saved, path)
