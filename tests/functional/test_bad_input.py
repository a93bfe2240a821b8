"""Bad input for every route: a 4xx that names the field, and nothing stored."""

from __future__ import annotations

from typing import Any

from tests.functional.case import DEVICE, LOAD_BALANCER, NO_ID, NODE, VIRTUAL_IP, ApiCase

LONG = "x" * 256
CONTROLS = ("a\nb", "a\rb", "\t", "\x1b[0m", "\x7f", "a\u2028b", "a\u2029b", "\x85")

# Field and value: each is refused, whatever else is in the object.
Spoilt = list[tuple[str, Any]]


def spoil(field: str, *values: Any) -> Spoilt:
    return [(field, value) for value in values]


NAMES = spoil("name", *CONTROLS, LONG, 7, True, ["x"], {"x": 1})
PORTS = spoil("port", 0, -1, 65536, 70000, "0", "70000", "http", "80 ", "", 80.5, True, None, [80], {}, "8_0", "٨٠")

BAD_NODE: Spoilt = [
    *NAMES,
    *PORTS,
    *spoil(
        "address",
        "1.2.3",
        "1.2.3.4.5",
        "256.1.1.1",
        "01.2.3.4",
        "1.2.3.4/24",
        " 1.2.3.4",
        "node.example.org",
        "",
        "*",
        "0.0.0.0",
        "::",
        "::1%eth0",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
        "[::1]",
        "fe80::1",
        "::ffff:1.2.3.4",
        "1.2.3.4:80",
        "1.2.3.4\nserver x",
        16909060,
        None,
        ["1.2.3.4"],
    ),
    *spoil("weight", 300, 257, -1, "-1", 1.5, "heavy", [], True),
    *spoil("condition", "ON", "", 1, True),
    *spoil("status", "UP", "", 1),
    *spoil("maxCon", -1, "many", 2**31, 1.5),
    ("maxconn", -1),
    ("minCon", "-5"),
    ("rateBandwidth", "fast"),
    ("rateConnection", -1),
    *spoil("inter", "fast", 0, "-1", "1 s", "2w", "99d", 1.5),
    *spoil("slowstart", "slow", "0s", -1),
    ("rise", 0),
    ("fall", "0"),
    ("backup", "maybe"),
    ("backup", 2),
    *spoil("cookie", "a b", "a;b", "a'b", 'a"b', "", "x" * 65, "a\n"),
    ("vm_id", "a\nb"),
    ("vm_id", LONG),
    ("vm_id", {"id": 1}),
    ("type", ["HW"]),
]
BAD_VIRTUAL_IP: Spoilt = [
    *NAMES,
    *PORTS,
    *spoil(
        "address",
        "1.2.3",
        "256.1.1.1",
        "1.2.3.4/24",
        "www.example.org",
        "ff02::1",
        "224.0.0.1",
        "::1%lo",
        "fe80::1",
        "::ffff:203.0.113.5",
        "[::1]",
        5,
        None,
        "0",
        "255.255.255.255",
    ),
    *spoil(
        "mask",
        "255.0.255.0",
        "0.0.0.255",
        "33",
        33,
        -1,
        129,
        "255.255.255",
        "x",
        "",
        "ffff::",
        "255.255.255.256",
        1.5,
        [24],
    ),
    ("type", "SECRET"),
    ("type", 1),
    ("ipVersion", "IPv5"),
    ("ipVersion", "IPv6"),
    ("ipVersion", 4),
    ("VLAN", 4096),
    ("VLAN", "blue"),
    ("ICMPreply", "perhaps"),
    *spoil("protocol", "FTP", "", 6, "TERMINATED_HTTPS", "HTTP\n"),
    ("sf_id", "a\x00b".replace("\x00", "\x01")),
]
BAD_MONITOR: Spoilt = [
    *NAMES,
    *spoil("type", "SMTP", "", 1, None, "HTTP;"),
    *spoil("delay", 0, -1, "0", "soon", 86401, True, [5], "1e3"),
    *spoil("timeout", 0, -0.5, "never", 10**9),
    *spoil("attemptsBeforeDeactivation", 0, -1, 1.5, "x", 1001),
    ("attemptsDeforeDeactivation", 0),
    *spoil("method", "CONNECT", "", "GET /", 1),
    *spoil(
        "path",
        "index.html",
        "",
        "/a b",
        "/a'b",
        '/a"b',
        "/a\nb",
        "/#x",
        "/\\x",
        "/ü",
        "/`id`",
        "/{x}",
        "/" + "x" * 1024,
        5,
    ),
    ("url", "http://example.org/"),
    *spoil("expected", "abc", "", "2xx", "200,", "600", "99", "200-", "204-200", "200;201", 20, [200]),
    ("status", "abc"),
]
BAD_PERSISTENCE: Spoilt = [
    *NAMES,
    *spoil("type", "MAGIC", "", 1, None),
    *spoil("cookie_name", "a b", "a;b", "a=b", "", "x" * 65, "é", "a\n", 1),
    *spoil("timeout", 0, -1, "long", 1.5, 10**9),
    ("mask", "255.0.255.0"),
]
BAD_BALANCER: Spoilt = [
    *NAMES,
    *spoil("algorithm", "BEST", "", 1, ["ROUND_ROBIN"], "ROUND_ROBIN\nx"),
    *spoil("protocol", "FTP", "", 1, None, {"HTTP": 1}),
]
BAD_DEVICE: Spoilt = [
    *NAMES,
    ("name", ""),
    ("name", None),
    # A null stands for the default, 22.
    *(case for case in PORTS if case[1] is not None),
    *spoil(
        "ip",
        "1.2.3",
        "a b",
        "-x.example",
        "x..y",
        "",
        None,
        "1.2.3.4 -oProxyCommand=x",
        "::1%lo",
        "0.0.0.0",
        "a\nb",
        "x" * 254,
    ),
    *spoil("type", "ACME", "", None, 1, "x\n"),
    *spoil("user", "", None, "-oProxyCommand", "a b", "a;b", "a\n", "x" * 65),
    *spoil("password", "", None, 1, "a\nb", LONG),
    *spoil("key_filename", "id_rsa", "", "/x\n"),
    *spoil("host_key", "x", "ssh-ed25519", "ssh-ed25519 AAAA", "ssh-ed25519 " + "A" * 40 + "\nx", 5),
    *spoil("private_key", "", 5, "a\x01b", "x" * 16385),
    *spoil("capabilities", "all", [], 5),
    *spoil("remote_config_path", "haproxy.cfg", "/etc/../x", "/etc/x y", "/etc/$(id)", "/", "", "/a\n"),
    *spoil("vip_ranges", ["192.0.2.1"] * 257),
    *spoil("interface", "eth0; id", "", "x" * 16, "-x", "eth0\n"),
    *spoil("socket", "run", "/run/a b", "/" + "x" * 100),
    ("admin_state", "ASLEEP"),
    ("supports_ipv6", "perhaps"),
    ("has_acl", 2),
]


class TestBadInput(ApiCase):
    worker = False

    def setUp(self) -> None:
        super().setUp()
        self.device = f"/devices/{self.register(supports_ipv6=True)}"
        self.balancer = self.create(
            nodes=[NODE],
            virtualIps=[VIRTUAL_IP],
            healthMonitor=[{"type": "HTTP"}],
        )

    def refuse_each(
        self, method: str, path: str, cases: list[tuple[str, Any]], good: dict[str, Any], wrap: str = "", at: str = ""
    ) -> None:
        """Every case alone spoils an otherwise good body."""
        for field, value in cases:
            with self.subTest(path=path, field=field, value=value):
                body: Any = {**good, field: value}
                if wrap == "nodes":
                    body = {"nodes": [{**good, "port": 9999}, body]}
                elif wrap:
                    body = {wrap: body}
                message = self.refuse(400, method, path, body, field=f"{at}{field}")
                self.assertLess(len(message), 400)
                if isinstance(value, str):
                    self.assertNotIn("\n", message)

    def test_devices(self) -> None:
        good = {**DEVICE, "ip": "192.0.2.99"}
        self.refuse_each("POST", "/devices", BAD_DEVICE, good)
        needless = ("password", None)  # none needed when there is another one
        self.refuse_each("PUT", self.device, [case for case in BAD_DEVICE if case != needless], {})
        for capabilities, field in (
            ({"algorithms": ["BEST"], "protocols": []}, "capabilities.algorithms[0]"),
            ({"algorithms": ["ROUND_ROBIN"], "protocols": ["TCP", "FTP"]}, "capabilities.protocols[1]"),
            ({"algorithms": ["ROUND_ROBIN"]}, "capabilities.protocols"),
            ({"algorithms": 5, "protocols": "TCP"}, "capabilities.algorithms[0]"),
        ):
            self.refuse(400, "POST", "/devices", {**good, "capabilities": capabilities}, field=field)
        for field in ("name", "type", "ip", "user", "password"):
            body = {key: value for key, value in good.items() if key != field}
            self.assertIn("required", self.refuse(400, "POST", "/devices", body, field=field))

    def test_a_secret_is_never_repeated(self) -> None:
        for field in ("password", "private_key"):
            for value in ("hush\x01", ["hush"], {"hush": 1}, "hush" * 5000):
                message = self.refuse(400, "POST", "/devices", {**DEVICE, "ip": "192.0.2.9", field: value}, field=field)
                self.assertNotIn("hush", message)

    def test_load_balancers(self) -> None:
        path = "/foo/loadbalancers"
        self.refuse_each("POST", path, BAD_BALANCER, {**LOAD_BALANCER})
        self.refuse_each("PUT", self.balancer, BAD_BALANCER, {})
        self.refuse(400, "POST", path, {"name": "x"}, field="protocol")
        for key, bad, good in (
            ("nodes", BAD_NODE, NODE),
            ("virtualIps", BAD_VIRTUAL_IP, VIRTUAL_IP),
            ("healthMonitor", BAD_MONITOR, {"type": "HTTP"}),
        ):
            other = {**good, "port": 9998}
            for field, value in bad:
                with self.subTest(key=key, field=field, value=value):
                    body = {**LOAD_BALANCER, key: [other, {**good, field: value}]}
                    self.refuse(400, "POST", path, body, field=f"{key}[1].{field}")
            for value in ({}, "x", 5, [5], [None], [[]], [NODE, "x"]):
                self.refuse(400, "POST", path, {**LOAD_BALANCER, key: value})
            self.refuse(400, "POST", path, {**LOAD_BALANCER, key: [{}]})
        for field, value in BAD_PERSISTENCE:
            body = {**LOAD_BALANCER, "sessionPersistence": [{"type": "SOURCE_IP", field: value}]}
            self.refuse(400, "POST", path, body, field=f"sessionPersistence[0].{field}")
        twice = {**LOAD_BALANCER, "sessionPersistence": [{"type": "SOURCE_IP"}] * 2}
        self.refuse(400, "POST", path, twice, field="sessionPersistence")
        many = {**LOAD_BALANCER, "nodes": [{**NODE, "port": port} for port in range(1, 1002)]}
        self.refuse(400, "POST", path, many, field="nodes")

    def test_nodes(self) -> None:
        path = f"{self.balancer}/nodes"
        self.refuse_each("POST", path, BAD_NODE, dict(NODE), wrap="nodes", at="nodes[1].")
        node = f"{path}/{self.get(path)['nodes'][0]['id']}"
        self.refuse_each("PUT", node, BAD_NODE, {})
        self.refuse_each("PUT", node, BAD_NODE, {}, wrap="node", at="node.")
        for body, field in (
            ({}, "nodes"),
            ({"nodes": []}, "nodes"),
            ({"nodes": {}}, "nodes"),
            ({"nodes": None}, "nodes"),
            ({"nodes": [5]}, "nodes[0]"),
            ({"nodes": [{}]}, "nodes[0].address"),
            ({"node": 5}, "nodes[0]"),
            ({"address": "1.2.3.4", "port": 1}, "nodes"),
            ({"nodes": [NODE], "x": 1}, "x"),
            ({"nodes": [{**NODE, "port": 5, "maxCon": 1, "maxconn": 2}]}, "nodes[0].maxconn"),
        ):
            self.refuse(400, "POST", path, body, field=field)
        self.refuse(409, "POST", path, {"nodes": [{**NODE, "port": 1}, {**NODE, "port": 1}]}, field="nodes")

    def test_virtual_ips(self) -> None:
        path = f"{self.balancer}/virtualIps"
        good = {**VIRTUAL_IP, "port": 81}
        self.refuse_each("POST", path, BAD_VIRTUAL_IP, good, wrap="virtualIp", at="virtualIp.")
        vip = f"{path}/{self.get(path)['virtualIps'][0]['id']}"
        self.refuse_each("PUT", vip, BAD_VIRTUAL_IP, {})
        six = {"address": "2001:db8::1", "port": 81}
        self.refuse(400, "POST", path, {**six, "ipVersion": "IPv4"}, field="ipVersion")
        self.refuse(400, "POST", path, {**six, "mask": "255.255.255.256"}, field="mask")
        for nothing in ("0.0.0.0", 0):
            self.refuse(400, "POST", path, {"address": "203.0.113.5", "port": 81, "mask": nothing}, field="mask")
        message = self.refuse(400, "POST", path, {**six, "mask": 0}, field="mask")
        self.assertIn("a prefix length from 1 to 128 for an IPv6 address", message)
        self.assertNotIn("netmask", message)
        for everywhere in ("0.0.0.0", "*", ""):
            body = {"address": everywhere, "port": 81, "ipVersion": "IPv6"}
            self.refuse(400, "POST", path, body, field="ipVersion")
        self.refuse(409, "POST", path, {"virtualIp": {**VIRTUAL_IP}}, field="virtualIps")
        self.refuse(400, "POST", path, {"virtualIp": []}, field="virtualIp")
        self.refuse(400, "POST", path, {"virtualIp": good, "name": "x"}, field="name")

    def test_health_monitoring(self) -> None:
        path = f"{self.balancer}/healthMonitoring"
        self.refuse_each("POST", path, BAD_MONITOR, {"type": "HTTP"}, wrap="healthMonitoring", at="healthMonitoring.")
        self.refuse(400, "POST", path, {"healthMonitoring": {}}, field="healthMonitoring.type")
        twice = {"type": "HTTP", "attemptsBeforeDeactivation": 2, "attemptsDeforeDeactivation": 3}
        self.refuse(400, "POST", path, twice, field="attemptsDeforeDeactivation")

    def test_session_persistence(self) -> None:
        path = f"{self.balancer}/sessionPersistence"
        self.refuse_each("POST", path, BAD_PERSISTENCE, {"type": "SOURCE_IP"})
        self.refuse(400, "POST", path, {"type": "APP_COOKIE"}, field="cookie_name")

    def test_extras_are_bounded(self) -> None:
        for extras, field in (
            ({"a\nb": 1}, None),
            ({"": 1}, None),
            ({"k" * 256: 1}, None),
            ({"big": "x" * 17_000}, None),
            ({f"key{number}": "x" * 100 for number in range(200)}, None),
        ):
            self.refuse(400, "POST", "/foo/loadbalancers", {**LOAD_BALANCER, **extras})
            self.refuse(
                400, "POST", "/foo/loadbalancers", {**LOAD_BALANCER, "nodes": [{**NODE, **extras}]}, field="nodes[0]"
            )
            self.refuse(400, "POST", "/devices", {**DEVICE, "ip": "192.0.2.8", **extras}, field=field)

    def test_they_stay_bounded_when_they_come_one_by_one(self) -> None:
        path = f"{self.balancer}/nodes/{self.get(self.balancer + '/nodes')['nodes'][0]['id']}"
        statuses = {self.call("PUT", path, {f"key{number}": "x" * 4000}).status for number in range(8)}
        self.assertEqual({200, 400}, statuses)
        self.assertLess(len(str(self.get(path))), 20_000)

    def test_unknown_objects(self) -> None:
        some = self.balancer
        for method, path, body in (
            ("GET", f"/devices/{NO_ID}", None),
            ("GET", f"/devices/{NO_ID}/info", None),
            ("PUT", f"/devices/{NO_ID}", {"name": "x"}),
            ("DELETE", f"/devices/{NO_ID}", None),
            *(
                (method, f"{some}/{child}/{child_id}", body)
                for child in ("nodes", "virtualIps", "healthMonitoring", "sessionPersistence")
                for child_id in (NO_ID, "x", "1'--", "..", "%2e%2e", "a" * 300)
                for method, body in (("GET", None), ("DELETE", None))
            ),
            ("PUT", f"{some}/nodes/{NO_ID}", {"weight": 1}),
            ("PUT", f"{some}/nodes/{NO_ID}/drain", None),
            ("PUT", f"{some}/virtualIps/{NO_ID}", {"port": 1}),
        ):
            self.refuse(404, method, path, body)

    def test_a_pinned_device_without_the_capability(self) -> None:
        device_id = self.register(ip="192.0.2.33", capabilities={"algorithms": "ROUND_ROBIN", "protocols": "TCP"})
        self.refuse(409, "POST", "/foo/loadbalancers", {**LOAD_BALANCER, "device_id": device_id})
