"""The Documents of ten files are what they were, or their change is in the same commit as its cause."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
RENEW = "PYTHONPATH=tests/interop .venv/bin/python -m gallery.snapshots"


def test_documents_are_as_they_were(tmp_path: Path) -> None:
    path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "gallery.snapshots", str(tmp_path)]
    subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, check=True, timeout=120)
    kept, made = (
        {each.name: each.read_text("utf-8") for each in at.iterdir()} for at in (HERE / "snapshots", tmp_path)
    )
    assert len(kept) == 10
    assert kept.keys() == made.keys()
    for name, text in made.items():
        assert text.splitlines() == kept[name].splitlines(), f"{name} has changed; if that is meant, run {RENEW}"


def _texts(directory: Path) -> dict[str, str]:
    return {each.name: each.read_text("utf-8") for each in directory.iterdir()}
