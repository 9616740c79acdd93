"""A Program with its choices made: a function of operator calls, for one combination of modes, device and dtype.

It is the `forward` of a `torch.fx.GraphModule` over a graph that is made here of checked literals alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch

from ..errors import CallError, brief_text
from . import growth
from .direct import DIRECT
from .guards import guard_of, is_of_numbers, varies
from .model import (
    AUTOCAST,
    END,
    GRAD,
    Argument,
    Call,
    Choice,
    Dict,
    Dtype,
    Float,
    List,
    Mode,
    OwnDevice,
    OwnDtype,
    OwnLimit,
    Program,
    Tuple,
    Value,
    leaves,
    rebuilt,
)
from .trees import chosen, object_of


class Key(NamedTuple):
    """What a function is made for."""

    flags: tuple[bool, ...]
    device: torch.device
    dtype: torch.dtype | None


def object_of_dtype(name: str) -> torch.dtype:
    """A dtype of a checked Program."""
    dtype = getattr(torch, name)
    assert isinstance(dtype, torch.dtype)
    return dtype


class Function(NamedTuple):
    """What is called for one combination of modes.

    Attributes:
        call: the function, as torch.fx writes it.
        output: what is made of its results.
        has_regions: whether it is given a place for regions.
        lines: for each line of the function, the name that its value has there.
        calls: for each such name, the number of the call.
    """

    call: Callable[..., tuple[Any, ...]]
    output: Argument
    has_regions: bool
    lines: tuple[str, ...]
    calls: Mapping[str, int]

    def where(self, error: BaseException) -> int | None:
        """The number of the call that raised an error."""
        trace, code = error.__traceback__, self.call.__code__
        while trace is not None:
            if trace.tb_frame.f_code is code and trace.tb_lineno <= len(self.lines):
                name = self.lines[trace.tb_lineno - 1].strip().partition(" ")[0].rstrip(":")
                return self.calls.get(name)
            trace = trace.tb_next
        return None


class Regions:
    """The regions that a running function is in; leaving it leaves them all, also where an operator raises."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._open: list[Any] = []

    def enter(self, manager: Any) -> None:
        """Begin a region."""
        manager.__enter__()
        self._open.append(manager)
        self._stack.push(lambda *_: self._leave_if_open(manager))

    def leave(self) -> None:
        """End the region that was begun last."""
        self._open.pop().__exit__(None, None, None)

    def _leave_if_open(self, manager: Any) -> None:
        if manager in self._open:
            self._open.remove(manager)
            manager.__exit__(None, None, None)


def _grad(regions: Regions, enabled: bool) -> None:
    regions.enter(torch.set_grad_enabled(enabled))


def _autocast(regions: Regions, device: str, dtype: torch.dtype | None, enabled: bool, cached: bool | None) -> None:
    regions.enter(torch.autocast(device, dtype, enabled, cached))


def _end(regions: Regions) -> None:
    regions.leave()


def specialised(program: Program, targets: Sequence[Callable[..., Any] | None], key: Key) -> Function:
    """The function of one combination of modes.

    Raises:
        CallError: the modes cannot be mixed in this way.
    """
    modes = _Modes(program, key.flags)
    dtype = _dtype(program, key.dtype)
    graph = torch.fx.Graph()
    values: list[torch.fx.Node | None] = [graph.placeholder(f"v{number}") for number in range(program.first_call)]
    has_regions = any(target is None for target in targets)
    regions = graph.placeholder("regions") if has_regions else None

    def made(argument: Argument) -> Any:
        if isinstance(argument, Value):
            node = values[argument.number]
            if node is None:
                raise modes.error(argument.number)
            return node
        if isinstance(argument, List | Tuple):
            items = [made(item) for item in argument.items]
            return items if isinstance(argument, List) else tuple(items)
        if isinstance(argument, Dict):
            raise TypeError("a dict is no argument of an operator")
        if isinstance(argument, OwnDevice):
            return key.device
        if isinstance(argument, OwnDtype):
            return dtype
        if isinstance(argument, OwnLimit):
            return getattr(torch.finfo(dtype), argument.name)
        if isinstance(argument, Choice):
            return made(modes.choose(argument))
        if _is_slice_of_values(argument):
            return slice(*(made(end) for end in (argument.start, argument.stop, argument.step)))  # type: ignore[union-attr]
        return object_of(argument)

    depth = 0
    numbers: dict[torch.fx.Node, int] = {}
    for number, call in enumerate(program.calls):
        if not modes.makes(call):
            values.append(None)
            continue
        target = targets[call.op]
        args = tuple([made(arg) for arg in call.args])
        kwargs = {name: made(arg) for name, arg in call.kwargs.items()}
        name = program.ops[call.op][0]
        if target is not None:
            node = graph.call_function(_checked(name, target, args, kwargs), args, kwargs)
            values.append(node)
            numbers[node] = number
            continue
        depth += -1 if name == END else 1
        if depth < 0:
            raise modes.error(None)
        if name == AUTOCAST:
            args = (key.device.type if isinstance(args[0], torch.device) else args[0], *args[1:])
        values.append(graph.call_function(_REGION[name], (regions, *args)))
    if depth:
        raise modes.error(None)
    output = chosen(program.output, modes.choose)
    returned = list(dict.fromkeys(leaf.number for leaf in leaves(output) if isinstance(leaf, Value)))
    place = {number: i for i, number in enumerate(returned)}
    graph.output(tuple([made(Value(number)) for number in returned]))
    renumbered = _renumbered(output, place, dtype)
    module = torch.fx.GraphModule({}, graph)
    calls = {node.name: number for node, number in numbers.items()}
    return Function(module.forward, renumbered, has_regions, tuple(module.code.splitlines()), calls)


def _dtype(program: Program, now: torch.dtype | None) -> torch.dtype:
    """What constants are that follow the dtype of the module.

    Raises:
        CallError: the module was cast, and it is not known which do.
    """
    if program.own_dtype is not None:
        own = object_of_dtype(program.own_dtype)
        return own if now is None else now
    if now is not None and (fixed := _fixed_dtypes(program)) and now not in fixed:
        number = min(fixed.values())
        call = program.calls[number]
        module = program.modules[call.module] or "the model itself"
        raise CallError(
            f"the model is {short(now)} now, and its computation was captured with constants of "
            f"{', '.join(map(short, fixed))}, first in call {number} ({program.ops[call.op][0]} in "
            f"{brief_text(module)}). Whether they follow is not known. Cast the model before you save it, and save it "
            "again with its example"
        )
    return now or torch.float32


def _fixed_dtypes(program: Program) -> dict[torch.dtype, int]:
    """Floating-point dtypes among the constants, and the first call that has each."""
    found: dict[torch.dtype, int] = {}
    for number, call in enumerate(program.calls):
        for argument in (*call.args, *call.kwargs.values()):
            for leaf in leaves(argument):
                if isinstance(leaf, Dtype) and (dtype := object_of_dtype(leaf.name)).is_floating_point:
                    found.setdefault(dtype, number)
    return found


def short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _flat(argument: Any) -> Iterator[Any]:
    """An argument, or what is in it if it is a list."""
    if isinstance(argument, list | tuple):
        for each in argument:
            yield from _flat(each)
    else:
        yield argument


def _checked(name: str, target: Callable[..., Any], args: Any, kwargs: Any) -> Callable[..., Any]:
    """What is called: an operator alone, or behind the check of what may differ from call to call.

    Raises:
        ProgramError: arguments that are the same in every call are not ones that it can take.
    """
    guard, bound = guard_of(name), growth.guard_of(name)
    if isinstance(target, torch._ops.OpOverload):
        target = DIRECT.get(name, target)
    rest = list(_flat((*args[1:], *kwargs.values())))
    fixed = not any(isinstance(each, torch.fx.Node) for each in rest)
    if guard is not None and (not varies(name) or (fixed and is_of_numbers(name))):
        guard(args, kwargs)
        guard = None
    if bound is not None and growth.is_slow(name, args, kwargs):
        bound = None
    guards = [each for each in (guard, bound) if each is not None]
    if not guards:
        return target

    def call(*args: Any, **kwargs: Any) -> Any:
        for each in guards:
            each(args, kwargs)
        return target(*args, **kwargs)

    return call


_REGION: Mapping[str, Callable[..., Any]] = {GRAD: _grad, AUTOCAST: _autocast, END: _end}


def _is_slice_of_values(argument: Argument) -> bool:
    return type(argument).__name__ == "Slice"


def _renumbered(argument: Argument, place: Mapping[int, int], dtype: torch.dtype) -> Argument:
    """What is returned in terms of the values that the function gives, for one dtype."""
    if isinstance(argument, Value):
        return Value(place[argument.number])
    if isinstance(argument, OwnDtype):
        return Dtype(short(dtype))
    if isinstance(argument, OwnLimit):
        return Float(repr(getattr(torch.finfo(dtype), argument.name)))
    return rebuilt(argument, lambda part: _renumbered(part, place, dtype))


class _Modes:
    """Which calls are made, and what is chosen, while modules have these flags."""

    def __init__(self, program: Program, flags: Sequence[bool]) -> None:
        self._program = program
        self._mode: list[Mode] = ["train" if flag else "eval" for flag in flags]
        if len(program.modes) == 1:
            (only,) = program.modes
            if any(mode != only for mode in self._mode):
                raise CallError(
                    f"the computation was captured in {only} mode alone, and the model is not in it. Call "
                    f".{only}() first; the file's findings say why there is no other"
                )

    def makes(self, call: Call) -> bool:
        """Whether a call is made.

        Raises:
            CallError: its module is called in this mode alone, and is in the other, in which it was never seen.
        """
        if call.only is None:
            return True
        mode, decider = call.only
        if self._mode[decider] != mode:
            return False
        if self._mode[call.module] != mode:
            raise self._mixed((decider, call.module))
        return True

    def choose(self, choice: Choice) -> Argument:
        """What stands in the place of a choice.

        Raises:
            CallError: its modules are in different modes.
        """
        modes = {self._mode[module] for module in choice.modules}
        if len(modes) > 1:
            raise self._mixed(choice.modules)
        return choice.train if modes == {"train"} else choice.eval

    def error(self, number: int | None) -> CallError:
        """The error about a value that is needed and is not there."""
        if number is None:
            return self._mixed(range(len(self._program.modules)))
        call = self._program.calls[number - self._program.first_call]
        only = call.only
        assert only is not None
        return self._mixed((only[1],))

    def _mixed(self, modules: Sequence[int]) -> CallError:
        names = [self._program.modules[module] or "the model itself" for module in list(modules)[:_SHOWN]]
        return CallError(
            f"{', '.join(map(brief_text, names))}: the computation does not hold this mixture of train and eval modes. "
            "Put them into the mode of the modules around them"
        )


_SHOWN = 8
