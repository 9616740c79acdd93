"""The computation in a file beside the class: time of a call, of a load, and bytes of the file, side by side."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

import torchkeep

TURN_S = 0.3
LARGE_NBYTES = 50_000_000


class Digits(nn.Module):
    """A small convolutional net, whose calls are mostly Python."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(128, 64), nn.ReLU(), nn.Dropout(), nn.Linear(64, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x))


def bert() -> nn.Module:
    """BERT-base with random weights: 110 million parameters."""
    from transformers import BertConfig, BertModel

    return BertModel(BertConfig())


def cases() -> dict[str, tuple[Callable[[], nn.Module], torchkeep.Example, float]]:
    """By name, how a model is built from its class, a call of it, and the most that a program may take of its time."""
    ids = torch.randint(0, 1000, (2, 128))
    mask = torch.ones_like(ids)
    found: dict[str, tuple[Callable[[], nn.Module], torchkeep.Example, float]] = {
        "digits net, 4 images": (Digits, torchkeep.Example(torch.randn(4, 1, 8, 8)), 1.0),
        "MLP of 20 layers, 4 rows": (mlp, torchkeep.Example(torch.randn(4, 32)), 1.0),
    }
    try:
        import transformers  # noqa: F401 (whether it is there)
    except ImportError:
        print("\n  BERT-base: skipped, transformers is not installed")
    else:
        found["BERT-base, 2 x 128 words"] = (bert, torchkeep.Example(input_ids=ids, attention_mask=mask), 1.1)
    return found


def mlp() -> nn.Module:
    return nn.Sequential(*[layer for _ in range(20) for layer in (nn.Linear(32, 32), nn.ReLU())])


def per_call_s(call: Callable[[], Any]) -> float:
    """Seconds a call takes, over as many as fit into a turn."""
    calls, start = 0, time.perf_counter()
    while (taken := time.perf_counter() - start) < TURN_S or not calls:
        call()
        calls += 1
    return taken / calls


def side_by_side(ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The median of each way, in turns."""
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds + 1):
        for way, call in ways.items():
            seconds = per_call_s(call)
            if number:
                taken[way].append(seconds)
    return {way: statistics.median(seconds) for way, seconds in taken.items()}


def programs(
    folder: Path, rounds: int, heading: Callable[..., None], verdict: Callable[[str, bool, str], None]
) -> None:
    """Measure each case and print it."""
    for name, (make, example, most) in cases().items():
        heading(f"{name}, in ms", f"{'median':>12}")
        plain, path = folder / "plain.safetensors", folder / "program.safetensors"
        _case(make, example, most, plain, path, rounds, verdict)
        plain.unlink()
        path.unlink()


def _case(
    make: Callable[[], nn.Module],
    example: torchkeep.Example,
    most: float,
    plain: Path,
    path: Path,
    rounds: int,
    verdict: Callable[[str, bool, str], None],
) -> None:
    torch.manual_seed(0)
    model = make().eval()
    torchkeep.save(model, plain, durable=False)
    start = time.perf_counter()
    torchkeep.save(model, path, durable=False, example=example)
    capture_s = time.perf_counter() - start
    loaded = torchkeep.load(path, route="program")

    def call(callee: nn.Module) -> Any:
        with torch.no_grad():
            return callee(*example.args, **example.kwargs)

    calls = side_by_side({"by its class": lambda: call(model), "by program": lambda: call(loaded)}, rounds)
    loads = side_by_side(
        {
            "built from its class": make,
            "loaded by program": lambda: torchkeep.load(path, route="program"),
            "... and called once": lambda: call(torchkeep.load(path, route="program")),
        },
        rounds,
    )
    for way, seconds in (calls | loads).items():
        print(f"  {way:40}{1000 * seconds:>12.2f}")
    more = path.stat().st_size / plain.stat().st_size - 1
    print(f"  captured and saved in {capture_s:.1f} s; {path.stat().st_size:,} bytes, {100 * more:+.2f} %")
    ratio = calls["by program"] / calls["by its class"]
    verdict(f"a call takes at most {most} x the time by its class", ratio <= most, f"{ratio:.2f} x")
    if path.stat().st_size > LARGE_NBYTES:  # of a small model, opening a file is most of a load
        ratio = loads["loaded by program"] / loads["built from its class"]
        verdict("a load takes at most 2 x the time to build it", ratio <= 2, f"{ratio:.2f} x")
        verdict("the program adds at most 1 % to a file over 50 MB", more <= 0.01, f"{100 * more:+.2f} %")
