"""The demonstration runs, and its last table says what the library promises."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

DEMO = Path(__file__).resolve().parents[2] / "demo" / "two_ways.py"
CASES = ("(a) same", "(b) moved", "(c) renamed", "(d) gained")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> str:
    done = subprocess.run(
        [sys.executable, str(DEMO)],
        cwd=tmp_path_factory.mktemp("demo"),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def trained(told: str) -> str:
    found = re.search(r"^trained accuracy: ([\d.]+) %$", told, re.MULTILINE)
    assert found
    return found[1]


def row(told: str, heading: str, label: str) -> list[str]:
    """The cells of a row of the last table."""
    table = told.partition("Side by side")[2].partition(heading)[2]
    found = re.search(rf"^ +{re.escape(label)} {{2,}}(.+)$", table, re.MULTILINE)
    assert found, label
    return re.split(r" {2,}", found[1].strip())


def test_the_model_learned(told: str) -> None:
    assert float(trained(told)) > 95


def test_torchkeep_gives_the_trained_accuracy_in_every_case(told: str) -> None:
    accuracy = trained(told)
    assert row(told, "mended as shown", "torchkeep.save(model)") == [f"{accuracy} / {accuracy}"] * len(CASES)


def test_torchkeep_loads_at_the_first_try_or_says_why_not(told: str) -> None:
    accuracy = trained(told)
    first = row(told, "the first try", "torchkeep.save(model)")
    assert first == [f"{accuracy} / {accuracy}", "error", "error", "error"]
    assert "TrustError: [TK-TRUST]" in told
    assert "nets:Net.__init__ now assigns pixel_max, which the file does not have" in told


def test_the_other_ways_are_shown_at_their_best(told: str) -> None:
    for way in ("torch.save(model.state_dict())", "torch.save(model)"):
        for cell in row(told, "mended as shown", way):
            forgotten, called = map(float, cell.split(" / "))
            assert called == float(trained(told))
            assert forgotten < called


def test_it_fits_a_terminal_and_names_no_folder_of_this_machine(told: str) -> None:
    assert all(len(line) <= 100 for line in told.splitlines())
    assert all(case in told for case in CASES)
    assert str(DEMO.parents[1]) not in told
    assert "\x1b" not in told


def test_every_size_is_a_number(told: str) -> None:
    sizes = re.findall(r"(weights\.pt|model\.pt|model\.safetensors) +([\d,]+) bytes", told)
    assert [name for name, _ in sizes] == ["weights.pt", "model.pt", "model.safetensors"]
    assert all(int(size.replace(",", "")) > 0 for _, size in sizes)
