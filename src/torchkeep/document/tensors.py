"""The tensor table: what each tensor is, as columns. 100,000 tensors are an ordinary file.

Two tables in one. A *stored tensor* is bytes with a name, dtype and shape; it becomes one storage in
memory. A *tensor* is what the object graph refers to: a view of one stored tensor. Nearly every
tensor is all of its stored tensor, so only the exceptions carry a `View`.
"""

from __future__ import annotations

import math

import msgspec

from .dtypes import ITEMSIZE
from .nodes import Value

Shape = tuple[int, ...]

PARAMETER = 2
REQUIRES_GRAD = 1
"""Bits of `TensorTable.flags`."""

CONJ = 1
NEG = 2
"""Bits of `TensorTable.lazy`."""


class View(msgspec.Struct, frozen=True, gc=False):
    """Geometry of a tensor that is not all of its stored tensor.

    Attributes:
        dtype: element type, by torch's name.
        shape: sizes.
        strides: steps in elements of `dtype`, one a dimension, each >= 0.
        offset: first element, in elements of `dtype` from the start of the stored bytes in memory.
    """

    dtype: str
    shape: Shape
    strides: Shape
    offset: int


class TensorTable(msgspec.Struct):
    """Stored tensors (`names`, `dtypes`, `shapes`, `strides`) and the tensors that view them.

    Attributes:
        names: one a stored tensor, unique.
        dtypes: element types, by torch's names.
        shapes: sizes. Bytes in the file are in contiguous logical order of this shape.
        strides: for stored tensors whose memory is dense but not contiguous (channels_last): the strides
            in memory, in elements. Sparse.
        stored: for each tensor, the stored tensor it views.
        flags: for each tensor, PARAMETER and REQUIRES_GRAD bits.
        views: geometry of those tensors that are not all of their stored tensor. Sparse.
        lazy: CONJ and NEG bits of tensors that torch reads through a lazy view. Sparse.
        attributes: Python attributes set on a tensor, as a Value that refers to a Map. Sparse.
    """

    names: list[str] = []
    dtypes: list[str] = []
    shapes: list[Shape] = []
    strides: dict[int, Shape] = {}
    stored: list[int] = []
    flags: list[int] = []
    views: dict[int, View] = {}
    lazy: dict[int, int] = {}
    attributes: dict[int, Value] = {}

    def __len__(self) -> int:
        return len(self.stored)

    def dtype(self, tensor: int) -> str:
        """Element type of a tensor."""
        view = self.views.get(tensor)
        return view.dtype if view else self.dtypes[self.stored[tensor]]

    def shape(self, tensor: int) -> Shape:
        """Sizes of a tensor."""
        view = self.views.get(tensor)
        return view.shape if view else self.shapes[self.stored[tensor]]

    def name(self, tensor: int) -> str:
        """Name of the stored tensor that a tensor views."""
        return self.names[self.stored[tensor]]

    def nbytes(self, stored: int) -> int:
        """Bytes of a stored tensor."""
        return math.prod(self.shapes[stored]) * ITEMSIZE[self.dtypes[stored]]
