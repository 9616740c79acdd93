"""Devices: where tensors go is what the caller said, and no tensor of a file is bound to the one it was on.

The other device here is "meta", which every torch has: tensors go there as they go to any accelerator, but
for their numbers. A saved device is only ever a word in the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import torchkeep


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.embed.weight
        self.norm = nn.BatchNorm1d(4)
        self.about = "x" * 20_000
        self.blob = b"y" * 20_000


def trained() -> tuple[Tied, torch.optim.Optimizer]:
    model = Tied()
    optimizer = torch.optim.Adam(model.parameters())
    model.norm(model.embed(torch.tensor([1, 2, 3]))).sum().backward()
    optimizer.step()
    return model, optimizer


@pytest.mark.parametrize("device", ["meta", torch.device("meta")], ids=str)
@pytest.mark.parametrize("word", ["device", "map_location"])
def test_a_model_goes_where_it_is_told(tmp_path: Path, device: Any, word: str) -> None:
    model, _ = trained()
    torchkeep.save(model, tmp_path / "m.safetensors")
    arguments: dict[str, Any] = {word: device}
    loaded = torchkeep.load(tmp_path / "m.safetensors", classes=[Tied], **arguments)
    assert {t.device.type for t in (*loaded.parameters(), *loaded.buffers())} == {"meta"}
    assert loaded.head.weight is loaded.embed.weight
    assert [type(p) for p in loaded.parameters()] == [nn.Parameter] * 3
    assert (loaded.about, loaded.blob) == (model.about, model.blob)
    assert torchkeep.report_of(loaded).device == "meta"


def test_views_share_their_memory_there_too(tmp_path: Path) -> None:
    base = torch.arange(6.0)
    torchkeep.save({"base": base, "tail": base[2:]}, tmp_path / "v.safetensors")
    loaded = torchkeep.load(tmp_path / "v.safetensors", device="meta")
    assert loaded["base"].untyped_storage()._cdata == loaded["tail"].untyped_storage()._cdata
    assert loaded["tail"].storage_offset() == 2


def test_a_long_text_keeps_its_bytes_under_a_cast(tmp_path: Path) -> None:
    value = {"text": "é" * 20_000, "weight": torch.ones(3)}
    torchkeep.save(value, tmp_path / "t.safetensors")
    with pytest.warns(torchkeep.TorchkeepWarning, match="float16"):
        loaded = torchkeep.load(tmp_path / "t.safetensors", device="meta", dtype=torch.float16)
    assert loaded["text"] == value["text"]
    assert (loaded["weight"].dtype, loaded["weight"].device.type) == (torch.float16, "meta")


def test_step_counters_stay_on_the_cpu(tmp_path: Path) -> None:
    model, optimizer = trained()
    torchkeep.save({"model": model, "optimizer": optimizer}, tmp_path / "c.safetensors")
    loaded = torchkeep.load(tmp_path / "c.safetensors", classes=[Tied], device="meta")
    for parameter, state in loaded["optimizer"].state.items():
        assert parameter.device.type == state["exp_avg"].device.type == state["exp_avg_sq"].device.type == "meta"
        assert state["step"].device.type == "cpu"
        assert state["step"] == 1


def test_optimizer_state_lands_on_the_device_of_its_parameter(tmp_path: Path) -> None:
    model, optimizer = trained()
    torchkeep.save({"model": model, "optimizer": optimizer}, tmp_path / "c.safetensors")
    target = Tied()
    target.norm.to("meta")
    resumed = torch.optim.Adam(target.parameters())
    torchkeep.load_into({"optimizer": resumed}, tmp_path / "c.safetensors")
    for parameter, state in resumed.state.items():
        assert state["exp_avg"].device == state["exp_avg_sq"].device == parameter.device
        assert state["step"].device.type == "cpu"
    assert {parameter.device.type for parameter in resumed.state} == {"cpu", "meta"}


def test_a_model_built_on_meta_takes_the_tensors_of_the_file(tmp_path: Path) -> None:
    model, _ = trained()
    torchkeep.save(model, tmp_path / "m.safetensors")
    with torch.device("meta"):
        target = Tied()
    torchkeep.load_into(target, tmp_path / "m.safetensors", assign=True)
    for name, value in model.state_dict().items():
        assert torch.equal(target.state_dict()[name], value)


def test_a_device_that_torch_does_not_have_is_named(tmp_path: Path) -> None:
    torchkeep.save(torch.ones(2), tmp_path / "t.safetensors")
    with pytest.raises(RuntimeError, match="gadget"):
        torchkeep.load(tmp_path / "t.safetensors", device="gadget")
