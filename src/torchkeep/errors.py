"""Every error and warning that torchkeep raises, as one tree.

    TorchkeepError(Exception)
    |-- SaveError                               TK-SAVE        nothing was written
    |   |-- UnsaveableError(TypeError)          TK-UNSAVEABLE  an object that has no codec, with its path
    |   `-- DestinationError(ValueError)        TK-DEST        a path that save does not write to
    |-- LoadError                               TK-LOAD        nothing was loaded
    |   |-- FormatError(ValueError)             TK-FORMAT      the file breaks a clause of its format
    |   |   |-- DigestError                     TK-DIGEST      bytes that are not the bytes that were saved
    |   |   |-- LimitError                      TK-LIMIT       more than the limits allow
    |   |   |-- VersionError                    TK-VERSION     written by a newer torchkeep
    |   |   `-- OtherFormatError                TK-OTHER       a file of another format, named
    |   |-- TrustError                          TK-TRUST       classes or functions that nobody opened
    |   |-- ChangedClassError                   TK-CHANGED     a class that asks for more than the file has
    |   |-- BindError(ValueError)               TK-BIND        a target that the file does not fit
    |   |-- KeyMissingError(KeyError)           TK-KEY         no such part in the file
    |   |-- ProgramError                        TK-PROGRAM     a saved computation that this torch cannot run
    |   |-- VerifyError                         TK-VERIFY      a model that does not compute what was saved with it
    |   |-- SourceError                         TK-SOURCE      source text of the file that raised when it was run
    |   |-- DeviceError(RuntimeError)           TK-DEVICE      a device that torch or this machine does not have
    |   `-- PartialLoadError                    TK-PARTIAL     a late read error: says what was overwritten
    |-- CallError(ValueError)                   TK-CALL        a call that the saved computation does not answer
    `-- PathError(OSError)                      TK-IO          the file system said no
        |-- NotFoundError(FileNotFoundError)    TK-NOT-FOUND
        |-- NotAFileError                       TK-NOT-A-FILE  a directory, a FIFO, a device, a socket
        |-- AccessError(PermissionError)        TK-ACCESS
        |-- ExistsError(FileExistsError)        TK-EXISTS
        `-- FullError                           TK-FULL        no space, or a quota or size limit

Codes are stable: a program may test `error.code`, and a text search finds them in an issue tracker.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping, Sequence
from typing import Any


def printable(text: str) -> str:
    """Text on one line, without characters that a terminal would act on: control, bidirectional, surrogates."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def brief(value: object, *, length: int = 80) -> str:
    """A key as a message quotes it: its repr, cut to `length`; what has no short repr, by its type."""
    if type(value) not in (str, bytes, int, float, complex, bool, type(None), tuple):
        return f"<{type(value).__name__}>"
    try:
        text = printable(repr(value[: length + 1] if isinstance(value, str | bytes) else value))
    except (ValueError, RecursionError):  # an integer of very many digits, a tuple of very many levels
        return f"<{type(value).__name__}>"
    return text if len(text) <= length else text[: length - 3] + "..."


def brief_text(text: str, *, length: int = 200) -> str:
    """Text on one line for a message, cut to `length`."""
    text = printable(text[: length + 1])
    return text if len(text) <= length else text[: length - 3] + "..."


def in_code(name: str) -> str:
    """How code calls what a file names: ``Outer.Net`` for ``"a.b:Outer.Net"``, and ``...`` where no code can."""
    qualname = name.rpartition(":")[2].rpartition("<locals>.")[2]
    parts = qualname.split(".")
    return (
        qualname
        if len(qualname) <= _NAME_LENGTH and all(part.isidentifier() and not keyword.iskeyword(part) for part in parts)
        else "..."
    )


def classes_in_code(names: Sequence[str]) -> str:
    """``classes={'a.b:Net': Net}``, as a person types it; of many names the first, and the rest by that pattern."""
    pairs = [f"{brief(name, length=_NAME_LENGTH)}: {in_code(name)}" for name in names[:_SPELLED]]
    return f"classes={{{', '.join([*pairs, '...'] if len(names) > _SPELLED else pairs)}}}"


def entries_in_code(entries: Mapping[str, str]) -> str:
    """The same where the class of today is called otherwise, all of it: ``classes={'a.b:Net': Network}``."""
    return f"classes={{{', '.join(f'{brief(name, length=_NAME_LENGTH)}: {code}' for name, code in entries.items())}}}"


_NAME_LENGTH = 200
"""Longest name that is spelled out: what a file names has any length."""

_SPELLED = 8
"""Classes that a call is spelled out for."""


def printable_lines(text: str) -> str:
    """The same for text of several lines."""
    return text if text.isprintable() else "\n".join(map(printable, text.split("\n")))


class TorchkeepError(Exception):
    """Base of everything torchkeep raises on purpose.

    Attributes:
        code: a stable identifier such as ``"TK-BIND"``.
        message: what happened, where, what was left unchanged, and the next step.
    """

    code = "TK"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    @property
    def text(self) -> str:
        """The message, safe for a terminal and no longer than anybody reads."""
        message = self.message
        if len(message) > _LONGEST:
            message = f"{message[: _LONGEST // 2]} ... {message[-_LONGEST // 2 :]}"
        return printable_lines(message)

    def __str__(self) -> str:
        return f"[{self.code}] {self.text}"

    def __reduce__(self) -> tuple[Any, ...]:
        state = dict(vars(self))
        if isinstance(self, OSError):
            state |= {"errno": self.errno, "filename": self.filename}
        return _remade, (type(self), state)

    def tell(self, path: str, unchanged: str) -> None:
        """Add which file it was about and what was left unchanged, where the message does not say so yet."""
        shown = printable(path)
        self.message = self.message.replace(path, shown)  # a name with a line break begins no line of its own
        if shown not in self.message:
            self.message = f"{shown}: {self.message}"
        if not _SAYS_SO.search(self.message):
            self.message = f"{self.message.rstrip('.')}. {unchanged}"


_LONGEST = 20_000
"""Most characters of a message; a file's own texts in it may be of any length."""

_SAYS_SO = re.compile(r"othing was |not changed|as it was|overwritten")


def _remade(kind: type[TorchkeepError], state: dict[str, Any]) -> TorchkeepError:
    """An error as it was before it was copied or pickled."""
    error = kind(state["message"])
    for name, value in state.items():
        setattr(error, name, value)
    return error


class SaveError(TorchkeepError):
    """The object was not saved; the destination is as it was."""

    code = "TK-SAVE"


class UnsaveableError(SaveError, TypeError):
    """An object in the graph has no codec; the message gives its path.

    Attributes:
        subject: the object.
        where: its path, such as ``model.encoder.act``.
        reason: what it is and why it cannot be saved.
    """

    code = "TK-UNSAVEABLE"

    def __init__(self, message: str, *, subject: object = None, where: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.subject = subject
        self.where = where
        self.reason = reason


class DestinationError(SaveError, ValueError):
    """`save` does not write to this path."""

    code = "TK-DEST"


class LoadError(TorchkeepError):
    """Nothing was loaded."""

    code = "TK-LOAD"


class FormatError(LoadError, ValueError):
    """The file breaks its format.

    Attributes:
        clause: the clause of ``spec/format.md`` that is broken, such as ``"H-3"``, or ``""``.
    """

    code = "TK-FORMAT"

    def __init__(self, message: str, *, clause: str = "") -> None:
        super().__init__(message)
        self.clause = clause

    @property
    def text(self) -> str:
        """The message with the clause, safe for a terminal."""
        return super().text + (f" (clause {self.clause})" if self.clause else "")


class DigestError(FormatError):
    """The bytes are not the bytes that were saved."""

    code = "TK-DIGEST"


class LimitError(FormatError):
    """The file asks for more than `torchkeep.limits.Limits` allows."""

    code = "TK-LIMIT"


class VersionError(FormatError):
    """A newer torchkeep wrote this file."""

    code = "TK-VERSION"


class OtherFormatError(FormatError):
    """The file is of another format, which the message names."""

    code = "TK-OTHER"


class TrustError(LoadError):
    """The file needs classes or functions that the caller did not open.

    Attributes:
        names: what did not open, as ``"module:name"``.
    """

    code = "TK-TRUST"

    def __init__(self, message: str, *, names: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.names = names


class ChangedClassError(LoadError):
    """Today's class asks for attributes that the file does not have."""

    code = "TK-CHANGED"


class BindError(LoadError, ValueError):
    """The file does not fit the target; the target was not changed."""

    code = "TK-BIND"


class KeyMissingError(LoadError, KeyError):
    """`key=` names a part that the file does not have."""

    code = "TK-KEY"


class ProgramError(LoadError):
    """The file's computation cannot be run: there is none, or it asks for what this torch does not have."""

    code = "TK-PROGRAM"


class VerifyError(LoadError):
    """What was loaded does not compute what the saved model did, or the file does not say what that was.

    Attributes:
        different: what differs, a line each.
    """

    code = "TK-VERIFY"

    def __init__(self, message: str, *, different: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.different = different


class CallError(TorchkeepError, ValueError):
    """A loaded computation was called in a way that it was not captured for: other sizes, arguments or modes."""

    code = "TK-CALL"


class SourceError(LoadError):
    """Source text that the file keeps, run because the caller said so, raised or is not Python.

    Attributes:
        module: the module, by the name that it had at save.
        line: the line of its text; None where the text was not reached.
    """

    code = "TK-SOURCE"

    def __init__(self, message: str, *, module: str = "", line: int | None = None) -> None:
        super().__init__(message)
        self.module = module
        self.line = line


class DeviceError(LoadError, RuntimeError):
    """torch does not know the device, the machine does not have it, or a tensor cannot go there."""

    code = "TK-DEVICE"


class PartialLoadError(LoadError):
    """Reading failed after the first write into the target.

    Attributes:
        overwritten: names of the target's tensors that no longer hold their old values.
    """

    code = "TK-PARTIAL"

    def __init__(self, message: str, *, overwritten: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.overwritten = overwritten


class PathError(TorchkeepError, OSError):
    """The file system refused; `errno` and `filename` are set as on any OSError."""

    code = "TK-IO"

    def __init__(self, message: str, *, errno: int | None = None, filename: str | None = None) -> None:
        super().__init__(message)
        self.errno = errno
        self.filename = filename


class NotFoundError(PathError, FileNotFoundError):
    """There is no such file."""

    code = "TK-NOT-FOUND"


class NotAFileError(PathError):
    """The path is a directory, a FIFO, a device or a socket."""

    code = "TK-NOT-A-FILE"


class AccessError(PathError, PermissionError):
    """Permission denied."""

    code = "TK-ACCESS"


class ExistsError(PathError, FileExistsError):
    """The destination exists and `overwrite=False`."""

    code = "TK-EXISTS"


class FullError(PathError):
    """No space is left, or a quota or a file-size limit was reached."""

    code = "TK-FULL"


class TorchkeepWarning(UserWarning):
    """A loss, a cast, or something that came back as less than it was."""


for _error in list(globals().values()):
    if isinstance(_error, type) and issubclass(_error, (TorchkeepError, TorchkeepWarning)):
        _error.__module__ = "torchkeep"  # a traceback shows the name that a caller catches
