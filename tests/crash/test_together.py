"""Threads and processes at once: every file is whole, and is one of those that were saved."""

from __future__ import annotations

import gc
import multiprocessing
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import torchkeep

ROUNDS = 15


def value(number: int) -> dict[str, Any]:
    """Something that says in every tensor who saved it."""
    return {
        "who": number,
        "weights": [torch.full((50, 50), float(number)) for _ in range(20)],
        "model": nn.Linear(8, 8),
    }


def whole(found: dict[str, Any]) -> int:
    assert {float(x) for tensor in found["weights"] for x in tensor.unique()} == {float(found["who"])}
    return int(found["who"])


def test_threads_that_save_to_paths_of_their_own(tmp_path: Path) -> None:
    def run(number: int) -> None:
        for _ in range(ROUNDS):
            torchkeep.save(value(number), tmp_path / f"{number}.safetensors", durable=False)
            assert whole(torchkeep.load(tmp_path / f"{number}.safetensors")) == number

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(4)))
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{number}.safetensors" for number in range(4)]
    assert gc.isenabled()


def test_threads_that_save_to_one_path(tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    torchkeep.save(value(0), path)

    def run(number: int) -> None:
        for _ in range(ROUNDS):
            torchkeep.save(value(number), path, durable=False)
            assert whole(torchkeep.load(path)) in range(4)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(4)))
    assert list(tmp_path.iterdir()) == [path]


def test_threads_that_save_one_model(tmp_path: Path) -> None:
    """Nothing of the model is changed by being saved, so any number may save it at once."""
    model = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(16, 2, 16, batch_first=True), 2, enable_nested_tensor=False
    )
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: torchkeep.save(model, tmp_path / f"{n}.safetensors", durable=False), range(12)))
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_processes_that_save_to_one_path(tmp_path: Path) -> None:
    """Whichever is last wins, whole; whoever reads meanwhile has a whole file, too."""
    path = tmp_path / "one.safetensors"
    torchkeep.save(value(0), path)
    code = (
        "import sys, torchkeep; sys.path.insert(0, sys.argv[3])\n"
        "from test_together import value\n"
        f"for _ in range({ROUNDS}): torchkeep.save(value(int(sys.argv[1])), sys.argv[2])"
    )
    here = str(Path(__file__).parent)
    writers = [subprocess.Popen([sys.executable, "-c", code, str(n), str(path), here]) for n in (1, 2)]
    seen = set()
    try:
        while any(writer.poll() is None for writer in writers):
            seen.add(whole(torchkeep.load(path)))
            assert torchkeep.load_into(nn.Linear(8, 8), path, key="model").matched == 2
    finally:
        codes = [writer.wait() for writer in writers]
    assert codes == [0, 0]
    assert seen <= {0, 1, 2}
    assert whole(torchkeep.load(path)) in (1, 2)
    assert list(tmp_path.iterdir()) == [path]


class FromFile(torch.utils.data.Dataset[torch.Tensor]):
    """Samples of a file that was loaded before the workers were forked, and of one that each worker opens."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.samples = torchkeep.load(path)["samples"]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> torch.Tensor:
        own = torchkeep.load(self.path, key="samples")
        assert torch.equal(own[index], self.samples[index])
        return self.samples[index]


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
def test_forked_workers_read_a_file(tmp_path: Path) -> None:
    samples = torch.arange(40.0).reshape(10, 4)
    torchkeep.save({"samples": samples, "other": torch.zeros(1000)}, tmp_path / "d.safetensors")
    loader = torch.utils.data.DataLoader(
        FromFile(tmp_path / "d.safetensors"), batch_size=2, num_workers=2, multiprocessing_context="fork"
    )
    assert torch.equal(torch.cat(list(loader)), samples)


def test_a_save_in_a_thread_leaves_signals_and_collector_alone(tmp_path: Path) -> None:
    gc.disable()
    try:
        thread = threading.Thread(target=torchkeep.save, args=(value(1), tmp_path / "x.safetensors"))
        thread.start()
        thread.join()
        assert not gc.isenabled()
    finally:
        gc.enable()
    assert whole(torchkeep.load(tmp_path / "x.safetensors")) == 1
