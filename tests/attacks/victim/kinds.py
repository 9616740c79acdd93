"""Enums, namedtuples and classes with slots that a file may name. Each part that must not run by itself rings."""

from __future__ import annotations

import enum
from collections import namedtuple
from typing import Any, NamedTuple

import torch

from .alarm import ring
from .nets import Acting


class Color(enum.Enum):
    RED = 1
    BLUE = 2
    ALSO_RED = 1  # noqa: PIE796


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 9


class Perm(enum.Flag):
    READ = 1
    WRITE = 2
    RUN = 4


class Wide(enum.IntFlag, boundary=enum.KEEP):
    LOW = 1
    HIGH = 1 << 200


class Empty(enum.Enum):
    pass


class Missing(enum.Enum):
    ONE = 1

    @classmethod
    def _missing_(cls, value: object) -> Any:
        ring("Missing._missing_")


class MissingFlag(enum.Flag):
    ONE = 1
    TWO = 2

    @classmethod
    def _missing_(cls, value: object) -> Any:
        ring("MissingFlag._missing_")
        return super()._missing_(value)


class Meta(enum.EnumMeta):
    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        ring("kinds.Meta.__call__")
        return super().__call__(*args, **kwargs)

    def __getattr__(cls, name: str) -> Any:
        if not name.startswith("__"):
            ring(f"kinds.Meta.__getattr__ {name}")
        raise AttributeError(name)

    def __getitem__(cls, name: str) -> Any:
        ring("kinds.Meta.__getitem__")
        return super().__getitem__(name)

    def __contains__(cls, value: object) -> bool:
        ring("kinds.Meta.__contains__")
        return super().__contains__(value)

    def __iter__(cls) -> Any:
        ring("kinds.Meta.__iter__")
        return super().__iter__()

    def __len__(cls) -> int:
        ring("kinds.Meta.__len__")
        return 0

    def __bool__(cls) -> bool:
        ring("kinds.Meta.__bool__")
        return False

    def __instancecheck__(cls, instance: Any) -> bool:
        ring("kinds.Meta.__instancecheck__")
        return True

    def __subclasscheck__(cls, other: type) -> bool:
        ring("kinds.Meta.__subclasscheck__")
        return True


class MetaEnum(enum.Enum, metaclass=Meta):
    ONE = 1


class MetaFlag(enum.Flag, metaclass=Meta):
    ONE = 1
    TWO = 2


class ReadEnum(enum.Enum):
    ONE = 1

    def __getattribute__(self, name: str) -> Any:
        ring(f"ReadEnum.__getattribute__ {name}")
        return super().__getattribute__(name)


class ReadFlag(enum.Flag):
    ONE = 1
    TWO = 2

    def __getattribute__(self, name: str) -> Any:
        ring(f"ReadFlag.__getattribute__ {name}")
        return super().__getattribute__(name)


class PosingEnum(enum.Enum):
    ONE = 1

    @property
    def __class__(self) -> Any:
        ring("PosingEnum.__class__")
        return PosingEnum


class HashEnum(enum.Enum):
    ONE = 1

    def __hash__(self) -> int:
        ring("HashEnum.__hash__")
        return 0

    def __eq__(self, other: object) -> bool:
        ring("HashEnum.__eq__")
        return False


class ActingEnum(Acting, enum.Enum):
    ONE = 1


class DelEnum(enum.Enum):
    ONE = 1

    def __del__(self) -> None:
        ring("DelEnum.__del__")


class BoolEnum(enum.Enum):
    ONE = 1

    def __bool__(self) -> bool:
        ring("BoolEnum.__bool__")
        return False

    def __len__(self) -> int:
        ring("BoolEnum.__len__")
        return 0


class NewEnum(int, enum.Enum):
    def __new__(cls, value: int) -> Any:
        ring("NewEnum.__new__")
        made = int.__new__(cls, value)
        made._value_ = value
        return made

    ONE = 1


Point = namedtuple("Point", "x y")


class Row(NamedTuple):
    name: str
    items: Any


class NewPoint(Point):
    def __new__(cls, *args: Any) -> Any:
        ring("NewPoint.__new__")
        return super().__new__(cls, *args)


class InitPoint(Point):
    def __init__(self, *args: Any) -> None:
        ring("InitPoint.__init__")


class AttributePoint(Point):
    def __getattr__(self, name: str) -> Any:
        if not name.startswith("__"):
            ring(f"AttributePoint.__getattr__ {name}")
        raise AttributeError(name)

    def __setattr__(self, name: str, value: Any) -> None:
        ring(f"AttributePoint.__setattr__ {name}")


class MakePoint(Point):
    @classmethod
    def _make(cls, iterable: Any) -> Any:
        ring("MakePoint._make")
        return super()._make(iterable)

    def _replace(self, **keywords: Any) -> Any:
        ring("MakePoint._replace")

    def _asdict(self) -> Any:
        ring("MakePoint._asdict")


class WalkPoint(Point):
    def __iter__(self) -> Any:
        ring("WalkPoint.__iter__")
        return super().__iter__()

    def __len__(self) -> int:
        ring("WalkPoint.__len__")
        return 2

    def __getitem__(self, index: Any) -> Any:
        ring("WalkPoint.__getitem__")
        return super().__getitem__(index)

    def __contains__(self, value: object) -> bool:
        ring("WalkPoint.__contains__")
        return False

    def __bool__(self) -> bool:
        ring("WalkPoint.__bool__")
        return False


class ReadPoint(Point):
    def __getattribute__(self, name: str) -> Any:
        ring(f"ReadPoint.__getattribute__ {name}")
        return super().__getattribute__(name)


class PosingPoint(Point):
    @property
    def __class__(self) -> Any:
        ring("PosingPoint.__class__")
        return PosingPoint


class HashPoint(Point):
    def __hash__(self) -> int:
        ring("HashPoint.__hash__")
        return 0

    def __eq__(self, other: object) -> bool:
        ring("HashPoint.__eq__")
        return False


class DelPoint(Point):
    def __del__(self) -> None:
        ring("DelPoint.__del__")


class Fields(tuple):
    """A tuple that only says that it has fields."""

    _fields = ("x", "y")

    def __new__(cls, *args: Any) -> Any:
        ring("Fields.__new__")
        return super().__new__(cls, args)


class Named:
    """No tuple, though it has fields."""

    _fields = ("x", "y")


class TextFields(tuple):
    __slots__ = ()
    _fields = "xy"


class PropertyFields(tuple):
    __slots__ = ()

    @property
    def _fields(self) -> Any:
        ring("PropertyFields._fields")
        return ("x", "y")


class RingingTensor(torch.Tensor):
    @staticmethod
    def __new__(cls, *args: Any) -> Any:
        ring("RingingTensor.__new__")
        return torch.Tensor._make_subclass(cls, torch.zeros(2))

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        ring(f"RingingTensor.__torch_function__ {function}")
        return super().__torch_function__(function, types, args, kwargs or {})


class RingingWrapper(RingingTensor):
    def __tensor_flatten__(self) -> Any:
        ring("RingingWrapper.__tensor_flatten__")
        return [], None

    @classmethod
    def __tensor_unflatten__(cls, inner: Any, context: Any, size: Any, stride: Any) -> Any:
        ring("RingingWrapper.__tensor_unflatten__")
        return cls()


class Slots:
    __slots__ = ("__private", "a", "b", "run")

    def method(self) -> int:
        return 1

    @property
    def prop(self) -> int:
        return 7

    @prop.setter
    def prop(self, value: Any) -> None:
        ring("Slots.prop")


class SlotsBelow(Slots):
    """A slot with a property over it, and a `__dict__`."""

    @property
    def a(self) -> Any:
        ring("SlotsBelow.a")
        return 1

    @a.setter
    def a(self, value: Any) -> None:
        ring("SlotsBelow.a setter")

    def b(self) -> int:
        return 2


class SlotsAgain(Slots):
    __slots__ = ("a",)


class SlotsWeak:
    __slots__ = ("__dict__", "__weakref__", "a")


class SlotsDel:
    __slots__ = ("a",)

    def __del__(self) -> None:
        ring("SlotsDel.__del__")


class SlotsState:
    __slots__ = ("a",)

    def __setstate__(self, state: Any) -> None:
        ring("SlotsState.__setstate__")


class SlotsSet:
    __slots__ = ("a",)

    def __setattr__(self, name: str, value: Any) -> None:
        ring(f"SlotsSet.__setattr__ {name}")


class SlotsRead:
    __slots__ = ("a",)

    def __getattribute__(self, name: str) -> Any:
        ring(f"SlotsRead.__getattribute__ {name}")
        return super().__getattribute__(name)


class ReadConfig:
    def __getattribute__(self, name: str) -> Any:
        ring(f"ReadConfig.__getattribute__ {name}")
        return super().__getattribute__(name)


class PosingConfig:
    @property
    def __class__(self) -> Any:
        ring("PosingConfig.__class__")
        return PosingConfig
