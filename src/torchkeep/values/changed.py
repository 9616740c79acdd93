"""How a class of today differs from what a file holds of it, and the migration that would bridge that.

Today's class is known by its text alone: no object of it is made. What the text does not tell is said to be unsure.
"""

from __future__ import annotations

import ast
import builtins
import difflib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch

from ..document import ClassChange, ClassInfo, Document, Ref, Shape, TensorRef, Typed, Value
from ..errors import brief_text, in_code
from . import sources
from .audit import computed_names
from .outline import (
    Expression,
    Outline,
    Scope,
    Unknown,
    file_name,
    made_by,
    module_of,
    old_class,
    outline,
    shapes,
    source_diff,
)
from .registry import class_name, registration
from .state import is_a

_COLUMNS = ("attributes", "parameters", "buffers", "modules")
_MAX_NODES = 200
"""Most objects of one class whose shapes are looked at."""
_MAX_NAMES = 50
"""Most names of one sort that are told."""
_LONGEST_NAME = 100
"""Longest name of a file that a migration spells out."""


@dataclass(slots=True)
class Objects:
    """The objects of one class that the file holds.

    Attributes:
        name: the class as the file calls it.
        nodes: the objects.
        columns: the names that some have, by where: ``"attributes"``, ``"parameters"``, ``"buffers"``, ``"modules"``.
        every: names that all of them have.
        children: the classes of submodules, by name.
        is_root: whether one of them is what is loaded.
    """

    name: str
    nodes: list[Typed] = field(default_factory=list)
    columns: dict[str, dict[str, None]] = field(default_factory=lambda: {column: {} for column in _COLUMNS})
    every: set[str] = field(default_factory=set)
    children: dict[str, str] = field(default_factory=dict)
    is_root: bool = False

    def add(self, document: Document, node: Typed) -> None:
        """Count one more object."""
        own: set[str] = set(computed_names(document, node))
        for column in _COLUMNS:
            for name, value in document.named_pairs(node.fields.get(column)):
                if name != "parametrizations":
                    own.add(name)
                    self.columns[column][name] = None
                    if column == "modules" and (child := document.typed(value, "module")) is not None:
                        self.children[name] = child.text("class")
        self.every = self.every & own if self.nodes else own
        self.nodes.append(node)

    @property
    def some(self) -> set[str]:
        """Names that at least one of them has."""
        return {name for column in self.columns.values() for name in column} | self.every


def change_of(
    document: Document, objects: Objects, cls: type, info: ClassInfo, *, today: Mapping[str, type], text: str | None
) -> ClassChange | None:
    """Hold what a file has of a class against the class; None where nothing changed.

    Args:
        document: a checked Document.
        objects: what the file has.
        cls: the class of today.
        info: what the file remembers of it.
        today: for each name of the file, the class of today.
        text: the source of its module when it was saved, where the file has it.
    """
    digest = sources.digest(cls)
    changed = None if digest is None or info.digest is None else digest != info.digest
    if changed is False:
        return None
    known = registration(cls)
    migrations = known.migrations if known else {}
    later = range(info.version, known.version if known else 1)[:_MAX_NAMES]
    steps = [version for version in later if version not in migrations]
    migrated = known is not None and known.version > info.version and not steps
    sketch = outline(cls)
    some, sure = objects.some, sources.assigned_by_init(cls)
    lacking = [] if migrated else sorted(sure - objects.every - {"training"})
    vague = [why for why in sketch.unsure if "**kwargs" not in why]
    gone = [] if vague else sorted(some - sketch.mentioned - _computed(document, objects) - {"training"})
    unsure = [*sketch.unsure, *(["so attributes that went are not told"] if vague else [])]
    old = old_class(text, objects.name.partition(":")[2]) if text is not None else None
    added, went, untold = _arguments(sketch, lacking, gone, objects, None if old is None else old[1])
    modules = {name: made for name, made in _modules(sketch).items() if name not in some}
    difference = Difference(
        document=document,
        objects=objects,
        cls=cls,
        sketch=sketch,
        lacking=lacking,
        gone=gone,
        today=today,
    )
    wanted = not migrated and (lacking or gone or steps)
    other_classes, other_tensors = tuple(difference.other_classes()), tuple(difference.other_tensors())[:_MAX_NAMES]
    if changed is None and not (lacking or gone or steps or other_classes or other_tensors):
        return None
    migration, complete = difference.migration(info) if wanted else ("", True)
    return ClassChange(
        name=objects.name,
        now=class_name(cls),
        changed=changed,
        lacking=tuple(lacking[:_MAX_NAMES]),
        gone=tuple(gone[:_MAX_NAMES]),
        arguments_added=tuple(added),
        arguments_gone=tuple(went),
        modules_added=tuple((name, file_name(made)) for name, made in modules.items() if name in lacking),
        modules_gone=tuple((name, objects.children[name]) for name in gone if name in objects.children),
        modules_changed=other_classes,
        tensors=other_tensors,
        unsure=tuple(dict.fromkeys([*unsure, *untold])),
        migration=migration,
        steps=tuple(steps),
        complete=complete,
        diff="" if text is None else source_diff(text, objects.name, cls),
    )


def _computed(document: Document, objects: Objects) -> set[str]:
    return {name for node in objects.nodes[:_MAX_NODES] for name in computed_names(document, node)}


def _modules(sketch: Outline) -> dict[str, type]:
    """Submodules that the text makes by one plain call, with their classes."""
    found = {name: made_by(expression) for name in sketch.assigned if (expression := sketch.only(name))}
    return {name: cls for name, cls in found.items() if cls is not None and issubclass(cls, torch.nn.Module)}


def _arguments(
    sketch: Outline,
    lacking: Iterable[str],
    gone: Sequence[str],
    objects: Objects,
    old: Mapping[str, ast.expr | None] | None,
) -> tuple[list[str], list[str], list[str]]:
    """Arguments that appeared, that went, and what cannot be told of them."""
    if sketch.arguments is None:
        return [], [], ["the arguments of its constructor are not to be read"]
    if old is not None:
        return [it for it in sketch.arguments if it not in old], [it for it in old if it not in sketch.arguments], []
    keeps: dict[str, list[str]] = {}
    for attribute, argument in sketch.direct.items():
        keeps.setdefault(argument, []).append(attribute)
    some = objects.some
    added = [argument for argument in sketch.arguments if any(it in lacking for it in keeps.get(argument, ()))]
    told = {
        argument
        for argument in sketch.arguments
        if argument in some or any(it in some for it in keeps.get(argument, ()))
    }
    untold = [argument for argument in sketch.arguments if argument not in told and argument not in added]
    plain = [name for name in gone if name in objects.columns["attributes"]]
    unsure = []
    if untold:
        names = ", ".join(untold[:_MAX_NAMES])
        unsure.append(f"whether these were arguments before, of which the file keeps nothing: {names}")
    if plain:
        unsure.append(f"whether these came from arguments that went: {brief_text(', '.join(plain[:_MAX_NAMES]))}")
    return added, [], unsure


@dataclass(slots=True)
class Difference:
    """One class, what the file has of it, and what of each is not in the other."""

    document: Document
    objects: Objects
    cls: type
    sketch: Outline
    lacking: list[str]
    gone: list[str]
    today: Mapping[str, type]

    def other_classes(self) -> Iterator[tuple[str, str, str]]:
        """Submodules of another class: (name, in the file, today)."""
        for name, made in _modules(self.sketch).items():
            before = self.objects.children.get(name)
            if before is not None and before != file_name(made) and self.today.get(before) is not made:
                yield name, before, file_name(made)

    def other_tensors(self) -> Iterator[tuple[str, str, str, str]]:
        """Tensors whose shape today's text gives otherwise: (name, in the file, today, what tells)."""
        told: set[str] = set()
        for node in self.objects.nodes[:_MAX_NODES]:
            attributes = {
                name: value
                for name, value in self.document.named(node.fields.get("attributes")).items()
                if not isinstance(value, Ref | TensorRef)
            }
            scope = Scope(self.sketch, attributes, self.objects.is_root)
            changed = {name for name, *_ in self.other_classes()}
            for name in self.sketch.assigned:
                expression = self.sketch.only(name)
                if expression is None or name in told or name in changed or name not in self.objects.some:
                    continue
                saved = dict(self._shapes(node, name))
                now = list(shapes(expression, scope))
                rows: list[tuple[str, Shape | None, Shape | None, tuple[str, ...]]] = [
                    (tail, saved.get(tail), shape, used) for tail, shape, used in now if saved.get(tail) != shape
                ]
                if now and made_by(expression) in _PLAIN:
                    made = {tail for tail, *_ in now}
                    rows += [(tail, shape, None, ()) for tail, shape in saved.items() if tail not in made]
                for tail, before, after, used in rows:
                    told.add(name)
                    why = ast.unparse(expression[1])
                    by_default = f", with {', '.join(used)} by default" if used else ""
                    full = f"{name}.{tail}" if tail else name
                    yield full, _shape(before), _shape(after), f"{brief_text(why, length=100)}{by_default}"

    def _shapes(self, node: Typed, name: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        """The tensors of the file at and below an attribute of a module, by what follows its name."""
        own = [self.document.named(node.fields.get(column)).get(name) for column in ("parameters", "buffers")]
        for value in own:
            if isinstance(value, TensorRef):
                yield "", self.document.tensors.shape(value.index)
        waiting: list[tuple[str, Value, int]] = [("", self.document.named(node.fields.get("modules")).get(name), 0)]
        while waiting:
            prefix, value, depth = waiting.pop()
            child = self.document.typed(value, "module")
            if child is None or depth > 2:
                continue
            for column in ("parameters", "buffers"):
                for inner, held in self.document.named_pairs(child.fields.get(column)):
                    if isinstance(held, TensorRef) and (column == "parameters"):
                        yield prefix + inner, self.document.tensors.shape(held.index)
            for inner, held in self.document.named_pairs(child.fields.get("modules")):
                waiting.append((f"{prefix}{inner}.", held, depth + 1))

    # The migration

    def migration(self, info: ClassInfo) -> tuple[str, bool]:
        """A migration to paste, and whether it is complete."""
        now, known = class_name(self.cls), registration(self.cls)
        code = in_code(now)
        gone = [name for name in self.gone if name.isidentifier() and len(name) <= _LONGEST_NAME]
        body, complete, imports = self._body(gone)
        function = f"migrate_{re.sub(r'[^0-9a-z]+', '_', code.lower()).strip('_') or 'it'}_{info.version}"
        aliases = f"aliases={list(known.aliases)!r}, " if known and known.aliases else ""
        kept = ", ".join(map(str, known.migrations)) if known else ""
        more = f"  # and keep those from {kept}" if kept else ""
        lines = [*imports, *([""] if imports else []), f"def {function}(state):", *(f"    {line}" for line in body), ""]
        version = max(known.version if known else 1, info.version + 1)
        taken = known.migrations if known else {}
        later = [f"{n}: lambda state: None" for n in range(info.version + 1, version) if n not in taken][:_MAX_NAMES]
        steps = ", ".join([f"{info.version}: {function}", *later])
        call = f"torchkeep.register({code}, {aliases}version={version}, migrations={{{steps}}}){more}"
        return "\n".join([*lines, call]), complete and code != "..." and not kept

    def _body(self, gone: list[str]) -> tuple[list[str], bool, list[str]]:
        homes = sources.homes_by_init(self.cls)
        modules = _modules(self.sketch)
        left = dict.fromkeys(gone)
        lines: list[str] = []
        imports: dict[str, None] = {}
        complete = True
        for name in self.lacking:
            is_module = issubclass(self.cls, torch.nn.Module)
            home = "modules" if name in modules else homes.get(name, "attributes") if is_module else "attributes"
            column = "buffers" if home == "non_persistent" else home
            before = self._was(name, column, modules.get(name), left)
            if before is not None:
                del left[before]
                lines.append(f"state.{column}[{name!r}] = state.{column}.pop({before!r})  # by another name")
                if home == "non_persistent":
                    lines.append(f"state.non_persistent.add({name!r})")
                continue
            value, comment = self._value(name, imports)
            complete = complete and value != "..."
            lines.append(f"state.{column}[{name!r}] = {value}{comment}")
            if home == "non_persistent":
                lines.append(f"state.non_persistent.add({name!r})")
            if name in modules and value != "...":
                inner = [it for it in outline(modules[name]).assigned if it in left and it in self.objects.children]
                for it in inner:
                    del left[it]
                    lines.append(f"state.modules[{name!r}].{it} = state.modules.pop({it!r})  # moved into it")
        for name in left:
            column = next((column for column in _COLUMNS if name in self.objects.columns[column]), "")
            if column:
                lines.append(f"state.{column}.pop({name!r}, None)  # today's class does not assign it")
        return lines or ["pass"], complete, list(imports)

    def _was(self, name: str, column: str, made: type | None, left: Mapping[str, None]) -> str | None:
        """What the file calls what is called `name` today; None where nothing speaks for any."""
        there = [it for it in left if it in self.objects.columns[column]]
        if made is not None:
            alike = [it for it in there if self._is_of(self.objects.children.get(it), made) and self._fits(it, name)]
            return max(alike, key=lambda it: _alike(it, name), default=None)
        best = max(there, key=lambda it: _alike(it, name), default=None)
        wanted = [it for it in self.lacking if it not in self.sketch.direct] if column != "attributes" else []
        alone = column != "attributes" and len(there) == 1 and len(wanted) == 1
        return best if best is not None and (alone or _alike(best, name) >= _ENOUGH) else None

    def _is_of(self, before: str | None, made: type) -> bool:
        return before is not None and (before == file_name(made) or self.today.get(before) is made)

    def _fits(self, before: str, name: str) -> bool:
        """Whether the tensors of a submodule have the shapes that today's text gives, as far as it gives any."""
        expression = self.sketch.only(name)
        if expression is None or not self.objects.nodes:
            return True
        node = self.objects.nodes[0]
        attributes = self.document.named(node.fields.get("attributes"))
        plain = {it: value for it, value in attributes.items() if not isinstance(value, Ref | TensorRef)}
        saved = dict(self._shapes(node, before))
        made = list(shapes(expression, Scope(self.sketch, plain, defaults=False)))
        return all(saved.get(tail) == shape for tail, shape, _ in made)

    def _value(self, name: str, imports: dict[str, None]) -> tuple[str, str]:
        """The expression of today's `__init__` in terms of the state, or ``...``; and a comment."""
        expression = self.sketch.only(name)
        if expression is None:
            several = len(self.sketch.assigned.get(name, ())) > 1
            return "...", "  # today's __init__ assigns it in several ways" if several else ""
        text = " ".join(ast.unparse(expression[1]).split())
        writer = _Writer(self.sketch, self.objects, expression)
        try:
            value = writer.written()
        except Unknown:
            return "...", f"  # today's __init__: {brief_text(text, length=100)}"
        imports.update(dict.fromkeys(writer.imports))
        if len(value) > _LONGEST:
            return "...", f"  # today's __init__: {brief_text(text, length=100)}"
        return value, f"  # {', '.join(writer.notes)}" if writer.notes else ""


_LONGEST = 300
"""Longest expression that a migration has."""
_ENOUGH = 0.6
"""How alike two names are, at least, to be those of one attribute."""
_PLAIN = frozenset(
    {torch.nn.Linear, torch.nn.Embedding, torch.nn.LayerNorm, torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d}
)
"""Layers all of whose parameters their arguments tell."""


def _alike(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other, autojunk=False).ratio()


def _shape(shape: tuple[int, ...] | None) -> str:
    return "none" if shape is None else "x".join(map(str, shape)) or "scalar"


class _Writer(ast.NodeTransformer):
    """Writes an expression of an `__init__` as a migration has to say it.

    An argument is the attribute that keeps it, or its default; an attribute of `self` is that of the state. A name of
    the module is imported. Whatever else there is ends it.
    """

    def __init__(self, sketch: Outline, objects: Objects, expression: Expression) -> None:
        self.sketch, self.objects = sketch, objects
        self.owner, self.node = expression
        self.imports: list[str] = []
        self.notes: list[str] = []

    def written(self) -> str:
        """The text.

        Raises:
            Unknown: it has something that only the constructor knows.
        """
        for node in ast.walk(self.node):
            if isinstance(node, ast.Lambda | ast.comprehension | ast.NamedExpr | ast.Await | ast.Yield | ast.YieldFrom):
                raise Unknown
        tree = ast.parse(ast.unparse(self.node), mode="eval")
        return " ".join(ast.unparse(self.visit(tree)).split())

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.value, ast.Name) and node.value.id == "self":
            return self._of_state(node.attr)
        return self.generic_visit(node)

    def _of_state(self, name: str) -> ast.AST:
        for column in ("attributes", "parameters", "buffers", "modules"):
            if name in self.objects.columns[column] and name in self.objects.every:
                return ast.parse(f"state.{column}[{name!r}]", mode="eval").body
        raise Unknown

    def visit_Name(self, node: ast.Name) -> ast.AST:
        name = node.id
        if self.sketch.arguments is not None and self.sketch.is_argument(name, self.owner):
            for attribute, argument in self.sketch.direct.items():
                if argument == name and attribute in self.objects.columns["attributes"]:
                    return ast.parse(f"state.attributes[{attribute!r}]", mode="eval").body
            default = self.sketch.arguments[name]
            if not isinstance(default, ast.Constant):
                raise Unknown
            self.notes.append(f"the default of {name}")
            return default
        if name in self.sketch.local.get(self.owner, ()):
            raise Unknown
        module = sys.modules.get(module_of(self.owner))
        namespace = vars(ModuleType)["__dict__"].__get__(module) if is_a(module, ModuleType) else {}
        if name not in namespace:
            if hasattr(builtins, name):
                return node
            raise Unknown
        if statement := self._import_of(name, namespace[name]):
            self.imports.append(statement)
        return node

    def _import_of(self, name: str, value: Any) -> str:
        if is_a(value, ModuleType):
            full = value.__name__
            return f"import {full}" if full == name else f"import {full} as {name}"
        if module_of(self.owner) == "__main__":
            return ""
        return f"from {module_of(self.owner)} import {name}"
