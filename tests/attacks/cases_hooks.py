"""Hooks that compute, ways to prune, and lazy modules: what torch's kernels would trust, and what would hide or run."""

# ruff: noqa: PLW0108 - each case is a lambda, so that a literal is only made where it is opened

from __future__ import annotations

from typing import Any

from case import Cases
from forge import N, S, Sq, T, file, function, module, optimizer, parameter, partial, plain

CASES = Cases()
add = CASES.add
NETS = "victim.nets"
HOOKS = "victim.hooks"
PRUNE = "torch.nn.utils.prune"
LOADS = ("load", "skeleton")
REFUSED = {"inspect": "FormatError", "json": "FormatError", "load": "FormatError", "skeleton": "FormatError"}
LINEAR = {"in_features": 3, "out_features": 2}


def norm(name: str = "weight", dim: Any = 0) -> N:
    return N("torch.weight_norm", {"name": name, "dim": dim})


def spectral(name: str = "weight", **more: Any) -> N:
    return N("torch.spectral_norm", {"name": name, "dim": 0, "power_iterations": 1, "eps": 1e-12} | more)


def method(cls: str = f"{PRUNE}:Identity", **attributes: Any) -> N:
    return N("pruning_method", {"class": cls} | ({"attributes": attributes} if attributes else {}))


def prune(*methods: Any, name: str = "weight", container: bool = False) -> N:
    return N("torch.prune", {"name": name, "methods": methods, "container": container})


def blank(dtype: str = "float32", parameter: Any = True, requires_grad: Any = True, **attributes: Any) -> N:
    fields = {"dtype": dtype, "parameter": parameter, "requires_grad": requires_grad}
    return N("torch.uninitialized", fields | ({"attributes": attributes} if attributes else {}))


def normed(hook: Any = None, *, cls: str = "torch.nn:Linear", name: str = "weight", **more: Any) -> N:
    """A linear module with a norm that is right but for what is given."""
    g, v = more.pop("g", None), more.pop("v", None)
    parameters = {f"{name}_g": g or parameter("g", (2, 1)), f"{name}_v": v or parameter("v", (2, 3))}
    attributes = LINEAR | more.pop("attributes", {})
    hooks = more.pop("computed", (hook or norm(name),))
    parameters |= more.pop("parameters", {})
    return module(cls, parameters={"bias": None} | parameters, attributes=attributes, computed=hooks, **more)


def spectrally(hook: N, u: Any = (2,), v: Any = (3,), weight: Any = (2, 3), dtype: str = "float32") -> N:
    buffers = {"weight_u": T(S("u", dtype, u)), "weight_v": T(S("v", dtype, v))}
    parameters = {"bias": None, "weight_orig": parameter("w", weight)}
    return module("torch.nn:Linear", parameters=parameters, buffers=buffers, attributes=LINEAR, computed=(hook,))


def pruned(*methods: Any, container: bool = False, mask: Any = (2, 3), cls: str = "torch.nn:Linear") -> N:
    parameters = {"bias": None, "weight_orig": parameter("w", (2, 3))}
    buffers = {"weight_mask": T(S("m", "float32", mask))}
    hooks = (prune(*methods, container=container),)
    return module(cls, parameters=parameters, buffers=buffers, attributes=LINEAR, computed=hooks)


def lazy(cls: str = "torch.nn:LazyLinear", **more: Any) -> N:
    parameters = {"weight": blank(), "bias": blank()}
    return module(cls, **({"parameters": parameters, "attributes": dict(LINEAR), "lazy": True} | more))


def has_weight(obj: Any) -> list[str]:
    """What was right came back right: the harness is no use if it is refused."""
    held = vars(obj).get("weight")
    return [] if getattr(held, "shape", None) == (2, 3) else [f"the weight is {held!r}"]


OPEN = {"inspect": "ok", "load": "ok", "skeleton": "ok"}
add("hooks right/weight norm", lambda: file(normed()), expect=OPEN, check=has_weight)
add("hooks right/spectral norm", lambda: file(spectrally(spectral())), expect=OPEN, check=has_weight)
add("hooks right/prune", lambda: file(pruned(method())), expect=OPEN, check=has_weight)
add("hooks right/lazy", lambda: file(lazy()), expect=OPEN)

# --- shapes that a kernel would trust ---

_SHAPES: dict[str, Any] = {
    "one norm of many rows": lambda: normed(g=parameter("g", (1, 1)), v=parameter("v", (100_000, 3))),
    "a norm without numbers": lambda: normed(g=parameter("g", (0, 1))),
    "no rows": lambda: normed(g=parameter("g", (0, 1)), v=parameter("v", (0, 3))),
    "no columns": lambda: normed(v=parameter("v", (2, 0))),
    "a scalar": lambda: normed(norm(dim=-1), g=parameter("g", ()), v=parameter("v", ())),
    "another dtype": lambda: normed(g=parameter("g", (2, 1), "float64")),
    "bytes": lambda: normed(v=T(S("v", "uint8", (2, 3)), flags=2), g=T(S("g", "uint8", (2, 1)), flags=2)),
    "bits": lambda: normed(v=T(S("v", "bits8", (2, 3)), flags=2), g=T(S("g", "bits8", (2, 1)), flags=2)),
    "a mask of another shape": lambda: pruned(method(), mask=(3, 2)),
    "a mask of no dimension": lambda: pruned(method(), mask=()),
    "short u": lambda: spectrally(spectral(), u=(1,)),
    "long v": lambda: spectrally(spectral(), v=(4,)),
    "u of two dimensions": lambda: spectrally(spectral(), u=(2, 1)),
    "u of another dtype": lambda: spectrally(spectral(), dtype="float64"),
    "a weight of no size": lambda: spectrally(spectral(), u=(0,), weight=(0, 3)),
    "a weight of no dimension": lambda: spectrally(spectral(), u=(), v=(), weight=()),
    "a blank v": lambda: normed(v=blank()),
    "a null v": lambda: normed(parameters={"weight_v": None}),
    "no v": lambda: module("torch.nn:Linear", parameters={"weight_g": parameter()}, computed=(norm(),)),
    "nothing": lambda: module("torch.nn:Linear", computed=(norm(),)),
}
for _label, _make in _SHAPES.items():
    add(f"hooks shapes/{_label}", lambda m=_make: file(m()), expect=REFUSED)
for _dim in (1, -1, 2, -3, 2**31, -(2**63), 2**64, 10**100, 0.0, True, None, "0"):
    add(f"hooks dims/norm {_dim}", lambda d=_dim: file(normed(norm(dim=d))), expect=REFUSED)
for _dim in (1, -1, 2, 2**63, 10**100, False):
    add(f"hooks dims/spectral {_dim}", lambda d=_dim: file(spectrally(spectral(dim=d))), expect=REFUSED)
for _count in (0, -1, 2**31, 2**64, 1.0):
    add(
        f"hooks dims/iterations {_count}",
        lambda n=_count: file(spectrally(spectral(power_iterations=n))),
        expect=REFUSED,
    )
for _eps in (float("nan"), float("inf"), -1.0, 0, 10**400):
    add(f"hooks dims/eps {str(_eps)[:8]}", lambda e=_eps: file(spectrally(spectral(eps=e))), verbs=LOADS)

# --- names ---

for _name in ("", "__class__", "__dict__", "__call__", "_parameters", "_forward_pre_hooks", "training", "a.b", "bias"):
    add(f"hooks names/{_name or 'empty'}", lambda n=_name: file(normed(name=n)), expect=REFUSED)
for _name in ("forward", "extra_repr", "register_forward_pre_hook", "zero_grad", "T_destination", "weight_g"):
    wanted = "FormatError" if _name == "weight_g" else "ok" if _name == "T_destination" else "LoadError"
    add(
        f"hooks names/hides {_name}",
        lambda n=_name: file(normed(name=n, parameters={"weight_g": parameter("x", (2, 1))})),
        expect={"load": wanted},
    )
for _name in ("forward", "helper", "prop", "cached", "made", "still", "part", "Inner"):
    add(f"hooks names/hides {_name} of the program", lambda n=_name: file(normed(name=n, cls=f"{NETS}:Net")),
        expect={"load": "LoadError", "skeleton": "ok"})  # fmt: skip
add(
    "hooks names/a descriptor", lambda: file(normed(name="held", cls=f"{NETS}:Described")), expect={"load": "LoadError"}
)
add("hooks names/twice", lambda: file(normed(computed=(norm(), norm()))), expect=REFUSED)
add("hooks names/of a child", lambda: file(normed(modules={"weight": module()})), expect=REFUSED)
add("hooks names/of a parameter", lambda: file(normed(parameters={"weight": parameter("w", (2, 3))})), expect=REFUSED)
add("hooks names/terminal", lambda: file(normed(name="\x1b[2J\u202e")), check=lambda obj: [])
add("hooks names/surrogate", lambda: file(normed(name="\ud800")))
_HELD: dict[str, Any] = {
    "a number": lambda: 1,
    "a function": lambda: function("torch:relu"),
    "a module": lambda: module(),
    "a partial": lambda: partial(function("torch:relu")),
    "an object": lambda: plain(f"{NETS}:Callable"),
    "nothing": lambda: blank(),
}
for _label, _make in _HELD.items():
    add(f"hooks names/computed {_label}", lambda m=_make: file(normed(attributes={"weight": m()})), expect=REFUSED)
add("hooks names/computed already", lambda: file(normed(attributes={"weight": T(S("w", "float32", (7,)))})),
    expect={"load": "ok"})  # fmt: skip

# --- places ---

_KINDS: dict[str, Any] = {"norm": norm, "spectral": spectral, "prune": lambda: prune(method()), "method": method}
_PLACES: dict[str, Any] = {
    "root": lambda hook: hook,
    "list": lambda hook: [hook],
    "attribute": lambda hook: module(attributes={"forward": hook}),
    "extra state": lambda hook: module(f"{NETS}:Taking", parameters={"weight": parameter()}, extra_state=hook),
    "argument": lambda hook: partial(function("torch:relu"), hook),
    "optimizer state": lambda hook: optimizer(state={parameter(): {"step": hook}}),
    "attribute of a tensor": lambda hook: T(S("t"), attributes={"a": hook}),
    "its own module and a list": lambda hook: [
        normed(computed=(hook,) if hook.kind == "torch.weight_norm" else ()),
        hook,
    ],
    "set": lambda hook: Sq("set", [hook]),
}
for _label, _put in _PLACES.items():
    for _kind, _make in _KINDS.items():
        add(f"hooks places/{_kind} as {_label}", lambda p=_put, m=_make: file(p(m())), expect=REFUSED)


def _shared(together: bool) -> Any:
    hook = norm()
    hooks = (hook,)
    return [normed(computed=hooks), normed(computed=hooks if together else (hook,))]


add("hooks places/of two modules", lambda: file(_shared(False)), expect=REFUSED)
add("hooks places/one tuple of two modules", lambda: file(_shared(True)), expect=REFUSED)
add("hooks places/a module as a hook", lambda: file(normed(computed=(module(),))), expect=REFUSED)
add("hooks places/a method as a hook", lambda: file(normed(computed=(method(),))), expect=REFUSED)
add("hooks places/a hook as a method", lambda: file(pruned(norm())), expect=REFUSED)
add("hooks places/in a skeleton", lambda: file(normed(cls="gone:Net")), expect={"load": "TrustError", "skeleton": "ok"})
add("hooks places/of a container", lambda: file(module("torch.nn:Sequential", computed=(norm(),))), expect=REFUSED)

# --- work ---


def _together(count: int) -> Any:
    v = parameter("v", (1000, 250))
    return [normed(g=parameter(f"g{i}", (1000, 1)), v=v) for i in range(count)]


def _many_hooks(count: int) -> Any:
    parameters = {}
    for i in range(count):
        stored = S(f"t{i}", "float32", (1,))
        parameters |= {f"w{i}_g": T(S(f"g{i}", "float32", (1,)), flags=3), f"w{i}_v": T(stored, flags=3)}
    return module(parameters=parameters, computed=tuple(norm(f"w{i}") for i in range(count)))


_WIDE = ("float32", (2**20, 2**20), (0, 0), 0)
add("hooks work/a number as a matrix",
    lambda: file(normed(g=parameter("g", (2**20, 1)), v=T(S("v", "float32", (1,)), _WIDE, flags=3))),
    expect=REFUSED, mib=200)  # fmt: skip
add("hooks work/one weight of many", lambda: file(_together(2000)), expect=REFUSED, mib=200)
add("hooks work/many hooks", lambda: file(_many_hooks(10_000)), expect={"load": "ok"}, seconds=8, mib=900, poke=False)
add("hooks work/many methods", lambda: file(pruned(*[method() for _ in range(50_000)], container=True)),
    expect={"load": "ok"}, seconds=8, poke=False)  # fmt: skip
add(
    "hooks work/many blanks",
    lambda: file([blank() for _ in range(50_000)]),
    expect={"load": "ok"},
    seconds=8,
    poke=False,
)
add("hooks work/attributes all the way",
    lambda: file(pruned(method(f"{HOOKS}:Method", a=_nested(50_000)))), expect={"load": "TrustError"})  # fmt: skip


def _nested(levels: int) -> Any:
    made: Any = 1
    for _ in range(levels):
        made = [made]
    return made


# --- ways to prune ---

_REFUSED_METHODS = {
    "the base": f"{PRUNE}:BasePruningMethod",
    "a container": f"{PRUNE}:PruningContainer",
    "a function": f"{PRUNE}:l1_unstructured",
    "re-exported": f"{PRUNE}:torch.hub.load",
    "numbers": f"{PRUNE}:numbers.Number",
    "hub": "torch.hub:load",
    "a module of torch": "torch.nn:Linear",
    "system": "os:system",
    "builtin": "builtins:eval",
    "gone": "gone:Method",
    "of the program": f"{HOOKS}:Method",
    "with a finalizer": f"{HOOKS}:Deleting",
    "a module of the program": f"{NETS}:Net",
    "an object of the program": f"{NETS}:Callable",
    "a graph": f"{NETS}:Graph",
    "nameless": "",
    "a sleeper": "sleeper.nets:Net",
}
for _label, _name in _REFUSED_METHODS.items():
    add(
        f"hooks methods/{_label}",
        lambda n=_name: file(pruned(method(n))),
        expect={"load": "TrustError", "skeleton": "ok"},
    )


_NAMED = {"trust": (HOOKS, NETS)}
"""Arguments of a load that names the classes of the victim."""
_NAMED_RING = ("Method.__call__", "Method.apply_mask", "Method.__new__", "Method.__setstate__")
_GIVEN = dict.fromkeys(("hooks:Abstract", "nets:Callable", "nets:Net", "nets:act"), "TrustError")
for _name, _wanted in (_GIVEN | {"hooks:Method": "ok"}).items():
    add(
        f"hooks methods/given {_name}",
        lambda n=_name: file(pruned(method(f"victim.{n}"))),
        load=_NAMED,
        expect={"load": _wanted},
        may_ring=_NAMED_RING,
    )
_HIDING = ("__call__", "__class__", "__init__", "compute_mask", "apply_mask", "apply", "prop", "remove", "_abc_impl")
for _name in _HIDING:
    add(
        f"hooks methods/attribute {_name}",
        lambda n=_name: file(pruned(method(f"{HOOKS}:Method", **{n: function("torch:relu")}))),
        load=_NAMED,
        expect={"load": "LoadError"} if _name != "_abc_impl" else {},
        may_ring=_NAMED_RING,
    )
for _name in ("_tensor_name", "_pruning_methods"):
    add(
        f"hooks methods/attribute {_name}",
        lambda n=_name: file(pruned(method(f"{HOOKS}:Method", **{n: "forward"}))),
        load=_NAMED,
        check=has_weight,
        may_ring=_NAMED_RING,
    )
_AMOUNTS: dict[str, Any] = {
    "a function": lambda: function("torch:relu"),
    "a module": lambda: module(f"{NETS}:Listing"),
    "an object": lambda: plain(f"{NETS}:Acting"),
    "huge": lambda: 1.5,
    "negative": lambda: -1,
    "text": lambda: "1",
    "true": lambda: True,
    "nan": lambda: float("nan"),
    "a tensor": lambda: T(S("a", "float32", ())),
    "a list of itself": lambda: _circle(),
}


def _circle() -> Any:
    made: list[Any] = []
    made.append(made)
    return made


for _label, _make in _AMOUNTS.items():
    add(f"hooks methods/amount {_label}", lambda m=_make: file(pruned(method(f"{PRUNE}:L1Unstructured", amount=m()))),
        expect=REFUSED)  # fmt: skip
add("hooks methods/amount too many", lambda: file(pruned(method(f"{PRUNE}:Identity", amount=1))), expect=REFUSED)
add("hooks methods/call", lambda: file(pruned(method(f"{PRUNE}:Identity", __call__=1))), expect=REFUSED)
add("hooks methods/none", lambda: file(pruned()), expect=REFUSED)
add("hooks methods/two", lambda: file(pruned(method(), method())), expect=REFUSED)
add("hooks methods/a mask that is expanded",
    lambda: file(pruned(method(f"{PRUNE}:CustomFromMask", mask=T(S("c", "float32", (1,)), _WIDE)))),
    verbs=LOADS, poke=False, mib=200)  # fmt: skip


def _inside_out() -> Any:
    """A method that holds the module that it prunes."""
    held: dict[str, Any] = {}
    made = pruned(N("pruning_method", {"class": f"{HOOKS}:Method", "attributes": held}))
    held["module"] = made
    return made


def _in_itself() -> Any:
    held: dict[str, Any] = {}
    own = N("pruning_method", {"class": f"{HOOKS}:Method", "attributes": held})
    held["own"] = own
    return pruned(own)


add("hooks methods/holds its module", lambda: file(_inside_out()), load=_NAMED, expect={"load": "ok"},
    may_ring=_NAMED_RING)  # fmt: skip
add("hooks methods/holds itself", lambda: file(_in_itself()), load=_NAMED, expect=REFUSED)

# --- modules that would notice ---

_QUIET = ("Watched.__getattr__ weight_g", "Watched.__getattr__ weight_v", "Watched.__setattr__ weight")
add("hooks quiet/weight norm", lambda: file(normed(cls=f"{HOOKS}:Watched")), poke=False, expect={"load": "ok"},
    check=has_weight, may_ring=_QUIET)  # fmt: skip
add("hooks quiet/spectral norm", lambda: file(_watched(spectrally(spectral()))), poke=False, expect={"load": "ok"})
add("hooks quiet/prune", lambda: file(_watched(pruned(method()))), poke=False, expect={"load": "ok"}, check=has_weight)


def _watched(made: N) -> N:
    made.fields["class"] = f"{HOOKS}:Watched"
    return made


_FLAT: dict[str, Any] = {
    "no list": lambda: {"_flat_weights": 1, "_flat_weights_names": 2},
    "other lengths": lambda: {"_flat_weights": [None] * 3, "_flat_weights_names": ["weight"]},
    "names that act": lambda: {"_flat_weights": [None], "_flat_weights_names": [plain(f"{NETS}:Acting")]},
    "names twice": lambda: {"_flat_weights": [None, None], "_flat_weights_names": ["weight", "weight"]},
    "tuples": lambda: {"_flat_weights": (None,), "_flat_weights_names": ("weight",)},
    "nothing": dict,
}
for _label, _make in _FLAT.items():
    add(
        f"hooks flat/{_label}",
        lambda m=_make: file(normed(cls="torch.nn:LSTM", attributes={"_all_weights": [["weight"]]} | m())),
        load=_NAMED,
        expect={"load": "ok" if _label in ("other lengths", "names twice") else "LoadError"},
        may_ring=("Acting.__eq__", "Acting.__hash__"),
    )

# --- lazy modules ---

for _name in ("torch.nn:Linear", "torch.nn:Module", "torch.nn:Sequential", f"{NETS}:Net", f"{HOOKS}:LazyProperty"):
    add(f"lazy classes/{_name}", lambda n=_name: file(lazy(n)), expect={"load": "LoadError"})
for _name in ("torch.nn:Lazy", "torch.nn.modules.lazy:LazyModuleMixin", "torch.nn.modules.batchnorm:_LazyNormBase"):
    add(f"lazy classes/{_name}", lambda n=_name: file(lazy(n)), expect={"load": "TrustError", "skeleton": "ok"})
_CALLED = ("Lazy.initialize_parameters", "LazyOverride._infer_parameters", "LazyOverride._lazy_load_hook")
for _name in ("Lazy", "LazyOverride"):
    add(f"lazy classes/{_name} of the program", lambda n=_name: file(lazy(f"{HOOKS}:{n}")), expect={"load": "ok"},
        may_ring=_CALLED)  # fmt: skip
for _value in (False, 1, None, "yes", ()):
    add(f"lazy flags/{_value!r}", lambda v=_value: file(lazy(lazy=v)), expect=REFUSED)
for _part in ("attributes", "parameters", "buffers", "modules"):
    for _name in ("_load_hook", "_initialize_hook"):
        add(f"lazy handles/{_name} in {_part}", lambda p=_part, n=_name: file(lazy(**{p: {n: None}})), expect=REFUSED)
add(
    "lazy handles/an object without the flag",
    lambda: file(_held_handle()),
    expect={"load": "ok"},
    may_ring=("Initialize.remove",),
)


def _held_handle() -> N:
    made = lazy(attributes=LINEAR | {"_initialize_hook": plain(f"{HOOKS}:Initialize")})
    del made.fields["lazy"]
    return made


_BLANKS: dict[str, Any] = {
    "an unknown dtype": lambda: blank("float33"),
    "a function": lambda: blank("Tensor"),
    "no dtype": lambda: blank(""),
    "integers with a gradient": lambda: blank("int64"),
    "bits with a gradient": lambda: blank("bits8"),
    "a gradient of 1": lambda: blank(requires_grad=1),
    "a parameter of null": lambda: blank(parameter=None),
    "__class__": lambda: blank(__class__=1),
    "__torch_function__": lambda: blank(__torch_function__=1),
}
for _label, _make in _BLANKS.items():
    add(f"lazy blanks/{_label}", lambda m=_make: file([m()]), expect=REFUSED)
for _name in ("materialize", "data", "shape", "cls_to_become", "_is_param", "grad", "backward", "_allowed_methods"):
    add(f"lazy blanks/attribute {_name}", lambda n=_name: file([blank(**{n: function("torch:relu")})]), verbs=LOADS)
for _dtype in ("bits8", "float4_e2m1fn_x2", "int3", "float8_e8m0fnu", "complex32"):
    add(f"lazy blanks/{_dtype}", lambda d=_dtype: file([blank(d, False, False)]), verbs=LOADS)


def _own_attribute() -> N:
    made = blank()
    made.fields["attributes"] = {"own": made}
    return made


add("lazy blanks/in itself", lambda: file([_own_attribute()]), expect={"load": "ok"})
add("lazy blanks/a key", lambda: file(Sq("set", [blank()])), expect=REFUSED)
add(
    "lazy blanks/a buffer as a parameter",
    lambda: file(lazy(parameters={"weight": blank(parameter=False)})),
    expect=REFUSED,
)
add("lazy blanks/a parameter as a buffer", lambda: file(lazy(buffers={"running_mean": blank()})), expect={"load": "ok"})
add("lazy blanks/a parameter of a linear module",
    lambda: file(module("torch.nn:Linear", parameters={"weight": blank(), "bias": None}, attributes=LINEAR)),
    expect={"load": "ok"})  # fmt: skip
add("lazy blanks/parameters of an optimizer", lambda: file(optimizer(param_groups=[{"params": [blank()], "lr": 0.1}])),
    verbs=(*LOADS, "into"))  # fmt: skip
add("lazy blanks/state of an optimizer", lambda: file(optimizer(state={parameter(): {"step": blank()}})),
    verbs=(*LOADS, "into"))  # fmt: skip
add("lazy blanks/bytes", lambda: file(N("bytes", {"data": blank()})), expect=REFUSED)
add("lazy blanks/extra state", lambda: file(module(f"{NETS}:Taking", extra_state=blank())), verbs=(*LOADS, "into"))


def _lazy_target() -> Any:
    import torch

    return torch.nn.LazyLinear(2)


_INTO: dict[str, Any] = {
    "shapes of three dimensions": lambda: {"weight": parameter("w", (1, 2, 3)), "bias": parameter("b", (2,))},
    "no sizes": lambda: {"weight": parameter("w", (0, 0)), "bias": parameter("b", (0,))},
    "blanks": lambda: {"weight": blank(), "bias": blank()},
    "a blank and a number": lambda: {"weight": blank(), "bias": parameter("b", ())},
    "integers": lambda: {"weight": T(S("w", "int64", (2, 3))), "bias": T(S("b", "int64", (2,)))},
    "complex": lambda: {"weight": T(S("w", "complex64", (2, 3))), "bias": T(S("b", "complex64", (2,)))},
    "a matrix of one number": lambda: {"weight": T(S("w", "float32", (1,)), _WIDE), "bias": parameter("b", (2,))},
}
for _label, _make in _INTO.items():
    add(f"lazy into/{_label}", lambda m=_make: file(m()), target=_lazy_target, verbs=("into",), mib=300)
    add(f"lazy into/{_label} into another", lambda m=_make: file(m()), verbs=("into",), mib=300)
