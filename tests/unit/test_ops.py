"""The closed list of operators: true to this torch, refused outside of it, and found again from what it calls."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._pytree import tree_flatten

from torchkeep.errors import ProgramError
from torchkeep.programs import resolve
from torchkeep.programs.guards import guard_of, plain
from torchkeep.programs.ops import CALLS, OPS
from torchkeep.programs.resolve import Upgrade, name_of, overload
from torchkeep.programs.schemas import grew, parse

RELEASE = torch.__version__.startswith("2.13.")


def _operator(name: str) -> Any:
    _, base, which = name.split(".")
    return getattr(getattr(torch.ops.aten, base), which)


# --- the table --------------------------------------------------------------------------------------


@pytest.mark.skipif(not RELEASE, reason="the table holds the schemas of torch 2.13")
def test_every_schema_is_this_torchs() -> None:
    assert {name: op.schema for name, op in OPS.items()} == {name: str(_operator(name)._schema) for name in OPS}


def test_it_is_large_enough_for_real_models() -> None:
    assert len(OPS) > 500


def test_what_is_written_and_shared_is_what_the_schema_says() -> None:
    for name, op in OPS.items():
        schema = _operator(name)._schema
        marked = [one for one in schema.arguments if one.alias_info is not None]
        assert op.writes == tuple(one.name for one in marked if one.alias_info.is_write), name
        assert op.views == tuple(one.name for one in marked if not one.alias_info.is_write), name
        names = {one.name for one in schema.arguments}
        assert names.issuperset({*op.sizes, *op.may_return_input}), name
        assert not set(op.may_return_input) & {*op.views, *op.writes}, name


def test_what_draws_random_numbers_is_what_torch_says() -> None:
    tagged = {name for name in OPS if torch.Tag.nondeterministic_seeded in _operator(name).tags}
    more = {name for name, op in OPS.items() if op.random} - tagged
    assert tagged <= {name for name, op in OPS.items() if op.random}
    assert {name.split(".")[1].rstrip("_") for name in more} <= {
        *("lstm", "gru", "rnn_tanh", "rnn_relu", "alpha_dropout", "feature_dropout", "feature_alpha_dropout"),
        *("dropout", "rrelu", "scaled_dot_product_attention", "normal_functional"),
    }


X = torch.linspace(0.1, 0.9, 16).reshape(4, 4)

SAME: dict[str, Callable[[], tuple[Any, ...]]] = {
    "aten.diff.default": lambda: (X[:0], 1, 0),
    "aten.conj_physical.default": lambda: (X,),
    "aten.sum_to_size.default": lambda: (X, [4, 4]),
    "aten.broadcast_tensors.default": lambda: ([X, X],),
    "aten.atleast_1d.default": lambda: (X,),
    "aten.atleast_1d.Sequence": lambda: ([X],),
    "aten.atleast_2d.default": lambda: (X,),
    "aten.atleast_2d.Sequence": lambda: ([X],),
    "aten.atleast_3d.default": lambda: (X,),
    "aten.atleast_3d.Sequence": lambda: ([X],),
    "aten.cartesian_prod.default": lambda: ([X[0]],),
    "aten.meshgrid.default": lambda: ([X[0], X[1]],),
    "aten.meshgrid.indexing": lambda: ([X[0], X[1]],),
    "aten.type_as.default": lambda: (X, X),
    "aten.dropout.default": lambda: (X, 0.5, False),
    "aten.alpha_dropout.default": lambda: (X, 0.5, False),
    "aten.feature_dropout.default": lambda: (X, 0.5, False),
    "aten.feature_alpha_dropout.default": lambda: (X, 0.5, False),
    "aten.einsum.default": lambda: ("ij->ij", [X]),
}
"""Calls whose result is an argument, or a view of it, without a word in the schema."""


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_may_return_an_argument_does() -> None:
    assert set(SAME) == {name for name, op in OPS.items() if op.may_return_input}
    for name, arguments in SAME.items():
        kwargs = {"indexing": "ij"} if name.endswith(".indexing") else {}
        results = tree_flatten(_operator(name)(*arguments(), **kwargs))[0]
        assert any(one.untyped_storage().data_ptr() == X.untyped_storage().data_ptr() for one in results), name


# --- names ------------------------------------------------------------------------------------------


@pytest.mark.skipif(not RELEASE, reason="an older or newer torch may lack some")
def test_a_name_and_what_it_calls_find_each_other() -> None:
    for name, op in OPS.items():
        called = overload(name, op.schema)
        assert called is _operator(name)
        assert name_of(called) == name
    for name in CALLS:
        assert name_of(overload(name, "")) == name


REFUSED = (
    *("", "aten", "aten.", "aten.add", "aten.add.", "aten.add.Tensor.x", "aten..Tensor", ".add.Tensor", "add.Tensor"),
    *("aten.add.tensor", "ATEN.add.Tensor", "aten.add.Tensor\0", "aten.add\0.Tensor", " aten.add.Tensor", "aten::add"),
    *("aten.from_file.default", "aten._reshape_alias.default", "aten.as_strided.default", "aten.set_.source_Tensor"),
    *(
        "aten.resize_.default",
        "aten._sparse_coo_tensor_unsafe.default",
        "aten._convert_indices_from_coo_to_csr.default",
    ),
    *("aten._unsafe_index.Tensor", "aten._print.default", "aten._assert_scalar.default", "aten.record_stream.default"),
    *("aten.add.out", "aten.save.default", "aten._foreach_add.Scalar", "aten._thnn_fused_lstm_cell.default"),
    *("prims.add.default", "prim.device.default", "torchvision.nms.default", "quantized.add.default", "inductor.x.y"),
    *(
        "aten.__init__.default",
        "aten.__class__.default",
        "aten.__dict__.default",
        "aten.add.__class__",
        "aten.add.__call__",
    ),
    *("python.eval", "python.exec", "python.__import__", "python.getattr", "python.open", "python.attrgetter"),
    *("python.methodcaller", "python.call", "python.setitem", "python.iadd", "python.concat", "math.factorial"),
    *("math.comb", "math.__loader__", "torch.load", "torch.hub.load", "torch.ops.aten", "os.system", "python.add.x"),
    "x" * 10_000,
)


@pytest.mark.parametrize("name", REFUSED)
def test_a_name_outside_of_the_list_is_refused(name: str) -> None:
    assert name not in OPS
    assert name not in CALLS
    with pytest.raises(ProgramError, match="not in the list") as caught:
        overload(name, "aten::add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor")
    assert len(str(caught.value)) < 1000
    assert "\0" not in str(caught.value)


@pytest.mark.parametrize(
    "target",
    [
        *(torch.ops.aten.as_strided.default, torch.ops.aten.resize_.default, torch.ops.aten.add.out),
        *(torch.ops.aten.add, torch.ops.aten, torch.ops.prims.add.default, torch.add, torch.load, eval, open, [], None),
        *(operator.setitem, operator.attrgetter, math.factorial, math.comb, lambda: None),
    ],
    ids=lambda target: getattr(target, "__name__", str(target)),
)
def test_what_is_outside_of_the_list_has_no_name(target: object) -> None:
    assert name_of(target) is None


def test_two_spellings_of_one_function_have_one_name() -> None:
    assert name_of(abs) == name_of(operator.abs) == "python.abs"
    assert name_of(pow) == name_of(operator.pow) == "python.pow"


def test_an_operator_that_this_torch_lacks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    schema = "aten::of_the_future(Tensor self) -> Tensor"
    monkeypatch.setitem(OPS, "aten.of_the_future.default", OPS["aten.relu.default"]._replace(schema=schema))
    with pytest.raises(ProgramError, match=r"does not have.*Use the torch that the file was saved with"):
        overload("aten.of_the_future.default", schema)


def test_a_function_of_pythons_has_no_schema() -> None:
    with pytest.raises(ProgramError, match="has a schema"):
        overload("python.add", "aten::add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor")


# --- schemas that change ----------------------------------------------------------------------------

NEW = "aten::f.x(Tensor self, SymInt[] size, float p=0.5, *, bool twice=False, str? mode=None) -> (Tensor, Tensor)"


@pytest.mark.parametrize(
    "old",
    [
        NEW,
        "aten::f.x(Tensor self, SymInt[] size, float p=0.5, *, bool twice=False) -> (Tensor, Tensor)",
        "aten::f.x(Tensor self, SymInt[] size, float p=0.5) -> (Tensor, Tensor)",
        "aten::f.x(Tensor self, int[] size) -> (Tensor, Tensor)",
        "aten::f.x(Tensor self, SymInt[] size, *, str? mode=None) -> (Tensor, Tensor)",
    ],
)
def test_arguments_more_with_defaults_are_taken_as_they_are(old: str) -> None:
    assert grew(old, NEW)


@pytest.mark.parametrize(
    "old",
    [
        "",
        "aten::f.x",
        "aten::f.x()",
        "aten::f.x() -> (Tensor, Tensor)",  # those that came have no defaults
        "aten::f.x(Tensor self) -> (Tensor, Tensor)",
        "aten::g.x(Tensor self, SymInt[] size, float p=0.5) -> (Tensor, Tensor)",
        "aten::f.y(Tensor self, SymInt[] size, float p=0.5) -> (Tensor, Tensor)",
        "aten::f.x(Tensor self, SymInt[] size, float p=0.4) -> (Tensor, Tensor)",  # another default
        "aten::f.x(Tensor self, SymInt[] sizes, float p=0.5) -> (Tensor, Tensor)",  # another name
        "aten::f.x(SymInt[] size, Tensor self, float p=0.5) -> (Tensor, Tensor)",  # another order
        "aten::f.x(Tensor self, SymInt[] size, float p=0.5) -> Tensor",
        "aten::f.x(Tensor(a!) self, SymInt[] size, float p=0.5) -> (Tensor, Tensor)",
        "aten::f.x(Tensor self, SymInt[] size, float p=0.5, bool twice=False) -> (Tensor, Tensor)",
        "aten::f.x(Tensor self, SymInt[] size, float p=0.5, *, bool once=False) -> (Tensor, Tensor)",
        "aten::f.x(Tensor self, SymInt[] size, *, bool twice=False, int more=1, str? mode=None) -> (Tensor, Tensor)",
        "x" * 100_000,
        "aten::f.x(" + "(" * 3000,
        "aten::f.x(Tensor self\0) -> Tensor",
    ],
)
def test_any_other_change_is_not(old: str) -> None:
    assert not grew(old, NEW)


def test_every_schema_of_the_table_is_read_whole() -> None:
    for name, op in OPS.items():
        parsed = parse(op.schema)
        assert parsed
        assert [(one.name, one.keyword, one.default is not None) for one in parsed.arguments] == [
            (one.name, one.kwarg_only, one.has_default_value()) for one in _operator(name)._schema.arguments
        ]


def test_a_schema_that_changed_is_refused_with_both() -> None:
    with pytest.raises(
        ProgramError, match=r"as 'aten::relu\(Tensor self, int n\).*has it as 'aten::relu\(Tensor self\)"
    ):
        overload("aten.relu.default", "aten::relu(Tensor self, int n) -> Tensor")


@pytest.mark.skipif(not RELEASE, reason="another torch may have them otherwise")
@pytest.mark.parametrize(
    ("name", "old"),
    [
        (
            "aten.stft.default",  # before `align_to_window`
            ", ".join(OPS["aten.stft.default"].schema.split(", ")[:-1]) + ") -> Tensor",
        ),
        (
            "aten.pad_sequence.default",  # before `padding_side`
            "aten::pad_sequence(Tensor[] sequences, bool batch_first=False, float padding_value=0.) -> Tensor",
        ),
        (
            "aten.scaled_dot_product_attention.default",  # before `enable_gqa`
            OPS["aten.scaled_dot_product_attention.default"].schema.replace(", bool enable_gqa=False", ""),
        ),
        (
            "aten.nonzero_static.default",  # before its size could vary
            "aten::nonzero_static(Tensor self, *, int size, int fill_value=-1) -> Tensor",
        ),
    ],
)
def test_what_older_releases_wrote_is_called_as_it_is(name: str, old: str) -> None:
    assert old != OPS[name].schema
    assert overload(name, old) is _operator(name)


def test_an_upgrade_writes_the_call_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    old = "aten::softplus(Tensor self, Scalar scale, Scalar threshold=20) -> Tensor"

    def rewrite(args: tuple[Any, ...], kwargs: Any) -> resolve.Arguments:
        return args[:1], {"beta": args[1], **kwargs}

    monkeypatch.setitem(resolve.UPGRADES, "aten.softplus.default", (Upgrade(old, rewrite),))
    called = overload("aten.softplus.default", old)
    assert torch.equal(called(X, 2, threshold=10), torch.nn.functional.softplus(X, 2, 10))
    assert overload("aten.softplus.default", OPS["aten.softplus.default"].schema) is torch.ops.aten.softplus.default


# --- guards -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "args", "kwargs"),
    [
        ("python.pow", (10, 10**9), {}),
        ("python.pow", (-3, 2**62), {}),
        ("python.mul", (2**100, 2**100), {}),
        ("python.lshift", (1, 2**40), {}),
        ("python.mul", ([0], 10**9), {}),
        ("python.mul", ("x", 10**9), {}),
        ("python.mod", ("%1000000000d", 1), {}),
        ("python.add", (torch.ones(1), 1), {}),
        ("python.add", (1 << 200, 1), {}),
        ("python.add", (1,), {}),
        ("python.getitem", ({}, 0), {}),
        ("python.getitem", ([1], slice(0, 10)), {}),
        ("python.max", (1, 2), {"key": print}),
        ("math.ceil", ("1",), {}),
        ("aten.zeros.default", ([2],), {"dtype": 99}),
        ("aten.zeros.default", ([2],), {"dtype": torch.qint8}),
        ("aten.zeros.default", ([2],), {"layout": torch.sparse_coo}),
        ("aten.clone.default", (X,), {"memory_format": 99}),
        ("aten.to.device", (X, "cpu", -1), {}),
        ("aten.repeat_interleave.Tensor", (torch.tensor([2**62] * 4),), {}),
        ("aten._weight_norm.default", (X[:0], X[:0]), {}),
        ("aten._weight_norm.default", (X, X[0, :1]), {}),
        ("aten.linalg_eigvals.default", (X / 0,), {}),
        ("aten.linalg_eigvals.default", (), {}),
        ("aten.ctc_loss.IntList", (X[:, None], torch.tensor([99]), [4], [1]), {}),
        ("aten.embedding_bag.default", (X, torch.tensor([1]), torch.tensor([], dtype=torch.int64)), {}),
        ("aten.embedding_bag.default", (X, torch.tensor([1]), torch.tensor([0]), False, 0, False, X), {}),
        ("aten.gru.data", (X, torch.tensor([4]), X[None], 1j, True, 1, 0.0, False, False), {}),
        ("aten.matrix_power.default", (X, -(2**63)), {}),
        ("aten.max_pool1d.default", (X, [2**62]), {}),
        ("aten.zeros.default", ([2],), {"device": "meta"}),
        ("aten.gru.input", (X[None], X[None], [X, X, X[0], X[0]], True, 1, 0.0, False, False, False), {}),
    ],
)
def test_a_guard_refuses(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    guard = guard_of(name)
    assert guard
    with pytest.raises(ProgramError, match="The call was not made"):
        guard(args, kwargs)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("python.pow", (2, 10)),
        ("python.pow", (2.0, 0.5)),
        ("python.pow", (1, 10**9)),
        ("python.mul", (2**62, 2**3)),
        ("python.getitem", ([1, 2], -1)),
        ("torch.sym_sum", ([1, 2, 3],)),
        ("aten.zeros.default", ([2],)),
        ("aten.ctc_loss.IntList", (X[:, None], torch.tensor([3]), [4], [1])),
        ("aten.embedding_bag.default", (X, torch.tensor([1, 2]), torch.tensor([0]), False, 0, False, X[0, :2])),
        ("aten.to.device", (X, torch.device("cpu"), torch.float64)),
        ("aten.to.device", (X, "cuda", torch.float64)),
        ("aten._weight_norm.default", (X, X[:, :1])),
        ("aten._weight_norm.default", (X, X[:1], 1)),
        ("aten._weight_norm.default", (X, X.norm(), -1)),
        ("aten.repeat_interleave.Tensor", (torch.tensor([1, 2, 0]),)),
    ],
)
def test_a_guard_lets_pass_what_programs_do(name: str, args: tuple[Any, ...]) -> None:
    guard = guard_of(name)
    assert guard
    guard(args, {})


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "options", [{}, {"num_layers": 2, "bidirectional": True}, {"bias": False, "batch_first": True}]
)
def test_recurrent_layers_pass_their_guard(kind: str, packed: bool, options: dict[str, Any]) -> None:
    seen = []

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            name = getattr(function, "__name__", "")
            if name in ("lstm", "gru", "rnn_tanh"):
                seen.append(name)
                guard = guard_of(f"aten.{name}.{'data' if packed else 'input'}")
                assert guard
                guard(args, kwargs or {})
            return function(*args, **(kwargs or {}))

    module = getattr(torch.nn, kind)(4, 3, **options)
    inputs: Any = torch.ones(3, 2, 4)
    if packed:
        inputs = torch.nn.utils.rnn.pack_padded_sequence(
            inputs, [3, 2] if not options.get("batch_first") else [2] * 3, batch_first=bool(options.get("batch_first"))
        )
    with Watch():
        module(inputs)
    assert seen


def test_a_projected_lstm_passes_its_guard() -> None:
    guard = guard_of("aten.lstm.input")
    assert guard
    module = torch.nn.LSTM(4, 3, proj_size=2, num_layers=2, bidirectional=True)
    states = [torch.zeros(4, 2, 2), torch.zeros(4, 2, 3)]
    guard((torch.ones(5, 2, 4), states, module._flat_weights, True, 2, 0.0, False, True, False), {})


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_only_plain_tensors_are_given_to_operators() -> None:
    assert plain(X)
    assert plain(X.t().to(torch.bfloat16))
    for other in (X.to_sparse(), X.to("meta"), torch.quantize_per_tensor(X, 0.1, 0, torch.qint8), X.to_mkldnn()):
        assert not plain(other)
