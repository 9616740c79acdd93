"""Which way back a load takes: on the classes, on the source text of the file, by the program, or as a skeleton."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from ..document import ROLES, Document, Finding, Opaque, Typed
from ..errors import LoadError, ProgramError, TrustError, brief_text, classes_in_code
from . import private
from .audit import Audit, audit
from .trust import Resolver, last_name


def audit_by_route(
    route: str,
    document: Document,
    positions: list[int],
    *,
    classes: Mapping[str, Any] | Iterable[Any] | None,
    trust: Iterable[str],
    path: str,
    run_source: bool = False,
    allow: Iterable[str] = (),
) -> Audit:
    """The audit of the route that a caller asked for, or, of ``"auto"``, of the first that is open.

    Args:
        route: ``"structure"``, ``"program"``, ``"source"``, ``"skeleton"``, or ``"auto"``.
        document: a checked Document.
        positions: the nodes that are to be built.
        classes: what the caller gave.
        trust: what the caller said to import.
        path: the file, for messages.
        run_source: whether source text of the file may run.
        allow: losses that are accepted.

    Raises:
        ProgramError: the part has no program, and it was asked for.
        TrustError: names that do not open; of the route ``"source"``, that nobody said to run the text.
        SourceError: the text raised.
        ChangedClassError, LoadError: the file keeps no text, or what `audit` raises.
    """
    if isinstance(classes, Iterator):
        classes = list(classes)  # two routes may look at them
    choice = _Choice(document, positions, classes, tuple(trust) if not isinstance(trust, str) else trust, path, allow)
    if route == "structure":
        return choice.structure()
    if route == "source":
        return choice.source(run_source, "")
    if route == "program":
        return choice.program()
    if route == "skeleton":
        return choice.skeleton()
    closed: LoadError | None = None
    try:
        found = choice.structure()
    except LoadError as error:
        if not (isinstance(error, TrustError) or choice.left_out):
            raise
        closed = error
    else:
        if not (found.inert and run_source and document.sources):
            return found
    if run_source and document.sources:
        return choice.source(run_source, "its classes did not open, so ")
    assert closed is not None
    if not choice.has_program:
        raise closed
    found = choice.program()
    found.findings.append(_told(closed))
    return found


class _Choice:
    """The routes of one load."""

    def __init__(
        self,
        document: Document,
        positions: list[int],
        classes: Mapping[str, Any] | Iterable[Any] | None,
        trust: Iterable[str],
        path: str,
        allow: Iterable[str],
    ) -> None:
        self._document = document
        self._positions = positions
        self._classes = classes
        self._trust = trust
        self._path = path
        self._allow = allow

    @property
    def has_program(self) -> bool:
        """Whether a module of the part has a program."""
        return any("program" in node.fields for node in self._typed() if node.kind == "module")

    @property
    def left_out(self) -> bool:
        """Whether something of the part could not be saved, so that its structure is closed."""
        return any(isinstance(self._document.nodes[position], Opaque) for position in self._positions)

    def structure(self) -> Audit:
        return self._audit(self._resolver())

    def skeleton(self) -> Audit:
        return self._audit(self._resolver(imported=False), skeleton=True)

    def program(self) -> Audit:
        if not self.has_program:
            raise ProgramError(
                f"{self._path} holds no computation: it was saved without example=, or could not be captured. Nothing "
                "was loaded. Load it with its classes, or save it again with an example of a call."
            )
        found = self.skeleton()
        found.taken = "program"
        found.findings = [finding for finding in found.findings if finding.code != "hooks"]  # it made their calls
        first = self._document.nodes[self._positions[0]]
        if isinstance(first, Typed) and first.kind == "module":  # its own objects were for the code of its class
            found.findings = [
                msgspec.structs.replace(finding, severity="note") if finding.code in _OF_OBJECTS else finding
                for finding in found.findings
            ]
        return found

    def source(self, run_source: bool, why: str) -> Audit:
        document, path = self._document, self._path
        if not document.sources:
            raise LoadError(
                f"{path} keeps no source text: it was saved without source=True. Nothing was loaded. Give the classes: "
                f"torchkeep.load({path!r}, classes=[...]), or take route='skeleton'."
            )
        needed = self._needed()
        wanted = [name for name in needed if name.partition(":")[0] in document.sources]
        if not run_source:
            modules = brief_text(", ".join(sorted(document.sources)))
            raise TrustError(
                f"{path} keeps the source of its classes as text ({modules}), and text is not run without your word. "
                f"Nothing was loaded. Read it: torchkeep.inspect({path!r}).sources. To run it as code of this process, "
                f"with all that such code may do: torchkeep.load({path!r}, route='source', run_source=True)",
                names=tuple(sorted(wanted)),
            )
        resolver, lasts = self._resolver(), Counter(map(last_name, needed))
        classes = private.run(document.sources, [name for name in wanted if not resolver.gives(name, lasts)], path=path)
        found = self._audit(resolver.with_classes(classes))
        found.taken = "source"
        if classes:
            ran = brief_text(", ".join(private.modules_of(document.sources)))
            message = f"{why}source text that the file keeps was run: {ran}."
            found.findings.append(Finding("source", "warning" if why else "note", "", message))
        return found

    def _resolver(self, *, imported: bool = True) -> Resolver:
        return Resolver(self._classes, self._trust, imported=imported)

    def _audit(self, resolver: Resolver, *, skeleton: bool = False) -> Audit:
        return audit(self._document, self._positions, resolver, path=self._path, skeleton=skeleton, allow=self._allow)

    def _typed(self) -> Iterator[Typed]:
        for position in self._positions:
            if isinstance(node := self._document.nodes[position], Typed):
                yield node

    def _needed(self) -> list[str]:
        """Every class and function that the nodes of the part name, once each, in their order."""
        return list(
            dict.fromkeys(
                node.text("name" if node.kind in ("function", "class") else "class")
                for node in self._typed()
                if node.kind in ROLES
            )
        )


def _told(closed: LoadError) -> Finding:
    """Why a model came back by its program, and how it comes back on its classes."""
    if not isinstance(closed, TrustError):
        message = "the model came back by its program: what could not be saved was left out of its structure."
        return Finding("program", "warning", "", message)
    names = ", ".join(map(brief_text, closed.names[:_SHOWN]))
    message = f"the model came back by its program, without its classes: {names} did not open."
    hint = f"To have it on its classes, pass {classes_in_code(closed.names)}; route='program' says that this is meant."
    return Finding("program", "warning", "", message, hint)


_OF_OBJECTS = ("record", "plain", "unsaveable")
"""Findings about what a model holds beside its weights."""

_SHOWN = 8
"""Names that a message lists."""
