"""Python objects -> Document: one walk, depth first, without recursion.

A codec takes one object apart into a node whose children are still Python objects; the walker visits
those, and afterwards puts references in their places. So a codec never sees sharing, cycles or depth.
"""

from __future__ import annotations

import copy
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from ..document import (
    KINDS,
    ClassInfo,
    Document,
    Finding,
    Map,
    Node,
    Opaque,
    Ref,
    Seq,
    TensorRef,
    Typed,
    Value,
    is_json_text,
    merged,
)
from ..errors import SaveError, UnsaveableError, brief, brief_text, in_code, printable
from ..limits import LIMITS
from . import project, sources
from .cycles import on_cycles
from .environment import environment, package_of
from .pack import Found, Packed, pack
from .registry import PRIVATE, class_name, registration
from .state import is_a, namespace_of
from .wrappers import unwrapped

_INT_NBITS = 8 * LIMITS.int_nbytes

INLINE_NBYTES = 16_384
"""Longer strings and bytes are kept as tensors beside the header rather than in it."""


@dataclass(frozen=True, slots=True)
class Step:
    """How one object is reached from the one that holds it.

    Attributes:
        text: as a person writes it after the holder, such as ``.encoder``; ``""`` for a field of a codec, which
            no person sees.
        name: its part of a tensor's dotted name; None where it has none.
        hidden: whether a tensor below is outside every state_dict.
    """

    text: str = ""
    name: str | None = None
    hidden: bool = False


FIELD = Step()
"""A field of a codec."""


@dataclass(frozen=True, slots=True)
class Item:
    """A step to an item of a dict or sequence; spelled only when somebody asks."""

    key: object
    hidden: bool = False

    @property
    def text(self) -> str:
        return f"[{brief(self.key)}]"

    @property
    def name(self) -> str:
        key = self.key
        if type(key) not in _SPELLED or (type(key) is int and key.bit_length() > _SPELLED_NBITS):
            return "key"
        return str(key)


class Element(Item):
    """A step to an element of a set, which is a key."""

    __slots__ = ()


_SPELLED_NBITS = 4096

_SPELLED = frozenset({str, int, float, bool, type(None)})


def attribute(name: str, *, hidden: bool = False) -> Step:
    """An attribute of an object; a numbered child of a module, as in a `ModuleList`, is written as an item."""
    return Step(f"[{name}]" if name.isdigit() else f".{name}", name, hidden)


@dataclass(slots=True)
class Parts:
    """One object taken apart: children, the step to each, and how they make a node again."""

    children: list[Any]
    steps: list[Step | Item]
    node: Callable[[list[Value]], Node]


def sequence(kind: Any, items: Any) -> Parts:
    """Parts of a list, tuple, set or frozenset."""
    children = list(items)
    item = Element if kind in ("set", "frozenset") else Item
    return Parts(children, [item(i) for i in range(len(children))], lambda values: Seq(kind, tuple(values)))


_KEY = Step("(key)", "key")


def mapping(entries: dict[Any, Any], step: Callable[[Any], Step | Item] = Item) -> Parts:
    """Parts of a dict: keys first, then values, so that a key is reached as a key."""
    keys, values = list(entries), list(entries.values())
    count = len(keys)
    return Parts(
        [child for pair in zip(keys, values, strict=True) for child in pair],
        [one for key in keys for one in (_KEY, step(key))],
        lambda made: Map(tuple(made[0::2]), tuple(made[1::2])) if count else Map((), ()),
    )


def typed(kind: str, fields: dict[str, Any], steps: Mapping[str, Step] | None = None) -> Parts:
    """Parts of an object of a known kind; fields that it may lack are left out by the caller."""
    names = list(fields)
    return Parts(
        list(fields.values()),
        [(steps or {}).get(name, FIELD) for name in names],
        lambda values: Typed(kind, KINDS[kind].version, dict(zip(names, values, strict=True))),
    )


class Named(dict[str, Any]):
    """A synthetic dict of attributes: its entries are reached as ``.name``."""

    hidden = False


class Hidden(Named):
    """Attributes whose tensors no state_dict holds."""

    hidden = True


@dataclass(slots=True)
class Encoded:
    """A Document, the memory of its tensors, and where in the object each node was, for messages."""

    document: Document
    packed: Packed
    path_of: Callable[[int], str]
    source_files: dict[str, str] = field(default_factory=dict)


class Left:
    """What stands in the walk for an object that cannot be saved, where the caller allows it to be left out."""

    def __init__(self, obj: Any) -> None:
        self.what = brief_text(describe(obj))


def encode(
    obj: Any,
    *,
    leave: bool = False,
    source: bool = False,
    beside: Mapping[int, Mapping[str, Any]] | None = None,
    noticed: Iterable[Finding] = (),
) -> Encoded:
    """Take an object apart.

    Args:
        obj: anything made of supported values.
        leave: whether what has no codec is left out: described, and never built again.
        source: whether the text of the modules that define the classes is kept.
        beside: by the `id` of a module, what is kept with it that it does not hold itself, by field.
        noticed: findings that were made before.

    Raises:
        UnsaveableError: something in it has no codec; the message gives its path.
    """
    name = "model" if is_a(obj, torch.nn.Module) else "obj"
    walk = _Walk(name, leave, beside or {}, list(noticed))
    encoded = walk.encode(obj)
    if source:
        absent = encoded.document.classes.keys() - walk.named.keys()  # of Records
        gathered = project.gather(walk.named.values(), absent)
        encoded.document.sources = gathered.texts
        encoded.document.findings += gathered.findings
        encoded.source_files = gathered.files
    elif any(str(named.__module__).startswith(PRIVATE) for named in walk.named.values()):
        message = "classes in it came from source text that a file keeps, and this file keeps none."
        encoded.document.findings.append(Finding("source-missing", "note", "", message, "Pass source=True to keep it."))
    return encoded


@dataclass(slots=True)
class _Walk:
    """The state of one walk; codecs see it as their context, and keep in `memo` what they need again."""

    root_name: str
    leave: bool
    beside: Mapping[int, Mapping[str, Any]]
    findings: list[Finding] = field(default_factory=list)
    classes: dict[str, ClassInfo] = field(default_factory=dict)
    named: dict[str, Any] = field(default_factory=dict)
    memo: dict[object, Any] = field(default_factory=dict)
    _parents: list[tuple[int, Step | Item]] = field(default_factory=list)
    _parts: list[Parts] = field(default_factory=list)
    _nodes: dict[int, int] = field(default_factory=dict)
    _tensors: dict[int, int] = field(default_factory=dict)
    _found: list[tuple[torch.Tensor, int, Step | Item]] = field(default_factory=list)
    _attributes: dict[int, Any] = field(default_factory=dict)
    _inside: dict[int, Any] = field(default_factory=dict)
    _prefixes: dict[int, tuple[str, bool]] = field(default_factory=lambda: {-1: ("", False)})
    _alive: list[Any] = field(default_factory=list)
    _here: tuple[int, Step | Item] = (-1, FIELD)

    def encode(self, root: Any) -> Encoded:
        stack: list[tuple[Any, int, Step | Item]] = [(root, -1, FIELD)]
        while stack:
            obj, parent, step = stack.pop()
            if is_a(obj, torch.nn.Module):
                obj = self._unwrapped(obj, parent, step)
            key = id(obj)
            if key in self._nodes or key in self._tensors or is_inline(obj):
                continue
            self._here = (parent, step)
            if is_a(obj, torch.Tensor) and is_plain(obj):
                self._tensors[key] = len(self._found)
                if attributes := self._visit_tensor(obj, parent, step):
                    stack.append((attributes, parent, step))
                continue
            position = self._nodes[key] = len(self._parts)
            if position >= LIMITS.nodes:
                raise SaveError(
                    f"{self.root_name} holds more than {LIMITS.nodes} objects, and no file may. Nothing was written. "
                    "Keep long lists of numbers as tensors, or save in parts."
                )
            parts = self._parts_of(obj, parent, step)
            self._alive.append(obj)
            self._parts.append(parts)
            self._parents.append((parent, step))
            for child, child_step in zip(reversed(parts.children), reversed(parts.steps), strict=True):
                if not is_inline(child):
                    stack.append((child, position, child_step))
        return self._link(root)

    def _unwrapped(self, obj: torch.nn.Module, parent: int, step: Step | Item) -> torch.nn.Module:
        """The module inside of wrappers that are no part of the model."""
        inner, wrappers = unwrapped(obj)
        if wrappers and id(obj) not in self._inside:
            self._inside[id(obj)] = inner
            self._alive.append(obj)
            self._here = (parent, step)
            self.note(
                "unwrapped", "note", f"saved without its {' and '.join(wrappers)}.", "Wrap it again after loading."
            )
            if any(namespace_of(obj)[hooks] for hooks in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")):
                self.note("lost-hooks", "warning", f"hooks of the {wrappers[0]} cannot be saved.")
        return inner

    def _parts_of(self, obj: Any, parent: int, step: Step | Item) -> Parts:
        """Its codec's, or the error that says why not: also where code of the object's own class raised on the way."""
        try:
            try:
                return codec_of(obj)(obj, self)
            except (UnsaveableError, MemoryError):
                raise
            except Exception as error:
                raise self.unsaveable(obj, f"raised {type(error).__name__} when it was looked at: {error}") from error
        except UnsaveableError as error:
            keyed = any(one is _KEY or isinstance(one, Element) for one in self._steps(parent, step))
            weights = is_a(obj, (torch.nn.Module, torch.Tensor))
            if error.subject is not obj or weights or parent < 0 or keyed or not self.leave:
                raise
            return _left(self.refuse(obj, error), self)

    def _visit_tensor(self, tensor: torch.Tensor, parent: int, step: Step | Item) -> dict[str, Any] | None:
        row = len(self._found)
        self._found.append((tensor, parent, step))
        attributes = vars(tensor)
        self.look_at_hooks(tensor)
        if not attributes:
            return None
        named = Hidden(attributes)
        self._attributes[row] = named
        return named

    def _link(self, root: Any) -> Encoded:
        value = self._value
        nodes = [parts.node([value(child) for child in parts.children]) for parts in self._parts]
        self._refuse_cycles(nodes)
        found = [Found(tensor, *self._name(parent, step)) for tensor, parent, step in self._found]
        packed = pack(found, lambda row: self._text(*self._found[row][1:]))
        table = packed.table
        table.attributes = {row: value(attributes) for row, attributes in self._attributes.items()}
        document = Document(
            root=value(root),
            nodes=nodes,
            tensors=table,
            classes=self.classes,
            environment=environment(),
            findings=self.findings + merged(packed.findings),
        )
        self._parts.clear()
        return Encoded(document, packed, lambda position: self._text(*self._parents[position]))

    def _refuse_cycles(self, nodes: list[Node]) -> None:
        """A `decode` reads all of its state, so a state that leads back to its object can never be whole."""
        customs = {i for i, node in enumerate(nodes) if isinstance(node, Typed) and node.kind == "custom"}
        position = min(customs.intersection(on_cycles(nodes)), default=None) if customs else None
        if position is not None:
            self._here = self._parents[position]
            obj = next(obj for obj in self._alive if self._nodes.get(id(obj)) == position)
            reason = "refers to itself through the state that its encode gives"
            raise self.unsaveable(
                obj, reason, way_out="Leave the way back out of the state, and let decode restore it."
            )

    def _value(self, obj: Any) -> Value:
        if is_inline(obj):
            return obj  # type: ignore[no-any-return]
        obj = self._inside.get(id(obj), obj)
        row = self._tensors.get(id(obj))
        return Ref(self._nodes[id(obj)]) if row is None else TensorRef(row)

    # --- what codecs use ---

    def note(self, code: str, severity: Any, message: str, hint: str = "") -> None:
        """Record a finding at the object being visited."""
        self.findings.append(Finding(code, severity, printable(self._text(*self._here)), message, hint))

    def look_at_hooks(self, tensor: torch.Tensor) -> None:
        """Record what a tensor loses."""
        if tensor._backward_hooks or getattr(tensor, "_post_accumulate_grad_hooks", None):
            self.note("lost-hooks", "warning", "gradient hooks of a tensor are not saved.")

    def without_typing(self, attributes: dict[str, Any]) -> dict[str, Any]:
        """Attributes but for what ``Net[int]()`` leaves in an object: no class needs it to run."""
        alias = attributes.get(_ORIG_CLASS)
        if alias is None or type(alias).__module__ not in ("typing", "types"):
            return attributes
        self.note("typing", "note", f"saved without {_ORIG_CLASS}, the types in brackets that it was made with.")
        return {name: value for name, value in attributes.items() if name != _ORIG_CLASS}

    def unsaveable(self, obj: Any, reason: str, step: Step = FIELD, *, way_out: str = "") -> UnsaveableError:
        """The error that says where `obj` is, what it is, and what can be done."""
        path = self._text(*self._here) + step.text
        reason = f"{brief_text(describe(obj))} {printable(reason)}"
        message = f"{printable(path)} cannot be saved: {reason}. Nothing was written. {way_out or _way_out(obj)}"
        return UnsaveableError(message, subject=obj, where=path, reason=reason)

    def refuse(self, obj: Any, error: UnsaveableError) -> Left:
        """Raise, or leave `obj` out with a finding where the caller allows that."""
        if not self.leave:
            raise error
        hint = "The file gives back weights and a skeleton, and not the whole."
        self.findings.append(
            Finding("unsaveable", "warning", printable(error.where), f"{error.reason}; it was left out.", hint)
        )
        return Left(obj)

    def ask(self, obj: Any, method: Callable[..., Any], *arguments: Any) -> Any:
        """What a method of the program's own class says of its object.

        Raises:
            UnsaveableError: it raised.
        """
        try:
            return method(*arguments)
        except Exception as error:
            name = getattr(method, "__name__", "encode")
            reason = f"has a {name} that raised {type(error).__name__}: {error}"
            raise self.unsaveable(obj, reason) from error

    def remember(self, cls: Any) -> str:
        """The name of a class or function outside torch, with what a later load wants to know of it."""
        name = class_name(cls)
        if not is_json_text(name) or len(name) > INLINE_NBYTES:
            reason = f"has a name with half of a surrogate pair, or of more than {INLINE_NBYTES} characters"
            raise self.unsaveable(cls, f"{reason}, which no file holds", way_out="Rename it.")
        known = registration(cls) if isinstance(cls, type) else None
        version = known.version if known else 1
        if name in self.classes:
            self.expect_version(cls, name, version)
            if self.named.setdefault(name, cls).__module__ != cls.__module__:
                reason = f"is one of two that are called {name}: one was imported, one came from source text of a file"
                raise self.unsaveable(cls, reason, way_out="Save them in two files.")
        else:
            self.named[name] = cls
            self.classes[name] = ClassInfo(
                version=version,
                digest=sources.digest(cls) if isinstance(cls, type) else None,
                package=package_of(cls),
            )
            if "<locals>" in name:
                self.note(
                    "local-class",
                    "note",
                    f"{name} is defined inside a function.",
                    f"To load it, pass classes=[{in_code(name)}].",
                )
        return name

    def expect_version(self, obj: Any, name: str, version: int) -> None:
        """A file knows one version of each class; a Record may be of another one than the class has here.

        Raises:
            UnsaveableError: it is.
        """
        if (other := self.classes[name].version) != version:
            reason = f"is of version {version} of {name}, and something else here is of version {other}"
            raise self.unsaveable(obj, reason, way_out="Load the older one with its class first, which migrates it.")

    # --- paths ---

    def _steps(self, parent: int, step: Step | Item) -> list[Step | Item]:
        steps: list[Step | Item] = [step]
        while parent >= 0:
            parent, step = self._parents[parent]
            steps.append(step)
        steps.reverse()
        return steps

    def _text(self, parent: int, step: Step | Item) -> str:
        return self.root_name + "".join(one.text for one in self._steps(parent, step))

    def _name(self, parent: int, step: Step | Item) -> tuple[str, bool]:
        climbed: list[int] = []
        while parent not in self._prefixes:
            climbed.append(parent)
            parent = self._parents[parent][0]
        for position in reversed(climbed):
            self._prefixes[position] = _joined(self._prefixes[parent], self._parents[position][1])
            parent = position
        name, hidden = _joined(self._prefixes[parent], step)
        name = name.encode("utf-8", "backslashreplace").decode()
        return name or "tensor", hidden


def _joined(above: tuple[str, bool], step: Step | Item) -> tuple[str, bool]:
    """A dotted name one step further; what is longer than any name may be is cut later, and need not grow."""
    prefix, hidden = above
    if step.name is not None and len(prefix) <= LIMITS.name_nbytes:
        prefix = f"{prefix}.{step.name}" if prefix else step.name
    return prefix, hidden or step.hidden


Context = _Walk
Codec = Callable[[Any, Context], Parts]
codecs: dict[type, Codec] = {}
"""Codecs by exact type. `values.codecs` and `values.modules` fill it."""

codecs_by_base: dict[type, Codec] = {}
"""Codecs for every class below a base."""


def codec_of(obj: Any) -> Codec:
    """The codec of an object: registered, by exact type, by a base in its MRO, else as a plain object."""
    cls = type(obj)
    known = registration(cls)
    if known is not None and known.encode is not None:
        return _registered
    codec = codecs.get(cls)
    if codec is None:
        codec = next((codecs_by_base[base] for base in cls.__mro__ if base in codecs_by_base), None)
    return codec or codecs_by_base[object]


def _registered(obj: Any, context: Context) -> Parts:
    known = registration(type(obj))
    assert known is not None
    assert known.encode is not None
    state = context.ask(obj, known.encode, obj)
    if type(state) in (list, tuple, dict, set):
        state = copy.copy(state) if type(state) is not tuple else (*state,)  # its own, whoever else holds that one
    return typed("custom", {"class": context.remember(type(obj)), "state": state})


def _left(obj: Left, context: Context) -> Parts:
    return Parts([], [], lambda values: Opaque(obj.what, {}))


codecs[Left] = _left


def is_inline(obj: Any) -> bool:
    """Whether a value stands in the document by itself rather than as a node."""
    cls = type(obj)  # told by identity: a class may have a metaclass that compares
    if cls is str or cls is bytes:
        return len(obj) <= INLINE_NBYTES
    if cls is int:
        return bool(obj.bit_length() <= _INT_NBITS)
    return cls is float or cls is bool or obj is None or cls is complex


def is_plain(tensor: torch.Tensor) -> bool:
    """Whether a tensor is strided memory and nothing else: a row of the tensor table."""
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter) or torch.nn.parameter.is_lazy(tensor):
        return False
    strided = tensor.layout == torch.strided and not tensor.is_nested and not tensor.is_quantized
    return strided and tensor.device.type != "meta"


_ORIG_CLASS = "__orig_class__"
"""Where Python keeps what a generic class was made with."""

_CALLABLES = (type, types.FunctionType, types.BuiltinFunctionType, types.MethodType)


def describe(obj: Any) -> str:
    """What an object is, in a few words and without running any of its code."""
    cls = type(obj)
    if is_a(obj, torch.Tensor):
        try:
            return f"a {cls.__name__} of shape {tuple(obj.shape)}"
        except (RuntimeError, ValueError):  # nested, or not initialized yet
            return f"a {cls.__name__}"
    nameless = type(obj) is types.MethodType and not hasattr(obj, "__qualname__")  # of a partial
    if is_a(obj, _CALLABLES) and not nameless:
        return f"{'the class' if is_a(obj, type) else 'the function'} {class_name(obj).replace(':', '.', 1)}"
    return f"an object of {class_name(cls).replace(':', '.', 1)}"


def _way_out(obj: Any) -> str:
    if is_a(obj, torch.Tensor):
        return "Convert it to a plain strided tensor first."
    if is_a(obj, torch.nn.Module):
        inner = next((name for name in ("_orig_mod", "module") if name in namespace_of(obj).get("_modules", {})), None)
        return f"Save the module inside it: its .{inner}." if inner else "Save its state_dict() instead."
    if any("state_dict" in vars(base) for base in type.__getattribute__(type(obj), "__mro__")):
        return "Save its state_dict() instead."
    if is_a(obj, _CALLABLES):
        return "Use a function that a module defines by name, or an nn.Module."
    name = printable(class_name(type(obj)).rpartition(":")[2].rpartition(".")[2])
    return f"Remove it, or teach torchkeep its class: torchkeep.register({name}, encode=..., decode=...)."
