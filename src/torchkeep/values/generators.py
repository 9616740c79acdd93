"""numpy's random number generators: the state of what makes the bits, and the seeds of those that it may spawn."""

from __future__ import annotations

import operator
import struct
import sys
from collections.abc import Callable
from typing import Any

from ..errors import FormatError, LoadError, brief
from .encode import Codec, Context, Parts, typed

Fields = dict[str, Any]

_LAYOUTS = {
    "MT19937": struct.Struct("<624II"),
    "PCG64": struct.Struct("<16s16sII"),
    "PCG64DXSM": struct.Struct("<16s16sII"),
    "Philox": struct.Struct("<4Q2Q4QIII"),
    "SFC64": struct.Struct("<4QII"),
}
"""How a file holds the state of each: its words, and then where the next number begins, and half of a number."""

_LAST_POSITION = {"MT19937": 624, "Philox": 4}
"""The largest place of the next number, which numpy does not look at before it reads there."""


def codec_of(cls: type) -> Codec | None:
    """The codec of a class of `numpy.random`, which numpy does not import before somebody asks for it."""
    module = sys.modules.get("numpy.random")
    if module is None or not cls.__module__.startswith("numpy.random.") or vars(module).get(cls.__name__) is not cls:
        return None
    return _bit_generator if cls.__name__ in _LAYOUTS else _CODECS.get(cls.__name__)


def _generator(obj: Any, context: Context) -> Parts:
    return typed("numpy.Generator", {"bit_generator": obj.bit_generator})


def _random_state(obj: Any, context: Context) -> Parts:
    state = obj.get_state(legacy=False)
    gauss = float(state["gauss"]) if state["has_gauss"] else None
    return typed("numpy.RandomState", {"bit_generator": obj._bit_generator, "gauss": gauss})


def _bit_generator(obj: Any, context: Context) -> Parts:
    name, state = type(obj).__name__, obj.state
    inner = state["state"]
    half = (state.get("has_uint32"), state.get("uinteger"))
    if name == "MT19937":
        words: tuple[Any, ...] = (*inner["key"].tolist(), inner["pos"])
    elif name == "Philox":
        words = (
            *inner["counter"].tolist(),
            *inner["key"].tolist(),
            *state["buffer"].tolist(),
            state["buffer_pos"],
            *half,
        )
    elif name == "SFC64":
        words = (*inner["state"].tolist(), *half)
    else:
        words = (*(int(inner[part]).to_bytes(16, "little") for part in ("state", "inc")), *half)
    seed = getattr(obj, "seed_seq", None)
    return typed("numpy.BitGenerator", {"name": name, "state": _LAYOUTS[name].pack(*words), "seed": seed})


def _seed_sequence(obj: Any, context: Context) -> Parts:
    entropy, way_out = obj.entropy, "Seed it with an integer."
    if obj.pool_size > _MAX_POOL:
        raise context.unsaveable(obj, f"has a pool of more than {_MAX_POOL} words", way_out=way_out)
    try:
        seeds: Any = (*map(operator.index, entropy),) if hasattr(entropy, "__len__") else operator.index(entropy)
        fields = {"entropy": seeds, "spawn_key": (*map(operator.index, obj.spawn_key),)}
    except TypeError:
        raise context.unsaveable(obj, "has seeds that are no integers", way_out=way_out) from None
    if not _are_seeds(fields):
        raise context.unsaveable(obj, f"has seeds of more than {_SEED_NBITS} bits", way_out=way_out)
    return typed("numpy.SeedSequence", fields | {"pool_size": obj.pool_size, "spawned": obj.n_children_spawned})


def _are_seeds(fields: Fields) -> bool:
    entropy = fields["entropy"]
    given = (*(entropy if type(entropy) is tuple else (entropy,)), *fields["spawn_key"])
    return all(0 <= seed < 2**_SEED_NBITS for seed in given)


_MAX_POOL = 64
_SEED_NBITS = 1024
"""Longest integer among seeds: numpy takes it apart in quadratic time."""

_CODECS: dict[str, Codec] = {
    "Generator": _generator,
    "RandomState": _random_state,
    "SeedSequence": _seed_sequence,
}


# --- made again ---------------------------------------------------------------------------------------


def _make_bit_generator(random: Any, fields: Fields) -> Any:
    name, layout = fields["name"], _LAYOUTS[fields["name"]]
    words = layout.unpack(fields["state"]) if len(fields["state"]) == layout.size else ()
    has_half = words[-2:-1] if name != "MT19937" else ()
    if not words or any(half > 1 for half in has_half) or _position(name, words) > _LAST_POSITION.get(name, 0):
        raise ValueError("no state of this generator")
    made = getattr(random, name)(0)
    state: Fields = {"bit_generator": name}
    if name == "MT19937":
        state["state"] = {"key": _array(words[:-1], "u4"), "pos": words[-1]}
    elif name == "Philox":
        state["state"] = {"counter": _array(words[:4], "u8"), "key": _array(words[4:6], "u8")}
        state |= {"buffer": _array(words[6:10], "u8"), "buffer_pos": words[10]}
    elif name == "SFC64":
        state["state"] = {"state": _array(words[:4], "u8")}
    else:
        state["state"] = {"state": int.from_bytes(words[0], "little"), "inc": int.from_bytes(words[1], "little")}
    if has_half:
        state |= {"has_uint32": words[-2], "uinteger": words[-1]}
    made.__setstate__((state, fields["seed"]) if hasattr(made, "seed_seq") else state)
    return made


def _position(name: str, words: tuple[Any, ...]) -> int:
    """Where the next number begins, of those that have a place for it."""
    position: int = {"MT19937": words[-1], "Philox": words[-3]}.get(name, 0)
    return position


def _array(words: tuple[int, ...], dtype: str) -> Any:
    return sys.modules["numpy"].array(words, dtype)


def _make_random_state(random: Any, fields: Fields) -> Any:
    made, gauss = random.RandomState(fields["bit_generator"]), fields["gauss"]
    state = made.get_state(legacy=False)
    made.set_state(state | {"has_gauss": int(gauss is not None), "gauss": gauss or 0.0})
    return made


def _make_seed_sequence(random: Any, fields: Fields) -> Any:
    entropy, spawned = fields["entropy"], fields["spawned"]
    if not 4 <= fields["pool_size"] <= _MAX_POOL or not 0 <= spawned < 2**32 or not _are_seeds(fields):
        raise ValueError("seeds, a pool or a count that no sequence has")
    entropy = list(entropy) if type(entropy) is tuple else entropy
    return random.SeedSequence(
        entropy, spawn_key=fields["spawn_key"], pool_size=fields["pool_size"], n_children_spawned=spawned
    )


MAKE: dict[str, Callable[[Any, Fields], Any]] = {
    "numpy.BitGenerator": _make_bit_generator,
    "numpy.Generator": lambda random, fields: random.Generator(fields["bit_generator"]),
    "numpy.RandomState": _make_random_state,
    "numpy.SeedSequence": _make_seed_sequence,
}


def make(kind: str, fields: Fields) -> Any:
    """A generator of numpy, or what one is made of.

    Raises:
        FormatError: K-5, none has these fields.
        LoadError: there is no numpy here.
    """
    try:
        from numpy import random
    except ImportError:
        raise LoadError(
            "the file holds a generator of numpy, which is not installed. Nothing was loaded. Install numpy."
        ) from None
    try:
        return MAKE[kind](random, fields)
    except (ValueError, KeyError) as error:
        raise FormatError(f"there is no {kind} of {brief(fields)}: {error}", clause="K-5") from error
