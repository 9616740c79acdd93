"""The suite for a place of bytes."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from .. import api
from ..errors import DigestError, ExistsError, FormatError, NotFoundError, TorchkeepError
from ..storage import Reading, Storage, registered_meanwhile
from .same import expect, fail, same

_BIG_NBYTES = 9_000_001
_UNEVEN = 1_000_003


class StorageSuite:
    """What must hold for a storage of ``torchkeep.register_storage``.

    Override `scheme` and `make_storage`; and `names`, where the storage can list what it holds.

    Attributes:
        scheme: the scheme that the storage is registered for, such as ``"s3"``. None for one whose names have none.
    """

    scheme: str | None = None
    _count = itertools.count()

    # --- what a subclass says ---

    def make_storage(self) -> Storage:
        """A storage to test, called once for each test.

        Returns:
            It.
        """
        raise NotImplementedError("a subclass of StorageSuite makes the storage: make_storage")

    def make_name(self) -> str:
        """A name that nobody has yet, another one in each call.

        Returns:
            The whole name; ``scheme://suite/object-7`` by default.
        """
        return f"{self.scheme}://suite/object-{next(self._count)}"

    def names(self, storage: Storage) -> Iterable[str] | None:
        """Everything that the storage holds, temporary objects included, in any form.

        Args:
            storage: what `make_storage` made.

        Returns:
            The names; None where it cannot tell, and then nobody looks for litter.
        """
        return None

    # --- reading ---

    def test_spans(self) -> None:
        """At the start, in the middle, at the end, whole; into one buffer and into several."""
        storage, data = self.make_storage(), _pattern(10_000)
        with self._opened(storage, self._put(storage, data)) as reading:
            expect(reading.nbytes == len(data), f"nbytes is {reading.nbytes}, of an object of {len(data)}")
            for offset, sizes in (
                (0, [1]),
                (0, [10_000]),
                (4_321, [100]),
                (9_999, [1]),
                (9_000, [1_000]),
                (100, [1, 2, 3, 500, 7]),
                (0, [5_000, 5_000]),
            ):
                found = _fill(reading, offset, sizes)
                expect(b"".join(found) == data[offset : offset + sum(sizes)], f"other bytes from {offset} into {sizes}")

    def test_the_end(self) -> None:
        """Beyond the end there is nothing, and across it no more than there is."""
        storage, data = self.make_storage(), _pattern(1_000)
        with self._opened(storage, self._put(storage, data)) as reading:
            for offset in (1_000, 1_001, 50_000):
                moved: object = reading.read_into([memoryview(bytearray(10))], offset)
                expect(moved == 0, f"{moved!r} bytes are read at {offset} of an object of 1000, not 0")
            buffers = [bytearray(6), bytearray(6)]
            count = reading.read_into([memoryview(buffer) for buffer in buffers], 990)
            expect(0 < count <= 10, f"{count!r} bytes are read, where there are 10")
            expect(b"".join(buffers)[:count] == data[990 : 990 + count], "a read across the end gives other bytes")

    def test_an_empty_object(self) -> None:
        """0 bytes are an object, too."""
        storage = self.make_storage()
        with self._opened(storage, self._put(storage, b"")) as reading:
            expect(reading.nbytes == 0, f"nbytes is {reading.nbytes}, of an empty object")
            expect(reading.read_into([memoryview(bytearray(1))], 0) == 0, "an empty object has bytes")

    def test_a_large_object(self) -> None:
        """Some MiB, written and read in uneven pieces, in any order."""
        storage, data = self.make_storage(), random.Random(0).randbytes(_BIG_NBYTES)
        offsets = list(range(0, _BIG_NBYTES, _UNEVEN))
        random.Random(1).shuffle(offsets)
        name = self.make_name()
        writing = storage.stage(name, nbytes=len(data), durable=False, overwrite=True)
        for offset in offsets:
            _write(writing, [data[offset : offset + _UNEVEN]], offset)
        writing.commit()
        with self._opened(storage, name) as reading:
            for offset in offsets:
                size = min(_UNEVEN, len(data) - offset)
                expect(_fill(reading, offset, [size]) == [data[offset : offset + size]], f"other bytes from {offset}")

    def test_reads_of_two_threads(self) -> None:
        """One open object, read from several threads at once."""
        storage, data = self.make_storage(), _pattern(200_000)
        wrong: list[str] = []
        with self._opened(storage, self._put(storage, data)) as reading:

            def read(seed: int) -> None:
                places = random.Random(seed)
                try:
                    for _ in range(200):
                        offset = places.randrange(len(data) - 3_000)
                        if _fill(reading, offset, [1_000, 2_000]) != [
                            data[offset : offset + 1_000],
                            data[offset + 1_000 : offset + 3_000],
                        ]:
                            wrong.append(f"other bytes from {offset}")
                            return
                except Exception as error:
                    wrong.append(f"{type(error).__name__}: {error}")

            threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        expect(not wrong, f"of reads in four threads, {len(wrong)} failed: {wrong[:1]}")

    def test_closing_twice(self) -> None:
        """Closing again is no error."""
        storage = self.make_storage()
        reading = storage.open(self._put(storage, b"x"))
        reading.close()
        try:
            reading.close()
        except Exception as error:
            fail(f"closing again raises {type(error).__name__}: {error}")

    def test_what_is_not_there(self) -> None:
        """A name that nobody has is a FileNotFoundError, and from torchkeep a NotFoundError."""
        storage = self.make_storage()
        try:
            storage.open(self.make_name())
        except FileNotFoundError:
            pass
        except Exception as error:
            fail(f"a name that nobody has raises {type(error).__name__}, not FileNotFoundError")
        else:
            fail("a name that nobody has was opened")
        with self._registered(storage):
            _expect_raises(NotFoundError, lambda: api.load(self.make_name()), "load of a name that nobody has")

    def test_an_open_object_stays(self) -> None:
        """What was opened is read as it was, or raises, when another takes its name."""
        storage = self.make_storage()
        name = self._put(storage, b"old" * 1_000)
        with self._opened(storage, name) as reading:
            first = _fill(reading, 0, [300])
            self._put(storage, b"new" * 2_000, name=name)
            try:
                rest = _fill(reading, 300, [2_700])
            except Exception:
                return
        expect(first + rest == [b"old" * 100, b"old" * 900], "an open object changes when another takes its name")

    def test_a_mapping(self) -> None:
        """Where an object can be mapped: its bytes, in memory of one's own that outlives the object's name."""
        storage, data = self.make_storage(), _pattern(10_000)
        name = self._put(storage, data)
        with self._opened(storage, name) as reading:
            if not hasattr(reading, "map"):
                return
            one, other = (memoryview(reading.map()).cast("B") for _ in range(2))
        for found in (one, other):
            expect(not found.readonly, "a mapping cannot be written to")
            expect(found.nbytes == len(data), f"a mapping of {found.nbytes} bytes, of an object of {len(data)}")
        self._put(storage, _pattern(9_000), name=name)
        expect(one == data, "a mapping has other bytes, or changes when another object takes the name")
        one[:5] = b"?????"
        expect(other == data, "what is written to a mapping reaches another mapping")
        expect(self._get(storage, name) == _pattern(9_000), "what is written to a mapping reaches an object")

    # --- writing ---

    def test_nothing_is_seen_before_the_commit(self) -> None:
        """Not a new name, and not a byte of a new object under an old one."""
        storage = self.make_storage()
        new, old = self.make_name(), self._put(storage, b"old")
        for name in (new, old):
            writing = storage.stage(name, nbytes=8, durable=False, overwrite=True)
            _write(writing, [b"new", b"bytes"], 0)
            expect(self._get(storage, new) is None, "an object has its name before it is committed")
            expect(self._get(storage, old) == b"old", "an object is another before the new one is committed")
            writing.discard()

    def test_commit(self) -> None:
        """Then it is there, whole, and what was there is gone."""
        storage = self.make_storage()
        name = self._put(storage, b"a long old object")
        for data in (b"new", b"", b"longer than before" * 10):
            self._put(storage, data, name=name)
            expect(self._get(storage, name) == data, "another object than was committed")

    def test_discard(self) -> None:
        """Nothing is left of it: the old object is as it was, and a new name is free."""
        storage = self.make_storage()
        new, old = self.make_name(), self._put(storage, b"old")
        before = self._listed(storage)
        for name in (new, old):
            for written in (False, True):
                writing = storage.stage(name, nbytes=3, durable=False, overwrite=True)
                if written:
                    _write(writing, [b"new"], 0)
                writing.discard()
                expect(self._get(storage, new) is None, "an object that was discarded has its name")
                expect(self._get(storage, old) == b"old", "the old object changed although the new was discarded")
        expect(self._listed(storage) == before, f"litter: {self._listed(storage)}, and {before} before")

    def test_any_order_and_again(self) -> None:
        """The end first, and the start written twice."""
        storage, name = self.make_storage(), self.make_name()
        writing = storage.stage(name, nbytes=9, durable=False, overwrite=True)
        _write(writing, [b"ef", b"ghi"], 4)
        _write(writing, [b"????"], 0)
        _write(writing, [b"ab", b"c", b"d"], 0)
        writing.commit()
        found = self._get(storage, name)
        expect(found == b"abcdefghi", f"{found!r} of b'abcdefghi' written from the end")

    def test_buffers_are_copied(self) -> None:
        """What was written does not change with the buffer that it came from."""
        storage, name = self.make_storage(), self.make_name()
        buffer = bytearray(b"abc")
        writing = storage.stage(name, nbytes=6, durable=False, overwrite=True)
        _write(writing, [buffer], 0)
        buffer[:] = b"xyz"
        _write(writing, [buffer], 3)
        buffer[:] = b"???"
        writing.commit()
        found = self._get(storage, name)
        expect(found == b"abcxyz", f"{found!r}, and b'abcxyz' was written")

    def test_without_overwriting(self) -> None:
        """``overwrite=False`` leaves who has the name alone, also who took it in the meantime."""
        storage = self.make_storage()
        old = self._put(storage, b"old")
        _expect_raises(
            FileExistsError, lambda: self._put(storage, b"new", name=old, overwrite=False), "overwrite=False"
        )
        expect(self._get(storage, old) == b"old", "overwrite=False replaced an object")
        name = self.make_name()
        first, second = (storage.stage(name, nbytes=3, durable=False, overwrite=False) for _ in range(2))
        _write(first, [b"1st"], 0)
        _write(second, [b"2nd"], 0)
        first.commit()
        _expect_raises(FileExistsError, second.commit, "overwrite=False, where the name was taken meanwhile")
        second.discard()
        expect(self._get(storage, name) == b"1st", "overwrite=False replaced an object that came in the meantime")

    def test_two_at_once(self) -> None:
        """Two objects on their way to one name: the last that is committed has it, whole."""
        storage, name = self.make_storage(), self.make_name()
        first, second = (storage.stage(name, nbytes=4, durable=False, overwrite=True) for _ in range(2))
        _write(first, [b"11"], 0)
        _write(second, [b"22"], 0)
        _write(first, [b"11"], 2)
        _write(second, [b"22"], 2)
        second.commit()
        expect(self._get(storage, name) == b"2222", "two objects on their way to one name are mixed")
        first.commit()
        expect(self._get(storage, name) == b"1111", "the last commit does not have the name")

    # --- through the verbs ---

    def test_save_and_load(self) -> None:
        """A checkpoint there and back, its digests checked; inspected; loaded into a model."""
        storage, name = self.make_storage(), self.make_name()
        model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.BatchNorm1d(5))
        saved = {"model": model, "epoch": 3, "big": torch.arange(300_000.0)}
        with self._registered(storage):
            report = api.save(saved, name)
            with self._opened(storage, name) as reading:
                expect(reading.nbytes == report.nbytes, f"an object of {reading.nbytes} bytes, {report.nbytes} written")
            loaded = api.load(name)
            expect(same(loaded, saved), "what is loaded is not what was saved")
            other = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.BatchNorm1d(5))
            api.load_into(other, name, key="model")
            expect(same(other, model), "load_into gives other weights")
            expect(api.inspect(name).nbytes == report.nbytes, "inspect tells another size")
            _expect_raises(ExistsError, lambda: api.save(1, name, overwrite=False), "save with overwrite=False")
            expect(same(api.load(name, key="epoch"), 3), "a save with overwrite=False changed the object")

    def test_a_save_that_fails(self) -> None:
        """Where a save fails on its way, the old object is as it was, and nothing lies beside it."""
        storage, name = self.make_storage(), self.make_name()

        def fail_halfway(done: int, whole: int) -> None:
            raise KeyboardInterrupt

        with self._registered(storage):
            api.save({"a": torch.ones(3)}, name)
            before, listed = self._get(storage, name), self._listed(storage)
            try:
                api.save({"a": torch.zeros(3)}, name, progress=fail_halfway)
            except KeyboardInterrupt:
                pass
            expect(self._get(storage, name) == before, "a save that failed changed the object")
            expect(self._listed(storage) == listed, f"litter: {self._listed(storage)}, and {listed} before")

    def test_damage_is_found(self) -> None:
        """A changed byte and an object cut short are typed errors."""
        storage, name = self.make_storage(), self.make_name()
        with self._registered(storage):
            api.save({"a": torch.arange(1000.0)}, name)
            whole = self._get(storage, name) or b""
            for at in (100, len(whole) - 1):
                bad = bytearray(whole)
                bad[at] ^= 1
                self._put(storage, bytes(bad), name=name)
                _expect_raises(DigestError, lambda: api.load(name), f"a load with a changed byte {at}")
            self._put(storage, whole[:-1], name=name)
            _expect_raises(FormatError, lambda: api.load(name), "a load of an object cut short")

    # --- how ---

    @contextmanager
    def _registered(self, storage: Storage) -> Iterator[None]:
        with ExitStack() as stack:
            if self.scheme is not None:
                stack.enter_context(registered_meanwhile(self.scheme, storage))
            yield

    def _put(self, storage: Storage, data: bytes, *, name: str | None = None, overwrite: bool = True) -> str:
        name = name or self.make_name()
        writing = storage.stage(name, nbytes=len(data), durable=False, overwrite=overwrite)
        try:
            if data:
                _write(writing, [data], 0)
            writing.commit()
        except BaseException:
            writing.discard()
            raise
        return name

    def _get(self, storage: Storage, name: str) -> bytes | None:
        """An object's bytes; None where there is none."""
        try:
            reading = storage.open(name)
        except FileNotFoundError:
            return None
        try:
            return b"".join(_fill(reading, 0, [reading.nbytes])) if reading.nbytes else b""
        finally:
            reading.close()

    @contextmanager
    def _opened(self, storage: Storage, name: str) -> Iterator[Reading]:
        reading = storage.open(name)
        try:
            yield reading
        finally:
            reading.close()

    def _listed(self, storage: Storage) -> list[str] | None:
        names = self.names(storage)
        return None if names is None else sorted(names)


def _pattern(nbytes: int) -> bytes:
    """Bytes of which no two stretches are alike."""
    return random.Random(nbytes).randbytes(nbytes)


def _fill(reading: Reading, offset: int, sizes: list[int]) -> list[bytes]:
    """Read buffers full, as torchkeep does: what a call leaves is asked for again."""
    buffers = [bytearray(size) for size in sizes]
    rest = [memoryview(buffer) for buffer in buffers]
    while rest:
        moved: Any = reading.read_into(rest, offset)
        most = sum(map(len, rest))
        expect(
            type(moved) is int and 0 < moved <= most, f"read_into gives {moved!r}, where {most} bytes were asked for"
        )
        offset += moved
        rest = _after(rest, moved)
    return list(map(bytes, buffers))


def _write(writing: Any, buffers: list[Any], offset: int) -> None:
    rest = [memoryview(buffer) for buffer in buffers]
    while rest:
        moved: Any = writing.write(rest, offset)
        most = sum(map(len, rest))
        expect(type(moved) is int and 0 < moved <= most, f"write gives {moved!r}, where {most} bytes were given")
        offset += moved
        rest = _after(rest, moved)


def _after(views: list[memoryview], moved: int) -> list[memoryview]:
    while views and moved >= len(views[0]):
        moved -= len(views[0])
        views = views[1:]
    return [views[0][moved:], *views[1:]] if views else []


def _expect_raises(kind: type[Exception], step: Any, what: str) -> None:
    try:
        step()
    except kind:
        return
    except Exception as error:
        typed = "" if isinstance(error, TorchkeepError) else ", which is none of torchkeep's errors"
        fail(f"{what} raises {type(error).__name__}{typed}, not {kind.__name__}: {error}")
    fail(f"{what} raises nothing, and {kind.__name__} was due")
