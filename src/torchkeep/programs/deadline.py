"""Stop a computation of this thread after some time: a capture that looks for sizes may take minutes."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class OutOfTime(BaseException):
    """The time is over. No `except Exception` on the way catches it."""


@contextmanager
def within(seconds: float | None) -> Iterator[None]:
    """Run what is inside; None is without a limit.

    Raises:
        OutOfTime: it took longer. It is raised between two instructions of Python, again each second until it arrives,
            since code that is being unwound may swallow one.
    """
    if seconds is None:
        yield
        return
    thread = ctypes.c_ulong(threading.get_ident())
    over, lock = threading.Event(), threading.Lock()

    def watch() -> None:
        wait = seconds
        while not over.wait(wait):
            with lock:
                if over.is_set():
                    return
                ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(OutOfTime))
            wait = 1.0

    watcher = threading.Thread(target=watch, daemon=True, name="torchkeep-deadline")
    watcher.start()
    try:
        yield
    finally:
        try:
            with lock:
                over.set()
                ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, None)  # one that did not arrive yet
        finally:
            over.set()
