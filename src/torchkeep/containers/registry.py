"""The containers that a program registered beside torchkeep's own.

The registry is the process's; nothing in a file can add to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from .protocol import Container

_KIND = re.compile(r"[a-z][a-z0-9+._-]*")
_OWN = ("torchkeep", "safetensors")

_containers: dict[str, Container] = {}


def register_container(container: Container) -> None:
    """Let `load`, `load_into`, `inspect` and `diff` read files of another format.

    A file is taken for one of this format by its first bytes, and only where it is no torchkeep or safetensors
    file and no container that was registered before takes it.

    Args:
        container: what reads the format; see `torchkeep.plugins.Container` for what it has to do. Another one
            of the same kind takes the place of the first.

    Raises:
        TypeError: `container` is a class rather than an object, or lacks `kind`, `probe` or `read`.
        ValueError: its kind is torchkeep's own, or no short name in lower case.

    Examples:
        A format of a few magic bytes and then numbers of 32 bits, to the end of the file:

        >>> from torchkeep.plugins import Contents, Placement, Span, of_tensors
        >>> class Floats:
        ...     kind = "floats"
        ...     def probe(self, head):
        ...         return head.startswith(b"FLOATS32")
        ...     def read(self, source, limits):
        ...         count, rest = divmod(source.nbytes - 8, 4)
        ...         if rest:
        ...             raise ValueError("a number was cut in two")
        ...         document = of_tensors(["numbers"], ["float32"], [(count,)])
        ...         return Contents(document, Placement([Span(8, 4 * count)]))
        >>> torchkeep.register_container(Floats())
        >>> with open("x.floats", "wb") as file:
        ...     nbytes = file.write(b"FLOATS32" + bytes.fromhex("0000803f 00000040"))
        >>> torchkeep.load("x.floats")
        {'numbers': tensor([1., 2.])}
    """
    if isinstance(container, type):
        raise TypeError(f"register_container takes an object, such as {container.__name__}(), not a class")
    lacking = [name for name in ("probe", "read") if not callable(getattr(container, name, None))]
    if lacking or not isinstance(getattr(container, "kind", None), str):
        raise TypeError(f"a container has a kind, probe and read; {type(container).__name__} lacks {_said(lacking)}")
    if container.kind in _OWN or not _KIND.fullmatch(container.kind):
        raise ValueError(f"{container.kind!r} cannot be the kind of a container; choose a short name, such as 'npy'")
    _containers[container.kind] = container


def _said(lacking: list[str]) -> str:
    return " and ".join(lacking) or "kind, a string"


def registered() -> list[Container]:
    """The containers that were registered, in that order."""
    return list(_containers.values())


@contextmanager
def registered_meanwhile(container: Container) -> Iterator[None]:
    """Register a container for as long as the body runs."""
    before = dict(_containers)
    register_container(container)
    try:
        yield
    finally:
        _containers.clear()
        _containers.update(before)
