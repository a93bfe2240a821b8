"""The tables. What they hold is described by `balancer.core.model`; comments tell only of columns beyond that.

`ordinal` columns keep the order of children. Every constraint has a name, every key a length, so that the same
definition serves every database. `balancer/db/migrations` must be changed along with this module (a test compares).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Column, ForeignKey, Index, Table, UniqueConstraint
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from balancer.core.model import QuotaResource

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_LONG_TEXT = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")


_EMPTY: Mapping[type, str] = {dict: "{}", list: "[]", tuple: "[]"}
_encode = json.JSONEncoder(separators=(",", ":")).encode


class Json(TypeDecorator[Any]):
    """A JSON value in a text column: returned exactly as it was given, the order of keys included, which the
    databases' own JSON types do not promise. None is NULL."""

    impl = _LONG_TEXT
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        if value is None:
            return None
        # Most are empty.
        return _EMPTY[type(value)] if not value and type(value) in _EMPTY else _encode(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        return {} if value == "{}" else [] if value == "[]" else json.loads(value)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime, stored in UTC with microseconds."""

    impl = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


def _id() -> Column[str]:
    return Column("id", sa.String(32), primary_key=True)


def _parent(name: str, table: str, *, index: bool = True) -> Column[str]:
    """A reference to the row without which this one has no place."""
    return Column(name, sa.String(32), ForeignKey(f"{table}.id", ondelete="CASCADE"), nullable=False, index=index)


def _text(name: str) -> Column[str]:
    return Column(name, sa.Text, nullable=False)


def _word(name: str, length: int = 255) -> Column[str]:
    return Column(name, sa.String(length), nullable=False)


def _number(name: str) -> Column[int]:
    return Column(name, sa.Integer, nullable=False)


def _count(name: str) -> Column[int]:
    """A counter that never goes back."""
    return Column(name, sa.BigInteger, nullable=False)


def _flag(name: str) -> Column[bool]:
    return Column(name, sa.Boolean, nullable=False)


def _json(name: str) -> Column[Any]:
    return Column(name, Json, nullable=False)


def _times() -> tuple[Column[datetime], Column[datetime]]:
    return Column("created_at", UtcDateTime, nullable=False), Column("updated_at", UtcDateTime, nullable=False)


# --- devices -----------------------------------------------------------------------

devices = Table(
    "devices",
    metadata,
    _id(),
    _word("name"),
    _word("type", 64),
    Column("version", sa.String(255)),
    _word("host"),
    _number("port"),
    _word("username"),
    Column("password", sa.Text),
    Column("private_key", sa.Text),
    Column("key_filename", sa.Text),
    Column("host_key", sa.Text),
    Column("capabilities", Json),
    _flag("supports_ipv6"),
    _word("admin_state", 32),
    Column("interface", sa.String(64)),
    # Empty when a device has none: NULLs would not be equal to each other in the constraint below.
    _word("config_path", 500),
    Column("socket", sa.String(255)),
    _json("vip_ranges"),
    _json("extras"),
    _flag("adopting"),
    _count("deployed_epoch"),
    _flag("resyncing"),
    _count("desired_revision"),
    _count("applied_revision"),
    Column("error", sa.Text),
    # Deployment after failures: not before `retry_at` (seconds of the database's clock); not at all while
    # `halted_revision` is the desired one.
    _number("failures"),
    Column("retry_at", sa.Double),
    Column("halted_revision", sa.BigInteger),
    # What a deployment that has not failed waits for.
    Column("waiting_for", sa.Text),
    # Since when something is to be deployed, seconds of the database's clock: first come, first served.
    Column("waiting_since", sa.Double, nullable=False),
    # When somebody asked for an observation newer than that, seconds of the database's clock.
    Column("look_asked_at", sa.Double),
    *_times(),
    UniqueConstraint("host", "port", "config_path"),
)

# One row, by which the keys that the devices' passwords and private keys are encrypted with are known; none before
# anything was encrypted.
encryption = Table(
    "encryption",
    metadata,
    Column("id", sa.Integer, primary_key=True, autoincrement=False),
    _text("probe"),
)

device_observations = Table(
    "device_observations",
    metadata,
    Column("device_id", sa.String(32), ForeignKey("devices.id", ondelete="CASCADE"), primary_key=True),
    Column("observed_at", sa.Double, nullable=False),
    _flag("reachable"),
    _text("sentence"),
    Column("version", sa.String(255)),
    Column("host_key", sa.Text),
    _json("foreign_binds"),
    _json("findings"),
    Column("repair", sa.Text),
    Column("drift", Json),
    Column("epoch", sa.BigInteger),
    _json("own_addresses"),
    Column("managed_at", sa.String(64)),
    _json("facts"),
    # The last one that came with a sample, and the process that it was of: rows of `object_statistics` hold no times.
    Column("sampled_at", sa.Double),
    Column("sampled_process", sa.String(64)),
)

# What each device counted for each object: an object that moves goes on counting in another row. The load balancer
# is no foreign key: samples are recorded while load balancers go.
object_statistics = Table(
    "object_statistics",
    metadata,
    Column("device_id", sa.String(32), ForeignKey("devices.id", ondelete="CASCADE"), primary_key=True),
    Column("object_id", sa.String(32), primary_key=True),
    _word("load_balancer_id", 32),
    _word("kind", 32),
    Column("status", sa.String(32)),
    _count("active_connections"),
    _count("bytes_in"),
    _count("bytes_out"),
    _count("total_connections"),
    _count("request_errors"),
    # What the process itself said last; 0 while it does not know the object.
    _count("last_bytes_in"),
    _count("last_bytes_out"),
    _count("last_total_connections"),
    _count("last_request_errors"),
    Index(None, "load_balancer_id"),
)

# The newest ones of each device; what repeats itself is one row.
deployments = Table(
    "deployments",
    metadata,
    Column("device_id", sa.String(32), ForeignKey("devices.id", ondelete="CASCADE"), primary_key=True),
    Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    _count("revision"),
    _word("outcome", 32),
    Column("plan", sa.String(32)),
    _text("sentence"),
    _json("rejected"),
    Column("diff", _LONG_TEXT, nullable=False),
    Column("started_at", sa.Double, nullable=False),
    Column("last_started_at", sa.Double, nullable=False),
    Column("duration", sa.Double, nullable=False),
    _number("attempts"),
)

# All that ever were, of each device: `deployments` forgets. `plan` is empty for none.
deployment_totals = Table(
    "deployment_totals",
    metadata,
    Column("device_id", sa.String(32), ForeignKey("devices.id", ondelete="CASCADE"), primary_key=True),
    Column("outcome", sa.String(32), primary_key=True),
    Column("plan", sa.String(32), primary_key=True),
    _count("number"),
    Column("seconds", sa.Double, nullable=False),
)

# Workers that are alive, until then in seconds of the database's clock, and some that were.
workers = Table(
    "workers",
    metadata,
    Column("name", sa.String(255), primary_key=True),
    Column("id", sa.String(32), nullable=False),
    Column("alive_until", sa.Double, nullable=False),
    Column("started_at", sa.Double, nullable=False),
    Column("seen_at", sa.Double, nullable=False),
    _flag("enabled"),
    _text("description"),
    UniqueConstraint("id"),
)

leases = Table(
    "leases",
    metadata,
    Column("device_id", sa.String(32), ForeignKey("devices.id", ondelete="CASCADE"), primary_key=True),
    # NULL: free.
    Column("owner", sa.String(255)),
    # Who had it last, or has it; NULL: nobody so far.
    Column("last_owner", sa.String(255)),
    _count("epoch"),
    Column("expires_at", sa.Double, nullable=False),
)

# The load balancer is no foreign key: an address stays taken on the device that a load balancer has left until
# that device runs without it, and the load balancer may be gone from its last device before that.
reservations = Table(
    "reservations",
    metadata,
    Column("device_id", sa.String(32), ForeignKey("devices.id", ondelete="CASCADE"), primary_key=True),
    Column("address", sa.String(64), primary_key=True),
    Column("port", sa.Integer, primary_key=True, autoincrement=False),
    _word("load_balancer_id", 32),
    Index(None, "load_balancer_id"),
    Index(None, "address", "port"),
)

# --- networks ----------------------------------------------------------------------

networks = Table(
    "networks",
    metadata,
    _id(),
    _word("project_id"),
    _word("name"),
    _text("description"),
    _flag("shared"),
    *_times(),
)

subnets = Table(
    "subnets",
    metadata,
    _id(),
    _parent("network_id", "networks"),
    _word("project_id"),
    _word("name"),
    _text("description"),
    _word("cidr", 64),
    Column("gateway", sa.String(64)),
    _json("ranges"),
    _json("device_ids"),
    Column("interface", sa.String(64)),
    *_times(),
)

# Named so that nobody takes them for what listeners listen on. The load balancer is no foreign key: an address stays
# taken until the device runs without it. Neither do virtual IPs refer to ports: other network drivers have their own.
network_ports = Table(
    "network_ports",
    metadata,
    _id(),
    Column("network_id", sa.String(32), ForeignKey("networks.id"), nullable=False, index=True),
    _word("project_id"),
    _word("name"),
    _text("description"),
    Column("load_balancer_id", sa.String(32)),
    *_times(),
)

fixed_ips = Table(
    "fixed_ips",
    metadata,
    Column("subnet_id", sa.String(32), ForeignKey("subnets.id"), primary_key=True),
    Column("address", sa.String(64), primary_key=True),
    _parent("port_id", "network_ports"),
    _number("ordinal"),
    Index(None, "address"),
)

# --- flavors and availability zones ----------------------------------------------------

placement_profiles = Table(
    "placement_profiles",
    metadata,
    _id(),
    _word("kind", 32),
    _word("name"),
    _word("provider"),
    _text("data"),
)

placements = Table(
    "placements",
    metadata,
    _id(),
    _word("kind", 32),
    _word("name"),
    _text("description"),
    _flag("enabled"),
    Column("profile_id", sa.String(32), ForeignKey("placement_profiles.id"), nullable=False, index=True),
    UniqueConstraint("kind", "name"),
)

# --- load balancers ------------------------------------------------------------------

load_balancers = Table(
    "load_balancers",
    metadata,
    _id(),
    _word("project_id"),
    _word("name"),
    _text("description"),
    _flag("admin_up"),
    _flag("exempt"),
    Column("device_id", sa.String(32), ForeignKey("devices.id"), nullable=False),
    _flag("pinned"),
    _count("generation"),
    _count("applied_generation"),
    _flag("deleted"),
    Column("error_sentence", sa.Text),
    Column("error_generation", sa.BigInteger),
    _flag("error_public"),
    _json("notices"),
    Column("provider", sa.String(64)),
    Column("flavor_id", sa.String(32)),
    Column("availability_zone", sa.String(255)),
    _json("tags"),
    _json("extras"),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("applied_changed_at", UtcDateTime),
    # While it moves: the device that it comes from, and how far it is.
    Column("moving_from", sa.String(32), ForeignKey("devices.id"), index=True),
    Column("move_phase", sa.String(16)),
    *_times(),
    Index(None, "project_id"),
    # Counted for every placement.
    Index(None, "device_id", "deleted"),
)

# The last text of each load balancer that a device accepted: while one moves, two devices may have one.
accepted_blocks = Table(
    "accepted_blocks",
    metadata,
    Column("device_id", sa.String(32), ForeignKey("devices.id", ondelete="CASCADE"), primary_key=True),
    Column(
        "load_balancer_id",
        sa.String(32),
        ForeignKey("load_balancers.id", ondelete="CASCADE"),
        primary_key=True,
        index=True,
    ),
    Column("text", _LONG_TEXT, nullable=False),
)

virtual_ips = Table(
    "virtual_ips",
    metadata,
    _id(),
    _parent("load_balancer_id", "load_balancers"),
    _number("ordinal"),
    _word("address", 64),
    Column("prefix_length", sa.Integer),
    Column("asked_length", sa.Integer),
    Column("network_id", sa.String(64)),
    Column("subnet_id", sa.String(64)),
    Column("port_id", sa.String(64)),
    Column("qos_policy_id", sa.String(64)),
    Column("interface", sa.String(64)),
    _flag("lasting"),
    Index(None, "address"),
    Index(None, "port_id"),
)

pools = Table(
    "pools",
    metadata,
    _id(),
    _parent("load_balancer_id", "load_balancers"),
    _number("ordinal"),
    _word("name"),
    _text("description"),
    Column("subnet_id", sa.String(64)),
    _word("protocol", 32),
    _word("algorithm", 32),
    _flag("admin_up"),
    _json("tags"),
    *_times(),
)

listeners = Table(
    "listeners",
    metadata,
    _id(),
    _parent("load_balancer_id", "load_balancers"),
    _number("ordinal"),
    _word("name"),
    _text("description"),
    _json("virtual_ip_ids"),
    _word("protocol", 32),
    _number("port"),
    Column("default_pool_id", sa.String(32), ForeignKey("pools.id"), index=True),
    Column("connection_limit", sa.Integer),
    Column("timeout_client", sa.Integer),
    Column("timeout_member_connect", sa.Integer),
    Column("timeout_member_data", sa.Integer),
    Column("timeout_tcp_inspect", sa.Integer),
    _json("insert_headers"),
    _json("allowed_cidrs"),
    Column("tls", Json),
    _flag("admin_up"),
    _json("tags"),
    _json("extras"),
    *_times(),
)

l7_policies = Table(
    "l7_policies",
    metadata,
    _id(),
    _parent("listener_id", "listeners"),
    _number("ordinal"),
    _word("name"),
    _text("description"),
    _number("position"),
    _word("action", 64),
    _json("redirect"),
    _flag("admin_up"),
    _json("tags"),
    *_times(),
)

l7_rules = Table(
    "l7_rules",
    metadata,
    _id(),
    _parent("l7_policy_id", "l7_policies"),
    _number("ordinal"),
    _word("type", 64),
    _word("compare_type", 64),
    _text("value"),
    Column("key", sa.Text),
    _flag("invert"),
    _flag("admin_up"),
    _json("tags"),
    *_times(),
)

members = Table(
    "members",
    metadata,
    _id(),
    _parent("pool_id", "pools"),
    _number("ordinal"),
    _word("name"),
    _word("address"),
    _number("port"),
    _number("weight"),
    _flag("backup"),
    Column("subnet_id", sa.String(64)),
    Column("monitor_address", sa.String(255)),
    Column("monitor_port", sa.Integer),
    Column("max_connections", sa.Integer),
    Column("min_connections", sa.Integer),
    Column("slow_start", sa.Integer),
    Column("check_interval", sa.Double),
    Column("check_rise", sa.Integer),
    Column("check_fall", sa.Integer),
    Column("cookie", sa.String(255)),
    _flag("admin_up"),
    _word("rotation", 32),
    _json("tags"),
    _json("extras"),
    *_times(),
)

session_persistences = Table(
    "session_persistences",
    metadata,
    _id(),
    _parent("pool_id", "pools", index=False),
    _word("kind", 32),
    Column("cookie_name", sa.String(255)),
    Column("timeout", sa.Integer),
    Column("granularity", sa.String(64)),
    _json("extras"),
    UniqueConstraint("pool_id"),
)

health_monitors = Table(
    "health_monitors",
    metadata,
    _id(),
    _word("project_id"),
    _word("name"),
    _word("type", 32),
    Column("delay", sa.Double, nullable=False),
    Column("timeout", sa.Double, nullable=False),
    _number("rise"),
    _number("fall"),
    Column("http", Json),
    _flag("admin_up"),
    _json("tags"),
    _json("extras"),
    *_times(),
    Index(None, "project_id"),
)

pool_health_monitors = Table(
    "pool_health_monitors",
    metadata,
    Column("pool_id", sa.String(32), ForeignKey("pools.id", ondelete="CASCADE"), primary_key=True),
    Column(
        "health_monitor_id",
        sa.String(32),
        ForeignKey("health_monitors.id", ondelete="CASCADE"),
        primary_key=True,
        index=True,
    ),
    # The oldest association first.
    _number("ordinal"),
)

# A project's own limits, NULL where the default holds. The row is also the lock of whoever adds to the project, so a
# project without limits of its own may have one.
quotas = Table(
    "quotas",
    metadata,
    Column("project_id", sa.String(255), primary_key=True),
    *(Column(resource.value, sa.Integer) for resource in QuotaResource),
)

# Objects below a load balancer that were removed from it in `generation`, and that its device may run until it has
# applied that one.
removed_objects = Table(
    "removed_objects",
    metadata,
    Column("load_balancer_id", sa.String(32), ForeignKey("load_balancers.id", ondelete="CASCADE"), primary_key=True),
    Column("object_id", sa.String(32), primary_key=True),
    _word("resource", 32),
    _count("generation"),
)
