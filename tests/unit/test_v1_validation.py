"""Reading objects by their schemas: coercion, canonical forms, messages."""

from __future__ import annotations

import unittest
from typing import Any

from balancer.api.validation import FORMATS, Reader, below, names_it, object_id
from balancer.core.model import AddressRange
from balancer.exceptions import InvalidInput

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["port"],
    "properties": {
        "id": {"readOnly": True},
        "port": {"type": "integer", "minimum": 1, "maximum": 9},
        "share": {"type": "number", "minimum": 0.5, "default": 1},
        "on": {"type": "boolean", "default": True},
        "text": {"type": "string", "format": "text", "maxLength": 5, "minLength": 1},
        "code": {"type": ["string", "integer"], "format": "text"},
        "kind": {"type": "string", "enum": ["ROUND_ROBIN", "HASH"], "x-synonyms": {"SOURCE_IP": "HASH"}},
        "Kind": {"type": "string", "enum": ["ROUND_ROBIN", "HASH"], "x-alias-of": "kind"},
        "list": {"type": "array", "x-single": True, "maxItems": 2, "items": {"type": "integer"}},
        "word": {"type": "string", "pattern": "^[a-z]+$", "x-pattern": "small letters"},
        "secret": {"type": "string", "writeOnly": True, "maxLength": 3},
        "inner": {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}},
    },
}
READER = Reader(SCHEMA)


class TestCoercion(unittest.TestCase):
    def test_values(self) -> None:
        for field, sent, canonical in (
            ("port", "8", 8),
            ("port", "+8", 8),
            ("port", "08", 8),
            ("port", 8.0, 8),
            ("share", "2.5", 2.5),
            ("share", 3, 3),
            ("on", "False", False),
            ("on", "yes", True),
            ("on", 0, False),
            ("on", "1", True),
            ("code", 200, "200"),
            ("code", "x", "x"),
            ("kind", "RoundRobin", "ROUND_ROBIN"),
            ("kind", "round-robin", "ROUND_ROBIN"),
            ("kind", "source_ip", "HASH"),
            ("list", "5", [5]),
            ("list", [1, "2"], [1, 2]),
            ("inner", {"a": "5", "b": "5"}, {"a": 5, "b": "5"}),
        ):
            values = READER.read({field: sent}, partial=True)
            self.assertEqual({field: canonical}, values, (field, sent))
            self.assertIs(type(canonical), type(values[field]), (field, sent))

    def test_defaults_only_for_whole_objects(self) -> None:
        self.assertEqual({"port": 1, "share": 1, "on": True}, READER.read({"port": 1}))
        self.assertEqual({}, READER.read({}, partial=True))

    def test_null_stands_for_the_default(self) -> None:
        for partial in (True, False):
            values = READER.read({"port": 1, "on": None, "text": None, "Kind": None}, partial=partial)
            self.assertEqual((True, None, None), (values["on"], values["text"], values["kind"]))

    def test_what_is_not_known_or_not_the_callers_is_left_out(self) -> None:
        self.assertEqual({}, READER.read({"id": {"x": 1}, "unknown": 5}, partial=True))

    def test_an_alias_is_its_field(self) -> None:
        self.assertEqual({"kind": "HASH"}, READER.read({"Kind": "hash"}, partial=True))
        self.assertEqual({"kind": "HASH"}, READER.read({"Kind": "hash", "kind": "SOURCE_IP"}, partial=True))


class TestMessages(unittest.TestCase):
    def test_field_and_allowed_values(self) -> None:
        for sent, field, message in (
            ({}, "port", "port is required"),
            ({"port": None}, "port", "port is required"),
            ({"port": 0}, "port", "port must be between 1 and 9, not 0"),
            ({"port": "x"}, "port", 'port must be an integer, not "x"'),
            ({"port": True}, "port", "port must be an integer, not true"),
            ({"port": []}, "port", "port must be an integer"),
            ({"share": 0.1}, "share", "share must be at least 0.5, not 0.1"),
            ({"on": "x"}, "on", 'on must be true or false, not "x"'),
            ({"text": "a\nb"}, "text", 'text must be text without control characters, not "a\\nb"'),
            ({"text": ""}, "text", 'text must not be empty, not ""'),
            ({"text": "123456"}, "text", 'text must have at most 5 characters, not "123456"'),
            ({"text": 5}, "text", "text must be text, not 5"),
            ({"code": []}, "code", "code must be text or an integer"),
            ({"kind": "x"}, "kind", 'kind must be one of ROUND_ROBIN, HASH, not "x"'),
            ({"list": [1, 2, 3]}, "list", "list must have between 0 and 2 items"),
            ({"list": [1, "x"]}, "list[1]", 'list[1] must be an integer, not "x"'),
            ({"word": "A"}, "word", 'word must be small letters, not "A"'),
            ({"word": "a\n"}, "word", 'word must be small letters, not "a\\n"'),
            ({"secret": "hush"}, "secret", "secret must have at most 3 characters"),
            ({"inner": {}}, "inner.a", "inner.a is required"),
            ({"inner": {"a": "x"}}, "inner.a", 'inner.a must be an integer, not "x"'),
            ({"kind": "HASH", "Kind": "ROUND_ROBIN"}, "Kind", "Kind contradicts kind"),
        ):
            with self.subTest(sent=sent):
                with self.assertRaises(InvalidInput) as caught:
                    READER.read({"port": 1, **sent} if sent else sent)
                self.assertEqual((field, message), (caught.exception.field, str(caught.exception)))

    def test_the_path_in_front(self) -> None:
        with self.assertRaises(InvalidInput) as caught:
            READER.read({"port": 0}, path="nodes[1]")
        self.assertEqual("nodes[1].port", caught.exception.field)
        self.assertTrue(str(caught.exception).startswith("nodes[1].port must be"))
        for field, expected in (("port", "nodes[1].port"), ("", "nodes[1]")):
            with self.assertRaises(InvalidInput) as caught, below("nodes[1]"):
                raise InvalidInput("port is bad", field=field)
            self.assertEqual(expected, caught.exception.field)


class TestFormats(unittest.TestCase):
    def test_canonical_forms(self) -> None:
        for name, sent, canonical in (
            ("text", "größer ☃", "größer ☃"),
            ("multiline", "a\nb\r\nc\n", "a\nb\r\nc\n"),
            ("member-address", "2001:DB8::0:1", "2001:db8::1"),
            ("member-address", "127.0.0.1", "127.0.0.1"),
            ("listen-address", "0.0.0.0", "*"),
            ("listen-address", "", "*"),
            ("listen-address", "*", "*"),
            ("listen-address", "::", "::"),
            ("listen-address", "2001:DB8::1", "2001:db8::1"),
            ("host", "2001:DB8::1", "2001:db8::1"),
            ("host", "haproxy-1.example.org", "haproxy-1.example.org"),
            ("host", "localhost", "localhost"),
            ("address-range", "192.0.2.0/28", AddressRange(first="192.0.2.0", last="192.0.2.15")),
            ("address-range", "192.0.2.1 - 192.0.2.9", AddressRange(first="192.0.2.1", last="192.0.2.9")),
            ("address-range", "2001:DB8::1", AddressRange(first="2001:db8::1", last="2001:db8::1")),
            ("netmask", "255.255.255.0", 24),
            ("netmask", "0.0.0.0", 0),
            ("netmask", "255.255.255.255", 32),
            ("netmask", "/64", 64),
            ("netmask", "128", 128),
            ("http-path", "/a/b?c=d&e=%20", "/a/b?c=d&e=%20"),
            ("http-codes", "200, 202-204", "200,202-204"),
            ("duration", "2000", 2000),
            ("duration", "500ms", 500),
            ("duration", "2s", 2000),
            ("duration", "23d", 23 * 86_400_000),
            ("object-id", "0" * 8 + "-AAAA-0000-0000-" + "0" * 12, "0" * 8 + "aaaa" + "0" * 20),
        ):
            self.assertEqual(canonical, FORMATS[name].canonical(sent), (name, sent))

    def test_refused(self) -> None:
        for name, texts in {
            "text": ["\n", "a\x00", "\u2028", "\x9f", "\ud800"],
            "multiline": ["a\x00", "a\tb\x0b", "\x1b"],
            "member-address": ["1.2.3", "", "*", "0.0.0.0", "::", "fe80::1%1", "224.0.0.1", "1.2.3.4\n"],
            "listen-address": ["1.2.3", "ff02::1", "fe80::1%1", "255.255.255.255", " "],
            "host": ["1.2.3", "1.2.3.4.5", "-a", "a-", "a..b", "a b", "", ".", "a" * 64, "a\n"],
            "address-range": ["", "x", "1.2.3.4/24", "1.2.3.4-", "1.2.3.4-1.2.3.3", "1.2.3.4-::5", "::1%1", "::1\n"],
            "netmask": ["255.0.255.0", "0.0.0.255", "129", "", "x", "/", "24\n", "1" * 5000],
            "http-path": ["", "a", "/ ", "/'", '/"', "/\\", "/#", "/\n", "/a\n", "/ü"],
            "http-codes": ["", "20", "2xx", "200,", ",200", "600", "204-200", "200-", "200\n"],
            "duration": ["", "0", "-1", "1.5", "2w", "24d1", "25d", "1 s", "5\n"],
            "object-id": ["", "0" * 31, "0" * 33, "g" * 32, "{" + "0" * 32 + "}", "0" * 32 + "\n"],
        }.items():
            for text in texts:
                with self.assertRaises(ValueError, msg=(name, text)):
                    FORMATS[name].canonical(text)

    def test_ids(self) -> None:
        self.assertEqual("ab" * 16, object_id("AB" * 16))

    def test_spellings_of_names(self) -> None:
        for text in ("ROUND_ROBIN", "RoundRobin", "round-robin", "roundrobin"):
            self.assertTrue(names_it(text, "ROUND_ROBIN"), text)
        for text in ("round robin", "ROUND__ROBIN", "RO_UNDROBIN", " ROUNDROBIN", "ROUND_ROBIN\n", "ROUND"):
            self.assertFalse(names_it(text, "ROUND_ROBIN"), text)
        self.assertTrue(names_it("get", "GET"))
        for text in ("G ET", "G_ET", "G-ET", "GET ", "gEt\n"):
            self.assertFalse(names_it(text, "GET"), text)
