"""What the processes of the demonstration share: the digits, and how a model is measured on them."""

from __future__ import annotations

import copy
import hashlib
from typing import Any

import torch

BATCH = 4


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """The handwritten digits that scikit-learn ships, 8 x 8 pixels of 0 to 16, always in the same mixed order."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    pixels = torch.tensor(images, dtype=torch.float32).view(-1, 1, 8, 8)
    return pixels[order], torch.tensor(labels)[order]


def measure(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> dict[str, Any]:
    """How many digits a model reads right: as it is, and after `eval()`, each on a copy of its own."""
    torch.manual_seed(0)
    as_loaded, _ = _read(copy.deepcopy(model), images, labels)
    after_eval, outputs = _read(copy.deepcopy(model).eval(), images, labels)
    bits = hashlib.sha256(outputs.numpy().tobytes()).hexdigest()
    return {"as_loaded": as_loaded, "after_eval": after_eval, "outputs": bits}


@torch.no_grad()
def _read(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> tuple[int, torch.Tensor]:
    outputs = torch.cat([model(batch) for batch in images.split(BATCH)])
    return int((outputs.argmax(1) == labels).sum()), outputs
