"""A module and examples of its calls -> the calls that it makes, in each mode, as `torch.export` sees them.

`torch.export.export` runs the module's own code on tensors without memory (non-strict, training IR, nothing
decomposed). `traces` turns what it gives into data at once, and `merge` makes one Program of both modes. The module is
left as it was.
Reference: https://docs.pytorch.org/docs/stable/export.html
"""

from __future__ import annotations

import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from ..errors import brief, brief_text
from . import deadline
from .examples import CannotCapture, Example, Signature
from .left_alone import left_alone
from .model import Argument, InputSpec, Mode, Parameter, Value
from .traces import Reader, Shared, Trace
from .trees import CannotDescribe, described, is_scalar


class Captured(NamedTuple):
    """The traces of the modes that could be captured, and why the others could not."""

    traces: dict[Mode, Trace]
    failures: dict[Mode, str]
    shared: Shared
    inputs: tuple[InputSpec, ...]
    parameters: tuple[Parameter, ...]
    sizes: str


MODES: tuple[Mode, ...] = ("eval", "train")


def capture(
    module: torch.nn.Module, examples: Sequence[Example], dynamic_shapes: Any = None, *, budget_s: float = 30.0
) -> Captured:
    """Capture what a module computes, in eval mode and in train mode.

    Args:
        module: any module; left as it was, its flags, its buffers and the random state included.
        examples: calls of one form. Where there are several, the sizes in which they differ vary.
        dynamic_shapes: which sizes vary: None finds out, ``"auto"``, ``"batch"`` (the first of each tensor),
            ``"static"``, or what `torch.export.export` takes, by the names of parameters.
        budget_s: seconds for each attempt but the last of finding out which sizes vary.

    Raises:
        CannotCapture: neither mode could be captured; the text says where its code stopped it.
    """
    signature = Signature(module, examples)
    levels = _levels(signature, dynamic_shapes)
    best: Captured | None = None
    for i, (label, dims) in enumerate(levels):
        limit = budget_s if i + 1 < len(levels) else None
        made = _capture_at(module, signature, dims, label, limit)
        if best is None or len(made.traces) > len(best.traces):
            best = made
        if len(made.traces) == len(MODES):
            break
    assert best is not None
    if not best.traces:
        raise CannotCapture(best.failures["eval"])
    return best


def _capture_at(
    module: torch.nn.Module, signature: Signature, dims: Any, label: str, limit_s: float | None
) -> Captured:
    shared = Shared()
    traces: dict[Mode, Trace] = {}
    failures: dict[Mode, str] = {}
    for mode in MODES:
        try:
            with left_alone(module), deadline.within(limit_s):
                for each in module.modules():
                    vars(each)["training"] = mode == "train"
                traces[mode] = _trace(module, signature, dims, shared)
        except CannotCapture as error:
            failures[mode] = str(error)
        except deadline.OutOfTime:
            failures[mode] = f"it took longer than {limit_s:g} s"
        except Exception as error:
            import os

            if os.environ.get("TKDEBUG"):
                raise
            failures[mode] = _why(error)
    inputs = tuple(
        InputSpec(
            name,
            str(tensor.dtype).removeprefix("torch."),
            {mode: trace.shapes[i] for mode, trace in traces.items()},
        )
        for i, (name, tensor) in enumerate(zip(signature.names, signature.tensors[0], strict=True))
    )
    return Captured(traces, failures, shared, inputs, signature.parameters, label)


class _Flat(torch.nn.Module):
    """The module as a function from tensors to tensors; what its output is made of is kept beside it."""

    def __init__(self, module: torch.nn.Module, signature: Signature, tell: Callable[[Argument], None]) -> None:
        super().__init__()
        self.model = module
        self._signature = signature
        self._tell = tell  # torch takes back what is assigned to a module meanwhile

    def forward(self, *tensors: torch.Tensor) -> tuple[Any, ...]:
        found: list[Any] = []

        def leaf(value: Any, where: str) -> Argument:
            found.append(value)
            return Value(len(found) - 1)

        output = self._signature.call(self.model, tensors)
        try:
            self._tell(described(output, leaf, "output"))
        except CannotDescribe as error:
            raise CannotCapture(f"of what the model returns, {error}") from error
        if not found:
            raise CannotCapture("the model returns no tensor")
        return tuple(found)


def _trace(module: torch.nn.Module, signature: Signature, dims: Any, shared: Shared) -> Trace:
    told: list[Argument] = []
    flat = _Flat(module, signature, told.append)
    with warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")
        with _counting(module) as called:
            program = torch.export.export(
                flat, tuple(signature.tensors[0]), dynamic_shapes={"tensors": dims}, strict=False
            )
    return Reader(program, told[-1], shared).trace(called)


@contextmanager
def _counting(module: torch.nn.Module) -> Iterator[Counter[str]]:
    """How often each module is called meanwhile."""
    paths = {id(each): path for path, each in module.named_modules()}
    called: Counter[str] = Counter()

    def count(each: torch.nn.Module, _: Any) -> None:
        if id(each) in paths:
            called[paths[id(each)]] += 1

    handle = torch.nn.modules.module.register_module_forward_pre_hook(count)
    try:
        yield called
    finally:
        handle.remove()


# --- which sizes vary -------------------------------------------------------------------------------


def _levels(signature: Signature, dynamic_shapes: Any) -> list[tuple[str, Any]]:
    """Attempts from the widest to the narrowest: a label, and for each tensor what each dimension may do."""
    tensors = signature.tensors[0]
    auto, fixed = torch.export.Dim.AUTO, torch.export.Dim.STATIC
    batch_of = next((tensor.shape[0] for tensor in tensors if tensor.ndim), None)

    def where(varies: Callable[[int, int, int], bool]) -> tuple[dict[int, Any], ...]:
        return tuple(
            {d: auto if size > 1 and varies(i, d, size) else fixed for d, size in enumerate(t.shape)}
            for i, t in enumerate(tensors)
        )

    static = ("static", where(lambda i, d, size: False))
    batch = ("batch", where(lambda i, d, size: d == 0 and size == batch_of))
    every = ("auto", where(lambda i, d, size: True))
    if dynamic_shapes is None and len(signature.tensors) > 1:
        differ = where(lambda i, d, size: len({each[i].shape[d] for each in signature.tensors}) > 1)
        return [("examples", differ), static]
    if dynamic_shapes is None or dynamic_shapes == "auto":
        return [every, batch, static]
    if dynamic_shapes == "batch":
        return [batch, static]
    if dynamic_shapes == "static":
        return [static]
    if isinstance(dynamic_shapes, str) or not isinstance(dynamic_shapes, Mapping | tuple | list):
        raise ValueError(
            "dynamic_shapes is 'auto', 'batch', 'static', or what torch.export.export takes, not "
            f"{brief(dynamic_shapes)}"
        )
    return [("given", _given_dims(signature, dynamic_shapes))]


def _given_dims(signature: Signature, dynamic_shapes: Any) -> tuple[Any, ...]:
    """torch's form, by the names or positions of parameters, as one a tensor."""
    arguments = signature.bound[0].arguments
    if not isinstance(dynamic_shapes, Mapping):
        dynamic_shapes = dict(zip(arguments, dynamic_shapes, strict=False))
    if unknown := [name for name in dynamic_shapes if name not in arguments]:
        raise ValueError(f"dynamic_shapes names {brief(unknown[0])}; the example gives {', '.join(arguments)}")
    found: list[Any] = []
    for name, value in arguments.items():
        _dims_of(value, dynamic_shapes.get(name), found, name)
    return tuple(found)


def _dims_of(obj: Any, dims: Any, found: list[Any], where: str) -> None:
    if isinstance(obj, torch.Tensor):
        column = list(dims.items()) if isinstance(dims, Mapping) else list(enumerate(dims or ()))
        if any(type(d) is not int or not 0 <= d < obj.ndim for d, _ in column):
            raise ValueError(f"dynamic_shapes of {where} names a dimension that it does not have: it has {obj.ndim}")
        known = dict.fromkeys(range(obj.ndim), torch.export.Dim.STATIC)
        found.append(known | {d: torch.export.Dim.STATIC if each is None else each for d, each in column})
    elif isinstance(obj, Mapping):
        for key, value in obj.items():
            _dims_of(value, dims.get(key) if isinstance(dims, Mapping) else None, found, f"{where}[{key!r}]")
    elif isinstance(obj, list | tuple):
        for i, value in enumerate(obj):
            below = dims[i] if isinstance(dims, list | tuple) and i < len(dims) else None
            _dims_of(value, below, found, f"{where}[{i}]")
    elif not is_scalar(obj):
        tensors: list[torch.Tensor] = []
        described(obj, lambda tensor, _: tensors.append(tensor), where)
        for tensor in tensors:
            _dims_of(tensor, None, found, where)


def _why(error: Exception) -> str:
    """What stopped a capture, and the last line of the program's own code that it was in."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_machinery(frame.filename)]
    where = f" at {frames[-1].filename}:{frames[-1].lineno}, `{frames[-1].line}`" if frames else ""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    text = next((line for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
    return brief_text(f"{type(cause).__name__}: {text.strip()}{where}", length=600)


def _is_machinery(filename: str) -> bool:
    parts = filename.replace("\\", "/")
    return "/torch/" in parts or "/torchkeep/" in parts or "/contextlib.py" in parts or parts.startswith("<")
