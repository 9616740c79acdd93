"""Every architecture of the gallery: saved in one process, loaded in another, and compared bit for bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
TABLES = {"of_torch": 45, "of_ours": 41, "of_transformers": 28, "of_packages": 13}
"""The tables of the gallery, and how many rows each has at least: a row that fails is not taken out."""

SAME = (
    "modules",
    "repr",
    "state_dict",
    "requires_grad",
    "tensors",
    "outputs in eval",
    "outputs in training",
    "gradients",
    "tensors after a step",
    "randomness after all",
)


def run(side: str, directory: Path, table: str) -> dict[str, Any]:
    path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "gallery.run", side, directory, table],
        env=os.environ | {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads((directory / f"{table}.{side}.json").read_text())
    return told


def differences(saved: dict[str, Any], loaded: dict[str, Any]) -> list[str]:
    """What of a model did not come back as it was, in a few words each."""
    if raised := saved.get("raised") or loaded.get("raised"):
        return [raised]
    found = [
        f"{what}: {_first(saved.get(what), loaded.get(what))}" for what in SAME if saved.get(what) != loaded.get(what)
    ]
    if saved["outputs in eval"] == []:
        found.append("no outputs")
    if not loaded["plainly in eval"] or not loaded["plainly the same"]:
        found.append("loaded without mode=, it is not the same in eval mode")
    if saved["file"] != loaded["file"]:
        found.append("saved again, it is another file")
    if saved["hooks"] != loaded["hooks"]:
        found.append(f"had hooks: {saved['hooks']}; lost hooks: {loaded['hooks']}")
    if noticed := saved["noticed"] + loaded["noticed"]:
        found.append(f"noticed: {noticed}")
    return found


def _first(saved: Any, loaded: Any) -> str:
    """The first place where two tellings differ."""
    if isinstance(saved, dict) and isinstance(loaded, dict):
        names = [name for name in {**saved, **loaded} if saved.get(name) != loaded.get(name)]
        return f"{names[0]}: {saved.get(names[0])} came back as {loaded.get(names[0])}" if names else "in another order"
    if isinstance(saved, list) and isinstance(loaded, list) and len(saved) == len(loaded):
        return next(f"{a} came back as {b}" for a, b in zip(saved, loaded, strict=True) if a != b)
    return f"{saved} came back as {loaded}"


@pytest.mark.slow
@pytest.mark.parametrize("table", TABLES)
def test_it_comes_back_bit_for_bit(table: str, tmp_path: Path) -> None:
    saved, loaded = run("save", tmp_path, table), run("load", tmp_path, table)
    assert list(saved) == list(loaded)
    assert len(saved) >= TABLES[table]
    wrong = {label: differences(told, loaded[label]) for label, told in saved.items()}
    lines = [f"{label}: {text}" for label, texts in wrong.items() for text in texts]
    assert not lines, "\n".join(lines)
    for label, told in saved.items():  # and whatever were not the same would have been seen
        assert all(differences(told, loaded[label] | {what: "other"}) for what in SAME)
