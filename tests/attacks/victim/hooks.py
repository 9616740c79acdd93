"""Ways to prune, and lazy modules, that a file may name. Each part that must not run by itself rings."""

from __future__ import annotations

import abc
from typing import Any

import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils import prune

from .alarm import ring


class Method(prune.BasePruningMethod):
    PRUNING_TYPE = "unstructured"

    def __init__(self) -> None:
        ring("Method.__init__")

    def __call__(self, module: Any, inputs: Any) -> Any:
        ring("Method.__call__")
        return super().__call__(module, inputs)

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        ring("Method.compute_mask")
        return default_mask

    def apply_mask(self, module: Any) -> Any:
        ring("Method.apply_mask")
        return super().apply_mask(module)

    @property
    def prop(self) -> int:
        return 1

    @prop.setter
    def prop(self, value: Any) -> None:
        ring("Method.prop")

    def __setattr__(self, name: str, value: Any) -> None:
        ring(f"Method.__setattr__ {name}")
        super().__setattr__(name, value)

    def __setstate__(self, state: Any) -> None:
        ring("Method.__setstate__")

    def __new__(cls, *args: Any) -> Any:
        ring("Method.__new__")
        return super().__new__(cls)


class Deleting(Method):
    def __del__(self) -> None:
        ring("hooks.Deleting.__del__")


class Abstract(prune.BasePruningMethod):
    @abc.abstractmethod
    def compute_mask(self, t: Any, default_mask: Any) -> Any: ...


class Watched(nn.Linear):
    """A module that notices what is asked of it."""

    def __setattr__(self, name: str, value: Any) -> None:
        ring(f"Watched.__setattr__ {name}")
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        ring(f"Watched.__getattr__ {name}")
        return super().__getattr__(name)

    def register_forward_pre_hook(self, *args: Any, **more: Any) -> Any:
        ring("Watched.register_forward_pre_hook")

    def register_buffer(self, *args: Any, **more: Any) -> Any:
        ring("Watched.register_buffer")


class Lazy(LazyModuleMixin, nn.Module):
    def __init__(self) -> None:
        ring("Lazy.__init__")
        super().__init__()

    def initialize_parameters(self, *args: Any) -> None:
        ring("Lazy.initialize_parameters")

    def forward(self, x: Any) -> Any:
        return x


class LazyProperty(Lazy):
    """One whose method is a property."""

    @property
    def _infer_parameters(self) -> Any:  # type: ignore[override]
        ring("LazyProperty._infer_parameters")
        return None


class LazyOverride(Lazy):
    def _lazy_load_hook(self, *args: Any) -> None:
        ring("LazyOverride._lazy_load_hook")

    def _infer_parameters(self, *args: Any) -> None:
        ring("LazyOverride._infer_parameters")


class Initialize:
    """What stands where a lazy module has a handle."""

    def remove(self) -> None:
        ring("Initialize.remove")


torch  # noqa: B018 - re-exported, as programs do
