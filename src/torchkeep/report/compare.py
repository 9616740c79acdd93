"""From the changes between two Documents to a report of them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice
from typing import Any

from ..document import Change, Changes, Document, Finding, Ref, TensorRef, parts_with_weights
from ..errors import LimitError, brief, brief_text
from .diff import Difference, DiffReport
from .file import in_brief
from .where import TEXT_LENGTH, Where, key_text, shape_text

_MAX_PARTS = 3
"""Most parts that are named."""


def tell(changes: Changes, a: Document, b: Document, *, path_a: str, path_b: str) -> DiffReport:
    """The report of the changes between two Documents."""
    where = Where(changes.places, a, b)
    differences = tuple(_difference(change, a, b, where) for change in changes.changes)
    return DiffReport(path_a, path_b, differences, changes.compared, tuple(_around(a, b, changes)))


def _difference(change: Change, a: Document, b: Document, where: Where) -> Difference:
    before, after, new = None, None, None
    if change.kind == "removed":
        before = where.told(0, change.a)
    elif change.kind == "added":
        after = where.told(1, change.b)
    elif change.kind == "renamed":
        assert isinstance(change.b, int)
        before, new = where.told(0, change.a), change.b
    elif change.kind == "values" and not change.what:
        before, after = where.told(0, change.a), where.told(1, change.b)
    elif change.kind in ("value", "kind") and not change.what:
        before, after = _both(where, change.a, change.b)
    elif change.kind == "sharing":
        before, after = (_shared(change.what, at, where) for at in (change.a, change.b))
    elif change.kind == "order":
        before, after = (_keys(document, keys) for document, keys in ((a, change.a), (b, change.b)))
    else:
        before, after = _plain(change, change.a), _plain(change, change.b)
        if change.kind == "class" and _same_source(a, change.a, b, change.b):
            after += ", the same source"
    return Difference(change.kind, change.what, before, after, change.tensor, where, change.at, new)


def _both(where: Where, x: Any, y: Any) -> tuple[str, str]:
    """Two values that are not the same, so that they do not look the same either."""
    if type(x) is type(y) and isinstance(x, str | bytes) and max(len(x), len(y)) > TEXT_LENGTH:
        start = max(0, _same_length(x, y) - _BEFORE)
        return _window(x, start), _window(y, start)
    before, after = where.told(0, x), where.told(1, y)
    if before == after and isinstance(x, float | complex) and isinstance(y, float | complex):
        before, after = (f"{before} (bits {_bits(each)})" for each in (x, y))  # a NaN, and another
    return before, after if before != after else f"{after} (not the same)"


_BEFORE = 12
"""Characters of a long text that are shown before the first that differs."""


def _same_length(x: Any, y: Any) -> int:
    """How long two texts are the same."""
    return next((i for i, (one, other) in enumerate(zip(x, y, strict=False)) if one != other), min(len(x), len(y)))


def _window(text: Any, start: int) -> str:
    """A long text from where it begins to differ."""
    shown = brief(text[start : start + TEXT_LENGTH // 2])
    return f"{'...' * (start > 0)}{shown}{'...' * (start + TEXT_LENGTH // 2 < len(text))} (of {len(text):,})"


def _bits(value: complex) -> str:
    parts = (value,) if isinstance(value, float) else (value.real, value.imag)
    return " ".join(struct.pack(">d", part).hex() for part in parts)


def _shared(what: str, at: object, where: Where) -> str:
    if not isinstance(at, int):
        return "an object of its own" if what == "object" else "its own"
    place = where.text(at) or "the root"
    return f"the same object as {place}" if what == "object" else f"shared with {place}"


def _keys(document: Document, keys: Any) -> str:
    labels = (in_brief(document, key) if isinstance(key, Ref | TensorRef) else key_text(key) for key in keys)
    return ", ".join(labels)


_LAZY = ("as it is stored", "conjugated", "negated", "conjugated and negated")
_A_PLACE = {"parameters": "a parameter", "buffers": "a buffer", "modules": "a module", "attributes": "an attribute"}


def _plain(change: Change, value: Any) -> str:
    """What a change says by itself: a flag, a dtype, a shape, strides, a class."""
    if change.kind == "shape":
        return shape_text(value)
    if change.kind == "layout":
        return "row-major" if value is None else str(value)
    if change.kind == "values":
        return _LAZY[value]
    return _A_PLACE[value] if change.what == "place" else brief_text(str(value))


def _same_source(a: Document, x: Any, b: Document, y: Any) -> bool:
    """Whether two classes have the same source, as far as both files know it."""
    one, other = a.classes.get(x), b.classes.get(y)
    return one is not None and other is not None and one.digest is not None and one.digest == other.digest


def _parts(a: Document, b: Document, changes: Changes) -> Iterator[Finding]:
    """Where only one side is a checkpoint, the part of it that was probably meant."""
    roots = [change for change in changes.changes if change.kind in ("kind", "removed", "added", "class")]
    if changes.compared or not roots:
        return
    for key, document, start in (("key_a", a, changes.starts[0]), ("key_b", b, changes.starts[1])):
        try:
            parts = [brief(part) for part, _ in islice(parts_with_weights(document, start), _MAX_PARTS)]
        except LimitError:
            parts = []
        if parts:
            message = f"no tensor was compared, and one of the files has weights at {', '.join(parts)}."
            yield Finding("part", "note", "", message, f"Pass {key}={parts[0]} to compare these.")


def _around(a: Document, b: Document, changes: Changes) -> Iterator[Finding]:
    """What differs around two objects: where and with what they were saved; and what was not looked at."""
    if not changes.complete:
        message = "objects that one file shares, and the other has many times, were not all compared each time."
        yield Finding("shared", "note", "", message)
    yield from _parts(a, b, changes)
    if a.environment and b.environment:
        for name in sorted(a.environment.keys() | b.environment.keys()):
            before, after = a.environment.get(name, "none"), b.environment.get(name, "none")
            if before != after:
                yield Finding("environment", "note", "", f"saved with {name} {before} and {name} {after}.")
    if texts := [
        name for name in sorted(a.sources.keys() | b.sources.keys()) if a.sources.get(name) != b.sources.get(name)
    ]:
        message = f"the source text that the files keep differs: {brief_text(', '.join(texts))}."
        yield Finding("source", "note", "", message)
    for name in sorted(a.classes.keys() & b.classes.keys()):
        one, other = a.classes[name], b.classes[name]
        told = [
            f"{what} {before} and {after}"
            for what, before, after in (
                ("version", one.version, other.version),
                ("package", one.package, other.package),
            )
            if before != after
        ]
        if one.digest != other.digest:
            told.append("another source")
        if told:
            yield Finding("class", "note", name, f"is of {', '.join(told)} in the two files.")
