"""`key=`: the way from the root of a Document to a part of it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from ..errors import KeyMissingError, brief
from .model import Document
from .nodes import Seq, Typed, Value
from .state_dict import items_of

_SHOWN = 12


def find(document: Document, key: object, *, path: str) -> Value:
    """The value at `key`, from the root.

    Args:
        document: a checked Document.
        key: a key of the root, or a tuple of keys, indices, and attribute names of modules; None for the root.
        path: the file, for messages.

    Raises:
        KeyMissingError: a step leads nowhere; the message lists the keys that there are.
    """
    if key is None:
        return document.root
    value = document.root
    gone = ""
    for step in key if isinstance(key, tuple) else (key,):
        entries = _entries(document, value)
        if type(step) is int and document.typed(value, "module"):
            step = str(step)  # as in a ModuleList
        if not isinstance(step, Hashable) or step not in entries:
            there = ", ".join(brief(name) for name in list(entries)[:_SHOWN])
            more = f" and {len(entries) - _SHOWN} more" if len(entries) > _SHOWN else ""
            has = f"there are {there}{more}" if entries else "it has no parts"
            raise KeyMissingError(f"{path}{gone} has no part {brief(step)}; {has}. Nothing was loaded.")
        value = entries[step]
        gone += f"[{brief(step)}]"
    return value


def _entries(document: Document, value: Value) -> Mapping[Any, Value]:
    """What a step can name below `value`."""
    node = document.node(value)
    if isinstance(node, Typed) and node.kind == "derived":
        own = document.entries(node.fields.get("attributes"))
        return {**own, **_entries(document, node.fields["value"])}
    items = items_of(document, value)
    if items is not None:
        return items
    if isinstance(node, Seq):
        return dict(enumerate(node.items))
    if not isinstance(node, Typed):
        return {}
    if node.kind in ("deque", "namedtuple"):
        entries = _entries(document, node.fields["items"])
        return {**entries, **dict(zip(document.texts(node.fields.get("names")), entries.values(), strict=False))}
    return {
        name: child
        for field in ("parameters", "buffers", "modules", "attributes")
        for name, child in document.pairs(node.fields.get(field))
    }
