"""What a comparison of two Documents tells."""

from __future__ import annotations

from typing import Literal

import msgspec

from .nodes import Value
from .pairs import Places

ChangeKind = Literal[
    "added", "removed", "renamed", "dtype", "shape", "values", "layout",
    "flag", "value", "class", "kind", "order", "sharing",
]  # fmt: skip


class Change(msgspec.Struct, frozen=True):
    """One difference.

    Attributes:
        kind: what sort of difference.
        at: its place.
        a: what is there on the first side: a value (of `removed`, `kind`, `value`, `values`), a flag, a dtype, a
            shape, strides, the name of a class, or some keys in their order; of `sharing` the place that holds
            the same, None where there is none.
        b: the same of the second side; of `renamed` the new place.
        what: which flag; or which sort of order, layout, sharing or values.
        tensor: whether it is one of a tensor.
    """

    kind: ChangeKind
    at: int
    a: object = None
    b: object = None
    what: str = ""
    tensor: bool = False


class Changes(msgspec.Struct, frozen=True):
    """All that differs between two Documents.

    Attributes:
        changes: each difference.
        places: where they are.
        starts: the two values that were compared.
        compared: how many tensors were compared with a counterpart.
        complete: False where what one side shares, and the other has many times, was not gone into each time.
    """

    changes: list[Change]
    places: Places
    starts: tuple[Value, Value]
    compared: int
    complete: bool
