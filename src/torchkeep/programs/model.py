"""A Program: what a module computes, as data.

Calls stand in order and each makes one value. Values are numbered: first the tensors of the module tree, then
constants, then the tensors that a caller gives, then one a call; so an argument can only refer backwards, and there are
no cycles.

One Program holds both modes. What eval and train do alike stands there once; an argument that depends on the mode
is a `Choice`, bound to the `training` flag of the modules that it follows, and a call that only one mode makes says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, TypeAlias

import msgspec

VERSION = 1

Mode: TypeAlias = Literal["eval", "train"]

GRAD, AUTOCAST, END = "torchkeep.grad", "torchkeep.autocast", "torchkeep.end"
"""Where a region begins in which gradients are on or off, or autocast is; and where the last one ends."""


class _Array(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A JSON array that begins with its tag."""


class Value(_Array, frozen=True, tag="v", gc=False):
    """The value of this number."""

    number: int


class Float(_Array, frozen=True, tag="f", gc=False):
    """A float as the text that reads back the same."""

    text: str


class Dtype(_Array, frozen=True, tag="dtype", gc=False):
    name: str


class OwnDtype(_Array, frozen=True, tag="own_dtype", gc=False):
    """The dtype of the module's floating-point parameters, whatever it is when the program runs."""


class OwnLimit(_Array, frozen=True, tag="own_limit", gc=False):
    """A number that belongs to that dtype, such as the smallest: what `torch.finfo` gives for it by this name."""

    name: Literal["min", "max", "eps", "tiny"]


class Device(_Array, frozen=True, tag="device", gc=False):
    name: str


class OwnDevice(_Array, frozen=True, tag="own_device", gc=False):
    """The device that the module is on when the program runs."""


class Layout(_Array, frozen=True, tag="layout", gc=False):
    name: str


class MemoryFormat(_Array, frozen=True, tag="memory_format", gc=False):
    name: str


class Dots(_Array, frozen=True, tag="...", gc=False):
    """Ellipsis."""


class Slice(_Array, frozen=True, tag="slice"):
    start: Argument
    stop: Argument
    step: Argument


class List(_Array, frozen=True, tag="list"):
    items: tuple[Argument, ...]


class Tuple(_Array, frozen=True, tag="tuple"):
    items: tuple[Argument, ...]


class Dict(_Array, frozen=True, tag="dict"):
    """A dict, or another mapping that `kind` names."""

    kind: Literal["dict", "OrderedDict"]
    keys: tuple[None | bool | int | str, ...]
    values: tuple[Argument, ...]


class Object(_Array, frozen=True, tag="object"):
    """Something with named parts: a namedtuple, a dataclass, an output class of a library.

    Attributes:
        name: its class, as ``"module:name"``.
        sequence: whether it is a tuple.
    """

    name: str
    sequence: bool
    fields: tuple[str, ...]
    values: tuple[Argument, ...]


class Choice(_Array, frozen=True, tag="?"):
    """What depends on the mode of modules.

    Attributes:
        modules: rows of `Program.modules`; where they are of different modes, there is no choice to take.
        eval: what stands here while they are in eval mode.
        train: the same in train mode.
    """

    modules: tuple[int, ...]
    eval: Argument
    train: Argument


Argument: TypeAlias = (
    None
    | bool
    | int
    | str
    | Value
    | Float
    | Dtype
    | OwnDtype
    | OwnLimit
    | Device
    | OwnDevice
    | Layout
    | MemoryFormat
    | Dots
    | Slice
    | List
    | Tuple
    | Dict
    | Object
    | Choice
)


class Call(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One operator called.

    Attributes:
        op: row of `Program.ops`.
        module: row of `Program.modules`: whose code made the call.
        args: by position.
        kwargs: by name.
        only: the mode in which the call is made, and of which module (a row); None where it always is.
    """

    op: int
    module: int
    args: tuple[Argument, ...]
    kwargs: dict[str, Argument] = {}
    only: tuple[Mode, int] | None = None


class StateRef(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """A tensor of the module tree: the module's path, and the name that it has there."""

    module: str
    name: str


class Dim(_Array, frozen=True, tag="dim", gc=False):
    """A size of an input: its number among the inputs, and the dimension."""

    input: int
    dim: int


class Formula(_Array, frozen=True, tag="of"):
    """Arithmetic on sizes, which a reader evaluates itself.

    Attributes:
        op: one of `FORMULAS`.
        args: what it is applied to.
    """

    op: str
    args: tuple[Extent, ...]


Extent: TypeAlias = int | Dim | Formula

FORMULAS = frozenset({"+", "*", "//", "%", "min", "max", "==", "!=", "<", "<=", ">", ">=", "and", "or", "not"})
"""Sums, products and the like of integers; a comparison is 1 or 0."""


class InputSpec(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What one input tensor has to be.

    Attributes:
        name: how it is written in the call, such as ``"input_ids"`` or ``"batch['image']"``.
        dtype: the example's, by torch's name.
        shapes: for each captured mode, the sizes: fixed, or what they are made of, or None for any.
    """

    name: str
    dtype: str
    shapes: dict[Mode, tuple[Extent | None, ...]]


class Parameter(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One parameter of `forward`.

    Attributes:
        name: its name.
        kind: how it is given: as Python's `inspect` names it.
        value: what the examples gave for it, inputs by their number, and what a call has to give again; for
            one that they left out, its default.
        given: whether the examples gave it; one that they did not may be left out of a call.
    """

    name: str
    kind: Literal["positional", "either", "keyword", "args", "kwargs"]
    value: Argument
    given: bool


class Program(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """See the module's docstring.

    Attributes:
        version: of this schema.
        modes: those that were captured.
        ops: name and schema of each operator, in the order of their first use.
        modules: paths of the modules whose code made the calls.
        state: tensors of the tree; values from 0.
        constants: how many constants there are; the values after them.
        inputs: what the tensors of a call are; the values after these.
        parameters: how a call is written.
        calls: the computation.
        output: what a call returns, in terms of values.
        guards: for each captured mode, what has to be true of the sizes, since the code asked for it.
        writes: rows of `state` that the computation changes in place: buffers.
        own_dtype: the dtype that the module had at capture, where it is known which constants follow it: these are
            `OwnDtype` and `OwnLimit`. None where it is not known, or where there is none.
    """

    version: int
    modes: tuple[Mode, ...]
    ops: tuple[tuple[str, str], ...]
    modules: tuple[str, ...]
    state: tuple[StateRef, ...]
    constants: int
    inputs: tuple[InputSpec, ...]
    parameters: tuple[Parameter, ...]
    calls: tuple[Call, ...]
    output: Argument
    guards: dict[Mode, tuple[Extent, ...]]
    writes: tuple[int, ...]
    own_dtype: str | None

    @property
    def first_input(self) -> int:
        """Number of the value that is the first input."""
        return len(self.state) + self.constants

    @property
    def first_call(self) -> int:
        """Number of the value that the first call makes."""
        return self.first_input + len(self.inputs)


def parts(argument: Argument) -> tuple[Argument, ...]:
    """What an argument is made of, one level down."""
    if isinstance(argument, List | Tuple):
        return argument.items
    if isinstance(argument, Dict | Object):
        return argument.values
    if isinstance(argument, Slice):
        return argument.start, argument.stop, argument.step
    if isinstance(argument, Choice):
        return argument.eval, argument.train
    return ()


def rebuilt(argument: Argument, change: Callable[[Argument], Argument]) -> Argument:
    """An argument with each of its parts, one level down, changed."""
    if isinstance(argument, List | Tuple):
        return type(argument)(tuple(map(change, argument.items)))
    if isinstance(argument, Dict):
        return Dict(argument.kind, argument.keys, tuple(map(change, argument.values)))
    if isinstance(argument, Object):
        return Object(argument.name, argument.sequence, argument.fields, tuple(map(change, argument.values)))
    if isinstance(argument, Slice):
        return Slice(*map(change, parts(argument)))
    if isinstance(argument, Choice):
        return Choice(argument.modules, *map(change, parts(argument)))
    return argument


def leaves(argument: Argument) -> Iterator[Argument]:
    """Every argument in `argument`, itself first, depth first."""
    stack = [argument]
    while stack:
        each = stack.pop()
        yield each
        stack.extend(reversed(parts(each)))
