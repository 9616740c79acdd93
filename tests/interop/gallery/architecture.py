"""One architecture of the gallery: how it is built, what it is fed, and what a program that loads it has to say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

Build = Callable[[], torch.nn.Module]
Rehook = Callable[[Any], None]


@dataclass(frozen=True)
class Architecture:
    """A row of the table.

    Attributes:
        build: makes the model; small, with random weights. It imports what it needs by itself.
        inputs: makes the arguments of a call.
        kwargs: makes the keyword arguments of a call.
        imports: modules that a program imports before it loads the file, as one that uses the model has.
        trust: what `torchkeep.load` is told instead, in a program that has imported nothing.
        rehook: for a model on which its package sets hooks, which no file holds: sets them again. Loading it asks for
            ``allow={"hooks"}``.
    """

    build: Build
    inputs: Callable[[], tuple[Any, ...]] = tuple
    kwargs: Callable[[], dict[str, Any]] = dict
    imports: tuple[str, ...] = ()
    trust: tuple[str, ...] = ()
    rehook: Rehook | None = None


@dataclass
class Table:
    """Architectures by name, with what they have in common."""

    imports: tuple[str, ...] = ()
    trust: tuple[str, ...] = ()
    rows: dict[str, Architecture] = field(default_factory=dict)

    def add(
        self,
        build: Build,
        *inputs: Any,
        name: str | None = None,
        kwargs: Mapping[str, Any] | None = None,
        imports: tuple[str, ...] | None = None,
        trust: tuple[str, ...] | None = None,
        rehook: Rehook | None = None,
    ) -> Build:
        """Add a row under the function's own name. An input that is a function is made when it is needed."""
        named = dict(kwargs or {})
        label = name or build.__name__
        assert label not in self.rows, label
        self.rows[label] = Architecture(
            build,
            lambda: tuple(map(_made, inputs)),
            lambda: {key: _made(value) for key, value in named.items()},
            self.imports if imports is None else imports,
            self.trust if trust is None else trust,
            rehook,
        )
        return build

    def of(self, *inputs: Any, **options: Any) -> Callable[[Build], Build]:
        """The same as a decorator."""
        return lambda build: self.add(build, *inputs, **options)


def floats(*shape: int, dtype: torch.dtype = torch.float32) -> Callable[[], torch.Tensor]:
    """Random numbers, the same every time."""
    return lambda: torch.randn(shape, generator=_generator(), dtype=dtype)


def ints(*shape: int, below: int) -> Callable[[], torch.Tensor]:
    """Random indices, the same every time."""
    return lambda: torch.randint(below, shape, generator=_generator())


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def _made(value: Any) -> Any:
    return value() if callable(value) else value
