"""The ``openstack`` command, within the process of the tests: to start it takes seconds."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator, Sequence

from openstackclient import shell
from osc_lib.clientmanager import ClientCache, ClientManager


def openstack(url: str, words: Sequence[str]) -> tuple[int, str, str]:
    """The status, and what was printed as output and as errors."""
    _forget_clients()
    out, errors = io.StringIO(), io.StringIO()
    # Within one process the variables of the environment are read once.
    words = ["--os-auth-type", "none", "--os-endpoint", url, *words]
    with _own_logging(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        status: int = shell.OpenStackShell().run(words)
    return status, out.getvalue(), errors.getvalue()


def _forget_clients() -> None:
    """They are kept for the whole process, with the endpoint of whoever asked first."""
    for each in vars(ClientManager).values():
        if isinstance(each, ClientCache):
            each._handle = None


@contextlib.contextmanager
def _own_logging() -> Iterator[None]:
    """The command sets up logging for the whole process, as programs do."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    root.handlers.clear()
    try:
        yield
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers
