"""What torchkeep says to people: what happened, where, what was left unchanged, and the next step.

Every message that a person can meet is made here, by what a person would do to meet it.
"""

from __future__ import annotations

import copy
import datetime
import decimal
import errno
import fractions
import functools
import http
import json
import os
import pickle
import re
import sys
import threading
import time
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn, optim
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils import prune
from xxhash import xxh3_64_intdigest

import torchkeep
from torchkeep import containers, errors, values
from torchkeep.document import ClassInfo, Document, Map, Opaque, Ref, Seq, SourceText, TensorTable, Typed
from torchkeep.errors import TorchkeepError, TorchkeepWarning
from torchkeep.limits import Limits
from torchkeep.storage import Span, open_source
from torchkeep.storage.failures import path_error
from torchkeep.values import dtypes, registry

VECTORS = Path(__file__).parents[2] / "spec" / "vectors" / "reject"

# The errors themselves

CODES = {
    "TorchkeepError": "TK",
    "SaveError": "TK-SAVE",
    "UnsaveableError": "TK-UNSAVEABLE",
    "DestinationError": "TK-DEST",
    "LoadError": "TK-LOAD",
    "FormatError": "TK-FORMAT",
    "DigestError": "TK-DIGEST",
    "LimitError": "TK-LIMIT",
    "VersionError": "TK-VERSION",
    "OtherFormatError": "TK-OTHER",
    "TrustError": "TK-TRUST",
    "ChangedClassError": "TK-CHANGED",
    "BindError": "TK-BIND",
    "KeyMissingError": "TK-KEY",
    "ProgramError": "TK-PROGRAM",
    "SourceError": "TK-SOURCE",
    "VerifyError": "TK-VERIFY",
    "DeviceError": "TK-DEVICE",
    "PartialLoadError": "TK-PARTIAL",
    "CallError": "TK-CALL",
    "PathError": "TK-IO",
    "NotFoundError": "TK-NOT-FOUND",
    "NotAFileError": "TK-NOT-A-FILE",
    "AccessError": "TK-ACCESS",
    "ExistsError": "TK-EXISTS",
    "FullError": "TK-FULL",
}
"""Programs test these and people search for them: nothing here ever changes, and new ones are added."""

BUILTINS: dict[str, type[Exception]] = {
    "UnsaveableError": TypeError,
    "DestinationError": ValueError,
    "FormatError": ValueError,
    "DigestError": ValueError,
    "LimitError": ValueError,
    "VersionError": ValueError,
    "OtherFormatError": ValueError,
    "BindError": ValueError,
    "KeyMissingError": KeyError,
    "CallError": ValueError,
    "PathError": OSError,
    "NotFoundError": FileNotFoundError,
    "NotAFileError": OSError,
    "AccessError": PermissionError,
    "ExistsError": FileExistsError,
    "FullError": OSError,
}


def classes() -> list[type[TorchkeepError]]:
    found = [TorchkeepError]
    for cls in found:
        found.extend(cls.__subclasses__())
    return found


def test_codes_are_unique_and_stable() -> None:
    assert {cls.__name__: cls.code for cls in classes()} == CODES
    assert len(set(CODES.values())) == len(CODES)


def test_the_tree_is_drawn_as_it_is() -> None:
    drawn = re.findall(r"(\w+)(?:\(\w+\))? +(TK-[A-Z-]+)", errors.__doc__ or "")
    assert dict(drawn) == {name: code for name, code in CODES.items() if name != "TorchkeepError"}
    for name, builtin in re.findall(r"(\w+)\((\w+)\)", errors.__doc__ or ""):
        assert issubclass(getattr(errors, name), vars(__import__("builtins"))[builtin])


@pytest.mark.parametrize("name", CODES)
def test_an_error_class(name: str) -> None:
    cls = getattr(torchkeep, name)
    assert cls.__module__ == "torchkeep"
    assert issubclass(cls, BUILTINS.get(name, Exception))
    assert cls.__doc__
    error = cls("what, where, and what now")
    assert str(error) == f"[{CODES[name]}] what, where, and what now"
    assert error.message == "what, where, and what now"
    assert str(error) in "".join(__import__("traceback").format_exception(error))


def made(name: str) -> TorchkeepError:
    cls = getattr(torchkeep, name)
    if issubclass(cls, errors.PathError):
        return cls("message", errno=errno.EIO, filename="file")
    if issubclass(cls, errors.FormatError):
        return cls("message", clause="H-1")
    if cls is errors.PartialLoadError:
        return cls("message", overwritten=("a", "b"))
    return cls("message")


@pytest.mark.parametrize("name", CODES)
@pytest.mark.parametrize("how", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy])
def test_an_error_can_be_copied_and_sent_to_another_process(name: str, how: Callable[[Any], Any]) -> None:
    error = made(name)
    error.message += ", in net.safetensors"  # as the detection of a format adds the path
    other = how(error)
    assert type(other) is type(error)
    assert str(other) == str(error)
    for attribute in ("message", "code", "clause", "overwritten", "errno", "filename"):
        assert getattr(other, attribute, None) == getattr(error, attribute, None), attribute


def test_the_clause_of_a_format_error_stands_in_its_message() -> None:
    error = errors.FormatError("it is broken", clause="H-3")
    assert (str(error), error.clause) == ("[TK-FORMAT] it is broken (clause H-3)", "H-3")
    assert errors.FormatError("it is broken").clause == ""


def test_a_partial_load_says_what_was_overwritten() -> None:
    assert errors.PartialLoadError("m").overwritten == ()
    assert errors.PartialLoadError("m", overwritten=("a",)).overwritten == ("a",)


# Files that break their format: each vector of the standard


@pytest.mark.parametrize("path", sorted(VECTORS.glob("*.safetensors")), ids=lambda path: path.stem)
def test_a_broken_file_is_named_with_its_clause(path: Path) -> None:
    with pytest.raises(errors.LoadError) as caught:  # classes that nobody opens come first
        torchkeep.load(path)
    message = str(caught.value)
    assert str(path) in message
    assert re.match(r"\[TK-(FORMAT|DIGEST|LIMIT|VERSION|OTHER|TRUST)\] ", message)
    if clause := getattr(caught.value, "clause", ""):
        assert f"(clause {clause})" in message


# All other messages: what is done, what is raised, and what it says

UNCHANGED = r"[Nn]othing was (loaded|written|read)|not changed|as it was|file was only read|had been overwritten"


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.fc(x)
        return out


def net(**attributes: Any) -> Net:
    module = Net()
    vars(module).update(attributes)
    return module


class Reduces:
    def __reduce__(self) -> Any:
        return (Reduces, ())


class Subdict(dict[str, int]):
    pass


class OddState:
    def __getstate__(self) -> Any:
        return (1, 2)


class Zone(datetime.tzinfo):
    pass


class Plain:
    def method(self) -> None: ...


class Subclass(torch.Tensor):
    pass


class HasSetstate(nn.Module):
    def __setstate__(self, state: Any) -> None:
        vars(self).update(state)


class Finalized(nn.Module):
    def __del__(self) -> None: ...


class Resets:
    def __setstate__(self, state: Any) -> None: ...


class Mine(optim.SGD):
    pass


Mine.__module__ = "torch.optim.mine"


class Outer:
    class Inner(nn.Module):
        """A class in another."""


def free(x: Any) -> Any:
    return x


def file(at: Path) -> Path:
    return at / "net.safetensors"


def saved(at: Path, obj: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TorchkeepWarning)
        torchkeep.save(obj, file(at), durable=False)
    return file(at)


def written(at: Path, document: Document, data: list[bytes]) -> Path:
    """A file of a Document that `save` would not write, sealed as a good one."""
    layout = containers.layout(document)
    contents = bytearray(layout.header([xxh3_64_intdigest(part) for part in data]).ljust(layout.nbytes, b"\0"))
    for span, part in zip(layout.spans, data, strict=True):
        contents[span.offset : span.offset + span.nbytes] = part
    file(at).write_bytes(contents)
    return file(at)


def crafted(at: Path, obj: Any, change: Callable[[Document], object]) -> Path:
    """The file of an object, changed where `save` gives no way to."""
    encoded = values.encode(obj)
    data = [bytes(part) for part in encoded.packed.buffers(range(len(encoded.document.tensors.names)))]
    change(encoded.document)
    return written(at, encoded.document, data)


def renamed(old: str, new: str) -> Callable[[Document], None]:
    """Another class or name in the nodes that have `old`."""

    def change(document: Document) -> None:
        for position, node in enumerate(document.nodes):
            if isinstance(node, Typed):
                fields = {key: new if value == old else value for key, value in node.fields.items()}
                document.nodes[position] = Typed(node.kind, node.version, fields)
        if old in document.classes:
            document.classes[new] = document.classes.pop(old)

    return change


def damaged(path: Path, name: str) -> Path:
    data = bytearray(path.read_bytes())
    header_nbytes = int.from_bytes(data[:8], "little")
    begin, _ = json.loads(data[8 : 8 + header_nbytes])[name]["data_offsets"]
    data[8 + header_nbytes + begin] ^= 1
    path.write_bytes(data)
    return path


@contextmanager
def registered(cls: type, **options: Any) -> Iterator[None]:
    kept = dict(registry._by_class)
    torchkeep.register(cls, **options)
    try:
        yield
    finally:
        registry._by_class.clear()
        registry._by_class.update(kept)


HERE = Net.__module__

UNSAVEABLE: dict[str, tuple[Callable[[], Any], str]] = {
    "lambda": (lambda: net(act=lambda x: x), r"^model\.act cannot be saved: .*lambda"),
    "nested function": (lambda: {"f": [1, lambda: 1]}, r"^obj\['f'\]\[1\] cannot be saved: "),
    "generator": (
        lambda: [(i for i in ())],
        r"^obj\[0\] cannot be saved: .*builtins\.generator is of a type that this release does not save",
    ),
    "lock": (
        lambda: net(lock=threading.Lock()),
        r"^model\.lock cannot be saved: .*_thread\.lock is of a type that this release does not save",
    ),
    "time zone": (
        lambda: {"t": datetime.datetime(2020, 1, 1, tzinfo=Zone())},
        r"^obj\['t'\] cannot be saved: .*time zone with rules of its own \(Zone\).*astimezone",
    ),
    "array of objects": (lambda: [np.array([{}])], r"^obj\[0\] .* has the dtype object, which no file holds.*astype"),
    "array of fields": (lambda: [np.zeros(1, "i4,f4")], r"^obj\[0\] .* which no file holds.*its fields apart"),
    "longdouble": (lambda: [np.longdouble(1)], r"^obj\[0\] .*float128|longdouble"),
    "subclass of tuple": (
        lambda: [time.localtime()],
        r"^obj\[0\] .* derived from tuple that is not written in Python alone.*tuple\(\.\.\.\)",
    ),
    "long decimal": (lambda: [decimal.Decimal("1" * 20_000)], r"^obj\[0\] .* text of more than 16384 characters"),
    "long fraction": (lambda: [fractions.Fraction(1, 3**20_000)], r"^obj\[0\] .* more than 16384 bits.*pair of int"),
    "enum of Python": (lambda: [http.HTTPStatus.OK], r"^obj\[0\] .* of a type that this release does not save"),
    "opaque layout": (lambda: {"t": torch.ones(2).to_mkldnn()}, r"^obj\['t'\] .* has layout torch\._mkldnn"),
    "subclass of torch": (
        lambda: [torch.ones(1).as_subclass(torch.masked.MaskedTensor)],
        r"^obj\[0\] .* subclass of torch's own\. .* Convert it first",
    ),
    "__reduce__": (lambda: net(c=Reduces()), r"^model\.c .* has its own __reduce__"),
    "__getstate__": (lambda: net(c=OddState()), r"^model\.c .* a __getstate__ that gives a tuple"),
    "bound to no module": (lambda: {"m": Plain().method}, r"^obj\['m'\] .* bound to an object that is no module"),
    "partial with attributes": (
        lambda: {"p": (p := functools.partial(free), vars(p).update(a=1))[0]},
        r"^obj\['p'\] .* partial with attributes",
    ),
    "a function of torch": (lambda: net(act=torch.hub.load), r"^model\.act .* closed table"),
    "a function of Python": (lambda: net(act=os.system), r"^model\.act .* standard library"),
    "a method that is hidden": (lambda: net(forward=free), r"^model\.forward .* hides the method 'forward'"),
    "script": (lambda: {"m": torch.jit.script(nn.Linear(1, 1))}, r"^obj\['m'\] .* carries code of its own"),
    "graph": (lambda: [torch.fx.symbolic_trace(Net())], r"^obj\[0\] .* carries code of its own"),
    "a class of torch": (lambda: {"c": torch.fx.GraphModule}, r"^obj\['c'\] .* carries code of its own"),
    "attribute's name": (lambda: net(__hash__=3), r"^model\.__hash__ .* dunder name"),
    "attribute that is no name": (
        lambda: (m := net(), vars(m).update({3: 4}))[0],
        r"names an attribute, and only strings may",
    ),
    "key": (lambda: {"a": {Plain(): 1}}, r"^obj\['a'\].* cannot be a dict key"),
    "a method of another": (
        lambda: (m := Net(), {"m": m, "f": types.MethodType(free, m)})[1],
        r"^obj\['f'\] .* not a method that its object's class defines",
    ),
    "an object of torch": (
        lambda: {"g": torch.futures.Future()},
        r"^obj\['g'\] .* is of a type that this release does not save",
    ),
    "a module of torch": (
        lambda: torch.ao.quantization.QuantWrapper(Net()),
        r"^model .* closed table.*Save the module inside it",
    ),
    "an optimizer of torch": (
        lambda: {"o": Mine(Net().parameters())},
        r"^obj\['o'\] .* not in the closed table of torch's optimizers",
    ),
    "a key of many parts": (lambda: {tuple(range(100_000)): 1}, r"too many for a key"),
    "an integer of many bytes": (lambda: [1 << 8 * 100_000], r"^obj\[0\] "),  # which no load would take
    "advice": (lambda: net(__call__=3), r"(?s)^(?!.*register\(int)"),  # which would change nothing
    "deep": (lambda: {"a": [(1, {"b": net(x=[threading.Lock()])})]}, r"^obj\['a'\]\[0\]\[1\]\['b'\]\.x\[0\] "),
}


@pytest.mark.parametrize("name", UNSAVEABLE)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_cannot_be_saved_is_named_with_its_path(tmp_path: Path, name: str) -> None:
    make, says = UNSAVEABLE[name]
    with pytest.raises(errors.UnsaveableError) as caught:
        torchkeep.save(make(), file(tmp_path))
    assert re.search(says, caught.value.message), caught.value.message
    assert "Nothing was written." in caught.value.message
    assert not re.search(r"Nothing was written\.\s*$", caught.value.message), "no next step"
    assert list(tmp_path.iterdir()) == []


Do = Callable[[Path], object]

MESSAGES: dict[str, tuple[type[TorchkeepError], Do, list[str]]] = {}
"""By what happened: the error, how to meet it, and what it says besides the path and what is unchanged."""


def message(kind: type[TorchkeepError], *says: str) -> Callable[[Do], Do]:
    def add(do: Do) -> Do:
        MESSAGES[do.__name__.replace("_", " ")] = (kind, do, list(says))
        return do

    return add


# Saving


@message(errors.DestinationError, r"model\.safetensors", r"torch\.save\(")
def a_name_of_a_torch_file(at: Path) -> None:
    torchkeep.save(1, at / "net.safetensors.pt")


@message(errors.SaveError, r"readers accept 100", r"save in parts")
def a_header_that_is_too_long(at: Path) -> None:
    try:
        containers.layout(values.encode({"a": 1}).document, limits=Limits(written_header_nbytes=100))
    except errors.SaveError as error:
        error.message += " net.safetensors"  # the layout knows no path
        raise


@message(errors.ExistsError, r"overwrite=True", r"Choose another name")
def a_file_that_is_there(at: Path) -> None:
    saved(at, 1)
    torchkeep.save(2, file(at), overwrite=False)


@message(errors.NotFoundError, r"Check the path")
def a_directory_that_is_not_there(at: Path) -> None:
    torchkeep.save(1, at / "absent" / "net.safetensors")


@message(errors.NotAFileError, r"a directory", r"Name a regular file")
def a_directory_in_the_place_of_the_file(at: Path) -> None:
    file(at).mkdir()
    torchkeep.save(1, file(at))


@message(errors.PathError, r"A part of the path is a file")
def a_file_in_the_place_of_the_directory(at: Path) -> None:
    torchkeep.save(1, saved(at, 1) / "net.safetensors")


@message(errors.PathError, r"NUL", r"Check the path")
def a_nul_in_the_path_of_a_save(at: Path) -> None:
    torchkeep.save(1, at / "\0net.safetensors")


@message(errors.PathError, r"shorter name")
def a_name_that_is_too_long(at: Path) -> None:
    torchkeep.save(1, at / ("x" * 300 + "net.safetensors"))


# Opening


@message(errors.NotFoundError, r"cannot open", r"relative paths start at the working directory")
def a_file_that_is_not_there(at: Path) -> None:
    torchkeep.load(file(at))


@message(errors.NotAFileError, r"is a directory", r"Name a regular file")
def a_directory_to_load(at: Path) -> None:
    file(at).mkdir()
    torchkeep.load(file(at))


@message(errors.PathError, r"NUL")
def a_nul_in_the_path_of_a_load(at: Path) -> None:
    torchkeep.load(at / "\0net.safetensors")


@message(errors.PathError, r"circle")
def a_link_to_itself(at: Path) -> None:
    file(at).symlink_to(file(at))
    torchkeep.load(file(at))


@message(errors.OtherFormatError, r"0 bytes")
def an_empty_file(at: Path) -> None:
    file(at).touch()
    torchkeep.load(file(at))


@message(errors.OtherFormatError, r"a torch\.save file", r"reads safetensors files", r"nothing of the file was run")
def a_torch_file(at: Path) -> None:
    torch.save({}, file(at))
    torchkeep.load(file(at))


@message(errors.DigestError, r"header's bytes are not the bytes that were saved", r"Restore it from a copy")
def a_header_that_is_damaged(at: Path) -> None:
    data = bytearray(saved(at, {"a": 1}).read_bytes())
    data[300] ^= 1
    file(at).write_bytes(data)
    torchkeep.load(file(at))


@message(errors.DigestError, r"'fc\.bias' is damaged", r"copy or download it again")
def a_tensor_that_is_damaged(at: Path) -> None:
    torchkeep.load(damaged(saved(at, Net()), "fc.bias"))


@message(errors.FormatError, r"cut short")
def a_file_that_was_cut_short(at: Path) -> None:
    file(at).write_bytes(saved(at, Net()).read_bytes()[:-1])
    torchkeep.load(file(at))


@message(errors.FormatError, r"truncated while reading", r"a copy that nothing writes to")
def a_file_that_another_program_truncates(at: Path) -> None:
    with open_source(saved(at, Net())) as source:
        os.truncate(file(at), 100)
        containers.read(source)


@message(errors.FormatError, r"is truncated: ", r"again")
def a_span_that_the_file_does_not_have(at: Path) -> None:
    with open_source(saved(at, Net())) as source:
        source.check([(Span(0, 1 << 20), 0, "fc.weight")])


@message(errors.LimitError, r"limit")
def more_than_the_limits_allow(at: Path) -> None:
    with open_source(saved(at, Net())) as source:
        containers.read(source, limits=Limits(header_nbytes=10))


@message(errors.LimitError, r"1")
def more_tensors_than_the_limits_allow(at: Path) -> None:
    with open_source(saved(at, Net())) as source:
        containers.read(source, limits=Limits(tensors=1))


@message(errors.LimitError, r"1 nodes|1 node")
def more_nodes_than_the_limits_allow(at: Path) -> None:
    with open_source(saved(at, [Net()])) as source:
        containers.read(source, limits=Limits(nodes=1))


# Loading


@message(errors.KeyMissingError, r"\['a'\] has no part 'c'", r"there are 'b'")
def a_part_that_is_not_there(at: Path) -> None:
    torchkeep.load(saved(at, {"a": {"b": 1}}), key=("a", "c"))


@message(errors.KeyMissingError, r"and 88 more")
def a_part_of_many_that_is_not_there(at: Path) -> None:
    torchkeep.load(saved(at, {str(i): i for i in range(100)}), key="x")


@message(errors.KeyMissingError, r"no parts")
def a_part_of_what_has_none(at: Path) -> None:
    torchkeep.load(saved(at, 3), key="x")


@message(
    errors.TrustError,
    r"gone\.models:Net ",
    r"is not imported",
    r"trust=\('gone',\)",
    r"classes=\{'gone\.models:Net': Net\}",
    r"torchkeep\.load_into\(model, ",
    r"route='skeleton'",
)
def a_class_that_is_not_imported(at: Path) -> None:
    torchkeep.load(crafted(at, Net(), renamed(f"{HERE}:Net", "gone.models:Net")))


def kept(at: Path, text: str) -> Path:
    """A file whose class is gone, with this text of its module."""

    def change(document: Document) -> None:
        renamed(f"{HERE}:Net", "gone:Net")(document)
        document.sources["gone"] = SourceText("", text)

    return crafted(at, Net(), change)


@message(
    errors.TrustError, r"(?m)^  source, runs text of the file +torchkeep\.load\(.*route='source', run_source=True\)$"
)
def a_class_that_is_gone_and_whose_text_is_kept(at: Path) -> None:
    torchkeep.load(kept(at, "raise SystemExit"))


@message(errors.TrustError, r"as text \(gone\)", r"inspect\(.*\)\.sources", r"route='source', run_source=True\)$")
def a_text_that_nobody_said_to_run(at: Path) -> None:
    torchkeep.load(kept(at, "raise SystemExit"), route="source")


@message(errors.SourceError, r"module gone raised KeyError in line 2", r"inspect\(.*\)\.sources\['gone'\]", r"classes=")
def a_text_that_raised(at: Path) -> None:
    torchkeep.load(kept(at, "x = {}\nx[1]\n"), route="source", run_source=True)


@message(errors.LoadError, r"keeps no source text", r"saved without source=True", r"classes=\[", r"route='skeleton'")
def a_file_without_text(at: Path) -> None:
    torchkeep.load(saved(at, Net()), route="source", run_source=True)


@message(errors.TrustError, r"has no such name now", r"classes=\{")
def a_class_that_was_renamed(at: Path) -> None:
    torchkeep.load(crafted(at, Net(), renamed(f"{HERE}:Net", f"{HERE}:OldNet")))


@message(errors.TrustError, r"torch\.hub:load", r"closed table", r"load_into|route")
def a_function_of_torch_that_nothing_opens(at: Path) -> None:
    torchkeep.load(crafted(at, net(act=free), renamed(f"{HERE}:free", "torch.hub:load")))


@message(errors.TrustError, rf"{HERE}:free", r"\(function\) (?!.*no class).*names? it", r"classes=\{")
def a_function_that_nobody_named(at: Path) -> None:
    torchkeep.load(saved(at, net(act=free)))


@message(errors.TrustError, r"cannot be imported: ModuleNotFoundError")
def a_trusted_package_that_is_not_there(at: Path) -> None:
    torchkeep.load(crafted(at, Net(), renamed(f"{HERE}:Net", "gone.models:Net")), trust="gone")


@message(errors.TrustError, r"cannot be imported", r"(?s)^(?!.*trust=\()")
def a_package_that_was_trusted_in_vain(at: Path) -> None:
    torchkeep.load(crafted(at, Net(), renamed(f"{HERE}:Net", "gone.models:Net")), trust=("gone",))


@message(errors.TrustError, r"gone is not imported; classes= has 'gone\.Net', with a dot where the file has a colon")
def a_key_with_a_dot_for_the_colon(at: Path) -> None:
    torchkeep.load(crafted(at, Net(), renamed(f"{HERE}:Net", "gone:Net")), classes={"gone.Net": Net})


@message(errors.TrustError, r"(?m)^  classes= has 'gone:Nett', which is none of the names that this load needs$")
def a_key_with_a_slip_of_the_pen(at: Path) -> None:
    torchkeep.load(crafted(at, Net(), renamed(f"{HERE}:Net", "gone:Net")), classes={"gone:Nett": Net})


@message(errors.TrustError, r"gone is not imported; 2 of the given classes are called Net, so none counts")
def two_given_classes_of_one_name(at: Path) -> None:
    also = type("Net", (nn.Module,), {})
    torchkeep.load(crafted(at, Net(), renamed(f"{HERE}:Net", "gone:Net")), classes=[Net, also])


@message(errors.TrustError, r"test_messages:Outer\.Inner'?: Outer\.Inner\}")
def a_class_inside_of_a_class(at: Path) -> None:
    torchkeep.load(saved(at, {"c": Outer.Inner}))


@message(errors.TrustError, r"safetensors\.torch has no such name now")
def a_trusted_package_without_the_class(at: Path) -> None:
    torchkeep.load(crafted(at, Net(), renamed(f"{HERE}:Net", "safetensors.torch:Net")), trust="safetensors")


@message(errors.TrustError, r"standard library, which trust= never opens")
def a_trusted_part_of_the_standard_library(at: Path) -> None:
    torchkeep.load(crafted(at, Net(), renamed(f"{HERE}:Net", "json:Net")), trust="json")


@message(errors.TrustError, r"is no Module")
def a_given_class_of_another_role(at: Path) -> None:
    torchkeep.load(saved(at, Net()), classes={f"{HERE}:Net": Plain})


@message(errors.TrustError, r"is a function where a module was saved")
def a_function_in_the_place_of_a_class(at: Path) -> None:
    torchkeep.load(saved(at, Net()), classes={f"{HERE}:Net": free})


@message(errors.TrustError, r"is a class where a function was saved")
def a_class_in_the_place_of_a_function(at: Path) -> None:
    torchkeep.load(saved(at, net(act=free)), classes={f"{HERE}:free": Plain})


@message(errors.TrustError, r"carries code of its own")
def a_given_class_that_carries_code(at: Path) -> None:
    torchkeep.load(saved(at, Net()), classes={f"{HERE}:Net": torch.fx.GraphModule})


@message(errors.TrustError, r"has a finalizer", r"classes=\{")
def a_class_with_a_finalizer(at: Path) -> None:
    torchkeep.load(saved(at, Finalized()))


@message(errors.TrustError, r"only re-exported by reexporting")
def a_trusted_module_that_only_passes_the_class_on(at: Path) -> None:
    module: Any = types.ModuleType("reexporting")
    module.Net = Net
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "reexporting", module)
        torchkeep.load(crafted(at, Net(), renamed(f"{HERE}:Net", "reexporting:Net")), trust="reexporting")


@message(errors.TrustError, r"\(class\) a class opens only when the caller names it", r"classes=\{")
def a_class_as_a_value(at: Path) -> None:
    torchkeep.load(saved(at, {"c": Net}))


@message(errors.LoadError, r"bfloat16", r"Install a newer torch")
def a_dtype_of_tensors_that_this_torch_lacks(at: Path) -> None:
    saved(at, Net().to(torch.bfloat16))
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(dtypes.BY_NAME, "bfloat16")
        torchkeep.load(file(at))


@message(errors.TrustError, r"has its own __setstate__", r"HasSetstate\}")
def a_class_with_a_setstate_of_its_own(at: Path) -> None:
    torchkeep.load(saved(at, HasSetstate()))


@message(errors.TrustError, r"method 'forward'", r"classes=\{")
def a_method_as_a_value(at: Path) -> None:
    inner = Net()
    torchkeep.load(saved(at, {"m": inner, "f": inner.forward}))


@message(errors.LoadError, r"had a forward hook", r'allow=\{"hooks"\}', r"register them again")
def a_model_that_had_hooks(at: Path) -> None:
    module = Net()
    module.register_forward_hook(lambda *_: None)
    torchkeep.load(saved(at, module))


@message(errors.LoadError, r"would hide what its class does")
def an_attribute_that_would_hide_a_method(at: Path) -> None:
    def change(document: Document) -> None:
        for position, node in enumerate(document.nodes):
            if isinstance(node, Map) and "forwarded" in node.keys:
                document.nodes[position] = Map(
                    tuple("forward" if key == "forwarded" else key for key in node.keys), node.values
                )

    torchkeep.load(crafted(at, net(forwarded=free), change), classes=[free])


@message(errors.LoadError, r"a call could not be saved and was left out, so the whole is not there(?s:.*)load_into")
def a_node_that_can_only_be_described(at: Path) -> None:
    document = Document(root=Ref(0), nodes=[Opaque("a call", {})], tensors=TensorTable(), environment={})
    torchkeep.load(written(at, document, []))


@message(errors.LoadError, r"has no dtype 'float3'")
def a_dtype_that_this_torch_lacks(at: Path) -> None:
    torchkeep.load(crafted(at, {"d": torch.float32}, renamed("float32", "float3")))


@message(errors.LoadError, r"could not be put together: RuntimeError", r"device")
def a_device_that_this_torch_does_not_know(at: Path) -> None:
    torchkeep.load(crafted(at, {"d": torch.device("cpu")}, renamed("cpu", "abacus")))


@message(errors.LoadError, r"could not be put together: ZeroDivisionError")
def a_decoder_that_raises(at: Path) -> None:
    with registered(Plain, encode=lambda obj: 1, decode=lambda state: 1 / 0):
        torchkeep.load(saved(at, Plain()))


@message(errors.LoadError, r"share the bytes of 'a'", r"Load without dtype=")
def a_cast_of_shared_bytes(at: Path) -> None:
    tensor = torch.ones(4)
    torchkeep.load(saved(at, {"a": tensor, "b": tensor.view(torch.int32)}), dtype=torch.float64)


@message(errors.FormatError, r"holds itself")
def a_tuple_that_holds_itself(at: Path) -> None:
    document = Document(root=Ref(0), nodes=[Seq("tuple", (Ref(0),))], tensors=TensorTable(), environment={})
    torchkeep.load(written(at, document, []))


@message(errors.ChangedClassError, r"saved at version 3", r"is at 1 here", r"Load it with the newer code")
def a_class_of_a_newer_version(at: Path) -> None:
    with registered(Net, version=3, migrations={1: free, 2: free}):
        saved(at, Net())
    torchkeep.load(file(at))


@message(errors.ChangedClassError, r"no migration from \[2\]", r"torchkeep\.register\(Net, version=3, migrations=\{2: ")
def a_migration_that_is_missing(at: Path) -> None:
    saved(at, Net())
    with registered(Net, version=3, migrations={1: free}):
        torchkeep.load(file(at))


@message(errors.LoadError, r"migration of .*Net from version 1 raised ZeroDivisionError")
def a_migration_that_raises(at: Path) -> None:
    saved(at, Net())
    with registered(Net, version=2, migrations={1: lambda state: 1 / 0}):
        torchkeep.load(file(at))


@message(
    errors.LoadError, r"migration of .*Net from version 1 left 'x' in state\.modules: it is of type str and no Module"
)
def a_migration_that_leaves_what_is_none(at: Path) -> None:
    saved(at, Net())
    with registered(Net, version=2, migrations={1: lambda state: state.modules.update(x="a text")}):
        torchkeep.load(file(at))


@message(errors.ChangedClassError, r"__init__ now assigns fc", r"migrat", r"classes changed|changed since")
def a_class_that_asks_for_more(at: Path) -> None:
    def change(document: Document) -> None:
        document.classes[f"{HERE}:Net"] = ClassInfo(version=1, digest="0" * 32, package=None)
        renamed_modules = [i for i, node in enumerate(document.nodes) if isinstance(node, Map) and "fc" in node.keys]
        for i in renamed_modules:
            node = document.nodes[i]
            assert isinstance(node, Map)
            document.nodes[i] = Map(tuple("linear" if key == "fc" else key for key in node.keys), node.values)

    torchkeep.load(crafted(at, Net(), change))


# Loading into a target


@message(
    errors.BindError,
    r"1 of 2 tensors",
    r"model\['weight'\]",
    r"file: shape \(3, 2\); target: shape \(2, 2\)",
    r"allow=",
)
def a_target_of_another_shape(at: Path) -> None:
    torchkeep.load_into(nn.Linear(2, 2), saved(at, {"weight": torch.ones(3, 2), "bias": torch.ones(2)}))


@message(errors.BindError, r"and 30 more", r'allow=\{"missing"\} to load the other 1\b')
def a_target_with_many_names_that_are_missing(at: Path) -> None:
    target = nn.ParameterList([torch.ones(1) for _ in range(51)])
    torchkeep.load_into(target, saved(at, {"0": torch.ones(1)}))


@message(errors.BindError, r"no name matched", r"'a'", r"'weight'", r"rename=")
def a_target_of_other_names(at: Path) -> None:
    torchkeep.load_into(nn.Linear(2, 2), saved(at, {"a": torch.ones(1)}), strict=False)


@message(errors.BindError, r"no tensor fits", r"key=|another part|Pass|Check|Choose|Give")
def a_target_in_which_nothing_fits(at: Path) -> None:
    torchkeep.load_into(nn.Linear(2, 2), saved(at, nn.Linear(3, 3)), allow="mismatched")


@message(errors.BindError, r"begins no name", r"'weight', 'bias'", r"before a dot")
def a_pair_that_fits_nothing(at: Path) -> None:
    torchkeep.load_into(nn.Linear(2, 2), saved(at, nn.Linear(2, 2)), rename={"wait": "weight"})


@message(errors.BindError, r"'a' and 'b'", r"both become 'c'", r"rename")
def two_names_that_become_one(at: Path) -> None:
    torchkeep.load_into(Net(), saved(at, {"a": torch.ones(1), "b": torch.ones(1)}), rename=[("a", "c"), ("b", "c")])


@message(errors.BindError, r"in 2 places", r"key='a'  2 tensors", r"key='b'  2 tensors")
def two_parts_with_weights(at: Path) -> None:
    torchkeep.load_into(nn.Linear(2, 2), saved(at, {"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)}))


@message(errors.BindError, r"no module and no state_dict", r"key=|inspect")
def a_file_without_weights(at: Path) -> None:
    torchkeep.load_into(nn.Linear(2, 2), saved(at, {"epoch": 3}))


@message(errors.BindError, r"no optimizer", r"key=|inspect")
def a_file_without_an_optimizer(at: Path) -> None:
    torchkeep.load_into(optim.SGD(nn.Linear(2, 2).parameters()), saved(at, {"epoch": 3}))


@message(errors.BindError, r"2 optimizers", r"key='a', key='b'")
def two_optimizers(at: Path) -> None:
    one, two = (optim.SGD(nn.Linear(2, 2).parameters()) for _ in range(2))
    torchkeep.load_into(optim.SGD(nn.Linear(2, 2).parameters()), saved(at, {"a": one, "b": two}))


@message(errors.BindError, r"no part 'b'", r"it has 'a'")
def a_dict_of_targets_with_a_part_that_the_file_lacks(at: Path) -> None:
    torchkeep.load_into({"b": nn.Linear(2, 2)}, saved(at, {"a": nn.Linear(2, 2)}))


@message(errors.BindError, r"'a' is neither a module nor a state_dict")
def a_dict_of_targets_with_a_part_that_is_no_module(at: Path) -> None:
    torchkeep.load_into({"a": nn.Linear(2, 2)}, saved(at, {"a": 3}))


@message(errors.BindError, r"'a' is no optimizer")
def a_dict_of_targets_with_a_part_that_is_no_optimizer(at: Path) -> None:
    torchkeep.load_into({"a": optim.SGD(nn.Linear(2, 2).parameters())}, saved(at, {"a": 3}))


@message(errors.BindError, r"optimizer\.param_groups", r"groups of \[2\] parameters", r"\[1\]")
def an_optimizer_of_other_groups(at: Path) -> None:
    path = saved(at, optim.SGD(nn.Linear(2, 2).parameters()))
    torchkeep.load_into(optim.SGD([nn.Parameter(torch.ones(1))]), path)


@message(
    errors.BindError, r"o\.param_groups  file: groups of \[2\] parameters that no name", r"target: groups of \[1\]"
)
def an_optimizer_with_parameters_that_nothing_tells_apart(at: Path) -> None:
    model, one, two, three = nn.Linear(2, 2), *(nn.Parameter(torch.ones(1)) for _ in range(3))
    path = saved(at, {"m": model, "o": optim.SGD([*model.parameters(), one, two])})
    torchkeep.load_into({"m": model, "o": optim.SGD([*model.parameters(), three])}, path)


@message(errors.BindError, r"rename: .* has no names there to rename", r"Leave rename= out")
def a_rename_of_nothing(at: Path) -> None:
    path = saved(at, optim.SGD(nn.Linear(2, 2).parameters()))
    torchkeep.load_into(optim.SGD(nn.Linear(2, 2).parameters()), path, rename=[("a", "b")])


@message(errors.BindError, r"meta device", r"assign=True")
def a_meta_target(at: Path) -> None:
    torchkeep.load_into(nn.Linear(2, 2, device="meta"), saved(at, nn.Linear(2, 2)))


@message(
    errors.BindError,
    r"Sequential's own load_state_dict: size mismatch for 0\.weight: .* shape \(3, 3\) .* is \(2, 2\); size mismatch",
    r'The target was not changed\. Pass allow=\{"mismatched"\} to leave out 2 that may not fit',
)
def a_target_with_a_load_of_its_own(at: Path) -> None:
    target = nn.Sequential(nn.Linear(2, 2))
    target.register_load_state_dict_pre_hook(lambda *_: None)
    torchkeep.load_into(target, saved(at, nn.Sequential(nn.Linear(3, 3))))


@message(errors.BindError, r"2 of 2 tensors do not fit", r"model\['0\.weight'\]  file: shape \(3, 3\)")
def a_target_with_a_hook_that_has_no_say_in_shapes(at: Path) -> None:
    target = nn.Sequential(nn.Linear(2, 2))
    target.register_load_state_dict_post_hook(lambda *_: None)
    torchkeep.load_into(target, saved(at, nn.Sequential(nn.Linear(3, 3))))


@message(errors.BindError, r"OwnLoad's own load_state_dict takes no assign=", r"Leave assign=True out")
def a_target_whose_own_load_takes_no_assign(at: Path) -> None:
    class OwnLoad(nn.Linear):
        def load_state_dict(self, state: Any, strict: bool = True) -> Any:  # type: ignore[override]
            return super().load_state_dict(state, strict)

    torchkeep.load_into(OwnLoad(2, 2), saved(at, nn.Linear(2, 2)), assign=True)


@message(
    errors.PartialLoadError,
    r"'fc\.bias' is damaged",
    r"2 tensors of the target",
    r"fc\.weight, fc\.bias",
    r'verify="first"',
)
def a_late_error(at: Path) -> None:
    torchkeep.load_into(Net(), damaged(saved(at, Net()), "fc.bias"))


@message(errors.DigestError, r"'fc\.bias' is damaged", r"target was not changed")
def bytes_that_are_found_bad_first(at: Path) -> None:
    torchkeep.load_into(Net(), damaged(saved(at, Net()), "fc.bias"), verify="first")


def with_example(at: Path, **more: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TorchkeepWarning)
        torchkeep.save(Net(), file(at), example=(torch.ones(2, 2),), durable=False, **more)
    return file(at)


@message(errors.VerifyError, r"holds no outputs", r"golden=False", r"without verify=, or save it again")
def a_check_of_outputs_that_are_not_kept(at: Path) -> None:
    torchkeep.load(with_example(at, golden=False), verify="outputs")


class Doubled(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


@message(
    errors.VerifyError,
    r"does not compute what was saved",
    r"the output at \(0, 0\): \S+, and was \S+ \(max error \S+, tolerance \S+\)",
    r"torchkeep\.verify\(",
    r"without verify=",
)
def a_class_that_computes_something_else(at: Path) -> None:
    path = with_example(at)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TorchkeepWarning)
        torchkeep.load(path, classes={f"{Net.__module__}:Net": Doubled}, verify="outputs")


class Halving(prune.BasePruningMethod):
    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t: torch.Tensor, default_mask: torch.Tensor) -> torch.Tensor:
        return default_mask


class Forwarding(nn.Linear):
    def weight(self) -> None:  # type: ignore[override]
        """A method where the hook's attribute goes."""


class Shrunk(nn.Linear):
    """A class that a migration makes smaller."""


class LazyNet(LazyModuleMixin, nn.Module):
    """A lazy class of the program."""


def pruned(method: type[prune.BasePruningMethod] = Halving, cls: type[nn.Module] = nn.Linear) -> nn.Module:
    module = cls(2, 2)
    method.apply(module, "weight")
    return module


@message(
    errors.TrustError,
    r"test_messages:Halving +\(pruning_method\) a pruning_method opens only when the caller names it",
    r"classes=\{'.*:Halving': Halving\}",
)
def a_way_to_prune_that_nobody_named(at: Path) -> None:
    torchkeep.load(saved(at, pruned()))


@message(errors.TrustError, r"was given .*:Net, which is no BasePruningMethod")
def a_way_to_prune_that_is_none(at: Path) -> None:
    torchkeep.load(saved(at, pruned()), classes={f"{HERE}:Halving": Net})


@message(errors.LoadError, r"a hook of torch\.nn:Linear computes weight, which would hide what its class does")
def a_hook_that_hides_a_method(at: Path) -> None:
    path = saved(at, pruned(prune.Identity))
    torchkeep.load(path, classes={"torch.nn:Linear": Forwarding}, allow={"changed"})


@message(errors.LoadError, r"LazyNet was lazy when it was saved", r":Net is no LazyModuleMixin", r"with a lazy class")
def a_lazy_module_of_a_class_that_is_not(at: Path) -> None:
    torchkeep.load(saved(at, LazyNet()), classes={f"{HERE}:LazyNet": Net}, allow={"changed"})


@message(errors.LoadError, r":Shrunk has no tensors that a torch\.prune can compute 'weight' from", r"a migration")
def a_migration_that_changes_what_a_hook_computes_from(at: Path) -> None:
    def shrink(state: Any) -> None:
        state.parameters["weight_orig"] = nn.Parameter(torch.ones(1))

    saved(at, pruned(prune.Identity, Shrunk))
    with registered(Shrunk, version=2, migrations={1: shrink}):
        torchkeep.load(file(at))


@message(
    errors.LoadError, r"uninitialized tensor of int8, a dtype that torch .* does not have", r"Install a newer torch"
)
def an_uninitialized_tensor_of_a_newer_dtype(at: Path) -> None:
    path = saved(at, [nn.parameter.UninitializedBuffer(dtype=torch.int8)])
    known = dtypes.BY_NAME.pop("int8")
    try:
        torchkeep.load(path)
    finally:
        dtypes.BY_NAME["int8"] = known


@message(errors.BindError, r"file: not yet initialized; target: shape \(2, 2\)", r"torchkeep\.inspect\(path\)")
def a_file_of_a_lazy_module(at: Path) -> None:
    torchkeep.load_into(nn.Linear(2, 2), saved(at, [nn.LazyLinear(2), nn.Linear(2, 2)]), key=0)


# Comparing


@message(errors.NotFoundError, r"absent\.safetensors", r"nothing was read")
def a_second_file_that_is_absent(at: Path) -> None:
    torchkeep.diff(saved(at, 1), at / "absent.safetensors")


@message(errors.KeyMissingError, r"net\.safetensors has no part 'net'; there are 'fc'")
def a_part_that_only_one_file_has(at: Path) -> None:
    torchkeep.save({"net": Net()}, at / "checkpoint", durable=False)
    torchkeep.diff(at / "checkpoint", saved(at, Net()), key="net")


@message(errors.OtherFormatError, r"old\.pt is a torch\.save file", r"nothing of the file was run")
def a_file_of_torch_beside_one_of_ours(at: Path) -> None:
    torch.save({"a": torch.ones(1)}, at / "old.pt")
    torchkeep.diff(saved(at, 1), at / "old.pt")


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message(tmp_path: Path, name: str) -> None:
    kind, do, says = MESSAGES[name]
    with pytest.raises(kind) as caught:
        do(tmp_path)
    error = caught.value
    assert type(error) is kind
    text = str(error)
    assert text.startswith(f"[{kind.code}] ")
    for pattern in says:
        assert re.search(pattern, text), f"{pattern} is not in: {text}"
    assert "net.safetensors" in text or str(tmp_path) in text, f"the path is not in: {text}"
    assert re.search(UNCHANGED, text), f"what was left unchanged is not in: {text}"
    assert not re.search(r"\b1 (tensors|parts|bytes|optimizers|places)\b", text), f"one is not many: {text}"
    assert not re.search(r"TensorRef|Ref\(|<[\w.]+ object at", text), f"what is inside is shown: {text}"
    assert "  \n" not in text
    assert ".." not in re.sub(r"\.\.\.", "", text)


def test_every_kind_of_failure_of_a_file_system() -> None:
    kinds = {
        errno.ENOENT: "NotFoundError",
        errno.EACCES: "AccessError",
        errno.EPERM: "AccessError",
        errno.EROFS: "AccessError",
        errno.EEXIST: "ExistsError",
        errno.EISDIR: "NotAFileError",
        errno.ENXIO: "NotAFileError",
        errno.ENOSPC: "FullError",
        errno.EDQUOT: "FullError",
        errno.EFBIG: "FullError",
        errno.ENOTDIR: "PathError",
        errno.ELOOP: "PathError",
        errno.ENAMETOOLONG: "PathError",
        errno.EINVAL: "PathError",
        errno.EIO: "PathError",
        errno.EMFILE: "PathError",
    }
    for number, name in kinds.items():
        error = path_error(
            OSError(number, os.strerror(number)), "net", doing="cannot read 'net'", unchanged="all is well"
        )
        assert type(error).__name__ == name
        assert (error.errno, error.filename) == (number, "net")
        begins = f"[{error.code}] cannot read 'net': {os.strerror(number)}; all is well. "
        assert str(error).startswith(begins)
        assert re.fullmatch(r"[A-Z][^.]*\.", str(error)[len(begins) :])


# Wrong calls: Python's own errors, since the caller and not the file is wrong

WRONG: dict[str, tuple[type[Exception], Callable[[Path], object], str]] = {
    "mode": (ValueError, lambda p: torchkeep.load(p, mode="evil"), "'eval', 'train', 'saved' or None, not 'evil'"),  # type: ignore[arg-type]
    "route": (ValueError, lambda p: torchkeep.load(p, route="way"), "route is .* not 'way'"),  # type: ignore[arg-type]
    "run_source": (
        ValueError,
        lambda p: torchkeep.load(p, route="skeleton", run_source=True),
        "run_source is True or False, and True goes with route 'source' or 'auto', not 'skeleton'",
    ),
    "allow of load": (ValueError, lambda p: torchkeep.load(p, allow="missing"), r"allow takes \['changed', 'hooks'\]"),
    "allow of load_into": (
        ValueError,
        lambda p: torchkeep.load_into(Net(), p, allow={"hooks"}),
        r"allow takes \['mismatched', 'missing', 'unexpected'\], not \['hooks'\]",
    ),
    "verify": (ValueError, lambda p: torchkeep.load_into(Net(), p, verify="no"), "verify is 'first' or None"),  # type: ignore[arg-type]
    "dtype": (TypeError, lambda p: torchkeep.load(p, dtype=torch.int8), "floating-point dtype"),
    "dtype by name": (TypeError, lambda p: torchkeep.load(p, dtype="float16"), "torch.bfloat16"),  # type: ignore[arg-type]
    "device": (TypeError, lambda p: torchkeep.load(p, map_location={"cuda": "cpu"}), "nothing to map"),  # type: ignore[arg-type]
    "two devices": (TypeError, lambda p: torchkeep.load(p, device="cpu", map_location="meta"), "two words for one"),
    "classes": (TypeError, lambda p: torchkeep.load(p, classes=[3]), "3"),
    "classes by name": (TypeError, lambda p: torchkeep.load(p, classes={"a:B": "C"}), "'C'"),
    "trust": (ValueError, lambda p: torchkeep.load(p, trust=["a b"]), "trust takes 'package'"),
    "target": (TypeError, lambda p: torchkeep.load_into(3, p), "a module, an optimizer, or a dict of these, not int"),
    "empty target": (ValueError, lambda p: torchkeep.load_into({}, p), "this dict is empty: nothing would be loaded"),
    "rename": (TypeError, lambda p: torchkeep.load_into(Net(), p, rename=5), "rename takes pairs .* not 5"),  # type: ignore[arg-type]
    "rename as one pair": (
        TypeError,
        lambda p: torchkeep.load_into(Net(), p, rename=("a", "b")),  # type: ignore[arg-type]
        r"Write rename=\[\('a', 'b'\)\]",
    ),
    "rename by a function": (
        TypeError,
        lambda p: torchkeep.load_into(Net(), p, rename=lambda name: 5),  # type: ignore[arg-type,return-value]
        "function gave 5 for 'fc.weight'",
    ),
    "part of a target": (
        TypeError,
        lambda p: torchkeep.load_into({"a": 3}, p),
        "the target's 'a' is of type int",
    ),
    "path": (TypeError, lambda p: torchkeep.load(os.fsencode(p)), "path"),  # type: ignore[arg-type]
    "path of save": (TypeError, lambda p: torchkeep.save(1, os.fsencode(p)), "path|bytes"),  # type: ignore[arg-type]
    "register": (TypeError, lambda p: torchkeep.register(3), "takes a class"),  # type: ignore[arg-type]
    "alias that is no text": (
        TypeError,
        lambda p: torchkeep.register(Net, aliases=[5]),  # type: ignore[list-item]
        "aliases are names such as 'old.module:Net', not 5",
    ),
    "alias": (ValueError, lambda p: torchkeep.register(Net, aliases="Net"), "'module:name'"),
    "encode alone": (TypeError, lambda p: torchkeep.register(Net, encode=free), "go together"),
    "migrations": (
        TypeError,
        lambda p: torchkeep.register(Mine, version=2, migrations={1: free}),
        "objects of torch.optim.mine:Mine are not kept by theirs",
    ),
    "versions": (
        ValueError,
        lambda p: torchkeep.register(Net, version=2, migrations={2: free}),
        "from 1 to version - 1",
    ),
    "report": (LookupError, lambda p: torchkeep.report_of(Net()), "Net was not returned by torchkeep.load"),
    "attribute": (AttributeError, lambda p: torchkeep.nothing, "no attribute 'nothing'"),
    "skeleton": (
        RuntimeError,
        lambda p: torchkeep.load(p, route="skeleton")(torch.ones(2)),
        r"skeleton of a gone:Net.*classes=.*load_into",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_call(tmp_path: Path, name: str) -> None:
    kind, do, says = WRONG[name]
    path = crafted(tmp_path, Net(), renamed(f"{HERE}:Net", "gone:Net"))
    with pytest.raises(kind, match=says) as caught:
        do(path)
    assert not isinstance(caught.value, TorchkeepError)


def test_an_alias_that_belongs_to_another_class() -> None:
    with registered(Net, aliases="old:Net"), pytest.raises(ValueError, match=f"belongs to {HERE}:Net"):
        torchkeep.register(HasSetstate, aliases="old:Net")


# Warnings and notes


def test_warnings_point_at_the_caller(tmp_path: Path) -> None:
    module = Net()
    module.register_forward_hook(lambda *_: None)
    for verb in (
        lambda: torchkeep.save(module, file(tmp_path), durable=False),
        lambda: torchkeep.load(file(tmp_path), allow="hooks"),
        lambda: torchkeep.load_into(Net().double(), file(tmp_path)),
    ):
        with pytest.warns(TorchkeepWarning) as told:
            verb()
        assert [Path(each.filename).name for each in told] == ["test_messages.py"]


def findings(do: Callable[[], Any]) -> list[str]:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        do()
    assert all(each.category is TorchkeepWarning for each in told)
    return [str(each.message) for each in told]


def test_hooks_are_told_at_save(tmp_path: Path) -> None:
    module = Net()
    module.fc.register_forward_pre_hook(lambda *_: None)
    module.fc.weight.register_hook(lambda *_: None)
    optimizer = optim.SGD(module.parameters())
    optimizer.register_step_post_hook(lambda *_: None)
    told = findings(lambda: torchkeep.save({"m": module, "o": optimizer}, file(tmp_path), durable=False))
    assert len(told) == 3
    assert any(text.startswith("obj['m'].fc: a forward pre-hook cannot be saved") for text in told)
    assert any('allow={"hooks"}' in text for text in told)
    assert any(text.startswith("obj['m'].fc.weight: gradient hooks of a tensor are not saved") for text in told)
    assert any(text.startswith("obj['o']: ") and "of an optimizer" in text for text in told)


def test_hooks_are_told_at_load(tmp_path: Path) -> None:
    module = Net()
    module.register_forward_hook(lambda *_: None)
    path = saved(tmp_path, module)
    [told] = findings(lambda: torchkeep.load(path, allow="hooks"))
    assert f"{HERE}:Net came back without its forward hook" in told


def test_what_came_back_without_its_method_is_told(tmp_path: Path) -> None:
    path = saved(tmp_path, pruned())
    [told] = findings(lambda: torchkeep.load(path, route="skeleton"))
    assert "torch.nn:Linear came back with weight pruned once and for all" in told


def test_what_remove_spectral_norm_left_behind_is_told(tmp_path: Path) -> None:
    module = nn.utils.spectral_norm(nn.Linear(2, 2))
    nn.utils.remove_spectral_norm(module)
    [told] = torchkeep.save(module, file(tmp_path)).findings
    assert told.severity == "note"
    assert "remove_spectral_norm had left behind" in told.message


def test_casts_are_told(tmp_path: Path) -> None:
    path = saved(tmp_path, Net())
    [told] = findings(lambda: torchkeep.load(path, dtype=torch.float64))
    assert told == "2 tensors were cast: float32 to float64."
    [told] = findings(lambda: torchkeep.load_into(Net().double(), path))
    assert told == f"{path}: 2 tensors were cast to the target's dtype; the report names them."


def test_losses_of_load_into_are_told(tmp_path: Path) -> None:
    path = saved(
        tmp_path, {"fc.weight": torch.ones(2, 2), "fc.bias": torch.ones(3), "a": torch.ones(1), "b": torch.ones(1)}
    )
    target = Net()
    target.c, target.d = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    told = findings(lambda: torchkeep.load_into(target, path, allow={"missing", "unexpected", "mismatched"}))
    assert len(told) == 3
    assert f"{path}: 2 tensors of the target were not in the file; the report names them." in told
    assert f"{path}: 2 tensors of the file were not in the target; the report names them." in told
    assert any("did not fit" in text for text in told)


def test_state_that_went_by_position_is_told(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    optimizer = optim.SGD(model.named_parameters(), momentum=0.9)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    path = saved(tmp_path, optimizer)
    [told] = findings(lambda: torchkeep.load_into(optim.SGD(nn.Linear(2, 2).parameters(), momentum=0.9), path))
    assert told == (
        f"{path}: optimizer: the states of 2 parameters went by position, and only shapes were compared: the file has "
        "names, and the target has none. Load every model of the optimizer with it, or make optimizers from "
        "model.named_parameters()."
    )


def test_tensors_that_share_memory_now_are_told(tmp_path: Path) -> None:
    tied = nn.Parameter(torch.ones(2))
    path = saved(tmp_path, {"0": tied, "1": tied})
    target = nn.ParameterList([torch.zeros(2), torch.zeros(2)])
    [told] = findings(lambda: torchkeep.load_into(target, path, assign=True))
    assert told == (
        f"{path}: '0' and '1' are one tensor in the file and two in the target, over the same memory now: what changes "
        "one changes the other. Tie them in the target, or load without assign=True."
    )


def test_one_is_not_many(tmp_path: Path) -> None:
    path = saved(tmp_path, {"fc.weight": torch.ones(2, 2), "fc.bias": torch.ones(3), "a": torch.ones(1)})
    target = Net()
    target.c = nn.Parameter(torch.ones(1))
    told = findings(lambda: torchkeep.load_into(target, path, allow={"missing", "unexpected", "mismatched"}))
    told += findings(lambda: torchkeep.load(saved(tmp_path, {"a": torch.ones(1)}), dtype=torch.float64))
    assert len(told) == 4
    assert not [text for text in told if re.search(r"\b1 tensors", text)]
    assert "1 stored tensors" not in str(torchkeep.inspect(file(tmp_path)))


def test_records_are_told(tmp_path: Path) -> None:
    def act() -> Any:
        obj = torchkeep.load(path)
        assert isinstance(obj["c"], torchkeep.Record)
        assert "Plain" in repr(obj["c"])

    path = saved(tmp_path, {"c": Plain()})
    [told] = findings(act)
    assert f"{HERE}:Plain came back as inert Records" in told
    assert f"classes={{'{HERE}:Plain': Plain}}" in told


@pytest.mark.parametrize(
    ("make", "old", "new", "says"),
    [
        (Plain, "", "", "is held by no module of its own package"),
        (Plain, f"{HERE}:Plain", "fractions:Fraction", "belongs to the standard library"),
        (Plain, f"{HERE}:Plain", "gone:Plain", "gone is not imported"),
        (lambda: net(c=Resets()), "", "", "defines __setstate__"),
        (lambda: net(c=Plain()), f"{HERE}:Plain", f"{HERE}:Subdict", "is abstract, or derives from a builtin class"),
    ],
)
def test_records_say_why(tmp_path: Path, make: Callable[[], Any], old: str, new: str, says: str) -> None:
    __import__("fractions")
    path = crafted(tmp_path, make(), renamed(old, new))
    [told] = findings(lambda: torchkeep.load(path))
    assert f"came back as inert Records ({says}" in told
    assert says in told
    assert "pass classes={" in told


def test_a_custom_class_that_is_not_registered_any_more(tmp_path: Path) -> None:
    with registered(Plain, encode=lambda obj: 1, decode=lambda state: Plain()):
        path = saved(tmp_path, {"c": Plain()})
    with pytest.raises(errors.TrustError, match=f"{HERE}:Plain") as caught:
        torchkeep.load(path)
    assert "torchkeep.register(" in str(caught.value)
    assert str(path) in str(caught.value)


def test_an_encoder_that_raises(tmp_path: Path) -> None:
    with (
        registered(Plain, encode=lambda obj: 1 / 0, decode=free),
        pytest.raises(errors.UnsaveableError, match=r"obj\['c'\] .* raised ZeroDivisionError: division by zero"),
    ):
        torchkeep.save({"c": Plain()}, file(tmp_path))
    assert list(tmp_path.iterdir()) == []


class Extra(nn.Module):
    def get_extra_state(self) -> Any:
        return 3

    def set_extra_state(self, state: Any) -> None:
        raise AssertionError


def test_extra_state_that_is_not_handed_over_is_told(tmp_path: Path) -> None:
    path = saved(tmp_path, Extra())
    [told] = findings(lambda: torchkeep.load(path))
    assert f"the extra state of {HERE}:Extra was not handed to its set_extra_state" in told
    assert "classes=[Extra]" in told


def test_a_changed_class_is_told(tmp_path: Path) -> None:
    def change(document: Document) -> None:
        document.classes[f"{HERE}:Net"] = ClassInfo(version=1, digest="0" * 32, package="thing 1.0")

    path = crafted(tmp_path, Net(), change)
    [told] = findings(lambda: torchkeep.load(path))
    assert f"the source of {HERE}:Net changed since the file was saved" in told
    assert "thing 1.0" in told


def test_a_key_that_was_not_needed_is_noted(tmp_path: Path) -> None:
    loaded = torchkeep.load(saved(tmp_path, Net()), classes={f"{HERE}:Nett": Net})
    [told] = torchkeep.report_of(loaded).findings
    assert (told.severity, told.message) == (
        "note",
        f"classes= has '{HERE}:Nett', which is none of the names that this load needs.",
    )


def test_notes_are_in_the_report_and_no_warning(tmp_path: Path) -> None:
    class Local(nn.Module):
        pass

    report = torchkeep.save({"m": Local(), "t": torch.zeros(1 << 20)[:2]}, file(tmp_path), durable=False)
    assert [finding.code for finding in report.findings] == ["local-class", "trimmed"]
    text = str(report)
    assert "is defined inside a function. To load it, pass classes=[Local]." in text
    assert "obj['t']: uses 8 bytes of an allocation of 4194304; only those were written." in text
    target = nn.Linear(2, 2)
    target.register_load_state_dict_post_hook(lambda *_: None)
    loaded = torchkeep.load_into(target, saved(tmp_path, nn.Linear(2, 2)))
    assert "Linear has hooks or a load_state_dict of its own, which did the loading." in str(loaded)


# Reports read well


def test_reports_as_text(tmp_path: Path) -> None:
    report = torchkeep.save(Net(), file(tmp_path), durable=False)
    assert str(report) == f"saved {file(tmp_path)}: 4.0 KiB"
    text = str(torchkeep.report_of(torchkeep.load(file(tmp_path))))
    assert text == f"loaded {file(tmp_path)} (torchkeep) by structure, on cpu, mode eval"
    text = str(torchkeep.load_into(Net(), file(tmp_path)))
    assert text == f"loaded 2 of 2 tensors from {file(tmp_path)}"


def test_a_plain_file_breaks_its_format(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, file(tmp_path))
    data = file(tmp_path).read_bytes()
    file(tmp_path).write_bytes(data + b"\0")
    with pytest.raises(errors.FormatError, match="cut short or added to") as caught:
        torchkeep.inspect(file(tmp_path))
    assert str(file(tmp_path)) in str(caught.value)
    file(tmp_path).write_bytes(data.replace(b'"F32"', b'"X32"'))
    with pytest.raises(errors.FormatError, match="'X32' has no counterpart in torch"):
        torchkeep.inspect(file(tmp_path))
