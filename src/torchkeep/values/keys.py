"""What may be a key of a dict or an element of a set in a file, and an order for what has none."""

from __future__ import annotations

import datetime
import decimal
import enum
import fractions
import pathlib
import struct
import uuid
import zoneinfo
from collections.abc import Iterable
from typing import Any

import torch

from ..document import MAX_KEY_WEIGHT, weight_of
from .encode import Context
from .trust import fields_of

_WAY_OUT = "Use strings, numbers, or tuples of these as keys."

_TYPES = frozenset({
    type(None), bool, int, float, complex, str, bytes,
    torch.Size, torch.dtype, torch.device, torch.memory_format, torch.layout,
    range, type(...), uuid.UUID, decimal.Decimal, fractions.Fraction,
    datetime.date, datetime.time, datetime.datetime, datetime.timedelta, datetime.timezone,
    zoneinfo.ZoneInfo,
    pathlib.PurePosixPath, pathlib.PureWindowsPath, pathlib.PosixPath, pathlib.WindowsPath,
})  # fmt: skip


def require_keys(keys: Iterable[Any], context: Context) -> None:
    """Keys and set elements: values that cannot change, and tensors, which hash by identity.

    Raises:
        UnsaveableError: something else.
    """
    for key in keys:
        _require(key, context)


def _require(key: Any, context: Context) -> None:
    pending = [key]
    weight = 0
    while pending:
        current = pending.pop()
        weight += weight_of(current)
        if weight > MAX_KEY_WEIGHT:
            reason = f"has more than {MAX_KEY_WEIGHT} parts, too many for a key"
            raise context.unsaveable(key, reason, way_out=_WAY_OUT)
        names = () if isinstance(current, enum.Enum) else fields_of(type(current)) or ()
        weight += 1 + len(names) if names else 0  # a file names them beside the items
        if type(current) in (tuple, frozenset) or names:
            pending.extend(current)
        elif isinstance(current, torch.Tensor):  # by identity, of whatever sort
            continue
        elif type(current) not in _TYPES and not isinstance(current, enum.Enum) and not _is_numpy(type(current)):
            raise context.unsaveable(current, "cannot be a dict key or a set element in a file", way_out=_WAY_OUT)


def _is_numpy(cls: type) -> bool:
    """Whether it is one of numpy's types of scalars or dtypes, without asking for numpy."""
    return any(base.__module__ == "numpy" and base.__name__ in ("generic", "dtype") for base in cls.__mro__)


def ordered(elements: set[Any] | frozenset[Any]) -> list[Any]:
    """A set in an order that does not hang on string hashes, which differ from process to process."""
    return sorted(elements, key=_order)


def _order(element: Any) -> tuple[str, Any]:
    """A key that any two elements have an order by."""
    if isinstance(element, enum.Enum):
        cls = type(element)
        return "enum", (f"{cls.__module__}:{cls.__qualname__}", str(element._name_), element._value_)
    if _is_numpy(type(element)):
        return f"numpy {element.dtype.str}" if hasattr(element, "tobytes") else "dtype", (
            element.tobytes() if hasattr(element, "tobytes") else element.str
        )
    if isinstance(element, tuple):
        return "tuple", [_order(item) for item in element]
    if isinstance(element, frozenset):
        return "frozenset", sorted(map(_order, element))
    if isinstance(element, torch.Tensor):
        return "tensor", 0  # by identity: as the set gives them
    if type(element) in (float, complex):
        return type(element).__name__, struct.pack(">dd", element.real, element.imag)  # NaNs differ by their bits alone
    if isinstance(element, int):
        return type(element).__name__, element
    return type(element).__name__, repr(element)
