"""torchkeep's own container: a safetensors file whose ``__metadata__`` holds a Document and digests.

The header is canonical: a reader writes it again from what it understood and compares, so there is
nothing in it that two readers could understand in two ways. ``spec/format.md`` is the standard.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

import msgspec
from xxhash import xxh3_64

from ..document import ITEMSIZE, Document, Map, Seq, Shape, Shown, check, decode, encode
from ..errors import DigestError, FormatError, SaveError, printable
from ..limits import LIMITS, Limits
from ..storage import Source, Span
from . import safetensors
from .placement import Placement
from .protocol import Contents

ALIGNMENT = 4096
"""The data begins at a multiple of this many bytes."""

PREFIX = b'{"__metadata__":{"torchkeep.digests":"'
"""How every torchkeep header begins; the header's own digest follows at once."""

DIGEST_NDIGITS = 16
_DIGEST_AT = safetensors.LENGTH_NBYTES + len(PREFIX)
KEYS = ["torchkeep.digests", "format", "torchkeep"]

_encoder = msgspec.json.Encoder()


def is_native(raw: bytes) -> bool:
    """Whether a header is torchkeep's, by how it begins."""
    return raw.startswith(PREFIX, safetensors.LENGTH_NBYTES)


# --- writing ----------------------------------------------------------------------------------------


class Layout(msgspec.Struct, frozen=True):
    """Where everything of a Document will lie, before any I/O.

    Attributes:
        spans: one a stored tensor, in the file.
        order: the stored tensors in the order of their bytes.
        nbytes: size of the whole file.
    """

    spans: list[Span]
    order: list[int]
    nbytes: int
    _text: str
    _entries: dict[str, safetensors.Entry]

    def header(self, digests: Sequence[int]) -> bytes:
        """The file's first bytes, up to the data, once the digest of each stored tensor is known."""
        return _seal(_render(self._text, self._entries, digests))


def layout(document: Document, *, path_of: Callable[[int], str] | None = None, limits: Limits = LIMITS) -> Layout:
    """Plan the file of a checked Document; `path_of` tells where a node was in the object, for messages.

    Raises:
        SaveError: the header would be longer than `limits.written_header_nbytes`.
    """
    table = document.tensors
    sizes = [table.nbytes(i) for i in range(len(table.names))]
    order = safetensors.order([ITEMSIZE[dtype] for dtype in table.dtypes])
    relative = safetensors.spans_of(sizes, order)
    entries: dict[str, safetensors.Entry] = {}
    dtypes: list[str] = []
    shapes: list[Shape] = []
    for name, dtype, shape, span in zip(table.names, table.dtypes, table.shapes, relative, strict=True):
        listed, listed_shape = safetensors.shown_as(dtype, shape)
        entries[name] = safetensors.Entry(listed, listed_shape, (span.offset, span.offset + span.nbytes))
        bytes_only = listed == "U8" and dtype != "uint8"
        dtypes.append("uint8" if bytes_only else dtype)
        shapes.append(listed_shape if bytes_only else shape)
    text = encode(document, Shown(table.names, dtypes, shapes))
    header_nbytes = len(_render(text, entries, [0] * len(sizes)))
    if header_nbytes > limits.written_header_nbytes:
        raise SaveError(
            f"the header would be {header_nbytes} bytes long and readers accept {limits.written_header_nbytes}: "
            f"{len(sizes)} tensor names and {len(document.nodes)} objects"
            f"{' and the source text' if document.sources else ''} are too many{_largest(document, path_of)}. "
            "Nothing was written. Keep long lists of numbers as tensors, or save in parts."
        )
    spans = [Span(header_nbytes + span.offset, span.nbytes) for span in relative]
    return Layout(spans, order, header_nbytes + sum(sizes), text, entries)


def _largest(document: Document, path_of: Callable[[int], str] | None) -> str:
    """Which container holds most, where one holds so much that it is worth naming."""
    sizes = [
        len(node.items) if isinstance(node, Seq) else len(node.keys) if isinstance(node, Map) else 0
        for node in document.nodes
    ]
    most = max(sizes, default=0)
    if most < _MANY or path_of is None:
        return ""
    position = sizes.index(most)
    node = document.nodes[position]
    kind = node.kind if isinstance(node, Seq) else "dict"
    return f" (the largest is {printable(path_of(position))}, a {kind} of {most})"


_MANY = 10_000


def _render(text: str, entries: dict[str, safetensors.Entry], digests: Sequence[int]) -> bytes:
    """The canonical header, with zeros where its own digest goes."""
    column = "0" * DIGEST_NDIGITS + "".join([f"{digest:016x}" for digest in digests])
    metadata = {"torchkeep.digests": column, "format": "pt", "torchkeep": text}
    return _framed(_encoder.encode({"__metadata__": metadata, **entries}))


def _framed(json: bytes) -> bytes:
    """A header's JSON between its length and the spaces that align the data."""
    padded = -(-(safetensors.LENGTH_NBYTES + len(json)) // ALIGNMENT) * ALIGNMENT
    length = padded - safetensors.LENGTH_NBYTES
    return length.to_bytes(safetensors.LENGTH_NBYTES, "little") + json.ljust(length)


def _seal(raw: bytes) -> bytes:
    """The header with its own digest in the place of the zeros."""
    return raw[:_DIGEST_AT] + _digest(raw) + raw[_DIGEST_AT + DIGEST_NDIGITS :]


def _digest(raw: bytes) -> bytes:
    """The digest of a header, taken as if there were zeros where it stands."""
    view = memoryview(raw)
    digest = xxh3_64(view[:_DIGEST_AT])
    digest.update(b"0" * DIGEST_NDIGITS)
    digest.update(view[_DIGEST_AT + DIGEST_NDIGITS :])
    return digest.hexdigest().encode()


# --- reading ----------------------------------------------------------------------------------------


class Native:
    """torchkeep's own files, as a container."""

    kind = "torchkeep"

    def probe(self, head: bytes) -> bool:
        return is_native(head)

    def read(self, source: Source, limits: Limits) -> Contents:
        raw = safetensors.read_raw(source, limits)
        check_digest(raw)
        header = safetensors.parse(raw, file_nbytes=source.nbytes, limits=limits)
        return Contents(*read(header, limits=limits), {}, self.kind)


def check_digest(raw: bytes) -> None:
    """N-2: the header is the header that was written.

    Raises:
        DigestError: it is not.
    """
    if raw[_DIGEST_AT : _DIGEST_AT + DIGEST_NDIGITS] != _digest(raw):
        raise DigestError(
            "the header's bytes are not the bytes that were saved: the file is damaged. Nothing was loaded. "
            "Restore it from a copy.",
            clause="N-2",
        )


def read(header: safetensors.Header, *, limits: Limits = LIMITS) -> tuple[Document, Placement]:
    """The Document of a torchkeep header whose digest holds, and where its bytes lie.

    Raises:
        FormatError: N-1 the metadata is not torchkeep's; N-4 the header is not canonical; N-5 the
            digests are not one a tensor; N-6, N-7 the bytes lie or are listed otherwise than they must; or the
            Document breaks a clause of its own.
    """
    metadata = header.metadata or {}
    if list(metadata) != KEYS or metadata["format"] != "pt":
        raise FormatError(f"__metadata__ has the keys {sorted(metadata)}, not {KEYS}", clause="N-1")
    digests = _digests(metadata["torchkeep.digests"], len(header.spans))
    if _framed(_encoder.encode({"__metadata__": metadata, **header.entries})) != header.raw:
        raise FormatError("the header is not in canonical form", clause="N-4")
    document = decode(metadata["torchkeep"], header.shown, limits=limits)
    check(document, limits=limits)
    _check_order(document, header)
    return document, Placement(header.spans, digests)


def _check_order(document: Document, header: safetensors.Header) -> None:
    """N-6: larger items first, then in the header's order. N-7: bytes have the only name they can have."""
    table = document.tensors
    cursor = len(header.raw)
    for i in safetensors.order([ITEMSIZE[dtype] for dtype in table.dtypes]):
        if header.spans[i].offset != cursor:
            raise FormatError("the tensors' bytes are not in canonical order", clause="N-6")
        cursor += header.spans[i].nbytes
    if table.dtypes == header.shown.dtypes and table.shapes == header.shown.shapes:
        return
    for name, dtype, shape in zip(table.names, table.dtypes, table.shapes, strict=True):
        entry = header.entries[name]
        if safetensors.shown_as(dtype, shape) != (entry.dtype, entry.shape):
            raise FormatError(f"{name!r} is not listed as {dtype} {list(shape)}", clause="N-7")


def _digests(text: str, count: int) -> list[int]:
    """The digest of each tensor, from a column of fixed width that begins with the header's own."""
    try:
        digests = bytes.fromhex(text)
    except ValueError:
        digests = b""
    if digests.hex() != text or len(text) != DIGEST_NDIGITS * (count + 1):
        raise FormatError(f"{len(text)} digits of digests for {count} tensors", clause="N-5")
    return list(struct.unpack(f">{count + 1}Q", digests)[1:])
