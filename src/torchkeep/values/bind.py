"""A state_dict in a file -> a module that the caller holds: match every name, then say how to read.

Nothing here changes the target. `match` collects every mismatch; `Copies`, made from a match without one,
says which bytes go where, and the memory of the target is only written when they are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch.nn.modules.lazy import LazyModuleMixin

from ..document import (
    CONJ,
    EXTRA_STATE,
    ITEMSIZE,
    NEG,
    QUANTIZED,
    Document,
    Ref,
    StateDict,
    TensorRef,
    Typed,
    Value,
    extent,
    row_major,
    shape_of,
)
from .dtypes import dtype_name
from .encode import is_plain
from .names import Renames, match_prefixes
from .pack import is_cut
from .wrappers import names_inside

NOT_INITIALIZED = "not yet initialized"
"""What the file has of a tensor that was lazy when it was saved."""


@dataclass(slots=True)
class Match:
    """Which tensor of the file fills which of the target.

    Attributes:
        module: the target.
        rows: for each name of the target that is filled, the row of the tensor table.
        others: the same for tensors that are nodes, such as sparse ones.
        given: for every name of the file, after renaming, its tensor.
        extra: for each name of an extra state that both have, its value.
        missing: names of the target that the file lacks.
        unexpected: names of the file that the target lacks.
        mismatched: names that do not fit: (name, in the file, in the target).
        conflicts: those of them whose tensor is tied to one that other values go to.
        renamed: names of the file that stand for other names.
        cast: names whose dtype changes: (name, in the file, in the target).
        tied: names that are filled through another name of the same tensor.
        blank: names that neither has initialized yet.
        total: how many tensors the target has.
        by_itself: how many a target with its own `load_state_dict` filled, once it has.
    """

    module: torch.nn.Module
    rows: dict[str, int] = field(default_factory=dict)
    others: dict[str, Ref] = field(default_factory=dict)
    given: dict[str, TensorRef | Ref] = field(default_factory=dict)
    extra: dict[str, Value] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[tuple[str, str, str]] = field(default_factory=list)
    conflicts: list[tuple[str, str, str]] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    cast: list[tuple[str, str, str]] = field(default_factory=list)
    tied: list[str] = field(default_factory=list)
    blank: list[str] = field(default_factory=list)
    total: int = 0
    by_itself: int | None = None

    @property
    def matched(self) -> int:
        """How many of the target's tensors are filled."""
        if self.by_itself is not None:
            return self.by_itself
        return len(self.rows) + len(self.others) + len(self.tied) + len(self.blank)

    @property
    def hopeless(self) -> set[str]:
        """Mismatched names that no way to load makes fit."""
        blank = {name for name, ours, _ in self.mismatched if ours == NOT_INITIALIZED}
        return blank | {name for name, *_ in self.conflicts}


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


def initialized_by_loading(module: torch.nn.Module) -> set[str]:
    """Names of tensors without a shape that get one by being loaded, by the hook of their lazy module."""
    lazy = ((prefix, child) for prefix, child in _modules(module) if isinstance(child, LazyModuleMixin))
    waiting = (pair for pair in lazy if "_load_hook" in vars(pair[1]))
    held = ((prefix, {**child._parameters, **child._buffers}) for prefix, child in waiting)
    named = ((prefix + name, each) for prefix, parts in held for name, each in parts.items())
    return {name for name, each in named if each is not None and torch.nn.parameter.is_lazy(each)}


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
    renames: Renames,
    assign: bool,
    same_bytes: SameBytes,
    where: str,
) -> Match:
    """Hold the file's names, shapes and dtypes against the target's.

    Args:
        document: a checked Document.
        weights: the tensors that the file offers.
        module: the target.
        renames: the caller's `rename=`.
        assign: whether tensors will take the place of the target's.
        same_bytes: whether two stored tensors have the same bytes; asked only for tied targets.
        where: the file, for messages.

    Raises:
        BindError: `rename=` makes two names one.
    """
    targets = tensors_of(module)
    extras = extra_states_of(module)
    wanted = [*targets, *extras]
    given = renames.apply([*weights.rows, *weights.others, *weights.extra, *weights.blank], where=where)
    prefixed = match_prefixes(list(given.values()), wanted)
    inside = {short: name for short, name in names_inside(module).items() if short not in targets}
    new_names = {old: inside.get(prefixed[new], prefixed[new]) for old, new in given.items()}
    found = Match(module, total=len(targets))
    known = set(wanted)
    found.renamed = {old: new for old, new in new_names.items() if old != new and new in known}
    rows = {new: weights.rows[old] for old, new in new_names.items() if old in weights.rows}
    extra = {new: weights.extra[old] for old, new in new_names.items() if old in weights.extra}
    others = {new: weights.others[old] for old, new in new_names.items() if old in weights.others}
    blank = dict.fromkeys(new_names[old] for old in weights.blank)
    found.given = {name: TensorRef(row) for name, row in rows.items()} | others
    offered = (*found.given, *extra, *blank)
    found.unexpected = [name for name in offered if name not in targets and name not in extras]
    lazy = initialized_by_loading(module)
    found.extra = {name: value for name, value in extra.items() if name in extras}
    found.missing = [name for name in extras if name not in extra]
    filled: dict[object, str] = {}
    memory = id if assign else memory_of
    for name, target in targets.items():
        if name in blank:
            if torch.nn.parameter.is_lazy(target):
                found.blank.append(name)
            else:
                found.mismatched.append((name, NOT_INITIALIZED, f"shape {tuple(target.shape)}"))
        if name not in rows:
            continue
        problem = _problem(document, rows[name], target, assign=assign, lazy=name in lazy)
        first = filled.get(memory(target))
        if problem is None and first is not None and not _same(document, found.rows[first], rows[name], same_bytes):
            problem = "values of its own", f"tied to {first!r}"
            found.conflicts.append((name, *problem))
        if problem is not None:
            found.mismatched.append((name, *problem))
            continue
        filled.setdefault(memory(target), name)
        found.rows[name] = rows[name]
        saved, now = document.tensors.dtype(rows[name]), dtype_name(target.dtype)
        if saved != now and not assign:
            found.cast.append((name, saved, now))
    for name, target in targets.items():
        if name in others:
            problem = _problem_of_node(document, others[name], target, assign=assign)
            if problem is None and found.others.get(filled.setdefault(id(target), name), others[name]) != others[name]:
                problem = "values of its own", f"tied to {filled[id(target)]!r}"
            if problem is None:
                found.others[name] = others[name]
            else:
                found.mismatched.append((name, *problem))
    for name, target in targets.items():
        if name not in found.given and name not in blank:
            (found.tied if memory(target) in filled else found.missing).append(name)
    if not assign:
        _refuse_overlaps(document, found, targets)
    return found


SameBytes = Callable[[int, int], bool]


def memory_of(tensor: torch.Tensor) -> object:
    """What two tensors have in common exactly if they are the same elements of the same memory."""
    if not is_plain(tensor) or not tensor.numel():
        return id(tensor)
    geometry = (tensor.storage_offset(), tuple(tensor.shape), tensor.stride(), tensor.dtype, _lazy_bits(tensor))
    return tensor.untyped_storage()._cdata, geometry


def _lazy_bits(tensor: torch.Tensor) -> int:
    """How torch reads the memory of a tensor: conjugated, negated, or both."""
    return CONJ * tensor.is_conj() | NEG * tensor.is_neg()


def _same(document: Document, first: int, row: int, same_bytes: SameBytes) -> bool:
    """Whether two rows of the file have the same values."""
    table = document.tensors
    if table.views.get(first) != table.views.get(row) or table.lazy.get(first) != table.lazy.get(row):
        return False
    return table.stored[first] == table.stored[row] or same_bytes(table.stored[first], table.stored[row])


def refuse_conflicts(document: Document, found: Match, earlier: Mapping[str, Match], same_bytes: SameBytes) -> None:
    """A tensor that several modules share cannot get values from each, unless they are the same."""
    first: dict[object, tuple[str, int]] = {}
    for label, other in earlier.items():
        tensors = tensors_of(other.module)
        for name, row in other.rows.items():
            first.setdefault(memory_of(tensors[name]), (f"{label}.{name}", row))
    targets = tensors_of(found.module) if first else {}
    for name, row in list(found.rows.items()) if first else ():
        where, before = first.get(memory_of(targets[name]), ("", row))
        if before != row and not _same(document, before, row, same_bytes):
            found.conflicts.append((name, "values of its own", f"tied to {where!r}"))
            found.mismatched.append(found.conflicts[-1])
            found.rows.pop(name)
            found.cast = [each for each in found.cast if each[0] != name]


def _refuse_overlaps(document: Document, found: Match, targets: dict[str, torch.Tensor]) -> None:
    """Targets that share a part of their memory cannot each get their own values, unless the file shares it so."""
    extents: dict[object, dict[object, tuple[int, int, str]]] = {}
    for name in found.rows:
        target = targets[name]
        if isinstance(key := memory_of(target), tuple):
            begin = int(target.storage_offset()) * target.itemsize
            end = begin + extent(tuple(target.shape), target.stride(), 0) * target.itemsize
            extents.setdefault(key[0], {}).setdefault(key, (begin, end, name))
    for pieces in extents.values():
        reach, last = 0, ""
        for begin, end, name in sorted(pieces.values()):
            if begin < reach and not _overlap_alike(document, found.rows, targets, last, name):
                found.mismatched.append((name, "values of its own", f"shares memory with {last!r}"))
                found.rows.pop(name)
                found.cast = [row for row in found.cast if row[0] != name]
            if end > reach:
                reach, last = end, name


def _overlap_alike(
    document: Document, rows: dict[str, int], targets: dict[str, torch.Tensor], one: str, other: str
) -> bool:
    """Whether two tensors of the file lie over each other just as two of the target do."""
    if one not in rows:
        return False
    table, apart = document.tensors, []
    for name in (one, other):
        row, target = rows[name], targets[name]
        stored, view = table.stored[row], table.views.get(row)
        strides = view.strides if view else table.strides.get(stored) or row_major(table.shapes[stored])
        alike = strides == target.stride() and table.lazy.get(row, 0) == _lazy_bits(target)
        if not alike or table.dtype(row) != dtype_name(target.dtype):
            return False
        begins = int(target.storage_offset()) - (view.offset if view else 0)
        apart.append((stored, begins * target.itemsize))
    return apart[0] == apart[1]


def _problem(document: Document, row: int, target: torch.Tensor, *, assign: bool, lazy: bool) -> tuple[str, str] | None:
    """What of a tensor does not fit: (in the file, in the target), or None.

    Args:
        document: a checked Document.
        row: the tensor in the file.
        target: the tensor in the target.
        assign: whether the one will take the other's place.
        lazy: whether the target, being loaded, takes the shape that it is given.
    """
    table = document.tensors
    if torch.nn.parameter.is_lazy(target) and not lazy:
        return f"shape {table.shape(row)}", "not yet initialized: run one batch through the lazy module first"
    if not lazy and table.shape(row) != _shape(target):
        return f"shape {table.shape(row)}", f"shape {_shape(target)}"
    if assign:
        if target.requires_grad and _kind(table.dtype(row)) < _REAL:
            return f"dtype {table.dtype(row)}", "a parameter that requires a gradient"
        return None
    if target.device.type == "meta":
        return "values", "on the meta device, which holds none: pass assign=True"
    plain = lazy or type(target) in (torch.Tensor, torch.nn.Parameter)
    if not plain or target.layout != torch.strided or target.is_quantized:
        return "a plain tensor", f"a {type(target).__name__} of layout {target.layout}"
    if not lazy and is_cut(target):
        return "values", "without room for them: its memory was freed or made smaller (by storage.resize_())"
    saved, now = table.dtype(row), dtype_name(target.dtype)
    if saved != now and (_kind(saved) > _kind(now) or not {saved, now} <= _CASTABLE):
        return f"dtype {saved}", f"dtype {now}, which cannot hold it"
    if not lazy and any(stride == 0 and size > 1 for stride, size in zip(target.stride(), target.shape, strict=True)):
        return "a value for each element", "expanded: its elements share memory"
    return None


def _problem_of_node(document: Document, value: Ref, target: torch.Tensor, *, assign: bool) -> tuple[str, str] | None:
    """The same for a tensor that is a node: in place, torch only copies what is of one layout and dtype."""
    node = document.node(value)
    assert isinstance(node, Typed)
    saved = shape_of(document, node)
    lazy = torch.nn.parameter.is_lazy(target)
    if lazy or (saved is not None and saved != _shape(target)):
        return f"shape {saved}", "not yet initialized" if lazy else f"shape {_shape(target)}"
    if node.kind == "torch.meta":
        return "no values: it was saved from the meta device", f"shape {_shape(target)}"
    table, fields = document.tensors, node.fields
    if assign:
        if saved is None and not target.is_nested:
            return f"a {node.kind} tensor", f"shape {_shape(target)}"
        held = fields.get("values")
        whole = node.kind == "torch.quantized" or (
            isinstance(held, TensorRef) and _kind(table.dtype(held.index)) < _REAL
        )
        return (
            ("numbers that are whole", "a parameter that requires a gradient")
            if target.requires_grad and whole
            else None
        )
    if target.device.type == "meta":
        return "values", "on the meta device, which holds none: pass assign=True"
    if node.kind == "torch.sparse" and isinstance(held := fields["values"], TensorRef):
        ours = f"{node.text('layout')} of {table.dtype(held.index)}"
        if node.text("layout") == "sparse_coo" and isinstance(indices := fields["indices"], TensorRef):
            ours += f" by {table.shape(indices.index)[0]} dimensions"
    elif node.kind == "torch.quantized" and QUANTIZED[node.text("dtype")][1] >= 8:
        scale = fields["scale"]
        by_floats = isinstance(scale, TensorRef) and table.dtype(scale.index) == "float32"
        per = "tensor" if fields["axis"] is None else "channel, by floats" if by_floats else "channel"
        ours = f"{node.text('dtype')} per {per}"
        if any(stride == 0 and size > 1 for stride, size in zip(target.stride(), target.shape, strict=True)):
            return "a value for each element", "expanded: its elements share memory"
    else:
        return f"a {node.kind} tensor", f"a {type(target).__name__}: pass assign=True to put the file's in its place"
    theirs = _layout_text(target)
    return None if ours == theirs else (ours, theirs)


def _shape(tensor: torch.Tensor) -> tuple[int, ...] | str:
    """A shape as a message has it; a nested tensor has none."""
    return "of its parts" if tensor.is_nested else tuple(tensor.shape)


def _layout_text(tensor: torch.Tensor) -> str:
    """What two tensors have in common where torch copies from one to the other, beside the shape."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    if tensor.is_quantized:
        per = {torch.per_tensor_affine: "tensor", torch.per_channel_affine: "channel"}
        return f"{dtype} per {per.get(tensor.qscheme(), 'channel, by floats')}"
    by = f" by {tensor.sparse_dim()} dimensions" if tensor.layout is torch.sparse_coo else ""
    return f"{str(tensor.layout).removeprefix('torch.')} of {dtype}{by}"


_REAL, _COMPLEX = 2, 3

_CASTABLE = frozenset(ITEMSIZE) - {
    *(name for name in ITEMSIZE if name.startswith(("bits", "float4"))),
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in range(1, 8)),
}
"""Dtypes that torch converts from and to; the others are bits to it."""


def _kind(dtype: str) -> int:
    """Kinds of number in the order in which each holds the one before: bool, integer, real, complex."""
    if dtype.startswith("complex"):
        return _COMPLEX
    if dtype.startswith(("float", "bfloat")):
        return _REAL
    return 0 if dtype == "bool" else 1
