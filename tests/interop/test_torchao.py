"""Tensor subclasses of a real library: models that torchao quantized, whole, in a fresh process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torchao import quantization as ao

import torchkeep

CONFIGS: dict[str, Any] = {
    "int8 weights": ao.Int8WeightOnlyConfig,
    "int8 weights and activations": ao.Int8DynamicActivationInt8WeightConfig,
    "float8 weights": ao.Float8WeightOnlyConfig,
    "int4 in int8": lambda: ao.IntxWeightOnlyConfig(weight_dtype=torch.int4),
}

FRESH = """
import sys
import torch, torchkeep
from safetensors.torch import load_file, save_file

inputs, out, *paths = sys.argv[1:]
for path in paths:
    try:
        torchkeep.load(path)
    except torchkeep.TrustError as error:
        assert "trust=('torchao',)" in str(error), error
    else:
        raise AssertionError("opened though nobody named its class")
assert "torchao" not in sys.modules
found = {}
for path in paths:
    model = torchkeep.load(path, trust=("torchao",))
    assert torchkeep.report_of(model).findings == (), torchkeep.report_of(model)
    assert type(model[0].weight).__module__.startswith("torchao")
    with torch.no_grad():
        found[path] = model(load_file(inputs)["x"])
save_file(found, out)
"""


def _quantized(name: str) -> nn.Sequential:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8)).eval()
    ao.quantize_(model, CONFIGS[name]())
    return model


def test_a_fresh_process_computes_the_same_bits(tmp_path: Path) -> None:
    models = {str(tmp_path / f"{name}.safetensors"): _quantized(name) for name in CONFIGS}
    for path, model in models.items():
        report = torchkeep.save(model, path)
        assert {finding.code for finding in report.findings} <= {"extra-repr"}
    inputs, out = str(tmp_path / "x.safetensors"), str(tmp_path / "y.safetensors")
    save_file({"x": torch.linspace(-1, 1, 128).reshape(2, 64)}, inputs)
    command = [sys.executable, "-c", FRESH, inputs, out, *models]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    found = load_file(out)
    for path, model in models.items():
        with torch.no_grad():  # what is put in lies in the same place: matrix products differ by alignment
            assert torch.equal(found[path], model(load_file(inputs)["x"])), path


def test_it_is_smaller_than_what_it_was(tmp_path: Path) -> None:
    def nbytes(model: Any) -> int:
        return torchkeep.save(model, tmp_path / "m.safetensors").nbytes

    assert nbytes(nn.Sequential(*[nn.Linear(512, 512) for _ in range(4)])) > 3 * nbytes(_wide())


def _wide() -> nn.Sequential:
    model = nn.Sequential(*[nn.Linear(512, 512) for _ in range(4)])
    ao.quantize_(model, ao.Int8WeightOnlyConfig())
    return model


def test_a_skeleton_keeps_the_weights_as_records(tmp_path: Path) -> None:
    torchkeep.save(_quantized("int8 weights"), tmp_path / "m.safetensors")
    skeleton = torchkeep.load(tmp_path / "m.safetensors", route="skeleton")
    record = vars(skeleton[0])["weight"]
    assert isinstance(record, torchkeep.Record)
    assert vars(record)["tensors"]["qdata"].dtype == torch.int8
    assert "Int8Tensor 64x64" in torchkeep.inspect(tmp_path / "m.safetensors").text()
