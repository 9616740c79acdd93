"""What ten files of the gallery say, written for people: a change of the format shows in a review as a change here.

    PYTHONPATH=tests/interop .venv/bin/python -m gallery.snapshots              renews tests/interop/snapshots
    PYTHONPATH=tests/interop .venv/bin/python -m gallery.snapshots DIRECTORY    writes them there

What differs from machine to machine (versions, the digests of classes) is written as ``*``, and so are the values of
tensors: their names, dtypes and shapes stand under ``tensors``.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

import torchkeep

from .architectures import TABLES, table
from .facts import SEED

CHOSEN = (
    "tied_weights",
    "conv_channels_last",
    "rnn",
    "weight_norm",
    "configured",
    "collected",
    "parent_and_child",
    "extra_state",
    "buffers",
    "functions_as_attributes",
)
"""Small files that have the kinds of node among them: modules, objects, values, sharing, cycles, views, functions."""


def snapshot(path: Path) -> str:
    """The Document of a file and what its header says of the tensors, as JSON with a line for each node."""
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    document = json.loads(header.pop("__metadata__")["torchkeep"])
    document["environment"] = dict.fromkeys(document["environment"], "*")
    for said in document["classes"]:
        said[2:] = [each and "*" for each in said[2:]]
    tensors = {name: [said["dtype"], said["shape"]] for name, said in header.items()}
    return _lines({"document": document, "tensors": tensors}) + "\n"


def _lines(value: Any, depth: int = 0) -> str:
    """JSON with a line for each item of the outer levels."""
    rows = isinstance(value, dict) or (isinstance(value, list) and all(isinstance(each, list) for each in value))
    if not value or depth > 2 or not rows:
        return json.dumps(value)
    pad, end = "\n" + "  " * (depth + 1), "\n" + "  " * depth
    if isinstance(value, dict):
        parts = [f"{json.dumps(key)}: {_lines(item, depth + 1)}" for key, item in value.items()]
        return "{" + pad + f",{pad}".join(parts) + end + "}"
    return "[" + pad + f",{pad}".join(_lines(item, depth + 3) for item in value) + end + "]"


def write(directory: Path) -> None:
    """Write every snapshot into a directory, and remove what is none any more."""
    rows = {name: row for each in TABLES for name, row in table(each).items()}
    directory.mkdir(parents=True, exist_ok=True)
    for stale in directory.glob("*.json"):
        stale.unlink()
    with tempfile.TemporaryDirectory() as scratch:
        for name in CHOSEN:
            torch.manual_seed(SEED)
            path = Path(scratch, f"{name}.safetensors")
            torchkeep.save(rows[name].build(), path)
            (directory / f"{name}.json").write_text(snapshot(path), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "snapshots")
