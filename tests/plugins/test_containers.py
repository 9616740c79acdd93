"""Containers through the suite for them: torchkeep's own two, and what a registered one may and may not do."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import torchkeep
from torchkeep.containers import registry
from torchkeep.containers.native import Native
from torchkeep.containers.plain import Plain
from torchkeep.errors import FormatError, LimitError, OtherFormatError
from torchkeep.plugins import (
    Container,
    Contents,
    Document,
    Limits,
    Map,
    Placement,
    Ref,
    Seq,
    Source,
    Span,
    TensorRef,
    TensorTable,
    Typed,
    of_tensors,
)
from torchkeep.testing import ContainerSuite


class TestNative(ContainerSuite):
    detects_damage = True
    flips = 600

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.path = tmp_path / "sample.safetensors"

    def make_container(self) -> Container:
        return Native()

    def make_sample(self) -> bytes:
        torchkeep.save(self.expected(), self.path, durable=False)
        return self.path.read_bytes()

    def expected(self) -> Any:
        tied = torch.arange(6.0)
        values = {"epoch": 3, "names": ["a", ("b", None)], "nan": float("nan")}
        return {"a": tied, "b": tied.view(2, 3), "empty": torch.empty(0, 2), "scalar": torch.tensor(True), **values}


class TestPlain(ContainerSuite):
    def make_container(self) -> Container:
        return Plain()

    def make_sample(self) -> bytes:
        header: dict[str, Any] = {"__metadata__": {"by": "a test"}}
        data = b""
        for name, tensor in self.expected().items():
            raw = bytes(tensor.reshape(-1).view(torch.uint8).tolist()) if tensor.numel() else b""
            dtype = {torch.float32: "F32", torch.int64: "I64", torch.uint8: "U8"}[tensor.dtype]
            entry = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [len(data), len(data) + len(raw)]}
            header[name] = entry
            data += raw
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + data

    def expected(self) -> Any:
        return {
            "w.weight": torch.arange(12.0).reshape(3, 4),
            "w.bias": torch.arange(3),
            "empty": torch.empty(0, 2),
            "scalar": torch.tensor(7, dtype=torch.uint8),
        }


# --- what a registered container returns is held against its contract ------------------------------


MAGIC = b"TOY!"


class Toy:
    """Reads files that begin with MAGIC as whatever a test says."""

    kind = "toy"

    def __init__(self, read: Callable[[Source, Limits], Any]) -> None:
        self._read = read

    def probe(self, head: bytes) -> bool:
        return head.startswith(MAGIC)

    def read(self, source: Source, limits: Limits) -> Contents:
        found: Contents = self._read(source, limits)
        return found


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(registry, "_containers", {})
    path = tmp_path / "x.toy"
    path.write_bytes(MAGIC + bytes(16))
    return path


def contents(**changes: Any) -> Contents:
    said: dict[str, Any] = {
        "document": of_tensors(["a"], ["float32"], [(4,)]),
        "placement": Placement([Span(4, 16)]),
        "metadata": {},
    }
    return Contents(**(said | changes))


def test_it_is_read_by_every_verb(file: Path) -> None:
    torchkeep.register_container(Toy(lambda source, limits: contents(metadata={"made": "here"})))
    assert torch.equal(torchkeep.load(file)["a"], torch.zeros(4))
    assert torchkeep.report_of(torchkeep.load(file)).kind == "toy"
    report = torchkeep.inspect(file)
    assert (report.kind, report.metadata, report.tensors[0].shape) == ("toy", {"made": "here"}, (4,))
    model = torch.nn.Module()
    model.register_buffer("a", torch.ones(4))
    assert torchkeep.load_into(model, file).matched == 1
    assert not model.a.any()


def test_digests_are_checked(file: Path) -> None:
    placement = Placement([Span(4, 16)], [12345])
    torchkeep.register_container(Toy(lambda source, limits: contents(placement=placement)))
    with pytest.raises(torchkeep.DigestError, match="'a' is damaged"):
        torchkeep.load(file)


FAULTS: dict[str, tuple[Any, str]] = {
    "no contents": ({"a": 1}, "read gave <dict>, and not its Contents"),
    "no document": (contents(document=1), "not made of a Document and a Placement"),
    "no placement": (contents(placement=[Span(4, 16)]), "not made of a Document and a Placement"),
    "too few spans": (contents(placement=Placement([])), "not a list of 1 spans"),
    "a tuple of spans": (contents(placement=Placement((Span(4, 16),))), "not a list of 1 spans"),  # type: ignore[arg-type]
    "no spans": (contents(placement=Placement([(4, 16)])), r"\(4, 16\), and not a Span"),  # type: ignore[list-item]
    "other sizes": (contents(placement=Placement([Span(4, 15)])), "'a' has 16 bytes by dtype and shape, and 15"),
    "outside": (contents(placement=Placement([Span(5, 16)])), "'a' should lie at bytes 5 to 21"),
    "before": (contents(placement=Placement([Span(-1, 16)])), "'a' should lie at bytes -1 to 15"),
    "text digests": (contents(placement=Placement([Span(4, 16)], ["0"])), "digests are neither"),  # type: ignore[list-item]
    "long digests": (contents(placement=Placement([Span(4, 16)], [2**64])), "digests are neither"),
    "metadata": (contents(metadata={"a": 1}), "metadata is not a dict of strings"),
    "a list of names": (contents(document=of_tensors(["a", "a"], ["float32"] * 2, [(4,)] * 2)), "D-5"),
    "a dtype": (contents(document=of_tensors(["a"], ["float31"], [(4,)])), "T-1"),
    "a shape": (contents(document=of_tensors(["a"], ["float32"], [(-4,)])), "T-2"),
    "a number for a name": (contents(document=of_tensors([1], ["float32"], [(4,)])), "cannot be written down"),  # type: ignore[list-item]
    "a node of its own": (contents(document=Document(root=Ref(0), nodes=[{"a": 1}])), "cannot be written down"),  # type: ignore[list-item]
    "an object for a value": (contents(document=Document(root=object())), "cannot be written down"),  # type: ignore[arg-type]
    "a kind": (contents(document=Document(root=Ref(0), nodes=[Typed("shell", 1, {})])), "K-1"),
    "an attribute": (
        contents(
            document=Document(
                root=Ref(0),
                nodes=[Typed("object", 1, {"class": "os:x", "attributes": Ref(1)}), Map(("__class__",), (1,))],
            )
        ),
        "A-1",
    ),
    "hidden nodes": (contents(document=Document(root=1, nodes=[Seq("list", ())])), "D-7"),
    "a lost tensor": (contents(document=Document(root=TensorRef(3), tensors=TensorTable())), "D-4"),
}


@pytest.mark.parametrize(("found", "said"), FAULTS.values(), ids=FAULTS)
def test_contract(file: Path, found: Any, said: str) -> None:
    torchkeep.register_container(Toy(lambda source, limits: found))
    for verb in (torchkeep.inspect, torchkeep.load):
        with pytest.raises(FormatError, match=said) as caught:
            verb(file)
        assert "toy" in str(caught.value)
        assert "Nothing was loaded" in str(caught.value)
        assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    "error", [IndexError("x"), RecursionError(), ValueError("no"), struct.error("s"), SystemError()]
)
def test_what_it_raises_is_told(file: Path, error: Exception) -> None:
    def fail(source: Source, limits: Limits) -> Contents:
        raise error

    torchkeep.register_container(Toy(fail))
    with pytest.raises(FormatError, match=f"'toy' cannot read it: {type(error).__name__}") as caught:
        torchkeep.load(file)
    assert caught.value.__cause__ is error


def test_typed_errors_pass(file: Path) -> None:
    def fail(source: Source, limits: Limits) -> Contents:
        raise LimitError("more than there may be")

    torchkeep.register_container(Toy(fail))
    with pytest.raises(LimitError, match=r"x\.toy: more than there may be\. Nothing was loaded"):
        torchkeep.load(file)


def test_a_name_that_is_too_long(file: Path) -> None:
    document = of_tensors(["a" * 5000], ["float32"], [(4,)])
    torchkeep.register_container(Toy(lambda source, limits: contents(document=document)))
    with pytest.raises(LimitError, match="5000 bytes"):
        torchkeep.load(file)


def test_reading_outside_the_file_is_refused(file: Path) -> None:
    torchkeep.register_container(Toy(lambda source, limits: source.read(Span(10, 2**40))))
    with pytest.raises(FormatError, match="outside"):
        torchkeep.load(file)


@pytest.mark.parametrize("answer", [1, None, "yes", ValueError("odd")])
def test_probe_says_yes_or_no(file: Path, answer: Any) -> None:
    class Odd(Toy):
        def probe(self, head: bytes) -> bool:
            if isinstance(answer, Exception):
                raise answer
            said: bool = answer
            return said

    torchkeep.register_container(Odd(lambda source, limits: contents()))
    with pytest.raises(FormatError, match="'toy' broke its contract: probe"):
        torchkeep.load(file)


def test_nothing_takes_over_our_files(file: Path, tmp_path: Path) -> None:
    class Greedy(Toy):
        kind = "greedy"

        def probe(self, head: bytes) -> bool:
            return True

    torchkeep.register_container(Toy(lambda source, limits: contents()))
    torchkeep.register_container(Greedy(lambda source, limits: contents()))
    torchkeep.save({"a": torch.ones(4)}, tmp_path / "ours.safetensors")
    assert torchkeep.inspect(tmp_path / "ours.safetensors").kind == "torchkeep"
    (tmp_path / "plain").write_bytes(TestPlain().make_sample())
    assert torchkeep.inspect(tmp_path / "plain").kind == "safetensors"
    assert torchkeep.inspect(file).kind == "toy", "the first that was registered"
    (tmp_path / "any").write_bytes(b"PK\x03\x04" + bytes(20))
    assert torchkeep.inspect(tmp_path / "any").kind == "greedy"


def test_a_kind_is_registered_once(file: Path) -> None:
    torchkeep.register_container(Toy(lambda source, limits: None))
    torchkeep.register_container(Toy(lambda source, limits: contents()))
    assert torchkeep.inspect(file).kind == "toy"


def test_without_it_the_message_names_the_way(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"GGUF" + bytes(40))
    with pytest.raises(OtherFormatError, match=r"a GGUF file.*torchkeep\.register_container"):
        torchkeep.load(tmp_path / "x")


@pytest.mark.parametrize(
    ("container", "kind", "said"),
    [
        (Toy, TypeError, r"an object, such as Toy\(\), not a class"),
        (object(), TypeError, "lacks probe and read"),
        (type("X", (Toy,), {"kind": 3})(None), TypeError, "lacks kind, a string"),
        (type("X", (Toy,), {"kind": "torchkeep"})(None), ValueError, "cannot be the kind"),
        (type("X", (Toy,), {"kind": "Any thing"})(None), ValueError, "cannot be the kind"),
    ],
)
def test_what_cannot_be_registered(container: Any, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        torchkeep.register_container(container)
