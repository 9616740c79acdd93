"""Everything public is documented: arguments, results, errors, fields, as they apply."""

from __future__ import annotations

import ast
import builtins
import inspect
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

import torchkeep
import torchkeep.plugins
import torchkeep.testing

NAMESPACES = {"torchkeep": torchkeep, "torchkeep.plugins": torchkeep.plugins, "torchkeep.testing": torchkeep.testing}


def public() -> Iterator[tuple[str, Any]]:
    """Public classes and functions, once each, by the shortest name."""
    seen: list[object] = []
    for prefix, namespace in NAMESPACES.items():
        for name in dir(namespace):
            subject = getattr(namespace, name)
            counts = not name.startswith("_") and (inspect.isclass(subject) or inspect.isfunction(subject))
            if counts and all(subject is not known for known in seen):
                seen.append(subject)
                yield f"{prefix}.{name}", subject


PUBLIC = dict(public())
FUNCTIONS = {name: subject for name, subject in PUBLIC.items() if inspect.isfunction(subject)}
CLASSES = {name: subject for name, subject in PUBLIC.items() if inspect.isclass(subject)}
METHODS = {
    f"{name}.{method}": found
    for name, cls in CLASSES.items()
    if cls.__module__.startswith("torchkeep")
    for method, found in vars(cls).items()
    if not method.startswith("_") and (inspect.isfunction(found) or isinstance(found, property))
}


def sections(subject: Any) -> dict[str, str]:
    """The parts of a docstring: its beginning under "", and what stands under each heading."""
    doc = inspect.getdoc(subject) or ""
    parts = re.split(r"^(Args|Returns|Raises|Attributes|Examples):$", doc, flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def named(section: str) -> list[str]:
    """What a section tells of: the names at its first level."""
    return re.findall(r"^(?:    )?(\w+): ", textwrap.dedent(section), re.MULTILINE)


def raises(function: Any) -> bool:
    """Whether a function raises by itself, in plain sight."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    return any(isinstance(node, ast.Raise) and node.exc is not None for node in ast.walk(tree))


def test_the_namespaces_are_what_we_think() -> None:
    assert set(FUNCTIONS) >= {
        "torchkeep.save",
        "torchkeep.load",
        "torchkeep.load_into",
        "torchkeep.explain",
        "torchkeep.inspect",
        "torchkeep.report_of",
        "torchkeep.register",
        "torchkeep.register_container",
        "torchkeep.register_storage",
        "torchkeep.plugins.of_tensors",
        "torchkeep.testing.same",
    }
    assert len(CLASSES) > 50


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str) -> None:
    function, told = FUNCTIONS[name], sections(FUNCTIONS[name])
    signature = inspect.signature(function)
    assert told[""].strip()
    assert named(told.get("Args", "")) == list(signature.parameters), "Args name every parameter, in order"
    returns = signature.return_annotation not in (None, "None")
    assert ("Returns" in told) == returns, "Returns, where something is returned"
    assert not raises(function) or "Raises" in told
    for error in named(told.get("Raises", "")):
        assert hasattr(torchkeep, error) or hasattr(builtins, error), error


@pytest.mark.parametrize("name", CLASSES)
def test_classes(name: str) -> None:
    cls, told = CLASSES[name], sections(CLASSES[name])
    assert cls.__doc__, "a docstring of its own, not its base's"
    assert not told[""].startswith(f"{cls.__name__}("), "not the signature that a dataclass gets"
    fields = [field.name for field in msgspec.structs.fields(cls)] if issubclass(cls, msgspec.Struct) else []
    fields = [field for field in fields if not field.startswith("_")]
    for field in fields:
        doc = "".join(told.values()) + (inspect.getsource(cls) if name.endswith("Limits") else "")
        assert re.search(rf"\b{field}\b", doc), f"{field} is told of"


@pytest.mark.parametrize("name", METHODS)
def test_methods(name: str) -> None:
    method = METHODS[name]
    function = method.fget if isinstance(method, property) else method
    assert function.__doc__, "a docstring"
    told = sections(function)
    parameters = [parameter for parameter in inspect.signature(function).parameters if parameter != "self"]
    if "Args" in told:
        assert named(told["Args"]) == parameters
    else:
        lacking = [one for one in parameters if not re.search(rf"`{one}`|\b{one}\b", told[""])]
        assert not lacking or len(parameters) <= 2, f"{lacking} are told of"


def test_units_are_in_names() -> None:
    """Sizes are in bytes, and say so."""
    for name, cls in CLASSES.items():
        if issubclass(cls, msgspec.Struct):
            for field in msgspec.structs.fields(cls):
                assert field.name not in ("size", "length", "timeout", "bytes"), f"{name}.{field.name}"


@pytest.mark.parametrize(("module", "absent"), [("torchkeep.plugins", "torch"), ("torchkeep.testing", "pytest")])
def test_what_is_not_imported(module: str, absent: str) -> None:
    """A plug-in costs `inspect` no torch, and the suites need no pytest."""
    code = f"import sys, {module}; sys.exit({absent!r} in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
