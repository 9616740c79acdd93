"""The safetensors library opens our files, and we open its."""

from __future__ import annotations

import itertools
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from safetensors import safe_open
from safetensors.torch import load as load_bytes
from safetensors.torch import load_file, save_file, save_model
from torch import nn

import torchkeep
from torchkeep import document

NAMEABLE = {
    name: getattr(torch, name) for name, named in document.SAFETENSORS_NAME.items() if named and hasattr(torch, name)
}
RESERVED = "__torchkeep__/"


def bits(tensor: torch.Tensor) -> bytes:
    flat = tensor.detach().contiguous().reshape(-1)
    return bytes(flat.view(torch.uint8).tolist())


def of(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    """Many different bits of a dtype."""
    count = torch.Size(shape).numel() * dtype.itemsize
    content = torch.arange(count, dtype=torch.int64).mul(37).add(11).to(torch.uint8)
    return (content % 2 if dtype == torch.bool else content).view(dtype).view(shape)


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        other = theirs[name]
        assert (tensor.dtype, tensor.shape) == (other.dtype, other.shape), name
        assert bits(tensor) == bits(other), name


def _models() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    frozen = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.PReLU())
    frozen[0].requires_grad_(False)
    image = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.Conv2d(8, 2, 1))
    named = nn.ModuleDict({"z": nn.Linear(1, 2), "a b": nn.Linear(2, 1), "é\u202e": nn.ParameterList([torch.ones(2)])})
    return {
        "linear": nn.Linear(3, 2),
        "frozen": frozen,
        "channels_last": image.to(memory_format=torch.channels_last),
        "bfloat16": nn.TransformerEncoderLayer(8, 2, 16).to(torch.bfloat16),
        "recurrent": nn.LSTM(3, 4, 2, bidirectional=True),
        "attention": nn.MultiheadAttention(8, 2, add_bias_kv=True),
        "complex": nn.ParameterDict({"c": torch.randn(3, dtype=torch.complex64)}),
        "zero": nn.ParameterDict({"none": torch.ones(0, 4), "scalar": torch.tensor(1.5)}),
        "names": named,
    }


@pytest.mark.parametrize("name", _models())
def test_their_reader_opens_our_models(name: str, tmp_path: Path) -> None:
    model = _models()[name]
    path = tmp_path / "model.safetensors"
    torchkeep.save(model, path)
    found = load_file(path)
    same(dict(model.state_dict()), found)
    fresh = _models()[name]
    for tensor in itertools.chain(fresh.parameters(), fresh.buffers()):
        tensor.data.zero_()
    assert fresh.load_state_dict(found).missing_keys == []
    same(dict(model.state_dict()), dict(fresh.state_dict()))
    same(found, load_bytes(path.read_bytes()))
    with safe_open(path, framework="pt") as opened:
        assert opened.metadata()["format"] == "pt"
        assert json.loads(opened.metadata()["torchkeep"])["version"]
        assert set(opened.keys()) == model.state_dict().keys()


def test_what_no_state_dict_has_is_reserved(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model.register_buffer("hidden", torch.ones(3), persistent=False)
    model.plain = torch.ones(4)
    model[1].weight = model[0].weight
    path = tmp_path / "model.safetensors"
    torchkeep.save(model, path)
    found = load_file(path)
    plain = {name: tensor for name, tensor in found.items() if not name.startswith(RESERVED)}
    assert plain.keys() == {"0.weight", "0.bias", "1.bias"}
    assert sorted(tensor.numel() for name, tensor in found.items() if name.startswith(RESERVED)) == [3, 4]


def test_a_state_dict_of_tied_weights(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    path = tmp_path / "state.safetensors"
    torchkeep.save(model.state_dict(), path)
    loaded = torchkeep.load(path)
    same(dict(model.state_dict()), dict(loaded))
    assert loaded["0.weight"].data_ptr() == loaded["1.weight"].data_ptr()


@pytest.mark.filterwarnings("ignore:ComplexHalf support")
@pytest.mark.parametrize("dtype", NAMEABLE.values(), ids=str)
def test_every_dtype_in_both_directions(dtype: torch.dtype, tmp_path: Path) -> None:
    made = {"matrix": of(dtype, 2, 4), "line": of(dtype, 6), "none": of(dtype, 0), "scalar": of(dtype, 1)[0]}
    packed = dtype == torch.float4_e2m1fn_x2
    if packed:
        made.pop("scalar")  # two to a byte: it has no last size to double
    ours, theirs = tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors"
    torchkeep.save(made, ours)
    same(made, load_file(ours))
    save_file(made, theirs)
    found = torchkeep.load(theirs)
    same(made, found)
    assert torchkeep.report_of(found).kind == "safetensors"
    same(made, torchkeep.load(ours))
    kinds = {info.name: (info.dtype, info.shape) for info in torchkeep.inspect(theirs).tensors}
    assert kinds == {name: (str(dtype)[6:], tuple(tensor.shape)) for name, tensor in made.items()}


@pytest.mark.parametrize("dtype", ["complex128", "complex32", "bits8", "int4", "uint1"])
@pytest.mark.filterwarnings("ignore:ComplexHalf support")
def test_what_safetensors_cannot_name_is_bytes_under_a_reserved_name(dtype: str, tmp_path: Path) -> None:
    tensor = of(getattr(torch, dtype), 4)
    path = tmp_path / "odd.safetensors"
    torchkeep.save({"a": tensor, "b": torch.ones(2)}, path)
    found = load_file(path)
    assert found.keys() == {f"{RESERVED}a", "b"}
    assert bits(found[f"{RESERVED}a"]) == bits(tensor)
    same({"a": tensor, "b": torch.ones(2)}, torchkeep.load(path))


THEIRS = ["BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64", "F16", "BF16", "F32", "F64", "C64", "F4",
          "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"]  # fmt: skip
"""Every dtype that the library names and torch has."""


def test_every_dtype_that_they_name_is_known() -> None:
    assert sorted(named for named in document.SAFETENSORS_NAME.values() if named) == sorted(THEIRS)


@pytest.mark.parametrize("name", ["F6_E2M3", "F6_E3M2"])
def test_a_dtype_that_torch_lacks_is_refused(name: str, tmp_path: Path) -> None:
    """Of their format, and of no tensor: the error names it."""
    header = json.dumps({"w": {"dtype": name, "shape": [4], "data_offsets": [0, 3]}}).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"abc")
    with safe_open(path, "pt") as opened:
        assert list(opened.keys()) == ["w"]
    for verb in (torchkeep.load, torchkeep.inspect):
        with pytest.raises(torchkeep.FormatError, match=f"dtype '{name}' has no counterpart in torch"):
            verb(path)


NUMPY_HAS = [name for name in THEIRS if not name.startswith(("BF", "F8", "F4"))]


def test_numpy_in_both_directions(tmp_path: Path) -> None:
    made = {named: of(NAMEABLE[name], 2, 4) for name, named in document.SAFETENSORS_NAME.items() if named in NUMPY_HAS}
    ours, theirs = tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors"
    torchkeep.save(made, ours)
    found = safetensors.numpy.load_file(ours)
    assert found.keys() == made.keys() == set(NUMPY_HAS)
    for name, array in found.items():
        assert array.dtype == made[name].numpy().dtype
        assert array.tobytes() == bits(made[name])
    safetensors.numpy.save_file(found, theirs)
    same(made, torchkeep.load(theirs))
    with safe_open(ours, framework="np") as opened:
        assert np.array_equal(opened.get_slice("F32")[1:, ::1], found["F32"][1:])


def _reserved() -> dict[str, Any]:
    """A checkpoint with a name of every reserved sort beside a plain one."""
    base = torch.arange(12.0)
    model = nn.Linear(4, 2)
    model.register_buffer("hidden", torch.ones(3), persistent=False)
    return {
        "model": model,
        "overlap": [base[:8], base[4:]],
        "lazy": torch.randn(3, dtype=torch.complex64).conj(),
        "unnamed": torch.randn(2, dtype=torch.complex128),
        "text": "long " * 10_000,
        "array": np.arange(5),
        "a.b": torch.ones(1),
        "a": {"b": torch.zeros(2)},
        "__metadata__": torch.ones(4),
        "": torch.ones(5),
        "x" * 5000: torch.ones(6),
    }


def test_files_with_reserved_names_open_in_every_front_end(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    torchkeep.save(_reserved(), path)
    found = load_file(path)
    assert {name for name in found if not name.startswith(RESERVED)} == {"model.weight", "model.bias", "a.b", "tensor"}
    assert sum(name.startswith(RESERVED) for name in found) == 9
    arrays = safetensors.numpy.load_file(path)
    assert arrays.keys() == found.keys()
    for name, array in arrays.items():
        assert array.tobytes() == bits(found[name])
    for framework in ("pt", "np"):
        with safe_open(path, framework=framework) as opened:
            assert set(opened.keys()) == found.keys()
            for name in opened.keys():  # noqa: SIM118
                part = opened.get_slice(name)
                assert tuple(part.get_shape()) == tuple(found[name].shape)
                if part.get_shape():
                    assert bytes(np.asarray(part[:1]).tobytes()) == bits(found[name][:1])
    loaded = torchkeep.load(path)
    assert list(loaded) == list(_reserved())
    assert torch.equal(loaded["a"]["b"], torch.zeros(2))
    save_file(found, tmp_path / "again.safetensors", metadata={"format": "pt"})  # a plain file of what they read
    same(found, torchkeep.load(tmp_path / "again.safetensors"))


def test_slices_of_a_model(tmp_path: Path) -> None:
    model = _models()["channels_last"]
    torchkeep.save(model, tmp_path / "x.safetensors")
    with safe_open(tmp_path / "x.safetensors", framework="pt") as opened:
        for name, tensor in model.state_dict().items():
            part = opened.get_slice(name)
            assert part.get_dtype() == "F32"
            assert torch.equal(part[:1], tensor[:1])
            assert torch.equal(part[..., -1:], tensor[..., -1:])


def test_strided_memory_reads_in_logical_order(tmp_path: Path) -> None:
    base = torch.arange(24.0).view(4, 6)
    made = {
        "transposed": base.clone().t(),
        "last": base.clone().view(1, 2, 3, 4).to(memory_format=torch.channels_last),
        "slice": base.clone()[:, ::2],
        "narrow": base.clone()[1:3],
    }
    torchkeep.save(made, tmp_path / "x.safetensors")
    same(made, load_file(tmp_path / "x.safetensors"))


METADATA = {
    "format": "pt",
    "": "an empty key",
    "torchkeep": "a stranger's word",
    "torchkeep.digests": "xx",
    "é\u202e\0": "\x1b[31m",
    "modelspec.title": 'quotes " and \\ and {"json": 1}',
    "long": "x" * 70_000,
}


def test_their_files_with_any_metadata(tmp_path: Path) -> None:
    made = {
        "weight": of(torch.float32, 2, 3),
        "a.b": of(torch.int64, 2),
        "é": of(torch.uint8, 3),
        "": of(torch.bool, 1),
    }
    metadata = {key: text for key, text in METADATA.items() if not key.startswith("torchkeep")}
    path = tmp_path / "theirs.safetensors"
    save_file(made, path, metadata=metadata)
    same(made, torchkeep.load(path))
    report = torchkeep.inspect(path)
    assert report.metadata == metadata
    assert report.kind == "safetensors"
    assert "\x1b" not in str(report)
    for given in (None, {}, {"only": "one"}):
        save_file(made, path, metadata=given)
        same(made, torchkeep.load(path))
        assert torchkeep.inspect(path).metadata == (given or {})


@pytest.mark.parametrize("key", ["torchkeep", "torchkeep.digests"])
def test_a_stranger_that_takes_our_name_is_refused_or_read(key: str, tmp_path: Path) -> None:
    made = {"weight": of(torch.float32, 2, 3)}
    save_file(made, tmp_path / "theirs.safetensors", metadata={key: METADATA[key]})
    try:
        found = torchkeep.load(tmp_path / "theirs.safetensors")
    except torchkeep.FormatError:
        return
    same(made, found)


def test_load_into_from_their_files(tmp_path: Path) -> None:
    for name, model in _models().items():
        path = tmp_path / f"{name}.safetensors"
        save_file({key: tensor.contiguous() for key, tensor in model.state_dict().items()}, path)
        target = _models()[name]
        for tensor in itertools.chain(target.parameters(), target.buffers()):
            tensor.data.zero_()
        report = torchkeep.load_into(target, path)
        assert tuple(report) == ([], [])
        assert report.coverage == 1.0
        assert report.findings == ()
        same(dict(model.state_dict()), dict(target.state_dict()))
        assert [t.stride() for t in target.state_dict().values()] == [t.stride() for t in model.state_dict().values()]
        with torch.device("meta"):
            empty = _models()[name]
        torchkeep.load_into(empty, path, assign=True)
        same(dict(model.state_dict()), dict(empty.state_dict()))


def test_load_into_does_not_touch_a_target_that_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"weight": torch.ones(2, 3), "extra": torch.ones(1)}, path)
    target = nn.Linear(3, 2)
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    with pytest.raises(torchkeep.BindError, match="bias") as caught:
        torchkeep.load_into(target, path)
    assert "extra" in str(caught.value)
    same(before, dict(target.state_dict()))
    with pytest.warns(torchkeep.TorchkeepWarning):
        report = torchkeep.load_into(target, path, strict=False)
    assert (report.missing_keys, report.unexpected_keys) == (["bias"], ["extra"])
    assert torch.equal(target.weight, torch.ones(2, 3))


def test_their_save_model_and_our_tied_target(tmp_path: Path) -> None:
    """`save_model` drops all names of a tied weight but one; the target ties them again."""

    def make() -> nn.Module:
        model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        model[1].weight = model[0].weight
        return model

    model, target = make(), make()
    save_model(model, str(tmp_path / "tied.safetensors"))
    report = torchkeep.load_into(target, tmp_path / "tied.safetensors")
    assert report.missing_keys == []
    same(dict(model.state_dict()), dict(target.state_dict()))
    assert target[1].weight is target[0].weight


def test_their_order_of_names_is_free(tmp_path: Path) -> None:
    """Headers in any order of names and of offsets, padded or not, are of the format."""
    a, b = of(torch.float32, 2), of(torch.int8, 3)
    for names in itertools.permutations(["a", "b", "__metadata__"]):
        entries: dict[str, Any] = {
            "a": {"dtype": "F32", "shape": [2], "data_offsets": [3, 11]},
            "b": {"data_offsets": [0, 3], "shape": [3], "dtype": "I8"},
            "__metadata__": {"k": "v"},
        }
        header = json.dumps({name: entries[name] for name in names}, indent=1).encode() + b" " * 3
        path = tmp_path / "x.safetensors"
        path.write_bytes(struct.pack("<Q", len(header)) + header + bits(b) + bits(a))
        same({"a": a, "b": b}, load_file(path))
        same({"a": a, "b": b}, torchkeep.load(path))


def test_our_bytes_hold_to_their_format(tmp_path: Path) -> None:
    """The data begins at a page, has no gaps, and every tensor is aligned for its dtype."""
    path = tmp_path / "x.safetensors"
    report = torchkeep.save(_models()["bfloat16"], path)
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    assert (8 + length) % 4096 == 0
    assert report.nbytes == len(content)
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__")
    spans = sorted(entry["data_offsets"] for entry in header.values())
    assert spans[0][0] == 0
    assert spans[-1][1] == len(content) - 8 - length
    assert all(one[1] == other[0] for one, other in itertools.pairwise(spans))
    for entry in header.values():
        begin, _ = entry["data_offsets"]
        assert begin % 2 == 0


def test_a_file_without_tensors(tmp_path: Path) -> None:
    torchkeep.save({"epoch": 3}, tmp_path / "x.safetensors")
    assert load_file(tmp_path / "x.safetensors") == {}
    save_file({}, tmp_path / "y.safetensors")
    assert torchkeep.load(tmp_path / "y.safetensors") == {}
