"""The types that users see: a program of theirs under ``mypy --strict``, with the mistakes that it has to find."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import torchkeep

pytest.importorskip("mypy")

PROGRAM = """
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torchkeep
from torchkeep import plugins, testing

model = torch.nn.Linear(2, 2)
report: torchkeep.SaveReport = torchkeep.save(model, Path("a.safetensors"), durable=False, allow=["unsaveable"])
size: int = report.nbytes
torchkeep.save(model, b"a")  # E: arg-type
torchkeep.save(model, "a", progress=lambda done, whole: print(done / whole))
torchkeep.save(model, "a", progress=len)  # E: arg-type
torchkeep.save(model, "a", durable="yes")  # E: arg-type
torchkeep.save(model, "a", False)  # E: call-arg
torchkeep.save(model, "a", example=torchkeep.Example(torch.ones(1), mask=None), dynamic_shapes="batch")

loaded: torch.nn.Linear = torchkeep.load("a", device="cpu", dtype=torch.float16, mode="eval", key=("model", 0))
torchkeep.load("a", mode="evaluate")  # E: arg-type
torchkeep.load("a", route="programme")  # E: arg-type
torchkeep.load("a", classes={"old:Net": torch.nn.Linear}, trust=("pkg",), map_location=torch.device("cpu"))
torchkeep.load("a", key=3.5)  # E: arg-type

missing, unexpected = torchkeep.load_into(model, "a", strict=False, rename=[("old", "new")])
names: list[str] = missing
torchkeep.load_into(model, "a", rename=lambda name: name.removeprefix("m."), verify="first")
torchkeep.load_into(model, "a", verify="last")  # E: arg-type
coverage: float = torchkeep.load_into(model, "a").coverage

told: torchkeep.FileReport = torchkeep.inspect("a")
shapes: list[tuple[int, ...]] = [tensor.shape for tensor in told.tensors]
roles: set[str] = {need.role for need in told.needs}
told.kind = "b"  # E: misc
how: str = torchkeep.report_of(loaded).route


def add_scale(state: torchkeep.ModuleState) -> None:
    state.attributes["scale"] = 1.0
    state.parameters["w"] = 3  # E: assignment


torchkeep.register(torch.nn.Linear, aliases=["old:Linear"], version=2, migrations={1: add_scale})
torchkeep.register(torch.nn.Linear, migrations={"1": add_scale})  # E: dict-item
torchkeep.register(model)  # E: arg-type


class Npy:
    kind = "npy"

    def probe(self, head: bytes) -> bool:
        return head.startswith(b"NUMPY")

    def read(self, source: plugins.Source, limits: plugins.Limits) -> plugins.Contents:
        span = plugins.Span(0, source.nbytes)
        document = plugins.of_tensors(["a"], ["float32"], [(1,)])
        return plugins.Contents(document, plugins.Placement([span]))


class Half:
    kind = "half"

    def probe(self, head: bytes) -> bool:
        return True


torchkeep.register_container(Npy())
torchkeep.register_container(Half())  # E: arg-type


class Reading:
    nbytes = 1

    def read_into(self, buffers: Sequence[memoryview], offset: int) -> int:
        return 0

    def close(self) -> None: ...


class Writing:
    def write(self, buffers: Sequence[memoryview], offset: int) -> int:
        return 0

    def commit(self) -> None: ...
    def discard(self) -> None: ...


class Place:
    def open(self, name: str) -> Reading:
        return Reading()

    def stage(self, name: str, *, nbytes: int, durable: bool, overwrite: bool) -> Writing:
        return Writing()


class Other(Place):
    def open(self, name: str) -> Any:
        return None


class NoWriting:
    def open(self, name: str) -> Reading:
        return Reading()

    def stage(self, name: str, *, nbytes: int, durable: bool, overwrite: bool) -> Reading:
        return Reading()


torchkeep.register_storage("place", Place())
torchkeep.register_storage("place", NoWriting())  # E: arg-type
memory: plugins.Storage = testing.MemoryStorage()


class TestPlace(testing.StorageSuite):
    scheme = "place"

    def make_storage(self) -> plugins.Storage:
        return Place()


class TestNpy(testing.ContainerSuite):
    def make_container(self) -> str:  # E: override
        return "npy"


try:
    torchkeep.load("a")
except torchkeep.BindError as error:
    print(error.code, error.message)
except torchkeep.PathError as error:
    print(error.errno, error.filename)
except torchkeep.PartialLoadError as error:
    first: str = error.overwritten[0]
"""


@pytest.mark.slow
def test_a_program_of_a_user(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    source = Path(torchkeep.__file__).parents[1]
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context", str(program)],
        env=os.environ | {"MYPYPATH": str(source), "MYPY_FORCE_COLOR": "0"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.findall(r"program\.py:(\d+): error: .*\[([a-z-]+)\]$", run.stdout, re.MULTILINE)
    lines = enumerate(PROGRAM.split("\n"), 1)
    due = [(str(number), mark[1]) for number, line in lines if (mark := re.search(r"# E: ([a-z-]+)$", line))]
    assert found == due, run.stdout + run.stderr
    assert all("program.py" in line for line in run.stdout.splitlines()), run.stdout
