"""When two values are the same: type, order, dtype, shape and every bit, where ``==`` would say less or raise."""

from __future__ import annotations

import math
from typing import Any, NoReturn

import torch


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same to the bit.

    Tensors and arrays are compared by dtype, shape and bytes, modules by their state_dict, dicts with their order,
    lists and tuples item by item, NaN as equal to itself, and anything else with ``==``.

    Args:
        one: a value.
        other: another.

    Returns:
        Whether they are.
    """
    waiting = [(one, other)]
    seen: set[tuple[int, int]] = set()
    while waiting:
        a, b = waiting.pop()
        if type(a) is not type(b):
            return False
        if (id(a), id(b)) in seen:
            continue
        seen.add((id(a), id(b)))
        if isinstance(a, torch.Tensor):
            if not _same_tensors(a, b):
                return False
        elif isinstance(a, torch.nn.Module):
            waiting.append((dict(a.state_dict()), dict(b.state_dict())))
        elif isinstance(a, dict):
            if list(a) != list(b):
                return False
            waiting.extend(zip(a.values(), b.values(), strict=True))
        elif isinstance(a, list | tuple):
            if len(a) != len(b):
                return False
            waiting.extend(zip(a, b, strict=True))
        elif hasattr(a, "tobytes") and hasattr(a, "dtype"):  # an array of numpy, which need not be here
            if (a.dtype, a.shape, a.tobytes()) != (b.dtype, b.shape, b.tobytes()):
                return False
        elif not (bool(a == b) or _are_nan(a, b)):
            return False
    return True


def _are_nan(*values: Any) -> bool:
    return all(isinstance(value, float) and math.isnan(value) for value in values)


def _same_tensors(a: torch.Tensor, b: torch.Tensor) -> bool:
    if (a.dtype, a.shape, a.requires_grad) != (b.dtype, b.shape, b.requires_grad):
        return False
    bits = [t.detach().cpu().contiguous().reshape(-1).view(torch.uint8) for t in (a, b)]
    return torch.equal(*bits)


def expect(holds: object, rule: str) -> None:
    """Fail unless a rule holds. Not with `assert`, which vanishes under ``python -O``."""
    if not holds:
        fail(rule)


def fail(rule: str) -> NoReturn:
    """A rule is broken."""
    raise AssertionError(rule)
