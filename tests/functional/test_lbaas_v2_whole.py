"""LBaaS v2: a load balancer that is made with all its parts at once."""

from __future__ import annotations

from typing import Any

from balancer.core.model import QuotaResource
from tests.functional.lbaas_v2 import ADMIN, Body, LbaasCase

MONITOR: Body = {"type": "HTTP", "delay": 2, "timeout": 3, "max_retries": 4, "name": "hm"}
MEMBERS: list[Body] = [{"address": f"198.51.100.{number}", "protocol_port": 80} for number in (1, 2)]
POOL: Body = {
    "name": "web",
    "protocol": "HTTP",
    "lb_algorithm": "ROUND_ROBIN",
    "members": MEMBERS,
    "healthmonitor": MONITOR,
    "session_persistence": {"type": "HTTP_COOKIE"},
}
RULE: Body = {"type": "PATH", "compare_type": "STARTS_WITH", "value": "/api"}


class TestWhole(LbaasCase):
    worker = False

    def whole(self, **fields: Any) -> Body:
        return {"vip_subnet_id": self.subnet_id, "name": "lb", **fields}

    def refuse_whole(self, status: int, **fields: Any) -> str:
        return self.refused(status, "POST", "loadbalancers", {"loadbalancer": self.whole(**fields)})

    def test_everything(self) -> None:
        api = {"name": "api", "protocol": "HTTP", "lb_algorithm": "LEAST_CONNECTIONS", "members": [MEMBERS[0]]}
        policies = [
            {"action": "REDIRECT_TO_POOL", "redirect_pool": api, "rules": [RULE], "name": "second", "position": 2},
            {"action": "REJECT", "rules": [RULE, {**RULE, "value": "/x"}], "name": "first", "position": 1},
        ]
        made = self.post(
            "loadbalancers",
            "loadbalancer",
            **self.whole(
                tags=["t"],
                listeners=[
                    {
                        "name": "l1",
                        "protocol": "HTTP",
                        "protocol_port": 80,
                        "default_pool": POOL,
                        "l7policies": policies,
                    },
                    # By its name: what is defined elsewhere.
                    {"name": "l2", "protocol": "HTTP", "protocol_port": 81, "default_pool": {"name": "spare"}},
                ],
                pools=[{"name": "spare", "protocol": "HTTP", "lb_algorithm": "SOURCE_IP"}],
            ),
        )
        self.assertEqual("PENDING_CREATE", made["provisioning_status"])
        pools = {pool["name"]: pool for pool in made["pools"]}
        self.assertEqual({"web", "api", "spare"}, set(pools))
        first, second = made["listeners"]
        self.assertEqual(
            (pools["web"]["id"], pools["spare"]["id"]), (first["default_pool_id"], second["default_pool_id"])
        )
        self.assertEqual(["first", "second"], [policy["name"] for policy in first["l7policies"]])
        self.assertEqual([1, 2], [policy["position"] for policy in first["l7policies"]])
        self.assertEqual(["/api", "/x"], [rule["value"] for rule in first["l7policies"][0]["rules"]])
        self.assertEqual(pools["api"]["id"], first["l7policies"][1]["redirect_pool_id"])
        web = pools["web"]
        self.assertEqual(["198.51.100.1", "198.51.100.2"], [member["address"] for member in web["members"]])
        self.assertEqual(("HTTP", "hm"), (web["healthmonitor"]["type"], web["healthmonitor"]["name"]))
        self.assertEqual(web["healthmonitor_id"], web["healthmonitor"]["id"])
        # In full, without what refers back to where it is.
        self.assertNotIn("loadbalancers", first)
        self.assertNotIn("loadbalancers", web)
        self.assertNotIn("pools", web["healthmonitor"])
        self.assertIn("weight", web["members"][0])
        # Shown afterwards, there are ids only, and each is an object of its own.
        shown = self.show(f"loadbalancers/{made['id']}", "loadbalancer")
        self.assertEqual([{"id": first["id"]}, {"id": second["id"]}], shown["listeners"])
        self.assertEqual({pool["id"] for pool in made["pools"]}, {each["id"] for each in shown["pools"]})
        listener = self.show(f"listeners/{first['id']}", "listener")
        self.assertEqual(
            {**first, "l7policies": [{"id": each["id"]} for each in first["l7policies"]]},
            {key: value for key, value in listener.items() if key != "loadbalancers"},
        )
        for member in web["members"]:
            self.assertEqual(member, self.show(f"pools/{web['id']}/members/{member['id']}", "member"))
        self.remove(f"loadbalancers/{made['id']}", query="?cascade=True")

    def test_refusals(self) -> None:
        listener: Body = {"protocol": "HTTP", "protocol_port": 80}
        nameless = {key: value for key, value in POOL.items() if key != "name"}
        for fields, status in (
            ({"pools": [nameless]}, 400),
            ({"pools": [POOL, POOL]}, 400),
            ({"pools": [POOL], "listeners": [{**listener, "default_pool": POOL}]}, 400),
            ({"listeners": [{**listener, "default_pool": {"name": "nowhere"}}]}, 400),
            ({"pools": [{"name": "web", "protocol": "HTTP"}]}, 400),
            ({"pools": [{"name": "web", "lb_algorithm": "ROUND_ROBIN"}]}, 400),
            ({"pools": [{**POOL, "healthmonitor": {**MONITOR, "pool_id": self.subnet_id}}]}, 400),
            ({"pools": [{**POOL, "loadbalancer_id": self.subnet_id}]}, 400),
            ({"pools": [{**POOL, "members": [{"address": "x", "protocol_port": 80}]}]}, 400),
            ({"pools": [{**POOL, "members": [MEMBERS[0]] * 2}]}, 409),
            ({"pools": [{**POOL, "healthmonitor": {**MONITOR, "type": "UDP-CONNECT"}}]}, 400),
            ({"listeners": [listener, listener]}, 409),
            ({"listeners": [{**listener, "protocol": "TERMINATED_HTTPS"}]}, 400),
            ({"listeners": [{**listener, "loadbalancer_id": self.subnet_id}]}, 400),
            ({"listeners": [{**listener, "l7policies": [{"action": "REDIRECT_TO_URL"}]}]}, 400),
            (
                {"listeners": [{**listener, "l7policies": [{"action": "REJECT", "rules": [{**RULE, "value": ""}]}]}]},
                400,
            ),
            ({"listeners": [{**listener, "protocol": "TCP", "l7policies": [{"action": "REJECT"}]}]}, 501),
            ({"listeners": [{**listener, "protocol": "UDP", "default_pool": POOL}]}, 400),
            ({"listeners": [{**listener, "default_pool_id": self.subnet_id}]}, 404),
            ({"listeners": {}}, 400),
            ({"pools": [5]}, 400),
        ):
            with self.subTest(fields):
                self.refuse_whole(status, **fields)
        self.assertIn(
            "listeners[0].l7policies[0].rules[0].value",
            self.refuse_whole(
                400, listeners=[{**listener, "l7policies": [{"action": "REJECT", "rules": [{**RULE, "value": 5}]}]}]
            ),
        )

    def test_quotas_of_all_kinds_count(self) -> None:
        self.service.set_quotas(ADMIN, "default", {QuotaResource.MEMBER: 1})
        self.assertIn("Quota has been met for resources: Member", self.refuse_whole(403, pools=[POOL]))
        self.service.set_quotas(ADMIN, "default", {QuotaResource.MEMBER: 2, QuotaResource.LISTENER: 0})
        self.post("loadbalancers", "loadbalancer", **self.whole(pools=[POOL]))
