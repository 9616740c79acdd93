"""Program <-> canonical JSON, one text for each: what is read is written again and compared."""

from __future__ import annotations

import msgspec

from ..errors import FormatError, LimitError, VersionError
from ..limits import LIMITS, Limits
from .model import VERSION, Program

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Program)


class _Version(msgspec.Struct):
    version: int


_version = msgspec.json.Decoder(_Version)


def encode(program: Program) -> bytes:
    """The UTF-8 text of a Program."""
    return _encoder.encode(program)


def decode(text: bytes, *, limits: Limits = LIMITS) -> Program:
    """The Program of a text; `check` it before use.

    Raises:
        VersionError: a newer torchkeep wrote it.
        FormatError: P-1, the text is not JSON, not of the schema, or not in canonical form.
        LimitError: it is longer than `limits` allow.
    """
    if len(text) > limits.program_nbytes:
        raise LimitError(f"a program of {len(text)} bytes; the limit is {limits.program_nbytes}")
    try:
        version = _version.decode(text).version
        if version != VERSION:
            raise VersionError(
                f"the program has version {version}, and this torchkeep runs version {VERSION}. Nothing was loaded. "
                "Install the torchkeep that the file's environment names, or a newer one.",
                clause="P-1",
            )
        program = _decoder.decode(text)
        again = _encoder.encode(program)
    except (ValueError, RecursionError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"the program is not of its schema: {error}", clause="P-1") from error
    if again != text:
        raise FormatError("the program is not in canonical form", clause="P-1")
    return program
