"""Write the conformance vectors: files that every reader must accept, and files that it must refuse.

    python spec/vectors/make.py             writes accept/ and reject/ beside this file
    python spec/vectors/make.py DIRECTORY   writes them there

The accepted files come from torchkeep's own writer, and each has a twin in JSON for people and for diffs.
The refused ones are put together by hand, header, metadata and Document, because no writer makes them.
Each breaks one clause of ``spec/format.md``, the one in its name; digests are right wherever they are not
the point. The same bytes come out on every machine.
"""

from __future__ import annotations

import base64
import json
import math
import struct
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from xxhash import xxh3_64_hexdigest, xxh3_64_intdigest

from torchkeep.containers import layout
from torchkeep.document import (
    CONJ,
    ITEMSIZE,
    NEG,
    PARAMETER,
    REQUIRES_GRAD,
    SAFETENSORS_NAME,
    ClassInfo,
    Document,
    Finding,
    Map,
    Opaque,
    Ref,
    Seq,
    SourceText,
    TensorRef,
    TensorTable,
    Typed,
    View,
    check,
)

PREFIX = b'{"__metadata__":{"torchkeep.digests":"'
RESERVED = "__torchkeep__/"
ENVIRONMENT = {"python": "3.11.7", "torch": "2.13.0"}

ACCEPT: dict[str, Callable[[], bytes]] = {}
REJECT: dict[str, tuple[str, Callable[[], bytes]]] = {}


def accept(make: Callable[[], bytes]) -> Callable[[], bytes]:
    """Register a file that every reader must accept, under the function's name."""
    ACCEPT[make.__name__.strip("_").replace("_", "-")] = make
    return make


def reject(name: str, why: str, make: Callable[[], bytes]) -> None:
    """Register a file that every reader must refuse, by the clause that its name begins with."""
    assert name not in REJECT, name
    REJECT[name] = (why, make)


def pattern(nbytes: int, seed: int = 0) -> bytes:
    """Bytes that are easy to recognize: 1, 2, 3 ... from an offset of their own."""
    return bytes((seed * 37 + i) % 255 + 1 for i in range(nbytes))


# --- accepted: written by torchkeep -------------------------------------------------------------------


class Tensors:
    """A tensor table in the making."""

    def __init__(self) -> None:
        self.table = TensorTable()
        self.data: list[bytes] = []

    def stored(
        self,
        name: str,
        dtype: str,
        shape: tuple[int, ...],
        *,
        strides: tuple[int, ...] | None = None,
        data: bytes | None = None,
    ) -> int:
        """Add a stored tensor."""
        index = len(self.table.names)
        self.table.names.append(name)
        self.table.dtypes.append(dtype)
        self.table.shapes.append(shape)
        if strides is not None:
            self.table.strides[index] = strides
        nbytes = math.prod(shape) * ITEMSIZE[dtype]
        made = bytes(i % 2 for i in range(nbytes)) if dtype == "bool" else pattern(nbytes, index)
        self.data.append(made if data is None else data)
        return index

    def of(self, stored: int, *, flags: int = 0, view: View | None = None, lazy: int = 0) -> TensorRef:
        """Add a tensor that views a stored one."""
        row = len(self.table.stored)
        self.table.stored.append(stored)
        self.table.flags.append(flags)
        if view:
            self.table.views[row] = view
        if lazy:
            self.table.lazy[row] = lazy
        return TensorRef(row)

    def add(self, name: str, dtype: str, shape: tuple[int, ...], *, flags: int = 0, **more: Any) -> TensorRef:
        """Add a tensor that is all of a stored tensor of its own."""
        return self.of(self.stored(name, dtype, shape, **more), flags=flags)


def native(root: Any, nodes: Sequence[Any] = (), tensors: Tensors | None = None, **more: Any) -> bytes:
    """A torchkeep file, by torchkeep's own writer."""
    tensors = tensors or Tensors()
    document = Document(root, list(nodes), tensors.table, **({"environment": ENVIRONMENT} | more))
    check(document)
    plan = layout(document)
    header = plan.header([xxh3_64_intdigest(data) for data in tensors.data])
    return header + b"".join(tensors.data[i] for i in plan.order)


def mapping(entries: dict[Any, Any]) -> Map:
    """A map node."""
    return Map(tuple(entries), tuple(entries.values()))


def in_walking_order(root: Any, tensors: Tensors) -> tuple[list[Any], Tensors]:
    """Nodes and tensors in walking order; each tensor is all of a stored tensor of its own."""
    rows: dict[int, int] = {}
    nodes = numbered(root, rows)
    table, sorted_table = tensors.table, Tensors()
    for row in rows:
        index = table.stored[row]
        shape, data = table.shapes[index], tensors.data[index]
        sorted_table.add(table.names[index], table.dtypes[index], shape, flags=table.flags[row], data=data)
    return nodes, sorted_table


def numbered(root: Any, rows: dict[int, int] | None = None) -> list[Any]:
    """Nodes in walking order, made of nodes that hold each other where a file has references.

    With `rows`, the rows of tensors are numbered anew, too: it gets the new number of each.
    """
    numbers: dict[int, int] = {}
    found: list[Any] = []

    def meet(node: Any) -> None:
        numbers[id(node)] = len(found)
        found.append(node)
        for value in _held(node):
            if isinstance(value, NODES) and id(value) not in numbers:
                meet(value)
            elif isinstance(value, TensorRef) and rows is not None:
                rows.setdefault(value.index, len(rows))

    def refer(value: Any) -> Any:
        if isinstance(value, TensorRef) and rows is not None:
            return TensorRef(rows[value.index])
        return Ref(numbers[id(value)]) if isinstance(value, NODES) else value

    meet(root)
    made: list[Any] = []
    for node in found:
        if isinstance(node, Map):
            made.append(Map(tuple(map(refer, node.keys)), tuple(map(refer, node.values))))
        elif isinstance(node, Seq):
            made.append(Seq(node.kind, tuple(map(refer, node.items))))
        else:
            made.append(Typed(node.kind, 1, {name: refer(value) for name, value in node.fields.items()}))
    return made


NODES = (Map, Seq, Typed)


def _held(node: Any) -> Iterable[Any]:
    if isinstance(node, Map):
        return (part for pair in zip(node.keys, node.values, strict=True) for part in pair)
    return node.items if isinstance(node, Seq) else node.fields.values()


def one(kind: str, **fields: Any) -> Typed:
    """A typed node without a field `class`."""
    return Typed(kind, 1, fields)


def several(*items: Any) -> Seq:
    """A tuple."""
    return Seq("tuple", items)


@accept
def empty_dict() -> bytes:
    return native(Ref(0), [Map((), ())])


@accept
def empty_environment() -> bytes:
    return native(None, environment={})


@accept
def root_scalar() -> bytes:
    return native(-42)


@accept
def root_tensor() -> bytes:
    tensors = Tensors()
    return native(tensors.add("tensor", "float32", (2, 2)), tensors=tensors)


@accept
def root_module() -> bytes:
    module = Typed("module", 1, {"class": "torch.nn:ReLU", "training": True})
    return native(Ref(0), [module])


@accept
def integers() -> bytes:
    exact = 2**53 - 1
    numbers = [0, 1, -1, exact, -exact, exact + 1, -exact - 1, 2**64, -(2**64), 10**40, 16**60]
    return native(Ref(0), [Seq("list", (True, False, None, *numbers))])


@accept
def floats() -> bytes:
    payload = struct.unpack(">d", bytes.fromhex("7ff8000000000001"))[0]
    negative = struct.unpack(">d", bytes.fromhex("fff8000000000000"))[0]
    numbers = [0.0, -0.0, 1.0, 1.5, 0.1, 1 / 3, 1e15, 1e16, 1e22, 1e-4, 1e-5, 1.25e300, 5e-324, 2.0**-1022]
    limits = [1.7976931348623157e308, math.inf, -math.inf, math.nan, payload, negative]
    return native(Ref(0), [Seq("list", (*numbers, *limits))])


@accept
def complex_numbers() -> bytes:
    numbers = (0j, complex(-0.0, 1.5), complex(math.nan, -math.inf), complex(1e16, 1e-5))
    return native(Ref(0), [Seq("tuple", numbers)])


@accept
def texts() -> bytes:
    controls = "".join(map(chr, range(32)))
    values = ["", 'a "quote" and a \\', controls, "\x7f\x80\u2028/", "é", "漢字", "😀", "e\u0301", "\u202egnp.exe"]
    return native(Ref(0), [Seq("list", (*values, "\ud800", "a\udfffb", "\ud83d\ude00", "\udc80é"))])


@accept
def byte_strings() -> bytes:
    return native(Ref(0), [Seq("list", (b"", b"\0", b"ab", b"abc", b"abcd", bytes(range(256))))])


@accept
def byte_arrays() -> bytes:
    """Bytes that can change: none, a few, and the same ones twice."""
    tensors = Tensors()
    few, none = (tensors.add(RESERVED + name, "uint8", (n,)) for name, n in (("few", 4), ("none", 0)))
    first = one("bytearray", data=few)
    return native(Ref(0), numbered(Seq("list", (first, one("bytearray", data=none), first))), tensors)


@accept
def dtypes() -> bytes:
    tensors = Tensors()
    entries = {}
    for dtype in ITEMSIZE:
        name = dtype if dtype in SAFETENSORS_NAME else RESERVED + dtype
        entries[dtype] = tensors.add(name, dtype, (2, 3))
    entries["scalar"] = tensors.add("scalar", "float64", ())
    entries["no name for its shape"] = tensors.add(RESERVED + "f4", "float4_e2m1fn_x2", ())
    return native(Ref(0), [mapping(entries)], tensors)


@accept
def zero_sizes() -> bytes:
    tensors = Tensors()
    shapes = [(0,), (3, 0), (0, 2**40), (2, 0, 5)]
    entries = {f"t{i}": tensors.add(f"t{i}", "float32", shape) for i, shape in enumerate(shapes)}
    entries["c"] = tensors.add(RESERVED + "c", "complex128", (0, 2))
    entries["one"] = tensors.add("one", "uint8", (1,))
    return native(Ref(0), [mapping(entries)], tensors)


@accept
def order_of_data() -> bytes:
    tensors = Tensors()
    rows = [("a", "uint8", (3,)), ("b", "float64", (1,)), ("c", "float16", (3,)), ("d", "uint8", (1,))]
    rows += [("e", "float64", (2,)), ("f", "float32", (1,)), (RESERVED + "g", "complex128", (1,))]
    return native(Ref(0), [mapping({n: tensors.add(n, dtype, shape) for n, dtype, shape in rows})], tensors)


@accept
def ties_and_views() -> bytes:
    tensors = Tensors()
    base = tensors.stored("base", "float32", (4, 6))
    raw = tensors.stored(RESERVED + "raw", "uint8", (24,))
    entries = {
        "base": tensors.of(base),
        "tied": tensors.of(base),
        "row": tensors.of(base, view=View("float32", (6,), (1,), 6)),
        "column": tensors.of(base, view=View("float32", (4,), (6,), 2)),
        "transposed": tensors.of(base, view=View("float32", (6, 4), (1, 6), 0)),
        "expanded": tensors.of(base, view=View("float32", (1000, 6), (0, 1), 18)),
        "as_int32": tensors.of(base, view=View("int32", (24,), (1,), 0)),
        "as_complex": tensors.of(base, view=View("complex64", (12,), (1,), 0)),
        "overlapping": tensors.of(base, view=View("float32", (20, 5), (1, 1), 0)),
        "empty_at_the_end": tensors.of(base, view=View("float32", (0, 6), (6, 1), 24)),
        "halves": tensors.of(raw, view=View("float16", (5,), (2,), 1)),
        "doubles": tensors.of(raw, view=View("float64", (2,), (1,), 1)),
    }
    return native(Ref(0), [mapping(entries)], tensors)


@accept
def views_of_the_same_shape() -> bytes:
    """Views that differ from their stored tensor in one thing."""
    tensors = Tensors()
    square = tensors.stored("square", "float32", (2, 2))
    ones = tensors.stored("stride_of_one", "int8", (2, 1, 3))
    none = tensors.stored("strides_of_none", "int8", (2, 0))
    turned = tensors.stored("turned", "int16", (1, 2, 2), strides=(9, 1, 2))
    entries = {
        "square": tensors.of(square),
        "turned": tensors.of(turned),
        "of_another_dtype": tensors.of(square, view=View("int32", (2, 2), (2, 1), 0)),
        "transposed": tensors.of(square, view=View("float32", (2, 2), (1, 2), 0)),
        "expanded": tensors.of(square, view=View("float32", (2, 2), (0, 1), 0)),
        "flat": tensors.of(square, view=View("float32", (4,), (1,), 0)),
        "with_a_size_of_one": tensors.of(square, view=View("float32", (1, 2, 2), (4, 2, 1), 0)),
        "empty": tensors.of(square, view=View("float32", (2, 0), (1, 1), 0)),
        "stride_of_one": tensors.of(ones, view=View("int8", (2, 1, 3), (3, 77, 1), 0)),
        "strides_of_none": tensors.of(none, view=View("int8", (2, 0), (0, 0), 0)),
        "turned_back": tensors.of(turned, view=View("int16", (1, 2, 2), (4, 2, 1), 0)),
        "turned_with_another_stride": tensors.of(turned, view=View("int16", (1, 2, 2), (4, 1, 2), 0)),
    }
    return native(Ref(0), [mapping(entries)], tensors)


@accept
def strides() -> bytes:
    tensors = Tensors()
    entries = {
        "channels_last": tensors.add("channels_last", "float32", (1, 3, 2, 2), strides=(12, 1, 6, 3)),
        "transposed": tensors.add("transposed", "int16", (2, 3), strides=(1, 2)),
        "of_one": tensors.add("of_one", "int16", (1, 3, 1, 2), strides=(77, 1, 0, 3)),
        "unnamed": tensors.add(RESERVED + "unnamed", "complex128", (2, 2), strides=(1, 2)),
    }
    return native(Ref(0), [mapping(entries)], tensors)


@accept
def lazy_bits() -> bytes:
    tensors = Tensors()
    a = tensors.stored("a", "complex64", (2,))
    b = tensors.stored(RESERVED + "b", "complex128", (2,))
    entries = {
        "plain": tensors.of(a),
        "conj": tensors.of(a, lazy=CONJ),
        "both": tensors.of(b, lazy=CONJ | NEG),
        "neg": tensors.of(b, lazy=NEG, flags=REQUIRES_GRAD),
        "imag_of_conj": tensors.of(a, view=View("float32", (2,), (2,), 1), lazy=NEG),
    }
    return native(Ref(0), [mapping(entries)], tensors)


@accept
def flags() -> bytes:
    tensors = Tensors()
    entries = {str(bits): tensors.add(str(bits), "bfloat16", (2,), flags=bits) for bits in range(4)}
    entries["index"] = tensors.add("index", "int64", (2,), flags=PARAMETER)
    return native(Ref(0), [mapping(entries)], tensors)


@accept
def tensor_attributes() -> bytes:
    tensors = Tensors()
    first = tensors.add("a", "float32", (1,))
    second = tensors.add(RESERVED + "b", "float32", (1,))
    third = tensors.add("c", "float32", (1,))
    tensors.table.attributes = {0: Ref(1), 1: Ref(2)}
    nodes = [Seq("list", (first, third)), mapping({"scale": second, "itself": first}), mapping({"list": Ref(0)})]
    return native(Ref(0), nodes, tensors)


@accept
def sequences() -> bytes:
    nodes = [
        Seq("list", (Ref(1), Ref(3), Ref(4), Ref(5))),
        Seq("tuple", (1, "two", Ref(2))),
        Seq("list", ()),
        Seq("set", ("b", "a", 1, None, b"a", 2.5)),
        Seq("frozenset", ()),
        Seq("tuple", ()),
    ]
    return native(Ref(0), nodes)


@accept
def sharing_and_cycles() -> bytes:
    nodes = [
        Seq("list", (Ref(0), Ref(1), Ref(3), Ref(1))),
        Seq("tuple", (Ref(2),)),
        mapping({"holder": Ref(1), "top": Ref(0)}),
        Typed("object", 1, {"class": "models:Node", "attributes": Ref(4)}),
        mapping({"me": Ref(3)}),
    ]
    return native(Ref(0), nodes, classes={"models:Node": ClassInfo()})


@accept
def keys() -> bytes:
    tensors = Tensors()
    tail, whole = tensors.stored("block.weight", "int8", (1,)), tensors.stored("whole", "int8", (1,))
    wide, other = tensors.stored("😀é.漢", "int8", (1,)), tensors.stored("other", "int8", (1,))
    rows = [tensors.of(i) for i in (tail, whole, wide, other, other)]
    key_tensor = tensors.add(RESERVED + "key", "int8", (1,))
    plain = (0, 1.5, None, b"x", "\ud800", float("nan"), float("nan"), 2**70)
    composite = (Ref(1), Ref(2), key_tensor, Ref(4), Ref(5))
    nodes = [
        Map(("weight", "whole", "漢", "something else", "", *plain, *composite), (*rows, *range(13))),
        Seq("tuple", (1, Ref(2))),
        Seq("frozenset", (Ref(3), "a")),
        Seq("tuple", ()),
        Typed("torch.dtype", 1, {"name": "float32"}),
        Typed("torch.device", 1, {"name": "cuda:0"}),
    ]
    return native(Ref(0), nodes, tensors)


@accept
def keys_of_most_weight() -> bytes:
    nodes = [
        mapping(
            {Ref(1): "1000", Ref(2): "1000, shared", "not a key": Ref(10), 2**63_998: "1000", -(2**63_998): "1000"}
        ),
        Seq("tuple", tuple(range(999))),
        Seq("tuple", (*[Ref(3)] * 15, *range(54))),
        *[Seq("tuple", (Ref(i), Ref(i))) for i in range(4, 8)],
        Seq("frozenset", (Ref(8),)),
        Seq("tuple", (Ref(9),)),
        Seq("frozenset", ()),
        Seq("frozenset", tuple(range(2000))),
    ]
    return native(Ref(0), nodes)


@accept
def keys_of_equal_hash() -> bytes:
    return native(Ref(0), [Seq("set", tuple(i * (2**61 - 1) for i in range(65)))])


@accept
def keys_of_many_orders() -> bytes:
    """Pairs that differ in order alone, and integers beside sizes: nobody chose them to hash alike."""
    few = tuple((i, j) for i in range(4) for j in range(4))
    nodes = [
        Seq("set", (*range(4), *(Ref(i + 1) for i in range(len(few))), *(Ref(2 * i + 17) for i in range(4)))),
        *[Seq("tuple", pair) for pair in few],
    ]
    for i in range(4):
        nodes += [Typed("torch.Size", 1, {"dims": Ref(2 * i + 18)}), Seq("tuple", (i,))]
    return native(Ref(0), nodes)


@accept
def keys_on_cycles() -> bytes:
    """Cycles through a tensor's attributes; a tensor is a key by identity."""
    tensors = Tensors()
    tensor = tensors.add(RESERVED + "key", "int8", (1,))
    tensors.table.attributes = {0: Ref(1)}
    nodes = [
        Seq("frozenset", (tensor,)),
        mapping({"holder": Ref(0), "set": Ref(2)}),
        Seq("set", (tensor, Ref(3))),
        Seq("tuple", (tensor, 1)),
    ]
    return native(Ref(0), nodes, tensors)


@accept
def keys_that_look_alike() -> bytes:
    entries = {"1": "text", 1: "int", b"1": "bytes", "__metadata__": 1, "a.b": 2, "(1,)": 3}
    nodes = [
        Map((*entries, Ref(1), Ref(2), Ref(3), Ref(4)), (*entries.values(), 4, 5, 6, 7)),
        Seq("tuple", (1,)),
        Seq("tuple", ("1",)),
        Seq("frozenset", (1,)),
        Seq("tuple", (math.nan,)),
    ]
    return native(Ref(0), nodes)


@accept
def small_kinds() -> bytes:
    tensors = Tensors()
    text = tensors.add(RESERVED + "text", "uint8", (9,), data="h\u00e9llo\ud800".encode("utf-8", "surrogatepass"))
    blob = tensors.add(RESERVED + "blob", "uint8", (4,))
    nodes = [
        Seq("list", tuple(Ref(i) for i in (1, 4, 6, 7, 8, 9, 10, 11, 12, 16, 18))),
        Typed("OrderedDict", 1, {"items": Ref(2), "attributes": Ref(3)}),
        mapping({"b": 1, 2: "a"}),
        mapping({"_metadata": None}),
        Typed("torch.Size", 1, {"dims": Ref(5)}),
        Seq("tuple", (2, 0)),
        Typed("torch.dtype", 1, {"name": "float32"}),
        Typed("torch.device", 1, {"name": "cuda:0"}),
        Typed("str", 1, {"data": text}),
        Typed("bytes", 1, {"data": blob}),
        Typed("class", 1, {"name": "models:Net"}),
        Typed("function", 1, {"name": "torch.nn.functional:gelu"}),
        Typed("partial", 1, {"function": Ref(13), "args": Ref(14), "keywords": Ref(15)}),
        Typed("function", 1, {"name": "models:activation"}),
        Seq("tuple", (1.5,)),
        mapping({"approximate": "tanh"}),
        Typed("custom", 1, {"class": "models:Range", "state": Ref(17)}),
        Seq("tuple", (0, 10)),
        Typed("OrderedDict", 1, {"items": Ref(19)}),
        Map((), ()),
    ]
    classes = {"models:Net": ClassInfo(2, "0123456789abcdef", "models 1.0"), "models:Range": ClassInfo(3)}
    return native(Ref(0), nodes, tensors, classes=classes)


@accept
def shared_maps() -> bytes:
    """Maps that are objects of their own may be shared, also with a field that does not own its map."""
    module = {"class": "torch.nn:ReLU", "training": True}
    nodes = [
        Seq("list", (Ref(1), Ref(1), Ref(2), Ref(4))),
        Map((), ()),
        Typed("module", 1, module | {"attributes": Ref(3), "extra_state": Ref(1)}),
        mapping({"a": Ref(1), "b": Ref(1), "itself": Ref(2)}),
        Typed("custom", 1, {"class": "models:Range", "state": Ref(5)}),
        mapping({"low": Ref(1), "high": 2}),
    ]
    return native(Ref(0), nodes, classes={"models:Range": ClassInfo()})


@accept
def direct_state() -> bytes:
    """A module whose class says how to make it anew, and what it held all the same."""
    module = {"class": "layers:Rearrange", "training": True}
    nodes = [
        Typed("module", 1, module | {"attributes": Ref(1), "direct": True}),
        mapping({"pattern": "b c -> c b", "lengths": Ref(2)}),
        Map((), ()),
    ]
    return native(Ref(0), nodes, classes={"layers:Rearrange": ClassInfo()})


@accept
def shared_tuples() -> bytes:
    """An empty tuple may be in many fields, and a tuple that is no part of an object in many places."""
    module = {"class": "torch.nn:ReLU", "training": True}
    nodes = [
        Seq("list", (Ref(1), Ref(2), Ref(2), Ref(3), Ref(4), Ref(6))),
        Seq("tuple", ()),
        Seq("tuple", (1, 2)),
        Typed("torch.Size", 1, {"dims": Ref(1)}),
        Typed("module", 1, module | {"non_persistent": Ref(1), "attributes": Ref(5), "hooks": Ref(1)}),
        mapping({"shape": Ref(2)}),
        Typed("partial", 1, {"function": Ref(7), "args": Ref(1), "keywords": Ref(8)}),
        Typed("function", 1, {"name": "models:activation"}),
        mapping({"shape": Ref(2)}),
    ]
    return native(Ref(0), nodes)


@accept
def cycles_through_lists() -> bytes:
    """What cannot change may be in a list that it holds: the list is there before what is in it."""
    nodes = [
        Seq("list", (Ref(1), Ref(3))),
        Typed("custom", 1, {"class": "models:Range", "state": Ref(2)}),
        Seq("list", (Ref(1),)),
        Typed("partial", 1, {"function": Ref(4), "args": Ref(5), "keywords": Ref(6)}),
        Typed("function", 1, {"name": "models:activation"}),
        Seq("tuple", (Ref(0),)),
        mapping({"every": Ref(0)}),
    ]
    return native(Ref(0), nodes, classes={"models:Range": ClassInfo()})


@accept
def recurrent() -> bytes:
    """An RNN says the names of its weights."""
    tensors = Tensors()
    parts = {"weight_ih_l0": (4, 1), "weight_hh_l0": (4, 1), "bias_ih_l0": (4,), "bias_hh_l0": (4,)}
    weights = {name: tensors.add(name, "float32", shape, flags=3) for name, shape in parts.items()}
    plain = {"mode": "LSTM", "input_size": 1, "hidden_size": 1, "num_layers": 1, "bias": True, "batch_first": False}
    plain |= {"dropout": 0.0, "bidirectional": False, "proj_size": 0}
    nodes = [
        Typed("module", 1, {"class": "torch.nn:LSTM", "training": True, "parameters": Ref(1), "attributes": Ref(2)}),
        mapping(weights),
        mapping(plain | {"_flat_weights_names": Ref(3), "_all_weights": Ref(4)}),
        Seq("list", tuple(parts)),
        Seq("list", (Ref(5),)),
        Seq("list", tuple(parts)),
    ]
    return native(Ref(0), nodes, tensors)


@accept
def versions_of_classes() -> bytes:
    nodes = [Seq("list", (Ref(1), Ref(2))), *[Typed("class", 1, {"name": name}) for name in ("models:A", "models:B")]]
    return native(Ref(0), nodes, classes={"models:A": ClassInfo(1), "models:B": ClassInfo(2**31 - 1)})


@accept
def records() -> bytes:
    """Kind, version, class and fields stand once for all nodes that have them."""
    module = {"class": "torch.nn:ReLU", "training": True}
    nodes = [
        Seq("list", tuple(map(Ref, range(1, 7)))),
        Typed("module", 1, module),
        Typed("torch.dtype", 1, {"name": "int8"}),
        Typed("module", 1, module | {"training": False}),
        Typed("module", 1, module | {"class": "torch.nn:GELU"}),
        Typed("torch.device", 1, {"name": "cpu"}),
        Typed("module", 1, module | {"attributes": Ref(7)}),
        mapping({"inplace": False}),
    ]
    return native(Ref(0), nodes)


@accept
def keysets() -> bytes:
    """Keys of more than one map stand once, also where they are the tails of names."""
    tensors = Tensors()
    first, second = (tensors.add(f"{layer}.weight", "uint8", (1,)) for layer in "ab")
    lone = tensors.add("bias", "uint8", (1,))
    maps = [
        mapping({"weight": first}),
        mapping({"x": 1, "y": 2}),
        mapping({"weight": second}),
        mapping({"x": 1, "y": lone}),
        mapping({"y": 1, "x": 2}),
        mapping({"x": 1}),
        mapping({"weight": None}),
        mapping({"bias": lone}),
        *[Map((), ())] * 2,
        *[mapping({"é": 1, "": 2})] * 2,
        *[mapping({"\ud800": 1})] * 2,
        *[mapping({1: "a"}), mapping({True: "a"})] * 2,
        *[mapping({"a": 1, b"a": 1})] * 2,
        *[mapping({"a": 1, None: 1})] * 2,
    ]
    return native(Ref(0), [Seq("list", tuple(Ref(i + 1) for i in range(len(maps)))), *maps], tensors)


@accept
def opaque() -> bytes:
    nodes = [
        Opaque("call", {"function": "posixpath:join", "args": Ref(1), "itself": Ref(0)}),
        Seq("tuple", ("a", b"b")),
    ]
    return native(Ref(0), nodes)


def clock(hour: int, minute: int, second: int, microsecond: int, fold: int, zone: Any) -> dict[str, Any]:
    """Fields of a time."""
    fields = {"hour": hour, "minute": minute, "second": second, "microsecond": microsecond, "fold": fold}
    return fields | {"timezone": zone}


def date_of(year: int, month: int, day: int) -> dict[str, Any]:
    """Fields of a date."""
    return {"year": year, "month": month, "day": day}


def zone_of(days: int, seconds: int, microseconds: int = 0, **name: str) -> Typed:
    """A time zone."""
    return one("timezone", offset=one("timedelta", days=days, seconds=seconds, microseconds=microseconds), **name)


def point(cls: str, names: Iterable[str], *items: Any) -> Typed:
    """A namedtuple."""
    return Typed("namedtuple", 1, {"class": cls, "names": several(*names), "items": several(*items)})


def member(cls: str, *names: str) -> Typed:
    """A member of an enum, or what several make together."""
    return Typed("enum", 1, {"class": cls, "members": several(*names)})


DECIMALS = ["0", "-0", "0.00", "0E+3", "1.10", "-12.5", "100", "1E+2", "0.000001", "1E-7", "1.5E-10", "1.23E+5"]
DECIMALS += ["Infinity", "-Infinity", "NaN", "-NaN123", "sNaN", "1" * 60, "1E+999999999999999999"]
DECIMALS += ["-9.9E+999999999999999999", "1E-1999999999999999997", "0E-1999999999999999997"]
POSIX = [".", "..", "/", "//", "a", "/a/b.txt", "//a", "../a/..", "a b", "~", "a\\b", "C:", "é", "\ud800", "\0", "a."]
WINDOWS = [".", "..", "C:", "C:a", "C:\\", "C:\\a\\b", "\\a", "a\\..", "\\\\host\\share\\", "\\\\host\\share\\a"]
DTYPES = ["|b1", "|i1", "|u1", "<c8", "<c16", ">c8", ">c16", "<U1", ">U999999", "|S1", "|S999999"]
DTYPES += [f"{order}{kind}{size}" for order in "<>" for kind in "iuf" for size in (2, 4, 8)]
DTYPES += ["<M8", ">m8", "<m8[2M]", ">M8[25s]", ">m8[999999as]"]
DTYPES += [f"<M8[{unit}]" for unit in ("Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as")]


@accept
def library_kinds() -> bytes:
    """Values of Python's standard library: of each kind, with what is optional and without."""
    empty = Map((), ())
    of_int = one("class", name="builtins:int")
    partial = one("partial", function=of_int, args=several("ff"), keywords=mapping({"base": 16}))
    itself = Seq("list", (1,))
    unnamed, named = zone_of(0, 5400), zone_of(-1, 82800, name="UTC-01:00 or so")
    longest = 2**16384 - 1
    root = Seq("list", (
        one("defaultdict", factory=None, items=empty),
        one("defaultdict", factory=one("class", name="builtins:list"), items=mapping({"a": itself, 1: None})),
        one("defaultdict", factory=of_int, items=mapping({"a": 1})),
        one("defaultdict", factory=partial, items=Map((), ())),
        one("defaultdict", factory=one("function", name="models:activation"), items=mapping({None: itself})),
        one("Counter", items=mapping({"a": 2, "b": -1, "c": 0.5})),
        one("Counter", items=Map((), ()), attributes=mapping({"note": "kept"})),
        one("deque", items=several(1, itself), maxlen=None),
        one("deque", items=several(1, 2), maxlen=2),
        one("deque", items=several(), maxlen=0),
        one("deque", items=several("a"), maxlen=2**63 - 1),
        one("Namespace", attributes=mapping({"lr": 0.1, "layers": itself, "a b": 1, "": 2, "_": 3})),
        one("Namespace", attributes=Map((), ())),
        one("SimpleNamespace", attributes=mapping({"args": one("Namespace", attributes=mapping({"seed": 1}))})),
        point("models:Point", "xy", 1, itself),
        point("models:Größe", ("höhe", "match", "x_", "Type"), 1.5, None, "a", several()),
        point("models:Nothing", ()),
        member("models:Colour", "RED"),
        member("models:Mode", "READ", "WRITE"),
        member("models:Mode"),
        one("enum", **{"class": "models:Mode"}, members=several("READ"), rest=8),
        one("enum", **{"class": "models:Mode"}, members=several(), rest=2**64 - 1),
        one("slice", start=None, stop=10, step=None),
        one("slice", start=several(1, "a"), stop=itself, step=True),
        one("range", start=0, stop=10, step=1),
        one("range", start=2**70, stop=-5, step=-(2**64)),
        one("Ellipsis"),
        several(one("slice", start=None, stop=None, step=None), one("Ellipsis")),
        *[one("path", flavour="posix", pure=i % 2 == 0, text=text) for i, text in enumerate(POSIX)],
        *[one("path", flavour="windows", pure=i % 2 == 0, text=text) for i, text in enumerate(WINDOWS)],
        *[one("date", **date_of(*day)) for day in ((1, 1, 1), (2024, 2, 29), (2000, 2, 29), (9999, 12, 31))],
        one("time", **clock(0, 0, 0, 0, 0, None)),
        one("time", **clock(23, 59, 59, 999_999, 1, unnamed)),
        one("datetime", **date_of(1, 1, 1), **clock(0, 0, 0, 0, 0, named)),
        one("datetime", **date_of(9999, 12, 31), **clock(23, 59, 59, 999_999, 1, None)),
        one("timedelta", days=-999_999_999, seconds=0, microseconds=0),
        one("timedelta", days=999_999_999, seconds=86_399, microseconds=999_999),
        unnamed,
        named,
        *[zone_of(0, 0), zone_of(0, 0, name="UTC"), zone_of(0, 0, name="")],
        *[zone_of(-1, 0, 1), zone_of(0, 86_399, 999_999)],
        *[one("ZoneInfo", key=key) for key in ("UTC", "Etc/GMT+5", "America/North_Dakota/Center", "a" * 255)],
        one("time", **clock(1, 2, 3, 4, 0, one("ZoneInfo", key="Europe/Berlin"))),
        one("datetime", **date_of(2024, 10, 27), **clock(2, 30, 0, 0, 1, one("ZoneInfo", key="Europe/Berlin"))),
        one("UUID", hex="0123456789abcdef" * 2),
        one("UUID", hex="0" * 32, safe="safe"),
        one("UUID", hex="f" * 32, safe="unsafe"),
        *[one("Decimal", text=text) for text in DECIMALS],
        *[one("Fraction", numerator=n, denominator=d) for n, d in ((-1, 3), (0, 1), (longest, 2**16383))],
        one("Random", state=pattern(2496) + struct.pack("<I", 624), gauss=None),
        one("Random", state=pattern(2496) + struct.pack("<I", 0), gauss=-0.5),
    ))  # fmt: skip
    classes = dict.fromkeys(
        ["models:Point", "models:Colour", "models:Mode", "models:Größe", "models:Nothing"], ClassInfo()
    )
    return native(Ref(0), numbered(root), classes=classes)


@accept
def library_kinds_on_cycles() -> bytes:
    """Containers may hold themselves, and what cannot change may be in a container that it holds."""
    nodes = [
        Typed("deque", 1, {"items": Ref(1), "maxlen": None}),
        Seq("tuple", (Ref(0), Ref(2))),
        Typed("defaultdict", 1, {"factory": Ref(3), "items": Ref(7)}),
        Typed("partial", 1, {"function": Ref(4), "args": Ref(5), "keywords": Ref(6)}),
        Typed("class", 1, {"name": "builtins:dict"}),
        Seq("tuple", (Ref(2), Ref(0))),
        Map((), ()),
        mapping({"me": Ref(2), "counter": Ref(8)}),
        Typed("Counter", 1, {"items": Ref(9), "attributes": Ref(10)}),
        mapping({"a": Ref(8)}),
        mapping({"me": Ref(8), "arguments": Ref(11)}),
        Typed("Namespace", 1, {"attributes": Ref(12)}),
        mapping({"me": Ref(11), "other": Ref(13)}),
        Typed("SimpleNamespace", 1, {"attributes": Ref(14)}),
        mapping({"me": Ref(13), "point": Ref(15), "slice": Ref(18)}),
        Typed("namedtuple", 1, {"class": "models:Point", "names": Ref(16), "items": Ref(17)}),
        Seq("tuple", ("x", "y")),
        Seq("tuple", (Ref(13), Ref(0))),
        Typed("slice", 1, {"start": Ref(13), "stop": Ref(0), "step": None}),
    ]
    return native(Ref(0), nodes, classes={"models:Point": ClassInfo()})


def derived(cls: str, value: Any, **attributes: Any) -> Typed:
    """An object of a class that derives from a builtin."""
    more = {"attributes": mapping(attributes)} if attributes else {}
    return one("derived", **{"class": cls}, value=value, **more)


@accept
def derived_kinds() -> bytes:
    """Objects of classes that derive from a builtin: from each, with attributes of their own and without."""
    tensors = Tensors()
    text = tensors.add(RESERVED + "text", "uint8", (3,), data=b"abc")
    itself = Seq("list", (1,))
    root = Seq("list", (
        derived("models:Config", mapping({"lr": 0.1, "layers": itself, 1: None}), frozen=True),
        derived("models:Config", Map((), ())),
        derived("models:Steps", Seq("list", (1, itself))),
        derived("models:Shape", several(1, 2), note=itself),
        derived("models:Shape", several()),
        derived("models:Tags", Seq("set", (1, "a"))),
        derived("models:Fixed", Seq("frozenset", ("a",))),
        derived("models:Ordered", one("OrderedDict", items=mapping({"b": 1, "a": 2}))),
        derived("models:Groups", one("defaultdict", factory=one("class", name="builtins:list"), items=Map((), ()))),
        derived("models:Counts", one("Counter", items=mapping({"a": 2}))),
        derived("models:Window", one("deque", items=several(1, 2), maxlen=2), full=True),
        derived("models:Name", "x", origin="file"),
        derived("models:Name", one("str", data=text)),
        derived("models:Raw", b"abc"),
        *[derived("models:Number", number) for number in (7, 2**70, 0.5, float("nan"), 1 - 2j)],
    ))  # fmt: skip
    names = ("Config", "Steps", "Shape", "Tags", "Fixed", "Ordered", "Groups", "Counts", "Window", "Name", "Raw")
    classes = {f"models:{name}": ClassInfo() for name in (*names, "Number")}
    return native(Ref(0), numbered(root), tensors, classes=classes)


@accept
def derived_on_cycles() -> bytes:
    """What derives from a container that can change may hold itself, and be held by what derives from a tuple in it."""
    nodes = [
        Typed("derived", 1, {"class": "models:Config", "value": Ref(1), "attributes": Ref(6)}),
        mapping({"me": Ref(0), "shape": Ref(2)}),
        Typed("derived", 1, {"class": "models:Shape", "value": Ref(3)}),
        Seq("tuple", (Ref(0), Ref(4))),
        Typed("derived", 1, {"class": "models:Steps", "value": Ref(5)}),
        Seq("list", (Ref(4), Ref(2))),
        mapping({"me": Ref(0)}),
    ]
    classes = dict.fromkeys(["models:Config", "models:Shape", "models:Steps"], ClassInfo())
    return native(Ref(0), nodes, classes=classes)


@accept
def arrays() -> bytes:
    """Values of numpy, and small ones of torch."""
    tensors = Tensors()

    def array(dtype: str, data: TensorRef, *, writeable: bool = True) -> Typed:
        return one("numpy.ndarray", dtype=dtype, data=data, writeable=writeable)

    def beside(name: str, dtype: str, shape: tuple[int, ...], **more: Any) -> TensorRef:
        return tensors.add(RESERVED + name, dtype, shape, **more)

    names = tensors.stored(RESERVED + "names", "uint8", (2, 8), data="ab\U0010ffff\0".encode("utf-32-le"))
    numbers = tensors.stored("numbers", "float32", (2, 3))
    turned = "漢字é\ud800".encode("utf-32-be", "surrogatepass")
    held = [
        array("<U2", tensors.of(names)),
        array("<U1", tensors.of(names, view=View("uint8", (2, 1000, 4), (8, 0, 1), 4)), writeable=False),
        array("<f4", tensors.of(numbers)),
        tensors.of(numbers),
        array("<i2", tensors.of(numbers, view=View("int16", (3, 2), (2, 6), 1)), writeable=False),
        array("|b1", beside("flags", "bool", (3,))),
        array("<c16", beside("complex", "complex128", ())),
        array("<u8", beside("nothing", "uint64", (0, 3))),
        array(">i4", beside("turned", "uint8", (2, 2, 4))),
        array(">U1", beside("big", "uint8", (2, 2, 4), strides=(4, 8, 1), data=turned)),
        array("|S1", beside("letters", "uint8", (3, 1))),
        array("|S3", beside("words", "uint8", (3,))),
        array("<M8[ns]", beside("days", "uint8", (1, 8))),
        array("<U5", beside("no texts", "uint8", (0, 20))),
    ]
    scalars = [("|b1", b"\1"), ("|i1", b"\xff"), ("|u1", b"\xff"), ("<i8", b"\xff" * 8), ("<f2", b"\0\x3c")]
    scalars += [("<f4", b"\0\0\xc0\x7f"), ("<c8", b"\1" * 8), ("<c16", b"\0" * 16), ("U", b""), ("S", b"\xff\0")]
    scalars += [
        ("U", "h\u00e9llo\0\ud800".encode("utf-8", "surrogatepass")),
        ("<M8[D]", b"\0" * 7 + b"\x80"),
        ("<m8", b"\1" * 8),
    ]
    root = Seq("list", (
        *held,
        *[one("numpy.scalar", dtype=dtype, data=data) for dtype, data in scalars],
        *[one("numpy.dtype", name=name) for name in DTYPES],
        *[one("torch.memory_format", name=name) for name in ("contiguous_format", "channels_last")],
        *[one("torch.layout", name=name) for name in ("strided", "sparse_coo")],
        *[one("class", name=f"{module}:{name}") for module, name in (("numpy", "float32"), ("builtins", "NoneType"))],
    ))  # fmt: skip
    return native(Ref(0), numbered(root), tensors)


@accept
def tensors_that_are_nodes() -> bytes:
    """Sparse, quantized, nested and jagged tensors, one without values, and two of subclasses."""
    tensors = Tensors()

    def inner(name: str, dtype: str, *shape: int, values: Iterable[int] = ()) -> TensorRef:
        code = {"int64": "q", "int32": "i"}.get(dtype)
        packed = struct.pack(f"<{math.prod(shape)}{code}", *values) if code else None
        return tensors.add(RESERVED + name, dtype, shape, data=packed)

    def sizes(*numbers: int) -> Seq:
        return Seq("tuple", numbers)

    def coo(name: str, indices: tuple[int, ...], nnz: int, *, coalesced: bool, **more: Any) -> Typed:
        held = inner(f"{name}.indices", "int64", len(indices) // nnz, nnz, values=indices)
        return one("torch.sparse", layout="sparse_coo", shape=sizes(2, 3), compressed=None, indices=held,
                   values=inner(f"{name}.values", "float32", nnz), coalesced=coalesced, **more)  # fmt: skip

    csr = one("torch.sparse", layout="sparse_csr", shape=sizes(2, 3),
              compressed=inner("csr.compressed", "int32", 3, values=(0, 1, 3)),
              indices=inner("csr.indices", "int32", 3, values=(2, 0, 1)),
              values=inner("csr.values", "bfloat16", 3), coalesced=False, flags=3)  # fmt: skip
    byte = one("torch.quantized", dtype="quint8", shape=sizes(2, 2), data=inner("q.data", "uint8", 2, 2), scale=0.5,
               zero_point=-3, axis=None, flags=2)  # fmt: skip
    channels = one("torch.quantized", dtype="quint4x2", shape=sizes(2, 3), data=inner("q4.data", "uint8", 4),
                   scale=inner("q4.scale", "float32", 2), zero_point=inner("q4.zero_point", "float32", 2), axis=0,
                   flags=0)  # fmt: skip
    nested = one("torch.nested", values=inner("n.values", "float16", 8),
                 sizes=inner("n.sizes", "int64", 2, 2, values=(1, 2, 3, 2)),
                 strides=inner("n.strides", "int64", 2, 2, values=(2, 1, 2, 1)),
                 offsets=inner("n.offsets", "int64", 2, values=(0, 2)), flags=1)  # fmt: skip
    jagged = one("torch.jagged", values=inner("j.values", "float64", 5, 2),
                 offsets=inner("j.offsets", "int64", 3, values=(0, 2, 5)),
                 lengths=inner("j.lengths", "int64", 2, values=(1, 3)), ragged_dim=1, min_length=1, max_length=None,
                 flags=0)  # fmt: skip
    view = one("tensor_subclass", **{"class": "a:Image"}, data=inner("s.data", "uint8", 2, 2), flags=0,
               attributes=mapping({"space": "sRGB"}))  # fmt: skip
    wrapped = one("wrapper_tensor", **{"class": "a:Scaled"},
                  tensors=mapping({"data": inner("w.data", "int8", 2), "mask": csr, "scale": None}),
                  context=mapping({"dtype": "float32"}), shape=sizes(2), strides=sizes(1), flags=2)  # fmt: skip
    meta = one("torch.meta", dtype="complex128", shape=sizes(2, 0), strides=sizes(1, 7), flags=0)
    sparse = coo("coo", (0, 1, 2, 0), 2, coalesced=True, flags=0)
    layer = one("module", **{"class": "torch.nn:Module"}, training=True, parameters=mapping({"weight": wrapped}),
                buffers=mapping({"graph": sparse}))  # fmt: skip
    hybrid = coo("hybrid", (1, 1), 2, coalesced=False, flags=2, attributes=mapping({"name": "x"}))
    hybrid.fields["values"] = inner("hybrid rows", "float32", 2, 3)
    held = [hybrid, byte, channels, nested, jagged, view, meta, layer, Map((meta,), ("a tensor as a key",))]
    return native(Ref(0), *in_walking_order(Seq("list", tuple(held)), tensors))


@accept
def generators() -> bytes:
    states = (b"", bytes(16))
    return native(
        Ref(0), numbered(several(*[one("torch.Generator", device="cuda:0", state=state) for state in states]))
    )


@accept
def generators_of_numpy() -> bytes:
    """Each that makes bits, one that two generators share, and seeds of both forms."""
    seed = one("numpy.SeedSequence", entropy=2**127, spawn_key=several(), pool_size=4, spawned=0)
    many = one(
        "numpy.SeedSequence", entropy=several(1, 2**1024 - 1), spawn_key=several(3), pool_size=64, spawned=2**32 - 1
    )
    half = struct.pack("<II", 1, 7)
    twister = one("numpy.BitGenerator", name="MT19937", state=pattern(2496) + struct.pack("<I", 624), seed=None)
    pcg, dxsm, sfc = (
        one("numpy.BitGenerator", name=name, state=pattern(32) + half, seed=seed)
        for name in ("PCG64", "PCG64DXSM", "SFC64")
    )
    philox = one("numpy.BitGenerator", name="Philox", state=pattern(80) + struct.pack("<I", 4) + half, seed=many)
    root = Seq("list", (
        twister,
        *[one("numpy.RandomState", bit_generator=twister, gauss=gauss) for gauss in (None, 0.5)],
        *[one("numpy.Generator", bit_generator=made) for made in (pcg, dxsm, sfc, philox)],
        many,
    ))  # fmt: skip
    return native(Ref(0), numbered(root))


@accept
def averaging() -> bytes:
    """Functions of running averages, with each sort of number."""
    made = [
        {"function": name, "decay": decay} for name in ("get_ema_avg_fn", "get_ema_multi_avg_fn") for decay in (0.9, 1)
    ]
    made += [{"function": "get_swa_avg_fn"}, {"function": "get_swa_multi_avg_fn"}]
    return native(Ref(0), numbered(several(*[one("torch.averaging", **fields) for fields in made])))


@accept
def keys_of_library_kinds() -> bytes:
    """Every kind that may be a key, also in a tuple, a frozenset and a namedtuple."""
    moment = one("datetime", **date_of(2024, 2, 29), **clock(12, 0, 0, 0, 0, zone_of(0, 3600)))
    keys = [
        one("range", start=0, stop=10, step=2),
        one("Ellipsis"),
        member("models:Colour", "RED"),
        member("models:Colour"),
        *[one("path", flavour=flavour, pure=True, text="a") for flavour in ("posix", "windows")],
        *[one("path", flavour="posix", pure=False, text=text) for text in (".", "b")],
        one("date", **date_of(2024, 2, 29)),
        one("datetime", **date_of(2024, 2, 29), **clock(0, 0, 0, 0, 0, None)),
        moment,
        one("time", **clock(12, 0, 0, 0, 0, None)),
        one("time", **clock(12, 0, 0, 0, 0, zone_of(0, 0))),
        one("timedelta", days=0, seconds=3600, microseconds=0),
        zone_of(0, 7200, name="CEST"),
        *[one("ZoneInfo", key=key) for key in ("UTC", "Etc/UTC", "Nowhere")],
        *[one("datetime", **date_of(2024, 1, d), **clock(1, 0, 0, 0, 0, one("ZoneInfo", key="UTC"))) for d in (1, 2)],
        *[one("UUID", hex=digit * 32) for digit in "0f"],
        *[one("Decimal", text=text) for text in ("2.50", "0.1", "NaN", "NaN", "Infinity", "1E+999999999999999999")],
        *[one("Fraction", numerator=n, denominator=d) for n, d in ((1, 3), (7, 1))],
        one("torch.memory_format", name="channels_last"),
        one("torch.layout", name="strided"),
        *[one("numpy.scalar", dtype=dtype, data=data) for dtype, data in (("<i4", b"\x09\0\0\0"), ("S", b"s"))],
        one("numpy.dtype", name="<f4"),
        point("models:Point", "xy", 1, several(moment, "a")),
        several(one("Fraction", numerator=1, denominator=3), 1),
        Seq("frozenset", (one("date", **date_of(1, 1, 1)), 1)),
    ]
    scalars = (0.1, 8, "a", b"b", None)
    entries = Map((*keys, *scalars), tuple(range(len(keys) + len(scalars))))
    most = several(*[moment] * 333)
    fields = [f"f{i}" for i in range(498)]
    widest = point("models:Wide", fields, *range(498))
    root = Seq("list", (entries, Seq("set", tuple(keys)), Seq("set", (most, widest))))
    classes = dict.fromkeys(["models:Colour", "models:Point", "models:Wide"], ClassInfo())
    return native(Ref(0), numbered(root), classes=classes)


@accept
def keys_of_long_text() -> bytes:
    """Long bytes and texts weigh as much as short ones."""
    tensors = Tensors()
    text, blob = (tensors.add(RESERVED + name, "uint8", (4,)) for name in ("text", "blob"))
    key = several(*range(997), one("str", data=text), one("bytes", data=blob))
    return native(Ref(0), numbered(Map((key,), (1,))), tensors)


@accept
def module_tree() -> bytes:
    tensors = Tensors()
    trainable = PARAMETER | REQUIRES_GRAD
    weight = tensors.stored("encoder.weight", "float32", (2, 3))
    tied = tensors.of(weight, flags=trainable)
    mean = tensors.add("mean", "float32", (2,))
    scratch = tensors.add(RESERVED + "scratch", "float32", (2,))
    cache = tensors.add(RESERVED + "cache", "float32", (2,))
    own = tensors.of(weight, flags=trainable)
    bias = tensors.add("encoder.bias", "float32", (2,), flags=trainable)
    extra = tensors.add("_extra_state", "uint8", (2,))
    linear = "torch.nn:Linear"
    net = {"class": "models:Net", "training": False, "parameters": Ref(1), "buffers": Ref(2)}
    net |= {"non_persistent": Ref(3), "modules": Ref(4), "attributes": Ref(8)}
    nodes = [
        Typed("module", 1, net | {"extra_state": extra, "hooks": Ref(11)}),
        mapping({"tied": tied, "absent": None}),
        mapping({"mean": mean, "scratch": scratch, "cache": cache, "Öl": None, "none": None, "Zinc": None}),
        Seq("tuple", ("Zinc", "cache", "scratch", "Öl")),
        mapping({"encoder": Ref(5), "again": Ref(5), "missing": None}),
        Typed("module", 1, {"class": linear, "training": True, "parameters": Ref(6), "attributes": Ref(7)}),
        mapping({"weight": own, "bias": bias}),
        mapping({"in_features": 3, "out_features": 2}),
        mapping({"dims": Ref(9), "forward_twice": Ref(10), "a.b": 1, "_private": True}),
        Seq("list", (1, 2)),
        Typed("method", 1, {"self": Ref(0), "name": "forward"}),
        Seq("tuple", ("forward hook",)),
    ]
    return native(Ref(0), nodes, tensors, classes={"models:Net": ClassInfo(1, None, "models 1.0")})


@accept
def programs() -> bytes:
    """A computation beside a module: its text in the header, or in the data where it is long."""
    tensors = Tensors()
    weight = tensors.add("weight", "float32", (2,), flags=PARAMETER | REQUIRES_GRAD)
    constant = tensors.add(RESERVED + "constant", "float32", ())
    long = tensors.add(RESERVED + "text", "uint8", (40,))
    nodes = [
        Seq("list", (Ref(1), Ref(5))),
        Typed("module", 1, {"class": "models:Net", "training": False, "parameters": Ref(2), "program": Ref(3)}),
        mapping({"weight": weight}),
        Typed("program", 1, {"summary": "eval", "text": b"{}", "constants": Ref(4)}),
        Seq("tuple", (constant, constant)),
        Typed("module", 1, {"class": "models:Net", "training": True, "program": Ref(6)}),
        Typed("program", 1, {"summary": "", "text": Ref(7), "constants": Ref(8)}),
        Typed("bytes", 1, {"data": long}),
        Seq("tuple", ()),
    ]
    return native(Ref(0), nodes, tensors)


def example_of(*args: Any, outputs: Sequence[Typed] = (), random: bool = False, **keywords: Any) -> Typed:
    """A call, and what it returned."""
    fields = {"args": several(*args), "keywords": mapping(keywords), "random": random, "outputs": several(*outputs)}
    return one("golden.example", **fields)


def output_of(where: str, value: Any, scale: float = 0.5, tolerance: float = 1e-6, **evidence: float) -> Typed:
    """One output of a call."""
    fields = {"where": where, "value": value, "scale": scale, "tolerance": tolerance, "evidence": mapping(evidence)}
    return one("golden.output", **fields)


def sample_of(sample: TensorRef, dtype: str, *shape: int, **more: Any) -> Typed:
    """What is kept of a large output."""
    fields = {"dtype": dtype, "shape": several(*shape), "digest": "0123456789abcdef", "finite": 7, "minimum": -1.0}
    fields |= {"maximum": 2.5, "mean": 0.0, "deviation": 1.0, "sample": sample}
    return one("golden.sampled", **(fields | more))


def golden_of(*examples: Typed, modules: dict[str, Any] | None = None) -> Typed:
    """A module with golden outputs."""
    golden = one("golden", environment=mapping({"cpu": "AVX2", "threads": "2"}), examples=several(*examples))
    inner = {"modules": mapping(modules)} if modules else {}
    return Typed("module", 1, {"class": "models:Net", "training": False} | inner | {"golden": golden})


@accept
def golden_outputs() -> bytes:
    """Examples of every form, with outputs of every sort; a module may have no example, and a call no output."""
    tensors = Tensors()

    def tensor(name: str, dtype: str, *shape: int) -> TensorRef:
        return tensors.add(f"{RESERVED}golden.{name}", dtype, shape)

    deep: Any = tensor("deep", "int64", 2)
    for _ in range(63):
        deep = Seq("list", (deep,))
    mixed = Map((None, True, 2, "three"), (None, False, 3, "text"))
    same = one("torch.dtype", name="float32")
    first = example_of(
        tensor("x", "float32", 2, 3),
        mapping({"batch": Seq("list", (tensor("mask", "bool", 2), mixed, several()))}),
        one("golden.object", sequence=False, parts=mapping({"ids": tensor("ids", "uint8", 2), "none": None})),
        one("golden.object", sequence=True, parts=mapping({})),
        one("OrderedDict", items=mapping({"scale": 0.5, "by": one("slice", start=None, stop=3, step=None)})),
        deep,
        dtype=same,
        again=same,
        device=one("torch.device", name="cpu"),
        layout=one("torch.layout", name="strided"),
        memory=one("torch.memory_format", name="channels_last"),
        rest=one("Ellipsis"),
        outputs=[
            output_of("['logits']", tensor("logits", "float32", 2, 4), float64=1e-7, batch=0.0, threads=0.0),
            output_of("['hidden']", sample_of(tensor("hidden", "bfloat16", 1024), "bfloat16", 100, 200, finite=20000)),
            output_of("['small']", sample_of(tensor("small", "complex64", 6), "complex64", 2, 3, finite=0)),
            output_of("['none']", sample_of(tensor("none", "int8", 0), "int8", 0, 2**61, finite=0)),
            output_of("['flag']", True),
            output_of("['count']", 2**60),
            output_of("['loss']", math.nan, 0.0, 0.0),
            output_of("['text']", "same"),
        ],
    )
    second = example_of(outputs=[output_of("", tensor("all", "float64"))], random=True)
    return native(
        Ref(0), *in_walking_order(golden_of(first, second, example_of(), modules={"a": golden_of()}), tensors)
    )


def normed(cls: str, *hooks: Typed, **fields: Any) -> Typed:
    """A module with hooks that compute."""
    return Typed("module", 1, {"class": cls, "training": True} | fields | {"computed": several(*hooks)})


@accept
def computed() -> bytes:
    """Hooks of each sort: along each dimension, with what they computed and without."""
    tensors = Tensors()
    trainable = PARAMETER | REQUIRES_GRAD

    def norm(name: str, dim: int, shape: tuple[int, ...], norms: tuple[int, ...], dtype: str = "float32") -> Typed:
        parameters = {f"{name}_g": tensors.add(f"{name}.{dim}.g", dtype, norms, flags=trainable)}
        parameters[f"{name}_v"] = tensors.add(f"{name}.{dim}.v", dtype, shape, flags=trainable)
        return normed("torch.nn:Linear", one("torch.weight_norm", name=name, dim=dim), parameters=mapping(parameters))

    def spectral(dim: int, u: int, v: int, iterations: int, eps: Any) -> Typed:
        weight = tensors.add(f"spectral.{dim}", "float64", (2, 3), flags=trainable)
        vectors = {"w_u": tensors.add(f"u.{dim}", "float64", (u,)), "w_v": tensors.add(f"v.{dim}", "float64", (v,))}
        hook = one("torch.spectral_norm", name="w", dim=dim, power_iterations=iterations, eps=eps)
        fields = {"parameters": mapping({"w_orig": weight}), "buffers": mapping(vectors)}
        return normed("models:Net", hook, **fields, attributes=mapping({"w": weight}) if dim else mapping({"a": 1}))

    def method(name: str, **attributes: Any) -> Typed:
        given = {"attributes": mapping(attributes)} if attributes else {}
        return Typed("pruning_method", 1, {"class": name} | given)

    def pruned(name: str, dtype: str, *methods: Typed, container: bool, shape: tuple[int, ...] = (2,)) -> Typed:
        weight = tensors.add(f"pruned.{name}", dtype, shape, flags=trainable)
        mask = tensors.add(f"mask.{name}", "bool", shape)
        if not (methods or container):
            custom = tensors.add(f"custom.{name}", "float32", (3,))
            methods = (method(torch + "CustomFromMask", mask=custom),)
        hook = one("torch.prune", name=name, methods=several(*methods), container=container)
        fields = {"parameters": mapping({f"{name}_orig": weight}), "buffers": mapping({f"{name}_mask": mask})}
        return normed("models:Net", hook, **fields)

    torch = "torch.nn.utils.prune:"
    module = Seq("list", (
        norm("weight", 0, (2, 3), (2, 1)), norm("weight", -1, (2, 3), ()), norm("weight", -2, (2, 3), (2, 1)),
        norm("bias", 0, (2,), (2,), "bfloat16"), norm("weight", 1, (2, 3, 1), (1, 3, 1)),
        spectral(0, 2, 3, 1, 1e-12), spectral(1, 3, 2, 10_000, 0),
        pruned("a", "float32", method(torch + "L1Unstructured", amount=0.5), container=False),
        pruned("b", "complex64", method(torch + "Identity"), container=True),
        pruned("c", "float16", method(torch + "RandomUnstructured", amount=1),
               method(torch + "RandomStructured", amount=0, dim=-1),
               method(torch + "LnStructured", n="fro", dim=0, amount=1.0),
               method(torch + "LnStructured", amount=2, n=float("inf"), dim=1), container=True),
        pruned("d", "float32", container=False, shape=()),
        pruned("e", "float32", container=True),
        pruned("f", "float32", method("models:Magnitude", threshold=0.1), container=False),
        pruned("g", "float32", method("models:Nothing"), container=False),
    ))  # fmt: skip
    classes = dict.fromkeys(["models:Net", "models:Magnitude", "models:Nothing"], ClassInfo())
    return native(Ref(0), numbered(module), tensors, classes=classes)


@accept
def lazy() -> bytes:
    """Modules that have no shapes yet, in part or whole, and what has none elsewhere."""
    tensors = Tensors()

    def blank(dtype: str, parameter: bool, requires_grad: bool, **attributes: Any) -> Typed:
        given = {"attributes": mapping(attributes)} if attributes else {}
        return one("torch.uninitialized", dtype=dtype, parameter=parameter, requires_grad=requires_grad, **given)

    weight = blank("float32", True, True)
    own, count = blank("float32", False, False), tensors.add("count", "int64", ())
    own.fields["attributes"] = mapping({"itself": own, "persistent": True})
    linear = Typed("module", 1, {
        "class": "torch.nn:LazyLinear", "training": True, "parameters": mapping({"weight": weight, "bias": None}),
        "lazy": True,
    })  # fmt: skip
    norm = Typed("module", 1, {
        "class": "torch.nn:LazyBatchNorm1d", "training": False,
        "parameters": mapping({"weight": blank("bfloat16", True, False), "bias": weight}),
        "buffers": mapping({"mean": own, "count": count, "odd": blank("int8", True, False)}),
        "non_persistent": several("mean"), "lazy": True,
    })  # fmt: skip
    return native(Ref(0), numbered(Seq("list", (linear, norm, weight, blank("complex64", False, True)))), tensors)


@accept
def optimizer() -> bytes:
    tensors = Tensors()
    weight = tensors.add("model.weight", "float32", (2,), flags=PARAMETER | REQUIRES_GRAD)
    step = tensors.add("optimizer.state.0.step", "float32", ())
    average = tensors.add("optimizer.state.0.exp_avg", "float32", (2,))
    nodes = [
        mapping({"model": Ref(1), "optimizer": Ref(3), "epoch": 3}),
        Typed("module", 1, {"class": "torch.nn:Linear", "training": True, "parameters": Ref(2)}),
        mapping({"weight": weight}),
        Typed(
            "optimizer",
            1,
            {
                "class": "torch.optim:AdamW",
                "defaults": Ref(4),
                "state": Ref(6),
                "param_groups": Ref(8),
                "attributes": Ref(11),
            },
        ),
        mapping({"lr": 0.001, "betas": Ref(5)}),
        Seq("tuple", (0.9, 0.999)),
        mapping({weight: Ref(7)}),
        mapping({"step": step, "exp_avg": average}),
        Seq("list", (Ref(9),)),
        mapping({"params": Ref(10), "lr": 0.001, "betas": Ref(5)}),
        Seq("list", (weight,)),
        mapping({"note": "kept"}),
    ]
    return native(Ref(0), nodes, tensors)


@accept
def long_name() -> bytes:
    tensors = Tensors()
    return native(Ref(0), [mapping({"x": tensors.add("n" * 4095 + "x", "uint8", (1,))})], tensors)


@accept
def names() -> bytes:
    tensors = Tensors()
    odd = [
        "é",
        "漢字.重み",
        "😀",
        "e\u0301",
        'a"b',
        "a\\b",
        "a\nb",
        "a\0b",
        "../../etc/passwd",
        "C:\\nul",
        " ",
        "\u202e",
    ]
    entries = {i: tensors.add(name, "uint8", (1,)) for i, name in enumerate([*odd, RESERVED, "__proto__", "torchkeep"])}
    return native(Ref(0), [mapping(entries)], tensors)


@accept
def names_that_collide() -> bytes:
    tensors = Tensors()
    first = tensors.add("a.b", "uint8", (1,))
    second = tensors.add(RESERVED + "a.b", "uint8", (1,))
    third = tensors.add(RESERVED + "a.b~2", "uint8", (1,))
    nodes = [mapping({"a.b": first, "a": Ref(1), "__metadata__": third}), mapping({"b": second})]
    return native(Ref(0), nodes, tensors)


@accept
def findings() -> bytes:
    found = [
        Finding("hooks", "warning", "obj.encoder", "a forward hook cannot be saved: hooks are code.", "Register it."),
        Finding("trimmed", "note", 'obj["a"]', "uses 4 bytes of an allocation of 8000."),
        Finding("other", "error", "", ""),
    ]
    return native(None, findings=found, environment={"é": "", "z": "\n", "": "empty"})


@accept
def source_text() -> bytes:
    """Text of modules is kept as it is, also where it is no Python; what the file means is the same without it."""
    sources = {
        "net": SourceText("net", "from .layers import *\n"),
        "net.layers": SourceText("net", 'raise SystemExit("é\\\\ \\ufeff")\t# \u2028 \x7f\n'),
        "net.empty": SourceText("net.empty", ""),
        "space.inner.mod": SourceText("space.inner", "(" * 1000),
        "__main__": SourceText("net.layers", "import net\r\n"),
        "_9": SourceText("", "x = 1"),
    }
    return native(None, sources=sources)


# --- accepted: plain safetensors files ----------------------------------------------------------------


def entry(dtype: str, shape: Iterable[int], begin: int, end: int) -> dict[str, Any]:
    """One tensor of a header."""
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def dump(value: Any) -> bytes:
    """JSON without blanks."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def framed(header: bytes, data: bytes = b"") -> bytes:
    """A safetensors file of this header, whatever it holds."""
    return len(header).to_bytes(8, "little") + header + data


def plain(header: Any, data: bytes = b"") -> bytes:
    """A plain safetensors file."""
    return framed(dump(header), data)


ONE = {"a": entry("U8", [1], 0, 1)}


@accept
def plain_empty() -> bytes:
    return plain({})


@accept
def plain_simple() -> bytes:
    header = {"a": entry("F32", [2], 0, 8), "b": entry("I64", [], 8, 16)}
    return plain({"__metadata__": {"format": "pt"}} | header, pattern(16))


@accept
def plain_unordered() -> bytes:
    last = {"data_offsets": [0, 4], "shape": [4], "dtype": "I8"}
    return plain({"z": entry("F16", [3], 4, 10), "a": last, "__metadata__": {}}, pattern(10))


@accept
def plain_zero_sizes() -> bytes:
    header = {"a": entry("U8", [1], 0, 1), "b": entry("F64", [0], 1, 1), "c": entry("F32", [4, 0, 9], 0, 0)}
    return plain(header | {"d": entry("BOOL", [1], 1, 2)}, b"\1\0")


@accept
def plain_dtypes() -> bytes:
    header, cursor = {}, 0
    for dtype, listed in SAFETENSORS_NAME.items():
        nbytes = 2 if listed == "F4" else 2 * ITEMSIZE[dtype]
        header[listed] = entry(listed, [2, 2] if listed == "F4" else [2], cursor, cursor + nbytes)
        cursor += nbytes
    return plain(header, pattern(cursor))


@accept
def plain_metadata() -> bytes:
    metadata = {"dtype": "F32", "shape": "[]", "data_offsets": "", "": "\n", "Torchkeep": "no", "é": "😀"}
    metadata |= {"torchkeep_run": "12", "torchkeep.other": "", "torchkeep.digest": "", "torchkeep ": ""}
    return plain({"a": entry("U8", [1], 0, 1), "__metadata__": metadata}, b"x")


@accept
def plain_blanks() -> bytes:
    text = '{ "a" :\n\t{"shape":[ 1 , 1 ],\r\n"dtype":"\\u00558","data_offsets":[0,1] } }' + " " * 9 + "\n"
    return framed(text.encode(), b"x")


@accept
def plain_names() -> bytes:
    header = {}
    for i, name in enumerate(["", '"', "\\", "\0", "{}:,[]", '"a":', "é😀", "-1", RESERVED + "a"]):
        header[name] = entry("U8", [1], i, i + 1)
    return framed(json.dumps(header).encode(), pattern(9))


# --- refused: put together by hand --------------------------------------------------------------------


def spaced(text: bytes) -> bytes:
    """Header JSON with the padding that a torchkeep header has."""
    return text.ljust(-(-(8 + len(text)) // 4096) * 4096 - 8)


def sealed(header: bytes, data: bytes = b"") -> bytes:
    """A file whose header has its digest in its place, whatever else it holds."""
    raw = framed(header)
    at = 8 + len(PREFIX)
    zeroed = raw[:at] + b"0" * 16 + raw[at + 16 :]
    return raw[:at] + xxh3_64_hexdigest(zeroed).encode() + raw[at + 16 :] + data


def compact(nodes: Iterable[Any]) -> tuple[list[Any], list[Any], list[Any]]:
    """Records, keysets and nodes; of nodes in which ``["typed", kind, version, fields]`` stands for an object."""
    records: dict[bytes, int] = {}
    made: list[Any] = []
    maps: dict[str, list[Any]] = {}
    for node in nodes:
        if node[0] == "typed":
            _, kind, version, fields = node
            own = {name: value for name, value in fields.items() if name != "class"}
            record = dump([kind, version, fields.get("class"), list(own)])
            made.append(["o", records.setdefault(record, len(records)), list(own.values())])
        else:
            made.append(node)
        if node[0] == "map" and node[1:] and node[1] and all(isinstance(key, str) for key in node[1]):
            maps.setdefault(dump(node[1]).decode(), []).append(len(made) - 1)
    shared = [positions for positions in maps.values() if len(positions) > 1]
    keysets = [made[positions[0]][1] for positions in shared]
    for number, positions in enumerate(shared):
        for i in positions:
            made[i] = ["m", number, made[i][2]]
    return list(map(json.loads, records)), keysets, made


def text_of(root: Any = None, nodes: Iterable[Any] = (), **more: Any) -> str:
    """The JSON of a Document; `more` replaces top-level fields and fields of the tensor table."""
    records, keysets, nodes = compact(nodes)
    table: dict[str, Any] = {"differ": [], "strides": [], "stored": None, "flags": ""}
    table |= {"views": [], "lazy": [], "attributes": []}
    table |= {key: more.pop(key) for key in list(more) if key in table}
    wire: dict[str, Any] = {"version": "0.1", "environment": {}, "classes": [], "findings": []}
    wire |= {"records": records, "keysets": keysets, "root": root, "nodes": nodes, "tensors": table}
    return dump(wire | more).decode()


Row = tuple[str, str, list[int], bytes]
"""Name, dtype and shape as the header lists them, and bytes."""

A: Row = ("a", "F32", [2], pattern(8))
B: Row = ("b", "F32", [2], pattern(8, 1))
BYTE: Row = ("byte", "I8", [4], pattern(4, 2))
TEXT: Row = (RESERVED + "text", "U8", [4], b"text")


def listed(rows: Sequence[Row]) -> tuple[dict[str, Any], bytes]:
    """Entries of a header, in the order of their bytes, and those bytes."""
    entries, data = {}, b""
    for name, dtype, shape, content in rows:
        entries[name] = entry(dtype, shape, len(data), len(data) + len(content))
        data += content
    return entries, data


def header_of(text: str, rows: Sequence[Row] = ()) -> bytes:
    """The JSON of a torchkeep header, its own digest left as zeros."""
    column = "0" * 16 + "".join(xxh3_64_hexdigest(row[3]) for row in rows)
    return dump({"__metadata__": {"torchkeep.digests": column, "format": "pt", "torchkeep": text}} | listed(rows)[0])


def composed(text: str, rows: Sequence[Row] = ()) -> bytes:
    """A torchkeep file of this Document's text, right in everything else."""
    return sealed(spaced(header_of(text, rows)), listed(rows)[1])


def bad(name: str, why: str, *args: Any, rows: Sequence[Row] = (), **more: Any) -> None:
    """Register a file with this Document."""
    reject(name, why, lambda: composed(text_of(*args, **more), rows))


def bad_text(name: str, why: str, change: Callable[[str], str], *args: Any, **more: Any) -> None:
    """Register a file with this Document, its text changed."""
    rows = more.pop("rows", ())
    before = text_of(*args, **more)
    assert change(before) != before, name
    reject(name, why, lambda: composed(change(before), rows))


def bad_plain(name: str, why: str, header: Any, data: bytes = b"") -> None:
    """Register a plain file with this header."""
    reject(name, why, lambda: framed(header if isinstance(header, bytes) else dump(header), data))


def swapped(old: str, new: str) -> Callable[[str], str]:
    """Replace the first `old` by `new`."""
    return lambda text: text.replace(old, new, 1)


def _headers() -> None:
    bad_plain("H-3-no-shape", "a tensor without a shape", {"a": {"dtype": "U8", "data_offsets": [0, 1]}}, b"x")
    reject("H-1-too-short", "nine bytes: no room for a length and a header", lambda: b"\1" + b"\0" * 7 + b"{")
    reject("H-1-length-past-the-end", "the header is one byte longer than the file", lambda: b"\3" + b"\0" * 7 + b"{}")
    reject("H-1-length-2-to-the-63", "a length of 2^63", lambda: b"\0" * 7 + b"\x80" + b"{}" + b" " * 20)
    bad_plain("H-2-array", "the header is an array", b"[]")
    bad_plain("H-2-blank-first", "the header begins with a blank", b" {}")
    bad_plain("H-2-byte-order-mark", "the header begins with a byte order mark", b"\xef\xbb\xbf{}")
    bad_plain("H-2-not-utf8", "a name that is not UTF-8", dump(ONE).replace(b'"a"', b'"\xff"'), b"x")
    bad_plain("H-2-lone-surrogate", "an escape that is half of a pair", dump(ONE).replace(b'"a"', b'"\\ud800"'), b"x")
    bad_plain("H-2-control", "a raw control character in a name", dump(ONE).replace(b'"a"', b'"\n"'), b"x")
    bad_plain("H-2-nan", "NaN is no JSON", dump(ONE).replace(b"[1]", b"[NaN]"), b"x")
    bad_plain("H-2-comma", "a comma too many", dump(ONE).replace(b"[1]", b"[1,]"), b"x")
    bad_plain("H-2-tail", "a second value after the header's object", b"{}{}")
    bad_plain("H-2-nul-padding", "padded with NUL instead of blanks", b"{}\0\0")
    bad_plain("H-2-leading-zero", "01 is no JSON number", dump(ONE).replace(b"[1]", b"[01]"), b"x")
    bad_plain("H-2-deep", "ten thousand brackets", b'{"a":' + b"[" * 10000 + b"]" * 10000 + b"}")
    bad_plain("H-3-entry-is-array", "a tensor given as an array", {"a": ["U8", [1], [0, 1]]}, b"x")
    bad_plain("H-3-entry-is-null", "a tensor given as null", {"a": None})
    bad_plain("H-3-no-dtype", "a tensor without a dtype", {"a": {"shape": [1], "data_offsets": [0, 1]}}, b"x")
    bad_plain("H-3-no-offsets", "a tensor without offsets", {"a": {"dtype": "U8", "shape": [1]}}, b"x")
    for name, why, old, new in [
        ("float-size", "a size of 1.0", b"[1]", b"[1.0]"),
        ("exponent", "a size of 1e0", b"[1]", b"[1e0]"),
        ("minus-zero", "an offset of -0", b"[0,1]", b"[-0,1]"),
        ("true-size", "a size that is true", b"[1]", b"[true]"),
        ("text-size", "a size that is a text", b"[1]", b'["1"]'),
        ("null-shape", "a shape that is null", b"[1]", b"null"),
        ("three-offsets", "three offsets", b"[0,1]", b"[0,1,1]"),
        ("one-offset", "one offset", b"[0,1]", b"[0]"),
        ("dtype-is-number", "a dtype that is a number", b'"U8"', b"8"),
    ]:
        bad_plain(f"H-3-{name}", why, dump(ONE).replace(old, new), b"x")
    bad_plain("H-3-metadata-is-null", "__metadata__ is null", {"__metadata__": None})
    bad_plain("H-3-metadata-is-list", "__metadata__ is a list", {"__metadata__": []})
    bad_plain("H-3-metadata-number", "a number in __metadata__", {"__metadata__": {"epoch": 1}})
    bad_plain("H-3-metadata-nested", "an object in __metadata__", {"__metadata__": {"a": {}}})
    bad_plain("H-4-dtype", "an unknown dtype", {"a": entry("F128", [1], 0, 16)}, pattern(16))
    bad_plain("H-4-dtype-case", "a dtype in lower case", {"a": entry("u8", [1], 0, 1)}, b"x")
    bad_plain("H-4-dtype-of-six-bits", "a dtype that torch does not have", {"a": entry("F6_E2M3", [4], 0, 3)}, b"xyz")
    bad_plain("H-4-negative-size", "sizes of -1 and -1", {"a": entry("U8", [-1, -1], 0, 1)}, b"x")
    bad_plain("H-4-too-few-bytes", "two elements in one byte", {"a": entry("U8", [2], 0, 1)}, b"x")
    bad_plain("H-4-too-many-bytes", "one element in two bytes", {"a": entry("U8", [1], 0, 2)}, b"xy")
    bad_plain("H-4-backwards", "offsets that run backwards", {"a": entry("U8", [0], 1, 0), "b": ONE["a"]}, b"x")
    bad_plain("H-4-odd-f4", "half a byte of F4", {"a": entry("F4", [1], 0, 1)}, b"x")
    bad_plain("H-4-odd-last-f4", "F4 that torch cannot hold: an odd last size", {"a": entry("F4", [2, 1], 0, 1)}, b"x")
    bad_plain("H-4-scalar-f4", "F4 without a size", {"a": entry("F4", [], 0, 1)}, b"x")
    bad_plain("H-4-huge-offsets", "offsets of 2^64", {"a": entry("U8", [1], 2**64, 2**64 + 2)}, b"x")
    two = {"a": entry("U8", [2], 0, 2), "b": entry("U8", [2], 2, 4)}
    bad_plain("H-5-too-short", "the last byte is cut off", two, b"xyz")
    bad_plain("H-5-too-long", "a byte after the last tensor", two, b"vwxyz")
    bad_plain("H-5-data-without-tensors", "a byte and no tensor", {}, b"x")
    bad_plain("H-5-gap", "a byte between two tensors", two | {"b": entry("U8", [2], 3, 5)}, b"vwxyz")
    bad_plain("H-5-gap-in-front", "a byte in front of the first tensor", {"a": entry("U8", [1], 1, 2)}, b"xy")
    bad_plain("H-5-overlap", "two tensors share a byte", two | {"b": entry("U8", [2], 1, 3)}, b"xyz")
    bad_plain("H-5-same-span", "two tensors share all bytes", two | {"b": entry("U8", [2], 0, 2)}, b"xy")
    bad_plain("H-5-negative", "an offset of -1", {"a": entry("U8", [2], -1, 1)}, b"x")
    bad_plain("H-5-empty-inside", "an empty tensor inside another", two | {"c": entry("U8", [0], 1, 1)}, b"wxyz")
    one = dump(ONE)[1:-1]
    bad_plain("H-6-name-twice", "a name twice", b"{" + one + b"," + one + b"}", b"x")
    escaped = one.replace(b'"a"', b'"\\u0061"')
    bad_plain("H-6-name-twice-escaped", "a name twice, once escaped", b"{" + one + b"," + escaped + b"}", b"x")
    bad_plain("H-6-field-twice", "a field twice", dump(ONE).replace(b'"dtype"', b'"dtype":"U8","dtype"'), b"x")
    bad_plain("H-6-extra-field", "a field of no meaning", {"a": ONE["a"] | {"extra": {"deep": [1]}}}, b"x")
    bad_plain("H-6-metadata-twice", "__metadata__ twice", b'{"__metadata__":{},"__metadata__":{}}')
    bad_plain("H-6-metadata-key-twice", "a key of __metadata__ twice", b'{"__metadata__":{"a":"1","a":"2"}}')
    bad_plain("LIMIT-rank", "65 dimensions", {"a": entry("U8", [1] * 65, 0, 1)}, b"x")
    bad_plain("LIMIT-size", "a size of 2^49, beside a 0", {"a": entry("U8", [0, 2**49], 0, 0)})
    bad_plain("LIMIT-size-of-no-dtype", "a size of 2^49 and an unknown dtype", {"a": entry("Q", [2**49], 0, 0)})
    bad_plain("LIMIT-name", "a name of 4097 characters", {"a" * 4097: entry("U8", [1], 0, 1)}, b"x")


def _metadata() -> None:
    text = text_of()
    digests, other = {"torchkeep.digests": "0" * 16}, {"format": "pt", "torchkeep": text}

    def with_metadata(metadata: dict[str, str]) -> Callable[[], bytes]:
        return lambda: sealed(spaced(dump({"__metadata__": metadata})))

    def flipped(at: int) -> Callable[[], bytes]:
        def make() -> bytes:
            data = bytearray(composed(text_of(0.25), []))
            data[at] ^= 1
            return bytes(data)

        return make

    reject("N-1-another-key", "a fourth key in __metadata__", with_metadata(digests | other | {"more": ""}))
    reject("N-1-no-document", "no Document in __metadata__", with_metadata(digests | {"format": "pt"}))
    reject("N-1-no-format", "no format in __metadata__", with_metadata(digests | {"torchkeep": text}))
    reject("N-1-format", 'a format that is not "pt"', with_metadata(digests | other | {"format": "np"}))
    reject("N-1-order", "keys of __metadata__ in another order", with_metadata(digests | dict([*other.items()][::-1])))
    moved = {"__metadata__": {"format": "pt"} | digests | {"torchkeep": text}}
    bad_plain("N-1-rewritten", "torchkeep's metadata, rewritten by another tool", moved)
    bad_plain("N-1-document-alone", "a Document without digests", {"__metadata__": {"torchkeep": text}})
    bad_plain("N-1-digests-alone", "digests without a Document", {"__metadata__": {"format": "pt"} | digests})
    others = {"__metadata__": {"format": "pt", "run": "12", "torchkeep": ""}, "a": ONE["a"]}
    bad_plain("N-1-among-others", "an empty Document among other metadata", others, b"x")
    blank = {"__metadata__": digests | other}
    bad_plain("N-1-blank", "a blank before the metadata", b"{ " + dump(blank)[1:])
    reject("N-2-digest-digit", "a digit of the header's digest is another", flipped(8 + len(PREFIX)))
    number = composed(text_of(0.25)).index(b"0.25") + 3
    reject("N-2-hyperparameter", "a bit of a number in the Document is flipped", flipped(number))
    reject("N-2-padding", "a bit of the padding is flipped", flipped(4000))
    reject("N-2-zeros", "zeros where the header's digest should stand", lambda: framed(spaced(header_of(text))))
    upper = composed(text_of(3))
    at = 8 + len(PREFIX)
    assert upper[at : at + 16] != upper[at : at + 16].upper()
    reject(
        "N-2-upper-case",
        "the header's digest in upper case",
        lambda: upper[:at] + upper[at : at + 16].upper() + upper[at + 16 :],
    )
    bad("N-3-newer", "a newer version of the format", version="0.2")
    bad("N-3-other", "a version that never was", version="1")


def _header_forms() -> None:
    one = text_of(["t", 0], flags="0")
    header = header_of(one, [A])
    reject("N-4-no-padding", "the header is not padded", lambda: sealed(header, A[3]))
    reject("N-4-longer-padding", "4096 blanks too many", lambda: sealed(spaced(header) + b" " * 4096, A[3]))
    tabs = spaced(header)[:-1] + b"\t"
    reject("N-4-tab", "a tab in the padding", lambda: sealed(tabs, A[3]))
    for name, why, old, new in [
        ("blank", "a blank after a colon", b'"dtype":', b'"dtype": '),
        ("escape", "an escape that is not needed", b'"a":{', b'"\\u0061":{'),
        ("slash", "an escaped slash", b'"pt"', b'"p\\u0074"'),
        ("field-order", "dtype after shape", b'"dtype":"F32","shape":[2]', b'"shape":[2],"dtype":"F32"'),
        ("extra-field", "a field of no meaning", b'"dtype":', b'"extra":1,"dtype":'),
        ("field-twice", "a field twice", b'"dtype":', b'"dtype":"F32","dtype":'),
    ]:
        changed = spaced(header.replace(old, new))
        assert changed != spaced(header), name
        reject(f"N-4-{name}", why, lambda changed=changed: sealed(changed, A[3]))
    twice = header[:-1] + b"," + header[header.index(b'"a":{') :]
    reject("N-4-name-twice", "a name twice", lambda: sealed(spaced(twice), A[3]))
    column = xxh3_64_hexdigest(A[3]).encode()
    for name, why, new in [
        ("too-few", "no digest for the tensor", b""),
        ("too-many", "a digest for no tensor", column * 2),
        ("cut", "15 digits", column[:-1]),
        ("upper-case", "digits in upper case", b"ABCDEF0123456789"),
        ("no-digits", "letters that are no digits", b"z" * 16),
        ("wrong", "the digest of other bytes", xxh3_64_hexdigest(B[3]).encode()),
    ]:
        changed = spaced(header.replace(column, new))
        reject(f"N-5-{name}", why, lambda changed=changed: sealed(changed, A[3]))
    reject("N-5-flipped-byte", "a bit of the tensor is flipped", lambda: sealed(spaced(header), b"\0" + A[3][1:]))
    pair = text_of(["r", 0], [["seq", "list", [["t", 0], ["t", 1]]]], flags="00")

    def swap_places() -> bytes:
        header = header_of(pair, [A, B])
        swap = header.replace(b"[0,8]", b"[8,16]").replace(b"[8,16]", b"[0,8]", 2).replace(b"[0,8]", b"[8,16]", 1)
        return sealed(spaced(swap), B[3] + A[3])

    reject("N-6-order-of-names", "two tensors of one itemsize in the other order", swap_places)
    bad("N-6-itemsize", "smaller items first", ["r", 0], pair_nodes(), flags="00", rows=[BYTE, A])
    wide: Row = (RESERVED + "c", "U8", [16], pattern(16))
    bad("N-6-true-itemsize", "complex128 after float32", ["r", 0], pair_nodes(), flags="00", rows=[A, wide], **C128)
    byte4: Row = ("a", "U8", [4], pattern(4))
    bad("N-7-has-a-name", "int8 that is listed as U8", ["t", 0], flags="0", rows=[byte4], differ=[[0, "int8", [4]]])
    bad("N-7-other-name", "float32 that is listed as I32", ["t", 0], flags="0", rows=[("a", "I32", [1], pattern(4))],
        differ=[[0, "float32", [1]]])  # fmt: skip
    bad(
        "N-7-shape",
        "a shape that is not the listed one",
        ["t", 0],
        flags="0",
        rows=[A],
        differ=[[0, "float32", [1, 2]]],
    )
    bad("N-7-nbytes", "complex128 of other bytes", ["t", 0], flags="0", rows=[wide], differ=[[0, "complex128", [2]]])
    bad("N-7-listed-shape", "bytes listed in two dimensions", ["t", 0], flags="0",
        rows=[(wide[0], "U8", [2, 8], wide[3])], differ=[[0, "complex128", [1]]])  # fmt: skip
    bad("N-7-f4", "F4 with sizes that is listed as bytes", ["t", 0], flags="0", rows=[byte4],
        differ=[[0, "float4_e2m1fn_x2", [4]]])  # fmt: skip


C128: dict[str, Any] = {"differ": [[1, "complex128", [1]]]}


def pair_nodes() -> list[Any]:
    """One list of two tensors."""
    return [["seq", "list", [["t", 0], ["t", 1]]]]


def _references() -> None:
    one: dict[str, Any] = {"root": ["t", 0], "flags": "0", "rows": [A]}
    two: dict[str, Any] = {"root": ["r", 0], "nodes": pair_nodes(), "flags": "00", "rows": [A, B]}
    bad("D-4-node", "a node that is not there", ["r", 0])
    bad("D-4-node-negative", "node -1", ["r", 0], [["seq", "list", [["r", -1]]]])
    bad("D-4-tensor", "a tensor that is not there", ["t", 0])
    bad("D-4-tensor-negative", "tensor -1", **two | {"nodes": [["seq", "list", [["t", 0], ["t", -1]]]]})
    bad("D-4-key", "a key that is not there", ["r", 0], [["map", [["r", 1]], [1]]])
    bad("D-4-stored", "a stored tensor that is not there", **one | {"stored": [1]})
    bad("D-4-stored-negative", "stored tensor -1", **one | {"stored": [-1]})
    bad("D-4-differ", "a stored tensor that is not there differs", **one | {"differ": [[1, "int8", [2]]]})
    bad("D-4-view", "a view of a tensor that is not there", **one | {"views": [[1, "float32", [1], [1], 0]]})
    bad("D-4-view-negative", "a view of tensor -1", **one | {"views": [[-1, "float32", [1], [1], 0]]})
    bad("D-4-strides", "strides of a stored tensor that is not there", **one | {"strides": [[1, [1]]]})
    bad("D-4-strides-negative", "strides of stored tensor -1", **one | {"strides": [[-1, [1]]]})
    tied: dict[str, Any] = {
        "root": ["r", 0],
        "nodes": pair_nodes(),
        "flags": "00",
        "stored": [0, 0],
        "rows": C_ROWS[:1],
    }
    bad("D-4-strides-of-tensor", "strides of a tensor's number", **tied | {"strides": [[1, [1]]]})
    bad("D-4-lazy", "lazy bits of a tensor that is not there", **one | {"rows": C_ROWS[:1], "lazy": [[1, 1]]})
    bad("D-4-lazy-negative", "lazy bits of tensor -1", **one | {"rows": C_ROWS[:1], "lazy": [[-1, 1]]})
    bad("D-4-attributes-negative", "attributes of tensor -1", **one | {"attributes": [[-1, None]]})
    bad("D-4-attributes", "attributes of a tensor that is not there", **one | {"attributes": [[1, None]]})
    bad("D-4-attributes-node", "attributes that are not there", **one | {"attributes": [[0, ["r", 0]]]})
    name_key = ["map", [["=", 0]]]
    bad("D-4-name-of-none", "a key from the name of no tensor", ["r", 0], [[*name_key, [1]]])
    bad("D-4-name-of-other", "a key from a name that is not there", ["r", 0], [[*name_key, [["t", 0]]]])
    bad("D-4-name-negative", "a key from the tail of a name", ["r", 0], [["map", [["=", -1]], [["t", 0]]]], flags="0",
        rows=[A])  # fmt: skip


def _tables() -> None:
    """Records and keysets."""
    listed = ["seq", "list", [["r", 1], ["r", 2]]]
    record = ["torch.dtype", 1, None, ["name"]]
    other = ["torch.device", 1, None, ["name"]]
    node, map_of_one = ["o", 0, ["float32"]], ["map", ["a"], [1]]

    def records(name: str, why: str, records: list[Any], *nodes: Any) -> None:
        bad(name, why, ["r", 0], nodes, records=records)

    records("D-1-record-of-none", "a record that no node names", [record, other], node)
    records("D-1-record-twice", "a record twice", [record, record], listed, node, ["o", 1, ["int8"]])
    records("D-1-record-order", "records in another order", [record, other], listed, ["o", 1, ["cpu"]], node)
    records(
        "D-1-record-field-twice", "a field twice", [["torch.dtype", 1, None, ["name", "name"]]], ["o", 0, ["a", "a"]]
    )
    records("D-1-record-class-apart", "a class among the fields", [["custom", 1, None, ["class", "state"]]],
            ["o", 0, ["a:B", 1]])  # fmt: skip
    records("D-1-record-class-twice", "a class in its place and among the fields",
            [["custom", 1, "a:B", ["class", "state"]]], ["o", 0, ["a:B", 1]])  # fmt: skip
    for name, why, bad_record in [
        ("short", "a record without its class", ["torch.dtype", 1, ["name"]]),
        ("version", "a version that is a text", ["torch.dtype", "1", None, ["name"]]),
        ("class", "a class that is a number", ["torch.dtype", 1, 1, ["name"]]),
        ("field", "a field that is a number", ["torch.dtype", 1, None, [1]]),
        ("object", "a record that is an object", {"kind": "torch.dtype"}),
    ]:
        records(f"D-2-record-{name}", why, [bad_record], node)
    bad("D-2-keyset-number", "a key of a keyset that is a number", ["r", 0], [["m", 0, [1]]], keysets=[[1]])
    bad("D-2-keyset-text", "a keyset that is a text", ["r", 0], [["m", 0, [1]]], keysets=["a"])
    bad("D-2-keyset-name", "a key of a keyset that is the tail of a name", ["r", 0], [["m", 0, [1]]],
        keysets=[[["=", 0]]])  # fmt: skip
    for name, why in [("records", "no records"), ("keysets", "no keysets")]:
        bad_text(f"D-2-no-{name}", why, swapped(f'"{name}":[],', ""))
    records("D-3-record-more-values", "two values and one field", [record], ["o", 0, ["float32", 1]])
    records("D-3-record-more-fields", "no value and one field", [record], ["o", 0, []])
    records("D-4-record", "a record that is not there", [record], ["o", 1, ["float32"]])
    records("D-4-record-negative", "record -1", [record], ["o", -1, ["float32"]])

    def keysets(name: str, why: str, keysets: list[Any], *maps: Any, rows: Sequence[Row] = ()) -> None:
        nodes = [["seq", "list", [["r", i + 1] for i in range(len(maps))]], *maps]
        reject(name, why, lambda: composed(raw_of(["r", 0], nodes, keysets, rows), rows))

    of_a = ["m", 0, [1]]
    keysets("D-1-keyset-missing", "two maps of the same keys, each with its own", [], map_of_one, map_of_one)
    keysets("D-1-keyset-half", "two maps of the same keys, one with its own", [["a"]], of_a, map_of_one)
    keysets("D-1-keyset-of-one", "a keyset of a single map", [["a"]], of_a)
    keysets("D-1-keyset-of-none", "a keyset of no map", [["a"]], map_of_one)
    keysets("D-1-keyset-empty", "a keyset without keys", [[]], ["m", 0, []], ["m", 0, []])
    keysets("D-1-keyset-twice", "a keyset twice", [["a"], ["a"]], of_a, ["m", 1, [1]])
    keysets("D-1-keyset-order", "keysets in another order", [["b"], ["a"]], *[["m", i, [1]] for i in (1, 0, 1, 0)])
    keysets("D-1-keyset-of-tails", "two maps that have the tail of a name as their key", [],
            ["map", [["=", 0]], [["t", 0]]], ["map", [["=", 0]], [["t", 0]]], rows=[A])  # fmt: skip
    keysets("D-3-keyset", "two values and one key", [["a"]], of_a, ["m", 0, [1, 2]])
    keysets("D-4-keyset", "a keyset that is not there", [["a"]], of_a, ["m", 1, [1]])
    keysets("D-4-keyset-negative", "keyset -1", [["a"]], of_a, ["m", -1, [1]])
    keysets("V-3-keyset", "a keyset with a key twice", [["a", "a"]], *[["m", 0, [1, 2]]] * 2)


def raw_of(root: Any, nodes: list[Any], keysets: list[Any], rows: Sequence[Row] = ()) -> str:
    """The JSON of a Document whose nodes stand as they are given."""
    wire = json.loads(text_of(flags="0" * len(rows)))
    return dump(wire | {"root": root, "nodes": nodes, "keysets": keysets}).decode()


def _documents() -> None:
    one: dict[str, Any] = {"root": ["t", 0], "flags": "0", "rows": [A]}
    two: dict[str, Any] = {"root": ["r", 0], "nodes": pair_nodes(), "flags": "00", "rows": [A, B]}
    for name, why, change in [
        ("blank", "a blank", swapped('"root":', '"root": ')),
        ("newline-after", "a line end after the object", lambda text: text + "\n"),
        ("field-order", "two fields in the other order",
         swapped('"environment":{},"classes":[]', '"classes":[],"environment":{}')),
        ("field-twice", "a field twice", swapped('"root":', '"root":1,"root":')),
        ("escape", "an escape that is not needed", swapped('"0.1"', '"0\\u002e1"')),
        ("minus-zero", "-0", swapped('"root":null', '"root":-0')),
        ("shown", "names of stored tensors, which the header says already",
         swapped('"attributes":[]', '"attributes":[],"shown":[[],[],[]]')),
    ]:  # fmt: skip
        bad_text(f"D-1-{name}", why, change)
    bad("D-1-environment-order", "the environment is not in order", environment={"b": "", "a": ""})
    bad("D-1-classes-order", "classes are not in order", classes=[["b", 1, None, None], ["a", 1, None, None]])
    bad("D-1-class-twice", "a class twice", classes=[["a", 1, None, None], ["a", 2, None, None]])
    for name, why, value in [
        ("short-integer", "an integer that needs no hexadecimal", ["i", "0x1"]),
        ("upper-case-integer", "hexadecimal in upper case", ["i", "0xFFFFFFFFFFFFFFFF"]),
        ("zeros-before-integer", "zeros in front of an integer", ["i", "0x00ffffffffffffffff"]),
        ("large-integer", "an integer that needs hexadecimal", 2**53),
        ("plain-string", "a string that JSON can hold, as bytes", ["s", "YWJj"]),
        ("base64-bits", "base64 whose last bits are not zero", ["b", "YWK="]),
    ]:
        bad(f"D-1-{name}", why, value)
    bad("D-1-stored", "stored says what null says", **one | {"stored": [0]})
    bad("D-1-differ", "a tensor is said to differ and does not", **one | {"differ": [[0, "float32", [2]]]})
    bad("D-1-lazy-order", "rows that are not in order", **two | {"rows": C_ROWS, "lazy": [[1, 1], [0, 1]]})
    bad("D-1-view-twice", "a row twice", **one | {"views": [[0, "float32", [1], [1], 0]] * 2})
    tensor_map = ["map", ["a"], [["t", 0]]]
    bad("D-1-key-in-full", "a key that is the tail of a name, in full", ["r", 0], [tensor_map], flags="0", rows=[A])
    bad("D-1-empty-tail", "a key that is nothing of a name", ["r", 0], [["map", [["=", 1]], [["t", 0]]]], flags="0",
        rows=[A])  # fmt: skip
    bad_text("D-1-fields-twice", "a field of a call twice", swapped('"name":"float32"', '"name":"a","name":"float32"'),
             ["r", 0], [["opaque", "call", {"name": "float32"}]])  # fmt: skip
    for name, why, change in [
        ("not-json", "not JSON", swapped("}", "")),
        ("array", "an array", lambda text: "[]"),
        ("empty", "no text at all", lambda text: ""),
        ("no-version", "no version", swapped('"version":"0.1",', "")),
        ("version-is-number", "a version that is a number", swapped('"0.1"', "0.1")),
        ("no-root", "no root", swapped('"root":null,', "")),
        ("another-field", "a field of no meaning", swapped('"root":', '"roots":1,"root":')),
        ("another-table-field", "a field of no meaning in the tensor table", swapped('"lazy":', '"lazier":1,"lazy":')),
        ("nan", "NaN", swapped('"root":null', '"root":NaN')),
        ("bare-float", "a float without its tag", swapped('"root":null', '"root":0.5')),
        ("lone-surrogate", "half of a surrogate pair", swapped('"root":null', '"root":"\\ud800"')),
    ]:
        bad_text(f"D-2-{name}", why, change)
    for name, why, value in [
        ("object-value", "an object as a value", {}),
        ("empty-value", "an empty array as a value", []),
        ("unknown-tag", "an unknown tag", ["x", 1]),
        ("name-outside-keys", "a key from a name, outside keys", ["=", 0]),
        ("long-value", "a tag with too much behind it", ["t", 0, 0]),
        ("index-is-text", "an index that is a text", ["r", "0"]),
        ("index-is-true", "an index that is true", ["r", True]),
        ("not-hexadecimal", "letters that are no hexadecimal", ["i", "0xfffffffffffffffg"]),
        ("not-a-float", "a word that is no float", ["f", "one"]),
        ("not-base64", "not base64", ["b", "???="]),
        ("not-utf8", "bytes that are not UTF-8, as a string", ["s", "/w=="]),
    ]:
        bad(f"D-2-{name}", why, value)
    for name, why, node in [
        ("unknown-node", "an unknown tag of a node", ["tree", []]),
        ("sequence-kind", "an unknown kind of sequence", ["seq", "deque", []]),
        ("short-node", "a map without values", ["map", []]),
        ("nested-node", "a node inside a node", ["seq", "list", [["seq", "list", []]]]),
        ("fields-are-list", "fields that are a list", ["opaque", "call", ["float32"]]),
        ("object-of-text", "an object of a record named by a text", ["o", "torch.dtype", ["float32"]]),
        ("object-of-fields", "an object with named values", ["o", 0, {"name": "float32"}]),
        ("keyset-in-place", "the keys of a keyset in its place", ["m", ["a"], [1]]),
        ("name-in-keyset-map", "more than values behind a keyset", ["m", 0, ["a"], [1]]),
    ]:
        bad(f"D-2-{name}", why, ["r", 0], [node])
    bad("D-2-flag", "a flag of 4", **one | {"flags": "4"})
    bad("D-2-severity", "an unknown severity", findings=[["code", "fatal", "", "", ""]])
    bad("D-2-short-finding", "a finding of four parts", findings=[["code", "note", "", ""]])
    bad("D-2-environment", "a number in the environment", environment={"python": 3})
    bad("D-2-class-row", "a class without its package", classes=[["a", 1, None]])
    bad("D-3-more-keys", "two keys and one value", ["r", 0], [["map", ["a", "b"], [1]]])
    bad("D-3-more-values", "no key and one value", ["r", 0], [["map", [], [1]]])
    bad("D-5-no-flags", "no flag for a tensor", **one | {"flags": ""})
    bad("D-5-more-flags", "a flag for no tensor", **one | {"flags": "00"})
    for name, why, text in [
        ("zeros", "a zero at the end", "1.50"),
        ("integer", "no point", "1"),
        ("exponent", "an exponent that is not needed", "1e1"),
        ("exponent-zeros", "an exponent in another form", "1e+016"),
        ("not-shortest", "more digits than are needed", "0.10000000000000001"),
        ("plus", "a plus sign", "+1.0"),
        ("blank", "a blank", " 1.0"),
        ("underscore", "an underscore", "1_0.0"),
        ("infinity", "infinity by another name", "Infinity"),
        ("nan-case", "NaN in upper case", "NaN"),
        ("nan-bits", "the usual NaN by its bits", "nan:7ff8000000000000"),
        ("nan-of-infinity", "the bits of infinity as a NaN", "nan:7ff0000000000000"),
        ("overflow", "a float that is too large", "1e999"),
    ]:
        bad(f"D-6-{name}", why, ["f", text])
    bad("D-6-complex", "a part of a complex number in another form", ["c", "0.0", "1.50"])
    empty = ["seq", "list", []]
    bad("D-7-unreachable", "a node that nothing refers to", None, [empty])
    bad("D-7-order", "nodes in another order", ["r", 0], [["seq", "list", [["r", 2], ["r", 1]]], empty, empty])
    bad("D-7-island", "two nodes that only refer to each other", ["r", 0],
        [empty, ["seq", "list", [["r", 2]]], ["seq", "list", [["r", 1]]]])  # fmt: skip
    breadth = [["seq", "list", [["r", 1], ["r", 2]]], ["seq", "list", [["r", 3]]], empty, empty]
    bad("D-7-breadth-first", "nodes breadth first", ["r", 0], breadth)
    bad("D-7-values-first", "a map's values before its keys", ["r", 0],
        [["map", [["r", 2]], [["r", 1]]], ["seq", "tuple", []], ["seq", "tuple", []]])  # fmt: skip
    bad("D-7-tensor", "a tensor that nothing refers to", **one | {"root": None})
    bad("D-7-tensor-order", "tensors in another order", **two | {"nodes": [["seq", "list", [["t", 1], ["t", 0]]]]})
    bad("D-7-attributes-later", "a tensor's attributes after what follows it", ["r", 0],
        [["seq", "list", [["t", 0], ["r", 1]]], empty, ["map", [], []]], flags="0", rows=[A],
        attributes=[[0, ["r", 2]]])  # fmt: skip
    bad(
        "D-8-stored",
        "a stored tensor that no tensor views",
        **two | {"root": ["t", 0], "nodes": [], "stored": [0], "flags": "0"},
    )
    for name, why, version in [
        ("zero", "version 0", 0),
        ("negative", "version -1", -1),
        ("beyond-31-bits", "version 2^31", 2**31),
        ("beyond-64-bits", "version 2^70", 2**70),
    ]:
        bad(f"D-9-{name}", f"{why} of a class", classes=[["a", 1, None, None], ["b", version, None, None]])
    _sources()
    bad("D-8-tensors", "a file with a tensor and a Document with none", stored=[], rows=[A])


def _sources() -> None:
    """D-10: what a row of source text may not be; and the forms that only one of them has."""
    for name, why, rows in [
        ("dots", "a name with an empty word", [["a..b", "a.", ""]]),
        ("leading-dot", "a name that begins with a dot", [[".a", "", ""]]),
        ("no-name", "a name without a character", [["", "", ""]]),
        ("digit", "a word that begins with a digit", [["a.1b", "a", ""]]),
        ("path", "a path", [["../a", "", ""]]),
        ("slash", "a name with a slash", [["a/b", "", ""]]),
        ("nul-in-name", "a name with a NUL", [["a\0", "", ""]]),
        ("line", "a name with a line feed at its end", [["a\n", "", ""]]),
        ("not-ascii", "a word beyond ASCII, which is an identifier of Python", [["é", "", ""]]),
        ("keyword", "a word that is a keyword", [["a.class", "a", ""]]),
        ("package-of-others", "a package that is not the module's", [["a.b", "c", ""]]),
        ("package-above", "a package two levels up", [["a.b.c", "a", ""]]),
        ("no-package", "a module in a package that says it is in none", [["a.b", "", ""]]),
        ("main-in-path", "a script in a package with no name of one", [["__main__", "a/b", ""]]),
        ("in-a-module", "a module inside of one that is no package", [["a", "", ""], ["a.b", "a", ""]]),
        ("nul", "a text with a NUL", [["a", "", "x = 1\0"]]),
    ]:
        bad(f"D-10-{name}", why, sources=rows)
    bad("D-1-sources-empty", "sources that are empty and not absent", sources=[])
    bad("D-1-sources-order", "modules out of order", sources=[["b", "", ""], ["a", "", ""]])
    bad("D-1-sources-twice", "a module twice", sources=[["a", "", ""], ["a", "", "x"]])
    bad_text("D-1-sources-early", "sources before the tensors",
             _sources_first, sources=[["a", "", ""]])  # fmt: skip
    bad("D-2-sources-columns", "a module without a package", sources=[["a", ""]])
    bad("D-2-sources-text", "a text that is a number", sources=[["a", "", 1]])
    bad("D-2-sources-object", "modules in an object", sources={"a": ["", ""]})
    bad("LIMIT-sources", "2001 modules", sources=[[f"m{i:04}", "", ""] for i in range(2001)])
    bad("LIMIT-source-name", "the name of a module of 256 characters", sources=[["a" * 256, "", ""]])


def _sources_first(text: str) -> str:
    """The Document with its last field in the place before the last."""
    at, begin = text.index(',"tensors":'), text.index(',"sources":')
    return text[:at] + text[begin:-1] + text[at:begin] + "}"


C_ROWS: list[Row] = [("a", "C64", [1], pattern(8)), ("b", "C64", [1], pattern(8, 1))]


def _tensors() -> None:
    one: dict[str, Any] = {"root": ["t", 0], "flags": "0", "rows": [A]}
    byte: Row = (RESERVED + "c", "U8", [16], pattern(16))

    def view(*parts: Any) -> dict[str, Any]:
        return one | {"views": [[0, *parts]]}

    bad("T-1-view", "a view of an unknown dtype", **view("float128", [1], [1], 0))
    bad("T-1-safetensors-name", "a dtype by safetensors' name", **view("F32", [1], [1], 0))
    bad("T-1-differ", "an unknown dtype", **one | {"rows": [byte], "differ": [[0, "quint8", [16]]]})
    bad("T-1-null", "a dtype without a name", **view("", [1], [1], 0))
    bad("T-2-view", "a negative size", **view("float32", [-1], [1], 0))
    bad("T-2-differ", "negative sizes", **one | {"rows": [byte], "differ": [[0, "complex128", [-1, -1]]]})
    bad("LIMIT-size-beside-none", "a size of 2^62, beside a 0", **view("float32", [0, 2**62], [1, 1], 0))
    bad("LIMIT-size-beyond-64-bits", "a size of 2^70, beside a 0", **view("float32", [0, 2**70], [1, 1], 0))
    bad("LIMIT-differ", "a size of 2^49, before all else", **one | {"differ": [[0, "quint8", [2**49]]]})
    bad("T-4-offset-beyond-64-bits", "an offset of 2^70", **view("float32", [1], [1], 2**70))
    matrix: Row = ("a", "U8", [2, 3], pattern(6))
    for name, why, strides in [
        ("gap", "strides that leave gaps", [6, 2]),
        ("overlap", "strides that overlap", [1, 1]),
        ("zero", "a stride of 0", [0, 1]),
        ("negative", "a negative stride", [-3, 1]),
        ("rank", "one stride for two dimensions", [1]),
    ]:
        bad(f"T-3-{name}", why, **one | {"rows": [matrix], "strides": [[0, strides]]})
    for name, why, shape, strides in [
        ("contiguous", "strides of contiguous memory", [2, 3], [3, 1]),
        ("size-of-one", "contiguous memory, and a stride of a size of 1", [2, 1, 3], [3, 77, 1]),
        ("only-ones", "strides of a single element", [1, 1], [5, 7]),
        ("no-dimensions", "no stride for no dimension", [], []),
        ("empty", "strides of no element", [3, 0], [1, 3]),
    ]:
        row: Row = ("a", "U8", shape, pattern(math.prod(shape)))
        bad(f"T-3-{name}", why, **one | {"rows": [row], "strides": [[0, strides]]})
    for name, why, shape, strides, own in [
        ("whole", "a view that is all of its stored tensor", [2, 3], [3, 1], None),
        ("whole-size-of-one", "a view with a size of 1 that is all of its stored tensor", [2, 1, 3], [3, 3, 1], None),
        ("whole-scalar", "a view of a scalar that is all of it", [], [], None),
        ("whole-empty", "a view that is all of a stored tensor without elements", [2, 0, 3], [3, 3, 1], None),
        ("whole-strides", "a view with the strides of its stored tensor", [2, 3], [1, 2], [[0, [1, 2]]]),
    ]:
        row = ("a", "U8", shape, pattern(math.prod(shape)))
        bad(f"T-4-{name}", why, **view("uint8", shape, strides, 0) | {"rows": [row], "strides": own or []})
    bad("T-4-end", "a view that ends one element too late", **view("float32", [2], [1], 1))
    bad("T-4-stride", "a view that steps past the end", **view("float32", [2], [2], 0))
    bad("T-4-offset", "an offset past the end", **view("float32", [0], [1], 3))
    bad("T-4-wider", "a wider element past the end", **view("float64", [2], [1], 0))
    bad("T-4-negative-stride", "a negative stride", **view("float32", [2], [-1], 1))
    bad("T-4-negative-offset", "a negative offset", **view("float32", [1], [1], -1))
    bad("T-4-rank", "two strides for one dimension", **view("float32", [1], [1, 1], 0))
    bad("T-4-wraps", "strides whose sum wraps around 64 bits to little", **view("float32", [5, 5], [2**52, 2**52], 0))
    bad("LIMIT-expanded", "2^49 elements of one that is stored", **view("float32", [2**49], [0], 0))
    bad("LIMIT-view-rank", "a view of 65 dimensions", **view("float32", [1] * 65, [1] * 65, 0))
    bad("T-5-conj-of-real", "CONJ of float32", **one | {"lazy": [[0, 1]]})
    bad("T-5-neg-of-integer", "NEG of int8", **one | {"rows": [BYTE], "lazy": [[0, 2]]})
    bad("T-5-no-bit", "no lazy bit", **one | {"rows": C_ROWS[:1], "lazy": [[0, 0]]})
    bad("T-5-third-bit", "a third lazy bit", **one | {"rows": C_ROWS[:1], "lazy": [[0, 4]]})
    bad("T-5-view", "CONJ of a real view", **view("float32", [1], [1], 0) | {"rows": C_ROWS[:1], "lazy": [[0, 1]]})
    bad("T-6-integer", "int8 that requires a gradient", **one | {"rows": [BYTE], "flags": "1"})
    bad("T-6-integer-parameter", "an int8 parameter that requires a gradient", **one | {"rows": [BYTE], "flags": "3"})
    bad("T-6-view", "an integer view that requires a gradient", **view("int32", [2], [1], 0) | {"flags": "1"})


def _kinds() -> None:
    def typed(name: str, why: str, kind: str, fields: dict[str, Any], *below: Any, version: int = 1) -> None:
        bad(name, why, ["r", 0], [["typed", kind, version, fields], *below])

    dtype = {"name": "float32"}
    empty = ["map", [], []]
    typed("K-1-unknown", "an unknown kind", "ChainMap", {})
    typed("K-1-newer", "a newer version of a kind", "torch.dtype", dtype, version=2)
    typed("K-1-beyond-64-bits", "version 2^70 of a kind", "torch.dtype", dtype, version=2**70)
    typed("K-1-zero", "version 0 of a kind", "torch.dtype", dtype, version=0)
    typed("K-1-negative", "version -1 of a kind", "torch.dtype", dtype, version=-1)
    bad("K-1-record-of-none", "version 0 in a record that no node names", records=[["torch.dtype", 0, None, ["name"]]])
    typed("K-1-case", "a kind in another case", "Module", {"class": "a:B", "training": True})
    typed("K-2-missing", "a field is missing", "torch.dtype", {})
    typed("K-2-more", "a field too many", "torch.dtype", dtype | {"more": 1})
    typed("K-2-order", "fields in another order", "method", {"name": "run", "self": ["r", 1]},
          ["typed", "module", 1, {"class": "a:B", "training": True}])  # fmt: skip
    typed("K-2-no-class", "a module without a class", "module", {"training": True})
    typed("K-2-class", "a class of what has none", "torch.dtype", {"class": "a:B", "name": "float32"})
    typed("K-2-optional-order", "optional fields in another order", "module",
          {"class": "a:B", "training": True, "buffers": ["r", 1], "parameters": ["r", 2]}, empty, empty)  # fmt: skip
    module = {"class": "a:B", "training": True}
    strings = {"name-is-null": None, "name-is-number": 1, "name-is-bytes": ["b", "YQ=="]}
    for name, value in strings.items():
        typed(f"K-3-{name}", "a name that is no text", "torch.dtype", {"name": value})
    typed("K-3-training", "training is 1", "module", {"class": "a:B", "training": 1})
    typed(
        "K-3-parameter",
        "a parameter that is a number",
        "module",
        module | {"parameters": ["r", 1]},
        ["map", ["w"], [1]],
    )
    typed("K-3-parameter-name", "a parameter whose name is 0", "module", module | {"parameters": ["r", 1]},
          ["map", [0], [None]])  # fmt: skip
    typed("K-3-parameters", "parameters that are null", "module", module | {"parameters": None})
    typed("K-3-child", "a child that is a list", "module", module | {"modules": ["r", 1]}, ["map", ["c"], [["r", 2]]],
          ["seq", "list", []])  # fmt: skip
    typed("K-3-non-persistent", "names in a list instead of a tuple", "module",
          module | {"buffers": ["r", 1], "non_persistent": ["r", 2]}, empty, ["seq", "list", []])  # fmt: skip
    typed("K-3-hooks", "a hook that is a number", "module", module | {"hooks": ["r", 1]}, ["seq", "tuple", [1]])
    typed("K-3-size", "a size that is a text", "torch.Size", {"dims": ["r", 1]}, ["seq", "tuple", ["1"]])
    typed("K-3-size-true", "a size that is true", "torch.Size", {"dims": ["r", 1]}, ["seq", "tuple", [True]])
    typed("K-3-size-list", "sizes in a list", "torch.Size", {"dims": ["r", 1]}, ["seq", "list", [1]])
    typed("K-3-items", "items that are a list", "OrderedDict", {"items": ["r", 1]}, ["seq", "list", []])
    typed("K-3-bytes", "bytes that are no tensor", "bytes", {"data": ["b", "YQ=="]})
    typed("K-3-method", "a method of a list", "method", {"self": ["r", 1], "name": "append"}, ["seq", "list", []])
    typed("K-3-partial", "a partial of a text", "partial", {"function": "a:b", "args": ["r", 1], "keywords": ["r", 2]},
          ["seq", "tuple", []], empty)  # fmt: skip
    _partials(typed)
    typed("K-3-keywords", "a keyword that is a number", "partial",
          {"function": ["r", 1], "args": ["r", 2], "keywords": ["r", 3]},
          ["typed", "function", 1, {"name": "a:b"}], ["seq", "tuple", []], ["map", [1], [1]])  # fmt: skip
    typed("K-3-attributes", "attributes that are a list", "object", {"class": "a:B", "attributes": ["r", 1]},
          ["seq", "list", []])  # fmt: skip
    groups = {"class": "a:B", "defaults": ["r", 1], "state": ["r", 2], "param_groups": ["r", 3]}
    typed("K-3-groups", "parameter groups in a tuple", "optimizer", groups, empty, empty, ["seq", "tuple", []])
    bad("K-3-parameter-plain", "a parameter that is a tensor and no more", ["r", 0],
        [["typed", "module", 1, module | {"parameters": ["r", 1]}], ["map", ["w"], [["t", 0]]]], flags="0",
        rows=[A])  # fmt: skip
    _modules(typed, module)
    _lazy(typed, module)
    _computed()
    _own_maps(typed, module)
    _library_fields(typed)
    _library_values(typed)
    _numpy_values(typed)
    for name, why, attribute in [
        ("class", "__class__ as an attribute", "__class__"),
        ("dict", "__dict__ as an attribute", "__dict__"),
        ("underscores", "two underscores as an attribute", "__"),
    ]:
        typed(f"A-1-{name}", why, "object", {"class": "a:B", "attributes": ["r", 1]}, ["map", [attribute], [1]])
    typed("A-1-module", "__call__ of a module", "module", module | {"attributes": ["r", 1]}, ["map", ["__call__"], [1]])
    typed("A-1-ordered-dict", "__init__ of an OrderedDict", "OrderedDict", {"items": ["r", 1], "attributes": ["r", 2]},
          empty, ["map", ["__init__"], [1]])  # fmt: skip
    of_tensor = {"root": ["t", 0], "flags": "0", "rows": [A], "attributes": [[0, ["r", 0]]]}
    bad("A-1-tensor", "__class__ of a tensor", nodes=[["map", ["__class__"], [1]]], **of_tensor)
    bad("A-1-tensor-key", "an attribute of a tensor whose name is 1", nodes=[["map", [1], [1]]], **of_tensor)
    bad("A-1-tensor-list", "a tensor's attributes are a list", nodes=[["seq", "list", []]], **of_tensor)
    bad("A-1-tensor-number", "a tensor's attributes are a number", **of_tensor | {"attributes": [[0, 5]]})


def _modules(typed: Callable[..., None], module: dict[str, Any]) -> None:
    for name, why, part, key in [
        ("dot", "a dot in a parameter's name", "parameters", "a.b"),
        ("empty", "a buffer without a name", "buffers", ""),
        ("child-dot", "a dot in a child's name", "modules", "a.b"),
        ("internal", "an attribute that nn.Module keeps for itself", "attributes", "_parameters"),
        ("training", "training among the attributes", "attributes", "training"),
        ("hooks", "a parameter named as nn.Module's hooks", "parameters", "_forward_hooks"),
        ("empty-attribute", "an attribute without a name", "attributes", ""),
    ]:
        typed(f"M-1-{name}", why, "module", module | {part: ["r", 1]}, ["map", [key], [None]])
    both = {"parameters": ["r", 1], "attributes": ["r", 2]}
    typed("M-1-two-parts", "a name that is a parameter and an attribute", "module", module | both,
          ["map", ["w"], [None]], ["map", ["w"], [None]])  # fmt: skip
    program = {"summary": "eval", "text": ["b", "e30="], "constants": ["r", 1]}
    for name, why, changed in [
        ("summary", "a program whose summary is null", {"summary": None}),
        ("text", "a program whose text is a string", {"text": "{}"}),
        ("constants", "a program whose constants are null", {"constants": None}),
    ]:
        typed(f"K-3-program-{name}", why, "program", program | changed,
              *([] if name == "constants" else [["seq", "tuple", []]]))  # fmt: skip
    typed("K-3-program-list", "constants in a list", "program", program, ["seq", "list", []])
    typed("K-3-program-number", "a constant that is a number", "program", program, ["seq", "tuple", [1]])
    typed("K-3-no-program", "a module whose program is none", "module", module | {"program": ["r", 1]},
          ["seq", "tuple", []])  # fmt: skip
    typed("K-3-not-direct", "a module that says that its state is not direct", "module", module | {"direct": False})
    for label, name in [("torch", "torch:ReLU"), ("below", "torch.nn:ReLU")]:
        direct = {"class": name, "training": True, "direct": True}
        typed(f"M-6-{label}", "a module of torch whose state is direct", "module", direct)
    typed("M-2-no-buffers", "a non-persistent buffer and no buffers", "module", module | {"non_persistent": ["r", 1]},
          ["seq", "tuple", ["b"]])  # fmt: skip
    typed("M-2-other", "a non-persistent buffer that is none", "module",
          module | {"buffers": ["r", 1], "non_persistent": ["r", 2]}, ["map", ["b"], [None]],
          ["seq", "tuple", ["b", "c"]])  # fmt: skip
    for name, why, names in [
        ("order", "non-persistent buffers that are not in order", ["b", "a"]),
        ("twice", "a non-persistent buffer twice", ["a", "a"]),
        ("case", "non-persistent buffers in the order of a dictionary", ["a", "B"]),
    ]:
        typed(f"M-2-{name}", why, "module", module | {"buffers": ["r", 1], "non_persistent": ["r", 2]},
              ["map", ["a", "b", "B"], [None, None, None]], ["seq", "tuple", names])  # fmt: skip


def bad_call(name: str, why: str, make: Callable[[Tensors], Any]) -> None:
    """Register a file of these nodes, which no writer checks."""

    def content() -> bytes:
        tensors = Tensors()
        nodes, rows = in_walking_order(make(tensors), tensors)
        plan = layout(Document(Ref(0), nodes, rows.table))
        header = plan.header([xxh3_64_intdigest(data) for data in rows.data])
        return header + b"".join(rows.data[i] for i in plan.order)

    reject(name, why, content)


def bad_arguments(name: str, why: str, make: Callable[[Tensors], Iterable[Any]]) -> None:
    """Register a call with these arguments."""
    bad_call(name, why, lambda tensors: golden_of(example_of(*make(tensors))))


def bad_output(name: str, why: str, make: Callable[[Tensors], Typed]) -> None:
    """Register a call with this output."""
    bad_call(name, why, lambda tensors: golden_of(example_of(outputs=[make(tensors)])))


def _outputs() -> None:
    """Outputs of calls, each with one fault: K-3, G-4, G-5."""

    def changed(name: str, why: str, **fields: Any) -> None:
        output = output_of("", 1, threads=0.0)
        bad_output(name, why, lambda tensors: Typed("golden.output", 1, output.fields | fields))

    def sample(name: str, why: str, *shape: int, kept: int = 6, **more: Any) -> None:
        def make(tensors: Tensors) -> Typed:
            found = sample_of(tensors.add("s", "int8", (kept,)), "int8", *(shape or (2, 3)), finite=6)
            return output_of("", Typed("golden.sampled", 1, found.fields | more))

        bad_output(name, why, make)

    changed("K-3-golden-where", "an output at a number", where=0)
    changed("K-3-golden-value", "an output that is a list", value=Seq("list", ()))
    changed("K-3-golden-value-null", "an output that is null", value=None)
    changed("K-3-golden-scale", "a scale that is an integer", scale=1)
    changed("K-3-golden-tolerance", "a tolerance that is null", tolerance=None)
    changed("K-3-golden-evidence", "evidence that is null", evidence=mapping({"batch": None}))
    fields = {"finite": -1, "mean": 0, "sample": 1, "shape": Seq("list", ()), "dtype": None, "digest": 0}
    for field, value in fields.items():
        sample(f"K-3-golden-{field}", f"a sample whose {field} is of another type", **{field: value})
    changed("G-4-scale", "a scale below 0", scale=-0.5)
    changed("G-4-tolerance", "an infinite tolerance", tolerance=math.inf)
    changed("G-4-evidence", "a deviation that is NaN", evidence=mapping({"batch": math.nan}))
    both = [output_of("a", 1), output_of("a", 2)]
    bad_call("G-4-where", "two outputs at one place", lambda tensors: golden_of(example_of(outputs=both)))
    sample("G-5-dtype", "a sample of another dtype", dtype="uint8")
    sample("G-5-shape", "a sample of six elements of five", 5, finite=5)
    sample("G-5-many", "a sample of all of more than 1024 elements", 1025, kept=1025)
    sample("G-5-large", "a shape of 2^62 elements", 2**31, 2**31, kept=1024)
    sample("G-5-negative", "a size below 0", -2, -3)
    sample("G-5-digest", "a digest in capitals", digest="0123456789ABCDEF")
    sample("G-5-short", "a digest of 15 digits", digest="0" * 15)
    sample("G-5-finite", "more finite elements than there are", finite=7)


def _calls() -> None:
    """Calls, each with one fault: K-3, K-4, G-1, and G-3 of what holds a call."""
    module = {"class": "a:B", "training": True}
    other = Typed("module", 1, module | {"golden": one("torch.dtype", name="int8")})
    bad_call("K-3-golden", "a module whose golden is none", lambda tensors: other)
    bad_call("K-3-golden-example", "an example that is none", lambda tensors: golden_of(one("Ellipsis")))
    for field, value in (("args", None), ("keywords", several()), ("random", 1), ("outputs", Seq("list", ()))):
        call = Typed("golden.example", 1, example_of().fields | {field: value})
        bad_call(f"K-3-golden-{field}", f"an example whose {field} is of another type", lambda t, c=call: golden_of(c))
    machine = Typed(
        "module", 1, module | {"golden": one("golden", environment=mapping({"a": None}), examples=several())}
    )
    bad_call("K-3-golden-environment", "a machine that is null", lambda tensors: machine)
    alike = [Typed("golden.example", 1, example_of().fields | {"args": args}) for args in [several(1)] * 2]
    bad_call("K-4-golden", "two calls with the same arguments", lambda tensors: golden_of(*alike))
    alone = {"golden": golden_of().fields["golden"], "example": example_of(), "output": output_of("", 1)}
    alone["object"] = one("golden.object", sequence=True, parts=mapping({}))
    for what, node in alone.items():
        bad_call(f"G-1-{what}", f"a part of golden outputs in a list: {what}", lambda t, n=node: Seq("list", (n,)))

    def sample(tensors: Tensors) -> Any:
        return Seq("list", (sample_of(tensors.add("s", "int8", (1,)), "int8", 1, finite=1),))

    bad_call("G-1-sampled", "a sample in a list", sample)
    one_of_two = golden_of()
    the_other = Typed("module", 1, dict(one_of_two.fields))
    bad_call("G-1-two-modules", "golden outputs of two modules", lambda tensors: Seq("list", (one_of_two, the_other)))
    call, found = example_of(), output_of("", 1)
    bad_call("G-1-example-twice", "one call twice", lambda tensors: golden_of(call, call))
    both = [example_of(outputs=[found]), example_of(outputs=[found])]
    bad_call("G-1-output-twice", "one output of two calls", lambda tensors: golden_of(*both))

    def weight(tensors: Tensors) -> Any:
        shared = tensors.add("t", "float32", (2,))
        return Seq("list", (shared, golden_of(example_of(shared))))

    bad_call("G-3-shared", "an argument that is a tensor of the object, too", weight)


def _arguments() -> None:
    """Arguments of calls, each with one fault: G-2, G-3."""

    def tensor(tensors: Tensors, flags: int = 0) -> TensorRef:
        return tensors.add("t", "float32", (2,), flags=flags)

    module = Typed("module", 1, {"class": "a:B", "training": True})
    bad_arguments("G-2-module", "a module as an argument", lambda tensors: [module])
    bad_arguments("G-2-function", "a function as an argument", lambda tensors: [one("function", name="a:b")])
    bad_arguments("G-2-class", "a class below an argument", lambda tensors: [mapping({"a": one("class", name="a:B")})])
    bad_arguments("G-2-set", "a set as an argument", lambda tensors: [Seq("set", (1,))])
    bad_arguments("G-2-bytes", "bytes as an argument", lambda tensors: [b"a"])
    bad_arguments("G-2-complex", "a complex number as an argument", lambda tensors: [1j])
    meta = one("torch.meta", dtype="int8", shape=several(), strides=several(), flags=0)
    bad_arguments("G-2-meta", "a tensor of another sort as an argument", lambda tensors: [meta])
    held = one("slice", start=Seq("list", ()), stop=None, step=None)
    bad_arguments("G-2-slice", "a slice with a list in it", lambda tensors: [held])
    attributes = one("OrderedDict", items=mapping({}), attributes=mapping({"a": 1}))
    bad_arguments("G-2-attributes", "an OrderedDict with attributes", lambda tensors: [attributes])
    bad_arguments("G-2-float-key", "a key that is a float", lambda tensors: [mapping({0.5: 1})])
    bad_arguments("G-2-tensor-key", "a key that is a tensor", lambda tensors: [mapping({tensor(tensors): 1})])
    bad_arguments("G-2-example", "a call as an argument", lambda tensors: [example_of()])
    twice = Seq("list", (1,))
    bad_arguments("G-2-shared", "a list that two arguments are", lambda tensors: [twice, twice])
    deep: Any = None
    for _ in range(64):
        deep = Seq("list", (deep,))
    bad_arguments("G-2-deep", "an argument that is nested too deeply", lambda tensors: [deep])
    bad_arguments("G-3-parameter", "a parameter as an argument", lambda tensors: [tensor(tensors, PARAMETER)])
    bad_arguments("G-3-twice", "one tensor as two arguments", lambda tensors: [tensor(tensors)] * 2)
    bad_output("G-3-output", "a parameter as an output", lambda tensors: output_of("", tensor(tensors, PARAMETER)))


def _lazy(typed: Callable[..., None], module: dict[str, Any]) -> None:
    blank = {"dtype": "float32", "parameter": True, "requires_grad": True}

    def uninitialized(**more: Any) -> list[Any]:
        return ["typed", "torch.uninitialized", 1, blank | more]

    typed("K-3-lazy-false", "lazy is false", "module", module | {"lazy": False})
    typed("K-3-lazy-1", "lazy is 1", "module", module | {"lazy": 1})
    typed("K-3-blank-buffer", "a buffer among the parameters", "module", module | {"parameters": ["r", 1]},
          ["map", ["w"], [["r", 2]]], uninitialized(parameter=False))  # fmt: skip
    typed("K-3-blank-number", "a buffer that is a dtype", "module", module | {"buffers": ["r", 1]},
          ["map", ["w"], [["r", 2]]], ["typed", "torch.dtype", 1, {"name": "float32"}])  # fmt: skip
    typed("K-3-blank-flag", "a gradient that is 1", "torch.uninitialized", blank | {"requires_grad": 1})
    typed("K-5-blank-dtype", "nothing of an unknown dtype", "torch.uninitialized", blank | {"dtype": "float33"})
    typed("K-5-blank-gradient", "integers that require a gradient", "torch.uninitialized", blank | {"dtype": "int64"})
    typed("A-1-blank", "__class__ of nothing", "torch.uninitialized", blank | {"attributes": ["r", 1]},
          ["map", ["__class__"], [1]])  # fmt: skip
    typed("K-2-blank", "nothing without a dtype", "torch.uninitialized", {"parameter": True, "requires_grad": True})
    for part in ("parameters", "attributes"):
        typed(f"M-5-{part}", "a handle that is data", "module", module | {part: ["r", 1], "lazy": True},
              ["map", ["_load_hook"], [None]])  # fmt: skip
    typed("M-5-buffers", "a handle that is a buffer", "module", module | {"buffers": ["r", 1], "lazy": True},
          ["map", ["_initialize_hook"], [None]])  # fmt: skip


W: Row = ("w", "F32", [2, 3], pattern(24))


def of_size(name: str, dtype: str, *shape: int) -> Row:
    """A row of the header of this dtype and shape."""
    nbytes = math.prod(shape) * {"F32": 4, "F16": 2, "I32": 4, "C64": 8}[dtype]
    return name, dtype, list(shape), pattern(nbytes)


def numbered_rows(*rows: Row) -> list[Row]:
    """Rows whose names are the tails of no keys, so that keys are written in full."""
    return [(f"tensor {i}", *row[1:]) for i, row in enumerate(rows)]


NORMED = {"w_g": of_size("w_g", "F32", 2, 1), "w_v": of_size("w_v", "F32", 2, 3)}
"""The parameters of a module with a `torch.weight_norm`, by name."""


def node_of(kind: str, **fields: Any) -> list[Any]:
    """A typed node."""
    return ["typed", kind, 1, fields]


NORM = node_of("torch.weight_norm", name="w", dim=0)


def hooked(
    name: str, why: str, parameters: dict[str, Row], buffers: dict[str, Row], hooks: list[list[Any]], *below: Any
) -> None:
    """A module whose first nodes are its parameters, its buffers, the tuple of its hooks, these, and what is below."""
    first = len(parameters)
    refs = [["r", 4 + i] for i in range(len(hooks))]
    module = node_of(
        "module", **{"class": "a:B"}, training=True, parameters=["r", 1], buffers=["r", 2], computed=["r", 3]
    )
    nodes = [
        module,
        ["map", list(parameters), [["t", i] for i in range(first)]],
        ["map", list(buffers), [["t", first + i] for i in range(len(buffers))]],
        ["seq", "tuple", refs],
    ]
    rows = numbered_rows(*parameters.values(), *buffers.values())
    trainable = "3" if all(row[1] != "I32" for row in rows) else "2"
    bad(name, why, ["r", 0], [*nodes, *hooks, *below], rows=rows, flags=trainable * first + "0" * len(buffers))


def _computed() -> None:
    """M-4, and the fields of its kinds. Each file has one fault in a module that is right without it."""
    _weight_norms()
    _names_of_computed()
    _shared_hooks()
    _spectral_norms()
    _prunings()


def _weight_norms() -> None:
    def case(name: str, why: str, *, g: Row = NORMED["w_g"], v: Row = NORMED["w_v"], dim: int = 0) -> None:
        hooked(f"M-4-{name}", why, {"w_g": g, "w_v": v}, {}, [node_of("torch.weight_norm", name="w", dim=dim)])

    case("dim", "a norm along dimension 2 of two", dim=2)
    case("dim-negative", "a norm along dimension -3 of two", dim=-3)
    case("dim-beyond-32-bits", "a norm along dimension 2^40", dim=2**40)
    case("dim-other", "norms of rows, and a norm along columns", dim=1)
    case("dim-all", "norms of rows, and one norm of everything", dim=-1)
    case("norms", "one norm for two rows", g=of_size("w_g", "F32", 1, 1))
    case("norms-flat", "norms in one dimension", g=of_size("w_g", "F32", 2))
    case("norms-dtype", "norms of another dtype", g=of_size("w_g", "F16", 2, 1))
    case("norm-of-integers", "norms of integers", v=of_size("w_v", "I32", 2, 3), g=of_size("w_g", "I32", 2, 1))
    case("norm-of-complex", "norms of complex numbers", v=of_size("w_v", "C64", 2, 3), g=of_size("w_g", "C64", 2, 1))
    case("norm-of-nothing", "norms of no numbers", v=of_size("w_v", "F32", 2, 0))
    case("norm-of-scalar", "a norm of a scalar", v=of_size("w_v", "F32"), g=of_size("w_g", "F32"), dim=-1)


def _names_of_computed() -> None:
    for label, why, name in [
        ("empty", "an attribute without a name", ""),
        ("class", "__class__", "__class__"),
        ("internal", "what nn.Module keeps for itself", "_forward_hooks"),
    ]:
        parameters = {f"{name}_g": NORMED["w_g"], f"{name}_v": NORMED["w_v"]}
        hook = node_of("torch.weight_norm", name=name, dim=0)
        hooked(f"M-4-name-{label}", f"a hook that computes {why}", parameters, {}, [hook])
    hooked("M-4-lacks", "a norm of what is not there", NORMED, {}, [node_of("torch.weight_norm", name="u", dim=0)])
    hooked("M-4-parameter", "a computed parameter", NORMED | {"w": W}, {}, [NORM])
    hooked("M-4-buffer", "a computed buffer", NORMED, {"w": W}, [NORM])
    hooked("M-4-twice", "two hooks that compute one attribute", NORMED, {}, [NORM, NORM])
    hooked("M-4-norms-of-buffer", "norms that are a buffer", {"w_v": NORMED["w_v"]}, {"w_g": NORMED["w_g"]}, [NORM])
    module = {"class": "a:B", "training": True, "parameters": ["r", 1]}
    both: list[Any] = ["map", ["w_g", "w_v"], [["t", 0], ["t", 1]]]
    tuple_of_it = ["seq", "tuple", [["r", 4]]]
    for part, label, why in [("modules", "child", "module"), ("attributes", "no-tensor", "number")]:
        fields = module | {part: ["r", 2], "computed": ["r", 3]}
        held = ["map", ["w"], [None if part == "modules" else 1]]
        bad(f"M-4-{label}", f"a computed {why}", ["r", 0],
            [["typed", "module", 1, fields], both, held, tuple_of_it, NORM], flags="33",
            rows=numbered_rows(*NORMED.values()))  # fmt: skip
    for label, why, below in [
        ("list", "hooks in a list", [["seq", "list", []]]),
        ("kind", "a hook that is a dtype", [["seq", "tuple", [["r", 2]]], node_of("torch.dtype", name="float32")]),
    ]:
        hooks = {"class": "a:B", "training": True, "computed": ["r", 1]}
        bad(f"K-3-computed-{label}", why, ["r", 0], [["typed", "module", 1, hooks], *below])


def _shared_hooks() -> None:
    bad("M-4-alone", "a hook in no module", ["r", 0], [NORM])
    bad("M-4-method-alone", "a method in no module", ["r", 0], [node_of("pruning_method", **{"class": "a:B"})])
    module = {"class": "a:B", "training": True, "parameters": ["r", 1], "computed": ["r", 2]}
    both: list[Any] = ["map", ["w_g", "w_v"], [["t", 0], ["t", 1]]]
    bad("M-4-larger", "six numbers computed from one that is stored", ["r", 0],
        [["typed", "module", 1, module], both, ["seq", "tuple", [["r", 3]]], NORM], flags="33",
        rows=numbered_rows(NORMED["w_g"], of_size("w_v", "F32", 1)),
        views=[[1, "float32", [2, 3], [0, 0], 0]])  # fmt: skip

    def two(computed: int, *hooks: Any) -> list[Any]:
        """Two modules with norms of their own."""
        first = module | {"parameters": ["r", 2], "computed": ["r", 3]}
        second = module | {"parameters": ["r", 6], "computed": ["r", computed]}
        nodes = [["seq", "list", [["r", 1], ["r", 5]]], ["typed", "module", 1, first], both]
        nodes += [["seq", "tuple", [["r", 4]]], NORM, ["typed", "module", 1, second]]
        return [*nodes, ["map", ["w_g", "w_v"], [["t", 2], ["t", 1]]], *hooks]

    of_two = {"flags": "333", "rows": numbered_rows(*NORMED.values(), of_size("more", "F32", 2, 1))}
    twice = two(7, ["seq", "tuple", [["r", 8]]], NORM)
    bad("M-4-stored-twice", "two modules that compute from what is stored once", ["r", 0], twice, **of_two)
    bad("M-4-shared", "a hook of two modules", ["r", 0], two(7, ["seq", "tuple", [["r", 4]]]), **of_two)
    bad("K-4-computed", "hooks of two modules", ["r", 0], two(3), **of_two)


def _spectral_norms() -> None:
    u, v = of_size("w_u", "F32", 2), of_size("w_v", "F32", 3)

    def case(label: str, why: str, *, u: Row = u, v: Row = v, **more: Any) -> None:
        fields = {"name": "w", "dim": 0, "power_iterations": 1, "eps": 0} | more
        hook = node_of("torch.spectral_norm", **fields)
        hooked(f"M-4-spectral-{label}", why, {"w_orig": W}, {"w_u": u, "w_v": v}, [hook])

    case("dim", "along dimension 2 of two", dim=2)
    case("dim-negative", "along dimension -1", dim=-1)
    case("dim-other", "vectors of the other dimension", dim=1)
    case("iterations", "no power iteration", power_iterations=0)
    case("iterations-many", "10,001 power iterations", power_iterations=10_001)
    case("u", "a vector that is too short", u=of_size("w_u", "F32", 1))
    case("v", "a vector of two dimensions", v=of_size("w_v", "F32", 3, 1))
    case("dtype", "a vector of another dtype", v=of_size("w_v", "F16", 3))
    case("lacks", "the weight of another name", name="x")


def _prunings() -> None:
    def case(name: str, why: str, *methods: tuple[str, dict[str, Any]], mask: Row = W) -> None:
        below: list[Any] = [["seq", "tuple", []]]
        for cls, attributes in methods:
            below[0][2].append(["r", 5 + len(below)])
            below.append(node_of("pruning_method", **{"class": cls}))
            if attributes:
                below[-1][3]["attributes"] = ["r", 5 + len(below)]
                below.append(["map", list(attributes), list(attributes.values())])
        hook = node_of("torch.prune", name="w", methods=["r", 5], container=False)
        hooked(name, why, {"w_orig": W}, {"w_mask": ("m", *mask[1:])}, [hook], *below)

    of_torch = "torch.nn.utils.prune:"
    identity: tuple[str, dict[str, Any]] = (f"{of_torch}Identity", {})
    case("M-4-mask", "a mask of another shape", identity, mask=of_size("m", "F32", 3, 2))
    case("M-4-no-method", "no method and no container")
    case("M-4-two-methods", "two methods and no container", identity, identity)
    for label, why, cls, attributes in [
        ("more", "an attribute too many", "Identity", {"amount": 1}),
        ("none", "no attributes", "L1Unstructured", {}),
        ("amount-negative", "less than nothing is pruned", "L1Unstructured", {"amount": -1}),
        ("amount-more", "more than everything is pruned", "RandomUnstructured", {"amount": ["f", "1.5"]}),
        ("amount-nan", "an amount that is no number", "RandomUnstructured", {"amount": ["f", "nan"]}),
        ("amount-true", "true is pruned", "RandomUnstructured", {"amount": True}),
        ("dim", "a dimension that is a text", "RandomStructured", {"amount": 1, "dim": "0"}),
        ("order", "an unknown norm", "LnStructured", {"amount": 1, "n": "max", "dim": 0}),
        ("mask", "a mask that is null", "CustomFromMask", {"mask": None}),
    ]:
        given: dict[str, Any] = dict(attributes)  # type: ignore[call-overload]
        case(f"K-5-pruning-{label}", why, (of_torch + cls, given))
    case("A-1-pruning", "__call__ of a method", ("a:B", {"__call__": 1}))


def _partials(typed: Callable[..., None]) -> None:
    empty, nothing = ["map", [], []], ["seq", "tuple", []]
    of_itself = {"function": ["r", 0], "args": ["r", 1], "keywords": ["r", 2]}
    typed("K-3-partial-of-itself", "a partial of itself", "partial", of_itself, nothing, empty)
    of_next = {"function": ["r", 1], "args": ["r", 2], "keywords": ["r", 3]}
    typed("K-3-partial-of-list", "a partial of a list", "partial", of_next, ["seq", "list", []], nothing, empty)
    typed("K-3-partial-of-dtype", "a partial of a dtype", "partial", of_next,
          ["typed", "torch.dtype", 1, {"name": "float32"}], nothing, empty)  # fmt: skip
    inner = {"function": ["r", 2], "args": ["r", 3], "keywords": ["r", 4]}
    outer = of_next | {"args": ["r", 5], "keywords": ["r", 6]}
    typed("K-3-partial-of-partial", "a partial of a partial", "partial", outer,
          ["typed", "partial", 1, inner], ["typed", "function", 1, {"name": "a:b"}], nothing, empty, nothing,
          empty)  # fmt: skip


def _own_maps(typed: Callable[..., None], module: dict[str, Any]) -> None:
    empty = ["map", [], []]
    one_map = {"class": "a:B", "attributes": ["r", 1]}
    typed("K-4-two-fields", "one map as parameters and as buffers", "module",
          module | {"parameters": ["r", 1], "buffers": ["r", 1]}, empty)  # fmt: skip
    typed("K-4-itself", "attributes that hold their own map", "object", one_map, ["map", ["a"], [["r", 1]]])
    typed("K-4-own-child", "attributes that hold a list of their own map", "object", one_map,
          ["map", ["a"], [["r", 2]]], ["seq", "list", [["r", 1]]])  # fmt: skip
    typed("K-4-items", "items of an OrderedDict that are its attributes, too", "OrderedDict",
          {"items": ["r", 1], "attributes": ["r", 1]}, empty)  # fmt: skip
    typed("K-4-keywords", "keywords that are also an argument", "partial",
          {"function": ["r", 1], "args": ["r", 2], "keywords": ["r", 3]},
          ["typed", "function", 1, {"name": "a:b"}], ["seq", "tuple", [["r", 3]]], empty)  # fmt: skip
    typed("K-4-modules", "one map as modules of two modules", "module", module | {"modules": ["r", 1]},
          ["map", ["a"], [["r", 2]]], ["typed", "module", 1, module | {"modules": ["r", 1]}])  # fmt: skip
    typed("K-4-extra-state", "attributes that are the extra state, too", "module",
          module | {"attributes": ["r", 1], "extra_state": ["r", 1]}, empty)  # fmt: skip
    typed("K-4-defaults", "an optimizer's defaults as a parameter group", "optimizer",
          {"class": "a:B", "defaults": ["r", 1], "state": ["r", 2], "param_groups": ["r", 3]},
          empty, empty, ["seq", "list", [["r", 1]]])  # fmt: skip
    typed("K-4-opaque", "attributes that a call has, too", "object", one_map,
          ["map", ["a"], [["r", 2]]], ["opaque", "call", {"args": ["r", 1]}])  # fmt: skip
    owner = ["typed", "object", 1, {"class": "a:B", "attributes": ["r", 0]}]
    bad("K-4-root", "attributes that are the root, too", ["r", 0], [["map", ["a"], [["r", 1]]], owner])
    custom = ["typed", "custom", 1, {"class": "a:B", "state": ["r", 2]}]
    bad("K-4-state", "one map as the state of two", ["r", 0],
        [["seq", "list", [["r", 1], ["r", 3]]], custom, empty, custom])  # fmt: skip
    held = ["typed", "object", 1, {"class": "a:B", "attributes": ["r", 1]}]
    listed = ["seq", "list", [["r", 1], ["r", 3]]]
    function = ["typed", "function", 1, {"name": "a:b"}]
    size = ["typed", "torch.Size", 1, {"dims": ["r", 2]}]
    bad("K-4-dims", "one tuple as the sizes of two", ["r", 0], [listed, size, ["seq", "tuple", [1]], size])
    bad("K-4-dims-elsewhere", "sizes that are a tuple elsewhere, too", ["r", 0],
        [["seq", "list", [["r", 1], ["r", 2]]], size, ["seq", "tuple", [1]]])  # fmt: skip
    partial = {"function": ["r", 1], "args": ["r", 2], "keywords": ["r", 3]}
    typed("K-4-args", "arguments that are a keyword's value, too", "partial", partial, function,
          ["seq", "tuple", [1]], ["map", ["a"], [["r", 2]]])  # fmt: skip
    typed("K-4-args-itself", "arguments that hold their own tuple", "partial", partial, function,
          ["seq", "tuple", [["r", 2]]], empty)  # fmt: skip
    typed("K-4-hooks", "one tuple as hooks and as non-persistent buffers", "module",
          module | {"buffers": ["r", 1], "non_persistent": ["r", 2], "hooks": ["r", 2]},
          ["map", ["a"], [None]], ["seq", "tuple", ["a"]])  # fmt: skip
    bad("K-4-non-persistent", "one tuple as the non-persistent buffers of two", ["r", 0],
        [["seq", "list", [["r", 1], ["r", 4]]],
         ["typed", "module", 1, module | {"buffers": ["r", 2], "non_persistent": ["r", 3]}],
         ["map", ["a"], [None]], ["seq", "tuple", ["a"]],
         ["typed", "module", 1, module | {"buffers": ["r", 5], "non_persistent": ["r", 3]}],
         ["map", ["a", "b"], [None, None]]])  # fmt: skip
    for name, what in [("list", ["seq", "list", [1]]), ("tuple", ["seq", "tuple", [1]])]:
        bad(f"K-4-state-{name}", f"one {name} as the state of two", ["r", 0], [listed, custom, what, custom])
    bad("K-4-two-tensors", "one map as the attributes of two tensors", ["r", 0],
        [["seq", "list", [["t", 0], ["t", 1]]], ["map", ["a"], [1]]], flags="00", rows=[A, B],
        attributes=[[0, ["r", 1]], [1, ["r", 1]]])  # fmt: skip
    bad("K-4-tensor-itself", "attributes of a tensor that hold their own map", ["t", 0],
        [["map", ["a"], [["r", 0]]]], flags="0", rows=[A], attributes=[[0, ["r", 0]]])  # fmt: skip
    bad("K-4-tensor-elsewhere", "attributes of a tensor that are in a list, too", ["r", 0],
        [["seq", "list", [["t", 0], ["r", 1]]], empty], flags="0", rows=[A],
        attributes=[[0, ["r", 1]]])  # fmt: skip
    bad("K-4-tensor", "attributes of an object and of a tensor", ["r", 0], [held, ["map", [["=", 0]], [["t", 0]]]],
        flags="0", rows=[A], attributes=[[0, ["r", 1]]])  # fmt: skip


CLOCK = clock(12, 0, 0, 0, 0, None)
DAY = date_of(2024, 2, 29)
DELTA = {"days": 0, "seconds": 0, "microseconds": 0}
UUID = {"hex": "0123456789abcdef" * 2}


def _library_fields(typed: Callable[..., None]) -> None:
    """Kinds of Python's, torch's and numpy's own types: their fields."""
    empty, nothing = ["map", [], []], ["seq", "tuple", []]
    items = {"items": ["r", 1]}
    typed("K-2-no-factory", "a defaultdict without a factory", "defaultdict", items, empty)
    typed("K-2-no-step", "a range without a step", "range", {"start": 0, "stop": 1})
    typed("K-2-name-first", "a time zone's name before its offset", "timezone", {"name": "A", "offset": ["r", 1]},
          ["typed", "timedelta", 1, DELTA])  # fmt: skip
    typed("K-2-enum-class", "a member of no class", "enum", {"members": ["r", 1]}, nothing)
    typed("K-3-factory-text", "a factory that is a text", "defaultdict", {"factory": "builtins:list"} | items, empty)
    typed("K-3-factory-list", "a factory that is a list", "defaultdict", {"factory": ["r", 1], "items": ["r", 2]},
          ["seq", "list", []], empty)  # fmt: skip
    typed("K-3-default-items", "items that are null", "defaultdict", {"factory": None, "items": None})
    typed("K-3-counter", "counts in a list", "Counter", items, ["seq", "list", []])
    typed("K-3-counter-attributes", "an attribute whose name is 1", "Counter", items | {"attributes": ["r", 2]}, empty,
          ["map", [1], [1]])  # fmt: skip
    typed("K-3-deque", "items of a deque in a list", "deque", items | {"maxlen": None}, ["seq", "list", []])
    for name, maxlen in {"negative": -1, "true": True, "float": ["f", "1.0"]}.items():
        typed(f"K-3-maxlen-{name}", "a maxlen that is no integer from 0", "deque", items | {"maxlen": maxlen}, nothing)
    for kind in ("Namespace", "SimpleNamespace"):
        typed(f"K-3-{kind}", "an attribute whose name is null", kind, {"attributes": ["r", 1]}, ["map", [None], [1]])
    pair = {"class": "a:B", "names": ["r", 1], "items": ["r", 2]}
    typed("K-3-names-list", "names in a list", "namedtuple", pair, ["seq", "list", []], nothing)
    typed(
        "K-3-names-number", "a name that is a number", "namedtuple", pair, ["seq", "tuple", [1]], ["seq", "tuple", [1]]
    )
    typed("K-3-items-of-namedtuple", "items in a map", "namedtuple", pair, nothing, empty)
    typed(
        "K-3-members", "a member that is a number", "enum", {"class": "a:B", "members": ["r", 1]}, ["seq", "tuple", [1]]
    )
    for name, start in {"float": ["f", "0.0"], "true": True, "null": None, "text": "0"}.items():
        typed(f"K-3-range-{name}", "a start that is no integer", "range", {"start": start, "stop": 1, "step": 1})
    typed("K-3-pure", "pure is 1", "path", {"flavour": "posix", "pure": 1, "text": "a"})
    typed("K-3-path-bytes", "a path in bytes", "path", {"flavour": "posix", "pure": True, "text": ["b", "YQ=="]})
    typed("K-3-year-text", "a year that is a text", "date", DAY | {"year": "2024"})
    typed("K-3-fold-true", "fold is true", "time", CLOCK | {"fold": True})
    typed("K-2-ellipsis", "an Ellipsis with a field", "Ellipsis", {"name": "..."})
    typed("K-3-bytearray", "a bytearray of bytes in place", "bytearray", {"data": ["b", "YQ=="]})
    typed("K-3-time-zone-text", "a time zone that is a text", "time", CLOCK | {"timezone": "UTC"})
    typed("K-3-time-zone-timedelta", "a time zone that is a timedelta", "datetime",
          DAY | CLOCK | {"timezone": ["r", 1]}, ["typed", "timedelta", 1, DELTA])  # fmt: skip
    typed("K-3-seconds-float", "seconds that are a float", "timedelta", DELTA | {"seconds": ["f", "0.5"]})
    typed("K-3-zone", "a time zone by number", "ZoneInfo", {"key": 1})
    typed("K-3-offset", "an offset in seconds", "timezone", {"offset": 3600})
    typed("K-3-time-zone-name", "a name that is null", "timezone", {"offset": ["r", 1], "name": None},
          ["typed", "timedelta", 1, DELTA])  # fmt: skip
    typed("K-3-uuid-integer", "a UUID as an integer", "UUID", {"hex": 1})
    typed("K-3-uuid-safe", "safe is null", "UUID", UUID | {"safe": None})
    typed("K-3-decimal-float", "a Decimal as a float", "Decimal", {"text": ["f", "0.5"]})
    typed(
        "K-3-fraction-float", "a numerator that is a float", "Fraction", {"numerator": ["f", "1.0"], "denominator": 1}
    )
    typed("K-3-fraction-true", "a denominator that is true", "Fraction", {"numerator": 1, "denominator": True})
    typed("K-3-memory-format", "a memory format by number", "torch.memory_format", {"name": 1})
    typed("K-3-layout", "a layout by number", "torch.layout", {"name": 1})
    typed("K-3-generator", "a generator's state in a text", "torch.Generator", {"device": "cpu", "state": "a"})
    one = {"flags": "0", "rows": [BYTE]}
    array = {"dtype": "|i1", "data": ["t", 0], "writeable": True}
    typed("K-3-array-bytes", "an array's data in place", "numpy.ndarray", array | {"data": ["b", "YQ=="]})
    bad("K-3-writeable", "writeable is 1", ["r", 0], [["typed", "numpy.ndarray", 1, array | {"writeable": 1}]], **one)
    typed("K-3-scalar-number", "a scalar's data as a number", "numpy.scalar", {"dtype": "|i1", "data": 1})
    typed("K-3-dtype-number", "a dtype by number", "numpy.dtype", {"name": 1})
    _library_parts(typed)
    _derived(typed)


def _derived(typed: Callable[..., None]) -> None:
    """Objects of classes that derive from a builtin."""
    empty, of = ["map", [], []], {"class": "a:B"}
    typed("K-1-derived", "version 2 of derived", "derived", of | {"value": 1}, version=2)
    typed("K-2-derived", "an object that derives from nothing", "derived", of)
    typed("K-2-derived-order", "attributes before a value", "derived", of | {"attributes": ["r", 1], "value": 1}, empty)
    for name, value in {"null": None, "true": True}.items():
        typed(f"K-3-derived-{name}", "a value that no class derives from", "derived", of | {"value": value})
    bad("K-3-derived-tensor", "a class that derives from a tensor", ["r", 0],
        [["typed", "derived", 1, of | {"value": ["t", 0]}]], flags="0", rows=[BYTE])  # fmt: skip
    held = of | {"value": ["r", 1]}
    typed("K-3-derived-derived", "a value that derives from something itself", "derived", held,
          ["typed", "derived", 1, of | {"value": 1}])  # fmt: skip
    typed("K-3-derived-range", "a value that is a range", "derived", held,
          ["typed", "range", 1, {"start": 0, "stop": 1, "step": 1}])  # fmt: skip
    typed("K-3-derived-namespace", "a value that is a Namespace", "derived", held,
          ["typed", "Namespace", 1, {"attributes": ["r", 2]}], empty)  # fmt: skip
    typed("K-3-derived-attributes", "an attribute whose name is 1", "derived",
          of | {"value": 1, "attributes": ["r", 1]}, ["map", [1], [1]])  # fmt: skip
    typed("A-1-derived", "__class__ of an object that derives from a number", "derived",
          of | {"value": 1, "attributes": ["r", 1]}, ["map", ["__class__"], [1]])  # fmt: skip
    typed(
        "K-4-derived-attributes", "one map as value and attributes", "derived", held | {"attributes": ["r", 1]}, empty
    )
    two, one = ["seq", "list", [["r", 1], ["r", 3]]], ["typed", "derived", 1, of | {"value": ["r", 2]}]
    for name, value in {"map": empty, "list": ["seq", "list", [1]], "tuple": ["seq", "tuple", [1]]}.items():
        bad(f"K-4-derived-{name}", f"one {name} as the value of two", ["r", 0], [two, one, value, one])
    text = ["typed", "str", 1, {"data": ["t", 0]}]
    deque = ["typed", "deque", 1, {"items": ["r", 3], "maxlen": None}]
    bad("K-4-derived-deque", "one deque as the value of two", ["r", 0],
        [["seq", "list", [["r", 1], ["r", 4]]], one, deque, ["seq", "tuple", [1]], one])  # fmt: skip
    bad("K-4-derived-text", "one long text as the value of two", ["r", 0], [two, one, text, one],
        rows=[TEXT], flags="0")  # fmt: skip
    bad("K-4-derived-itself", "a list that is in itself, as a value", ["r", 0],
        [["typed", "derived", 1, held], ["seq", "list", [["r", 1]]]])  # fmt: skip
    bad("V-4-derived", "an object that derives from the tuple that it is in", ["r", 0],
        [["typed", "derived", 1, held], ["seq", "tuple", [["r", 0]]]])  # fmt: skip
    bad("V-2-derived", "a key that derives from a string", ["r", 0],
        [["map", [["r", 1]], [1]], ["typed", "derived", 1, of | {"value": "a"}]])  # fmt: skip


def _library_parts(typed: Callable[..., None]) -> None:
    """Attributes, and what is part of a node."""
    empty, items = ["map", [], []], {"items": ["r", 1]}
    for kind in ("Namespace", "SimpleNamespace"):
        typed(f"A-1-{kind}", f"__class__ of a {kind}", kind, {"attributes": ["r", 1]}, ["map", ["__class__"], [1]])
    typed("A-1-Counter", "__init__ of a Counter", "Counter", items | {"attributes": ["r", 2]}, empty,
          ["map", ["__init__"], [1]])  # fmt: skip
    typed(
        "K-4-counter", "counts that are attributes, too", "Counter", {"items": ["r", 1], "attributes": ["r", 1]}, empty
    )
    two = ["seq", "list", [["r", 1], ["r", 3]]]
    named = ["typed", "namedtuple", 1, {"class": "a:B", "names": ["r", 2], "items": ["r", 3]}]
    other = ["typed", "namedtuple", 1, {"class": "a:B", "names": ["r", 2], "items": ["r", 5]}]
    names, ones = ["seq", "tuple", ["x"]], ["seq", "tuple", [1]]
    bad("K-4-names", "one tuple as the names of two", ["r", 0],
        [["seq", "list", [["r", 1], ["r", 4]]], named, names, ones, other, ones])  # fmt: skip
    other = ["typed", "namedtuple", 1, {"class": "a:B", "names": ["r", 5], "items": ["r", 3]}]
    bad("K-4-items-of-namedtuples", "one tuple as the items of two", ["r", 0],
        [["seq", "list", [["r", 1], ["r", 4]]], named, names, ones, other, names])  # fmt: skip
    same = {"class": "a:B", "names": ["r", 1], "items": ["r", 1]}
    typed("K-4-names-and-items", "one tuple as names and as items", "namedtuple", same, names)
    enum = ["typed", "enum", 1, {"class": "a:B", "members": ["r", 2]}]
    bad("K-4-members", "one tuple as the members of two", ["r", 0], [two, enum, names, enum])
    deque = ["typed", "deque", 1, {"items": ["r", 2], "maxlen": None}]
    bad("K-4-deque", "one tuple as the items of two", ["r", 0], [two, deque, ones, deque])
    bad("K-4-deque-elsewhere", "items of a deque that are a tuple elsewhere, too", ["r", 0],
        [["seq", "list", [["r", 1], ["r", 2]]], deque, ones])  # fmt: skip
    bad("K-4-deque-itself", "a deque that holds its own tuple", ["r", 0],
        [["typed", "deque", 1, {"items": ["r", 1], "maxlen": None}], ["seq", "tuple", [["r", 1]]]])  # fmt: skip
    default = ["typed", "defaultdict", 1, {"factory": None, "items": ["r", 2]}]
    bad("K-4-defaultdict", "one map as the items of two", ["r", 0], [two, default, empty, default])
    space = ["typed", "Namespace", 1, {"attributes": ["r", 2]}]
    bad("K-4-namespace", "one map as the attributes of two", ["r", 0], [two, space, empty, space])


def _library_values(typed: Callable[..., None]) -> None:
    """K-5: fields of the right types, and of no value of Python's."""
    deque = {"items": ["r", 1]}
    pair = ["seq", "tuple", [1, 2]]
    typed("K-5-deque", "two items, and at most one", "deque", deque | {"maxlen": 1}, pair)
    typed("K-5-deque-of-none", "an item, and at most none", "deque", deque | {"maxlen": 0}, ["seq", "tuple", [1]])
    typed("K-5-deque-maxlen", "at most 2^63 items", "deque", deque | {"maxlen": ["i", hex(2**63)]}, pair)
    for name, why, names in [
        ("fewer", "a name for two items", ["x"]),
        ("more", "three names for two items", ["x", "y", "z"]),
        ("twice", "a name twice", ["x", "x"]),
        ("underscore", "a name that begins with an underscore", ["x", "_y"]),
        ("dunder", "a name with underscores on both sides", ["x", "__class__"]),
        ("keyword", "a name that is a keyword", ["x", "class"]),
        ("constant", "a name that is None", ["x", "None"]),
        ("blank", "a name with a blank", ["x", "a b"]),
        ("digit", "a name that begins with a digit", ["x", "1"]),
        ("empty", "a name without characters", ["x", ""]),
    ]:
        typed(f"K-5-namedtuple-{name}", why, "namedtuple", {"class": "a:B", "names": ["r", 1], "items": ["r", 2]},
              ["seq", "tuple", names], pair)  # fmt: skip
    typed("K-5-enum", "a member twice", "enum", {"class": "a:B", "members": ["r", 1]}, ["seq", "tuple", ["A", "A"]])
    for name, why, rest in [
        ("zero", "a flag with no bits more", 0),
        ("negative", "a flag of a negative number", -2),
        ("large", "a flag of 65 bits", ["i", hex(2**64)]),
    ]:
        typed(f"K-5-flag-{name}", why, "enum", {"class": "a:B", "members": ["r", 1], "rest": rest},
              ["seq", "tuple", ["A"]])  # fmt: skip
    typed("K-3-flag", "more bits of a flag in a text", "enum", {"class": "a:B", "members": ["r", 1], "rest": "8"},
          ["seq", "tuple", ["A"]])  # fmt: skip
    typed("K-3-averaging", "a decay in a text", "torch.averaging", {"function": "get_ema_avg_fn", "decay": "0.5"})
    for name, why, fields in (
        ("function", "a function of no average", {"function": "update_bn"}),
        ("no-decay", "a running average without its decay", {"function": "get_ema_avg_fn"}),
        ("swa", "an average that has no decay", {"function": "get_swa_avg_fn", "decay": ["f", "0.5"]}),
        ("large", "a decay beyond 1", {"function": "get_ema_multi_avg_fn", "decay": ["f", "1.5"]}),
        ("nan", "a decay that is no number", {"function": "get_ema_multi_avg_fn", "decay": ["f", "nan"]}),
    ):
        typed(f"K-5-averaging-{name}", why, "torch.averaging", fields)
    typed("K-5-range", "a step of 0", "range", {"start": 0, "stop": 1, "step": 0})
    for name, why, flavour, text in [
        ("flavour", "a path of another system", "vms", "a"),
        ("flavour-case", "a flavour in another case", "Posix", "a"),
        ("empty", "an empty path", "posix", ""),
        ("slashes", "two slashes", "posix", "a//b"),
        ("three-slashes", "three slashes in front", "posix", "///a"),
        ("slash-behind", "a slash behind a path", "posix", "a/"),
        ("dot", "a part that is a dot", "posix", "a/./b"),
        ("dot-in-front", "a dot in front of a path", "posix", "./a"),
        ("windows-slash", "a slash in a path of Windows", "windows", "a/b"),
        ("windows-behind", "a backslash behind a path", "windows", "C:\\a\\"),
        ("windows-share", "a share without its root", "windows", "\\\\host\\share"),
        ("windows-empty", "an empty path of Windows", "windows", ""),
    ]:
        typed(f"K-5-path-{name}", why, "path", {"flavour": flavour, "pure": True, "text": text})
    for name, why, changed in [
        ("february-30", "the 30th of February", {"day": 30}),
        ("february-29", "the 29th of February in a common year", {"year": 2023}),
        ("century", "the 29th of February 1900", {"year": 1900}),
        ("day-0", "day 0", {"day": 0}),
        ("month-0", "month 0", {"month": 0}),
        ("month-13", "month 13", {"month": 13}),
        ("year-0", "year 0", {"year": 0}),
        ("year-10000", "year 10000", {"year": 10000}),
        ("beyond-64-bits", "year 2^70", {"year": ["i", hex(2**70)]}),
    ]:
        typed(f"K-5-date-{name}", why, "date", DAY | changed)
        typed(f"K-5-datetime-{name}", f"{why}, with a time", "datetime", DAY | changed | CLOCK)
    for name, why, changed in [
        ("hour", "hour 24", {"hour": 24}),
        ("minute", "minute 60", {"minute": 60}),
        ("second", "second 60", {"second": 60}),
        ("microsecond", "microsecond 1,000,000", {"microsecond": 10**6}),
        ("negative", "hour -1", {"hour": -1}),
        ("fold", "fold is 2", {"fold": 2}),
        ("fold-negative", "fold is -1", {"fold": -1}),
        ("beyond-64-bits", "second 2^70", {"second": ["i", hex(2**70)]}),
    ]:
        typed(f"K-5-time-{name}", why, "time", CLOCK | changed)
    typed("K-5-datetime-fold", "fold is 2, with a date", "datetime", DAY | CLOCK | {"fold": 2})
    for name, why, changed in [
        ("seconds", "as many seconds as a day has", {"seconds": 86_400}),
        ("seconds-negative", "-1 seconds", {"seconds": -1}),
        ("microseconds", "1,000,000 microseconds", {"microseconds": 10**6}),
        ("microseconds-negative", "-1 microseconds", {"microseconds": -1}),
        ("days", "1,000,000,000 days", {"days": 10**9}),
        ("days-negative", "-1,000,000,000 days", {"days": -(10**9)}),
        ("beyond-64-bits", "2^70 days", {"days": ["i", hex(2**70)]}),
    ]:
        typed(f"K-5-timedelta-{name}", why, "timedelta", DELTA | changed)
    for name, why, changed in [
        ("day", "an offset of 24 hours", {"days": 1}),
        ("day-negative", "an offset of -24 hours", {"days": -1}),
        ("year", "an offset of 365 days", {"days": 365}),
    ]:
        typed(f"K-5-timezone-{name}", why, "timezone", {"offset": ["r", 1]}, ["typed", "timedelta", 1, DELTA | changed])
    for name, why, key in [
        ("empty", "an empty name of a time zone", ""),
        ("slash", "a time zone by its path", "/usr/share/zoneinfo/UTC"),
        ("slash-behind", "a slash behind a time zone", "Europe/"),
        ("slashes", "two slashes in a time zone", "Europe//Berlin"),
        ("up", "a time zone in the folder above", "../UTC"),
        ("backslash", "a time zone with a backslash", "Europe\\Berlin"),
        ("dot", "a time zone with a dot", "zone.tab"),
        ("drive", "a time zone on a drive", "C:/UTC"),
        ("hyphen", "a part that begins with a hyphen", "Etc/-5"),
        ("underscore", "a part that begins with an underscore", "__init__"),
        ("blank", "a time zone with a blank", "Europe/Isle of Man"),
        ("line", "a line break behind a time zone", "UTC\n"),
        ("nul", "a NUL in a time zone", "UTC\0"),
        ("letter", "a letter that is not ASCII", "Europe/Z\u00fcrich"),
        ("long", "a name of 256 characters", "a" * 256),
    ]:
        typed(f"K-5-zone-{name}", why, "ZoneInfo", {"key": key})
    typed("K-5-zone-time", "no hour of a time zone", "time", CLOCK | {"hour": 24, "timezone": ["r", 1]},
          ["typed", "ZoneInfo", 1, {"key": "Nowhere"}])  # fmt: skip
    for name, why, text in [
        ("upper-case", "hexadecimal in upper case", UUID["hex"].upper()),
        ("hyphens", "with hyphens", "01234567-89ab-cdef-0123-456789abcdef"),
        ("braces", "in braces", "{" + UUID["hex"] + "}"),
        ("short", "31 digits", UUID["hex"][1:]),
        ("long", "33 digits", UUID["hex"] + "0"),
        ("word", "letters that are no digits", "g" * 32),
        ("digits", "digits that are not ASCII", "\u0663" * 32),
    ]:
        typed(f"K-5-uuid-{name}", why, "UUID", {"hex": text})
    typed("K-5-uuid-unknown", "safe says that it is unknown", "UUID", UUID | {"safe": "unknown"})
    typed("K-5-uuid-safe", "safe is another word", "UUID", UUID | {"safe": "yes"})
    for name, why, text in [
        ("empty", "no digits", ""),
        ("word", "a word", "one"),
        ("plus", "a plus sign", "+1"),
        ("zero", "a zero in front", "01"),
        ("point", "a point and nothing behind it", "1."),
        ("no-zero", "a point and nothing before it", ".5"),
        ("case", "an exponent in lower case", "1e+5"),
        ("exponent", "an exponent without a sign", "1E5"),
        ("needless", "an exponent that is not needed", "1E-3"),
        ("scientific", "a small number in full", "0.0000001"),
        ("two-digits", "two digits before the point", "12E+5"),
        ("blank", "a blank", " 1"),
        ("underscore", "an underscore", "1_0"),
        ("digits", "digits that are not ASCII", "\u0663"),
        ("infinity", "infinity by another name", "inf"),
        ("nan", "NaN in lower case", "nan"),
        ("nan-0", "a NaN with a zero", "NaN0"),
        ("large", "an exponent of 10^18", "1E+1000000000000000000"),
        ("small", "an exponent of -2 * 10^18", "1E-2000000000000000000"),
        ("huge", "an exponent of 10^30", f"1E+{10**30}"),
        ("surrogate", "a surrogate", ["s", "7aCA"]),
    ]:
        typed(f"K-5-decimal-{name}", why, "Decimal", {"text": text})
    for name, why, numerator, denominator in [
        ("zero", "1 / 0", 1, 0),
        ("negative", "1 / -2", 1, -2),
        ("lowest", "2 / 4", 2, 4),
        ("of-zero", "0 / 2", 0, 2),
    ]:
        typed(f"K-5-fraction-{name}", why, "Fraction", {"numerator": numerator, "denominator": denominator})
    for name, why, state in [
        ("short", "a state of 624 integers", bytes(2496)),
        ("long", "a state of 626 integers", bytes(2504)),
        ("place", "a next number beyond the last", bytes(2496) + struct.pack("<I", 625)),
        ("far", "a next number at the place -1", bytes(2496) + b"\xff" * 4),
    ]:
        text = base64.b64encode(state).decode()
        typed(f"K-5-random-{name}", why, "Random", {"state": ["b", text], "gauss": None})
    _generators(typed)
    short = ["b", "AAAA"]
    typed("K-3-random", "a state in a tuple", "Random", {"state": ["r", 1], "gauss": None}, ["seq", "tuple", [1]])
    typed("K-3-random-gauss", "a next number that is an integer", "Random", {"state": short, "gauss": 1})
    long = ["i", hex(2**16384)]
    typed("LIMIT-numerator", "a numerator of 16,385 bits", "Fraction", {"numerator": long, "denominator": 1})
    typed("LIMIT-denominator", "a denominator of 16,385 bits", "Fraction", {"numerator": 1, "denominator": long})


def _generators(typed: Callable[..., None]) -> None:
    """Generators of numpy: fields that are not of their types, and states that none has."""
    for name, why, kind, state in [
        ("name", "bits made by nothing", "PCG32", bytes(40)),
        ("case", "a name in another case", "pcg64", bytes(40)),
        ("short", "a state of 39 bytes", "PCG64", bytes(39)),
        ("long", "a state of 44 bytes", "SFC64", bytes(44)),
        ("half", "two halves of a number", "PCG64DXSM", bytes(32) + struct.pack("<II", 2, 0)),
        ("sfc-half", "two halves of a number", "SFC64", bytes(32) + struct.pack("<II", 2, 0)),
        ("place", "a next number beyond the last", "MT19937", bytes(2496) + struct.pack("<I", 625)),
        ("philox-place", "a next number beyond the buffer", "Philox", bytes(80) + struct.pack("<III", 5, 0, 0)),
        ("philox-half", "two halves of a number", "Philox", bytes(80) + struct.pack("<III", 4, 2, 0)),
    ]:
        text = base64.b64encode(state).decode()
        typed(f"K-5-bits-{name}", why, "numpy.BitGenerator", {"name": kind, "state": ["b", text], "seed": None})
    pcg = {"name": "PCG64", "state": ["b", base64.b64encode(bytes(40)).decode()], "seed": None}
    typed("K-3-bits-seed", "a seed that is a number", "numpy.BitGenerator", pcg | {"seed": 1})
    typed("K-3-bits-state", "a state that is a number", "numpy.BitGenerator", pcg | {"state": 1})
    typed("K-3-bits", "a generator of a name", "numpy.Generator", {"bit_generator": "PCG64"})
    typed("K-3-random-state", "a next number that is an integer", "numpy.RandomState",
          {"bit_generator": ["r", 1], "gauss": 1}, ["typed", "numpy.BitGenerator", 1, pcg])  # fmt: skip
    seed = {"entropy": 1, "spawn_key": ["r", 1], "pool_size": 4, "spawned": 0}
    nothing = ["seq", "tuple", []]
    for name, why, changed in [
        ("entropy", "a negative seed", {"entropy": -1}),
        ("long", "a seed of 1025 bits", {"entropy": ["i", hex(2**1024)]}),
        ("pool", "a pool of 3 words", {"pool_size": 3}),
        ("pool-large", "a pool of 65 words", {"pool_size": 65}),
        ("spawned", "-1 children", {"spawned": -1}),
        ("spawned-large", "2^32 children", {"spawned": 2**32}),
    ]:
        typed(f"K-5-seeds-{name}", why, "numpy.SeedSequence", seed | changed, nothing)
    typed("K-5-seeds-key", "a negative key", "numpy.SeedSequence", seed, ["seq", "tuple", [-1]])
    typed("K-5-seeds-tuple", "a negative seed among others", "numpy.SeedSequence",
          seed | {"entropy": ["r", 1], "spawn_key": ["r", 2]}, ["seq", "tuple", [1, -1]], nothing)  # fmt: skip
    typed("K-3-seeds", "a seed that is a text", "numpy.SeedSequence", seed | {"entropy": "1"}, nothing)
    typed("K-3-seeds-key", "keys in a list", "numpy.SeedSequence", seed, ["seq", "list", []])
    typed("K-4-seeds", "one tuple as seeds and keys", "numpy.SeedSequence", seed | {"entropy": ["r", 1]},
          ["seq", "tuple", [1]])  # fmt: skip


def _numpy_values(typed: Callable[..., None]) -> None:
    """K-5: fields of the right types, and of no value of numpy's."""
    for name, why, text in [
        ("word", "a dtype by its name", "float32"),
        ("object", "objects", "|O"),
        ("void", "bytes of no type", "|V4"),
        ("fields", "fields of their own", "f4,f4"),
        ("native", "the machine's byte order", "=f4"),
        ("order-of-byte", "a byte order of bytes", "<i1"),
        ("order-of-bool", "a byte order of booleans", ">b1"),
        ("no-order", "no byte order", "|i4"),
        ("long-double", "floats that differ from machine to machine", "<f16"),
        ("size", "an integer of three bytes", "<i3"),
        ("empty", "no text", ""),
        ("characters-0", "texts of no character", "<U0"),
        ("characters-zero", "a zero in front of a number", "<U01"),
        ("characters-many", "texts of a million characters", "<U1000000"),
        ("characters-digits", "digits that are not ASCII", "<U\u0663"),
        ("bytes-order", "a byte order of bytes", "<S1"),
        ("bytes-0", "texts of no byte", "|S0"),
        ("unit", "an unknown unit", "<M8[y]"),
        ("unit-generic", "the unit of no unit", "<M8[generic]"),
        ("unit-empty", "brackets around no unit", "<M8[]"),
        ("unit-0", "no seconds", "<M8[0s]"),
        ("unit-1", "one second as a number of seconds", "<M8[1s]"),
        ("unit-many", "a million seconds", "<m8[1000000s]"),
        ("unit-order", "dates without a byte order", "|M8[s]"),
        ("newline", "a line end", "<i4\n"),
    ]:
        typed(f"K-5-dtype-{name}", why, "numpy.dtype", {"name": text})
    for name, why, dtype, data in [
        ("short", "three bytes of four", "<f4", "AAAA"),
        ("long", "six bytes of four", "<f4", "AAAAAAAA"),
        ("empty", "no byte", "|u1", ""),
        ("big-endian", "big-endian", ">i2", "AAA="),
        ("characters", "a text of a fixed size", "<U1", "QQAAAA=="),
        ("bytes", "bytes of a fixed size", "|S1", "QQ=="),
        ("bool", "a boolean of 2", "|b1", "Ag=="),
        ("utf8", "text that is not UTF-8", "U", "/w=="),
        ("cut", "text that ends within a character", "U", "YcM="),
        ("object", "an object", "|O", "AAAAAAAAAAA="),
        ("word", "a dtype by its name", "uint8", "AA=="),
    ]:
        typed(f"K-5-scalar-{name}", why, "numpy.scalar", {"dtype": dtype, "data": ["b", data]})

    def array(name: str, why: str, dtype: str, row: Row, **more: Any) -> None:
        fields = {"dtype": dtype, "data": ["t", 0], "writeable": True}
        bad(f"K-5-array-{name}", why, ["r", 0], [["typed", "numpy.ndarray", 1, fields]], flags="0", rows=[row], **more)

    def row(dtype: str, *shape: int, data: bytes | None = None) -> Row:
        nbytes = math.prod(shape) * {"F32": 4, "U8": 1, "I8": 1}[dtype]
        return RESERVED + "array", dtype, list(shape), bytes(nbytes) if data is None else data

    array("object", "an array of objects", "|O", row("U8", 1, 8))
    array("native", "an array in the machine's byte order", "=f4", row("F32", 2))
    array("other", "int32 kept as float32", "<i4", row("F32", 2))
    array("of-bytes", "float32 kept as bytes", "<f4", row("U8", 2, 4))
    array("signed", "uint8 kept as int8", "|u1", row("I8", 2))
    array("big-endian", "big-endian floats kept as float32", ">f4", row("F32", 2))
    array("signed-bytes", "texts kept as int8", "|S2", row("I8", 2, 2))
    array("scalar", "a text in no dimension", "|S1", row("U8"))
    array("size", "texts of two characters in four bytes each", "<U2", row("U8", 2, 4))
    array("step", "bytes of a text that are apart", "|S2", row("U8", 2, 2), views=[[0, "uint8", [2, 2], [1, 2], 0]])
    array("step-of-one", "a text of one byte, whose stride is 2", "|S1", row("U8", 2, 1),
          views=[[0, "uint8", [2, 1], [1, 2], 0]])  # fmt: skip
    array("step-of-memory", "bytes of a text that are apart in memory", "|S2", row("U8", 2, 2), strides=[[0, [1, 2]]])
    large = "a".encode("utf-32-le") + (0x110000).to_bytes(4, "little")
    array("character", "a character beyond U+10FFFF", "<U1", row("U8", 2, 4, data=large))
    array("character-big-endian", "a character of the other byte order", ">U1", row("U8", 1, 4, data=b"a\0\0\0"))
    crossed = "aaaa".encode("utf-32-le")
    array("character-of-view", "characters between others", "<U1", row("U8", 16, data=crossed),
          views=[[0, "uint8", [2, 3, 4], [0, 4, 1], 1]])  # fmt: skip
    array("character-in-memory", "a large character in memory of another order", "<U1",
          row("U8", 2, 2, 4, data="abc".encode("utf-32-le") + b"\0\0\x11\0"), strides=[[0, [4, 8, 1]]])  # fmt: skip


def _values() -> None:
    def nodes(name: str, why: str, *below: Any, **more: Any) -> None:
        bad(name, why, ["r", 0], below, **more)

    one = {"flags": "0", "rows": [TEXT]}
    nodes("V-2-list", "a list as a key", ["map", [["r", 1]], [1]], ["seq", "list", []])
    nodes("V-2-map", "a dict in a set", ["seq", "set", [["r", 1]]], ["map", [], []])
    nodes("V-2-inside", "a tuple that holds a list as a key", ["map", [["r", 1]], [1]], ["seq", "tuple", [["r", 2]]],
          ["seq", "list", []])  # fmt: skip
    nodes("V-2-object", "an object as a key", ["map", [["r", 1]], [1]],
          ["typed", "object", 1, {"class": "a:B", "attributes": ["r", 2]}], ["map", [], []])  # fmt: skip
    nodes("V-2-opaque", "a call that nobody can run as a key", ["map", [["r", 1]], [1]], ["opaque", "call", {}])
    nodes("V-2-frozenset", "a set in a frozenset", ["seq", "frozenset", [["r", 1]]], ["seq", "set", []])
    key = ["map", [["r", 1]], [1]]
    nodes("V-2-class", "a class as a key", key, ["typed", "class", 1, {"name": "a:B"}])
    nodes("V-2-function", "a function in a set", ["seq", "set", [["r", 1]]], ["typed", "function", 1, {"name": "a:b"}])
    nodes("V-2-module", "a module as a key", key, ["typed", "module", 1, {"class": "a:B", "training": True}])
    nodes("V-2-module-inside", "a tuple of a module as a key", key, ["seq", "tuple", [["r", 2]]],
          ["typed", "module", 1, {"class": "a:B", "training": True}])  # fmt: skip
    nodes("V-2-partial", "a partial as a key", key,
          ["typed", "partial", 1, {"function": ["r", 2], "args": ["r", 3], "keywords": ["r", 4]}],
          ["typed", "function", 1, {"name": "a:b"}], ["seq", "tuple", []], ["map", [], []])  # fmt: skip
    _library_keys(nodes)
    nodes("V-2-cycle", "a tuple that holds itself as a key", key, ["seq", "tuple", [["r", 1]]])
    nodes("V-2-frozenset-cycle", "a frozenset that holds itself", ["seq", "frozenset", [["r", 0]]])
    nodes("V-2-frozenset-cycle-of-two", "a frozenset that holds itself through a tuple",
          ["seq", "frozenset", [["r", 1]]], ["seq", "tuple", [["r", 0]]])  # fmt: skip
    nodes("V-2-weight", "a key of 1000 items", key, ["seq", "tuple", list(range(1000))])
    nodes("V-2-weight-of-element", "a tuple of 1000 items in a set", ["seq", "set", [["r", 1]]],
          ["seq", "tuple", list(range(1000))])  # fmt: skip
    pairs = [["seq", "tuple", [["r", i], ["r", i]]] for i in range(2, 10)]
    nodes("V-2-weight-shared", "a key whose items are met 1023 times", key, *pairs,
          ["seq", "tuple", [["r", 10], ["r", 10]]], ["seq", "tuple", []])  # fmt: skip
    nodes("V-2-weight-of-integer", "an integer of 64,000 bits as a key", ["map", [["i", hex(2**63_999)]], [1]])
    nodes("V-2-weight-of-integers", "a tuple of an integer of 63,936 bits as a key", key,
          ["seq", "tuple", [["i", hex(-(2**63_935))]]])  # fmt: skip
    nodes("V-2-weight-of-numerator", "a key of 4 ranges, each of an integer of 16,384 bits", key,
          ["seq", "tuple", [["r", 2], ["r", 2], ["r", 2], ["r", 2]]],
          ["typed", "range", 1, {"start": 0, "stop": ["i", hex(2**16_383)], "step": 1}])  # fmt: skip
    deep = [["seq", "tuple", [["r", i], ["r", i]]] for i in range(2, 100)]
    nodes("V-2-weight-bomb", "a key whose items are met 2^99 times", key, *deep, ["seq", "frozenset", []])
    nodes("V-2-weight-chain", "a chain of 1001 tuples as a key", key,
          *[["seq", "tuple", [["r", i]]] for i in range(2, 1002)], ["seq", "tuple", []])  # fmt: skip
    alike = [["i", hex(i * (2**61 - 1))] for i in range(1, 67)]
    nodes("LIMIT-hashes", "66 keys of equal hashes", ["map", alike, [None] * 66])
    nodes("LIMIT-hashes-of-set", "66 elements of equal hashes, of two types, beside others",
          ["seq", "set", ["a", False, *alike[:32], 1, ["c", "0.0", "1.0"], *alike[32:65], None]])  # fmt: skip
    for name, kind in [("tuples", "tuple"), ("frozensets", "frozenset")]:
        every = [["seq", kind, ["a", item]] for item in alike]
        nodes(f"LIMIT-hashes-of-{name}", f"66 {name} of equal hashes", ["seq", "set", [["r", i] for i in range(1, 67)]],
              *every)  # fmt: skip
    for name, why, keys in [
        ("text", "a text twice", ["a", "a"]),
        ("one", "1 and 1.0", [1, ["f", "1.0"]]),
        ("true", "1 and true", [1, True]),
        ("zeros", "0.0 and -0.0", [["f", "0.0"], ["f", "-0.0"]]),
        ("complex", "0 and 0j", [0, ["c", "0.0", "-0.0"]]),
        ("null", "null twice", [None, None]),
        ("large", "2^60 as an integer and as a float", [["i", hex(2**60)], ["f", repr(2.0**60)]]),
    ]:
        nodes(f"V-3-{name}", why, ["map", keys, list(range(len(keys)))])
    nodes("V-3-set", "an element twice", ["seq", "set", ["a", "a"]])
    nodes("V-3-tensor", "a tensor twice", ["map", [["t", 0], ["t", 0]], [1, 2]], **one)
    pair = ["seq", "tuple", [1, "a"]]
    nodes("V-3-node", "one node twice", ["map", [["r", 1], ["r", 1]], [1, 2]], pair)
    nodes("V-3-tuples", "two equal tuples", ["map", [["r", 1], ["r", 2]], [1, 2]], pair, ["seq", "tuple", [True, "a"]])
    nodes("V-3-size", "a tuple and an equal torch.Size", ["seq", "set", [["r", 1], ["r", 2]]], ["seq", "tuple", [1]],
          ["typed", "torch.Size", 1, {"dims": ["r", 3]}], ["seq", "tuple", [1]])  # fmt: skip
    nodes("V-3-frozensets", "two frozensets of the same elements", ["seq", "set", [["r", 1], ["r", 2]]],
          ["seq", "frozenset", [1, 2]], ["seq", "frozenset", [2, 1]])  # fmt: skip
    nodes("V-3-long-text", "a text, and the same text kept as a tensor", ["map", ["text", ["r", 1]], [1, 2]],
          ["typed", "str", 1, {"data": ["t", 0]}], **one)  # fmt: skip
    nodes("V-4-tuple", "a tuple that holds itself", ["seq", "tuple", [["r", 0]]])
    nodes("V-4-two", "two tuples that hold each other", ["seq", "tuple", [["r", 1]]], ["seq", "tuple", [["r", 0]]])
    nodes(
        "V-4-custom",
        "the state of an object holds the object",
        ["typed", "custom", 1, {"class": "a:B", "state": ["r", 0]}],
    )
    nodes("V-4-partial", "a partial among its own arguments",
          ["typed", "partial", 1, {"function": ["r", 1], "args": ["r", 2], "keywords": ["r", 3]}],
          ["typed", "function", 1, {"name": "a:b"}], ["seq", "tuple", [["r", 0]]], ["map", [], []])  # fmt: skip
    nodes("V-4-partial-of", "a partial of an object whose state is the partial",
          ["typed", "partial", 1, {"function": ["r", 1], "args": ["r", 2], "keywords": ["r", 3]}],
          ["typed", "custom", 1, {"class": "a:B", "state": ["r", 0]}], ["seq", "tuple", []],
          ["map", [], []])  # fmt: skip
    nodes("V-4-state", "the state of an object is a dict that holds the object",
          ["typed", "custom", 1, {"class": "a:B", "state": ["r", 1]}], ["map", ["a"], [["r", 0]]])  # fmt: skip
    nodes("V-4-keywords", "a keyword of a partial is a tuple of the partial",
          ["typed", "partial", 1, {"function": ["r", 1], "args": ["r", 2], "keywords": ["r", 3]}],
          ["typed", "function", 1, {"name": "a:b"}], ["seq", "tuple", []], ["map", ["a"], [["r", 4]]],
          ["seq", "tuple", [["r", 0]]])  # fmt: skip
    _long(nodes)
    _recurrent(nodes)


_ITEMSIZES = {"I64": 8, "I32": 4, "I8": 1, "U8": 1, "F32": 4, "F64": 8}
_SHAPE = ["seq", "tuple", [2, 3]]
Held = list[tuple[str, list[int]]]
"""Dtype and shape of each tensor in a field, in the order of the fields."""


def _tensor_node(name: str, why: str, kind: str, held: Held, fields: dict[str, Any], *below: Any, **more: Any) -> None:
    """Register a file that is one tensor; its inner tensors lie as N-6 has it, larger items first."""
    order = sorted(range(len(held)), key=lambda i: -_ITEMSIZES[held[i][0]])
    rows = [(f"{RESERVED}{i}", *held[i], bytes(math.prod(held[i][1]) * _ITEMSIZES[held[i][0]])) for i in order]
    stored = [order.index(i) for i in range(len(held))]
    more = {"flags": "0" * len(held)} | more | ({} if stored == sorted(stored) else {"stored": stored})
    bad(
        name,
        why,
        ["r", 0],
        [["typed", kind, 1, {**fields, "flags": fields.get("flags", 0)}], *below],
        rows=rows,
        **more,
    )


def _layouts() -> None:
    """K-6: parts of sparse tensors that do not fit together."""
    pair = [("I64", [2, 4]), ("F32", [4])]
    coo = {"layout": "sparse_coo", "shape": ["r", 1], "compressed": None, "indices": ["t", 0], "values": ["t", 1],
           "coalesced": False}  # fmt: skip

    def sparse(name: str, why: str, held: Held = pair, below: Any = _SHAPE, **changed: Any) -> None:
        more = {key: changed.pop(key) for key in ("flags", "attributes", "lazy", "views") if key in changed}
        _tensor_node(f"K-6-sparse-{name}", why, "torch.sparse", held, coo | changed, below, **more)

    sparse("layout", "a layout that is none", layout="strided")
    sparse("size", "a size below zero", below=["seq", "tuple", [2, -1]])
    sparse("huge", "a shape of 2^62 elements", below=["seq", "tuple", [2**31, 2**31]])
    sparse("rank", "indices of more dimensions than the shape has", [("I64", [3, 4]), ("F32", [4])])
    sparse("values", "fewer values than indices", [("I64", [2, 4]), ("F32", [3])])
    sparse("rows", "values of another size than the shape says", [("I64", [1, 4]), ("F32", [4, 2])])
    sparse("dtype", "indices of int32", [("I32", [2, 4]), ("F32", [4])])
    sparse("flat", "indices of one dimension", [("I64", [4]), ("F32", [4])])
    sparse("gradient", "values with a gradient", flags="01")
    sparse("expanded", "four values that are one", [("I64", [2, 4]), ("F32", [1])], views=[[1, "float32", [4], [0], 0]])
    three = [("I64", [3]), ("I64", [4]), ("F32", [4])]
    csr = {"layout": "sparse_csr", "compressed": ["t", 0], "indices": ["t", 1], "values": ["t", 2]}
    sparse("pointers", "row pointers and COO", three, **(csr | {"layout": "sparse_coo"}))
    sparse("csr-coalesced", "CSR that is coalesced", three, **csr, coalesced=True)
    sparse("csr-values", "CSR of fewer values", [("I64", [3]), ("I64", [4]), ("F32", [3])], **csr)
    sparse("csr-dtypes", "CSR of two dtypes of indices", [("I32", [3]), ("I64", [4]), ("F32", [4])], **csr)
    sparse("csr-rank", "CSR whose pointers have another rank", [("I64", [1, 3]), ("I64", [4]), ("F32", [4])], **csr)
    sparse("csr-flat", "CSR of one dimension", three, ["seq", "tuple", [2]], **csr)
    sparse("csr-of-nothing", "CSR without pointers", layout="sparse_csr")


def _quantized_layouts() -> None:
    byte = [("U8", [2, 3])]
    whole = {
        "dtype": "quint8",
        "shape": ["r", 1],
        "data": ["t", 0],
        "scale": ["f", "0.5"],
        "zero_point": 0,
        "axis": None,
    }

    def quantized(name: str, why: str, held: Held, **changed: Any) -> None:
        _tensor_node(f"K-6-quantized-{name}", why, "torch.quantized", held, whole | changed, _SHAPE)

    quantized("dtype", "a dtype that is not quantized", byte, dtype="uint8")
    quantized("data", "unsigned bytes of int8", [("I8", [2, 3])])
    quantized("size", "bytes of another shape", [("U8", [3, 2])])
    quantized("packed", "4 bits a byte of 8", byte, dtype="quint4x2")
    quantized("scale", "a scale that is infinite", byte, scale=["f", "inf"])
    quantized("integer", "a scale that is an integer", byte, scale=1)
    quantized("zero-point", "a zero point of 33 bits", byte, zero_point=2**31)
    channels = {"scale": ["t", 1], "zero_point": ["t", 2], "axis": 0}
    quantized("axis", "an axis that is not there", [*byte, ("F64", [2]), ("I64", [2])], **(channels | {"axis": 2}))
    quantized("channels", "a scale too many", [*byte, ("F64", [3]), ("I64", [3])], **channels)
    quantized("points", "zero points of float64", [*byte, ("F64", [2]), ("F64", [2])], **channels)
    quantized("scales", "scales of float32 and whole zero points", [*byte, ("F32", [2]), ("I64", [2])], **channels)
    quantized("lone", "scales and no axis", [*byte, ("F64", [2]), ("I64", [2])], **(channels | {"axis": None}))


def _nested_layouts() -> None:
    parts = {name: ["t", i] for i, name in enumerate(("values", "sizes", "strides", "offsets"))}
    for name, why, held in [
        ("flat", "values of two dimensions", [("F32", [2, 2]), ("I64", [2, 2]), ("I64", [2, 2]), ("I64", [2])]),
        ("strides", "a stride too few", [("F32", [8]), ("I64", [2, 2]), ("I64", [2, 1]), ("I64", [2])]),
        ("offsets", "an offset too many", [("F32", [8]), ("I64", [2, 2]), ("I64", [2, 2]), ("I64", [3])]),
        ("dtype", "sizes of int32", [("F32", [8]), ("I32", [2, 2]), ("I64", [2, 2]), ("I64", [2])]),
    ]:
        _tensor_node(f"K-6-nested-{name}", why, "torch.nested", held, parts)
    ragged = {"values": ["t", 0], "offsets": ["t", 1], "lengths": None, "ragged_dim": 1, "min_length": None,
              "max_length": None}  # fmt: skip
    two, lengths = [("F32", [5, 2]), ("I64", [3])], {"lengths": ["t", 2]}
    for name, why, held, changed in [
        ("dimension", "a ragged dimension that is not there", two, {"ragged_dim": 3}),
        ("zero", "the batch as ragged dimension", two, {"ragged_dim": 0}),
        ("offsets", "no offsets", [("F32", [5, 2]), ("I64", [0])], {}),
        ("dtype", "offsets of float32", [("F32", [5, 2]), ("F32", [3])], {}),
        ("lengths", "a length too many", [*two, ("I64", [3])], lengths),
        ("mixed", "lengths of another dtype", [*two, ("I32", [2])], lengths),
        ("bound", "a length below zero", two, {"min_length": -1}),
    ]:
        _tensor_node(f"K-6-jagged-{name}", why, "torch.jagged", held, ragged | changed)


def _other_layouts() -> None:
    shape, byte = _SHAPE, [("U8", [2, 3])]
    none = {"dtype": "float32", "shape": ["r", 1], "strides": ["r", 2]}
    _tensor_node("K-6-meta-dtype", "a dtype that is none", "torch.meta", [], none | {"dtype": "float31"}, shape, shape)
    _tensor_node("K-6-meta-strides", "a stride too few", "torch.meta", [], none, shape, ["seq", "tuple", [1]])
    _tensor_node("K-6-meta-stride", "a stride below zero", "torch.meta", [], none, shape, ["seq", "tuple", [-1, 1]])
    _tensor_node("K-4-shape", "a shape that is also strides", "torch.meta", [], none | {"strides": ["r", 1]}, shape)
    _tensor_node("K-3-flags", "flags of 4", "torch.meta", [], none | {"flags": 4}, shape, shape)
    view = {"class": "a:B", "data": ["t", 0]}
    _tensor_node("K-6-subclass-parameter", "a subclass over a parameter", "tensor_subclass", byte, view, flags="2")
    outer = {"class": "a:B", "tensors": ["r", 1], "context": None, "shape": ["r", 2], "strides": ["r", 3]}
    empty = ["map", [], []]
    _tensor_node(
        "K-6-wrapper-strides", "a stride too few", "wrapper_tensor", [], outer, empty, shape, ["seq", "tuple", [1]]
    )
    _tensor_node(
        "K-3-wrapper", "a tensor that is a number", "wrapper_tensor", [], outer, ["map", ["a"], [1]], shape, shape
    )


def _library_keys(nodes: Callable[..., None]) -> None:
    """Values of Python's and numpy's own types as keys, and in cycles."""
    key, empty = ["map", [["r", 1]], [1]], ["map", [], []]
    nodes("V-2-defaultdict", "a defaultdict as a key", key,
          ["typed", "defaultdict", 1, {"factory": None, "items": ["r", 2]}], empty)  # fmt: skip
    nodes("V-2-Counter", "a Counter as a key", key, ["typed", "Counter", 1, {"items": ["r", 2]}], empty)
    nodes("V-2-bytearray", "a bytearray as a key", ["map", [["r", 1]], [1]],
          ["typed", "bytearray", 1, {"data": ["t", 0]}], flags="0", rows=[TEXT])  # fmt: skip
    nodes("V-2-deque", "a deque in a set", ["seq", "set", [["r", 1]]],
          ["typed", "deque", 1, {"items": ["r", 2], "maxlen": None}], ["seq", "tuple", []])  # fmt: skip
    for kind in ("Namespace", "SimpleNamespace"):
        nodes(f"V-2-{kind}", f"a {kind} as a key", key, ["typed", kind, 1, {"attributes": ["r", 2]}], empty)
    nodes("V-2-slice", "a slice as a key", key, ["typed", "slice", 1, {"start": None, "stop": 1, "step": None}])
    nodes("V-2-generator", "a generator as a key", key,
          ["typed", "torch.Generator", 1, {"device": "cpu", "state": ["b", ""]}])  # fmt: skip
    nodes("V-2-array", "an array as a key", key,
          ["typed", "numpy.ndarray", 1, {"dtype": "|i1", "data": ["t", 0], "writeable": True}],
          flags="0", rows=[BYTE])  # fmt: skip
    nodes("V-2-signalling-nan", "a signalling NaN as a key", key, ["typed", "Decimal", 1, {"text": "sNaN"}])
    nodes("V-2-signalling-nan-inside", "a tuple of a signalling NaN in a set", ["seq", "set", [["r", 1]]],
          ["seq", "tuple", [["r", 2]]], ["typed", "Decimal", 1, {"text": "-sNaN12"}])  # fmt: skip
    named = ["typed", "namedtuple", 1, {"class": "a:B", "names": ["r", 2], "items": ["r", 3]}]
    nodes("V-2-namedtuple", "a namedtuple of a list as a key", key, named, ["seq", "tuple", ["x"]],
          ["seq", "tuple", [["r", 4]]], ["seq", "list", []])  # fmt: skip
    nodes("V-2-namedtuple-cycle", "a namedtuple that holds itself as a key", key, named, ["seq", "tuple", ["x"]],
          ["seq", "tuple", [["r", 1]]])  # fmt: skip
    nodes("V-2-weight-of-namedtuple", "a namedtuple of 499 items as a key", key, named,
          ["seq", "tuple", [f"f{i}" for i in range(499)]], ["seq", "tuple", list(range(499))])  # fmt: skip
    nodes("V-2-weight-of-members", "a flag of 999 members as a key", key,
          ["typed", "enum", 1, {"class": "a:B", "members": ["r", 2]}],
          ["seq", "tuple", [f"M{i}" for i in range(999)]])  # fmt: skip
    zone = [["typed", "timezone", 1, {"offset": ["r", 4]}], ["typed", "timedelta", 1, DELTA]]
    nodes("V-2-weight-of-times", "a key of 333 times of weight 3, and 1", key,
          ["seq", "tuple", [*[["r", 2]] * 333, 1]],
          ["typed", "time", 1, CLOCK | {"timezone": ["r", 3]}], *zone)  # fmt: skip

    def equal(name: str, why: str, first: list[Any], second: Any, *below: Any) -> None:
        pair = [["r", 1], ["r", 2] if isinstance(second, list) and second[0] == "typed" else second]
        nodes(f"V-3-{name}", why, ["seq", "set", pair], first, *([second] if pair[1] == ["r", 2] else []), *below)

    def value(kind: str, **fields: Any) -> list[Any]:
        return ["typed", kind, 1, fields]

    equal("dates", "a date twice", value("date", **DAY), value("date", **DAY))
    equal("folds", "two times that differ in fold", value("time", **CLOCK), value("time", **CLOCK | {"fold": 1}))
    equal(
        "ranges",
        "two ranges of nothing",
        value("range", start=0, stop=0, step=1),
        value("range", start=9, stop=1, step=2),
    )
    equal("paths", "a path twice, once a pure one", value("path", flavour="posix", pure=True, text="a"),
          value("path", flavour="posix", pure=False, text="a"))  # fmt: skip
    equal("uuids", "a UUID twice, once a safe one", value("UUID", **UUID), value("UUID", **UUID, safe="safe"))
    equal("timedeltas", "a timedelta twice", value("timedelta", **DELTA), value("timedelta", **DELTA))
    equal("decimal", "1.0 as a Decimal, and 1", value("Decimal", text="1.0"), 1)
    equal("decimal-zero", "zero as a Decimal, and false", value("Decimal", text="-0E+999999999999999999"), False)
    equal(
        "decimal-float", "0.5 as a Decimal, and as a complex number", value("Decimal", text="0.50"), ["c", "0.5", "0.0"]
    )
    equal(
        "decimals",
        "a Decimal in two forms",
        value("Decimal", text="1E+900000000"),
        value("Decimal", text="1.0E+900000000"),
    )
    equal("decimal-infinity", "infinity, and infinity as a Decimal", value("Decimal", text="Infinity"), ["f", "inf"])
    equal("fraction", "one half, and 0.5", value("Fraction", numerator=1, denominator=2), ["f", "0.5"])
    equal(
        "fraction-decimal",
        "one half twice",
        value("Fraction", numerator=1, denominator=2),
        value("Decimal", text="0.5"),
    )
    equal("scalar", "1, and 1 of numpy", value("numpy.scalar", dtype="<i2", data=["b", "AQA="]), 1)
    equal("scalar-float", "1, and 1.0 of numpy", value("numpy.scalar", dtype="<f2", data=["b", "ADw="]), 1)
    equal("scalar-text", "a text, and the same of numpy", value("numpy.scalar", dtype="U", data=["b", "YQ=="]), "a")
    equal(
        "scalar-bytes",
        "bytes, and the same of numpy",
        value("numpy.scalar", dtype="S", data=["b", "YQ=="]),
        ["b", "YQ=="],
    )
    equal("layouts", "a layout twice", value("torch.layout", name="strided"), value("torch.layout", name="strided"))
    equal("numpy-dtypes", "a dtype twice", value("numpy.dtype", name="<f4"), value("numpy.dtype", name="<f4"))
    hour = DELTA | {"seconds": 3600}
    nodes("V-3-moments", "a moment in two time zones", ["seq", "set", [["r", 1], ["r", 4]]],
          value("datetime", **DAY, **CLOCK | {"timezone": ["r", 2]}),
          value("timezone", offset=["r", 3]), value("timedelta", **DELTA),
          value("datetime", **DAY, **CLOCK | {"hour": 13, "timezone": ["r", 5]}),
          value("timezone", offset=["r", 6]), value("timedelta", **hour))  # fmt: skip
    nodes("V-3-timezones", "a time zone with a name and without", ["seq", "set", [["r", 1], ["r", 3]]],
          value("timezone", offset=["r", 2]), value("timedelta", **hour),
          value("timezone", offset=["r", 4], name="CET"), value("timedelta", **hour))  # fmt: skip
    nodes("V-3-ellipses", "two of the one Ellipsis", ["seq", "set", [["r", 1], ["r", 2]]], *[value("Ellipsis")] * 2)
    nodes("V-3-tuples-of-values", "two tuples of equal values", ["seq", "set", [["r", 1], ["r", 3]]],
          ["seq", "tuple", [["r", 2], "a"]], value("Fraction", numerator=2, denominator=1),
          ["seq", "tuple", [["r", 4], "a"]], value("Decimal", text="2.0"))  # fmt: skip
    many = [["r", i] for i in range(1, 67)]
    step = 2**61 - 1
    nodes("LIMIT-hashes-of-fractions", "66 fractions of equal hashes", ["seq", "set", many],
          *[value("Fraction", numerator=["i", hex(i * step)], denominator=1) for i in range(1, 67)])  # fmt: skip
    nodes("LIMIT-hashes-of-decimals", "66 Decimals of equal hashes", ["map", many, [None] * 66],
          *[value("Decimal", text=str(i * step)) for i in range(1, 67)])  # fmt: skip
    nodes("LIMIT-hashes-of-uuids", "66 UUIDs of equal hashes", ["seq", "set", many],
          *[value("UUID", hex=f"{i * step:032x}") for i in range(1, 67)])  # fmt: skip
    pairs = [["seq", "tuple", [["r", 2 * i + 2], "a"]] for i in range(66)]
    fractions = [value("Fraction", numerator=["i", hex(i * step)], denominator=1) for i in range(1, 67)]
    nodes("LIMIT-hashes-of-values-inside", "66 tuples whose items are of equal hashes",
          ["seq", "set", [["r", 2 * i + 1] for i in range(66)]],
          *[part for both in zip(pairs, fractions, strict=True) for part in both])  # fmt: skip
    nodes("V-4-slice", "a slice that holds itself", value("slice", start=["r", 0], stop=None, step=None))
    nodes("V-4-namedtuple", "a namedtuple that holds itself",
          value("namedtuple", **{"class": "a:B", "names": ["r", 1], "items": ["r", 2]}), ["seq", "tuple", ["x"]],
          ["seq", "tuple", [["r", 0]]])  # fmt: skip


def _long(nodes: Callable[..., None]) -> None:
    one = {"flags": "0", "rows": [TEXT]}
    data = {"data": ["t", 0]}
    nodes("V-5-dtype", "bytes kept as int8", ["typed", "bytes", 1, data], flags="0", rows=[BYTE])
    nodes("V-5-rank", "bytes kept in two dimensions", ["typed", "bytes", 1, data], flags="0",
          rows=[(RESERVED + "text", "U8", [2, 2], b"text")])  # fmt: skip
    nodes("V-5-scalar", "bytes kept without dimensions", ["typed", "bytes", 1, data], flags="0",
          rows=[(RESERVED + "text", "U8", [], b"t")])  # fmt: skip
    nodes("V-5-view", "text kept as a view of two dimensions", ["typed", "str", 1, data], flags="0", rows=[TEXT],
          views=[[0, "uint8", [2, 2], [2, 1], 0]])  # fmt: skip
    nodes("V-5-bool", "text kept as booleans", ["typed", "str", 1, data], flags="0",
          rows=[(RESERVED + "text", "BOOL", [4], b"\1\0\0\1")])  # fmt: skip
    nodes("V-5-parameter", "text kept as a parameter", ["typed", "str", 1, data], flags="2", rows=[TEXT])
    two = ["seq", "list", [["r", 1], ["r", 2]]]
    nodes("V-5-shared", "two texts of one tensor", two, *[["typed", "str", 1, data]] * 2, **one)
    nodes("V-5-elsewhere", "a text's tensor in a list", ["seq", "list", [["r", 1], ["t", 0]]],
          ["typed", "str", 1, data], **one)  # fmt: skip
    nodes("V-5-stored", "two texts of one stored tensor", two, ["typed", "str", 1, data],
          ["typed", "bytes", 1, {"data": ["t", 1]}], flags="00", rows=[TEXT], stored=[0, 0])  # fmt: skip
    nodes("V-5-part", "a text that is a part of its stored tensor", ["typed", "str", 1, data], flags="0", rows=[TEXT],
          views=[[0, "uint8", [2], [1], 0]])  # fmt: skip
    nodes("V-5-lazy", "a text that is negated", ["typed", "str", 1, data], flags="0", rows=C_ROWS[:1],
          lazy=[[0, 2]])  # fmt: skip
    nodes("V-5-attributes", "a text whose tensor has attributes", ["typed", "str", 1, data], ["map", [], []],
          attributes=[[0, ["r", 1]]], **one)  # fmt: skip
    nodes("V-5-cut", "text that ends within a character", ["typed", "str", 1, data], flags="0",
          rows=[(RESERVED + "text", "U8", [3], b"ab\xc3")])  # fmt: skip
    nodes("V-5-bytearrays", "two arrays of the same bytes", two, *[["typed", "bytearray", 1, data]] * 2, **one)
    nodes("V-5-bytearray-dtype", "an array of bytes kept as int8", ["typed", "bytearray", 1, data], flags="0",
          rows=[BYTE])  # fmt: skip
    nodes("V-5-text-dtype", "text kept as float32", ["typed", "str", 1, data], flags="0", rows=[A])
    nodes("V-5-not-utf8", "text that is not UTF-8", ["typed", "str", 1, data], flags="0",
          rows=[(RESERVED + "text", "U8", [4], b"\xff\xfe\xfd\xfc")])  # fmt: skip


def _recurrent(nodes: Callable[..., None]) -> None:
    def lstm(name: str, why: str, names: Any, *below: Any, cls: str = "torch.nn:LSTM") -> None:
        fields = {"class": cls, "training": True, "attributes": ["r", 1]}
        nodes(f"M-3-{name}", why, ["typed", "module", 1, fields], ["map", ["_all_weights"], [names]], *below)

    nodes("M-3-none", "an LSTM without names of weights",
          ["typed", "module", 1, {"class": "torch.nn:LSTM", "training": True}])  # fmt: skip
    lstm("null", "an LSTM whose names of weights are null", None)
    lstm("text", "a GRU whose names of weights are a text", "weight", cls="torch.nn:GRU")
    lstm("empty", "an RNN with an empty list of names", ["r", 2], ["seq", "list", []], cls="torch.nn:RNN")
    lstm("flat", "names that are not in lists of their own", ["r", 2], ["seq", "list", ["weight"]])
    lstm("empty-inside", "an empty list among the names", ["r", 2], ["seq", "list", [["r", 3], ["r", 4]]],
         ["seq", "list", ["weight"]], ["seq", "list", []])  # fmt: skip
    lstm("tuple", "names in a tuple", ["r", 2], ["seq", "list", [["r", 3]]], ["seq", "tuple", ["weight"]],
         cls="torch.nn:RNNBase")  # fmt: skip
    lstm("number", "a name that is a number, behind one that is none", ["r", 2], ["seq", "list", [["r", 3]]],
         ["seq", "list", ["weight", 1]])  # fmt: skip


_headers()
_metadata()
_header_forms()
_references()
_tables()
_documents()
_tensors()
_kinds()
_calls()
_arguments()
_outputs()
_values()
_layouts()
_quantized_layouts()
_nested_layouts()
_other_layouts()


# --- twins --------------------------------------------------------------------------------------------


def twin(data: bytes) -> str:
    """What a file says, as JSON for people: one line for each tensor and each node."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__", None)
    shown: dict[str, Any] = {"nbytes": len(data), "data_begins": 8 + length}
    if metadata is not None and "torchkeep" in metadata:
        column = metadata.pop("torchkeep.digests")
        shown["digests"] = [column[i : i + 16] for i in range(0, len(column), 16)]
        shown["document"] = json.loads(metadata.pop("torchkeep"))
    shown["metadata"] = metadata
    shown["tensors"] = header
    return _lines(shown, 0) + "\n"


def _lines(value: Any, depth: int) -> str:
    """JSON whose outer levels have a line for each item."""
    short = json.dumps(value, ensure_ascii=True)
    if not value or not isinstance(value, dict | list) or depth > 3 or (depth > 1 and len(short) < 100):
        return short
    pad, end = "\n" + "  " * (depth + 1), "\n" + "  " * depth
    if isinstance(value, dict):
        parts = [f"{json.dumps(key)}: {_lines(item, depth + 1)}" for key, item in value.items()]
        return "{" + pad + f",{pad}".join(parts) + end + "}"
    return "[" + pad + f",{pad}".join(_lines(item, depth + 1) for item in value) + end + "]"


def write(directory: Path) -> None:
    """Write every vector under `directory`, and remove what is no vector any more."""
    files: dict[Path, bytes] = {}
    for name, make in ACCEPT.items():
        data = make()
        files[directory / "accept" / f"{name}.safetensors"] = data
        files[directory / "accept" / f"{name}.json"] = twin(data).encode()
    for name, (why, make) in REJECT.items():
        files[directory / "reject" / f"{name}.safetensors"] = make()
        files[directory / "reject" / f"{name}.txt"] = f"{why}\n".encode()
    for folder in ("accept", "reject"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
        for path in (directory / folder).iterdir():
            if path not in files:
                path.unlink()
    for path, data in files.items():
        path.write_bytes(data)


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
