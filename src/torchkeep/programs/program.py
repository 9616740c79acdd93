"""The way from a module to a Program, and what a person reads of one."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from ..document import Finding
from .capture import capture
from .examples import CannotCapture, examples_of
from .merge import merge
from .model import InputSpec, Mode, Program


class Captured(NamedTuple):
    """A Program and its constants, as they are to be saved."""

    program: Program
    constants: tuple[torch.Tensor, ...]


def capture_program(
    module: torch.nn.Module, example: Any, dynamic_shapes: Any = None
) -> tuple[Captured | None, list[Finding]]:
    """Capture what a module computes; where that cannot be, findings say why.

    Args:
        module: any module; it is left as it was.
        example: as `examples_of` takes it.
        dynamic_shapes: which sizes vary, as `capture` takes it.

    Returns:
        The Program, or None, and what was noticed.

    Raises:
        TypeError: `example` is of another form.
        ValueError: `dynamic_shapes` is.
    """
    examples = examples_of(example)
    try:
        found = capture(module, examples, dynamic_shapes)
        program = merge(found)
    except CannotCapture as error:
        hint = "The file loads with the class as ever. Change the code there, or save without an example."
        return None, [Finding("no-program", "warning", "", f"the computation could not be captured: {error}.", hint)]
    findings = [
        Finding(
            "no-program",
            "warning",
            "",
            f"the computation in {mode} mode could not be captured: {why}.",
            "Without its class the model will run in the other mode alone.",
        )
        for mode, why in found.failures.items()
    ]
    findings.append(Finding("program", "note", "", f"the file holds the computation: {summary(program)}."))
    return Captured(program, tuple(found.shared.constants)), findings


def summary(program: Program) -> str:
    """One line for people: the modes, and how a call is written, with the sizes that are fixed."""
    mode: Mode = program.modes[0]
    inputs = ", ".join(f"{spec.name}: {spec.dtype}{_shape(spec, mode)}" for spec in program.inputs)
    return f"{' and '.join(program.modes)}, {len(program.calls)} calls, forward({inputs})"


def _shape(spec: InputSpec, mode: Mode) -> str:
    return f"[{', '.join(str(size) if type(size) is int else '*' for size in spec.shapes[mode])}]"
