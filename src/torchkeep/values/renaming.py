"""Which names of a file stand for which of a model, by shapes, order and how alike the names are.

A proposal and no more: whoever asks holds it against the model, as a load does, before anybody sees it.
"""

from __future__ import annotations

import difflib
import functools
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from ..document import Renaming, Sure

_MAX_CELLS = 2_000_000
"""Most pairs that are weighed against each other in order; of more, only those of one kind that are alone count."""

Kind = Hashable
"""What two tensors have to have in common, such as a shape."""


def propose(
    saved: Mapping[str, Kind], wanted: Mapping[str, Kind], settled: Mapping[str, str]
) -> tuple[list[tuple[str, str]], dict[tuple[str, str], tuple[int, Sure]]]:
    """Pairs for `rename=`.

    Args:
        saved: names of the file that have no place in the model yet, in order, with what tells them apart.
        wanted: names of the model that nothing fills yet, likewise.
        settled: names of the file that have their place, and what it is called in the model.

    Returns:
        The pairs, and for each how many tensors it renames and how sure it is.
    """
    found: dict[str, str] = {}
    sure: dict[str, Sure] = {}
    _by_module(saved, wanted, found, sure)
    rest = {name: kind for name, kind in saved.items() if name not in found}
    free = {name: kind for name, kind in wanted.items() if name not in set(found.values())}
    for old, new, how in _paired(rest, free):
        found[old], sure[old] = new, how
    pairs = list(_grouped(found | dict(settled)))
    told: dict[tuple[str, str], tuple[int, Sure]] = {}
    for pair in pairs:
        below = [name for name in found if name == pair[0] or not pair[0] or name.startswith(pair[0] + ".")]
        worst = max((_ORDER.index(sure[name]) for name in below), default=0)
        told[pair] = (len(below), _ORDER[worst])
    return [pair for pair in pairs if told[pair][0] or pair[0] != pair[1]], told


_ORDER: list[Sure] = ["sure", "likely", "guess"]


def renamings(
    pairs: Sequence[tuple[str, str]], told: Mapping[tuple[str, str], tuple[int, Sure]]
) -> tuple[Renaming, ...]:
    """The pairs as a report has them."""
    return tuple(Renaming(old, new, *told[old, new]) for old, new in pairs)


def _by_module(
    saved: Mapping[str, Kind], wanted: Mapping[str, Kind], found: dict[str, str], sure: dict[str, Sure]
) -> None:
    """Match whole modules: those whose tensors have the same last names and shapes."""
    ours, theirs = _modules(saved), _modules(wanted)
    for old, new, how in _paired(_kinds(ours), _kinds(theirs)):
        for leaf in ours[old]:
            one, other = _joined(old, leaf), _joined(new, leaf)
            found[one], sure[one] = other, how


def _modules(names: Mapping[str, Kind]) -> dict[str, dict[str, Kind]]:
    found: dict[str, dict[str, Kind]] = {}
    for name, kind in names.items():
        module, _, leaf = name.rpartition(".")
        found.setdefault(module, {})[leaf] = kind
    return found


def _kinds(modules: Mapping[str, Mapping[str, Kind]]) -> dict[str, Kind]:
    return {name: frozenset(leaves.items()) for name, leaves in modules.items()}


def _joined(module: str, leaf: str) -> str:
    return f"{module}.{leaf}" if module else leaf


def _paired(ours: Mapping[str, Kind], theirs: Mapping[str, Kind]) -> list[tuple[str, str, Sure]]:
    """Pairs of one kind: first in order, weighing how alike the names are; then those that are left, best first."""
    pairs = _aligned(ours, theirs) if len(ours) * len(theirs) <= _MAX_CELLS else []
    rest = {name: kind for name, kind in ours.items() if name not in {old for old, _ in pairs}}
    free = {name: kind for name, kind in theirs.items() if name not in {new for _, new in pairs}}
    by_kind: dict[Kind, list[str]] = {}
    for name, kind in free.items():
        by_kind.setdefault(kind, []).append(name)
    for name, kind in rest.items():
        left = by_kind.get(kind, [])[:_MAX_CHOICES]
        if left:
            best = max(left, key=lambda it: likeness(name, it))
            by_kind[kind].remove(best)
            pairs.append((name, best))
    alone = Counter(ours.values()), Counter(theirs.values())
    placed = {name: i for i, name in enumerate(theirs)}
    return [(old, new, _how_sure(old, new, ours, theirs, alone, placed, dict(pairs))) for old, new in pairs]


_MAX_CHOICES = 200
"""Most places that are weighed for a name that is out of order."""


def _how_sure(
    old: str,
    new: str,
    ours: Mapping[str, Kind],
    theirs: Mapping[str, Kind],
    alone: tuple[Counter[Kind], Counter[Kind]],
    placed: Mapping[str, int],
    pairs: Mapping[str, str],
) -> Sure:
    """Whether another place would do as well.

    It is sure where no other has its shapes; likely where as many are there as are wanted, in the same order, or where
    the names are alike.
    """
    kind = ours[old]
    if alone[0][kind] == alone[1][kind] == 1:
        return "sure"
    same = [name for name in ours if ours[name] == kind]
    orderly = alone[0][kind] == alone[1][kind] and all(name in pairs for name in same)
    positions = [placed[pairs[name]] for name in same] if orderly else []
    if positions == sorted(positions) and orderly:
        return "likely"
    return "likely" if likeness(old, new) >= _ALIKE else "guess"


_ALIKE = 0.75


@functools.lru_cache(maxsize=1 << 16)
def likeness(one: str, other: str) -> float:
    """How alike two names are, from 0 to 1: most by what they end in, part by part, then by their letters."""
    ours, theirs = one.split("."), other.split(".")
    tail = 0
    for a, b in zip(reversed(ours), reversed(theirs), strict=False):
        if a != b:
            break
        tail += 1
    numbers = [part for part in ours if part.isdigit()] == [part for part in theirs if part.isdigit()]
    longest = max(len(ours), len(theirs))
    letters = difflib.SequenceMatcher(None, one[-100:], other[-100:], autojunk=False).quick_ratio()
    return 0.5 * tail / longest + 0.2 * numbers + 0.3 * letters


def _aligned(ours: Mapping[str, Kind], theirs: Mapping[str, Kind]) -> list[tuple[str, str]]:
    """The best pairs that keep the order of both, by dynamic programming."""
    rows, columns = list(ours.items()), list(theirs.items())
    best = [[0.0] * (len(columns) + 1) for _ in range(len(rows) + 1)]
    for i, (name, kind) in enumerate(rows, 1):
        above, line = best[i - 1], best[i]
        for j, (other, its) in enumerate(columns, 1):
            line[j] = max(above[j], line[j - 1])
            if kind == its:
                line[j] = max(line[j], above[j - 1] + 1 + likeness(name, other))
    pairs: list[tuple[str, str]] = []
    i, j = len(rows), len(columns)
    while i and j:
        if best[i][j] == best[i - 1][j]:
            i -= 1
        elif best[i][j] == best[i][j - 1]:
            j -= 1
        else:
            i, j = i - 1, j - 1
            pairs.append((rows[i][0], columns[j][0]))
    return pairs[::-1]


# --- from names to prefixes -------------------------------------------------------------------------


@dataclass(slots=True)
class _Branch:
    """Names with a common beginning, part by part, and what each becomes."""

    prefix: str
    names: list[tuple[str, str]] = field(default_factory=list)
    inner: dict[str, _Branch] = field(default_factory=dict)


def _grouped(renamed: Mapping[str, str]) -> list[tuple[str, str]]:
    """The fewest pairs of prefixes that rename just so; names that stay need none."""
    root = _Branch("")
    for old, new in renamed.items():
        at = root
        at.names.append((old, new))
        parts = old.split(".")
        for i, part in enumerate(parts):
            at = at.inner.setdefault(part, _Branch(".".join(parts[: i + 1])))
            at.names.append((old, new))
    pairs: list[tuple[str, str]] = []
    waiting = [root]
    while waiting:
        branch = waiting.pop()
        becomes = _one_new(branch)
        if becomes is None:
            waiting += reversed(branch.inner.values())
        elif becomes != branch.prefix:
            pairs.append((branch.prefix, becomes))
    return pairs


def _one_new(branch: _Branch) -> str | None:
    """What the common beginning of a branch becomes, if that says all; None where its names go several ways."""
    found: set[str] = set()
    for old, new in branch.names:
        tail = old[len(branch.prefix) + 1 :] if branch.prefix else old
        if old == branch.prefix:
            found.add(new)
        elif new == tail:
            found.add("")
        elif new.endswith("." + tail):
            found.add(new[: -len(tail) - 1])
        else:
            return None
        if len(found) > 1:
            return None
    return found.pop() if found else branch.prefix
