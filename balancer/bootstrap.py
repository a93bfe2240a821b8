"""Composition root: the one place that knows which class stands behind which port.

It also holds the factories that Paste files name (``paste.app_factory = balancer.bootstrap:app_factory``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any

from paste.deploy import loadapp

from balancer import config
from balancer.api import audit
from balancer.api.app import make_app
from balancer.api.middleware.access import RequestIdFilter
from balancer.api.middleware.context import ContextMiddleware
from balancer.cluster.local import NoNotifier
from balancer.config import Settings
from balancer.core import scheduler, tenants
from balancer.core.model import QuotaResource
from balancer.core.networks import networks_of
from balancer.core.ports import Notifier
from balancer.core.quotas import UNLIMITED
from balancer.core.reconciler import Reconciler
from balancer.core.service import Service
from balancer.core.worker import Worker
from balancer.db import migrations, secrets
from balancer.db.engine import Engine, make_engine, sqlite_path
from balancer.db.leases import SqlLeases, make_owner
from balancer.db.repository import SqlRepository
from balancer.db.secrets import KeyFile
from balancer.drivers.registry import Registry
from balancer.exceptions import ConfigurationError

WsgiApp = Callable[..., Any]

DEFAULT_PASTE_FILE = Path(__file__).resolve().parent.parent / "etc" / "balancer-api-paste.ini"


def configure_logging(settings: Settings) -> None:
    """One line per record, to standard error or to `log_file`; the audit to `audit_file`.

    Raises `ConfigurationError` for a file that cannot be written.
    """
    try:
        handler = WatchedFileHandler(settings.log_file) if settings.log_file else logging.StreamHandler()
        audited = WatchedFileHandler(settings.audit_file) if settings.audit_file else None
    except OSError as error:
        raise ConfigurationError(f"Cannot write the log {error.filename}: {error.strerror}") from error
    handler.addFilter(RequestIdFilter())
    # None of the lines tells these, and finding them out for each takes longer than writing it.
    logging.logThreads = logging.logMultiprocessing = logging.logAsyncioTasks = False  # type: ignore[attr-defined]
    logging._srcfile = None
    logging.basicConfig(
        level=logging.DEBUG if settings.debug else logging.INFO,
        handlers=[handler],
        format="%(asctime)s %(process)d %(levelname)s %(name)s [%(request_id)s]: %(message)s",
        force=True,
    )
    if audited is not None:
        logger = logging.getLogger(audit.LOGGER)
        logger.addHandler(audited)
        logger.propagate = False
    # These tell about every packet or query, which helps nobody who debugs this program.
    for chatty in ("paramiko", "routes", "alembic", "stevedore"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What every process of the program is made of."""

    settings: Settings
    engine: Engine
    keys: KeyFile
    repository: SqlRepository
    drivers: Registry


def make_parts(settings: Settings) -> Parts:
    engine = make_engine(settings.sql_connection)
    keys = key_file(settings, engine)
    repository = SqlRepository(engine, secrets=keys, keep_deployments=settings.worker.keep_deployments)
    return Parts(settings=settings, engine=engine, keys=keys, repository=repository, drivers=Registry(settings))


def key_file(settings: Settings, engine: Engine) -> KeyFile:
    """The keys of the secrets in the database; the file is not read yet."""
    beside = sqlite_path(engine)
    default = Path("balancer.key") if beside is None else beside.with_name(f"{beside.name}.key")
    return KeyFile(Path(settings.key_file or default).resolve())


def sync(settings: Settings) -> None:
    """Bring database and keys to what this version needs. Raises `ConfigurationError`, `DatabaseUnavailable`."""
    engine = make_engine(settings.sql_connection)
    migrations.sync(engine)
    secrets.sync(engine, key_file(settings, engine))


def rotate_keys(settings: Settings, *, keep_old: bool) -> tuple[int, KeyFile]:
    """Encrypt all secrets anew; how many devices, and the file of the new key. Raises what `check` raises."""
    parts = make_parts(settings)
    parts.repository.check_synced()
    return secrets.rotate(parts.engine, parts.keys, keep_old=keep_old), parts.keys


def check(parts: Parts) -> None:
    """Raises `DatabaseNotSynced`, or `KeysUnavailable`, unless database and keys are what this version needs."""
    parts.repository.check_synced()
    secrets.check(parts.engine, parts.keys)


def make_service(parts: Parts, notifier: Notifier) -> Service:
    settings = parts.settings
    if settings.network.driver == "noop":
        logging.getLogger(__name__).warning(
            "[network] driver = noop: every network, subnet, port and address that somebody names is believed. This is "
            "for trying out an API, and nothing that is made so goes to other devices than those of type dummy"
        )
    placing = scheduler.from_names(
        settings.device_filters, settings.device_cost_functions, settings.device_cost_weights
    )
    return Service(
        parts.repository,
        parts.drivers.driver_for,
        placing,
        notifier,
        {**UNLIMITED, **{QuotaResource(name): limit for name, limit in settings.quotas.items()}},
        networks_of(settings.network.driver),
        tenants.confines(settings.forbidden_member_ranges),
        parts.drivers.types(),
    )


def make_worker(parts: Parts) -> Worker:
    options = parts.settings.worker
    name = make_owner()
    reconciler = Reconciler(
        parts.repository,
        SqlLeases(parts.engine, name, options.lease_seconds),
        parts.drivers.driver_for,
        lease_seconds=options.lease_seconds,
        observe_interval=options.observe_interval,
        retry_first=options.retry_first,
        retry_max=options.retry_max,
    )
    return Worker(
        parts.repository,
        reconciler,
        name=name,
        threads=options.threads,
        scan_interval=options.scan_interval,
        observe_interval=options.observe_interval,
    )


# --- Paste -----------------------------------------------------------------------

_service: ContextVar[tuple[Service, Settings] | None] = ContextVar("service", default=None)


@contextmanager
def _providing(service: Service, settings: Settings) -> Iterator[None]:
    token = _service.set((service, settings))
    try:
        yield
    finally:
        _service.reset(token)


def load_pipeline(service: Service, settings: Settings) -> WsgiApp:
    """The WSGI application that the Paste file describes. Raises `ConfigurationError`."""
    path = Path(settings.paste_config or DEFAULT_PASTE_FILE)
    if not path.is_file():
        raise ConfigurationError(f"There is no Paste file {path}; name one with paste_config or --config-file")
    from balancer.api.middleware.authtoken import check_options  # only the API needs Keystone's middleware

    check_options(str(path), settings.config_files)
    with _providing(service, settings):
        try:
            app: WsgiApp = loadapp(f"config:{path.resolve()}")
        except (LookupError, ImportError, ValueError) as error:
            raise ConfigurationError(f"{path}: {error}") from error
    return app


def app_factory(global_conf: Mapping[str, Any], **local_conf: Any) -> WsgiApp:
    """``paste.app_factory`` of apiv1app: the whole application.

    Under another WSGI server, which reads the Paste file itself, the options come from that file and the workers
    are started apart with balancer-worker.
    """
    provided = _service.get()
    if provided is None:
        settings, _ = config.load(["--config-file", global_conf["__file__"]])
        parts = make_parts(settings)
        check(parts)
        provided = make_service(parts, NoNotifier()), settings
    return make_app(*provided)


def authtoken_factory(global_conf: Mapping[str, Any], **local_conf: Any) -> Callable[[WsgiApp], WsgiApp]:
    """``paste.filter_factory`` of the authtoken filter. Its options come from ``[keystone_authtoken]`` of the Paste
    file and of the files given with ``--config-file``, and from its own section of the Paste file."""
    from balancer.api.middleware.authtoken import Authtoken

    provided = _service.get()
    files = (global_conf["__file__"], *(provided[1].config_files if provided else ()))
    return lambda app: Authtoken(app, tuple(dict.fromkeys(files)), local_conf)


def context_factory(global_conf: Mapping[str, Any], **local_conf: Any) -> Callable[[WsgiApp], WsgiApp]:
    """``paste.filter_factory`` of the context filter, which stands behind authtoken."""
    return ContextMiddleware
