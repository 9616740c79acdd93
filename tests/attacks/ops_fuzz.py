"""Every operator that a program may call, called as nobody would: does the process live?

    python tests/attacks/ops_fuzz.py --seconds 600          a campaign over all of the table
    python tests/attacks/ops_fuzz.py --only lstm --case 17  one case again, in this process

A case is known by its operator, its seed and its number. Each operator gets forks of its own, with bounds on memory and
time; a fork that dies of a signal or hangs is a finding. Tensors lie against pages that nobody may touch, so reading
outside of them is a signal, too. Behind ``--fence`` so does what torch allocates (it takes a C compiler).

Guards run as they do before a program calls an operator. What they refuse counts as refused.
"""

from __future__ import annotations

import argparse
import ctypes
import math
import mmap
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.fx.experimental.symbolic_shapes  # what a backward would import, in every fork anew
from torch.utils._pytree import tree_flatten

from torchkeep.errors import TorchkeepError
from torchkeep.programs.guards import guard_of, plain
from torchkeep.programs.ops import OPS
from torchkeep.programs.resolve import overload

SAMPLES: dict[str, list[str]] = {}
"""Calls that torch accepts, to begin from, as ``ops_samples.txt`` has them: `f(2, 3)` is a tensor of that shape."""

for _line in Path(__file__).with_name("ops_samples.txt").read_text().splitlines():
    SAMPLES.setdefault(_line.partition("(")[0], []).append(_line.partition("(")[2][:-1])

ROOM = 1 << 30
"""Address space of a fork beyond what it starts with: what asks for 2**31 of anything is told that there is none."""

PATIENCE = 10
"""Seconds that one call may take."""

INTS = (0, 1, -1, 2, 3, 5, 7, 64, 99, -2, -5, 127, 1000, 65536, 2**31 - 1, 2**31, -(2**31), 2**32, 2**62, 2**63 - 1)
INTS += (-(2**63), 2**63, 2**64)
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 1e-45, 1e38, -1e300, 1e19, -1e19, math.nan, math.inf, -math.inf)
WORDS = ("", "mean", "sum", "none", "floor", "trunc", "reflect", "circular", "constant", "same", "valid", "ij", "fro")
WORDS += ("nuc", "left", "linear", "amax", "prod", "add", "tanh", "ij,jk->ik", "i...->...", "\0", "é" * 100, "x" * 5000)
DTYPES = tuple(
    getattr(torch, name)
    for name in (
        *("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"),
        *("complex64", "complex128", "complex32", "uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2"),
        *("qint8", "quint8", "qint32", "quint4x2", "bits8", "bits16"),
    )
    if hasattr(torch, name)
)
PLAIN = DTYPES[:12]
LAYOUTS = (torch.strided, torch.sparse_coo, torch.sparse_csr, torch._mkldnn, torch.jagged)
FORMATS = (torch.contiguous_format, torch.preserve_format, torch.channels_last, torch.channels_last_3d)
LETTERS = {
    "f": torch.float32,
    "d": torch.float64,
    "h": torch.float16,
    "bf": torch.bfloat16,
    "b": torch.bool,
    "i": torch.int64,
    "i4": torch.int32,
    "i2": torch.int16,
    "i1": torch.int8,
    "u1": torch.uint8,
    "c": torch.complex64,
    "z": torch.complex128,
}


class Slots:
    """Memory between pages that nobody may touch."""

    def __init__(self, count: int = 6, pages: int = 16) -> None:
        self.page = mmap.PAGESIZE
        self.length = pages * self.page
        libc = ctypes.CDLL(None, use_errno=True)
        self.maps = []
        for _ in range(count):
            whole = mmap.mmap(-1, self.length + 2 * self.page)
            start = ctypes.addressof(ctypes.c_char.from_buffer(whole))
            for at in (start, start + self.page + self.length):
                assert libc.mprotect(ctypes.c_void_p(at), ctypes.c_size_t(self.page), 0) == 0
            self.maps.append(whole)
        self.next = 0

    def put(self, tensor: torch.Tensor, *, at_end: bool) -> torch.Tensor:
        """The same tensor in a slot, or as it is where none has room."""
        size = tensor.numel() * tensor.element_size()
        if not 0 < size <= self.length or tensor.dtype not in PLAIN:
            return tensor
        whole = self.maps[self.next % len(self.maps)]
        self.next += 1
        start = self.page + (self.length - size if at_end else 0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            flat = torch.frombuffer(whole, dtype=torch.uint8, count=size, offset=start).view(tensor.dtype)
        return flat.view(tensor.shape).copy_(tensor)


def letters(rng: random.Random) -> dict[str, Any]:
    """What the text of a sample may name."""

    def maker(dtype: torch.dtype) -> Callable[..., torch.Tensor]:
        def make(*shape: int) -> torch.Tensor:
            if dtype == torch.bool:
                return torch.rand(shape) > 0.5
            if dtype.is_floating_point or dtype.is_complex:
                return (torch.rand(shape) * 0.8 + 0.1).to(dtype)
            return torch.randint(0, rng.choice((2, 4, 4)), shape).to(dtype)

        return make

    return {name: maker(dtype) for name, dtype in LETTERS.items()} | {"torch": torch}


def sample(text: str, rng: random.Random) -> tuple[list[Any], dict[str, Any]]:
    """The arguments that a line of `SAMPLES` tells."""
    taken: tuple[list[Any], dict[str, Any]] = eval(f"(lambda *a, **k: (list(a), k))({text})", letters(rng))
    return taken


class Maker:
    """Arguments for one operator: samples with a few arguments made hostile, and such as no sample has."""

    def __init__(self, name: str, rng: random.Random, slots: Slots | None) -> None:
        self.rng = rng
        self.slots = slots
        self.samples = SAMPLES.get(name, [])
        _, base, which = name.split(".")
        self.arguments = list(getattr(getattr(torch.ops.aten, base), which)._schema.arguments)

    def case(self) -> tuple[list[Any], dict[str, Any]]:
        rng = self.rng
        self.dtype = rng.choice((torch.float32, torch.float32, *PLAIN))
        self.shape = rng.choice(((3,), (2, 3), (4, 4), (1, 4, 4), (2, 4, 5), (1, 2, 6, 6), (1, 2, 4, 4, 4), (), (0, 3)))
        if self.samples and rng.random() < 0.8:
            args, kwargs = sample(rng.choice(self.samples), rng)
            for _ in range(rng.choice((0, 1, 1, 1, 2, 2, 3, 5))):
                places = [*range(len(args)), *kwargs]
                absent = [one for at, one in enumerate(self.arguments) if at >= len(args) and one.name not in kwargs]
                if absent and rng.random() < 0.3:
                    one = rng.choice(absent)
                    kwargs[one.name] = self.value(str(one.real_type))
                elif places:
                    place = rng.choice(places)
                    holder: Any = args if isinstance(place, int) else kwargs
                    holder[place] = self.changed(holder[place], self.type_of(place))
            if rng.random() < 0.15:  # all tensors of another dtype, together
                args = [one.to(self.dtype) if _floats(one) else one for one in args]
        else:
            args, kwargs = [], {}
            for one in self.arguments:
                if one.has_default_value() and rng.random() < 0.5:
                    break
                if one.kwarg_only:
                    kwargs[one.name] = self.value(str(one.real_type))
                else:
                    args.append(self.value(str(one.real_type)))
        args = [self.placed(one) for one in args]
        kwargs = {name: self.placed(one) for name, one in kwargs.items()}
        if rng.random() < 0.1:
            self.overlap(args)
        return args, kwargs

    def type_of(self, place: int | str) -> str:
        found = [one for at, one in enumerate(self.arguments) if place in (at, one.name)]
        return str(found[0].real_type) if found else "Tensor"

    def overlap(self, args: list[Any]) -> None:
        """Let two tensors be of the same memory."""
        places = [at for at, one in enumerate(args) if isinstance(one, torch.Tensor)]
        if len(places) > 1:
            one, other = self.rng.sample(places, 2)
            whole = args[one].detach()
            shape = args[other].shape
            try:
                part = whole.reshape(-1)[self.rng.choice((0, 1)) :][: math.prod(shape)].view(shape)
            except (RuntimeError, IndexError):
                part = whole
            args[other] = part

    def placed(self, value: Any) -> Any:
        """Tensors against pages that nobody may touch; some with a gradient."""
        rng = self.rng
        if isinstance(value, list):
            return [self.placed(one) for one in value]
        if not isinstance(value, torch.Tensor) or value.device.type != "cpu" or value.layout != torch.strided:
            return value
        if self.slots and value.is_contiguous() and rng.random() < 0.7:
            value = self.slots.put(value, at_end=rng.random() < 0.8)
        if (value.is_floating_point() or value.is_complex()) and value.is_leaf and rng.random() < 0.15:
            value = value.detach().requires_grad_()
        return value

    def changed(self, value: Any, kind: str) -> Any:
        rng = self.rng
        if rng.random() < 0.07:
            return self.anything()
        if isinstance(value, torch.Tensor) and rng.random() < 0.85:
            return self.bent(value)
        if isinstance(value, list) and value and rng.random() < 0.7:
            value = list(value)
            at = rng.randrange(len(value))
            drawn = rng.random()
            if drawn < 0.6:
                value[at] = self.changed(value[at], kind.replace("List[", "").replace("]", ""))
            elif drawn < 0.75:
                del value[at]
            elif drawn < 0.9:
                value.insert(at, value[at])
            else:
                value = []
            return value
        if type(value) is int and rng.random() < 0.4:
            return value + rng.choice((1, -1, 2, -2, 10, -value, -2 * value))
        return self.value(kind)

    def bent(self, tensor: torch.Tensor) -> torch.Tensor:
        rng = self.rng
        way = rng.randrange(19)
        shape = list(tensor.shape)
        if way == 0:
            return self.filled(shape, rng.choice(PLAIN))
        if way == 1:
            return self.filled([*shape, rng.choice((0, 1, 3))], tensor.dtype)
        if way == 2 and shape:
            return tensor.select(rng.randrange(len(shape)), 0) if 0 not in shape else tensor
        if way in (3, 4) and shape:
            shape[rng.randrange(len(shape))] = rng.choice((0, 0, 1, 2, 3, 7, 17, 130))
            return self.filled(shape, tensor.dtype)
        if way == 5:
            return self.filled(rng.choice(((), (0,), (1,), (1, 1), (0, 0, 0), (2, 0, 3))), tensor.dtype)
        if way == 6 and shape:
            return tensor[tuple(slice(0, 1) for _ in shape)].expand(shape)  # all one element
        if way == 7 and len(shape) > 1:
            return tensor.transpose(0, -1)
        if way == 8 and len(shape) > 1:
            return tensor.transpose(0, -1).contiguous().transpose(0, -1)
        if way == 9 and tensor.numel() > 2:
            count = tensor.numel()
            return torch.as_strided(tensor.contiguous(), (count // 2, 2), (1, 1))  # elements that overlap
        if way == 10:
            return tensor[None]
        if way == 11 and shape:
            return torch.cat([tensor, tensor], -1)[..., ::2]
        if way == 12:
            return tensor.to(rng.choice(PLAIN))
        if way == 13 and tensor.is_complex():
            return tensor.conj()
        if way == 14 and rng.random() < 0.3:
            return tensor.to("meta")
        if way == 15 and rng.random() < 0.3 and tensor.dtype == torch.float32:
            return tensor.to_sparse()
        if way == 16 and len(shape) == 4:
            return tensor.contiguous(memory_format=torch.channels_last)
        if way == 17 and tensor.numel():
            tensor = tensor.clone()
            one = tensor.view(-1)
            one[rng.randrange(len(one))] = self.number(tensor.dtype)
            return tensor
        return self.filled(shape, tensor.dtype)

    def number(self, dtype: torch.dtype) -> Any:
        if dtype == torch.bool:
            return self.rng.random() < 0.5
        if dtype.is_floating_point or dtype.is_complex:
            return self.rng.choice([one for one in FLOATS if abs(one) < 6e4 or math.isinf(one) or math.isnan(one)])
        least, most = torch.iinfo(dtype).min, torch.iinfo(dtype).max
        return self.rng.choice([one for one in (*INTS, least, most, -3, 4, 8, 16) if least <= one <= most])

    def filled(self, shape: Any, dtype: torch.dtype) -> torch.Tensor:
        rng = self.rng
        if math.prod(shape) > 1 << 16:
            shape = [min(one, 2) for one in shape[:8]]
        if dtype not in PLAIN:
            return torch.zeros(shape).to(dtype) if dtype.is_floating_point else torch.zeros(shape)
        if rng.random() < 0.4:
            return torch.full(list(shape), self.number(dtype), dtype=dtype)
        tensor = (torch.randn(shape) * rng.choice((1, 1, 10, 100))).to(dtype)
        if tensor.numel() and rng.random() < 0.5:
            flat = tensor.view(-1)
            flat[rng.randrange(len(flat))] = self.number(dtype)
        return tensor

    def tensor(self) -> torch.Tensor:
        rng = self.rng
        shape = list(self.shape)
        if rng.random() < 0.3:
            shape = [rng.choice((0, 1, 2, 3, 5)) for _ in range(rng.randrange(6))]
        made = self.filled(shape, self.dtype if rng.random() < 0.7 else rng.choice((torch.int64, *PLAIN)))
        return self.bent(made) if rng.random() < 0.3 else made

    def anything(self) -> Any:
        rng = self.rng
        kinds = ("int", "float", "bool", "str", "Tensor", "List[int]", "List[Tensor]", "ScalarType", "Layout", "Device")
        odd = (None, ..., slice(0, 2), 1j, {}, (), [[]], [None], torch.Size([2]))
        return rng.choice(odd) if rng.random() < 0.5 else self.value(rng.choice(kinds))

    def value(self, kind: str) -> Any:
        rng = self.rng
        if kind.startswith("Optional["):
            return None if rng.random() < 0.25 else self.value(kind[len("Optional[") : -1])
        if kind.startswith("List["):
            inner = kind[len("List[") : -1]
            return [self.value(inner) for _ in range(rng.choice((0, 1, 1, 2, 2, 3, 4, 6)))]
        if kind == "Tensor":
            return self.tensor()
        if kind in ("int", "SymInt"):
            return rng.choice(INTS) if rng.random() < 0.5 else rng.randrange(-2, 6)
        if kind == "float":
            return rng.choice(FLOATS)
        if kind == "bool":
            return rng.random() < 0.5
        if kind == "number":
            return rng.choice((*FLOATS, *INTS, True, 1j, complex(math.nan, math.inf)))
        if kind == "str":
            return rng.choice(WORDS)
        if kind == "Device":
            return rng.choice(("cpu", "cpu", "meta", "cuda", "cpu:7"))
        if kind == "ScalarType":
            return rng.choice((*DTYPES, *PLAIN, -1, 99, 7))
        if kind == "Layout":
            return rng.choice((*LAYOUTS, 99))
        if kind == "MemoryFormat":
            return rng.choice((*FORMATS, 99))
        return None


def _floats(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point() and value.layout == torch.strided


def told(value: Any) -> str:
    """An argument, in a few words."""
    if isinstance(value, list):
        return f"[{', '.join(map(told, value[:8]))}]"
    if not isinstance(value, torch.Tensor):
        return repr(value)[:60]
    text = f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
        return f"{text} {value.layout} {value.device}"
    if not value.is_contiguous():
        text += f" by {value.stride()}"
    if value.numel() <= 6:
        text += f" of {value.detach().reshape(-1).tolist()}"
    return text + (" grad" if value.requires_grad else "")


def touched(results: Any) -> None:
    """Read all that came back, and hold its extent against its memory."""
    for one in tree_flatten(results)[0][:64]:
        if isinstance(one, torch.Tensor) and one.layout == torch.strided and one.device.type == "cpu":
            extent = one.storage_offset() + sum((n - 1) * s for n, s in zip(one.shape, one.stride(), strict=True)) + 1
            if one.numel():
                assert extent * one.element_size() <= one.untyped_storage().nbytes(), "a view outside of its memory"
                if one.numel() < 1 << 20:
                    one.detach().clone()


def call(name: str, args: list[Any], kwargs: dict[str, Any], *, backward: bool) -> str:
    """Call an operator as a program does; what came of it."""
    guard = guard_of(name)
    if not all(plain(one) for one in tree_flatten((args, kwargs))[0] if isinstance(one, torch.Tensor)):
        return "refused"
    try:
        if guard:
            guard(args, kwargs)
    except TorchkeepError:
        return "refused"
    try:
        results = overload(name, OPS[name].schema)(*args, **kwargs)
    except Exception:
        return "raised"
    touched(results)
    if backward:
        for one in tree_flatten(results)[0][:8]:
            if isinstance(one, torch.Tensor) and one.requires_grad and one.numel() < 1 << 16:
                try:
                    one.backward(torch.ones_like(one), retain_graph=True)
                except Exception:
                    return "ran"
    return "ran"


class Finding(NamedTuple):
    name: str
    seed: int
    first: int
    case: int
    died: str
    call: str

    def __str__(self) -> str:
        return f"{self.name} --seed {self.seed} --first {self.first} --case {self.case}: {self.died}: {self.call}"


def run_cases(
    name: str, seed: int, note: mmap.mmap | None, *, first: int, until: float, only: int | None, most: int | None = None
) -> None:
    """Cases of one operator, one after the other; what runs now is noted before it runs."""
    rng = random.Random(f"{name} {seed} {first}")
    slots = Slots()
    maker = Maker(name, rng, slots)
    counts = {"ran": 0, "raised": 0, "refused": 0}
    number = first
    while (time.monotonic() < until or number == first) if most is None else number < most:
        torch.manual_seed(rng.randrange(1 << 30))
        try:
            args, kwargs = maker.case()
        except (RuntimeError, ValueError, IndexError, TypeError, NotImplementedError, OverflowError):
            args, kwargs = [], {}  # what torch does not make of itself
        backward = rng.random() < 0.5
        text = ", ".join([*map(told, args), *(f"{key}={told(one)}" for key, one in kwargs.items())])
        if note is not None:
            signal.setitimer(signal.ITIMER_REAL, PATIENCE)
            data = text.encode(errors="replace")[:3000]
            note[:16] = number.to_bytes(8, "little") + len(data).to_bytes(8, "little")
            note[64 : 64 + len(data)] = data
        if only is not None and number == only:
            print(f"{name}({text})", flush=True)
        if only is None or number == only:
            counts[call(name, args, kwargs, backward=backward)] += 1
            if only is not None:
                print(counts)
                return
        number += 1
        if note is not None:
            note[16:40] = b"".join(counts[key].to_bytes(8, "little") for key in counts)


def forked(name: str, seed: int, seconds: float, first: int, most: int | None) -> tuple[int, mmap.mmap]:
    """A process that runs cases of an operator; its number, and where it notes what it does."""
    note = mmap.mmap(-1, 4096)
    process = os.fork()
    if process:
        return process, note
    try:
        silent = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 2):
            os.dup2(silent, descriptor)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE
        resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, used + ROOM))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        warnings.simplefilter("ignore")
        torch.set_num_threads(1 + seed % 2)
        run_cases(name, seed, note, first=first, until=time.monotonic() + seconds, only=None, most=most)
    except MemoryError:
        os._exit(0)
    except BaseException as error:
        data = f"{type(error).__name__}: {error}".encode(errors="replace")[:600]
        note[3200 : 3200 + len(data)] = data
        os._exit(70)
    os._exit(0)


def campaign(
    names: list[str], seed: int, seconds: float, most: int | None, workers: int
) -> tuple[list[Finding], dict[str, list[int]]]:
    """Every operator for its share of the time, a few at once; what was found, and how many calls each had."""
    share = seconds * workers / len(names)
    waiting = [(name, 0, share) for name in reversed(names)]
    running: dict[int, tuple[str, int, float, float, mmap.mmap]] = {}
    findings: list[Finding] = []
    counts: dict[str, list[int]] = {name: [0, 0, 0] for name in names}
    while waiting or running:
        while waiting and len(running) < workers:
            name, first, left = waiting.pop()
            process, note = forked(name, seed, left, first, most)
            running[process] = (name, first, left, time.monotonic(), note)
        process, status = os.wait()
        name, first, left, began, note = running.pop(process)
        for at in range(3):
            counts[name][at] += int.from_bytes(note[16 + 8 * at : 24 + 8 * at], "little")
        if status == 0:
            continue
        number, length = (int.from_bytes(note[at : at + 8], "little") for at in (0, 8))
        text = note[64 : 64 + length].decode(errors="replace")
        if os.WIFSIGNALED(status):
            died = signal.Signals(os.WTERMSIG(status)).name
        else:
            died = note[3200:3800].rstrip(b"\0").decode(errors="replace") or f"ended with {status}"
        finding = Finding(name, seed, first, number, died, text)
        findings.append(finding)
        print(finding, flush=True)
        left -= time.monotonic() - began
        many = sum(one.name == name for one in findings)
        if left > 0 and many < 4:
            waiting.append((name, number + 1, left))
    return findings, counts


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default="", help="an operator's name, or a pattern of names")
    parser.add_argument("--cases", type=int, help="so many of each operator, however long they take")
    parser.add_argument("--case", type=int, help="run this one, here")
    parser.add_argument("--first", type=int, default=0, help="the number that the cases of its fork began with")
    parser.add_argument("--fence", action="store_true", help="what torch allocates lies against closed pages, too")
    told = parser.parse_args()
    if told.fence and "LD_PRELOAD" not in os.environ:
        return fenced(sys.argv)
    names = [name for name in OPS if re.search(told.only, name)]
    if told.only in OPS:
        names = [told.only]
    torch.set_num_threads(1)
    if told.case is not None:
        run_cases(names[0], told.seed, None, first=told.first, until=math.inf, only=told.case)
        return 0
    findings, counts = campaign(names, told.seed, told.seconds, told.cases, told.workers)
    ran, raised, refused = (sum(one[at] for one in counts.values()) for at in range(3))
    never = [name for name, one in counts.items() if not one[0]]
    print(f"{len(names)} operators, seed {told.seed}: {ran} calls ran, {raised} raised, {refused} were refused")
    print(f"{len(findings)} findings in {len({one.name for one in findings})} operators; never ran: {never}")
    return bool(findings)


def fenced(argv: list[str]) -> int:
    """The same command, where every larger allocation of the process lies against a closed page."""
    with tempfile.TemporaryDirectory() as directory:
        library = str(Path(directory, "fence.so"))
        source = str(Path(__file__).with_name("fence.c"))
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        return subprocess.run([sys.executable, *argv], check=False, env=os.environ | {"LD_PRELOAD": library}).returncode


if __name__ == "__main__":
    sys.exit(main())
