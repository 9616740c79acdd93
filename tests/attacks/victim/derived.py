"""Classes that derive from builtins. Each part that must not run by itself rings."""

from __future__ import annotations

import abc
import argparse
import collections
import configparser
import enum
import http.cookies
import json
import logging.config
import sys
import tempfile
import types
from collections import Counter, OrderedDict, defaultdict, deque
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.fx import immutable_collections as immutable

from .alarm import ring

__all__ = ["Counter", "OrderedDict", "argparse", "collections", "configparser", "json"]

BUILTINS: tuple[type, ...] = (
    dict, list, tuple, str, int, deque, defaultdict, Counter, OrderedDict, set, frozenset, bytes, float, complex,
)  # fmt: skip

METHODS = """
__init__ __setstate__ __getstate__ __reduce__ __reduce_ex__ __getattr__ __setattr__ __delattr__ __iter__ __len__
__bool__ __contains__ __getitem__ __setitem__ __delitem__ __missing__ __call__ __index__ __int__ __float__ __complex__
__str__ __repr__ __format__ __bytes__ __fspath__ __lt__ __le__ __gt__ __ge__ __add__ __radd__ __iadd__ __or__ __ror__
__ior__ __mul__ __rmul__ __mod__ __sub__ __rsub__ __and__ __neg__ __abs__ __trunc__ __reversed__ __length_hint__
__sizeof__ __dir__ __copy__ __deepcopy__ __enter__ __exit__ __getnewargs__ __getnewargs_ex__ __instancecheck__
__set_name__ __get__ __set__ __torch_function__ __array__ __buffer__ __await__ __next__ __post_init__
append extend update setdefault get pop popitem clear insert remove keys values items copy index count sort add discard
union join encode decode startswith endswith split lower upper strip replace format move_to_end most_common elements
fromkeys appendleft extendleft rotate as_integer_ratio bit_length conjugate is_integer hex
"""
"""What a class may override without a look by which a load would have to refuse it."""


def _overriding(name: str) -> Any:
    def method(self: Any, *args: Any, **keywords: Any) -> Any:
        ring(f"{type(self).__name__}.{name}")
        raise RuntimeError(name)

    method.__name__ = name
    return method


def _loud(base: type) -> type:
    """A class of which everything rings that need not keep it from being opened."""
    members = {name: _overriding(name) for name in METHODS.split()}
    return type(f"Loud_{base.__name__}", (base,), {**members, "__module__": __name__})


LOUD = {base.__name__: _loud(base) for base in BUILTINS}
QUIET = {base.__name__: type(f"Quiet_{base.__name__}", (base,), {"__module__": __name__}) for base in BUILTINS}
globals().update({cls.__name__: cls for cls in (*LOUD.values(), *QUIET.values())})

SLOTTED = {
    base.__name__: type(f"Slotted_{base.__name__}", (base,), {"__module__": __name__, "__slots__": ("a", "run")})
    for base in (dict, list, str, float, deque, defaultdict, Counter, OrderedDict, set, frozenset, complex)
}
SLOTTED |= {
    base.__name__: type(f"Slotted_{base.__name__}", (base,), {"__module__": __name__, "__slots__": ()})
    for base in (tuple, int, bytes)
}
globals().update({cls.__name__: cls for cls in SLOTTED.values()})

CLOSED = """
__del__ __getattribute__ __eq__ __ne__ __hash__ __new__ __class__ __dict__
"""
"""What no class that is only imported may define; `__new__` is never called."""


def _refused(base: type, name: str) -> type:
    member: Any = _overriding(name)
    if name in ("__class__", "__dict__"):
        member = property(member)
    members = {name: member, "__module__": __name__}
    if name == "__eq__":
        members["__hash__"] = base.__hash__
    return type(f"With{name}{base.__name__}", (base,), members)


REFUSED = {(base.__name__, name): _refused(base, name) for base in BUILTINS for name in CLOSED.split()}
globals().update({cls.__name__: cls for cls in REFUSED.values()})
BELOW = {key: type(f"Below{cls.__name__}", (cls,), {"__module__": __name__}) for key, cls in REFUSED.items()}
globals().update({cls.__name__: cls for cls in BELOW.values()})


# --- metaclasses ------------------------------------------------------------------------------------


def _meta(name: str, *, shown: bool = False) -> type:
    """A metaclass of which one member rings."""

    def method(cls: Any, *args: Any, **keywords: Any) -> Any:
        ring(f"metaclass {name}")
        return getattr(type, name)(cls, *args, **keywords)

    def get(cls: Any) -> Any:
        ring(f"metaclass {name}")
        return vars(type)[name].__get__(cls)

    return type(f"Meta{name}", (type,), {name: property(get) if shown else method})


_META_METHODS = """
__getattribute__ __hash__ __eq__ __ne__ __call__ __instancecheck__ __subclasscheck__ __repr__ __dir__ __setattr__
__delattr__ mro __subclasses__ __prepare__ __or__
"""
_META_SHOWN = """
__mro__ __dict__ __flags__ __dictoffset__ __basicsize__ __itemsize__ __weakrefoffset__ __base__ __bases__ __module__
__name__ __abstractmethods__ __doc__ __annotations__ __text_signature__
"""
METAS = {name: _meta(name) for name in _META_METHODS.split()}
METAS |= {name: _meta(name, shown=True) for name in _META_SHOWN.split()}


def _class(self: Any) -> Any:
    ring("metaclass __class__")
    return type


METAS["__class__"] = type("Meta__class__", (type,), {"__class__": property(_class)})


class _LateMeta(type):
    """What is not there on `type`: iteration, length, truth, a `__getattr__`."""

    def __getattr__(cls, name: str) -> Any:
        if not name.startswith("__"):
            ring(f"metaclass __getattr__ {name}")
        raise AttributeError(name)

    def __iter__(cls) -> Any:
        ring("metaclass __iter__")
        return iter(())

    def __len__(cls) -> int:
        ring("metaclass __len__")
        return 0

    def __bool__(cls) -> bool:
        ring("metaclass __bool__")
        return False

    def __contains__(cls, item: object) -> bool:
        ring("metaclass __contains__")
        return True

    def __getitem__(cls, item: object) -> Any:
        ring("metaclass __getitem__")

    def __del__(cls) -> None:
        ring("metaclass __del__")


METAS["late"] = _LateMeta
for _name, _metaclass in METAS.items():
    for _base in (dict, list, str, object, nn.Module):
        _label = f"{_metaclass.__name__}_{_base.__name__}"
        globals()[_label] = _metaclass(_label, (_base,), {"__module__": __name__, "__qualname__": _label})


class Proxy:
    """An object in a module whose class is what it likes."""

    @property
    def __class__(self) -> Any:
        ring("Proxy.__class__")
        return type

    @property
    def __module__(self) -> Any:
        ring("Proxy.__module__")
        return __name__


proxy = Proxy()


class Module(types.ModuleType):
    """A module that loads what it stands for when it is looked at, as those of `importlib.util.LazyLoader` do."""

    def __getattribute__(self, name: str) -> Any:
        ring(f"Module.__getattribute__ {name}")
        return super().__getattribute__(name)


class Impostor:
    """No module, though it stands where one does."""

    @property
    def __class__(self) -> Any:
        ring("Impostor.__class__")
        return types.ModuleType

    @property
    def __dict__(self) -> Any:
        ring("Impostor.__dict__")
        return {"Net": dict}


sys.modules["victim.late"] = Module("victim.late")
sys.modules["victim.impostor"] = Impostor()  # type: ignore[assignment]


# --- what is more than a builtin --------------------------------------------------------------------


class NetDict(nn.Module, dict):  # type: ignore[type-arg]
    def forward(self, x: Any) -> Any:
        return x


class DictNet(dict, nn.Module):  # type: ignore[type-arg]
    pass


class NetList(nn.ModuleList, list):  # type: ignore[type-arg, misc]
    pass


class OptimizerDict(torch.optim.SGD, dict):  # type: ignore[type-arg]
    pass


class LayerList(nn.ReLU, list):  # type: ignore[type-arg]
    pass


class SchedulerDict(torch.optim.lr_scheduler.StepLR, dict):  # type: ignore[type-arg]
    pass


class GraphDict(torch.fx.GraphModule, dict):  # type: ignore[type-arg]
    pass


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 9


class Word(str, enum.Enum):
    A = "a"


class Bits(enum.IntFlag):
    READ = 1
    WRITE = 2


class Pairs(tuple, enum.Enum):  # type: ignore[type-arg]
    A = (1, 2)


class Point(NamedTuple):
    x: int
    y: int


class Below(Point):
    """A namedtuple with a `__dict__`."""

    def far(self) -> int:
        return self.x + self.y


class Tally(Counter, OrderedDict):  # type: ignore[type-arg]
    """The recipe of the documentation: a Counter in order."""


class Groups(Counter, defaultdict):  # type: ignore[type-arg]
    pass


class Orderly(OrderedDict, Counter):  # type: ignore[type-arg]
    pass


class Abstract(dict, abc.ABC):  # type: ignore[type-arg]
    @abc.abstractmethod
    def must(self) -> int: ...


class Generic(list[Any]):
    pass


class Closer(dict, tempfile._TemporaryFileCloser):  # type: ignore[type-arg, name-defined]
    pass


class Cookie(http.cookies.SimpleCookie):
    pass


class Converting(logging.config.ConvertingDict):  # type: ignore[name-defined]
    pass


class Frozen(immutable.immutable_list):  # type: ignore[misc]
    pass


class FrozenDict(immutable.immutable_dict):  # type: ignore[misc]
    pass


class Hooking(dict):  # type: ignore[type-arg]
    def __init_subclass__(cls, **keywords: Any) -> None:
        ring("Hooking.__init_subclass__")


class Shadow(dict):  # type: ignore[type-arg]
    """Members of the class that an attribute could hide."""

    shared = 7

    @property
    def prop(self) -> int:
        return 1

    @prop.setter
    def prop(self, value: Any) -> None:
        ring("Shadow.prop")

    def method(self) -> int:
        return 1

    @staticmethod
    def still() -> int:
        return 1


class NamedFactory(defaultdict):  # type: ignore[type-arg]
    __slots__ = ("default_factory", "maxlen")


class NamedReal(complex):
    __slots__ = ("imag", "real")


class NamedMaxlen(deque):  # type: ignore[type-arg]
    __slots__ = ("copy", "maxlen")


class NamedItems(dict):  # type: ignore[type-arg]
    __slots__ = ("get", "items", "keys", "update", "values")


class Weak(str):
    __slots__ = ("__dict__", "a")


class SlotsBelow(list):  # type: ignore[type-arg]
    __slots__ = ("a",)


class SlotsHidden(SlotsBelow):
    __slots__ = ()

    @property
    def a(self) -> Any:
        ring("SlotsHidden.a")

    @a.setter
    def a(self, value: Any) -> None:
        ring("SlotsHidden.a setter")


# --- what is no builtin, with methods of one --------------------------------------------------------


class Acting:
    """An object with the methods of a dict, a list and a number."""


class ActingPoint(Point):
    pass


for _cls in (Acting, ActingPoint):
    for _name in METHODS.split():
        if not _name.startswith(("__init", "__setstate", "__set_name", "__getattr", "__setattr")):
            setattr(_cls, _name, _overriding(_name))
