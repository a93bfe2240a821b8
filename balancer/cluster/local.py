"""One API process and its worker child: a pipe carries the wake-ups."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

_LOG = logging.getLogger(__name__)


class PipeNotifier:
    """Writes one line per wake-up to the worker's standard input.

    `attach` gives the descriptor of the present worker's pipe, which must be non-blocking; without one, or when it is
    full or broken, the wake-up is dropped: the worker's own scan finds the work. `write` is `os.write`, or what stands
    behind a green one: that waits for ever when nobody reads any more.
    """

    def __init__(self, write: Callable[[int, bytes], int] = os.write) -> None:
        self._write = write
        self._pipe: int | None = None

    def attach(self, pipe: int | None) -> None:
        self._pipe = pipe

    def notify(self, device_id: str) -> None:
        if self._pipe is None:
            return
        try:
            self._write(self._pipe, device_id.encode("ascii") + b"\n")
        except OSError as error:
            _LOG.debug("Wake-up for device %s not delivered: %s", device_id, error)


class NoNotifier:
    """Nobody is woken: the workers scan."""

    def notify(self, device_id: str) -> None:
        pass
