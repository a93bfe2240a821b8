"""What was observed, what follows from it, and the commands that are then run."""

from __future__ import annotations

import base64
import random
import subprocess
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path

from balancer.core.model import Bind
from balancer.drivers.haproxy import deploy, rights
from balancer.drivers.haproxy.host import HostState, Process, parse, ping_command, version_number
from balancer.drivers.haproxy.live import Abilities
from balancer.drivers.haproxy.plan import Action, hand_written_conflicts, plan, port_conflicts, reload_interval
from balancer.exceptions import InvalidInput, TerminalDeviceError, TransientDeviceError
from tests.golden.builders import DEVICE

CONFIG = "/etc/haproxy/haproxy.cfg"


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def observed(*lines: str, before: str = "") -> bytes:
    tools = [
        f"tool {name} /usr/bin/{name}"
        for name in ["cat", "cp", "mv", "rm", "tee", "kill", "sudo", "flock", "timeout", "base64", "sha256sum"]
    ]
    return "\n".join(
        [
            *([before] if before else []),
            "balancer-observe 1",
            "uid 1000",
            "hostname box",
            *tools,
            "tool haproxy /usr/sbin/haproxy",
            f"path {CONFIG}",
            "directory exists",
            "directory readable",
            "socket-directory exists",
            "mode 0 0 644",
            f"config {encoded('global')}",
            f"version {encoded('HAProxy version 2.6.12-1+deb12u4 2026/10/17')}",
            *lines,
            "end 0\n",
        ]
    ).encode()


def process(pid: int, parent: int, *argv: str, uid: int = 0, unit: str = "-") -> str:
    return f"process {pid} {parent} {uid} {unit} {encoded(chr(0).join(argv) + chr(0))}"


MASTER = process(10, 1, "/usr/sbin/haproxy", "-Ws", "-f", CONFIG, "-p", "/run/haproxy.pid", unit="haproxy.service")
WORKER = process(11, 10, "/usr/sbin/haproxy", "-sf", "9", "-Ws", "-f", CONFIG, "-p", "/run/haproxy.pid", uid=100)
DAEMON = process(20, 1, "haproxy", "-f", CONFIG, "-p", "/run/h.pid", "-D", "-L", "peer", "-sf", "18", "19")


def state(*lines: str) -> HostState:
    return parse(observed(*lines), CONFIG)


NOTHING = Abilities()


class TestParse(unittest.TestCase):
    def test_what_a_login_shell_says_first_is_skipped(self) -> None:
        found = parse(observed(before="Welcome!\nend 0"), CONFIG)
        self.assertEqual((b"global", "2.6.12-1+deb12u4", "box"), (found.config, found.version, found.hostname))

    def test_a_cut_answer_is_transient(self) -> None:
        for text in (b"", b"Welcome", observed()[:-6], b"end 0\n"):
            with self.subTest(text), self.assertRaises(TransientDeviceError):
                parse(text, CONFIG)

    def test_processes_of_this_configuration_only(self) -> None:
        found = state(
            MASTER,
            WORKER,
            process(30, 1, "haproxy", "-f", "/etc/other.cfg"),
            process(31, 1, "haproxy", "-c", "-f", CONFIG),
            process(32, 1, "haproxy", "-f", "/etc/haproxy"),
            process(33, 1, "haproxy", "-D", "--", "/etc/other.cfg", CONFIG),
            "process 34    ",
        )
        self.assertEqual([10, 11, 32, 33], [each.pid for each in found.processes])
        self.assertEqual([10, 32, 33], [each.pid for each in found.leaders])
        self.assertEqual("haproxy.service", found.leaders[0].unit)

    def test_workers_of_earlier_reloads_are_counted(self) -> None:
        older = [line.replace("process 11 10", f"process {pid} 10") for pid in (7, 8) for line in [WORKER]]
        daemons = [DAEMON.replace("process 20 ", f"process {pid} ") for pid in (21, 22)]
        for lines, expected in (
            ((), 0),
            ((MASTER, WORKER), 0),
            ((MASTER, WORKER, *older), 2),
            ((DAEMON,), 0),
            ((DAEMON, *daemons), 2),
            ((MASTER,), 0),
        ):
            with self.subTest(lines):
                self.assertEqual(expected, parse(observed(*lines), CONFIG).old_workers)

    def test_listening_sockets(self) -> None:
        found = state(
            "listening 0100007F:1F90",
            "listening 00000000:0050",
            "listening 00000000000000000000000000000000:01BB",
            "listening B80D0120000000000000000001000000:0001",
            "listening 0000000000000000FFFF00000100007F:0002",
            "listening nonsense",
        )
        self.assertEqual(
            [("127.0.0.1", 8080), ("*", 80), ("::", 443), ("2001:db8::1", 1), ("127.0.0.1", 2)],
            [(each.address, each.first_port) for each in found.listening],
        )

    def test_listening_sockets_as_ss_shows_them(self) -> None:
        found = state(
            "LISTEN 0      4096      127.0.0.1:8080       0.0.0.0:*",
            "LISTEN 0      4096      127.0.0.1:8080       0.0.0.0:*",
            "LISTEN 0      128         0.0.0.0:80         0.0.0.0:*",
            "LISTEN 0      128               *:443              *:*",
            "LISTEN 0      128            [::]:444           [::]:*",
            "LISTEN 0      5     [fe80::1]%eth0:1            [::]:*",
            "LISTEN 0      5  127.0.0.53%lo:53            0.0.0.0:*",
            "LISTEN 0      5   [::ffff:127.0.0.1]:2             *:*",
            "LISTEN",
        )
        self.assertEqual(
            [
                *(("127.0.0.1", 8080), ("*", 80), ("::", 443), ("::", 444)),
                *(("fe80::1", 1), ("127.0.0.53", 53), ("127.0.0.1", 2)),
            ],
            [(each.address, each.first_port) for each in found.listening],
        )

    def test_versions(self) -> None:
        self.assertEqual((2, 6), version_number("2.6.12-1"))
        self.assertEqual((3, 10), version_number("3.10-dev1"))
        self.assertIsNone(version_number(None))

    def test_whether_haproxy_could_ping(self) -> None:
        there, everybody, nobody = "ping-command exists", "ping-groups 0 2147483647", "ping-groups 1 0"
        root = process(10, 1, "/usr/sbin/haproxy", "-W", "-f", CONFIG)
        allowed = f"{CONFIG}.balancer-ping"
        for lines, settings, expected in (
            ((there, root, nobody), {}, allowed),
            ((there, root), {}, allowed),
            ((there, root, nobody), {"chroot": "chroot /var/lib/haproxy"}, None),
            ((there, root, nobody), {"user": "user haproxy"}, None),
            ((there, MASTER, WORKER, nobody), {}, None),
            ((there, MASTER, WORKER, everybody), {"user": "user haproxy"}, allowed),
            ((there, MASTER, WORKER, everybody), {"chroot": "chroot /x"}, None),
            ((there, MASTER, WORKER, "ping-groups 100 200"), {}, None),
            ((there, MASTER, WORKER, "ping-groups x y"), {}, None),
            ((root, everybody), {}, None),
        ):
            with self.subTest(lines=lines, settings=settings):
                self.assertEqual(expected, ping_command(state(*lines), settings))

    def test_what_a_successor_inherits(self) -> None:
        (found,) = state(DAEMON).processes
        self.assertEqual(("-L", "peer"), found.further_arguments(CONFIG))
        self.assertEqual("/run/h.pid", found.pid_file)


class TestWhatIsSent(unittest.TestCase):
    def test_a_large_file_is_put_together_of_what_is_there_and_what_is_sent(self) -> None:
        chosen = random.Random(7)
        for large in (b"", b"x" * deploy._LARGE):
            for _ in range(300):
                old, new = (large + bytes(chosen.choices(b"ab", k=chosen.randrange(9))) + large for _ in range(2))
                first, sent, last = deploy._differing(replace(state(), config=old), new)
                self.assertEqual(new, old[:first] + sent + old[len(old) - last :])
                self.assertLessEqual(len(sent), 8)

    def test_what_only_root_may_read_is_sent_whole(self) -> None:
        text = b"x" * deploy._LARGE
        self.assertEqual((0, text, 0), deploy._differing(replace(state(), config=text, config_by_sudo=True), text))


class TestMeans(unittest.TestCase):
    def means(self, found: HostState) -> deploy.Means:
        return deploy.means(found, DEVICE, "box:22")

    def test_systemd_by_its_exact_lines(self) -> None:
        found = parse(observed(MASTER, WORKER, "tool systemctl /usr/bin/systemctl"), CONFIG)
        how = self.means(found)
        self.assertEqual("systemctl", how.method)
        self.assertEqual(("/usr/bin/systemctl", "reload", "haproxy.service"), how.steps["reload"])
        self.assertEqual("/usr/bin/sudo", how.sudo["reload"])

    def test_root_signals_the_master(self) -> None:
        how = self.means(replace(state(MASTER, WORKER), uid=0))
        self.assertEqual(("/usr/bin/kill", "-USR2", "10"), how.steps["reload"])
        self.assertFalse(any(how.sudo.values()))

    def test_a_process_without_master_is_replaced(self) -> None:
        how = self.means(state(DAEMON))
        self.assertEqual("handover", how.method)
        self.assertEqual(
            "/usr/sbin/haproxy -D -f /etc/haproxy/haproxy.cfg -p /run/h.pid -L peer -sf 20",
            " ".join(how.steps["reload"]),
        )

    def test_group_rights_use_the_master_socket(self) -> None:
        found = state(
            process(10, 1, "haproxy", "-W", "-f", CONFIG, "-S", "/run/m.sock,mode,660"),
            "directory writable",
            f"master-socket 10 {encoded('/run/m.sock')}",
        )
        how = self.means(found)
        self.assertEqual(("master socket", "/run/m.sock"), (how.method, how.master_socket))
        self.assertFalse(any(how.sudo[each] for each in rights.file_steps(CONFIG)))

    def test_what_is_missing_is_said(self) -> None:
        good = state()
        for found, message in (
            (replace(good, directory=frozenset()), "does not exist: is HAProxy installed"),
            (replace(good, mode=None, config=None), "create it; it may be empty"),
            (replace(good, config=None), "root may not read /etc/haproxy/haproxy.cfg"),
            (replace(good, tools={**good.tools, "haproxy": ""}), "there is no haproxy"),
            (replace(good, tools={key: value for key, value in good.tools.items() if key != "flock"}), "flock"),
            (replace(good, version="2.2.9"), "HAProxy 2.2.9 is too old"),
            (replace(good, socket_directory=False), "stats socket"),
            (
                replace(good, tools={key: value for key, value in good.tools.items() if key != "sudo"}),
                "there is no sudo",
            ),
        ):
            with self.subTest(message), self.assertRaisesRegex(TerminalDeviceError, message):
                self.means(found)


class TestPlan(unittest.TestCase):
    def test_every_case(self) -> None:
        for old, new, has_block, verified, running, expected in (
            (b"a", b"a", True, True, True, Action.NOOP),
            (b"a", b"a", True, False, True, Action.RELOAD),
            (b"a", b"b", True, True, True, Action.RELOAD),
            (b"a", b"b", False, True, True, Action.RELOAD),
            (b"a", b"a", True, True, False, Action.START),
            (b"a", b"b", True, True, False, Action.START),
            (b"a", b"a", False, True, False, Action.NOOP),
            (b"a", b"b", False, True, False, Action.INSTALL),
        ):
            with self.subTest(old=old, new=new, has_block=has_block, verified=verified, running=running, able=NOTHING):
                made = plan(old=old, new=new, has_block=has_block, verified=verified, running=running, able=NOTHING)
                self.assertEqual(expected, made.action)

    def test_reloads_become_rarer_with_old_workers(self) -> None:
        seconds = [reload_interval(count, free=8, longest=60.0) for count in (0, 8, 9, 10, 11, 14, 15, 200)]
        self.assertEqual([0.0, 0.0, 1.0, 2.0, 4.0, 32.0, 60.0, 60.0], seconds)
        self.assertEqual(0.0, reload_interval(50, free=8, longest=0.0))

    def test_addresses_need_no_reload(self) -> None:
        for running in (True, False):
            made = plan(old=b"a", new=b"a", has_block=running, verified=True, running=running, moves=True, able=NOTHING)
            self.assertEqual(Action.INSTALL, made.action)
        made = plan(old=b"a", new=b"b", has_block=True, verified=True, running=True, moves=True, able=NOTHING)
        self.assertEqual(Action.RELOAD, made.action)

    def test_what_a_deployment_left_behind_is_removed_when_nothing_else_is_to_be_done(self) -> None:
        for running in (True, False):
            made = plan(
                old=b"a", new=b"a", has_block=False, verified=True, running=running, leftovers=True, able=NOTHING
            )
            self.assertEqual((Action.INSTALL, True), (made.action, "cut off" in made.reason))
        made = plan(old=b"a", new=b"b", has_block=True, verified=True, running=True, leftovers=True, able=NOTHING)
        self.assertEqual(Action.RELOAD, made.action)


class TestPortConflicts(unittest.TestCase):
    def conflict(self, wanted: str, *others: tuple[str, int], old: str = "", running: bool = True) -> bool:
        blocks = {"x": f"frontend f\n  bind {wanted}\n", "y": ""}
        listening = [Bind(address=address, first_port=port, last_port=port) for address, port in others]
        old_text = f"frontend f\n  bind {old}\n" if old else ""
        found = port_conflicts(old=old_text.encode(), blocks=blocks, listening=listening, running=running)
        self.assertLessEqual(set(found), {"x"})
        return bool(found)

    def test_who_is_in_the_way_of_whom(self) -> None:
        for wanted, other, expected in (
            ("*:80", ("*", 80), True),
            ("*:80", ("*", 81), False),
            ("*:80", ("127.0.0.1", 80), True),
            ("127.0.0.1:80", ("*", 80), True),
            ("127.0.0.1:80", ("127.0.0.2", 80), False),
            ("*:80", ("::", 80), True),
            ("*:80", ("2001:db8::1", 80), False),
            ("[::]:80 v6only", ("*", 80), False),
            ("[::]:80 v6only", ("2001:db8::1", 80), True),
            ("[2001:db8::1]:80 v6only", ("::", 80), True),
            ("[2001:db8::1]:80 v6only", ("2001:db8::2", 80), False),
        ):
            with self.subTest(wanted=wanted, other=other):
                self.assertEqual(expected, self.conflict(wanted, other))

    def test_what_haproxy_itself_holds_is_its_own_while_it_runs(self) -> None:
        self.assertFalse(self.conflict("*:80", ("*", 80), old="*:80"))
        self.assertTrue(self.conflict("*:80", ("*", 80), old="*:80", running=False))
        # A wildcard of its own beside a new address is fine; a foreign one is not.
        self.assertFalse(self.conflict("127.0.0.1:80", ("*", 80), old="*:80"))
        self.assertTrue(self.conflict("127.0.0.1:81", ("*", 81), old="*:80"))


class TestHandWrittenConflicts(unittest.TestCase):
    def test_a_new_one_counts_beside_one_that_is_there(self) -> None:
        written = [Bind(address="*", first_port=port, last_port=port) for port in (80, 81)]
        there, both = "frontend a\n  bind *:80\n", "frontend a\n  bind *:80\nfrontend b\n  bind *:81\n"
        for block, text, port, known in (
            ("", both, 80, False),
            (there, there, 80, True),
            (there, both, 81, False),
            (both, both, 80, True),
        ):
            found = hand_written_conflicts(hand_written=written, block=block, blocks={"x": text, "y": "  bind *:82\n"})
            self.assertEqual({"x": (Bind(address="*", first_port=port, last_port=port), known)}, found)


class TestRights(unittest.TestCase):
    def test_sudo_accepts_the_lines(self) -> None:
        for unit in (None, "haproxy.service"):
            lines = rights.sudoers_lines("user", unit=unit, read=True)
            with tempfile.TemporaryDirectory() as directory:
                path = Path(directory) / "sudoers"
                path.write_text("\n".join(lines) + "\n")
                done = subprocess.run(["/usr/sbin/visudo", "-c", "-f", path], capture_output=True, text=True)
            self.assertEqual(0, done.returncode, done.stdout + done.stderr)

    def test_no_line_has_a_glob_or_a_shell(self) -> None:
        for line in rights.sudoers_lines("user", read=True):
            command = line.partition("NOPASSWD: ")[2]
            program, _, rest = command.partition(" ")
            if not rest.startswith("^"):
                self.assertNotRegex(command, r"[*?\[\]]")
            self.assertNotIn(Path(program).name, ("sh", "bash", "dash", "env", "busybox"))

    def test_every_step_that_may_need_rights_has_its_line(self) -> None:
        granted = rights.sudoers_lines("user", read=True) + rights.sudoers_lines("user", unit="haproxy.service")
        master = replace(state(MASTER.replace(" haproxy.service ", " - "), WORKER))
        for found in (state(MASTER, WORKER, "tool systemctl /usr/bin/systemctl"), master, state()):
            how = deploy.means(found, DEVICE, "")
            self.assertEqual({"check_quickly"}, how.steps.keys() - how.sudo.keys() - {"start", "stop", "reload"})
            for name, step in how.steps.items():
                if step and name != "check_quickly":
                    self.assertIn(rights.sudoers_line("user", step), granted, name)

    def test_paths_that_a_shell_or_sudo_would_read_specially_are_refused(self) -> None:
        for path in ("/etc/a b", "/etc/$(id)", "/etc/a,b", "/etc/../x", "relative"):
            with self.subTest(path), self.assertRaises(InvalidInput):
                rights.sudoers_lines("user", path)

    def test_functions_quote_their_words(self) -> None:
        text = rights.shell_functions(
            {"a": ("echo", "it's"), "b": ()}, sudo={"a": "/usr/bin/sudo", "b": "/usr/bin/sudo"}
        )
        self.assertEqual("do_a() { exec /usr/bin/sudo -n echo 'it'\"'\"'s'; }\ndo_b() { :; }\n", text)


class TestProcess(unittest.TestCase):
    def test_operands(self) -> None:
        argv = ("haproxy", "-f", "/a.cfg", "-p", "/f", "-f", "/b")
        found = Process(pid=1, parent=0, uid=0, unit=None, argv=argv)
        self.assertEqual(("/a.cfg", "/b"), found.configurations)
        self.assertEqual("/b", found.operand(("/b/x.cfg",)))
        self.assertIsNone(found.operand(("/c/x.cfg",)))
