"""Two lists of calls side by side."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from difflib import SequenceMatcher


def aligned(a: Sequence[Hashable], b: Sequence[Hashable]) -> Iterator[tuple[int | None, int | None]]:
    """Positions in either list, in order: together where the same stands there, or one alone.

    What both begin and end with is taken off first: comparing the rest takes a time that grows with its square.
    """
    shorter = min(len(a), len(b))
    start = next((i for i in range(shorter) if a[i] != b[i]), shorter)
    end = next((i for i in range(shorter - start) if a[-1 - i] != b[-1 - i]), shorter - start)
    yield from ((i, i) for i in range(start))
    middle = SequenceMatcher(None, a[start : len(a) - end], b[start : len(b) - end], autojunk=False)
    for tag, i, i_end, j, j_end in middle.get_opcodes():
        if tag == "equal":
            yield from ((start + i + k, start + j + k) for k in range(i_end - i))
        else:
            yield from ((start + k, None) for k in range(i, i_end))
            yield from ((None, start + k) for k in range(j, j_end))
    yield from ((len(a) - end + i, len(b) - end + i) for i in range(end))
