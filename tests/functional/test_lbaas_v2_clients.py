"""LBaaS v2 through openstacksdk and the command line of Octavia, over real HTTP."""

from __future__ import annotations

import json
import threading
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import openstack

from tests.functional import command_line
from tests.functional.lbaas_v2 import LbaasCase


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


class ClientCase(LbaasCase):
    url: str

    def setUp(self) -> None:
        super().setUp()
        server = make_server("127.0.0.1", 0, self.app, handler_class=Quiet)
        self.addCleanup(server.server_close)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        self.addCleanup(thread.join, 10)
        self.addCleanup(server.shutdown)
        self.url = f"http://127.0.0.1:{server.server_port}"


class TestSdk(ClientCase):
    def test_the_way_of_a_load_balancer(self) -> None:
        cloud = openstack.connect(auth_type="none", auth={"endpoint": self.url})
        self.addCleanup(cloud.close)
        lbs: Any = cloud.load_balancer
        balancer = lbs.create_load_balancer(name="web", vip_subnet_id=self.subnet_id, tags=["t"])
        balancer = lbs.wait_for_load_balancer(balancer.id, interval=0.1, wait=15)
        self.assertEqual(("ACTIVE", "203.0.113.10"), (balancer.provisioning_status, balancer.vip_address))
        listener = lbs.create_listener(
            name="front",
            protocol="HTTP",
            protocol_port=80,
            load_balancer_id=balancer.id,
            insert_headers={"X-Forwarded-For": "true"},
        )
        pool = lbs.create_pool(name="back", protocol="HTTP", lb_algorithm="ROUND_ROBIN", listener_id=listener.id)
        member = lbs.create_member(pool, name="m", address="198.51.100.1", protocol_port=8080)
        monitor = lbs.create_health_monitor(pool_id=pool.id, type="HTTP", delay=2, timeout=1, max_retries=3)
        policy = lbs.create_l7_policy(listener_id=listener.id, action="REJECT", name="p")
        rule = lbs.create_l7_rule(policy, type="PATH", compare_type="STARTS_WITH", value="/x")
        self.assertEqual(balancer.id, lbs.find_load_balancer("web").id)
        self.assertEqual(listener.id, lbs.find_listener("front").id)
        self.assertIsNone(lbs.find_pool("nowhere"))
        self.assertEqual([member.id], [each.id for each in lbs.members(pool)])
        self.assertEqual([rule.id], [each.id for each in lbs.l7_rules(policy)])
        self.assertEqual(9, lbs.update_member(member, pool, weight=9).weight)
        self.assertEqual(0, lbs.get_load_balancer_statistics(balancer.id).total_connections)
        self.assertEqual(["dummy", "haproxy"], [each.name for each in lbs.providers()])
        self.assertEqual(-1, lbs.get_quota("default").load_balancers)
        lbs.delete_health_monitor(monitor)
        lbs.failover_load_balancer(balancer)
        lbs.wait_for_load_balancer(balancer.id, interval=0.1, wait=15)
        lbs.delete_load_balancer(balancer, cascade=True)
        self.assertEqual([], list(lbs.load_balancers()))


class TestCommandLine(ClientCase):
    def run_client(self, *arguments: str) -> Any:
        """What the command prints, read as JSON."""
        ended, out, errors = command_line.openstack(self.url, ["loadbalancer", *arguments])
        self.assertEqual(0, ended, f"{arguments}: {out}{errors}")
        return json.loads(out) if out.strip() else None

    def made(self, *arguments: str) -> Any:
        return self.run_client(*arguments, "-f", "json")

    def test_the_first_steps_of_the_guide(self) -> None:
        balancer = self.made("create", "--name", "test-lb", "--vip-subnet-id", self.subnet_id, "--wait")
        self.assertEqual("ACTIVE", balancer["provisioning_status"])
        listener = self.made(
            "listener", "create", "--name", "http", "--protocol", "HTTP", "--protocol-port", "80", "test-lb"
        )
        self.assertEqual(80, listener["protocol_port"])
        pool = self.made(
            "pool",
            "create",
            "--name",
            "web",
            "--lb-algorithm",
            "ROUND_ROBIN",
            "--listener",
            "http",
            "--protocol",
            "HTTP",
        )
        for number in (1, 2):
            self.made("member", "create", "--address", f"198.51.100.{number}", "--protocol-port", "80", "web")
        self.made(
            *("healthmonitor", "create", "--delay", "5", "--max-retries", "4", "--timeout", "10", "--type", "HTTP"),
            *("--url-path", "/", "web"),
        )
        self.assertEqual(2, len(self.made("member", "list", "web")))
        self.assertEqual(["test-lb"], [each["name"] for each in self.made("list")])
        self.assertEqual(pool["id"], self.made("pool", "show", "web")["id"])
        tree = self.run_client("status", "show", "test-lb")
        self.assertEqual(2, len(tree["loadbalancer"]["listeners"][0]["pools"][0]["members"]))
        self.assertEqual("0", str(self.made("stats", "show", "test-lb")["total_connections"]))
        self.run_client("listener", "set", "http", "--connection-limit", "5")
        self.assertEqual(5, self.made("listener", "show", "http")["connection_limit"])
        self.run_client("listener", "unset", "http", "--connection-limit")
        self.assertEqual(-1, self.made("listener", "show", "http")["connection_limit"])
        self.run_client("delete", "test-lb", "--cascade", "--wait")
        self.assertEqual([], self.made("list"))
