"""What stands between a file and today's code: which classes open, which changed, how weights fit, and what to call.

It looks at what the program has imported and at source text. Nothing is imported, made or run, and no tensor is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import msgspec
import torch

from ..document import (
    HELD_KINDS,
    ROLES,
    Candidate,
    ClassChange,
    Document,
    Explained,
    Opaque,
    Standing,
    Typed,
    Value,
    Way,
    has_state_dict,
    parts_with_weights,
)
from ..errors import ChangedClassError, LoadError, brief_text, in_code, printable
from . import registry
from .audit import Audit, _close_what_runs, _holders, audit
from .bind import SameBytes
from .candidates import Held, Imported, candidates, import_of, spelled
from .changed import Objects, change_of
from .fitting import Fitting, fit_of
from .registry import class_name
from .state import is_a
from .trust import Closed, Opened, Resolver, is_quiet, last_name

_CHANGING = ("module", "object", "derived")
_IN_LINE = 4
"""Most pairs that stand in one line of a call."""
_MAX_SOUGHT = 200
"""Most names that are looked for among what is imported."""
_LONGEST_NAME = 180
"""Longest name of a file that a call spells out."""


def explain(
    document: Document,
    start: Value,
    *,
    path: str,
    key: str,
    classes: Any,
    model: torch.nn.Module | None,
    same_bytes: SameBytes,
    texts: Mapping[str, str],
) -> Explained:
    """Hold a part of a file against the program.

    Args:
        document: a checked Document.
        start: the part.
        path: the file, for messages and calls.
        key: the argument that names the part in a call, such as ``", key='model'"``, or ``""``.
        classes: as `load` takes it.
        model: a model of today, to be filled.
        same_bytes: whether two stored tensors have the same bytes.
        texts: source text of modules that the file keeps, by their names.

    Raises:
        TypeError: `classes` or `model` is of another type.
    """
    if model is not None and not is_a(model, torch.nn.Module):
        raise TypeError(f"model is an nn.Module that the file's weights are for, not {type(model).__name__}")
    positions, _ = document.reachable(start)
    found = _Names(document, positions, Resolver(classes, ()))
    found.look()
    today = found.today()
    changes: list[ClassChange] = []
    for name, objects in found.objects.items():
        objects.is_root = any(node is document.node(start) for node in objects.nodes[:1])
        info, cls = document.classes.get(name), today.get(name)
        if info is not None and isinstance(cls, type):
            text = texts.get(name.partition(":")[0])
            change = change_of(document, objects, cls, info, today=today, text=text)
            if change is not None:
                changes.append(change)
    fitting = fit_of(document, start, model, path=path, same_bytes=same_bytes) if model is not None else None
    calls = _Calls(document, start, positions, path, key, found)
    way = calls.into(fitting) if fitting is not None else None
    whole = calls.load(changes, with_model=fitting is not None)
    return Explained(
        names=tuple(found.standings),
        changes=tuple(changes),
        fit=None if fitting is None else fitting.fit,
        way=way or (whole if fitting is None else msgspec.structs.replace(whole, note=_without(fitting, whole.note))),
        structure=whole.call if whole.checked and "route='skeleton'" not in whole.call else "",
    )


def _without(fitting: Fitting, note: str) -> str:
    """The note of a call that leaves the model out: why, and what there is instead."""
    why = "The file has no weights that could be compared with the model" if fitting.fit.problem else ""
    why = why or "No tensor of the file finds a place in the model, by name or by shape"
    return f"{why}: is this its file? {note}".rstrip()


@dataclass(slots=True)
class _Names:
    """Every name of a part, how it stands, and what it may be today."""

    document: Document
    positions: list[int]
    resolver: Resolver
    standings: list[Standing] = field(default_factory=list)
    objects: dict[str, Objects] = field(default_factory=dict)
    opened: dict[tuple[str, str], Opened] = field(default_factory=dict)
    proposed: dict[str, Any] = field(default_factory=dict)

    def look(self) -> None:
        """Open what opens, and look for the rest among what is imported."""
        closed = self._open()
        taken = frozenset(id(opened.obj) for opened in self.opened.values())
        imported = Imported() if closed else None
        order = {_name(node): i for i, node in enumerate(self.document.nodes) if _is_named(node)}
        every: dict[tuple[str, str], Closed | None] = {**dict.fromkeys(self.opened), **closed}
        for (name, role), why in sorted(every.items(), key=lambda it: order[it[0][0]]):
            if why is None:
                opened = self.opened[name, role]
                now = name if opened.how == "table" else class_name(opened.obj)
                how = {"table": "torch's own", "named": "given or registered", "imported": "imported where it was"}
                self.standings.append(Standing(name, role, "opens", now, how[opened.how]))
                if opened.how == "named" and registry.by_name(name) is None:
                    self.proposed[name] = opened.obj
            else:
                assert imported is not None
                self._propose(why, imported, taken)

    def _open(self) -> dict[tuple[str, str], Closed]:
        """As an audit does, without ending at what does not open."""
        document = self.document
        holders = _holders(document, self.positions)
        typed = [(i, node) for i in self.positions if _is_named(node := document.nodes[i])]
        lasts = Counter(last_name(name) for name in {_name(node) for _, node in typed})
        closed: dict[tuple[str, str], Closed] = {}
        known: dict[tuple[str, str, frozenset[str]], Opened | Closed] = {}
        for i, node in typed:
            name, role, held_by = _name(node), node.kind, holders.get(i, frozenset())
            if role in _CHANGING:
                self.objects.setdefault(name, Objects(name)).add(document, node)
            if (found := known.get((name, role, held_by))) is None:
                found = self.resolver.resolve(name, role, holders=held_by, lasts=lasts)  # type: ignore[arg-type]
                known[name, role, held_by] = found
            if isinstance(found, Opened):
                self.opened.setdefault((name, role), found)
            else:
                closed.setdefault((name, role), found)
        result = Audit(opened=dict(self.opened))
        _close_what_runs(document, self.positions, result, closed)
        for each in closed:
            self.opened.pop(each, None)
        return closed

    def _propose(self, closed: Closed, imported: Imported, taken: frozenset[int]) -> None:
        """Say how a name that does not open stands, and note the best that it may be."""
        name, role = closed.name, closed.role
        record = role in HELD_KINDS
        if len(self.standings) >= _MAX_SOUGHT:
            reason = f"{closed.reason}; the file has more names than are looked for"
            self.standings.append(Standing(name, role, "missing", None, reason, record=record))
            return
        if closed.way == "none" or len(printable(repr(name))) > _LONGEST_NAME:
            self.standings.append(Standing(name, role, "refused", None, closed.reason, record=record))
            return
        there = next((it for it in imported.alike(name) if class_name(it) == name), None)
        if there is not None and isinstance(Resolver({name: there}, ()).resolve(name, role, lasts={}), Opened):
            statements, entry = spelled({name: there})
            one = Candidate(name, "sure", "it is where it was", entry, "".join(statements[:1]))
            self.standings.append(Standing(name, role, "unnamed", name, closed.reason, (one,), record))
            self.proposed[name] = there
            return
        objects = self.objects.get(name)
        held = Held(objects.every, objects.some) if objects else Held()
        info = self.document.classes.get(name)
        status, ranked = candidates(closed, imported, held=held, info=info, taken=taken)
        best = ranked[0] if ranked and in_code(ranked[0][1].name) != "..." else None
        now = None if best is None else best[1].name
        told = tuple(candidate for _, candidate in ranked)
        self.standings.append(Standing(name, role, status, now, closed.reason, told, record))  # type: ignore[arg-type]
        if best is not None:
            self.proposed[name] = best[0]

    def today(self) -> dict[str, type]:
        """The class of today of every name: what opens, then what is proposed."""
        opened = {name: found.obj for (name, _), found in self.opened.items()}
        return {name: cls for name, cls in {**opened, **self.proposed}.items() if is_a(cls, type) and is_quiet(cls)}


def _is_named(node: object) -> TypeGuard[Typed]:
    return isinstance(node, Typed) and node.kind in ROLES


def _name(node: Typed) -> str:
    return node.text("name" if node.kind in ("function", "class") else "class")


@dataclass(slots=True)
class _Calls:
    """The calls that may be made, each held against the checks that it will meet."""

    document: Document
    start: Value
    positions: list[int]
    path: str
    key: str
    names: _Names

    def into(self, fitting: Fitting) -> Way | None:
        """`load_into`, with what it takes for the weights to fit; None where nothing does."""
        fit = fitting.fit
        if fit.problem or not fitting.checked:
            return None
        pairs = [(it.old, it.new) for it in fit.rename]
        rows = "\n".join(["[", *(f"    {pair!r}," for pair in pairs), "]"]) if len(pairs) > _IN_LINE else repr(pairs)
        arguments = self.key + (f", rename={rows}" if pairs else "")
        if fitting.allow:
            arguments += f", allow={{{', '.join(map(repr, fitting.allow))}}}"
        arguments += ", assign=True" * fitting.assign
        notes = []
        if any(it.sure == "guess" for it in fit.rename):
            notes.append("Shapes alone speak for some of these names: read the pairs that are marked 'guess' first.")
        if fitting.allow:
            kept = sum(kind in ("missing", "mismatched") for kind, *_ in fit.left)
            lost = sum(kind in ("unexpected", "mismatched") for kind, *_ in fit.left)
            notes.append(
                f"What is allowed is a loss: {kept} of the model's tensors keep the values that they have, and {lost} "
                "of the file's are left out."
            )
        return Way(f"torchkeep.load_into(model, {self.path!r}{arguments})", (), True, " ".join(notes))

    def load(self, changes: Sequence[ClassChange], *, with_model: bool) -> Way:
        """`load`, with the classes that were found; else what is left."""
        opaque = any(isinstance(self.document.nodes[i], Opaque) for i in self.positions)
        missing = [it for it in self.names.standings if it.now is None and not it.record and it.status != "opens"]
        if opaque:
            return self.other(
                "A part of it could not be saved and was left out, so the whole is not there.", with_model
            )
        if missing:
            lost = [it for it in missing if it.status == "missing"]
            names = ", ".join(brief_text(it.name, length=100) for it in (lost or missing)[:3])
            if lost:
                note = (
                    f"Nothing that is imported here fits {names}. If its class still exists, import it and ask again."
                )
            else:
                note = f"{names} {brief_text(missing[0].reason)}."
            return self.other(note, with_model)
        hooked = any(
            isinstance(node := self.document.nodes[i], Typed) and node.kind == "module" and "hooks" in node.fields
            for i in self.positions
        )
        given = self.names.proposed
        statements, entries = spelled(given)
        call = f"torchkeep.load({self.path!r}{self.key}"
        call += f", {entries}" * bool(given) + ', allow={"hooks"}' * hooked + ")"
        allow = {"hooks"} if hooked else set()
        notes = []
        unsure = [it for it in self.names.standings if it.status in ("moved", "renamed") and it.candidates]
        doubtful = [brief_text(it.name, length=100) for it in unsure if it.candidates[0].sure == "guess"]
        if doubtful:
            notes.append(f"A guess stands for {', '.join(doubtful[:3])}: look at it first.")
        if hooked:
            notes.append("The model had hooks, which no file holds: register them again.")
        if not self.names.standings:
            notes.append("It holds no classes, so this gives what stands there; pass a model of yours as model=.")
        records = [it for it in self.names.standings if it.record and it.now is None]
        if records:
            shown = ", ".join(brief_text(it.name, length=100) for it in records[:3])
            notes.append(f"Objects of {shown} come back as inert Records: no class for them is imported.")
        try:
            self._audit(given, allow)
        except ChangedClassError as error:
            return self._migrated(error, call, statements, given, allow, changes, notes, with_model)
        except LoadError as error:
            return self.other(brief_text(error.text.partition("\n")[0], length=400), with_model)
        return Way(call, statements, True, " ".join(notes))

    def _migrated(
        self,
        error: ChangedClassError,
        call: str,
        statements: tuple[str, ...],
        given: Mapping[str, Any],
        allow: set[str],
        changes: Sequence[ClassChange],
        notes: list[str],
        with_model: bool,
    ) -> Way:
        """`load` after the migrations that it asks for."""
        needed = [change for change in changes if (change.lacking or change.steps) and change.migration]
        try:
            if not any(change.steps for change in needed):  # such a step is asked for whatever is allowed
                self._audit(given, allow | {"changed"})
        except LoadError:
            needed = []
        if not needed:
            return self.other(brief_text(error.text.partition("\n")[0], length=400), with_model)
        lines = dict.fromkeys(statements)
        migrations: list[str] = []
        for change in needed:
            if in_code(change.now) != "..." and not change.now.startswith("__main__:"):
                lines.setdefault(import_of(change.now))
            text = change.migration.split("\n")
            at = next(i for i, line in enumerate(text) if line.startswith("def "))
            lines.update(dict.fromkeys(line for line in text[:at] if line))
            migrations += ["", "", *text[at:]]
        complete = all(change.complete for change in needed)
        if not complete:
            notes.insert(0, "Fill in what is left open (...) in the migration; then this call works.")
        else:
            notes.insert(0, "Read the migration: it says what the attributes that the file lacks are made of.")
        return Way(call, (*lines, *migrations, ""), False, " ".join(notes))

    def other(self, note: str, with_model: bool) -> Way:
        """What is left where the whole cannot be loaded: weights into a model, or the skeleton."""
        weights = has_state_dict(self.document, self.start)
        parts = [] if weights else [key for key, _ in parts_with_weights(self.document, self.start)]
        if (weights or len(parts) == 1) and not with_model:
            into = f"torchkeep.load_into(model, {self.path!r}{self.key})"
            note += f" For a model that you build there is {into}: pass it as model= to see how its weights fit."
        try:
            self._audit({}, set(), skeleton=True)
        except LoadError:
            return self._weights_alone(f"{note} No route to the whole is left.", with_model)
        if not any(isinstance(node := self.document.nodes[i], Typed) and node.kind == "module" for i in self.positions):
            return self._weights_alone(note, with_model)
        if any(isinstance(node := self.document.nodes[i], Typed) and "program" in node.fields for i in self.positions):
            note += " Its computation is in the file, and runs without the class."
            return Way(f"torchkeep.load({self.path!r}{self.key}, route='program')", (), True, note)
        note += " The skeleton is always there: the tree with its weights, which does not run."
        return Way(f"torchkeep.load({self.path!r}{self.key}, route='skeleton')", (), True, note)

    def _weights_alone(self, note: str, with_model: bool) -> Way:
        """`load_into`, where there is a model to be told of."""
        call = "" if with_model else f"torchkeep.load_into(model, {self.path!r}{self.key})"
        return Way(call if has_state_dict(self.document, self.start) else "", (), False, note)

    def _audit(self, given: Mapping[str, Any], allow: set[str], *, skeleton: bool = False) -> None:
        """What a load checks before it reads a tensor.

        Raises:
            LoadError: what it would raise.
        """
        resolver = Resolver(given, (), imported=not skeleton)
        audit(self.document, self.positions, resolver, path=self.path, skeleton=skeleton, allow=allow)
