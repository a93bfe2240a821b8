"""balancer-worker: deploys what the database asks for. Runs on native threads."""

from __future__ import annotations

import logging
import os
import re
import shlex
import signal
import sys
import threading
from collections.abc import Sequence

from oslo_config import cfg

from balancer import bootstrap, config
from balancer.core.worker import Worker
from balancer.exceptions import BalancerError, DatabaseNotSynced

_DEVICE_ID = re.compile(rb"[0-9a-f]{32}")
_LOG = logging.getLogger(__name__)

_SWITCH_SECONDS = 0.0005
"""What a thread may take of another that waits: little work is handed from thread to thread all the time."""

_CLI = (
    cfg.BoolOpt(
        "wake-up-on-stdin",
        default=False,
        help="Look for work at each line read from standard input, and stop at its end (used by balancer-api).",
    ),
)


def _listen(worker: Worker) -> None:
    """Wake the worker at each line, the id of a device; the end of the pipe means that the API is gone."""
    rest = b""
    while data := os.read(0, 65536):
        *lines, rest = (rest + data).split(b"\n")
        # Whatever else somebody writes there is no more than a reason to look.
        worker.wake(line.decode("ascii") for line in lines if _DEVICE_ID.fullmatch(line))
    worker.stop()


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 after SIGTERM or SIGINT, 1 when it cannot start."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        settings, conf = config.load(arguments, prog="balancer-worker", extra=_CLI)
        bootstrap.configure_logging(settings)
        parts = bootstrap.make_parts(settings)
        bootstrap.check(parts)
        worker = bootstrap.make_worker(parts)
    except DatabaseNotSynced as error:
        # The message ends with the command; it is meant for the same database.
        print(f"balancer-worker: {error} {shlex.join(arguments)}".rstrip(), file=sys.stderr)
        return 1
    except BalancerError as error:
        print(f"balancer-worker: {error}", file=sys.stderr)
        return 1
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop())
    if conf.wake_up_on_stdin:
        threading.Thread(target=_listen, args=(worker,), name="wake-up", daemon=True).start()
    sys.setswitchinterval(_SWITCH_SECONDS)
    _LOG.info("Worker started")
    worker.run()
    _LOG.info("Worker stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
