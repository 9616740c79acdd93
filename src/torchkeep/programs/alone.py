"""Running the code of a module without a trace: what is seen of it meanwhile, and how all is as it was afterwards."""

from __future__ import annotations

import io
import logging
import random
import sys
import warnings
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any

import torch
from torch.fx.experimental.symbolic_shapes import uninteresting_files


def drawn_from() -> dict[str, Any]:
    """The state of random numbers that are not torch's."""
    numpy = sys.modules["numpy"].random.get_state() if "numpy" in sys.modules else None
    return {
        "Python's random": random.getstate(),
        "numpy's random": None if numpy is None else (numpy[1].tobytes(), *numpy[2:]),
    }


@contextmanager
def quiet() -> Iterator[None]:
    """Without what torch warns and logs of a capture: what stops one is told as a finding."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    validate = torch.distributions.Distribution._validate_args
    torch.distributions.Distribution.set_default_validate_args(False)  # a program could not raise their errors
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):  # torch prints the graph of a failed one
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
        torch.distributions.Distribution.set_default_validate_args(validate)


class _Watch:
    """What is seen of the modules while their code runs: who is called, and who reads whose `training` flag."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._paths = {id(each): path for path, each in module.named_modules()}
        self._stack: list[str] = []
        self.called: Counter[str] = Counter()
        self.reads: dict[str, set[str]] = {}
        self.asked: list[tuple[Any, bool]] = []

    def enter(self, module: torch.nn.Module, _: Any) -> None:
        """A module is called."""
        if (path := self._paths.get(id(module))) is not None:
            self.called[path] += 1
            self._stack.append(path)

    def leave(self, module: torch.nn.Module, *_: Any) -> None:
        """The call is over, or raised."""
        if id(module) in self._paths and self._stack:
            self._stack.pop()

    def read(self, module: torch.nn.Module) -> None:
        """The flag of a module is read, by the code of the module that was called last."""
        if self._stack and (path := self._paths.get(id(module))) is not None:
            self.reads.setdefault(self._stack[-1], set()).add(path)

    def compared(self, expression: Any, result: bool) -> None:
        """Code compared sizes that vary. To torch they are 2 or more, and it notes nothing where that tells enough."""
        caller = sys._getframe(2).f_code.co_filename.replace("\\", "/")
        if not any(part in caller for part in _OPERATORS):
            self.asked.append((expression, result))


_OPERATORS = tuple(
    f"/torch/{each}"
    for each in ("_subclasses/", "_ops.py", "_refs/", "_prims", "_decomp/", "_meta_", "fx/", "_export/")
)
"""Where torch works out what an operator gives, and asks for itself."""


class _Flag:
    """Stands in the class of all modules for the flag that each has, and tells who is asked."""

    def __init__(self, watch: _Watch) -> None:
        self._watch = watch

    def __get__(self, module: Any, owner: Any = None) -> Any:
        if module is None:
            raise AttributeError("training")
        self._watch.read(module)
        return vars(module)["training"]

    def __set__(self, module: Any, value: Any) -> None:
        vars(module)["training"] = value


@contextmanager
def watching(module: torch.nn.Module) -> Iterator[_Watch]:
    watch = _Watch(module)
    hooks = torch.nn.modules.module
    handles = [
        hooks.register_module_forward_pre_hook(watch.enter),
        hooks.register_module_forward_hook(watch.leave, always_call=True),
    ]
    truth: Callable[[torch.SymBool], bool] = torch.SymBool.__bool__

    def told(asked: torch.SymBool) -> bool:
        expression = asked.node.expr
        result = truth(asked)
        watch.compared(expression, result)
        return result

    uninteresting_files().add(__file__)  # torch notes the line that asks
    torch.nn.Module.training = _Flag(watch)  # type: ignore[assignment]
    torch.SymBool.__bool__ = told  # type: ignore[method-assign]
    try:
        yield watch
    finally:
        torch.SymBool.__bool__ = truth  # type: ignore[method-assign]
        del torch.nn.Module.training
        for handle in handles:
            handle.remove()


class _Alone:
    """What the code of a module may change while it runs, and how to put it back.

    Beside attributes these are the lists, dicts, sets and plain objects that attributes hold: caches, counters.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        self.changed: set[str] = set()
        self._counts: list[tuple[dict[str, Any], str, Any, str]] = []
        self._states: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
        self._held: list[tuple[str, Any, Any]] = []
        self._met: set[int] = set()
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


@contextmanager
def left_alone(module: torch.nn.Module) -> Iterator[_Alone]:
    """Put back what running the module's code changes: attributes, flags, registered tensors, random state."""
    python, cpu = random.getstate(), torch.get_rng_state()
    numpy = sys.modules["numpy"].random.get_state() if "numpy" in sys.modules else None
    alone = _Alone(module)
    try:
        yield alone
    finally:
        alone.put_back()
        random.setstate(python)
        torch.set_rng_state(cpu)
        if numpy is not None:
            sys.modules["numpy"].random.set_state(numpy)


def staying(module: torch.nn.Module) -> tuple[str, ...]:
    """Modules that `train()` leaves in eval mode, where a class has one of its own; what raises tells nothing."""
    if all(type(each).train is torch.nn.Module.train for each in module.modules()):
        return ()
    with left_alone(module):
        try:
            module.train()
        except Exception:
            return ()
        return tuple(path for path, each in module.named_modules() if not each.training)
