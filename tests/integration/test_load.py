"""What users of a load balancer may not notice, whatever is deployed: a hundred thousand requests, looked at one by
one, while HAProxy is reloaded a hundred times and told of a thousand changes. Clients with a member of their own ask
all the time, too, on connections that they keep and on new ones."""

from __future__ import annotations

import random
import sys
import time
from dataclasses import replace

from balancer.core.model import LoadBalancer, Member, PersistenceKind, SessionPersistence, new_id
from tests.integration.answering import Answering
from tests.integration.deploying import DeployingCase, device_of, load_balancer, with_limit
from tests.integration.test_driver_traffic import CLIENTS, ask
from tests.integration.traffic import Client, Traffic

REQUESTS = 100_000
RELOADS = 100
CHANGES = 1000
# On two cores that nobody else uses it takes a quarter of that.
_LONGEST = 300.0
_MEMBERS = 12


class TestLoad(DeployingCase):
    def setUp(self) -> None:
        super().setUp()
        self.device = device_of(self.host(run_as="group"))
        self.answering = [self.enterContext(Answering()) for _ in range(3)]
        for number, each in enumerate(self.answering):
            each.headers["Set-Cookie"] = f"SESSION=of-{number}; Path=/"

    def sticky(self, port: int, kind: PersistenceKind, **fields: str) -> LoadBalancer:
        persistence = SessionPersistence(id=new_id(), kind=kind, **fields)  # type: ignore[arg-type]
        return load_balancer([each.port for each in self.answering], port, pool={"session_persistence": persistence})

    def test_no_request_fails_and_nobody_loses_its_member(self) -> None:
        shared, by_address, by_session = self.port(), self.port(), self.port()
        backends = self.backends(2, address="0.0.0.0")
        members = tuple(
            Member(id=new_id(), address=f"127.0.0.{1 + number // 2}", port=backends[number % 2].port)
            for number in range(_MEMBERS)
        )
        balancer = load_balancer([], shared, pool={"members": members})
        stay = (
            self.sticky(by_address, PersistenceKind.SOURCE_IP),
            self.sticky(by_session, PersistenceKind.APP_COOKIE, cookie_name="SESSION"),
        )
        self.deploy(self.device, balancer, *stay)
        clients = [Client(port=shared, keep=number < 6, pause=0.004) for number in range(8)]
        pages = {each: ask(by_address, source=each)[1] for each in CLIENTS[:10]}
        sessions = {page: cookie.partition(";")[0] for _, page, cookie in (ask(by_session) for _ in range(3))}
        clients += [
            Client(port=by_address, keep=number % 2 == 0, pause=0.02, source=source, page=page)
            for number, (source, page) in enumerate(pages.items())
        ]
        clients += [
            Client(port=by_session, keep=keep, pause=0.02, cookie=cookie, page=page)
            for page, cookie in sessions.items()
            for keep in (True, False)
        ]
        reloads = changes = 0
        began = time.monotonic()
        with Traffic(*clients) as traffic:
            while reloads < RELOADS or changes < CHANGES or traffic.count < REQUESTS:
                if time.monotonic() - began > _LONGEST or traffic.failures:
                    break
                if reloads < RELOADS:
                    balancer = with_limit(balancer, 1000 + reloads)
                    self.assertEqual("reload", self.deploy(self.device, balancer, *stay).plan)
                    reloads += 1
                    now = {each: ask(by_address, source=each)[1] for each in pages}
                    self.assertEqual(pages, now, f"reload {reloads}")
                    there = {page: ask(by_session, headers={"Cookie": cookie})[1] for page, cookie in sessions.items()}
                    self.assertEqual({page: page for page in sessions}, there, f"reload {reloads}")
                # None keeps its weight.
                (pool,) = balancer.pools
                heavier = tuple(replace(each, weight=each.weight % 200 + random.randint(1, 9)) for each in pool.members)
                balancer = replace(balancer, pools=(replace(pool, members=heavier),))
                self.assertEqual("runtime", self.deploy(self.device, balancer, *stay).plan)
                changes += len(heavier)
        took = time.monotonic() - began
        seen = f"{traffic.count} requests, {reloads} reloads, {changes} changes in {took:.0f} s"
        print(f"[{seen}] ", end="", file=sys.stderr, flush=True)
        self.assertEqual([], traffic.failures, seen)
        self.assertGreaterEqual(traffic.count, REQUESTS, seen)
        self.assertGreaterEqual(reloads, RELOADS, seen)
        self.assertGreaterEqual(changes, CHANGES, seen)
