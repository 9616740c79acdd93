"""Shapes, strides and offsets, counted in items: what they reach, and in what order."""

from __future__ import annotations

from collections.abc import Iterable

from .tensors import Shape

_MAX_INDEX = 2**62


def row_major(shape: Shape) -> Shape:
    """The strides that torch gives to contiguous memory."""
    strides = [1]
    for size in reversed(shape[1:]):
        strides.append(strides[-1] * max(size, 1))
    return tuple(reversed(strides)) if shape else ()


def plain_ints(values: Iterable[object]) -> bool:
    """Whether these are sizes, strides or offsets: integers from 0 to 2**62 - 1."""
    return all(type(v) is int and 0 <= v < _MAX_INDEX for v in values)


def extent(shape: Shape, strides: Shape, offset: int) -> int:
    """One past the last element that the geometry reaches; `offset` where there are no elements."""
    if 0 in shape:
        return offset
    return offset + 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))


def is_contiguous(shape: Shape, strides: Shape) -> bool:
    """Whether the strides are those of row-major order; where a size is 1, or one is 0, they mean nothing."""
    if 0 in shape:
        return True
    expected = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1:
            if stride != expected:
                return False
            expected *= size
    return True


def is_dense(shape: Shape, strides: Shape) -> bool:
    """Whether the strides place the elements without gap or overlap, in any order of dimensions."""
    if len(shape) != len(strides) or not plain_ints(strides):
        return False
    expected = 1
    for stride, size in sorted((t, s) for s, t in zip(shape, strides, strict=True) if s != 1):
        if size == 0:
            return True
        if stride != expected:
            return False
        expected *= size
    return True
