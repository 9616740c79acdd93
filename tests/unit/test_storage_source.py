"""Reading: every byte of every span, on both paths, or a typed error that says which and where."""

from __future__ import annotations

import ctypes
import errno
import io
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from torchkeep.errors import (
    DigestError,
    FormatError,
    LoadError,
    NotAFileError,
    NotFoundError,
    PathError,
)
from torchkeep.storage import Read, Span, local, open_source, source
from torchkeep.storage.source import _MAX_GAP, _RUN_NBYTES, _runs
from torchkeep.storage.vectors import as_bytes, remaining

PATHS = pytest.mark.parametrize("preadv", [True, False], ids=["preadv", "portable"])


both_paths = pytest.mark.usefixtures("each_path")


def pattern(nbytes: int) -> bytes:
    """Bytes of which no two neighbourhoods are alike."""
    return b"".join(i.to_bytes(4, "little") for i in range(nbytes // 4 + 1))[:nbytes]


def reads_of(data: bytes, spans: list[Span]) -> list[Read]:
    return [
        Read(span, bytearray(span.nbytes), xxh3_64_intdigest(data[span.offset : span.end]), f"t{index}")
        for index, span in enumerate(spans)
    ]


# What may be opened


def test_open_knows_path_and_size(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    with open_source(path) as file:
        assert (file.path, file.nbytes) == (str(path), 5)
        assert not os.get_inheritable(file._reading._file.fileno())
    with pytest.raises(ValueError, match="closed"):
        file.read(Span(0, 1))


def test_one_descriptor_survives_a_replaced_file(tmp_path: Path) -> None:
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_bytes(b"old")
    other.write_bytes(b"new")
    with open_source(path) as file:
        other.replace(path)
        assert file.read(Span(0, 3)) == b"old"


def test_missing(tmp_path: Path) -> None:
    path = str(tmp_path / "absent")
    with pytest.raises(NotFoundError, match="nothing was read") as caught:
        open_source(path)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, path)
    assert isinstance(caught.value, FileNotFoundError)


def test_directory(tmp_path: Path) -> None:
    with pytest.raises(NotAFileError, match="is a directory"):
        open_source(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_fifo_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    with pytest.raises(NotAFileError, match="is a FIFO"):
        open_source(path)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no sockets in the file system here")
def test_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s")
        with pytest.raises(NotAFileError, match="is a socket"):
            open_source("s")


def test_device() -> None:
    if not Path(os.devnull).is_char_device():
        pytest.skip("no device to open")
    with pytest.raises(NotAFileError, match="is a character device"):
        open_source(os.devnull)


def test_symbolic_link_and_loop(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "link").symlink_to("a")
    with open_source(tmp_path / "link") as file:
        assert file.read(Span(0, 1)) == b"x"
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(PathError, match="circle") as caught:
        open_source(tmp_path / "loop")
    assert caught.value.errno == errno.ELOOP


def test_refused_open_leaves_no_descriptor(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    with open_source(tmp_path / "a") as file:
        free = file._reading._file.fileno()
    with pytest.raises(NotAFileError):
        open_source(tmp_path)
    with open_source(tmp_path / "a") as file:
        assert file._reading._file.fileno() == free


@pytest.mark.parametrize("path", ["a\0b", "n" * 5000, "a\ud800b"])
def test_impossible_names(path: str) -> None:
    with pytest.raises(PathError, match="nothing was read"):
        open_source(path)


def test_hostile_name_is_escaped(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        open_source(tmp_path / "a\x1b[2J\u202eb")
    assert "\x1b" not in str(caught.value)
    assert "\u202e" not in str(caught.value)


@pytest.mark.parametrize("path", [b"bytes", 3])
def test_other_paths_are_type_errors(path: object) -> None:
    with pytest.raises(TypeError):
        open_source(path)  # type: ignore[arg-type]


# What is read


@both_paths
def test_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    with open_source(tmp_path / "a") as file:
        assert file.read(Span(2, 5)) == b"23456"
        assert file.read(Span(10, 0)) == b""


@pytest.mark.parametrize("span", [Span(8, 3), Span(11, 0), Span(-1, 2), Span(3, -1), Span(0, 1 << 62)])
def test_spans_outside_the_file_are_refused_before_any_write(tmp_path: Path, span: Span) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    started: list[int] = []
    first = bytearray(2)
    reads = [Read(Span(0, 2), first, None, "a"), Read(span, bytearray(2), None, "b")]
    with open_source(tmp_path / "a") as file:
        with pytest.raises(FormatError, match="truncated"):
            file.read(span)
        with pytest.raises(FormatError, match=r"'b' is truncated.*nothing was read"):
            file.read_into(reads, started=started)
        with pytest.raises(FormatError, match="'c' is truncated"):
            file.check([(span, 0, "c")])
    assert started == []
    assert first == bytes(2)


@both_paths
def test_a_file_that_shrinks_is_an_error_and_started_tells(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(pattern(30_000))
    started: list[int] = []
    reads = reads_of(pattern(30_000), [Span(20_000, 100), Span(0, 100)])
    with open_source(path) as file:
        os.truncate(path, 20_050)
        with pytest.raises(FormatError, match="truncated while reading: it ends at byte 20050"):
            file.read_into(reads, started=started)
        assert started == [1, 0]
        assert bytes(reads[1].buffer) == pattern(100)
        with pytest.raises(LoadError, match="truncated while reading"):
            file.read(Span(20_000, 100))


def test_a_buffer_of_another_size_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    with open_source(tmp_path / "a") as file, pytest.raises(ValueError, match="'t'"):
        file.read_into([Read(Span(0, 4), bytearray(5), None, "t")])


@both_paths
def test_every_kind_of_buffer(tmp_path: Path) -> None:
    data = pattern(64)
    (tmp_path / "a").write_bytes(data)
    words = (ctypes.c_uint32 * 4)()
    square = memoryview(bytearray(16)).cast("I", (2, 2))
    nothing = (ctypes.c_uint8 * 0)()
    with open_source(tmp_path / "a") as file:
        file.read_into(
            [
                Read(Span(0, 16), words, xxh3_64_intdigest(data[:16]), "words"),
                Read(Span(20, 16), square, xxh3_64_intdigest(data[20:36]), "square"),
                Read(Span(20, 0), nothing, xxh3_64_intdigest(b""), "nothing"),
            ]
        )
    assert bytes(words) == data[:16]
    assert square.tobytes() == data[20:36]


@both_paths
def test_spans_longer_than_a_run(tmp_path: Path) -> None:
    data = os.urandom(1 << 20) * (2 * _RUN_NBYTES // (1 << 20)) + b"tail"
    (tmp_path / "a").write_bytes(data)
    reads = reads_of(data, [Span(0, 1), Span(1, len(data) - 4), Span(len(data) - 3, 3)])
    with open_source(tmp_path / "a") as file:
        file.read_into(reads)
        for read in reads:
            assert bytes(read.buffer) == data[read.span.offset : read.span.end]
        file.check([(read.span, read.digest or 0, read.name) for read in reads])
        long = reads[1]
        with pytest.raises(DigestError, match="'t1'"):
            file.read_into([Read(long.span, long.buffer, 1, "t1")])
        with pytest.raises(DigestError, match="'t1'"):
            file.check([(long.span, 1, "t1")])
        file.read_into([Read(long.span, long.buffer, None, "t1")])


@PATHS
@given(data=st.data())
def test_any_spans(tmp_path_factory: pytest.TempPathFactory, preadv: bool, data: st.DataObject) -> None:
    """Any order, overlaps, gaps, repetitions and empty spans: each buffer has exactly its bytes."""
    content = pattern(20_000)
    span = st.tuples(st.integers(0, len(content)), st.integers(0, 3000)).map(
        lambda pair: Span(pair[0], min(pair[1], len(content) - pair[0]))
    )
    reads = reads_of(content, data.draw(st.lists(span, max_size=40)))
    path = tmp_path_factory.getbasetemp() / "any_spans"
    path.write_bytes(content)
    started: list[int] = []
    with pytest.MonkeyPatch.context() as patch, open_source(path) as file:
        patch.setattr(local, "_HAVE_PREADV", preadv)
        patch.setattr(source, "_RUN_NBYTES", data.draw(st.sampled_from([64, 1000, 8 << 20])))
        file.read_into(reads, started=started)
        file.check([(read.span, read.digest or 0, read.name) for read in reads])
    assert sorted(started) == list(range(len(reads)))
    for read in reads:
        assert bytes(read.buffer) == content[read.span.offset : read.span.end]


def test_neighbours_share_a_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(os, "preadv"):
        pytest.skip("this platform has no preadv")
    data = pattern(64 * 20_000)
    (tmp_path / "a").write_bytes(data)
    reads = reads_of(data, [Span(64 * i, 60) for i in range(20_000)])
    calls: list[int] = []
    real = os.preadv

    def record(fd: int, vectors: list[memoryview], offset: int) -> int:
        calls.append(len(vectors))
        return real(fd, vectors, offset)

    monkeypatch.setattr(os, "preadv", record)
    with open_source(tmp_path / "a") as file:
        file.read_into(reads)
    assert len(calls) == 40
    assert max(calls) < 1000


def test_runs_keep_their_bounds() -> None:
    gap = [Span(0, 10), Span(10 + _MAX_GAP, 10), Span(21 + 2 * _MAX_GAP, 10)]
    assert list(_runs(gap)) == [[0, 1], [2]]
    assert list(_runs([Span(5, 5), Span(0, 5), Span(3, 1)])) == [[1], [2, 0]]
    assert list(_runs([Span(0, 1), Span(1, _RUN_NBYTES), Span(_RUN_NBYTES + 1, 1)])) == [[0], [1], [2]]
    assert list(_runs([])) == []


def test_short_reads_are_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system may always give less than it was asked for."""
    data = pattern(1000)
    (tmp_path / "a").write_bytes(data)
    if hasattr(os, "preadv"):
        real = os.preadv

        def stingy(fd: int, vectors: list[memoryview], offset: int) -> int:
            return real(fd, [memoryview(vectors[0]).cast("B")[:7]], offset)

        monkeypatch.setattr(os, "preadv", stingy)
        with open_source(tmp_path / "a") as file:
            reads = reads_of(data, [Span(0, 100), Span(100, 3), Span(110, 200)])
            file.read_into(reads)
        assert [bytes(read.buffer) for read in reads] == [data[:100], data[100:103], data[110:310]]

    class Stingy(io.FileIO):
        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
            return super().readinto(as_bytes(buffer)[:7]) or 0

    monkeypatch.setattr(local, "_HAVE_PREADV", False)
    monkeypatch.setattr(io, "FileIO", Stingy)
    with open_source(tmp_path / "a") as file:
        reads = reads_of(data, [Span(0, 100), Span(100, 3), Span(110, 200)])
        file.read_into(reads)
    assert [bytes(read.buffer) for read in reads] == [data[:100], data[100:103], data[110:310]]


@given(st.lists(st.binary(max_size=5), max_size=8), st.integers(0, 40))
def test_remaining_is_what_has_not_moved(vectors: list[bytes], moved: int) -> None:
    whole = b"".join(vectors)
    assert b"".join(remaining(vectors, moved)) == whole[moved:]


# Damage


@both_paths
def test_a_bad_digest_names_the_tensor_the_range_and_the_file(tmp_path: Path) -> None:
    data = bytearray(pattern(30_000))
    reads = reads_of(bytes(data), [Span(0, 10), Span(20_000, 50), Span(25_000, 10)])
    data[20_049] ^= 1
    path = tmp_path / "a"
    path.write_bytes(data)
    started: list[int] = []
    with open_source(path) as file:
        with pytest.raises(DigestError, match="'t1' is damaged: bytes 20000 to 20050") as caught:
            file.read_into(reads, started=started)
        assert repr(str(path)) in str(caught.value)
        assert started == [0, 1]
        parts = [(read.span, read.digest or 0, read.name) for read in reads]
        with pytest.raises(DigestError, match="'t1'"):
            file.check(parts)
        assert len(list(file.damaged(parts))) == 1
        assert [str(error).split("'")[1] for error in file.damaged([(s, 0, n) for s, _, n in parts])] == [
            "t0",
            "t1",
            "t2",
        ]


def test_no_digest_no_check(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    buffer = bytearray(3)
    with open_source(tmp_path / "a") as file:
        file.read_into([Read(Span(0, 3), buffer, None, "t")])
    assert buffer == b"abc"


@both_paths
def test_a_failing_disk_is_a_path_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    (tmp_path / "a").write_bytes(b"abc")
    monkeypatch.setattr(local.LocalReading, "_preadv", fail)
    monkeypatch.setattr(local.LocalReading, "_readinto", fail)
    with (
        open_source(tmp_path / "a") as file,
        pytest.raises(PathError, match="cannot read bytes 0 to 3") as caught,
    ):
        file.read(Span(0, 3))
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, str(tmp_path / "a"))
