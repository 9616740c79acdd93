"""`load_into` an optimizer: every state to its own parameter, and training that goes on as if uninterrupted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn, optim

import torchkeep
from torchkeep import BindError, DigestError, TorchkeepWarning

Saved = Callable[[Any], Path]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 3, bias=False)
        self.b = nn.Linear(3, 3, bias=False)
        self.norm = nn.BatchNorm1d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.norm(self.b(torch.tanh(self.a(x))))
        return out


def steps(model: nn.Module, optimizer: optim.Optimizer, seeds: range) -> None:
    """Train, each step on a batch of its own."""
    for seed in seeds:
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(seed))

        def closure(x: torch.Tensor = x) -> torch.Tensor:
            optimizer.zero_grad()
            loss = (model(x) - x).square().mean()
            loss.backward()
            return loss

        optimizer.step(closure)


def plain(value: Any) -> Any:
    """State with tensors as what makes them equal, to compare with ==."""
    if isinstance(value, torch.Tensor):
        return ("tensor", str(value.dtype), str(value.device), tuple(value.shape), value.detach().tolist())
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


@contextmanager
def unchanged(*targets: Any) -> Iterator[None]:
    before = [plain(dict(target.state_dict())) for target in targets]
    yield
    assert [plain(dict(target.state_dict())) for target in targets] == before


def trained(kind: Any = optim.AdamW, **options: Any) -> tuple[Net, Any]:
    """A model and an optimizer that has state."""
    torch.manual_seed(0)
    model = Net()
    optimizer = kind(model.parameters(), lr=0.01, **options)
    steps(model, optimizer, range(3))
    return model, optimizer


MAKERS: dict[str, Callable[[Any], optim.Optimizer]] = {
    "ASGD": lambda p: optim.ASGD(p, lr=0.01),
    "Adadelta": lambda p: optim.Adadelta(p, lr=0.5),
    "Adafactor": lambda p: optim.Adafactor(p, lr=0.01),
    "Adagrad": lambda p: optim.Adagrad(p, lr=0.01),
    "Adam": lambda p: optim.Adam(p, lr=0.01),
    "Adam amsgrad": lambda p: optim.Adam(p, lr=0.01, amsgrad=True),
    "Adam tensor lr": lambda p: optim.Adam(p, lr=torch.tensor(0.01)),
    "AdamW": lambda p: optim.AdamW(p, lr=0.01),
    "Adamax": lambda p: optim.Adamax(p, lr=0.01),
    "LBFGS": lambda p: optim.LBFGS(p, lr=0.1, max_iter=3, history_size=4),
    "NAdam": lambda p: optim.NAdam(p, lr=0.01),
    "RAdam": lambda p: optim.RAdam(p, lr=0.01),
    "RMSprop": lambda p: optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
    "Rprop": lambda p: optim.Rprop(p, lr=0.01),
    "SGD": lambda p: optim.SGD(p, lr=0.01),
    "SGD momentum": lambda p: optim.SGD(p, lr=0.01, momentum=0.9, nesterov=True),
}
if hasattr(optim, "Muon"):
    MAKERS["Muon"] = lambda p: optim.Muon([t for t in p if t.dim() == 2], lr=0.01)


def test_every_class_of_torch_is_here() -> None:
    classes = {
        name
        for name in dir(optim)
        if isinstance(getattr(optim, name), type) and issubclass(getattr(optim, name), optim.Optimizer)
    }
    assert classes - {name.split()[0] for name in MAKERS} == {"Optimizer", "SparseAdam"}


# Training goes on


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("whole", [True, False], ids=["objects", "state_dicts"])
def test_training_goes_on_bit_for_bit(saved: Saved, name: str, whole: bool) -> None:
    """Three steps, a restore into a fresh pair, three more: as six steps in one go."""
    torch.manual_seed(0)
    model = Net()
    optimizer = MAKERS[name](model.parameters())
    steps(model, optimizer, range(3))
    parts = (model, optimizer) if whole else (model.state_dict(), optimizer.state_dict())
    path = saved({"model": parts[0], "optimizer": parts[1], "epoch": 3})
    steps(model, optimizer, range(3, 6))

    torch.manual_seed(1)
    fresh = Net()
    resumed = MAKERS[name](fresh.parameters())
    report = torchkeep.load_into({"model": fresh, "optimizer": resumed}, path)
    assert report.optimizers == {"optimizer": "identity" if whole else "position"}
    steps(fresh, resumed, range(3, 6))
    assert plain(dict(fresh.state_dict())) == plain(dict(model.state_dict()))
    assert plain(resumed.state_dict()) == plain(optimizer.state_dict())


def test_training_goes_on_with_sparse_gradients(saved: Saved) -> None:
    def run(model: nn.Embedding, optimizer: optim.Optimizer, rows: list[int]) -> None:
        for row in rows:
            optimizer.zero_grad()
            model(torch.tensor([row, 0])).square().sum().backward()
            optimizer.step()

    model, fresh = nn.Embedding(5, 2, sparse=True), nn.Embedding(5, 2, sparse=True)
    optimizer, resumed = optim.SparseAdam(model.parameters()), optim.SparseAdam(fresh.parameters())
    run(model, optimizer, [1, 2, 3])
    path = saved({"m": model, "o": optimizer})
    run(model, optimizer, [2, 1])
    torchkeep.load_into({"m": fresh, "o": resumed}, path)
    run(fresh, resumed, [2, 1])
    assert torch.equal(fresh.weight, model.weight)


def test_training_goes_on_over_what_training_had_begun(saved: Saved) -> None:
    """State that the target has is replaced, not kept beside."""
    model, optimizer = trained()
    path = saved({"model": model, "optimizer": optimizer})
    fresh, resumed = trained()
    steps(fresh, resumed, range(50, 55))
    torchkeep.load_into({"model": fresh, "optimizer": resumed}, path)
    steps(model, optimizer, range(3, 6))
    steps(fresh, resumed, range(3, 6))
    assert plain(dict(fresh.state_dict())) == plain(dict(model.state_dict()))


# How a state finds its parameter


def momentum(optimizer: optim.Optimizer, parameter: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = optimizer.state[parameter]["exp_avg"]
    return found


def test_identity_survives_reordered_parameters_and_groups(saved: Saved) -> None:
    model, _ = trained()
    optimizer = optim.AdamW(
        [
            {"params": [model.a.weight, model.norm.weight], "lr": 0.1},
            {"params": [model.b.weight], "lr": 0.2},
            {"params": [model.norm.bias], "lr": 0.3},
        ]
    )
    steps(model, optimizer, range(2))
    path = saved({"model": model, "optimizer": optimizer})
    fresh = Net()
    resumed = optim.AdamW(
        [
            {"params": [fresh.norm.bias]},
            {"params": [fresh.b.weight]},
            {"params": [fresh.norm.weight, fresh.a.weight]},
        ],
        lr=5.0,
    )
    report = torchkeep.load_into({"model": fresh, "optimizer": resumed}, path)
    assert report.optimizers == {"optimizer": "identity"}
    assert torch.equal(momentum(resumed, fresh.a.weight), momentum(optimizer, model.a.weight))
    assert torch.equal(momentum(resumed, fresh.b.weight), momentum(optimizer, model.b.weight))
    assert torch.equal(momentum(resumed, fresh.norm.weight), momentum(optimizer, model.norm.weight))
    assert [group["lr"] for group in resumed.param_groups] == [0.3, 0.2, 0.1]


def test_identity_survives_a_wrapper(saved: Saved) -> None:
    model, optimizer = trained()
    fresh = nn.DataParallel(Net())
    resumed = optim.AdamW(reversed(list(fresh.parameters())), lr=1.0)
    report = torchkeep.load_into(
        {"model": fresh, "optimizer": resumed}, saved({"model": model, "optimizer": optimizer})
    )
    assert report.optimizers == {"optimizer": "identity"}
    assert torch.equal(momentum(resumed, fresh.module.b.weight), momentum(optimizer, model.b.weight))


def test_identity_where_the_target_lacks_a_part_of_the_model(saved: Saved) -> None:
    """A head that was cut off must not shift the momentum of what stayed to another parameter."""
    model = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2, bias=False)})
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for value, parameter in zip((1.0, 2.0), model.parameters(), strict=True):
        parameter.grad = torch.full((2, 2), value)
    optimizer.step()
    path = saved({"model": model, "optimizer": optimizer})
    fresh = nn.ModuleDict({"b": nn.Linear(2, 2, bias=False), "c": nn.Linear(2, 2, bias=False)})
    resumed = optim.SGD(fresh.parameters(), lr=0.1, momentum=0.9)
    with pytest.warns(TorchkeepWarning):
        torchkeep.load_into({"model": fresh, "optimizer": resumed}, path, strict=False)
    assert torch.equal(resumed.state[fresh["b"].weight]["momentum_buffer"], torch.full((2, 2), 2.0))
    assert "momentum_buffer" not in resumed.state[fresh["c"].weight]


def named(model: nn.Module, *names: str) -> list[tuple[str, nn.Parameter]]:
    parameters = dict(model.named_parameters())
    return [(name, parameters[name]) for name in names or parameters]


@pytest.mark.parametrize("whole", [True, False], ids=["object", "state_dict"])
def test_names_survive_reordered_parameters(saved: Saved, whole: bool) -> None:
    model = Net()
    optimizer = optim.AdamW(named(model))
    steps(model, optimizer, range(2))
    fresh = Net()
    resumed = optim.AdamW(named(fresh, "norm.bias", "b.weight", "a.weight", "norm.weight"))
    report = torchkeep.load_into(resumed, saved(optimizer if whole else optimizer.state_dict()))
    assert report.optimizers == {"": "names"}
    assert torch.equal(momentum(resumed, fresh.a.weight), momentum(optimizer, model.a.weight))
    assert torch.equal(momentum(resumed, fresh.b.weight), momentum(optimizer, model.b.weight))
    assert resumed.param_groups[0]["param_names"] == ["norm.bias", "b.weight", "a.weight", "norm.weight"]


def test_names_of_the_file_and_a_model_beside_the_target(saved: Saved) -> None:
    model = Net()
    optimizer = optim.AdamW(named(model))
    steps(model, optimizer, range(2))
    fresh = Net()
    resumed = optim.AdamW([fresh.b.weight, fresh.a.weight, fresh.norm.weight, fresh.norm.bias])
    path = saved({"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    report = torchkeep.load_into({"model": fresh, "optimizer": resumed}, path)
    assert report.optimizers == {"optimizer": "names"}
    assert torch.equal(momentum(resumed, fresh.a.weight), momentum(optimizer, model.a.weight))


def test_names_are_looked_through_wrappers(saved: Saved) -> None:
    model = Net()
    optimizer = optim.AdamW(named(nn.DataParallel(model)))
    steps(model, optimizer, range(2))
    fresh = Net()
    resumed = optim.AdamW(named(fresh, "b.weight", "a.weight", "norm.weight", "norm.bias"))
    torchkeep.load_into(resumed, saved(optimizer.state_dict()))
    assert torch.equal(momentum(resumed, fresh.b.weight), momentum(optimizer, model.b.weight))


def test_names_that_only_one_side_has(saved: Saved) -> None:
    model = Net()
    optimizer = optim.AdamW(named(model))
    steps(model, optimizer, range(2))
    path = saved(optimizer)
    fresh = Net()
    fresh.c = nn.Linear(3, 3, bias=False)
    resumed = optim.AdamW(named(fresh, "c.weight", "b.weight", "norm.weight", "norm.bias"))
    with unchanged(resumed), pytest.raises(BindError) as caught:
        torchkeep.load_into(resumed, path)
    assert "optimizer['c.weight']" in str(caught.value)
    assert "optimizer['a.weight']" in str(caught.value)
    with pytest.warns(TorchkeepWarning):
        report = torchkeep.load_into(resumed, path, strict=False)
    assert list(report) == [["c.weight"], ["a.weight"]]
    assert torch.equal(momentum(resumed, fresh.b.weight), momentum(optimizer, model.b.weight))
    assert fresh.c.weight not in resumed.state


def test_position_where_nobody_has_names(saved: Saved) -> None:
    model, optimizer = trained()
    for of in (optimizer, optimizer.state_dict()):
        fresh = Net()
        resumed = optim.AdamW(fresh.parameters())
        report = torchkeep.load_into(resumed, saved(of))
        assert report.optimizers == {"": "position"}
        assert torch.equal(momentum(resumed, fresh.b.weight), momentum(optimizer, model.b.weight))
        assert "position" in str(report)


def test_position_where_only_one_side_has_names(saved: Saved) -> None:
    model, optimizer = trained()
    fresh = Net()
    resumed = optim.AdamW(named(fresh))
    assert torchkeep.load_into(resumed, saved(optimizer)).optimizers == {"": "position"}
    assert resumed.param_groups[0]["param_names"] == ["a.weight", "b.weight", "norm.weight", "norm.bias"]
    assert torch.equal(momentum(resumed, fresh.b.weight), momentum(optimizer, model.b.weight))


def pair_of_layers(outside: int = 1) -> tuple[nn.Sequential, list[nn.Parameter]]:
    """A model, and parameters that no model has."""
    return nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)), [nn.Parameter(torch.zeros(3)) for _ in range(outside)]


def fill_state(optimizer: optim.Optimizer) -> None:
    """Give each parameter momentum of its own."""
    for number, parameter in enumerate(p for group in optimizer.param_groups for p in group["params"]):
        parameter.grad = torch.full_like(parameter, float(number + 1))
    optimizer.step()


def reordered(model: nn.Sequential) -> list[nn.Parameter]:
    one, two = model
    return [two.weight, two.bias, one.weight, one.bias]


BY_POSITION = "went by position, and only shapes were compared"


def test_what_no_model_has_goes_by_position_and_the_rest_by_identity(saved: Saved) -> None:
    (model, extra), (fresh, other) = pair_of_layers(), pair_of_layers()
    optimizer = optim.AdamW([*model.parameters(), *extra])
    fill_state(optimizer)
    resumed = optim.AdamW([*reordered(fresh), *other])
    path = saved({"model": model, "optimizer": optimizer})
    with pytest.warns(TorchkeepWarning, match=f"the state of 1 parameter {BY_POSITION}: no model .* has them"):
        report = torchkeep.load_into({"model": fresh, "optimizer": resumed}, path)
    assert report.optimizers == {"optimizer": "identity and position"}
    assert [finding.code for finding in report.findings] == ["by-position"]
    for ours, theirs in zip([*model.parameters(), *extra], [*fresh.parameters(), *other], strict=True):
        assert torch.equal(momentum(resumed, theirs), momentum(optimizer, ours))


def test_what_is_left_by_identity_may_have_names(saved: Saved) -> None:
    (model, extra), (fresh, other) = pair_of_layers(2), pair_of_layers(2)
    optimizer = optim.AdamW([*named(model), ("x", extra[0]), ("y", extra[1])])
    fill_state(optimizer)
    resumed = optim.AdamW([("y", other[1]), ("x", other[0]), *reversed(named(fresh))])
    report = torchkeep.load_into(
        {"model": fresh, "optimizer": resumed}, saved({"model": model, "optimizer": optimizer})
    )
    assert report.optimizers == {"optimizer": "identity and names"}
    for ours, theirs in zip([*model.parameters(), *extra], [*fresh.parameters(), *other], strict=True):
        assert torch.equal(momentum(resumed, theirs), momentum(optimizer, ours))


def test_two_models_of_one_optimizer_and_only_one_is_given(saved: Saved) -> None:
    (gen, _), (disc, _), (fresh, _), (other, _) = (pair_of_layers() for _ in range(4))
    optimizer = optim.AdamW([*gen.parameters(), *disc.parameters()])
    fill_state(optimizer)
    resumed = optim.AdamW([*reordered(fresh), *other.parameters()])
    path = saved({"gen": gen, "disc": disc, "opt": optimizer})
    with pytest.warns(TorchkeepWarning, match=f"opt: the states of 4 parameters {BY_POSITION}"):
        report = torchkeep.load_into({"gen": fresh, "opt": resumed}, path)
    assert report.optimizers == {"opt": "identity and position"}
    pairs = zip([*gen.parameters(), *disc.parameters()], [*fresh.parameters(), *other.parameters()], strict=True)
    assert all(torch.equal(momentum(resumed, theirs), momentum(optimizer, ours)) for ours, theirs in pairs)
    report = torchkeep.load_into({"gen": fresh, "disc": other, "opt": resumed}, path)
    assert report.optimizers == {"opt": "identity"}


@pytest.mark.parametrize("count", [1, 3])
def test_what_is_left_in_another_number_is_an_error(saved: Saved, count: int) -> None:
    (model, extra), (fresh, other) = pair_of_layers(2), pair_of_layers(count)
    optimizer = optim.AdamW([*model.parameters(), *extra])
    fill_state(optimizer)
    resumed = optim.AdamW([*fresh.parameters(), *other])
    target, path = {"model": fresh, "optimizer": resumed}, saved({"model": model, "optimizer": optimizer})
    with unchanged(fresh, resumed), pytest.raises(BindError) as caught:
        torchkeep.load_into(target, path)
    assert "file: groups of [2] parameters that no name tells apart; target: groups of [" in str(caught.value)
    with pytest.warns(TorchkeepWarning, match="did not fit"):
        report = torchkeep.load_into(target, path, allow="mismatched")
    assert report.optimizers == {"optimizer": "identity"}
    assert not any(parameter in resumed.state for parameter in other)
    assert torch.equal(momentum(resumed, fresh[0].weight), momentum(optimizer, model[0].weight))


def test_what_is_left_on_one_side_alone_is_missing_or_unexpected(saved: Saved) -> None:
    (model, extra), (fresh, other) = pair_of_layers(), pair_of_layers()
    optimizer, alone = optim.AdamW([*model.parameters(), *extra]), optim.AdamW(model.parameters())
    for each in (optimizer, alone):
        fill_state(each)
    resumed = optim.AdamW(fresh.parameters())
    with unchanged(fresh, resumed), pytest.raises(BindError, match="a parameter of the file, not of the target"):
        torchkeep.load_into({"m": fresh, "o": resumed}, saved({"m": model, "o": optimizer}), allow="missing")
    resumed = optim.AdamW([*fresh.parameters(), *other])
    with unchanged(fresh, resumed), pytest.raises(BindError, match=r"o\['\(parameter 4\)'\]  its parameter is unknown"):
        torchkeep.load_into({"m": fresh, "o": resumed}, saved({"m": model, "o": alone}), allow="unexpected")


def test_shapes_are_checked_of_what_is_left(saved: Saved) -> None:
    (model, extra), (fresh, _) = pair_of_layers(), pair_of_layers()
    optimizer = optim.AdamW([*model.parameters(), *extra])
    fill_state(optimizer)
    resumed = optim.AdamW([*fresh.parameters(), nn.Parameter(torch.zeros(2))])
    with unchanged(fresh, resumed), pytest.raises(BindError, match=r"state\[4\]\['exp_avg'\] .* shape \(3,\)"):
        torchkeep.load_into({"m": fresh, "o": resumed}, saved({"m": model, "o": optimizer}))


def test_names_of_the_file_that_the_target_has_none_for(saved: Saved) -> None:
    model = Net()
    optimizer = optim.AdamW(named(model))
    steps(model, optimizer, range(2))
    fresh = Net()
    resumed = optim.AdamW(fresh.parameters())
    with pytest.warns(TorchkeepWarning, match=f"4 parameters {BY_POSITION}: the file has names.*named_parameters"):
        report = torchkeep.load_into(resumed, saved(optimizer))
    assert report.optimizers == {"": "position"}
    assert torch.equal(momentum(resumed, fresh.b.weight), momentum(optimizer, model.b.weight))


def test_a_name_that_only_the_file_has_and_a_parameter_without_one(saved: Saved) -> None:
    """The model beside the target gives names to all but one parameter, and all but one name find theirs."""
    (model, extra), (fresh, other) = pair_of_layers(), pair_of_layers()
    optimizer = optim.AdamW([*named(model), ("x", extra[0])])
    fill_state(optimizer)
    resumed = optim.AdamW([*other, *reordered(fresh)])
    path = saved({"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    with pytest.warns(TorchkeepWarning, match=f"1 parameter {BY_POSITION}"):
        report = torchkeep.load_into({"model": fresh, "optimizer": resumed}, path)
    assert report.optimizers == {"optimizer": "names and position"}
    for ours, theirs in zip([*model.parameters(), *extra], [*fresh.parameters(), *other], strict=True):
        assert torch.equal(momentum(resumed, theirs), momentum(optimizer, ours))


def test_a_name_that_only_one_side_has_and_a_parameter_without_one_are_no_pair_for_sure(saved: Saved) -> None:
    (model, extra), (fresh, other) = pair_of_layers(), pair_of_layers()
    optimizer = optim.AdamW([*named(model), ("x", extra[0])])
    fill_state(optimizer)
    fresh.append(nn.Linear(3, 3))
    resumed = optim.AdamW([*fresh.parameters(), *other])
    path = saved({"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    with unchanged(fresh, resumed), pytest.raises(BindError, match=r"some with names.*some with other names"):
        torchkeep.load_into({"model": fresh, "optimizer": resumed}, path, allow={"missing", "unexpected"})


def test_state_of_all_parameters_together_needs_them_in_their_order(saved: Saved) -> None:
    model, optimizer = trained(optim.LBFGS)
    fresh = Net()
    resumed = optim.LBFGS(list(fresh.parameters())[::-1])
    with unchanged(fresh, resumed), pytest.raises(BindError, match="another order"):
        torchkeep.load_into({"m": fresh, "o": resumed}, saved({"m": model, "o": optimizer}))


# Names that the caller changes


@pytest.mark.parametrize("whole", [True, False], ids=["objects", "state_dicts"])
@pytest.mark.parametrize("names", [True, False], ids=["own names", "names of the model"])
def test_rename_goes_for_an_optimizer_beside_its_model(saved: Saved, whole: bool, names: bool) -> None:
    model = Net()
    optimizer = optim.AdamW(named(model))
    steps(model, optimizer, range(2))
    parts = (model, optimizer) if whole else (model.state_dict(), optimizer.state_dict())
    fresh = Net()
    fresh.z = fresh.a
    del fresh.a
    order = ("norm.bias", "b.weight", "z.weight", "norm.weight")
    resumed = optim.AdamW(named(fresh, *order) if names else [p for _, p in named(fresh, *order)])
    report = torchkeep.load_into(
        {"model": fresh, "optimizer": resumed}, saved({"model": parts[0], "optimizer": parts[1]}), rename=[("a", "z")]
    )
    assert report.optimizers == {"optimizer": "identity" if whole else "names"}
    assert torch.equal(momentum(resumed, fresh.z.weight), momentum(optimizer, model.a.weight))
    assert torch.equal(momentum(resumed, fresh.b.weight), momentum(optimizer, model.b.weight))


@pytest.mark.parametrize("rename", [[("a", "z")], {"a.": "z."}, lambda name: name.replace("a.w", "z.w")])
def test_rename_goes_for_an_optimizer_alone(saved: Saved, rename: Any) -> None:
    model = Net()
    optimizer = optim.AdamW(named(model))
    steps(model, optimizer, range(2))
    fresh = Net()
    fresh.z = fresh.a
    del fresh.a
    resumed = optim.AdamW(named(fresh, "norm.bias", "b.weight", "z.weight", "norm.weight"))
    report = torchkeep.load_into(resumed, saved(optimizer), rename=rename)
    assert report.optimizers == {"": "names"}
    assert torch.equal(momentum(resumed, fresh.z.weight), momentum(optimizer, model.a.weight))


def test_a_rename_that_does_nothing_for_an_optimizer_is_an_error(saved: Saved) -> None:
    model, optimizer = trained()
    path = saved(optimizer)
    resumed = optim.AdamW(named(Net()))
    for rename in ([("a", "z")], lambda name: name):
        with unchanged(resumed), pytest.raises(BindError, match="has no names there to rename"):
            torchkeep.load_into(resumed, path, rename=rename)
    path = saved(optim.AdamW(named(model)))
    with unchanged(resumed), pytest.raises(BindError, match=r"'q' begins no name .* names there look like 'a\.weight'"):
        torchkeep.load_into(resumed, path, rename=[("q", "z")])
    with (
        unchanged(resumed),
        pytest.raises(BindError, match=r"optimizer\['z\.weight'\]  a parameter of the file") as told,
    ):
        torchkeep.load_into(resumed, path, rename=[("a", "z")])
    assert "or rename=[(old, new)]" in str(told.value)


def test_a_rename_may_leave_parameters_out(saved: Saved) -> None:
    model = Net()
    optimizer = optim.AdamW(named(model))
    steps(model, optimizer, range(2))
    fresh = Net()
    resumed = optim.AdamW(named(fresh, "b.weight"))
    torchkeep.load_into(resumed, saved(optimizer), rename=lambda name: name if name.startswith("b") else None)
    assert torch.equal(momentum(resumed, fresh.b.weight), momentum(optimizer, model.b.weight))


def test_shapes_are_checked_by_position(saved: Saved) -> None:
    _, optimizer = trained()
    fresh = Net()
    resumed = optim.AdamW([fresh.norm.weight, fresh.b.weight, fresh.a.weight, fresh.norm.bias])
    with unchanged(resumed), pytest.raises(BindError) as caught:
        torchkeep.load_into(resumed, saved(optimizer))
    assert "state[0]['exp_avg']" in str(caught.value)
    assert "shape (3, 3)" in str(caught.value)


@pytest.mark.parametrize("groups", [[1, 3], [4, 1], [3]], ids=["split", "more", "fewer"])
def test_groups_are_checked_by_position(saved: Saved, groups: list[int]) -> None:
    _, optimizer = trained()
    fresh = nn.ParameterList([torch.zeros(3, 3) for _ in range(sum(groups))])
    parameters = iter(fresh)
    resumed = optim.AdamW([{"params": [next(parameters) for _ in range(count)]} for count in groups])
    with unchanged(resumed), pytest.raises(BindError, match="param_groups") as caught:
        torchkeep.load_into(resumed, saved(optimizer))
    assert "groups of [4] parameters" in str(caught.value)
    assert f"groups of {groups} parameters" in str(caught.value)


# Groups and their hyperparameters


def test_hyperparameters_come_from_the_file(saved: Saved) -> None:
    _, optimizer = trained(weight_decay=0.3, betas=(0.8, 0.9))
    optimizer.param_groups[0]["initial_lr"] = 0.5  # a scheduler's
    resumed = optim.AdamW(Net().parameters(), lr=1.0)
    torchkeep.load_into(resumed, saved(optimizer))
    group = resumed.param_groups[0]
    assert (group["lr"], group["weight_decay"], tuple(group["betas"])) == (0.01, 0.3, (0.8, 0.9))
    assert group["initial_lr"] == 0.5


def test_a_hyperparameter_that_the_file_lacks_stays(saved: Saved) -> None:
    _, optimizer = trained()
    del optimizer.param_groups[0]["fused"]
    resumed = optim.AdamW(Net().parameters(), lr=1.0)
    torchkeep.load_into(resumed, saved(optimizer))
    assert resumed.param_groups[0]["fused"] is None


def test_a_group_without_parameters(saved: Saved) -> None:
    model, fresh = Net(), Net()
    optimizer = optim.SGD([{"params": [], "lr": 0.5}, {"params": model.parameters(), "lr": 0.25}], lr=1.0)
    resumed = optim.SGD([{"params": []}, {"params": fresh.parameters()}], lr=1.0)
    torchkeep.load_into(resumed, saved(optimizer))
    assert [group["lr"] for group in resumed.param_groups] == [0.5, 0.25]


def test_names_that_several_parameters_have_tell_nothing(saved: Saved) -> None:
    model, fresh = Net(), Net()
    optimizer = optim.AdamW(model.parameters())
    steps(model, optimizer, range(1))
    optimizer.param_groups[0]["param_names"] = ["x", "x", "norm.weight", "norm.bias"]
    resumed = optim.AdamW(named(fresh))
    with pytest.warns(TorchkeepWarning, match="2 parameters went by position"):
        report = torchkeep.load_into(resumed, saved(optimizer))
    assert report.optimizers == {"": "names and position"}
    assert torch.equal(momentum(resumed, fresh.b.weight), momentum(optimizer, model.b.weight))


def test_a_group_that_was_split(saved: Saved) -> None:
    model = Net()
    optimizer = optim.AdamW(named(model), lr=0.25)
    steps(model, optimizer, range(2))
    fresh = Net()
    resumed = optim.AdamW(
        [{"params": named(fresh, "norm.weight", "norm.bias")}, {"params": named(fresh, "b.weight", "a.weight")}]
    )
    torchkeep.load_into(resumed, saved(optimizer))
    assert [group["lr"] for group in resumed.param_groups] == [0.25, 0.25]
    assert torch.equal(momentum(resumed, fresh.a.weight), momentum(optimizer, model.a.weight))


def test_groups_that_were_merged_and_agree(saved: Saved) -> None:
    model = Net()
    optimizer = optim.AdamW(
        [{"params": named(model, "norm.weight", "norm.bias")}, {"params": named(model, "b.weight", "a.weight")}],
        lr=0.25,
    )
    steps(model, optimizer, range(2))
    fresh = Net()
    resumed = optim.AdamW(named(fresh))
    torchkeep.load_into(resumed, saved(optimizer))
    assert resumed.param_groups[0]["lr"] == 0.25
    assert torch.equal(momentum(resumed, fresh.a.weight), momentum(optimizer, model.a.weight))


def test_groups_that_were_merged_and_differ(saved: Saved) -> None:
    model = Net()
    optimizer = optim.AdamW(
        [
            {"params": named(model, "norm.weight", "norm.bias"), "weight_decay": 0.0},
            {"params": named(model, "b.weight", "a.weight"), "weight_decay": 0.5},
        ],
        lr=0.25,
    )
    steps(model, optimizer, range(2))
    path = saved(optimizer)
    resumed = optim.AdamW(named(Net()))
    with unchanged(resumed), pytest.raises(BindError) as caught:
        torchkeep.load_into(resumed, path)
    assert "param_groups[0]['weight_decay']" in str(caught.value)
    assert "0.5" in str(caught.value)
    assert "'lr'" not in str(caught.value)


def test_groups_that_were_merged_and_share_one_learning_rate_in_a_tensor(saved: Saved) -> None:
    model = Net()
    optimizer = optim.AdamW(
        [
            {"params": named(model, "norm.weight", "norm.bias"), "lr": torch.tensor(0.25)},
            {"params": named(model, "b.weight", "a.weight"), "lr": torch.tensor(0.25)},
        ],
    )
    steps(model, optimizer, range(2))
    resumed = optim.AdamW(named(Net()), lr=torch.tensor(1.0))
    torchkeep.load_into(resumed, saved(optimizer))
    assert resumed.param_groups[0]["lr"] == 0.25


# Devices and dtypes


def test_steps_stay_float_and_state_takes_the_dtype_of_its_parameter(saved: Saved) -> None:
    model, optimizer = trained()
    for fresh in (Net().double(), Net().to(torch.bfloat16)):
        resumed = optim.AdamW(fresh.parameters())
        with pytest.warns(TorchkeepWarning):
            torchkeep.load_into({"model": fresh, "o": resumed}, saved({"model": model, "o": optimizer}))
        state = resumed.state[fresh.a.weight]
        assert state["exp_avg"].dtype == fresh.a.weight.dtype
        assert state["step"].dtype == torch.float32
        assert state["step"].device.type == "cpu"
        assert state["step"] == 3


@pytest.mark.parametrize("name", ["AdamW", "SGD momentum", "LBFGS"])
def test_a_cast_of_state_is_reported(saved: Saved, name: str) -> None:
    torch.manual_seed(0)
    model = Net()
    optimizer = MAKERS[name](model.parameters())
    steps(model, optimizer, range(3))
    fresh = Net().to(torch.bfloat16)
    resumed = MAKERS[name](fresh.parameters())
    path = saved({"model": model, "o": optimizer})
    with pytest.warns(TorchkeepWarning, match="cast to the target's dtype"):
        report = torchkeep.load_into({"model": fresh, "o": resumed}, path)
    cast = [row for row in report.cast if row[0].startswith("o.")]
    state = resumed.state_dict()["state"]
    expected = {
        "AdamW": [f"o.state[{i}][{key!r}]" for i in range(4) for key in ("exp_avg", "exp_avg_sq")],
        "SGD momentum": [f"o.state[{i}]['momentum_buffer']" for i in range(4)],
    }
    assert [row[0] for row in cast] == expected.get(name, [row[0] for row in cast])
    assert {row[1:] for row in cast} == {("float32", "bfloat16")}
    assert {row[0] for row in report.cast} >= {"model.a.weight", "model.norm.running_mean"}
    assert state[0].get("step", torch.zeros(())).dtype == torch.float32 or name == "LBFGS"
    with pytest.warns(TorchkeepWarning, match="cast"):
        alone = torchkeep.load_into(resumed, path)
    assert [row[0] for row in alone.cast] == [row[0].removeprefix("o.") for row in cast]


def test_the_state_is_the_optimizers_own(saved: Saved) -> None:
    """No memory is shared between states, or with the file."""
    _, optimizer = trained()
    shared = torch.zeros(3, 3)
    for state in list(optimizer.state.values())[:2]:
        state["exp_avg"] = shared
    fresh = Net()
    resumed = optim.AdamW(fresh.parameters())
    path = saved(optimizer)
    torchkeep.load_into(resumed, path)
    path.write_bytes(b"")
    steps(fresh, resumed, range(1))


def test_an_optimizer_that_has_not_run(saved: Saved) -> None:
    resumed = optim.AdamW(Net().parameters(), lr=1.0)
    torchkeep.load_into(resumed, saved(optim.AdamW(Net().parameters(), lr=0.5)))
    assert resumed.param_groups[0]["lr"] == 0.5
    assert resumed.state_dict()["state"] == {}


# Under assign=True


def own_loading(model: nn.Module) -> nn.Module:
    model.register_load_state_dict_post_hook(lambda *_: None)
    return model


@pytest.mark.parametrize("name", ["AdamW", "SGD momentum", "LBFGS"])
@pytest.mark.parametrize("say", [lambda m: m, own_loading], ids=["plain", "hooked"])
@pytest.mark.parametrize("whole", [True, False], ids=["objects", "state_dicts"])
def test_training_goes_on_with_what_took_the_place_of_the_parameters(
    saved: Saved, name: str, say: Any, whole: bool
) -> None:
    torch.manual_seed(0)
    model = Net()
    optimizer = MAKERS[name](model.parameters())
    steps(model, optimizer, range(3))
    parts = (model, optimizer) if whole else (model.state_dict(), optimizer.state_dict())
    path = saved({"model": parts[0], "optimizer": parts[1]})
    steps(model, optimizer, range(3, 6))
    fresh = say(Net())
    resumed = MAKERS[name](fresh.parameters())
    steps(fresh, resumed, range(9, 11))  # state of the parameters that go
    before = list(fresh.parameters())
    torchkeep.load_into({"optimizer": resumed, "model": fresh}, path, assign=True)
    assert [id(p) for group in resumed.param_groups for p in group["params"]] == [id(p) for p in fresh.parameters()]
    assert not {id(p) for p in before} & {id(p) for p in fresh.parameters()}
    assert {id(key) for key in resumed.state} <= {id(p) for p in fresh.parameters()}
    steps(fresh, resumed, range(3, 6))
    assert plain(dict(fresh.state_dict())) == plain(dict(model.state_dict()))


def test_the_state_of_a_meta_target_goes_where_its_parameters_went(saved: Saved) -> None:
    model, optimizer = trained()
    path = saved({"model": model, "optimizer": optimizer})
    with torch.device("meta"):
        fresh = Net()
    resumed = optim.AdamW(reversed(list(fresh.parameters())))
    torchkeep.load_into({"model": fresh, "optimizer": resumed}, path, assign=True)
    assert {p.device.type for p in fresh.parameters()} == {"cpu"}
    assert {t.device.type for state in resumed.state.values() for t in state.values()} == {"cpu"}
    assert torch.equal(momentum(resumed, fresh.a.weight), momentum(optimizer, model.a.weight))
    for net, opt in ((model, optimizer), (fresh, resumed)):
        steps(net.train(), opt, range(3, 6))
    assert plain(dict(fresh.state_dict())) == plain(dict(model.state_dict()))


def test_a_parameter_that_stays_stays_in_the_optimizer(saved: Saved) -> None:
    model = Net()
    optimizer = optim.AdamW(named(model))
    steps(model, optimizer, range(1))
    path = saved({"model": model, "optimizer": optimizer})
    fresh = Net()
    fresh.c = nn.Linear(3, 3)
    kept = fresh.c.weight
    resumed = optim.AdamW(fresh.parameters())
    with pytest.warns(TorchkeepWarning):
        torchkeep.load_into({"model": fresh, "optimizer": resumed}, path, assign=True, allow="missing")
    assert fresh.c.weight is kept
    assert [id(p) for p in resumed.param_groups[0]["params"]] == [id(p) for p in fresh.parameters()]


def test_an_optimizer_is_not_touched_where_a_model_under_assign_does_not_fit(saved: Saved) -> None:
    model, optimizer = trained()
    fresh, resumed = trained()
    fresh.c = nn.Linear(1, 1)
    before = [id(p) for p in resumed.param_groups[0]["params"]]
    with unchanged(fresh, resumed), pytest.raises(BindError):
        torchkeep.load_into(
            {"model": fresh, "optimizer": resumed}, saved({"model": model, "optimizer": optimizer}), assign=True
        )
    assert [id(p) for p in resumed.param_groups[0]["params"]] == before


# Which part of the file


def test_the_only_optimizer_of_a_checkpoint_is_found(saved: Saved) -> None:
    model, optimizer = trained()
    for of in (optimizer, optimizer.state_dict()):
        resumed = optim.AdamW(Net().parameters())
        path = saved({"model": model.state_dict(), "opt": of, "epoch": 3})
        torchkeep.load_into(resumed, path)
        assert resumed.param_groups[0]["lr"] == 0.01
        assert len(resumed.state_dict()["state"]) == 4
        torchkeep.load_into(resumed, path, key="opt")


def test_two_optimizers_are_an_error_that_lists_the_calls(saved: Saved) -> None:
    _, one = trained()
    _, two = trained()
    resumed = optim.AdamW(Net().parameters())
    path = saved({"gen": one, "disc": two})
    with unchanged(resumed), pytest.raises(BindError, match="key='gen', key='disc'"):
        torchkeep.load_into(resumed, path)
    torchkeep.load_into({"disc": resumed}, path)
    assert resumed.param_groups[0]["lr"] == 0.01


def test_a_file_without_an_optimizer(saved: Saved) -> None:
    resumed = optim.AdamW(Net().parameters())
    with unchanged(resumed), pytest.raises(BindError, match="no optimizer"):
        torchkeep.load_into(resumed, saved({"model": Net()}))
    with unchanged(resumed), pytest.raises(BindError, match="'o' is no optimizer"):
        torchkeep.load_into({"o": resumed}, saved({"o": Net()}))


def test_two_pairs(saved: Saved) -> None:
    (gen, gen_opt), (disc, disc_opt) = trained(), trained(optim.SGD, momentum=0.9)
    path = saved({"gen": gen, "gen_opt": gen_opt, "disc": disc, "disc_opt": disc_opt})
    fresh = {"gen": Net(), "disc": Net()}
    target: dict[str, Any] = {
        **fresh,
        "gen_opt": optim.AdamW(reversed(list(fresh["gen"].parameters()))),
        "disc_opt": optim.SGD(reversed(list(fresh["disc"].parameters())), lr=1.0, momentum=0.9),
    }
    report = torchkeep.load_into(target, path)
    assert report.optimizers == {"gen_opt": "identity", "disc_opt": "identity"}
    assert torch.equal(momentum(target["gen_opt"], fresh["gen"].a.weight), momentum(gen_opt, gen.a.weight))
    state = target["disc_opt"].state[fresh["disc"].b.weight]
    assert torch.equal(state["momentum_buffer"], disc_opt.state[disc.b.weight]["momentum_buffer"])


# Errors leave everything as it was


def test_a_model_that_fits_is_not_touched_where_its_optimizer_does_not(saved: Saved) -> None:
    model, optimizer = trained()
    path = saved({"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    fresh, resumed = trained()
    steps(fresh, resumed, range(9, 11))
    resumed.add_param_group({"params": [nn.Parameter(torch.ones(1))]})
    with unchanged(fresh, resumed), pytest.raises(BindError, match="param_groups"):
        torchkeep.load_into({"model": fresh, "optimizer": resumed}, path)


def test_an_optimizer_that_fits_is_not_touched_where_its_model_does_not(saved: Saved) -> None:
    model, optimizer = trained()
    fresh, resumed = trained()
    steps(fresh, resumed, range(9, 11))
    fresh.c = nn.Linear(1, 1)
    with unchanged(fresh, resumed), pytest.raises(BindError, match=r"c\.weight"):
        torchkeep.load_into({"model": fresh, "optimizer": resumed}, saved({"model": model, "optimizer": optimizer}))


def test_state_that_is_damaged_changes_nothing(saved: Saved) -> None:
    """State is read beside the target before anything of the target is written."""
    model, optimizer = trained()
    for state in optimizer.state.values():
        state["exp_avg_sq"].fill_(1234.5)
    path = saved({"model": model, "optimizer": optimizer})
    data = bytearray(path.read_bytes())
    at = data.index(bytes(torch.full((9,), 1234.5).numpy().tobytes()))
    data[at] ^= 1
    path.write_bytes(data)
    fresh, resumed = trained()
    steps(fresh, resumed, range(9, 11))
    for verify in (None, "first"):
        with unchanged(fresh, resumed), pytest.raises(DigestError, match="exp_avg_sq"):
            torchkeep.load_into({"model": fresh, "optimizer": resumed}, path, verify=verify)  # type: ignore[arg-type]


def test_no_state_for_any_parameter_is_an_error_whatever_is_allowed(saved: Saved) -> None:
    model = Net()
    optimizer = optim.AdamW(named(model, "a.weight"))
    steps(model, optimizer, range(1))
    resumed = optim.AdamW(named(Net(), "b.weight"))
    with unchanged(resumed), pytest.raises(BindError, match="no state of the file belongs"):
        torchkeep.load_into(resumed, saved(optimizer), allow={"missing", "unexpected", "mismatched"})


@pytest.mark.parametrize("whole", [True, False], ids=["object", "state_dict"])
@pytest.mark.parametrize(
    ("ours", "theirs"), [(optim.SGD, optim.AdamW), (optim.AdamW, optim.SGD)], ids=["SGD to AdamW", "AdamW to SGD"]
)
def test_an_optimizer_of_another_kind_is_no_silent_success(saved: Saved, ours: Any, theirs: Any, whole: bool) -> None:
    """Momentum of SGD means nothing to AdamW: its next step would fail, or begin anew."""
    _, optimizer = trained(ours, **({"momentum": 0.9} if ours is optim.SGD else {}))
    resumed = theirs(Net().parameters(), lr=1.0)
    path = saved(optimizer if whole else optimizer.state_dict())
    with unchanged(resumed), pytest.raises(BindError):
        torchkeep.load_into(resumed, path)


def test_mismatched_state_that_is_allowed_leaves_an_optimizer_that_runs(saved: Saved) -> None:
    _, optimizer = trained()
    torch.manual_seed(3)
    fresh = nn.Sequential(nn.Linear(3, 2, bias=False), nn.Linear(2, 3, bias=False), nn.BatchNorm1d(3))
    resumed = optim.AdamW(fresh.parameters())
    with pytest.warns(TorchkeepWarning):
        report = torchkeep.load_into(resumed, saved(optimizer), allow="mismatched")
    assert {name.partition("[")[0] for name, _, _ in report.mismatched} == {"state"}
    steps(fresh, resumed, range(1))
