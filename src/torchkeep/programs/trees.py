"""What a call gives and gets, taken apart into tensors and put together again, without the classes it was made of.

`described` turns objects into data at a save; `taken` matches the objects of a later call with that data, and `given`
makes objects of what the computation returns. An object whose class may be gone is an `Output`: its parts by name.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from ..errors import CallError, brief
from .model import (
    Argument,
    Choice,
    Device,
    Dict,
    Dots,
    Dtype,
    Float,
    Layout,
    List,
    MemoryFormat,
    Object,
    Slice,
    Tuple,
    Value,
    rebuilt,
)

Leaf = Callable[[Any, str], Argument]
"""A tensor (or a size) and how it is reached -> what stands for it."""

_MAX_DEPTH = 64


class CannotDescribe(Exception):
    """Something in a call that is neither a tensor nor data; the text says what and where."""


class Output(OrderedDict[str, Any]):
    """What a model returned whose class is not there: its parts by name, as attributes, as keys and by position.

    Like the output classes of libraries: ``out.logits``, ``out["logits"]`` and ``out[0]`` are one, iterating gives
    the names, and parts that are None are left out of positions.
    """

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getitem__(name)
        except KeyError:
            raise AttributeError(f"this output has no {brief(name)}; it has {', '.join(self)}") from None

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(key) if isinstance(key, str) else self.to_tuple()[key]

    def __reduce__(self) -> Any:
        return Output, (list(self.items()),)

    def to_tuple(self) -> tuple[Any, ...]:
        """The parts that are not None, in order."""
        return tuple(value for value in self.values() if value is not None)


class OutputTuple(tuple[Any, ...]):
    """A tuple with names for its items, in the place of a namedtuple whose class is not there."""

    _fields: tuple[str, ...]

    def __new__(cls, fields: Sequence[str], values: Sequence[Any]) -> OutputTuple:
        made = super().__new__(cls, values)
        made._fields = tuple(fields)
        return made

    def __getattr__(self, name: str) -> Any:
        if name != "_fields" and name in self._fields:
            return self[self._fields.index(name)]
        raise AttributeError(f"this output has no {brief(name)}")

    def __reduce__(self) -> Any:
        return OutputTuple, (self._fields, tuple(self))

    def __repr__(self) -> str:
        return f"({', '.join(f'{name}={value!r}' for name, value in zip(self._fields, self, strict=True))})"


# --- objects to data --------------------------------------------------------------------------------


def described(obj: Any, leaf: Leaf, where: str = "", depth: int = 0) -> Argument:
    """An object as data; each tensor in it, and each size that varies, goes through `leaf`.

    Raises:
        CannotDescribe: it holds something that is neither.
    """
    if depth > _MAX_DEPTH:
        raise CannotDescribe(f"{where or 'it'} is nested too deeply, or holds itself")
    if isinstance(obj, torch.Tensor | torch.SymInt | torch.SymBool | torch.SymFloat):
        return leaf(obj, where)
    if is_scalar(obj):
        data: Argument = scalar_of(obj)
        return data
    kind = type(obj)
    if kind is dict or kind is OrderedDict:
        for key in obj:
            if type(key) not in _KEYS:
                raise CannotDescribe(f"{where} has the key {brief(key)}, and keys are text or whole numbers")
        values = tuple(described(value, leaf, f"{where}[{key!r}]", depth + 1) for key, value in obj.items())
        return Dict("dict" if kind is dict else "OrderedDict", tuple(obj), values)
    if kind is list or kind is tuple or kind is torch.Size:
        items = tuple(described(item, leaf, f"{where}[{i}]", depth + 1) for i, item in enumerate(obj))
        return List(items) if kind is list else Tuple(items)
    fields = _fields(obj)
    if fields is None:
        raise CannotDescribe(f"{where or 'it'} is {_a(obj)}, which is neither a tensor nor made of tensors")
    values = tuple(described(value, leaf, f"{where}.{name}", depth + 1) for name, value in fields.items())
    return Object(f"{kind.__module__}:{kind.__qualname__}", isinstance(obj, tuple), tuple(fields), values)


_KEYS = (str, int, bool, type(None))
_NONE = object()


def scalar_of(obj: Any) -> Any:
    """A scalar, dtype, device ... as data; for what is none, `is_scalar` says so."""
    kind = type(obj)
    if obj is None or kind in (bool, str):
        return obj
    if kind is int:
        return obj if -(2**63) <= obj < 2**63 else _NONE
    if kind is float:
        return Float(repr(obj))
    if kind is slice:
        ends = [scalar_of(end) for end in (obj.start, obj.stop, obj.step)]
        return _NONE if _NONE in ends else Slice(*ends)
    if kind is type(...):
        return Dots()
    if kind in _NAMED:
        return _NAMED[kind](str(obj).removeprefix("torch."))
    return _NONE


def is_scalar(obj: Any) -> bool:
    """Whether `scalar_of` has data for it."""
    return scalar_of(obj) is not _NONE


_NAMED: dict[type, Callable[[str], Argument]] = {
    torch.dtype: Dtype,
    torch.device: Device,
    torch.layout: Layout,
    torch.memory_format: MemoryFormat,
}


def _fields(obj: Any) -> dict[str, Any] | None:
    """Named parts: of a namedtuple, an output class, another mapping, a dataclass, or a plain object; None of no other.

    A library's mapping that is a dataclass, too, is what it says as a mapping.
    """
    if isinstance(obj, tuple):
        names = getattr(obj, "_fields", None)
        return dict(zip(names, obj, strict=True)) if names is not None else _sequence_fields(obj)
    if isinstance(obj, Mapping):
        return dict(obj) if all(type(key) is str for key in obj) else None
    if dataclasses.is_dataclass(obj) and not isinstance(obj, type):
        return {each.name: getattr(obj, each.name) for each in dataclasses.fields(obj)}
    if type(obj).__module__ == "builtins" or callable(obj) or not hasattr(obj, "__dict__"):
        return None
    return {name: value for name, value in vars(obj).items() if _is_data(value)}


def _sequence_fields(obj: tuple[Any, ...]) -> dict[str, Any] | None:
    """torch.return_types: tuples whose names stand in the class."""
    kind = type(obj)
    if not hasattr(kind, "n_sequence_fields"):
        return None
    names = [name for name in vars(kind) if type(vars(kind)[name]).__name__ == "member_descriptor"]
    return dict(zip(names, obj, strict=True)) if len(names) == len(obj) else None


def _is_data(value: Any) -> bool:
    """Whether a part of a plain object is kept: its functions and classes are not."""
    return not callable(value)


def replaced(obj: Any, tensors: Iterator[torch.Tensor]) -> Any:
    """The same objects with other tensors, in the order in which `described` meets them."""
    if isinstance(obj, torch.Tensor):
        return next(tensors)
    if is_scalar(obj):
        return obj
    kind = type(obj)
    if kind in (dict, OrderedDict):
        return kind((key, replaced(value, tensors)) for key, value in obj.items())
    if kind in (list, tuple, torch.Size):
        items = [replaced(item, tensors) for item in obj]
        return items if kind is list else tuple(items)
    fields = {name: replaced(value, tensors) for name, value in (_fields(obj) or {}).items()}
    if isinstance(obj, tuple):
        return kind._make(fields.values()) if hasattr(kind, "_make") else kind(tuple(fields.values()))
    made = copy.copy(obj)
    for name, value in fields.items():
        if isinstance(obj, Mapping):
            made[name] = value
        else:
            object.__setattr__(made, name, value)
    return made


# --- data to objects --------------------------------------------------------------------------------


def given(argument: Argument, values: Sequence[Any]) -> Any:
    """The objects that data describes; choices are made already."""
    if isinstance(argument, Value):
        return values[argument.number]
    if isinstance(argument, List):
        return [given(item, values) for item in argument.items]
    if isinstance(argument, Tuple):
        return tuple([given(item, values) for item in argument.items])
    if isinstance(argument, Dict):
        made = zip(argument.keys, [given(value, values) for value in argument.values], strict=True)
        return dict(made) if argument.kind == "dict" else OrderedDict(made)
    if isinstance(argument, Object):
        parts = [given(value, values) for value in argument.values]
        return (
            OutputTuple(argument.fields, parts)
            if argument.sequence
            else Output(zip(argument.fields, parts, strict=True))
        )
    return object_of(argument)


def object_of(argument: Argument) -> Any:
    """The scalar, dtype, slice ... that data describes.

    Raises:
        ValueError: it is none.
    """
    if isinstance(argument, Float):
        return float(argument.text)
    if isinstance(argument, Slice):
        return slice(*map(object_of, (argument.start, argument.stop, argument.step)))
    if isinstance(argument, Dots):
        return ...
    if isinstance(argument, Device):
        return torch.device(argument.name)
    for kind, (tag, known) in _KNOWN.items():
        if isinstance(argument, tag):
            found = vars(torch).get(argument.name) if argument.name in known else None
            if not isinstance(found, kind):
                raise ValueError(f"{argument.name!r} is no {kind.__name__} of torch")
            return found
    if argument is None or isinstance(argument, bool | int | str):
        return argument
    raise ValueError(f"{type(argument).__name__} is no scalar")


_KNOWN: dict[type, tuple[Any, frozenset[str]]] = {
    torch.dtype: (Dtype, frozenset(n for n, v in vars(torch).items() if isinstance(v, torch.dtype))),
    torch.layout: (Layout, frozenset({"strided"})),
    torch.memory_format: (
        MemoryFormat,
        frozenset({"contiguous_format", "preserve_format", "channels_last", "channels_last_3d"}),
    ),
}


# --- a call against data ----------------------------------------------------------------------------


def taken(argument: Argument, obj: Any, found: dict[int, torch.Tensor], where: str) -> None:
    """Match what a call gives with what the examples gave, and note each tensor under its value.

    Raises:
        CallError: they differ.
    """
    if isinstance(argument, Value):
        if not isinstance(obj, torch.Tensor):
            raise CallError(f"{where} is {_a(obj)}; the examples gave a tensor")
        found[argument.number] = obj
    elif isinstance(argument, List | Tuple):
        if not isinstance(obj, list | tuple) or len(obj) != len(argument.items):
            raise CallError(f"{where} is {_a(obj)}; the examples gave {len(argument.items)} items")
        for i, (item, part) in enumerate(zip(argument.items, obj, strict=True)):
            taken(item, part, found, f"{where}[{i}]")
    elif isinstance(argument, Dict):
        if not isinstance(obj, Mapping) or set(obj) != set(argument.keys):
            have = f"the keys {', '.join(map(brief, obj))}" if isinstance(obj, Mapping) else _a(obj)
            raise CallError(f"{where} has {have}; the examples gave {', '.join(map(brief, argument.keys))}")
        for key, value in zip(argument.keys, argument.values, strict=True):
            taken(value, obj[key], found, f"{where}[{key!r}]")
    elif isinstance(argument, Object):
        for name, value in zip(argument.fields, argument.values, strict=True):
            taken(value, _part(obj, name, where), found, f"{where}.{name}")
    elif not _same(object_of(argument), obj):
        wanted = brief(object_of(argument))
        raise CallError(
            f"{where} is {brief(obj)}, and the computation was captured for {wanted}, which is part of it. Give "
            f"{wanted}, or save the model again with an example that has the other"
        )


def _part(obj: Any, name: str, where: str) -> Any:
    if isinstance(obj, Mapping):
        if name in obj:
            return obj[name]
    elif not name.startswith("__") and hasattr(obj, name):
        return getattr(obj, name)
    raise CallError(f"{where} has no {brief(name)}, which the examples gave")


def _same(wanted: Any, obj: Any) -> bool:
    if type(wanted) is float or type(obj) is float:
        if not isinstance(obj, int | float) or not isinstance(wanted, int | float):
            return False
        return wanted == obj or (math.isnan(wanted) and math.isnan(obj))
    return type(wanted) is type(obj) and bool(wanted == obj)


def _a(obj: Any) -> str:
    return "None" if obj is None else f"a {type(obj).__name__}"


def chosen(argument: Argument, choose: Callable[[Choice], Argument]) -> Argument:
    """An argument after its choices were made."""
    while isinstance(argument, Choice):
        argument = choose(argument)
    return rebuilt(argument, lambda part: chosen(part, choose))
