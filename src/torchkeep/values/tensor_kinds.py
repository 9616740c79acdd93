"""Tensors that are more than strided memory: sparse, quantized, nested, without values, of a subclass.

Each is a node whose fields are plain tensors and numbers. What a node says of them was held against the standard
by `document.check`; what only their values can tell (indices in bounds, lengths that fit) is checked here, before
torch makes a tensor of them that it then believes.
"""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Callable
from typing import Any

import torch

from ..document import PARAMETER, QUANTIZED, REQUIRES_GRAD, SPARSE_LAYOUTS, packed_nbytes
from ..errors import FormatError, LoadError
from .dtypes import BY_NAME, dtype_name
from .encode import Context, Hidden, Parts, Step, codecs_by_base, is_plain, typed
from .pack import over
from .place import move
from .registry import class_name
from .torch_table import is_torch

# --- taking apart -----------------------------------------------------------------------------------


def _tensor(obj: torch.Tensor, context: Context) -> Parts:
    """Any tensor that is not plain."""
    if torch.nn.parameter.is_lazy(obj):
        raise context.unsaveable(obj, "is not initialized", way_out="Run one batch through the lazy module first.")
    if type(obj) not in (torch.Tensor, torch.nn.Parameter):
        return _of_subclass(obj, context)
    context.look_at_hooks(obj)
    bare = obj.detach()
    if obj.device.type == "meta":
        if obj.layout != torch.strided or obj.is_nested or obj.is_quantized:
            raise context.unsaveable(obj, "is on the meta device and not strided", way_out="Give it values first.")
        parts = _meta(bare)
        context.note("no-values", "warning", "is on the meta device, so its shape is saved and no values.")
    elif obj.is_nested:
        parts = _nested(bare)
    elif obj.is_quantized:
        parts = _quantized(bare)
    elif obj.layout in _SPARSE:
        try:
            parts = _sparse(bare)
        except RuntimeError as error:  # what torch was told, and did not check
            raise context.unsaveable(obj, f"is no {_SPARSE[obj.layout]} tensor: {error}") from error
    else:
        raise context.unsaveable(obj, f"has layout {obj.layout}", way_out="Convert it with to_dense().")
    kind, fields = parts
    fields["flags"] = _flags(obj)
    if vars(obj):
        fields["attributes"] = Hidden(vars(obj))
    return typed(kind, fields, {name: Step(f".{name}", name, hidden=True) for name in fields})


_SPARSE = {getattr(torch, name): name for name in SPARSE_LAYOUTS}

_Fields = tuple[str, dict[str, Any]]


def _flags(tensor: torch.Tensor) -> int:
    return PARAMETER * isinstance(tensor, torch.nn.Parameter) + REQUIRES_GRAD * bool(tensor.requires_grad)


def _meta(tensor: torch.Tensor) -> _Fields:
    fields = {"dtype": dtype_name(tensor.dtype), "shape": tuple(tensor.shape), "strides": tensor.stride()}
    return "torch.meta", fields


def _sparse(tensor: torch.Tensor) -> _Fields:
    fields: dict[str, Any] = {"layout": _SPARSE[tensor.layout], "shape": tuple(tensor.shape), "compressed": None}
    if tensor.layout is torch.sparse_coo:
        if tensor.is_coalesced() and not _is_in_order(tensor._indices()):  # torch permutes dimensions without a look
            tensor = torch.sparse_coo_tensor(tensor._indices(), tensor._values(), tensor.shape).coalesce()
        indices, values = _whole(tensor._indices()), _whole(tensor._values())
        return "torch.sparse", fields | {"indices": indices, "values": values, "coalesced": tensor.is_coalesced()}
    by_row = tensor.layout in (torch.sparse_csr, torch.sparse_bsr)
    pointers = tensor.crow_indices() if by_row else tensor.ccol_indices()
    indices, values = _sorted(pointers, tensor.col_indices() if by_row else tensor.row_indices(), tensor.values())
    torch._validate_sparse_compressed_tensor_args(pointers, indices, values, tensor.shape, tensor.layout)
    fields |= {"compressed": _whole(pointers), "indices": _whole(indices), "values": _whole(values)}
    return "torch.sparse", fields | {"coalesced": False}


def _sorted(pointers: torch.Tensor, indices: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices that grow in each row, and their values: what torch multiplies need not be in order, and a file is."""
    if not indices.numel():
        return indices, values
    count = indices.shape[-1]
    flat, line = indices.reshape(-1, count), torch.arange(count, device=indices.device)
    orders = []
    for ends, each in zip(pointers.reshape(-1, pointers.shape[-1]), flat, strict=True):
        by_index = torch.argsort(each, stable=True)
        row = torch.searchsorted(ends[1:].contiguous(), line.to(ends.dtype), right=True)
        orders.append(by_index[torch.argsort(row[by_index], stable=True)])
    order = torch.stack(orders)
    if torch.equal(order, line.expand(order.shape)):
        return indices, values
    batch = torch.arange(len(flat), device=indices.device)[:, None]
    arranged = values.reshape(len(flat), count, *values.shape[indices.dim() :])[batch, order]
    return flat[batch, order].reshape(indices.shape), arranged.reshape(values.shape)


def _whole(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor that has a byte of memory for each of its own: what is expanded is written out."""
    held = tensor.untyped_storage().nbytes()
    return tensor.contiguous() if tensor.numel() * tensor.itemsize > held else tensor


def _quantized(tensor: torch.Tensor) -> _Fields:
    name = str(tensor.dtype).removeprefix("torch.")
    carrier, nbits = QUANTIZED[name]
    raw = torch.empty(0, dtype=BY_NAME[carrier], device=tensor.device)
    if nbits < 8:  # several elements a byte
        whole = tensor.contiguous()
        data = over(raw, whole.untyped_storage(), 0, (packed_nbytes(tuple(tensor.shape), nbits),), (1,))
    else:
        data = over(raw, tensor.untyped_storage(), int(tensor.storage_offset()), tuple(tensor.shape), tensor.stride())
        data = _whole(data)
    per_tensor = tensor.qscheme() == torch.per_tensor_affine
    return "torch.quantized", {
        "dtype": name,
        "shape": tuple(tensor.shape),
        "data": data,
        "scale": float(tensor.q_scale()) if per_tensor else _whole(tensor.q_per_channel_scales()),
        "zero_point": int(tensor.q_zero_point()) if per_tensor else _whole(tensor.q_per_channel_zero_points()),
        "axis": None if per_tensor else int(tensor.q_per_channel_axis()),
    }


def _nested(tensor: torch.Tensor) -> _Fields:
    storage, nothing = tensor.untyped_storage(), torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    offsets = tensor._nested_tensor_storage_offsets()
    sizes, strides = tensor._nested_tensor_size(), tensor._nested_tensor_strides()
    if not offsets.numel():  # torch has neither sizes nor strides then, in no dimension
        sizes, strides = (torch.empty(0, 0, dtype=torch.int64) for _ in range(2))
    values = over(nothing, storage, 0, (storage.nbytes() // tensor.itemsize,), (1,))
    return "torch.nested", {"values": values, "sizes": sizes, "strides": strides, "offsets": offsets}


def _jagged(tensor: Any, context: Context) -> Parts:
    """torch's own nested tensors of layout ``torch.jagged``."""
    if tensor.device.type == "meta":
        raise context.unsaveable(tensor, "is a jagged tensor on the meta device", way_out="Give it values first.")
    offsets, lengths = _whole(tensor._offsets), tensor._lengths
    used = offsets.diff() if lengths is None else lengths
    least, most = tensor._maybe_min_seqlen, tensor._maybe_max_seqlen
    fields = {
        "values": _whole(tensor._values.detach()),
        "offsets": offsets,
        "lengths": None if lengths is None else _whole(lengths),
        "ragged_dim": int(tensor._ragged_idx),
        "min_length": None if least is None or (used < least).any() else least,  # torch was told so, and finds it again
        "max_length": None if most is None or (used > most).any() else most,
        "flags": _flags(tensor),
    }
    return typed("torch.jagged", fields, {name: Step(f".{name}", name, hidden=True) for name in fields})


def _of_subclass(tensor: torch.Tensor, context: Context) -> Parts:
    """A tensor subclass: through its own ``__tensor_flatten__``, or as the plain tensor that it is a view of."""
    cls = type(tensor)
    if class_name(cls) == _JAGGED:
        return _jagged(tensor, context)
    if is_torch(class_name(cls)):
        whole = "full_tensor()" if hasattr(cls, "full_tensor") else "to_dense() or dequantize()"
        raise context.unsaveable(tensor, "is a subclass of torch's own", way_out=f"Convert it first, such as {whole}.")
    flatten = getattr(cls, "__tensor_flatten__", None)
    if flatten is None:
        return _as_base(tensor, context)
    if not hasattr(cls, "__tensor_unflatten__"):
        raise context.unsaveable(tensor, "has a __tensor_flatten__ and no __tensor_unflatten__")
    context.look_at_hooks(tensor)
    found = context.ask(tensor, flatten, tensor)
    if type(found) is not tuple or len(found) != 2 or not all(type(name) is str for name in found[0]):
        raise context.unsaveable(tensor, "has a __tensor_flatten__ that does not give names and a context")
    names, held = found
    inner = {name: getattr(tensor, name, None) for name in names}
    if bad := [name for name, each in inner.items() if not isinstance(each, torch.Tensor)]:
        raise context.unsaveable(tensor, f"has a __tensor_flatten__ that names {bad[0]!r}, which is no tensor")
    fields = {
        "class": context.remember(cls),
        "tensors": Hidden(inner),
        "context": _own(held),
        "shape": tuple(tensor.shape),
        "strides": tuple(tensor.stride()),
        "flags": _flags(tensor),
    }
    return typed("wrapper_tensor", fields, {"context": Step(".__tensor_flatten__()", hidden=True)})


_JAGGED = "torch.nested._internal.nested_tensor:NestedTensor"


def _own(held: Any) -> Any:
    """A container that ``__tensor_flatten__`` made: its own node, whoever else holds that one."""
    return held.copy() if type(held) in (dict, list, set) else held


def _as_base(tensor: torch.Tensor, context: Context) -> Parts:
    with torch._C.DisableTorchFunctionSubclass():  # what the class makes of its functions is no part of it
        base = tensor.detach().as_subclass(torch.Tensor).resolve_conj().resolve_neg()
    if not is_plain(base):
        raise context.unsaveable(tensor, "is of a tensor subclass without __tensor_flatten__, and not strided")
    context.look_at_hooks(tensor)
    attributes = {name: value for name, value in vars(tensor).items() if name != "_is_param"}
    fields: dict[str, Any] = {"class": context.remember(type(tensor)), "data": base, "flags": _flags(tensor)}
    if attributes:
        fields["attributes"] = Hidden(attributes)
    return typed("tensor_subclass", fields, {"data": Step(hidden=True)})


codecs_by_base[torch.Tensor] = _tensor


# --- putting together -------------------------------------------------------------------------------


_MAKING = threading.Lock()
"""Filters of warnings belong to the process: two loads do not change them at once."""


def make(kind: str, fields: dict[str, Any], device: torch.device) -> torch.Tensor:
    """The tensor of a node that needs no class, made of tensors on the CPU and then brought to its device.

    torch's own functions check what they are told to; the rest would be believed, and is checked before.

    Raises:
        FormatError: K-5, its tensors hold what no such tensor has.
        DeviceError: the device has no such tensors.
    """
    try:
        with _MAKING, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, that such tensors are new or old: for whoever chose them
            made: torch.Tensor = _MAKE[kind](fields)
    except (RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"no {kind} tensor: {error}", clause="K-5") from error
    if device.type != "cpu" and made.device.type != "meta":
        made = move(made, device, name=f"a {kind} tensor")
    return _finished(made, fields)


def make_of(cls: type[torch.Tensor], kind: str, fields: dict[str, Any]) -> torch.Tensor:
    """A tensor of a subclass that the caller named: its own ``__tensor_unflatten__`` makes it, or it is a view.

    Raises:
        LoadError: that raised, or made something else.
    """
    if kind == "tensor_subclass":
        made = torch.Tensor.as_subclass(fields["data"], cls)
    else:
        unflatten: Any = cls.__tensor_unflatten__  # type: ignore[attr-defined]
        try:
            made = unflatten(fields["tensors"], fields["context"], torch.Size(fields["shape"]), fields["strides"])
        except Exception as error:
            what = f"__tensor_unflatten__ of {class_name(cls)} raised {type(error).__name__}: {error}"
            raise LoadError(f"{what}. Nothing was loaded.") from error
    if type(made) is not cls:
        what = f"__tensor_unflatten__ of {class_name(cls)} made a {type(made).__name__}"
        raise LoadError(f"{what}. Nothing was loaded.")
    return _finished(made, fields)


def plain(fields: dict[str, Any]) -> torch.Tensor:
    """The tensor that one of a subclass is a view of."""
    return _finished(fields["data"], fields)


def _finished(made: torch.Tensor, fields: dict[str, Any]) -> torch.Tensor:
    flags = fields["flags"]
    requires_grad = bool(flags & REQUIRES_GRAD)
    if flags & PARAMETER and not isinstance(made, torch.nn.Parameter):
        made = torch.nn.Parameter(made, requires_grad=requires_grad)
    elif requires_grad != made.requires_grad:
        made = made.requires_grad_(requires_grad)
    vars(made).update(fields.get("attributes", {}))
    return made


def _make_meta(fields: dict[str, Any]) -> torch.Tensor:
    dtype = BY_NAME.get(fields["dtype"])
    if dtype is None:
        raise LoadError(f"torch {torch.__version__} has no dtype {fields['dtype']}. Nothing was loaded.")
    return torch.empty_strided(fields["shape"], fields["strides"], dtype=dtype, device="meta")


def _make_sparse(fields: dict[str, Any]) -> torch.Tensor:
    """torch checks that each index is in bounds; that they are in order and each there once is checked here."""
    layout, shape, indices, values = fields["layout"], fields["shape"], fields["indices"], fields["values"]
    if layout != "sparse_coo":
        make_compressed = {
            "sparse_csr": torch.sparse_csr_tensor,
            "sparse_csc": torch.sparse_csc_tensor,
            "sparse_bsr": torch.sparse_bsr_tensor,
            "sparse_bsc": torch.sparse_bsc_tensor,
        }[layout]
        made: torch.Tensor = make_compressed(fields["compressed"], indices, values, shape, check_invariants=True)
        return made
    made = torch.sparse_coo_tensor(indices, values, shape, check_invariants=True)
    if fields["coalesced"]:
        if not _is_in_order(indices):
            raise FormatError("a sparse tensor that is said to be coalesced, and is not", clause="K-5")
        made = made._coalesced_(True)
    return made


def _is_in_order(indices: torch.Tensor) -> bool:
    """Whether columns of indices grow from each to the next, as sequences are compared."""
    before, after = indices[:, :-1], indices[:, 1:]
    undecided = torch.ones(max(indices.shape[1] - 1, 0), dtype=torch.bool, device=indices.device)
    for left, right in zip(before, after, strict=True):
        if bool((undecided & (left > right)).any()):
            return False
        undecided &= left == right
    return not bool(undecided.any())


def _make_quantized(fields: dict[str, Any]) -> torch.Tensor:
    data, shape, scale = fields["data"], fields["shape"], fields["scale"]
    dtype: Any = getattr(torch, fields["dtype"])
    where: dict[str, Any] = {"dtype": dtype, "device": data.device}
    packed = QUANTIZED[fields["dtype"]][1] < 8
    if fields["axis"] is None:
        empty = torch._empty_affine_quantized(shape, scale=scale, zero_point=fields["zero_point"], **where)
    else:
        scale, points, axis = scale.contiguous(), fields["zero_point"].contiguous(), fields["axis"]
        empty = torch._empty_per_channel_affine_quantized(shape, scales=scale, zero_points=points, axis=axis, **where)
    if packed:
        storage = empty.untyped_storage()
        over(torch.empty(0, dtype=torch.uint8, device=data.device), storage, 0, (data.numel(),), (1,)).copy_(data)
        return empty
    return over(empty, data.untyped_storage(), int(data.storage_offset()), shape, data.stride())


def _make_nested(fields: dict[str, Any]) -> torch.Tensor:
    values = fields["values"]
    if values.storage_offset() or not values.is_contiguous():  # torch sees its memory from the beginning
        values = values.clone(memory_format=torch.contiguous_format)
    sizes, strides, offsets = (fields[name].contiguous() for name in ("sizes", "strides", "offsets"))
    if not offsets.numel():
        return torch.nested.nested_tensor([], dtype=values.dtype, device=values.device)
    if sizes.numel() and (int(sizes.min()) < 0 or int(strides.min()) < 0):
        raise FormatError("sizes or strides of a nested tensor below zero", clause="K-5")
    for shape, steps, begin in zip(sizes.tolist(), strides.tolist(), offsets.tolist(), strict=True):
        last = begin + sum((size - 1) * step for size, step in zip(shape, steps, strict=True))
        if begin < 0 or (0 not in shape and last >= values.numel()) or math.prod(shape) > values.numel():
            raise FormatError("a part of a nested tensor that lies outside of its values", clause="K-5")
    return torch._nested_view_from_buffer(values, sizes, strides, offsets)


def _make_jagged(fields: dict[str, Any]) -> torch.Tensor:
    values, offsets, lengths, ragged = (fields[name] for name in ("values", "offsets", "lengths", "ragged_dim"))
    offsets, lengths = offsets.contiguous(), None if lengths is None else lengths.contiguous()
    steps = offsets.diff()
    used = steps if lengths is None else lengths
    if int(offsets[0]) < 0 or (steps.numel() and int(steps.min()) < 0) or int(offsets[-1]) > values.shape[ragged - 1]:
        raise FormatError("offsets of a jagged tensor that leave its values", clause="K-5")
    if used.numel() and (int(used.min()) < 0 or bool((used > steps).any())):
        raise FormatError("lengths of a jagged tensor that overlap", clause="K-5")
    least, most = fields["min_length"], fields["max_length"]
    longer = most is not None and used.numel() and most < int(used.max())
    shorter = least is not None and used.numel() and least > int(used.min())
    if longer or shorter:
        raise FormatError("a jagged tensor that is longer or shorter than it says", clause="K-5")
    made: torch.Tensor = torch.nested.nested_tensor_from_jagged(
        values, offsets, lengths, jagged_dim=ragged, min_seqlen=least, max_seqlen=most
    )
    return made


_MAKE: dict[str, Callable[[dict[str, Any]], torch.Tensor]] = {
    "torch.meta": _make_meta,
    "torch.sparse": _make_sparse,
    "torch.quantized": _make_quantized,
    "torch.nested": _make_nested,
    "torch.jagged": _make_jagged,
}
