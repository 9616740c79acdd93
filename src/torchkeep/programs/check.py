"""Every invariant of a Program, before any of it runs. Clause numbers are those of ``spec/format.md``.

What only torch can tell, such as the types of an operator's arguments, is asked of the schemas that torch has here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from ..errors import FormatError, LimitError, brief
from ..limits import LIMITS, Limits
from . import resolve
from .model import (
    FORMULAS,
    Argument,
    Call,
    Choice,
    Device,
    Dict,
    Dim,
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
    Program,
    Tuple,
    Value,
    leaves,
    parts,
)
from .ops import CALLS, OPS
from .schemas import Schema, parse
from .traces import AUTOCAST, END, GRAD
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
    _check_inputs(program)
    targets = [None if name in REGIONS else resolve.overload(name, schema) for name, schema in program.ops]
    checker = _Calls(program, targets, limits)
    for number, call in enumerate(program.calls):
        try:
            checker.check(number, call)
        except FormatError as error:
            error.message += f", in call {number} of the program ({_op(program, call)})"
            raise
    checker.check_output()
    for mode in program.modes:
        _check_regions(program, mode)
    return targets


def written(program: Program) -> set[int]:
    """Values, of those that no call makes, whose memory the computation may change in place."""
    every = msgspec.structs.replace(program, writes=tuple(range(program.first_call)))
    targets = [None if name in REGIONS else resolve.overload(name, schema) for name, schema in program.ops]
    checker = _Calls(every, targets, LIMITS)
    for number, call in enumerate(program.calls):
        checker.check(number, call)
    return checker.written


def _op(program: Program, call: Call) -> str:
    return brief(program.ops[call.op][0]) if 0 <= call.op < len(program.ops) else "?"


def _check_tables(program: Program, constants: int) -> None:
    """P-2: tables, each without repetition, and what refers to their rows."""
    if program.modes not in (("eval",), ("train",), ("eval", "train")):
        raise FormatError(f"the program has the modes {program.modes}", clause="P-2")
    for what, column in (("ops", program.ops), ("modules", program.modules), ("state", program.state)):
        if len(set(column)) != len(column):
            raise FormatError(f"the program's {what} say one thing twice", clause="P-2")
    if program.constants != constants:
        raise FormatError(f"the program has {program.constants} constants and the file {constants}", clause="P-2")
    if not all(0 <= row < len(program.state) for row in program.writes):
        raise FormatError("the program writes to a tensor that it does not have", clause="P-2")
    for name, schema in program.ops:
        if name in REGIONS and schema:
            raise FormatError(f"{name} has a schema", clause="P-2")


def _check_inputs(program: Program) -> None:
    """P-3: how a call is written, what its tensors have to be, and what is asked of their sizes."""
    found = [
        leaf.number for parameter in program.parameters for leaf in leaves(parameter.value) if isinstance(leaf, Value)
    ]
    if found != list(range(program.first_input, program.first_call)) or not found:
        raise FormatError("the parameters do not name each input once and in order", clause="P-3")
    names = [parameter.name for parameter in program.parameters]
    if len(set(names)) != len(names) or not all(name.isidentifier() for name in names):
        raise FormatError(f"the parameters have the names {', '.join(map(brief, names))}", clause="P-3")
    ranks = [{len(shape) for shape in spec.shapes.values()} for spec in program.inputs]
    for parameter in program.parameters:
        _check_literal(parameter.value, FormatError, "a parameter", objects=True)
        wanted = {"args": Tuple, "kwargs": Dict}.get(parameter.kind)
        if parameter.given and wanted is not None and not isinstance(parameter.value, wanted):
            raise FormatError(f"the parameter {parameter.name} is no {parameter.kind}", clause="P-3")
    if any(set(spec.shapes) != set(program.modes) for spec in program.inputs) or set(program.guards) != set(
        program.modes
    ):
        raise FormatError("the sizes of inputs are not of the modes that the program has", clause="P-3")
    if any(len(each) != 1 for each in ranks):
        raise FormatError("an input has different ranks in different modes", clause="P-3")
    rank = [next(iter(each)) for each in ranks]
    for spec in program.inputs:
        _check_dtype(spec.dtype)
        for shape in spec.shapes.values():
            for size in shape:
                if size is not None:
                    _check_extent(size, rank)
    for guards in program.guards.values():
        for guard in guards:
            _check_extent(guard, rank)
    if program.own_dtype is not None:
        _check_dtype(program.own_dtype)


def _check_dtype(name: str) -> None:
    try:
        object_of(Dtype(name))
    except ValueError as error:
        raise FormatError(str(error), clause="P-3") from error


def _check_extent(extent: Extent, rank: Sequence[int]) -> None:
    stack: list[Extent] = [extent]
    met = 0
    while stack:
        each = stack.pop()
        met += 1
        if met > _MAX_FORMULA:
            raise LimitError("arithmetic on sizes that is too long")
        if isinstance(each, Dim):
            if not (0 <= each.input < len(rank) and 0 <= each.dim < rank[each.input]):
                raise FormatError("a size of an input that is not there", clause="P-3")
        elif isinstance(each, Formula):
            least, most = _ARITY.get(each.op, (2, 2))
            if each.op not in FORMULAS or not least <= len(each.args) <= most:
                raise FormatError(f"{brief(each.op)} of {len(each.args)} sizes", clause="P-3")
            stack.extend(each.args)
        elif type(each) is not int or abs(each) > 2**62:
            raise FormatError(f"a size of {brief(each)}", clause="P-3")


_ARITY = {"not": (1, 1), **dict.fromkeys(("+", "*", "and", "or", "min", "max"), (2, 4096))}
_MAX_FORMULA = 10_000


# --- calls ------------------------------------------------------------------------------------------


class _Calls:
    """Rules of single calls; what kind of thing each value is, and what memory it may be."""

    def __init__(self, program: Program, targets: Sequence[Callable[..., Any] | None], limits: Limits) -> None:
        self._program = program
        self._targets = targets
        self._schemas = [parse(schema) for _, schema in program.ops]
        self._limits = limits
        self._roots: list[frozenset[int]] = [frozenset({number}) for number in range(program.first_call)]
        self._may_write = frozenset(program.writes)
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
            self._check_argument(argument, limit)
        target = self._targets[call.op]
        name = program.ops[call.op][0]
        if target is None:
            self._check_region(name, call)
            self._roots.append(frozenset())
        elif (schema := self._schemas[call.op]) is not None:
            self._roots.append(self._check_op(limit, name, schema, call))
        else:
            self._check_python(name, call)
            self._roots.append(self._of_all(call.args))

    def check_output(self) -> None:
        """P-6: what is returned."""
        self._check_argument(self._program.output, self._program.first_call + len(self._program.calls), objects=True)

    def _check_argument(self, argument: Argument, limit: int, *, objects: bool = False) -> None:
        """P-4: arguments are data, and refer backwards."""
        _check_literal(argument, FormatError, "an argument", objects=objects, depth=self._limits.program_depth)
        for leaf in leaves(argument):
            if isinstance(leaf, Value):
                if not 0 <= leaf.number < limit:
                    raise FormatError(f"value {leaf.number} is not there yet", clause="P-4")
            elif isinstance(leaf, Choice):
                known = len(self._program.modules)
                if len(self._program.modes) < 2 or not leaf.modules:
                    raise FormatError("a choice where there is none", clause="P-4")
                if not all(0 <= row < known for row in leaf.modules):
                    raise FormatError("a choice by a module that is not there", clause="P-2")

    def _check_region(self, name: str, call: Call) -> None:
        """P-7: what a region is told."""
        if len(call.args) != REGIONS[name] or call.kwargs:
            raise FormatError(f"{name} has {len(call.args)} arguments", clause="P-7")
        if name == GRAD and type(call.args[0]) is not bool:
            raise FormatError("gradients are on or off", clause="P-7")
        if name == AUTOCAST:
            device, dtype, enabled, cached = call.args
            known = isinstance(device, OwnDevice) or device in ("cpu", "cuda", "xpu", "mps")
            flags = type(enabled) is bool and (cached is None or type(cached) is bool)
            if not known or not flags or not (dtype is None or isinstance(dtype, Dtype | OwnDtype)):
                raise FormatError("autocast of another form", clause="P-7")

    def _check_python(self, name: str, call: Call) -> None:
        least, most = CALLS[name]
        if call.kwargs or not least <= len(call.args) <= most:
            raise FormatError(f"{name} has {len(call.args)} arguments", clause="P-5")

    def _check_op(self, limit: int, name: str, schema: Schema, call: Call) -> frozenset[int]:
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
        op = OPS[name]
        for written_to in op.writes:
            self._check_write(given[written_to])
        shared = (*op.writes, *op.views, *op.may_return_input)
        if name == "aten.einsum.default" and _is_product(given["tensors"]):
            shared = ()  # a product is new memory; a view is what einsum makes of one tensor
        roots = self._of_all(given[each] for each in shared if each in given)
        return roots or frozenset({limit})

    def _check_write(self, argument: Argument) -> None:
        self.written |= {root for root in self._of_all([argument]) if root < self._program.first_call}
        if not self.written <= self._may_write:
            raise FormatError(
                "a tensor of the model, a constant or an input is changed in place, and is not declared",
                clause="P-8",
            )

    def _of_all(self, arguments: Iterable[Argument]) -> frozenset[int]:
        """Whose memory any of the values in arguments may be."""
        found: set[int] = set()
        for argument in arguments:
            for leaf in leaves(argument):
                if isinstance(leaf, Value):
                    found |= self._roots[leaf.number]
        return frozenset(found)


def _is_product(tensors: Argument) -> bool:
    return isinstance(tensors, List | Tuple) and len(tensors.items) > 1


def _choices(argument: Argument) -> Iterable[Argument]:
    if isinstance(argument, Choice):
        yield from _choices(argument.eval)
        yield from _choices(argument.train)
    else:
        yield argument


def _check_literal(
    argument: Argument, error: type[FormatError], what: str, *, objects: bool = False, depth: int = LIMITS.program_depth
) -> None:
    """P-4: dtypes and the like exist, floats are written in the one way, and nothing is too deep."""
    level = [argument]
    for _ in range(depth):
        level = [part for each in level for part in parts(each)]
        if not level:
            break
    else:
        raise LimitError(f"{what} of more than {depth} levels")
    for leaf in leaves(argument):
        if isinstance(leaf, Float):
            try:
                fine = repr(float(leaf.text)) == leaf.text
            except ValueError:
                fine = False
            if not fine:
                raise error(f"{brief(leaf.text)} is not the text of a float", clause="P-4")
        elif isinstance(leaf, Dtype | Device | Layout | MemoryFormat):
            try:
                object_of(leaf)
            except (ValueError, RuntimeError) as reason:
                raise error(f"{what} names {brief(leaf.name)}: {reason}", clause="P-4") from reason
        elif isinstance(leaf, Dict | Object):
            keys = leaf.keys if isinstance(leaf, Dict) else leaf.fields
            if not objects or len(keys) != len(leaf.values) or len(set(map(repr, keys))) != len(keys):
                raise error(f"{what} has keys that do not fit their values", clause="P-4")
            if isinstance(leaf, Object) and any(not name.isidentifier() or name[:2] == "__" for name in leaf.fields):
                raise error(f"{what} has parts whose names are no names", clause="P-4")
        elif isinstance(leaf, int) and not -(2**63) <= leaf < 2**63:
            raise error(f"{what} is an integer of more than 64 bits", clause="P-4")


_SCALARS: Mapping[str, tuple[type, ...]] = {
    "Tensor": (Value, int, bool, Float),  # torch makes a tensor of a number
    "int": (int, Value),
    "float": (Float, int, Value),
    "bool": (bool, Value),
    "Scalar": (int, bool, Float, Value),
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
