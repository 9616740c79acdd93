"""`torch.nn.utils.rnn.PackedSequence`: a namedtuple whose numbers torch's recurrent kernels believe."""

from __future__ import annotations

import itertools
from typing import Any

import torch

from ..errors import LoadError
from .state import is_a


def require_packed(items: tuple[Any, ...]) -> None:
    """Whether the fields of a `PackedSequence` fit together, as those that torch makes do.

    Raises:
        LoadError: they do not.
    """
    data, sizes, *orders = items
    fits = is_a(data, torch.Tensor) and data.dim() > 0 and _is_of_integers(sizes) and sizes.device.type == "cpu"
    if fits and sizes.numel() > 0:
        counts = sizes.tolist()
        falls = all(one >= other for one, other in itertools.pairwise(counts))
        fits = falls and counts[-1] > 0 and sum(counts) == data.shape[0]
        fits = fits and all(order is None or _is_order(order, counts[0]) for order in orders)
    if not fits or sizes.numel() == 0 or len({order is None for order in orders}) > 1:
        raise LoadError("a PackedSequence whose parts do not fit together. Nothing was loaded.")


def _is_of_integers(tensor: Any) -> bool:
    """Whether this is a plain tensor of int64 in one dimension, each number of which is there."""
    if type(tensor) is not torch.Tensor or tensor.layout != torch.strided or tensor.dtype != torch.int64:
        return False
    return tensor.dim() == 1 and tensor.nbytes <= tensor.untyped_storage().nbytes()


def _is_order(order: Any, count: int) -> bool:
    """Whether these are the numbers below `count` in some order; on the meta device there are none to look at."""
    if not _is_of_integers(order) or len(order) != count:
        return False
    return order.device.type == "meta" or torch.equal(order.sort().values, torch.arange(count, device=order.device))
