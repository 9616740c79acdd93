"""What stands beside a model in training: schedulers, scalers, running averages. Each goes on where it was."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, Optimizer, lr_scheduler, swa_utils

import torchkeep
from torchkeep.values.torch_table import OBJECTS


def decay(epoch: int) -> float:
    return 0.9**epoch


class Own(lr_scheduler.LRScheduler):
    """One of a program's own."""

    def get_lr(self) -> list[float]:
        return [rate * 0.7 for rate in self.base_lrs]


SCHEDULERS: dict[str, Callable[[Optimizer], Any]] = {
    "LRScheduler": Own,
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, decay),
    "MultiplicativeLR": lambda o: lr_scheduler.MultiplicativeLR(o, decay),
    "StepLR": lambda o: lr_scheduler.StepLR(o, 2),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [2, 5]),
    "ConstantLR": lambda o: lr_scheduler.ConstantLR(o, total_iters=3),
    "LinearLR": lr_scheduler.LinearLR,
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda o: lr_scheduler.PolynomialLR(o, 6),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 4),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 3, 2),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=30),
    "OneCycleLR linear": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=30, anneal_strategy="linear"),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, 3),
    "CyclicLR triangular2": lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, 3, mode="triangular2"),
    "CyclicLR exp_range": lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, 3, mode="exp_range", gamma=0.9),
    "CyclicLR of a function": lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, 3, scale_fn=decay),
    "ReduceLROnPlateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=1),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.ConstantLR(o), lr_scheduler.ExponentialLR(o, 0.5)], [2]
    ),
    "ChainedScheduler": lambda o: lr_scheduler.ChainedScheduler(
        [lr_scheduler.ConstantLR(o), lr_scheduler.ExponentialLR(o, 0.5)]
    ),
    "SWALR": lambda o: swa_utils.SWALR(o, 0.05, anneal_epochs=4),
    "SWALR linear": lambda o: swa_utils.SWALR(o, 0.05, anneal_epochs=4, anneal_strategy="linear"),
}


def rates(scheduler: Any, optimizer: Optimizer, steps: int) -> list[Any]:
    """Learning rates and momenta over some steps of training."""
    found = []
    for step in range(steps):
        optimizer.step()
        scheduler.step(*([1.0 + step] if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau) else []))
        found.append([(group["lr"], group["momentum"]) for group in optimizer.param_groups])
    return found


def test_every_object_of_the_table_is_tried() -> None:
    tried = {name.partition(" ")[0] for name in SCHEDULERS} | {"GradScaler"}
    of_training = {name for name in OBJECTS if not name.startswith("torch.distributions")}
    assert {name.rpartition(":")[2] for name in of_training} == tried


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("before", [0, 1, 4])
def test_a_scheduler_goes_on(tmp_path: Path, name: str, before: int) -> None:
    """Warnings are errors here: torch warns of a scheduler that steps before its optimizer, or does not see it step."""
    model = nn.Linear(2, 2)
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = SCHEDULERS[name](optimizer)
    rates(scheduler, optimizer, before)
    value = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    torchkeep.save(value, tmp_path / "c.safetensors")
    found = torchkeep.load(tmp_path / "c.safetensors", classes=[Own, decay])
    assert type(found["scheduler"]) is type(scheduler)
    assert found["scheduler"].optimizer is found["optimizer"]
    assert _plain(found["scheduler"].state_dict()) == _plain(scheduler.state_dict())
    assert rates(found["scheduler"], found["optimizer"], 7) == rates(scheduler, optimizer, 7)
    torchkeep.save(found, tmp_path / "again.safetensors")
    assert rates(scheduler, optimizer, 3) == rates(found["scheduler"], found["optimizer"], 3)


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in state.items() if "scale_fn" not in name and "_schedulers" not in name}


def test_the_one_warning_that_is_right_comes(tmp_path: Path) -> None:
    optimizer = SGD(nn.Linear(2, 2).parameters(), lr=0.1)
    torchkeep.save({"o": optimizer, "s": lr_scheduler.StepLR(optimizer, 2)}, tmp_path / "c.safetensors")
    found = torchkeep.load(tmp_path / "c.safetensors")
    with pytest.warns(UserWarning, match="before `optimizer.step"):
        found["s"].step()


def test_two_schedulers_of_one_optimizer(tmp_path: Path) -> None:
    optimizer = SGD(nn.Linear(2, 2).parameters(), lr=0.1, momentum=0.5)
    both = [lr_scheduler.StepLR(optimizer, 2), lr_scheduler.ExponentialLR(optimizer, 0.9)]
    torchkeep.save(both, tmp_path / "s.safetensors")
    found = torchkeep.load(tmp_path / "s.safetensors")
    assert found[0].optimizer is found[1].optimizer
    for step in (*both, *found):
        step.optimizer.step()
        step.step()
    assert found[0].get_last_lr() == both[0].get_last_lr()


def test_a_scheduler_of_the_program_needs_its_name(tmp_path: Path) -> None:
    optimizer = SGD(nn.Linear(2, 2).parameters(), lr=0.1)
    torchkeep.save(Own(optimizer), tmp_path / "s.safetensors")
    with pytest.warns(torchkeep.TorchkeepWarning, match="Own came back as inert Records"):
        assert type(torchkeep.load(tmp_path / "s.safetensors")) is torchkeep.Record


def test_a_schedule_in_a_lambda_is_refused(tmp_path: Path) -> None:
    optimizer = SGD(nn.Linear(2, 2).parameters(), lr=0.1)
    scheduler = lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.5)
    with pytest.raises(torchkeep.UnsaveableError, match=r"obj\.lr_lambdas\[0\] cannot be saved"):
        torchkeep.save(scheduler, tmp_path / "s.safetensors")


# --- scaler -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [0, 3])
def test_a_scaler_goes_on(tmp_path: Path, steps: int) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
    model = nn.Linear(2, 1)
    optimizer = SGD(model.parameters(), lr=0.1)

    def train(scaler: torch.amp.GradScaler) -> float:
        optimizer.zero_grad()
        scaler.scale(model(torch.ones(1, 2)).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        return scaler.get_scale()

    for _ in range(steps):
        train(scaler)
    torchkeep.save({"scaler": scaler}, tmp_path / "s.safetensors")
    found = torchkeep.load(tmp_path / "s.safetensors")["scaler"]
    assert type(found) is torch.amp.GradScaler
    assert found.state_dict() == scaler.state_dict()
    assert [train(found) for _ in range(5)] == [train(scaler) for _ in range(5)]


def test_a_scaler_within_a_step_is_refused_as_torch_does(tmp_path: Path) -> None:
    scaler = torch.amp.GradScaler("cpu")
    model = nn.Linear(2, 1)
    optimizer = SGD(model.parameters(), lr=0.1)
    scaler.scale(model(torch.ones(1, 2)).sum()).backward()
    scaler.step(optimizer)
    with pytest.raises(torchkeep.UnsaveableError, match=r"__getstate__ that raised AssertionError: A GradScaler"):
        torchkeep.save(scaler, tmp_path / "s.safetensors")


# --- running averages -------------------------------------------------------------------------------

AVERAGES: dict[str, Callable[[nn.Module], swa_utils.AveragedModel]] = {
    "default": swa_utils.AveragedModel,
    "buffers": lambda m: swa_utils.AveragedModel(m, use_buffers=True),
    "ema": lambda m: swa_utils.AveragedModel(m, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.9)),
    "ema by tensor": lambda m: swa_utils.AveragedModel(m, avg_fn=swa_utils.get_ema_avg_fn(0.75)),
    "swa": lambda m: swa_utils.AveragedModel(m, multi_avg_fn=swa_utils.get_swa_multi_avg_fn()),
    "swa by tensor": lambda m: swa_utils.AveragedModel(m, avg_fn=swa_utils.get_swa_avg_fn()),
}


@pytest.mark.parametrize("name", AVERAGES)
def test_a_running_average_goes_on(tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    average = AVERAGES[name](model)
    optimizer = Adam(model.parameters(), lr=0.1)

    def train(times: int, *averages: swa_utils.AveragedModel) -> None:
        for _ in range(times):
            optimizer.zero_grad()
            model(torch.randn(4, 3)).square().sum().backward()
            optimizer.step()
            for each in averages:
                each.update_parameters(model)

    train(3, average)
    torchkeep.save({"average": average}, tmp_path / "a.safetensors")
    found = torchkeep.load(tmp_path / "a.safetensors", mode="train")["average"]
    assert type(found) is swa_utils.AveragedModel
    train(3, average, found)
    assert int(found.n_averaged) == int(average.n_averaged) == 6
    for (key, one), (other_key, other) in zip(average.state_dict().items(), found.state_dict().items(), strict=True):
        assert key == other_key
        assert torch.equal(one, other)


def test_an_average_of_the_programs_own(tmp_path: Path) -> None:
    average = swa_utils.AveragedModel(nn.Linear(2, 2), avg_fn=half)
    torchkeep.save(average, tmp_path / "a.safetensors")
    with pytest.raises(torchkeep.TrustError, match=r":half "):
        torchkeep.load(tmp_path / "a.safetensors")
    assert torchkeep.load(tmp_path / "a.safetensors", classes=[half]).avg_fn is half


def half(averaged: Any, current: Any, count: Any) -> Any:
    return averaged + (current - averaged) / 2


def test_what_a_whole_run_holds(tmp_path: Path) -> None:
    """A checkpoint as people write it, whole objects rather than state_dicts."""
    model = nn.Linear(4, 4)
    optimizer = Adam(model.parameters())
    value = {
        "model": model,
        "average": swa_utils.AveragedModel(model, multi_avg_fn=swa_utils.get_ema_multi_avg_fn()),
        "optimizer": optimizer,
        "scheduler": lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=10),
        "scaler": torch.amp.GradScaler("cpu"),
        "generator": torch.Generator().manual_seed(1),
        "epoch": 3,
    }
    torchkeep.save(value, tmp_path / "run.safetensors")
    found = torchkeep.load(tmp_path / "run.safetensors")
    assert found["scheduler"].optimizer is found["optimizer"]
    assert found["optimizer"].param_groups[0]["params"][0] is found["model"].weight
    assert found["average"].module.weight is not found["model"].weight
    assert copy.deepcopy(found)["epoch"] == 3
