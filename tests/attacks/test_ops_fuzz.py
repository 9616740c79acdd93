"""Operators of the closed list on hostile arguments: a bounded part of the campaign, and what indexes may not reach.

`make fuzz` runs the whole campaign; ``ops_fuzz.py`` tells how.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the fuzzer forks, and limits itself")


def _run(*arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run(
        [sys.executable, str(HERE / "ops_fuzz.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_no_operator_ends_the_process() -> None:
    """A few calls of each; the numbers of calls depend on the machine, and their arguments do not."""
    told = _run("--seed", "1", "--cases", "4", "--workers", "2")
    counts = re.search(r"(\d+) operators, seed 1: (\d+) calls ran, (\d+) raised, (\d+) were refused", told)
    assert counts
    operators, ran, raised, refused = map(int, counts.groups())
    assert operators > 500
    assert ran + raised + refused == 4 * operators
    assert min(ran, raised, refused) > operators // 50


REACH = """
import sys
sys.path.insert(0, sys.argv[1])
import torch
import ops_fuzz
from torchkeep.errors import ProgramError
from torchkeep.programs.guards import guard_of
from torchkeep.programs.ops import OPS

slots = ops_fuzz.Slots(8)


def near(tensor):
    return slots.put(tensor, at_end=True)


def x(*shape):
    return near(torch.rand(shape))


FAR = (1, 3, 4, 5, -4, -5, 99, 4095, 1 << 20, -(1 << 20), 2**31 - 1, 2**31, -(2**31), 2**40, 2**62, 2**63 - 1, -(2**63))


def ints(far, *shape, dtype=torch.int64):
    made = torch.ones(shape, dtype=dtype)
    made.view(-1)[-1] = far
    return near(made)


CALLS = {
    "aten.gather.default": lambda i: (x(4, 4), 0, ints(i, 4, 4)),
    "aten.index_select.default": lambda i: (x(4, 4), 1, ints(i, 4)),
    "aten.embedding.default": lambda i: (x(4, 3), ints(i, 5)),
    "aten.embedding_bag.default": lambda i: (x(4, 3), ints(i, 6), near(torch.tensor([0, 2]))),
    "aten.embedding_bag.padding_idx": lambda i: (x(4, 3), ints(1, 6), near(torch.tensor([0, i])), False, 0, False, None,
                                                 True, None),
    "aten.embedding_renorm_.default": lambda i: (x(4, 3), ints(i, 5), 1.0, 2.0),
    "aten.take.default": lambda i: (x(4), ints(i, 5)),
    "aten.take_along_dim.default": lambda i: (x(4, 4), ints(i, 4, 4), 0),
    "aten.put_.default": lambda i: (x(4), ints(i, 5), x(5)),
    "aten.index.Tensor": lambda i: (x(4, 4), [ints(i, 3)]),
    "aten.index_put_.default": lambda i: (x(4, 4), [ints(i, 3)], x(4)),
    "aten.index_add_.default": lambda i: (x(4, 4), 0, ints(i, 4), x(4, 4)),
    "aten.index_copy_.default": lambda i: (x(4, 4), 0, ints(i, 4), x(4, 4)),
    "aten.index_fill_.int_Scalar": lambda i: (x(4, 4), 0, ints(i, 4), 1.0),
    "aten.index_reduce_.default": lambda i: (x(4, 4), 0, ints(i, 4), x(4, 4), "amax"),
    "aten.scatter_.src": lambda i: (x(4, 4), 0, ints(i, 4, 4), x(4, 4)),
    "aten.scatter_.value": lambda i: (x(4, 4), 1, ints(i, 4, 4), 1.0),
    "aten.scatter_add_.default": lambda i: (x(4, 4), 0, ints(i, 4, 4), x(4, 4)),
    "aten.scatter_reduce_.two": lambda i: (x(4, 4), 0, ints(i, 4, 4), x(4, 4), "mean"),
    "aten.max_unpool2d.default": lambda i: (x(1, 1, 2, 2), ints(i, 1, 1, 2, 2), [1, 3]),
    "aten.max_unpool3d.default": lambda i: (x(1, 1, 1, 2, 2), ints(i, 1, 1, 1, 2, 2), [1, 1, 3], [1, 1, 1], [0, 0, 0]),
    "aten.nll_loss.default": lambda i: (x(5, 4), ints(i, 5)),
    "aten.nll_loss2d.default": lambda i: (x(1, 4, 3, 3), ints(i, 1, 3, 3)),
    "aten.cross_entropy_loss.default": lambda i: (x(5, 4), ints(i, 5)),
    "aten.multi_margin_loss.default": lambda i: (x(5, 4), ints(i, 5)),
    "aten.multilabel_margin_loss.default": lambda i: (x(5, 4), ints(i, 5, 4)),
    "aten.ctc_loss.Tensor": lambda i: (x(6, 2, 5), ints(i, 2, 3), ints(6, 2) + 5 - 5, ints(2, 2)),
    "aten.ctc_loss.IntList": lambda i: (x(6, 2, 5), ints(1, 2, 3), [6, i], [3, 2]),
    "aten.searchsorted.Tensor": lambda i: (x(4), x(3), {"sorter": ints(i, 4)}),
    "aten.one_hot.default": lambda i: (ints(i, 4), 3),
    "aten.bincount.default": lambda i: (ints(min(i, 99), 4), x(4)),
    "aten.tensor_split.tensor_indices_or_sections": lambda i: (x(4, 4), ints(i, 2)),
    "aten.narrow.Tensor": lambda i: (x(4, 4), 0, torch.tensor(i), 1),
    "aten.select.int": lambda i: (x(4, 4), 0, i),
    "aten.unfold.default": lambda i: (x(4), 0, 2, i),
    "aten.gru.data": lambda i: (x(3, 4), ints(i, 3), x(1, 1, 3), [x(9, 4), x(9, 3), x(9), x(9)], True, 1, 0.0, False,
                                False),
}
inside = set()
for name, make in CALLS.items():
    for far in FAR:
        try:
            arguments = list(make(far))
        except (RuntimeError, OverflowError):
            continue  # no integer of that dtype
        print(name, far, flush=True)
        kwargs = arguments.pop() if isinstance(arguments[-1], dict) else {}
        told = ops_fuzz.call(name, arguments, kwargs, backward=False)
        if told == "ran":
            inside.add(name)
print("NEVER RAN", *sorted(set(CALLS) - inside))
"""


def test_no_index_reaches_outside() -> None:
    """The memory next to every tensor is closed: reading one element of it is a signal."""
    done = subprocess.run(
        [sys.executable, "-c", REACH, str(HERE)], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout[-200:] + done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == "NEVER RAN"  # each is a call that torch takes, with an index that is inside
