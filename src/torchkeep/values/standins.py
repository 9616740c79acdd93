"""What stands in for an object whose class is not opened: its state to look at, none of its behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

import torch

from ..document import ClassInfo
from ..errors import brief, brief_text


class Record:
    """State of an object whose class nobody named: attributes to read, and no behaviour.

    `torchkeep.load` gives one for a plain object, an enum or a namedtuple whose class the caller did not open. `save`
    keeps such a one as what it stands for, so that a checkpoint may be loaded and saved again without its classes.
    """

    def __init__(
        self, class_name: str, attributes: Mapping[str, Any], *, kind: str = "", info: ClassInfo | None = None
    ) -> None:
        vars(self).update(attributes)
        vars(self)["(class)"] = class_name  # no attribute of a file can have this name: it is no identifier
        vars(self)["(origin)"] = kind, info, tuple(attributes)

    def __repr__(self) -> str:
        held = [f"{name}={_short(value)}" for name, value in vars(self).items() if name not in OWN_NAMES]
        return f"<Record of {brief_text(vars(self)['(class)'])}: {brief_text(', '.join(held))}>"


RUNNER = "(program)"
"""Where a `ProgramModule` keeps what computes for it."""

OWN_NAMES = frozenset({"(class)", "(origin)", RUNNER})
"""Where a Record or a Skeleton keeps what it stands for; no attribute of a file can have these names.

Its class; and of a Record its kind, what the file knew of the class, and its fields; of a Skeleton an `Origin`.
"""


class Origin(NamedTuple):
    """What a file says of a module beside what a Skeleton has: it is saved again with it.

    Attributes:
        info: what the file knew of the class.
        fields: the fields that need the class.
        whole: whether that is all; a module whose attributes torch's hooks compute, or that is lazy, has more.
    """

    info: ClassInfo | None
    fields: dict[str, Any]
    whole: bool


def _short(value: Any) -> str:
    """A scalar, or what else there is."""
    return brief(value, length=40) if type(value) in (str, bytes, int, float, bool, complex, type(None)) else "..."


class Skeleton(torch.nn.Module):
    """A module without its class: children, parameters, buffers and attributes, and no computation.

    `torchkeep.load(path, route="skeleton")` gives one for each module whose class is not opened. `save` keeps it as the
    module that it stands for.
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
