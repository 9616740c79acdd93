"""The structure route: a model comes back as it was, to the bit, in what it computes and in what it is."""

from __future__ import annotations

import functools
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._pytree import tree_leaves

import torchkeep
from torchkeep.values.torch_table import MODULES, OPTIMIZERS

Keep = Callable[..., Any]


@pytest.fixture
def keep(tmp_path: Path) -> Keep:
    """Save and load again."""

    def keep(obj: Any, **options: Any) -> Any:
        torchkeep.save(obj, tmp_path / "kept.safetensors", durable=False)
        return torchkeep.load(tmp_path / "kept.safetensors", **options)

    return keep


# --- sameness ---------------------------------------------------------------------------------------


def bits(tensor: torch.Tensor) -> tuple[Any, ...]:
    """All that a tensor is, with NaN as equal as any other bits."""
    plain = tensor.detach().resolve_conj().resolve_neg().contiguous()
    return tensor.dtype, tuple(tensor.shape), bytes(plain.reshape(-1).view(torch.uint8).tolist())


def same_tensors(ours: Any, theirs: Any) -> None:
    ours, theirs = tree_leaves(ours), tree_leaves(theirs)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        if isinstance(a, torch.Tensor):
            assert bits(a) == bits(b)
        else:
            assert a == b


def same_module(ours: nn.Module, theirs: nn.Module, *, flags: bool = True) -> None:
    """Names, classes, order, flags, sharing and bits."""
    assert type(ours) is type(theirs)
    assert repr(ours) == repr(theirs)
    for listing in ("named_modules", "named_children"):
        pairs = [[(n, type(m)) for n, m in getattr(each, listing)()] for each in (ours, theirs)]
        assert pairs[0] == pairs[1], listing
    if flags:
        assert [m.training for m in ours.modules()] == [m.training for m in theirs.modules()]
    for listing in ("named_parameters", "named_buffers"):
        a, b = (list(getattr(each, listing)(remove_duplicate=False)) for each in (ours, theirs))
        assert [name for name, _ in a] == [name for name, _ in b], listing
        for (name, x), (_, y) in zip(a, b, strict=True):
            assert bits(x) == bits(y), name
            assert (type(x), x.requires_grad, x.is_leaf, x.stride()) == (
                type(y),
                y.requires_grad,
                y.is_leaf,
                y.stride(),
            )
        first = {}
        assert [first.setdefault(id(x), n) for n, x in a] == [first.setdefault(id(y), n) for n, y in b] or (
            _sharing(a) == _sharing(b)
        )
    ours_state, theirs_state = ours.state_dict(), theirs.state_dict()
    assert list(ours_state) == list(theirs_state)
    assert ours_state._metadata == theirs_state._metadata
    same_tensors(list(ours_state.values()), list(theirs_state.values()))
    for a, b in zip(ours.modules(), theirs.modules(), strict=True):
        assert list(vars(a)) == list(vars(b)) or vars(a).keys() == vars(b).keys()
        assert a._non_persistent_buffers_set == b._non_persistent_buffers_set
        for kind in ("_parameters", "_buffers", "_modules"):
            assert [(n, v is None) for n, v in vars(a)[kind].items()] == [
                (n, v is None) for n, v in vars(b)[kind].items()
            ]
            assert type(vars(a)[kind]) is type(vars(b)[kind])


def _sharing(named: list[tuple[str, Any]]) -> list[int]:
    seen: dict[int, int] = {}
    return [seen.setdefault(id(one), len(seen)) for _, one in named]


def run(module: nn.Module, inputs: tuple[Any, ...], *, train: bool) -> list[Any]:
    """Outputs, gradients of parameters and inputs, and buffers afterwards."""
    module.train(train)
    torch.manual_seed(7)
    inputs = tuple(
        x.detach().clone().requires_grad_() if isinstance(x, torch.Tensor) and x.is_floating_point() else x
        for x in inputs
    )
    outputs = module(*inputs)
    made: list[Any] = [t.detach() if isinstance(t, torch.Tensor) else t for t in tree_leaves(outputs)]
    summed = [
        t.square().sum()
        for t in tree_leaves(outputs)
        if isinstance(t, torch.Tensor) and t.is_floating_point() and t.requires_grad
    ]
    if summed:
        module.zero_grad(set_to_none=True)
        torch.stack(summed).sum().backward()
        made += [p.grad for p in module.parameters()]
        made += [x.grad for x in inputs if isinstance(x, torch.Tensor)]
        module.zero_grad(set_to_none=True)
    return [m for m in made if m is not None] + [b.clone() for b in module.buffers()]


def same_computation(ours: nn.Module, theirs: nn.Module, inputs: tuple[Any, ...]) -> None:
    for train in (False, True):
        same_tensors(run(ours, inputs, train=train), run(theirs, inputs, train=train))


# --- every module of torch --------------------------------------------------------------------------


def r(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))


def u(*shape: int) -> torch.Tensor:
    return r(*shape).sigmoid()


def ints(high: int, *shape: int) -> torch.Tensor:
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(high))


LINES, IMAGES, SOLIDS = r(2, 4, 8), r(2, 4, 8, 8), r(2, 4, 8, 8, 8)
SPACE = {1: LINES, 2: IMAGES, 3: SOLIDS}
Case = tuple[Callable[[], nn.Module], tuple[Any, ...] | None]


def _cases() -> dict[str, Case]:
    """For each class: how to make one, and what to call it with, or None where it computes nothing."""
    cases: dict[str, Case] = {
        "Module": (nn.Module, None),
        "Container": (lambda: nn.Container(a=nn.Linear(2, 2)), None),
        "Identity": (lambda: nn.Identity(1, a=2), (LINES,)),
        "Sequential": (lambda: nn.Sequential(OrderedDict(b=nn.Linear(8, 3), a=nn.ReLU())), (LINES,)),
        "ModuleList": (lambda: nn.ModuleList([nn.Linear(2, 2), nn.ReLU()]), None),
        "ModuleDict": (lambda: nn.ModuleDict({"z": nn.Linear(2, 2), "a": nn.ReLU()}), None),
        "ParameterList": (lambda: nn.ParameterList([r(2), nn.Parameter(r(3), requires_grad=False), "text", 4]), None),
        "ParameterDict": (lambda: nn.ParameterDict({"z": r(2), "a": nn.Parameter(r(3)), "n": 4}), None),
        "Linear": (lambda: nn.Linear(8, 3), (LINES,)),
        "NonDynamicallyQuantizableLinear": (lambda: nn.modules.linear.NonDynamicallyQuantizableLinear(8, 3), (LINES,)),
        "Bilinear": (lambda: nn.Bilinear(3, 4, 2), (r(5, 3), r(5, 4))),
        "Embedding": (lambda: nn.Embedding(9, 4, padding_idx=0, max_norm=0.9), (ints(9, 2, 3),)),
        "EmbeddingBag": (lambda: nn.EmbeddingBag(9, 4, mode="max"), (ints(9, 2, 3),)),
        "Fold": (lambda: nn.Fold((4, 5), (2, 2)), (r(1, 12, 12),)),
        "Unfold": (lambda: nn.Unfold((2, 3), padding=1), (IMAGES,)),
        "RNNBase": (lambda: nn.RNNBase("LSTM", 8, 3, bidirectional=True), None),
        "RNN": (lambda: nn.RNN(8, 3, nonlinearity="relu"), (LINES,)),
        "LSTM": (lambda: nn.LSTM(8, 3, 2, batch_first=True, dropout=0.5, bidirectional=True, proj_size=2), (LINES,)),
        "GRU": (lambda: nn.GRU(8, 3, 2, dropout=0.5), (LINES,)),
        "RNNCellBase": (lambda: nn.RNNCellBase(8, 3, True, 4), None),
        "RNNCell": (lambda: nn.RNNCell(8, 3), (r(2, 8),)),
        "LSTMCell": (lambda: nn.LSTMCell(8, 3), (r(2, 8),)),
        "GRUCell": (lambda: nn.GRUCell(8, 3, bias=False), (r(2, 8),)),
        "MultiheadAttention": (
            lambda: nn.MultiheadAttention(8, 2, dropout=0.1, add_bias_kv=True, kdim=8, vdim=6),
            (LINES, LINES, r(2, 4, 6)),
        ),
        "Transformer": (lambda: nn.Transformer(8, 2, 1, 1, 16), (r(3, 2, 8), r(4, 2, 8))),
        "TransformerEncoder": (lambda: nn.TransformerEncoder(_encoder_layer(), 2, nn.LayerNorm(8)), (LINES,)),
        "TransformerDecoder": (lambda: nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16), 2), (LINES, LINES)),
        "TransformerEncoderLayer": (_encoder_layer, (LINES,)),
        "TransformerDecoderLayer": (lambda: nn.TransformerDecoderLayer(8, 2, 16, activation=F.silu), (LINES, LINES)),
        "GLU": (lambda: nn.GLU(1), (LINES,)),
        "Threshold": (lambda: nn.Threshold(0.1, 20), (LINES,)),
        "Hardtanh": (lambda: nn.Hardtanh(-0.5, 0.5), (LINES,)),
        "PReLU": (lambda: nn.PReLU(4), (LINES,)),
        "ReLU": (lambda: nn.Sequential(nn.Linear(8, 8), nn.ReLU(inplace=True)), (LINES,)),
        "Softmax": (lambda: nn.Softmax(dim=1), (LINES,)),
        "Softmin": (lambda: nn.Softmin(dim=1), (LINES,)),
        "LogSoftmax": (lambda: nn.LogSoftmax(dim=1), (LINES,)),
        "Softmax2d": (nn.Softmax2d, (IMAGES,)),
        "GELU": (lambda: nn.GELU("tanh"), (LINES,)),
        "SyncBatchNorm": (lambda: nn.SyncBatchNorm(4), (IMAGES,)),
        "GroupNorm": (lambda: nn.GroupNorm(2, 4), (IMAGES,)),
        "LayerNorm": (lambda: nn.LayerNorm((4, 8)), (LINES,)),
        "RMSNorm": (lambda: nn.RMSNorm(8, eps=None), (LINES,)),
        "LocalResponseNorm": (lambda: nn.LocalResponseNorm(2), (IMAGES,)),
        "CrossMapLRN2d": (lambda: nn.CrossMapLRN2d(2), (IMAGES,)),
        "FractionalMaxPool2d": (lambda: nn.FractionalMaxPool2d(2, output_ratio=(0.5, 0.6)), (IMAGES,)),
        "FractionalMaxPool3d": (lambda: nn.FractionalMaxPool3d(2, output_size=3), (SOLIDS,)),
        "ChannelShuffle": (lambda: nn.ChannelShuffle(2), (IMAGES,)),
        "Flatten": (lambda: nn.Flatten(1, 2), (IMAGES,)),
        "PixelShuffle": (lambda: nn.PixelShuffle(2), (IMAGES,)),
        "PixelUnshuffle": (lambda: nn.PixelUnshuffle(2), (IMAGES,)),
        "Unflatten": (lambda: nn.Unflatten(1, torch.Size([2, 2])), (IMAGES,)),
        "Upsample": (lambda: nn.Upsample(scale_factor=(2, 3), mode="bicubic", align_corners=False), (IMAGES,)),
        "UpsamplingBilinear2d": (lambda: nn.UpsamplingBilinear2d(scale_factor=2), (IMAGES,)),
        "UpsamplingNearest2d": (lambda: nn.UpsamplingNearest2d(size=(5, 9)), (IMAGES,)),
        "CosineSimilarity": (lambda: nn.CosineSimilarity(dim=2), (LINES, LINES + 1)),
        "PairwiseDistance": (lambda: nn.PairwiseDistance(p=1.5), (r(3, 4), u(3, 4))),
        "AdaptiveLogSoftmaxWithLoss": (lambda: nn.AdaptiveLogSoftmaxWithLoss(8, 12, [4, 8]), (r(3, 8), ints(12, 3))),
        "BCELoss": (lambda: nn.BCELoss(u(4)), (u(3, 4), u(3, 4))),
        "BCEWithLogitsLoss": (lambda: nn.BCEWithLogitsLoss(pos_weight=u(4)), (r(3, 4), u(3, 4))),
        "CTCLoss": (
            nn.CTCLoss,
            (r(5, 2, 6).log_softmax(2), 1 + ints(5, 2, 3), torch.tensor([5, 5]), torch.tensor([3, 2])),
        ),
        "CosineEmbeddingLoss": (nn.CosineEmbeddingLoss, (r(3, 4), u(3, 4), torch.tensor([1, -1, 1]))),
        "CrossEntropyLoss": (lambda: nn.CrossEntropyLoss(u(4), label_smoothing=0.1), (r(3, 4), ints(4, 3))),
        "GaussianNLLLoss": (nn.GaussianNLLLoss, (r(3, 4), u(3, 4), u(3, 4))),
        "HingeEmbeddingLoss": (nn.HingeEmbeddingLoss, (r(3), torch.tensor([1, -1, 1]))),
        "KLDivLoss": (lambda: nn.KLDivLoss(reduction="batchmean"), (r(3, 4), u(3, 4))),
        "LinearCrossEntropyLoss": (lambda: nn.LinearCrossEntropyLoss(8, 5, bias=True), (r(3, 8), ints(5, 3))),
        "MarginRankingLoss": (nn.MarginRankingLoss, (r(3), u(3), torch.tensor([1, -1, 1]))),
        "MultiLabelMarginLoss": (nn.MultiLabelMarginLoss, (r(1, 4), torch.tensor([[3, 0, -1, 1]]))),
        "MultiLabelSoftMarginLoss": (nn.MultiLabelSoftMarginLoss, (r(3, 4), u(3, 4).round())),
        "MultiMarginLoss": (lambda: nn.MultiMarginLoss(weight=u(4)), (r(3, 4), ints(4, 3))),
        "NLLLoss": (lambda: nn.NLLLoss(u(4)), (r(3, 4).log_softmax(1), ints(4, 3))),
        "NLLLoss2d": (nn.NLLLoss2d, (IMAGES.log_softmax(1), ints(4, 2, 8, 8))),
        "SoftMarginLoss": (nn.SoftMarginLoss, (r(3), torch.tensor([1, -1, 1]))),
        "TripletMarginLoss": (lambda: nn.TripletMarginLoss(swap=True), (r(3, 4), u(3, 4), r(3, 4) + 1)),
        "TripletMarginWithDistanceLoss": (
            lambda: nn.TripletMarginWithDistanceLoss(distance_function=F.pairwise_distance),
            (r(3, 4), u(3, 4), r(3, 4) + 1),
        ),
    }
    for n, x in SPACE.items():
        conv, transposed = getattr(nn, f"Conv{n}d"), getattr(nn, f"ConvTranspose{n}d")
        make: dict[str, Callable[..., nn.Module]] = {
            f"Conv{n}d": functools.partial(conv, 4, 6, 3, padding="same", padding_mode="circular"),
            f"ConvTranspose{n}d": functools.partial(transposed, 4, 6, 3, stride=2, groups=2, output_padding=1),
            f"BatchNorm{n}d": functools.partial(getattr(nn, f"BatchNorm{n}d"), 4),
            f"InstanceNorm{n}d": functools.partial(
                getattr(nn, f"InstanceNorm{n}d"), 4, affine=n > 1, track_running_stats=n > 2
            ),
            f"AvgPool{n}d": functools.partial(getattr(nn, f"AvgPool{n}d"), 2),
            f"MaxPool{n}d": functools.partial(getattr(nn, f"MaxPool{n}d"), 2, return_indices=True),
            f"AdaptiveAvgPool{n}d": functools.partial(getattr(nn, f"AdaptiveAvgPool{n}d"), 3),
            f"AdaptiveMaxPool{n}d": functools.partial(getattr(nn, f"AdaptiveMaxPool{n}d"), 3),
            f"LPPool{n}d": functools.partial(getattr(nn, f"LPPool{n}d"), 2, 3),
            f"Dropout{n}d": functools.partial(getattr(nn, f"Dropout{n}d"), 0.3),
            f"ConstantPad{n}d": functools.partial(getattr(nn, f"ConstantPad{n}d"), 1, 0.5),
        }
        for pad in ("Circular", "Reflection", "Replication", "Zero"):
            make[f"{pad}Pad{n}d"] = functools.partial(getattr(nn, f"{pad}Pad{n}d"), 1)
        cases |= {name: (one, (x,)) for name, one in make.items()}
        cases[f"AvgPool{n}d"] = (functools.partial(getattr(nn, f"AvgPool{n}d"), 2), (x,))
        small, indices = getattr(nn, f"MaxPool{n}d")(2, return_indices=True)(x)
        cases[f"MaxUnpool{n}d"] = (functools.partial(getattr(nn, f"MaxUnpool{n}d"), 2), (small, indices))
    for name in ["Dropout", "AlphaDropout", "FeatureAlphaDropout"]:
        cases[name] = (functools.partial(getattr(nn, name), 0.3), (IMAGES,))
    for name in ["L1Loss", "MSELoss", "SmoothL1Loss", "HuberLoss", "PoissonNLLLoss"]:
        cases[name] = (getattr(nn, name), (u(3, 4), u(3, 4) + 1))
    for name in [
        "CELU",
        "ELU",
        "Hardshrink",
        "Hardsigmoid",
        "Hardswish",
        "LeakyReLU",
        "LogSigmoid",
        "Mish",
        "RReLU",
        "ReLU6",
        "SELU",
        "SiLU",
        "Sigmoid",
        "Softplus",
        "Softshrink",
        "Softsign",
        "Tanh",
        "Tanhshrink",
    ]:
        cases[name] = (getattr(nn, name), (LINES,))
    return cases


def _encoder_layer() -> nn.Module:
    return nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", norm_first=True, batch_first=True)


CASES = _cases()


ELSEWHERE = {"AveragedModel", "ParametrizationList", "_WeightNorm", "_SpectralNorm", "_Orthogonal"}
"""Tried in test_schedulers.py and test_wrapped_modules.py; lazy modules in test_lazy_modules.py."""


def test_every_module_of_the_table_is_tried() -> None:
    listed = {name.rpartition(":")[2] for name in MODULES} - ELSEWHERE
    listed = {name for name in listed if not name.startswith("Lazy")}
    assert {name for name in listed if name not in CASES} == set()
    assert CASES.keys() <= listed


@pytest.mark.filterwarnings(
    "ignore:.*deprecated",
    "ignore:LSTM with projections",
    "ignore:enable_nested_tensor",
    "ignore:Initializing zero-element",
)
@pytest.mark.parametrize("name", CASES)
def test_a_module_of_torch(name: str, keep: Keep) -> None:
    if not hasattr(nn, name) and not name.startswith("NonDynamically"):
        pytest.skip("not in this torch")
    make, inputs = CASES[name]
    torch.manual_seed(0)
    model = make()
    loaded = keep(model)
    assert not any(module.training for module in loaded.modules())
    assert model.training
    same_module(model, loaded, flags=False)
    loaded = keep(model, mode="saved")
    same_module(model, loaded)
    if inputs is not None:
        same_computation(model, loaded, inputs)
    assert torchkeep.report_of(loaded).route == "structure"


# --- trees ------------------------------------------------------------------------------------------


def test_containers_of_containers_and_repeated_modules(keep: Keep) -> None:
    shared, norm = nn.Linear(4, 4), nn.BatchNorm1d(4)
    inner = nn.Sequential(shared, nn.ReLU(), norm)
    model = nn.Sequential(
        OrderedDict(first=inner, again=shared, norm=norm, third=nn.Sequential(inner, nn.Dropout()), last=shared)
    )
    loaded = keep(model, mode="saved")
    same_module(model, loaded)
    assert loaded.first[0] is loaded.again is loaded.last
    assert loaded.third[0] is loaded.first
    assert loaded.norm is loaded.first[2]
    assert [n for n, _ in loaded.named_modules(remove_duplicate=False)] == [
        n for n, _ in model.named_modules(remove_duplicate=False)
    ]
    same_computation(model, loaded, (r(5, 4),))


def test_tied_weights_stay_tied(keep: Keep) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(7, 4)
            self.head = nn.Linear(4, 7, bias=False)
            self.head.weight = self.embed.weight
            self.again = self.embed.weight
            self.register_buffer("table", torch.eye(4))
            self.register_buffer("same_table", self.table)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.embed(x) @ self.table)

    model = Tied()
    loaded = keep(model, classes=[Tied], mode="saved")
    same_module(model, loaded)
    assert loaded.head.weight is loaded.embed.weight is loaded.again
    assert loaded.table is loaded.same_table
    same_computation(model, loaded, (ints(7, 2, 3),))
    torch.optim.SGD(loaded.parameters(), lr=0.1)  # three names, one parameter
    assert len(list(loaded.parameters())) == 1


class Varied(nn.Module):
    """Buffers of both kinds, None everywhere, flags, frozen weights, attributes of many types."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 4))
        self.register_buffer("persistent", torch.arange(4.0))
        self.register_buffer("hidden", torch.ones(4), persistent=False)
        self.register_buffer("none", None)
        self.register_parameter("no_parameter", None)
        self.no_module: nn.Module | None
        self.register_module("no_module", None)
        self.narrow = nn.Parameter(torch.ones(4, dtype=torch.float16), requires_grad=False)
        self.body[0].weight.requires_grad_(False)
        self.body[2].eval()
        self.sizes = {"a": (1, 2), "b": [None, True, 1.5, float("inf"), 2**80, b"\0", "text"]}
        self.plain = torch.full((2, 2), float("nan"))
        self.view = self.body[2].weight.detach()[1]
        self.kinds = (torch.float16, torch.device("cuda:1"), torch.Size([2, 3]), {1, 2}, frozenset("ab"), 1j)
        self.act = F.gelu
        self.other = torch.relu
        self.scaled = functools.partial(torch.mul, other=2.0)
        self.softmax = functools.partial(F.softmax, dim=-1)
        self.norm_class = nn.LayerNorm
        self.children_list = [self.body[0], self.body]  # modules that are no children
        self._private = {"me": self}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.other(self.body(x)) + self.persistent) * self.hidden
        return self.softmax(self.scaled(x)) * self.narrow.float()


def test_everything_a_module_holds(keep: Keep) -> None:
    model = Varied()
    loaded = keep(model, classes=[Varied], mode="saved")
    same_module(model, loaded)
    assert [m.training for m in loaded.modules()] == [True, True, True, True, False]
    assert list(loaded.state_dict()) == list(model.state_dict())
    assert "hidden" not in loaded.state_dict()
    assert loaded.none is None
    assert loaded.no_parameter is None
    assert loaded.no_module is None
    assert loaded.sizes == model.sizes
    assert loaded.kinds == model.kinds
    assert [type(k) for k in loaded.kinds] == [type(k) for k in model.kinds]
    assert bits(loaded.plain) == bits(model.plain)
    assert (loaded.act, loaded.other, loaded.norm_class) == (F.gelu, torch.relu, nn.LayerNorm)
    assert loaded.view.data_ptr() == loaded.body[2].weight[1].data_ptr()
    assert loaded.children_list[0] is loaded.body[0]
    assert loaded.children_list[1] is loaded.body
    assert loaded._private["me"] is loaded
    same_computation(model, loaded, (r(3, 4),))
    torchkeep.load_into(Varied(), torchkeep.report_of(loaded).path)


@pytest.mark.parametrize("mode", [None, "eval", "train", "saved"])
def test_modes(keep: Keep, mode: Any) -> None:
    model = nn.Sequential(nn.Linear(2, 2).eval(), nn.Dropout())
    flags = [module.training for module in keep(model, mode=mode).modules()]
    assert flags == {None: [False] * 3, "eval": [False] * 3, "train": [True] * 3, "saved": [True, False, True]}[mode]


def test_a_deep_tree(keep: Keep) -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    for _ in range(150):
        model = nn.Sequential(model)
    loaded = keep(model)
    assert [n for n, _ in loaded.named_parameters()] == [n for n, _ in model.named_parameters()]


# --- helper objects ---------------------------------------------------------------------------------


class Config:
    def __init__(self, **fields: Any) -> None:
        vars(self).update(fields)


class Configured(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.config = Config(width=4, nested=Config(names=["a"], table={1: 2.0}))
        self.layer = nn.Linear(4, 4)
        self.layer.config = self.config
        self.config.owner = self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) / self.config.width


def test_helper_objects_of_the_same_package(keep: Keep) -> None:
    model = Configured()
    loaded = keep(model)
    same_module(model, loaded, flags=False)
    assert type(loaded.config) is type(loaded.config.nested) is Config
    assert loaded.config is loaded.layer.config
    assert loaded.config.owner is loaded
    assert vars(loaded.config.nested) == vars(model.config.nested)
    assert torchkeep.report_of(loaded).findings == ()
    same_computation(model, loaded, (r(3, 4),))


def test_a_helper_object_by_itself_is_a_record(keep: Keep) -> None:
    with pytest.warns(torchkeep.TorchkeepWarning, match="came back as inert Records"):
        loaded = keep({"config": Config(width=4)})
    assert isinstance(loaded["config"], torchkeep.Record)
    assert loaded["config"].width == 4
    loaded = keep({"config": Config(width=4)}, classes=[Config])
    assert type(loaded["config"]) is Config


class Registered:
    __slots__ = ("low",)

    def __init__(self, low: int) -> None:
        self.low = low


def test_a_registered_object(keep: Keep) -> None:
    from torchkeep.values import registry

    torchkeep.register(Registered, encode=lambda one: {"low": one.low}, decode=lambda state: Registered(**state))
    try:
        model = nn.Linear(2, 2)
        model.limits = [Registered(1)] * 2
        loaded = keep(model)
        assert loaded.limits[0] is loaded.limits[1]
        assert loaded.limits[0].low == 1
    finally:
        registry._by_class.pop(Registered)


# --- functions, classes, methods --------------------------------------------------------------------


def double(x: torch.Tensor, by: float = 2.0) -> torch.Tensor:
    return x * by


class Calling(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.function = double
        self.partial = functools.partial(double, by=3.0)
        self.nested = functools.partial(self.partial, torch.ones(4))
        self.static = Calling.helper
        self.method = self.compute
        self.of_child = self.layer.forward
        self.kind = Config

    @staticmethod
    def helper(x: torch.Tensor) -> torch.Tensor:
        return x + 1

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return self.static(self.of_child(x))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self.partial(self.method(x))) * self.nested()


def test_functions_of_the_project_open_when_they_are_named(keep: Keep) -> None:
    model = Calling()
    with pytest.raises(torchkeep.TrustError, match="double"):
        keep(model)
    given = [Calling, double, Calling.helper, Config]
    loaded = keep(
        model, classes={f"{one.__module__}:{one.__qualname__}": one for one in given} | {"torch.nn:Linear": nn.Linear}
    )
    same_module(model, loaded, flags=False)
    assert loaded.function is double
    assert loaded.kind is Config
    assert loaded.method.__self__ is loaded
    assert loaded.of_child.__self__ is loaded.layer
    same_computation(model, loaded, (r(3, 4),))


def test_a_method_of_a_module_of_torch(keep: Keep) -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    model.chosen = model[0].forward
    with pytest.raises(torchkeep.TrustError, match="'forward'") as caught:
        keep(model)
    [call] = re.findall(r"classes=(\{.*?\}|\[.*?\])", str(caught.value))
    loaded = keep(model, classes=eval(call, {"Linear": nn.Linear}))
    assert loaded.chosen.__self__ is loaded[0]


def test_a_class_of_torch_can_be_named_in_a_list(keep: Keep) -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    model.chosen = model[0].forward
    assert keep(model, classes=[nn.Linear]).chosen.__self__.weight.shape == (4, 4)


def test_a_callable_that_hides_a_method_is_refused(keep: Keep) -> None:
    model = nn.Linear(2, 2)
    model.forward = double
    with pytest.raises(torchkeep.UnsaveableError, match="forward"):
        keep(model)


# --- state of their own -----------------------------------------------------------------------------


class Extra(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.__dict__["log"] = []

    def get_extra_state(self) -> Any:
        return {"log": list(self.log), "tensor": torch.arange(3)}

    def set_extra_state(self, state: Any) -> None:
        self.log = ["set", *state["log"], state["tensor"].sum().item()]


class TensorExtra(nn.Module):
    count = 0

    def get_extra_state(self) -> torch.Tensor:
        return torch.tensor([self.count])

    def set_extra_state(self, state: torch.Tensor) -> None:
        self.count = int(state)


def test_extra_state(keep: Keep, tmp_path: Path) -> None:
    model = nn.Sequential(Extra(), TensorExtra())
    model[0].log.append("a")
    model[1].count = 5
    loaded = keep(model, classes=[Extra, TensorExtra])
    assert loaded[0].log == ["set", "a", 3]
    assert loaded[1].count == 5
    with pytest.warns(torchkeep.TorchkeepWarning, match="set_extra_state"):
        unnamed = keep(model)
    assert unnamed[0].log == ["a"]
    target = nn.Sequential(Extra(), TensorExtra())
    torchkeep.load_into(target, tmp_path / "kept.safetensors")
    assert target[0].log == ["set", "a", 3]
    assert target[1].count == 5


class Stateful(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.cache: Any = object()  # nothing that could be saved

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "cache": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.cache = "made again"


def test_getstate_and_setstate(keep: Keep) -> None:
    model = Stateful()
    loaded = keep(model, classes=[Stateful])
    assert loaded.cache == "made again"
    same_tensors(model.layer(r(3, 2)), loaded.layer(r(3, 2)))
    with pytest.raises(torchkeep.TrustError, match="__setstate__"):
        keep(model)
    assert keep({"a": model}, classes=Stateful)["a"].cache == "made again"


class Recipe(nn.Module):
    """Its `__getstate__` tells how to make it anew, as that of einops' layers does."""

    def __init__(self, pattern: str) -> None:
        super().__init__()
        self.pattern = pattern
        self.layer = nn.Linear(2, 2)
        self.steps = [1, (2, pattern)]

    def __getstate__(self) -> dict[str, Any]:
        return {"pattern": self.pattern}

    def __setstate__(self, state: dict[str, Any]) -> None:
        raise AssertionError("it made a module that is not the one that was saved")


class Locked(Recipe):
    def __init__(self) -> None:
        super().__init__("locked")
        self.lock = threading.Lock()


def test_a_getstate_that_gives_no_modules_state_is_passed_by(keep: Keep, tmp_path: Path) -> None:
    model = Recipe("a b -> b a").eval()
    loaded = keep(model, mode="saved")  # and its class need not be named: none of its code runs
    same_tensors(model.layer.weight, loaded.layer.weight)
    assert (loaded.pattern, loaded.steps, loaded.training) == (model.pattern, model.steps, False)
    assert keep(model, classes=[Recipe]).steps == model.steps
    target = Recipe("other")
    torchkeep.load_into(target, tmp_path / "kept.safetensors")
    same_tensors(model.layer.weight, target.layer.weight)
    with pytest.raises(torchkeep.UnsaveableError, match=r"model\.lock cannot be saved"):
        keep(Locked())


class Plainly(nn.Module): ...


class Guarded(nn.Module):
    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.checked = True


def test_a_file_cannot_pass_by_a_setstate(keep: Keep, tmp_path: Path) -> None:
    keep(Recipe("a"))
    path = tmp_path / "kept.safetensors"
    name = f"{Recipe.__module__}:{Recipe.__qualname__}"
    with pytest.warns(torchkeep.TorchkeepWarning, match="its source changed"):
        assert torchkeep.load(path, classes={name: Guarded}).checked
    with pytest.warns(torchkeep.TorchkeepWarning, match="its source changed"):
        assert type(torchkeep.load(path, classes={name: Plainly})) is Plainly


class Causal(nn.Conv1d):
    """torch's convolutions, attention and recurrent layers have a `__setstate__`, and so have their subclasses."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(nn.functional.pad(x, (self.kernel_size[0] - 1, 0)))


class Peepholes(nn.LSTM): ...


class Heads(nn.MultiheadAttention): ...


class Average(nn.AvgPool3d): ...


@pytest.mark.parametrize(
    "model", [Causal(2, 2, 3), Peepholes(2, 2), Heads(2, 1), Average(2)], ids=lambda model: type(model).__name__
)
def test_a_setstate_of_torch_runs_for_a_class_that_nobody_named(model: nn.Module, keep: Keep) -> None:
    loaded = keep(model)
    assert type(loaded) is type(model)
    assert repr(loaded) == repr(model)


# --- hooks ------------------------------------------------------------------------------------------

REGISTER = [
    "register_forward_hook",
    "register_forward_pre_hook",
    "register_full_backward_hook",
    "register_full_backward_pre_hook",
    "register_state_dict_pre_hook",
    "register_state_dict_post_hook",
    "register_load_state_dict_pre_hook",
    "register_load_state_dict_post_hook",
]


@pytest.mark.parametrize("register", REGISTER)
def test_hooks_are_told_and_left_out(register: str, tmp_path: Path) -> None:
    path = tmp_path / "hooked.safetensors"
    model = nn.Sequential(nn.Linear(2, 2))
    getattr(model[0], register)(lambda *a, **k: None)
    with pytest.warns(torchkeep.TorchkeepWarning, match="hook"):
        report = torchkeep.save(model, path)
    assert [f.code for f in report.findings] == ["hooks"]
    assert "0" in report.findings[0].path
    with pytest.raises(torchkeep.LoadError, match=r'allow=\{"hooks"\}'):
        torchkeep.load(path)
    with pytest.warns(torchkeep.TorchkeepWarning, match="hook"):
        loaded = torchkeep.load(path, allow={"hooks"})
    fresh = nn.Linear(2, 2)
    assert all(len(vars(loaded[0])[name]) == len(held) for name, held in vars(fresh).items() if name.endswith("_hooks"))
    same_tensors(loaded(r(1, 2)), F.linear(r(1, 2), model[0].weight, model[0].bias))


# --- optimizers -------------------------------------------------------------------------------------

OPTIONS: dict[str, list[dict[str, Any]]] = {
    "Adam": [{"amsgrad": True}, {"foreach": True}, {"foreach": False, "lr": torch.tensor(0.01)}, {"fused": True}],
    "AdamW": [{}, {"maximize": True}],
    "SGD": [{}, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}],
    "RMSprop": [{"centered": True, "momentum": 0.5}],
    "LBFGS": [{"max_iter": 3, "history_size": 2}],
    "SparseAdam": [{}],
    "Muon": [{"lr": 0.01}],
}
TRIED = [
    (name, options)
    for name in (each.rpartition(":")[2] for each in OPTIMIZERS)
    if name != "Optimizer" and hasattr(torch.optim, name)
    for options in OPTIONS.get(name, [{}])
]


class Model(nn.Module):
    def __init__(self, sparse: bool, only_matrices: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(6, 4, sparse=sparse)
        self.first = nn.Linear(4, 4, bias=not only_matrices)
        self.second = nn.Linear(4, 4, bias=not only_matrices)
        self.frozen = nn.Parameter(torch.ones(4), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(self.embed(x)).tanh()) * self.frozen


def _step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = model(ints(6, 3, 2)).square().sum()
        loss.backward()
        return loss

    closure()
    if isinstance(optimizer, torch.optim.LBFGS):
        optimizer.step(closure)
    else:
        optimizer.step()


@pytest.mark.parametrize(("name", "options"), TRIED, ids=lambda value: value if isinstance(value, str) else "")
def test_an_optimizer_goes_on_where_it_was(name: str, options: dict[str, Any], keep: Keep) -> None:
    torch.manual_seed(0)
    sparse = name == "SparseAdam"
    model = Model(sparse, name == "Muon")
    cls = getattr(torch.optim, name)
    parameters = list(model.embed.parameters()) if sparse else [p for p in model.parameters() if p.requires_grad]
    given: Any = parameters
    if name not in ("LBFGS", "SparseAdam"):
        given = [{"params": parameters[:1]}, {"params": parameters[1:], "lr": 0.005, "name": "rest"}]
        if isinstance(options.get("lr"), torch.Tensor):
            given = parameters
    optimizer = cls(given, **options)
    for _ in range(2):
        _step(model, optimizer)
    for whole in (
        keep({"optimizer": optimizer, "model": model, "epoch": 2}),
        keep({"model": model, "optimizer": optimizer, "epoch": 2}),
    ):
        theirs, loaded = whole["optimizer"], whole["model"]
        assert type(theirs) is cls
        assert loaded.training
        same_module(model, loaded)
        ours_state, theirs_state = optimizer.state_dict(), theirs.state_dict()
        assert ours_state["param_groups"] == theirs_state["param_groups"]
        assert list(ours_state["state"]) == list(theirs_state["state"])
        for key, state in ours_state["state"].items():
            assert list(state) == list(theirs_state["state"][key])
            same_tensors(list(state.values()), list(theirs_state["state"][key].values()))
        held = {id(p): n for n, p in loaded.named_parameters()}
        names = {id(p): n for n, p in model.named_parameters()}
        for a, b in zip(optimizer.param_groups, theirs.param_groups, strict=True):
            assert list(a) == list(b)
            assert [names[id(p)] for p in a["params"]] == [held[id(p)] for p in b["params"]]
        assert type(theirs.state) is type(optimizer.state)
        torchs_own = {"_warned_capturable_if_run_uncaptured"}  # set by a step
        assert vars(theirs).keys() | torchs_own == vars(optimizer).keys() | torchs_own
        assert repr(theirs) == repr(optimizer)
    torch.manual_seed(3)
    _step(model, optimizer)
    torch.manual_seed(3)
    _step(loaded, theirs)
    same_tensors(list(model.state_dict().values()), list(loaded.state_dict().values()))
    theirs.add_param_group({"params": [nn.Parameter(torch.ones(2, 2))]}) if name != "LBFGS" else None
    theirs.load_state_dict(optimizer.state_dict()) if len(theirs.param_groups) == len(optimizer.param_groups) else None


def test_an_optimizer_beside_its_scheduler_steps(keep: Keep) -> None:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    model(r(1, 2)).sum().backward()
    optimizer.step()
    scheduler.step()
    loaded = keep({"model": model, "optimizer": optimizer, "scheduler": scheduler.state_dict()})
    again = torch.optim.lr_scheduler.StepLR(loaded["optimizer"], 1)
    again.load_state_dict(loaded["scheduler"])
    assert again.get_last_lr() == scheduler.get_last_lr()
    assert loaded["optimizer"].param_groups[0]["initial_lr"] == 1.0


def test_an_optimizer_by_itself(keep: Keep) -> None:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(r(1, 2)).sum().backward()
    optimizer.step()
    loaded = keep(optimizer)
    same_tensors(loaded.param_groups[0]["params"], optimizer.param_groups[0]["params"])
    state = keep({"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    fresh = torch.optim.Adam(model.parameters())
    fresh.load_state_dict(state["optimizer"])
    same_tensors(list(fresh.state_dict()["state"][0].values()), list(optimizer.state_dict()["state"][0].values()))
    assert list(state["model"]) == list(model.state_dict())
    assert type(state["model"]) is OrderedDict
    assert state["model"]._metadata == model.state_dict()._metadata


class Ours(torch.optim.SGD):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.note = {"mine": 1}


def test_an_optimizer_of_the_project_is_named(keep: Keep) -> None:
    model = nn.Linear(2, 2)
    whole = {"model": model, "optimizer": Ours(model.parameters(), lr=0.1)}
    with pytest.raises(torchkeep.TrustError, match="Ours"):
        keep(whole)
    loaded = keep(whole, classes=[Ours])
    assert type(loaded["optimizer"]) is Ours
    assert loaded["optimizer"].note == {"mine": 1}
    assert loaded["optimizer"].param_groups[0]["params"][0] is loaded["model"].weight


def test_what_stands_in_for_an_object_is_not_saved_in_its_place(tmp_path: Path) -> None:
    """A Record or a Skeleton that does not come from a file does not know all that it stands for."""
    path = tmp_path / "net.safetensors"
    torchkeep.save(nn.Sequential(nn.Linear(1, 1)), path)
    skeleton = torchkeep.Skeleton.__new__(torchkeep.Skeleton)
    vars(skeleton).update(vars(nn.Module()) | {"(class)": "old.nets:Net"})
    for stand_in in (torchkeep.Record("old.nets:Config", {"a": 1}), skeleton):
        with pytest.raises(torchkeep.UnsaveableError, match=r"obj\['x'\] .*stands in for old\.nets:.*classes="):
            torchkeep.save({"x": stand_in}, path)
    assert isinstance(torchkeep.load(path), nn.Sequential)


@pytest.mark.skipif(not hasattr(os, "preadv"), reason="counts the calls of preadv")
def test_key_reads_the_bytes_of_its_part_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.safetensors"
    torchkeep.save({"big": torch.zeros(1_000_000), "model": nn.Linear(2, 2)}, path)
    monkeypatch.setattr("torchkeep.storage.local._HAVE_PREADV", True)
    moved = []
    preadv = os.preadv

    def counted(descriptor: int, buffers: Any, offset: int) -> int:
        moved.append(preadv(descriptor, buffers, offset))
        return moved[-1]

    monkeypatch.setattr(os, "preadv", counted)
    assert isinstance(torchkeep.load(path, key="model"), nn.Linear)
    assert 0 < sum(moved) < 20_000


class Solved:
    """What a class keeps under the name of the property that made it: no function."""

    def __init__(self, steps: int) -> None:
        self.steps = steps


class Called(Solved):
    def __call__(self) -> int:
        return self.steps


class Cached:
    """A property that keeps what it made in the place of itself, as `functools.cached_property` does."""

    def __get__(self, obj: Any, owner: type) -> Any:
        obj.__dict__["solution"] = Solved(3)
        return obj.__dict__["solution"]


class Solver(nn.Module):
    solution = Cached()

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)


def test_an_object_in_the_place_of_the_property_that_made_it(tmp_path: Path) -> None:
    path, model = tmp_path / "x.safetensors", Solver()
    assert model.solution.steps == 3
    torchkeep.save(model, path)
    loaded = torchkeep.load(path)
    assert type(loaded.__dict__["solution"]) is Solved
    assert loaded.solution.steps == 3
    name = f"{__name__}:Solved"
    with pytest.raises(torchkeep.LoadError, match=r"the attribute 'solution' of .*Solver would hide what its class"):
        torchkeep.load(path, classes={name: Called})
    with pytest.warns(torchkeep.TorchkeepWarning, match="inert Record"):
        loaded = torchkeep.load(path, classes={name: Solver})  # which opens to nothing that can be called
    assert loaded.__dict__["solution"].steps == 3


@pytest.mark.parametrize("gap", [0, 8], ids=["dense", "with gaps"])
def test_a_transposed_weight_keeps_its_order_in_memory(gap: int, tmp_path: Path) -> None:
    model = nn.Linear(65, 33, bias=False)
    model.weight = nn.Parameter(torch.randn(65, 33 + gap)[:, :33].t())
    report = torchkeep.save(model, tmp_path / "x.safetensors")
    loaded, x = torchkeep.load(tmp_path / "x.safetensors"), torch.randn(3, 65)
    assert loaded.weight.stride() == (1, 33)
    assert torch.equal(loaded(x), model(x)) or gap
    assert [(f.code, f.severity, f.path) for f in report.findings] == [("packed", "note", "model.weight")] * bool(gap)


def test_gaps_and_what_is_left_of_an_allocation_are_told(tmp_path: Path) -> None:
    report = torchkeep.save(torch.zeros(400, 400)[:, 0], tmp_path / "x.safetensors")
    assert [f.code for f in report.findings] == ["packed", "trimmed"]
    assert "uses 1600 bytes of an allocation of 640000" in report.findings[1].message
    many = [torch.zeros(2, 2)[:, 0] for _ in range(100)]
    assert len(torchkeep.save(many, tmp_path / "x.safetensors").findings) == 21


def test_hooks_of_tensors_and_optimizers_are_told_at_load(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    model.weight.register_hook(lambda gradient: gradient * 0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.register_step_post_hook(lambda *args: None)
    with pytest.warns(torchkeep.TorchkeepWarning, match="hooks of a"):
        torchkeep.save({"model": model, "optimizer": optimizer}, tmp_path / "x.safetensors")
    with pytest.warns(torchkeep.TorchkeepWarning) as caught:
        loaded = torchkeep.load(tmp_path / "x.safetensors")
    assert [str(warning.message) for warning in caught] == [
        "obj['model'].weight: gradient hooks of a tensor are not saved.",
        "obj['optimizer']: optimizer_step_post_hooks of an optimizer cannot be saved.",
    ]
    assert [f.code for f in torchkeep.report_of(loaded["model"]).findings] == ["lost-hooks", "lost-hooks"]


def test_a_skeleton_has_no_hooks_and_asks_for_no_leave(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    model.register_forward_hook(lambda *args: None)
    with pytest.warns(torchkeep.TorchkeepWarning, match="hooks are code"):
        torchkeep.save(model, tmp_path / "x.safetensors")
    with pytest.warns(torchkeep.TorchkeepWarning, match="came back without its forward hook"):
        torchkeep.load(tmp_path / "x.safetensors", route="skeleton")
