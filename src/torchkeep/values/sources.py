"""What the source of a class says: whether it changed, and what its `__init__` assigns.

This file reads source text and never runs, imports or evaluates any of it. It asks for no source of
torch or the standard library: their classes are told apart by their release, not by their text.
What it cannot read with certainty it does not claim.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import gc
import hashlib
import inspect
import linecache
import re
import sys
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType, MemberDescriptorType, SimpleNamespace

_TORCH = frozenset({"torch", "torchgen", "functorch"})
_FOREIGN = _TORCH | sys.stdlib_module_names | {"builtins"}

CLOSED = _TORCH | {"torchkeep", "builtins"}
"""Top-level packages whose text no file keeps, and in whose place no text of a file stands."""


def digest(cls: type) -> str | None:
    """A digest of the source of `cls` and of its project bases; None where the source is not to be had.

    Its own name, its place, its indentation, comments and blank lines do not count; everything else does.
    A class of torch or the standard library has no digest.
    """
    bases = [base for base in cls.__mro__ if _top(base) not in _FOREIGN]
    definitions = [_definition(base) for base in bases]
    if _top(cls) in _FOREIGN or definitions[0] is None:
        return None
    found = hashlib.blake2b(digest_size=16)
    for definition in definitions:
        found.update(definition.normal if definition else b"?")
        found.update(b"\0")  # which no source text contains
    return found.hexdigest()


def assigned_by_init(cls: type) -> frozenset[str]:
    """The instance attributes that today's `__init__` of `cls` assigns on every normal way through it.

    The `__init__` that `dataclass` wrote assigns the fields. Left out is what an instance can do without: names that
    a class serves, and names that a method deletes.
    """
    outside = [base for base in cls.__mro__ if _top(base) not in _TORCH and base is not object]
    if any("__setattr__" in vars(base) and not _is_frozen(base) for base in outside):
        return frozenset()  # an assignment may then mean anything
    names = _assigned(cls, _owner(cls.__mro__))
    for base in cls.__mro__ if names else ():
        served = [(name, value) for name, value in vars(base).items() if type(value) is not MemberDescriptorType]
        names -= {name for name, value in served if base in outside or hasattr(type(value), "__set__")}
        definition = _project_definition(base)
        names -= {_mangled(name, base) for name in definition.deleted} if definition else set()
    return names


def homes_by_init(cls: type) -> dict[str, str]:
    """Where today's `__init__` registers what it registers: ``"parameters"``, ``"buffers"``, ``"modules"``.

    A buffer that stays out of the state_dict is ``"non_persistent"``. What is assigned otherwise, too, is left out.
    """
    homes: dict[str, set[str]] = {}
    for base in cls.__mro__:
        if "__init__" in vars(base) and (init := _method(base, "__init__")) is not None:
            for name, home in _homes(init):
                homes.setdefault(_mangled(name, base) if home == "attributes" else name, set()).add(home)
    return {name: home for name, (home, *more) in homes.items() if not more and home != "attributes"}


def _top(cls: type) -> str:
    """The top-level package of a class."""
    return str(cls.__module__).partition(".")[0]


def _mangled(name: str, cls: type) -> str:
    """An attribute's name as a class's own code means it: `__x` of `class _Net` is `_Net__x`."""
    owner = cls.__name__.lstrip("_")
    return f"_{owner}{name}" if owner and name.startswith("__") and not name.endswith("__") else name


# Finding a definition.

_STRING = r'''"""[^"\\]*(?:(?:\\.|"(?!""))[^"\\]*)*"""|"(?:[^"\\\n]|\\.)*"'''
_LEXEME = re.compile(rf"(?P<comment>\#[^\n]*)|{_STRING}|{_STRING.replace(chr(34), chr(39))}", re.DOTALL)
_DELETED = re.compile(r"\b(?:del\b|delattr\(|__delattr__\()(.*)")
_NAME = re.compile(r"[.\"'](\w+)")


@dataclass(eq=False)
class _Definition:
    """One `class` or `def` statement: its lines counted from 1, decorators included."""

    source: _Source
    first: int
    header: int
    last: int

    @property
    def lines(self) -> list[str]:
        return self.source.lines[self.first - 1 : self.last]

    @functools.cached_property
    def normal(self) -> bytes:
        """The text without its own name, comments, blank lines and indentation; strings stay as they are."""
        lines = self.lines
        at = self.header - self.first
        lines[at] = re.sub(r"class\s+\w+", "class", lines[at], count=1)
        indent = lines[0][: len(lines[0]) - len(lines[0].lstrip())]

        def joined(lexeme: re.Match[str]) -> str:
            if lexeme["comment"]:
                return ""
            return lexeme[0].replace("\n" + indent, "\0").replace("\n", "\0")  # one line, whatever it holds

        text = _LEXEME.sub(joined, "".join(lines))
        kept = (line.rstrip().removeprefix(indent) for line in text.split("\n"))
        return "\n".join(line for line in kept if line).encode("utf-8", "surrogatepass")

    @functools.cached_property
    def deleted(self) -> set[str]:
        """Names that some line deletes from some object."""
        rests = _DELETED.findall("".join(self.lines))
        return {name for rest in rests for name in _NAME.findall(rest)}

    def within(self, other: _Definition) -> bool:
        return other.first < self.first and self.last <= other.last


@dataclass(eq=False)
class _Source:
    """A source file's lines, and its definitions by qualified name."""

    lines: list[str]
    definitions: dict[str, list[_Definition]]

    def index(self, tree: ast.Module) -> None:
        """Note every `class` and `def` by its `__qualname__`."""
        stack: list[tuple[ast.AST, str]] = [(tree, "")]
        while stack:
            parent, prefix = stack.pop()
            for field in ("body", "orelse", "handlers", "finalbody", "cases"):
                for node in getattr(parent, field, ()):
                    inner = prefix
                    if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                        first = min([node.lineno, *(it.lineno for it in node.decorator_list)])
                        definition = _Definition(self, first, node.lineno, node.end_lineno or node.lineno)
                        self.definitions.setdefault(prefix + node.name, []).append(definition)
                        inner += node.name + ("." if isinstance(node, ast.ClassDef) else ".<locals>.")
                    stack.append((node, inner))


_sources: dict[str, _Source] = {}


def _project_definition(cls: type) -> _Definition | None:
    return _definition(cls) if _top(cls) not in _FOREIGN else None


def _definition(cls: type) -> _Definition | None:
    """The `class` statement that made `cls`."""
    codes = _codes(cls)
    starts = [code.co_firstlineno for code in codes.values()]
    starts += [line] if isinstance(line := vars(cls).get("__firstlineno__"), int) else []
    for filename in _filenames(cls, codes.values()):
        found = _source(filename, cls).definitions
        if candidates := found.get(cls.__qualname__):
            elsewhere = any(
                code.co_filename.startswith("<") and code.co_filename != filename
                for name, code in codes.items()
                if f"{cls.__qualname__}.{name}" in found
            )
            if not elsewhere:  # else made by `exec`, and this is a namesake
                return _best(candidates, starts)
    return None


def _best(candidates: Iterable[_Definition], starts: Iterable[int]) -> _Definition:
    """Of several statements with one name, the one that holds these lines, else the last."""
    return max(candidates, key=lambda it: (sum(it.first <= line <= it.last for line in starts), it.first))


def _codes(cls: type) -> dict[str, CodeType]:
    """The code of the functions that were written in the class statement, by name."""
    codes = {}
    for name, value in vars(cls).items():
        kind = type(value)  # what a class holds is asked nothing itself: it may answer with code of its own
        if issubclass(kind, property):
            value = value.fget
        elif issubclass(kind, (staticmethod, classmethod)):
            value = value.__func__
        function = inspect.unwrap(value, stop=_unknown) if type(value) is FunctionType else None
        if type(function) is FunctionType and function.__qualname__ == f"{cls.__qualname__}.{name}":
            codes[name] = function.__code__
    return codes


def _unknown(wrapper: object) -> bool:
    """Whether something is no plain function: then nothing more is asked of it."""
    return type(wrapper) is not FunctionType


def _filenames(cls: type, codes: Iterable[CodeType]) -> Iterator[str]:
    """Where the source of `cls` may stand: its module's file, or where its methods say, as in a notebook."""
    try:
        filename = inspect.getsourcefile(sys.modules[cls.__module__])
    except (KeyError, TypeError, OSError):  # no module, or one without a file
        filename = None
    yield from dict.fromkeys(filter(None, (filename, *(code.co_filename for code in codes))))


def _source(filename: str, cls: type) -> _Source:
    """A file's definitions, parsed once for as long as the file does not change."""
    linecache.checkcache(filename)
    lines = linecache.getlines(filename, getattr(sys.modules.get(cls.__module__), "__dict__", None))
    known = _sources.get(filename)
    if known is None or known.lines is not lines:
        known = _sources[filename] = _Source(lines, {})
        if tree := _parse("".join(lines)):
            known.index(tree)
    return known


def _parse(text: str) -> ast.Module | None:
    """The syntax tree of a text. Collecting garbage amid a million new nodes would take half of the time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the author of an invalid escape has been told
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    finally:
        if collecting:
            gc.enable()


# Reading an `__init__`, by definite assignment. A set of names is what is surely assigned at some point;
# None is a point that is never reached.


_NO_CODE = (lambda: None).__code__


def _owner(mro: Iterable[type]) -> type:
    """The first class that has its own `__init__`."""
    return next(base for base in mro if "__init__" in vars(base))


def _assigned(cls: type, owner: type) -> frozenset[str]:
    """What the `__init__` that `owner` defines assigns on an instance of `cls`."""
    if (init := _method(owner, "__init__")) is not None:
        return _Init(cls, owner, init).names()
    if (names := _fields(owner)) is None:  # of torch, or wrapped beyond recognition
        return frozenset()
    calls = "__post_init__" in getattr(vars(owner)["__init__"], "__code__", _NO_CODE).co_names
    after = next((base for base in cls.__mro__ if calls and "__post_init__" in vars(base)), None)
    init = _method(after, "__post_init__") if after is not None else None
    return names | _Init(cls, after, init).names() if after is not None and init is not None else names


def _method(owner: type, name: str) -> ast.FunctionDef | None:
    """A method that the class statement of `owner` defines; None where it is not to be found there."""
    definition, code = _project_definition(owner), _codes(owner).get(name)
    if definition is None or code is None:
        return None
    found = definition.source.definitions.get(f"{owner.__qualname__}.{name}", ())
    inside = [method for method in found if method.within(definition)]
    lines = _best(inside, [code.co_firstlineno]).lines if inside else []
    match _parse("".join(["if True:\n", *lines])):
        case ast.Module(body=[ast.If(body=[ast.FunctionDef() as method])]):
            return method
    return None


def _fields(owner: type) -> frozenset[str] | None:
    """What the `__init__` that `dataclass` wrote for a project class assigns; None where it wrote none."""
    fields, code = vars(owner).get("__dataclass_fields__"), _codes(owner).get("__init__")
    if fields is None or code is None or code.co_filename != "<string>" or _project_definition(owner) is None:
        return None
    every = dataclasses.fields(SimpleNamespace(__dataclass_fields__=fields))  # type: ignore[arg-type]
    return frozenset(it.name for it in every if it.init or it.default_factory is not dataclasses.MISSING)


def _is_frozen(cls: type) -> bool:
    """Whether `dataclass` wrote the `__setattr__` of a class; `__init__` goes past it."""
    return bool(getattr(vars(cls).get("__dataclass_params__"), "frozen", False))


def _homes(init: ast.FunctionDef) -> Iterator[tuple[str, str]]:
    """Each name that a statement of an `__init__` assigns or registers, and where."""
    me = next((it.arg for it in (*init.args.posonlyargs, *init.args.args)), "")
    for node in ast.walk(init):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr=verb)) if owner == me and verb in _REGISTER:
                given = dict(zip(("name", "tensor", "persistent"), node.args, strict=False))
                given |= {it.arg: it.value for it in node.keywords if it.arg}
                if isinstance(name := given.get("name"), ast.Constant):
                    yield str(name.value), _home(_REGISTER[verb], given.get("persistent"))
            case ast.Assign(targets=targets, value=value):
                yield from ((name, _home_of(value)) for name in _names(targets, me))
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                yield from ((name, _home_of(value)) for name in _names([target], me))


def _home_of(value: ast.expr) -> str:
    """Where torch puts a value that is assigned, as far as the text tells."""
    match value:
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in _ASSIGNED:
            persistent = next((it.value for it in value.keywords if it.arg == "persistent"), None)
            return _home(_ASSIGNED[name], persistent)
    return "attributes"


def _home(home: str, persistent: ast.expr | None) -> str:
    hidden = isinstance(persistent, ast.Constant) and not persistent.value
    return "non_persistent" if home == "buffers" and hidden else home


_REGISTER = {
    "register_buffer": "buffers",
    "register_parameter": "parameters",
    "register_module": "modules",
    "add_module": "modules",
}
_ASSIGNED = {"Buffer": "buffers", "Parameter": "parameters"}
_TRY: tuple[type[ast.Try], ...] = (ast.Try, getattr(ast, "TryStar", ast.Try))


class _Init:
    """One `__init__`, followed statement by statement."""

    def __init__(self, cls: type, owner: type, init: ast.FunctionDef) -> None:
        self.cls, self.owner, self.body = cls, owner, init.body
        parameters = [*init.args.posonlyargs, *init.args.args]
        self.me = parameters[0].arg if parameters else ""
        self.steady = not any(
            isinstance(node, ast.Name) and node.id == self.me and not isinstance(node.ctx, ast.Load)
            for node in ast.walk(init)
        )
        self.returned: list[frozenset[str]] = []

    def names(self) -> frozenset[str]:
        """What every normal way out has in common."""
        end = self.run(self.body, frozenset())
        ways = [*self.returned, *([end] if end is not None else [])]
        return frozenset.intersection(*ways) if ways and self.steady else frozenset()

    def run(self, body: Iterable[ast.stmt], names: frozenset[str] | None) -> frozenset[str] | None:
        for statement in body:
            if names is None:
                break
            names = self.step(statement, names)
        return names

    def step(self, statement: ast.stmt, names: frozenset[str]) -> frozenset[str] | None:
        match statement:
            case ast.Return():
                self.returned.append(names)
                return None
            case ast.Raise() | ast.Break() | ast.Continue():
                return None
            case ast.If(body=body, orelse=orelse):
                return _meet(self.run(body, names), self.run(orelse, names))
            case ast.With(items=items, body=body):
                names |= self.targets(item.optional_vars for item in items)
                after = self.run(body, names)
                return names if any(_swallows(item.context_expr) for item in items) else after
            case ast.For() | ast.While():
                self.run(statement.body, names)  # for its returns alone
                self.run(statement.orelse, names)
                return names
            case ast.Match(cases=cases):
                for case in cases:
                    self.run(case.body, names)
                return names
        if isinstance(statement, _TRY):
            return self.tried(statement, names)
        return names | self.assigned(statement)

    def tried(self, statement: ast.Try, names: frozenset[str]) -> frozenset[str] | None:
        """A handler, and `finally`, may begin when nothing of the body was done."""
        after = self.run([*statement.body, *statement.orelse], names)
        for handler in statement.handlers:
            after = _meet(after, self.run(handler.body, names))
        last = self.run(statement.finalbody, names)
        return None if after is None or last is None else after | last

    def assigned(self, statement: ast.stmt) -> frozenset[str]:
        """What a simple statement assigns."""
        match statement:
            case ast.Assign(targets=targets):
                return self.targets(targets)
            case ast.AnnAssign(target=target, value=ast.expr()):
                return self.targets([target])
            case ast.Expr(value=ast.Call() as call):
                return self.called(call)
        return frozenset()

    def targets(self, targets: Iterable[ast.expr | None]) -> frozenset[str]:
        """The attributes of `self` among the targets of an assignment."""
        return frozenset(_mangled(name, self.owner) for name in _names(targets, self.me))

    def called(self, call: ast.Call) -> frozenset[str]:
        """What a call that stands as a statement assigns."""
        name = next((it.value for it in call.keywords if it.arg == "name"), None)
        match call.func, [*call.args, *([name] if name else [])]:
            case ast.Attribute(value=ast.Name(id=me), attr=verb), [ast.Constant(value=str(text)), *_] if (
                me == self.me and verb in _REGISTER
            ):
                return frozenset({text})
            case ast.Name(id="setattr"), [ast.Name(id=me), ast.Constant(value=str(text)), _] if me == self.me:
                return frozenset({text})
            case ast.Attribute(value=base, attr="__init__"), arguments:
                return self.inherited(base, arguments)
        return frozenset()

    def inherited(self, base: ast.expr, arguments: list[ast.expr]) -> frozenset[str]:
        """What `super().__init__(...)` or `Base.__init__(self, ...)` assigns."""
        mro = self.cls.__mro__[self.cls.__mro__.index(self.owner) :]
        by_name = {parent.__name__: parent for parent in reversed(mro)}
        match base, arguments:
            case ast.Call(func=ast.Name(id="super"), args=[]), _:
                return _assigned(self.cls, _owner(mro[1:]))
            case ast.Call(func=ast.Name(id="super"), args=[ast.Name(id=name), *_]), _ if name in by_name:
                return _assigned(self.cls, _owner(mro[mro.index(by_name[name]) + 1 :]))
            case ((ast.Name(id=name) | ast.Attribute(attr=name)), [ast.Name(id=me), *_]) if (
                me == self.me and by_name.get(name, self.owner) is not self.owner
            ):
                return _assigned(self.cls, _owner(by_name[name].__mro__))
        return frozenset()


def _names(targets: Iterable[ast.expr | None], me: str) -> Iterator[str]:
    """The attributes of `me` among the targets of an assignment."""
    for target in targets:
        match target:
            case ast.Attribute(value=ast.Name(id=owner), attr=name) if owner == me:
                yield name
            case ast.Tuple(elts=inner) | ast.List(elts=inner):
                yield from _names(inner, me)
            case ast.Starred(value=value):
                yield from _names([value], me)


def _meet(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    """What is sure after either of two ways."""
    return other if one is None else one if other is None else one & other


def _swallows(context: ast.expr) -> bool:
    """Whether a `with` goes on after an exception in its body: `contextlib.suppress`."""
    match context:
        case ast.Call(func=ast.Name(id="suppress") | ast.Attribute(attr="suppress")):
            return True
    return False
