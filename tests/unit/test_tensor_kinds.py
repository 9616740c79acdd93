"""Tensors that are more than strided memory: each comes back as it was, or the file is refused."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import torchkeep

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")

X = torch.linspace(-3, 3, 24).reshape(4, 6)
SCALES = torch.tensor([0.1, 0.2, 0.3, 0.4])


def per_tensor(dtype: torch.dtype = torch.quint8, zero_point: int = 10) -> torch.Tensor:
    return torch.quantize_per_tensor(X, 0.1, zero_point, dtype)


def ragged(**more: Any) -> torch.Tensor:
    return torch.nested.nested_tensor([torch.ones(2, 3), torch.arange(12.0).reshape(4, 3)], **more)


def narrowed() -> torch.Tensor:
    starts, lengths = torch.tensor([0, 1, 2]), torch.tensor([2, 0, 3])
    return torch.nested.narrow(torch.arange(30.0).reshape(3, 5, 2), 1, starts, lengths, layout=torch.jagged)


KINDS: dict[str, Callable[[], torch.Tensor]] = {
    "COO": lambda: torch.sparse_coo_tensor([[1, 0, 1], [2, 2, 0]], [3.0, 4, 5], (2, 3)),
    "COO, an index twice": lambda: torch.sparse_coo_tensor([[1, 1], [2, 2]], [3.0, 4], (2, 3)),
    "COO, coalesced": lambda: torch.sparse_coo_tensor([[1, 0, 1], [2, 2, 0]], [3.0, 4, 5], (2, 3)).coalesce(),
    "COO of rows": lambda: torch.sparse_coo_tensor([[0, 1, 1]], torch.ones(3, 5), (2, 5)),
    "COO of nothing": lambda: torch.sparse_coo_tensor(size=(2, 3)),
    "COO of no dimension": lambda: torch.sparse_coo_tensor(torch.empty(0, 1, dtype=torch.long), torch.ones(1), ()),
    "COO of complex128": lambda: torch.eye(3, dtype=torch.complex128).to_sparse(),
    "CSR": lambda: torch.eye(4).to_sparse_csr(),
    "CSC": lambda: torch.eye(4).to_sparse_csc(),
    "BSR": lambda: torch.eye(4).to_sparse_bsr((2, 2)),
    "BSC": lambda: torch.eye(4).to_sparse_bsc((2, 2)),
    "CSR, a batch": lambda: torch.eye(4).expand(2, 4, 4).to_sparse_csr(),
    "CSR of nothing": lambda: torch.zeros(3, 0).to_sparse_csr(),
    "CSR by int32": lambda: torch.sparse_csr_tensor(
        torch.tensor([0, 1, 2], dtype=torch.int32), torch.tensor([1, 0], dtype=torch.int32), torch.ones(2), (2, 2)
    ),
    "quint8": per_tensor,
    "qint8": lambda: per_tensor(torch.qint8, 0),
    "qint32": lambda: per_tensor(torch.qint32, -7),
    "quint8, transposed": lambda: per_tensor().t(),
    "qint8 of no dimension": lambda: torch.quantize_per_tensor(torch.tensor(1.0), 0.1, 0, torch.qint8),
    "per channel": lambda: torch.quantize_per_channel(X, SCALES, torch.zeros(4).long(), 0, torch.qint8),
    "per channel, by floats": lambda: torch.quantize_per_channel(X, SCALES, torch.zeros(4), 0, torch.quint8),
    "quint4x2": lambda: torch.quantize_per_channel(X, SCALES, torch.zeros(4), 0, torch.quint4x2),
    "quint4x2 of odd size": lambda: torch.quantize_per_channel(X[:, :5], SCALES, torch.zeros(4), 0, torch.quint4x2),
    "quint2x4": lambda: torch.quantize_per_channel(X, SCALES, torch.zeros(4), 0, torch.quint2x4),
    "nested": ragged,
    "nested, transposed": lambda: ragged().transpose(1, 2),
    "nested of nothing": lambda: torch.nested.nested_tensor([]),
    "nested of scalars": lambda: torch.nested.nested_tensor([torch.tensor(1.0), torch.tensor(2.0)]),
    "jagged": lambda: ragged(layout=torch.jagged),
    "jagged, transposed": lambda: ragged(layout=torch.jagged).transpose(1, 2),
    "jagged, with holes": narrowed,
    "meta": lambda: torch.empty(3, 4, device="meta"),
    "meta, transposed": lambda: torch.empty(3, 4, device="meta", dtype=torch.int8).t(),
}


def inside(tensor: Any) -> list[Any]:
    """What a tensor consists of, as torch tells it: tensors that are compared bit for bit, and plain facts."""
    facts = [type(tensor), tensor.dtype, tensor.layout, tensor.device, tensor.requires_grad, tensor.is_nested]
    bare = tensor.detach()
    if tensor.device.type == "meta":
        return [*facts, tensor.shape, tensor.stride()]
    if tensor.is_nested:
        parts = [bare._values, bare._offsets, bare._lengths] if tensor.layout is torch.jagged else list(bare.unbind())
        steps = [part.stride() for part in parts if part is not None]
        return [*facts, *parts, steps, getattr(bare, "_ragged_idx", None)]
    facts += [tensor.shape]
    if tensor.is_quantized:
        scheme = tensor.qscheme()
        qparams = (
            [tensor.q_scale(), tensor.q_zero_point()]
            if scheme is torch.per_tensor_affine
            else [tensor.q_per_channel_scales(), tensor.q_per_channel_zero_points(), tensor.q_per_channel_axis()]
        )
        return [*facts, tensor.stride(), scheme, *qparams, bare.dequantize()]
    if tensor.layout is torch.sparse_coo:
        return [*facts, tensor.is_coalesced(), bare._indices(), bare._values()]
    by_row = tensor.layout in (torch.sparse_csr, torch.sparse_bsr)
    pointers = [bare.crow_indices(), bare.col_indices()] if by_row else [bare.ccol_indices(), bare.row_indices()]
    return [*facts, *pointers, bare.values()]


def assert_same(one: torch.Tensor, other: torch.Tensor) -> None:
    for ours, theirs in zip(inside(one), inside(other), strict=True):
        if isinstance(ours, torch.Tensor):
            assert ours.dtype == theirs.dtype
            assert torch.equal(ours, theirs)
        else:
            assert ours == theirs


@pytest.mark.parametrize("name", KINDS)
def test_each_comes_back(saved: Callable[[Any], Path], name: str) -> None:
    tensor = KINDS[name]()
    path = saved({"first": tensor, "again": [tensor], "copy": KINDS[name]()})
    loaded = torchkeep.load(path)
    assert loaded["again"][0] is loaded["first"]
    assert loaded["copy"] is not loaded["first"]
    assert_same(loaded["first"], tensor)
    before = path.read_bytes()
    saved(loaded)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", KINDS)
def test_mapped_and_on_another_device(saved: Callable[[Any], Path], name: str) -> None:
    tensor = KINDS[name]()
    path = saved([tensor])
    assert_same(torchkeep.load(path, mmap=True)[0], tensor)
    try:
        expected = tensor.to("meta")
    except NotImplementedError:  # torch has no quantized and no nested tensors there
        with pytest.raises(torchkeep.DeviceError, match=r"'a torch\.(quantized|nested) tensor' .* cannot go to 'meta'"):
            torchkeep.load(path, device="meta")
    else:
        moved = torchkeep.load(path, device="meta")[0]
        assert (type(moved), moved.layout, moved.dtype) == (type(expected), expected.layout, expected.dtype)
        assert moved.device.type == "meta"


@pytest.mark.parametrize("name", ["COO", "COO of rows", "CSR", "nested", "jagged", "meta"])
@pytest.mark.parametrize("requires_grad", [True, False])
def test_as_a_parameter_of_a_module(saved: Callable[[Any], Path], name: str, requires_grad: bool) -> None:
    module = nn.Module()
    module.weight = nn.Parameter(KINDS[name](), requires_grad=requires_grad)
    module.tied = module.weight
    module.register_buffer("graph", KINDS["CSC"]())
    module.register_buffer("hidden", KINDS["quint8"](), persistent=False)
    loaded = torchkeep.load(saved(module))
    assert list(loaded.state_dict()) == list(module.state_dict())
    assert loaded.tied is loaded.weight
    assert isinstance(loaded.weight, nn.Parameter)
    assert_same(loaded.weight, module.weight)
    assert_same(loaded.graph, module.graph)
    assert_same(loaded.hidden, module.hidden)


class Graph(nn.Module):
    """A layer over a sparse neighbourhood, with a sparse parameter."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.register_buffer("near", (torch.eye(3) * scale).to_sparse())
        self.register_buffer("far", (torch.eye(3) * scale).to_sparse_csr())
        self.register_buffer("table", torch.quantize_per_tensor(torch.ones(3, 3) * scale, scale, 0, torch.quint8))
        self.weight = nn.Parameter((torch.eye(3) * scale).to_sparse())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixed: torch.Tensor = self.linear(torch.sparse.mm(self.near, x)) + torch.sparse.mm(self.weight, x)
        return mixed @ self.table.dequantize() + torch.sparse.mm(self.far, x)


def _filled() -> Graph:
    graph = Graph(2.0)
    graph.far = torch.ones(3, 3).to_sparse_csr()  # more values than a fresh one has
    return graph


@pytest.mark.parametrize("as_state_dict", [False, True])
@pytest.mark.parametrize("assign", [False, True])
def test_load_into(saved: Callable[[Any], Path], as_state_dict: bool, assign: bool) -> None:
    graph, target, x = _filled(), Graph(), torch.arange(9.0).reshape(3, 3)
    path = saved(graph.state_dict() if as_state_dict else graph)
    held = dict(target.named_parameters())
    report = torchkeep.load_into(target, path, assign=assign, verify="first")
    assert tuple(report) == ([], [])
    assert report.coverage == 1.0
    assert torch.equal(target(x), graph(x))
    for name, parameter in target.named_parameters():
        assert (parameter is held[name]) is not assign
        assert isinstance(parameter, nn.Parameter)
        assert parameter.requires_grad
    for name, tensor in graph.state_dict(keep_vars=True).items():
        assert_same(target.state_dict(keep_vars=True)[name], tensor) if tensor.layout != torch.strided else None


def test_optimizer_state_of_sparse_parameters_goes_to_its_parameter(saved: Callable[[Any], Path]) -> None:
    def trained(target: Graph, lr: float) -> torch.optim.Optimizer:
        groups = [{"params": [target.weight]}, {"params": list(target.linear.parameters()), "lr": lr, "momentum": 0.9}]
        return torch.optim.SGD(groups, lr=lr)

    graph, other = _filled(), Graph()
    optimizer, resumed = trained(graph, 0.5), trained(other, 0.1)
    graph(torch.ones(3, 3)).sum().backward()
    optimizer.step()
    path = saved({"model": graph, "optimizer": optimizer})
    report = torchkeep.load_into({"model": other, "optimizer": resumed}, path)
    assert report.optimizers == {"optimizer": "identity"}
    assert resumed.param_groups[1]["lr"] == 0.5
    assert resumed.state.keys() == set(other.linear.parameters())
    whole = torchkeep.load(path)
    assert whole["optimizer"].param_groups[0]["params"][0] is whole["model"].weight


@pytest.mark.parametrize(
    ("name", "put", "says"),
    [
        ("near", lambda: torch.eye(3), r"file: sparse_coo of float32 by 2 dimensions; target: strided of"),
        ("near", lambda: torch.eye(4).to_sparse(), r"file: shape \(3, 3\); target: shape \(4, 4\)"),
        ("far", lambda: torch.eye(3).to_sparse_csc(), r"file: sparse_csr of float32; target: sparse_csc of float32"),
        ("near", lambda: torch.eye(3).double().to_sparse(), r"target: sparse_coo of float64"),
        (
            "table",
            lambda: torch.quantize_per_tensor(X[:3, :3], 1.0, 0, torch.qint8),
            r"quint8 per tensor; .*: qint8",
        ),
        ("linear.bias", None, r"file: shape \(3,\)"),
        ("near", lambda: torch.empty(3, 3, device="meta"), r"on the meta device, which holds none: pass assign=True"),
    ],
)
def test_what_does_not_fit_is_told_and_nothing_changes(
    saved: Callable[[Any], Path], name: str, put: Callable[[], torch.Tensor] | None, says: str
) -> None:
    target = Graph()
    if put is None:
        target.linear = nn.Linear(4, 4)
    else:
        setattr(target, name, put())
    before = {key: inside(tensor) for key, tensor in target.state_dict().items() if tensor.layout != torch.strided}
    path = saved(_filled())
    with pytest.raises(torchkeep.BindError, match=says):
        torchkeep.load_into(target, path)
    for key, facts in before.items():
        for ours, theirs in zip(inside(target.state_dict()[key]), facts, strict=True):
            assert torch.equal(ours, theirs) if isinstance(ours, torch.Tensor) else ours == theirs


@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
def test_a_nested_tensor_takes_the_place_of_another(saved: Callable[[Any], Path], layout: torch.layout) -> None:
    def holding(tensor: torch.Tensor) -> nn.Module:
        module = nn.Linear(2, 2)
        module.register_buffer("parts", tensor)
        return module

    model, target = (
        holding(ragged(layout=layout)),
        holding(torch.nested.nested_tensor([torch.zeros(1, 3)], layout=layout)),
    )
    path = saved(model)
    with pytest.raises(
        torchkeep.BindError, match=r"parts'\] +file: a torch\.(nested|jagged) tensor; .*pass assign=True"
    ):
        torchkeep.load_into(target, path)
    torchkeep.load_into(target, path, assign=True)
    assert_same(target.parts, model.parts)
    with pytest.raises(torchkeep.BindError, match=r"file: shape \(2, 2\); target: shape (of its parts|\(1)"):
        torchkeep.load_into(
            target, saved({"weight": torch.ones(2, 2), "bias": torch.ones(2), "parts": torch.ones(2, 2)})
        )


def test_what_torch_leaves_out_of_order_comes_back_sorted(saved: Callable[[Any], Path]) -> None:
    dense = torch.arange(24.0).reshape(2, 3, 4) % 5
    permuted = dense.to_sparse().permute(0, 2, 1)
    unsorted = torch.sparse_csr_tensor([0, 2, 3], [1, 0, 1], [1.0, 2.0, 3.0], (2, 2))
    product = torch.eye(5).flip(0).to_sparse_csr() @ (dense.reshape(6, 4)[:5] @ torch.ones(4, 5)).to_sparse_csr()
    padded = torch.nested.nested_tensor_from_jagged(torch.ones(10, 2), torch.tensor([0, 2, 5]))
    loaded = torchkeep.load(saved([permuted, unsorted, product, padded]))
    assert loaded[0].is_coalesced()
    for ours, theirs in zip(loaded[:3], (permuted, unsorted, product), strict=True):
        assert torch.equal(ours.to_dense(), theirs.to_dense())
    assert_same(loaded[3], padded)


@pytest.mark.parametrize("name", ["COO", "CSR", "quint8", "nested", "jagged"])
def test_a_module_that_loads_by_itself_is_put_back(saved: Callable[[Any], Path], name: str) -> None:
    class Hooked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("plain", torch.zeros(2))
            self.register_buffer("held", KINDS[name]())

    path = saved({"plain": torch.ones(2), "held": KINDS[name]()})
    target = Hooked()

    def refuse(*_: Any) -> None:
        raise ValueError("the hook says no")

    target.register_load_state_dict_pre_hook(lambda *_: None)  # so that shapes and kinds are the module's own matter
    target.register_load_state_dict_post_hook(refuse)
    with pytest.raises(torchkeep.BindError, match="The target was not changed"):
        torchkeep.load_into(target, path)
    assert target.plain.tolist() == [0.0, 0.0]
    assert_same(target.held, KINDS[name]())


def test_what_cannot_be_copied_in_place_is_refused_before(saved: Callable[[Any], Path]) -> None:
    def holding(tensor: torch.Tensor) -> nn.Module:
        module = nn.Linear(2, 2)
        module.register_buffer("held", tensor)
        return module

    rows = torch.sparse_coo_tensor([[0, 1]], torch.ones(2, 3), (2, 3))
    pairs = [
        (torch.eye(2, 3).to_sparse(), rows),
        (KINDS["per channel"](), KINDS["per channel, by floats"]()),
        (KINDS["quint4x2"](), KINDS["quint4x2"]()),
    ]
    for ours, theirs in pairs:
        target = holding(theirs)
        before = target.weight.clone()
        with pytest.raises(torchkeep.BindError, match="the target was not changed"):
            torchkeep.load_into(target, saved(holding(ours)))
        assert torch.equal(target.weight, before)
    target = holding(torch.zeros(3, 4))
    with pytest.raises(torchkeep.BindError, match=r"a torch.nested tensor; target: shape \(3, 4\)"):
        torchkeep.load_into(target, saved(holding(ragged())), assign=True)


def test_a_tensor_without_values_is_told(tmp_path: Path) -> None:
    with pytest.warns(torchkeep.TorchkeepWarning, match=r"model.weight: is on the meta device"):
        torchkeep.save(nn.Linear(2, 2, bias=False, device="meta"), tmp_path / "m.safetensors")
    assert torchkeep.load(tmp_path / "m.safetensors").weight.device.type == "meta"
    with pytest.raises(torchkeep.BindError, match="no values: it was saved from the meta device"):
        torchkeep.load_into(nn.Linear(2, 2, bias=False), tmp_path / "m.safetensors")


def test_a_cast_changes_what_can_be_cast(saved: Callable[[Any], Path]) -> None:
    with pytest.warns(torchkeep.TorchkeepWarning, match="were cast"):
        loaded = torchkeep.load(saved(_filled()), dtype=torch.float64)
    assert loaded.near.dtype == loaded.far.dtype == loaded.weight.dtype == torch.float64
    assert loaded.near.indices().dtype == torch.int64
    assert_same(loaded.table, _filled().table)


# --- subclasses -------------------------------------------------------------------------------------


class Image(torch.Tensor):
    """A view of a plain tensor, with a word of its own."""

    space: str

    def __setattr__(self, name: str, value: Any) -> None:
        raise AssertionError("state is written past the class")


class Scaled(torch.Tensor):
    """Bytes and a scale, which pass for floats: made through its own two functions."""

    @staticmethod
    def __new__(cls, data: torch.Tensor, scale: torch.Tensor, label: Any = None) -> Any:
        return torch.Tensor._make_wrapper_subclass(cls, data.shape, dtype=scale.dtype, requires_grad=False)

    def __init__(self, data: torch.Tensor, scale: torch.Tensor, label: Any = None) -> None:
        self.data_, self.scale, self.label = data, scale, label

    def __tensor_flatten__(self) -> tuple[list[str], Any]:
        return ["data_", "scale"], {"label": self.label}

    @classmethod
    def __tensor_unflatten__(cls, inner: dict[str, torch.Tensor], context: Any, size: Any, stride: Any) -> Any:
        assert type(size) is torch.Size
        return cls(inner["data_"], inner["scale"], context["label"])

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.ops.aten.detach.default:
            return cls(args[0].data_, args[0].scale, args[0].label)
        plain = [a.data_.to(a.scale.dtype) * a.scale if isinstance(a, Scaled) else a for a in args]
        return function(*plain, **(kwargs or {}))


def _scaled(label: Any = None) -> Any:
    return Scaled(torch.arange(6, dtype=torch.int8).reshape(2, 3), torch.tensor(0.5), label)


def _image() -> Any:
    image = torch.arange(6.0).reshape(2, 3).as_subclass(Image)
    vars(image)["space"] = "sRGB"
    return image


def test_a_view_of_a_subclass_comes_back_to_who_names_it(saved: Callable[[Any], Path]) -> None:
    image = _image()
    path = saved({"image": image, "again": image, "plain": 1})
    with pytest.raises(torchkeep.TrustError, match=r"is a tensor subclass, which opens only when the caller names it"):
        torchkeep.load(path)
    assert torchkeep.load(path, key="plain") == 1
    loaded = torchkeep.load(path, classes=[Image])
    assert type(loaded["image"]) is Image
    assert loaded["image"] is loaded["again"]
    assert vars(loaded["image"])["space"] == "sRGB"
    assert torch.equal(loaded["image"].as_subclass(torch.Tensor), image.as_subclass(torch.Tensor))
    skeleton = torchkeep.load(path, route="skeleton")
    assert type(skeleton["image"]) is torch.Tensor
    assert torch.equal(skeleton["image"], image.as_subclass(torch.Tensor))


@pytest.mark.parametrize("label", [None, "x", [1, 2], {"a": torch.float32}])
def test_a_wrapper_comes_back_through_its_own_functions(saved: Callable[[Any], Path], label: Any) -> None:
    layer = nn.Linear(3, 2, bias=False)
    layer.weight = nn.Parameter(_scaled(label), requires_grad=False)
    path = saved(layer)
    with pytest.raises(torchkeep.TrustError, match="Scaled"):
        torchkeep.load(path)
    loaded = torchkeep.load(path, classes=[Scaled])
    assert type(loaded.weight) is Scaled
    assert isinstance(loaded.weight, nn.Parameter)
    assert loaded.weight.label == label
    assert not loaded.weight.requires_grad
    assert torch.equal(loaded(torch.ones(1, 3)), layer(torch.ones(1, 3)))
    cast = torchkeep.load(path, classes=[Scaled], dtype=torch.float16)
    assert cast.weight.scale.dtype == torch.float32  # its inner tensors are its own business
    skeleton = torchkeep.load(path, route="skeleton")
    assert type(vars(skeleton)["weight"]).__name__ == "Record"
    assert "Scaled 2x3" in torchkeep.inspect(path).text()


class Labelled(nn.Parameter):
    """A parameter of a class of its own, as libraries have them for sharding."""


def test_a_subclass_of_parameter(saved: Callable[[Any], Path]) -> None:
    layer = nn.Linear(2, 2)
    layer.weight = torch.ones(2, 2).as_subclass(Labelled).requires_grad_()  # type: ignore[assignment]
    vars(layer.weight)["label"] = "rows"
    loaded = torchkeep.load(saved(layer), classes=[Labelled])
    assert type(loaded.weight) is Labelled
    assert loaded.weight.label == "rows"
    assert [name for name, _ in loaded.named_parameters()] == ["weight", "bias"]
    loaded(torch.ones(2)).sum().backward()
    assert torch.equal(loaded.weight.grad, torch.ones(2, 2))


@pytest.mark.parametrize("result", [None, (["data_"],), ([1], None), (["nothing"], None)])
def test_a_wrapper_that_comes_apart_wrongly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, result: Any) -> None:
    monkeypatch.setattr(Scaled, "__tensor_flatten__", lambda self: result)
    with pytest.raises(torchkeep.UnsaveableError, match=r"obj\[0\] .* has a __tensor_flatten__ that"):
        torchkeep.save([_scaled()], tmp_path / "x.safetensors")
    assert not list(tmp_path.iterdir())


class Broken(Scaled):
    """Whose way back does not lead back."""

    raises = False

    @classmethod
    def __tensor_unflatten__(cls, inner: dict[str, torch.Tensor], context: Any, size: Any, stride: Any) -> Any:
        if cls.raises:
            raise KeyError("lost")
        return inner["data_"]


@pytest.mark.parametrize(("raises", "says"), [(False, "made a Tensor"), (True, r"raised KeyError: 'lost'")])
def test_a_wrapper_that_is_not_made_again(
    saved: Callable[[Any], Path], monkeypatch: pytest.MonkeyPatch, raises: bool, says: str
) -> None:
    monkeypatch.setattr(Broken, "raises", raises)
    path = saved([Broken(torch.zeros(2, dtype=torch.int8), torch.tensor(1.0))])
    with pytest.raises(torchkeep.LoadError, match=says + r"\. Nothing was loaded"):
        torchkeep.load(path, classes=[Broken])


@pytest.mark.parametrize("given", [nn.Linear, Image, torch.Tensor])
def test_a_class_that_is_no_such_tensor(saved: Callable[[Any], Path], given: type) -> None:
    path = saved([_scaled()])
    name = f"{Scaled.__module__}:Scaled"
    with pytest.raises(torchkeep.TrustError, match=r"which (is no torch.Tensor|has no __tensor_unf)"):
        torchkeep.load(path, classes={name: given})


def test_a_load_passes_no_warning_of_torch_on(saved: Callable[[Any], Path]) -> None:
    path = saved([make() for make in KINDS.values() if make().device.type != "meta"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torchkeep.load(path)


def test_deepcopy_and_pickling_of_what_was_loaded(saved: Callable[[Any], Path]) -> None:
    loaded = torchkeep.load(saved(_filled()), classes=[Graph])
    buffer = io.BytesIO()
    torch.save(loaded.state_dict(), buffer)
    buffer.seek(0)
    again = torch.load(buffer, weights_only=True)
    for name in ("near", "far", "weight"):
        assert_same(again[name].detach(), loaded.state_dict()[name])
