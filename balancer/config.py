"""Options (oslo.config) and their frozen form, `Settings`, which the rest of the program reads.

A file given with ``--config-file`` may be an oslo.config file (``etc/balancer-api.conf``) or a Paste file
(``etc/balancer-api-paste.ini``): both are ini files, and the options' sections of a Paste file are read too.
"""

from __future__ import annotations

import configparser
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from oslo_config import cfg

from balancer.exceptions import ConfigurationError

FORBIDDEN_MEMBER_RANGES = (
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/128",
    "::1/128",
    "fe80::/10",
    "ff00::/8",
    "fd00:ec2::254/128",
)
"""This host, loopback, link-local (the metadata service at 169.254.169.254 included), multicast, reserved; and where
some clouds have their metadata service in IPv6."""

DEFAULT_OPTS: tuple[cfg.Opt, ...] = (
    cfg.HostAddressOpt("bind_host", default="0.0.0.0", help="Address the API listens on."),  # noqa: S104
    cfg.PortOpt("bind_port", default=8181, help="Port the API listens on."),
    cfg.IntOpt(
        "workers",
        default=1,
        min=0,
        help="0 starts no deployment worker beside the API (run balancer-worker elsewhere); any other number "
        "starts one worker process.",
    ),
    cfg.BoolOpt("debug", default=False, help="Log debugging messages."),
    cfg.StrOpt("log_file", help="Log to this file instead of standard error."),
    cfg.StrOpt(
        "audit_file",
        help="Write the audit, one JSON object per line, to this file. Default: to the log, by the logger "
        "balancer.audit.",
    ),
    cfg.StrOpt(
        "paste_config",
        help="Paste file with the WSGI pipeline. Default: the file given with --config-file when it has a "
        "[pipeline:main], else etc/balancer-api-paste.ini beside this program.",
    ),
    cfg.ListOpt(
        "device_drivers",
        default=["haproxy", "dummy"],
        help="Drivers to load: names of entry points of the group balancer.drivers, or module:class. A device "
        "names its driver in `type`.",
    ),
    cfg.ListOpt(
        "device_filters",
        default=[
            "balancer.core.scheduler.filter_admin_state",
            "balancer.core.scheduler.filter_capabilities",
            "balancer.core.scheduler.filter_addresses",
        ],
        help="Functions that decide whether a device may take a load balancer, by their dotted names.",
    ),
    cfg.ListOpt(
        "device_cost_functions",
        default=["balancer.core.scheduler.lbs_on"],
        help="Functions that rate the devices left, by their dotted names; the lowest sum wins. Each is "
        "multiplied by the option device_cost_<function>_weight, default 1.0.",
    ),
)

SQL_OPTS: tuple[cfg.Opt, ...] = (
    cfg.StrOpt(
        "connection",
        default="sqlite:///balancer.sqlite",
        secret=True,
        help="URL of the database: sqlite:///FILE, postgresql://USER:PASSWORD@HOST/NAME or "
        "mariadb://USER:PASSWORD@HOST/NAME. A relative SQLite path is relative to the working directory. In a "
        "configuration file, write $$ for a $ in the password.",
    ),
)

API_OPTS: tuple[cfg.Opt, ...] = (
    cfg.FloatOpt(
        "deploy_wait_seconds",
        default=10.0,
        min=0,
        help="How long a create, update or delete of the balancer API waits for its deployment. 0: not at all.",
    ),
    cfg.IntOpt("max_body_bytes", default=1024 * 1024, min=1024, help="Longest request body; beyond: 413."),
    cfg.IntOpt(
        "max_requests",
        default=200,
        min=1,
        help="Requests worked on at once, those included that wait for a deployment; beyond: 503.",
    ),
    cfg.IntOpt(
        "max_project_requests",
        default=50,
        min=0,
        help="How many of max_requests may be those of one project; beyond: 503. 0: all.",
    ),
    cfg.IntOpt(
        "max_connections", default=1000, min=1, help="Connections of clients at once; more wait in the listen queue."
    ),
    cfg.FloatOpt(
        "request_timeout",
        default=60.0,
        min=0,
        help="Seconds that a request may take, from its head to its answer; beyond: 503. 0: as long as it likes. More "
        "than deploy_wait_seconds.",
    ),
    cfg.FloatOpt(
        "client_timeout",
        default=10.0,
        min=0.1,
        help="Seconds in which a client must send the head of a request, and for which it may pause while it sends a "
        "body or takes an answer.",
    ),
    cfg.PortOpt(
        "metrics_port",
        help="Serve /metrics at this port as well, for whoever reaches it. Default: at the API's port only, for "
        "administrators.",
    ),
    cfg.HostAddressOpt("metrics_host", default="127.0.0.1", help="Address that metrics_port is at."),
    cfg.StrOpt(
        "tls_cert_file",
        help="PEM file with the certificate of the API, followed by those of its issuers: the API speaks HTTPS only.",
    ),
    cfg.StrOpt(
        "tls_key_file", help="PEM file with the key of that certificate, without a passphrase. Default: the same file."
    ),
)

WORKER_OPTS: tuple[cfg.Opt, ...] = (
    cfg.IntOpt("threads", default=8, min=1, help="Devices worked on at once by one worker."),
    cfg.FloatOpt("scan_interval", default=5.0, min=0.1, help="Seconds between looks for work nobody told of."),
    cfg.FloatOpt(
        "observe_interval",
        default=10.0,
        min=1,
        help="Seconds between observations of a device: how old states and counters may be.",
    ),
    cfg.FloatOpt("retry_first", default=1.0, min=0.1, help="Seconds before the first retry of a transient failure."),
    cfg.FloatOpt("retry_max", default=60.0, min=1, help="Longest pause between retries, in seconds."),
    cfg.FloatOpt("lease_seconds", default=15.0, min=3, help="Life of a device's lease; renewed at a third of it."),
    cfg.IntOpt("keep_deployments", default=100, min=1, help="Deployments of each device that stay in its history."),
)

HAPROXY_OPTS: tuple[cfg.Opt, ...] = (
    cfg.IntOpt(
        "old_workers",
        default=8,
        min=0,
        help="How many workers of earlier reloads may still serve their last connections without reloads becoming "
        "rarer. With each one more the least time between two reloads doubles, beginning with a second.",
    ),
    cfg.FloatOpt(
        "reload_interval_max",
        default=60.0,
        min=0,
        help="The longest that time becomes, in seconds. Changes that come meanwhile are one reload.",
    ),
    cfg.IntOpt(
        "hard_stop_after",
        default=3600,
        min=1,
        max=24 * 86400,
        help="Seconds after which the worker of an earlier reload ends the connections that it still has, and itself. "
        "A device whose hand-written `global` has `hard-stop-after` keeps that.",
    ),
)

DRIFT_OPTS: tuple[cfg.Opt, ...] = (
    cfg.StrOpt(
        "repair",
        default="manual",
        choices=[
            ("manual", "it is shown, and stays until the next deployment or POST /devices/ID/resync"),
            ("automatic", "it is put back within one observation interval"),
        ],
        help="What is done when somebody edits or removes the generated part of a device's configuration. Missing "
        "addresses and a HAProxy that does not run are put right in any case.",
    ),
)

SSH_OPTS: tuple[cfg.Opt, ...] = (
    cfg.FloatOpt("connect_timeout", default=5.0, min=0.1, help="Seconds to wait for a device's SSH server."),
    cfg.FloatOpt(
        "step_timeout",
        default=12.0,
        min=1,
        help="Seconds one remote step may take; must be less than [worker] lease_seconds.",
    ),
)

_COUNTED = {
    "load_balancer": "Load balancers",
    "listener": "Listeners (a virtual IP of the balancer API is one)",
    "pool": "Pools (a load balancer of the balancer API has one)",
    "member": "Members (a node of the balancer API is one)",
    "health_monitor": "Health monitors",
    "l7_policy": "L7 policies",
    "l7_rule": "L7 rules",
}
QUOTA_OPTS: tuple[cfg.Opt, ...] = tuple(
    cfg.IntOpt(
        name,
        default=-1,
        min=-1,
        max=2_000_000_000,
        help=f"{what} of a project without a quota of its own. -1: any number.",
    )
    for name, what in _COUNTED.items()
)

NETWORK_OPTS: tuple[cfg.Opt, ...] = (
    cfg.StrOpt(
        "driver",
        default="pools",
        choices=("pools", "noop"),
        help="Where virtual IP addresses come from. pools: the subnets that an administrator registered. noop: every "
        "network, subnet and port that is named is believed to be there, and addresses are made up; for trying out "
        "an API with devices of type dummy.",
    ),
)

POLICY_OPTS: tuple[cfg.Opt, ...] = (
    cfg.StrOpt(
        "policy_file",
        help="File (YAML) with the policy rules that are not to be as etc/policy.yaml.sample shows them. It is read at "
        "the start. Default: none.",
    ),
)

SECRETS_OPTS: tuple[cfg.Opt, ...] = (
    cfg.StrOpt(
        "key_file",
        help="The file with the keys that the devices' passwords and private keys are encrypted with; --dbsync makes "
        "it. All processes that use one database need the same. Default: the file of an SQLite database with .key "
        "behind its name; with another database balancer.key in the working directory.",
    ),
)

TENANTS_OPTS: tuple[cfg.Opt, ...] = (
    cfg.ListOpt(
        "forbidden_member_ranges",
        default=list(FORBIDDEN_MEMBER_RANGES),
        help="Addresses where projects may not have members, and may not have members checked: networks, single "
        "addresses, or first-last. The hosts of all devices are forbidden too. Administrators may use them all. Add "
        "the networks over which devices, databases and this service are managed.",
    ),
)

GROUPS: Mapping[str, tuple[cfg.Opt, ...]] = {
    "DEFAULT": DEFAULT_OPTS,
    "sql": SQL_OPTS,
    "api": API_OPTS,
    "worker": WORKER_OPTS,
    "ssh": SSH_OPTS,
    "haproxy": HAPROXY_OPTS,
    "drift": DRIFT_OPTS,
    "quotas": QUOTA_OPTS,
    "network": NETWORK_OPTS,
    "oslo_policy": POLICY_OPTS,
    "secrets": SECRETS_OPTS,
    "tenants": TENANTS_OPTS,
}


def list_opts() -> list[tuple[str, list[cfg.Opt]]]:
    """Every option by section, for the generated reference and sample."""
    return [(group, list(opts)) for group, opts in GROUPS.items()]


def assured_seconds(lease_seconds: float) -> float:
    """How long a lease that was just checked is sure to last: what is begun right after the check is to be over by
    then. Whole seconds or more, as HAProxy's sessions end after whole seconds."""
    return max(1.0, lease_seconds / 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    deploy_wait_seconds: float = 10.0
    max_body_bytes: int = 1024 * 1024
    max_requests: int = 200
    max_project_requests: int = 50
    max_connections: int = 1000
    request_timeout: float = 60.0
    client_timeout: float = 10.0
    metrics_port: int | None = None
    metrics_host: str = "127.0.0.1"
    tls_cert_file: str | None = None
    tls_key_file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    threads: int = 8
    scan_interval: float = 5.0
    observe_interval: float = 10.0
    retry_first: float = 1.0
    retry_max: float = 60.0
    lease_seconds: float = 15.0
    keep_deployments: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class SshSettings:
    connect_timeout: float = 5.0
    step_timeout: float = 12.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    driver: str = "pools"


@dataclass(frozen=True, slots=True, kw_only=True)
class HAProxySettings:
    old_workers: int = 8
    reload_interval_max: float = 60.0
    hard_stop_after: int = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftSettings:
    repair: str = "manual"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The whole configuration. Times are seconds. `quotas` maps what is limited to the number that a project may have
    of it, -1 any. `config_files` are those it was read from."""

    bind_host: str = "0.0.0.0"  # noqa: S104 - a server's usual default
    bind_port: int = 8181
    workers: int = 1
    debug: bool = False
    log_file: str | None = None
    audit_file: str | None = None
    paste_config: str | None = None
    device_drivers: tuple[str, ...] = ("haproxy", "dummy")
    device_filters: tuple[str, ...] = tuple(DEFAULT_OPTS[-2].default)
    device_cost_functions: tuple[str, ...] = tuple(DEFAULT_OPTS[-1].default)
    device_cost_weights: Mapping[str, float] = field(default_factory=dict)
    sql_connection: str = "sqlite:///balancer.sqlite"
    api: ApiSettings = ApiSettings()
    worker: WorkerSettings = WorkerSettings()
    ssh: SshSettings = SshSettings()
    haproxy: HAProxySettings = HAProxySettings()
    drift: DriftSettings = DriftSettings()
    quotas: Mapping[str, int] = field(default_factory=dict)
    network: NetworkSettings = NetworkSettings()
    policy_file: str | None = None
    key_file: str | None = None
    forbidden_member_ranges: tuple[str, ...] = FORBIDDEN_MEMBER_RANGES
    config_files: tuple[str, ...] = ()


def is_paste_file(path: str) -> bool:
    """Whether the file has a [pipeline:main], [app:main] or [composite:main]."""
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not an ini file: {error}") from error
    return any(parser.has_section(f"{kind}:main") for kind in ("pipeline", "app", "composite"))


def weight_option(function: str) -> str:
    """The option that weighs a cost function: ``device_cost_lbs_on_weight`` for ``….lbs_on``."""
    return f"device_cost_{function.rpartition('.')[-1]}_weight"


def new_parser(extra: Iterable[cfg.Opt] = ()) -> cfg.ConfigOpts:
    """An oslo.config object with every option registered; `extra` are command-line options of one program."""
    conf = cfg.ConfigOpts()
    for group, opts in GROUPS.items():
        if group == "DEFAULT":
            conf.register_cli_opts(opts)
        else:
            conf.register_opts(opts, group=group)
    conf.register_cli_opts(extra)
    return conf


def load(
    args: Sequence[str] = (), *, prog: str = "balancer-api", extra: Iterable[cfg.Opt] = ()
) -> tuple[Settings, cfg.ConfigOpts]:
    """Parse command line and files.

    Returns the settings and the oslo.config object (for the program's own `extra` options). Raises
    `ConfigurationError`; ``--help`` and ``--version`` end the program as usual.
    """
    for argument in args:
        if "$" in argument:
            raise ConfigurationError(f"{argument}: a $ stands for the value of another option, also in a file's name")
    conf = new_parser(extra)
    try:
        conf(list(args), project="balancer", prog=prog, default_config_files=[], default_config_dirs=[])
        weights = {}
        for function in conf.device_cost_functions:
            conf.register_opt(cfg.FloatOpt(weight_option(function), default=1.0))
            weights[function] = conf[weight_option(function)]
        settings = _freeze(conf, weights)
    except cfg.Error as error:
        raise ConfigurationError(str(error)) from error
    except OSError as error:
        raise ConfigurationError(f"{error.filename}: {error.strerror}") from error
    if settings.ssh.step_timeout >= settings.worker.lease_seconds:
        raise ConfigurationError(
            f"[ssh] step_timeout ({settings.ssh.step_timeout:g}) must be less than "
            f"[worker] lease_seconds ({settings.worker.lease_seconds:g})"
        )
    if 0 < settings.api.request_timeout <= settings.api.deploy_wait_seconds:
        raise ConfigurationError(
            f"[api] request_timeout ({settings.api.request_timeout:g}) must be more than "
            f"[api] deploy_wait_seconds ({settings.api.deploy_wait_seconds:g})"
        )
    return settings, conf


def _freeze(conf: cfg.ConfigOpts, weights: Mapping[str, float]) -> Settings:
    files = tuple(str(Path(name).resolve()) for name in conf.config_file or ())
    paste = conf.paste_config or next((name for name in files if is_paste_file(name)), None)
    return Settings(
        bind_host=conf.bind_host,
        bind_port=conf.bind_port,
        workers=conf.workers,
        debug=conf.debug,
        log_file=conf.log_file,
        audit_file=conf.audit_file,
        paste_config=paste,
        device_drivers=tuple(conf.device_drivers),
        device_filters=tuple(conf.device_filters),
        device_cost_functions=tuple(conf.device_cost_functions),
        device_cost_weights=weights,
        sql_connection=conf.sql.connection,
        api=ApiSettings(**{opt.name: conf.api[opt.name] for opt in API_OPTS}),
        worker=WorkerSettings(**{opt.name: conf.worker[opt.name] for opt in WORKER_OPTS}),
        ssh=SshSettings(**{opt.name: conf.ssh[opt.name] for opt in SSH_OPTS}),
        haproxy=HAProxySettings(**{opt.name: conf.haproxy[opt.name] for opt in HAPROXY_OPTS}),
        drift=DriftSettings(**{opt.name: conf.drift[opt.name] for opt in DRIFT_OPTS}),
        quotas={opt.name: conf.quotas[opt.name] for opt in QUOTA_OPTS},
        key_file=conf.secrets.key_file,
        forbidden_member_ranges=tuple(conf.tenants.forbidden_member_ranges),
        network=NetworkSettings(**{opt.name: conf.network[opt.name] for opt in NETWORK_OPTS}),
        policy_file=conf.oslo_policy.policy_file,
        config_files=files,
    )
