"""LBaaS v2: quotas, providers and moving on purpose."""

from __future__ import annotations

from tests.functional.case import DEVICE
from tests.functional.lbaas_v2 import V2, Body, LbaasCase

LIMITS = ("loadbalancer", "load_balancer", "listener", "pool", "member", "healthmonitor", "health_monitor")
UNLIMITED = dict.fromkeys((*LIMITS, "l7policy", "l7rule"), -1)


class TestQuotas(LbaasCase):
    worker = False

    def quota(self, project: str) -> Body:
        return self.show(f"quotas/{project}", "quota")

    def test_a_project_s_own(self) -> None:
        own = {"project_id": "p", "tenant_id": "p"}
        self.assertEqual({**own, **UNLIMITED}, self.quota("p"))
        self.assertEqual(UNLIMITED, self.show("quotas/defaults", "quota"))
        self.assertEqual(UNLIMITED, self.show("quotas/p/default", "quota"))
        self.assertEqual([], self.listed("quotas"))
        self.refused(404, "DELETE", "quotas/p")
        body = {"quota": {"load_balancer": "3", "pool": 0, "l7rule": None}}
        changed = self.expect(202, "PUT", f"{V2}/quotas/p", body)["quota"]
        expected = {**own, **UNLIMITED, "loadbalancer": 3, "load_balancer": 3, "pool": 0}
        self.assertEqual(expected, changed)
        self.assertEqual(expected, self.quota("p"))
        listed = {**dict.fromkeys(UNLIMITED), **own, "loadbalancer": 3, "load_balancer": 3, "pool": 0}
        self.assertEqual([listed], self.listed("quotas"))
        self.expect(202, "PUT", f"{V2}/quotas/p", {"quota": {"pool": None}})
        self.assertEqual(-1, self.quota("p")["pool"])
        self.assertIsNone(self.expect(202, "DELETE", f"{V2}/quotas/p"))
        self.assertEqual({**own, **UNLIMITED}, self.quota("p"))

    def test_refusals(self) -> None:
        for values in (
            {"pool": -2},
            {"pool": 2000000001},
            {"pool": "many"},
            {"floatingip": 1},
            {"project_id": "q"},
            {"loadbalancer": 1, "load_balancer": 2},
        ):
            self.refused(400, "PUT", "quotas/p", {"quota": values})
        self.refused(400, "PUT", "quotas/p", {})
        self.assertEqual(405, self.call("POST", f"{V2}/quotas", {"quota": {}}).status)

    def test_what_is_over_a_quota(self) -> None:
        balancer = self.add_balancer()
        pool = self.add_pool(loadbalancer_id=balancer["id"])
        limits = dict.fromkeys(("loadbalancer", "listener", "pool", "member", "healthmonitor"), 1)
        self.expect(202, "PUT", f"{V2}/quotas/default", {"quota": limits})
        self.add_member(pool)
        refusals: tuple[tuple[str, str, Body, str], ...] = (
            ("loadbalancers", "loadbalancer", {"vip_subnet_id": self.subnet_id}, "Load Balancer"),
            (
                "pools",
                "pool",
                {"loadbalancer_id": balancer["id"], "protocol": "TCP", "lb_algorithm": "SOURCE_IP"},
                "Pool",
            ),
            (f"pools/{pool['id']}/members", "member", {"address": "198.51.100.2", "protocol_port": 1}, "Member"),
        )
        for path, key, fields, kind in refusals:
            text = self.refused(403, "POST", path, {key: fields})
            self.assertTrue(text.startswith(f"Quota has been met for resources: {kind}"), text)
        # A batch that replaces as many is none too many.
        batch = {"members": [{"address": "198.51.100.3", "protocol_port": 1}]}
        self.expect(202, "PUT", f"{V2}/pools/{pool['id']}/members", batch)
        self.refused(
            403,
            "PUT",
            f"pools/{pool['id']}/members?additive_only=true",
            {"members": [{"address": "198.51.100.4", "protocol_port": 1}]},
        )


class TestProviders(LbaasCase):
    worker = False

    def test_list(self) -> None:
        providers = self.get(f"{V2}/providers")
        self.assertEqual(["providers"], list(providers))
        self.assertEqual(["dummy", "haproxy"], [each["name"] for each in providers["providers"]])
        for field in ("name", "description"):
            expected = [{field: each[field]} for each in providers["providers"]]
            self.assertEqual(expected, self.get(f"{V2}/providers?fields={field}")["providers"])
        self.assertEqual(["haproxy"], [each["name"] for each in self.get(f"{V2}/providers?name=haproxy")["providers"]])

    def test_one_that_there_is_not(self) -> None:
        body = {"loadbalancer": {"vip_subnet_id": self.subnet_id, "provider": "cloud"}}
        self.assertIn("dummy, haproxy", self.refused(400, "POST", "loadbalancers", body))


class TestFailover(LbaasCase):
    def device_of(self, balancer: Body) -> str:
        with self.repository.read() as tx:
            return tx.load_balancer(balancer["id"].replace("-", "")).device_id

    def test_to_another_device_and_back(self) -> None:
        balancer = self.add_balancer()
        path = f"loadbalancers/{balancer['id']}"
        self.settled(path, "loadbalancer")
        # There is nowhere to go: deployed anew.
        self.assertIsNone(self.expect(202, "PUT", f"{V2}/{path}/failover"))
        self.assertEqual("ACTIVE", self.settled(path, "loadbalancer")["provisioning_status"])
        self.assertEqual(self.device_id, self.device_of(balancer))
        other = self.register(**{**DEVICE, "name": "other", "ip": "192.0.2.99"})
        self.expect(202, "PUT", f"{V2}/{path}/failover")
        self.assertEqual("ACTIVE", self.settled(path, "loadbalancer")["provisioning_status"])
        self.assertEqual(other, self.device_of(balancer))
        self.refused(404, "PUT", "loadbalancers/x/failover")
