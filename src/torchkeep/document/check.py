"""Every invariant of a Document, each checked once, here, before anything is built from it.

Clause numbers are those of ``spec/format.md``. Where the document says what a rule is for, the code
says only the rule.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..errors import FormatError, LimitError, VersionError
from ..limits import LIMITS, Limits
from .dtypes import ITEMSIZE
from .kinds import KINDS, MAX_KEY_WEIGHT, MODULE_INTERNALS, OWN_FIELDS, KeyNodes, key_nodes
from .model import Document
from .nodes import Map, Node, Ref, Seq, TensorRef, Typed, Value, children
from .tensors import CONJ, PARAMETER, REQUIRES_GRAD, Shape, TensorTable, View

_MAX_INDEX = 2**62
_FLOATING = frozenset(name for name in ITEMSIZE if name.startswith(("float", "bfloat", "complex")))


def check(document: Document, *, limits: Limits = LIMITS) -> None:
    """Hold a Document against every invariant.

    Raises:
        FormatError: one does not hold; `clause` says which.
        VersionError: a kind of node that this torchkeep does not know.
        LimitError: more of something than `limits` allow.
    """
    references = [children(node) for node in document.nodes]
    _check_references(document, references)
    _check_table(document.tensors, limits)
    _check_classes(document)
    nodes = _Nodes(
        document, _owned_once(document, references), key_nodes(document), _lone_tensors(document, references)
    )
    for position, node in enumerate(document.nodes):
        try:
            nodes.check(node)
        except FormatError as error:
            error.message += f", in node {position} of the document"
            raise
    for value in document.tensors.attributes.values():
        attributes = document.node(value)
        if type(value) is Ref and isinstance(attributes, Map) and nodes.is_shared(value.index):
            raise FormatError("the attributes of a tensor are shared", clause="K-4")
        if not isinstance(attributes, Map):
            raise FormatError("the attributes of a tensor are no map", clause="A-1")
        nodes.check_attribute_names(attributes)


def _check_classes(document: Document) -> None:
    """D-9: versions of classes are counted from 1."""
    for name, info in document.classes.items():
        if not 1 <= info.version < 2**31:
            raise FormatError(f"version {info.version} of class {name!r}", clause="D-9")


def _owned_once(document: Document, references: list[list[TensorRef | Ref]]) -> frozenset[int]:
    """Nodes that exactly one reference points at."""
    outside = [document.root, *document.tensors.attributes.values()]
    counts = Counter(value.index for value in outside if type(value) is Ref)
    counts.update(value.index for values in references for value in values if type(value) is Ref)
    return frozenset(position for position, count in counts.items() if count == 1)


def _lone_tensors(document: Document, references: list[list[TensorRef | Ref]]) -> frozenset[int]:
    """Tensors that one reference points at, and that alone view their stored tensor, all of it, as it is."""
    table = document.tensors
    counts = Counter(value.index for values in references for value in values if type(value) is TensorRef)
    views = Counter(table.stored)
    return frozenset(
        row
        for row, count in counts.items()
        if count == 1
        and views[table.stored[row]] == 1
        and not table.flags[row]
        and row not in table.views
        and row not in table.lazy
        and row not in table.attributes
    )


def _check_references(document: Document, references: list[list[TensorRef | Ref]]) -> None:
    """D-4: references point at something. D-7: numbering is depth first, and nothing is hidden."""
    nodes, tensors = document.reachable(document.root, references)
    if nodes != list(range(len(document.nodes))) or tensors != list(range(len(document.tensors))):
        raise FormatError("nodes or tensors are unreachable or not in depth-first order", clause="D-7")


# --- tensors ----------------------------------------------------------------------------------------


def _check_table(table: TensorTable, limits: Limits) -> None:
    count, stored_count = len(table), len(table.names)
    if not stored_count == len(table.dtypes) == len(table.shapes) or len(table.flags) != count:
        raise FormatError("the columns of the tensor table differ in length", clause="D-5")
    if max(count, stored_count) > limits.tensors:
        raise LimitError(f"{count} tensors, and the limit is {limits.tensors}")
    for sparse, length in ((table.strides, stored_count), (table.views, count), (table.lazy, count)):
        _check_rows(sparse, length)
    _check_rows(table.attributes, count)
    _check_stored(table, limits)
    for row, view in table.views.items():
        _check_view(table, row, view, limits)
    _check_bits(table)


def _check_rows(sparse: Iterable[int], length: int) -> None:
    if not all(0 <= row < length for row in sparse):
        raise FormatError("the tensor table tells of a tensor that is not there", clause="D-4")


def _check_stored(table: TensorTable, limits: Limits) -> None:
    if set(table.stored) != set(range(len(table.names))):
        raise FormatError("a stored tensor belongs to no tensor", clause="D-8")
    if len(set(table.names)) != len(table.names):
        raise FormatError("two stored tensors have one name", clause="D-5")
    for dtype, shape in set(zip(table.dtypes, table.shapes, strict=True)):
        _check_geometry(dtype, shape, limits)
    for stored, strides in table.strides.items():
        shape = table.shapes[stored]
        if not is_dense(shape, strides) or is_contiguous(shape, strides):
            raise FormatError(f"strides {strides} of shape {shape} leave gaps, or need no mention", clause="T-3")


def _check_view(table: TensorTable, row: int, view: View, limits: Limits) -> None:
    _check_geometry(view.dtype, view.shape, limits)
    if len(view.strides) != len(view.shape) or not _plain_ints((*view.strides, view.offset)):
        raise FormatError(f"strides {view.strides}, offset {view.offset} of a view", clause="T-4")
    if _is_whole(table, row, view):
        raise FormatError("a view that is all of its stored tensor", clause="T-4")
    end = extent(view.shape, view.strides, view.offset) * ITEMSIZE[view.dtype]
    if end > table.nbytes(table.stored[row]):
        have = table.nbytes(table.stored[row])
        raise FormatError(f"a view of {table.name(row)!r} ends at byte {end} of {have}", clause="T-4")


def _check_bits(table: TensorTable) -> None:
    for row, bits in table.lazy.items():
        if bits not in (1, 2, 3):
            raise FormatError("a lazy bit that is not CONJ or NEG", clause="T-5")
        if table.dtype(row) not in _FLOATING or (bits & CONJ and not table.dtype(row).startswith("complex")):
            raise FormatError(f"a lazy view of {table.dtype(row)}", clause="T-5")
    if not set(table.flags) <= {0, 1, PARAMETER, PARAMETER | REQUIRES_GRAD}:
        raise FormatError("flags of a tensor are not 0 to 3", clause="T-6")
    for row, flags in enumerate(table.flags):
        if flags & REQUIRES_GRAD and table.dtype(row) not in _FLOATING:
            raise FormatError(f"{table.dtype(row)} cannot require a gradient", clause="T-6")


def _is_whole(table: TensorTable, row: int, view: View) -> bool:
    """Whether a view says no more than its stored tensor does."""
    stored = table.stored[row]
    shape = table.shapes[stored]
    if view.dtype != table.dtypes[stored] or view.shape != shape or view.offset:
        return False
    return view.strides == (table.strides.get(stored) or row_major(shape))


def row_major(shape: Shape) -> Shape:
    """The strides that torch gives to contiguous memory."""
    strides = [1]
    for size in reversed(shape[1:]):
        strides.append(strides[-1] * max(size, 1))
    return tuple(reversed(strides)) if shape else ()


def _plain_ints(values: Iterable[object]) -> bool:
    return all(type(v) is int and 0 <= v < _MAX_INDEX for v in values)


def _check_geometry(dtype: str, shape: Shape, limits: Limits) -> None:
    if dtype not in ITEMSIZE:
        raise FormatError(f"dtype {dtype!r} is not known", clause="T-1")
    if not _plain_ints(shape):
        raise FormatError(f"shape {shape!r} is not made of sizes", clause="T-2")
    if len(shape) > limits.rank or math.prod(size for size in shape if size) > limits.numel:
        raise LimitError(f"a tensor of shape {shape!r}")


def extent(shape: Shape, strides: Shape, offset: int) -> int:
    """One past the last element that the geometry reaches; `offset` where there are no elements."""
    if 0 in shape:
        return offset
    return offset + 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))


def is_contiguous(shape: Shape, strides: Shape) -> bool:
    """Whether the strides are those of row-major order; where a size is 1, or one is 0, they mean nothing."""
    if 0 in shape:
        return True
    expected = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1:
            if stride != expected:
                return False
            expected *= size
    return True


def is_dense(shape: Shape, strides: Shape) -> bool:
    """Whether the strides place the elements without gap or overlap, in any order of dimensions."""
    if len(shape) != len(strides) or not _plain_ints(strides):
        return False
    expected = 1
    for stride, size in sorted((t, s) for s, t in zip(shape, strides, strict=True) if s != 1):
        if size == 0:
            return True
        if stride != expected:
            return False
        expected *= size
    return True


# --- nodes ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Nodes:
    """The rules of single nodes.

    Attributes:
        document: what is checked.
        owned: nodes that one reference points at.
        keys: nodes that can be keys.
        lone: tensors that are nothing but their stored bytes.
        passed: columns of names that passed a rule, by the rule and their identity. Many nodes share theirs.
    """

    document: Document
    owned: frozenset[int]
    keys: KeyNodes
    lone: frozenset[int]
    passed: set[object] = field(default_factory=set)

    def check(self, node: Node) -> None:
        """Hold one node against the rules of its type."""
        if isinstance(node, Typed):
            self._check_typed(node)
        elif isinstance(node, Map):
            if ("keys", id(node.keys)) not in self.passed:
                self._check_keys(node.keys)
                self.passed.add(("keys", id(node.keys)))
        elif isinstance(node, Seq) and node.kind in ("set", "frozenset"):
            self._check_keys(node.items)

    def _check_typed(self, node: Typed) -> None:
        kind = KINDS.get(node.kind)
        if kind is None or node.version > kind.version:
            raise VersionError(
                f"the file holds a {node.kind!r} of version {node.version}, which this torchkeep does not know. "
                "Nothing was loaded. Install a newer torchkeep.",
                clause="K-1",
            )
        if node.version < 1:
            raise FormatError(f"version {node.version} of {node.kind!r}", clause="K-1")
        expected = [name for name in kind.fields if name in node.fields or name not in kind.optional]
        if list(node.fields) != expected:
            raise FormatError(f"{node.kind!r} has fields {list(node.fields)}, not {expected}", clause="K-2")
        for name, value in node.fields.items():
            if not kind.fields[name](self.document, value):
                raise FormatError(f"field {name!r} of {node.kind!r} is not of its type", clause="K-3")
            if name in OWN_FIELDS and type(value) is Ref and self.is_shared(value.index):
                raise FormatError(f"field {name!r} of {node.kind!r} is shared", clause="K-4")
        if node.kind == "module":
            self._check_module(node)
        elif node.kind in ("bytes", "str"):
            self._check_long(node)
        elif attributes := self._map(node, "attributes"):
            self.check_attribute_names(attributes)

    def _check_long(self, node: Typed) -> None:
        """V-5: long bytes and texts are a tensor of bytes that is theirs alone."""
        value, table = node.fields["data"], self.document.tensors
        row = value.index if isinstance(value, TensorRef) else -1
        if row not in self.lone or table.dtype(row) != "uint8" or len(table.shape(row)) != 1:
            raise FormatError(f"long {node.kind} that are no bytes of their own", clause="V-5")

    def is_shared(self, position: int) -> bool:
        """Whether a map or a tuple with anything in it is referred to more than once."""
        node = self.document.nodes[position]
        return position not in self.owned and (isinstance(node, Map) or (isinstance(node, Seq) and bool(node.items)))

    def _map(self, node: Typed, name: str) -> Map | None:
        found = self.document.node(node.fields.get(name))
        return found if isinstance(found, Map) else None

    def _check_module(self, node: Typed) -> None:
        """M-1: names are as torch has them, and no name means two things. M-2: of buffers that do not persist."""
        maps = [self._map(node, name) for name in ("parameters", "buffers", "modules", "attributes")]
        columns = [found.keys if found else () for found in maps]
        rule = ("module", *map(id, columns))
        if rule not in self.passed:
            everything = [str(name) for column in columns for name in column]
            dotted = any("." in str(name) for column in columns[:3] for name in column)
            distinct = set(everything)
            if dotted or "" in distinct or len(distinct) != len(everything) or distinct & MODULE_INTERNALS:
                raise FormatError(f"a module cannot have these names: {_sample(everything)}", clause="M-1")
            self.passed.add(rule)
        if "non_persistent" in node.fields:
            hidden = self.document.texts(node.fields["non_persistent"])
            if list(hidden) != sorted(set(hidden)) or not set(columns[1]) >= set(hidden):
                raise FormatError("non-persistent names are not names of buffers, sorted, each once", clause="M-2")
        if attributes := maps[3]:
            self.check_attribute_names(attributes)

    def check_attribute_names(self, attributes: Map) -> None:
        """A-1: attributes are data; a dunder is behaviour."""
        rule = ("attributes", id(attributes.keys))
        if rule in self.passed:
            return
        for name in attributes.keys:
            if not isinstance(name, str) or (name.startswith("__") and name.endswith("__")):
                raise FormatError(f"{name!r} cannot be an attribute", clause="A-1")
        self.passed.add(rule)

    def _check_keys(self, keys: tuple[Value, ...]) -> None:
        """V-2: keys and set elements are immutable and of bounded size. V-3: no key twice, as Python compares them."""
        for key in keys:
            if type(key) is Ref and self.keys.weights.get(key.index, MAX_KEY_WEIGHT + 1) > MAX_KEY_WEIGHT:
                raise FormatError("a key that can change, or is too large", clause="V-2")
        plain = [key for key in keys if type(key) is not Ref]
        hashes = set(map(hash, plain))
        hashes.update(self.keys.hashes[key.index] for key in keys if type(key) is Ref)
        if len(keys) - len(hashes) > _MAX_COLLISIONS:
            raise LimitError(f"more than {_MAX_COLLISIONS} keys of a map have equal hashes")
        if len(set(plain)) != len(plain):
            raise FormatError("a key stands twice", clause="V-3")


_MAX_COLLISIONS = 64


def _sample(names: list[str]) -> str:
    return ", ".join(map(repr, names[:8])) + (", ..." if len(names) > 8 else "")
