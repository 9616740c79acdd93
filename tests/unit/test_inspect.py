"""`inspect`: what is in a file, told without running it and without torch; and files that are no models."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import socket
import subprocess
import sys
import tarfile
import types
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import torchkeep
from torchkeep import AccessError, FormatError, NotAFileError, NotFoundError, OtherFormatError, PathError

Saved = Callable[[Any], Path]


class Config:
    def __init__(self) -> None:
        self.width = 4
        self.layers = [1, 2]


def act(x: torch.Tensor) -> torch.Tensor:
    return x


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        self.head = nn.Linear(4, 2)
        self.head.weight.requires_grad_(False)
        self.config = Config()
        self.act = act
        self.rate = 0.5


HERE = Net.__module__


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], types.ModuleType]:
    """Makes a module of that name with a class Net in it."""

    def make(name: str) -> types.ModuleType:
        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.w = nn.Linear(2, 2)

        Net.__module__, Net.__qualname__ = name, "Net"
        module: Any = types.ModuleType(name)
        module.Net = Net
        monkeypatch.setitem(sys.modules, name, module)
        return module

    return make


# What a report says


def test_a_whole_model(saved: Saved) -> None:
    path = saved(Net().eval())
    report = torchkeep.inspect(path)
    assert (report.kind, report.path, report.nbytes) == ("torchkeep", str(path), path.stat().st_size)
    assert report.metadata == {}
    assert report.findings == ()
    assert {(need.name, need.role) for need in report.needs} == {
        (f"{HERE}:Net", "module"),
        (f"{HERE}:Config", "object"),
        (f"{HERE}:act", "function"),
        ("torch.nn:Sequential", "module"),
        ("torch.nn:Linear", "module"),
        ("torch.nn:BatchNorm1d", "module"),
    }
    named = {info.name: info for info in report.tensors}
    assert list(named) == list(Net().state_dict())
    info = named["body.0.weight"]
    assert (info.dtype, info.shape, info.nbytes) == ("float32", (4, 3), 48)
    assert named["body.1.num_batches_tracked"].shape == ()
    assert report.parameter_count == sum(p.numel() for p in Net().parameters()) == 34


def test_the_tree_of_a_model(saved: Saved) -> None:
    tree = torchkeep.inspect(saved(Net().eval())).tree()
    assert tree[0].startswith(f"{HERE}:Net(")
    assert "rate=0.5" in tree[0]
    assert tree[0].endswith("(eval)")
    text = "\n".join(tree)
    assert "\n  body: " in text
    assert "\n    0: " in text
    assert "weight: parameter float32 4x3" in text
    assert "weight: frozen parameter float32 2x4" in text
    assert "running_mean: tensor float32 4" in text
    assert "num_batches_tracked: tensor int64 scalar" in text
    assert f"config: {HERE}:Config object" in text
    assert "width: 4" in text
    assert "layers: [1, 2]" in text
    assert "(eval)" not in torchkeep.inspect(saved(Net().train())).tree()[0]


def test_the_environment(saved: Saved) -> None:
    report = torchkeep.inspect(saved(1))
    assert report.environment["torch"] == torch.__version__
    assert report.environment["torchkeep"] == torchkeep.__version__
    assert report.environment["python"] == ".".join(map(str, sys.version_info[:3]))
    assert "saved with" in str(report)
    assert f"torch {torch.__version__}" in str(report)


def test_a_checkpoint(saved: Saved) -> None:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    report = torchkeep.inspect(saved({"model": model, "optimizer": optimizer, "epoch": 3, "best": (0.5, float("nan"))}))
    text = "\n".join(report.tree())
    assert text.startswith("dict of 4\n")
    assert "['epoch']: 3" in text
    assert "['best']: (0.5, nan)" in text
    assert "optimizer" in text
    assert "SGD optimizer" in text
    assert "momentum_buffer" in text
    assert report.parameter_count == 6
    assert {need.role for need in report.needs} == {"module", "optimizer"}


def test_what_is_shared_is_shown_once(saved: Saved) -> None:
    one = nn.Linear(2, 2)
    inner: list[Any] = [{"deep": {"er": 1}}]
    inner.append(inner)
    text = "\n".join(torchkeep.inspect(saved({"a": one, "b": one, "c": inner})).tree())
    assert "['b']: same as ['a']" in text
    assert "[1]: same as ['c']" in text
    assert "same as the root" in "\n".join(torchkeep.inspect(saved(inner)).tree())


def test_views_are_told(saved: Saved) -> None:
    base = torch.zeros(4, 4)
    text = "\n".join(torchkeep.inspect(saved({"base": base, "row": base[1]})).tree())
    assert "view of base" in text or "view of __torchkeep__" in text


@pytest.mark.parametrize(
    "obj",
    [
        None,
        True,
        1 << 100,
        "text" * 50,
        b"\x00\xff",
        (),
        [],
        {},
        (1,),
        {1, 2},
        frozenset({3}),
        torch.ones(2),
        torch.float32,
        torch.device("cpu"),
        torch.Size([1, 2]),
        OrderedDict(a=1),
        "x" * 20_000,
        {(1, 2): torch.ones(1), None: 3, torch.float16: 4},
        nn.Linear,
        nn.ReLU(),
        complex(1, -0.0),
    ],
    ids=lambda obj: type(obj).__name__,
)
def test_everything_has_a_tree_a_text_and_a_dict(saved: Saved, obj: Any) -> None:
    report = torchkeep.inspect(saved(obj))
    assert report.tree()
    assert all("\n" not in line and len(line) < 400 for line in report.tree())
    assert str(report) == report.text()
    assert json.loads(json.dumps(report.to_dict()))["kind"] == "torchkeep"


def test_a_long_tree_is_cut_where_asked(saved: Saved) -> None:
    report = torchkeep.inspect(saved({str(i): torch.zeros(1) for i in range(500)}))
    assert len(report.tree()) == 501
    assert report.tree(limit=10)[10:] == ["... more than 10 lines"]
    assert len(report.tree(limit=501)) == 501
    assert "... more than 200 lines" in str(report)
    assert "['499']" in report.text(limit=None)


def test_a_plain_file(tmp_path: Path) -> None:
    path = tmp_path / "plain.safetensors"
    save_file({"a.w": torch.zeros(2, 3, dtype=torch.bfloat16), "b": torch.zeros(())}, path, metadata={"format": "pt"})
    report = torchkeep.inspect(path)
    assert (report.kind, report.environment, report.needs, report.findings) == ("safetensors", {}, (), ())
    assert report.metadata == {"format": "pt"}
    assert {(t.name, t.dtype, t.shape, t.nbytes) for t in report.tensors} == {
        ("a.w", "bfloat16", (2, 3), 12),
        ("b", "float32", (), 4),
    }
    assert report.parameter_count == 7
    assert "metadata    format: pt" in str(report)
    assert "saved with" not in str(report)
    assert [route.name for route in report.routes if route.open] == ["structure", "weights"]


def test_findings_of_the_save_are_shown(saved: Saved) -> None:
    model = nn.Linear(2, 2)
    model.register_forward_hook(lambda *_: None)
    with pytest.warns(torchkeep.TorchkeepWarning, match="hook"):
        path = saved(model)
    report = torchkeep.inspect(path)
    assert [finding.code for finding in report.findings] == ["hooks"]
    assert "warning: " in str(report)


def test_a_report_says_the_same_as_its_dict(saved: Saved) -> None:
    report = torchkeep.inspect(saved(Net()))
    told = report.to_dict()
    assert told["parameter_count"] == report.parameter_count
    assert [tensor["name"] for tensor in told["tensors"]] == [tensor.name for tensor in report.tensors]
    assert [need["name"] for need in told["needs"]] == [need.name for need in report.needs]
    assert [route["open"] for route in told["routes"]] == [route.open for route in report.routes]
    assert told["tree"] == report.tree()


# Routes


def routes(path: Path) -> dict[str, Any]:
    return {route.name: route for route in torchkeep.inspect(path).routes}


def test_routes_of_a_model_of_torchs_own_classes(saved: Saved) -> None:
    path = saved(nn.Sequential(nn.Linear(2, 2)))
    found = routes(path)
    assert list(found) == ["structure", "weights", "skeleton"]
    assert all(route.open and route.lacks == () for route in found.values())
    assert found["structure"].call == f"torchkeep.load({str(path)!r})"
    assert eval(found["structure"].call, {"torchkeep": torchkeep}).training is False
    assert isinstance(eval(found["skeleton"].call, {"torchkeep": torchkeep}), nn.Module)
    report = eval(found["weights"].call, {"torchkeep": torchkeep, "model": nn.Sequential(nn.Linear(2, 2))})
    assert report.coverage == 1.0


@pytest.mark.parametrize("name", ["mypkg.models", "torchfake.models", "torch_geometry"])
def test_a_class_that_is_not_torchs_is_lacking(
    saved: Saved, package: Callable[[str], types.ModuleType], name: str
) -> None:
    path = saved(package(name).Net())
    found = routes(path)
    assert not found["structure"].open
    [lack] = found["structure"].lacks
    assert f"{name}:Net" in lack
    assert "classes=" in lack
    assert found["structure"].call == f"torchkeep.load({str(path)!r}, classes={{'{name}:Net': Net}})"
    assert found["weights"].open
    assert found["skeleton"].open


class Outer:
    class Net(nn.Module):
        """Net in Outer."""


def test_the_structure_call_runs_as_printed(saved: Saved) -> None:
    path = saved(Outer.Net())
    call = routes(path)["structure"].call
    assert type(eval(call, {"torchkeep": torchkeep, "Outer": Outer})) is Outer.Net
    numbered = [type(f"Net{i}", (nn.Module,), {"__module__": "many"}) for i in range(9)]
    call = routes(saved(nn.Sequential(*(cls() for cls in numbered))))["structure"].call
    assert call.endswith("'many:Net7': Net7, ...})")


def test_hooks_are_lacking(saved: Saved) -> None:
    model = nn.Linear(2, 2)
    model.register_forward_hook(lambda *_: None)
    with pytest.warns(torchkeep.TorchkeepWarning):
        path = saved(model)
    route = routes(path)["structure"]
    assert not route.open
    assert 'allow={"hooks"}' in route.call
    with pytest.warns(torchkeep.TorchkeepWarning):
        assert eval(route.call, {"torchkeep": torchkeep}).weight.shape == (2, 2)


@pytest.mark.parametrize(
    "obj", [{"x": torch.ones(2), "epoch": 3}, [torch.ones(2)], torch.ones(2)], ids=["mixed", "list", "tensor"]
)
def test_no_weights_route_where_load_into_finds_no_weights(saved: Saved, obj: Any) -> None:
    path = saved(obj)
    with pytest.raises(torchkeep.BindError):
        torchkeep.load_into(nn.Linear(2, 2), path)
    assert "weights" not in routes(path) or not routes(path)["weights"].open


def test_no_weights_route_where_there_are_no_tensors(saved: Saved) -> None:
    assert list(routes(saved({"epoch": 3}))) == ["structure"]


# No torch

SCRIPT = """
import json, sys
import torchkeep
report = torchkeep.inspect(sys.argv[1])
str(report), json.dumps(report.to_dict()), report.tensors, report.parameter_count
heavy = {"torch", "numpy", "transformers", "safetensors", "sklearn"} & set(sys.modules)
print(json.dumps([report.kind, sorted(heavy), sorted(need.role for need in report.needs)]))
"""


def test_inspect_imports_no_torch(saved: Saved) -> None:
    path = saved({"net": Net(), "optimizer": torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1)})
    command = [sys.executable, "-W", "error", "-c", SCRIPT, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    kind, heavy, roles = json.loads(done.stdout)
    assert (kind, heavy) == ("torchkeep", [])
    assert {"function", "module", "object", "optimizer"} <= set(roles)


def test_inspect_needs_no_class_of_the_file(saved: Saved, package: Callable[[str], types.ModuleType]) -> None:
    path = saved(package("gone_for_good").Net())
    del sys.modules["gone_for_good"]
    assert "gone_for_good:Net" in str(torchkeep.inspect(path))


# Files of other formats


def archive(*members: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for member in members:
            file.writestr(member, "text")
    return buffer.getvalue()


def tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        file.addfile(tarfile.TarInfo("model/weights"))
    return buffer.getvalue()


def torch_saved(**options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(nn.Linear(3, 3).state_dict(), buffer, **options)
    return buffer.getvalue()


def numpy_saved(save: Callable[..., None], **arrays: Any) -> bytes:
    buffer = io.BytesIO()
    save(buffer, np.zeros(3), **arrays)
    return buffer.getvalue()


def scripted() -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.trace(nn.Linear(3, 3), torch.ones(1, 3)), buffer)
    return buffer.getvalue()


OTHERS: dict[str, tuple[bytes, str]] = {
    "torch.save": (torch_saved(), "a torch.save file (zip"),
    "torch.save before 1.6": (torch_saved(_use_new_zipfile_serialization=False), "a torch.save file (before"),
    **{f"pickle {p}": (pickle.dumps({"a": [1] * 50}, protocol=p), "a Python pickle") for p in range(2, 6)},
    "pickle 0": (pickle.dumps({"a": [1] * 50}, protocol=0), "a Python pickle (protocol 0)"),
    "TorchScript": (scripted(), "a TorchScript archive"),
    "ONNX": (b"\x08\x07\x12\x07pytorch\x1a\x052.1.0" + bytes(100), "an ONNX model"),
    "text": (b"hello, world\n" * 10, "a text"),
    "npy": (numpy_saved(np.save), "a numpy .npy file"),
    "npz": (numpy_saved(np.savez), "a numpy .npz archive"),
    "zip": (archive("a.txt"), "a zip archive"),
    "empty zip": (archive(), "an empty zip archive"),
    "tar": (tar(), "a tar archive"),
    "gzip": (gzip.compress(b"text" * 100), "a gzip archive"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "an HDF5 file"),
    "GGUF": (b"GGUF\x03\x00\x00\x00" + bytes(100), "a GGUF file"),
    "HTML": (b"<!DOCTYPE html><html><body>404</body></html>", "an HTML or XML text"),
    "JSON": (b'{"error": "Repository not found"}', "a JSON text"),
    "LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "git lfs pull"),
    "PNG": (b"\x89PNG\r\n\x1a\n" + bytes(100), "a PNG picture"),
    "empty": (b"", "is empty"),
}

VERBS: dict[str, Callable[[Any], Any]] = {
    "inspect": torchkeep.inspect,
    "load": torchkeep.load,
    "load_into": lambda path: torchkeep.load_into(nn.Linear(3, 3), path),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", OTHERS)
def test_a_file_of_another_format_is_named(tmp_path: Path, verb: str, name: str) -> None:
    data, told = OTHERS[name]
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    with pytest.raises(OtherFormatError) as caught:
        VERBS[verb](path)
    message = str(caught.value)
    assert message.startswith("[TK-OTHER] ")
    assert told in message
    assert str(path) in message
    assert "Nothing was loaded" in message


def test_a_torch_file_of_many_tensors_is_named(tmp_path: Path) -> None:
    torch.save({f"layers.{i}.weight": torch.zeros(1) for i in range(1500)}, tmp_path / "x.pt")
    with pytest.raises(OtherFormatError, match=r"a torch\.save file \(zip"):
        torchkeep.inspect(tmp_path / "x.pt")


def test_an_exported_program_is_named(tmp_path: Path) -> None:
    torch.export.save(torch.export.export(nn.Linear(3, 3), (torch.ones(1, 3),)), tmp_path / "x.pt2")
    with pytest.raises(OtherFormatError, match=r"a \.pt2 archive"):
        torchkeep.inspect(tmp_path / "x.pt2")


def test_a_torch_file_with_a_long_name_is_named(tmp_path: Path) -> None:
    """torch.save names the records after the file."""
    path = tmp_path / ("experiment-" * 12 + ".pt")
    torch.save({"a": torch.ones(2)}, path)
    with pytest.raises(OtherFormatError, match=r"a torch\.save file"):
        torchkeep.inspect(path)


NOTHING: dict[str, bytes] = {
    "one byte": b"x",
    "8 zeros": bytes(8),
    "zeros": bytes(100),
    "ones": b"\xff" * 100,
    "long header": (1 << 62).to_bytes(8, "little") + b"{}",
    "not JSON": (4).to_bytes(8, "little") + b"{{}}",
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", NOTHING)
def test_a_file_of_no_format(tmp_path: Path, verb: str, name: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(NOTHING[name])
    with pytest.raises(FormatError) as caught:
        VERBS[verb](path)
    assert str(path) in str(caught.value)


def test_the_smallest_of_all_safetensors_files(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes((2).to_bytes(8, "little") + b"{}")
    assert torchkeep.inspect(path).tensors == []
    assert torchkeep.load(path) == {}


@pytest.mark.parametrize("verb", VERBS)
def test_a_file_that_was_cut_short_or_added_to(saved: Saved, verb: str) -> None:
    path = saved(nn.Linear(3, 3))
    data = path.read_bytes()
    for broken in (data[:-1], data[: len(data) // 2], data[:100], data[:9], data + b"\0"):
        path.write_bytes(broken)
        with pytest.raises(FormatError) as caught:
            VERBS[verb](path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("verb", VERBS)
def test_what_is_no_regular_file(tmp_path: Path, verb: str) -> None:
    with pytest.raises(NotFoundError, match="absent") as caught:
        VERBS[verb](tmp_path / "absent")
    assert isinstance(caught.value, FileNotFoundError)
    assert caught.value.filename == str(tmp_path / "absent")
    with pytest.raises(NotAFileError, match="a directory"):
        VERBS[verb](tmp_path)
    with pytest.raises(PathError):
        VERBS[verb](tmp_path / "a\0b")
    with pytest.raises(PathError):
        VERBS[verb]("")
    with pytest.raises(PathError):
        VERBS[verb](tmp_path / ("x" * 300))
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(PathError):
        VERBS[verb](tmp_path / "loop")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no FIFOs here")
@pytest.mark.parametrize("verb", VERBS)
def test_what_would_make_a_reader_wait(tmp_path: Path, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(NotAFileError, match="a FIFO"):
        VERBS[verb](tmp_path / "fifo")
    with pytest.raises(NotAFileError, match="a character device"):
        VERBS[verb]("/dev/null")
    monkeypatch.chdir(tmp_path)  # a socket's path has to be short
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(tmp_path)  # a socket's path has to be short
        server.bind("socket")
        with pytest.raises(NotAFileError, match="a socket"):
            VERBS[verb]("socket")


UNPRIVILEGED = """
import os, sys
import torchkeep
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    torchkeep.inspect(sys.argv[1])
except torchkeep.AccessError as error:
    print(isinstance(error, PermissionError), error)
"""


@pytest.mark.skipif(os.name != "posix", reason="permissions are made the POSIX way")
def test_no_permission(tmp_path: Path) -> None:
    """By a process of its own, since a superuser may read anything."""
    path = tmp_path / "a.safetensors"
    torchkeep.save(1, path, durable=False)
    path.chmod(0o000)
    command = [sys.executable, "-W", "error", "-c", UNPRIVILEGED, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("True [TK-ACCESS] cannot open ")
    assert AccessError.code == "TK-ACCESS"


def test_paths_of_any_type(saved: Saved) -> None:
    path = saved(1)
    assert torchkeep.inspect(str(path)).path == torchkeep.inspect(path).path
    with pytest.raises(TypeError):
        torchkeep.inspect(os.fsencode(path))  # type: ignore[arg-type]
