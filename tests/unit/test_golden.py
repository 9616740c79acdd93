"""Golden outputs: an example and what the model returned for it, kept with the file and compared later."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import textwrap
import warnings
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import torchkeep
from torchkeep import containers, document, storage, values
from torchkeep.cli import main
from torchkeep.limits import Limits
from torchkeep.programs import Golden, GoldenOutput, Sampled, compare, golden_of
from torchkeep.programs import golden as programs_golden
from torchkeep.programs.golden import FLOOR_ULPS, SAFETY, positions, sampled

Pair = namedtuple("Pair", "left right")

EPS = torch.finfo(torch.float32).eps


@dataclasses.dataclass
class Result:
    logits: torch.Tensor
    classes: torch.Tensor
    note: str | None = None


class Net(nn.Module):
    """Dropout, batch norm, a buffer that is counted up, a cache, an attribute that is set."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 4)
        )
        self.register_buffer("calls", torch.zeros(()))
        self.cache: dict[str, Any] = {}

    def forward(self, x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        self.calls += 1
        self.cache["last"] = x
        self.seen = len(self.cache)
        made: torch.Tensor = self.layers(x) * scale
        return made


class Returns(nn.Module):
    """Whatever a function makes of a linear layer's output."""

    def __init__(self, function: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 4)
        self._function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self._function(self.linear(x))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.safetensors"


def golden(module: nn.Module, *args: Any, limits: Limits | None = None, **kwargs: Any) -> Golden:
    found, _ = golden_of(module, torchkeep.Example(*args, **kwargs), **({"limits": limits} if limits else {}))
    assert found is not None
    return found


def outputs(found: Golden, example: int = 0) -> dict[str, GoldenOutput]:
    return {each.where: each for each in found.examples[example].outputs}


def verdicts(found: Golden, module: nn.Module, **more: Any) -> dict[str, str]:
    return {each.where: each.verdict for each in compare(found, module, **more)}


def read(path: Path) -> Golden:
    with storage.open_source(path) as source:
        contents = containers.read(source)
        from torchkeep.api import _golden

        return _golden(contents, contents.document.root, source, str(path))


def rewritten(path: Path, change: Callable[[document.Document], None]) -> None:
    """Change a file's Document, and seal it again as a save does; the bytes of tensors stay."""
    with storage.open_source(path) as source:
        contents = containers.read(source)
        data = [source.read(span) for span in contents.placement.spans]
    change(contents.document)
    from xxhash import xxh3_64_intdigest

    layout = containers.layout(contents.document)
    header = layout.header([xxh3_64_intdigest(each) for each in data])
    path.write_bytes(header + b"".join(data[i] for i in layout.order))


def replaced(found: document.Document, kind: str, **fields: Any) -> None:
    """Change fields of the first node of a kind."""
    position = next(i for i, node in enumerate(found.nodes) if isinstance(node, document.Typed) and node.kind == kind)
    node = found.nodes[position]
    assert isinstance(node, document.Typed)
    found.nodes[position] = document.Typed(kind, node.version, {**node.fields, **fields})


def quietly_saved(model: nn.Module, path: Path, **more: Any) -> torchkeep.SaveReport:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torchkeep.TorchkeepWarning)
        return torchkeep.save(model, path, durable=False, **more)


# --- what is kept -----------------------------------------------------------------------------------


def test_the_same_bits_by_every_route(path: Path) -> None:
    report = quietly_saved(Net(), path, example=torchkeep.Example(torch.randn(6, 8), scale=2.0))
    [finding] = [each for each in report.findings if each.code == "golden"]
    assert finding.severity == "note"
    assert "1 call, 1 output, 288 bytes" in finding.message
    assert "golden=False" in finding.hint
    told = torchkeep.verify(path)
    assert told.ok
    assert [(route.name, route.open, route.verdict) for route in told.routes] == [
        ("structure", True, "same"),
        ("program", True, "same"),
    ]
    assert (told.examples, told.damage) == (1, "")
    assert told.checked == len(torchkeep.inspect(path).tensors)
    assert "same bits" in str(told)
    assert "then and now" not in str(told)
    loaded = torchkeep.load(path, verify="outputs")
    [check] = torchkeep.report_of(loaded).outputs
    assert (check.verdict, check.example, check.where) == ("same", 0, "")
    assert "same bits" in str(torchkeep.report_of(loaded))


@pytest.mark.parametrize("mode", [True, False])
def test_the_model_is_left_as_it_was(mode: bool, path: Path) -> None:
    import random

    import numpy as np

    model = Net().train(mode)
    model.layers[3].eval()
    x = torch.randn(6, 8, requires_grad=True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tensors, flags = list(model.parameters()), [each.training for each in model.modules()]
    random_states = random.getstate(), torch.get_rng_state(), np.random.get_state()[1].copy()
    threads, grad = torch.get_num_threads(), torch.is_grad_enabled()
    kernels = torch._C._get_mkldnn_enabled()
    quietly_saved(model, path, example=(x,))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(a is b for a, b in zip(tensors, model.parameters(), strict=True))
    assert [each.training for each in model.modules()] == flags
    assert model.cache == {}
    assert not hasattr(model, "seen")
    assert all(each.grad is None for each in tensors)
    assert random.getstate() == random_states[0]
    assert torch.equal(torch.get_rng_state(), random_states[1])
    assert (np.random.get_state()[1] == random_states[2]).all()
    assert (torch.get_num_threads(), torch.is_grad_enabled()) == (threads, grad)
    assert torch._C._get_mkldnn_enabled() == kernels
    loaded = torchkeep.load(path, verify="outputs", mode="saved")
    assert all(torch.equal(before[name], tensor) for name, tensor in loaded.state_dict().items())
    assert [each.training for each in loaded.modules()] == flags
    assert loaded.cache == {}


def test_nothing_is_kept_without_it(path: Path) -> None:
    quietly_saved(Net(), path, example=(torch.randn(6, 8),), golden=False)
    assert torchkeep.inspect(path).golden == {}
    assert not any("golden" in each.name for each in torchkeep.inspect(path).tensors)
    told = torchkeep.verify(path)
    assert told.ok
    assert told.routes == ()
    assert "outputs   none in this file" in str(told)
    with pytest.raises(torchkeep.VerifyError, match="holds no outputs to compare with") as caught:
        torchkeep.load(path, verify="outputs")
    assert caught.value.code == "TK-VERIFY"
    plain = path.with_name("plain.safetensors")
    torchkeep.save({"a": torch.ones(2)}, plain)
    assert torchkeep.verify(plain).ok
    with pytest.raises(torchkeep.VerifyError):
        torchkeep.load(plain, verify="outputs")


def test_without_a_program_the_structure_is_checked(path: Path) -> None:
    model = Returns(_data_dependent)
    with pytest.warns(torchkeep.TorchkeepWarning, match="could not be captured"):
        torchkeep.save(model, path, example=(torch.randn(6, 8),))
    told = torchkeep.verify(path, classes=[Returns, _data_dependent])
    assert told.ok
    structure, program = told.routes
    assert (structure.verdict, program.open) == ("same", False)
    assert "holds no computation" in program.lacks


def _data_dependent(y: torch.Tensor) -> Any:
    return y * 2 if float(y.sum()) > 1e9 else y


def test_several_examples(path: Path) -> None:
    sizes = (2, 6, 9)
    quietly_saved(Net(), path, example=[(torch.randn(size, 8),) for size in sizes])
    told = torchkeep.verify(path)
    assert (told.examples, told.ok) == (3, True)
    assert [each.example for each in told.routes[0].outputs] == [0, 1, 2]
    assert torchkeep.inspect(path).golden == {"examples": 3, "outputs": 3, "nbytes": sum(sizes) * (8 + 4) * 4}
    assert [example.args[0].shape[0] for example in read(path).examples] == list(sizes)


def _many(y: torch.Tensor) -> Any:
    return {
        "tensor": y,
        "pair": Pair(y.relu(), [y.sum(1), (y.argmax(1),)]),
        "result": Result(y.softmax(1), y > 0),
        "ordered": OrderedDict(a=y.exp(), b=3),
        0: True,
        "text": "x",
        "nothing": None,
        "number": 0.5,
    }


def test_structures_of_outputs(path: Path) -> None:
    quietly_saved(Returns(_many), path, example=(torch.randn(6, 8),))
    names = ["['tensor']", "['pair']['left']", "['pair']['right'][0]", "['pair']['right'][1][0]"]
    names += ["['result']['logits']", "['result']['classes']", "['ordered']['a']", "['ordered']['b']", "[0]"]
    names += ["['text']", "['number']"]
    found = outputs(read(path))
    assert list(found) == names
    assert (found["[0]"].value, found["['text']"].value, found["['number']"].value) == (True, "x", 0.5)
    assert found["['pair']['right'][1][0]"].value.dtype == torch.int64
    told = torchkeep.verify(path, classes=[Returns, _many])
    assert {route.verdict for route in told.routes if route.open} == {"same"}
    assert len(told.routes[0].outputs) == len(names)


class Structured(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 4)

    def forward(self, batch: Any, *more: torch.Tensor, pair: Any, sizes: Any = None, **options: Any) -> torch.Tensor:
        made: torch.Tensor = self.linear(batch["x"] * batch["inner"][0]) + pair.left - pair.right
        for each in more:
            made = made + each
        return made.to(options.get("dtype", torch.float32)) * options["scale"]


def test_structures_of_inputs(path: Path) -> None:
    shared = torch.randn(6, 4)
    example = torchkeep.Example(
        {"x": torch.randn(6, 8), "inner": [2.0, ("text", None, 3)], "ordered": OrderedDict(b=1)},
        shared,
        shared,
        pair=Pair(shared, torch.randn(4)),
        sizes=torch.Size([1, 2]),
        scale=3,
        dtype=torch.float64,
        part=slice(1, None, 2),
        device=torch.device("cpu"),
        more=...,
    )
    quietly_saved(Structured(), path, example=example)
    kept = read(path).examples[0]
    assert kept.args[0]["inner"] == [2.0, ("text", None, 3)]
    assert list(kept.args[0]) == ["x", "inner", "ordered"]
    assert type(kept.args[0]["ordered"]) is OrderedDict
    assert kept.keywords["part"] == slice(1, None, 2)
    assert kept.keywords["dtype"] is torch.float64
    assert kept.keywords["more"] is ...
    assert torch.equal(kept.keywords["pair"].left, shared)
    assert kept.args[1].data_ptr() != kept.args[2].data_ptr()
    assert torchkeep.verify(path, classes=[Structured]).ok
    assert torchkeep.verify(path, classes=[Structured]).routes[0].verdict == "same"


def test_an_example_is_apart_from_the_weights(path: Path) -> None:
    """Inputs and outputs that are the model's own memory are copies in the file."""
    model = nn.Linear(8, 8)
    quietly_saved(model, path, example=(model.weight,))
    plain = {each.name for each in torchkeep.inspect(path).tensors if not each.name.startswith("__torchkeep__/")}
    assert plain == {"weight", "bias"}
    loaded = torchkeep.load(path, verify="outputs")
    assert torch.equal(loaded.weight, model.weight)
    assert torchkeep.load_into(nn.Linear(8, 8), path).matched == 2
    from safetensors.torch import load_file

    kept = load_file(path)
    model.load_state_dict({name: kept[name] for name in plain})
    identity = Returns(_own)
    quietly_saved(identity, path, example=(torch.randn(2, 8),))
    assert torchkeep.verify(path, classes=[Returns, _own]).ok


def _own(y: torch.Tensor) -> Any:
    return y, y, y[0]


def test_a_model_that_cannot_be_called_is_saved_all_the_same(path: Path) -> None:
    with pytest.warns(torchkeep.TorchkeepWarning) as caught:
        report = torchkeep.save(Net(), path, example=(torch.randn(6, 9),))
    codes = {each.code for each in report.findings}
    assert {"no-golden", "no-program"} <= codes
    assert any("cannot be called with it in eval mode: RuntimeError" in str(each.message) for each in caught)
    assert isinstance(torchkeep.load(path), Net)
    assert torchkeep.verify(path).ok


@pytest.mark.parametrize(
    ("example", "told"),
    [
        ((torch.eye(8).to_sparse(),), "args[0] is a tensor of a sort that is not compared"),
        ((object(),), "args[0] is a object, which is neither a tensor nor made of tensors"),
        ((torch.ones(2, 8, device="meta"),), "args[0] is a tensor of a sort"),
        ((1 << 80,), "args[0] is a int"),
    ],
)
def test_examples_that_are_not_kept(example: Any, told: str) -> None:
    found, [finding] = golden_of(nn.Linear(8, 8), example)
    assert found is None
    assert told in finding.message
    assert finding.code == "no-golden"


def test_outputs_that_are_not_kept() -> None:
    for function, told in (
        (lambda y: y.to_sparse(), "a sort that is not compared"),
        (lambda y: {1.5: y}, "the key 1.5"),
    ):
        found, [finding] = golden_of(Returns(function), (torch.randn(2, 8),))
        assert found is None
        assert told in finding.message


# --- sizes ------------------------------------------------------------------------------------------


def test_inputs_that_are_too_large() -> None:
    found, [finding] = golden_of(nn.Linear(8, 8), (torch.randn(4, 8),), limits=Limits(golden_inputs_nbytes=100))
    assert found is None
    assert "have 128 bytes, and a file keeps at most 100" in finding.message


def test_large_outputs_are_a_digest_and_a_sample(path: Path) -> None:
    model = nn.Linear(8, 1024)
    x = torch.randn(300, 8)
    quietly_saved(model, path, example=(x,))
    found = outputs(read(path))[""].value
    assert isinstance(found, Sampled)
    y = model(x).detach()
    assert (found.dtype, found.shape, found.finite) == ("float32", (300, 1024), y.numel())
    assert found.sample.shape == (1024,)
    assert torch.equal(found.sample, y.flatten()[positions(y.numel())])
    numbers = y.double()
    assert found.minimum == numbers.min().item()
    assert found.maximum == numbers.max().item()
    assert found.mean == pytest.approx(numbers.mean().item())
    assert found.deviation == pytest.approx(numbers.std(correction=0).item())
    assert path.stat().st_size < 200_000
    told = torchkeep.verify(path)
    assert {route.verdict for route in told.routes} == {"same"}
    kept = read(path)
    with torch.no_grad():
        model.bias += 1e-7
    [check] = compare(kept, model)
    assert check.verdict == "within"
    assert "of a sample; its statistics fit" in check.message
    with torch.no_grad():
        model.bias[5] += 1
    [check] = compare(kept, model)
    assert check.verdict == "different"
    assert check.message.startswith("different: the output at (")


def test_what_a_sample_does_not_show_its_statistics_may() -> None:
    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.big = nn.Parameter(torch.ones(1000, 1000))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.big * x

    model = One()
    found = golden(model, torch.ones(1))
    assert isinstance(outputs(found)[""].value, Sampled)
    outside = next(i for i in range(10**6) if i not in set(positions(10**6).tolist()))
    with torch.no_grad():
        model.big.view(-1)[outside] = 5
    [check] = compare(found, model)
    assert check.message.startswith("different: the output has maximum 5, and had 1")
    with torch.no_grad():
        model.big.view(-1)[outside] = float("nan")
    [check] = compare(found, model)
    assert "has 999,999 finite elements, and had 1,000,000" in check.message


def test_all_outputs_have_a_limit_together() -> None:
    limits = Limits(golden_nbytes=100)
    found = golden(Returns(lambda y: (y, y, y)), torch.randn(6, 8), limits=limits)
    kinds = [type(each.value) for each in found.examples[0].outputs]
    assert kinds == [torch.Tensor, Sampled, Sampled]


def test_positions_are_in_bounds_and_spread() -> None:
    assert positions(5).tolist() == list(range(5))
    assert positions(0).tolist() == []
    for count in (1025, 4096, 10**6, 2**40 + 7):
        found = positions(count)
        assert found.shape == (1024,)
        assert 0 <= int(found.min()) <= int(found.max()) < count
        assert len(set((found * 16 // count).tolist())) == 16
    assert positions(10**6)[:4].tolist() == [0, 618033, 236067, 854101]


@pytest.mark.parametrize("dtype", [torch.bool, torch.int32, torch.complex64, torch.float16, torch.uint8])
def test_samples_of_every_sort(dtype: torch.dtype) -> None:
    found = sampled(torch.arange(3000).to(dtype))
    assert found.finite == 3000
    assert found.maximum == (
        1 if dtype == torch.bool else 255 if dtype == torch.uint8 else 2999 if dtype != torch.float16 else 3000
    )
    empty = sampled(torch.zeros(0, 3, dtype=dtype))
    assert (empty.finite, empty.mean, empty.shape) == (0, 0.0, (0, 3))


# --- how far outputs may be off -----------------------------------------------------------------------


def test_the_tolerance_comes_from_evidence() -> None:
    model = nn.Sequential(*[layer for _ in range(6) for layer in (nn.Linear(64, 64), nn.Tanh())], nn.Linear(64, 10))
    found = outputs(golden(model, torch.randn(32, 64)))[""]
    assert found.evidence.keys() == {"float64", "batch", "threads", "kernels"}
    assert all(0 <= each < 1e-5 for each in found.evidence.values())
    assert found.evidence["float64"] > 0
    assert FLOOR_ULPS * EPS <= found.tolerance < 1e-4
    relative = found.evidence["float64"] / found.scale
    assert found.tolerance <= max(FLOOR_ULPS * EPS, SAFETY * relative * 1.001)
    y = model(torch.randn(1, 64)).abs().flatten()
    assert y.min() < 3 * found.scale < 100 * y.max()


def test_a_change_of_the_weights_is_seen_and_another_order_of_sums_is_not() -> None:
    model = nn.Linear(512, 16)
    x = torch.randn(8, 512)
    found = golden(model, x)
    assert verdicts(found, model) == {"": "same"}

    class Otherwise(nn.Module):
        def __init__(self, off: float = 0.0) -> None:
            super().__init__()
            self.inner = model
            self.off = off

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            rows = [(x[:, None, i::7] * self.inner.weight[None, :, i::7]).sum(2) for i in range(7)]
            made: torch.Tensor = sum(reversed(rows), self.inner.bias + self.off)  # type: ignore[arg-type]
            return made

    [check] = compare(found, Otherwise())
    assert check.verdict == "within"
    assert check.message.startswith("within tolerance: max error ")
    assert check.error is not None
    assert check.allowed is not None
    assert 0 < check.error <= check.allowed < 1e-3
    [check] = compare(found, Otherwise(0.01))
    assert check.verdict == "different"
    assert check.message.startswith("different: the output at (0, 0): ")
    assert ", and was " in check.message
    assert "max error 0.01" in check.message


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_precisions(dtype: torch.dtype, path: Path) -> None:
    model = nn.Sequential(nn.Linear(32, 32), nn.GELU(), nn.Linear(32, 4)).to(dtype)
    quietly_saved(model, path, example=(torch.randn(8, 32, dtype=dtype),))
    found = outputs(read(path))[""]
    eps = torch.finfo(dtype).eps
    assert ("float32" if dtype == torch.float64 else "float64") in found.evidence
    assert eps < found.tolerance < 1000 * eps
    told = torchkeep.verify(path)
    assert {route.verdict for route in told.routes} == {"same"}


def test_rows_that_know_of_each_other_are_no_evidence() -> None:
    """A sequence in the first dimension, or a sum over the batch: halves compute something else."""
    for model in (nn.LSTM(8, 8), Returns(lambda y: y - y.mean(0)), Returns(lambda y: y.cumsum(0))):
        found = golden(model, torch.randn(6, 8))
        assert all("batch" not in each.evidence for each in outputs(found).values())
        assert all("float64" in each.evidence for each in outputs(found).values()), model
        assert all(each.tolerance < 1e-4 for each in outputs(found).values())
    found = golden(nn.LSTM(8, 8, batch_first=True), torch.randn(6, 3, 8))
    assert "batch" in outputs(found)["[0]"].evidence


def test_without_a_reference_the_floor_grows_with_depth() -> None:
    class Pinned(nn.Module):
        def __init__(self, depth: int) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(depth))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for layer in self.layers:
                x = torch.nn.functional.linear(x.float(), layer.weight)  # float64 weights do not fit
            return x

    found = outputs(golden(Pinned(16), torch.randn(6, 8)))[""]
    assert found.evidence.keys() == {"threads", "kernels"}
    assert found.tolerance == pytest.approx(FLOOR_ULPS * EPS * 4)


def test_no_copy_beyond_the_limit() -> None:
    found = golden(nn.Linear(8, 8), torch.randn(6, 8), limits=Limits(golden_reference_nbytes=100))
    assert outputs(found)[""].evidence.keys() == {"threads", "kernels"}


def test_when_time_is_up_nothing_more_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs_golden, "BUDGET_S", -1.0)
    found = golden(nn.Linear(8, 8), torch.randn(6, 8))
    assert outputs(found)[""].evidence == {}
    assert verdicts(found, nn.Linear(8, 8)) == {"": "different"}


def test_random_outputs_are_compared_under_a_seed(path: Path) -> None:
    model = Returns(_noisy)
    report = quietly_saved(model, path, example=(torch.randn(6, 8),))
    assert any("draws random numbers in eval mode" in each.message for each in report.findings)
    kept = read(path)
    assert kept.examples[0].random
    assert outputs(kept)[""].evidence.keys() == {"threads", "kernels"}
    torch.manual_seed(77)
    before = torch.get_rng_state()
    told = torchkeep.verify(path, classes=[Returns, _noisy])
    assert told.routes[0].verdict == "same"
    assert torch.equal(torch.get_rng_state(), before)
    assert not read_random(Net(), torch.randn(6, 8))


def read_random(model: nn.Module, *args: Any) -> bool:
    return golden(model, *args).examples[0].random


def _noisy(y: torch.Tensor) -> torch.Tensor:
    return y + torch.randn_like(y)


def test_integers_are_exact_unless_they_flip_here() -> None:
    model = Returns(lambda y: y.argmax(1))
    found = golden(model, torch.randn(32, 8))
    assert outputs(found)[""].tolerance == 0
    with torch.no_grad():
        model.linear.bias[0] += 10
    [check] = compare(found, model)
    assert check.verdict == "different"
    assert check.message.startswith("different: the output at (")
    assert "of the elements differ" in check.message


def test_a_mask_does_not_hide_everything() -> None:
    """Elements of -1e9 say nothing of how large the others are."""

    def masked(y: torch.Tensor) -> torch.Tensor:
        return torch.cat((y, torch.full_like(y[:, :1], -1e9)), 1)

    model = Returns(masked)
    found = golden(model, torch.randn(6, 8))
    assert outputs(found)[""].scale < 10
    with torch.no_grad():
        model.linear.bias += 0.001
    assert verdicts(found, model) == {"": "different"}


def test_what_is_not_finite_is_compared_too() -> None:
    class Special(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.add = nn.Parameter(torch.tensor([float("nan"), float("inf"), -float("inf"), 1.0]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.add

    model = Special()
    found = golden(model, torch.zeros(2, 4))
    assert verdicts(found, model) == {"": "same"}
    with torch.no_grad():
        model.add[3] += 1e-7
    assert verdicts(found, model) == {"": "within"}
    for i, value in ((0, 1.0), (1, -float("inf")), (3, float("nan"))):
        other = Special()
        with torch.no_grad():
            other.add[i] = value
        [check] = compare(found, other)
        assert check.message.startswith(f"different: the output at (0, {i}): ")


def test_zeros_and_nothing() -> None:
    for function in (torch.zeros_like, lambda y: y[:0], lambda y: y.sum() * 0):
        model = Returns(function)
        found = golden(model, torch.randn(6, 8))
        assert verdicts(found, model) == {"": "same"}
        assert outputs(found)[""].scale == 0.0
    found = golden(Returns(torch.zeros_like), torch.randn(6, 8))
    assert verdicts(found, Returns(lambda y: torch.full_like(y, 1e-6))) == {"": "different"}
    assert verdicts(found, Returns(lambda y: -torch.zeros_like(y))) == {"": "within"}


# --- a model that became another ---------------------------------------------------------------------


def test_other_forms_are_differences() -> None:
    x = torch.randn(6, 8)
    linear = nn.Linear(8, 4)

    def model(function: Callable[[torch.Tensor], Any]) -> Returns:
        made = Returns(function)
        made.linear = linear
        return made

    found = golden(model(lambda y: {"a": y, "b": y.sum()}), x)
    for function in (lambda y: OrderedDict(a=y, b=y.sum()), lambda y: {"a": y, "b": y.sum(), "c": 3, "d": y.dtype}):
        assert verdicts(found, model(function)) == {"['a']": "same", "['b']": "same"}
    cases: dict[str, Callable[[torch.Tensor], Any]] = {
        "output ['b'] is not there any more": lambda y: {"a": y},
        "output ['c'] was not there before": lambda y: {"a": y, "b": y.sum(), "c": y},
        "output ['a'] has shape [4, 6], and had [6, 4]": lambda y: {"a": y.T, "b": y.sum()},
        "output ['a'] is float64, and was float32": lambda y: {"a": y.double(), "b": y.sum()},
        "output ['b'] is 3, and was a tensor": lambda y: {"a": y, "b": 3},
        "the call raised ZeroDivisionError": lambda y: 1 / 0,
        "output ['c'][0] was not there before": lambda y: {"a": y, "b": y.sum(), "c": [y]},
        "of what the model returns, ['a'] is a object": lambda y: {"a": object()},
        "output ['b']: ": lambda y: {"a": y, "b": y.sum() + 1},
    }
    for told, function in cases.items():
        found_now = compare(found, model(function))
        assert any(told in each.message and each.verdict == "different" for each in found_now), (told, found_now)


def test_an_example_that_no_longer_fits_the_class(path: Path) -> None:
    quietly_saved(Net(), path, example=(torch.randn(6, 8),))

    class Wider(Net):
        def forward(self, x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
            return super().forward(torch.cat((x, x), 1), scale)

    name = f"{Net.__module__}:Net"
    told = torchkeep.verify(path, classes={name: Wider})
    structure, program = told.routes
    assert (structure.verdict, program.verdict, told.ok) == ("different", "same", False)
    assert "the call raised RuntimeError" in structure.outputs[0].message
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torchkeep.TorchkeepWarning)
        with pytest.raises(torchkeep.VerifyError, match="does not compute what was saved with it") as caught:
            torchkeep.load(path, classes={name: Wider}, verify="outputs")
        assert "Nothing was loaded" in str(caught.value)
        [line] = caught.value.different
        assert line.startswith("example 0: different: the call raised RuntimeError")
        assert isinstance(torchkeep.load(path, classes={name: Wider}), Wider)


def test_a_class_that_computes_something_else(path: Path) -> None:
    quietly_saved(Net(), path, example=(torch.randn(6, 8),))

    class Doubled(Net):
        def forward(self, x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
            return 2 * super().forward(x, scale)

    told = torchkeep.verify(path, classes={f"{Net.__module__}:Net": Doubled})
    [check] = told.routes[0].outputs
    assert check.verdict == "different"
    assert check.message.startswith("different: the output at (0, 0): ")
    assert "structure different" in str(told)
    assert json.loads(json.dumps(told.to_dict()))["routes"][0]["outputs"][0]["verdict"] == "different"


def test_routes_that_are_closed_say_what_they_lack(path: Path) -> None:
    quietly_saved(Net(), path, example=(torch.randn(6, 8),))
    code = f"import torchkeep, sys; r = torchkeep.verify({str(path)!r}); print(r); assert r.ok"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"structure closed: {Net.__module__}:Net did not open" in done.stdout
    assert "program   same bits" in done.stdout


def test_under_a_cast(path: Path) -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4))
    quietly_saved(model, path, example=(torch.randn(6, 8),))
    with pytest.warns(torchkeep.TorchkeepWarning, match="cast"):
        loaded = torchkeep.load(path, dtype=torch.float16, verify="outputs")
    [check] = torchkeep.report_of(loaded).outputs
    assert check.verdict == "within"
    with pytest.warns(torchkeep.TorchkeepWarning, match="cast"):
        loaded = torchkeep.load(path, dtype=torch.float64, verify="outputs")
    assert torchkeep.report_of(loaded).outputs[0].verdict == "within"
    kept = read(path)
    loose = kept._replace(
        examples=(kept.examples[0]._replace(outputs=(outputs(kept)[""]._replace(tolerance=0.01, evidence={}),)),)
    )
    [check] = compare(loose, model.to(torch.bfloat16), dtype=torch.bfloat16)
    assert check.verdict == "unknown"
    assert "the rounding of bfloat16 may change the output in any way" in check.message
    assert "was cast" not in check.message


def test_a_golden_is_neither_cast_nor_moved(path: Path) -> None:
    model = nn.Linear(8, 4)
    quietly_saved(model, path, example=(torch.randn(6, 8),))
    with pytest.warns(torchkeep.TorchkeepWarning, match="2 tensors were cast"):
        torchkeep.load(path, dtype=torch.float64)
    loaded = torchkeep.load(path, device="meta")
    assert loaded.weight.is_meta
    with pytest.warns(torchkeep.TorchkeepWarning, match="tensors on the meta device have no values"):
        torchkeep.load(path, device="meta", verify="outputs")
    assert torchkeep.report_of(torchkeep.load(path, mmap=True, verify="outputs")).outputs[0].verdict == "same"


def test_a_part_of_a_checkpoint_and_the_verify_words(path: Path) -> None:
    with pytest.raises(ValueError, match="verify is 'first', 'outputs' or None, not 'all'"):
        torchkeep.load(path, verify="all")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="verify is 'first' or None, not 'outputs'"):
        torchkeep.load_into(nn.Linear(1, 1), path, verify="outputs")  # type: ignore[arg-type]
    torchkeep.save({"model": nn.Linear(2, 2)}, path)
    assert torchkeep.verify(path, key="model").ok
    with pytest.raises(torchkeep.KeyMissingError):
        torchkeep.verify(path, key="other")


# --- damage and attacks -------------------------------------------------------------------------------


def test_damage_is_told_and_not_raised(path: Path) -> None:
    torchkeep.save(nn.Linear(8, 4), path, example=(torch.randn(6, 8),))
    whole = path.read_bytes()
    for at in (-1, 50, 200, len(whole) // 2):
        data = bytearray(whole)
        data[at] ^= 1
        path.write_bytes(data)
        told = torchkeep.verify(path)
        assert not told.ok
        assert told.damage
        assert str(told).startswith(f"{path}: damaged")
        assert main(["verify", str(path)]) == 1
    path.write_bytes(whole[:-1])
    assert not torchkeep.verify(path).ok


@pytest.mark.parametrize("where", ["inputs", "outputs"])
def test_tampered_values_are_different(where: str, path: Path) -> None:
    """Somebody who writes digests, too, is found by what the model computes."""
    torchkeep.save(nn.Linear(8, 4), path, example=(torch.randn(6, 8),))
    with storage.open_source(path) as source:
        contents = containers.read(source)
    name = "__torchkeep__/golden.0.args.0" if where == "inputs" else "__torchkeep__/golden.0.outputs.0"
    span = contents.placement.spans[contents.document.tensors.names.index(name)]
    data = bytearray(path.read_bytes())
    data[span.offset + 3] ^= 0x41
    path.write_bytes(data)
    rewritten(path, lambda found: None)
    told = torchkeep.verify(path)
    assert not told.damage
    assert not told.ok
    assert {route.verdict for route in told.routes} == {"different"}


def _tamper_with_digest(path: Path) -> None:
    rewritten(path, lambda found: replaced(found, "golden.sampled", digest="0" * 16))


def test_a_tampered_digest_of_a_large_output(path: Path) -> None:
    quietly_saved(nn.Linear(8, 1024), path, example=(torch.randn(300, 8),))
    _tamper_with_digest(path)
    told = torchkeep.verify(path)
    assert {route.verdict for route in told.routes} == {"within"}  # by its sample and statistics
    assert all("max error 0" in route.outputs[0].message for route in told.routes)
    rewritten(path, lambda found: replaced(found, "golden.sampled", mean=1.0))
    assert {route.verdict for route in torchkeep.verify(path).routes} == {"different"}


HOSTILE: dict[str, tuple[str, dict[str, Any], str]] = {
    "where is a number": ("golden.output", {"where": 3}, "K-3"),
    "a tolerance that is no number": ("golden.output", {"tolerance": None}, "K-3"),
    "an infinite tolerance": ("golden.output", {"tolerance": float("inf")}, "G-4"),
    "a tolerance that is none": ("golden.output", {"tolerance": float("nan")}, "G-4"),
    "a negative scale": ("golden.output", {"scale": -1.0}, "G-4"),
    "a digest of another length": ("golden.sampled", {"digest": "0" * 15}, "G-5"),
    "another dtype": ("golden.sampled", {"dtype": "float64"}, "G-5"),
    "no dtype": ("golden.sampled", {"dtype": "pickle"}, "G-5"),
    "more finite than there are": ("golden.sampled", {"finite": 10**9}, "G-5"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_fields_are_refused(name: str, path: Path) -> None:
    kind, fields, clause = HOSTILE[name]
    quietly_saved(Returns(_own), path, example=(torch.randn(2, 8),))
    quietly_saved(nn.Linear(8, 1024), path, example=(torch.randn(300, 8),))
    with storage.open_source(path) as source:
        contents = containers.read(source)
    replaced(contents.document, kind, **fields)
    with pytest.raises(torchkeep.FormatError) as caught:
        document.check(contents.document)
    assert caught.value.clause == clause


def test_arguments_are_data_alone(path: Path) -> None:
    """A module, a function or an object among the arguments of an example is refused before anything is opened."""
    torchkeep.save(nn.Linear(8, 4), path, example=(torch.randn(6, 8),))
    for kind, fields in (
        ("function", {"name": "os:system"}),
        ("class", {"name": "builtins:int"}),
        ("object", {"class": "a:B", "attributes": None}),
        ("partial", {}),
        ("golden", {}),
    ):
        with storage.open_source(path) as source:
            found = containers.read(source).document
        example = next(n for n in found.nodes if isinstance(n, document.Typed) and n.kind == "golden.example")
        args = example.fields["args"]
        assert isinstance(args, document.Ref)
        items = found.nodes[args.index]
        assert isinstance(items, document.Seq)
        walk = _walk(found)
        found.nodes.append(document.Typed(kind, 1, fields))
        found.nodes[args.index] = document.Seq("tuple", (*items.items, document.Ref(len(found.nodes) - 1)))
        assert walk
        from torchkeep.document.golden import check_golden

        with pytest.raises(torchkeep.FormatError) as caught:
            check_golden(found, set(), set())
        assert caught.value.clause == "G-2"


def _walk(found: document.Document) -> list[int]:
    return found.reachable(found.root)[0]


def test_a_golden_elsewhere_is_refused() -> None:
    from torchkeep.document.golden import check_golden

    found = document.Document(root=document.Ref(0), nodes=[document.Typed("golden", 1, {})])
    with pytest.raises(torchkeep.FormatError) as caught:
        check_golden(found, set(), set())
    assert caught.value.clause == "G-1"


def test_an_output_that_torch_cannot_compare_is_different() -> None:
    found = golden(nn.Identity(), torch.arange(6, dtype=torch.uint8))
    for dtype in (torch.uint16, torch.uint32, torch.float8_e4m3fn):
        was = torch.arange(6, dtype=torch.uint8).to(dtype)
        one = outputs(found)[""]._replace(value=was)
        other = found._replace(examples=(found.examples[0]._replace(outputs=(one,)),))

        class Now(nn.Module):
            def forward(self, x: torch.Tensor, dtype: torch.dtype = dtype) -> torch.Tensor:
                return x.flip(0).to(dtype)

        [check] = compare(other, Now())
        assert check.verdict == "different"


# --- the other verbs ----------------------------------------------------------------------------------


def test_inspect_has_one_line(path: Path) -> None:
    quietly_saved(nn.Linear(8, 4), path, example=(torch.randn(6, 8),))
    told = torchkeep.inspect(path)
    assert "golden      1 example, 1 output, 288 bytes: for verify" in told.text()
    assert told.to_dict()["golden"] == {"examples": 1, "outputs": 1, "nbytes": 288}
    assert told.parameter_count == 36
    assert not any("golden" in line for line in told.tree())
    quietly_saved(nn.Identity(), path, example=(torch.randn(6, 8),))
    assert torchkeep.inspect(path).parameter_count == 0


def test_a_diff_keeps_it_apart(path: Path) -> None:
    model = nn.Linear(8, 4)
    other, without = path.with_name("other.safetensors"), path.with_name("without.safetensors")
    x = torch.randn(6, 8)
    quietly_saved(model, path, example=(x,))
    quietly_saved(model, other, example=(x + 1,))
    quietly_saved(model, without, example=(x,), golden=False)
    same = torchkeep.diff(path, path)
    assert (same.equal, same.notes) == (True, ())
    changed = torchkeep.diff(path, other)
    assert (changed.equal, changed.tensors_equal, changed.compared) == (True, True, 2)
    assert any(
        "the examples that are kept with the model, or their outputs, are not the same" in str(n) for n in changed.notes
    )
    lacking = torchkeep.diff(path, without)
    assert lacking.equal
    assert any(f"only {path} keeps an example" in str(note) for note in lacking.notes)


def test_the_command_line(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quietly_saved(nn.Linear(8, 4), path, example=(torch.randn(6, 8),))
    assert main(["verify", str(path)]) == 0
    assert "structure same bits" in capsys.readouterr().out
    assert main(["verify", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    assert main(["verify", str(path.with_name("none"))]) == 2
    assert main(["verify", str(path), "--device", "nowhere"]) == 2
    rewritten(path, lambda found: replaced(found, "golden.output", tolerance=0.0, scale=0.0))
    data = bytearray(path.read_bytes())
    with storage.open_source(path) as source:
        contents = containers.read(source)
    span = contents.placement.spans[contents.document.tensors.names.index("__torchkeep__/golden.0.outputs.0")]
    data[span.offset + 2] ^= 1
    path.write_bytes(data)
    rewritten(path, lambda found: None)
    assert main(["verify", str(path), "--all"]) == 1
    assert "different: the output at (0, 0)" in capsys.readouterr().out


FRESH = """
import sys, torch, torchkeep
path = sys.argv[1]
report = torchkeep.verify(path, trust=("project",))
print(report)
assert report.ok, report
assert [route.verdict for route in report.routes] == ["same", "same"], report
model = torchkeep.load(path, trust=("project",), verify="outputs")
assert not model.training
assert torchkeep.report_of(model).outputs[0].message == "same bits"
"""


def test_a_fresh_process(tmp_path: Path) -> None:
    (tmp_path / "project.py").write_text(
        textwrap.dedent("""
            import torch
            from torch import nn
            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.linear = nn.Linear(8, 4)
                    self.drop = nn.Dropout(0.5)
                def forward(self, x):
                    return {"logits": self.drop(self.linear(x))}
        """)
    )
    save = (
        "import sys, torch, torchkeep, project; torch.manual_seed(3);"
        "torchkeep.save(project.Net(), sys.argv[1], example=(torch.randn(6, 8),))"
    )
    file = tmp_path / "net.safetensors"
    for code in (save, FRESH):
        command = [sys.executable, "-W", "error", "-c", code, str(file)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr


def test_without_golden_outputs_no_torch_is_needed(path: Path) -> None:
    torchkeep.save(nn.Linear(8, 4), path)
    code = "import sys, torchkeep; assert torchkeep.verify(sys.argv[1]).ok; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_saved_again_without_an_example_it_is_gone(path: Path) -> None:
    quietly_saved(nn.Linear(8, 4), path, example=(torch.randn(6, 8),))
    quietly_saved(torchkeep.load(path), path)
    assert torchkeep.inspect(path).golden == {}


def test_code_that_the_first_run_cannot_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """What raises only where operators are watched is run all the same, and its buffers are put back."""
    from torch.utils._python_dispatch import _get_current_dispatch_mode

    class Shy(Net):
        def forward(self, x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
            if _get_current_dispatch_mode() is not None:
                raise NotImplementedError("not under a mode")
            return super().forward(x, scale)

    model = Shy()
    found = golden(model, torch.randn(6, 8))
    assert model.calls == 0
    assert verdicts(found, model) == {"": "same"}
    assert model.calls == 0


def test_tied_and_shared_parameters_stay_so(path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(10, 8)
            self.head = nn.Linear(8, 10, bias=False)
            self.head.weight = self.embed.weight
            self.cached = self.embed.weight.detach()[:2]

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            made: torch.Tensor = self.head(self.embed(ids)) + self.cached.sum()
            return made

    model = Tied()
    found = golden(model, torch.randint(0, 10, (4, 3)))
    assert model.head.weight is model.embed.weight
    assert model.cached.dtype == torch.float32
    assert model.cached.data_ptr() == model.embed.weight.data_ptr()
    assert "float64" in outputs(found)[""].evidence


def test_quantized_weights_of_a_subclass_are_no_trouble() -> None:
    torchao = pytest.importorskip("torchao.quantization")
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torchao.quantize_(model, torchao.Int8WeightOnlyConfig())
        found = golden(model, torch.randn(6, 64))
        assert verdicts(found, model) == {"": "same"}
    assert "float64" not in outputs(found)[""].evidence


def test_what_differs_between_machines_is_told(path: Path) -> None:
    quietly_saved(nn.Linear(8, 4), path, example=(torch.randn(6, 8),))
    names: list[int] = []

    def elsewhere(found: document.Document) -> None:
        position = next(
            value.index
            for node in found.nodes
            if isinstance(node, document.Typed) and node.kind == "golden"
            if isinstance(value := node.fields["environment"], document.Ref)
        )
        node = found.nodes[position]
        assert isinstance(node, document.Map)
        names.append(position)
        found.nodes[position] = document.Map(node.keys, ("SVE256", *node.values[1:]))
        found.environment["torch"] = "1.0"

    rewritten(path, elsewhere)
    told = torchkeep.verify(path)
    assert ("cpu", "SVE256", torch.backends.cpu.get_cpu_capability()) in told.environment
    assert "SVE256" not in str(told)  # everything is the same
    rewritten(path, lambda found: replaced(found, "golden.output", where="['x']"))
    assert "cpu SVE256 -> " in str(torchkeep.verify(path))
    assert "torch 1.0 -> " in str(torchkeep.verify(path))


def test_values_are_there_for_the_rooms() -> None:
    assert values.Golden is Golden


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    assert torch.get_num_threads() == before


def test_equal_saves_are_equal(path: Path) -> None:
    model, x = Net(), torch.randn(6, 8)
    quietly_saved(model, path, example=(x,))
    once = path.read_bytes()
    torch.manual_seed(5)
    quietly_saved(model, path, example=(x,))
    assert path.read_bytes() == once
