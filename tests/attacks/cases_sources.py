"""Source text in a file: whatever it says, it is text until the caller says `run_source=True`."""

from __future__ import annotations

from typing import Any

from case import Cases
from forge import doc as document_of
from forge import function, module, native, parameter, plain

from torchkeep.document import ClassInfo, Finding, SourceText

CASES = Cases()
add = CASES.add
NETS = "victim.nets"
RING = "from victim import alarm\nalarm.ring('source')\nimport os\nos.mkdir('/tmp/torchkeep-was-here')\n"
NET = "from torch import nn\nclass Net(nn.Module):\n    pass\n"
PRIVATE = "_torchkeep_source_" + "0" * 32


def _file(root: Any, sources: dict[str, Any], **more: Any) -> bytes:
    texts = {name: it if isinstance(it, SourceText) else SourceText(name.rpartition(".")[0], it)
             for name, it in sources.items()}  # fmt: skip
    return native(document_of(root, sources=texts, **more))


def _net(cls: str = "gone.away:Net") -> Any:
    return module(cls, parameters={"weight": parameter()})


# --- nothing runs without the word ---

_CLOSED = {"load": "TrustError", "inspect": "ok", "json": "ok", "skeleton": "ok", "into": "BindError|ok"}


def _package(name: str, text: str = RING) -> dict[str, SourceText]:
    return {name: SourceText(name, text)}


for _what, _load in {
    "auto": {},
    "structure": {"route": "structure"},
    "source": {"route": "source"},
    "trusted": {"trust": ("gone",)},
    "trusted source": {"trust": ("gone",), "route": "source"},
}.items():
    add(f"source/{_what}", lambda: _file(_net(), {"gone.away": RING + NET, **_package("gone")}), load=_load,
        expect=_CLOSED)  # fmt: skip

add(
    "source/said by the file",
    lambda: _file(
        _net(),
        {"gone.away": RING + NET},
        environment={"run_source": "True", "route": "source"},
        findings=[Finding("source", "note", "", "run_source=True", "route='source'")],
        classes={"gone.away:Net": ClassInfo(1, None, "run_source=True")},
    ),
    expect=_CLOSED,
)
add(
    "source/of a class that is imported",
    lambda: _file(
        module(f"{NETS}:Net", parameters={"weight": parameter()}), {"victim.nets": SourceText("victim", RING)}
    ),
    expect={"load": "ok"},
)
add(
    "source/of an imported package",
    lambda: _file({"a": _net(), "b": plain("gone.away:Config", x=1)}, {"gone.away": RING, **_package("torch")}),
    expect={"load": "TrustError"},
)
add(
    "source/of a record",
    lambda: _file({"b": plain("gone.away:Config", x=1)}, {"gone.away": RING}),
    expect={"load": "ok"},
)
add(
    "source/of a function", lambda: _file([function("gone.away:f")], {"gone.away": RING}), expect={"load": "TrustError"}
)
add("source/of a main", lambda: _file(_net("__main__:Net"), {"__main__": RING + NET}), expect={"load": "TrustError"})

for _name, _text in {
    "syntax": "def (",
    "deep": "(" * 100_000,
    "deep minus": "-" * 100_000 + "1",
    "deep blocks": "".join(" " * i + "if 1:\n" for i in range(200)),
    "long": "x = 1\n" * 1_000_000,
    "terminal": "\x1b[2J\u202e\r\x07\x9b = 1\n",
    "bom": "\ufeff" + RING,
    "coding": "# -*- coding: rot13 -*-\nvzcbeg bf\n",
    "form feed": "\f" * 1000,
}.items():
    add(f"source/{_name}", lambda t=_text: _file(_net(), {"gone.away": t}), expect=_CLOSED)
    add(f"source/{_name} of source", lambda t=_text: _file(_net(), {"gone.away": t}), load={"route": "source"},
        expect=_CLOSED)  # fmt: skip

# --- a private namespace is no name for a file ---

add("source/private class", lambda: _file(_net(f"{PRIVATE}.a:Net"), {"a": NET}), expect={"load": "TrustError"})
add("source/private own text", lambda: _file(_net(f"{PRIVATE}.a:Net"), {f"{PRIVATE}.a": SourceText(PRIVATE, RING)}),
    expect={"load": "TrustError"})  # fmt: skip
add("source/private trusted", lambda: _file(_net(f"{PRIVATE}.a:Net"), {"a": NET}), load={"trust": (PRIVATE,)},
    expect={"load": "TrustError"})  # fmt: skip

# --- names that are none, and too much of everything ---

_REFUSED = dict.fromkeys(("inspect", "json", "load", "skeleton", "into"), "FormatError")
for _name in (
    "..",
    "../x",
    "a..b",
    "",
    ".",
    "a.",
    "/etc/passwd",
    "a\0b",
    "class",
    "a.import",
    "a b",
    "\u202ea",
    "é",
    "a\n",
):
    add(f"source/name {_name.encode('unicode_escape').decode().replace('/', '|')} is none",
        lambda n=_name: _file(_net(), {n: SourceText("", RING)}), expect=_REFUSED)  # fmt: skip
for _package_name in ("..", "/", "b", "a.b.c", "a\0", "__main__"):
    add(f"source/name package {_package_name.encode('unicode_escape').decode().replace('/', '|')}",
        lambda p=_package_name: _file(_net(), {"a.b": SourceText(p, RING)}), expect=_REFUSED)  # fmt: skip
add("source/name in a module", lambda: _file(_net(), {"a": RING, "a.b": RING}), expect=_REFUSED)
add("source/name nul in text", lambda: _file(_net(), {"a": "x\0"}), expect=_REFUSED)

_MANY = dict.fromkeys(("inspect", "json", "load", "skeleton", "into"), "LimitError")
add("source/many modules", lambda: _file(_net(), {f"m{i}": "" for i in range(100_000)}), expect=_MANY)
add("source/many bytes", lambda: _file(_net(), {"a": "x" * 8_000_001}), expect=_MANY)
add("source/many levels", lambda: _file(_net(), {"a" + ".a" * 1000: ""}), expect=_MANY)
add("source/many allowed", lambda: _file(_net(), {f"m{i:04}": "x" * 4000 for i in range(2000)}), expect=_CLOSED)
add("source/many twice", lambda: native(document_of(_net(), sources={"a": SourceText("", "")}),
    edit=lambda t: t.replace('[["a","",""]]', '[["a","",""],["a","","x"]]')), expect=_REFUSED)  # fmt: skip
