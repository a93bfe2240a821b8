"""Load balancers: create with children, list, show, details, change, delete."""

from __future__ import annotations

import time
from typing import Any

from balancer.api.v1 import schemas
from balancer.core.model import Listener
from tests.functional.case import DEVICE, LOAD_BALANCER, NO_ID, NODE, VIRTUAL_IP, ApiCase

# What the curl scripts send.
DOCUMENTED: dict[str, Any] = {
    "name": "testLB",
    "protocol": "HTTP",
    "transport": "TCP",
    "algorithm": "RoundRobin",
    "virtualIps": [
        {
            "address": "0.0.0.0",
            "mask": "255.255.255.255",
            "type": "PUBLIC",
            "ipVersion": "IPv4",
            "port": "80",
            "ICMPreply": "True",
            "protocol": "HTTP",
        }
    ],
    "nodes": [
        {
            "name": f"node{number}",
            "type": "HW",
            "address": "127.0.0.1",
            "port": f"800{number}",
            "weight": "1",
            "minCon": "300",
            "maxCon": "400",
            "rateBandwidth": "12",
            "rateConnection": "1000",
            "status": "INSERVICE",
            "condition": "ENABLED",
        }
        for number in (1, 2, 3)
    ],
    "healthMonitor": [
        {"type": "ICMP", "delay": "15", "timeout": "20", "attemptsBeforeDeactivation": "6"},
        {
            "type": "HTTP",
            "delay": "30",
            "timeout": "30",
            "attemptsBeforeDeactivation": "5",
            "method": "GET",
            "path": "/",
            "expected": "200-204",
        },
    ],
}
CHILDREN = ("nodes", "virtualIps", "healthMonitor")


class TestCreation(ApiCase):
    def test_the_documented_request_comes_back_as_it_was_sent(self) -> None:
        device_id = self.register()
        answer = self.expect(202, "POST", "/foo/loadbalancers", {**DOCUMENTED, "device_id": device_id})
        created = answer["loadbalancer"]
        self.assertEqual({"id", "status", "status_reason"}, set(created))
        self.assertEqual("ACTIVE", created["status"], created)
        details = self.get(f"/foo/loadbalancers/{created['id']}/details")
        for key in DOCUMENTED.keys() - set(CHILDREN):
            self.assertEqual(DOCUMENTED[key], details[key], key)
        for children in CHILDREN:
            self.assertEqual(len(DOCUMENTED[children]), len(details[children]))
            for sent, shown in zip(DOCUMENTED[children], details[children], strict=True):
                self.assertEqual(sent, {key: shown[key] for key in sent})
                self.assertRegex(shown["id"], "^[0-9a-f]{32}$")
        self.assertEqual(
            {"device_id": device_id, "tenant_id": "foo", "status": "ACTIVE", "deployed": "True"},
            {key: details[key] for key in ("device_id", "tenant_id", "status", "deployed")},
        )

    def test_as_the_model_has_it(self) -> None:
        self.register()
        self.create(**DOCUMENTED)
        with self.repository.read() as tx:
            (balancer,) = tx.load_balancers()
            monitors = tx.monitors(balancer.pools[0].health_monitor_ids)
        (pool,) = balancer.pools
        self.assertEqual(("HTTP", "ROUND_ROBIN"), (pool.protocol, pool.algorithm))
        self.assertEqual([8001, 8002, 8003], [member.port for member in pool.members])
        self.assertEqual((300, 400), (pool.members[0].limits.min_connections, pool.members[0].limits.max_connections))
        self.assertEqual(["*"], [vip.address for vip in balancer.virtual_ips])
        listener: Listener = balancer.listeners[0]
        self.assertEqual((80, pool.id), (listener.port, listener.default_pool_id))
        self.assertEqual({"X-Forwarded-For": "true"}, dict(listener.insert_headers))
        self.assertEqual(["PING", "HTTP"], [monitor.type for monitor in monitors])
        self.assertEqual((15.0, 20.0, 6), (monitors[0].delay, monitors[0].timeout, monitors[0].fall))
        assert monitors[1].http is not None
        self.assertEqual("200-204", monitors[1].http.expected_codes)

    def test_without_children(self) -> None:
        self.register()
        details = self.get(self.create() + "/details")
        for children in (*CHILDREN, "sessionPersistence"):
            self.assertEqual([], details[children])
        self.assertEqual("ROUND_ROBIN", details["algorithm"])

    def test_algorithms_in_every_spelling(self) -> None:
        self.register()
        for sent, algorithm in (
            ("RoundRobin", "ROUND_ROBIN"),
            ("round_robin", "ROUND_ROBIN"),
            ("ROUND_ROBIN", "ROUND_ROBIN"),
            ("STATIC_RR", "STATIC_ROUND_ROBIN"),
            ("LeastConnection", "LEAST_CONNECTIONS"),
            ("LEAST_CONNECTION", "LEAST_CONNECTIONS"),
            ("HASH_SOURCE", "SOURCE_IP"),
            ("source_ip", "SOURCE_IP"),
            ("HASH_URI", "URI"),
        ):
            path = self.create(algorithm=sent)
            self.assertEqual(sent, self.get(path)["loadbalancer"]["algorithm"])
            with self.repository.read() as tx:
                self.assertEqual(algorithm, tx.load_balancer(path.rpartition("/")[2]).pools[0].algorithm)

    def test_several_ports_at_one_address_share_it(self) -> None:
        self.register(supports_ipv6=1)
        path = self.create(
            virtualIps=[
                {"address": "203.0.113.5", "port": 80},
                {"address": "203.0.113.5", "port": 443, "protocol": "TCP"},
                {"address": "2001:DB8:0::5", "port": 80, "mask": 64},
            ]
        )
        shown = self.get(path + "/virtualIps")["virtualIps"]
        self.assertEqual([80, 443, 80], [vip["port"] for vip in shown])
        self.assertEqual(["HTTP", "TCP", "HTTP"], [vip["protocol"] for vip in shown])
        self.assertEqual(["IPv4", "IPv4", "IPv6"], [vip["ipVersion"] for vip in shown])
        self.assertEqual("2001:DB8:0::5", shown[2]["address"])
        with self.repository.read() as tx:
            balancer = tx.load_balancer(path.rpartition("/")[2])
        self.assertEqual(["203.0.113.5", "2001:db8::5"], [vip.address for vip in balancer.virtual_ips])

    def test_a_body_wrapped_in_its_name(self) -> None:
        self.register()
        answer = self.expect(202, "POST", "/foo/loadbalancers", {"loadbalancer": {**LOAD_BALANCER, "nodes": [NODE]}})
        self.get(f"/foo/loadbalancers/{answer['loadbalancer']['id']}")


class TestPlacing(ApiCase):
    worker = False

    def test_without_a_fitting_device(self) -> None:
        message = self.refuse(404, "POST", "/foo/loadbalancers", LOAD_BALANCER)
        self.assertIn("Suitable device not found", message)
        self.register(admin_state="DRAINED")
        self.refuse(404, "POST", "/foo/loadbalancers", LOAD_BALANCER)

    def test_what_no_device_offers_together_is_told_in_the_words_of_this_dialect(self) -> None:
        self.register(capabilities={"algorithms": ["LEAST_CONNECTION"], "protocols": ["TCP"]})
        self.register(ip="192.0.2.11", capabilities={"algorithms": ["ROUND_ROBIN"], "protocols": ["HTTP"]})
        message = self.refuse(404, "POST", "/foo/loadbalancers", {**LOAD_BALANCER, "algorithm": "LEAST_CONNECTION"})
        self.assertRegex(message, r"does not offer HTTP; a device does not offer LEAST_CONNECTION$")
        six = {**LOAD_BALANCER, "virtualIps": [{"address": "2001:db8::1", "port": 80}]}
        self.refuse(404, "POST", "/foo/loadbalancers", {**six, "algorithm": "ROUND_ROBIN"})
        path = self.create(protocol="TCP", algorithm="LEAST_CONNECTION")
        self.refuse(404, "PUT", path, {"algorithm": "ROUND_ROBIN"})

    def test_ipv6_needs_a_device_that_has_it(self) -> None:
        self.register()
        six = {"address": "2001:db8::1", "port": 80}
        body = {**LOAD_BALANCER, "virtualIps": [six]}
        message = self.refuse(404, "POST", "/foo/loadbalancers", body, field="virtualIps")
        self.assertIn("does not offer IPv6", message)
        self.refuse(404, "POST", f"{self.create()}/virtualIps", six, field="virtualIps")

    def test_a_change_that_the_pinned_device_cannot_do_names_its_field(self) -> None:
        both = {"algorithms": ["ROUND_ROBIN"], "protocols": ["HTTP", "TCP"]}
        pinned = self.create(device_id=self.register(capabilities=both))
        self.register(ip="192.0.2.11")
        for change, field, word in (
            ({"algorithm": "LEAST_CONNECTION"}, "algorithm", "LEAST_CONNECTION$"),
            ({"algorithm": "HASH_URI"}, "algorithm", "HASH_URI$"),
            ({"protocol": "UDP"}, "protocol", "UDP$"),
        ):
            self.assertRegex(self.refuse(409, "PUT", pinned, change, field=field), word)

    def test_pinned(self) -> None:
        tcp = {"algorithms": "ROUND_ROBIN", "protocols": "TCP"}
        one = self.register(capabilities=tcp)
        other = self.register(ip="192.0.2.11")
        self.assertEqual(one, self.get(self.create(protocol="TCP", device_id=one))["loadbalancer"]["device_id"])
        self.assertEqual(other, self.get(self.create(protocol="TCP", device_id=other))["loadbalancer"]["device_id"])
        self.refuse(409, "POST", "/foo/loadbalancers", {"protocol": "HTTP", "device_id": one}, field="device_id")
        self.refuse(404, "POST", "/foo/loadbalancers", {"protocol": "TCP", "device_id": NO_ID})
        self.refuse(400, "POST", "/foo/loadbalancers", {"protocol": "TCP", "device_id": "HAP-001"}, field="device_id")

    def test_what_nobody_offers_is_refused_with_what_is_offered(self) -> None:
        self.register(capabilities={"algorithms": ["ROUND_ROBIN"], "protocols": ["TCP", "HTTP"]})
        for field, body in (
            ("algorithm", {"protocol": "TCP", "algorithm": "LEAST_CONNECTION"}),
            ("protocol", {"protocol": "UDP"}),
            ("virtualIps[0].protocol", {"protocol": "TCP", "virtualIps": [{**VIRTUAL_IP, "protocol": "HTTPS"}]}),
        ):
            message = self.refuse(400, "POST", "/foo/loadbalancers", body, field=field)
            self.assertRegex(message, "ROUND_ROBIN|HTTP, TCP")

    def test_an_address_and_port_once_on_a_device(self) -> None:
        device_id = self.register()
        self.create(virtualIps=[VIRTUAL_IP])
        self.refuse(
            409,
            "POST",
            "/bar/loadbalancers",
            {**LOAD_BALANCER, "virtualIps": [VIRTUAL_IP], "device_id": device_id},
            field="virtualIps",
        )
        self.refuse(404, "POST", "/bar/loadbalancers", {**LOAD_BALANCER, "virtualIps": [VIRTUAL_IP]})
        self.create(virtualIps=[{**VIRTUAL_IP, "port": 81}, {"address": "*", "port": 80}])

    def test_twice_in_one_request(self) -> None:
        self.register()
        for children in (
            {"virtualIps": [VIRTUAL_IP, VIRTUAL_IP]},
            {"virtualIps": [{"address": "*", "port": 80}, {"address": "0.0.0.0", "port": "80"}]},
            {"nodes": [NODE, {**NODE, "weight": 2}]},
        ):
            (field,) = children
            self.refuse(409, "POST", "/foo/loadbalancers", {**LOAD_BALANCER, **children}, field=field)


class TestWithTheHAProxyDriver(ApiCase):
    """What that driver can do, as far as it says so in the request; nothing is deployed here."""

    worker = False

    def setUp(self) -> None:
        super().setUp()
        self.register(type="HAPROXY")

    def test_it_takes_the_documented_request(self) -> None:
        self.expect(202, "POST", "/foo/loadbalancers", DOCUMENTED)

    def test_it_takes_the_most_that_the_reference_allows(self) -> None:
        def most(schema: dict[str, Any], *fields: str) -> dict[str, Any]:
            return {field: schema["properties"][field]["maximum"] for field in fields}

        monitors = schemas.LOAD_BALANCER_CHILDREN["properties"]["healthMonitor"]["maxItems"]
        check = {"type": "TCP", **most(schemas.HEALTH_MONITORING, "delay", "timeout", "attemptsBeforeDeactivation")}
        node = {"inter": "24d", "slowstart": "24d", **most(schemas.NODE, "weight", "maxCon", "minCon", "rise", "fall")}
        body = {
            **LOAD_BALANCER,
            "virtualIps": [{**VIRTUAL_IP, "port": 65535}],
            "nodes": [{**NODE, **node}],
            "healthMonitor": [check] * monitors,
        }
        for sticky in ("SOURCE_IP", "HTTP_COOKIE", "APP_COOKIE"):
            with self.subTest(sticky):
                persistence = {"type": sticky, **most(schemas.SESSION_PERSISTENCE, "timeout")}
                persistence |= {"cookie_name": "x"} if sticky == "APP_COOKIE" else {}
                path = "/foo/loadbalancers?dry_run=1"
                self.expect(200, "POST", path, {**body, "sessionPersistence": [persistence]})

    def test_what_it_offers(self) -> None:
        offered = {"ROUND_ROBIN", "STATIC_RR", "LEAST_CONNECTION", "HASH_SOURCE", "HASH_URI"}
        self.assertLessEqual(offered, set(self.get("/algorithms")["algorithms"]))
        self.assertEqual({"HTTP", "HTTPS", "TCP"}, set(self.get("/protocols")["protocols"]))

    def test_what_it_cannot_do(self) -> None:
        for field, body in (
            ("algorithm", {"protocol": "TCP", "algorithm": "HASH_URI"}),
            ("algorithm", {"protocol": "TCP", "algorithm": "HASH_URI", "virtualIps": []}),
            (
                "protocol",
                {"protocol": "HTTP", "algorithm": "HASH_URI", "virtualIps": [{**VIRTUAL_IP, "protocol": "TCP"}]},
            ),
            ("protocol", {"protocol": "UDP"}),
        ):
            children = {"nodes": [NODE], "virtualIps": [VIRTUAL_IP]}
            self.refuse(400, "POST", "/foo/loadbalancers", {**children, **body}, field=field)


class TestReading(ApiCase):
    worker = False

    def test_list_and_show_have_no_children(self) -> None:
        self.register()
        paths = [
            self.create(name=name, nodes=[NODE], virtualIps=[vip])
            for name, vip in (("one", VIRTUAL_IP), ("two", {**VIRTUAL_IP, "port": 81}))
        ]
        listed = self.get("/foo/loadbalancers")["loadbalancers"]
        self.assertEqual({"one", "two"}, {balancer["name"] for balancer in listed})
        for path in paths:
            shown = self.get(path)["loadbalancer"]
            self.assertIn(shown, listed)
            self.assertFalse({"nodes", "virtualIps", "healthMonitor", "sessionPersistence"} & set(shown))
        self.assertEqual("BUILD", listed[0]["status"])
        self.assertEqual("False", listed[0]["deployed"])

    def test_another_projects_objects_are_not_there(self) -> None:
        self.register()
        path = self.create(nodes=[NODE])
        other = path.replace("/foo/", "/bar/")
        self.assertEqual({"loadbalancers": []}, self.get("/bar/loadbalancers"))
        for method, below, body in (
            ("GET", "", None),
            ("GET", "/details", None),
            ("GET", "/nodes", None),
            ("POST", "/nodes", {"nodes": [{**NODE, "port": 1}]}),
            ("PUT", "", {"name": "mine"}),
            ("DELETE", "", None),
        ):
            self.refuse(404, method, other + below, body)

    def test_find_for_vm(self) -> None:
        self.register()
        path = self.create(nodes=[{**NODE, "vm_id": "vm-7"}, {**NODE, "port": 2, "vm_id": 12}])
        self.create(nodes=[NODE])
        for vm_id, found in (("vm-7", 1), ("12", 1), ("vm-8", 0), ("None", 0)):
            listed = self.get(f"/foo/loadbalancers/find_for_VM/{vm_id}")["loadbalancers"]
            self.assertEqual(found, len(listed), vm_id)
        self.assertEqual(
            [self.get(path)["loadbalancer"]], self.get("/foo/loadbalancers/find_for_VM/vm-7")["loadbalancers"]
        )


class TestChange(ApiCase):
    def test_name_algorithm_protocol_and_extras(self) -> None:
        self.register()
        path = self.create(transport="TCP", virtualIps=[VIRTUAL_IP, {**VIRTUAL_IP, "port": 81, "protocol": "UDP"}])
        answer = self.expect(
            202,
            "PUT",
            path,
            {"name": "new", "algorithm": "LeastConnection", "protocol": "tcp", "owner": {"team": 1}},
        )
        self.assertEqual("ACTIVE", answer["loadbalancer"]["status"])
        self.assertEqual({"id", "status", "status_reason"}, set(answer["loadbalancer"]))
        shown = self.get(path)["loadbalancer"]
        expected = {
            "name": "new",
            "algorithm": "LeastConnection",
            "protocol": "tcp",
            "owner": {"team": 1},
            "transport": "TCP",
        }
        self.assertEqual(expected, {key: shown[key] for key in expected})
        # Those that had the load balancer's protocol follow it.
        self.assertEqual(["TCP", "UDP"], [vip["protocol"] for vip in self.get(path + "/virtualIps")["virtualIps"]])
        with self.repository.read() as tx:
            listener = tx.load_balancer(path.rpartition("/")[2]).listeners[0]
        self.assertEqual({}, dict(listener.insert_headers))

    def test_a_spelling_is_forgotten_with_its_value(self) -> None:
        self.register()
        path = self.create(algorithm="RoundRobin")
        self.expect(202, "PUT", path, {"algorithm": "LEAST_CONNECTION"})
        self.assertEqual("LEAST_CONNECTION", self.get(path)["loadbalancer"]["algorithm"])
        self.expect(202, "PUT", path, {"algorithm": None})
        self.expect(202, "PUT", path, {"algorithm": "ROUND_ROBIN"})
        self.assertEqual("ROUND_ROBIN", self.get(path)["loadbalancer"]["algorithm"])

    def test_what_was_shown_can_be_sent_back(self) -> None:
        self.register()
        path = self.create(algorithm="RoundRobin", transport="TCP")
        before = self.get(path)["loadbalancer"]
        self.expect(202, "PUT", path, before)
        after = self.get(path)["loadbalancer"]
        self.assertEqual({**before, "updated_at": ""}, {**after, "updated_at": ""})

    def test_what_the_other_device_refuses_stays_where_it_is_served(self) -> None:
        one = self.register(capabilities={"algorithms": "ROUND_ROBIN", "protocols": "TCP"})
        path = self.create(protocol="TCP", virtualIps=[VIRTUAL_IP])
        other = self.register(ip="192.0.2.11", behaviour=f"reject:{path.rpartition('/')[2]}")
        answer = self.expect(202, "PUT", path, {"protocol": "HTTP"})["loadbalancer"]
        self.assertEqual("ERROR", answer["status"])
        self.assertRegex(answer["status_reason"], f"pretends to refuse.*from device {one}, which serves it until")
        self.refuse(409, "DELETE", f"/devices/{one}")
        self.refuse(409, "DELETE", f"/devices/{other}")
        self.assertEqual("ACTIVE", self.expect(202, "PUT", path, {"protocol": "TCP"})["loadbalancer"]["status"])
        self.assertEqual(one, self.get(path)["loadbalancer"]["device_id"])
        self.until(lambda: not self.get(path)["loadbalancer"]["status_reason"])
        self.expect(204, "DELETE", f"/devices/{other}")

    def test_it_moves_when_its_device_cannot_do_it(self) -> None:
        tcp = {"algorithms": "ROUND_ROBIN", "protocols": "TCP"}
        one = self.register(capabilities=tcp)
        path = self.create(protocol="TCP")
        pinned = self.create(protocol="TCP", device_id=one)
        other = self.register(ip="192.0.2.11")
        self.expect(202, "PUT", path, {"protocol": "HTTP"})
        self.assertEqual(other, self.get(path)["loadbalancer"]["device_id"])
        self.until(lambda: not self.get(path)["loadbalancer"]["status_reason"])
        self.refuse(409, "PUT", pinned, {"protocol": "HTTP"})
        self.refuse(400, "PUT", pinned, {"device_id": other}, field="device_id")

    def test_refused(self) -> None:
        self.register(capabilities={"algorithms": ["ROUND_ROBIN"], "protocols": ["TCP", "HTTP"]})
        path = self.create()
        for field, body in (
            ("algorithm", {"algorithm": "LEAST_CONNECTION"}),
            ("algorithm", {"algorithm": "best"}),
            ("protocol", {"protocol": None}),
            ("protocol", {"protocol": "HTTPS"}),
            ("name", {"name": ["x"]}),
            ("nodes", {"nodes": []}),
            ("virtualIps", {"name": "new", "virtualIps": [VIRTUAL_IP]}),
        ):
            self.refuse(400, "PUT", path, body, field=field)
        self.refuse(404, "PUT", f"/foo/loadbalancers/{NO_ID}", {"name": "new"})


class TestDeletion(ApiCase):
    def test_with_all_children(self) -> None:
        self.register()
        before = self.rows()
        path = self.create(**DOCUMENTED, sessionPersistence=[{"type": "SOURCE_IP"}])
        self.assertIsNone(self.expect(204, "DELETE", path))
        for method, below in (("GET", ""), ("GET", "/details"), ("GET", "/nodes"), ("DELETE", ""), ("PUT", "")):
            self.refuse(404, method, path + below, {"name": "x"} if method == "PUT" else None)
        after = self.rows()
        for table in before.keys() - {"devices", "device_observations"}:
            self.assertEqual(before[table], after[table], table)

    def test_its_address_is_free_again(self) -> None:
        self.register()
        self.expect(204, "DELETE", self.create(virtualIps=[VIRTUAL_IP]))
        self.create(virtualIps=[VIRTUAL_IP])


class TestWaiting(ApiCase):
    """Without a worker nothing is ever deployed: who waits, waits until the time is over."""

    worker = False

    def setUp(self) -> None:
        super().setUp()
        self.register()

    def seconds(self, wait: float, headers: dict[str, str]) -> tuple[float, Any]:
        from dataclasses import replace

        from balancer.api.app import make_app

        self.app = make_app(
            self.service, replace(self.settings, api=replace(self.settings.api, deploy_wait_seconds=wait))
        )
        started = time.monotonic()
        answer = self.call("POST", "/foo/loadbalancers", LOAD_BALANCER, headers=headers)
        self.assertEqual(202, answer.status)
        self.assertEqual("BUILD", answer.json["loadbalancer"]["status"])
        return time.monotonic() - started, answer

    def test_until_the_time_is_over(self) -> None:
        waited, _ = self.seconds(0.5, {})
        self.assertGreaterEqual(waited, 0.5)

    def test_not_with_zero_seconds(self) -> None:
        waited, _ = self.seconds(0, {})
        self.assertLess(waited, 5)

    def test_not_when_asked_to_answer_at_once(self) -> None:
        waited, answer = self.seconds(60, {"Prefer": "return=minimal, Respond-Async; wait=3"})
        self.assertLess(waited, 5)
        self.assertEqual("respond-async", answer.headers["Preference-Applied"])


class TestManyAtOnce(ApiCase):
    def test_a_long_list_is_quick_enough(self) -> None:
        self.register()
        for number in range(60):
            body = {**LOAD_BALANCER, "algorithm": "RoundRobin", "transport": "TCP", "name": f"lb{number}"}
            answer = self.call("POST", "/foo/loadbalancers", body, headers={"Prefer": "respond-async"})
            self.assertEqual(202, answer.status, answer.json)
        started = time.monotonic()
        self.assertEqual(60, len(self.get("/foo/loadbalancers")["loadbalancers"]))
        self.assertLess(time.monotonic() - started, 10)


class TestUnsuitable(ApiCase):
    worker = False

    def test_ipv6_needs_a_device_that_supports_it(self) -> None:
        self.register()
        body = {**LOAD_BALANCER, "virtualIps": [{"address": "2001:db8::1", "port": 80}]}
        self.assertIn("IPv6", self.refuse(404, "POST", "/foo/loadbalancers", body))
        self.expect(200, "POST", "/devices", {**DEVICE, "ip": "192.0.2.12", "supports_ipv6": True})
        self.expect(202, "POST", "/foo/loadbalancers", body)
