"""Agents, quotas, extensions and service providers in Neutron's form."""

from __future__ import annotations

from datetime import UTC, datetime

from balancer.api.middleware.context import ContextMiddleware
from tests.functional.case import DEVICE
from tests.functional.lbaas_v2 import NO_UUID, V2, Body, LbaasCase
from tests.functional.test_context import Token

LIMITS = ("loadbalancer", "listener", "vip", "pool", "member", "healthmonitor", "health_monitor", "l7policy", "l7rule")
UNLIMITED = dict.fromkeys(LIMITS, -1)


class TestAgents(LbaasCase):
    """The worker of this process is called "tests"."""

    def agents(self, query: str = "") -> list[Body]:
        found: list[Body] = self.get(f"/v2.0/agents{query}")["agents"]
        return found

    def test_a_worker_is_an_agent(self) -> None:
        self.until(self.agents)
        (agent,) = self.agents()
        shown = self.get(f"/v2.0/agents/{agent['id']}.json")["agent"]
        self.assertEqual(agent, shown)
        told = {key: agent[key] for key in ("agent_type", "binary", "host", "admin_state_up", "alive", "description")}
        self.assertEqual(
            {
                "agent_type": "Loadbalancerv2 agent",
                "binary": "neutron-lbaasv2-agent",
                "host": "tests",
                "admin_state_up": True,
                "alive": True,
                "description": "",
            },
            told,
        )
        self.assertEqual({"device_drivers": ["dummy", "haproxy"], "instances": 0}, agent["configurations"])
        for key in ("created_at", "started_at", "heartbeat_timestamp"):
            age = datetime.now(UTC) - datetime.strptime(agent[key], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
            self.assertTrue(-2 < age.total_seconds() < 60, age)
        for query, found in (
            ("?host=tests", 1),
            ("?host=other", 0),
            ("?alive=True", 1),
            ("?agent_type=Loadbalancer agent", 1),
            ("?agent_type=Loadbalancerv2%20agent&fields=id", 1),
            ("?agent_type=DHCP", 0),
        ):
            self.assertEqual(found, len(self.agents(query)), query)
        for wrong in (NO_UUID, "tests"):
            answer = self.call("GET", f"/v2.0/agents/{wrong}")
            self.assertEqual((404, f"Agent {wrong} not found."), (answer.status, self.fault(answer)))

    def test_who_looks_after_what(self) -> None:
        balancer = self.add_balancer()
        self.settled(f"loadbalancers/{balancer['id']}", "loadbalancer")
        (agent,) = self.agents()
        self.assertEqual(1, agent["configurations"]["instances"])
        hosting = self.get(f"{V2}/loadbalancers/{balancer['id']}/loadbalancer-hosting-agent")["agent"]
        self.assertEqual((agent["id"], agent["configurations"]), (hosting["id"], hosting["configurations"]))
        listed = self.get(f"/v2.0/agents/{agent['id']}/agent-loadbalancers")
        self.assertEqual([balancer["id"]], [each["id"] for each in listed["loadbalancers"]])
        only = self.get(f"/v2.0/agents/{agent['id']}/agent-loadbalancers?fields=vip_address")["loadbalancers"]
        self.assertEqual([{"vip_address": balancer["vip_address"]}], only)
        self.assertEqual([], self.get(f"/v2.0/agents/{NO_UUID}/agent-loadbalancers")["loadbalancers"])
        self.refused(404, "GET", f"loadbalancers/{NO_UUID}/loadbalancer-hosting-agent")

    def test_one_that_is_switched_off_takes_nothing_into_hand(self) -> None:
        self.until(self.agents)
        (agent,) = self.agents()
        path = f"/v2.0/agents/{agent['id']}"
        changed = self.expect(200, "PUT", path, {"agent": {"admin_state_up": False, "description": "resting"}})["agent"]
        self.assertEqual(
            (False, "resting", True), tuple(changed[k] for k in ("admin_state_up", "description", "alive"))
        )
        self.assertEqual(503, self.call("GET", "/healthcheck").status)
        balancer = self.add_balancer()
        self.assertIsNone(self.get(f"{V2}/loadbalancers/{balancer['id']}/loadbalancer-hosting-agent")["agent"])
        self.expect(200, "POST", f"/devices/{self.device_id}/retry")
        self.assertEqual(
            "PENDING_CREATE", self.show(f"loadbalancers/{balancer['id']}", "loadbalancer")["provisioning_status"]
        )
        self.expect(200, "PUT", path, {"agent": {"admin_state_up": "True"}})
        self.assertEqual(
            "ACTIVE", self.settled(f"loadbalancers/{balancer['id']}", "loadbalancer")["provisioning_status"]
        )

    def test_refusals(self) -> None:
        self.until(self.agents)
        (agent,) = self.agents()
        path = f"/v2.0/agents/{agent['id']}"
        for body, word in (
            ({"agent": {"admin_state_up": None}}, "admin_state_up"),
            ({"agent": {"admin_state_up": "resting"}}, "admin_state_up"),
            ({"agent": {"host": "other"}}, "host"),
            ({"agent": {"description": "x" * 256}}, "description"),
            ({"agents": {}}, "agents"),
        ):
            answer = self.call("PUT", path, body)
            self.assertEqual(400, answer.status)
            self.assertIn(word, self.fault(answer))
        # It would be there again.
        answer = self.call("DELETE", path)
        self.assertEqual(409, answer.status)
        self.assertIn(agent["id"], self.fault(answer))
        self.assertEqual(404, self.call("DELETE", f"/v2.0/agents/{NO_UUID}").status)
        self.assertEqual(405, self.call("POST", "/v2.0/agents", {"agent": {}}).status)

    def test_one_that_died_is_shown_as_such_and_can_be_forgotten(self) -> None:
        self.repository.heartbeat("other:-:1", -1)
        (dead,) = self.agents("?host=other")
        self.assertFalse(dead["alive"])
        self.assertIsNone(self.expect(204, "DELETE", f"/v2.0/agents/{dead['id']}"))
        self.assertEqual([], self.agents("?host=other"))


class TestTwoWorkers(LbaasCase):
    worker = False

    def test_what_one_leaves_the_other_takes(self) -> None:
        balancer = self.add_balancer()
        path = f"{V2}/loadbalancers/{balancer['id']}/loadbalancer-hosting-agent"
        self.assertIsNone(self.get(path)["agent"])
        for name in ("one:-:1", "two:-:2"):
            self.repository.heartbeat(name, 60)
        one, two = (
            next(each["id"] for each in self.get("/v2.0/agents")["agents"] if each["host"] == host)
            for host in ("one", "two")
        )
        hosting = self.get(path)["agent"]["id"]
        self.assertIn(hosting, (one, two))
        other = two if hosting == one else one
        self.expect(200, "PUT", f"/v2.0/agents/{hosting}", {"agent": {"admin_state_up": False}})
        self.assertEqual(other, self.get(path)["agent"]["id"])
        for agent, expected in ((hosting, []), (other, [balancer["id"]])):
            listed = self.get(f"/v2.0/agents/{agent}/agent-loadbalancers")["loadbalancers"]
            self.assertEqual(expected, [each["id"] for each in listed])


class TestQuotas(LbaasCase):
    worker = False

    def test_a_project_s_own(self) -> None:
        self.assertEqual({"tenant": {"tenant_id": "default", "project_id": "default"}}, self.get("/v2.0/quotas/tenant"))
        self.assertEqual({"quota": UNLIMITED}, self.get("/v2.0/quotas/p"))
        self.assertEqual({"quota": UNLIMITED}, self.get("/v2.0/quotas/p/default"))
        self.assertEqual({"quotas": []}, self.get("/v2.0/quotas"))
        sent = {"quota": {"vip": "1", "pool": 2, "member": 3, "health_monitor": 4}}
        limits = {"listener": 1, "vip": 1, "pool": 2, "member": 3, "health_monitor": 4, "healthmonitor": 4}
        expected = {**UNLIMITED, **limits}
        self.assertEqual({"quota": expected}, self.expect(200, "PUT", "/v2.0/quotas/p", sent))
        self.assertEqual({"quota": expected}, self.get("/v2.0/quotas/p"))
        row = {"tenant_id": "p", "project_id": "p", **expected}
        self.assertEqual({"quotas": [row]}, self.get("/v2.0/quotas"))
        # One table: every dialect shows and heeds it.
        self.assertEqual(2, self.show("quotas/p", "quota")["pool"])
        self.assertEqual(1, self.get("/p/quotas")["quota"]["virtualIp"])
        self.assertIsNone(self.expect(204, "DELETE", "/v2.0/quotas/p"))
        self.assertIsNone(self.expect(204, "DELETE", "/v2.0/quotas/p"))
        self.assertEqual({"quotas": []}, self.get("/v2.0/quotas"))

    def test_refusals(self) -> None:
        for values in (
            {"vip": -2},
            {"pool": "many"},
            {"floatingip": 1},
            {"tenant_id": "q"},
            {"vip": 1, "listener": 2},
            {"health_monitor": 1, "healthmonitor": 2},
        ):
            answer = self.call("PUT", "/v2.0/quotas/p", {"quota": values})
            self.assertEqual(400, answer.status, values)
            self.fault(answer)
        self.assertEqual({"quotas": []}, self.get("/v2.0/quotas"))

    def test_they_hold(self) -> None:
        self.expect(200, "PUT", "/v2.0/quotas/default", {"quota": {"loadbalancer": 0}})
        body = {"loadbalancer": {"vip_subnet_id": self.subnet_id}}
        self.assertIn("Load Balancer", self.refused(403, "POST", "loadbalancers", body))


class TestWhatThereIs(LbaasCase):
    worker = False

    def test_extensions(self) -> None:
        listed = self.get("/v2.0/extensions")["extensions"]
        aliases = {each["alias"] for each in listed}
        self.assertLessEqual({"lbaasv2", "l7", "shared_pools", "agent", "quotas", "service-type"}, aliases)
        self.assertEqual(len(listed), len(aliases))
        keys = {"alias", "name", "description", "updated", "links", "namespace"}
        for each in listed:
            self.assertEqual(keys, set(each))
            self.assertEqual({"extension": each}, self.get(f"/v2.0/extensions/{each['alias']}"))
        fields = self.get("/v2.0/extensions?fields=alias&alias=lbaasv2")["extensions"]
        self.assertEqual([{"alias": "lbaasv2"}], fields)
        self.refused(404, "GET", "../extensions/router")

    def test_the_core_resources(self) -> None:
        for path in ("/v2.0/", "/v2.0", "/v2"):
            found = self.get(path)["resources"]
            self.assertEqual(["network", "subnet", "port"], [each["name"] for each in found])
            for each in found:
                (link,) = each["links"]
                self.assertEqual(f"http://localhost{path.rstrip('/')}/{each['collection']}", link["href"])
        self.app = ContextMiddleware(self.app)
        for role, status in (("reader", 200), ("other", 403)):
            answer = self.call("GET", "/v2.0/", environ=Token("foo", roles=(role,)).environ())
            self.assertEqual(status, answer.status)

    def test_service_providers(self) -> None:
        self.register(**{**DEVICE, "name": "other", "ip": "192.0.2.99"})
        providers = self.get("/v2.0/service-providers")["service_providers"]
        v2 = [each for each in providers if each["service_type"] == "LOADBALANCERV2"]
        self.assertEqual([("dummy", False), ("haproxy", True)], [(each["name"], each["default"]) for each in v2])
        only = self.get("/v2.0/service-providers?service_type=LOADBALANCERV2&default=true")["service_providers"]
        self.assertEqual(["haproxy"], [each["name"] for each in only])
