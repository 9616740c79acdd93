"""Modules that hold what programs hold besides layers: configs, enums, parents, tables, state of their own."""

from __future__ import annotations

import enum
import functools
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass
from fractions import Fraction
from pathlib import PurePosixPath
from types import SimpleNamespace
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize

Shape = namedtuple("Shape", "wide high")


class Rate(NamedTuple):
    value: float
    unit: str = "per second"


class Reduce(enum.Enum):
    SUM = "sum"
    MEAN = "mean"


class Flags(enum.IntFlag):
    BIAS = 1
    NORM = 2


@dataclass(frozen=True)
class Inner:
    scale: float
    shape: Shape


@dataclass(slots=True)
class Config:
    width: int
    inner: Inner
    reduce: Reduce = Reduce.MEAN
    flags: Flags = Flags.BIAS


class Configured(nn.Module):
    """A dataclass in a dataclass, namedtuples of both sorts, enums of two sorts."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.inner = config.inner
        self.rate = Rate(0.5)
        self.by_reduce = {Reduce.SUM: 2.0, Reduce.MEAN: 0.25}
        self.linear = nn.Linear(config.width, 3, bias=bool(config.flags & Flags.BIAS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert self.inner is self.config.inner
        y = self.linear(x) * self.rate.value * self.by_reduce[self.config.reduce]
        return y.mean(0) if self.config.reduce is Reduce.MEAN else y.sum(0)


class Collected(nn.Module):
    """Values of the standard library and of numpy, some with tensors in them."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.seen = defaultdict(list, {"a": [1, 2]})
        self.counts = Counter("hello")
        self.last = deque([torch.ones(4), torch.zeros(4)], maxlen=2)
        self.order = OrderedDict([("z", 1), ("a", (2, {3, 4}, frozenset({5})))])
        self.paths = SimpleNamespace(root=PurePosixPath("a/b"), part=Fraction(1, 3), rows=slice(0, 4, 2), of=range(3))
        self.table = np.linspace(0.0, 1.0, 4, dtype=np.float32)
        self.dtype, self.device = torch.float32, torch.device("cpu")
        self.shape = torch.Size([4])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.linear(x.to(self.device, self.dtype)) + torch.from_numpy(self.table)
        y = y + torch.stack(list(self.last)).sum(0) * float(self.paths.part)
        return y.view(-1, *self.shape)[self.paths.rows] * self.counts["l"]


class Child(nn.Module):
    """Knows its parent through a list, which torch does not look into."""

    def __init__(self, parent: Parent) -> None:
        super().__init__()
        self.parent = [parent]
        self.linear = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) * self.parent[0].scale


class Parent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.first = Child(self)
        self.children_by_name = {"first": self.first}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert self.children_by_name["first"] is self.first
        return self.first(x)


class Counting(nn.Module):
    """State of its own beside its tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.calls = 0
        self.trace: list[float] = []

    def get_extra_state(self) -> dict[str, Any]:
        return {"calls": self.calls, "trace": self.trace}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.calls, self.trace = state["calls"], state["trace"]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.trace.append(float(self.calls))
        return self.linear(x) * self.calls


class Buffers(nn.Module):
    """Buffers of every sort: views of one another and of a parameter, not persistent, None, of no dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4))
        self.register_buffer("steps", torch.tensor(0))
        self.register_buffer("table", torch.randn(3, 4), persistent=False)
        self.register_buffer("row", self.table[1], persistent=False)
        self.register_buffer("diagonal", self.weight.detach().diagonal())
        self.register_buffer("nothing", None)
        self.register_buffer("mask", torch.tensor([True, False, True, True]))
        self.register_buffer("turned", torch.randn(4, 4).t())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.steps += 1
            self.row += 1.0
        y = x @ self.weight * self.mask + self.table[1] + self.diagonal.detach() * self.steps
        return y @ self.turned


class Slotted(nn.Module):
    __slots__ = ("factor",)

    def __init__(self) -> None:
        super().__init__()
        self.factor = 3.0
        self.linear = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) * self.factor


T = TypeVar("T")


class Holder(nn.Module, Generic[T]):
    def __init__(self, held: T) -> None:
        super().__init__()
        self.held = held


class Nested(Holder[float]):
    """Generic, nested, with a property, a cached property and a class attribute."""

    bias = 0.5

    class Layer(nn.Linear):
        def extra_repr(self) -> str:
            return f"{super().extra_repr()}, of={self.of!r}"

    def __init__(self, held: float) -> None:
        super().__init__(held)
        self.layer = self.Layer(4, 4)
        self.layer.of = "Nested"
        assert self.scale == 2.0 * held

    @property
    def twice(self) -> float:
        return 2.0 * self.held

    @functools.cached_property
    def scale(self) -> float:
        return self.twice

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) * self.scale + self.bias


class Switched(nn.Module):
    """A function of torch, a partial of one, classes and dtypes kept as attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.act = F.gelu
        self.pool = functools.partial(torch.mean, dim=-1, keepdim=True)
        self.norm_class = nn.LayerNorm
        self.dtype = torch.float64
        self.linear = nn.Linear(4, 4)
        self.norm = self.norm_class(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert isinstance(self.norm, self.norm_class)
        return self.pool(self.act(self.norm(self.linear(x)))).to(self.dtype)


class Symmetric(nn.Module):
    """A parametrization of one's own."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.triu() + x.triu(1).mT

    def right_inverse(self, x: torch.Tensor) -> torch.Tensor:
        return x.triu()


class Scaled(nn.Module):
    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.tensor(by))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.by


def symmetric() -> nn.Module:
    """Two parametrizations of one weight, one on another."""
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    parametrize.register_parametrization(model[0], "weight", Symmetric())
    parametrize.register_parametrization(model[0], "weight", Scaled(0.5))
    return model


class LoRA(nn.Module):
    """Wraps a layer that is frozen."""

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.adapters = nn.ParameterDict(
            {"down": torch.randn(rank, base.in_features), "up": torch.randn(base.out_features, rank)}
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + x @ self.adapters["down"].mT @ self.adapters["up"].mT
