"""What the tests of several rooms share."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import torchkeep

Saved = Callable[[Any], Path]


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    """Saves an object and gives the path."""

    def save(obj: Any) -> Path:
        path = tmp_path / "saved.safetensors"
        torchkeep.save(obj, path, durable=False)
        return path

    return save


ByProgram = Callable[..., Any]


@pytest.fixture
def by_program(tmp_path: Path) -> ByProgram:
    """Saves a module with an example and loads it by its program; what is noticed is in its report."""

    def through_a_file(module: Any, example: Any, dynamic_shapes: Any = None, **options: Any) -> Any:
        path = tmp_path / "program.safetensors"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", torchkeep.TorchkeepWarning)
            report = torchkeep.save(module, path, example=example, dynamic_shapes=dynamic_shapes, durable=False)
            loaded = torchkeep.load(path, route="program", **options)
        vars(loaded)["noticed"] = [str(finding) for finding in report.findings]
        return loaded

    return through_a_file
