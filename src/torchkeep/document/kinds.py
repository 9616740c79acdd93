"""The kinds of `Typed` node, and the fields of each.

A kind is versioned: a reader that meets a newer version, or a kind it does not know, says which
torchkeep is needed. Optional fields are absent rather than empty.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from .dtypes import ITEMSIZE
from .layouts import TENSOR_KINDS, is_parameter, is_tensor
from .model import Document, Role
from .nodes import Map, Node, Opaque, Ref, Seq, TensorRef, Typed, Value, children

Test = Callable[[Document, Value], bool]


def _text(document: Document, value: Value) -> bool:
    return isinstance(value, str)


def _flag(document: Document, value: Value) -> bool:
    return isinstance(value, bool)


def _true(document: Document, value: Value) -> bool:
    return value is True


def _integer(document: Document, value: Value) -> bool:
    return type(value) is int


def _float(document: Document, value: Value) -> bool:
    return type(value) is float


def _number(document: Document, value: Value) -> bool:
    return type(value) in (int, float)


def _size(document: Document, value: Value) -> bool:
    return type(value) is int and value >= 0


def _bytes(document: Document, value: Value) -> bool:
    return isinstance(value, bytes)


def _anything(document: Document, value: Value) -> bool:
    return True


def _tensor(document: Document, value: Value) -> bool:
    return isinstance(value, TensorRef)


def _callable(document: Document, value: Value) -> bool:
    """What a partial holds: never another partial, which Python would have joined with it."""
    node = document.node(value)
    return isinstance(node, Opaque) or (isinstance(node, Typed) and node.kind in _CALLABLES)


def _parameter(document: Document, value: Value) -> bool:
    blank = document.typed(value, "torch.uninitialized")
    return is_parameter(document, value) if blank is None else blank.fields.get("parameter") is True


def _buffer(document: Document, value: Value) -> bool:
    return is_tensor(document, value) or document.typed(value, "torch.uninitialized") is not None


def _tuple_of(*kinds: str) -> Test:
    """A tuple of typed nodes of these kinds."""

    def nodes(document: Document, value: Value) -> bool:
        node = document.node(value)
        if not isinstance(node, Seq) or node.kind != "tuple":
            return False
        items = map(document.node, node.items)
        return all(isinstance(item, Typed) and item.kind in kinds for item in items)

    return nodes


_CALLABLES = frozenset({"function", "class", "method", "module", "object", "custom"})


def _tuple(document: Document, value: Value) -> bool:
    node = document.node(value)
    return isinstance(node, Seq) and node.kind == "tuple"


def _builtin(document: Document, value: Value) -> bool:
    """What a class may derive from and hold: a container of any sort, or a number or text."""
    if type(value) in _DERIVABLE_SCALARS:
        return True
    node = document.node(value)
    return isinstance(node, Map | Seq) or (isinstance(node, Typed) and node.kind in _DERIVABLE_KINDS)


_DERIVABLE_SCALARS = frozenset({int, float, complex, str, bytes})
_DERIVABLE_KINDS = frozenset({"OrderedDict", "defaultdict", "Counter", "deque", "str", "bytes"})


def _bytes_of(document: Document, value: Value) -> bool:
    """Bytes of any length."""
    return isinstance(value, bytes) or document.typed(value, "bytes") is not None


def _tensors(document: Document, value: Value) -> bool:
    node = document.node(value)
    return isinstance(node, Seq) and node.kind == "tuple" and all(is_tensor(document, item) for item in node.items)


def _texts(document: Document, value: Value) -> bool:
    node = document.node(value)
    return isinstance(node, Seq) and node.kind == "tuple" and all(isinstance(i, str) for i in node.items)


def _sizes(document: Document, value: Value) -> bool:
    node = document.node(value)
    return isinstance(node, Seq) and node.kind == "tuple" and all(type(i) is int for i in node.items)


def _seeds(document: Document, value: Value) -> bool:
    return _integer(document, value) or _sizes(document, value)


def _of(kind: str) -> Test:
    """A node of this kind."""
    return lambda document, value: document.typed(value, kind) is not None


def _list(document: Document, value: Value) -> bool:
    node = document.node(value)
    return isinstance(node, Seq) and node.kind == "list"


def _map(document: Document, value: Value) -> bool:
    return isinstance(document.node(value), Map)


_TEXTS = frozenset({str})


def _result(document: Document, value: Value) -> bool:
    """What a call returned at one place: a number or text, a tensor, or what is kept of a large one."""
    node = document.node(value)
    if isinstance(node, Typed):
        return node.kind in ("golden.sampled", "str")
    return type(value) in (bool, int, float, str, TensorRef)


def _named(test: Callable[[Document, Value], bool]) -> Test:
    """A map from names to values that pass `test`, or None."""

    def names(document: Document, value: Value) -> bool:
        node = document.node(value)
        if type(node) is not Map or not _TEXTS.issuperset(map(type, node.keys)):
            return False
        if test is not _anything:
            for item in node.values:
                if item is not None and not test(document, item):
                    return False
        return True

    return names


def _each_named(test: Callable[[Document, Value], bool]) -> Test:
    """A map from names to values that all pass `test`."""

    def names(document: Document, value: Value) -> bool:
        node = document.node(value)
        return isinstance(node, Map) and _named(test)(document, value) and None not in node.values

    return names


def _module(document: Document, value: Value) -> bool:
    return document.typed(value, "module") is not None


def _timedelta(document: Document, value: Value) -> bool:
    return document.typed(value, "timedelta") is not None


def _timezone(document: Document, value: Value) -> bool:
    return document.typed(value, "timezone") is not None or document.typed(value, "ZoneInfo") is not None


def _factory(document: Document, value: Value) -> bool:
    return _callable(document, value) or document.typed(value, "partial") is not None


def _or_none(test: Test) -> Test:
    return lambda document, value: value is None or test(document, value)


_CLOCK: dict[str, Test] = {
    **dict.fromkeys(("hour", "minute", "second", "microsecond", "fold"), _integer),
    "timezone": _or_none(_timezone),
}


def _flags(document: Document, value: Value) -> bool:
    return type(value) is int and 0 <= value <= 3


class Kind(msgspec.Struct, frozen=True):
    """A kind's version, its fields, and the fields that may be absent."""

    version: int
    fields: dict[str, Test]
    optional: frozenset[str] = frozenset()


_ATTRIBUTES: dict[str, Test] = {"attributes": _named(_anything)}


def _tensor_kind(fields: dict[str, Test], optional: dict[str, Test] = _ATTRIBUTES) -> Kind:
    """A kind of tensor: what the tensor table has in columns, it has in fields."""
    return Kind(1, {**fields, "flags": _flags, **optional}, frozenset(optional))


KINDS: dict[str, Kind] = {
    "OrderedDict": Kind(1, {"items": _map, "attributes": _named(_anything)}, frozenset({"attributes"})),
    "torch.Size": Kind(1, {"dims": _sizes}),
    "torch.dtype": Kind(1, {"name": _text}),
    "torch.device": Kind(1, {"name": _text}),
    "bytes": Kind(1, {"data": _tensor}),
    "str": Kind(1, {"data": _tensor}),
    "bytearray": Kind(1, {"data": _tensor}),
    "class": Kind(1, {"name": _text}),
    "function": Kind(1, {"name": _text}),
    "method": Kind(1, {"self": _module, "name": _text}),
    "partial": Kind(1, {"function": _callable, "args": _tuple, "keywords": _named(_anything)}),
    "object": Kind(1, {"class": _text, "attributes": _named(_anything)}),
    "derived": Kind(1, {"class": _text, "value": _builtin, "attributes": _named(_anything)}, frozenset({"attributes"})),
    "module": Kind(
        1,
        {
            "class": _text,
            "training": _flag,
            "parameters": _named(_parameter),
            "buffers": _named(_buffer),
            "non_persistent": _texts,
            "modules": _named(_module),
            "attributes": _named(_anything),
            "extra_state": _anything,
            "hooks": _texts,
            "direct": _true,
            "computed": _tuple_of("torch.weight_norm", "torch.spectral_norm", "torch.prune"),
            "lazy": _true,
            "program": _of("program"),
            "golden": _of("golden"),
        },
        frozenset({"parameters", "buffers", "non_persistent", "modules", "attributes", "extra_state", "hooks"})
        | {"direct", "computed", "lazy", "program", "golden"},
    ),
    "program": Kind(1, {"summary": _text, "text": _bytes_of, "constants": _tensors}),
    # what a module returned for an example: `document/golden.py` has the rest of the rules
    "golden": Kind(1, {"environment": _each_named(_text), "examples": _tuple_of("golden.example")}),
    "golden.example": Kind(
        1, {"args": _tuple, "keywords": _named(_anything), "random": _flag, "outputs": _tuple_of("golden.output")}
    ),
    "golden.output": Kind(
        1,
        {"where": _text, "value": _result, "scale": _float, "tolerance": _float, "evidence": _each_named(_float)},
    ),
    "golden.sampled": Kind(
        1,
        {
            "dtype": _text,
            "shape": _sizes,
            "digest": _text,
            "finite": _size,
            **dict.fromkeys(("minimum", "maximum", "mean", "deviation"), _float),
            "sample": _tensor,
        },
    ),
    "golden.object": Kind(1, {"sequence": _flag, "parts": _named(_anything)}),
    "custom": Kind(1, {"class": _text, "state": _anything}),
    "optimizer": Kind(
        1,
        {
            "class": _text,
            "defaults": _map,
            "state": _map,
            "param_groups": _list,
            "attributes": _named(_anything),
        },
        frozenset({"attributes"}),
    ),
    # the standard library's
    "defaultdict": Kind(1, {"factory": _or_none(_factory), "items": _map}),
    "Counter": Kind(1, {"items": _map, "attributes": _named(_anything)}, frozenset({"attributes"})),
    "deque": Kind(1, {"items": _tuple, "maxlen": _or_none(_size)}),
    "Namespace": Kind(1, {"attributes": _named(_anything)}),
    "SimpleNamespace": Kind(1, {"attributes": _named(_anything)}),
    "slice": Kind(1, dict.fromkeys(("start", "stop", "step"), _anything)),
    "range": Kind(1, dict.fromkeys(("start", "stop", "step"), _integer)),
    "Ellipsis": Kind(1, {}),
    "namedtuple": Kind(1, {"class": _text, "names": _texts, "items": _tuple}),
    "enum": Kind(1, {"class": _text, "members": _texts, "rest": _integer}, frozenset({"rest"})),
    "path": Kind(1, {"flavour": _text, "pure": _flag, "text": _text}),
    "date": Kind(1, dict.fromkeys(("year", "month", "day"), _integer)),
    "time": Kind(1, _CLOCK),
    "datetime": Kind(1, {**dict.fromkeys(("year", "month", "day"), _integer), **_CLOCK}),
    "timedelta": Kind(1, dict.fromkeys(("days", "seconds", "microseconds"), _integer)),
    "timezone": Kind(1, {"offset": _timedelta, "name": _text}, frozenset({"name"})),
    "ZoneInfo": Kind(1, {"key": _text}),
    "UUID": Kind(1, {"hex": _text, "safe": _text}, frozenset({"safe"})),
    "Decimal": Kind(1, {"text": _text}),
    "Fraction": Kind(1, {"numerator": _integer, "denominator": _integer}),
    "Random": Kind(1, {"state": _bytes, "gauss": _or_none(_float)}),
    # torch's and numpy's
    "torch.memory_format": Kind(1, {"name": _text}),
    "torch.layout": Kind(1, {"name": _text}),
    "torch.Generator": Kind(1, {"device": _text, "state": _bytes}),
    "torch.averaging": Kind(1, {"function": _text, "decay": _number}, frozenset({"decay"})),
    "torch.uninitialized": Kind(
        1,
        {"dtype": _text, "parameter": _flag, "requires_grad": _flag, "attributes": _named(_anything)},
        frozenset({"attributes"}),
    ),
    "torch.weight_norm": Kind(1, {"name": _text, "dim": _integer}),
    "torch.spectral_norm": Kind(1, {"name": _text, "dim": _integer, "power_iterations": _integer, "eps": _number}),
    "torch.prune": Kind(1, {"name": _text, "methods": _tuple_of("pruning_method"), "container": _flag}),
    "pruning_method": Kind(1, {"class": _text, "attributes": _named(_anything)}, frozenset({"attributes"})),
    "numpy.ndarray": Kind(1, {"dtype": _text, "data": _tensor, "writeable": _flag}),
    "numpy.scalar": Kind(1, {"dtype": _text, "data": _bytes}),
    "numpy.dtype": Kind(1, {"name": _text}),
    "numpy.BitGenerator": Kind(1, {"name": _text, "state": _bytes, "seed": _or_none(_of("numpy.SeedSequence"))}),
    "numpy.Generator": Kind(1, {"bit_generator": _of("numpy.BitGenerator")}),
    "numpy.RandomState": Kind(1, {"bit_generator": _of("numpy.BitGenerator"), "gauss": _or_none(_float)}),
    "numpy.SeedSequence": Kind(1, {"entropy": _seeds, "spawn_key": _sizes, "pool_size": _integer, "spawned": _integer}),
    # tensors that are more than strided memory
    "torch.sparse": _tensor_kind(
        {
            "layout": _text,
            "shape": _sizes,
            "compressed": _or_none(_tensor),
            "indices": _tensor,
            "values": _tensor,
            "coalesced": _flag,
        }
    ),
    "torch.quantized": _tensor_kind(
        {
            "dtype": _text,
            "shape": _sizes,
            "data": _tensor,
            "scale": _anything,
            "zero_point": _anything,
            "axis": _anything,
        }
    ),
    "torch.nested": _tensor_kind(dict.fromkeys(("values", "sizes", "strides", "offsets"), _tensor)),
    "torch.jagged": _tensor_kind(
        {
            "values": _tensor,
            "offsets": _tensor,
            "lengths": _or_none(_tensor),
            "ragged_dim": _integer,
            "min_length": _or_none(_integer),
            "max_length": _or_none(_integer),
        },
        {},
    ),
    "torch.meta": _tensor_kind({"dtype": _text, "shape": _sizes, "strides": _sizes}),
    "tensor_subclass": _tensor_kind({"class": _text, "data": _tensor}),
    "wrapper_tensor": _tensor_kind(
        {"class": _text, "tensors": _named(is_tensor), "context": _anything, "shape": _sizes, "strides": _sizes}, {}
    ),
}


OWN_FIELDS = frozenset(
    {"items", "attributes", "keywords", "parameters", "buffers", "modules", "defaults", "state"}
    | {
        "args",
        "dims",
        "non_persistent",
        "hooks",
        "names",
        "members",
        "shape",
        "strides",
        "tensors",
        "computed",
        "methods",
        "value",
        "entropy",
        "spawn_key",
        "constants",
        "environment",
        "examples",
        "outputs",
        "evidence",
        "parts",
    }
)
"""Fields whose map or tuple is part of the object rather than an object of its own: nothing else refers to it."""

MAX_FLAG_NBITS = 64
"""Most bits of a flag of which its class has no member."""

MAX_KEY_WEIGHT = 1000
"""Most scalars in a dict key or a set element, each counted as often as hashing it would meet it."""


def weight_of(value: object) -> int:
    """How heavy a scalar is in a key: a long integer is work to hash and to compare."""
    return 1 + value.bit_length() // 64 if type(value) is int else 1


def _is_key(node: Node) -> bool:
    """Whether a node can be a key, if what it refers to can."""
    if isinstance(node, Typed):
        signalling = node.kind == "Decimal" and "sNaN" in str(node.fields["text"])
        return (node.kind in KEY_KINDS and not signalling) or node.kind in TENSOR_KINDS
    return isinstance(node, Seq) and node.kind in ("tuple", "frozenset")


def _hashed(node: Node) -> list[TensorRef | Ref]:
    """What hashing a node meets below it; a tensor hashes by identity."""
    return [] if isinstance(node, Typed) and node.kind in TENSOR_KINDS else children(node)


DEEP_KINDS = frozenset({"defaultdict", "deque", "slice"})
"""Kinds that Python frees by recursion, however deep they are."""

MAX_NESTING = 1000
"""Most levels of these in each other."""

MAX_COLLISIONS = 64
"""How many more keys a map, or elements a set, may have than different hashes of them."""


class KeyNodes(NamedTuple):
    """For each node that can be a key: how many values hashing it meets, and a hash that is equal where Python's is."""

    weights: dict[int, int]
    hashes: dict[int, int]


def key_nodes(document: Document) -> KeyNodes:
    """Nodes that can be keys; what can change is absent, and so is a node on a cycle.

    Tuples and frozensets count their elements, values what their fields refer to; tensors hash by identity. One
    pass from the leaves, whatever the sharing and depth.
    """
    weights: dict[int, int] = {}
    hashes: dict[int, int] = {}
    waiting: dict[int, int] = {}
    holders: dict[int, list[int]] = {}
    ready: list[int] = []
    for position, node in enumerate(document.nodes):
        if _is_key(node):
            inner = [child.index for child in _hashed(node) if isinstance(child, Ref)]
            waiting[position] = len(inner)
            for below in inner:
                holders.setdefault(below, []).append(position)
            if not inner:
                ready.append(position)
    while ready:
        position = ready.pop()
        node = document.nodes[position]
        items = node.items if isinstance(node, Seq) else [ref for ref in _hashed(node) if isinstance(ref, Ref)]
        weight = 1 + sum(weights[item.index] if isinstance(item, Ref) else weight_of(item) for item in items)
        if isinstance(node, Typed) and node.kind not in TENSOR_KINDS:
            weight += sum(weight_of(value) - 1 for value in node.fields.values())
        weights[position] = min(weight, MAX_KEY_WEIGHT + 1)
        if isinstance(node, Seq):
            inner_hashes = [hashes[item.index] if isinstance(item, Ref) else hash(item) for item in items]
            hashes[position] = hash(tuple(inner_hashes if node.kind == "tuple" else sorted(inner_hashes)))
        else:
            hashes[position] = hash(("node", position))
        for holder in holders.get(position, ()):
            waiting[holder] -= 1
            if not waiting[holder]:
                ready.append(holder)
    return KeyNodes(weights, hashes)


KEY_KINDS = frozenset(
    {"torch.Size", "torch.dtype", "torch.device", "torch.memory_format", "torch.layout", "bytes", "str"}
    | {"range", "Ellipsis", "namedtuple", "enum", "path", "date", "time", "datetime", "timedelta", "timezone"}
    | {"ZoneInfo", "UUID", "Decimal", "Fraction", "numpy.scalar", "numpy.dtype"}
)
"""Kinds of values that cannot change, so that they may be keys."""

DATA_KINDS = (
    KEY_KINDS - {"namedtuple", "enum"}
    | {"bytearray", "slice", "Random", "numpy.ndarray"}
    | {"numpy.BitGenerator", "numpy.Generator", "numpy.RandomState", "numpy.SeedSequence"}
)
"""Kinds of values that are data alone: no class of a program makes them, and they cannot be called."""

CONTAINER_KINDS = frozenset({"OrderedDict", "defaultdict", "Counter", "deque", "Namespace", "SimpleNamespace"})
"""Kinds of containers: they hold other values, and cannot be called."""

HELD_KINDS: frozenset[Role] = frozenset({"object", "derived", "namedtuple", "enum"})
"""Kinds that a class of a program makes and that come back as something inert where it is not opened."""

CLOSED_PACKAGES = frozenset({"torch", "builtins", "collections", "numpy"})
"""Packages whose names open through a closed table or not at all: no caller can lack them."""

BYTES_KINDS = frozenset({"bytes", "str", "bytearray"})
"""Kinds that are bytes, and keep them as a tensor that is theirs alone."""

CARRYING_KINDS = BYTES_KINDS | {"numpy.ndarray"}
"""Kinds whose tensor only carries something else, and goes to no device."""

FLOATING = frozenset(name for name in ITEMSIZE if name.startswith(("float", "bfloat", "complex")))
"""Dtypes of tensors that may require a gradient."""

MODULE_INTERNALS = frozenset(
    {
        "training",
        "_parameters",
        "_buffers",
        "_modules",
        "_non_persistent_buffers_set",
        "_backward_pre_hooks",
        "_backward_hooks",
        "_is_full_backward_hook",
        "_forward_hooks",
        "_forward_hooks_with_kwargs",
        "_forward_hooks_always_called",
        "_forward_pre_hooks",
        "_forward_pre_hooks_with_kwargs",
        "_state_dict_hooks",
        "_state_dict_pre_hooks",
        "_load_state_dict_pre_hooks",
        "_load_state_dict_post_hooks",
        "_compiled_call_impl",
    }
)
"""What `nn.Module` keeps for itself in an instance: fields of their own here, never attributes."""
