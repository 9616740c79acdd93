"""The text of a program, and what is asked of it: each clause of ``spec/program.md`` broken, one thing at a time."""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from torchkeep.document import Document, Ref, Seq, TensorRef, TensorTable, Typed
from torchkeep.errors import FormatError, LimitError, ProgramError, VersionError
from torchkeep.limits import Limits
from torchkeep.programs import growth, model, require, summary
from torchkeep.programs.check import check, written
from torchkeep.programs.ops import OPS
from torchkeep.programs.run import Runner
from torchkeep.programs.text import decode, encode
from torchkeep.values.computation import runner_of

ROOT = Path(__file__).parents[2]
X, WEIGHT, BUFFER, CONSTANT, FIRST = ["v", 3], ["v", 0], ["v", 1], ["v", 2], 4


def base() -> dict[str, Any]:
    """A program that is right: state w and n, one constant, one input."""
    names = ("aten.linear.default", "aten.add_.Tensor", "aten.dropout.default", "torchkeep.grad", "torchkeep.end")
    return {
        "version": 1,
        "modes": ["eval", "train"],
        "ops": [[name, OPS[name].schema if name in OPS else ""] for name in names],
        "modules": ["", "a"],
        "state": [["a", "w"], ["", "n"]],
        "constants": 1,
        "inputs": [["x", "float32", {"eval": [None, 3], "train": [["of", "*", [["dim", 0, 1], 2]], 3]}]],
        "parameters": [["x", "either", X, True], ["s", "keyword", ["f", "0.5"], False]],
        "calls": [
            [0, 1, [X, WEIGHT], {}, None],
            [1, 0, [BUFFER, 1], {"alpha": 2}, ["train", 0]],
            [2, 1, [["v", FIRST], ["f", "0.5"], ["?", [1], False, True]], {}, None],
            [3, 0, [False], {}, None],
            [4, 0, [], {}, None],
        ],
        "output": ["dict", "dict", ["y", 1], [["v", FIRST + 2], ["object", "m:C", False, ["z"], [X]]]],
        "guards": {"eval": [["of", ">=", [["dim", 0, 0], 2]]], "train": []},
        "writes": [1],
        "own_dtype": None,
    }


def read(said: Any, constants: int = 1) -> model.Program:
    program = decode(said if isinstance(said, bytes) else msgspec.json.encode(said))
    check(program, constants=constants)
    return program


def test_what_is_right_is_taken() -> None:
    program = read(base())
    assert encode(program) == msgspec.json.encode(base())
    assert summary(program) == "eval and train, 5 calls, forward(x: float32[*, 3])"


def put(*path: Any) -> Callable[[dict[str, Any]], None]:
    """A change: at the place that all but the last say, stands the last."""
    *keys, last, value = path

    def change(said: Any) -> None:
        for key in keys:
            said = said[key]
        said[last] = value

    return change


def call(name: str, args: list[Any], **kwargs: Any) -> Callable[[dict[str, Any]], None]:
    """A change: one more call."""

    def change(said: dict[str, Any]) -> None:
        said["ops"].append([name, OPS[name].schema if name in OPS else ""])
        said["calls"].append([len(said["ops"]) - 1, 0, args, kwargs, None])

    return change


BROKEN: dict[str, Any] = {
    "P-1 a key": put("code", 1),
    "P-1 a tag": put("output", ["eval", 1]),
    "P-1 a bool": put("constants", True),
    "P-2 modes": put("modes", ["train", "eval"]),
    "P-2 ops twice": lambda said: said["ops"].append(said["ops"][0]),
    "P-2 ops of two schemas": lambda said: said["ops"].append([said["ops"][0][0], said["ops"][0][1] + " "]),
    "P-2 ops that are not called": lambda said: said["ops"].append(["python.neg", ""]),
    "P-2 the order of ops": lambda said: said["calls"].reverse(),
    "P-2 modules": put("modules", ["", ""]),
    "P-2 state": put("state", [["a", "w"], ["a", "w"]]),
    "P-2 constants": lambda said: (put("constants", 2)(said), put("parameters", 0, 2, ["v", 4])(said)),
    "P-2 writes": put("writes", [2]),
    "P-2 writes out of order": put("writes", [1, 0]),
    "P-2 an operator": put("calls", 4, 0, 9),
    "P-2 a module": put("calls", 0, 1, 2),
    "P-2 only": put("calls", 1, 4, ["train", -1]),
    "P-2 a choice": put("calls", 2, 2, 2, ["?", [2], False, True]),
    "P-2 a region's schema": put("ops", 4, 1, "aten::relu(Tensor self) -> Tensor"),
    "P-3 no inputs": put("parameters", []),
    "P-3 an input twice": put("parameters", 1, 2, X),
    "P-3 a name": put("parameters", 0, 0, "class"),
    "P-3 a name twice": put("parameters", 1, 0, "x"),
    "P-3 a kind": put("parameters", 1, 1, "positional"),
    "P-3 a choice": put("parameters", 1, 2, ["?", [0], 1, 2]),
    "P-3 its own dtype": put("parameters", 1, 2, ["own_dtype"]),
    "P-3 not given": put("parameters", 0, 3, False),
    "P-3 a mode": put("guards", {"eval": []}),
    "P-3 ranks": put("inputs", 0, 2, "train", [3]),
    "P-3 a dtype": put("inputs", 0, 1, "float33"),
    "P-3 its dtype": put("own_dtype", "Tensor"),
    "P-3 an input of a size": put("guards", "eval", [["dim", 1, 0]]),
    "P-3 a dimension": put("guards", "eval", [["dim", 0, 2]]),
    "P-3 arithmetic": put("guards", "eval", [["of", "**", [1, 2]]]),
    "P-3 arithmetic of too few": put("guards", "eval", [["of", "+", [1]]]),
    "P-3 a size": put("inputs", 0, 2, "eval", [2**63, 3]),
    "P-4 forward": put("calls", 0, 2, [X, ["v", FIRST + 1]]),
    "P-4 itself": put("calls", 0, 2, [X, ["v", FIRST]]),
    "P-4 negative": put("calls", 0, 2, [X, ["v", -1]]),
    "P-4 a region": call("aten.relu.default", [["v", FIRST + 3]]),
    "P-4 a slice": put("calls", 0, 2, [X, ["slice", 1, 2, 3]]),
    "P-4 a dict": put("calls", 0, 2, [X, ["dict", "dict", [], []]]),
    "P-4 a float": put("calls", 2, 2, 1, ["f", "0.50"]),
    "P-4 an integer": put("calls", 1, 2, 1, 2**63),
    "P-4 a dtype": call("aten.sum.default", [X], dtype=["dtype", "load"]),
    "P-4 a device": call("aten.zeros.default", [["list", [1]]], device=["device", "meta"]),
    "P-4 a device in another way": call("aten.zeros.default", [["list", [1]]], device=["device", "cpu:00"]),
    "P-4 a layout": call("aten.zeros.default", [["list", [1]]], layout=["layout", "sparse_coo"]),
    "P-4 a memory format": call("aten.clone.default", [X], memory_format=["memory_format", "x"]),
    "P-4 its own dtype": call("aten.sum.default", [X], dtype=["own_dtype"]),
    "P-4 a choice by none": put("calls", 2, 2, 2, ["?", [], False, True]),
    "P-4 equal keys": put("output", ["dict", "dict", [1, True], [1, 1]]),
    "P-4 keys without values": put("output", ["dict", "dict", [1], []]),
    "P-4 a dunder": put("output", ["object", "m:C", False, ["__class__"], [1]]),
    "P-4 a name of a sequence": put("output", ["object", "m:C", True, ["a b"], [1]]),
    "P-4 a class": put("output", ["object", "m\n:C", True, ["a"], [1]]),
    "P-5 too many": put("calls", 0, 2, [X, WEIGHT, None, None]),
    "P-5 too few": put("calls", 0, 2, [X]),
    "P-5 a keyword": put("calls", 0, 3, {"x": 1}),
    "P-5 twice": put("calls", 0, 3, {"input": X}),
    "P-5 a type": put("calls", 0, 2, [X, "w"]),
    "P-5 a bool": put("calls", 2, 2, 1, True),
    "P-5 a side of a choice": put("calls", 2, 2, 2, ["?", [1], False, 1]),
    "P-5 python": call("python.add", [1]),
    "P-5 text for python": call("python.mul", ["a", 2]),
    "P-5 getitem": call("python.getitem", [["list", [X]], 0]),
    "P-5 a generator": call("aten.bernoulli.default", [X], generator=1),
    "P-6 a value": put("output", ["v", 99]),
    "P-6 a region": put("output", ["v", FIRST + 3]),
    "P-6 its own device": put("output", ["own_device"]),
    "P-6 a slice": put("output", ["slice", X, None, None]),
    "P-7 grad": put("calls", 3, 2, [1]),
    "P-7 end": put("calls", 4, 2, [1]),
    "P-7 autocast": call("torchkeep.autocast", ["meta", None, True, None]),
    "P-7 no end": lambda said: (said["calls"].pop(), said["ops"].pop()),
    "P-7 no end in a mode": put("calls", 4, 4, ["eval", 0]),
    "P-7 no beginning": lambda said: said["calls"].append([4, 0, [], {}, None]),
    "P-8 a parameter": put("calls", 1, 2, 0, WEIGHT),
    "P-8 an input": call("aten.relu_.default", [X]),
    "P-8 a constant": call("aten.relu_.default", [CONSTANT]),
    "P-8 a view": lambda said: (
        call("aten.t.default", [WEIGHT])(said),
        call("aten.relu_.default", [["v", FIRST + 5]])(said),
    ),
    "P-8 out of a list": lambda said: (
        call("aten.unbind.int", [X])(said),
        call("python.getitem", [["v", FIRST + 5], 0])(said),
        call("aten.relu_.default", [["v", FIRST + 6]])(said),
    ),
    "P-8 dropout": lambda said: (
        put("calls", 2, 2, 0, X)(said),
        call("aten.relu_.default", [["v", FIRST + 2]])(said),
    ),
    "P-8 statistics": call(
        "aten.batch_norm.default",
        [X, None, None, CONSTANT, CONSTANT, ["?", [0], False, True], ["f", "0.1"], ["f", "1e-05"], False],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_every_clause_is_checked(name: str) -> None:
    said = base()
    BROKEN[name](said)
    with pytest.raises(FormatError) as caught:
        read(said)
    assert caught.value.clause == name.split(maxsplit=1)[0], caught.value


def _typed(line: str, said: Any, constant: Any) -> tuple[Document, Typed, dict[str, Any]]:
    text = msgspec.json.encode(said)
    node = Typed("program", 1, {"summary": line, "text": text, "constants": Ref(1)})
    document = Document(node, [node, Seq("tuple", (constant,))], TensorTable(["c"], ["float32"], [(2,)]))  # type: ignore[arg-type]
    return document, node, {"summary": line, "text": text, "constants": (torch.zeros(2),)}


def test_p_9_and_constants() -> None:
    line = summary(decode(msgspec.json.encode(base())))
    assert isinstance(runner_of(*_typed(line, base(), TensorRef(0))), Runner)
    for told, constant, clause in ((line + " ", TensorRef(0), "P-9"), (line, Ref(0), "P-2"), ("", TensorRef(0), "P-9")):
        with pytest.raises(FormatError) as caught:
            runner_of(*_typed(told, base(), constant))
        assert caught.value.clause == clause


class Tree(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Module()
        self.a.w = nn.Parameter(torch.zeros(2, 3))
        self.register_buffer("n", torch.zeros(2))

    @property
    def code(self) -> torch.Tensor:
        raise AssertionError("a property of a class was asked")


def test_p_10() -> None:
    program, tree = read(base()), Tree()
    require(program, tree, lambda _: False)
    for state, modules in (
        ((model.StateRef("a", "gone"),), ("",)),
        ((model.StateRef("gone", "w"),), ("",)),
        ((model.StateRef("", "code"),), ("",)),
        ((model.StateRef("", "training"),), ("",)),
        ((model.StateRef("", "__dict__"),), ("",)),
        ((model.StateRef("", "forward"),), ("",)),
        ((), ("gone",)),
        ((), ("a.w",)),
        ((), ("forward.__globals__",)),
        ((), ("__class__",)),
        ((), (".",)),
    ):
        with pytest.raises(FormatError) as caught:
            require(msgspec.structs.replace(program, state=state, modules=modules), tree, lambda _: False)
        assert caught.value.clause == "P-10"
    tree.n = None  # type: ignore[assignment]
    require(program, tree, lambda held: held is None)


def test_the_standard_the_code_and_the_tests_have_the_same_clauses() -> None:
    standard = re.findall(r"^\*\*(P-[0-9]+)\*\*", (ROOT / "spec" / "program.md").read_text(), flags=re.MULTILINE)
    assert len(set(standard)) == len(standard)
    assert set(re.findall(r"P-[0-9]+", (ROOT / "spec" / "program.md").read_text())) == set(standard)
    room = [*(ROOT / "src/torchkeep/programs").glob("*.py"), ROOT / "src/torchkeep/values/computation.py"]
    told = {clause for path in room for clause in re.findall(r'clause="(P-[0-9]+)"', path.read_text())}
    told |= {clause for path in room for clause in re.findall(r'"(P-[0-9]+)"', path.read_text())}
    assert told == set(standard)
    assert {name.split()[0] for name in BROKEN} | {"P-9", "P-10"} == set(standard)


def test_the_standard_names_what_the_model_has() -> None:
    text = (ROOT / "spec" / "program.md").read_text()
    for struct in vars(model).values():
        if isinstance(struct, type) and issubclass(struct, msgspec.Struct) and struct.__struct_config__.tag:
            assert f'["{struct.__struct_config__.tag}"' in text, struct
    assert re.findall(r"^\| `(\w+)` \|", text.partition("## 3.")[2].partition("## 4.")[0], flags=re.MULTILINE) == list(
        model.Program.__struct_fields__
    )
    for op in model.FORMULAS:
        assert f"`{op}`" in text


# --- limits -----------------------------------------------------------------------------------------


def nested(depth: int) -> Any:
    made: Any = X
    for _ in range(depth):
        made = ["list", [made]]
    return made


def formula(depth: int) -> Any:
    made: Any = 1
    for _ in range(depth):
        made = ["of", "not", [made]]
    return made


@pytest.mark.parametrize(
    "change",
    [
        put("output", nested(64)),
        put("parameters", 0, 2, nested(64)),
        put("guards", "eval", [formula(64)]),
        put("guards", "eval", [["of", "+", [["of", "+", [1] * 4000]] * 3]]),
        put("inputs", 0, 2, {"eval": [1] * 65, "train": [1] * 65}),
        call("aten.zeros.default", [["list", [2**34]]]),
        call("aten.zeros.default", [["list", [2**20, 2**20]]]),
        call("aten.zeros.default", [["list", [["?", [0], 1, 2**40]]]]),
        call("aten.arange.start_step", [0, 2**40, 2]),
        call("aten.arange.default", [["f", "inf"]]),
        call("aten.pad.default", [X, ["list", [2**40, 0]]]),
        call("aten.repeat.default", [X, ["list", [2**20, 2**20]]]),
    ],
)
def test_limits(change: Callable[[dict[str, Any]], None]) -> None:
    said = base()
    change(said)
    with pytest.raises(LimitError):
        read(said)


def test_what_is_at_a_limit_is_taken() -> None:
    for change in (
        put("output", nested(63)),
        put("guards", "eval", [formula(63)]),
        call("aten.zeros.default", [["list", [2**16, 2**17]]]),
        call("aten.arange.start_step", [0, 2**40, 2**10]),
        call("aten.pad.default", [X, ["list", [2**20] * 4]]),
    ):
        said = base()
        change(said)
        read(said)
    with pytest.raises(LimitError):
        decode(encode(read(base())), limits=Limits(program_nbytes=100))


def test_work_is_linear() -> None:
    """Calls whose results may be the memory of all that was before do not add up."""

    def seconds(count: int) -> float:
        said = base()
        call("aten.broadcast_tensors.default", [["list", [X, WEIGHT, CONSTANT]]])(said)
        row, first = said["calls"].pop(), len(said["calls"])
        for number in range(count):
            before = FIRST + first + number - 1 if number else 3
            said["calls"].append([*row[:2], [["list", [["v", before], X, WEIGHT]]], {}, None])
        program = decode(msgspec.json.encode(said))
        began = time.process_time()
        check(program, constants=1)
        return time.process_time() - began

    few, many = min(seconds(2_000) for _ in range(3)), seconds(20_000)
    assert many < 40 * few


# --- what an operator is asked to make, when it runs ------------------------------------------------


WIDE = torch.zeros(1).expand(2**33)
SMALL = torch.ones(2, 3)
LARGE: dict[str, Any] = {
    "cat.default": ([WIDE, WIDE],),
    "stack.default": ([WIDE, WIDE],),
    "kron.default": (WIDE, torch.ones(2)),
    "outer.default": (WIDE, torch.ones(2)),
    "cartesian_prod.default": ([WIDE, torch.ones(2)],),
    "zeros.default": ([2**40],),
    "new_full.default": (SMALL, [2**20, 2**20], 1),
    "arange.default": (1e12,),
    "linspace.default": (0, 1, 2**40),
    "expand.default": (torch.zeros(1), [2**20, 2**20]),
    "repeat.default": (SMALL, [2**20, 2**20]),
    "repeat_interleave.self_int": (SMALL, 2**40),
    "repeat_interleave.self_Tensor": (SMALL, torch.full((2,), 2**40), 0),
    "repeat_interleave.Tensor": (torch.full((2,), 2**40),),
    "pad.default": (SMALL, [2**20, 2**20, 2**20, 2**20]),
    "one_hot.default": (torch.full((2,), 2**40),),
    "bincount.default": (torch.full((2,), 2**40),),
    "diag_embed.default": (SMALL, 2**20),
    "combinations.default": (torch.zeros(10_000), 4),
    "mvlgamma.default": (SMALL, 2**40),
    "tensor_split.sections": (SMALL, 2**30),
    "conv1d.default": (torch.ones(1, 2, 3), torch.ones(4, 2, 1), None, [1], [2**40]),
    "conv_transpose1d.default": (torch.ones(1, 2, 3), torch.ones(2, 4, 1), None, [2**40]),
    "adaptive_avg_pool2d.default": (torch.ones(1, 2, 3, 3), [2**20, 2**20]),
    "upsample_nearest1d.vec": (torch.ones(1, 2, 3), None, [1e12]),
    "fft_fft.default": (SMALL, 2**40),
    "histc.default": (SMALL, 2**40),
    "vander.default": (torch.ones(2), 2**40),
    "nonzero_static.default": (SMALL, {"size": 2**40}),
}


@pytest.mark.parametrize("name", LARGE)
def test_an_operator_is_not_asked_for_too_much(name: str) -> None:
    args = LARGE[name]
    kwargs = args[-1] if isinstance(args[-1], dict) else {}
    guard = growth.guard_of(f"aten.{name}")
    assert guard is not None
    with pytest.raises(LimitError):
        guard(args[:-1] if kwargs else args, kwargs)


FINE: dict[str, Any] = {
    "conv2d.default": (torch.zeros(1).expand(64, 256, 128, 128), torch.zeros(512, 256, 3, 3), None, [1, 1], [1, 1]),
    "cdist.default": (torch.zeros(1).expand(10_000, 256), torch.zeros(1).expand(10_000, 256)),
    "one_hot.default": (torch.zeros(10_000, dtype=torch.int64), 30_000),
    "repeat_interleave.self_Tensor": (torch.zeros(1).expand(10_000, 10_000), torch.full((10_000,), 3), 0),
    "expand.default": (torch.zeros(1, 1, 4096), [64, 512, -1]),
    "upsample_bilinear2d.vec": (torch.zeros(1).expand(16, 256, 64, 64), [512, 512], False, None),
    "adaptive_avg_pool2d.default": (torch.zeros(1).expand(64, 2048, 7, 7), [1, 1]),
    "fft_fft.default": (torch.zeros(1).expand(100_000, 1024), 1024),
    "conv1d.padding": (torch.ones(1, 2, 3), torch.ones(4, 2, 1), None, [1], "same"),
    "bincount.default": (torch.arange(5),),
    "chunk.default": (SMALL, 2),
    "arange.default": (10,),
}  # fmt: skip


@pytest.mark.parametrize("name", FINE)
def test_what_models_do_is_not_too_much(name: str) -> None:
    guard = growth.guard_of(f"aten.{name}")
    assert guard is not None
    guard(FINE[name], {})


def test_operators_without_sizes_have_no_check() -> None:
    for name in ("aten.add.Tensor", "aten.linear.default", "aten.relu.default", "aten.softmax.int", "python.mul"):
        assert growth.guard_of(name) is None
    for name, op in OPS.items():
        assert not op.sizes or growth.guard_of(name) is not None, name


# --- what is changed in place -----------------------------------------------------------------------


def test_written_tells_running_statistics() -> None:
    said = base()
    statistics = [X, None, None, WEIGHT, BUFFER, ["?", [0], False, True], ["f", "0.1"], ["f", "1e-05"], False]
    call("aten.batch_norm.default", statistics)(said)
    assert written(decode(msgspec.json.encode(said))) == {0, 1}
    said["calls"][-1][2][5] = False
    assert written(decode(msgspec.json.encode(said))) == {1}


def test_what_a_call_made_may_be_changed() -> None:
    said = base()
    call("aten.relu.default", [WEIGHT])(said)
    call("aten.zero_.default", [["v", FIRST + 5]])(said)
    read(said)


# --- the text ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"{}",
        b"[" * 100_000,
        b"\xff",
        encode(decode(msgspec.json.encode(base()))) + b" ",
        encode(decode(msgspec.json.encode(base()))).replace(b'"constants":1', b'"constants":1.0'),
        encode(decode(msgspec.json.encode(base()))).replace(b'"constants":1', b'"constants":2,"constants":1'),
        encode(decode(msgspec.json.encode(base()))).replace(b'"x"', b'"\\u0078"'),
    ],
)
def test_p_1(text: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        decode(text)
    assert caught.value.clause == "P-1"


def test_another_version_is_told() -> None:
    with pytest.raises(VersionError, match="version 2"):
        decode(msgspec.json.encode(base() | {"version": 2, "what": "ever"}))


@pytest.mark.parametrize("name", ["aten.from_file.default", "os.system", "aten.relu.default.__class__", "\0", ""])
def test_what_is_not_in_the_list_is_not_looked_up(name: str) -> None:
    said = base()
    said["ops"][0][0] = name
    with pytest.raises(ProgramError):
        read(said)


_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
_INTS = st.integers(-(2**63), 2**63 - 1)
_ROWS = st.lists(st.integers(0, 3), max_size=2).map(tuple)
_LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    _INTS,
    _TEXTS,
    st.builds(model.Value, st.integers(-1, 9)),
    st.floats().map(lambda number: model.Float(repr(number))),
    *(st.builds(kind, _TEXTS) for kind in (model.Dtype, model.Device, model.Layout, model.MemoryFormat)),
    *(st.builds(kind) for kind in (model.OwnDtype, model.OwnDevice, model.Dots)),
)


def _branches(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    many = st.lists(inner, max_size=3).map(tuple)
    keys = st.lists(st.none() | st.booleans() | _INTS | _TEXTS, max_size=3).map(tuple)
    return st.one_of(
        st.builds(model.List, many),
        st.builds(model.Tuple, many),
        st.builds(model.Slice, inner, inner, inner),
        st.builds(model.Dict, st.sampled_from(["dict", "OrderedDict"]), keys, many),
        st.builds(model.Object, _TEXTS, st.booleans(), st.lists(_TEXTS, max_size=3).map(tuple), many),
        st.builds(model.Choice, _ROWS, inner, inner),
    )


_ARGUMENTS = st.recursive(_LEAVES, _branches, max_leaves=6)
_MODES = st.sampled_from(["eval", "train"])
_EXTENTS = st.recursive(
    _INTS | st.builds(model.Dim, st.integers(0, 3), st.integers(0, 3)),
    lambda inner: st.builds(model.Formula, _TEXTS, st.lists(inner, max_size=3).map(tuple)),
    max_leaves=4,
)
_SHAPES = st.dictionaries(_MODES, st.lists(st.none() | _EXTENTS, max_size=3).map(tuple), max_size=2)
_KINDS = st.sampled_from(["positional", "either", "keyword", "args", "kwargs"])


def _tuples(held: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(held, max_size=2).map(tuple)


programs = st.builds(
    model.Program,
    version=st.just(1),
    modes=_tuples(_MODES),
    ops=_tuples(st.tuples(_TEXTS, _TEXTS)),
    modules=_tuples(_TEXTS),
    state=_tuples(st.builds(model.StateRef, _TEXTS, _TEXTS)),
    constants=_INTS,
    inputs=_tuples(st.builds(model.InputSpec, _TEXTS, _TEXTS, _SHAPES)),
    parameters=_tuples(st.builds(model.Parameter, _TEXTS, _KINDS, _ARGUMENTS, st.booleans())),
    calls=_tuples(
        st.builds(
            model.Call,
            _INTS,
            _INTS,
            _tuples(_ARGUMENTS),
            st.dictionaries(_TEXTS, _ARGUMENTS, max_size=2),
            st.none() | st.tuples(_MODES, _INTS),
        )
    ),
    output=_ARGUMENTS,
    guards=st.dictionaries(_MODES, _tuples(_EXTENTS), max_size=2),
    writes=_tuples(_INTS),
    own_dtype=st.none() | _TEXTS,
)


@given(programs)
def test_a_program_is_one_text(program: model.Program) -> None:
    text = encode(program)
    again = decode(text)
    assert again == program
    assert encode(again) == text
    try:
        check(program, constants=0)
    except (FormatError, ProgramError) as error:
        assert isinstance(error, LimitError | ProgramError) or error.clause  # noqa: PT017


@given(_ARGUMENTS)
def test_parts_and_rebuilt_agree(argument: model.Argument) -> None:
    assert model.rebuilt(argument, lambda part: part) == argument
    assert len(list(model.leaves(argument))) == 1 + sum(len(list(model.leaves(part))) for part in model.parts(argument))
    assert copy.copy(argument) == argument
