"""torchkeep beside torch and safetensors, measured in one run: file sizes, header, inspect, save, load and programs.

A benchmark and not a test: it says for each target whether it was met, and exits with 0.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from clock import Contest, Times, Turn, settle, steady
from programs import programs
from torch import nn

import torchkeep

try:
    import safetensors
    import safetensors.torch as st
except ImportError:
    safetensors = None

MIB = 1 << 20
MANY = 50_000
WIDTH = 100

# --- models -----------------------------------------------------------------------------------------


class Block(nn.Module):
    """A basic block of a ResNet."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.skip = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


def resnet() -> nn.Module:
    widths = [64, 64, 64, 128, 128, 256, 256, 512, 512]
    blocks = [Block(a, b, 1 + (a != b)) for a, b in itertools.pairwise(widths)]
    return nn.Sequential(nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), *blocks, nn.Linear(512, 1000))


def transformer() -> nn.Module:
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(512, 8, batch_first=True), 6)


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(784, 2048), nn.ReLU(), nn.Linear(2048, 2048), nn.ReLU(), nn.Linear(2048, 10))


def lstm() -> nn.Module:
    return nn.LSTM(512, 1024, num_layers=3, batch_first=True)


def narrow() -> nn.Module:
    """Many small layers: of all models above 10 MB, the sort whose names and shapes weigh most."""
    return nn.Sequential(*[nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64), nn.GELU()) for _ in range(800)])


MODELS = {"ResNet-18": resnet, "TransformerEncoder": transformer, "MLP": mlp, "LSTM": lstm, "800 layers of 64": narrow}


def many() -> dict[str, torch.Tensor]:
    """50,000 tensors of 2 KiB, about 100 MiB, each with a storage of its own."""
    return {f"blocks.{i // 10}.layer.{i % 10}.weight": torch.full((512,), float(i)) for i in range(MANY)}


def big() -> nn.Module:
    """256 MiB in four tensors."""
    with torch.device("meta"):
        model = nn.Sequential(*[nn.Linear(4096, 4096, bias=False) for _ in range(4)])
    return model.to_empty(device="cpu").apply(
        lambda module: nn.init.constant_(module.weight, 0.5) if isinstance(module, nn.Linear) else None
    )


# --- contests: torchkeep's way first ----------------------------------------------------------------


def saves(title: str, obj: Any, tensors: dict[str, torch.Tensor], folder: Path, *, durable: bool) -> Contest:
    """Save `obj` with torchkeep and `tensors`, what it holds, with the others."""
    path = folder / "out.safetensors"

    def fsync() -> None:
        for name in (path, folder):
            descriptor = os.open(name, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)

    def before() -> None:
        path.unlink(missing_ok=True)
        settle()

    others: dict[str, Callable[[], Any]] = {}
    if safetensors:
        others["safetensors.torch.save_file"] = lambda: st.save_file(tensors, path)
    others["torch.save"] = lambda: torch.save(tensors, path)
    if durable:
        others = {f"{name} + fsync": lambda call=call: (call(), fsync()) for name, call in others.items()}
    ours = {f"torchkeep.save(durable={durable})": lambda: torchkeep.save(obj, path, durable=durable)}
    note = "The file is synced to the disk, and its folder." if durable else "Into the page cache."
    return Contest(title, ours | others, before, note=note)


def many_saves(folder: Path, *, durable: bool) -> Contest:
    tensors = many()
    return saves(f"Save {MANY:,} tensors of 2 KiB", tensors, tensors, folder, durable=durable)


def big_saves(folder: Path, *, durable: bool) -> Contest:
    model = big()
    return saves("Save a model of 256 MiB", model, model.state_dict(), folder, durable=durable)


def files(folder: Path, stem: str, obj: Any, tensors: dict[str, torch.Tensor]) -> None:
    """What loads read: each library's own file."""
    torchkeep.save(obj, folder / f"{stem}.torchkeep.safetensors")
    torch.save(tensors, folder / f"{stem}.pt")
    if safetensors:
        st.save_file(tensors, folder / f"{stem}.safetensors")


def many_loads(folder: Path) -> Contest:
    path = folder / "many"
    if not path.with_suffix(".pt").exists():
        files(folder, "many", many(), many())
    ways: dict[str, Callable[[], Any]] = {"torchkeep.load": lambda: torchkeep.load(f"{path}.torchkeep.safetensors")}
    if safetensors:
        ways["safetensors.torch.load_file"] = lambda: st.load_file(f"{path}.safetensors")
    ways["torch.load(mmap=False)"] = lambda: torch.load(f"{path}.pt", mmap=False)
    note = "torchkeep checks a digest of every tensor as it reads; the others check none."
    return Contest(f"Load {MANY:,} tensors of 2 KiB", ways, tensors=dict.values, note=note)


def big_loads(folder: Path, *, to_train: bool = False) -> Contest:
    path = folder / "big"
    if not path.with_suffix(".pt").exists():
        files(folder, "big", big(), big().state_dict())
    ways: dict[str, Callable[[], Any]] = {"torchkeep.load": lambda: torchkeep.load(f"{path}.torchkeep.safetensors")}
    if safetensors:
        ways["safetensors.torch.load_file"] = lambda: st.load_file(f"{path}.safetensors")
    ways["torch.load(mmap=False)"] = lambda: torch.load(f"{path}.pt", mmap=False)
    ways["torch.load(mmap=True)"] = lambda: torch.load(f"{path}.pt", mmap=True)
    note = "torchkeep returns the model, in memory of its own, digests checked; the others return a dict."
    title = "Load 256 MiB, and write every byte" if to_train else "Load a model of 256 MiB"
    return Contest(title, ways, tensors=_tensors, writes=to_train, note=note)


def big_binds(folder: Path) -> Contest:
    path = folder / "big"
    if not path.with_suffix(".pt").exists():
        files(folder, "big", big(), big().state_dict())
    model = big()
    ways: dict[str, Callable[[], Any]] = {
        "torchkeep.load_into": lambda: torchkeep.load_into(model, f"{path}.torchkeep.safetensors")
    }
    if safetensors:
        ways["load_state_dict(load_file(...))"] = lambda: model.load_state_dict(st.load_file(f"{path}.safetensors"))
    for mmap in (False, True):
        ways[f"load_state_dict(torch.load(mmap={mmap}))"] = lambda mmap=mmap: model.load_state_dict(
            torch.load(f"{path}.pt", mmap=mmap)
        )
    return Contest("Load 256 MiB into a model that is there", ways)


def _tensors(loaded: Any) -> Iterable[torch.Tensor]:
    return loaded.parameters() if isinstance(loaded, nn.Module) else loaded.values()


CONTESTS: dict[str, Callable[[Path], Contest]] = {
    "many-save": lambda folder: many_saves(folder, durable=False),
    "many-save-durable": lambda folder: many_saves(folder, durable=True),
    "many-load": many_loads,
    "big-save": lambda folder: big_saves(folder, durable=False),
    "big-save-durable": lambda folder: big_saves(folder, durable=True),
    "big-load": big_loads,
    "big-load-to-train": lambda folder: big_loads(folder, to_train=True),
    "big-load-into": big_binds,
}

# --- measuring --------------------------------------------------------------------------------------


def python(*arguments: str) -> str:
    command = [sys.executable, *arguments]
    environment = os.environ.copy()
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as installed: compiled once, not in every run
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


def turns(name: str, folder: Path, *, rounds: int = 0, way: str = "") -> dict[str, Any]:
    """Run a contest in a process of its own: `rounds` rounds after one that warms up, or the first turn of one way."""
    what = ["--first", way] if way else []
    told: dict[str, Any] = json.loads(
        python(__file__, "--folder", str(folder), "--rounds", str(rounds), "--turns", name, *what)
    )
    return told


def tell_turns(name: str, folder: Path, *, rounds: int, way: str) -> None:
    """The other side of `turns`."""
    contest = CONTESTS[name](folder)
    found = {way: [contest.turn(way)]} if way else steady(contest, rounds=rounds)
    print(
        json.dumps(
            {
                "title": contest.title,
                "note": contest.note,
                "loads": contest.tensors is not None,
                "turns": {way: [(turn.call_s, turn.touch_s) for turn in taken] for way, taken in found.items()},
            }
        )
    )


# --- printing ---------------------------------------------------------------------------------------


def heading(text: str, columns: str = "") -> None:
    print(f"\n{text:{WIDTH - len(columns)}}{columns}\n{'-' * WIDTH}")


def verdict(target: str, met: bool, detail: str) -> None:
    print(f"  target: {target}: {'met' if met else 'MISSED'} ({detail})", flush=True)


def ms(seconds: float) -> str:
    return f"{1000 * seconds:,.0f}" if seconds >= 0.01 else f"{1000 * seconds:.2f}"


def contest(name: str, folder: Path, *, rounds: int) -> None:
    told = turns(name, folder, rounds=rounds)
    times = {way: Times([Turn(*turn) for turn in taken]) for way, taken in told["turns"].items()}
    for _ in range(min(3, rounds)):
        for way, kept in times.items():
            kept.first.append(Turn(*turns(name, folder, way=way)["turns"][way][0]))
    touch = f"{'+ touch':>9}" if told["loads"] else ""
    heading(f"{told['title']}, in ms", f"{'median':>9}{'min - max':>17}{touch}{'ratio':>9}{'first':>9}")
    ours, *others = times
    for way, kept in times.items():
        low, high = kept.spread_s
        touched = f"{ms(kept.whole_s):>9}" if told["loads"] else ""
        ratio = f"{kept.whole_s / times[ours].whole_s:.2f} x"
        numbers = f"{ms(kept.median_s):>9}{ms(low) + ' - ' + ms(high):>17}{touched}{ratio:>9}{ms(kept.first_s):>9}"
        print(f"  {way:{WIDTH - 2 - len(numbers)}}{numbers}")
    if told["note"]:
        print(f"  {told['note']}")
    best = min(others, key=lambda way: times[way].whole_s)
    ratio = times[best].whole_s / times[ours].whole_s
    verdict("no slower than the fastest other", ratio >= 1, f"{best}: {ratio:.2f} x")


def header_nbytes(path: Path) -> int:
    with path.open("rb") as file:
        return int.from_bytes(file.read(8), "little")


def sizes(folder: Path) -> None:
    heading("File size", f"{'tensors':>10}{'torch.save':>15}{'safetensors':>15}{'torchkeep':>15}{'vs torch':>12}")
    worst = -1.0
    for name, make in MODELS.items():
        model = make()
        state = model.state_dict()
        paths = {way: folder / f"size.{way}" for way in ("torch", "plain", "torchkeep")}
        torch.save(state, paths["torch"])
        torchkeep.save(model, paths["torchkeep"], durable=False)
        if safetensors:
            st.save_file(state, paths["plain"])
        nbytes = {way: path.stat().st_size for way, path in paths.items() if path.exists()}
        more = nbytes["torchkeep"] / nbytes["torch"] - 1
        worst = max(worst, more)
        plain = f"{nbytes['plain']:,}" if "plain" in nbytes else "-"
        row = f"{len(state):>10}{nbytes['torch']:>15,}{plain:>15}{nbytes['torchkeep']:>15,}{100 * more:>+10.2f} %"
        print(f"  {name:{WIDTH - 2 - len(row)}}{row}")
        for path in paths.values():
            path.unlink(missing_ok=True)
    print("  torchkeep's file holds the whole model; the others' hold its tensors.")
    verdict("at most 1 % larger than torch.save(state_dict)", worst <= 0.01, f"the worst: {100 * worst:+.2f} %")


def headers(folder: Path) -> None:
    heading("Header with 100,000 names of 64 characters", f"{'bytes':>15}{'a tensor':>12}")
    cap = 25_000_000
    prefix = "transformer.encoder.layers.with_a_rather_long_name_to_fill_it."
    names = [f"{prefix[: 64 - 15]}.{i:07d}.weight" for i in range(100_000)]
    assert {len(name) for name in names} == {64}
    state = {name: torch.zeros(16, 16) for name in names}
    model = nn.Module()
    model.add_module("m" * (64 - len(".49999.weight")), nn.ModuleList(nn.Linear(1, 1) for _ in range(50_000)))
    assert max(map(len, model.state_dict())) == 64
    path = folder / "header.safetensors"
    for what, obj in {"a state_dict": state, "a model of 50,000 Linear layers": model}.items():
        try:
            torchkeep.save(obj, path, durable=False)
        except torchkeep.SaveError as error:
            print(f"  {what}\n{textwrap.indent(textwrap.fill(str(error), WIDTH - 4), '    ')}")
            verdict(f"less than {cap:,} bytes", False, "refused")
            continue
        nbytes = header_nbytes(path)
        row = f"{nbytes:>15,}{nbytes / 100_000:>12.1f}"
        print(f"  {what:{WIDTH - 2 - len(row)}}{row}")
        verdict(f"less than {cap:,} bytes", nbytes < cap, f"{100 * nbytes / cap:.0f} % of it")
        path.unlink()


def inspects(folder: Path, *, rounds: int) -> None:
    files(folder, "many", many(), many())
    ours = folder / "many.torchkeep.safetensors"
    model = folder / "layers.torchkeep.safetensors"
    torchkeep.save(nn.Sequential(*[nn.Linear(8, 8) for _ in range(MANY // 2)]), model, durable=False)
    ways: dict[str, list[str]] = {}
    if importlib.util.find_spec("torchkeep.__main__"):
        ways["torchkeep inspect, a state_dict"] = ["-m", "torchkeep", "inspect", str(ours)]
        ways["torchkeep inspect, a model of 25,000 layers"] = ["-m", "torchkeep", "inspect", str(model)]
    else:
        print("\n  torchkeep inspect: skipped, this torchkeep has no command line")
    if safetensors:
        code = "import sys, safetensors; print(len(safetensors.safe_open(sys.argv[1], 'np').keys()))"
        ways["safetensors.safe_open(...).keys()"] = ["-c", code, str(folder / "many.safetensors")]
    ways["python -c pass"] = ["-c", "pass"]
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds + 1):
        for way, arguments in ways.items():
            start = time.perf_counter()
            python(*arguments)
            if number:
                taken[way].append(time.perf_counter() - start)
    heading(f"Inspect {MANY:,} tensors, a whole process, in ms", f"{'median':>9}{'min - max':>17}")
    for way, seconds in taken.items():
        row = f"{ms(statistics.median(seconds)):>9}{ms(min(seconds)) + ' - ' + ms(max(seconds)):>17}"
        print(f"  {way:{WIDTH - 2 - len(row)}}{row}")
    for way, seconds in taken.items():
        if way == "torchkeep inspect, a state_dict":
            median_s = statistics.median(seconds)
            verdict("less than 300 ms for 50,000 tensors", median_s < 0.3, f"{ms(median_s)} ms")
    code = "import sys, torchkeep; torchkeep.inspect(sys.argv[1]); print('torch' in sys.modules)"
    imported = python("-c", code, str(ours)).strip() == "True"
    verdict("torchkeep.inspect does not import torch", not imported, "imported" if imported else "not imported")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds after the one that warms up")
    parser.add_argument("--folder", type=Path, help="where files go: the disk that is measured")
    parser.add_argument(
        "--only", nargs="*", choices=["sizes", "headers", "inspect", "programs", *CONTESTS], default=None
    )
    parser.add_argument("--turns", help=argparse.SUPPRESS)
    parser.add_argument("--first", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.turns:
        tell_turns(options.turns, options.folder, rounds=options.rounds, way=options.first)
        return
    wanted = set(options.only or ["sizes", "headers", "inspect", "programs", *CONTESTS])
    other = f"safetensors {safetensors.__version__}" if safetensors else "without safetensors, which is missing"
    print(f"torchkeep {torchkeep.__version__}, torch {torch.__version__}, {other}, Python {platform.python_version()}")
    print(
        f"{os.cpu_count()} cores, {torch.get_num_threads()} threads in torch; {options.rounds} rounds after a warm-up"
    )
    print("+ touch: with every byte read. ratio: times torchkeep's, touch included. first: in a fresh process.")
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        if "sizes" in wanted:
            sizes(folder)
        if "headers" in wanted:
            headers(folder)
        if "inspect" in wanted:
            inspects(folder, rounds=options.rounds)
        if "programs" in wanted:
            programs(folder, options.rounds, heading, verdict)
        for each in CONTESTS:
            if each in wanted:
                contest(each, folder, rounds=options.rounds)


if __name__ == "__main__":
    main()
