"""LBaaS v1 through a real HAProxy, and one service from there to LBaaS v2 under traffic."""

from __future__ import annotations

import tempfile
import unittest
from functools import partial
from pathlib import Path
from typing import Any

from balancer.devbox.backends import Backend, page
from balancer.devbox.host import Host
from balancer.devbox.processes import free_port
from tests.integration.running import Answer, RunningService, eventually, fetch
from tests.integration.traffic import Traffic

Body = dict[str, Any]


class Case(unittest.TestCase):
    """A service, a device with a registered subnet, two back ends."""

    service: RunningService
    host: Host
    backends: list[Backend]
    subnet_id: str

    @classmethod
    def setUpClass(cls) -> None:
        root = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.host = cls.enterClassContext(Host(root / "device"))
        cls.backends = [cls.enterClassContext(Backend(root / f"backend-{number}")) for number in range(2)]
        cls.service = cls.enterClassContext(RunningService(root / "service", {"worker": {"observe_interval": "1"}}))
        cls.service.register(cls.host)
        network = cls.service.call("POST", "/v2.0/networks", {"network": {"name": "public"}}).json["network"]
        subnet = {"network_id": network["id"], "cidr": "127.77.0.0/16", "name": "public-subnet"}
        cls.subnet_id = cls.service.call("POST", "/v2.0/subnets", {"subnet": subnet}).json["subnet"]["id"]

    def setUp(self) -> None:
        self.before = self.host.read_config()

    # --- asking ---

    def ask(self, status: int, method: str, path: str, body: Any = None) -> Answer:
        answer = self.service.call(method, path, body)
        self.assertEqual(status, answer.status, answer.text)
        return answer

    def made(self, path: str, **fields: Any) -> Body:
        """Through LBaaS v1."""
        key = path.rpartition("/")[2][:-1]
        made: Body = self.ask(201, "POST", f"/v2.0/lb/{path}", {key: fields}).json[key]
        return made

    def shown(self, path: str) -> Body:
        """By LBaaS v1."""
        shown: Body = self.ask(200, "GET", f"/v2.0/lb/{path}").json[path.partition("/")[0][:-1]]
        return shown

    def active(self, *paths: str) -> None:
        for path in paths:
            eventually(partial(self._is_active, path), f"{path} is active")

    def _is_active(self, path: str) -> bool:
        return bool(self.shown(path)["status"] == "ACTIVE")

    def web(self, **vip: Any) -> tuple[Body, Body, list[Body]]:
        """A pool with both back ends, its vip and its members, once they are deployed."""
        pool = self.made("pools", name="web-pool", protocol="HTTP", lb_method="ROUND_ROBIN", subnet_id=self.subnet_id)
        members = [
            self.made("members", pool_id=pool["id"], address="127.0.0.1", protocol_port=each.port)
            for each in self.backends
        ]
        fields = {"protocol": "HTTP", "protocol_port": free_port(), "subnet_id": self.subnet_id, **vip}
        made = self.made("vips", name="web-vip", pool_id=pool["id"], **fields)
        self.active(f"vips/{made['id']}", *(f"members/{each['id']}" for each in members))
        return pool, made, members

    def page_of(self, vip: Body) -> str:
        return fetch(vip["protocol_port"], host=vip["address"]).text


class TestTraffic(Case):
    def test_a_vip_from_its_making_to_its_end(self) -> None:
        pool, vip, members = self.web()
        pages = [self.page_of(vip) for _ in range(4)]
        self.assertEqual({page(each.port) for each in self.backends}, set(pages[:2]))
        self.assertEqual(pages[:2], pages[2:])
        self.assertIn(b"forwardfor", self.host.read_config())
        monitor = self.made("health_monitors", type="HTTP", delay=1, timeout=1, max_retries=2, url_path="/")
        self.made(f"pools/{pool['id']}/health_monitors", id=monitor["id"])
        self.active(f"pools/{pool['id']}")
        with self.subTest("a dead member leaves and returns"):
            self.backends[0].kill()
            path = f"members/{members[0]['id']}"
            eventually(lambda: self.shown(path)["status"] == "INACTIVE", "it is inactive")
            self.assertEqual({page(self.backends[1].port)}, {self.page_of(vip) for _ in range(4)})
            self.backends[0].start()
            self.active(path)
            eventually(
                lambda: {self.page_of(vip) for _ in range(4)} == {page(each.port) for each in self.backends},
                "it is back",
            )
        with self.subTest("statistics"):
            stats = f"/v2.0/lb/pools/{pool['id']}/stats"
            eventually(lambda: self.ask(200, "GET", stats).json["stats"]["total_connections"] > 0, "it counts")
            self.assertGreater(self.ask(200, "GET", stats).json["stats"]["bytes_out"], 0)
        self.ask(409, "DELETE", f"/v2.0/lb/pools/{pool['id']}")
        self.ask(409, "DELETE", f"/v2.0/lb/health_monitors/{monitor['id']}")
        self.ask(204, "DELETE", f"/v2.0/lb/vips/{vip['id']}")
        self.ask(204, "DELETE", f"/v2.0/lb/pools/{pool['id']}/health_monitors/{monitor['id']}")
        self.ask(204, "DELETE", f"/v2.0/lb/pools/{pool['id']}")
        self.ask(204, "DELETE", f"/v2.0/lb/health_monitors/{monitor['id']}")
        eventually(lambda: self.host.read_config() == self.before, "the file is what it was")

    def test_several_monitors_are_all_honoured(self) -> None:
        pool, vip, _ = self.web()
        (self.backends[0].pages / "ready").write_text("yes")
        for path in ("/", "/ready"):
            monitor = self.made("health_monitors", type="HTTP", delay=1, timeout=1, max_retries=1, url_path=path)
            self.made(f"pools/{pool['id']}/health_monitors", id=monitor["id"])
        only = {page(self.backends[0].port)}
        eventually(lambda: {self.page_of(vip) for _ in range(4)} == only, "one is not ready")
        self.ask(204, "DELETE", f"/v2.0/lb/vips/{vip['id']}")
        self.ask(204, "DELETE", f"/v2.0/lb/pools/{pool['id']}")

    def test_the_vip_gets_another_pool_and_a_member_another_one_without_losing_a_request(self) -> None:
        pool, vip, members = self.web()
        other = self.made("pools", name="other", protocol="HTTP", lb_method="ROUND_ROBIN", subnet_id=self.subnet_id)
        only = page(self.backends[1].port)
        with Traffic.to(vip["protocol_port"], host=vip["address"]) as traffic:
            self.ask(200, "PUT", f"/v2.0/lb/members/{members[1]['id']}", {"member": {"pool_id": other["id"]}})
            eventually(lambda: self.page_of(vip) == self.page_of(vip) != only, "it has left")
            self.ask(200, "PUT", f"/v2.0/lb/vips/{vip['id']}", {"vip": {"pool_id": other["id"]}})
            eventually(lambda: self.page_of(vip) == self.page_of(vip) == only, "the vip has the other pool")
            self.active(f"vips/{vip['id']}")
        self.assertEqual([], traffic.failures)
        self.ask(204, "DELETE", f"/v2.0/lb/pools/{pool['id']}")
        self.ask(204, "DELETE", f"/v2.0/lb/vips/{vip['id']}")
        self.ask(204, "DELETE", f"/v2.0/lb/pools/{other['id']}")


class TestMigration(Case):
    def test_from_v1_to_v2_under_traffic(self) -> None:
        pool, vip, members = self.web()
        monitor = self.made("health_monitors", type="HTTP", delay=1, timeout=1, max_retries=3)
        self.made(f"pools/{pool['id']}/health_monitors", id=monitor["id"])
        self.active(f"pools/{pool['id']}", f"vips/{vip['id']}")
        with Traffic.to(vip["protocol_port"], host=vip["address"]) as traffic:
            eventually(
                lambda: self.shown(f"pools/{pool['id']}")["health_monitors_status"][0]["status"] == "ACTIVE", "all"
            )
            configuration = self.host.read_config()
            seen = self._look_around(pool)
            self.assertEqual(configuration, self.host.read_config())
            self._go_on_in_v2(seen, pool, vip, members)
        self.assertEqual([], traffic.failures)
        self.assertGreater(traffic.count, 100)
        self.ask(204, "DELETE", f"/v2.0/lbaas/loadbalancers/{seen['id']}?cascade=true")
        self.ask(404, "GET", f"/v2.0/lb/pools/{pool['id']}")
        eventually(lambda: self.host.read_config() == self.before, "the file is what it was")

    def _look_around(self, pool: Body) -> Body:
        """The load balancer in LBaaS v2, after everything was looked at in every dialect."""
        (balancer,) = self.ask(200, "GET", "/v2.0/lbaas/loadbalancers").json["loadbalancers"]
        self.assertEqual([{"id": pool["id"]}], balancer["pools"])
        for path in (
            *(f"/v2.0/lbaas/{plural}" for plural in ("listeners", "pools", "healthmonitors")),
            f"/v2.0/lbaas/pools/{pool['id']}/members",
            f"/v2.0/lbaas/loadbalancers/{balancer['id']}/statuses",
            *(f"/v2.0/lb/{plural}" for plural in ("vips", "pools", "members", "health_monitors")),
            "/default/loadbalancers",
            f"/default/loadbalancers/{balancer['id'].replace('-', '')}/details",
        ):
            self.ask(200, "GET", path)
        found: Body = balancer
        return found

    def _go_on_in_v2(self, balancer: Body, pool: Body, vip: Body, members: list[Body]) -> None:
        port = free_port()
        listener = {"loadbalancer_id": balancer["id"], "protocol": "HTTP", "protocol_port": port}
        second = self.ask(201, "POST", "/v2.0/lbaas/listeners", {"listener": {**listener, "name": "second"}}).json
        second = second["listener"]
        new = {"loadbalancer_id": balancer["id"], "protocol": "HTTP", "lb_algorithm": "LEAST_CONNECTIONS"}
        api = self.ask(201, "POST", "/v2.0/lbaas/pools", {"pool": new}).json["pool"]
        (self.backends[1].pages / "api").write_text("api")
        member = {"address": "127.0.0.1", "protocol_port": self.backends[1].port}
        self.ask(201, "POST", f"/v2.0/lbaas/pools/{api['id']}/members", {"member": member})
        policy = {"listener_id": vip["id"], "action": "REDIRECT_TO_POOL", "redirect_pool_id": api["id"]}
        rules = [{"type": "PATH", "compare_type": "EQUAL_TO", "value": "/api"}]
        self.ask(201, "POST", "/v2.0/lbaas/l7policies", {"l7policy": {**policy, "rules": rules}})
        change = {"listener": {"default_pool_id": pool["id"]}}
        self.ask(200, "PUT", f"/v2.0/lbaas/listeners/{second['id']}", change)
        self.ask(200, "PUT", f"/v2.0/lbaas/pools/{pool['id']}/members/{members[0]['id']}", {"member": {"weight": 7}})
        eventually(lambda: _status(port, vip["address"], "/") == 200, "the second listener serves")
        eventually(lambda: _status(vip["protocol_port"], vip["address"], "/api") == 200, "the rule works")
        # All of that is seen here, as far as there are words for it.
        vips = self.ask(200, "GET", "/v2.0/lb/vips").json["vips"]
        self.assertEqual([(vip["id"], pool["id"]), (second["id"], pool["id"])], [(v["id"], v["pool_id"]) for v in vips])
        self.assertEqual([vip["address"]] * 2, [each["address"] for each in vips])
        self.assertEqual(7, self.shown(f"members/{members[0]['id']}")["weight"])
        self.assertEqual(
            {pool["id"], api["id"]}, {p["id"] for p in self.ask(200, "GET", "/v2.0/lb/pools").json["pools"]}
        )
        # And changed here, as far as it can be said.
        self.ask(200, "PUT", f"/v2.0/lb/members/{members[0]['id']}", {"member": {"weight": 2}})
        persistence = {"vip": {"session_persistence": {"type": "SOURCE_IP"}}}
        self.ask(409, "PUT", f"/v2.0/lb/vips/{vip['id']}", persistence)
        self.ask(409, "DELETE", f"/v2.0/lb/pools/{pool['id']}")
        self.active(f"vips/{vip['id']}", f"members/{members[0]['id']}")


def _status(port: int, host: str, path: str) -> int:
    try:
        return fetch(port, path, host=host).status
    except OSError:
        return 0
