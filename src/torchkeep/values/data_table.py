"""The closed table of Python's and numpy's own data types that a file may name as classes.

A model holds such a class as a value: the `dtype=float` of a config, the factory of a defaultdict. Making an
instance of one has no effect but the instance.
"""

from __future__ import annotations

import sys

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
