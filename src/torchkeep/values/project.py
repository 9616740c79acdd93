"""The text of a project's own modules, gathered at save: those that define the classes, and what these import of it.

Nothing is imported or run for this. Files are read, their import statements are taken from the syntax tree, and
modules are looked up among those that the program has imported.

The project is what nobody installed: a module whose file lies neither below one of the interpreter's folders for
its own modules and for packages (`sysconfig`, `site`) nor below any folder called ``site-packages`` or
``dist-packages``, and whose top-level package is neither torch nor torchkeep. So an editable install counts as
project, wherever it lies.
"""

from __future__ import annotations

import ast
import functools
import io
import linecache
import os
import re
import site
import sys
import sysconfig
import tokenize
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from ..document import MAIN, Finding, SourceText, is_json_text, is_module_name, merged
from ..errors import SaveError, brief_text, printable
from ..limits import LIMITS
from . import private
from .registry import class_name, real_module
from .sources import CLOSED
from .state import is_a


@dataclass(slots=True)
class Gathered:
    """The text that a file will keep.

    Attributes:
        texts: by the name of the module.
        files: where each was read, for the one who saves; no file holds these paths.
        findings: what is kept, and what could not be had.
    """

    texts: dict[str, SourceText] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def gather(objects: Iterable[Any], absent: Iterable[str] = ()) -> Gathered:
    """The text of the modules that define these classes and functions, and of what they import of the project.

    Args:
        objects: classes and functions.
        absent: names of classes that are not at hand.

    Raises:
        SaveError: a text is not Python, two modules of one name have different texts, or it is more than a file holds.
    """
    walk = _Closure()
    for obj in objects:
        walk.want(obj)
    for name in sorted(absent):
        walk.note(f"the source of {name} was not to be had: no class is there, but a Record of an object.")
    walk.follow()
    walk.tell()
    return walk.result


class _Closure:
    """One walk over modules and what they import."""

    def __init__(self) -> None:
        self.result = Gathered()
        self._trees: dict[str, ast.Module] = {}
        self._stack: list[tuple[str, str]] = []  # where a module is looked up, and the name that the file gives it
        self._seen: dict[str, str] = {}
        self._wanted: list[tuple[str, str, str]] = []
        self._typed: list[str] = []  # what was defined in cells
        self._nbytes = 0

    def want(self, obj: Any) -> None:
        """Begin with the module that defines a class or function."""
        name = str(obj.__module__)
        if name not in sys.modules:
            self.note(f"the source of {class_name(obj)} was not to be had: its module is not imported.")
        elif name == MAIN and _has_no_file(sys.modules[name]):
            self._wanted.append((MAIN, obj.__qualname__, class_name(obj)))
            self._typed.append(obj.__qualname__)
        elif (why := _why_installed(name)) is None:
            self._wanted.append((real_module(name), obj.__qualname__, class_name(obj)))
            self._add(name)
        elif why:
            self.note(f"the source of {class_name(obj)} was not to be had: {why}.")
        elif _top(name) not in CLOSED | sys.stdlib_module_names:
            message = f"the text of {_top(name)} was not kept: it is an installed package, and no part of the project."
            self.note(message, severity="note")

    def follow(self) -> None:
        """Read what is waiting, and everything that it imports."""
        if self._typed:
            self._expect_one(MAIN, MAIN)
            if cells := _cell_text(self._typed):
                self._keep(MAIN, MAIN, cells, "", "(typed at a prompt)")
            else:
                self.note("the source of what was defined in __main__ was not to be had: it has no file and no cells.")
        while self._stack:
            where, name = self._stack.pop()
            text, file = _text_of(where)
            if text is None:
                self.note(f"the source of the module {name} was not to be had.")
            elif not is_module_name(name):
                self.note(f"the text of {name!r} was not kept: no import statement can write that name.")
            elif not is_json_text(text) or "\0" in text:
                self.note(f"the text of the module {name} was not kept: it holds what no file may.")
            else:
                self._keep(where, name, text, _package_of(where), file)

    def _keep(self, where: str, name: str, text: str, package: str, file: str) -> None:
        self._nbytes += len(text.encode())
        if self._nbytes > LIMITS.source_nbytes or len(self.result.texts) >= LIMITS.source_modules:
            raise SaveError(
                f"source=True: the project's own modules that the classes import are more than {LIMITS.source_modules} "
                f"or have more than {LIMITS.source_nbytes} bytes of text (reached at {name}). Nothing was written. "
                "Save without source=True, or move the model into a package that imports less."
            )
        tree = self._trees[name] = _parsed(name, text, file)
        self.result.texts[name] = SourceText(package, text)
        self.result.files[name] = file
        prefix = where[: len(where) - len(name)]
        for imported, certain in _imports(tree, package, prefix):
            if prefix and private.text_of(prefix + imported) is not None:
                self._add(prefix + imported)
            elif imported in sys.modules:
                if _why_installed(imported) is None:
                    self._add(imported)
                elif (why := _why_installed(imported)) and certain:
                    self.note(f"{name} imports {imported}, whose text was not to be had: {why}.")
            elif certain and _is_of_project(prefix, imported):
                self.note(
                    f"{name} imports {imported}, whose text was not kept: the program has not imported it.",
                    "Import it before saving, if the model needs it.",
                    severity="note",
                )

    def _add(self, where: str) -> None:
        """Have a module read, and the packages that are imported before it."""
        name = real_module(where)
        prefix = where[: len(where) - len(name)]
        parts = name.split(".")
        for i in range(1, len(parts) + 1):
            part = ".".join(parts[:i])
            at = prefix + part
            if at in sys.modules or private.text_of(at) is not None:
                if part not in self._seen and _why_installed(at) is None:
                    self._stack.append((at, part))
                self._expect_one(part, at)

    def _expect_one(self, name: str, at: str) -> None:
        """Note where a name is looked up; a file has room for one module of a name."""
        before = self._seen.setdefault(name, at)
        if before != at and _text_of(before)[0] != _text_of(at)[0]:
            raise SaveError(
                f"source=True: two modules called {name} have different texts: at least one of them came from the "
                "source text of a file. Nothing was written. Save what they define in two files."
            )

    def tell(self) -> None:
        """Say what is kept, and which classes the kept text does not define."""
        names: dict[str, set[str]] = {}
        for module, qualname, full in self._wanted:
            if module not in self._trees:
                continue
            if module not in names:
                names[module] = set(_bound(self._trees[module]))
            if "<locals>" in qualname:
                self.note(f"{full} is defined inside a function, so its text cannot give it back.")
            elif qualname.partition(".")[0] not in names[module]:
                self.note(f"the text of {module} does not define {qualname}: it was made in another way.")
        self.result.files = dict(sorted(self.result.files.items()))
        self.result.findings = merged(self.result.findings)
        if not self.result.texts and all(finding.severity == "note" for finding in self.result.findings):
            self.note("the file keeps no source text: no module of the project defines a class in it.")
        if self.result.texts:
            listed = brief_text(", ".join(sorted(self.result.texts)))
            self.result.findings.insert(
                0,
                Finding(
                    "source",
                    "note",
                    "",
                    f"the file keeps the source text of {_count(len(self.result.texts))}: {listed}.",
                    "It may be private: whoever has the file can read it.",
                ),
            )

    def note(self, message: str, hint: str = "", *, severity: Literal["note", "warning"] = "warning") -> None:
        """Record what could not be had."""
        self.result.findings.append(Finding("source-missing", severity, "", printable(message), hint))


def _count(number: int) -> str:
    return f"{number} module{'s' * (number != 1)}"


def _top(name: str) -> str:
    return name.partition(".")[0]


# --- what belongs to the project --------------------------------------------------------------------


@functools.cache
def _installed_folders() -> tuple[str, ...]:
    """Where the interpreter keeps its own modules, and installers put theirs."""
    paths = sysconfig.get_paths()
    folders = [paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib") if key in paths]
    folders += getattr(site, "getsitepackages", list)()
    folders += [getattr(site, "getusersitepackages", str)(), str(Path(os.__file__).parent)]
    return tuple(_folder(folder) for folder in folders if folder)


def _folder(path: str) -> str:
    return os.path.normcase(os.path.realpath(path)) + os.sep


def _why_installed(name: str) -> str | None:
    """None for a module of the project; "" for one that is not; the reason for one of the project without a text."""
    module = sys.modules.get(name)
    if private.text_of(name) is not None:
        return None
    if _top(name) in CLOSED or not is_a(module, ModuleType):
        return ""
    assert module is not None
    if _has_no_file(module):
        builtin = hasattr(module, "__path__") or _top(name) in sys.stdlib_module_names
        return "" if builtin else "its module has no file"
    file = str(module.__file__)
    if _is_installed(file):
        return ""
    if not file.endswith((".py", ".pyw")):
        return f"{brief_text(Path(file).name)} is no text"
    return None


def _has_no_file(module: ModuleType) -> bool:
    return not isinstance(getattr(module, "__file__", None), str)


@functools.lru_cache(maxsize=100_000)
def _is_installed(file: str) -> bool:
    path = os.path.normcase(os.path.realpath(file))
    return path.startswith(_installed_folders()) or not _PACKAGES.isdisjoint(Path(path).parts)


_PACKAGES = frozenset({"site-packages", "dist-packages"})


def _is_of_project(prefix: str, name: str) -> bool:
    """Whether a module that is not imported would be the project's, as far as its package tells."""
    top = prefix + _top(name)
    return top in sys.modules and _why_installed(top) is None


# --- texts ------------------------------------------------------------------------------------------


def _text_of(name: str) -> tuple[str | None, str]:
    """The text of an imported module, its lines parted by line feeds, and where it was read."""
    kept = private.text_of(name)
    if kept is not None:
        return kept.text, "(source text of a file that was loaded)"
    module = sys.modules[name]
    file = str(getattr(module, "__file__", None) or "")
    try:
        with tokenize.open(file) as opened:
            return opened.read(), file
    except (OSError, SyntaxError, ValueError):  # in an archive, or of another encoding than it says
        pass
    try:
        text = module.__loader__.get_source(module.__name__)  # type: ignore[union-attr]
    except Exception:  # whatever the program's own loader raises
        text = None
    if type(text) is not str:
        text = "".join(linecache.getlines(file)) or None
    return (None if text is None else io.StringIO(text, newline=None).read()), file


def _package_of(name: str) -> str:
    """The package that relative imports of a module start from."""
    kept = private.text_of(name)
    if kept is not None:
        return kept.package
    module = sys.modules[name]
    if name == MAIN:
        package = getattr(module, "__package__", None) or ""
        return package if is_module_name(package) else ""
    return name if hasattr(module, "__path__") else name.rpartition(".")[0]


def _parsed(name: str, text: str, file: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the author of an invalid escape has been told
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise SaveError(
            f"source=True: the text of the module {name} ({printable(file)}{line}) cannot be read as Python: "
            f"{brief_text(f'{type(error).__name__}: {error}')}. Nothing was written. Correct the file, or save without "
            "source=True."
        ) from error


# --- notebooks --------------------------------------------------------------------------------------


_CELL = re.compile(r"<ipython-input-|<python-input-|[/\\]ipykernel_\d+[/\\]")
"""How IPython and Python's own prompt call what was typed."""


def _cell_text(qualnames: Iterable[str]) -> str:
    """What was typed, but only the statements that define these names and those that they use.

    A whole notebook would train its model again. What a name was bound to last is what counts.
    """
    last: dict[str, tuple[int, str, set[str]]] = {}
    order = 0
    for filename, entry in list(linecache.cache.items()):
        lines = entry[2] if len(entry) == 4 and _CELL.search(filename) else []
        try:
            tree = ast.parse("".join(lines))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        for node in tree.body:
            if isinstance(node, _BINDING):
                order += 1
                first = min([node.lineno, *(it.lineno for it in getattr(node, "decorator_list", ()))])
                text = "".join(lines[first - 1 : node.end_lineno]).rstrip("\n") + "\n"
                used = {it.id for it in ast.walk(node) if isinstance(it, ast.Name)}
                for name in _bound(ast.Module([node], [])):
                    last[name] = order, text, used
    wanted = [qualname.partition(".")[0] for qualname in qualnames]
    chosen: dict[int, str] = {}
    while wanted:
        name = wanted.pop()
        if name in last and last[name][0] not in chosen:
            order, text, used = last[name]
            chosen[order] = text
            wanted += used
    return "\n".join(chosen[i] for i in sorted(chosen))


_BINDING = (
    ast.Import,
    ast.ImportFrom,
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Assign,
    ast.AnnAssign,
    ast.If,
    ast.Try,
)


def _bound(tree: ast.AST) -> Iterator[str]:
    """Every name that a text binds somewhere: by a statement or an assignment, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.alias):
            yield node.asname or _top(node.name)


# --- imports ----------------------------------------------------------------------------------------


def _imports(tree: ast.Module, package: str, prefix: str) -> Iterator[tuple[str, bool]]:
    """Modules that a text imports, anywhere in it, and whether each is a module for certain.

    What follows ``from x import`` may be a module or a name in one.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, True
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, package)
            if base is None:
                continue
            yield base, True
            module = sys.modules.get(prefix + base) or sys.modules.get(base)
            for alias in node.names:
                names: Iterable[object] = [alias.name]
                if alias.name == "*":
                    listed = vars(module).get("__all__", ()) if is_a(module, ModuleType) else ()
                    names = listed if type(listed) in (list, tuple) else ()
                yield from ((f"{base}.{name}", False) for name in names if type(name) is str)


def _base(node: ast.ImportFrom, package: str) -> str | None:
    """The module that a ``from`` statement names; None where it leads out of every package."""
    if not node.level:
        return node.module
    parts = package.split(".") if package else []
    if node.level > len(parts):
        return None
    return ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])
