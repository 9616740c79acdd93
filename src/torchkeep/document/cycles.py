"""V-4: what cannot change does not hold itself. A reader finds it when it builds; a writer, here, before it writes."""

from __future__ import annotations

from collections import Counter
from itertools import chain

from .kinds import CONTAINER_KINDS
from .model import Document
from .nodes import Map, Node, Ref, Seq, Typed, children

_MADE_EMPTY = CONTAINER_KINDS | {"object", "module", "optimizer", "torch.uninitialized"}
"""Kinds whose objects are there before what they hold is."""


def holding_itself(document: Document) -> int | None:
    """The position of a typed node from which references lead back to it past nothing that could be made first."""
    nodes = document.nodes
    typed = [i for i, node in enumerate(nodes) if isinstance(node, Typed) and _is_whole(document, node)]
    if not any(isinstance(child, Ref) for i in typed for child in children(nodes[i])):
        return None
    waits: dict[int, list[int]] = {}
    for i, node in enumerate(nodes):
        if not _is_whole(document, node):
            continue
        held = [child.index for child in children(node) if isinstance(child, Ref)]
        whole = [position for position in held if _is_whole(document, nodes[position])]
        maps = [position for position in held if isinstance(node, Typed) and isinstance(nodes[position], Map)]
        waits[i] = whole + maps
        for position in maps:  # the maps of such a node have to be complete, too
            inner = (child.index for child in children(nodes[position]) if isinstance(child, Ref))
            waits[position] = [index for index in inner if _is_whole(document, nodes[index])]
    left = Counter(chain.from_iterable(waits.values()))
    ready = [position for position in waits if not left[position]]
    while ready:
        for child in waits.pop(ready.pop()):
            left[child] -= 1
            if not left[child]:
                ready.append(child)
    return next((i for i in typed if i in waits and _leads_back(waits, i)), None)


def _is_whole(document: Document, node: Node) -> bool:
    """Whether a node is made at once, from what it holds."""
    if isinstance(node, Typed) and node.kind == "derived":
        held = document.node(node.fields["value"])
        return held is None or (not isinstance(held, Map) and _is_whole(document, held))
    if isinstance(node, Typed):
        return node.kind not in _MADE_EMPTY
    return isinstance(node, Seq) and node.kind in ("tuple", "frozenset")


def _leads_back(waits: dict[int, list[int]], start: int) -> bool:
    seen: set[int] = set()
    pending = list(waits[start])
    while pending:
        position = pending.pop()
        if position == start:
            return True
        if position not in seen:
            seen.add(position)
            pending.extend(waits.get(position, ()))
    return False
