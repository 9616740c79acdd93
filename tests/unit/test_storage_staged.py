"""Writing: the destination is the old file or the new one, whole, with the right mode."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

import torchkeep
from torchkeep.errors import AccessError, ExistsError, NotAFileError, NotFoundError, PathError
from torchkeep.storage import local, stage, staged

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

both_paths = pytest.mark.usefixtures("each_path")


def save(path: Path | str, data: bytes, **options: bool) -> list[int]:
    with stage(path, nbytes=len(data), **options) as file:
        digests = file.write([data], 0)
        file.commit()
    return digests


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# What is written


@both_paths
@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("overwrite", [True, False])
def test_a_new_file(tmp_path: Path, durable: bool, overwrite: bool) -> None:
    assert save(tmp_path / "a", b"hello", durable=durable, overwrite=overwrite) == [xxh3_64_intdigest(b"hello")]
    assert (tmp_path / "a").read_bytes() == b"hello"
    assert names(tmp_path) == ["a"]


@both_paths
def test_an_empty_file(tmp_path: Path) -> None:
    with stage(tmp_path / "a", nbytes=0) as file:
        assert file.write([], 0) == []
        assert file.write([b""], 0) == [xxh3_64_intdigest(b"")]
        file.commit()
    assert (tmp_path / "a").read_bytes() == b""


@both_paths
def test_nothing_shows_before_the_commit(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with stage(path, nbytes=8) as file:
        [temporary] = set(names(tmp_path)) - {"a"}
        assert temporary.startswith(".torchkeep-")
        assert temporary.endswith(".tmp")
        assert (tmp_path / temporary).stat().st_size == 8
        file.write([b"5678"], 4)
        file.patch(b"1234", 0)
        assert path.read_bytes() == b"old"
        file.commit()
        assert path.read_bytes() == b"12345678"
    assert names(tmp_path) == ["a"]


def test_without_a_commit_nothing_happens(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with stage(tmp_path / "a", nbytes=3) as file:
        file.write([b"new"], 0)
    assert (tmp_path / "a").read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_one_commit_only(tmp_path: Path) -> None:
    with stage(tmp_path / "a", nbytes=0) as file:
        file.commit()
        with pytest.raises(ValueError, match="one commit"):
            file.commit()
        with pytest.raises(ValueError, match="one commit"):
            file.patch(b"", 0)
    assert names(tmp_path) == ["a"]


@both_paths
@given(data=st.data())
def test_any_batches(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """However buffers are cut into batches, the file is their concatenation."""
    buffers = data.draw(st.lists(st.binary(max_size=200), max_size=50))
    offset = data.draw(st.integers(0, 10))
    total = offset + sum(map(len, buffers))
    path = tmp_path_factory.getbasetemp() / "any_batches"
    heard: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(staged, "_BATCH_NBYTES", data.draw(st.sampled_from([16, 100, 1 << 20])))
        patch.setattr(staged, "MAX_VECTORS", data.draw(st.sampled_from([1, 3, 1000])))
        with stage(path, nbytes=total, durable=False) as file:
            assert file.write(iter(buffers), offset, progress=heard.append) == list(map(xxh3_64_intdigest, buffers))
            file.commit()
    assert path.read_bytes() == bytes(offset) + b"".join(buffers)
    assert heard == sorted(heard)
    assert not heard or heard[-1] == total - offset


@both_paths
def test_every_kind_of_buffer(tmp_path: Path) -> None:
    words = (ctypes.c_uint32 * 2)(1, 2)
    square = memoryview(bytes(range(16))).cast("I", (2, 2))
    buffers: list[ReadableBuffer] = [
        words,
        square,
        b"ab",
        bytearray(b"cd"),
        memoryview(b"ef"),
        (ctypes.c_uint8 * 0)(),
    ]
    expected = bytes(words) + bytes(range(16)) + b"abcdef"
    with stage(tmp_path / "a", nbytes=len(expected)) as file:
        assert file.write(buffers, 0) == [xxh3_64_intdigest(bytes(buffer)) for buffer in buffers]
        file.commit()
    assert (tmp_path / "a").read_bytes() == expected


def test_the_iterable_is_consumed_as_it_is_written(tmp_path: Path) -> None:
    """What was written is let go before more is made: one batch is alive at a time, or one long buffer."""
    alive = peak = 0
    heard: list[int] = []

    class Block(bytearray):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def blocks(count: int, nbytes: int) -> Iterator[Block]:
        nonlocal alive, peak
        peak = 0
        for _ in range(count):
            alive += 1
            peak = max(peak, alive)
            yield Block(nbytes)

    with stage(tmp_path / "a", nbytes=96 << 20, durable=False) as file:
        file.write(blocks(12, 8 << 20), 0, progress=heard.append)
        assert peak == 2
        file.write(blocks(4, 24 << 20), 0)
        assert peak == 1
    assert heard == [(i + 1) << 24 for i in range(6)]


def test_progress_within_a_long_buffer(tmp_path: Path) -> None:
    heard: list[int] = []
    with stage(tmp_path / "a", nbytes=40 << 20, durable=False) as file:
        [digest] = file.write([bytes(40 << 20)], 0, progress=heard.append)
    assert heard == list(range(4 << 20, (40 << 20) + 1, 4 << 20))
    assert digest == xxh3_64_intdigest(bytes(40 << 20))


@pytest.mark.parametrize("offset", [-1, 2, 1 << 62])
def test_nothing_is_written_outside_the_file(tmp_path: Path, offset: int) -> None:
    with stage(tmp_path / "a", nbytes=4) as file:
        with pytest.raises(ValueError, match="outside"):
            file.patch(b"abc", offset)
        with pytest.raises(ValueError, match="outside"):
            file.write([b"abc"], offset)


@both_paths
def test_short_writes_are_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if hasattr(os, "pwritev"):
        pwritev = os.pwritev
        monkeypatch.setattr(os, "pwritev", lambda fd, vectors, at: pwritev(fd, [bytes(vectors[0])[:3]], at))
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, bytes(data)[:3]))
    with stage(tmp_path / "a", nbytes=26, durable=False) as file:
        file.write([memoryview(b"abcdefgh").cast("H"), b"ijk", b"", b"lmnopqrstuvwxyz"], 0)
        file.commit()
    assert (tmp_path / "a").read_bytes() == b"abcdefghijklmnopqrstuvwxyz"


@both_paths
def test_a_system_that_writes_nothing_is_no_endless_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local.LocalWriting, "_pwritev", lambda *_: 0)
    monkeypatch.setattr(local.LocalWriting, "_seek_write", lambda *_: 0)
    with pytest.raises(PathError, match="wrote nothing"):
        save(tmp_path / "a", b"x")
    assert names(tmp_path) == []


def test_durable_flushes_the_file_and_then_its_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[str] = []
    fsync = os.fsync

    def record(fd: int) -> None:
        flushed.append("directory" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", record)
    save(tmp_path / "a", b"x", durable=False)
    assert flushed == []
    save(tmp_path / "a", b"x", durable=True)
    assert flushed == (["file", "directory"] if local._HAVE_DIRECTORY_FSYNC else ["file"])


# What is replaced


@both_paths
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_new_file_follows_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        save(tmp_path / "a", b"x")
    finally:
        os.umask(before)
    assert mode(tmp_path / "a") == 0o666 & ~umask


@both_paths
@pytest.mark.parametrize("bits", [0o600, 0o640, 0o666, 0o755, 0o400])
def test_a_replaced_file_hands_on_its_permissions(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(bits)
    save(path, b"new")
    assert path.read_bytes() == b"new"
    assert mode(path) == bits


def test_a_private_file_is_never_open_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(0o600)
    created: list[int] = []
    real = os.open

    def record(name: str, flags: int, bits: int = 0o777) -> int:
        created.append(bits)
        return real(name, flags, bits)

    monkeypatch.setattr(os, "open", record)
    save(path, b"new", durable=False)
    assert created == [0o600]


@both_paths
def test_a_mapped_file_keeps_its_bytes_for_who_maps_it(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old" * 5000)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as old:
        with stage(path, nbytes=15000) as new:
            new.write([old], 0)  # the source of the new file is the old one
            new.patch(b"NEW", 0)
            new.commit()
        assert old[:] == b"old" * 5000
    assert path.read_bytes() == b"NEW" + b"old" * 4999


def test_a_hard_link_keeps_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    os.link(tmp_path / "a", tmp_path / "b")
    save(tmp_path / "a", b"new")
    assert ((tmp_path / "a").read_bytes(), (tmp_path / "b").read_bytes()) == (b"new", b"old")


# Links


@both_paths
def test_a_chain_of_links_is_followed_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target = tmp_path / "real" / "a"
    target.write_bytes(b"old")
    target.chmod(0o640)
    (tmp_path / "second").symlink_to("real/a")
    (tmp_path / "first").symlink_to(tmp_path / "second")
    with stage(tmp_path / "first", nbytes=3) as file:
        assert file._writing.path == str(target.resolve())
        assert len(names(tmp_path / "real")) == 2  # staged where the file lives, not where the link does
        file.write([b"new"], 0)
        file.commit()
    assert (tmp_path / "first").is_symlink()
    assert (tmp_path / "second").is_symlink()
    assert target.read_bytes() == b"new"
    assert mode(target) == 0o640
    assert names(tmp_path / "real") == ["a"]


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_dangling_link_makes_its_target(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "link").symlink_to("target")
    save(tmp_path / "link", b"x", overwrite=overwrite)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"x"


def test_a_link_into_nowhere_names_the_missing_directory(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere/target")
    with pytest.raises(NotFoundError) as caught:
        save(tmp_path / "link", b"x")
    assert caught.value.filename == str((tmp_path / "nowhere").resolve())


def test_a_loop_of_links(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(PathError, match="circle") as caught:
        save(tmp_path / "a", b"x")
    assert caught.value.errno == errno.ELOOP
    assert names(tmp_path) == ["a", "b"]


# What is refused


def test_overwrite_false_keeps_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(ExistsError, match=r"as it was.*overwrite=True") as caught:
        save(tmp_path / "a", b"new", overwrite=False)
    assert isinstance(caught.value, FileExistsError)
    assert caught.value.errno == errno.EEXIST
    assert (tmp_path / "a").read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


@both_paths
def test_overwrite_false_keeps_what_comes_in_between(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with stage(path, nbytes=3, overwrite=False) as file:
        file.write([b"new"], 0)
        path.write_bytes(b"racer")
        with pytest.raises(ExistsError):
            file.commit()
    assert path.read_bytes() == b"racer"
    assert names(tmp_path) == ["a"]


def test_where_links_are_refused_the_name_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    save(tmp_path / "a", b"x", overwrite=False)
    with stage(tmp_path / "b", nbytes=1, overwrite=False) as file:
        (tmp_path / "b").write_bytes(b"racer")
        with pytest.raises(ExistsError):
            file.commit()
    with stage(tmp_path / "c", nbytes=1, overwrite=False) as file:
        monkeypatch.setattr(os, "replace", refuse)
        with pytest.raises(AccessError, match="as it was"):
            file.commit()
    assert (tmp_path / "a").read_bytes() == b"x"
    assert (tmp_path / "b").read_bytes() == b"racer"
    assert names(tmp_path) == ["a", "b"]  # the claim to "c" is gone, too


def test_a_directory(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for path in (str(tmp_path / "d"), str(tmp_path / "new") + os.sep):
        with pytest.raises(NotAFileError, match="is a directory"):
            save(path, b"x")
    assert names(tmp_path) == ["d"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_fifo(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "f")
    (tmp_path / "link").symlink_to("f")
    for name in ("f", "link"):
        with pytest.raises(NotAFileError, match="is a FIFO"):
            save(tmp_path / name, b"x")
    assert names(tmp_path) == ["f", "link"]


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no sockets in the file system here")
def test_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s")
        with pytest.raises(NotAFileError, match="is a socket"):
            save("s", b"x")
    assert names(tmp_path) == ["s"]


def test_a_device() -> None:
    if not Path(os.devnull).is_char_device():
        pytest.skip("no device to refuse")
    with pytest.raises(NotAFileError, match="is a character device"):
        save(os.devnull, b"x")


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    missing = (tmp_path / "missing").resolve()
    with pytest.raises(NotFoundError, match="nothing was saved") as caught:
        save(missing / "a", b"x")
    assert caught.value.filename == str(missing)
    assert repr(str(missing)) in str(caught.value)


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(PathError) as caught:
        save(tmp_path / "a" / "b", b"x")
    assert caught.value.errno == errno.ENOTDIR


@pytest.mark.parametrize("name", ["n" * 300, "a\0b", "a\ud800b"])
def test_impossible_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(PathError, match="as it was"):
        save(tmp_path / name, b"x")
    assert names(tmp_path) == []


def test_a_relative_path_is_where_it_was_when_it_was_staged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    with stage("a", nbytes=1) as file:
        file.write([b"x"], 0)
        os.chdir("elsewhere")
        file.commit()
    assert names(tmp_path) == ["a", "elsewhere"]
    assert names(tmp_path / "elsewhere") == []


@pytest.mark.parametrize("sizes", [(3_000_000,), (100,) * 50], ids=["one large", "many small"])
def test_tensors_that_change_while_they_are_saved(
    tmp_path: Path, sizes: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread trains: what is digested is what is written, so that the file loads."""
    path = tmp_path / "x.safetensors"
    values = [torch.zeros(size) for size in sizes]
    write = local.LocalWriting.write

    def change_and_write(self: local.LocalWriting, buffers: Any, offset: int) -> int:
        for value in values:
            value += 1
        return write(self, buffers, offset)

    monkeypatch.setattr(local.LocalWriting, "write", change_and_write)
    torchkeep.save(values, path)
    assert [loaded.numel() for loaded in torchkeep.load(path)] == list(sizes)
    assert values[0][0] > 0
