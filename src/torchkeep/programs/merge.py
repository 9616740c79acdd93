"""The traces of both modes -> one Program.

Calls are aligned by the module call that made them and their operator. What differs is bound to a flag:

- an argument of a call that both modes make: to the `training` flags that the code read which made the call (the
  flag of a dropout, the probability of an attention's). Code of torch's own modules decides by what it reads itself;
  other code may have been told by the modules around it, and then all of their flags have to agree;
- a call that one mode alone makes: to the module whose code decided to make it. Where a whole module is called in one
  mode alone, such as an auxiliary head, that is the module that calls it;
- a reference that leads to such a call: to what that call is bound to;
- what is returned: to all flags that code other than torch's read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any, NamedTuple

import msgspec

from . import check
from .align import aligned
from .capture import Captured
from .examples import CannotCapture
from .model import VERSION, Argument, Call, Choice, Mode, Parameter, Program, Value, leaves, parts, rebuilt
from .traces import Key, Link, Shared, Step, Trace

_MODES: tuple[Mode, Mode] = ("eval", "train")


def merge(captured: Captured) -> Program:
    """One Program of what was captured.

    Raises:
        CannotCapture: it changes in place what no program may change.
    """
    program = _Merged(captured).program()
    changed = check.written(program)
    if others := [number for number in sorted(changed) if number >= len(program.state)]:
        raise CannotCapture(
            f"it changes {_what(program, others[0])} in place, and a program changes its own state alone"
        )
    return msgspec.structs.replace(program, writes=tuple(sorted(changed)))


def _what(program: Program, number: int) -> str:
    if number < program.first_input:
        return "a tensor that is neither a parameter nor a buffer"
    return f"its input {program.inputs[number - program.first_input].name}"


class _Row(NamedTuple):
    """A call of the Program: the step of each mode that makes it, by its position in that mode's trace."""

    steps: Mapping[Mode, int]


class _Merged:
    def __init__(self, captured: Captured) -> None:
        self._captured = captured
        self._traces = captured.traces
        self._shared: Shared = captured.shared
        self._first_input = len(self._shared.state) + len(self._shared.constants)
        self._first_call = self._first_input + len(captured.inputs)
        self._rows = list(_aligned(self._traces))
        self._row_of = {
            (mode, position): number for number, row in enumerate(self._rows) for mode, position in row.steps.items()
        }
        self._reads: dict[str, set[str]] = {}
        for trace in self._traces.values():
            for reader, paths in trace.seen.reads.items():
                self._reads.setdefault(reader, set()).update(paths)
        self._plain = next(iter(self._traces.values())).seen.plain
        self._modules: dict[str, int] = {"": 0}
        self._ops: dict[tuple[str, str], int] = {}

    def program(self) -> Program:
        calls = tuple(map(self._call, range(len(self._rows))))
        modes = tuple(mode for mode in _MODES if mode in self._traces)
        deciders = {path for reader, paths in self._reads.items() if reader not in self._plain for path in paths}
        decide = self._reads.get("") or deciders or {""}  # the outermost code, where it reads a flag at all
        output = self._joined({mode: trace.output for mode, trace in self._traces.items()}, decide)
        return Program(
            version=VERSION,
            modes=modes,
            ops=tuple(self._ops),
            modules=tuple(self._modules),
            state=tuple(self._shared.state),
            constants=len(self._shared.constants),
            inputs=self._captured.inputs,
            parameters=tuple(map(self._parameter, self._captured.parameters)),
            calls=calls,
            output=output,
            guards={mode: tuple(self._traces[mode].guards) for mode in modes},
            writes=(),
            own_dtype=self._captured.own_dtype,
        )

    def _parameter(self, parameter: Parameter) -> Parameter:
        def placed(argument: Argument) -> Argument:
            if isinstance(argument, Value):
                return Value(self._first_input + argument.number)
            return rebuilt(argument, placed)

        return Parameter(parameter.name, parameter.kind, placed(parameter.value), parameter.given)

    def _module(self, path: str) -> int:
        return self._modules.setdefault(path, len(self._modules))

    def _call(self, number: int) -> Call:
        row = self._rows[number]
        steps = {mode: self._traces[mode].steps[position] for mode, position in row.steps.items()}
        step = next(iter(steps.values()))
        module = self._module(_owner(step))
        deciders = self._flags_of([within.path for within in step.stack])
        args = [
            self._joined({mode: each.args[i] for mode, each in steps.items()}, deciders) for i in range(len(step.args))
        ]
        kwargs = {
            name: self._joined({mode: each.kwargs[name] for mode, each in steps.items()}, deciders)
            for name in step.kwargs
        }
        _drop_defaults(step, args, kwargs)
        op = self._ops.setdefault((step.op, step.schema), len(self._ops))
        return Call(op, module, tuple(args), kwargs, self._only(number))

    def _only(self, number: int) -> tuple[Mode, int] | None:
        """In which mode a call is made, and of which module."""
        steps = self._rows[number].steps
        if len(steps) == len(self._traces):
            return None
        ((mode, position),) = steps.items()
        other = next(each for each in self._traces if each != mode)
        around = [""]
        called = self._traces[other].seen.called
        for path, nth in self._traces[mode].steps[position].stack:
            if path and called.get(path, 0) <= nth:
                break
            around.append(path)
        for reader in reversed(around):  # code that reads no flag was told by what called it
            if paths := self._reads.get(reader):
                return mode, self._module(reader if reader in paths else min(paths))
        return mode, self._module(around[-1])

    def _flags_of(self, stack: Sequence[str]) -> set[str]:
        """By which modules' flags the code may have decided that runs within calls of these modules."""
        owner = stack[-1] if stack else ""
        if owner in self._plain and owner in self._reads:
            return self._reads[owner]
        return {path for reader in ("", *stack) for path in self._reads.get(reader, ())} or {owner}

    def _joined(self, each: Mapping[Mode, Any], modules: Set[str]) -> Any:
        """One argument of what stands there in each mode."""
        placed = {mode: self._placed(mode, argument) for mode, argument in each.items()}
        if len(placed) == 1 or placed["eval"] == placed["train"]:
            return next(iter(placed.values()))
        return self._choice(placed["eval"], placed["train"], modules)

    def _choice(self, in_eval: Any, in_train: Any, modules: Set[str]) -> Any:
        if in_eval == in_train:
            return in_eval
        if _alike(in_eval, in_train):
            rest = iter(parts(in_train))
            return rebuilt(in_eval, lambda part: self._choice(part, next(rest), modules))
        deciders = {decider for part in (in_eval, in_train) for decider in self._deciders(part)}
        plain = isinstance(in_eval, Value) and isinstance(in_train, Value)
        if not (deciders and plain):
            deciders |= set(map(self._module, modules))
        return Choice(tuple(sorted(deciders)), in_eval, in_train)

    def _deciders(self, argument: Any) -> Iterator[int]:
        """Of which modules it is that the calls are made that an argument refers to."""
        for leaf in leaves(argument):
            if isinstance(leaf, Value) and leaf.number >= self._first_call:
                only = self._only(leaf.number - self._first_call)
                if only is not None:
                    yield only[1]

    def _placed(self, mode: Mode, argument: Any) -> Any:
        """An argument with the Program's numbers in the place of links."""
        if isinstance(argument, Link):
            return Value(self._number(mode, argument.key))
        return rebuilt(argument, lambda part: self._placed(mode, part))

    def _number(self, mode: Mode, key: Key) -> int:
        if key.kind == "state":
            return key.number
        if key.kind == "constant":
            return len(self._shared.state) + key.number
        if key.kind == "input":
            return self._first_input + key.number
        return self._first_call + self._row_of[mode, key.number]


def _owner(step: Step) -> str:
    return step.stack[-1][0] if step.stack else ""


def _drop_defaults(step: Step, args: list[Any], kwargs: dict[str, Any]) -> None:
    """Take out of a call what its schema says already."""
    positional: list[Any] = []
    for name, default, keyword in step.defaults:
        if not keyword:
            positional.append(default)
        elif name in kwargs and _is_same(kwargs[name], default):
            del kwargs[name]
    while args and positional and _is_same(args[-1], positional[len(args) - 1]):
        args.pop()


def _is_same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and bool(a == b)


def _aligned(traces: Mapping[Mode, Trace]) -> Iterator[_Row]:
    """Calls in an order that keeps each mode's own."""
    if len(traces) == 1:
        ((mode, trace),) = traces.items()
        for position in range(len(trace.steps)):
            yield _Row({mode: position})
        return
    signs = {mode: [(step.op, len(step.args), step.stack[-1:]) for step in traces[mode].steps] for mode in _MODES}
    for in_eval, in_train in aligned(signs["eval"], signs["train"]):
        both: dict[Mode, int | None] = {"eval": in_eval, "train": in_train}
        yield _Row({mode: position for mode, position in both.items() if position is not None})


def _alike(a: Any, b: Any) -> bool:
    """Whether two arguments are of one form, and differ only further down."""
    if type(a) is not type(b) or not parts(a) or len(parts(a)) != len(parts(b)):
        return False
    return all(
        getattr(a, name, None) == getattr(b, name, None) for name in ("kind", "keys", "name", "sequence", "fields")
    )
