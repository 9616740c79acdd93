"""A model whose class is gone: saved with an example of a call, loaded by its program, used as any module is."""

from __future__ import annotations

import copy
import io
import subprocess
import sys
import warnings
from collections import namedtuple
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import torchkeep

HERE = __name__


class DropPath(nn.Module):
    """Stochastic depth: in eval mode it makes no call at all."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        keep = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(0.5).div_(0.5)
        return x * keep


class Net(nn.Module):
    """A convolutional net with what depends on the mode, an auxiliary head, and a tensor that is neither."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.path = DropPath()
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(4 * 4 * 4, 3)
        self.aux = nn.Sequential(nn.Linear(4 * 4 * 4, 2), nn.BatchNorm1d(2))
        self.scale = torch.tensor(2.0)

    def forward(self, x: torch.Tensor, shift: float = 0.0, *, mask: torch.Tensor | None = None) -> dict[str, Any]:
        with torch.no_grad():
            x = x * self.scale + shift
        y = self.body(x)
        y = self.drop(y + self.path(y)).flatten(1)
        found = {"out": self.head(y), "rows": x.shape[0]}
        if mask is not None:
            found["out"] = found["out"] * mask
        return found | ({"aux": self.aux(y)} if self.training else {})


X = torch.linspace(-1, 1, 5 * 16).view(5, 1, 4, 4)


@pytest.fixture(scope="module")
def model() -> Net:
    torch.manual_seed(0)
    net = Net().train()
    with torch.no_grad():
        net(torch.randn(8, 1, 4, 4))  # running statistics that are not the first ones
    return net.eval()


@pytest.fixture(scope="module")
def path(model: Net, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("program") / "net.safetensors"
    torchkeep.save(model, found, example=(X[:3],), golden=False)
    return found


@pytest.fixture
def loaded(path: Path) -> torchkeep.ProgramModule:
    made = torchkeep.load(path, route="program")
    assert isinstance(made, torchkeep.ProgramModule)
    return made


def same(ours: nn.Module, theirs: nn.Module, x: torch.Tensor = X, **kwargs: Any) -> None:
    """Both compute the same bits from one seed, and leave the same state."""
    torch.manual_seed(1)
    expected = theirs(x, **kwargs)
    torch.manual_seed(1)
    found = ours(x, **kwargs)
    assert found.keys() == expected.keys()
    assert found["rows"] == expected["rows"]
    for name in found.keys() - {"rows"}:
        assert torch.equal(found[name], expected[name]), name
    states = zip(ours.state_dict().items(), theirs.state_dict().items(), strict=True)
    assert all(a == b and torch.equal(s, t) for (a, s), (b, t) in states)


@pytest.mark.parametrize("rows", [1, 3, 5])
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_it_computes_the_same_in_both_modes(model: Net, loaded: torchkeep.ProgramModule, mode: str, rows: int) -> None:
    if mode == "train" and rows == 1:
        pytest.skip("BatchNorm1d wants more than one row")
    same(loaded.train(mode == "train"), copy.deepcopy(model).train(mode == "train"), X[:rows])


@pytest.mark.parametrize("frozen", ["body", "body.1", "path", "drop", "head", "aux"])
def test_modes_may_be_mixed_or_it_says_so(model: Net, loaded: torchkeep.ProgramModule, frozen: str) -> None:
    theirs = copy.deepcopy(model).train()
    theirs.get_submodule(frozen).eval()
    loaded.train().get_submodule(frozen).eval()
    if frozen == "aux":  # seen in train mode alone
        with pytest.raises(torchkeep.CallError, match=r"aux.* does not hold this mixture of train and eval modes"):
            loaded(X)
    else:
        same(loaded, theirs)


def test_gradients_and_a_step_of_training(model: Net, loaded: torchkeep.ProgramModule) -> None:
    theirs = copy.deepcopy(model).train()
    loaded.train()
    for each in (theirs, loaded):
        optimizer = torch.optim.SGD(each.parameters(), lr=0.1, momentum=0.9)
        for _ in range(2):
            torch.manual_seed(2)
            found = each(X)
            (found["out"].square().sum() + found["aux"].sum()).backward()
            optimizer.step()
    for (name, ours), other in zip(loaded.named_parameters(), theirs.parameters(), strict=True):
        assert ours.grad is not None
        assert other.grad is not None
        assert torch.equal(ours.grad, other.grad), name
        assert torch.equal(ours, other), name


def test_names_are_the_models(model: Net, loaded: torchkeep.ProgramModule) -> None:
    assert list(loaded.state_dict()) == list(model.state_dict())
    assert [name for name, _ in loaded.named_modules()] == [name for name, _ in model.named_modules()]
    other = Net()
    loaded.load_state_dict(other.state_dict())
    same(loaded, other.eval())
    with torch.no_grad():
        loaded.load_state_dict(model.state_dict(), assign=True)
    same(loaded, copy.deepcopy(model))


def test_weights_go_into_it(path: Path, model: Net, loaded: torchkeep.ProgramModule, tmp_path: Path) -> None:
    other = Net().eval()
    torchkeep.save(other.state_dict(), tmp_path / "weights.safetensors")
    report = torchkeep.load_into(loaded, tmp_path / "weights.safetensors")
    assert report.coverage == 1
    same(loaded, other)
    torchkeep.load_into(loaded, path)
    same(loaded, copy.deepcopy(model))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_it_is_cast(model: Net, loaded: torchkeep.ProgramModule, dtype: torch.dtype) -> None:
    theirs = copy.deepcopy(model).to(dtype)
    found = loaded.to(dtype)(X.to(dtype))["out"]
    assert found.dtype == dtype
    assert torch.allclose(found, theirs(X.to(dtype))["out"])


def _pickled(module: nn.Module) -> nn.Module:
    held = io.BytesIO()
    torch.save(module, held)
    held.seek(0)
    return torch.load(held, weights_only=False)  # type: ignore[no-any-return]


@pytest.mark.parametrize("again", [copy.deepcopy, _pickled], ids=["copied", "pickled"])
def test_it_is_copied(model: Net, loaded: torchkeep.ProgramModule, again: Callable[[nn.Module], nn.Module]) -> None:
    same(loaded, model)
    other = again(loaded)
    same(other, model)
    with torch.no_grad():
        other.get_parameter("head.bias").fill_(7)
    same(loaded, model)
    assert not torch.equal(other(X)["out"], model(X)["out"])


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch's own, where it goes on after a region
def test_it_is_compiled(model: Net, loaded: torchkeep.ProgramModule) -> None:
    compiled = torch.compile(loaded, backend="eager")
    assert torch.equal(compiled(X)["out"], model(X)["out"])
    assert torch.is_grad_enabled()  # a region of it runs without gradients
    loaded.train()
    torch.manual_seed(3)
    found = compiled(X)
    torch.manual_seed(3)
    assert torch.equal(found["out"], copy.deepcopy(model).train()(X)["out"])
    found["out"].sum().backward()


def test_what_is_compiled_is_the_function(tmp_path: Path) -> None:
    """Without regions all of a call becomes one graph, but for the first, in which its function is made."""
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.BatchNorm1d(4)).eval()
    torchkeep.save(net, tmp_path / "x.safetensors", example=(torch.ones(3, 4),))
    loaded = torchkeep.load(tmp_path / "x.safetensors", route="program")
    graphs: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, _: Any) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    loaded(torch.ones(2, 4))
    compiled = torch.compile(loaded, backend=backend)
    assert torch.equal(compiled(torch.ones(3, 4)), net(torch.ones(3, 4)))
    assert sum(node.op == "call_function" for graph in graphs for node in graph.graph.nodes) >= 3


def test_saved_again_it_is_the_same_file(path: Path, loaded: torchkeep.ProgramModule, tmp_path: Path) -> None:
    again = tmp_path / "again.safetensors"
    torchkeep.save(loaded, again)
    difference = torchkeep.diff(path, again)
    assert difference.equal, str(difference)
    assert type(torchkeep.load(again)) is Net


def test_it_is_told_from_the_outside(path: Path) -> None:
    report = torchkeep.inspect(path)
    (route,) = [each for each in report.routes if each.name == "program"]
    assert route.open
    assert route.call == f"torchkeep.load({str(path)!r}, route='program')"
    told = str(report)
    assert "forward(x: float32[*, 1, *, *])" in told
    assert torchkeep.report_of(torchkeep.load(path, route="program")).route == "program"


# --- routes -----------------------------------------------------------------------------------------


class Gone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) + 1  # type: ignore[no-any-return]


@pytest.fixture
def gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file whose class is nowhere any more."""
    path = tmp_path / "gone.safetensors"
    torchkeep.save(Gone(), path, example=(torch.ones(3, 2),), golden=False)
    with monkeypatch.context() as patched:
        patched.delattr(f"{HERE}.Gone") if HERE in __import__("sys").modules else patched.delitem(globals(), "Gone")
        yield path


def test_auto_takes_it_where_a_class_is_missing_and_warns(gone: Path) -> None:
    with pytest.warns(torchkeep.TorchkeepWarning, match=r"by its program, without its classes: .*:Gone did not open"):
        loaded = torchkeep.load(gone)
    assert isinstance(loaded, torchkeep.ProgramModule)
    with torch.no_grad():
        weight, bias = loaded.get_parameter("inner.weight"), loaded.get_parameter("inner.bias")
        assert torch.equal(loaded(torch.ones(1, 2)), nn.functional.linear(torch.ones(1, 2), weight, bias) + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torchkeep.load(gone, route="program")  # asked for, it is no surprise


def test_structure_says_that_the_program_is_there(gone: Path) -> None:
    with pytest.raises(torchkeep.TrustError, match=r"program, needs no class +torchkeep\.load\(.*route='program'\)"):
        torchkeep.load(gone, route="structure")


def test_explain_ends_with_it_where_the_class_is_gone(gone: Path) -> None:
    code = (
        "import sys, torchkeep; report = torchkeep.explain(sys.argv[1]); print(report); loaded = eval(report.code);"
        "assert type(loaded) is torchkeep.ProgramModule"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(gone)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert f"torchkeep.load({str(gone)!r}, route='program')" in done.stdout
    assert "Its computation is in the file, and runs without the class." in " ".join(done.stdout.split())


def test_with_the_class_it_is_not_asked(path: Path) -> None:
    loaded = torchkeep.load(path)
    assert type(loaded) is Net
    assert torchkeep.report_of(loaded).route == "structure"


def test_a_file_without_one_says_so(tmp_path: Path) -> None:
    torchkeep.save(nn.Linear(1, 1), tmp_path / "x.safetensors")
    with pytest.raises(torchkeep.ProgramError, match=r"holds no computation: it was saved without example="):
        torchkeep.load(tmp_path / "x.safetensors", route="program")


def test_hooks_are_in_the_computation(tmp_path: Path) -> None:
    net = Gone()
    net.inner.register_forward_hook(lambda module, args, output: output * 2)
    with pytest.warns(torchkeep.TorchkeepWarning, match="hooks are code"):
        torchkeep.save(net, tmp_path / "x.safetensors", example=(torch.ones(3, 2),))
    with pytest.raises(torchkeep.LoadError, match=r"load what it computed with them: .*route='program'"):
        torchkeep.load(tmp_path / "x.safetensors")
    loaded = torchkeep.load(tmp_path / "x.safetensors", route="program")
    assert torch.equal(loaded(torch.ones(1, 2)), net(torch.ones(1, 2)))


def test_what_was_left_out_leaves_the_program(tmp_path: Path) -> None:
    net = Gone()
    net.act = lambda x: x  # type: ignore[assignment]
    with pytest.warns(torchkeep.TorchkeepWarning, match="it was left out"):
        torchkeep.save(net, tmp_path / "x.safetensors", allow={"unsaveable"}, example=(torch.ones(3, 2),))
    with pytest.warns(torchkeep.TorchkeepWarning, match=r"by its program: what could not be saved was left out"):
        loaded = torchkeep.load(tmp_path / "x.safetensors")
    assert torch.equal(loaded(torch.ones(1, 2)), net(torch.ones(1, 2)))


# --- what a call gives and gets ---------------------------------------------------------------------


@dataclass
class Batch:
    x: torch.Tensor
    scale: float = 1.0


Pair = namedtuple("Pair", ["low", "high"])


class Forms(nn.Module):
    """Takes and gives structures of every sort."""

    def forward(self, batch: Batch, *more: torch.Tensor, table: dict[str, Any], **rest: torch.Tensor) -> Any:
        x = batch.x * batch.scale + sum(more) + table["a"][0] + rest["extra"]
        return Pair(x, Batch(x + 1, 2.0)), [x - 1, None, "text"], {"n": x.shape[0], 3: x.sum()}


def test_structures_keep_their_form(tmp_path: Path) -> None:
    def call(rows: int) -> torchkeep.Example:
        x = torch.arange(2.0 * rows).view(rows, 2)
        return torchkeep.Example(Batch(x, 3.0), x, x + 1, table={"a": (x, "word")}, extra=x)

    torchkeep.save(Forms(), tmp_path / "x.safetensors", example=[call(2), call(3)])
    loaded = torchkeep.load(tmp_path / "x.safetensors", route="program")
    given = call(4)
    expected = Forms()(*given.args, **given.kwargs)
    pair, items, table = loaded(*given.args, **given.kwargs)
    assert torch.equal(pair.low, expected[0].low)
    assert pair[0] is pair.low
    assert torch.equal(pair.high.x, expected[0].high.x)
    assert torch.equal(pair.high["x"], pair.high[0])
    assert pair.high.scale == 2.0
    assert torch.equal(items[0], expected[1][0])
    assert items[1:] == [None, "text"]
    assert (table["n"], list(table)) == (4, ["n", 3])


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda net: net(), "x is missing; the examples gave it"),
        (lambda net: net(X, X, X), "the call gives 1 arguments too many; the model takes x, shift, mask"),
        (lambda net: net(X, other=1), "the call gives an argument 'other'; the model takes x, shift, mask"),
        (lambda net: net(X, x=X), "x is given twice"),
        (lambda net: net(X, 0.5), r"shift is 0\.5, and the computation was captured for 0\.0, which is part of it"),
        (lambda net: net(X, mask=X), "mask is .*, and the computation was captured for None"),
        (lambda net: net([X]), "x is a list; the examples gave a tensor"),
        (lambda net: net(X[0]), "x has 3 dimensions, and the example had 4"),
        (lambda net: net(X.long()), "x is int64, and the example was float32"),
        (lambda net: net(X.expand(5, 2, 4, 4)), "x has size 2 in dimension 1, and the computation was captured for 1"),
        (lambda net: net(torch.ones(2, 1, 5, 4)), "the sizes of the inputs are not ones that .* has to hold"),
        (lambda net: net(X.to_sparse()), "takes plain tensors, and one is sparse_coo"),
    ],
)
def test_a_call_that_was_not_captured_is_told(
    loaded: torchkeep.ProgramModule, call: Callable[[nn.Module], Any], says: str
) -> None:
    with pytest.raises(torchkeep.CallError, match=says):
        call(loaded)
    assert loaded(X)["rows"] == 5


@pytest.mark.parametrize(
    ("example", "error", "says"),
    [
        (X, TypeError, r"a tuple of the arguments of a call, such as example=\(x,\)"),
        ([], TypeError, "a tuple of the arguments"),
        ([X], TypeError, "a tuple of the arguments"),
    ],
)
def test_an_example_of_another_form_is_refused(tmp_path: Path, example: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        torchkeep.save(Net(), tmp_path / "x.safetensors", example=example)
    assert not list(tmp_path.iterdir())


def test_an_example_is_of_a_module(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="example= is a call of a module that is saved by itself, and this is a dict"):
        torchkeep.save({"net": Net()}, tmp_path / "x.safetensors", example=(X,))
    with pytest.raises(TypeError, match="dynamic_shapes tells which sizes of an example vary"):
        torchkeep.save(Net(), tmp_path / "x.safetensors", dynamic_shapes="batch")
    with pytest.raises(ValueError, match="dynamic_shapes is 'auto', 'batch', 'static'"):
        torchkeep.save(Net(), tmp_path / "x.safetensors", example=(X,), dynamic_shapes="some")
    assert not list(tmp_path.iterdir())


class Branches(nn.Module):
    """Its control flow depends on data: no list of calls tells what it does."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.sum() > 0:
            return self.inner(x)  # type: ignore[no-any-return]
        return x


def test_what_cannot_be_captured_is_saved_and_told(tmp_path: Path) -> None:
    net = Branches()
    with pytest.warns(
        torchkeep.TorchkeepWarning, match=r"could not be captured.*test_program_route\.py:\d+, `if x\.sum"
    ):
        report = torchkeep.save(net, tmp_path / "x.safetensors", example=(torch.ones(3, 2),), golden=False)
    assert "no-program" in {finding.code for finding in report.findings}
    loaded = torchkeep.load(tmp_path / "x.safetensors")
    assert type(loaded) is Branches
    assert torch.equal(loaded.inner.weight, net.inner.weight)
    with pytest.raises(torchkeep.ProgramError, match="could not be captured"):
        torchkeep.load(tmp_path / "x.safetensors", route="program")


def test_saving_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    net = Net().train()
    net.drop.eval()
    net.head.weight.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    flags = [module.training for module in net.modules()]
    attributes = {name: set(vars(module)) for name, module in net.named_modules()}
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    torchkeep.save(net, tmp_path / "x.safetensors", example=(X,))
    assert torch.equal(torch.rand(3), expected)
    assert [module.training for module in net.modules()] == flags
    assert {name: set(vars(module)) for name, module in net.named_modules()} == attributes
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())
    loaded = torchkeep.load(tmp_path / "x.safetensors", route="program", mode="saved")
    assert [module.training for module in loaded.modules()] == flags
    assert not loaded.get_parameter("head.weight").requires_grad


@pytest.mark.parametrize("sizes", ["static", "batch", "auto", {"input": {0: torch.export.Dim.AUTO}}, None])
def test_which_sizes_vary(tmp_path: Path, sizes: Any) -> None:
    net = nn.Conv2d(1, 2, 3)
    torchkeep.save(
        net, tmp_path / "x.safetensors", example=(torch.ones(3, 1, 8, 8),), dynamic_shapes=sizes, golden=False
    )
    loaded = torchkeep.load(tmp_path / "x.safetensors", route="program")
    wider, more = torch.ones(3, 1, 9, 8), torch.ones(4, 1, 8, 8)
    for x, captured in ((more, sizes != "static"), (wider, sizes in ("auto", None))):
        if captured:
            assert torch.equal(loaded(x), net(x))
        else:
            with pytest.raises(torchkeep.CallError, match=r"has size \d in dimension \d, and .*captured for \d"):
                loaded(x)
