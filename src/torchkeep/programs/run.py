"""A Program at work: a call is held against what was captured, and runs the function of the modes that it meets.

The function (`functions`) takes the tensors of the module tree, the constants and the inputs, and holds none of them.
So a module that runs a Program may be moved, cast, copied, compiled and trained, and its tensors may be replaced.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple, NoReturn
from weakref import WeakKeyDictionary

import torch

from ..errors import CallError, TorchkeepError, brief, brief_text
from .check import check
from .functions import Function, Key, Regions, object_of_dtype, short, specialised
from .guards import plain
from .model import Extent, Mode, Parameter, Program, Value
from .places import tensor_at
from .sizes import value_of, written_out
from .trees import given, taken


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
        self._made: dict[tuple[Any, ...], Function] = {}
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
            make = _not_compiled(specialised)  # what is compiled is the function, not how it is made
            function = self._made[key] = make(self.program, self._targets, Key(*key))
        constants = self._constants(device)
        try:
            if function.has_regions:
                run = _not_compiled(_in_regions)
                returned = run(function.call, (*state, *constants, *inputs))
            else:
                returned = function.call(*state, *constants, *inputs)
        except (TorchkeepError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            if torch.compiler.is_compiling():
                raise  # what compiles knows its own errors
            raise self._told(error, function, dtype) from error
        return given(function.output, returned)

    def _told(self, error: Exception, function: Function, dtype: torch.dtype | None) -> CallError:
        """Which call an error is of; where the module was cast, that is why there is one."""
        where = "the computation"
        if (number := function.where(error)) is not None:
            call = self.program.calls[number]
            module = brief_text(self.program.modules[call.module]) or "the model"
            where = f"call {number} of the program, {self.program.ops[call.op][0]} in {module}"
        own, text = self.program.own_dtype, brief_text(str(error))
        if own is not None and dtype is not None and object_of_dtype(own) != dtype:
            return CallError(
                f"the model is {short(dtype)} now, and its computation was captured in {own}; {where}, does not take "
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


def _in_regions(call: Callable[..., tuple[Any, ...]], values: Sequence[torch.Tensor]) -> tuple[Any, ...]:
    """Run a function that enters regions, and leave them all."""
    with ExitStack() as regions:
        return call(*values, Regions(regions))


def _not_compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that `torch.compile` runs as it is: one that changes whether gradients are on would leave them off."""
    dynamo = sys.modules.get("torch._dynamo")
    return function if dynamo is None else dynamo.disable(function)


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
