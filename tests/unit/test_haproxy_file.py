"""haproxy.cfg taken apart and put together again."""

from __future__ import annotations

import unittest

from hypothesis import given
from hypothesis import strategies as st

from balancer.core.model import Bind
from balancer.drivers.haproxy import file
from balancer.drivers.haproxy.addresses import entry
from balancer.drivers.haproxy.file import FileError, Sidecar, compose, parse, split

DEVICE = "d" * 32
OTHER = "e" * 32
HEAD = """\
global
    stats socket /run/s.sock mode 600 level admin user u
    hard-stop-after 3600s
defaults balancer-http
    mode http
"""
BLOCKS = {"a": "frontend fe-a from balancer-http\n    bind *:80\n", "b": "", "c": "frontend fe-c\n    bind *:81\n"}


def composed(hand: bytes, **fields: object) -> file.Composed:
    return compose(hand, **{"device_id": DEVICE, "head": HEAD, "blocks": BLOCKS, **fields})  # type: ignore[arg-type]


class TestBlock(unittest.TestCase):
    @given(st.binary(max_size=300))
    def test_whatever_was_written_by_hand_comes_back(self, hand: bytes) -> None:
        made = composed(hand)
        parts = split(made.content)
        self.assertEqual(DEVICE, parts.owner)
        self.assertFalse(parts.moved)
        self.assertEqual(made.block_digest, file.digest(parts.block or b""))
        back = composed(parts.hand_written, blocks={}, added_lf=made.added_lf)
        self.assertEqual(hand, back.content)
        self.assertEqual("", back.block_digest)

    @given(st.binary(max_size=100), st.binary(max_size=100))
    def test_composing_again_changes_nothing(self, hand: bytes, more: bytes) -> None:
        once = composed(hand)
        parts = split(once.content)
        again = composed(parts.hand_written, added_lf=once.added_lf)
        self.assertEqual(once, again)

    def test_text_behind_the_block_goes_in_front(self) -> None:
        made = composed(b"one\n").content + b"two"
        parts = split(made)
        self.assertTrue(parts.moved)
        self.assertEqual(b"one\ntwo", parts.hand_written)
        self.assertTrue(composed(parts.hand_written).content.startswith(b"one\ntwo\n# ----- BEGIN"))

    def test_a_file_without_a_block(self) -> None:
        self.assertEqual(file.Parts(hand_written=b"x"), split(b"x"))
        self.assertEqual(b"", composed(b"", blocks={}).content)

    def test_markers_that_make_no_single_block_are_refused(self) -> None:
        block = split(composed(b"").content).block or b""
        begin, *_, end = block.splitlines(keepends=True)
        for broken in (begin, end, end + begin, block + block, begin + end.replace(b"d" * 32, b"e" * 32), block + end):
            with self.subTest(broken), self.assertRaisesRegex(FileError, "one generated block"):
                split(b"global\n" + broken)

    def test_owners_have_the_numbers_of_their_lines(self) -> None:
        made = composed(b"1\n2\n3\n")
        lines = made.content.decode().splitlines()
        self.assertEqual(4, made.first_line)
        self.assertEqual(["a", "b", "c"], [owner for owner, _, _ in made.owners])
        for owner, first, last in made.owners:
            self.assertEqual(BLOCKS[owner], "".join(f"{line}\n" for line in lines[first - 1 : last]))

    def test_alerts_name_the_culprit(self) -> None:
        made = composed(b"1\n2\n3\n")
        first = {owner: first for owner, first, _ in made.owners}
        text = {"a": BLOCKS["a"], "c": "frontend fe-" + "c" * 32 + " from x\n"}
        alert = "[ALERT]    (7) : config : "
        for message, expected in (
            (f"{alert}parsing [/etc/x.cfg:{first['a'] + 1}] : unknown keyword", (("a",), False)),
            (f"{alert}parsing [/etc/x.cfg:2] : unknown keyword", ((), True)),
            (f"{alert}parsing [/etc/x.cfg:2] : no\n{alert}parsing [/etc/x.cfg:{first['c']}] : no", (("c",), True)),
            (f"{alert}frontend 'fe-{'c' * 32}': unable to find default_backend", (("c",), False)),
            (f"[WARNING] (7) : config : parsing [/etc/x.cfg:{first['a']}] : hm", ((), False)),
            (f"{alert}out of memory", ((), False)),
        ):
            with self.subTest(message):
                self.assertEqual(expected, made.culprits(message, text))


class TestHead(unittest.TestCase):
    def test_settings_of_the_hand_written_global_win_and_are_told(self) -> None:
        made = composed(b"global\n  hard-stop-after 5s\n  stats socket /other level user\n")
        self.assertNotIn(b"hard-stop-after 3600s", made.content)
        self.assertIn(b"stats socket /run/s.sock", made.content)
        self.assertIn("hard-stop-after 5s", " ".join(made.findings))

    def test_the_same_setting_is_no_finding(self) -> None:
        self.assertEqual((), composed(b"global\n  hard-stop-after 3600s\n").findings)

    def test_a_stats_socket_at_our_path_is_left_to_the_administrator(self) -> None:
        made = composed(b"global\n  stats socket /run/s.sock mode 666\n")
        self.assertEqual(1, made.content.count(b"stats socket /run/s.sock"))
        self.assertIn("/run/s.sock", " ".join(made.findings))

    def test_a_state_file_by_hand_is_not_ours_to_load(self) -> None:
        head = "global\n    server-state-file /ours\ndefaults balancer-http\n    load-server-state-from-file global\n"
        self.assertTrue(file.hands_over(composed(b"", head=head).content, "/ours"))
        made = composed(b"global\n  server-state-file /theirs\n", head=head)
        self.assertFalse(file.hands_over(made.content, "/ours"))
        self.assertNotIn(b"load-server-state-from-file", made.content)
        self.assertIn("server-state-file /theirs", " ".join(made.findings))

    def test_log_lines_only_where_there_is_a_log(self) -> None:
        head = "defaults balancer-http\n    log global\n    option httplog\n    mode http\n"
        self.assertNotIn(b"log global", composed(b"", head=head).content)
        self.assertIn(b"log global", composed(b"global\n log /dev/log local0\n", head=head).content)


class TestParse(unittest.TestCase):
    def binds(self, *lines: str) -> list[tuple[str, int, int]]:
        text = "listen x\n" + "".join(f"  bind {line}\n" for line in lines)
        return [(each.address, each.first_port, each.last_port) for each in parse(text.encode()).binds]

    def test_addresses_of_bind_lines(self) -> None:
        for line, expected in (
            (":80", [("*", 80, 80)]),
            ("*:80 name x", [("*", 80, 80)]),
            ("0.0.0.0:80-90", [("*", 80, 90)]),
            ("192.0.2.1:80,192.0.2.2:81", [("192.0.2.1", 80, 80), ("192.0.2.2", 81, 81)]),
            ("'192.0.2.1:80' # comment", [("192.0.2.1", 80, 80)]),
            ("ipv4@192.0.2.1:80", [("192.0.2.1", 80, 80)]),
            ("[2001:DB8::0:1]:443", [("2001:db8::1", 443, 443)]),
            ("2001:db8::1:443", [("2001:db8::1", 443, 443)]),
            (":::80", [("::", 80, 80), ("*", 80, 80)]),
            ("[::]:80 v6only", [("::", 80, 80)]),
            ("ipv6@:80 v4v6", [("::", 80, 80), ("*", 80, 80)]),
            ("/run/x.sock mode 600", []),
            ("unix@/run/x.sock", []),
            ("abns@name", []),
            ("quic4@:443", []),
        ):
            with self.subTest(line):
                self.assertEqual(expected, self.binds(line))
                self.assertEqual((), parse(f"listen x\n  bind {line}\n".encode()).findings)

    def test_what_is_not_understood_is_a_finding(self) -> None:
        for line in ('"${ADDRESS}:80"', "www.example.com:80", "192.0.2.1", "192.0.2.1:x"):
            with self.subTest(line):
                self.assertEqual([], self.binds(line))
                self.assertIn("not understood", parse(f"listen x\n  bind {line}\n".encode()).findings[0])
        self.assertIn("unbalanced", parse(b"listen x\n  bind '1\n").findings[0])

    def test_a_bind_line_may_have_an_ipv4_address_in_the_notation_of_ipv6(self) -> None:
        self.assertEqual([("192.0.2.1", 80, 80)], self.binds("[::ffff:192.0.2.1]:80"))
        self.assertEqual([("*", 80, 80)], self.binds("ipv6@::ffff:0.0.0.0:80"))

    def test_bind_in_a_backend_or_comment_counts_not(self) -> None:
        self.assertEqual((), parse(b"# bind :1\nbackend b\n  bind :80\nglobal\n").binds)

    def test_listeners_without_idle_close_are_told(self) -> None:
        text = b"""
defaults
  mode http
frontend one
frontend two
  option idle-close-on-response
frontend three
  mode tcp
defaults good
  mode http
  option idle-close-on-response
listen four
frontend five from nowhere
defaults
  mode tcp
listen six from good
listen seven
  mode http
backend eight
  mode http
"""
        told = [finding.split()[2] for finding in parse(text).findings]
        self.assertEqual(["one", "seven"], told)

    @given(st.binary(max_size=400))
    def test_it_never_fails(self, content: bytes) -> None:
        parse(content)

    def test_own_blocks_can_be_read_too(self) -> None:
        self.assertEqual(
            (
                Bind(address="*", first_port=80, last_port=80),
                Bind(address="*", first_port=81, last_port=81),
            ),
            parse(composed(b"").content).binds,
        )


class TestSidecar(unittest.TestCase):
    def test_it_comes_back(self) -> None:
        for sidecar in (
            Sidecar(device_id=DEVICE, epoch=7),
            Sidecar(
                device_id=DEVICE,
                epoch=1,
                digest="x",
                added_lf=True,
                addresses=(entry("192.0.2.1/24 dev eth0"),),
                started=True,
            ),
        ):
            self.assertEqual(sidecar, file.load_sidecar(file.dump_sidecar(sidecar)))

    def test_its_keys_stand_on_lines_of_their_own(self) -> None:
        lines = file.dump_sidecar(Sidecar(device_id=DEVICE, epoch=12)).decode().splitlines()
        self.assertIn(f' "device_id": "{DEVICE}",', lines)
        self.assertIn(' "epoch": 12,', lines)

    @given(st.one_of(st.binary(max_size=50), st.just(b"[]"), st.just(b'{"version": 2}'), st.just(b'{"version": 1}')))
    def test_anything_else_is_refused(self, content: bytes) -> None:
        with self.assertRaises(FileError):
            file.load_sidecar(content)


class TestDiff(unittest.TestCase):
    def test_line_numbers_are_those_of_the_file(self) -> None:
        old = "".join(f"{number}\n" for number in range(1, 101))
        shown = file.diff(old.encode(), old.replace("50\n", "fifty\n", 1).encode())
        self.assertIn("@@ -47,7 +47,7 @@", shown)
        self.assertIn("-50\n+fifty\n", shown)
        self.assertEqual("", file.diff(b"x\n", b"x\n"))

    def test_of_two_files_the_blocks_are_shown_and_nothing_that_is_hand_written(self) -> None:
        def whole(hand_written: str, port: int) -> bytes:
            blocks = {DEVICE: f"frontend fe-{DEVICE}\n    bind *:{port}\n"}
            return file.compose(hand_written.encode(), device_id=DEVICE, head="", blocks=blocks).content

        secret = "global\n    stats auth admin:hush\n"
        first = file.block_diff(secret.encode(), whole(secret, 80))
        self.assertIn("@@ -2,0 +3,4 @@\n+# ----- BEGIN", first)
        self.assertNotIn("hush", first)
        # The numbers are those of lines in the files, of which one got longer meanwhile.
        later = file.block_diff(whole(secret, 80), whole(f"# hush\n{secret}", 81))
        self.assertIn("@@ -3,4 +4,4 @@", later)
        self.assertIn("-    bind *:80\n+    bind *:81\n", later)
        self.assertNotIn("hush", later)
        # Text behind the block moves in front of it.
        self.assertEqual("", file.block_diff(whole(secret, 80) + b"# hush\n", whole(secret + "# hush\n", 80)))
        gone = file.block_diff(whole(secret, 80), secret.encode())
        self.assertNotIn("hush", gone)
        self.assertEqual(4, sum(line.startswith("-") for line in gone.splitlines()[2:]))

    def test_a_very_long_one_is_summed_up(self) -> None:
        old = "".join(f"a{number}\n" for number in range(3000)).encode()
        self.assertIn("3000 lines replaced by 3000", file.diff(old, old.replace(b"a", b"b")))
