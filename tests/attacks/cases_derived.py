"""Objects of classes that derive from a builtin: nothing of the class runs, and none is more than it looks."""

# ruff: noqa: PLW0108, PLC3002 - each case is a lambda, so that a literal is only made where it is opened
# ruff: noqa: E501 - tables, a line for each

from __future__ import annotations

from typing import Any

from case import Cases, some
from cases_values import decimal, defaultdict, deque, enum, klass, named
from forge import Mp, N, Op, S, Sq, T, chain, file, function, module, optimizer, parameter, partial, plain, swapped
from victim import derived as victim

CASES = Cases()
add = CASES.add
DERIVED = "victim.derived"
NETS = "victim.nets"
LOADS = ("inspect", "load")
REFUSED = {"load": "TorchkeepError"}
INVALID = dict.fromkeys(("inspect", "load"), "FormatError")
P = 2**61 - 1
"""What Python's hashes of numbers are taken modulo of."""


def slug(text: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in text)[:60] + f"_{len(CASES)}"


def made(cls: str, value: Any, **attributes: Any) -> N:
    """A derived node; a class without a module is one of the victim's."""
    name = cls if ":" in cls else f"{DERIVED}:{cls}"
    return N("derived", {"class": name, "value": value} | ({"attributes": attributes} if attributes else {}))


def net(*held: Any, **attributes: Any) -> N:
    """A module of the victim's, which holds what its own package may be opened for."""
    named_held = {f"held{i}": one for i, one in enumerate(held)}
    return module(f"{NETS}:Net", parameters={"weight": parameter()}, attributes=named_held | attributes)


def counter(items: Any = None) -> N:
    return N("Counter", {"items": {"a": 1} if items is None else items})


def ordered(items: Any = None, **attributes: Any) -> N:
    own = {"attributes": attributes} if attributes else {}
    return N("OrderedDict", {"items": {"a": 1} if items is None else items} | own)


VALUES: dict[str, Any] = {
    "dict": lambda: {"a": 1, "b": [2]},
    "list": lambda: [1, "a"],
    "tuple": lambda: (1, "a"),
    "str": lambda: "a",
    "int": lambda: 7,
    "deque": lambda: deque((1, 2), 3),
    "defaultdict": lambda: defaultdict(klass("builtins:list"), {"a": 1}),
    "Counter": counter,
    "OrderedDict": ordered,
    "set": lambda: {1, 2},
    "frozenset": lambda: frozenset({1, 2}),
    "bytes": lambda: b"ab",
    "float": lambda: 0.5,
    "complex": lambda: 1 + 2j,
}


def _type_of(name: str, *, at: str = "held0") -> Any:
    """A check: by which class it came back."""

    def check(obj: Any) -> list[str]:
        held = vars(obj)[at]
        return [] if type(held).__name__ == name else [f"{at} is a {type(held).__name__}, not a {name}"]

    return check


# --- what a class overrides -------------------------------------------------------------------------

_PLACES: dict[str, Any] = {
    "value": lambda d: net(d, d),
    "root": lambda d: d,
    "items": lambda d: net([d], {"a": d}, (d,), deque((d,), 1), defaultdict(None, {"a": d}), ordered({"a": d})),
    "attributes": lambda d: net(plain(f"{NETS}:Config", a=d), N("SimpleNamespace", {"attributes": {"a": d}})),
    "each other": lambda d: net(
        *(made(f"Loud_{base}", value, a=d) for base, value in (("list", [d]), ("tuple", (d,)), ("dict", {"a": d})))
    ),
    "attributes of tensors": lambda d: net(d, T(S("u", "float32", (2,)), attributes={"a": d})),
    "arguments": lambda d: net(partial(function("torch:relu"), d, inplace=d), defaultdict(partial(klass("builtins:dict"), d))),
    "extra state": lambda d: module(f"{NETS}:Extra", attributes={"held0": d}, extra_state=d),
    "state of a codec": lambda d: net(d, held1=N("custom", {"class": f"{NETS}:Config", "state": d})),
    "slices and records": lambda d: net(d, N("slice", {"start": d, "stop": d, "step": d}), plain("gone:X", a=d)),
}  # fmt: skip
_OF_THE_PROGRAM = tuple(
    f"Loud_{base}.{name}" for base in VALUES for name in victim.METHODS.split()
)  # what a program's own use of its own objects runs
for _base, _value in VALUES.items():
    for _where, _put in _PLACES.items():
        add(
            f"derived/loud {_base} as {_where}",
            lambda b=_base, v=_value, put=_put: file(put(made(f"Loud_{b}", v()))),
            poke=False,
            check=_type_of(f"Loud_{_base}") if _where == "value" else None,
        )
    add(
        f"derived/loud {_base}, poked",
        lambda b=_base, v=_value: file(net(made(f"Loud_{b}", v()))),
        may_ring=_OF_THE_PROGRAM,
    )
    for _kind in ("Loud", "Quiet", "Slotted"):
        add(
            f"derived/{_kind} {_base} given",
            lambda k=_kind, b=_base, v=_value: file([made(f"{k}_{b}", v())]),
            load={"trust": ("victim",)},
            poke=_kind != "Loud",
            expect={"load": "ok"},
        )
    add(f"derived/quiet {_base}", lambda b=_base, v=_value: file(net(made(f"Quiet_{b}", v(), a=[1], b="x"))))
    add(
        f"derived/long {_base}",
        lambda b=_base, v=_value: file([made(f"Quiet_{b}", v()) for _ in range(20_000)]),
        seconds=8,
        verbs=LOADS,
        poke=False,
    )

# --- what no class may define -----------------------------------------------------------------------

for _base, _name in victim.REFUSED:
    for _cls in (f"With{_name}{_base}", f"BelowWith{_name}{_base}"):
        add(
            f"closed/{_cls}",
            lambda c=_cls, b=_base: file(net(made(c, VALUES[b](), a=1), made(c, VALUES[b]()))),
            check=None if _name == "__new__" else _type_of(_base),
            poke=_name != "__new__",
        )
    add(
        f"closed/{_base} with {_name} as torch looks",
        lambda b=_base, n=_name: file(
            (lambda d: [net(d), module("torch.nn:Conv2d", attributes={"padding_mode": d, "in_channels": d})])(
                made(f"With{n}{b}", VALUES[b]())
            )
        ),
        poke=False,
    )
for _name in victim.METAS:
    for _base, _make in {
        "dict": lambda c: made(c, {"a": 1}, b=2),
        "list": lambda c: made(c, [1]),
        "str": lambda c: made(c, "a", b=1),
        "object": lambda c: plain(f"{DERIVED}:{c}", a=1),
        "Module": lambda c: module(f"{DERIVED}:{c}", attributes={"a": 1}),
    }.items():
        _cls = f"{victim.METAS[_name].__name__}_{_base}"
        add(f"metaclass/{_name} of {_base}", lambda c=_cls, m=_make: file(net(m(c), m(c)) if not c.endswith("Module") else [m(c)]), poke=False)  # fmt: skip
        if _base != "Module":
            add(f"metaclass/{_name} of {_base}, under other roles", lambda c=_cls: file(net(named(f"{DERIVED}:{c}"), enum(f"{DERIVED}:{c}", "A"), plain(f"{DERIVED}:{c}"), made(c, {}))), poke=False)  # fmt: skip
for _label, _make in {
    "derived": lambda n: net(made(n, {"a": 1})),
    "object": lambda n: net(plain(f"{DERIVED}:{n}")),
    "enum": lambda n: net(enum(f"{DERIVED}:{n}", "A")),
    "namedtuple": lambda n: net(named(f"{DERIVED}:{n}")),
    "module": lambda n: module(f"{DERIVED}:{n}"),
    "class": lambda n: [klass(f"{DERIVED}:{n}")],
    "function": lambda n: [function(f"{DERIVED}:{n}")],
    "tensor": lambda n: [N("tensor_subclass", {"class": f"{DERIVED}:{n}", "data": T(), "flags": 0})],
}.items():
    for _name in ("proxy", "proxy.a", "Proxy.__class__"):
        add(f"metaclass/{_name} as {_label}", lambda m=_make, n=_name: file(m(n)))
    for _name in ("victim.late", "victim.impostor"):
        add(
            f"metaclass/{_name} as {_label}",
            lambda m=_make, n=_name: file(m("Net"), edit=swapped([(f"{DERIVED}:Net", f"{n}:Net")])),
        )

# --- classes of others ------------------------------------------------------------------------------

_OTHERS = {
    "dict": """
    builtins:dict collections:Counter collections:OrderedDict collections:defaultdict collections:UserDict
    collections:ChainMap http.cookies:SimpleCookie http.cookies:Morsel http.cookies:BaseCookie argparse:Namespace
    logging.config:ConvertingDict logging.config:BaseConfigurator os:_Environ os:environ weakref:WeakValueDictionary
    email.message:Message json:dict configparser:ConfigParser configparser:SectionProxy shelve:Shelf
    enum:_EnumDict enum:EnumDict functools:partial types:MappingProxyType typing:TypedDict
    torch.fx.immutable_collections:immutable_dict torch.fx:immutable_dict torch.nn:Module torch.nn:ModuleDict
    torch.nn:ParameterDict torch.utils.data:Dataset torch.package:PackageImporter torch._C:ScriptDict
    torch.jit:RecursiveScriptModule torch.hub:load torch.optim:SGD torch.fx:Graph
    transformers.utils.generic:ModelOutput transformers.utils:ModelOutput transformers:BatchEncoding
    transformers.tokenization_utils_base:BatchEncoding transformers.modeling_outputs:BaseModelOutput
    numpy:ndarray victim.derived:OrderedDict victim.derived:Counter victim.derived:collections.UserDict
    victim.derived:http.cookies.SimpleCookie victim.derived:argparse.Namespace victim.nets:Net victim.nets:Config
    victim.derived:BUILTINS victim.derived:LOUD victim.derived:ring victim.derived: victim.derived:Nobody sleeper.nets:Net
    victim.derived:immutable.immutable_dict __main__:dict builtins:type builtins:object builtins:property
    """,
    "list": """
    builtins:list collections:UserList collections:deque torch:Size torch.fx:immutable_list argparse:_AppendAction
    torch.fx.immutable_collections:immutable_list torch.nn:ModuleList torch.nn:ParameterList torch._C:ScriptList
    sys:argv xml.dom.minicompat:NodeList pathlib:_PathParents logging.config:ConvertingList
    """,
    "tuple": """
    builtins:tuple torch:Size torch.return_types:max torch.return_types:sort torch.return_types:linalg_svd
    torch.nn.utils.rnn:PackedSequence time:struct_time os:stat_result sys:float_info sys:flags os:terminal_size
    collections:namedtuple urllib.parse:ParseResult tokenize:TokenInfo logging.config:ConvertingTuple
    xml.dom.minicompat:EmptyNodeList inspect:FullArgSpec torch.autograd.profiler_util:FormattedTimesMixin
    torch.utils._pytree:LeafSpec victim.derived:Point._make
    """,
    "str": """
    builtins:str collections:UserString torch.torch_version:TorchVersion torch.version:TorchVersion numpy:str_
    enum:StrEnum pathlib:PurePath http:HTTPMethod xml.sax.saxutils:_Formatter email.header:Header
    email._policybase:Policy torch.export.dynamic_shapes:Dim transformers.utils.generic:ExplicitEnum
    """,
    "int": """
    builtins:int builtins:bool enum:IntEnum enum:IntFlag re:RegexFlag signal:Signals socket:AddressFamily http:HTTPStatus
    torch:SymInt numpy:int64 uuid:UUID plistlib:UID xmlrpc.client:Boolean inspect:_ParameterKind
    """,
    "bytes": "builtins:bytes builtins:bytearray numpy:bytes_ ctypes:c_char_p mmap:mmap torch:UntypedStorage",
    "float": "builtins:float numpy:float64 torch:SymFloat time:time",
    "set": "builtins:set weakref:WeakSet torch.utils._ordered_set:OrderedSet",
    "complex": "builtins:complex numpy:complex128",
    "deque": "collections:deque queue:Queue",
    "frozenset": "builtins:frozenset",
}  # fmt: skip
for _base, _listed in _OTHERS.items():
    for _name in dict.fromkeys(_listed.split()):
        add(
            f"others/{_base} {slug(_name)}",
            lambda n=_name, b=_base: file(net(made(n, VALUES[b](), a=1), made(n, VALUES[b]()))),
            check=_type_of(_base),
            verbs=("inspect", "load", "into") if len(_name) % 3 else ("inspect", "load", "skeleton"),
        )
        if not _name.startswith(("sleeper", "transformers", "victim", "__main__")):
            add(
                f"others/{_base} {slug(_name)} in a module of its package",
                lambda n=_name, b=_base: file(
                    [module("torch.nn:Identity", attributes={"a": made(n, VALUES[b](), a=1)})]
                ),
                load={"trust": (_name.split(":")[0],)},
                verbs=("load",),
            )

# --- more than a builtin ----------------------------------------------------------------------------

_HOOKS = {"_forward_hooks": ordered({0: partial(function("torch:relu"))}), "_modules": {"a": 1}, "training": True}
for _name, _value in {
    "NetDict": lambda: {"a": 1}, "DictNet": lambda: {"a": 1}, "NetList": lambda: [1], "LayerList": lambda: [1],
    "OptimizerDict": lambda: {"a": 1}, "GraphDict": lambda: {"a": 1}, "SchedulerDict": lambda: {"a": 1},
}.items():  # fmt: skip
    _base = type(_value()).__name__
    for _label, _more in {
        "bare": dict,
        "hooks": lambda: {"_forward_hooks": ordered({0: partial(function("torch:relu"))}), "training": True},
        "modules": lambda: {"_modules": {"a": net()}, "_parameters": {"weight": parameter()}, "_buffers": {}},
        "groups": lambda: {"param_groups": [{"params": [parameter()]}], "state": {}, "defaults": {}},
        "code": lambda: {"_code": "import os", "_graph": None, "_state_dict_hooks": {}},
        "compiled": lambda: {"_compiled_call_impl": partial(function("torch:relu"))},
        "forward": lambda: {"forward": partial(function("torch:relu"))},
    }.items():
        add(
            f"more/{_name} {_label}",
            lambda n=_name, v=_value, m=_more: file(net(made(n, v(), **m()))),
            check=_type_of(_base) if _name != "SchedulerDict" else None,
        )
    for _kind in ("module", "object"):
        add(
            f"more/{_name} as {_kind}",
            lambda n=_name, k=_kind: file(net(plain(f"{DERIVED}:{n}")) if k == "object" else module(f"{DERIVED}:{n}")),
        )
for _name, _value, _base in (
    ("Level", lambda: 77, "int"), ("Level", lambda: 1, "int"), ("Word", lambda: "a", "str"), ("Word", lambda: "forged", "str"),
    ("Bits", lambda: 1 << 40, "int"), ("Pairs", lambda: (3, 4), "tuple"), ("Level.LOW", lambda: 1, "int"),
):  # fmt: skip
    for _label, _more in {"bare": dict, "forged": lambda: {"_value_": 1, "_name_": "LOW", "_sort_order_": 0}}.items():
        add(
            f"more/enum {slug(_name)} {_label}",
            lambda n=_name, v=_value, m=_more: file(net(made(n, v(), **m()))),
            check=_type_of(_base),
        )
for _count in (0, 1, 2, 3, 100):
    for _name in ("Point", "Below"):
        add(
            f"more/namedtuple {_name} of {_count}",
            lambda n=_name, c=_count: file(net(made(n, tuple(range(c)), **({"why": 1} if n == "Below" else {})))),
            expect={"load": "ok"},
        )
for _label, _more in {
    "field": lambda: {"x": 5, "y": partial(function("torch:relu"))},
    "fields": lambda: {"_fields": ("a", "b", "c")},
    "methods": lambda: {"_replace": 1, "_asdict": 2, "_make": 3, "far": 4},
    "method": lambda: {"far": partial(function("torch:relu"))},
}.items():
    add(f"more/namedtuple with attribute {_label}", lambda m=_more: file(net(made("Below", (1, 2), **m()))))
for _name, _base in (
    ("Abstract", "dict"), ("Closer", "dict"), ("Cookie", "dict"), ("Converting", "dict"), ("Frozen", "list"), ("FrozenDict", "dict"),
    ("Hooking", "dict"), ("Generic", "list"),
):  # fmt: skip
    add(
        f"more/{_name}",
        lambda n=_name, b=_base: file(
            net(made(n, VALUES[b]()), made(n, VALUES[b](), name="/etc/passwd", delete=True, close_called=False, file=1))
        ),
        check=_type_of("dict") if _name == "Closer" else None,
    )
for _name in ("Tally", "Groups", "Orderly"):
    for _base in ("dict", "Counter", "OrderedDict", "defaultdict"):
        add(
            f"more/{_name} over {_base}",
            lambda n=_name, b=_base: file(net(*(made(n, VALUES[b](), a=1) for _ in range(2)))),
            check=lambda obj: [] if len(list(obj.held0)) == len(obj.held0) else ["its items are not in it"],
        )

# --- another base than the value --------------------------------------------------------------------

for _base in VALUES:
    for _other, _value in VALUES.items():
        if _base != _other:
            for _kind in ("Quiet", "Loud"):
                add(
                    f"another base/{_kind} {_base} over {_other}",
                    lambda b=_base, v=_value, k=_kind: file(net(made(f"{k}_{b}", v(), a=1))),
                    expect={"load": "ChangedClassError"},
                    verbs=("load", "skeleton") if _kind == "Quiet" else ("load",),
                    poke=False,
                )
for _label, _value in {
    "bool": lambda: True,
    "none": lambda: None,
    "tensor": T,
    "module": lambda: module(),
    "object": lambda: plain("gone:X"),
    "derived": lambda: made("Quiet_dict", {"a": 1}),
    "namedtuple": lambda: named("gone:X"),
    "enum": lambda: enum("gone:X", "A"),
    "Namespace": lambda: N("Namespace", {"attributes": {}}),
    "SimpleNamespace": lambda: N("SimpleNamespace", {"attributes": {}}),
    "size": lambda: N("torch.Size", {"dims": (1,)}),
    "Decimal": lambda: decimal("1"),
    "range": lambda: N("range", {"start": 0, "stop": 10**30, "step": 1}),
    "slice": lambda: N("slice", {"start": 0, "stop": 1, "step": None}),
    "array": lambda: N("numpy.ndarray", {"dtype": "<f4", "data": T(), "writeable": True}),
    "scalar": lambda: N("numpy.scalar", {"dtype": "<i4", "data": b"1234"}),
    "dtype": lambda: N("torch.dtype", {"name": "float32"}),
    "partial": lambda: partial(function("torch:relu")),
    "function": lambda: function("torch:relu"),
    "class": lambda: klass("builtins:dict"),
    "method": lambda: N("method", {"self": net(), "name": "helper"}),
    "optimizer": optimizer,
    "opaque": lambda: Op("x", {"a": 1}),
    "sequence of no kind": lambda: Sq("bytearray", [1]),
}.items():
    add(f"another base/value is a {_label}", lambda v=_value: file([made("Quiet_dict", v())]), expect=INVALID)
for _label, _edit in {
    "no value": lambda n: n.fields.pop("value"),
    "no class": lambda n: n.fields.pop("class"),
    "class of a number": lambda n: n.fields.update({"class": 1}),
    "more": lambda n: n.fields.update(more=1),
    "attributes of a list": lambda n: n.fields.update(attributes=[1]),
    "attributes by number": lambda n: n.fields.update(attributes=Mp([(1, 2)])),
    "attributes twice": lambda n: n.fields.update(attributes=Mp([("a", 2), ("a", 3)])),
    "attributes of a derived": lambda n: n.fields.update(attributes=made("Quiet_dict", {"a": 1})),
    "state": lambda n: n.fields.update(state={}),
    "version 2": lambda n: setattr(n, "version", 2),
    "version 0": lambda n: setattr(n, "version", 0),
}.items():
    add(
        f"another base/{_label}",
        lambda e=_edit: file([(lambda n: (e(n), n)[1])(made("Quiet_dict", {"a": 1}))]),
        expect=dict.fromkeys(LOADS, "TorchkeepError"),
    )
for _name in (
    "",
    ":",
    "a",
    "a:b:c",
    "\0",
    "\x1b[31m:\u202e",
    "x" * 1_000_000 + ":y",
    "a.b",
    "..:x",
):
    add(f"another base/class {slug(_name[:20])}", lambda n=_name: file(net(N("derived", {"class": n, "value": {"a": 1}, "attributes": {"a": 1}}))))  # fmt: skip
for _base in ("str", "bytes", "int", "dict", "list"):
    _hostile = {
        "str": "\x1b[31m\u202e\0", "bytes": b"\x1b[31m", "int": -(2**500_000), "dict": {"\x1b[31m": "\u202e"}, "list": ["\x1b[2J"],
    }[_base]  # fmt: skip
    add(f"another base/controls in {_base}", lambda b=_base, h=_hostile: file([made(f"\x1b[31m{b}:\u202e", h)]))
    add(f"another base/controls in attributes of {_base}", lambda b=_base, h=_hostile: file(net(made(f"Quiet_{b}", h, **{"\x1b[31m": h, "\u202e": 1, "": 2, "\0": 3}))))  # fmt: skip

# --- attributes -------------------------------------------------------------------------------------

_CALLABLE = lambda: partial(function("torch:relu"))  # noqa: E731
for _base, _names in {
    "dict": "items keys values get update copy pop setdefault clear fromkeys",
    "list": "append extend copy count index sort",
    "tuple": "count index",
    "str": "join encode format lower",
    "int": "real imag numerator denominator to_bytes bit_length",
    "deque": "append maxlen rotate",
    "defaultdict": "default_factory copy items",
    "Counter": "update elements most_common items",
    "OrderedDict": "move_to_end items update",
    "set": "add union",
    "frozenset": "union copy",
    "bytes": "decode join",
    "float": "real hex",
    "complex": "real imag conjugate",
}.items():
    for _name in _names.split():
        for _label, _held in {
            "partial": _CALLABLE,
            "class": lambda: klass("builtins:int"),
            "module": lambda: module("torch.nn:ReLU"),
            "object": lambda: plain(f"{NETS}:Callable"),
            "loud dict": lambda: made("Loud_dict", {}),
        }.items():
            _free = _name == "default_factory" or (_base == "complex" and _name in ("real", "imag"))  # never reached
            add(
                f"hiding/{_base}.{_name} by {_label}",
                lambda b=_base, n=_name, h=_held: file(net(made(f"Quiet_{b}", VALUES[b](), **{n: h()}))),
                expect={} if _free or _label == "loud dict" else {"load": "LoadError"},
                verbs=("load", "skeleton"),
                poke=_label != "loud dict",
            )
for _name in ("shared", "prop", "method", "still", "_anything"):
    for _label, _held in {"partial": _CALLABLE, "number": lambda: 5, "record": lambda: plain("gone:X")}.items():
        add(
            f"hiding/Shadow.{_name} by {_label}",
            lambda n=_name, h=_held: file(net(made("Shadow", {"a": 1}, **{n: h()}))),
        )
for _name in (
    "__class__", "__dict__", "__weakref__", "__slots__", "__len__", "__", "___", "__call__", "__getattr__", "__orig_class__",
    "__missing__", "__setstate__", "__reduce__", "__doc__",
):  # fmt: skip
    for _base in VALUES:
        add(
            f"dunder/{_name} of {_base}",
            lambda n=_name, b=_base: file(net(made(f"Quiet_{b}", VALUES[b](), **{n: {"a": 1}}))),
            expect=INVALID,
            verbs=LOADS,
        )
for _base in VALUES:
    for _label, _more in {
        "none": dict,
        "a": lambda: {"a": [1]},
        "run": lambda: {"a": 1, "run": _CALLABLE()},
        "unknown": lambda: {"zzz": 1},
        "mangled": lambda: {"_a": 1, "__a": 2},
        "itself": None,
    }.items():

        def _slotted(base: str = _base, more: Any = _more) -> bytes:
            held = made(f"Slotted_{base}", VALUES[base](), **({} if more is None else more()))
            if more is None:
                held.fields["attributes"] = {"a": held}
            return file(net(held))

        add(f"slots/{_base} {_label}", _slotted)
for _name, _base, _members in (
    ("NamedFactory", "defaultdict", ("default_factory", "maxlen")),
    ("NamedReal", "complex", ("real", "imag")),
    ("NamedMaxlen", "deque", ("maxlen", "copy")),
    ("NamedItems", "dict", ("items", "keys", "update", "values", "get")),
    ("Weak", "str", ("a", "b")),
    ("SlotsBelow", "list", ("a",)),
    ("SlotsHidden", "list", ("a",)),
):
    for _label, _held in {"number": lambda: 5, "partial": _CALLABLE, "record": lambda: plain("gone:X", a=1)}.items():
        add(
            f"slots/{_name} {_label}",
            lambda n=_name, b=_base, m=_members, h=_held: file(net(made(n, VALUES[b](), **{one: h() for one in m}))),
            may_ring=("SlotsHidden.a", "SlotsHidden.a setter"),
        )

# --- depth, cycles, sharing -------------------------------------------------------------------------

_WRAPS: dict[str, Any] = {
    "dict": lambda x: {"a": x},
    "list": lambda x: [x],
    "tuple": lambda x: (x,),
    "deque": lambda x: deque((x,)),
    "bounded deque": lambda x: deque((x,), 1),
    "defaultdict": lambda x: defaultdict(None, {"a": x}),
    "factory": lambda x: defaultdict(partial(klass("builtins:dict"), x)),
    "Counter": lambda x: counter({"a": x}),
    "OrderedDict": lambda x: ordered({"a": x}),
}
_DEEP = ("deque", "bounded deque", "defaultdict")
_BASE_OF = {"bounded deque": "deque", "factory": "defaultdict"}
for _label, _wrap in _WRAPS.items():
    _base = _BASE_OF.get(_label, _label)
    for _cls in (f"Quiet_{_base}", "gone:X", f"Slotted_{_base}"):
        for _levels in (900, 100_000 if _cls.startswith("Quiet") else 10_000):
            add(
                f"nested/{_label} of {slug(_cls)}, {_levels}",
                lambda c=_cls, w=_wrap, n=_levels: file(net(chain(n, lambda x: made(c, w(x)), None))),
                seconds=10,
                mib=2500,
                verbs=("load",) if _levels > 900 else LOADS,
                poke=_levels == 900,
                expect={"load": "LimitError"} if _label in _DEEP and _levels > 900 else {"load": "ok"},
            )
    add(
        f"nested/{_label} of many classes",
        lambda b=_base, w=_wrap: file(
            net(chain(10_000, lambda x: [w(made(f"Quiet_{b}", w(x))), made("gone:X", w({"a": x}))], None))
        ),
        seconds=10,
        mib=2500,
        verbs=("load",),
        poke=False,
    )
    add(
        f"nested/{_label}, twice each",
        lambda b=_base, w=_wrap: file(net(chain(60, lambda x: made(f"Quiet_{b}", w((x, x))), 1))),
        poke=False,
        seconds=2,
    )
for _base in VALUES:
    for _kind in ("Quiet", "Slotted"):
        if _kind == "Slotted" and _base in ("tuple", "int", "bytes"):
            continue
        add(
            f"nested/attributes of {_kind} {_base}",
            lambda b=_base, k=_kind: file(
                net(
                    chain(
                        100_000,
                        lambda x: made(
                            f"{k}_{b}",
                            VALUES[b]() if b not in _DEEP else deque() if b == "deque" else defaultdict(),
                            a=x,
                        ),
                        None,
                    )
                )
            ),
            seconds=12,
            mib=2500,
            verbs=("load",),
            poke=False,
        )
add(
    "nested/sets of frozensets",
    lambda: file(net(made("Quiet_set", Sq("set", [chain(900, lambda x: Sq("frozenset", [x]), 1)])))),
    seconds=5,
)


def _cycle(cls: str, wrap: Any) -> bytes:
    ring: list[Any] = []
    ring.append(made(cls, wrap(ring)))
    return file(net(ring))


def _holds_itself(cls: str, base: str, *, by: str) -> bytes:
    held = made(cls, [])
    inside: Any = held if by != "tuple" else (held,)
    held.fields["value"] = {**_WRAPS, "set": lambda x: Sq("set", [x]), "frozenset": lambda x: Sq("frozenset", [x])}.get(
        base, lambda x: VALUES[base]()
    )(inside if by != "attributes" else 1)
    if by == "attributes":
        held.fields["attributes"] = {"me": held}
    return file(net(held))


for _label, _wrap in _WRAPS.items():
    _base = _BASE_OF.get(_label, _label)
    for _cls in (f"Quiet_{_base}", f"Loud_{_base}", "gone:X"):
        add(f"cycle/{_label} of {slug(_cls)}", lambda c=_cls, w=_wrap: _cycle(c, w), poke=not _cls.startswith("Loud"))
for _base in VALUES:
    for _by in ("value", "tuple", "attributes"):
        for _cls in (f"Quiet_{_base}", "gone:X"):
            add(
                f"cycle/{_base} of {slug(_cls)} by {_by}",
                lambda c=_cls, b=_base, y=_by: _holds_itself(c, b, by=y),
            )


def _two_of_each_other(one: str, other: str) -> bytes:
    first, second = made(f"Quiet_{one}", []), made(f"Quiet_{other}", [])
    first.fields["value"], second.fields["value"] = _WRAPS[one](second), _WRAPS[other](first)
    return file(net(first, second))


for _one in _WRAPS:
    for _other in _WRAPS:
        if _one < _other and not {_one, _other} & set(_BASE_OF):
            add(f"cycle/{_one} and {_other}", lambda a=_one, b=_other: _two_of_each_other(a, b))


def _shared(field: str, base: str, count: int = 5_000) -> bytes:
    long = {f"k{i}": i for i in range(count)}
    value = {
        "dict": lambda: long,
        "list": lambda: list(range(count)),
        "tuple": lambda: tuple(range(count)),
        "set": lambda: set(range(count)),
        "deque": lambda: deque(tuple(range(count))),
        "OrderedDict": lambda: ordered(long),
        "defaultdict": lambda: defaultdict(None, long),
        "Counter": lambda: counter(long),
        "int": lambda: 2**400_000,
        "str": lambda: N("str", {"data": T(S("__torchkeep__/t", "uint8", (count * 100,)))}),
        "bytes": lambda: N("bytes", {"data": T(S("__torchkeep__/t", "uint8", (count * 100,)))}),
    }[base]()
    held = made(f"Quiet_{base}", value)
    if field == "attributes":
        held.fields["attributes"] = long
    return file(net([N("derived", dict(held.fields)) for _ in range(count if base != "int" else 20)]))


for _base in ("dict", "list", "tuple", "set", "deque", "OrderedDict", "defaultdict", "Counter", "int", "str", "bytes"):
    for _field in ("value", "attributes"):
        add(
            f"shared/{_field} of {_base}",
            lambda f=_field, b=_base: _shared(f, b),
            seconds=5,
            mib=600,
            poke=False,
            verbs=LOADS,
        )

# --- keys -------------------------------------------------------------------------------------------

for _base in VALUES:
    for _label, _put in {
        "key": lambda d: Mp([(d, 1)]),
        "element": lambda d: Sq("set", [d]),
        "frozen": lambda d: Sq("frozenset", [d]),
        "in a tuple": lambda d: Mp([((d, 1), 1)]),
        "in a namedtuple": lambda d: Mp([(named("gone:X", (d, 1)), 1)]),
        "in a derived": lambda d: made("Quiet_dict", Mp([(d, 1)])),
        "in a derived set": lambda d: made("Quiet_frozenset", Sq("frozenset", [d])),
        "of a state": lambda d: optimizer(state=Mp([(d, {})])),
    }.items():
        add(
            f"keys/{_base} as {_label}",
            lambda b=_base, p=_put: file(net(p(made(f"Loud_{b}", VALUES[b]())))),
            expect=INVALID,
        )
for _base, _of in {
    "dict": lambda keys: Mp([(k, None) for k in keys]),
    "OrderedDict": lambda keys: ordered(Mp([(k, None) for k in keys])),
    "Counter": lambda keys: counter(Mp([(k, None) for k in keys])),
    "defaultdict": lambda keys: defaultdict(None, Mp([(k, None) for k in keys])),
    "set": lambda keys: Sq("set", list(keys)),
    "frozenset": lambda keys: Sq("frozenset", list(keys)),
}.items():
    for _label, _key in {
        "integers": lambda i: 1 + i * P,
        "decimals": lambda i: decimal(str(1 + i * P)),
        "members": lambda i: enum("victim.kinds:HashEnum", "ONE") if i else 1,
        "tensors": lambda i: T(S(f"t{i}")),
    }.items():
        add(
            f"keys/many {_label} alike in {_base}",
            lambda of=_of, k=_key, b=_base: file(net(made(f"Quiet_{b}", of(k(i) for i in range(3_000))))),
            seconds=4,
            verbs=LOADS,
            poke=False,
        )
        add(
            f"keys/few {_label} alike in {_base}",
            lambda of=_of, k=_key, b=_base: file(net(made(f"Loud_{b}", of(k(i) for i in range(2))))),
            verbs=LOADS,
            poke=False,
        )

# --- where torch looks ------------------------------------------------------------------------------


def _seen(base: str, put: Any, *, wide: bool = False) -> bytes:
    """What a module of its own package holds, and torch looks at as well."""
    value = {"dict": {"params": [], "lr": 0.1}}.get(base) if wide else None
    held = made(f"Loud_{base}", VALUES[base]() if value is None else value)
    return file({"own": net(held), "torchs": put(held)})


_STEPS = lambda d: {"step": d, "exp_avg": d, "exp_avg_sq": d, "sum": d, "mu": d, "eta": d, "mu_product": d, "prev": d}  # noqa: E731
_WEIGHT = parameter("w")


def _groups(cls: str, put: Any) -> Any:
    return lambda d: optimizer(f"torch.optim:{cls}", **put(d))


for _base in VALUES:
    for _label, _put in {
        "factory": lambda d: defaultdict(d),
        "function": lambda d: partial(d),
        "module": lambda d: module(modules={"a": d}),
        "parameter": lambda d: module(parameters={"a": d}),
        "buffer": lambda d: module(buffers={"a": d}),
        "self": lambda d: N("method", {"self": d, "name": "update"}),
        "parameters": lambda d: N("module", {"class": "torch.nn:Identity", "training": False, "parameters": d}),
        "modules": lambda d: N("module", {"class": "torch.nn:Identity", "training": False, "modules": d}),
        "module attributes": lambda d: N("module", {"class": "torch.nn:Identity", "training": False, "attributes": d}),
        "training": lambda d: N("module", {"class": "torch.nn:Identity", "training": d}),
        "hooks": lambda d: module(hooks=d),
        "computed": lambda d: module(computed=(d,)),
        "state": lambda d: optimizer(state=d),
        "defaults": lambda d: optimizer(defaults=d),
        "groups": lambda d: optimizer(param_groups=d),
        "items": lambda d: ordered(d),
        "deque items": lambda d: N("deque", {"items": d, "maxlen": None}),
        "maxlen": lambda d: deque((), d),
        "args": lambda d: N("partial", {"function": function("torch:relu"), "args": d, "keywords": {}}),
        "keywords": lambda d: N("partial", {"function": function("torch:relu"), "args": (), "keywords": d}),
        "dims": lambda d: N("torch.Size", {"dims": d}),
        "dim": lambda d: N("torch.Size", {"dims": (d,)}),
        "dtype": lambda d: N("torch.dtype", {"name": d}),
        "class": lambda d: N("object", {"class": d, "attributes": {}}),
        "names": lambda d: N("namedtuple", {"class": "gone:X", "names": d, "items": ()}),
        "members": lambda d: N("enum", {"class": "gone:X", "members": (d,)}),
        "range": lambda d: N("range", {"start": 0, "stop": d, "step": 1}),
        "tensors": lambda d: N("wrapper_tensor", {"class": "victim.kinds:RingingWrapper", "tensors": d, "context": None, "shape": (2,), "strides": (1,), "flags": 0}),
        "tensor": lambda d: N("wrapper_tensor", {"class": "victim.kinds:RingingWrapper", "tensors": {"a": d}, "context": None, "shape": (2,), "strides": (1,), "flags": 0}),
        "attributes of a tensor": lambda d: T(S("u"), attributes=d),
        "data": lambda d: N("tensor_subclass", {"class": "victim.kinds:RingingTensor", "data": d, "flags": 0}),
        "scale": lambda d: N("torch.quantized", {"dtype": "quint8", "shape": (2,), "data": T(S("q", "uint8", (2,))), "scale": d, "zero_point": d, "axis": d, "flags": 0}),
    }.items():  # fmt: skip
        add(
            f"torch/{_base} as {_label}",
            lambda b=_base, p=_put: _seen(b, p),
            expect=dict.fromkeys(LOADS, "TorchkeepError"),
            verbs=("inspect", "load", "skeleton"),
        )
    for _label, _put in {
        "context": lambda d: N("wrapper_tensor", {"class": "victim.kinds:RingingWrapper", "tensors": {"a": T(S("u"))}, "context": d, "shape": (2,), "strides": (1,), "flags": 0}),
        "_flat_weights": lambda d: module("torch.nn:LSTM", attributes={"_all_weights": [["a"]], "_flat_weights": d, "_flat_weights_names": ["a"], "proj_size": d, "num_layers": d, "bidirectional": d, "bias": d, "all_weights": [["a"]]}),
        "_flat_weights inside": lambda d: module("torch.nn:LSTM", attributes={"_all_weights": [["a"]], "_flat_weights": [d], "_flat_weights_names": ["a"], "proj_size": d, "num_layers": 1}),
        "_all_weights": lambda d: module("torch.nn:GRU", attributes={"_all_weights": d, "num_layers": d}),
        "_all_weights inside": lambda d: module("torch.nn:GRU", attributes={"_all_weights": [d], "_flat_weights": []}),
        "old names": lambda d: module("torch.nn:LSTM", attributes={"_all_weights": [["a"]], "all_weights": [[0]], "_flat_weights": [d], "_flat_weights_names": ["a"], "num_layers": 10**12, "bidirectional": True, "bias": True}),
        "all_weights": lambda d: module("torch.nn:GRU", attributes={"_all_weights": [["a"]], "all_weights": d, "_flat_weights": [], "num_layers": d, "bias": d, "bidirectional": d}),
        "_all_weights names": lambda d: module("torch.nn:GRU", attributes={"_all_weights": [[d]], "_flat_weights": []}),
        "_flat_weights_names": lambda d: module("torch.nn:GRU", attributes={"_all_weights": [["a"]], "_flat_weights": [], "_flat_weights_names": d}),
        "padding_mode": lambda d: module("torch.nn:Conv2d", attributes=dict.fromkeys(("padding_mode", "padding", "stride", "kernel_size", "_reversed_padding_repeated_twice", "in_channels", "groups"), d)),
        "mode": lambda d: module("torch.nn:Upsample", attributes=dict.fromkeys(("mode", "size", "scale_factor", "align_corners", "recompute_scale_factor"), d)),
        "reduction": lambda d: module("torch.nn:CrossEntropyLoss", attributes=dict.fromkeys(("reduction", "ignore_index", "label_smoothing"), d)),
        "num_embeddings": lambda d: module("torch.nn:Embedding", attributes=dict.fromkeys(("num_embeddings", "padding_idx", "max_norm", "sparse"), d)),
        "attention": lambda d: module("torch.nn:MultiheadAttention", attributes=dict.fromkeys(("embed_dim", "num_heads", "batch_first", "head_dim", "_qkv_same_embed_dim", "dropout"), d)),
        "encoder layer": lambda d: module("torch.nn:TransformerEncoderLayer", attributes=dict.fromkeys(("activation", "norm_first", "activation_relu_or_gelu", "self_attn"), d)),
        "softmax": lambda d: module("torch.nn:Softmax", attributes={"dim": d, "inplace": d}),
        "pool": lambda d: module("torch.nn:AvgPool2d", attributes=dict.fromkeys(("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad"), d)),
        "norm": lambda d: module("torch.nn:BatchNorm1d", attributes=dict.fromkeys(("num_features", "eps", "momentum", "affine", "track_running_stats"), d)),
        "lists": lambda d: module("torch.nn:ParameterList", attributes={"_size": d}),
        "lists of keys": lambda d: module("torch.nn:ParameterDict", attributes={"_keys": d}),
        "lazy": lambda d: module("torch.nn:LazyLinear", attributes=dict.fromkeys(("in_features", "out_features", "cls_to_become"), d), lazy=True),
        "unflatten": lambda d: module("torch.nn:Unflatten", attributes={"dim": d, "unflattened_size": d}),
        "averaged": lambda d: module("torch.optim.swa_utils:AveragedModel", attributes=dict.fromkeys(("avg_fn", "multi_avg_fn", "use_buffers"), d), modules={"module": module()}, buffers={"n_averaged": T(S("n"))}),
        "parametrized": lambda d: module("torch.nn:Linear", modules={"parametrizations": module("torch.nn:ModuleDict", modules={"weight": module("torch.nn.utils.parametrize:ParametrizationList", attributes={"is_tensor": d, "ntensors": d, "unsafe": d}, parameters={"original": parameter()}, modules={"0": module("torch.nn.utils.parametrizations:_WeightNorm", attributes={"dim": d})})})}),
        "spectral": lambda d: module("torch.nn:Linear", attributes={"dim": d, "weight": d, "in_features": d}, parameters={"weight_v": parameter("a", (2, 2)), "weight_g": parameter("b", (2, 1))}, computed=(N("torch.weight_norm", {"name": "weight", "dim": 0}),)),
        "pruned": lambda d: module("torch.nn:Linear", parameters={"weight_orig": parameter("a", (2, 2))}, buffers={"weight_mask": T(S("m", "float32", (2, 2)))}, computed=(N("torch.prune", {"name": "weight", "methods": (N("pruning_method", {"class": "torch.nn.utils.prune:L1Unstructured", "attributes": {"amount": d}}),), "container": False}),)),
        "scaler": lambda d: plain("torch.amp.grad_scaler:GradScaler", _enabled=d, _scale=d, _device=d, _growth_tracker=d, _per_optimizer_states=d),
        "scheduler": lambda d: plain("torch.optim.lr_scheduler:StepLR", optimizer=d, base_lrs=d, _step_count=d, last_epoch=d, step_size=d),
        "scheduled groups": lambda d: plain("torch.optim.lr_scheduler:StepLR", optimizer=optimizer(param_groups=[d]), base_lrs=d, _step_count=1, last_epoch=d),
        "scheduled optimizer": lambda d: plain("torch.optim.lr_scheduler:LambdaLR", optimizer=optimizer(param_groups=[{"params": [parameter()], "lr": d, "initial_lr": d}], attributes={"_opt_called": d, "_step_count": d, "profile_hook_step": d}), lr_lambdas=[d], _step_count=1),
    }.items():  # fmt: skip
        add(
            f"torch/{_base} in {_label}",
            lambda b=_base, p=_put: _seen(b, p),
            poke=False,
            verbs=("inspect", "load", "skeleton"),
        )
for _cls in (
    "ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "LBFGS", "Muon", "NAdam", "RAdam", "RMSprop",
    "Rprop", "SGD", "SparseAdam",
):  # fmt: skip
    for _base in ("dict", "list", "str", "float", "int", "defaultdict", "OrderedDict"):
        for _label, _put in {
            "group": lambda d: {"param_groups": [d]},
            "params": lambda d: {"param_groups": [{"params": d, "lr": 1.0}]},
            "param": lambda d: {"param_groups": [{"params": [d]}]},
            "options": lambda d: {
                "param_groups": [
                    {"params": [parameter()]} | dict.fromkeys(("lr", "betas", "fused", "capturable", "foreach", "amsgrad", "maximize", "differentiable", "momentum", "nesterov", "lambd"), d)
                ],
                "defaults": dict.fromkeys(("lr", "fused", "differentiable", "foreach"), d),
            },
            "state": lambda d: (lambda w: {"param_groups": [{"params": [w]}], "state": Mp([(w, d)])})(parameter()),
            "steps": lambda d: (lambda w: {"param_groups": [{"params": [w], "capturable": False, "fused": None}], "state": Mp([(w, _STEPS(d))])})(parameter()),
            "attributes": lambda d: {"attributes": dict.fromkeys(("_zero_grad_profile_name", "_step_count", "_params", "_numel_cache", "_warned_capturable_if_run_uncaptured", "_need_device_dtype_check_for_fused"), d)},
        }.items():  # fmt: skip
            add(
                f"optimizer/{_cls} with {_base} as {_label}",
                lambda c=_cls, b=_base, p=_put: _seen(b, _groups(c, p), wide=True),
                poke=False,
                verbs=("load", "into") if _cls == "Adam" else ("load",),
            )

# --- objects of the program, as torch looks at them -------------------------------------------------

for _label, _put in {
    "group": lambda d: optimizer("torch.optim:Adam", param_groups=[d]),
    "params": lambda d: optimizer("torch.optim:Adam", param_groups=[{"params": d}]),
    "state": lambda d: (lambda w: optimizer("torch.optim:Adam", param_groups=[{"params": [w]}], state=Mp([(w, d)])))(
        parameter()
    ),
    "steps": lambda d: (
        lambda w: optimizer("torch.optim:Adam", param_groups=[{"params": [w]}], state=Mp([(w, {"step": d})]))
    )(parameter()),
    "weights": lambda d: module("torch.nn:LSTM", attributes={"_all_weights": [["a"]], "_flat_weights": d}),
}.items():
    for _kind in ("object", "namedtuple"):
        add(
            f"optimizer/{_kind} as {_label}",
            lambda p=_put, k=_kind: file(
                (lambda d: {"own": net(d), "torchs": p(d)})(
                    plain(f"{DERIVED}:Acting", a=1) if k == "object" else named(f"{DERIVED}:ActingPoint")
                )
            ),
            poke=False,
        )

# --- state_dicts and parts --------------------------------------------------------------------------

for _base in ("dict", "OrderedDict", "defaultdict", "Counter"):
    for _where, _put in {
        "root": lambda d: d,
        "part": lambda d: {"model": d, "state_dict": d},
        "held": lambda d: net(d),
        "in itself": lambda d: made("Loud_dict", {"model": d}),
    }.items():
        for _label, _held in {
            "weights": lambda: {"weight": parameter()},
            "extra": lambda: {"weight": parameter(), "_extra_state": made("Loud_dict", {"a": 1})},
            "optimizer": lambda: {"state": made("Loud_dict", {}), "param_groups": made("Loud_list", [made("Loud_dict", {})])},
            "optimizer of lists": lambda: {"state": {0: made("Loud_dict", {"step": made("Loud_int", 1)})}, "param_groups": [made("Loud_dict", {"params": made("Loud_list", [0])})]},
        }.items():  # fmt: skip
            for _key in (None, "model"):
                add(
                    f"parts/{_base} of {_label} as {_where} at {_key}",
                    lambda b=_base, p=_put, h=_held: file(
                        p(made(f"Loud_{b}", {"dict": lambda x: x, "OrderedDict": ordered, "Counter": counter, "defaultdict": lambda x: defaultdict(None, x)}[b](h())))
                    ),
                    load={} if _key is None else {"key": _key},
                    into={} if _key is None else {"key": _key},
                    poke=False,
                )  # fmt: skip

CASES = some(CASES, 13)
