"""How the weights of a file fit a model that somebody built, and the `rename=` that makes them fit.

What is proposed is held against the model by the very check that `load_into` makes. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from ..document import Document, Fit, StateDict, Sure, Typed, Value, shape_of
from ..errors import BindError, LoadError
from .bind import Match, SameBytes, match, tensors_of
from .binding import _weights, bind
from .names import Renames
from .renaming import Kind, propose, renamings

_MAX_PAIRS = 2000
"""Most pairs that a call is spelled out for."""

Matcher = Callable[[list[tuple[str, str]]], "Match | None"]


@dataclass(frozen=True, slots=True)
class Fitting:
    """A fit, and what `load_into` is to be told.

    Attributes:
        fit: what a report has.
        allow: what need not fit: words of `allow`.
        assign: whether the model holds no values yet.
        checked: whether `load_into` would get past its checks with this.
    """

    fit: Fit
    allow: tuple[str, ...] = ()
    assign: bool = False
    checked: bool = False


def fit_of(document: Document, start: Value, model: torch.nn.Module, *, path: str, same_bytes: SameBytes) -> Fitting:
    """Compare names and shapes, and look for names that would fit better.

    Args:
        document: a checked Document.
        start: the part of it.
        model: what the weights are for; it stays as it is.
        path: the file, for messages.
        same_bytes: whether two stored tensors have the same bytes.
    """
    try:
        part, weights = _weights(document, start, path)
    except BindError as error:
        return Fitting(Fit(problem=error.text))
    targets = tensors_of(model)
    assign = any(target.device.type == "meta" for target in targets.values())

    def matched(pairs: list[tuple[str, str]]) -> Match | None:
        renames = Renames(pairs)
        try:
            found = match(document, weights, model, renames=renames, assign=assign, same_bytes=same_bytes, where=path)
            renames.require_used(path)
        except BindError:
            return None
        return found

    before = matched([])
    if before is None:
        return Fitting(Fit(part=part, problem="its names cannot be compared"))
    best = before
    pairs: list[tuple[str, str]] = []
    told: dict[tuple[str, str], tuple[int, Sure]] = {}
    if before.missing or before.unexpected or before.mismatched:
        best, pairs, told = _renamed(document, weights, targets, before, matched)
    fit = Fit(
        part=part,
        matched=best.matched,
        total=best.total,
        missing=tuple(before.missing),
        unexpected=tuple(before.unexpected),
        mismatched=tuple(before.mismatched),
        rename=renamings(pairs, told),
        left=(
            *(("missing", name, "missing from the file") for name in best.missing),
            *(("unexpected", name, "in the file, not in the model") for name in best.unexpected),
            *(("mismatched", name, f"file: {ours}; model: {theirs}") for name, ours, theirs in best.mismatched),
        ),
    )
    if not best.matched:
        return Fitting(fit, assign=assign)
    return _checked(fit, document, start, model, pairs=pairs, path=path, same_bytes=same_bytes, assign=assign)


def _renamed(
    document: Document,
    weights: StateDict,
    targets: Mapping[str, torch.Tensor],
    before: Match,
    matched: Matcher,
) -> tuple[Match, list[tuple[str, str]], dict[tuple[str, str], tuple[int, Sure]]]:
    """The match under the best names that were found; that of before, where none are better."""
    wrong = {name for name, *_ in before.mismatched}
    filled = {*before.rows, *before.others, *before.blank, *before.extra} - wrong
    every = [*weights.rows, *weights.others, *weights.extra, *weights.blank]
    settled = {old: new for old in every if (new := before.renamed.get(old, old)) in filled}
    loose = {_numbered(old) for old in every if old not in settled}
    loose &= {_numbered(name) for name in targets if name not in filled}
    for old in [old for old, new in settled.items() if old == new and _numbered(old) in loose - {None}]:
        filled.discard(settled.pop(old))  # what is counted may have moved up or down
    saved = {old: _kind_of(document, weights, old) for old in every if old not in settled and old not in weights.extra}
    wanted = {
        name: tuple(target.shape) if not torch.nn.parameter.is_lazy(target) and not target.is_nested else None
        for name, target in targets.items()
        if name not in filled and name not in before.tied
    }
    pairs, told = propose(saved, wanted, settled)
    one_by_one = [(old, new) for old, new in told if old in saved]
    for tried in (pairs, one_by_one):
        if not tried or len(tried) > _MAX_PAIRS:
            continue
        after = matched(tried)
        if after is not None and after.matched > before.matched:
            return after, tried, told
    return before, [], {}


def _numbered(name: str) -> str | None:
    """What a name has before its last part that is a number, as children of a Sequential have."""
    parts = name.split(".")
    last = max((i for i, part in enumerate(parts) if part.isdigit()), default=None)
    return None if last is None else ".".join(parts[:last])


def _kind_of(document: Document, weights: StateDict, name: str) -> Kind:
    if name in weights.rows:
        return document.tensors.shape(weights.rows[name])
    node = document.node(weights.others[name]) if name in weights.others else None
    return shape_of(document, node) if isinstance(node, Typed) else None


def _checked(
    fit: Fit,
    document: Document,
    start: Value,
    model: torch.nn.Module,
    *,
    pairs: list[tuple[str, str]],
    path: str,
    same_bytes: SameBytes,
    assign: bool,
) -> Fitting:
    """Ask the check of `load_into`, with as little allowed as will do."""
    allow = tuple(sorted({kind for kind, *_ in fit.left}))
    for allowed in dict.fromkeys([(), allow]):
        try:
            bind(
                document,
                start,
                model,
                path=path,
                renames=Renames(pairs),
                assign=assign,
                same_bytes=same_bytes,
                allowed=frozenset(allowed),
            )
        except LoadError:
            continue
        return Fitting(fit, allow=allowed, assign=assign, checked=True)
    return Fitting(fit, allow=allow, assign=assign)
