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


@contextmanager
def left_alone(module: torch.nn.Module) -> Iterator[Alone]:
    """Put back what running the module's code changes: attributes, flags, registered tensors, random state."""
    alone = Alone(module)
    with random_state_kept():
        try:
            yield alone
        finally:
            alone.put_back()


class Alone:
    """What the code of a module may change while it runs, and how to put it back.

    Beside attributes these are the lists, dicts, sets and plain objects that attributes hold: caches, counters. What it
    writes into tensors is the business of `Storages`.

    Attributes:
        changed: where it changed something, once that is noted.
        tensors: every tensor that was met on the way.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        self.changed: set[str] = set()
        self._counts: list[tuple[dict[str, Any], str, Any, str]] = []
        self._states: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
        self._held: list[tuple[str, Any, Any]] = []
        self._met: set[int] = set()
        self.tensors: list[torch.Tensor] = []
        for path, each in module.named_modules():
            state = vars(each)
            self._states.append((path, state, dict(state)))
            for name, value in state.items():
                self._hold(f"{path}.{name}".removeprefix("."), value)

    def _hold(self, path: str, value: Any) -> None:
        stack = [(path, value)]
        while stack and len(self._met) < _MOST_HELD:
            path, value = stack.pop()
            kind = type(value)
            if isinstance(value, torch.Tensor):
                self.tensors.append(value)
            if id(value) in self._met or not (kind in _HELD or _is_plain(value)):
                continue
            self._met.add(id(value))
            if kind in _HELD:
                self._held.append((path, value, kind(value)))
                inner = list(value.values()) if isinstance(value, dict) else list(value)
            else:
                self._states.append((path, vars(value), dict(vars(value))))
                inner = list(vars(value).values())
            stack += [(path, each) for each in inner]

    def note(self) -> None:
        """Note what is others than before: within the call, since torch puts back some of it after its capture."""
        self._counts = [
            (state, name, value, f"{path}.{name}".removeprefix("."))
            for path, state, before in self._states
            for name, value in state.items()
            if type(value) in (int, float, bool, str) and name != "training" and value != before.get(name)
        ]
        for path, state, before in self._states:
            if not _is_same(state, before):
                names = [name for name in {**before, **state} if not _alike(state.get(name, state), before.get(name))]
                self.changed |= {f"{path}.{name}".removeprefix(".") for name in names if name != "training"}
        self.changed |= {path for path, held, before in self._held if not _is_same(held, before)}
        self.changed = {path for path in self.changed if path.rpartition(".")[2] not in _TORCHS}

    def go_on(self) -> bool:
        """Set numbers and texts to what the call set them to; whether there are any."""
        for state, name, value, _ in self._counts:
            state[name] = value
        return bool(self._counts)

    def forget(self) -> None:
        """These make no difference to the next call."""
        self.changed -= {path for *_, path in self._counts}

    def put_back(self) -> None:
        """Make everything as it was."""
        for _, state, before in self._states:
            if not _is_same(state, before):
                state.clear()
                state.update(before)
        for _, held, before in self._held:
            if not _is_same(held, before):
                held.clear()
                held.extend(before) if isinstance(held, list | deque) else held.update(before)


_TORCHS = frozenset({"_parameters", "_buffers", "_modules", "_flat_weights", "_flat_weight_refs"})
"""Where torch puts tensors without memory for the time of a capture."""
_HELD = (list, dict, set, OrderedDict, deque)
_MOST_HELD = 100_000
"""Objects of a module that are looked at; a graph of nodes that an attribute holds may be of any size."""


def _is_plain(value: Any) -> bool:
    kind = type(value)
    if kind.__module__.split(".")[0] in ("builtins", "torch", "numpy") or callable(value) or isinstance(value, type):
        return False
    return type(getattr(value, "__dict__", None)) is dict


def _is_same(now: Any, before: Any) -> bool:
    """Whether a container holds what it held, in order."""
    if len(now) != len(before):
        return False
    if isinstance(now, dict):
        return all(a is b and now[a] is before[b] for a, b in zip(now, before, strict=True))
    return now == before if isinstance(now, set) else all(a is b for a, b in zip(now, before, strict=True))


def _alike(now: Any, before: Any) -> bool:
    """Whether two are one object, or containers of the same ones: torch replaces containers by copies."""
    if now is before:
        return True
    if type(now) is not type(before) or type(now) not in (*_HELD, tuple) or len(now) != len(before):
        return False
    if isinstance(now, dict):
        return all(a == b and _alike(now[a], before[b]) for a, b in zip(now, before, strict=True))
    return now == before if isinstance(now, set) else all(map(_alike, now, before))


# --- random state ------------------------------------------------------------------------------------


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
    """Seed every global generator that a model's code may draw from.

    `torch.manual_seed` would also seed devices that are first used later, which nothing could put back.
    """
    random.seed(number)
    torch.default_generator.manual_seed(number)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(number)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(number)


# --- what is written into tensors -------------------------------------------------------------------


class Storages:
    """The memory of a model: which of it its own code writes to, and how that is put back."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._parameters = {key for tensor in module.parameters() if (key := _key(tensor)) is not None}
        tensors = Alone(module).tensors
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
    except Exception:  # a subclass may raise anything, and a lazy parameter has none yet
        return None
