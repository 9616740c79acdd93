"""Devices: where tensors go is what the caller said, and no tensor of a file is bound to the one it was on.

The other device here is "meta", which every torch has: tensors go there as they go to any accelerator, but
for their numbers. A saved device is only ever a word in the file.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
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


def test_what_goes_to_meta_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    value = {
        "text": "x" * 20_000,
        "last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "net": nn.Linear(3, 2),
    }
    torchkeep.save(value, path)
    contents = path.read_bytes()
    floats = value["last"].contiguous().numpy().tobytes()
    assert contents.count(floats) == 1
    path.write_bytes(contents.replace(floats, bytes(len(floats))))
    with pytest.raises(torchkeep.DigestError):
        torchkeep.load(path)
    loaded = torchkeep.load(path, device="meta")
    assert loaded["text"] == value["text"]
    assert (loaded["last"].shape, loaded["last"].stride()) == (value["last"].shape, value["last"].stride())
    assert {name: p.shape for name, p in loaded["net"].named_parameters()} == {"weight": (2, 3), "bias": (2,)}


# Devices that are not there


@pytest.mark.parametrize("device", ["gadget", "cuda:x", "", "cpu:-1", "gadget:0"])
@pytest.mark.parametrize("word", ["device", "map_location"])
def test_a_device_that_torch_does_not_know(tmp_path: Path, device: str, word: str) -> None:
    arguments: dict[str, Any] = {word: device}
    with pytest.raises(torchkeep.DeviceError, match=r"knows no device.*Nothing was loaded.*imported") as caught:
        torchkeep.load(tmp_path / "never-opened", **arguments)
    assert repr(device) in str(caught.value)
    assert isinstance(caught.value, RuntimeError)
    assert isinstance(caught.value, torchkeep.LoadError)


NOT_HERE = ["cuda:63", "mps:7", "xpu", "xla", "hpu", "mtia", "vulkan", "privateuseone", torch.device("cuda", 63)]


@pytest.mark.parametrize("device", NOT_HERE, ids=str)
def test_a_device_that_is_not_there(tmp_path: Path, device: Any) -> None:
    """Each backend has its own error for that: AssertionError, ModuleNotFoundError, NotImplementedError ..."""
    try:
        torch.empty(1, device=device)
    except Exception:
        pass
    else:
        pytest.skip("it is there")
    with pytest.raises(torchkeep.DeviceError, match=r"there is no .*Nothing was loaded.*device=.cpu.") as caught:
        torchkeep.load(tmp_path / "never-opened", device=device)
    assert repr(str(torch.device(device))) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is an accelerator")
def test_a_number_is_a_device_of_the_accelerator(tmp_path: Path) -> None:
    with pytest.raises(torchkeep.DeviceError, match="knows no device 0"):
        torchkeep.load(tmp_path / "never-opened", device=0)


@pytest.mark.parametrize("device", [True, {"cpu": "cuda"}, len, 1.0])
def test_what_is_no_device(tmp_path: Path, device: Any) -> None:
    with pytest.raises(TypeError, match="device is one device"):
        torchkeep.load(tmp_path / "never-opened", map_location=device)


def test_a_tensor_that_cannot_go_where_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with float64 on an Apple GPU, or a tensor that is larger than a GPU's memory."""
    torchkeep.save({"good": torch.ones(2), "bad": torch.ones(2, dtype=torch.float64)}, tmp_path / "t.safetensors")
    monkeypatch.setattr(torch.Tensor, "to", refuse_doubles)
    with pytest.raises(torchkeep.DeviceError, match=r"t.safetensors: 'bad' of 16 bytes of torch.float64 cannot go to"):
        torchkeep.load(tmp_path / "t.safetensors", device=acting(monkeypatch))


def refuse_doubles(tensor: torch.Tensor, *_: object) -> torch.Tensor:
    if tensor.dtype == torch.float64:
        raise TypeError("Cannot convert a Tensor to float64 dtype as the framework doesn't support it.")
    return tensor


def acting(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A device that is there as far as a trial shows: "xla" is known to every torch."""
    empty = torch.empty

    def anywhere(*sizes: Any, device: Any = None, **more: Any) -> torch.Tensor:
        return empty(*sizes, **more)

    monkeypatch.setattr(torch, "empty", anywhere)
    return torch.device("xla")


BACKEND = """
import sys, torch, torchkeep
torch.utils.rename_privateuse1_backend("gizmo")
moved = []
real_empty, real_to = torch.empty, torch.Tensor.to

def empty(*sizes, device=None, **more):
    gizmo = device is not None and torch.device(device).type == "gizmo"
    return real_empty(*sizes, device=None if gizmo else device, **more)

def to(tensor, *where):
    if where and isinstance(where[0], torch.device) and where[0].type == "gizmo":
        moved.append((str(where[0]), tuple(tensor.shape)))
        return tensor.clone()
    return real_to(tensor, *where)

torch.empty, torch.Tensor.to = empty, to
net = torch.nn.Linear(3, 2)
torchkeep.save({"net": net, "text": "x" * 20_000, "device": torch.device("gizmo:1")}, sys.argv[1])
for device in ("gizmo:1", torch.device("gizmo", 1)):
    loaded = torchkeep.load(sys.argv[1], device=device)
    assert torchkeep.report_of(loaded).device == "gizmo:1"
    assert loaded["device"] == torch.device("gizmo:1")
    assert torch.equal(loaded["net"].weight, net.weight)
print(moved == 2 * [("gizmo:1", (2, 3)), ("gizmo:1", (2,))])
"""


def test_a_backend_of_another_package(tmp_path: Path) -> None:
    """A renamed one, as a package for another accelerator makes it; torch keeps the name for the whole process."""
    command = [sys.executable, "-W", "error", "-c", BACKEND, str(tmp_path / "n.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "True\n", done.stderr


# Big-endian machines


def test_a_big_endian_machine_is_refused_and_may_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, target = tmp_path / "n.safetensors", nn.Linear(2, 2)
    torchkeep.save(nn.Linear(2, 2), path)
    before, weight = path.read_bytes(), target.weight.detach().clone()
    monkeypatch.setattr(sys, "byteorder", "big")
    with pytest.raises(torchkeep.SaveError, match=r"big-endian.*Nothing was written"):
        torchkeep.save(target, path)
    with pytest.raises(torchkeep.LoadError, match=r"big-endian.*Nothing was loaded"):
        torchkeep.load(path)
    with pytest.raises(torchkeep.LoadError, match=r"big-endian.*target was not changed"):
        torchkeep.load_into(target, path)
    assert torchkeep.inspect(path).tensors[0].shape == (2, 2)
    assert path.read_bytes() == before
    assert torch.equal(target.weight, weight)


def test_what_shares_memory_with_what_stays_on_the_cpu(tmp_path: Path) -> None:
    sparse, array = torch.eye(3).to_sparse_coo().coalesce(), np.ones(4, dtype=np.float32)
    value = {"sparse": sparse, "values": sparse.values(), "array": array, "tensor": torch.from_numpy(array)}
    torchkeep.save(value, tmp_path / "x.safetensors")
    loaded = torchkeep.load(tmp_path / "x.safetensors", device="meta")
    assert {name: getattr(item, "device", None) for name, item in loaded.items() if name != "array"} == {
        "sparse": torch.device("meta"),
        "values": torch.device("meta"),
        "tensor": torch.device("meta"),
    }
    assert loaded["array"].tolist() == [1] * 4
    assert loaded["values"].shape == (3,)


def test_pairs_of_numbers_are_not_cast(tmp_path: Path) -> None:
    value = {"packed": torch.arange(4, dtype=torch.uint8).view(torch.float4_e2m1fn_x2), "scale": torch.ones(2)}
    torchkeep.save(value, tmp_path / "x.safetensors")
    with pytest.warns(torchkeep.TorchkeepWarning, match="float32"):
        loaded = torchkeep.load(tmp_path / "x.safetensors", dtype=torch.bfloat16)
    assert loaded["packed"].dtype == torch.float4_e2m1fn_x2
    assert loaded["packed"].view(torch.uint8).tolist() == [0, 1, 2, 3]
    assert loaded["scale"].dtype == torch.bfloat16
