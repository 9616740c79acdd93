"""Where the bytes of a Document lie. Addresses stay out of the Document itself."""

from __future__ import annotations

import msgspec

from ..storage import Span


class Placement(msgspec.Struct, frozen=True):
    """For each stored tensor its span in the file, and its XXH3-64 digest where the file has one."""

    spans: list[Span]
    digests: list[int] | None
