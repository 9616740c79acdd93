"""A Program at work: for each combination of modes, device and dtype that a call meets, a function made of its calls.

The function is the `forward` of a `torch.fx.GraphModule` over a graph that is made here; it takes the tensors of the
module tree, the constants and the inputs, and holds none of them. So a module that runs a Program may be moved, cast,
copied, compiled and trained, and its tensors may be replaced.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple, NoReturn
from weakref import WeakKeyDictionary

import torch

from ..errors import CallError, TorchkeepError, brief, brief_text
from . import growth
from .check import check
from .direct import DIRECT
from .guards import guard_of, is_of_numbers, plain, varies
from .model import (
    Argument,
    Call,
    Choice,
    Dict,
    Dtype,
    Extent,
    Float,
    List,
    Mode,
    OwnDevice,
    OwnDtype,
    OwnLimit,
    Parameter,
    Program,
    Tuple,
    Value,
    leaves,
    rebuilt,
)
from .places import tensor_at
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
        self._made: dict[tuple[Any, ...], _Function] = {}
        self._trees: WeakKeyDictionary[torch.nn.Module, _Tree] = WeakKeyDictionary()
        self._plain = _tensors_alone(program)
        self._has_eval, self._has_train = "eval" in program.modes, "train" in program.modes
        self._wanted = {mode: _wanted(program, mode) for mode in program.modes}
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
        tree = self._trees.get(root)
        if tree is None or not tree.stands():
            tree = self._trees[root] = _Tree(self.program, root)
        state = tree.state(root)
        flags = tree.flags()
        if not kwargs and len(args) == self._plain and all(map(_is_tensor, args)):
            inputs: Sequence[torch.Tensor] = args
        else:
            inputs = self._inputs(args, kwargs)
        mode: Mode = "train" if self._has_train and (not self._has_eval or True in flags) else "eval"
        self._check_inputs(inputs, mode)
        device = (state or inputs)[0].device
        dtype = state[tree.floating].dtype if tree.floating is not None else None
        key = (flags, device, dtype)
        function = self._made.get(key)
        if function is None:
            _require_plain((*state, *self.constants))
            make = _specialised
            if (dynamo := sys.modules.get("torch._dynamo")) is not None:
                make = dynamo.disable(make)  # what is compiled is the function, not how it is made
            function = self._made[key] = make(self.program, self._targets, _Key(*key))
        constants = self._constants(device)
        try:
            if function.has_regions:
                with ExitStack() as regions:
                    returned = function.call(*state, *constants, *inputs, _Regions(regions))
            else:
                returned = function.call(*state, *constants, *inputs)
        except (TorchkeepError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            if torch.compiler.is_compiling():
                raise  # what compiles knows its own errors
            raise self._told(error, function, dtype) from error
        return given(function.output, returned)

    def _told(self, error: Exception, function: _Function, dtype: torch.dtype | None) -> CallError:
        """Which call an error is of; where the module was cast, that is why there is one."""
        where = "the computation"
        if (number := function.where(error)) is not None:
            call = self.program.calls[number]
            module = brief_text(self.program.modules[call.module]) or "the model"
            where = f"call {number} of the program, {self.program.ops[call.op][0]} in {module}"
        own, text = self.program.own_dtype, brief_text(str(error))
        if own is not None and dtype is not None and object_of_dtype(own) != dtype:
            return CallError(
                f"the model is {_short(dtype)} now, and its computation was captured in {own}; {where}, does not take "
                f"it: {text}. Cast the model before you save it, and save it again with its example"
            )
        return CallError(f"{where}, raised {type(error).__name__}: {text}")

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

    def _check_inputs(self, inputs: Sequence[torch.Tensor], mode: Mode) -> None:
        """Kinds and sizes are those that the capture allows, in the mode that the module is in."""
        wanted = self._wanted[mode]
        _require_plain(inputs)
        for tensor, (rank, category) in zip(inputs, wanted.kinds, strict=True):
            if tensor.dim() != rank or _CATEGORY.get(tensor.dtype) != category:
                self._refuse_kind(inputs)
        for i, d, expected in wanted.sizes:
            if inputs[i].shape[d] != (expected if type(expected) is int else value_of(expected, inputs)):
                self._refuse_size(inputs, i, d, expected)
        for guard in self.program.guards[mode]:
            if not value_of(guard, inputs):
                raise CallError(
                    f"the sizes of the inputs are not ones that the computation was captured for: "
                    f"{written_out(guard, self.program)} has to hold. Save the model again with an example of these "
                    "sizes"
                )

    def _refuse_kind(self, inputs: Sequence[torch.Tensor]) -> NoReturn:
        program = self.program
        for spec, tensor in zip(program.inputs, inputs, strict=True):
            rank = len(spec.shapes[program.modes[0]])
            if rank != tensor.dim():
                raise CallError(f"{spec.name} has {tensor.dim()} dimensions, and the example had {rank}")
            if _CATEGORY.get(tensor.dtype) != _CATEGORY[object_of_dtype(spec.dtype)]:
                have = str(tensor.dtype).removeprefix("torch.")
                raise CallError(f"{spec.name} is {have}, and the example was {spec.dtype}")
        raise AssertionError("no input is of another kind")

    def _refuse_size(self, inputs: Sequence[torch.Tensor], i: int, d: int, wanted: Extent) -> NoReturn:
        made = "" if type(wanted) is int else f" ({written_out(wanted, self.program)})"
        raise CallError(
            f"{self.program.inputs[i].name} has size {inputs[i].shape[d]} in dimension {d}, and the computation was "
            f"captured for {value_of(wanted, inputs)}{made}. To let it vary, save the model again with two examples of "
            "different sizes"
        )


def _require_plain(tensors: Iterable[torch.Tensor]) -> None:
    """The operators are made for tensors of plain memory, and believe that they get them.

    Raises:
        CallError: one is sparse, quantized, nested, without memory, or the like.
    """
    for tensor in tensors:
        if not plain(tensor):
            kind = str(tensor.layout if tensor.layout is not torch.strided else tensor.dtype).removeprefix("torch.")
            kind = "meta" if tensor.is_meta else "nested" if tensor.is_nested else kind
            raise CallError(f"the computation takes plain tensors, and one is {kind}")


class _Wanted(NamedTuple):
    """What inputs have to be in one mode: of each its rank and kind of dtype; and sizes, where they are not free."""

    kinds: tuple[tuple[int, str], ...]
    sizes: tuple[tuple[int, int, Extent], ...]


def _wanted(program: Program, mode: Mode) -> _Wanted:
    shapes = [spec.shapes[mode] for spec in program.inputs]
    kinds = [
        (len(shape), _CATEGORY[object_of_dtype(spec.dtype)]) for shape, spec in zip(shapes, program.inputs, strict=True)
    ]
    sizes = [(i, d, size) for i, shape in enumerate(shapes) for d, size in enumerate(shape) if size is not None]
    return _Wanted(tuple(kinds), tuple(sizes))


def _tensors_alone(program: Program) -> int:
    """How many tensors a call gives by position, where it may be nothing but these; -1 where it may not."""
    count = len(program.inputs)
    first = program.parameters[:count]
    rest = program.parameters[count:]
    plain = all(isinstance(each.value, Value) and each.kind in ("positional", "either") for each in first)
    return count if plain and not any(each.given for each in rest) else -1


def _is_tensor(obj: Any) -> bool:
    return isinstance(obj, torch.Tensor)


class _Tree:
    """What a program uses of one module: found once, and looked over at each call, since it may have changed.

    It holds the dicts of the module and not the module itself, which would otherwise be kept alive by it.
    """

    def __init__(self, program: Program, root: torch.nn.Module) -> None:
        self._edges: dict[tuple[int, str], tuple[dict[str, Any], str, torch.nn.Module]] = {}
        self._flags = [vars(self._at(root, path)) for path in program.modules]
        self._rows = program.state
        self._places = [(_column(self._at(root, row.module), row.name), row.name) for row in program.state]
        floating = (i for i, tensor in enumerate(self.state(root)) if tensor.is_floating_point())
        self.floating = next(floating, None)

    def _at(self, root: torch.nn.Module, path: str) -> torch.nn.Module:
        for name in path.split(".") if path else ():
            child = root._modules.get(name)
            if child is None:
                raise CallError(f"the module has no part {brief(path)} any more, and the computation needs it")
            self._edges[id(root), name] = (root._modules, name, child)
            root = child
        return root

    def stands(self) -> bool:
        """Whether every module is where it was."""
        for column, name, child in self._edges.values():  # noqa: SIM110 (a generator takes twice as long)
            if column.get(name) is not child:
                return False
        return True

    def flags(self) -> tuple[bool, ...]:
        """Whether each module is in train mode."""
        return tuple([state["training"] for state in self._flags])

    def state(self, root: torch.nn.Module) -> list[torch.Tensor]:
        """The tensors, whatever they are now."""
        found: list[Any] = [column.get(name) for column, name in self._places]
        if not all(map(_is_tensor, found)):
            for i, row in enumerate(self._rows):
                if not isinstance(found[i], torch.Tensor):
                    found[i] = tensor_at(root, row)
        return found


def _column(module: torch.nn.Module, name: str) -> dict[str, Any]:
    """Where a module has a tensor of this name."""
    return module._buffers if name in module._buffers else module._parameters


def object_of_dtype(name: str) -> torch.dtype:
    """A dtype of a checked Program."""
    dtype = getattr(torch, name)
    assert isinstance(dtype, torch.dtype)
    return dtype


_CATEGORY: Mapping[torch.dtype, str] = {
    dtype: "bool"
    if dtype == torch.bool
    else "complex"
    if dtype.is_complex
    else "float"
    if dtype.is_floating_point
    else "int"
    for dtype in vars(torch).values()
    if isinstance(dtype, torch.dtype)
}
"""Of what kind a dtype is: an input may be of another of the same kind, as far as the operators take it."""


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
    return _Function(module.forward, renumbered, has_regions, tuple(module.code.splitlines()), calls)


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
            f"the model is {_short(now)} now, and its computation was captured with constants of "
            f"{', '.join(map(_short, fixed))}, first in call {number} ({program.ops[call.op][0]} in "
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


def _short(dtype: torch.dtype) -> str:
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
        return Dtype(_short(dtype))
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
