"""Which classes and functions a file may name. The file says what it is; the caller says what is allowed.

Nothing is imported because a file names it, and nothing here has an unsafe mode. A name opens, in this
order: because the caller gave it (`classes=`, `register`), because it stands in the closed table of torch,
because the caller said to import it (`trust=`), or, in the narrowest way, because the program has already
imported it.
"""

from __future__ import annotations

import abc
import copy
import enum
import importlib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import BuiltinFunctionType, FunctionType, GetSetDescriptorType, MemberDescriptorType, ModuleType
from typing import Any, Literal

import torch
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.rnn import PackedSequence

from ..document import HELD_KINDS, Role
from ..errors import brief, classes_in_code, in_code
from . import data_table, registry, torch_table
from .derived import BUILTINS, builtin_of
from .registry import class_name
from .state import is_a, is_of_dataclasses, is_of_python

How = Literal["table", "named", "imported"]


@dataclass(frozen=True, slots=True)
class Opened:
    """A class or function that a name opened to, and why it may be used."""

    obj: Any
    how: How


@dataclass(frozen=True, slots=True)
class Closed:
    """A name that did not open, and what would open it."""

    name: str
    role: Role
    reason: str
    way: Literal["classes", "moved", "none"] = "classes"

    def mend(self) -> str:
        """What opens it, as a person would type it."""
        if self.way == "none":
            return "nothing does"
        module_name = self.name.partition(":")[0]
        text = classes_in_code([self.name])
        if self.way == "moved" and all(map(str.isidentifier, module_name.split("."))):
            return f"{text}, or trust=({brief(module_name, length=_SHOWN)},) if it is still there"
        return text


_SHOWN = 200
"""Longest name that is spelled out."""


class Resolver:
    """Opens names for one load, under what its caller allowed."""

    def __init__(self, classes: Any, trust: Any, *, imported: bool = True) -> None:
        self._may_be_imported = imported
        self._by_name: dict[str, Any] = {}
        self._by_last: dict[str, list[Any]] = {}
        listed = [] if isinstance(classes, Mapping) else [classes] if isinstance(classes, type) else list(classes or ())
        named = dict(classes) if isinstance(classes, Mapping) else {}
        for given in (*listed, *named.values()):
            if not isinstance(given, type | FunctionType | BuiltinFunctionType):
                raise TypeError(f"classes= takes classes and functions, not {given!r}")
        for given in listed:
            named[torch_table.name_of(given) or class_name(given)] = given
            self._by_last.setdefault(given.__name__, []).append(given)
        self._by_name.update(named)
        self._keys = list(classes) if isinstance(classes, Mapping) else []
        self._trust = (trust,) if isinstance(trust, str) else tuple(trust)
        for entry in self._trust:
            if not isinstance(entry, str) or not all(map(str.isidentifier, entry.replace(":", ".").split("."))):
                raise ValueError(f"trust takes 'package', 'package.module' or 'package.module:Name', not {entry!r}")

    def resolve(
        self, name: str, role: Role, *, holders: frozenset[str] = frozenset(), lasts: Mapping[str, int]
    ) -> Opened | Closed:
        """Open `name` for use as `role`.

        Args:
            name: as the file has it, ``"module:qualname"``.
            role: what it is wanted for.
            holders: for a plain object, the top-level packages of the modules that hold it.
            lasts: how many of the file's names end with each last component, for `classes=[Net]`.
        """
        found = self._resolve(name, role, holders, lasts)
        if isinstance(found, Closed) and (aside := self._why_not_given(name, lasts)):
            return replace(found, reason=f"{found.reason}; {aside}")
        return found

    def with_classes(self, found: Mapping[str, Any]) -> Resolver:
        """The same, with more names given; what the caller of the load gave goes before them."""
        other = copy.copy(self)
        other._by_name = {**found, **self._by_name}
        return other

    def gives(self, name: str, lasts: Mapping[str, int]) -> bool:
        """Whether the caller of the load gave a class for `name` in `classes=`."""
        return name in self._by_name or bool(self._by_last_name(name, lasts))

    def unused(self, names: Iterable[str]) -> list[str]:
        """The keys of `classes=` that are none of these names, but for those that a reason tells of."""
        known = {one for name in names for one in (name, name.replace(":", "."))}
        return [key for key in self._keys if key not in known]

    def _resolve(self, name: str, role: Role, holders: frozenset[str], lasts: Mapping[str, int]) -> Opened | Closed:
        for given in self._given(name, lasts):
            return self._checked(Opened(given, "named"), name, role)
        if torch_table.is_torch(name):
            found = torch_table.lookup(name, role)
            if role == "class":
                found = torch_table.lookup(name, "module") or torch_table.lookup(name, "optimizer")
            if found is not None:
                return Opened(found, "table")
            return Closed(name, role, "is not in the closed table of torch", "none")
        if role == "class" and (known := data_table.lookup(name)) is not None:
            return Opened(known, "table")
        if (trusted := self._trusted(name, role)) is not None:
            if isinstance(trusted, Closed):
                return trusted
            return self._checked(trusted, name, role)
        if role == "custom":
            return self._unregistered(name)
        if not self._may_be_imported:
            return Closed(name, role, "a skeleton uses no class of the program")
        return self._imported(name, role, holders)

    def _given(self, name: str, lasts: Mapping[str, int]) -> list[Any]:
        """What the caller gave for `name`: by full name, by registration, or by a last name that is unique."""
        if name in self._by_name:
            return [self._by_name[name]]
        if registered := registry.by_name(name):
            return [registered.cls]
        return self._by_last_name(name, lasts)

    def _by_last_name(self, name: str, lasts: Mapping[str, int]) -> list[Any]:
        last = last_name(name)
        given = self._by_last.get(last, [])
        return given if len(given) == 1 and lasts.get(last, 0) == 1 and not torch_table.is_torch(name) else []

    def _why_not_given(self, name: str, lasts: Mapping[str, int]) -> str | None:
        """Why what the caller gave by a name like this one did not count; None where there is no such thing."""
        last = last_name(name)
        given = len(self._by_last.get(last, ()))
        if self._given(name, lasts):
            return None
        if (key := name.replace(":", ".")) in self._by_name:
            return f"classes= has {brief(key)}, with a dot where the file has a colon"
        if given > 1:
            return f"{given} of the given classes are called {last}, so none counts"
        if given and lasts.get(last, 0) > 1:
            return f"{lasts[last]} names of the file end in {last}, so the given class counts for none"
        return None

    def _trusted(self, name: str, role: Role) -> Opened | Closed | None:
        """Import a name of a package that the caller trusts; None where no entry covers it."""
        module_name, _, qualname = name.partition(":")
        if not any(_covers(entry, name) for entry in self._trust):
            return None
        if module_name.partition(".")[0] in sys.stdlib_module_names:
            return Closed(name, role, "belongs to the standard library, which trust= never opens")
        try:
            module = importlib.import_module(module_name)
            vars(module)  # loads one that waits until it is looked at
        except (Exception, SystemExit) as error:  # whatever the trusted package raises when it is imported
            return Closed(name, role, f"cannot be imported: {type(error).__name__}: {error}")
        found = _member(module, qualname)
        if type(found) is staticmethod:
            found = found.__func__
        if found is None:
            return Closed(name, role, f"{module_name} has no such name now")
        if getattr(found, "__module__", None) != module_name:
            now = f": it is {class_name(found)} now" if isinstance(found, type) else ""
            return Closed(name, role, f"is only re-exported by {module_name}{now}")
        return Opened(found, "named")

    def _imported(self, name: str, role: Role, holders: frozenset[str]) -> Opened | Closed:
        """A class that the program has already imported, in the narrowest way."""
        module_name, _, qualname = name.partition(":")
        module = sys.modules.get(module_name)
        found = _member(module, qualname) if is_a(module, ModuleType) else None  # type: ignore[arg-type]
        if found is None:
            state = "has no such name now" if module is not None else "is not imported"
            return Closed(name, role, f"{module_name} {state}", "moved")
        if role != "module" and role not in HELD_KINDS:
            subclass = role in ("tensor_subclass", "wrapper_tensor")
            what = "is a tensor subclass, which" if subclass else a(role)
            return Closed(name, role, f"{what} opens only when the caller names it", "moved" if subclass else "classes")
        quiet = not is_a(found, type) or is_quiet(found)
        if not is_a(found, type) or not quiet or class_name(found) != name:
            other = f"is another name of {class_name(found)} now" if quiet and is_a(found, type) else ""
            why = other or f"{module_name} defines no class of that name"
            return Closed(name, role, why if quiet else "has a metaclass that runs when the class is looked at")
        if role == "module" and issubclass(found, torch.nn.Module):
            if reason := _why_it_runs(found, _FORBIDDEN[role]):
                return Closed(name, role, reason)
            return self._checked(Opened(found, "imported"), name, role)
        if role == "module":
            return Closed(name, role, "is imported, but is no nn.Module")
        package = module_name.partition(".")[0]
        if package in sys.stdlib_module_names and package != "__main__":
            return Closed(name, role, "belongs to the standard library")
        if package not in holders:
            return Closed(name, role, "is held by no module of its own package, or by an optimizer, too")
        if reason := _why_it_runs(found, _FORBIDDEN[role]):
            return Closed(name, role, reason)
        return self._checked(Opened(found, "imported"), name, role)

    def _unregistered(self, name: str) -> Closed:
        """A class whose objects only its own codec makes."""
        call = f"torchkeep.register({in_code(name)}, encode=..., decode=...)"
        return Closed(name, "custom", f"was saved by a codec of its program; call {call}", "none")

    def _checked(self, opened: Opened, name: str, role: Role) -> Opened | Closed:
        """Whether what opened is of its role: no code carrier, and a class where a class is wanted."""
        obj = opened.obj
        if isinstance(obj, type):
            if torch_table.is_code_carrier(obj):
                return Closed(name, role, "carries code of its own", "none")
            wanted = _BASES.get(role)
            if wanted is not None and not issubclass(obj, wanted):
                return Closed(name, role, f"was given {class_name(obj)}, which is no {wanted.__name__}")
            made_empty = role in ("module", "object", "pruning_method")
            if made_empty and (getattr(obj, "__abstractmethods__", None) or not is_makeable(obj)):
                return Closed(name, role, "is abstract, or derives from a builtin class")
            if role == "object" and not is_plain_class(obj):
                return Closed(name, role, "is not a class whose objects are a __dict__ and slots and nothing more")
            if role == "custom" and ((known := registry.registration(obj)) is None or known.decode is None):
                return self._unregistered(name)
            if reason := _why_another_role(obj, role):
                return Closed(name, role, reason)
        elif role != "function" or not isinstance(obj, FunctionType | BuiltinFunctionType):
            return Closed(name, role, f"is {a(type(obj).__name__)} where {a(role)} was saved")
        return opened


_BASES: dict[Role, type] = {
    "module": torch.nn.Module,
    "optimizer": torch.optim.Optimizer,
    "pruning_method": BasePruningMethod,
}

_RUNS_BY_ITSELF = frozenset({"__del__", "__class__", "__dict__"})
_FORBIDDEN: dict[Role, frozenset[str]] = {
    "module": _RUNS_BY_ITSELF | {"__getattribute__"},
    "object": _RUNS_BY_ITSELF | {"__setstate__", "__new__"},
    "derived": _RUNS_BY_ITSELF | {"__getattribute__", "__hash__", "__eq__", "__ne__"},
    "enum": _RUNS_BY_ITSELF | {"__getattribute__", "__hash__", "__eq__"},
    "namedtuple": _RUNS_BY_ITSELF | {"__getattribute__", "__hash__", "__eq__"},
}
"""What a class that is only imported may not define: what would run when it is made, or hashed as a key.

A `__getattribute__` runs when torch looks at a module and Python at a key. Nobody looks at a plain object before
the program does.
"""


def _why_another_role(cls: type, role: Role) -> str | None:
    """Why a class cannot be what a role asks for; None where it can."""
    if role == "function":
        return "is a class where a function was saved"
    if role == "derived" and (builtin_of(cls) is None or issubclass(cls, PackedSequence)):
        return f"was given {class_name(cls)}, which derives from no builtin that a file holds"
    if role == "derived" and issubclass(cls, _SPECIAL):
        return f"was given {class_name(cls)}, which is more than the builtin that it derives from"
    if role == "enum" and not issubclass(cls, enum.Enum):
        return f"was given {class_name(cls)}, which is no Enum"
    if role == "namedtuple" and fields_of(cls) is None:
        return f"was given {class_name(cls)}, which is no namedtuple"
    if role not in ("tensor_subclass", "wrapper_tensor"):
        return None
    if not issubclass(cls, torch.Tensor):
        return f"was given {class_name(cls)}, which is no torch.Tensor"
    if role == "wrapper_tensor" and not hasattr(cls, "__tensor_unflatten__"):
        return f"was given {class_name(cls)}, which has no __tensor_unflatten__"
    return None


def a(noun: str) -> str:
    """A noun with its article."""
    return f"{'an' if noun[0] in 'aeio' else 'a'} {noun}"


def last_name(name: str) -> str:
    """The last component of a name: ``Net`` of ``"a.b:Outer.Net"``."""
    return name.rpartition(":")[2].rpartition(".")[2]


def _covers(entry: str, name: str) -> bool:
    """Whether a trust entry covers a name."""
    return name == entry or (":" not in entry and (name.partition(":")[0] + ".").startswith(entry + "."))


def _member(module: ModuleType, qualname: str) -> Any:
    """What a module defines under a qualified name, without running a `__getattr__` or a descriptor."""
    found: Any = module
    for part in qualname.split("."):
        of_module = _OF_MODULE.__get__(found) if is_a(found, ModuleType) else {}
        namespace = _OF_CLASS.__get__(found) if is_a(found, type) else of_module
        if part not in namespace:
            return None
        found = namespace[part]
    return found


_OF_MODULE: Any = vars(ModuleType)["__dict__"]
_OF_CLASS: Any = vars(type)["__dict__"]
_MRO_OF_CLASS: Any = vars(type)["__mro__"]


def is_quiet(cls: type) -> bool:
    """Whether a class can be looked at, hashed and compared without running code of its metaclass."""
    bases = (base for base in _MRO_OF_CLASS.__get__(type(cls)) if not any(base is known for known in _METACLASSES))
    held = ((name, value) for base in bases for name, value in _OF_CLASS.__get__(base).items() if name in _ASKED)
    return all(name != "__hash__" and type(value) in (str, dict, type(None)) for name, value in held)


_METACLASSES = (object, type, abc.ABCMeta, enum.EnumMeta)

_ASKED = frozenset(
    {name for name, value in vars(type).items() if type(value) in (GetSetDescriptorType, MemberDescriptorType)}
    | {"__getattribute__", "__hash__", "__eq__", "__ne__", "__class__", "__bool__", "__len__"}
)
"""What is looked up in a metaclass when somebody looks at a class. Texts there, such as `__module__`, are its own."""


def _why_it_runs(cls: type, forbidden: frozenset[str]) -> str | None:
    """What code of a class would run though nobody named it, or None."""
    defined = forbidden & _members(cls)
    if "__del__" in defined:
        return "has a finalizer"
    return f"defines {', '.join(sorted(defined))}" if defined else None


def _members(cls: type) -> set[str]:
    """Names that a class or a base of it defines; what Python, torch and `dataclass` wrote is left out."""
    bases = (
        base
        for base in cls.__mro__
        if base is not torch.nn.Module and base not in BUILTINS and base.__module__ not in ("builtins", "enum")
    )
    written = (
        (name, value) for base in bases for name, value in vars(base).items() if type(value) is not GetSetDescriptorType
    )
    return {name for name, value in written if not is_of_dataclasses(value)}


def hides(cls: type, name: str) -> bool:
    """Whether an instance attribute takes the place of something that the class does: a method, a descriptor."""
    base = next((base for base in cls.__mro__ if name in vars(base)), None)
    if base is None or type(vars(base)[name]) is MemberDescriptorType:  # a slot holds what an instance has
        return False
    if name in vars(base).get("__dataclass_fields__", {}):  # the default of a field
        return False
    return callable(vars(base)[name]) or hasattr(type(vars(base)[name]), "__get__")


def is_plain_class(cls: type) -> bool:
    """Whether instances are a `__dict__` and slots and nothing more: not a subclass of a builtin or of torch's."""
    return is_makeable(cls) and not issubclass(cls, _SPECIAL)


_SPECIAL = BaseException | type | enum.Enum | torch.nn.Module | torch.optim.Optimizer
"""Classes whose objects have kinds of their own, or none."""


def fields_of(cls: type) -> tuple[str, ...] | None:
    """The field names of a class that `namedtuple` or `NamedTuple` made, of one below it, or of what functions of torch
    return; None for any other."""
    names = next((vars(base)["_fields"] for base in cls.__mro__ if "_fields" in vars(base)), None)
    if is_return_type(cls):
        names = vars(cls)["__match_args__"]
    named = issubclass(cls, tuple) and type(names) is tuple and all(type(name) is str for name in names)
    return names if named else None


def is_return_type(cls: type) -> bool:
    """Whether it is one of `torch.return_types`: no namedtuple of Python's, and made of a tuple by itself alone."""
    return "n_sequence_fields" in vars(cls) and torch_table.name_of(cls) is not None


def is_makeable(cls: type) -> bool:
    """Whether a class derives from classes written in Python alone, so that its instances can be made empty."""
    return all(base is object or is_of_python(base) for base in cls.__mro__)
