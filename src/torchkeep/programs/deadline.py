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
    watch = _Watch(seconds)
    try:
        yield
    finally:
        watch.stop()


class _Watch:
    """A thread that raises in the one that made it."""

    def __init__(self, seconds: float) -> None:
        self._thread = ctypes.c_ulong(threading.get_ident())
        self._over, self._lock = threading.Event(), threading.Lock()
        self._raised = False
        threading.Thread(target=self._run, args=(seconds,), daemon=True, name="torchkeep-deadline").start()

    def _run(self, wait: float) -> None:
        while not self._over.wait(wait):
            with self._lock:
                if self._over.is_set():
                    return
                self._raised = True
                ctypes.pythonapi.PyThreadState_SetAsyncExc(self._thread, ctypes.py_object(OutOfTime))
            wait = 1.0

    def stop(self) -> None:
        """Raise no more. One that is still on its way is let in here, and not later in somebody else's code.

        It is not taken back: CPython 3.11 then checks for it at every instruction until the process ends.
        """
        while not self._over.is_set() or self._raised:
            try:
                with self._lock:
                    self._over.set()
                for _ in range(_INSTRUCTIONS if self._raised else 0):
                    pass
                self._raised = False
            except OutOfTime:
                pass


_INSTRUCTIONS = 1000
"""Loops of Python in which a waiting exception arrives for certain: it does at the first."""
