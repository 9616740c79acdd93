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
        "print(flush=True); sys.stdin.readline()\n"
        f"for _ in range({ROUNDS}): torchkeep.save(value(int(sys.argv[1])), sys.argv[2])"
    )
    here = str(Path(__file__).parent)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(n), str(path), here], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for n in (1, 2)
    ]
    seen = set()
    try:
        for writer in writers:
            assert writer.stdout
            writer.stdout.readline()  # it has imported all that it needs
        for writer in writers:
            assert writer.stdin
            writer.stdin.write(b"\n")
            writer.stdin.close()
        while any(writer.poll() is None for writer in writers):
            seen.add(whole(torchkeep.load(path)))
            assert torchkeep.load_into(nn.Linear(8, 8), path, key="model").matched == 2
    finally:
        codes = []
        for writer in writers:
            assert writer.stdout
            writer.stdout.close()
            codes.append(writer.wait(60))
    assert codes == [0, 0]
    assert {1, 2} & seen
    assert seen <= {0, 1, 2}
    assert whole(torchkeep.load(path)) in (1, 2)
    assert list(tmp_path.iterdir()) == [path]


class FromFile(torch.utils.data.Dataset[torch.Tensor]):
    """Samples of a file that was loaded before the workers were forked, and of one that each worker opens.

    A worker spoils its own samples once it has taken them: nobody else may see that.
    """

    def __init__(self, path: Path, *, mmap: bool) -> None:
        self.path = path
        self.mmap = mmap
        self.samples = torchkeep.load(path, mmap=mmap)["samples"]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> torch.Tensor:
        own = torchkeep.load(self.path, key="samples", mmap=self.mmap)
        assert torch.equal(own[index], self.samples[index])
        own.zero_()
        sample = self.samples[index].clone()
        self.samples[index] = -1
        return sample


@pytest.mark.parametrize("mmap", [False, True], ids=["read", "mapped"])
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
def test_forked_workers_read_a_file(tmp_path: Path, mmap: bool) -> None:
    path = tmp_path / "d.safetensors"
    samples = torch.arange(40.0).reshape(10, 4)
    torchkeep.save({"samples": samples, "other": torch.zeros(1000)}, path)
    before = path.read_bytes()
    dataset = FromFile(path, mmap=mmap)
    loader = torch.utils.data.DataLoader(dataset, batch_size=2, num_workers=2, multiprocessing_context="fork")
    for _ in range(2):  # new workers each time
        assert torch.equal(torch.cat(list(loader)), samples)
    assert torch.equal(dataset.samples, samples)
    assert path.read_bytes() == before


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
def test_a_mapping_outlives_a_save_over_its_file_in_another_process(tmp_path: Path) -> None:
    """A forked process reads on in the old file, whole, while another saves new ones under its name."""
    path = tmp_path / "one.safetensors"
    torchkeep.save(value(0), path)
    mapped = torchkeep.load(path, mmap=True)
    context = multiprocessing.get_context("fork")
    begin, done = context.Event(), context.SimpleQueue()

    def read() -> None:
        begin.wait(60)
        done.put(whole(mapped))

    reader = context.Process(target=read)
    reader.start()
    torchkeep.save(value(1), path)
    begin.set()
    reader.join(60)
    assert reader.exitcode == 0
    assert done.get() == whole(mapped) == 0
    assert whole(torchkeep.load(path, mmap=True)) == 1


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
