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
    if seconds <= 0:
        raise OutOfTime
    watch = _Watch(seconds)
    try:
        try:
            watch.start()
            yield
        finally:
            watch.stop()
    except OutOfTime:  # it may have come while that was stopped; the next one would come a second later
        watch.stop()
        raise


class _Watch:
    """A thread that raises in the one that made it, until that lets its gate go."""

    def __init__(self, seconds: float) -> None:
        self._raises_in = ctypes.c_ulong(threading.get_ident())
        self._gate = threading.Lock()
        self._gate.acquire()
        self._thread = threading.Thread(target=self._run, args=(seconds,), daemon=True, name="torchkeep-deadline")

    def start(self) -> None:
        """Begin to count."""
        self._thread.start()

    def _run(self, wait: float) -> None:
        for _ in range(_MOST):
            if self._gate.acquire(timeout=wait):
                return
            ctypes.pythonapi.PyThreadState_SetAsyncExc(self._raises_in, ctypes.py_object(OutOfTime))
            wait = 1.0

    def stop(self) -> None:
        """End the thread. One that is still on its way is let in here, and not later in somebody else's code.

        It is not taken back: CPython 3.11 then checks for it at every instruction until the process ends.
        """
        if self._gate.locked():
            self._gate.release()
        if self._thread.ident is not None:
            self._thread.join()
        for _ in range(10):  # what waits is raised at the first
            pass


_MOST = 60
"""How often it is raised at most."""
