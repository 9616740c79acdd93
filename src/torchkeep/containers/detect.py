"""What a file is, by its content and never by its name."""

from __future__ import annotations

from ..errors import FormatError, OtherFormatError
from ..limits import LIMITS, Limits
from ..storage import Source, Span
from . import contract, registry
from .native import Native
from .plain import Plain
from .protocol import HEAD_NBYTES, Contents

_NATIVE, _PLAIN = Native(), Plain()

_TORCH_LEGACY = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""The magic number that torch.save wrote before 1.6, as a pickle."""

_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"PK\x05\x06", "an empty zip archive"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras .h5?)"),
    (0, b"\x93NUMPY", "a numpy .npy file"),
    (0, b"GGUF", "a GGUF file (llama.cpp)"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"BZh", "a bzip2 archive"),
    (0, b"\xfd7zXZ\x00", "an xz archive"),
    (0, b"\x28\xb5\x2f\xfd", "a zstandard archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-zip archive"),
    (257, b"ustar", "a tar archive"),
    (
        0,
        b"version https://git-lfs.github.com/spec/",
        "a Git LFS pointer: `git lfs pull` fetches the real file",
    ),
    (0, b"\x89PNG", "a PNG picture"),
    (0, b"\x7fELF", "an ELF program"),
    (0, b"%PDF", "a PDF document"),
    (0, b"#!", "a script"),
    (0, b"<", "an HTML or XML text: a download that answered with a web page?"),
    (0, b"{", "a JSON text"),
)


def read(source: Source, *, limits: Limits = LIMITS) -> Contents:
    """Detect what `source` is and read its meaning, under the limits; no tensor's bytes.

    Raises:
        OtherFormatError: a file of another format, which the message names.
        FormatError: a file that breaks a clause of its format, or that its container cannot read.
    """
    try:
        return _read(source, limits)
    except FormatError as error:
        error.tell(source.path, "Nothing was loaded.")
        raise


def _read(source: Source, limits: Limits) -> Contents:
    if not source.nbytes:
        raise OtherFormatError(f"{source.path} is empty: 0 bytes")
    head = source.read(Span(0, min(source.nbytes, HEAD_NBYTES)))
    for own in (_NATIVE, _PLAIN):
        if own.probe(head):
            return own.read(source, limits)
    for container in registry.registered():
        if contract.takes(container, head):
            return contract.read_by(container, source, limits)
    if other := _name_other(source, head):
        raise OtherFormatError(
            f"{source.path} is {other}. This torchkeep reads safetensors files, its own and others', and what "
            "torchkeep.register_container adds. Nothing was loaded, and nothing of the file was run."
        )
    return _PLAIN.read(source, limits)  # says what keeps it from being one


def _name_other(source: Source, head: bytes) -> str | None:
    """The format that a file belongs to, if it is a known one."""
    if head.startswith(b"PK\x03\x04"):
        return _name_zip(source, head)
    if head.startswith(b"\x80") and _TORCH_LEGACY in head[:32]:
        return "a torch.save file (before torch 1.6)"
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05":
        return "a Python pickle"
    for at, magic, name in _MAGIC:
        if head[at : at + len(magic)] == magic:
            return name
    if head[:1] == b"\x08" and head[2:3] == b"\x12" and (b"pytorch" in head or b"onnx" in head):
        return "an ONNX model"
    return _name_text(source, head)


def _name_zip(source: Source, head: bytes) -> str:
    """What a zip archive is, by its first members and the last ones that its directory lists."""
    nbytes = min(source.nbytes, _TAIL_NBYTES)
    names = head + source.read(Span(source.nbytes - nbytes, nbytes))
    for mark, name in _IN_ZIPS:
        if mark in names:
            return name
    return "a zip archive"


_TAIL_NBYTES = 1 << 16

_IN_ZIPS: tuple[tuple[bytes, str], ...] = (
    (b"/constants.pkl", "a TorchScript archive (torch.jit.save)"),
    (b"archive_format", "a .pt2 archive (torch.export.save)"),
    (b"data.pkl", "a torch.save file (zip, torch 1.6 or later)"),
    (b".npy", "a numpy .npz archive"),
)
"""Members that tell what an archive is, the most telling first."""


def _name_text(source: Source, head: bytes) -> str | None:
    """A text, or a pickle of the protocol that is one."""
    end = source.read(Span(source.nbytes - 1, 1))
    if head[:1] in b"(c" and b"\n" in head and end == b".":
        return "a Python pickle (protocol 0)"
    control = any(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head)
    return None if control or len(head) < _TEXT_NBYTES or not head.isascii() else "a text"


_TEXT_NBYTES = 16
"""Fewer characters could be anything."""
