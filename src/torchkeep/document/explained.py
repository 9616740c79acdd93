"""What stands between a file and today's code, as plain data: found among classes, told by a report."""

from __future__ import annotations

from typing import Literal

import msgspec

Sure = Literal["sure", "likely", "guess"]
"""How sure a proposal is: what only this can be, what fits better than all else, what merely fits."""

Status = Literal["opens", "unnamed", "moved", "renamed", "missing", "refused"]


class Candidate(msgspec.Struct, frozen=True):
    """A class or function of this program that a name of the file may stand for.

    Attributes:
        name: what it is called today, ``"module:qualname"``.
        sure: ``"sure"``, ``"likely"`` or ``"guess"``.
        why: what speaks for it.
        entry: the argument that gives it to `load`, such as ``classes={'old:Net': Network}``.
        statement: the import that makes `entry` run; ``""`` where none is needed or none can.
    """

    name: str
    sure: Sure
    why: str
    entry: str
    statement: str = ""


class Standing(msgspec.Struct, frozen=True):
    """How a class or function that the file names stands in this program.

    Attributes:
        name: as the file has it, ``"module:qualname"``.
        role: what the file wants it for, as in `Need`.
        status: ``"opens"``; ``"unnamed"`` (it is there, and opens when the caller names it); ``"moved"`` (one of the
            same name is elsewhere); ``"renamed"`` (one of another name fits); ``"missing"`` (nothing that is imported
            fits); ``"refused"`` (no class that is given opens it).
        now: what it opens to, ``"module:qualname"``; None where it does not open.
        reason: why it does not open, or what opened it.
        candidates: what it may be today, best first.
        record: whether a load goes on without it, with a Record or a plain builtin in its place.
    """

    name: str
    role: str
    status: Status
    now: str | None
    reason: str
    candidates: tuple[Candidate, ...] = ()
    record: bool = False


class ClassChange(msgspec.Struct, frozen=True):
    """How a class of today differs from what the file knows of it.

    Attributes:
        name: as the file has it.
        now: what it is today, ``"module:qualname"``.
        changed: whether its source changed; None where one of the two sources is not to be had.
        lacking: attributes that today's `__init__` assigns for certain and the file lacks; a load stops there.
        gone: attributes of the file that no method of today's class assigns.
        arguments_added: arguments of today's constructor that the file tells nothing of, or that are new.
        arguments_gone: what was an argument, as far as is known, and is none today.
        modules_added: submodules that today's `__init__` makes and the file lacks: (name, class).
        modules_gone: submodules of the file that today's class does not have: (name, class).
        modules_changed: submodules of another class: (name, in the file, today).
        tensors: tensors of another shape: (name, in the file, today, what tells).
        unsure: what cannot be known from the text of the class.
        migration: a migration to paste, or ``""`` where none is needed.
        steps: versions that have no migration, where the class is registered with a later one; a load stops there, too.
        complete: whether the migration runs as it is, with nothing left to fill in.
        diff: unified diff of the source, where the file holds it.
    """

    name: str
    now: str
    changed: bool | None
    lacking: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    arguments_added: tuple[str, ...] = ()
    arguments_gone: tuple[str, ...] = ()
    modules_added: tuple[tuple[str, str], ...] = ()
    modules_gone: tuple[tuple[str, str], ...] = ()
    modules_changed: tuple[tuple[str, str, str], ...] = ()
    tensors: tuple[tuple[str, str, str, str], ...] = ()
    unsure: tuple[str, ...] = ()
    migration: str = ""
    steps: tuple[int, ...] = ()
    complete: bool = True
    diff: str = ""


class Renaming(msgspec.Struct, frozen=True):
    """One pair of a proposed `rename=`.

    Attributes:
        old: a name of the file, or the part of names before a dot.
        new: the same of the model.
        tensors: how many tensors it renames.
        sure: ``"sure"`` (no other place has their shapes), ``"likely"`` (names are alike, too), ``"guess"``.
    """

    old: str
    new: str
    tensors: int
    sure: Sure


class Fit(msgspec.Struct, frozen=True):
    """How the file's weights fit a model.

    Attributes:
        part: where the weights are, such as ``"['model']"``; ``""`` for the whole.
        matched: tensors of the model that the file fills, under the proposed names.
        total: tensors of the model.
        missing: names of the model that the file lacks, before anything is renamed.
        unexpected: names of the file that the model lacks, likewise.
        mismatched: names that do not fit: (name, in the file, in the model), likewise.
        rename: the proposed pairs.
        left: what does not fit under the proposed names either: (kind, name, what), kinds as `allow` has them.
        problem: why nothing can be compared; ``""`` otherwise.
    """

    part: str = ""
    matched: int = 0
    total: int = 0
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[tuple[str, str, str], ...] = ()
    rename: tuple[Renaming, ...] = ()
    left: tuple[tuple[str, str, str], ...] = ()
    problem: str = ""


class Way(msgspec.Struct, frozen=True):
    """The one call to make.

    Attributes:
        call: the call, as a person types it; ``""`` where there is none.
        before: lines that belong before it: imports, migrations.
        checked: whether all that is checked before a tensor is read was checked for this call, and passed.
        note: what to know of it.
    """

    call: str
    before: tuple[str, ...] = ()
    checked: bool = False
    note: str = ""


class Explained(msgspec.Struct, frozen=True):
    """What was found out about a file: see `ExplainReport`.

    Attributes:
        names: how every name stands.
        changes: classes that changed.
        fit: how the weights fit a model.
        way: the call to make.
        structure: the call that loads the whole, where it passes every check by itself; ``""`` otherwise.
    """

    names: tuple[Standing, ...]
    changes: tuple[ClassChange, ...]
    fit: Fit | None
    way: Way
    structure: str = ""
