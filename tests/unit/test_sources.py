"""What the source of a class says, on real modules that are written, imported and changed."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import itertools
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from torch import nn

from torchkeep.values import sources

Write = Callable[..., ModuleType]


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Write]:
    """Writes a module of its own name, or of the given one, and imports it."""
    made: set[str] = set()
    numbers = itertools.count()

    def write(source: str, name: str = "", file: str = "") -> ModuleType:
        name = name or f"made_for_sources_{next(numbers)}"
        path = tmp_path / (file or f"{name}.py")
        path.write_text("import torch\nfrom torch import nn\n" + textwrap.dedent(source), encoding="utf-8")
        made.add(name)
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    yield write
    for name in made:
        del sys.modules[name]


NET = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(2, 3)

    def forward(self, x):
        return self.a(x)
"""


# digest


def test_a_digest_is_32_hex_digits_and_stays(write: Write) -> None:
    net = write(NET).Net
    found = sources.digest(net)
    assert found is not None
    assert len(bytes.fromhex(found)) == 16
    assert sources.digest(net) == found


@pytest.mark.parametrize(
    ("what", "source"),
    [
        ("moved down", "x = 1\n\n\ndef f():\n    pass\n\n" + NET),
        ("renamed", NET.replace("class Net(", "class Network(")),
        ("comment line", NET.replace("        return", "        # why\n\n        return")),
        ("comment at a line's end", NET.replace("nn.Linear(2, 3)", "nn.Linear(2, 3)  # wide")),
        ("blank lines", NET.replace("\n    def forward", "\n\n\n    def forward").replace("3)", "3)   ")),
        ("comment above", NET.replace("class Net", "# the net\nclass Net")),
        ("nested", "class Outer:\n" + textwrap.indent(NET, "    ")),
        ("in a function", "def make():\n" + textwrap.indent(NET, "    ") + "    return Net\nNet = make()\n"),
        ("conditional", "if nn:\n" + textwrap.indent(NET, "    ") + "else:\n    Net = None\n"),
    ],
)
def test_what_is_no_change(write: Write, what: str, source: str) -> None:
    module = write(source)
    changed = getattr(module, "Network", None) or getattr(module, "Outer", module).Net
    assert sources.digest(changed) == sources.digest(write(NET).Net), what


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("nn.Linear(2, 3)", "nn.Linear(2, 4)"),
        ("return self.a(x)", "return self.a(x) + 1"),
        ("nn.Module", "nn.Sequential"),
        ("class Net", "@(lambda cls: cls)\nclass Net"),
        ("def forward(self, x):\n", 'def forward(self, x):\n        """Say."""\n'),
        ("    def forward", "    b: int = 3\n\n    def forward"),
    ],
)
def test_what_is_a_change(write: Write, old: str, new: str) -> None:
    changed = NET.replace(old, new)
    assert changed != NET
    assert sources.digest(write(changed).Net) != sources.digest(write(NET).Net)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("'''a\n\nb'''", "'''a\nb'''"),
        ("'''a\n# b\n'''", "'''a\n'''"),
        ("'''a  \nb'''", "'''a\nb'''"),
        ('"# a"', '"# b"'),
        ("'\"# a'", "'\"# b'"),
        ('"\\"# a"', '"\\"# b"'),
        ('"""a"# a"""', '"""a"# b"""'),
    ],
)
def test_strings_are_kept_to_the_letter(write: Write, one: str, other: str) -> None:
    found = [sources.digest(write(f"class Net:\n    text = {text}\n").Net) for text in (one, other)]
    assert found[0] != found[1]


def test_a_base_class_counts(write: Write) -> None:
    child = "\nclass Child(Net):\n    pass\n"
    same = sources.digest(write(NET + child).Child)
    assert sources.digest(write("\n\n" + NET + "\n\nx = 1\n" + child).Child) == same
    assert sources.digest(write(NET.replace("2, 3", "3, 2") + child).Child) != same
    assert sources.digest(write(NET.replace("class Net", "class Base") + child.replace("Net", "Base")).Child) != same


@pytest.mark.parametrize("cls", [nn.Linear, Path, object, type(sys.implementation)])
def test_torch_and_the_standard_library_have_none(cls: type) -> None:
    assert sources.digest(cls) is None
    assert sources.assigned_by_init(cls) == frozenset()


def test_no_source_no_digest(write: Write) -> None:
    module = write("class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.a = 1\n")
    source = NET.replace("self.a", "self.b")
    exec(source, vars(module))  # a namesake that is not the one in the file
    assert sources.digest(module.Net) is None
    assert sources.assigned_by_init(module.Net) == frozenset()
    made = type("Made", (nn.Module,), {})
    assert sources.digest(made) is None
    made.__module__ = "no_such_module"
    assert sources.digest(made) is None
    assert sources.assigned_by_init(made) == frozenset()


def test_a_file_that_cannot_be_parsed(write: Write) -> None:
    module = write(NET)
    path = Path(str(module.__file__))
    path.write_text("class Net(:\n", encoding="utf-8")
    assert sources.digest(module.Net) is None
    path.unlink()
    assert sources.digest(module.Net) is None


def test_a_file_that_changes_is_read_again(write: Write) -> None:
    old = write(NET, name="made_for_sources_again")
    before = sources.digest(old.Net)
    assert sources.assigned_by_init(old.Net) == {"a"}
    new = write(NET.replace("self.a", "self.bb"), name="made_for_sources_again")
    os.utime(str(new.__file__), (1, 1))
    assert sources.digest(new.Net) != before
    assert sources.assigned_by_init(new.Net) == {"bb"}


def test_a_file_is_parsed_once(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    module = write(NET + NET.replace("Net", "Other"))
    sources.digest(module.Net)
    monkeypatch.setattr(sources, "_parse", None)
    assert sources.digest(module.Other) == sources.digest(module.Net)


def test_of_several_definitions_the_right_one(write: Write) -> None:
    other = NET.replace("self.a", "self.other")
    block = "if {}:\n" + textwrap.indent(NET, "    ") + "else:\n" + textwrap.indent(other, "    ")
    for condition, expected, name in (("True", NET, "a"), ("False", other, "other")):
        net = write(block.format(condition)).Net
        assert sources.digest(net) == sources.digest(write(expected).Net)
        assert sources.assigned_by_init(net) == {name}
    last = write("class Net:\n    x = 1\n\nclass Net:\n    x = 2\n").Net
    assert sources.digest(last) == sources.digest(write("class Net:\n    x = 2\n").Net)


def test_decorated_methods_and_classes(write: Write) -> None:
    net = write(
        """
        import functools

        def plain(function):
            @functools.wraps(function)
            def call(*args, **kwargs):
                return function(*args, **kwargs)
            return call

        @(lambda cls: cls)
        class Net(nn.Module):
            @plain
            def __init__(self):
                super().__init__()
                self.a = 1

            @torch.no_grad()
            def forward(self, x):
                return x
        """
    ).Net
    assert sources.digest(net) is not None
    assert sources.assigned_by_init(net) == {"a"}


def test_nothing_is_run(write: Write) -> None:
    net = write(
        """
        class Meta(type):
            def __getattr__(cls, name):
                if name in ("__wrapped__", "__func__"):
                    raise SystemExit(name)
                raise AttributeError(name)

        class Trap:
            def __getattr__(self, name):
                raise SystemExit(name)

            def __get__(self, instance, owner):
                raise SystemExit

        class Net(nn.Module, metaclass=Meta):
            trap = Trap()

            def __init__(self):
                raise_if_run = 1 / 0
                super().__init__()
                self.a = 1
        """
    ).Net
    assert sources.digest(net) is not None
    assert sources.assigned_by_init(net) == {"a"}


def test_warnings_of_the_source_are_its_authors(write: Write) -> None:
    with pytest.warns((DeprecationWarning, SyntaxWarning)):
        net = write('class Net:\n    x = "\\d"\n').Net
    assert sources.digest(net) is not None


def test_a_script_and_its_local_classes(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(
        "from torch import nn\nfrom torchkeep.values import sources\n"
        + NET
        + "print(sources.digest(Net), *sources.assigned_by_init(Net))\n",
        encoding="utf-8",
    )
    done = subprocess.run([sys.executable, str(script)], check=True, capture_output=True, text=True)
    found, *names = done.stdout.split()
    assert len(found) == 32
    assert names == ["a"]


def test_a_notebook_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class of `__main__` without a file: its methods name the cell, and `linecache` has its text."""
    import linecache

    name = "<cell-of-test-sources>"
    linecache.cache[name] = (len(NET), None, NET.splitlines(keepends=True), name)
    module = ModuleType("made_for_sources_notebook")
    vars(module)["nn"] = nn
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(NET, name, "exec"), vars(module))
    assert sources.digest(module.Net) is not None
    assert sources.assigned_by_init(module.Net) == {"a"}


# assigned_by_init


def init(write: Write, body: str, *, before: str = "", inside: str = "") -> frozenset[str]:
    """What an `__init__` with this body assigns."""
    source = f"{textwrap.dedent(before)}\nclass Net(nn.Module):\n"
    source += textwrap.indent(textwrap.dedent(inside), "    ")
    source += "    def __init__(self, x=None, *args):\n"
    source += textwrap.indent(textwrap.dedent(body), "        ")
    return sources.assigned_by_init(write(source).Net)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("self.a = 1", "a"),
        ("self.a: int = 1", "a"),
        ("self.a: int", ""),
        ("self.a = self.b = 1", "a b"),
        ("self.a, (self.b, *self.c) = x", "a b c"),
        ("[self.a, y] = x", "a"),
        ("self.a.b = 1", ""),
        ("self.a[0] = 1", ""),
        ("x.a = 1", ""),
        ("self.a += 1", ""),
        ("self.__a = 1", "_Net__a"),
        ("self.__a__ = 1", "__a__"),
        ("y = 1", ""),
        ("self.register_buffer('a', None)", "a"),
        ("self.register_buffer(name='a', tensor=None)", "a"),
        ("self.register_buffer(x, None)", ""),
        ("self.register_parameter('a', None)", "a"),
        ("self.add_module('a', None)", "a"),
        ("self.register_module('a', None)", "a"),
        ("x.register_buffer('a', None)", ""),
        ("setattr(self, 'a', 1)", "a"),
        ("setattr(self, x, 1)", ""),
        ("setattr(x, 'a', 1)", ""),
        ("x and setattr(self, 'a', 1)", ""),
        # branches
        ("if x:\n    self.a = 1\n    self.b = 1\nelse:\n    self.b = 2\n    self.c = 3", "b"),
        ("if x:\n    self.a = 1", ""),
        ("if x:\n    self.a = 1\nelif x is None:\n    self.a = 2\nelse:\n    self.a = 3", "a"),
        ("if x:\n    self.a = 1\nelse:\n    raise ValueError", "a"),
        ("if x:\n    raise ValueError\nself.a = 1", "a"),
        ("raise ValueError\nself.a = 1", ""),
        # returns
        ("self.a = 1\nif x:\n    return\nself.b = 1", "a"),
        ("self.a = 1\nreturn\nself.b = 1", "a"),
        ("if x:\n    self.a = 1\n    return\nself.a = 2\nself.b = 2", "a"),
        ("for y in x:\n    if y:\n        return\nself.a = 1", ""),
        ("def f():\n    return 1\nself.a = 1", "a"),
        # blocks
        ("with x:\n    self.a = 1", "a"),
        ("with x as self.a, x as (self.b, y):\n    pass", "a b"),
        ("with contextlib.suppress(KeyError):\n    self.a = 1\n    raise KeyError\nself.b = 1", "b"),
        ("for self.a in x:\n    self.b = 1\nelse:\n    self.c = 1\nself.d = 1", "d"),
        ("while x:\n    self.a = 1\nself.b = 1", "b"),
        ("while True:\n    if x:\n        break\n    else:\n        continue\nself.b = 1", "b"),
        ("match x:\n    case 1:\n        self.a = 1\n    case _:\n        self.a = 2\nself.b = 1", "b"),
        ("match x:\n    case 1:\n        return\nself.b = 1", ""),
        # try
        ("try:\n    self.a = 1\nexcept KeyError:\n    pass", ""),
        ("try:\n    self.a = 1\nexcept KeyError:\n    self.a = 2", "a"),
        ("try:\n    self.a = 1\nexcept KeyError:\n    raise", "a"),
        ("try:\n    pass\nexcept KeyError:\n    raise\nelse:\n    self.a = 1", "a"),
        ("try:\n    self.a = 1\nfinally:\n    self.b = 1", "a b"),
        ("try:\n    raise KeyError\nexcept KeyError:\n    self.a = 1\nself.b = 1", "a b"),
        ("try:\n    import json\nexcept ImportError:\n    return\nself.b = 1", ""),
        # not this function
        ("def f(self):\n    self.a = 1\nclass C:\n    self = x\nself.b = lambda: setattr(self, 'c', 1)", ""),
        ("def f(me):\n    self.a = 1\nself.b = lambda: setattr(self, 'c', 1)", "b"),
        ("self = x\nself.a = 1", ""),
        # deletion
        ("self.a = 1\ndel self.a\nself.b = 1", "b"),
        ("self.a = self.b = self.c = 1\ndel self.a, self.b", "c"),
        ("self.a = 1\ndelattr(self, 'a')", ""),
        ("self.__a = 1\nself.b = 1\ndel self.__a", "b"),
    ],
)
def test_definite_assignment(write: Write, body: str, expected: str) -> None:
    assert init(write, body, before="import contextlib") == set(expected.split())


def test_self_may_have_another_name(write: Write) -> None:
    source = "class Net:\n    def __init__(me, self, /):\n        me.a = self.b = 1\n"
    assert sources.assigned_by_init(write(source).Net) == {"a"}
    source = "class Net:\n    def __init__(*args):\n        args[0].a = 1\n"
    assert sources.assigned_by_init(write(source).Net) == frozenset()


def test_what_the_class_serves_is_left_out(write: Write) -> None:
    inside = """
        b = None
        e: int
        @property
        def a(self): ...
        @a.setter
        def a(self, value): ...
        def c(self): ...
    """
    assert init(write, "self.a = self.b = self.c = self.d = self.e = 1", inside=inside) == {"d", "e"}
    before = "class Base:\n    a = 1\n    __slots__ = ('s',)\n"
    source = before + "class Net(nn.Module, Base):\n    def __init__(self):\n        self.a = self.b = self.s = 1\n"
    assert sources.assigned_by_init(write(source).Net) == {"b", "s"}  # a slot holds what an instance has


def test_what_another_method_deletes_is_left_out(write: Write) -> None:
    inside = """
        def deploy(self):
            del self.a
            self.__delattr__('b')
    """
    assert init(write, "self.a = self.b = self.c = 1", inside=inside) == {"c"}


def test_a_setattr_of_its_own_may_mean_anything(write: Write) -> None:
    inside = "def __setattr__(self, name, value): ...\n"
    assert init(write, "self.a = 1", inside=inside) == frozenset()


@pytest.mark.parametrize(
    "call",
    [
        "super().__init__(1)",
        "super(Net, self).__init__()",
        "Base.__init__(self)",
        "here.Base.__init__(self, 1)",
    ],
)
def test_bases_are_followed(write: Write, call: str) -> None:
    before = """
        import sys
        here = sys.modules[__name__]

        class Base(nn.Module):
            def __init__(self, x=1):
                super().__init__()
                self.base = x
                if x:
                    self.maybe = 1
    """
    source = textwrap.dedent(before) + "\nclass Middle(Base):\n    pass\n"
    source += f"\nclass Net(Middle):\n    def __init__(self):\n        {call}\n        self.own = 1\n"
    module = write(source)
    assert sources.assigned_by_init(module.Net) == {"own", "base"}
    assert sources.assigned_by_init(module.Middle) == {"base"}
    assert sources.assigned_by_init(write(source.replace(call, "pass")).Net) == {"own"}
    assert sources.assigned_by_init(write(source.replace(call, "nn.Module.__init__(self)")).Net) == {"own"}


def test_super_follows_the_order_of_the_instance_not_of_the_text(write: Write) -> None:
    module = write(
        """
        class A(nn.Module):
            def __init__(self):
                super().__init__()
                self.a = 1
        class Left(A):
            def __init__(self):
                super().__init__()
                self.left = 1
        class Right(A):
            def __init__(self):
                super().__init__()
                self.right = 1
        class Both(Left, Right):
            def __init__(self):
                super().__init__()
        class Skips(Left, Right):
            def __init__(self):
                super(Left, self).__init__()
        """
    )
    assert sources.assigned_by_init(module.Left) == {"a", "left"}
    assert sources.assigned_by_init(module.Both) == {"a", "left", "right"}
    assert sources.assigned_by_init(module.Skips) == {"a", "right"}


def test_generated_and_unrecognizable_inits(write: Write) -> None:
    module = write(
        """
        import dataclasses

        @dataclasses.dataclass
        class Data:
            a: int
            def __post_init__(self):
                self.b = 1

        def hides(function):
            return lambda *args: None

        class Hidden:
            @hides
            def __init__(self):
                self.a = 1

        class Given:
            pass

        def given(self):
            self.a = 1

        Given.__init__ = given
        """
    )
    for name in ("Hidden", "Given"):
        assert sources.assigned_by_init(getattr(module, name)) == frozenset()
    assert sources.assigned_by_init(module.Data) == {"a", "b"}
    assert sources.digest(module.Data) is not None


def test_fields_of_a_dataclass(write: Write) -> None:
    module = write(
        """
        import dataclasses
        from dataclasses import dataclass, field
        from typing import ClassVar

        @dataclass
        class Config:
            width: int
            depth: int = 2  # which the class serves
            names: list = field(default_factory=list)
            seen: dict = field(default_factory=dict, init=False)
            late: int = field(init=False)
            start: dataclasses.InitVar[int] = 0
            count: ClassVar[int] = 0

        @dataclass(frozen=True, slots=True)
        class Frozen:
            more: int = 3  # which a slot holds

        @dataclass
        class Own(Config):
            size: int = field(default_factory=int)
            def __init__(self):
                self.a = 1

        class Plain(Config):
            def __init__(self):
                super().__init__(1)
                self.b = 1

        @dataclass(init=False)
        class Bare:
            a: list = field(default_factory=list)
        """
    )
    assert sources.assigned_by_init(module.Config) == {"width", "names", "seen"}
    assert sources.assigned_by_init(module.Frozen) == {"more"}
    assert sources.assigned_by_init(module.Own) == {"a"}
    assert sources.assigned_by_init(module.Plain) == {"width", "names", "seen", "b"}
    assert sources.assigned_by_init(module.Bare) == frozenset()


def test_where_an_init_registers_what_it_registers(write: Write) -> None:
    body = """
        self.register_buffer("a", None)
        self.register_buffer("b", None, persistent=False)
        self.register_buffer("c", None, False)
        self.register_buffer(name="d", tensor=None, persistent=x)
        self.register_parameter("e", None)
        self.add_module("f", None)
        self.register_module(name="g", module=None)
        self.h = nn.Buffer(torch.ones(1), persistent=False)
        self.i: nn.Buffer = nn.Buffer(torch.ones(1))
        self.j = self.k = nn.Parameter(torch.ones(1))
        self.plain, self.layer = torch.ones(1), nn.Linear(1, 1)
        if x:
            self.register_buffer("maybe", None)
            self.register_buffer("both", None)
        else:
            self.both = None
        x.register_buffer("other", None)
    """
    source = "class Net(nn.Module):\n    def __init__(self, x=None):\n" + textwrap.indent(
        textwrap.dedent(body), " " * 8
    )
    net = write(
        source + "\nclass Child(Net):\n    def __init__(self):\n        self.register_buffer('z', None)\n"
    ).Child
    homes = {**dict.fromkeys("adi", "buffers"), **dict.fromkeys("bch", "non_persistent"), "maybe": "buffers"}
    homes |= {**dict.fromkeys("ejk", "parameters"), **dict.fromkeys("fg", "modules"), "z": "buffers"}
    assert sources.homes_by_init(net) == homes
    assert sources.homes_by_init(nn.Linear) == {}


def test_on_a_model_of_everyday(write: Write) -> None:
    names = sources.assigned_by_init(
        write(
            """
            class Block(nn.Module):
                def __init__(self, width, *, norm=True, bias=None):
                    super().__init__()
                    if width <= 0:
                        raise ValueError("width")
                    self.width = width
                    self.norm = nn.LayerNorm(width) if norm else nn.Identity()
                    if bias is None:
                        self.register_parameter("bias", None)
                    else:
                        self.bias = nn.Parameter(torch.zeros(width))
                    for index in range(3):
                        setattr(self, f"layer{index}", nn.Linear(width, width))
                    self.register_buffer("steps", torch.zeros(()), persistent=False)
            """
        ).Block
    )
    assert names == {"width", "norm", "bias", "steps"}


def test_a_file_of_many_classes_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    modeling_bert = pytest.importorskip("transformers.models.bert.modeling_bert")
    classes = [
        value
        for value in vars(modeling_bert).values()
        if isinstance(value, type) and value.__module__ == modeling_bert.__name__
    ]
    parsed: list[int] = []
    parse = ast.parse
    monkeypatch.setattr(ast, "parse", lambda text, *args, **kwargs: parsed.append(len(text)) or parse(text))
    monkeypatch.setattr(sources, "_sources", {})
    assert len(classes) > 20
    assert all(sources.digest(cls) for cls in classes)
    whole = Path(modeling_bert.__file__).read_text()
    assert parsed.count(len(whole)) == 1
    assert len(parsed) < len(classes)  # and the files of their bases, once each
    assert len(set(parsed)) == len(parsed)
