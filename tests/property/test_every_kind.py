"""Generated graphs of everything that can be saved, and generated module trees: load(save(x)) is x.

What is compared is the graph as Python has it, walked by this file alone: type, value to the bit, order, flags, which
objects are the same ones, and which memory is the same memory. Nothing of torchkeep takes part in that.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import hashlib
import os
import pathlib
import random
import struct
import subprocess
import sys
import tempfile
import types
import uuid
import warnings
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn, optim
from torch.nn.utils import parametrizations, parametrize

import torchkeep

# --- classes of a program ---------------------------------------------------------------------------


class Color(enum.Enum):
    RED = "red"
    BLUE = (1, 2.5)
    CRIMSON = "red"  # an alias  # noqa: PIE796


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2**70


class Right(enum.Flag):
    READ = 1
    WRITE = 2
    RUN = 4
    ALL = 7


class Point(NamedTuple):
    x: Any
    y: Any = 0


Loose = namedtuple("Loose", ["first", "second", "third"])


@dataclasses.dataclass
class Config:
    a: Any
    b: Any = None


@dataclasses.dataclass(frozen=True)
class Frozen:
    a: Any
    b: Any = None


@dataclasses.dataclass(slots=True)
class Slim:
    a: Any
    b: Any = None


class Plain:
    pass


class Slotted:
    __slots__ = ("a", "b")


class Both(Slotted):
    __slots__ = ("__dict__", "c")


class Mapped:
    """Says itself what its state is."""

    def __getstate__(self) -> dict[str, Any]:
        return dict(sorted(vars(self).items()))


class Settings(dict):  # type: ignore[type-arg]
    def __setattr__(self, name: str, value: Any) -> None:
        raise TypeError("closed")

    __setitem__ = update = __setattr__  # type: ignore[assignment]


class Steps(list):  # type: ignore[type-arg]
    pass


class Shape(tuple):  # type: ignore[type-arg]
    pass


class Name(str):
    __slots__ = ("a",)


class Whole(int):
    pass


class Window(deque):  # type: ignore[type-arg]
    pass


class Net(nn.Module):
    class Inner(nn.Module):
        pass


class Slots(nn.Module):
    __slots__ = ("a",)


class Scaled(nn.Module):
    """A parametrization of the program's own."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight * self.scale


def function(x: Any) -> Any:
    return x


CLASSES = [Color, Level, Right, Point, Loose, Config, Frozen, Slim, Plain, Slotted, Both, Mapped, Net, Net.Inner, Slots,
           Scaled, function, Settings, Steps, Shape, Name, Whole, Window]  # fmt: skip

# --- making objects ---------------------------------------------------------------------------------

TEXTS = ["", "a", "weight", "a.b", "0", "\0", "\x1b[31m", "\u202e", "\ud800", "a\udfff", "é", "e\u0301", "𝄞", '"\\/\n',
         "__metadata__", "__torchkeep__/a", "class", "_x"]  # fmt: skip
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool,
          torch.complex64, torch.complex128, torch.uint16, torch.float8_e5m2]  # fmt: skip
NUMPY = ["<f4", "<f8", "<i8", "|u1", "|b1", "<c16", ">i4", ">f8", "<U3", "|S2", "<M8[s]", "<m8[ns]", "<f2"]
UTC = datetime.timezone.utc


class Maker:
    """Makes values with the choices of a `random.Random`, which hypothesis may be behind."""

    def __init__(self, choices: random.Random) -> None:
        self.r = choices
        self.made: list[Any] = []
        self.holders: list[Any] = []
        self.memories: list[torch.Tensor] = []

    def number(self, most: int) -> int:
        return self.r.randint(0, most)

    def text(self) -> str:
        return self.r.choice(TEXTS) + self.r.choice(["", "", self.r.choice(TEXTS)])

    def name(self) -> str:
        """An attribute's name: not a dunder, and none that the classes here have a method of."""
        return self.r.choice(["a", "b", "c", "é", "x\0", "x\u202e", "x y", "x.y", "_x", "\ud800x", "0", "x\n"])

    def scalar(self) -> Any:
        r = self.r
        return r.choice([
            lambda: None, lambda: bool(r.randint(0, 1)), lambda: r.randint(-3, 3), lambda: r.randint(-(2**80), 2**80),
            self.double, lambda: complex(self.double(), self.double()), self.text, lambda: r.randbytes(r.randint(0, 3)),
        ])()  # fmt: skip

    def double(self) -> float:
        odd = [0.0, -0.0, float("inf"), float("nan"), 5e-324, 0.1, 1e16, 1e-5, -1.5]
        return self.r.choice([*odd, struct.unpack("<d", self.r.randbytes(8))[0]])

    def key(self, depth: int = 2) -> Any:
        """What cannot change and does not hold what can."""
        kinds = [self.scalar, self.scalar, self.atom]
        if depth:
            kinds += [lambda: tuple(self.key(depth - 1) for _ in range(self.number(2))),
                      lambda: frozenset(self.key(depth - 1) for _ in range(self.number(2))),
                      lambda: Point(self.key(depth - 1), self.key(depth - 1))]  # fmt: skip
        return self.r.choice(kinds)()

    def atom(self) -> Any:
        """Small values of the standard library, torch and numpy."""
        r = self.r
        zone = r.choice([None, UTC, datetime.timezone(datetime.timedelta(minutes=r.randint(-99, 99)), self.text())])
        clock = (r.randint(0, 23), r.randint(0, 59), r.randint(0, 59), r.randint(0, 999_999), zone)
        day = (r.randint(1, 9999), r.randint(1, 12), r.randint(1, 28))
        return r.choice([
            lambda: range(r.randint(-9, 9), r.randint(-9, 2**70), r.choice([1, -2, 5])),
            lambda: r.choice([pathlib.PurePosixPath, pathlib.PureWindowsPath, Path])(r.choice(["", "/a/b", "é", "c:"])),
            lambda: datetime.date(*day),
            lambda: datetime.time(*clock, fold=r.randint(0, 1)),
            lambda: datetime.datetime(*day, *clock, fold=r.randint(0, 1)),
            lambda: datetime.timedelta(r.randint(-999, 999), r.randint(0, 9), r.randint(-9, 9)),
            lambda: zone,
            lambda: uuid.UUID(int=r.getrandbits(128), is_safe=r.choice(list(uuid.SafeUUID))),
            lambda: decimal.Decimal(r.choice(["0", "-0", "1.50", "1E+5", "NaN", "-Infinity", "0E-9", str(r.random())])),
            lambda: fractions.Fraction(r.randint(-99, 2**70), r.randint(1, 99)),
            lambda: r.choice([*Color, *Level, *Right, Right.READ | Right.RUN, Right(0)]),
            lambda: r.choice([torch.float32, torch.int4, torch.device("cuda:1"), torch.channels_last, torch.sparse_csr,
                              torch.Size([2, 3]), torch.Size([]), np.dtype(">f8"), np.dtype("<U4")]),
            lambda: np.frombuffer(bytes([r.randint(0, 1)] * 16), r.choice(["<f4", "<i8", "|b1", "<c16", "<M8[D]"]))[0],
            lambda: r.choice([np.str_, str])(self.text()),
            lambda: np.bytes_(r.randbytes(2)),
        ])()  # fmt: skip

    def node(self) -> torch.Tensor:
        """A tensor that is more than strided memory: sparse, quantized, nested, or without values."""
        r = self.r
        dense = torch.tensor([[r.randint(0, 1) * 1.5 for _ in range(4)] for _ in range(4)])
        index, values = torch.tensor([[0, 2, 2]]), torch.tensor([1.0, 2.0, float(r.randint(0, 3))])
        scale, zero = torch.tensor([0.5, 0.25, 1, 2], dtype=torch.float64), torch.tensor([0, 1, r.randint(0, 9), 3])
        made: torch.Tensor = r.choice([
            dense.to_sparse_coo, dense.to_sparse_csr, dense.to_sparse_csc, lambda: dense.to_sparse_bsr((2, 2)),
            lambda: dense.to_sparse_bsc((2, 4)), lambda: torch.sparse_coo_tensor(index, values, (3,)),
            lambda: torch.quantize_per_tensor(dense, 0.5, r.randint(0, 9), r.choice([torch.qint8, torch.quint8])),
            lambda: torch.quantize_per_channel(dense, scale, zero, r.randint(0, 1), torch.qint8),
            lambda: torch.nested.nested_tensor([dense[:, : r.randint(1, 3)], dense[:2]]),
            lambda: torch.empty_strided((2, 3), (1, 2), dtype=r.choice(DTYPES), device="meta"),
        ])()  # fmt: skip
        if r.randint(0, 3) == 0 and not made.is_quantized:
            made = nn.Parameter(made, requires_grad=made.dtype.is_floating_point and bool(r.randint(0, 1)))
        if r.randint(0, 5) == 0:
            vars(made)["note"] = self.value(1)
        return made

    def tensor(self) -> torch.Tensor:
        """On memory of its own, or a view of what others see: another slice, a transposition, the whole."""
        r = self.r
        if self.memories and r.randint(0, 1):
            base = r.choice(self.memories).detach()
            views = [lambda: base, lambda: base[r.randint(0, 2) :], lambda: base[::2], lambda: base.expand(2, 6)]
            if base.dtype == torch.complex64:
                views += [base.conj, lambda: base.real]
            made = r.choice(views)()
        else:
            dtype = r.choice(DTYPES)
            ones = torch.tensor([r.randint(0, 1) for _ in range(6 * dtype.itemsize)], dtype=torch.uint8)
            made = ones.view(dtype)
            self.memories.append(made)
            if r.randint(0, 2) == 0:
                made = made.view(2, 3).t()
        floating = made.dtype.is_floating_point or made.dtype.is_complex
        if r.randint(0, 1):
            made = nn.Parameter(made, requires_grad=floating and bool(r.randint(0, 1)))
        if r.randint(0, 9) == 0:
            vars(made)["note"] = self.value(1)
            self.holders.append(made)
        return made

    def array(self) -> np.ndarray[Any, Any]:
        r = self.r
        numbers = [memory for memory in self.memories if memory.dtype in (torch.float32, torch.int64, torch.float16)]
        if numbers and r.randint(0, 1):
            made = r.choice(numbers).detach().numpy()[r.randint(0, 1) :]
        else:
            dtype = np.dtype(r.choice(NUMPY))
            made = np.frombuffer(bytearray(r.randint(0, 1) for _ in range(6 * dtype.itemsize)), dtype).copy()
            if dtype.kind in "US":
                texts = [r.choice(["", "a", "é\0x"[: r.randint(1, 3)]]) for _ in range(6)]
                made = np.array(texts if dtype.kind == "U" else [text.encode()[:2] for text in texts]).astype(dtype)
            made = r.choice(
                [
                    made,
                    made.reshape(2, 3),
                    made.reshape(2, 3).T,
                    made[:0],
                    made.reshape(6, 1)[::2],
                    made[1:2].reshape(()),
                ]
            )
        if r.randint(0, 3) == 0:
            made.flags.writeable = False
        return made

    def value(self, depth: int) -> Any:
        r = self.r
        if self.made and r.randint(0, 4) == 0:
            return r.choice(self.made)
        kinds: list[Callable[[int], Any]] = [lambda _: self.key(1), lambda _: self.tensor(), lambda _: self.array(),
                                                  lambda _: self.node()]  # fmt: skip
        if depth:
            kinds += [self.container, self.container, self.container, self.object, self.callable]
        made = r.choice(kinds)(depth - 1)
        self.made.append(made)
        return made

    def values(self, depth: int) -> list[Any]:
        return [self.value(depth) for _ in range(self.number(3))]

    def items(self, depth: int) -> dict[Any, Any]:
        keys = [self.r.choice([self.key, self.text, self.tensor])() for _ in range(self.number(3))]
        return {key: self.value(depth) for key in keys}

    def named(self, depth: int) -> dict[str, Any]:
        return {self.name(): self.value(depth) for _ in range(self.number(2))}

    def container(self, depth: int) -> Any:
        r = self.r
        made: Any = r.choice([
            lambda: self.values(depth), lambda: self.items(depth), lambda: OrderedDict(self.items(depth)),
            lambda: tuple(self.values(depth)), lambda: {self.key() for _ in range(self.number(3))},
            lambda: frozenset(self.key() for _ in range(self.number(3))),
            lambda: defaultdict(r.choice([None, list, int, dict]), self.items(depth)),
            lambda: Counter({self.key(): self.scalar() for _ in range(self.number(2))}),
            lambda: deque(self.values(depth), r.choice([None, 2, 9])),
            lambda: argparse.Namespace(**self.named(depth)), lambda: types.SimpleNamespace(**self.named(depth)),
            lambda: slice(self.value(depth), self.scalar(), None), lambda: Point(self.value(depth), self.value(depth)),
            lambda: Loose(*(self.value(depth) for _ in range(3))), lambda: self.derived(depth),
        ])()  # fmt: skip
        if isinstance(made, OrderedDict | Counter) and r.randint(0, 3) == 0:
            vars(made)["_metadata"] = self.value(depth)
        if isinstance(made, list | dict | deque | argparse.Namespace | types.SimpleNamespace):
            self.holders.append(made)
        return made

    def derived(self, depth: int) -> Any:
        """Of a class that derives from a builtin, filled past what it overrides."""
        r = self.r
        made: Any = r.choice([
            lambda: Settings(self.items(depth)), lambda: Steps(self.values(depth)), lambda: Shape(self.values(depth)),
            lambda: Name(self.text()), lambda: Whole(r.randint(-(2**80), 2**80)),
            lambda: Window(self.values(depth), r.choice([None, 2])),
        ])()  # fmt: skip
        if isinstance(made, Name) and r.randint(0, 1):
            made.a = self.value(depth)
        elif hasattr(made, "__dict__"):
            vars(made).update(self.named(depth))
        return made

    def object(self, depth: int) -> Any:
        cls = self.r.choice([Config, Frozen, Slim, Plain, Slotted, Both, Mapped])
        made = cls(self.value(depth), self.value(depth)) if dataclasses.is_dataclass(cls) else cls()
        if cls in (Plain, Mapped, Both):
            vars(made).update({name: value for name, value in self.named(depth).items() if name not in ("a", "b", "c")})
            self.holders.append(made)
        if cls in (Slotted, Both) and self.r.randint(0, 1):
            made.a = self.value(depth)
        return made

    def callable(self, depth: int) -> Any:
        return self.r.choice([
            lambda: functools.partial(function, *self.values(depth), **self.named(depth)),
            lambda: self.r.choice([function, nn.functional.relu, nn.Linear, Net, float, np.float32]),
            lambda: torch.Generator().manual_seed(self.number(9)),
            lambda: self.module(depth), self.training,
        ])()  # fmt: skip

    # --- modules ---

    def module(self, depth: int) -> nn.Module:
        r = self.r
        shapes: list[Callable[[], nn.Module]] = [
            lambda: nn.Linear(2, 3, bias=bool(r.randint(0, 1))), lambda: nn.BatchNorm1d(2), lambda: nn.Dropout(0.25),
            lambda: nn.Conv2d(1, 2, 1).to(memory_format=torch.channels_last), lambda: nn.LSTM(1, 2),
            lambda: nn.MultiheadAttention(2, 1), lambda: nn.Embedding(3, 2, padding_idx=1), self.parametrized,
            lambda: nn.ParameterList([nn.Parameter(torch.ones(2)), self.parameter()]),
            lambda: nn.ParameterDict({"k": self.parameter(), "é": nn.Parameter(torch.zeros(1), requires_grad=False)}),
        ]  # fmt: skip
        if depth:
            shapes += [self.tree_of(depth - 1, cls) for cls in (Net, Net.Inner, Slots)] * 2
            shapes += [lambda: nn.Sequential(*self.modules(depth - 1)), lambda: nn.ModuleList(self.modules(depth - 1)),
                       lambda: nn.Sequential(*self.modules(depth - 1), nn.ReLU(), nn.Tanh())[1:],
                       lambda: nn.ModuleDict({f"é{i}": m for i, m in enumerate(self.modules(depth - 1))})]  # fmt: skip
        made = r.choice(shapes)()
        if r.randint(0, 2) == 0:
            made.train(bool(r.randint(0, 1)))
        return made

    def modules(self, depth: int) -> list[nn.Module]:
        made = [self.module(depth) for _ in range(self.number(2))]
        return made + made[: self.number(1)]  # one that is there twice

    def parameter(self) -> nn.Parameter:
        tensors = [each for each in self.memories if each.dtype.is_floating_point]
        return nn.Parameter(self.r.choice([*tensors, torch.ones(2)]), requires_grad=bool(self.r.randint(0, 1)))

    def parametrized(self) -> nn.Module:
        layer = nn.Linear(2, 2)
        self.r.choice([
            lambda: parametrizations.weight_norm(layer), lambda: parametrizations.orthogonal(layer),
            lambda: parametrizations.spectral_norm(layer),
            lambda: parametrize.register_parametrization(layer, "bias", Scaled()),
        ])()  # fmt: skip
        return layer

    def tree_of(self, depth: int, cls: type[nn.Module]) -> Callable[[], nn.Module]:
        """A module of a class of the program, with anything registered on it."""

        def make() -> nn.Module:
            r, made = self.r, cls()
            for i, child in enumerate(self.modules(depth)):
                made.add_module(r.choice([f"m{i}", f"m{i}\u202e", f"{i}"]), child)
            for i in range(self.number(2)):
                made.register_parameter(f"p{i}", r.choice([self.parameter(), None]))
            for i in range(self.number(2)):
                buffer = r.choice([self.tensor().detach(), torch.ones(2), None])
                made.register_buffer(r.choice([f"b{i}", f"b{i}\0"]), buffer, persistent=bool(r.randint(0, 1)))
            homes = [own for own in made.modules() if not isinstance(own, Scaled)]
            tied = [(own, name) for own in homes for name, p in own._parameters.items() if p is not None]
            if len(tied) > 1 and r.randint(0, 1):
                (one, name), (other, its) = r.choice(tied), r.choice(tied)
                if not parametrize.is_parametrized(one) and not isinstance(one, parametrize.ParametrizationList):
                    one._parameters[name] = other._parameters[its]
            if cls is Slots:
                made.a = self.value(depth)
            for name, value in self.named(depth).items():
                if name not in ("a", "b", "c", "0") and not isinstance(value, nn.Module | nn.Parameter):
                    vars(made)[name] = value
            return made

        return make

    def training(self) -> dict[str, Any]:
        """A model in training, with what steers it."""
        r, model = self.r, nn.Linear(2, 1)
        optimizer = r.choice([
            lambda: optim.SGD(model.parameters(), 0.1, momentum=0.9), lambda: optim.AdamW(model.parameters(), 0.1),
            lambda: optim.RMSprop([{"params": [model.weight], "lr": 0.5}, {"params": [model.bias]}], 0.1),
        ])()  # fmt: skip
        scheduler = r.choice([
            lambda: optim.lr_scheduler.StepLR(optimizer, 2), lambda: optim.lr_scheduler.OneCycleLR(optimizer, 0.1, 9),
            lambda: optim.lr_scheduler.ReduceLROnPlateau(optimizer),
            lambda: optim.lr_scheduler.CosineAnnealingLR(optimizer, 9),
        ])()  # fmt: skip
        for _ in range(self.number(2)):
            model(torch.ones(1, 2)).sum().backward()
            optimizer.step()
            scheduler.step(*[1.0] * isinstance(scheduler, optim.lr_scheduler.ReduceLROnPlateau))
            optimizer.zero_grad()
        return {"model": model, "optimizer": optimizer, "scheduler": scheduler}

    def tie(self) -> None:
        """Refer back from what was made early to what was made late: sharing and cycles.

        (None into a dict that a slice holds directly: through a slice, such a cycle is refused.)
        """
        sliced = {id(each.start) for each in self.made if type(each) is slice}
        self.holders = [each for each in self.holders if id(each) not in sliced]
        for _ in range(self.number(2)):
            if self.holders and self.made:
                holder, held = self.r.choice(self.holders), self.r.choice(self.made)
                if isinstance(holder, list | deque):
                    holder.append(held)
                elif isinstance(holder, Settings):
                    dict.__setitem__(holder, self.text(), held)
                elif isinstance(holder, dict):
                    holder[self.text()] = held
                else:
                    vars(holder)["knot"] = held


def made_by(choices: random.Random, kind: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        maker = Maker(choices)
        root = maker.module(3) if kind == "module" else maker.value(3)
        maker.tie()
    return root


# --- comparing them ---------------------------------------------------------------------------------

INTERNAL = frozenset(vars(nn.Module()))


def atom(x: Any) -> Any:
    """A value in a form in which equal means the same; None for what has parts or is told by identity."""
    cls = type(x)
    if isinstance(x, enum.Enum | type | types.FunctionType | types.BuiltinFunctionType):
        return id(x)
    if isinstance(x, np.generic):
        return cls, x.dtype.str, x.encode("utf-8", "surrogatepass") if isinstance(x, str) else x.tobytes()
    if cls in (bool, int, str, bytes, torch.dtype, torch.device, torch.memory_format, torch.layout) or x is None:
        return cls, x
    if cls is float:
        return cls, struct.pack("<d", x)
    if cls is complex:
        return cls, struct.pack("<dd", x.real, x.imag)
    if cls in (tuple, frozenset, torch.Size, Point):
        parts = [atom(each) for each in x]
        return cls, None in parts, frozenset(Counter(parts).items()) if cls is frozenset else tuple(parts)
    if isinstance(x, np.dtype):
        return "dtype", x.str
    if cls is range:
        return cls, x.start, x.stop, x.step
    if isinstance(x, pathlib.PurePath):
        return cls, str(x)
    if cls is datetime.date:
        return cls, x.toordinal()
    if cls in (datetime.time, datetime.datetime):
        return cls, x.replace(tzinfo=None), x.fold, atom(x.tzinfo)
    if cls is datetime.timezone:
        return cls, x.utcoffset(None), x.tzname(None)
    if cls is datetime.timedelta:
        return cls, x.days, x.seconds, x.microseconds
    if cls is uuid.UUID:
        return cls, x.int, x.is_safe
    if cls is decimal.Decimal:
        return cls, x.as_tuple()
    if cls is fractions.Fraction:
        return cls, x.numerator, x.denominator
    if cls is torch.Generator:
        return cls, str(x.device), bytes(x.get_state().tolist())
    return None


def inside(x: torch.Tensor) -> list[Any] | None:
    """What a tensor consists of that is more than strided memory; None for any other."""
    bare = x.detach()
    if x.is_nested:
        return ["nested", x.layout, *(each.clone() for each in bare.unbind())]
    if x.is_quantized:
        if x.qscheme() == torch.per_tensor_affine:
            return [x.dtype, bare.int_repr(), x.q_scale(), x.q_zero_point()]
        how = x.q_per_channel_scales(), x.q_per_channel_zero_points(), x.q_per_channel_axis()
        return [x.dtype, bare.int_repr(), *how]
    if x.layout == torch.sparse_coo:
        return [x.layout, x.is_coalesced(), x.shape, bare._indices(), bare._values()]
    if x.layout in (torch.sparse_csr, torch.sparse_bsr):
        return [x.layout, x.shape, bare.crow_indices(), bare.col_indices(), bare.values()]
    if x.layout in (torch.sparse_csc, torch.sparse_bsc):
        return [x.layout, x.shape, bare.ccol_indices(), bare.row_indices(), bare.values()]
    return ["meta", x.dtype, x.shape, x.stride()] if x.is_meta else None


def same_tensor(a: torch.Tensor, b: torch.Tensor) -> None:
    for each in ("dtype", "shape", "requires_grad", "layout"):
        assert getattr(a, each) == getattr(b, each), each
    assert (a.is_conj(), a.is_neg(), b.is_leaf) == (b.is_conj(), b.is_neg(), True)
    if 0 not in a.stride():  # one that was expanded comes back so, or with its elements told apart by nobody
        dense = a.numel() == a.untyped_storage().nbytes() // a.itemsize
        assert not dense or a.stride() == b.stride()
    one, other = (x.detach().resolve_conj().resolve_neg().contiguous().flatten().view(torch.uint8) for x in (a, b))
    assert bytes(one.tolist()) == bytes(other.tolist())


def same_array(a: Any, b: Any) -> None:
    assert (a.dtype.str, a.shape, a.flags.writeable) == (b.dtype.str, b.shape, b.flags.writeable)
    assert a.tobytes() == b.tobytes()


def class_of(x: Any) -> Any:
    """The class of an object; of one that torch made up for a parametrized module, what it stands for."""
    if isinstance(x, nn.Module) and parametrize.is_parametrized(x):
        return "parametrized", type(x).__bases__, sorted(name for name in vars(type(x)) if not name.startswith("_"))
    return type(x)


def parts_of(x: Any) -> list[Any]:
    """What an object holds, in order; names and sizes stand between."""
    cls = type(x)
    if isinstance(x, torch.Tensor):
        return [x.requires_grad, dict(vars(x)), *(inside(x) or ())]
    if cls in (Name, Whole):
        base = cls.__mro__[1]
        return [base(x), getattr(x, "a", None), dict(vars(x)) if cls is Whole else None]
    if isinstance(x, nn.Module):
        rest = [(name, value) for name, value in vars(x).items() if name not in INTERNAL]
        if cls.__module__.startswith("torch."):  # in torch's own order; weak references are made anew
            rest = sorted((name, value) for name, value in rest if name != "_flat_weight_refs")
        own = [dict(x._parameters), dict(x._buffers), dict(x._modules), sorted(x._non_persistent_buffers_set)]
        return [x.training, *own, dict(rest), getattr(x, "a", None) if cls is Slots else None]
    if isinstance(x, optim.Optimizer):
        return [x.defaults, x.param_groups, dict(x.state)]
    if isinstance(x, defaultdict):
        return [x.default_factory, dict(x)]
    if isinstance(x, OrderedDict | Counter):
        return [dict(x), dict(vars(x))]
    if isinstance(x, dict):
        return [len(x), *x.keys(), *x.values(), vars(x) if cls is Settings else None]
    if isinstance(x, deque):
        return [x.maxlen, *x, vars(x) if cls is Window else None]
    if cls is slice:
        return [x.start, x.stop, x.step]
    if cls is functools.partial:
        return [x.func, x.keywords, *x.args]
    if isinstance(x, list | tuple):
        return [len(x), *x, vars(x) if cls in (Steps, Shape) else None]
    slots = [
        getattr(x, name) if hasattr(x, name) else Ellipsis for name in ("a", "b", "c") if hasattr(cls, "__slots__")
    ]
    return [dict(sorted(vars(x).items())) if hasattr(x, "__dict__") else None, *slots]


def bounds(x: Any) -> tuple[int, int]:
    """First and last byte of what a tensor or an array sees."""
    start, itemsize = (x.ctypes.data, 1) if isinstance(x, np.ndarray) else (x.data_ptr(), x.element_size())
    strides = x.strides if isinstance(x, np.ndarray) else x.stride()
    ends = sum((size - 1) * stride * itemsize for size, stride in zip(x.shape, strides, strict=True))
    return start, start + ends + (x.itemsize if isinstance(x, np.ndarray) else itemsize)


def same(ours: Any, theirs: Any) -> None:
    """Both are one graph: an isomorphism of their objects, and of the memory that they see."""
    there: dict[int, int] = {}
    back: dict[int, int] = {}
    memory: list[tuple[Any, Any]] = []
    alive: list[Any] = []
    todo = [(ours, theirs)]
    while todo:
        a, b = todo.pop()
        assert class_of(a) == class_of(b)
        if isinstance(a, set):
            assert {atom(x) for x in a} == {atom(x) for x in b}
        elif (token := atom(a)) is not None and type(a) not in (tuple, Point):
            assert token == atom(b)
            continue
        if isinstance(a, tuple) and not a:
            continue
        seen = id(a) in there
        assert there.setdefault(id(a), id(b)) == id(b), "not shared as it was"
        assert back.setdefault(id(b), id(a)) == id(a), "shared as it was not"
        alive.append((a, b))
        if seen or isinstance(a, set):
            continue
        if isinstance(a, torch.Tensor | np.ndarray) and not (isinstance(a, torch.Tensor) and inside(a)):
            memory.append((a, b))
            (same_tensor if isinstance(a, torch.Tensor) else same_array)(a, b)
            if isinstance(a, np.ndarray):
                continue
        one, other = parts_of(a), parts_of(b)
        assert len(one) == len(other)
        alive.append((one, other))
        todo += reversed(list(zip(one, other, strict=True)))
    seen_memory = [(bounds(a), bounds(b)) for a, b in memory if 0 not in a.shape]
    for i, (a, b) in enumerate(seen_memory):
        for other_a, other_b in seen_memory[:i]:
            overlap = a[0] < other_a[1] and other_a[0] < a[1]
            assert overlap == (b[0] < other_b[1] and other_b[0] < b[1]), "memory is not shared as it was"
            assert not overlap or other_a[0] - a[0] == other_b[0] - b[0]


# --- properties -------------------------------------------------------------------------------------

patient = settings(suppress_health_check=list(HealthCheck))


def saved(obj: Any, path: Path) -> bytes:
    torchkeep.save(obj, path, durable=False)
    return path.read_bytes()


def round_trip(obj: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path, again = Path(folder) / "x.safetensors", Path(folder) / "y.safetensors"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", torchkeep.TorchkeepWarning)
            content = saved(obj, path)
            assert content == saved(obj, again), "saved twice, two files"
            told = torchkeep.inspect(path)
            assert told.text().replace("\n", "").isprintable()
            loaded = torchkeep.load(path, classes=CLASSES, mode="saved")
            same(obj, loaded)
            if not told.findings:
                assert content == saved(loaded, again), "what was loaded gives another file"
            same(obj, torchkeep.load(again, classes=CLASSES, mode="saved"))
    return loaded


@patient
@given(st.randoms(use_true_random=False))
def test_any_object(choices: random.Random) -> None:
    round_trip(made_by(choices, "object"))


@patient
@given(st.randoms(use_true_random=False))
def test_any_module(choices: random.Random) -> None:
    model = made_by(choices, "module")
    loaded = round_trip(model)
    assert repr(model) == repr(loaded)
    assert list(model.state_dict()) == list(loaded.state_dict())
    assert [name for name, _ in model.named_modules(remove_duplicate=False)] == [
        name for name, _ in loaded.named_modules(remove_duplicate=False)
    ]
    assert [name for name, _ in model.named_parameters()] == [name for name, _ in loaded.named_parameters()]


def digests(seeds: range) -> Iterator[str]:
    """What is written of objects made from these seeds; a process of another hash seed runs this file for it."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in seeds:
            torch.manual_seed(seed)
            obj = made_by(random.Random(seed), "module" if seed % 3 == 0 else "object")
            yield hashlib.sha256(saved(obj, Path(folder) / "x.safetensors")).hexdigest()


HASHED = """
import runpy, sys, types
sys.modules["every_kind"] = module = types.ModuleType("every_kind")
vars(module).update(runpy.run_path(sys.argv[1], run_name="every_kind"))
print("\\n".join(module.digests(range(int(sys.argv[2])))))
"""


def test_the_bytes_do_not_hang_on_the_process() -> None:
    told = []
    for seed in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", HASHED, __file__, "40"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        told.append(done.stdout.split())
    assert len(told[0]) == 40
    assert len(set(told[0])) > 25
    assert told[0] == told[1]


@pytest.mark.parametrize("change", ["value", "type", "sharing", "order", "flag", "memory"])
def test_the_comparison_sees_a_difference(change: str) -> None:
    inner, tensor = [1], torch.ones(2)
    pairs: dict[str, tuple[Any, Any]] = {
        "value": ([0.0], [-0.0]),
        "type": ([True], [1]),
        "sharing": ([inner, inner], [[1], [1]]),
        "order": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        "flag": (nn.Linear(1, 1).eval(), nn.Linear(1, 1)),
        "memory": ([tensor, tensor[1:]], [torch.ones(2), torch.ones(1)]),
    }
    with pytest.raises(AssertionError):
        same(*pairs[change])
    with pytest.raises(AssertionError):
        same(*reversed(pairs[change]))
