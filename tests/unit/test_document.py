"""The waist: canonical JSON both ways, every clause of `check`, and the questions that a Document answers."""

from __future__ import annotations

import math
import signal
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from torchkeep import document as d
from torchkeep.containers import layout
from torchkeep.document import ClassInfo, Document, Finding, Map, Opaque, Ref, Seq, TensorRef, TensorTable, Typed, View
from torchkeep.errors import FormatError, KeyMissingError, LimitError, VersionError
from torchkeep.limits import Limits

# --- generated Documents ----------------------------------------------------------------------------

_INTS = st.integers() | st.sampled_from([2**53 - 1, 2**53, -(2**53), 2**64, -(2**500)])
_FLOATS = st.floats() | st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack(">d", struct.pack(">Q", bits))[0])
_TEXTS = st.text(st.characters(codec=None), max_size=8)
_SCALARS = st.one_of(
    st.none(), st.booleans(), _INTS, _FLOATS, st.builds(complex, _FLOATS, _FLOATS), _TEXTS, st.binary(max_size=8)
)
_NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """Any Document that could be written down, whether or not it holds together."""
    names = draw(st.lists(_NAMES, max_size=4, unique=True))
    stored = draw(st.lists(st.integers(0, len(names) - 1), max_size=5)) if names else []
    count = draw(st.integers(0, 5))
    references = st.builds(Ref, st.integers(0, max(0, count - 1))) | st.builds(
        TensorRef, st.integers(0, max(0, len(stored) - 1))
    )
    values = _SCALARS | references
    fields = st.dictionaries(_NAMES, values, max_size=3)
    pairs = st.lists(st.tuples(values, values), max_size=4)
    nodes = st.one_of(
        st.builds(Seq, st.sampled_from(["list", "tuple", "set", "frozenset"]), st.lists(values, max_size=4).map(tuple)),
        pairs.map(lambda made: Map(tuple(k for k, _ in made), tuple(v for _, v in made))),
        st.builds(Typed, _NAMES, st.integers(1, 2**31 - 1), fields),
        st.builds(Opaque, _NAMES, fields),
    )
    shapes = st.lists(st.integers(0, 5), max_size=3).map(tuple)

    def sparse(count: int, held: st.SearchStrategy[Any]) -> dict[int, Any]:
        return draw(st.dictionaries(st.integers(0, count - 1), held, max_size=2)) if count else {}

    dtypes = st.sampled_from(list(d.ITEMSIZE))
    table = TensorTable(
        names=names,
        dtypes=[draw(dtypes) for _ in names],
        shapes=[draw(shapes) for _ in names],
        strides=sparse(len(names), shapes),
        stored=stored,
        flags=[draw(st.integers(0, 3)) for _ in stored],
        views=sparse(len(stored), st.builds(View, dtypes, shapes, shapes, st.integers(0, 9))),
        lazy=sparse(len(stored), st.integers(1, 3)),
        attributes=sparse(len(stored), values),
    )
    return Document(
        root=draw(values),
        nodes=[draw(nodes) for _ in range(count)],
        tensors=table,
        classes=draw(
            st.dictionaries(
                _NAMES, st.builds(ClassInfo, st.integers(-5, 5), st.none() | _NAMES, st.none() | _NAMES), max_size=2
            )
        ),
        environment=draw(st.dictionaries(_NAMES, _NAMES, max_size=2)),
        findings=draw(
            st.lists(
                st.builds(Finding, _NAMES, st.sampled_from(["note", "warning", "error"]), _NAMES, _NAMES, _NAMES),
                max_size=2,
            )
        ),
    )


@settings(max_examples=100, deadline=None)
@given(documents())
@example(Document(root=float("nan")))
@example(Document(root=-0.0))
@example(Document(root="\ud800"))
@example(
    Document(
        root=Ref(0), nodes=[Map(("b",), (TensorRef(0),))], tensors=TensorTable(["a.b"], ["uint8"], [()], {}, [0], [0])
    )
)
def test_canonical_json_both_ways(document: Document) -> None:
    alone = d.encode(document)
    assert d.encode(d.decode(alone)) == alone
    table = document.tensors
    shown = d.Shown(table.names, ["uint8"] * len(table.names), [(1,)] * len(table.names))
    text = d.encode(document, shown)
    again = d.decode(text, shown)
    assert d.encode(again, shown) == text
    assert d.encode(again) == alone


@settings(max_examples=100, deadline=None)
@given(documents())
def test_check_says_yes_or_why_not(document: Document) -> None:
    try:
        d.check(document)
    except FormatError as error:
        assert isinstance(error, LimitError) or error.clause  # noqa: PT017


@settings(max_examples=300, deadline=None)
@given(_SCALARS)
def test_scalars_are_exact(value: Any) -> None:
    again = d.decode(d.encode(Document(root=value))).root
    assert type(again) is type(value)
    if isinstance(value, float):
        assert struct.pack(">d", again) == struct.pack(">d", value)
    elif isinstance(value, complex):
        assert struct.pack(">dd", again.real, again.imag) == struct.pack(">dd", value.real, value.imag)
    else:
        assert again == value


@settings(max_examples=100, deadline=None)
@given(documents(), st.data())
def test_a_text_with_one_character_changed_is_itself_or_refused(document: Document, data: st.DataObject) -> None:
    text = d.encode(document)
    at = data.draw(st.integers(0, len(text) - 1))
    changed = text[:at] + data.draw(st.sampled_from('09[]{},:"\\ratfn-. x')) + text[at + 1 :]
    try:
        assert d.encode(d.decode(changed)) == changed
    except FormatError:
        pass


def test_equal_documents_have_equal_texts() -> None:
    one = Document(environment={"a": "1", "b": "2"}, classes={"x:A": ClassInfo(), "x:B": ClassInfo()})
    two = Document(environment={"b": "2", "a": "1"}, classes={"x:B": ClassInfo(), "x:A": ClassInfo()})
    assert d.encode(one) == d.encode(two)


# --- limits and versions ----------------------------------------------------------------------------


def test_limits_of_decode() -> None:
    text = d.encode(_lists(5))
    with pytest.raises(LimitError):
        d.decode(text, limits=Limits(nodes=4))
    with pytest.raises(LimitError):
        d.decode(d.encode(_table()), limits=Limits(tensors=0))
    with pytest.raises(LimitError):
        d.decode(d.encode(Document(root=1 << 800)), limits=Limits(int_nbytes=99))
    assert d.decode(d.encode(Document(root=1 << 791)), limits=Limits(int_nbytes=99)).root == 1 << 791


def test_limits_of_check() -> None:
    d.check(_table())
    for limits in (Limits(tensors=0), Limits(rank=0), Limits(numel=5)):
        with pytest.raises(LimitError):
            d.check(_table(), limits=limits)


@pytest.mark.parametrize("version", ["0.2", "1.0", "", "\x1b[31m"])
def test_another_version(version: str) -> None:
    text = d.encode(Document()).replace('"0.1"', f'"{version}"' if version.isprintable() else '"\\u001b[31m"')
    with pytest.raises(VersionError) as caught:
        d.decode(text)
    assert caught.value.message.isprintable()


def test_a_newer_schema_is_told_by_its_version_before_its_fields() -> None:
    with pytest.raises(VersionError):
        d.decode('{"version":"7.0","whatever":[{}]}')


# --- check, clause by clause ------------------------------------------------------------------------


def _lists(levels: int) -> Document:
    nodes: list[Any] = [Seq("list", (Ref(i + 1),)) for i in range(levels - 1)]
    return Document(root=Ref(0), nodes=[*nodes, Seq("list", ())])


def _table(dtype: str = "float32", shape: tuple[int, ...] = (2, 3), **more: Any) -> Document:
    """A list of one tensor."""
    table = TensorTable(["t"], [dtype], [shape], stored=[0], flags=[0])
    for name, column in more.items():
        setattr(table, name, column)
    return Document(root=Ref(0), nodes=[Seq("list", (TensorRef(0),))], tensors=table)


def _of(*nodes: Any, root: Any = None) -> Document:
    return Document(root=Ref(0) if root is None else root, nodes=list(nodes))


def _module(*more: Any, **fields: Any) -> Document:
    known = ("parameters", "buffers", "non_persistent", "modules", "attributes", "extra_state", "hooks")
    ordered = {name: fields[name] for name in known if name in fields}
    return _of(Typed("module", 1, {"class": "a:B", "training": True} | ordered), *more)


_SIZE = Typed("torch.Size", 1, {"dims": Ref(1)})


def _with(document: Document, **parts: Any) -> Document:
    for name, part in parts.items():
        setattr(document, name, part)
    return document


def _two_of_one_name() -> Document:
    document = _table(names=["t", "t"], dtypes=["int8"] * 2, shapes=[(), ()], stored=[0, 1], flags=[0, 0])
    return _with(document, nodes=[Seq("list", (TensorRef(0), TensorRef(1)))])


def _attributed(*nodes: Any) -> Document:
    document = _table(attributes={0: Ref(1)})
    document.nodes.extend(nodes)
    return document


def _shared_attributes() -> Document:
    thing = Typed("object", 1, {"class": "a:B", "attributes": Ref(2)})
    return _of(Seq("list", (Ref(1), Ref(3))), thing, Map(("a",), (1,)), thing)


_BROKEN: dict[str, tuple[str, Callable[[], Document]]] = {
    "a tensor that is not there": ("D-4", lambda: _of(Seq("list", (TensorRef(0),)))),
    "a tensor before the first": ("D-4", lambda: _of(Seq("list", (TensorRef(-1),)))),
    "a node that is not there": ("D-4", lambda: _of(Seq("list", (Ref(1),)))),
    "a node before the first": ("D-4", lambda: _of(Seq("list", (Ref(-1),)))),
    "a root that is not there": ("D-4", lambda: _of(root=Ref(0))),
    "a node that nobody reaches": ("D-7", lambda: _of(Seq("list", ()), Seq("list", ()))),
    "nodes in another order": ("D-7", lambda: _of(Seq("list", (Ref(2), Ref(1))), Seq("list", ()), Seq("list", ()))),
    "a tensor that nobody reaches": ("D-7", lambda: _with(_table(), root=None, nodes=[])),
    "columns of other lengths": ("D-5", lambda: _table(dtypes=[])),
    "flags of another length": ("D-5", lambda: _table(flags=[])),
    "a stored tensor of no tensor": ("D-8", lambda: _table(names=["t", "u"], dtypes=["int8"] * 2, shapes=[(), ()])),
    "a stored tensor that is not there": ("D-8", lambda: _table(stored=[1])),
    "one name twice": ("D-5", _two_of_one_name),
    "strides of nothing": ("D-4", lambda: _table(strides={1: (3, 1)})),
    "a view of nothing": ("D-4", lambda: _table(views={1: View("float32", (1,), (1,), 0)})),
    "lazy bits of nothing": ("D-4", lambda: _table(lazy={1: 2})),
    "attributes of nothing": ("D-4", lambda: _table(attributes={1: None})),
    "class version 0": ("D-9", lambda: _with(_of(Seq("list", ())), classes={"a:B": ClassInfo(0)})),
    "class version -1": ("D-9", lambda: _with(_of(Seq("list", ())), classes={"a:B": ClassInfo(-(10**18))})),
    "class version huge": ("D-9", lambda: _with(_of(Seq("list", ())), classes={"a:B": ClassInfo(10**18)})),
    "an unknown dtype": ("T-1", lambda: _table("object")),
    "an unknown dtype of a view": ("T-1", lambda: _table(views={0: View("object", (), (), 0)})),
    "a negative size": ("T-2", lambda: _table(shape=(-1,))),
    "a size of True": ("T-2", lambda: _table(shape=(True,))),
    "a size of 2**63": ("T-2", lambda: _table(shape=(2**63,))),
    "strides with gaps": ("T-3", lambda: _table(strides={0: (6, 2)})),
    "strides that overlap": ("T-3", lambda: _table(strides={0: (1, 1)})),
    "strides of row-major order": ("T-3", lambda: _table(strides={0: (3, 1)})),
    "strides of another rank": ("T-3", lambda: _table(strides={0: (1,)})),
    "negative strides": ("T-3", lambda: _table(strides={0: (-3, -1)})),
    "a view past the end": ("T-4", lambda: _table(views={0: View("float32", (2,), (1,), 5)})),
    "a view whose end wraps": ("T-4", lambda: _table(views={0: View("float32", (2,), (2**61,), 0)})),
    "a view of wider elements": ("T-4", lambda: _table(views={0: View("float64", (4,), (1,), 0)})),
    "a view before the start": ("T-4", lambda: _table(views={0: View("float32", (1,), (1,), -1)})),
    "a view of negative strides": ("T-4", lambda: _table(views={0: View("float32", (2,), (-1,), 1)})),
    "a view of fewer strides": ("T-4", lambda: _table(views={0: View("float32", (2, 1), (1,), 0)})),
    "a view of everything": ("T-4", lambda: _table(views={0: View("float32", (2, 3), (3, 1), 0)})),
    "an empty view past the end": ("T-4", lambda: _table(views={0: View("float32", (0,), (1,), 7)})),
    "lazy bits of 0": ("T-5", lambda: _table(lazy={0: 0})),
    "lazy bits of 4": ("T-5", lambda: _table(lazy={0: 4})),
    "a conjugated real": ("T-5", lambda: _table(lazy={0: 1})),
    "a negated int": ("T-5", lambda: _table("int8", lazy={0: 2})),
    "flags of 4": ("T-6", lambda: _table(flags=[4])),
    "flags of -1": ("T-6", lambda: _table(flags=[-1])),
    "an int that requires a gradient": ("T-6", lambda: _table("int64", flags=[3])),
    "an unknown kind": ("K-1", lambda: _of(Typed("gadget", 1, {}))),
    "a newer kind": ("K-1", lambda: _of(Typed("torch.dtype", 2, {"name": "int8"}))),
    "kind version 0": ("K-1", lambda: _of(Typed("torch.dtype", 0, {"name": "int8"}))),
    "a field missing": ("K-2", lambda: _of(Typed("torch.dtype", 1, {}))),
    "a field more": ("K-2", lambda: _of(Typed("torch.dtype", 1, {"name": "int8", "x": 1}))),
    "fields in another order": ("K-2", lambda: _of(Typed("module", 1, {"training": True, "class": "a:B"}))),
    "a field of another type": ("K-3", lambda: _of(Typed("torch.dtype", 1, {"name": 1}))),
    "dims that are a list": ("K-3", lambda: _of(_SIZE, Seq("list", ()))),
    "dims of True": ("K-3", lambda: _of(_SIZE, Seq("tuple", (True,)))),
    "training of 1": ("K-3", lambda: _of(Typed("module", 1, {"class": "a:B", "training": 1}))),
    "a child that is no module": ("K-3", lambda: _module(Map(("a",), (Ref(2),)), Seq("list", ()), modules=Ref(1))),
    "a parameter that is no tensor": ("K-3", lambda: _module(Map(("a",), (1.5,)), parameters=Ref(1))),
    "a shared map of attributes": ("K-4", _shared_attributes),
    "a parameter called training": ("M-1", lambda: _module(Map(("training",), (None,)), parameters=Ref(1))),
    "a child with a dot": ("M-1", lambda: _module(Map(("a.b",), (None,)), modules=Ref(1))),
    "a child without a name": ("M-1", lambda: _module(Map(("",), (None,)), modules=Ref(1))),
    "an attribute of hooks": ("M-1", lambda: _module(Map(("_forward_hooks",), (None,)), attributes=Ref(1))),
    "an attribute that is compiled": (
        "M-1",
        lambda: _module(Map(("_compiled_call_impl",), (None,)), attributes=Ref(1)),
    ),
    "one name for two": (
        "M-1",
        lambda: _module(Map(("a",), (None,)), Map(("a",), (None,)), parameters=Ref(1), buffers=Ref(2)),
    ),
    "hidden and no buffer": ("M-2", lambda: _module(Seq("tuple", ("a",)), non_persistent=Ref(1))),
    "a dunder attribute": ("A-1", lambda: _module(Map(("__class__",), (None,)), attributes=Ref(1))),
    "a dunder of an object": (
        "A-1",
        lambda: _of(Typed("object", 1, {"class": "a:B", "attributes": Ref(1)}), Map(("__del__",), (1,))),
    ),
    "a dunder of a tensor": ("A-1", lambda: _attributed(Map(("__deepcopy__",), (1,)))),
    "attributes of a tensor in a list": (
        "A-1",
        lambda: _attributed(Seq("list", (Ref(2),)), Seq("tuple", ("__a__", 1))),
    ),
    "attributes of a tensor that are none": ("A-1", lambda: _table(attributes={0: None})),
    "attributes of a tensor that are a number": ("A-1", lambda: _table(attributes={0: 5})),
    "attribute names of numbers": ("A-1", lambda: _attributed(Map((5,), (1,)))),
    "a list as a key": ("V-2", lambda: _of(Map((Ref(1),), (1,)), Seq("list", ()))),
    "a list in a tuple as a key": ("V-2", lambda: _of(Map((Ref(1),), (1,)), Seq("tuple", (Ref(2),)), Seq("list", ()))),
    "an object as an element": (
        "V-2",
        lambda: _of(Seq("set", (Ref(1),)), Typed("object", 1, {"class": "a:B", "attributes": Ref(2)}), Map((), ())),
    ),
    "a key of a thousand levels": (
        "V-2",
        lambda: _of(Map((Ref(1),), (1,)), *(Seq("tuple", (Ref(i + 2),)) for i in range(1_000)), Seq("tuple", ())),
    ),
    "a key of 2**60 leaves": (
        "V-2",
        lambda: _of(
            Map((Ref(1),), (1,)), *(Seq("tuple", (Ref(i + 2), Ref(i + 2))) for i in range(60)), Seq("tuple", ())
        ),
    ),
    "a key that holds itself": ("V-2", lambda: _of(Map((Ref(1),), (1,)), Seq("tuple", (Ref(1),)))),
    "one key twice": ("V-3", lambda: _of(Map(("a", "a"), (1, 2)))),
    "1 and True": ("V-3", lambda: _of(Map((1, True), (1, 2)))),
    "0.0 and -0.0": ("V-3", lambda: _of(Seq("set", (0.0, -0.0)))),
    "one element twice": ("V-3", lambda: _of(Seq("frozenset", (b"a", b"a")))),
}


@pytest.mark.parametrize("name", _BROKEN)
def test_every_clause_is_checked(name: str) -> None:
    clause, make = _BROKEN[name]
    with pytest.raises(FormatError) as caught:
        d.check(make())
    assert caught.value.clause == clause


@pytest.mark.parametrize(
    "document",
    [
        Document(),
        _lists(50_000),
        _table(),
        _table(shape=()),
        _table(shape=(0, 2**40)),
        _table(flags=[3]),
        _table("complex64", lazy={0: 3}),
        _table(strides={0: (1, 2)}),
        _table(views={0: View("float32", (2**20,), (0,), 5)}),
        _table(views={0: View("uint8", (24,), (1,), 0)}),
        _attributed(Map(("a",), (TensorRef(0),))),
        _of(Map((Ref(1),), (1,)), Seq("tuple", (1, Ref(2))), Seq("frozenset", (2,))),
        _of(Map((float("nan"), float("nan")), (1, 2))),
        _of(Seq("list", (Ref(0),))),
        _of(Opaque("a call", {"__class__": 1})),
        _module(),
        _module(Map(("a", "b"), (None, None)), Seq("tuple", ("a",)), buffers=Ref(1), non_persistent=Ref(2)),
        _module(Map(("x.y", "_private", "__half"), (1, 2, 3)), attributes=Ref(1)),
    ],
)
def test_what_holds_is_let_pass(document: Document) -> None:
    d.check(document)
    assert d.encode(d.decode(d.encode(document))) == d.encode(document)


def test_many_keys_of_one_hash() -> None:
    keys = tuple(1 + i * (2**61 - 1) for i in range(100))
    with pytest.raises(LimitError):
        d.check(_of(Map(keys, keys)))


@given(st.lists(st.integers(0, 4), max_size=4), st.data())
def test_dense_strides(shape: list[int], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(shape))))
    strides, step = [0] * len(shape), 1
    for dimension in order:
        strides[dimension] = step
        step *= shape[dimension]
    if math.prod(shape):
        assert d.is_dense(tuple(shape), tuple(strides))
        assert d.extent(tuple(shape), tuple(strides), 7) == 7 + math.prod(shape)
        longer = [stride * 2 for stride in strides]
        assert d.is_dense(tuple(shape), tuple(longer)) == (math.prod(shape) == 1)


# --- questions --------------------------------------------------------------------------------------


def _checkpoint() -> Document:
    """{"model": {"a.w": t0, "b": t1}, "adam": {"state": {}, "param_groups": []}, 3: [t0, (5,)], None: 7}"""
    return Document(
        root=Ref(0),
        nodes=[
            Map(("model", "adam", 3, None), (Ref(1), Ref(2), Ref(5), 7)),
            Map(("a.w", "b"), (TensorRef(0), TensorRef(1))),
            Map(("state", "param_groups"), (Ref(3), Ref(4))),
            Map((), ()),
            Seq("list", ()),
            Seq("list", (TensorRef(0), Ref(6))),
            Seq("tuple", (5,)),
        ],
        tensors=TensorTable(["a.w", "b"], ["int8"] * 2, [(), ()], stored=[0, 1], flags=[0, 0]),
    )


def test_find() -> None:
    document = _checkpoint()
    d.check(document)
    for key, value in {
        None: Ref(0),
        "model": Ref(1),
        ("model",): Ref(1),
        ("model", "a.w"): TensorRef(0),
        3: Ref(5),
        (3, 0): TensorRef(0),
        (3, 1, 0): 5,
        (): Ref(0),
        (None,): 7,
    }.items():
        assert d.find(document, key, path="p") == value
    for key in ("x", ("model", "a"), ("model", "a.w", 0), (3, 2), (3, -1), (3, 1, 0, 0)):
        with pytest.raises(KeyMissingError, match="Nothing was loaded"):
            d.find(document, key, path="p")
    with pytest.raises(KeyMissingError, match="'model', 'adam', 3, None"):
        d.find(document, "nope", path="p")


def test_find_in_modules() -> None:
    document = _module(Map(("a", "b"), (1, None)), attributes=Ref(1))
    assert d.find(document, "a", path="p") == 1
    with pytest.raises(KeyMissingError, match="there are 'a', 'b'"):
        d.find(document, "training", path="p")


@pytest.mark.parametrize("key", [10**5000, "\x1b[2J", "k" * 1_000_000], ids=["digits", "escapes", "long"])
def test_find_shows_any_key(key: Any) -> None:
    document = _of(Map((key,), (1,)))
    with pytest.raises(KeyMissingError) as caught:
        d.find(document, "model", path="p")
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 10_000


def test_state_dict_of() -> None:
    document = _checkpoint()
    found = d.state_dict_of(document, Ref(1))
    assert found is not None
    assert found.rows == {"a.w": 0, "b": 1}
    for value in (Ref(0), Ref(3), Ref(4), 5, None, TensorRef(0)):
        assert d.state_dict_of(document, value) is None
    assert [key for key, _ in d.parts_with_weights(document, document.root)] == ["model"]
    assert d.is_optimizer(document, Ref(2))
    assert not d.is_optimizer(document, Ref(1))


def test_state_dict_of_a_module_tree() -> None:
    def node(**fields: Any) -> Typed:
        return Typed("module", 1, {"class": "a:B", "training": True} | fields)

    document = Document(
        root=Ref(0),
        nodes=[
            node(parameters=Ref(1), buffers=Ref(2), non_persistent=Ref(3), modules=Ref(4), extra_state=5),
            Map(("w", "none"), (TensorRef(0), None)),
            Map(("kept", "hidden"), (TensorRef(1), TensorRef(2))),
            Seq("tuple", ("hidden",)),
            Map(("one", "gone", "two"), (Ref(5), None, Ref(5))),
            node(parameters=Ref(6), extra_state="x"),
            Map(("v",), (TensorRef(3),)),
        ],
        tensors=TensorTable(list("abcd"), ["float32"] * 4, [()] * 4, stored=[0, 1, 2, 3], flags=[3, 0, 0, 3]),
    )
    d.check(document)
    found = d.state_dict_of(document, Ref(0))
    assert found is not None
    assert found.rows == {"w": 0, "kept": 1, "one.v": 3, "two.v": 3}
    assert list(found.rows) == ["w", "kept", "one.v", "two.v"]
    assert found.extra == {"_extra_state": 5, "one._extra_state": "x", "two._extra_state": "x"}


@pytest.mark.parametrize("weights", [False, True])
def test_a_tree_that_shares_its_children_ends(weights: bool) -> None:
    """2**40 names from 80 lines: refused, with or without a tensor at the end."""
    nodes: list[Any] = []
    for level in range(40):
        nodes.append(Typed("module", 1, {"class": "a:B", "training": True, "modules": Ref(2 * level + 1)}))
        nodes.append(Map(("a", "b"), (Ref(2 * level + 2), Ref(2 * level + 2))))
    nodes.append(Typed("module", 1, {"class": "a:B", "training": True} | ({"parameters": Ref(81)} if weights else {})))
    table = TensorTable()
    if weights:
        nodes.append(Map(("w",), (TensorRef(0),)))
        table = TensorTable(["w"], ["float32"], [()], stored=[0], flags=[3])
    document = Document(root=Ref(0), nodes=nodes, tensors=table)
    d.check(document)
    with _seconds(5), pytest.raises(LimitError):
        d.state_dict_of(document, Ref(0))


@contextmanager
def _seconds(count: int) -> Iterator[None]:
    """A hang fails the test rather than the run."""

    def ring(number: int, frame: Any) -> None:
        raise TimeoutError(f"not done after {count} s")

    if not hasattr(signal, "SIGALRM"):
        pytest.skip("no alarm clock")
    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(count)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_reachable_and_needs() -> None:
    document = _checkpoint()
    assert document.reachable(Ref(5)) == ([5, 6], [0])
    assert document.reachable(7) == ([], [])
    needs = _of(
        Seq("list", (Ref(1), Ref(2), Ref(3))), *(Typed("function", 1, {"name": name}) for name in ("a:b", "a:b", "c:d"))
    )
    assert list(needs.needs()) == [("a:b", "function"), ("c:d", "function")]


def test_100_000_tensors_with_long_names_fit() -> None:
    count = 100_000
    names = [f"{i:06d}" + "n" * 58 for i in range(count)]
    table = TensorTable(
        names, ["float32"] * count, [(4096, 4096)] * count, stored=list(range(count)), flags=[3] * count
    )
    document = Document(root=Ref(0), nodes=[Map(tuple(names), tuple(map(TensorRef, range(count))))], tensors=table)
    planned = layout(document)
    assert planned.nbytes - count * 4 * 4096**2 < 25_000_000
    assert len(planned.header([0] * count)) < 25_000_000
