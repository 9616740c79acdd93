"""Values of Python's library, of numpy and of torch: what their types would do with what a file says."""

# ruff: noqa: PLW0108, PLC3002 - each case is a lambda, so that a literal is only made where it is opened

from __future__ import annotations

import random
import struct
from typing import Any

from case import Cases
from forge import Mp, N, S, Sq, T, chain, file, function, module, optimizer, parameter, partial, plain

CASES = Cases()
add = CASES.add
KINDS = "victim.kinds"
NETS = "victim.nets"
UNTOLD = ("inspect", "load", "into")
LOADS = ("inspect", "load")
REFUSED = {"load": "TorchkeepError"}
P = 2**61 - 1
"""What Python's hashes of numbers are taken modulo of."""


# --- literals of the kinds --------------------------------------------------------------------------


def enum(cls: str, *members: str) -> N:
    return N("enum", {"class": cls, "members": members})


def named(cls: str, items: tuple[Any, ...] = (1, 2), names: tuple[str, ...] = ("x", "y")) -> N:
    return N("namedtuple", {"class": cls, "names": names, "items": items})


def klass(name: str) -> N:
    return N("class", {"name": name})


def defaultdict(factory: Any = None, items: Any = None) -> N:
    return N("defaultdict", {"factory": factory, "items": {} if items is None else items})


def deque(items: tuple[Any, ...] = (), maxlen: Any = None) -> N:
    return N("deque", {"items": items, "maxlen": maxlen})


def spread(kind: str, **attributes: Any) -> N:
    return N(kind, {"attributes": attributes})


def part(start: Any = None, stop: Any = None, step: Any = None, kind: str = "slice") -> N:
    return N(kind, {"start": start, "stop": stop, "step": step})


def between(start: int, stop: int, step: int = 1) -> N:
    return part(start, stop, step, "range")


def path(text: str, flavour: str = "posix", *, pure: bool = False) -> N:
    return N("path", {"flavour": flavour, "pure": pure, "text": text})


def delta(days: int = 0, seconds: int = 0, microseconds: int = 0) -> N:
    return N("timedelta", {"days": days, "seconds": seconds, "microseconds": microseconds})


def zone(offset: N, *name: str) -> N:
    return N("timezone", {"offset": offset} | ({"name": name[0]} if name else {}))


def moment(*numbers: int, timezone: Any = None) -> N:
    names = ("year", "month", "day", "hour", "minute", "second", "microsecond", "fold")
    return N("datetime", dict(zip(names, numbers, strict=True)) | {"timezone": timezone})


def decimal(text: str) -> N:
    return N("Decimal", {"text": text})


def fraction(numerator: int, denominator: int = 1) -> N:
    return N("Fraction", {"numerator": numerator, "denominator": denominator})


def uuid(text: str, **more: str) -> N:
    return N("UUID", {"hex": text, **more})


def array(dtype: str, tensor: Any = None, *, writeable: bool = True) -> N:
    return N("numpy.ndarray", {"dtype": dtype, "data": T() if tensor is None else tensor, "writeable": writeable})


def scalar(dtype: str, data: bytes) -> N:
    return N("numpy.scalar", {"dtype": dtype, "data": data})


def dtype_of(name: str) -> N:
    return N("numpy.dtype", {"name": name})


def generator(state: bytes, device: str = "cpu") -> N:
    return N("torch.Generator", {"device": device, "state": state})


def net(*held: Any, cls: str = f"{NETS}:Net") -> N:
    """A module of the victim's, which holds what its own package may be opened for."""
    return module(cls, parameters={"weight": parameter()}, attributes={f"held{i}": one for i, one in enumerate(held)})


def slug(text: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in text)[:60] + f"_{len(CASES)}"


def _type_of(name: str) -> Any:
    def check(obj: Any) -> list[str]:
        held = obj.held0
        return [] if type(held).__name__ == name else [f"held0 is a {type(held).__name__}, not a {name}"]

    return check


_POSING = ("ReadEnum", "ReadFlag", "ReadPoint", "PosingEnum", "PosingPoint")
"""Classes that have a say in every look at an object: it is the program's own, once it is loaded."""

# --- enums ------------------------------------------------------------------------------------------

for _name in (
    "MetaEnum", "Missing", "ReadEnum", "PosingEnum", "HashEnum", "ActingEnum", "DelEnum", "BoolEnum", "NewEnum",
):  # fmt: skip
    for _where, _make in {
        "value": lambda e: net(e),
        "key": lambda e: net(Mp([(e, 1), (1, 2)])),
        "element": lambda e: net(Sq("set", [e]), Sq("frozenset", [e, 1])),
        "root": lambda e: [e],
    }.items():
        add(
            f"enum/{_name} as {_where}",
            lambda n=_name, make=_make: file(make(enum(f"{KINDS}:{n}", "ONE"))),
            poke=_name not in _POSING,
        )
for _name in ("MissingFlag", "MetaFlag", "ReadFlag", "Perm", "Wide"):
    _all = {"Perm": ("READ", "RUN"), "Wide": ("LOW", "HIGH")}.get(_name, ("ONE", "TWO"))
    add(f"enum/flags of {_name}", lambda n=_name, m=_all: file(net(enum(f"{KINDS}:{n}", *m), Mp([(enum("x:Y"), 1)]))))
    add(f"enum/no flags of {_name}", lambda n=_name: file(net(enum(f"{KINDS}:{n}"))))
for _label, _members in {
    "no member": ("GREEN",),
    "map": ("_member_map_",),
    "value map": ("_value2member_map_",),
    "dunder": ("__class__",),
    "method": ("mro",),
    "missing": ("_missing_",),
    "name": ("_name_",),
    "empty text": ("",),
    "NUL": ("RED\0",),
    "twice": ("RED", "RED"),
    "alias twice": ("RED", "ALSO_RED"),
    "two that are no flags": ("RED", "BLUE"),
    "none": (),
}.items():
    for _cls in ("Color", "Missing"):
        add(f"enum/members {_label} of {_cls}", lambda c=_cls, m=_members: file(net(enum(f"{KINDS}:{c}", *m))))
for _name in (
    "enum:Enum",
    "enum:Flag",
    "enum:FlagBoundary",
    "re:RegexFlag",
    "signal:Signals",
    "socket:AddressFamily",
    "uuid:SafeUUID",
    "inspect:_ParameterKind",
    "http:HTTPStatus",
    "numpy:_CopyMode",
    "torch:_C._EngineBase",
    "torch.distributed:ReduceOp",
    "torch.nn:Linear",
    "victim.nets:Net",
    "victim.nets:Config",
    "victim.nets:act",
    "victim.kinds:Empty",
    "victim.kinds:enum.Enum",
    "victim.kinds:Point",
    "victim.kinds:Color.RED",
    "victim.kinds:Color.__class__",
    "sleeper.nets:Net",
    "__main__:main",
    "builtins:bool",
    "builtins:int",
    "collections:Counter",
    "numpy:int64",
):
    for _member in ("ONE", "DEBUG"):
        add(
            f"enum/class {slug(_name)}",
            lambda n=_name, m=_member: file(net(enum(n, m))),
            check=_type_of("Record"),
            verbs=LOADS,
        )

# --- namedtuples ------------------------------------------------------------------------------------

_POINTS = (
    "NewPoint", "InitPoint", "AttributePoint", "MakePoint", "WalkPoint", "ReadPoint", "PosingPoint", "HashPoint",
    "DelPoint", "Fields", "TextFields", "PropertyFields", "Named", "Color", "Slots",
)  # fmt: skip
_TOUCHED = (
    "NewPoint.__new__", "AttributePoint.__getattr__ _fields", "WalkPoint.__iter__", "WalkPoint.__len__",
    "WalkPoint.__getitem__", "Fields.__new__",
)  # fmt: skip
for _name in _POINTS:
    for _where, _make in {
        "value": lambda p: net(p),
        "key": lambda p: net(Mp([(p, 1), ("a", 2)])),
        "element": lambda p: net(Sq("set", [p]), Sq("frozenset", [p, 1])),
        "root": lambda p: p,
        "item": lambda p: {"a": p, "b": [p, p]},
    }.items():
        add(
            f"namedtuple/{_name} as {_where}",
            lambda n=_name, make=_make: file(make(named(f"{KINDS}:{n}"))),
            may_ring=_TOUCHED,
            poke=_name not in _POSING,
        )
for _label, _names in {
    "dunders": ("__class__", "__dict__"),
    "keywords": ("class", "def"),
    "duplicates": ("x", "x"),
    "its own": ("_fields", "_make"),
    "empty": ("", "y"),
    "blank": ("x y", "y"),
    "digits": ("1", "2"),
    "methods": ("count", "index"),
    "controls": ("x\x1b[31m", "y"),
    "surrogates": ("\ud800", "y"),
    "compatibility": ("ﬁ", "fi"),
    "one": ("x",),
    "three": ("x", "y", "z"),
    "swapped": ("y", "x"),
    "long": ("x" * 1_000_000, "y"),
}.items():
    for _cls in (f"{KINDS}:Point", "gone:Point"):
        add(f"namedtuple/names {_label} {slug(_cls)}", lambda c=_cls, n=_names: file(net(named(c, (1, 2), n))))
for _name in (
    "inspect:ArgSpec",
    "inspect:FullArgSpec",
    "collections:namedtuple",
    "urllib.parse:ParseResult",
    "tokenize:TokenInfo",
    "os:stat_result",
    "time:struct_time",
    "sys:float_info",
    "torch:Size",
    "torch.return_types:max",
    "torch.nn.utils.rnn:PackedSequence",
    "torch.nn:Linear",
    "typing:NamedTuple",
    "builtins:tuple",
    "builtins:object",
    "victim.nets:Net",
    "sleeper.nets:Net",
    "victim.kinds:Point.x",
):
    add(
        f"namedtuple/class {slug(_name)}",
        lambda n=_name: file(net(named(n), Mp([(named(n, (3, 4)), 1)]))),
        check=_type_of("Record"),
    )
    if not _name.startswith("sleeper"):
        add(
            f"namedtuple/trusted {slug(_name)}",
            lambda n=_name: file(net(named(n))),
            load={"trust": (_name.split(":")[0],)},
        )

# --- data types as values ---------------------------------------------------------------------------

for _name in (
    "builtins:eval", "builtins:exec", "builtins:compile", "builtins:open", "builtins:type", "builtins:__import__",
    "builtins:getattr", "builtins:memoryview", "builtins:super", "builtins:property", "builtins:classmethod",
    "builtins:BaseException", "builtins:map", "builtins:breakpoint", "builtins:input", "builtins:int.from_bytes",
    "builtins:object.__subclasses__", "builtins:__loader__", "builtins:None", "builtins:NoneType.__class__",
    "collections:abc", "collections:namedtuple", "collections:UserDict", "collections:_sys",
    "collections:Counter.update",
    "numpy:load", "numpy:memmap", "numpy:fromfile", "numpy:frombuffer", "numpy:ndarray.tofile", "numpy:void",
    "numpy:object_", "numpy:dtype", "numpy:ctypeslib", "numpy:vectorize", "numpy:recarray", "numpy:DataSource",
    "numpy.lib:npyio", "numpy.lib.stride_tricks:as_strided", "numpy._core.multiarray:_reconstruct", "numpy:str_.join",
    "builtins", "builtins:", ":int", "builtins:int:", "builtins.int:int", "__builtin__:int", "BUILTINS:int",
):  # fmt: skip
    for _label, _make in {
        "class": lambda n: [klass(n)],
        "function": lambda n: [function(n)],
        "partial": lambda n: net(partial(klass(n), "1+1")),
        "factory": lambda n: [defaultdict(klass(n))],
        "module": lambda n: module(n),
        "object": lambda n: [N("custom", {"class": n, "state": 1})],
    }.items():
        add(
            f"data type/{_label} {slug(_name)}",
            lambda n=_name, make=_make: file(make(n)),
            expect={"load": "TrustError"},
            load={"trust": ("builtins", "collections")} if _label == "class" else {},
            verbs=("inspect", "load", "skeleton"),
        )


def _called(*path: str) -> Any:
    """A check: what a program does with a partial that came back does not reach memory that is not its own."""

    def check(obj: Any) -> list[str]:
        for name in path:
            obj = obj[name] if isinstance(obj, dict) else vars(obj)[name]
        try:
            repr(obj())
        except Exception:
            pass
        return []

    return check


_FORGED = b"\x41" * 64
for _label, _of in {
    "bytes of a terabyte": lambda: partial(klass("builtins:bytes"), 10**12),
    "bytearray of a terabyte": lambda: partial(klass("builtins:bytearray"), 10**12),
    "array of a terabyte": lambda: partial(klass("numpy:ndarray"), (10**12,)),
    "array over nothing": lambda: partial(klass("numpy:ndarray"), (100,), buffer=b"", offset=-(10**6)),
    "array of negative strides": lambda: partial(klass("numpy:ndarray"), (100,), buffer=b"12345678", strides=(-8,)),
    "array of objects from bytes": lambda: partial(klass("numpy:ndarray"), (8,), klass("builtins:object"), _FORGED),
    "array of objects by letter": lambda: partial(klass("numpy:ndarray"), (8,), "O", _FORGED),
    "array of fields of objects": lambda: partial(klass("numpy:ndarray"), (8,), "O,O", buffer=_FORGED * 2),
    "objects": lambda: partial(klass("builtins:object")),
    "range": lambda: partial(klass("builtins:range"), 10**30),
    "list of a range": lambda: partial(klass("builtins:list"), between(0, 10**30)),
    "dates": lambda: partial(klass("numpy:datetime64"), 2**63 - 1, "Y"),
    "text of an array": lambda: partial(klass("numpy:str_"), b"\xff\xfe", "utf-16-surrogate"),
    "deque without an end": lambda: partial(klass("collections:deque"), partial(klass("builtins:int"))),
}.items():
    _seconds = {"list of a range": 20}.get(_label, 5)
    if _label != "list of a range":
        add(
            f"data type/called {_label}",
            lambda of=_of: file({"act": of()}),
            check=_called("act"),
            seconds=_seconds,
            mib=3000,
        )
    add(f"data type/kept {_label}", lambda of=_of: file({"act": of(), "factory": defaultdict(of(), {"a": 1})}))

# --- factories --------------------------------------------------------------------------------------

for _label, _of in {
    "function of a program": lambda: function(f"{NETS}:act"),
    "function not imported": lambda: function("sleeper.nets:Net"),
    "class of a program": lambda: klass(f"{NETS}:Net"),
    "class of a program, acting": lambda: klass(f"{NETS}:Deleting"),
    "method": lambda: N("method", {"self": module(f"{NETS}:Net"), "name": "helper"}),
    "partial of a program": lambda: partial(function(f"{NETS}:act"), 1),
    "partial of eval": lambda: partial(function("builtins:eval"), "1"),
    "custom": lambda: N("custom", {"class": f"{NETS}:Config", "state": 1}),
}.items():
    add(f"factory/{_label}", lambda of=_of: file([defaultdict(of(), {"a": 1})]), expect={"load": "TrustError"})
for _label, _of in {
    "module of a program": lambda: module(f"{NETS}:Net"),
    "module of torch": lambda: module("torch.nn:ReLU"),
    "class of torch": lambda: klass("torch.nn:Identity"),
    "optimizer of torch": lambda: klass("torch.optim:SGD"),
    "function of torch": lambda: function("torch:relu"),
    "record": lambda: plain("gone:X", a=1),
    "object that can be called": lambda: plain(f"{NETS}:Callable"),
    "partial of torch": lambda: partial(function("torch:relu"), 1),
    "partial of a partial's class": lambda: partial(klass("collections:defaultdict"), klass("builtins:list")),
}.items():
    add(f"factory/{_label}", lambda of=_of: file(net(defaultdict(of(), {"a": 1}))), expect={"load": "ok"})
for _label, _of in {
    "number": lambda: 1,
    "text": lambda: "builtins:eval",
    "list": list,
    "tensor": lambda: T(),
    "defaultdict": lambda: defaultdict(),
    "dtype": lambda: N("torch.dtype", {"name": "float32"}),
    "enum": lambda: enum(f"{KINDS}:Color", "RED"),
    "optimizer": lambda: optimizer(),
    "generator": lambda: generator(b""),
}.items():
    add(f"factory/no {_label}", lambda of=_of: file([defaultdict(of())]), expect=dict.fromkeys(LOADS, "FormatError"))


def _itself() -> N:
    made = defaultdict()
    made.fields["factory"] = partial(klass("collections:defaultdict"), made, {"a": made})
    made.fields["items"]["a"] = made
    return made


add("factory/partial of itself", lambda: file([_itself()]))

# --- deques, ranges, slices, namespaces -------------------------------------------------------------

for _maxlen in (0, 1, 2**31, 2**62, 2**63 - 1, 2**63, 10**30, -1, True, "3", 2.0, (3,)):
    _label = slug(repr(_maxlen))
    add(f"deque/maxlen {_label}", lambda m=_maxlen: file([deque((1, 2), m)]), mib=100)
    add(f"deque/maxlen of none {_label}", lambda m=_maxlen: file([deque((), m)]), mib=100)
for _label, _of in {
    "10**30": lambda: between(0, 10**30),
    "downwards": lambda: between(10**30, -(10**30), -1),
    "no step": lambda: between(0, 1, 0),
    "no step and long numbers": lambda: between(2**500_000, 1, 0),
    "long numbers": lambda: between(-(2**524_287), 2**524_287, 1),
    "long numbers and steps": lambda: between(0, 2**524_287, 2**262_143 + 1),
    "bools": lambda: part(True, 2, 1, "range"),
    "floats": lambda: part(0.0, 2, 1, "range"),
    "texts": lambda: part("0", 2, 1, "range"),
}.items():
    add(f"range/{_label}", lambda of=_of: file([of(), Mp([(of(), 1)])]), seconds=2, mib=200)
add(
    "range/many with long steps",
    lambda: file([between(0, 2**524_287 - i, 2**262_143 + 1) for i in range(40)]),
    seconds=2,
)
for _label, _of in {
    "dunder": lambda: {"__class__": 1},
    "dict": lambda: {"__dict__": {}},
    "method": lambda: {"_get_kwargs": partial(function("torch:relu"))},
    "no name": lambda: {"": 1, "\0": 2, "\x1b[31m": 3, "\ud800": 4},
    "no text": lambda: Mp([(1, 2)]),
    "twice": lambda: Mp([("a", 1), ("a", 2)]),
    "module": lambda: {"_get_args": module(), "most_common": module(), "update": module()},
}.items():
    for _kind in ("Namespace", "SimpleNamespace", "Counter"):
        _fields = (lambda of=_of: {"items": {}, "attributes": of()}) if _kind == "Counter" else None
        add(
            f"namespace/{_kind} {_label}",
            lambda k=_kind, of=_of, f=_fields: file([N(k, f() if f else {"attributes": of()})]),
        )
add(
    "namespace/Counter of what can't be counted",
    lambda: file([N("Counter", {"items": {"a": "b", "c": [], "d": None}})]),
)

# --- numbers, times, paths, identifiers -------------------------------------------------------------

for _text in (
    "1E+999999999999999999", "1E-999999999999999999", "1E+1000000000000000000", "9.9E+999999999999999999", "sNaN",
    "-sNaN123",
    "NaN" + "1" * 1_000_000, "Infinity", "inf", " 1", "1_0", "٣", "0x10", "1e5", "", "-", "1\0", "--1", "\ud800",
    "1" * 20_000_000, "0." + "0" * 1_000_000 + "1", "0E+1000000", "1\n",
):  # fmt: skip
    add(f"decimal/{slug(_text[:24])}", lambda t=_text: file([decimal(t), Mp([(decimal(t), 1)])]), seconds=3)
for _numerator, _denominator in (
    (1, 0), (0, 0), (2, 4), (1, -2), (0, 5), (1, P), (P, 1), (2**16_383, 3**10_000), (2**16_385, 1), (1, 2**500_000),
    (2**524_287 - 1, 2**524_287), (True, 1),
):  # fmt: skip
    add(
        f"fraction/{slug(f'{_numerator % 10**9}_{_denominator % 10**9}')}",
        lambda n=_numerator, d=_denominator: file([fraction(n, d), Mp([(fraction(n, d), 1)])]),
        seconds=2,
    )
for _label, _of in {
    "year 0": lambda: N("date", {"year": 0, "month": 1, "day": 1}),
    "year 10000": lambda: N("date", {"year": 10_000, "month": 1, "day": 1}),
    "29 February": lambda: N("date", {"year": 2023, "month": 2, "day": 29}),
    "long year": lambda: N("date", {"year": 2**500_000, "month": 1, "day": 1}),
    "year as bytes": lambda: N("date", {"year": b"\x07\xe8\x01\x01", "month": 1, "day": 1}),
    "bool": lambda: N("date", {"year": True, "month": True, "day": True}),
    "hour 24": lambda: moment(2024, 1, 1, 24, 0, 0, 0, 0),
    "fold 2": lambda: moment(2024, 1, 1, 0, 0, 0, 0, 2),
    "long microsecond": lambda: moment(2024, 1, 1, 0, 0, 0, 10**400, 0),
    "zone of text": lambda: moment(2024, 1, 1, 0, 0, 0, 0, 0, timezone="UTC"),
    "zone of a record": lambda: moment(2024, 1, 1, 0, 0, 0, 0, 0, timezone=plain("gone:tzinfo")),
    "first moment far east": lambda: moment(1, 1, 1, 0, 0, 0, 0, 0, timezone=zone(delta(0, 86_340))),
    "last moment far west": lambda: moment(9999, 12, 31, 23, 59, 59, 999_999, 1, timezone=zone(delta(-1, 60))),
    "timedelta too long": lambda: delta(10**9),
    "timedelta far too long": lambda: delta(10**300),
    "timedelta of long seconds": lambda: delta(0, 2**500_000),
    "timedelta of other days": lambda: delta(0, 86_400),
    "timedelta of negative seconds": lambda: delta(0, -1),
    "timezone of a day": lambda: zone(delta(1)),
    "timezone of a year": lambda: zone(delta(-365)),
    "timezone of microseconds": lambda: zone(delta(0, 1, 1)),
    "timezone of controls": lambda: zone(delta(0), "\x1b[31m\0\ud800"),
    "timezone of long text": lambda: zone(delta(0), "x" * 5_000_000),
    "timezone of a timezone": lambda: zone(zone(delta(0))),
    "timezone of a number": lambda: N("timezone", {"offset": 3600}),
}.items():
    add(f"time/{_label}", lambda of=_of: file([of(), Mp([(of(), 1)])]), seconds=2)
for _text in (
    "/etc/passwd", "../../etc/passwd", "~/.ssh/id_rsa", "/dev/zero", "/proc/self/mem", "a\0b", "\0", "", ".", "..",
    "//server/share",
    "///x", "a//b", "a/./b", "a/", "C:", "C:\\", "C:x", "\\\\server\\share\\x", "\\\\?\\C:\\x", "\\\\.\\COM1",
    "NUL", "a:b", "\ud800",
    "\x1b[31m", "file:///etc/passwd", "x" * 1_000_000, "a/" * 200_000 + "a",
):  # fmt: skip
    for _flavour in ("posix", "windows"):
        add(
            f"path/{_flavour} {slug(_text[:24])}",
            lambda t=_text, f=_flavour: file([path(t, f), path(t, f, pure=True), Mp([(path(t, f), 1)])]),
            seconds=3,
        )
for _flavour in ("", "PurePath", "Posix", "__class__", "builtins:open", "cloud", "\0"):
    add(f"path/flavour {slug(_flavour)}", lambda f=_flavour: file([path("a", f)]), expect=REFUSED)
_HEX = "0123456789abcdef" * 2
for _label, _text in {
    "upper case": _HEX.upper(),
    "hyphens": "-".join((_HEX[:8], _HEX[8:12], _HEX[12:16], _HEX[16:20], _HEX[20:])),
    "braces": f"{{{_HEX}}}",
    "urn": f"urn:uuid:{_HEX}",
    "prefix": "0x" + _HEX[2:],
    "sign": "+" + _HEX[1:],
    "blank": " " + _HEX[1:],
    "underscore": _HEX[:15] + "_" + _HEX[16:],
    "other digits": "٣" * 32,
    "short": _HEX[1:],
    "long": _HEX * 1_000_000,
    "no digits": "g" * 32,
    "NUL": _HEX[:31] + "\0",
    "empty": "",
}.items():
    add(f"uuid/{_label}", lambda t=_text: file([uuid(t)]), expect=REFUSED, seconds=2)
for _safe in ("unknown", "safe ", "__class__", "mro", "name", "SAFE", "0"):
    add(f"uuid/safe {slug(_safe)}", lambda s=_safe: file([uuid(_HEX, safe=s)]), expect=REFUSED)

# --- keys -------------------------------------------------------------------------------------------

_ALIKE = {
    "integers": lambda i: 1 + i * P,
    "decimals": lambda i: decimal(str(1 + i * P)),
    "decimals of many exponents": lambda i: decimal(f"1E+{60 * (i + 1)}") if i else decimal("1"),
    "fractions": lambda i: fraction(1 + i * P),
    "fractions over P": lambda i: fraction(1 + i, P) if (1 + i) % P else fraction(1),
    "uuids": lambda i: uuid(f"{1 + i * P:032x}"),
    "ranges": lambda i: between(0, 1 + i * P, 1 + i * P),
    "tuples of decimals": lambda i: (decimal(str(1 + i * P)),),
    "namedtuples": lambda i: named(f"{KINDS}:Point", (decimal(str(1 + i * P)), 1)),
    "floats of numpy": lambda i: scalar("<f8", struct.pack("<d", float("nan"))),
    "durations of numpy": lambda i: scalar("<m8[Y]", struct.pack("<q", i << 40)),
    "dates of numpy": lambda i: scalar("<M8[s]", struct.pack("<q", i << 33)),
    "texts of numpy": lambda i: scalar("U", b"%d" % i),
    "timezones": lambda i: zone(delta(0, 60), str(i)),
    "dates": lambda i: N("date", {"year": 1 + i % 9000, "month": 1 + i // 9000 % 12, "day": 1}),
    "members": lambda i: enum(f"{KINDS}:Color", "RED" if i % 2 else "ALSO_RED"),
    "records": lambda i: named("gone:Point", (i, 1)),
    "paths": lambda i: path(f"{i}", pure=True),
}
for _label, _key in _ALIKE.items():
    add(
        f"keys/{_label}, many",
        lambda k=_key: file(net(Mp([(k(i), None) for i in range(20_000)]))),
        poke=False,
        seconds=4,
        verbs=LOADS,
    )
    add(f"keys/{_label}, at the limit", lambda k=_key: file(net(Mp([(k(i), None) for i in range(64)]))), seconds=2)
    add(f"keys/{_label}, in a set", lambda k=_key: file(net(Sq("set", [k(i) for i in range(66)]))), seconds=2)
_ONES = {
    "int": lambda: 1,
    "float": lambda: 1.0,
    "bool": lambda: True,
    "complex": lambda: 1 + 0j,
    "Decimal": lambda: decimal("1"),
    "Decimal with a tail": lambda: decimal("1.00"),
    "Fraction": lambda: fraction(1),
    "int64": lambda: scalar("<i8", struct.pack("<q", 1)),
    "float16": lambda: scalar("<f2", struct.pack("<e", 1)),
    "complex64": lambda: scalar("<c8", struct.pack("<ff", 1, 0)),
    "bool of numpy": lambda: scalar("|b1", b"\1"),
    "duration of numpy": lambda: scalar("<m8", struct.pack("<q", 1)),
    "IntEnum": lambda: enum(f"{KINDS}:Level", "LOW"),
    "IntFlag": lambda: enum(f"{KINDS}:Wide", "LOW"),
}
for _one in _ONES:
    for _other in _ONES:
        if _one < _other:
            add(
                f"keys/{_one} and {_other}",
                lambda a=_one, b=_other: file(net(Mp([(_ONES[a](), 1), (_ONES[b](), 2)]))),
                verbs=LOADS,
            )
for _label, _pair in {
    "text and text of numpy": lambda: ["a", scalar("U", b"a")],
    "bytes and bytes of numpy": lambda: [b"a", scalar("S", b"a")],
    "paths of two sorts": lambda: [path("a"), path("a", pure=True)],
    "paths of Windows": lambda: [path("a", "windows"), path("A", "windows")],
    "zones by name": lambda: [zone(delta(0, 60)), zone(delta(0, 60), "x")],
    "tuple and namedtuple": lambda: [(1, 2), named(f"{KINDS}:Point", (1, 2))],
    "Size and tuple": lambda: [(1, 2), N("torch.Size", {"dims": (1, 2)})],
    "empty ranges": lambda: [between(0, 0), between(5, 5, 7)],
    "aliases": lambda: [enum(f"{KINDS}:Color", "RED"), enum(f"{KINDS}:Color", "ALSO_RED")],
    "moments": lambda: [
        moment(2024, 1, 1, 1, 0, 0, 0, 0, timezone=zone(delta(0, 3600))),
        moment(2024, 1, 1, 0, 0, 0, 0, 0, timezone=zone(delta(0))),
    ],
}.items():
    for _kind in ("map", "set"):
        add(
            f"keys/twice {_label} in a {_kind}",
            lambda p=_pair, k=_kind: file(net(Mp([(one, 1) for one in p()]) if k == "map" else Sq("set", p()))),
            expect=REFUSED,
        )
for _label, _key in {
    "slice": lambda: part(1),
    "defaultdict": lambda: defaultdict(),
    "deque": lambda: deque(),
    "namespace": lambda: spread("SimpleNamespace"),
    "array": lambda: array("<f4"),
    "generator": lambda: generator(b""),
    "class": lambda: klass("builtins:int"),
    "namedtuple of a list": lambda: named("gone:X", ([], 1)),
    "namedtuple of a slice": lambda: named("gone:X", (part(1), 1)),
    "signalling NaN": lambda: decimal("sNaN"),
}.items():
    add(f"keys/no {_label}", lambda k=_key: file([Mp([(k(), 1)])]), expect=dict.fromkeys(LOADS, "FormatError"))


def _slow_to_hash(of: Any, count: int, maps: int = 1) -> bytes:
    one = of()
    key = tuple(one for _ in range(count))
    return file([Mp([(key, i)]) for i in range(maps)])


for _label, _of in {
    "ranges of long numbers": lambda: between(0, 2**524_287, 2**262_143 + 1),
    "decimals of many digits": lambda: decimal("1" * 5_000_000),
    "fractions of many bits": lambda: fraction(2**16_383, 3**10_000),
}.items():
    add(f"keys/slow {_label}", lambda of=_of: _slow_to_hash(of, 990), seconds=2, poke=False, verbs=LOADS)
for _label, _of in {
    "fractions": lambda: fraction(1, 3),
    "long fractions": lambda: fraction(2**16_383, 3**10_000),
    "decimals": lambda: decimal("1.5"),
    "long decimals": lambda: decimal("1" * 16_000),
    "uuids": lambda: uuid(_HEX),
    "members": lambda: enum("gone:X", "RED"),
    "paths": lambda: path("a/b", pure=True),
    "ranges": lambda: between(0, 10),
    "moments": lambda: moment(2024, 1, 1, 0, 0, 0, 0, 0, timezone=zone(delta(0, 60))),
    "scalars": lambda: scalar("<f8", b"\1" * 8),
    "dtypes": lambda: dtype_of("<f4"),
}.items():
    add(
        f"keys/slow in many maps {_label}",
        lambda of=_of: _slow_to_hash(of, 990, 2_000),
        seconds=4,
        poke=False,
        verbs=LOADS,
    )


def _slow_to_compare() -> bytes:
    long = 2**524_287 - 1
    return file([Mp([(long, 0), *((decimal(str(long % P + i * P)), 1) for i in range(60))])])


add("keys/slow to compare", _slow_to_compare, seconds=1, poke=False, verbs=LOADS)

# --- numpy ------------------------------------------------------------------------------------------

for _text in (
    "O", "|O", "|O8", "O8", "V", "|V8", "V100000000", "|V0", "i4,f4", "f4,(2,)f4", "(2,)f4", "<U0", "<U999999",
    "<U9999999",
    "<U536870912", "|S0", "|S999999", "|S2147483647", "S", "U", "a5", "<M8[0s]", "<M8[s]", "<M8[1s]", "<M8[-1s]",
    "<M8[999999Y]",
    "<M8[1/2s]", "<M8[generic]", "<M8[B]", "<M8", "<m8[as]", "M8[", "\0", "<f4\0", "<f4\n", "f4", "=f4", "float32",
    "float",
    "object", "int", "?", "<f16", "<g", ">U3", ">M8[s]", "|b1", ">b1", "|i1", "<i1", "<f4 ", "", "__class__",
    "numpy:load",
    "[('a','O')]", "{'names':['a'],'formats':['O']}", "<U٣", "os.system", "x" * 1_000_000,
):  # fmt: skip
    _label = slug(_text[:30])
    add(f"numpy dtype/name {_label}", lambda t=_text: file([dtype_of(t), Mp([(dtype_of(t), 1)])]), mib=100)
    add(
        f"numpy dtype/arrays {_label}",
        lambda t=_text: file(
            [
                array(t, T(S("a", "uint8", (2, 8)))),
                array(t, T(S("b", "uint8", (0, 8)))),
                array(t, T(S("c", "float32", (3,)))),
            ]
        ),
        mib=100,
    )
    add(f"numpy dtype/scalar {_label}", lambda t=_text: file([scalar(t, b"\1" * 8), Mp([(scalar(t, b"\2" * 8), 1)])]))
_F4 = ("float32", "<f4")
for _label, _of in {
    "other dtype": lambda: array("<f4", T(S("t", "int32"))),
    "other size": lambda: array("<f8", T(S("t", "float32"))),
    "parameter": lambda: array("<f4", T(flags=3)),
    "requires_grad": lambda: array("<f4", T(flags=2)),
    "parameter without": lambda: array("<f4", T(flags=1)),
    "conjugate": lambda: array("<c8", T(S("t", "complex64"), lazy=1)),
    "negative": lambda: array("<f4", T(lazy=2)),
    "both": lambda: array("<c8", T(S("t", "complex64"), lazy=3)),
    "attributes": lambda: array("<f4", T(attributes={"a": 1})),
    "attributes of itself": lambda: (lambda t: (setattr(t, "attributes", {"a": array("<f4", t)}), array("<f4", t))[1])(
        T()
    ),
    "zero size": lambda: array("<f4", T(S("t", "float32", (0, 3)))),
    "rank 64": lambda: array("<f4", T(S("t", "float32", (1,) * 64))),
    "rank 64 of texts": lambda: array("<U1", T(S("t", "uint8", (1,) * 63 + (4,)))),
    "zero dimensions of texts": lambda: array("<U1", T(S("t", "uint8", (4,)))),
    "no dimensions of texts": lambda: array("<U1", T(S("t", "uint8", ()))),
    "texts cut": lambda: array("<U1", T(S("t", "uint8", (3, 3)))),
    "texts across": lambda: array("<U1", T(S("t", "uint8", (4, 4)), ("uint8", (4, 4), (1, 4), 0))),
    "texts with steps": lambda: array("<U1", T(S("t", "uint8", (32,)), ("uint8", (2, 4), (8, 2), 0))),
    "texts overlapping": lambda: array("<U1", T(S("t", "uint8", (16,)), ("uint8", (12, 4), (1, 1), 1))),
    "texts repeated": lambda: array("<U1", T(S("t", "uint8", (4,)), ("uint8", (5, 4), (0, 1), 0))),
    "texts of floats": lambda: array("<U1", T(S("t", "float32", (1, 4)))),
    "dates overlapping": lambda: array("<M8[s]", T(S("t", "uint8", (16,)), ("uint8", (8, 8), (1, 1), 1))),
    "floats overlapping": lambda: array("<f4", T(S("t", "float32", (16,)), ("float32", (12, 4), (1, 1), 1))),
    "not writeable, shared": lambda: (lambda t: [array("<f4", t, writeable=False), array("<f4", t), t])(T()),
    "as a parameter": lambda: module(parameters={"weight": array("<f4")}),
    "as a buffer": lambda: module(buffers={"weight": array("<f4")}),
    "bfloat16": lambda: array("<f2", T(S("t", "bfloat16"))),
    "float8": lambda: array("|u1", T(S("t", "float8_e5m2"))),
    "float4": lambda: array("|u1", T(S("t", "float4_e2m1fn_x2"))),
}.items():
    add(f"array/{_label}", lambda of=_of: file([of()]), mib=100)
for _text in ("<f4", "<U1", "<M8[s]", "|S1", ">f4", "|b1"):
    _of = {"<f4": "float32", "|b1": "bool"}.get(_text, "uint8")
    _size = {"<U1": (4,), "<M8[s]": (8,), "|S1": (1,), ">f4": (4,)}.get(_text, ())
    add(
        f"array/2**46 elements of {slug(_text)}",
        lambda t=_text, of=_of, s=_size: file(
            [array(t, T(S("t", of, s or (1,)), (of, (2**44, *s), (0, *(1 for _ in s)), 0)))]
        ),
        seconds=2,
    )
add(
    "array/texts of no character",
    lambda: file([array("<U2", T(S("t", "uint8", (3, 8))))], data={0: b"\xff\xff\xff\xff" * 6}),
    expect=REFUSED,
)
add(
    "array/texts of no character, swapped",
    lambda: file([array(">U2", T(S("t", "uint8", (3, 8))))], data={0: b"\0\x11\0\0" * 6}),
    expect=REFUSED,
)
add(
    "array/texts of surrogates",
    lambda: file([array("<U2", T(S("t", "uint8", (3, 8))))], data={0: b"\0\xd8\0\0" * 6}),
)
add("array/bools of any byte", lambda: file([array("|b1", T(S("t", "bool", (256,))))], data={0: bytes(range(256))}))
add(
    "array/bools of any byte, as texts",
    lambda: (lambda s: file([array("|b1", T(s, ("bool", (256,), (1,), 0))), T(s)], data={0: bytes(range(256))}))(
        S("t", "uint8", (16, 16))
    ),
)
for _text in ("|b1", "<i8", "<f2", "<c16", "<M8[s]", "<m8", "<U1", "|S1", ">f4", "U", "S"):
    for _count in (0, 1, 7, 8, 9, 16, 1_000_000):
        add(f"scalar/{slug(_text)} of {_count}", lambda t=_text, n=_count: file([scalar(t, b"\xff" * n)]), verbs=LOADS)

# --- generators -------------------------------------------------------------------------------------


def _mersenne(left: int, after: int, seeded: int = 1, *, normal: int = 0) -> bytes:
    """The state of a generator on the CPU, which has as many numbers left as it says."""
    numbers = random.Random(0)
    state = struct.pack("<QiiQ", 5, left, seeded, after) + struct.pack(
        "<624Q", *(numbers.getrandbits(32) for _ in range(624))
    )
    return (state + struct.pack("<dddi4xfi", 0, float("nan"), 0, normal, float("inf"), normal)).ljust(5056, b"\0")


for _count in (0, 1, 8, 15, 16, 17, 24, 5032, 5040, 5047, 5048, 5049, 5055, 5056, 5057, 5064, 100_000):
    add(f"generator/zeros {_count}", lambda n=_count: file([generator(bytes(n))]))
    add(f"generator/random {_count}", lambda n=_count: file([generator(random.Random(n).randbytes(n))]))
for _left, _after in (
    (1, 0), (624, 1), (1, 624), (0, 0), (-1, 0), (625, 0), (2**31 - 1, 0), (624, 625), (624, 2**32), (624,
    2**32 + 600), (624, 2**64 - 1),
    (624, 624), (624, 600), (300, 600), (2, 624), (1, 1), (623, 1),
):  # fmt: skip
    _fair = _left + _after % 2**32 <= 625 and _left > 0  # else what is drawn lies behind the numbers in memory
    add(
        f"generator/{_left} left after {_after}",
        lambda left=_left, after=_after: file([generator(_mersenne(left, after, normal=3))]),
        expect={} if _fair else REFUSED,
    )
add("generator/not seeded", lambda: file([generator(_mersenne(624, 1, 0))]), expect=REFUSED)
for _device in (
    "cuda:999", "cuda", "cuda:-1", "meta", "mps", "xpu", "hpu", "privateuseone", "vulkan", "xla", "lazy", "ipu",
    "cpu:0",
    "cpu:7", "cpu:-1", "", "cpu\0", "nonsense", "CPU", "cuda:99999999999999999999", "file:///etc/passwd", "\ud800",
    "\x1b[31m", "x" * 1_000_000,
):  # fmt: skip
    add(f"generator/device {slug(_device[:24])}", lambda d=_device: file([generator(_mersenne(1, 0), d)]))
for _kind in ("torch.memory_format", "torch.layout"):
    for _name in (
        "load",
        "hub",
        "float32",
        "__builtins__",
        "channels_last",
        "strided",
        "",
        "nn.Linear",
        "\ud800",
        "_C",
    ):
        add(f"torch value/{_kind} {slug(_name)}", lambda k=_kind, n=_name: file([N(k, {"name": n})]))

# --- slots ------------------------------------------------------------------------------------------

for _name in ("Slots", "SlotsBelow", "SlotsAgain", "SlotsWeak", "SlotsDel", "SlotsState", "SlotsSet"):
    for _label, _of in {
        "data": lambda: {"a": 1, "b": [2]},
        "callables": lambda: {"a": partial(function("torch:relu")), "run": module(), "b": klass("builtins:int")},
        "method": lambda: {"method": partial(function("torch:relu"))},
        "property": lambda: {"prop": partial(function("torch:relu"))},
        "property of data": lambda: {"prop": 5},
        "mangled": lambda: {"_Slots__private": 1, "__private": 2},
        "unknown": lambda: {"zzz": 1},
        "dict": lambda: {"__dict__": {"a": 1}},
        "class": lambda: {"__class__": klass("builtins:int")},
        "weak": lambda: {"__weakref__": None},
        "slots": lambda: {"__slots__": ("a",)},
        "none": dict,
    }.items():
        add(
            f"slots/{_name} {_label}",
            lambda n=_name, of=_of: file(net(plain(f"{KINDS}:{n}", **of()))),
            verbs=LOADS,
            poke=_name != "SlotsBelow",
        )
for _name, _back in (("SlotsRead", "SlotsRead"), ("ReadConfig", "ReadConfig"), ("PosingConfig", "Record")):
    for _label, _hold in {
        "value": lambda c: net(c),
        "items": lambda c: net(
            c, [c], {"a": c}, (c,), deque((c,)), defaultdict(None, {"a": c}), spread("Namespace", a=c)
        ),
        "object": lambda c: net(c, plain(f"{KINDS}:Slots", a=c), named(f"{KINDS}:Point", (c, c))),
        "attribute of torch's": lambda c: net(c, module(attributes={"in_features": c, "_all_weights": [c]})),
    }.items():
        add(
            f"slots/{_name} as {_label}",
            lambda n=_name, hold=_hold: file(hold(plain(f"{KINDS}:{n}", a=1))),
            check=_type_of(_back),
            poke=False,
        )

# --- depth, cycles, sharing -------------------------------------------------------------------------

_NEST: dict[str, Any] = {
    "slices": lambda x: part(x),
    "slices by step": lambda x: part(None, None, x),
    "namedtuples": lambda x: named("gone:P", (x,), ("x",)),
    "namedtuples of a program": lambda x: named(f"{KINDS}:Point", (x, 1)),
    "deques": lambda x: deque((x,)),
    "bounded deques": lambda x: deque((x,), 1),
    "defaultdicts": lambda x: defaultdict(None, {"a": x}),
    "factories": lambda x: defaultdict(partial(klass("builtins:dict"), x)),
    "Counters": lambda x: N("Counter", {"items": {"a": x}}),
    "Namespaces": lambda x: spread("Namespace", a=x),
    "SimpleNamespaces": lambda x: spread("SimpleNamespace", a=x),
    "slots": lambda x: plain(f"{KINDS}:Slots", a=x),
}
for _label, _wrap in _NEST.items():
    add(
        f"nested/{_label}, ten thousand",
        lambda w=_wrap: file(net([chain(10_000, w, None)])),
        seconds=4,
        mib=800,
        verbs=UNTOLD,
    )
    if _label in ("slices", "deques", "defaultdicts"):  # freed by their type in C, one inside the other
        add(
            f"nested/{_label}, many",
            lambda w=_wrap: file([chain(300_000, w, None)]),
            seconds=15,
            mib=2500,
            poke=False,
            verbs=("load",),
        )
    add(
        f"nested/{_label}, twice each", lambda w=_wrap: file([chain(60, lambda x: w((x, x)), 1)]), poke=False, seconds=2
    )
add(
    "nested/key of namedtuples",
    lambda: file(Mp([(chain(100_000, lambda x: named("gone:P", (x,), ("x",)), 1), 1)])),
    seconds=8,
    verbs=LOADS,
    expect={"load": "FormatError"},
)
add(
    "nested/key of namedtuples, twice each",
    lambda: file(Mp([(chain(60, lambda x: named("gone:P", (x, x)), 1), 1)])),
    expect={"load": "FormatError"},
)
for _label, _wrap in _NEST.items():

    def _cycle(wrap: Any = _wrap) -> bytes:
        ring: list[Any] = []
        ring.append(wrap(ring))
        return file(ring)

    add(f"cycle/{_label}", _cycle)


def _ring(make: Any, place: Any) -> Any:
    def ring() -> bytes:
        made = make()
        place(made)
        return file([made])

    return ring


for _label, _make, _place in (
    ("slice", lambda: part(), lambda m: m.fields.update(start=m)),
    ("namedtuple", lambda: named("gone:P", ()), lambda m: m.fields.update(items=(m, 1))),
    ("deque", lambda: deque(), lambda m: m.fields.update(items=(m,))),
    ("bounded deque", lambda: deque((), 1), lambda m: m.fields.update(items=(m, m))),
    ("defaultdict", lambda: defaultdict(), lambda m: m.fields["items"].update(a=m)),
    ("factory", lambda: defaultdict(), lambda m: m.fields.update(factory=partial(klass("builtins:list"), m))),
    ("factory of a module", lambda: defaultdict(), lambda m: m.fields.update(factory=module(attributes={"a": m}))),
    ("timezone", lambda: zone(delta()), lambda m: m.fields.update(offset=m)),
    ("datetime", lambda: moment(2024, 1, 1, 0, 0, 0, 0, 0), lambda m: m.fields.update(timezone=m)),
    ("Counter", lambda: N("Counter", {"items": {}}), lambda m: m.fields["items"].update(a=m)),
    ("SimpleNamespace", lambda: spread("SimpleNamespace"), lambda m: m.fields["attributes"].update(a=m)),
    ("slots", lambda: plain("gone:X"), lambda m: m.fields["attributes"].update(a=m)),
    ("slice in a tuple", lambda: part(), lambda m: m.fields.update(start=(m,))),
    ("slice in a namedtuple", lambda: part(), lambda m: m.fields.update(start=named("gone:P", (m, 1)))),
):
    add(f"cycle/itself {_label}", _ring(_make, _place))


def _shared(kind: str) -> bytes:
    long = tuple(range(6_000))
    held = {f"k{i}": i for i in range(6_000)}
    each = {
        "deque": lambda: deque(long),
        "namedtuple": lambda: named("gone:P", long, ("x",)),
        "defaultdict": lambda: defaultdict(None, held),
        "Counter": lambda: N("Counter", {"items": held}),
        "Namespace": lambda: N("Namespace", {"attributes": held}),
        "enum": lambda: N("enum", {"class": "gone:E", "members": tuple(held)}),
        "names": lambda: N("namedtuple", {"class": "gone:P", "names": tuple(held), "items": (1,)}),
    }[kind]
    first = each()
    return file([N(first.kind, dict(first.fields)) for _ in range(6_000)])


for _kind in ("deque", "namedtuple", "defaultdict", "Counter", "Namespace", "enum", "names"):
    add(f"shared/{_kind}", lambda k=_kind: _shared(k), seconds=5, poke=False)


# --- distributions of torch: what their state holds in the place of numbers ------------------------------

for _name in [
    "Normal",
    "Categorical",
    "Independent",
    "MixtureSameFamily",
    "TransformedDistribution",
    "ExpTransform",
    "ComposeTransform",
]:
    for _label, _held in {
        "partial": lambda: partial(function("torch.nn.functional:relu")),
        "module": lambda: module(f"{NETS}:Net", parameters={"weight": parameter()}),
        "object": lambda: plain("gone:X"),
        "text": lambda: "x",
    }.items():
        for _fields in (
            ("loc", "scale", "_batch_shape"),
            ("base_dist", "transforms", "_inv", "parts"),
            (
                "_mixture_distribution",
                "_component_distribution",
                "_param",
                "probs",
                "arg_constraints",
                "_validate_args",
            ),
        ):
            add(
                f"distribution/{_name} {_fields[0]} {_label}",
                lambda n=_name, h=_held, f=_fields: file([plain(f"torch.distributions:{n}", **{k: h() for k in f})]),
            )
    add(
        f"distribution/{_name} hiding",
        lambda n=_name: file([plain(f"torch.distributions:{n}", sample=klass("builtins:list"), __call__=1)]),
        expect=REFUSED,
    )
