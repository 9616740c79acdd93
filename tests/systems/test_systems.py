"""The verbs on a Windows, a macOS, and on a system that has none of what is optional, as far as Linux can act them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the other systems are acted on Linux")

BEFORE = f"""
import errno, gc, os, sys
import torch
from torch import nn
sys.path.insert(0, {str(Path(__file__).parent)!r})
import other_system
SYSTEM = sys.argv[1]
other_system.become(SYSTEM)
import torchkeep
from torchkeep import storage
from torchkeep.storage import local

def names():
    return sorted(os.listdir(HOME))

def contents():
    with open(PATH, "rb") as file:
        return file.read()

def raises(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {{kind.__name__}}")
"""

ROUND_TRIP = """
model = nn.Sequential(nn.Linear(30, 40), nn.BatchNorm1d(40), nn.ReLU(), nn.Linear(40, 2))
adam = torch.optim.AdamW(model.parameters())
model(torch.randn(5, 30)).sum().backward()
adam.step()
whole = torch.arange(7)
array = whole.numpy()
value = {
    "model": model, "adam": adam, "lines": "\\r\\n\\x1a" * 9000, "array": array, "seen": whole[2:],
    "image": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last), "none": torch.empty(0, 3),
    "big": torch.randint(0, 256, (45 << 20,), dtype=torch.uint8), "é\\u4e2d": True,
}
model.eval()
for durable in (True, False):
    torchkeep.save(value, PATH, durable=durable)
for mmap in (False, True):
    loaded = torchkeep.load(PATH, mode="eval", mmap=mmap)
    assert list(loaded) == list(value)
    for name in ("seen", "image", "none", "big"):
        assert torch.equal(loaded[name], value[name]), name
    assert loaded["image"].stride() == value["image"].stride()
    assert loaded["lines"] == value["lines"] and loaded["é\\u4e2d"] is True
    loaded["array"][2] = 99
    assert loaded["seen"][0] == 99
    probe = torch.randn(5, 30)
    assert torch.equal(loaded["model"](probe), model(probe))
    loaded["model"](probe).sum().backward()
    loaded["adam"].step()
del loaded
gc.collect()
other = nn.Sequential(nn.Linear(30, 40), nn.BatchNorm1d(40), nn.ReLU(), nn.Linear(40, 2))
torchkeep.load_into({"model": other, "adam": torch.optim.AdamW(other.parameters())}, PATH)
assert torch.equal(other[3].weight, model[3].weight)
assert torchkeep.inspect(PATH).nbytes == os.stat(PATH).st_size == len(contents())
assert isinstance(raises(torchkeep.ExistsError, lambda: torchkeep.save(value, PATH, overwrite=False)), FileExistsError)
torchkeep.save(1, PATH + "2", overwrite=False)
assert torchkeep.load(PATH + "2") == 1
os.unlink(PATH + "2")
assert names() == ["net.safetensors"], names()
assert bool(other_system.full_flushes) == (SYSTEM == "macos")
"""

FAILURES = """
torchkeep.save({"a": torch.arange(10.0)}, PATH)
old = contents()
new = {"a": torch.zeros(3 << 20), "b": torch.zeros(7)}

def unchanged():
    assert contents() == old and names() == ["net.safetensors"], names()
    assert torchkeep.load(PATH)["a"][9] == 9

def failing(number):
    def fail(*_):
        raise OSError(number, os.strerror(number))
    return fail

def failing_late(call):
    calls = []
    def late(*arguments):
        calls.append(1)
        if len(calls) > 1:
            failing(errno.ENOSPC)()
        return call(*arguments)
    return late

raises(torchkeep.UnsaveableError, lambda: torchkeep.save({"a": new, "b": lambda: 1}, PATH))
unchanged()
steps = [name for name in ("pwritev", "write", "fsync", "replace", "ftruncate", "posix_fallocate") if hasattr(os, name)]
failed = []
for step in steps:
    call = getattr(os, step)
    late = [failing_late(call)] if step != "fsync" else []  # the second flush is the directory's: too late to undo
    for broken in (failing(errno.ENOSPC), *late):
        setattr(os, step, broken)
        try:
            torchkeep.save(new, PATH)
        except torchkeep.FullError as error:
            failed.append(step)
            assert "as it was" in str(error) and PATH in str(error), error
        else:  # the step is taken no second time, or not at all here
            setattr(os, step, call)
            torchkeep.save({"a": torch.arange(10.0)}, PATH)
        setattr(os, step, call)
        unchanged()
assert {"replace"} | ({"write", "ftruncate"} if SYSTEM in ("bare", "windows") else {"pwritev"}) <= set(failed), failed
for kind, path in ((torchkeep.NotAFileError, HOME), (torchkeep.NotFoundError, os.path.join(HOME, "no", "net"))):
    raises(kind, lambda: torchkeep.load(path))
    raises(kind, lambda: torchkeep.save(new, path))
with open(PATH, "ab") as file:
    file.write(b"x")
raises(torchkeep.FormatError, lambda: torchkeep.load(PATH))
"""

READ_ONLY = """
torchkeep.save({"a": 1}, PATH)
os.chmod(PATH, 0o444)
if SYSTEM == "windows":
    error = raises(torchkeep.AccessError, lambda: torchkeep.save({"a": 2}, PATH))
    assert "as it was" in str(error) and "permissions" in str(error), error
else:
    torchkeep.save({"a": 2}, PATH)
assert names() == ["net.safetensors"], names()
assert torchkeep.load(PATH) == {"a": 1 if SYSTEM == "windows" else 2}
"""

MAPPED = """
torchkeep.save({"a": torch.arange(10.0), "b": torch.ones(5)}, PATH)
old = contents()
mapped = torchkeep.load(PATH, mmap=True)
mapped["a"] += 1
save = lambda: torchkeep.save({"a": mapped["a"], "b": mapped["b"]}, PATH)
if SYSTEM == "windows":
    error = raises(torchkeep.AccessError, save)
    assert "as it was" in str(error) and "mmap=True" in str(error) and PATH in str(error), error
    assert isinstance(error, PermissionError)
    assert contents() == old and names() == ["net.safetensors"], names()
    torchkeep.save(mapped, PATH + "2")
    assert torch.equal(torchkeep.load(PATH + "2")["a"], mapped["a"])
    os.unlink(PATH + "2")
    del error  # its frames hold what was to be saved
    mapped = {name: tensor.clone() for name, tensor in mapped.items()}
    gc.collect()
save()
assert torch.equal(torchkeep.load(PATH)["a"], torch.arange(10.0) + 1)
assert torch.equal(mapped["b"], torch.ones(5))
assert names() == ["net.safetensors"], names()
"""

CAPABILITIES = """
flags = {name: value for name, value in vars(local).items() if name.startswith("_HAVE_")}
assert len(flags) == 7
if SYSTEM in ("bare", "windows"):
    assert [name for name, value in flags.items() if value] == ["_HAVE_LINK"] * (SYSTEM == "windows"), flags
if SYSTEM == "macos":
    assert [name for name, value in flags.items() if not value] == ["_HAVE_FALLOCATE"], flags
assert (local._FULL_FSYNC == 51) == (SYSTEM == "macos")
"""


SCRIPTS = {
    "capabilities": CAPABILITIES,
    "round trip": ROUND_TRIP,
    "failures": FAILURES,
    "read-only": READ_ONLY,
    "mapped": MAPPED,
}


@pytest.mark.parametrize("system", ["linux", "bare", "windows", "macos"])
def test_the_verbs_keep_their_word(tmp_path: Path, system: str) -> None:
    """One process runs all scripts, each in a directory of its own: most of the time is torch's import."""
    script = BEFORE
    for number, (name, part) in enumerate(SCRIPTS.items()):
        (tmp_path / str(number)).mkdir()
        script += f"HOME = {str(tmp_path / str(number))!r}\nPATH = os.path.join(HOME, 'net.safetensors')\n"
        script += f"{part}print({name!r})\n"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, system], capture_output=True, text=True, check=False
    )
    assert (done.stdout.splitlines(), done.returncode) == (list(SCRIPTS), 0), done.stderr
