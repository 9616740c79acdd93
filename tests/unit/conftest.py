"""What the tests of several rooms share."""

from __future__ import annotations

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
