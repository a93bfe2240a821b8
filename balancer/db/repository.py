"""The repository over SQL: `balancer.core.ports.Repository`."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    and_,
    bindparam,
    delete,
    func,
    insert,
    not_,
    or_,
    select,
    update,
)

from balancer.core import moves, tenants
from balancer.core.model import (
    AdminState,
    Applied,
    Candidate,
    Device,
    DeviceSpec,
    Lease,
    Observation,
    OperatingStatus,
    Stamp,
    new_id,
)
from balancer.core.ports import DueDevice, Pending
from balancer.core.retry import after_lost_race
from balancer.db import deployments, mapping, migrations
from balancer.db import engine as database
from balancer.db.engine import db_now
from balancer.db.leases import gone_owners, lost
from balancer.db.mapping import Row, Values
from balancer.db.prepared import Prepared
from balancer.db.remembered import Remembered
from balancer.db.secrets import Secrets
from balancer.db.tables import device_observations, devices, leases, load_balancers, reservations, workers
from balancer.db.transaction import STAMP, STAMPS_OF_PROJECT, SqlTransaction, stamp_from
from balancer.exceptions import KeysUnavailable

_LOG = logging.getLogger(__name__)

_LONG_GONE = 3600.0
"""Seconds after which a worker that no longer tells that it is alive is forgotten."""

_DEPLOYMENT_COLUMNS = (
    "id",
    "device_id",
    "moving_from",
    "move_phase",
    "generation",
    "applied_generation",
    "applied_changed_at",
    "deleted",
    "error_sentence",
    "error_generation",
    "error_public",
    "notices",
)


class SqlRepository:
    """Every method is a transaction of its own. Raises `DatabaseUnavailable` besides what is said."""

    def __init__(self, engine: Engine, *, secrets: Secrets | None = None, keep_deployments: int = 100) -> None:
        """`secrets` encrypts and decrypts the credentials of devices; without it none can be stored or used.
        `keep_deployments`: how many of each device stay in the history."""
        self._engine = engine
        self._secrets = secrets
        self._keep_deployments = keep_deployments
        self._remembered = Remembered()

    @contextlib.contextmanager
    def read(self) -> Iterator[SqlTransaction]:
        with database.read(self._engine) as connection:
            yield SqlTransaction(connection, remembered=self._remembered)

    @contextlib.contextmanager
    def write(self) -> Iterator[SqlTransaction]:
        with database.write(self._engine) as connection:
            transaction = SqlTransaction(connection, writing=True, secrets=self._secrets, remembered=self._remembered)
            yield transaction
        self._remembered.keep(transaction.written.values())

    def check_synced(self) -> None:
        migrations.check(self._engine)

    def now(self) -> float:
        with self.read() as transaction:
            return transaction.clock()

    def stamps(self, *, project_id: str, load_balancer_id: str | None = None) -> list[Stamp]:
        query = STAMPS_OF_PROJECT if load_balancer_id is None else STAMP
        found = database.glance(self._engine, query, {"project_id": project_id, "load_balancer_id": load_balancer_id})
        return [stamp_from(row) for row in found]

    def heartbeat(self, worker: str, seconds: float) -> None:
        told = {"alive_until": db_now() + seconds, "seen_at": db_now()}
        with database.write(self._engine) as connection:
            known = connection.execute(update(workers).where(workers.c.name == worker).values(told))
            if not known.rowcount:
                new = {"id": new_id(), "name": worker, "started_at": db_now(), "enabled": True, "description": ""}
                connection.execute(insert(workers).values({**new, **told}))
                connection.execute(delete(workers).where(workers.c.alive_until < db_now() - _LONG_GONE))

    def may_work(self, worker: str) -> bool:
        found = database.glance(self._engine, _ENABLED, {"name": worker})
        return all(enabled for (enabled,) in found)

    def retire(self, worker: str) -> None:
        with database.write(self._engine) as connection:
            connection.execute(delete(workers).where(workers.c.name == worker))

    # --- what is to be done ------------------------------------------------------

    def due(self, *, observe_interval: float, limit: int) -> list[DueDevice]:
        """What is to be deployed comes first, each kind in the order of waiting. A deployment that mends what an
        observation found missing counts as one; an unreachable device is not looked at during its back-off. The
        lease of a process of this host that is gone is no live one."""
        free = or_(leases.c.owner.is_(None), leases.c.expires_at <= db_now(), *self._owned_by_the_gone())
        serviced = and_(devices.c.admin_state != AdminState.MAINTENANCE.value, free)
        deploy = _deployable()
        observed = device_observations.c
        observe = and_(
            not_(deploy),
            or_(
                observed.observed_at.is_(None),
                devices.c.look_asked_at > observed.observed_at,
                and_(
                    observed.observed_at <= db_now() - observe_interval,
                    not_(and_(_backs_off(), observed.reachable.is_(False))),
                ),
            ),
        )
        with database.read(self._engine) as connection:

            def find(condition: ColumnElement[bool], since: ColumnElement[Any], most: int) -> Sequence[str]:
                query = select(devices.c.id).select_from(_DEVICES_AND_MORE).where(serviced, condition)
                return connection.scalars(query.order_by(since, devices.c.id).limit(most)).all()

            first = find(deploy, func.coalesce(devices.c.retry_at, devices.c.waiting_since), limit)
            then = find(observe, func.coalesce(observed.observed_at, 0.0), limit - len(first))
        return [DueDevice(device_id=each, reason="deploy") for each in first] + [
            DueDevice(device_id=each, reason="observe") for each in then
        ]

    def next_due_in(self, *, observe_interval: float | None = None) -> float | None:
        """0.0 when the wait is over already. Observations count while they are still to come: those that are due are
        found by looking."""
        gone = set(gone_owners(self._engine))
        query = (
            select(devices.c.retry_at, leases.c.owner, leases.c.expires_at, db_now().label("now"))
            .select_from(_DEVICES_AND_MORE)
            .where(devices.c.admin_state != AdminState.MAINTENANCE.value, _undeployed())
        )
        waits = []
        with database.read(self._engine) as connection:
            for row in connection.execute(query).mappings():
                until = [row["retry_at"]] if row["retry_at"] is not None else []
                if row["owner"] is not None and row["owner"] not in gone:
                    until.append(row["expires_at"])
                if until:
                    waits.append(max(0.0, max(until) - float(row["now"])))
            if observe_interval is not None:
                waits += _next_observation(connection, observe_interval)
        return min(waits, default=None)

    def _owned_by_the_gone(self) -> list[ColumnElement[bool]]:
        owners = gone_owners(self._engine)
        return [leases.c.owner.in_(owners)] if owners else []

    def load_spec(self, device_id: str) -> DeviceSpec | None:
        with database.read(self._engine) as connection:
            state = next(iter(_STATE.rows(connection, {"device_id": device_id})), None)
            if state is None:
                return None
            transaction = SqlTransaction(connection, remembered=self._remembered)
            balancers = sorted(transaction.load_balancers(device_id=device_id), key=lambda each: each.id)
            monitor_ids = {i for each in balancers for pool in each.pools for i in pool.health_monitor_ids}
            texts = transaction.accepted_blocks(device_id)
            runs_on = transaction.leaving(device_id, moves.RUNS_ON)
            # What is made ready without its addresses must not give way to a text that it had with them.
            ready = {each.id for each in balancers if each.move and each.move.phase in moves.WITHOUT_ADDRESSES}
            return DeviceSpec(
                device=self._opened(transaction.device(device_id)),
                load_balancers=tuple(balancers),
                monitors=tuple(transaction.monitors(sorted(monitor_ids))),
                revision=state["desired_revision"],
                accepted_blocks={
                    key: text for key, (text, deleted) in texts.items() if not deleted and key not in ready
                },
                deployed={key: text for key, (text, _) in texts.items()},
                removed=_removed(connection, device_id),
                kept={key: texts[key][0] for key in runs_on if key in texts},
                withheld=moves.withheld_addresses(balancers),
                hosts=transaction.hosts(),
                virtual=frozenset(each.address for each in transaction.address_uses(tenants.sent_to(balancers))),
                failures=state["failures"],
                look_asked=bool(state["look_asked"]),
                seen_ago=None if state["seen_ago"] is None else max(0.0, float(state["seen_ago"])),
                deployable=bool(state["deployable"]),
            )

    def pending(self, device_id: str) -> Pending | None:
        with database.read(self._engine) as connection:
            state = next(iter(_STATE.rows(connection, {"device_id": device_id})), None)
        if state is None or not (state["deployable"] or state["look_asked"]):
            return None
        return Pending(revision=state["desired_revision"], look_asked=bool(state["look_asked"]))

    def _opened(self, device: Device) -> Device:
        """What cannot be opened is left as it is, for the driver to tell: it concerns this device alone."""
        try:
            return device if self._secrets is None else mapping.opened(device, self._secrets.open)
        except KeysUnavailable as error:
            _LOG.error("The credential of device %s: %s", device.id, error)
            return device

    # --- what was done -------------------------------------------------------------

    @after_lost_race
    def record_observation(self, lease: Lease, observation: Observation) -> None:
        with self._fenced(lease) as (connection, now):
            _store_observation(connection, lease.device_id, observation, now, unreported=OperatingStatus.OFFLINE)

    @after_lost_race
    def begin_deployment(self, lease: Lease) -> None:
        with self._fenced(lease) as (connection, _):
            _DEPLOYED_UNDER.run(connection, {"this": lease.device_id, "deployed_epoch": lease.epoch})

    @after_lost_race
    def record_applied(
        self, lease: Lease, spec: DeviceSpec, candidate: Candidate, applied: Applied, *, duration: float = 0.0
    ) -> None:
        """A later generation than the deployed one stays pending; its reservations are all kept. What the
        renderer rejected counts as rejected."""
        applied = replace(applied, rejected={**candidate.rejected, **applied.rejected})
        with self._fenced(lease) as (connection, now):
            transaction = SqlTransaction(connection, writing=True)
            transaction.lock_moves(lease.device_id)
            connection.execute(
                update(devices)
                .where(devices.c.id == lease.device_id)
                .values(
                    applied_revision=spec.revision,
                    error=None,
                    waiting_for=None,
                    failures=0,
                    retry_at=None,
                    halted_revision=None,
                    adopting=False,
                    # One that was asked for meanwhile is still to be done.
                    **({"resyncing": False} if spec.device.resyncing else {}),
                    waiting_since=now,
                )
            )
            if applied.observation is not None:
                # What the sample does not tell of may run by now.
                _store_observation(connection, lease.device_id, applied.observation, now, unreported=None)
            else:
                connection.execute(
                    update(device_observations)
                    .where(device_observations.c.device_id == lease.device_id)
                    .values(repair=None, drift=None)
                )
            rows = _deployment_rows(connection, lease.device_id)
            transaction.update_load_balancers(
                (
                    row,
                    mapping.applied_values(
                        row,
                        each,
                        applied,
                        (*candidate.notices.get(each.id, ()), *applied.notices.get(each.id, ())),
                        public=each.id in candidate.rejected,
                    ),
                )
                for each in spec.load_balancers
                if (row := rows.get(each.id)) is not None
            )
            # Those of what had been applied already were freed then.
            late = {each.id for each in spec.load_balancers if _is_late(rows.get(each.id))}
            held = transaction.held_by(lease.device_id, late | spec.removed.keys())
            transaction.free_reservations(mapping.freed_reservations(held, spec, applied, rows))
            # Only whoever has the lease writes them.
            texts = mapping.accepted_texts(spec.deployed, applied, rows, lease.device_id)
            transaction.save_accepted_blocks(lease.device_id, spec.deployed, texts)
            for row in rows.values():
                if row["moving_from"] is not None:
                    transaction.go_on(row, mapping.next_step(row, spec, applied))
            transaction.purge_load_balancers(
                [i for i in spec.removed if i in rows and _is_here(rows[i], spec) and rows[i]["deleted"]]
            )
            entry = deployments.of_applied(spec, applied)
            if entry is not None:
                self._enter(connection, lease.device_id, entry, duration, now)

    @after_lost_race
    def record_failure(
        self, lease: Lease, spec: DeviceSpec, sentence: str, *, retry_after: float | None, duration: float = 0.0
    ) -> None:
        """A change that came meanwhile is tried without a pause: it may be what mends the failure."""
        with self._fenced(lease) as (connection, now):
            entry = deployments.of_failure(spec, sentence, retried=retry_after is not None)
            self._enter(connection, lease.device_id, entry, duration, now)
            this = devices.c.id == lease.device_id
            connection.execute(
                update(devices)
                .where(this)
                .values(
                    error=sentence,
                    waiting_for=None,
                    failures=devices.c.failures + 1,
                    retry_at=None,
                    halted_revision=spec.revision if retry_after is None else None,
                )
            )
            if retry_after is not None:
                connection.execute(
                    update(devices)
                    .where(this, devices.c.desired_revision == spec.revision)
                    .values(retry_at=now + retry_after)
                )
                return
            rows = _deployment_rows(connection, lease.device_id)
            SqlTransaction(connection).update_load_balancers(
                (row, mapping.failed_values(row, each, sentence))
                for each in spec.load_balancers
                if (row := rows.get(each.id)) is not None and _is_here(row, spec)
            )

    @after_lost_race
    def postpone(self, lease: Lease, spec: DeviceSpec, seconds: float, reason: str) -> None:
        with self._fenced(lease) as (connection, now):
            connection.execute(update(devices).where(devices.c.id == lease.device_id).values(waiting_for=reason))
            connection.execute(
                update(devices)
                .where(devices.c.id == lease.device_id, devices.c.desired_revision == spec.revision)
                .values(retry_at=now + seconds)
            )

    def _enter(self, connection: Connection, device_id: str, entry: Values, duration: float, now: float) -> None:
        keep = self._keep_deployments
        deployments.record(connection, device_id, entry, duration=duration, now=now, keep=keep)

    @contextlib.contextmanager
    def _fenced(self, lease: Lease) -> Iterator[tuple[Connection, float]]:
        """A write transaction that nobody can take the lease away from; gives the database's time with it.

        Raises `LeaseLost`. The expiry does not matter: who takes an expired lease changes its epoch.
        """
        with database.write(self._engine) as connection:
            if database.locks_rows(connection):
                # The device's row is the lock of all that is on it; it comes first everywhere.
                connection.execute(select(devices.c.id).where(devices.c.id == lease.device_id).with_for_update())
            held = _HELD.rows(connection, {"device_id": lease.device_id, "owner": lease.owner, "epoch": lease.epoch})
            if not held:
                raise lost(lease)
            yield connection, float(held[0]["now"])


_DEVICES_AND_MORE = devices.outerjoin(leases, leases.c.device_id == devices.c.id).outerjoin(
    device_observations, device_observations.c.device_id == devices.c.id
)


def _next_observation(connection: Connection, interval: float) -> list[float]:
    """Seconds until it is due, when one is to come."""
    observed_at = device_observations.c.observed_at
    query = (
        select(func.min(observed_at) + interval - db_now())
        .select_from(_DEVICES_AND_MORE)
        .where(
            devices.c.admin_state != AdminState.MAINTENANCE.value,
            observed_at > db_now() - interval,
        )
    )
    wait = connection.scalar(query)
    return [] if wait is None else [max(0.0, float(wait))]


def _undeployed() -> ColumnElement[bool]:
    """There is something to deploy, and it did not fail for good."""
    return and_(
        or_(
            devices.c.desired_revision > devices.c.applied_revision,
            device_observations.c.repair.is_not(None),
        ),
        or_(
            devices.c.halted_revision.is_(None),
            devices.c.desired_revision > devices.c.halted_revision,
        ),
    )


def _backs_off() -> ColumnElement[bool]:
    return func.coalesce(devices.c.retry_at, 0.0) > db_now()


def _deployable() -> ColumnElement[bool]:
    return and_(_undeployed(), not_(_backs_off()))


_STATE = Prepared(
    select(
        _deployable().label("deployable"),
        devices.c.desired_revision,
        devices.c.failures,
        func.coalesce(devices.c.look_asked_at > device_observations.c.observed_at, False).label("look_asked"),
        (db_now() - device_observations.c.observed_at).label("seen_ago"),
    )
    .select_from(_DEVICES_AND_MORE)
    .where(devices.c.id == bindparam("device_id"))
)


_HELD = Prepared(
    select(db_now().label("now"))
    .where(
        leases.c.device_id == bindparam("device_id"),
        leases.c.owner == bindparam("owner"),
        leases.c.epoch == bindparam("epoch"),
    )
    .with_for_update()
)
_DEPLOYED_UNDER = Prepared(update(devices).where(devices.c.id == bindparam("this")))
_ENABLED = select(workers.c.enabled).where(workers.c.name == bindparam("name"))


def _deployment_rows(connection: Connection, device_id: str) -> Mapping[str, Row]:
    """What deployments write, of every load balancer that is on the device now or leaves it, deleted ones included."""
    query = select(*(load_balancers.c[name] for name in _DEPLOYMENT_COLUMNS))
    concerned = or_(load_balancers.c.device_id == device_id, load_balancers.c.moving_from == device_id)
    rows = connection.execute(query.where(concerned)).mappings()
    return {row["id"]: row for row in rows}


def _is_late(row: Row | None) -> bool:
    return row is not None and bool(row["applied_generation"] < row["generation"])


def _is_here(row: Row, spec: DeviceSpec) -> bool:
    return bool(row["device_id"] == spec.device.id)


def _removed(connection: Connection, device_id: str) -> dict[str, int]:
    """Load balancers that must not run on the device (any more) and were not seen to be off it, with their
    present generation; 0 when there is no row of it any more."""
    found = (row for query in _GONE for row in query.rows(connection, {"device_id": device_id}))
    return dict(sorted((row["id"], row["generation"]) for row in found))


_RUNS_ON = and_(
    load_balancers.c.moving_from.is_not(None),
    load_balancers.c.moving_from == bindparam("device_id"),
    or_(*(load_balancers.c.move_phase == each.value for each in moves.RUNS_ON)),
)
_HERE = and_(
    or_(load_balancers.c.device_id == bindparam("device_id"), _RUNS_ON),
    load_balancers.c.deleted.is_(False),
)
# Those that hold something of the device, and those that are deleted.
_GONE = (
    Prepared(
        select(
            reservations.c.load_balancer_id.label("id"),
            func.coalesce(load_balancers.c.generation, 0).label("generation"),
        )
        .select_from(reservations.outerjoin(load_balancers, load_balancers.c.id == reservations.c.load_balancer_id))
        .where(
            reservations.c.device_id == bindparam("device_id"),
            or_(load_balancers.c.id.is_(None), not_(_HERE)),
        )
    ),
    Prepared(
        select(load_balancers.c.id, load_balancers.c.generation).where(
            load_balancers.c.device_id == bindparam("device_id"), load_balancers.c.deleted.is_(True)
        )
    ),
)


def _store_observation(
    connection: Connection,
    device_id: str,
    observation: Observation,
    now: float,
    *,
    unreported: OperatingStatus | None,
) -> None:
    """`unreported`: the status of objects that a sample does not tell of."""
    values: Values = {**mapping.observation_values(observation), "observed_at": now}
    # A device that cannot be reached has not lost its addresses.
    kept = () if observation.reachable else ("own_addresses", "managed_at")
    changed = {name: value for name, value in values.items() if name not in kept}
    stored = connection.execute(
        update(device_observations).where(device_observations.c.device_id == device_id).values(**changed)
    )
    if not stored.rowcount:
        connection.execute(insert(device_observations).values(device_id=device_id, **values))
    if observation.host_key is not None:
        connection.execute(
            update(devices)
            .where(devices.c.id == device_id, devices.c.host_key.is_(None))
            .values(host_key=observation.host_key)
        )
    if observation.sample is not None:
        SqlTransaction(connection).store_sample(device_id, observation.sample, now, unreported=unreported)
