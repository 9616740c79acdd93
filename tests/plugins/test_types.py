"""A real class through the suite: what a tokenizer holds, with a table that two of them may share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import torchkeep
from torchkeep.testing import TypeSuite, same
from torchkeep.values import registry


class Tokens:
    """Texts with a number each, an embedding of each, and behaviour that torchkeep would not run by itself."""

    __slots__ = ("index", "notes", "table")

    def __init__(self, texts: list[str], table: torch.Tensor, notes: Any = None) -> None:
        if not all(isinstance(text, str) for text in texts) or len(set(texts)) != len(texts):
            raise ValueError("tokens are texts, each once")
        if not isinstance(table, torch.Tensor) or table.shape[:1] != (len(texts),):
            raise ValueError("a row of the table for each token")
        self.index = {text: i for i, text in enumerate(texts)}
        self.table = table
        self.notes = notes

    def __reduce__(self) -> Any:
        raise TypeError("tokens are not pickled")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokens) and same(self.state(), other.state())

    __hash__ = None  # type: ignore[assignment]

    def state(self) -> dict[str, Any]:
        return {"texts": list(self.index), "table": self.table, "notes": self.notes}

    @staticmethod
    def from_state(state: Any) -> Tokens:
        return Tokens(state["texts"], state["table"], state["notes"])


class TestTokens(TypeSuite):
    @pytest.fixture(autouse=True)
    def _registered(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(registry, "_by_class", dict(registry._by_class))
        torchkeep.register(Tokens, encode=Tokens.state, decode=Tokens.from_state)

    def make_objects(self) -> list[Tokens]:
        return [
            Tokens([], torch.empty(0, 4)),
            Tokens(["a", "b"], torch.arange(8.0).reshape(2, 4)),
            Tokens(["b", "a"], torch.arange(8.0).reshape(2, 4), notes={"made": [1, (2, "x")]}),
        ]

    def make_hostile_states(self) -> list[Any]:
        table = torch.zeros(2, 4)
        return [
            {},
            {"texts": ["a", "a"], "table": table, "notes": None},
            {"texts": ["a", 1], "table": table, "notes": None},
            {"texts": ["a"], "table": table, "notes": None},
            {"texts": ["a", "b"], "table": [0, 0], "notes": None},
        ]

    def make_unsaveable(self) -> list[Tokens]:
        return [Tokens([], torch.empty(0), notes=lambda: None)]

    def make_cycle(self) -> Tokens:
        tokens = Tokens([], torch.empty(0), notes=[])
        tokens.notes.append(tokens)
        return tokens

    def test_the_table_is_shared(self, tmp_path: Path) -> None:
        """What the class holds is part of the whole: tied to the model that uses it."""
        embedding = torch.nn.Embedding(2, 3)
        embedding.tokens = Tokens(["a", "b"], embedding.weight)
        torchkeep.save(embedding, tmp_path / "x.safetensors")
        loaded = torchkeep.load(tmp_path / "x.safetensors")
        assert loaded.tokens.table is loaded.weight
