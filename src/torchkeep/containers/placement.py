"""Where the bytes of a Document lie. Addresses stay out of the Document itself."""

from __future__ import annotations

import msgspec

from ..storage import Span


class Placement(msgspec.Struct, frozen=True):
    """Where each stored tensor's bytes are.

    Attributes:
        spans: for each stored tensor its span in the file, in bytes from the file's start.
        digests: for each the XXH3-64 of its bytes, which is checked whenever they are read; None for a file
            that has none.
    """

    spans: list[Span]
    digests: list[int] | None = None
