"""Which name of a file stands for which name of a target: renames that the caller gives, and prefixes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

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


class Renames:
    """A caller's `rename=`, checked, and which of its pairs fitted a name so far.

    Raises:
        TypeError: it is neither pairs of texts nor a function.
    """

    def __init__(self, how: Rename | None) -> None:
        self.function = how if callable(how) else None
        self.pairs = [] if how is None or callable(how) else _pairs(how)
        self._unused = set(range(len(self.pairs)))
        self._seen: list[str] = []

    def __bool__(self) -> bool:
        """Whether there is anything that the caller wants renamed."""
        return self.function is not None or bool(self.pairs)

    def apply(self, names: Sequence[str], *, where: str) -> dict[str, str]:
        """New name of each name that is kept.

        Pairs ``(old, new)`` are each for a whole name or for the part before a dot (``""`` is the part before
        everything), and the first that fits a name is taken. A function gives a name's new one, or None to leave
        it out.

        Args:
            names: names of the file.
            where: the file, for messages.

        Raises:
            BindError: two names become one.
            TypeError: the function gives what is no name.
        """
        self._seen += names[: _SAMPLE - len(self._seen)]
        renamed = {name: new for name in names if (new := self._new(name)) is not None}
        _require_distinct(renamed, where)
        return renamed

    def _new(self, name: str) -> str | None:
        if self.function is not None:
            new = self.function(name)
            if new is not None and not isinstance(new, str):
                raise TypeError(
                    f"rename's function gave {new!r} for {name!r}: it gives the new name as a str, or None to leave "
                    "it out. The target was not changed."
                )
            return new
        for i, (old, new) in enumerate(self.pairs):
            if (tail := _after(name, old)) is not None:
                self._unused.discard(i)
                stem = new.removesuffix(".") if tail else new
                return f"{stem}.{tail}" if stem and tail else stem or tail
        return name

    def require_used(self, where: str) -> None:
        """
        Raises:
            BindError: a pair fits no name of the file, or there was no name to rename.
        """
        if self and not self._seen:
            raise BindError(
                f"rename: {where} has no names there to rename. The target was not changed. Leave rename= out, or "
                "choose another part with key=."
            )
        if self._unused:
            raise BindError(
                f"rename: {self.pairs[min(self._unused)][0]!r} begins no name in {where}; names there look like "
                f"{', '.join(map(repr, self._seen))}. The target was not changed. Give the part of the name before a "
                "dot, or the whole name."
            )


_SAMPLE = 3
"""Names that a message shows."""


def _pairs(how: Any) -> list[tuple[str, str]]:
    found: list[Any] | None = None
    if isinstance(how, Mapping):
        found = list(how.items())
    elif isinstance(how, Iterable) and not isinstance(how, str):
        found = list(how)
    wants = "rename takes pairs [(old, new)] of texts, a dict {old: new}, or a function from a name to a new one"
    if found is None:
        raise TypeError(f"{wants}, not {how!r}. The target was not changed.")
    if len(found) == 2 and all(isinstance(text, str) for text in found):
        raise TypeError(
            f"{wants}; {tuple(found)!r} is one pair by itself. The target was not changed. Write "
            f"rename=[{tuple(found)!r}]."
        )
    for pair in found:
        if (
            not isinstance(pair, Sequence)
            or isinstance(pair, str)
            or len(pair) != 2
            or not all(isinstance(text, str) for text in pair)
        ):
            raise TypeError(f"{wants}; {pair!r} is no pair of texts. The target was not changed.")
    return [(old, new) for old, new in found]


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
    without it, and, for an unknown prefix, if every name of one side then finds its place. One is taken off and
    another put on only if all names of both sides then match, and there are several modules behind them: the
    one name ``a.weight`` says nothing about ``b.weight``.

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
    by_name = set(wanted)
    by_core: dict[str, str] = {}
    for target in wanted:
        by_core.setdefault(_core(target), target)
    cores = [_core(name) for name in names]
    if len(by_core) == len(wanted):
        yield {name: by_core.get(core, name) for name, core in zip(names, cores, strict=True)}, True
    for prefix in _shared_prefixes(names):
        yield {name: name[len(prefix) :] for name in names}, False
        yield {name: by_core.get(_core(name[len(prefix) :]), name) for name in names}, False
    for prefix in _shared_prefixes(wanted):
        yield {name: prefix + name for name in names}, False
        yield {name: prefix + core for name, core in zip(names, cores, strict=True)}, False
        for other in _shared_prefixes(names) if len(names) == len(wanted) else ():
            start = len(other)
            if prefix + names[0][start:] in by_name and any("." in name[start:] for name in names):
                yield {name: prefix + name[start:] for name in names}, False


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
