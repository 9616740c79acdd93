"""Which names of a file stand for which of a model, by shapes, order and how alike the names are.

A proposal and no more: whoever asks holds it against the model, as a load does, before anybody sees it.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from ..document import Renaming, Sure

_MAX_CELLS = 200_000
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
    below: dict[str, list[int]] = {old: [] for old, _ in pairs}
    for name in found:
        parts = name.split(".")
        for prefix in ("", *(".".join(parts[:i]) for i in range(1, len(parts) + 1))):
            if prefix in below:
                below[prefix].append(_ORDER.index(sure[name]))
    told: dict[tuple[str, str], tuple[int, Sure]] = {
        (old, new): (len(below[old]), _ORDER[max(below[old], default=0)]) for old, new in pairs
    }
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
    """Pairs of one kind: in order, weighing how alike the names are; then those that are left, best first."""
    if list(ours.values()) == list(theirs.values()):
        pairs = dict(zip(ours, theirs, strict=True))
    else:
        pairs = dict(_aligned(ours, theirs) if len(ours) * len(theirs) <= _MAX_CELLS else _in_order(ours, theirs))
    used = set(pairs.values())
    free = _by_kind({name: kind for name, kind in theirs.items() if name not in used})
    for name, kind in ours.items():
        left = free.get(kind, [])
        if name not in pairs and left:
            pairs[name] = max(left[:_MAX_CHOICES], key=lambda it: likeness(name, it))
            left.remove(pairs[name])
    there = _by_kind(theirs)
    placed = {name: i for i, name in enumerate(theirs)}
    found: list[tuple[str, str, Sure]] = []
    for kind, names in _by_kind(ours).items():
        paired = _by_name_if_better([name for name in names if name in pairs], pairs)
        whole = len(paired) == len(names) == len(there.get(kind, ()))
        positions = [placed[new] for _, new in paired]
        orderly = whole and positions == sorted(positions)
        every = {masked(new) for _, new in paired}
        alone = whole and len(paired) == 1
        found += [(old, new, "sure" if alone else _how_sure(old, new, every, orderly)) for old, new in paired]
    return found


_MAX_CHOICES = 64
"""Most places that are weighed for a name."""


def _by_kind(names: Mapping[str, Kind]) -> dict[Kind, list[str]]:
    found: dict[Kind, list[str]] = {}
    for name, kind in names.items():
        found.setdefault(kind, []).append(name)
    return found


def _in_order(ours: Mapping[str, Kind], theirs: Mapping[str, Kind]) -> list[tuple[str, str]]:
    """Pairs of those kinds of which both have as many, one by one."""
    there = _by_kind(theirs)
    names = ((olds, there.get(kind, [])) for kind, olds in _by_kind(ours).items())
    return [pair for olds, news in names if len(olds) == len(news) for pair in zip(olds, news, strict=True)]


def _by_name_if_better(names: Sequence[str], pairs: Mapping[str, str]) -> list[tuple[str, str]]:
    """The pairs of one kind as the order has them, or as the names have them where these speak clearly against it."""
    if not 1 < len(names) <= _MAX_CHOICES:
        return [(name, pairs[name]) for name in names]
    every = sorted(((likeness(old, pairs[it]), old, pairs[it]) for old in names for it in names), reverse=True)
    chosen: dict[str, str] = {}
    taken: set[str] = set()
    for _, old, new in every:
        if old not in chosen and new not in taken:
            chosen[old] = new
            taken.add(new)
    gain = sum(_alike(name, chosen[name]) - _alike(name, pairs[name]) for name in names)
    best = chosen if gain > _CLEARLY * len(names) else pairs
    return [(name, best[name]) for name in names]


def masked(name: str) -> str:
    """A name without its numbers: what is counted moves up and down, and only the order tells."""
    return ".".join("*" if part.isdigit() else part for part in name.split("."))


def _alike(one: str, other: str) -> float:
    return likeness(masked(one), masked(other))


_CLEARLY = 0.05
"""How much more alike names have to be, on average, to count for more than the order."""


def _how_sure(old: str, new: str, every: set[str], orderly: bool) -> Sure:
    """Whether another place of the same shapes would do as well.

    It is likely where as many are there as are wanted, in the same order, and no other name is clearly more alike; or
    where the names are alike by themselves.
    """
    alike = _alike(old, new)
    others = list(every - {masked(new)})[:_MAX_CHOICES]
    rivals = max((likeness(masked(old), it) for it in others), default=0.0)
    if orderly and rivals <= alike + _CLEARLY:
        return "likely"
    return "likely" if alike >= _ALIKE and rivals < alike else "guess"


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
    if len(ours) == len(theirs):
        letters = sum(map(_letters, ours, theirs)) / longest
    else:
        letters = _letters(one, other)
    return 0.4 * tail / longest + 0.2 * numbers + 0.4 * letters


def _letters(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one[-_MAX_LETTERS:], other[-_MAX_LETTERS:], autojunk=False).quick_ratio()


_MAX_LETTERS = 100
"""Most letters of a name that are compared."""


_MATCH = 16
"""What a pair counts for, against at most 1 for how alike its names are: as many as can be find a place."""


def _aligned(ours: Mapping[str, Kind], theirs: Mapping[str, Kind]) -> list[tuple[str, str]]:
    """The best pairs that keep the order of both, by dynamic programming."""
    rows, columns = list(ours.items()), list(theirs.items())
    best = [[0.0] * (len(columns) + 1) for _ in range(len(rows) + 1)]
    for i, (name, kind) in enumerate(rows, 1):
        above, line = best[i - 1], best[i]
        for j, (other, its) in enumerate(columns, 1):
            line[j] = max(above[j], line[j - 1])
            if kind == its:
                line[j] = max(line[j], above[j - 1] + _MATCH + likeness(name, other))
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
