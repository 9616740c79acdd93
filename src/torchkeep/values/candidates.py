"""What a name of a file may be today, among the classes and functions that the program has already imported.

Nothing is imported for it, no object is made, and what has a metaclass that would run is not looked at. The standard
library, torch and torchkeep are left out: a file that names one of their classes under another name gets no help.
"""

from __future__ import annotations

import functools
import site
import sys
import sysconfig
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import FunctionType, ModuleType
from typing import Any

from ..document import Candidate, ClassInfo, Sure
from ..errors import entries_in_code, in_code
from . import sources
from .outline import module_of, outline
from .registry import PRIVATE, class_name, full_name
from .state import is_a
from .trust import _OF_CLASS, _OF_MODULE, Closed, Resolver, is_quiet, last_name

_OUTSIDE = sys.stdlib_module_names | {"torch", "torchgen", "functorch", "builtins", "torchkeep"}
_MAX_CLASSES = 200_000
"""Most classes that are looked at."""
_MAX_NEAR = 2_000
"""Most classes whose source is read to find one that was renamed."""
_MAX_ALIKE = 500
"""Most classes of one last name that are weighed."""
_MAX_SHOWN = 8
"""Most candidates of a name."""
_ENOUGH = 0.6
"""Share of names that a renamed class has in common with the file, at least."""


@dataclass(slots=True)
class Held:
    """What the file holds of objects of a class.

    Attributes:
        every: names that each of them has.
        some: names that at least one of them has.
    """

    every: set[str] = field(default_factory=set)
    some: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Known:
    """What the text of a class tells: its digest, what its methods assign, and what its `__init__` surely assigns."""

    digest: str | None
    mentioned: frozenset[str]
    assigned: frozenset[str]


class Imported:
    """The classes and functions of the program, once each, by their last names."""

    def __init__(self) -> None:
        self.by_last: dict[str, list[Any]] = {}
        self._known: dict[int, Known] = {}
        self._used: dict[int, frozenset[str]] = {}
        self.all: list[Any] = []
        seen: set[int] = set()
        for module in list(sys.modules.values()):
            if is_a(module, ModuleType):
                for found in _defined(_OF_MODULE.__get__(module).values(), seen):
                    self.all.append(found)
                    self.by_last.setdefault(last_name(class_name(found)), []).append(found)
            if len(self.all) > _MAX_CLASSES:
                break

    def alike(self, name: str) -> list[Any]:
        """Those whose last name is that of a name of the file."""
        return self.by_last.get(last_name(name), [])[:_MAX_ALIKE]

    def near(self, name: str, held: Held) -> list[type]:
        """Classes of the same top-level package, and of the person's own code, whose methods use the file's names."""
        package = name.partition(":")[0].partition(".")[0]
        found: list[type] = []
        for it in self.all:
            if isinstance(it, type) and (_package(it) == package or not _is_installed(module_of(it))):
                if id(it) not in self._used:
                    self._used[id(it)] = _used(it)
                used = len(held.every & self._used[id(it)])
                if used >= _ENOUGH * len(held.every):
                    found.append(it)
        return found[:_MAX_NEAR]

    def known(self, cls: type) -> Known:
        """What the text of a class tells, read once."""
        if id(cls) not in self._known:
            self._known[id(cls)] = Known(
                sources.digest(cls), frozenset(outline(cls).mentioned), sources.assigned_by_init(cls)
            )
        return self._known[id(cls)]


def _defined(values: Iterable[Any], seen: set[int]) -> Iterator[Any]:
    """Classes, those inside of classes, and functions, that are of no package left out."""
    waiting = deque(list(values))  # at once: another thread may import meanwhile
    while waiting:
        value = waiting.popleft()
        if id(value) in seen:
            continue
        kind = type(value)
        if kind is FunctionType:
            counts = type(value.__module__) is str
        else:
            counts = is_a(value, type) and is_quiet(value)
        if not counts:
            continue
        seen.add(id(value))
        if _package(value) in _OUTSIDE or full_name(value).startswith(PRIVATE):
            continue
        yield value
        if kind is not FunctionType:
            waiting += [it for it in _OF_CLASS.__get__(value).values() if is_a(it, type)]


def _package(obj: Any) -> str:
    return class_name(obj).partition(":")[0].partition(".")[0]


@functools.lru_cache(maxsize=4096)
def _is_installed(module_name: str) -> bool:
    """Whether a module is a package that somebody installed, rather than code that is worked on."""
    module = sys.modules.get(module_name)
    file = _OF_MODULE.__get__(module).get("__file__") if is_a(module, ModuleType) else None
    return isinstance(file, str) and file.startswith(_installed_roots())


@functools.lru_cache(maxsize=1)
def _installed_roots() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return tuple({paths["purelib"], paths["platlib"], site.getusersitepackages()})


def candidates(
    closed: Closed,
    imported: Imported,
    *,
    held: Held,
    info: ClassInfo | None,
    taken: frozenset[int],
) -> tuple[str, list[tuple[Any, Candidate]]]:
    """What a name that does not open may be: ``"moved"``, ``"renamed"`` or ``"missing"``, and candidates, best first.

    Args:
        closed: the name, its role, and why it does not open.
        imported: what there is.
        held: what the file holds of its objects.
        info: what the file remembers of it.
        taken: ids of classes that other names of the file stand for.
    """
    alike = [it for it in imported.alike(closed.name) if _suits(it, closed)]
    ranked = sorted((_judge(it, closed, imported, held, info) for it in alike), key=lambda it: it.rank, reverse=True)
    if ranked:
        return "moved", list(_told(ranked, closed, moved=True))
    if closed.role not in _WITH_NAMES:
        return "missing", []
    near = [it for it in imported.near(closed.name, held) if id(it) not in taken and _suits(it, closed)]
    judged = (_judge(it, closed, imported, held, info) for it in near)
    fitting = [it for it in judged if it.same or (it.share >= _ENOUGH and it.common >= min(2, len(held.every)) > 0)]
    ranked = sorted(fitting, key=lambda it: it.rank, reverse=True)
    return ("renamed" if ranked else "missing"), list(_told(ranked, closed, moved=False))


def _used(cls: type) -> frozenset[str]:
    """Names of attributes that the methods of a class and of its bases use: quick to ask, and more than they assign."""
    codes = [code for base in cls.__mro__ if base is not object for code in sources._codes(base).values()]
    texts = (text for code in codes for text in code.co_consts if type(text) is str)  # of register_buffer and its like
    return frozenset(texts).union(*(code.co_names for code in codes))


_WITH_NAMES = frozenset({"module", "object", "derived"})
"""Roles whose objects have attributes that tell them apart."""


def _suits(obj: Any, closed: Closed) -> bool:
    """Whether a load would take it in this role, if it were given."""
    found = Resolver({closed.name: obj}, ()).resolve(closed.name, closed.role, lasts={})
    return not isinstance(found, Closed)


@dataclass(frozen=True, slots=True)
class _Judged:
    """A candidate, and what speaks for it."""

    obj: Any
    same: bool
    share: float
    common: int
    near: int

    @property
    def rank(self) -> tuple[bool, float, int]:
        return self.same, self.share, self.near


def _judge(obj: Any, closed: Closed, imported: Imported, held: Held, info: ClassInfo | None) -> _Judged:
    same, share, common = False, 0.0, 0
    if isinstance(obj, type):
        known = imported.known(obj)
        same = info is not None and info.digest is not None and known.digest == info.digest
        has, wanted = known.mentioned, known.assigned
        common = len(held.some & has)
        whole = len(held.every | (wanted - held.some))
        share = len(held.every & has) / whole if whole else 0.0
    ours, theirs = closed.name.split(":")[0].split("."), class_name(obj).split(":")[0].split(".")
    near = sum(one == other for one, other in zip(ours, theirs, strict=False))
    return _Judged(obj, same, share, common, near)


def _told(ranked: list[_Judged], closed: Closed, *, moved: bool) -> Iterator[tuple[Any, Candidate]]:
    """The candidates as a person reads them."""
    best = [it for it in ranked if it.same]
    for judged in ranked[:_MAX_SHOWN]:
        name, sure = class_name(judged.obj), _sure(judged, ranked, best, moved=moved)
        why = ["the same name"] * moved
        if judged.same:
            why.append("the same source")
        elif judged.share == 1:
            why.append("the attributes of the file, all of them")
        elif judged.common:
            why.append(f"{judged.share:.0%} of its attributes and the file's are the same")
        code = in_code(name)
        entry = entries_in_code({closed.name: code})
        statement = "" if name.startswith("__main__:") or code == "..." else import_of(name)
        yield judged.obj, Candidate(name, sure, ", ".join(why), entry, statement)


def _sure(judged: _Judged, ranked: list[_Judged], best: list[_Judged], *, moved: bool) -> Sure:
    if judged.same:
        return "sure" if len(best) == 1 else "likely"
    alone = not best and all(it is judged or it.share < judged.share for it in ranked)
    if moved and alone and (len(ranked) == 1 or judged.share == 1):
        return "likely"
    return "likely" if alone and judged.share == 1 and judged.common > 2 else "guess"


def import_of(name: str) -> str:
    """The statement that makes code know a class by its name."""
    module_name, _, qualname = name.partition(":")
    return f"from {module_name} import {qualname.partition('.')[0]}"


def spelled(given: Mapping[str, Any]) -> tuple[tuple[str, ...], str]:
    """Import statements, and the ``classes={...}`` that gives these classes; names that clash are spelled in full.

    Args:
        given: for each name of the file, its class.
    """
    heads: dict[str, str] = {}
    statements: dict[str, None] = {}
    entries: dict[str, str] = {}
    for name, obj in given.items():
        full = class_name(obj)
        module_name, code = full.partition(":")[0], in_code(full)
        head = code.partition(".")[0]
        if heads.setdefault(head, module_name) != module_name:
            code = f"{module_name}.{code}"
            statements[f"import {module_name}"] = None
        elif module_name != "__main__" and code != "...":
            statements[import_of(full)] = None
        entries[name] = code
    return tuple(statements), entries_in_code(entries)
