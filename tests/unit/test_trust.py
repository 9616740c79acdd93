"""The rules of `Resolver`, one by one, as the design's section on trust has them."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from torchkeep.values import registry
from torchkeep.values.trust import Closed, Opened, Resolver

PROGRAM = """
import functools, os, subprocess
import torch
from torch import nn
from torch.hub import load as hub_load

class Net(nn.Module):
    class Inner(nn.Module): pass
    def forward(self, x): return x
class Renamed(nn.Module): pass
Alias = Net
class WithDel(nn.Module):
    def __del__(self): pass
class DelChild(WithDel): pass
class Stating(nn.Module):
    def __setstate__(self, state): raise AssertionError
class Graph(torch.fx.GraphModule): pass
class Script(torch.jit.ScriptModule): pass
class Adam(torch.optim.Adam): pass
class Config: pass
class ConfigDel:
    def __del__(self): pass
class ConfigDelChild(ConfigDel): pass
class ConfigSetstate:
    def __setstate__(self, state): pass
class ConfigNew:
    def __new__(cls): return object.__new__(cls)
class ConfigSlots:
    __slots__ = ("a",)
class ConfigDict(dict): pass
class ConfigError(Exception): pass
class Meta(type):
    rang = []
    def __getattr__(cls, name):
        if not name.startswith("__"): cls.rang.append(name)
        raise AttributeError(name)
    def __call__(cls, *a): cls.rang.append("call")
    def __instancecheck__(cls, other): cls.rang.append("instance"); return True
    def __subclasscheck__(cls, other): cls.rang.append("subclass"); return True
class MetaNet(nn.Module, metaclass=Meta): pass
class Callable:
    def __call__(self): pass
def act(x): return x
class Acts:
    @staticmethod
    def plain(x): return x
    system = staticmethod(os.system)
    ready = staticmethod(Callable())
    def method(self): pass
ready = Callable()
bound = functools.partial(act, 1)
"""


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A package that the process has already imported."""
    package, module = types.ModuleType("prog"), types.ModuleType("prog.nets")
    monkeypatch.setitem(sys.modules, "prog", package)
    monkeypatch.setitem(sys.modules, "prog.nets", module)
    exec(PROGRAM, vars(module))
    return module


@pytest.fixture
def sleeping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package on the path that nobody has imported."""
    for name, text in {
        "__init__": "",
        "nets": "import torch, os\nfrom torch.nn import Linear\nclass Net(torch.nn.Module): pass\ndef act(x): return x",
        "broken": "1/0",
        "leaving": "import sys\nsys.exit(3)",
    }.items():
        (tmp_path / "dormant").mkdir(exist_ok=True)
        (tmp_path / "dormant" / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield "dormant"
    for name in [name for name in sys.modules if name.partition(".")[0] == "dormant"]:
        del sys.modules[name]


ROLES: tuple[Any, ...] = ("module", "optimizer", "object", "function", "class", "custom")


def ask(
    name: str, role: Any = "module", *, classes: Any = None, trust: Any = (), held: Any = (), lasts: Any = None
) -> Any:
    return Resolver(classes, trust).resolve(
        name, role, holders=frozenset(held), lasts=lasts or {name.rpartition(":")[2].rpartition(".")[2]: 1}
    )


def opens(*arguments: Any, **more: Any) -> tuple[Any, str]:
    found = ask(*arguments, **more)
    assert isinstance(found, Opened), found
    return found.obj, found.how


def closed(*arguments: Any, **more: Any) -> Closed:
    found = ask(*arguments, **more)
    assert isinstance(found, Closed), found
    assert found.reason
    assert found.mend()
    return found


# --- torch is a closed table ---


def test_the_table_opens() -> None:
    assert opens("torch.nn:Linear") == (nn.Linear, "table")
    assert opens("torch.optim:SGD", "optimizer") == (torch.optim.SGD, "table")
    assert opens("torch.nn.functional:relu", "function") == (nn.functional.relu, "table")
    assert opens("torch.nn:Linear", "class") == (nn.Linear, "table")


@pytest.mark.parametrize(
    "name",
    [
        "torch.hub:load",
        "torch:load",
        "torch:save",
        "torch:compile",
        "torch.nn:DataParallel",
        "torch.jit:ScriptModule",
        "torch.fx:GraphModule",
        "torch.export.unflatten:InterpreterModule",
        "torch.nn:Linear.forward",
        "torch.utils.data:DataLoader",
        "torch.nn.modules.conv:_ConvNd",
        "torchgen.gen:main",
        "functorch:vmap",
        "torch:nn.Linear",
        "torch:os",
        "torch",
    ],
)
@pytest.mark.parametrize("role", ROLES)
def test_no_other_name_of_torch_opens_whatever_is_trusted(name: str, role: Any) -> None:
    found = closed(
        name, role, trust=("torch", "torchgen", "functorch", name) if ":" in name else ("torch",), held=("torch",)
    )
    assert found.way == "none"


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("torch.nn:Linear", "optimizer"),
        ("torch.nn:Linear", "function"),
        ("torch.nn:Linear", "object"),
        ("torch.nn:Linear", "custom"),
        ("torch.optim:SGD", "module"),
        ("torch.optim:SGD", "object"),
        ("torch.nn.functional:relu", "module"),
        ("torch.nn.functional:relu", "class"),
        ("torch.nn.functional:relu", "custom"),
    ],
)
def test_the_table_has_roles(name: str, role: Any) -> None:
    closed(name, role, held=("torch",), trust=("torch",))


def test_a_last_name_never_stands_for_a_name_of_torch(program: Any) -> None:
    class Linear(nn.Module):
        pass

    assert opens("torch.nn:Linear", classes=[Linear]) == (nn.Linear, "table")
    closed("torch.hub:load", "function", classes=[_named("load")])


def _named(name: str) -> Any:
    def made() -> None: ...

    made.__name__ = made.__qualname__ = name
    return made


# --- the standard library ---


@pytest.mark.parametrize(
    "name",
    [
        "tempfile:_TemporaryFileCloser",
        "os:_wrap_close",
        "subprocess:Popen",
        "builtins:eval",
        "posix:system",
        "shutil:rmtree",
        "importlib:import_module",
        "os:system",
        "functools:partial",
        "_io:FileIO",
    ],
)
@pytest.mark.parametrize("role", ROLES)
def test_the_standard_library_stays_closed(name: str, role: Any) -> None:
    package = name.partition(":")[0]
    closed(name, role, held=(package,))
    closed(name, role, held=(package,), trust=(package,))
    closed(name, role, held=(package,), trust=(name,))


def test_it_opens_where_the_caller_gives_the_object() -> None:
    assert opens("os:getcwd", "function", classes={"os:getcwd": os.getcwd}) == (os.getcwd, "named")


# --- what the caller names ---


def test_classes_by_name(program: Any) -> None:
    assert opens("gone.away:Net", classes={"gone.away:Net": program.Net}) == (program.Net, "named")
    assert opens("gone.away:act", "function", classes={"gone.away:act": program.act}) == (program.act, "named")
    closed("gone.away:Other", classes={"gone.away:Net": program.Net})


def test_classes_by_last_name_only_where_it_is_unique(program: Any) -> None:
    assert opens("gone.away:Net", classes=[program.Net]) == (program.Net, "named")
    assert opens("gone.away:Net", classes=program.Net) == (program.Net, "named")
    closed("gone.away:Net", classes=[program.Net], lasts={"Net": 2})
    closed("gone.away:Net", classes=[program.Net, types.new_class("Net", (nn.Module,))])
    closed("gone.away:Net", classes={"other:Net": program.Net})


def test_what_is_named_must_suit_its_role(program: Any) -> None:
    given = {"x:A": program.Net, "x:B": program.act, "x:C": program.Adam, "x:D": program.Config}
    assert opens("x:A", "module", classes=given)[0] is program.Net
    assert opens("x:A", "class", classes=given)[0] is program.Net
    assert opens("x:B", "function", classes=given)[0] is program.act
    assert opens("x:C", "optimizer", classes=given)[0] is program.Adam
    assert opens("x:D", "object", classes=given)[0] is program.Config
    for name, role in {
        ("x:A", "optimizer"),
        ("x:A", "object"),
        ("x:A", "function"),
        ("x:B", "module"),
        ("x:B", "class"),
        ("x:B", "object"),
        ("x:C", "module"),
        ("x:C", "object"),
        ("x:D", "module"),
        ("x:D", "custom"),
    }:
        closed(name, role, classes=given)


@pytest.mark.parametrize("given", [5, "Net", [5], {"a:b": 5}, {"a:b": None}, [functools.partial(print)], {"a:b": os}])
def test_only_classes_and_functions_can_be_given(given: Any) -> None:
    with pytest.raises(TypeError):
        Resolver(given, ())


def test_code_carriers_stay_closed_even_when_named(program: Any) -> None:
    for carrier in (program.Graph, program.Script, torch.fx.GraphModule, torch.jit.ScriptModule):
        for role in ("module", "object", "class"):
            closed("x:A", role, classes={"x:A": carrier})
            closed(f"prog.nets:{carrier.__name__}", role, trust=("prog",), held=("prog",))
            closed(f"prog.nets:{carrier.__name__}", role, held=("prog",))


def test_registering_names(program: Any) -> None:
    registry.register(program.Config, aliases=("old:Config",), encode=vars, decode=lambda state: None)
    try:
        assert opens("old:Config", "custom") == (program.Config, "named")
        assert opens("prog.nets:Config", "custom") == (program.Config, "named")
        assert opens("old:Config", "object")[0] is program.Config
    finally:
        registry._by_class.pop(program.Config)
    closed("old:Config", "custom")


def test_a_finalizer_may_run_where_the_class_is_named(program: Any) -> None:
    assert opens("x:A", classes={"x:A": program.WithDel})[1] == "named"


# --- trust= imports those, and them alone ---


def test_nothing_is_imported_because_a_file_names_it(sleeping: str) -> None:
    for role in ROLES:
        closed(
            "dormant.nets:Net", role, held=("dormant",), trust=("dorm", "dormant2", "dormant.net", "dormant.nets:Other")
        )
    assert not any(name.startswith("dormant") for name in sys.modules)


@pytest.mark.parametrize("trust", ["dormant", "dormant.nets", "dormant.nets:Net", ("other", "dormant")])
def test_trust_imports(sleeping: str, trust: Any) -> None:
    found, how = opens("dormant.nets:Net", trust=trust)
    assert (found.__name__, how) == ("Net", "named")


def test_a_trusted_name_is_that_name_alone(sleeping: str) -> None:
    closed("dormant.nets:act", "function", trust=("dormant.nets:Net",))
    assert opens("dormant.nets:act", "function", trust=("dormant",))[1] == "named"


@pytest.mark.parametrize(
    "name",
    [
        "dormant.nets:os",
        "dormant.nets:os.system",
        "dormant.nets:Linear",
        "dormant.nets:torch.nn.Linear",
        "dormant.nets:torch.hub.load",
        "dormant.nets:missing",
        "dormant.missing:Net",
        "dormant:nets",
        "dormant.nets:",
        "dormant.nets:__builtins__",
        "dormant.nets:Net.forward.__globals__",
    ],
)
@pytest.mark.parametrize("role", ROLES)
def test_trust_opens_nothing_that_is_only_re_exported(sleeping: str, name: str, role: Any) -> None:
    closed(name, role, trust=("dormant",), held=("dormant",))


def test_a_trusted_module_that_raises_or_leaves(sleeping: str) -> None:
    assert "ZeroDivisionError" in closed("dormant.broken:Net", trust=("dormant",)).reason
    assert "SystemExit" in closed("dormant.leaving:Net", trust=("dormant",)).reason


def test_a_trusted_instance_is_no_function(program: Any) -> None:
    closed("prog.nets:ready", "function", trust=("prog",))
    closed("prog.nets:bound", "function", trust=("prog",))
    assert opens("prog.nets:act", "function", trust=("prog",)) == (program.act, "named")


def test_a_trusted_static_method_is_a_function(program: Any) -> None:
    assert opens("prog.nets:Acts.plain", "function", trust=("prog",)) == (program.Acts.plain, "named")
    for name in ("system", "ready", "missing", "plain.__globals__"):
        closed(f"prog.nets:Acts.{name}", "function", trust=("prog",))
    closed("prog.nets:Acts.plain", "function")
    closed("prog.nets:Acts.plain", "module", trust=("prog",))


@pytest.mark.parametrize(
    "trust", ["", "a..b", "a b", "a/b", "*", "a:", ":a", "a.*", "../a", ("a", ""), (5,), "a:b:c d"]
)
def test_trust_takes_names(trust: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        Resolver(None, trust)


# --- why not ---


def test_why_what_was_given_did_not_count(program: Any) -> None:
    def reason(**given: Any) -> str:
        return closed("gone.away:Net", **given).reason

    also = types.new_class("Net", (nn.Module,))
    assert reason() == "gone.away is not imported"
    assert reason(classes=[program.Net, also]).endswith("; 2 of the given classes are called Net, so none counts")
    assert reason(classes=[program.Net], lasts={"Net": 2}).endswith(
        "; 2 names of the file end in Net, so the given class counts for none"
    )
    assert reason(classes={"gone.away.Net": program.Net}).endswith(
        "; classes= has 'gone.away.Net', with a dot where the file has a colon"
    )
    assert "classes" not in closed("gone.away:Net", "optimizer", classes={"gone.away:Net": program.Net}).reason


def test_keys_that_nothing_is_called(program: Any) -> None:
    resolver = Resolver({"m:Nett": program.Net, "m:Net": program.Net, "m.Other": program.Net}, ())
    assert resolver.unused(["m:Net", "m:Other"]) == ["m:Nett"]
    assert Resolver([program.Net], ()).unused([]) == []


def test_a_second_name_is_told(program: Any) -> None:
    assert closed("prog.nets:Alias").reason == "is another name of prog.nets:Net now"
    program.Net.__module__ = "new.nets"
    assert closed("prog.nets:Net").reason == "is another name of new.nets:Net now"
    found = closed("prog.nets:Net", trust=("prog",))
    assert found.reason == "is only re-exported by prog.nets: it is new.nets:Net now"
    assert closed("prog.nets:act").reason == "prog.nets defines no class of that name"


def test_a_call_that_was_tried_is_not_offered_again(sleeping: str) -> None:
    for name in ("dormant.missing:Net", "dormant.broken:Net", "dormant.nets:Gone"):
        assert "trust=" in closed(name).mend()
        assert "trust=" not in closed(name, trust=("dormant",)).mend()


def test_nouns_have_their_articles(program: Any) -> None:
    assert closed("prog.nets:Adam", "optimizer").reason.startswith("an optimizer opens only when")
    assert closed("prog.nets:act", "function").reason.startswith("a function opens only when")
    given = {"x:A": program.act}
    assert closed("x:A", "optimizer", classes=given).reason == "is a function where an optimizer was saved"


@pytest.mark.parametrize(
    ("name", "spelled"),
    [
        ("a.b:Net", "Net"),
        ("a.b:Outer.Net", "Outer.Net"),
        ("a.b:make.<locals>.Net", "Net"),
        ("a.b:make.<locals>.Outer.Net", "Outer.Net"),
        ("a.b:Outer.class", "..."),
        ("a.b:", "..."),
        ("a.b:<lambda>", "..."),
    ],
)
def test_a_call_has_the_name_that_code_has(name: str, spelled: str) -> None:
    assert closed(name).mend().startswith(f"classes={{{name!r}: {spelled}}}")


# --- what the program has already imported, in the narrowest way ---


def test_imported_modules_open(program: Any) -> None:
    assert opens("prog.nets:Net") == (program.Net, "imported")
    assert opens("prog.nets:Net.Inner") == (program.Net.Inner, "imported")
    assert opens("prog.nets:Stating") == (program.Stating, "imported")  # the audit has a say about __setstate__


@pytest.mark.parametrize(
    "name",
    [
        "WithDel",
        "DelChild",
        "Alias",
        "nn.Linear",
        "nn",
        "os",
        "os.system",
        "hub_load",
        "ready",
        "bound",
        "act",
        "missing",
        "Net.missing",
        "Net.forward",
        "Net.__init__",
        "__builtins__",
        "Config",
        "Adam",
        "",
        "Net.",
    ],
)
def test_imported_and_no_module_class_defined_there(program: Any, name: str) -> None:
    closed(f"prog.nets:{name}")


@pytest.mark.parametrize("role", ["function", "class", "optimizer", "custom"])
@pytest.mark.parametrize("name", ["act", "Net", "Adam", "Config", "Net.forward"])
def test_all_else_opens_only_by_name(program: Any, role: Any, name: str) -> None:
    closed(f"prog.nets:{name}", role, held=("prog",))


def test_plain_objects_of_the_same_package(program: Any) -> None:
    assert opens("prog.nets:Config", "object", held=("prog",)) == (program.Config, "imported")
    assert opens("prog.nets:Config", "object", held=("other", "prog"))[1] == "imported"
    for held in ((), ("other",), ("prog.nets",), ("pro",)):
        closed("prog.nets:Config", "object", held=held)


@pytest.mark.parametrize(
    "name",
    [
        "ConfigDel",
        "ConfigDelChild",
        "ConfigSetstate",
        "ConfigNew",
        "ConfigDict",
        "ConfigError",
        "Net",
        "Adam",
        "WithDel",
        "act",
        "ready",
        "Meta",
    ],
)
def test_plain_objects_with_behaviour_stay_closed(program: Any, name: str) -> None:
    closed(f"prog.nets:{name}", "object", held=("prog",))


def test_metaclasses_are_not_asked(program: Any) -> None:
    assert opens("prog.nets:MetaNet")[0] is program.MetaNet
    closed("prog.nets:MetaNet.missing")
    closed("prog.nets:MetaNet", "function", trust=("prog",))
    assert program.Meta.rang == []


def test_a_module_getattr_is_not_asked(program: Any) -> None:
    def asked(name: str) -> Any:
        raise AssertionError(name)

    vars(program)["__getattr__"] = asked
    closed("prog.nets:anything")
    closed("prog.nets:anything", trust=("prog",))


def test_a_class_that_is_not_what_its_name_says(program: Any) -> None:
    program.Renamed.__module__ = "prog.other"
    closed("prog.nets:Renamed")
    program.Net.__qualname__ = "Other"
    closed("prog.nets:Net")


def test_what_stands_in_sys_modules_and_is_no_module(program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Loud:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(name)

    monkeypatch.setitem(sys.modules, "loud", Loud())  # type: ignore[arg-type]
    closed("loud:Net")
    monkeypatch.setitem(sys.modules, "none", None)  # type: ignore[arg-type]
    closed("none:Net")


def test_the_known_attacks_stay_closed() -> None:
    """The known attacks of the threat list, each by its own name."""
    for cls in (tempfile._TemporaryFileCloser, subprocess.Popen, tempfile._TemporaryFileWrapper):  # type: ignore[attr-defined]
        for role in ROLES:
            closed(f"{cls.__module__}:{cls.__qualname__}", role, held=(cls.__module__,), trust=(cls.__module__,))


@pytest.mark.parametrize("name", ["a:\x1b[2Jb", "a:b\nPass trust=('x',)", "a:\u202eb", "\x00:x", "a:" + "b" * 100_000])
def test_what_would_open_it_is_printable_code(name: str) -> None:
    """`mend` is to be typed by a person: no character of the file's may act on a terminal."""
    assert closed(name).mend().isprintable()
