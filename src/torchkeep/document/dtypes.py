"""Element types by torch's own names; pure data, so that no reader needs torch.

`float4_e2m1fn_x2` packs two elements of 4 bits into one byte; torch counts bytes, and so do we.
"""

from __future__ import annotations

import re

_TYPES: dict[str, tuple[int, str | None]] = {
    "bool": (1, "BOOL"),
    "uint8": (1, "U8"),
    "int8": (1, "I8"),
    "uint16": (2, "U16"),
    "int16": (2, "I16"),
    "uint32": (4, "U32"),
    "int32": (4, "I32"),
    "uint64": (8, "U64"),
    "int64": (8, "I64"),
    "float16": (2, "F16"),
    "bfloat16": (2, "BF16"),
    "float32": (4, "F32"),
    "float64": (8, "F64"),
    "complex32": (4, None),
    "complex64": (8, "C64"),
    "complex128": (16, None),
    "float8_e4m3fn": (1, "F8_E4M3"),
    "float8_e4m3fnuz": (1, "F8_E4M3FNUZ"),
    "float8_e5m2": (1, "F8_E5M2"),
    "float8_e5m2fnuz": (1, "F8_E5M2FNUZ"),
    "float8_e8m0fnu": (1, "F8_E8M0"),
    "float4_e2m1fn_x2": (1, "F4"),
    "bits1x8": (1, None),
    "bits2x4": (1, None),
    "bits4x2": (1, None),
    "bits8": (1, None),
    "bits16": (2, None),
    **{f"int{bits}": (1, None) for bits in range(1, 8)},
    **{f"uint{bits}": (1, None) for bits in range(1, 8)},
}

ITEMSIZE: dict[str, int] = {name: itemsize for name, (itemsize, _) in _TYPES.items()}
"""Bytes an element, for every dtype of a strided tensor in torch 2.13."""

SAFETENSORS_NAME: dict[str, str] = {name: named for name, (_, named) in _TYPES.items() if named}
"""What safetensors calls a dtype. A tensor of any other is stored as bytes, under a reserved name."""

NUMPY_NAME: dict[str, str] = {
    "|b1": "bool", "|i1": "int8", "|u1": "uint8",
    "<i2": "int16", "<i4": "int32", "<i8": "int64", "<u2": "uint16", "<u4": "uint32", "<u8": "uint64",
    "<f2": "float16", "<f4": "float32", "<f8": "float64", "<c8": "complex64", "<c16": "complex128",
}  # fmt: skip
"""numpy's texts of dtypes (`numpy.dtype.str`) that torch has, too -> torch's names of them."""

_NUMBERS = re.compile(r">(?:i2|i4|i8|u2|u4|u8|f2|f4|f8|c8|c16)")
_TEXTS = re.compile(r"(?:[<>]U|\|S)[1-9][0-9]{0,5}")
_DATES = re.compile(r"[<>][Mm]8(?:\[(?:[2-9]|[1-9][0-9]{1,5})?(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?")


def numpy_itemsize(text: str) -> int | None:
    """Bytes of an element of a dtype that a file may hold, by numpy's text; None for any other text.

    Each is of a fixed size, and none is made of objects or of fields.
    """
    if text in NUMPY_NAME or _NUMBERS.fullmatch(text):
        return int(text[2:])
    if _TEXTS.fullmatch(text):
        return int(text[2:]) * (4 if text[1] == "U" else 1)
    return 8 if _DATES.fullmatch(text) else None
