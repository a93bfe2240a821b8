"""LBaaS v1: filters, fields, sorting and pages."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlsplit

from tests.functional.lbaas_v1 import LB, LbaasV1Case
from tests.functional.lbaas_v2 import NO_UUID, Body

NOT_FILTERED = ("session_persistence", "health_monitors_status", "pools")


class TestLists(LbaasV1Case):
    worker = False

    def setUp(self) -> None:
        super().setUp()
        self.pools = [
            self.pool(name=name, description=f"about {name}", admin_state_up=up, protocol=protocol)
            for name, up, protocol in (("b", True, "HTTP"), ("a", False, "TCP"), ("c", True, "HTTP"))
        ]

    def names(self, query: str) -> str:
        return "".join(each["name"] for each in self.all(f"pools{query}"))

    def test_filters(self) -> None:
        first, second, third = self.pools
        for query, expected in (
            ("", "bac"),
            ("?name=a", "a"),
            ("?name=a&name=c", "ac"),
            ("?name=a&name=c&protocol=HTTP", "c"),
            ("?name=nothing", ""),
            ("?name=", "bac"),
            ("?name=&name=a", "a"),
            ("?nothing=1&verbose=True", "bac"),
            ("?admin_state_up=True", "bc"),
            ("?admin_state_up=1&admin_state_up=0", "bac"),
            ("?admin_state_up=false", "a"),
            (f"?id={first['id']}&id={third['id']}", "bc"),
            (f"?id={first['id'].replace('-', '').upper()}", "b"),
            ("?id=nonsense", ""),
            ("?description=about%20c", "c"),
            (f"?subnet_id={self.subnet_id}", "bac"),
            ("?status=PENDING_CREATE", "bac"),
            ("?tenant_id=default&lb_method=ROUND_ROBIN", "bac"),
            ("?tenant_id=other", ""),
            ("?provider=dummy", "bac"),
        ):
            with self.subTest(query):
                self.assertEqual(expected, self.names(query))
        for query in ("?admin_state_up=perhaps", "?admin_state_up=yes", "?name=%00"):
            self.no(400, "GET", f"pools{query}")
        vip = self.vip(second)
        self.assertEqual("a", self.names(f"?vip_id={vip['id']}"))
        member = self.member(third)
        self.assertEqual("c", self.names(f"?members={member['id']}"))

    def test_every_attribute_finds_its_object(self) -> None:
        pool = self.pools[0]
        self.associate(pool, self.monitor(type="HTTP"))
        self.member(pool)
        self.vip(pool, name="vip", description="d", session_persistence={"type": "SOURCE_IP"})
        for plural in ("pools", "vips", "members", "health_monitors"):
            shown = self.all(plural)[0]
            for name, value in shown.items():
                if value in (None, "", []) or name in NOT_FILTERED:
                    continue
                query = quote(str(value[0] if isinstance(value, list) else value))
                with self.subTest(plural, name=name):
                    found = self.all(f"{plural}?{name}={query}")
                    self.assertIn(shown["id"], [each["id"] for each in found])
        for query in ("members?weight=x", "vips?protocol_port=http", "health_monitors?delay=1.5"):
            self.no(400, "GET", query)

    def test_fields(self) -> None:
        pool = self.one(f"pools/{self.pools[0]['id']}")
        objects: dict[str, Body] = {
            "pools": pool,
            "vips": self.vip(self.pools[0]),
            "members": self.member(self.pools[2]),
            "health_monitors": self.monitor(type="HTTP"),
        }
        for plural, shown in objects.items():
            shown = self.one(f"{plural}/{shown['id']}")  # noqa: PLW2901 - as it is now
            for name, value in shown.items():
                with self.subTest(plural, field=name):
                    self.assertEqual({name: value}, self.one(f"{plural}/{shown['id']}?fields={name}"))
                    self.assertEqual({name: value}, self.all(f"{plural}?id={shown['id']}&fields={name}")[0])
        two = self.all("pools?fields=id&fields=name&fields=nothing&name=a")
        self.assertEqual([{"id": self.pools[1]["id"], "name": "a"}], two)
        # Empty ones choose nothing.
        pool = self.one(f"pools/{pool['id']}")
        self.assertEqual([pool], self.all(f"pools?fields=&id={pool['id']}"))
        self.assertEqual(pool, self.one(f"pools/{pool['id']}?fields="))

    def test_order(self) -> None:
        for query, expected in (
            ("?sort_key=name&sort_dir=asc", "abc"),
            ("?sort_key=name&sort_dir=desc", "cba"),
            ("?sort_key=admin_state_up&sort_dir=desc&sort_key=name&sort_dir=asc", "bca"),
        ):
            self.assertEqual(expected, self.names(query))
        for query in ("?sort_key=name", "?sort_dir=asc", "?sort_key=no&sort_dir=asc", "?sort_key=name&sort_dir=up"):
            self.no(400, "GET", f"pools{query}")

    def page(self, query: str) -> tuple[str, dict[str, str]]:
        """The names on it, and relation to query of the pages beside it."""
        body = self.get(f"{LB}/pools{query}")
        links: list[Any] = body.get("pools_links", [])
        for link in links:
            self.assertTrue(link["href"].startswith(f"http://localhost{LB}/pools?"), link)
        names = "".join(each["name"] for each in body["pools"])
        return names, {link["rel"]: "?" + urlsplit(link["href"]).query for link in links}

    def test_pages(self) -> None:
        for query in ("", "?limit=0", "?limit=0&marker="):
            self.assertEqual({"pools"}, set(self.get(f"{LB}/pools{query}")))
        seen = ""
        query = "?limit=1&sort_key=name&sort_dir=desc&admin_state_up=True"
        for _ in range(2):
            names, links = self.page(query)
            self.assertEqual({"next", "previous"}, set(links))
            seen += names
            query = links["next"]
        self.assertEqual(("cb", ("", {})), (seen, self.page(query)))
        names, links = self.page("?limit=2&sort_key=name&sort_dir=asc")
        self.assertEqual("ab", names)
        names, links = self.page(links["next"])
        # It is shorter than the limit: the last one.
        self.assertEqual(("c", {"previous"}), (names, set(links)))
        names, links = self.page(links["previous"])
        self.assertEqual(("ab", {"next", "previous"}), (names, set(links)))
        self.assertEqual(("", {}), self.page(links["previous"]))
        self.assertEqual(("bac", {"previous"}), (self.page("?limit=9")[0], set(self.page("?limit=9")[1])))
        self.assertEqual(("", {}), self.page(f"?limit=1&marker={NO_UUID}"))
        self.assertEqual(self.page("?limit=1")[0], self.page("?limit=1&marker=")[0])
        for query in ("?limit=-1", "?limit=many"):
            self.no(400, "GET", f"pools{query}", kind="BadRequest")
