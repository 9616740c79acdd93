"""A module and examples of its calls -> the calls that it makes, in each mode, as `torch.export` sees them.

`torch.export.export` runs the module's own code on tensors without memory (non-strict, training IR, nothing
decomposed). `traces` turns what it gives into data at once, and `merge` makes one Program of both modes. The module is
left as it was.
Reference: https://docs.pytorch.org/docs/stable/export.html
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from ..errors import brief, brief_text
from . import deadline, dtypes
from .examples import CannotCapture, CannotSize, Example, Signature
from .left_alone import left_alone
from .model import Argument, Dim, Extent, Formula, InputSpec, Mode, Parameter, Value
from .shapes import by_shape
from .sizes import value_of
from .traces import Reader, Seen, Shared, Trace
from .trees import CannotDescribe, described, is_scalar
from .watch import drawn_from, quiet, staying, watching


class Tried(NamedTuple):
    """A way of letting sizes vary that was tried for a mode before the one that worked, and why it did not."""

    mode: Mode
    level: str
    why: str


class Captured(NamedTuple):
    """What was captured.

    Attributes:
        traces: of the modes that could be captured.
        failures: why the others could not.
        shared: tensors that the traces use.
        inputs: what a call's tensors have to be.
        parameters: how a call is written.
        levels: for each captured mode, which sizes were let vary: a word of `LEVELS`.
        tried: what was tried before that.
        changed: attributes that the module's own code set meanwhile, as paths; its program sets none.
        stay: paths of modules that the module's own `train()` leaves in eval mode.
        own_dtype: the dtype of the module's floating-point tensors, where it is known which constants follow it.
    """

    traces: dict[Mode, Trace]
    failures: dict[Mode, str]
    shared: Shared
    inputs: tuple[InputSpec, ...]
    parameters: tuple[Parameter, ...]
    levels: dict[Mode, str]
    tried: tuple[Tried, ...]
    changed: tuple[str, ...]
    stay: tuple[str, ...]
    own_dtype: str | None


MODES: tuple[Mode, ...] = ("eval", "train")

LEVELS = {
    "auto": "every size",
    "batch": "the batch size",
    "examples": "the sizes in which the examples differ",
    "given": "the sizes that dynamic_shapes names",
    "static": "no size",
}
"""What varies, from the widest, in words."""


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
    search = _Search(module, signature, levels, budget_s)
    for mode in MODES:
        search.find(mode)
    if not search.traces:
        raise CannotCapture(search.failures["eval"])
    own_dtype = search.decide_dtypes()
    inputs = tuple(
        InputSpec(
            name,
            str(tensor.dtype).removeprefix("torch."),
            {mode: trace.shapes[i] for mode, trace in search.traces.items()},
        )
        for i, (name, tensor) in enumerate(zip(signature.names, signature.tensors[0], strict=True))
    )
    return Captured(
        search.traces,
        search.failures,
        search.shared,
        inputs,
        signature.parameters,
        search.levels,
        tuple(search.tried),
        tuple(sorted(search.changed)),
        staying(module),
        own_dtype,
    )


class _Level(NamedTuple):
    """One way of letting sizes vary: its word, the tensors that stand for the example's, and what each size may do."""

    word: str
    tensors: list[torch.Tensor]
    dims: tuple[Any, ...]


class _Search:
    """The widest level that works, mode by mode: train begins where eval ended."""

    def __init__(
        self, module: torch.nn.Module, signature: Signature, levels: Sequence[_Level], budget_s: float
    ) -> None:
        self._module = module
        self._signature = signature
        self._levels = list(levels)
        self._budget_s = budget_s
        self.shared = Shared()
        self.traces: dict[Mode, Trace] = {}
        self.failures: dict[Mode, str] = {}
        self.levels: dict[Mode, str] = {}
        self.tried: list[Tried] = []
        self.changed: set[str] = set()

    def find(self, mode: Mode) -> None:
        """Capture one mode, or note why it cannot be."""
        tried: list[Tried] = []
        for i, level in enumerate(self._levels):
            limit = self._budget_s if i + 1 < len(self._levels) else None
            shared = self.shared.copy()
            final = False
            try:
                with left_alone(self._module) as alone, deadline.within(limit):
                    for each in self._module.modules():
                        vars(each)["training"] = mode == "train"
                    trace = _trace(self._module, self._signature, level, shared, alone.note)
                    if alone.go_on():
                        self._require_the_same(trace, level, shared, sorted(alone.changed))
                        alone.forget()
                self._require_example(trace)
            except CannotCapture as error:
                why, final = str(error), not isinstance(error, CannotSize)
            except deadline.OutOfTime:
                why = f"it took longer than {limit:g} s"
            except Exception as error:
                why, final = _why(error), type(error).__name__ in _HOPELESS
            else:
                self.traces[mode], self.levels[mode], self.shared = trace, level.word, shared
                self.tried += tried
                self.changed |= alone.changed
                self._levels = self._levels[i:]
                return
            tried.append(Tried(mode, level.word, why))
            if final:
                break
        self.failures[mode] = tried[-1].why

    def decide_dtypes(self) -> str | None:
        """Find out which constants follow the dtype of the module, by capturing it in another one; None if it fails."""
        own = dtypes.own_of(self._module)
        if own is None:
            return None
        other = torch.float32 if own is torch.float64 else torch.float64
        known = dict(self.traces)
        for mode, trace in self.traces.items():
            if not dtypes.asks(trace, own):
                continue
            shared = self.shared.copy()
            try:
                with left_alone(self._module), deadline.within(self._budget_s):
                    for each in self._module.modules():
                        vars(each)["training"] = mode == "train"
                    tensors = dtypes.cast(self._module, self._signature.tensors[0], own, other)
                    static = tuple(dict.fromkeys(range(t.ndim), torch.export.Dim.STATIC) for t in tensors)
                    again = _trace(self._module, self._signature, _Level("static", tensors, static), shared)
            except (Exception, deadline.OutOfTime):
                return None
            decided = dtypes.decided(trace, again, shared.constants, own, other)
            if decided is None:
                return None
            known[mode] = decided
        self.traces = known
        return str(own).removeprefix("torch.")

    def _require_the_same(self, trace: Trace, level: _Level, shared: Shared, changed: Sequence[str]) -> None:
        """A second call computes what the first did, though the first set attributes.

        Raises:
            CannotCapture: it does not, and a program would go on as in the first call.
        """
        again = _trace(self._module, self._signature, level, shared.copy())
        if again.steps != trace.steps or again.output != trace.output:
            raise CannotCapture(
                f"a call changes {', '.join(map(brief_text, changed[:8]))}, and the next one computes something else "
                "by it; make it a buffer that is changed in place"
            )

    def _require_example(self, trace: Trace) -> None:
        """The example itself is a call of what was captured.

        Raises:
            CannotSize: it is not; that may be where something else stood for it.
        """
        tensors = self._signature.tensors[0]
        for shape, tensor in zip(trace.shapes, tensors, strict=True):
            for wanted, size in zip(shape, tensor.shape, strict=True):
                if wanted is not None and value_of(wanted, tensors) != size:
                    raise CannotSize(f"its code does not take a size of {size} as it takes others")
        if not all(value_of(guard, tensors) for guard in trace.guards):
            raise CannotSize("its code does not take the example's sizes as it takes others")


_HOPELESS = frozenset({"GuardOnDataDependentSymNode", "DataDependentOutputException", "DynamicOutputShapeException"})
"""Errors of torch about what depends on the values of tensors: no other sizes make it otherwise."""


class _Flat(torch.nn.Module):
    """The module as a function from tensors to tensors; what its output is made of is kept beside it."""

    def __init__(
        self,
        module: torch.nn.Module,
        signature: Signature,
        tell: Callable[[Argument], None],
        called: Callable[[], None],
    ) -> None:
        super().__init__()
        self.model = module
        self._signature = signature
        self._tell = tell  # torch takes back what is assigned to a module meanwhile
        self._called = called

    def forward(self, *tensors: torch.Tensor) -> tuple[Any, ...]:
        found: list[Any] = []

        def leaf(value: Any, where: str) -> Argument:
            found.append(value)
            return Value(len(found) - 1)

        drawn = drawn_from()
        buffers = [
            (each._buffers, name, value) for each in self.model.modules() for name, value in each._buffers.items()
        ]
        output = self._signature.call(self.model, tensors)
        if (now := drawn_from()) != drawn:
            what = next(name for name, state in drawn.items() if now[name] != state)
            raise CannotCapture(
                f"its code draws random numbers from {what}, and a program would give the same ones in every call; "
                "torch's own random numbers are drawn anew"
            )
        try:
            self._tell(described(output, leaf, "output"))
        except CannotDescribe as error:
            raise CannotCapture(f"of what the model returns, {error}") from error
        if not found:
            raise CannotCapture("the model returns no tensor")
        for column, name, before in buffers:
            if isinstance(before, torch.Tensor) and column.get(name) is not before:
                _copied_into(before, column.get(name), name, found)
                column[name] = before
        self._called()
        return tuple(found)


def _copied_into(buffer: torch.Tensor, value: Any, name: str, outputs: Sequence[Any]) -> None:
    """Write what took the place of a buffer into the buffer, which is how a program has it."""
    if not isinstance(value, torch.Tensor) or value.shape != buffer.shape or value.dtype != buffer.dtype:
        raise CannotCapture(f"it puts something of another shape or dtype in the place of the buffer {name!r}")
    memory = buffer.untyped_storage()._cdata
    if any(isinstance(each, torch.Tensor) and each.untyped_storage()._cdata == memory for each in outputs):
        raise CannotCapture(f"it returns the buffer {name!r} and puts another tensor in its place")
    with torch.no_grad():
        buffer.copy_(value)


def _trace(
    module: torch.nn.Module,
    signature: Signature,
    level: _Level,
    shared: Shared,
    called: Callable[[], None] = lambda: None,
) -> Trace:
    told: list[Argument] = []
    flat = _Flat(module, signature, told.append, called)
    with quiet(), torch.enable_grad(), by_shape(), watching(module) as watch:
        program = torch.export.export(flat, tuple(level.tensors), dynamic_shapes={"tensors": level.dims}, strict=False)
    plain = {path for path, each in module.named_modules() if type(each).__module__.startswith("torch.nn.")}
    trace = Reader(program, told[-1], shared).trace(Seen(watch.called, watch.reads, plain, watch.asked))
    return trace._replace(guards=[*trace.guards, *_bounds(level.dims)])


def _bounds(dims: Sequence[Mapping[int, Any]]) -> Iterator[Extent]:
    """What a person said of sizes that vary: `torch.export.Dim("batch", min=2, max=64)`."""
    for i, column in enumerate(dims):
        for d, each in column.items():
            least, most = getattr(each, "min", None), getattr(each, "max", None)
            if type(least) is int and least > 0:
                yield Formula(">=", (Dim(i, d), least))
            if type(most) is int and most < 2**31:
                yield Formula("<=", (Dim(i, d), most))


# --- which sizes vary -------------------------------------------------------------------------------


def _levels(signature: Signature, dynamic_shapes: Any) -> list[_Level]:
    """Attempts from the widest to the narrowest."""
    own = _apart(signature.tensors[0])
    auto, fixed = torch.export.Dim.AUTO, torch.export.Dim.STATIC
    batch_of = next((tensor.shape[0] for tensor in own if tensor.ndim), None)

    def level(word: str, varies: Callable[[int, int, int], bool], tensors: list[torch.Tensor] = own) -> _Level:
        dims = tuple(
            {d: auto if size > 1 and varies(i, d, size) else fixed for d, size in enumerate(t.shape)}
            for i, t in enumerate(tensors)
        )
        return _Level(word, tensors, dims)

    def is_batch(i: int, d: int, size: int) -> bool:
        return d == 0 and own[i].shape[0] == batch_of

    static = level("static", lambda i, d, size: False)
    batch = [level("batch", is_batch)]
    every = [level("auto", lambda i, d, size: True)]
    if batch_of == 1:  # torch takes a size of 1 for one that never varies
        more = [torch.cat([t, t]) if t.ndim and t.shape[0] == 1 else t for t in own]
        batch.insert(0, level("batch", is_batch, more))
        every.insert(0, level("auto", lambda i, d, size: True, more))
    if dynamic_shapes is None and len(signature.tensors) > 1:
        differ = level("examples", lambda i, d, size: len({each[i].shape[d] for each in signature.tensors}) > 1)
        return [differ, static]
    if dynamic_shapes is None or dynamic_shapes == "auto":
        return [*every, *batch, static]
    if dynamic_shapes == "batch":
        return [*batch, static]
    if dynamic_shapes == "static":
        return [static]
    if isinstance(dynamic_shapes, str) or not isinstance(dynamic_shapes, Mapping | tuple | list):
        raise ValueError(
            "dynamic_shapes is 'auto', 'batch', 'static', or what torch.export.export takes, not "
            f"{brief(dynamic_shapes)}"
        )
    return [_Level("given", own, _given_dims(signature, dynamic_shapes))]


def _apart(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Tensors that are not one another: a capture would take what an example gives twice for one input."""
    met = set[int]()
    found: list[torch.Tensor] = []
    for tensor in tensors:
        found.append(torch.empty_like(tensor, requires_grad=tensor.requires_grad) if id(tensor) in met else tensor)
        met.add(id(tensor))
    return found


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
    if type(cause).__name__ == "GuardOnDataDependentSymNode":
        return brief_text(f"what it does next depends on the values of a tensor{where}", length=600)
    text = next((line for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
    return brief_text(f"{type(cause).__name__}: {text.strip()}{where}", length=600)


def _is_machinery(filename: str) -> bool:
    parts = filename.replace("\\", "/")
    return "/torch/" in parts or "/torchkeep/" in parts or "/contextlib.py" in parts or parts.startswith("<")
