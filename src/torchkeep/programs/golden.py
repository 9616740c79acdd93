"""A call of a model and what it returned, kept to ask later: does it still compute the same?

Two runs in a row on one machine differ by nothing, so they say nothing of how far another machine, another release of
torch or another number of threads may be off. What may be expected is measured when the model is saved, from outside of
its own arithmetic: by a run in another precision, by the batch in two halves, by another number of threads, and without
oneDNN, whose kernels sum in an order of their own.

**The bound.** An element that was y may be off by ``tolerance * (scale + |y|)``: what torch calls rtol is the
tolerance, and what it calls atol is tolerance * scale. The *scale* of an output is the median of the sizes of its
elements that are neither 0 nor infinite. A sum of products is off by so much of the sizes of what was summed, not of
what the sum happens to be, so an absolute part is needed; and the median, not the largest, since outputs that a mask
filled with -1e9 have a largest element that says nothing of the others.

**The tolerance** is the largest deviation that was seen, in the same measure, times `SAFETY`, and at least `FLOOR_ULPS`
times the eps of the coarsest floating dtype among the output and the model's parameters. Why: a result in float32 has
an error that the reference in float64 shows. Another correct evaluation has one of about the same size, in another
direction, so the two differ by up to twice as much; and the largest of many errors on a machine that sums in another
order or with another exp() may be a few times the largest one here (Higham, Accuracy and Stability of Numerical
Algorithms, chapters 3 and 4: error bounds of summation hang on the order, by a factor of log n to n). The floor is for
what happens to be exact here: one rounding more of the input and of the output, each of a few ulps, as vectorized
functions of math libraries have.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

import torch
from xxhash import xxh3_64_hexdigest

from ..document import Finding
from ..errors import brief, brief_text
from ..limits import LIMITS, Limits
from .examples import Example, examples_of
from .left_alone import Storages, left_alone, seed
from .model import Argument, Dict, List, Object, Tuple, Value
from .trees import CannotDescribe, described, given, object_of

SAFETY = 8.0
"""How many times the largest deviation that was seen is allowed: twice, since two evaluations are compared, times 4
for orders of summation and functions of other machines that were not seen."""

FLOOR_ULPS = 8.0
"""Least tolerance, in units of the eps of the dtype."""

HALF_FLOOR_ULPS = 2.0
"""The same for dtypes of 16 bits and fewer: sums are made in float32, and only what they give is rounded."""

SAMPLE_SIZE = 1024
"""Elements of a large output that are kept."""

BUDGET_S = 60.0
"""Seconds after which no further run is begun to measure with."""


class Sampled(NamedTuple):
    """What is kept of an output too large to keep.

    Attributes:
        dtype: its element type by torch's name.
        shape: its sizes.
        digest: xxh3_64 of its bytes in row-major order, 16 hexadecimal digits.
        finite: how many elements are finite.
        minimum: the smallest of these; of complex ones all four of their sizes. 0 where there is none.
        maximum: the largest.
        mean: their mean.
        deviation: their standard deviation around it.
        sample: the elements at `positions`.
    """

    dtype: str
    shape: tuple[int, ...]
    digest: str
    finite: int
    minimum: float
    maximum: float
    mean: float
    deviation: float
    sample: torch.Tensor


Scalar: TypeAlias = bool | int | float | str
Leaf: TypeAlias = Scalar | torch.Tensor


class GoldenOutput(NamedTuple):
    """One tensor or number of what a call returned.

    Attributes:
        where: how it is reached, such as ``"['logits'][0]"``; ``""`` for all of it.
        value: what it was.
        scale: the size of a usual element.
        tolerance: see the module's docstring; of integers and bools, the share of them that may differ.
        evidence: the largest deviation of each sort of run: ``"float64"`` (``"float32"`` of a model in float64),
            ``"batch"``, ``"threads"``, ``"kernels"``. What could not be measured is absent.
    """

    where: str
    value: Scalar | torch.Tensor | Sampled
    scale: float
    tolerance: float
    evidence: dict[str, float]


class GoldenExample(NamedTuple):
    """One call.

    Attributes:
        args: arguments by position, fresh objects.
        keywords: arguments by name.
        random: whether the model draws random numbers in eval mode.
        outputs: what it returned.
    """

    args: tuple[Any, ...]
    keywords: dict[str, Any]
    random: bool
    outputs: tuple[GoldenOutput, ...]


class Golden(NamedTuple):
    """Calls of a model, and where they were made: ``"cpu"`` (its vector instructions), ``"device"``, ``"threads"``."""

    environment: dict[str, str]
    examples: tuple[GoldenExample, ...]


class CannotKeep(Exception):
    """Why there are no golden outputs, for a finding."""


def golden_of(module: torch.nn.Module, example: Any, *, limits: Limits = LIMITS) -> tuple[Golden | None, list[Finding]]:
    """Run the calls that a person gives, in eval mode and without gradients, and keep what they return.

    Args:
        module: any module; it is left as it was.
        example: as `examples_of` takes it.
        limits: sizes up to which tensors are kept.

    Returns:
        The calls with their outputs, or None where there is nothing to keep, and what was noticed.

    Raises:
        TypeError: `example` is of another form.
    """
    calls = examples_of(example)
    try:
        kept = _Keeper(module, limits).examples(calls)
    except CannotKeep as error:
        message = f"the outputs of the example are not kept: {error}."
        hint = "torchkeep.verify will check this file's bytes alone."
        return None, [Finding("no-golden", "warning", "", message, hint)]
    findings = list(_noticed(kept))
    return Golden(machine(device_of(module)), kept), findings


def _noticed(examples: Sequence[GoldenExample]) -> Iterator[Finding]:
    tensors = [value for example in examples for value in tensors_in((example.args, example.keywords))]
    tensors += [
        value.sample if isinstance(value, Sampled) else value
        for example in examples
        for each in example.outputs
        if isinstance(value := each.value, torch.Tensor | Sampled)
    ]
    nbytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    outputs = sum(len(example.outputs) for example in examples)
    yield Finding(
        "golden",
        "note",
        "",
        f"the file holds the example itself and what the model returned for it: {_count(len(examples), 'call')}, "
        f"{_count(outputs, 'output')}, {nbytes:,} bytes.",
        "Where they are private, save with golden=False.",
    )
    if any(example.random for example in examples):
        message = "the model draws random numbers in eval mode: its outputs are compared under a fixed seed."
        yield Finding("golden-random", "note", "", message, "Dropout that is meant to be off follows self.training.")
    for example in examples:
        for each in example.outputs:
            if each.tolerance > LOOSE and each.evidence:
                message = (
                    f"{output_text(each.where)} is off by as much as {each.tolerance / SAFETY:.2g} of its size between "
                    "precisions or sizes of a batch: a check of it will not tell much."
                )
                yield Finding("golden-loose", "note", "", message)


LOOSE = 1.0
"""A tolerance above which a comparison says little."""


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'s' * (number != 1)}"


def output_text(where: str) -> str:
    """How a message calls an output."""
    return f"output {brief_text(where)}" if where else "the output"


def machine(device: torch.device) -> dict[str, str]:
    """What decides how a machine rounds, beside the release of torch."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "device": name,
        "threads": str(torch.get_num_threads()),
    }


def device_of(module: torch.nn.Module) -> torch.device:
    """Where a module's tensors are."""
    tensors = (tensor for group in (module.parameters(), module.buffers()) for tensor in group)
    return next((tensor.device for tensor in tensors), torch.device("cpu"))


# --- calls ------------------------------------------------------------------------------------------


class Call(NamedTuple):
    """One call as data: what it is made of, and its tensors."""

    args: Argument
    keywords: Argument
    tensors: tuple[torch.Tensor, ...]

    def objects(self, tensors: Sequence[torch.Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Fresh arguments, of these tensors."""
        return given(self.args, tensors), given(self.keywords, tensors)


def call_of(args: Sequence[Any], keywords: Mapping[str, Any]) -> Call:
    """Take a call apart; its tensors are copied, to the CPU.

    Raises:
        CannotKeep: it holds what is neither a tensor nor data.
    """
    tensors: list[torch.Tensor] = []

    def leaf(tensor: Any, where: str) -> Argument:
        tensors.append(copied(tensor, where))
        return Value(len(tensors) - 1)

    try:
        found = described(tuple(args), leaf, "args"), described(dict(keywords), leaf, "kwargs")
    except CannotDescribe as error:
        raise CannotKeep(f"of the example, {error}") from error
    return Call(*found, tuple(tensors))


def copied(tensor: Any, where: str) -> torch.Tensor:
    """A copy of a plain tensor, on the CPU and of no graph.

    Raises:
        CannotKeep: it is of another sort.
    """
    plain = type(tensor) in (torch.Tensor, torch.nn.Parameter) and tensor.layout == torch.strided
    if not plain or tensor.is_meta or tensor.is_quantized or tensor.is_nested:
        raise CannotKeep(f"{where or 'it'} is a tensor of a sort that is not compared ({type(tensor).__name__})")
    dense: torch.Tensor = tensor.detach().resolve_conj().resolve_neg()
    return dense.to("cpu").clone() if dense.device.type != "cpu" else dense.clone()


def tensors_in(obj: Any) -> Iterator[torch.Tensor]:
    """Every tensor in the fresh arguments of a call."""
    if isinstance(obj, torch.Tensor):
        yield obj
    elif isinstance(obj, Mapping):
        for value in obj.values():
            yield from tensors_in(value)
    elif isinstance(obj, list | tuple):
        for value in obj:
            yield from tensors_in(value)


def leaves_of(output: Any) -> dict[str, Leaf]:
    """What a call returned, by how it is reached: tensors, numbers and texts.

    Names are told as keys, whatever holds them. What says nothing of a result is left out: None, dtypes, devices.

    Raises:
        CannotKeep: it is made of something else than tensors and data.
    """
    found: list[Leaf] = []

    def leaf(value: Any, where: str) -> Argument:
        found.append(copied(value, where))
        return Value(len(found) - 1)

    try:
        argument = described(output, leaf, "")
    except CannotDescribe as error:
        raise CannotKeep(f"of what the model returns, {error}") from error
    return dict(_flat(argument, found, ""))


def _flat(argument: Argument, found: Sequence[Leaf], where: str) -> Iterator[tuple[str, Leaf]]:
    if isinstance(argument, Value):
        yield where, found[argument.number]
    elif isinstance(argument, List | Tuple):
        for i, item in enumerate(argument.items):
            yield from _flat(item, found, f"{where}[{i}]")
    elif isinstance(argument, Dict | Object):
        keys = argument.keys if isinstance(argument, Dict) else argument.fields
        for key, value in zip(keys, argument.values, strict=True):
            yield from _flat(value, found, f"{where}[{brief(key)}]")
    elif argument is not None and isinstance(value := object_of(argument), bool | int | float | str):
        yield where, value


class Running:
    """A model that is called under the same conditions each time, and is left as it was."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.module = module
        self.device = device_of(module)
        self._storages: Storages | None = None

    def __call__(
        self, call: Call, tensors: Sequence[torch.Tensor] | None = None, *, number: int = 0
    ) -> dict[str, Leaf]:
        """What one call returns, taken apart, with the generators seeded.

        Raises:
            Exception: whatever the model raises.
        """
        tensors = call.tensors if tensors is None else tensors
        with self.at_rest():
            if self._storages is None:
                self._look(call)
            assert self._storages is not None
            with self._storages.kept():
                return self.bare(call, tensors, number)

    def bare(self, call: Call, tensors: Sequence[torch.Tensor], number: int = 0) -> dict[str, Leaf]:
        """The call alone; its tensors are copied, since the model may write into them."""
        args, keywords = call.objects([tensor.clone().to(self.device) for tensor in tensors])
        seed(number)
        return leaves_of(self.module(*args, **keywords))

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """Eval mode, no gradients, no autocast of the caller's, no warnings; all put back."""
        kind = self.device.type
        with (
            left_alone(self.module),
            torch.no_grad(),
            torch.autocast(kind if kind in ("cpu", "cuda") else "cpu", enabled=False),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            for each in self.module.modules():
                vars(each)["training"] = False
            yield

    def _look(self, call: Call) -> None:
        """A first run, which finds out what the model's code writes into its own tensors."""
        storages = Storages(self.module)
        try:
            with left_alone(self.module), storages.watched():
                self.bare(call, call.tensors)
        except Exception:  # perhaps only since it was watched
            storages.all_but_parameters()
        self._storages = storages


# --- what is kept, and how far it may be off --------------------------------------------------------


class _Keeper:
    """Runs every call, in every way that tells how far its outputs may be off."""

    def __init__(self, module: torch.nn.Module, limits: Limits) -> None:
        self._module = module
        self._run = Running(module)
        self._limits = limits
        self._left = limits.golden_nbytes
        self._began = time.monotonic()
        floating = [
            tensor.dtype
            for tensors in (module.parameters(), module.buffers())
            for tensor in tensors
            if tensor.is_floating_point() or tensor.is_complex()
        ]
        self._coarsest = max(map(eps_of, floating), default=0.0)
        self._is_double = bool(floating) and all(dtype in _DOUBLE for dtype in floating)
        self._depth = max(1, sum(not any(True for _ in each.children()) for each in module.modules()))

    def examples(self, calls: Sequence[Example]) -> tuple[GoldenExample, ...]:
        taken = [call_of(call.args, call.kwargs) for call in calls]
        nbytes = sum(tensor.numel() * tensor.element_size() for call in taken for tensor in call.tensors)
        if nbytes > self._limits.golden_inputs_nbytes:
            raise CannotKeep(
                f"its tensors have {nbytes:,} bytes, and a file keeps at most {self._limits.golden_inputs_nbytes:,}"
            )
        return tuple(map(self._example, taken))

    def _example(self, call: Call) -> GoldenExample:
        try:
            outputs: dict[str, Leaf] = self._run(call)
            again = self._run(call, number=1)
        except CannotKeep:
            raise
        except Exception as error:
            first = next((line for line in str(error).splitlines() if line.strip()), "")
            why = brief_text(f"{type(error).__name__}: {first}", length=600)
            raise CannotKeep(f"the model cannot be called with it in eval mode: {why}") from error
        random = outputs.keys() != again.keys() or not all(is_same(outputs[where], again[where]) for where in outputs)
        scales = {where: scale_of(value) for where, value in outputs.items()}
        evidence = self._evidence(call, outputs, scales, random)
        kept = []
        for where, value in outputs.items():
            seen = {name: found[where] for name, found in evidence.items() if where in found}
            tolerance = self._tolerance(value, [relative for relative, _ in seen.values()], "reference" in evidence)
            name = {"reference": "float32" if self._is_double else "float64"}
            absolute = {name.get(sort, sort): most for sort, (_, most) in seen.items()}
            kept.append(GoldenOutput(where, self._kept(value), scales[where], tolerance, absolute))
        args, keywords = call.objects(call.tensors)
        return GoldenExample(args, keywords, random, tuple(kept))

    def _kept(self, value: Leaf) -> Scalar | torch.Tensor | Sampled:
        if not isinstance(value, torch.Tensor):
            return value
        nbytes = value.numel() * value.element_size()
        if nbytes > min(self._limits.golden_tensor_nbytes, self._left):
            return sampled(value)
        self._left -= nbytes
        return value

    def _tolerance(self, value: Leaf, seen: Sequence[float], has_reference: bool) -> float:
        if isinstance(value, bool | int | str):
            return 0.0
        if isinstance(value, torch.Tensor) and not is_floating(value.dtype):
            return min(1.0, SAFETY * max(seen, default=0.0))
        own = eps_of(value.dtype) if isinstance(value, torch.Tensor) else 0.0
        floor = floor_of(max(own, self._coarsest) or torch.finfo(torch.float32).eps)
        if not has_reference:  # nothing says how errors add up on their way
            floor *= self._depth**0.5
        return max(SAFETY * max(seen, default=0.0), floor)

    # --- runs to measure with ---

    def _evidence(
        self, call: Call, outputs: dict[str, Leaf], scales: dict[str, float], random: bool
    ) -> dict[str, dict[str, tuple[float, float]]]:
        """For each sort of run and each output: the largest deviation, relative to its bound and by itself."""
        found: dict[str, dict[str, tuple[float, float]]] = {}

        def measure(sort: str, run: Callable[[], dict[str, Leaf]]) -> None:
            if time.monotonic() - self._began > BUDGET_S:
                return
            try:
                other = run()
            except Exception:  # the model's code does not take it; then there is no such evidence
                return
            both = [where for where in outputs if where in other]
            seen = {where: deviation(outputs[where], other[where], scales[where]) for where in both}
            found[sort] = {where: each for where, each in seen.items() if each is not None}

        measure("threads", lambda: self._with_other_threads(call))
        has_others: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        if has_others and self._run.device.type == "cpu" and self._coarsest < _HALF_EPS:
            measure("kernels", lambda: self._with_other_kernels(call))
        if random:  # draws hang on the dtype and on the order
            return found
        reference: dict[str, Leaf] = {}
        halves: dict[str, Leaf] = {}
        measure("reference", lambda: self._in_other_precision(call, reference, halves))
        if self._is_double and "reference" in found:  # a first-order error is in proportion to eps
            ratio = torch.finfo(torch.float64).eps / torch.finfo(torch.float32).eps
            found["reference"] = {k: (r * ratio, most * ratio) for k, (r, most) in found["reference"].items()}
        if "reference" in found:
            measure("batch", lambda: self._in_halves(call, lambda tensors: self._run(call, tensors)))
            # Where rows know nothing of each other, a batch in two halves changes nothing but the rounding. That is
            # asked in float64, in which rounding and anything else are told apart.
            seen = {where: deviation(reference[where], half, scales[where]) for where, half in halves.items()}
            alike = {where for where, each in seen.items() if each is not None and each[0] < _ROUNDING}
            alike |= {
                where for where, each in found.get("batch", {}).items() if self._is_double and each[0] < _ROUNDING
            }
            found["batch"] = {where: each for where, each in found.get("batch", {}).items() if where in alike}
        return {sort: seen for sort, seen in found.items() if seen}

    def _with_other_threads(self, call: Call) -> dict[str, Leaf]:
        before = torch.get_num_threads()
        try:
            torch.set_num_threads(1 if before > 1 else 2)
            found: dict[str, Leaf] = self._run(call)
        finally:
            torch.set_num_threads(before)
        return found

    def _with_other_kernels(self, call: Call) -> dict[str, Leaf]:
        before = torch._C._get_mkldnn_enabled()  # `torch.backends.mkldnn.flags` sets more than this, and warns
        try:
            torch._C._set_mkldnn_enabled(False)
            found: dict[str, Leaf] = self._run(call)
        finally:
            torch._C._set_mkldnn_enabled(before)
        return found

    def _in_other_precision(self, call: Call, reference: dict[str, Leaf], halves: dict[str, Leaf]) -> dict[str, Leaf]:
        """The outputs of the same model in float64, and of the two halves of a batch; of one in float64 in float32.

        Raises:
            CannotKeep: the copy would be too large.
        """
        dtype = torch.float32 if self._is_double else torch.float64
        nbytes = sum(each.numel() for each in self._module.parameters()) * dtype.itemsize
        if nbytes > self._limits.golden_reference_nbytes:
            raise CannotKeep("too large for another precision")

        def run(tensors: Sequence[torch.Tensor]) -> dict[str, Leaf]:
            return self._run.bare(call, [cast(tensor, dtype) for tensor in tensors])

        with self._run.at_rest():
            cast_in_place(self._module, dtype)
            reference.update(run(call.tensors))
            if not self._is_double:
                try:
                    halves.update(self._in_halves(call, run))
                except Exception:  # the model does not take half of its example
                    halves.clear()
        return reference

    def _in_halves(self, call: Call, run: Callable[[Sequence[torch.Tensor]], dict[str, Leaf]]) -> dict[str, Leaf]:
        """Outputs of the two halves of a batch, joined: those that follow it."""
        size = next((tensor.shape[0] for tensor in call.tensors if tensor.ndim), 0)
        if size < 2:
            return {}
        ends = (0, size // 2), (size // 2, size)
        one, other = [
            run([t[start:end] if t.ndim and t.shape[0] == size else t for t in call.tensors]) for start, end in ends
        ]
        joined: dict[str, Leaf] = {}
        for where, x in one.items():
            y = other.get(where)
            if isinstance(x, torch.Tensor) and isinstance(y, torch.Tensor):
                rows = [value.shape[0] if value.ndim else 0 for value in (x, y)]
                if rows == [end - start for start, end in ends]:
                    joined[where] = torch.cat((x, y))
        return joined


_DOUBLE = frozenset({torch.float64, torch.complex128})
_ROUNDING = 1e-8
"""A deviation in float64 below which only rounding differs."""

_HALF_EPS = float(torch.finfo(torch.float16).eps)
"""An eps from which on a dtype counts as one of 16 bits or fewer."""


def eps_of(dtype: torch.dtype) -> float:
    """The eps of a floating dtype; 0 of another."""
    return float(torch.finfo(dtype).eps) if is_floating(dtype) else 0.0


def is_floating(dtype: torch.dtype) -> bool:
    """Whether a dtype has fractions."""
    return dtype.is_floating_point or dtype.is_complex


def floor_of(eps: float) -> float:
    """The least tolerance of a dtype."""
    return eps * (HALF_FLOOR_ULPS if eps >= _HALF_EPS else FLOOR_ULPS)


def cast(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A tensor in another precision; what has no fractions as it is."""
    if tensor.is_complex():
        return tensor.to(torch.complex128 if dtype == torch.float64 else torch.complex64)
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def cast_in_place(module: torch.nn.Module, dtype: torch.dtype) -> None:
    """Put copies in another precision in the place of a model's tensors; `left_alone` puts the tensors back.

    Raises:
        CannotKeep: a tensor is of a sort that is not cast.
    """
    made: dict[int, Any] = {}  # tied weights stay tied

    def other(value: Any, level: int = 0) -> Any:
        if isinstance(value, torch.Tensor):
            if id(value) not in made:
                if type(value) not in (torch.Tensor, torch.nn.Parameter) or value.layout != torch.strided:
                    raise CannotKeep("a tensor that is not cast")
                new = cast(value.detach(), dtype)
                if new.data_ptr() == value.data_ptr():
                    new = new.clone()
                made[id(value)] = torch.nn.Parameter(new, False) if type(value) is torch.nn.Parameter else new
            return made[id(value)]
        if type(value) in (list, tuple) and level < _LEVELS:
            return type(value)([other(item, level + 1) for item in value])
        if type(value) is dict and level < _LEVELS:
            return {key: other(item, level + 1) for key, item in value.items()}
        return value

    for each in module.modules():
        state = vars(each)
        for column in ("_parameters", "_buffers"):
            for name, tensor in state[column].items():
                state[column][name] = other(tensor)
        for name, value in list(state.items()):
            if name not in _OF_MODULES and isinstance(value, torch.Tensor | list | tuple | dict):
                state[name] = other(value)


_LEVELS = 3
_OF_MODULES = frozenset(vars(torch.nn.Module()))


# --- comparing --------------------------------------------------------------------------------------


def scale_of(value: Leaf) -> float:
    """The median of the sizes of the elements that are finite and not 0; 0 where there is none."""
    if isinstance(value, bool | int | str):
        return 0.0
    tensor = torch.as_tensor(value, dtype=torch.float64) if isinstance(value, float) else value
    if not is_floating(tensor.dtype) or not tensor.numel():
        return 0.0
    sizes = in_double(tensor).abs().flatten()
    sizes = sizes[torch.isfinite(sizes) & (sizes > 0)]
    return float(sizes.median()) if sizes.numel() else 0.0


def in_double(tensor: torch.Tensor) -> torch.Tensor:
    """A floating tensor in the highest precision."""
    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)


def deviation(one: Leaf, other: Leaf, scale: float) -> tuple[float, float] | None:
    """How far two values are apart, relative to ``scale + |y|`` and by themselves; None where they cannot be compared.

    Of integers, bools and texts: the share that differs, twice.
    """
    if not isinstance(one, torch.Tensor) or not isinstance(other, torch.Tensor):
        if type(one) is not type(other):
            return None
        if not isinstance(one, float):
            return (float(one != other),) * 2
        one, other = torch.tensor(one, dtype=torch.float64), torch.tensor(other, dtype=torch.float64)
    assert isinstance(one, torch.Tensor)
    assert isinstance(other, torch.Tensor)
    if one.shape != other.shape or is_floating(one.dtype) != is_floating(other.dtype):
        return None
    if not one.numel():
        return 0.0, 0.0
    if not is_floating(one.dtype):
        share = float((one != other).double().mean())
        return share, share
    x, y = in_double(one), in_double(other)
    both = torch.isfinite(x) & torch.isfinite(y)
    if not bool(both.any()):
        return 0.0, 0.0
    x, y = x[both], y[both]
    apart = (x - y).abs()
    sizes = scale + x.abs()
    relative = torch.where(apart == 0, 0.0, apart / sizes)
    most = float(relative.max())
    return (most, float(apart.max())) if most < float("inf") else None


def is_same(one: Leaf, other: Leaf) -> bool:
    """Whether two values are the same to the bit."""
    if not isinstance(one, torch.Tensor) or not isinstance(other, torch.Tensor):
        return type(one) is type(other) and repr(one) == repr(other)
    return one.dtype == other.dtype and one.shape == other.shape and bytes_of(one) == bytes_of(other)


def bytes_of(tensor: torch.Tensor) -> memoryview:
    """The bytes of a tensor in row-major order."""
    flat = tensor.detach().contiguous().flatten()
    array: Any = flat.view(torch.uint8).numpy()
    return memoryview(array) if flat.numel() else memoryview(b"")


def sampled(tensor: torch.Tensor) -> Sampled:
    """What is kept of a large output."""
    flat = tensor.contiguous().flatten()
    numbers = flat.abs() if flat.is_complex() else flat
    numbers = numbers.to(torch.float64)
    numbers = numbers[torch.isfinite(numbers)]
    some = bool(numbers.numel())
    statistics = (
        (float(numbers.min()), float(numbers.max()), float(numbers.mean()), float(numbers.std(correction=0)))
        if some
        else (0.0,) * 4
    )
    return Sampled(
        str(tensor.dtype).removeprefix("torch."),
        tuple(tensor.shape),
        xxh3_64_hexdigest(bytes_of(tensor)),
        numbers.numel(),
        *statistics,
        flat[positions(flat.numel())].clone(),
    )


def positions(count: int) -> torch.Tensor:
    """Which elements of a large tensor are kept: `SAMPLE_SIZE` of them, spread by the golden ratio.

    Element i is number ``((i * 0x9E3779B97F4A7C15) mod 2^64) * count // 2^64``, in exact integers; of a tensor with
    fewer elements all of them. (Weyl's sequence: evenly spread, and in step with no size of a dimension.)
    """
    if count <= SAMPLE_SIZE:
        return torch.arange(count)
    return torch.tensor([(i * 0x9E3779B97F4A7C15 % 2**64) * count >> 64 for i in range(SAMPLE_SIZE)])
