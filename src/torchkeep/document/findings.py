"""One vocabulary for everything noticed about an object or a file: at save, load, and inspection."""

from __future__ import annotations

from collections import Counter
from typing import Literal

import msgspec

Severity = Literal["note", "warning", "error"]


class Finding(msgspec.Struct, frozen=True):
    """Something that a person should know.

    Attributes:
        code: stable identifier, such as ``"hooks"``.
        severity: ``"note"`` (nothing is lost), ``"warning"`` (something is), or ``"error"``.
        path: where, as a person would write it: ``model.encoder["layer"][0]``.
        message: what was found.
        hint: the one next step, or ``""``.
    """

    code: str
    severity: Severity
    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        return f"{where}{self.message}" + (f" {self.hint}" if self.hint else "")


def merged(findings: list[Finding]) -> list[Finding]:
    """Findings without those that say the same; of each code only so many, and how many more there are."""
    kept: list[Finding] = []
    counts: Counter[tuple[str, Severity]] = Counter()
    for finding in dict.fromkeys(findings):
        counts[finding.code, finding.severity] += 1
        if counts[finding.code, finding.severity] <= _MAX_FINDINGS:
            kept.append(finding)
    kept += [
        Finding(code, severity, "", f"and {count - _MAX_FINDINGS} more like these.")
        for (code, severity), count in counts.items()
        if count > _MAX_FINDINGS
    ]
    return kept


_MAX_FINDINGS = 20
"""Findings of one code that a load tells one by one."""
