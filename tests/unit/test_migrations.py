"""Migrations: what they may change, what they may leave, and where what they add goes."""

from __future__ import annotations

import enum
import importlib
import linecache
import re
import sys
import textwrap
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

import torchkeep
from torchkeep.values import registry

Make = Callable[..., types.ModuleType]


@pytest.fixture(autouse=True)
def unregistered() -> Iterator[None]:
    """Every registration of a test ends with it."""
    kept = dict(registry._by_class)
    yield
    registry._by_class.clear()
    registry._by_class.update(kept)


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """The module `evolving`, written anew and imported; without a file, its classes have no source."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(source: str, *, file: bool = True) -> types.ModuleType:
        text = "import torch\nimport dataclasses\nfrom torch import nn\n" + textwrap.dedent(source)
        monkeypatch.delitem(sys.modules, "evolving", raising=False)
        if file:
            (tmp_path / "evolving.py").write_text(text, encoding="utf-8")
            linecache.clearcache()
            importlib.invalidate_caches()
            monkeypatch.setattr(sys, "dont_write_bytecode", True)
            return importlib.import_module("evolving")
        module = types.ModuleType("evolving")
        monkeypatch.setitem(sys.modules, "evolving", module)
        exec(compile(text, "<string>", "exec"), vars(module))
        return module

    yield make
    sys.modules.pop("evolving", None)


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.inner = Inner()
        self.register_buffer("kept", torch.ones(2))
        self.register_buffer("hidden", torch.ones(2), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x)


def migrated(path: Path, migration: Callable[[torchkeep.ModuleState], Any], obj: Any = None, **options: Any) -> Any:
    """What a file of version 1 comes back as."""
    registry._by_class.pop(Net, None)
    torchkeep.save(Net() if obj is None else obj, path, durable=False)
    torchkeep.register(Net, version=2, migrations={1: migration})
    return torchkeep.load(path, **options)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.safetensors"


# --- where what they add goes -----------------------------------------------------------------------


def add_much(state: torchkeep.ModuleState) -> None:
    shared = nn.Parameter(torch.ones(2))
    state.modules["drop"] = nn.Sequential(nn.Dropout(0.9), state.modules.pop("fc"), nn.Dropout(0.5))
    state.modules["fc"] = nn.Linear(2, 2)
    state.modules["fc"].tied = shared
    state.modules["rnn"] = nn.LSTM(2, 2)
    state.modules["inner"].late = nn.Dropout()  # type: ignore[union-attr]
    state.modules["inner"].scale = nn.Parameter(torch.ones(2))  # type: ignore[union-attr]
    state.parameters["gain"] = shared
    state.buffers["mean"] = torch.zeros(2)
    state.buffers["count"] = torch.tensor(1)
    state.attributes["plain"] = torch.ones(2)


@pytest.mark.parametrize("mode", [None, "eval", "train"])
def test_what_is_added_gets_the_mode(path: Path, mode: Any) -> None:
    model = migrated(path, add_much, mode=mode)
    assert {module.training for module in model.modules()} == {mode == "train"}
    assert len(list(model.modules())) == 10


@pytest.mark.parametrize("training", [True, False])
def test_what_is_added_has_the_saved_mode_of_where_it_is(path: Path, training: bool) -> None:
    model = Net().train(training)
    model.inner.train(not training)
    loaded = migrated(path, add_much, {"m": model, "o": torch.optim.SGD(model.parameters())})["m"]
    assert [loaded.drop.training, loaded.drop[0].training, loaded.rnn.training] == [training] * 3
    assert loaded.drop[1].training == training
    assert loaded.inner.late.training is not training


@pytest.mark.filterwarnings("ignore:.*were cast")
@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_what_is_added_goes_to_the_device_and_dtype(path: Path, device: str, dtype: Any) -> None:
    model = migrated(path, add_much, device=device, dtype=dtype)
    tensors = [*model.parameters(), *model.buffers(), model.plain, *model.rnn._flat_weights]
    assert {tensor.device.type for tensor in tensors} == {device}
    assert {tensor.dtype for tensor in tensors} == {dtype or torch.float32, torch.int64}
    assert model.count.dtype == torch.int64
    assert model.gain is model.fc.tied
    assert model.gain.requires_grad
    assert all(a is b for a, b in zip(model.rnn._flat_weights, model.rnn.parameters(), strict=True))
    if device == "cpu":
        inputs = torch.ones(1, 2, dtype=dtype or torch.float32)
        assert model.rnn(inputs)[0].dtype == model.drop(model(inputs)).dtype == inputs.dtype


@pytest.mark.filterwarnings("ignore:.*were cast")
def test_a_parameter_stays_the_object_that_the_migration_made(path: Path) -> None:
    made = nn.Parameter(torch.ones(2))
    buffer = torch.ones(2)

    def add(state: torchkeep.ModuleState) -> None:
        state.parameters["gain"], state.buffers["mean"] = made, buffer

    model = migrated(path, add, dtype=torch.float64)
    assert model.gain is made
    assert (buffer.dtype, model.mean.dtype) == (torch.float32, torch.float64)


def test_an_optimizer_that_was_left_behind_is_told(path: Path) -> None:
    def checkpoint() -> dict[str, Any]:
        model = Net()
        return {"model": model, "optimizer": torch.optim.SGD(model.parameters())}

    def replace(state: torchkeep.ModuleState) -> None:
        state.modules["fc"] = nn.Linear(2, 2)
        state.modules["inner"].fc.bias = nn.Parameter(torch.ones(2))  # type: ignore[union-attr]

    with pytest.warns(torchkeep.TorchkeepWarning) as told:
        migrated(path, replace, checkpoint())
    assert [str(each.message) for each in told] == [
        (
            "SGD steps parameters that no module has since the migrations: model.fc.weight, model.fc.bias, "
            "model.inner.fc.bias. Make a new one of the model's parameters."
        )
    ]

    def rename(state: torchkeep.ModuleState) -> None:
        state.modules["linear"] = nn.Sequential(state.modules["fc"])
        state.modules["fc"] = nn.Identity()

    migrated(path, rename, checkpoint())  # where everything is still held, nothing is told
    alone = nn.Parameter(torch.ones(1))
    migrated(path, replace, {"model": Net(), "optimizer": torch.optim.SGD([alone])})


# --- what they may leave ----------------------------------------------------------------------------


def shadow(state: torchkeep.ModuleState) -> None:
    state.attributes["forward"] = lambda x: x


LEFT: dict[str, tuple[Callable[[torchkeep.ModuleState], Any], str]] = {
    "no module": (
        lambda s: s.modules.__setitem__("x", "not a module"),
        "'x' in state.modules: it is of type str and no Module",
    ),
    "no tensor": (lambda s: s.buffers.__setitem__("x", 5), "'x' in state.buffers: it is of type int and no Tensor"),
    "no parameter": (
        lambda s: s.parameters.__setitem__("x", torch.ones(1)),
        "'x' in state.parameters: it is of type Tensor and no Parameter",
    ),
    "a dot": (lambda s: s.modules.__setitem__("a.b", nn.ReLU()), "'a.b' in state.modules: a name is a text that"),
    "no name": (lambda s: s.buffers.__setitem__("", torch.ones(1)), "'' in state.buffers: a name is a text that"),
    "a number": (lambda s: s.attributes.__setitem__(3, 4), "3 in state.attributes: a name is a text"),
    "no buffer": (lambda s: s.non_persistent.add("zz"), "'zz' in state.non_persistent: there is no such buffer"),
    "a method": (shadow, "'forward' in state.attributes: it would hide what the class does"),
    "two": (lambda s: s.attributes.__setitem__("fc", 3), "'fc' both in state.modules and in state.attributes"),
    "two of torch": (
        lambda s: s.parameters.__setitem__("kept", nn.Parameter(torch.ones(1))),
        "'kept' both in state.parameters and in state.buffers",
    ),
    "torch's own": (
        lambda s: s.attributes.__setitem__("_modules", {}),
        "'_modules' in state.attributes: nn.Module keeps that for itself",
    ),
    "no dict": (lambda s: setattr(s, "buffers", [1]), "state.buffers as a list, and it is a dict"),
    "no set": (lambda s: setattr(s, "non_persistent", ["kept"]), "state.non_persistent as a list, and it is a set"),
}


@pytest.mark.parametrize("name", LEFT)
def test_what_no_module_can_hold_is_refused(path: Path, name: str) -> None:
    migration, says = LEFT[name]
    with pytest.raises(torchkeep.LoadError) as caught:
        migrated(path, migration)
    begins = f"the migration of {__name__}:Net from version 1 left {says}"
    assert begins in str(caught.value)
    assert "Nothing was loaded. Correct the migration." in str(caught.value)


def test_each_step_is_held_to_it(path: Path) -> None:
    torchkeep.save(Net(), path, durable=False)
    steps: dict[int, Callable[[Any], Any]] = {
        1: lambda s: s.attributes.update(new=nn.ReLU()),
        2: lambda s: s.buffers.update(x=s.modules.pop("new")),
    }
    torchkeep.register(Net, version=3, migrations=steps)
    with pytest.raises(torchkeep.LoadError, match=r"from version 2 left 'x' in state\.buffers: it is of type ReLU"):
        torchkeep.load(path)


def test_what_torch_takes_is_taken(path: Path) -> None:
    def change(state: torchkeep.ModuleState) -> None:
        state.attributes["fc"] = nn.ReLU()  # as assigning it would
        state.attributes["w"] = nn.Parameter(torch.ones(1))
        state.attributes["b"] = nn.Buffer(torch.ones(1))
        state.attributes["c"] = nn.Buffer(torch.ones(1), persistent=False)
        state.attributes["hidden"] = state.buffers.pop("hidden") + 1
        state.attributes["tensor"] = torch.ones(1)
        state.parameters["none"] = None
        state.modules["0"] = None

    model = migrated(path, change)
    assert type(model.fc) is nn.ReLU
    assert [name for name, _ in model.named_parameters() if "." not in name] == ["w"]
    assert dict(model.named_buffers()).keys() == {"kept", "b", "c", "hidden"}
    assert [name for name in model.state_dict() if "." not in name] == ["w", "kept", "b"]
    assert "tensor" in vars(model)


def test_a_buffer_that_is_taken_away_is_no_hidden_one_any_more(path: Path) -> None:
    def drop(state: torchkeep.ModuleState) -> None:
        del state.buffers["hidden"]
        state.attributes["hidden"] = 3

    assert migrated(path, drop)._non_persistent_buffers_set == set()


# --- what the error says ----------------------------------------------------------------------------

OLD = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)
"""
NEW = (
    OLD
    + """
        self.register_buffer("mean", torch.zeros(2))
        self.register_buffer("cache", torch.zeros(2), persistent=False)
        self.steps = nn.Buffer(torch.zeros(2))
        self.gain = nn.Parameter(torch.ones(2))
        self.norm = nn.LayerNorm(2)
        self.scale = 1.0
"""
)


def migration_of(message: str) -> str:
    """The call that an error offers, as code."""
    [found] = re.findall(r"^ *def migrate.*?^ *torchkeep\.register\(.*?$", message, re.MULTILINE | re.DOTALL)
    header, rest = textwrap.dedent(found).split("\n", 1)
    opening, statements = header.split("#")
    return opening + "\n" + "".join(f"    {one.strip()}\n" for one in statements.split(";")) + rest


def test_a_lacking_buffer_is_offered_as_one(make: Make, path: Path) -> None:
    torchkeep.save(make(OLD).Net(), path, durable=False)
    net = make(NEW).Net
    with pytest.raises(torchkeep.ChangedClassError) as caught:
        torchkeep.load(path)
    assert "evolving:Net.__init__ now assigns cache, gain, mean, norm, scale, steps" in str(caught.value)
    code = migration_of(str(caught.value))
    for statement in (
        "state.buffers['mean'] = ...",
        "state.buffers['cache'] = ...\n    state.non_persistent.add('cache')",
        "state.buffers['steps'] = ...",
        "state.parameters['gain'] = ...",
        "state.attributes['norm'] = ...",
        "state.attributes['scale'] = ...",
    ):
        assert statement in code
    code = code.replace("['norm'] = ...", "['norm'] = torch.nn.LayerNorm(2)").replace(
        "['scale'] = ...", "['scale'] = 1.0"
    )
    exec(
        code.replace("= ...", "= torch.nn.Parameter(torch.ones(2))"),
        {"torch": torch, "torchkeep": torchkeep, "Net": net},
    )
    loaded = torchkeep.load(path)
    assert loaded.state_dict().keys() == net().state_dict().keys()


def test_a_tensor_of_a_buffers_name_becomes_one(make: Make, path: Path) -> None:
    torchkeep.save(make(OLD).Net(), path, durable=False)
    net = make(NEW).Net

    def migrate(state: torchkeep.ModuleState) -> None:
        for name in ("mean", "cache", "steps"):
            state.attributes[name] = torch.zeros(2)
        state.attributes |= {"gain": nn.Parameter(torch.ones(2)), "norm": nn.LayerNorm(2), "scale": torch.ones(2)}

    torchkeep.register(net, version=2, migrations={1: migrate})
    loaded = torchkeep.load(path)
    assert loaded.state_dict().keys() == net().state_dict().keys()
    assert dict(loaded.named_buffers()).keys() == {"mean", "cache", "steps"}


# --- plain objects ----------------------------------------------------------------------------------

CONFIGURED = """
class Net(nn.Module):
    def __init__(self, cfg=None):
        super().__init__()
        self.cfg = cfg
"""
PLAIN = CONFIGURED + "class Config:\n    def __init__(self):\n        self.width = 2\n"
DATA = CONFIGURED + "@dataclasses.dataclass\nclass Config:\n    width: int = 2\n"
SLOTS = CONFIGURED + "@dataclasses.dataclass(frozen=True, slots=True)\nclass Config:\n    width: int = 2\n"
GAINED = {
    "plain": (PLAIN, PLAIN + "        self.names = []\n"),
    "dataclass": (DATA, DATA + "    names: list = dataclasses.field(default_factory=list)\n"),
    "frozen slots": (SLOTS, SLOTS + "    names: tuple = ()\n"),
}


@pytest.mark.parametrize("name", GAINED)
def test_a_plain_class_is_migrated(make: Make, path: Path, name: str) -> None:
    old, new = GAINED[name]
    module = make(old)
    torchkeep.save(module.Net(module.Config()), path, durable=False)
    module = make(new)
    with pytest.raises(torchkeep.ChangedClassError) as caught:
        torchkeep.load(path)
    assert "evolving:Config.__init__ now assigns names, which the file does not have" in str(caught.value)
    assert "Register how an older object gets them" in str(caught.value)
    code = migration_of(str(caught.value)).replace("= ...", "= ['a']")
    exec(code, {"torchkeep": torchkeep, "Config": module.Config})
    loaded = torchkeep.load(path)
    assert type(loaded.cfg) is module.Config
    assert (loaded.cfg.width, loaded.cfg.names) == (2, ["a"])
    repr(loaded.cfg)
    [note] = torchkeep.report_of(loaded).findings
    assert note.message.endswith("migrated to version 2.")
    torchkeep.save(loaded, path, durable=False)
    assert torchkeep.load(path).cfg.names == ["a"]  # and what is of version 2 is not migrated again


class Config:
    def __init__(self) -> None:
        self.width = 2

    def area(self) -> int:
        return self.width**2


@pytest.mark.parametrize(
    ("migration", "says"),
    [
        (lambda s: s.modules.update(a=nn.ReLU()), "left state.modules of an object that has attributes alone"),
        (lambda s: s.non_persistent.add("a"), "left 'a' in state.non_persistent"),
        (lambda s: s.attributes.update(area=min), "left 'area' in state.attributes: it would hide what"),
        (lambda s: s.attributes.update({1: 1}), "left 1 in state.attributes: a name is a text"),
        (lambda s: s.attributes.clear(), "left out width, which Config.__init__ assigns"),
    ],
)
def test_what_no_plain_object_can_hold_is_refused(path: Path, migration: Any, says: str) -> None:
    torchkeep.save({"c": Config()}, path, durable=False)
    torchkeep.register(Config, version=2, migrations={1: migration})
    with pytest.raises(torchkeep.LoadError, match=says):
        torchkeep.load(path)


def test_what_is_added_to_a_plain_object_goes_there_too(path: Path) -> None:
    torchkeep.save({"c": Config()}, path, durable=False)
    torchkeep.register(Config, version=2, migrations={1: lambda s: s.attributes.update(mean=torch.ones(2))})
    assert torchkeep.load(path, dtype=torch.float64)["c"].mean.dtype == torch.float64
    torchkeep.register(Config, version=2)
    with pytest.raises(torchkeep.ChangedClassError, match=r"has no migration from \[1\]"):
        torchkeep.load(path)


class Table(dict[str, int]):
    """A dict with attributes."""


def test_a_class_that_derives_from_a_builtin_is_migrated(path: Path) -> None:
    torchkeep.save({"t": Table(a=1)}, path, durable=False)
    torchkeep.register(Table, version=2, migrations={1: lambda s: s.attributes.update(owner="x")})
    loaded = torchkeep.load(path)["t"]
    assert (type(loaded), dict(loaded), loaded.owner) == (Table, {"a": 1}, "x")


class Color(enum.Enum):
    RED = 1


class Pair(NamedTuple):
    first: int


@pytest.mark.parametrize("cls", [Color, Pair, torch.optim.SGD, torch.Tensor])
def test_migrations_are_for_what_is_kept_by_its_attributes(cls: type) -> None:
    with pytest.raises(TypeError, match="are not kept by theirs"):
        torchkeep.register(cls, version=2, migrations={1: lambda state: None})
    with pytest.raises(TypeError, match="has encode= and decode= instead"):
        torchkeep.register(Config, version=2, migrations={1: print}, encode=vars, decode=print)


# --- classes without source -------------------------------------------------------------------------


def test_a_class_without_source_at_save_is_held_to_todays_init(make: Make, path: Path) -> None:
    torchkeep.save(make(OLD, file=False).Net(), path, durable=False)
    assert torchkeep.report_of(torchkeep.load(path)).findings == ()
    make(NEW, file=False)  # what is not to be read now either is no error, and no noise
    assert torchkeep.report_of(torchkeep.load(path)).findings == ()
    make(NEW)
    with pytest.raises(torchkeep.ChangedClassError, match="now assigns cache, gain, mean, norm, scale, steps"):
        torchkeep.load(path)
    allowed = torchkeep.load(path, allow={"changed"})
    assert not hasattr(allowed, "scale")
    make(OLD)
    [note] = torchkeep.report_of(torchkeep.load(path)).findings
    assert note.severity == "note"
    assert note.message == (
        "the source of evolving:Net was not to be had when the file was saved, so changes of it are not told."
    )


def test_a_class_without_source_at_load_is_no_error(make: Make, path: Path) -> None:
    torchkeep.save(make(OLD).Net(), path, durable=False)
    make(NEW, file=False)
    [note] = torchkeep.report_of(torchkeep.load(path)).findings
    assert "was not to be had here" in note.message


DROPPING = """
        self.a = 1

    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name != "a"}
"""


@pytest.mark.parametrize(
    "more",
    [
        "        self.a = 1\n    def deploy(self):\n        del self.a\n",
        DROPPING,
        "        if x:\n            self.a = 1\n",
    ],
    ids=["deleted", "dropped", "sometimes"],
)
def test_what_an_instance_may_lack_is_not_asked_of_it(make: Make, path: Path, more: str) -> None:
    source = OLD.replace("(self)", "(self, x=False)") + more
    module = make(source, file=False)
    model = module.Net()
    vars(model).pop("a", None) if "deploy" in more else None
    torchkeep.save(model, path, durable=False)
    net = make(source).Net
    assert type(torchkeep.load(path, classes=[net])) is net


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 2))


@pytest.mark.parametrize("norm", [nn.utils.parametrizations.weight_norm, nn.utils.weight_norm], ids=["new", "old"])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_what_a_module_computes_is_not_lacking(tmp_path: Path, norm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_by_class", dict(registry._by_class))
    torchkeep.save(norm(Normed()), tmp_path / "x.safetensors")
    torchkeep.register(Normed, version=2, migrations={1: lambda state: None})
    assert torch.equal(torchkeep.load(tmp_path / "x.safetensors").weight, torch.ones(2, 2))
