"""From a name in a file to what is called, and back, through the closed list and by no other way."""

from __future__ import annotations

import builtins
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import torch

from ..errors import ProgramError
from .ops import CALLS, OPS
from .schemas import grew

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class Upgrade(NamedTuple):
    """How a call of an operator is written since its schema changed.

    Attributes:
        schema: the schema that files hold.
        rewrite: gives the arguments that today's operator takes for those that the older one took.
    """

    schema: str
    rewrite: Callable[[tuple[Any, ...], Mapping[str, Any]], Arguments]


UPGRADES: Final[dict[str, tuple[Upgrade, ...]]] = {}
"""By name, the schemas of older releases that today's no longer takes as they are.

None yet: since 2.6, the oldest torch that torchkeep takes, operators of the list only got more arguments with defaults
(`stft` its ``align_to_window``, `pad_sequence` its ``padding_side``), and those are called as they are.
"""


def overload(name: str, schema: str) -> Callable[..., Any]:
    """What a name of the closed list calls, for a file that was written when its schema was this one.

    `schema` is ``""`` for a function of Python's.
    """
    if name in CALLS:
        if schema:
            raise ProgramError(
                f"The program says that {name!r} has a schema, and it has none. Nothing was loaded. Get the file again "
                "from where it was made, or use its weights: load them into your own model with load_into."
            )
        if name not in _PYTHON:
            raise _lacking(name)
        return _PYTHON[name]
    known = OPS.get(name)
    if known is None:
        raise ProgramError(
            f"The program calls {name[:200]!r}, which is not in the list of operators that a file may call. Nothing "
            "was loaded. Save the model with its class instead of its program, or load its weights into your own model "
            "with load_into."
        )
    found = _operator(name)
    if found is None:
        raise _lacking(name)
    today = str(found._schema)
    if grew(schema, today):
        return found
    for upgrade in UPGRADES.get(name, ()):
        if grew(schema, upgrade.schema):
            return _Upgraded(found, upgrade)
    raise ProgramError(
        f"The program calls {name!r} as {schema[:1000]!r}, and torch {torch.__version__} has it as {today!r}. Nothing "
        "was loaded, since the call could mean something else now. Use the torch that the file was saved with, or save "
        "the model again with this one."
    )


def name_of(target: object) -> str | None:
    """The name in the closed list of what a captured graph calls; None where it is not in the list."""
    if isinstance(target, torch._ops.OpOverload):
        name = f"{target.namespace}.{target._schema.name.partition('::')[2]}.{target._overloadname}"
        return name if name in OPS and _operator(name) is target else None
    try:
        return _NAMES.get(target)
    except TypeError:  # what cannot be hashed is in no list
        return None


def _lacking(name: str) -> ProgramError:
    return ProgramError(
        f"The program calls {name!r}, which torch {torch.__version__} does not have. Nothing was loaded. Use the torch "
        "that the file was saved with, or a newer one; the file says which that was."
    )


class _Upgraded:
    """An operator, called in the way of an older release."""

    def __init__(self, called: Callable[..., Any], upgrade: Upgrade) -> None:
        self.called = called
        self.upgrade = upgrade

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = self.upgrade.rewrite(args, kwargs)
        return self.called(*args, **kwargs)


def _operator(name: str) -> torch._ops.OpOverload | None:
    """An overload of the list, or None where this torch lacks it."""
    _, base, which = name.split(".")
    packet = getattr(torch.ops.aten, base, None)
    found = getattr(packet, which, None) if packet is not None else None
    return found if isinstance(found, torch._ops.OpOverload) else None


def _python() -> dict[str, Callable[..., Any]]:
    """The functions of Python's in the list, as far as this torch has them."""
    found: dict[str, Callable[..., Any]] = {}
    for name in CALLS:
        module, _, short = name.partition(".")
        if module == "python":
            home: Any = builtins if short in _BUILTINS else operator
        else:
            home = {"math": math, "torch": torch}[module]
        function = getattr(home, short, None)
        if function is not None:
            found[name] = function
    return found


_BUILTINS: Final = frozenset({"int", "float", "bool", "round", "min", "max"})
_PYTHON: Final = _python()
_NAMES: Final[dict[object, str]] = {
    builtins.abs: "python.abs",
    builtins.pow: "python.pow",
    **{function: name for name, function in _PYTHON.items()},
}
