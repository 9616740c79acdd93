"""`explain`, on files that one version of a project saved and that another version asks about in a fresh process.

Each case is a project before and after a refactoring. What the report proposes is run there, and has to work.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

import torchkeep
from torchkeep import containers
from torchkeep.cli import main
from torchkeep.document import ClassInfo, Document, Map, Ref, Typed
from torchkeep.report import FileReport
from torchkeep.values import registry, renaming, sources
from torchkeep.values.changed import Objects, change_of
from torchkeep.values.names import Renames
from torchkeep.values.outline import old_class, outline, source_diff

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="a process for each case is forked from one")

HEAD = "import torch\nfrom torch import nn\n\n\n"

NET = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(4, 8)
        self.fc2 = nn.Linear(8, 2)
        self.act = nn.ReLU()

    def forward(self, x):
        return self.fc2(self.act(self.fc1(x)))
"""


@dataclass
class Case:
    """A project before and after, what is saved of it, and what is asked.

    Attributes:
        before: the text of each module when the file was saved.
        after: the same today.
        save: code that sets `obj`.
        ask: code that imports what the program imports, and sets `options` for `explain`.
        keeps: code that sets `value` to what `run` has to come to.
        run: code that gets `made`, what the proposed call gave, and sets `value`.
    """

    before: dict[str, str]
    after: dict[str, str]
    save: str = "from shop.nets import Net; obj = Net()"
    ask: str = "import shop.nets"
    run: str = "value = made(torch.ones(1, 4)).tolist()"
    keeps: str = "value = obj(torch.ones(1, 4)).tolist()"


def package(**modules: str) -> dict[str, str]:
    return {f"shop/{name}.py": HEAD + textwrap.dedent(text) for name, text in modules.items()}


SAVE = """
import json, os, sys, torch, torchkeep
sys.path.insert(0, os.getcwd())
torch.manual_seed(0)
{save}
torchkeep.save(obj, "../net.safetensors", durable=False)
value = None
{keeps}
json.dump(value, open("../expected.json", "w"))
"""

ASK = """
import json, os, sys, torch, torchkeep, warnings
warnings.simplefilter("ignore")
sys.path.insert(0, os.getcwd())
torch.manual_seed(1)
options = {{}}
{ask}
modules = set(sys.modules)
report = torchkeep.explain("../net.safetensors", **options)
text = str(report)
new = [name for name in set(sys.modules) - modules if not name.startswith(("torch", "encodings", "numpy"))]
answer = {{"report": report.to_dict(), "text": text, "repr": repr(report), "new": new, "value": None}}
assert json.loads(json.dumps(answer)) == json.loads(json.dumps(answer))
made, value = None, None
if report.way.call:
    assert text.endswith(report.code)
    exec("\\n".join(report.way.before), globals())
    made = eval(report.way.call, globals())
{run}
answer["value"] = value
json.dump(answer, open("../answer.json", "w"))
"""

WORKER = """
import json, os, sys, traceback
import torch, torchkeep, torchkeep.values
import torchkeep.values.explain
for line in sys.stdin:
    folder, code = json.loads(line)
    child = os.fork()
    if not child:
        status = 1
        try:
            os.chdir(folder)
            exec(compile(code, folder, "exec"), sys.modules["__main__"].__dict__)
            status = 0
        except BaseException:
            open(os.path.join(folder, "..", "trouble.txt"), "w").write(traceback.format_exc())
        finally:
            sys.stdout.flush()
            os._exit(status)
    os.waitpid(child, 0)
    print("done", flush=True)
"""

CASES: dict[str, Case] = {}
Explained = dict[str, dict[str, Any]]

CASES["unchanged"] = Case(package(nets=NET), package(nets=NET))
CASES["moved"] = Case(
    package(nets=NET),
    package(models=NET, other="class Net(nn.Module):\n    pass\n"),
    ask="import shop.other, shop.models",
)
CASES["moved, several"] = Case(
    package(nets=NET),
    package(a=NET, b=NET, c=NET.replace("8, 2", "8, 3")),
    ask="import shop.a, shop.b, shop.c",
)
CASES["not imported"] = Case(package(nets=NET), package(models=NET), ask="", run="value = type(made).__name__")
CASES["renamed"] = Case(
    package(nets=NET), package(nets=NET.replace("Net", "Classifier") + "class Other(nn.Module):\n    pass\n")
)
CASES["renamed and edited"] = Case(
    package(nets=NET),
    package(models=NET.replace("Net", "Classifier").replace("return ", "return 1 * ")),
    ask="import shop.models",
)
SPLIT = """
class Body(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.fc1 = nn.Linear(width, 8)
        self.act = nn.ReLU()

    def forward(self, x):
        return self.act(self.fc1(x))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = Body()
        self.fc2 = nn.Linear(8, 2)

    def forward(self, x):
        return self.fc2(self.body(x))
"""
CASES["split in two"] = Case(package(nets=NET), package(nets=SPLIT))
CASES["split in two, into a model"] = Case(
    package(nets=NET),
    package(nets=SPLIT),
    ask="from shop.nets import Net; model = Net(); options = {'model': model}",
    run="value = model(torch.ones(1, 4)).tolist()",
)
CASES["attribute added"] = Case(
    package(nets=NET),
    package(
        nets=NET.replace("self.act =", "self.scale = 1.0\n        self.act =").replace(
            "return ", "return self.scale * "
        )
    ),
)
CASES["attribute removed"] = Case(
    package(nets=NET.replace("self.act =", "self.scale = 1.0\n        self.act =")), package(nets=NET)
)
CASES["attribute renamed"] = Case(
    package(nets=NET.replace("self.act =", "self.rate = 3\n        self.act =")),
    package(nets=NET.replace("self.act =", "self.rates = 1\n        self.act =")),
    run="value = made(torch.ones(1, 4)).tolist(); assert made.rates == 3; assert not hasattr(made, 'rate')",
)
DEPTH = NET.replace("(self)", "(self, depth)", 1).replace("self.act =", "self.depth = depth\n        self.act =")
CASES["constructor argument added"] = Case(
    package(nets=DEPTH),
    package(
        nets=DEPTH.replace("depth)", "depth, slope=0.5)", 1).replace(
            "self.act =", "self.slope = slope\n        self.twice = 2 * depth\n        self.act ="
        )
    ),
    save="from shop.nets import Net; obj = Net(3)",
    run="value = made(torch.ones(1, 4)).tolist(); assert (made.slope, made.twice) == (0.5, 6)",
)
CASES["an attribute that only the constructor knows"] = Case(
    package(nets=NET),
    package(
        nets=NET.replace("__init__(self)", "__init__(self, path)").replace(
            "self.act =", "self.path = path\n        self.act ="
        )
    ),
    run="pass",
)
CASES["layer widened"] = Case(
    package(nets=NET), package(nets=NET.replace("(4, 8)", "(4, 16)").replace("(8, 2)", "(16, 2)"))
)
CASES["layer widened, into a model"] = Case(
    package(nets=NET),
    package(nets=NET.replace("(8, 2)", "(8, 3)")),
    ask="from shop.nets import Net; model = Net(); options = {'model': model}",
    run="value = model.fc1(torch.ones(1, 4)).tolist()",
    keeps="value = obj.fc1(torch.ones(1, 4)).tolist()",
)
CASES["layers renamed"] = Case(package(nets=NET), package(nets=NET.replace("fc1", "first").replace("fc2", "second")))
CASES["layers renamed, into a model"] = Case(
    package(nets=NET),
    package(nets=NET.replace("fc1", "first").replace("fc2", "second")),
    ask="from shop.nets import Net; model = Net(); options = {'model': model}",
    run="value = model(torch.ones(1, 4)).tolist()",
)
CASES["class deleted"] = Case(
    package(
        nets=NET
        + "\n\nclass Outer(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.net = Net()\n"
    ),
    package(nets="class Outer(nn.Module):\n    pass\n"),
    save="from shop.nets import Outer; obj = {'model': Outer()}",
    run="value = type(made).__name__",
    keeps="",
)
CHECKPOINT = """
from shop.nets import Net
obj = {"model": Net(), "epoch": 3}
obj["optimizer"] = torch.optim.Adam(obj["model"].parameters())
obj["model"](torch.ones(1, 4)).sum().backward()
obj["optimizer"].step()
"""
CASES["checkpoint"] = Case(
    package(nets=NET),
    package(models=NET),
    save=CHECKPOINT,
    ask="import shop.models",
    run="value = made['model'](torch.ones(1, 4)).tolist(); assert len(made['optimizer'].state) == 4",
    keeps="value = obj['model'](torch.ones(1, 4)).tolist()",
)
CASES["checkpoint, a part into a model"] = Case(
    package(nets=NET),
    package(models=NET.replace("self.fc", "self.linear")),
    save=CHECKPOINT,
    ask="from shop.models import Net; model = Net(); options = {'model': model, 'key': 'model'}",
    run="value = model(torch.ones(1, 4)).tolist()",
    keeps="value = obj['model'](torch.ones(1, 4)).tolist()",
)
CONFIG = "import dataclasses\n\n\n@dataclasses.dataclass\nclass Config:\n    width: int = 4\n    depth: int = 2\n"
CASES["config that moved"] = Case(
    package(nets=NET, config=CONFIG),
    package(nets=NET, settings=CONFIG),
    save="from shop.nets import Net; from shop.config import Config; obj = {'net': Net(), 'config': Config(7)}",
    ask="import shop.nets, shop.settings",
    run="assert made['config'].width == 7; value = made['net'](torch.ones(1, 4)).tolist()",
    keeps="value = obj['net'](torch.ones(1, 4)).tolist()",
)
CASES["config that is there and needs a name"] = Case(
    package(nets=NET, config=CONFIG),
    package(nets=NET, config=CONFIG),
    save=CASES["config that moved"].save,
    ask="import shop.nets, shop.config",
    run=CASES["config that moved"].run,
    keeps=CASES["config that moved"].keeps,
)


CASES["config that gained fields"] = Case(
    package(nets=NET, config=CONFIG),
    package(
        nets=NET,
        config=CONFIG + "    dropout: float = 0.1\n    names: list = dataclasses.field(default_factory=list)\n",
    ),
    save=CASES["config that moved"].save,
    ask="import shop.nets, shop.config",
    run="assert (made['config'].dropout, made['config'].names, made['config'].width) == (0.1, [], 7)",
    keeps="",
)
BUFFERS = """
class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.width = width
        self.fc1 = nn.Linear(width, 8)

    def forward(self, x):
        return self.fc1(x)
"""
CASES["buffers, a parameter and a module added"] = Case(
    package(nets=BUFFERS),
    package(
        nets=BUFFERS.replace(
            "self.fc1 =",
            "self.register_buffer('mean', torch.zeros(self.width))\n"
            "        self.register_buffer('mask', torch.ones(3), persistent=False)\n"
            "        self.gain = nn.Parameter(torch.ones(width))\n"
            "        self.norm = nn.LayerNorm(width)\n        self.fc1 =",
        )
    ),
    save="from shop.nets import Net; obj = Net(6)",
    keeps="value = obj(torch.ones(1, 6)).tolist()",
    run="value = made(torch.ones(1, 6)).tolist(); assert made.norm.normalized_shape == (6,); "
    "assert list(made.state_dict())[:2] == ['gain', 'mean']; assert made.mask.tolist() == [1.0] * 3; "
    "assert made.gain.requires_grad and not made.norm.training",
)
CASES["a default that changed"] = Case(
    package(nets=BUFFERS.replace("        self.width = width\n", "")),
    package(nets=BUFFERS.replace("        self.width = width\n", "").replace("width=4", "width=5")),
    save="from shop.nets import Net; obj = Net()",
)
SUBMODULE = NET.replace("nn.ReLU", "nn.GELU")
CASES["submodule of another class"] = Case(package(nets=NET), package(nets=SUBMODULE))
CASES["submodule removed"] = Case(
    package(nets=NET.replace("self.act =", "self.extra = nn.Linear(3, 3)\n        self.act =")), package(nets=NET)
)
CASES["a class that is given"] = Case(
    package(nets=NET),
    package(a=NET, b=NET),
    ask="import shop.a, shop.b; options = {'classes': {'shop.nets:Net': shop.b.Net}}",
    run="assert type(made).__module__ == 'shop.b'; value = made(torch.ones(1, 4)).tolist()",
)
OUTER = """
class Outer(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = Net()
        self.b = other.Net()

    def forward(self, x):
        return self.a(x) + self.b(x)
"""
WIDE = NET.replace("8", "9")
CASES["two of one name"] = Case(
    package(nets="from . import other\n\n\n" + NET + "\n" + OUTER, other=WIDE),
    package(new=NET, newer=WIDE, outer="from .new import Net\nfrom . import newer as other\n\n" + OUTER),
    save="from shop.nets import Outer; obj = Outer()",
    ask="import shop.outer",
)
CASES["registered"] = Case(
    package(nets=NET),
    package(models=NET.replace("self.act =", "self.scale = 2.0\n        self.act =")),
    ask="from shop.models import Net; torchkeep.register(Net, aliases=['shop.nets:Net'], version=3)",
    run="value = made(torch.ones(1, 4)).tolist(); assert made.scale == 2.0",
)
CASES["registered, with an alias"] = Case(
    package(nets=NET),
    package(models=NET.replace("self.act =", "self.scale = 2.0\n        self.act =")),
    ask="from shop.models import Net; torchkeep.register(Net, aliases=['shop.nets:Net'])",
    run="value = made(torch.ones(1, 4)).tolist(); assert made.scale == 2.0",
)
CASES["a function that moved"] = Case(
    package(nets=NET, functions="def double(x):\n    return 2 * x\n"),
    package(nets=NET, tools="def double(x):\n    return 2 * x\n"),
    save="from shop.functions import double; obj = {'f': double}",
    ask="import shop.tools",
    run="value = made['f'](3)",
    keeps="value = 6",
)
CASES["hooks"] = Case(
    package(nets=NET),
    package(models=NET),
    save="import warnings; warnings.simplefilter('ignore'); from shop.nets import Net; obj = Net(); "
    "obj.register_forward_hook(lambda *it: None)",
    ask="import shop.models",
)
CASES["a plain file"] = Case(
    package(nets=NET),
    package(nets=NET),
    save="from safetensors.torch import save_file; from shop.nets import Net; obj = Net(); "
    "torchkeep.save = lambda obj, path, **options: save_file(obj.state_dict(), path)",
    run="value = made['fc2.bias'].tolist()",
    keeps="value = obj.fc2.bias.tolist()",
)
CASES["a plain file into a model"] = Case(
    package(nets=NET),
    package(nets=NET.replace("self.fc", "self.linear_")),
    save=CASES["a plain file"].save,
    ask="from shop.nets import Net; model = torch.nn.ModuleDict({'net': Net()}); options = {'model': model}",
    run="value = model['net'](torch.ones(1, 4)).tolist()",
)
CASES["a model that has nothing of it"] = Case(
    package(nets=NET),
    package(models=NET),
    ask="import shop.models; options = {'model': nn.Bilinear(7, 7, 7)}".replace("nn.", "torch.nn."),
)
CASES["a model on meta"] = Case(
    package(nets=NET),
    package(nets=NET.replace("fc1", "first")),
    ask="from shop.nets import Net\nwith torch.device('meta'):\n    model = Net()\noptions = {'model': model}",
    run="value = model(torch.ones(1, 4)).tolist()",
)
DEEP = """
class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.query = nn.Linear(4, 4)
        self.key = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)

    def forward(self, x):
        return self.norm(self.query(x) - self.key(x))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(*(Block() for _ in range(6)))

    def forward(self, x):
        return self.layers(x)
"""
CASES["many layers into a model"] = Case(
    package(nets=DEEP),
    package(nets=DEEP.replace("query", "q").replace("self.key", "self.k").replace("self.layers", "self.blocks")),
    ask="from shop.nets import Net; model = Net(); options = {'model': model}",
    run="value = model(torch.arange(4.0)[None]).tolist()",
    keeps="value = obj(torch.arange(4.0)[None]).tolist()",
)
SEQUENCE = "def Net():\n    return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 4))\n"
CASES["a layer that moved up"] = Case(
    package(nets=SEQUENCE),
    package(nets=SEQUENCE.replace("nn.ReLU(), ", "nn.ReLU(), nn.Dropout(), ")),
    ask="from shop.nets import Net; model = Net().eval(); options = {'model': model}",
    run="value = model(torch.ones(1, 4)).tolist()",
)


NESTED = """
class Outer:
{net}
"""
CASES["nested"] = Case(
    package(nets=NESTED.format(net=textwrap.indent(NET, "    "))),
    package(models=NESTED.format(net=textwrap.indent(NET, "    "))),
    save="from shop.nets import Outer; obj = Outer.Net()",
    ask="import shop.models",
)
CASES["imported from elsewhere"] = Case(package(nets=NET), package(nets="from .models import Net\n", models=NET))
CASES["of a script"] = Case(package(nets=NET), package(nets=NET), save=HEAD + NET + "\n\nobj = Net()")
CASES["same names in a base class"] = Case(
    package(nets=NET),
    package(
        nets=NET.replace("Net", "Base") + "\n\nclass Net(Base):\n    def __init__(self, scale=2):\n"
        "        super().__init__()\n        self.scale = scale\n"
    ),
    run="value = made(torch.ones(1, 4)).tolist(); assert made.scale == 2",
)


CASES["with its source"] = Case(
    package(nets=DEPTH),
    package(
        nets=NET.replace("__init__(self)", "__init__(self, slope=0.5)").replace(
            "self.act =", "self.slope = slope\n        self.act ="
        )
    ),
    save="import functools; from shop.nets import Net; obj = Net(3); "
    "torchkeep.save = functools.partial(torchkeep.save, source=True)",
)


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> Explained:
    """Every case, saved in one process and explained in another."""
    root = tmp_path_factory.mktemp("projects")
    found: dict[str, dict[str, Any]] = {}
    with subprocess.Popen(
        [sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        for i, (name, case) in enumerate(CASES.items()):
            for when, files in (("before", case.before), ("after", case.after)):
                for file, text in files.items():
                    path = root / str(i) / when / file
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(text, encoding="utf-8")
            codes = {
                "before": SAVE.format(save=case.save, keeps=case.keeps),
                "after": ASK.format(ask=case.ask, run=case.run),
            }
            for when, code in codes.items():
                worker.stdin.write(json.dumps([str(root / str(i) / when), code]) + "\n")
                worker.stdin.flush()
                assert worker.stdout.readline() == "done\n"
            trouble, answer = root / str(i) / "trouble.txt", root / str(i) / "answer.json"
            if trouble.exists():
                found[name] = {"trouble": trouble.read_text(encoding="utf-8")}
                continue
            found[name] = json.loads(answer.read_text(encoding="utf-8"))
            found[name]["expected"] = json.loads((root / str(i) / "expected.json").read_text(encoding="utf-8"))
        worker.stdin.close()
    return found


def got(explained: Explained, name: str) -> tuple[dict[str, Any], str]:
    """The report of a case as plain data and as text."""
    answer = explained[name]
    assert "trouble" not in answer, answer["trouble"]
    assert answer["new"] == []
    return answer["report"], answer["text"]


WITHOUT_OUTPUT = {
    "not imported",
    "class deleted",
    "an attribute that only the constructor knows",
    "config that gained fields",
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_proposed_works(explained: Explained, name: str) -> None:
    """The call at the end of the report was run, and gave what was saved."""
    report, text = got(explained, name)
    assert text.endswith("\n\n" + report["way"]["code"])
    if name not in WITHOUT_OUTPUT and name != "a model that has nothing of it":
        assert explained[name]["value"] == explained[name]["expected"]
        assert explained[name]["value"] is not None


@pytest.mark.parametrize("name", CASES)
def test_a_report_is_of_bounded_width_and_harmless(explained: Explained, name: str) -> None:
    _, text = got(explained, name)
    assert all(c.isprintable() or c == "\n" for c in text)
    assert explained[name]["repr"].startswith("ExplainReport(path=")


def standing(report: dict[str, Any], name: str) -> tuple[str, list[tuple[str, str]]]:
    """How a name stands, and its candidates with how sure they are."""
    found = next(each for each in report["names"] if each["name"] == name)
    return found["status"], [(each["name"], each["sure"]) for each in found["candidates"]]


@pytest.mark.parametrize(
    ("case", "name", "status", "candidates"),
    [
        ("unchanged", "shop.nets:Net", "opens", []),
        ("unchanged", "torch.nn:Linear", "opens", []),
        ("moved", "shop.nets:Net", "moved", [("shop.models:Net", "sure"), ("shop.other:Net", "guess")]),
        (
            "moved, several",
            "shop.nets:Net",
            "moved",
            [("shop.a:Net", "likely"), ("shop.b:Net", "likely"), ("shop.c:Net", "guess")],
        ),
        ("not imported", "shop.nets:Net", "missing", []),
        ("renamed", "shop.nets:Net", "renamed", [("shop.nets:Classifier", "sure")]),
        ("renamed and edited", "shop.nets:Net", "renamed", [("shop.models:Classifier", "likely")]),
        ("class deleted", "shop.nets:Net", "missing", []),
        ("config that moved", "shop.config:Config", "moved", [("shop.settings:Config", "sure")]),
        ("config that is there and needs a name", "shop.config:Config", "unnamed", [("shop.config:Config", "sure")]),
        ("a class that is given", "shop.nets:Net", "opens", []),
        ("a function that moved", "shop.functions:double", "moved", [("shop.tools:double", "likely")]),
        ("registered, with an alias", "shop.nets:Net", "opens", []),
        ("nested", "shop.nets:Outer.Net", "moved", [("shop.models:Outer.Net", "sure")]),
        ("imported from elsewhere", "shop.nets:Net", "moved", [("shop.models:Net", "sure")]),
        ("of a script", "__main__:Net", "moved", [("shop.nets:Net", "likely")]),
    ],
)
def test_how_a_name_stands(
    explained: Explained, case: str, name: str, status: str, candidates: list[tuple[str, str]]
) -> None:
    report, _ = got(explained, case)
    assert standing(report, name) == (status, candidates)


def test_nothing_changed_is_said(explained: Explained) -> None:
    for name in ("unchanged", "a class that is given", "a plain file"):
        report, text = got(explained, name)
        assert report["clear"]
        assert report["changes"] == []
        assert text.split("\n")[1] == "nothing stands between this file and today's code"
    report, text = got(explained, "moved")
    assert not report["clear"]
    assert "nothing stands between" not in text


def change(explained: Explained, case: str, name: str = "shop.nets:Net") -> dict[str, Any]:
    report, _ = got(explained, case)
    found: dict[str, Any] = next(each for each in report["changes"] if each["name"] == name)
    return found


def test_what_of_a_class_changed(explained: Explained) -> None:
    assert change(explained, "attribute added")["lacking"] == ["scale"]
    assert change(explained, "attribute removed")["gone"] == ["scale"]
    assert change(explained, "attribute removed")["lacking"] == []
    assert change(explained, "constructor argument added")["arguments_added"] == ["slope"]
    assert change(explained, "an attribute that only the constructor knows")["arguments_added"] == ["path"]
    assert change(explained, "submodule of another class")["modules_changed"] == [
        ["act", "torch.nn:ReLU", "torch.nn:GELU"]
    ]
    assert change(explained, "submodule removed")["modules_gone"] == [["extra", "torch.nn:Linear"]]
    assert change(explained, "split in two")["modules_added"] == [["body", "shop.nets:Body"]]
    assert change(explained, "renamed and edited")["changed"] is True
    assert change(explained, "registered")["steps"] == [1, 2]


def test_what_of_a_tensor_changed(explained: Explained) -> None:
    assert change(explained, "layer widened")["tensors"] == [
        ["fc1.weight", "8x4", "16x4", "nn.Linear(4, 16)"],
        ["fc1.bias", "8", "16", "nn.Linear(4, 16)"],
        ["fc2.weight", "2x8", "2x16", "nn.Linear(16, 2)"],
    ]
    assert change(explained, "a default that changed")["tensors"] == [
        ["fc1.weight", "8x4", "8x5", "nn.Linear(width, 8), with width=5 by default"]
    ]
    assert change(explained, "buffers, a parameter and a module added")["tensors"] == []  # the file says width=6


def test_migrations_are_complete_or_say_what_is_open(explained: Explained) -> None:
    added = change(explained, "attribute added")
    assert added["complete"]
    assert added["migration"] == (
        "def migrate_net_1(state):\n    state.attributes['scale'] = 1.0\n\n"
        "torchkeep.register(Net, version=2, migrations={1: migrate_net_1})"
    )
    unknown = change(explained, "an attribute that only the constructor knows")
    assert not unknown["complete"]
    assert "state.attributes['path'] = ...  # today's __init__: path" in unknown["migration"]
    _, text = got(explained, "an attribute that only the constructor knows")
    assert "Fill in what is left open (...)" in text


def fit(explained: Explained, case: str) -> dict[str, Any]:
    report, _ = got(explained, case)
    found: dict[str, Any] = report["fit"]
    return found


def test_how_weights_fit_a_model(explained: Explained) -> None:
    renamed = fit(explained, "layers renamed, into a model")
    assert [(each["old"], each["new"], each["sure"]) for each in renamed["rename"]] == [
        ("fc1", "first", "sure"),
        ("fc2", "second", "sure"),
    ]
    assert (renamed["matched"], renamed["total"], renamed["left"]) == (4, 4, [])
    assert renamed["missing"] == ["first.weight", "first.bias", "second.weight", "second.bias"]
    assert renamed["unexpected"] == ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]
    wider = fit(explained, "layer widened, into a model")
    assert wider["mismatched"][0] == ["fc2.weight", "shape (2, 8)", "shape (3, 8)"]
    assert wider["rename"] == []
    nothing = fit(explained, "a model that has nothing of it")
    assert (nothing["matched"], nothing["rename"]) == (0, [])
    _, text = got(explained, "a model that has nothing of it")
    assert "No tensor of the file finds a place in the model" in text
    assert fit(explained, "checkpoint, a part into a model")["part"] == ""


def test_the_last_lines_are_the_call(explained: Explained) -> None:
    linear = [("fc1", "linear1"), ("fc2", "linear2")]
    ends = {
        "unchanged": ["torchkeep.load('../net.safetensors')"],
        "moved": [
            "from shop.models import Net",
            "torchkeep.load('../net.safetensors', classes={'shop.nets:Net': Net})",
        ],
        "split in two, into a model": [
            "torchkeep.load_into(model, '../net.safetensors', rename=[('fc1', 'body.fc1')])"
        ],
        "layer widened, into a model": ["torchkeep.load_into(model, '../net.safetensors', allow={'mismatched'})"],
        "checkpoint, a part into a model": [
            f"torchkeep.load_into(model, '../net.safetensors', key='model', rename={linear})"
        ],
        "a model on meta": ["torchkeep.load_into(model, '../net.safetensors', rename=[('fc1', 'first')], assign=True)"],
        "hooks": ["torchkeep.load('../net.safetensors', classes={'shop.nets:Net': Net}, allow={\"hooks\"})"],
        "class deleted": ["torchkeep.load('../net.safetensors', route='skeleton')"],
    }
    for name, lines in ends.items():
        _, text = got(explained, name)
        assert text.split("\n")[-len(lines) :] == lines, name


def test_routes_lack_only_what_this_program_lacks(explained: Explained) -> None:
    def structure(case: str) -> tuple[bool, list[str]]:
        route = got(explained, case)[0]["routes"][0]
        return route["open"], route["lacks"]

    assert structure("unchanged") == (True, [])
    assert structure("moved") == (False, ["shop.nets:Net: classes={'shop.nets:Net': Net}"])
    assert structure("renamed") == (False, ["shop.nets:Net: classes={'shop.nets:Net': Classifier}"])
    assert structure("attribute added") == (False, ["a migration of shop.nets:Net: scale"])
    assert structure("registered") == (False, ["a migration of shop.models:Net: scale"])
    assert structure("config that moved")[0], "a config comes back as a Record"


# Arguments and files


def test_a_file_that_is_hostile_stays_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = "a\x1b[31m\x07\r\n\u202e\u2066\U000e0041z"
    document = Document(
        root=Ref(0),
        nodes=[
            Typed("module", 1, {"class": f"evil:{bad}", "training": True, "modules": Ref(1), "attributes": Ref(3)}),
            Map(("fc\x1b[2J",), (Ref(2),)),
            Typed("module", 1, {"class": "os:system\u202e", "training": True}),
            Map((f"attribute{bad}", "b"), (f"value{bad}", 1)),
        ],
        classes={f"evil:{bad}": ClassInfo(digest="0" * 32), "os:system\u202e": ClassInfo()},
    )
    path = tmp_path / "evil\x1b[31m.safetensors"
    layout = containers.layout(document)
    path.write_bytes(bytes(layout.header([])).ljust(layout.nbytes, b"\0"))
    for options in ({}, {"model": nn.Linear(2, 2)}):
        report = torchkeep.explain(path, **options)  # type: ignore[arg-type]
        for text in (report.text(), report.text(limit=None), repr(report)):
            assert all(c.isprintable() or c == "\n" for c in text)
        assert json.loads(json.dumps(report.to_dict()))["clear"] is False
        assert {each.status for each in report.names} == {"missing"}
    assert main(["explain", str(path)]) == 0
    out, err = capsys.readouterr()
    assert "\x1b" not in out
    assert err == ""


def test_a_name_too_long_to_spell_is_not_proposed(
    saved: Callable[[Any], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    cls = type("N" * 300, (nn.Module,), {"__module__": __name__})
    monkeypatch.setitem(globals(), cls.__name__, cls)
    path = saved(cls())
    assert torchkeep.explain(path).clear
    monkeypatch.delitem(globals(), cls.__name__)
    report = torchkeep.explain(path)
    assert [each.status for each in report.names] == ["refused"]
    assert "route='skeleton'" in report.code


def test_what_it_refuses(saved: Callable[[Any], Path], tmp_path: Path) -> None:
    path = saved({"a": torch.ones(1)})
    with pytest.raises(TypeError, match=r"model is an nn\.Module"):
        torchkeep.explain(path, model=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="classes= takes classes"):
        torchkeep.explain(path, classes={"a:b": 3})
    with pytest.raises(torchkeep.KeyMissingError):
        torchkeep.explain(path, key="b")
    with pytest.raises(torchkeep.NotFoundError):
        torchkeep.explain(tmp_path / "absent")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(torchkeep.FormatError):
        torchkeep.explain(path)


def test_the_model_stays_as_it_is_and_nothing_is_registered(saved: Callable[[Any], Path]) -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    known = dict(registry._by_class)
    path = saved(nn.ModuleDict({"x": nn.Linear(2, 3), "y": nn.Linear(3, 2)}))
    report = torchkeep.explain(path, model=model)
    assert report.way.call.endswith("rename=[('x', '0'), ('y', '1')])")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert known == registry._by_class


def test_known_prefixes_need_no_rename(tmp_path: Path) -> None:
    save_file({f"module.{name}": each for name, each in nn.Linear(2, 3).state_dict().items()}, tmp_path / "plain")
    report = torchkeep.explain(tmp_path / "plain", model=nn.Linear(2, 3))
    assert report.clear
    assert report.fit is not None
    assert report.fit.rename == ()


def test_what_does_not_fit_after_renaming_is_told_and_allowed(saved: Callable[[Any], Path]) -> None:
    path = saved(nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(3, 3)}))
    model = nn.ModuleDict({"x": nn.Linear(2, 2), "y": nn.Linear(5, 5)})
    report = torchkeep.explain(path, model=model)
    assert report.fit is not None
    assert [kind for kind, *_ in report.fit.left] == ["missing", "missing", "unexpected", "unexpected"]
    assert report.way.call.endswith("rename=[('a', 'x')], allow={'missing', 'unexpected'})")
    assert "2 of the model's tensors keep the values that they have, and 2 of the file's are left out" in str(report)
    with pytest.warns(torchkeep.TorchkeepWarning):
        eval(report.code, {"torchkeep": torchkeep, "model": model})
    assert torch.equal(model["x"].weight, torchkeep.load(path)["a"].weight)  # type: ignore[arg-type]


def test_without_torch_the_command_says_so(saved: Callable[[Any], Path]) -> None:
    code = "import sys; sys.modules['torch'] = None; from torchkeep.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "explain", str(saved({"a": 1}))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("torchkeep: torchkeep needs torch for this")


def test_source_text_of_the_file_gives_a_diff(saved: Callable[[Any], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a report of a file has the text of its modules, the classes that changed are shown against it."""
    monkeypatch.setattr(sources, "digest", lambda cls: "0" * 32 if cls is Net else None)
    path = saved(Net(4))
    monkeypatch.undo()
    text = textwrap.dedent(OLD.removeprefix("\nclass Outer:\n"))
    monkeypatch.setattr(FileReport, "sources", {__name__: text}, raising=False)
    report = torchkeep.explain(path)
    assert [change.name for change in report.changes] == [f"{__name__}:Net"]
    assert report.changes[0].arguments_gone == ("bias",)
    assert "| -    def __init__(self, width, bias=True):" in str(report)


def test_old_source_tells_arguments_for_certain(explained: Explained) -> None:
    told = change(explained, "with its source")
    assert (told["arguments_added"], told["arguments_gone"], told["unsure"]) == (["slope"], ["depth"], [])
    assert "-    def __init__(self, depth):" in told["diff"].split("\n")
    assert "+    def __init__(self, slope=0.5):" in told["diff"].split("\n")


def test_a_checkpoint_of_several_models_asks_which(saved: Callable[[Any], Path]) -> None:
    path = saved({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    report = torchkeep.explain(path, model=nn.Linear(2, 2))
    assert report.fit is not None
    assert "Choose one" in report.fit.problem
    report = torchkeep.explain(path, model=nn.Linear(2, 2), key="b")
    assert report.clear
    assert report.way.call.endswith(", key='b')")


def test_what_was_left_out_leaves_the_skeleton(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    model.lock = (i for i in range(3))  # type: ignore[assignment]
    path = tmp_path / "lossy.safetensors"
    with pytest.warns(torchkeep.TorchkeepWarning):
        torchkeep.save(model, path, allow={"unsaveable"})
    report = torchkeep.explain(path)
    assert report.way.call.endswith("route='skeleton')")
    assert "left out" in report.way.note


def test_the_command_line_imports_what_the_person_names(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "nets.py").write_text(HEAD + NET)
    code = "import torchkeep, shop.nets; torchkeep.save(shop.nets.Net(), 'net.safetensors', durable=False)"
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": path_of_it()}
    )
    (tmp_path / "shop" / "nets.py").rename(tmp_path / "shop" / "models.py")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "error", "-m", "torchkeep", "explain", "net.safetensors", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    found = run("--import", "shop.models")
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.endswith("torchkeep.load('net.safetensors', classes={'shop.nets:Net': Net})\n")


def test_the_command_line(saved: Callable[[Any], Path], capsys: pytest.CaptureFixture[str]) -> None:
    path = str(saved({"net": nn.Linear(2, 2)}))
    search = list(sys.path)
    try:
        assert main(["explain", path, "--import", "absent_of_all"]) == 1
    finally:
        sys.path[:] = search
    out, err = capsys.readouterr()
    assert out == ""
    why = "ModuleNotFoundError: No module named 'absent_of_all'"
    assert err == f"torchkeep: --import absent_of_all: {why}. Nothing was read.\n"
    assert main(["explain", path, "--json", "--key", "net"]) == 0
    assert json.loads(capsys.readouterr().out) == torchkeep.explain(path, key="net").to_dict()
    assert main(["explain", path, "--key", "no"]) == 1
    assert capsys.readouterr().err.startswith("KeyMissingError[TK-KEY]: ")


def path_of_it() -> str:
    """Where a process of its own finds the package that is tested, and the current folder."""
    return os.pathsep.join([str(Path(torchkeep.__file__).parents[1]), "."])


# What a text tells of a class

OLD = """
class Outer:
    class Net(nn.Module):
        def __init__(self, width, bias=True):
            super().__init__()
            self.fc = nn.Linear(width, 2)
"""


class Net(nn.Module):
    def __init__(self, width: int, depth: int = 2, *, slope: float = 0.5) -> None:
        super().__init__()
        self.depth = depth
        self.half = width // 2
        self.fc = nn.Linear(width, 3)
        for i in range(depth):
            self.register_buffer(f"b{i}", torch.zeros(1))


def test_a_diff_of_a_class() -> None:
    text = source_diff(OLD, "old:Outer.Net", Net)
    lines = text.split("\n")
    assert lines[:2] == ["--- Outer.Net (file)", "+++ Net (today)"]
    assert "-    def __init__(self, width, bias=True):" in lines
    assert "+        self.half = width // 2" in lines
    assert " class Net(nn.Module):" in lines


@pytest.mark.parametrize("text", ["", "class Net(", "x = 1", "\0", "(" * 10_000, "class Net:\n" * 2_000_000])
def test_no_diff_of_what_is_not_there(text: str) -> None:
    assert source_diff(text, "old:Net", Net) == ""
    assert old_class(text, "Net") is None


def test_the_same_text_gives_no_diff() -> None:
    lines = Path(__file__).read_text(encoding="utf-8")
    assert source_diff(lines, f"{__name__}:Net", Net) == ""


def test_old_arguments_come_from_the_old_text() -> None:
    found = old_class(OLD, "Outer.Net")
    assert found is not None
    assert found[1] is not None
    assert list(found[1]) == ["width", "bias"]
    document = Document(root=Ref(0), nodes=[Typed("module", 1, {"class": "old:Outer.Net"})])
    objects = Objects("old:Outer.Net")
    objects.add(document, document.nodes[0])  # type: ignore[arg-type]
    told = change_of(document, objects, Net, ClassInfo(digest="0" * 32), today={}, text=OLD)
    assert told is not None
    assert told.arguments_added == ("depth", "slope")
    assert told.arguments_gone == ("bias",)
    assert told.diff.startswith("--- Outer.Net (file)")


def test_an_outline() -> None:
    found = outline(Net)
    assert list(found.arguments or ()) == ["width", "depth", "slope"]
    assert found.direct == {"depth": "depth"}
    assert found.mentioned == {"depth", "half", "fc"}
    assert any("computed" in why for why in found.unsure)


# Which names stand for which

Names = dict[str, tuple[str, tuple[int, ...]]]


def layered(number: int, old: str, new: str) -> Names:
    """Layers as a transformer has them, by their names in the file: the names in the model, and shapes."""
    parts = {
        "attention.self.query": ("attn.q", (8, 8)),
        "attention.self.key": ("attn.k", (8, 8)),
        "attention.self.value": ("attn.v", (8, 8)),
        "attention.output.dense": ("attn.out", (8, 8)),
        "attention.output.norm": ("norm1", (8,)),
        "intermediate.dense": ("mlp.up", (32, 8)),
        "output.dense": ("mlp.down", (8, 32)),
        "output.norm": ("norm2", (8,)),
    }
    return {
        f"{old}.{i}.{one}.weight": (f"{new}.{i}.{other}.weight", shape)
        for i in range(number)
        for one, (other, shape) in parts.items()
    }


TRUTHS: dict[str, Names] = {
    "one tensor": {"w": ("v", (3,))},
    "a prefix": {f"encoder.{i}.weight": (f"backbone.encoder.{i}.weight", (i // 3, 4)) for i in range(30)},
    "layers": layered(12, "encoder.layer", "blocks"),
    "very many layers": layered(250, "encoder.layer", "blocks"),
    "last names": {
        f"a.{i}.{old}": (f"a.{i}.{new}", (4,)) for i in range(5) for old, new in (("gamma", "weight"), ("beta", "bias"))
    },
    "one up": {f"net.{i}.weight": (f"net.{i + (i > 2)}.weight", (4, 4)) for i in range(10)},
}


def renamed(pairs: list[tuple[str, str]], names: Iterable[str]) -> dict[str, str]:
    return Renames(pairs).apply(list(names), where="file") if pairs else {name: name for name in names}


@pytest.mark.parametrize("name", TRUTHS)
def test_names_are_found_again(name: str) -> None:
    truth = TRUTHS[name]
    saved = {old: shape for old, (_, shape) in truth.items()}
    wanted = dict(truth.values())
    pairs, told = renaming.propose(saved, wanted, {})
    assert renamed(pairs, saved) == {old: new for old, (new, _) in truth.items()}
    assert all(number and sure != "guess" for number, sure in told.values())


def test_names_speak_against_the_order_where_they_are_clear() -> None:
    pairs, told = renaming.propose(
        {"enc.a.weight": (4, 4), "dec.a.weight": (4, 4)}, {"dec2.a.weight": (4, 4), "enc2.a.weight": (4, 4)}, {}
    )
    assert pairs == [("enc", "enc2"), ("dec", "dec2")]
    assert {sure for _, sure in told.values()} == {"likely"}


def test_what_shapes_alone_speak_for_is_a_guess() -> None:
    pairs, told = renaming.propose({"alpha": (4,), "xy": (4,), "q": (4,)}, {"zzz": (4,), "mmm": (4,)}, {})
    assert len(pairs) == 2
    assert {sure for _, sure in told.values()} == {"guess"}


def test_what_has_its_place_keeps_it() -> None:
    """A pair renames no name that stays, however they begin."""
    settled = {"net.a.weight": "net.a.weight", "net.b.bias": "net.b.bias"}
    pairs, _ = renaming.propose({"net.b.weight": (2,)}, {"net.c.weight": (2,)}, settled)
    assert renamed(pairs, ["net.b.weight", *settled]) == {"net.b.weight": "net.c.weight"} | settled


@given(st.data())
@settings(max_examples=50)
def test_pairs_rename_just_what_they_say(data: st.DataObject) -> None:
    part = st.sampled_from(["a", "b", "c", "0", "1", "weight"])
    name = st.lists(part, min_size=1, max_size=4).map(".".join)
    olds = data.draw(st.lists(name, unique=True, min_size=1, max_size=8))
    news = data.draw(st.lists(name, unique=True, min_size=len(olds), max_size=len(olds)))
    wanted = dict(zip(olds, news, strict=True))
    assume(not any(one != other and one.startswith(other + ".") for one in olds for other in olds))
    assert renamed(renaming._grouped(wanted), olds) == wanted
