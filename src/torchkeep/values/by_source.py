"""The choice between the classes that open and the source text that the file keeps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ..document import ROLES, Document, Finding, Typed
from ..errors import LoadError, TrustError, brief_text
from . import private
from .audit import Audit, audit
from .trust import Resolver, last_name


def audit_by(
    route: str,
    document: Document,
    positions: list[int],
    resolver: Resolver,
    *,
    path: str,
    run_source: bool = False,
    allow: Iterable[str] = (),
) -> tuple[Audit, str | None]:
    """Open every name that a part needs by a route, and run source text of the file where the caller said so.

    Args:
        route: ``"structure"``, ``"skeleton"``, ``"source"``, or ``"auto"``: structure where every class opens by it.
        document: a checked Document.
        positions: the nodes that are to be built.
        resolver: what the caller allowed.
        path: the file, for messages.
        run_source: whether the text may run.
        allow: losses that are accepted.

    Returns:
        The audit, and ``"source"`` where text was run for it.

    Raises:
        TrustError: names that do not open; for the route ``"source"``, that nobody said to run the text.
        SourceError: the text raised.
        LoadError: the file keeps no text, or what `audit` raises.
    """
    if route == "auto" and run_source and document.sources:
        try:
            found = audit(document, positions, resolver, path=path, allow=allow)
        except TrustError:
            pass
        else:
            if not found.inert:
                return found, None
    elif route != "source":
        return audit(document, positions, resolver, path=path, skeleton=route == "skeleton", allow=allow), None
    if not document.sources:
        raise LoadError(
            f"{path} keeps no source text: it was saved without source=True. Nothing was loaded. Give the classes: "
            f"torchkeep.load({path!r}, classes=[...]), or take route='skeleton'."
        )
    needed = _needed(document, positions)
    wanted = [name for name in needed if name.partition(":")[0] in document.sources]
    if not run_source:
        modules = brief_text(", ".join(sorted(document.sources)))
        raise TrustError(
            f"{path} keeps the source of its classes as text ({modules}), and text is not run without your word. "
            f"Nothing was loaded. Read it: torchkeep.inspect({path!r}).sources. To run it as code of this process, "
            f"with all that such code may do: torchkeep.load({path!r}, route='source', run_source=True)",
            names=tuple(sorted(wanted)),
        )
    lasts = Counter(map(last_name, needed))
    classes = private.run(document.sources, [name for name in wanted if not resolver.gives(name, lasts)], path=path)
    found = audit(document, positions, resolver.with_classes(classes), path=path, allow=allow)
    if classes:
        why = "its classes did not open, so " if route == "auto" else ""
        ran = brief_text(", ".join(private.modules_of(document.sources)))
        found.findings.append(
            Finding("source", "warning" if why else "note", "", f"{why}source text that the file keeps was run: {ran}.")
        )
    return found, "source"


def _needed(document: Document, positions: list[int]) -> list[str]:
    """Every class and function that the nodes of a part name, once each, in their order."""
    nodes = (document.nodes[position] for position in positions)
    return list(
        dict.fromkeys(
            node.text("name" if node.kind in ("function", "class") else "class")
            for node in nodes
            if isinstance(node, Typed) and node.kind in ROLES
        )
    )
