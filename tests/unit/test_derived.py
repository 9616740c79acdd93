"""Objects of classes that derive from a builtin: what the builtin holds, attributes, and no code of the class."""

from __future__ import annotations

import collections
import enum
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


CLASSES = [Config, Fixed, Guarded, Steps, Shape, Name, Number, Real, Phase, Raw, Groups, Counts, Window, Tags, Kinds]
CLASSES += [Marked, Letter]

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


def test_thousands_of_them_in_each_other(trip: Any) -> None:
    for cls, args in ((Config, ()), (Steps, ()), (Groups, (list,)), (Window, ()), (Shape, ())):
        value: Any = cls(*args)
        for _ in range(3_000):
            if cls is Shape:
                value = Shape((value,))
            else:
                outer: Any = cls(*args)
                outer.__setitem__("inner", value) if isinstance(outer, dict) else outer.append(value)
                value = outer
        loaded, depth = trip(value), 0
        while loaded:
            assert type(loaded) is cls
            loaded, depth = (loaded["inner"] if isinstance(loaded, dict) else loaded[0]), depth + 1
        assert depth == 3_000


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
