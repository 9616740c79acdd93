"""Running the source text that a file keeps: the only place where anything of a file is run, and only when asked to.

The modules of one file get a namespace of their own, `_torchkeep_source_<digest>`, and live in `sys.modules` below
that name alone, which is what dataclasses, `typing` and `pickle` look classes up by. No module of the program is
replaced, and none is found in its stead: imports from text to text stay within the namespace, by an `__import__`
that only this text has, and all others go the ordinary way. So the rules of imports, cycles and packages among
them, are Python's own.
"""

from __future__ import annotations

import builtins
import hashlib
import importlib
import linecache
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from traceback import walk_tb
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from ..document import SourceText
from ..errors import SourceError, brief_text
from .registry import PRIVATE, class_name
from .sources import CLOSED

_spaces: dict[str, _Space] = {}
"""By their names. Equal texts are one namespace, so that loading a file twice gives one class and not two."""


def run(sources: Mapping[str, SourceText], names: Iterable[str], *, path: str) -> dict[str, Any]:
    """Run the modules that define these names, and what they import, and give what they define.

    Args:
        sources: text that was checked.
        names: classes and functions, as ``"module:qualname"``; those of other modules are left out.
        path: the file, for messages.

    Returns:
        The classes and functions that were found under these names.

    Raises:
        SourceError: a text raised, or is not Python; the message names module and line.
    """
    space = _space_of(sources)
    found: dict[str, Any] = {}
    for name in names:
        module_name, _, qualname = name.partition(":")
        if module_name in sources and module_name.partition(".")[0] not in CLOSED:
            obj = _member(space.module(module_name, path), qualname)
            if isinstance(obj, type | FunctionType | BuiltinFunctionType) and class_name(obj) == name:
                found[name] = obj
    return found


def modules_of(sources: Mapping[str, SourceText]) -> list[str]:
    """The modules of these texts that were run."""
    top = _space_of(sources).top
    return [name for name in sorted(sources) if f"{top}.{name}" in sys.modules]


def text_of(name: str) -> SourceText | None:
    """The text that a module of a namespace came from; None for any other module."""
    top, _, inner = name.partition(".")
    return _spaces[top].sources.get(inner) if top in _spaces else None


def _member(module: ModuleType, qualname: str) -> Any:
    found: Any = module
    for part in qualname.split("."):
        found = vars(found).get(part) if isinstance(found, ModuleType | type) else None
    return found.__func__ if type(found) is staticmethod else found


def _space_of(sources: Mapping[str, SourceText]) -> _Space:
    found = hashlib.blake2b(digest_size=16)
    for name, source in sorted(sources.items()):
        for text in (name, source.package, source.text):
            found.update(text.encode() + b"\0")  # which none of them contains
    top = PRIVATE + found.hexdigest()
    if top not in _spaces:
        _spaces[top] = _Space(top, dict(sources))
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    return _spaces[top]


def _told(error: BaseException) -> str:
    try:
        return str(error.msg if isinstance(error, SyntaxError) else error)
    except Exception:  # an exception of the text's own may raise when it is shown
        return "(no message)"


class _Space:
    """The modules of one set of texts."""

    def __init__(self, top: str, sources: dict[str, SourceText]) -> None:
        self.top = top
        self.sources = sources
        self.packages = {name[:i] for name in sources for i, letter in enumerate(name) if letter == "."}
        self.builtins = {**vars(builtins), "__import__": self._import}

    def module(self, name: str, path: str) -> ModuleType:
        """A module, run if it was not yet.

        Raises:
            SourceError: it raised.
        """
        try:
            return importlib.import_module(f"{self.top}.{name}")
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit, and whatever else a text may raise
            where, line = self._place(error, name)
            told = brief_text(_told(error).replace(f"{self.top}.", "").replace(self.top, ""))
            told = f": {told}" if told else ""
            raise SourceError(
                f"{path}: the source text of the module {where} raised {type(error).__name__}"
                f"{f' in line {line}' if line else ''} when it was run{told}. Nothing was loaded. Read "
                f"it with torchkeep.inspect({path!r}).sources[{where!r}]; what it imports and the file does not keep "
                "has to be installed here. Or give the classes with classes=.",
                module=where,
                line=line,
            ) from error

    def _place(self, error: BaseException, name: str) -> tuple[str, int | None]:
        """The module and line of this text where an error came from, the innermost one."""
        if isinstance(error, SyntaxError) and (inner := self._inner(str(error.filename))):
            return inner, error.lineno if type(error.lineno) is int else None
        for frame, line in reversed(list(walk_tb(error.__traceback__))):
            if inner := self._inner(frame.f_code.co_filename):
                return inner, line
        return name, None

    def _inner(self, filename: str) -> str | None:
        start = f"<{self.top}."
        return filename[len(start) : -1] if filename.startswith(start) else None

    def spec(self, name: str) -> ModuleSpec | None:
        """How to make one of the modules; the name is the private one."""
        inner = name[len(self.top) + 1 :]
        source = self.sources.get(inner)
        if name == self.top or inner in self.packages or source is not None:
            is_package = name == self.top or inner in self.packages or (source is not None and source.package == inner)
            spec = _Spec(name, _Loader(self, source), origin=f"<{name}>", is_package=is_package)
            if source is not None:
                spec.package = source.package and f"{self.top}.{source.package}"
            return spec
        return None

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        """What import statements of the text call: names that the text defines mean its own modules."""
        if level or not self._has(name, fromlist or ()):
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        module = builtins.__import__(f"{self.top}.{name}", globals, locals, fromlist or (), 0)
        return module if fromlist else sys.modules[f"{self.top}.{name.partition('.')[0]}"]

    def _has(self, name: str, fromlist: Sequence[str]) -> bool:
        """Whether a name is the text's own: it is kept, or lies in a package that is.

        A package without a text of its own may have parts elsewhere. torch is torch, whatever a file keeps.
        """
        if name.partition(".")[0] in CLOSED:
            return False
        if name in self.packages and name.partition(".")[0] not in self.sources:
            inner = [f"{name}.{one}" for one in fromlist]
            return not inner or any(one in self.sources or one in self.packages for one in inner)
        return name in self.sources or name.partition(".")[0] in self.sources


class _Spec(ModuleSpec):
    """A spec that says which package relative imports start from: a script has one, and no module the namespace."""

    package: str | None = None

    @property
    def parent(self) -> str | None:
        return super().parent if self.package is None else self.package


class _Loader(Loader):
    """Runs the text of one module."""

    def __init__(self, space: _Space, source: SourceText | None) -> None:
        self.space = space
        self.source = source

    def get_source(self, name: str) -> str | None:
        """What `inspect` and `linecache` ask for."""
        return self.source.text if self.source else None

    def exec_module(self, module: ModuleType) -> None:
        if self.source is None:
            return
        filename = f"<{module.__name__}>"
        lines = [line + "\n" for line in self.source.text.split("\n")]
        linecache.cache[filename] = len(self.source.text), None, lines, filename
        namespace = vars(module)
        namespace["__file__"] = filename
        namespace["__builtins__"] = self.space.builtins
        code = compile(self.source.text, filename, "exec", dont_inherit=True)
        exec(code, namespace)  # noqa: S102 (the one place: `run_source=True` was said)


class _Finder(MetaPathFinder):
    """Finds modules of namespaces and nothing else."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        space = _spaces.get(fullname.partition(".")[0])
        return space.spec(fullname) if space else None


_finder = _Finder()
