"""LBaaS v2: filters, fields, sorting and pages."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from tests.functional.lbaas_v2 import NO_UUID, V2, Body, LbaasCase

FIELDS = {
    "loadbalancers": (
        *("admin_state_up", "created_at", "description", "flavor_id", "id", "listeners", "name", "operating_status"),
        *("pools", "project_id", "provider", "provisioning_status", "updated_at", "vip_address", "vip_network_id"),
        *("vip_port_id", "vip_subnet_id", "vip_qos_policy_id", "tags", "availability_zone"),
    ),
    "listeners": ("admin_state_up", "connection_limit", "insert_headers", "timeout_client_data", "allowed_cidrs"),
    "pools": ("lb_algorithm", "session_persistence", "healthmonitor_id", "loadbalancers"),
    "healthmonitors": ("delay", "http_method", "max_retries_down", "pools"),
    "l7policies": ("action", "position", "redirect_http_code", "listener_id"),
}


class TestLists(LbaasCase):
    worker = False

    def setUp(self) -> None:
        super().setUp()
        self.balancers = [
            self.add_balancer(name=name, description=f"about {name}", admin_state_up=up, tags=tags)
            for name, up, tags in (("b", True, ["x", "y"]), ("a", False, ["y"]), ("c", True, []))
        ]

    def names(self, query: str = "", path: str = "loadbalancers") -> list[str]:
        return [each["name"] for each in self.listed(f"{path}{query}")]

    def test_order(self) -> None:
        self.assertEqual(["b", "a", "c"], self.names())
        for query, expected in (
            ("?sort=name", "abc"),
            ("?sort=name:desc", "cba"),
            ("?sort_key=name&sort_dir=desc", "cba"),
            ("?sort_key=admin_state_up,name&sort_dir=desc,asc", "bca"),
            ("?sort_key=admin_state_up&sort_key=name&sort_dir=asc", "abc"),
            ("?sort=admin_state_up:desc,name:desc&sort_key=name", "cba"),
            ("?sort=vip_address:desc", "cab"),
            ("?sort=flavor_id", "bac"),
        ):
            with self.subTest(query):
                self.assertEqual(list(expected), self.names(query))
        for query in ("?sort=nothing", "?sort=name:up", "?sort_key=nothing", "?sort_key=name&sort_dir=down"):
            self.refused(400, "GET", f"loadbalancers{query}")

    def test_filters(self) -> None:
        first = self.balancers[0]
        for query, expected in (
            ("?name=a", "a"),
            ("?name=nothing", ""),
            ("?admin_state_up=true", "bc"),
            ("?admin_state_up=False", "a"),
            ("?admin_state_up=perhaps", "a"),
            ("?admin_state_up=1&name=c", "c"),
            (f"?id={first['id']}", "b"),
            (f"?id={first['id'].replace('-', '').upper()}", "b"),
            ("?id=nonsense", ""),
            ("?description=about%20c", "c"),
            (f"?vip_address={first['vip_address']}", "b"),
            (f"?vip_subnet_id={self.subnet_id}", "bac"),
            (f"?vip_port_id={first['vip_port_id']}", "b"),
            ("?provider=dummy", "bac"),
            ("?provisioning_status=PENDING_CREATE", "bac"),
            ("?operating_status=ONLINE", ""),
            ("?project_id=default", "bac"),
            ("?tenant_id=other", ""),
            ("?verbose=True", "bac"),
            ("?tags=y", "ba"),
            ("?tags=x,y", "b"),
            ("?tags=x&tags=y", "b"),
            ("?tags-any=x,z", "b"),
            ("?not-tags=x,y", "ac"),
            ("?not-tags-any=x,y", "c"),
            ("?tags=y&not-tags=x", "a"),
        ):
            with self.subTest(query):
                self.assertEqual(list(expected), self.names(query))
        for query in ("?nothing=1", "?name=a&name=b", "?protocol=HTTP", "?name=%00"):
            self.refused(400, "GET", f"loadbalancers{query}")

    def test_filters_of_parts(self) -> None:
        first, second, _ = self.balancers
        listeners = [self.add_listener(first, name="l1"), self.add_listener(second, name="l2", protocol_port=443)]
        pools = [
            self.add_pool(listener_id=listeners[0]["id"], name="p1"),
            self.add_pool(loadbalancer_id=second["id"], name="p2", protocol="TCP"),
        ]
        for number, backup in ((3, True), (1, False), (2, True)):
            self.add_member(pools[0], name=f"m{number}", protocol_port=number, backup=backup)
        members = f"pools/{pools[0]['id']}/members"
        monitor = self.add_monitor(pools[0], name="hm")
        self.add_monitor(pools[1], name="other")
        policy = self.add_policy(listeners[0], name="l7")
        self.add_policy(listeners[1], name="other")
        rules = f"l7policies/{policy['id']}/rules"
        rule = self.add_rule(policy, invert=True)
        self.add_rule(policy, value="/x")
        for path, expected in (
            (f"listeners?loadbalancer_id={first['id']}", ["l1"]),
            (f"listeners?loadbalancer_id={NO_UUID}", []),
            ("listeners?protocol_port=443", ["l2"]),
            (f"listeners?default_pool_id={pools[0]['id']}", ["l1"]),
            (f"pools?loadbalancer_id={second['id']}", ["p2"]),
            (f"pools?listener_id={listeners[0]['id']}", ["p1"]),
            ("pools?protocol=TCP", ["p2"]),
            (f"{members}?sort=protocol_port", ["m1", "m2", "m3"]),
            (f"{members}?sort=protocol_port:desc", ["m3", "m2", "m1"]),
            (f"{members}?protocol_port=2", ["m2"]),
            (f"{members}?backup=true", ["m3", "m2"]),
            (f"{members}?pool_id={NO_UUID}", ["m3", "m1", "m2"]),
            (f"healthmonitors?pool_id={pools[0]['id']}", ["hm"]),
            (f"healthmonitors?id={monitor['id']}", ["hm"]),
            ("healthmonitors?max_retries=4&sort=name", ["hm", "other"]),
            (f"l7policies?listener_id={listeners[0]['id']}", ["l7"]),
            ("l7policies?position=1", ["l7", "other"]),
        ):
            with self.subTest(path):
                self.assertEqual(expected, [each["name"] for each in self.listed(path)])
        self.assertEqual([rule["id"]], [each["id"] for each in self.listed(f"{rules}?invert=true&l7policy_id=x")])
        self.refused(400, "GET", "listeners?protocol_port=x")

    def test_fields(self) -> None:
        first = self.balancers[0]
        listener = self.add_listener(first)
        pool = self.add_pool(listener_id=listener["id"])
        objects = {
            "loadbalancers": first,
            "listeners": listener,
            "pools": pool,
            "healthmonitors": self.add_monitor(pool, type="HTTP"),
            "l7policies": self.add_policy(listener),
        }
        for plural, fields in FIELDS.items():
            singular = "l7policy" if plural == "l7policies" else plural[:-1]
            path = f"{plural}/{objects[plural]['id']}"
            shown = self.show(path, singular)
            for field in fields:
                with self.subTest(plural, field=field):
                    self.assertEqual({field: shown[field]}, self.listed(f"{plural}?fields={field}")[0])
                    self.assertEqual({field: shown[field]}, self.show(f"{path}?fields={field}", singular))
        two = self.listed("loadbalancers?admin_state_up=true&fields=id&fields=name&sort=name:desc&fields=unknown")
        self.assertEqual([{"id": each["id"], "name": each["name"]} for each in (self.balancers[2], first)], two)

    def pages(self, query: str) -> tuple[list[str], dict[str, str]]:
        """The names on it, and relation to query of the pages beside it."""
        body = self.get(f"{V2}/loadbalancers?{query}")
        links: list[Body] = body["loadbalancers_links"]
        for link in links:
            self.assertTrue(link["href"].startswith(f"http://localhost{V2}/loadbalancers?"), link)
        return [each["name"] for each in body["loadbalancers"]], {
            link["rel"]: urlsplit(link["href"]).query for link in links
        }

    def test_pages(self) -> None:
        self.assertEqual((["b", "a", "c"], {}), self.pages(""))
        seen: list[Any] = []
        query = "limit=1&sort=name:desc&admin_state_up=true"
        names, links = self.pages(query)
        while names:
            seen += names
            self.assertEqual("previous" in links, len(seen) > 1)
            back = links.get("previous")
            if back is not None:
                self.assertEqual(seen[-2:-1], self.pages(back)[0])
            names, links = self.pages(links["next"])
        self.assertEqual(["c", "b"], seen)
        self.assertEqual({}, links)
        last = self.balancers[2]["id"]
        self.assertEqual(["b", "a"], self.pages(f"marker={last}&page_reverse=True")[0])
        self.assertEqual(["a"], self.pages(f"marker={last}&page_reverse=True&limit=1")[0])
        for query in ("limit=0", "limit=-1", "limit=infinite"):
            self.assertEqual((["b", "a", "c"], {}), self.pages(query))
        self.assertEqual(3, len(self.pages("limit=5000")[0]))
        for query in ("limit=many", f"marker={NO_UUID}", "marker=x"):
            self.refused(400, "GET", f"loadbalancers?{query}")
