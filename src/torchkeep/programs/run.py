"""A Program at work: for each combination of modes, device and dtype that a call meets, a function made of its calls.

The function is the `forward` of a `torch.fx.GraphModule` over a graph that is made here; it takes the tensors of the
module tree, the constants and the inputs, and holds none of them. So a module that runs a Program may be moved, cast,
copied, compiled and trained, and its tensors may be replaced.
"""

from __future__ import annotations

import linecache
import re
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch

from ..errors import CallError, TorchkeepError, brief, brief_text
from . import growth
from .check import check
from .guards import Guard, guard_of
from .model import (
    Argument,
    Call,
    Choice,
    Dict,
    List,
    Mode,
    OwnDevice,
    OwnDtype,
    Parameter,
    Program,
    Tuple,
    Value,
    leaves,
)
from .places import module_at, tensor_at
from .sizes import value_of, written_out
from .traces import AUTOCAST, END, GRAD
from .trees import chosen, given, object_of, taken


class _Key(NamedTuple):
    """What a function is made for."""

    flags: tuple[bool, ...]
    device: torch.device
    dtype: torch.dtype | None


class Runner:
    """A checked Program with its constants; it belongs to no module, and copies of a module share it."""

    def __init__(self, program: Program, constants: Sequence[torch.Tensor]) -> None:
        """Hold the Program against its rules.

        Raises:
            FormatError, LimitError, ProgramError: as `check` says.
        """
        self.program = program
        self.constants = tuple(constants)
        self._targets = check(program, constants=len(constants))
        self._made: dict[_Key, _Function] = {}
        self._moved: dict[torch.device, tuple[torch.Tensor, ...]] = {torch.device("cpu"): self.constants}

    def __deepcopy__(self, memo: Any) -> Runner:
        return self

    def __reduce__(self) -> Any:
        return Runner, (self.program, self.constants)

    def __call__(self, root: torch.nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Run the program on a module's tensors.

        Raises:
            CallError: the call is not one that was captured, or its modes cannot be mixed.
        """
        program = self.program
        modules = [module_at(root, path) for path in program.modules]
        state = [tensor_at(root, row) for row in program.state]
        inputs = self._inputs(args, kwargs)
        flags = tuple([module.training for module in modules])
        self._check_inputs(inputs, flags)
        device = next((tensor.device for tensor in (*state, *inputs)), torch.device("cpu"))
        dtype = next((tensor.dtype for tensor in state if tensor.is_floating_point()), None)
        try:
            return self._computed(_Key(flags, device, dtype), state, inputs)
        except (TorchkeepError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            if torch.compiler.is_compiling():
                raise  # what compiles knows its own errors
            raise CallError(f"{_operator_of(error)} raised {type(error).__name__}: {error}") from error

    def _computed(self, key: _Key, state: Sequence[torch.Tensor], inputs: Sequence[torch.Tensor]) -> Any:
        function = self._made.get(key)
        if function is None:
            function = self._made[key] = _specialised(self.program, self._targets, key)
        constants = self._constants(key.device)
        if function.has_regions:
            with ExitStack() as regions:
                returned = function.call(*state, *constants, *inputs, _Regions(regions))
        else:
            returned = function.call(*state, *constants, *inputs)
        return given(function.output, returned)

    def _constants(self, device: torch.device) -> tuple[torch.Tensor, ...]:
        moved = self._moved.get(device)
        if moved is None:
            moved = self._moved[device] = tuple([constant.to(device) for constant in self.constants])
        return moved

    # --- a call ---

    def _inputs(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[torch.Tensor]:
        found: dict[int, torch.Tensor] = {}
        for parameter, (is_given, obj) in zip(
            self.program.parameters, _bound(self.program.parameters, args, kwargs), strict=True
        ):
            if is_given:
                taken(parameter.value, obj, found, parameter.name)
            elif parameter.given:
                raise CallError(f"{parameter.name} is missing; the examples gave it")
        return [found[number] for number in range(self.program.first_input, self.program.first_call)]

    def _check_inputs(self, inputs: Sequence[torch.Tensor], flags: Sequence[bool]) -> None:
        """Sizes are those that the capture allows, in the mode that the module is in."""
        program = self.program
        mode: Mode = "train" if "train" in program.modes and (any(flags) or "eval" not in program.modes) else "eval"
        for spec, tensor in zip(program.inputs, inputs, strict=True):
            shape = spec.shapes[mode]
            if len(shape) != tensor.ndim:
                raise CallError(f"{spec.name} has {tensor.ndim} dimensions, and the example had {len(shape)}")
            if _category(tensor.dtype) != _category(object_of_dtype(spec.dtype)):
                have = str(tensor.dtype).removeprefix("torch.")
                raise CallError(f"{spec.name} is {have}, and the example was {spec.dtype}")
        for spec, tensor in zip(program.inputs, inputs, strict=True):
            for d, wanted in enumerate(spec.shapes[mode]):
                if wanted is None or (size := tensor.shape[d]) == (expected := value_of(wanted, inputs)):
                    continue
                made = "" if type(wanted) is int else f" ({written_out(wanted, program)})"
                raise CallError(
                    f"{spec.name} has size {size} in dimension {d}, and the computation was captured for {expected}"
                    f"{made}. To let it vary, save the model again with two examples of different sizes"
                )
        for guard in program.guards[mode]:
            if not value_of(guard, inputs):
                raise CallError(
                    f"the sizes of the inputs are not ones that the computation was captured for: "
                    f"{written_out(guard, program)} has to hold. Save the model again with an example of these sizes"
                )


def _operator_of(error: Exception) -> str:
    """Which operator raised, as a person calls it: it stands in the line of the function that was made."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        name = frame.f_code.co_filename
        if name.startswith("<eval_with_key>") and (found := _CALLED.search(linecache.getline(name, line))):
            return found[1] or found[2].replace("_", ".", 1)
    return "the computation"


_CALLED = re.compile(r"torch\.ops\.(aten\.\w+\.\w+)\(|torchkeep_programs_run_(\w+)\(")


def object_of_dtype(name: str) -> torch.dtype:
    """A dtype of a checked Program."""
    dtype = getattr(torch, name)
    assert isinstance(dtype, torch.dtype)
    return dtype


def _category(dtype: torch.dtype) -> str:
    if dtype == torch.bool:
        return "bool"
    return "complex" if dtype.is_complex else "float" if dtype.is_floating_point else "int"


def _bound(parameters: Sequence[Parameter], args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[tuple[bool, Any]]:
    """For each parameter, whether the call gives it, and what; by Python's rules.

    Raises:
        CallError: the call does not fit them.
    """
    positional, named = list(args), dict(kwargs)
    found: list[tuple[bool, Any]] = []
    for parameter in parameters:
        by_position = parameter.kind in ("positional", "either")
        if parameter.kind == "args":
            found.append((bool(positional) or parameter.given, tuple(positional)))
            positional = []
        elif parameter.kind == "kwargs":
            found.append((bool(named) or parameter.given, named))
            named = {}
        elif by_position and positional:
            if parameter.kind == "either" and parameter.name in named:
                raise CallError(f"{parameter.name} is given twice")
            found.append((True, positional.pop(0)))
        elif parameter.kind != "positional" and parameter.name in named:
            found.append((True, named.pop(parameter.name)))
        else:
            found.append((False, None))
    if positional or named:
        left = f"{len(positional)} arguments too many" if positional else f"an argument {brief(next(iter(named)))}"
        names = ", ".join(parameter.name for parameter in parameters)
        raise CallError(f"the call gives {left}; the model takes {names}")
    return found


# --- functions --------------------------------------------------------------------------------------


class _Function(NamedTuple):
    call: Callable[..., tuple[Any, ...]]
    output: Argument
    has_regions: bool


class _Regions:
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


def _grad(regions: _Regions, enabled: bool) -> None:
    regions.enter(torch.set_grad_enabled(enabled))


def _autocast(regions: _Regions, device: str, dtype: torch.dtype | None, enabled: bool, cached: bool | None) -> None:
    regions.enter(torch.autocast(device, dtype, enabled, cached))


def _end(regions: _Regions) -> None:
    regions.leave()


def _specialised(program: Program, targets: Sequence[Callable[..., Any] | None], key: _Key) -> _Function:
    """The function of one combination of modes.

    Raises:
        CallError: the modes cannot be mixed in this way.
    """
    modes = _Modes(program, key.flags)
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
            return key.dtype
        if isinstance(argument, Choice):
            return made(modes.choose(argument))
        if _is_slice_of_values(argument):
            return slice(*(made(end) for end in (argument.start, argument.stop, argument.step)))  # type: ignore[union-attr]
        return object_of(argument)

    depth = 0
    for call in program.calls:
        if not modes.makes(call):
            values.append(None)
            continue
        target = targets[call.op]
        args = tuple([made(arg) for arg in call.args])
        kwargs = {name: made(arg) for name, arg in call.kwargs.items()}
        name = program.ops[call.op][0]
        if target is not None:
            guards = [guard for guard in (guard_of(name), growth.guard_of(name)) if guard]
            values.append(graph.call_function(_guarded(name, target, guards) if guards else target, args, kwargs))
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
    numbers = list(dict.fromkeys(leaf.number for leaf in leaves(output) if isinstance(leaf, Value)))
    place = {number: i for i, number in enumerate(numbers)}
    graph.output(tuple([made(Value(number)) for number in numbers]))
    renumbered = chosen(_renumbered(output, place), modes.choose)
    return _Function(torch.fx.GraphModule({}, graph).forward, renumbered, has_regions)


def _guarded(name: str, target: Callable[..., Any], guards: Sequence[Guard]) -> Callable[..., Any]:
    """An operator behind the checks of its arguments, under its own name: errors tell it."""

    def call(*args: Any, **kwargs: Any) -> Any:
        for guard in guards:
            guard(args, kwargs)
        return target(*args, **kwargs)

    call.__name__ = name.replace(".", "_")
    return call


_REGION: Mapping[str, Callable[..., Any]] = {GRAD: _grad, AUTOCAST: _autocast, END: _end}


def _is_slice_of_values(argument: Argument) -> bool:
    return type(argument).__name__ == "Slice"


def _renumbered(argument: Argument, place: Mapping[int, int]) -> Argument:
    from .model import rebuilt

    if isinstance(argument, Value):
        return Value(place[argument.number])
    return rebuilt(argument, lambda part: _renumbered(part, place))


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
