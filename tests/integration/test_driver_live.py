"""Changes that a running HAProxy takes over its socket: real requests meanwhile, the same process before and after."""

from __future__ import annotations

import operator
import socket
import threading
import time
import unittest
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from balancer.core.model import (
    Algorithm,
    Applied,
    HealthMonitor,
    HttpCheck,
    LoadBalancer,
    Member,
    MemberLimits,
    MonitorType,
    PersistenceKind,
    Rotation,
    SessionPersistence,
    new_id,
)
from balancer.devbox.host import Host, isolation_refused
from balancer.drivers.haproxy import live, runtime
from balancer.drivers.ssh import Connection
from balancer.exceptions import LaterOwner, LeaseLost, TerminalDeviceError, TransientDeviceError
from tests.integration import newer_haproxy
from tests.integration.answering import Answering
from tests.integration.deploying import SETTINGS, DeployingCase, device_of, load_balancer, with_limit
from tests.integration.running import eventually
from tests.integration.test_driver_traffic import ask
from tests.integration.traffic import Traffic

CHECK = HealthMonitor(
    id=new_id(),
    project_id="foo",
    type=MonitorType.HTTP,
    delay=0.1,
    timeout=5,
    rise=2,
    fall=1,
    http=HttpCheck(path="/alive"),
)
ASTRAY = "HAProxy runs something else than its file says"


class LiveCase(DeployingCase):
    """One device with one load balancer of three members; `pool` are the fields of its pool."""

    pool: Mapping[str, Any] = {}

    def setUp(self) -> None:
        super().setUp()
        self.host_ = self.host()
        self.device = device_of(self.host_)
        self.servers = [self.enterContext(Answering()) for _ in range(4)]
        self.members = [Member(id=new_id(), address="127.0.0.1", port=each.port) for each in self.servers]
        self.listening = self.port()
        self.balancer = load_balancer([], self.listening, pool=self.pool)

    def with_pool(self, members: Sequence[Member], **fields: Any) -> LoadBalancer:
        (pool,) = self.balancer.pools
        return replace(self.balancer, pools=(replace(pool, members=tuple(members), **fields),))

    def go(self, members: Sequence[Member], **fields: Any) -> Applied:
        return self.deploy(self.device, self.with_pool(members, **fields), monitors=[CHECK])

    def lives(self, members: Sequence[Member], **fields: Any) -> str:
        """Deploys, without a reload; returns what was told."""
        made = self.go(members, **fields)
        self.assertEqual("runtime", made.plan, made.sentence)
        return made.sentence

    def reloads(self, members: Sequence[Member], because: str, **fields: Any) -> None:
        made = self.go(members, **fields)
        self.assertEqual("reload", made.plan, made.sentence)
        self.assertRegex(made.sentence, because)

    def connection(self) -> Connection:
        return self.driver._connection(self.device)

    def cli(self, command: str) -> str:
        return runtime.ask(self.connection(), self.host_.socket, command)

    def worker(self) -> int:
        return runtime.show_info(self.connection(), self.host_.socket).pid

    def asked_by(self, count: int = 64) -> list[int]:
        """How many of the next requests each server gets, as soon as all have had the chance to begin."""
        return self._asked_by(count)[0]

    def serving(self) -> list[bool]:
        """Which servers get their share of the next requests, those of other clients among them: one who always asks
        in between could get all that a server gets."""
        return [each > 15 for each in self._asked_by(64)[1]]

    def shared(self, expected: Sequence[int]) -> None:
        """So that the next requests are shared, as nearly as it is seen while some are on their way."""
        mine, all_ = self._asked_by(sum(expected))
        for few, own, many in zip(expected, mine, all_, strict=True):
            seen = round(many * sum(expected) / sum(all_))
            self.assertTrue(abs(few - seen) <= 8 if few else own == 0, (mine, all_))

    def _asked_by(self, count: int) -> tuple[list[int], list[int]]:
        """Of so many requests, and of these and those that `Traffic` made meanwhile."""

        def counts(*paths: str) -> list[int]:
            return [sum(map(each.count, paths)) for each in self.servers]

        for _ in range(count):
            ask(self.listening)
        before = counts("/"), counts("/", "/traffic")
        for _ in range(count):
            self.assertEqual(200, ask(self.listening)[0])
        after = counts("/"), counts("/", "/traffic")
        mine, all_ = (list(map(operator.sub, *each)) for each in zip(after, before, strict=True))
        return mine, all_


class TestLive(LiveCase):
    def test_everything_goes_live_without_losing_a_request_and_a_reload_keeps_it(self) -> None:
        one, two, three, four = self.members
        self.go([one, two])
        worker = self.worker()
        with Traffic.to(self.listening, "/traffic") as traffic:
            self.lives([replace(one, weight=3), two])
            self.shared([48, 16, 0, 0])
            self.lives([one, two, three])
            self.assertEqual([True, True, True, False], self.serving())
            self.lives([replace(one, rotation=Rotation.DRAIN), two, three])
            self.assertEqual(0, self.asked_by()[0])
            self.lives([replace(one, rotation=Rotation.OUT), two, three])
            limited = replace(three, limits=MemberLimits(max_connections=50))
            self.lives([replace(one, admin_up=False), two, limited])
            self.assertEqual(0, self.asked_by()[0])
            self.assertTrue(self.serving()[1])
            self.lives([one, two, replace(limited, port=four.port)])
            self.assertEqual([True, True, False, True], self.serving())
            moved = replace(three, port=four.port, limits=MemberLimits(max_connections=9))
            self.lives([one, moved])
            self.assertEqual([True, False, False, True], self.serving())
            self.assertEqual(worker, self.worker())
            three = replace(moved, limits=MemberLimits())
            self.reloads([replace(one, weight=3), three], "a server gets any number of connections")
            self.assertNotEqual(worker, self.worker())
            self.shared([48, 0, 0, 16])
            self.lives([one, three])
        self.assertEqual([], traffic.failures)
        self.assertEqual([], self.left_behind(self.host_))
        self.assertEqual("noop", self.go([one, three]).plan)

    def test_one_that_is_checked_is_asked_only_after_its_first_good_checks(self) -> None:
        one, two, three, _ = self.members
        checked = {"health_monitor_ids": (CHECK.id,)}
        self.go([one, two], **checked)
        self.servers[2].codes["/alive"] = 500
        with Traffic.to(self.listening, "/traffic") as traffic:
            self.lives([one, two, three], **checked)
            eventually(lambda: self.servers[2].count("/alive") >= 3, "it is checked")
        self.assertEqual([], traffic.failures)
        self.assertEqual(0, self.servers[2].count("/"))
        self.servers[2].codes["/alive"] = 200
        eventually(lambda: self.asked_by()[2] > 15, "it is up")
        # Also the first member of all.
        self.go([], **checked)
        asked = self.servers[2].count("/")
        self.servers[2].codes["/alive"] = 500
        self.lives([three], **checked)
        time.sleep(0.5)
        self.assertEqual((503, asked), (ask(self.listening)[0], self.servers[2].count("/")))
        self.servers[2].codes["/alive"] = 200
        eventually(lambda: ask(self.listening)[0] == 200, "it is up")

    def test_requests_to_one_that_is_removed_are_answered(self) -> None:
        one, two, three, _ = self.members
        self.go([one, two])
        go_on = threading.Event()
        self.addCleanup(go_on.set)
        self.servers[0].holds["/slow"] = self.servers[1].holds["/slow"] = go_on
        answers: list[tuple[int, str, str]] = []
        clients = [threading.Thread(target=lambda: answers.append(ask(self.listening, "/slow"))) for _ in range(4)]
        for each in clients:
            each.start()
        eventually(lambda: sum(each.count("/slow") for each in self.servers) == 4, "they are being answered")
        told = self.lives([three])
        self.assertIn("2 removed servers keep their present sessions to their end", told)
        self.assertEqual([0, 0], self.asked_by()[:2])
        go_on.set()
        for each in clients:
            each.join(30)
        self.assertEqual([200] * 4, [status for status, *_ in answers])
        # They are still there, so the one that comes back cannot be added.
        self.reloads([one, three], "did not take the change while it ran: .*Already exists a server")
        self.assertEqual([True, False, True, False], self.serving())

    def test_with_every_algorithm_and_persistence_that_allows_it(self) -> None:
        one, two, three, _ = self.members
        cookie, source = (
            SessionPersistence(id=new_id(), kind=kind)
            for kind in (PersistenceKind.HTTP_COOKIE, PersistenceKind.SOURCE_IP)
        )
        for fields, grows in (
            ({"algorithm": Algorithm.LEAST_CONNECTIONS}, True),
            ({"algorithm": Algorithm.SOURCE_IP}, True),
            ({"algorithm": Algorithm.URI}, True),
            ({"session_persistence": cookie}, self.adds_with_cookie()),
            # The last one: a reload would wait until such a table can be handed over.
            ({"session_persistence": source}, True),
        ):
            with self.subTest(fields):
                self.go([one, two], **fields)
                headers = {"Cookie": ask(self.listening)[2].partition(";")[0]}
                mine = ask(self.listening, headers=headers)[1]
                self.lives([replace(one, weight=5), two], **fields)
                if grows:
                    self.lives([replace(one, weight=5), two, three], **fields)
                    self.lives([replace(one, weight=5), two], **fields)
                if "session_persistence" in fields:
                    self.assertEqual({mine}, {ask(self.listening, headers=headers)[1] for _ in range(20)})

    def adds_with_cookie(self) -> bool:
        return False


class TestSurprises(LiveCase):
    """Whatever is not as it was left ends in a reload, and what runs is what was asked for."""

    def setUp(self) -> None:
        super().setUp()
        self.one, self.two, self.three, _ = self.members
        self.go([self.one, self.two])

    def weight(self, member: Member) -> str:
        (pool,) = self.balancer.pools
        return self.cli(f"get weight be-{pool.id}/{member.id}").split()[0]

    def test_a_refused_command(self) -> None:
        (pool,) = self.balancer.pools
        self.cli(f"add server be-{pool.id}/{self.three.id} 127.0.0.1:9")
        self.reloads([self.one, self.two, self.three], "while it ran: it answered `add server .*Already exists")
        self.assertEqual([True] * 3, self.serving()[:3])

    def test_haproxy_was_reloaded_by_hand(self) -> None:
        """Whatever was changed over its socket stands in the file too."""
        self.lives([replace(self.one, weight=3), self.two])
        before = self.worker()
        self.host_.run(["kill", "-USR2", str(self.host_.haproxy_pids()[0])], check=True)
        # For a moment either of them answers. One that is about to end is recognised: the change would be reloaded.
        eventually(lambda: all(self.worker() != before for _ in range(20)), "it is reloaded")
        self.assertEqual("3", self.weight(self.one))
        self.lives([replace(self.one, weight=4), self.two])
        self.assertEqual("4", self.weight(self.one))

    def test_the_file_was_edited_by_hand(self) -> None:
        written = self.host_.read_config()
        self.host_.write_config(b"# by hand\n" + written)
        self.reloads([replace(self.one, weight=3), self.two], "HAProxy runs something else than its file says")
        self.assertTrue(self.host_.read_config().startswith(b"# by hand\n"))
        self.assertEqual("3", self.weight(self.one))

    def test_another_worker_deployed_meanwhile(self) -> None:
        other = type(self.driver)(SETTINGS)
        self.addCleanup(other.close)
        mine, self.driver = self.driver, other
        self.lives([replace(self.one, weight=3), self.two])
        self.driver = mine
        self.lives([replace(self.one, weight=3), replace(self.two, weight=5)])
        self.assertEqual(("3", "5"), (self.weight(self.one), self.weight(self.two)))

    def test_cut_off_after_haproxy_was_told(self) -> None:
        """The file is the old one then. The next deployment does not take it for what runs, whatever it is to do."""
        calls: list[None] = []

        def lost() -> None:
            calls.append(None)
            if len(calls) == 2:
                raise LeaseLost("lost")

        changed = self.with_pool([replace(self.one, weight=7), self.two])
        with self.assertRaises(LeaseLost):
            self.deploy(self.device, changed, check=lost)
        self.assertEqual("7", self.weight(self.one))
        self.assertNotIn(b"weight 7", self.host_.read_config())
        self.assertEqual(ASTRAY, self.driver.observe(self.device).repair)
        self.reloads([self.one, self.two], ASTRAY)
        self.assertEqual("1", self.weight(self.one))
        self.assertIsNone(self.driver.observe(self.device).repair)

    def test_a_later_owner_is_not_overridden(self) -> None:
        self.lives([replace(self.one, weight=3), self.two])
        other = type(self.driver)(SETTINGS)
        self.addCleanup(other.close)
        candidate = self.render(self.device, [self.with_pool([replace(self.one, weight=9), self.two])])
        with self.assertRaises(LaterOwner):
            other.apply(self.device, candidate, epoch=1, last={}, check=lambda: None)
        self.assertEqual("3", self.weight(self.one))

    def test_what_was_held_up_is_not_done_any_more(self) -> None:
        """A lease that was checked holds for some seconds; by then HAProxy has ended the session."""
        (pool,) = self.balancer.pools
        known = runtime.read_mark(self.connection(), self.host_.socket)
        command = f"set weight be-{pool.id}/{self.one.id} 9"
        with self.assertRaises(TransientDeviceError):
            runtime.change(
                self.connection(),
                self.host_.socket,
                live.Change(phases=((command,),), leaving=(), expected={}),
                known=known,
                mark=runtime.Mark(epoch=1, digest="0" * 64),
                idle=1,
                check=lambda: time.sleep(1.2),
            )
        self.assertEqual("1", self.weight(self.one))
        self.assertEqual(known, runtime.read_mark(self.connection(), self.host_.socket))


class TestRememberedHost(LiveCase):
    """After a reload, too, the host need not be looked at as a whole. What may have changed meanwhile is seen."""

    def setUp(self) -> None:
        super().setUp()
        self.go(self.members[:2])

    def limited(self, connections: int, *more: LoadBalancer) -> Applied:
        made = self.deploy(self.device, with_limit(self.with_pool(self.members[:2]), connections), *more)
        self.assertEqual("reload", made.plan, made.sentence)
        self.assertEqual(200, ask(self.listening)[0])
        return made

    def test_owner_and_mode_of_the_file(self) -> None:
        self.limited(9)
        for command in (["chown", "root:haproxy"], ["chmod", "640"]):
            self.host_.run([*command, self.host_.config_path], check=True)
        # Which the login user, who is not of that group, must be told.
        with self.assertRaisesRegex(TerminalDeviceError, "may not read"):
            self.limited(10)

    def test_a_port_that_another_program_took(self) -> None:
        self.limited(9)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            other = load_balancer([self.servers[0].port], taken.getsockname()[1])
            self.assertEqual([other.id], list(self.limited(10, other).rejected))

    def test_a_haproxy_that_was_restarted(self) -> None:
        self.limited(9)
        self.host_.stop_haproxy()
        self.host_.start_haproxy()
        self.limited(10)
        self.limited(11)


class TestWithoutForwarding(LiveCase):
    def host(self, **how: Any) -> Host:
        return super().host(**how, forwarding=False)

    def test_socat_does_it_where_the_server_does_not_connect_to_sockets(self) -> None:
        one, two, *_ = self.members
        self.go([one, two])
        self.lives([replace(one, weight=3), two])
        self.shared([48, 16, 0, 0])
        self.assertIsNotNone(self.driver.observe(self.device).sample)


class Newer:
    """The same with a newer HAProxy."""

    def host(self, **how: Any) -> Host:
        host: Host = super().host(release=newer_haproxy.newer_haproxy(), **how)  # type: ignore[misc]
        return host


@unittest.skipIf(isolation_refused(), "needs root and the right to make namespaces")
class TestLiveOnNewer(Newer, TestLive):
    def adds_with_cookie(self) -> bool:
        return True


@unittest.skipIf(isolation_refused(), "needs root and the right to make namespaces")
class TestSurprisesOnNewer(Newer, TestSurprises):
    pass
