"""Every invariant of a Document, each checked once, here, before anything is built from it.

Clause numbers are those of ``spec/format.md``. Where the document says what a rule is for, the code
says only the rule.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain

import msgspec

from ..errors import FormatError, LimitError, VersionError, brief
from ..limits import LIMITS, Limits
from .computed import HOOK_KINDS, check_hooks, check_pruning_method, check_uninitialized
from .dtypes import ITEMSIZE, NUMPY_NAME, numpy_itemsize
from .geometry import extent, is_contiguous, is_dense, plain_ints, row_major
from .golden import GOLDEN_KINDS, check_golden
from .kinds import (
    BYTES_KINDS,
    DEEP_KINDS,
    FLOATING,
    KINDS,
    MAX_COLLISIONS,
    MAX_KEY_WEIGHT,
    MAX_NESTING,
    MODULE_INTERNALS,
    OWN_FIELDS,
    KeyNodes,
    Test,
    key_nodes,
    weight_of,
)
from .layouts import TENSOR_KINDS, check_layout
from .model import Document
from .nodes import Map, Node, Ref, Seq, TensorRef, Typed, Value, children
from .tensors import CONJ, PARAMETER, REQUIRES_GRAD, Shape, TensorTable, View
from .texts import check_texts


def check(document: Document, *, limits: Limits = LIMITS) -> None:
    """Hold a Document against every invariant.

    Args:
        document: what was read, or is to be written.
        limits: caps on what it may hold.

    Raises:
        FormatError: one does not hold; `clause` says which.
        VersionError: a kind of node that this torchkeep does not know.
        LimitError: more of something than `limits` allow.
    """
    shared = _check_references(document)
    _check_table(document.tensors, limits)
    _check_classes(document)
    check_texts(document.sources, limits)
    _check_nesting(document)
    nodes = _Nodes(document, shared)
    for position, node in enumerate(document.nodes):
        try:
            nodes.check(node)
        except FormatError as error:
            error.message += f", in node {position} of the document"
            raise
    if nodes.have_hooks:
        check_hooks(document, shared.nodes)
    if nodes.have_golden:
        check_golden(document, shared.nodes, shared.tensors)
    for value in document.tensors.attributes.values():
        attributes = document.node(value)
        if type(value) is Ref and isinstance(attributes, Map) and nodes.is_shared(value.index):
            raise FormatError("the attributes of a tensor are shared", clause="K-4")
        if not isinstance(attributes, Map):
            raise FormatError("the attributes of a tensor are no map", clause="A-1")
        _check_attribute_names(attributes.keys)


def _check_classes(document: Document) -> None:
    """D-9: versions of classes are counted from 1."""
    for name, info in document.classes.items():
        if not 1 <= info.version < 2**31:
            raise FormatError(f"version {info.version} of class {name!r}", clause="D-9")


# --- references -------------------------------------------------------------------------------------


class _Shared(msgspec.Struct, frozen=True):
    """Nodes and tensors that more than one reference points at."""

    nodes: set[int]
    tensors: set[int]


def _check_references(document: Document) -> _Shared:
    """D-4: references point at something. D-7: numbering is depth first, and nothing is hidden.

    Whatever the walk meets for the first time must have the next number, so the numbers met so far need no set.
    """
    references = list(map(children, document.nodes))
    attributes = document.tensors.attributes
    node_count, tensor_count = len(document.nodes), len(document.tensors)
    nodes_met = tensors_met = 0
    shared = _Shared(set(), set())
    levels: list[Iterator[Value]] = [iter((document.root,))]
    while levels:
        for value in levels[-1]:
            if type(value) is TensorRef:
                row = value.index
                if row == tensors_met < tensor_count:
                    tensors_met += 1
                    if row in attributes:
                        levels.append(iter((attributes[row],)))
                        break
                elif 0 <= row < tensors_met:
                    shared.tensors.add(row)
                else:
                    raise _misnumbered(document, references)
            elif type(value) is Ref:
                position = value.index
                if position == nodes_met < node_count:
                    nodes_met += 1
                    if references[position]:
                        levels.append(iter(references[position]))
                        break
                elif 0 <= position < nodes_met:
                    shared.nodes.add(position)
                else:
                    raise _misnumbered(document, references)
        else:
            levels.pop()
    if nodes_met != node_count or tensors_met != tensor_count:
        raise _misnumbered(document, references)
    return shared


def _misnumbered(document: Document, references: list[list[TensorRef | Ref]]) -> FormatError:
    """What is wrong: a reference to what is not there, before one that only has the wrong number."""
    counts = {TensorRef: len(document.tensors), Ref: len(document.nodes)}
    for value in chain((document.root,), document.tensors.attributes.values(), *references):
        if isinstance(value, TensorRef | Ref) and not 0 <= value.index < counts[type(value)]:
            what = "tensor" if isinstance(value, TensorRef) else "node"
            return FormatError(f"{what} {value.index} is not in the document", clause="D-4")
    return FormatError("nodes or tensors are unreachable or not in depth-first order", clause="D-7")


def _held(document: Document, node: Typed) -> Iterator[int]:
    """Nodes that an object refers to by itself, or through the map or tuple that is part of it.

    What derives from a builtin may come back as that.
    """
    for field, value in node.fields.items():
        if isinstance(value, Ref):
            own = field in OWN_FIELDS
            for ref in children(document.nodes[value.index]) if own else [value]:
                derived = document.typed(ref, "derived")
                held = derived.fields["value"] if derived else ref
                if isinstance(held, Ref):
                    yield held.index


def _check_nesting(document: Document) -> None:
    """Python frees some containers by recursion in C, and a long chain of them overflows the stack: few may be."""
    deep = {i: node for i, node in enumerate(document.nodes) if isinstance(node, Typed) and node.kind in DEEP_KINDS}
    if len(deep) <= MAX_NESTING:
        return
    inside = {i: [child for child in _held(document, node) if child in deep] for i, node in deep.items()}
    waiting = Counter(chain.from_iterable(inside.values()))
    level = dict.fromkeys(inside, 1)
    ready = [position for position in inside if not waiting[position]]
    met = 0
    while ready:
        position = ready.pop()
        met += 1
        for child in inside[position]:
            level[child] = max(level[child], level[position] + 1)
            waiting[child] -= 1
            if not waiting[child]:
                ready.append(child)
    if max(level.values()) > MAX_NESTING or len(inside) - met > MAX_NESTING:  # the rest is on cycles
        raise LimitError(f"more than {MAX_NESTING} levels of {', '.join(sorted(DEEP_KINDS))} in each other")


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
    in_order = list(range(len(table.names)))
    if table.stored != in_order and set(table.stored) != set(in_order):
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
    if len(view.strides) != len(view.shape) or not plain_ints((*view.strides, view.offset)):
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
        if table.dtype(row) not in FLOATING or (bits & CONJ and not table.dtype(row).startswith("complex")):
            raise FormatError(f"a lazy view of {table.dtype(row)}", clause="T-5")
    if not set(table.flags) <= {0, 1, PARAMETER, PARAMETER | REQUIRES_GRAD}:
        raise FormatError("flags of a tensor are not 0 to 3", clause="T-6")
    if FLOATING.issuperset(table.dtypes) and not table.views:
        return
    for row, flags in enumerate(table.flags):
        if flags & REQUIRES_GRAD and table.dtype(row) not in FLOATING:
            raise FormatError(f"{table.dtype(row)} cannot require a gradient", clause="T-6")


def _is_whole(table: TensorTable, row: int, view: View) -> bool:
    """Whether a view says no more than its stored tensor does."""
    stored = table.stored[row]
    shape = table.shapes[stored]
    if view.dtype != table.dtypes[stored] or view.shape != shape or view.offset:
        return False
    return view.strides == (table.strides.get(stored) or row_major(shape))


def _check_geometry(dtype: str, shape: Shape, limits: Limits) -> None:
    if dtype not in ITEMSIZE:
        raise FormatError(f"dtype {dtype!r} is not known", clause="T-1")
    if not plain_ints(shape):
        raise FormatError(f"shape {shape!r} is not made of sizes", clause="T-2")
    if len(shape) > limits.rank or math.prod(size for size in shape if size) > limits.numel:
        raise LimitError(f"a tensor of shape {shape!r}")


# --- nodes ------------------------------------------------------------------------------------------

_Rule = tuple[str, Test, bool]


class _Nodes:
    """The rules of single nodes. What many nodes have in common, such as their keys, is looked at once."""

    def __init__(self, document: Document, shared: _Shared) -> None:
        self._document = document
        self._shared = shared
        self._views = Counter(document.tensors.stored)
        self._rules: dict[tuple[str, int, tuple[str, ...]], list[_Rule]] = {}
        self._passed: set[object] = set()  # columns of keys, by identity, each with the rule that they passed
        self._key_nodes: KeyNodes | None = None

    @property
    def have_hooks(self) -> bool:
        """Whether M-4 and M-5 speak of any node that was checked."""
        return any(kind in HOOK_KINDS or "lazy" in fields for kind, _, fields in self._rules)

    @property
    def have_golden(self) -> bool:
        """Whether the clauses G speak of any node that was checked."""
        return any(kind in GOLDEN_KINDS or "golden" in fields for kind, _, fields in self._rules)

    def check(self, node: Node) -> None:
        """Hold one node against the rules of its type."""
        if isinstance(node, Typed):
            self._check_typed(node)
        elif isinstance(node, Map):
            if len(node.keys) != len(node.values):
                raise FormatError("a map has not as many keys as values", clause="D-3")
            if id(node.keys) not in self._passed:
                self._check_keys(node.keys)
                self._passed.add(id(node.keys))
        elif isinstance(node, Seq) and node.kind in ("set", "frozenset"):
            self._check_keys(node.items)

    def _check_typed(self, node: Typed) -> None:
        form = (node.kind, node.version, tuple(node.fields))
        rules = self._rules.get(form)
        if rules is None:
            rules = self._rules[form] = _rules_of(*form)
        for (name, test, own), value in zip(rules, node.fields.values(), strict=True):
            if not test(self._document, value):
                raise FormatError(f"field {name!r} of {node.kind!r} is not of its type", clause="K-3")
            if own and type(value) is Ref and self.is_shared(value.index):
                raise FormatError(f"field {name!r} of {node.kind!r} is shared", clause="K-4")
        if node.kind == "module":
            self._check_module(node)
        elif node.kind == "derived":
            self._check_value(node)
        elif node.kind in BYTES_KINDS:
            self._check_bytes(node)
        elif node.kind == "numpy.ndarray":
            self._check_array(node)
        elif node.kind in TENSOR_KINDS:
            check_layout(self._document, node)
        elif node.kind == "pruning_method":
            check_pruning_method(self._document, node)
        elif node.kind == "torch.uninitialized":
            check_uninitialized(node)
        if node.kind != "module" and "attributes" in node.fields:
            attributes = self._document.node(node.fields["attributes"])
            assert isinstance(attributes, Map)
            _check_attribute_names(attributes.keys)

    def _check_value(self, node: Typed) -> None:
        """K-4: what an object holds is copied into it, so that a node of a container or a long text is its own, too."""
        value = node.fields["value"]
        if (
            isinstance(value, Ref)
            and value.index in self._shared.nodes
            and isinstance(self._document.node(value), Typed)
        ):
            raise FormatError("field 'value' of 'derived' is shared", clause="K-4")

    def _check_bytes(self, node: Typed) -> None:
        """V-5: bytes and long texts are a tensor of bytes that is theirs alone: all of its stored tensor, as it is."""
        value, table = node.fields["data"], self._document.tensors
        assert isinstance(value, TensorRef)
        row = value.index
        alone = row not in self._shared.tensors and self._views[table.stored[row]] == 1
        plain = not (table.flags[row] or row in table.views or row in table.lazy or row in table.attributes)
        if not (alone and plain) or table.dtype(row) != "uint8" or len(table.shape(row)) != 1:
            raise FormatError(f"{node.kind} whose tensor is no bytes of its own", clause="V-5")

    def _check_array(self, node: Typed) -> None:
        """K-5: an array of numpy lies over a tensor of its elements, or over one of their bytes."""
        value, table, text = node.fields["data"], self._document.tensors, node.text("dtype")
        assert isinstance(value, TensorRef)
        row, itemsize = value.index, numpy_itemsize(text)
        shape, dtype = table.shape(row), table.dtype(row)
        if itemsize is None:
            raise FormatError(f"{brief(text)} is no dtype of numpy that a file may hold", clause="K-5")
        if text in NUMPY_NAME:
            fits = dtype == NUMPY_NAME[text]
        else:
            view = table.views.get(row)
            strides = view.strides if view else table.strides.get(table.stored[row])
            fits = dtype == "uint8" and shape[-1:] == (itemsize,) and (strides is None or strides[-1] == 1)
        if not fits:
            raise FormatError(f"an array of {text} over a tensor of {dtype} {list(shape)}", clause="K-5")

    def is_shared(self, position: int) -> bool:
        """Whether a map or a tuple with anything in it is referred to more than once."""
        node = self._document.nodes[position]
        return position in self._shared.nodes and (
            isinstance(node, Map) or (isinstance(node, Seq) and bool(node.items))
        )

    def _check_module(self, node: Typed) -> None:
        """M-1: names are as torch has them, and no name means two things. M-2: of buffers that do not persist. M-6."""
        columns = [self._names(node, field) for field in ("parameters", "buffers", "modules", "attributes")]
        rule = tuple(map(id, columns))
        if rule not in self._passed:
            everything = [name for column in columns for name in column]
            dotted = any("." in name for column in columns[:3] for name in column)
            distinct = set(everything)
            if dotted or "" in distinct or len(distinct) != len(everything) or distinct & MODULE_INTERNALS:
                raise FormatError(f"a module cannot have these names: {_sample(everything)}", clause="M-1")
            _check_attribute_names(columns[3])
            self._passed.add(rule)
        if "non_persistent" in node.fields:
            hidden = self._document.texts(node.fields["non_persistent"])
            if list(hidden) != sorted(set(hidden)) or not set(columns[1]) >= set(hidden):
                raise FormatError("non-persistent names are not names of buffers, sorted, each once", clause="M-2")
        if "direct" in node.fields and node.text("class").partition(":")[0].partition(".")[0] == "torch":
            raise FormatError("the state of a module of torch goes through torch's own methods", clause="M-6")

    def _names(self, node: Typed, field: str) -> tuple[str, ...]:
        """The keys of a field that K-3 found to be names; () where the field is absent."""
        found = self._document.node(node.fields.get(field))
        return found.keys if type(found) is Map else ()  # type: ignore[return-value]

    def _check_keys(self, keys: tuple[Value, ...]) -> None:
        """V-2: keys and set elements are immutable and of bounded size. V-3: no key twice, as Python compares them."""
        types = set(map(type, keys))
        if int in types and any(weight_of(key) > MAX_KEY_WEIGHT for key in keys):
            raise FormatError("a key that is too large", clause="V-2")
        plain = keys
        if not _PLAIN_KEYS.issuperset(types):
            nodes = self._nodes_as_keys()
            for key in keys:
                if type(key) is Ref and nodes.weights.get(key.index, MAX_KEY_WEIGHT + 1) > MAX_KEY_WEIGHT:
                    raise FormatError("a key that can change, or is too large", clause="V-2")
            plain = tuple(key for key in keys if type(key) is not Ref)
            hashes = set(map(hash, plain))
            hashes.update(nodes.hashes[key.index] for key in keys if type(key) is Ref)
            if len(keys) - len(hashes) > MAX_COLLISIONS:
                raise LimitError(f"more than {MAX_COLLISIONS} keys of a map have equal hashes")
        if len(set(plain)) != len(plain):
            raise FormatError("a key stands twice", clause="V-3")

    def _nodes_as_keys(self) -> KeyNodes:
        if self._key_nodes is None:
            self._key_nodes = key_nodes(self._document)
        return self._key_nodes


def _rules_of(kind_name: str, version: int, names: tuple[str, ...]) -> list[_Rule]:
    """K-1, K-2: a kind that is known, and its fields in order. What each field must be, and whether it is its own."""
    kind = KINDS.get(kind_name)
    if kind is None or version > kind.version:
        raise VersionError(
            f"the file holds a {kind_name!r} of version {version}, which this torchkeep does not know. "
            "Nothing was loaded. Install a newer torchkeep.",
            clause="K-1",
        )
    if version < 1:
        raise FormatError(f"version {version} of {kind_name!r}", clause="K-1")
    expected = [name for name in kind.fields if name in names or name not in kind.optional]
    if list(names) != expected:
        raise FormatError(f"{kind_name!r} has fields {list(names)}, not {expected}", clause="K-2")
    return [(name, kind.fields[name], name in OWN_FIELDS) for name in names]


def _check_attribute_names(names: Iterable[Value]) -> None:
    """A-1: attributes are data; a dunder is behaviour."""
    for name in names:
        if not isinstance(name, str) or (name.startswith("__") and name.endswith("__")):
            raise FormatError(f"{name!r} cannot be an attribute", clause="A-1")


_PLAIN_KEYS = frozenset({str, bytes, TensorRef})
"""Types of keys whose hashes nobody can choose to be equal."""


def _sample(names: list[str]) -> str:
    return ", ".join(map(repr, names[:8])) + (", ..." if len(names) > 8 else "")
