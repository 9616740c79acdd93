"""What differs between two files, told from the changes between their Documents."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, TypeAlias

import msgspec

from ..document import (
    ATTRIBUTE,
    CARRYING_KINDS,
    OF_B,
    Change,
    Changes,
    Document,
    Finding,
    Places,
    Ref,
    TensorRef,
    Typed,
    parts_with_weights,
)
from ..errors import LimitError, brief, printable
from .file import in_brief
from .reports import count

Step: TypeAlias = None | bool | int | float | complex | str | bytes

_TEXT_LENGTH = 60
_MAX_STEPS = 50
"""Most steps of a place that are told; of a deeper one the last."""

_NAMED_PLACES = 3
"""Places that are named of a flag that differs at many."""


class Difference(msgspec.Struct, frozen=True, eq=False):
    """One difference between two files.

    Attributes:
        kind: ``"added"``, ``"removed"``, ``"renamed"`` (a tensor with the same bytes under another name), ``"dtype"``,
            ``"shape"``, ``"values"`` (of a tensor), ``"layout"`` (of its memory), ``"flag"``, ``"value"``, ``"class"``,
            ``"kind"`` (such as a list that became a tuple), ``"order"`` (of keys), ``"sharing"``.
        what: which flag (``"training"``, ``"requires_grad"``, ``"persistent"`` ...); or what sort of order, sharing,
            layout or values; else ``""``.
        before: what the first file has, in a few words; None for nothing.
        after: what the second file has.
        tensor: whether it is a difference of a tensor.
    """

    kind: str
    what: str
    before: str | None
    after: str | None
    tensor: bool
    _where: _Where
    _at: int
    _new: int | None = None

    @property
    def path(self) -> tuple[Step, ...]:
        """Where: keys, positions and names of attributes, as ``key=`` takes them; a key that is no scalar as text."""
        return self._where.path(self._at)

    @property
    def new_path(self) -> tuple[Step, ...] | None:
        """Where a renamed tensor is in the second file."""
        return None if self._new is None else self._where.path(self._new)

    @property
    def where(self) -> str:
        """The place as a person writes it: ``['model'].encoder.weight``; of a very deep one its end."""
        return self._where.text(self._at)

    @property
    def new_where(self) -> str | None:
        """The new place of a renamed tensor, likewise."""
        return None if self._new is None else self._where.text(self._new)

    def __str__(self) -> str:
        where = self.where or "the root"
        if self.kind in ("added", "removed"):
            return f"{'+' if self.kind == 'added' else '-'} {where}: {self.after or self.before}"
        if self.kind == "renamed":
            return f"> {where} is now {self.new_where}: the same bytes, {self.before}"
        return f"~ {where}: {self._told}"

    @property
    def _told(self) -> str:
        if self.kind == "values" and not self.what:
            return f"other values, {self.after}"
        label = _LABELS.get((self.kind, self.what), self.what or self.kind)
        return f"{label}{' ' if label else ''}{self.before} -> {self.after}"

    def __repr__(self) -> str:
        return f"Difference({str(self)!r})"

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data, for JSON. A path has at most its last 50 steps, after ``"..."``."""
        return {
            "kind": self.kind,
            "what": self.what,
            "path": self._where.steps(self._at),
            "where": self.where,
            "new_path": None if self._new is None else self._where.steps(self._new),
            "before": self.before,
            "after": self.after,
            "tensor": self.tensor,
        }


_LABELS = {
    ("value", ""): "",
    ("kind", ""): "",
    ("kind", "place"): "moved",
    ("values", "lazy"): "read through a lazy view,",
    ("layout", "strides"): "strides",
    ("layout", "view"): "views another part of its memory (values not compared), strides",
    ("order", "items"): "order of keys",
    ("order", "fields"): "order of fields",
    ("order", "parameters"): "order of parameters",
    ("order", "buffers"): "order of buffers",
    ("order", "modules"): "order of modules",
    ("order", "attributes"): "order of attributes",
    ("sharing", "object"): "sharing:",
    ("sharing", "memory"): "memory:",
}


class DiffReport(msgspec.Struct, frozen=True, eq=False):
    """What differs between two files. It is true whatever it says: ask `equal`.

    Attributes:
        a: the first file, with the part that was compared.
        b: the second file.
        differences: every difference.
        compared: how many tensors were compared with a counterpart.
        notes: what differs around the object and not in it: versions of packages, sources of classes.
    """

    a: str
    b: str
    differences: tuple[Difference, ...]
    compared: int
    notes: tuple[Finding, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether a load of either file gives the same object."""
        return not self.differences

    @property
    def tensors_equal(self) -> bool:
        """Whether both have the same tensors at the same places: names, dtypes, shapes and values."""
        return not any(_is_of_weights(each) for each in self.differences)

    @property
    def added(self) -> list[Difference]:
        """Tensors that only the second file has."""
        return [each for each in self.differences if each.tensor and each.kind == "added"]

    @property
    def removed(self) -> list[Difference]:
        """Tensors that only the first file has."""
        return [each for each in self.differences if each.tensor and each.kind == "removed"]

    @property
    def renamed(self) -> list[Difference]:
        """Tensors that have another name in the second file, and the same bytes."""
        return [each for each in self.differences if each.kind == "renamed"]

    @property
    def changed(self) -> list[Difference]:
        """Tensors that both files have, of another dtype, shape or values: the first such difference of each."""
        found = {each._at: each for each in reversed(self.differences) if each.tensor and _is_changed(each)}
        return list(reversed(found.values()))

    def text(self, *, limit: int | None = 200) -> str:
        """All of it as a person reads it.

        Args:
            limit: most lines of differences; None for all.
        """
        lines = [f"{printable(self.a)} -> {printable(self.b)}: {self._summary()}"]
        if self.compared or any(each.tensor for each in self.differences):
            names = ("changed", "added", "removed", "renamed")
            numbers = [f"{len(found):,} {name}" for name in names if (found := getattr(self, name))]
            lines.append(f"tensors  {', '.join([f'{self.compared:,} compared', *(numbers or ['none changed'])])}")
        told = list(_grouped(self.differences, all_places=limit is None))
        lines += [f"  {printable(str(line))}" for line in told[:limit]]
        if len(told) > len(told[:limit]):
            lines.append(f"  ... and {len(told) - len(told[:limit]):,} more")
        if self.notes:
            lines.append("notes")
            lines += [f"  {printable(str(note))}" for note in self.notes]
        return "\n".join(lines)

    def _summary(self) -> str:
        if not self.differences:
            return "no difference"
        return count(len(self.differences), "difference")

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data, for JSON."""
        return {
            "a": self.a,
            "b": self.b,
            "equal": self.equal,
            "tensors_equal": self.tensors_equal,
            "compared": self.compared,
            "counts": dict(Counter(each.kind for each in self.differences)),
            "differences": [each.to_dict() for each in self.differences],
            "notes": [{"code": n.code, "path": n.path, "message": n.message, "hint": n.hint} for n in self.notes],
        }

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return f"DiffReport(a={self.a!r}, b={self.b!r}, {self._summary()})"


_CHANGED = frozenset({"dtype", "shape", "values"})


def _is_changed(each: Difference) -> bool:
    return each.kind in _CHANGED or (each.kind, each.what) == ("layout", "view")


def _is_of_weights(each: Difference) -> bool:
    return each.tensor and (each.kind in ("added", "removed", "renamed", "kind") or _is_changed(each))


def _grouped(differences: Iterable[Difference], *, all_places: bool) -> Iterator[Difference | str]:
    """Lines: one a difference, those of tensors first; one for a flag that differs alike at many places."""
    alike: dict[tuple[str, str], list[Difference]] = {}
    ordered = sorted(differences, key=lambda each: not each.tensor)
    for each in ordered:
        if each.kind == "flag":
            alike.setdefault((each.what, each._told), []).append(each)
    for each in ordered:
        if each.kind != "flag" or all_places or len(same := alike[each.what, each._told]) == 1:
            yield each
        elif each is same[0]:
            places = ", ".join(one.where or "the root" for one in same[:_NAMED_PLACES])
            yield f"~ {each._told}, at {len(same):,} places: {places}{', ...' * (len(same) > _NAMED_PLACES)}"


# --- from changes -----------------------------------------------------------------------------------


class _Where:
    """Places of both files, and what their steps say."""

    def __init__(self, places: Places, a: Document, b: Document) -> None:
        self._places = places
        self._documents = (a, b)

    def _up(self, at: int, limit: int | None) -> list[int]:
        """The place and those above it, root first and without it; the last `limit` of them."""
        found: list[int] = []
        while at > 0 and (limit is None or len(found) < limit):
            found.append(at)
            at = self._places.above[at]
        return found[::-1] if at <= 0 else [-1, *found[::-1]]

    def _step(self, at: int) -> Step:
        step = self._places.steps[at]
        if not isinstance(step, Ref | TensorRef):
            return step
        document = self._documents[1 if self._places.bits[at] & OF_B else 0]
        return printable(document.tensors.name(step.index) if isinstance(step, TensorRef) else in_brief(document, step))

    def path(self, at: int) -> tuple[Step, ...]:
        return tuple(map(self._step, self._up(at, None)))

    def steps(self, at: int) -> list[None | bool | int | str]:
        steps = [step if type(step) in _JSON else brief(step) for step in self._told(at)]
        return [brief(step) if type(step) is int and abs(step) >= 2**53 else step for step in steps]  # type: ignore[misc]

    def _told(self, at: int) -> list[Step]:
        return ["..." if place < 0 else self._step(place) for place in self._up(at, _MAX_STEPS)]

    def text(self, at: int) -> str:
        parts: list[str] = []
        for place in self._up(at, _MAX_STEPS):
            if place < 0:
                parts.append("...")
            elif not self._places.bits[place] & ATTRIBUTE:
                node = isinstance(self._places.steps[place], Ref | TensorRef)
                parts.append(f"[{str(self._step(place)) if node else brief(self._step(place))}]")
            else:
                name = self._places.steps[place]
                assert isinstance(name, str)
                parts.append(f"[{name}]" if name.isdigit() else f".{printable(name)}")
        return "".join(parts)


_JSON = frozenset({type(None), bool, int, str})


def tell(changes: Changes, a: Document, b: Document, *, path_a: str, path_b: str) -> DiffReport:
    """The report of the changes between two Documents."""
    where = _Where(changes.places, a, b)
    differences = tuple(_difference(change, a, b, where) for change in changes.changes)
    return DiffReport(path_a, path_b, differences, changes.compared, tuple(_around(a, b, changes)))


def _difference(change: Change, a: Document, b: Document, where: _Where) -> Difference:
    before, after, new = None, None, None
    if change.kind == "removed":
        before = _value(a, change.a)
    elif change.kind == "added":
        after = _value(b, change.b)
    elif change.kind == "renamed":
        assert isinstance(change.b, int)
        before, new = _value(a, change.a), change.b
    elif change.kind == "values" and not change.what:
        before, after = _value(a, change.a), _value(b, change.b)
    elif change.kind in ("value", "kind") and not change.what:
        before, after = _both(a, change.a, b, change.b)
    elif change.kind == "sharing":
        before, after = (_shared(change.what, at, where) for at in (change.a, change.b))
    elif change.kind == "order":
        before, after = (_keys(document, keys) for document, keys in ((a, change.a), (b, change.b)))
    else:
        before, after = _plain(change, change.a), _plain(change, change.b)
        if change.kind == "class" and _same_source(a, change.a, b, change.b):
            after += ", the same source"
    return Difference(change.kind, change.what, before, after, change.tensor, where, change.at, new)


def _value(document: Document, value: Any) -> str:
    """A value in a few words."""
    node = document.node(value)
    if isinstance(node, Typed) and node.kind in CARRYING_KINDS:
        data = node.fields["data"]
        assert isinstance(data, TensorRef)
        shape = document.tensors.shape(data.index)
        if node.kind != "numpy.ndarray":
            return f"{node.kind} of {shape[0]:,} bytes"
        return f"{node.kind} {printable(node.text('dtype'))} {_shape(shape)}"
    if type(value) is int and value.bit_length() > _LONG_NBITS:
        return f"an int of {value.bit_length():,} bits"
    return in_brief(document, value)


_LONG_NBITS = 160


def _both(a: Document, x: Any, b: Document, y: Any) -> tuple[str, str]:
    """Two values that are not the same, so that they do not look the same either."""
    if type(x) is type(y) and isinstance(x, str | bytes) and max(len(x), len(y)) > _TEXT_LENGTH:
        start = max(0, _same_length(x, y) - _BEFORE)
        return _window(x, start), _window(y, start)
    before, after = _value(a, x), _value(b, y)
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
    shown = brief(text[start : start + _TEXT_LENGTH // 2])
    return f"{'...' * (start > 0)}{shown}{'...' * (start + _TEXT_LENGTH // 2 < len(text))} (of {len(text):,})"


def _bits(value: complex) -> str:
    parts = (value,) if isinstance(value, float) else (value.real, value.imag)
    return " ".join(struct.pack(">d", part).hex() for part in parts)


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _shared(what: str, at: object, where: _Where) -> str:
    if not isinstance(at, int):
        return "an object of its own" if what == "object" else "its own"
    place = where.text(at) or "the root"
    return f"the same object as {place}" if what == "object" else f"shared with {place}"


def _keys(document: Document, keys: Any) -> str:
    labels = (in_brief(document, key) if isinstance(key, Ref | TensorRef) else brief(key, length=30) for key in keys)
    return ", ".join(labels)


_LAZY = ("as it is stored", "conjugated", "negated", "conjugated and negated")
_A_PLACE = {"parameters": "a parameter", "buffers": "a buffer", "modules": "a module", "attributes": "an attribute"}


def _plain(change: Change, value: Any) -> str:
    """What a change says by itself: a flag, a dtype, a shape, strides, a class."""
    if change.kind == "shape":
        return _shape(value)
    if change.kind == "layout":
        return "row-major" if value is None else str(value)
    if change.kind == "values":
        return _LAZY[value]
    return _A_PLACE[value] if change.what == "place" else printable(str(value))


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
            parts = [brief(part) for part, _ in islice(parts_with_weights(document, start), _NAMED_PLACES)]
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
