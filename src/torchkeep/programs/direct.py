"""Operators by the functions that Python code calls them by: the same kernels, reached in half the time.

A call of an overload by its name converts its arguments through the interpreter of TorchScript; torch's own functions
parse them directly. Only functions stand here each of whose overloads is in the closed list, so that whatever arguments
a checked program has, nothing else is reached than it may call. What is not here is called by its overload.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch


def _found(*names: str) -> dict[str, Callable[..., Any]]:
    """Overloads and the function of each: `torch`'s, or of its room for neural networks, or a tensor's method."""
    made: dict[str, Callable[..., Any]] = {}
    for name in names:
        base = name.split(".")[0]
        for home in (torch._C._nn, torch._C._VariableFunctions, torch.Tensor):
            function = getattr(home, base, None)
            if callable(function) and type(function).__name__ in _KINDS:
                made[f"aten.{name}"] = function
                break
    return made


_KINDS = frozenset({"builtin_function_or_method", "method_descriptor"})

DIRECT: Final[Mapping[str, Callable[..., Any]]] = _found(
    "linear.default",
    "matmul.default",
    "bmm.default",
    "conv1d.default",
    "conv2d.default",
    "conv3d.default",
    "embedding.default",
    "layer_norm.default",
    "group_norm.default",
    "batch_norm.default",
    "scaled_dot_product_attention.default",
    "relu.default",
    "relu_.default",
    "gelu.default",
    "silu.default",
    "tanh.default",
    "sigmoid.default",
    "dropout.default",
    "dropout_.default",
    "softmax.int",
    "add.Tensor",
    "add_.Tensor",
    "sub.Tensor",
    "mul.Tensor",
    "div.Tensor",
    "neg.default",
    "rsqrt.default",
    "sqrt.default",
    "cos.default",
    "sin.default",
    "view.default",
    "reshape.default",
    "permute.default",
    "transpose.int",
    "expand.default",
    "contiguous.default",
    "flatten.using_ints",
    "unsqueeze.default",
    "squeeze.dim",
    "cat.default",
    "adaptive_avg_pool2d.default",
)
