"""`torchkeep inspect FILE`: parse the command line, call the verb, print what it tells.

Exit status: 0 done, 1 the verb raised (its message stands on standard error), 2 the call was wrong.
"""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
from collections.abc import Sequence

from .. import __version__
from ..api import inspect
from ..errors import TorchkeepError

_LINES = 200


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: what follows the program's name; `sys.argv` by default.

    Returns:
        The exit status.
    """
    options = _parser().parse_args(arguments)
    try:
        report = inspect(options.file)
        if options.json:
            import json

            text = json.dumps(report.to_dict(), indent=2)
        else:
            text = report.text(limit=None if options.all else _LINES)
    except TorchkeepError as error:
        print(f"{type(error).__name__}[{error.code}]: {error.text}", file=sys.stderr)
        return 1
    return _print(text)


def _print(text: str) -> int:
    """Write to standard output, in whatever encoding it has; the exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        print(text)
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing more fails at exit
        closed = isinstance(error, BrokenPipeError) or (sys.platform == "win32" and error.errno == errno.EINVAL)
        if closed:  # the reader of a pipe, such as `head`, has seen enough; Windows says so in its own way
            return 0
        print(f"standard output: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="torchkeep", description="Look into model files without running them and without importing torch."
    )
    parser.add_argument("--version", action="version", version=f"torchkeep {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    inspecting = verbs.add_parser(
        "inspect",
        help="what a file holds: tree, tensors, environment, the classes it needs, the ways to load it",
        description="What a file holds. Only its header is read; nothing of it is run.",
    )
    inspecting.add_argument("file", metavar="FILE")
    inspecting.add_argument("--json", action="store_true", help="print one JSON object")
    inspecting.add_argument("--all", action="store_true", help=f"print the whole tree, not its first {_LINES} lines")
    return parser
