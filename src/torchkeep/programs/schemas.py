"""The text of an operator's schema, taken apart, and two of them compared.

Only as much as the checks of a program ask for: names, types, defaults, and which memory is shared. The text is the
table's or torch's own; one from a file is compared, and nothing else is done with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

_ALIAS = re.compile(r"\((\w+)(!?)(?: -> (?:\*|\w+))?\)")
_LONGEST = 4000
"""Characters of a schema: torch's longest has 800."""


class Argument(NamedTuple):
    """An argument of an operator.

    Attributes:
        name: as it is given by keyword.
        type: without marks for memory, such as ``Tensor?`` or ``int[2]``. ``SymInt`` is written ``int``.
        default: as text; None where it has none.
        alias: the mark of the memory that it shares with a result, such as ``a``, or ``""``.
        written: whether it is written in place.
        keyword: whether it can only be given by keyword.
    """

    name: str
    type: str
    default: str | None
    alias: str
    written: bool
    keyword: bool


class Schema(NamedTuple):
    """A schema in its parts."""

    name: str
    arguments: tuple[Argument, ...]
    results: str
    views: frozenset[str]
    """Marks of memory that results share without writing it."""


def parse(text: str) -> Schema | None:
    """The parts of a schema; None where the text is none."""
    if len(text) > _LONGEST or not text.isascii() or not text.isprintable():
        return None
    name, paren, rest = text.partition("(")
    inside, arrow, results = rest.rpartition(") -> ")
    if not (paren and arrow and re.fullmatch(r"\w+::\w+(\.\w+)?", name)):
        return None
    arguments: list[Argument] = []
    keyword = False
    for part in _parts(inside):
        if part == "*":
            keyword = True
            continue
        head, equals, default = part.partition("=")
        found = re.fullmatch(r"(.+) (\w+)", head)
        if not found:
            return None
        alias = _ALIAS.search(found[1])
        arguments.append(
            Argument(
                name=found[2],
                type=_ALIAS.sub("", found[1]).replace("SymInt", "int"),
                default=default if equals else None,
                alias=alias[1] if alias else "",
                written=bool(alias and alias[2]),
                keyword=keyword,
            )
        )
    views = {mark for mark, wrote in _ALIAS.findall(results) if not wrote}
    if "-> *)" in inside:  # a list whose members are the memory of the results
        views |= {argument.alias for argument in arguments if argument.alias and not argument.written}
    return Schema(name, tuple(arguments), results.replace("SymInt", "int"), frozenset(views))


def _parts(text: str) -> list[str]:
    """What stands between the commas of a list of arguments, but for those within brackets or quotes."""
    parts, depth, start, quoted = [], 0, 0, False
    for at, character in enumerate(text):
        if character in "\"'":
            quoted = not quoted
        elif not quoted and character in "([":
            depth += 1
        elif not quoted and character in ")]":
            depth -= 1
        elif not quoted and character == "," and depth == 0:
            parts.append(text[start:at].strip())
            start = at + 1
    tail = text[start:].strip()
    return [*parts, tail] if tail else parts


def grew(old: str, new: str) -> bool:
    """Whether whatever the old schema takes, the new one takes with the same meaning.

    That is so where the new one only has more arguments: positional ones behind all of the old, or such that are
    given by keyword, each with a default. Whether a size may vary (``SymInt``) makes no difference.
    """
    if old == new:
        return True
    before, after = parse(old), parse(new)
    if before is None or after is None or (before.name, before.results) != (after.name, after.results):
        return False
    placed, still = ([one for one in schema.arguments if not one.keyword] for schema in (before, after))
    named, today = ({one.name: one for one in schema.arguments if one.keyword} for schema in (before, after))
    more = [*still[len(placed) :], *(one for name, one in today.items() if name not in named)]
    return (
        still[: len(placed)] == placed
        and all(today.get(name) == one for name, one in named.items())
        and all(one.default is not None for one in more)
    )


def bound(schema: Schema, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by name, as far as they were given."""
    return {**dict(zip((one.name for one in schema.arguments), args, strict=False)), **kwargs}
