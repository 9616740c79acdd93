"""Names with NUL, control, bidirectional and lone surrogate characters: exact as values, escaped in messages."""

from __future__ import annotations

import datetime
import enum
import json
import subprocess
import sys
import types
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import nn, optim

import torchkeep

NAMES = ["a\0b", "\x1b[31mred\x1b[0m", "a\u202eb\u2066", "a\ud800b", "\udfff", "a\nNothing was", "\u2028x", "\x85",
         "\ufeff", "\U000e0041", "a\rb", "\t", "é", "e\u0301", "'\"\\", "__metadata__x", "__torchkeep__/x",
         "%s {0}"]  # fmt: skip


def _shows(text: str) -> None:
    """One message, on lines of its own: nothing in it moves a cursor, turns text around, or begins a line."""
    assert text.replace("\n", "").isprintable()
    assert "\nNothing was" not in text
    text.encode()


def _as_ascii(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _module(name: str, value: Any = None) -> nn.Module:
    module = nn.Sequential(nn.Linear(1, 2))
    module._modules[name] = nn.Linear(2, 2)
    module._parameters[name + "p"] = nn.Parameter(torch.ones(2))
    module._buffers[name + "b"] = torch.ones(3)
    module._buffers[name + "h"] = torch.ones(4)
    module._non_persistent_buffers_set.add(name + "h")
    vars(module)[name + "a"] = [1] if value is None else value
    return module


class Plain:
    pass


def _foreign() -> Any:
    """A module whose class no load finds."""
    return type("F\nNothing was", (nn.Module,), {"__module__": "elsewhere\nNothing was"})()


def _plain(name: str, value: Any = 1) -> Any:
    obj = Plain()
    vars(obj)[name] = value
    return obj


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_they_come_back_exactly(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    nested = OrderedDict({name: {name: torch.ones(1)}, (name, 1): name, "l": [{name}, frozenset({name})]})
    torchkeep.save({"d": nested, "o": _plain(name, name), "n": types.SimpleNamespace(**{name: name}),
                    "z": datetime.timezone(datetime.timedelta(0), name)}, path)  # fmt: skip
    loaded = torchkeep.load(path, classes=[Plain])
    assert loaded["d"].keys() == nested.keys()
    assert loaded["d"][name].keys() == {name}
    assert loaded["d"][name, 1] == name
    assert loaded["d"]["l"] == [{name}, frozenset({name})]
    assert vars(loaded["o"]) == {name: name}
    assert vars(loaded["n"]) == {name: name}
    assert loaded["z"].tzname(None) == name
    model = _module(name)
    torchkeep.save(model, path)
    loaded = torchkeep.load(path, mode="saved")
    assert list(loaded.state_dict()) == list(model.state_dict())
    assert list(loaded._modules) == ["0", name]
    assert list(loaded._buffers) == [name + "b", name + "h"]
    assert loaded._non_persistent_buffers_set == {name + "h"}
    assert vars(loaded)[name + "a"] == [1]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_plain_reader_opens_the_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    model = _module(name)
    torchkeep.save(model, path)
    with safe_open(path, "pt") as opened:
        found = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    expected = model.state_dict()
    for key, tensor in expected.items():
        stored = _as_ascii(key)
        assert torch.equal(found[stored if stored in found else f"__torchkeep__/{stored}"], tensor)
    assert len(found) == len(expected) + 1


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_inspect_escapes_them(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    torchkeep.save(
        {name: _module(name), "p": _plain(name, {name: 1}), "o": types.SimpleNamespace(**{name: [name]})}, path
    )
    report = torchkeep.inspect(path)
    for text in (report.text(), str(report), repr(report), "\n".join(report.tree())):
        _shows(text)
    json.dumps(report.to_dict()).encode()
    if name in NAMES[:4]:
        command = [sys.executable, "-m", "torchkeep", "inspect", str(path)]
        told = [subprocess.run([*command, *more], capture_output=True, check=True) for more in ([], ["--json"])]
        assert [done.stderr for done in told] == [b"", b""]
        _shows(told[0].stdout.decode())
        _shows(told[1].stdout.decode())
        json.loads(told[1].stdout)


def _refusals(name: str, path: Path) -> dict[str, Callable[[], Any]]:
    """Every verb, with these names in its errors."""
    flat, whole = path.with_name("flat.safetensors"), path.with_name("whole.safetensors")
    torchkeep.save({name: torch.ones(1)}, flat)
    torchkeep.save(_module(name, _foreign()), whole)
    model = _module(name)

    return {
        "save a key": lambda: torchkeep.save({name: [lambda: 0]}, path),
        "save an attribute": lambda: torchkeep.save(_plain(name, lambda: 0), path),
        "save a module's": lambda: torchkeep.save(_module(name, open), path),
        "save a parameter": lambda: torchkeep.save(_freed(model, name), path),
        "save over": lambda: torchkeep.save(1, flat, overwrite=False),
        "load a key": lambda: torchkeep.load(whole, key=name + "?"),
        "load a part": lambda: torchkeep.load(flat, key=(name, name)),
        "load no class": lambda: torchkeep.load(whole, trust=()),
        "load_into names": lambda: torchkeep.load_into(nn.Linear(1, 1), flat),
        "load_into other names": lambda: torchkeep.load_into(_module(name), flat),
        "load_into shapes": lambda: torchkeep.load_into(
            nn.ParameterDict({"x": torch.ones(2)}), flat, rename=[(name, "x")]
        ),
        "load_into rename": lambda: torchkeep.load_into(nn.Linear(1, 1), flat, rename=[(name + "?", "x")]),
        "load_into two": lambda: torchkeep.load_into(nn.Linear(1, 1), whole, rename=lambda _: name),
        "load_into a part": lambda: torchkeep.load_into({name + "?": nn.Linear(1, 1)}, whole),
        "load_into an optimizer": lambda: torchkeep.load_into(optim.SGD(nn.Linear(1, 1).parameters()), whole),
    }


def _freed(model: nn.Module, name: str) -> nn.Module:
    model._parameters[name + "p"].untyped_storage().resize_(0)  # type: ignore[union-attr]
    return model


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_messages_escape_them(name: str, tmp_path: Path) -> None:
    for what, refused in _refusals(name, tmp_path / "x.safetensors").items():
        with pytest.raises(torchkeep.TorchkeepError) as caught:
            refused()
        _shows(f"{what}: {caught.value}")


@pytest.mark.parametrize("name", [name for name in NAMES if "/" not in name and "\0" not in name], ids=ascii)
def test_files_of_such_names(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    path = folder / f"{name}.safetensors"
    try:
        path.touch()
        path.unlink()
    except (OSError, UnicodeEncodeError):
        pytest.skip("this file system does not take it")
    report = torchkeep.save({"a": torch.ones(1)}, path)
    assert [entry.name for entry in folder.iterdir()] == [path.name]
    assert report.path == str(path)
    _shows(str(report))
    _shows(torchkeep.inspect(path).text())
    assert torch.equal(torchkeep.load(path)["a"], torch.ones(1))
    path.write_bytes(b"\x09" * 20)
    for refused in (torchkeep.load, torchkeep.inspect, lambda path: torchkeep.save(1, path, overwrite=False)):
        with pytest.raises(torchkeep.TorchkeepError) as caught:
            refused(path)
        _shows(str(caught.value))


def test_a_file_name_with_nul_is_refused() -> None:
    with pytest.raises((torchkeep.PathError, ValueError)) as caught:
        torchkeep.save(1, "a\0b.safetensors")
    _shows(str(caught.value))


@pytest.mark.parametrize(
    "name", [name for name in NAMES if "\0" not in name and name.isascii()] + ["a\u202eb", "a.b", "a:b", ""]
)
def test_classes_of_such_names(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    cls = type(name, (nn.Module,), {"__module__": "m\n" + name})
    model = cls()
    model.held = type(name, (), {"__module__": "m\n" + name})()
    torchkeep.save(model, path)
    _shows(torchkeep.inspect(path).text())
    with pytest.raises(torchkeep.TrustError) as caught:
        torchkeep.load(path)
    _shows(str(caught.value))
    with pytest.warns(torchkeep.TorchkeepWarning) as told:
        loaded = torchkeep.load(path, classes={f"m\n{name}:{name}": cls})
    assert type(loaded) is cls
    for one in told:
        _shows(str(one.message))


@pytest.mark.parametrize(
    "make",
    [
        type("C", (), {"__module__": "m\ud800"}),
        type("C", (nn.Module,), {"__module__": "m\ud800"}),
        lambda: enum.Enum("E", {"A": 1}, module="m\ud800").A,  # type: ignore[attr-defined]
    ],
    ids=["object", "module", "enum"],
)
def test_a_class_that_no_text_can_name_is_refused(make: Callable[[], Any], tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"what was there")
    with pytest.raises(torchkeep.UnsaveableError, match=r"surrogate pair, .*Nothing was written") as caught:
        torchkeep.save({"a": [make()]}, path)
    assert caught.value.where == "obj['a'][0]"
    _shows(str(caught.value))
    assert path.read_bytes() == b"what was there"


@pytest.mark.parametrize(("name", "says"), [("", "''"), ("a.b", "'a.b'"), ("a\n.b", "'a\\n.b'")])
@pytest.mark.parametrize("column", ["_modules", "_parameters", "_buffers"])
def test_names_that_torch_would_not_register_are_refused_with_their_module(
    name: str, says: str, column: str, tmp_path: Path
) -> None:
    model = nn.Sequential(nn.Identity())
    vars(model[0])[column][name] = None
    with pytest.raises(
        torchkeep.UnsaveableError, match=r"a part of the name .*leads nowhere.*Nothing was written"
    ) as caught:
        torchkeep.save({"net": model}, tmp_path / "x.safetensors")
    assert caught.value.where == "obj['net'][0]"
    assert says in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_finding_about_a_tensor_with_a_hard_name(tmp_path: Path) -> None:
    report = torchkeep.save({"\ud800": torch.zeros(400, 400)[:, 0]}, tmp_path / "x.safetensors")
    assert [finding.path for finding in report.findings] == ["obj['\\ud800']"] * 2
