"""A case: a hostile file, and what has to come of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

VERBS = ("inspect", "json", "load", "skeleton", "into")
"""Those that every case is tried with; "program" and "call" are of files that hold a computation."""


@dataclass(eq=False)
class Case:
    """One hostile file.

    Whatever else is asked: no verb, and nothing that is done with its result, runs or opens anything;
    errors are torchkeep's own; no crash, no hang, no bomb.

    Attributes:
        name: unique, ``family/what``, made a file name.
        make: the file's bytes, or a function that writes it.
        verbs: which of VERBS are tried; "load" stands for "mapped", too, which is `load` with ``mmap=True``, and a file
            that is inspected is also compared with itself; one that is told as JSON is also explained. "program" loads
            by the computation in the file, "call" then runs it.
        expect: for a verb, the error that it must raise, or the clause that it must name, alternatives parted by ``|``;
            ``"ok"`` for none.
        load: arguments of `load`.
        into: arguments of `load_into`.
        target: makes the target of `load_into`; a small module by default.
        call: what is done with the module of a computation.
        check: problems of an object that came back.
        checked: the verbs whose objects are checked.
        poke: whether the object is shown, compared, copied, pickled and called afterwards.
        seconds: most processor time that a verb may take on a fast machine; without bounds it takes minutes.
        mib: most memory that a verb may take.
        may_ring: code of the victim that may run when the object is touched; none may while it is loaded.
    """

    name: str
    make: Callable[[], Any]
    verbs: tuple[str, ...] = VERBS
    expect: dict[str, str] = field(default_factory=dict)
    load: dict[str, Any] = field(default_factory=dict)
    into: dict[str, Any] = field(default_factory=dict)
    target: Callable[[], Any] | None = None
    call: Callable[[Any], Any] | None = None
    check: Callable[[Any], Any] | None = None
    checked: tuple[str, ...] = ("load",)
    poke: bool = True
    seconds: float = 5
    mib: int = 600
    may_ring: tuple[str, ...] = ()


class Cases(dict[str, Case]):
    """Cases by name; `add` takes the literal of a file as it stands."""

    def add(self, name: str, make: Callable[[], Any], **more: Any) -> None:
        name = name.replace("/", "-").replace(" ", "_")
        assert name not in self, name
        self[name] = Case(name, make, **more)


def attribute_is_data(*path: str) -> Callable[[Any], list[str]]:
    """A check: what stands at that place can't be called."""

    def check(obj: Any) -> list[str]:
        for name in path:
            obj = obj[name] if isinstance(obj, dict) else vars(obj)[name]
        return [f"{'.'.join(path)} came back as {obj!r}, which can be called"] if callable(obj) else []

    return check


def some(cases: Cases, step: int) -> Cases:
    """Every so many of the cases of a family, and fewer of slow ones, for all tests; all of them in ``make fuzz``."""
    if os.environ.get("HYPOTHESIS_PROFILE") == "fuzz":
        return cases
    families: dict[str, int] = {}
    kept = Cases()
    for name, case in cases.items():
        family = name.partition("-")[0]
        if families.setdefault(family, 0) % (step if case.seconds <= 5 else 4 * step) == 0:
            kept[name] = case
        families[family] += 1
    return kept
