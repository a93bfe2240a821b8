"""The last line of defence before haproxy.cfg, a shell and sudoers."""

from __future__ import annotations

import unittest
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from balancer.core.model import HttpCheck, MonitorType, PersistenceKind, SessionPersistence, VirtualIp
from balancer.drivers.haproxy import names, render
from balancer.exceptions import InvalidInput
from tests.golden.builders import DEVICE, balancer, member, monitor, oid

EVIL = ("a\nb", "a b", "a'b\n", "", "x" * 5000, "${HOME}", "a;b", "\x00", "ü", "$(id)", "../x", "a#b")


class TestGrammars(unittest.TestCase):
    def refuse(self, check: Callable[..., Any], *values: Any) -> None:
        for value in values:
            with self.subTest(check=check.__name__, value=value), self.assertRaises(InvalidInput) as caught:
                check(value, "field")
            self.assertEqual("field", caught.exception.field)

    def test_what_is_refused(self) -> None:
        self.refuse(names.object_id, *EVIL, "D" * 32, "d" * 31, 7)
        self.refuse(names.cookie, *EVIL, "a=b", "a,b")
        self.refuse(names.method, *EVIL, "get", "GET /")
        self.refuse(names.http_path, *EVIL, "x", "/a b", "/\n", "/ü")
        self.refuse(names.host, *EVIL, "-a", "a_b:80")
        self.refuse(names.login, *EVIL, "-x", "a:b", "user%")
        self.refuse(names.interface, *EVIL, "eth0 up", "x" * 16, "-d")
        self.refuse(names.file_path, *EVIL, "x", "/", "/a/", "/a//b", "/a/../b", "/a/./b", "/a b", "/a*", "/a,b")
        self.refuse(names.socket_path, "/" + "x" * 91)
        self.refuse(
            names.ip, *EVIL, "1.2.3", "*", "1.2.3.4/24", "fe80::1%eth0", "fe80::1", "::ffff:1.2.3.4", "www.example.com"
        )
        self.refuse(names.network, *EVIL, "10.0.0.0/33", "::1%x/128", "::1%\n/128", "fe80::1%eth0")
        self.refuse(names.codes, *EVIL, "abc", "99", "600", "204-200", "200,", "200-", "200;201")
        self.refuse(names.port, 0, 65536, -1, True, "80", 1.5)
        self.refuse(names.seconds, 0, -1, 24 * 86400 + 1, float("nan"), float("inf"), True, "5")

    def test_what_is_allowed(self) -> None:
        self.assertEqual("/var/lib/.x/a+b-c_d.cfg", names.file_path("/var/lib/.x/a+b-c_d.cfg", "f"))
        self.assertEqual("200,202-204", names.codes("200, 202-204", "f"))
        self.assertEqual(
            ("5s", "1500ms", "1ms", "2073600s"),
            tuple(names.seconds(each, "f") for each in (5, 1.5, 0.0001, 24 * 86400)),
        )
        self.assertEqual("[2001:db8::1]:80", names.endpoint("2001:DB8:0::1", 80))

    @given(st.text(max_size=60))
    def test_quoting_makes_one_word_of_anything_it_lets_through(self, text: str) -> None:
        try:
            quoted = names.quote(text)
        except InvalidInput:
            self.assertRegex(text, r"[^\x20-\x7e]")
            return
        pieces = quoted.removeprefix("'").removesuffix("'").split("'\"'\"'")
        self.assertEqual(text, "'".join(pieces))
        self.assertTrue(all("'" not in piece for piece in pieces))


class TestNothingEvilIsRendered(unittest.TestCase):
    """Each free value of the model is refused by the renderer, whatever the API let through."""

    def test_every_field(self) -> None:
        for value in ("x\n    server evil 192.0.2.66:80", "1 backup", "'\n", "${HOME}"):
            http = monitor(1, MonitorType.HTTP)
            for what, one, monitors in (
                ("address", balancer(member(1, address=value)), ()),
                ("id", balancer(member(1, id=value)), ()),
                ("virtual ip", balancer(virtual_ips=(VirtualIp(id=oid(1), address=value),)), ()),
                ("listener", balancer(listener={"id": value}), ()),
                ("cidr", balancer(listener={"allowed_cidrs": (value,)}), ()),
                (
                    "cookie",
                    balancer(
                        persistence=SessionPersistence(id=oid(9), kind=PersistenceKind.APP_COOKIE, cookie_name=value)
                    ),
                    (),
                ),
                (
                    "cookie value",
                    balancer(
                        member(1, cookie=value),
                        persistence=SessionPersistence(id=oid(9), kind=PersistenceKind.HTTP_COOKIE),
                    ),
                    (),
                ),
                ("path", balancer(monitors=(http,)), (replace(http, http=HttpCheck(path=value)),)),
                ("method", balancer(monitors=(http,)), (replace(http, http=HttpCheck(method=value)),)),
                ("codes", balancer(monitors=(http,)), (replace(http, http=HttpCheck(expected_codes=value)),)),
                ("host", balancer(monitors=(http,)), (replace(http, http=HttpCheck(domain_name=value)),)),
                ("version", balancer(monitors=(http,)), (replace(http, http=HttpCheck(version=value)),)),
                (
                    "monitor address",
                    balancer(member(1, monitor_address=value), monitors=(http,)),
                    (http,),
                ),
            ):
                with self.subTest(what=what, value=value), self.assertRaises(InvalidInput):
                    render.block(one, monitors, device_id=DEVICE.id)
            with self.assertRaises(InvalidInput):
                render.head(replace(DEVICE, socket=f"/run/{value}"), ())
            with self.assertRaises(InvalidInput):
                render.head(replace(DEVICE, endpoint=replace(DEVICE.endpoint, username=value)), ())

    def test_tenants_texts_never_reach_the_file(self) -> None:
        text = "a tenant's text\n    nonsense"
        one = balancer(member(1, name=text, extras={"x": text}), name=text, description=text, extras={"y": text})
        one = replace(one, pools=tuple(replace(each, name=text) for each in one.pools))
        self.assertNotIn("tenant", render.block(one, (), device_id=DEVICE.id).text)
