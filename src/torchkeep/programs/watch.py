"""What is seen of a module while its code runs: the modules that it calls, the flags that it reads, what it draws."""

from __future__ import annotations

import io
import logging
import random
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any

import torch
from torch.fx.experimental.symbolic_shapes import uninteresting_files

from .left_alone import left_alone


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
