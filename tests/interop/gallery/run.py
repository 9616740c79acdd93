"""One side of the gallery, in a process of its own.

    python -m gallery.run save DIRECTORY TABLE    builds every row, saves it, and writes down what it is
    python -m gallery.run load DIRECTORY TABLE    loads every row and writes down the same

The loading process builds nothing. What goes wrong with a row is written down for that row.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
import traceback
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

import torchkeep

from .architecture import Architecture
from .architectures import table
from .facts import SEED, facts_of, structure_of


def save(row: Architecture, path: Path) -> dict[str, Any]:
    """Save a model that has been used once, as models are, and tell what it is."""
    torch.manual_seed(SEED)
    model = row.build()
    with torch.no_grad():
        model(*row.inputs(), **row.kwargs())
    report = torchkeep.save(model, path)
    told = {"file": _digest(path)} | _noticed(report.findings)
    return told | facts_of(model, row)


def load(row: Architecture, path: Path) -> dict[str, Any]:
    """Load a model as it was saved, save it again, and tell what it is. Loaded plainly, it is in eval mode."""
    for name in row.imports:
        importlib.import_module(name)
    allow = {"hooks"} if row.rehook else set()
    plain = torchkeep.load(path, trust=row.trust, allow=allow)
    model = torchkeep.load(path, trust=row.trust, allow=allow, mode="saved")
    if row.rehook:
        row.rehook(model)
    again = torchkeep.save(model, path.with_suffix(".again.safetensors"))
    told: dict[str, Any] = {
        "file": _digest(Path(again.path)),
        "plainly in eval": not any(module.training for module in plain.modules()),
        "plainly the same": structure_of(plain.train())["tensors"] == structure_of(model)["tensors"],
    }
    return told | _noticed(torchkeep.report_of(model).findings) | facts_of(model, row)


def _noticed(findings: Iterable[Any]) -> dict[str, Any]:
    told = [str(finding) for finding in findings if finding.code != "hooks"]
    return {"noticed": told, "hooks": any(finding.code == "hooks" for finding in findings)}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main(side: str, directory: str, name: str) -> None:
    told = {}
    for label, row in table(name).items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the packages
            warnings.simplefilter("ignore" if row.rehook else "error", torchkeep.TorchkeepWarning)
            try:
                told[label] = {"save": save, "load": load}[side](row, Path(directory, f"{label}.safetensors"))
            except Exception:
                told[label] = {"raised": traceback.format_exc(limit=-4)}
    Path(directory, f"{name}.{side}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
