"""Computations in files: what a program says that nobody's capture would, and what it asks for when it runs.

A case is refused when the file is read where the text alone tells it, by the clause of ``spec/program.md``; otherwise
when it is called. What is odd and does no harm has to run.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
from case import Cases, some
from forge import N, S, T, file, module, parameter

CASES = Cases()
LOAD, CALL = ("program",), ("call",)

# --- a program that is right, to be changed ---------------------------------------------------------

X, FIRST = ["v", 4], 5
"""The input, and the first call's number: before them stand a weight, a bias, a buffer and a constant."""

WEIGHT, BIAS, BUFFER, CONSTANT = (["v", number] for number in range(4))


def v(number: int) -> list[Any]:
    """What the call of this number gives, counted from 0."""
    return ["v", FIRST + number]


def f(number: float | str) -> list[Any]:
    return ["f", number if isinstance(number, str) else repr(number)]


def schema_of(name: str) -> str:
    from torchkeep.programs.ops import OPS

    return OPS[name].schema if name in OPS else ""


def full(name: str) -> str:
    """``add.Tensor`` for ``aten.add.Tensor``, ``relu`` for ``aten.relu.default``."""
    if name.split(".", maxsplit=1)[0] in ("python", "math", "torch", "torchkeep", "aten"):
        return name
    return f"aten.{name}" if "." in name else f"aten.{name}.default"


def program(*calls: Any, output: Any = None, **changes: Any) -> dict[str, Any]:
    """A program of calls: tuples of a name, arguments, and, where there are any, keywords, `only` and a module."""
    ops: dict[str, int] = {}
    made = []
    for name, args, *rest in calls or (("linear", [X, WEIGHT, BIAS]),):
        row = ops.setdefault(full(name), len(ops))
        keywords, only, at = (*rest, *({}, None, 0)[len(rest) :])
        made.append([row, at, args, keywords, only])
    base = {
        "version": 1,
        "modes": ["eval", "train"],
        "ops": [[name, schema_of(name)] for name in ops],
        "modules": ["", "lin"],
        "state": [["lin", "weight"], ["lin", "bias"], ["", "n"]],
        "constants": 1,
        "inputs": [["x", "float32", {"eval": [None, 3], "train": [None, 3]}]],
        "parameters": [["x", "either", X, True]],
        "calls": made,
        "output": v(len(made) - 1) if output is None else output,
        "guards": {"eval": [], "train": []},
        "writes": [2],
        "own_dtype": None,
    }
    assert changes.keys() <= base.keys(), changes
    return base | changes


def summary(said: Any) -> str:
    """The line for people, as far as the program lets one be written."""
    try:
        mode = said["modes"][0]
        sizes = [
            ", ".join(str(size) if type(size) is int else "*" for size in spec[2][mode]) for spec in said["inputs"]
        ]
        inputs = ", ".join(f"{spec[0]}: {spec[1]}[{size}]" for spec, size in zip(said["inputs"], sizes, strict=True))
        return f"{' and '.join(said['modes'])}, {len(said['calls'])} calls, forward({inputs})"
    except (TypeError, KeyError, IndexError):
        return ""


def node(said: Any, *, constants: Any = None, text: Any = None, line: str | None = None) -> N:
    """The node of a program, given as what JSON holds or as a text."""
    given = said if isinstance(said, bytes) else msgspec.json.encode(said)
    held = (T(S("c", "float32", (3,))),) if constants is None else constants
    fields = {"summary": summary(said) if line is None else line, "text": text or given, "constants": held}
    return N("program", fields)


def net(said: Any = None, **fields: Any) -> N:
    """The module that a program belongs to."""
    linear = module(
        "gone.away:Linear", parameters={"weight": parameter("lin.weight", (2, 3)), "bias": parameter("lin.bias", (2,))}
    )
    held = {"buffers": {"n": T(S("n", "float32", (2,)))}, "modules": {"lin": linear}}
    return module(
        "gone.away:Net",
        **(held | {"program": said if isinstance(said, N) else node(program() if said is None else said)} | fields),
    )


def honest() -> bytes:
    """One that does a little of everything, for the machine to warm up."""
    said = program(
        ("linear", [X, WEIGHT, BIAS], {}, None, 1),
        ("add_.Tensor", [BUFFER, 1], {}, ["train", 0]),
        ("dropout", [v(0), f(0.5), ["?", [0], False, True]]),
        ("torchkeep.grad", [False]),
        ("cat", [["list", [v(2), v(2)]], 1]),
        ("torchkeep.end", []),
        ("sym_size.int", [X, 0]),
        ("python.mul", [v(6), 2]),
        ("zeros", [["list", [v(7), 3]]], {"device": ["own_device"], "dtype": ["dtype", "float32"]}),
        ("topk", [v(8), 1]),
        ("python.getitem", [v(9), 0]),
        output=["dict", "dict", ["y", "z"], [v(4), ["object", "a.b:C", False, ["logits"], [v(10)]]]],
    )
    return file(net(said))


def add(name: str, said: Callable[[], Any], expect: str, **more: Any) -> None:
    """A case: refused when it is read by a clause or an error, or when it is called."""
    verb = "program" if expect.startswith(("P-", "load")) else "call"
    wanted = "FormatError|ProgramError" if expect == "load" else expect
    while f"program {name}".replace("/", "-").replace(" ", "_") in CASES:
        name += "~"  # two texts that are written alike once they are short
    make = more.pop("make", None) or (lambda: file(net(said())))
    CASES.add(f"program {name}", make, verbs=more.pop("verbs", (verb,)), expect={verb: wanted}, **more)


def each(family: str, cases: dict[str, Any], expect: str, **more: Any) -> None:
    """Cases that are refused alike; a pair says otherwise of one."""
    for label, said in cases.items():
        made, wanted = said if isinstance(said, tuple) else (said, expect)
        add(f"{family}/{label}", made, wanted, **more)


REFUSED = "CallError|ProgramError|LimitError"
ODD = ("\0", "a\0b", "\x1b[31m", "\u202e", "a" * 100_000, "\ud7ff\uffff", "", " ", "os.system", "__import__('os')")

add("right/everything", lambda: None, "ok", make=honest)
add("right/everything in train mode", lambda: None, "ok", make=honest, load={"mode": "train"})

# --- operators: names, schemas, arguments -----------------------------------------------------------

_LISTED = "aten::relu(Tensor self) -> Tensor"
_NAMES = (
    *ODD,
    *("aten.from_file.default", "aten.as_strided.default", "aten.set_.source_Tensor", "aten.resize_.default"),
    *("aten._reshape_alias.default", "aten.save.default", "aten._print.default", "aten.record_stream.default"),
    *("aten.load.default", "prim.RaiseException.default", "prims.inplace.default", "torchvision.nms.default"),
    *(
        "aten.relu",
        "aten.relu.default.default",
        "aten.relu.__class__",
        "aten.__class__.default",
        "relu",
        "aten..default",
    ),
    *("python.exec", "python.eval", "python.open", "python.__import__", "python.getattr", "python.add.__globals__"),
    *("math.__loader__", "math.prod", "torch.load", "torch.hub.load", "torch.ops.load_library", "torch._C._jit_init"),
    *("builtins.exec", "operator.attrgetter", "operator.methodcaller", "os.system", "aten.sparse_coo_tensor.default"),
    *(
        "ATEN.relu.default",
        "aten.relu.Default",
        "aten.relu.default ",
        "aten.relu.default\n",
        "aten::relu",
        "END",
        "end ",
    ),
)
for _name in _NAMES:
    add(f"names/{ascii(_name)[:60]}", lambda n=_name: program(ops=[[n, _LISTED]]), "load")
for _text in (*ODD, "relu", "aten::relu(Tensor self) -> (", "aten::relu(Tensor self, Tensor x) -> Tensor", "(" * 4000):
    add(f"schemas/{ascii(_text)[:60]}", lambda t=_text: program(("relu", [X]), ops=[["aten.relu.default", t]]), "load")
each(
    "schemas",
    {
        "of another operator": lambda: program(
            ("relu", [X]), ops=[["aten.relu.default", schema_of("aten.sin.default")]]
        ),
        "of a region": lambda: program(("torchkeep.end", []), ops=[["torchkeep.end", _LISTED]]),
        "of python's": lambda: program(("python.neg", [1]), ops=[["python.neg", _LISTED]]),
        "none": lambda: program(("relu", [X]), ops=[["aten.relu.default", ""]]),
        "writes nothing": lambda: program(
            ("relu_", [X]), ops=[["aten.relu_.default", "aten::relu_(Tensor self) -> Tensor"]]
        ),
        "with another default": lambda: program(
            ("add.Tensor", [X, X]),
            ops=[["aten.add.Tensor", schema_of("aten.add.Tensor").replace("alpha=1", "alpha=2")]],
        ),
    },
    "load",
)
each(
    "tables",
    {
        "an operator twice": lambda: program(ops=[["aten.relu.default", _LISTED]] * 2),
        "an operator by two schemas": lambda: program(
            ("relu", [X]), ops=[["aten.relu.default", _LISTED], ["aten.relu.default", _LISTED + " "]]
        ),
        "an operator that is not called": lambda: program(
            ("relu", [X]), ops=[["aten.relu.default", _LISTED], ["aten.sin.default", schema_of("aten.sin.default")]]
        ),
        "another order": lambda: program(
            ("relu", [X]), ("sin", [X]), calls=[[1, 0, [X], {}, None], [0, 0, [X], {}, None]]
        ),
        "a module twice": lambda: program(modules=["", ""]),
        "state twice": lambda: program(state=[["lin", "weight"]] * 3),
        "writes twice": lambda: program(writes=[2, 2]),
        "writes out of order": lambda: program(writes=[2, 1]),
        "writes that are not there": lambda: program(writes=[3]),
        "negative writes": lambda: program(writes=[-1]),
        "row of no operator": lambda: program(calls=[[1, 0, [X], {}, None]]),
        "negative operator": lambda: program(calls=[[-1, 0, [X], {}, None]]),
        "row of no module": lambda: program(calls=[[0, 2, [X, WEIGHT], {}, None]]),
        "negative module": lambda: program(calls=[[0, -1, [X, WEIGHT], {}, None]]),
        "huge row": lambda: program(calls=[[0, 2**70, [X, WEIGHT], {}, None]]),
        "only by no module": lambda: program(calls=[[0, 0, [X, WEIGHT], {}, ["eval", 2]]]),
        "only by a negative module": lambda: program(calls=[[0, 0, [X, WEIGHT], {}, ["eval", -1]]]),
        "no calls": lambda: program(ops=[], calls=[], output=v(5)),
    },
    "P-2",
)
CASES["program_tables-no_calls"].expect["program"] = "P-6|P-2"
each(
    "modes",
    {
        "none": lambda: program(modes=[]),
        "twice": lambda: program(modes=["eval", "eval"]),
        "another order": lambda: program(modes=["train", "eval"]),
        "many": lambda: program(modes=["eval"] * 100_000),
        "another": (lambda: program(modes=["test"]), "P-1"),
        "only in one": lambda: program(
            ("relu", [X], {}, ["eval", 0]),
            modes=["eval"],
            guards={"eval": []},
            inputs=[["x", "float32", {"eval": [2, 3]}]],
        ),
        "shapes of others": (lambda: program(modes=["eval"]), "P-3"),
        "guards of others": (lambda: program(guards={"eval": []}), "P-3"),
        "a choice in one": (
            lambda: program(
                ("dropout", [X, f(0.5), ["?", [0], False, True]]),
                modes=["eval"],
                guards={"eval": []},
                inputs=[["x", "float32", {"eval": [2, 3]}]],
            ),
            "P-4",
        ),
        "called in another": (
            lambda: program(
                ("relu", [X]), modes=["train"], guards={"train": []}, inputs=[["x", "float32", {"train": [2, 3]}]]
            ),
            "CallError",
        ),
        "what train alone made": (
            lambda: program(("relu", [X], {}, ["train", 0]), ("relu", [v(0)])),
            "CallError",
        ),
        "what train alone made is returned": (lambda: program(("relu", [X], {}, ["train", 0])), "CallError"),
    },
    "P-2",
    load={"mode": "eval"},
)
each(
    "arity",
    {
        "none": lambda: program(("relu", [])),
        "one too many": lambda: program(("relu", [X, X])),
        "a thousand": lambda: program(("relu", [X] * 1000)),
        "a keyword too many": lambda: program(("relu", [X], {"x": X})),
        "a keyword twice": lambda: program(("relu", [X], {"self": X})),
        "a keyword by position": lambda: program(("add.Tensor", [X, X, 1])),
        "odd keywords": lambda: program(("relu", [X], dict.fromkeys(ODD, 1))),
        "a dunder": lambda: program(("relu", [X], {"__class__": X})),
        "out": lambda: program(("relu", [X], {"out": X})),
        "python with a keyword": lambda: program(("python.neg", [1], {"x": 1})),
        "python with none": lambda: program(("python.neg", [])),
        "python with many": lambda: program(("python.min", [1] * 100_000)),
        "region with a keyword": (lambda: program(("torchkeep.end", [], {"x": 1}), output=X), "P-7"),
        "region with many": (lambda: program(("torchkeep.end", [1] * 1000), output=X), "P-7"),
    },
    "P-5",
)
each(
    "types",
    {
        "bool for int": lambda: program(("softmax.int", [X, True])),
        "bool for float": lambda: program(("dropout", [X, True, False])),
        "int for bool": lambda: program(("dropout", [X, f(0.5), 1])),
        "float for int": lambda: program(("softmax.int", [X, f(1.0)])),
        "text for a tensor": lambda: program(("relu", ["x"])),
        "text for an int": lambda: program(("softmax.int", [X, "1"])),
        "null for a tensor": lambda: program(("relu", [None])),
        "a list for a tensor": lambda: program(("relu", [["list", [X]]])),
        "a tensor for a list": (lambda: program(("cat", [X])), REFUSED),
        "null in a list of tensors": lambda: program(("cat", [["list", [X, None]]])),
        "a list in a list": lambda: program(("cat", [["list", [["list", [X]]]]])),
        "a dict": (lambda: program(("relu", [["dict", "dict", [], []]])), "P-4"),
        "an object": (lambda: program(("relu", [["object", "a:B", False, [], []]])), "P-4"),
        "a slice": (lambda: program(("relu", [["slice", None, None, None]])), "P-4"),
        "dots": (lambda: program(("relu", [["..."]])), "P-4"),
        "a dtype for a layout": lambda: program(("zeros", [["list", [1]]], {"layout": ["dtype", "float32"]})),
        "an int for a dtype": lambda: program(("zeros", [["list", [1]]], {"dtype": 6})),
        "an int for a layout": lambda: program(("zeros", [["list", [1]]], {"layout": 999})),
        "text for a device": lambda: program(("zeros", [["list", [1]]], {"device": "cpu"})),
        "a choice of the wrong one": lambda: program(("relu", [["?", [0], X, "x"]])),
        "a number for a tensor": (lambda: program(("add.Tensor", [1, f(2.0)])), "ok|CallError"),
        "a list for python": lambda: program(("python.add", [["list", [1]], 2])),
        "text for python": lambda: program(("python.mul", ["a", 2**40])),
        "a dtype for python": lambda: program(("python.getitem", [["dtype", "float32"], 0])),
        "text for getitem": lambda: program(("python.getitem", ["abc", 0])),
        "a list for getitem": lambda: program(("python.getitem", [["list", [X]], 0])),
        "a tensor for python": (lambda: program(("python.add", [X, 1])), REFUSED),
        "a tensor for getitem": (lambda: program(("python.getitem", [X, 0])), REFUSED),
        "getitem by a tensor": (lambda: program(("topk", [X, 1]), ("python.getitem", [v(0), X])), REFUSED),
        "getitem out of range": (lambda: program(("topk", [X, 1]), ("python.getitem", [v(0), 2])), REFUSED),
        "getitem from the end": (lambda: program(("topk", [X, 1]), ("python.getitem", [v(0), -1])), "ok"),
        "getitem far out": (lambda: program(("topk", [X, 1]), ("python.getitem", [v(0), -(2**63)])), REFUSED),
        "getitem of a number": (lambda: program(("sym_size.int", [X, 0]), ("python.getitem", [v(0), 0])), REFUSED),
        "a tuple of results for a tensor": (lambda: program(("topk", [X, 1]), ("relu", [v(0)])), REFUSED),
        "a number of results for a tensor": (lambda: program(("sym_size.int", [X, 0]), ("relu", [v(0)])), REFUSED),
        "a tensor for an int": (lambda: program(("softmax.int", [X, X])), REFUSED),
    },
    "P-5",
)

# --- references -------------------------------------------------------------------------------------

each(
    "references",
    {
        "forward": lambda: program(("relu", [v(1)]), ("relu", [v(0)])),
        "self": lambda: program(("relu", [v(0)])),
        "negative": lambda: program(("relu", [["v", -1]])),
        "far": lambda: program(("relu", [["v", 2**62]])),
        "farther": lambda: program(("relu", [["v", 2**70]])),
        "bool": (lambda: program(("relu", [["v", True]])), "P-1"),
        "float": (lambda: program(("relu", [["v", 0.0]])), "P-1"),
        "null": (lambda: program(("relu", [["v", None]])), "P-1"),
        "in a list": lambda: program(("cat", [["list", [X, v(0)]]])),
        "in a choice": lambda: program(("relu", [["?", [0], X, v(0)]])),
        "in a keyword": lambda: program(("add.Tensor", [X], {"other": v(0)})),
        "of a region": lambda: program(("torchkeep.grad", [True]), ("torchkeep.end", []), ("relu", [v(0)])),
        "of the end of a region": lambda: program(("torchkeep.grad", [True]), ("torchkeep.end", []), ("relu", [v(1)])),
        "as an optional tensor": lambda: program(
            ("torchkeep.grad", [True]), ("torchkeep.end", []), ("linear", [X, WEIGHT, v(0)])
        ),
        "of the output": (lambda: program(output=v(1)), "P-6"),
        "of the output, negative": (lambda: program(output=["v", -1]), "P-6"),
        "of the output, a region": (
            lambda: program(("torchkeep.grad", [True]), ("torchkeep.end", []), output=v(1)),
            "P-6",
        ),
    },
    "P-4",
)
each(
    "choices",
    {
        "by no module": lambda: program(("relu", [["?", [], X, X]])),
        "by a module that is not there": (lambda: program(("relu", [["?", [2], X, X]])), "P-2"),
        "by a negative module": (lambda: program(("relu", [["?", [-1], X, X]])), "P-2"),
        "by one module twice": (lambda: program(("relu", [["?", [0, 0], X, X]])), "P-2"),
        "by many": (lambda: program(("relu", [["?", [0] * 1_000_000, X, X]])), "P-2"),
        "of choices": (lambda: program(("relu", [["?", [0], ["?", [1], X, X], ["?", [0, 1], X, X]]])), "ok"),
        "a comb": (lambda: program(("relu", [comb(60)])), "ok"),
        "a deep comb": (lambda: program(("relu", [comb(70)])), "LimitError"),
        "a tree": (lambda: program(("relu", [tree(14)])), "ok"),
        "many trees": (lambda: program(*(("relu", [tree(8)]) for _ in range(200))), "ok"),
        "in the output": (lambda: program(output=["?", [0], v(0), X]), "ok"),
        "in a parameter": (lambda: program(parameters=[["x", "either", ["?", [0], X, X], True]]), "P-3"),
        "of flags": (lambda: program(("dropout", [X, f(0.5), ["?", [0, 1], ["?", [1], True, False], True]])), "ok"),
        "of names": (lambda: program(("pad", [X, ["list", [1, 1]], ["?", [0], "reflect", "\0"]])), "ok"),
        "of sizes": (lambda: program(("zeros", [["list", [["?", [0], 1, 2**40]]]])), "LimitError"),
    },
    "P-4",
)


def comb(depth: int) -> Any:
    made: Any = X
    for _ in range(depth):
        made = ["?", [0], made, X]
    return made


def tree(depth: int) -> Any:
    return X if depth == 0 else ["?", [0], tree(depth - 1), tree(depth - 1)]


def mixed(model: Any) -> Any:
    """A call while one module is in another mode than the rest."""
    import torch

    model.eval()
    model.lin.training = True
    return model(torch.ones(2, 3))


each(
    "mixtures",
    {
        "a choice by both": (lambda: program(("relu", [["?", [0, 1], X, X]])), "CallError"),
        "a choice by one": (lambda: program(("relu", [["?", [1], X, X]])), "ok"),
        "what is not made": (lambda: program(("relu", [X], {}, ["eval", 1]), ("relu", [v(0)])), "CallError"),
        "half a region": (
            lambda: program(
                ("torchkeep.grad", [True], {}, ["eval", 0]),
                ("torchkeep.grad", [True], {}, ["train", 1]),
                ("torchkeep.end", [], {}, ["eval", 1]),
                ("torchkeep.end", [], {}, ["train", 1]),
                output=X,
            ),
            "CallError",
        ),
    },
    "CallError",
    call=mixed,
)

# --- literals ---------------------------------------------------------------------------------------

for _text in ("inf", "-inf", "nan", "1e+308", "5e-324", "-0.0"):
    add(f"floats/{_text}", lambda t=_text: program(("mul.Tensor", [X, f(t)])), "ok")
for _text in (
    "Infinity",
    "1",
    "1.",
    "1e5",
    "0x1p3",
    "1_0.0",
    " 1.0",
    "",
    "NaN",
    "1.00",
    "1e400",
    "1.0\n",
    "__import__",
):
    add(f"floats/{_text!a}", lambda t=_text: program(("mul.Tensor", [X, f(t)])), "P-4")
add("floats/long", lambda: program(("mul.Tensor", [X, f("0." + "1" * 1_000_000)])), "P-4")
for _number in (2**63, -(2**63) - 1, 2**64, 10**4000):
    add(f"integers/{str(_number)[:12]}", lambda n=_number: program(("softmax.int", [X, n])), "P-4|P-1")
for _number in (2**63 - 1, -(2**63), 2**31, -3, 2):
    add(f"integers/{_number}", lambda n=_number: program(("softmax.int", [X, n])), REFUSED)
_ZERO = ["list", [1]]
for _dtype in (*ODD, "float33", "Tensor", "dtype", "load", "float32.__class__", "torch.float32", "__dict__"):
    add(
        f"dtypes/{ascii(_dtype)[:40]}",
        lambda n=_dtype: program(("zeros", [_ZERO], {"dtype": ["dtype", n]})),
        "P-4",
    )
    add(f"dtypes/of an input {ascii(_dtype)[:40]}", lambda n=_dtype: program(inputs=[["x", n, SHAPES]]), "P-3")
for _dtype in ("quint8", "bits8", "quint4x2", "uint1", "int3", "float4_e2m1fn_x2"):
    add(
        f"dtypes/{_dtype}",
        lambda n=_dtype: program(("zeros", [_ZERO], {"dtype": ["dtype", n]})),
        "ok|CallError|ProgramError|FormatError",
    )
for _device in (
    *ODD,
    "meta",
    "meta:0",
    "privateuseone",
    "cuda:99999",
    "cpu:-1",
    "hpu",
    "vulkan:0",
    "cpu:00",
    "CPU",
    "xla",
):
    add(
        f"devices/{ascii(_device)[:40]}",
        lambda n=_device: program(("zeros", [_ZERO], {"device": ["device", n]})),
        "P-4",
    )
for _device in ("cuda", "cuda:7", "mps", "xpu", "cpu:99"):
    add(
        f"devices/{_device}",
        lambda n=_device: program(("zeros", [_ZERO], {"device": ["device", n]})),
        "ok|CallError|ProgramError",
    )
for _layout in ("sparse_coo", "sparse_csr", "_mkldnn", "jagged", *ODD):
    add(
        f"layouts/{ascii(_layout)[:40]}",
        lambda n=_layout: program(("zeros", [_ZERO], {"layout": ["layout", n]})),
        "P-4",
    )
for _format in ("channels_last_4d", "legacy", *ODD):
    add(
        f"memory formats/{ascii(_format)[:40]}",
        lambda n=_format: program(("clone", [X], {"memory_format": ["memory_format", n]})),
        "P-4",
    )
add(
    "memory formats/channels_last of a matrix",
    lambda: program(("clone", [X], {"memory_format": ["memory_format", "channels_last"]})),
    "CallError",
)
SHAPES = {"eval": [None, 3], "train": [None, 3]}
for _text in (*ODD, "ij,jk->ik\0", "...", "->" * 1000, "i" * 1000, "'''; import os; '''", "\\N{BULLET}", "{v4}", "\n#"):
    add(f"strings/einsum {ascii(_text)[:40]}", lambda t=_text: program(("einsum", [t, ["list", [X]]])), "ok|CallError")
    add(f"strings/pad {ascii(_text)[:40]}", lambda t=_text: program(("pad", [X, ["list", [1, 1]], t])), "ok|" + REFUSED)
each(
    "strings",
    {
        "rounding": lambda: program(("div.Tensor_mode", [X, X], {"rounding_mode": "a\0b"})),
        "gelu": lambda: program(("gelu", [X], {"approximate": "tanh\n"})),
        "quantile": lambda: program(("quantile", [X, f(0.5)], {"interpolation": "__class__"})),
        "conv": lambda: program(("conv1d.padding", [X, ["v", 0], None, ["list", [1]], "\u202e"])),
        "reduce": lambda: program(("scatter_reduce.two", [X, 0, X, X, "sum"])),
        "indexing": lambda: program(("meshgrid.indexing", [["list", [X]]], {"indexing": "xyz"})),
        "norm": lambda: program(("fft_fft", [X, None, -1, "'"])),
        "device of autocast": (
            lambda: program(("torchkeep.autocast", ["cpu\0", None, True, None]), ("torchkeep.end", [])),
            "P-7",
        ),
    },
    REFUSED,
)

# --- regions ----------------------------------------------------------------------------------------

GRAD, AUTO, END = (
    ("torchkeep.grad", [True]),
    ("torchkeep.autocast", [["own_device"], None, True, None]),
    ("torchkeep.end", []),
)
each(
    "regions",
    {
        "never ended": lambda: program(GRAD, ("relu", [X])),
        "never begun": lambda: program(END, ("relu", [X])),
        "ended before": lambda: program(END, GRAD, ("relu", [X])),
        "ended in one mode": lambda: program(GRAD, ("torchkeep.end", [], {}, ["eval", 0]), ("relu", [X])),
        "nested 64": (lambda: program(*[GRAD] * 64, *[END] * 64, ("relu", [X])), "ok"),
        "nested 65": lambda: program(*[GRAD] * 65, *[END] * 65, ("relu", [X])),
        "nested a hundred thousand": lambda: program(*[GRAD] * 100_000, *[END] * 100_000, ("relu", [X])),
        "many": (lambda: program(*[GRAD, END] * 3000, ("relu", [X])), "ok"),
        "gradients by a number": lambda: program(("torchkeep.grad", [1]), END, ("relu", [X])),
        "gradients by a value": lambda: program(("torchkeep.grad", [X]), END, ("relu", [X])),
        "gradients by a choice": lambda: program(("torchkeep.grad", [["?", [0], True, False]]), END, ("relu", [X])),
        "autocast of fewer": lambda: program(("torchkeep.autocast", [["own_device"]]), END, ("relu", [X])),
        "autocast to an int": (
            lambda: program(("torchkeep.autocast", ["cpu", ["dtype", "int8"], True, None]), END, ("relu", [X])),
            "ok|CallError",
        ),
        "autocast to its own": (
            lambda: program(("torchkeep.autocast", ["cpu", ["own_dtype"], True, None]), END, ("relu", [X])),
            "P-4",
        ),
        "autocast on cuda": (
            lambda: program(("torchkeep.autocast", ["cuda", None, True, None]), END, ("relu", [X])),
            "ok|CallError",
        ),
        "autocast on mps": (
            lambda: program(("torchkeep.autocast", ["mps", None, True, None]), END, ("relu", [X])),
            "ok|CallError",
        ),
        "autocast by a list": lambda: program(
            ("torchkeep.autocast", [["list", []], None, True, None]), END, ("relu", [X])
        ),
        "autocast by a value": lambda: program(("torchkeep.autocast", [X, None, True, None]), END, ("relu", [X])),
        "autocast on a device": lambda: program(
            ("torchkeep.autocast", [["device", "cpu"], None, True, None]), END, ("relu", [X])
        ),
        "autocast cached by 1": lambda: program(("torchkeep.autocast", ["cpu", None, True, 1]), END, ("relu", [X])),
    },
    "P-7",
)


def still_with_gradients(model: Any) -> Any:
    """What a region changed is as it was, also where an operator raised."""
    import torch

    try:
        return model(torch.ones(2, 3))
    finally:
        if not torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
            raise AssertionError("a region is still open")


for _label, _inside in {
    "grad": ("torchkeep.grad", [False]),
    "autocast": ("torchkeep.autocast", ["cpu", None, True, None]),
}.items():
    add(
        f"regions/left by an error, {_label}",
        lambda i=_inside: program(i, ("bmm", [X, X]), END, output=v(1)),
        "CallError",
        call=still_with_gradients,
    )

# --- sizes: more than any memory has ----------------------------------------------------------------

HUGE = 2**62
_LARGE: dict[str, Any] = {
    "zeros": ("zeros", [["list", [HUGE]]]),
    "zeros of two": ("zeros", [["list", [2**31, 2**31]]]),
    "zeros of many": ("zeros", [["list", [2] * 64]]),
    "zeros of zero and more": ("zeros", [["list", [0, 2**40, 2**40]]]),
    "ones": ("ones", [["list", [HUGE]]]),
    "full": ("full", [["list", [HUGE]], f(1.0)]),
    "empty": ("empty.memory_format", [["list", [HUGE]]]),
    "new_zeros": ("new_zeros", [X, ["list", [HUGE]]]),
    "rand": ("rand", [["list", [HUGE]]]),
    "randint": ("randint", [10, ["list", [HUGE]]]),
    "randperm": ("randperm", [HUGE]),
    "arange": ("arange", [HUGE]),
    "arange of floats": ("arange", [f(1e300)]),
    "arange to inf": ("arange", [f("inf")]),
    "arange to nan": ("arange", [f("nan")]),
    "arange by little": ("arange.start_step", [0, 1, f(1e-300)]),
    "arange by nothing": ("arange.start_step", [0, 1, 0]),
    "arange downwards": ("arange.start_step", [HUGE, 0, -1]),
    "linspace": ("linspace", [0, 1, HUGE]),
    "eye": ("eye", [HUGE]),
    "eye of two": ("eye.m", [2**31, 2**31]),
    "tril_indices": ("tril_indices", [2**31, 2**31]),
    "hann_window": ("hann_window", [HUGE]),
    "expand": ("expand", [["v", 3], ["list", [2**31, 2**31, 3]]]),
    "repeat": ("repeat", [X, ["list", [2**31, 2**31]]]),
    "tile": ("tile", [X, ["list", [2**31, 2**31]]]),
    "repeat_interleave": ("repeat_interleave.self_int", [X, HUGE]),
    "pad": ("pad", [X, ["list", [HUGE, HUGE]]]),
    "pad of many": ("constant_pad_nd", [X, ["list", [2**40] * 4]]),
    "one_hot": ("one_hot", [X, HUGE]),
    "chunk": ("chunk", [X, HUGE]),
    "tensor_split": ("tensor_split.sections", [X, HUGE]),
    "diag_embed": ("diag_embed", [X, HUGE]),
    "adaptive pool": ("adaptive_avg_pool1d", [X, ["list", [HUGE]]]),
    "upsample": ("upsample_nearest1d", [X, ["list", [HUGE]]]),
    "fft": ("fft_fft", [X, HUGE]),
    "multinomial": ("multinomial", [X, HUGE, True]),
    "histc": ("histc", [X, HUGE]),
    "bincount": ("bincount", [X, None, HUGE]),
    "vander": ("vander", [CONSTANT, HUGE]),
    "mvlgamma": ("mvlgamma", [X, HUGE]),
    "conv": ("conv1d", [X, ["v", 0], None, ["list", [1]], ["list", [HUGE]]]),
    "nonzero_static": ("nonzero_static", [X], {"size": HUGE}),
}
for _label, _call in _LARGE.items():
    add(
        f"sizes/{_label}",
        lambda c=_call: program(c),
        "load|LimitError" if "little" not in _label else "LimitError|CallError",
    )
for _case in [_case for _case in CASES.values() if _case.name.startswith("program_sizes")]:
    _case.verbs, _case.expect = LOAD, {"program": "LimitError"}
for _label in ("chunk", "pad of many", "zeros of zero and more"):
    CASES[f"program_sizes-{_label.replace(' ', '_')}"].expect = {"program": "LimitError"}

SIZE = ("sym_size.int", [X, 0])
_GROWN: dict[str, Any] = {
    "a product": (SIZE, ("python.mul", [v(0), 2**40]), ("zeros", [["list", [v(1)]]])),
    "a huge product": (("python.mul", [HUGE, HUGE]), ("python.mul", [v(0), HUGE]), ("zeros", [["list", [v(0)]]])),
    "a power": (("python.pow", [2, 40]), ("zeros", [["list", [v(0)]]])),
    "a power of a power": (("python.pow", [9, 9]), ("python.pow", [9, v(0)]), ("python.pow", [9, v(1)])),
    "a huge power": (("python.pow", [2**62, 2**62]),),
    "a negative power": (("python.pow", [0, -1]), ("zeros", [["list", [v(0)]]])),
    "a shift": (("python.lshift", [1, 40]), ("zeros", [["list", [v(0)]]])),
    "a huge shift": (("python.lshift", [1, 2**62]),),
    "a negative shift": (("python.lshift", [1, -1]),),
    "a division by zero": (("python.floordiv", [1, 0]),),
    "a remainder by zero": (("python.mod", [1, 0]),),
    "a float to an int": (("python.int", [f("inf")]),),
    "nan to an int": (("python.int", [f("nan")]),),
    "a huge exponential": (("math.exp", [f(1e308)]),),
    "math.pow": (("math.pow", [f(1e308), 2]),),
    "a root of less than nothing": (("math.sqrt", [-1]),),
    "a logarithm of nothing": (("math.log", [0]),),
    "powers again and again": (("python.pow", [3, 80]), *(("python.mul", [v(n), v(n)]) for n in range(40))),
    "sums again and again": (("python.add", [HUGE, HUGE]), *(("python.add", [v(n), v(n)]) for n in range(2000))),
    "shifts again and again": (("python.lshift", [1, 60]), *(("python.lshift", [v(n), 60]) for n in range(2000))),
    "an item": (("sum", [X]), ("item", [v(0)]), ("python.mul", [v(1), f(1e12)]), ("arange", [v(2)])),
    "expand and add": (
        ("python.lshift", [1, 40]),
        ("sum", [X]),
        ("expand", [v(1), ["list", [v(0)]]]),
        ("add.Tensor", [v(2), 1]),
    ),
    "repeat": (SIZE, ("python.mul", [v(0), 2**40]), ("repeat", [X, ["list", [v(1), 1]]])),
    "repeat_interleave by a tensor": (
        ("full", [["list", [2]], 2**40], {"dtype": ["dtype", "int64"]}),
        ("repeat_interleave.self_Tensor", [X, v(0), 0]),
    ),
    "one_hot of what is large": (("full", [["list", [2]], 2**40], {"dtype": ["dtype", "int64"]}), ("one_hot", [v(0)])),
    "bincount of what is large": (
        ("full", [["list", [2]], 2**40], {"dtype": ["dtype", "int64"]}),
        ("bincount", [v(0)]),
    ),
    "sections by a value": (("python.lshift", [1, 40]), ("tensor_split.sections", [X, v(0)])),
    "combinations": (("arange", [100_000]), ("combinations", [v(0), 5])),
    "pad by a value": (("python.lshift", [1, 40]), ("pad", [X, ["list", [v(0), v(0)]]])),
    "scales": (("unsqueeze", [X, 0]), ("upsample_nearest1d.vec", [v(0), None, ["list", [f(1e12)]]])),
    "repeats": tuple(("repeat", [X if n == 0 else v(n - 1), ["list", [4, 1]]]) for n in range(60)),
    "doubling by cat": tuple(("cat", [["list", [X if n == 0 else v(n - 1)] * 2]]) for n in range(60)),
    "doubling by stack": tuple(("stack", [["list", [X if n == 0 else v(n - 1)] * 2]]) for n in range(60)),
    "a million times the same": (
        ("cat", [["list", [X] * 1_000_000]]),
        *(("cat", [["list", [v(n)] * 1000]]) for n in range(3)),
    ),
    "squaring by add": (
        ("reshape", [X, ["list", [-1]]]),
        *(
            call
            for n in range(0, 40, 4)
            for call in (
                ("unsqueeze", [v(n), 0]),
                ("unsqueeze", [v(n), 1]),
                ("add.Tensor", [v(n + 1), v(n + 2)]),
                ("reshape", [v(n + 3), ["list", [-1]]]),
            )
        ),
    ),
    "squaring by kron": tuple(("kron", [X if n == 0 else v(n - 1)] * 2) for n in range(60)),
    "squaring by outer": (("flatten.using_ints", [X]), ("outer", [v(0), v(0)])),
    "squaring by cartesian_prod": (("flatten.using_ints", [X]), ("cartesian_prod", [["list", [v(0)] * 30]])),
    "block_diag": tuple(("block_diag", [["list", [X if n == 0 else v(n - 1)] * 4]]) for n in range(30)),
    "diag_embed": tuple(("diag_embed", [X if n == 0 else v(n - 1), 50]) for n in range(20)),
    "padding": tuple(("pad", [X if n == 0 else v(n - 1), ["list", [2**20] * 4]]) for n in range(20)),
}
for _label, _calls in _GROWN.items():
    add(f"grown/{_label}", lambda c=_calls: program(*c, output=v(len(c) - 1)), "ok|" + REFUSED, seconds=5, mib=3000)
for _label in (
    "a product",
    "a power",
    "a shift",
    "expand and add",
    "squaring by kron",
    "one_hot of what is large",
    "bincount of what is large",
    "combinations",
    "scales",
    "sections by a value",
    "pad by a value",
    "repeat",
):
    CASES[f"program_grown-{_label.replace(' ', '_')}"].expect = {"call": "LimitError"}

# --- what is changed in place -----------------------------------------------------------------------

_CHANGED: dict[str, Any] = {
    "a parameter": (("add_.Tensor", [WEIGHT, 1]),),
    "an input": (("relu_", [X]),),
    "a constant": (("relu_", [CONSTANT]),),
    "a view": (("view", [X, ["list", [-1]]]), ("relu_", [v(0)])),
    "a view of a view": (("t", [WEIGHT]), ("unsqueeze", [v(0), 0]), ("squeeze", [v(1)]), ("relu_", [v(2)])),
    "a reshape": (("reshape", [X, ["list", [-1]]]), ("relu_", [v(0)])),
    "contiguous": (("contiguous", [X]), ("relu_", [v(0)])),
    "to": (("to.dtype", [X, ["dtype", "float32"]]), ("relu_", [v(0)])),
    "flatten": (("flatten.using_ints", [X]), ("relu_", [v(0)])),
    "dropout in eval": (("dropout", [WEIGHT, f(0.5), False]), ("relu_", [v(0)])),
    "a feature dropout": (("feature_dropout", [WEIGHT, f(0.5), False]), ("relu_", [v(0)])),
    "detach": (("detach", [WEIGHT]), ("relu_", [v(0)])),
    "alias": (("alias", [WEIGHT]), ("relu_", [v(0)])),
    "expand": (("expand", [CONSTANT, ["list", [2, 3]]]), ("relu_", [v(0)])),
    "a chunk": (("chunk", [WEIGHT, 2]), ("python.getitem", [v(0), 0]), ("relu_", [v(1)])),
    "a split": (("split.Tensor", [WEIGHT, 1]), ("python.getitem", [v(0), 1]), ("relu_", [v(1)])),
    "an unbind": (("unbind.int", [X]), ("python.getitem", [v(0), 0]), ("relu_", [v(1)])),
    "broadcast_tensors": (
        ("broadcast_tensors", [["list", [X, CONSTANT]]]),
        ("python.getitem", [v(0), 1]),
        ("relu_", [v(1)]),
    ),
    "meshgrid": (("meshgrid", [["list", [CONSTANT]]]), ("python.getitem", [v(0), 0]), ("relu_", [v(1)])),
    "atleast_2d": (("atleast_2d", [WEIGHT]), ("relu_", [v(0)])),
    "einsum of one": (("einsum", ["ij->ji", ["list", [WEIGHT]]]), ("relu_", [v(0)])),
    "a choice": (("relu_", [["?", [0], v(-1), X]]),),
    "a choice of views": (("relu", [X]), ("relu_", [["?", [0], v(0), WEIGHT]])),
    "a slice": (("slice.Tensor", [WEIGHT, 0, 0, 1]), ("zero_", [v(0)])),
    "select": (("select.int", [WEIGHT, 0, 0]), ("fill_.Scalar", [v(0), 7])),
    "copy_": (("copy_", [WEIGHT, WEIGHT]),),
    "index_put_": (("index_put_", [CONSTANT, ["list", [CONSTANT]], CONSTANT]),),
    "what an operator in place gave": (("relu", [X]), ("copy_", [v(0), WEIGHT]), ("t", [X]), ("relu_", [v(2)])),
    "statistics": (("batch_norm", [X, None, None, CONSTANT, CONSTANT, True, f(0.1), f(1e-5), False]),),
    "statistics by a choice": (
        ("batch_norm", [X, None, None, CONSTANT, CONSTANT, ["?", [0], False, True], f(0.1), f(1e-5), False]),
    ),
    "statistics of instances": (("instance_norm", [X, None, None, CONSTANT, CONSTANT, True, f(0.1), f(1e-5), False]),),
    "in one mode": (("relu_", [X], {}, ["train", 0]),),
    "random": (("normal_", [WEIGHT]),),
    "a renorm": (("embedding_renorm_", [WEIGHT, X, f(1.0), f(2.0)]),),
    "by keyword": (("relu_", [], {"self": WEIGHT}),),
    "a result beside": (
        ("broadcast_tensors", [["list", [BUFFER, BIAS]]]),
        ("python.getitem", [v(0), 0]),
        ("relu_", [v(1)]),
    ),
}
_CHANGED["a choice"] = (("relu_", [["?", [0], BUFFER, X]]),)
for _label, _calls in _CHANGED.items():
    if all(full(_call[0]) for _call in _calls):
        add(f"writes/{_label}", lambda c=_calls: program(*c, output=X), "P-8")


def changes_only_its_buffer(model: Any) -> Any:
    """What a program may change, and nothing else."""
    import torch

    given = torch.ones(2, 3)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    made = model(given)
    if not torch.equal(given, torch.ones(2, 3)):
        raise AssertionError("the input was changed")
    for name, tensor in model.state_dict().items():
        if name != "n" and not torch.equal(tensor, before[name]):
            raise AssertionError(f"{name} was changed")
    return made


for _label, _calls in {
    "what a call made": (("relu", [X]), ("relu_", [v(0)])),
    "a buffer": (("add_.Tensor", [BUFFER, 1]),),
    "a view of a buffer": (("unsqueeze", [BUFFER, 0]), ("add_.Tensor", [v(0), 1])),
    "a copy": (("clone", [WEIGHT]), ("detach", [v(0)]), ("zero_", [v(1)])),
    "a cat of one": (("cat", [["list", [X]]]), ("zero_", [v(0)])),
    "statistics that are not": (("batch_norm", [X, None, None, CONSTANT, CONSTANT, False, f(0.1), f(1e-5), False]),),
}.items():
    add(f"writes allowed/{_label}", lambda c=_calls: program(*c, output=X), "ok", call=changes_only_its_buffer)
add(
    "writes allowed/a parameter that is declared",
    lambda: program(("detach", [WEIGHT]), ("zero_", [v(0)]), writes=[0]),
    "ok",
)

# --- the tree that it stands at ---------------------------------------------------------------------

_PATHS = (
    *("gone", "lin.gone", ".", "lin.", ".lin", "lin..", "forward", "forward.__globals__", "__class__", "__dict__"),
    *(
        "lin.__class__",
        "_modules",
        "_modules.lin",
        "lin.weight",
        "(program)",
        "(class)",
        "training",
        *ODD[:-4],
        "lin\0",
    ),
)
for _path in _PATHS:
    add(f"modules/{ascii(_path)[:40]}", lambda p=_path: program(modules=["", p]), "P-10")
_HELD = (
    *(
        "gone",
        "__dict__",
        "__class__",
        "__init__",
        "forward",
        "state_dict",
        "training",
        "_parameters",
        "_buffers",
        "lin",
    ),
    *(
        "(class)",
        "(program)",
        "(origin)",
        "T_destination",
        "dump_patches",
        "extra_repr",
        "weight.data",
        "lin.weight",
        *ODD,
    ),
)
for _name in _HELD:
    add(f"state/{ascii(_name)[:40]}", lambda n=_name: program(state=[["", n], ["lin", "bias"], ["", "n"]]), "P-10")
each(
    "state",
    {
        "upwards": lambda: program(state=[["..", "weight"], ["lin", "bias"], ["", "n"]]),
        "of no module": lambda: program(state=[["gone", "weight"], ["lin", "bias"], ["", "n"]]),
        "of another shape": (lambda: program(state=[["lin", "bias"], ["lin", "weight"], ["", "n"]]), "CallError"),
    },
    "P-10",
)
_TREES: dict[str, Any] = {
    "null parameter": lambda: net(
        modules={"lin": module("gone:L", parameters={"weight": None, "bias": parameter("b")})}
    ),
    "null module": lambda: net(modules={"lin": None}),
    "no module": lambda: net(modules={}),
    "an attribute that is a number": lambda: net(buffers={}, attributes={"n": 1}),
    "an attribute that is a list of tensors": lambda: net(buffers={}, attributes={"n": [T(S("n"))]}),
    "an attribute that is a function": lambda: net(buffers={}, attributes={"n": N("function", {"name": "torch:relu"})}),
}
for _label, _tree in _TREES.items():
    add(f"trees/{_label}", lambda: None, "P-10", make=lambda t=_tree: file(t()))
_OTHERS: dict[str, Any] = {
    "an attribute that is a tensor": (lambda: net(buffers={}, attributes={"n": T(S("n"))}), "ok"),
    "of another dtype": (lambda: net(buffers={"n": T(S("n", "int8", (2,)))}), "ok"),
    "sparse": (lambda: net(buffers={"n": meta()}), "ok"),
    "a class of torch's": (
        lambda: net(
            modules={
                "lin": module(
                    "torch.nn:Linear",
                    parameters={"weight": parameter("w", (2, 3)), "bias": parameter("b")},
                    attributes={"in_features": 3, "out_features": 2},
                )
            }
        ),
        "ok",
    ),
    "weights of no size": (
        lambda: net(
            modules={"lin": module("gone:L", parameters={"weight": parameter("w", (0, 0)), "bias": parameter("b")})}
        ),
        "CallError",
    ),
    "weights of bytes": (
        lambda: net(
            modules={
                "lin": module("gone:L", buffers={"weight": T(S("w", "uint8", (2, 3))), "bias": T(S("b", "uint8"))})
            }
        ),
        "CallError",
    ),
    "weights without values": (
        lambda: net(modules={"lin": module("gone:L", parameters={"weight": meta(3), "bias": parameter("b")})}),
        "ok|CallError|ProgramError",
    ),
}


def meta(flags: int = 0) -> N:
    return N("torch.meta", {"dtype": "float32", "shape": (2, 3), "strides": (3, 1), "flags": flags})


for _label, (_tree, _wanted) in _OTHERS.items():
    add(f"trees/{_label}", lambda: None, _wanted, make=lambda t=_tree: file(t()))


def shared(below: bool = False) -> Any:
    """One program at two modules, of which the second may lack what it needs."""
    held = node(program())
    first = net(held)
    if below:
        return module("gone:Outer", modules={"a": first, "b": module("gone:Bare", program=held)})
    return [first, first]


def first_of(model: Any) -> Any:
    import torch

    return model[0](torch.ones(2, 3))


def upwards() -> N:
    """A module below that names state which only the one above has."""
    said = program(state=[["up.lin", "weight"], ["up.lin", "bias"], ["up", "n"]], modules=["", "up"])
    inner = module("gone:Inner", program=node(said), modules={})
    outer = net(None, modules={"inner": inner, "lin": module("gone:L", parameters={"weight": parameter("w", (2, 3))})})
    inner.fields["modules"] = {"up": outer}
    return outer


CASES.add("program shared/by two", lambda: file(shared(True)), verbs=LOAD, expect={"program": "P-10"})
CASES.add("program shared/in a list", lambda: file(shared()), verbs=CALL, expect={"call": "ok"}, call=first_of)
CASES.add("program shared/upwards", lambda: file(upwards()), verbs=LOAD, expect={"program": "FormatError"})
CASES.add(
    "program shared/at a module of torch's",
    lambda: file(
        module(
            "torch.nn:Identity",
            program=node(program(state=[["", "weight"], ["", "bias"], ["", "n"]], modules=["", "a"])),
        )
    ),
    verbs=LOAD,
    expect={"program": "P-10"},
)
CASES.add(
    "program shared/by structure",
    lambda: file(module("torch.nn:Identity", program=node(b"\xff not a program"))),
    verbs=("inspect", "json", "load", "skeleton"),
    expect={"inspect": "ok", "json": "ok", "load": "ok", "skeleton": "ok"},
)
CASES.add(
    "program shared/nowhere",
    lambda: file([node(program())]),
    verbs=("inspect", "program"),
    expect={"program": "LoadError"},
)

# --- constants --------------------------------------------------------------------------------------

_SPARSE = {"layout": "sparse_coo", "shape": (3,), "compressed": None, "coalesced": False, "flags": 0}
each(
    "constants",
    {
        "fewer": lambda: program(constants=0, parameters=[["x", "either", ["v", 3], True]]),
        "more": lambda: program(constants=2, parameters=[["x", "either", ["v", 5], True]]),
        "negative": lambda: program(constants=-1, parameters=[["x", "either", ["v", 2], True]]),
        "huge": lambda: program(constants=2**62),
        "bool": (lambda: program(constants=True), "P-1"),
    },
    "P-2|P-3",
)
_CONSTANTS: dict[str, Any] = {
    "sparse": lambda: N(
        "torch.sparse", _SPARSE | {"indices": T(S("i", "int64", (1, 1))), "values": T(S("c", "float32", (1,)))}
    ),
    "meta": meta,
    "quantized": lambda: N(
        "torch.quantized",
        {
            "dtype": "qint8",
            "shape": (3,),
            "data": T(S("q", "int8", (3,))),
            "scale": 1.0,
            "zero_point": 0,
            "axis": None,
            "flags": 0,
        },
    ),
    "a subclass": lambda: N("tensor_subclass", {"class": "gone:Sub", "data": T(S("c")), "flags": 0}),
    "a module": module,
    "a number": lambda: 1,
}
_ORDER = ("layout", "shape", "compressed", "indices", "values", "coalesced", "flags")


def ordered(made: Any) -> Any:
    return (
        N(made.kind, {name: made.fields[name] for name in _ORDER})
        if getattr(made, "kind", "") == "torch.sparse"
        else made
    )


for _label, _constant in _CONSTANTS.items():
    add(
        f"constants/{_label}",
        lambda: None,
        "load",
        make=lambda c=_constant: file(net(node(program(), constants=(ordered(c()),)))),
    )
add(
    "constants/a parameter",
    lambda: None,
    "ok",
    make=lambda: file(net(node(program(), constants=(parameter("c", (3,)),)))),
)
add(
    "constants/of other strides",
    lambda: None,
    "ok",
    make=lambda: file(
        net(
            node(
                program(("add.Tensor", [X, CONSTANT])),
                constants=(T(S("c", "float32", (3,)), view=("float32", (3,), (0,), 0)),),
            )
        )
    ),
)

# --- how it is called -------------------------------------------------------------------------------

each(
    "parameters",
    {
        "none": lambda: program(parameters=[]),
        "twice": lambda: program(parameters=[["x", "either", X, True], ["x", "either", None, False]]),
        "an input twice": lambda: program(parameters=[["x", "either", ["list", [X, X]], True]]),
        "no input": lambda: program(parameters=[["x", "either", 1, True]]),
        "a weight": lambda: program(parameters=[["x", "either", ["list", [X, WEIGHT]], True]]),
        "a call": lambda: program(parameters=[["x", "either", ["list", [X, v(0)]], True]]),
        "an input that is not given": lambda: program(parameters=[["x", "either", X, False]]),
        "one given, one not": lambda: program(
            parameters=[["x", "either", X, True], ["y", "either", ["v", 5], False]],
            inputs=[["x", "float32", SHAPES], ["y", "float32", SHAPES]],
        ),
        "its own dtype": lambda: program(parameters=[["x", "either", ["list", [X, ["own_dtype"]]], True]]),
        "its own device": lambda: program(parameters=[["x", "either", ["list", [X, ["own_device"]]], True]]),
        "a slice of inputs": lambda: program(parameters=[["x", "either", ["slice", X, None, None], True]]),
        "args that are none": lambda: program(parameters=[["x", "args", X, True]]),
        "kwargs that are none": lambda: program(parameters=[["x", "kwargs", ["list", [X]], True]]),
        "two args": lambda: program(
            parameters=[["x", "args", ["tuple", [X]], True], ["y", "args", ["tuple", []], True]]
        ),
        "an order that is none": lambda: program(parameters=[["k", "keyword", None, False], ["x", "either", X, True]]),
        "another kind": (lambda: program(parameters=[["x", "any", X, True]]), "P-1"),
        "given by 1": (lambda: program(parameters=[["x", "either", X, 1]]), "P-1"),
        "too deep": (lambda: program(parameters=[["x", "either", nested(65), True]]), "LimitError"),
        "keys that are equal": (
            lambda: program(parameters=[["x", "either", ["dict", "dict", [1, True], [X, 1]], True]]),
            "P-4",
        ),
        "keys without values": (
            lambda: program(parameters=[["x", "either", ["dict", "dict", ["a"], []], True]]),
            "P-4",
        ),
        "a part that is a dunder": (
            lambda: program(parameters=[["x", "either", ["object", "a:B", False, ["__class__"], [X]], True]]),
            "P-4",
        ),
    },
    "P-3",
)
for _name in ("class", "def", "None", "1", "x y", "x.y", "", "a\0", "\u202e", "x=1", "*", "lambda", "x\n"):
    add(f"parameters/{_name!a}", lambda n=_name: program(parameters=[[n, "either", X, True]]), "P-3")
for _name in ("self", "__class__", "forward", "\ufb01", "a" * 100_000, "exec"):
    add(f"parameters/{ascii(_name)[:20]}", lambda n=_name: program(parameters=[[n, "either", X, True]]), "ok")


def nested(depth: int, inner: Any = X) -> Any:
    made = inner
    for _ in range(depth):
        made = ["list", [made]]
    return made


class Touchy:
    """An argument of the program's own: its properties may be read, and nothing else of it runs."""

    @property
    def x(self) -> Any:
        import torch

        return torch.ones(2, 3)


def with_an_object(model: Any) -> Any:
    return model(Touchy())


for _field, _wanted in {"x": "ok", "y": "CallError", "_x": "CallError", "a b": "CallError"}.items():
    add(
        f"parameters/a part {_field}",
        lambda n=_field: program(parameters=[["x", "either", ["object", "a:B", False, [n], [X]], True]]),
        _wanted,
        call=with_an_object,
    )
each(
    "inputs",
    {
        "none": lambda: program(inputs=[], parameters=[]),
        "too few": lambda: program(inputs=[]),
        "too many": lambda: program(inputs=[["x", "float32", SHAPES]] * 2),
        "no shapes": lambda: program(inputs=[["x", "float32", {}]]),
        "two ranks": lambda: program(inputs=[["x", "float32", {"eval": [None, 3], "train": [3]}]]),
        "another mode": (lambda: program(inputs=[["x", "float32", {"test": [3]}]]), "P-1"),
        "negative size": (lambda: program(inputs=[["x", "float32", {"eval": [-1, 3], "train": [-1, 3]}]]), "CallError"),
        "huge size": lambda: program(inputs=[["x", "float32", {"eval": [2**63, 3], "train": [2**63, 3]}]]),
        "bool size": (lambda: program(inputs=[["x", "float32", {"eval": [True, 3], "train": [True, 3]}]]), "P-1"),
        "many dimensions": (
            lambda: program(inputs=[["x", "float32", {"eval": [1] * 100_000, "train": [1] * 100_000}]]),
            "LimitError",
        ),
        "of another dtype": (lambda: program(inputs=[["x", "int64", SHAPES]]), "CallError"),
        "of another rank": (lambda: program(inputs=[["x", "float32", {"eval": [3], "train": [3]}]]), "CallError"),
        "odd name": (lambda: program(inputs=[["\x1b[31m\u202e" * 1000, "int64", SHAPES]]), "CallError"),
    },
    "P-3",
)
CASES["program_inputs-negative_size"].expect = {"call": "CallError|P-3"}
D = ["dim", 0, 0]


def of(op: str, *args: Any) -> list[Any]:
    return ["of", op, list(args)]


def deep(levels: int) -> Any:
    made: Any = D
    for _ in range(levels):
        made = of("not", made)
    return made


_FORMULAS: dict[str, Any] = {
    "no such input": ["dim", 1, 0],
    "a negative input": ["dim", -1, 0],
    "no such dimension": ["dim", 0, 2],
    "a negative dimension": ["dim", 0, -1],
    "a huge input": ["dim", 2**70, 0],
    "unknown": of("**", D, D),
    "python": of("__import__('os').system('x')", D, D),
    "odd": of("\0", D, D),
    "none": of("+"),
    "one": of("+", D),
    "two of not": of("not", D, D),
    "three of //": of("//", D, D, D),
    "a huge number": 2**63,
    "many": (of("+", *[1] * 5000), "P-3"),
    "deep": (deep(100), "LimitError"),
    "deeper": (deep(900), "LimitError|P-1"),
    "deepest": (deep(20_000), "P-1"),
    "wide": (of("+", *[of("+", *[1] * 4000)] * 4), "LimitError"),
    "divided by zero": (of("==", of("//", D, 0), -1), "ok"),
    "remainder by zero": (of("==", of("%", D, 0), -1), "ok"),
    "a huge product": (of("*", *[2**62] * 100), "CallError"),
    "a huge sum": (of("+", *[2**62] * 4000), "ok"),
    "huge sums of products": (
        of("*", of("+", *[of("*", 2**40, 2**40)] * 1000), of("+", *[of("*", 2**40, 2**40)] * 1000)),
        "CallError",
    ),
    "false": (of("<", D, 0), "CallError"),
    "true": (of("and", of("==", D, 2), of("or", of("not", D), of("min", D, 5))), "ok"),
    "zero": (0, "CallError"),
    "negative": (-1, "ok"),
}
for _label, _formula in _FORMULAS.items():
    _said, _wanted = _formula if isinstance(_formula, tuple) else (_formula, "P-3")
    add(
        f"guards/{_label}",
        lambda: None,
        _wanted,
        make=lambda g=_said: file(net(node(raw(program(guards={"eval": ["@"], "train": ["@"]}), '"@"', g), line=LINE))),
    )
    if _wanted != "ok":
        add(
            f"sizes of inputs/{_label}",
            lambda: None,
            _wanted,
            make=lambda g=_said: file(
                net(
                    node(
                        raw(program(inputs=[["x", "float32", {"eval": ["@", 3], "train": ["@", 3]}]]), '"@"', g),
                        line=LINE,
                    )
                )
            ),
        )
LINE = "eval and train, 1 calls, forward(x: float32[*, 3])"


def raw(said: Any, old: str, new: Any) -> bytes:
    """The text of a program with a part that is too deep for a writer of JSON."""
    text, depth, at = "", 0, new
    while isinstance(at, list) and len(at) == 3 and at[:2] == ["of", "not"] and len(at[2]) == 1 and depth < 100_000:
        text, at, depth = text + '["of","not",[', at[2][0], depth + 1
    text += msgspec.json.encode(at).decode() + "]]" * depth
    return msgspec.json.encode(said).decode().replace(old, text).encode()


for _label in ("zero", "negative", "false", "true"):
    CASES.pop(f"program_sizes_of_inputs-{_label}", None)

# --- what is returned -------------------------------------------------------------------------------


def used(model: Any) -> Any:
    """An output as a person uses it: by attribute, by key, by position, shown, copied, pickled."""
    import copy
    import pickle

    import torch

    with torch.no_grad():
        out = model(torch.ones(2, 3))
    if isinstance(out, dict):
        list(out.items()), list(out.keys()), list(out.values()), len(out), dict(out), {**out}
        for name in list(out):
            if not isinstance(out[name], torch.Tensor | int | None.__class__ | str | list):
                raise AssertionError(f"{name!r} is {out[name]!r}")
    if isinstance(out, dict) and hasattr(type(out), "to_tuple"):
        if not isinstance(out.to_tuple(), tuple):
            raise AssertionError("to_tuple is gone")
        out[0], repr(out), type(out), out.__class__, isinstance(out, dict)
    copy.copy(out), copy.deepcopy(out)
    pickle.dumps(out)
    repr(out)
    return out


for _name in (
    "to_tuple",
    "items",
    "keys",
    "values",
    "get",
    "update",
    "pop",
    "move_to_end",
    "_fields",
    "count",
    "index",
    "_asdict",
    "_replace",
    "_make",
    "copy",
    "clear",
    "fromkeys",
    "_repr_html_",
    "_ipython_display_",
    "self",
    "class",
    "mro",
    "_ordered",
    "_modules",
    "device",
    "dtype",
    "_x",
    "a" * 10_000,
):
    for _sequence in (False, True):
        add(
            f"outputs/{_name[:20]} of {'a tuple' if _sequence else 'an object'}",
            lambda n=_name, s=_sequence: program(output=["object", "a.b:C", s, [n, "y"], [v(0), v(0)]]),
            "ok",
            call=used,
        )
for _name in ("__class__", "__dict__", "__reduce__", "__array__", "__deepcopy__", "__", "__x", "__torch_function__"):
    add(f"outputs/{_name}", lambda n=_name: program(output=["object", "a.b:C", False, [n], [v(0)]]), "P-4")
    add(f"outputs/{_name} of a tuple", lambda n=_name: program(output=["object", "a.b:C", True, [n], [v(0)]]), "P-4")
    add(f"outputs/{_name} of a dict", lambda n=_name: program(output=["dict", "dict", [n], [v(0)]]), "ok", call=used)
for _name in ODD:
    add(
        f"outputs/class {ascii(_name)[:30]}",
        lambda n=_name: program(output=["object", n, False, ["y"], [v(0)]]),
        "ok|P-4",
    )
    add(
        f"outputs/part {ascii(_name)[:30]}",
        lambda n=_name: program(output=["object", "a:B", True, [n], [v(0)]]),
        "ok" if _name.isidentifier() else "P-4",
    )
each(
    "outputs",
    {
        "a part twice": lambda: program(output=["object", "a:B", False, ["a", "a"], [v(0), v(0)]]),
        "a part without a value": lambda: program(output=["object", "a:B", False, ["a"], []]),
        "a value without a part": lambda: program(output=["object", "a:B", True, [], [v(0)]]),
        "keys that are equal": lambda: program(output=["dict", "dict", [1, True], [v(0), v(0)]]),
        "keys that are equal to none": (
            lambda: program(output=["dict", "dict", [0, "0", None, "None"], [v(0)] * 4]),
            "ok",
        ),
        "a key twice": lambda: program(output=["dict", "dict", ["a", "a"], [v(0), v(0)]]),
        "a huge key": lambda: program(output=["dict", "dict", [2**70], [v(0)]]),
        "a key that is a float": (lambda: program(output=["dict", "dict", [1.5], [v(0)]]), "P-1"),
        "another mapping": (lambda: program(output=["dict", "defaultdict", [], []]), "P-1"),
        "too deep": (lambda: program(output=nested(65, v(0))), "LimitError"),
        "deep": (lambda: program(output=nested(60, v(0))), "ok"),
        "wide": (lambda: program(output=["list", [v(0)] * 5000]), "ok"),
        "its own device": (lambda: program(output=["own_device"]), "P-6"),
        "its own dtype": (lambda: program(output=["own_dtype"]), "P-6"),
        "a slice of values": (lambda: program(output=["slice", v(0), None, None]), "P-6"),
        "a slice": (lambda: program(output=["list", [["slice", 1, None, -1], ["..."], ["dtype", "int8"]]]), "ok"),
        "a slice of slices": (lambda: program(output=["slice", ["slice", 1, 2, 3], None, None]), "P-6"),
        "nothing": (lambda: program(output=["list", []]), "ok"),
        "a parameter": (lambda: program(output=WEIGHT), "ok"),
        "what a choice hides": (lambda: program(output=["?", [0], ["list", [v(0)]], ["dict", "dict", [], []]]), "ok"),
    },
    "P-4",
)

# --- the text ---------------------------------------------------------------------------------------


def text(change: Callable[[bytes], bytes]) -> Callable[[], bytes]:
    return lambda: file(net(node(change(msgspec.json.encode(program())), line=LINE)))


def spaced(said: bytes) -> bytes:
    return json.dumps(json.loads(said)).encode()


def turned(said: bytes) -> bytes:
    return msgspec.json.encode(dict(reversed(json.loads(said).items())))


_TEXTS: dict[str, Any] = {
    "empty": lambda _: b"",
    "null": lambda _: b"null",
    "a list": lambda _: b"[]",
    "an object": lambda _: b"{}",
    "not JSON": lambda _: b"import os",
    "a pickle": lambda _: b"\x80\x04cos\nsystem\n(S'true'\ntR.",
    "not UTF-8": lambda said: said.replace(b'"x"', b'"\xff"'),
    "UTF-16": lambda said: said.decode().encode("utf-16"),
    "a mark before": lambda said: b"\xef\xbb\xbf" + said,
    "cut": lambda said: said[:-1],
    "more behind": lambda said: said + b"}",
    "a blank behind": lambda said: said + b" ",
    "a line behind": lambda said: said + b"\n",
    "a NUL behind": lambda said: said + b"\0",
    "blanks": spaced,
    "another order": turned,
    "a key twice": lambda said: said[:-1] + b',"constants":1}',
    "a key twice, another value": lambda said: said.replace(b'"constants":1', b'"constants":9,"constants":1'),
    "an unknown key": lambda said: said[:-1] + b',"code":"import os"}',
    "a key missing": lambda said: said.replace(b'"constants":1,', b""),
    "escapes": lambda said: said.replace(b'"x"', b'"\\u0078"'),
    "a surrogate": lambda said: said.replace(b'"x"', b'"\\ud800"'),
    "a float": lambda said: said.replace(b'"constants":1', b'"constants":1.0'),
    "an exponent": lambda said: said.replace(b'"constants":1', b'"constants":1e0'),
    "a plus": lambda said: said.replace(b'"constants":1', b'"constants":+1'),
    "zeros before": lambda said: said.replace(b'"constants":1', b'"constants":01'),
    "minus zero": lambda said: said.replace(b'"constants":1', b'"constants":-0'),
    "NaN": lambda said: said.replace(b'"constants":1', b'"constants":NaN'),
    "a huge number": lambda said: said.replace(b'"constants":1', b'"constants":' + b"9" * 100_000),
    "a huge exponent": lambda said: said.replace(b'"constants":1', b'"constants":1e999999999'),
    "text for a number": lambda said: said.replace(b'"constants":1', b'"constants":"1"'),
    "deep": lambda said: said.replace(b'"output":', b'"output":' + b"[" * 1_000_000),
    "deep lists": lambda said: said.replace(b'["v",5]', b'["list",[' * 50_000 + b'["v",5]' + b"]]" * 50_000),
    "deep choices": lambda said: said.replace(b'["v",5]', b'["?",[0],1,' * 50_000 + b'["v",5]' + b"]" * 50_000),
    "unknown tag": lambda said: said.replace(b'["v",5]', b'["eval","1"]'),
    "no tag": lambda said: said.replace(b'["v",5]', b"[]"),
    "tag alone": lambda said: said.replace(b'["v",5]', b'["v"]'),
    "more behind a tag": lambda said: said.replace(b'["v",5]', b'["v",5,6]'),
    "a call of less": lambda said: said.replace(b",{},null]", b"]"),
    "a call of more": lambda said: said.replace(b",{},null]", b",{},null,1]"),
    "version 0": lambda said: said.replace(b'"version":1', b'"version":0'),
    "version 2": lambda said: said.replace(b'"version":1', b'"version":2'),
    "version true": lambda said: said.replace(b'"version":1', b'"version":true'),
    "version text": lambda said: said.replace(b'"version":1', b'"version":"1"'),
    "version huge": lambda said: said.replace(b'"version":1', b'"version":' + b"1" * 400),
    "a million brackets": lambda _: b"[" * 1_000_000,
    "a million blanks": lambda said: b" " * 1_000_000 + said,
}
for _label, _change in _TEXTS.items():
    add(f"text/{_label}", lambda: None, "P-1", make=text(_change))
add(
    "text/too long",
    lambda: None,
    "LimitError",
    make=lambda: file(net(node(b"", text=N("bytes", {"data": T(S("long", "uint8", (64_000_001,)))}), line=LINE))),
    mib=400,
)
add(
    "text/in a node",
    lambda: None,
    "ok",
    make=lambda: in_a_node(msgspec.json.encode(program())),
)
add("text/in a node, broken", lambda: None, "P-1", make=lambda: in_a_node(b"{" * 1000))


def in_a_node(said: bytes) -> bytes:
    """The text as a tensor of bytes, as one that is too long for the header."""
    held = node(program(), text=N("bytes", {"data": T(S("text", "uint8", (len(said),)))}))
    return file(net(held), data={at(net(held)): said})


def at(root: N) -> int:
    from forge import doc

    return doc(root).tensors.names.index("text")


for _label, _line in {
    "nothing": "",
    "another": "eval, 1 calls, forward()",
    "odd": "\x1b[31m\u202e\0",
    "long": "a" * 100_000,
}.items():
    add(f"summary/{_label}", lambda: None, "P-9", make=lambda t=_line: file(net(node(program(), line=t))))
    CASES.add(
        f"program summary/{_label} of a program that is not read",
        lambda t=_line: file(net(node(program(), line=t))),
        verbs=("inspect", "json", "skeleton"),
        expect={"inspect": "ok", "json": "ok", "skeleton": "ok"},
    )

# --- work -------------------------------------------------------------------------------------------

N_CALLS = 100_000


def chain() -> Any:
    return program(*(("relu", [X if n == 0 else v(n - 1)]) for n in range(N_CALLS)))


def views() -> Any:
    """A list of views of everything, taken apart and viewed again, as often as there is room."""
    states = [["", f"p{n}"] for n in range(1000)]
    base = program(("broadcast_tensors", [["list", [["v", n] for n in range(1000)]]]))
    ops = [*base["ops"], ["python.getitem", ""]]
    calls = [base["calls"][0]] + [[1, 0, [["v", 1002], 0], {}, None] for _ in range(N_CALLS)]
    return base | {
        "state": states,
        "ops": ops,
        "calls": calls,
        "parameters": [["x", "either", ["v", 1001], True]],
        "output": ["v", 5],
    }


def joined_views() -> Any:
    """Each call's result may be memory of all calls before."""
    calls = [("broadcast_tensors", [["list", [X, WEIGHT, BIAS]]])]
    calls += [("broadcast_tensors", [["list", [v(n), v(max(0, n - 7)), X]]]) for n in range(20_000)]
    return program(*calls, output=X)


_WORK: dict[str, Any] = {
    "a long chain": (chain, "ok"),
    "views of everything": (views, "P-10"),
    "views of views": (joined_views, "ok|load|CallError"),
    "a long list": (lambda: program(("cat", [["list", [X] * 1_000_000]])), "ok"),
    "long lists": (lambda: program(*(("cat", [["list", [X] * 1000]]) for _ in range(500))), "ok"),
    "many choices": (lambda: program(*(("relu", [["?", [0, 1], X, X]]) for _ in range(20_000))), "ok"),
    "many parameters": (
        lambda: program(
            parameters=[["x", "either", X, True], *([f"p{n}", "keyword", None, False] for n in range(50_000))]
        ),
        "ok",
    ),
    "many modules": (lambda: program(modules=["", *(f"m{n}" for n in range(100_000))]), "P-10"),
    "many guards": (lambda: program(guards={"eval": [of(">=", D, 1)] * 50_000, "train": []}), "ok"),
    "many operators": (lambda: program(ops=[["aten.relu.default", _LISTED + " " * n] for n in range(3000)]), "load"),
    "many writes": (lambda: program(*(("add_.Tensor", [BUFFER, 1]) for _ in range(20_000)), output=X), "ok"),
}
for _label, (_said, _wanted) in _WORK.items():
    _verbs = CALL if _wanted == "ok" else LOAD
    CASES.add(
        f"program work/{_label}",
        lambda s=_said: file(net(s())),
        verbs=LOAD if _label in ("a long chain", "many choices") else _verbs,
        expect={"program": "FormatError|ProgramError" if _wanted == "load" else _wanted, "call": _wanted},
        seconds=15,
        mib=1500,
        load={"mode": "eval"},
    )
CASES["program_work-views_of_views"].verbs = LOAD
CASES["program_work-views_of_views"].expect = {"program": "ok"}
CASES.add(
    "program work/a chain that is called",
    lambda: file(net(program(*(("relu", [X if n == 0 else v(n - 1)]) for n in range(5000))))),
    verbs=CALL,
    expect={"call": "ok"},
    seconds=15,
)

# --- chance -----------------------------------------------------------------------------------------

for _p in ("2.0", "-1.0", "nan", "inf", "-0.0", "5e-324"):
    add(f"chance/dropout {_p}", lambda p=_p: program(("dropout", [X, f(p), True])), "ok|CallError")
    add(f"chance/bernoulli {_p}", lambda p=_p: program(("bernoulli.p", [X, f(p)])), "ok|CallError")
each(
    "chance",
    {
        "normal": lambda: program(("normal.float_float", [f("nan"), f("-1.0"), ["list", [2]]])),
        "randint": lambda: program(("randint", [0, ["list", [2]]])),
        "randint from above": lambda: program(("randint.low", [5, -5, ["list", [2]]])),
        "multinomial of nan": lambda: program(("mul.Tensor", [X, f("nan")]), ("multinomial", [v(0), 2])),
        "multinomial of too many": lambda: program(("multinomial", [X, 1000])),
        "a generator": (lambda: program(("bernoulli", [X], {"generator": 1})), "P-5"),
        "a generator that is a value": (lambda: program(("bernoulli", [X], {"generator": X})), "P-5"),
    },
    "ok|CallError",
)

CASES = some(CASES, 6)
