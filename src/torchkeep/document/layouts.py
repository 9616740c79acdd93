"""Tensors that are nodes of their own: sparse, quantized, nested, without values, of a subclass.

A row of the tensor table is strided memory and nothing else. What is more than that is a typed node over such rows
(clause K-6); here is what can be said of one without its values.
"""

from __future__ import annotations

import math

from ..errors import FormatError
from .dtypes import ITEMSIZE
from .geometry import plain_ints
from .model import Document
from .nodes import Seq, TensorRef, Typed, Value
from .tensors import PARAMETER, Shape

SPARSE_LAYOUTS = ("sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc")
"""torch's names of the layouts of a `torch.sparse` node."""

QUANTIZED: dict[str, tuple[str, int]] = {
    "qint8": ("int8", 8),
    "quint8": ("uint8", 8),
    "qint32": ("int32", 32),
    "quint4x2": ("uint8", 4),
    "quint2x4": ("uint8", 2),
}
"""torch's quantized dtypes: the dtype that carries their bytes, and bits an element."""

TENSOR_KINDS = frozenset(
    {
        "torch.sparse",
        "torch.quantized",
        "torch.nested",
        "torch.jagged",
        "torch.meta",
        "tensor_subclass",
        "wrapper_tensor",
    }
)
"""Kinds that are tensors: they stand wherever a tensor may, and hash by identity."""

EXACT_KINDS = frozenset({"torch.quantized", "tensor_subclass", "wrapper_tensor"})
"""Of these, those whose inner tensors mean something only in the dtype that they were saved in."""


def is_tensor(document: Document, value: Value) -> bool:
    """Whether a value is a tensor of any sort."""
    node = document.node(value)
    return type(value) is TensorRef or (isinstance(node, Typed) and node.kind in TENSOR_KINDS)


def is_parameter(document: Document, value: Value) -> bool:
    """Whether a value is a parameter, of any sort."""
    if type(value) is TensorRef:
        return bool(document.tensors.flags[value.index] & PARAMETER)
    node = document.node(value)
    if not isinstance(node, Typed) or node.kind not in TENSOR_KINDS:
        return False
    flags = node.fields.get("flags")  # not yet looked at, perhaps
    return type(flags) is int and bool(flags & PARAMETER)


def shape_of(document: Document, node: Typed) -> Shape | None:
    """The shape of a tensor that is a node, as far as the header tells it."""
    if node.kind == "tensor_subclass" and isinstance(data := node.fields["data"], TensorRef):
        return document.tensors.shape(data.index)
    held = document.node(node.fields.get("shape"))
    return held.items if isinstance(held, Seq) else None  # type: ignore[return-value]


def packed_nbytes(shape: Shape, nbits: int) -> int:
    """Bytes of a quantized tensor of several elements a byte: torch rounds the last size up to whole ones."""
    return math.prod(shape[:-1]) * -(-(shape[-1] if shape else 1) * nbits // 8)


def check_layout(document: Document, node: Typed) -> None:
    """K-6: what the header says of such a tensor can be.

    Raises:
        FormatError: it cannot.
    """
    if not _FITS[node.kind](document, node):
        raise FormatError(f"a {node.kind} tensor whose parts do not fit together", clause="K-6")


def _row(document: Document, value: Value, rank: int | None = None, *dtypes: str) -> Shape | None:
    """The shape of a bare tensor: no parameter, no gradient, no attributes, all its bytes there; None otherwise."""
    if type(value) is not TensorRef:
        return None
    table, row = document.tensors, value.index
    shape = table.shape(row)
    bare = not (table.flags[row] or row in table.lazy or row in table.attributes)
    if math.prod(shape) * ITEMSIZE[table.dtype(row)] > table.nbytes(table.stored[row]):
        return None  # expanded: small in a file, and walked element by element
    if not bare or (rank is not None and len(shape) != rank) or (dtypes and table.dtype(row) not in dtypes):
        return None
    return shape


def _sizes(document: Document, value: Value) -> Shape | None:
    """Sizes whose product an index can count; None for anything else."""
    node = document.node(value)
    items = node.items if isinstance(node, Seq) and node.kind == "tuple" else (None,)
    if not plain_ints(items) or math.prod(size for size in items if size) >= 2**62:  # type: ignore[misc]
        return None
    return items  # type: ignore[return-value]


def _sparse(document: Document, node: Typed) -> bool:
    fields = node.fields
    shape, compressed = _sizes(document, fields["shape"]), fields["compressed"]
    values = _row(document, fields["values"])
    if shape is None or values is None or fields["layout"] not in SPARSE_LAYOUTS:
        return False
    if fields["layout"] == "sparse_coo":
        indices = _row(document, fields["indices"], 2, "int64")
        if indices is None or compressed is not None or indices[0] > len(shape):
            return False
        return values == (indices[1], *shape[indices[0] :])
    indices, ends = (_row(document, fields[name], None, "int32", "int64") for name in ("indices", "compressed"))
    if indices is None or ends is None or not indices or len(indices) != len(ends) or fields["coalesced"]:
        return False
    same = _dtype(document, fields["indices"]) == _dtype(document, compressed)
    return same and values[: len(indices)] == indices and len(shape) >= len(indices) + 1


def _quantized(document: Document, node: Typed) -> bool:
    fields = node.fields
    shape = _sizes(document, fields["shape"])
    if shape is None or not isinstance(dtype := fields["dtype"], str) or dtype not in QUANTIZED:
        return False
    carrier, nbits = QUANTIZED[dtype]
    data = _row(document, fields["data"], None, carrier)
    if data != (shape if nbits >= 8 else (packed_nbytes(shape, nbits),)):
        return False
    axis, scale, point = fields["axis"], fields["scale"], fields["zero_point"]
    if axis is None:
        return type(scale) is float and math.isfinite(scale) and type(point) is int and -(2**31) <= point < 2**31
    if type(axis) is not int or not 0 <= axis < len(shape):
        return False
    scales = _row(document, scale, 1, "float64", "float32")
    points = _row(document, point, 1, "int64" if _dtype(document, scale) == "float64" else "float32")
    return scales == points == (shape[axis],)


def _dtype(document: Document, value: Value) -> str | None:
    return document.tensors.dtype(value.index) if type(value) is TensorRef else None


def _nested(document: Document, node: Typed) -> bool:
    fields = node.fields
    sizes, strides = (_row(document, fields[name], 2, "int64") for name in ("sizes", "strides"))
    values, offsets = _row(document, fields["values"], 1), _row(document, fields["offsets"], 1, "int64")
    return values is not None and sizes is not None and sizes == strides and offsets == sizes[:1]


def _jagged(document: Document, node: Typed) -> bool:
    fields = node.fields
    values, offsets = _row(document, fields["values"]), _row(document, fields["offsets"], 1, "int32", "int64")
    ragged, lengths = fields["ragged_dim"], fields["lengths"]
    if values is None or offsets is None or not offsets[0] or type(ragged) is not int or not 0 < ragged <= len(values):
        return False
    dtype = _dtype(document, fields["offsets"])
    if lengths is not None and (_row(document, lengths, 1) != (offsets[0] - 1,) or _dtype(document, lengths) != dtype):
        return False
    bounds = (fields["min_length"], fields["max_length"])
    return all(bound is None or (type(bound) is int and 0 <= bound < 2**62) for bound in bounds)


def _meta(document: Document, node: Typed) -> bool:
    return _geometry(document, node) and node.fields["dtype"] in ITEMSIZE


def _subclass(document: Document, node: Typed) -> bool:
    return _row(document, node.fields["data"]) is not None


def _geometry(document: Document, node: Typed) -> bool:
    """Whether there is a stride for each size."""
    shape, strides = _sizes(document, node.fields["shape"]), document.node(node.fields["strides"])
    if shape is None or not isinstance(strides, Seq):
        return False
    return len(strides.items) == len(shape) and plain_ints(strides.items)


_FITS = {
    "torch.sparse": _sparse,
    "torch.quantized": _quantized,
    "torch.nested": _nested,
    "torch.jagged": _jagged,
    "torch.meta": _meta,
    "tensor_subclass": _subclass,
    "wrapper_tensor": _geometry,
}
