"""Hooks of torch's older functions: saved as data, back as torch's own hooks, and training goes on with them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import prune, remove_spectral_norm, remove_weight_norm, spectral_norm
from torch.nn.utils import weight_norm as deprecated_weight_norm

import torchkeep

# weight_norm says that it is deprecated
pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
weight_norm: Callable[..., Any] = deprecated_weight_norm


class Magnitude(prune.BasePruningMethod):
    """A way to prune of the program's own."""

    PRUNING_TYPE = "unstructured"

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def compute_mask(self, t: torch.Tensor, default_mask: torch.Tensor) -> torch.Tensor:
        return default_mask * (t.abs() > self.threshold)


class Doubling(Magnitude):
    """One that applies its mask in its own way, and with a module's attribute."""

    def apply_mask(self, module: nn.Module) -> torch.Tensor:
        return 2 * super().apply_mask(module) * module.in_features


class Watching(nn.Linear):
    """A class that would notice if its code ran."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("weight", "weight_g"):
            seen.append(name)
        super().__setattr__(name, value)

    def register_forward_pre_hook(self, *args: Any, **more: Any) -> Any:
        seen.append("register")
        return super().register_forward_pre_hook(*args, **more)


seen: list[str] = []


def linear(rows: int = 4) -> nn.Linear:
    return nn.Linear(4, rows)


def pruned(module: nn.Module, *calls: Callable[[nn.Module], Any]) -> nn.Module:
    for call in calls:
        call(module)
    return module


def mixed() -> nn.Module:
    """weight_norm outside, pruned bias inside."""
    module = weight_norm(linear())
    prune.l1_unstructured(module, "bias", 1)
    return module  # type: ignore[no-any-return]


MODELS: dict[str, Callable[[], nn.Module]] = {
    "weight_norm": lambda: weight_norm(linear()),
    "weight_norm of columns": lambda: weight_norm(linear(), dim=1),
    "weight_norm of all": lambda: weight_norm(linear(), dim=None),
    "weight_norm from the end": lambda: weight_norm(linear(), dim=-2),
    "weight_norm of bias": lambda: weight_norm(linear(), "bias"),
    "weight_norm of both": lambda: weight_norm(weight_norm(linear()), "bias"),
    "spectral_norm": lambda: spectral_norm(linear()),
    "spectral_norm, many steps": lambda: spectral_norm(linear(), n_power_iterations=3, eps=1e-6, dim=1),
    "identity": lambda: pruned(linear(), lambda m: prune.identity(m, "weight")),
    "random_unstructured": lambda: pruned(linear(), lambda m: prune.random_unstructured(m, "weight", 0.5)),
    "l1_unstructured": lambda: pruned(linear(), lambda m: prune.l1_unstructured(m, "weight", amount=3)),
    "random_structured": lambda: pruned(linear(), lambda m: prune.random_structured(m, "weight", 1, dim=0)),
    "ln_structured": lambda: pruned(linear(), lambda m: prune.ln_structured(m, "weight", 0.5, float("inf"), 1)),
    "custom_from_mask": lambda: pruned(linear(), lambda m: prune.custom_from_mask(m, "bias", torch.arange(4) % 2)),
    "iterative": lambda: pruned(
        linear(),
        lambda m: prune.l1_unstructured(m, "weight", 0.2),
        lambda m: prune.random_structured(m, "weight", 1, dim=0),
        lambda m: prune.custom_from_mask(m, "weight", torch.ones(4, 4)),
    ),
    "weight_norm and prune": mixed,
}


def model_of(name: str) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(MODELS[name](), nn.Dropout(0.5), nn.Linear(4, 2))


def back(model: Any, path: Path, **more: Any) -> Any:
    torchkeep.save(model, path)
    return torchkeep.load(path, **more)


def step(model: nn.Module) -> torch.Tensor:
    """One step of training; what it gave."""
    torch.manual_seed(7)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    optimizer.zero_grad()
    result: torch.Tensor = model(torch.randn(3, 4))
    result.square().sum().backward()
    optimizer.step()
    return result.detach()


def require_equal(one: nn.Module, other: nn.Module) -> None:
    ours, theirs = one.state_dict(), other.state_dict()
    assert list(ours) == list(theirs)
    assert ours._metadata == theirs._metadata  # type: ignore[attr-defined]
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.safetensors"


@pytest.mark.parametrize("name", MODELS)
def test_a_model_comes_back_with_its_hooks(path: Path, name: str) -> None:
    model = model_of(name)
    loaded = back(model, path, mode="saved")
    require_equal(model, loaded)
    for each in (model, loaded):
        each.eval()
    x = torch.randn(3, 4)
    assert torch.equal(model(x), loaded(x))
    assert vars(loaded[0]).keys() == vars(model[0]).keys()


@pytest.mark.parametrize("name", MODELS)
def test_training_goes_on_bit_for_bit(path: Path, name: str) -> None:
    model = model_of(name)
    step(model)  # leaves attributes that are no leaves of autograd, and of before the step
    loaded = back(model, path, mode="saved")
    for _ in range(2):
        assert torch.equal(step(model), step(loaded))
        require_equal(model, loaded)


@pytest.mark.parametrize("name", MODELS)
def test_what_is_computed_is_there_at_once_and_not_in_the_file(path: Path, name: str) -> None:
    model = model_of(name).eval()
    model(torch.randn(3, 4))
    loaded = back(model, path)
    stored = {each.name for each in torchkeep.inspect(path).tensors}
    for hook in model[0]._forward_pre_hooks.values():  # type: ignore[union-attr, operator]
        attribute = getattr(hook, "name", None) or hook._tensor_name
        assert torch.equal(vars(loaded[0])[attribute], vars(model[0])[attribute])
        assert not any(tensor.endswith(f"0.{attribute}") for tensor in stored)


@pytest.mark.parametrize("name", MODELS)
def test_deepcopy_and_a_second_save_work(path: Path, name: str) -> None:
    model = model_of(name)
    step(model)
    loaded = back(model, path)
    again = back(copy.deepcopy(loaded), path)
    x = torch.randn(3, 4)
    assert torch.equal(again(x), model.eval()(x))


def test_weight_g_changes_the_output(path: Path) -> None:
    loaded = back(weight_norm(linear()), path)
    x = torch.randn(3, 4)
    before = loaded(x)
    with torch.no_grad():
        loaded.weight_g *= 2
        loaded.bias.zero_()
    assert not torch.equal(before, loaded(x))
    loaded(x).sum().backward()
    assert loaded.weight_g.grad is not None


def test_hooks_come_off_again(path: Path) -> None:
    torch.manual_seed(0)
    normed, spectral = weight_norm(linear()), spectral_norm(linear()).eval()
    cut = pruned(linear(), lambda m: prune.l1_unstructured(m, "weight", 3))
    x = torch.randn(3, 4)
    for module, remove in (
        (normed, remove_weight_norm),
        (spectral, remove_spectral_norm),
        (cut, lambda module: prune.remove(module, "weight")),
    ):
        loaded = back(module, path)
        remove(loaded)
        assert isinstance(loaded.weight, nn.Parameter)
        assert not loaded._forward_pre_hooks
        remove(module)
        assert torch.equal(loaded(x), module(x))
    with pytest.raises(ValueError, match="not found"):
        remove_weight_norm(back(linear(), path))


def test_what_remove_spectral_norm_leaves_behind_is_no_hook(path: Path) -> None:
    module = spectral_norm(linear())
    remove_spectral_norm(module)
    report = torchkeep.save(module, path)
    assert [finding.severity for finding in report.findings] == ["note"] * len(report.findings)
    assert not torchkeep.load(path)._load_state_dict_pre_hooks


def test_pruning_goes_on_where_it_was(path: Path) -> None:
    torch.manual_seed(0)
    module = pruned(linear(), lambda m: prune.l1_unstructured(m, "weight", 3))
    loaded = back(module, path)
    for each in (module, loaded):
        prune.ln_structured(each, "weight", 1, 2, 0)
        (container,) = each._forward_pre_hooks.values()
        assert [type(method).__name__ for method in container] == ["L1Unstructured", "LnStructured"]
    assert torch.equal(module.weight, loaded.weight)


def test_spectral_norm_that_nobody_called_stays_what_it_is(path: Path) -> None:
    """In attention the last projection is never called: its weight stays the parameter itself."""
    attention = nn.MultiheadAttention(4, 2)
    spectral_norm(attention.out_proj)
    loaded = back(attention, path)
    x = torch.randn(3, 1, 4)
    assert torch.equal(attention.eval()(x, x, x)[0], loaded(x, x, x)[0])
    assert loaded.out_proj.weight.data_ptr() == loaded.out_proj.weight_orig.data_ptr()


@pytest.mark.parametrize("wrap", [weight_norm, spectral_norm, prune.identity])
def test_an_rnn_finds_its_weights(path: Path, wrap: Callable[..., Any]) -> None:
    torch.manual_seed(0)
    lstm = nn.LSTM(2, 3, num_layers=2)
    wrap(lstm, "weight_hh_l0")
    x = torch.randn(4, 1, 2)
    lstm.eval()(x)
    loaded = back(lstm, path)
    assert loaded._flat_weights[1] is loaded.weight_hh_l0
    assert torch.equal(lstm(x)[0], loaded(x)[0])
    assert not any(each.name.endswith("weight_hh_l0") for each in torchkeep.inspect(path).tensors)


def test_another_hook_beside_it_is_told_and_left_out(path: Path) -> None:
    module = weight_norm(linear())
    module.register_forward_pre_hook(lambda *_: None)
    module.register_forward_hook(lambda *_: None)
    with pytest.warns(torchkeep.TorchkeepWarning, match="forward pre-hook and a forward hook"):
        torchkeep.save(module, path)
    with pytest.raises(torchkeep.LoadError, match=r'allow=\{"hooks"\}'):
        torchkeep.load(path)
    with pytest.warns(torchkeep.TorchkeepWarning, match="without its"):
        loaded = torchkeep.load(path, allow={"hooks"})
    assert len(loaded._forward_pre_hooks) == 1
    assert len(loaded._forward_hooks) == 0
    x = torch.randn(3, 4)
    assert torch.equal(loaded(x), module(x))


def test_hooks_of_hooks_are_not_told_from_others(path: Path) -> None:
    """Pruning what weight_norm computes from uses values of the call before: no file says that."""
    module = weight_norm(linear())
    prune.identity(module, "weight_v")
    with pytest.warns(torchkeep.TorchkeepWarning, match="pre-hook"):
        torchkeep.save(module, path)
    with pytest.warns(torchkeep.TorchkeepWarning, match="without its"):
        loaded = torchkeep.load(path, allow={"hooks"})
    assert torch.equal(loaded.weight, module.weight)


def test_tied_parameters_keep_the_second_result(path: Path) -> None:
    """A reader computes from stored bytes once, so that a small file stays small work."""
    torch.manual_seed(0)
    one, other = weight_norm(linear()), weight_norm(linear())
    other.weight_v = one.weight_v
    model = nn.Sequential(one, other).eval()
    x = torch.randn(3, 4)
    model(x)
    loaded = back(model, path)
    assert loaded[0].weight_v is loaded[1].weight_v
    assert torch.equal(model(x), loaded(x))
    assert len(loaded[1]._forward_pre_hooks) == 1


def test_a_method_of_the_program_opens_only_when_it_is_named(path: Path) -> None:
    module = linear()
    Magnitude.apply(module, "weight", threshold=0.1)
    torchkeep.save(module, path)
    assert ("pruning_method", f"{__name__}:Magnitude") in {(n.role, n.name) for n in torchkeep.inspect(path).needs}
    with pytest.raises(torchkeep.TrustError, match=r"pruning_method opens only when the caller names it"):
        torchkeep.load(path)
    loaded = torchkeep.load(path, classes=[Magnitude])
    (hook,) = loaded._forward_pre_hooks.values()
    assert type(hook) is Magnitude
    assert vars(hook) == {"threshold": 0.1, "_tensor_name": "weight"}
    x = torch.randn(3, 4)
    assert torch.equal(loaded(x), module(x))
    with pytest.raises(torchkeep.TrustError, match="no BasePruningMethod"):
        torchkeep.load(path, classes={f"{__name__}:Magnitude": Watching})


def test_a_skeleton_is_pruned_once_and_for_all(path: Path) -> None:
    module = linear()
    Magnitude.apply(module, "weight", threshold=0.1)
    torchkeep.save(module, path)
    with pytest.warns(torchkeep.TorchkeepWarning, match="pruned once and for all"):
        loaded = torchkeep.load(path, route="skeleton")
    assert torch.equal(loaded.weight, module.weight)
    assert not loaded._forward_pre_hooks


def test_a_mask_that_is_applied_in_another_way_is_kept_as_it_is(path: Path) -> None:
    module = linear()
    Doubling.apply(module, "weight", threshold=0.1)
    loaded = back(module, path, classes=[Doubling])
    assert torch.equal(loaded.weight, module.weight)
    x = torch.randn(3, 4)
    assert torch.equal(loaded(x), module(x))


def test_no_code_of_the_class_runs(path: Path) -> None:
    module = weight_norm(Watching(4, 4))
    torchkeep.save(module, path)
    seen.clear()
    loaded = torchkeep.load(path)
    assert seen == []
    assert torch.equal(loaded.weight, module.weight)


def test_weights_go_into_a_model_with_hooks(path: Path) -> None:
    for name in ("weight_norm", "spectral_norm", "iterative"):
        model, target = model_of(name), model_of(name)
        step(model)
        torchkeep.save(model, path)
        torchkeep.load_into(target, path)
        require_equal(model, target)


def test_a_cast_and_a_part_come_back_computed(path: Path) -> None:
    torchkeep.save({"net": weight_norm(linear()), "n": 1}, path)
    with pytest.warns(torchkeep.TorchkeepWarning, match="cast"):
        loaded = torchkeep.load(path, key="net", dtype=torch.bfloat16)
    assert loaded.weight.dtype == torch.bfloat16
    assert loaded(torch.ones(4, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_inspect_says_what_is_computed(path: Path) -> None:
    model = nn.Sequential(weight_norm(linear()), spectral_norm(linear(), dim=1), MODELS["iterative"]())
    torchkeep.save(model, path)
    text = torchkeep.inspect(path).text()
    assert "weight: computed by weight_norm (dim=0)" in text
    assert "weight: computed by spectral_norm (dim=1)" in text
    assert "weight: computed by prune (torch.nn.utils.prune:L1Unstructured, " in text


def test_a_hook_that_torch_would_not_have_made_is_any_hook(path: Path) -> None:
    odd = weight_norm(linear())
    odd.weight_g = nn.Parameter(torch.ones(1))  # torch's kernel would read past its end
    hidden = weight_norm(linear())
    (hook,) = hidden._forward_pre_hooks.values()
    hook.name = "forward"
    more = pruned(linear(), lambda m: prune.l1_unstructured(m, "weight", 3))
    (hook,) = more._forward_pre_hooks.values()
    hook.note = "mine"  # type: ignore[assignment]
    for module in (odd, hidden, more):
        with pytest.warns(torchkeep.TorchkeepWarning, match="pre-hook"):
            torchkeep.save(module, path)
        with pytest.raises(torchkeep.LoadError, match="hooks"):
            torchkeep.load(path)
