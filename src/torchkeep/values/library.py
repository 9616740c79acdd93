"""Small values of the standard library, each with its two ways: taken apart for a file, and made again.

A value is made by its own constructor from checked numbers and texts, and then compared with what the file
says: a file that writes a value in another way than a save would is refused (clause K-5).
"""

from __future__ import annotations

import argparse
import datetime
import decimal
import fractions
import pathlib
import random
import re
import struct
import sys
import types
import uuid
import zoneinfo
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from typing import Any

from ..document import Typed
from ..errors import FormatError, LimitError, brief
from .encode import INLINE_NBYTES, Codec, Context, Hidden, Parts, codecs, typed
from .keys import require_keys
from .standins import Record
from .state import is_a

Fields = dict[str, Any]


# --- containers -------------------------------------------------------------------------------------


def _defaultdict(obj: defaultdict[Any, Any], context: Context) -> Parts:
    require_keys(obj, context)
    return typed("defaultdict", {"factory": obj.default_factory, "items": dict(obj)})


def _fill_defaultdict(shell: defaultdict[Any, Any], fields: Fields) -> None:
    factory = fields["factory"]
    shell.default_factory = factory if factory is None or callable(factory) else None
    shell.update(fields["items"])


def _counter(obj: Counter[Any], context: Context) -> Parts:
    require_keys(obj, context)
    fields: Fields = {"items": dict(obj)}
    if attributes := context.without_typing(vars(obj)):
        fields["attributes"] = Hidden(attributes)
    return typed("Counter", fields)


def _fill_counter(shell: Counter[Any], fields: Fields) -> None:
    dict.update(shell, fields["items"])  # Counter.update adds
    vars(shell).update(fields.get("attributes", {}))


def _deque(obj: deque[Any], context: Context) -> Parts:
    return typed("deque", {"items": (*obj,), "maxlen": obj.maxlen})


def _new_deque(node: Typed) -> deque[Any]:
    maxlen = node.fields["maxlen"]
    if isinstance(maxlen, int) and maxlen > _MAX_INDEX:
        raise FormatError(f"a deque of at most {maxlen} items", clause="K-5")
    return deque(maxlen=maxlen)  # type: ignore[arg-type]


_MAX_INDEX = 2**63 - 1


def _fill_deque(shell: deque[Any], fields: Fields) -> None:
    if shell.maxlen is not None and len(fields["items"]) > shell.maxlen:
        raise FormatError(f"a deque of {len(fields['items'])} items, and at most {shell.maxlen}", clause="K-5")
    shell.extend(fields["items"])


def _namespace(kind: str) -> Codec:
    return lambda obj, context: typed(kind, {"attributes": Hidden(vars(obj))})


def _fill_namespace(shell: Any, fields: Fields) -> None:
    vars(shell).update(fields["attributes"])


SHELLS: dict[str, Callable[[Typed], Any]] = {
    "defaultdict": lambda node: defaultdict(),
    "Counter": lambda node: Counter(),
    "deque": _new_deque,
    "Namespace": lambda node: argparse.Namespace(),
    "SimpleNamespace": lambda node: types.SimpleNamespace(),
}
"""Containers, made empty before their items are there, so that they can hold themselves."""

FILL: dict[str, Callable[[Any, Fields], None]] = {
    "defaultdict": _fill_defaultdict,
    "Counter": _fill_counter,
    "deque": _fill_deque,
    "Namespace": _fill_namespace,
    "SimpleNamespace": _fill_namespace,
}

# --- values that cannot change ----------------------------------------------------------------------


def _fields_of(kind: str, *names: str) -> Codec:
    """A codec whose fields are attributes of the value."""
    return lambda obj, context: typed(kind, {name: getattr(obj, name) for name in names})


_CLOCK = ("hour", "minute", "second", "microsecond", "fold")


def _clock(kind: str, *names: str) -> Codec:
    """A codec of a time, which may have a time zone."""

    def codec(obj: Any, context: Context) -> Parts:
        zone = obj.tzinfo
        if zone is not None and type(zone) not in (datetime.timezone, zoneinfo.ZoneInfo):
            reason = f"has a time zone with rules of its own ({type(zone).__qualname__}), which a file does not hold"
            way_out = "Convert it first: .astimezone(datetime.timezone.utc)."
            raise context.unsaveable(obj, reason, way_out=way_out)
        return typed(kind, {name: getattr(obj, name) for name in (*names, *_CLOCK)} | {"timezone": zone})

    return codec


def _timezone(obj: datetime.timezone, context: Context) -> Parts:
    offset, *name = obj.__getinitargs__()  # type: ignore[attr-defined]
    return typed("timezone", {"offset": offset} | ({"name": name[0]} if name else {}))


def _make_timezone(fields: Fields) -> datetime.timezone:
    offset = fields["offset"]
    if "name" in fields:
        return datetime.timezone(offset, fields["name"])
    return datetime.timezone(offset) if offset else datetime.timezone.utc


def _zone(obj: zoneinfo.ZoneInfo, context: Context) -> Parts:
    if not _is_zone_key(obj.key):
        reason = "is a time zone without a name by which other machines know it"
        raise context.unsaveable(obj, reason, way_out="Make it with zoneinfo.ZoneInfo(...), from a name of the IANA's.")
    return typed("ZoneInfo", {"key": obj.key})


def _is_zone_key(key: object) -> bool:
    """Whether it is a name like ``Europe/Berlin``, and no way to another file."""
    return type(key) is str and len(key) <= 255 and _ZONE_KEY.fullmatch(key) is not None


_ZONE_KEY = re.compile("[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z][A-Za-z0-9_+-]*)*")


def make_zone(key: str) -> zoneinfo.ZoneInfo | None:
    """The rules of this machine for a time zone; None where it has none.

    Raises:
        FormatError: K-5, not the name of a time zone.
    """
    if not _is_zone_key(key):
        raise FormatError(f"{brief(key)} is no name of a time zone", clause="K-5")
    try:
        return zoneinfo.ZoneInfo(key)
    except (LookupError, ValueError, OSError, ImportError):
        return None


def _make_clock(cls: Any, *names: str) -> Callable[[Fields], Any]:
    def make(fields: Fields) -> Any:
        if is_a(fields["timezone"], Record):  # of a zone that this machine lacks; the numbers are held against K-5
            make(fields | {"timezone": None})
            return Record(f"datetime:{cls.__name__}", fields)
        numbers = [fields[name] for name in (*names, *_CLOCK[:-1])]
        return cls(*numbers, fields["timezone"], fold=fields["fold"])

    return make


def _uuid(obj: uuid.UUID, context: Context) -> Parts:
    safe = obj.is_safe.name
    return typed("UUID", {"hex": obj.hex} | ({} if safe == "unknown" else {"safe": safe}))


def _make_uuid(fields: Fields) -> uuid.UUID:
    safe = _SAFE[fields["safe"]] if "safe" in fields else uuid.SafeUUID.unknown
    made = uuid.UUID(fields["hex"], is_safe=safe)
    _expect(made.hex, fields["hex"])
    return made


_SAFE = {"safe": uuid.SafeUUID.safe, "unsafe": uuid.SafeUUID.unsafe}


def _decimal(obj: decimal.Decimal, context: Context) -> Parts:
    return typed("Decimal", {"text": _short(obj, _DECIMALS.to_sci_string(obj), context)})


_DECIMALS = decimal.Context(capitals=1)
"""Whatever the context of the program says of capitals."""


def _make_decimal(fields: Fields) -> decimal.Decimal:
    if len(fields["text"]) > INLINE_NBYTES:
        raise LimitError(f"a decimal of more than {INLINE_NBYTES} characters")
    made = decimal.Decimal(fields["text"])
    _expect(_DECIMALS.to_sci_string(made), fields["text"])
    return made


def _fraction(obj: fractions.Fraction, context: Context) -> Parts:
    if _is_long(obj.numerator) or _is_long(obj.denominator):
        raise context.unsaveable(obj, f"has more than {_LONG_NBITS} bits", way_out="Keep it as a pair of integers.")
    return typed("Fraction", {"numerator": obj.numerator, "denominator": obj.denominator})


_LONG_NBITS = 16_384
"""Longest numerator and denominator: a reader looks for what divides both, and that is quadratic work."""


def _is_long(number: int) -> bool:
    return number.bit_length() > _LONG_NBITS


def _make_fraction(fields: Fields) -> fractions.Fraction:
    if _is_long(fields["numerator"]) or _is_long(fields["denominator"]):
        raise LimitError(f"a fraction of more than {_LONG_NBITS} bits")
    made = fractions.Fraction(fields["numerator"], fields["denominator"])
    _expect((made.numerator, made.denominator), (fields["numerator"], fields["denominator"]))
    return made


def _make_timedelta(fields: Fields) -> datetime.timedelta:
    made = datetime.timedelta(**fields)
    _expect((made.days, made.seconds, made.microseconds), (fields["days"], fields["seconds"], fields["microseconds"]))
    return made


def _path(obj: pathlib.PurePath, context: Context) -> Parts:
    flavour = "windows" if isinstance(obj, pathlib.PureWindowsPath) else "posix"
    return typed(
        "path", {"flavour": flavour, "pure": not isinstance(obj, pathlib.Path), "text": _short(obj, str(obj), context)}
    )


def _short(obj: object, text: str, context: Context) -> str:
    """The text of a value, which stands in the header."""
    if len(text) > INLINE_NBYTES:
        raise context.unsaveable(obj, f"has a text of more than {INLINE_NBYTES} characters")
    return text


def _make_path(fields: Fields) -> pathlib.PurePath:
    """A path of the file system comes back as one where the system is of its sort, and pure elsewhere."""
    pure = {"windows": pathlib.PureWindowsPath, "posix": pathlib.PurePosixPath}[fields["flavour"]]
    made: pathlib.PurePath = pure(fields["text"])
    _expect(str(made), fields["text"])
    here = "windows" if sys.platform == "win32" else "posix"
    return made if fields["pure"] or fields["flavour"] != here else pathlib.Path(made)


def _range(obj: range, context: Context) -> Parts:
    if any(map(_is_long, (obj.start, obj.stop, obj.step))):
        raise context.unsaveable(obj, f"has numbers of more than {_LONG_NBITS} bits")
    return typed("range", {"start": obj.start, "stop": obj.stop, "step": obj.step})


def _make_range(fields: Fields) -> range:
    if any(map(_is_long, fields.values())):
        raise LimitError(f"a range of numbers of more than {_LONG_NBITS} bits")
    return range(fields["start"], fields["stop"], fields["step"])


def _random(obj: random.Random, context: Context) -> Parts:
    version, words, gauss = obj.getstate()
    if version != random.Random.VERSION or not (gauss is None or type(gauss) is float):
        raise context.unsaveable(obj, "is in a state that Python's own methods do not lead to")
    return typed("Random", {"state": _TWISTER.pack(*words), "gauss": gauss})


_TWISTER = struct.Struct("<625I")
"""The words of a Mersenne Twister, and where among them the next number begins."""


def _make_random(fields: Fields) -> random.Random:
    if len(fields["state"]) != _TWISTER.size:
        raise ValueError(f"a state of {len(fields['state'])} bytes")
    made = random.Random(0)
    made.setstate((random.Random.VERSION, _TWISTER.unpack(fields["state"]), fields["gauss"]))
    return made


def make(kind: str, fields: Fields) -> Any:
    """A value of a kind in `MAKE`.

    Raises:
        FormatError: K-5, the type has no such value.
        LimitError: it is larger than a reader should work on.
    """
    try:
        return MAKE[kind](fields)
    except (ValueError, ArithmeticError, KeyError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"there is no {kind} of {brief(fields)}: {error}", clause="K-5") from error


def _expect(made: object, said: object) -> None:
    """K-5: a value is written as a save writes it."""
    if made != said:
        raise FormatError(f"{said!r} stands for {made!r}, which is written otherwise", clause="K-5")


MAKE: dict[str, Callable[[Fields], Any]] = {
    "slice": lambda fields: slice(fields["start"], fields["stop"], fields["step"]),
    "range": _make_range,
    "Ellipsis": lambda fields: ...,
    "path": _make_path,
    "date": lambda fields: datetime.date(**fields),
    "time": _make_clock(datetime.time),
    "datetime": _make_clock(datetime.datetime, "year", "month", "day"),
    "timedelta": _make_timedelta,
    "timezone": _make_timezone,
    "UUID": _make_uuid,
    "Decimal": _make_decimal,
    "Random": _make_random,
    "Fraction": _make_fraction,
}
"""Values that cannot change, made once what they are made of is there."""

codecs.update(
    {
        defaultdict: _defaultdict,
        Counter: _counter,
        deque: _deque,
        argparse.Namespace: _namespace("Namespace"),
        types.SimpleNamespace: _namespace("SimpleNamespace"),
        slice: _fields_of("slice", "start", "stop", "step"),
        range: _range,
        type(...): _fields_of("Ellipsis"),
        datetime.date: _fields_of("date", "year", "month", "day"),
        datetime.time: _clock("time"),
        datetime.datetime: _clock("datetime", "year", "month", "day"),
        datetime.timedelta: _fields_of("timedelta", "days", "seconds", "microseconds"),
        datetime.timezone: _timezone,
        zoneinfo.ZoneInfo: _zone,
        uuid.UUID: _uuid,
        decimal.Decimal: _decimal,
        random.Random: _random,
        fractions.Fraction: _fraction,
    }
)
for _cls in (pathlib.PurePosixPath, pathlib.PureWindowsPath, pathlib.PosixPath, pathlib.WindowsPath):
    codecs[_cls] = _path
