"""What a save leaves behind when it fails: the old file, whole, and no litter.

Made with real disks, limits, signals and users; only a failing flush is made up.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from torchkeep.errors import AccessError, FullError, NotAFileError, NotFoundError, PathError
from torchkeep.storage import local, stage

OLD = b"old bytes " * 1000
MIB = 1 << 20

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="these failures are made the POSIX way"),
    pytest.mark.usefixtures("each_path"),
]

PORTABLE = """
import os
for name in "preadv pwritev posix_fallocate fchmod link O_DIRECTORY".split():
    vars(os).pop(name, None)
"""
"""What a child does first, so that it takes the path that its parent takes."""


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


def save(path: Path, data: bytes = b"x", *, meanwhile: Callable[[], object] = lambda: None) -> None:
    with stage(path, nbytes=len(data)) as file:
        file.write([data], 0)
        meanwhile()
        file.commit()


def child(script: str, *args: object) -> subprocess.Popen[str]:
    script = script if local._HAVE_PWRITEV else PORTABLE + script
    command = [sys.executable, "-W", "error", "-c", script, *map(str, args)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def told(script: str, *args: object) -> list[str]:
    """Run a script to its end; the lines that it printed."""
    with child(script, *args) as process:
        output, _ = process.communicate()
    assert process.returncode == 0
    return output.splitlines()


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Path]:
    """A file that every test fails to replace."""
    path = tmp_path / "a"
    path.write_bytes(OLD)
    yield path
    assert path.read_bytes() == OLD
    assert names(tmp_path) == ["a"]


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that other users can reach, unlike pytest's own."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB with an old file on it."""
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(path)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a file system")
    try:
        (path / "a").write_bytes(OLD)
        yield path
        assert (path / "a").read_bytes() == OLD
        assert names(path) == ["a"]
    finally:
        subprocess.run(["umount", str(path)], check=True)


# No space


@pytest.mark.parametrize("name", ["a", "new"])
def test_a_full_disk_is_known_before_the_first_write(small_disk: Path, name: str) -> None:
    if not local._HAVE_FALLOCATE:
        pytest.skip("nothing reserves space here")
    with pytest.raises(FullError, match=r"reserve 4194304 bytes.*as it was") as caught:
        save(small_disk / name, bytes(4 * MIB))
    assert caught.value.errno == errno.ENOSPC


def test_a_disk_that_fills_while_writing(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_HAVE_FALLOCATE", False)
    with pytest.raises(FullError, match=r"cannot write.*as it was"):
        save(small_disk / "a", bytes(4 * MIB))


def test_a_read_only_disk(small_disk: Path) -> None:
    remount = ["mount", "-o", "remount,ro", str(small_disk)]
    subprocess.run(remount, check=True)
    with pytest.raises(AccessError, match="read-only") as caught:
        save(small_disk / "a")
    assert caught.value.errno == errno.EROFS


LIMITED = """
import resource, signal, sys
from torchkeep.errors import FullError
from torchkeep.storage import local, stage
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
if sys.argv[2] == "write":
    local._HAVE_FALLOCATE = False
    local._reserve = lambda fd, nbytes: None
try:
    with stage(sys.argv[1], nbytes=200_000) as file:
        print("reserved")
        file.write([bytes(60_000), bytes(60_000)], 0)
except FullError as error:
    print(error.errno, "as it was" in str(error))
"""


@pytest.mark.parametrize("when", ["reserve", "write"])
def test_a_limit_on_file_size(old: Path, when: str) -> None:
    lines = told(LIMITED, old, when)
    assert lines[-1] == f"{errno.EFBIG} True"
    assert ("reserved" in lines) == (when == "write")


# No permission

UNPRIVILEGED = """
import os, sys
from torchkeep.errors import AccessError
from torchkeep.storage import open_source, stage
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    if sys.argv[2] == "read":
        open_source(sys.argv[1])
    else:
        with stage(sys.argv[1], nbytes=1):
            print("staged")
except AccessError as error:
    print(error.errno, isinstance(error, PermissionError), error)
"""


def test_no_permission_to_read(open_directory: Path) -> None:
    path = open_directory / "a"
    path.write_bytes(OLD)
    path.chmod(0o000)
    [line] = told(UNPRIVILEGED, path, "read")
    assert line.startswith(f"{errno.EACCES} True [TK-ACCESS] cannot open {str(path)!r}")


def test_no_permission_to_write(open_directory: Path) -> None:
    path = open_directory / "a"
    path.write_bytes(OLD)
    open_directory.chmod(0o555)
    [line] = told(UNPRIVILEGED, path, "write")
    open_directory.chmod(0o755)
    assert line.startswith(f"{errno.EACCES} True [TK-ACCESS] cannot create a file in {str(open_directory)!r}")
    assert "as it was" in line
    assert path.read_bytes() == OLD
    assert names(open_directory) == ["a"]


# The process ends

INTERRUPTED = """
import sys
from torchkeep.storage import stage
def buffers():
    yield bytes(1 << 24)
    print("half way", flush=True)
    sys.stdin.read()
    yield bytes(1 << 24)
with stage(sys.argv[1], nbytes=1 << 25) as file:
    file.write(buffers(), 0)
    file.commit()
"""


def interrupted(path: Path, number: int) -> None:
    with child(INTERRUPTED, path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half way\n"
        process.send_signal(number)
    assert process.returncode == -number


def test_a_killed_process_leaves_the_old_file_whole(old: Path) -> None:
    interrupted(old, signal.SIGKILL)
    assert old.read_bytes() == OLD
    [litter] = set(names(old.parent)) - {"a"}  # nobody was left to remove it
    assert litter.startswith(".torchkeep-")
    (old.parent / litter).unlink()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_control_c_leaves_no_litter(old: Path) -> None:
    script = INTERRUPTED.replace("import sys", "import sys; sys.stderr = None")
    with child(script, old) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half way\n"
        process.send_signal(signal.SIGINT)
    assert process.returncode in (-signal.SIGINT, 128 + signal.SIGINT)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, MemoryError, RuntimeError, GeneratorExit])
def test_whatever_stops_the_caller(old: Path, kind: type[BaseException]) -> None:
    def buffers() -> Iterator[bytes]:
        yield b"x"
        raise kind

    with pytest.raises(kind), stage(old, nbytes=2) as file:
        file.write(buffers(), 0)


# The system refuses the commit


def fail_with(number: int, calls: list[str] | None = None) -> Callable[..., None]:
    def fail(*_: object) -> None:
        if calls is not None:
            calls.append("called")
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.EIO, PathError), (errno.ENOSPC, FullError), (errno.EDQUOT, FullError)]
)
def test_a_failed_flush_is_never_tried_again(
    old: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[PathError]
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(os, "fsync", fail_with(number, calls))
    with pytest.raises(kind, match=r"cannot save.*as it was") as caught:
        save(old)
    assert type(caught.value) is kind
    assert (caught.value.errno, caught.value.filename) == (number, str(old.resolve()))
    assert calls == ["called"]


def test_a_failed_commit_cannot_be_tried_again(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with stage(old, nbytes=1) as file:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail_with(errno.EIO))
            with pytest.raises(PathError):
                file.commit()
        with pytest.raises(ValueError, match="one commit"):
            file.commit()


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES])
def test_a_directory_that_cannot_be_flushed_is_told_truthfully(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    if not local._HAVE_DIRECTORY_FSYNC:
        pytest.skip("no flushing of directories here")
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (fsync(fd), monkeypatch.setattr(os, "fsync", fail_with(number))))
    with pytest.raises(PathError, match="in place and whole, but may not survive a power cut"):
        save(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"x"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP])
def test_a_file_system_without_directory_flushes_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (fsync(fd), monkeypatch.setattr(os, "fsync", fail_with(number))))
    with stage(tmp_path / "a", nbytes=1) as file:
        file.commit()
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_that_reserves_nothing_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", fail_with(number), raising=False)
    with stage(tmp_path / "a", nbytes=3) as file:
        file.commit()
    assert (tmp_path / "a").read_bytes() == bytes(3)


def test_a_directory_takes_the_name_meanwhile(tmp_path: Path) -> None:
    with pytest.raises(NotAFileError, match="as it was"):
        save(tmp_path / "a", meanwhile=(tmp_path / "a").mkdir)
    assert (tmp_path / "a").is_dir()
    assert names(tmp_path) == ["a"]


def test_the_directory_goes_away_meanwhile(tmp_path: Path) -> None:
    home = tmp_path / "d"
    home.mkdir()
    with pytest.raises(NotFoundError):
        save(home / "a", meanwhile=lambda: shutil.rmtree(home))
    assert names(tmp_path) == []


def test_every_step_that_can_fail_leaves_no_descriptor_and_no_litter(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same promise for each system call on the way, one after another."""
    with old.open("rb") as file:
        free = file.fileno()
    native = ("lstat", "open", "fchmod", "posix_fallocate", "pwritev", "fsync", "replace")
    portable = ("lstat", "open", "chmod", "ftruncate", "lseek", "write", "fsync", "replace")
    for step in native if local._HAVE_PWRITEV else portable:
        with monkeypatch.context() as patch:
            patch.setattr(os, step, fail_with(errno.EIO))
            with pytest.raises(PathError, match="as it was"):
                save(old)
        with old.open("rb") as file:
            assert file.fileno() == free
        assert old.read_bytes() == OLD
        assert names(old.parent) == ["a"]
