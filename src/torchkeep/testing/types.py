"""The suite for a class that was registered with a codec."""

from __future__ import annotations

import dataclasses
import unittest
from collections.abc import Sequence
from typing import Any

import torch

from .. import api
from ..errors import TorchkeepError, UnsaveableError
from ..storage import registered_meanwhile
from ..values.registry import class_name, registration, replaced_meanwhile
from .memory import MemoryStorage
from .same import expect, fail

_NAME = "torchkeep-suite://type"


class TypeSuite:
    """What must hold for a class with ``torchkeep.register(cls, encode=..., decode=...)``.

    Override `make_objects`, and the other hooks where they say more about your class.
    """

    # --- what a subclass says ---

    def make_objects(self) -> Sequence[Any]:
        """Objects of the class to save: at least two, all different. Each call makes new, equal ones.

        Returns:
            The objects.
        """
        raise NotImplementedError("a subclass of TypeSuite makes the objects to save: make_objects")

    def make_hostile_states(self) -> Sequence[Any]:
        """States, as `encode` would give them, that `decode` must refuse by raising: forged, out of range.

        Returns:
            The states; none by default.
        """
        return ()

    def make_unsaveable(self) -> Sequence[Any]:
        """Objects of the class that cannot be saved, such as one that holds a lambda.

        Returns:
            The objects; none by default.
        """
        return ()

    def make_cycle(self) -> Any:
        """An object of the class that refers to itself, where there can be one.

        Returns:
            The object; None by default.
        """
        return None

    def equal(self, one: Any, other: Any) -> bool:
        """Whether two objects of the class are equal; ``==`` by default.

        Args:
            one: an object.
            other: another.

        Returns:
            Whether they are.
        """
        return bool(one == other)

    # --- the rules ---

    def test_there_is_something_to_test(self) -> None:
        """The objects differ, and two calls make equal ones that are not the same."""
        objects, again = self.make_objects(), self.make_objects()
        expect(len(objects) >= 2, "make_objects makes at least two objects")
        for i, obj in enumerate(objects):
            expect(registration(type(obj)), f"{type(obj).__name__} is not registered: torchkeep.register(...)")
            expect(self.equal(obj, again[i]), f"object {i} of make_objects is not equal to that of another call")
            expect(obj is not again[i], f"object {i} of make_objects is the same in each call")
            for j in range(i):
                expect(not self.equal(obj, objects[j]), f"objects {j} and {i} of make_objects are equal")

    def test_value_and_type(self) -> None:
        """What is loaded is equal to what was saved, and of its very class."""
        for i, obj in enumerate(self.make_objects()):
            self._expect_equal(_through(obj), obj, f"object {i}")

    def test_wherever_it_stands(self) -> None:
        """In a dict, a list, a tuple, and as an attribute of a module."""
        for i, obj in enumerate(self.make_objects()):
            module = torch.nn.Identity()
            module.kept = obj
            loaded = _through({"list": [obj], "tuple": (1, obj), "module": module})
            for where, found in (
                ("in a list", loaded["list"][0]),
                ("in a tuple", loaded["tuple"][1]),
                ("as an attribute of a module", loaded["module"].kept),
            ):
                self._expect_equal(found, obj, f"object {i} {where}")

    def test_sharing(self) -> None:
        """One object in two places is one object again, and two equal objects are two."""
        for i, (obj, twin) in enumerate(zip(self.make_objects(), self.make_objects(), strict=True)):
            first, second, third = _through([obj, obj, twin])
            expect(first is second, f"object {i} stood in two places and came back as two objects")
            expect(first is not third, f"object {i} and an equal one came back as one object")
            self._expect_equal(third, twin, f"the twin of object {i}")

    def test_a_cycle_around_it(self) -> None:
        """A list that holds the object and itself."""
        for i, obj in enumerate(self.make_objects()):
            around: list[Any] = [obj]
            around.append(around)
            loaded = _through(around)
            expect(loaded[1] is loaded, f"a cycle around object {i} came back open")
            self._expect_equal(loaded[0], obj, f"object {i} in a cycle")

    def test_a_cycle_through_it(self) -> None:
        """An object that refers to itself comes back whole, or is refused by a typed error; nothing else happens."""
        obj = self.make_cycle()
        if obj is None:
            raise unittest.SkipTest("make_cycle makes no object that refers to itself")
        try:
            file = _saved(obj)
            again = _saved(_loaded(file))
        except TorchkeepError:
            return
        expect(again == file, f"a {type(obj).__name__} that refers to itself came back as something else")

    def test_equal_objects_make_equal_bytes(self) -> None:
        """Saved twice, made twice, or loaded and saved again: the same file to the bit. Different ones differ."""
        files = []
        for i, (obj, twin) in enumerate(zip(self.make_objects(), self.make_objects(), strict=True)):
            file = _saved(obj)
            expect(_saved(obj) == file, f"object {i} saved twice makes two different files")
            expect(_saved(twin) == file, f"an object equal to object {i} makes another file")
            expect(_saved(_loaded(file)) == file, f"object {i}, loaded and saved again, makes another file")
            expect(file not in files, f"object {i} makes the same file as another, different one")
            files.append(file)

    def test_saving_changes_nothing(self) -> None:
        """An object is after `encode` what it was before."""
        for i, (obj, twin) in enumerate(zip(self.make_objects(), self.make_objects(), strict=True)):
            _saved(obj)
            self._expect_equal(obj, twin, f"object {i}, once saved,")

    def test_the_state_is_its_own(self) -> None:
        """A loaded object shares nothing that can change with another load of the same file."""
        for i, obj in enumerate(self.make_objects()):
            file = _saved(obj)
            expect(_loaded(file) is not _loaded(file), f"two loads of object {i} gave one object")

    def test_hostile_states(self) -> None:
        """`decode` refuses each state of `make_hostile_states`, and the load ends in a typed error."""
        obj = self.make_objects()[0]
        for state in self.make_hostile_states():
            try:
                loaded = self._with_state(obj, state)
            except TorchkeepError:
                continue
            except Exception as error:
                fail(f"the state {state!r} ends in {type(error).__name__}, which is none of torchkeep's errors")
            fail(f"decode accepts the state {state!r}, and makes {loaded!r} of it")

    def test_any_state(self) -> None:
        """Whatever the state, `decode` raises or makes an object of the class."""
        obj = self.make_objects()[0]
        states: tuple[Any, ...] = (
            None,
            True,
            0,
            -1,
            2**80,
            float("nan"),
            "",
            "x",
            b"x",
            [],
            [[]],
            (),
            {},
            {"x": 1},
            torch.ones(2),
        )
        for state in states:
            try:
                loaded = self._with_state(obj, state)
            except TorchkeepError:
                continue
            expect(
                isinstance(loaded, type(obj)),
                f"decode makes a {type(loaded).__name__} of the state {state!r}, and no {type(obj).__name__}",
            )

    def test_what_cannot_be_saved_is_refused_with_its_path(self) -> None:
        """The error tells where the object stood, and nothing is written."""
        for obj in self.make_unsaveable():
            storage = MemoryStorage()
            with registered_meanwhile("torchkeep-suite", storage):
                try:
                    api.save({"here": [obj]}, _NAME)
                except UnsaveableError as error:
                    expect("['here'][0]" in error.where, f"the error tells {error.where!r}, and not ['here'][0]")
                    expect(not storage.objects, "an object that cannot be saved left a file")
                    continue
            fail(f"{obj!r} of make_unsaveable was saved")

    def test_inspect_names_the_class(self) -> None:
        """Who reads `inspect(path).needs` knows what to register."""
        storage = MemoryStorage()
        obj = self.make_objects()[0]
        with registered_meanwhile("torchkeep-suite", storage):
            api.save(obj, _NAME)
            needs = [need.name for need in api.inspect(_NAME).needs]
        expect(class_name(type(obj)) in needs, f"inspect names {needs}, and not {class_name(type(obj))}")

    def _expect_equal(self, found: Any, saved: Any, what: str) -> None:
        expect(type(found) is type(saved), f"{what} came back as {type(found).__name__}, not {type(saved).__name__}")
        expect(self.equal(found, saved), f"{what} is {found!r}, and was {saved!r}")

    def _with_state(self, obj: Any, state: Any) -> Any:
        """What is loaded of a file whose object has another state than `encode` gives."""
        known = registration(type(obj))
        if known is None:
            fail(f"{type(obj).__name__} is not registered: torchkeep.register(...)")
        with replaced_meanwhile(dataclasses.replace(known, encode=lambda _: state)):
            file = _saved(obj)
        return _loaded(file)


def _saved(obj: Any) -> bytes:
    storage = MemoryStorage()
    with registered_meanwhile("torchkeep-suite", storage):
        api.save(obj, _NAME)
    return storage.objects[_NAME]


def _loaded(file: bytes) -> Any:
    storage = MemoryStorage()
    storage.objects[_NAME] = file
    with registered_meanwhile("torchkeep-suite", storage):
        return api.load(_NAME, mode="saved")


def _through(obj: Any) -> Any:
    return _loaded(_saved(obj))
