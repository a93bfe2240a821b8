"""Nothing that is stored can become another line, section or directive of haproxy.cfg.

The text is taken apart here by HAProxy's own rules for words, and compared word by word with that of a twin which has
harmless values; HAProxy then reads what was made.
"""

from __future__ import annotations

import ipaddress
import subprocess
import tempfile
import unittest
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.core.model import (
    HealthMonitor,
    HttpCheck,
    L7Policy,
    L7Rule,
    Listener,
    LoadBalancer,
    MonitorType,
    Observation,
    PersistenceKind,
    Protocol,
    SessionPersistence,
    Timeouts,
    VirtualIp,
)
from balancer.drivers.haproxy import names, render
from balancer.exceptions import InvalidInput
from tests.golden.builders import DEVICE, balancer, member, monitor, oid
from tests.hostile import FRONTS, LINE_ENDS, MARK, QUOTES, corpus

CORPUS = tuple(corpus())


# --- haproxy.cfg in words --------------------------------------------------------


def words(line: str) -> list[str]:
    """The words of one line, as HAProxy's configuration manual has them: quotes, backslashes, remarks."""
    found: list[str] = []
    word: str | None = None
    quote = ""
    position = 0
    while position < len(line):
        char = line[position]
        position += 1
        if char == "\\" and quote != "'":
            word = (word or "") + line[position : position + 1]
            position += 1
        elif char == quote:
            quote = ""
        elif quote:
            # Within weak quotes a $ is still read specially; nothing of ours may have one there but the peer's name.
            word = (word or "") + char
        elif char in "'\"":
            quote, word = char, word or ""
        elif char == "#":
            break
        elif char in " \t":
            if word is not None:
                found.append(word)
            word = None
        else:
            word = (word or "") + char
    assert not quote, line
    return found if word is None else [*found, word]


def parse(text: str) -> list[list[str]]:
    """All lines of a text as words. A line ends at LF only."""
    assert not text or text.endswith("\n")
    assert "\0" not in text and "\r" not in text
    return [words(line) for line in text.split("\n")[:-1]]


# --- where text can stand ---------------------------------------------------------

NOTHING: Mapping[str, str] = {}
Made = tuple[LoadBalancer, tuple[HealthMonitor, ...]]


def everything(text: Mapping[str, str] = NOTHING, number: int = 0) -> Made:
    """A load balancer with all there is, unlike that of another number. `text` replaces one value or another."""
    base = number * 0x10000
    port = 1024 + number % 60000

    def value(name: str, harmless: str) -> str:
        return text.get(name, harmless)

    http = HttpCheck(
        method=value("method", "GET"),
        path=value("path", "/tame-path"),
        expected_codes=value("expected_codes", "299"),
        domain_name=value("domain_name", "tame-domain.example"),
    )
    monitors = (
        replace(monitor(1, MonitorType.HTTP, http=http), id=oid(base + 1), name=value("monitor_name", "n")),
        replace(monitor(2, MonitorType.HTTPS, http=http), id=oid(base + 2)),
    )
    rules = tuple(
        L7Rule(
            id=oid(base + 0x20 + index),
            type=kind,
            compare_type=compare,
            key=value("rule_key", "tame-key") if kind in ("HEADER", "COOKIE") else None,
            value=value("rule_value", "tame-value"),
        )
        for index, (kind, compare) in enumerate(
            (("HOST_NAME", "EQUAL_TO"), ("PATH", "STARTS_WITH"), ("HEADER", "ENDS_WITH"), ("COOKIE", "CONTAINS"))
        )
    )
    policies = (
        L7Policy(
            id=oid(base + 0x30),
            position=1,
            action="REDIRECT_TO_URL",
            redirect={"url": value("url", "http://tame.example/url")},
            rules=rules,
        ),
        L7Policy(
            id=oid(base + 0x31),
            name=value("policy_name", "n"),
            position=2,
            action="REDIRECT_PREFIX",
            redirect={"prefix": value("prefix", "http://tame.example/prefix")},
            rules=tuple(replace(rule, id=oid(base + 0x40 + index)) for index, rule in enumerate(rules)),
            tags=(value("tag", "t"),),
        ),
    )
    made = balancer(
        replace(
            member(1),
            id=oid(base + 0x50),
            address=value("address", "192.0.2.77"),
            monitor_address=value("monitor_address", "192.0.2.78"),
            cookie=value("cookie", "tame-cookie"),
            name=value("member_name", "n"),
            extras={value("extra_key", "k"): value("extra", "e")},
        ),
        monitors=monitors,
        persistence=SessionPersistence(
            id=oid(base + 0x60), kind=PersistenceKind.HTTP_COOKIE, cookie_name=value("cookie_name", "TAME")
        ),
    )
    (pool,), (listener,) = made.pools, made.listeners
    other = replace(
        pool,
        id=oid(base + 0x71),
        members=(),
        health_monitor_ids=(monitors[0].id,),
        session_persistence=SessionPersistence(
            id=oid(base + 0x61), kind=PersistenceKind.APP_COOKIE, cookie_name=value("cookie_name", "TAME")
        ),
    )
    second = Listener(id=oid(base + 0x81), protocol=Protocol.HTTP, port=port + 1, default_pool_id=other.id)
    listener = replace(
        listener,
        id=oid(base + 0x80),
        port=port,
        name=value("listener_name", "n"),
        default_pool_id=oid(base + 0x70),
        timeouts=Timeouts(client=1000, member_connect=1000, member_data=1000, tcp_inspect=1000),
        insert_headers={value("header", "X-Forwarded-Port"): value("header_value", "true")},
        allowed_cidrs=(value("cidr", "192.0.2.0/24"),),
        l7_policies=policies,
        extras={value("extra_key", "k"): value("extra", "e")},
    )
    return (
        replace(
            made,
            id=oid(base + 0x90),
            name=value("name", "n"),
            description=value("description", "d"),
            virtual_ips=(VirtualIp(id=oid(base + 0x91), address=value("vip", "192.0.2.79")),),
            listeners=(listener, second),
            pools=(replace(pool, id=oid(base + 0x70), name=value("pool_name", "n")), other),
        ),
        monitors,
    )


def text_of(made: Made) -> str:
    return render.block(*made, device_id=DEVICE.id).text


def _unchanged(text: str) -> str:
    return text


def _address(text: str) -> str:
    address = str(ipaddress.ip_address(text))
    return address if "." in address and ":" not in address else f"[{address}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """`shown`: how HAProxy gets to see a text that was accepted. `plain`: further texts that are to be accepted."""

    tame: str
    shown: Callable[[str], str] = _unchanged
    plain: tuple[str, ...]


def _codes(text: str) -> str:
    return text.replace(" ", "")


RENDERED = {
    "method": Field(tame="GET", plain=("OPTIONS",)),
    "path": Field(tame="/tame-path", plain=("/a?b=%20&c=$d#'\"\\`{}[]|;<>^", "/%[src]", "/$(id)")),
    "expected_codes": Field(tame="299", shown=_codes, plain=("200, 202-204",)),
    "domain_name": Field(tame="tame-domain.example", plain=("a-b.example",)),
    "rule_key": Field(tame="tame-key", plain=("X_a.b~^|!*+-",)),
    "rule_value": Field(
        tame="tame-value", plain=("a b", "'", "#", "\\", '"', "%[src]", "${HOME}", "$(id)", "-i", "--")
    ),
    "url": Field(
        tame="http://tame.example/url",
        shown=lambda text: text.replace("%", "%%"),
        plain=("https://a.example/%5b?q='\"#\\", "/a"),
    ),
    "prefix": Field(tame="http://tame.example/prefix", shown=lambda text: text.replace("%", "%%"), plain=("/%[src]",)),
    "cookie": Field(tame="tame-cookie", plain=("a.b_c-d",)),
    "cookie_name": Field(tame="TAME", plain=("a.b_c-d",)),
    "cidr": Field(
        tame="192.0.2.0/24",
        shown=lambda text: str(ipaddress.ip_network(text, strict=False)),
        plain=("2001:db8::1/64", "10.0.0.1"),
    ),
    "address": Field(tame="192.0.2.77", shown=_address, plain=("2001:db8::1", "64:ff9b::192.0.2.1")),
    "monitor_address": Field(tame="192.0.2.78", shown=_address, plain=("2001:DB8::1",)),
}
# These stand nowhere in the file, whatever they are.
NOT_RENDERED = (
    "name",
    "description",
    "listener_name",
    "pool_name",
    "member_name",
    "monitor_name",
    "policy_name",
    "tag",
    "extra",
    "extra_key",
)
# These choose among fixed lines.
CHOOSING = ("header", "header_value")

pieces = st.sampled_from(
    [*LINE_ENDS, *QUOTES, *FRONTS, *" \t#%$;|&<>(){}[]*?~!^,=:@.-_", "%[", "${", "$(", "a", "é", MARK, f"be {MARK}"]
)
hostile_text = st.lists(pieces, max_size=8).map("".join)
ports = st.integers(min_value=0, max_value=59999)


def with_header(lines: list[list[str]]) -> list[list[str]]:
    """Without the line that the header asks for."""
    return [line for line in lines if "X-Forwarded-Port" not in line]


class TestOneValue(unittest.TestCase):
    """Any text in any single field: refused, or a word and nothing but that word."""

    def setUp(self) -> None:
        self.twin = parse(text_of(everything()))

    def check(self, name: str, text: str) -> bool:
        """Whether the text was accepted, and stands there. No text is the driver's own choice in some places."""
        if not text:
            return False
        field = RENDERED[name]
        try:
            lines = parse(text_of(everything({name: text})))
        except InvalidInput:
            return False
        shown = field.shown(text)
        wanted = [[word.replace(field.tame, shown) for word in line] for line in self.twin]
        if name == "method":
            # The multiple monitors' own question is a GET, whatever theirs is.
            wanted = [
                [word.replace(shown, field.tame) for word in line] if "uri-lf" in line else line for line in wanted
            ]
        self.assertEqual(wanted, lines, (name, text))
        return True

    def test_the_corpus(self) -> None:
        for name in RENDERED:
            accepted = [text for text in CORPUS if self.check(name, text)]
            for text in accepted:
                self.assertRegex(text, r"\A[\x20-\x7e]+\Z", name)

    def test_what_is_meant_to_be_accepted_is(self) -> None:
        for name, field in RENDERED.items():
            for text in (field.tame, *field.plain):
                self.assertTrue(self.check(name, text), (name, text))

    @settings(max_examples=1500, deadline=None)
    @given(st.sampled_from(sorted(RENDERED)), hostile_text)
    def test_anything(self, name: str, text: str) -> None:
        self.check(name, text)
        # With a good beginning, so that more gets through.
        self.check(name, RENDERED[name].tame + text)

    @settings(max_examples=300, deadline=None)
    @given(st.sampled_from(NOT_RENDERED), st.one_of(hostile_text, st.text(), st.sampled_from(CORPUS)))
    def test_names_tags_and_extras_are_not_in_the_file(self, name: str, text: str) -> None:
        self.assertEqual(self.twin, parse(text_of(everything({name: text}))))

    @settings(max_examples=300, deadline=None)
    @given(st.sampled_from(CHOOSING), st.one_of(hostile_text, st.sampled_from(CORPUS)))
    def test_headers_choose_among_fixed_lines(self, name: str, text: str) -> None:
        self.assertEqual(with_header(self.twin), with_header(parse(text_of(everything({name: text})))))

    def test_listening_addresses(self) -> None:
        def shape(lines: Sequence[Sequence[str]]) -> list[tuple[str, int]]:
            return [(line[0], 0 if line[0] == "bind" else len(line)) for line in lines]

        for text in (*CORPUS, "::", "2001:db8::1", "*"):
            try:
                lines = parse(text_of(everything({"vip": text})))
            except InvalidInput:
                continue
            self.assertEqual(shape(self.twin), shape(lines), text)
            binds = [line for line in lines if line[0] == "bind" and not line[1].startswith("abns@")]
            for line in binds:
                self.assertRegex(line[1], r"\A(\*|[0-9.]+|\[[0-9a-f:.]+\]):[0-9]+\Z")
                self.assertLessEqual(set(line[2:]), {"transparent", "v6only"})

    def test_ids_are_hexadecimal_digits(self) -> None:
        made, monitors = everything()
        (pool, other), (listener, second) = made.pools, made.listeners
        for text in CORPUS:
            serving = (replace(listener, default_pool_id=text), second)
            nameless = (replace(pool, members=(replace(pool.members[0], id=text),)), other)
            for broken in (
                replace(made, pools=(replace(pool, id=text), other), listeners=serving),
                replace(made, listeners=(replace(listener, id=text), second)),
                replace(made, pools=nameless),
            ):
                with self.assertRaises(InvalidInput):
                    text_of((broken, monitors))

    def test_what_a_device_says_of_itself(self) -> None:
        """Paths and names that an administrator registers, or that were seen on the device, in the head."""
        blocks = [text_of(everything())]
        twin = parse(render.head(DEVICE, blocks))
        for text in CORPUS:
            for device in (
                replace(DEVICE, socket=text),
                replace(DEVICE, config_path=text),
                replace(DEVICE, endpoint=replace(DEVICE.endpoint, username=text)),
                replace(DEVICE, observation=Observation(reachable=True, sentence="", facts={"config_path": text})),
            ):
                try:
                    lines = parse(render.head(device, blocks))
                except InvalidInput:
                    continue
                self.assertEqual([len(line) for line in twin], [len(line) for line in lines], text)
                self.assertEqual([line[0] for line in twin], [line[0] for line in lines], text)


class TestHaproxyReadsIt(unittest.TestCase):
    """Everything that was accepted, in one file each."""

    def accepted(self) -> Iterator[Made]:
        number = 0
        for name, field in RENDERED.items():
            for text in (field.tame, *field.plain, *CORPUS):
                made = everything({name: text}, number)
                try:
                    text_of(made)
                except InvalidInput:
                    continue
                number += 2
                yield made

    def test_it_understands_every_line(self) -> None:
        made = list(self.accepted())
        self.assertGreater(len(made), 100)
        blocks = [text_of(each) for each in made]
        text = render.head(DEVICE, blocks) + "".join(blocks)
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "haproxy.cfg")
            path.write_text(
                text.replace(names.socket_path(render.rights.DEFAULT_SOCKET), f"{directory}/s").replace(
                    render.rights.DEFAULT_CONFIG, f"{directory}/haproxy.cfg"
                )
            )
            done = subprocess.run(["/usr/sbin/haproxy", "-c", "-f", path], capture_output=True, text=True, timeout=60)
        self.assertEqual(0, done.returncode, done.stderr[-3000:])
        self.assertNotIn(MARK, done.stderr)
        print(f"{len(made)} load balancers with accepted text")
