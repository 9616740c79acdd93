"""Which constants of a computation follow the dtype of its module, when somebody calls `.half()` or `.double()`.

A captured graph says ``float32`` both where the code said it (a softmax in full precision) and where it took the dtype
of a parameter (zeros for a state). What follows is seen when the module is captured again in another dtype, on tensors
without memory: a constant that is the other dtype there follows, and one that is the same does not.
"""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import Any, Literal

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from .model import Dtype, Float, OwnDtype, OwnLimit, leaves, parts, rebuilt
from .traces import Step, Trace

_OwnName = Literal["min", "max", "eps", "tiny"]
_OWN: tuple[_OwnName, ...] = ("min", "max", "eps", "tiny")
"""Numbers that belong to a dtype, which masks and divisions are made of."""


def own_of(module: torch.nn.Module) -> torch.dtype | None:
    """The dtype of a module: of its floating-point parameters, or else buffers; None where they are of several."""
    for tensors in (module.parameters(), module.buffers()):
        found = {tensor.dtype for tensor in tensors if tensor.is_floating_point()}
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def asks(trace: Trace, own: torch.dtype) -> bool:
    """Whether anything may follow the dtype."""
    return any(_asks(leaf, own) for step in trace.steps for leaf in _leaves(step))


def _asks(leaf: Any, own: torch.dtype) -> bool:
    return leaf == Dtype(_name(own)) or (isinstance(leaf, Float) and _limit(leaf, own) is not None)


def cast(
    module: torch.nn.Module, tensors: list[torch.Tensor], own: torch.dtype, other: torch.dtype
) -> list[torch.Tensor]:
    """Put tensors without memory, in another dtype, in the place of a module's own; give inputs that fit them."""
    mode = FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv())
    made: dict[int, torch.Tensor] = {}

    def without_memory(tensor: torch.Tensor, *, every: bool) -> torch.Tensor:
        dtype = other if tensor.dtype == own or (every and tensor.is_floating_point()) else tensor.dtype
        with mode:
            return torch.empty_strided(tensor.shape, tensor.stride(), dtype=dtype, device=tensor.device)

    for each in module.modules():
        for name, tensor in [*each._parameters.items(), *each._buffers.items()]:
            if tensor is None:
                continue
            if id(tensor) not in made:
                fake = without_memory(tensor, every=True)
                if isinstance(tensor, torch.nn.Parameter):
                    with mode:
                        fake = torch.nn.Parameter(fake, requires_grad=tensor.requires_grad)
                made[id(tensor)] = fake
            if isinstance(each, torch.nn.RNNBase):  # keeps a list of its weights
                setattr(each, name, made[id(tensor)])
            else:
                held: dict[str, Any] = each._parameters if name in each._parameters else each._buffers
                held[name] = made[id(tensor)]
    return [without_memory(tensor, every=False) for tensor in tensors]


def decided(trace: Trace, again: Trace, own: torch.dtype, other: torch.dtype) -> Trace | None:
    """The trace with what follows its dtype marked; None where one of its constants has no like in the other one."""
    signs, others = ([(step.op, step.stack[-1:]) for step in each.steps] for each in (trace, again))
    steps = list(trace.steps)
    matched = set[int]()
    for block in SequenceMatcher(None, signs, others, autojunk=False).get_matching_blocks():
        for i, j in zip(range(block.a, block.a + block.size), range(block.b, block.b + block.size), strict=True):
            steps[i] = _followed(steps[i], again.steps[j], own, other)
            matched.add(i)
    left = (step for i, step in enumerate(steps) if i not in matched)
    if any(leaf == Dtype(_name(own)) for step in left for leaf in _leaves(step)):
        return None
    return trace._replace(steps=steps)


def _followed(step: Step, again: Step, own: torch.dtype, other: torch.dtype) -> Step:
    def mark(here: Any, there: Any) -> Any:
        if here == Dtype(_name(own)) and there == Dtype(_name(other)):
            return OwnDtype()
        if isinstance(here, Float) and isinstance(there, Float) and here != there:
            limit = _limit(here, own)
            return OwnLimit(limit) if limit is not None and limit == _limit(there, other) else here
        below, beside = parts(here), parts(there)
        if not below or len(below) != len(beside):
            return here
        rest = iter(beside)
        return rebuilt(here, lambda part: mark(part, next(rest)))

    if len(step.args) != len(again.args) or step.kwargs.keys() != again.kwargs.keys():
        return step
    args = tuple(map(mark, step.args, again.args))
    return step._replace(args=args, kwargs={key: mark(value, again.kwargs[key]) for key, value in step.kwargs.items()})


def _leaves(step: Step) -> Any:
    for argument in (*step.args, *step.kwargs.values()):
        yield from leaves(argument)


def _limit(number: Float, dtype: torch.dtype) -> _OwnName | None:
    """What a number is to a dtype."""
    value = float(number.text)
    return next((name for name in _OWN if getattr(torch.finfo(dtype), name) == value), None)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
