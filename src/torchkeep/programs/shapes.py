"""What some operators give, by shape alone, while a module is captured.

To find the shapes of what a recurrent layer gives, torch would run it step by step, and so fix the length of every
sequence; for CTC it would have to know values. The operator itself stands in the graph all the same, and runs as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

_KEY = torch._C.DispatchKey.CompositeImplicitAutograd


def _lstm(
    input: torch.Tensor, hx: Sequence[torch.Tensor], params: Sequence[torch.Tensor], *rest: Any
) -> tuple[torch.Tensor, ...]:
    output = _sequence(input, hx[0], params, *rest)
    return output, *(_like(output, state.shape, state) for state in hx)


def _rnn(input: torch.Tensor, hx: torch.Tensor, params: Sequence[torch.Tensor], *rest: Any) -> tuple[torch.Tensor, ...]:
    output = _sequence(input, hx, params, *rest)
    return output, _like(output, hx.shape, hx)


def _sequence(
    input: torch.Tensor,
    state: torch.Tensor,
    params: Sequence[torch.Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> torch.Tensor:
    steps = input.transpose(0, 1) if batch_first else input
    made = _like(steps, (*steps.shape[:2], state.shape[-1] * (2 if bidirectional else 1)), state, *params)
    return made.transpose(0, 1) if batch_first else made


def _ctc(
    log_probs: torch.Tensor,
    targets: torch.Tensor,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: int = 1,
    zero_infinity: bool = False,
) -> torch.Tensor:
    batched = log_probs.dim() == 3
    return _like(log_probs, log_probs.shape[1:2] if batched and reduction == 0 else ())


def _like(tensor: torch.Tensor, shape: Any, *others: torch.Tensor) -> torch.Tensor:
    """A tensor of a shape that has a gradient where any of these has."""
    made = tensor.new_empty(shape)
    for each in (tensor, *others):
        if each.requires_grad:
            made = made + each.sum() * 0
    return made


_RULES: dict[str, Callable[..., Any]] = {
    "lstm.input": _lstm,
    "gru.input": _rnn,
    "rnn_tanh.input": _rnn,
    "rnn_relu.input": _rnn,
    "ctc_loss.Tensor": _ctc,
    "ctc_loss.IntList": _ctc,
}


@contextmanager
def by_shape() -> Iterator[None]:
    """Put these in the place of what torch would run, meanwhile."""
    kept: list[tuple[Any, Any]] = []
    try:
        for name, rule in _RULES.items():
            packet, _, overload = name.partition(".")
            op = getattr(getattr(torch.ops.aten, packet), overload)
            kept.append((op, op.py_kernels.get(_KEY)))
            op.py_kernels[_KEY] = rule
            op._dispatch_cache.clear()
        yield
    finally:
        for op, before in kept:
            op.py_kernels.pop(_KEY)
            if before is not None:
                op.py_kernels[_KEY] = before
            op._dispatch_cache.clear()
