"""Golden outputs -> parts, and back: an example of a call and what it returned, kept beside a module."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

from ..programs import Golden, GoldenExample, GoldenOutput, Output, OutputTuple, Sampled
from .encode import Context, Parts, Step, codecs, typed

_HIDDEN = Step("", "golden", hidden=True)
"""No state_dict holds their tensors."""


class _Object(NamedTuple):
    """Something with named parts whose class no file needs."""

    sequence: bool
    parts: dict[str, Any]


def _plain(obj: Any) -> Any:
    """Fresh arguments of a call, with what stands for objects of classes told apart from dicts and tuples."""
    if type(obj) is Output:
        return _Object(False, {name: _plain(value) for name, value in obj.items()})
    if type(obj) is OutputTuple:
        return _Object(True, {name: _plain(value) for name, value in zip(obj._fields, obj, strict=True)})
    if type(obj) in (dict, OrderedDict):
        return type(obj)((key, _plain(value)) for key, value in obj.items())
    if type(obj) in (list, tuple):
        return type(obj)([_plain(item) for item in obj])
    return obj


def _golden(obj: Golden, context: Context) -> Parts:
    fields = {"environment": obj.environment, "examples": tuple(obj.examples)}
    return typed("golden", fields, {"examples": _HIDDEN})


def _example(obj: GoldenExample, context: Context) -> Parts:
    fields = {
        "args": _plain(tuple(obj.args)),
        "keywords": _plain(obj.keywords),
        "random": obj.random,
        "outputs": tuple(obj.outputs),
    }
    steps = {name: Step("", name) for name in ("args", "keywords", "outputs")}
    return typed("golden.example", fields, steps)


def _output(obj: GoldenOutput, context: Context) -> Parts:
    return typed("golden.output", obj._asdict())


def _sampled(obj: Sampled, context: Context) -> Parts:
    return typed("golden.sampled", obj._asdict() | {"shape": tuple(obj.shape)}, {"sample": Step("", "sample")})


def _object(obj: _Object, context: Context) -> Parts:
    return typed("golden.object", obj._asdict())


codecs.update({Golden: _golden, GoldenExample: _example, GoldenOutput: _output, Sampled: _sampled, _Object: _object})


# --- the way back -----------------------------------------------------------------------------------


def _object_of(fields: dict[str, Any]) -> Any:
    parts: dict[str, Any] = fields["parts"]
    return OutputTuple(tuple(parts), tuple(parts.values())) if fields["sequence"] else Output(parts)


def _sampled_of(fields: dict[str, Any]) -> Sampled:
    return Sampled(**fields)


MAKE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "golden": lambda fields: Golden(dict(fields["environment"]), fields["examples"]),
    "golden.example": lambda fields: GoldenExample(**fields),
    "golden.output": lambda fields: GoldenOutput(**{**fields, "evidence": dict(fields["evidence"])}),
    "golden.sampled": _sampled_of,
    "golden.object": _object_of,
}
