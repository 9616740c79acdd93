"""`explain`, on files that one version of a project saved and that another version asks about in a fresh process.

Each case is a project before and after a refactoring. What the report proposes is run there, and has to work.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import torchkeep
from torchkeep.cli import main
from torchkeep.values import renaming
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
        run: code that gets `made`, what the proposed call gave, and sets `value`.
    """

    before: dict[str, str]
    after: dict[str, str]
    save: str = "from shop.nets import Net; obj = Net()"
    ask: str = "import shop.nets"
    run: str = "value = made(torch.ones(1, 4)).tolist()"
    keeps: str = "value = obj(torch.ones(1, 4)).tolist()"
    done: dict[str, Any] = field(default_factory=dict)


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
CASES["constructor argument added"] = Case(
    package(nets=NET.replace("(self)", "(self, depth)").replace("self.act", "self.depth = depth\n        self.act", 1)),
    package(
        nets=NET.replace("__init__(self)", "__init__(self, depth, slope=0.5)").replace(
            "self.act =",
            "self.depth = depth\n        self.slope = slope\n        self.twice = 2 * depth\n        self.act =",
        )
    ),
    save="from shop.nets import Net; obj = Net.__new__(Net); Net.__init__(obj, 3)",
    run="value = made(torch.ones(1, 4)).tolist(); assert (made.slope, made.twice) == (0.5, 6)",
)
CASES["constructor argument added"].before = package(
    nets=NET.replace("__init__(self)", "__init__(self, depth)").replace(
        "self.act =", "self.depth = depth\n        self.act ="
    )
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
CASES["two of one name"] = Case(
    package(
        nets=NET + "\n\nclass Outer(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.a = Net()\n        self.b = other.Net()\n\n    def forward(self, x):\n        return self.a(x) + self.b(x)\n\n\nfrom . import other\n",
        other=NET.replace("8", "9"),
    ),
    package(
        new=NET,
        newer=NET.replace("8", "9"),
        outer="from .new import Net\nfrom . import newer as other\n\n\nclass Outer(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.a = Net()\n        self.b = other.Net()\n\n    def forward(self, x):\n        return self.a(x) + self.b(x)\n",
    ),
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


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
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


def got(explained: dict[str, dict[str, Any]], name: str) -> tuple[dict[str, Any], str]:
    """The report of a case as plain data and as text."""
    answer = explained[name]
    assert "trouble" not in answer, answer["trouble"]
    assert answer["new"] == []
    return answer["report"], answer["text"]


@pytest.mark.parametrize("name", CASES)
def test_what_is_proposed_works(explained: dict[str, dict[str, Any]], name: str) -> None:
    got(explained, name)
    print(explained[name]["text"])
    if explained[name]["expected"] is not None and explained[name]["value"] is not None:
        if isinstance(explained[name]["value"], str):
            return
        assert explained[name]["value"] == explained[name]["expected"]
