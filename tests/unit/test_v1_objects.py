"""The balancer API's objects and the model, both ways, and the spelling of what was sent."""

from __future__ import annotations

import unittest
from dataclasses import replace
from types import MappingProxyType
from typing import Any, TypeVar

from jsonschema import Draft202012Validator

from balancer.api import terms
from balancer.api.v1 import names, objects, parse, schemas, views
from balancer.api.v1.objects import Balancer, Kind, ListenerAt
from balancer.api.v1.parse import unwrapped
from balancer.api.validation import FORMATS
from balancer.core.model import (
    Algorithm,
    Capabilities,
    HealthMonitor,
    HttpCheck,
    Listener,
    LoadBalancer,
    Member,
    MonitorType,
    PersistenceKind,
    Pool,
    Protocol,
    Rotation,
    SessionPersistence,
    Statistics,
    Tree,
    VirtualIp,
)
from balancer.exceptions import Conflict, InvalidInput

_T = TypeVar("_T")
ID = "0" * 32
EVERYTHING = Capabilities(algorithms=tuple(Algorithm), protocols=tuple(Protocol))


def known_persistence() -> SessionPersistence:
    return replace(objects.new_persistence(), kind=PersistenceKind.HTTP_COOKIE)


# Each kind, an object of it, and for every field that is in the model a value that the object does not have.
KINDS: tuple[tuple[Kind[Any], Any, dict[str, Any]], ...] = (
    (
        objects.DEVICE,
        objects.DEVICE.read({"name": "d", "type": "dummy", "ip": "192.0.2.1", "user": "u", "password": "p"}).on(
            objects.new_device()
        ),
        {
            "name": "other",
            "type": "haproxy",
            "version": "2",
            "ip": "192.0.2.2",
            "port": 23,
            "user": "v",
            "password": "q",
            "private_key": "k",
            "key_filename": "/k",
            "host_key": "ssh-ed25519 " + "A" * 68,
            "capabilities": {"algorithms": ["ROUND_ROBIN"], "protocols": ["TCP"]},
            "supports_ipv6": True,
            "remote_config_path": "/etc/haproxy.cfg",
            "interface": "eth1",
            "vip_ranges": ["192.0.2.0/28"],
            "socket": "/run/x.sock",
            "admin_state": "DRAINED",
        },
    ),
    (objects.BALANCER, objects.new_balancer("p"), {"name": "n", "algorithm": "HASH_URI", "protocol": "HTTP"}),
    (
        objects.NODE,
        objects.new_member(),
        {
            "name": "n",
            "address": "192.0.2.1",
            "port": 1,
            "weight": 2,
            "status": "DRAIN",
            "condition": "DISABLED",
            "maxCon": 1,
            "maxconn": 1,
            "minCon": 1,
            "minconn": 1,
            "inter": "1s",
            "rise": 1,
            "fall": 1,
            "slowstart": "1s",
            "backup": True,
            "cookie": "c",
        },
    ),
    (
        objects.VIRTUAL_IP,
        ListenerAt(
            objects.new_virtual_ip(Protocol.TCP, ID).listener, VirtualIp(id=ID, address="192.0.2.1", prefix_length=8)
        ),
        {"name": "n", "address": "192.0.2.2", "mask": 24, "port": 1, "protocol": "HTTP"},
    ),
    (
        objects.HEALTH_MONITORING,
        replace(objects.new_monitor("p"), type=MonitorType.HTTP, http=HttpCheck()),
        {
            "name": "n",
            "type": "ICMP",
            "delay": 7,
            "timeout": 7,
            "attemptsBeforeDeactivation": 7,
            "attemptsDeforeDeactivation": 7,
            "method": "HEAD",
            "path": "/x",
            "url": "/x",
            "expected": "204",
            "status": "204",
        },
    ),
    (
        objects.SESSION_PERSISTENCE,
        known_persistence(),
        {"type": "SOURCE_IP", "cookie_name": "c", "timeout": 7},
    ),
)
# Checked against the address, which is what is stored.
DERIVED = {("virtualIp", "ipVersion")}


class TestSchemas(unittest.TestCase):
    def test_they_are_schemas(self) -> None:
        for kind, _, _ in KINDS:
            Draft202012Validator.check_schema(kind.reader.schema)

    def test_every_field_is_explained(self) -> None:
        for kind, _, _ in KINDS:
            title = kind.reader.schema["title"]
            for name, field in kind.reader.properties.items():
                self.assertTrue(field.get("description"), (title, name))
                if "format" in field:
                    self.assertIn(field["format"], FORMATS)
                if "pattern" in field and not field.get("readOnly"):
                    self.assertIn("x-pattern", field)
                if title != "device" and not field.get("readOnly"):
                    self.assertTrue(field.get("x-haproxy"), (title, name))

    def test_text_is_never_unbounded(self) -> None:
        """Whatever text a caller can store has a grammar, a list of values, or at least no control characters."""
        for kind, _, _ in KINDS:
            for name, field in kind.reader.properties.items():
                if "string" in field.get("type", "") and not field.get("readOnly"):
                    self.assertTrue({"format", "pattern", "enum"} & set(field), name)
                    if field.get("format") in ("text", "multiline", "http-path", "http-codes"):
                        self.assertIn("maxLength", field, name)

    def test_every_field_has_the_effect_that_its_schema_says(self) -> None:
        """A field is read only, or stored as it is, or changes the model: there is no fourth."""
        for kind, item, changes in KINDS:
            title = kind.reader.schema["title"]
            for name, field in kind.reader.properties.items():
                if field.get("readOnly") or field.get("x-stored") or (title, name) in DERIVED:
                    self.assertNotIn(name, changes)
                    continue
                values = kind.reader.read({name: changes[name]}, partial=True)
                self.assertNotEqual(item, kind.apply(item, values), (title, name))

    def test_stored_fields_have_none(self) -> None:
        for kind, item, _ in KINDS:
            for name, field in kind.reader.properties.items():
                if field.get("x-stored"):
                    self.assertEqual(item, kind.apply(item, {name: "x"}), name)

    def test_the_canonical_view_can_be_read_again(self) -> None:
        for kind, item, changes in KINDS:
            for name, value in changes.items():
                changed = kind.apply(item, kind.reader.read({name: value}, partial=True))
                shown = {
                    key: value
                    for key, value in kind.show(changed).items()
                    if value not in ("", 0) or key in ("supports_ipv6",)
                }
                self.assertEqual(changed, kind.apply(changed, kind.reader.read(shown, partial=True)), (name, shown))


class TestNames(unittest.TestCase):
    def test_every_word_of_the_model_has_one(self) -> None:
        for table, words in (
            (terms.ALGORITHMS, Algorithm),
            (names.MONITOR_TYPES, MonitorType),
            (names.ROTATIONS, Rotation),
        ):
            self.assertEqual(set(words), set(table))
            self.assertEqual(len(table), len(set(table.values())))
        for synonyms, known in (
            (names.ALGORITHM_SYNONYMS, terms.ALGORITHMS.values()),
            (names.MONITOR_TYPE_SYNONYMS, names.MONITOR_TYPES.values()),
            (names.PERSISTENCE_SYNONYMS, names.PERSISTENCE_KINDS),
            (names.ROTATION_SYNONYMS, names.ROTATIONS.values()),
        ):
            self.assertLessEqual(set(synonyms.values()), set(known))


class TestAsSent(unittest.TestCase):
    def node(self, **sent: Any) -> Member:
        return objects.NODE.read({"address": "192.0.2.1", "port": 80, **sent}).on(objects.new_member())

    def change(self, member: Member, **sent: Any) -> Member:
        return objects.NODE.read(sent, partial=True).on(member)

    def test_only_what_differs_is_kept(self) -> None:
        member = self.node(port=80, weight="1", status="INSERVICE", condition="enabled", vm_id="v", x=None)
        self.assertEqual({"weight": "1", "condition": "enabled", "vm_id": "v", "x": None}, dict(member.extras))
        self.assertEqual({}, dict(self.node(port=80, weight=1).extras))

    def test_true_is_not_one(self) -> None:
        member = self.node(x=True, y=1, z=1.0)
        member = self.change(member, x=1, y=1.0, z=True)
        self.assertEqual("{'x': 1, 'y': 1.0, 'z': True}", str(dict(member.extras)))

    def test_a_spelling_holds_as_long_as_its_value(self) -> None:
        member = self.node(weight="7", port="0080")
        self.assertEqual(("7", "0080"), tuple(objects.NODE.view(member)[k] for k in ("weight", "port")))
        # Changed where spellings are not known, say in another dialect.
        member = replace(member, weight=8)
        self.assertEqual((8, "0080"), tuple(objects.NODE.view(member)[k] for k in ("weight", "port")))
        member = replace(member, weight=7)
        self.assertEqual("7", objects.NODE.view(member)["weight"])

    def test_the_canonical_form_ends_a_spelling(self) -> None:
        member = self.change(self.node(weight="7"), weight=7)
        self.assertEqual({}, dict(member.extras))

    def test_an_alias_stands_in_for_its_field(self) -> None:
        view = objects.NODE.view(self.node(maxconn=5))
        self.assertEqual((5, None), (view["maxconn"], view.get("maxCon")))
        view = objects.NODE.view(self.node(maxconn="5", maxCon=5))
        self.assertEqual(("5", 5), (view["maxconn"], view["maxCon"]))
        view = objects.NODE.view(self.change(self.node(maxconn=5), maxCon=6))
        self.assertEqual((None, 6), (view.get("maxconn"), view["maxCon"]))

    def test_what_loses_precision_is_shown_as_sent_and_applied_rounded_up(self) -> None:
        member = self.node(slowstart="1500")
        self.assertEqual((2, "1500"), (member.limits.slow_start, objects.NODE.view(member)["slowstart"]))

    def test_extras_of_a_past_release_do_no_harm(self) -> None:
        member = replace(self.node(), extras=MappingProxyType({"weight": "heavy", "port": None, "gone": 1}))
        view = objects.NODE.view(member)
        self.assertEqual((1, 80, 1), (view["weight"], view["port"], view["gone"]))

    def test_a_read_only_field_is_never_kept(self) -> None:
        member = self.node(id="mine", deployed="True")
        self.assertEqual({}, dict(member.extras))
        self.assertNotEqual("mine", objects.NODE.view(member)["id"])


class TestUnwrapping(unittest.TestCase):
    def test_shapes(self) -> None:
        for body, expected in (
            ({"node": {"a": 1}}, ({"a": 1}, "node")),
            ({"a": 1}, ({"a": 1}, "")),
            ({}, ({}, "")),
            ({"a": 1, "node": "text"}, ({"a": 1, "node": "text"}, "")),
        ):
            self.assertEqual(expected, unwrapped(body, "node"))
        for bad in ({"node": 5}, {"node": {}, "a": 1}, {"node": None}):
            with self.assertRaises(InvalidInput):
                unwrapped(bad, "node")


def tree(**fields: Any) -> Tree:
    return Tree(load_balancer=LoadBalancer(id=ID, project_id="p", device_id="d", **fields))


class TestOtherDialects(unittest.TestCase):
    """Objects made elsewhere are shown as far as there are words for them; what cannot be expressed is not changed."""

    POOLS = tuple(
        Pool(
            id=str(number) * 32,
            protocol=Protocol.PROXYV2,
            algorithm=Algorithm.SOURCE_IP_PORT,
            members=(Member(id=str(number) * 31 + "f", address="192.0.2.1", port=1, monitor_port=5),),
            session_persistence=SessionPersistence(id=str(number) * 32, kind=PersistenceKind.SOURCE_IP),
        )
        for number in range(2)
    )
    VIPS = (VirtualIp(id="a" * 32, address="192.0.2.1"), VirtualIp(id="b" * 32, address="2001:db8::1"))
    LISTENER = Listener(id="c" * 32, protocol=Protocol.TERMINATED_HTTPS, port=443, tls={"x": 1})
    MONITOR = HealthMonitor(id="e" * 32, project_id="p", type=MonitorType.TLS_HELLO, delay=1.5, timeout=1)

    def test_reads_are_total(self) -> None:
        nothing = views.details(tree(), {}, Statistics(), whole=True)
        self.assertEqual([], nothing["nodes"])
        listeners = (self.LISTENER, replace(self.LISTENER, id="d" * 32, virtual_ip_ids=("b" * 32,)))
        full = replace(tree(pools=self.POOLS, virtual_ips=self.VIPS, listeners=listeners), monitors=(self.MONITOR,))
        view = views.details(full, {}, Statistics(), whole=True)
        self.assertEqual("SOURCE_IP_PORT", view["algorithm"])
        self.assertEqual(2, len(view["nodes"]))
        self.assertEqual(2, len(view["sessionPersistence"]))
        self.assertEqual(["192.0.2.1", "2001:db8::1"], [vip["address"] for vip in view["virtualIps"]])
        self.assertEqual("TLS-HELLO", view["healthMonitor"][0]["type"])
        self.assertEqual((1.5, 1), (view["healthMonitor"][0]["delay"], view["healthMonitor"][0]["timeout"]))
        self.assertEqual("c" * 32, views.virtual_ips(tree(listeners=listeners), Statistics())[0]["id"])

    def test_changes_that_cannot_be_expressed(self) -> None:
        node = {"address": "192.0.2.9", "port": 9}
        several = tree(pools=self.POOLS, virtual_ips=self.VIPS, listeners=(self.LISTENER,))
        for change in (
            parse.load_balancer_change({"name": "x"}, EVERYTHING),
            parse.nodes({"nodes": [node]})[1],
            parse.node_change("0" * 31 + "f", {"weight": 1}),
            parse.node_status_change("0" * 31 + "f", "drain"),
            parse.without_node("0" * 31 + "f"),
            parse.virtual_ip({**node}, EVERYTHING)[1],
            parse.virtual_ip_change("c" * 32, {"port": 1}, EVERYTHING),
            parse.health_monitoring({"type": "TCP"}, "p")[1],
            parse.session_persistence({"type": "SOURCE_IP"})[1],
            parse.without_session_persistence("0" * 32),
        ):
            for other in (several, tree(virtual_ips=self.VIPS, listeners=(self.LISTENER,))):
                with self.assertRaises(Conflict):
                    change(other)

    def test_a_change_leaves_alone_what_this_dialect_does_not_know(self) -> None:
        pool = replace(self.POOLS[0], protocol=Protocol.TCP)
        listener = replace(
            self.LISTENER,
            virtual_ip_ids=("a" * 32,),
            default_pool_id=pool.id,
            protocol=Protocol.HTTP,
            insert_headers={"X-Forwarded-Port": "true"},
        )
        before = tree(pools=(pool,), virtual_ips=self.VIPS[:1], listeners=(listener,), description="d")
        changed = parse.node_change("0" * 31 + "f", {"weight": 5})(before)
        changed = parse.virtual_ip_change("c" * 32, {"port": 444}, EVERYTHING)(changed)
        changed = parse.load_balancer_change({"name": "n"}, EVERYTHING)(changed)
        (member,) = changed.load_balancer.pools[0].members
        self.assertEqual((5, 5), (member.weight, member.monitor_port))
        self.assertEqual((replace(listener, port=444),), changed.load_balancer.listeners)
        self.assertEqual(("n", "d"), (changed.load_balancer.name, changed.load_balancer.description))


class TestBalancerWithoutPool(unittest.TestCase):
    def test_view(self) -> None:
        self.assertEqual({"id": ID, "name": ""}, objects.BALANCER.view(Balancer(tree().load_balancer, None)))
        self.assertIn("algorithm", schemas.LOAD_BALANCER["properties"])
