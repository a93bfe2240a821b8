"""What the tests of LBaaS v2 do again and again."""

from __future__ import annotations

import time
from typing import Any, ClassVar

from balancer.api.attributes import show_uuid
from balancer.core.model import AddressRange, Caller, Network, Subnet, new_id
from tests.functional.case import Answer, ApiCase

V2 = "/v2.0/lbaas"
NO_UUID = "00000000-1111-2222-3333-444444444444"
ADMIN = Caller(admin=True)
NOTHING_COUNTED = {
    "bytes_in": 0,
    "bytes_out": 0,
    "active_connections": 0,
    "total_connections": 0,
    "request_errors": 0,
}
Body = dict[str, Any]


class LbaasCase(ApiCase):
    """With a device of type dummy, and a subnet of each IP version."""

    device_type: ClassVar[str] = "dummy"
    device_behaviour: ClassVar[str] = ""

    def setUp(self) -> None:
        super().setUp()
        self.device_id = self.register(type=self.device_type, supports_ipv6=1, behaviour=self.device_behaviour)
        self.network_id, self.subnet_id = self.add_subnet("203.0.113.0/24", "203.0.113.10", "203.0.113.250")
        _, self.subnet6_id = self.add_subnet("2001:db8::/64", "2001:db8::10", "2001:db8::ff", self.network_id)

    def add_subnet(self, cidr: str, first: str, last: str, network_id: str | None = None) -> tuple[str, str]:
        """The ids of the network and of the subnet, as UUIDs."""
        with self.repository.write() as tx:
            if network_id is None:
                network = Network(id=new_id(), project_id="admin", name="public")
                tx.networks.add_network(network)
                network_id = network.id
            subnet = Subnet(
                id=new_id(),
                network_id=network_id.replace("-", ""),
                project_id="admin",
                cidr=cidr,
                ranges=(AddressRange(first=first, last=last),),
            )
            tx.networks.add_subnet(subnet)
        return show_uuid(network_id) or "", show_uuid(subnet.id) or ""

    # --- asking ---

    def post(self, path: str, key: str, /, **fields: Any) -> Body:
        """The new object."""
        made: Body = self.expect(201, "POST", f"{V2}/{path}", {key: fields})[key]
        return made

    def put(self, path: str, key: str, /, **fields: Any) -> Body:
        changed: Body = self.expect(200, "PUT", f"{V2}/{path}", {key: fields})[key]
        return changed

    def show(self, path: str, key: str) -> Body:
        shown: Body = self.get(f"{V2}/{path}")[key]
        return shown

    def listed(self, path: str) -> list[Body]:
        """What a list shows; a query may follow the path."""
        body = self.get(f"{V2}/{path}")
        plural = path.partition("?")[0].rpartition("/")[2]
        self.assertEqual({plural, f"{plural}_links"}, set(body))
        found: list[Body] = body[plural]
        return found

    def remove(self, path: str, *, query: str = "") -> None:
        self.assertIsNone(self.expect(204, "DELETE", f"{V2}/{path}{query}"))
        self.refused(404, "GET", path)

    def refused(self, status: int, method: str, path: str, body: Any = None) -> str:
        """What a request is told that is refused and leaves nothing behind (which a worker would not let us see)."""
        before = None if self.worker else self.rows()
        answer = self.call(method, f"{V2}/{path}", body)
        self.assertEqual(status, answer.status, answer.json)
        if before is not None:
            self.assertEqual(before, self.rows())
        return self.fault(answer)

    def fault(self, answer: Answer) -> str:
        """Both forms of an error say the same."""
        self.assertEqual({"faultcode", "faultstring", "debuginfo", "NeutronError"}, set(answer.json))
        self.assertEqual("Server" if answer.status >= 500 else "Client", answer.json["faultcode"])
        self.assertEqual({"type", "message", "detail"}, set(answer.json["NeutronError"]))
        text: str = answer.json["faultstring"]
        self.assertEqual(text, answer.json["NeutronError"]["message"])
        return text

    def settled(self, path: str, key: str) -> Body:
        """The object once nothing of it is pending."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            shown = self.show(path, key)
            if not shown["provisioning_status"].startswith("PENDING"):
                return shown
            time.sleep(0.01)
        self.fail(f"{path} is still {shown['provisioning_status']}")

    # --- what there is ---

    def add_balancer(self, **fields: Any) -> Body:
        return self.post("loadbalancers", "loadbalancer", **{"vip_subnet_id": self.subnet_id, **fields})

    def add_listener(self, balancer: Body, **fields: Any) -> Body:
        values = {"loadbalancer_id": balancer["id"], "protocol": "HTTP", "protocol_port": 80}
        return self.post("listeners", "listener", **{**values, **fields})

    def add_pool(self, **fields: Any) -> Body:
        return self.post("pools", "pool", **{"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", **fields})

    def add_member(self, pool: Body, **fields: Any) -> Body:
        values = {"address": "198.51.100.1", "protocol_port": 8080}
        return self.post(f"pools/{pool['id']}/members", "member", **{**values, **fields})

    def add_monitor(self, pool: Body, **fields: Any) -> Body:
        values = {"pool_id": pool["id"], "type": "TCP", "delay": 2, "timeout": 3, "max_retries": 4}
        return self.post("healthmonitors", "healthmonitor", **{**values, **fields})

    def add_policy(self, listener: Body, **fields: Any) -> Body:
        return self.post("l7policies", "l7policy", **{"listener_id": listener["id"], "action": "REJECT", **fields})

    def add_rule(self, policy: Body, **fields: Any) -> Body:
        values = {"type": "PATH", "compare_type": "STARTS_WITH", "value": "/api"}
        return self.post(f"l7policies/{policy['id']}/rules", "rule", **{**values, **fields})
