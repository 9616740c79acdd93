"""Graphs that are bombs: depth, sharing, cycles, keys. A small file must stay small work."""

# ruff: noqa: PLW0108, PLC3002 - each case is a lambda, so that a literal is only made where it is opened

from __future__ import annotations

from typing import Any

from case import Cases
from forge import Mp, N, S, Sq, T, chain, file, function, module, optimizer, parameter, partial, plain

CASES = Cases()
add = CASES.add
NETS = "victim.nets"
DEEP = 100_000
UNTOLD = ("inspect", "load", "into")
"""All but the JSON of `inspect`, which has a case of its own where depth makes it long."""


def _doubled(levels: int, wrap: Any, inner: Any) -> Any:
    """Each level holds the one below twice: 2**levels paths in a few lines."""
    for _ in range(levels):
        inner = wrap(inner)
    return inner


# --- depth ---


def _LIST(x: Any) -> Any:
    return [x]


for _label, _wrap in {
    "lists": _LIST,
    "tuples": lambda x: (x,),
    "dicts": lambda x: {"a": x},
    "OrderedDicts": lambda x: N("OrderedDict", {"items": {"a": x}}),
    "frozensets": lambda x: Sq("frozenset", [x]) if x is not None else Sq("frozenset", []),
    "records": lambda x: plain("gone:X", a=x),
    "modules": lambda x: module(modules={"a": x}),
    "attributes": lambda x: module(attributes={"a": x}),
    "tensors": lambda x: T(S("t", "uint8", (0,)), attributes={"a": x}),
    "partials by argument": lambda x: partial(function("torch:relu"), x),
}.items():
    add(
        f"deep/{_label}",
        lambda w=_wrap: file(
            [
                chain(
                    DEEP if w is _LIST else DEEP // 5,
                    w,
                    None if w({}).__class__ is not N or w({}).kind != "module" else module(),
                )
            ]
        ),
        seconds=8,
        mib=1500,
        poke=_label != "modules",
        verbs=UNTOLD,
    )


def _renamed(spec: T) -> T:
    return spec


def _tensors_in_a_row() -> bytes:
    stored = S("t", "uint8", (1,))
    inner = None
    for _ in range(50_000):
        inner = T(stored, ("uint8", (1,), (1,), 0), attributes=None if inner is None else {"a": inner})
    return file([inner])


CASES["deep-tensors"].make = _tensors_in_a_row
add("deep/lists as json", lambda: file([chain(DEEP, lambda x: [x], 1)]), seconds=8, mib=1500, verbs=("json",))
add(
    "deep/partials of partials",
    lambda: file([chain(DEEP, lambda x: partial(x, 1), function("torch:relu"))]),
    seconds=8,
    mib=1500,
    verbs=UNTOLD,
)
add(
    "deep/tuples as a key",
    lambda: file(Mp([(chain(4 * DEEP, lambda x: (x,), 1), 1)])),
    seconds=8,
    mib=1500,
    poke=False,
    verbs=UNTOLD,
)
add(
    "deep/tuples in a set",
    lambda: file([Sq("set", [chain(DEEP * 3, lambda x: (x,), 1)])]),
    seconds=8,
    mib=1500,
    poke=False,
    verbs=UNTOLD,
)
add(
    "deep/frozensets as a key",
    lambda: file(Mp([(chain(DEEP, lambda x: Sq("frozenset", [x]), 1), 1)])),
    seconds=8,
    mib=1500,
    poke=False,
    verbs=UNTOLD,
)
add(
    "deep/tuples as an optimizer's key",
    lambda: file(optimizer(state=Mp([(chain(4 * DEEP, lambda x: (x,), 1), {})]))),
    seconds=8,
    mib=1500,
    poke=False,
    verbs=UNTOLD,
)
add(
    "deep/modules with weights",
    lambda: file(
        chain(20_000, lambda x: module(modules={"abcdefgh" * 4: x}, parameters={"w": T(SHARED_T, flags=3)}), module())
    ),
    seconds=8,
    mib=1500,
    poke=False,
    verbs=UNTOLD,
)
add(
    "deep/one long key above",
    lambda: file({"k" * 5_000_000: [[] for _ in range(5_000)]}),
    seconds=8,
    mib=1500,
    poke=False,
    verbs=("inspect", "load"),
)
add(
    "deep/long keys all the way",
    lambda: file(chain(2_000, lambda x: {"k" * 1_000: x}, 1)),
    seconds=8,
    mib=1500,
    poke=False,
    verbs=("inspect", "load"),
)
SHARED_T = S("t", "float32", (1,))

# --- sharing ---

_TWICE = {
    "tuples as a key": lambda: file(Mp([(_doubled(60, lambda x: (x, x), 1), 1)])),
    "tuples in a set": lambda: file([Sq("set", [_doubled(60, lambda x: (x, x), 1)])]),
    "tuples as a value": lambda: file([_doubled(60, lambda x: (x, x), 1)]),
    "lists": lambda: file([_doubled(60, lambda x: [x, x], 1)]),
    "modules": lambda: file(_doubled(60, lambda x: module(modules={"a": x, "b": x}), module())),
    "modules with a weight": lambda: file(
        _doubled(60, lambda x: module(modules={"a": x, "b": x}), module(parameters={"weight": parameter()}))
    ),
    "modules in attributes": lambda: file(_doubled(60, lambda x: module(attributes={"a": x, "b": x}), module())),
    "partials": lambda: file([_doubled(60, lambda x: partial(x, x), function("torch:relu"))]),
    "dicts of weights": lambda: file(_doubled(60, lambda x: {"model": x, "state_dict": x}, {"weight": parameter()})),
}
for _label, _make in _TWICE.items():
    add(f"twice/{_label}", _make, poke=False, seconds=2)

_MANY = 6_000


def _shared(make: Any, inner: Any) -> Any:
    return lambda: file([make(inner) for _ in range(_MANY)])


_ONE = tuple(range(_MANY))
add(
    "shared/tuple of partials",
    lambda: file(
        (
            lambda a: [
                N("partial", {"function": function("torch:relu"), "args": a, "keywords": {}}) for _ in range(_MANY)
            ]
        )(tuple(range(_MANY)))
    ),
    seconds=15,
    poke=False,
)
add(
    "shared/keywords of partials",
    lambda: file(
        (
            lambda a: [
                N("partial", {"function": function("torch:relu"), "args": (), "keywords": a}) for _ in range(_MANY)
            ]
        )({f"k{i}": i for i in range(_MANY)})
    ),
    seconds=15,
    poke=False,
)
add(
    "shared/dims of sizes",
    lambda: file((lambda a: [N("torch.Size", {"dims": a}) for _ in range(_MANY)])(tuple(range(_MANY)))),
    seconds=15,
    poke=False,
)
add(
    "shared/attributes of records",
    lambda: file(
        (lambda a: [N("object", {"class": "gone:X", "attributes": a}) for _ in range(_MANY)])(
            {f"k{i}": i for i in range(_MANY)}
        )
    ),
    seconds=15,
    poke=False,
)
add(
    "shared/attributes of modules",
    lambda: file((lambda a: [module(attributes=a) for _ in range(_MANY)])({f"k{i}": i for i in range(_MANY)})),
    seconds=15,
    poke=False,
)
add(
    "shared/children of modules",
    lambda: file(
        (lambda a: [module(modules=a) for _ in range(_MANY)])((lambda m: {f"k{i}": m for i in range(_MANY)})(module()))
    ),
    seconds=15,
    poke=False,
)
add(
    "shared/items of OrderedDicts",
    lambda: file(
        (lambda a: [N("OrderedDict", {"items": a}) for _ in range(_MANY)])({f"k{i}": i for i in range(_MANY)})
    ),
    seconds=15,
    poke=False,
)
add(
    "shared/list below modules",
    lambda: file((lambda a: [module(attributes={"a": a}) for _ in range(_MANY)])([[] for _ in range(_MANY)])),
    seconds=15,
    poke=False,
)
add(
    "shared/state of optimizers",
    lambda: file((lambda a: [{"state": a, "param_groups": []} for _ in range(_MANY)])({i: {} for i in range(_MANY)})),
    seconds=15,
    poke=False,
)
add(
    "shared/key many times",
    lambda: file(
        (lambda key: [Mp([(key, 1)]) for _ in range(_MANY)])(
            tuple(() for _ in range(1)) + tuple((i,) for i in range(_MANY))
        )
    ),
    seconds=15,
    poke=False,
)
add(
    "shared/key many times in a map",
    lambda: file((lambda key: Mp([(key, 1) for _ in range(_MANY)]))(tuple((i,) for i in range(_MANY)))),
    seconds=15,
    poke=False,
)
add(
    "shared/weights under many keys",
    lambda: file((lambda a: {f"m{i}": a for i in range(_MANY)})((lambda p: {f"k{i}": p for i in range(_MANY)})(T()))),
    seconds=15,
    poke=False,
)
add(
    "shared/attributes of two tensors",
    lambda: file((lambda a: [T(S("x"), attributes=a), T(S("y"), attributes=a)])({"a": 1})),
    check=lambda o: [] if vars(o[0]) == vars(o[1]) == {"a": 1} else [f"{vars(o[0])} and {vars(o[1])}"],
)

# --- keys ---


def _same_hash(count: int) -> list[int]:
    return [1 + i * (2**61 - 1) for i in range(count)]


add(
    "keys/of one hash",
    lambda: file(Mp([(key, None) for key in _same_hash(60_000)])),
    seconds=15,
    poke=False,
    verbs=("inspect", "load"),
)
add(
    "keys/tuples of one hash",
    lambda: file(Mp([((key,), 1) for key in _same_hash(20_000)])),
    seconds=15,
    poke=False,
    verbs=("inspect", "load"),
)
for _label, _keys in {
    "one and True": [1, True],
    "one and 1.0": [1, 1.0],
    "zero and -0.0": [0.0, -0.0],
    "text twice": ["a", "a"],
    "None twice": [None, None],
    "complex": [1 + 0j, 1],
}.items():
    add(f"keys/{_label}", lambda k=_keys: file([Mp([(key, 1) for key in k])]), expect={"load": "FormatError"})
    add(f"keys/set {_label}", lambda k=_keys: file([Sq("set", k)]), expect={"load": "FormatError"})
add(
    "keys/equal tuples",
    lambda: file([Mp([((1, 2), 1), (Sq("tuple", [1, 2]), 2)])]),
    expect={"load": "FormatError"},
    verbs=("load",),
)
add("keys/nan twice", lambda: file([Mp([(float("nan"), 1), (float("nan"), 2)])]))
for _label, _key in {
    "list": lambda: [1],
    "dict": dict,
    "set": lambda: Sq("set", []),
    "list in a tuple": lambda: ([1],),
    "object": lambda: plain("gone:X"),
    "partial": lambda: partial(function("torch:relu")),
    "method": lambda: N("method", {"self": module(), "name": "x"}),
    "optimizer": lambda: optimizer(),
    "custom": lambda: N("custom", {"class": "x:y", "state": 1}),
    "OrderedDict": lambda: N("OrderedDict", {"items": {}}),
}.items():
    add(f"keys/{_label}", lambda k=_key: file([Mp([(k(), 1)])]), expect={"load": "FormatError"})
    add(f"keys/set of {_label}", lambda k=_key: file([Sq("set", [k()])]), expect={"load": "FormatError"})

# --- cycles ---


def _through(kind: str) -> Any:
    def make() -> bytes:
        made = Sq(kind, [])
        made.items.append(made)
        return file([made])

    return make


for _kind in ("list", "tuple", "set", "frozenset"):
    add(f"cycle/{_kind} in itself", _through(_kind), expect={} if _kind == "list" else {"load": "FormatError"})


def _tuple_through(inside: Any) -> Any:
    def make() -> bytes:
        outer = Sq("tuple", [])
        outer.items.append(inside(outer))
        return file(outer)

    return make


def _holds(read: Any) -> Any:
    def check(obj: Any) -> list[str]:
        try:
            found = read(obj)
        except Exception as error:
            return [f"what the file says is not there: {type(error).__name__}: {error}"]
        return [] if found is obj else [f"holds {found!r}"]

    return check


for _label, _inside, _read in (
    ("list", lambda t: [t], lambda o: o[0][0]),
    ("dict", lambda t: {"a": t}, lambda o: o[0]["a"]),
    ("OrderedDict", lambda t: N("OrderedDict", {"items": {"a": t}}), lambda o: o[0]["a"]),
    ("module", lambda t: module(attributes={"a": t}), lambda o: o[0].a),
    ("record", lambda t: plain("gone:X", a=t), lambda o: o[0].a),
    ("tensor", lambda t: T(attributes={"a": t}), lambda o: o[0].a),
    ("partial", lambda t: partial(function("torch:relu"), a=t), lambda o: o[0].keywords["a"]),
    ("optimizer", lambda t: optimizer(attributes={"a": t}), lambda o: o[0].a),
    ("defaults", lambda t: optimizer(defaults={"a": t}), lambda o: o[0].defaults["a"]),
    ("state", lambda t: optimizer(state={"a": t}), lambda o: o[0].state["a"]),
    ("extra of a dict", lambda t: N("OrderedDict", {"items": {}, "attributes": {"a": t}}), lambda o: o[0].a),
):
    add(
        f"cycle/tuple through {_label}",
        _tuple_through(_inside),
        check=_holds(_read),
        verbs=("inspect", "load", "skeleton"),
    )
add(
    "cycle/tuple through a key",
    _tuple_through(lambda t: {t: 1}),
    verbs=("inspect", "load"),
    expect={"load": "FormatError"},
)
add(
    "cycle/tuple through a set",
    _tuple_through(lambda t: Sq("set", [t])),
    verbs=("inspect", "load"),
    expect={"load": "FormatError"},
)
add("cycle/module in itself", lambda: _own_child(), seconds=10)
add("cycle/modules of each other", lambda: _each_other(), seconds=10)


def _own_child() -> bytes:
    made = module(f"{NETS}:Net", modules={})
    made.fields["modules"]["a"] = made
    return file(made)


def _each_other() -> bytes:
    one, two = module(f"{NETS}:Net", modules={}), module(f"{NETS}:Net", modules={})
    one.fields["modules"] |= {"a": two, "b": two}
    two.fields["modules"] |= {"a": one, "b": one}
    return file(one)


# --- classes of torch with a state of the file's choice ---

for _label, _attributes in {
    "layers": {
        "num_layers": 10**9,
        "bidirectional": True,
        "bias": True,
        "proj_size": 0,
        "_all_weights": [[0]],
        "mode": "LSTM",
    },
    "layers of text": {"num_layers": "9", "bidirectional": 1, "_all_weights": [[0]]},
    "no weights": {"_all_weights": []},
    "names": {"_all_weights": [["a"]], "_flat_weights_names": ["__class__", "__dict__", "forward", "all_weights"]},
}.items():
    for _cls in ("RNN", "LSTM", "GRU", "RNNBase"):
        add(
            f"state/{_cls} {_label}",
            lambda c=_cls, a=_attributes: file(module(f"torch.nn:{c}", attributes=dict(a))),
            verbs=("inspect", "load"),
            seconds=2,
        )
for _cls in (
    "Adam",
    "AdamW",
    "SGD",
    "LBFGS",
    "Adafactor",
    "Adagrad",
    "ASGD",
    "Muon",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SparseAdam",
    "Adamax",
    "Adadelta",
    "Optimizer",
):
    for _label, _fields in {
        "groups of numbers": {"param_groups": [1, 2]},
        "groups of params": {"param_groups": [{"params": 5}]},
        "no lr": {"param_groups": [{"params": [parameter()]}]},
        "hostile step": {"param_groups": [{"params": [0]}], "state": {0: {"step": "1" * 100}}},
        "module state": {"state": {0: module(f"{NETS}:Listing")}, "param_groups": []},
        "defaults": {"defaults": {5: function("torch:relu")}},
    }.items():
        add(
            f"optimizer/{_cls} {_label}",
            lambda c=_cls, f=_fields: file(optimizer(f"torch.optim:{c}", **f)),
            verbs=("inspect", "load"),
        )

# --- classes that lie about their versions ---

for _label, _version in {
    "negative": -1,
    "very negative": -(10**15),
    "zero": 0,
    "huge": 10**15,
    "beyond": 10**30,
}.items():
    for _cls in ("torch.nn:Identity", f"{NETS}:Net"):
        add(
            f"version/{_label} of {_cls.replace(':', '.')}",
            lambda v=_version, c=_cls: file(module(c), classes={c: _info(v)}),
            verbs=("inspect", "load", "skeleton"),
            expect={"load": "LoadError"},
        )


def _info(version: int) -> Any:
    from torchkeep.document import ClassInfo

    return ClassInfo(version=version)


add(
    "many/classes that do not open",
    lambda: file([module(f"gone{i}.nets:Net") for i in range(30_000)]),
    seconds=15,
    expect={"load": "TrustError"},
)
add(
    "many/names of one long one",
    lambda: file([module(f"gone.nets:{i or 'N' * 1_000_000}") for i in range(5_000)]),
    seconds=15,
    expect={"load": "TrustError"},
)
add("many/records", lambda: file([plain(f"gone{i}:X") for i in range(30_000)]), seconds=3, mib=200, poke=False)
add(
    "many/hooks",
    lambda: file([module(hooks=("a forward hook",)) for _ in range(30_000)]),
    load={"allow": {"hooks"}},
    seconds=15,
    poke=False,
)
add(
    "many/extra states",
    lambda: file([module(f"{NETS}:Extra", extra_state=1) for _ in range(30_000)]),
    seconds=15,
    poke=False,
)
