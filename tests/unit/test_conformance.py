"""The standard, its vectors, its checker and our reader say the same.

``spec/check.py`` is a second reader, which shares no code with ours. The vectors say of each file what the
standard says of it; generated files say only that both readers agree, and that neither takes what the
safetensors library refuses.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import safetensors
import xxhash

from torchkeep.containers import Contents, read
from torchkeep.document import (
    CARRYING_KINDS,
    ITEMSIZE,
    TENSOR_KINDS,
    Node,
    Opaque,
    TensorRef,
    Typed,
    Value,
    View,
    row_major,
)
from torchkeep.errors import DigestError, FormatError, LimitError, LoadError
from torchkeep.storage import open_source

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "spec"
ACCEPT = sorted((SPEC / "vectors" / "accept").glob("*.safetensors"))
REJECT = sorted((SPEC / "vectors" / "reject").glob("*.safetensors"))
CLAUSE = re.compile(r"[HNDTKMAVG]-[0-9]+")


def _module(path: Path) -> ModuleType:
    name = f"conformance_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


checker = _module(SPEC / "check.py")
vectors = _module(SPEC / "vectors" / "make.py")


def _clause(path: Path) -> str:
    return "LIMIT" if path.stem.startswith("LIMIT") else "-".join(path.stem.split("-")[:2])


def _ids(path: Path) -> str:
    return path.stem


def _checker_says(data: bytes) -> str:
    try:
        checker.check(data)
    except checker.Reject as error:
        return str(error.clause)
    return "accept"


def _of_objects(clause: str) -> bool:
    """Whether a reader may leave a clause until it builds."""
    return clause.startswith("V") or clause in ("K-5", "M-3", "LIMIT")


def _reader_says(path: Path, *, build: bool) -> str:
    """The clause that our reader reports, as far as a load comes that trusts nobody's classes."""
    try:
        with open_source(path) as source:
            contents = read(source)
            placement = contents.placement
            if placement.digests is not None:
                names = contents.document.tensors.names
                source.check(zip(placement.spans, placement.digests, names, strict=True))
        if build:
            _build(contents, path.read_bytes())
    except LimitError as error:
        return error.clause or "LIMIT"
    except DigestError as error:
        return error.clause or "N-5"
    except FormatError as error:
        return error.clause or type(error).__name__
    except LoadError as error:
        return type(error).__name__
    return "accept"


def _build(contents: Contents, data: bytes) -> None:
    """Put the object together: some clauses need what only then is there."""
    import torch

    from torchkeep.values.audit import Audit
    from torchkeep.values.build import build
    from torchkeep.values.trust import Opened

    document = contents.document
    if any(isinstance(node, Opaque) for node in document.nodes):
        raise LoadError("what can only be described is never built")
    held = {value.index for node in document.nodes for value in _data_of(node) if isinstance(value, TensorRef)}
    tensors = {row: torch.zeros(()) for row in range(len(document.tensors))}
    tensors |= {row: _tensor(contents, data, row) for row in held}
    recurrent = (torch.nn.RNNBase, torch.nn.RNN, torch.nn.LSTM, torch.nn.GRU)
    opened = {(f"torch.nn:{cls.__name__}", "module"): Opened(cls, "table") for cls in recurrent}
    build(document, document.root, tensors, Audit(opened))  # type: ignore[arg-type]


def _tensor(contents: Contents, data: bytes, row: int) -> Any:
    """A tensor as a load makes it, whatever its dtype: its bytes in the order of its memory, and a view of these."""
    import torch

    table, stored = contents.document.tensors, contents.document.tensors.stored[row]
    span, itemsize = contents.placement.spans[stored], ITEMSIZE[table.dtypes[stored]]
    shape = table.shapes[stored]
    strides = table.strides.get(stored) or row_major(shape)
    memory = torch.empty_strided((*shape, itemsize), (*(step * itemsize for step in strides), 1), dtype=torch.uint8)
    if span.nbytes:
        content = bytearray(data[span.offset : span.offset + span.nbytes])
        memory.copy_(torch.frombuffer(content, dtype=torch.uint8).reshape(memory.shape))
    view = table.views.get(row) or View(table.dtypes[stored], shape, strides, 0)
    empty = torch.empty(0, dtype=getattr(torch, view.dtype))
    return empty.set_(memory.untyped_storage(), view.offset, view.shape, view.strides)


def _data_of(node: Node) -> list[Value]:
    """What of a node is looked into when it is built."""
    kinds = TENSOR_KINDS | CARRYING_KINDS
    return list(node.fields.values()) if isinstance(node, Typed) and node.kind in kinds else []


# --- the vectors --------------------------------------------------------------------------------------


def test_the_vectors_are_what_make_writes(tmp_path: Path) -> None:
    vectors.write(tmp_path)
    for folder in ("accept", "reject"):
        kept = {path.name: path.read_bytes() for path in (SPEC / "vectors" / folder).iterdir()}
        made = {path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()}
        assert kept.keys() == made.keys()
        assert [name for name in kept if kept[name] != made[name]] == []


@pytest.mark.parametrize("path", ACCEPT, ids=_ids)
def test_everyone_accepts(path: Path) -> None:
    data = path.read_bytes()
    assert _checker_says(data) == "accept"
    assert _reader_says(path, build=False) == "accept"
    assert _reader_says(path, build=True) in ("accept", "LoadError")
    safetensors.deserialize(data)


@pytest.mark.parametrize("path", REJECT, ids=_ids)
def test_both_readers_refuse_by_the_clause(path: Path) -> None:
    clause = _clause(path)
    assert _checker_says(path.read_bytes()) == clause
    assert _reader_says(path, build=_of_objects(clause)) == clause
    assert path.with_suffix(".txt").read_text().count("\n") == 1


@pytest.mark.parametrize("path", ACCEPT, ids=_ids)
def test_the_twin_says_what_the_file_says(path: Path) -> None:
    twin = json.loads(path.with_suffix(".json").read_text())
    with open_source(path) as source:
        contents = read(source)
    assert list(twin["tensors"]) == list(contents.document.tensors.names)
    spans = [[span.offset - twin["data_begins"], span.offset - twin["data_begins"] + span.nbytes]
             for span in contents.placement.spans]  # fmt: skip
    assert [entry["data_offsets"] for entry in twin["tensors"].values()] == spans
    assert twin["nbytes"] == path.stat().st_size
    if contents.kind == "torchkeep":
        assert len(twin["document"]["nodes"]) == len(contents.document.nodes)
        assert twin["document"]["environment"] == contents.document.environment
        assert twin["digests"][1:] == [f"{digest:016x}" for digest in contents.placement.digests or ()]
    else:
        assert (twin["metadata"] or {}) == contents.metadata


def test_a_path_or_more_on_the_command_line() -> None:
    good, bad = ACCEPT[0], SPEC / "vectors" / "reject" / "T-3-gap.safetensors"
    command = [sys.executable, "-I", str(SPEC / "check.py")]
    one = subprocess.run([*command, str(good)], capture_output=True, text=True, check=False)
    assert (one.returncode, one.stdout) == (0, "accept\n")
    two = subprocess.run([*command, str(good), str(bad)], capture_output=True, text=True, check=False)
    assert two.returncode == 1
    assert two.stdout.splitlines()[0].endswith(": accept")
    assert ": reject T-3: " in two.stdout


# --- the clauses --------------------------------------------------------------------------------------


def _clauses_of_the_standard() -> set[str]:
    found = re.findall(r"^\*\*([HNDTKMAVG]-[0-9]+)\*\*", (SPEC / "format.md").read_text(), flags=re.MULTILINE)
    assert len(set(found)) == len(found), "a clause is defined twice"
    return set(found)


def _clauses_in(*paths: Path) -> set[str]:
    return {clause for path in paths for clause in CLAUSE.findall(path.read_text())}


def test_the_standard_the_code_and_the_vectors_have_the_same_clauses() -> None:
    standard = _clauses_of_the_standard()
    raised = set()
    for path in (ROOT / "src").rglob("*.py"):
        raised |= set(re.findall(r'"([HNDTKMAVG]-[0-9]+)"', path.read_text()))
    assert raised == standard
    assert _clauses_in(*(ROOT / "src" / "torchkeep" / "document").glob("*.py")) <= standard
    assert _clauses_in(*(ROOT / "src" / "torchkeep" / "containers").glob("*.py")) <= standard
    assert set(re.findall(r'"([HNDTKMAVG]-[0-9]+)"', (SPEC / "check.py").read_text())) == standard
    assert {_clause(path) for path in REJECT} - {"LIMIT"} == standard
    assert _clauses_in(SPEC / "format.md") <= standard


def test_the_checker_needs_python_alone() -> None:
    imported = re.findall(r"^(?:from|import) (\w+)", (SPEC / "check.py").read_text(), flags=re.MULTILINE)
    assert set(imported) <= sys.stdlib_module_names


# --- the digest ---------------------------------------------------------------------------------------


def test_the_checkers_xxh3_is_xxh3() -> None:
    rng = random.Random(3)
    near = {1024 * k + d for k in (1, 2, 3, 8) for d in (-65, -64, -63, -1, 0, 1, 63, 64, 65)}
    lengths = [*range(600), *sorted(near), *(rng.randrange(4000) for _ in range(1500)), 50_000]
    for length in lengths:
        data = rng.randbytes(length)
        assert checker.xxh3_64(data) == xxhash.xxh3_64_intdigest(data), length


# --- files that nobody wrote --------------------------------------------------------------------------


def _agree(data: bytes, path: Path) -> tuple[str, str]:
    """Hold both readers, and the safetensors library, against each other on one file."""
    path.write_bytes(data)
    by_checker = _checker_says(data)
    by_reader = _reader_says(path, build=_of_objects(by_checker))
    assert (by_checker == "accept") == (by_reader == "accept"), (by_checker, by_reader, data[:2000])
    if by_reader == "accept":
        assert _reader_says(path, build=True) in ("accept", "LoadError")
        safetensors.deserialize(data)
    return by_checker, by_reader


PIECES = [b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b" ", b"\n", b"\t", b"\0", b"0", b"1", b"-1", b"-0", b"1.0",
          b"1e0", b"9" * 30, b"true", b"null", b"NaN", b'"a"', b'"dtype"', b'"U8"', b'"F4"', b"\xff", b"\xc3\xa9",
          b"\\u0061", b"\\ud800", b"\\ud83d\\ude00", b'"__metadata__":{},', b'"x":1,', b"[]", b"{}", b"/", b"\x0c",
          b"18446744073709551616", b'"shape"', b'"data_offsets"']  # fmt: skip


def _damaged(header: bytes, rng: random.Random) -> bytes:
    """A header with one to three edits."""
    tokens = re.findall(rb'"(?:[^"\\]|\\.)*"|-?\d+|\s+|.', header, flags=re.DOTALL)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at = rng.randrange(len(tokens)) if tokens else 0
        end = min(len(tokens), at + rng.choice((1, 1, 2, 5, 11)))
        edit = rng.randrange(6)
        if edit == 0:
            tokens[at:at] = [rng.choice(PIECES)]
        elif edit == 1:
            tokens[at : at + 1] = [rng.choice(PIECES)]
        elif edit == 2:
            del tokens[at:end]
        elif edit == 3:
            tokens[at:at] = tokens[at:end]
        elif edit == 4:
            other = rng.randrange(len(tokens)) if tokens else 0
            tokens[at:end], tokens[other:other] = [], tokens[at:end]
        else:
            numbers = [i for i, token in enumerate(tokens) if token.isdigit()]
            if numbers:
                i = rng.choice(numbers)
                tokens[i] = b"%d" % max(0, int(tokens[i]) + rng.choice((-8, -1, 1, 2, 8)))
    return b"".join(tokens)


def _split(path: Path) -> tuple[bytes, bytes]:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    return data[8 : 8 + length], data[8 + length :]


PLAIN = [path for path in ACCEPT if path.stem.startswith("plain")]
NATIVE = [path for path in ACCEPT if not path.stem.startswith("plain")]


def test_readers_agree_on_damaged_plain_headers(tmp_path: Path) -> None:
    rng = random.Random(11)
    verdicts = []
    for path in itertools.islice(itertools.cycle(PLAIN), 3000):
        header, data = _split(path)
        data = data[: -rng.randrange(1, 3)] if rng.random() < 0.03 else data
        verdicts.append(_agree(vectors.framed(_damaged(header, rng), data), tmp_path / "a.safetensors"))
    clauses = {by_checker for by_checker, _ in verdicts}
    assert {"accept", "H-2", "H-3", "H-4", "H-5", "H-6"} <= clauses


def test_readers_agree_on_damaged_lengths(tmp_path: Path) -> None:
    rng = random.Random(12)
    for path in itertools.islice(itertools.cycle(ACCEPT), 300):
        data = bytearray(path.read_bytes())
        data[rng.randrange(8)] ^= 1 << rng.randrange(8)
        by_checker, _ = _agree(bytes(data), tmp_path / "a.safetensors")
        assert by_checker != "accept"


def test_readers_agree_on_damaged_native_headers(tmp_path: Path) -> None:
    """Any edit of the header, with the header's own digest made right again."""
    rng = random.Random(13)
    for path in itertools.islice(itertools.cycle(NATIVE), 1000):
        header, data = _split(path)
        damaged = _damaged(header.rstrip(), rng)
        damaged = damaged.ljust(len(header)) if rng.random() < 0.9 else damaged
        if damaged.startswith(vectors.PREFIX):
            _agree(vectors.sealed(damaged, data), tmp_path / "a.safetensors")
        else:
            _agree(vectors.framed(damaged, data), tmp_path / "a.safetensors")


def test_readers_agree_on_flipped_bits(tmp_path: Path) -> None:
    rng = random.Random(14)
    for path in itertools.islice(itertools.cycle(NATIVE), 400):
        data = bytearray(path.read_bytes())
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        by_checker, _ = _agree(bytes(data), tmp_path / "a.safetensors")
        assert by_checker != "accept"


LEAVES = [None, True, False, 0, 1, -1, 2, 3, 5, 2**53, 2**62, 2**63, 2**64, "", "0", "a", "float32", "int8", "uint8",
          "complex128", "U8", [], {}, [0], ["t", 0], ["t", 1], ["t", 99], ["r", 0], ["r", 1], ["r", 2], ["=", 0],
          ["=", 3], ["i", "0x20000000000000"], ["i", "-0x1"], ["f", "1.5"], ["f", "nan"], ["f", "1"], ["b", "YQ=="],
          ["s", "7aCA"], ["c", "1.0", "-0.0"], ["seq", "list", []], ["map", [], []], ["o", 0, []], ["m", 0, []],
          "list", "tuple", "set",
          "module", "torch.dtype", "__class__", "name"]  # fmt: skip


def _slots(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a JSON value where something can be put, as (holder, index or key)."""
    stack = [value]
    while stack:
        holder = stack.pop()
        places = holder.items() if isinstance(holder, dict) else enumerate(holder)
        for at, item in places:
            yield holder, at
            if isinstance(item, dict | list):
                stack.append(item)


def _change_keys(holder: dict[str, Any], at: str, rng: random.Random) -> None:
    item = holder.pop(at)
    if rng.random() < 0.6:  # renamed, or moved to the end
        holder[rng.choice((at, at, at + "s", "name", "attributes", "class"))] = item


def _changed(document: Any, rng: random.Random) -> Any:
    """A Document's JSON with one to three changes of its tree."""
    document = json.loads(json.dumps(document))
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        slots = list(_slots(document))
        holder, at = rng.choice(slots)
        edit = rng.randrange(9)
        if edit == 0:
            other, there = rng.choice(slots)
            holder[at] = json.loads(json.dumps(other[there]))
        elif edit == 1 and isinstance(holder, list):
            del holder[at]
        elif edit == 2 and isinstance(holder, list):
            holder.insert(at, json.loads(json.dumps(rng.choice(LEAVES))))
        elif edit == 3 and isinstance(holder, list):
            other_at = rng.randrange(len(holder))
            holder[at], holder[other_at] = holder[other_at], holder[at]
        elif edit == 4 and type(holder[at]) is int:
            holder[at] += rng.choice((-1, 1, 2))
        elif edit in (5, 6) and type(holder[at]) is str:
            text = holder[at]
            holder[at] = rng.choice((text + "0", text[:-1], text.upper(), text[1:], "__" + text + "__"))
        elif edit in (5, 6, 7) and isinstance(holder, dict):
            _change_keys(holder, at, rng)
        else:
            holder[at] = json.loads(json.dumps(rng.choice(LEAVES)))
    return document


def _random_graph(rng: random.Random) -> list[Any]:
    """Nodes that refer to each other in all ways that their kinds allow, numbered in walking order."""
    count = rng.randrange(2, 9)
    kinds = rng.choices(["list", "tuple", "set", "frozenset", "map", "custom", "object", "partial", "OrderedDict"],
                        [1, 4, 1, 3, 5, 3, 1, 2, 1], k=count)  # fmt: skip
    maps = [i for i, kind in enumerate(kinds) if kind == "map"] or [0]
    tuples = [i for i, kind in enumerate(kinds) if kind == "tuple"] or [0]
    callables = [i for i, kind in enumerate(kinds) if kind in ("custom", "object")] or [0]

    def value() -> Any:
        return ["r", rng.randrange(count)] if rng.random() < 0.6 else rng.choice(["a", "b", None, 1])

    def node(kind: str) -> list[Any]:
        own = ["r", rng.choice(maps)]
        if kind == "map":
            keys = [value() if rng.random() < 0.3 else name for name in "xyz"[: rng.randrange(3)]]
            return ["map", keys, [value() for _ in keys]]
        if kind == "custom":
            return ["typed", "custom", 1, {"class": "a:B", "state": own if rng.random() < 0.5 else value()}]
        if kind == "object":
            return ["typed", "object", 1, {"class": "a:B", "attributes": own}]
        if kind == "partial":
            function = ["r", rng.choice(callables) if rng.random() < 0.9 else rng.randrange(count)]
            args = ["r", rng.choice(tuples)]
            return ["typed", "partial", 1, {"function": function, "args": args, "keywords": own}]
        if kind == "OrderedDict":
            return ["typed", "OrderedDict", 1, {"items": own}]
        return ["seq", kind, [value() for _ in range(rng.randrange(3))]]

    nodes = [node(kind) for kind in kinds]
    order: dict[int, None] = {}
    stack = [0]
    while stack:
        at = stack.pop()
        if at not in order:
            order[at] = None
            stack.extend(index for index in reversed(list(_walked(nodes[at]))))
    renumbered = {old: new for new, old in enumerate(order)}
    for at in order:
        for holder, key in _slots(nodes[at]):
            if isinstance(holder[key], list) and holder[key][:1] == ["r"]:
                holder[key] = ["r", renumbered[holder[key][1]]]
    return [nodes[at] for at in order]


def _walked(node: list[Any]) -> Iterator[int]:
    """What a node refers to, in walking order."""
    parts: Any = node[-1].values() if isinstance(node[-1], dict) else node[-1]
    if node[0] == "map":
        parts = itertools.chain.from_iterable(zip(node[1], node[2], strict=True))
    return (part[1] for part in parts if isinstance(part, list))


def test_readers_agree_on_who_holds_whom(tmp_path: Path) -> None:
    """Keys, cycles and maps of one's own, in small graphs of every shape."""
    rng = random.Random(16)
    clauses = Counter()
    for _ in range(3000):
        text = vectors.text_of(["r", 0], _random_graph(rng))
        clauses[_agree(vectors.composed(text), tmp_path / "a.safetensors")[0]] += 1
    assert clauses.keys() == {"accept", "K-3", "K-4", "V-2", "V-3", "V-4"}
    assert min(clauses.values()) >= 10, clauses


# --- work that stays proportional to the file ---------------------------------------------------------


def _crowd(name: str, n: int) -> bytes:
    """A file in which a shortcut takes n * n steps."""
    every = [["r", i] for i in range(1, n)]
    everyone = ["seq", "list", every]
    empty = ["seq", "tuple", []]
    if name == "a chain of pairs as keys of sets":
        nodes = [["seq", "set", [["r", 1]]], *[["seq", "tuple", [["r", i], ["r", i]]] for i in range(2, n)], empty]
    elif name == "a chain of frozensets":
        nodes = [*[["seq", "frozenset", [["r", i]]] for i in range(1, n)], ["seq", "frozenset", []]]
    elif name == "one large tuple in many sets":
        of_one = ["seq", "set", [["r", 2]]]
        nodes = [["seq", "list", [["r", 1], *[["r", i] for i in range(3, n)]]], of_one,
                 ["seq", "tuple", [0] * n], *[of_one] * (n - 3)]  # fmt: skip
    elif name == "one map as the attributes of many":
        owner = ["typed", "object", 1, {"class": "a:B", "attributes": ["r", 2]}]
        entries = ["map", [f"k{i}" for i in range(n)], [None] * n]
        nodes = [["seq", "list", [["r", 1], *[["r", i] for i in range(3, n)]]], owner, entries, *[owner] * (n - 3)]
    elif name == "one tuple as the non-persistent buffers of many":
        module = {"class": "a:B", "training": True, "buffers": ["r", 2], "non_persistent": ["r", 3]}
        names = [f"{i:07}" for i in range(n)]
        nodes = [everyone, ["typed", "module", 1, module], ["map", names, [None] * n], ["seq", "tuple", names]]
        for i in range(4, n - 1, 2):
            nodes += [["typed", "module", 1, module | {"buffers": ["r", i + 1]}], ["map", [], []]]
        everyone[2] = [["r", 1], *[["r", i] for i in range(4, len(nodes), 2)]]
    else:
        assert name == "keys of one hash"
        nodes = [["map", [["i", hex(i * (2**61 - 1))] for i in range(1, n)], [None] * (n - 1)]]
    return vectors.composed(vectors.text_of(["r", 0], nodes))


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("a chain of pairs as keys of sets", "V-2"),
        ("a chain of frozensets", "V-2"),
        ("one large tuple in many sets", "V-2"),
        ("one map as the attributes of many", "K-4"),
        ("one tuple as the non-persistent buffers of many", "K-4"),
        ("keys of one hash", "LIMIT"),
    ],
)
def test_work_grows_with_the_file(name: str, verdict: str, tmp_path: Path) -> None:
    for n in (3000, 30_000):
        began = time.process_time()
        assert _agree(_crowd(name, n), tmp_path / "a.safetensors") == (verdict, verdict)
    assert time.process_time() - began < 10


def test_readers_agree_on_changed_documents(tmp_path: Path) -> None:
    """Any change of a Document, written canonically, in a header that is right."""
    rng = random.Random(15)
    clauses = set()
    for path in itertools.islice(itertools.cycle(NATIVE), 4000):
        header, data = _split(path)
        entries = json.loads(header)
        metadata = entries["__metadata__"]
        document = _changed(json.loads(metadata["torchkeep"]), rng)
        text = vectors.dump(document).decode("utf-8")
        column = "0" * 16 + metadata["torchkeep.digests"][16:]
        metadata |= {"torchkeep.digests": column, "torchkeep": text}
        whole = vectors.sealed(vectors.spaced(vectors.dump(entries)), data)
        clauses.add(_agree(whole, tmp_path / "a.safetensors")[0])
    assert {"accept", "D-1", "D-2", "D-3", "D-4", "D-5", "D-7", "K-1", "K-2", "K-3", "T-1", "T-4"} <= clauses
