"""What a file remembers of where it was saved."""

from __future__ import annotations

import platform
import sys
from typing import Any

import torch

from .._version import __version__


def environment() -> dict[str, str]:
    """Versions and platform; nothing that names a person, a path or a moment, so equal saves are equal."""
    return {
        "platform": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "torchkeep": __version__,
    }


def package_of(obj: Any) -> str | None:
    """The installed package that defines a class or function, as ``"name version"``; None for other code."""
    top = str(obj.__module__).partition(".")[0]
    version = getattr(sys.modules.get(top), "__version__", None)
    return f"{top} {version}" if isinstance(version, str) and top != "__main__" else None
