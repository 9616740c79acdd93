"""Does what was loaded compute what the model did that was saved?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..document import Document, Ref
from ..errors import FormatError
from ..programs import Compared, Golden, compare
from .audit import Audit
from .build import build
from .memory import Memory, allocate, tensors
from .state import is_a


def read_golden(document: Document, ref: Ref, fill: Callable[[Memory], None]) -> Golden:
    """The golden outputs of a file.

    Args:
        document: a checked Document.
        ref: where in it they are.
        fill: reads the bytes of tensors into memory.

    Raises:
        FormatError: they cannot be built.
    """
    _, rows = document.reachable(ref)
    memory = allocate(document.tensors, rows, given={})
    fill(memory)
    made = tensors(memory, rows, device=torch.device("cpu"), dtype=None, on_cpu=frozenset(rows), uncast=frozenset(rows))
    found = build(document, ref, made, Audit()).obj
    if not isinstance(found, Golden):
        raise FormatError("the golden outputs of a module are none", clause="K-3")
    return found


def compare_outputs(golden: Golden, obj: Any, dtype: torch.dtype | None) -> list[Compared]:
    """Hold what was loaded against the golden outputs of its file."""
    if not is_a(obj, torch.nn.Module):
        return [Compared(0, "", "unknown", "not compared: what was loaded is no module")]
    return compare(golden, obj, dtype=dtype)
