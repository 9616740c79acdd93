"""Everything that can be seen of a model, as digests that two processes can compare."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from .architecture import Architecture

SEED = 1234
Facts = dict[str, Any]


def facts_of(model: torch.nn.Module, architecture: Architecture) -> Facts:
    """How a model is made, then how it behaves: in eval mode, in training, and after one step of an optimizer.

    The step changes the model.
    """
    flags = [(module, module.training) for module in model.modules()]
    found: Facts = structure_of(model)
    model.eval()
    with torch.no_grad():
        found["outputs in eval"] = [told for _, told in _outputs(model, architecture)]
    for module, flag in flags:
        module.training = flag
    outputs = _outputs(model, architecture)
    found["outputs in training"] = [told for _, told in outputs]
    if losses := [_loss(tensor) for tensor, _ in outputs if tensor is not None and tensor.requires_grad]:
        torch.stack(losses).sum().backward()
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        found["gradients"] = {name: digest(gradient) for name, gradient in gradients.items()}
        _optimizer(model, sparse=any(each.is_sparse for each in gradients.values())).step()
    found["tensors after a step"] = _tensors(model)
    found["randomness after all"] = digest(torch.get_rng_state())
    return found


def structure_of(model: torch.nn.Module) -> Facts:
    """How a model is made; it is not called."""
    return {
        "modules": [
            [name, f"{type(module).__module__}:{type(module).__qualname__}", module.training]
            for name, module in model.named_modules(remove_duplicate=False)
        ],
        "repr": repr(model),
        "state_dict": [
            [name, _told(value) if isinstance(value, torch.Tensor) else repr(value)]
            for name, value in model.state_dict().items()
        ],
        "requires_grad": {name: p.requires_grad for name, p in model.named_parameters(remove_duplicate=False)},
        "tensors": _tensors(model),
    }


def digest(tensor: torch.Tensor) -> str:
    """Of the bytes of a tensor in logical order, whatever its layout."""
    dense = tensor.detach().to_dense() if tensor.is_sparse else tensor.detach()
    plain = dense.resolve_conj().resolve_neg().contiguous().flatten().view(torch.uint8)
    return hashlib.sha256(plain.numpy().tobytes()).hexdigest()[:16]


def _told(tensor: torch.Tensor) -> str:
    strides = "" if tensor.is_sparse else f" by {tuple(tensor.stride())}"
    return f"{tensor.dtype} {tuple(tensor.shape)}{strides} {digest(tensor)}"


def _tensors(model: torch.nn.Module) -> dict[str, str]:
    """Parameters and buffers under all of their names, those that no state_dict has among them."""
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    first = dict[int, str]()
    return {name: f"{_told(tensor)} first as {first.setdefault(id(tensor), name)}" for name, tensor in named}


def _outputs(model: torch.nn.Module, architecture: Architecture) -> list[tuple[torch.Tensor | None, str]]:
    torch.manual_seed(SEED)
    return list(_leaves(model(*architecture.inputs(), **architecture.kwargs()), set()))


def _leaves(value: Any, seen: set[int]) -> Iterator[tuple[torch.Tensor | None, str]]:
    """The tensors and the scalars of what a model returned: of tuples, dicts, and objects such as a cache."""
    if isinstance(value, torch.Tensor):
        yield value, _told(value)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield None, repr(key)
            yield from _leaves(item, seen)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item, seen)
    elif hasattr(value, "to_dense"):
        yield from _leaves(value.to_dense(), seen)
    elif hasattr(value, "__dict__") and not isinstance(value, type | torch.nn.Module):
        if id(value) not in seen:
            seen.add(id(value))
            yield from _leaves(vars(value), seen)
    else:
        yield None, repr(value)


def _loss(tensor: torch.Tensor) -> torch.Tensor:
    """A number on which every element of an output has another influence."""
    real = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    weights = torch.linspace(0.5, 1.5, real.numel(), dtype=torch.float64)
    return (real.double().flatten() * weights).sum()


def _optimizer(model: torch.nn.Module, *, sparse: bool) -> torch.optim.Optimizer:
    parameters = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.SGD(parameters, lr=0.1) if sparse else torch.optim.AdamW(parameters, lr=0.1)
