"""What stands between a file and today's code, as `explain` tells it. The last lines are the call to make."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from ..document import ClassChange, Fit, Renaming, Standing, Way
from ..errors import brief, brief_text, printable
from .reports import Route, count

_WIDEST = 2000
"""Most characters of a line that is no code to paste: a name in a file has any length."""
_SHOWN = 30
"""Names of one sort that are listed unless all are asked for."""


class ExplainReport(msgspec.Struct, frozen=True):
    """What stands between a file and today's code.

    Attributes:
        path: the file.
        kind: ``"torchkeep"`` or ``"safetensors"``.
        names: every class and function that the part names, and how it stands in this program.
        changes: classes whose source changed, or whose source is not to be had.
        fit: how the weights fit the model that was passed; None without one.
        routes: the ways to load the file, and what each lacks, as in `FileReport`.
        way: the one call to make, with what belongs before it.
    """

    path: str
    kind: str
    names: tuple[Standing, ...]
    changes: tuple[ClassChange, ...]
    fit: Fit | None
    routes: tuple[Route, ...]
    way: Way

    @property
    def clear(self) -> bool:
        """Whether nothing stands between: every class opens as it is, unchanged, and the weights fit the model."""
        fits = self.fit is None or not (self.fit.rename or self.fit.left or self.fit.problem)
        return fits and not self.changes and all(it.status == "opens" for it in self.names)

    @property
    def code(self) -> str:
        """What to paste: imports, migrations, and the call; ``""`` where no call is left."""
        return "\n".join([*self.way.before, self.way.call]) if self.way.call else ""

    def text(self, *, limit: int | None = 200) -> str:
        """All of it as a person reads it.

        Args:
            limit: most lines of each section; None for all. What is to be pasted is never cut.
        """
        lines = [f"{self.path}: {self.kind} file"]
        if self.clear:
            lines.append("nothing stands between this file and today's code")
        most = _SHOWN if limit is not None else None
        for heading, section in (
            ("classes", self._names()),
            ("changes", self._changes(most)),
            ("weights", self._fit(most)),
            ("routes", self._routes()),
        ):
            told = list(section)
            if told:
                lines += [heading, *(f"  {line}" for line in told[:limit])]
                if len(told) > len(told[:limit]):
                    lines.append(f"  ... and {len(told) - len(told[:limit]):,} more lines")
        lines.append("next")
        if self.way.note:
            lines.append(f"  {self.way.note}")
        if not self.way.call:
            lines.append("  There is no call to propose.")
        elif self.way.checked:
            lines.append("  This call passes every check that is made before tensors are read:")
        else:
            lines.append("  Then:" if self.way.note else "  The call:")
        lines = [brief_text(line, length=_WIDEST) for line in lines]
        lines += ["", *map(printable, self.code.split("\n"))] if self.way.call else []
        return "\n".join(lines)

    def _names(self) -> Iterator[str]:
        for standing in self.names:
            head = f"{standing.role:9s} {standing.name}"
            if standing.status == "opens":
                now = "" if standing.now == standing.name else f" as {standing.now}"
                yield f"{head}  opens{now} ({standing.reason})"
                continue
            record = "; without it, a plain builtin or an inert Record" if standing.record else ""
            yield f"{head}  {_STATUS[standing.status]} ({standing.reason}{record})"
            for candidate in standing.candidates:
                after = f"  after: {candidate.statement}" if candidate.statement else ""
                yield f"  {candidate.name}  {candidate.sure}: {candidate.why or 'it is of that kind'}"
                yield f"    {candidate.entry}{after}"

    def _changes(self, most: int | None) -> Iterator[str]:
        for change in self.changes:
            yield from _change(change, most)

    def _fit(self, most: int | None) -> Iterator[str]:
        fit = self.fit
        if fit is None:
            return
        if fit.problem:
            yield from fit.problem.split("\n")
            return
        now = " under the names below" if fit.rename else ""
        part = f" (the file's {fit.part})" if fit.part else ""
        yield f"{fit.matched:,} of {count(fit.total, 'tensor')} of the model are filled{now}{part}"
        for word, names in (("missing", fit.missing), ("unexpected", fit.unexpected)):
            yield from _cut([f"{word}: {name}" for name in names], most)
        yield from _cut([f"mismatched: {name}: file {ours}, model {its}" for name, ours, its in fit.mismatched], most)
        yield from _cut(list(_pairs(fit.rename)), most)
        if fit.rename and fit.left:
            yield from _cut([f"left {kind}: {name}: {what}" for kind, name, what in fit.left], most)

    def _routes(self) -> Iterator[str]:
        for route in self.routes:
            yield f"{route.name:9s} {'open' if route.open else 'closed'}: {route.call}"
            yield from (f"          lacks {lack}" for lack in route.lacks)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data, for JSON."""
        return {
            "path": self.path,
            "kind": self.kind,
            "clear": self.clear,
            "names": _plain(self.names),
            "changes": _plain(self.changes),
            "fit": _plain(self.fit),
            "routes": [{"name": r.name, "open": r.open, "lacks": list(r.lacks), "call": r.call} for r in self.routes],
            "way": _plain(self.way) | {"code": self.code},
        }

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return f"ExplainReport(path={self.path!r}, clear={self.clear}, call={self.way.call!r})"


def _plain(value: Any) -> Any:
    """Data as JSON has it."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, msgspec.Struct):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    return value


def still_lacking(
    routes: tuple[Route, ...], names: tuple[Standing, ...], changes: tuple[ClassChange, ...], call: str
) -> tuple[Route, ...]:
    """The routes of a file without what this program has.

    Args:
        routes: as the file alone tells them.
        names: how its names stand here.
        changes: its classes that changed.
        call: the call that loads the whole, where there is one.
    """
    known = {it.name: it for it in names}
    older = [
        f"a migration of {it.now}: {', '.join(it.lacking) or f'from version {it.steps[0]}'}"
        for it in changes
        if it.lacking or it.steps
    ]
    found = []
    for route in routes:
        if route.name == "structure":
            lacks: list[str] = []
            is_open = not older
            for lack in route.lacks:
                standing = known.get(lack.partition(": ")[0])
                if standing is not None and standing.status == "opens":
                    continue
                is_open = is_open and standing is not None and standing.record
                entry = standing.candidates[0].entry if standing is not None and standing.candidates else None
                lacks.append(f"{lack.partition(': ')[0]}: {entry}" if entry else lack)
            route = Route(route.name, is_open, (*lacks, *older), call or route.call)
        found.append(route)
    return tuple(found)


_STATUS = {
    "unnamed": "is where it was, and opens when it is named",
    "moved": "moved",
    "renamed": "renamed",
    "missing": "missing: nothing that is imported here fits",
    "refused": "does not open",
}


def _pairs(rename: tuple[Renaming, ...]) -> Iterator[str]:
    """Pairs that differ in their numbers alone on one line."""
    alike: dict[tuple[str, str, str], list[Renaming]] = {}
    for pair in rename:
        (old, its), (new, others) = _masked(pair.old), _masked(pair.new)
        names = (old, new) if its == others else (pair.old, pair.new)
        alike.setdefault((*names, pair.sure), []).append(pair)
    for (old, new, sure), pairs in alike.items():
        if len(pairs) == 1:
            old, new = pairs[0].old, pairs[0].new
        times = f" in {len(pairs):,} pairs" if len(pairs) > 1 else ""
        yield f"rename {brief(old)} -> {brief(new)}  {count(sum(it.tensors for it in pairs), 'tensor')}{times}, {sure}"


def _masked(name: str) -> tuple[str, list[str]]:
    """A name without its numbers, and these."""
    parts = name.split(".")
    return ".".join("*" if part.isdigit() else part for part in parts), [part for part in parts if part.isdigit()]


def _cut(lines: list[str], most: int | None) -> Iterator[str]:
    """Lines of one sort, the first of them where they are many."""
    yield from lines[:most]
    if len(lines) > len(lines[:most]):
        yield f"... and {len(lines) - len(lines[:most]):,} more"


def _change(change: ClassChange, most: int | None) -> Iterator[str]:
    what = {
        True: "its source changed",
        False: "its source is the same",
        None: "whether its source changed is not known",
    }
    yield f"{change.name}: {what[change.changed]}" + (f"; it is {change.now} now" if change.now != change.name else "")
    modules = {name for name, _ in (*change.modules_added, *change.modules_gone)}
    lacking = [name for name in change.lacking if name not in modules]
    gone = [name for name in change.gone if name not in modules]
    rows = [
        *(f"+ {name}: today's __init__ assigns it, and the file lacks it" for name in lacking),
        *(f"+ a migration from version {step}: the class is registered with a later one" for step in change.steps),
        *(f"- {name}: the file has it, and today's class does not assign it" for name in gone),
        *(f"+ argument {name}" for name in change.arguments_added),
        *(f"- argument {name}" for name in change.arguments_gone),
        *(f"+ submodule {name}: {cls}, which the file lacks" for name, cls in change.modules_added),
        *(f"- submodule {name}: {cls}, which today's class does not have" for name, cls in change.modules_gone),
        *(f"~ submodule {name}: {before} in the file, {now} today" for name, before, now in change.modules_changed),
        *(f"~ tensor {name}: {before} in the file, {now} today: {why}" for name, before, now, why in change.tensors),
    ]
    yield from (f"  {line}" for line in _cut(rows, most))
    if change.modules_changed:
        yield "  load gives the submodules of the file, of the classes that they had"
    if change.tensors:
        yield "  load gives the shapes of the file; load_into a model that is built today asks for those of today"
    if not rows and change.changed:
        yield "  no attribute, argument or submodule differs, as far as its text tells"
    yield from (f"  unsure: {why}" for why in change.unsure)
    if change.diff:
        yield from (f"  | {line}" for line in change.diff.split("\n"))
    if change.migration:
        yield "  a migration" + ("" if change.lacking or change.steps else ", if what went should not come back") + ":"
        yield from (f"      {line}" for line in change.migration.split("\n"))
