"""Which nodes of a Document lead back to themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..document import Node, Ref, children


def on_cycles(nodes: Sequence[Node]) -> Iterator[int]:
    """Positions of nodes that lead back to themselves, through references of nodes alone.

    Tarjan's strongly connected components, without recursion: one pass, whatever is shared.
    """
    order: dict[int, int] = {}
    lowest: dict[int, int] = {}
    component: list[int] = []
    inside: set[int] = set()
    for start in range(len(nodes)):
        if start in order:
            continue
        levels: list[tuple[int, Iterator[int]]] = []
        following: int | None = start
        while following is not None or levels:
            if following is not None:
                order[following] = lowest[following] = len(order)
                component.append(following)
                inside.add(following)
                levels.append((following, iter(_below(nodes[following]))))
            here, below = levels[-1]
            following = None
            for child in below:
                if child not in order:
                    following = child
                    break
                if child in inside:
                    lowest[here] = min(lowest[here], order[child])
            if following is not None:
                continue
            levels.pop()
            if levels:
                above = levels[-1][0]
                lowest[above] = min(lowest[above], lowest[here])
            if lowest[here] == order[here]:
                at = len(component) - 1
                while component[at] != here:
                    at -= 1
                members = component[at:]
                del component[at:]
                inside.difference_update(members)
                if len(members) > 1 or here in _below(nodes[here]):
                    yield from members


def _below(node: Node) -> list[int]:
    return [child.index for child in children(node) if isinstance(child, Ref)]
