"""Quotas in the balancer API: reading, setting, resetting, and what a project gets that wants more."""

from __future__ import annotations

from balancer.api.wsgi import CALLER
from balancer.core.model import Caller
from tests.functional.case import LOAD_BALANCER, NODE, VIRTUAL_IP, ApiCase

NONE = {
    "loadbalancer": -1,
    "virtualIp": -1,
    "node": -1,
    "healthMonitoring": -1,
    "pool": -1,
    "l7policy": -1,
    "l7rule": -1,
}


class TestQuotas(ApiCase):
    worker = False

    def test_what_holds_and_what_counts(self) -> None:
        self.assertEqual(NONE, self.get("/foo/quotas")["quota"])
        self.register()
        self.create(
            nodes=[NODE, {**NODE, "port": 8002}], virtualIps=[VIRTUAL_IP], healthMonitor=[{"type": "TCP", "delay": 5}]
        )
        used = {"loadbalancer": 1, "virtualIp": 1, "node": 2, "healthMonitoring": 1, "pool": 1}
        self.assertEqual({**used, "l7policy": 0, "l7rule": 0}, self.get("/foo/quotas")["used"])
        self.assertEqual({0}, set(self.get("/bar/quotas")["used"].values()))

    def test_some_are_set_and_all_are_reset(self) -> None:
        answer = self.expect(200, "PUT", "/foo/quotas", {"quota": {"node": 5, "virtualIp": "2"}})
        self.assertEqual({**NONE, "node": 5, "virtualIp": 2}, answer["quota"])
        self.assertEqual({**NONE, "virtualIp": 2}, self.expect(200, "PUT", "/foo/quotas", {"node": None})["quota"])
        self.assertEqual(NONE, self.get("/bar/quotas")["quota"])
        self.expect(204, "DELETE", "/foo/quotas")
        self.assertEqual(NONE, self.get("/foo/quotas")["quota"])

    def test_bad_limits_are_refused(self) -> None:
        for body, field in (
            ({"quota": {"node": -2}}, "quota.node"),
            ({"node": 2_000_000_001}, "node"),
            ({"node": "many"}, "node"),
            ({"node": 1.5}, "node"),
            ({"quota": {"nodes": 1}}, "quota.nodes"),
            ({"quota": 5}, "quota"),
        ):
            self.refuse(400, "PUT", "/foo/quotas", body, field=field)

    def test_trying_out_changes_nothing(self) -> None:
        answer = self.expect(200, "PUT", "/foo/quotas?dry_run=1", {"node": 1})
        self.assertEqual({"plan": "noop", "reason": "no device is concerned", "devices": []}, answer["dry_run"])
        self.assertEqual(NONE, self.get("/foo/quotas")["quota"])

    def test_beyond_the_limit(self) -> None:
        self.register()
        self.expect(200, "PUT", "/foo/quotas", {"quota": {"loadbalancer": 1, "node": 1}})
        path = self.create(nodes=[NODE])
        message = self.refuse(403, "POST", "/foo/loadbalancers", LOAD_BALANCER)
        self.assertIn("may have 1 load balancer, and 1 count", message)
        self.refuse(403, "POST", f"{path}/nodes", {"nodes": [{**NODE, "port": 8002}]})
        self.refuse(403, "POST", f"{path}/nodes?dry_run=1", {"nodes": [{**NODE, "port": 8002}]})
        node_id = self.get(f"{path}/nodes")["nodes"][0]["id"]
        self.expect(200, "PUT", f"{path}/nodes/{node_id}", {"weight": 3})
        self.expect(202, "POST", "/bar/loadbalancers", LOAD_BALANCER)

    def test_a_project_reads_its_own_and_sets_none(self) -> None:
        for project, method, status in (
            ("foo", "GET", 200),
            ("foo", "PUT", 403),
            ("foo", "DELETE", 403),
            ("bar", "GET", 403),
            ("bar", "PUT", 403),
            ("bar", "DELETE", 403),
        ):
            body = {"node": 1} if method == "PUT" else None
            tenant = {CALLER: Caller(project_id="foo", user_id="someone", roles=frozenset({"member"}))}
            answer = self.call(method, f"/{project}/quotas", body, environ=tenant)
            self.assertEqual(status, answer.status, (project, method))
