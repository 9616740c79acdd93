"""The state of an object: its `__dict__` and its slots, read and written without running any of its code."""

from __future__ import annotations

from collections import defaultdict
from types import BuiltinFunctionType, FunctionType, MemberDescriptorType
from typing import Any


def is_a(obj: object, cls: type | tuple[type, ...]) -> bool:
    """`isinstance` by the type alone: it never asks the object, whose class may answer with code of its own."""
    return issubclass(type(obj), cls)


def namespace_of(obj: object) -> dict[str, Any]:
    """The `__dict__` of an object, past a `__getattribute__` of its class."""
    namespace: dict[str, Any] = object.__getattribute__(obj, "__dict__")
    return namespace


def slots_of(cls: type) -> dict[str, MemberDescriptorType]:
    """The slots of a class by the name that an attribute has; of two with one name, the one that is reached."""
    found: dict[str, MemberDescriptorType] = {}
    for base in cls.__mro__:
        for name, member in vars(base).items():
            if type(member) is MemberDescriptorType and base not in _WITH_MEMBERS:
                found.setdefault(name, member)
    return found


_WITH_MEMBERS = frozenset({object, complex, defaultdict})
"""Builtins whose members look like slots: they belong to what the builtin holds."""


def is_of_python(cls: type) -> bool:
    """Whether a class was written in Python, so that it adds a `__dict__` and slots to its instances and no more."""
    return bool(cls.__flags__ & _HEAPTYPE) and not isinstance(vars(cls).get("__new__"), BuiltinFunctionType)


_HEAPTYPE = 1 << 9


def state_of(obj: Any) -> dict[str, Any]:
    """What an object holds: its `__dict__`, then the slots that are set."""
    state = dict(namespace_of(obj)) if type(obj).__dictoffset__ else {}
    for name, slot in slots_of(type(obj)).items():
        try:
            state[name] = slot.__get__(obj)
        except AttributeError:  # not set
            continue
    return state


def is_of_dataclasses(method: object) -> bool:
    """Whether a method is one that ``dataclass(slots=True, frozen=True)`` wrote: it moves the slots, no more."""
    return type(method) is FunctionType and method.__module__ == "dataclasses"


def set_state(obj: Any, state: dict[str, Any]) -> None:
    """Write what an object holds, past whatever its class would do about it.

    Raises:
        AttributeError: the class has slots alone now, and none for one of the names.
    """
    slots = slots_of(type(obj))
    for name, value in state.items():
        if name in slots:
            slots[name].__set__(obj, value)
        elif type(obj).__dictoffset__:
            namespace_of(obj)[name] = value
        else:
            raise AttributeError(f"{type(obj).__qualname__} has no slot {name!r}")
