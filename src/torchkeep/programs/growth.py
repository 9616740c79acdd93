"""How large a tensor an operator is asked to make: a program of a few bytes can ask for more than any memory has.

Sizes that stand in the text are looked at when it is read, and those that are computed before the call that they are
of. Only operators are asked whose result may be larger than what they are given by a number (`Op.sizes`), or by how
often they are given it. Of others none needs a check: what they make is bounded by the tensors that they get.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any, Final

import torch

from ..errors import LimitError
from ..limits import LIMITS
from .model import Argument, Choice, Float, List, Tuple
from .ops import CALLS, OPS
from .resolve import overload
from .schemas import Schema, bound, parse

Guard = Callable[[Sequence[Any], Mapping[str, Any]], None]

_FACTORS: Final = frozenset(
    {"size", "output_size", "repeats", "dims", "s", "n", "m", "row", "col", "steps", "N", "bins", "num_classes"}
    | {"num_samples", "window_length", "minlength", "chunks", "sections", "length", "n_fft"}
)
"""Arguments that are sizes or multiply them; others are added to them (paddings), or divide them (strides)."""

_RANGES: Final = {"aten.arange.default", "aten.arange.start", "aten.arange.start_step", "aten.range.default"} | {
    "aten.range.step"
}

_SUMS: Final = frozenset(
    f"aten.{name}.default"
    for name in ("cat", "concat", "concatenate", "stack", "hstack", "vstack", "dstack", "row_stack", "column_stack")
)
"""What they make is as large as what they are given, each as often as it is given."""

_PRODUCTS: Final = frozenset(
    f"aten.{name}.default" for name in ("outer", "ger", "kron", "cartesian_prod", "block_diag", "cdist")
)
"""What they make may be as large as the product of what they are given."""


# --- in the text ------------------------------------------------------------------------------------


def check(name: str, given: Mapping[str, Argument], cap: int) -> None:
    """Hold numbers that stand in a program against the cap.

    Args:
        name: an operator of the list.
        given: its arguments as data.
        cap: most elements of a tensor.

    Raises:
        LimitError: they ask for more.
    """
    sizes = OPS[name].sizes
    if not sizes:
        return
    if name in _RANGES:
        ends = {each: list(_literals(given.get(each))) for each in ("start", "end", "step")}
        if all(len(found) <= 1 for found in ends.values()) and ends["end"]:
            start, end, step = (
                next(iter(ends[each]), default) for each, default in (("start", 0), ("end", 0), ("step", 1))
            )
            _hold(name, _steps(start, end, step), cap)
        return
    asked, most = 1.0, 1.0
    for argument in sizes:
        for number in _literals(given.get(argument)):
            if argument in _FACTORS:
                asked *= max(1.0, abs(float(number)))
            most = max(most, abs(float(number)))
    _hold(name, max(asked, most), cap)


def _literals(argument: Argument | Any) -> Iterator[float]:
    """Numbers that stand in an argument; of a choice the larger ones."""
    if isinstance(argument, Choice):
        ways = [list(_literals(way)) for way in (argument.eval, argument.train)]
        yield from max(ways, key=lambda way: math.prod(max(1.0, abs(each)) for each in way))
    elif isinstance(argument, List | Tuple):
        for item in argument.items:
            yield from _literals(item)
    elif isinstance(argument, Float):
        yield float(argument.text)
    elif type(argument) is int:
        yield float(argument)


def _steps(start: float, end: float, step: float) -> float:
    return abs(end - start) / abs(step) if step else math.inf


def _hold(name: str, asked: float, cap: int) -> None:
    if not asked <= cap:  # NaN, too
        raise LimitError(
            f"the program calls {name} for a tensor of {asked:.3g} elements, and a computation may make {cap} at once. "
            "The call was not made. `limits.program_numel` says how many; a model that needs more is loaded with its "
            "classes"
        )


# --- before a call ----------------------------------------------------------------------------------


@cache
def guard_of(name: str) -> Guard | None:
    """The check before each call of what has this name in the closed list; None where there is none.

    It raises `LimitError`. A quick bound is computed first, which is enough for nearly every call; beyond it torch
    is asked for the shape, on tensors without memory.
    """
    if name in CALLS:
        return None
    cap = LIMITS.program_numel
    if name in _SUMS:

        def of_tensors(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
            _hold(name, sum([tensor.numel() for tensor in _tensors((args, tuple(kwargs.values())))]), cap)

        return of_tensors
    schema = parse(OPS[name].schema)
    assert schema
    base = name.split(".")[1]
    quick = _QUICK.get(base)
    if quick is None:
        if name not in _PRODUCTS and not OPS[name].sizes:
            return None
        quick = partial(_any_bound, OPS[name].sizes)

    def of_numbers(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        given = bound(schema, args, kwargs)
        try:
            most = quick(given)
        except LimitError:
            raise
        except (TypeError, AttributeError, KeyError, IndexError, ValueError, OverflowError):
            most = math.inf  # not what it takes: torch will say so, or the number is huge
        if most <= cap:
            return
        exact = _made(name, schema, given)
        _hold(name, _asked(OPS[name].sizes, given) if exact is None else exact, cap)

    return of_numbers


def is_slow(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a convolution or a pooling makes nothing much larger than its input, so that no call need be looked at.

    What varies from call to call may be anything but a number here.
    """
    quick = _QUICK.get(name.split(".")[1]) if name not in CALLS else None
    if not isinstance(quick, partial) or quick.func is not _windows:
        return False
    schema = parse(OPS[name].schema)
    assert schema
    given = bound(schema, args, kwargs)
    asked = [given.get(each) for each in OPS[name].sizes]
    numbers = [one for each in asked for one in (each if isinstance(each, list | tuple) else [each])]
    return all(each is None or isinstance(each, bool) or (type(each) is int and each <= _SMALL) for each in numbers)


_SMALL: Final = 64
"""Largest padding that is believed."""


def _tensors(held: Any) -> Iterator[torch.Tensor]:
    for each in held:
        if isinstance(each, torch.Tensor):
            yield each
        elif isinstance(each, list | tuple):
            yield from _tensors(each)


def _numbers(value: Any) -> Iterator[float]:
    """Numbers that ask for a size."""
    if isinstance(value, bool) or value is None:
        return
    if isinstance(value, int | float):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _numbers(each)


def _asked(sizes: Sequence[str], given: Mapping[str, Any]) -> float:
    """What numbers ask for by themselves."""
    return math.prod(
        max(1.0, abs(float(number))) for each in sizes if each in _FACTORS for number in _numbers(given.get(each))
    )


def _any_bound(sizes: Sequence[str], given: Mapping[str, Any]) -> float:
    """No operator makes more than the product of all that it is given, each number plus one."""
    wide = math.prod([max(1, size) for tensor in _tensors(given.values()) for size in tensor.shape])
    numbers = [number for each in sizes for number in _numbers(given.get(each))]
    return wide * math.prod([1.0 + max(abs(number), abs(1 / number) if number else 0) for number in numbers])


def _range(given: Mapping[str, Any]) -> float:
    start, end, step = (given.get(each, default) for each, default in (("start", 0), ("end", 0), ("step", 1)))
    return float(_steps(start, end, step) + 1)


def _factory(given: Mapping[str, Any]) -> float:
    return float(math.prod(given["size"]))


def _expanded(given: Mapping[str, Any]) -> float:
    shape, sizes = given["self"].shape, given["size"]
    new = len(sizes) - len(shape)
    return float(math.prod([size if size >= 0 else shape[at - new] for at, size in enumerate(sizes)]))


def _repeated(given: Mapping[str, Any]) -> float:
    times = given["repeats"] if "repeats" in given else given["dims"]
    return float(max(1, given["self"].numel()) * math.prod([max(1, each) for each in times]))


def _repeated_each(given: Mapping[str, Any]) -> float:
    """Each element, or each slice, as often as its own number says."""
    times, rows, along = given["repeats"], given.get("self"), given.get("dim")
    if isinstance(times, int):
        return float(rows.numel() * max(times, 1))  # type: ignore[union-attr]
    total = max(float(times.double().sum()), given.get("output_size") or 0)
    if rows is None:
        return _held_at_once(total, math.inf)
    length = rows.numel() if along is None else rows.shape[along]
    return _held_at_once(rows.numel() / max(length, 1) * total * (length if times.numel() == 1 else 1), math.inf)


def _padded(given: Mapping[str, Any]) -> float:
    shape, pads = list(given["self"].shape), given.get("pad", given.get("padding"))
    for at in range(len(pads) // 2):
        shape[-1 - at] += abs(pads[2 * at]) + abs(pads[2 * at + 1])
    return float(math.prod(shape))


def _windows(given: Mapping[str, Any], spatial: int) -> float:
    """A convolution or a pooling with stride 1: a place for each element, and for those of the padding."""
    inputs, weight = given.get("input", given.get("self")), given.get("weight")
    pads = given.get("padding", 0)
    pad = 0 if isinstance(pads, str) else max(_numbers(pads), default=0)
    held = inputs.shape[: len(inputs.shape) - spatial]
    places = math.prod([size + 2 * pad + 1 for size in inputs.shape[-spatial:]])
    if weight is None:
        return float(math.prod(held) * places)
    return float(math.prod(held[:-1]) * weight.shape[0] * places)


def _transposed(given: Mapping[str, Any], spatial: int) -> float:
    inputs, weight = given["input"], given["weight"]
    stride, more, apart = (
        max(_numbers(given.get(each, default)), default=default)
        for each, default in (("stride", 1), ("output_padding", 0), ("dilation", 1))
    )
    held = inputs.shape[: len(inputs.shape) - spatial]
    kernel = max(weight.shape[2:])
    places = math.prod([size * stride + apart * kernel + more + 1 for size in inputs.shape[-spatial:]])
    return float(math.prod(held[:-1]) * weight.shape[1] * given.get("groups", 1) * places)


def _resampled(given: Mapping[str, Any], spatial: int) -> float:
    inputs = given.get("input", given.get("self"))
    sizes = given.get("output_size")
    if sizes is None:
        return float(inputs.numel() * math.prod(given["scale_factors"]))
    each = [*_numbers(sizes)]
    return float(math.prod(inputs.shape[:-spatial]) * math.prod(each if len(each) > 1 else each * spatial))


def _one_hot(given: Mapping[str, Any]) -> float:
    index, classes = given["self"], given.get("num_classes", -1)
    if classes < 0 and index.numel() and not index.is_meta:
        classes = int(index.max()) + 1
    return _held_at_once(index.numel() * max(classes, 1), math.inf)


def _counted(given: Mapping[str, Any]) -> float:
    values = given["self"]
    most = int(values.max()) + 1 if values.numel() and not values.is_meta else 0
    return _held_at_once(max(most, given.get("minlength", 0)), math.inf)


def _combined(given: Mapping[str, Any]) -> float:
    return _held_at_once(float(given["self"].numel()) ** min(given.get("r", 2), 64), math.inf)


def _gamma(given: Mapping[str, Any]) -> float:
    tensor = given.get("self", given.get("x"))
    return _held_at_once(tensor.numel() * max(given["p"], 1), math.inf)


def _diagonal(given: Mapping[str, Any]) -> float:
    tensor, away = given["self"], abs(given.get("offset", given.get("diagonal", 0)))
    return float(max(1, tensor.numel()) + away) ** 2


def _split(given: Mapping[str, Any]) -> float:
    """How many views there will be: each is an object of its own."""
    wanted = given.get("chunks", given.get("sections"))
    return _held_at_once(wanted, _VIEWS)


_VIEWS: Final = 1 << 20


def _held_at_once(asked: float, most: float) -> float:
    """What no shape tells, so that torch need not be asked."""
    cap = min(most, LIMITS.program_numel)
    if asked > cap:
        raise LimitError(
            f"the program asks for {asked:.3g} elements at once; the limit is {cap}. The call was not made"
        )
    return 0


_QUICK: Final[dict[str, Callable[[Mapping[str, Any]], float]]] = {
    **dict.fromkeys(("arange", "range"), _range),
    **dict.fromkeys(
        ("zeros", "ones", "full", "empty", "rand", "randn", "randint", "normal", "empty_permuted"), _factory
    ),
    **dict.fromkeys(("new_zeros", "new_ones", "new_full", "new_empty"), _factory),
    **dict.fromkeys(("expand", "expand_copy", "broadcast_to"), _expanded),
    **dict.fromkeys(("repeat", "tile"), _repeated),
    "repeat_interleave": _repeated_each,
    **dict.fromkeys(("pad", "constant_pad_nd"), _padded),
    **dict.fromkeys((f"{how}_pad{n}d" for n in (1, 2, 3) for how in ("reflection", "replication")), _padded),
    **{
        f"{which}{n}d{more}": partial(_windows, spatial=n)
        for n in (1, 2, 3)
        for which, more in (("conv", ""), ("avg_pool", ""), ("max_pool", ""), ("max_pool", "_with_indices"))
    },
    **{f"conv_transpose{n}d": partial(_transposed, spatial=n) for n in (1, 2, 3)},
    **{
        f"{which}{n}d": partial(_resampled, spatial=n)
        for which, dims in (
            *(("upsample_nearest", (1, 2, 3)), ("_upsample_nearest_exact", (1, 2, 3)), ("upsample_linear", (1,))),
            *(("upsample_bilinear", (2,)), ("upsample_bicubic", (2,)), ("upsample_trilinear", (3,))),
            *(("adaptive_avg_pool", (1, 2, 3)), ("adaptive_max_pool", (1, 2, 3))),
        )
        for n in dims
    },
    "one_hot": _one_hot,
    "bincount": _counted,
    "combinations": _combined,
    **dict.fromkeys(("mvlgamma", "mvlgamma_", "special_multigammaln"), _gamma),
    **dict.fromkeys(("diag", "diag_embed", "diagflat"), _diagonal),
    **dict.fromkeys(("chunk", "hsplit", "vsplit", "dsplit", "tensor_split"), _split),
}
"""Bounds that are quick, and close for what models do. Of `tensor_split` by a tensor there are as many as it has."""


def _made(name: str, schema: Schema, given: Mapping[str, Any]) -> float | None:
    """How many elements a call would make, by torch's own rules for shapes; None where these need the values."""

    def bare(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
        return [bare(each) for each in value] if isinstance(value, list | tuple) else value

    call = {each: bare(value) for each, value in given.items() if each != "pin_memory"}
    if any(argument.name == "device" for argument in schema.arguments):
        call["device"] = torch.device("meta")
    try:
        made = overload(name, OPS[name].schema)(**call)
    except Exception as error:  # the call itself will say why
        return math.inf if "overflow" in str(error) else None
    return float(max((tensor.numel() for tensor in _tensors([made])), default=0))
