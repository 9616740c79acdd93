"""What a registered container says of a file is held against its contract before anybody believes it.

Its Document is written as torchkeep's own files have it and read again, so that it is made of nothing but what a
file can hold, and then goes through the same `check` as any.
"""

from __future__ import annotations

from ..document import Document, check, decode, encode
from ..errors import FormatError, LimitError, TorchkeepError, brief, brief_text
from ..limits import Limits
from ..storage import Source, Span
from .placement import Placement
from .protocol import Container, Contents


def takes(container: Container, head: bytes) -> bool:
    """Whether a registered container takes a file for its own.

    Raises:
        FormatError: it raised, or did not say yes or no.
    """
    try:
        found: object = container.probe(head)
    except Exception as error:
        raise _fault(container, f"probe raised {_told(error)}") from error
    if type(found) is not bool:
        raise _fault(container, f"probe gave {brief(found)}, neither True nor False")
    return found


def read_by(container: Container, source: Source, limits: Limits) -> Contents:
    """What a registered container reads of a file that it took.

    Raises:
        FormatError: the file cannot be read, or what was read of it breaks the contract.
        LimitError: it has more than `limits` allow.
        PathError: the storage failed.
    """
    try:
        found: object = container.read(source, limits)
    except TorchkeepError:
        raise
    except Exception as error:  # whatever a hostile file makes of it
        raise FormatError(
            f"the container {container.kind!r} cannot read it: {_told(error)}. The file is damaged, or the container "
            "does not know all of its format"
        ) from error
    if not isinstance(found, Contents):
        raise _fault(container, f"read gave {brief(found)}, and not its Contents")
    said: tuple[object, object] = (found.document, found.placement)
    if not isinstance(said[0], Document) or not isinstance(said[1], Placement):
        raise _fault(container, "its Contents are not made of a Document and a Placement")
    document = _checked(container, found.document, limits)
    _check_placement(container, document, found.placement, source.nbytes)
    metadata = found.metadata
    if type(metadata) is not dict or not all(type(text) is str for pair in metadata.items() for text in pair):
        raise _fault(container, "its metadata is not a dict of strings")
    return Contents(document, found.placement, metadata, container.kind)


def _checked(container: Container, document: Document, limits: Limits) -> Document:
    """A Document that holds, made anew from its text."""
    try:
        names = document.tensors.names
        if (longest := max((len(name.encode()) for name in names), default=0)) > limits.name_nbytes:
            raise LimitError(f"a tensor's name of {longest} bytes; the limit is {limits.name_nbytes}")
        made = decode(encode(document), limits=limits)
        check(made, limits=limits)
    except FormatError as error:
        error.message = f"the container {container.kind!r} read a document that does not hold: {error.message}"
        raise
    except Exception as error:
        raise _fault(container, f"its document cannot be written down: {_told(error)}") from error
    return made


def _check_placement(container: Container, document: Document, placement: Placement, file_nbytes: int) -> None:
    """Every stored tensor has its bytes, all of them in the file."""
    names, spans, digests = document.tensors.names, placement.spans, placement.digests
    if type(spans) is not list or len(spans) != len(names):
        raise _fault(container, f"its placement is not a list of {len(names)} spans, one a stored tensor")
    for i, (name, span) in enumerate(zip(names, spans, strict=True)):
        nbytes = document.tensors.nbytes(i)
        if not _is_span(span):
            raise _fault(container, f"the place of {name!r} is {brief_text(repr(span))}, and not a Span")
        if span.nbytes != nbytes:
            raise _fault(container, f"{name!r} has {nbytes} bytes by dtype and shape, and {span.nbytes} by its span")
        if not 0 <= span.offset <= file_nbytes - nbytes:
            raise FormatError(
                f"{name!r} should lie at {span}, and the file has {file_nbytes} bytes: it was cut short or is damaged. "
                "Copy or download it again"
            )
    if digests is not None and (
        type(digests) is not list
        or len(digests) != len(names)
        or not all(type(digest) is int and 0 <= digest < 2**64 for digest in digests)
    ):
        raise _fault(container, f"its digests are neither None nor a list of {len(names)} numbers of 64 bits")


def _is_span(found: object) -> bool:
    return isinstance(found, Span) and type(found.offset) is type(found.nbytes) is int


def _told(error: Exception) -> str:
    return brief_text(f"{type(error).__name__}: {error}")


def _fault(container: Container, what: str) -> FormatError:
    return FormatError(
        f"the container {container.kind!r} broke its contract: {what}. Nothing was loaded. Correct the container"
    )
