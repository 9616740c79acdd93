"""What a file format has to offer to be read, and what it gives. `register_container` adds formats."""

from __future__ import annotations

from typing import Protocol

import msgspec

from ..document import Document
from ..limits import Limits
from ..storage import Source
from .placement import Placement

HEAD_NBYTES = 512
"""How many of a file's first bytes a container sees before it says whether the file is its own."""


class Contents(msgspec.Struct, frozen=True):
    """What was read of a file: its meaning, and where its bytes lie.

    Attributes:
        document: the meaning.
        placement: for each stored tensor of it, where its bytes are.
        metadata: strings that the file carries for its own readers; `inspect` shows them.
        kind: the container's. `read` of the room fills it in; a container leaves it.
    """

    document: Document
    placement: Placement
    metadata: dict[str, str] = {}
    kind: str = ""


class Container(Protocol):
    """A file format.

    Order of calls, for each file: `probe`; and where it says yes, `read`, once. Both may be called from several
    threads at once, for different files. torchkeep's own containers are asked first, then the registered ones in
    the order in which they were registered. A container sees no name of a file, and takes nothing from it.
    """

    @property
    def kind(self) -> str:
        """What files of this format are called in reports, such as ``"npy"``."""

    def probe(self, head: bytes) -> bool:
        """Whether a file is of this format.

        Args:
            head: its first `HEAD_NBYTES` bytes; all of it where it is shorter, and at least one byte.
        """

    def read(self, source: Source, limits: Limits) -> Contents:
        """The meaning of a file: the header is read, and no tensor's bytes.

        The file is hostile: a length in it is compared with the file's size and with `limits` before anything
        of that length is made.

        Args:
            source: the file, to read spans from. It belongs to the caller, who closes it.
            limits: caps on what is read.

        Returns:
            The Document, which passes `check`, and for each stored tensor its span in the file: as many bytes
            as its dtype and shape have, little-endian, in contiguous logical order.

        Raises:
            FormatError: the file is damaged, or has what the format does not.
            LimitError: it has more than `limits` allow.
        """
