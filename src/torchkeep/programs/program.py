"""The way from a module to a Program, and what a person reads of one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from ..document import Finding
from ..errors import LoadError, brief_text
from .check import check
from .examples import CannotCapture, examples_of
from .model import InputSpec, Mode, Program
from .sizes import written_out
from .text import decode, encode

if TYPE_CHECKING:
    from .capture import Captured as Traced


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
    from .capture import capture  # what it needs of torch takes a second to import, and no load needs it
    from .merge import merge

    examples = examples_of(example)
    try:
        found = capture(module, examples, dynamic_shapes)
        program = merge(found)
        _require_readable(program, len(found.shared.constants))
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
    findings += [*_about_sizes(found), *_about_shapes(program), *_about_state(found)]
    findings.append(Finding("program", "note", "", f"the file holds the computation: {summary(program)}."))
    return Captured(program, tuple(found.shared.constants)), findings


def _require_readable(program: Program, constants: int) -> None:
    """What a load would refuse is not saved.

    Raises:
        CannotCapture: it would.
    """
    try:
        check(decode(encode(program)), constants=constants)
    except LoadError as error:
        raise CannotCapture(f"no program may hold it: {error.message}") from error


def _about_sizes(found: Traced) -> Iterator[Finding]:
    """What does not vary, and why."""
    from .capture import LEVELS

    for tried in found.tried:
        now = found.levels[tried.mode]
        if now != tried.level:
            yield Finding(
                "sizes",
                "warning",
                "",
                f"in {tried.mode} mode {LEVELS[now]} varies, since capturing it so that {LEVELS[tried.level]} varies "
                f"failed: {tried.why}.",
                "Two examples of different sizes, example=[(x,), (y,)], say best which sizes have to vary.",
            )
    fixed: dict[tuple[str, int, int, str], list[Mode]] = {}
    for mode, trace in found.traces.items():
        for dim, size, line in trace.fixed:
            fixed.setdefault((found.inputs[dim.input].name, dim.dim, size, line), []).append(mode)
    for (name, d, size, line), modes in fixed.items():
        where = "" if len(modes) == len(found.traces) else f" in {modes[0]} mode"
        by = f": {line} asks for it" if line else ""
        yield Finding("sizes", "note", "", f"the size of {name} in dimension {d} is always {size}{where}{by}.")


def _about_shapes(program: Program) -> Iterator[Finding]:
    """Sizes that vary with others alone."""
    told: dict[str, list[Mode]] = {}
    for spec in program.inputs:
        for mode, shape in spec.shapes.items():
            for d, size in enumerate(shape):
                if size is not None and type(size) is not int:
                    text = f"the size of {spec.name} in dimension {d} is always {written_out(size, program)}"
                    told.setdefault(text, []).append(mode)
    for text, modes in told.items():
        where = "" if len(modes) == len(program.modes) else f" in {modes[0]} mode"
        yield Finding("sizes", "note", "", f"{text}{where}.")


def _about_state(found: Traced) -> Iterator[Finding]:
    """What the code of the model does that its program does not."""
    if found.changed:
        names = ", ".join(map(brief_text, found.changed[:_SHOWN])) + (", ..." if len(found.changed) > _SHOWN else "")
        yield Finding(
            "state",
            "warning",
            "",
            f"a call of the model changes what is no buffer, and its computation in the file does not: {names}.",
            "Where later calls depend on them, make them buffers that are changed in place.",
        )
    if found.stay:
        names = ", ".join(map(brief_text, found.stay[:_SHOWN])) + (", ..." if len(found.stay) > _SHOWN else "")
        yield Finding(
            "modes",
            "warning",
            "",
            f"train() of the model leaves modules in eval mode, and train() of its computation does not: {names}.",
            "There, call eval() of these after train().",
        )


_SHOWN = 8


def summary(program: Program) -> str:
    """One line for people: the modes, and how a call is written, with the sizes that are fixed."""
    mode: Mode = program.modes[0]
    inputs = ", ".join(f"{spec.name}: {spec.dtype}{_shape(spec, mode)}" for spec in program.inputs)
    return f"{' and '.join(program.modes)}, {len(program.calls)} calls, forward({inputs})"


def _shape(spec: InputSpec, mode: Mode) -> str:
    return f"[{', '.join(str(size) if type(size) is int else '*' for size in spec.shapes[mode])}]"
