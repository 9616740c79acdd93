"""`diff` is empty for what is the same, says the same in both directions, and finds a change where it was made."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from torchkeep import document, values
from torchkeep.document import Changes, Document
from torchkeep.report import DiffReport, tell

Side = tuple[Document, list[int]]

few = st.sampled_from([None, 0, 1, True, False, 1.0, 0.0, -0.0, float("nan"), "", "a", b"a", 2**60, "x" * 17_000])
"""Few enough that two draws are often the same, or nearly."""

hashable = st.sampled_from(["a", "b", "a.b", 0, 1, None, (1, "a"), frozenset({1, "a"}), torch.float32])
patient = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], max_examples=150)


def side(obj: Any) -> Side:
    encoded = values.encode(obj)
    table = encoded.document.tensors
    digests = [xxh3_64_intdigest(bytes(buffer)) for buffer in encoded.packed.buffers(range(len(table.names)))]
    encoded.document.environment.clear()
    encoded.document.findings.clear()
    return encoded.document, digests


def changes(a: Side, b: Side) -> Changes:
    return document.diff(a[0], b[0], a[1], b[1], start_a=a[0].root, start_b=b[0].root)


def report(a: Any, b: Any) -> DiffReport:
    one, other = side(a), side(b)
    return tell(changes(one, other), one[0], other[0], path_a="a", path_b="b")


@st.composite
def graphs(draw: st.DrawFn) -> Any:
    """A small graph out of few parts: with sharing, cycles and views."""
    made: list[Any] = []
    mutable: list[Any] = []
    base = torch.arange(draw(st.integers(4, 5)))

    def value(depth: int) -> Any:
        kind = draw(st.integers(0, 9))
        if made and kind == 0:
            return made[draw(st.integers(0, len(made) - 1))]
        if depth == 0 or kind <= 3:
            return draw(few)
        if kind == 4:
            obj: Any = [base, base[1:3], base.clone(), torch.nn.Parameter(base.float()), base.view(-1, 1)][
                draw(st.integers(0, 4))
            ]
        elif kind == 5:
            obj = draw(st.sets(hashable, max_size=2))
        elif kind == 6:
            obj = tuple(value(depth - 1) for _ in range(draw(st.integers(0, 2))))
        else:
            obj = [value(depth - 1) for _ in range(draw(st.integers(0, 2)))]
            if kind > 7:
                obj = {draw(hashable): each for each in obj}
            mutable.append(obj)
        made.append(obj)
        return obj

    root = value(3)
    if mutable and draw(st.booleans()):
        holder = mutable[draw(st.integers(0, len(mutable) - 1))]
        held = made[draw(st.integers(0, len(made) - 1))]
        if isinstance(holder, list):
            holder.append(held)
        else:
            holder["knot"] = held
    return root


@patient
@given(graphs(), graphs())
def test_nothing_differs_where_documents_and_digests_are_equal(one: Any, other: Any) -> None:
    a, b = side(one), side(other)
    equal = (document.encode(a[0]), a[1]) == (document.encode(b[0]), b[1])
    assert (not changes(a, b).changes) == equal
    assert (not changes(b, a).changes) == equal
    assert changes(a, a).changes == changes(b, side(other)).changes == []


OPPOSITE = {"added": "removed", "removed": "added"}


@patient
@given(graphs(), graphs())
def test_the_other_direction_says_the_same(one: Any, other: Any) -> None:
    there, back = report(one, other), report(other, one)
    there.text()
    assert there.tensors_equal == back.tensors_equal
    if any(each.kind in ("order", "sharing") for each in (*there.differences, *back.differences)):
        return  # what stands for what then hangs on which is met first
    mirrored = [
        (OPPOSITE.get(d.kind, d.kind), d.new_path or d.path, d.new_path and d.path, d.what, d.tensor)
        for d in back.differences
    ]
    assert sorted(map(repr, mirrored)) == sorted(
        repr((d.kind, d.path, d.new_path, d.what, d.tensor)) for d in there.differences
    )


trees = st.recursive(
    few,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", 0, 1, None]), inner, max_size=3)
    ),
    max_leaves=12,
)


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place of a tree but its root."""
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [found for step, each in entries for found in ((*path, step), *places(each, (*path, step)))]


def holder_of(tree: Any, path: tuple[Any, ...]) -> Any:
    for step in path[:-1]:
        tree = tree[step]
    return tree


def copied(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: copied(each) for key, each in tree.items()}
    return [copied(each) for each in tree] if isinstance(tree, list) else tree


@patient
@given(trees, st.data())
def test_one_change_is_told_at_its_place_and_nothing_else(tree: Any, data: st.DataObject) -> None:
    tree = copied([tree])  # a long text that was drawn twice is one object, and then sharing would change, too
    path = data.draw(st.sampled_from(places(tree)))
    change = data.draw(st.sampled_from(["value", "removed", "tensor"]))
    other = copied(tree)
    holder, step = holder_of(other, path), path[-1]
    if change == "value":
        holder[step] = "something else"
        expected = {"kind", "value"}
    elif change == "tensor":
        holder[step] = torch.ones(2)
        expected = {"kind"}
    else:
        if isinstance(holder, list) and step != len(holder) - 1:
            return  # what comes after it moves
        del holder[step]
        expected = {"removed"}
    (found,) = report(tree, other).differences
    assert found.path == path
    assert found.kind in expected
    assert report(other, other).equal
