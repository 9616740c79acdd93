"""A computation that takes too long is stopped, and nothing of that is left behind."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from torchkeep.programs import deadline


def _forever() -> None:
    for _ in itertools.count():
        pass


def test_what_takes_too_long_is_stopped() -> None:
    with pytest.raises(deadline.OutOfTime), deadline.within(0.02):
        _forever()


def _swallowing() -> None:
    try:
        _forever()
    except deadline.OutOfTime:
        _forever()


def _handling() -> None:
    try:
        _forever()
    except Exception:
        pytest.fail("taken for an error")


@pytest.mark.parametrize("code", [_swallowing, _handling])
def test_no_handler_of_the_code_keeps_it(code: Callable[[], None]) -> None:
    with pytest.raises(deadline.OutOfTime), deadline.within(0.02):
        code()


@pytest.mark.parametrize("seconds", [None, 600.0, 0.001, 0.0])
def test_what_is_done_in_time_is_left_alone(seconds: float | None) -> None:
    """Also where the time is over just then: whether it was raised or not, it is not raised afterwards."""
    for _ in range(50):
        try:
            with deadline.within(seconds):
                pass
        except deadline.OutOfTime:
            assert seconds in (0.001, 0.0)
        for _ in range(2000):
            pass


def test_an_error_of_the_code_is_the_one_that_is_told() -> None:
    with pytest.raises(KeyError, match="own"), deadline.within(600.0):
        raise KeyError("own")
