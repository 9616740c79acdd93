"""What a program registered about its own classes: aliases, versions, migrations, codecs.

The registry is the process's; nothing in a file can add to it.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(slots=True)
class ModuleState:
    """What a module is made of, for a migration to change before the module is put together.

    A plain object has `attributes` alone. Modules and parameters left among the attributes of a module go to their
    places, and so do buffers (`nn.Buffer`, or a tensor whose name today's `__init__` registers as a buffer).

    Attributes:
        attributes: plain attributes, by name.
        parameters: parameters, by name; None for one that is registered as None.
        buffers: buffers, by name.
        modules: children, by name.
        non_persistent: names of buffers that stay out of the state_dict.
    """

    attributes: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, torch.nn.Parameter | None] = field(default_factory=dict)
    buffers: dict[str, torch.Tensor | None] = field(default_factory=dict)
    modules: dict[str, torch.nn.Module | None] = field(default_factory=dict)
    non_persistent: set[str] = field(default_factory=set)


Migration = Callable[[ModuleState], None]


@dataclass(frozen=True, slots=True)
class Registration:
    """One registered class."""

    cls: type
    aliases: tuple[str, ...]
    version: int
    migrations: Mapping[int, Migration]
    encode: Callable[[Any], Any] | None
    decode: Callable[[Any], Any] | None


_by_class: dict[type, Registration] = {}


def register(
    cls: type,
    *,
    aliases: Iterable[str] = (),
    version: int = 1,
    migrations: Mapping[int, Migration] | None = None,
    encode: Callable[[Any], Any] | None = None,
    decode: Callable[[Any], Any] | None = None,
) -> None:
    """Tell torchkeep about a class of this program. Registering a class also trusts it.

    Args:
        cls: the class, as it is today. Registering it again replaces what was registered.
        aliases: names that files may know it by, such as ``"old.module:OldNet"``.
        version: version of what its instances hold; raise it when attributes change.
        migrations: for an `nn.Module`, or an object that is kept by its attributes: ``{n: function}``, where
            ``function(state: ModuleState)`` changes the state of version n into that of version n + 1, in place.
        encode: for a class that torchkeep does not know how to save: a function from an instance to its
            state, made of values that torchkeep can save.
        decode: the way back, from that state to an instance. Given together with `encode`.

    Raises:
        TypeError: `cls` is not a class, an alias is no text, `encode` comes without `decode`, or `migrations` are
            for a class whose objects are not kept by their attributes.
        ValueError: an alias is not ``"module:name"`` or belongs to another class, or a version is not one
            that the migrations lead to.

    Examples:
        A codec, for a class that torchkeep cannot take apart by itself. `decode` gets whatever a file says:

        >>> class Tokens(tuple):
        ...     def __new__(cls, texts):
        ...         if not all(isinstance(text, str) for text in texts):
        ...             raise ValueError("tokens are texts")
        ...         return super().__new__(cls, texts)
        >>> torchkeep.register(Tokens, encode=lambda tokens: list(tokens), decode=Tokens)
        >>> report = torchkeep.save({"tokens": Tokens(["a", "b"])}, "tokens.safetensors")
        >>> torchkeep.load("tokens.safetensors")["tokens"]
        ('a', 'b')

        An alias, for a class that was renamed or moved after files were saved:

        >>> import torch
        >>> class Net(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.weight = torch.nn.Parameter(torch.ones(2))
        >>> report = torchkeep.save(Net(), "net.safetensors")
        >>> class Classifier(torch.nn.Module):
        ...     pass
        >>> torchkeep.register(Classifier, aliases=[f"{__name__}:Net"])
        >>> torchkeep.load("net.safetensors").weight.tolist()
        [1.0, 1.0]

        A version, raised because `Classifier` has another attribute now, and the migration that gives it to
        what was saved before:

        >>> def add_scale(state):
        ...     state.attributes["scale"] = 2.0
        >>> torchkeep.register(Classifier, aliases=[f"{__name__}:Net"], version=2, migrations={1: add_scale})
        >>> torchkeep.load("net.safetensors").scale
        2.0
    """
    if not isinstance(cls, type):
        raise TypeError(f"register takes a class, not {cls!r}")
    aliases = (aliases,) if isinstance(aliases, str) else tuple(aliases)
    for alias in aliases:
        if not isinstance(alias, str):
            raise TypeError(f"aliases are names such as 'old.module:Net', not {alias!r}")
        if alias.count(":") != 1:
            raise ValueError(f"alias {alias!r} is not of the form 'module:name'")
        for other in _by_class.values():
            if alias in other.aliases and other.cls is not cls and class_name(other.cls) != class_name(cls):
                raise ValueError(f"alias {alias!r} already belongs to {class_name(other.cls)}")
    if (encode is None) != (decode is None):
        raise TypeError("encode and decode go together")
    steps = dict(migrations or {})
    if steps and encode is not None and not issubclass(cls, torch.nn.Module):
        raise TypeError(f"migrations change attributes; {class_name(cls)} has encode= and decode= instead")
    if steps and (issubclass(cls, _WITHOUT_STATE) or (issubclass(cls, tuple) and hasattr(cls, "_fields"))):
        raise TypeError(f"migrations change attributes; objects of {class_name(cls)} are not kept by theirs")
    if version < 1 or any(not 1 <= step < version for step in steps):
        raise ValueError(f"version {version} with migrations from {sorted(steps)}: each starts from 1 to version - 1")
    for stale in [known for known in _by_class if full_name(known) == full_name(cls)]:
        del _by_class[stale]  # a module that was reloaded defines its classes anew
    _by_class[cls] = Registration(cls, aliases, version, steps, encode, decode)


_WITHOUT_STATE = (torch.optim.Optimizer, torch.Tensor, enum.Enum)
"""Classes whose objects are kept by more than their attributes, so that no migration is asked."""


@contextmanager
def replaced_meanwhile(other: Registration) -> Iterator[None]:
    """Have another registration of a class for as long as the body runs."""
    before = _by_class[other.cls]
    _by_class[other.cls] = other
    try:
        yield
    finally:
        _by_class[other.cls] = before


def registration(cls: type) -> Registration | None:
    """What was registered for this very class."""
    return _by_class.get(cls)


def by_name(name: str) -> Registration | None:
    """What was registered for a class that a file calls `name`; what source text of a file registered is no answer."""
    for registered in _by_class.values():
        if full_name(registered.cls).startswith(PRIVATE):
            continue
        if name == class_name(registered.cls) or name in registered.aliases:
            return registered
    return None


def class_name(obj: Any) -> str:
    """How a file calls a class or function: ``"package.module:Outer.Inner"``."""
    return _IN_PRIVATE.sub("", full_name(obj), count=1)


def full_name(obj: Any) -> str:
    """The same with the module where it is looked up here."""
    look = type.__getattribute__ if issubclass(type(obj), type) else getattr  # past a metaclass
    return f"{look(obj, '__module__')}:{look(obj, '__qualname__')}"


PRIVATE = "_torchkeep_source_"
"""How the namespaces begin that source text of files is run in; a digest and a dot follow."""

_IN_PRIVATE = re.compile(rf"\A{PRIVATE}[0-9a-f]{{32}}\.(?=[^:])")


def real_module(name: str) -> str:
    """The name that a module had when it was saved; itself but for modules that came from source text of a file."""
    return _IN_PRIVATE.sub("", name, count=1)
