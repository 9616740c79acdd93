"""Element types by torch's own names; pure data, so that no reader needs torch.

`float4_e2m1fn_x2` packs two elements of 4 bits into one byte; torch counts bytes, and so do we.
"""

from __future__ import annotations

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
