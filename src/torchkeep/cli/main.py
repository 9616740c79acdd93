"""`torchkeep VERB FILE ...`: parse the command line, call the verb, print what it tells.

Exit status of `inspect` and `explain`: 0 done, 1 the verb raised (its message stands on standard error), 2 the call was
wrong.
Exit status of `diff`, as of the program of that name: 0 no difference, 1 the files differ, 2 trouble of any sort.
Exit status of `verify`: 0 whole and the same, 1 damaged or different, 2 trouble of any sort.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from .. import __version__
from ..api import diff, explain, inspect, verify
from ..errors import TorchkeepError, printable, printable_lines
from ..report import DiffReport, ExplainReport, FileReport, VerifyReport

_LINES = 200


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: what follows the program's name; `sys.argv` by default.

    Returns:
        The exit status.
    """
    options = _parser().parse_args(arguments)
    trouble = 2 if options.verb in ("diff", "verify") else 1
    try:
        report = _VERBS[options.verb](options)
    except (_ImportFailed, ModuleNotFoundError) as error:  # of a module that was named, or of torch
        print(f"torchkeep: {printable_lines(str(error))}", file=sys.stderr)
        return trouble
    except TorchkeepError as error:
        print(f"{type(error).__name__}[{error.code}]: {error.text}", file=sys.stderr)
        return trouble
    if getattr(options, "source", None) is not None:
        return _source(report, options)
    if options.json:
        import json

        text = json.dumps(report.to_dict(), indent=2)
    else:
        text = report.text(limit=None if options.all else _LINES)
    if not _print(text):
        return trouble
    if isinstance(report, VerifyReport):
        return 0 if report.ok else 1
    return 1 if isinstance(report, DiffReport) and not report.equal else 0


def _diff(options: argparse.Namespace) -> DiffReport:
    key, key_a, key_b = map(_key, (options.key, options.key_a, options.key_b))
    return diff(options.a, options.b, key=key, key_a=key_a, key_b=key_b)


def _explain(options: argparse.Namespace) -> ExplainReport:
    """Import what the person named, and nothing that the file names."""
    if options.imports:
        sys.path.insert(0, str(Path.cwd()))  # as `python -m` has it: the person's own code
    for name in options.imports or ():
        try:
            importlib.import_module(name)
        except Exception as error:  # whatever that module raises
            raise _ImportFailed(f"--import {name}: {type(error).__name__}: {error}. Nothing was read.") from error
    key = _key(options.key)
    return explain(options.file, key=key[0] if key is not None and len(key) == 1 else key)


class _ImportFailed(Exception):
    """A module that the command line names cannot be imported."""


_VERBS: dict[str, Callable[[argparse.Namespace], DiffReport | ExplainReport | FileReport | VerifyReport]] = {
    "diff": _diff,
    "explain": _explain,
    "inspect": lambda options: inspect(options.file),
    "verify": lambda options: verify(options.file, trust=options.trust, key=_key(options.key), device=options.device),
}


def _source(report: DiffReport | ExplainReport | FileReport | VerifyReport, options: argparse.Namespace) -> int:
    """Print the source text of one module."""
    sources = report.sources if isinstance(report, FileReport) else {}
    text = sources.get(options.source)
    if text is None:
        kept = f"it keeps that of {', '.join(sources)}" if sources else "it keeps none; save(..., source=True) does"
        name, path = printable(repr(options.source)), printable(options.file)
        print(printable(f"{path}: no source text of a module {name}: {kept}"), file=sys.stderr)
        return 1
    if options.json:
        import json

        shown = json.dumps({"module": options.source, "text": text}, indent=2)
    else:
        shown = "\n".join("\t".join(map(printable, line.split("\t"))) for line in text.removesuffix("\n").split("\n"))
    return 0 if _print(shown) else 1


def _key(steps: list[str] | None) -> tuple[str, ...] | None:
    return tuple(steps) if steps else None


def _print(text: str) -> bool:
    """Write to standard output, in whatever encoding it has; whether that was possible."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        print(text)
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing more fails at exit
        closed = isinstance(error, BrokenPipeError) or (sys.platform == "win32" and error.errno == errno.EINVAL)
        if closed:  # the reader of a pipe, such as `head`, has seen enough; Windows says so in its own way
            return True
        print(f"standard output: {error}", file=sys.stderr)
        return False
    return True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="torchkeep", description="Look into model files without running them.")
    parser.add_argument("--version", action="version", version=f"torchkeep {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", dest="verb", required=True)
    inspecting = verbs.add_parser(
        "inspect",
        help="what a file holds: tree, tensors, environment, the classes it needs, the ways to load it",
        description="What a file holds. Only its header is read; nothing of it is run.",
    )
    inspecting.add_argument("file", metavar="FILE")
    text = "print the source text that the file keeps of MODULE, as text; nothing of it is run"
    inspecting.add_argument("--source", metavar="MODULE", help=text)
    _add_form(inspecting, f"print the whole tree, not its first {_LINES} lines")
    differing = verbs.add_parser(
        "diff",
        help="what changed between two files: tensors, values, classes, flags, order, sharing",
        description="What changed from A to B. Tensors are compared by their digests; nothing of a file is run. "
        "Exit status: 0 no difference, 1 the files differ, 2 trouble.",
    )
    differing.add_argument("a", metavar="A")
    differing.add_argument("b", metavar="B")
    for name, whose in (("--key", "both files"), ("--key-a", "A"), ("--key-b", "B")):
        text = f"the part of {whose} to compare; given again, the part of that part"
        differing.add_argument(name, action="append", metavar="PART", help=text)
    _add_form(differing, f"print every difference, not the first {_LINES} lines")
    verifying = verbs.add_parser(
        "verify",
        help="whether a file is whole, and its model computes what it did when it was saved",
        description="Checks every digest; then loads the model by each route that is open, makes the calls that were "
        "kept with it, and compares what it returns. Exit status: 0 whole and the same, 1 damaged or different, 2 "
        "trouble.",
    )
    verifying.add_argument("file", metavar="FILE")
    verifying.add_argument(
        "--trust", action="append", default=[], metavar="NAME", help="a package or class that may be imported"
    )
    verifying.add_argument("--key", action="append", metavar="PART", help="the part whose model is run; as of diff")
    verifying.add_argument("--device", help="where it is run; the CPU by default")
    _add_form(verifying, f"print every output, not the first {_LINES} of each route")
    explaining = verbs.add_parser(
        "explain",
        help="what stands between a file and today's code, and the call that bridges it",
        description="What stands between a file and today's code. The classes are looked for among what is imported: "
        "name your modules with --import. Nothing of the file is run. Needs torch.",
    )
    explaining.add_argument("file", metavar="FILE")
    explaining.add_argument(
        "--import",
        dest="imports",
        action="append",
        metavar="MODULE",
        help="a module of yours to import first, from the folder that you are in or where Python finds it",
    )
    explaining.add_argument("--key", action="append", metavar="PART", help="the part of the file; given again, of that")
    _add_form(explaining, f"print every line, not the first {_LINES} of each section")
    return parser


def _add_form(parser: argparse.ArgumentParser, all_help: str) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--all", action="store_true", help=all_help)
