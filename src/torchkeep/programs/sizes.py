"""Sizes of inputs: what a capture asked of them, as arithmetic that is data, and its value in a call.

At a capture torch keeps sizes as expressions of sympy; they are taken apart here. Nothing of a file is ever parsed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from ..errors import CallError
from .examples import CannotSize
from .model import Dim, Extent, Formula, Program


class Fixed(NamedTuple):
    """A size that was to vary and is one number all the same, and the line of code that made it so, if torch knows."""

    dim: Dim
    size: int
    line: str


class Sizes:
    """Shapes of the inputs, and what the code asked of their sizes, as arithmetic on sizes of inputs."""

    def __init__(self, tensors: list[torch.Tensor], asked: Sequence[tuple[Any, bool]] = ()) -> None:
        self._where: dict[Any, Dim] = {}
        self.shapes: list[tuple[Extent | None, ...]] = []
        self.guards: list[Extent] = []
        self.fixed: list[Fixed] = []
        env = None
        for i, tensor in enumerate(tensors):
            for d, size in enumerate(tensor.shape):
                if isinstance(size, torch.SymInt):
                    env = size.node.shape_env
                    symbol = size.node.expr
                    if symbol.is_Symbol:
                        self._where.setdefault(symbol, Dim(i, d))
        for i, tensor in enumerate(tensors):
            self.shapes.append(tuple(self._size(size, Dim(i, d)) for d, size in enumerate(tensor.shape)))
        if env is not None:
            self._read_guards(env)
            import sympy  # type: ignore[import-untyped]  # a third of a second, and only a capture needs it

            for expression, result in asked:
                self._require(env.simplify(expression if result else sympy.Not(expression)))

    def _size(self, size: Any, here: Dim) -> Extent | None:
        if not isinstance(size, torch.SymInt):
            return int(size)
        expression = size.node.expr
        if self._where.get(expression) == here:
            return None
        if expression.is_Integer:
            self.fixed.append(Fixed(here, int(expression), _fixed_by(size.node)))
        return self._extent(expression)

    def _read_guards(self, env: Any) -> None:
        for symbol, dim in self._where.items():
            known = env.var_to_range.get(symbol)
            if known is None:
                continue
            if known.lower.is_Integer and int(known.lower) > 2:  # torch assumes 2 of every size that varies
                self.guards.append(Formula(">=", (dim, int(known.lower))))
            if known.upper.is_Integer and int(known.upper) < _HUGE:
                self.guards.append(Formula("<=", (dim, int(known.upper))))
        for guard in env.guards:
            expression = env.simplify(guard.expr)
            if expression.is_Boolean and not expression.free_symbols:
                continue
            if _of_machinery(guard) and _tells_one_from_many(expression):
                continue
            if _of_metadata(guard) and type(expression).__name__ in _COMPARISONS:
                continue
            self._require(expression, always=True)

    def _require(self, expression: Any, *, always: bool = False) -> None:
        """Add a guard, if it is not known or `always` added, where sizes of 0 or 1 would not hold to it."""
        symbols = sorted(getattr(expression, "free_symbols", ()), key=str)
        if not symbols or not (always or any(_fails(expression, symbols, small) for small in (0, 1))):
            return
        found = self._extent(expression)
        if found not in self.guards:
            self.guards.append(found)

    def _extent(self, expression: Any) -> Extent:
        """Arithmetic of sympy as data; symbols are sizes of inputs."""
        if expression.is_Integer:
            return int(expression)
        if expression.is_Symbol:
            if expression not in self._where:
                raise CannotSize(f"a size depends on data ({expression}), and sizes of inputs are all that is known")
            return self._where[expression]
        name = type(expression).__name__
        if expression.is_Pow and expression.exp.is_Integer and 0 < int(expression.exp) < 8:
            return Formula("*", (self._extent(expression.base),) * int(expression.exp))
        if name not in _FORMULA_OF:
            raise CannotSize(f"a size is computed by {name} ({expression}), which no program holds")
        return Formula(_FORMULA_OF[name], tuple(self._extent(each) for each in expression.args))


def _fails(expression: Any, symbols: Sequence[Any], small: int) -> bool:
    """Whether a comparison may be false where one of the sizes, or all of them, are this small."""
    import sympy

    every = dict.fromkeys(symbols, small)
    return any(expression.subs(each) != sympy.true for each in ({symbols[i]: small} for i in range(len(symbols)))) or (
        expression.subs(every) != sympy.true
    )


def _fixed_by(node: Any) -> str:
    """The line of the first guard that asked a size to be a number; "" where it is one of torch's machinery."""
    for guard in node.shape_env.guards:
        if type(guard.expr).__name__ == "Equality" and node._expr in guard.expr.free_symbols:
            frame = guard.sloc.maybe_user_loc or guard.sloc.framework_loc
            name = str(getattr(frame, "filename", "")).replace("\\", "/").rpartition("site-packages/")[2]
            if name and not _is_metadata(f"/{name}"):
                return f"{name}:{getattr(frame, 'lineno', '')}"
            return frame if isinstance(frame, str) else ""
    return ""


_HUGE = 2**31

_FORMULA_OF = {
    "Add": "+",
    "Mul": "*",
    "FloorDiv": "//",
    "CleanDiv": "//",
    "Mod": "%",
    "PythonMod": "%",
    "Min": "min",
    "Max": "max",
    "Equality": "==",
    "Unequality": "!=",
    "StrictLessThan": "<",
    "LessThan": "<=",
    "StrictGreaterThan": ">",
    "GreaterThan": ">=",
    "And": "and",
    "Or": "or",
    "Not": "not",
}


def _of_machinery(guard: Any) -> bool:
    frame = getattr(getattr(guard.sloc, "framework_loc", None), "filename", "")
    return "/torch/" in str(frame).replace("\\", "/")


def _of_metadata(guard: Any) -> bool:
    """Whether torch asked while it worked out what an operator returns: a comparison then chose strides, no calls."""
    frame = str(getattr(getattr(guard.sloc, "framework_loc", None), "filename", ""))
    return _is_metadata(frame.replace("\\", "/"))


def _is_metadata(filename: str) -> bool:
    return any(part in filename for part in _METADATA)


_COMPARISONS = frozenset({"Unequality", "StrictLessThan", "LessThan", "StrictGreaterThan", "GreaterThan"})
_METADATA = tuple(
    f"/torch/{each}" for each in ("_refs/", "_prims", "_subclasses/", "_meta_registrations", "_decomp/", "_ops.py")
)


def _tells_one_from_many(expression: Any) -> bool:
    """Whether a guard only says that a size is not 0 or 1: torch asks that of every size, for broadcasting."""
    return type(expression).__name__ == "Unequality" and any(each in (0, 1) for each in expression.args)


# --- in a call -------------------------------------------------------------------------------------


def value_of(extent: Extent, inputs: Sequence[torch.Tensor]) -> int:
    """Arithmetic on sizes of inputs."""
    if isinstance(extent, Dim):
        return inputs[extent.input].shape[extent.dim]
    if not isinstance(extent, Formula):
        return extent
    args = [value_of(arg, inputs) for arg in extent.args]
    if extent.op in ("//", "%") and args[1] == 0:
        return -1
    return int(_FORMULA[extent.op](args))


def _product(args: list[int]) -> int:
    made = 1
    for each in args:
        made *= each
        if abs(made) > _LARGEST:
            raise CallError("the sizes of the inputs are too large")
    return made


_LARGEST = 2**100


_FORMULA: Mapping[str, Callable[[list[int]], Any]] = {
    "+": sum,
    "*": _product,
    "//": lambda args: args[0] // args[1],
    "%": lambda args: args[0] % args[1],
    "min": min,
    "max": max,
    "==": lambda args: args[0] == args[1],
    "!=": lambda args: args[0] != args[1],
    "<": lambda args: args[0] < args[1],
    "<=": lambda args: args[0] <= args[1],
    ">": lambda args: args[0] > args[1],
    ">=": lambda args: args[0] >= args[1],
    "and": all,
    "or": any,
    "not": lambda args: not args[0],
}


def written_out(extent: Extent, program: Program) -> str:
    """Arithmetic on sizes as a person writes it."""
    if isinstance(extent, Dim):
        return f"{program.inputs[extent.input].name}.shape[{extent.dim}]"
    if not isinstance(extent, Formula):
        return str(extent)
    args = [written_out(arg, program) for arg in extent.args]
    if extent.op in ("min", "max", "not"):
        return f"{extent.op}({', '.join(args)})"
    return f" {extent.op} ".join(
        f"({text})" if isinstance(arg, Formula) else text for text, arg in zip(args, extent.args, strict=True)
    )
