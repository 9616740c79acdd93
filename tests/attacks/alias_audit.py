"""Does an operator change an argument, or give one back, though its line in the list does not say so?

    python alias_audit.py [--seed N] [--cases N]

What the checks of a program know of memory is what the list says: `Op.writes`, `Op.views`, `Op.may_return_input`, and
the running statistics that `check` knows of. Here the arguments of the fuzzer of operators are looked at before and
after each call.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import warnings
from collections.abc import Iterator
from typing import Any

import ops_fuzz
import torch

from torchkeep.programs import growth
from torchkeep.programs.check import STATISTICS
from torchkeep.programs.guards import guard_of
from torchkeep.programs.ops import OPS
from torchkeep.programs.resolve import overload
from torchkeep.programs.schemas import bound, parse

SECONDS = 1
BOTH = ("running_mean", "running_var")


_calling: list[str] = []


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)


def _where(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr() if tensor.numel() else 0


def _bits(tensor: torch.Tensor) -> bytes:
    storage = tensor.untyped_storage()
    if storage.device.type != "cpu" or storage.nbytes() > 1 << 16:
        return b""
    return torch.empty(0, dtype=torch.uint8).set_(storage).numpy().tobytes()


def audit(name: str, seed: int, cases: int) -> set[str]:
    """What an operator did that its line does not say."""
    op = OPS[name]
    schema = parse(op.schema)
    assert schema
    rng = random.Random(f"{name} {seed}")
    maker = ops_fuzz.Maker(name, rng, ops_fuzz.Slots())
    checks = [check for check in (guard_of(name), growth.guard_of(name)) if check]
    call = overload(name, op.schema)
    shared = {*op.writes, *op.views, *op.may_return_input}
    changed = {*op.writes, *(BOTH if name in STATISTICS else ())}
    found: set[str] = set()
    for _ in range(cases):
        try:
            args, kwargs = maker.case()
            given = bound(schema, args, kwargs)
            held = {
                key: [each.detach().clone(memory_format=torch.preserve_format) for each in _tensors(value)]
                for key, value in given.items()
            }
            fresh = {key: _replaced(value, iter(held[key])) for key, value in given.items()}
            before = {key: [_bits(each) for each in tensors] for key, tensors in held.items()}
            _calling.append(name)
            signal.alarm(SECONDS)
            for check in checks:
                check((), fresh)
            made = call(**fresh)
        except Exception:
            continue
        finally:
            _calling.clear()
            signal.alarm(0)
        results = {_where(each) for each in _tensors(made)} - {0}
        for key, tensors in held.items():
            if key not in shared and any(_where(each) in results for each in tensors):
                found.add(f"{name}: {key} may be returned")
            if key not in changed and [_bits(each) for each in tensors] != before[key]:
                found.add(f"{name}: {key} is changed")
    return found


def _replaced(value: Any, tensors: Iterator[torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        return next(tensors)
    if isinstance(value, list | tuple):
        return [_replaced(each, tensors) for each in value]
    return value


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=6)
    options = parser.parse_args()
    torch.set_num_threads(1)

    def late(*_: Any) -> None:
        if _calling:
            raise TimeoutError

    signal.signal(signal.SIGALRM, late)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in OPS:
            pid = os.fork()  # an operator that ends its process is found by the fuzzer of operators, and none of this
            if pid == 0:
                for each in sorted(audit(name, options.seed, options.cases)):
                    print(each, flush=True)
                os._exit(0)
            os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
