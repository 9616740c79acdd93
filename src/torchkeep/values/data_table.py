"""The closed table of Python's and numpy's own data types that a file may name as classes.

A model holds such a class as a value: the `dtype=float` of a config, the factory of a defaultdict. Making an
instance of one has no effect but the instance.
"""

from __future__ import annotations

import functools
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

_BUILTINS = (
    "bool", "int", "float", "complex", "str", "bytes", "bytearray", "list", "tuple", "dict", "set", "frozenset",
    "range", "slice", "object", "NoneType",
)  # fmt: skip
_NUMPY = (
    "bool", "bool_", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32",
    "float64", "complex64", "complex128", "str_", "bytes_", "datetime64", "timedelta64",
)  # fmt: skip

_TYPES = {"builtins": _BUILTINS, "collections": ("OrderedDict", "defaultdict", "Counter", "deque"), "numpy": _NUMPY}


def lookup(name: str) -> type | None:
    """The type that the table lists as ``"module:name"``; None for any other name, or where there is no numpy."""
    module_name, _, last = name.partition(":")
    if last not in _TYPES.get(module_name, ()) or module_name not in sys.modules:
        return None
    found = type(None) if last == "NoneType" else vars(sys.modules[module_name]).get(last)
    return found if isinstance(found, type) else None


def name_of(cls: object) -> str | None:
    """The table's name of a type, by identity."""
    if not isinstance(cls, type) or cls.__module__ not in _TYPES:
        return None
    name = f"{cls.__module__}:{cls.__qualname__}"
    return name if lookup(name) is cls else None


_KEYWORDS = frozenset({dict, OrderedDict, Counter, defaultdict})
"""Types that keep whatever they are given by name."""

_COPIES = frozenset({list, tuple, deque})
"""Types that copy a list or a tuple."""

_NUMBERS = frozenset({bool, int, float, complex})
_TEXT = 4300
"""Most characters of a text that becomes a number: what Python itself takes."""


def is_small_call(cls: Any, args: Iterable[Any], keywords: Mapping[str, Any]) -> bool:
    """Whether a type of the table, called with these, makes no more than they are; ``bytes(10**10)`` would.

    Every type is called with types and functions; a dict also by keywords, a list, a tuple and a deque also with a
    list or a tuple, a number and a text also with numbers and short texts.
    """
    args, values = [arg for arg in args if not isinstance(arg, _CODE)], keywords.values()
    if cls in _KEYWORDS:
        return all(arg is None for arg in args)
    if cls in _COPIES:
        sequences = all(type(arg) in (list, tuple) or _is_number(arg) for arg in args)
        return sequences and all(map(_is_number, values))
    if cls in _NUMBERS or cls is str or _is_number_of_numpy(cls):
        short = all(_is_number(arg) or (type(arg) is str and len(arg) <= _TEXT) for arg in args)
        return short and all(map(_is_number, values))
    return not args and all(isinstance(value, _CODE) for value in values)


_CODE = (type, FunctionType, BuiltinFunctionType, MethodType, functools.partial)
"""What is a function and nothing else: an object may be callable and a number, too."""


def _is_number(value: object) -> bool:
    return value is None or type(value) in _NUMBERS


def _is_number_of_numpy(cls: type) -> bool:
    return cls.__module__ == "numpy" and cls.__name__.startswith(("bool", "int", "uint", "float", "complex"))
