"""`load(mmap=True)`: the tensors are the file, and whatever is done to them the file stays as it is."""

from __future__ import annotations

import errno
import gc
import json
import mmap
import os
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import torchkeep
from torchkeep.storage import Read, local, source

pytestmark = pytest.mark.usefixtures("each_path")


@pytest.fixture
def read_names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the tensors that are read."""
    names: list[str] = []
    real = source.Source.read_into

    def record(self: source.Source, reads: Sequence[Read], **more: Any) -> None:
        names.extend(read.name for read in reads)
        real(self, reads, **more)

    monkeypatch.setattr(source.Source, "read_into", record)
    return names


def model() -> nn.Module:
    made = nn.Sequential(nn.Linear(20, 30), nn.BatchNorm1d(30), nn.Linear(30, 20, bias=False))
    made[2].weight = nn.Parameter(made[0].weight.detach().t().contiguous())
    made.register_buffer("top", made[0].weight.detach()[:10])
    return made


def damage(path: Path, name: str) -> None:
    """Turn a bit in the first byte of a tensor."""
    contents = bytearray(path.read_bytes())
    length = int.from_bytes(contents[:8], "little")
    begin, _ = json.loads(contents[8 : 8 + length])[name]["data_offsets"]
    contents[8 + length + begin] ^= 1
    path.write_bytes(contents)


# What is mapped


def test_a_model_is_its_file(tmp_path: Path, read_names: list[str]) -> None:
    saved, path = model(), tmp_path / "m.safetensors"
    torchkeep.save(saved, path)
    loaded = torchkeep.load(path, mmap=True)
    assert read_names == []
    for name, value in saved.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    assert loaded.top.untyped_storage().data_ptr() == loaded[0].weight.data_ptr()
    report = torchkeep.report_of(loaded)
    assert report.mapped_nbytes == sum(info.nbytes for info in torchkeep.inspect(path).tensors)
    assert str(report).endswith(f"mode eval, {report.mapped_nbytes / 1024:.1f} KiB mapped")
    assert not loaded.training
    assert torchkeep.report_of(torchkeep.load(path)).mapped_nbytes is None


def test_training_changes_the_model_and_not_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    saved = model()
    adam = torch.optim.Adam(saved.parameters())
    saved(torch.ones(4, 20)).sum().backward()
    adam.step()
    torchkeep.save({"model": saved, "adam": adam}, path)
    before = path.read_bytes()
    read, mapped = torchkeep.load(path), torchkeep.load(path, mmap=True)
    batch = torch.randn(8, 20)
    for each in (read, mapped):
        each["adam"].zero_grad()
        (each["model"](batch) ** 2).mean().backward()
        each["adam"].step()
    for (name, ours), theirs in zip(mapped["model"].named_parameters(), read["model"].parameters(), strict=True):
        assert torch.equal(ours, theirs), name
        assert ours.grad is not None
        assert torch.equal(ours.grad, theirs.grad), name
        assert not torch.equal(ours, saved.get_parameter(name)), name
    assert path.read_bytes() == before
    again = torchkeep.load(path, mmap=True)["model"]
    assert all(torch.equal(again.get_parameter(name), value) for name, value in saved.named_parameters())


def test_each_tensor_has_a_storage_of_its_own_size(tmp_path: Path) -> None:
    torchkeep.save({"a": torch.arange(1000.0), "b": torch.arange(3), "c": torch.tensor(True)}, tmp_path / "t")
    loaded = torchkeep.load(tmp_path / "t", mmap=True)
    assert [t.untyped_storage().nbytes() for t in loaded.values()] == [4000, 24, 1]
    torchkeep.save(loaded["b"], tmp_path / "b")
    assert (tmp_path / "b").stat().st_size == 4096 + 24


@pytest.mark.parametrize("dtype", [torch.complex128, torch.bfloat16, torch.float8_e5m2, torch.bool])
def test_every_dtype(tmp_path: Path, dtype: torch.dtype) -> None:
    value = torch.randint(0, 2, (96,), dtype=torch.uint8).view(dtype).reshape(2, -1)
    torchkeep.save({"odd": torch.ones(3, dtype=torch.uint8), "value": value}, tmp_path / "t")
    loaded = torchkeep.load(tmp_path / "t", mmap=True)
    assert loaded["value"].dtype == dtype
    assert loaded["value"].view(torch.uint8).equal(value.view(torch.uint8))
    assert torchkeep.report_of(loaded).mapped_nbytes == 99


def test_lazy_bits_views_and_expanded_tensors(tmp_path: Path) -> None:
    whole = torch.randn(6, 4, dtype=torch.complex64)
    value = {
        "whole": whole,
        "conj": whole.conj(),
        "imag": whole.imag,
        "t": whole.t()[1:],
        "wide": whole[:1].expand(9, 4),
    }
    torchkeep.save(value, tmp_path / "t")
    loaded = torchkeep.load(tmp_path / "t", mmap=True)
    for name, tensor in value.items():
        assert torch.equal(loaded[name], tensor), name
        assert loaded[name].is_conj() == tensor.is_conj()
    loaded["whole"].zero_()
    assert not loaded["imag"].any()
    assert torchkeep.report_of(loaded).mapped_nbytes == whole.nbytes


def test_a_part(tmp_path: Path) -> None:
    torchkeep.save({"a": torch.ones(1000), "b": torch.ones(10)}, tmp_path / "t")
    part = torchkeep.load(tmp_path / "t", key="b", mmap=True)
    assert torch.equal(part, torch.ones(10))
    assert torchkeep.report_of(part).mapped_nbytes == 40


def test_a_skeleton(tmp_path: Path) -> None:
    torchkeep.save(model(), tmp_path / "m")
    assert torchkeep.report_of(torchkeep.load(tmp_path / "m", route="skeleton", mmap=True)).mapped_nbytes


def test_a_file_of_another_tool(tmp_path: Path) -> None:
    weights = {"a": torch.randn(30, 7), "b": torch.arange(5), "c": torch.ones(3, dtype=torch.uint8)}
    save_file(weights, tmp_path / "t")
    loaded = torchkeep.load(tmp_path / "t", mmap=True)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in weights.items())
    assert torchkeep.report_of(loaded).mapped_nbytes == sum(tensor.nbytes for tensor in weights.values())


@pytest.mark.skipif(not local._IS_COMMON_LINUX, reason="other systems set memory aside, or never do")
def test_a_file_that_is_larger_than_all_memory(tmp_path: Path, each_path: str) -> None:
    if each_path == "portable" or Path("/proc/sys/vm/overcommit_memory").read_text() == "2\n":
        pytest.skip("memory is set aside for all that is mapped")
    nbytes = 1 << 40
    header = json.dumps({"t": {"dtype": "U8", "shape": [nbytes], "data_offsets": [0, nbytes]}}).encode()
    with (tmp_path / "t").open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + nbytes)
    loaded = torchkeep.load(tmp_path / "t", mmap=True)["t"]
    loaded[-1] = 7
    assert loaded[-2:].tolist() == [0, 7]


# What is not


def test_what_the_file_cannot_serve_as_it_is_is_read(tmp_path: Path, read_names: list[str]) -> None:
    value = {
        "plain": torch.ones(5),
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "array": np.arange(5.0),
        "texts": np.array(["a", "é"]),
        "long": "x" * 20_000,
        "none": torch.empty(0, 3),
    }
    torchkeep.save(value, tmp_path / "t")
    loaded = torchkeep.load(tmp_path / "t", mmap=True)
    assert len(read_names) == 5
    assert "plain" not in read_names
    assert torch.equal(loaded["channels_last"], value["channels_last"])
    assert loaded["channels_last"].stride() == value["channels_last"].stride()
    assert (loaded["array"].tolist(), loaded["texts"].tolist()) == (value["array"].tolist(), ["a", "é"])
    assert loaded["long"] == value["long"]
    assert loaded["none"].shape == (0, 3)
    assert torchkeep.report_of(loaded).mapped_nbytes == 20


def test_a_cast_reads_what_it_casts(tmp_path: Path, read_names: list[str]) -> None:
    torchkeep.save({"w": torch.ones(5), "n": torch.arange(5), "h": torch.ones(2, dtype=torch.half)}, tmp_path / "t")
    with pytest.warns(torchkeep.TorchkeepWarning, match="float32 to float16"):
        loaded = torchkeep.load(tmp_path / "t", mmap=True, dtype=torch.half)
    assert read_names == ["w"]
    assert [t.dtype for t in loaded.values()] == [torch.half, torch.int64, torch.half]
    assert torchkeep.report_of(loaded).mapped_nbytes == 44


def test_another_device_reads_what_goes_there(tmp_path: Path, read_names: list[str]) -> None:
    net = nn.Linear(3, 3)
    adam = torch.optim.Adam(net.parameters())
    net(torch.ones(3)).sum().backward()
    adam.step()
    torchkeep.save({"net": net, "adam": adam}, tmp_path / "c")
    loaded = torchkeep.load(tmp_path / "c", mmap=True, device="meta")
    assert read_names == []  # and on "meta" nothing has to be read, either
    assert torchkeep.report_of(loaded).mapped_nbytes == 8  # two step counters, which stay on the CPU
    assert {float(state["step"]) for state in loaded["adam"].state.values()} == {1.0}


def test_what_is_not_aligned_is_read(tmp_path: Path, read_names: list[str]) -> None:
    entries = {
        "bytes": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]},
        "floats": {"dtype": "F32", "shape": [2], "data_offsets": [3, 11]},
    }
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    (tmp_path / "t").write_bytes(struct.pack("<Q", len(header)) + header + b"abc" + struct.pack("<2f", 1.5, -2))
    loaded = torchkeep.load(tmp_path / "t", mmap=True)
    assert read_names == ["floats"]
    assert loaded["floats"].tolist() == load_file(tmp_path / "t")["floats"].tolist() == [1.5, -2]
    assert loaded["bytes"].tolist() == list(b"abc")


@pytest.mark.parametrize("value", [{}, 3, {"none": torch.empty(0)}, [torch.empty(2, 0, 3)]])
def test_nothing_to_map(tmp_path: Path, value: Any) -> None:
    torchkeep.save(value, tmp_path / "t")
    loaded = torchkeep.load(tmp_path / "t", mmap=True)
    assert str(loaded) == str(value)
    assert torchkeep.report_of(loaded).mapped_nbytes == 0


# What is checked


def test_the_header_and_what_is_read_are_checked_and_what_is_mapped_is_not(tmp_path: Path) -> None:
    path = tmp_path / "t"
    value = {"plain": torch.ones(5), "last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)}
    torchkeep.save(value, path)
    whole = path.read_bytes()
    damage(path, "plain")
    with pytest.raises(torchkeep.DigestError, match="'plain' is damaged"):
        torchkeep.load(path)
    assert not torch.equal(torchkeep.load(path, mmap=True)["plain"], value["plain"])
    assert torchkeep.load(path, mmap=True, verify="first", key="last").shape == (2, 3, 4, 5)
    for options in ({}, {"mmap": True}, {"device": "meta"}):
        with pytest.raises(torchkeep.DigestError, match="'plain' is damaged"):
            torchkeep.load(path, verify="first", **options)
    with pytest.raises(ValueError, match="verify is 'first', 'outputs' or None"):
        torchkeep.load(path, verify="all")
    path.write_bytes(whole)
    damage(path, "last")
    with pytest.raises(torchkeep.DigestError, match="'last' is damaged"):
        torchkeep.load(path, mmap=True)
    path.write_bytes(whole.replace(b"plain", b"plaim", 1))
    with pytest.raises(torchkeep.DigestError, match="header"):
        torchkeep.load(path, mmap=True)
    path.write_bytes(whole[:-1])
    with pytest.raises(torchkeep.FormatError, match="cut short"):
        torchkeep.load(path, mmap=True)


# How long it lives, and what else becomes of the file


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="this system does not tell what is mapped")
def test_the_mapping_lives_as_long_as_one_tensor_of_it(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    torchkeep.save({"a": torch.arange(5000.0), "b": torch.ones(3)}, path)

    def is_mapped() -> bool:
        gc.collect()
        return str(path) in Path("/proc/self/maps").read_text()

    descriptors = len(os.listdir("/proc/self/fd"))
    loaded = torchkeep.load(path, mmap=True)
    tail = loaded["a"][4000:]
    del loaded
    assert is_mapped()
    assert torch.equal(tail, torch.arange(4000.0, 5000.0))
    del tail
    assert not is_mapped()
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_nothing_is_mapped_of_a_file_that_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = nn.Linear(3, 3)
    net.register_forward_hook(print)
    with pytest.warns(torchkeep.TorchkeepWarning, match="hook"):
        torchkeep.save({"net": net}, tmp_path / "m")
    monkeypatch.setattr(source.Source, "map", lambda _: pytest.fail("mapped"))
    with pytest.raises(torchkeep.LoadError, match="hooks"):
        torchkeep.load(tmp_path / "m", mmap=True)
    with pytest.raises(torchkeep.KeyMissingError):
        torchkeep.load(tmp_path / "m", key="other", mmap=True)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows replaces no file that is mapped")
def test_saving_over_the_very_file(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    torchkeep.save({"a": torch.arange(5000.0), "b": torch.ones(3)}, path)
    old = torchkeep.load(path, mmap=True)
    old["b"] += 1
    torchkeep.save({"b": old["a"], "a": old["b"]}, path)
    new = torchkeep.load(path, mmap=True)
    for loaded, names in ((old, "ab"), (new, "ba")):
        assert torch.equal(loaded[names[0]], torch.arange(5000.0))
        assert torch.equal(loaded[names[1]], torch.full((3,), 2.0))


def test_two_loads_of_a_file_do_not_see_each_other(tmp_path: Path) -> None:
    torchkeep.save({"a": torch.zeros(5000)}, tmp_path / "t")
    one, other = (torchkeep.load(tmp_path / "t", mmap=True)["a"] for _ in range(2))
    one.fill_(1)
    assert not other.any()


# What the system refuses


def test_a_file_system_that_cannot_be_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    torchkeep.save({"a": torch.ones(3)}, tmp_path / "t")
    monkeypatch.setattr(mmap, "mmap", fail)
    with pytest.raises(torchkeep.PathError, match=r"cannot map.*nothing was read.*without mmap=True") as caught:
        torchkeep.load(tmp_path / "t", mmap=True)
    assert (caught.value.errno, caught.value.filename) == (errno.ENODEV, str(tmp_path / "t"))
    assert torchkeep.load(tmp_path / "t")["a"].tolist() == [1, 1, 1]


def test_a_file_that_is_shortened_before_it_is_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torchkeep.save({"a": torch.ones(3000)}, tmp_path / "t")
    real = source.Source.map

    def shortened(self: source.Source) -> mmap.mmap:
        os.truncate(tmp_path / "t", 5000)
        return real(self)

    monkeypatch.setattr(source.Source, "map", shortened)
    with pytest.raises(torchkeep.FormatError, match="truncated while reading"):
        torchkeep.load(tmp_path / "t", mmap=True)
