"""A Document seen as a state_dict: which tensor has which name, wherever the weights stand."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import msgspec

from ..errors import LimitError
from .layouts import is_tensor
from .model import Document
from .nodes import Map, Ref, TensorRef, Typed, Value

EXTRA_STATE = "_extra_state"


class StateDict(msgspec.Struct):
    """Weights by name, in state_dict order.

    Attributes:
        rows: for each name, the row of the tensor table.
        others: for each name whose tensor is a node, such as a sparse one, that node.
        extra: for each name that ends in ``_extra_state``, its value.
        blank: names of what was not initialized yet, so that it has no row.
    """

    rows: dict[str, int] = {}
    others: dict[str, Ref] = {}
    extra: dict[str, Value] = {}
    blank: list[str] = []


def items_of(document: Document, value: Value) -> dict[Value, Value] | None:
    """Entries of a dict of any kind; None for anything else."""
    node = document.node(value)
    if isinstance(node, Typed) and node.kind == "derived":
        value = node.fields["value"]
        node = document.node(value)
    if isinstance(node, Typed) and node.kind in _DICTS:
        value = node.fields["items"]
    return document.entries(value) if isinstance(document.node(value), Map) else None


_DICTS = frozenset({"OrderedDict", "defaultdict", "Counter"})


def state_dict_of(document: Document, value: Value) -> StateDict | None:
    """The state_dict that a module has, or that a dict is; None for anything else."""
    module = document.typed(value, "module")
    if module is not None:
        return _of_module(document, module)
    found = StateDict()
    for key, item in (items_of(document, value) or {}).items():
        if not isinstance(key, str):
            return None
        if isinstance(item, TensorRef):
            found.rows[key] = item.index
        elif isinstance(item, Ref) and is_tensor(document, item):
            found.others[key] = item
        elif document.typed(item, "torch.uninitialized"):
            found.blank.append(key)
        elif key.rpartition(".")[2] == EXTRA_STATE:
            found.extra[key] = item
        else:
            return None
    return found if found.rows or found.others or found.extra or found.blank else None


def has_state_dict(document: Document, value: Value) -> bool:
    """Whether `state_dict_of` finds one, without making the names of all that a module holds.

    Raises:
        LimitError: as of `modules_of`.
    """
    module = document.typed(value, "module")
    if module is None:
        return state_dict_of(document, value) is not None
    deque(modules_of(document, module), maxlen=0)
    return True


_MAX_MODULES = 200_000
"""Most names of modules. A tree whose modules are shared has more names than modules: two by two, 2**depth."""

_MAX_DEPTH = 1000
"""Deepest tree of modules; torch's own walks recurse, and end there."""


def modules_of(document: Document, root: Typed) -> Iterator[tuple[str, Typed]]:
    """A module and those below it, each with the prefix of its names in a state_dict, in the order of one.

    Raises:
        LimitError: more names, or deeper, than any model has.
    """
    stack: list[tuple[str, Typed, int]] = [("", root, 0)]
    seen = 0
    while stack:
        prefix, module, depth = stack.pop()
        seen += 1
        if seen > _MAX_MODULES or depth > _MAX_DEPTH:
            raise LimitError(f"a module tree of more than {_MAX_MODULES} names or {_MAX_DEPTH} levels")
        yield prefix, module
        for name, value in reversed(list(document.named_pairs(module.fields.get("modules")))):
            if (child := document.typed(value, "module")) is not None:
                stack.append((f"{prefix}{name}.", child, depth + 1))


def _of_module(document: Document, root: Typed) -> StateDict:
    found = StateDict()
    for prefix, module in modules_of(document, root):
        fields = module.fields
        hidden = document.texts(fields.get("non_persistent"))
        for field in ("parameters", "buffers"):
            for name, value in document.named_pairs(fields.get(field)):
                if name in hidden:  # a buffer; a parameter cannot be
                    continue
                if isinstance(value, TensorRef):
                    found.rows[f"{prefix}{name}"] = value.index
                elif document.typed(value, "torch.uninitialized"):
                    found.blank.append(f"{prefix}{name}")
                elif isinstance(value, Ref):
                    found.others[f"{prefix}{name}"] = value
        if "extra_state" in fields:
            found.extra[f"{prefix}{EXTRA_STATE}"] = fields["extra_state"]
    return found


def parts_with_weights(document: Document, value: Value) -> Iterator[tuple[Value, StateDict]]:
    """Entries of a dict that are a module or a state_dict, by key: where a checkpoint may keep its weights."""
    known: dict[Value, StateDict | None] = {}
    for key, item in (items_of(document, value) or {}).items():
        if isinstance(item, Ref):
            if item not in known:
                known[item] = state_dict_of(document, item)
            if (found := known[item]) is not None and (found.rows or found.others or found.extra):
                yield key, found


def is_optimizer(document: Document, value: Value) -> bool:
    """Whether `value` is an optimizer, or an optimizer's state_dict."""
    if document.typed(value, "optimizer"):
        return True
    items = items_of(document, value) or {}
    return {"state", "param_groups"} <= items.keys()
