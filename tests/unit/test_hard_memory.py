"""Memory that tensors share in part, memory that is mostly unused, memory that is gone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import torchkeep


class Overlapping(nn.Module):
    """Windows of one memory: `a` and `b` share five elements, `buffer` begins in `b`, `rest` lies apart."""

    def __init__(self) -> None:
        super().__init__()
        self.whole = torch.arange(30.0)
        self.a = nn.Parameter(self.whole[0:10])
        self.b = nn.Parameter(self.whole[5:15], requires_grad=False)
        self.register_buffer("buffer", self.whole[14:20].view(2, 3))
        self.register_buffer("hidden", self.whole[18:19], persistent=False)
        self.rest = nn.Parameter(self.whole[25:])
        del self.whole


def _write(model: Any) -> None:
    with torch.no_grad():
        model.a[9] = 100
        model.b[9] = 200
        model.buffer[1, 1] = 300
        model.rest[0] = 400


def test_parameters_and_buffers_that_share_a_part_share_it_once_loaded(tmp_path: Path) -> None:
    model = Overlapping()
    report = torchkeep.save(model, tmp_path / "x.safetensors")
    loaded = torchkeep.load(tmp_path / "x.safetensors", classes=[Overlapping])
    for each in (model, loaded):
        _write(each)
        assert each.b[4] == 100  # what a wrote
        assert each.buffer[0, 0] == 200  # what b wrote
        assert each.hidden.item() == 300
        assert (each.rest == torch.tensor([400.0, 26, 27, 28, 29])).all()
    assert not loaded.b.requires_grad
    assert list(loaded.state_dict()) == list(model.state_dict())
    assert {info.nbytes for info in torchkeep.inspect(report.path).tensors} == {20 * 4, 5 * 4}


def test_a_part_of_what_overlaps_keeps_its_own(tmp_path: Path) -> None:
    whole = torch.arange(10.0)
    torchkeep.save({"a": whole[0:6], "b": whole[4:10]}, tmp_path / "x.safetensors")
    loaded = torchkeep.load(tmp_path / "x.safetensors", key="b")
    assert torch.equal(loaded, whole[4:10])


def test_load_into_what_overlaps_is_refused_where_two_would_write_one_place(tmp_path: Path) -> None:
    model, before = Overlapping(), Overlapping().state_dict()
    torchkeep.save({name: tensor.clone() for name, tensor in before.items()}, tmp_path / "x.safetensors")
    with pytest.raises(torchkeep.BindError, match=r"model\['b'\] +file: values of .* shares memory with 'a'"):
        torchkeep.load_into(model, tmp_path / "x.safetensors")
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in before)


def test_a_tensor_as_a_key_and_as_a_value(tmp_path: Path) -> None:
    """Keys by identity: the loaded dict is looked into with the loaded tensor."""
    tensor, parameter = torch.ones(2), nn.Parameter(torch.zeros(2))
    obj = {tensor: "a", "same": tensor, parameter: parameter, "in": {tensor: {parameter: [tensor]}}, "set": {parameter}}
    torchkeep.save(obj, tmp_path / "x.safetensors")
    loaded = torchkeep.load(tmp_path / "x.safetensors")
    one, _, other, *_ = loaded
    assert (loaded[one], loaded["same"] is one, loaded[other] is other) == ("a", True, True)
    assert loaded["in"][one][other][0] is one
    assert loaded["set"] == {other}
    assert type(other) is nn.Parameter
    assert torch.equal(one, tensor)
    twin = {torch.ones(2): 1, torch.ones(2): 2}  # equal in value, and two keys
    torchkeep.save(twin, tmp_path / "x.safetensors")
    assert list(torchkeep.load(tmp_path / "x.safetensors").values()) == [1, 2]


def test_a_small_view_of_much_memory_writes_what_it_uses_and_says_so(tmp_path: Path) -> None:
    batch = torch.zeros(64 << 20, dtype=torch.uint8)
    obj = {"row": batch[1000:1100].view(torch.float32), "column": batch[: 1 << 16].view(256, 256)[:, 3]}
    report = torchkeep.save(obj, tmp_path / "x.safetensors")
    assert (tmp_path / "x.safetensors").stat().st_size == report.nbytes < 100_000
    (finding,) = [finding for finding in report.findings if finding.code == "trimmed"]
    assert finding.path == "obj['row']"
    assert f"of an allocation of {64 << 20}; only those were written" in finding.message
    assert "only those were written" in torchkeep.inspect(tmp_path / "x.safetensors").text()
    loaded = torchkeep.load(tmp_path / "x.safetensors")
    assert loaded["row"].untyped_storage().nbytes() <= 1 << 17
    assert torch.equal(loaded["column"], obj["column"])


def test_views_far_apart_write_nothing_of_what_lies_between(tmp_path: Path) -> None:
    batch = torch.arange(1 << 20, dtype=torch.float32)
    obj = {"first": batch[:10], "last": batch[-10:], "between": batch[1000:2000:100]}
    report = torchkeep.save(obj, tmp_path / "x.safetensors")
    assert report.nbytes < 20_000
    loaded = torchkeep.load(tmp_path / "x.safetensors")
    assert all(torch.equal(loaded[name], obj[name]) for name in obj)


def test_many_small_views_are_told_in_few_lines(tmp_path: Path) -> None:
    """Notes, and so no warning, however many there are."""
    report = torchkeep.save([torch.ones(5000)[:1] for _ in range(100)], tmp_path / "x.safetensors")
    assert {finding.code for finding in report.findings} == {"trimmed"}
    assert report.nbytes < 100_000


def _freed(tensor: torch.Tensor, nbytes: int = 0) -> torch.Tensor:
    """As sharding does between steps: the tensor keeps its shape, and the memory is gone or smaller."""
    tensor.untyped_storage().resize_(nbytes)
    return tensor


@pytest.mark.parametrize(
    "make",
    [
        lambda: _freed(torch.ones(1000)),
        lambda: _freed(torch.ones(1000), 400),
        lambda: _freed(torch.ones(20, 50).t(), 3996),
        lambda: _freed(torch.ones(1000)[998:], 3996),
        lambda: _freed(torch.ones(2, dtype=torch.complex64).conj(), 12),
        lambda: nn.Parameter(_freed(torch.ones(10), 39)),
    ],
    ids=["freed", "smaller", "transposed", "view", "conjugated", "parameter"],
)
def test_a_tensor_whose_memory_is_gone_is_refused(make: Callable[[], Any], tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"what was there")
    says = r"^\[TK-SAVE\] obj\['a'\]\[1\] cannot be saved: its memory was freed .* Nothing was written\."
    with pytest.raises(torchkeep.SaveError, match=says):
        torchkeep.save({"a": [torch.ones(1), make()]}, path)
    assert path.read_bytes() == b"what was there"
    assert list(tmp_path.iterdir()) == [path]


def test_a_tensor_without_elements_needs_no_memory(tmp_path: Path) -> None:
    empty = _freed(torch.ones(4)[4:])
    torchkeep.save([empty, _freed(torch.ones(0))], tmp_path / "x.safetensors")
    assert [tensor.shape for tensor in torchkeep.load(tmp_path / "x.safetensors")] == [(0,), (0,)]


def test_memory_that_goes_while_the_file_is_written(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"what was there")
    held = [torch.ones(8 << 20), torch.ones(8 << 20)]
    with pytest.raises(torchkeep.SaveError, match=r"1: its memory was freed .* while it was being saved\. Nothing was"):
        torchkeep.save(held, path, durable=False, progress=lambda *_: held[1].untyped_storage().resize_(4) or None)
    assert path.read_bytes() == b"what was there"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("nbytes", [0, 40])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_load_into_memory_that_is_gone_is_refused(nbytes: int, dtype: torch.dtype, tmp_path: Path) -> None:
    torchkeep.save(nn.Linear(10, 10), tmp_path / "x.safetensors")
    target = nn.Linear(10, 10).to(dtype)
    bias = target.bias.detach().clone()
    _freed(target.weight, nbytes)
    with pytest.raises(torchkeep.BindError, match=r"model\['weight'\].*memory was freed or made smaller"):
        torchkeep.load_into(target, tmp_path / "x.safetensors")
    assert torch.equal(target.bias, bias)
    torchkeep.load_into(target, tmp_path / "x.safetensors", assign=True)
    assert torch.equal(target.weight, torchkeep.load(tmp_path / "x.safetensors").weight)


def test_tensors_that_change_shape_between_two_saves(tmp_path: Path) -> None:
    """What one save learnt of a tensor is not used by the next."""
    tensor = torch.arange(6.0)
    torchkeep.save([tensor], tmp_path / "x.safetensors")
    tensor.resize_(2, 2)
    torchkeep.save([tensor], tmp_path / "x.safetensors")
    assert torch.equal(torchkeep.load(tmp_path / "x.safetensors")[0], torch.tensor([[0.0, 1], [2, 3]]))


# --- cycles through what cannot change --------------------------------------------------------------


def test_cycles_through_a_tuple(tmp_path: Path) -> None:
    holder: list[Any] = []
    outer = (holder, torch.ones(1), {"up": holder})
    holder += [outer, outer]
    path = tmp_path / "x.safetensors"
    torchkeep.save({"t": outer, "h": holder}, path)
    loaded = torchkeep.load(path)
    assert loaded["t"][0] is loaded["h"] is loaded["t"][2]["up"]
    assert loaded["h"][0] is loaded["h"][1] is loaded["t"]
    torchkeep.save(loaded, tmp_path / "y.safetensors")
    assert path.read_bytes() == (tmp_path / "y.safetensors").read_bytes()
    model = nn.Linear(1, 1)
    model.me = (model, [model])
    torchkeep.save(model, path)
    loaded = torchkeep.load(path)
    assert loaded.me[0] is loaded is loaded.me[1][0]


def _cycle_of_slice() -> Any:
    held: dict[str, Any] = {}
    held["x"] = slice(held, None)
    return held["x"]


def test_a_cycle_that_no_load_could_close_is_refused(tmp_path: Path) -> None:
    says = r"^\[TK-SAVE\] obj\[1\]\['k'\] cannot be saved: it is a slice, .* Nothing was written\."
    with pytest.raises(torchkeep.SaveError, match=says):
        torchkeep.save([(1, 2), {"k": _cycle_of_slice()}], tmp_path / "x.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("make", [lambda held: slice(held, None), lambda held: (held,)], ids=["slice", "tuple"])
def test_a_cycle_through_a_list_is_closed(make: Callable[[Any], Any], tmp_path: Path) -> None:
    held: list[Any] = []
    held += [make(held), make([held, 2])]
    torchkeep.save(held, tmp_path / "x.safetensors")
    loaded = torchkeep.load(tmp_path / "x.safetensors")
    inner = loaded[0].start if isinstance(loaded[0], slice) else loaded[0][0]
    assert inner is loaded
