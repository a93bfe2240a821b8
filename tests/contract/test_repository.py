"""What every database must keep, refuse and tell: the ports `Repository` and `Transaction`."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from balancer.core import moves, rules
from balancer.core.model import (
    AdminState,
    Applied,
    Candidate,
    Device,
    DeviceSpec,
    HealthMonitor,
    Host,
    L7Policy,
    L7Rule,
    Lease,
    Listener,
    LoadBalancer,
    LoadBalancerError,
    Member,
    Move,
    MovePhase,
    PersistenceKind,
    Pool,
    Reservation,
    SessionPersistence,
    Stamp,
    Tree,
    VirtualIp,
    new_id,
)
from balancer.core.ports import Progress, Transaction
from balancer.db.engine import db_now, make_engine
from balancer.db.mapping import opened
from balancer.db.repository import SqlRepository
from balancer.exceptions import (
    Conflict,
    DatabaseUnavailable,
    InvalidInput,
    LeaseLost,
    NotFound,
    StaleGeneration,
)
from tests.contract import samples, servers
from tests.contract.databases import DatabaseCase, Mariadb, OnServer, Postgresql, SqliteFile
from tests.statements import note_statements

if TYPE_CHECKING:
    Suite = DatabaseCase
    OnServerSuite = OnServer
else:
    Suite = OnServerSuite = object

ROOT = Path(__file__).resolve().parents[2]


# Quotas are a project's; that addresses are given back is in `test_networks`; keys and workers are everybody's.
NOT_OF_A_DEVICE = {
    *("encryption", "fixed_ips", "network_ports", "networks", "placement_profiles", "placements", "quotas"),
    *("removed_objects", "subnets", "workers"),
}


class Steps(Suite):
    """What the tests do again and again."""

    def add_device(self, device: Device | None = None) -> Device:
        device = device or samples.device()
        with self.repository.write() as tx:
            tx.add_device(device)
        return device

    def add(self, load_balancer: LoadBalancer, *monitors: HealthMonitor) -> LoadBalancer:
        """As the service does: store, reserve, bump."""
        with self.repository.write() as tx:
            for monitor in monitors:
                tx.save_monitor(monitor)
            tx.add_load_balancer(load_balancer)
            tx.add_reservations(rules.wanted_reservations(load_balancer))
            tx.bump(load_balancer.device_id)
        return load_balancer

    def change(self, load_balancer_id: str, change: Callable[[LoadBalancer], LoadBalancer]) -> LoadBalancer:
        """As the service does, a move included; returns what was stored."""
        with self.repository.write() as tx:
            old = tx.load_balancer(load_balancer_id, include_deleted=True)
            new = replace(change(old), generation=old.generation + 1)
            accepted = tx.is_accepted(moves.serving_device_id(old), old.id)
            new = replace(new, move=moves.next_move(old, new, tx.device(new.device_id), accepted=accepted))
            tx.save_load_balancer(new, seen=old.generation)
            if not new.deleted:
                tx.add_reservations(rules.wanted_reservations(new))
            for device_id in moves.concerned(old, new) if new.deleted else moves.to_deploy(old, new):
                tx.bump(device_id)
            return tx.load_balancer(load_balancer_id, include_deleted=True)

    def remove(self, load_balancer_id: str) -> None:
        self.change(load_balancer_id, lambda each: replace(each, deleted=True))

    def to_port(self, port: int) -> Callable[[LoadBalancer], LoadBalancer]:
        return lambda each: replace(each, listeners=tuple(replace(li, port=port) for li in each.listeners))

    def get(self, load_balancer_id: str) -> LoadBalancer:
        with self.repository.read() as tx:
            return tx.load_balancer(load_balancer_id, include_deleted=True)

    def get_device(self, device_id: str) -> Device:
        with self.repository.read() as tx:
            return tx.device(device_id)

    def lease(self, device_id: str) -> Lease:
        lease = self.leases.claim(device_id)
        assert lease is not None
        return lease

    def spec(self, device_id: str) -> DeviceSpec:
        spec = self.repository.load_spec(device_id)
        assert spec is not None
        return spec

    def record(
        self,
        lease: Lease,
        spec: DeviceSpec,
        *,
        rejected: dict[str, str] | None = None,
        keeps: dict[str, str] | None = None,
    ) -> None:
        """A deployment of the spec succeeded; each block says its generation, but for those of `keeps`."""
        blocks = {
            each.id: f"{each.id} {each.generation}" for each in spec.load_balancers if each.id not in (rejected or {})
        }
        applied = Applied(
            plan="reload", sentence="", accepted_blocks={**blocks, **(keeps or {})}, rejected=rejected or {}
        )
        self.repository.record_applied(lease, spec, samples.NO_CANDIDATE, applied)

    def deploy(self, device_id: str) -> None:
        lease = self.lease(device_id)
        self.record(lease, self.spec(device_id))
        self.leases.release(lease)

    def held(self, device_id: str) -> list[tuple[str, int]]:
        with self.repository.read() as tx:
            return [(each.address, each.port) for each in tx.reservations(device_id)]

    def stored_rows(self) -> dict[str, int]:
        tables = sa.inspect(self.engine).get_table_names()
        return {name: int(str(self.query(f"SELECT count(*) FROM {name}")[0][0])) for name in tables}


class DevicesContract(Steps):
    def test_every_attribute_comes_back(self) -> None:
        device = samples.full_device()
        self.assertEqual(
            [
                *(".desired_revision", ".applied_revision", ".error", ".waiting_for", ".adopting", ".deployed_epoch"),
                *(".resyncing", ".observation", ".created_at", ".updated_at"),
            ],
            samples.defaults_in(device),
        )
        self.add_device(device)
        stored = self.spec(device.id).device
        self.assertEqual(replace(device, deployed_epoch=0), replace(stored, created_at=None, updated_at=None))
        self.assertEqual(list(samples.EXTRAS), list(stored.extras))

    def test_a_device_with_the_least_comes_back(self) -> None:
        device = self.add_device(samples.device(config_path=None))
        stored = self.spec(device.id).device
        self.assertEqual(replace(device, deployed_epoch=0), replace(stored, created_at=None, updated_at=None))

    def test_devices_are_listed_the_oldest_first(self) -> None:
        added = [self.add_device().id for _ in range(4)]
        with self.repository.read() as tx:
            self.assertEqual(added, [each.id for each in tx.devices()])

    def test_two_devices_with_the_same_host_port_and_path_are_refused_by_name(self) -> None:
        device = self.add_device()
        with self.assertRaises(Conflict) as caught, self.repository.write() as tx:
            tx.add_device(replace(device, id=new_id(), name="second"))
        self.assertIn(device.name, str(caught.exception))
        self.assertIn(device.id, str(caught.exception))
        with self.repository.read() as tx:
            self.assertEqual(1, len(tx.devices()))

    def test_no_error_tells_a_password(self) -> None:
        device = samples.full_device()
        self.add_device(device)
        with self.assertRaises(Conflict) as caught:
            self.add_device(replace(device, config_path="/another"))
        told = "".join(traceback.format_exception(caught.exception))
        self.assertRegex(told, "IntegrityError|UniqueViolation")
        self.assertNotIn(device.endpoint.credential.password or "", told)

    def test_another_port_or_path_on_the_same_host_is_another_device(self) -> None:
        device = self.add_device()
        self.add_device(replace(device, id=new_id(), config_path="/etc/haproxy/other.cfg"))
        self.add_device(replace(device, id=new_id(), endpoint=replace(device.endpoint, port=23)))

    def test_a_change_to_the_location_of_another_device_is_refused(self) -> None:
        first, second = self.add_device(), self.add_device()
        with self.assertRaises(Conflict), self.repository.write() as tx:
            tx.save_device(replace(second, endpoint=first.endpoint))
        with self.repository.write() as tx:
            tx.save_device(replace(first, name="new name"))

    def test_saving_keeps_revisions_observation_and_error(self) -> None:
        device = self.add_device()
        lb = self.add(samples.load_balancer(device.id))
        lease = self.lease(device.id)
        self.repository.record_observation(lease, samples.observation())
        self.repository.record_failure(lease, self.spec(device.id), "it broke", retry_after=None)
        before = self.get_device(device.id)
        changed = replace(device, name="other", desired_revision=70, applied_revision=70, error=None, observation=None)
        with self.repository.write() as tx:
            tx.save_device(changed)
        after = self.get_device(device.id)
        was, now = before.endpoint.credential.password, after.endpoint.credential.password
        self.assertEqual(self.secrets.open(was or ""), self.secrets.open(now or ""))
        after = replace(after, endpoint=before.endpoint)
        self.assertEqual(replace(before, name="other", updated_at=None), replace(after, updated_at=None))
        self.assertEqual("it broke", after.error)
        self.assertEqual(lb.id, self.spec(device.id).load_balancers[0].id)

    def test_updated_at_follows_changes_only(self) -> None:
        device = self.add_device()
        stored = self.get_device(device.id)
        self.assertEqual(stored.created_at, stored.updated_at)
        self.assertLess(abs(time.time() - moment(stored.created_at)), 60)
        with self.repository.write() as tx:
            tx.save_device(stored)
            tx.bump(device.id)
        self.assertEqual(stored.updated_at, self.get_device(device.id).updated_at)
        with self.repository.write() as tx:
            tx.save_device(replace(stored, name="other"))
        again = self.get_device(device.id)
        self.assertEqual(stored.created_at, again.created_at)
        self.assertGreater(moment(again.updated_at), moment(stored.updated_at))

    def test_an_unknown_device_is_not_found(self) -> None:
        for call in (
            lambda tx: tx.device("x"),
            lambda tx: tx.save_device(samples.device()),
            lambda tx: tx.delete_device("x"),
            lambda tx: tx.bump("x"),
            lambda tx: tx.add_load_balancer(samples.load_balancer("x")),
        ):
            with self.assertRaises(NotFound), self.repository.write() as tx:
                call(tx)
        self.assertIsNone(self.repository.load_spec("x"))

    def test_deleting_a_device_leaves_nothing_of_it(self) -> None:
        empty = self.stored_rows()
        device, monitor = self.add_device(), samples.full_monitor()
        full = replace(samples.full_load_balancer(device.id, (monitor.id,)), deleted=False)
        self.add(full, monitor)
        sample = samples.device_sample(*samples.sample_of(full, 1))
        lease = self.lease(device.id)
        self.repository.record_observation(lease, replace(samples.full_observation(), sample=sample))
        self.record(lease, self.spec(device.id))
        self.assertEqual(NOT_OF_A_DEVICE, {name for name, count in self.stored_rows().items() if not count})
        with self.repository.write() as tx:
            tx.delete_device(device.id)
        self.assertEqual(empty, self.stored_rows())

    def test_deleting_a_device_keeps_monitors_used_elsewhere(self) -> None:
        one, two, monitor = self.add_device(), self.add_device(), samples.monitor()
        kept = None
        for device in (one, two):
            lb = samples.load_balancer(device.id)
            kept = self.add(replace(lb, pools=(replace(lb.pools[0], health_monitor_ids=(monitor.id,)),)), monitor)
        assert kept is not None
        with self.repository.write() as tx:
            tx.delete_device(one.id)
            self.assertEqual([monitor.id], [each.id for each in tx.monitors([monitor.id])])
            self.assertEqual((monitor.id,), tx.load_balancer(kept.id).pools[0].health_monitor_ids)


class LoadBalancersContract(Steps):
    def setUp(self) -> None:
        super().setUp()
        self.device = self.add_device()

    def test_every_attribute_comes_back(self) -> None:
        monitors = (samples.full_monitor(), samples.monitor())
        self.assertEqual([".created_at", ".updated_at"], samples.defaults_in(monitors[0]))
        move = Move(device_id=self.add_device().id, phase=MovePhase.PREPARE)
        lb = samples.full_load_balancer(self.device.id, tuple(each.id for each in monitors), move=move)
        self.assertEqual([], [each for each in samples.defaults_in(lb) if not each.endswith("_at")])
        self.add(lb, *monitors)
        stored = self.get(lb.id)
        self.assertEqual(lb, without_times(stored))
        self.assertEqual(list(samples.EXTRAS), list(stored.pools[0].members[0].extras))
        with self.repository.read() as tx:
            found = tx.monitors([monitors[1].id, "x", monitors[0].id])
        self.assertEqual(
            [monitors[1], monitors[0]], [replace(each, created_at=None, updated_at=None) for each in found]
        )

    def test_a_load_balancer_with_the_least_comes_back(self) -> None:
        lb = LoadBalancer(id=new_id(), project_id=samples.PROJECT, device_id=self.device.id)
        self.add(lb)
        self.assertEqual(lb, without_times(self.get(lb.id)))

    def test_lists_are_by_project_and_device_and_the_oldest_first(self) -> None:
        other = self.add_device()
        ids = [self.add(samples.load_balancer(self.device.id, port=port)).id for port in range(1, 5)]
        elsewhere = self.add(samples.load_balancer(other.id)).id
        foreign = self.add(samples.load_balancer(other.id, port=81, project_id="p")).id
        self.remove(ids[2])
        with self.repository.read() as tx:
            self.assertEqual([ids[0], ids[1], ids[3], elsewhere], ids_of(tx.load_balancers(project_id=samples.PROJECT)))
            self.assertEqual([elsewhere, foreign], ids_of(tx.load_balancers(device_id=other.id)))
            self.assertEqual([foreign], ids_of(tx.load_balancers(device_id=other.id, project_id="p")))
            self.assertEqual(ids, ids_of(tx.load_balancers(device_id=self.device.id, include_deleted=True)))
            self.assertEqual([], tx.load_balancers(project_id="nobody"))
            self.assertEqual(self.get(ids[1]), tx.load_balancers(project_id=samples.PROJECT)[1])

    def test_a_load_balancers_stamp_is_another_after_every_change_that_shows(self) -> None:
        other = self.add_device()
        lb, beside = (self.add(samples.load_balancer(self.device.id, port=port)) for port in (80, 81))
        self.add(samples.load_balancer(other.id, port=82, project_id="p"))

        def stamp() -> Stamp:
            with self.repository.read() as tx:
                first, second = tx.stamps(project_id=samples.PROJECT)
                self.assertEqual([first], tx.stamps(project_id=samples.PROJECT, load_balancer_id=lb.id))
                self.assertEqual([], tx.stamps(project_id="p", load_balancer_id=lb.id))
            self.assertEqual([lb.id, beside.id], [first.load_balancer_id, second.load_balancer_id])
            return first

        def save_device() -> None:
            with self.repository.write() as tx:
                tx.save_device(replace(tx.device(self.device.id), admin_state=AdminState.DRAINED))

        changes: dict[str, Callable[[], object]] = {
            "changed": lambda: self.change(lb.id, lambda each: replace(each, name="other")),
            "refused": lambda: self.record(held, self.spec(self.device.id), rejected={lb.id: "no"}),
            "applied": lambda: self.record(held, self.spec(self.device.id)),
            "observed": lambda: self.repository.record_observation(held, samples.observation()),
            "failed": lambda: self.repository.record_failure(held, self.spec(self.device.id), "bad", retry_after=1),
            "device": save_device,
            "moved": lambda: self.change(lb.id, lambda each: replace(each, device_id=other.id)),
        }
        held, before = self.lease(self.device.id), stamp()
        self.assertEqual(before, stamp())
        for what, change in changes.items():
            with self.subTest(what):
                change()
                self.assertNotEqual(before, stamp())
                before = stamp()
        self.change(beside.id, lambda each: replace(each, name="other"))
        self.assertEqual(before, stamp())
        with self.repository.read() as tx:
            self.assertEqual(ids_of([self.get(lb.id)]), ids_of(tx.load_balancers(ids=[lb.id, "x"])))
            self.assertEqual([other.id], [each.id for each in tx.devices(ids=[other.id, "x"])])

    def test_what_a_placement_asks_for(self) -> None:
        other, empty = self.add_device(), self.add_device()
        first, second = (self.add(samples.load_balancer(self.device.id, port=port)) for port in (80, 81))
        elsewhere = self.add(samples.load_balancer(other.id, port=80))
        self.remove(second.id)
        (wanted,) = rules.wanted_addresses(first)
        with self.repository.read() as tx:
            counts = tx.load_balancer_counts()
            found = tx.holders([wanted, ("192.0.2.99", 80), (wanted[0], 82)])
            self.assertEqual([], tx.holders([]))
        self.assertEqual({self.device.id: 1, other.id: 1}, counts)
        self.assertNotIn(empty.id, counts)
        self.assertEqual(
            {(self.device.id, first.id), (other.id, elsewhere.id)},
            {(each.device_id, each.load_balancer_id) for each in found},
        )

    def test_whose_an_address_is(self) -> None:
        first = self.add(samples.load_balancer(self.device.id, port=80))
        (vip,) = first.virtual_ips
        silent = replace(samples.load_balancer(self.device.id), listeners=())
        silent = self.add(replace(silent, virtual_ips=(VirtualIp(id=new_id(), address="203.0.113.99"),)))
        gone = self.add_device()
        with self.repository.write() as tx:
            left = Reservation(device_id=gone.id, address=vip.address, port=81, load_balancer_id=new_id())
            tx.add_reservations([left])
        with self.repository.read() as tx:
            found = tx.address_uses([vip.address, "203.0.113.99", "203.0.113.98"])
            self.assertEqual([], tx.address_uses([]))
        self.assertEqual(
            {
                (vip.address, first.id, self.device.id, samples.PROJECT),
                (vip.address, left.load_balancer_id, gone.id, None),
                ("203.0.113.99", silent.id, self.device.id, samples.PROJECT),
            },
            {(each.address, each.load_balancer_id, each.device_id, each.project_id) for each in found},
        )

    def test_what_is_known_of_the_addresses_of_devices(self) -> None:
        other = self.add_device()
        lease = self.lease(self.device.id)
        self.repository.record_observation(lease, samples.full_observation())
        host = Host(
            device_id=self.device.id,
            managed=(self.device.endpoint.host, "192.0.2.2"),
            own=("192.0.2.1", "2001:db8::1"),
            vip_ranges=self.device.vip_ranges,
        )
        for _ in range(2):
            with self.repository.read() as tx:
                hosts = {each.device_id: each for each in tx.hosts()}
            self.assertEqual(host, hosts[self.device.id])
            self.assertEqual((other.endpoint.host,), hosts[other.id].managed)
            # It has not lost them because it does not answer.
            self.repository.record_observation(lease, samples.observation(reachable=False))
            spec = self.spec(self.device.id)
            self.assertEqual(set(hosts.values()), set(spec.hosts))

    def test_a_deleted_load_balancer_shows_only_when_asked_for(self) -> None:
        lb = self.add(samples.load_balancer(self.device.id))
        self.remove(lb.id)
        with self.repository.read() as tx:
            self.assertRaises(NotFound, tx.load_balancer, lb.id)
            self.assertTrue(tx.load_balancer(lb.id, include_deleted=True).deleted)
            self.assertRaises(NotFound, tx.load_balancer, "x", include_deleted=True)

    def test_the_number_of_queries_does_not_grow_with_the_load_balancers(self) -> None:
        seen: list[str] = []
        note_statements(self.engine, seen)

        def queries() -> int:
            seen.clear()
            with self.repository.read() as tx:
                tx.load_balancers(project_id=samples.PROJECT)
            return len(seen)

        self.add(samples.load_balancer(self.device.id, port=1))
        few = queries()
        for port in range(2, 12):
            self.add(samples.load_balancer(self.device.id, port=port))
        self.assertEqual(few, queries())
        self.assertTrue(0 < few <= 12, seen)

    def test_a_save_on_an_older_generation_is_refused_and_stores_nothing(self) -> None:
        lb = self.add(samples.load_balancer(self.device.id))
        self.change(lb.id, lambda each: replace(each, name="first"))
        before = self.get(lb.id)
        with self.assertRaises(StaleGeneration), self.repository.write() as tx:
            tx.save_load_balancer(replace(lb, generation=2, name="second", pools=(), listeners=()), seen=1)
        self.assertEqual(before, self.get(lb.id))
        with self.assertRaises(StaleGeneration), self.repository.write() as tx:
            tx.save_load_balancer(replace(lb, id=new_id(), generation=2), seen=1)

    def test_children_are_added_changed_removed_and_reordered(self) -> None:
        monitors = (samples.monitor(), samples.monitor(), samples.monitor())
        lb = samples.full_load_balancer(self.device.id, tuple(each.id for each in monitors[:2]))
        self.add(lb, *monitors)
        pool, gone = lb.pools
        listener = lb.listeners[0]
        policy = listener.l7_policies[0]
        new = replace(
            lb,
            virtual_ips=(*reversed(lb.virtual_ips), VirtualIp(id=new_id(), address="192.0.2.77")),
            pools=(
                replace(samples.load_balancer("").pools[0], id=new_id()),
                replace(
                    pool,
                    # One comes from the pool that goes, one goes, one is new, and the order is another.
                    members=(gone.members[1], pool.members[2], replace(pool.members[0], weight=99), new_member()),
                    health_monitor_ids=(monitors[2].id, monitors[0].id),
                    session_persistence=replace(pool.session_persistence, id=new_id()),  # type: ignore[type-var]
                ),
            ),
            listeners=(
                lb.listeners[2],
                replace(
                    listener,
                    default_pool_id=pool.id,
                    extras={"one": True},
                    l7_policies=(
                        listener.l7_policies[1],
                        replace(policy, redirect={}, rules=(policy.rules[1], policy.rules[0])),
                    ),
                ),
            ),
        )
        new = replace(
            new,
            listeners=tuple(
                replace(each, default_pool_id=None if each.id != listener.id else pool.id) for each in new.listeners
            ),
        )
        stored = self.change(lb.id, lambda _: new)
        self.assertEqual(replace(new, generation=8), without_times(stored))
        self.assertEqual(without_times(stored), without_times(self.get(lb.id)))
        back = self.change(lb.id, lambda _: lb)
        self.assertEqual(replace(lb, generation=9), without_times(back))
        bare = self.change(lb.id, lambda each: replace(each, virtual_ips=(), listeners=(), pools=()))
        self.assertEqual(((), (), ()), (bare.virtual_ips, bare.listeners, bare.pools))
        left = self.stored_rows()
        for table in ("members", "l7_rules", "l7_policies", "session_persistences", "pool_health_monitors"):
            self.assertEqual(0, left[table], table)

    def test_extras_that_python_holds_for_equal_are_told_apart(self) -> None:
        lb = samples.load_balancer(self.device.id)
        self.add(replace(lb, listeners=(replace(lb.listeners[0], extras={"a": 1, "b": 2}),)))
        for extras in ({"a": True, "b": 2}, {"a": 1.0, "b": 2}, {"b": 2, "a": 1}):
            listeners = (replace(lb.listeners[0], extras=extras),)
            stored = self.change(lb.id, partial(replace, listeners=listeners))
            self.assertEqual(repr(extras), repr(stored.listeners[0].extras))

    def test_times_of_a_child_follow_its_own_changes(self) -> None:
        lb = self.add(samples.load_balancer(self.device.id, members=3))
        before = self.get(lb.id)
        pool = before.pools[0]
        first, second, third = pool.members
        self.assertTrue(all(each.created_at == each.updated_at == before.created_at for each in pool.members))
        # The first goes, so that the others move up; the third is changed.
        after = self.change(
            lb.id,
            lambda each: replace(
                each, pools=(replace(pool, members=(second, replace(third, weight=7), new_member())),)
            ),
        )
        stayed, changed, added = after.pools[0].members
        self.assertEqual(second, stayed)
        self.assertEqual(third.created_at, changed.created_at)
        self.assertEqual(after.updated_at, changed.updated_at)
        self.assertEqual(added.created_at, added.updated_at)
        self.assertGreater(moment(added.created_at), moment(first.created_at))
        self.assertEqual(
            (pool.updated_at, before.listeners[0].updated_at),
            (after.pools[0].updated_at, after.listeners[0].updated_at),
        )
        self.assertEqual(before.created_at, after.created_at)
        self.assertGreater(moment(after.updated_at), moment(before.updated_at))

    def test_a_session_persistence_is_part_of_its_pool(self) -> None:
        before = self.get(self.add(samples.load_balancer(self.device.id)).id)
        (pool,) = before.pools
        persistence = SessionPersistence(id=new_id(), kind=PersistenceKind.SOURCE_IP)
        for wanted in (persistence, replace(persistence, timeout=60), None):
            after = self.change(before.id, partial(replace, pools=(replace(pool, session_persistence=wanted),)))
            self.assertEqual(wanted, after.pools[0].session_persistence)
            self.assertGreater(moment(after.pools[0].updated_at), moment(before.pools[0].updated_at))
            self.assertEqual(pool.created_at, after.pools[0].created_at)
            self.assertEqual(after.changed_at, after.pools[0].updated_at)
            self.assertEqual(before.listeners[0].updated_at, after.listeners[0].updated_at)
            before = after

    def test_who_holds_an_object_is_found_by_its_columns(self) -> None:
        monitors = (samples.full_monitor(), samples.monitor())
        full = replace(
            samples.full_load_balancer(self.device.id, tuple(each.id for each in monitors)), deleted=False, name="full"
        )
        other = samples.load_balancer(self.device.id, project_id="other", name="other")
        self.add(full, *monitors)
        self.add(other)
        gone = self.add(samples.load_balancer(self.device.id, port=81, name="gone"))
        self.remove(gone.id)
        listener, pool = full.listeners[1], full.pools[1]
        policy = listener.l7_policies[0]
        everything: tuple[tuple[type, Any], ...] = (
            (LoadBalancer, full),
            (Listener, listener),
            (Pool, pool),
            (Member, pool.members[1]),
            (HealthMonitor, monitors[1]),
            (L7Policy, policy),
            (L7Rule, policy.rules[1]),
        )
        with self.repository.read() as tx:

            def found(kind: type, project_id: str | None = None, **equal: object) -> list[str]:
                stamps = tx.stamps_having(kind, equal, project_id=project_id)
                self.assertEqual(
                    [each.project_id for each in tx.load_balancers(ids=[s.load_balancer_id for s in stamps])],
                    [each.project_id for each in stamps],
                )
                return [each.load_balancer_id for each in stamps]

            for kind, each in everything:
                with self.subTest(kind.__name__):
                    self.assertEqual([full.id], found(kind, id=each.id))
                    self.assertEqual([], found(kind, "other", id=each.id))
                    self.assertEqual([], found(kind, id=new_id()))
            self.assertEqual([full.id, other.id], found(LoadBalancer))
            self.assertEqual([other.id], found(LoadBalancer, "other"))
            # Several of them in one load balancer are one load balancer.
            self.assertEqual([full.id], found(Listener, name="listener"))
            self.assertEqual([other.id], found(Listener, port=80, name=""))
            self.assertEqual([], found(LoadBalancer, name="gone"))

    def test_saving_leaves_what_deployments_recorded(self) -> None:
        lb = self.add(samples.load_balancer(self.device.id))
        lease, spec = self.lease(self.device.id), self.spec(self.device.id)
        self.repository.record_applied(
            lease,
            spec,
            Candidate(head="", blocks={}, digest="", notices={lb.id: ("a notice",)}),
            Applied(plan="reload", sentence="", accepted_blocks={lb.id: "block"}),
        )
        after = self.change(
            lb.id, lambda each: replace(lb, name="other", error=LoadBalancerError(sentence="e", generation=2))
        )
        self.assertEqual((1, ("a notice",)), (after.applied_generation, after.notices))
        self.assertEqual(LoadBalancerError(sentence="e", generation=2), after.error)
        self.assertEqual({lb.id: "block"}, self.spec(self.device.id).accepted_blocks)

    def test_what_a_device_accepted_means_nothing_on_another(self) -> None:
        lb = self.add(samples.load_balancer(self.device.id))
        self.deploy(self.device.id)
        other = self.add_device()
        self.change(lb.id, lambda each: replace(each, device_id=other.id))
        self.assertEqual({}, self.spec(other.id).accepted_blocks)
        self.assertEqual({lb.id: f"{lb.id} 1"}, self.spec(self.device.id).kept)

    def test_an_id_is_used_once(self) -> None:
        lb = self.add(samples.load_balancer(self.device.id))
        again = samples.load_balancer(self.device.id, port=81)
        for twice in (replace(again, id=lb.id), replace(again, pools=lb.pools, listeners=())):
            with self.assertRaises(Conflict) as caught:
                self.add(twice)
            self.assertNotIn("INSERT", str(caught.exception))
        with self.repository.read() as tx:
            self.assertEqual([lb.id], ids_of(tx.load_balancers()))

    def test_monitors_are_replaced_and_deleted(self) -> None:
        monitor, other = samples.full_monitor(), samples.monitor()
        lb = samples.load_balancer(self.device.id)
        lb = replace(lb, pools=(replace(lb.pools[0], health_monitor_ids=(monitor.id, other.id)),))
        self.add(lb, monitor, other)
        with self.repository.write() as tx:
            stored = tx.monitors([monitor.id])[0]
            tx.save_monitor(stored)
            self.assertEqual([stored], tx.monitors([monitor.id]))
            tx.save_monitor(replace(stored, delay=60.0, http=None))
            changed = tx.monitors([monitor.id])[0]
            self.assertEqual((60.0, None, stored.created_at), (changed.delay, changed.http, changed.created_at))
            self.assertGreater(moment(changed.updated_at), moment(stored.updated_at))
            tx.delete_monitor(monitor.id)
            tx.delete_monitor(monitor.id)
            self.assertEqual([], tx.monitors([monitor.id]))
            self.assertEqual((other.id,), tx.load_balancer(lb.id).pools[0].health_monitor_ids)
            self.assertEqual([], tx.monitors([]))

    def test_texts_are_equal_only_when_they_are_the_same_to_the_letter(self) -> None:
        names = ["foo", "Foo", "foo ", "fòo", "😀", "ß", "ss"]
        for port, name in enumerate(names, 1):
            self.add(samples.load_balancer(self.device.id, port=port, project_id=name, name=name))
        with self.repository.read() as tx:
            for name in names:
                self.assertEqual([name], [each.name for each in tx.load_balancers(project_id=name)])

    def test_values_that_cannot_be_stored_are_refused_in_words(self) -> None:
        for bad in (
            samples.load_balancer(self.device.id, name="\ud800"),
            samples.load_balancer(self.device.id, port=2**80),
        ):
            with self.assertRaises(InvalidInput) as caught:
                self.add(bad)
            self.assertIn("cannot be stored", str(caught.exception))
        with self.repository.read() as tx:
            self.assertEqual([], tx.load_balancers())

    def test_an_exception_undoes_everything(self) -> None:
        before = self.stored_rows()
        with self.assertRaises(ZeroDivisionError), self.repository.write() as tx:
            tx.add_device(samples.device())
            tx.add_load_balancer(samples.load_balancer(self.device.id))
            raise ZeroDivisionError
        self.assertEqual(before, self.stored_rows())


class ReservationsContract(Steps):
    def setUp(self) -> None:
        super().setUp()
        self.device = self.add_device()

    def test_an_address_and_port_belong_to_one_load_balancer(self) -> None:
        self.add(samples.load_balancer(self.device.id, address="192.0.2.1", port=80))
        with self.assertRaises(Conflict) as caught:
            self.add(samples.load_balancer(self.device.id, address="192.0.2.1", port=80))
        self.assertIn("192.0.2.1:80", str(caught.exception))
        with self.repository.read() as tx:
            self.assertEqual(1, len(tx.load_balancers()))

    def test_a_taken_wildcard_is_named_in_words(self) -> None:
        self.add(samples.load_balancer(self.device.id))
        with self.assertRaises(Conflict) as caught:
            self.add(samples.load_balancer(self.device.id))
        self.assertRegex(str(caught.exception), "^Port 80 on every address")

    def test_what_differs_in_address_port_or_device_is_free(self) -> None:
        self.add(samples.load_balancer(self.device.id))
        self.add(samples.load_balancer(self.device.id, port=81))
        self.add(samples.load_balancer(self.device.id, address="192.0.2.1"))
        self.add(samples.load_balancer(self.add_device().id))
        self.assertEqual([("*", 80), ("*", 81), ("192.0.2.1", 80)], self.held(self.device.id))

    def test_ones_own_may_be_asked_for_again(self) -> None:
        lb = self.add(samples.load_balancer(self.device.id))
        own = Reservation(device_id=self.device.id, address="*", port=80, load_balancer_id=lb.id)
        with self.repository.write() as tx:
            tx.add_reservations([own, own, replace(own, port=81), replace(own, port=81)])
            tx.add_reservations([])
            self.assertEqual([own, replace(own, port=81)], tx.reservations(self.device.id))

    def test_two_in_one_call_cannot_have_the_same(self) -> None:
        one = Reservation(device_id=self.device.id, address="::1", port=80, load_balancer_id=new_id())
        with self.assertRaises(Conflict) as caught, self.repository.write() as tx:
            tx.add_reservations([one, replace(one, load_balancer_id=new_id())])
        self.assertIn("[::1]:80", str(caught.exception))
        self.assertEqual([], self.held(self.device.id))

    def test_a_deleted_ones_address_is_free_only_after_its_device_runs_without_it(self) -> None:
        lb = self.add(samples.load_balancer(self.device.id))
        self.deploy(self.device.id)
        self.remove(lb.id)
        with self.assertRaises(Conflict):
            self.add(samples.load_balancer(self.device.id))
        self.deploy(self.device.id)
        self.assertEqual([], self.held(self.device.id))
        self.add(samples.load_balancer(self.device.id))

    def test_a_left_port_is_free_only_after_the_device_runs_without_it(self) -> None:
        lb = self.add(samples.load_balancer(self.device.id))
        self.deploy(self.device.id)
        self.change(lb.id, self.to_port(81))
        self.assertEqual([("*", 80), ("*", 81)], self.held(self.device.id))
        self.deploy(self.device.id)
        self.assertEqual([("*", 81)], self.held(self.device.id))

    def test_an_admin_down_load_balancer_keeps_its_addresses(self) -> None:
        self.add(samples.load_balancer(self.device.id, admin_up=False))
        self.deploy(self.device.id)
        self.assertEqual([("*", 80)], self.held(self.device.id))

    def test_nothing_is_freed_of_what_changed_during_the_deployment(self) -> None:
        lb = self.add(samples.load_balancer(self.device.id))
        self.deploy(self.device.id)
        self.change(lb.id, self.to_port(81))
        lease, spec = self.lease(self.device.id), self.spec(self.device.id)
        self.change(lb.id, self.to_port(80))
        self.record(lease, spec)
        self.assertEqual([("*", 80), ("*", 81)], self.held(self.device.id))
        self.record(lease, self.spec(self.device.id))
        self.assertEqual([("*", 80)], self.held(self.device.id))

    def test_nothing_is_freed_of_what_was_rejected(self) -> None:
        lb = self.add(samples.load_balancer(self.device.id))
        self.deploy(self.device.id)
        self.change(lb.id, self.to_port(81))
        lease = self.lease(self.device.id)
        self.record(lease, self.spec(self.device.id), rejected={lb.id: "bad"}, keeps={lb.id: "old"})
        self.assertEqual([("*", 80), ("*", 81)], self.held(self.device.id))

    def test_a_move_holds_both_places_until_the_old_device_runs_without_it(self) -> None:
        lb, new = self.add(samples.load_balancer(self.device.id)), self.add_device()
        self.deploy(self.device.id)
        self.change(lb.id, lambda each: replace(each, device_id=new.id))
        self.deploy(new.id)
        self.assertEqual([("*", 80)], self.held(self.device.id))
        self.assertEqual({lb.id: 2}, self.spec(self.device.id).removed)
        self.deploy(self.device.id)
        self.assertEqual(([], [("*", 80)]), (self.held(self.device.id), self.held(new.id)))
        self.assertEqual({}, self.spec(self.device.id).removed)

    def test_a_move_there_and_back_during_a_deployment_keeps_the_place(self) -> None:
        lb, new = self.add(samples.load_balancer(self.device.id)), self.add_device()
        self.change(lb.id, lambda each: replace(each, device_id=new.id))
        self.deploy(new.id)
        lease, spec = self.lease(self.device.id), self.spec(self.device.id)
        self.assertIn(lb.id, spec.removed)
        self.change(lb.id, lambda each: replace(each, device_id=self.device.id))
        self.record(lease, spec)
        self.assertEqual([("*", 80)], self.held(self.device.id))

    def test_moved_and_then_deleted_is_freed_on_each_device_in_any_order(self) -> None:
        for order in ((0, 1), (1, 0)):
            devices = (self.add_device(), self.add_device())
            lb = self.add(samples.load_balancer(devices[0].id))
            self.deploy(devices[0].id)
            self.change(lb.id, partial(replace, device_id=devices[1].id))
            self.deploy(devices[1].id)
            self.remove(lb.id)
            for i in order:
                self.assertEqual([("*", 80)], self.held(devices[i].id))
                self.assertIn(lb.id, self.spec(devices[i].id).removed)
                self.deploy(devices[i].id)
                self.assertEqual([], self.held(devices[i].id))
            with self.assertRaises(NotFound):
                self.get(lb.id)


class DeploymentContract(Steps):
    def setUp(self) -> None:
        super().setUp()
        self.device = self.add_device()

    def test_the_spec_holds_what_is_to_run_and_what_is_not_any_more(self) -> None:
        shared, single, unused = samples.monitor(), samples.monitor(), samples.monitor()
        lbs = [samples.load_balancer(self.device.id, port=port, admin_up=port != 2) for port in (1, 2, 3)]
        for lb, used in zip(lbs, ((shared,), (single, shared), (unused,)), strict=True):
            ids = tuple(each.id for each in used)
            self.add(replace(lb, pools=(replace(lb.pools[0], health_monitor_ids=ids),)), *used)
        self.add(samples.load_balancer(self.add_device().id))
        self.remove(lbs[2].id)
        spec = self.spec(self.device.id)
        self.assertEqual(opened(self.get_device(self.device.id), self.secrets.open), spec.device)
        self.assertEqual(tuple(self.get(i) for i in sorted((lbs[0].id, lbs[1].id))), spec.load_balancers)
        self.assertEqual(sorted((shared.id, single.id)), [each.id for each in spec.monitors])
        self.assertEqual((4, {}, {lbs[2].id: 2}, 0), (spec.revision, spec.accepted_blocks, spec.removed, spec.failures))

    def test_an_applied_spec_settles_everything(self) -> None:
        lb = self.add(samples.load_balancer(self.device.id))
        waiting = self.get(lb.id)
        lease = self.lease(self.device.id)
        self.repository.record_failure(lease, self.spec(self.device.id), "broken", retry_after=None)
        notices = Candidate(head="", blocks={}, digest="", notices={lb.id: ("a", "b")})
        applied = Applied(plan="reload", sentence="", accepted_blocks={lb.id: "block\n"})
        self.repository.record_applied(lease, self.spec(self.device.id), notices, applied)
        after, device = self.get(lb.id), self.get_device(self.device.id)
        self.assertEqual((1, None, ("a", "b")), (after.applied_generation, after.error, after.notices))
        self.assertEqual((waiting.changed_at, None), (waiting.created_at, waiting.applied_changed_at))
        self.assertEqual((waiting.changed_at, waiting.changed_at), (after.changed_at, after.applied_changed_at))
        self.assertGreater(moment(after.updated_at), moment(waiting.updated_at))
        self.assertEqual((1, 1, None), (device.desired_revision, device.applied_revision, device.error))
        spec = self.spec(self.device.id)
        self.assertEqual(({lb.id: "block\n"}, 0), (spec.accepted_blocks, spec.failures))
        # Once more, with nothing new: nothing is touched.
        self.repository.record_applied(lease, spec, notices, applied)
        self.assertEqual(after, self.get(lb.id))

    def test_progress_is_told_until_a_load_balancer_is_gone(self) -> None:
        def progress() -> Progress | None:
            with self.repository.read() as tx:
                return tx.progress(lb.id)

        lb = self.add(samples.load_balancer(self.device.id))
        self.assertEqual(Progress(applied_generation=0, failed_generation=None, rests=False), progress())
        lease = self.lease(self.device.id)
        self.record(lease, self.spec(self.device.id))
        self.change(lb.id, lambda each: replace(each, name="other"))
        self.record(lease, self.spec(self.device.id), rejected={lb.id: "no"}, keeps={lb.id: "block"})
        self.assertEqual(Progress(applied_generation=1, failed_generation=2, rests=False), progress())
        self.remove(lb.id)
        self.assertIsNotNone(progress())
        self.record(lease, self.spec(self.device.id))
        self.assertIsNone(progress())

    def test_progress_knows_of_a_device_in_maintenance(self) -> None:
        there, elsewhere = self.add_device(samples.device()), self.add_device(samples.device())
        lb = self.add(samples.load_balancer(there.id))

        def rests(**changed: Any) -> bool:
            with self.repository.write() as tx:
                balancer = tx.load_balancer(lb.id)
                tx.save_load_balancer(
                    replace(balancer, **changed, generation=balancer.generation + 1), seen=balancer.generation
                )
            with self.repository.read() as tx:
                progress = tx.progress(lb.id)
            assert progress is not None
            return progress.rests

        def set_state(device: Device, state: AdminState) -> None:
            with self.repository.write() as tx:
                tx.save_device(replace(tx.device(device.id), admin_state=state))

        moving = {phase: Move(device_id=elsewhere.id, phase=phase) for phase in MovePhase}
        self.assertIs(False, rests())
        set_state(there, AdminState.DRAINED)
        self.assertIs(False, rests())
        set_state(elsewhere, AdminState.MAINTENANCE)
        found = {phase: rests(move=move) for phase, move in moving.items()}
        self.assertEqual({phase: phase is MovePhase.RELEASE for phase in MovePhase}, found)
        set_state(there, AdminState.MAINTENANCE)
        set_state(elsewhere, AdminState.ENABLED)
        found = {phase: rests(move=move) for phase, move in moving.items()}
        self.assertEqual({phase: phase is not MovePhase.RELEASE for phase in MovePhase}, found)
        self.assertIs(True, rests(move=moving[MovePhase.RELEASE], deleted=True))

    def test_a_change_during_the_deployment_stays_pending(self) -> None:
        lb = self.add(samples.load_balancer(self.device.id))
        lease, spec = self.lease(self.device.id), self.spec(self.device.id)
        self.change(lb.id, lambda each: replace(each, name="later"))
        late = self.add(samples.load_balancer(self.device.id, port=81))
        self.record(lease, spec)
        after, device = self.get(lb.id), self.get_device(self.device.id)
        self.assertEqual((2, 1, "later"), (after.generation, after.applied_generation, after.name))
        self.assertEqual(after.created_at, after.applied_changed_at)
        self.assertGreater(moment(after.changed_at), moment(after.applied_changed_at))
        self.assertEqual(0, self.get(late.id).applied_generation)
        self.assertEqual((3, 1), (device.desired_revision, device.applied_revision))
        self.assertEqual([("*", 80), ("*", 81)], self.held(self.device.id))

    def test_a_rejected_load_balancer_alone_is_in_error(self) -> None:
        good, bad = (self.add(samples.load_balancer(self.device.id, port=port)) for port in (80, 81))
        self.deploy(self.device.id)
        self.change(bad.id, lambda each: replace(each, name="worse"))
        lease = self.lease(self.device.id)
        self.record(lease, self.spec(self.device.id), rejected={bad.id: "no such cipher"}, keeps={bad.id: "the last"})
        self.assertEqual((1, None), (self.get(good.id).applied_generation, self.get(good.id).error))
        after = self.get(bad.id)
        self.assertEqual(LoadBalancerError(sentence="no such cipher", generation=2), after.error)
        self.assertEqual((1, 2), (after.applied_generation, after.generation))
        self.assertEqual("the last", self.spec(self.device.id).accepted_blocks[bad.id])
        self.assertEqual(3, self.get_device(self.device.id).applied_revision)
        self.change(bad.id, lambda each: replace(each, name="better"))
        self.record(lease, self.spec(self.device.id))
        self.assertEqual((3, None), (self.get(bad.id).applied_generation, self.get(bad.id).error))

    def test_a_load_balancer_that_was_never_accepted_has_no_block(self) -> None:
        lb = self.add(samples.load_balancer(self.device.id))
        self.record(self.lease(self.device.id), self.spec(self.device.id), rejected={lb.id: "bad"})
        self.assertEqual({}, self.spec(self.device.id).accepted_blocks)
        self.assertEqual(0, self.get(lb.id).applied_generation)

    def test_what_the_renderer_rejected_is_in_error_too(self) -> None:
        lb = self.add(samples.load_balancer(self.device.id))
        candidate = Candidate(head="", blocks={lb.id: ""}, digest="", rejected={lb.id: "cannot be rendered"})
        self.repository.record_applied(
            self.lease(self.device.id),
            self.spec(self.device.id),
            candidate,
            Applied(plan="noop", sentence="", accepted_blocks={}),
        )
        self.assertEqual(
            LoadBalancerError(sentence="cannot be rendered", generation=1, public=True), self.get(lb.id).error
        )

    def test_an_error_of_a_later_generation_is_not_overwritten(self) -> None:
        lb = self.add(samples.load_balancer(self.device.id))
        lease, spec = self.lease(self.device.id), self.spec(self.device.id)
        error = LoadBalancerError(sentence="later", generation=2)
        self.change(lb.id, lambda each: replace(each, error=error))
        self.record(lease, spec)
        self.assertEqual((error, 1), (self.get(lb.id).error, self.get(lb.id).applied_generation))
        self.record(lease, spec, rejected={lb.id: "earlier"})
        self.repository.record_failure(lease, spec, "earlier", retry_after=None)
        self.assertEqual(error, self.get(lb.id).error)

    def test_a_deleted_load_balancer_goes_when_applied_with_its_own_monitors(self) -> None:
        own, shared = samples.monitor(), samples.monitor()
        stays = samples.load_balancer(self.device.id, port=81)
        stays = replace(stays, pools=(replace(stays.pools[0], health_monitor_ids=(shared.id,)),))
        self.add(stays, shared)
        before = {**self.stored_rows(), "accepted_blocks": 1}
        full = replace(samples.full_load_balancer(self.device.id, (own.id, shared.id)), deleted=False)
        self.add(full, own)
        self.deploy(self.device.id)
        self.remove(full.id)
        lease, early = self.lease(self.device.id), self.spec(self.device.id)
        self.record(lease, early)
        self.assertRaises(NotFound, self.get, full.id)
        # The history tells of it.
        self.assertEqual({**before, "deployments": 2, "deployment_totals": 1}, self.stored_rows())
        with self.repository.read() as tx:
            self.assertEqual([shared.id], [each.id for each in tx.monitors([own.id, shared.id])])

    def test_what_was_deleted_during_the_deployment_waits_for_the_next(self) -> None:
        lb = self.add(samples.load_balancer(self.device.id))
        lease, spec = self.lease(self.device.id), self.spec(self.device.id)
        self.remove(lb.id)
        self.record(lease, spec)
        self.assertTrue(self.get(lb.id).deleted)
        self.assertEqual([("*", 80)], self.held(self.device.id))
        self.record(lease, self.spec(self.device.id))
        self.assertRaises(NotFound, self.get, lb.id)

    def test_what_moved_away_during_the_deployment_is_served_until_it_has_arrived(self) -> None:
        lb, new = self.add(samples.load_balancer(self.device.id)), self.add_device()
        lease, spec = self.lease(self.device.id), self.spec(self.device.id)
        moved = self.change(lb.id, lambda each: replace(each, device_id=new.id))
        self.record(lease, spec)
        self.repository.record_failure(lease, spec, "broken", retry_after=None)
        after = self.get(lb.id)
        self.assertEqual(
            (1, 2, moved.move, None), (after.applied_generation, after.generation, after.move, after.error)
        )
        self.assertEqual({lb.id: f"{lb.id} 1"}, self.spec(self.device.id).kept)
        self.assertEqual({}, self.spec(new.id).accepted_blocks)

    def test_what_a_device_refuses_that_it_has_to_leave_is_for_the_next_one_to_say(self) -> None:
        lb, new = self.add(samples.load_balancer(self.device.id)), self.add_device()
        lease, spec = self.lease(self.device.id), self.spec(self.device.id)
        moved = self.change(lb.id, lambda each: replace(each, device_id=new.id))
        self.record(lease, spec, rejected={lb.id: "no"})
        self.assertEqual(moved, self.get(lb.id))
        self.assertEqual({}, self.spec(self.device.id).kept)

    def test_a_transient_failure_marks_the_device_only(self) -> None:
        lb = self.add(samples.load_balancer(self.device.id))
        lease = self.lease(self.device.id)
        for failures in (1, 2):
            self.repository.record_failure(lease, self.spec(self.device.id), "unreachable", retry_after=60.0)
            self.assertEqual("unreachable", self.get_device(self.device.id).error)
            self.assertEqual(failures, self.spec(self.device.id).failures)
            self.assertIsNone(self.get(lb.id).error)
        with self.repository.write() as tx:
            tx.bump(self.device.id)
        self.assertEqual(0, self.spec(self.device.id).failures)

    def test_a_terminal_failure_marks_those_that_waited(self) -> None:
        runs = self.add(samples.load_balancer(self.device.id))
        self.deploy(self.device.id)
        waits = self.add(samples.load_balancer(self.device.id, port=81))
        lease = self.lease(self.device.id)
        self.repository.record_failure(lease, self.spec(self.device.id), "wrong host key", retry_after=None)
        self.assertEqual(LoadBalancerError(sentence="wrong host key", generation=1), self.get(waits.id).error)
        self.assertIsNone(self.get(runs.id).error)
        self.record(lease, self.spec(self.device.id))
        self.assertIsNone(self.get(waits.id).error)
        self.assertIsNone(self.get_device(self.device.id).error)

    def test_an_observation_is_kept_with_the_time_of_the_database(self) -> None:
        lease, seen = self.lease(self.device.id), samples.full_observation()
        self.assertEqual([".sample", ".at"], samples.defaults_in(seen))
        self.repository.record_observation(lease, samples.observation(reachable=False))
        before = self.repository.now()
        self.repository.record_observation(lease, seen)
        stored = self.get_device(self.device.id)
        assert stored.observation is not None
        self.assertEqual(seen, replace(stored.observation, at=0.0))
        self.assertTrue(before <= stored.observation.at <= self.repository.now())
        with self.repository.read() as tx:
            self.assertEqual([stored], tx.devices())
        self.assertEqual(stored.created_at, stored.updated_at)

    def test_the_first_host_key_seen_is_pinned_and_no_other(self) -> None:
        lease = self.lease(self.device.id)
        for seen, pinned in (
            (None, None),
            ("ssh-ed25519 ONE", "ssh-ed25519 ONE"),
            ("ssh-ed25519 TWO", "ssh-ed25519 ONE"),
        ):
            self.repository.record_observation(lease, samples.observation(host_key=seen))
            self.assertEqual(pinned, self.get_device(self.device.id).endpoint.host_key)

    def test_a_deployment_mends_what_was_to_be_repaired(self) -> None:
        lease = self.lease(self.device.id)
        self.repository.record_observation(lease, replace(samples.full_observation(), host_key=None))
        self.record(lease, self.spec(self.device.id))
        stored = self.get_device(self.device.id).observation
        assert stored is not None
        self.assertEqual(
            replace(samples.full_observation(), host_key=None, repair=None, drift=None), replace(stored, at=0.0)
        )
        came_with_it = samples.observation(sentence="after", host_key="ssh-ed25519 KEY")
        applied = Applied(plan="noop", sentence="", accepted_blocks={}, observation=came_with_it)
        self.repository.record_applied(lease, self.spec(self.device.id), samples.NO_CANDIDATE, applied)
        device = self.get_device(self.device.id)
        assert device.observation is not None
        self.assertEqual(
            (came_with_it, "ssh-ed25519 KEY"), (replace(device.observation, at=0.0), device.endpoint.host_key)
        )

    def test_an_outdated_lease_records_nothing(self) -> None:
        lb = self.add(samples.load_balancer(self.device.id))
        self.change(lb.id, self.to_port(81))
        spec, old = self.spec(self.device.id), self.lease(self.device.id)
        self.leases.release(old)
        new = self.lease(self.device.id)
        outdated = (
            old,
            replace(new, epoch=new.epoch + 1),
            replace(new, owner="somebody else"),
            replace(new, device_id="x"),
        )
        before = self.contents()
        for lease in outdated:
            with self.assertRaises(LeaseLost):
                self.record(lease, spec)
            with self.assertRaises(LeaseLost):
                self.record(lease, spec, rejected={lb.id: "bad"})
            for pause in (1.0, None):
                with self.assertRaises(LeaseLost):
                    self.repository.record_failure(lease, spec, "broken", retry_after=pause)
            with self.assertRaises(LeaseLost):
                self.repository.record_observation(lease, samples.full_observation())
            self.assertEqual(before, self.contents())
        self.record(new, spec)
        self.assertNotEqual(before, self.contents())

    def test_a_removed_device_records_nothing(self) -> None:
        lease, spec = self.lease(self.device.id), self.spec(self.device.id)
        with self.repository.write() as tx:
            tx.delete_device(self.device.id)
        with self.assertRaises(LeaseLost):
            self.record(lease, spec)

    def test_a_large_device_is_read_and_recorded_fast(self) -> None:
        with self.repository.write() as tx:
            for port in range(1, 1001):
                lb = samples.load_balancer(self.device.id, port=port, members=3)
                tx.add_load_balancer(lb)
                tx.add_reservations(rules.wanted_reservations(lb))
            tx.bump(self.device.id)
        started = time.monotonic()
        spec = self.spec(self.device.id)
        self.assertEqual((1000, 3), (len(spec.load_balancers), len(spec.load_balancers[-1].pools[0].members)))
        self.assertLess(time.monotonic() - started, 10.0)
        lease, started = self.lease(self.device.id), time.monotonic()
        self.record(lease, spec)
        self.assertLess(time.monotonic() - started, 10.0)
        self.assertTrue(all(each.applied_generation == 1 for each in self.spec(self.device.id).load_balancers))

    def contents(self) -> list[list[tuple[object, ...]]]:
        return [sorted(self.query(f"SELECT * FROM {table}"), key=repr) for table in sorted(self.stored_rows())]


class DueContract(Steps):
    """Times are real but long: what must not be due yet would be so in an hour."""

    def due(self, *, interval: float = 3600.0, limit: int = 100) -> list[tuple[str, str]]:
        return [(each.device_id, each.reason) for each in self.repository.due(observe_interval=interval, limit=limit)]

    def observed(self, device: Device | None = None, *, reachable: bool = True, repair: str | None = None) -> str:
        """The id of a device that was observed just now; its lease is free."""
        device = device or self.add_device()
        self.under_lease(
            device.id,
            lambda lease: self.repository.record_observation(
                lease, samples.observation(reachable=reachable, repair=repair)
            ),
        )
        return device.id

    def bump(self, device_id: str) -> None:
        """At a later moment than whatever was before; some databases tell milliseconds only."""
        before = self.repository.now()
        while self.repository.now() == before:
            time.sleep(0.001)
        with self.repository.write() as tx:
            tx.bump(device_id)

    def failed(self, device_id: str, *, retry_after: float | None) -> None:
        spec = self.spec(device_id)
        self.under_lease(
            device_id, lambda lease: self.repository.record_failure(lease, spec, "broken", retry_after=retry_after)
        )

    def under_lease(self, device_id: str, work: Callable[[Lease], None]) -> None:
        lease = self.lease(device_id)
        work(lease)
        self.leases.release(lease)

    def test_a_new_device_is_to_be_observed_and_then_nothing(self) -> None:
        device = self.add_device()
        self.assertEqual([(device.id, "observe")], self.due())
        self.observed(device)
        self.assertEqual([], self.due())
        self.assertEqual([(device.id, "observe")], self.due(interval=0.0))

    def test_a_change_is_to_be_deployed_until_it_is_applied(self) -> None:
        device_id = self.observed()
        self.bump(device_id)
        self.assertEqual([(device_id, "deploy")], self.due())
        self.deploy(device_id)
        self.assertEqual([], self.due())

    def test_a_change_during_the_deployment_is_due_again(self) -> None:
        device_id = self.observed()
        self.bump(device_id)
        spec = self.spec(device_id)
        self.bump(device_id)
        self.under_lease(device_id, lambda lease: self.record(lease, spec))
        self.assertEqual([(device_id, "deploy")], self.due())

    def test_deployments_come_first_and_each_kind_in_the_order_of_waiting(self) -> None:
        ids = [self.observed() for _ in range(6)]
        for device_id in (ids[4], ids[2], ids[5]):
            self.bump(device_id)
        self.bump(ids[4])
        expected = [(ids[4], "deploy"), (ids[2], "deploy"), (ids[5], "deploy")]
        expected += [(ids[0], "observe"), (ids[1], "observe"), (ids[3], "observe")]
        self.assertEqual(expected, self.due(interval=0.0))
        for limit in range(7):
            self.assertEqual(expected[:limit], self.due(interval=0.0, limit=limit))

    def test_a_device_that_changes_all_the_time_does_not_lose_its_place_nor_take_the_others(self) -> None:
        busy, other = self.observed(), self.observed()
        self.bump(busy)
        self.bump(other)
        self.bump(busy)
        self.assertEqual([(busy, "deploy"), (other, "deploy")], self.due())
        spec = self.spec(busy)
        self.bump(busy)
        self.under_lease(busy, lambda lease: self.record(lease, spec))
        self.assertEqual([(other, "deploy"), (busy, "deploy")], self.due())

    def test_a_device_under_a_live_lease_is_not_due(self) -> None:
        device = self.add_device()
        self.bump(device.id)
        lease = self.lease(device.id)
        self.assertEqual([], self.due())
        self.leases.release(lease)
        self.assertEqual([(device.id, "deploy")], self.due())

    def test_an_observation_that_somebody_asks_for_is_due_at_once(self) -> None:
        device_id = self.observed()
        self.assertEqual([], self.due())
        self.assertFalse(self.spec(device_id).look_asked)
        with self.repository.write() as tx:
            asked = tx.ask_observation(device_id)
        self.assertEqual([(device_id, "observe")], self.due())
        self.assertTrue(self.spec(device_id).look_asked)
        self.observed(self.get_device(device_id))
        self.assertEqual([], self.due())
        seen = self.get_device(device_id).observation
        assert seen is not None
        self.assertGreaterEqual(seen.at, asked)

    def test_a_spec_tells_whether_a_deployment_may_be_tried(self) -> None:
        device_id = self.observed()
        self.assertFalse(self.spec(device_id).deployable)
        self.bump(device_id)
        self.assertTrue(self.spec(device_id).deployable)
        for retry_after in (3600.0, None):
            self.failed(device_id, retry_after=retry_after)
            self.assertFalse(self.spec(device_id).deployable)
            self.bump(device_id)
            self.assertTrue(self.spec(device_id).deployable)

    def test_adoption_waits_for_a_deployment_under_a_later_epoch(self) -> None:
        device_id = self.observed()
        with self.repository.write() as tx:
            tx.adopt(device_id, epoch=1000)
        self.assertTrue(self.get_device(device_id).adopting)
        self.assertEqual([(device_id, "deploy")], self.due())
        self.assertGreater(self.lease(device_id).epoch, 1000)

    def test_a_resync_is_asked_for_until_it_was_done(self) -> None:
        device_id = self.observed()
        before = self.spec(device_id)
        with self.repository.write() as tx:
            tx.resync(device_id)
        self.assertEqual([(device_id, "deploy")], self.due())
        # A deployment that went on meanwhile did not know of it.
        self.under_lease(device_id, lambda lease: self.record(lease, before))
        self.assertTrue(self.get_device(device_id).resyncing)
        self.under_lease(device_id, lambda lease: self.record(lease, self.spec(device_id)))
        self.assertFalse(self.get_device(device_id).resyncing)
        with self.assertRaises(NotFound), self.repository.write() as tx:
            tx.resync(samples.new_id())

    def test_a_device_in_maintenance_is_never_due_and_a_drained_one_is(self) -> None:
        self.bump(self.add_device(samples.device(admin_state=AdminState.MAINTENANCE)).id)
        drained = self.add_device(samples.device(admin_state=AdminState.DRAINED)).id
        self.bump(drained)
        self.assertEqual([(drained, "deploy")], self.due())
        self.under_lease(drained, lambda lease: self.record(lease, self.spec(drained)))
        self.assertIsNone(self.repository.next_due_in())

    def test_a_back_off_is_waited_for_and_ended_by_a_change(self) -> None:
        device_id = self.observed()
        self.bump(device_id)
        self.failed(device_id, retry_after=1000.0)
        self.assertEqual([], self.due())
        self.bump(device_id)
        self.assertEqual([(device_id, "deploy")], self.due())
        self.failed(device_id, retry_after=0.0)
        self.assertEqual([(device_id, "deploy")], self.due())

    def test_a_device_that_needs_a_rest_gets_it_and_nothing_has_failed(self) -> None:
        device_id = self.observed()
        self.bump(device_id)
        spec = self.spec(device_id)
        self.under_lease(device_id, lambda lease: self.repository.postpone(lease, spec, 1000.0, "it is busy"))
        self.assertEqual([], self.due())
        self.assertGreater(self.repository.next_due_in() or 0.0, 900.0)
        now = self.spec(device_id)
        self.assertEqual((0, None, False), (now.failures, now.device.error, now.deployable))
        self.assertEqual("it is busy", now.device.waiting_for)
        with self.repository.read() as tx:
            self.assertEqual([], tx.deployments(device_id, limit=10))
        # A change may need no rest: it is looked at.
        self.bump(device_id)
        self.assertEqual([(device_id, "deploy")], self.due())
        self.under_lease(device_id, lambda lease: self.repository.postpone(lease, spec, 1000.0, "it is busy"))
        self.assertEqual([(device_id, "deploy")], self.due())
        self.failed(device_id, retry_after=0.0)
        self.assertIsNone(self.spec(device_id).device.waiting_for)

    def test_a_change_during_a_failing_deployment_is_tried_at_once(self) -> None:
        for pause in (1000.0, None):
            device_id = self.observed()
            self.bump(device_id)
            spec = self.spec(device_id)
            self.bump(device_id)
            lease = self.lease(device_id)
            self.repository.record_failure(lease, spec, "broken", retry_after=pause)
            self.leases.release(lease)
            self.assertIn((device_id, "deploy"), self.due())

    def test_a_terminal_failure_waits_for_a_change(self) -> None:
        device_id = self.observed()
        self.bump(device_id)
        self.failed(device_id, retry_after=None)
        self.assertEqual([], self.due())
        self.assertIsNone(self.repository.next_due_in())
        self.assertEqual([(device_id, "observe")], self.due(interval=0.0))
        self.bump(device_id)
        self.assertEqual([(device_id, "deploy")], self.due())

    def test_what_is_to_be_repaired_is_deployed_with_the_same_back_off(self) -> None:
        device_id = self.observed(repair="HAProxy does not run")
        self.assertEqual([(device_id, "deploy")], self.due())
        self.failed(device_id, retry_after=1000.0)
        self.assertEqual([], self.due())
        self.failed(device_id, retry_after=0.0)
        self.deploy(device_id)
        self.assertEqual([], self.due())

    def test_an_unreachable_device_is_not_looked_at_during_its_back_off(self) -> None:
        gone, there = self.observed(reachable=False), self.observed()
        for device_id in (gone, there):
            self.bump(device_id)
            self.failed(device_id, retry_after=1000.0)
        self.assertEqual([(there, "observe")], self.due(interval=0.0))

    def test_the_next_observation_is_waited_for_while_it_is_to_come(self) -> None:
        self.assertIsNone(self.repository.next_due_in(observe_interval=3600))
        one, two = self.observed(), self.observed()
        self.assertIsNone(self.repository.next_due_in())
        wait = self.repository.next_due_in(observe_interval=3600)
        assert wait is not None
        self.assertTrue(3590 < wait <= 3600)
        # What is due already is found by looking.
        self.assertEqual([(one, "observe"), (two, "observe")], self.due(interval=0))
        self.assertIsNone(self.repository.next_due_in(observe_interval=0))
        with self.repository.write() as tx:
            for device in tx.devices():
                tx.save_device(replace(device, admin_state=AdminState.MAINTENANCE))
        self.assertIsNone(self.repository.next_due_in(observe_interval=3600))

    def test_the_next_is_due_when_its_back_off_or_its_lease_ends(self) -> None:
        self.assertIsNone(self.repository.next_due_in())
        first, second = self.observed(), self.observed()
        self.assertIsNone(self.repository.next_due_in())
        self.bump(first)
        self.failed(first, retry_after=1000.0)
        self.assertAlmostEqual(1000.0, self.repository.next_due_in() or 0, delta=30)
        self.bump(second)
        self.assertAlmostEqual(1000.0, self.repository.next_due_in() or 0, delta=30)
        lease = self.lease(second)
        self.assertAlmostEqual(60.0, self.repository.next_due_in() or 0, delta=30)
        self.leases.release(lease)
        self.failed(second, retry_after=0.0)
        self.assertEqual(0.0, self.repository.next_due_in())


class ConcurrencyContract(Steps):
    """Several threads and processes on one database, for a bounded time."""

    def test_no_update_is_lost_between_processes(self) -> None:
        lb, processes, times = self.add(samples.load_balancer(self.add_device().id)), 3, 20
        context = multiprocessing.get_context("spawn")
        workers = [context.Process(target=rename_often, args=(self.url, lb.id, times)) for _ in range(processes)]
        for worker in workers:
            worker.start()
            self.addCleanup(worker.kill)
        for worker in workers:
            worker.join(timeout=60)
            self.assertEqual(0, worker.exitcode)
        after = self.get(lb.id)
        self.assertEqual((1 + processes * times, processes * times), (after.generation, len(after.description)))
        self.assertEqual(1 + processes * times, self.get_device(lb.device_id).desired_revision)

    def test_no_update_is_lost_between_threads_while_others_read(self) -> None:
        lb = self.add(samples.load_balancer(self.add_device().id))
        failures: list[BaseException] = []
        stop = threading.Event()

        def guarded(work: Callable[[], None]) -> None:
            try:
                work()
            except BaseException as error:
                failures.append(error)

        def read() -> None:
            while not stop.is_set():
                seen = self.get(lb.id)
                # Every read sees one moment: the description is as long as the generation tells.
                self.assertEqual(seen.generation - 1, len(seen.description))

        writers = [
            threading.Thread(target=guarded, args=(lambda: rename_often(self.url, lb.id, 20),)) for _ in range(4)
        ]
        readers = [threading.Thread(target=guarded, args=(read,)) for _ in range(3)]
        for thread in (*writers, *readers):
            thread.start()
        for thread in writers:
            thread.join(timeout=60)
        stop.set()
        for thread in readers:
            thread.join(timeout=60)
        self.assertEqual([], failures)
        self.assertEqual(81, self.get(lb.id).generation)

    def test_green_threads_go_on_while_writers_wait(self) -> None:
        device = self.add_device()
        with self.repository.write() as tx:
            tx.device(device.id)
            process = subprocess.Popen(
                [sys.executable, "-c", GREEN_WRITERS, self.url, device.id],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                # As balancer-api does.
                env={**os.environ, "PSYCOPG_WAIT_FUNC": "wait_selector"},
            )
            self.addCleanup(process.kill)
            assert process.stdout is not None
            self.assertEqual("waiting\n", process.stdout.readline())
            time.sleep(3)
        longest, written = process.communicate(timeout=60)[0].split()
        self.assertEqual(("10", 10), (written, self.get_device(device.id).desired_revision))
        self.assertLess(float(longest), 2.5)

    def test_a_lock_that_stays_becomes_an_error_in_words(self) -> None:
        device = self.add_device()
        engine = make_engine(self.url, patience=1.0)
        self.addCleanup(engine.dispose)
        caught: list[BaseException] = []

        def bump() -> None:
            try:
                with SqlRepository(engine).write() as tx:
                    tx.bump(device.id)
            except BaseException as error:
                caught.append(error)

        with self.repository.write() as tx:
            tx.device(device.id)
            started = time.monotonic()
            thread = threading.Thread(target=bump)
            thread.start()
            thread.join(timeout=60)
            self.assertTrue(0.9 < time.monotonic() - started < 10)
        self.assertEqual([DatabaseUnavailable], [type(each) for each in caught])
        self.assertIn("locked", str(caught[0]))
        self.assertEqual(0, self.get_device(device.id).desired_revision)

    def test_whoever_changes_a_load_balancer_sees_it_whole(self) -> None:
        """Row and children of one moment, and not refused for what another one does at the same time."""
        lb = self.add(samples.load_balancer(self.add_device().id))
        failures: list[BaseException] = []

        def replace_pool() -> None:
            try:
                for _ in range(10):
                    self.change(lb.id, with_another_pool)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=replace_pool) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        self.assertEqual([], failures)
        self.assertEqual(41, self.get(lb.id).generation)

    def test_two_who_register_the_same_place_at_once_are_told_of_each_other(self) -> None:
        device = samples.device()
        outcomes: list[str] = []
        barrier = threading.Barrier(4, timeout=30)

        def register(name: str) -> None:
            barrier.wait()
            try:
                self.add_device(replace(device, id=new_id(), name=name))
                outcomes.append(name)
            except Conflict as error:
                outcomes.append(str(error))

        threads = [threading.Thread(target=register, args=(f"device-{number}",)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        with self.repository.read() as tx:
            (stored,) = tx.devices()
        outcomes.remove(stored.name)
        self.assertEqual(3, len(outcomes))
        for outcome in outcomes:
            self.assertTrue(outcome.startswith(f"Device {stored.name} ({stored.id}) is "), outcome)

    def test_a_monitor_that_another_pool_begins_to_use_is_not_purged(self) -> None:
        devices, monitor = (self.add_device(), self.add_device()), samples.monitor()
        first, second = (using(samples.load_balancer(device.id), monitor) for device in devices)
        self.add(first, monitor)
        self.deploy(devices[0].id)
        self.remove(first.id)
        purge = threading.Thread(target=self.deploy, args=(devices[0].id,))
        with self.repository.write() as tx:
            tx.add_load_balancer(second)
            purge.start()
            # Whether it waits for us now or has still to begin makes no difference.
            purge.join(timeout=0.5)
        purge.join(timeout=60)
        self.assertRaises(NotFound, self.get, first.id)
        self.assertEqual((monitor.id,), self.get(second.id).pools[0].health_monitor_ids)
        with self.repository.read() as tx:
            self.assertEqual([monitor.id], [each.id for each in tx.monitors([monitor.id])])

    def test_what_is_recorded_and_what_is_asked_for_do_not_block_each_other(self) -> None:
        """A worker that records and requests that change, adopt and remove, all on the same device."""
        device = self.add_device()
        failures: list[BaseException] = []

        def guarded(work: Callable[[], None]) -> None:
            try:
                for _ in range(10):
                    work()
            except BaseException as error:
                failures.append(error)

        def adopt() -> None:
            with self.repository.write() as tx:
                tx.adopt(device.id, epoch=0)

        def come_and_go() -> None:
            lb = self.add(samples.load_balancer(device.id, port=81))
            self.remove(lb.id)
            self.wait_until_free(device.id)

        def work() -> None:
            lease = self.leases.claim(device.id)
            assert lease is not None
            self.leases.renew(lease)
            self.record(lease, self.spec(device.id))
            self.repository.record_failure(lease, self.spec(device.id), "broken", retry_after=0.0)
            self.leases.release(lease)

        done = threading.Event()

        def work_on() -> None:
            while not done.is_set() and not failures:
                guarded(work)

        worker = threading.Thread(target=work_on)
        requests = [threading.Thread(target=guarded, args=(each,)) for each in (adopt, come_and_go, adopt)]
        for thread in (worker, *requests):
            thread.start()
        for thread in requests:
            thread.join(timeout=60)
        done.set()
        worker.join(timeout=60)
        self.assertEqual([], failures)

    def wait_until_free(self, device_id: str) -> None:
        deadline = time.monotonic() + 30
        while self.held(device_id):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.002)

    def test_one_address_is_given_once_to_many_who_ask(self) -> None:
        device, outcomes = self.add_device(), []
        barrier = threading.Barrier(6, timeout=30)

        def ask() -> None:
            barrier.wait()
            try:
                self.add(samples.load_balancer(device.id))
                outcomes.append("given")
            except Conflict:
                outcomes.append("refused")

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        self.assertEqual(["given"] + 5 * ["refused"], sorted(outcomes))
        self.assertEqual([("*", 80)], self.held(device.id))


class ServerContract(Steps, OnServerSuite):
    """What a database server adds: others may write at the same time, and it may go away."""

    def test_one_of_two_that_wait_for_each_other_gives_way_and_is_told_to_repeat(self) -> None:
        one, two = self.add_device(), self.add_device()
        outcomes: list[str] = []
        barrier = threading.Barrier(2, timeout=30)

        def bump(first: str, second: str) -> None:
            try:
                with self.repository.write() as tx:
                    tx.bump(first)
                    barrier.wait()
                    tx.bump(second)
                outcomes.append("done")
            except StaleGeneration:
                outcomes.append("gave way")

        threads = [threading.Thread(target=bump, args=pair) for pair in ((one.id, two.id), (two.id, one.id))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        self.assertEqual(["done", "gave way"], sorted(outcomes))
        self.assertEqual([1, 1], [self.get_device(each.id).desired_revision for each in (one, two)])

    def test_a_load_balancer_that_moves_away_meanwhile_is_read_anew(self) -> None:
        lb, other = self.add(samples.load_balancer(self.add_device().id)), self.add_device()
        caught: list[BaseException] = []

        def change() -> None:
            try:
                self.change(lb.id, lambda each: replace(each, name="late"))
            except BaseException as error:
                caught.append(error)

        late = threading.Thread(target=change)
        with self.repository.write() as tx:
            old = tx.load_balancer(lb.id)
            late.start()
            late.join(timeout=0.3)
            tx.save_load_balancer(replace(old, device_id=other.id, generation=2), seen=1)
        late.join(timeout=60)
        self.assertEqual([StaleGeneration], [type(each) for each in caught])
        self.assertEqual(
            (other.id, "", 2), (self.get(lb.id).device_id, self.get(lb.id).name, self.get(lb.id).generation)
        )

    def test_a_server_that_is_gone_is_an_error_in_words_and_its_return_is_enough(self) -> None:
        device = self.add_device()
        self.server().stop()
        try:
            for attempt in (self.repository.read, self.repository.write):
                with self.assertLogs("balancer.db.engine", "ERROR"), self.assertRaises(DatabaseUnavailable) as caught:
                    attempt().__enter__()
                self.assertRegex(str(caught.exception), "cannot be reached|being stopped")
        finally:
            self.server().start()
        self.assertEqual(device.id, self.get_device(device.id).id)

    def test_a_connection_that_breaks_in_a_transaction_stores_nothing_of_it(self) -> None:
        device = self.add_device()
        with self.assertRaises(DatabaseUnavailable), self.repository.write() as tx:
            tx.bump(device.id)
            self.break_connections()
            tx.bump(device.id)
        with self.assertRaises(DatabaseUnavailable), self.repository.write() as tx:
            tx.bump(device.id)
            self.break_connections()
        self.assertEqual(0, self.get_device(device.id).desired_revision)

    def break_connections(self) -> None:
        """As the server's administrator, all of this test's."""
        raise NotImplementedError

    def test_a_text_that_is_too_long_is_refused_and_not_cut_off(self) -> None:
        with self.assertRaises(InvalidInput):
            self.add_device(samples.device(name="x" * 256))
        with self.repository.read() as tx:
            self.assertEqual([], tx.devices())

    def test_a_mistake_of_ours_tells_no_password_either(self) -> None:
        device = samples.full_device()
        with self.assertRaises(sa.exc.DBAPIError) as caught, self.repository.write() as tx:
            tx.add_device(replace(device, name=None))  # type: ignore[arg-type]
        told = "".join(traceback.format_exception(caught.exception))
        self.assertIn("null", told.lower())
        self.assertNotIn(repr(device.endpoint.credential.password)[1:-1], told)

    def test_nothing_can_be_written_while_reading(self) -> None:
        device = self.add_device()
        with self.assertRaises(DatabaseUnavailable), self.repository.read() as tx:
            tx.bump(device.id)

    def test_a_wrong_password_and_a_missing_database_are_errors_in_words(self) -> None:
        for wrong in (self.engine.url.set(password="wrong"), self.engine.url.set(database="nowhere")):
            engine = make_engine(wrong.render_as_string(hide_password=False))
            with self.assertLogs("balancer.db.engine", "ERROR") as logged, self.assertRaises(DatabaseUnavailable):
                SqlRepository(engine).check_synced()
            engine.dispose()
            self.assertRegex("".join(logged.output), "password|denied|does not exist")
            self.assertNotIn(str(self.engine.url.password), "".join(logged.output))


class ServerOnPostgresql(ServerContract, Postgresql):
    def break_connections(self) -> None:
        self.server().execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
            f"WHERE usename = '{servers.ACCOUNT}' AND datname = '{self.engine.url.database}'"
        )

    def test_a_client_that_falls_silent_does_not_keep_its_locks(self) -> None:
        self.assertEqual([("30s",)], self.query("SHOW idle_in_transaction_session_timeout"))


class ServerOnMariadb(ServerContract, Mariadb):
    def break_connections(self) -> None:
        for (number,) in self.query("SELECT id FROM information_schema.processlist WHERE id <> connection_id()"):
            self.server().execute(f"KILL {number}")

    def test_a_client_that_falls_silent_does_not_keep_its_locks(self) -> None:
        self.assertEqual([(30,)], self.query("SELECT @@idle_transaction_timeout"))

    def test_the_hour_that_comes_twice_comes_once(self) -> None:
        """The server's own zone has a summer time."""
        self.assertEqual([("CET",)], self.query("SELECT @@system_time_zone"))
        with self.engine.connect() as connection:
            for moment_ in (1698539400, 1698541200, 1698543000):
                connection.exec_driver_sql(f"SET SESSION timestamp = {moment_}")
                self.assertEqual(moment_, connection.scalar(sa.select(db_now())))
            connection.exec_driver_sql("SET SESSION timestamp = DEFAULT")


class DevicesOnSqlite(DevicesContract, SqliteFile):
    pass


class DevicesOnPostgresql(DevicesContract, Postgresql):
    pass


class DevicesOnMariadb(DevicesContract, Mariadb):
    pass


class LoadBalancersOnSqlite(LoadBalancersContract, SqliteFile):
    pass


class LoadBalancersOnPostgresql(LoadBalancersContract, Postgresql):
    pass


class LoadBalancersOnMariadb(LoadBalancersContract, Mariadb):
    pass


class ReservationsOnSqlite(ReservationsContract, SqliteFile):
    pass


class ReservationsOnPostgresql(ReservationsContract, Postgresql):
    pass


class ReservationsOnMariadb(ReservationsContract, Mariadb):
    pass


class DeploymentOnSqlite(DeploymentContract, SqliteFile):
    pass


class DeploymentOnPostgresql(DeploymentContract, Postgresql):
    pass


class DeploymentOnMariadb(DeploymentContract, Mariadb):
    pass


class DueOnSqlite(DueContract, SqliteFile):
    pass


class DueOnPostgresql(DueContract, Postgresql):
    pass


class DueOnMariadb(DueContract, Mariadb):
    pass


class ConcurrencyOnSqlite(ConcurrencyContract, SqliteFile):
    pass


class ConcurrencyOnPostgresql(ConcurrencyContract, Postgresql):
    pass


class ConcurrencyOnMariadb(ConcurrencyContract, Mariadb):
    pass


class OnlySqlite(Steps, SqliteFile):
    """What an SQLite file adds."""

    def path(self) -> Path:
        return Path(self.engine.url.database or "")

    def test_readers_are_not_held_up_by_a_writer_of_another_process(self) -> None:
        device = self.add_device()
        with other_writer(self.path()):
            started = time.monotonic()
            self.assertEqual(device.id, self.get_device(device.id).id)
            self.assertLess(time.monotonic() - started, 5.0)

    def test_a_writer_waits_for_another_process_and_hardly_inside_sqlite(self) -> None:
        device, done = self.add_device(), threading.Event()

        def bump() -> None:
            with self.repository.write() as tx:
                tx.bump(device.id)
            done.set()

        thread = threading.Thread(target=bump)
        with other_writer(self.path()):
            thread.start()
            self.assertFalse(done.wait(0.3))
            # While SQLite waits, every green thread of a process stands still.
            self.assertLessEqual(int(str(self.query("PRAGMA busy_timeout")[0][0])), 50)
        thread.join(timeout=20)
        self.assertTrue(done.is_set())
        self.assertEqual(1, self.get_device(device.id).desired_revision)

    def test_a_file_that_is_gone_or_none_is_an_error_in_words(self) -> None:
        self.add_device()
        self.engine.dispose()
        for name in ("balancer.sqlite-wal", "balancer.sqlite-shm"):
            self.path().with_name(name).unlink(missing_ok=True)
        self.path().write_bytes(b"This is no database. " * 1000)
        repository = SqlRepository(make_engine(self.url))
        with self.assertRaises(DatabaseUnavailable) as caught, repository.read() as tx:
            tx.devices()
        self.assertIn("no SQLite database", str(caught.exception))
        self.path().unlink()
        with self.assertRaises(DatabaseUnavailable) as caught, repository.read() as tx:
            tx.devices()
        self.assertNotIn("SELECT", str(caught.exception))
        self.assertFalse(self.path().exists())


GREEN_WRITERS = """
import eventlet
eventlet.monkey_patch()
import sys, time
from balancer.db.engine import db_now, make_engine
from balancer.db.repository import SqlRepository
repository = SqlRepository(make_engine(sys.argv[1]))
gaps, done = [], []
def beat():
    while True:
        started = time.monotonic()
        eventlet.sleep(0.005)
        gaps.append(time.monotonic() - started)
def write():
    with repository.write() as tx:
        tx.bump(sys.argv[2])
    done.append(1)
repository.now()
eventlet.spawn(beat)
writers = [eventlet.spawn(write) for _ in range(10)]
eventlet.sleep(0.1)
for _ in range(2):
    # Making the connections is work, not waiting.
    eventlet.sleep(0.1)
    gaps.clear()
print("waiting", flush=True)
for writer in writers:
    writer.wait()
print(max(gaps), len(done))
"""


def with_another_pool(old: LoadBalancer) -> LoadBalancer:
    rules.check(Tree(load_balancer=old))
    pool = replace(samples.load_balancer("").pools[0], id=new_id())
    listeners = tuple(replace(each, default_pool_id=pool.id) for each in old.listeners)
    return replace(old, pools=(pool,), listeners=listeners)


def using(load_balancer: LoadBalancer, monitor: HealthMonitor) -> LoadBalancer:
    pools = tuple(replace(pool, health_monitor_ids=(monitor.id,)) for pool in load_balancer.pools)
    return replace(load_balancer, pools=pools)


class other_writer:
    """Holds the write lock of an SQLite file as another process would."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        self._connection = sqlite3.connect(self._path, isolation_level=None)
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, *_: object) -> None:
        self._connection.execute("ROLLBACK")
        self._connection.close()


def rename_often(url: str, load_balancer_id: str, times: int) -> None:
    """Read, change, save, as often as that; a lost race is repeated."""
    engine = make_engine(url)
    repository = SqlRepository(engine)
    for _ in range(times):
        for _ in range(200):
            try:
                with repository.write() as tx:
                    add_letter(tx, load_balancer_id)
                break
            except StaleGeneration:
                continue
    engine.dispose()


def add_letter(tx: Transaction, load_balancer_id: str) -> None:
    old = tx.load_balancer(load_balancer_id)
    new = replace(old, description=old.description + "x", generation=old.generation + 1)
    tx.save_load_balancer(new, seen=old.generation)
    tx.bump(old.device_id)


def new_member() -> Member:
    return Member(id=new_id(), address="192.0.2.250", port=8080)


def ids_of(load_balancers: list[LoadBalancer]) -> list[str]:
    return [each.id for each in load_balancers]


def without_times(lb: LoadBalancer) -> LoadBalancer:
    return replace(
        lb,
        listeners=tuple(
            timeless(each, l7_policies=tuple(timeless(p, rules=timeless_all(p.rules)) for p in each.l7_policies))
            for each in lb.listeners
        ),
        pools=tuple(timeless(pool, members=timeless_all(pool.members)) for pool in lb.pools),
        changed_at=None,
        applied_changed_at=None,
        created_at=None,
        updated_at=None,
    )


def timeless(part: Any, **changes: Any) -> Any:
    return replace(part, created_at=None, updated_at=None, **changes)


def timeless_all(parts: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(map(timeless, parts))


def moment(time_: datetime | None) -> float:
    assert time_ is not None
    assert time_.utcoffset() is not None, "times are aware"
    return time_.timestamp()
