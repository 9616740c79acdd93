"""A state_dict in a file -> a module that the caller holds: match every name, then say how to read.

Nothing here changes the target. `match` collects every mismatch; `Copies`, made from a match without one,
says which bytes go where, and the memory of the target is only written when they are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from ..document import EXTRA_STATE, Document, StateDict, Value
from .dtypes import dtype_name
from .names import Rename, match_prefixes, rename

ALLOWED = frozenset({"missing", "unexpected", "mismatched"})


@dataclass(slots=True)
class Match:
    """Which tensor of the file fills which of the target.

    Attributes:
        module: the target.
        rows: for each name of the target that is filled, the row of the tensor table.
        given: the same for every name of the file, after renaming.
        extra: for each name of an extra state that both have, its value.
        missing: names of the target that the file lacks.
        unexpected: names of the file that the target lacks.
        mismatched: names that do not fit: (name, in the file, in the target).
        renamed: names of the file that stand for other names.
        cast: names whose dtype changes: (name, in the file, in the target).
        tied: names that are filled through another name of the same tensor.
        total: how many tensors the target has.
    """

    module: torch.nn.Module
    rows: dict[str, int] = field(default_factory=dict)
    given: dict[str, int] = field(default_factory=dict)
    extra: dict[str, Value] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[tuple[str, str, str]] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    cast: list[tuple[str, str, str]] = field(default_factory=list)
    tied: list[str] = field(default_factory=list)
    total: int = 0

    @property
    def matched(self) -> int:
        """How many of the target's tensors are filled."""
        return len(self.rows) + len(self.tied)


def tensors_of(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Every tensor of the module's state_dict by name, the tensors themselves, tied ones under each name.

    A module with state_dict hooks or a `state_dict` of its own may have other names there; what counts
    here is the names under which the module itself finds its tensors.
    """
    found: dict[str, torch.Tensor] = {}
    for prefix, child in _modules(module):
        for name, parameter in child._parameters.items():
            if parameter is not None:
                found[prefix + name] = parameter
        for name, buffer in child._buffers.items():
            if buffer is not None and name not in child._non_persistent_buffers_set:
                found[prefix + name] = buffer
    return found


def extra_states_of(module: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """The modules that keep an extra state, by its name in the state_dict."""
    return {
        prefix + EXTRA_STATE: child
        for prefix, child in _modules(module)
        if type(child).set_extra_state is not torch.nn.Module.set_extra_state
    }


def _modules(module: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module]]:
    for name, child in module.named_modules(remove_duplicate=False):
        yield (name + "." if name else ""), child


def match(
    document: Document,
    weights: StateDict,
    module: torch.nn.Module,
    *,
    how: Rename | None,
    assign: bool,
    digests: list[int] | None,
    where: str,
) -> Match:
    """Hold the file's names, shapes and dtypes against the target's.

    Raises:
        BindError: `rename=` fits nothing, or makes two names one.
    """
    targets = tensors_of(module)
    extras = extra_states_of(module)
    wanted = [*targets, *extras]
    given = rename([*weights.rows, *weights.extra], how, where=where)
    prefixed = match_prefixes(list(given.values()), wanted)
    new_names = {old: prefixed[new] for old, new in given.items()}
    found = Match(module, total=len(targets))
    found.renamed = {old: new for old, new in new_names.items() if old != new and new in set(wanted)}
    rows = {new: weights.rows[old] for old, new in new_names.items() if old in weights.rows}
    extra = {new: weights.extra[old] for old, new in new_names.items() if old in weights.extra}
    found.given = rows
    found.unexpected = [name for name in (*rows, *extra) if name not in targets and name not in extras]
    found.extra = {name: value for name, value in extra.items() if name in extras}
    found.missing = [name for name in extras if name not in extra]
    filled: dict[int, str] = {}
    for name, target in targets.items():
        if name not in rows:
            continue
        problem = _problem(document, rows[name], target, assign=assign)
        first = filled.get(id(target))
        if problem is None and first is not None:
            problem = _tie_problem(document, found.rows[first], rows[name], first, digests)
        if problem is not None:
            found.mismatched.append((name, *problem))
            continue
        filled.setdefault(id(target), name)
        found.rows[name] = rows[name]
        saved, now = document.tensors.dtype(rows[name]), dtype_name(target.dtype)
        if saved != now and not assign:
            found.cast.append((name, saved, now))
    for name, target in targets.items():
        if name not in rows:
            (found.tied if id(target) in filled else found.missing).append(name)
    return found


def _problem(document: Document, row: int, target: torch.Tensor, *, assign: bool) -> tuple[str, str] | None:
    """What of a tensor does not fit: (in the file, in the target), or None."""
    table = document.tensors
    if torch.nn.parameter.is_lazy(target):
        return f"shape {table.shape(row)}", "not yet initialized: run one batch through the lazy module first"
    if table.shape(row) != tuple(target.shape):
        return f"shape {table.shape(row)}", f"shape {tuple(target.shape)}"
    if assign:
        return None
    if target.device.type == "meta":
        return "values", "on the meta device, which holds none: pass assign=True"
    if target.layout != torch.strided or target.is_quantized or type(target) not in (torch.Tensor, torch.nn.Parameter):
        return "a plain tensor", f"a {type(target).__name__} of layout {target.layout}"
    saved, now = table.dtype(row), dtype_name(target.dtype)
    if saved != now and _kind(saved) > _kind(now):
        return f"dtype {saved}", f"dtype {now}, which cannot hold it"
    if any(stride == 0 and size > 1 for stride, size in zip(target.stride(), target.shape, strict=True)):
        return "a value for each element", "expanded: its elements share memory"
    return None


def _kind(dtype: str) -> int:
    """Kinds of number in the order in which each holds the one before: bool, integer, real, complex."""
    if dtype.startswith("complex"):
        return 3
    if dtype.startswith(("float", "bfloat")):
        return 2
    return 0 if dtype == "bool" else 1


def _tie_problem(
    document: Document, first: int, row: int, first_name: str, digests: list[int] | None
) -> tuple[str, str] | None:
    """Two names of one target tensor must have the same bytes in the file."""
    stored = document.tensors.stored
    if stored[first] == stored[row] or digests is None or digests[stored[first]] == digests[stored[row]]:
        return None
    return "values of its own", f"tied to {first_name!r}"
