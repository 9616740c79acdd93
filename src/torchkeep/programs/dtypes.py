"""Which constants of a computation follow the dtype of its module, when somebody calls `.half()` or `.double()`.

A captured graph says ``float32`` both where the code said it (a softmax in full precision) and where it took the dtype
of a parameter (zeros for a state). What follows is seen when the module is captured again in another dtype, on tensors
without memory: a constant that is the other dtype there follows, and one that is the same does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from .align import aligned
from .model import Dtype, Float, OwnDtype, OwnLimit, leaves, parts, rebuilt
from .traces import Link, Step, Trace

Limit: TypeAlias = Literal["min", "max", "eps", "tiny"]
LIMITS: tuple[Limit, ...] = ("min", "max", "eps", "tiny")
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
                column: dict[str, Any] = each._parameters if name in each._parameters else each._buffers
                column[name] = made[id(tensor)]
    return [without_memory(tensor, every=False) for tensor in tensors]


def decided(
    trace: Trace, again: Trace, constants: Sequence[torch.Tensor], own: torch.dtype, other: torch.dtype
) -> Trace | None:
    """The trace with what follows its dtype marked; None where one of its constants has no like in the other one.

    `again` is the same in the other dtype, and `constants` are those that it uses.
    """
    signs, others = ([(step.op, step.stack[-1:]) for step in each.steps] for each in (trace, again))
    pairs = {i: j for i, j in aligned(signs, others) if i is not None and j is not None}
    left = (step for i, step in enumerate(trace.steps) if i not in pairs)
    if any(leaf == Dtype(_name(own)) for step in left for leaf in _leaves(step)):
        return None
    follow = _Follow(trace, again, pairs, own, other)
    steps = [
        follow.step(step, again.steps[pairs[i]], constants) if i in pairs else step
        for i, step in enumerate(trace.steps)
    ]
    return trace._replace(steps=steps, output=follow.mark(trace.output, again.output))


class _Follow:
    """Two traces of one computation in two dtypes, and which of their steps are one."""

    def __init__(
        self, trace: Trace, again: Trace, pairs: Mapping[int, int], own: torch.dtype, other: torch.dtype
    ) -> None:
        self._trace = trace
        self._pairs = pairs
        self._own, self._other = own, other

    def step(self, step: Step, again: Step, constants: Sequence[torch.Tensor]) -> Step:
        """A step with its marks."""
        if len(step.args) != len(again.args) or step.kwargs.keys() != again.kwargs.keys():
            return step
        if step.op in _COPIES and again.args[0].key.kind == "constant":
            if constants[again.args[0].key.number].dtype == self._other:
                return step._replace(
                    op="aten._to_copy.default",
                    schema=str(torch.ops.aten._to_copy.default._schema),
                    args=(step.args[0],),
                    kwargs={"dtype": OwnDtype()},
                    defaults=(),
                )
            return step
        kwargs = {key: self.mark(value, again.kwargs[key]) for key, value in step.kwargs.items()}
        return step._replace(args=tuple(map(self.mark, step.args, again.args)), kwargs=kwargs)

    def mark(self, here: Any, there: Any) -> Any:
        """An argument with its marks."""
        if isinstance(here, Link):
            return self._link(here, there)
        if here == Dtype(_name(self._own)) and there == Dtype(_name(self._other)):
            return OwnDtype()
        if isinstance(here, Float) and isinstance(there, Float) and here != there:
            limit = _limit(here, self._own)
            return OwnLimit(limit) if limit is not None and limit == _limit(there, self._other) else here
        below, beside = parts(here), parts(there)
        if not below or len(below) != len(beside):
            return here
        rest = iter(beside)
        return rebuilt(here, lambda part: self.mark(part, next(rest)))

    def _link(self, here: Link, there: Any) -> Link:
        """What is referred to: a tensor before it was brought to a dtype that it had, where the code means that.

        To torch a tensor and what `to` gives of it are one where `to` has nothing to do, so the reference here may be
        to either; in the other dtype they are two.
        """
        link = here
        while isinstance(there, Link):
            key = link.key
            number = self._pairs.get(key.number) if key.kind == "step" else key.number
            if (key.kind, number) == tuple(there.key):
                return link
            step = self._trace.steps[key.number] if key.kind == "step" else None
            if step is None or step.op not in _CASTS or not isinstance(step.args[0], Link):
                break
            link = step.args[0]
        return here


_COPIES = frozenset({"aten.clone.default", "aten.lift_fresh_copy.default"})
_CASTS = frozenset({"aten.to.dtype", "aten.to.dtype_layout", "aten.to.device", "aten.to.other", "aten.type_as.default"})


def _leaves(step: Step) -> Any:
    for argument in (*step.args, *step.kwargs.values()):
        yield from leaves(argument)


def _limit(number: Float, dtype: torch.dtype) -> Limit | None:
    """What a number is to a dtype."""
    value = float(number.text)
    return next((name for name in LIMITS if getattr(torch.finfo(dtype), name) == value), None)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
