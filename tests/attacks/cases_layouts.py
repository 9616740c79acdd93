"""Tensors that are nodes: numbers that torch would believe, and classes of tensors that nobody named."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from typing import Any

from case import Cases
from forge import Mp, N, S, T, doc, file, function, module, native, partial, plain

CASES = Cases()
add = CASES.add
KINDS = "victim.kinds"
REFUSED = {"load": "FormatError"}
BIG = 2**31
_CODES = {"int64": "q", "int32": "i", "float32": "f", "float64": "d", "uint8": "B", "int8": "b", "float16": "e"}


def inner(dtype: str, shape: tuple[int, ...], values: Any = ()) -> T:
    """A tensor with values of its own: zeros where none are given; or the tensor that stands in its place."""
    if isinstance(values, T):
        return values
    given = list(values) or [0] * math.prod(shape)
    return T(S("", dtype, shape, data=struct.pack(f"<{len(given)}{_CODES[dtype]}", *given)))


def written(root: Any) -> bytes:
    """A file of a literal, with the values of its inner tensors."""
    held: list[S] = []

    def meet(spec: Any) -> None:
        if isinstance(spec, T):
            if not any(spec.stored is one for one in held):
                spec.stored.name = f"{len(held)}"
                held.append(spec.stored)
        elif isinstance(spec, N):
            for each in spec.fields.values():
                meet(each)
        elif isinstance(spec, Mp):
            for pair in spec.pairs:
                meet(list(pair))
        elif isinstance(spec, dict | list | tuple):
            for each in spec.values() if isinstance(spec, dict) else spec:
                meet(each)

    meet(root)
    made = doc(root)
    data = {made.tensors.names.index(one.name): one.data for one in held if one.data is not None}
    return native(made, data=data)


def like(kind: str, fields: dict[str, Any], changed: dict[str, Any]) -> N:
    """A tensor of a kind, some of its fields changed; `attributes` last, where there are some."""
    more = {"attributes": changed.pop("attributes")} if "attributes" in changed else {}
    return N(kind, {**fields, **changed, "flags": changed.get("flags", 0), **more})


def coo(indices: Any = (0, 1, 2, 0), **changed: Any) -> N:
    fields = {
        "layout": "sparse_coo", "shape": (2, 3), "compressed": None,
        "indices": indices if isinstance(indices, T) else inner("int64", (2, 2), indices),
        "values": inner("float32", (2,), (1, 2)), "coalesced": False,
    }  # fmt: skip
    return like("torch.sparse", fields, changed)


def csr(
    pointers: Iterable[int] = (0, 1, 2), indices: Iterable[int] = (0, 2), dtype: str = "int64", **changed: Any
) -> N:
    pointers, indices = list(pointers), list(indices)
    fields = {
        "layout": "sparse_csr", "shape": (2, 3), "compressed": inner(dtype, (len(pointers),), pointers),
        "indices": inner(dtype, (len(indices),), indices), "values": inner("float32", (len(indices),)),
        "coalesced": False,
    }  # fmt: skip
    return like("torch.sparse", fields, changed)


def quantized(**changed: Any) -> N:
    fields = {
        "dtype": "quint8", "shape": (2, 3), "data": inner("uint8", (2, 3)), "scale": 0.5, "zero_point": 0, "axis": None
    }  # fmt: skip
    return like("torch.quantized", fields, changed)


def nested(
    sizes: Any = (1, 2, 3, 2), strides: Any = (2, 1, 2, 1), offsets: Any = (0, 2), n: int = 8, **changed: Any
) -> N:
    fields = {
        "values": inner("float32", (n,)), "sizes": inner("int64", (2, 2), sizes),
        "strides": inner("int64", (2, 2), strides), "offsets": inner("int64", (2,), offsets),
    }  # fmt: skip
    return like("torch.nested", fields, changed)


def jagged(offsets: Any = (0, 2, 5), lengths: Any = None, **changed: Any) -> N:
    offsets = list(offsets)
    fields = {
        "values": inner("float32", (5, 2)), "offsets": inner("int64", (len(offsets),), offsets),
        "lengths": None if lengths is None else inner("int64", (len(lengths),), lengths), "ragged_dim": 1,
        "min_length": None, "max_length": None,
    }  # fmt: skip
    return like("torch.jagged", fields, changed)


def meta(shape: Any = (2, 3), strides: Any = (3, 1), dtype: str = "float32", **changed: Any) -> N:
    return like("torch.meta", {"dtype": dtype, "shape": shape, "strides": strides}, changed)


def subclass(cls: str = f"{KINDS}:RingingTensor", **changed: Any) -> N:
    return like("tensor_subclass", {"class": cls, "data": inner("float32", (2,))}, changed)


def wrapper(cls: str = f"{KINDS}:RingingWrapper", **changed: Any) -> N:
    fields = {
        "class": cls,
        "tensors": {"data": inner("float32", (2,))},
        "context": None,
        "shape": (2,),
        "strides": (1,),
    }
    return like("wrapper_tensor", fields, changed)


def held(tensor: N) -> list[Any]:
    """In a list, as a buffer of torch's and of the program's own module."""
    return [
        tensor,
        module(buffers={"b": tensor}),
        module("victim.nets:Net", buffers={"b": tensor}, attributes={"a": [tensor]}),
    ]


# --- values that torch would believe ----------------------------------------------------------------

for _label, _indices in {
    "past the end": (0, 2, 2, 0),
    "far past the end": (0, 2**62, 2, 0),
    "negative": (0, -1, 2, 0),
    "far negative": (-(2**62), 0, 0, 0),
    "column past the end": (0, 1, 3, 0),
}.items():
    add(f"sparse/index {_label}", lambda i=_indices: written(held(coo(i))), expect=REFUSED)
for _label, _indices in {
    "out of order": (1, 0, 0, 0),
    "twice": (1, 1, 2, 2),
    "columns out of order": (1, 1, 2, 0),
}.items():
    add(f"sparse/coalesced {_label}", lambda i=_indices: written(held(coo(i, coalesced=True))), expect=REFUSED)
    add(f"sparse/not coalesced {_label}", lambda i=_indices: written(held(coo(i))), expect={"load": "ok"})
for _label, _pointers in {
    "falling": (0, 3, 2),
    "beyond the values": (0, 1, 5),
    "far beyond": (0, 2**62, 2),
    "negative": (-1, 1, 2),
    "not from 0": (1, 1, 2),
    "short of the values": (0, 1, 1),
    "too many": (0, 1, 1, 2),
    "too few": (0, 2),
}.items():
    for _layout in ("sparse_csr", "sparse_csc"):
        _shape = (2, 3) if _layout == "sparse_csr" else (3, 2)
        add(
            f"sparse/{_layout} pointers {_label}",
            lambda p=_pointers, y=_layout, s=_shape: written(held(csr(p, layout=y, shape=s))),
            expect=REFUSED,
        )
for _label, _columns in {"past the end": (0, 3), "negative": (-1, 2), "far": (0, 2**62)}.items():
    add(f"sparse/csr index {_label}", lambda c=_columns: written(held(csr(indices=c))), expect=REFUSED)
add("sparse/csr index twice", lambda: written(held(csr((0, 2, 2), (1, 1)))), expect=REFUSED)
add("sparse/csr int32 far", lambda: written(held(csr((0, 1, 2), (0, BIG - 1), "int32"))), expect=REFUSED)
for _label, _block in {"no blocks": (2,), "flat": (2, 1), "of nothing": (2, 0, 1), "huge": (2, 4, 4)}.items():
    add(
        f"sparse/bsr {_label}",
        lambda b=_block: written(held(csr(layout="sparse_bsr", shape=(4, 4), values=inner("float32", b)))),
        expect=REFUSED,
    )
for _label, _shape in {"2^61": (BIG, 2**30), "2^62": (BIG, BIG), "negative": (-2, 3), "none": (2, 3, 4)}.items():
    add(f"sparse/shape {_label}", lambda s=_shape: written(held(coo(shape=s))), seconds=5, poke=False)
add("sparse/wide", lambda: written(held(csr(shape=(2, 2**40)))), poke=False)
add("sparse/tall", lambda: written(held(csr(shape=(2**40, 2)))), expect=REFUSED)
for _label, _changed in {
    "scale zero": {"scale": 0.0},
    "scale negative": {"scale": -1.0},
    "scale tiny": {"scale": 5e-324},
    "scale infinite": {"scale": math.inf},
    "scale NaN": {"scale": math.nan},
    "point far": {"zero_point": 2**31 - 1},
    "point beyond": {"zero_point": 2**63},
    "point negative": {"zero_point": -5},
    "point is a bool": {"zero_point": True},
    "axis": {"axis": 0},
    "axis and scales": {"axis": 0, "scale": lambda: inner("float64", (2,)), "zero_point": lambda: inner("int64", (2,))},
    "axis far": {"axis": 2**40, "scale": lambda: inner("float64", (2,)), "zero_point": lambda: inner("int64", (2,))},
    "scales short": {"axis": 1, "scale": lambda: inner("float64", (2,)), "zero_point": lambda: inner("int64", (2,))},
    "points far": {
        "axis": 0,
        "scale": lambda: inner("float64", (2,)),
        "zero_point": lambda: inner("int64", (2,), (2**62, -(2**62))),
    },
    "scales NaN": {
        "axis": 0,
        "scale": lambda: inner("float32", (2,), (math.nan, math.inf)),
        "zero_point": lambda: inner("float32", (2,), (math.nan, math.inf)),
    },
    "bytes of another type": {"data": lambda: inner("int8", (2, 3))},
    "bytes short": {"data": lambda: inner("uint8", (2, 2))},
    "dtype float32": {"dtype": "float32"},
    "dtype load": {"dtype": "load"},
    "packed": {"dtype": "quint4x2", "data": lambda: inner("uint8", (4,), (255,) * 4)},
    "packed, two bits": {"dtype": "quint2x4", "data": lambda: inner("uint8", (2,), (255,) * 2)},
    "packed short": {"dtype": "quint4x2", "data": lambda: inner("uint8", (3,))},
    "packed, huge": {"dtype": "quint4x2", "shape": (2**30, 2**30), "data": lambda: inner("uint8", (4,))},
    "a view": {"data": lambda: T(S("v", "uint8", (1,)), view=("uint8", (2, 3), (0, 0), 0))},
    "requires a gradient": {"flags": 3},
}.items():
    add(
        f"quantized/{_label}",
        lambda c=_changed: written(held(quantized(**{k: v() if callable(v) else v for k, v in c.items()}))),
        load={"trust": ()},
    )
for _label, _numbers in {
    "size beyond": {"sizes": (1, 2, 4, 2)},
    "size far": {"sizes": (1, 2, 2**40, 2)},
    "size negative": {"sizes": (1, 2, -3, 2)},
    "sizes wrap": {"sizes": (2**32, 2**32, 3, 2)},
    "stride far": {"strides": (2, 1, 2**61, 1)},
    "stride negative": {"strides": (2, 1, -2, 1)},
    "stride zero, huge": {"strides": (0, 0, 0, 0), "sizes": (2**31, 2**31, 1, 1)},
    "offset beyond": {"offsets": (0, 3)},
    "offset far": {"offsets": (0, 2**62)},
    "offset negative": {"offsets": (-1, 2)},
    "no values": {"n": 0},
}.items():
    add(f"nested/{_label}", lambda c=_numbers: written(held(nested(**c))), expect=REFUSED)


def view(dtype: str, shape: tuple[int, ...], strides: tuple[int, ...], values: tuple[int, ...], offset: int = 0) -> T:
    """A tensor that sees only a part of what is stored, or sees it many times."""
    return T(inner(dtype, (len(values),), values).stored, view=(dtype, shape, strides, offset))


for _label, _changed in {
    "offsets in steps": lambda: {"offsets": view("int64", (2,), (2,), (0, 2**33, 2, 2**33))},
    "offsets expanded": lambda: {"offsets": view("int64", (2,), (0,), (0,))},
    "sizes turned": lambda: {"sizes": view("int64", (2, 2), (1, 2), (1, 3, 2, 2))},
    "values from an offset": lambda: {"values": view("float32", (4,), (1,), (0,) * 8, 4)},
    "values in steps": lambda: {"values": view("float32", (8,), (2,), (0,) * 16)},
}.items():
    add(f"nested/{_label}", lambda c=_changed: written(held(nested(**c()))))
for _label, _make in {
    "COO": lambda: coo(view("int64", (2, 2**33), (0, 0), (0,)), values=view("float32", (2**33,), (0,), (0,))),
    "COO, coalesced": lambda: coo(
        view("int64", (2, 2**33), (0, 0), (0,)), values=view("float32", (2**33,), (0,), (0,)), coalesced=True
    ),
    "quint4x2": lambda: quantized(dtype="quint4x2", shape=(2**34,), data=view("uint8", (2**33,), (0,), (0,))),
    "jagged": lambda: jagged(offsets=(0, 2, 5), values=view("float32", (2**33, 2), (0, 0), (0,))),
    "offsets": lambda: like("torch.jagged", jagged().fields, {"offsets": view("int64", (2**33,), (0,), (0,))}),
    "scales": lambda: quantized(
        axis=0, shape=(2**33, 1), data=view("uint8", (2**33, 1), (0, 0), (0,)),
        scale=view("float64", (2**33,), (0,), (0,)), zero_point=view("int64", (2**33,), (0,), (0,)),
    ),
}.items():  # fmt: skip
    add(f"expanded/{_label}", lambda m=_make: written([m()]), expect=REFUSED, seconds=2)
add("nested/overlapping", lambda: written(held(nested(offsets=(0, 0)))))
for _label, _numbers in {
    "falling": {"offsets": (0, 4, 2)},
    "beyond": {"offsets": (0, 2, 6)},
    "far": {"offsets": (0, 2, 2**62)},
    "negative": {"offsets": (-1, 2, 5)},
    "lengths beyond": {"lengths": (2, 4)},
    "lengths far": {"lengths": (2**62, 1)},
    "lengths negative": {"lengths": (-1, 1)},
    "lengths too many": {"lengths": (1, 1, 1)},
    "longer than said": {"max_length": 2},
    "shorter than said": {"min_length": 3},
    "of no dimension": {"ragged_dim": 0},
    "of a dimension too many": {"ragged_dim": 3},
    "of a far dimension": {"ragged_dim": 2**62},
}.items():
    add(f"jagged/{_label}", lambda c=_numbers: written(held(jagged(**c))), expect=REFUSED)
for _label, _offsets in {"no parts": (0,), "not from 0": (1, 2, 5), "short": (0, 2, 4)}.items():
    add(f"jagged/{_label}", lambda o=_offsets: written(held(jagged(o))), expect={"load": "ok"})
add("jagged/longest told too long", lambda: written(held(jagged(max_length=2**61))), poke=False)
for _label, _changed in {
    "huge": {"shape": (BIG, BIG)},
    "as large as may be": {"shape": (BIG, 2**30), "strides": (2**30, 1)},
    "negative": {"shape": (-1, 2)},
    "strides": {"strides": (1,)},
    "stride far": {"strides": (2**62, 1)},
    "dtype": {"dtype": "hub"},
    "dtype of torch": {"dtype": "nn"},
    "flags": {"flags": 7},
    "many dimensions": {"shape": (1,) * 100, "strides": (1,) * 100},
}.items():
    add(f"meta/{_label}", lambda c=_changed: written(held(meta(**c))), poke=False)

# --- inner tensors that are more than bytes ---------------------------------------------------------

for _label, _make in {
    "parameter": lambda: T(S("x", "float32", (2,)), flags=3),
    "gradient": lambda: T(S("x", "float32", (2,)), flags=1),
    "attributes": lambda: T(S("x", "float32", (2,)), attributes={"a": 1}),
    "lazy": lambda: T(S("x", "float32", (2,)), lazy=2),
    "expanded": lambda: T(S("x", "float32", (1,)), view=("float32", (2,), (0,), 0)),
}.items():
    add(f"inner/{_label} of COO", lambda m=_make: file(held(coo(values=m()))))
    add(f"inner/{_label} of a subclass", lambda m=_make: file(held(subclass(data=m()))))
    add(f"inner/{_label} of a wrapper", lambda m=_make: file(held(wrapper(tensors={"data": m()}))))
add("inner/expanded indices", lambda: file([coo(indices=T(S("i", "int64", (1,)), view=("int64", (2, 2), (0, 0), 0)))]))
for _kind, _make in {"coo": coo, "csr": csr, "quantized": quantized, "nested": nested, "meta": meta}.items():
    for _label, _attributes in {
        "method": {"backward": partial(function("torch:relu"))},
        "class": {"__class__": function("torch:relu")},
        "grad_fn": {"grad_fn": partial(function("torch:relu"))},
        "data": {"note": 1},
        "an object": {"note": plain("victim.nets:ConfigDel")},
    }.items():
        add(f"attribute/{_label} of {_kind}", lambda m=_make, a=_attributes: written([m(attributes=dict(a))]))
    add(f"key/{_kind}", lambda m=_make: written([Mp([(m(), 1), (m(), 2), ("a", 3)])]))
    add(f"parameter/{_kind} without its flag", lambda m=_make: written(module(parameters={"w": m()})), expect=REFUSED)
    add(f"parameter/{_kind}", lambda m=_make: written(module(parameters={"w": m(flags=2)})))
    add(
        f"parameter/{_kind} of a layer",
        lambda m=_make: written(module("torch.nn:Linear", parameters={"weight": m(flags=3)})),
    )

# --- classes ----------------------------------------------------------------------------------------

for _label, _cls in {
    "imported": f"{KINDS}:RingingTensor",
    "gone": "gone:Tensor",
    "torch's": "torch:Tensor",
    "Parameter": "torch.nn:Parameter",
    "torch's own subclass": "torch.masked.maskedtensor.core:MaskedTensor",
    "nested": "torch.nested._internal.nested_tensor:NestedTensor",
    "distributed": "torch.distributed.tensor:DTensor",
    "fake": "torch._subclasses.fake_tensor:FakeTensor",
    "module": "victim.nets:Net",
    "standard library": "subprocess:Popen",
    "function": "os:system",
}.items():
    for _made, _make in {"subclass": subclass, "wrapper": wrapper}.items():
        add(f"{_made}/{_label}", lambda m=_make, c=_cls: written(held(m(c))), expect={"load": "TrustError"})
        add(
            f"{_made}/{_label}, trusted",
            lambda m=_make, c=_cls: written([m(c)]),
            load={"trust": (_cls.partition(":")[0],)} if _cls.startswith(("subprocess", "os")) else {},
            expect={"load": "TrustError"},
        )
for _label, _context in {
    "a function": lambda: function("torch:relu"),
    "a partial": lambda: partial(function("torch:relu")),
    "an object": lambda: plain("victim.nets:ConfigDel"),
    "itself": lambda: None,
}.items():
    add(f"wrapper/context {_label}", lambda c=_context: written([wrapper(context=c())]), expect={"load": "TrustError"})
for _label, _tensors in {
    "a number": {"data": 1},
    "a text": {"data": "x"},
    "a module": {"data": module()},
    "a key that is none": {1: None},
    "nothing": {},
    "None": {"data": None},
}.items():
    add(f"wrapper/tensors {_label}", lambda t=_tensors: written([wrapper(tensors=dict(t))]), verbs=("inspect", "load"))


def _ring() -> bytes:
    tensor = wrapper()
    tensor.fields["tensors"]["data"] = tensor
    return file([tensor])


def _deep() -> bytes:
    tensor: Any = inner("float32", (2,))
    for _ in range(20_000):
        tensor = wrapper(tensors={"data": tensor})
    return file([tensor])


add("wrapper/itself", _ring, verbs=("inspect", "load", "into"))
add("wrapper/twenty thousand deep", _deep, verbs=("inspect", "load", "into"), seconds=10, mib=900)
