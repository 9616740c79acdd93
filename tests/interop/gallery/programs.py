"""Architectures run by the programs in their files, beside the models that were saved.

    python -m gallery.programs [--only LABEL,...] [--json FILE] [TABLE ...]

Every row is saved with an example, loaded by its program, and compared with the model: in each column it is ``right``,
``close`` (rounded otherwise), ``refused`` with a clear `CallError`, ``wrong``, or the column is none of its (``-``).
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import torchkeep
from torchkeep.errors import CallError

from .architecture import Architecture
from .architectures import TABLES, table
from .facts import SEED

COLUMNS = (
    "captured in eval",
    "captured in train",
    "left alone",
    "eval",
    "other batches",
    "other sizes",
    "train",
    "gradients",
    "buffers",
    "other batches in train",
    "other sizes in train",
    "mixtures",
    "state_dict",
    "copies",
    "casts",
)
RIGHT, NONE = "right", "-"
Call = dict[str, Any]
"""The arguments of a call by name; those by position under their number."""


@dataclass
class Told:
    """What was seen of one row: a word for each column, and what torchkeep itself noticed."""

    columns: dict[str, str] = field(default_factory=dict)
    noticed: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def put(self, column: str, what: str) -> None:
        """Keep the worst of what was seen."""
        if _badness(what) >= _badness(self.columns.get(column, NONE)):
            self.columns[column] = what


def _badness(what: str) -> int:
    return [NONE, RIGHT, "close", "refused", "wrong"].index(what.partition(":")[0])


def look(row: Architecture, path: Path, **options: Any) -> Told:
    """Everything about one row."""
    told = Told()
    begin = time.monotonic()
    torch.manual_seed(SEED)
    model = row.build()
    call: Call = dict(enumerate(row.inputs())) | row.kwargs()  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with torch.no_grad():
            _run(model, call)
        before = _everything(model)
        report = torchkeep.save(model, path, example=_example(call), **options)
    told.put("left alone", RIGHT if _everything(model) == before else "wrong: the save changed the model")
    told.noticed = [str(finding) for finding in report.findings if finding.code in ("no-program", "sizes", "program")]
    told.seconds = time.monotonic() - begin
    try:
        loaded = torchkeep.load(path, route="program", mode="saved", allow={"hooks"})
    except torchkeep.TorchkeepError as error:
        why = next((text for text in told.noticed if "could not" in text), str(error))
        for column in COLUMNS[:2]:
            told.put(column, f"wrong: {why}")
        return told
    runner = vars(loaded)["(program)"]
    for mode in ("eval", "train"):
        why = next((text for text in told.noticed if f"in {mode} mode" in text), "not captured")
        told.put(f"captured in {mode}", RIGHT if mode in runner.program.modes else f"wrong: {why}")
    _Pair(row, model, loaded, call, told, runner.program.modes).compare()
    return told


class _Pair:
    """A model and what was loaded of it; what changes one, changes the other."""

    def __init__(
        self,
        row: Architecture,
        model: torch.nn.Module,
        loaded: torch.nn.Module,
        call: Call,
        told: Told,
        modes: tuple[str, ...],
    ) -> None:
        self.row, self.model, self.loaded, self.call, self.told, self.modes = row, model, loaded, call, told, modes
        self.varied = list(_varied(call))

    def compare(self) -> None:
        told = self.told
        self._state_dicts()
        if "eval" in self.modes:
            self._each(torch.nn.Module.eval)
            told.put("eval", self._same(self.call))
            for call, which in self.varied:
                told.put(f"other {which}", self._same(call))
            told.put("copies", self._copied())
            for dtype in (torch.float64, torch.bfloat16, torch.float16):
                told.put("casts", self._cast(dtype))
        if "train" in self.modes:
            self._each(lambda module: module.train())
            self._train(self.call, "train", "gradients", "buffers")
            for call, which in self.varied:
                self._train(call, *[f"other {which} in train"] * 3)
        if len(self.modes) == 2:
            for seed in range(4):
                told.put("mixtures", self._mixture(seed))

    def _each(self, change: Callable[[torch.nn.Module], Any]) -> None:
        for root in (self.model, self.loaded):
            for module in root.modules():
                change(module) if change is not torch.nn.Module.eval else None
                module.training = module.training if change is not torch.nn.Module.eval else False

    def _same(self, call: Call, pair: tuple[Any, Any] | None = None, tolerance: float | None = None) -> str:
        """Whether both give one result, without gradients."""
        model, loaded = pair or (self.model, self.loaded)
        with torch.no_grad():
            try:
                wanted = _run(model, call)
            except Exception:
                return NONE  # what the model does not take
            try:
                have = _run(loaded, call)
            except CallError as error:
                return f"refused: {error}"
            except Exception as error:
                return f"wrong: {type(error).__name__}: {error}"
        return _difference(wanted, have, tolerance)

    def _train(self, call: Call, outputs: str, gradients: str, buffers: str) -> None:
        kept = [copy.deepcopy(_tensors(root)) for root in (self.model, self.loaded)]
        for root in (self.model, self.loaded):
            root.zero_grad(set_to_none=True)
        try:
            wanted = _step(self.model, call)
        except Exception:
            self._restore(kept)
            return
        try:
            have = _step(self.loaded, call)
        except CallError as error:
            self.told.put(outputs, f"refused: {error}")
        except Exception as error:
            self.told.put(outputs, f"wrong: {type(error).__name__}: {error}")
        else:
            self.told.put(outputs, _difference(wanted, have))
            if any(p.grad is not None for p in self.model.parameters()):
                self.told.put(gradients, _difference(_gradients(self.model), _gradients(self.loaded)))
            if dict(self.model.named_buffers()):
                self.told.put(buffers, _difference(dict(self.model.named_buffers()), dict(self.loaded.named_buffers())))
        self._restore(kept)

    def _restore(self, kept: list[Any]) -> None:
        """Both as before a call."""
        for root, tensors in zip((self.model, self.loaded), kept, strict=True):
            with torch.no_grad():
                for name, value in _tensors(root).items():
                    if name in tensors and value.shape == tensors[name].shape:
                        value.copy_(tensors[name])

    def _mixture(self, seed: int) -> str:
        chance = random.Random(seed)
        for (_, a), (_, b) in zip(self.model.named_modules(), self.loaded.named_modules(), strict=True):
            a.training = b.training = chance.random() < 0.5
        kept = [copy.deepcopy(_tensors(root)) for root in (self.model, self.loaded)]
        seen = self._same(self.call)
        self._restore(kept)
        return seen

    def _state_dicts(self) -> None:
        wanted, have = self.model.state_dict(), self.loaded.state_dict()
        if [*wanted] != [*have] and not any(name.endswith("_extra_state") for name in wanted):
            self.told.put("state_dict", f"wrong: its keys are {[*have]}, not {[*wanted]}")
            return
        tensors = {name: value for name, value in wanted.items() if isinstance(value, torch.Tensor)}
        try:
            self.loaded.load_state_dict(tensors, strict=len(tensors) == len(wanted))
        except Exception as error:
            self.told.put("state_dict", f"wrong: {error}")
        else:
            self.told.put("state_dict", RIGHT)

    def _copied(self) -> str:
        try:
            copied = copy.deepcopy(self.loaded)
        except Exception as error:
            return f"wrong: {type(error).__name__}: {error}"
        return self._same(self.call, (self.model, copied))

    def _cast(self, dtype: torch.dtype) -> str:
        try:
            model = copy.deepcopy(self.model).to(dtype)
        except Exception:
            return NONE
        loaded = copy.deepcopy(self.loaded).to(dtype)
        call = {
            name: value.to(dtype) if isinstance(value, torch.Tensor) and value.is_floating_point() else value
            for name, value in self.call.items()
        }
        seen = self._same(call, (model, loaded), _TOLERANCE[dtype])
        return seen if seen in (RIGHT, NONE) else seen.replace(": ", f": as {str(dtype)[6:]}: ", 1)


_TOLERANCE = {torch.float64: 1e-12, torch.bfloat16: 0.05, torch.float16: 0.01}


def _example(call: Call) -> torchkeep.Example:
    args = [value for name, value in call.items() if isinstance(name, int)]
    return torchkeep.Example(*args, **{name: value for name, value in call.items() if isinstance(name, str)})


def _run(model: torch.nn.Module, call: Call) -> list[Any]:
    example = _example(call)
    torch.manual_seed(SEED)
    random.seed(SEED)
    return list(_leaves(model(*_cloned(example.args), **_cloned(example.kwargs)), set()))


def _cloned(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _cloned(item) for key, item in value.items()}
    return tuple(map(_cloned, value)) if isinstance(value, tuple) else value


def _step(model: torch.nn.Module, call: Call) -> list[Any]:
    outputs = _run(model, call)
    losses = [_loss(each) for each in outputs if isinstance(each, torch.Tensor) and each.requires_grad]
    if losses:
        torch.stack(losses).sum().backward()
    return outputs


def _loss(tensor: torch.Tensor) -> torch.Tensor:
    real = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    return (real.double().flatten() * torch.linspace(0.5, 1.5, real.numel(), dtype=torch.float64)).sum()


def _tensors(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    return {name: tensor.detach() for name, tensor in named}


def _gradients(model: torch.nn.Module) -> dict[str, Any]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def _leaves(value: Any, seen: set[int]) -> Iterator[Any]:
    """Tensors and numbers of what a model returned, in order, whatever classes hold them."""
    if isinstance(value, torch.Tensor | int | float | str | None):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _leaves(item, seen)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item, seen)
    elif hasattr(value, "to_dense"):
        yield value.to_dense()
    elif hasattr(value, "__dict__") and not callable(value) and id(value) not in seen:
        seen.add(id(value))
        yield from _leaves(vars(value), seen)


def _difference(wanted: Any, have: Any, tolerance: float | None = None) -> str:
    names: list[Any] = list(range(len(wanted)))
    if isinstance(wanted, dict):
        if [*wanted] != [*have]:
            return f"wrong: {[*have]} instead of {[*wanted]}"
        names, wanted, have = [*wanted], [*wanted.values()], [*have.values()]
    tensors = [each for each in wanted if isinstance(each, torch.Tensor)]
    if len(tensors) != sum(isinstance(each, torch.Tensor) for each in have):
        return f"wrong: {len(have)} parts instead of {len(wanted)}"
    if len(wanted) == len(have):
        pairs = list(zip(names, wanted, have, strict=True))
    else:  # an object that keeps more than tensors
        pairs = [(i, a, b) for i, (a, b) in enumerate(zip(tensors, filter(torch.is_tensor, have), strict=True))]
    for name, a, b in pairs:
        if not isinstance(a, torch.Tensor):
            if a is not b and a != b and repr(a) != repr(b):
                return f"wrong: part {name} is {b!r} instead of {a!r}"
        elif a.dtype != b.dtype or a.shape != b.shape:
            return f"wrong: part {name} is {b.dtype} {tuple(b.shape)} instead of {a.dtype} {tuple(a.shape)}"
        elif a.requires_grad != b.requires_grad:
            return f"wrong: part {name} has requires_grad {b.requires_grad}"
        elif not _equal(a.detach(), b.detach(), tolerance):
            difference = (a.detach().to_dense().to(torch.complex128) - b.detach().to_dense()).abs().max()
            close = tolerance is None and _equal(a.detach(), b.detach(), 1e-5)
            return f"{'close' if close else 'wrong'}: part {name} differs by {float(difference):.2g}"
    return RIGHT


def _equal(a: torch.Tensor, b: torch.Tensor, tolerance: float | None) -> bool:
    a, b = (each.to_dense() if each.is_sparse else each for each in (a, b))
    if tolerance is None or not (a.is_floating_point() or a.is_complex()):
        a, b = (each.contiguous().flatten().view(torch.uint8) if each.numel() else each for each in (a, b))
        return torch.equal(a, b)
    return torch.allclose(
        a.to(torch.complex128), b.to(torch.complex128), rtol=tolerance, atol=tolerance, equal_nan=True
    )


def _varied(call: Call) -> Iterator[tuple[Call, str]]:
    """The call in other sizes: one dimension at a time, and height and width together.

    Inputs that have the size of the first one there grow with it. Whether a model takes the sizes, it says itself.
    """
    tensors = [value for value in call.values() if isinstance(value, torch.Tensor)]
    rank = max((tensor.ndim for tensor in tensors), default=0)
    for dims in [(d,) for d in range(rank)] + [tuple(range(2, rank))] * (rank > 3):
        for change in (_once_more, _first_of) if dims == (0,) else (_once_more,):
            varied = dict(call)
            for d in dims:
                size = next(tensor.shape[d] for tensor in tensors if tensor.ndim > d)
                for name, value in varied.items():
                    if isinstance(value, torch.Tensor) and value.ndim > d and value.shape[d] == size:
                        varied[name] = change(value, d)
            yield varied, "batches" if dims == (0,) else "sizes"


def _once_more(tensor: torch.Tensor, dim: int) -> torch.Tensor:
    return torch.cat([tensor, tensor], dim)


def _first_of(tensor: torch.Tensor, dim: int) -> torch.Tensor:
    return tensor.narrow(dim, 0, 1)


def _everything(model: torch.nn.Module) -> Any:
    """What a save must leave alone."""
    state = [
        (name, {key: _seen(value) for key, value in vars(module).items()}) for name, module in model.named_modules()
    ]
    generators = (random.getstate(), torch.get_rng_state().tolist())
    return state, generators, torch.is_grad_enabled()


def _seen(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        grad = None if value.grad is None else (id(value.grad), value.grad._version)
        return id(value), value._version, grad, value.requires_grad
    if isinstance(value, dict):
        return {key: _seen(item) for key, item in value.items()}
    return value if isinstance(value, bool | int | float | str | None) else id(value)


# --- what is known ----------------------------------------------------------------------------------

MASKS = "transformers makes no mask in eager mode where attention needs none, and one when it is exported"
"""Why the last bits of some models differ: the code of the model does something else while it is captured."""

KNOWN: Mapping[str, str] = {
    "batch_norm, captured in train": "momentum=None divides by a count, which is data",
    "response_norms, captured": "nn.CrossMapLRN2d resizes its output",
    "adaptive_softmax, captured": "rows are chosen by data",
    "mixture_of_experts, captured in train": "len() of rows that are chosen by data",
    "momentum_contrast, captured in train": "int() of a buffer",
    "extra_state, captured": "computes by a Python counter",
    "gpytorch_kernel, captured": "a call gives no tensor",
    "gpytorch_prior, captured": "a call gives no tensor",
    "mixtral, captured": "an operator of transformers' own",
    "wav2vec2, captured in train": "LayerDrop chooses by data",
    "weight_norm_of_a_gru, left alone": "a save without an example does the same: a list of computed weights is new",
    "embedding, left alone": "its golden outputs are of a call that changes rows; put back, and torch counts it",
    "mobilenet, other batches in train": "len() of the batch",
    "real_nvp, other batches": "len() of the batch",
    "collected, other batches": "its rows are named by number",
    "pools, other sizes": "a pool of a fraction of the size",
    "dcgan, other sizes": "a size of 1",
    "x_transformers_encoder, buffers": "keeps a larger table when it meets a longer sequence",
    "x_transformers_encoder, other": "the same",
    "mamba, other sizes": "a loop over the sequence",
    "mamba, mixtures": "a cache that modules decide together",
    "mamba, casts": "a state in the dtype of a product",
    "t5, casts": "T5's norms do something else in half precision",
    "t5_encoder, casts": "the same",
    "beit": MASKS,
    "llama": MASKS,
    "qwen2": MASKS,
    "qwen3": MASKS,
    "bloom": MASKS,
    "swin, other sizes": "windows in lists",
    "monai_swin_unetr, other sizes": "windows in lists",
    "convnext, other sizes": "the example's last size is 1",
    "convnext, mixtures": "stages read each other's flags",
    "opt, mixtures": "LayerDrop and dropout may both have decided",
    "bart, mixtures": "the same",
    "whisper, mixtures": "the same",
}
"""What is not right, by row and the beginning of the column, and why. Nothing else may be."""


def surprises(found: Mapping[str, Told]) -> list[str]:
    """What is neither right nor known."""
    told = []
    for label, each in found.items():
        for column, what in each.columns.items():
            known = any(
                f"{label}, {column}".startswith(name) or name == label for name in KNOWN if name.startswith(label)
            )
            if what not in (RIGHT, NONE) and not known:
                told.append(f"{label}, {column}: {' '.join(what.split())[:400]}")
    return told


# --- all of them ------------------------------------------------------------------------------------


def look_at(tables: Mapping[str, Mapping[str, Architecture]], directory: Path) -> dict[str, Told]:
    """Every row of tables; what raises is told of the row."""
    found: dict[str, Told] = {}
    for rows in tables.values():
        for label, row in rows.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    found[label] = look(row, directory / "zoo.safetensors")
                except Exception as error:
                    found[label] = Told(
                        dict.fromkeys(COLUMNS[:2], f"wrong: {type(error).__name__}: {str(error)[:300]}")
                    )
            print(f"{label}: {found[label].seconds:.1f} s", flush=True)
    return found


def printed(found: Mapping[str, Told]) -> str:
    """The table of counts, and below it whatever is not right."""
    lines = [f"{len(found)} architectures"]
    for column in COLUMNS:
        words = [told.columns.get(column, NONE).partition(":")[0] for told in found.values()]
        right, *others = (words.count(word) for word in (RIGHT, "close", "refused", "wrong"))
        of = len(words) - words.count(NONE)
        lines.append(
            f"{column:22} {right:4} of {of:4} right {100 * right / max(of, 1):6.1f} %"
            "   {:3} close {:3} refused {:3} wrong".format(*others)
        )
    for label, told in found.items():
        lines += [
            f"{label}, {column}: {' '.join(what.split())[:400]}"
            for column, what in told.columns.items()
            if what not in (RIGHT, NONE)
        ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tables", nargs="*", default=list(TABLES))
    parser.add_argument("--only", default="")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.backends.mha.set_fastpath_enabled(False)  # the fused path of eager eval rounds otherwise than its parts do
    only = set(filter(None, options.only.split(",")))
    tables = {
        name: {label: row for label, row in table(name).items() if not only or label in only} for name in options.tables
    }
    with tempfile.TemporaryDirectory() as directory:
        found = look_at(tables, Path(directory))
    print(printed(found))
    unknown = surprises(found)
    print(f"{len(unknown)} of these are not known")
    if options.json:
        options.json.write_text(json.dumps({label: vars(told) for label, told in found.items()}, indent=1))
    raise SystemExit(bool(unknown))


if __name__ == "__main__":
    main()
