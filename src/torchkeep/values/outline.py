"""What the text of a class says it makes: arguments, attributes, submodules and the shapes of torch's layers.

Source text is read into a syntax tree and nothing of it is run. What is not plain from the text is not claimed:
`Outline.unsure` says what was left out.
"""

from __future__ import annotations

import ast
import difflib
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch

from ..errors import in_code
from . import torch_table
from .registry import class_name
from .sources import _definition, _mangled, _method, _parse, _Source
from .state import is_a
from .trust import _member

Expression = tuple[type, ast.expr]
"""An expression, and the class in whose `__init__` it stands."""

_DYNAMIC = (
    torch.nn.Sequential,
    torch.nn.ModuleList,
    torch.nn.ModuleDict,
    torch.nn.ParameterList,
    torch.nn.ParameterDict,
)
_REGISTER = {"register_buffer", "register_parameter", "register_module", "add_module"}


@dataclass(slots=True)
class Outline:
    """What the text of a class tells.

    Attributes:
        arguments: the arguments of its constructor, with the default's expression; None where it is not to be read.
        assigned: what its `__init__`, and those of its bases, assign: the expressions of each name.
        mentioned: every name that a method of it assigns.
        direct: arguments that are kept as they are, by attribute: ``self.width = width``.
        unsure: why names may be missing here.
        owner: the class whose `__init__` has the arguments.
        local: for each base, names that mean something else inside of its `__init__`.
    """

    arguments: dict[str, ast.expr | None] | None = None
    assigned: dict[str, list[Expression]] = field(default_factory=dict)
    mentioned: set[str] = field(default_factory=set)
    direct: dict[str, str] = field(default_factory=dict)
    unsure: list[str] = field(default_factory=list)
    owner: type = object
    local: dict[type, set[str]] = field(default_factory=dict)

    def is_argument(self, name: str, base: type) -> bool:
        """Whether a name in the `__init__` of a base is an argument that nothing is assigned to on the way."""
        known = self.arguments is not None and name in self.arguments and base is self.owner
        return known and name not in self.local.get(base, ())

    def only(self, name: str) -> Expression | None:
        """The one expression that a name is assigned; None where there are several, or none that is plain."""
        found = self.assigned.get(name, [])
        return found[0] if len(found) == 1 else None


def outline(cls: type) -> Outline:
    """Read a class and its bases."""
    owner = next(base for base in cls.__mro__ if "__init__" in vars(base))
    found = Outline(owner=owner)
    if (init := _method(owner, "__init__")) is not None:
        found.arguments = arguments_of(init)
        if init.args.kwarg or init.args.vararg:
            found.unsure.append("its __init__ takes *args or **kwargs, whose names are not told")
    elif "__dataclass_fields__" in vars(owner):
        found.arguments = dict.fromkeys(name for name in vars(owner)["__dataclass_fields__"])
    for base in reversed(cls.__mro__):
        if base is object or base is torch.nn.Module:
            continue
        if issubclass(base, _DYNAMIC) and _is_of_torch(base):
            found.unsure.append(f"{base.__name__} names its children by position or key")
        definition = _definition(base)
        if definition is None:
            if not _is_of_torch(base):
                found.unsure.append(f"the source of {class_name(base)} is not to be had")
            continue
        lines = definition.lines
        tree = _parse("".join(["if True:\n" if lines[0][:1].isspace() else "", *lines]))
        _mention(found, base, tree)
        if "__dataclass_fields__" in vars(base):
            _fields(found, base, tree)
        elif not _is_of_torch(base) and (init := _method(base, "__init__")) is not None:
            _assign(found, base, init)
    return found


def module_of(obj: object) -> str:
    """The name of the module that a class or function says it is of."""
    return class_name(obj).partition(":")[0]


def _is_of_torch(cls: type) -> bool:
    return module_of(cls).partition(".")[0] == "torch"


def arguments_of(init: ast.FunctionDef) -> dict[str, ast.expr | None]:
    """The arguments of a method but for `self`, each with the expression of its default, or None."""
    positional = [*init.args.posonlyargs, *init.args.args]
    defaults = [*[None] * (len(positional) - len(init.args.defaults)), *init.args.defaults]
    found: dict[str, ast.expr | None] = {
        it.arg: default for it, default in zip(positional[1:], defaults[1:], strict=True)
    }
    found.update((it.arg, value) for it, value in zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True))
    return found


def _mention(found: Outline, base: type, tree: ast.AST | None) -> None:
    """Note every attribute that some method assigns to some object, and what is registered by a computed name."""
    for node in ast.walk(tree) if tree is not None else ():
        match node:
            case ast.Attribute(attr=name, ctx=ast.Store()):
                found.mentioned.add(_mangled(name, base))
            case ast.AnnAssign(target=ast.Name(id=name)):
                found.mentioned.add(name)
            case ast.Call(func=ast.Attribute(attr=verb), args=[first, *_]) if verb in _REGISTER:
                _mention_constant(found, first, verb)
            case ast.Call(func=ast.Name(id="setattr"), args=[_, name_of, _]):
                _mention_constant(found, name_of, "setattr")
            case ast.Attribute(attr="__dict__") | ast.Call(func=ast.Name(id="vars")):
                found.unsure.append(f"{base.__name__} writes to its __dict__")


def _mention_constant(found: Outline, name: ast.expr, verb: str) -> None:
    if isinstance(name, ast.Constant):
        found.mentioned.add(str(name.value))
    else:
        found.unsure.append(f"{verb} gives names that are computed: {ast.unparse(name)}")


def _fields(found: Outline, base: type, tree: ast.AST | None) -> None:
    """Note the defaults of the fields of a dataclass."""
    statement = next((node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)), None) if tree else None
    for node in statement.body if statement is not None else ():
        match node:
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                pass
            case _:
                continue
        if isinstance(value, ast.Call) and ast.unparse(value.func) in ("field", "dataclasses.field"):
            given = {it.arg: it.value for it in value.keywords}
            if (factory := given.get("default_factory")) is not None:
                value = ast.copy_location(ast.Call(func=factory, args=[], keywords=[]), value)
            elif (default := given.get("default")) is not None:
                value = default
            else:
                continue
        found.assigned[name] = [(base, value)]


def _assign(found: Outline, base: type, init: ast.FunctionDef) -> None:
    """Note what one `__init__` assigns, and to what."""
    stores = {it.id for it in ast.walk(init) if isinstance(it, ast.Name) and not isinstance(it.ctx, ast.Load)}
    own = {*arguments_of(init), *(it.arg for it in (init.args.vararg, init.args.kwarg) if it)}
    found.local[base] = stores | (own if base is not found.owner else own - set(found.arguments or ()))
    me = next((it.arg for it in (*init.args.posonlyargs, *init.args.args)), "")
    pairs: list[tuple[ast.expr, ast.expr]]
    for node in ast.walk(init):
        match node:
            case ast.Assign(targets=targets, value=value):
                pairs = [(each, value) for each in targets]
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                pairs = [(target, value)]
            case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr=verb)) if owner == me and verb in _REGISTER:
                given = [*node.args, *(it.value for it in node.keywords)]
                if len(given) > 1 and isinstance(given[0], ast.Constant):
                    found.assigned.setdefault(str(given[0].value), []).append((base, given[1]))
                continue
            case _:
                continue
        for to, value in pairs:
            if isinstance(to, ast.Attribute) and isinstance(to.value, ast.Name) and to.value.id == me:
                name = _mangled(to.attr, base)
                found.assigned.setdefault(name, []).append((base, value))
                if isinstance(value, ast.Name) and found.is_argument(value.id, base):
                    found.direct[name] = value.id


# --- what an expression makes -----------------------------------------------------------------------


def made_by(expression: Expression) -> type | None:
    """The class that a call makes an object of, looked up among what its module has; None where that is not plain."""
    owner, node = expression
    if not isinstance(node, ast.Call):
        return None
    module = sys.modules.get(module_of(owner))
    text = ast.unparse(node.func)
    if not is_a(module, ModuleType) or not all(map(str.isidentifier, text.split("."))):
        return None
    found = _member(module, text)  # type: ignore[arg-type]
    return found if is_a(found, type) else None


def file_name(cls: type) -> str:
    """How a file calls a class, torch's by the name of the table."""
    return torch_table.name_of(cls) or class_name(cls)


class Unknown(Exception):
    """An expression whose value the text does not tell."""


@dataclass(slots=True)
class Scope:
    """What is known while an `__init__` is read: arguments, and attributes of the file.

    Attributes:
        outline: of the class.
        attributes: plain attributes that the file has, or {}.
        defaults: whether an argument that the file does not tell of counts as its default.
        used: defaults that were taken, as text.
        base: the class in whose `__init__` the expression stands.
    """

    outline: Outline
    attributes: Mapping[str, Any]
    defaults: bool
    used: list[str] = field(default_factory=list)
    base: type = object

    def value(self, node: ast.expr) -> Any:
        """The value of a plain expression of numbers.

        Raises:
            Unknown: it is none.
        """
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Tuple(elts=items) | ast.List(elts=items):
                return tuple(map(self.value, items))
            case ast.Attribute(value=ast.Name(id="self"), attr=name) if name in self.attributes:
                return self.attributes[name]
            case ast.Name(id=name):
                return self._argument(name)
            case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() | ast.FloorDiv() as op, right=right):
                one, other = self.value(left), self.value(right)
                if type(one) is not int or type(other) is not int or max(abs(one), abs(other)) >= 1 << 63:
                    raise Unknown
                if isinstance(op, ast.FloorDiv):
                    if not other:
                        raise Unknown
                    return one // other
                return (
                    one + other if isinstance(op, ast.Add) else one - other if isinstance(op, ast.Sub) else one * other
                )
        raise Unknown

    def _argument(self, name: str) -> Any:
        if not self.outline.is_argument(name, self.base):
            raise Unknown
        for attribute, argument in self.outline.direct.items():
            if argument == name and attribute in self.attributes:
                return self.attributes[attribute]
        default = (self.outline.arguments or {}).get(name)
        if self.defaults and isinstance(default, ast.Constant):
            self.used.append(f"{name}={default.value!r}")
            return default.value
        raise Unknown


def shapes(expression: Expression, scope: Scope) -> Iterator[tuple[str, tuple[int, ...], tuple[str, ...]]]:
    """The tensors of one of torch's common layers as a call would make it: (name, shape, defaults that were taken)."""
    owner, node = expression
    cls = made_by(expression)
    if cls is torch.nn.Sequential and isinstance(node, ast.Call):
        for i, inner in enumerate(node.args):
            if isinstance(inner, ast.Starred):
                return
            for name, shape, used in shapes((owner, inner), scope):
                yield f"{i}.{name}", shape, used
        return
    if cls not in _LAYERS or not isinstance(node, ast.Call):
        return
    names, made = _LAYERS[cls]
    given: dict[str, ast.expr] = dict(zip(names, node.args, strict=False))
    given |= {it.arg: it.value for it in node.keywords if it.arg}
    scope.used.clear()
    scope.base = owner
    try:
        found = made({name: scope.value(value) for name, value in given.items() if name in names})
    except (Unknown, KeyError, TypeError, ZeroDivisionError):
        return
    for name, shape in found.items():
        if all(type(length) is int for length in shape):
            yield name, shape, tuple(dict.fromkeys(scope.used))


def _linear(given: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    rows, columns = given["out_features"], given["in_features"]
    return {"weight": (rows, columns), **({"bias": (rows,)} if given.get("bias", True) else {})}


def _embedding(given: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {"weight": (given["num_embeddings"], given["embedding_dim"])}


def _scaled(key: str, given: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    length = given[key]
    shape = length if isinstance(length, tuple) else (length,)
    return {"weight": shape, "bias": shape} if given.get("affine", True) else {}


def _convolution(dimensions: int, given: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    rows, kernel = given["out_channels"], given["kernel_size"]
    kernel = kernel if isinstance(kernel, tuple) else (kernel,) * dimensions
    weight = (rows, given["in_channels"] // given.get("groups", 1), *kernel)
    return {"weight": weight, **({"bias": (rows,)} if given.get("bias", True) else {})}


_CONV = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "bias")
_LAYERS: dict[type | None, tuple[tuple[str, ...], Any]] = {
    torch.nn.Linear: (("in_features", "out_features", "bias"), _linear),
    torch.nn.Embedding: (("num_embeddings", "embedding_dim"), _embedding),
    torch.nn.LayerNorm: (("normalized_shape",), lambda given: _scaled("normalized_shape", given)),
    torch.nn.BatchNorm1d: (("num_features", "eps", "momentum", "affine"), lambda given: _scaled("num_features", given)),
    torch.nn.BatchNorm2d: (("num_features", "eps", "momentum", "affine"), lambda given: _scaled("num_features", given)),
    torch.nn.Conv1d: (_CONV, lambda given: _convolution(1, given)),
    torch.nn.Conv2d: (_CONV, lambda given: _convolution(2, given)),
    torch.nn.Conv3d: (_CONV, lambda given: _convolution(3, given)),
}
"""Layers whose shapes follow from their arguments, the names of these in order, and how."""


# --- old text ---------------------------------------------------------------------------------------

_MAX_TEXT = 1 << 20
"""Most characters of a file's source text that are read."""

_MAX_DIFF = 400
"""Most lines of a diff."""


def old_class(text: str, qualname: str) -> tuple[list[str], dict[str, ast.expr | None] | None] | None:
    """A class in the source text of a file: its lines, and the arguments of its own `__init__`; None if it is absent.

    Args:
        text: the text of a module. It is read into a syntax tree and never run.
        qualname: the class, such as ``"Outer.Net"``.
    """
    if len(text) > _MAX_TEXT or (tree := _parse(text)) is None:
        return None
    source = _Source(text.splitlines(keepends=True), {})
    source.index(tree)
    found = source.definitions.get(qualname)
    if not found:
        return None
    lines = textwrap.dedent("".join(found[-1].lines)).splitlines()
    match _parse("\n".join(lines)):
        case ast.Module(body=[ast.ClassDef(body=body)]):
            inits = [it for it in body if isinstance(it, ast.FunctionDef) and it.name == "__init__"]
            return lines, arguments_of(inits[-1]) if inits else None
    return None


def source_diff(text: str, name: str, cls: type) -> str:
    """A unified diff from a class as the file's source text has it to the class as it is today.

    Args:
        text: the source of the module that `name` is of, as the file keeps it.
        name: the class as the file calls it, ``"module:qualname"``.
        cls: the class of today.

    Returns:
        The diff; ``""`` where both are the same, or one of them is not to be had.
    """
    old, now = old_class(text, name.partition(":")[2]), _definition(cls)
    if old is None or now is None:
        return ""
    today = textwrap.dedent("".join(now.lines)).splitlines()
    lines = list(difflib.unified_diff(old[0], today, f"{in_code(name)} (file)", f"{in_code(class_name(cls))} (today)"))
    if len(lines) > _MAX_DIFF:
        lines[_MAX_DIFF:] = [f"... {len(lines) - _MAX_DIFF} more lines"]
    return "\n".join(line.rstrip("\n") for line in lines)
