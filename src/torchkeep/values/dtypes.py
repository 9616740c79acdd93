"""torch's dtypes by name, and the carriers that move their bytes."""

from __future__ import annotations

import torch

from ..document import ITEMSIZE

BY_NAME: dict[str, torch.dtype] = {
    name: dtype for name in ITEMSIZE if isinstance(dtype := getattr(torch, name, None), torch.dtype)
}
"""Every dtype of the table that this torch has."""

UNCASTABLE = frozenset({"float4_e2m1fn_x2"})
"""Floating-point dtypes that torch casts to no other: pairs of numbers in one item."""

_NAMES = {dtype: name for name, dtype in BY_NAME.items()}
_CARRIERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64, 16: torch.complex128}


def dtype_name(dtype: torch.dtype) -> str:
    """torch's own name of a dtype, without ``torch.``."""
    return _NAMES[dtype]


def carrier(dtype: torch.dtype) -> torch.dtype:
    """A dtype of the same size that every kernel can copy, bit for bit."""
    return _CARRIERS[dtype.itemsize]
