"""Before any tensor byte moves: does every class open, and does what the file holds suit it?

The audit walks the part of the Document that was asked for, opens every name through a `Resolver`, and
collects everything that is wrong into one error.
"""

from __future__ import annotations

import argparse
import types
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch.nn.utils.prune import BasePruningMethod

from ..document import (
    CONTAINER_KINDS,
    DATA_KINDS,
    HELD_KINDS,
    ROLES,
    TENSOR_KINDS,
    Document,
    Finding,
    Opaque,
    Ref,
    TensorRef,
    Typed,
    Value,
    children,
    hooks_of,
    merged,
)
from ..errors import ChangedClassError, LoadError, TrustError, brief, brief_text, classes_in_code, in_code
from . import sources, torch_table
from .lazy import why_not_lazy
from .registry import Registration, class_name, registration
from .standins import Record, Skeleton
from .state import is_of_dataclasses
from .trust import Closed, Opened, Resolver, hides, last_name


@dataclass(slots=True)
class Audit:
    """What a build may use.

    Attributes:
        opened: for each (name, role) that the part needs, what it opened to. What is absent is stood
            in for: a module by a Skeleton, what derives from a builtin by that, all else by a Record.
        findings: changes and losses to report.
        stood_in: whether anything but a plain object is stood in for.
        inert: whether plain objects are.
        taken: the route, where it is not told by what came back.
    """

    opened: dict[tuple[str, str], Opened] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    stood_in: bool = False
    inert: bool = False
    taken: Literal["program", "source"] | None = None

    def of(self, node: Typed) -> Any:
        """The class or function that a node names, or None where it is to be stood in for."""
        found = self.opened.get(_key(node))
        return found.obj if found else None


def _key(node: Typed) -> tuple[str, str]:
    return node.text("name" if node.kind in ("function", "class") else "class"), node.kind


def audit(
    document: Document,
    positions: list[int],
    resolver: Resolver,
    *,
    path: str,
    skeleton: bool = False,
    allow: Iterable[str] = (),
) -> Audit:
    """Open every name that the nodes of a part hold, and hold every module against its class.

    Args:
        document: a checked Document.
        positions: the nodes that are to be built.
        resolver: what the caller allowed.
        path: the file, for messages.
        skeleton: whether what does not open is stood in for.
        allow: losses that are accepted: ``"hooks"``, ``"changed"``.

    Raises:
        TrustError: names that do not open, all of them, with the call that opens each.
        ChangedClassError: today's classes assign attributes that the file lacks.
        LoadError: hooks that the file could not hold, attributes that would hide a method, what was left out
            at save.
    """
    allowed = frozenset(allow) | ({"hooks"} if skeleton else set())
    result = Audit(findings=[finding for finding in document.findings if finding.code == "lost-hooks"])
    nodes = [(i, document.nodes[i]) for i in positions]
    typed = [(i, node) for i, node in nodes if isinstance(node, Typed) and node.kind in ROLES]
    holders = _holders(document, positions)
    lasts = Counter(last_name(name) for name in {_key(node)[0] for _, node in typed})
    closed: dict[tuple[str, str], Closed] = {}
    known: dict[tuple[tuple[str, str], frozenset[str]], Opened | Closed] = {}
    for i, named in typed:
        key = _key(named)
        if key in result.opened and named.kind not in HELD_KINDS:
            continue
        held_by = holders.get(i, frozenset())
        found = known.get((key, held_by))
        if found is None:
            found = resolver.resolve(key[0], key[1], holders=held_by, lasts=lasts)  # type: ignore[arg-type]
            known[key, held_by] = found
        if isinstance(found, Opened):
            result.opened[key] = found
        elif key[1] in HELD_KINDS and key not in closed:
            closed[key] = found
            result.findings.append(_record_finding(found))
        elif key[1] not in HELD_KINDS:
            closed[key] = found
    for key in [key for key in closed if key[1] in HELD_KINDS]:
        result.opened.pop(key, None)  # held by its own package in one place and by nobody in another
    if not skeleton:
        _close_what_runs(document, positions, result, closed)
    unused = resolver.unused(_key(node)[0] for _, node in typed)
    result.findings += [Finding("classes", "note", "", f"{_unused(key)}.") for key in unused]
    refused = [found for found in closed.values() if found.role not in HELD_KINDS]
    result.stood_in = bool(refused)
    result.inert = len(refused) < len(closed)
    result.findings += [_standin_finding(found) for found in refused if found.role != "module"]
    if refused and not skeleton:
        objects = [found for found in closed.values() if found.role in HELD_KINDS]
        names = tuple(sorted({found.name for found in refused}))
        raise TrustError(_trust_message(path, refused, objects, unused, document), names=names)
    for _, node in nodes:
        if isinstance(node, Opaque):
            if not skeleton:
                raise LoadError(_opaque_message(document, node, path))
            result.findings.append(Finding("unsaveable", "warning", "", f"{node.what} came back as an inert Record."))
        if isinstance(node, Typed) and node.kind == "module":
            _check_hooks(document, node, result, allowed, path)
            _check_known_hooks(document, node, result.of(node), path)
        if isinstance(node, Typed) and node.kind in _STANDIN:
            opened = result.of(node) if node.kind in ROLES else None
            cls = _STANDIN[node.kind] if opened is None else opened
            what = str(node.fields.get("class", node.kind))
            _check_hiding(document, node.fields.get("attributes"), cls, what, result, path)
    for value in document.tensors.attributes.values():
        _check_hiding(document, value, torch.nn.Parameter, "a tensor", result, path)
    result.findings = merged(result.findings)
    _check_changes(document, typed, result, allowed, path)
    return result


_STANDIN: dict[str, type] = {
    "module": Skeleton,
    "object": Record,
    "derived": object,
    "optimizer": torch.optim.Optimizer,
    "pruning_method": BasePruningMethod,
    "torch.uninitialized": torch.nn.Parameter,
    "OrderedDict": OrderedDict,
    "Counter": Counter,
    "Namespace": argparse.Namespace,
    "SimpleNamespace": types.SimpleNamespace,
    **dict.fromkeys(TENSOR_KINDS, torch.nn.Parameter),
}
"""Kinds that have attributes, with the class that they come back as where none opened."""


# --- who holds whom ---------------------------------------------------------------------------------


def _holders(document: Document, positions: list[int]) -> dict[int, frozenset[str]]:
    """For each plain object, the top-level packages of the modules that hold it; none where an optimizer does, too.

    A module holds what its attributes lead to, up to the next module, and an optimizer what it leads to. When torch
    puts an optimizer together it looks into that, by methods that classes may override.
    """
    roots: dict[str, list[TensorRef | Ref]] = {}
    of_optimizers: list[TensorRef | Ref] = []
    for position in positions:
        node = document.nodes[position]
        if isinstance(node, Typed) and node.kind == "optimizer":
            of_optimizers += children(node)
        if isinstance(node, Typed) and node.kind == "module" and isinstance(held := node.fields.get("attributes"), Ref):
            roots.setdefault(node.text("class").partition(":")[0].partition(".")[0], []).append(held)
    found: dict[int, set[str]] = {}
    for package, stack in roots.items():
        for position in _held_from(document, stack):
            found.setdefault(position, set()).add(package)
    for position in _held_from(document, of_optimizers):
        found.pop(position, None)
    return {position: frozenset(packages) for position, packages in found.items()}


def _held_from(document: Document, stack: list[TensorRef | Ref]) -> Iterator[int]:
    """The plain objects that references lead to past no module."""
    seen: set[int] = set()
    while stack:
        value = stack.pop()
        if not isinstance(value, Ref) or value.index in seen:
            continue
        seen.add(value.index)
        node = document.nodes[value.index]
        if isinstance(node, Typed) and node.kind == "module":
            continue
        if isinstance(node, Typed) and node.kind in HELD_KINDS:
            yield value.index
        stack.extend(children(node))


# --- what a class has to say ------------------------------------------------------------------------


def _check_hooks(document: Document, node: Typed, result: Audit, allowed: frozenset[str], path: str) -> None:
    name = node.text("class")
    if hooks := document.texts(node.fields.get("hooks")):
        if "hooks" not in allowed:
            raise LoadError(
                f"{path}: {name} had a {' and a '.join(hooks)} when it was saved, and hooks are code, which no "
                'file holds. Nothing was loaded. Pass allow={"hooks"} to load it without, and register them again.'
                f"{_by_program(document, path)}"
            )
        result.findings.append(Finding("hooks", "warning", "", f"{name} came back without its {', '.join(hooks)}."))


def _by_program(document: Document, path: str) -> str:
    return f" Or load what it computed with them: torchkeep.load({path!r}, route='program')." * _has_program(document)


def _has_program(document: Document) -> bool:
    return any(isinstance(node, Typed) and "program" in node.fields for node in document.nodes)


def _check_known_hooks(document: Document, node: Typed, cls: type | None, path: str) -> None:
    """Hooks that come back suit the class: what they compute hides nothing, and what was lazy can be."""
    name = node.text("class")
    if cls is None:
        return
    for hook in hooks_of(document, node):
        if hides(cls, hook.text("name")):
            raise LoadError(
                f"{path}: a hook of {name} computes {brief_text(hook.text('name'))}, which would hide what its class "
                "does. Nothing was loaded."
            )
    if "lazy" in node.fields and (reason := why_not_lazy(cls)):
        raise LoadError(
            f"{path}: {name} was lazy when it was saved, and {class_name(cls)} {reason}. Nothing was loaded. Load it "
            "with a lazy class."
        )


def _check_hiding(document: Document, value: Value, cls: type, what: str, result: Audit, path: str) -> None:
    """What may be callable does not take the place of what a class does."""
    for attribute, held in document.named(value).items():
        hooks = issubclass(cls, torch.optim.Optimizer) and attribute.startswith("_optimizer_")
        if hooks or (_may_be_callable(document, held, result) and hides(cls, attribute)):
            raise LoadError(
                f"{path}: the attribute {attribute!r} of {what} would hide what its class does. Nothing was loaded."
            )


def owner_of(cls: type, name: str) -> type | None:
    """The class of the MRO that `name` resolves to, `object` left out."""
    return next((base for base in cls.__mro__ if base is not object and name in vars(base)), None)


def _may_be_callable(document: Document, value: Value, result: Audit) -> bool:
    """Whether a value can be called once it is loaded; what stands in for an object cannot."""
    node = document.node(value)
    if isinstance(node, Typed) and node.kind in HELD_KINDS:
        cls = result.of(node)
        return cls is not None and owner_of(cls, "__call__") is not None
    return isinstance(node, Typed) and node.kind not in DATA_KINDS and node.kind not in CONTAINER_KINDS


def _close_what_runs(
    document: Document, positions: list[int], result: Audit, closed: dict[tuple[str, str], Closed]
) -> None:
    """Classes whose own code would run by being loaded, or whose methods were saved as values: only if named."""
    for position in positions:
        node = document.nodes[position]
        if not isinstance(node, Typed) or node.kind not in ("module", "method"):
            continue
        owner = document.node(node.fields["self"]) if node.kind == "method" else node
        assert isinstance(owner, Typed)
        key = _key(owner)
        opened = result.opened.get(key)
        if opened is None:
            continue
        reason = _why_closed(opened, node.text("name")) if node.kind == "method" else _own_setstate(opened, owner)
        if reason:
            closed[key] = Closed(key[0], "module", reason)


def _why_closed(opened: Opened, method: str) -> str | None:
    """Why a bound method does not come back."""
    base = owner_of(opened.obj, method)
    if base is None or not isinstance(vars(base)[method], types.FunctionType) or method.startswith("__"):
        return f"has no method {method!r}, which was saved as a value"
    return (
        f"lends its method {method!r} as a value, which only a class that you name does"
        if opened.how != "named"
        else None
    )


def is_direct(node: Typed, cls: type) -> bool:
    """Whether a module's state is written past its `__setstate__`, since it was taken past its `__getstate__` (M-6).

    A class without a `__getstate__` of its own has it run, whatever the file says.
    """
    owner = owner_of(cls, "__getstate__")
    return "direct" in node.fields and owner is not None and not torch_table.is_base(owner)


def _own_setstate(opened: Opened, node: Typed) -> str | None:
    """Why a `__setstate__` may not run."""
    owner = owner_of(opened.obj, "__setstate__")
    if is_direct(node, opened.obj):
        return None
    if opened.how != "imported" or owner is None or torch_table.is_base(owner):
        return None
    return f"has its own __setstate__ ({class_name(owner)}), which runs only for a class that you name"


def _check_changes(
    document: Document, typed: list[tuple[int, Typed]], result: Audit, allowed: frozenset[str], path: str
) -> None:
    """Classes whose source is not what it was: a warning, or an error where attributes are missing."""
    lacking: dict[str, tuple[type, list[str]]] = {}
    for name in {_key(node)[0] for _, node in typed if node.kind in _CHANGING}:
        info = document.classes.get(name)
        opened = next((result.opened[name, kind] for kind in _CHANGING if (name, kind) in result.opened), None)
        if info is None or opened is None or not isinstance(opened.obj, type):
            continue
        cls = opened.obj
        known = registration(cls)
        version = known.version if known else 1
        if info.version > version:
            raise ChangedClassError(
                f"{path}: {name} was saved at version {info.version}, and {class_name(cls)} is at {version} here. "
                "Nothing was loaded. Load it with the newer code, or register the version and its migrations."
            )
        missing_steps = [n for n in range(info.version, version) if known and n not in known.migrations]
        if missing_steps and known and (known.encode is None or issubclass(cls, torch.nn.Module)):
            raise ChangedClassError(
                f"{path}: {name} was saved at version {info.version}; {class_name(cls)} is at {version} and has no "
                f"migration from {missing_steps}. Nothing was loaded. Register them: torchkeep.register("
                f"{in_code(class_name(cls))}, version={version}, migrations={{{missing_steps[0]}: ...}})."
            )
        digest = sources.digest(cls)
        if digest == info.digest and digest is not None:
            continue
        compared = digest is not None and info.digest is not None
        migrated = info.version < version
        if not migrated and "changed" not in allowed and (compared or not _has_state_of_its_own(cls)):
            assigned = sources.assigned_by_init(cls)
            for _, node in typed if assigned else ():
                if (
                    _key(node)[0] == name
                    and node.kind != "derived"
                    and (absent := sorted(assigned - _names(document, node)))
                ):
                    lacking[name] = (cls, absent)
        if compared:
            result.findings.append(_changed_finding(name, cls, info.package, known if migrated else None))
        elif digest != info.digest:
            when = "here" if digest is None else "when the file was saved"
            message = f"the source of {name} was not to be had {when}, so changes of it are not told."
            result.findings.append(Finding("changed-class", "note", "", message))
    if lacking:
        raise ChangedClassError(_changed_message(path, lacking, document))


_CHANGING = ("module", "object", "derived")
"""Kinds whose classes have sources to look at. What one of the last assigns may be an item rather than an attribute."""


def _has_state_of_its_own(cls: type) -> bool:
    """Whether a class says what of it is kept: what is lacking then may be made again, or never have been meant."""
    pairs = [(owner_of(cls, name), name) for name in ("__getstate__", "__setstate__")]
    return any(
        owner is not None and not torch_table.is_base(owner) and not is_of_dataclasses(vars(owner)[name])
        for owner, name in pairs
    )


def _names(document: Document, node: Typed) -> frozenset[str]:
    """Every attribute that a module or object has in the file."""
    return frozenset(
        name
        for field_name in ("attributes", "parameters", "buffers", "modules")
        for name in document.named(node.fields.get(field_name))
    ) | {"training", *computed_names(document, node)}


def computed_names(document: Document, node: Typed) -> Iterable[str]:
    """What a module computes rather than holds: by hooks, or because it is parametrized."""
    yield from (hook.text("name") for hook in hooks_of(document, node))
    inner = document.typed(document.named(node.fields.get("modules")).get("parametrizations"), "module")
    if inner is not None:
        yield from document.named(inner.fields.get("modules"))


# --- what people read -------------------------------------------------------------------------------


def _trust_message(
    path: str, refused: list[Closed], objects: list[Closed], unused: list[str], document: Document
) -> str:
    lines = [f"{path}: {len(refused)} of the names that the file needs did not open. Nothing was loaded."]
    shown = [(brief_text(closed.name), closed) for closed in refused[:_MAX_LINES]]
    width = max(len(name) for name, _ in shown)
    lines += [f"  {name:{width}s}  ({closed.role}) {brief_text(closed.reason)}" for name, closed in shown]
    if len(refused) > _MAX_LINES:
        lines.append(f"  ... and {len(refused) - _MAX_LINES} more: torchkeep.inspect({path!r}).needs has all")
    for closed in objects[:_MAX_LINES]:
        name = brief_text(closed.name)
        inert = "a plain builtin" if closed.role == "derived" else "an inert Record"
        lines.append(f"  {name:{width}s}  ({closed.role}) {brief_text(closed.reason)}; without it, {inert}")
    lines += [f"  {_unused(key)}" for key in unused[:_SHOWN]]
    lines.append("Routes to this file:")
    given = [closed for closed in refused if closed.way != "none"]
    if len(given) == len(refused):
        if packages := _importable(refused):
            lines.append(f"  structure, classes where they were  torchkeep.load({path!r}, trust={packages!r})")
        names = list(dict.fromkeys(closed.name for closed in (*given, *objects)))
        lines.append(f"  structure, moved or renamed         torchkeep.load({path!r}, {classes_in_code(names)})")
    if any(name in document.sources for name in {closed.name.partition(":")[0] for closed in refused}):
        lines.append(f"  source, runs text of the file       torchkeep.load({path!r}, route='source', run_source=True)")
    return "\n".join([*lines, *_routes_without_classes(document, path)])


def _routes_without_classes(document: Document, path: str) -> Iterator[str]:
    """The ways to a file that need none of the classes that it names."""
    if _has_program(document):
        yield f"  program, needs no class             torchkeep.load({path!r}, route='program')"
    yield f"  weights, into a model of yours      torchkeep.load_into(model, {path!r})"
    yield f"  skeleton, the tree, not runnable    torchkeep.load({path!r}, route='skeleton')"


_MAX_LINES = 30
"""Names that a message lists."""

_SHOWN = 8
"""Places that a message names."""


def _unused(key: str) -> str:
    return f"classes= has {brief(key)}, which is none of the names that this load needs"


def _opaque_message(document: Document, node: Opaque, path: str) -> str:
    """What was left out at save, and the routes that it left open."""
    where = [finding.path for finding in document.findings if finding.code == "unsaveable"]
    places = f" ({brief_text(', '.join(where[:_SHOWN]))})" if where else ""
    first = (
        f"{path}: {brief_text(node.what)} could not be saved and was left out{places}, so the whole is not there to "
        "load. Nothing was loaded."
    )
    return "\n".join([first, "Routes to this file:", *_routes_without_classes(document, path)])


def _importable(refused: list[Closed]) -> tuple[str, ...]:
    """Packages to trust, if importing them may open every name."""
    if any(closed.way != "moved" or closed.name.startswith("__main__:") or "<" in closed.name for closed in refused):
        return ()
    return tuple(sorted({closed.name.partition(":")[0].partition(".")[0] for closed in refused}))


def _record_finding(closed: Closed) -> Finding:
    name, reason = brief_text(closed.name), brief_text(closed.reason)
    if closed.role == "derived":
        return Finding(
            "plain",
            "warning",
            "",
            f"objects of {name} came back as the plain builtins that they derive from, without attributes of "
            f"their own ({reason}).",
            f"To have them back as they were, pass {closed.mend()}.",
        )
    return Finding(
        "record",
        "warning",
        "",
        f"objects of {name} came back as inert Records ({reason}).",
        f"To have them back as they were, pass {closed.mend()}.",
    )


def _standin_finding(closed: Closed) -> Finding:
    message = f"{closed.name} ({closed.role}) is stood in for by an inert Record ({closed.reason})."
    return Finding("record", "note", "", message)


def _changed_finding(name: str, cls: type, package: str | None, known: Registration | None) -> Finding:
    now = class_name(cls)
    what = (
        f"the source of {name} changed since the file was saved"
        if now == name
        else f"{name} is {now} here, and its source changed"
    )
    saved = f" (saved with {package})" if package else ""
    done = f"; migrated to version {known.version}" if known else ""
    return Finding("changed-class", "note" if known else "warning", "", f"{what}{saved}{done}.")


def _changed_message(path: str, lacking: dict[str, tuple[type, list[str]]], document: Document) -> str:
    lines = [f"{path}: classes changed since the file was saved. Nothing was loaded."]
    for name, (cls, absent) in lacking.items():
        now, model = class_name(cls), issubclass(cls, torch.nn.Module)
        homes = sources.homes_by_init(cls) if model else {}
        sets = "; ".join(_set_in_code(one, homes.get(one, "attributes")) for one in absent)
        known = registration(cls)
        before = known.version if known else 1
        lines += [
            f"  {now}.__init__ now assigns {', '.join(absent)}, which the file does not have",
            f"  Register how an older {'model' if model else 'object'} gets them, and load again:",
            f"    def migrate(state):  # {sets}",
            "        ...",
            f"    torchkeep.register({in_code(now)}, version={before + 1}, migrations={{{before}: migrate}})",
        ]
        if name != now:
            lines.append(f"  (the file calls it {name})")
    lines.append('Or pass allow={"changed"} to load it without them.')
    if _has_program(document):
        lines.append(f"Or load what it computed then: torchkeep.load({path!r}, route='program').")
    return "\n".join(lines)


def _set_in_code(name: str, home: str) -> str:
    """The statement by which a migration sets what is lacking."""
    if home == "non_persistent":
        return f"state.buffers[{name!r}] = ...; state.non_persistent.add({name!r})"
    return f"state.{home}[{name!r}] = ..."
