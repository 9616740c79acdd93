"""What stands in for an object whose class is not opened: its state to look at, none of its behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import torch

from ..errors import brief_text


class Record:
    """State of an object whose class nobody named: attributes to read, and no behaviour.

    `torchkeep.load` gives one for a plain object whose class the caller did not open.
    """

    def __init__(self, class_name: str, attributes: Mapping[str, Any]) -> None:
        vars(self).update(attributes)
        vars(self)["(class)"] = class_name  # no attribute of a file can have this name: it is no identifier

    def __repr__(self) -> str:
        names = ", ".join(name for name in vars(self) if name != "(class)")
        return f"<Record of {brief_text(vars(self)['(class)'])}: {brief_text(names)}>"


class Skeleton(torch.nn.Module):
    """A module without its class: children, parameters, buffers and attributes, and no computation.

    `torchkeep.load(path, route="skeleton")` gives one for each module whose class is not opened.
    """

    def forward(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Say why it cannot run.

        Raises:
            RuntimeError: always.
        """
        name = brief_text(vars(self)["(class)"])
        raise RuntimeError(
            f"this is the skeleton of a {name}: its weights and attributes without its class, so "
            "it cannot compute. Load the file with classes={...} to run it, or use torchkeep.load_into to "
            "bring these weights into a model that you build."
        )

    def extra_repr(self) -> str:
        """The class that it stands for, in the tree that `print` shows."""
        return f"of {brief_text(vars(self)['(class)'])}"
