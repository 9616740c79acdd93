"""Headers and texts that two readers could read in two ways, or that are made to be slow."""

from __future__ import annotations

from typing import Any

from case import Cases
from forge import N, S, T, doc, file, module, native, safetensors

from torchkeep.document import Finding

CASES = Cases()
add = CASES.add

# --- the Document's text ---

_DEEP = "[" * 100_000 + "]" * 100_000
for _label, _edit in {
    "blank": lambda t: t + " ",
    "blank inside": lambda t: t.replace('"root":', '"root": '),
    "BOM": lambda t: "\ufeff" + t,
    "NUL": lambda t: t + "\0",
    "nothing": lambda t: "",
    "null": lambda t: "null",
    "a number": lambda t: "5",
    "a list": lambda t: "[]",
    "an empty object": lambda t: "{}",
    "cut": lambda t: t[:-1],
    "twice": lambda t: t + t,
    "a key twice": lambda t: t.replace('"version":"0.1"', '"version":"0.1","version":"0.1"'),
    "an unknown key": lambda t: t.replace('"version":"0.1"', '"version":"0.1","trust":["os"]'),
    "keys in another order": lambda t: "{" + t[1:-1].partition(",")[2] + ',"version":"0.1"}',
    "an escape": lambda t: t.replace('"version"', '"\\u0076ersion"'),
    "a newer version": lambda t: t.replace('"version":"0.1"', '"version":"9.9"'),
    "an older version": lambda t: t.replace('"version":"0.1"', '"version":"0.0"'),
    "a version with escapes": lambda t: t.replace('"version":"0.1"', '"version":"\\u001b[31m"'),
    "a long version": lambda t: t.replace('"version":"0.1"', '"version":"' + "9" * 3_000_000 + '"'),
    "a numeric version": lambda t: t.replace('"version":"0.1"', '"version":0.1'),
    "deep": lambda t: t.replace('"root":["r",0]', f'"root":{_DEEP}'),
    "deep environment": lambda t: t.replace('"environment":{}', f'"environment":{_DEEP}'),
    "deep unknown": lambda t: t.replace('"version":"0.1"', f'"version":"0.1","x":{_DEEP}'),
    "float index": lambda t: t.replace('["r",0]', '["r",0.0]'),
    "exponent index": lambda t: t.replace('["r",0]', '["r",0e0]'),
    "minus zero index": lambda t: t.replace('["r",0]', '["r",-0]'),
    "true index": lambda t: t.replace('["r",0]', '["r",false]'),
    "unknown tag": lambda t: t.replace('["r",0]', '["x",0]'),
    "more after a tag": lambda t: t.replace('["r",0]', '["r",0,0]'),
    "nothing after a tag": lambda t: t.replace('["r",0]', '["r"]'),
    "unknown node": lambda t: t.replace('"seq"', '"call"'),
    "unknown sequence": lambda t: t.replace('"list"', '"deque"'),
}.items():
    add(
        f"text/{_label}",
        lambda e=_edit: file([1, 2], edit=e),
        expect={"load": "FormatError", "inspect": "FormatError", "into": "FormatError"},
    )

_VALUES = {
    "int as hex": '["i","0x1"]',
    "int with zeros": '["i","0x0020000000000000000"]',
    "int decimal": '["i","20000000000000000000"]',
    "int with underscores": '["i","0x2000_0000_0000_0000_0"]',
    "int upper": '["i","0xFFFFFFFFFFFFFFFFFF"]',
    "int blank": '["i"," 0xffffffffffffffffff"]',
    "int bare": '["i","ffffffffffffffffff"]',
    "int empty": '["i",""]',
    "int long": '["i","0x' + "f" * 200_000 + '"]',
    "int huge inline": "9" * 30,
    "int endless inline": "9" * 100_000,
    "int exponent": "1e5",
    "float inline": "1.5",
    "float one": '["f","1"]',
    "float underscore": '["f","1_0.0"]',
    "float blank": '["f"," 1.0"]',
    "float plus": '["f","+1.0"]',
    "float infinity": '["f","Infinity"]',
    "float NaN": '["f","NaN"]',
    "float -nan": '["f","-nan"]',
    "float nan:": '["f","nan:"]',
    "float nan of a number": '["f","nan:3ff0000000000000"]',
    "float nan short": '["f","nan:7ff8"]',
    "float nan long": '["f","nan:7ff80000000000010000"]',
    "float nan upper": '["f","nan:7FF8000000000001"]',
    "float nan blank": '["f","nan:7ff800000000 001"]',
    "float nan plain": '["f","nan:7ff8000000000000"]',
    "float overflow": '["f","1e999"]',
    "float digits": '["f","0.1000000000000000055511151231257827"]',
    "float a million digits": '["f","' + "1" * 1_000_000 + '.0"]',
    "float arabic": '["f","\u0661.0"]',
    "complex": '["c","1.0"]',
    "complex text": '["c","1.0","1"]',
    "bytes unpadded": '["b","YQ"]',
    "bytes padded wrongly": '["b","YR=="]',
    "bytes newline": '["b","YWFh\\n"]',
    "bytes url-safe": '["b","-_-_"]',
    "bytes blank": '["b","YW Fh"]',
    "bytes not ascii": '["b","\u00e9\u00e9\u00e9\u00e9"]',
    "str that JSON can hold": '["s","YQ=="]',
    "str not utf-8": '["s","//8="]',
    "str overlong": '["s","wIA="]',
    "surrogate": '"\\ud800"',
    "surrogate pair escaped": '"\\ud83d\\ude00"',
    "control": '"\\u0001"',
    "slash escaped": '"\\/"',
    "control raw": '"\x01"',
    "name of no tensor": '["=",0]',
    "object": "{}",
    "list": "[]",
    "nested": "[[]]",
    "NaN": "NaN",
    "Infinity": "-Infinity",
    "single quotes": "'a'",
    "comment": "/**/1",
}
for _label, _value in _VALUES.items():
    add(
        f"value/{_label}",
        lambda v=_value: file([5], edit=lambda t: t.replace("[5]", f"[{v}]")),
        expect={"load": "ok" if _label == "control" else "FormatError"},
    )
add("value/longest int", lambda: file([1 << (8 * 65_536 - 8)]), expect={"load": "ok"})
add("value/longest int as a key", lambda: file({1 << 63_998: 1}), expect={"load": "ok"})
add("value/too long an int as a key", lambda: file({1 << 400_000: 1}), expect={"load": "FormatError"})
add(
    "value/key that is no part",
    lambda: file({1 << 60_000: T()}),
    load={"key": "model"},
    expect={"load": "KeyMissingError"},
)
add("value/int of 4,301 digits in a module", lambda: file(module(attributes={"a": 10**4_400})), expect={"load": "ok"})
add("value/lone surrogates", lambda: file({"\ud800": "\udfff", "b": ["\ud800x"]}), expect={"load": "ok"})

for _label, _edit in {
    "unknown kind": ('"torch.Size"', '"torch.Gadget"'),
    "newer": ('"torch.Size",1', '"torch.Size",2'),
    "version 0": ('"torch.Size",1', '"torch.Size",0'),
    "version -1": ('"torch.Size",1', '"torch.Size",-1'),
    "version true": ('"torch.Size",1', '"torch.Size",true'),
    "version huge": ('"torch.Size",1', f'"torch.Size",{10**40}'),
    "no field": ('["dims"]', '["sizes"]'),
    "field more": ('["dims"]', '["code","dims"]'),
    "kind with escapes": ('"torch.Size"', '"\\u001b[2J"'),
    "kind is a dunder": ('"torch.Size"', '"__class__"'),
}.items():
    add(
        f"kind/{_label}",
        lambda e=_edit: file([N("torch.Size", {"dims": (1, 2)})], edit=lambda t: t.replace(*e)),
        expect={"load": "FormatError"},
    )
for _kind, _fields in {
    "torch.dtype": [
        {"name": "float32"},
        {"name": "os"},
        {"name": "load"},
        {"name": "__dict__"},
        {"name": 5},
        {"name": "\x1b[2J"},
    ],
    "torch.device": [
        {"name": "cuda:99"},
        {"name": "meta"},
        {"name": "x"},
        {"name": ""},
        {"name": "cpu:-1"},
        {"name": "privateuseone"},
        {"name": "cuda:" + "9" * 50},
    ],
    "torch.Size": [
        {"dims": (-1,)},
        {"dims": (2**70,)},
        {"dims": (True,)},
        {"dims": ("1",)},
        {"dims": [1]},
        {"dims": (None,)},
    ],
    "bytes": [{"data": 5}, {"data": ()}, {"data": None}],
    "str": [{"data": "x"}],
    "class": [{"name": None}, {"name": ()}],
    "function": [{"name": 1}],
    "method": [{"self": 1, "name": "x"}, {"self": (), "name": "x"}],
    "partial": [
        {"function": 1, "args": (), "keywords": {}},
        {"function": (), "args": [], "keywords": {}},
        {"function": (), "args": (), "keywords": {1: 1}},
    ],
    "object": [{"class": 1, "attributes": {}}, {"class": "x", "attributes": ()}],
    "custom": [{"class": None, "state": 1}],
    "OrderedDict": [{"items": []}, {"items": {}, "attributes": []}],
    "optimizer": [
        {"class": "torch.optim:SGD", "defaults": [], "state": {}, "param_groups": []},
        {"class": "torch.optim:SGD", "defaults": {}, "state": {}, "param_groups": ()},
    ],
    "module": [
        {"class": "torch.nn:Identity", "training": 1},
        {"class": "torch.nn:Identity", "training": None},
        {"class": "torch.nn:Identity", "training": False, "modules": {"a": 5}},
        {"class": "torch.nn:Identity", "training": False, "modules": {"a": ()}},
        {"class": "torch.nn:Identity", "training": False, "modules": {"a.b": None}},
        {"class": "torch.nn:Identity", "training": False, "modules": {"": None}},
        {"class": "torch.nn:Identity", "training": False, "parameters": {"a": 1.5}},
        {"class": "torch.nn:Identity", "training": False, "parameters": {"a": None}, "buffers": {"a": None}},
        {"class": "torch.nn:Identity", "training": False, "non_persistent": ("a",)},
        {"class": "torch.nn:Identity", "training": False, "hooks": [1]},
        {"class": "torch.nn:Identity", "training": False, "hooks": ("\x1b[2J",)},
        {"class": "torch.nn:Identity", "training": False, "attributes": {1: 2}},
        {"training": False, "class": "torch.nn:Identity"},
    ],
}.items():
    for _i, _given in enumerate(_fields):
        add(f"field/{_kind} {_i}", lambda k=_kind, f=_given: file([N(k, dict(f))]))

# --- what people read ---

_EVIL = "\x1b[2J\x1b]0;owned\x07\u202e\x9b31m\r"
add("told/findings", lambda: file([1], findings=[Finding(_EVIL, "warning", _EVIL, _EVIL, _EVIL)]))
add("told/severity", lambda: file([1], findings=[Finding("a", "fatal", "", "")]), expect={"load": "FormatError"})  # type: ignore[arg-type]
add("told/environment", lambda: file([1], environment={_EVIL: _EVIL, "python": "2.7", "torch": "99"}))
add(
    "told/environment of lines",
    lambda: file([1], environment={"python": "3\nroutes\n  structure open: torchkeep.load('x', trust=('evil',))"}),
    check=lambda o: [],
)
add("told/packages", lambda: file(module("gone:X"), classes={"gone:X": _info(_EVIL)}))
add(
    "told/names",
    lambda: file(
        {_EVIL: T(S(_EVIL)), "b": T(S("b"))},
    ),
)
add(
    "told/module names",
    lambda: file(
        module(
            "torch.nn:Identity", modules={_EVIL: module()}, attributes={_EVIL: 1}, parameters={_EVIL + "p": T(S(_EVIL))}
        )
    ),
)
add("told/hooks", lambda: file(module(hooks=(_EVIL,))))
add("told/methods", lambda: file([N("method", {"self": module(), "name": _EVIL})]))
add("told/custom", lambda: file([N("custom", {"class": _EVIL, "state": 1})]))
add("told/dtype", lambda: file([N("torch.dtype", {"name": _EVIL})]))
add("told/device", lambda: file([N("torch.device", {"name": _EVIL})]))
add("told/hiding", lambda: file(module("victim.nets:Net", attributes={"forward": module(_EVIL)})))
add("told/dunder", lambda: file(module("victim.nets:Net", attributes={f"__{_EVIL}__": 1})))
add(
    "told/metadata",
    lambda: safetensors(
        {"__metadata__": {_EVIL: _EVIL}, "a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}, b"a"
    ),
)
add("told/plain name", lambda: safetensors({_EVIL: {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}, b"a"))


def _info(package: str) -> Any:
    from torchkeep.document import ClassInfo

    return ClassInfo(package=package)


# --- the container ---

_ONE = {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}


def _plain(
    name: str,
    header: Any,
    data: bytes = b"abcd",
    *,
    length: int | None = None,
    wanted: str = "FormatError",
    **more: Any,
) -> None:
    add(
        f"plain/{name}",
        lambda: safetensors(header() if callable(header) else header, data, length=length),
        expect={"load": wanted, "inspect": wanted},
        **more,
    )


_plain("good", _ONE, wanted="ok")
_plain("no tensors", {}, b"", wanted="ok")
_plain("no bytes", _ONE, b"")
_plain("bytes more", _ONE, b"abcde")
_plain("length huge", _ONE, length=2**63)
_plain("length max", _ONE, length=2**64 - 1)
_plain("length zero", _ONE, length=0)
_plain("length one", _ONE, length=1)
_plain("length short", _ONE, length=20)
_plain("a list", "[]", b"")
_plain(
    "key twice",
    '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
)
_plain("dtype twice", '{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}')
_plain(
    "metadata twice",
    '{"__metadata__":{"a":"b"},"__metadata__":{},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
)
_plain("metadata key twice", '{"__metadata__":{"a":"b","a":"c"},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}')
_plain("metadata null", '{"__metadata__":null,"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}')
_plain("metadata of numbers", '{"__metadata__":{"a":1},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}')
_plain("metadata a tensor", '{"__metadata__":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}')
_plain("metadata named as fields", {"__metadata__": {"dtype": "x", "shape": "y"}} | _ONE, wanted="ok")
_plain("metadata of torchkeep", {"__metadata__": {"torchkeep": "{}"}} | _ONE)
_plain(
    "metadata like torchkeep",
    {"__metadata__": {"torchkeep.digests": "0" * 32, "format": "pt", "torchkeep": "{}"}} | _ONE,
)
_plain("float shape", '{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}')
_plain("exponent", '{"a":{"dtype":"F32","shape":[1e0],"data_offsets":[0,4]}}')
_plain("true shape", '{"a":{"dtype":"F32","shape":[true],"data_offsets":[0,4]}}')
_plain("text shape", '{"a":{"dtype":"F32","shape":["1"],"data_offsets":[0,4]}}')
_plain("minus zero", '{"a":{"dtype":"F32","shape":[1],"data_offsets":[-0,4]}}')
_plain("negative shape", {"a": {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]}})
_plain("negative offsets", {"a": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}})
_plain("offsets reversed", {"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}})
_plain("offsets huge", {"a": {"dtype": "F32", "shape": [1], "data_offsets": [2**64, 2**64 + 4]}})
_plain("shape wraps", {"a": {"dtype": "F32", "shape": [2**32, 2**32 + 1], "data_offsets": [0, 4]}})
_plain("shape huge of none", {"a": {"dtype": "F32", "shape": [2**63, 2**63, 0], "data_offsets": [0, 0]}}, b"")
_plain(
    "gap",
    {
        "a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
        "b": {"dtype": "U8", "shape": [1], "data_offsets": [3, 4]},
    },
)
_plain(
    "overlap",
    {
        "a": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]},
        "b": {"dtype": "U8", "shape": [2], "data_offsets": [2, 4]},
    },
)
_plain("unknown dtype", {"a": {"dtype": "object", "shape": [1], "data_offsets": [0, 4]}})
_plain("odd F4", {"a": {"dtype": "F4", "shape": [3], "data_offsets": [0, 2]}}, b"ab")
_plain("sub-byte", {"a": {"dtype": "F6_E2M3", "shape": [4], "data_offsets": [0, 3]}}, b"abc")
_plain("a field more", {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], "code": "x"}})
_plain("a field less", {"a": {"dtype": "F32", "shape": [1]}})
_plain("null", {"a": None})
_plain("BOM", "\ufeff" + '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}')
_plain("NUL after", '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}\0')
_plain("blanks before", ' {"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}')
_plain("blanks after", '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}} \n\t\r', wanted="ok")
_plain("surrogate", '{"\\ud800":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}')
_plain("not utf-8", b'{"\xff":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}')
_plain("not utf-8 in metadata", b'{"__metadata__":{"a":"\xff"},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}')
_plain("raw control", '{"a\x01":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}')
_plain("deep", '{"a":' + "[" * 100_000 + "]" * 100_000 + "}", b"")
_plain(
    "deep in a field more",
    '{"a":{"x":' + "[" * 100_000 + "]" * 100_000 + ',"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
)
_plain("4,000 dimensions", {"a": {"dtype": "U8", "shape": [1] * 4_000, "data_offsets": [0, 1]}}, b"a")
_plain(
    "a long name",
    lambda: {"k" * 20_000_000: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}},
    wanted="FormatError|ok",
    seconds=10,
    mib=1500,
    poke=False,
)
_plain(
    "a long name of escapes",
    lambda: '{"' + "\\n" * 10_000_000 + '":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
    wanted="FormatError|ok",
    seconds=10,
    mib=1500,
    poke=False,
)
_plain(
    "long metadata",
    lambda: {"__metadata__": {"a": "k" * 20_000_000}} | _ONE,
    wanted="FormatError|ok",
    seconds=10,
    mib=1500,
    poke=False,
)
_plain(
    "blanks",
    lambda: '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}' + " " * 50_000_000 + "}",
    wanted="ok",
    seconds=10,
    mib=1500,
    poke=False,
)
_plain("a header of 100 MB", lambda: "{" + " " * 100_000_000, b"", wanted="LimitError|FormatError", poke=False)
_plain(
    "200,000 entries",
    lambda: {f"{i}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for i in range(200_000)},
    b"",
    wanted="ok",
    seconds=20,
    mib=2500,
    poke=False,
    verbs=("inspect", "load"),
)

for _label, _raw in {
    "blank": lambda h: h.replace(b'"format":', b'"format": '),
    "key more": lambda h: h.replace(b'"format":"pt"', b'"format":"pt","x":"y"'),
    "format tf": lambda h: h.replace(b'"format":"pt"', b'"format":"tf"'),
    "key twice": lambda h: h.replace(b'"format":"pt"', b'"format":"pt","format":"pt"'),
    "digest more": lambda h: h.replace(b'","format"', b'0000000000000000","format"'),
    "digest upper": lambda h: h.replace(b'","format"', b'A","format"'),
    "no entries": lambda h: h[: h.rindex(b',"t":')] + b"}",
    "offsets moved": lambda h: h.replace(b"[0,8]", b"[8,16]"),
    "entry more": lambda h: h.replace(b',"t":', b',"u":{"dtype":"U8","shape":[0],"data_offsets":[8,8]},"t":'),
    "metadata after": lambda h: h.replace(b',"t":', b',"__metadata__":{},"t":'),
    "nothing": lambda h: b'{"__metadata__":{"torchkeep.digests":"',
    "nothing more": lambda h: b'{"__metadata__":{"torchkeep.digests":"' + b"0" * 16,
    "only digests": lambda h: b'{"__metadata__":{"torchkeep.digests":"' + b"0" * 16 + b'"}}',
}.items():
    add(
        f"native/{_label}",
        lambda r=_raw: native(doc([T()]), raw=r),
        expect={"load": "FormatError", "inspect": "FormatError", "into": "FormatError"},
    )
for _label, _name in {
    "reserved": "__torchkeep__/t",
    "metadata": "__metadata__",
    "path": "../../etc/passwd",
    "empty": "",
    "NUL": "a\0b",
    "long": "k" * 100_000,
}.items():
    add(f"native/name {_label}", lambda n=_name: file([T(S(n))]))
add("native/names twice", lambda: file([T(S("a")), T(S("a"))]), expect={"load": "FormatError"})
add("native/many nodes", lambda: file([[] for _ in range(150_000)]), seconds=15, mib=1500, poke=False)
add("native/many numbers", lambda: file(list(range(1_000_000))), seconds=15, mib=1500, poke=False)
add(
    "native/many tensors",
    lambda: file([T(S(f"t{i}", "uint8", (0,))) for i in range(100_000)]),
    seconds=15,
    mib=1500,
    poke=False,
)
add(
    "native/many nulls",
    lambda: file([1], edit=lambda t: t.replace('["seq","list",[1]]', '["seq","list",[' + "1," * 4_000_000 + "1]]")),
    seconds=20,
    mib=2500,
    poke=False,
    verbs=("inspect", "load"),
)
