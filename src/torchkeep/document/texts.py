"""The source text of modules that a Document keeps, and what must hold of it (clause D-10).

It is text here. Whether any of it ever runs is for the caller of `load` to say, and for `values.private` to do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from ..errors import FormatError, LimitError, brief
from ..limits import Limits

MAIN = "__main__"


class SourceText(msgspec.Struct, frozen=True):
    """The text of one module.

    Attributes:
        package: the package that its relative imports start from: its own name where it is a package, else what
            stands before the last dot of it; of a script, whatever it was run in.
        text: the text, its lines parted by line feeds.
    """

    package: str
    text: str


def check_texts(sources: Mapping[str, SourceText], limits: Limits) -> None:
    """D-10: modules have names that an import can write, and each fits the package that it says it is in.

    Raises:
        FormatError: the clause does not hold.
        LimitError: more modules, longer names or more text than `limits` allow.
    """
    if len(sources) > limits.source_modules:
        raise LimitError(f"the text of {len(sources)} modules; the limit is {limits.source_modules}")
    for name, source in sources.items():
        if max(len(name), len(source.package)) > limits.source_name:
            raise LimitError(f"a module's name of {len(name)} characters; the limit is {limits.source_name}")
        if not is_module_name(name):
            raise FormatError(f"{brief(name)} is not the name of a module", clause="D-10")
        if not _fits(name, source.package):
            raise FormatError(f"the module {name!r} says it is in the package {brief(source.package)}", clause="D-10")
        above = name.rpartition(".")[0]
        if above in sources and sources[above].package != above:
            raise FormatError(f"{name!r} lies in {above!r}, which is no package", clause="D-10")
        if "\0" in source.text:
            raise FormatError(f"the text of the module {name!r} holds a NUL", clause="D-10")
    nbytes = sum(len(source.text.encode()) for source in sources.values())
    if nbytes > limits.source_nbytes:
        raise LimitError(f"{nbytes} bytes of source text; the limit is {limits.source_nbytes}")


def _fits(name: str, package: str) -> bool:
    if name == MAIN:
        return not package or is_module_name(package)
    return package in (name, name.rpartition(".")[0])


def is_module_name(name: str) -> bool:
    """Whether an import statement can write it: ASCII identifiers with dots between, none of them a keyword."""
    return _NAME.fullmatch(name) is not None and _KEYWORDS.isdisjoint(name.split("."))


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")

_KEYWORDS = frozenset(
    {"False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue", "def", "del"}
    | {"elif", "else", "except", "finally", "for", "from", "global", "if", "import", "in", "is", "lambda", "nonlocal"}
    | {"not", "or", "pass", "raise", "return", "try", "while", "with", "yield"}
)
"""Spelled out, so that a file is the same file to every Python."""
