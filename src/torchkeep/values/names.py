"""Which name of a file stands for which name of a target: renames that the caller gives, and prefixes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from ..errors import BindError

Rename: TypeAlias = "Mapping[str, str] | Iterable[tuple[str, str]] | Callable[[str], str | None]"

_WRAPPERS = frozenset(
    {
        "_orig_mod",  # torch.compile
        "_fsdp_wrapped_module",
        "_checkpoint_wrapped_module",
        "_forward_module",  # Lightning Fabric
    }
)
"""Names under which a wrapper keeps the module it wraps, anywhere on the way."""

_MAX_PREFIX = 16
"""Most parts of a common prefix that are tried; wrappers are few, and names of a file may be anything."""

_LEADING_WRAPPER = "module"
"""DataParallel's and DistributedDataParallel's: only at the beginning, since models use the word, too."""


def rename(names: Sequence[str], how: Rename | None, *, where: str) -> dict[str, str]:
    """New name of each name that the caller's `rename=` keeps.

    Args:
        names: names of the file.
        how: pairs ``(old, new)``, each for a whole name or for the part before a dot (``""`` is the part
            before everything), the first that fits a name being taken; or a function from a name to a new
            one, or to None to leave it out.
        where: the file, for messages.

    Raises:
        BindError: a pair fits no name, or two names become one.
    """
    if how is None:
        return {name: name for name in names}
    if callable(how):
        renamed = {name: new for name in names if (new := how(name)) is not None}
    else:
        pairs = list(how.items() if isinstance(how, Mapping) else how)
        unused = set(range(len(pairs)))
        renamed = {}
        for name in names:
            renamed[name] = name
            for i, (old, new) in enumerate(pairs):
                if (tail := _after(name, old)) is not None:
                    renamed[name] = f"{new}.{tail}" if new and tail else new or tail
                    unused.discard(i)
                    break
        if unused:
            old = pairs[min(unused)][0]
            raise BindError(
                f"rename: {old!r} begins no name in {where}; names there look like {_sample(names)}. The target was "
                "not changed. Give the part of the name before a dot, or the whole name."
            )
    _require_distinct(renamed, where)
    return renamed


def _after(name: str, old: str) -> str | None:
    """What follows `old` in `name`, if it is a part before a dot; "" where it is the whole name."""
    if name == old:
        return ""
    if old == "":
        return name
    prefix = old if old.endswith(".") else old + "."
    return name[len(prefix) :] if name.startswith(prefix) else None


def _require_distinct(renamed: Mapping[str, str], where: str) -> None:
    first: dict[str, str] = {}
    for old, new in renamed.items():
        if new in first:
            raise BindError(
                f"rename: {first[new]!r} and {old!r} of {where} both become {new!r}. The target was not changed."
            )
        first[new] = old


def match_prefixes(names: Sequence[str], wanted: Sequence[str]) -> dict[str, str]:
    """For each name of a file, the target's name that it stands for, where only a prefix is in the way.

    Names that are equal stand for each other. Otherwise wrappers are looked through on both sides, then a
    common prefix is taken off or put on: each only if no two names become one, if more names match than
    without it, and, for an unknown prefix, if every name of one side then finds its place.

    Returns:
        The new name of each name; itself where nothing was found.
    """
    targets = set(wanted)
    best = {name: name for name in names}
    best_count = len(targets.intersection(names))
    if best_count == len(targets) == len(names):
        return best
    for candidate, known in _candidates(names, wanted):
        if len(set(candidate.values())) != len(candidate):
            continue
        count = len(targets.intersection(candidate.values()))
        complete = count in (len(names), len(targets))
        if count > best_count and (known or complete):
            best, best_count = candidate, count
    return best


def _candidates(names: Sequence[str], wanted: Sequence[str]) -> Iterator[tuple[dict[str, str], bool]]:
    """Ways to rename, each with whether it only looks through known wrappers."""
    by_core: dict[str, str] = {}
    for target in wanted:
        by_core.setdefault(_core(target), target)
    if len(by_core) == len(wanted):
        yield {name: by_core.get(_core(name), name) for name in names}, True
    for prefix in _shared_prefixes(names):
        yield {name: name[len(prefix) :] for name in names}, False
        yield {name: by_core.get(_core(name[len(prefix) :]), name) for name in names}, False
    for prefix in _shared_prefixes(wanted):
        yield {name: prefix + name for name in names}, False


def _core(name: str) -> str:
    """A name without the wrappers it goes through."""
    parts = [part for part in name.split(".") if part not in _WRAPPERS]
    while len(parts) > 1 and parts[0] == _LEADING_WRAPPER:
        parts = parts[1:]
    return ".".join(parts)


def _shared_prefixes(names: Sequence[str]) -> Iterator[str]:
    """``"a."``, ``"a.b."`` ...: what all names begin with, part by part."""
    if not names:
        return
    first = min(names).split(".")
    last = max(names).split(".")
    prefix = ""
    for one, other in zip(first[:-1][:_MAX_PREFIX], last[:-1][:_MAX_PREFIX], strict=False):
        if one != other:
            return
        prefix += one + "."
        yield prefix


def _sample(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in list(names)[:3]) or "nothing: it has no tensors"
