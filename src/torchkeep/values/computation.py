"""A model's computation beside its structure: kept with the module that it belongs to, and run in its place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from ..document import Document, Finding, TensorRef, Typed, children
from ..errors import FormatError
from ..programs import Captured, Runner, capture_program, decode, encode, golden_of, require, summary
from .encode import Context, Parts, attribute, codecs, typed
from .standins import RUNNER, Record, Skeleton
from .state import is_a
from .wrappers import unwrapped


class ProgramModule(Skeleton):
    """A module without its class that computes all the same, by the program in its file.

    Children, parameters and buffers have their names and are used as any module's are; `train()` and `eval()` switch
    what depends on the mode, on parts of the tree, too. Hooks of its children do not run, since the program makes
    their calls at once.
    """

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the model computed when it was saved.

        Raises:
            CallError: the call is not one that was captured.
        """
        return vars(self)[RUNNER](self, args, kwargs)


def computed_by(
    obj: Any, example: Any, dynamic_shapes: Any, *, golden: bool = False
) -> tuple[dict[int, Mapping[str, Any]], list[Finding]]:
    """What is kept beside a module that is saved with an example, by its `id`, and what was noticed.

    With `golden`, the example and its outputs are, too.

    Raises:
        TypeError: `obj` is no module, or `example` is no call.
    """
    if example is None:
        if dynamic_shapes is not None:
            raise TypeError("dynamic_shapes tells which sizes of an example vary, and there is no example=")
        return {}, []
    if not is_a(obj, torch.nn.Module):
        raise TypeError(f"example= is a call of a module that is saved by itself, and this is a {type(obj).__name__}")
    module, _ = unwrapped(obj)
    fields: dict[str, Any] = {}
    findings: list[Finding] = []
    if isinstance(module, ProgramModule):
        message = "the computation is the one that its file had: an example captures no other without the class."
        findings.append(Finding("program", "note", "", message))
    else:
        captured, findings = capture_program(module, example, dynamic_shapes)
        fields |= {} if captured is None else {"program": captured}
    if golden:
        kept, noticed = golden_of(module, example)
        fields |= {} if kept is None else {"golden": kept}
        findings += noticed
    return ({id(module): fields} if fields else {}), findings


def _program(held: Captured | Runner, context: Context) -> Parts:
    fields = {"summary": summary(held.program), "text": encode(held.program), "constants": held.constants}
    return typed("program", fields, {"constants": attribute("constants", hidden=True)})


def runner_of(document: Document, node: Typed, fields: dict[str, Any]) -> Runner:
    """What runs the program of a file.

    Raises:
        FormatError: the program breaks a clause of its format.
        ProgramError: it calls an operator that is not open to programs, or that this torch does not have.
    """
    held = document.node(node.fields["constants"])
    if held is None or not all(isinstance(each, TensorRef) for each in children(held)):
        raise FormatError("a constant of the program is no plain tensor", clause="P-2")
    runner = Runner(decode(fields["text"]), fields["constants"])
    if summary(runner.program) != fields["summary"]:
        raise FormatError("the summary of the program is not what the program says", clause="P-9")
    return runner


def require_trees(modules: Iterable[Any]) -> None:
    """Hold the programs of modules that were just built against what these have.

    Raises:
        FormatError: P-10, one lacks what its program needs.
    """
    for module in modules:
        if is_a(module, ProgramModule):
            require(vars(module)[RUNNER].program, module, lambda held: is_a(held, Record))


codecs.update({Captured: _program, Runner: _program})
