"""Classes and functions that a file may name. Each part that must not run by itself rings."""

from __future__ import annotations

import abc
import functools
import os
import tempfile
from typing import Any

import torch
from torch import nn

from .alarm import ring

__all__ = ["nn", "os", "torch"]


class Net(nn.Module):
    width = 3

    def __init__(self) -> None:
        ring("Net.__init__")
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))

    def forward(self, x: Any) -> Any:
        return x

    def helper(self, x: Any) -> Any:
        return x

    def _hidden(self) -> Any:
        return 1

    @classmethod
    def made(cls) -> Any:
        ring("Net.made")

    @staticmethod
    def still() -> Any:
        ring("Net.still")

    @property
    def prop(self) -> Any:
        return 7

    @prop.setter
    def prop(self, value: Any) -> None:
        ring("Net.prop setter")

    @functools.cached_property
    def cached(self) -> Any:
        return 8

    part = functools.partialmethod(helper, 1)

    class Inner(nn.Module):
        pass


class Descriptor:
    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return 9

    def __set__(self, instance: Any, value: Any) -> None:
        ring("descriptor set")


class Described(nn.Module):
    held = Descriptor()

    def __setattr__(self, name: str, value: Any) -> None:
        ring(f"__setattr__ {name}")
        super().__setattr__(name, value)


class Deleting(nn.Module):
    def __del__(self) -> None:
        ring("Deleting.__del__")


class DeletingChild(Deleting):
    pass


class Newing(nn.Module):
    def __new__(cls, *args: Any) -> Any:
        ring("Newing.__new__")
        return super().__new__(cls)


class Stating(nn.Module):
    def __setstate__(self, state: Any) -> None:
        ring("Stating.__setstate__")


class StatingChild(Stating):
    pass


class Extra(nn.Module):
    def get_extra_state(self) -> Any:
        return None

    def set_extra_state(self, state: Any) -> None:
        ring("Extra.set_extra_state")


class Taking(nn.Module):
    """A target that takes any extra state."""

    got: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))

    def get_extra_state(self) -> Any:
        return self.got

    def set_extra_state(self, state: Any) -> None:
        self.got = state


class Abstract(nn.Module, abc.ABC):
    @abc.abstractmethod
    def forward(self, x: Any) -> Any: ...


class AbstractConfig(abc.ABC):
    @property
    @abc.abstractmethod
    def must(self) -> int: ...


class DictNet(nn.Module, dict):  # type: ignore[type-arg]
    pass


class Listing(nn.ModuleList):
    def __init__(self, *args: Any) -> None:
        ring("Listing.__init__")
        super().__init__(*args)


class Meta(type):
    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        ring("Meta.__call__")
        return super().__call__(*args, **kwargs)

    def __getattr__(cls, name: str) -> Any:
        if not name.startswith("__"):
            ring(f"Meta.__getattr__ {name}")
        raise AttributeError(name)

    def __instancecheck__(cls, instance: Any) -> bool:
        ring("Meta.__instancecheck__")
        return True

    def __subclasscheck__(cls, other: type) -> bool:
        ring("Meta.__subclasscheck__")
        return True


class MetaNet(nn.Module, metaclass=Meta):
    def forward(self, x: Any) -> Any:
        return x


class MetaConfig(metaclass=Meta):
    pass


class Graph(torch.fx.GraphModule):
    pass


class Script(torch.jit.ScriptModule):
    pass


class Adam(torch.optim.Adam):
    pass


class Config:
    def describe(self) -> str:
        return "a config"


class ConfigDel:
    def __del__(self) -> None:
        ring("ConfigDel.__del__")


class ConfigDelChild(ConfigDel):
    pass


class ConfigCloser(tempfile._TemporaryFileCloser):  # type: ignore[name-defined]
    pass


class ConfigState:
    def __setstate__(self, state: Any) -> None:
        ring("ConfigState.__setstate__")


class ConfigNew:
    def __new__(cls) -> Any:
        ring("ConfigNew.__new__")
        return super().__new__(cls)


class ConfigSlots:
    __slots__ = ("a", "b")


class ConfigDict(dict):  # type: ignore[type-arg]
    pass


class ConfigError(Exception):
    pass


class ConfigSetattr:
    def __setattr__(self, name: str, value: Any) -> None:
        ring(f"ConfigSetattr {name}")

    @property
    def prop(self) -> int:
        return 1

    @prop.setter
    def prop(self, value: int) -> None:
        ring("ConfigSetattr.prop")


class Acting:
    """An object whose comparisons and hash act."""

    def __eq__(self, other: object) -> bool:
        ring("Acting.__eq__")
        return False

    def __hash__(self) -> int:
        ring("Acting.__hash__")
        return 0


class ActingNet(nn.Module):
    def __eq__(self, other: object) -> bool:
        ring("ActingNet.__eq__")
        return False

    def __hash__(self) -> int:
        ring("ActingNet.__hash__")
        return 0


class Callable:
    def __call__(self, *args: Any) -> None:
        ring("Callable.__call__")


def act(*args: Any) -> None:
    ring("act")


ready = Callable()
bound = functools.partial(act, 1)
anonymous = lambda x: ring("lambda")  # noqa: E731


def __getattr__(name: str) -> Any:
    if not name.startswith("__"):
        ring(f"module __getattr__ {name}")
    raise AttributeError(name)
