"""Attributes that hooks of torch's older functions compute from parameters before each call (M-4, M-5).

`weight_norm`, `spectral_norm` and `prune` put such hooks on a module. The file has what they compute from, and says
which hook computes what. It has no second copy of the result.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ..errors import FormatError
from .dtypes import ITEMSIZE
from .kinds import FLOATING, MODULE_INTERNALS
from .model import Document
from .nodes import Ref, Seq, TensorRef, Typed, Value
from .tensors import Shape

SOURCES: dict[str, dict[str, str]] = {
    "torch.weight_norm": {"_v": "parameters", "_g": "parameters"},
    "torch.spectral_norm": {"_orig": "parameters", "_u": "buffers", "_v": "buffers"},
    "torch.prune": {"_orig": "parameters", "_mask": "buffers"},
}
"""For each kind of hook, what it computes from: the end of each name, and where that is. The first has the
result's dtype and shape."""

MAX_POWER_ITERATIONS = 10_000
"""Most steps of `spectral_norm` for one call."""

LAZY_HANDLES = frozenset({"_load_hook", "_initialize_hook"})
"""Attributes of a lazy module that hold the handles of its two hooks."""


class Form(NamedTuple):
    """What of a tensor decides whether a hook can compute from it."""

    dtype: str
    shape: Shape


def misfit(kind: str, fields: Mapping[str, object], forms: Mapping[str, Form]) -> str | None:
    """Why a hook cannot compute from these tensors, or None.

    torch's kernels trust their shapes: this is asked before one is called.

    Args:
        kind: a kind of `SOURCES`.
        fields: those of its node.
        forms: the tensors, by the ends of their names.
    """
    first, *others = (forms[end] for end in SOURCES[kind])
    if first.dtype not in FLOATING or 0 in first.shape:
        return f"a tensor of {first.dtype} {list(first.shape)}"
    if kind == "torch.prune":
        return None if others[0].shape == first.shape else f"a mask of shape {list(others[0].shape)}"
    dim, rank = fields["dim"], len(first.shape)
    assert isinstance(dim, int)
    if any(other.dtype != first.dtype for other in others):
        return "tensors of different dtypes"
    if kind == "torch.weight_norm":
        if first.dtype.startswith("complex"):
            return f"a tensor of {first.dtype}"
        if not rank or (not -rank <= dim < rank and dim != -1):
            return f"dim {dim} of {rank} dimensions"
        along = dim % rank
        wanted = () if dim == -1 else tuple(size if i == along else 1 for i, size in enumerate(first.shape))
        return None if others[0].shape == wanted else f"norms of shape {list(others[0].shape)}"
    iterations = fields["power_iterations"]
    assert isinstance(iterations, int)
    if not 0 <= dim < rank:
        return f"dim {dim} of {rank} dimensions"
    if not 1 <= iterations <= MAX_POWER_ITERATIONS:
        return f"{iterations} power iterations"
    height = first.shape[dim]
    wanted_vectors = [(height,), (math.prod(first.shape) // height,)]
    return None if [other.shape for other in others] == wanted_vectors else "vectors of other shapes"


def is_computable_name(name: str) -> bool:
    """Whether a hook may write an attribute of that name, as far as the name tells."""
    dunder = name.startswith("__") and name.endswith("__")
    return bool(name) and "." not in name and not dunder and name not in MODULE_INTERNALS


def hooks_of(document: Document, module: Typed) -> list[Typed]:
    """The hooks that compute attributes of a module."""
    return list(_typed(document, module.fields.get("computed")))


def check_hooks(document: Document, shared: set[int]) -> None:
    """M-4 and M-5, once every node by itself is as it should be.

    Args:
        document: a Document whose nodes hold by themselves.
        shared: nodes that more than one reference points at.
    """
    met: set[int] = set()
    stored: set[int] = set()
    for node in document.nodes:
        if isinstance(node, Typed) and node.kind == "module" and not _HELD.isdisjoint(node.fields):
            parts = {field: document.named(node.fields.get(field)) for field in _PARTS}
            if "lazy" in node.fields and any(not part.keys().isdisjoint(LAZY_HANDLES) for part in parts.values()):
                raise FormatError("a lazy module with attributes in the place of its handles", clause="M-5")
            names: set[str] = set()
            for hook in hooks_of(document, node):
                met.add(id(hook))
                met.update(map(id, _typed(document, hook.fields.get("methods"))))
                name = hook.text("name")
                taken = name in names or any(name in parts[field] for field in _PARTS[:3])
                if taken or not is_computable_name(name):
                    raise FormatError(f"a hook that computes {name!r}", clause="M-4")
                names.add(name)
                _check_hook(document, parts, hook, stored)
    for position, node in enumerate(document.nodes):
        if isinstance(node, Typed) and node.kind in HOOK_KINDS and (id(node) not in met or position in shared):
            raise FormatError(f"a {node.kind} that belongs to no module, or to two", clause="M-4")


HOOK_KINDS = frozenset({*SOURCES, "pruning_method"})
"""Kinds that stand nowhere but in the `computed` of a module."""

_HELD = frozenset({"computed", "lazy"})
_PARTS = ("parameters", "buffers", "modules", "attributes")


def _check_hook(document: Document, parts: dict[str, dict[str, Value]], hook: Typed, stored: set[int]) -> None:
    name, table = hook.text("name"), document.tensors
    rows: dict[str, int] = {}
    for end, field in SOURCES[hook.kind].items():
        value = parts[field].get(name + end)
        if not isinstance(value, TensorRef):
            raise FormatError(f"a {hook.kind} of {name!r} without {name + end!r}", clause="M-4")
        rows[end] = value.index
    forms = {end: Form(table.dtype(row), table.shape(row)) for end, row in rows.items()}
    if reason := misfit(hook.kind, hook.fields, forms):
        raise FormatError(f"a {hook.kind} of {name!r} from {reason}", clause="M-4")
    if hook.kind == "torch.prune":
        count = len(list(_typed(document, hook.fields["methods"])))
        if count != 1 and not hook.fields["container"]:
            raise FormatError(f"{count} methods that prune {name!r}, and no container", clause="M-4")
    if name in parts["attributes"]:
        if not isinstance(parts["attributes"][name], TensorRef):
            raise FormatError(f"a computed {name!r} that is no tensor", clause="M-4")
        return
    end = next(iter(rows))
    index, form = table.stored[rows[end]], forms[end]
    if math.prod(form.shape) * ITEMSIZE[form.dtype] > table.nbytes(index) or index in stored:
        raise FormatError(f"a {hook.kind} of {name!r} from bytes that are there once, and needed twice", clause="M-4")
    stored.add(index)


def _typed(document: Document, value: Value) -> Iterator[Typed]:
    """The typed nodes of the tuple that `value` refers to."""
    node = document.node(value)
    items = node.items if isinstance(node, Seq) else ()
    found = (document.node(item) for item in items if isinstance(item, Ref))
    return (each for each in found if isinstance(each, Typed))


# --- methods of pruning (K-5) -----------------------------------------------------------------------


def _is_amount(value: Value) -> bool:
    return (type(value) is int and value >= 0) or (type(value) is float and 0 <= value <= 1)


def _is_order(value: Value) -> bool:
    return type(value) in (int, float) or value in ("fro", "nuc")


def _is_dim(value: Value) -> bool:
    return type(value) is int


_PRUNE = "torch.nn.utils.prune:"
PRUNING_ATTRIBUTES = {
    f"{_PRUNE}Identity": {},
    f"{_PRUNE}RandomUnstructured": {"amount": _is_amount},
    f"{_PRUNE}L1Unstructured": {"amount": _is_amount},
    f"{_PRUNE}RandomStructured": {"amount": _is_amount, "dim": _is_dim},
    f"{_PRUNE}LnStructured": {"amount": _is_amount, "n": _is_order, "dim": _is_dim},
    f"{_PRUNE}CustomFromMask": {"mask": lambda value: isinstance(value, TensorRef)},
}
"""torch's own methods, and the test of each attribute that one has."""


def check_pruning_method(document: Document, node: Typed) -> None:
    """K-5: torch's own have just the attributes that their constructors set."""
    tests = PRUNING_ATTRIBUTES.get(node.text("class"))
    given = document.named(node.fields.get("attributes"))
    if tests is not None and (given.keys() != tests.keys() or not all(tests[name](given[name]) for name in tests)):
        raise FormatError(f"a {node.text('class')} with the attributes {list(given)}", clause="K-5")


def check_uninitialized(node: Typed) -> None:
    """K-5: a dtype that there is, and one that can have a gradient where it is wanted."""
    dtype = node.text("dtype")
    if dtype not in ITEMSIZE or (node.fields["requires_grad"] and dtype not in FLOATING):
        raise FormatError(f"an uninitialized tensor of {dtype!r}", clause="K-5")
