"""Two ways to save a model in PyTorch, and a third: a story of five refactors, measured as it is told.

Trains a small net, saves it with `torch.save(model.state_dict())`, `torch.save(model)` and `torchkeep.save(model)`,
without and with an example of a call, then changes the source of its class, and deletes it. Every script that is shown
runs as shown, in a process of its own. Exits with 1 where torchkeep does not do what the story says.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
WIDTH = 100
CODE_WIDTH = 72

NET = """\
from torch import nn


class Net(nn.Module):
    def __init__(self, width=16, dropout=0.5):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(8 * width, 64),
            nn.BatchNorm1d(64),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(64, 10),
        )

    def forward(self, x):
        return self.head(self.features(x))
"""
RENAMED = NET.replace("class Net", "class DigitNet")
GAINED = (
    NET.replace("dropout=0.5)", "dropout=0.5, pixel_max=16.0)")
    .replace("__init__()\n", "__init__()\n        self.pixel_max = pixel_max\n")
    .replace("features(x)", "features(x / self.pixel_max)")
)

STATE_DICT, MODEL, TORCHKEEP, PROGRAM = WAYS = (
    "torch.save(model.state_dict())",
    "torch.save(model)",
    "torchkeep.save(model)",
    "torchkeep.save(model, example=(x,))",
)
FILES = dict(zip(WAYS, ("weights.pt", "model.pt", "model.safetensors", "program.safetensors"), strict=True))
OURS = (TORCHKEEP, PROGRAM)


@dataclass(frozen=True)
class Step:
    """A script that loads the model in one way.

    Attributes:
        way: how the file was saved.
        script: what runs, and what is shown.
        error: for torchkeep, the error that the story needs; "" where the model must be as it was trained.
        says: what that error must say.
        whole: whether the error is shown whole, and not its first line only.
        tuned: whether the script trains the model further, so that it is another one then.
    """

    way: str
    script: str
    error: str = ""
    says: tuple[str, ...] = ()
    whole: bool = False
    tuned: bool = False


@dataclass(frozen=True)
class Case:
    """What became of the source, and who copes with it."""

    title: str
    short: str
    change: str
    source: dict[str, str]
    steps: list[Step] = field(default_factory=list)


def state_dict(construct: str, imports: str) -> Step:
    return Step(STATE_DICT, f'{imports}\nmodel = {construct}\nmodel.load_state_dict(torch.load("weights.pt"))')


def allowing(net: str, imports: str) -> Step:
    return Step(
        MODEL,
        f"""\
# every class in the file, allowed by hand; its code stays shut
{imports}
from torch.nn import *
torch.serialization.add_safe_globals([{net}, Sequential, Flatten,
    Conv2d, BatchNorm2d, BatchNorm1d, ReLU, MaxPool2d, Linear, Dropout])
model = torch.load("model.pt")""",
    )


DEFAULT = Step(MODEL, 'model = torch.load("model.pt")')
UNSAFE = 'model = torch.load("model.pt", weights_only=False)'
TRUSTING = Step(MODEL, f"# the file may run any code\n{UNSAFE}")
BY_PROGRAM = Step(PROGRAM, 'model = torchkeep.load("program.safetensors", route="program")')

CASES = [
    Case(
        "(a) The class is where it was",
        "(a) same",
        "",
        {"nets.py": NET},
        [
            state_dict("Net(width=24)", "# the class and its arguments come from you\nfrom nets import Net"),
            DEFAULT,
            TRUSTING,
            allowing("Net", "from nets import Net"),
            Step(TORCHKEEP, 'import nets\nmodel = torchkeep.load("model.safetensors")'),
            BY_PROGRAM,
        ],
    ),
    Case(
        "(b) The class moved to another module",
        "(b) moved",
        "nets.py -> models/digits.py",
        {"models/__init__.py": "", "models/digits.py": NET},
        [
            state_dict("Net(width=24)", "from models.digits import Net"),
            DEFAULT,
            TRUSTING,
            Step(
                MODEL,
                f"""\
# the old name, kept alive for the file's sake
import sys, models.digits
sys.modules["nets"] = models.digits
{UNSAFE}""",
            ),
            Step(
                TORCHKEEP,
                'from models.digits import Net\nmodel = torchkeep.load("model.safetensors")',
                "TrustError",
                ("nets:Net", "classes={'nets:Net': Net}", "structure", "skeleton"),
                whole=True,
            ),
            Step(
                TORCHKEEP,
                'from models.digits import Net\nmodel = torchkeep.load("model.safetensors", classes=[Net])',
            ),
            BY_PROGRAM,
        ],
    ),
    Case(
        "(c) The class was renamed",
        "(c) renamed",
        "Net -> DigitNet, in nets.py",
        {"nets.py": RENAMED},
        [
            state_dict("DigitNet(width=24)", "from nets import DigitNet"),
            DEFAULT,
            TRUSTING,
            allowing('(DigitNet, "nets.Net")', "from nets import DigitNet"),
            Step(
                TORCHKEEP,
                'import nets\nmodel = torchkeep.load("model.safetensors")',
                "TrustError",
                ("nets:Net", "classes={'nets:Net': Net}"),
            ),
            Step(
                TORCHKEEP,
                """\
from nets import DigitNet
old = {"nets:Net": DigitNet}
model = torchkeep.load("model.safetensors", classes=old)""",
            ),
            Step(
                TORCHKEEP,
                """\
# or once and for all, beside the class
from nets import DigitNet
torchkeep.register(DigitNet, aliases=["nets:Net"])
model = torchkeep.load("model.safetensors")""",
            ),
            BY_PROGRAM,
        ],
    ),
    Case(
        "(d) The class gained an argument and an attribute",
        "(d) gained",
        "pixel_max",
        {"nets.py": GAINED},
        [
            state_dict(
                "Net(width=24)",
                "# the default suits new models, and a state_dict cannot tell old from new\n"
                "# (in train mode, BatchNorm evens out the scale, which hides the mistake)\n"
                "from nets import Net",
            ),
            state_dict("Net(width=24, pixel_max=1.0)", "# the old value, by hand\nfrom nets import Net"),
            DEFAULT,
            TRUSTING,
            Step(MODEL, f"# the old value, by hand\n{UNSAFE}\nmodel.pixel_max = 1.0"),
            Step(
                TORCHKEEP,
                'import nets\nmodel = torchkeep.load("model.safetensors")',
                "ChangedClassError",
                ("pixel_max", "torchkeep.register(Net, version=2, migrations={1: migrate})"),
                whole=True,
            ),
            Step(
                TORCHKEEP,
                """\
# once and for all, beside the class
from nets import Net

def migrate(state):
    state.attributes["pixel_max"] = 1.0

torchkeep.register(Net, version=2, migrations={1: migrate})
model = torchkeep.load("model.safetensors")""",
            ),
            BY_PROGRAM,
        ],
    ),
    Case(
        "(e) The class was deleted",
        "(e) deleted",
        "there is no nets.py any more",
        {},
        [
            state_dict("Net(width=24)", "from nets import Net"),
            DEFAULT,
            TRUSTING,
            Step(
                TORCHKEEP,
                'model = torchkeep.load("model.safetensors")',
                "TrustError",
                ("nets:Net", "skeleton"),
            ),
            Step(PROGRAM, 'model = torchkeep.load("program.safetensors")'),
            Step(
                PROGRAM,
                """\
# an epoch more; the model is left in train mode, in which Dropout drops
import torch
from torch.nn.functional import cross_entropy
images, labels = torch.load("seen.pt")
model = torchkeep.load("program.safetensors", route="program", mode="train")
optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
for batch in torch.randperm(len(labels)).split(64):
    optimizer.zero_grad()
    cross_entropy(model(images[batch]), labels[batch]).backward()
    optimizer.step()""",
                tuned=True,
            ),
        ],
    ),
]


# --- processes --------------------------------------------------------------------------------------


def python(program: str, *arguments: str, project: Path) -> dict[str, Any]:
    """Run one of the demonstration's programs in a project folder, on one thread; what it printed last, as JSON."""
    paths = [str(project), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HERE / program), *arguments]
    done = subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, check=False, encoding="utf-8"
    )
    if done.returncode != 0:
        raise RuntimeError(f"{program} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def write(project: Path, source: dict[str, str]) -> None:
    for name, text in source.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def run(step: Step, source: dict[str, str], saved: Path) -> dict[str, Any]:
    """Run a step in a project folder that holds the source, the files and nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        script = f"import {'torchkeep' if step.way in OURS else 'torch'}\n{step.script}\n"
        write(project, source | {"load.py": script})
        for name in ("unseen.pt", "seen.pt", FILES[step.way]):
            (project / name).write_bytes((saved / name).read_bytes())
        result = python("fresh.py", "load.py", project=project)
        if "message" in result:
            result["message"] = result["message"].replace(f"{project}{os.sep}", "")
        return result


def complaint(step: Step, result: dict[str, Any], trained: dict[str, Any]) -> str:
    """What a torchkeep step did otherwise than the story says, or ""."""
    if step.error:
        if result.get("error") != step.error:
            return f"should have raised {step.error}, and gave {result}"
        absent = [text for text in step.says if text not in result["message"]]
        return f"{step.error} does not say {absent}: {result['message']}" if absent else ""
    if "error" in result:
        return result["trace"]
    if step.tuned:
        learned = result["after_eval"] >= trained["after_eval"] - 5 and result["outputs"] != trained["outputs"]
        return "" if learned and result["as_loaded"] < result["after_eval"] else f"gave {result} after training"
    expected = (trained["after_eval"], trained["after_eval"], trained["outputs"])
    found = (result["as_loaded"], result["after_eval"], result["outputs"])
    return "" if found == expected else f"gave {found} where the trained model gave {expected}"


# --- what is printed --------------------------------------------------------------------------------


def bold(text: str) -> str:
    return f"\x1b[1m{text}\x1b[0m" if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else text


def paragraph(text: str, *, indent: str = "", marker: str = "") -> str:
    hanging = indent + " " * len(marker)
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=indent + marker,
        subsequent_indent=hanging,
        break_on_hyphens=False,
        break_long_words=False,
    )


class Story:
    """Prints the story; remembers which errors it told already."""

    def __init__(self, tested: int) -> None:
        self.tested = tested
        self.told: dict[str, str] = {}

    def percent(self, right: int) -> str:
        return f"{100 * right / self.tested:.1f} %"

    def cell(self, result: dict[str, Any], measured: str) -> str:
        return "error" if "error" in result else self.percent(result[measured])

    def case(self, case: Case, results: list[dict[str, Any]]) -> None:
        title = f"{case.title}: {case.change}" if case.change else case.title
        print(f"\n\n{bold(title.ljust(CODE_WIDTH))}{'as loaded':>12}{'after eval()':>16}\n{'=' * WIDTH}")
        for line in changes(case):
            print(f"  {line}")
        way = ""
        for step, result in zip(case.steps, results, strict=True):
            if step.way != way:
                way = step.way
                print(f"\n{bold(way)}")
            else:
                print()
            self.step(step, result, case.short[:3])

    def step(self, step: Step, result: dict[str, Any], here: str) -> None:
        *first, last = step.script.splitlines()
        for line in first:
            print(f"  {line}".rstrip())
        numbers = [self.cell(result, measured) for measured in ("as_loaded", "after_eval")]
        if "error" in result:
            numbers = ["", "loads, but ..." if result["stage"] == "use" else "does not load"]
        print(f"  {last}".ljust(CODE_WIDTH) + f"{numbers[0]:>12}{numbers[1]:>16}")
        for warning in result["warnings"]:
            print(paragraph(warning, indent=" " * 6, marker="warns: "))
        if "error" in result:
            self.error(step, result, here)

    def error(self, step: Step, result: dict[str, Any], here: str) -> None:
        message = re.sub(r"\x1b\[[0-9;]*m", "", result["message"]).strip()
        when = "at its first use: " if result["stage"] == "use" else ""
        if message in self.told:
            print(f"      {when}{result['error']}, the same as in {self.told[message]}")
            return
        self.told[message] = here
        head, *rest = message.splitlines()
        print(paragraph(f"{result['error']}: {head}", indent=" " * 6, marker=when))
        for line in rest if step.whole else ():
            lead = len(line) - len(line.lstrip())
            print(paragraph(line.lstrip(), indent=" " * (6 + lead)))

    def summary(self, told: list[tuple[Case, list[dict[str, Any]]]]) -> None:
        def row(label: str, way: str, *, which: int, having: str = "") -> None:
            cells = []
            for case, results in told:
                steps = zip(case.steps, results, strict=True)
                found = [result for step, result in steps if step.way == way and having in step.script]
                cells.append(self.pair(found[which]))
            print(f"  {label:36}" + "".join(f"{cell:>12}" for cell in cells))

        title = "Side by side: % right with eval() forgotten / called"
        print(f"\n\n{bold(title)}\n{'=' * WIDTH}")
        print(f"{'the first try':38}" + "".join(f"{case.short:>12}" for case, _ in told))
        row(STATE_DICT, STATE_DICT, which=0)
        row(MODEL, MODEL, which=0)
        row("  ... with weights_only=False", MODEL, which=0, having="weights_only=False")
        row(TORCHKEEP, TORCHKEEP, which=0)
        row(PROGRAM, PROGRAM, which=0)
        print("\nmended as shown")
        for way in (STATE_DICT, MODEL, TORCHKEEP):
            row(way, way, which=-1)

    def pair(self, result: dict[str, Any]) -> str:
        if "error" in result:
            return "error at use" if result["stage"] == "use" else "error"
        both = [100 * result[measured] / self.tested for measured in ("as_loaded", "after_eval")]
        return " / ".join(f"{percent:.1f}" for percent in both)


def changes(case: Case) -> Iterator[str]:
    """The lines of the class that differ from what they were."""
    for source in case.source.values():
        lines = difflib.ndiff(NET.splitlines(), source.splitlines()) if source else ()
        yield from (line for line in lines if line[0] in "+-")


def introduce(trained: dict[str, Any], saved: Path, story: Story) -> None:
    print(f"{bold('Two ways to save a model in PyTorch, and a third')}\n{'=' * WIDTH}")
    print(
        paragraph(
            f"A small convolutional net with BatchNorm and Dropout learned {trained['trained_on']} handwritten "
            f"digits. Of {trained['tested_on']} others, it reads {story.percent(trained['after_eval'])} right "
            f"(in batches of 4), and {story.percent(trained['as_loaded'])} if one forgets to call eval(): in train "
            "mode, Dropout still drops, and BatchNorm goes by the 4 digits at hand and not by what it learned."
        )
    )
    print(f"\n{trained['versions']}")
    print(f"trained accuracy: {story.percent(trained['after_eval'])}\n")
    print(
        paragraph(
            "The net was saved in these ways when training ended, still in train mode. (torch.save(model) keeps that "
            "flag: had eval() been called before it, the model would come back in eval mode.)"
        )
        + "\n"
    )
    sizes = {way: (saved / name).stat().st_size for way, name in FILES.items()}
    held = (
        "tensors by name",
        "a pickle with class names",
        "tensors, module tree",
        "... and its computation",
    )
    for (way, nbytes), what in zip(sizes.items(), held, strict=True):
        name = FILES[way]
        print(f"  {way:35}  {name:19} {nbytes:>8,} bytes  {what}")
    print()
    print(
        paragraph(
            "Then the source changed, in five ways. Each script below ran as it stands, in a fresh process, after "
            "`import torch` or `import torchkeep`. The numbers are the test accuracy of the model that it leaves: "
            "as it was loaded, and after a call of model.eval()."
        )
    )


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        saved = Path(folder)
        write(saved, {"nets.py": NET})
        trained = python("train.py", project=saved)
        runs = [(case, [pool.submit(run, step, case.source, saved) for step in case.steps]) for case in CASES]
        story = Story(trained["tested_on"])
        introduce(trained, saved, story)
        told = []
        for case, pending in runs:
            results = [one.result() for one in pending]
            story.case(case, results)
            sys.stdout.flush()
            told.append((case, results))
    story.summary(told)
    complaints = [
        f"{case.title}:\n{textwrap.indent(step.script, '  ')}\n{wrong}"
        for case, results in told
        for step, result in zip(case.steps, results, strict=True)
        if step.way in OURS and (wrong := complaint(step, result, trained))
    ]
    if complaints:
        print("\n\ntorchkeep did not do what this story says.\n\n" + "\n\n".join(complaints), file=sys.stderr)
        return 1
    steps = sum(step.way in OURS for case in CASES for step in case.steps)
    print(
        "\n"
        + paragraph(
            f"All {steps} torchkeep steps did what they should: an error that says what to write, or a model whose "
            "outputs are the trained model's, bit for bit (but for the one that learned more)."
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
