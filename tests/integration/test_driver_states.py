"""What health checks have found outlives a reload, and nothing else does that was changed since."""

from __future__ import annotations

import contextlib
import csv
import unittest
from collections.abc import Sequence
from dataclasses import replace

from balancer.core.model import (
    Device,
    HealthMonitor,
    HttpCheck,
    LoadBalancer,
    Member,
    MemberLimits,
    MonitorType,
    OperatingStatus,
    Rotation,
    new_id,
)
from balancer.devbox.host import Host, isolation_refused
from balancer.drivers.haproxy import deploy, runtime
from balancer.drivers.haproxy.states import EMPTY
from balancer.drivers.ssh import Pool
from tests.integration.answering import Answering
from tests.integration.deploying import DeployingCase, device_of, load_balancer, with_limit, with_members
from tests.integration.running import eventually, fetch
from tests.integration.traffic import Traffic

# Nothing is found out anew while a test lasts.
SELDOM = 300.0


def monitor(**fields: object) -> HealthMonitor:
    values = {"id": new_id(), "project_id": "foo", "type": MonitorType.HTTP, "delay": 0.2, "timeout": 5, "rise": 2}
    return HealthMonitor(**{**values, "fall": 3, "http": HttpCheck(path="/health"), **fields})  # type: ignore[arg-type]


@unittest.skipIf(isolation_refused(), "needs root and the right to make namespaces")
class TestStates(DeployingCase):
    def setUp(self) -> None:
        super().setUp()
        self.dead = self.enterContext(Answering())
        self.alive = self.enterContext(Answering())
        self.dead.codes["/health"] = 503
        self.serving = self.port()
        self.often = monitor()
        self.seldom = replace(self.often, delay=SELDOM)
        self.balancer = load_balancer([self.dead.port, self.alive.port], self.serving, monitors=[self.often])
        self.pool = Pool(connect_timeout=5)
        self.addCleanup(self.pool.close)

    def put(self, device: Device, balancer: LoadBalancer, monitor: HealthMonitor) -> str:
        return self.deploy(device, balancer, monitors=[monitor]).plan

    def ask(self, device: Device, command: str) -> str:
        return runtime.ask(self.pool.connection(device.id, device.endpoint), deploy.socket_of(device), command)

    def seen(self, device: Device, member: Member, *columns: str) -> list[str]:
        table = self.ask(device, "show stat").removeprefix("# ").splitlines()
        row = next(row for row in csv.DictReader(table) if row["svname"] == member.id and row["pxname"][:3] == "be-")
        return [row[each] for each in columns]

    def checked(self, device: Device, members: Sequence[Member], *, words: Sequence[str] = ("DOWN", "UP")) -> None:
        """Waits until checks have found that."""

        def found() -> bool:
            seen = [self.seen(device, each, "status", "check_status") for each in members]
            return [status for status, _ in seen] == list(words) and all(check[-3:] != "INI" for _, check in seen)

        eventually(found, f"members are {words}")

    def states_of(self, host: Host) -> bytes:
        return host.run(["cat", f"{host.config_path}.balancer-states"], check=True).stdout

    def test_who_was_down_stays_down_and_who_was_up_stays_up(self) -> None:
        for run_as in ("sudo", "group", "root"):
            with self.subTest(run_as), contextlib.ExitStack() as stack:
                host = self.host(run_as=run_as)
                # Also when this one fails, or the next one would not get the port.
                stack.callback(host.stop)
                device = device_of(host)
                (pool,) = self.balancer.pools
                self.put(device, self.balancer, self.often)
                self.checked(device, pool.members)
                asked = self.dead.count()
                # Another interval, another weight: still the same server.
                heavier = with_members(self.balancer, weight=7, limits=MemberLimits(slow_start=60))
                with Traffic.heavy(self.serving) as traffic:
                    self.assertEqual("reload", self.put(device, heavier, self.seldom))
                self.assertEqual([], traffic.failures)
                self.assertEqual(["DOWN", "7"], self.seen(device, pool.members[0], "status", "weight"))
                self.assertEqual(["UP", "7", ""], self.seen(device, pool.members[1], "status", "weight", "throttle"))
                self.assertEqual({self.alive.page}, set(self.answers(self.serving, 10)))
                # The worker before may have asked once more.
                self.assertLessEqual(self.dead.count(), asked + 1)
                # It still takes three failures, not one, to bring the living one down.
                health = self.ask(device, "show servers state").split(f" {pool.members[1].id} ")[1].split()[8]
                self.assertEqual("4", health)
                sample = self.driver.observe(device).sample
                assert sample is not None
                statuses = {each.object_id: each.status for each in sample.objects}
                self.assertIs(OperatingStatus.ERROR, statuses[pool.members[0].id])
                self.assertIs(OperatingStatus.ONLINE, statuses[pool.members[1].id])
                # At any later start of HAProxy it would be stale.
                self.assertEqual(EMPTY, self.states_of(host))
                self.assertEqual([], self.left_behind(host))

    def test_a_changed_member_is_what_it_was_changed_to(self) -> None:
        host = self.host()
        device, third = device_of(host), self.enterContext(Answering())
        self.put(device, self.balancer, self.often)
        (pool,) = self.balancer.pools
        dead, alive = pool.members
        self.checked(device, pool.members)

        def changed(first: Member, second: Member) -> LoadBalancer:
            return replace(self.balancer, pools=(replace(pool, members=(first, second)),))

        # Somewhere else: what was found at the old place says nothing.
        self.put(device, changed(replace(dead, port=third.port), alive), self.seldom)
        self.assertEqual({third.page, self.alive.page}, set(self.answers(self.serving, 4)))
        # Out of rotation and in again.
        self.put(device, changed(dead, replace(alive, rotation=Rotation.OUT)), self.often)
        self.checked(device, [dead], words=["DOWN"])
        self.assertEqual(["MAINT"], self.seen(device, alive, "status"))
        self.put(device, changed(dead, alive), self.seldom)
        self.assertEqual(["DOWN"], self.seen(device, dead, "status"))
        self.assertEqual({self.alive.page}, set(self.answers(self.serving, 4)))
        # No monitor any more: nothing would ever bring it up again.
        self.deploy(device, replace(self.balancer, pools=(replace(pool, health_monitor_ids=()),)))
        self.assertEqual({self.dead.page, self.alive.page}, set(self.answers(self.serving, 4)))

    def test_what_was_changed_without_a_reload_stays_so_after_one(self) -> None:
        host = self.host()
        device, third = device_of(host), self.enterContext(Answering())
        self.put(device, self.balancer, self.often)
        (pool,) = self.balancer.pools
        dead, alive = pool.members
        self.checked(device, pool.members)
        members = (replace(dead, port=third.port), replace(alive, weight=2))
        changed = replace(self.balancer, pools=(replace(pool, members=members),))
        self.assertEqual("runtime", self.put(device, changed, self.often))
        self.checked(device, members, words=["UP", "UP"])
        self.assertEqual("reload", self.put(device, with_limit(changed, 99), self.often))
        self.assertEqual({third.page, self.alive.page}, set(self.answers(self.serving, 6)))
        self.assertEqual(["UP", "1"], self.seen(device, members[0], "status", "weight"))
        self.assertEqual(["UP", "2"], self.seen(device, members[1], "status", "weight"))
        self.assertNotIn(str(self.dead.port), self.ask(device, "show servers state").split())

    def test_what_somebody_did_to_a_server_by_hand_ends_with_the_reload(self) -> None:
        host = self.host()
        device = device_of(host)
        self.put(device, self.balancer, self.often)
        (pool,) = self.balancer.pools
        dead, alive = pool.members
        self.checked(device, pool.members)
        server = f"be-{pool.id}/{alive.id}"
        self.ask(device, f"set server {server} addr 127.0.0.1 port {self.dead.port};set server {server} weight 9")
        self.ask(device, f"set server be-{pool.id}/{dead.id} state maint")
        self.put(device, with_members(self.balancer, limits=MemberLimits(max_connections=5)), self.seldom)
        self.assertEqual(["UP 1/3", "1"], self.seen(device, alive, "status", "weight"))
        self.assertNotIn("MAINT", self.seen(device, dead, "status"))
        self.assertIn(self.alive.page, self.answers(self.serving, 4))

    def test_several_monitors_agree_as_before(self) -> None:
        host = self.host()
        device = device_of(host)
        tcp = replace(self.often, id=new_id(), type=MonitorType.TCP, http=None)
        monitors = (self.often, tcp)
        balancer = load_balancer([self.dead.port, self.alive.port], self.serving, monitors=monitors)
        self.deploy(device, balancer, monitors=monitors)
        self.checked(device, balancer.pools[0].members)
        asked = self.dead.count()
        self.deploy(device, balancer, monitors=[replace(each, delay=SELDOM) for each in monitors])
        for _ in range(15):
            self.assertEqual(self.alive.page, fetch(self.serving).text)
            self.assertEqual(["DOWN", "UP"], [self.seen(device, m, "status")[0] for m in balancer.pools[0].members])
        self.assertEqual(asked, self.dead.count())

    def test_a_state_file_of_the_administrators_own_is_left_alone(self) -> None:
        own = b"global\n    server-state-file /run/haproxy/own-states\n"
        host = self.host(haproxy_config=own, haproxy="none")
        host.run(["tee", "/run/haproxy/own-states"], input=EMPTY, check=True)
        device = device_of(host)
        self.put(device, self.balancer, self.often)
        self.assertEqual("reload", self.put(device, self.balancer, self.seldom))
        self.assertIn(b"server-state-file /run/haproxy/own-states", host.read_config())
        self.assertNotIn(b"balancer-states", host.read_config())
        self.assertNotIn(b"load-server-state-from-file", host.read_config())
        self.assertIn("forgotten when HAProxy is reloaded", " ".join(self.driver.observe(device).findings))
        self.assertEqual(EMPTY, host.run(["cat", "/run/haproxy/own-states"], check=True).stdout)
