"""Objects of classes that derive from a builtin: what the builtin holds, attributes, and no code of the class."""

from __future__ import annotations

import collections
import enum
import functools
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import pytest
import torch
from torch import nn

import torchkeep


def _raise(*args: Any, **kwargs: Any) -> NoReturn:
    raise AssertionError("code of the class ran")


class Config(dict):  # type: ignore[type-arg]
    """A dict whose keys are attributes, as many programs write it."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


class Fixed(collections.OrderedDict):  # type: ignore[type-arg]
    """A dict that cannot be changed once it is made, with its items as attributes, too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, value in self.items():
            setattr(self, name, value)
        self.__closed = True

    def __setitem__(self, name: str, value: Any) -> None:
        if hasattr(self, "_Fixed__closed"):
            raise TypeError("closed")
        super().__setitem__(name, value)

    update = clear = _raise


class Guarded(list):  # type: ignore[type-arg]
    append = extend = __iter__ = __len__ = __eq__ = __reduce_ex__ = __getstate__ = __setstate__ = _raise  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]


class Steps(list):  # type: ignore[type-arg]
    pass


class Shape(tuple):  # type: ignore[type-arg]
    pass


class Name(str):
    __slots__ = ("origin",)


class Number(int):
    pass


class Real(float):
    pass


class Phase(complex):
    pass


class Raw(bytes):
    pass


class Groups(collections.defaultdict):  # type: ignore[type-arg]
    pass


class Counts(collections.Counter):  # type: ignore[type-arg]
    pass


class Window(collections.deque):  # type: ignore[type-arg]
    pass


class Tags(set):  # type: ignore[type-arg]
    pass


class Kinds(frozenset):  # type: ignore[type-arg]
    pass


class Pair(NamedTuple):
    x: int
    y: int


class Marked(Pair):
    """A namedtuple with a `__dict__`."""


class Letter(str, enum.Enum):
    A = "a"


class Tally(collections.Counter, collections.OrderedDict):  # type: ignore[type-arg, misc]
    """A Counter that knows its order."""


class Sorts(collections.Counter, collections.defaultdict):  # type: ignore[type-arg, misc]
    pass


class Few(type):
    """A metaclass whose classes have a length, so that they may seem to be nothing."""

    def __len__(cls) -> int:
        return 0


class Listed(list, metaclass=Few):  # type: ignore[type-arg]
    pass


class Net(nn.ReLU, dict):  # type: ignore[type-arg]
    pass


CLASSES = [Config, Fixed, Guarded, Steps, Shape, Name, Number, Real, Phase, Raw, Groups, Counts, Window, Tags, Kinds]
CLASSES += [Marked, Letter, Tally, Sorts, Listed]

EQUAL: list[Any] = [
    Config(lr=0.1, layers=[1, 2]),
    Config(),
    Steps([1, "a"]),
    Shape((1, (2, 3))),
    Shape(),
    Name("x"),
    Name("y" * 20_000),
    Number(7),
    Number(-(2**70)),
    Real(0.5),
    Phase(1 - 2j),
    Raw(b"ab\0"),
    Raw(bytes(20_000)),
    Groups(list, {"a": [1]}),
    Groups(None),
    Counts("hello"),
    Window([1, 2, 3]),
    Window([1, 2, 3], 2),
    Tags({1, "a"}),
    Kinds({2}),
    Marked(1, 2),
    Letter.A,
    Tally("hello"),
    Listed([1]),
]


@pytest.fixture
def trip(tmp_path: Path) -> Any:
    def trip(value: Any, **options: Any) -> Any:
        torchkeep.save({"value": value}, tmp_path / "value.safetensors")
        return torchkeep.load(tmp_path / "value.safetensors", **({"classes": CLASSES} | options))["value"]

    return trip


@pytest.mark.parametrize("value", EQUAL, ids=lambda value: type(value).__name__)
def test_it_comes_back_equal(trip: Any, value: Any) -> None:
    loaded = trip(value)
    assert type(loaded) is type(value)
    assert loaded == value
    assert vars(loaded) == vars(value) if hasattr(value, "__dict__") else not hasattr(loaded, "__dict__")


def test_what_a_builtin_has_besides_its_items(trip: Any) -> None:
    assert trip(Groups(list)).default_factory is list
    assert trip(Window([1], 2)).maxlen == 2
    ordered = Fixed(a=1, b=2)
    collections.OrderedDict.move_to_end(ordered, "a")
    assert list(trip(ordered)) == ["b", "a"]


def test_of_several_builtins_it_keeps_what_each_has(trip: Any) -> None:
    tally, sorts = Tally("hello"), Sorts("hello")
    tally.move_to_end("h")
    sorts.default_factory = list
    loaded = trip([tally, sorts])
    assert list(loaded[0].items()) == [("e", 1), ("l", 2), ("o", 1), ("h", 1)]
    assert loaded[1] == sorts
    assert loaded[1].default_factory is list


def test_attributes_in_a_dict_and_in_slots(trip: Any) -> None:
    name, steps = Name("x"), Steps([1])
    name.origin, steps.note = ["file"], steps  # type: ignore[attr-defined]
    loaded = trip([name, steps, name.origin])
    assert loaded[0].origin == ["file"]
    assert loaded[0].origin is loaded[2]
    assert loaded[1].note is loaded[1]
    marked = Marked(1, 2)
    marked.why = "a dict of its own"  # type: ignore[attr-defined]
    assert trip(marked).why == "a dict of its own"  # type: ignore[attr-defined]


def test_no_code_of_the_class_runs(trip: Any) -> None:
    fixed = Fixed(weight=torch.ones(2))
    loaded = trip({"fixed": fixed, "guarded": Guarded((1, 2))})
    assert loaded["fixed"].weight is loaded["fixed"]["weight"]
    with pytest.raises(TypeError, match="closed"):
        loaded["fixed"]["more"] = 1
    assert list.__getitem__(loaded["guarded"], slice(None)) == [1, 2]


def test_cycles(trip: Any) -> None:
    config, steps = Config(), Steps()
    config.me, config.steps = config, steps
    steps += [Shape((steps, config)), steps]
    loaded = trip(config)
    assert type(loaded) is Config
    assert loaded.me is loaded
    assert loaded.steps[1] is loaded.steps
    assert type(loaded.steps[0]) is Shape
    assert loaded.steps[0][0] is loaded.steps
    assert loaded.steps[0][1] is loaded


def _nested(cls: Any, args: tuple[Any, ...], levels: int) -> Any:
    value: Any = cls(*args)
    for _ in range(levels):
        if cls is Shape:
            value = Shape((value,))
        else:
            outer: Any = cls(*args)
            outer.__setitem__("inner", value) if isinstance(outer, dict) else outer.append(value)
            value = outer
    return value


def test_many_of_them_in_each_other(trip: Any) -> None:
    for cls, args, levels in (
        (Config, (), 3_000), (Steps, (), 3_000), (Shape, (), 3_000), (Groups, (list,), 990), (Window, (), 990),
    ):  # fmt: skip
        loaded, depth = trip(_nested(cls, args, levels)), 0
        while loaded:
            assert type(loaded) is cls
            loaded, depth = (loaded["inner"] if isinstance(loaded, dict) else loaded[0]), depth + 1
        assert depth == levels


@pytest.mark.parametrize(("cls", "args"), [(Groups, (list,)), (Window, ())])
def test_those_that_python_frees_by_recursion_are_not_that_deep(trip: Any, cls: Any, args: Any) -> None:
    """Without their classes they come back as plain ones."""
    with pytest.raises(torchkeep.SaveError, match="more than 1000 levels of defaultdict, deque"):
        trip(_nested(cls, args, 1_001))


def test_without_its_class_it_is_the_builtin(tmp_path: Path) -> None:
    path = tmp_path / "value.safetensors"
    torchkeep.save({"value": Config(lr=0.1), "name": Name("x"), "again": Config(lr=0.2)}, path)
    with pytest.warns(torchkeep.TorchkeepWarning, match="came back as the plain builtins that they derive") as caught:
        loaded = torchkeep.load(path)
    assert {key: type(value) for key, value in loaded.items()} == {"value": dict, "name": str, "again": dict}
    assert loaded["value"] == {"lr": 0.1}
    assert len(caught) == 2
    assert f"pass classes={{'{__name__}:Config': Config}}" in str(caught[0].message)


class Holder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.config = Fixed(width=2)


def test_a_module_brings_those_of_its_own_package(tmp_path: Path) -> None:
    torchkeep.save(Holder(), tmp_path / "value.safetensors")
    loaded = torchkeep.load(tmp_path / "value.safetensors")
    assert type(loaded.config) is Fixed
    assert loaded.config.width == 2


class Ends(dict):  # type: ignore[type-arg]
    def __del__(self) -> None:
        _raise()


def test_an_imported_class_with_a_finalizer_does_not_open(tmp_path: Path) -> None:
    model = Holder()
    model.config = Ends(width=2)  # type: ignore[assignment]
    torchkeep.save(model, tmp_path / "value.safetensors")
    del Ends.__del__  # nothing else ends it quietly
    try:
        model.config = Fixed()
    finally:
        Ends.__del__ = _raise  # type: ignore[attr-defined]
    with pytest.warns(torchkeep.TorchkeepWarning, match="has a finalizer"):
        loaded = torchkeep.load(tmp_path / "value.safetensors")
    assert type(loaded.config) is dict
    assert loaded.config == {"width": 2}


def test_a_class_that_derives_from_something_else_now(tmp_path: Path) -> None:
    path = tmp_path / "value.safetensors"
    torchkeep.save(Config(lr=0.1), path)
    changed = r"derived from dict when it was saved, and .*Steps derives from list.*comes back as a dict"
    with pytest.raises(torchkeep.ChangedClassError, match=changed):
        torchkeep.load(path, classes={f"{__name__}:Config": Steps})
    with pytest.warns(torchkeep.TorchkeepWarning, match="was given .*Holder, which derives from no builtin"):
        assert type(torchkeep.load(path, classes={f"{__name__}:Config": Holder})) is dict


@pytest.mark.parametrize(("cls", "value"), [(Letter, Name("b")), (Net, Config(a=1))])
def test_a_member_or_a_module_is_more_than_a_builtin(tmp_path: Path, cls: type, value: Any) -> None:
    path = tmp_path / "value.safetensors"
    torchkeep.save({"value": value}, path)
    name = f"{__name__}:{type(value).__name__}"
    with pytest.warns(torchkeep.TorchkeepWarning, match="is more than the builtin that it derives from"):
        loaded = torchkeep.load(path, classes={name: cls})["value"]
    assert type(loaded) is type(value).__base__


class Asked(type):
    """A metaclass that has a say in who is equal to its classes."""

    def __eq__(cls, other: object) -> bool:
        _raise()

    def __hash__(cls) -> int:
        return type.__hash__(cls)


def test_an_imported_class_whose_metaclass_runs_does_not_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Holder()
    model.config = Config(width=2)  # type: ignore[assignment]
    torchkeep.save(model, tmp_path / "value.safetensors")
    monkeypatch.setitem(globals(), "Config", Asked("Config", (dict,), {"__module__": __name__}))
    with pytest.warns(torchkeep.TorchkeepWarning, match="has a metaclass that runs when the class is looked at"):
        loaded = torchkeep.load(tmp_path / "value.safetensors")
    assert type(loaded.config) is dict


def test_what_an_optimizer_holds_opens_only_by_name(tmp_path: Path) -> None:
    """torch looks into it when it puts the optimizer together."""
    path, model = tmp_path / "value.safetensors", Holder()
    adam = torch.optim.Adam(model.parameters())
    model.config = adam.state[model.linear.weight] = Config(step=1.0)  # type: ignore[assignment]
    torchkeep.save({"model": model, "adam": adam}, path)
    with pytest.warns(torchkeep.TorchkeepWarning, match="or by an optimizer, too"):
        assert type(torchkeep.load(path)["model"].config) is dict
    assert type(torchkeep.load(path, classes=[Config])["model"].config) is Config


def test_a_scheduler_that_does_not_fit_its_optimizer(tmp_path: Path) -> None:
    sgd = torch.optim.SGD([nn.Parameter(torch.ones(1))])
    scheduler = torch.optim.lr_scheduler.StepLR(sgd, 1)
    del sgd.param_groups[0]["lr"], sgd.param_groups[0]["initial_lr"]
    torchkeep.save([sgd, scheduler], tmp_path / "value.safetensors")
    with pytest.raises(torchkeep.LoadError, match="StepLR does not fit its optimizer: KeyError: 'lr'"):
        torchkeep.load(tmp_path / "value.safetensors")


@pytest.mark.parametrize("attributes", [{"_flat_weights": Steps()}, {"all_weights": [[0]], "num_layers": 10**12}])
def test_what_an_rnn_is_asked_for_is_of_torch(tmp_path: Path, attributes: dict[str, Any]) -> None:
    lstm = nn.LSTM(1, 1)
    vars(lstm).update(attributes)
    torchkeep.save(lstm, tmp_path / "value.safetensors")
    with pytest.raises(torchkeep.LoadError, match="an RNN's _flat_weights are no list, or it has all_weights"):
        torchkeep.load(tmp_path / "value.safetensors", classes=[Steps])


def test_equal_long_texts_are_each_their_own(trip: Any) -> None:
    text = "y" * 20_000
    loaded = trip(
        [Name(text), Name(text), text, Raw(bytes(20_000)), Raw(bytes(20_000)), Kinds(), Kinds(), Shape(), Shape()]
    )
    assert loaded[0] == loaded[1] == loaded[2] == text


def test_it_is_no_key(tmp_path: Path) -> None:
    with pytest.raises(torchkeep.UnsaveableError, match="cannot be a dict key or a set element"):
        torchkeep.save({Name("x"): 1}, tmp_path / "value.safetensors")


def test_a_registered_codec_comes_first(tmp_path: Path) -> None:
    class Mine(list):  # type: ignore[type-arg]
        pass

    torchkeep.register(Mine, encode=lambda obj: {"items": list(obj)}, decode=lambda state: Mine(state["items"] * 2))
    torchkeep.save(Mine([1]), tmp_path / "value.safetensors")
    assert torchkeep.load(tmp_path / "value.safetensors") == [1, 1]


def test_parts_of_it_have_their_names(tmp_path: Path) -> None:
    path = tmp_path / "value.safetensors"
    weights = Config(weight=torch.ones(2, 2), bias=torch.zeros(2))
    torchkeep.save({"model": weights, "config": Config(lr=0.1, steps=Steps([3, 4]))}, path)
    assert torchkeep.load(path, key=("config", "lr")) == 0.1
    assert torchkeep.load(path, key=("config", "steps", 1)) == 4
    linear = nn.Linear(2, 2)
    torchkeep.load_into(linear, path)
    assert torch.equal(linear.weight, torch.ones(2, 2))
    assert [tensor.name for tensor in torchkeep.inspect(path).tensors] == ["model.weight", "model.bias"]


def test_inspect_and_diff_show_them(tmp_path: Path) -> None:
    a, b = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    torchkeep.save({"config": Config(lr=0.1), "name": Name("x"), "steps": Steps([1])}, a)
    torchkeep.save({"config": Config(lr=0.2), "name": Name("y"), "steps": Steps([1, 2])}, b)
    tree = torchkeep.inspect(a).tree()
    assert f"  ['config']: {__name__}:Config dict of 1" in tree
    assert "    ['lr']: 0.1" in tree
    assert f"  ['name']: {__name__}:Name 'x'" in tree
    assert torchkeep.diff(a, a).equal
    told = str(torchkeep.diff(a, b))
    assert "['config']['lr']" in told
    assert "['steps'][1]" in told
    assert "'x'" in told
    torchkeep.save({"config": Fixed(lr=0.1), "name": Name("x"), "steps": Steps([1])}, b)
    assert not torchkeep.diff(a, b).equal


def test_a_builtin_with_more_than_python_code_is_refused(tmp_path: Path) -> None:
    with pytest.raises(torchkeep.UnsaveableError, match=r"not written in Python alone.*Keep it as a tuple") as caught:
        torchkeep.save({"found": time.localtime()}, tmp_path / "value.safetensors")
    assert caught.value.where == "obj['found']"


class Lazy(nn.Module):
    @functools.cached_property
    def config(self) -> Any:
        return Config(width=2)

    @functools.cached_property
    def called(self) -> Any:
        return Called()


class Called(dict):  # type: ignore[type-arg]
    def __call__(self) -> None:
        pass


def test_what_a_cached_property_keeps(tmp_path: Path) -> None:
    path, model = tmp_path / "value.safetensors", Lazy()
    assert model.config.width == 2
    torchkeep.save(model, path)
    assert vars(torchkeep.load(path))["config"] == {"width": 2}
    with pytest.warns(torchkeep.TorchkeepWarning, match="came back as the plain builtins"):
        assert torchkeep.load(path, route="skeleton").config == {"width": 2}
    assert model.called == {}
    with pytest.raises(torchkeep.UnsaveableError, match="hides the method 'called'"):
        torchkeep.save(model, path)


def test_an_attribute_that_hides_a_method_is_refused(tmp_path: Path) -> None:
    steps = Steps([1])
    steps.append = print  # type: ignore[method-assign]
    with pytest.raises(torchkeep.UnsaveableError, match="hides the method 'append'"):
        torchkeep.save(steps, tmp_path / "value.safetensors")


# --- torch's own --------------------------------------------------------------------------------------


def test_the_version_of_torch(tmp_path: Path) -> None:
    path = tmp_path / "v.safetensors"
    torchkeep.save({"version": torch.__version__}, path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = torchkeep.load(path)["version"]
    assert type(found) is type(torch.__version__)
    assert found == str(torch.__version__)
    assert found >= "1.0"
    assert found > (1, 2)
    again = tmp_path / "again.safetensors"
    torchkeep.save({"version": found}, again)
    assert again.read_bytes() == path.read_bytes()
    assert f"['version']: torch.torch_version:TorchVersion {str(found)!r}" in "\n".join(torchkeep.inspect(path).tree())


def test_a_version_of_torch_is_a_text(tmp_path: Path) -> None:
    path = tmp_path / "v.safetensors"
    torchkeep.save(Number(3), path)
    with pytest.raises(torchkeep.ChangedClassError, match="derived from int when it was saved"):
        torchkeep.load(path, classes={f"{__name__}:Number": type(torch.__version__)})
