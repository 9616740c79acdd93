"""Which way back a load takes: on the classes, by the program, or as a skeleton."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..document import Document, Finding, Opaque, Typed
from ..errors import LoadError, ProgramError, TrustError, brief_text, classes_in_code
from .audit import Audit, audit
from .trust import Resolver


def audit_by_route(
    document: Document,
    positions: list[int],
    *,
    route: str,
    classes: Mapping[str, Any] | Iterable[Any] | None,
    trust: Iterable[str],
    path: str,
    allow: Iterable[str],
) -> Audit:
    """The audit of the route that a caller asked for, or, of ``"auto"``, of the first that is open.

    Raises:
        ProgramError: the part has no program, and it was asked for.
        TrustError, ChangedClassError, LoadError: as of `audit`.
    """
    has_program = any("program" in node.fields for node in _typed(document, positions) if node.kind == "module")
    if route == "program" and not has_program:
        raise ProgramError(
            f"{path} holds no computation: it was saved without example=, or could not be captured. Nothing was "
            "loaded. Load it with its classes, or save it again with an example of a call."
        )
    if isinstance(classes, Iterator):
        classes = list(classes)  # two routes may look at them
    closed: LoadError | None = None
    if route in ("auto", "structure"):
        resolver = Resolver(classes, trust, imported=True)
        try:
            return audit(document, positions, resolver, path=path, allow=allow)
        except LoadError as error:
            left_out = any(isinstance(document.nodes[position], Opaque) for position in positions)
            if route == "structure" or not has_program or not (left_out or isinstance(error, TrustError)):
                raise
            closed = error
    resolver = Resolver(classes, trust, imported=False)
    result = audit(document, positions, resolver, path=path, skeleton=True, allow=allow)
    if route != "skeleton":
        result.programs = True
        result.findings = [finding for finding in result.findings if finding.code != "hooks"]
    if isinstance(closed, TrustError):
        names = ", ".join(map(brief_text, closed.names[:8]))
        message = f"the model came back by its program, without its classes: {names} did not open."
        hint = (
            f"To have it on its classes, pass {classes_in_code(closed.names)}; route='program' says that this is meant."
        )
        result.findings.append(Finding("program", "warning", "", message, hint))
    elif closed is not None:
        message = "the model came back by its program: what could not be saved was left out of its structure."
        result.findings.append(Finding("program", "warning", "", message))
    return result


def _typed(document: Document, positions: Iterable[int]) -> Iterator[Typed]:
    for position in positions:
        if isinstance(node := document.nodes[position], Typed):
            yield node
