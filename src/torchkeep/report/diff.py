"""What differs between two files, told from the changes between their Documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from ..document import Finding
from ..errors import printable
from .reports import count
from .where import Step, Where

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
    _where: Where
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
