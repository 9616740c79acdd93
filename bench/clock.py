"""Time contenders side by side: A B C A B C ..., so that a slow minute of the machine is slow for all of them."""

from __future__ import annotations

import gc
import os
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass
class Contest:
    """Ways to do one thing.

    Attributes:
        title: what is done.
        ways: by the name that is printed; torchkeep's first.
        before: run before each turn, untimed.
        tensors: for a load, the tensors of what it returned; every byte of them is then read, and timed too.
        writes: whether every byte is written instead, as an optimizer would.
        note: what a reader should know.
    """

    title: str
    ways: dict[str, Callable[[], Any]]
    before: Callable[[], None] = lambda: None
    tensors: Callable[[Any], Iterable[torch.Tensor]] | None = None
    writes: bool = False
    note: str = ""
    _scratch: torch.Tensor | None = None

    def turn(self, way: str) -> Turn:
        self.before()
        gc.collect()
        start = time.perf_counter()
        result = self.ways[way]()
        done = time.perf_counter()
        if self.tensors is None:
            return Turn(done - start)
        found = [tensor.detach().reshape(-1) for tensor in self.tensors(result)]
        if self._scratch is None:
            self._scratch = torch.ones(sum(tensor.numel() for tensor in found), dtype=found[0].dtype)
        touching = time.perf_counter()
        if self.writes:
            torch._foreach_mul_(found, 2.0)
        else:
            torch.cat(found, out=self._scratch)
        return Turn(done - start, time.perf_counter() - touching)


@dataclass(frozen=True)
class Turn:
    """Seconds that one call took, and seconds that reading every byte of its result took."""

    call_s: float
    touch_s: float = 0.0

    @property
    def whole_s(self) -> float:
        return self.call_s + self.touch_s


@dataclass
class Times:
    """What the turns of one way took: in a process that is warm, and as the first of a fresh one."""

    turns: list[Turn]
    first: list[Turn] = field(default_factory=list)

    @property
    def median_s(self) -> float:
        return statistics.median(turn.call_s for turn in self.turns)

    @property
    def whole_s(self) -> float:
        return statistics.median(turn.whole_s for turn in self.turns)

    @property
    def first_s(self) -> float:
        return statistics.median(turn.whole_s for turn in self.first)

    @property
    def spread_s(self) -> tuple[float, float]:
        return min(turn.call_s for turn in self.turns), max(turn.call_s for turn in self.turns)


def steady(contest: Contest, *, rounds: int) -> dict[str, list[Turn]]:
    """One round to warm up, which is dropped, and then `rounds` rounds."""
    taken: dict[str, list[Turn]] = {way: [] for way in contest.ways}
    for number in range(rounds + 1):
        for way, turns in taken.items():
            turn = contest.turn(way)
            if number:
                turns.append(turn)
    return taken


def settle() -> None:
    """Let no writer pay for what another left to be written."""
    if hasattr(os, "sync"):
        os.sync()
