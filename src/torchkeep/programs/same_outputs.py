"""Does a model still compute what it did? Golden outputs against those of today."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from xxhash import xxh3_64_hexdigest

from ..errors import brief, brief_text
from .golden import (
    SAFETY,
    CannotKeep,
    Golden,
    GoldenExample,
    GoldenOutput,
    Leaf,
    Running,
    Sampled,
    bytes_of,
    call_of,
    eps_of,
    floor_of,
    in_double,
    is_floating,
    is_same,
    output_text,
    positions,
    sampled,
)

Verdict = Literal["same", "within", "different", "unknown"]


class Compared(NamedTuple):
    """How one output compares.

    Attributes:
        example: which of the calls, from 0.
        where: which output; ``""`` for all of them.
        verdict: ``"unknown"`` where it cannot be told.
        message: the same in words.
        error: the largest deviation, where there are numbers to compare.
        allowed: what would have been allowed there.
    """

    example: int
    where: str
    verdict: Verdict
    message: str
    error: float | None = None
    allowed: float | None = None


def compare(golden: Golden, module: torch.nn.Module, *, dtype: torch.dtype | None = None) -> list[Compared]:
    """Make the calls again, under the same conditions, and compare every output.

    Args:
        golden: the calls, and what they returned.
        module: the model; it is left as it was.
        dtype: what its floating-point tensors were cast to, if they were. Tolerances grow with its eps.
    """
    run = Running(module)
    found: list[Compared] = []
    for i, example in enumerate(golden.examples):
        found += _compare_call(i, example, run, dtype)
    return found


def _compare_call(i: int, example: GoldenExample, run: Running, dtype: torch.dtype | None) -> list[Compared]:
    if run.device.type == "meta":
        return [Compared(i, "", "unknown", "not compared: tensors on the meta device have no values")]
    try:
        call = call_of(example.args, example.keywords)
        if dtype is not None:
            tensors = [t.to(dtype) if t.is_floating_point() else t for t in call.tensors]
            outputs = run(call, tensors)
        else:
            outputs = run(call)
    except CannotKeep as error:
        return [Compared(i, "", "different", f"different: {error}")]
    except Exception as error:
        why = brief_text(f"{type(error).__name__}: {error}", length=600)
        return [Compared(i, "", "different", f"different: the call raised {why}")]
    expected = {each.where: each for each in example.outputs}
    found: list[Compared] = []
    for where, each in expected.items():
        if where in outputs:
            try:
                found.append(_compare_output(i, each, outputs[where], dtype))
            except (RuntimeError, TypeError, NotImplementedError) as error:  # a dtype that torch cannot compare
                found.append(_different(i, where, f"cannot be compared: {brief_text(str(error))}"))
        else:
            found.append(_different(i, where, "is not there any more"))
    new = [where for where, value in outputs.items() if where not in expected and isinstance(value, torch.Tensor)]
    return found + [_different(i, where, "was not there before") for where in new]


def _compare_output(i: int, golden: GoldenOutput, now: Leaf, cast_to: torch.dtype | None) -> Compared:
    was = golden.value
    if isinstance(was, float) and type(now) is float:
        was, now = torch.tensor(was, dtype=torch.float64), torch.tensor(now, dtype=torch.float64)
    if not isinstance(was, torch.Tensor | Sampled) or not isinstance(now, torch.Tensor):
        if type(was) is type(now) and was == now:
            return _SAME._replace(example=i, where=golden.where)
        if cast_to is not None and type(was) is type(now):
            return _untold(i, golden.where, cast_to)
        return _different(i, golden.where, f"is {_what(now)}, and was {_what(was)}")
    dtype: torch.dtype = getattr(torch, was.dtype) if isinstance(was, Sampled) else was.dtype
    if tuple(was.shape) != tuple(now.shape):
        return _different(i, golden.where, f"has shape {list(now.shape)}, and had {list(was.shape)}")
    if dtype != now.dtype and not (cast_to is not None and is_floating(dtype) and is_floating(now.dtype)):
        names = [str(each).removeprefix("torch.") for each in (now.dtype, dtype)]
        return _different(i, golden.where, f"is {names[0]}, and was {names[1]}")
    is_digest = isinstance(was, Sampled) and dtype == now.dtype and xxh3_64_hexdigest(bytes_of(now)) == was.digest
    if is_digest or (isinstance(was, torch.Tensor) and is_same(was, now)):
        return _SAME._replace(example=i, where=golden.where)
    if cast_to is None:
        return _compare_values(i, golden, was, now, golden.tolerance)
    if is_floating(dtype):  # a rounding error is in proportion to eps
        tolerance = _of_rounding(golden, dtype) * max(1.0, max(eps_of(cast_to), eps_of(now.dtype)) / eps_of(dtype))
        if tolerance < 1:
            return _compare_values(i, golden, was, now, tolerance)
    return _untold(i, golden.where, cast_to)


def _of_rounding(golden: GoldenOutput, dtype: torch.dtype) -> float:
    """The part of a tolerance that a run in another precision showed, if there was one: it grows with eps."""
    seen = golden.evidence.get("float64", golden.evidence.get("float32"))
    if seen is None or golden.scale == 0:
        return golden.tolerance
    return min(golden.tolerance, max(SAFETY * seen / golden.scale, floor_of(eps_of(dtype))))


def _untold(i: int, where: str, cast_to: torch.dtype) -> Compared:
    name = str(cast_to).removeprefix("torch.")
    text = f"not compared: the rounding of {name} may change {output_text(where)} in any way"
    return Compared(i, where, "unknown", text)


_SAME = Compared(0, "", "same", "same bits")


def _compare_values(
    i: int, golden: GoldenOutput, was: torch.Tensor | Sampled, now: torch.Tensor, tolerance: float
) -> Compared:
    if not is_floating(now.dtype):
        return _compare_exact(i, golden, was, now)
    if isinstance(was, Sampled):
        return _compare_sample(i, golden, was, now, tolerance)
    return _compare_numbers(i, golden, was, now, tolerance)


def _compare_numbers(
    i: int, golden: GoldenOutput, was: torch.Tensor, now: torch.Tensor, tolerance: float, at: torch.Tensor | None = None
) -> Compared:
    """Element by element; `at` are their numbers in a larger tensor of the shape of `now` before it was flattened."""
    x, y = in_double(was), in_double(now)
    both = torch.isfinite(x) & torch.isfinite(y)
    equal = (x == y) | (torch.isnan(x) & torch.isnan(y))
    error = torch.where(equal, 0.0, (x - y).abs())
    sizes = torch.where(both, golden.scale + x.abs(), 0.0)
    allowed = tolerance * sizes + torch.finfo(was.dtype).tiny
    wrong = ~equal & ~(both & (error <= allowed))
    finite = torch.where(both, error, 0.0)
    most = float(finite.max()) if finite.numel() else 0.0
    if not bool(wrong.any()):
        ratio = torch.where(both, error / allowed, 0.0).flatten()
        worst = int(ratio.argmax())
        bound = float(allowed.flatten()[worst])
        reached = float(finite.flatten()[worst])
        text = f"within tolerance: max error {reached:.2g} of {bound:.2g}"
        return Compared(i, golden.where, "within", text, reached, bound)
    first = int(wrong.flatten().nonzero()[0])
    bound = float(allowed.flatten()[first])
    place = _place(first if at is None else int(at[first]), golden)
    told = f"{_number(y.flatten()[first])}, and was {_number(x.flatten()[first])}"
    text = f"different: {output_text(golden.where)}{place}: {told} (max error {most:.2g}, tolerance {bound:.2g})"
    return Compared(i, golden.where, "different", text, most, bound)


def _compare_exact(i: int, golden: GoldenOutput, was: torch.Tensor | Sampled, now: torch.Tensor) -> Compared:
    """Integers and bools: the share that differs."""
    at = None
    if isinstance(was, Sampled):
        at = positions(now.numel())
        was, now = was.sample, now.contiguous().flatten()[at]
    wrong = was != now
    share = float(wrong.double().mean()) if wrong.numel() else 0.0
    if share <= golden.tolerance and share < 1 and golden.tolerance > 0:
        text = f"within tolerance: {share:.2%} of the elements differ, of {golden.tolerance:.2%}"
        return Compared(i, golden.where, "within", text, share, golden.tolerance)
    if not bool(wrong.any()):
        return _different(i, golden.where, "has other elements than it had, outside of the sample that is kept")
    first = int(wrong.flatten().nonzero()[0])
    place = _place(first if at is None else int(at[first]), golden)
    told = f"{now.flatten()[first].item()}, and was {was.flatten()[first].item()}"
    text = f"different: {output_text(golden.where)}{place}: {told} ({share:.2%} of the elements differ)"
    return Compared(i, golden.where, "different", text, share, golden.tolerance)


def _compare_sample(i: int, golden: GoldenOutput, was: Sampled, now: torch.Tensor, tolerance: float) -> Compared:
    """A large output: its sample element by element, and the statistics of all of it."""
    today = sampled(now)
    of_sample = _compare_numbers(i, golden, was.sample, today.sample, tolerance, positions(now.numel()))
    if of_sample.verdict != "within":
        return of_sample
    if was.finite != today.finite:
        return _different(i, golden.where, f"has {today.finite:,} finite elements, and had {was.finite:,}")
    for name in ("minimum", "maximum", "mean", "deviation"):
        one, other = getattr(was, name), getattr(today, name)
        allowed = tolerance * (golden.scale + abs(one) + (was.deviation if name == "deviation" else 0.0))
        if not abs(one - other) <= allowed + torch.finfo(now.dtype).tiny:
            told = f"has {name} {other:.6g}, and had {one:.6g} (tolerance {allowed:.2g})"
            return _different(i, golden.where, told)
    return of_sample._replace(message=f"{of_sample.message} (of a sample; its statistics fit)")


def _different(i: int, where: str, told: str) -> Compared:
    return Compared(i, where, "different", f"different: {output_text(where)} {told}")


def _place(element: int, golden: GoldenOutput) -> str:
    """Where an element is, as an index."""
    value = golden.value
    shape = value.shape if isinstance(value, torch.Tensor | Sampled) else ()
    index: list[str] = []
    for size in reversed(shape):
        index.append(str(element % size))
        element //= size
    return f" at ({', '.join(reversed(index))}{',' * (len(index) == 1)})" if index else ""


def _number(value: torch.Tensor) -> str:
    number = value.item()
    return f"{number:.6g}"


def _what(value: object) -> str:
    if isinstance(value, torch.Tensor | Sampled):
        return "a tensor"
    return brief(value)
