"""balancer-api: serves the REST API with eventlet and keeps one worker process beside it."""

from __future__ import annotations

import warnings

# It is the owner's choice of server; the advice to leave it is not for whoever starts the program.
warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")

import eventlet  # noqa: E402

eventlet.monkey_patch()

import logging  # noqa: E402 - everything below must see the patched modules
import os  # noqa: E402
import shlex  # noqa: E402
import signal  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
from collections.abc import Sequence  # noqa: E402
from pathlib import Path  # noqa: E402

from oslo_config import cfg  # noqa: E402

from balancer import bootstrap, config  # noqa: E402
from balancer.api.app import make_metrics_app  # noqa: E402
from balancer.cluster.local import PipeNotifier  # noqa: E402
from balancer.cmd import http  # noqa: E402
from balancer.cmd.tls import tls_context  # noqa: E402
from balancer.config import Settings  # noqa: E402
from balancer.exceptions import BalancerError, DatabaseNotSynced  # noqa: E402

_LOG = logging.getLogger(__name__)

# The driver for PostgreSQL is to wait by what is patched: its own C code would stop every green thread. It looks here
# when it is loaded, which happens when there is such a database.
os.environ.setdefault("PSYCOPG_WAIT_FUNC", "wait_selector")

_STOP_SECONDS = 20
_RESTART_PAUSE = 1.0
_SIGNAL_PAUSE = 0.2
_METRICS_CONNECTIONS = 20

_CLI = (cfg.BoolOpt("dbsync", default=False, help="Create or upgrade the tables of the database, then exit."),)


class ServerEnded(Exception):
    """Nothing serves any more, and nobody asked for that."""


class WorkerChild:
    """The worker process: started, started again when it dies, stopped with us.

    Its standard input is the pipe for wake-ups; it stops by itself when that ends, so it never outlives us.
    """

    def __init__(self, arguments: Sequence[str], notifier: PipeNotifier) -> None:
        self._command = [sys.executable, "-m", "balancer.cmd.worker", "--wake-up-on-stdin", *arguments]
        # The child finds this very program also when it runs from a checkout that was not installed.
        home = str(Path(__file__).resolve().parent.parent.parent)
        self._environment = {**os.environ, "PYTHONPATH": os.pathsep.join([home, os.environ.get("PYTHONPATH", "")])}
        self._notifier = notifier
        self._stopping = False
        self._process: subprocess.Popen[bytes] | None = None

    def supervise(self) -> None:
        """Run it until `stop`."""
        while not self._stopping:
            # A session of its own: Ctrl-C reaches us alone, and we stop it in order.
            process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, bufsize=0, env=self._environment, start_new_session=True
            )
            self._process = process
            assert process.stdin is not None
            os.set_blocking(process.stdin.fileno(), False)
            self._notifier.attach(process.stdin.fileno())
            code = process.wait()
            self._notifier.attach(None)
            if not self._stopping:
                _LOG.error("The worker ended with status %s and is started again", code)
                eventlet.sleep(_RESTART_PAUSE)

    def stop(self) -> None:
        """Ask it to finish what it has in hand; end it after some seconds all the same."""
        self._stopping = True
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


def _serve(settings: Settings, arguments: Sequence[str]) -> None:
    tls = tls_context(settings.api)
    parts = bootstrap.make_parts(settings)
    bootstrap.check(parts)
    notifier = PipeNotifier(eventlet.patcher.original("os").write)
    service = bootstrap.make_service(parts, notifier)
    app = bootstrap.load_pipeline(service, settings)
    http.allow_open_files(settings.api.max_connections + _METRICS_CONNECTIONS)
    listeners = [http.listen(settings.bind_host, settings.bind_port, tls)]
    if settings.api.metrics_port is not None:
        listeners.append(http.listen(settings.api.metrics_host, settings.api.metrics_port))
    child = WorkerChild(arguments, notifier) if settings.workers else None
    supervisor = eventlet.spawn(child.supervise) if child else None
    apps = (app, make_metrics_app(service))
    pools = (eventlet.GreenPool(settings.api.max_connections), eventlet.GreenPool(_METRICS_CONNECTIONS))
    servers = [eventlet.spawn(http.serve, *each, settings.api) for each in zip(listeners, apps, pools, strict=False)]

    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: asked.append(number))
    _LOG.info("Listening on %s port %s%s", settings.bind_host, settings.bind_port, " with TLS" if tls else "")
    try:
        # A signal does not wake the hub of green threads, so it is looked for.
        while not asked:
            dead = [server for server in servers if server.dead]
            if dead:
                # Raises what it died of.
                dead[0].wait()
                raise ServerEnded("the server ended although nobody asked it to")
            eventlet.sleep(_SIGNAL_PAUSE)
        _LOG.info("Stopping")
        for server in servers:
            server.kill()
    finally:
        for listener in listeners:
            listener.close()
        with eventlet.Timeout(_STOP_SECONDS, False):
            for pool in pools:
                pool.waitall()
        if child and supervisor:
            child.stop()
            supervisor.kill()


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 after SIGTERM or SIGINT, 1 when it cannot start or the server ends by itself."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        settings, conf = config.load(arguments, prog="balancer-api", extra=_CLI)
        bootstrap.configure_logging(settings)
        if conf.dbsync:
            bootstrap.sync(settings)
            return 0
        _serve(settings, arguments)
    except DatabaseNotSynced as error:
        # The message ends with the command; it is meant for the same database.
        print(f"balancer-api: {error} {shlex.join(arguments)}".rstrip(), file=sys.stderr)
        return 1
    except BalancerError as error:
        print(f"balancer-api: {error}", file=sys.stderr)
        return 1
    except Exception:
        _LOG.exception("balancer-api ends by an error")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
