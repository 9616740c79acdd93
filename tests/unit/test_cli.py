"""The command line: what it prints, its exit status, and a terminal that stays itself whatever a file says."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from xxhash import xxh3_64_intdigest

import torchkeep
from torchkeep import containers, values
from torchkeep.cli import main
from torchkeep.document import ClassInfo, Document, Finding, Map, Opaque, Ref, TensorTable, Typed

Saved = Callable[[Any], Path]
Capture = pytest.CaptureFixture[str]


def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    command = [sys.executable, "-W", "error", "-m", "torchkeep", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


# What it prints


def test_inspect_prints_the_report(saved: Saved, capsys: Capture) -> None:
    path = saved(nn.Linear(2, 2))
    assert main(["inspect", str(path)]) == 0
    out, err = capsys.readouterr()
    assert out == str(torchkeep.inspect(path)) + "\n"
    assert err == ""


def test_inspect_json_parses(saved: Saved, capsys: Capture) -> None:
    path = saved({"model": nn.Linear(2, 2), "nan": float("nan"), "bytes": b"\xff", "odd \u202e\x1b\ud800": 1})
    assert main(["inspect", "--json", str(path)]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == torchkeep.inspect(path).to_dict()
    assert out.isascii()
    assert err == ""
    assert main(["inspect", str(path), "--json"]) == 0


def test_a_long_tree_is_cut_unless_all_is_asked_for(saved: Saved, capsys: Capture) -> None:
    path = saved({str(i): torch.zeros(1) for i in range(300)})
    assert main(["inspect", str(path)]) == 0
    out, _ = capsys.readouterr()
    assert "... more than 200 lines" in out
    assert "['299']" not in out
    assert main(["inspect", "--all", str(path)]) == 0
    out, _ = capsys.readouterr()
    assert "more than" not in out
    assert "['299']" in out


def test_diff_says_by_its_status_whether_files_differ(tmp_path: Path, capsys: Capture) -> None:
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    torchkeep.save({"net": [torch.ones(1)], "epoch": 1}, a)
    torchkeep.save({"net": [torch.ones(1)], "epoch": 2}, b)
    assert main(["diff", a, a]) == 0
    assert capsys.readouterr().out == str(torchkeep.diff(a, a)) + "\n"
    assert main(["diff", a, b]) == 1
    out, err = capsys.readouterr()
    assert out == str(torchkeep.diff(a, b)) + "\n"
    assert out.endswith("  ~ ['epoch']: 1 -> 2\n")
    assert err == ""
    assert main(["diff", a, b, "--key", "net"]) == 0
    assert main(["diff", a, b, "--key-a", "net", "--key-b", "net"]) == 0
    assert main(["diff", a, b, "--key-a", "net"]) == 1


def test_diff_json_parses(tmp_path: Path, capsys: Capture) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    torchkeep.save({"x \u202e\x1b\ud800": 1, 2**70: 1, float("nan"): 1, b"k": 1, None: 2, (1, "a"): torch.ones(1)}, a)
    torchkeep.save({"x \u202e\x1b\ud800": 2**20_000, "\ud800": b"\xff", 1: [float("inf")], 2.5: True}, b)
    assert main(["diff", str(a), str(b), "--json"]) == 1
    out, _ = capsys.readouterr()
    assert json.loads(out) == torchkeep.diff(a, b).to_dict()
    assert out.isascii()


def test_a_long_list_of_differences_is_cut_unless_all_is_asked_for(tmp_path: Path, capsys: Capture) -> None:
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    torchkeep.save(dict.fromkeys(range(300), 1), a)
    torchkeep.save(dict.fromkeys(range(300), 2), b)
    assert main(["diff", a, b]) == 1
    assert capsys.readouterr().out.endswith("  ~ [199]: 1 -> 2\n  ... and 100 more\n")
    assert main(["diff", "--all", a, b]) == 1
    assert capsys.readouterr().out.endswith("  ~ [299]: 1 -> 2\n")


def test_diff_in_a_process_of_its_own(saved: Saved, tmp_path: Path) -> None:
    path = saved(1)
    torchkeep.save(2, tmp_path / "b")
    assert run("diff", path, path).returncode == 0
    done = run("diff", path, tmp_path / "b")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.endswith("  ~ the root: 1 -> 2\n")


@pytest.mark.parametrize("which", [0, 1])
def test_trouble_of_diff_is_status_2(saved: Saved, tmp_path: Path, which: int, capsys: Capture) -> None:
    files = [str(saved(1)), str(tmp_path / "absent")]
    assert main(["diff", files[which], files[1 - which]]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("NotFoundError[TK-NOT-FOUND]: ")
    assert "absent" in err
    (tmp_path / "bad").write_bytes(bytes(99))
    assert main(["diff", files[0], str(tmp_path / "bad")]) == 2
    assert capsys.readouterr().err.startswith("FormatError[TK-FORMAT]: ")
    assert main(["diff", files[0], files[0], "--key", "no"]) == 2
    assert capsys.readouterr().err.startswith("KeyMissingError[TK-KEY]: ")


def test_the_module_and_the_version(saved: Saved) -> None:
    done = run("inspect", saved(1))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(str(saved(1)))
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"torchkeep {torchkeep.__version__}\n")


def test_help_names_every_verb(capsys: Capture) -> None:
    for arguments in (["--help"], ["inspect", "--help"], ["diff", "--help"], ["explain", "--help"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 0
        out, _ = capsys.readouterr()
        for verb in ("inspect", "diff", "explain") if arguments == ["--help"] else arguments[:1]:
            assert verb in out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["inspect"],
        ["explode", "x"],
        ["inspect", "--no", "x"],
        ["inspect", "a", "b"],
        ["diff"],
        ["diff", "a"],
        ["diff", "a", "b", "c"],
        ["diff", "a", "b", "--key"],
        ["explain"],
        ["explain", "a", "b"],
        ["explain", "a", "--import"],
    ],
)
def test_a_wrong_call(arguments: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("usage: torchkeep")


# Errors

TROUBLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "absent": (lambda path: None, "NotFoundError[TK-NOT-FOUND]: "),
    "directory": (Path.mkdir, "NotAFileError[TK-NOT-A-FILE]: "),
    "FIFO": (getattr(os, "mkfifo", Path.touch), "NotAFileError[TK-NOT-A-FILE]: "),
    "empty": (lambda path: path.write_bytes(b""), "OtherFormatError[TK-OTHER]: "),
    "pickle": (lambda path: path.write_bytes(pickle.dumps([1] * 99)), "OtherFormatError[TK-OTHER]: "),
    "gzip": (lambda path: path.write_bytes(gzip.compress(b"text")), "OtherFormatError[TK-OTHER]: "),
    "torch.save": (lambda path: torch.save({"a": torch.ones(1)}, path), "OtherFormatError[TK-OTHER]: "),
    "nothing": (lambda path: path.write_bytes(bytes(99)), "FormatError[TK-FORMAT]: "),
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no FIFOs here")
@pytest.mark.parametrize("name", TROUBLE)
@pytest.mark.parametrize("options", [[], ["--json"], ["--all"]], ids=["plain", "json", "all"])
def test_trouble_is_one_message_and_status_1(tmp_path: Path, name: str, options: list[str], capsys: Capture) -> None:
    path = tmp_path / "model.safetensors"
    make, begins = TROUBLE[name]
    make(path)
    assert main(["inspect", *options, str(path)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(begins)
    assert str(path) in err
    assert "Traceback" not in err


def test_trouble_in_a_process_of_its_own(tmp_path: Path) -> None:
    done = run("inspect", tmp_path / "absent")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("NotFoundError[TK-NOT-FOUND]: ")
    assert "Traceback" not in done.stderr


# Pipes and terminals


@pytest.mark.skipif(os.name != "posix", reason="pipes break the POSIX way")
@pytest.mark.parametrize("options", [["--all"], ["--json"]], ids=["all", "json"])
def test_a_reader_that_has_seen_enough(saved: Saved, options: list[str]) -> None:
    path = saved({f"{i}" * 20: torch.zeros(1) for i in range(3000)})
    command = [sys.executable, "-W", "error", "-m", "torchkeep", "inspect", *options, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


CLOSED = """
import errno, io, sys
from torchkeep.cli import main

class Closed(io.StringIO):
    def write(self, text):
        raise OSError(errno.EINVAL, "Invalid argument")

    def fileno(self):
        return 1

sys.platform, sys.stdout = sys.argv[2], Closed()
raise SystemExit(main(["inspect", sys.argv[1]]))
"""


@pytest.mark.parametrize(("platform", "status"), [("win32", 0), ("linux", 1)])
def test_a_pipe_that_is_closed_on_windows(saved: Saved, platform: str, status: int) -> None:
    """Windows calls it an invalid argument; elsewhere that is an error like any other."""
    command = [sys.executable, "-W", "error", "-c", CLOSED, str(saved([1])), platform]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (status, "")
    assert ("Invalid argument" in done.stderr) == (status == 1)


@pytest.mark.skipif(os.name != "posix", reason="pipes break the POSIX way")
def test_a_reader_of_differences_that_has_seen_enough(tmp_path: Path) -> None:
    torchkeep.save({f"{i}" * 20: 1 for i in range(9000)}, tmp_path / "a")
    torchkeep.save({}, tmp_path / "b")
    command = [sys.executable, "-m", "torchkeep", "diff", "--all", str(tmp_path / "a"), str(tmp_path / "b")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
def test_a_full_disk_is_told(saved: Saved) -> None:
    path = saved(1)
    with open("/dev/full", "w", encoding="utf-8") as full:
        command = [sys.executable, "-m", "torchkeep", "inspect", str(path)]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        command[3:] = ["diff", str(path), str(path)]
        assert subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False).returncode == 2


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_terminal_that_lacks_characters(saved: Saved, encoding: str) -> None:
    path = saved({"naïve 層 😀": torch.ones(1)})
    done = run("inspect", path, env=os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}, encoding=encoding)
    assert done.returncode == 0
    assert done.stderr == ""
    assert "float32" in done.stdout


HOSTILE = "a\x1b[31m\x07\x00\r\n\x9b2J\u202e\u2066\u200b\u2028\ud800\U000e0041z"

BAD = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\U000e0000-\U000e007f]"
)
"""What a terminal may act on: everything but the line breaks that we print ourselves."""


def expect_harmless(text: str, *, of: str = "") -> None:
    assert not BAD.search(text), ascii(text)
    assert "\n\x9b" not in text
    if of:
        assert of in text


def write(path: Path, document: Document, data: list[bytes] | None = None) -> Path:
    """A file of a Document that `save` would never write, sealed as a good one."""
    data = data or []
    layout = containers.layout(document)
    contents = bytearray(layout.header([xxh3_64_intdigest(part) for part in data]).ljust(layout.nbytes, b"\0"))
    for span, part in zip(layout.spans, data, strict=True):
        contents[span.offset : span.offset + span.nbytes] = part
    path.write_bytes(contents)
    torchkeep.inspect(path)
    return path


def both(path: Path, capsys: Capture) -> str:
    """What a terminal shows of a file, by either way to look at it."""
    assert main(["inspect", "--all", str(path)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert main(["inspect", "--json", str(path)]) == 0
    expect_harmless(capsys.readouterr().out)
    assert out == torchkeep.inspect(path).text(limit=None) + "\n"
    return out


def test_names_and_values_of_an_ordinary_file_are_escaped(saved: Saved, capsys: Capture) -> None:
    out = both(saved({HOSTILE: torch.ones(1), "list": [HOSTILE], "b": b"\x1b", ("t", HOSTILE): 1}), capsys)
    expect_harmless(out, of="\\x1b[31m")


def test_a_path_is_escaped(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "a\x1b[31m\u202e\n.safetensors"
    torchkeep.save(1, path, durable=False)
    expect_harmless(both(path, capsys), of="\\x1b[31m")


def test_a_path_is_escaped_in_errors(tmp_path: Path, capsys: Capture) -> None:
    for name, data in (("absent", None), ("empty", b""), ("gzip", gzip.compress(b"x")), ("zeros", bytes(99))):
        path = tmp_path / f"{name}\x1b[31m\u202e.safetensors"
        if data is not None:
            path.write_bytes(data)
        assert main(["inspect", str(path)]) == 1
        expect_harmless(capsys.readouterr().err)


def test_names_and_metadata_of_a_plain_file_are_escaped(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "plain.safetensors"
    name = HOSTILE.replace("\ud800", "")
    save_file({name: torch.ones(1)}, path, metadata={name: name})
    expect_harmless(both(path, capsys), of="\\x1b[31m")


def encoded(obj: Any) -> tuple[Document, list[bytes]]:
    made = values.encode(obj)
    return made.document, [bytes(part) for part in made.packed.buffers(range(len(made.document.tensors.names)))]


NAME = HOSTILE.replace("\ud800", "")


def hostile_environment() -> tuple[Document, list[bytes]]:
    document, data = encoded(1)
    document.environment["torch"] = NAME
    document.environment[NAME] = "1"
    return document, data


def hostile_class() -> tuple[Document, list[bytes]]:
    document, data = encoded(nn.Sequential(nn.Linear(1, 1)))
    for position, node in enumerate(document.nodes):
        if isinstance(node, Typed) and node.kind == "module":
            document.nodes[position] = Typed(node.kind, node.version, dict(node.fields) | {"class": f"pkg:{NAME}"})
    return document, data


def hostile_package() -> tuple[Document, list[bytes]]:
    document, data = hostile_class()
    document.classes[f"pkg:{NAME}"] = ClassInfo(version=1, digest=None, package=NAME)
    return document, data


def hostile_finding() -> tuple[Document, list[bytes]]:
    document, data = encoded(1)
    document.findings.append(Finding(NAME, "warning", NAME, NAME, NAME))
    return document, data


def hostile_opaque() -> tuple[Document, list[bytes]]:
    document = Document(
        root=Ref(0), nodes=[Opaque(NAME, {NAME: Ref(1)}), Map((NAME,), (NAME,))], tensors=TensorTable(), environment={}
    )
    return document, []


def hostile_attribute() -> tuple[Document, list[bytes]]:
    model = nn.Linear(1, 1)
    vars(model)[NAME] = [1, {NAME: 2}]
    vars(model)["x"] = NAME
    model.register_buffer("buffer" + NAME, torch.ones(1))
    return encoded(model)


def hostile_function() -> tuple[Document, list[bytes]]:
    document, data = encoded({"f": torch.nn.functional.relu, "d": torch.float32, "v": torch.device("cpu")})
    for position, node in enumerate(document.nodes):
        if isinstance(node, Typed) and "name" in node.fields:
            document.nodes[position] = Typed(node.kind, node.version, {"name": f"pkg:{NAME}"})
    return document, data


@pytest.mark.parametrize(
    "make",
    [
        hostile_environment,
        hostile_class,
        hostile_package,
        hostile_finding,
        hostile_opaque,
        hostile_attribute,
        hostile_function,
    ],
)
def test_whatever_a_crafted_file_says_is_escaped(
    tmp_path: Path, make: Callable[[], tuple[Document, list[bytes]]], capsys: Capture
) -> None:
    expect_harmless(both(write(tmp_path / "crafted.safetensors", *make()), capsys), of="\\x1b[31m")


def test_a_line_break_in_a_name_makes_no_line(saved: Saved) -> None:
    report = torchkeep.inspect(saved({"a\nroutes\n  structure open: rm": 1}))
    assert str(report).count("\nroutes\n") == 1


def test_errors_that_quote_a_file_are_escaped(tmp_path: Path, capsys: Capture) -> None:
    """A header that breaks a clause under a name that a terminal would act on."""
    path = tmp_path / "broken.safetensors"
    for entry in (
        {NAME: {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}},
        {NAME: {"dtype": NAME, "shape": [2], "data_offsets": [0, 8]}},
        {NAME: {"dtype": "F32", "shape": [2]}},
        {NAME: NAME},
        {"__metadata__": {NAME: 1}},
        {"__metadata__": {"torchkeep": NAME}},
    ):
        header = json.dumps(entry, ensure_ascii=False).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
        assert main(["inspect", str(path)]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        expect_harmless(err)


@pytest.mark.parametrize("make", [hostile_class, hostile_package, hostile_function, hostile_opaque])
def test_errors_of_a_load_that_quote_a_file_are_escaped(
    tmp_path: Path, make: Callable[[], tuple[Document, list[bytes]]]
) -> None:
    path = write(tmp_path / "crafted.safetensors", *make())
    with pytest.raises(torchkeep.TorchkeepError) as caught:
        torchkeep.load(path)
    expect_harmless(str(caught.value))
    with pytest.raises(torchkeep.TorchkeepError) as caught:
        torchkeep.load_into(nn.Conv1d(1, 1, 1), path, strict=False)
    expect_harmless(str(caught.value))
