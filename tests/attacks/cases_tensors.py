"""Tensors that cannot be: sizes, strides, offsets, views, flags, dtypes."""

# ruff: noqa: PLW0108, PLC3002 - each case is a lambda, so that a literal is only made where it is opened

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from case import Cases
from forge import N, S, T, doc, file, module, native, parameter

from torchkeep.document import ITEMSIZE, Document

CASES = Cases()
add = CASES.add
HUGE = 2**63


def _with(change: Any, root: Any = None) -> bytes:
    made: Document = doc(root if root is not None else [T()])
    change(made.tensors)
    return native(made)


def _view(*view: Any, stored: S | None = None, **more: Any) -> Any:
    return lambda: file([T(stored or S(), view=view, **more)])


for _label, _numbers in {
    "negative": ((-1,), (1,), 0),
    "negative stride": ((2,), (-1,), 1),
    "negative offset": ((1,), (1,), -1),
    "huge size": ((HUGE,), (1,), 0),
    "huge stride": ((2,), (HUGE,), 0),
    "huge offset": ((1,), (1,), HUGE),
    "offset past the end": ((1,), (1,), 2),
    "no elements past the end": ((0,), (1,), 3),
    "wraps around": ((2**33, 2**31), (2**31, 1), 0),
    "wraps to nothing": ((2**32, 2**32), (0, 0), 0),
    "fewer strides": ((1, 1), (1,), 0),
    "more strides": ((1,), (1, 1), 0),
    "one element too many": ((3,), (1,), 0),
}.items():
    add(
        f"view/{_label}", _view("float32", *_numbers), expect={"load": "FormatError"}, verbs=("inspect", "load", "into")
    )
add("view/bigger dtype", _view("complex128", (1,), (1,), 0), expect={"load": "FormatError"})
add("view/unknown dtype", _view("object", (1,), (1,), 0), expect={"load": "FormatError"})
add("view/empty strides", _view("float32", (0,), (2**61,), 0))
add("view/size one stride", _view("float32", (1, 1), (2**61, 2**61), 1))
add("view/expanded to the limit", _view("float32", (2**47,), (0,), 0), poke=False)
add("view/expanded beyond", _view("float32", (2**49,), (0,), 0), expect={"load": "LimitError"})
add("view/65 dimensions", _view("float32", (1,) * 65, (1,) * 65, 0), expect={"load": "LimitError"})
add("view/64 dimensions", _view("float32", (1,) * 64, (1,) * 64, 0))
for _dtype in (
    "bfloat16",
    "float16",
    "float64",
    "float8_e4m3fn",
    "complex64",
    "complex32",
    "int8",
    "uint8",
    "bool",
    "int64",
):
    for _base in ("float32", "bfloat16", "uint8", "complex64", "float64"):
        add(
            f"view/{_dtype} of {_base}",
            lambda d=_dtype, b=_base: file(
                [T(S("t", b, (16 // ITEMSIZE[b],)), view=(d, (16 // ITEMSIZE[d],), (1,), 0)), T(S("u"))]
            ),
            check=lambda o, d=_dtype: (
                []
                if str(o[0].dtype) == f"torch.{d}" and o[0].untyped_storage().nbytes() == 16
                else [f"{o[0].dtype}, and a storage of {o[0].untyped_storage().nbytes()} of 16 bytes"]
            ),
            verbs=("inspect", "load"),
        )
for _label, _strides, _shape in (
    ("zero", (0,), (2,)),
    ("gap", (2,), (2,)),
    ("overlap", (1, 1), (2, 2)),
    ("negative", (-1,), (2,)),
    ("huge", (2**63,), (2,)),
    ("huge of one", (2**61,), (1,)),
    ("huge of none", (2**61, 2**61), (0, 5)),
    ("max of none", (2**62 - 1, 2**62 - 1), (5, 0)),
    ("short", (), (2,)),
):
    add(f"strides/{_label}", lambda t=_strides, s=_shape: file([T(S("t", "float32", s, t))]))
add(
    "bytes/expanded",
    lambda: file([N("bytes", {"data": T(S("b", "uint8", (1,)), ("uint8", (2**36,), (0,), 0))})]),
    expect={"load": "LoadError"},
    poke=False,
)
add(
    "bytes/expanded a little",
    lambda: file([N("bytes", {"data": T(S("b", "uint8", (1,)), ("uint8", (2**31,), (0,), 0))})]),
    expect={"load": "LoadError"},
    poke=False,
)
add("bytes/many of one", lambda: _many_bytes(), poke=False, expect={"load": "LoadError"})
add(
    "bytes/text that is none",
    lambda: file([N("str", {"data": T(S("b", "uint8", (2,)))})], data={0: b"\xff\xfe"}),
    expect={"load": "LoadError"},
)
add("bytes/of floats", lambda: file([N("bytes", {"data": T()})]), expect={"load": "FormatError"})
add(
    "bytes/of a matrix",
    lambda: file([N("bytes", {"data": T(S("b", "uint8", (2, 2)))})]),
    expect={"load": "FormatError"},
)
add("bytes/a parameter", lambda: file([N("bytes", {"data": T(S("b", "uint8", (2,)), flags=2)})]))


def _many_bytes() -> bytes:
    stored = T(S("b", "uint8", (1_000_000,)))
    return file([N("bytes", {"data": stored}) for _ in range(20_000)])


# --- the columns ---

add("table/no such stored", lambda: _with(lambda t: t.stored.__setitem__(0, 0)), expect={"load": "ok"})
for _label, _edit in {
    "stored 5": ('"stored":null', '"stored":[5]'),
    "stored -1": ('"stored":null', '"stored":[-1]'),
    "stored twice": ('"stored":null', '"stored":[0,0]'),
    "stored none": ('"stored":null', '"stored":[]'),
    "stored true": ('"stored":null', '"stored":[true]'),
    "stored 1.0": ('"stored":null', '"stored":[0.0]'),
    "flags 4": ('"flags":"0"', '"flags":"4"'),
    "flags long": ('"flags":"0"', '"flags":"00"'),
    "flags short": ('"flags":"0"', '"flags":""'),
    "flags wide digit": ('"flags":"0"', '"flags":"\uff10"'),
    "flags minus": ('"flags":"0"', '"flags":"-"'),
    "view of nothing": ('"views":[]', '"views":[[7,"float32",[1],[1],0]]'),
    "view -1": ('"views":[]', '"views":[[-1,"float32",[1],[1],0]]'),
    "view twice": ('"views":[]', '"views":[[0,"float32",[1],[1],0],[0,"float32",[1],[1],0]]'),
    "view bool": ('"views":[]', '"views":[[0,"float32",[true],[1],0]]'),
    "lazy 4": ('"lazy":[]', '"lazy":[[0,4]]'),
    "lazy 0": ('"lazy":[]', '"lazy":[[0,0]]'),
    "lazy conj of real": ('"lazy":[]', '"lazy":[[0,1]]'),
    "lazy 9": ('"lazy":[]', '"lazy":[[9,1]]'),
    "lazy -1": ('"lazy":[]', '"lazy":[[-1,2]]'),
    "strides 9": ('"strides":[]', '"strides":[[9,[1]]]'),
    "strides -1": ('"strides":[]', '"strides":[[-1,[1]]]'),
    "strides huge key": ('"strides":[]', f'"strides":[[{2**70},[1]]]'),
    "differ 9": ('"differ":[]', '"differ":[[9,"float32",[2]]]'),
    "differ -1": ('"differ":[]', '"differ":[[-1,"float64",[1]]]'),
    "differ same": ('"differ":[]', '"differ":[[0,"float32",[2]]]'),
    "differ reshaped": ('"differ":[]', '"differ":[[0,"float32",[1,2]]]'),
    "differ larger": ('"differ":[]', '"differ":[[0,"float32",[200000]]]'),
    "differ complex": ('"differ":[]', '"differ":[[0,"complex64",[1]]]'),
    "differ unknown": ('"differ":[]', '"differ":[[0,"object",[2]]]'),
    "attributes 9": ('"attributes":[]', '"attributes":[[9,null]]'),
    "attributes -1": ('"attributes":[]', '"attributes":[[-1,null]]'),
    "attributes null": ('"attributes":[]', '"attributes":[[0,null]]'),
    "attributes hang": ('"attributes":[]', '"attributes":[[0,["r",99]]]'),
    "shown twice": ('"attributes":[]', '"attributes":[],"shown":[["t"],["float32"],[[2]]]'),
}.items():
    add(
        f"table/{_label}",
        lambda e=_edit: file([T()], edit=lambda text: _replaced(text, *e)),
        expect={"load": "FormatError"},
    )


def _replaced(text: str, old: str, new: str) -> str:
    assert old in text, text
    return text.replace(old, new)


for _label, _index in {
    "-1": "-1",
    "-5": "-5",
    "far": "99",
    "huge": str(2**64),
    "true": "true",
    "float": "0.0",
    "text": '"0"',
}.items():
    for _tag in ("t", "r"):
        add(
            f"reference/{_tag} {_label}",
            lambda i=_index, r=_tag: file({"a": T()}, edit=lambda x: x.replace('["t",0]', f'["{r}",{i}]')),
            expect={"load": "FormatError"},
        )
        add(
            f"reference/root {_tag} {_label}",
            lambda i=_index, r=_tag: file(T(), edit=lambda x: x.replace('"root":["t",0]', f'"root":["{r}",{i}]')),
            expect={"load": "FormatError"},
        )
for _label, _start in {"-1": "-1", "far": "999", "0": "0", "huge": str(2**65)}.items():
    add(
        f"reference/key tail {_label}",
        lambda s=_start: file({"a.b": T(S("a.b"))}, edit=lambda x: x.replace('["=",0]', f'["=",{s}]')),
    )
    add(
        f"reference/key tail of no tensor {_label}",
        lambda s=_start: file({"a.b": 5, "t": T()}, edit=lambda x: x.replace('"a.b"', f'["=",{s}]')),
        expect={"load": "FormatError"},
    )

# --- every dtype, under every flag ---

for _dtype in ITEMSIZE:
    add(
        f"dtype/{_dtype}",
        lambda d=_dtype: file(
            [
                T(S(f"t{i}", d, (4, 2), (1, 4) if i % 2 else None), flags=flags, lazy=lazy)
                for i, (flags, lazy) in enumerate((f, z) for f in range(4) for z in range(4))
                if _may(d, flags, lazy)
            ]
        ),
        verbs=("inspect", "load", "skeleton"),
        expect={"load": "ok"},
    )


def _may(dtype: str, flags: int, lazy: int) -> bool:
    real = dtype.startswith(("float", "bfloat", "complex"))
    return (not flags & 1 or real) and (not lazy or real) and (not lazy & 1 or dtype.startswith("complex"))


for _dtype in ("int64", "bool", "uint8", "bits8"):
    add(f"grad/{_dtype}", lambda d=_dtype: file([T(S("t", d), flags=3)]), expect={"load": "FormatError"})
add(
    "grad/of a view",
    lambda: file((lambda s: [T(s, flags=3), T(s, flags=1), T(s, ("float32", (2, 2), (0, 1), 0), flags=3)])(S())),
)
add("alias/parameters that overlap", lambda: _overlapping())


def _overlapping() -> bytes:
    stored = S("w", "float32", (4,))
    views = [T(stored, ("float32", (2,), (1,), i), flags=3) for i in range(3)]
    return file(module("victim.nets:Net", parameters={f"p{i}": view for i, view in enumerate(views)}))


add(
    "alias/a row twice in a module",
    lambda: (lambda p: file(module("victim.nets:Net", parameters={"a": p, "weight": p})))(parameter()),
)

# --- bytes that are not there ---


def _sparse(path: Path, nbytes: int) -> None:
    text = native(doc([T(S("t", "uint8", (nbytes,)))]), data={0: b""})
    with path.open("wb") as file:
        file.write(text)
        os.ftruncate(file.fileno(), len(text) + nbytes)


add(
    "sparse/2 TB",
    lambda: lambda path: _sparse(path, 2 << 40),
    expect={"inspect": "ok", "load": "LoadError", "mapped": "PathError"},
    verbs=("inspect", "load", "skeleton"),
)
add(
    "sparse/short by one",
    lambda: native(doc([T()]), file_nbytes=7),
    expect={"load": "FormatError", "inspect": "FormatError"},
)
add("sparse/long by one", lambda: file([T()]) + b"x", expect={"load": "FormatError", "inspect": "FormatError"})
