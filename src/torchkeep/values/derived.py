"""Objects of classes that derive from a builtin container, number or text: the builtin's part, and attributes.

What the builtin holds is read and written by the builtin's own methods, past whatever the class overrides. So no
code of the class runs, and a dict that cannot be changed any more comes back all the same.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any, NamedTuple

from .state import is_of_python, set_state


class Builtin(NamedTuple):
    """How to get at the builtin's part of an object.

    Attributes:
        plain: a new builtin that holds the same.
        fill: puts what a builtin holds into an empty object; None for what is made whole.
    """

    plain: Callable[[Any], Any]
    fill: Callable[[Any, Any], None] | None = None


def _fill_ordered_dict(shell: Any, value: OrderedDict[Any, Any]) -> None:
    for key, item in value.items():
        OrderedDict.__setitem__(shell, key, item)


def _plain_counter(obj: Any) -> Counter[Any]:
    made: Counter[Any] = Counter()
    dict.update(made, dict.items(obj))  # Counter.update adds
    return made


def _fill_defaultdict(shell: Any, value: defaultdict[Any, Any]) -> None:
    defaultdict.__init__(shell, value.default_factory)
    dict.update(shell, value)


_FACTORY: Any = vars(defaultdict)["default_factory"]
_MAXLEN: Any = vars(deque)["maxlen"]
_REAL: Any = vars(complex)["real"]
_IMAG: Any = vars(complex)["imag"]

BUILTINS: dict[type, Builtin] = {
    OrderedDict: Builtin(lambda obj: OrderedDict(OrderedDict.items(obj)), _fill_ordered_dict),
    defaultdict: Builtin(lambda obj: defaultdict(_FACTORY.__get__(obj), dict.items(obj)), _fill_defaultdict),
    Counter: Builtin(_plain_counter, dict.update),
    dict: Builtin(lambda obj: dict(dict.items(obj)), dict.update),
    deque: Builtin(
        lambda obj: deque(deque.__iter__(obj), _MAXLEN.__get__(obj)),
        lambda shell, value: deque.__init__(shell, value, value.maxlen),
    ),
    list: Builtin(lambda obj: list(list.__iter__(obj)), list.extend),
    set: Builtin(lambda obj: set(set.__iter__(obj)), set.update),
    frozenset: Builtin(lambda obj: frozenset(frozenset.__iter__(obj))),
    tuple: Builtin(lambda obj: tuple(tuple.__iter__(obj))),
    str: Builtin(str.__str__),
    bytes: Builtin(lambda obj: bytes.__getitem__(obj, slice(None))),
    int: Builtin(int.__int__),
    float: Builtin(float.__float__),
    complex: Builtin(lambda obj: complex(_REAL.__get__(obj), _IMAG.__get__(obj))),
}
"""What a class may derive from. Where it derives from several, the first of them here is the one that all fit in."""


def builtin_of(cls: type) -> type | None:
    """The builtin that a class derives from, or is; None where there is none, or more than Python code besides."""
    base = next((base for base in BUILTINS if base in cls.__mro__), None)
    others = (other for other in cls.__mro__ if other is not object and other not in BUILTINS)
    return base if base is not None and all(map(is_of_python, others)) else None


def plain_of(obj: Any) -> Any:
    """A new builtin with what an object of a derived class holds."""
    base = builtin_of(type(obj))
    assert base is not None
    return BUILTINS[base].plain(obj)


def shell_of(cls: type) -> Any:
    """An empty object of a class that derives from a container which can change; None for any other."""
    base: Any = builtin_of(cls)
    return base.__new__(cls) if base is not None and BUILTINS[base].fill else None


def filled(cls: type, shell: Any, value: Any, attributes: dict[str, Any]) -> Any:
    """The object: its shell with what the builtin holds, or a new one around a value that cannot change.

    Raises:
        AttributeError: the class has no place for one of the attributes.
    """
    builtin = BUILTINS[type(value)]
    if builtin.fill is not None:
        builtin.fill(shell, value)
    else:
        base: Any = type(value)
        shell = base.__new__(cls, value)
    set_state(shell, attributes)
    return shell
