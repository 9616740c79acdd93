"""Golden outputs in a Document: where they may stand, and what they may hold (clauses G).

An example is data and never more: what its arguments lead to is closed, so that making the call again runs the model
and nothing else.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator

from ..errors import FormatError, brief
from .dtypes import ITEMSIZE
from .geometry import plain_ints
from .model import Document
from .nodes import Map, Node, Ref, Seq, TensorRef, Typed, Value, children

GOLDEN_KINDS = frozenset({"golden", "golden.example", "golden.output", "golden.sampled", "golden.object"})
"""Kinds that stand in the field `golden` of a module, and nowhere else."""

SAMPLE_SIZE = 1024
"""Elements that are kept of a large output."""

_DATA = frozenset(
    {"str", "slice", "Ellipsis", "torch.dtype", "torch.device", "torch.layout", "torch.memory_format", "OrderedDict"}
)
"""Kinds of typed node that an argument may be, beside `golden.object`."""

_MAX_DEPTH = 64
_DIGEST = re.compile(r"[0-9a-f]{16}")
_SCALARS = (type(None), bool, int, float, str)
_KEYS = (type(None), bool, int, str)


def golden_of(document: Document, value: Value) -> Ref | None:
    """Where the golden outputs of a module are."""
    node = document.typed(value, "module")
    held = node.fields.get("golden") if node is not None else None
    return held if isinstance(held, Ref) else None


def calls_of(document: Document, golden: Ref | None) -> Ref | None:
    """Where the calls of golden outputs are: what a comparison of two files is about."""
    held = _fields(document, golden).get("examples")
    return held if isinstance(held, Ref) else None


def without_golden(document: Document) -> None:
    """Take the golden outputs away from every module: no other part of a Document leads to them."""
    for position, node in enumerate(document.nodes):
        if isinstance(node, Typed) and node.kind == "module" and "golden" in node.fields:
            fields = {name: value for name, value in node.fields.items() if name != "golden"}
            document.nodes[position] = Typed(node.kind, node.version, fields)


def examples_of(document: Document, golden: Value) -> list[Typed]:
    """The calls of golden outputs."""
    return list(_items(document, _fields(document, golden).get("examples")))


def outputs_of(document: Document, example: Typed) -> list[Typed]:
    """What one call returned."""
    return list(_items(document, example.fields["outputs"]))


def check_golden(document: Document, shared_nodes: set[int], shared_tensors: set[int]) -> None:
    """Hold all golden outputs against the clauses G; the fields of each node are of their types."""
    walk = _Walk(document, shared_nodes, shared_tensors)
    for node in document.nodes:
        if isinstance(node, Typed) and node.kind == "module" and "golden" in node.fields:
            walk.golden(node.fields["golden"])
    for position, node in enumerate(document.nodes):
        if isinstance(node, Typed) and node.kind in GOLDEN_KINDS and position not in walk.met:
            raise FormatError(f"a {node.kind!r} that is no part of golden outputs of a module", clause="G-1")


class _Walk:
    def __init__(self, document: Document, shared_nodes: set[int], shared_tensors: set[int]) -> None:
        self._document = document
        self._shared_nodes, self._shared_tensors = shared_nodes, shared_tensors
        self._views = Counter(document.tensors.stored)
        self.met: set[int] = set()

    def golden(self, value: Value) -> None:
        self._own(value)
        for example in self._parts(_fields(self._document, value)["examples"]):
            self._arguments(example.fields["args"])
            self._arguments(example.fields["keywords"])
            places: set[Value] = set()
            for output in self._parts(example.fields["outputs"]):
                places.add(output.fields["where"])
                self._output(output)
            if len(places) != len(_seq(self._document, example.fields["outputs"])):
                raise FormatError("two outputs at one place", clause="G-4")

    def _parts(self, value: Value) -> Iterator[Typed]:
        for item in _seq(self._document, value):
            self._own(item)
            node = self._document.node(item)
            assert isinstance(node, Typed)
            yield node

    def _own(self, value: Value) -> None:
        """G-1: part of one thing alone."""
        assert isinstance(value, Ref)
        if value.index in self._shared_nodes:
            raise FormatError("a part of golden outputs is referred to twice", clause="G-1")
        self.met.add(value.index)

    def _arguments(self, value: Value) -> None:
        """G-2: data alone, and a tree."""
        level: list[Value] = [value]
        for _ in range(_MAX_DEPTH + 1):
            below: list[Value] = []
            for each in level:
                if isinstance(each, TensorRef):
                    self._tensor(each)
                elif not isinstance(each, Ref):
                    if type(each) not in _SCALARS:
                        raise FormatError(f"an argument {brief(each)}", clause="G-2")
                else:
                    below += self._argument(each)
            if not below:
                return
            level = below
        raise FormatError("arguments that are nested too deeply", clause="G-2")

    def _argument(self, value: Ref) -> list[Value]:
        """What stands below an argument."""
        node = self._document.nodes[value.index]
        if isinstance(node, Typed) and node.kind in _DATA - {"OrderedDict"}:
            if node.kind != "str" and any(isinstance(child, TensorRef | Ref) for child in children(node)):
                raise FormatError(f"a {node.kind!r} that holds more than numbers", clause="G-2")
            return []
        held = self._column(node)
        if held is None:
            raise FormatError("an argument that is neither a tensor nor data", clause="G-2")
        if held and value.index in self._shared_nodes:
            raise FormatError("a part of an argument is referred to twice", clause="G-2")
        if isinstance(node, Typed) and node.kind == "golden.object":
            self._own(value)
        return held

    def _column(self, node: Node) -> list[Value] | None:
        if isinstance(node, Seq) and node.kind in ("list", "tuple"):
            return list(node.items)
        if isinstance(node, Typed) and node.kind == "OrderedDict" and "attributes" not in node.fields:
            return self._column(self._map(node.fields["items"]))
        if isinstance(node, Typed) and node.kind == "golden.object":
            return self._column(self._map(node.fields["parts"]))
        if isinstance(node, Map):
            if any(type(key) not in _KEYS for key in node.keys):
                raise FormatError("a key of an argument that is no text or whole number", clause="G-2")
            return list(node.values)
        return None

    def _map(self, value: Value) -> Map:
        node = self._document.node(value)
        assert isinstance(node, Map)
        return node

    def _tensor(self, value: TensorRef) -> None:
        """G-3: a tensor of its own, which the model cannot write to and no other part shares."""
        table, row = self._document.tensors, value.index
        plain = not (table.flags[row] or row in table.views or row in table.lazy or row in table.attributes)
        if not plain or row in self._shared_tensors or self._views[table.stored[row]] != 1:
            raise FormatError("a tensor of golden outputs that is not its own", clause="G-3")

    def _output(self, output: Typed) -> None:
        document, fields = self._document, output.fields
        evidence = document.node(fields["evidence"])
        assert isinstance(evidence, Map)
        numbers = (fields["scale"], fields["tolerance"], *evidence.values)
        if not all(isinstance(number, float) and 0 <= number < math.inf for number in numbers):
            raise FormatError("a tolerance that is no finite number from 0", clause="G-4")
        value = fields["value"]
        if isinstance(value, TensorRef):
            self._tensor(value)
        elif isinstance(value, Ref) and (node := document.typed(value, "golden.sampled")) is not None:
            self._own(value)
            self._sampled(node)

    def _sampled(self, node: Typed) -> None:
        """G-5: what is kept of a tensor that is not there."""
        fields, table = node.fields, self._document.tensors
        sample, digest, finite = fields["sample"], fields["digest"], fields["finite"]
        assert isinstance(sample, TensorRef)
        assert isinstance(digest, str)
        assert isinstance(finite, int)
        self._tensor(sample)
        shape = _seq(self._document, fields["shape"])
        sizes = [size for size in shape if isinstance(size, int)] if len(shape) <= _MAX_RANK else []
        numel = math.prod(sizes) if plain_ints(sizes) else _MAX_NUMEL
        fits = (
            len(sizes) == len(shape)
            and numel < _MAX_NUMEL
            and fields["dtype"] in ITEMSIZE
            and table.dtype(sample.index) == fields["dtype"]
            and table.shape(sample.index) == (min(numel, SAMPLE_SIZE),)
        )
        if not fits or not _DIGEST.fullmatch(digest) or finite > numel:
            raise FormatError("a sample that does not fit the tensor that it was taken from", clause="G-5")


_MAX_NUMEL = 2**62
_MAX_RANK = 64


def _fields(document: Document, value: Value) -> dict[str, Value]:
    node = document.node(value)
    return node.fields if isinstance(node, Typed) else {}


def _seq(document: Document, value: Value) -> tuple[Value, ...]:
    node = document.node(value)
    return node.items if isinstance(node, Seq) else ()


def _items(document: Document, value: Value) -> Iterator[Typed]:
    for item in _seq(document, value):
        node = document.node(item)
        if isinstance(node, Typed):
            yield node
