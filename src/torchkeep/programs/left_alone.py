"""Running the code of a model without leaving a trace: its attributes, its tensors and the random state stay."""

from __future__ import annotations

import random
import sys
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_COLUMNS = ("_parameters", "_buffers", "_modules")

_CONTAINERS = (list, dict, set, OrderedDict, deque)
"""Containers whose contents are put back; by exact type, since another may have code of its own."""

_LEVELS = 4
"""How far containers in each other are looked into."""


@contextmanager
def left_alone(module: torch.nn.Module) -> Iterator[None]:
    """Put back what running the module's code changes: attributes, flags, registered tensors, random state.

    What it writes into tensors is the business of `written_by`.
    """
    before = [(each, dict(vars(each)), [dict(vars(each)[name]) for name in _COLUMNS]) for each in module.modules()]
    held = [(each, each.copy()) for each in _held(module) if type(each) in _CONTAINERS]
    try:
        with random_state_kept():
            yield
    finally:
        for each, state, columns in before:
            vars(each).clear()
            vars(each).update(state)
            for name, column in zip(_COLUMNS, columns, strict=True):
                vars(each)[name].clear()
                vars(each)[name].update(column)
        for container, contents in held:
            if len(container) != len(contents) or not all(map(_is_same, _parts(container), _parts(contents))):
                container.clear()
                (container.update if isinstance(container, dict | set) else container.extend)(contents)


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Put back the state of Python's, torch's and numpy's global generators."""
    python, cpu = random.getstate(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
    numpy = sys.modules["numpy"].random.get_state() if "numpy" in sys.modules else None
    try:
        yield
    finally:
        random.setstate(python)
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
        if numpy is not None:
            sys.modules["numpy"].random.set_state(numpy)


def seed(number: int) -> None:
    """Seed every global generator that a model's code may draw from."""
    random.seed(number)
    torch.manual_seed(number)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(number)


def _is_same(one: Any, other: Any) -> bool:
    return one is other


def _parts(container: Any) -> list[Any]:
    """What a container holds; of a dict keys and values."""
    return [part for pair in container.items() for part in pair] if isinstance(container, dict) else list(container)


def _held(module: torch.nn.Module) -> Iterator[Any]:
    """Everything that a module's attributes hold, and what containers in them do, once each."""
    seen: set[int] = set()
    level: list[Any] = [
        value for each in module.modules() for name, value in vars(each).items() if name not in _COLUMNS
    ]
    for _ in range(_LEVELS):
        below: list[Any] = []
        for value in level:
            if id(value) in seen:
                continue
            seen.add(id(value))
            yield value
            if type(value) in (*_CONTAINERS, tuple):
                below += _parts(value)
        level = below


# --- what is written into tensors -------------------------------------------------------------------


class Storages:
    """The memory of a model: which of it its own code writes to, and how that is put back."""

    def __init__(self, module: torch.nn.Module) -> None:
        tensors = [*module.parameters(), *module.buffers()]
        self._parameters = {key for tensor in module.parameters() if (key := _key(tensor)) is not None}
        tensors += [value for value in _held(module) if isinstance(value, torch.Tensor)]
        self._known = {key: tensor for tensor in tensors if (key := _key(tensor)) is not None}
        self._written: dict[int, torch.UntypedStorage] = {}

    def all_but_parameters(self) -> None:
        """Take it that everything but the parameters is written to."""
        for key, tensor in self._known.items():
            if key not in self._parameters:
                self._written[key] = tensor.untyped_storage()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Find out what the code that runs meanwhile writes to, keep that as it was before, and put it back."""
        before: dict[int, torch.UntypedStorage] = {}
        with _Watch(self._known, before):
            try:
                yield
            finally:
                for key, content in before.items():
                    storage = self._written[key] = self._known[key].untyped_storage()
                    storage.copy_(content)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Put back what is known to be written to."""
        before = [(storage, _content(storage)) for storage in self._written.values()]
        try:
            yield
        finally:
            for storage, content in before:
                storage.copy_(content)


def _content(storage: torch.UntypedStorage) -> torch.UntypedStorage:
    copy: torch.UntypedStorage = storage.clone()  # type: ignore[no-untyped-call]
    return copy


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps the content of known memory before an operator writes to it."""

    def __init__(self, known: dict[int, torch.Tensor], before: dict[int, torch.UntypedStorage]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known = known
        self._before = before

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for i, argument in enumerate(func._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                given = args[i] if i < len(args) else kwargs.get(argument.name)
                for tensor in given if isinstance(given, list | tuple) else (given,):
                    key = _key(tensor)
                    if key in self._known and key not in self._before:
                        self._before[key] = _content(self._known[key].untyped_storage())
        return func(*args, **kwargs)


def _key(tensor: Any) -> int | None:
    """What tells the memory of a tensor from other memory; None for a tensor that has none of its own."""
    if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided or tensor.is_meta:
        return None
    try:
        return int(tensor.untyped_storage()._cdata)
    except (RuntimeError, NotImplementedError):  # a subclass, a lazy parameter
        return None
