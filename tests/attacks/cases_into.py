"""`load_into`: hostile names, shapes, extra states and optimizer state against a target of the caller's."""

# ruff: noqa: PLW0108, PLC3002 - each case is a lambda, so that a literal is only made where it is opened

from __future__ import annotations

from typing import Any

from case import Cases
from forge import Mp, N, Op, S, T, file, function, module, optimizer, parameter, partial, plain, safetensors

CASES = Cases()
add = CASES.add
INTO = ("into",)
NETS = "victim.nets"


def _taking() -> Any:
    from victim import nets

    return nets.Taking()


def _adam(**more: Any) -> Any:
    def make() -> Any:
        import torch

        parameters = [torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(3))]
        return torch.optim.Adam(parameters, **more)

    return make


def _both() -> Any:
    import torch

    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    return {"model": model, "adam": torch.optim.Adam(model.parameters())}


_STATES = {
    "function": lambda: function("torch:relu"),
    "partial": lambda: partial(function("torch.nn.init:zeros_"), T(S("x"))),
    "module": lambda: module(f"{NETS}:Listing"),
    "acting module": lambda: module(f"{NETS}:ActingNet"),
    "record": lambda: plain("gone:X"),
    "own record": lambda: plain(f"{NETS}:Config"),
    "class": lambda: N("class", {"name": "torch.nn:Linear"}),
    "victim's function": lambda: function(f"{NETS}:act"),
    "method": lambda: N("method", {"self": module(f"{NETS}:Net"), "name": "helper"}),
    "opaque": lambda: Op("x", {}),
    "custom": lambda: N("custom", {"class": "gone:X", "state": 1}),
    "tuple in itself": lambda: _own(),
    "text": lambda: "text",
    "bytes": lambda: b"bytes",
    "deep": lambda: _deep(),
    "dict": lambda: {"a": [T(S("x"))]},
    "set": lambda: {1, 2},
    "None": lambda: None,
    "expanded bytes": lambda: N("bytes", {"data": T(S("b", "uint8", (1,)), ("uint8", (2**36,), (0,), 0))}),
    "optimizer": lambda: optimizer(),
    "listing holding things": lambda: module(f"{NETS}:Listing", modules={"0": module()}),
}


def _own() -> Any:
    from forge import Sq

    made = Sq("tuple", [])
    made.items.append(made)
    return made


def _deep() -> Any:
    from forge import chain

    return chain(50_000, lambda x: [x], 1)


for _label, _make in _STATES.items():
    add(
        f"extra/{_label}",
        lambda m=_make: file(module(f"{NETS}:Taking", parameters={"weight": parameter()}, extra_state=m())),
        target=_taking,
        verbs=INTO,
        may_ring=("ActingNet.__eq__", "ActingNet.__hash__"),  # when the harness itself compares or hashes it
    )
    add(
        f"extra/dict {_label}",
        lambda m=_make: file({"weight": T(S("weight")), "_extra_state": m()}),
        target=_taking,
        verbs=INTO,
        may_ring=("ActingNet.__eq__", "ActingNet.__hash__"),
    )
    for _place, _state in {
        "state": lambda m: {0: {"step": T(S("s", "float32", ())), "exp_avg": m()}, 1: {}},
        "whole state": lambda m: {0: m()},
        "step": lambda m: {0: {"step": m(), "exp_avg": T(S("e", "float32", (2,)))}},
    }.items():
        add(
            f"optimizer state/{_place} {_label}",
            lambda m=_make, s=_state: file({"state": s(m), "param_groups": [{"params": [0, 1], "lr": 0.1}]}),
            target=_adam(),
            verbs=INTO,
            poke=False,
        )
    add(
        f"optimizer group/{_label}",
        lambda m=_make: file({"state": {}, "param_groups": [{"params": [0, 1], "lr": m(), "x": m()}]}),
        target=_adam(),
        verbs=INTO,
        poke=False,
    )

for _label, _groups in {
    "numbers": [1],
    "no groups": [],
    "no params": [{}],
    "params a number": [{"params": 2}],
    "params too many": [{"params": [0, 1, 2]}],
    "params repeated": [{"params": [0, 0]}],
    "params of lists": [{"params": [[], {}]}],
    "params of texts": [{"params": ["a", "b"]}],
    "params of floats": [{"params": [float("nan"), 1.5]}],
    "params a text": [{"params": "01"}],
    "names a number": [{"params": [0, 1], "param_names": 5}],
    "names of lists": [{"params": [0, 1], "param_names": [[], []]}],
    "names repeated": [{"params": [0, 1], "param_names": ["a", "a"]}],
    "huge numbers": [{"params": [0, 1], "lr": 10**5000}],
    "numeric keys": [{"params": [0, 1], 5: 6, None: 7, (1, 2): 8}],
    "dunder keys": [{"params": [0, 1], "__class__": 1}],
    "a group twice": None,
    "a set": {1},
}.items():
    add(
        f"optimizer groups/{_label}",
        lambda g=_groups: file(
            {"state": {0: {"step": 1}}, "param_groups": g if g is not None else [{"params": [0]}, {"params": [0]}]}
        ),
        target=_adam(),
        verbs=INTO,
        poke=False,
    )
    add(
        f"optimizer groups/named {_label}",
        lambda g=_groups: file(
            {"state": {}, "param_groups": g if g is not None else [{"params": [0]}, {"params": [0]}]}
        ),
        target=lambda: _named_adam(),
        verbs=INTO,
        poke=False,
    )
add(
    "optimizer groups/two that differ by long numbers",
    lambda: file(
        {
            "state": {},
            "param_groups": [
                {"params": [0], "param_names": ["a"], "lr": 10**5000},
                {"params": [1], "param_names": ["b"], "lr": 10**5001},
            ],
        }
    ),
    target=lambda: _named_adam(),
    verbs=INTO,
    poke=False,
)


def _named_adam() -> Any:
    import torch

    return torch.optim.Adam([("a", torch.nn.Parameter(torch.zeros(2))), ("b", torch.nn.Parameter(torch.zeros(3)))])


for _label, _state in {
    "keys of text": {"a": {}},
    "keys far": {10**30: {}},
    "a list": [],
    "values of numbers": {0: 5, 1: None},
    "shapes": {0: {"exp_avg": T(S("e", "float32", (7,)))}},
    "expanded": {0: {"exp_avg": T(S("e", "float32", (1,)), ("float32", (2,), (0,), 0))}},
    "expanded beyond": {0: {"row_var": T(S("e", "float32", (1,)), ("float32", (2**36,), (0,), 0))}},
    "overlapping": {0: {"exp_avg": T(S("e", "float32", (2,)), ("float32", (2, 2), (0, 1), 0))}},
    "ints": {0: {"exp_avg": T(S("e", "int64", (2,)))}},
    "long step": {0: {"step": 10**5000}},
}.items():
    add(
        f"optimizer states/{_label}",
        lambda s=_state: file({"state": s, "param_groups": [{"params": [0, 1]}]}),
        target=_adam(),
        verbs=INTO,
        poke=False,
    )
add(
    "optimizer states/expanded for LBFGS",
    lambda: file(
        {
            "state": {0: {"d": T(S("e", "float32", (1,)), ("float32", (2**36,), (0,), 0))}},
            "param_groups": [{"params": [0, 1]}],
        }
    ),
    target=lambda: _lbfgs(),
    verbs=INTO,
    poke=False,
)
add(
    "optimizer states/cast of an expanded",
    lambda: file(
        {
            "state": {0: {"row_var": T(S("e", "float64", (1,)), ("float64", (2**36,), (0,), 0))}},
            "param_groups": [{"params": [0, 1]}],
        }
    ),
    target=_adam(),
    verbs=INTO,
    poke=False,
)


def _lbfgs() -> Any:
    import torch

    return torch.optim.LBFGS([torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(3))])


# --- names ---

for _label, _name in {
    "escapes": "\x1b[2J",
    "dots": "." * 20_000,
    "a thousand parts": "a." * 1_000 + "weight",
    "long": "w" * 100_000,
    "empty": "",
    "dunder": "__class__",
    "metadata-like": "_metadata",
    "surrogate escaped": "\ufffd",
}.items():
    add(f"into names/{_label}", lambda n=_name: file({n: T(S("t")), n + "2": T(S("u"))}), target=_taking, verbs=INTO)
add(
    "into names/prefixes of many parts",
    lambda: file({"a." * 100_000 + f"w{i}": T(S(f"t{i}")) for i in range(3)}),
    target=_taking,
    verbs=INTO,
    seconds=4,
)
add(
    "into names/prefixes of many names",
    lambda: file({"a." * 500 + f"w{i}": T(S(f"t{i}", "uint8", (0,))) for i in range(2_000)}),
    target=_taking,
    verbs=INTO,
    seconds=4,
)
add(
    "into names/plain prefixes",
    lambda: safetensors(
        {"a." * 1_500 + f"w{i}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for i in range(3_000)}
    ),
    target=_taking,
    verbs=INTO,
    seconds=4,
)
add("into names/equal keys", lambda: file(Mp([("weight", T(S("a"))), (5, T(S("b")))])), target=_taking, verbs=INTO)
add(
    "into names/expanded",
    lambda: file({"weight": T(S("weight", "float32", (1,)), ("float32", (2,), (0,), 0))}),
    target=_taking,
    verbs=INTO,
)
add(
    "into names/conj",
    lambda: file({"weight": T(S("weight", "complex64", (2,)), lazy=3)}),
    target=_taking,
    verbs=INTO,
    into={"allow": {"mismatched"}},
)
add("into names/bits", lambda: file({"weight": T(S("weight", "bits8", (2,)))}), target=_taking, verbs=INTO)
add(
    "into names/every kind",
    lambda: file({"weight": T(S("weight", "float8_e8m0fnu", (2,)))}),
    target=_taking,
    verbs=INTO,
)
for _dtype in ("bool", "uint4", "int3", "bits16", "complex32", "float4_e2m1fn_x2", "float8_e4m3fnuz", "uint64"):
    add(f"into dtype/{_dtype}", lambda d=_dtype: file({"weight": T(S("weight", d, (2,)))}), target=_taking, verbs=INTO)
    add(
        f"into dtype/{_dtype} assigned",
        lambda d=_dtype: file({"weight": T(S("weight", d, (2,)))}),
        target=_taking,
        verbs=INTO,
        into={"assign": True},
    )
add(
    "into both/module of another shape",
    lambda: file(
        {"model": module("torch.nn:Sequential", modules={"0": module("torch.nn:Linear")}), "adam": optimizer()}
    ),
    target=_both,
    verbs=INTO,
)
add("into both/optimizer as model", lambda: file({"model": optimizer(), "adam": module()}), target=_both, verbs=INTO)
add(
    "into both/one thing",
    lambda: (lambda x: file({"model": x, "adam": x}))({"state": {}, "param_groups": []}),
    target=_both,
    verbs=INTO,
)


def _own_loading() -> Any:
    import torch

    class Odd(torch.nn.Linear):
        def _load_from_state_dict(self, state: Any, prefix: str, *rest: Any) -> None:
            self.scale = state.get(prefix + "_extra_state", 0) + 1  # what a program writes for honest files
            super()._load_from_state_dict(state, prefix, *rest)

    return Odd(2, 2)


add(
    "into own/extra of a kind it does not expect",
    lambda: file({"weight": T(S("weight", "float32", (2, 2))), "bias": T(S("bias")), "_extra_state": "text"}),
    target=_own_loading,
    verbs=INTO,
)
