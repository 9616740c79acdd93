"""Source text in a file: what `save(source=True)` keeps, who sees it, and what runs it."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import importlib
import inspect
import json
import linecache
import pickle
import shutil
import subprocess
import sys
import textwrap
import types
import typing
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import torchkeep
from torchkeep import containers, document, errors
from torchkeep.cli import main
from torchkeep.document import Document, SourceText
from torchkeep.limits import LIMITS, Limits
from torchkeep.values import private, project, registry

PRIVATE = "_torchkeep_source_"

PACKAGE = {
    "shop/__init__.py": "from .model import Net\n",
    "shop/model.py": '''
        """A model of several modules."""
        from __future__ import annotations

        import dataclasses
        import enum
        import typing
        from collections import namedtuple

        import torch
        import torch.nn as nn
        import shop.sub.layers as layers

        from . import util
        from shop.one import One


        @dataclasses.dataclass
        class Config:
            width: int = 4
            names: typing.ClassVar[tuple[str, ...]] = ("a",)
            one: One | None = None

        @dataclasses.dataclass(frozen=True, slots=True)
        class Size:
            n: int

        class Mode(enum.Enum):
            FAST = 1

        Pair = namedtuple("Pair", "x y")

        class Outer:
            class Inner(nn.Module):
                def forward(self, x):
                    return x + 1

        class Net(nn.Module):
            def __init__(self, config):
                super().__init__()
                self.config = config
                self.layer = layers.Layer(config.width)
                self.act = util.act
                self.inner = Outer.Inner()
                self.mode, self.pair, self.size = Mode.FAST, Pair(1, 2), Size(3)

            def forward(self, x):
                from shop import late  # the program imported it before
                return late.twice(self.inner(self.act(self.layer(x))))
    ''',
    "shop/sub/__init__.py": "",
    "shop/sub/layers.py": """
        try:
            from torch import nn
        finally:
            from .. import util
        from ..util import *

        class Layer(nn.Module):
            def __init__(self, n):
                super().__init__()
                self.linear = nn.Linear(n, n)

            def forward(self, x):
                return util.act(self.linear(x)) * scale
    """,
    "shop/util.py": """
        import torch
        __all__ = ["scale"]
        scale = 2.0

        def act(x):
            return torch.relu(x)
    """,
    "shop/late.py": "def twice(x):\n    return 2 * x\n",
    "shop/one.py": "import shop.two\n\nclass One:\n    def other(self):\n        return shop.two.Two\n",
    "shop/two.py": "import shop.one as one\n\nclass Two:\n    def other(self):\n        return one.One\n",
    "shop/unused.py": "raise SystemExit\n",
}
MODULES = sorted(
    ["shop", "shop.late", "shop.model", "shop.one", "shop.sub", "shop.sub.layers", "shop.two", "shop.util"]
)

Files = dict[str, str]
Imported = Callable[..., types.ModuleType]


def write(folder: Path, files: Files) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).removeprefix("\n"))
    return folder


@contextlib.contextmanager
def on_path(folder: Path) -> Iterator[None]:
    """A project's folder that is importable, and whose modules are gone afterwards."""
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            if not name.startswith(PRIVATE) and str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
                del sys.modules[name]


def quietly(call: Callable[..., Any], *args: Any, **more: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torchkeep.TorchkeepWarning)
        return call(*args, **more)


def kept(tmp_path: Path, files: Files, make: str = "Net()", *, module: str = "model", imports: str = "") -> Path:
    """Saves an object of a project that is then gone: `make` is an expression in its module."""
    folder = write(tmp_path / "project", files)
    path = tmp_path / "kept.safetensors"
    with on_path(folder):
        home = importlib.import_module(module)
        for name in imports.split():
            importlib.import_module(name)
        quietly(torchkeep.save, eval(make, vars(home)), path, source=True, durable=False)
    shutil.rmtree(folder)
    return path


SIMPLE = "from torch import nn\n\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
SIMPLE += "        self.linear = nn.Linear(2, 2)\n\n    def forward(self, x):\n        return self.linear(x) + 1\n"


def run_source(path: Path, **more: Any) -> Any:
    return torchkeep.load(path, route="source", run_source=True, **more)


def net_of(path: Path, text: str, name: str = "gone", package: str = "", **more: SourceText) -> Path:
    """A file that asks for ``gone:Net``, a module without tensors, and has this text of it."""
    cls = document.Typed("module", 1, {"class": f"{name}:Net", "training": False})
    made = Document(document.Ref(0), [cls], sources={name: SourceText(package, text), **more})
    path.write_bytes(containers.layout(made).header([]))
    return path


EMPTY_NET = "from torch import nn\nclass Net(nn.Module):\n    pass\n"


# --- processes in which the project is gone -----------------------------------------------------------


_SAVE = """
    import sys
    sys.path.insert(0, sys.argv[1])
    import torch, torchkeep
    from shop.model import Net, Config
    import shop.late
    torch.manual_seed(0)
    model = Net(Config()).eval()
    x = torch.ones(1, 4)
    torchkeep.save({"model": model, "x": x, "y": model(x).detach()}, sys.argv[2], source=True)
"""
_LOAD = """
    import sys
    import torch, torchkeep
    try:
        torchkeep.load(sys.argv[1])
    except torchkeep.TrustError as error:
        assert "route='source', run_source=True" in str(error), error
    else:
        raise AssertionError("it loaded without a class")
    found = torchkeep.load(sys.argv[1], route="source", run_source=True)
    model = found["model"]
    assert torch.equal(model(found["x"]), found["y"])
    assert torchkeep.report_of(model).route == "source"
    assert not [name for name in sys.modules if name.partition(".")[0] == "shop"]
    assert type(model).__module__.endswith(".shop.model") and type(model).__module__ != "shop.model"
    assert not model.training
"""


def test_a_model_runs_in_a_process_where_its_project_is_gone(tmp_path: Path) -> None:
    folder, path = write(tmp_path / "project", PACKAGE), tmp_path / "net.safetensors"

    def python(script: str, *arguments: Path) -> None:
        command = [sys.executable, "-W", "error::UserWarning", "-c", textwrap.dedent(script), *map(str, arguments)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr

    python(_SAVE, folder, path)
    shutil.rmtree(folder)
    assert sorted(torchkeep.inspect(path).sources) == MODULES
    python(_LOAD, path)


_SCRIPT = """
    import sys
    import torch, torchkeep
    from torch import nn
    from helper import scale

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 2)

        def forward(self, x):
            return self.linear(x) * scale

    if __name__ == "__main__":
        torchkeep.save(Net(), sys.argv[1], source=True)
"""


@pytest.mark.parametrize("how", ["script", "module"])
def test_a_class_of_a_script_comes_back_and_the_script_does_not_run_as_main(tmp_path: Path, how: str) -> None:
    package = "" if how == "script" else "tools/"
    script = _SCRIPT if how == "script" else _SCRIPT.replace("from helper", "from .helper")
    folder = write(tmp_path / "project", {f"{package}train.py": script, f"{package}helper.py": "scale = 3.0\n"})
    path = tmp_path / "net.safetensors"
    command = [str(folder / "train.py")] if how == "script" else ["-m", "tools.train"]
    done = subprocess.run(
        [sys.executable, *command, str(path)], check=False, capture_output=True, text=True, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    shutil.rmtree(folder)
    sources = torchkeep.inspect(path).sources
    assert "__main__" in sources
    model = run_source(path)
    assert type(model).__module__ != "__main__"
    x = torch.ones(1, 2)
    assert torch.equal(model(x), model.linear(x) * 3.0)


# --- what is kept -------------------------------------------------------------------------------------


def test_what_the_classes_import_of_the_project_is_kept_and_nothing_else(tmp_path: Path) -> None:
    path = kept(tmp_path, PACKAGE, "Net(Config())", module="shop.model", imports="shop.late")
    sources = torchkeep.inspect(path).sources
    assert sorted(sources) == MODULES
    assert sources["shop.sub"] == ""
    assert sources["shop.model"].startswith('"""A model of several modules."""\n')
    assert sources["shop.late"] == "def twice(x):\n    return 2 * x\n"


def test_nothing_is_kept_without_the_word(tmp_path: Path) -> None:
    with on_path(write(tmp_path / "project", {"model.py": SIMPLE})):
        net = importlib.import_module("model").Net()
        torchkeep.save(net, tmp_path / "a.safetensors")
    assert torchkeep.inspect(tmp_path / "a.safetensors").sources == {}
    assert b"self.linear" not in (tmp_path / "a.safetensors").read_bytes()


def test_saving_runs_and_imports_nothing(tmp_path: Path) -> None:
    files = {
        "model.py": "ran = []\nran.append(1)\nimport sys\n" + SIMPLE + "    def late(self):\n        import never\n"
    }
    files["never.py"] = "raise SystemExit\n"
    with on_path(write(tmp_path / "project", files)):
        home = importlib.import_module("model")
        report = torchkeep.save(home.Net(), tmp_path / "a.safetensors", source=True)
        assert home.ran == [1]
        assert "never" not in sys.modules
    assert list(report.sources) == ["model"]


def test_the_report_lists_the_files_and_the_file_names_no_path(tmp_path: Path) -> None:
    with on_path(write(tmp_path / "secret-folder", {"model.py": SIMPLE})):
        report = torchkeep.save(importlib.import_module("model").Net(), tmp_path / "a.safetensors", source=True)
    assert report.sources == {"model": str(tmp_path / "secret-folder" / "model.py")}
    assert "secret-folder" in str(report)
    (finding,) = [each for each in report.findings if each.code == "source"]
    assert finding.severity == "note"
    assert "model" in finding.message
    assert "private" in finding.hint
    assert b"secret-folder" not in (tmp_path / "a.safetensors").read_bytes()


def test_what_is_installed_is_not_kept(tmp_path: Path) -> None:
    files = {
        "model.py": "import installed_thing\nimport numpy\nimport json\nimport torch\n" + SIMPLE,
        "env/site-packages/installed_thing.py": "x = 1\n",
        "env/dist-packages/other_thing.py": SIMPLE,
    }
    folder = write(tmp_path / "project", files)
    with on_path(folder), on_path(folder / "env/site-packages"), on_path(folder / "env/dist-packages"):
        report = torchkeep.save(importlib.import_module("model").Net(), tmp_path / "a.safetensors", source=True)
        assert list(report.sources) == ["model"]
        with pytest.warns(torchkeep.TorchkeepWarning, match="keeps no source text"):
            report = torchkeep.save(
                importlib.import_module("other_thing").Net(), tmp_path / "b.safetensors", source=True
            )
    assert report.sources == {}
    assert "other_thing was not kept: it is an installed package" in str(report)


def test_a_model_of_torch_alone_has_no_text_to_keep(tmp_path: Path) -> None:
    with pytest.warns(torchkeep.TorchkeepWarning, match="no module of the project defines a class in it"):
        torchkeep.save(torch.nn.Linear(1, 1), tmp_path / "a.safetensors", source=True)
    torchkeep.load(tmp_path / "a.safetensors")
    with pytest.raises(torchkeep.LoadError, match="saved without source=True"):
        run_source(tmp_path / "a.safetensors")


def test_a_link_to_an_editable_install_is_project(tmp_path: Path) -> None:
    """What an editable install points to lies outside of the folders of packages."""
    write(tmp_path / "work", {"src/thing/__init__.py": SIMPLE})
    packages = write(tmp_path / "env/site-packages", {"thing.pth": str(tmp_path / "work/src")})
    with on_path(packages), on_path(tmp_path / "work/src"):
        report = torchkeep.save(importlib.import_module("thing").Net(), tmp_path / "a.safetensors", source=True)
    assert list(report.sources) == ["thing"]


def test_a_lazy_import_that_did_not_happen_is_told(tmp_path: Path) -> None:
    files = {"pkg/__init__.py": "", "pkg/later.py": "x = 1\n"}
    files["pkg/model.py"] = SIMPLE + "    def late(self):\n        import pkg.later\n        from pkg import later\n"
    with on_path(write(tmp_path / "project", files)):
        report = torchkeep.save(importlib.import_module("pkg.model").Net(), tmp_path / "a.safetensors", source=True)
    assert list(report.sources) == ["pkg", "pkg.model"]
    (told,) = [str(each) for each in report.findings if each.code == "source-missing"]
    assert "pkg.model imports pkg.later" in told
    assert "has not imported it" in told


def _executed() -> Any:
    made = types.ModuleType("made_by_exec")
    sys.modules["made_by_exec"] = made
    exec(SIMPLE, vars(made))
    return made.Net()


def _by_type() -> Any:
    return type("Made", (torch.nn.Module,), {"__module__": "model"})()


def _local() -> Any:
    class Local(torch.nn.Module):
        pass

    return Local()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_executed, "made_by_exec:Net was not to be had: its module has no file"),
        (_by_type, "does not define Made"),
        (_local, "is defined inside a function"),
    ],
)
def test_what_cannot_be_had_is_told_and_the_save_goes_on(tmp_path: Path, make: Callable[[], Any], says: str) -> None:
    with on_path(write(tmp_path / "project", {"model.py": SIMPLE})):
        importlib.import_module("model")
        try:
            with pytest.warns(torchkeep.TorchkeepWarning, match=says):
                torchkeep.save(make(), tmp_path / "a.safetensors", source=True)
        finally:
            sys.modules.pop("made_by_exec", None)
    assert torchkeep.inspect(tmp_path / "a.safetensors").kind == "torchkeep"


def test_a_module_that_is_no_text_is_told(tmp_path: Path) -> None:
    with on_path(write(tmp_path / "project", {"model.py": "import native\n" + SIMPLE, "native.py": ""})):
        importlib.import_module("native").__file__ = str(tmp_path / "project" / "native.so")
        with pytest.warns(torchkeep.TorchkeepWarning, match="imports native, whose text was not to be had: native.so"):
            torchkeep.save(importlib.import_module("model").Net(), tmp_path / "a.safetensors", source=True)


def test_a_module_whose_file_is_gone_is_told(tmp_path: Path) -> None:
    with on_path(write(tmp_path / "project", {"model.py": SIMPLE})):
        net = importlib.import_module("model").Net()
        (tmp_path / "project" / "model.py").unlink()
        linecache.clearcache()
        with pytest.warns(torchkeep.TorchkeepWarning, match="module model was not to be had"):
            torchkeep.save(net, tmp_path / "a.safetensors", source=True)


def test_a_module_in_an_archive_and_one_of_another_encoding(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "code.zip", "w") as archive:
        archive.writestr("model.py", "import latin\n" + SIMPLE)
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "latin.py").write_bytes("# coding: latin-1\r\nname = 'é'\r\n".encode("latin-1"))
    with on_path(tmp_path / "code.zip"), on_path(tmp_path / "project"):
        path = tmp_path / "a.safetensors"
        torchkeep.save(importlib.import_module("model").Net(), path, source=True)
    assert torchkeep.inspect(path).sources == {
        "latin": "# coding: latin-1\nname = 'é'\n",
        "model": "import latin\n" + SIMPLE,
    }
    run_source(path)


@pytest.mark.parametrize("text", ["def (:\n", "x = " + "(" * 5000 + "\n", "x = 1\n" + "-" * 200_000 + "1\n"])
def test_a_text_that_is_no_python_any_more_is_refused(tmp_path: Path, text: str) -> None:
    with on_path(write(tmp_path / "project", {"model.py": SIMPLE})):
        net = importlib.import_module("model").Net()
        (tmp_path / "project" / "model.py").write_text(text)
        with pytest.raises(torchkeep.SaveError, match=r"module model .*Nothing was written"):
            torchkeep.save(net, tmp_path / "a.safetensors", source=True)
    assert not (tmp_path / "a.safetensors").exists()


@pytest.mark.parametrize("limits", [{"source_nbytes": 100}, {"source_modules": 3}])
def test_too_much_is_refused(tmp_path: Path, limits: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project, "LIMITS", Limits(**limits))
    with pytest.raises(torchkeep.SaveError, match="Nothing was written"):
        kept(tmp_path, PACKAGE, "Net(Config())", module="shop.model")


def test_a_module_whose_name_no_import_can_write(tmp_path: Path) -> None:
    with on_path(write(tmp_path / "project", {"my-model.py": SIMPLE})):
        net = importlib.import_module("my-model").Net()
        with pytest.warns(torchkeep.TorchkeepWarning, match="'my-model' was not kept"):
            torchkeep.save(net, tmp_path / "a.safetensors", source=True)


_CELLS = (
    "import torch\nfrom torch import nn\n",
    "width = 2\ndata = torch.ones(3)\n",
    "class Net(nn.Module):\n    def forward(self, x):\n        return 'old'\n",
    "def scale(x):\n    return x * width\n\nprint(undefined_thing) if False else None\n",
    "class Net(nn.Module):  # the newer\n    def forward(self, x):\n        return scale(x)\n",
    "model = Net()\nfor i in range(3):\n    model(data)\n",
)


def test_the_cells_of_a_notebook_are_kept_but_for_what_no_class_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main_module = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main_module)
    for i, cell in enumerate(_CELLS):
        name = f"/tmp/ipykernel_12/{i}.py"
        monkeypatch.setitem(linecache.cache, name, (len(cell), None, cell.splitlines(True), name))
        exec(compile(cell, name, "exec"), vars(main_module))
    path = tmp_path / "a.safetensors"
    torchkeep.save(main_module.model, path, source=True)
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))
    text = torchkeep.inspect(path).sources["__main__"]
    assert "the newer" in text
    assert "'old'" not in text
    assert "data" not in text
    assert "for i" not in text
    assert run_source(path)(torch.ones(2)).tolist() == [2, 2]


def test_a_prompt_without_cells_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main_module = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main_module)
    exec(SIMPLE, vars(main_module))
    with pytest.warns(torchkeep.TorchkeepWarning, match="it has no file and no cells"):
        torchkeep.save(main_module.Net(), tmp_path / "a.safetensors", source=True)


def test_records_have_no_class_to_ask(tmp_path: Path) -> None:
    path = kept(tmp_path, PACKAGE, "{'config': Config()}", module="shop.model")
    found = quietly(torchkeep.load, path)
    with pytest.warns(torchkeep.TorchkeepWarning, match="but a Record of an object"):
        torchkeep.save(found, tmp_path / "b.safetensors", source=True)


# --- what reads a file with source text ---------------------------------------------------------------


def test_other_verbs_and_readers_do_as_without_it(tmp_path: Path) -> None:
    with on_path(write(tmp_path / "project", {"model.py": SIMPLE})):
        home = importlib.import_module("model")
        net, with_text, without = home.Net(), tmp_path / "a.safetensors", tmp_path / "b.safetensors"
        torchkeep.save({"net": net, "n": 1}, with_text, source=True)
        torchkeep.save({"net": net, "n": 1}, without)
        loaded = torchkeep.load(with_text)
        assert type(loaded["net"]) is home.Net
        assert torchkeep.report_of(loaded["net"]).route == "structure"
        before = set(sys.modules)
        assert type(torchkeep.load(with_text, key="net", run_source=True)) is home.Net
        assert set(sys.modules) == before
        torchkeep.load_into(net, with_text, key="net")
    assert torchkeep.load(with_text, key="n") == 1
    assert load_file(with_text).keys() == load_file(without).keys()
    assert type(torchkeep.load(with_text, route="skeleton")["net"]) is torchkeep.Skeleton
    report = torchkeep.diff(with_text, without)
    assert report.equal
    assert [note.code for note in report.notes] == ["source"]
    assert torchkeep.diff(with_text, with_text).notes == ()


def test_inspect_shows_the_text_and_the_call(tmp_path: Path) -> None:
    path = kept(tmp_path, {"model.py": SIMPLE})
    report = torchkeep.inspect(path)
    assert report.sources == {"model": SIMPLE}
    (route,) = [route for route in report.routes if route.name == "source"]
    assert not route.open
    assert "run_source=True" in route.lacks[0]
    assert f"source text (not run)\n  model: {len(SIMPLE)} bytes, 9 lines\n" in report.text()
    assert report.to_dict()["sources"] == [{"module": "model", "nbytes": len(SIMPLE), "text": SIMPLE}]
    assert type(eval(route.call, {"torchkeep": torchkeep})).__qualname__ == "Net"


def test_the_route_lacks_the_classes_that_no_text_defines(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    nodes = [document.Seq("list", (document.Ref(1), document.Ref(2))), *(
        document.Typed("function", 1, {"name": name}) for name in ("gone:f", "other:g"))]  # fmt: skip
    path.write_bytes(
        containers.layout(Document(document.Ref(0), nodes, sources={"gone": SourceText("", "def f(): ...\n")})).header(
            []
        )
    )
    (route,) = [route for route in torchkeep.inspect(path).routes if route.name == "source"]
    assert "other:g" in route.lacks[1]
    with pytest.raises(torchkeep.TrustError, match="other:g"):
        run_source(path)


def test_many_modules_are_cut_in_the_text(tmp_path: Path) -> None:
    path = net_of(tmp_path / "a.safetensors", "", **{f"m{i:04}": SourceText("", "") for i in range(299)})
    text = torchkeep.inspect(path).text(limit=10)
    assert "m0008" in text
    assert "m0009" not in text
    assert "... and 290 more" in text
    assert "m0298" in torchkeep.inspect(path).text(limit=None)


def test_inspect_imports_no_torch_for_it(tmp_path: Path) -> None:
    path = net_of(tmp_path / "a.safetensors", "raise SystemExit")
    script = "import sys, torchkeep; print(torchkeep.inspect(sys.argv[1]).sources); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=True, capture_output=True, text=True)
    assert done.stdout == "{'gone': 'raise SystemExit'}\n"


def test_the_command_line_prints_a_module(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = net_of(tmp_path / "a.safetensors", "if x:\n\tprint('\x1b[2J\u202e')\n", other=SourceText("", "x = 1"))
    assert main(["inspect", str(path), "--source", "gone"]) == 0
    assert capsys.readouterr().out == "if x:\n\tprint('\\x1b[2J\\u202e')\n"
    assert main(["inspect", str(path), "--source", "gone", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["text"] == "if x:\n\tprint('\x1b[2J\u202e')\n"
    assert main(["inspect", str(path), "--source", "no\x1bne"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "keeps that of gone, other" in err
    assert "\x1b" not in err
    torchkeep.save({"a": 1}, tmp_path / "b.safetensors")
    assert main(["inspect", str(tmp_path / "b.safetensors"), "--source", "x"]) == 1
    assert "save(..., source=True)" in capsys.readouterr().err


def test_a_flipped_bit_in_the_text_is_found(tmp_path: Path) -> None:
    path = net_of(tmp_path / "a.safetensors", "x = 1  # abcdef")
    path.write_bytes(path.read_bytes().replace(b"abcdef", b"abcdeg"))
    with pytest.raises(torchkeep.DigestError):
        torchkeep.inspect(path)


# --- what runs it -------------------------------------------------------------------------------------


def test_a_package_comes_back_whole(tmp_path: Path) -> None:
    make = "{'model': Net(Config()).eval(), 'config': Config(one=One()), 'size': Size(7), 'mode': Mode.FAST}"
    path = kept(tmp_path, PACKAGE, make, module="shop.model", imports="shop.late")
    found = run_source(path)
    model = found["model"]
    x = torch.ones(1, 4)
    assert torch.equal(model(x), 2 * (torch.relu(model.layer.linear(x)) * 2.0 + 1))
    assert type(found["config"].one).__name__ == "One"
    assert found["size"].n == 7
    assert found["mode"] is model.mode
    assert model.pair == (1, 2)
    assert model.pair._fields == ("x", "y")
    home = sys.modules[type(model).__module__]
    assert home.__name__.startswith(PRIVATE)
    assert home.Mode.FAST is model.mode
    assert found["config"].one.other()().other() is type(found["config"].one)
    assert not [name for name in sys.modules if name.partition(".")[0] == "shop"]
    assert torchkeep.report_of(model).route == torchkeep.report_of(found).route == "source"
    assert "shop.model" in str(torchkeep.report_of(model).findings[-1])


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_what_python_looks_up_by_the_module_of_a_class_works(tmp_path: Path) -> None:
    path = kept(tmp_path, PACKAGE, "Net(Config())", module="shop.model", imports="shop.late")
    model = run_source(path)
    hints = typing.get_type_hints(type(model.config))
    assert hints["width"] is int
    assert hints["one"] == sys.modules[type(model).__module__].One | None
    assert inspect.getsource(type(model)).startswith("class Net(nn.Module):\n")
    assert copy.deepcopy(model).config == model.config
    again = pickle.loads(pickle.dumps(model))
    assert type(again) is type(model)
    made = dataclasses.make_dataclass(
        "Made", [("x", int, 1)], bases=(type(model.config),), namespace={"__module__": type(model).__module__}
    )
    assert made(width=3).x == 1
    assert torch.jit.script(run_source(kept(tmp_path, {"model.py": SIMPLE})))(torch.ones(1, 2)).shape == (1, 2)


def test_the_programs_own_modules_are_left_alone(tmp_path: Path) -> None:
    files = {"pkg/__init__.py": "", "pkg/model.py": "from pkg import part\n" + SIMPLE, "pkg/part.py": "x = 'file'\n"}
    path = kept(tmp_path, files, module="pkg.model")
    other = {"pkg/__init__.py": "", "pkg/model.py": "x = 'program'\n", "pkg/part.py": "x = 'program'\n"}
    with on_path(write(tmp_path / "other", other)):
        mine = importlib.import_module("pkg.model"), importlib.import_module("pkg.part"), sys.modules["pkg"]
        model = run_source(path)
        assert sys.modules[type(model).__module__].part.x == "file"
        assert (sys.modules["pkg.model"], sys.modules["pkg.part"], sys.modules["pkg"]) == mine
        assert not hasattr(mine[0], "Net")
        assert mine[1].x == "program"
        assert sys.modules["pkg"].part is mine[1]


def test_torch_is_torch_and_a_module_may_be_called_like_one_of_pythons(tmp_path: Path) -> None:
    fake = {"torch": SourceText("torch", "raise SystemExit\n"), "torch.nn": SourceText("torch", "raise SystemExit\n")}
    assert isinstance(run_source(net_of(tmp_path / "a.safetensors", EMPTY_NET, **fake)), torch.nn.Module)
    path = net_of(tmp_path / "b.safetensors", "", "torch", torch=SourceText("torch", "class Net: ...\n"))
    with pytest.raises(torchkeep.TrustError, match="not in the closed table of torch"):
        run_source(path)
    folder = write(
        tmp_path / "project", {"model.py": "import antigravity\n" + SIMPLE, "antigravity.py": "x = 'mine'\n"}
    )
    with on_path(folder):
        net = importlib.import_module("model").Net()
        torchkeep.save(net, tmp_path / "c.safetensors", source=True)
    home = sys.modules[type(run_source(tmp_path / "c.safetensors")).__module__]
    assert home.antigravity.x == "mine"
    assert "antigravity" not in sys.modules


def test_other_imports_go_the_ordinary_way(tmp_path: Path) -> None:
    text = "import json, os.path, torch.nn.functional as F\nfrom collections import abc\nimport xml.dom\n" + SIMPLE
    model = run_source(kept(tmp_path, {"model.py": text}))
    home = sys.modules[type(model).__module__]
    assert home.json is json
    assert home.os is sys.modules["os"]
    assert home.F is torch.nn.functional
    assert home.xml is sys.modules["xml"]


def test_a_namespace_package_of_the_project(tmp_path: Path) -> None:
    files = {"space/part/model.py": "from space.part.other import x\nimport space.part.other as o\n" + SIMPLE}
    files["space/part/other.py"] = "x = 1\n"
    path = kept(tmp_path, files, module="space.part.model")
    assert sorted(torchkeep.inspect(path).sources) == ["space.part.model", "space.part.other"]
    home = sys.modules[type(run_source(path)).__module__]
    assert home.x == home.o.x == 1
    elsewhere = {"space/there.py": "y = 2\n"}
    with on_path(write(tmp_path / "elsewhere", elsewhere)):
        text = "from space import there\nimport space.there as t\nfrom space.part import mod\n" + EMPTY_NET
        more = {"space.part.mod": SourceText("space.part", "z = 3\n")}
        home = sys.modules[type(run_source(net_of(tmp_path / "b.safetensors", text, **more))).__module__]
        assert home.there.y == home.t.y == 2
        assert home.mod.z == 3
        sys.modules.pop("space", None)


def test_running_is_asked_for_each_time(tmp_path: Path) -> None:
    path = kept(tmp_path, {"model.py": SIMPLE})
    assert type(run_source(path)) is type(run_source(path))
    with pytest.raises(torchkeep.TrustError):
        torchkeep.load(path)
    with pytest.raises(torchkeep.TrustError, match=r"text is not run without your word.*run_source=True\)") as caught:
        torchkeep.load(path, route="source")
    assert caught.value.names == ("model:Net",)


def test_auto_prefers_the_classes_that_open(tmp_path: Path) -> None:
    folder = write(tmp_path / "project", {"model.py": "ran = 1\n" + SIMPLE})
    path = tmp_path / "a.safetensors"
    with on_path(folder):
        home = importlib.import_module("model")
        torchkeep.save(home.Net(), path, source=True)
        assert type(torchkeep.load(path, run_source=True)) is home.Net
        assert torchkeep.report_of(torchkeep.load(path, run_source=True)).route == "structure"
        assert type(run_source(path)) is not home.Net
    with pytest.warns(torchkeep.TorchkeepWarning, match="its classes did not open, so source text .* was run: model"):
        model = torchkeep.load(path, run_source=True)
    assert torchkeep.report_of(model).route == "source"


def test_auto_runs_it_rather_than_to_give_records(tmp_path: Path) -> None:
    path = kept(tmp_path, PACKAGE, "{'config': Config()}", module="shop.model")
    with pytest.warns(torchkeep.TorchkeepWarning, match="inert Record"):
        assert type(torchkeep.load(path)["config"]) is torchkeep.Record
    found = quietly(torchkeep.load, path, run_source=True)
    assert type(found["config"]).__name__ == "Config"


def test_auto_of_a_file_without_text_says_what_it_always_says(tmp_path: Path) -> None:
    with on_path(write(tmp_path / "project", {"model.py": SIMPLE})):
        torchkeep.save(importlib.import_module("model").Net(), tmp_path / "a.safetensors")
    with pytest.raises(torchkeep.TrustError, match="model is not imported") as caught:
        torchkeep.load(tmp_path / "a.safetensors", run_source=True)
    assert "source" not in str(caught.value)


def test_classes_that_the_caller_gives_go_first(tmp_path: Path) -> None:
    path = net_of(tmp_path / "a.safetensors", "raise RuntimeError('ran')\n")

    class Net(torch.nn.Module):
        pass

    for classes in ({"gone:Net": Net}, [Net]):
        assert type(run_source(path, classes=classes)) is Net
    with pytest.raises(torchkeep.SourceError):
        run_source(path, classes={"gone:Other": Net})


def test_only_what_the_part_needs_is_run(tmp_path: Path) -> None:
    files = {"a.py": SIMPLE, "b.py": "import sys\nif __name__ != 'b':\n    raise RuntimeError('b ran')\n" + SIMPLE}
    path = kept(tmp_path, files | {"both.py": "import a, b\n"}, "{'a': a.Net(), 'b': b.Net()}", module="both")
    assert type(run_source(path, key="a")).__name__ == "Net"
    with pytest.raises(torchkeep.SourceError, match="module b raised RuntimeError in line 3 when it was run: b ran"):
        run_source(path)


def test_a_class_that_the_text_does_not_define(tmp_path: Path) -> None:
    with pytest.raises(torchkeep.TrustError, match="gone is not imported"):
        run_source(net_of(tmp_path / "a.safetensors", "x = 1\n"))
    with pytest.raises(torchkeep.TrustError, match="gone is not imported"):
        run_source(net_of(tmp_path / "b.safetensors", "from torch.nn import Linear as Net\n"))


def test_a_static_method_that_was_saved_as_a_function(tmp_path: Path) -> None:
    files = {"model.py": "class Tools:\n    @staticmethod\n    def double(x):\n        return 2 * x\n"}
    assert run_source(kept(tmp_path, files, "[Tools.double]"))[0](2) == 4


_RAISING = {
    "raises": ("import torch\n\nraise ValueError('no \x1b')\n", "ValueError in line 3", 3),
    "exits": ("import sys\nsys.exit(3)\n", "SystemExit in line 2", 2),
    "lacks a module": ("\nimport torchkeep_no_such_thing\n", "ModuleNotFoundError in line 2", 2),
    "lacks one of its own": ("from . import nothing\n", "ImportError in line 1", 1),
    "is no Python": ("x = 1\ndef (:\n", "SyntaxError in line 2", 2),
    "is deep": ("(" * 5000, "", None),
    "is deeper": ("-" * 300_000 + "1\n", "", None),
    "recurses": ("def f():\n    f()\nf()\n", "RecursionError in line 2", 2),
    "raises what cannot be shown": (
        "class E(Exception):\n    def __str__(self):\n        raise KeyError\nraise E\n",
        "E in line 4",
        4,
    ),
    "raises what says a strange place": (
        "error = SyntaxError()\nerror.msg, error.filename, error.lineno = 1, 2, 'three'\nraise error\n",
        "SyntaxError in line 3",
        3,
    ),
    "raises no Exception": (
        "class Quiet(BaseException): ...\nraise Quiet\n",
        "Quiet in line 2 when it was run. Nothing",
        2,
    ),
    "imports itself out": ("from gone import Net\n", "ImportError in line 1", 1),
}


@pytest.mark.parametrize("name", _RAISING)
def test_a_text_that_raises_is_named_with_its_line(tmp_path: Path, name: str) -> None:
    text, says, line = _RAISING[name]
    path = net_of(tmp_path / "a.safetensors", text)
    with pytest.raises(torchkeep.SourceError, match=rf"module gone raised {says}") as caught:
        run_source(path)
    assert caught.value.module == "gone"
    assert line is None or caught.value.line == line
    assert "Nothing was loaded" in str(caught.value)
    assert PRIVATE not in str(caught.value)
    assert str(caught.value).isprintable()
    with pytest.raises(torchkeep.SourceError):  # and again: nothing half run is left
        run_source(path)


def test_the_module_that_raised_is_named_and_not_the_one_that_was_asked_for(tmp_path: Path) -> None:
    more = {"below": SourceText("", "def f():\n    raise KeyError(1)\n"), "broken": SourceText("", "x = (\n")}
    path = net_of(tmp_path / "a.safetensors", "import below\n\nbelow.f()\n", **more)
    with pytest.raises(torchkeep.SourceError, match="module below raised KeyError in line 2") as caught:
        run_source(path)
    assert (caught.value.module, caught.value.line) == ("below", 2)
    with pytest.raises(torchkeep.SourceError, match="module broken raised SyntaxError in line 1"):
        run_source(net_of(tmp_path / "b.safetensors", "import broken\n", **more))
    error = pickle.loads(pickle.dumps(caught.value))
    assert (error.module, error.line) == ("below", 2)


def test_cycles_of_imports_are_as_in_python(tmp_path: Path) -> None:
    path = kept(tmp_path, PACKAGE, "One()", module="shop.one")
    one = run_source(path)
    assert one.other()().other() is type(one)
    cyclic = {"a": SourceText("", "from b import y\nx = 1\n"), "b": SourceText("", "from a import x\ny = 1\n")}
    with pytest.raises(torchkeep.SourceError, match=r"module b raised ImportError in line 1.*circular import"):
        run_source(net_of(tmp_path / "b.safetensors", "import a\n", **cyclic))


def test_very_many_levels_of_packages(tmp_path: Path) -> None:
    name = ".".join("a" * 120)
    model = run_source(net_of(tmp_path / "a.safetensors", EMPTY_NET, name, name.rpartition(".")[0]))
    assert type(model).__module__.endswith(name)
    names = {f"m{i}": SourceText("", f"import m{i + 1}\n") for i in range(1500)} | {"m1500": SourceText("", "")}
    with contextlib.suppress(torchkeep.SourceError):  # as deep as Python goes
        run_source(net_of(tmp_path / "b.safetensors", "import m0\n" + EMPTY_NET, **names))


def test_the_text_does_not_inherit_how_torchkeep_is_compiled(tmp_path: Path) -> None:
    text = EMPTY_NET + "def f(x: int): ...\nNet.hint = f.__annotations__['x']\n"
    assert type(run_source(net_of(tmp_path / "a.safetensors", text))).hint is int


@pytest.mark.parametrize("route", ["structure", "skeleton"])
def test_the_word_goes_with_the_routes_that_hear_it(tmp_path: Path, route: Any) -> None:
    path = net_of(tmp_path / "a.safetensors", EMPTY_NET)
    with pytest.raises(ValueError, match="goes with route 'source' or 'auto'"):
        torchkeep.load(path, route=route, run_source=True)
    with pytest.raises(ValueError, match="run_source is True or False"):
        torchkeep.load(path, run_source="no")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'source' or 'skeleton'"):
        torchkeep.load(path, route="sources")  # type: ignore[arg-type]


_WATCHED = """
    import sys
    import torch, torchkeep, warnings
    from torchkeep import cli
    seen = []
    def watch(event, arguments):
        if event in ("compile", "exec") and "HOSTILE" in repr(arguments):
            seen.append(event)
        if event == "exec" and "_torchkeep_source_" in getattr(arguments[0], "co_filename", ""):
            seen.append(event)
        if event == "import" and "gone" in arguments[0]:
            seen.append(event)
    torchkeep.load(sys.argv[2]); torchkeep.load(sys.argv[2], route="skeleton")  # what is imported late by honest code
    sys.addaudithook(watch)
    warnings.simplefilter("ignore")
    path = sys.argv[1]
    for call in (
        lambda: torchkeep.load(path), lambda: torchkeep.load(path, route="structure"),
        lambda: torchkeep.load(path, route="source"), lambda: torchkeep.load(path, route="skeleton"),
        lambda: torchkeep.load(path, mmap=True), lambda: torchkeep.load(path, verify="first"),
        lambda: torchkeep.load_into(torch.nn.Linear(1, 1), path), lambda: torchkeep.inspect(path).text(),
        lambda: torchkeep.inspect(path).to_dict(), lambda: torchkeep.diff(path, path).text(),
        lambda: cli.main(["inspect", path, "--source", "gone"]),
    ):
        try:
            call()
        except torchkeep.TorchkeepError:
            pass
    assert seen == [], seen
    try:
        torchkeep.load(path, run_source=True)
    except torchkeep.SourceError:
        pass
    assert "compile" in seen and "exec" in seen, seen
"""


def test_nothing_else_compiles_or_runs_it(tmp_path: Path) -> None:
    path = net_of(tmp_path / "a.safetensors", "HOSTILE = 1\nraise SystemExit\n")
    torchkeep.save(torch.nn.Linear(1, 1), tmp_path / "warm.safetensors")
    command = [sys.executable, "-c", textwrap.dedent(_WATCHED), str(path), str(tmp_path / "warm.safetensors")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_file_cannot_name_what_another_file_ran(tmp_path: Path) -> None:
    model = run_source(net_of(tmp_path / "a.safetensors", EMPTY_NET))
    name = type(model).__module__
    assert name in sys.modules
    path = net_of(tmp_path / "b.safetensors", EMPTY_NET, name, name.rpartition(".")[0])
    with pytest.raises(torchkeep.TrustError, match="is another name of gone:Net now"):
        torchkeep.load(path)


def test_what_a_text_registers_takes_no_place_of_the_programs(tmp_path: Path) -> None:
    text = "import torchkeep\n" + EMPTY_NET + "torchkeep.register(Net, version=2, aliases=['older:Net'])\n"
    with on_path(write(tmp_path / "project", {"gone.py": EMPTY_NET})):
        mine = importlib.import_module("gone").Net
        torchkeep.register(mine)
        path = net_of(tmp_path / "a.safetensors", text)
        theirs = type(run_source(path))
        assert type(torchkeep.load(path)) is mine
        assert type(run_source(path)) is theirs
        assert theirs is not mine
        with pytest.raises(torchkeep.TrustError):
            torchkeep.load(net_of(tmp_path / "b.safetensors", "", "older"))
    for cls in (mine, theirs):
        registry._by_class.pop(cls)


# --- saving what came from text -----------------------------------------------------------------------


def test_saved_again_it_is_the_same_file(tmp_path: Path) -> None:
    path = kept(tmp_path, PACKAGE, "Net(Config(one=One()))", module="shop.model", imports="shop.late")
    model = run_source(path)
    again = tmp_path / "again.safetensors"
    report = torchkeep.save(model.train(), again, source=True)
    assert sorted(report.sources) == MODULES  # also those that were not run yet
    assert torchkeep.diff(path, again).equal
    assert torchkeep.diff(path, again).notes == ()
    assert torchkeep.inspect(again).sources == torchkeep.inspect(path).sources
    assert type(run_source(again)) is type(model)


def test_saved_again_without_text_it_opens_with_the_class(tmp_path: Path) -> None:
    files = {"model.py": SIMPLE}
    model = run_source(kept(tmp_path, files))
    again = tmp_path / "again.safetensors"
    report = torchkeep.save(model, again)
    assert [finding.code for finding in report.findings] == ["source-missing"]
    assert torchkeep.inspect(again).sources == {}
    assert torchkeep.inspect(again).needs[0].name == "model:Net"
    with on_path(write(tmp_path / "project", files)):
        home = importlib.import_module("model")
        assert type(torchkeep.load(again)) is home.Net
        torchkeep.load_into(home.Net(), again)
        torchkeep.load_into(model, again)


def test_two_classes_of_one_name_are_not_saved_together(tmp_path: Path) -> None:
    path = kept(tmp_path, {"model.py": SIMPLE, "part.py": SIMPLE})
    model = run_source(path)
    with on_path(write(tmp_path / "project", {"model.py": SIMPLE + "\n# newer\n"})):
        other = importlib.import_module("model").Net()
        for source in (False, True):
            with pytest.raises(torchkeep.UnsaveableError, match="one of two that are called model:Net"):
                torchkeep.save([model, other], tmp_path / "b.safetensors", source=source)


def test_two_modules_of_one_name_are_not_kept_together(tmp_path: Path) -> None:
    path = kept(tmp_path, {"model.py": SIMPLE})
    model = run_source(path)
    with on_path(write(tmp_path / "project", {"model.py": SIMPLE.replace("Net", "Other")})):
        other = importlib.import_module("model").Other()
        with pytest.raises(torchkeep.SaveError, match="two modules called model have different texts"):
            torchkeep.save([model, other], tmp_path / "b.safetensors", source=True)
    with on_path(write(tmp_path / "project", {"model.py": SIMPLE, "more.py": "import model\n" + SIMPLE})):
        more = importlib.import_module("more").Net()
        report = torchkeep.save([model, more], tmp_path / "b.safetensors", source=True)
        assert sorted(report.sources) == ["model", "more"]


# --- clause D-10 --------------------------------------------------------------------------------------


def _checked(sources: dict[str, SourceText], **limits: int) -> None:
    document.check(Document(sources=sources), limits=Limits(**limits) if limits else LIMITS)


@pytest.mark.parametrize(
    "name", ["", "a..b", "../a", "a/b", "a\0", "class", "a.None", "é", "1a", "a ", "a\n", ".a", "a."]
)
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(errors.FormatError) as caught:
        _checked({name: SourceText("", "")})
    assert caught.value.clause == "D-10"
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("name", "package"),
    [("a.b", ""), ("a.b", "b"), ("a.b.c", "a"), ("a", "b"), ("__main__", "a/b"), ("__main__", "a..b")],
)
def test_packages_that_do_not_fit(name: str, package: str) -> None:
    with pytest.raises(errors.FormatError) as caught:
        _checked({name: SourceText(package, "")})
    assert caught.value.clause == "D-10"


def test_what_the_clause_allows() -> None:
    _checked({"a": SourceText("a", ""), "a.b": SourceText("a", "x"), "a.c": SourceText("a.c", "\ufeff\r\t")})
    _checked({"a.b.c": SourceText("a.b", ""), "__main__": SourceText("a.b", ""), "match": SourceText("", "")})


def test_a_module_lies_in_packages_and_a_text_has_no_nul() -> None:
    for sources in (
        {"a": SourceText("", ""), "a.b": SourceText("a", "")},
        {"a": SourceText("", "x = '\0'")},
    ):
        with pytest.raises(errors.FormatError) as caught:
            _checked(sources)
        assert caught.value.clause == "D-10"


@pytest.mark.parametrize(
    ("sources", "limits"),
    [
        ({"a": SourceText("", "é" * 6)}, {"source_nbytes": 11}),
        ({"a": SourceText("", ""), "b": SourceText("", "")}, {"source_modules": 1}),
        ({"abc": SourceText("", "")}, {"source_name": 2}),
        ({"__main__": SourceText("abcdefghi", "")}, {"source_name": 8}),
    ],
)
def test_limits(sources: dict[str, SourceText], limits: dict[str, int]) -> None:
    with pytest.raises(torchkeep.LimitError):
        _checked(sources, **limits)
    _checked(sources, **{name: limit + 1 for name, limit in limits.items()})


def test_a_document_with_text_is_one_text() -> None:
    made = Document(sources={"b": SourceText("", 'x = "é\\n"\n'), "a": SourceText("a", "")})
    text = document.encode(made)
    assert document.decode(text) == made
    assert list(document.decode(text).sources) == ["a", "b"]
    with pytest.raises(errors.FormatError) as caught:
        document.decode(text.replace('[["a","a",""],', '[["a","a",""],["a","a","x"],'))
    assert caught.value.clause == "D-1"
    assert "sources" not in document.encode(Document())


def test_namespaces_are_told_apart_by_every_part_of_a_text(tmp_path: Path) -> None:
    texts = [
        {"gone": SourceText("", EMPTY_NET)},
        {"gone": SourceText("", EMPTY_NET + "\n")},
        {"gone": SourceText("gone", EMPTY_NET)},
        {"gone": SourceText("", EMPTY_NET), "more": SourceText("", "")},
    ]
    classes = [private.run(each, ["gone:Net"], path="a")["gone:Net"] for each in texts]
    assert len({cls.__module__ for cls in classes}) == len(classes)
    assert private.text_of(classes[0].__module__) == texts[0]["gone"]
    assert private.text_of("os") is None
