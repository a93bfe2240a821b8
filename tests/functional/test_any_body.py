"""No body whatever may cause a 5xx, and what is refused leaves nothing behind."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from balancer.api.v1 import schemas
from tests.functional.case import LOAD_BALANCER, NODE, VIRTUAL_IP, ApiCase

OBJECTS = (
    schemas.DEVICE,
    schemas.LOAD_BALANCER,
    schemas.LOAD_BALANCER_CHILDREN,
    schemas.NODE,
    schemas.VIRTUAL_IP,
    schemas.HEALTH_MONITORING,
    schemas.SESSION_PERSISTENCE,
)
WRAPPERS = ("device", "loadbalancer", "node", "virtualIp", "healthMonitoring", "sessionPersistence")
KEYS = st.sampled_from(sorted({key for schema in OBJECTS for key in schema["properties"]} | set(WRAPPERS)))
WORDS = sorted(
    {name for schema in OBJECTS for field in schema["properties"].values() for name in field.get("enum", ()) if name}
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(), max_size=20),
    st.sampled_from([*WORDS, "dummy", "HAPROXY", "192.0.2.1", "::1", "*", "/", "200-204", "80", "255.255.255.0", "3s"]),
    st.integers(0, 70000).map(str),
)


def objects(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.dictionaries(st.one_of(KEYS, st.text(max_size=5)), values, max_size=6)


VALUES = st.recursive(LEAVES, lambda inner: st.one_of(st.lists(inner, max_size=3), objects(inner)), max_leaves=12)
BODIES = st.one_of(
    objects(VALUES),
    VALUES,
    st.fixed_dictionaries(
        {"protocol": st.just("TCP")},
        optional={
            key: st.lists(objects(LEAVES), max_size=3)
            for key in ("nodes", "virtualIps", "healthMonitor", "sessionPersistence")
        },
    ),
)


class TestAnyBody(ApiCase):
    worker = False

    def setUp(self) -> None:
        super().setUp()
        device = self.register(supports_ipv6=1)
        path = self.create(nodes=[NODE], virtualIps=[VIRTUAL_IP], healthMonitor=[{"type": "TCP"}])
        node = self.get(f"{path}/nodes")["nodes"][0]["id"]
        vip = self.get(f"{path}/virtualIps")["virtualIps"][0]["id"]
        self.routes = (
            ("POST", "/devices"),
            ("PUT", f"/devices/{device}"),
            ("POST", "/foo/loadbalancers"),
            ("PUT", path),
            ("POST", f"{path}/nodes"),
            ("PUT", f"{path}/nodes"),
            ("PUT", f"{path}/nodes/{node}"),
            ("PUT", f"{path}/nodes/{node}/inservice"),
            ("POST", f"{path}/virtualIps"),
            ("PUT", f"{path}/virtualIps/{vip}"),
            ("POST", f"{path}/healthMonitoring"),
            ("PUT", f"{path}/healthMonitoring"),
            ("POST", f"{path}/sessionPersistence"),
        )
        self.reads = (path + "/details", "/foo/loadbalancers", "/devices", "/algorithms")

    def send(self, raw: bytes) -> None:
        for method, path in self.routes:
            before = self.rows()
            answer = self.call(method, path, raw=raw)
            self.assertLess(answer.status, 500, (method, path, raw))
            if answer.status >= 400:
                self.assertEqual(before, self.rows(), (method, path, raw))
                self.assertTrue(answer.json["error"]["message"])
        for path in self.reads:
            self.get(path)

    @settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(BODIES)
    @example({**LOAD_BALANCER, "nodes": [{**NODE, "port": "\u0663"}]})
    @example({"address": "1.2.3.4", "port": 1, "mask": "1" * 5000})
    def test_json(self, body: Any) -> None:
        self.send(json.dumps(body).encode())

    @settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=200))
    def test_bytes(self, raw: bytes) -> None:
        self.send(raw)
