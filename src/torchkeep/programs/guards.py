"""Checks before a call: what an operator of the closed list should have refused, and does not.

Each is here because a process died of its absence (`tests/attacks/ops_fuzz.py`). A guard gets the arguments of one
call and raises `ProgramError`, or returns; it looks at types, shapes and numbers, and at values only where a kernel
believes them. Operators without an entry check their arguments themselves, as far as trying told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Final, NoReturn

import torch

from ..errors import ProgramError
from .ops import CALLS, OPS
from .schemas import Argument, bound, parse

Guard = Callable[[Sequence[Any], Mapping[str, Any]], None]

_BITS: Final = 128
"""Bits of the largest number that arithmetic of a program may reach; sizes have 63."""


@cache
def guard_of(name: str) -> Guard | None:
    """The check before each call of what has this name in the closed list; None where there is none."""
    if name in CALLS:
        return _of_python(name)
    schema = parse(OPS[name].schema)
    assert schema
    base = name.split(".")[1]
    strict = [one for one in schema.arguments if one.type.rstrip("?") in _EXACT]
    needed = {one.name for one in schema.arguments if one.default is None}
    special = _SPECIAL.get(base)
    if not strict and special is None:
        return None

    def guard(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        given = bound(schema, args, kwargs)
        if special is not None and not needed <= given.keys():
            _refuse(name, f"{', '.join(sorted(needed - given.keys()))} is missing")
        for argument in strict:
            if argument.name in given:
                _exact(name, argument, given[argument.name])
        if special is None:
            return
        try:
            special(name, given)
        except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RuntimeError):
            _refuse(name, "they are not of the types that it takes")

    return guard


def varies(name: str) -> bool:
    """Whether the check looks at values, which differ from call to call; any other looks at literals."""
    return name in CALLS or name.split(".")[1] in _SPECIAL


def is_of_numbers(name: str) -> bool:
    """Whether the check looks at numbers alone, so that once will do where these are literals."""
    return name not in CALLS and _SPECIAL.get(name.split(".")[1]) is _bounded


def _refuse(name: str, why: str) -> NoReturn:
    raise ProgramError(
        f"The program calls {name} with arguments that it cannot take: {why}. The call was not made. Give the program "
        "inputs like those that it was saved with; if they are, the file is damaged or was not made by torchkeep."
    )


# --- what every operator believes -------------------------------------------------------------------

_EXACT: Final[dict[str, type]] = {
    "ScalarType": torch.dtype,
    "Layout": torch.layout,
    "MemoryFormat": torch.memory_format,
    "Device": torch.device,
}
"""Types for which torch takes any number, and reads outside of a table where it is none of theirs."""


_DTYPES: Final = frozenset(
    found
    for name in (
        *("float16", "bfloat16", "float32", "float64", "complex32", "complex64", "complex128", "bool"),
        *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"),
    )
    if (found := getattr(torch, name, None)) is not None
)
"""Those whose elements fill bytes of their own; quantized ones and bit fields have kernels that believe more."""


_DEVICES: Final = frozenset({"cpu", "cuda", "mps", "xpu"})


def plain(tensor: torch.Tensor) -> bool:
    """Whether a tensor is what the operators of the list may be given: strided, with memory, of a plain dtype.

    Whoever runs a program asks this of its inputs and constants; operators of the list then make no others.
    """
    return tensor.layout is torch.strided and tensor.dtype in _DTYPES and not tensor.is_meta and not tensor.is_nested


def _exact(name: str, argument: Argument, value: Any) -> None:
    wanted = _EXACT[argument.type.rstrip("?")]
    if value is None and argument.type.endswith("?"):
        return
    if wanted is torch.device:
        value = torch.device(value) if isinstance(value, str) and value in _DEVICES else value
        plain = isinstance(value, torch.device) and value.type != "meta"
    elif wanted is torch.dtype:
        plain = isinstance(value, torch.dtype) and value in _DTYPES
    else:
        plain = isinstance(value, wanted) and (wanted is not torch.layout or value is torch.strided)
    if not plain:
        _refuse(name, f"{argument.name} is {str(value)[:80]!r}")


# --- Python's functions -----------------------------------------------------------------------------


def _of_python(name: str) -> Guard:
    call = CALLS[name]
    extra = {"python.mul": _product, "python.pow": _power, "python.lshift": _shifted}.get(name)

    def guard(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        if kwargs or not call.least <= len(args) <= call.most:
            _refuse(name, f"it takes {call.least} to {call.most} of them, and there are {len(args) + len(kwargs)}")
        if name == "python.getitem":
            if not isinstance(args[0], (list, tuple)) or type(args[1]) is not int:
                _refuse(name, "it takes a list and a position")
            return
        numbers = args
        if name == "torch.sym_sum" and len(args) == 1 and isinstance(args[0], (list, tuple)):
            numbers = args[0]
        for one in numbers:
            if not isinstance(one, (int, float, torch.SymInt, torch.SymFloat, torch.SymBool)):
                _refuse(name, f"a {type(one).__name__} is no number")
            if isinstance(one, int) and one.bit_length() > _BITS:
                _refuse(name, f"a number of {one.bit_length()} bits is too large")
        if extra and all(isinstance(one, int) for one in args):
            extra(name, args)

    return guard


def _product(name: str, args: Sequence[int]) -> None:
    if sum(one.bit_length() for one in args) > _BITS:
        _refuse(name, "the product is too large")


def _power(name: str, args: Sequence[int]) -> None:
    base, exponent = args
    if exponent > 0 and abs(base) > 1 and base.bit_length() * exponent > _BITS:
        _refuse(name, "the power is too large")


def _shifted(name: str, args: Sequence[int]) -> None:
    if args[1] > _BITS or args[0].bit_length() + args[1] > _BITS:
        _refuse(name, "the number is too large")


# --- single operators -------------------------------------------------------------------------------


def _recurrent(name: str, given: Mapping[str, Any]) -> None:
    """The kernels of recurrent layers believe the shapes of states and weights."""
    kind = name.split(".")[1].split("_", maxsplit=1)[0]
    packed = name.endswith(".data")
    gates = {"lstm": 4, "gru": 3, "rnn": 1}[kind]
    inputs = given["data" if packed else "input"]
    states = given["hx"] if kind == "lstm" else [given["hx"]]
    weights, layers = given["params"], given["num_layers"]
    biased, both = given["has_biases"], given["bidirectional"]
    tensors = [inputs, *states, *weights] if isinstance(states, (list, tuple)) else []
    if not tensors or not all(isinstance(one, torch.Tensor) for one in tensors):
        _refuse(name, "states and weights are lists of tensors")
    if len({(one.dtype, one.device, one.layout) for one in tensors}) > 1 or not inputs.is_floating_point():
        _refuse(name, "input, states and weights are of one float dtype and on one device")
    if inputs.layout is not torch.strided or inputs.is_meta:
        _refuse(name, "the input has no memory of its own")
    ways, each = (2 if both else 1), (4 if biased else 2)
    if len(states) != (2 if kind == "lstm" else 1) or type(layers) is not int or not 0 < layers <= len(weights):
        _refuse(name, "the number of states or of layers is not that of its kind")
    hidden, out = states[-1].shape[-1] if states[-1].dim() else 0, states[0].shape[-1] if states[0].dim() else 0
    projected = kind == "lstm" and out != hidden
    each += projected
    if len(weights) != layers * ways * each or hidden < 1 or out < 1:
        _refuse(name, f"{len(weights)} weights are not those of {layers} layers")
    if inputs.dim() != (2 if packed else 3) or 0 in inputs.shape:
        _refuse(name, f"the input is of shape {list(inputs.shape)}")
    if packed:
        sizes = given["batch_sizes"]
        _sizes_of_batches(name, sizes, len(inputs))
        batch = int(sizes[0])
    else:
        batch = inputs.shape[0 if given["batch_first"] else 1]
    for state, width in zip(states, (out, hidden) if kind == "lstm" else (hidden,), strict=True):
        if state.shape != (layers * ways, batch, width):
            _refuse(name, f"a state is of shape {list(state.shape)}")
    for at in range(layers * ways):
        wide = inputs.shape[-1] if at < ways else out * ways
        wanted: list[tuple[int, ...]] = [(gates * hidden, wide), (gates * hidden, out)]
        wanted += [(gates * hidden,)] * 2 * bool(biased) + [(out, hidden)] * projected
        for weight, shape in zip(weights[at * each :], wanted, strict=False):
            if tuple(weight.shape) != shape:
                _refuse(name, f"a weight of shape {list(weight.shape)} stands where {list(shape)} belongs")


def _sizes_of_batches(name: str, sizes: Any, rows: int) -> None:
    if not isinstance(sizes, torch.Tensor) or sizes.dtype != torch.int64 or sizes.dim() != 1 or sizes.is_meta:
        _refuse(name, "the sizes of the batches are no list of integers")
    told = sizes.tolist()
    if not told or told[-1] < 1 or sum(told) != rows or told != sorted(told, reverse=True):
        _refuse(name, "the sizes of the batches do not fit the input")


def _weight_norm(name: str, given: Mapping[str, Any]) -> None:
    """The kernel for the first and the last dimension believes that there is one magnitude for each place of it."""
    values, sizes, along = given["v"], given["g"], given.get("dim", 0)
    if not (isinstance(values, torch.Tensor) and isinstance(sizes, torch.Tensor) and type(along) is int):
        _refuse(name, "it takes two tensors and a dimension")
    if values.numel() == 0 or (values.dtype, values.device) != (sizes.dtype, sizes.device):
        _refuse(name, "v is empty, or not like g")
    if along in (0, values.dim() - 1):
        wanted = [size if at == along else 1 for at, size in enumerate(values.shape)]
        if list(sizes.shape) != wanted:
            _refuse(name, f"g is of shape {list(sizes.shape)} where {wanted} belongs")


def _repeated(name: str, given: Mapping[str, Any]) -> None:
    """How often each element is repeated is added up without a look at what 64 bits hold."""
    repeats = given["repeats"]
    if isinstance(repeats, torch.Tensor) and repeats.numel() and not repeats.is_meta and repeats.dtype in _COUNTS:
        least, total = repeats.min(), repeats.double().sum()
        if least < 0 or total > _ELEMENTS:
            _refuse(name, "the repeats add up to too many")


def _labels(name: str, given: Mapping[str, Any]) -> None:
    """A label of a target picks a class, whether there is one or not."""
    targets, classes = given["targets"], given["log_probs"].shape[-1]
    if targets.numel() and not (int(targets.min()) >= 0 and int(targets.max()) < classes):
        _refuse(name, f"a label of the targets is none of {classes} classes")


def _bags(name: str, given: Mapping[str, Any]) -> None:
    """Where bags begin is believed where there are none."""
    weight, indices, offsets = given["weight"], given["indices"], given["offsets"]
    if (weight.dim(), indices.dim(), offsets.dim()) != (2, 1, 1) or not offsets.numel():
        _refuse(name, "it takes a table, a row of indices and a row of offsets, which is not empty")
    scales = given.get("per_sample_weights")
    if scales is not None and (scales.shape != indices.shape or scales.dtype != weight.dtype):
        _refuse(name, "there is not one weight for each index")


def _finite(name: str, given: Mapping[str, Any]) -> None:
    """LAPACK's search for eigenvalues reads outside of a matrix that is not finite."""
    matrix = given["self"]
    if isinstance(matrix, torch.Tensor) and not matrix.is_meta and not bool(torch.isfinite(matrix).all()):
        _refuse(name, "self is not finite")


def _bounded(name: str, given: Mapping[str, Any]) -> None:
    """Numbers that are negated, or rounded up to, with no look at what 64 bits hold."""
    for argument, value in given.items():
        for one in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(one, int) and abs(one) > _LARGEST:
                _refuse(name, f"{argument} is {one}")


_LARGEST: Final = 1 << 24
_COUNTS: Final = (torch.int64, torch.int32)
_ELEMENTS: Final = 2.0**40
"""More elements than any memory has."""

_SPECIAL: Final[dict[str, Callable[[str, Mapping[str, Any]], None]]] = {
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), _recurrent),
    "_weight_norm": _weight_norm,
    "repeat_interleave": _repeated,
    "ctc_loss": _labels,
    "embedding_bag": _bags,
    **dict.fromkeys(("linalg_eigvals", "linalg_eig"), _finite),
    **dict.fromkeys(("matrix_power", "linalg_matrix_power"), _bounded),
    **dict.fromkeys((f"max_pool{n}d{which}" for n in (1, 2, 3) for which in ("", "_with_indices")), _bounded),
}
