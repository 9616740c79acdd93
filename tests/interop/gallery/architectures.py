"""The gallery: every architecture that torchkeep must save and give back whole.

The list was there before the test that holds torchkeep to it. A new row is welcome; a row that fails is a fault
of torchkeep until shown otherwise, and stays.
"""

from __future__ import annotations

import importlib

from .architecture import Architecture, Table

TABLES = ("of_torch", "of_ours", "of_transformers", "of_packages")
"""Modules beside this one, each with a table of its own; importing one imports no package that its rows use."""


def table(name: str) -> dict[str, Architecture]:
    """The rows of one table, in order."""
    found: Table = importlib.import_module(f".{name}", __package__).TABLE
    return found.rows
