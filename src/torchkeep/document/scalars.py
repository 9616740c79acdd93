"""Scalars <-> JSON: each value in the one form that the schema has for it."""

from __future__ import annotations

import base64
import math
import struct

from ..errors import FormatError, LimitError
from ..limits import Limits
from . import schema
from .nodes import Ref, TensorRef, Value

MAX_EXACT_INT = 2**53 - 1
"""Largest integer that every JSON reader holds exactly."""


def _float_text(value: float) -> str:
    """The shortest decimal that reads back the same, as Python's repr; a NaN with its bits."""
    if math.isnan(value):
        bits = struct.pack(">d", value).hex()
        return "nan" if bits == "7ff8000000000000" else f"nan:{bits}"
    return repr(value)


def _float(text: str) -> float:
    if text.startswith("nan:"):
        value: float = struct.unpack(">d", bytes.fromhex(text[4:]).rjust(8)[:8])[0]
    else:
        value = float(text)
    if _float_text(value) != text:
        raise FormatError(f"{text!r} is not the canonical text of a float", clause="D-6")
    return value


def to_wire(value: Value) -> schema.Value:
    """A value as the JSON writer takes it."""
    kind = type(value)
    if kind in _AS_THEY_ARE:
        return value  # type: ignore[return-value]
    if isinstance(value, str):
        return (
            value
            if is_json_text(value)
            else schema.Str(base64.b64encode(value.encode("utf-8", "surrogatepass")).decode())
        )
    if isinstance(value, int):
        return value if -MAX_EXACT_INT <= value <= MAX_EXACT_INT else schema.Int(hex(value))
    if isinstance(value, float):
        return schema.Float(_float_text(value))
    if isinstance(value, complex):
        return schema.Complex(_float_text(value.real), _float_text(value.imag))
    if isinstance(value, bytes):
        return schema.Bytes(base64.b64encode(value).decode())
    raise TypeError(f"{kind.__name__} is not a Value")


def is_json_text(text: str) -> bool:
    """Whether JSON can hold a string as it is: one without lone surrogates."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def from_wire(value: schema.Key, limits: Limits) -> Value:
    """The value that the JSON reader found.

    Raises:
        FormatError: D-6 a float that is not in its canonical form.
        LimitError: an integer longer than `limits` allow.
        ValueError: text that is no number or no base64.
    """
    if isinstance(value, schema.Float):
        return _float(value.text)
    if isinstance(value, schema.Complex):
        return complex(_float(value.real), _float(value.imag))
    if isinstance(value, schema.Int):
        if len(value.hex) > 2 * limits.int_nbytes + 3:
            raise LimitError(f"an integer is longer than {limits.int_nbytes} bytes")
        return int(value.hex, 16)
    if isinstance(value, schema.Bytes):
        return base64.b64decode(value.base64, validate=True)
    if isinstance(value, schema.Str):
        return base64.b64decode(value.base64, validate=True).decode("utf-8", "surrogatepass")
    assert not isinstance(value, schema.NameFrom)
    return value


_AS_THEY_ARE = frozenset({type(None), bool, TensorRef, Ref})
_READ_AS_THEY_ARE = _AS_THEY_ARE | {int, str}


def all_to_wire(values: tuple[Value, ...]) -> schema.Values:
    """A column of values, each as `to_wire` has it."""
    if _AS_THEY_ARE.issuperset(map(type, values)):
        return values  # type: ignore[return-value]
    return tuple(map(to_wire, values))


def all_from_wire(values: schema.Values, limits: Limits) -> tuple[Value, ...]:
    """A column of values, each as `from_wire` has it."""
    if _READ_AS_THEY_ARE.issuperset(map(type, values)):
        return values  # type: ignore[return-value]
    return tuple([from_wire(value, limits) for value in values])
