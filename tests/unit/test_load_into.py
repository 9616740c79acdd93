"""`load_into` a module: what fits, what does not, and what is left of the target either way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import torchkeep
from torchkeep import (
    BindError,
    DigestError,
    KeyMissingError,
    LoadReport,
    PartialLoadError,
    TorchkeepWarning,
)


def bits(tensor: torch.Tensor) -> bytes:
    """The values of a tensor, bit for bit."""
    tensor = tensor.detach().resolve_conj().resolve_neg().contiguous()
    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes()


def tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    return {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }


def has_values(tensor: torch.Tensor) -> bool:
    return tensor.device.type != "meta" and tensor.layout == torch.strided and not nn.parameter.is_lazy(tensor)


@contextmanager
def unchanged(module: nn.Module) -> Iterator[None]:
    """Whatever happens in the body, every tensor is the same object, with the same bytes and version."""
    before = tensors(module)
    kept = {
        name: (id(t), t._version, t.requires_grad, bits(t) if has_values(t) else None) for name, t in before.items()
    }
    flags = [child.training for child in module.modules()]
    yield
    after = tensors(module)
    assert list(after) == list(before)
    for name, tensor in after.items():
        values = bits(tensor) if has_values(tensor) else None
        assert (id(tensor), tensor._version, tensor.requires_grad, values) == kept[name], name
    assert [child.training for child in module.modules()] == flags


def same(module: nn.Module, other: nn.Module) -> bool:
    ours, theirs = module.state_dict(), other.state_dict()
    return list(ours) == list(theirs) and all(bits(ours[name]) == bits(theirs[name]) for name in ours)


def damage(path: Path, name: str) -> None:
    """Flip one bit in the middle of a tensor's bytes."""
    data = bytearray(path.read_bytes())
    header_nbytes = int.from_bytes(data[:8], "little")
    begin, end = json.loads(data[8 : 8 + header_nbytes])[name]["data_offsets"]
    data[8 + header_nbytes + (begin + end) // 2] ^= 1
    path.write_bytes(data)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        self.head = nn.Linear(4, 2)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight


def holds(**buffers: torch.Tensor) -> nn.Module:
    """A module with these buffers and nothing else."""
    module = nn.Module()
    for name, tensor in buffers.items():
        module.register_buffer(name, tensor)
    return module


Saved = Callable[[Any], Path]


# What fits


@pytest.mark.parametrize("of", [lambda m: m, lambda m: m.state_dict()], ids=["module", "state_dict"])
def test_everything_comes_over_and_is_reported(saved: Saved, of: Callable[[nn.Module], Any]) -> None:
    source, target = Net(), Net()
    path = saved(of(source))
    report = torchkeep.load_into(target, path)
    assert same(target, source)
    assert isinstance(report, LoadReport)
    missing, unexpected = report
    assert (missing, unexpected) == ([], [])
    assert (report.missing_keys, report.unexpected_keys, report.mismatched, report.cast) == ([], [], [], [])
    assert report.renamed == {}
    assert (report.matched, report.total, report.coverage) == (9, 9, 1.0)
    assert report.path == str(path)
    assert "loaded 9 of 9 tensors" in str(report)


def test_a_plain_safetensors_file(tmp_path: Path) -> None:
    source, target = Net(), Net()
    save_file(source.state_dict(), tmp_path / "plain.safetensors")
    assert torchkeep.load_into(target, tmp_path / "plain.safetensors").coverage == 1.0
    assert same(target, source)


def test_the_tensors_of_the_target_stay_where_they_are(saved: Saved) -> None:
    """Straight into place: the same objects, memory, gradients and flags."""
    source, target = Net(), Net()
    target.head.weight.requires_grad_(False)
    target.head.bias.grad = torch.ones(2)
    target.body.eval()
    kept = {name: (id(t), t.data_ptr(), t.requires_grad) for name, t in tensors(target).items()}
    view = target.head.weight.detach()[0]
    flags = [module.training for module in target.modules()]
    torchkeep.load_into(target, saved(source.eval()))
    assert {name: (id(t), t.data_ptr(), t.requires_grad) for name, t in tensors(target).items()} == kept
    assert torch.equal(view, source.head.weight[0])  # whoever held a view of it sees the new values
    assert torch.equal(target.head.bias.grad, torch.ones(2))
    assert [module.training for module in target.modules()] == flags


@pytest.mark.parametrize(
    "target",
    [
        torch.zeros(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        torch.zeros(5, 4, 3, 2).permute(3, 2, 1, 0),
        torch.zeros(4, 6, 8, 10)[::2, ::2, ::2, ::2],
        torch._neg_view(torch.zeros(2, 3, 4, 5)),
        torch.zeros(240)[120:].view(2, 3, 4, 5),
    ],
    ids=["channels_last", "permuted", "sliced", "neg", "offset"],
)
@pytest.mark.parametrize("channels_last", [False, True])
def test_the_layout_of_the_target_stays(saved: Saved, target: torch.Tensor, channels_last: bool) -> None:
    source = torch.randn(2, 3, 4, 5)
    if channels_last:
        source = source.contiguous(memory_format=torch.channels_last)
    module = holds(w=target.clone(memory_format=torch.preserve_format) if target.is_contiguous() else target)
    strides, pointer = module.w.stride(), module.w.data_ptr()
    torchkeep.load_into(module, saved({"w": source}))
    assert torch.equal(module.w, source)
    assert (module.w.stride(), module.w.data_ptr()) == (strides, pointer)


def test_what_lies_between_the_elements_of_the_target_stays(saved: Saved) -> None:
    base = torch.zeros(4, 6)
    torchkeep.load_into(holds(w=base[::2, ::2]), saved({"w": torch.ones(2, 3)}))
    assert base.sum() == 6
    base = torch.zeros(10)
    torchkeep.load_into(holds(w=base[3:5]), saved({"w": torch.ones(2)}))
    assert base.tolist() == [0, 0, 0, 1, 1, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("ours", [False, True])
@pytest.mark.parametrize("theirs", [False, True])
def test_conjugated_on_either_side(saved: Saved, ours: bool, theirs: bool) -> None:
    source = torch.randn(3, dtype=torch.complex64)
    module = holds(w=torch.zeros(3, dtype=torch.complex64))
    if ours:
        module.w = module.w.conj()
    torchkeep.load_into(module, saved({"w": source.conj() if theirs else source}))
    assert torch.equal(module.w, source.conj() if theirs else source)
    assert module.w.is_conj() == ours


def test_views_of_one_tensor_in_the_file(saved: Saved) -> None:
    base = torch.randn(4, 4)
    module = holds(a=torch.zeros(4), b=torch.zeros(4, 4))
    torchkeep.load_into(module, saved({"a": base[:, 1], "b": base.T}))
    assert torch.equal(module.a, base[:, 1])
    assert torch.equal(module.b, base.T)


def test_empty_tensors_and_scalars(saved: Saved) -> None:
    module = holds(none=torch.zeros(0, 3), one=torch.zeros(()))
    assert torchkeep.load_into(module, saved({"none": torch.ones(0, 3), "one": torch.tensor(7.0)})).matched == 2
    assert module.one == 7


def test_a_module_without_tensors(saved: Saved) -> None:
    assert torchkeep.load_into(nn.ReLU(), saved(nn.ReLU())).coverage == 1.0


def test_non_persistent_buffers_are_left_alone(saved: Saved) -> None:
    source, target = holds(w=torch.ones(2)), holds(w=torch.zeros(2))
    for module, value in ((source, 1.0), (target, 5.0)):
        module.register_buffer("cache", torch.full((2,), value), persistent=False)
    report = torchkeep.load_into(target, saved(source))
    assert (report.matched, report.total) == (1, 1)
    assert target.cache.tolist() == [5, 5]


def test_tensors_made_in_inference_mode(saved: Saved) -> None:
    source = nn.Linear(2, 2)
    with torch.inference_mode():
        target = nn.Linear(2, 2)
    torchkeep.load_into(target, saved(source))
    assert same(target, source)


def test_recurrent_modules_see_their_new_weights(saved: Saved) -> None:
    source, x = nn.LSTM(3, 4), torch.randn(2, 1, 3)
    for assign in (False, True):
        target = nn.LSTM(3, 4)
        torchkeep.load_into(target, saved(source.state_dict()), assign=assign)
        assert torch.equal(target(x)[0], source(x)[0])


# Autograd


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["direct", "copied"])
def test_autograd_complains_where_a_saved_tensor_was_overwritten(saved: Saved, dtype: torch.dtype) -> None:
    source, target = nn.Linear(2, 2), nn.Linear(2, 2).to(dtype)
    version = target.weight._version
    x = torch.randn(1, 2, dtype=dtype, requires_grad=True)
    loss = target(x).sum()  # keeps `weight` for the gradient of x
    if dtype == torch.float64:
        with pytest.warns(TorchkeepWarning, match="cast"):
            torchkeep.load_into(target, saved(source))
    else:
        torchkeep.load_into(target, saved(source))
    assert target.weight._version > version
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    target(x).sum().backward()
    assert torch.equal(x.grad, target.weight.sum(0, keepdim=True))


def test_autograd_is_told_even_where_reading_fails(saved: Saved) -> None:
    path = saved(nn.Linear(2, 2))
    damage(path, "weight")
    target = nn.Linear(2, 2)
    version = target.weight._version
    with pytest.raises(PartialLoadError):
        torchkeep.load_into(target, path)
    assert target.weight._version > version


# What does not fit


MISFITS: list[Any] = [
    pytest.param(lambda: holds(a=torch.zeros(2), w=torch.zeros(3), b=torch.zeros(1)), "b", "missing", id="missing"),
    pytest.param(lambda: holds(a=torch.zeros(2)), "w", "unexpected", id="unexpected"),
    pytest.param(lambda: holds(a=torch.zeros(2), w=torch.zeros(4)), "w", "mismatched", id="shape"),
    pytest.param(lambda: holds(a=torch.zeros(2), w=torch.zeros(3, 1)), "w", "mismatched", id="rank"),
    pytest.param(
        lambda: holds(a=torch.zeros(2), w=torch.zeros(3, dtype=torch.int64)), "w", "mismatched", id="float to int"
    ),
    pytest.param(
        lambda: holds(a=torch.zeros(2), w=torch.zeros(3, dtype=torch.bool)), "w", "mismatched", id="float to bool"
    ),
    pytest.param(lambda: holds(a=torch.zeros(2), w=torch.zeros(3, device="meta")), "w", "mismatched", id="meta"),
    pytest.param(lambda: holds(a=torch.zeros(2), w=torch.zeros(1).expand(3)), "w", "mismatched", id="expanded"),
    pytest.param(lambda: holds(a=torch.zeros(2), w=torch.zeros(3).to_sparse()), "w", "mismatched", id="sparse"),
]


@pytest.mark.parametrize(("made", "name", "kind"), MISFITS)
def test_a_misfit_is_an_error_and_changes_nothing(saved: Saved, made: Any, name: str, kind: str) -> None:
    target, path = made(), saved({"a": torch.ones(2), "w": torch.ones(3)})
    with unchanged(target), pytest.raises(BindError, match=f"model\\['{name}'\\]") as caught:
        torchkeep.load_into(target, path)
    assert f'Pass allow={{"{kind}"}}' in str(caught.value)
    assert "the target was not changed" in str(caught.value)


@pytest.mark.parametrize(("made", "name", "kind"), MISFITS)
def test_what_is_allowed_is_reported_and_the_rest_is_loaded(saved: Saved, made: Any, name: str, kind: str) -> None:
    target, path = made(), saved({"a": torch.ones(2), "w": torch.ones(3)})
    with pytest.warns(TorchkeepWarning) as told:
        report = torchkeep.load_into(target, path, allow={kind})
    assert len(told) == 1
    assert target.a.tolist() == [1, 1]
    found = {
        "missing": report.missing_keys,
        "unexpected": report.unexpected_keys,
        "mismatched": [m[0] for m in report.mismatched],
    }
    assert found.pop(kind) == [name]
    assert not any(found.values())
    assert name in str(report)
    assert report.findings[0].code == kind
    assert report.coverage == report.matched / report.total


def test_one_error_lists_every_misfit(saved: Saved) -> None:
    target = holds(
        good=torch.zeros(2), shape=torch.zeros(2), dtype=torch.zeros(2, dtype=torch.int8), absent=torch.zeros(1)
    )
    path = saved({"good": torch.ones(2), "shape": torch.ones(3), "dtype": torch.ones(2), "extra": torch.ones(1)})
    with unchanged(target), pytest.raises(BindError) as caught:
        torchkeep.load_into(target, path)
    lines = str(caught.value).splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == [
        "model['absent']",
        "model['extra']",
        "model['shape']",
        "model['dtype']",
    ]
    assert "file: shape (3,); target: shape (2,)" in str(caught.value)
    assert "file: dtype float32; target: dtype int8" in str(caught.value)
    assert 'allow={"mismatched", "missing", "unexpected"} to load the other 1' in lines[-1]


def test_what_is_allowed_is_not_in_the_error(saved: Saved) -> None:
    target = holds(good=torch.zeros(2), shape=torch.zeros(2))
    path = saved({"good": torch.ones(2), "shape": torch.ones(3), "extra": torch.ones(1)})
    with unchanged(target), pytest.raises(BindError) as caught:
        torchkeep.load_into(target, path, allow=["mismatched"])
    assert "extra" in str(caught.value)
    assert "shape" not in str(caught.value)


def test_strict_false_is_missing_and_unexpected_and_no_more(saved: Saved) -> None:
    path = saved({"a": torch.ones(2), "u": torch.ones(1)})
    target = holds(a=torch.zeros(2), m=torch.zeros(1))
    with pytest.warns(TorchkeepWarning):
        missing, unexpected = torchkeep.load_into(target, path, strict=False)
    assert (missing, unexpected) == (["m"], ["u"])
    target = holds(a=torch.zeros(2), u=torch.zeros(2))
    with unchanged(target), pytest.raises(BindError):
        torchkeep.load_into(target, path, strict=False)


@pytest.mark.parametrize("made", [lambda: nn.Linear(2, 2), nn.ReLU], ids=["other names", "no tensors"])
def test_a_load_in_which_nothing_matched_is_an_error_whatever_is_allowed(saved: Saved, made: Any) -> None:
    target, path = made(), saved({"x": torch.ones(2), "y": torch.ones(2)})
    with unchanged(target), pytest.raises(BindError, match="no name matched"):
        torchkeep.load_into(target, path, allow={"missing", "unexpected", "mismatched"})


def test_a_load_in_which_nothing_fits_is_an_error_whatever_is_allowed(saved: Saved) -> None:
    target, path = nn.Linear(2, 2), saved(nn.Linear(3, 3))
    with unchanged(target), pytest.raises(BindError, match="no tensor fits"):
        torchkeep.load_into(target, path, allow={"missing", "unexpected", "mismatched"})


def test_an_empty_file_fills_nothing(saved: Saved) -> None:
    with pytest.raises(BindError):
        torchkeep.load_into(nn.Linear(2, 2), saved({}), strict=False)


def test_other_words_are_refused_before_the_file_is_opened() -> None:
    with pytest.raises(ValueError, match="allow takes"):
        torchkeep.load_into(nn.Linear(1, 1), "absent", allow={"everything"})
    with pytest.raises(ValueError, match="verify is"):
        torchkeep.load_into(nn.Linear(1, 1), "absent", verify="last")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "target", [3, {"model": 3}, [nn.Linear(2, 2)], nn.Linear], ids=["int", "dict", "list", "class"]
)
def test_a_target_of_another_type(saved: Saved, target: Any) -> None:
    with pytest.raises(TypeError, match="load_into takes"):
        torchkeep.load_into(target, saved({"model": nn.Linear(2, 2)}))


def test_an_empty_dict_of_targets(saved: Saved) -> None:
    with pytest.raises(ValueError, match="this dict is empty"):
        torchkeep.load_into({}, saved({"model": nn.Linear(2, 2)}))


def test_allow_may_be_one_word(saved: Saved) -> None:
    with pytest.warns(TorchkeepWarning):
        torchkeep.load_into(holds(a=torch.zeros(1), b=torch.zeros(1)), saved({"a": torch.ones(1)}), allow="missing")


# Lazy modules and meta targets


def test_a_lazy_module_that_has_run_is_an_ordinary_one(saved: Saved) -> None:
    source, target = nn.Linear(3, 4), nn.LazyLinear(4)
    target(torch.zeros(1, 3))
    torchkeep.load_into(target, saved(source))
    assert torch.equal(target.weight, source.weight)


def test_a_lazy_module_is_filled_or_refused_and_whole_either_way(saved: Saved) -> None:
    """torch's own hook lets a lazy module take its shapes from a state_dict."""
    source, target = nn.Linear(3, 4), nn.Sequential(nn.LazyLinear(4), nn.Linear(2, 2))
    path = saved(nn.Sequential(source, nn.Linear(2, 2)))
    kept = bits(target[1].weight)
    try:
        torchkeep.load_into(target, path)
    except BindError as error:
        assert "lazy" in str(error)  # noqa: PT017
        assert bits(target[1].weight) == kept
    else:
        assert torch.equal(target[0].weight, source.weight)


def test_a_meta_target_says_what_to_do(saved: Saved) -> None:
    with torch.device("meta"):
        target = nn.Linear(2, 2)
    with pytest.raises(BindError, match="assign=True"):
        torchkeep.load_into(target, saved(nn.Linear(2, 2)))


def test_assign_fills_a_meta_target(saved: Saved) -> None:
    source = Net()
    with torch.device("meta"):
        target = Net()
    target.head.weight.requires_grad_(False)
    report = torchkeep.load_into(target, saved(source), assign=True)
    assert report.coverage == 1.0
    assert same(target, source)
    parameters = dict(target.named_parameters())
    assert {name for name, p in parameters.items() if not p.requires_grad} == {"head.weight"}
    assert all(isinstance(p, nn.Parameter) for p in parameters.values())


def test_assign_keeps_the_dtype_of_the_file(saved: Saved) -> None:
    target = nn.Linear(2, 2)
    report = torchkeep.load_into(target, saved(nn.Linear(2, 2).to(torch.bfloat16)), assign=True)
    assert target.weight.dtype == target.bias.dtype == torch.bfloat16
    assert report.cast == []


@pytest.mark.parametrize("names", [("embed.weight", "head.weight"), ("embed.weight",), ("head.weight",)])
def test_assign_keeps_ties(saved: Saved, names: tuple[str, ...]) -> None:
    with torch.device("meta"):
        target = Tied()
    weight = torch.randn(5, 3)
    report = torchkeep.load_into(target, saved(dict.fromkeys(names, weight)), assign=True)
    assert target.embed.weight is target.head.weight
    assert torch.equal(target.head.weight, weight)
    assert report.coverage == 1.0


@pytest.mark.parametrize("say", [lambda m: m, lambda m: m.register_load_state_dict_post_hook(lambda *_: None)])
def test_assign_of_tied_tensors_to_an_untied_target_is_told(saved: Saved, say: Any) -> None:
    target = Tied()
    target.head.weight = nn.Parameter(torch.zeros(5, 3))
    say(target)
    with pytest.warns(TorchkeepWarning, match=r"'embed\.weight' and 'head\.weight' are one tensor in the file"):
        report = torchkeep.load_into(target, saved(Tied()), assign=True)
    assert [finding.code for finding in report.findings if finding.severity == "warning"] == ["shared"]
    assert target.head.weight is not target.embed.weight
    assert target.head.weight.data_ptr() == target.embed.weight.data_ptr()
    torchkeep.load_into(target, saved({name: t.clone() for name, t in target.state_dict().items()}), assign=True)


def test_assign_keeps_what_two_targets_share(saved: Saved) -> None:
    one, two = nn.Linear(2, 2), nn.Linear(2, 2)
    two.weight = one.weight
    target = {"one": one, "two": two}
    before = one.weight
    torchkeep.load_into(target, saved({"one": one.state_dict(), "two": two.state_dict()}), assign=True)
    assert one.weight is two.weight
    assert one.weight is not before


@pytest.mark.parametrize("assign", [False, True])
def test_two_targets_that_share_a_tensor_and_values_that_differ(saved: Saved, assign: bool) -> None:
    one, two = nn.Linear(2, 2), nn.Linear(2, 2)
    two.weight = one.weight
    path = saved({"one": nn.Linear(2, 2), "two": nn.Linear(2, 2)})
    with unchanged(one), unchanged(two), pytest.raises(BindError, match=r"two\['weight'\] .* tied to 'one.weight'"):
        torchkeep.load_into({"one": one, "two": two}, path, assign=assign)


def test_assign_checks_as_all_loads_do(saved: Saved) -> None:
    target = nn.Linear(2, 2)
    with unchanged(target), pytest.raises(BindError):
        torchkeep.load_into(target, saved(nn.Linear(2, 3)), assign=True)


def test_assign_leaves_the_target_whole_when_the_bytes_are_bad(saved: Saved) -> None:
    path, target = saved(nn.Linear(2, 2)), nn.Linear(2, 2)
    damage(path, "bias")
    with unchanged(target), pytest.raises(DigestError):
        torchkeep.load_into(target, path, assign=True)


def test_assign_of_integers_to_a_trained_parameter_changes_nothing(saved: Saved) -> None:
    """A parameter of integers cannot require a gradient: known before the first write."""
    target = nn.Linear(2, 2)
    path = saved({"weight": torch.ones(2, 2, dtype=torch.int8), "bias": torch.ones(2)})
    with unchanged(target), pytest.raises(BindError):
        torchkeep.load_into(target, path, assign=True)


# Casts


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (torch.float64, torch.float32),
        (torch.float32, torch.bfloat16),
        (torch.bfloat16, torch.float16),
        (torch.int64, torch.float32),
        (torch.bool, torch.int32),
        (torch.float32, torch.complex64),
        (torch.int32, torch.int64),
    ],
)
def test_a_cast_is_done_and_reported(saved: Saved, ours: torch.dtype, theirs: torch.dtype) -> None:
    source, target = torch.tensor([0, 1, 1]).to(ours), holds(w=torch.zeros(3, dtype=theirs))
    with pytest.warns(TorchkeepWarning, match="cast"):
        report = torchkeep.load_into(target, saved({"w": source}))
    assert torch.equal(target.w, source.to(theirs))
    assert target.w.dtype == theirs
    names = [str(dtype).removeprefix("torch.") for dtype in (ours, theirs)]
    assert report.cast == [("w", *names)]


@pytest.mark.parametrize("dtype", [torch.bits8, torch.float4_e2m1fn_x2], ids=str)
def test_a_dtype_that_nothing_can_be_cast_to_is_known_before_the_first_write(saved: Saved, dtype: torch.dtype) -> None:
    target = holds(a=torch.zeros(2), w=torch.empty(2, dtype=torch.uint8).view(dtype))
    before = target.a.clone()
    with pytest.raises(BindError):
        torchkeep.load_into(target, saved({"a": torch.ones(2), "w": torch.ones(2, dtype=torch.uint8)}))
    assert torch.equal(target.a, before)


@pytest.mark.filterwarnings("ignore::torchkeep.TorchkeepWarning")
def test_a_cast_into_tensors_made_in_inference_mode_is_done_or_refused(saved: Saved) -> None:
    with torch.inference_mode():
        target = nn.Linear(2, 2).double()
    source, before = nn.Linear(2, 2), bits(target.weight)
    try:
        torchkeep.load_into(target, saved(source))
    except BindError:
        assert bits(target.weight) == before
    else:
        assert torch.equal(target.weight, source.weight.double())


# Names


WRAPPED: list[Any] = [
    pytest.param(lambda m: nn.ModuleDict({"module": m}), "module.", id="module"),
    pytest.param(lambda m: nn.ModuleDict({"_orig_mod": m}), "_orig_mod.", id="_orig_mod"),
    pytest.param(
        lambda m: nn.ModuleDict({"_orig_mod": nn.ModuleDict({"module": m})}), "_orig_mod.module.", id="nested"
    ),
    pytest.param(
        lambda m: nn.ModuleDict({"module": nn.ModuleDict({"_orig_mod": m})}), "module._orig_mod.", id="nested otherwise"
    ),
    pytest.param(
        lambda m: nn.ModuleDict({"module": nn.ModuleDict({"module": m})}), "module.module.", id="module twice"
    ),
    pytest.param(lambda m: nn.ModuleDict({"model": m}), "model.", id="model"),
    pytest.param(lambda m: nn.ModuleDict({"backbone": nn.ModuleDict({"net": m})}), "backbone.net.", id="backbone.net"),
    pytest.param(lambda m: torch.compile(m, backend="eager"), "_orig_mod.", id="compiled"),
    pytest.param(nn.DataParallel, "module.", id="DataParallel"),
    pytest.param(lambda m: nn.DataParallel(torch.compile(m, backend="eager")), "module._orig_mod.", id="both"),
]


@pytest.mark.parametrize(("wrap", "prefix"), WRAPPED)
def test_a_prefix_of_the_target(saved: Saved, wrap: Callable[[nn.Module], nn.Module], prefix: str) -> None:
    source, target = Net(), Net()
    report = torchkeep.load_into(wrap(target), saved(source))
    assert same(target, source)
    assert report.renamed == {name: prefix + name for name in source.state_dict()}
    assert report.coverage == 1.0


@pytest.mark.parametrize(("wrap", "prefix"), WRAPPED)
def test_a_prefix_of_the_file(saved: Saved, wrap: Callable[[nn.Module], nn.Module], prefix: str) -> None:
    source, target = Net(), Net()
    state = wrap(source).state_dict()
    report = torchkeep.load_into(target, saved(dict(state)))
    assert same(target, source)
    assert report.renamed == {prefix + name: name for name in source.state_dict()}
    assert str(report).count("renamed: ") == 9


def test_different_wrappers_on_both_sides(saved: Saved) -> None:
    source, target = Net(), Net()
    torchkeep.load_into(nn.DataParallel(target), saved({f"_orig_mod.{k}": v for k, v in source.state_dict().items()}))
    assert same(target, source)


BEHIND: list[Any] = [
    pytest.param("module.", lambda m: nn.ModuleDict({"model": m}), id="module to model"),
    pytest.param("model.", nn.Sequential, id="model to 0"),
    pytest.param("a.b.", lambda m: nn.ModuleDict({"net": m}), id="two to one"),
    pytest.param("_orig_mod.model.", lambda m: nn.Sequential(torch.compile(m, backend="eager")), id="wrapped"),
]


@pytest.mark.parametrize(("prefix", "wrap"), BEHIND)
def test_a_prefix_off_and_another_on(saved: Saved, prefix: str, wrap: Callable[[nn.Module], nn.Module]) -> None:
    source, target = Net(), Net()
    wrapped = wrap(target)
    report = torchkeep.load_into(wrapped, saved({prefix + name: t for name, t in source.state_dict().items()}))
    assert same(target, source)
    assert report.renamed == dict(
        zip((prefix + name for name in source.state_dict()), wrapped.state_dict(), strict=True)
    )


def test_a_known_wrapper_off_and_a_prefix_on(saved: Saved) -> None:
    source, target = nn.Linear(2, 2), nn.Linear(2, 2)
    torchkeep.load_into(nn.ModuleDict({"model": target}), saved(dict(nn.DataParallel(source).state_dict())))
    assert same(target, source)


def test_no_prefix_goes_off_and_on_for_a_module_of_another_name(saved: Saved) -> None:
    target = nn.ModuleDict({"fc": nn.Linear(2, 2)})
    with unchanged(target), pytest.raises(BindError, match="no name matched"):
        torchkeep.load_into(target, saved(nn.ModuleDict({"lin": nn.Linear(2, 2)})), strict=False)


def test_no_prefix_goes_off_and_on_where_a_name_is_left_over(saved: Saved) -> None:
    target = nn.ModuleDict({"model": Net()})
    state = {f"module.{name}": tensor for name, tensor in Net().state_dict().items()}
    for changed in (state | {"module.more": torch.ones(1)}, dict(list(state.items())[1:])):
        with unchanged(target), pytest.raises(BindError):
            torchkeep.load_into(target, saved({k.replace("module", "old"): v for k, v in changed.items()}))


def test_a_compiled_part(saved: Saved) -> None:
    source, target = Net(), Net()
    target.body = torch.compile(target.body, backend="eager")
    torchkeep.load_into(target, saved(source))
    assert torch.equal(target.body.get_parameter("_orig_mod.0.weight"), source.body[0].weight)


def test_no_prefix_is_guessed_where_names_match(saved: Saved) -> None:
    target = nn.ModuleDict({"module": nn.Linear(2, 2), "weight": nn.Linear(2, 2)})
    source = nn.ModuleDict({"module": nn.Linear(2, 2), "weight": nn.Linear(2, 2)})
    assert torchkeep.load_into(target, saved(source)).renamed == {}
    assert same(target, source)


def test_a_shared_prefix_alone_does_not_make_a_partial_match(saved: Saved) -> None:
    """An unknown prefix is looked through only where every name of one side finds its place."""
    target = nn.Linear(2, 2)
    path = saved({"model.weight": torch.ones(2, 2), "model.other": torch.ones(1)})
    with unchanged(target), pytest.raises(BindError):
        torchkeep.load_into(target, path, strict=False)


def test_rename_pairs(saved: Saved) -> None:
    source, target = Net(), Net()
    old = {
        name.replace("body.0.", "stem.").replace("head.", "classifier.fc."): tensor
        for name, tensor in source.state_dict().items()
    }
    path = saved(old)
    for rename in (
        [("stem", "body.0"), ("classifier.fc", "head")],
        {"stem": "body.0", "classifier.fc": "head"},
        [("stem.", "body.0"), ("classifier.fc.weight", "head.weight"), ("classifier.fc.bias", "head.bias")],
        lambda name: name.replace("stem.", "body.0.").replace("classifier.fc.", "head."),
    ):
        report = torchkeep.load_into(target, path, rename=rename)
        assert same(target, source)
        assert report.renamed["classifier.fc.bias"] == "head.bias"
        assert "body.1.weight" not in report.renamed
        for parameter in target.parameters():
            nn.init.zeros_(parameter)


@pytest.mark.parametrize("old", ["lin", "lin."])
@pytest.mark.parametrize("new", ["fc", "fc."])
def test_rename_takes_a_dot_at_the_end_of_either_name(saved: Saved, old: str, new: str) -> None:
    source, target = nn.ModuleDict({"lin": nn.Linear(2, 2)}), nn.ModuleDict({"fc": nn.Linear(2, 2)})
    report = torchkeep.load_into(target, saved(source), rename=[(old, new)])
    assert same(target["fc"], source["lin"])
    assert report.renamed == {"lin.weight": "fc.weight", "lin.bias": "fc.bias"}


@pytest.mark.parametrize(
    ("rename", "says"),
    [
        (("lin", "fc"), r"is one pair by itself.* Write rename=\[\('lin', 'fc'\)\]"),
        (("ab", "cd"), "is one pair by itself"),
        ("lin", "not 'lin'"),
        (5, "not 5"),
        (["abc"], "'abc' is no pair of texts"),
        ([("a", "b", "c")], "is no pair of texts"),
        ({"a": 5}, r"\('a', 5\) is no pair of texts"),
        (lambda name: 5, "function gave 5 for 'weight'.*None to leave it out"),
    ],
)
def test_a_rename_that_is_none(saved: Saved, rename: Any, says: str) -> None:
    target = nn.Linear(2, 2)
    with unchanged(target), pytest.raises(TypeError, match=says) as caught:
        torchkeep.load_into(target, saved(nn.Linear(2, 2)), rename=rename)
    assert "The target was not changed." in str(caught.value)


def test_rename_goes_for_all_parts_of_a_dict(saved: Saved) -> None:
    """A pair that fits a name of one part need not fit one of every part; an iterator serves all of them."""
    one, two = nn.ModuleDict({"lin": nn.Linear(2, 2)}), nn.ModuleDict({"lin": nn.Linear(2, 2)})
    path = saved({"one": one, "two": two, "three": nn.Linear(2, 2)})
    target = {
        "three": nn.Linear(2, 2),
        "one": nn.ModuleDict({"fc": nn.Linear(2, 2)}),
        "two": nn.ModuleDict({"fc": nn.Linear(2, 2)}),
    }
    torchkeep.load_into(target, path, rename=iter([("lin", "fc")]))
    assert same(target["one"]["fc"], one["lin"])
    assert same(target["two"]["fc"], two["lin"])
    with pytest.raises(BindError, match="'line' begins no name"):
        torchkeep.load_into(target, path, rename=[("lin", "fc"), ("line", "fc")])


def test_rename_takes_a_prefix_off_and_puts_one_on(saved: Saved) -> None:
    source = nn.Linear(2, 2)
    path = saved({"old.weight": source.weight, "old.bias": source.bias})
    target = nn.Linear(2, 2)
    torchkeep.load_into(target, path, rename=[("old", "")])
    assert same(target, source)
    target = nn.ModuleDict({"a": nn.ModuleDict({"old": nn.Linear(2, 2)}), "b": nn.Linear(1, 1)})
    with pytest.warns(TorchkeepWarning):
        torchkeep.load_into(target, path, rename=[("", "a")], allow="missing")
    assert torch.equal(target["a"]["old"].weight, source.weight)


def test_rename_goes_by_parts_before_a_dot(saved: Saved) -> None:
    path = saved({"layer": torch.ones(1), "layer1.w": torch.ones(1)})
    target = nn.ModuleDict({"layer1": holds(w=torch.zeros(1))})
    target.register_buffer("stem", torch.zeros(1))
    torchkeep.load_into(target, path, rename={"layer": "stem"})
    assert target.stem == target.layer1.w == 1


def test_a_function_may_leave_names_out(saved: Saved) -> None:
    source, target = Net(), nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    report = torchkeep.load_into(
        target, saved(source), rename=lambda name: None if name.startswith("head") else name.removeprefix("body.")
    )
    assert same(target, source.body)
    assert report.unexpected_keys == []


@pytest.mark.parametrize("rename", [[("heed", "head")], {"wei": "weight"}, [("body", "b"), ("body.0", "c")]])
def test_a_pair_that_fits_nothing_is_an_error(saved: Saved, rename: Any) -> None:
    target = Net()
    with unchanged(target), pytest.raises(BindError, match="begins no name"):
        torchkeep.load_into(target, saved(Net()), rename=rename)


@pytest.mark.parametrize("rename", [[("a", "c"), ("b", "c")], lambda name: "c"], ids=["pairs", "function"])
def test_two_names_that_become_one_are_an_error(saved: Saved, rename: Any) -> None:
    target = holds(c=torch.zeros(1))
    with unchanged(target), pytest.raises(BindError, match="both become 'c'"):
        torchkeep.load_into(target, saved({"a": torch.ones(1), "b": torch.ones(1)}), rename=rename)


def test_prefixes_are_looked_through_after_rename(saved: Saved) -> None:
    source, target = nn.Linear(2, 2), nn.Linear(2, 2)
    report = torchkeep.load_into(
        target, saved({"module.w": source.weight, "module.bias": source.bias}), rename={"module.w": "module.weight"}
    )
    assert same(target, source)
    assert report.renamed == {"module.w": "weight", "module.bias": "bias"}


# Ties and shared memory


def test_a_tied_target_takes_either_name_or_both(saved: Saved) -> None:
    weight = torch.randn(5, 3)
    for names in (["embed.weight"], ["head.weight"], ["embed.weight", "head.weight"]):
        target = Tied()
        report = torchkeep.load_into(target, saved({name: weight.clone() for name in names}))
        assert torch.equal(target.embed.weight, weight)
        assert target.embed.weight is target.head.weight
        assert (report.matched, report.total, list(report)) == (2, 2, [[], []])


BASE = torch.arange(30.0)

CONFLICTS: list[Any] = [
    pytest.param(torch.ones(5, 3), torch.zeros(5, 3), id="two tensors"),
    pytest.param(BASE[:15].view(5, 3), BASE[15:].view(5, 3), id="halves of one"),
    pytest.param(BASE[:15].view(5, 3), BASE[3:18].view(5, 3), id="overlapping views"),
]


@pytest.mark.parametrize(("one", "two"), CONFLICTS)
def test_conflicting_values_for_tied_names_are_an_error(saved: Saved, one: torch.Tensor, two: torch.Tensor) -> None:
    target = Tied()
    with unchanged(target), pytest.raises(BindError, match="tied"):
        torchkeep.load_into(target, saved({"embed.weight": one, "head.weight": two}))


def test_conflicting_values_for_tied_names_in_a_plain_file(tmp_path: Path) -> None:
    """A plain file has no digests; nothing says beforehand that the two differ, but nothing may be silent."""
    target, path = Tied(), tmp_path / "plain.safetensors"
    save_file({"embed.weight": torch.ones(5, 3), "head.weight": torch.zeros(5, 3)}, path)
    with unchanged(target), pytest.raises(BindError, match="tied"):
        torchkeep.load_into(target, path)


def test_equal_values_for_tied_names_in_a_plain_file(tmp_path: Path) -> None:
    target, path = Tied(), tmp_path / "plain.safetensors"
    save_file({"embed.weight": torch.ones(5, 3), "head.weight": torch.ones(5, 3)}, path)
    torchkeep.load_into(target, path)
    assert target.head.weight.sum() == 15


def sharing() -> nn.Module:
    """Two parameters over one memory, which are not tied as Python sees it."""
    target = Tied()
    target.head.weight = nn.Parameter(target.embed.weight.data)
    return target


def test_a_target_whose_tensors_share_memory_takes_equal_values(saved: Saved) -> None:
    target, weight = sharing(), torch.randn(5, 3)
    torchkeep.load_into(target, saved({"embed.weight": weight, "head.weight": weight.clone()}))
    assert torch.equal(target.embed.weight, weight)


def test_a_target_whose_tensors_share_memory_and_values_that_differ(saved: Saved) -> None:
    target = sharing()
    with unchanged(target), pytest.raises(BindError):
        torchkeep.load_into(target, saved({"embed.weight": torch.ones(5, 3), "head.weight": torch.zeros(5, 3)}))


def test_a_target_that_sees_parts_of_one_memory(saved: Saved) -> None:
    base = torch.zeros(6)
    target = holds(a=base[:3], b=base[3:])
    torchkeep.load_into(target, saved({"a": torch.tensor([1.0, 2, 3]), "b": torch.tensor([4.0, 5, 6])}))
    assert base.tolist() == [1, 2, 3, 4, 5, 6]


def test_a_target_whose_tensors_overlap_in_part(saved: Saved) -> None:
    base = torch.zeros(4)
    target = holds(a=base[:3], b=base[1:])
    path = saved({"a": torch.tensor([1.0, 2, 3]), "b": torch.tensor([7.0, 8, 9])})
    with unchanged(target), pytest.raises(BindError):
        torchkeep.load_into(target, path)


# Which part of the file


def test_key_names_the_part(saved: Saved) -> None:
    one, two, target = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)
    path = saved({"ema": one, "nets": [two, {"sd": two.state_dict()}], 3: one.state_dict()})
    for key, source in (("ema", one), (("nets", 0), two), (("nets", 1, "sd"), two), (3, one)):
        torchkeep.load_into(target, path, key=key)
        assert same(target, source)


def test_key_may_be_a_submodule(saved: Saved) -> None:
    source, target = Net(), nn.Linear(4, 2)
    torchkeep.load_into(target, saved({"model": source}), key=("model", "head"))
    assert same(target, source.head)


def test_a_key_that_is_not_there(saved: Saved) -> None:
    target = nn.Linear(2, 2)
    with unchanged(target), pytest.raises(KeyMissingError, match="'ema'") as caught:
        torchkeep.load_into(target, saved({"model": nn.Linear(2, 2), "epoch": 3}), key="ema")
    assert "'model', 'epoch'" in str(caught.value)


@pytest.mark.parametrize("of", [lambda m: m, lambda m: m.state_dict()], ids=["module", "state_dict"])
def test_the_only_part_with_weights_is_found(saved: Saved, of: Callable[[nn.Module], Any]) -> None:
    source, target = nn.Linear(2, 2), nn.Linear(2, 2)
    optimizer = torch.optim.SGD(source.parameters(), lr=0.1, momentum=0.9)
    source(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    path = saved({"epoch": 3, "net": of(source), "optimizer": optimizer.state_dict(), "log": {}, "args": {"lr": 0.1}})
    report = torchkeep.load_into(target, path)
    assert same(target, source)
    assert report.part == "['net']"
    assert "['net']" in str(report)


def test_two_parts_with_weights_are_an_error_that_lists_the_calls(saved: Saved) -> None:
    target = nn.Linear(2, 2)
    with unchanged(target), pytest.raises(BindError) as caught:
        torchkeep.load_into(target, saved({"model": nn.Linear(2, 2), "ema": nn.Linear(2, 2).state_dict()}))
    assert "key='model'  2 tensors" in str(caught.value)
    assert "key='ema'  2 tensors" in str(caught.value)


@pytest.mark.parametrize(
    "obj", [{"epoch": 3}, 3, [nn.Linear(2, 2)], torch.ones(2)], ids=["dict", "int", "list", "tensor"]
)
def test_a_file_without_weights(saved: Saved, obj: Any) -> None:
    target = nn.Linear(2, 2)
    with unchanged(target), pytest.raises(BindError, match="not changed"):
        torchkeep.load_into(target, saved(obj), strict=False)


def test_a_dict_of_targets(saved: Saved) -> None:
    one, two = Net(), nn.Linear(2, 2)
    path = saved({"gen": one, "disc": two.state_dict(), "epoch": 3})
    target = {"disc": nn.Linear(2, 2), "gen": Net()}
    report = torchkeep.load_into(target, path)
    assert same(target["gen"], one)
    assert same(target["disc"], two)
    assert report.matched == report.total == 11


def test_a_dict_of_targets_is_changed_in_all_or_in_none(saved: Saved) -> None:
    target = {"a": nn.Linear(2, 2), "b": nn.Linear(2, 3)}
    path = saved({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2), "c": 3})
    with unchanged(target["a"]), unchanged(target["b"]):
        with pytest.raises(BindError, match=r"b\['weight'\]"):
            torchkeep.load_into(target, path)
        with pytest.raises(BindError, match="no part 'd'"):
            torchkeep.load_into({"a": target["a"], "d": target["b"]}, path)
        with pytest.raises(BindError, match="'c' is neither"):
            torchkeep.load_into({"a": target["a"], "c": target["b"]}, path)


# Extra state


class Extra(nn.Module):
    def __init__(self, state: Any = None) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(2))
        self.state = state

    def get_extra_state(self) -> Any:
        return self.state

    def set_extra_state(self, state: Any) -> None:
        self.state = state


@pytest.mark.parametrize("of", [lambda m: m, lambda m: dict(m.state_dict())], ids=["module", "state_dict"])
def test_extra_state_comes_over(saved: Saved, of: Callable[[nn.Module], Any]) -> None:
    state = {"scale": 3.5, "history": [1, 2], "amax": torch.ones(2)}
    target = nn.Sequential(Extra())
    torchkeep.load_into(target, saved(of(nn.Sequential(Extra(state)))))
    assert target[0].state["scale"] == 3.5
    assert target[0].state["history"] == [1, 2]
    assert torch.equal(target[0].state["amax"], torch.ones(2))


def test_extra_state_on_one_side_only(saved: Saved) -> None:
    target = Extra("kept")
    with unchanged(target), pytest.raises(BindError, match="_extra_state"):
        torchkeep.load_into(target, saved({"w": torch.ones(2)}))
    assert target.state == "kept"
    with pytest.warns(TorchkeepWarning):
        report = torchkeep.load_into(target, saved({"w": torch.ones(2)}), allow="missing")
    assert (report.missing_keys, target.state) == (["_extra_state"], "kept")
    plain = holds(w=torch.zeros(2))
    with unchanged(plain), pytest.raises(BindError, match="_extra_state"):
        torchkeep.load_into(plain, saved(Extra({"a": 1})))


class Config:
    def __init__(self) -> None:
        self.width = 4


def test_extra_state_that_comes_back_as_a_record_is_told(saved: Saved) -> None:
    """Nobody opened its class, so its owner gets something else than it gave: no silent matter."""
    target = Extra()
    with pytest.warns(TorchkeepWarning, match="Record"):
        torchkeep.load_into(target, saved(Extra({"config": Config()})))
    assert target.state["config"].width == 4


def test_extra_state_that_does_not_open_has_a_way_out(saved: Saved) -> None:
    target, path = Extra("kept"), saved(Extra({"kind": Config}))
    with unchanged(target), pytest.raises(torchkeep.TrustError) as caught:
        torchkeep.load_into(target, path)
    assert target.state == "kept"
    assert "torchkeep.load(" not in str(caught.value), "the advice is for another verb"


def test_extra_state_of_the_right_target_is_named_where_it_fails(saved: Saved) -> None:
    class Picky(Extra):
        def set_extra_state(self, state: Any) -> None:
            raise RuntimeError("no, thank you")

    path = saved({"one": Extra({"a": 1}), "two": Extra({"a": 2})})
    with pytest.raises(PartialLoadError) as caught:
        torchkeep.load_into({"one": Picky(), "two": Extra()}, path)
    assert str(caught.value).count(str(path)) == 1
    assert set(caught.value.overwritten) >= {"one.w", "two.w"}
    assert all(name.startswith(("one.", "two.")) for name in caught.value.overwritten)


def test_extra_state_that_is_damaged_changes_nothing(saved: Saved) -> None:
    path = saved(dict(Extra({"amax": torch.ones(8)}).state_dict()))
    header_nbytes = int.from_bytes(path.read_bytes()[:8], "little")
    (name,) = {key for key in json.loads(path.read_bytes()[8 : 8 + header_nbytes]) if key.endswith("amax")}
    damage(path, name)
    target = Extra("kept")
    with unchanged(target), pytest.raises(DigestError):
        torchkeep.load_into(target, path)
    assert target.state == "kept"


def test_extra_state_that_is_refused_by_its_owner(saved: Saved) -> None:
    class Picky(Extra):
        def set_extra_state(self, state: Any) -> None:
            raise RuntimeError("no, thank you")

    target = Picky()
    with pytest.raises(PartialLoadError, match="no, thank you") as caught:
        torchkeep.load_into(target, saved(Extra({"a": 1})))
    assert "w" in caught.value.overwritten
    assert target.w.tolist() == [0, 0]


# Modules with a say of their own


class Hooked(nn.Module):
    """Takes files of an older self, whose weight had another name."""

    def __init__(self) -> None:
        super().__init__()
        self.new = nn.Linear(2, 2)
        self.register_load_state_dict_pre_hook(self._rename)

    @staticmethod
    def _rename(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
        for name in [name for name in state if name.startswith(prefix + "old.")]:
            state[prefix + "new." + name[len(prefix + "old.") :]] = state.pop(name)


class Overridden(nn.Module):
    """The same, in the older way."""

    def __init__(self) -> None:
        super().__init__()
        self.new = nn.Linear(2, 2)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        Hooked._rename(self, state, prefix)
        super()._load_from_state_dict(state, prefix, *rest)


class OwnLoad(nn.Module):
    """The same, in the simplest way."""

    def __init__(self) -> None:
        super().__init__()
        self.new = nn.Linear(2, 2)

    def load_state_dict(self, state: Any, strict: bool = True, assign: bool = False) -> Any:  # type: ignore[override]
        state = dict(state)
        Hooked._rename(self, state, "")
        return super().load_state_dict(state, strict, assign)


OWN = [Hooked, Overridden, OwnLoad]


@pytest.mark.parametrize("kind", OWN)
@pytest.mark.parametrize("prefix", ["old", "new"])
@pytest.mark.parametrize("assign", [False, True])
def test_a_module_with_a_say_of_its_own(saved: Saved, kind: Any, prefix: str, assign: bool) -> None:
    source, target = nn.Linear(2, 2), kind()
    path = saved({f"{prefix}.weight": source.weight, f"{prefix}.bias": source.bias})
    report = torchkeep.load_into(target, path, assign=assign)
    assert same(target.new, source)
    assert list(report) == [[], []]
    assert [finding.code for finding in report.findings] == ["own-load"]


@pytest.mark.parametrize("kind", OWN)
def test_a_module_with_a_say_of_its_own_reports_full_coverage(saved: Saved, kind: Any) -> None:
    path = saved({"old.weight": torch.ones(2, 2), "old.bias": torch.ones(2)})
    report = torchkeep.load_into(kind(), path)
    assert (report.matched, report.total, report.coverage) == (2, 2, 1.0)


@pytest.mark.parametrize("kind", OWN)
def test_a_module_with_a_say_of_its_own_inside_another(saved: Saved, kind: Any) -> None:
    if kind is OwnLoad:
        pytest.skip("torch itself asks only the outermost load_state_dict")
    source, target = nn.Linear(2, 2), nn.Sequential(kind())
    torchkeep.load_into(target, saved({"0.old.weight": source.weight, "0.old.bias": source.bias}))
    assert same(target[0].new, source)


@pytest.mark.parametrize("kind", OWN)
def test_a_module_with_a_say_of_its_own_that_refuses_after_another_was_filled(saved: Saved, kind: Any) -> None:
    path = saved({"one": nn.Linear(2, 2), "two": {"new.weight": torch.ones(2, 2), "new.bias": torch.ones(3)}})
    target = {"one": nn.Linear(2, 2), "two": kind()}
    before = {name: bits(t) for name, t in tensors(target["two"]).items()}
    with pytest.raises(PartialLoadError, match="own load_state_dict") as caught:
        torchkeep.load_into(target, path)
    assert {name: bits(t) for name, t in tensors(target["two"]).items()} == before
    assert sorted(caught.value.overwritten) == ["one.bias", "one.weight"]
    assert "not changed" not in str(caught.value)
    assert str(caught.value).count(str(path)) == 1


@pytest.mark.parametrize("kind", OWN)
@pytest.mark.parametrize("assign", [False, True])
@pytest.mark.parametrize(
    "state",
    [
        {"new.weight": torch.ones(2, 2)},
        {"new.weight": torch.ones(2, 2), "new.bias": torch.ones(2), "more": torch.ones(1)},
        {"new.weight": torch.ones(2, 2), "new.bias": torch.ones(3)},
        {"other": torch.ones(1)},
    ],
    ids=["missing", "unexpected", "shape", "nothing"],
)
def test_a_module_with_a_say_of_its_own_is_whole_after_a_misfit(
    saved: Saved, kind: Any, state: dict[str, torch.Tensor], assign: bool
) -> None:
    target = kind()
    before = {name: bits(t) for name, t in tensors(target).items()}
    with pytest.raises(BindError, match="not changed"):
        torchkeep.load_into(target, saved(state), assign=assign)
    assert {name: bits(t) for name, t in tensors(target).items()} == before


@pytest.mark.parametrize("kind", OWN)
def test_a_module_with_a_say_of_its_own_allows_no_more_than_was_allowed(saved: Saved, kind: Any) -> None:
    target = kind()
    before = {name: bits(t) for name, t in tensors(target).items()}
    state = {"new.weight": torch.ones(2, 2), "more": torch.ones(1)}
    with pytest.raises(BindError):
        torchkeep.load_into(target, saved(state), allow={"missing"})
    assert {name: bits(t) for name, t in tensors(target).items()} == before
    with pytest.warns(TorchkeepWarning):
        missing, unexpected = torchkeep.load_into(target, saved(state), strict=False)
    assert (missing, unexpected) == (["new.bias"], ["more"])


@pytest.mark.parametrize("kind", OWN)
def test_a_module_with_a_say_of_its_own_loads_something_or_says_so(saved: Saved, kind: Any) -> None:
    target = kind()
    with unchanged(target), pytest.raises(BindError, match="no name matched"):
        torchkeep.load_into(target, saved({"other": torch.ones(1)}), strict=False)


@pytest.mark.parametrize("kind", OWN)
def test_a_module_with_a_say_of_its_own_and_bad_bytes(saved: Saved, kind: Any) -> None:
    path, target = saved({"new.weight": torch.ones(2, 2), "new.bias": torch.ones(2)}), kind()
    damage(path, "new.bias")
    with unchanged(target), pytest.raises(DigestError):
        torchkeep.load_into(target, path)


def test_a_module_with_a_say_of_its_own_and_ties_that_conflict(saved: Saved) -> None:
    target = Tied()
    target.register_load_state_dict_post_hook(lambda *_: None)
    path = saved({"embed.weight": torch.ones(5, 3), "head.weight": torch.zeros(5, 3)})
    with unchanged(target), pytest.raises(BindError, match="tied"):
        torchkeep.load_into(target, path)


def test_a_module_with_a_say_of_its_own_and_casts(saved: Saved) -> None:
    target = Hooked().double()
    with pytest.warns(TorchkeepWarning, match="cast"):
        report = torchkeep.load_into(target, saved({"new.weight": torch.ones(2, 2), "new.bias": torch.ones(2)}))
    assert [name for name, _, _ in report.cast] == ["new.weight", "new.bias"]


def plain_hook(*_: Any) -> None:
    """A hook that does nothing."""


def pre_hook(module: nn.Module) -> nn.Module:
    module.register_load_state_dict_pre_hook(plain_hook)
    return module


def post_hook(module: nn.Module) -> nn.Module:
    module.register_load_state_dict_post_hook(plain_hook)
    return module


def own_load(module: nn.Module) -> nn.Module:
    class Own(type(module)):  # type: ignore[misc]
        def _load_from_state_dict(self, *args: Any) -> None:
            super()._load_from_state_dict(*args)

    module.__class__ = Own
    return module


SAYS = [pre_hook, post_hook, own_load]


@pytest.mark.parametrize("say", SAYS)
@pytest.mark.parametrize("allowed", [(), "mismatched"], ids=["strict", "mismatched"])
def test_a_say_of_one_module_leaves_the_others_checked(saved: Saved, say: Any, allowed: Any) -> None:
    """A float that an integer cannot hold, and a head of another size, beside a module with a hook."""
    target = nn.ModuleDict({"l": say(nn.Linear(2, 2)), "head": nn.Linear(2, 2)})
    target.register_buffer("i", torch.zeros(2, dtype=torch.int64))
    path = saved(
        {
            "l.weight": torch.ones(2, 2),
            "l.bias": torch.ones(2),
            "head.weight": torch.ones(3, 2),
            "head.bias": torch.ones(2),
            "i": torch.tensor([1.5, float("nan")]),
        }
    )
    if not allowed:
        with unchanged(target), pytest.raises(BindError) as caught:
            torchkeep.load_into(target, path)
        assert "2 of 5 tensors do not fit; the target was not changed" in str(caught.value)
        assert "file: dtype float32; target: dtype int64, which cannot hold it" in str(caught.value)
        assert "file: shape (3, 2); target: shape (2, 2)" in str(caught.value)
        return
    kept = bits(target["head"].weight)
    with pytest.warns(TorchkeepWarning, match="left out: they did not fit"):
        report = torchkeep.load_into(target, path, allow=allowed)
    assert [name for name, _, _ in report.mismatched] == ["i", "head.weight"] or sorted(
        name for name, _, _ in report.mismatched
    ) == ["head.weight", "i"]
    assert (report.matched, report.total, list(report), report.cast) == (3, 5, [[], []], [])
    assert bits(target["head"].weight) == kept
    assert target.i.tolist() == [0, 0]
    assert target["head"].bias.tolist() == target["l"].bias.tolist() == [1, 1]


def test_a_hook_that_runs_afterwards_has_no_say_in_dtypes(saved: Saved) -> None:
    target = post_hook(holds(w=torch.zeros(2), i=torch.zeros(2, dtype=torch.int64)))
    with unchanged(target), pytest.raises(BindError, match="dtype int64, which cannot hold it"):
        torchkeep.load_into(target, saved({"w": torch.ones(2), "i": torch.tensor([1.5, float("nan")])}))


@pytest.mark.parametrize("say", [pre_hook, own_load])
def test_a_cast_that_a_module_does_itself_is_reported(saved: Saved, say: Any) -> None:
    target = say(holds(w=torch.zeros(2), i=torch.zeros(2, dtype=torch.int64)))
    with pytest.warns(TorchkeepWarning, match="cast"):
        report = torchkeep.load_into(target, saved({"w": torch.ones(2), "i": torch.tensor([1.0, 2.0])}))
    assert report.cast == [("i", "float32", "int64")]
    assert target.i.tolist() == [1, 2]


@pytest.mark.parametrize("say", SAYS)
def test_a_new_head_of_a_module_with_a_say_of_its_own(saved: Saved, say: Any) -> None:
    """What it cannot mend itself is left out where that is allowed."""
    source, target = Net(), Net()
    target.head = nn.Linear(4, 7)
    say(target)
    with pytest.raises(BindError) as caught:
        torchkeep.load_into(target, saved(source))
    assert not {"\t", "\\t", "Error(s)", "torch.Size"} & set(str(caught.value).replace(":", " ").split())
    with pytest.warns(TorchkeepWarning) as warned:
        report = torchkeep.load_into(target, saved(source), allow="mismatched")
    assert len(warned) == 1
    assert sorted(name for name, _, _ in report.mismatched) == ["head.bias", "head.weight"]
    assert (report.matched, report.total, list(report)) == (7, 9, [[], []])
    assert same(target.body, source.body)


@pytest.mark.parametrize("allowed", [(), "mismatched"])
def test_a_module_that_mends_shapes_itself_may(saved: Saved, allowed: Any) -> None:
    def flatten(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
        state[prefix + "weight"] = state[prefix + "weight"][:2]

    target = nn.Sequential(nn.Linear(2, 2, bias=False))
    target[0].register_load_state_dict_pre_hook(flatten)
    report = torchkeep.load_into(target, saved({"0.weight": torch.ones(3, 2)}), allow=allowed)
    assert (report.mismatched, report.coverage) == ([], 1.0)
    assert torch.equal(target[0].weight, torch.ones(2, 2))


@pytest.mark.parametrize("say", SAYS)
@pytest.mark.parametrize("assign", [False, True])
def test_ties_beside_a_module_with_a_say_of_its_own(saved: Saved, say: Any, assign: bool) -> None:
    for names in (["embed.weight"], ["head.weight"], ["embed.weight", "head.weight"]):
        target, weight = Tied(), torch.randn(5, 3)
        say(target)
        report = torchkeep.load_into(target, saved(dict.fromkeys(names, weight)), assign=assign)
        assert target.embed.weight is target.head.weight
        assert torch.equal(target.embed.weight, weight)
        assert (report.matched, list(report)) == (2, [[], []])


@pytest.mark.filterwarnings("ignore:for .* copying from a non-meta parameter")
@pytest.mark.parametrize("say", SAYS)
def test_a_meta_target_with_a_say_of_its_own(saved: Saved, say: Any) -> None:
    source = nn.Linear(2, 2)
    with torch.device("meta"):
        target = say(nn.Linear(2, 2))
    path = saved({"weight": source.weight, "bias": source.bias})
    for allowed in ((), "mismatched"):
        with pytest.raises(BindError, match=r"assign=True|no tensor fits|no name matched"):
            torchkeep.load_into(target, path, allow=allowed)
    torchkeep.load_into(target, path, assign=True)
    assert torch.equal(target.weight, source.weight)


def test_many_names_that_a_module_with_a_say_of_its_own_lacks(saved: Saved) -> None:
    target = pre_hook(nn.ParameterList([torch.zeros(1) for _ in range(30)]))
    with pytest.raises(BindError, match=r"missing \['1', '2', '3', '4', '5', '6', '7', '8'\] and 21 more\."):
        torchkeep.load_into(target, saved({"0": torch.zeros(1)}))


def test_many_misfits_that_a_module_with_a_say_of_its_own_has(saved: Saved) -> None:
    target = pre_hook(nn.ParameterList([torch.zeros(1) for _ in range(30)]))
    with pytest.raises(BindError, match=r"and 22 more\. The target was not changed\. Pass .* leave out 30 that may"):
        torchkeep.load_into(target, saved({str(i): torch.zeros(2) for i in range(30)}))


def test_names_are_checked_before_where_a_say_does_not_reach(saved: Saved) -> None:
    """The hook is not even asked."""
    asked = []
    target = nn.ModuleDict({"a": nn.Linear(1, 1), "ab": nn.Linear(1, 1)})
    target["a"].register_load_state_dict_pre_hook(lambda *_: asked.append(1))
    state = {"a.weight": torch.ones(1, 1), "ab.weight": torch.ones(1, 1), "ab.more": torch.ones(1)}
    with unchanged(target), pytest.raises(BindError) as caught:
        torchkeep.load_into(target, saved(state))
    assert "model['ab.bias']  missing from the file" in str(caught.value)
    assert "model['ab.more']  in the file, not in the target" in str(caught.value)
    assert "a.bias" not in str(caught.value).replace("ab.bias", "")
    assert not asked


def test_extra_state_that_a_module_with_a_say_of_its_own_lacks(saved: Saved) -> None:
    target = post_hook(holds(w=torch.zeros(2)))
    with pytest.raises(BindError, match=r"unexpected \['_extra_state'\]"):
        torchkeep.load_into(target, saved(Extra({"a": 1})))


class TakesNoAssign(nn.Linear):
    def load_state_dict(self, sd: Any, strict: bool = True) -> Any:  # type: ignore[override]
        return super().load_state_dict(sd, strict=strict)


class TakesNoWord(nn.Linear):
    def load_state_dict(self, sd: Any) -> Any:  # type: ignore[override]
        return super().load_state_dict(sd)


class GivesNothing(nn.Linear):
    def load_state_dict(self, sd: Any, strict: bool = True) -> None:  # type: ignore[override]
        super().load_state_dict(sd, strict=strict)


class GivesATuple(nn.Linear):
    def load_state_dict(self, sd: Any, strict: bool = True, **options: Any) -> Any:  # type: ignore[override]
        missing, unexpected = super().load_state_dict(sd, strict=strict, **options)
        return missing, unexpected


ORDINARY = [TakesNoAssign, TakesNoWord, GivesNothing, GivesATuple]


@pytest.mark.parametrize("kind", ORDINARY)
def test_an_ordinary_override_of_load_state_dict(saved: Saved, kind: Any) -> None:
    source, target = nn.Linear(2, 2), kind(2, 2)
    report = torchkeep.load_into(target, saved(source))
    assert same(target, source)
    assert (report.matched, report.total, list(report)) == (2, 2, [[], []])


@pytest.mark.parametrize("kind", ORDINARY)
def test_an_ordinary_override_is_no_way_to_lose_names(saved: Saved, kind: Any) -> None:
    """One that returns nothing is asked to be strict itself."""
    target = kind(2, 2)
    for state in (
        {"weight": torch.ones(2, 2)},
        {"weight": torch.ones(2, 2), "bias": torch.ones(2), "x": torch.ones(1)},
    ):
        before = {name: bits(t) for name, t in tensors(target).items()}
        with pytest.raises(BindError, match=r"own load_state_dict.*The target was not changed"):
            torchkeep.load_into(target, saved(state))
        assert {name: bits(t) for name, t in tensors(target).items()} == before


def test_an_override_that_does_not_tell_what_is_missing(saved: Saved) -> None:
    target = GivesNothing(2, 2)
    with pytest.warns(TorchkeepWarning, match="1 of the target's names are not in the file, 0 of the file's not"):
        report = torchkeep.load_into(target, saved({"weight": torch.ones(2, 2)}), strict=False)
    assert list(report) == [[], []]


def test_an_override_that_takes_no_assign(saved: Saved) -> None:
    target = TakesNoAssign(2, 2)
    with unchanged(target), pytest.raises(BindError, match="takes no assign="):
        torchkeep.load_into(target, saved(nn.Linear(2, 2)), assign=True)
    assign = GivesATuple(2, 2)
    torchkeep.load_into(assign, saved(nn.Linear(2, 2).double()), assign=True)
    assert assign.weight.dtype == torch.float64


def test_a_load_state_dict_of_one_object(saved: Saved) -> None:
    source, target = nn.Linear(2, 2), nn.Linear(2, 2)
    asked = []

    def load(state: Any, strict: bool = True) -> Any:
        asked.append(list(state))
        return nn.Module.load_state_dict(target, state, strict)

    target.load_state_dict = load  # type: ignore[assignment]
    torchkeep.load_into(target, saved(source))
    assert asked == [["weight", "bias"]]
    assert torch.equal(target.weight, source.weight)


def test_a_module_with_a_say_of_its_own_behind_a_wrapper(saved: Saved) -> None:
    source, target = nn.Linear(2, 2), Hooked()
    torchkeep.load_into(nn.DataParallel(target), saved({"new.weight": source.weight, "new.bias": source.bias}))
    assert same(target.new, source)


def test_a_hook_that_raises_anything_leaves_the_target_whole(saved: Saved) -> None:
    target = Hooked()

    def bad(*_: Any) -> None:
        raise KeyError("a hook's own mistake")

    target.new.register_load_state_dict_post_hook(bad)
    before = {name: bits(t) for name, t in tensors(target).items()}
    with pytest.raises((torchkeep.LoadError, KeyError), match="a hook's own mistake"):
        torchkeep.load_into(target, saved({"new.weight": torch.ones(2, 2), "new.bias": torch.ones(2)}))
    assert {name: bits(t) for name, t in tensors(target).items()} == before


def test_weight_norm_in_its_old_way(saved: Saved) -> None:
    with pytest.warns(FutureWarning):
        source, target = (nn.utils.weight_norm(nn.Linear(3, 2)) for _ in range(2))
    torchkeep.load_into(target, saved(dict(source.state_dict())))
    x = torch.randn(1, 3)
    assert torch.equal(target(x), source(x))


def test_weight_norm_in_its_new_way_takes_its_old_names(saved: Saved) -> None:
    """The keys changed in torch 2.1; torch's hook brings the old ones in."""
    with pytest.warns(FutureWarning):
        source = nn.utils.weight_norm(nn.Linear(3, 2))
    target = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    torchkeep.load_into(target, saved(dict(source.state_dict())))
    x = torch.randn(1, 3)
    assert torch.allclose(target(x), source(x))
    again = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    torchkeep.load_into(again, saved(dict(target.state_dict())))
    assert torch.equal(again(x), target(x))


# Bytes that are bad


def large(names: str = "abcd") -> dict[str, torch.Tensor]:
    """Tensors that are too large to be read together."""
    return {name: torch.full((5 << 18,), float(i + 1)) for i, name in enumerate(names)}


def test_a_late_error_names_exactly_what_was_overwritten(saved: Saved) -> None:
    path = saved(large())
    damage(path, "b")
    target = holds(**{name: torch.zeros_like(t) for name, t in large().items()})
    with pytest.raises(PartialLoadError) as caught:
        torchkeep.load_into(target, path)
    changed = [name for name, tensor in tensors(target).items() if tensor.any()]
    assert changed == ["a", "b"]
    assert sorted(caught.value.overwritten) == changed
    assert "a, b" in str(caught.value)
    assert str(caught.value).count(str(path)) == 1
    assert 'verify="first"' in str(caught.value)
    assert isinstance(caught.value.__cause__, DigestError)


def test_a_late_error_among_small_tensors(saved: Saved) -> None:
    """Small tensors are read in one call, so all of them are overwritten before a digest can be held against."""
    source, target = Net(), Net()
    for tensor in tensors(source).values():
        tensor.data.fill_(7)
    path = saved(source)
    damage(path, "body.0.bias")
    before = {name: bits(t) for name, t in tensors(target).items()}
    with pytest.raises(PartialLoadError) as caught:
        torchkeep.load_into(target, path)
    changed = {name for name, tensor in tensors(target).items() if bits(tensor) != before[name]}
    assert set(caught.value.overwritten) == changed


def test_a_late_error_counts_what_is_copied_too(saved: Saved) -> None:
    path = saved(large("ab") | {"c": torch.ones(4)})
    damage(path, "c")
    target = holds(a=torch.zeros(5 << 18), b=torch.zeros(5 << 18, dtype=torch.float64), c=torch.zeros(4).double())
    with pytest.raises(PartialLoadError) as caught:
        torchkeep.load_into(target, path)
    changed = [name for name, tensor in tensors(target).items() if tensor.any()]
    assert sorted(caught.value.overwritten) == changed == ["a"]


def test_a_late_error_for_want_of_memory(saved: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    path, target = saved({"a": torch.ones(2), "b": torch.ones(2)}), holds(a=torch.zeros(2), b=torch.zeros(2).double())

    def full(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(torch, "empty", full)
    with pytest.raises(PartialLoadError, match="no memory") as caught:
        torchkeep.load_into(target, path)
    assert caught.value.overwritten == ("a",)
    assert "othing was" not in str(caught.value)


def test_a_late_error_names_tied_names_too(saved: Saved) -> None:
    path, target = saved({"embed.weight": torch.ones(5, 3)}), Tied()
    damage(path, "embed.weight")
    with pytest.raises(PartialLoadError) as caught:
        torchkeep.load_into(target, path)
    assert sorted(caught.value.overwritten) == ["embed.weight", "head.weight"]


def test_a_late_error_in_a_dict_of_targets_names_the_target(saved: Saved) -> None:
    path = saved({"one": nn.Linear(2, 2), "two": nn.Linear(2, 2)})
    damage(path, "two.bias")
    target = {"one": nn.Linear(2, 2), "two": nn.Linear(2, 2)}
    with pytest.raises(PartialLoadError) as caught:
        torchkeep.load_into(target, path)
    assert {"one.weight", "one.bias"} <= set(caught.value.overwritten)
    assert set(caught.value.overwritten) <= {"one.weight", "one.bias", "two.weight", "two.bias"}


def test_bad_bytes_that_only_pass_through_a_copy_change_nothing(saved: Saved) -> None:
    path, target = saved(nn.Linear(2, 2)), nn.Linear(2, 2).double()
    damage(path, "bias")
    with unchanged(target), pytest.raises(DigestError):
        torchkeep.load_into(target, path)


@pytest.mark.parametrize("name", ["a", "b", "d"])
def test_verify_first_keeps_the_target_whole(saved: Saved, name: str) -> None:
    path = saved(large())
    damage(path, name)
    target = holds(**{name: torch.zeros_like(t) for name, t in large().items()})
    with unchanged(target), pytest.raises(DigestError, match=repr(name)):
        torchkeep.load_into(target, path, verify="first")


def test_verify_first_reads_only_what_is_loaded(saved: Saved) -> None:
    path = saved({"model": nn.Linear(2, 2), "other": {"x": torch.ones(3)}})
    damage(path, "other.x")
    torchkeep.load_into(nn.Linear(2, 2), path, key="model", verify="first")


def test_verify_first_of_a_good_file_and_of_a_plain_one(saved: Saved, tmp_path: Path) -> None:
    source, target = nn.Linear(2, 2), nn.Linear(2, 2)
    torchkeep.load_into(target, saved(source), verify="first")
    assert same(target, source)
    save_file(source.state_dict(), tmp_path / "plain.safetensors")
    target = nn.Linear(2, 2)
    torchkeep.load_into(target, tmp_path / "plain.safetensors", verify="first")
    assert same(target, source)


class Overlapping(nn.Module):
    def __init__(self, begin: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 4))
        self.register_buffer("part", self.weight.detach()[begin : begin + 2])
        self.register_buffer("inner", self.weight.detach()[begin + 1, 1:])


def test_tensors_that_overlap_as_those_of_the_file_do(tmp_path: Path) -> None:
    saved, target = Overlapping(), Overlapping()
    torchkeep.save(saved, tmp_path / "x.safetensors")
    torchkeep.load_into(target, tmp_path / "x.safetensors")
    assert all(
        torch.equal(a, b) for a, b in zip(saved.state_dict().values(), target.state_dict().values(), strict=True)
    )
    assert target.part.data_ptr() == target.weight[1].data_ptr()
    before = {name: tensor.clone() for name, tensor in Overlapping(2).state_dict().items()}
    other = Overlapping(2)
    other.load_state_dict(before)
    with pytest.raises(torchkeep.BindError, match=r"'part'.*shares memory with 'weight'"):
        torchkeep.load_into(other, tmp_path / "x.safetensors")
    apart = {"weight": torch.ones(5, 4), "part": torch.zeros(2, 4), "inner": torch.zeros(3)}
    torchkeep.save(apart, tmp_path / "x.safetensors")
    with pytest.raises(torchkeep.BindError, match="shares memory with"):
        torchkeep.load_into(target, tmp_path / "x.safetensors")
    assert torch.equal(target.weight, saved.weight)


class Two(nn.Module):
    def __init__(self, a: torch.Tensor, b: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("a", a)
        self.register_buffer("b", b)


def test_targets_that_are_read_through_lazy_bits(tmp_path: Path) -> None:
    """Two that see one memory, one of them conjugated, are not tied; they fit a file that has them so."""
    path, x = tmp_path / "x.safetensors", torch.complex(torch.arange(4.0), torch.arange(4.0) + 1)
    zeros = torch.zeros(4, dtype=torch.complex64)
    torchkeep.save(Two(x, x), path)
    with pytest.raises(torchkeep.BindError, match="shares memory with"):
        torchkeep.load_into(Two(zeros, zeros.conj()), path)
    torchkeep.save(Two(x, x.conj()), path)
    target = Two(zeros, zeros.conj())
    torchkeep.load_into(target, path)
    assert torch.equal(target.a, x)
    assert torch.equal(target.b, x.conj())
    torchkeep.save(Two(x[:3], x[1:].conj()), path)
    with pytest.raises(torchkeep.BindError, match="shares memory with"):
        torchkeep.load_into(Two(zeros[:3], zeros[1:]), path)
    y = torch.arange(4.0)
    torchkeep.save(Two(y[:3], y[1:]), path)
    with pytest.raises(torchkeep.BindError, match="shares memory with"):
        torchkeep.load_into(_negated(), path)


def _negated() -> Two:
    memory = torch.zeros(4)
    return Two(memory[:3], torch._neg_view(memory[1:]))


class Own(nn.Module):
    fails = False

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(2))

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        if self.fails:
            raise RuntimeError("no")
        return super().load_state_dict(state_dict, strict=strict, assign=assign)


def test_what_a_module_of_its_own_overwrote_is_told(tmp_path: Path) -> None:
    torchkeep.save({"a": {"w": torch.ones(2)}, "b": {"w": torch.ones(2)}}, tmp_path / "x.safetensors")
    first, second = Own(), Own()
    second.fails = True
    with pytest.raises(
        torchkeep.PartialLoadError, match=r"1 tensor of the target had been overwritten by then: a\.w"
    ) as caught:
        torchkeep.load_into({"a": first, "b": second}, tmp_path / "x.safetensors")
    assert caught.value.overwritten == ("a.w",)
    assert torch.equal(first.w, torch.ones(2))
