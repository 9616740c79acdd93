"""Where the bytes of a Document lie. Addresses stay out of the Document itself."""

from __future__ import annotations

from dataclasses import dataclass

from ..storage import Span


@dataclass(frozen=True, slots=True)
class Placement:
    """For each stored tensor its span in the file, and its XXH3-64 digest where the file has one."""

    spans: list[Span]
    digests: list[int] | None
