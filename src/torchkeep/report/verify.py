"""Whether a file is whole, and whether what it gives back still computes the same."""

from __future__ import annotations

from typing import Any

import msgspec

from ..errors import printable
from .reports import OutputCheck, count


class RouteCheck(msgspec.Struct, frozen=True):
    """One way to load a file, and what the model that it gave computed.

    Attributes:
        name: ``"structure"`` or ``"program"``.
        open: whether the file could be loaded by it.
        lacks: what it lacks, where it is not open.
        outputs: how each output of each example compares.
    """

    name: str
    open: bool
    lacks: str = ""
    outputs: tuple[OutputCheck, ...] = ()

    @property
    def verdict(self) -> str:
        """The worst of its outputs; ``"unknown"`` where there is none: same, within, unknown, different."""
        return max((each.verdict for each in self.outputs), key=_ORDER.index, default="unknown")


_ORDER = ("same", "within", "unknown", "different")
_TOLD = {
    "same": "same bits",
    "within": "within tolerance",
    "unknown": "not compared",
    "different": "different",
}


class VerifyReport(msgspec.Struct, frozen=True):
    """What `verify` found. It is true whatever it says: ask `ok`.

    Attributes:
        path: the file.
        kind: ``"torchkeep"`` or ``"safetensors"``; ``""`` where the header is damaged.
        checked: how many stored tensors were held against their digests; 0 in a file that has none.
        damage: what is damaged, in words; ``""`` where nothing is.
        examples: how many calls the file keeps the outputs of.
        routes: the ways to load it, and what each computed.
        environment: what differs between then and now, as (what, then, now).
    """

    path: str
    kind: str = ""
    checked: int = 0
    damage: str = ""
    examples: int = 0
    routes: tuple[RouteCheck, ...] = ()
    environment: tuple[tuple[str, str, str], ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is damaged, and no open route computes something else."""
        return not self.damage and all(route.verdict != "different" for route in self.routes)

    def text(self, *, limit: int | None = 200) -> str:
        """All of it as a person reads it.

        Args:
            limit: most lines of outputs of each route; None for all.
        """
        lines = [f"{printable(self.path)}: {self._summary()}"]
        if self.damage:
            lines.append(f"digests   {printable(self.damage)}")
        elif self.checked:
            lines.append(f"digests   {count(self.checked, 'stored tensor')} as saved")
        else:
            lines.append("digests   none in this file, or no tensor")
        if not self.damage and not self.examples:
            lines.append("outputs   none in this file: save it with example=(x,) to have them checked")
        for route in self.routes:
            told = _TOLD[route.verdict] if route.open else f"closed: {route.lacks}"
            lines.append(f"{route.name:9s} {told}")
            lines += [f"  {each}" for each in route.outputs[:limit]]
            if len(route.outputs) > len(route.outputs[:limit]):
                lines.append(f"  ... and {len(route.outputs) - len(route.outputs[:limit]):,} more")
        if self.environment and any(route.verdict != "same" for route in self.routes if route.open):
            lines.append("then and now")
            lines += [f"  {what} {then} -> {now}" for what, then, now in self.environment]
        return "\n".join(map(printable, lines))

    def _summary(self) -> str:
        if self.damage:
            return "damaged"
        verdicts = [route.verdict for route in self.routes if route.open]
        if not verdicts:
            return "whole; no outputs were compared"
        return f"whole; outputs {_TOLD[max(verdicts, key=_ORDER.index)]}"

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data, for JSON."""
        return {"ok": self.ok, **msgspec.to_builtins(self)}

    def __str__(self) -> str:
        return self.text()
