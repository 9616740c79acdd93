"""Texts of real programs, changed at random: read, held against the tree, and called; every outcome has a type.

    python program_fuzz.py [--seed N] [--mutants N]

Bits are flipped, and parts of the JSON are swapped, copied, taken away, and replaced by what is odd. Mutants run in a
fork with limits on memory and time, so that the end of a process is an outcome like any other, and is told.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import torch
from torch import nn

from torchkeep.errors import TorchkeepError
from torchkeep.programs import Runner, capture_program, decode, encode, require

GIB = 1 << 30
SECONDS = 60
"""Longest that one mutant may take on a slow machine."""


class Net(nn.Module):
    """A little of everything that programs have: modes, buffers that change, sizes that vary, lists, dicts."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout(0.5)
        self.rnn = nn.GRU(4, 4, batch_first=True)
        self.register_buffer("count", torch.zeros(()))
        self.offset = torch.arange(4.0)

    def forward(self, x: torch.Tensor, *, scale: float = 2.0) -> dict[str, Any]:
        self.count += 1
        y = self.drop(self.norm(self.conv(x))).transpose(1, 2)
        z, state = self.rnn(y)
        first, second = z.chunk(2, dim=-1)
        with torch.no_grad():
            position = torch.arange(z.shape[1]) % 3
        w = torch.cat([first, second], -1) + self.offset
        top, index = w.reshape(w.shape[0], -1).topk(2)
        padded = nn.functional.pad(w, (1, 1)).expand(2, -1, -1, -1)
        return {"y": w * scale, "top": (top, index, position), "state": state, "padded": padded.sum()}


ODD: tuple[Any, ...] = (
    *(0, 1, -1, 2, 3, 7, 64, -(2**63), 2**63 - 1, 2**63, 2**31, 2**40, 2**70, True, False, None, "", "x", "\0", "aten"),
    *("__class__", [], {}, ["v", 0], ["v", -1], ["v", 10**9], ["f", "nan"], ["f", "inf"], ["list", []], ["tuple", []]),
    *(["list", [["v", 0]]], ["dtype", "int64"], ["dtype", "bool"], ["dtype", "quint8"], ["device", "meta"], ["..."]),
    *(["?", [0], 0, 1], ["slice", None, None, None], ["dict", "dict", [], []], ["object", "a:B", True, [], []]),
    *(["own_dtype"], ["own_device"], ["layout", "sparse_coo"], ["memory_format", "channels_last"], ["dim", 0, 0]),
    *(["of", "//", [1, 0]], ["of", "*", [2**62, 2**62]], "eval", "train"),
)


def mutant(text: bytes, rng: random.Random) -> bytes:
    """A text that differs in one to three places."""
    if rng.random() < 0.1:
        raw = bytearray(text)
        for _ in range(rng.randint(1, 3)):
            raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
        return bytes(raw)
    said = json.loads(text)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        _change(said, rng)
    return msgspec.json.encode(said)


def _places(said: Any) -> list[tuple[Any, Any]]:
    """Every place of a value: what holds it, and under which key."""
    found, stack = [], [said]
    while stack:
        held = stack.pop()
        for key in range(len(held)) if isinstance(held, list) else held:
            found.append((held, key))
            if isinstance(held[key], list | dict):
                stack.append(held[key])
    return found


def _change(said: Any, rng: random.Random) -> None:
    """Change one place; calls and their arguments more often than tables."""
    inside = rng.choice(("calls", "calls", "calls", "calls", "output", "inputs", "parameters", "guards", None))
    places = _places(said[inside] if inside and said.get(inside) else said)
    if not places:
        return
    held, key = rng.choice(places)
    numbers = [(h, k) for h, k in places if type(h[k]) is int]
    kind = rng.random()
    if kind < 0.25:
        held[key] = json.loads(msgspec.json.encode(rng.choice(ODD)))
    elif kind < 0.45 and numbers:
        held, key = rng.choice(numbers)
        held[key] += rng.choice((-3, -2, -1, 1, 2, 3))
    elif kind < 0.6:
        other, there = rng.choice(places)
        held[key], other[there] = json.loads(json.dumps(other[there])), json.loads(json.dumps(held[key]))
    elif kind < 0.7:
        other, there = rng.choice(places)
        held[key] = json.loads(json.dumps(other[there]))
    elif kind < 0.85 and isinstance(held, list):
        held.insert(key, json.loads(json.dumps(held[key])))
    elif isinstance(held, list):
        del held[key]
    else:
        held.pop(key)


def outcome(text: bytes, constants: Any, root: nn.Module, inputs: tuple[Any, ...], rng: random.Random) -> str:
    """What comes of a text; an error that has no type of torchkeep's goes up."""
    try:
        runner = Runner(decode(text), constants)
        require(runner.program, root, lambda _: False)
    except TorchkeepError as error:
        return f"refused: {getattr(error, 'clause', None) or type(error).__name__}"
    before = {name: tensor.clone() for name, tensor in root.state_dict().items()}
    written = {(row.module, row.name) for row in (runner.program.state[n] for n in runner.program.writes)}
    root.train(rng.random() < 0.5)
    given = tuple(tensor.clone() for tensor in inputs)
    try:
        runner(root, given, {})
    except TorchkeepError as error:
        return f"refused when called: {type(error).__name__}"
    finally:
        if not torch.is_grad_enabled():
            torch.set_grad_enabled(True)
            raise AssertionError("gradients are still off")
        for name, tensor in root.state_dict().items():
            path, _, last = name.rpartition(".")
            if (path, last) not in written and not _same(tensor, before[name]):
                raise AssertionError(f"{name} was changed, and no program said so")
        root.load_state_dict(before)
    if not all(map(_same, given, inputs)):
        raise AssertionError("an input was changed")
    return "ran"


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and bool(((a == b) | (a.isnan() & b.isnan())).all())


def _child(
    work: Iterator[int], text: bytes, constants: Any, root: nn.Module, inputs: tuple[Any, ...], pipe: int
) -> None:
    def tell(line: str) -> None:
        os.write(pipe, (line.replace("\n", " ")[:800] + "\n").encode())

    size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()  # noqa: SIM115
    resource.setrlimit(resource.RLIMIT_AS, (size + 2 * GIB, size + 2 * GIB))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    torch.manual_seed(0)
    for seed in work:
        tell(f"@{seed}")
        signal.alarm(SECONDS)
        rng = random.Random(seed)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tell(f"+{outcome(mutant(text, rng), constants, root, inputs, rng)}")
        except BaseException as error:
            tell(f"-{seed}: untyped {type(error).__name__}: {error}")
    tell("@end")


def campaign(seed: int, mutants: int) -> tuple[Counter[str], list[str]]:
    """How often each outcome was seen, and the problems."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    root, inputs = Net(), (torch.randn(2, 3, 10),)
    captured, findings = capture_program(root, [inputs, (torch.randn(3, 3, 10),)])
    assert captured is not None, findings
    text = encode(captured.program)
    assert outcome(text, captured.constants, root, inputs, random.Random(0)) == "ran"
    seen: Counter[str] = Counter()
    problems: list[str] = []
    at, end = seed, seed + mutants
    while at < end:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(read)
            try:
                _child(iter(range(at, end)), text, captured.constants, root, inputs, write)
            finally:
                os._exit(0)
        os.close(write)
        with os.fdopen(read, errors="replace") as told:
            last = "start"
            for line in told:
                if line[0] == "@":
                    last = line[1:].strip()
                elif line[0] == "+":
                    seen[line[1:].strip()] += 1
                else:
                    problems.append(line[1:].strip())
        _, status = os.waitpid(pid, 0)
        if last == "end":
            break
        how = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"status {status}"
        problems.append(f"{last}: the process ended with {how}")
        at = int(last) + 1 if last.isdigit() else end
    return seen, problems


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mutants", type=int, default=500)
    options = parser.parse_args()
    seen, problems = campaign(options.seed, options.mutants)
    print(json.dumps({"seen": seen, "problems": problems}))
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
