"""numpy's arrays, scalars and dtypes, where numpy is there.

An array is a tensor of the file, so that what shares memory with it, a tensor or another array, shares it once
loaded. Elements that torch has no name for (texts, dates, other byte orders) are a tensor of their bytes.
"""

from __future__ import annotations

import ctypes
import enum
import sys
from collections import Counter
from typing import Any

import torch

from ..document import NUMPY_NAME, numpy_itemsize
from ..errors import FormatError, LimitError, LoadError, brief
from .encode import Context, Parts, Step, codecs, codecs_by_base, typed

try:
    import numpy as np
except ImportError:  # torch runs without it
    np = None  # type: ignore[assignment]

Fields = dict[str, Any]

_KNOWN = {text: getattr(torch, name) for text, name in NUMPY_NAME.items() if hasattr(torch, name)}
"""dtypes that torch has, too, by numpy's text for them."""


def _text(dtype: Any, obj: Any, context: Context) -> str:
    text: str = dtype.str
    if numpy_itemsize(text) is not None and np.dtype(text) == dtype and not dtype.metadata:
        return text
    reason = f"has the dtype {dtype}, which no file holds"
    raise context.unsaveable(obj, reason, way_out="Convert it with .astype(...), or keep its fields apart.")


def _dtype_of(text: str) -> Any:
    """
    Raises:
        FormatError: K-5, not the text of a dtype that a file may hold.
        LoadError: there is no numpy here.
    """
    if np is None:
        raise LoadError("the file holds values of numpy, which is not installed. Nothing was loaded. Install numpy.")
    if numpy_itemsize(text) is None:
        raise FormatError(f"{brief(text)} is no dtype that a file may hold", clause="K-5")
    return np.dtype(text)


# --- arrays -----------------------------------------------------------------------------------------


def _ndarray(obj: Any, context: Context) -> Parts:
    text = _text(obj.dtype, obj, context)
    fields = {"dtype": text, "data": _tensor(obj, text, context), "writeable": bool(obj.flags.writeable)}
    return typed("numpy.ndarray", fields, {"data": Step(hidden=True)})


def _tensor(array: Any, text: str, context: Context) -> torch.Tensor:
    """A tensor over the array's memory: of its elements, or of their bytes along one more dimension.

    torch knows no negative strides, and no steps other than in whole elements: an array with these is copied,
    and shares its memory with nothing.
    """
    dtype = _KNOWN.get(text, torch.uint8)
    if array.size == 0:
        return torch.empty(array.shape if text in _KNOWN else (*array.shape, array.itemsize), dtype=dtype)
    storage, start = _memory(array, context)
    steps = (start, array.ctypes.data, *array.strides)
    if min(array.strides, default=0) < 0 or (text in _KNOWN and any(step % array.itemsize for step in steps)):
        array = array.copy()
        storage, start = _memory(array, context)
    offset, shape, strides = array.ctypes.data - start, array.shape, array.strides
    if text in _KNOWN:
        offset, strides = offset // array.itemsize, tuple(step // array.itemsize for step in strides)
    else:
        shape, strides = (*shape, array.itemsize), (*strides, 1)
    return torch.empty(0, dtype=dtype).set_(storage, offset, shape, strides)


def _memory(array: Any, context: Context) -> tuple[torch.UntypedStorage, int]:
    """The storage of all that an array and its relatives see, one for a walk, and the address where it begins."""
    root = array
    while isinstance(root.base, np.ndarray):
        root = root.base
    if isinstance(root.base, torch.Tensor):  # Tensor.numpy() made it
        storage = root.base.untyped_storage()
        return storage, storage.data_ptr()
    ends = [(size - 1) * step for size, step in zip(root.shape, root.strides, strict=True)]
    start = root.ctypes.data + sum(end for end in ends if end < 0)
    key = (_memory, id(root))
    if key not in context.memo:
        nbytes = sum(map(abs, ends)) + root.itemsize
        buffer = (ctypes.c_ubyte * nbytes).from_address(start)
        buffer.root = root  # whose memory it is
        context.memo[key] = torch.frombuffer(buffer, dtype=torch.uint8).untyped_storage()
    return context.memo[key], start


def make_array(fields: Fields, checked: Counter[int]) -> Any:
    """The array over a tensor's memory.

    Args:
        fields: of the node.
        checked: how many bytes of each storage were looked at for characters by now.

    Raises:
        FormatError: K-5, a text with what is no character.
        LimitError: arrays of text that overlap more often than a reader should look.
        LoadError: there is no numpy here, or the tensor is not as it was saved, since a tensor that shares its
            memory was cast.
    """
    dtype, tensor = _dtype_of(fields["dtype"]), fields["data"].detach()
    known = _KNOWN.get(fields["dtype"])
    if tensor.dtype != (known or torch.uint8):
        raise LoadError(
            f"an array of {dtype} shares its memory with a tensor that became {tensor.dtype}. Nothing was loaded. "
            "Load without dtype=, and cast afterwards."
        )
    array = tensor.cpu().numpy()
    if known is None:
        if dtype.kind == "U" and array.size:
            _check_characters(array, f"{fields['dtype'][0]}u4", tensor.untyped_storage(), checked)
        array = array.view(dtype)[..., 0]
    if not fields["writeable"]:
        array.flags.writeable = False
    return array


def _check_characters(array: Any, unit: str, storage: torch.UntypedStorage, checked: Counter[int]) -> None:
    """K-5: every unit of a text is a character. What is repeated, along a stride of 0, is looked at once."""
    once = array[tuple(slice(0, 1) if step == 0 else slice(None) for step in array.strides)]
    checked[storage.data_ptr()] += once.size
    if checked[storage.data_ptr()] > _MAX_LOOKS * storage.nbytes():
        raise LimitError(f"arrays of text over the same memory are more than {_MAX_LOOKS} times as large as it is")
    if once.view(unit).max() > sys.maxunicode:
        raise FormatError("an array of text with what is no character", clause="K-5")


_MAX_LOOKS = 64

# --- scalars and dtypes -----------------------------------------------------------------------------


def _scalar(obj: Any, context: Context) -> Parts:
    if isinstance(obj, enum.Enum):
        return codecs_by_base[enum.Enum](obj, context)
    if type(obj).__module__ != "numpy":
        raise context.unsaveable(obj, "is of a class derived from one of numpy's scalars")
    if type(obj) is np.str_:
        return typed("numpy.scalar", {"dtype": "U", "data": obj.encode("utf-8", "surrogatepass")})
    if type(obj) is np.bytes_:
        return typed("numpy.scalar", {"dtype": "S", "data": bytes(obj)})
    return typed("numpy.scalar", {"dtype": _text(obj.dtype, obj, context), "data": obj.tobytes()})


def make_scalar(fields: Fields) -> Any:
    """
    Raises:
        FormatError: K-5, no scalar has these bytes.
        LoadError: there is no numpy here.
    """
    text, data = fields["dtype"], fields["data"]
    if text in ("U", "S"):
        _dtype_of("|b1")  # numpy is there
        return np.str_(_decoded(data)) if text == "U" else np.bytes_(data)
    dtype = _dtype_of(text)
    if len(data) != dtype.itemsize or dtype.kind in "SU" or text[0] == ">" or (text == "|b1" and data not in _BOOLS):
        raise FormatError(f"a scalar of {dtype} of {len(data)} bytes", clause="K-5")
    return np.frombuffer(data, dtype)[0]


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise FormatError(f"a text of numpy is not UTF-8: {error}", clause="K-5") from error


_BOOLS = (b"\0", b"\1")


def _dtype(obj: Any, context: Context) -> Parts:
    return typed("numpy.dtype", {"name": _text(obj, obj, context)})


def make_dtype(fields: Fields) -> Any:
    """
    Raises:
        FormatError: K-5, not the text of a dtype that a file may hold.
        LoadError: there is no numpy here.
    """
    return _dtype_of(fields["name"])


if np is not None:
    codecs[np.ndarray] = _ndarray
    codecs_by_base.update({np.generic: _scalar, np.dtype: _dtype})
