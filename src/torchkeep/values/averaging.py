"""The averaging functions that `torch.optim.swa_utils` makes for an `AveragedModel`: closures, known by their maker."""

from __future__ import annotations

import inspect
import numbers
from typing import Any

from torch.optim import swa_utils

from ..errors import FormatError, LoadError, brief

_MAKERS = ("get_ema_avg_fn", "get_ema_multi_avg_fn", "get_swa_avg_fn", "get_swa_multi_avg_fn")


def made_by(function: Any) -> dict[str, Any] | None:
    """The fields of a function that `swa_utils` made: who made it, and with which decay; None for any other."""
    maker, _, rest = function.__qualname__.partition(".<locals>.")
    if function.__module__ != swa_utils.__name__ or maker not in _MAKERS or rest not in ("ema_update", "swa_update"):
        return None
    inner = inspect.unwrap(function)
    held = {
        name: cell.cell_contents for name, cell in zip(inner.__code__.co_freevars, inner.__closure__ or (), strict=True)
    }
    decay = held.get("decay")
    if isinstance(decay, numbers.Real):
        decay = float(decay)
    return {"function": maker, **({"decay": decay} if "decay" in held else {})}


def make(fields: dict[str, Any]) -> Any:
    """
    Raises:
        FormatError: K-5, none of its functions, or a decay that it does not take.
        LoadError: this torch lacks it.
    """
    maker = fields["function"]
    fits = ("decay" in fields) == ("ema" in maker) and 0 <= fields.get("decay", 0) <= 1
    if maker not in _MAKERS or not fits:
        raise FormatError(f"{brief(maker)} makes no averaging function of these fields", clause="K-5")
    if not hasattr(swa_utils, maker):
        raise LoadError(f"this torch has no torch.optim.swa_utils.{maker}. Nothing was loaded. Install a newer torch.")
    return getattr(swa_utils, maker)(*([fields["decay"]] if "decay" in fields else []))
