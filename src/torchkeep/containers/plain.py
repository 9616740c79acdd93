"""A plain safetensors file, as any tool writes it: a state_dict, without torchkeep's metadata."""

from __future__ import annotations

from ..document import Document, Map, Ref, TensorRef, TensorTable, check
from ..limits import LIMITS, Limits
from . import safetensors
from .placement import Placement


def read(header: safetensors.Header, *, limits: Limits = LIMITS) -> tuple[Document, Placement]:
    """The Document of a dict from names to tensors, in the header's order; no digests.

    Raises:
        FormatError: the header's JSON is ambiguous (H-3, H-6).
    """
    safetensors.check_plain_json(header)
    shown = header.shown
    count = len(shown.names)
    document = Document(
        root=Ref(0),
        nodes=[Map(tuple(shown.names), tuple(TensorRef(i) for i in range(count)))],
        tensors=TensorTable(
            names=list(shown.names),
            dtypes=list(shown.dtypes),
            shapes=list(shown.shapes),
            stored=list(range(count)),
            flags=[0] * count,
        ),
        environment={},
    )
    check(document, limits=limits)
    return document, Placement(header.spans, None)
