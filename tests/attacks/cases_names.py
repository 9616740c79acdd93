"""Names that a file must not open: by role, by place, by what the class would do."""

# ruff: noqa: PLW0108, PLC3002 - each case is a lambda, so that a literal is only made where it is opened

from __future__ import annotations

from typing import Any

from case import Cases, attribute_is_data
from forge import N, Op, T, file, function, module, optimizer, parameter, partial, plain

CASES = Cases()
add = CASES.add
NETS = "victim.nets"


def _named(cls: str) -> Any:
    import importlib

    module_name, _, name = cls.partition(":")
    return vars(importlib.import_module(module_name))[name]


# --- the standard library, and everything else that is no module ---

for _name in (
    "tempfile:_TemporaryFileCloser",
    "tempfile:_TemporaryFileWrapper",
    "subprocess:Popen",
    "os:_wrap_close",
    "shutil:rmtree",
    "builtins:eval",
    "builtins:object",
    "posix:system",
    "socket:socket",
    "weakref:finalize",
    "types:SimpleNamespace",
    "unittest.mock:MagicMock",
    "functools:partial",
    "importlib:import_module",
    "operator:attrgetter",
    "logging:FileHandler",
    "code:InteractiveInterpreter",
    "pickle:Unpickler",
    "__main__:main",
    "msgspec:Raw",
    "_io:FileIO",
):
    _slug = _name.replace(":", ".")
    add(f"stdlib/module {_slug}", lambda n=_name: file(module(n)), expect={"load": "TrustError"})
    add(
        f"stdlib/object {_slug}",
        lambda n=_name: file(module(f"{NETS}:Net", attributes={"held": plain(n, name="/etc/passwd", unlink=1)})),
        check=lambda obj: [] if type(obj.held).__name__ == "Record" else [f"held is {type(obj.held)}"],
    )
    add(f"stdlib/function {_slug}", lambda n=_name: file([function(n)]), expect={"load": "TrustError"})
    if _name != "builtins:object":  # a data type, see cases_values
        add(f"stdlib/class {_slug}", lambda n=_name: file([N("class", {"name": n})]), expect={"load": "TrustError"})
    add(f"stdlib/trusted {_slug}", lambda n=_name: file([function(n)]), load={"trust": (_name.partition(":")[0],)})

# --- torch outside the table, whatever is allowed ---

for _name in (
    "torch.hub:load",
    "torch:load",
    "torch:save",
    "torch:compile",
    "torch:os",
    "torch:manual_seed",
    "torch:from_file",
    "torch:as_strided",
    "torch:_reshape_alias",
    "torch._C:_sparse_coo_tensor_unsafe",
    "torch.ops:load_library",
    "torch.nn.modules.module:register_module_forward_hook",
    "torch.utils.cpp_extension:load_inline",
    "torch.distributed.rpc:rpc_sync",
    "torch.serialization:load",
    "torch.nn:Linear.forward",
    "torchgen.gen:main",
    "functorch:make_functional",
    "torch.nn.functional:torch.hub.load",
    "torch.nn.functional:boolean_dispatch",
    "torch.nn.functional:handle_torch_function",
):
    _slug = _name.replace(":", ".")
    add(
        f"torch/partial {_slug}",
        lambda n=_name: file(module(attributes={"act": partial(function(n), "/tmp", "x", source="local")})),
        expect={"load": "TrustError"},
        load={"trust": ("torch", "torchgen", "functorch", "victim")},
    )
for _name in (
    "torch.fx:GraphModule",
    "torch.fx.graph_module:GraphModule",
    "torch.jit:ScriptModule",
    "torch.jit._script:RecursiveScriptModule",
    "torch.export.unflatten:InterpreterModule",
    "torch._dynamo.eval_frame:OptimizedModule",
    "torch.nn.parallel:DataParallel",
    "torch.nn.quantized:FloatFunctional",
    "torch.nn.modules.lazy:LazyModuleMixin",
    "torch.utils.data:DataLoader",
    "torch.nn.modules.conv:_ConvNd",
    f"{NETS}:Graph",
    f"{NETS}:Script",
    f"{NETS}:torch.fx.GraphModule",
    f"{NETS}:nn.Linear",
):
    add(
        f"torch/carrier {_name.replace(':', '.')}",
        lambda n=_name: file(module(n, attributes={"_code": "import os"})),
        expect={"load": "TrustError"},
        load={"trust": ("torch", "victim")},
    )
for _name in ("Graph", "Script"):
    add(
        f"torch/carrier given {_name}",
        lambda n=_name: file(module(f"{NETS}:{n}")),
        expect={"load": "TrustError"},
        load={"classes": [_name]},
    )
    CASES[f"torch-carrier_given_{_name}"].load = {"trust": (f"{NETS}:{_name}",)}
add("torch/optimizer as module", lambda: file(module("torch.optim:SGD")), expect={"load": "TrustError"})
add("torch/module as optimizer", lambda: file(optimizer("torch.nn:Linear")), expect={"load": "TrustError"})
add("torch/function as module", lambda: file(module("torch.nn.functional:relu")), expect={"load": "TrustError"})
add("torch/class as function", lambda: file([function("torch.nn:Linear")]), expect={"load": "TrustError"})
add("torch/function as class", lambda: file([N("class", {"name": "torch:relu"})]), expect={"load": "TrustError"})
add("torch/module as object", lambda: file(module(attributes={"x": plain("torch.nn:Linear", training=1)})))

# --- not imported, re-exported, dotted, strange ---

for _name in (
    "sleeper:anything",
    "sleeper.nets:Net",
    "sleeper.nets:nn.Linear",
    "sleeper",
    ":Net",
    "sleeper.nets:",
    ":",
    "",
    "..sleeper:Net",
    "sleeper/nets:Net",
    "sleeper.nets:Net:Net",
    "victim.nets:os",
    "victim.nets:os.system",
    "victim.nets:torch.hub.load",
    "victim.nets:nn",
    "victim.nets:ready",
    "victim.nets:bound",
    "victim.nets:anonymous",
    "victim.nets:act",
    "victim.nets:missing",
    "victim.nets:Net.forward",
    "victim.nets:Net.prop",
    "victim.nets:Net.__init__.__globals__",
    "victim.nets:Net.__class__",
    "victim.nets:MetaNet.missing",
    "victim.nets:__getattr__",
    "victim.nets:__builtins__",
    "victim.nets:__loader__",
    "victim.nets\x00:Net",
    "victim.nets:Net\x1b[31m",
    "victim.nets:Net\nPass trust=('sleeper',) to open it",
    "victim.nets:\u202eteN",
):
    _slug = "".join(c if c.isalnum() else "_" for c in _name) + f"_{len(CASES)}"
    for _kind, _make in {
        "module": lambda n: module(n),
        "optimizer": lambda n: optimizer(n),
        "function": lambda n: [function(n)],
        "class": lambda n: [N("class", {"name": n})],
        "custom": lambda n: [N("custom", {"class": n, "state": 1})],
        "object": lambda n: module(f"{NETS}:Net", attributes={"x": plain(n, a=1)}),
    }.items():
        add(
            f"names/{_kind} {_slug}",
            lambda n=_name, make=_make: file(make(n)),
            expect={} if _kind == "object" else {"load": "TrustError"},
            verbs=("inspect", "load", "skeleton"),
        )
for _name in ("victim.nets:os.system", "victim.nets:os", "victim.nets:torch.hub.load", "victim.nets:bound"):
    add(
        f"names/trusted {_name.replace(':', '.')}",
        lambda n=_name: file([function(n)]),
        load={"trust": ("victim",)},
        expect={"load": "TrustError"},
    )
add(
    "names/trusted instance as function",
    lambda: file([function(f"{NETS}:ready")]),
    load={"trust": ("victim",)},
    expect={"load": "TrustError"},
)
add(
    "names/trusted module that leaves",
    lambda: file(module("sleeper.leaver:Net")),
    load={"trust": ("sleeper",)},
    verbs=("inspect",),  # the caller's own trust imports it; that its SystemExit is typed is a test of the Resolver
)

# --- classes of the program that is already imported ---

_ROLE_NAMES = {
    "Deleting": "TrustError",
    "DeletingChild": "TrustError",
    "Stating": "TrustError",
    "StatingChild": "TrustError",
    "Newing": "ok",
    "Net": "ok",
    "Net.Inner": "ok",
    "Described": "ok",
    "MetaNet": "ok",
    "ActingNet": "ok",
    "Extra": "ok",
    "Adam": "TrustError",
    "Config": "TrustError",
    "act": "TrustError",
    "Abstract": "LoadError",
    "DictNet": "LoadError",
}
for _name, _wanted in _ROLE_NAMES.items():
    add(
        f"imported/module {_name}",
        lambda n=_name: file(module(f"{NETS}:{n}", attributes={"x": 1, "held": 2, "prop": 3}, extra_state="s")),
        expect={"load": _wanted},
        may_ring=("Newing.__new__", "ActingNet.__eq__", "ActingNet.__hash__"),  # when the program copies or compares it
    )
for _name in (
    "ConfigDel",
    "ConfigDelChild",
    "ConfigCloser",
    "ConfigState",
    "ConfigNew",
    "ConfigSlots",
    "ConfigDict",
    "ConfigError",
    "Net",
    "Adam",
    "act",
    "Meta",
    "Deleting",
):
    add(
        f"imported/object {_name}",
        lambda n=_name: file(
            module(
                f"{NETS}:Net", attributes={"held": plain(f"{NETS}:{n}", name="/nowhere", unlink=function("torch:relu"))}
            )
        ),
        check=lambda obj: [] if type(obj.held).__name__ == "Record" else [f"held is a {type(obj.held).__name__}"],
    )
for _name in ("Config", "ConfigSetattr", "MetaConfig", "Acting", "Descriptor"):
    add(
        f"imported/object {_name}",
        lambda n=_name: file(module(f"{NETS}:Net", attributes={"held": plain(f"{NETS}:{n}", prop=1, a=2)})),
        may_ring=("Acting.__eq__", "Acting.__hash__"),  # when the program itself compares or hashes it
        check=lambda obj: [] if vars(obj.held) == {"prop": 1, "a": 2} else [f"it holds {vars(obj.held)}"],
    )
add(
    "imported/abstract object",
    lambda: file(module(f"{NETS}:Net", attributes={"held": plain(f"{NETS}:AbstractConfig")})),
    verbs=("inspect", "load", "skeleton"),
)
add(
    "imported/object alone",
    lambda: file(plain(f"{NETS}:Config")),
    check=lambda o: [] if "Record" in repr(o) else [repr(o)],
)
add(
    "imported/object in a checkpoint",
    lambda: file({"model": module(f"{NETS}:Net"), "config": plain(f"{NETS}:Config", a=1)}),
    check=lambda o: [] if "Record" in repr(o["config"]) else [repr(o)],
)
add(
    "imported/object of another package",
    lambda: file(module("torch.nn:Identity", attributes={"x": plain(f"{NETS}:Config")})),
    check=lambda o: [] if "Record" in repr(o.x) else [repr(o.x)],
)
add(
    "imported/object held by two",
    lambda: (lambda shared: file([module(f"{NETS}:Net", attributes={"x": shared}), {"x": plain(f"{NETS}:Config")}]))(
        plain(f"{NETS}:Config")
    ),
    check=lambda o: [] if "Record" in repr(o[0].x) and "Record" in repr(o[1]["x"]) else [repr(o)],
)
add(
    "imported/object below another module",
    lambda: file(
        module(
            f"{NETS}:Net", attributes={"x": [module("torch.nn:Identity", attributes={"y": plain(f"{NETS}:Config")})]}
        )
    ),
    check=lambda o: [] if "Record" in repr(o.x[0].y) else [repr(o.x[0].y)],
)
add(
    "imported/object held by a module that never was",
    lambda: file(module("victim.nowhere:Net", attributes={"x": plain(f"{NETS}:Config")})),
    check=lambda o: [] if "Record" in repr(o.x) else ["a skeleton opened a class of its package"],
    checked=("skeleton",),
)
add(
    "imported/object whose attributes hide its methods",
    lambda: file(
        module(f"{NETS}:Net", attributes={"x": plain(f"{NETS}:Config", describe=partial(function("torch:relu"), T()))})
    ),
    check=lambda o: attribute_is_data("describe")(o.x),
)
add(
    "imported/object that acts as a key",
    lambda: file(module(f"{NETS}:Net", attributes={"x": {plain(f"{NETS}:Acting"): 1}})),
    expect={"load": "FormatError"},
)
add("imported/module that acts as a key", lambda: file({module(f"{NETS}:ActingNet"): 1}), verbs=("inspect", "load"))
add(
    "imported/module that acts in a set",
    lambda: file([{module(f"{NETS}:ActingNet"), module(f"{NETS}:ActingNet")}]),
    verbs=("inspect", "load"),
)
add("imported/class as a key", lambda: file({N("class", {"name": "torch.nn:Linear"}): 1}))

# --- roles that were swapped ---

add(
    "roles/object with a module's inside",
    lambda: file(
        module(
            f"{NETS}:Net",
            attributes={
                "x": plain(
                    f"{NETS}:MetaNet",
                    training=False,
                    _parameters={},
                    _buffers={},
                    _modules={},
                    _forward_hooks={},
                    _forward_pre_hooks={1: partial(function("torch.nn.init:zeros_"), T())},
                    _compiled_call_impl=partial(function("torch:relu"), T()),
                    forward=function("torch:relu"),
                )
            },
        )
    ),
    check=lambda o: [] if "Record" in repr(o.x) else [f"x is a {type(o.x).__name__} with internals of the file's"],
)
add(
    "roles/named class with a finalizer as object",
    lambda: file([plain(f"{NETS}:Net", _compiled_call_impl=function("torch:relu"))]),
    load={"trust": (f"{NETS}:Net",)},
    check=lambda o: [] if "Record" in repr(o[0]) else [f"a {type(o[0]).__name__} came back from a plain object"],
)

# --- attributes that are behaviour ---

for _name in (
    "forward",
    "_call_impl",
    "_wrapped_call_impl",
    "_slow_forward",
    "train",
    "state_dict",
    "_save_to_state_dict",
    "extra_repr",
    "parameters",
    "helper",
    "made",
    "still",
    "prop",
    "cached",
    "part",
    "Inner",
):
    for _kind, _make in {
        "function": lambda: function("torch:relu"),
        "partial": lambda: partial(function("torch.nn.init:zeros_"), T()),
        "module": lambda: module(),
        "class": lambda: N("class", {"name": "torch.nn:Linear"}),
    }.items():
        add(
            f"hiding/{_name} {_kind}",
            lambda n=_name, make=_make: file(module(f"{NETS}:Net", attributes={n: make()})),
            check=lambda obj, n=_name: (
                [f"{n} hides the class's"]
                if hasattr(type(obj), n) and callable(vars(obj).get(n)) and getattr(obj, n) is vars(obj)[n]
                else []
            ),
            checked=("load", "skeleton"),
        )
add(
    "hiding/forward of a skeleton",
    lambda: file(module("gone:Net", attributes={"forward": partial(function("torch:relu"), T())})),
    check=attribute_is_data("forward"),
    checked=("skeleton",),
)
for _name in (
    "_compiled_call_impl",
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_state_dict_hooks",
    "_load_state_dict_pre_hooks",
    "_parameters",
    "_modules",
    "_buffers",
    "_non_persistent_buffers_set",
    "training",
    "__class__",
    "__dict__",
    "__call__",
    "__del__",
    "__reduce_ex__",
    "__getattr__",
):
    for _field in ("attributes", "parameters", "buffers", "modules"):
        add(
            f"internals/{_name} in {_field}",
            lambda n=_name, f=_field: file(
                module(
                    f"{NETS}:Net",
                    **{
                        f: {
                            n: module()
                            if f == "modules"
                            else parameter()
                            if f == "parameters"
                            else T()
                            if f != "attributes"
                            else {}
                        }
                    },
                )
            ),
            expect={"load": "ok" if _field != "attributes" and "__" in _name else "FormatError"},
        )
for _kind, _make in {
    "tensor": lambda attributes: [T(attributes=attributes)],
    "OrderedDict": lambda attributes: [N("OrderedDict", {"items": {}, "attributes": attributes})],
    "optimizer": lambda attributes: optimizer(attributes=attributes),
    "object": lambda attributes: module(
        f"{NETS}:Net", attributes={"x": N("object", {"class": f"{NETS}:Config", "attributes": attributes})}
    ),
}.items():
    add(
        f"dunder/{_kind}",
        lambda make=_make: file(make({"__reduce_ex__": function("torch:relu")})),
        expect={"load": "FormatError"},
    )
    add(f"dunder/{_kind} number", lambda make=_make: file(make({5: 1})), expect={"load": "FormatError"})
for _kind, _made in {
    "list of pairs": lambda: [("__deepcopy__", function("torch:relu"))],
    "list of texts": lambda: ["ab"],
    "list": list,
    "OrderedDict": lambda: N("OrderedDict", {"items": {"__deepcopy__": function("torch:relu")}}),
    "number": lambda: 5,
    "text": lambda: "ab",
    "tensor": lambda: T(S_two()),
    "module": lambda: module(),
    "None": lambda: N("torch.Size", {"dims": ()}),
}.items():
    add(
        f"dunder/attributes of a tensor are a {_kind}",
        lambda make=_made: file([T(attributes=make())]),
        expect={"load": "FormatError"},
    )


def S_two() -> Any:
    from forge import S

    return S("two")


for _kind, _made in {
    "detach": lambda: file([T(attributes={"detach": partial(function("torch.nn.init:zeros_"), T(S_two()))})]),
    "backward": lambda: file([T(attributes={"backward": module()})]),
}.items():
    add(
        f"hiding/tensor {_kind}",
        _made,
        check=lambda o, n=_kind: attribute_is_data(n)(o[0]) if n in vars(o[0]) else [],
    )
add(
    "hiding/OrderedDict items",
    lambda: file([N("OrderedDict", {"items": {"a": 1}, "attributes": {"items": function("torch:relu")}})]),
    check=lambda o: ["items() is the file's"] if callable(vars(o[0]).get("items")) else [],
)
for _name in (
    "step",
    "zero_grad",
    "load_state_dict",
    "_optimizer_step_pre_hooks",
    "state_dict",
    "param_groups",
    "state",
):
    add(
        f"hiding/optimizer {_name}",
        lambda n=_name: file(
            optimizer(attributes={n: {1: function("torch:relu")} if n.startswith("_") else function("torch:relu")})
        ),
        check=lambda o, n=_name: (
            attribute_is_data(n)(o) + ([f"{n} is the file's"] if n.startswith("_") and vars(o).get(n) else [])
        ),
    )

# --- methods, partials, customs, opaque ---

for _name in (
    "forward",
    "helper",
    "__init__",
    "__del__",
    "__reduce__",
    "made",
    "still",
    "prop",
    "missing",
    "register_forward_hook",
    "load_state_dict",
    "Inner",
):
    for _cls in (f"{NETS}:Net", "torch.nn:Identity"):
        add(
            f"method/{_name} of {_cls.replace(':', '.')}",
            lambda n=_name, c=_cls: file([N("method", {"self": module(c), "name": n})]),
            expect={"load": "TrustError"},
            check=lambda o: [f"{o[0]!r} can be called"] if callable(o[0]) else [],
            checked=("skeleton",),
        )
for _name in ("__init__", "__reduce__", "made", "still", "prop", "missing", "Inner", "part"):
    add(
        f"method/{_name} of a named class",
        lambda n=_name: file([N("method", {"self": module(f"{NETS}:Net"), "name": n})]),
        expect={"load": "TrustError"},
        load={"trust": ("victim",)},
        verbs=("inspect", "load"),
    )
add("partial/of a function not named", lambda: file([partial(function(f"{NETS}:act"))]), expect={"load": "TrustError"})
add("partial/of a module", lambda: file([partial(module(f"{NETS}:Net"), 1)]))
add("partial/of a list", lambda: file([partial([1], 2)]))
add(
    "partial/of a plain object that is called",
    lambda: file(module(f"{NETS}:Net", attributes={"act": partial(plain(f"{NETS}:Callable"), 1)})),
    may_ring=("Callable.__call__",),
)
add(
    "partial/of a method",
    lambda: file([partial(N("method", {"self": module(f"{NETS}:Net"), "name": "helper"}))]),
    expect={"load": "TrustError"},
)
add("partial/of a Record", lambda: file([partial(plain("gone:X"))]))
add("partial/of an optimizer", lambda: file([partial(optimizer("gone:X"))]))
add(
    "partial/of a custom",
    lambda: file([partial(N("custom", {"class": "gone:X", "state": 1}))]),
    expect={"load": "TrustError"},
)
add("partial/of partials", lambda: file([partial(partial(partial(function("torch:relu"), 1), 2, a=1), a=2)]))
add("partial/of a class of the table", lambda: file([partial(N("class", {"name": "torch.nn:Linear"}), 2, 2)]))
add("partial/of itself", lambda: _self_partial(), expect={"load": "FormatError", "skeleton": "FormatError"})
add(
    "opaque/alone",
    lambda: file([Op("call os.system", {"a": 1, "__class__": 2, "\x1b[31m": 3})]),
    expect={"load": "LoadError"},
)
add("opaque/as a function", lambda: file([partial(Op("x", {}))]), expect={"load": "LoadError"})
add(
    "custom/registered nowhere",
    lambda: file([N("custom", {"class": f"{NETS}:Config", "state": [1]})]),
    expect={"load": "TrustError"},
)
add(
    "record/names that collide",
    lambda: file([N("object", {"class": "gone:X", "attributes": {"(class)": "other", "_Record__x": 1, "x": T()}})]),
    check=lambda o: [] if vars(o[0])["(class)"] == "gone:X" else ["a Record lies about its class"],
)
add(
    "record/escapes in its repr",
    lambda: file([plain("gone:\x1b[2J")]),
    check=lambda o: [] if repr(o[0]).isprintable() else ["repr has characters that a terminal obeys"],
)
add(
    "record/skeleton escapes",
    lambda: file(module("gone:\x1b[2J")),
    check=lambda o: [] if repr(o).replace("\n", "").isprintable() else ["repr has characters that a terminal obeys"],
    checked=("skeleton",),
)
add(
    "extra/of an imported class",
    lambda: file(module(f"{NETS}:Extra", extra_state=[function("torch:relu")])),
    expect={"load": "ok"},
)
add("extra/of a table class", lambda: file(module("torch.nn:Linear", extra_state=[1])), expect={"load": "ok"})
add(
    "parameters/of plain tensors",
    lambda: file(module(parameters={"weight": T()}, buffers={"b": parameter("b")})),
    check=lambda o: (
        [] if all(type(p).__name__ == "Parameter" for p in o.parameters()) else ["parameters() gives a plain tensor"]
    ),
)


def _self_partial() -> bytes:
    made = partial(None)
    made.fields["function"] = made
    return file([made])
