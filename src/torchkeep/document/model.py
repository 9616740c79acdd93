"""The Document: what a file means, apart from where its bytes lie."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, get_args

import msgspec

from ..errors import FormatError
from .findings import Finding
from .nodes import Map, Node, Ref, Seq, TensorRef, Typed, Value, children
from .tensors import Shape, TensorTable
from .texts import SourceText

FORMAT_VERSION = "0.1"


class ClassInfo(msgspec.Struct, frozen=True):
    """What the file remembers of a class that it names.

    Attributes:
        version: the version that the class was registered with, 1 otherwise.
        digest: digest of the class's source, or None for a class of torch or one without source.
        package: the distribution that defines it, as ``"name version"``, or None.
    """

    version: int = 1
    digest: str | None = None
    package: str | None = None


class Document(msgspec.Struct):
    """Meaning only: no torch, no I/O, no addresses.

    Attributes:
        root: the value that was saved.
        nodes: every composite, in the order in which a depth-first walk from the root first meets it.
        tensors: the tensor table.
        classes: for each class or function outside torch that the nodes name, what is known of it.
        environment: versions and platform at save, such as ``{"python": "3.11.7"}``.
        findings: what was noticed at save.
        sources: text of modules that define the classes, by their names; {} where none was asked for.
    """

    root: Value = None
    nodes: list[Node] = []
    tensors: TensorTable = msgspec.field(default_factory=TensorTable)
    classes: dict[str, ClassInfo] = {}
    environment: dict[str, str] = {}
    findings: list[Finding] = []
    sources: dict[str, SourceText] = {}

    def node(self, value: Value) -> Node | None:
        """The node that `value` refers to, or None for a scalar or a tensor."""
        return self.nodes[value.index] if isinstance(value, Ref) else None

    def typed(self, value: Value, kind: str) -> Typed | None:
        """The `Typed` node of this kind that `value` refers to, or None."""
        node = self.node(value)
        return node if isinstance(node, Typed) and node.kind == kind else None

    def pairs(self, value: Value) -> Iterable[tuple[Value, Value]]:
        """Keys and values of the map that `value` refers to, in order; nothing for None, the absent field."""
        node = self.node(value)
        return zip(node.keys, node.values, strict=True) if isinstance(node, Map) else ()

    def named_pairs(self, value: Value) -> Iterable[tuple[str, Value]]:
        """The same of a map whose keys are names, as a checked Document has it."""
        return self.pairs(value)  # type: ignore[return-value]

    def entries(self, value: Value) -> dict[Value, Value]:
        """Entries of the map that `value` refers to, in order; {} for None, the absent field."""
        return dict(self.pairs(value))

    def named(self, value: Value) -> dict[str, Value]:
        """Entries of a map whose keys are names; {} for None, the absent field."""
        return dict(self.named_pairs(value))

    def texts(self, value: Value) -> tuple[str, ...]:
        """The strings of the sequence that `value` refers to; () for None, the absent field."""
        node = self.node(value)
        return tuple(item for item in node.items if isinstance(item, str)) if isinstance(node, Seq) else ()

    def reachable(
        self, start: Value, references: Sequence[list[TensorRef | Ref]] | None = None
    ) -> tuple[list[int], list[int]]:
        """Positions of the nodes, and rows of the tensors, that `start` leads to; each once, depth first.

        Args:
            start: where to begin.
            references: the children of every node, where a caller has them at hand.

        Raises:
            FormatError: D-4, a reference to what is not there.
        """
        nodes: dict[int, None] = {}
        tensors: dict[int, None] = {}
        attributes = self.tensors.attributes
        node_count, tensor_count = len(self.nodes), len(self.tensors)
        stack: list[Value] = [start]
        while stack:
            value = stack.pop()
            if type(value) is TensorRef:
                row = value.index
                if row in tensors:
                    continue
                if not 0 <= row < tensor_count:
                    raise FormatError(f"tensor {row} is not in the table", clause="D-4")
                tensors[row] = None
                if row in attributes:
                    stack.append(attributes[row])
            elif type(value) is Ref and value.index not in nodes:
                if not 0 <= value.index < node_count:
                    raise FormatError(f"node {value.index} is not in the document", clause="D-4")
                nodes[value.index] = None
                stack.extend(reversed(references[value.index] if references else children(self.nodes[value.index])))
        return list(nodes), list(tensors)

    def needs(self) -> Iterator[tuple[str, str]]:
        """Every class and function that the nodes name, once each, as (name, role)."""
        seen: set[tuple[str, str]] = set()
        for node in self.nodes:
            if isinstance(node, Typed) and node.kind in ROLES:
                name = node.text("name" if node.kind in ("function", "class") else "class")
                if (name, node.kind) not in seen:
                    seen.add((name, node.kind))
                    yield name, node.kind


def of_tensors(names: Sequence[str], dtypes: Sequence[str], shapes: Sequence[Shape]) -> Document:
    """The Document of a dict from names to tensors, in that order: what most files of weights mean.

    Args:
        names: a name for each stored tensor, all different.
        dtypes: their element types by torch's names, such as ``"float32"``.
        shapes: their sizes, in elements.

    Returns:
        The Document: a map at the root, and tensors that are no parameters.
    """
    count = len(names)
    return Document(
        root=Ref(0),
        nodes=[Map(tuple(names), tuple(TensorRef(i) for i in range(count)))],
        tensors=TensorTable(
            names=list(names),
            dtypes=list(dtypes),
            shapes=list(shapes),
            stored=list(range(count)),
            flags=[0] * count,
        ),
    )


Role = Literal[
    "module",
    "optimizer",
    "object",
    "derived",
    "namedtuple",
    "enum",
    "pruning_method",
    "custom",
    "function",
    "class",
    "tensor_subclass",
    "wrapper_tensor",
]

ROLES: frozenset[str] = frozenset(get_args(Role))
"""The kinds of node that name a class or function; the kind is what it is wanted for."""
