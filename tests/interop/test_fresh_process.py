"""Saved in one process, loaded in another: the class where it was, moved, renamed, changed, or not there at all."""

from __future__ import annotations

import enum
import functools
import io
import json
import os
import re
import subprocess
import sys
import textwrap
import threading
import typing
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import torchkeep

Told = dict[str, Any]

# --- a project, and what became of it ---------------------------------------------------------------

CONFIG = """
class Config:
    def __init__(self, width, table):
        self.width = width
        self.table = table
"""

NETS = """
import torch
import torch.nn.functional as F
from torch import nn
from CONFIG_MODULE import Config

class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.act = F.gelu

    def forward(self, x):
        return self.act(self.linear(x))

class Plain(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.config = Config(width, {"a": (1, 2), 3: None})
        self.blocks = nn.ModuleList(Block(width) for _ in range(2))
        self.blocks.append(self.blocks[0])
        self.dropout = nn.Dropout(0.5)
        self.register_buffer("scale", torch.full((width,), 2.0))
        self.register_buffer("shift", torch.ones(width), persistent=False)
        self.blocks[1].linear.weight.requires_grad_(False)

    def forward(self, x):
        for block in self.blocks:
            x = self.dropout(block(x))
        return x * self.scale / self.config.width + self.shift
"""

FUNKY = """
import functools
import torch
from torch import nn

def squash(x, by=1.0):
    return torch.tanh(x * by)

class Marker:
    kind = "marker"

class Funky(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.act = squash
        self.slow = functools.partial(squash, by=0.5)
        self.torch_partial = functools.partial(torch.softmax, dim=-1)
        self.marker = Marker
        self.chosen = self.first

    def first(self, x):
        return self.linear(x)

    def forward(self, x):
        assert self.chosen.__self__ is self
        assert self.marker.kind == "marker"
        return self.torch_partial(self.slow(self.act(self.chosen(x))))
"""

GROWN = """
from torch import nn

class Grown(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        return self.linear(x)
"""

GROWN_LATER = """
from torch import nn

class Grown(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.factor = 1.0
        self.norm = nn.Identity()

    def forward(self, x):
        return self.norm(self.linear(x)) * self.factor
"""

SAVER = """
import lab.funky, lab.grown
from lab.nets import Plain

class Net(torch.nn.Linear):
    def forward(self, x):
        return super().forward(x) + 1

def make():
    class Local(torch.nn.Linear):
        pass
    return Local(4, 4)

torch.manual_seed(0)
saved = {"plain": Plain(), "funky": lab.funky.Funky(), "grown": lab.grown.Grown(), "main": Net(4, 4), "local": make()}
for name, model in saved.items():
    attempt(name, lambda: torchkeep.save(model, f"{name}.safetensors") and model.eval())
model = Plain().train()
model.blocks[1].eval()
optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=0.1)
step(model, optimizer)
torchkeep.save({"model": model, "optimizer": optimizer, "epoch": 3}, "ckpt.safetensors")
step(model, optimizer)
attempt("ckpt", lambda: model.eval())
"""

PRELUDE = """
import importlib, json, re, sys, warnings
import torch, torchkeep

told = {}
X = torch.linspace(-1, 1, 12).reshape(3, 4)

def shown(found):
    if not isinstance(found, torch.nn.Module):
        return {}
    made = {"class": f"{type(found).__module__}:{type(found).__qualname__}", "training": found.training}
    try:
        made["route"] = torchkeep.report_of(found).route
    except LookupError:
        pass
    made["weights"] = {n: t.numpy().tobytes().hex() for n, t in found.state_dict().items()}
    try:
        with torch.no_grad():
            made["output"] = found(X).numpy().tobytes().hex()
    except Exception as error:
        made["cannot"] = str(error)
    return made

def attempt(name, call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found, told[name] = None, {}
        try:
            found = call()
            told[name].update(shown(found))
        except Exception as error:
            told[name].update({"error": type(error).__name__, "message": str(error)})
    told[name]["warnings"] = [str(w.message) for w in caught]
    told[name]["modules"] = sorted(n for n in sys.modules if n.startswith(("lab", "newlab")))
    return found

def calls_in(name):
    return re.findall(r"torchkeep\\.(?:load|load_into)\\(.*\\)", told[name]["message"])

def step(model, optimizer):
    torch.manual_seed(1)
    optimizer.zero_grad()
    model(X).square().sum().backward()
    optimizer.step()
"""


def _write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def _run(code: str, folder: Path, files: Path) -> Told:
    """What a fresh process tells that runs `code` in a project's folder."""
    script = folder / "script.py"
    program = f"{PRELUDE}\nF = {str(files)!r} + '/%s.safetensors'\n{textwrap.dedent(code)}\n"
    script.write_text(program + "print(json.dumps(told))\n")
    done = subprocess.run(
        [sys.executable, str(script)], cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    told: Told = json.loads(done.stdout.splitlines()[-1])
    return told


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write(
        tmp_path_factory.mktemp("project"),
        {
            "lab/__init__.py": "",
            "lab/config.py": CONFIG,
            "lab/nets.py": NETS.replace("CONFIG_MODULE", "lab.config"),
            "lab/funky.py": FUNKY,
            "lab/grown.py": GROWN,
        },
    )


@pytest.fixture(scope="module")
def saved(project: Path) -> Told:
    """What was saved, and what it computes."""
    return _run(SAVER, project, project)


def _same(found: Told, saved: Told) -> None:
    """The very model: its class, its weights, its output, in eval mode, without a word."""
    assert "error" not in found, found
    assert (found["output"], found["weights"]) == (saved["output"], saved["weights"])
    assert found["training"] is False
    assert found["route"] == "structure"
    assert found["warnings"] == []


# --- where it was -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def where(project: Path, saved: Told) -> Told:
    return _run(
        """
        attempt("refused", lambda: torchkeep.load(F % "plain"))
        attempt("skeleton", lambda: torchkeep.load(F % "plain", route="skeleton"))
        attempt("other trust", lambda: torchkeep.load(F % "plain", trust=("json", "la", "lab.nets.Plain")))
        attempt("inspected", lambda: torchkeep.inspect(F % "plain"))
        attempt("trust one", lambda: torchkeep.load(F % "plain", trust=("lab.nets:Plain",)))
        attempt("as told: trust", lambda: eval(calls_in("refused")[0]))
        attempt("imported", lambda: torchkeep.load(F % "plain"))

        from lab.config import Config
        from lab.nets import Block, Plain
        attempt("as told: classes", lambda: eval(calls_in("refused")[1]))
        model = Plain()
        attempt("as told: weights", lambda: eval(calls_in("refused")[2]) and model.eval())
        attempt("as told: skeleton", lambda: eval(calls_in("refused")[3]))
        attempt("list", lambda: torchkeep.load(F % "plain", classes=[Plain, Block]))
        attempt("one class", lambda: torchkeep.load(F % "plain", classes=Plain))

        import lab.funky
        attempt("funky refused", lambda: torchkeep.load(F % "funky"))
        from lab.funky import Funky, Marker, squash
        told["funky calls"] = calls_in("funky refused")
        attempt("funky classes", lambda: eval(calls_in("funky refused")[-3]))
        attempt("funky list", lambda: torchkeep.load(F % "funky", classes=[Funky, squash, Marker]))
        attempt("funky trust", lambda: torchkeep.load(F % "funky", trust="lab"))
        attempt("funky without a method's class", lambda: torchkeep.load(F % "funky", classes=[squash, Marker]))
        attempt("funky skeleton", lambda: torchkeep.load(F % "funky", route="skeleton"))

        whole = torchkeep.load(F % "ckpt")
        told["flags"] = {name: module.training for name, module in whole["model"].named_modules()}
        told["epoch"] = whole["epoch"]
        held = {id(p) for p in whole["model"].parameters()}
        told["shared"] = all(id(p) in held for group in whole["optimizer"].param_groups for p in group["params"])
        step(whole["model"], whole["optimizer"])
        attempt("ckpt", lambda: whole["model"].eval())

        attempt("main refused", lambda: torchkeep.load(F % "main"))
        attempt("local refused", lambda: torchkeep.load(F % "local"))
        class Other(torch.nn.Linear):
            def forward(self, x):
                return super().forward(x) + 1
        attempt("main renamed", lambda: torchkeep.load(F % "main", classes={"__main__:Net": Other}))
        def outer():
            class Net(Other):
                pass
            class Local(torch.nn.Linear):
                pass
            return Net, Local
        Net, Local = outer()
        attempt("main listed", lambda: torchkeep.load(F % "main", classes=[Net]))
        attempt("local listed", lambda: torchkeep.load(F % "local", classes=[Local]))
        Net.__qualname__ = "Net"
        attempt("main defined", lambda: torchkeep.load(F % "main"))
        """,
        project,
        project,
    )


def test_nothing_is_imported_because_a_file_names_it(where: Told) -> None:
    for name in ("refused", "skeleton", "other trust", "inspected"):
        assert where[name]["modules"] == [], name
    assert where["refused"]["error"] == "TrustError"
    assert where["other trust"]["error"] == "TrustError"
    assert "lab.nets:Plain" in where["refused"]["message"]
    assert "lab.nets:Block" in where["refused"]["message"]
    assert "Nothing was loaded" in where["refused"]["message"]


@pytest.mark.parametrize(
    "name", ["trust one", "as told: trust", "imported", "as told: classes", "as told: weights", "list", "one class"]
)
def test_the_class_where_it_was(where: Told, saved: Told, name: str) -> None:
    if name == "as told: weights":
        assert "error" not in where[name], where[name]
        assert (where[name]["weights"], where[name]["output"]) == (saved["plain"]["weights"], saved["plain"]["output"])
        return
    _same(where[name], saved["plain"])
    assert where[name]["class"] == "lab.nets:Plain"


@pytest.mark.parametrize("name", ["skeleton", "as told: skeleton", "funky skeleton"])
def test_a_skeleton_has_the_weights_and_says_why_it_cannot_run(where: Told, saved: Told, name: str) -> None:
    found = where[name]
    assert "error" not in found, found
    expected = saved["funky" if "funky" in name else "plain"]["weights"]
    if name == "skeleton":
        assert "skeleton of a lab.nets:Plain" in found["cannot"]
    if name != "as told: skeleton":  # by then its classes were imported
        assert found["route"] == "skeleton" or found["warnings"], "a part was stood in for, and nothing says so"
    assert found["weights"] == expected
    assert list(found["weights"]) == list(expected)


def test_functions_methods_and_classes_open_when_they_are_named(where: Told, saved: Told) -> None:
    refused = where["funky refused"]
    assert refused["error"] == "TrustError"
    assert "lab.funky:squash" in refused["message"]
    assert "lab.funky:Marker" in refused["message"]
    for name in ("funky list", "funky trust"):
        _same(where[name], saved["funky"])
    refused = where["funky without a method's class"]
    assert refused["error"] == "TrustError"
    assert "'first'" in refused["message"]


def test_the_call_that_the_error_gives_for_functions_works(where: Told, saved: Told) -> None:
    _same(where["funky classes"], saved["funky"])


def test_a_checkpoint_resumes_to_the_bit(where: Told, saved: Told) -> None:
    assert where["epoch"] == 3
    assert where["shared"]
    assert where["flags"][""] is True
    assert {name: on for name, on in where["flags"].items() if not on}.keys() == {"blocks.1", "blocks.1.linear"}
    assert where["ckpt"]["weights"] == saved["ckpt"]["weights"]
    assert where["ckpt"]["output"] == saved["ckpt"]["output"]


def test_a_class_of_a_script(where: Told, saved: Told) -> None:
    assert where["main refused"]["error"] == "TrustError"
    assert "__main__:Net" in where["main refused"]["message"]
    assert "trust=" not in where["main refused"]["message"]  # no import finds it
    for name in ("main renamed", "main listed", "main defined"):
        assert "error" not in where[name], where[name]
        assert where[name]["output"] == saved["main"]["output"]
    assert where["main renamed"]["warnings"] == where["main defined"]["warnings"] == []


def test_a_class_inside_a_function(where: Told, saved: Told) -> None:
    assert where["local refused"]["error"] == "TrustError"
    assert "make.<locals>.Local" in where["local refused"]["message"]
    assert where["local listed"].get("output") == saved["local"]["output"], where["local listed"]


# --- moved, renamed ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory, project: Path, saved: Told) -> Told:
    nets = NETS.replace("CONFIG_MODULE", "newlab.settings")
    renamed = re.sub(r"\bPlain\b", "Better", nets).replace("newlab.settings", "newlab.best")
    folder = _write(
        tmp_path_factory.mktemp("moved"),
        {
            "newlab/__init__.py": "",
            "newlab/settings.py": CONFIG,
            "newlab/models.py": nets,
            "newlab/renamed.py": renamed.replace(
                "from newlab.best import Config", "from newlab.models import Block, Config"
            ).replace("class Block", "class Unused"),
        },
    )
    return _run(
        """
        attempt("refused", lambda: torchkeep.load(F % "plain"))
        from newlab.models import Block, Config, Plain
        from newlab.renamed import Better
        attempt("imported elsewhere", lambda: torchkeep.load(F % "plain"))
        attempt("as told: trust", lambda: eval(calls_in("refused")[0]))
        told["calls"] = calls_in("refused")
        attempt("as told: classes", lambda: eval(calls_in("refused")[-3]))
        attempt("dict", lambda: torchkeep.load(
            F % "plain", classes={"lab.nets:Plain": Plain, "lab.nets:Block": Block, "lab.config:Config": Config}))
        attempt("list", lambda: torchkeep.load(F % "plain", classes=[Plain, Block, Config]))
        attempt("tuple of some", lambda: torchkeep.load(F % "plain", classes=(Plain,)))
        attempt("renamed", lambda: torchkeep.load(
            F % "plain", classes={"lab.nets:Plain": Better, "lab.nets:Block": Block, "lab.config:Config": Config}))
        attempt("renamed, listed", lambda: torchkeep.load(F % "plain", classes=[Better, Block, Config]))
        attempt("name, listed", lambda: torchkeep.load(F % "plain", classes=["lab.nets:Plain"]))
        attempt("name, given", lambda: torchkeep.load(F % "plain", classes={"lab.nets:Plain": "Plain"}))
        attempt("object", lambda: torchkeep.load(F % "plain", classes=Plain()))
        attempt("wrong", lambda: torchkeep.load(
            F % "plain", classes={"lab.nets:Plain": Config, "lab.nets:Block": Block}))
        torchkeep.register(Better, aliases=("lab.nets:Plain",))
        torchkeep.register(Block, aliases=["lab.nets:Block"])
        torchkeep.register(Config, aliases="lab.config:Config")
        attempt("aliases", lambda: torchkeep.load(F % "plain"))
        attempt("classes go before aliases", lambda: torchkeep.load(F % "plain", classes={"lab.nets:Plain": Plain}))
        attempt("alias of two", lambda: torchkeep.register(Plain, aliases=("lab.nets:Plain",)))
        """,
        folder,
        project,
    )


def test_a_moved_class_is_not_guessed(moved: Told) -> None:
    for name in ("refused", "imported elsewhere", "tuple of some", "renamed, listed"):
        assert moved[name]["error"] == "TrustError", name
    assert moved["as told: trust"]["error"] == "TrustError"  # nothing to import there any more
    assert "No module named 'lab'" in moved["as told: trust"]["message"]
    assert "lab.nets:Block" in moved["tuple of some"]["message"]
    assert "lab.nets:Plain " not in moved["tuple of some"]["message"]


@pytest.mark.parametrize("name", ["dict", "list", "as told: classes", "classes go before aliases"])
def test_a_moved_class_opens_when_it_is_given(moved: Told, saved: Told, name: str) -> None:
    _same(moved[name], saved["plain"])
    assert moved[name]["class"] == "newlab.models:Plain"


def test_the_call_that_the_error_gives_works_for_a_moved_class(moved: Told, saved: Told) -> None:
    found = moved["as told: classes"]
    assert found.get("output") == saved["plain"]["output"], found
    assert not found["warnings"]  # the call names the plain objects, too


@pytest.mark.parametrize("name", ["renamed", "aliases"])
def test_a_renamed_class(moved: Told, saved: Told, name: str) -> None:
    _same(moved[name], saved["plain"])
    assert moved[name]["class"] == "newlab.renamed:Better"


def test_a_wrong_class_is_refused(moved: Told) -> None:
    assert moved["wrong"]["error"] == "TrustError"
    assert "is no Module" in moved["wrong"]["message"]
    for name in ("name, listed", "name, given", "object"):
        assert moved[name]["error"] == "TypeError", name
    assert moved["alias of two"]["error"] == "ValueError"


# --- changed ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory, project: Path, saved: Told) -> Told:
    nets = NETS.replace("CONFIG_MODULE", "lab.config")
    nets = nets.replace("class Plain(nn.Module):\n", "class Plain(nn.Module):\n\n    # the one we ship\n")
    folder = _write(
        tmp_path_factory.mktemp("changed"),
        {
            "lab/__init__.py": "",
            "lab/config.py": CONFIG,
            "lab/nets.py": nets.replace("self.act(self.linear(x))", "self.act(self.linear(x)) + 0.0"),
            "lab/grown.py": GROWN_LATER,
        },
    )
    return _run(
        """
        import lab.nets
        attempt("text", lambda: torchkeep.load(F % "plain"))

        from lab.grown import Grown
        attempt("grown", lambda: torchkeep.load(F % "grown"))
        attempt("allowed", lambda: torchkeep.load(F % "grown", allow={"changed"}))
        attempt("skeleton", lambda: torchkeep.load(F % "grown", route="skeleton"))
        model = Grown()
        attempt("weights", lambda: torchkeep.load_into(model, F % "grown") and model.eval())

        import textwrap
        pattern = r"^ *def migrate.*?^ *torchkeep\\.register\\(.*?$"
        template = textwrap.dedent(re.search(pattern, told["grown"]["message"], re.M | re.S)[0])
        told["template"] = template
        header, rest = template.split("\\n", 1)
        body = header.split("#", 1)[1].strip().replace("= ...", "= None", 1).replace("= ...", "= None")
        filled = header.split("#")[0] + "\\n" + "".join(f"    {one.strip()}\\n" for one in body.split(";")) + rest
        told["filled"] = filled
        told["attributes"] = re.findall(r"state\\.attributes\\['(\\w+)'\\]", body)
        attempt("register", lambda: exec(filled, globals()))
        def migrate(state):
            assert set(state.modules) == {"linear"} and not state.parameters and not state.buffers
            state.attributes["factor"] = 1.0
            state.modules["norm"] = torch.nn.Identity()
        torchkeep.register(Grown, version=2, migrations={1: migrate})
        attempt("migrated", lambda: torchkeep.load(F % "grown"))
        loaded = torchkeep.load(F % "grown")
        torchkeep.save(loaded, "newer.safetensors")
        def literal(state):  # as the error spells it, though norm is a module
            state.attributes["factor"] = 1.0
            state.attributes["norm"] = torch.nn.BatchNorm1d(4)
        torchkeep.register(Grown, version=2, migrations={1: literal})
        whole = attempt("literal", lambda: torchkeep.load(F % "grown"))
        told["registered"] = whole is not None and "norm" in dict(whole.named_modules())
        torchkeep.register(Grown, version=2, migrations={1: migrate})
        attempt("newer", lambda: torchkeep.load("newer.safetensors"))
        def broken(state):
            raise KeyError("no such thing")
        torchkeep.register(Grown, version=3, migrations={1: migrate, 2: broken})
        attempt("broken", lambda: torchkeep.load(F % "grown"))
        torchkeep.register(Grown, version=3, migrations={2: broken})
        attempt("gap", lambda: torchkeep.load(F % "grown"))
        torchkeep.register(Grown)
        attempt("downgrade", lambda: torchkeep.load("newer.safetensors"))
        """,
        folder,
        project,
    )


def test_a_changed_text_is_told(changed: Told, saved: Told) -> None:
    assert changed["text"].get("output") == saved["plain"]["output"], changed["text"]
    [warning] = changed["text"]["warnings"]
    assert "lab.nets:Block" in warning
    assert "changed" in warning


def test_attributes_that_the_file_lacks_are_named(changed: Told) -> None:
    grown = changed["grown"]
    assert grown["error"] == "ChangedClassError"
    assert "lab.grown:Grown.__init__ now assigns factor, norm" in grown["message"]
    assert "Nothing was loaded" in grown["message"]
    assert changed["attributes"] == ["factor", "norm"]
    assert 'allow={"changed"}' in grown["message"]
    assert "register" in changed["template"]
    assert "error" not in changed["register"], changed["filled"]


def test_a_migration_mends_it(changed: Told, saved: Told) -> None:
    for name in ("migrated", "newer"):
        _same(changed[name], saved["grown"])


def test_a_migration_as_the_error_spells_it(changed: Told) -> None:
    """A module among a migration's attributes is registered, or refused; never hidden from the state_dict."""
    assert "error" in changed["literal"] or changed["registered"]


def test_other_ways_past_a_changed_class(changed: Told, saved: Told) -> None:
    assert "error" not in changed["allowed"], changed["allowed"]
    assert changed["allowed"]["weights"] == saved["grown"]["weights"]
    assert len(changed["allowed"]["warnings"]) == 1
    assert changed["weights"]["output"] == saved["grown"]["output"]


def test_the_skeleton_route_asks_nothing_of_a_changed_class(changed: Told, saved: Told) -> None:
    assert "error" not in changed["skeleton"], changed["skeleton"]["message"]
    assert changed["skeleton"]["weights"] == saved["grown"]["weights"]


def test_migrations_that_do_not_lead_there(changed: Told) -> None:
    assert changed["broken"]["error"] == "LoadError"
    assert "no such thing" in changed["broken"]["message"]
    assert changed["gap"]["error"] == "ChangedClassError"
    assert changed["downgrade"]["error"] == "ChangedClassError"


# --- what cannot be saved ---------------------------------------------------------------------------


class Color(enum.Enum):
    RED = 1


class Pair(typing.NamedTuple):
    first: int


class Reduced:
    def __reduce__(self) -> Any:
        return (int, ())


class Slotted:
    __slots__ = ("a",)


def _nested_function() -> Any:
    return lambda x: x


UNSAVEABLE: dict[str, Any] = {
    "lambda": lambda: lambda x: x,
    "nested function": _nested_function,
    "generator": lambda: (i for i in ()),
    "lock": threading.Lock,
    "text stream": io.StringIO,
    "reduce": Reduced,
    "module": lambda: os,
    "library function": lambda: os.system,
    "torch.load": lambda: torch.load,
    "hub partial": lambda: functools.partial(torch.hub.load, "x"),
    "library class": lambda: os.PathLike,
    "opaque layout": lambda: torch.zeros(2).to_mkldnn(),
    "tensor subclass of torch": lambda: torch.zeros(2).as_subclass(torch.masked.MaskedTensor),
    "storage": lambda: torch.zeros(2).untyped_storage(),
    "graph": lambda: torch.fx.symbolic_trace(nn.ReLU()),
    "object": object,
    "bound method of an object": lambda: Slotted().__repr__,
}


@pytest.mark.parametrize("what", UNSAVEABLE)
def test_an_unsaveable_object_is_named_and_nothing_is_written(what: str, tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU()))
    vars(model[1])["thing"] = {"deep": [1, UNSAVEABLE[what]()]}
    before = tmp_path / "before.safetensors"
    before.write_bytes(b"as it was")
    for path in (before, tmp_path / "new.safetensors"):
        with pytest.raises(torchkeep.UnsaveableError, match=r"Nothing was written") as caught:
            torchkeep.save({"model": model}, path)
        assert re.search(r"\['model'\]\S*1\S*\.thing\['deep'\]\[1\]", str(caught.value)), caught.value
        assert isinstance(caught.value, TypeError)
        assert caught.value.code == "TK-UNSAVEABLE"
    assert [file.name for file in tmp_path.iterdir()] == ["before.safetensors"]
    assert before.read_bytes() == b"as it was"


@pytest.mark.parametrize("holder", [lambda bad: {bad: 1}, lambda bad: {"x": {(1, bad)}}, lambda bad: {"x": {bad: {}}}])
def test_an_unsaveable_key_is_refused(holder: Any, tmp_path: Path) -> None:
    with pytest.raises(torchkeep.UnsaveableError, match="Reduced"):
        torchkeep.save(holder(Reduced()), tmp_path / "x.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_what_the_error_asks_to_register_then_saves(tmp_path: Path) -> None:
    from torchkeep.values import registry

    path = tmp_path / "x.safetensors"
    try:
        torchkeep.register(Color, encode=lambda color: color.name, decode=lambda name: Color[name])
        torchkeep.register(Pair, encode=list, decode=lambda state: Pair(*state))
        torchkeep.save([Color.RED, {"pair": Pair(3)}, Color.RED], path)
        loaded = torchkeep.load(path)
        assert loaded == [Color.RED, {"pair": Pair(3)}, Color.RED]
        assert type(loaded[1]["pair"]) is Pair
    finally:
        registry._by_class.pop(Color, None)
        registry._by_class.pop(Pair, None)
    with pytest.raises(torchkeep.TrustError, match="Color"):
        torchkeep.load(path)


def test_a_path_of_a_torch_file_is_refused(tmp_path: Path) -> None:
    for suffix in (".pt", ".pth", ".bin", ".ckpt"):
        with pytest.raises(torchkeep.DestinationError, match=r"\.safetensors"):
            torchkeep.save(nn.Linear(1, 1), tmp_path / f"x{suffix}")
    assert list(tmp_path.iterdir()) == []
