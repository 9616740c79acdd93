"""`save` where the file system, or the object itself, is against it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import torchkeep


def test_saving_over_the_file_that_tensors_are_mapped_from(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    weights = {"a": torch.randn(300, 7), "b": torch.arange(5)}
    save_file(weights, path)
    mapped = load_file(path)
    torchkeep.save({"b": mapped["b"], "a": mapped["a"].t()}, path)
    assert all(torch.equal(mapped[name], tensor) for name, tensor in weights.items())
    loaded = torchkeep.load(path)
    assert torch.equal(loaded["a"], weights["a"].t())
    assert torch.equal(loaded["b"], weights["b"])


def test_saving_over_a_torch_file_that_is_mapped(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    weights = {"a": torch.randn(300, 7)}
    torch.save(weights, path)
    mapped = torch.load(path, mmap=True)
    torchkeep.save(mapped, path)
    assert torch.equal(torchkeep.load(path)["a"], weights["a"])
    assert torch.equal(mapped["a"], weights["a"])


LIMITED = """
import resource, signal, sys, torch, torchkeep
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    torchkeep.save({"a": torch.ones(1_000_000)}, sys.argv[1])
except torchkeep.FullError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits on files are made the POSIX way")
def test_a_save_that_does_not_fit_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    torchkeep.save({"old": 1}, path)
    done = subprocess.run([sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("[TK-FULL]"), done.stdout + done.stderr
    assert "as it was" in done.stdout
    assert torchkeep.load(path) == {"old": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["net.safetensors"]
