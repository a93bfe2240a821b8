"""One API process and its worker child: a pipe carries the wake-ups."""

from __future__ import annotations

import logging
from typing import IO

_LOG = logging.getLogger(__name__)


class PipeNotifier:
    """Writes one line per wake-up to the worker's standard input.

    `attach` names the pipe of the present worker; without one, or when it is full or broken, the wake-up is
    dropped: the worker's own scan finds the work.
    """

    def __init__(self) -> None:
        self._pipe: IO[bytes] | None = None

    def attach(self, pipe: IO[bytes] | None) -> None:
        self._pipe = pipe

    def notify(self, device_id: str) -> None:
        if self._pipe is None:
            return
        try:
            self._pipe.write(device_id.encode("ascii") + b"\n")
            self._pipe.flush()
        except (OSError, ValueError) as error:
            _LOG.debug("Wake-up for device %s not delivered: %s", device_id, error)


class NoNotifier:
    """Nobody is woken: the workers scan."""

    def notify(self, device_id: str) -> None:
        pass
