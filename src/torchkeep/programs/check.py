"""Every invariant of a Program, before any of it runs. Clause numbers are those of ``spec/program.md``.

What only torch can tell, such as the types of an operator's arguments, is asked of the schemas that torch has here.
Each check is one pass over the text: what a file repeats or shares makes none of them longer.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..errors import FormatError, LimitError, brief
from ..limits import LIMITS, Limits
from . import growth, resolve
from .model import (
    AUTOCAST,
    END,
    FORMULAS,
    GRAD,
    Argument,
    Call,
    Choice,
    Device,
    Dict,
    Dim,
    Dots,
    Dtype,
    Extent,
    Float,
    Formula,
    Layout,
    List,
    MemoryFormat,
    Mode,
    Object,
    OwnDevice,
    OwnDtype,
    OwnLimit,
    Parameter,
    Program,
    Slice,
    Tuple,
    Value,
    leaves,
    parts,
)
from .ops import CALLS, OPS
from .schemas import Schema, parse
from .trees import object_of

REGIONS = {GRAD: 1, AUTOCAST: 4, END: 0}
"""Calls that begin and end regions, and how many arguments each has."""


def check(program: Program, *, constants: int, limits: Limits = LIMITS) -> list[Callable[..., Any] | None]:
    """Hold a Program against every invariant.

    Args:
        program: what was read.
        constants: how many constants the file has for it.
        limits: caps on what it may hold.

    Returns:
        What each row of its `ops` calls; None for the regions.

    Raises:
        FormatError: one does not hold; `clause` says which.
        LimitError: more of something than `limits` allow.
        ProgramError: an operator that no program may call, or that this torch does not have.
    """
    _check_tables(program, constants)
    _check_inputs(program, limits)
    targets = _targets(program)
    declared = frozenset(program.writes)
    roots = [_NOTHING if number in declared else _FIXED for number in range(program.first_call)]
    checker = _Calls(program, targets, limits, roots)
    for number, call in enumerate(program.calls):
        try:
            checker.check(number, call)
            if checker.written:
                raise FormatError(
                    "a tensor of the model, a constant or an input is changed in place, and is not declared",
                    clause="P-8",
                )
        except FormatError as error:
            error.message += f", in call {number} of the program ({_op(program, call)})"
            raise
    checker.check_output()
    for mode in program.modes:
        _check_regions(program, mode)
    return targets


_NOTHING: frozenset[int] = frozenset()
_FIXED = frozenset({-1})
"""Stands for every value that must not be changed: which of them it is, nobody asks."""


def written(program: Program) -> set[int]:
    """Values, of those that no call makes, whose memory the computation may change in place."""
    roots = [frozenset({number}) for number in range(program.first_call)]
    checker = _Calls(program, _targets(program), LIMITS, roots)
    for number, call in enumerate(program.calls):
        checker.check(number, call)
    return checker.written


def _targets(program: Program) -> list[Callable[..., Any] | None]:
    return [None if name in REGIONS else resolve.overload(name, schema) for name, schema in program.ops]


def _op(program: Program, call: Call) -> str:
    return brief(program.ops[call.op][0]) if 0 <= call.op < len(program.ops) else "?"


# --- tables -----------------------------------------------------------------------------------------


def _check_tables(program: Program, constants: int) -> None:
    """P-2: tables, each without repetition, and what refers to their rows."""
    if program.modes not in (("eval",), ("train",), ("eval", "train")):
        raise FormatError(f"the program has the modes {brief(program.modes)}", clause="P-2")
    names = [name for name, _ in program.ops]
    for what, column in (("ops", names), ("modules", program.modules), ("state", program.state)):
        if len(set(column)) != len(column):
            raise FormatError(f"the program's {what} say one thing twice", clause="P-2")
    if list(dict.fromkeys(call.op for call in program.calls)) != list(range(len(program.ops))):
        raise FormatError(
            "the program's ops are not those that it calls, in the order of their first use", clause="P-2"
        )
    if program.constants != constants:
        raise FormatError(f"the program has {program.constants} constants and the file {constants}", clause="P-2")
    if not _are_rows(program.writes, len(program.state)):
        raise FormatError("the program writes to a tensor that it does not have, or not in order", clause="P-2")
    for name, schema in program.ops:
        if name in REGIONS and schema:
            raise FormatError(f"{name} has a schema", clause="P-2")


def _are_rows(rows: Sequence[int], known: int) -> bool:
    """Whether they are rows of a table of so many, each once and in order."""
    return all(a < b for a, b in zip((-1, *rows), (*rows, known), strict=True))


# --- how it is called -------------------------------------------------------------------------------


def _check_inputs(program: Program, limits: Limits) -> None:
    """P-3: how a call is written, what its tensors have to be, and what is asked of their sizes."""
    for parameter in program.parameters:
        _check_argument(parameter.value, "a parameter", _DATA, "P-3", limits)
    found = [
        leaf.number
        for parameter in program.parameters
        if parameter.given
        for leaf in leaves(parameter.value)
        if isinstance(leaf, Value)
    ]
    if found != list(range(program.first_input, program.first_call)) or not found:
        raise FormatError("the parameters do not name each input once and in order", clause="P-3")
    if any(isinstance(leaf, Value) for each in program.parameters if not each.given for leaf in leaves(each.value)):
        raise FormatError("a parameter that the examples did not give has an input", clause="P-3")
    _check_signature(program.parameters)
    modes = set(program.modes)
    if any(set(spec.shapes) != modes for spec in program.inputs) or set(program.guards) != modes:
        raise FormatError("the sizes of inputs are not of the modes that the program has", clause="P-3")
    ranks = [{len(shape) for shape in spec.shapes.values()} for spec in program.inputs]
    if any(len(each) != 1 for each in ranks):
        raise FormatError("an input has different ranks in different modes", clause="P-3")
    rank = [next(iter(each)) for each in ranks]
    if max(rank) > limits.rank:
        raise LimitError(f"an input of {max(rank)} dimensions; the limit is {limits.rank}")
    for spec in program.inputs:
        _check_dtype(spec.dtype)
        for shape in spec.shapes.values():
            for size in shape:
                if size is not None:
                    _check_extent(size, rank, limits)
    for guards in program.guards.values():
        for guard in guards:
            _check_extent(guard, rank, limits)
    if program.own_dtype is not None:
        _check_dtype(program.own_dtype)


_KINDS = ("positional", "either", "args", "keyword", "kwargs")
"""Of parameters, in the order in which Python has them."""


def _check_signature(parameters: Sequence[Parameter]) -> None:
    names = [parameter.name for parameter in parameters]
    if len(set(names)) != len(names) or not all(name.isidentifier() and not keyword.iskeyword(name) for name in names):
        raise FormatError(f"the parameters have the names {brief(names)}", clause="P-3")
    kinds = [_KINDS.index(parameter.kind) for parameter in parameters]
    if kinds != sorted(kinds) or any(kinds.count(_KINDS.index(kind)) > 1 for kind in ("args", "kwargs")):
        raise FormatError("the parameters are of kinds that no function has in this order", clause="P-3")
    for parameter in parameters:
        wanted = {"args": Tuple, "kwargs": Dict}.get(parameter.kind)
        if parameter.given and wanted is not None and not isinstance(parameter.value, wanted):
            raise FormatError(f"the parameter {parameter.name} is no {parameter.kind}", clause="P-3")


def _check_dtype(name: str) -> None:
    try:
        object_of(Dtype(name))
    except ValueError as error:
        raise FormatError(f"{brief(name)} is no dtype", clause="P-3") from error


def _check_extent(extent: Extent, rank: Sequence[int], limits: Limits) -> None:
    stack: list[tuple[Extent, int]] = [(extent, 1)]
    met = 0
    while stack:
        each, depth = stack.pop()
        met += 1
        if met > _MAX_FORMULA or depth > limits.program_depth:
            raise LimitError("arithmetic on sizes that is too long")
        if isinstance(each, Dim):
            if not (0 <= each.input < len(rank) and 0 <= each.dim < rank[each.input]):
                raise FormatError("a size of an input that is not there", clause="P-3")
        elif isinstance(each, Formula):
            least, most = _ARITY.get(each.op, (2, 2))
            if each.op not in FORMULAS or not least <= len(each.args) <= most:
                raise FormatError(f"{brief(each.op)} of {len(each.args)} sizes", clause="P-3")
            stack.extend((arg, depth + 1) for arg in each.args)
        elif type(each) is not int or abs(each) > 2**62:
            raise FormatError(f"a size of {brief(each)}", clause="P-3")


_ARITY = {"not": (1, 1), **dict.fromkeys(("+", "*", "and", "or", "min", "max"), (2, 4096))}
_MAX_FORMULA = 10_000


# --- calls ------------------------------------------------------------------------------------------


class _Calls:
    """Rules of single calls, and what memory each value may be.

    Args:
        roots: of each value that no call makes, what its memory is called. Only what tells apart what somebody asks
            about: sets of one name are as good as sets of many, and do not grow.
    """

    def __init__(
        self,
        program: Program,
        targets: Sequence[Callable[..., Any] | None],
        limits: Limits,
        roots: Iterable[frozenset[int]],
    ) -> None:
        self._program = program
        self._targets = targets
        self._schemas = [parse(schema) for _, schema in program.ops]
        self._limits = limits
        self._roots = list(roots)
        self._no_values: set[int] = set()
        self.written: set[int] = set()

    def check(self, number: int, call: Call) -> None:
        program = self._program
        if not 0 <= call.op < len(program.ops) or not 0 <= call.module < len(program.modules):
            raise FormatError("a row that is not there", clause="P-2")
        if call.only is not None:
            mode, module = call.only
            if len(program.modes) < 2 or mode not in program.modes or not 0 <= module < len(program.modules):
                raise FormatError("made only in a mode or of a module that is not there", clause="P-2")
        limit = program.first_call + number
        for argument in (*call.args, *call.kwargs.values()):
            self._check_argument(argument, limit, _ARGUMENTS, "P-4")
        target = self._targets[call.op]
        name = program.ops[call.op][0]
        if target is None:
            self._check_region(name, call)
            self._no_values.add(limit)
            self._roots.append(_NOTHING)
        elif (schema := self._schemas[call.op]) is not None:
            self._roots.append(self._check_op(name, schema, call))
        else:
            self._check_python(name, call)
            self._roots.append(self._of_all(call.args))

    def check_output(self) -> None:
        """P-6: what is returned."""
        end = self._program.first_call + len(self._program.calls)
        self._check_argument(self._program.output, end, (*_DATA, OwnDtype, OwnLimit, Choice), "P-6")

    def _check_argument(self, argument: Argument, limit: int, kinds: tuple[type, ...], clause: str) -> None:
        """P-4: arguments are data, and refer backwards."""
        what = "the output" if clause == "P-6" else "an argument"
        _check_argument(argument, what, kinds, clause, self._limits)
        for leaf in leaves(argument):
            if isinstance(leaf, Value):
                if not 0 <= leaf.number < limit or leaf.number in self._no_values:
                    raise FormatError(f"value {leaf.number} is not there", clause=clause)
            elif isinstance(leaf, OwnDtype | OwnLimit):
                if self._program.own_dtype is None:
                    raise FormatError("a constant follows a dtype that the program does not have", clause=clause)
            elif isinstance(leaf, Choice):
                if len(self._program.modes) < 2 or not leaf.modules:
                    raise FormatError("a choice where there is none", clause=clause)
                if not _are_rows(leaf.modules, len(self._program.modules)):
                    raise FormatError("a choice by modules that are not there, or not in order", clause="P-2")

    def _check_region(self, name: str, call: Call) -> None:
        """P-7: what a region is told."""
        if len(call.args) != REGIONS[name] or call.kwargs:
            raise FormatError(f"{name} has {len(call.args)} arguments", clause="P-7")
        if name == GRAD and type(call.args[0]) is not bool:
            raise FormatError("gradients are on or off", clause="P-7")
        if name == AUTOCAST:
            device, dtype, enabled, cached = call.args
            known = isinstance(device, OwnDevice) or (isinstance(device, str) and device in _DEVICES)
            flags = type(enabled) is bool and (cached is None or type(cached) is bool)
            if not known or not flags or not (dtype is None or isinstance(dtype, Dtype | OwnDtype)):
                raise FormatError("autocast of another form", clause="P-7")

    def _check_python(self, name: str, call: Call) -> None:
        """P-5: functions of Python's work on numbers; `getitem` on what an operator gave."""
        least, most = CALLS[name]
        if call.kwargs or not least <= len(call.args) <= most:
            raise FormatError(f"{name} has {len(call.args)} arguments", clause="P-5")
        args: Sequence[Argument] = call.args
        if name == "torch.sym_sum" and len(args) == 1 and isinstance(args[0], List | Tuple):
            args = args[0].items
        for place, argument in enumerate(args):
            for each in _choices(argument):
                of_list = name == "python.getitem" and place == 0
                if not isinstance(each, Value if of_list else (int, Float, Value)):
                    raise FormatError(f"{name} takes no {type(each).__name__}", clause="P-5")

    def _check_op(self, name: str, schema: Schema, call: Call) -> frozenset[int]:
        """P-5: arguments are those of the schema. P-8: only state that is declared, and what calls made, changes."""
        positional = [argument for argument in schema.arguments if not argument.keyword]
        named = {argument.name: argument for argument in schema.arguments}
        if len(call.args) > len(positional):
            raise FormatError(f"{len(call.args)} arguments by position, and there are {len(positional)}", clause="P-5")
        given = dict(zip((argument.name for argument in positional), call.args, strict=False))
        for key, value in call.kwargs.items():
            if key not in named or key in given:
                raise FormatError(f"the argument {brief(key)} is not there, or is there twice", clause="P-5")
            given[key] = value
        for argument in schema.arguments:
            if argument.name not in given:
                if argument.default is None:
                    raise FormatError(f"the argument {argument.name!r} is missing", clause="P-5")
                continue
            for value in _choices(given[argument.name]):
                if not _fits(value, argument.type):
                    raise FormatError(f"the argument {argument.name!r} is no {argument.type}", clause="P-5")
        growth.check(name, given, self._limits.program_numel)
        op = OPS[name]
        for written_to in (*op.writes, *_statistics(name, given)):
            self.written |= self._of_all([given[written_to]])
        shared = (*op.writes, *op.views, *op.may_return_input)
        if name == "aten.einsum.default" and _is_product(given["tensors"]):
            shared = ()  # a product is new memory; a view is what einsum makes of one tensor
        return self._of_all(given[each] for each in shared if each in given)

    def _of_all(self, arguments: Iterable[Argument]) -> frozenset[int]:
        """Whose memory any of the values in arguments may be."""
        found = _NOTHING
        for argument in arguments:
            for leaf in leaves(argument):
                if isinstance(leaf, Value) and not self._roots[leaf.number] <= found:
                    found |= self._roots[leaf.number]
        return found


STATISTICS = {
    "aten.batch_norm.default": "training",
    "aten.native_batch_norm.default": "training",
    "aten.instance_norm.default": "use_input_stats",
}
"""Operators that change running statistics in place though their schemas do not say so, and the flag that asks it."""


def _statistics(name: str, given: Mapping[str, Argument]) -> Iterator[str]:
    flag = STATISTICS.get(name)
    if flag is not None and any(value is not False for value in _choices(given[flag])):
        yield from ("running_mean", "running_var")


def _is_product(tensors: Argument) -> bool:
    return isinstance(tensors, List | Tuple) and len(tensors.items) > 1


def _choices(argument: Argument) -> Iterable[Argument]:
    if isinstance(argument, Choice):
        yield from _choices(argument.eval)
        yield from _choices(argument.train)
    else:
        yield argument


# --- arguments --------------------------------------------------------------------------------------

_SCALAR_DATA = (type(None), bool, int, str, Float, Dtype, Device, Layout, MemoryFormat)
_ARGUMENTS = (*_SCALAR_DATA, Value, OwnDtype, OwnLimit, OwnDevice, List, Tuple, Choice)
"""What arguments of calls are made of."""

_DATA = (*_SCALAR_DATA, Dots, Value, List, Tuple, Dict, Object, Slice)
"""What is given to a call, and what it returns."""

_DEVICES = frozenset({"cpu", "cuda", "xpu", "mps"})


def _check_argument(argument: Argument, what: str, kinds: tuple[type, ...], clause: str, limits: Limits) -> None:
    """P-4: an argument is made of what may stand there, each of it written in the one way, and is not too deep."""
    level = [argument]
    for _ in range(limits.program_depth):
        level = [part for each in level for part in parts(each)]
        if not level:
            break
    else:
        raise LimitError(f"{what} of more than {limits.program_depth} levels")
    for leaf in leaves(argument):
        if not isinstance(leaf, kinds):
            raise FormatError(f"{what} has a part that is {type(leaf).__name__}", clause=clause)
        if isinstance(leaf, Float):
            try:
                fine = repr(float(leaf.text)) == leaf.text
            except ValueError:
                fine = False
            if not fine:
                raise FormatError(f"{brief(leaf.text)} is not the text of a float", clause="P-4")
        elif isinstance(leaf, Dtype | Device | Layout | MemoryFormat):
            if not _is_known(leaf):
                raise FormatError(f"{what} names {brief(leaf.name)}, which torch has not", clause="P-4")
        elif isinstance(leaf, Dict):
            _check_keys(leaf, what)
        elif isinstance(leaf, Object):
            _check_object(leaf, what)
        elif isinstance(leaf, Slice):
            if not all(isinstance(end, _SCALAR_DATA) for end in parts(leaf)):
                raise FormatError(f"{what} has a slice that is not of numbers", clause=clause)
        elif isinstance(leaf, int) and not -(2**63) <= leaf < 2**63:
            raise FormatError(f"{what} is an integer of more than 64 bits", clause="P-4")


def _is_known(name: Dtype | Device | Layout | MemoryFormat) -> bool:
    try:
        found = object_of(name)
    except (ValueError, RuntimeError):
        return False
    return not isinstance(name, Device) or (found.type in _DEVICES and str(found) == name.name)


def _check_keys(mapping: Dict, what: str) -> None:
    """P-4: keys are as many as values, and no two are equal as Python has it: `1` and `true` are."""
    keys = mapping.keys
    if len(keys) != len(mapping.values) or len(set(keys)) != len(keys):
        raise FormatError(f"{what} has keys that do not fit their values", clause="P-4")
    if any(type(key) is int and not -(2**63) <= key < 2**63 for key in keys):
        raise FormatError(f"{what} has a key of more than 64 bits", clause="P-4")


def _check_object(made: Object, what: str) -> None:
    """P-4: parts have names, which hide nothing that Python asks of every object."""
    names = made.fields
    if len(names) != len(made.values) or len(set(names)) != len(names):
        raise FormatError(f"{what} has keys that do not fit their values", clause="P-4")
    if any(name[:2] == "__" or (made.sequence and not name.isidentifier()) for name in names):
        raise FormatError(f"{what} has parts whose names are no names", clause="P-4")
    if len(made.name) > _LONGEST_NAME or not made.name.isprintable():
        raise FormatError(f"{what} is of a class whose name is no name", clause="P-4")


_LONGEST_NAME = 1000

_SCALARS: Mapping[str, tuple[type, ...]] = {
    "Tensor": (Value, int, bool, Float, OwnLimit),  # torch makes a tensor of a number
    "int": (int, Value),
    "float": (Float, OwnLimit, int, Value),
    "bool": (bool, Value),
    "Scalar": (int, bool, Float, OwnLimit, Value),
    "str": (str,),
    "Device": (Device, OwnDevice),
    "ScalarType": (Dtype, OwnDtype),
    "Layout": (Layout,),
    "MemoryFormat": (MemoryFormat,),
}
"""What may stand for a type of a schema. A generator is none of a program's."""

_LIST = re.compile(r"(.+)\[(\d*)\]")


def _fits(value: Argument, kind: str) -> bool:
    """Whether an argument is of a type of a schema, as far as can be told without running anything."""
    if kind.endswith("?"):
        return value is None or _fits(value, kind[:-1])
    if found := _LIST.fullmatch(kind):
        inner, length = found[1], found[2]
        if isinstance(value, List | Tuple):
            return all(_fits(each, inner) for item in value.items for each in _choices(item))
        return isinstance(value, Value) or (bool(length) and _fits(value, inner))
    if type(value) is bool and kind in ("int", "float"):
        return False
    return isinstance(value, _SCALARS.get(kind, ()))


def _check_regions(program: Program, mode: Mode) -> None:
    """P-7: each region ends, in each mode."""
    open_regions = 0
    for call in program.calls:
        if call.only is not None and call.only[0] != mode:
            continue
        name = program.ops[call.op][0]
        if name in REGIONS:
            open_regions += -1 if name == END else 1
            if not 0 <= open_regions <= _MAX_REGIONS:
                raise FormatError("regions that do not begin and end in pairs", clause="P-7")
    if open_regions:
        raise FormatError("a region that does not end", clause="P-7")


_MAX_REGIONS = 64
