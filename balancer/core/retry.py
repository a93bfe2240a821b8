"""Lost races are repeated, never shown."""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from balancer.exceptions import StaleGeneration

_P = ParamSpec("_P")
_R = TypeVar("_R")

_TRIES = 20
_LONGEST_PAUSE = 0.05


def after_lost_race(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """The function, called again when another transaction was faster. It leaves no trace when it raises
    `StaleGeneration`, which comes through only when that happens 20 times in a row."""

    @functools.wraps(function)
    def repeated(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        for tried in range(1, _TRIES):
            try:
                return function(*args, **kwargs)
            except StaleGeneration:
                # Not in step with the others, who lost the same race.
                time.sleep(random.uniform(0, _LONGEST_PAUSE * tried / _TRIES))  # noqa: S311
        return function(*args, **kwargs)

    return repeated
