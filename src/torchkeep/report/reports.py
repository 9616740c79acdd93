"""What the verbs tell: typed, frozen where they are facts, and readable when printed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from ..document import Finding
from ..errors import printable


class SaveReport(msgspec.Struct, frozen=True):
    """What `save` wrote.

    Attributes:
        path: the file.
        nbytes: its size.
        findings: what was noticed: hooks that were left out, memory that was trimmed.
        sources: with ``source=True``, each module whose text is kept, and the file that it was read from.
    """

    path: str
    nbytes: int
    findings: tuple[Finding, ...] = ()
    sources: dict[str, str] = {}

    def __str__(self) -> str:
        lines = [f"saved {self.path}: {size(self.nbytes)}"]
        lines += [f"  {finding.severity}: {finding}" for finding in self.findings]
        lines += [f"  source: {module} from {file}" for module, file in self.sources.items()]
        return "\n".join(map(printable, lines))


class OutputCheck(msgspec.Struct, frozen=True):
    """How one output of an example compares with what it was when the model was saved.

    Attributes:
        example: which of the examples, from 0.
        where: which output, such as ``"['logits']"``; ``""`` for all of what was returned.
        verdict: ``"same"`` bits, ``"within"`` tolerance, ``"different"``, or ``"unknown"`` where it cannot be told.
        message: the same in words.
        error: the largest deviation; None where there are no numbers to compare.
        tolerance: what was allowed there.
    """

    example: int
    where: str
    verdict: Literal["same", "within", "different", "unknown"]
    message: str
    error: float | None = None
    tolerance: float | None = None

    def __str__(self) -> str:
        which = f"example {self.example}" + (f" {self.where}" if self.where else "")
        return f"{which}: {self.message}"


class ObjectReport(msgspec.Struct, frozen=True):
    """How an object came back; `report_of(obj)` gives it.

    Attributes:
        path: the file.
        kind: what the file is: ``"torchkeep"`` or ``"safetensors"``.
        route: ``"structure"``, ``"program"``, ``"source"``, ``"skeleton"``, or ``"data"`` where there was no module.
        mode: flags of the modules: ``"eval"``, ``"train"``, ``"saved"``.
        device: where the tensors went.
        cast: tensors that changed dtype: (name, saved, now).
        mapped_nbytes: bytes of tensors that are the file itself, mapped and not checked; None without ``mmap=True``.
        findings: warnings and notes, at load; the file's own are in ``inspect(path).findings``.
        outputs: with ``verify="outputs"``, how each output of the file's examples compares.
    """

    path: str
    kind: str
    route: str
    mode: str
    device: str
    cast: tuple[tuple[str, str, str], ...] = ()
    mapped_nbytes: int | None = None
    findings: tuple[Finding, ...] = ()
    outputs: tuple[OutputCheck, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """The findings that are more than notes, as text."""
        return tuple(str(finding) for finding in self.findings if finding.severity != "note")

    def __str__(self) -> str:
        mapped = "" if self.mapped_nbytes is None else f", {size(self.mapped_nbytes)} mapped"
        lines = [f"loaded {self.path} ({self.kind}) by {self.route}, on {self.device}, mode {self.mode}{mapped}"]
        lines += [f"  {check}" for check in self.outputs]
        lines += [f"  {finding.severity}: {finding}" for finding in self.findings]
        return "\n".join(map(printable, lines))


class LoadReport(msgspec.Struct, frozen=True):
    """What `load_into` did. Unpacks like torch's ``(missing_keys, unexpected_keys)``.

    Attributes:
        path: the file.
        part: where in the file the weights were, such as ``"['model']"``; ``""`` for the whole.
        missing_keys: names of the target that the file lacks.
        unexpected_keys: names of the file that the target lacks.
        mismatched: names whose shapes or dtypes do not fit: (name, in the file, in the target).
        renamed: names of the file that stand for other names of the target.
        cast: tensors that changed dtype on the way: (name, in the file, in the target), those of optimizer state
            by their place in it, such as ``"state[0]['exp_avg']"``.
        matched: how many of the target's tensors were filled.
        total: how many it has.
        optimizers: for each optimizer, how its state found its parameters: ``"identity"``, ``"names"`` or
            ``"position"``, or several of them (``"identity and position"``); the key is ``""`` for a target that is
            an optimizer by itself.
        findings: warnings and notes.
    """

    path: str
    part: str = ""
    missing_keys: list[str] = []
    unexpected_keys: list[str] = []
    mismatched: list[tuple[str, str, str]] = []
    renamed: dict[str, str] = {}
    cast: list[tuple[str, str, str]] = []
    matched: int = 0
    total: int = 0
    optimizers: dict[str, str] = {}
    findings: tuple[Finding, ...] = ()

    def __iter__(self) -> Iterator[list[str]]:
        yield self.missing_keys
        yield self.unexpected_keys

    @property
    def coverage(self) -> float:
        """Share of the target's tensors that were filled, from 0 to 1."""
        return self.matched / self.total if self.total else 1.0

    def __str__(self) -> str:
        part = f" at {self.part}" if self.part else ""
        what = "" if self.optimizers and not self.total else f" {self.matched} of {count(self.total, 'tensor')}"
        lines = [f"loaded{what} from {self.path}{part}"]
        for label, names in (("missing", self.missing_keys), ("unexpected", self.unexpected_keys)):
            lines += [f"  {label}: {name}" for name in names]
        lines += [f"  mismatched: {name}: file {ours}, target {theirs}" for name, ours, theirs in self.mismatched]
        lines += [f"  cast: {name}: {saved} to {now}" for name, saved, now in self.cast]
        lines += [f"  renamed: {old} to {new}" for old, new in self.renamed.items()]
        lines += [
            f"  optimizer{' ' if key else ''}{key}: state matched by {how}" for key, how in self.optimizers.items()
        ]
        lines += [f"  {finding.severity}: {finding}" for finding in self.findings]
        return "\n".join(map(printable, lines))


class Need(msgspec.Struct, frozen=True):
    """A class or function that a file names.

    Attributes:
        name: ``"module:qualname"``.
        role: ``"module"``, ``"optimizer"``, ``"object"``, ``"function"``, ``"class"`` or ``"custom"``.
        package: the package that defined it at save, as ``"name version"``, or None.
    """

    name: str
    role: str
    package: str | None = None


class Route(msgspec.Struct, frozen=True):
    """One way to load a file.

    Attributes:
        name: ``"structure"``, ``"program"``, ``"source"``, ``"weights"``, ``"skeleton"``.
        open: whether nothing is lacking as far as the file tells.
        lacks: what is lacking.
        call: the call that takes this route.
    """

    name: str
    open: bool
    lacks: tuple[str, ...]
    call: str


class TensorInfo(msgspec.Struct, frozen=True):
    """A stored tensor.

    Attributes:
        name: its name in the file.
        dtype: its element type by torch's name, such as ``"float32"``.
        shape: its sizes, in elements.
        nbytes: its bytes in the file.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int


def count(number: int, thing: str) -> str:
    """A number of things: ``1 tensor``, ``2 tensors``."""
    return f"{number:,} {thing}{'s' * (number != 1)}"


def size(nbytes: int) -> str:
    """Bytes as a person reads them."""
    amount = float(nbytes)
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if amount < 1024 or unit == "TiB":
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1024
    raise AssertionError("unreachable")
