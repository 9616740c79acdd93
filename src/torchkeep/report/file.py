"""What a file holds, told from its Document: for `inspect` and the command line."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

import msgspec

from ..document import (
    CLOSED_PACKAGES,
    CONTAINER_KINDS,
    DATA_KINDS,
    HELD_KINDS,
    KEY_KINDS,
    NUMPY_NAME,
    PARAMETER,
    REQUIRES_GRAD,
    SOURCES,
    TENSOR_KINDS,
    Document,
    Finding,
    Map,
    Opaque,
    Ref,
    Seq,
    Shape,
    TensorRef,
    Typed,
    Value,
    examples_of,
    has_state_dict,
    items_of,
    outputs_of,
    parts_with_weights,
    shape_of,
)
from ..errors import LimitError, brief, classes_in_code, in_code, printable
from .reports import Need, Route, TensorInfo, count, size

_TEXT_LENGTH = 60
_MAX_DEPTH = 100
"""Deepest level that a tree shows."""


class FileReport(msgspec.Struct, frozen=True):
    """What a file holds, without loading it.

    Attributes:
        path: the file.
        kind: ``"torchkeep"`` or ``"safetensors"``.
        nbytes: size of the file.
        environment: versions and platform at save; {} where the file does not say.
        metadata: strings of a plain safetensors file.
        needs: every class and function that the file names.
        routes: the ways to load it, and what each lacks.
        findings: what was noticed when it was saved.
    """

    path: str
    kind: str
    nbytes: int
    environment: dict[str, str]
    metadata: dict[str, str]
    needs: tuple[Need, ...]
    routes: tuple[Route, ...]
    findings: tuple[Finding, ...]
    _document: Document

    @property
    def tensors(self) -> list[TensorInfo]:
        """The stored tensors, in the file's order."""
        table = self._document.tensors
        return [
            TensorInfo(name, table.dtypes[i], table.shapes[i], table.nbytes(i)) for i, name in enumerate(table.names)
        ]

    @property
    def parameter_count(self) -> int:
        """Elements of all parameters; of all tensors in a file without modules."""
        return count_elements(self._document)

    @property
    def golden(self) -> dict[str, int]:
        """What it keeps of calls, for `verify`: how many ``examples``, ``outputs``, ``nbytes``; {} for none."""
        found = {"examples": 0, "outputs": 0, "nbytes": 0}
        document = self._document
        for node in document.nodes:
            held = node.fields.get("golden") if isinstance(node, Typed) and node.kind == "module" else None
            if held is not None:
                examples = examples_of(document, held)
                found["examples"] += len(examples)
                found["outputs"] += sum(len(outputs_of(document, example)) for example in examples)
        found["nbytes"] = sum(document.tensors.nbytes(document.tensors.stored[row]) for row in _golden_rows(document))
        return found if found["examples"] else {}

    @property
    def sources(self) -> dict[str, str]:
        """Source text of modules that the file keeps, by their names. Text: nothing of it was run."""
        return {name: source.text for name, source in self._document.sources.items()}

    def tree(self, *, limit: int | None = None) -> list[str]:
        """The object as an indented tree, one line a value.

        Args:
            limit: most lines; None for all. A last line says that there are more.
        """
        lines = [printable(line) for line in islice(tree_lines(self._document), None if limit is None else limit + 1)]
        if limit is not None and len(lines) > limit:
            lines[limit:] = [f"... more than {limit} lines"]
        return lines

    def text(self, *, limit: int | None = 200) -> str:
        """All of it as a person reads it."""
        table = self._document.tensors
        lines = [
            f"{printable(self.path)}: {self.kind} file, {size(self.nbytes)}, {count(len(table.names), 'stored tensor')}"
        ]
        if self.environment:
            saved = ", ".join(f"{name} {version}" for name, version in self.environment.items())
            lines.append(f"saved with  {saved}")
        if packages := sorted({need.package for need in self.needs if need.package}):
            lines.append(f"packages    {', '.join(packages)}")
        if golden := self.golden:
            what = [count(golden["examples"], "example"), count(golden["outputs"], "output"), size(golden["nbytes"])]
            lines.append(f"golden      {', '.join(what)}: for verify")
        lines += [f"metadata    {printable(key)}: {printable(text)}" for key, text in self.metadata.items()]
        lines.append("holds")
        lines += [f"  {line}" for line in self.tree(limit=limit)]
        if self.needs:
            lines.append("needs")
            lines += [f"  {need.role:9s} {printable(need.name)}" for need in self.needs]
        if self.sources:
            lines.append("source text (not run)")
            lines += [f"  {name}: {_extent(text)}" for name, text in islice(self.sources.items(), limit)]
            if limit is not None and len(self.sources) > limit:
                lines.append(f"  ... and {len(self.sources) - limit} more")
        lines.append("routes")
        for route in self.routes:
            lines.append(f"  {route.name:9s} {'open' if route.open else 'closed'}: {route.call}")
            lines += [f"            lacks {lack}" for lack in route.lacks]
        if self.findings:
            lines.append("findings")
            lines += [f"  {finding.severity}: {printable(str(finding))}" for finding in self.findings]
        return "\n".join(map(printable, lines))

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data, for JSON."""
        return {
            "path": self.path,
            "kind": self.kind,
            "nbytes": self.nbytes,
            "environment": self.environment,
            "metadata": self.metadata,
            "parameter_count": self.parameter_count,
            "golden": self.golden,
            "tensors": [
                {"name": t.name, "dtype": t.dtype, "shape": list(t.shape), "nbytes": t.nbytes} for t in self.tensors
            ],
            "needs": [{"name": n.name, "role": n.role, "package": n.package} for n in self.needs],
            "sources": [
                {"module": module, "nbytes": len(text.encode()), "text": text} for module, text in self.sources.items()
            ],
            "routes": [{"name": r.name, "open": r.open, "lacks": list(r.lacks), "call": r.call} for r in self.routes],
            "findings": [
                {"code": f.code, "severity": f.severity, "path": f.path, "message": f.message, "hint": f.hint}
                for f in self.findings
            ],
            "tree": self.tree(),
        }

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return f"FileReport(path={self.path!r}, kind={self.kind!r}, nbytes={self.nbytes})"


def _extent(text: str) -> str:
    return f"{size(len(text.encode()))}, {count(text.count(chr(10)), 'line')}"


def describe(document: Document, *, path: str, kind: str, nbytes: int, metadata: dict[str, str]) -> FileReport:
    """The report of a file from its Document."""
    needs = tuple(
        Need(name, role, info.package if (info := document.classes.get(name)) else None)
        for name, role in document.needs()
    )
    return FileReport(
        path=path,
        kind=kind,
        nbytes=nbytes,
        environment=document.environment,
        metadata=metadata,
        needs=needs,
        routes=tuple(_routes(document, path, needs)),
        findings=tuple(document.findings),
        _document=document,
    )


def _routes(document: Document, path: str, needs: tuple[Need, ...]) -> Iterator[Route]:
    quoted = repr(path)
    foreign = [need for need in needs if need.name.partition(":")[0].partition(".")[0] not in CLOSED_PACKAGES]
    hooked = any(isinstance(node, Typed) and "hooks" in node.fields for node in document.nodes)
    lacks = [_lack(need) for need in foreign]
    if hooked:
        lacks.append('the hooks that the model had: allow={"hooks"} loads it without them')
    opaque = dict.fromkeys(node.what for node in document.nodes if isinstance(node, Opaque))
    lacks += [f"{what}: it could not be saved and was left out" for what in opaque]
    given = list(dict.fromkeys(need.name for need in foreign if need.role != "custom"))
    arguments = f", {classes_in_code(given)}" if given else ""
    arguments += ', allow={"hooks"}' if hooked else ""
    closed = hooked or opaque or any(need.role not in HELD_KINDS for need in foreign)
    yield Route("structure", not closed, tuple(lacks), f"torchkeep.load({quoted}{arguments})")
    if any(isinstance(node, Typed) and "program" in node.fields for node in document.nodes):
        yield Route("program", True, (), f"torchkeep.load({quoted}, route='program')")
    if document.sources:
        yield from _source_route(document, foreign, hooked, quoted)
    yield from _weights_route(document, quoted)
    if opaque or any(need.role == "module" for need in needs):
        yield Route("skeleton", True, (), f"torchkeep.load({quoted}, route='skeleton')")


def _source_route(document: Document, foreign: list[Need], hooked: bool, quoted: str) -> Iterator[Route]:
    """The text that the file keeps, where it may define what the file needs."""
    kept = [need for need in foreign if need.name.partition(":")[0] in document.sources]
    if kept:
        lacks = ["your word: run_source=True runs text of the file as code of your process; read it first (.sources)"]
        lacks += [_lack(need) for need in foreign if need not in kept]
        more = ', allow={"hooks"}' if hooked else ""
        yield Route("source", False, tuple(lacks), f"torchkeep.load({quoted}, route='source', run_source=True{more})")


def _lack(need: Need) -> str:
    """What opens a name, as far as the file tells."""
    given = classes_in_code([need.name])
    if need.role == "custom":
        return f"{need.name}: torchkeep.register({in_code(need.name)}, encode=..., decode=...)"
    if need.role == "module":
        return f"{need.name}: import it first, or {given}"
    if need.role in HELD_KINDS:
        return f"{need.name}: {given}; without it, {'a plain builtin' if need.role == 'derived' else 'an inert Record'}"
    return f"{need.name}: {given}"


def _weights_route(document: Document, quoted: str) -> Iterator[Route]:
    """Where `load_into` finds weights, if it does."""
    try:
        whole = has_state_dict(document, document.root)
        parts = [] if whole else [key for key, _ in parts_with_weights(document, document.root)]
    except LimitError:
        return
    if whole:
        yield Route("weights", True, (), f"torchkeep.load_into(model, {quoted})")
        return
    if len(parts) == 1:
        yield Route("weights", True, (), f"torchkeep.load_into(model, {quoted})")
    elif parts:
        choice = (f"which part: key={', '.join(map(repr, parts))}",)
        yield Route("weights", False, choice, f"torchkeep.load_into(model, {quoted}, key={parts[0]!r})")


def count_elements(document: Document) -> int:
    """Elements of all parameters, each counted once; of all tensors where there are no parameters."""
    table = document.tensors
    counted: dict[int, int] = {}
    rows: Iterable[int] = [row for row, flags in enumerate(table.flags) if flags & PARAMETER]
    if not rows:
        rows = sorted(set(range(len(table))) - _golden_rows(document))
    for row in rows:
        elements = 1
        for length in table.shape(row):
            elements *= length
        counted[table.stored[row]] = max(counted.get(table.stored[row], 0), elements)
    return sum(counted.values())


def _golden_rows(document: Document) -> set[int]:
    """Tensors of examples and their outputs, which are no part of a model."""
    held = [node.fields["golden"] for node in document.nodes if isinstance(node, Typed) and "golden" in node.fields]
    return {row for value in held for row in document.reachable(value)[1]}


# --- the tree ---------------------------------------------------------------------------------------


def tree_lines(document: Document) -> Iterator[str]:
    """One line a value, indented by depth; what was shown before is referred to by its place."""
    places: dict[int, str] = {}
    tensors: dict[int, str] = {}
    levels: list[Iterator[tuple[str, str, Value]]] = [iter([("", "", document.root)])]
    above = [""]
    while levels:
        row = next(levels[-1], None)
        if row is None:
            levels.pop()
            above.pop()
            continue
        label, step, value = row
        prefix = "  " * (len(levels) - 1) + (f"{label}: " if label else "")
        if isinstance(value, TensorRef) and value.index in tensors:
            yield f"{prefix}tied to {tensors[value.index]}"
        elif not isinstance(value, Ref):
            if isinstance(value, TensorRef):
                tensors[value.index] = above[-1] + step
            yield prefix + _leaf(document, value)
        elif value.index in places:
            yield f"{prefix}same as {places[value.index] or 'the root'}"
        elif len(levels) > _MAX_DEPTH:
            yield prefix + "..."
        else:
            place = places[value.index] = above[-1] + step
            heading, inner = _heading(document, value)
            yield prefix + heading
            levels.append(iter(inner))
            above.append(place)


def _leaf(document: Document, value: Value) -> str:
    if not isinstance(value, TensorRef):
        return brief(value, length=_TEXT_LENGTH)
    table, row = document.tensors, value.index
    kind = _role(table.flags[row])
    shape = _shape_text(table.shape(row))
    viewed = f", view of {printable(table.name(row))}" if row in table.views else ""
    return f"{kind} {table.dtype(row)} {shape}{viewed}"


def _role(flags: int) -> str:
    return ("parameter" if flags & REQUIRES_GRAD else "frozen parameter") if flags & PARAMETER else "tensor"


def _shape_text(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _tensor_text(document: Document, node: Typed) -> str:
    """A tensor that is a node, on one line."""
    fields, table = node.fields, document.tensors
    flags, shape, held = fields["flags"], shape_of(document, node), fields.get("values")
    assert isinstance(flags, int)
    what = [_role(flags), printable(str(fields.get("class") or fields.get("layout") or node.kind.partition(".")[2]))]
    if isinstance(dtype := fields.get("dtype"), str):
        what.append(printable(dtype))
    elif isinstance(held, TensorRef):
        what.append(table.dtype(held.index))
    if shape is not None:
        what.append(_shape_text(shape))
    if isinstance(held, TensorRef):
        what.append(f"with values {_shape_text(table.shape(held.index))}")
    return " ".join(what)


Row = tuple[str, str, Value]
Inner = Iterable[Row]


def _heading(document: Document, value: Ref) -> tuple[str, Inner]:
    """One line for a composite, and what to show below it: label, step, value."""
    node = document.nodes[value.index]
    if isinstance(node, Map):
        return f"dict of {len(node.keys)}", _entries(document, dict(zip(node.keys, node.values, strict=True)))
    if isinstance(node, Seq):
        short = _short(document, node)
        if short is not None:
            return short, []
        items = ((f"[{i}]", f"[{i}]", item) for i, item in enumerate(node.items))
        return f"{node.kind} of {len(node.items)}", items
    if isinstance(node, Opaque):
        return f"opaque {printable(node.what)}", [(name, f".{name}", child) for name, child in node.fields.items()]
    return _typed_heading(document, value, node)


def _short(document: Document, node: Seq) -> str | None:
    """A sequence of a few scalars on one line."""
    if len(node.items) > _TEXT_LENGTH or any(isinstance(item, Ref | TensorRef) for item in node.items):
        return None
    inner = ", ".join(_leaf(document, item) for item in node.items)
    if node.kind == "tuple" and len(node.items) == 1:
        inner += ","
    left, right = _BRACKETS[node.kind]
    return f"{left}{inner}{right}" if len(inner) <= _TEXT_LENGTH else None


_BRACKETS = {"list": ("[", "]"), "tuple": ("(", ")"), "set": ("{", "}"), "frozenset": ("frozenset{", "}")}


def _entries(document: Document, entries: dict[Value, Value]) -> Inner:
    labels = (f"[{_label(document, key)}]" for key in entries)
    return ((label, label, child) for label, child in zip(labels, entries.values(), strict=True))


def _label(document: Document, key: Value) -> str:
    if isinstance(key, TensorRef):
        return printable(document.tensors.name(key.index))
    if isinstance(key, Ref):
        return in_brief(document, key)
    return brief(key)


def _named(document: Document, value: Value) -> Iterator[Row]:
    """Rows one at a time: most of a long list is never shown."""
    for name, child in document.named_pairs(value):
        shown = printable(name)
        yield shown, f".{shown}", child


def _typed_heading(document: Document, value: Ref, node: Typed) -> tuple[str, Inner]:
    fields = node.fields
    if node.kind == "module":
        hooked = [(printable(str(hook.fields["name"])), "", ref) for ref, hook in _hooks(document, node)]
        attributes = list(_named(document, fields.get("attributes")))
        plain = [row for row in attributes if not isinstance(row[2], Ref | TensorRef)]
        large = [row for row in attributes if isinstance(row[2], Ref | TensorRef) and not _is_small(document, row[2])]
        told = ", ".join(f"{label}={_leaf(document, child)}" for label, _, child in plain)
        small = ", ".join(
            f"{label}={in_brief(document, child)}"
            for label, _, child in attributes
            if isinstance(child, Ref) and _is_small(document, child)
        )
        arguments = ", ".join(filter(None, (told, small)))
        if len(arguments) > 2 * _TEXT_LENGTH:
            arguments = arguments[: 2 * _TEXT_LENGTH - 3] + "..."
        mode = (" (lazy)" if "lazy" in fields else "") + ("" if fields["training"] else " (eval)")
        owned = (_named(document, fields.get(name)) for name in ("parameters", "buffers", "modules"))
        return f"{printable(str(fields['class']))}({arguments}){mode}", chain(*owned, hooked, large)
    if node.kind == "object":
        return f"{printable(str(fields['class']))} object", _named(document, fields["attributes"])
    if node.kind == "derived":
        return _derived_heading(document, node)
    if node.kind == "optimizer":
        parts = [(name, f".{name}", fields[name]) for name in ("state", "param_groups")]
        return f"{printable(str(fields['class']))} optimizer", parts
    if node.kind in TENSOR_KINDS:
        inner = (_named(document, fields.get(name)) for name in ("tensors", "attributes"))
        return _tensor_text(document, node), chain(*inner)
    if node.kind in ("Namespace", "SimpleNamespace"):
        return node.kind, _named(document, fields["attributes"])
    if node.kind in CONTAINER_KINDS or node.kind == "namedtuple":
        heading = node.kind if node.kind in CONTAINER_KINDS else printable(str(fields["class"]))
        if (items := items_of(document, value)) is not None:
            return f"{heading} of {len(items)}", _entries(document, items)
        held = document.node(fields["items"])
        assert isinstance(held, Seq)
        names = document.texts(fields.get("names")) or [f"[{i}]" for i in range(len(held.items))]
        steps = [name if name.startswith("[") else f".{name}" for name in map(printable, names)]
        return f"{heading} of {len(held.items)}", zip(map(printable, names), steps, held.items, strict=False)
    return _value_text(document, node), []


def _derived_heading(document: Document, node: Typed) -> tuple[str, Inner]:
    """An object of a class that derives from a builtin: what the builtin holds, then its own attributes."""
    name, value = printable(str(node.fields["class"])), node.fields["value"]
    own = _named(document, node.fields.get("attributes"))
    if not isinstance(value, Ref):
        return f"{name} {_leaf(document, value)}", own
    heading, inner = _heading(document, value)
    return f"{name} {heading}", chain(inner, own)


def _hooks(document: Document, module: Typed) -> list[tuple[Ref, Typed]]:
    """The hooks that compute attributes of a module."""
    held = document.node(module.fields.get("computed"))
    refs = [item for item in held.items if isinstance(item, Ref)] if isinstance(held, Seq) else []
    return [(ref, node) for ref in refs if isinstance(node := document.nodes[ref.index], Typed)]


def _hook_text(document: Document, node: Typed) -> str:
    """How an attribute is computed, on one line."""
    if node.kind == "torch.prune":
        held = document.node(node.fields["methods"])
        methods = [in_brief(document, method) for method in (held.items if isinstance(held, Seq) else ())]
        shown = ", ".join(methods[:_MAX_METHODS]) + (", ..." if len(methods) > _MAX_METHODS else "")
        return f"computed by prune ({shown})"
    return f"computed by {node.kind.removeprefix('torch.')} (dim={_leaf(document, node.fields['dim'])})"


_MAX_METHODS = 8
"""Ways to prune that a line shows."""


def _value_text(document: Document, node: Typed) -> str:
    """A value that is no container, on one line."""
    fields = node.fields
    if node.kind == "enum":
        names = [*document.texts(fields["members"]), *([_leaf(document, fields["rest"])] if "rest" in fields else [])]
        return f"{printable(str(fields['class']))}.{printable('|'.join(names) or '0')}"
    if node.kind in SOURCES:
        return _hook_text(document, node)
    if node.kind == "torch.uninitialized":
        frozen = "" if fields["requires_grad"] else "frozen "
        return (
            f"uninitialized {f'{frozen}parameter' if fields['parameter'] else 'buffer'} {printable(node.text('dtype'))}"
        )
    if node.kind == "Random":
        return "random.Random"
    if node.kind == "torch.Generator":
        return f"torch.Generator on {printable(str(fields['device']))}"
    if node.kind == "numpy.ndarray":
        return f"numpy.ndarray {printable(node.text('dtype'))} {_shape_text(_array_shape(document, node))}"
    if node.kind == "numpy.scalar" and (number := _number(fields["dtype"], fields["data"])) is not None:
        return f"numpy.scalar {number} ({node.text('dtype')})"
    if node.kind in ("date", "time", "datetime"):
        return f"{node.kind} {_moment(document, node)}"
    if node.kind == "path":
        flavour = f"{'pure ' if fields['pure'] else ''}{printable(node.text('flavour'))}"
        return f"{flavour} path {brief(fields['text'], length=_TEXT_LENGTH)}"
    return f"{node.kind} {', '.join(in_brief(document, value) for value in fields.values())}".rstrip()


def _array_shape(document: Document, node: Typed) -> Shape:
    """The sizes of an array, which may lie over the bytes of its elements."""
    data = node.fields["data"]
    assert isinstance(data, TensorRef)
    shape = document.tensors.shape(data.index)
    return shape if node.text("dtype") in NUMPY_NAME else shape[:-1]


def _number(dtype: Value, data: Value) -> float | None:
    """A number of numpy, where Python has the like."""
    code = _STRUCT.get(dtype) if isinstance(dtype, str) else None
    if code is None or not isinstance(data, bytes) or len(data) != struct.calcsize(code):
        return None
    number: float = struct.unpack(code, data)[0]
    return number


_STRUCT = {"|b1": "?", "|i1": "b", "|u1": "B", "<f2": "<e", "<f4": "<f", "<f8": "<d"}
_STRUCT |= {"<i2": "<h", "<i4": "<i", "<i8": "<q", "<u2": "<H", "<u4": "<I", "<u8": "<Q"}


def _moment(document: Document, node: Typed) -> str:
    """A date, a time of day, or both, as ISO 8601 has it."""

    def joined(separator: str, *names: str) -> str:
        numbers = [(name, value) for name in names if isinstance(value := node.fields[name], int)]
        return separator.join(f"{value:04d}" if name == "year" else f"{value:02d}" for name, value in numbers)

    parts = []
    if "year" in node.fields:
        parts.append(joined("-", "year", "month", "day"))
    if "hour" in node.fields:
        micro = node.fields["microsecond"]
        fraction = f".{micro:06d}" if isinstance(micro, int) and micro else ""
        zone = document.node(node.fields["timezone"])
        parts.append(joined(":", "hour", "minute", "second") + fraction + (" with a time zone" if zone else ""))
    return " ".join(parts)


def in_brief(document: Document, value: Value) -> str:
    """A value in a word or two, without going into it."""
    node = document.node(value)
    if isinstance(node, Seq):
        return _short(document, node) or f"{node.kind} of {len(node.items)}"
    if isinstance(node, Map):
        return f"dict of {len(node.keys)}"
    if isinstance(node, Typed) and (node.kind == "enum" or node.kind in KEY_KINDS - _NAMED_KINDS):
        return _value_text(document, node)
    if isinstance(node, Typed):
        return printable(str(node.fields.get("name") or node.fields.get("class") or node.kind))
    return printable(node.what) if isinstance(node, Opaque) else _leaf(document, value)


def _is_small(document: Document, value: Value) -> bool:
    node = document.node(value)
    return (isinstance(node, Seq) and _short(document, node) is not None) or (
        isinstance(node, Typed) and (node.kind in ("function", "class", "enum") or node.kind in DATA_KINDS)
    )


_NAMED_KINDS = frozenset({"torch.dtype", "torch.device", "torch.memory_format", "torch.layout", "namedtuple"})
