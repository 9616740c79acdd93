"""Objects whose own methods raise, lie or change things while they are saved: saved right, or refused."""

from __future__ import annotations

import functools
import importlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import torchkeep
from torchkeep.limits import Limits


def _raise(*_: object, **__: object) -> Any:
    raise RuntimeError("do not look")


class Loud:
    """Every method that a careless look would call raises."""

    def __init__(self) -> None:
        vars(self).update(held=[1, 2], weight=torch.ones(2))

    __eq__ = __hash__ = __len__ = __bool__ = __iter__ = __contains__ = __repr__ = __str__ = _raise
    __getattr__ = __call__ = __index__ = __int__ = __fspath__ = __array__ = __dir__ = __sizeof__ = __format__ = _raise
    __copy__ = __deepcopy__ = __lt__ = __getitem__ = __enter__ = __torch_function__ = _raise


class Hidden:
    """Nothing can be looked up at its instances."""

    def __init__(self) -> None:
        object.__getattribute__(self, "__dict__").update(held=[1, 2])

    __getattribute__ = _raise


class SaysModule:
    @property
    def __class__(self) -> Any:
        return nn.Module

    @__class__.setter
    def __class__(self, value: Any) -> None: ...


class SaysTensor(SaysModule):
    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return torch.Tensor


class SaysNothing(SaysModule):
    __class__ = property(_raise)  # type: ignore[assignment]


class OtherDict:
    """Its `__dict__` is another one for whoever asks."""

    def __init__(self) -> None:
        self.held = 3

    def __getattribute__(self, name: str) -> Any:
        return {"held": "a lie"} if name == "__dict__" else object.__getattribute__(self, name)


def _held(obj: Any) -> Any:
    return object.__getattribute__(obj, "__dict__")


@pytest.mark.parametrize(
    "cls", [Loud, Hidden, SaysModule, SaysTensor, SaysNothing, OtherDict], ids=lambda c: c.__name__
)
@pytest.mark.parametrize("place", ["root", "list", "module", "partial"])
def test_an_object_is_looked_at_past_its_own_code(cls: type, place: str, tmp_path: Path) -> None:
    obj = cls()
    around: dict[str, Callable[[], Any]] = {
        "root": lambda: obj,
        "list": lambda: [obj, obj],
        "module": lambda: _with(nn.Linear(1, 1), obj),
        "partial": lambda: functools.partial(dict, key=obj),
    }
    path = tmp_path / "x.safetensors"
    torchkeep.save(around[place](), path)
    loaded = torchkeep.load(path, classes=[cls])
    found = {
        "root": lambda: loaded,
        "list": lambda: loaded[0],
        "module": lambda: vars(loaded)["held"],
        "partial": lambda: loaded.keywords["key"],
    }[place]()
    assert type(found) is cls
    assert _held(found).keys() == _held(obj).keys()
    assert _held(found).get("held") == _held(obj).get("held")
    if place == "list":
        assert loaded[1] is found


def _with(module: nn.Module, value: Any) -> nn.Module:
    vars(module)["held"] = value
    return module


class Meta(type):
    """A metaclass whose classes cannot be compared, hashed or named."""

    __eq__ = __hash__ = __instancecheck__ = __subclasscheck__ = _raise  # type: ignore[assignment]

    def __getattribute__(cls, name: str) -> Any:
        if name in ("__module__", "__qualname__", "__name__", "__mro__"):
            raise RuntimeError("do not look")
        return super().__getattribute__(name)


class OfMeta(metaclass=Meta):
    pass


class Unstated:
    __getstate__ = _raise


class Dies:
    """Raises what is no Exception."""

    def __getstate__(self) -> Any:
        raise KeyboardInterrupt


class Stateless(nn.Module):
    get_extra_state = _raise


REFUSED: dict[str, Callable[[], Any]] = {
    "an object of a class that cannot be looked at": OfMeta,
    "a class that cannot be looked at": lambda: OfMeta,
    "a __getstate__ that raises": Unstated,
    "a get_extra_state that raises": Stateless,
    "a key that cannot be hashed again": lambda: {_key(): 1},
    "an object with a key that is no string": lambda: _object({3: 4}),
    "an object with a key of a class derived from str": lambda: _object({type("Text", (str,), {})("a"): 4}),
    "a module with a key that is no string": lambda: _object({3: 4}, nn.Linear(1, 1)),
    "an object with a dunder of its own": lambda: _object({"__class_getitem__": 4}),
    "a module with two of a name": lambda: _object({"weight": 4}, nn.Linear(1, 1)),
}


def _object(namespace: dict[Any, Any], obj: Any = None) -> Any:
    obj = Unlocked() if obj is None else obj
    vars(obj).update(namespace)
    return obj


class Unlocked:
    pass


def _key() -> Any:
    """A key that was hashed once and raises ever after."""

    class Once:
        hashed = False

        def __hash__(self) -> int:
            if Once.hashed:
                _raise()
            Once.hashed = True
            return 1

    return Once()


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_looked_at_is_refused_with_its_path(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"what was there")
    with pytest.raises(torchkeep.UnsaveableError) as caught:
        torchkeep.save({"deep": [REFUSED[name]()]}, path)
    assert caught.value.where.startswith("obj['deep'][0]")
    assert str(caught.value).startswith(f"[TK-UNSAVEABLE] {caught.value.where} cannot be saved: ")
    assert "Nothing was written." in str(caught.value)
    assert path.read_bytes() == b"what was there"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("make", [OfMeta, Unstated], ids=["its class", "itself"])
def test_what_cannot_be_looked_at_can_be_left_out(make: Callable[[], Any], tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with pytest.warns(torchkeep.TorchkeepWarning, match=r"obj\['deep'\]: .* it was left out"):
        torchkeep.save({"deep": make(), "kept": torch.ones(2)}, path, allow="unsaveable")
    assert torch.equal(torchkeep.load(path, key="kept"), torch.ones(2))


def test_what_is_no_exception_ends_the_save(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"what was there")
    with pytest.raises(KeyboardInterrupt):
        torchkeep.save([Dies()], path)
    assert path.read_bytes() == b"what was there"
    assert list(tmp_path.iterdir()) == [path]


# --- objects that change meanwhile ------------------------------------------------------------------


class Grows:
    """Each look makes it larger."""

    def __getstate__(self) -> dict[str, Any]:
        vars(self)[f"look{len(vars(self))}"] = [torch.ones(1)]
        return vars(self)


class Registers(nn.Module):
    """Asked for its extra state, it changes everything that it has."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(1, 1)
        self.log: dict[int, torch.Tensor] = {}

    def get_extra_state(self) -> int:
        self.log[len(self.log)] = torch.ones(2)
        self.register_buffer(f"late{len(self.log)}", torch.ones(1))
        self.register_module(f"later{len(self.log)}", nn.Linear(1, 1))
        del self.fc
        return 3

    def set_extra_state(self, state: Any) -> None:
        assert state == 3


class Child:
    """Changes the list that holds it."""

    def __init__(self, holder: list[Any]) -> None:
        self.holder = holder

    def __getstate__(self) -> dict[str, Any]:
        self.holder.append(len(self.holder))
        return {"holder": self.holder}


def test_what_grows_when_it_is_looked_at_is_saved_as_it_was_then(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    grows = Grows()
    torchkeep.save([grows, grows], path)
    loaded = torchkeep.load(path, classes=[Grows])
    assert list(vars(loaded[0])) == ["look0"]
    assert loaded[0] is loaded[1]
    torchkeep.save(Registers(), path)
    model = torchkeep.load(path, classes=[Registers])
    assert [name for name, _ in model.named_children()] == ["fc"]
    assert dict(model.named_buffers()) == {}
    holder: list[Any] = []
    holder += [Child(holder), "last"]
    torchkeep.save(holder, path)
    loaded = torchkeep.load(path, classes=[Child])
    assert loaded[1:] == ["last"]
    assert loaded[0].holder is loaded


class Endless:
    """Its state is another one of its sort, for ever."""

    def __getstate__(self) -> dict[str, Any]:
        return {"next": Endless()}


def test_a_state_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("torchkeep.values.encode"), "LIMITS", Limits(nodes=2000))
    with pytest.raises(torchkeep.SaveError, match=r"obj holds more than 2000 objects, .* Nothing was written\."):
        torchkeep.save([Endless()], tmp_path / "x.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_dict_that_another_thread_changes_is_saved_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    busy: dict[int, list[int]] = {i: [i] for i in range(2000)}
    stop, refused = threading.Event(), []

    def change() -> None:
        for i in _numbers():
            if stop.is_set():
                return
            busy[2000 + i % 50] = [i]
            busy.pop(2000 + (i + 25) % 50, None)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(5):
            try:
                torchkeep.save({"busy": busy}, path, durable=False)
            except torchkeep.UnsaveableError as error:
                refused.append(error.where)
                continue
            loaded = torchkeep.load(path)["busy"]
            assert all(loaded[i] == [i] for i in range(2000))
    finally:
        stop.set()
        thread.join()
    assert set(refused) <= {"obj['busy']"}


def _numbers() -> Iterator[int]:
    i = 0
    while True:
        yield i
        i += 1
