"""Codecs of Python's and torch's small types. Each is shallow: the walker does the children."""

from __future__ import annotations

import enum
import functools
import sys
import types
from collections import OrderedDict
from typing import Any

import torch
from torch.nn.utils.rnn import PackedSequence

from ..document import MAX_FLAG_NBITS
from ..limits import LIMITS
from . import averaging, data_table, generators, torch_table
from .derived import BUILTINS, builtin_of, plain_of
from .encode import (
    INLINE_NBYTES,
    Codec,
    Context,
    Hidden,
    Named,
    Parts,
    Step,
    attribute,
    codecs,
    codecs_by_base,
    mapping,
    sequence,
    typed,
)
from .keys import ordered, require_keys
from .pack import buffer_of
from .registry import class_name
from .standins import OWN_NAMES, Record
from .state import is_of_dataclasses, slots_of, state_of
from .trust import fields_of, hides, is_plain_class, is_return_type


def _sequence_codec(kind: str) -> Codec:
    return lambda obj, context: sequence(kind, obj)


for _kind in (list, tuple, set, frozenset):
    codecs[_kind] = _sequence_codec(_kind.__name__)


def _dict(obj: dict[Any, Any], context: Context) -> Parts:
    require_keys(obj, context)
    return mapping(obj)


def _named(obj: Named, context: Context) -> Parts:
    hidden = obj.hidden
    for name in obj:
        if type(name) is not str:
            way_out = "Keep what it leads to in a dict that is an attribute."
            raise context.unsaveable(name, "names an attribute, and only strings may", way_out=way_out)
        if len(name) > INLINE_NBYTES:
            reason = f"has a name of {len(name)} characters, and no more than {INLINE_NBYTES} may be"
            raise context.unsaveable(obj[name], reason, attribute(name), way_out="Rename it.")
        if name.startswith("__") and name.endswith("__"):
            reason = "has a dunder name, and attributes are data"
            raise context.unsaveable(obj[name], reason, attribute(name), way_out="Rename the attribute.")
    return mapping(dict(obj), lambda name: attribute(name, hidden=hidden))


def _set(obj: set[Any] | frozenset[Any], context: Context) -> Parts:
    require_keys(obj, context)
    return sequence(type(obj).__name__, ordered(obj))


def _ordered_dict(obj: OrderedDict[Any, Any], context: Context) -> Parts:
    fields: dict[str, Any] = {"items": dict(obj)}
    if attributes := context.without_typing(vars(obj)):
        fields["attributes"] = Hidden(attributes)
    return typed("OrderedDict", fields)


def _int(obj: int, context: Context) -> Parts:
    reason = f"is longer than {LIMITS.int_nbytes} bytes"
    raise context.unsaveable(obj, reason, way_out="Keep it as a string or as a tensor.")


def _bytes(obj: bytes, context: Context) -> Parts:
    return _beside("bytes", bytearray(obj))


def _bytearray(obj: bytearray, context: Context) -> Parts:
    return _beside("bytearray", bytearray(obj))


def _str(obj: str, context: Context) -> Parts:
    return _beside("str", bytearray(obj.encode("utf-8", "surrogatepass")))


def _beside(kind: str, data: bytearray) -> Parts:
    tensor = torch.frombuffer(data, dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)
    return typed(kind, {"data": tensor}, _BESIDE)


_BESIDE = {"data": Step(hidden=True)}
"""Bytes that can change, and text and bytes too long for the header, lie beside it as a tensor of no state_dict."""


def _dtype(obj: torch.dtype, context: Context) -> Parts:
    return typed("torch.dtype", {"name": str(obj).removeprefix("torch.")})


def _device(obj: torch.device, context: Context) -> Parts:
    return typed("torch.device", {"name": str(obj)})


def _memory_format(obj: torch.memory_format, context: Context) -> Parts:
    return typed("torch.memory_format", {"name": str(obj).removeprefix("torch.")})


def _layout(obj: torch.layout, context: Context) -> Parts:
    return typed("torch.layout", {"name": str(obj).removeprefix("torch.")})


def _generator(obj: torch.Generator, context: Context) -> Parts:
    state = bytes(buffer_of(obj.get_state()))
    return typed("torch.Generator", {"device": str(obj.device), "state": state})


def _size(obj: torch.Size, context: Context) -> Parts:
    return typed("torch.Size", {"dims": tuple(obj)})


def _class(obj: type, context: Context) -> Parts:
    if torch_table.is_code_carrier(obj):
        raise context.unsaveable(obj, "carries code of its own")
    return typed("class", {"name": _reference(obj, context)})


def _function(obj: Any, context: Context) -> Parts:
    if (made := averaging.made_by(obj)) is not None:
        return typed("torch.averaging", made)
    return typed("function", {"name": _reference(obj, context)})


def _reference(obj: Any, context: Context) -> str:
    """The name of a class or function that others can find under that name."""
    if name := torch_table.name_of(obj) or data_table.name_of(obj):
        return name
    module_name, qualname = getattr(obj, "__module__", None), getattr(obj, "__qualname__", "")
    if isinstance(module_name, str) and torch_table.is_torch(f"{module_name}:{qualname}"):
        reason = "is not in the closed table of what a model may name from torch"
        raise context.unsaveable(obj, reason, way_out="Call it before saving and keep what it returns.")
    found: Any = sys.modules.get(module_name) if isinstance(module_name, str) else None
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if found is not obj:
        raise context.unsaveable(obj, "has no name that a file could refer to (a lambda, or a nested function)")
    if str(module_name).partition(".")[0] in sys.stdlib_module_names and module_name != "__main__":
        raise context.unsaveable(obj, "belongs to the standard library, which no file may name")
    return context.remember(obj)


def _method(obj: types.MethodType, context: Context) -> Parts:
    owner, function = obj.__self__, obj.__func__
    if not isinstance(owner, torch.nn.Module):
        raise context.unsaveable(obj, "is bound to an object that is no module")
    if getattr(type(owner), function.__name__, None) is not function:
        raise context.unsaveable(obj, "is not a method that its object's class defines")
    return typed("method", {"self": owner, "name": function.__name__})


def _partial(obj: functools.partial[Any], context: Context) -> Parts:
    if context.without_typing(vars(obj)):
        raise context.unsaveable(obj, "is a partial with attributes of its own")
    name = data_table.name_of(obj.func)
    if name and not data_table.is_small_call(obj.func, obj.args, obj.keywords):
        reason = f"is a partial of {name.partition(':')[2]} with arguments of which that may make anything of any size"
        raise context.unsaveable(obj, reason, way_out="Use a function that a module defines by name.")
    args = (*obj.args,)  # of its own, whoever else holds the tuple
    return typed("partial", {"function": obj.func, "args": args, "keywords": Hidden(obj.keywords)})


def _object(obj: Any, context: Context) -> Parts:
    """An object of a class that nothing else is known of."""
    cls = type(obj)
    if (codec := generators.codec_of(cls)) is not None:
        return codec(obj, context)
    names = fields_of(cls)
    if issubclass(cls, PackedSequence) and (cls is not PackedSequence or state_of(obj).keys() - {"__orig_class__"}):
        reason = "is a PackedSequence of a class of its own, or with attributes"
        raise context.unsaveable(obj, reason, way_out="Keep it as a PackedSequence: PackedSequence(*packed).")
    bare = is_return_type(cls) or not state_of(obj).keys() - {"__orig_class__"}
    if names is not None and len(names) == tuple.__len__(obj) and bare and all(map(_is_public, names)):
        return _namedtuple(obj, context)
    if any(base in BUILTINS for base in cls.__mro__):
        return _derived(obj, context)
    return _plain_object(obj, context)


def _derived(obj: Any, context: Context) -> Parts:
    """An object of a class of the program that derives from a builtin, such as a dict with attributes."""
    cls = type(obj)
    if builtin_of(cls) is None:
        base = next(base.__name__ for base in cls.__mro__ if base in BUILTINS)
        reason = f"is of a class derived from {base} that is not written in Python alone"
        raise context.unsaveable(obj, reason, way_out=f"Keep it as a {base}: {base}(...).")
    table_name = torch_table.name_of(cls)
    if table_name is None:
        _require_program(obj, context)
    fields = {"class": table_name or context.remember(cls), "value": plain_of(obj)}
    if state := context.without_typing(state_of(obj)):
        fields["attributes"] = Hidden(_without_hiding(obj, state, context))
    return typed("derived", fields)


def _plain_object(obj: Any, context: Context) -> Parts:
    """An object of a class of the program that is a `__dict__` and nothing more, such as a config."""
    cls = type(obj)
    table_name = torch_table.name_of(cls)
    if table_name is None:
        _require_program(obj, context)
    if not is_plain_class(cls):
        raise context.unsaveable(obj, "is not made of a __dict__ and slots alone")
    if custom := [
        n for n in ("__reduce__", "__reduce_ex__", "__getnewargs__", "__getnewargs_ex__") if _overrides(cls, n)
    ]:
        raise context.unsaveable(obj, f"has its own {custom[0]}, which torchkeep does not run")
    state = state_of(obj)
    if _overrides(cls, "__getstate__") and not is_of_dataclasses(cls.__getstate__):
        state = context.ask(obj, obj.__getstate__)
        if type(state) is not dict:
            raise context.unsaveable(obj, f"has a __getstate__ that gives a {type(state).__name__}, not a dict")
    elif slots_of(cls) and _overrides(cls, "__setstate__") and not is_of_dataclasses(cls.__setstate__):
        raise context.unsaveable(obj, "has slots and a __setstate__, and no __getstate__ that says what that takes")
    attributes = Hidden(_without_hiding(obj, context.without_typing(state), context))
    return typed("object", {"class": table_name or context.remember(cls), "attributes": attributes})


def _without_hiding(obj: Any, state: dict[str, Any], context: Context) -> dict[str, Any]:
    """What an object holds, if none of it takes the place of a method."""
    state, cls = dict(state), type(obj)
    for name, value in state.items():
        if callable(value) and hides(cls, name):
            reason = f"hides the method {name!r} of {class_name(cls)}: the file would hold code, not data"
            state[name] = context.refuse(value, context.unsaveable(value, reason, attribute(name)))
    return state


def _require_program(obj: Any, context: Context) -> None:
    """An object of a class of the program, or of a package of its own: neither torch's nor Python's."""
    cls = type(obj)
    top = cls.__module__.partition(".")[0]
    if torch_table.is_torch(class_name(cls)) or (top in sys.stdlib_module_names and top != "__main__"):
        raise context.unsaveable(obj, "is of a type that this release does not save")


def _namedtuple(obj: tuple[Any, ...], context: Context) -> Parts:
    """Its fields by name. One with attributes, or with fields like ``_1``, is saved as what derives from a tuple."""
    cls = type(obj)
    table_name = torch_table.name_of(cls)
    if table_name is None:
        _require_program(obj, context)
    context.without_typing(state_of(obj))
    fields = {"class": table_name or context.remember(cls), "names": (*(fields_of(cls) or ()),)}
    return typed("namedtuple", fields | {"items": tuple(tuple.__iter__(obj))})


def _is_public(name: str) -> bool:
    return not name.startswith("_")


def _enum(obj: enum.Enum, context: Context) -> Parts:
    cls = type(obj)
    table_name = torch_table.name_of(cls)
    if table_name is None:
        _require_program(obj, context)
    members = vars(cls)["_member_map_"]
    names = [obj._name_] if obj._name_ in members else []
    rest: int = 0
    if not names and isinstance(obj, enum.Flag):
        rest = obj._value_
        inside = [
            one for name, one in members.items() if one._name_ == name and one._value_ & obj._value_ == one._value_
        ]
        for one in sorted(inside, key=lambda one: one._value_.bit_count()):  # single bits first
            if one._value_ & rest:
                names.append(one._name_)
                rest &= ~one._value_
        if rest and not 0 < rest < 2**MAX_FLAG_NBITS:
            raise context.unsaveable(obj, f"is negative, or has more than {MAX_FLAG_NBITS} bits")
    elif not names:
        raise context.unsaveable(obj, "is no member of its class")
    fields = {"class": table_name or context.remember(cls), "members": tuple(names)}
    return typed("enum", fields | ({"rest": rest} if rest else {}))


def _record(obj: Record, context: Context) -> Parts:
    """A Record of a value of a program, as the value that it stands for."""
    state = {name: value for name, value in vars(obj).items() if name not in OWN_NAMES}
    name, (kind, info, names) = vars(obj)["(class)"], vars(obj)["(origin)"]
    parts: dict[str, dict[str, Any]] = {
        "object": {"attributes": Hidden(state)},
        "namedtuple": {"names": names, "items": tuple([state.get(name) for name in names])},
        "enum": {"members": (*state.get("members", ()),)} | ({"rest": state["rest"]} if "rest" in state else {}),
    }
    if kind not in parts:
        return _stand_in(obj, context)
    if kind != "object" and state.keys() != set(names):
        way_out = f"Load it again with classes={{{name!r}: ...}} and save that."
        raise context.unsaveable(obj, f"stands in for {name}, which has other fields", way_out=way_out)
    if info is not None:
        context.classes.setdefault(name, info)
        context.expect_version(obj, name, info.version)
    return typed(kind, {"class": name} | parts[kind])


def _stand_in(obj: Record, context: Context) -> Parts:
    """What else stands in for an object is not saved in its place: the file would forget what it was."""
    name = vars(obj)["(class)"]
    known = ":" in name and not name.startswith(("datetime:", "zoneinfo:", "torch:", "functools:"))
    way_out = f"Load it again with classes={{{name!r}: ...}} and save that." if known else "Save what it was made of."
    raise context.unsaveable(obj, f"stands in for {name}, which did not open when it was loaded", way_out=way_out)


def _overrides(cls: type, name: str) -> bool:
    return getattr(cls, name, None) is not getattr(object, name, None)


codecs.update(
    {
        Record: _record,
        dict: _dict,
        Named: _named,
        Hidden: _named,
        set: _set,
        frozenset: _set,
        OrderedDict: _ordered_dict,
        int: _int,
        bytes: _bytes,
        bytearray: _bytearray,
        str: _str,
        torch.dtype: _dtype,
        torch.device: _device,
        torch.memory_format: _memory_format,
        torch.layout: _layout,
        torch.Generator: _generator,
        torch.Size: _size,
        types.FunctionType: _function,
        types.BuiltinFunctionType: _function,
        types.MethodType: _method,
        functools.partial: _partial,
    }
)
codecs_by_base.update({type: _class, enum.Enum: _enum, object: _object})
