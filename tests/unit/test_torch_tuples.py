"""Namedtuples of torch: packed sequences, and what functions return."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence

import torchkeep
from torchkeep.values import torch_table

NAMES = [name for name in torch_table.NAMEDTUPLES if torch_table.lookup(name, "namedtuple")]


def _trip(value: Any, tmp_path: Path, **options: Any) -> Any:
    path, again = tmp_path / "t.safetensors", tmp_path / "again.safetensors"
    torchkeep.save({"value": value}, path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = torchkeep.load(path, **options)["value"]
    if not options:
        torchkeep.save({"value": found}, again)
        assert again.read_bytes() == path.read_bytes()
    return found


@pytest.mark.parametrize("name", NAMES[1:])
def test_what_a_function_returns(tmp_path: Path, name: str) -> None:
    cls: Any = torch_table.lookup(name, "namedtuple")
    value = cls([torch.full((2,), float(i)) for i in range(cls.n_sequence_fields)])
    found = _trip(value, tmp_path)
    assert type(found) is cls
    assert all(torch.equal(getattr(found, field), getattr(value, field)) for field in cls.__match_args__)


def test_the_best_of_them(tmp_path: Path) -> None:
    best = torch.tensor([1.0, 5.0, 3.0]).topk(2)
    found = _trip(best, tmp_path)
    assert type(found) is torch.return_types.topk
    assert torch.equal(found.values, best.values)
    assert torch.equal(found.indices, best.indices)
    path = tmp_path / "t.safetensors"
    assert torch.equal(torchkeep.load(path, key=("value", "indices")), best.indices)
    assert "['value']: torch.return_types:topk of 2\n    values: tensor" in "\n".join(torchkeep.inspect(path).tree())


PACKED: dict[str, Callable[[], PackedSequence]] = {
    "sorted": lambda: pack_sequence([torch.ones(3, 4), torch.zeros(1, 4)]),
    "unsorted": lambda: pack_sequence([torch.ones(1, 4), torch.zeros(3, 4)], enforce_sorted=False),
    "padded": lambda: pack_padded_sequence(torch.randn(5, 2, 4), torch.tensor([5, 2])),
    "numbers": lambda: pack_sequence([torch.tensor([1, 2]), torch.tensor([3])]),
}


@pytest.mark.parametrize("name", PACKED)
def test_a_packed_sequence(tmp_path: Path, name: str) -> None:
    packed = PACKED[name]()
    found = _trip(packed, tmp_path)
    assert type(found) is PackedSequence
    for mine, its in zip(packed, found, strict=True):
        assert its is None if mine is None else torch.equal(mine, its)
    if name != "numbers":
        lstm = nn.LSTM(4, 3)
        assert torch.equal(lstm(found)[0].data, lstm(packed)[0].data)


def test_batch_sizes_stay_where_torch_wants_them(tmp_path: Path) -> None:
    found = _trip(PACKED["unsorted"](), tmp_path, device="meta")
    assert [part.device.type for part in found] == ["meta", "cpu", "meta", "meta"]
    half = tmp_path / "t.safetensors"
    with pytest.warns(torchkeep.TorchkeepWarning, match="cast"):
        assert torchkeep.load(half, dtype=torch.float16)["value"].data.dtype == torch.float16


INT = torch.tensor
BAD: dict[str, tuple[Any, ...]] = {
    "no tensor": ([1.0], INT([1]), None, None),
    "a scalar": (torch.tensor(1.0), INT([1]), None, None),
    "no sizes": (torch.ones(1), [1], None, None),
    "empty sizes": (torch.ones(0), INT([], dtype=torch.int64), None, None),
    "sizes of two dimensions": (torch.ones(1), INT([[1]]), None, None),
    "sizes of int32": (torch.ones(1), INT([1], dtype=torch.int32), None, None),
    "sizes that grow": (torch.ones(3), INT([1, 2]), None, None),
    "too much": (torch.ones(3), INT([2, 2]), None, None),
    "a negative size": (torch.ones(1), INT([2, -1]), None, None),
    "a size of none": (torch.ones(2), INT([2, 0]), None, None),
    "one order": (torch.ones(2), INT([2]), INT([0, 1]), None),
    "a short order": (torch.ones(2), INT([2]), INT([0]), INT([0])),
    "an order beyond": (torch.ones(2), INT([2]), INT([0, 2]), INT([0, 1])),
    "an order of floats": (torch.ones(2), INT([2]), INT([0.0, 1.0]), INT([0, 1])),
    "sizes that are one": (torch.ones(1).expand(2**40), INT([1]).expand(2**40), None, None),
    "an order that is one": (torch.ones(2), INT([2]), INT([0]).expand(2), INT([0, 1])),
    "a number twice": (torch.ones(2), INT([2]), INT([0, 0]), INT([0, 1])),
}


@pytest.mark.parametrize("name", BAD)
def test_one_that_does_not_fit_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "p.safetensors"
    torchkeep.save([tuple.__new__(PackedSequence, BAD[name])], path)
    with pytest.raises(torchkeep.LoadError, match="a PackedSequence whose parts do not fit together"):
        torchkeep.load(path)
