"""The demonstration runs, and its last table says what the library promises."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).resolve().parents[2] / "demo" / "two_ways.py"
CASES = ["(a) same", "(b) moved", "(c) renamed", "(d) gained", "(e) deleted"]
FILES = ["weights.pt", "model.pt", "model.safetensors", "program.safetensors"]


def _row(told: str, heading: str, label: str) -> list[str]:
    """The cells of a row of the last table."""
    table = told.partition("Side by side")[2].partition(heading)[2]
    found = re.search(rf"^ *{re.escape(label)} {{2,}}(.+)$", table, re.MULTILINE)
    assert found, label
    return re.split(r" {2,}", found[1].strip())


@pytest.mark.slow
def test_the_story_holds(tmp_path: Path) -> None:  # one test: with several, each worker would run the demo
    done = subprocess.run(
        [sys.executable, str(DEMO)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=600,
    )
    told = done.stdout
    assert done.returncode == 0, told + done.stderr

    found = re.search(r"^trained accuracy: ([\d.]+) %$", told, re.MULTILINE)
    assert found
    accuracy = found[1]
    assert float(accuracy) > 95

    assert _row(told, "forgotten / called", "the first try") == CASES
    first = _row(told, "the first try", "torchkeep.save(model)")
    assert first == [f"{accuracy} / {accuracy}", "error", "error", "error", "error"]
    by_program = _row(told, "the first try", "torchkeep.save(model, example=(x,))")
    assert by_program == [f"{accuracy} / {accuracy}"] * len(CASES)
    mended = _row(told, "mended as shown", "torchkeep.save(model)")
    assert mended == [f"{accuracy} / {accuracy}"] * 4 + ["error"]
    for way in ("torch.save(model.state_dict())", "torch.save(model)"):  # the others, at their best
        *cells, deleted = _row(told, "mended as shown", way)
        assert deleted == "error"
        for cell in cells:
            forgotten, called = map(float, cell.split(" / "))
            assert called == float(accuracy)
            assert forgotten < called

    assert "TrustError: [TK-TRUST]" in told
    assert "nets:Net.__init__ now assigns pixel_max, which the file does not have" in told
    sizes = re.findall(rf"({'|'.join(map(re.escape, FILES))}) +([\d,]+) bytes", told)
    assert [name for name, _ in sizes] == FILES
    assert all(int(nbytes.replace(",", "")) > 0 for _, nbytes in sizes)
    assert all(len(line) <= 100 for line in told.splitlines())
    assert "\x1b" not in told
    assert str(DEMO.parents[1]) not in told
