"""One vocabulary for everything noticed about an object or a file: at save, load, and inspection."""

from __future__ import annotations

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
