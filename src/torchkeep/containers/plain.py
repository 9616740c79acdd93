"""A plain safetensors file, as any tool writes it: a state_dict, without torchkeep's metadata."""

from __future__ import annotations

from ..document import Document, check, of_tensors
from ..errors import FormatError
from ..limits import LIMITS, Limits
from ..storage import Source
from . import native, safetensors
from .placement import Placement
from .protocol import Contents


class Plain:
    """safetensors files of any tool, as a container."""

    kind = "safetensors"

    def probe(self, head: bytes) -> bool:
        return head[safetensors.LENGTH_NBYTES : safetensors.LENGTH_NBYTES + 1] == b"{"

    def read(self, source: Source, limits: Limits) -> Contents:
        raw = safetensors.read_raw(source, limits)
        header = safetensors.parse(raw, file_nbytes=source.nbytes, limits=limits)
        metadata = header.metadata or {}
        if any(key in native.KEYS[::2] for key in metadata):
            raise FormatError("the header was torchkeep's and no longer begins as one", clause="N-1")
        return Contents(*read(header, limits=limits), metadata, self.kind)


def read(header: safetensors.Header, *, limits: Limits = LIMITS) -> tuple[Document, Placement]:
    """The Document of a dict from names to tensors, in the header's order; no digests.

    Raises:
        FormatError: the header's JSON is ambiguous (H-3, H-6).
    """
    safetensors.check_plain_json(header)
    shown = header.shown
    document = of_tensors(shown.names, shown.dtypes, shown.shapes)
    check(document, limits=limits)
    return document, Placement(header.spans, None)
