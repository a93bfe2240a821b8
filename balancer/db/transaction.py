"""What can be done inside one transaction: `balancer.core.ports.Transaction`."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    Table,
    delete,
    exists,
    func,
    insert,
    select,
    update,
)

from balancer.core import moves
from balancer.core.model import (
    AddressUse,
    AdminState,
    Deployment,
    Device,
    DeviceSample,
    Figures,
    HealthMonitor,
    Host,
    L7Policy,
    L7Rule,
    Listener,
    LoadBalancer,
    LoadBalancerGroup,
    Member,
    Move,
    MovePhase,
    ObjectKind,
    ObjectState,
    OperatingStatus,
    Pool,
    QuotaResource,
    Quotas,
    Reservation,
    Stamp,
    Statistics,
    WorkerRecord,
)
from balancer.core.ports import Progress
from balancer.core.rules import WILDCARD, say
from balancer.core.statistics import add
from balancer.db import mapping, tables
from balancer.db.engine import db_now, locks_rows
from balancer.db.leases import is_gone
from balancer.db.mapping import Children, Row, Values
from balancer.db.networks import SqlNetworkRows
from balancer.db.placements import SqlPlacementRows
from balancer.db.prepared import Prepared
from balancer.db.remembered import Remembered
from balancer.db.secrets import Secrets
from balancer.db.secrets import lock as lock_keys
from balancer.db.tables import (
    accepted_blocks,
    deployments,
    device_observations,
    devices,
    health_monitors,
    l7_policies,
    l7_rules,
    leases,
    listeners,
    load_balancers,
    members,
    metadata,
    object_statistics,
    pool_health_monitors,
    pools,
    removed_objects,
    session_persistences,
    virtual_ips,
)
from balancer.exceptions import BalancerError, Conflict, KeysUnavailable, NotFound, StaleGeneration

_T = TypeVar("_T")

_BATCH = 500
"""Values in one IN (…); databases limit the number of parameters of a statement."""

# Made once, because asking a table takes longer.
_KEYS = {table: tuple(table.primary_key.columns.keys()) for table in metadata.tables.values()}
_WITH_TIMES = frozenset(table for table in metadata.tables.values() if "created_at" in table.c)
_CHILD_TABLES = tuple(metadata.tables[each.name] for each in fields(Children))
_SERVING = sa.case(
    (load_balancers.c.move_phase != MovePhase.CLEAR.value, load_balancers.c.moving_from),
    else_=load_balancers.c.device_id,
)
"""`balancer.core.moves.serving_device_id`."""
_PROGRESS = (
    load_balancers.c.device_id,
    load_balancers.c.applied_generation,
    load_balancers.c.error_generation,
    load_balancers.c.deleted,
    load_balancers.c.moving_from,
    load_balancers.c.move_phase,
)
_LISTED = tuple(column for column in deployments.c if column.name != "diff")
_TELLING = tuple(
    load_balancers.c[name]
    for name in (
        *("id", "generation", "changed_at", "applied_generation", "updated_at"),
        *("device_id", "moving_from", "move_phase", "exempt", "deleted"),
    )
)
"""What tells whether a load balancer is as it was read before."""
_LEAVES = (l7_rules, l7_policies, members, pool_health_monitors, session_persistences)


class SqlTransaction:
    """Over a connection that is inside a transaction; whoever opened it commits.

    A device's row is the lock of everything on the device: a transaction that is `writing` takes it before it looks at
    the device, at a load balancer on it or at its reservations, and before it changes them. Two that lock devices in
    different orders (moves) are told apart by the database, and one of them is repeated.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        writing: bool = False,
        secrets: Secrets | None = None,
        remembered: Remembered | None = None,
    ) -> None:
        """`secrets` encrypts the credentials of devices; without it no device that has one can be stored.
        `remembered`: what earlier transactions have read. What this one has written is `written`: it can be remembered
        after the commit."""
        self._connection = connection
        self._secrets = secrets
        self._remembered = remembered or Remembered()
        self.written: dict[str, LoadBalancer | HealthMonitor] = {}
        self._writing = writing
        self._locking = writing and locks_rows(connection)
        self._locked: set[str] = set()
        self._handed_over = False
        self._seen: dict[str, tuple[Row, LoadBalancer]] = {}
        """Load balancer id to its row and itself, as they are stored: what is saved was just read."""
        self._now = datetime.now(UTC)
        """The one time of all that this transaction makes or changes."""
        self.placements = SqlPlacementRows(connection)
        self.networks = SqlNetworkRows(connection, locking=self._locking, now=self._now)

    @contextlib.contextmanager
    def undone(self) -> Iterator[None]:
        savepoint = self._connection.begin_nested()
        locked, written = set(self._locked), dict(self.written)
        try:
            yield
        except BaseException:
            # What ended the transaction itself (a deadlock, say) has ended this with it; the first error counts.
            with contextlib.suppress(BalancerError, sa.exc.SQLAlchemyError):
                savepoint.rollback()
            raise
        else:
            savepoint.rollback()
        finally:
            # Locks go with the savepoint that they were taken in.
            self._locked = locked
            self._seen.clear()
            self.written = written

    def clock(self) -> float:
        """Seconds since 1970, of the database's clock."""
        return float(self._connection.execute(select(db_now())).scalar_one())

    # --- devices ---------------------------------------------------------------

    def devices(self, *, ids: Sequence[str] | None = None) -> list[Device]:
        """The oldest first."""
        query = _DEVICES if ids is None else _SOME_DEVICES
        return [_device(row) for row in self._rows(query, {"ids": ids})]

    def device(self, device_id: str) -> Device:
        self._lock(device_id)
        rows = self._rows(_DEVICE, {"device_id": device_id})
        if not rows:
            raise NotFound("Device", device_id)
        return _device(rows[0])

    def hosts(self) -> tuple[Host, ...]:
        return tuple(map(mapping.host_from, self._rows(_HOSTS)))

    def lock_device(self, device: Device) -> Device | None:
        if not self._locking:
            return device
        try:
            return self.device(device.id)
        except NotFound:
            return None

    def lock_devices(self, device_ids: Iterable[str]) -> None:
        self._lock(*device_ids)

    def add_device(self, device: Device) -> None:
        self._refuse_same_location(device)
        values = self._device_values(device)
        counters = {
            "desired_revision": device.desired_revision,
            "applied_revision": device.applied_revision,
            "failures": 0,
            "adopting": False,
            "deployed_epoch": 0,
            "resyncing": False,
            "waiting_since": self.clock(),
        }
        with self._refusing_same_location(device):
            self._insert_rows(devices, [{**values, **counters}])
        self._connection.execute(insert(leases).values(device_id=device.id, epoch=0, expires_at=0.0))

    def save_device(self, device: Device) -> None:
        self._lock(device.id)
        before = self._device_row(device.id)
        self._refuse_same_location(device)
        values = self._device_values(device)
        if mapping.difference([before], [values], ("id",)).changed:
            with self._refusing_same_location(device):
                self._connection.execute(
                    update(devices).where(devices.c.id == device.id).values(**values, updated_at=self._now)
                )

    def _device_values(self, device: Device) -> Values:
        def seal(text: str) -> str:
            if self._secrets is None:
                raise KeysUnavailable("There are no keys to store a credential with")
            # The keys that are seen from now on are those that count until the end.
            lock_keys(self._connection)
            return self._secrets.seal(text)

        return mapping.device_values(device, seal)

    def delete_device(self, device_id: str) -> tuple[str, ...]:
        self._lock(device_id)
        self._device_row(device_id)
        self.lock_moves(device_id)
        # What it was to hand over is free now, and what it was to get is nowhere.
        away = select(load_balancers.c.device_id).where(load_balancers.c.moving_from == device_id)
        back = select(load_balancers.c.moving_from).where(
            load_balancers.c.device_id == device_id, load_balancers.c.moving_from.is_not(None)
        )
        others = tuple(sorted({each for query in (away, back) for each in self._connection.scalars(query)}))
        self._connection.execute(
            update(load_balancers).where(load_balancers.c.moving_from == device_id).values(**mapping.move_values(None))
        )
        there = select(load_balancers.c.id).where(load_balancers.c.device_id == device_id)
        held = {each.address for each in self.reservations(device_id)}
        self.purge_load_balancers(self._connection.scalars(there).all())
        self._connection.execute(delete(devices).where(devices.c.id == device_id))
        self.networks.release(addresses=held)
        for each in others:
            self.bump(each)
        return others

    def bump(self, device_id: str) -> None:
        """Raises `NotFound`."""
        if not _BUMP.run(self._connection, {"device_id": device_id}):
            raise NotFound("Device", device_id)

    def ask_observation(self, device_id: str) -> float:
        """Raises `NotFound`."""
        now = self.clock()
        asked = self._connection.execute(update(devices).where(devices.c.id == device_id).values(look_asked_at=now))
        if not asked.rowcount:
            raise NotFound("Device", device_id)
        return now

    def adopt(self, device_id: str, *, epoch: int) -> None:
        """Raises `NotFound`."""
        self.bump(device_id)
        known = sa.case((devices.c.deployed_epoch < epoch, epoch), else_=devices.c.deployed_epoch)
        this = devices.c.id == device_id
        self._connection.execute(update(devices).where(this).values(adopting=True, deployed_epoch=known))
        # Whoever has the lease has lost it with its epoch, and could not give it back.
        self._connection.execute(
            update(leases)
            .where(leases.c.device_id == device_id, leases.c.epoch < epoch)
            .values(epoch=epoch, owner=None, expires_at=0.0)
        )

    def resync(self, device_id: str) -> None:
        """Raises `NotFound`."""
        self.bump(device_id)
        self._connection.execute(update(devices).where(devices.c.id == device_id).values(resyncing=True))

    def _lock(self, *device_ids: str) -> None:
        """Nobody else changes these devices, or what is on them, until the transaction ends; those that are not there
        are passed over."""
        if not self._locking or self._locked.issuperset(device_ids):
            return
        wanted = sorted(set(device_ids) - self._locked)
        self._rows(select(devices.c.id).where(devices.c.id.in_(wanted)).order_by(devices.c.id).with_for_update())
        self._locked.update(wanted)

    def _device_row(self, device_id: str) -> Row:
        rows = self._rows(select(devices).where(devices.c.id == device_id))
        if not rows:
            raise NotFound("Device", device_id)
        return rows[0]

    def _refuse_same_location(self, device: Device) -> None:
        other = self._rows(
            select(devices.c.id, devices.c.name).where(
                devices.c.host == device.endpoint.host,
                devices.c.port == device.endpoint.port,
                devices.c.config_path == (device.config_path or ""),
                devices.c.id != device.id,
            )
        )
        if other:
            where = f"{say((device.endpoint.host, device.endpoint.port))} {device.config_path or ''}".rstrip()
            raise Conflict(f"Device {other[0]['name']} ({other[0]['id']}) is {where} already", field="host")

    @contextlib.contextmanager
    def _refusing_same_location(self, device: Device) -> Iterator[None]:
        """Names the other device also when it was stored only just now."""
        try:
            with self._connection.begin_nested():
                yield
        except Conflict:
            self._refuse_same_location(device)
            raise

    # --- load balancers ----------------------------------------------------------

    def load_balancers(
        self,
        *,
        ids: Sequence[str] | None = None,
        project_id: str | None = None,
        device_id: str | None = None,
        include_deleted: bool = False,
    ) -> list[LoadBalancer]:
        """Those of the ids, of the project and on the device, the oldest first."""
        if device_id is not None and ids is None and project_id is None and not include_deleted:
            return self._read_unknown(self._rows(_ON_DEVICE, {"device_id": device_id}))
        if ids is not None and len(ids) > _BATCH:
            found = [
                each
                for batch in _batches(ids)
                for each in self.load_balancers(
                    ids=batch, project_id=project_id, device_id=device_id, include_deleted=include_deleted
                )
            ]
            return sorted(found, key=lambda each: (each.created_at, each.id))
        conditions: list[ColumnElement[bool]] = [] if include_deleted else [load_balancers.c.deleted.is_(False)]
        if ids is not None:
            conditions.append(load_balancers.c.id.in_(ids))
        if project_id is not None:
            conditions.append(load_balancers.c.project_id == project_id)
        if device_id is not None:
            conditions.append(load_balancers.c.device_id == device_id)
        return self._load(conditions, load_balancers.c.created_at, load_balancers.c.id)

    def load_balancer_counts(self) -> Mapping[str, int]:
        return {row["device_id"]: row["number"] for row in self._rows(_COUNT_OF_EACH)}

    def stamps(self, *, project_id: str, load_balancer_id: str | None = None) -> list[Stamp]:
        query = STAMPS_OF_PROJECT if load_balancer_id is None else STAMP
        found = self._connection.execute(query, {"project_id": project_id, "load_balancer_id": load_balancer_id})
        return [stamp_from(row) for row in found]

    def stamps_having(self, kind: type, equal: Mapping[str, object], *, project_id: str | None = None) -> list[Stamp]:
        query = _stamps_having(kind, tuple(equal), of_project=project_id is not None)
        values = {f"equal_{name}": value for name, value in equal.items()}
        return [stamp_from(row) for row in self._connection.execute(query, {**values, "project_id": project_id})]

    def load_balancer(self, load_balancer_id: str, *, include_deleted: bool = False) -> LoadBalancer:
        self._lock_devices_of(load_balancer_id)
        seen = self._look(load_balancer_id)
        if seen is None or (seen[1].deleted and not include_deleted):
            raise NotFound("Load balancer", load_balancer_id)
        found = seen[1]
        if self._locking and not self._locked.issuperset(moves.devices_at(found)):
            raise StaleGeneration(f"Load balancer {load_balancer_id} was moved meanwhile")
        if self._writing:
            self._seen[load_balancer_id] = seen
        return found

    def progress(self, load_balancer_id: str) -> Progress | None:
        resting = devices.c.admin_state == AdminState.MAINTENANCE.value
        at = sa.or_(devices.c.id == load_balancers.c.device_id, devices.c.id == load_balancers.c.moving_from)
        rows = self._rows(
            select(*_PROGRESS, devices.c.id.label("resting"))
            .join_from(load_balancers, devices, sa.and_(at, resting), isouter=True)
            .where(load_balancers.c.id == load_balancer_id)
        )
        if not rows:
            return None
        row = rows[0]
        awaited = moves.awaited(row["device_id"], mapping.move_from(row), deleted=row["deleted"])
        return Progress(
            applied_generation=row["applied_generation"],
            failed_generation=row["error_generation"],
            rests=any(each["resting"] in awaited for each in rows),
        )

    def _lock_devices_of(self, load_balancer_id: str) -> None:
        """The one that it is on, and the one that it leaves."""
        if self._locking:
            device_ids = select(load_balancers.c.device_id, load_balancers.c.moving_from)
            for row in self._connection.execute(device_ids.where(load_balancers.c.id == load_balancer_id)):
                self._lock(*(each for each in row if each is not None))

    def add_load_balancer(self, load_balancer: LoadBalancer) -> LoadBalancer:
        """Its device and the health monitors that it names must be there. Raises `NotFound`, `Conflict`."""
        self._lock(load_balancer.device_id)
        if not self._rows(_IS_DEVICE, {"device_id": load_balancer.device_id}):
            raise NotFound("Device", load_balancer.device_id)
        row = {
            **mapping.load_balancer_values(load_balancer),
            "applied_generation": load_balancer.applied_generation,
            "applied_changed_at": None,
            "notices": list(load_balancer.notices),
            "changed_at": self._now,
            **self._times_of_new(load_balancers),
        }
        _insert(load_balancers).run(self._connection, row)
        _, children = self._save_children(Children(), mapping.children_values(load_balancer))
        return self._stored(row, children)

    def save_load_balancer(self, load_balancer: LoadBalancer, *, seen: int) -> LoadBalancer:
        """The health monitors that it names must be there."""
        self._lock_devices_of(load_balancer.id)
        self._lock(load_balancer.device_id)
        seen_now = self._seen.pop(load_balancer.id, None) or self._look(load_balancer.id)
        if seen_now is None:
            raise StaleGeneration(f"Load balancer {load_balancer.id} was removed meanwhile")
        before = seen_now[0]
        if self._handed_over:
            # Their places among their siblings are still those that they had elsewhere.
            stored = self._children(_CHILDREN_OF_ONE, {"load_balancer_id": load_balancer.id})
        else:
            stored = mapping.stored_children(seen_now[1])
        changed = mapping.changed_values(before, mapping.load_balancer_values(load_balancer))
        changed |= {"updated_at": self._now, "changed_at": self._now}
        this = {"key_id": load_balancer.id, "seen_generation": seen}
        if not _UPDATE_ONE_SEEN.run(self._connection, {**this, **changed}):
            raise StaleGeneration(f"Load balancer {load_balancer.id} was changed meanwhile")
        gone, children = self._save_children(stored, mapping.children_values(load_balancer))
        self._note_removed(load_balancer, gone)
        left = {row["port_id"] for row in stored.virtual_ips} - {vip.port_id for vip in load_balancer.virtual_ips}
        self.networks.release(port_ids=left - {None})
        return self._stored({**before, **changed}, children)

    def _look(self, load_balancer_id: str) -> tuple[Row, LoadBalancer] | None:
        """The row of a load balancer, and itself."""
        rows = self._rows(_ONE, {"load_balancer_id": load_balancer_id})
        if not rows:
            return None
        parts = self._remembered.parts(rows[0])
        if parts is not None:
            found = mapping.with_row(parts, rows[0])
        else:
            children = self._children(_CHILDREN_OF_ONE, {"load_balancer_id": load_balancer_id})
            (found,) = mapping.load_balancers_from(rows, children)
        self._remember([found])
        return rows[0], found

    def _stored(self, row: Row, children: Children) -> LoadBalancer:
        """What was just written, without reading it."""
        (stored,) = mapping.load_balancers_from([row], children)
        self._seen[stored.id] = row, stored
        self.written[stored.id] = stored
        return stored

    def _remember(self, found: Sequence[LoadBalancer] | Sequence[HealthMonitor]) -> None:
        self._remembered.keep([each for each in found if each.id not in self.written])

    def leaving(self, device_id: str, phases: Collection[MovePhase] = tuple(MovePhase)) -> list[str]:
        wanted = {"device_id": device_id, "phases": [each.value for each in phases]}
        return [row["id"] for row in self._rows(_LEAVING, wanted)]

    def lock_moves(self, device_id: str) -> None:
        """Locks every device that has a part in a move from or to this one, which is locked already."""
        if self._locking:
            self._locked.add(device_id)
            moving = select(load_balancers.c.device_id, load_balancers.c.moving_from).where(
                load_balancers.c.moving_from.is_not(None),
                sa.or_(load_balancers.c.device_id == device_id, load_balancers.c.moving_from == device_id),
            )
            self._lock(*{each for row in self._connection.execute(moving) for each in row})

    def go_on(self, row: Row, move: Move | None) -> None:
        """A deployment has brought the move of the load balancer of `row` so far. Whose turn it is now has something to
        deploy."""
        before = mapping.move_from(row)
        if before is None or move == before:
            return
        self._connection.execute(
            update(load_balancers).where(load_balancers.c.id == row["id"]).values(**mapping.move_values(move))
        )
        if move is not None:
            self.bump(move.device_id)
        elif before.phase is MovePhase.RELEASE:
            self.bump(row["device_id"])

    def hand_over(self, *, pools: Mapping[str, str], members: Mapping[str, str]) -> None:
        # From here on generations do not tell what is below load balancers, until these are saved.
        self._seen.clear()
        self._remembered = Remembered()
        self._handed_over = True
        place = metadata.tables["pools"]
        for pool_id, load_balancer_id in pools.items():
            this = place.c.id == pool_id
            self._connection.execute(update(place).where(this).values(load_balancer_id=load_balancer_id))
            below = select(_MEMBERS.c.id).where(_MEMBERS.c.pool_id == pool_id)
            self._recount(load_balancer_id, object_statistics.c.object_id.in_(below))
            self._recount(load_balancer_id, object_statistics.c.object_id == pool_id)
        for member_id, pool_id in members.items():
            self._connection.execute(update(_MEMBERS).where(_MEMBERS.c.id == member_id).values(pool_id=pool_id))
            owner = select(place.c.load_balancer_id).where(place.c.id == pool_id).scalar_subquery()
            self._recount(owner, object_statistics.c.object_id == member_id)

    def _recount(self, load_balancer_id: Any, condition: ColumnElement[bool]) -> None:
        """What was counted is that load balancer's."""
        self._connection.execute(update(object_statistics).where(condition).values(load_balancer_id=load_balancer_id))

    def exempt(self, load_balancer_ids: Collection[str]) -> None:
        for batch in _batches(sorted(load_balancer_ids)):
            these = load_balancers.c.id.in_(batch)
            self._connection.execute(update(load_balancers).where(these).values(exempt=True))

    def update_load_balancers(self, changes: Iterable[tuple[Row, Values]]) -> None:
        """Write what differs from the stored rows: what deployments record, past the generation."""
        values = [
            {"key_id": row["id"], "updated_at": self._now, **new}
            for row, new in changes
            if any(row[name] != value for name, value in new.items())
        ]
        if values:
            _update(load_balancers).run_each(self._connection, values)

    def purge_load_balancers(self, ids: Sequence[str]) -> None:
        """Remove rows for good, with all below them, what was counted for them and the monitors of their project that
        nothing else uses. Their reservations are not touched."""
        self._seen.clear()
        for batch in _batches(ids):
            used = (
                select(pool_health_monitors.c.health_monitor_id)
                .select_from(pool_health_monitors.join(health_monitors).join(pools).join(load_balancers))
                .where(pools.c.load_balancer_id.in_(batch), health_monitors.c.project_id == load_balancers.c.project_id)
                .distinct()
            )
            monitor_ids = self._connection.scalars(used).all()
            having = virtual_ips.c.load_balancer_id.in_(batch)
            port_ids = self._connection.scalars(
                select(virtual_ips.c.port_id).where(having, virtual_ips.c.port_id.is_not(None))
            ).all()
            # Listeners refer to pools, so they go first; the rest follows by itself.
            self._connection.execute(delete(listeners).where(listeners.c.load_balancer_id.in_(batch)))
            self._connection.execute(delete(load_balancers).where(load_balancers.c.id.in_(batch)))
            self._connection.execute(delete(object_statistics).where(object_statistics.c.load_balancer_id.in_(batch)))
            for some in _batches(monitor_ids):
                these = health_monitors.c.id.in_(some)
                # Whoever makes a pool use one of them right now is waited for.
                self._rows(select(health_monitors.c.id).where(these).order_by(health_monitors.c.id).with_for_update())
                used_elsewhere = pool_health_monitors.c.health_monitor_id == health_monitors.c.id
                self._connection.execute(delete(health_monitors).where(these, ~exists().where(used_elsewhere)))
            self.networks.release(port_ids=port_ids)

    def _load(self, conditions: Sequence[ColumnElement[bool]], *order: ColumnElement[Any]) -> list[LoadBalancer]:
        """One query per table, however many load balancers there are."""
        return self._read_unknown(self._rows(select(*_TELLING).where(*conditions).order_by(*order)))

    def _read_unknown(self, listed: Sequence[Row]) -> list[LoadBalancer]:
        """Those of the rows, which tell whether they are as they were read before."""
        found = {row["id"]: self._remembered.balancer(row) for row in listed}
        unknown = [row for row in listed if found[row["id"]] is None]
        for batch in _batches(unknown):
            rows = self._rows(_SOME, {"ids": [row["id"] for row in batch]})
            known = {row["id"]: self._remembered.parts(row) for row in rows}
            unread = [row for row in rows if known[row["id"]] is None]
            read = mapping.load_balancers_from(unread, self._children_of([row["id"] for row in unread]))
            read += [mapping.with_row(parts, row) for row in rows if (parts := known[row["id"]]) is not None]
            self._remember(read)
            found |= {each.id: each for each in read}
        return [each for each in found.values() if each is not None]

    def _children(self, queries: Mapping[str, Prepared], parameters: Values) -> Children:
        """`queries` are those of `_children_queries`."""
        found: dict[str, Sequence[Row]] = {}
        for name, query in queries.items():
            above = _ABOVE.get(name)
            if above is None or found[above]:
                found[name] = self._rows(query, parameters)
            else:
                found[name] = ()
        return Children(**found)

    def _children_of(self, load_balancer_ids: Sequence[str]) -> Children:
        return self._children(_CHILDREN_OF_SOME, {"ids": load_balancer_ids}) if load_balancer_ids else Children()

    def _save_children(self, stored: Children, wanted: Children) -> tuple[dict[Table, Sequence[mapping.Key]], Children]:
        """Write what differs only, so that the times of what stays are kept. Returns the keys of what is gone, and the
        rows that there are then."""
        differences = {
            table: mapping.difference(getattr(stored, table.name), getattr(wanted, table.name), _KEYS[table])
            for table in _CHILD_TABLES
        }
        # Session persistences have no times of their own: they are part of their pool.
        parts = mapping.parents(differences[session_persistences], stored.session_persistences, "pool_id")
        differences[pools] = mapping.touched(differences[pools], wanted.pools, parts)
        # Leaves go first, since a pool has one session persistence at a time. What others refer to goes last.
        for table in _LEAVES:
            self._delete_rows(table, differences[table].gone)
        for table in _CHILD_TABLES:
            self._insert_rows(table, differences[table].added)
            self._update_rows(table, differences[table].changed, getattr(stored, table.name))
        for table in (listeners, pools, virtual_ips):
            self._delete_rows(table, differences[table].gone)
        gone = {table: difference.gone for table, difference in differences.items()}
        return gone, Children(
            **{
                table.name: mapping.rows_after(
                    getattr(stored, table.name),
                    getattr(wanted, table.name),
                    difference,
                    _KEYS[table],
                    self._times_of_new(table),
                )
                for table, difference in differences.items()
            }
        )

    def _times_of_new(self, table: Table) -> dict[str, datetime]:
        return {"created_at": self._now, "updated_at": self._now} if table in _WITH_TIMES else {}

    def _note_removed(self, load_balancer: LoadBalancer, gone: Mapping[Table, Sequence[mapping.Key]]) -> None:
        """What its device may run until it has applied this generation counts for the project until then."""
        # The last part of a key is the object's id, also that of a health monitor that a pool no longer uses.
        resources = {key[-1]: resource for table, resource in _BELOW.items() for key in gone[table]}
        if not resources:
            return
        this = removed_objects.c.load_balancer_id == load_balancer.id
        applied = select(load_balancers.c.applied_generation).where(load_balancers.c.id == load_balancer.id)
        self._connection.execute(
            delete(removed_objects).where(this, removed_objects.c.generation <= applied.scalar_subquery())
        )
        for batch in _batches(sorted(resources)):
            self._connection.execute(delete(removed_objects).where(this, removed_objects.c.object_id.in_(batch)))
        self._insert_rows(
            removed_objects,
            [
                {
                    "load_balancer_id": load_balancer.id,
                    "object_id": object_id,
                    "resource": resource.value,
                    "generation": load_balancer.generation,
                }
                for object_id, resource in resources.items()
            ],
        )

    # --- health monitors -----------------------------------------------------------

    def monitors(self, ids: Sequence[str]) -> list[HealthMonitor]:
        found: dict[str, HealthMonitor] = {}
        for batch in _batches(ids):
            there = {row["id"]: self._remembered.monitor(row) for row in self._rows(_MONITOR_TIMES, {"ids": batch})}
            found |= {key: known for key, known in there.items() if known is not None}
            unknown = [key for key in there if key not in found]
            if unknown:
                read = [mapping.monitor_from(row) for row in self._rows(_MONITORS, {"ids": unknown})]
                self._remember(read)
                found |= {each.id: each for each in read}
        return [found[each] for each in ids if each in found]

    def monitor(self, monitor_id: str) -> HealthMonitor:
        query = select(health_monitors).where(health_monitors.c.id == monitor_id, _MONITOR_IS_THERE)
        rows = self._rows(query.with_for_update(of=health_monitors) if self._locking else query)
        if not rows:
            raise NotFound("Health monitor", monitor_id)
        return mapping.monitor_from(rows[0])

    def monitors_of(self, project_id: str | None) -> list[HealthMonitor]:
        query = select(health_monitors).where(_MONITOR_IS_THERE)
        if project_id is not None:
            query = query.where(health_monitors.c.project_id == project_id)
        ordered = query.order_by(health_monitors.c.created_at, health_monitors.c.id)
        return [mapping.monitor_from(row) for row in self._rows(ordered)]

    def monitor_users(self, ids: Collection[str]) -> dict[str, tuple[str, ...]]:
        found: dict[str, set[str]] = {each: set() for each in ids}
        for batch in _batches(sorted(found)):
            for row in self._rows(_MONITOR_USERS, {"ids": batch}):
                found[row["health_monitor_id"]].add(row["user"])
        return {monitor_id: tuple(sorted(users)) for monitor_id, users in found.items()}

    def save_monitor(self, monitor: HealthMonitor) -> HealthMonitor:
        stored = self._rows(_MONITOR_LOCKED, {"monitor_id": monitor.id})
        wanted, times = [mapping.monitor_values(monitor)], self._times_of_new(health_monitors)
        difference = mapping.difference(stored, wanted, ("id",))
        self._insert_rows(health_monitors, difference.added)
        self._update_rows(health_monitors, difference.changed, stored)
        (row,) = mapping.rows_after(stored, wanted, difference, ("id",), times)
        self.written[monitor.id] = saved = mapping.monitor_from(row)
        return saved

    def delete_monitor(self, monitor_id: str) -> None:
        """Pools that use it lose it. Nothing happens when it is gone already."""
        self._seen.clear()
        for key, each in list(self.written.items()):
            if key == monitor_id or (isinstance(each, LoadBalancer) and _uses(each, monitor_id)):
                del self.written[key]
        users = select(pools.c.load_balancer_id).join(
            pool_health_monitors, pool_health_monitors.c.pool_id == pools.c.id
        )
        # They lose it without a generation of their own.
        self._connection.execute(
            update(load_balancers)
            .where(load_balancers.c.id.in_(users.where(pool_health_monitors.c.health_monitor_id == monitor_id)))
            .values(changed_at=self._now)
        )
        self._connection.execute(delete(health_monitors).where(health_monitors.c.id == monitor_id))

    # --- statistics --------------------------------------------------------------------

    def statistics(self, load_balancer_ids: Sequence[str]) -> dict[str, Statistics]:
        found: dict[str, Statistics] = {}
        for batch in _batches(load_balancer_ids):
            of_one: dict[str, list[Row]] = {}
            for row in self._rows(_STATISTICS, {"ids": batch}):
                of_one.setdefault(row["balancer_id"], []).append(row)
            for balancer_id, rows in of_one.items():
                first = rows[0]
                sampled_at = first["sampled_at"]
                found[balancer_id] = Statistics(
                    states=_states((row for row in rows if row["object_id"] is not None), first["serving_device_id"]),
                    sampled_at=sampled_at,
                    age=None if sampled_at is None else max(0.0, float(first["now"]) - sampled_at),
                )
        return found

    def store_sample(
        self, device_id: str, sample: DeviceSample, now: float, *, unreported: OperatingStatus | None
    ) -> None:
        """Add it to what was counted. `unreported` is the status of objects that it does not tell of. The device's
        row of observations must be there."""
        of_device = device_observations.c.device_id == device_id
        process = self._connection.scalar(select(device_observations.c.sampled_process).where(of_device))
        self._connection.execute(
            update(device_observations).where(of_device).values(sampled_at=now, sampled_process=sample.process)
        )
        stored = {
            row["object_id"]: row
            for row in self._rows(select(object_statistics).where(object_statistics.c.device_id == device_id))
        }
        owners = self._owners({each.object_id: each.kind for each in sample.objects if each.object_id not in stored})
        new: list[Values] = []
        changed: list[tuple[Row, Values]] = []
        for each in sample.objects:
            row = stored.pop(each.object_id, None)
            values = mapping.sampled_values(row, each, same_process=sample.process == process)
            if row is not None:
                changed.append((row, values))
            elif each.object_id in owners:
                owner = owners[each.object_id]
                new.append({"device_id": device_id, "object_id": each.object_id, "load_balancer_id": owner, **values})
        gone = self._gone(list(stored.values()))
        silent = mapping.unreported_values(unreported)
        changed += [(row, silent) for object_id, row in stored.items() if object_id not in gone]
        # Most objects are idle between two samples. Rows are rewritten: databases insert many rows by one statement,
        # but update them one by one.
        rewritten = [
            {**row, **values} for row, values in changed if any(row[name] != value for name, value in values.items())
        ]
        for batch in _batches([*sorted(gone), *(row["object_id"] for row in rewritten)]):
            self._connection.execute(
                delete(object_statistics).where(
                    object_statistics.c.device_id == device_id, object_statistics.c.object_id.in_(batch)
                )
            )
        self._insert_rows(object_statistics, [*rewritten, *new])

    def _owners(self, objects: Mapping[str, ObjectKind]) -> dict[str, str]:
        """Object id to load balancer id, for the objects that there are."""
        found: dict[str, str] = {}
        for kind, query in _OWNERS.items():
            for batch in _batches([each for each, its_kind in objects.items() if its_kind is kind]):
                rows = self._rows(query.where(query.selected_columns["id"].in_(batch)))
                found |= {row["id"]: row["load_balancer_id"] for row in rows}
        return found

    def _gone(self, rows: Sequence[Row]) -> set[str]:
        """Those that exist no more and that no sum needs: the listeners of a load balancer stay as long as it does."""
        kinds = {row["object_id"]: ObjectKind(row["kind"]) for row in rows}
        without_object = kinds.keys() - self._owners(kinds).keys()
        owners = {row["load_balancer_id"] for row in rows if row["object_id"] in without_object}
        there = {
            row["id"]
            for batch in _batches(sorted(owners))
            for row in self._rows(select(load_balancers.c.id).where(load_balancers.c.id.in_(batch)))
        }
        return {
            row["object_id"]
            for row in rows
            if row["object_id"] in without_object
            and (kinds[row["object_id"]] is not ObjectKind.LISTENER or row["load_balancer_id"] not in there)
        }

    # --- deployments -------------------------------------------------------------------

    def accepted_blocks(self, device_id: str) -> dict[str, tuple[str, bool]]:
        return {
            row["load_balancer_id"]: (row["text"], row["deleted"])
            for row in self._rows(_ACCEPTED, {"device_id": device_id})
        }

    def is_accepted(self, device_id: str, load_balancer_id: str) -> bool:
        of_device = accepted_blocks.c.device_id == device_id
        query = select(accepted_blocks.c.device_id).where(
            of_device, accepted_blocks.c.load_balancer_id == load_balancer_id
        )
        return bool(self._rows(query))

    def save_accepted_blocks(self, device_id: str, stored: Mapping[str, str], texts: Mapping[str, str]) -> None:
        """`texts` in the place of those that are `stored`."""
        changed = {key: text for key, text in texts.items() if stored.get(key) != text}
        gone = (key for key in stored if key in changed or key not in texts)
        self._delete_rows(accepted_blocks, [(device_id, key) for key in gone])
        rows = [{"device_id": device_id, "load_balancer_id": key, "text": text} for key, text in changed.items()]
        self._insert_rows(accepted_blocks, rows)

    def deployments(self, device_id: str, *, limit: int) -> list[Deployment]:
        self._device_row(device_id)
        query = select(*_LISTED).where(deployments.c.device_id == device_id)
        rows = self._rows(query.order_by(deployments.c.number.desc()).limit(limit))
        return [mapping.deployment_from(row) for row in rows]

    def deployment(self, device_id: str, number: int) -> Deployment:
        """Raises `NotFound` for an unknown device, too."""
        self._device_row(device_id)
        this = [deployments.c.device_id == device_id, deployments.c.number == number]
        rows = self._rows(select(deployments).where(*this))
        if not rows:
            raise NotFound("Deployment", str(number))
        return mapping.deployment_from(rows[0])

    # --- reservations ------------------------------------------------------------------

    def reservations(self, device_id: str) -> list[Reservation]:
        """Ordered by address and port."""
        held = tables.reservations
        found = [mapping.reservation_from(row) for row in self._rows(select(held).where(held.c.device_id == device_id))]
        # Databases have orders of their own for texts.
        return sorted(found, key=lambda each: (each.address, each.port))

    def held_by(self, device_id: str, load_balancer_ids: Collection[str]) -> list[Reservation]:
        """What of the device those hold."""
        return [
            mapping.reservation_from(row)
            for batch in _batches(sorted(load_balancer_ids))
            for row in self._rows(_HELD_BY, {"device_id": device_id, "ids": batch})
        ]

    def holders(self, addresses: Collection[tuple[str, int]]) -> list[Reservation]:
        by_port: dict[int, list[str]] = {}
        for address, port in addresses:
            by_port.setdefault(port, []).append(address)
        return [
            mapping.reservation_from(row)
            for port, some in sorted(by_port.items())
            for batch in _batches(some)
            for row in self._rows(_HOLDERS, {"port": port, "addresses": batch})
        ]

    def address_uses(self, addresses: Collection[str]) -> list[AddressUse]:
        found: dict[AddressUse, None] = {}
        for batch in _batches(sorted(addresses)):
            for query in _USES_OF_ADDRESSES:
                found |= {AddressUse(**row): None for row in self._rows(query, {"addresses": batch})}
        return list(found)

    def add_reservations(self, reservations: Sequence[Reservation]) -> None:
        """What the load balancer holds already stays its own. Raises `Conflict`."""
        self._lock(*(each.device_id for each in reservations))
        held = {
            (each.device_id, each.address, each.port): each.load_balancer_id
            for each in self.holders({(each.address, each.port) for each in reservations})
        }
        new = []
        for each in reservations:
            place = (each.device_id, each.address, each.port)
            holder = held.get(place)
            if holder is None:
                held[place] = each.load_balancer_id
                new.append(mapping.reservation_values(each))
            elif holder != each.load_balancer_id:
                sentence = f"{_capital(say((each.address, each.port)))} is taken on device {each.device_id}"
                raise Conflict(sentence, field="virtual_ips")
        self._insert_rows(tables.reservations, new)

    def free_reservations(self, freed: Iterable[Reservation]) -> None:
        places = [(each.device_id, each.address, each.port) for each in freed]
        self._delete_rows(tables.reservations, places)
        self.networks.release(addresses={address for _, address, _ in places if address != WILDCARD})

    # --- the service as a whole --------------------------------------------------------

    def workers(self) -> list[WorkerRecord]:
        alive = (tables.workers.c.alive_until > db_now()).label("alive")
        last: dict[str, list[str]] = defaultdict(list)
        for device_id, owner in self._connection.execute(select(leases.c.device_id, leases.c.last_owner)):
            last[owner].append(device_id)
        query = select(tables.workers, alive).order_by(tables.workers.c.started_at, tables.workers.c.name)
        return [
            mapping.worker_from(
                row, alive=bool(row["alive"]) and not is_gone(row["name"]), device_ids=sorted(last[row["name"]])
            )
            for row in self._rows(query)
        ]

    def save_worker(self, worker: WorkerRecord) -> None:
        this = tables.workers.c.id == worker.id
        values = {"enabled": worker.enabled, "description": worker.description}
        if not self._connection.execute(update(tables.workers).where(this).values(values)).rowcount:
            raise NotFound("Worker", worker.id)

    def delete_worker(self, worker_id: str) -> None:
        if not self._connection.execute(delete(tables.workers).where(tables.workers.c.id == worker_id)).rowcount:
            raise NotFound("Worker", worker_id)

    def figures(self) -> Figures:
        waiting = (
            select(func.count().label("number"), (db_now() - func.min(devices.c.waiting_since)).label("longest"))
            .select_from(devices)
            .where(
                devices.c.desired_revision > devices.c.applied_revision,
                devices.c.admin_state != AdminState.MAINTENANCE.value,
            )
        )
        waits = self._connection.execute(waiting).mappings().one()
        state = (
            load_balancers.c.generation,
            load_balancers.c.applied_generation,
            load_balancers.c.error_generation.is_not(None).label("failed"),
        )
        groups = select(*state, func.count().label("number")).where(load_balancers.c.deleted.is_(False))
        totals = tables.deployment_totals
        return Figures(
            devices=tuple(self.devices()),
            load_balancers=tuple(
                LoadBalancerGroup(
                    generation=row["generation"],
                    applied_generation=row["applied_generation"],
                    failed=bool(row["failed"]),
                    number=row["number"],
                )
                for row in self._rows(groups.group_by(*state))
            ),
            deployments=tuple(
                mapping.deployment_total_from(row)
                for row in self._rows(select(totals).order_by(*totals.primary_key.columns))
            ),
            waiting_devices=waits["number"],
            longest_wait=max(0.0, float(waits["longest"] or 0.0)),
            workers=tuple(each.name for each in self.workers() if each.works),
        )

    # --- quotas ------------------------------------------------------------------------

    def quotas(self, project_id: str) -> Quotas:
        rows = self._rows(_QUOTAS, {"project_id": project_id})
        return mapping.quotas_from(rows[0]) if rows else {}

    def all_quotas(self) -> dict[str, Quotas]:
        found = {row["project_id"]: mapping.quotas_from(row) for row in self._rows(select(tables.quotas))}
        # Databases have orders of their own for texts.
        return {project_id: own for project_id, own in sorted(found.items()) if own}

    def save_quotas(self, project_id: str, quotas: Quotas) -> None:
        self._add_quotas(project_id)
        this = tables.quotas.c.project_id == project_id
        self._connection.execute(update(tables.quotas).where(this).values(**mapping.quotas_values(quotas)))

    def lock_project(self, project_id: str) -> None:
        if self._locking:
            self._add_quotas(project_id)
            this = tables.quotas.c.project_id == project_id
            self._rows(select(tables.quotas.c.project_id).where(this).with_for_update())

    def _add_quotas(self, project_id: str) -> None:
        """A row for the project, unless there is one."""
        if self._rows(select(tables.quotas.c.project_id).where(tables.quotas.c.project_id == project_id)):
            return
        # Somebody else may have added it just now.
        with contextlib.suppress(Conflict), self._connection.begin_nested():
            self._connection.execute(insert(tables.quotas).values(project_id=project_id))

    def usage(self, project_id: str, resources: Collection[QuotaResource]) -> dict[QuotaResource, int]:
        used = dict.fromkeys(resources, 0)
        of_project = load_balancers.c.project_id == project_id
        for resource in used:
            used[resource] += self._connection.scalar(_COUNTS[resource].where(_OF_PROJECT[resource] == project_id)) or 0
        removed = (
            select(removed_objects.c.resource, func.count(sa.distinct(removed_objects.c.object_id)).label("number"))
            .join(load_balancers, load_balancers.c.id == removed_objects.c.load_balancer_id)
            .where(
                of_project,
                removed_objects.c.resource.in_([resource.value for resource in used]),
                removed_objects.c.generation > load_balancers.c.applied_generation,
                # A health monitor that is still there is counted as such.
                ~exists().where(health_monitors.c.id == removed_objects.c.object_id),
            )
            .group_by(removed_objects.c.resource)
        )
        for row in self._rows(removed):
            used[QuotaResource(row["resource"])] += row["number"]
        return used

    # --- rows ------------------------------------------------------------------------

    def _rows(self, query: Select[Any] | Prepared, parameters: Values | None = None) -> Sequence[Row]:
        if isinstance(query, Prepared):
            return query.rows(self._connection, parameters)
        return self._connection.execute(query, parameters).mappings().all()

    def _insert_rows(self, table: Table, rows: Iterable[Row]) -> None:
        times = self._times_of_new(table)
        values = [{**row, **times} for row in rows]
        if values:
            _insert(table).run_each(self._connection, values)

    def _update_rows(self, table: Table, changed: Sequence[tuple[Row, bool]], stored: Iterable[Row]) -> None:
        """A row that only got another place among its siblings keeps its `updated_at`."""
        if not changed:
            return
        key = _KEYS[table]
        times: dict[Any, datetime] = {row["id"]: row["updated_at"] for row in stored} if "updated_at" in table.c else {}
        values = []
        for row, really in changed:
            value = {f"key_{name}" if name in key else name: value for name, value in row.items()}
            if times:
                value["updated_at"] = self._now if really else times[row["id"]]
            values.append(value)
        _update(table).run_each(self._connection, values)

    def _delete_rows(self, table: Table, keys: Iterable[mapping.Key]) -> None:
        names = _KEYS[table]
        values = [{f"key_{name}": part for name, part in zip(names, key, strict=True)} for key in keys]
        if values:
            _delete(table).run_each(self._connection, values)


def _children_queries(load_balancer_ids: Select[Any]) -> Mapping[str, Prepared]:
    """Table name to the rows of it that are below those load balancers, what is above comes first."""

    def below(table: Table, parent: str, ids: Select[Any]) -> Prepared:
        query = select(table).where(table.c[parent].in_(ids))
        return Prepared(query.order_by(table.c.ordinal) if "ordinal" in table.c else query)

    pool_ids = select(pools.c.id).where(pools.c.load_balancer_id.in_(load_balancer_ids))
    listener_ids = select(listeners.c.id).where(listeners.c.load_balancer_id.in_(load_balancer_ids))
    policy_ids = select(l7_policies.c.id).where(l7_policies.c.listener_id.in_(listener_ids))
    return {
        "virtual_ips": below(virtual_ips, "load_balancer_id", load_balancer_ids),
        "pools": below(pools, "load_balancer_id", load_balancer_ids),
        "listeners": below(listeners, "load_balancer_id", load_balancer_ids),
        "members": below(members, "pool_id", pool_ids),
        "pool_health_monitors": below(pool_health_monitors, "pool_id", pool_ids),
        "session_persistences": below(session_persistences, "pool_id", pool_ids),
        "l7_policies": below(l7_policies, "listener_id", listener_ids),
        "l7_rules": below(l7_rules, "l7_policy_id", policy_ids),
    }


# Table name to the one without rows of which it has none.
_ABOVE = {
    **dict.fromkeys(("members", "pool_health_monitors", "session_persistences"), "pools"),
    "l7_policies": "listeners",
    "l7_rules": "l7_policies",
}
_ONE = Prepared(select(load_balancers).where(load_balancers.c.id == sa.bindparam("load_balancer_id")))
_COUNT_OF_EACH = Prepared(
    select(load_balancers.c.device_id, func.count().label("number"))
    .where(load_balancers.c.deleted.is_(False))
    .group_by(load_balancers.c.device_id)
)
_MONITOR_LOCKED = Prepared(
    select(health_monitors).where(health_monitors.c.id == sa.bindparam("monitor_id")).with_for_update()
)
_IS_DEVICE = Prepared(select(devices.c.id).where(devices.c.id == sa.bindparam("device_id")))
# In this order: MariaDB and MySQL go by what they have set already.
_BUMP = Prepared(
    update(devices)
    .where(devices.c.id == sa.bindparam("device_id"))
    .ordered_values(
        (
            devices.c.waiting_since,
            sa.case(
                (devices.c.desired_revision <= devices.c.applied_revision, db_now()), else_=devices.c.waiting_since
            ),
        ),
        (devices.c.desired_revision, devices.c.desired_revision + 1),
        (devices.c.retry_at, sa.null()),
        (devices.c.failures, 0),
    )
)
_HOSTS = Prepared(
    select(
        *(devices.c.id, devices.c.host, devices.c.vip_ranges),
        *(device_observations.c.managed_at, device_observations.c.own_addresses),
    )
    .select_from(devices.outerjoin(device_observations))
    .order_by(devices.c.id)
)
_QUOTAS = Prepared(select(tables.quotas).where(tables.quotas.c.project_id == sa.bindparam("project_id")))
_RESERVATIONS = tables.reservations
_LEAVING = Prepared(
    select(load_balancers.c.id)
    .where(
        load_balancers.c.moving_from == sa.bindparam("device_id"),
        load_balancers.c.move_phase.in_(sa.bindparam("phases", expanding=True)),
        load_balancers.c.deleted.is_(False),
    )
    .order_by(load_balancers.c.id)
)
_HOLDERS = Prepared(
    select(_RESERVATIONS).where(
        _RESERVATIONS.c.port == sa.bindparam("port"),
        _RESERVATIONS.c.address.in_(sa.bindparam("addresses", expanding=True)),
    )
)
_HELD_BY = Prepared(
    select(_RESERVATIONS).where(
        _RESERVATIONS.c.device_id == sa.bindparam("device_id"),
        _RESERVATIONS.c.load_balancer_id.in_(sa.bindparam("ids", expanding=True)),
    )
)
# Who has reserved them, and who has asked for them.
_USES_OF_ADDRESSES = (
    Prepared(
        select(
            *(_RESERVATIONS.c.address, _RESERVATIONS.c.load_balancer_id, _RESERVATIONS.c.device_id),
            load_balancers.c.project_id,
        )
        .select_from(_RESERVATIONS.outerjoin(load_balancers, load_balancers.c.id == _RESERVATIONS.c.load_balancer_id))
        .where(_RESERVATIONS.c.address.in_(sa.bindparam("addresses", expanding=True)))
    ),
    Prepared(
        select(
            *(virtual_ips.c.address, virtual_ips.c.load_balancer_id),
            *(load_balancers.c.device_id, load_balancers.c.project_id),
        )
        .select_from(virtual_ips.join(load_balancers))
        .where(virtual_ips.c.address.in_(sa.bindparam("addresses", expanding=True)))
    ),
)
_ACCEPTED = Prepared(
    select(accepted_blocks.c.load_balancer_id, accepted_blocks.c.text, load_balancers.c.deleted)
    .join_from(accepted_blocks, load_balancers, load_balancers.c.id == accepted_blocks.c.load_balancer_id)
    .where(accepted_blocks.c.device_id == sa.bindparam("device_id"))
    .order_by(accepted_blocks.c.load_balancer_id)
)
_OBSERVED = "observed "
_ALL_DEVICES = (
    select(devices, *(column.label(f"{_OBSERVED}{column.name}") for column in device_observations.c))
    .select_from(devices.outerjoin(device_observations, device_observations.c.device_id == devices.c.id))
    .order_by(devices.c.created_at, devices.c.id)
)
_DEVICES = Prepared(_ALL_DEVICES)
_SOME_DEVICES = Prepared(_ALL_DEVICES.where(devices.c.id.in_(sa.bindparam("ids", expanding=True))))
_DEVICE = Prepared(_ALL_DEVICES.where(devices.c.id == sa.bindparam("device_id")).order_by(None))
# Each load balancer with every object that was counted for it.
_STATISTICS = Prepared(
    select(
        load_balancers.c.id.label("balancer_id"),
        _SERVING.label("serving_device_id"),
        device_observations.c.sampled_at,
        db_now().label("now"),
        object_statistics,
    )
    .select_from(
        load_balancers.outerjoin(device_observations, device_observations.c.device_id == _SERVING).outerjoin(
            object_statistics, object_statistics.c.load_balancer_id == load_balancers.c.id
        )
    )
    .where(load_balancers.c.id.in_(sa.bindparam("ids", expanding=True)))
)
_MONITOR_USERS = Prepared(
    select(pool_health_monitors.c.health_monitor_id, load_balancers.c.id.label("user"))
    .select_from(pool_health_monitors.join(pools).join(load_balancers))
    .where(
        load_balancers.c.deleted.is_(False),
        pool_health_monitors.c.health_monitor_id.in_(sa.bindparam("ids", expanding=True)),
    )
)
_MONITOR_TIMES = Prepared(
    select(health_monitors.c.id, health_monitors.c.updated_at).where(
        health_monitors.c.id.in_(sa.bindparam("ids", expanding=True))
    )
)
_MONITORS = Prepared(select(health_monitors).where(health_monitors.c.id.in_(sa.bindparam("ids", expanding=True))))
_SOME = Prepared(select(load_balancers).where(load_balancers.c.id.in_(sa.bindparam("ids", expanding=True))))
_ON_DEVICE = Prepared(
    select(*_TELLING)
    .where(load_balancers.c.deleted.is_(False), load_balancers.c.device_id == sa.bindparam("device_id"))
    .order_by(load_balancers.c.created_at, load_balancers.c.id)
)
_CHILDREN_OF_SOME = _children_queries(
    select(load_balancers.c.id).where(load_balancers.c.id.in_(sa.bindparam("ids", expanding=True)))
)
_CHILDREN_OF_ONE = _children_queries(
    select(load_balancers.c.id).where(load_balancers.c.id == sa.bindparam("load_balancer_id"))
)


def _as_stored(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """To be compared only: what it means costs more to find out than to read it."""
    return sa.type_coerce(column, sa.String())


# A load balancer's parts, and the monitors it uses, change with its generation only.
_LEFT, _LEFT_OBSERVATION = devices.alias(), device_observations.alias()
_STAMPS = (
    select(
        load_balancers.c.id,
        load_balancers.c.project_id,
        load_balancers.c.generation,
        load_balancers.c.applied_generation,
        _as_stored(load_balancers.c.updated_at),
        load_balancers.c.device_id,
        _as_stored(devices.c.updated_at),
        devices.c.error,
        devices.c.waiting_for,
        device_observations.c.observed_at,
        device_observations.c.sampled_at,
        load_balancers.c.moving_from,
        load_balancers.c.move_phase,
        _as_stored(_LEFT.c.updated_at),
        _LEFT.c.error,
        _LEFT_OBSERVATION.c.observed_at,
        _LEFT_OBSERVATION.c.sampled_at,
    )
    .select_from(
        load_balancers.outerjoin(devices, devices.c.id == load_balancers.c.device_id)
        .outerjoin(device_observations, device_observations.c.device_id == load_balancers.c.device_id)
        .outerjoin(_LEFT, _LEFT.c.id == load_balancers.c.moving_from)
        .outerjoin(_LEFT_OBSERVATION, _LEFT_OBSERVATION.c.device_id == load_balancers.c.moving_from)
    )
    .where(load_balancers.c.deleted.is_(False))
    .order_by(load_balancers.c.created_at, load_balancers.c.id)
)
STAMPS_OF_PROJECT = _STAMPS.where(load_balancers.c.project_id == sa.bindparam("project_id"))
STAMP = STAMPS_OF_PROJECT.where(load_balancers.c.id == sa.bindparam("load_balancer_id")).order_by(None)

_MEMBERS = members
# A monitor that only deleted load balancers use goes with them, unless all of these are another project's.
_USED_BY = (
    pool_health_monitors.c.health_monitor_id == health_monitors.c.id,
    pools.c.id == pool_health_monitors.c.pool_id,
    load_balancers.c.id == pools.c.load_balancer_id,
)
_MONITOR_IS_THERE = sa.or_(
    ~exists().where(*_USED_BY, load_balancers.c.project_id == health_monitors.c.project_id).correlate(health_monitors),
    exists().where(*_USED_BY, load_balancers.c.deleted.is_(False)).correlate(health_monitors),
)

_OWNERS: Mapping[ObjectKind, Select[Any]] = {
    ObjectKind.LISTENER: select(listeners.c.id, listeners.c.load_balancer_id),
    ObjectKind.POOL: select(pools.c.id, pools.c.load_balancer_id),
    ObjectKind.MEMBER: select(members.c.id, pools.c.load_balancer_id).join(pools, pools.c.id == members.c.pool_id),
}


_COUNT = select(func.count())
_COUNTS: Mapping[QuotaResource, Select[Any]] = {
    QuotaResource.LOAD_BALANCER: _COUNT.select_from(load_balancers),
    QuotaResource.LISTENER: _COUNT.select_from(listeners.join(load_balancers)),
    QuotaResource.POOL: _COUNT.select_from(pools.join(load_balancers)),
    QuotaResource.MEMBER: _COUNT.select_from(members.join(pools).join(load_balancers)),
    QuotaResource.HEALTH_MONITOR: _COUNT.select_from(health_monitors),
    QuotaResource.L7_POLICY: _COUNT.select_from(l7_policies.join(listeners).join(load_balancers)),
    QuotaResource.L7_RULE: _COUNT.select_from(l7_rules.join(l7_policies).join(listeners).join(load_balancers)),
}
_OF_PROJECT: Mapping[QuotaResource, ColumnElement[str]] = {
    **dict.fromkeys(QuotaResource, load_balancers.c.project_id),
    QuotaResource.HEALTH_MONITOR: health_monitors.c.project_id,
}

# Where objects below a load balancer are, and what they count for.
_BELOW: Mapping[Table, QuotaResource] = {
    listeners: QuotaResource.LISTENER,
    pools: QuotaResource.POOL,
    members: QuotaResource.MEMBER,
    pool_health_monitors: QuotaResource.HEALTH_MONITOR,
    l7_policies: QuotaResource.L7_POLICY,
    l7_rules: QuotaResource.L7_RULE,
}


@dataclass(frozen=True, slots=True)
class _Place:
    """Where objects of a kind are stored, and how that hangs together with their load balancers."""

    table: Table
    path: FromClause


_BELOW_POOLS = load_balancers.join(pools, pools.c.load_balancer_id == load_balancers.c.id)
_BELOW_LISTENERS = load_balancers.join(listeners, listeners.c.load_balancer_id == load_balancers.c.id)
_BELOW_POLICIES = _BELOW_LISTENERS.join(l7_policies, l7_policies.c.listener_id == listeners.c.id)
_PLACES: Mapping[type, _Place] = {
    LoadBalancer: _Place(load_balancers, load_balancers),
    Listener: _Place(listeners, _BELOW_LISTENERS),
    Pool: _Place(pools, _BELOW_POOLS),
    Member: _Place(members, _BELOW_POOLS.join(members, members.c.pool_id == pools.c.id)),
    HealthMonitor: _Place(
        health_monitors,
        _BELOW_POOLS.join(pool_health_monitors, pool_health_monitors.c.pool_id == pools.c.id).join(
            health_monitors, health_monitors.c.id == pool_health_monitors.c.health_monitor_id
        ),
    ),
    L7Policy: _Place(l7_policies, _BELOW_POLICIES),
    L7Rule: _Place(l7_rules, _BELOW_POLICIES.join(l7_rules, l7_rules.c.l7_policy_id == l7_policies.c.id)),
}


@lru_cache
def _stamps_having(kind: type, names: tuple[str, ...], *, of_project: bool) -> Select[Any]:
    query = STAMPS_OF_PROJECT if of_project else _STAMPS
    if not names:
        return query
    place = _PLACES[kind]
    found = select(load_balancers.c.id).select_from(place.path)
    for name in names:
        found = found.where(place.table.c[name] == sa.bindparam(f"equal_{name}"))
    return query.where(load_balancers.c.id.in_(found.correlate(None)))


def stamp_from(row: Any) -> Stamp:
    return Stamp(load_balancer_id=row[0], project_id=row[1], state=tuple(row))


def _states(rows: Iterable[Row], device_id: str) -> dict[str, ObjectState]:
    """Object id to state. What several devices counted is added up; the present one's word is the status."""
    states: dict[str, ObjectState] = {}
    for row in rows:
        state = mapping.state_from(row)
        if row["device_id"] != device_id:
            state = replace(state, status=None)
        other = states.get(state.object_id)
        if other is not None:
            status = state.status if other.status is None else other.status
            state = replace(state, status=status, counters=add(state.counters, other.counters))
        states[state.object_id] = state
    return states


def _key_conditions(table: Table) -> list[ColumnElement[bool]]:
    return [column == sa.bindparam(f"key_{column.name}") for column in table.primary_key.columns]


def _uses(balancer: LoadBalancer, monitor_id: str) -> bool:
    return any(monitor_id in pool.health_monitor_ids for pool in balancer.pools)


@lru_cache
def _insert(table: Table) -> Prepared:
    return Prepared(insert(table))


@lru_cache
def _update(table: Table) -> Prepared:
    return Prepared(update(table).where(*_key_conditions(table)))


@lru_cache
def _delete(table: Table) -> Prepared:
    return Prepared(delete(table).where(*_key_conditions(table)))


_UPDATE_ONE_SEEN = Prepared(
    update(load_balancers).where(
        *_key_conditions(load_balancers), load_balancers.c.generation == sa.bindparam("seen_generation")
    )
)


def _device(row: Row) -> Device:
    """Of a row of `_DEVICES`."""
    observed: Values | None = None
    if row[f"{_OBSERVED}device_id"] is not None:
        observed = {column.name: row[f"{_OBSERVED}{column.name}"] for column in device_observations.c}
    return mapping.device_from(row, None if observed is None else mapping.observation_from(observed))


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _batches(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for start in range(0, len(values), _BATCH):
        yield values[start : start + _BATCH]
