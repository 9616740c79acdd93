"""Hostile files against every verb: nothing runs, nothing crashes, nothing hangs, every error is typed.

The cases are in ``cases_*.py``, by family; ``run.py`` opens each file in a fork of one watched process.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the watched process forks, and limits itself")


def _names() -> list[str]:
    listing = "import glob, importlib, os, sys\nfor n in sorted(glob.glob(os.path.join(sys.path[0], 'cases_*.py'))):\n"
    listing += "    print(*importlib.import_module(os.path.basename(n)[:-3]).CASES, sep='\\n')"
    environment = os.environ | {"PYTHONPATH": str(HERE)}
    command = [sys.executable, "-c", f"import sys\nsys.path[0] = {str(HERE)!r}\n{listing}"]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.split()


@pytest.fixture(scope="session")
def machine() -> Iterator[subprocess.Popen[str]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    command = [sys.executable, str(HERE / "run.py")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment | {"OMP_NUM_THREADS": "1"}
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield process
        process.stdin.close()


@pytest.mark.parametrize("name", _names())
def test_nothing_happens(machine: subprocess.Popen[str], name: str) -> None:
    assert re.fullmatch(r"\S+", name)
    assert machine.stdin
    assert machine.stdout
    machine.stdin.write(name + "\n")
    machine.stdin.flush()
    assert json.loads(machine.stdout.readline()) == []
