"""A part of the campaign over changed programs; `make fuzz` runs more. ``program_fuzz.py`` tells how."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the fuzzer forks, and limits itself")


@pytest.mark.slow
def test_every_outcome_has_a_type() -> None:
    mutants = 20_000 if os.environ.get("HYPOTHESIS_PROFILE") == "fuzz" else 600
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("program_fuzz.py")), "--mutants", str(mutants)],
        capture_output=True,
        text=True,
        check=False,
        env=environment | {"OMP_NUM_THREADS": "1"},
    )
    assert done.stdout, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["problems"] == []
    seen = told["seen"]
    assert sum(seen.values()) == mutants
    assert {"ran", "refused: P-1", "refused: P-2", "refused: P-3", "refused: P-4", "refused: P-5"} <= seen.keys()
    assert any(outcome.startswith("refused when called") for outcome in seen)
