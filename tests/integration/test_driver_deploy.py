"""The HAProxy driver on real devices: sshd, haproxy, back ends, real traffic."""

from __future__ import annotations

import contextlib
import io
import socket
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

from balancer.cmd import manage
from balancer.core.model import (
    Credential,
    HealthMonitor,
    HttpCheck,
    MonitorType,
    Rotation,
    VirtualIp,
    new_id,
)
from balancer.devbox.backends import page
from balancer.devbox.host import Host
from balancer.drivers.haproxy import deploy, rights, runtime
from balancer.drivers.haproxy.file import UNKNOWN, Sidecar, load_sidecar
from balancer.drivers.haproxy.host import HostState
from balancer.drivers.haproxy.plan import Action
from balancer.drivers.ssh import Pool
from balancer.exceptions import LeaseLost, TerminalDeviceError, TransientDeviceError
from tests.integration.deploying import DeployingCase, device_of, load_balancer, with_limit, with_members
from tests.integration.ordinary_user import as_ordinary_user
from tests.integration.running import eventually, fetch
from tests.integration.traffic import Traffic

HAND_WRITTEN_WITHOUT_LF = b"""\
# No LF at the end of this file. Umlaut in Latin-1: \xfc
global
\tstats socket /run/haproxy/admin.sock mode 660 level admin
defaults
\ttimeout connect 5s
\ttimeout client 5s
\ttimeout server 5s"""


def listens(port: int) -> bool:
    with contextlib.suppress(OSError):
        fetch(port)
        return True
    return False


class TestDeploy(DeployingCase):
    def test_every_kind_of_host_serves_and_is_restored_byte_for_byte(self) -> None:
        backends = self.backends(3)
        expected = sorted(page(each.port) for each in backends)
        for run_as in ("root", "sudo", "group"):
            for haproxy in ("master-worker", "daemon", "none"):
                if run_as == "group" and haproxy != "master-worker":
                    continue  # without sudo nobody but root can start or replace a process of root's
                with self.subTest(run_as=run_as, haproxy=haproxy):
                    host = self.host(run_as=run_as, haproxy=haproxy)
                    before, port = host.read_config(), self.port()
                    device = device_of(host)
                    balancer = load_balancer([each.port for each in backends], port)
                    made = self.deploy(device, balancer)
                    self.assertEqual({}, made.rejected)
                    self.assertEqual(sorted(expected * 2), sorted(self.answers(port, 6)))
                    self.assertTrue(host.read_config().startswith(before))
                    self.assertIn(f"+    bind *:{port}", made.diff)
                    again = self.deploy(device, balancer)
                    self.assertEqual("noop", again.plan)
                    self.assertEqual("runtime", self.deploy(device, with_members(balancer, weight=2)).plan)
                    self.assertEqual("reload", self.deploy(device, with_limit(balancer, 99)).plan)
                    self.assertEqual(expected, sorted(self.answers(port, 3)))
                    self.deploy(device)
                    self.assertEqual(before, host.read_config())
                    self.assertEqual([], self.left_behind(host))
                    with self.assertRaises(OSError):
                        fetch(port)
                    host.stop()

    def test_a_file_without_final_lf_comes_back_without_it(self) -> None:
        (backend,) = self.backends(1)
        # HAProxy itself refuses such a file: it serves once the block stands behind it.
        host, port = self.host(haproxy_config=HAND_WRITTEN_WITHOUT_LF, haproxy="none"), self.port()
        device = device_of(host)
        for _ in range(2):
            self.deploy(device, load_balancer([backend.port], port))
            self.assertEqual(page(backend.port), fetch(port).text)
            self.assertTrue(host.read_config().startswith(HAND_WRITTEN_WITHOUT_LF + b"\n#"))
            self.deploy(device)
            self.assertEqual(HAND_WRITTEN_WITHOUT_LF, host.read_config())

    def test_haproxy_is_stopped_when_nothing_is_left_to_serve(self) -> None:
        (backend,) = self.backends(1)
        only = b"global\n    maxconn 100\n"
        host, port = self.host(haproxy_config=only, haproxy="none"), self.port()
        device = device_of(host)
        self.assertIn("started", self.deploy(device, load_balancer([backend.port], port)).sentence)
        self.assertEqual(page(backend.port), fetch(port).text)
        self.assertIn("stopped", self.deploy(device).sentence)
        self.assertEqual(only, host.read_config())
        self.assertEqual((), host.haproxy_pids())
        self.assertEqual("noop", self.deploy(device).plan)

    def test_the_file_behind_a_symbolic_link_is_changed_and_the_link_stays(self) -> None:
        (backend,) = self.backends(1)
        host, port = self.host(run_as="root", haproxy="none"), self.port()
        host.run(["mkdir", "/etc/haproxy/real"], check=True)
        host.run(["mv", "/etc/haproxy/haproxy.cfg", "/etc/haproxy/real/site.cfg"], check=True)
        host.run(["ln", "-s", "real/site.cfg", "/etc/haproxy/haproxy.cfg"], check=True)
        host.start_haproxy()
        device = device_of(host)
        made = self.deploy(device, load_balancer([backend.port], port))
        self.assertIn("reloaded", made.sentence)
        self.assertEqual(page(backend.port), fetch(port).text)
        self.assertEqual(0, host.run(["test", "-L", "/etc/haproxy/haproxy.cfg"]).returncode)
        self.assertEqual(0, host.run(["test", "-f", "/etc/haproxy/real/site.cfg.balancer"]).returncode)

    def test_owner_and_mode_are_kept(self) -> None:
        (backend,) = self.backends(1)
        host, port = self.host(sudoers="\n".join(rights.sudoers_lines("user", read=True))), self.port()
        host.run(["chown", "root:haproxy", host.config_path], check=True)
        host.run(["chmod", "640", host.config_path], check=True)
        before = host.read_config()
        device = device_of(host)
        for balancers in ((load_balancer([backend.port], port),), ()):
            self.deploy(device, *balancers)
            seen = host.run(["stat", "-c", "%U %G %a", host.config_path], check=True).stdout
            self.assertEqual(b"root haproxy 640\n", seen)
        self.assertEqual(before, host.read_config())

    def test_text_behind_the_block_is_kept_in_front_of_it(self) -> None:
        (backend,) = self.backends(1)
        host, port = self.host(), self.port()
        device, before = device_of(host), host.read_config()
        balancer = load_balancer([backend.port], port)
        self.deploy(device, balancer)
        added = b"\n# written later\nbackend later\n    mode tcp\n"
        host.write_config(host.read_config() + added)
        self.deploy(device, balancer)
        self.assertTrue(host.read_config().startswith(before + added + b"# -----"))
        self.deploy(device)
        self.assertEqual(before + added, host.read_config())

    def test_an_address_that_is_on_no_interface_does_not_stop_haproxy(self) -> None:
        (backend,) = self.backends(1)
        for run_as in ("sudo", "group"):
            with self.subTest(run_as=run_as):
                host, port = self.host(run_as=run_as), self.port()
                vips = tuple(
                    VirtualIp(id=new_id(), address=each) for each in ("203.0.113.9", "2001:db8::9", "127.0.0.1")
                )
                self.deploy(device_of(host), load_balancer([backend.port], port, virtual_ips=vips))
                self.assertEqual(page(backend.port), fetch(port).text)

    def test_a_member_out_of_rotation_gets_no_request(self) -> None:
        one, two = self.backends(2)
        host, port = self.host(), self.port()
        device, balancer = device_of(host), load_balancer([one.port, two.port], port)
        (pool,) = balancer.pools
        for rotation in (Rotation.OUT, Rotation.DRAIN):
            members = (replace(pool.members[0], rotation=rotation), pool.members[1])
            self.deploy(device, replace(balancer, pools=(replace(pool, members=members),)))
            self.assertEqual({page(two.port)}, set(self.answers(port, 4)))
            self.deploy(device, balancer)
            self.assertEqual({page(one.port), page(two.port)}, set(self.answers(port, 4)))

    def test_a_dead_back_end_is_taken_out_by_one_monitor_and_by_several(self) -> None:
        tcp = HealthMonitor(id=new_id(), project_id="foo", type=MonitorType.TCP, delay=0.2, timeout=5, rise=1, fall=1)
        http_ = replace(tcp, id=new_id(), type=MonitorType.HTTP, http=HttpCheck(path="/alive", expected_codes="200"))
        for monitors in ((tcp,), (http_,), (tcp, http_)):
            with self.subTest([each.type for each in monitors]):
                backends = self.backends(2)
                for each in backends:
                    (each.pages / "alive").write_text("yes")
                host, port = self.host(), self.port()
                balancer = load_balancer([each.port for each in backends], port, monitors=monitors)
                self.deploy(device_of(host), balancer, monitors=monitors)
                self.answered_by(port, {page(each.port) for each in backends})
                if http_ in monitors:
                    (backends[0].pages / "alive").unlink()
                else:
                    backends[0].kill()
                self.answered_by(port, {page(backends[1].port)})

    def answered_by(self, port: int, pages: set[str]) -> None:
        eventually(lambda: set(self.answers(port, 4)) == pages, f"answers are {pages}")


class TestLargeFile(DeployingCase):
    def test_what_is_there_already_is_not_sent(self) -> None:
        backend = self.backends(1)[0]
        for run_as in ("sudo", "group"):
            with self.subTest(run_as):
                host = self.host(run_as=run_as)
                device, port = device_of(host), self.port()
                good = load_balancer([backend.port], port)
                own = b"# a long story\n" * 10000 + host.read_config()
                host.write_config(own)
                self.deploy(device, good)
                before = host.read_config()
                self.assertTrue(before.startswith(own))
                self.assertEqual("reload", self.deploy(device, with_limit(good, 77)).plan)
                self.assertEqual(before.count(b"\n") + 1, host.read_config().count(b"\n"))
                # Somebody else's edit that is as long as what was there.
                host.write_config(host.read_config().replace(b"story", b"novel", 1))
                self.deploy(device, with_limit(good, 78))
                self.assertIn(b"novel", host.read_config())
                self.assertIn(b" 78\n", host.read_config())
                self.assertEqual(page(backend.port), fetch(port).text)
                self.assertEqual([], host.run(["sh", "-c", "ls -A /etc/haproxy | grep balancer-"]).stdout.splitlines())


class TestLogin(DeployingCase):
    def test_password_key_and_key_file(self) -> None:
        host = self.host(haproxy="none")
        key_file = self.directory / "key"
        key_file.touch(mode=0o600)
        key_file.write_text(host.private_key)
        for credential in (
            Credential(password=host.password),
            Credential(private_key=host.private_key),
            Credential(key_filename=str(key_file)),
        ):
            with self.subTest(repr(credential)):
                seen = self.driver.observe(device_of(host, endpoint={"credential": credential}))
                self.assertTrue(seen.reachable, seen.sentence)
                self.assertEqual(host.host_key.split()[:2], (seen.host_key or "").split())

    def test_the_line_that_device_keygen_prints_suffices(self) -> None:
        (backend,) = self.backends(1)
        host, port = self.host(), self.port()
        allowed = host.root / "etc/ssh/authorized_keys"
        for name, source, lets_in in (("here", "127.0.0.0/8,::1", True), ("there", "192.0.2.0/24", False)):
            key_file, printed = self.directory / name, io.StringIO()
            with contextlib.redirect_stdout(printed):
                self.assertEqual(0, manage.main(["device-keygen", str(key_file), "--from", source]))
            (line,) = (each for each in printed.getvalue().splitlines() if "ssh-ed25519" in each)
            self.assertTrue(line.startswith('restrict,port-forwarding,from="'), line)
            allowed.write_text(f"{line}\n")
            device = device_of(host, endpoint={"credential": Credential(key_filename=str(key_file))})
            if not lets_in:
                self.assertIn("refused the login", self.driver.observe(device).sentence)
                continue
            # Commands, what is sent to them, and the channels to the sockets.
            balancer = load_balancer([backend.port], port)
            self.deploy(device, balancer)
            self.assertEqual(page(backend.port), fetch(port).text)
            seen = self.driver.observe(device)
            assert seen.sample is not None, seen.sentence
            self.assertIn(balancer.listeners[0].id, {each.object_id for each in seen.sample.objects})

    def test_a_wrong_password_is_terminal_and_named(self) -> None:
        host = self.host(haproxy="none")
        device = device_of(host, endpoint={"credential": Credential(password="wrong")})
        with self.assertRaisesRegex(TerminalDeviceError, f"refused the login of {host.user}"):
            self.deploy(device)
        self.assertFalse(self.driver.observe(device).reachable)

    def test_another_host_key_is_terminal_and_shows_both(self) -> None:
        host, other = self.host(haproxy="none"), self.host(haproxy="none")
        pinned = device_of(host, endpoint={"host_key": host.host_key})
        self.assertTrue(self.driver.observe(pinned).reachable)
        wrong = replace(pinned, endpoint=replace(pinned.endpoint, host_key=other.host_key))
        before = host.read_config()
        with self.assertRaisesRegex(TerminalDeviceError, r"expected ssh-ed25519 SHA256:\S+, got ssh-ed25519 SHA256:"):
            self.deploy(wrong)
        self.assertEqual(before, host.read_config())

    def test_a_key_seen_first_is_required_afterwards(self) -> None:
        host = self.host(haproxy="none")
        device = device_of(host)
        self.assertTrue(self.driver.observe(device).reachable)
        port = host.ssh_port
        host.stop()
        replacement = Host(self.directory / "replacement", ssh_port=port, haproxy="none", login=None)
        self.addCleanup(replacement.stop)
        replacement.start()
        with self.assertRaisesRegex(TerminalDeviceError, "host key changed"):
            self.deploy(device)
        self.driver.forget(device.id)
        with self.assertRaisesRegex(TerminalDeviceError, "refused the login"):
            self.deploy(device)

    def test_nobody_listening_is_transient(self) -> None:
        host = self.host(haproxy="none")
        device = device_of(host)
        host.stop()
        with self.assertRaisesRegex(TransientDeviceError, f"127.0.0.1:{host.ssh_port}: connection refused"):
            self.deploy(device)
        self.assertIn("connection refused", self.driver.observe(device).sentence)

    def test_a_listener_that_is_no_ssh_server_is_transient(self) -> None:
        host = self.host(haproxy="none")
        with socket.create_server(("127.0.0.1", 0)) as silent:
            driver = self.driver
            device = device_of(host, endpoint={"port": silent.getsockname()[1]})
            began = time.monotonic()
            seen = driver.observe(device)
            self.assertFalse(seen.reachable)
            self.assertLess(time.monotonic() - began, 30)

    def test_a_rebooted_device_is_connected_to_anew(self) -> None:
        host = self.host(haproxy="none")
        device = device_of(host)
        self.assertTrue(self.driver.observe(device).reachable)
        port = host.ssh_port
        host.stop()
        host.ssh_port = port
        host.start()
        self.assertTrue(self.driver.observe(device).reachable)


class TestRefusals(DeployingCase):
    """Whatever goes wrong, what served before serves on, and the message says what, where and how to mend it."""

    def setUp(self) -> None:
        super().setUp()
        self.backend = self.backends(1)[0]
        self.serving = self.port()
        self.good = load_balancer([self.backend.port], self.serving)

    def still_serving(self) -> None:
        self.assertEqual(page(self.backend.port), fetch(self.serving).text)

    def test_the_culprit_alone_is_rejected(self) -> None:
        host, port = self.host(), self.port()
        device = device_of(host)
        first = self.deploy(device, self.good)
        other = load_balancer([self.backend.port], port)
        candidate = self.render(device, sorted([self.good, other], key=lambda each: each.id))
        broken = {**candidate.blocks, other.id: candidate.blocks[other.id] + "    nonsense here\n"}
        # Without a last accepted text it is left out.
        made = self.driver.apply(
            device, replace(candidate, blocks=broken), epoch=10, last=first.accepted_blocks, check=lambda: None
        )
        self.assertEqual([other.id], list(made.rejected))
        self.assertIn("unknown keyword 'nonsense'", made.rejected[other.id])
        self.assertEqual("", made.accepted_blocks[other.id])
        self.still_serving()
        with self.assertRaises(OSError):
            fetch(port)
        # With one it serves on.
        self.driver.apply(device, candidate, epoch=11, last={}, check=lambda: None)
        made = self.driver.apply(
            device, replace(candidate, blocks=broken), epoch=12, last=candidate.blocks, check=lambda: None
        )
        self.assertEqual([other.id], list(made.rejected))
        self.assertEqual(candidate.blocks, made.accepted_blocks)
        self.assertEqual(page(self.backend.port), fetch(port).text)
        self.assertEqual([], self.left_behind(host))

    def test_the_culprit_is_found_when_haproxy_does_not_name_its_line(self) -> None:
        host = self.host()
        device = device_of(host)
        others = [load_balancer([self.backend.port], self.port()) for _ in range(3)]
        candidate = self.render(device, [self.good, *others])
        guilty = others[1].id
        # A backend that is nowhere: the alert names the frontend, and no line.
        text = candidate.blocks[guilty].replace("default_backend be-", "default_backend nowhere-")
        made = self.driver.apply(
            device, replace(candidate, blocks={**candidate.blocks, guilty: text}), epoch=1, last={}, check=lambda: None
        )
        self.assertEqual([guilty], list(made.rejected))
        self.still_serving()

    def test_a_broken_hand_written_part_is_named_and_left_alone(self) -> None:
        host = self.host()
        device = device_of(host)
        self.deploy(device, self.good)
        broken = host.read_config().replace(b"\nglobal", b"\nnonsense here\nglobal", 1)
        self.assertNotEqual(broken, host.read_config())
        host.write_config(broken)
        with self.assertRaisesRegex(TerminalDeviceError, "hand-written part of /etc/haproxy/haproxy.cfg: .*nonsense"):
            self.deploy(device, with_members(self.good, weight=2))
        self.assertEqual(broken, host.read_config())
        self.assertEqual([], self.left_behind(host))
        self.still_serving()

    def test_what_haproxy_needs_for_its_own_client_is_checked_where_that_may_be_used(self) -> None:
        """The quick check, which says that nothing uses it, would let this pass."""
        host = self.host(run_as="root")
        device = device_of(host)
        self.deploy(device, self.good)
        broken = host.read_config().replace(b"\nglobal", b"\nglobal\n    httpclient.ssl.ca-file /nowhere.pem", 1)
        host.write_config(broken)
        if host.run(["haproxy", "-c", "-f", host.config_path]).returncode == 0:
            # Newer ones do without what nobody uses.
            self.assertEqual("reload", self.deploy(device, with_limit(self.good, 100)).plan)
        else:
            with self.assertRaisesRegex(TerminalDeviceError, "HAProxy does not accept it: .*nowhere.pem"):
                self.deploy(device, with_limit(self.good, 100))
            self.assertEqual(broken, host.read_config())
        self.still_serving()

    def test_a_port_of_another_program_rejects_only_its_load_balancer(self) -> None:
        host = self.host()
        device = device_of(host)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            other = load_balancer([self.backend.port], port)
            made = self.deploy(device, self.good, other)
            self.assertEqual([other.id], list(made.rejected))
            self.assertIn(f"port {port}", made.rejected[other.id])
            self.still_serving()

    def test_what_a_hand_written_section_has_taken_since_the_last_look_is_not_shared_with_it(self) -> None:
        host, ports = self.host(), [self.port(), self.port()]
        device = device_of(host)
        early, late = (load_balancer([self.backend.port], port) for port in ports)
        accepted = self.deploy(device, self.good, early).accepted_blocks
        self.assertEqual((), self.driver.observe(device).findings)
        config = host.read_config()
        section = (
            f"listen by-hand\n\tbind *:{ports[0]}\n\tbind *:{min(ports[1], 65000)}-{ports[1]},[::]:{ports[1]}\n"
            "\tmode http\n\toption idle-close-on-response\n"
            "\thttp-request return status 200 content-type text/plain string hand-written\n"
        )
        host.write_config(section.encode() + config)
        made = self.deploy(device, with_limit(self.good, 99), early, late, last=accepted)
        self.assertEqual([late.id], list(made.rejected))
        self.assertIn(f"port {ports[1]} at every address is used by a hand-written", made.rejected[late.id])
        self.still_serving()
        # Nor when the device need not be looked at again.
        kept = [with_limit(self.good, 98), early]
        self.deploy(device, *kept, last=made.accepted_blocks)
        made = self.deploy(device, *kept, late, last=accepted)
        self.assertEqual([late.id], list(made.rejected))
        # Who was there before stays, and that is told.
        (finding,) = self.driver.observe(device).findings
        self.assertRegex(finding, f"port {ports[0]} at every address .* splits the connections between the two")
        self.assertEqual({"hand-written"}, set(self.answers(ports[1], 6)))

    def test_a_port_taken_at_the_last_moment_puts_the_old_file_back(self) -> None:
        host, port = self.host(), self.port()
        device = device_of(host)
        first = self.deploy(device, self.good)
        before = host.read_config()
        taken = contextlib.ExitStack()
        self.addCleanup(taken.close)
        calls = []

        def take() -> None:
            # The second call is the last one before the file is installed.
            calls.append(1)
            if len(calls) == 2:
                taken.enter_context(socket.create_server(("127.0.0.1", port)))

        with self.assertRaisesRegex(TransientDeviceError, "previous configuration was put back"):
            self.deploy(device, self.good, load_balancer([self.backend.port], port), check=take)
        self.assertEqual(before, host.read_config())
        self.assertEqual([], self.left_behind(host))
        self.still_serving()
        # What was put back is nobody's edit.
        self.assertIsNone(self.driver.observe(device, first.accepted_blocks).drift)
        taken.close()
        self.deploy(device, self.good, load_balancer([self.backend.port], port))
        self.assertEqual(page(self.backend.port), fetch(port).text)

    def test_a_haproxy_that_ends_because_it_could_not_start_anew_is_started_again(self) -> None:
        # Abstract sockets, as several health monitors need them, cannot be paused by HAProxy 2.6.
        monitors = [
            HealthMonitor(id=new_id(), project_id="foo", type=kind, delay=1, timeout=1, http=http)
            for kind, http in ((MonitorType.TCP, None), (MonitorType.HTTP, HttpCheck()))
        ]
        host, ports = self.host(), [self.port(), self.port()]
        device, taken = device_of(host), contextlib.ExitStack()
        self.addCleanup(taken.close)
        checked = load_balancer([self.backend.port], ports[0], monitors=monitors)
        other = load_balancer([self.backend.port], ports[1])
        accepted = self.deploy(device, checked, monitors=monitors).accepted_blocks

        calls = []

        def take() -> None:
            # The second call is the last one before the file is installed.
            calls.append(1)
            if len(calls) == 2:
                taken.enter_context(socket.create_server(("127.0.0.1", ports[1])))

        with self.assertRaisesRegex(TransientDeviceError, "no new process of it lives"):
            self.deploy(device, checked, other, monitors=monitors, last=accepted, check=take)
        made = self.deploy(device, checked, other, monitors=monitors, last=accepted)
        self.assertEqual([other.id], list(made.rejected))
        eventually(lambda: fetch(ports[0]).status == 200, "it serves again")

    def test_an_earlier_owner_is_fenced_out(self) -> None:
        host = self.host()
        device = device_of(host)
        self.deploy(device, self.good, epoch=7)
        before = host.read_config()
        with self.assertRaisesRegex(LeaseLost, "epoch 7"):
            self.deploy(device, with_members(self.good, weight=3), epoch=6)
        self.assertEqual(before, host.read_config())
        self.assertEqual([], self.left_behind(host))

    def test_a_lost_lease_is_noticed_before_anything_is_changed(self) -> None:
        host = self.host()
        device = device_of(host)
        before = host.read_config()

        def lost() -> None:
            raise LeaseLost("gone")

        with self.assertRaises(LeaseLost):
            self.deploy(device, self.good, check=lost)
        self.assertEqual(before, host.read_config())

    def test_a_lease_lost_during_the_reload_takes_it_back(self) -> None:
        host, port = self.host(), self.port()
        device = device_of(host)
        self.deploy(device, self.good)
        before, calls = host.read_config(), []

        def lost() -> None:
            calls.append(1)
            if len(calls) == 3:
                raise LeaseLost("gone")

        with self.assertRaises(LeaseLost):
            self.deploy(device, self.good, load_balancer([self.backend.port], port), check=lost)
        self.assertEqual(before, host.read_config())
        self.still_serving()
        # The worker that goes back to what was before takes a moment.
        eventually(lambda: not listens(port), "the port is free again")

    def test_a_block_of_another_database_is_refused(self) -> None:
        host = self.host()
        first, second = device_of(host), device_of(host)
        self.deploy(first, self.good)
        before = host.read_config()
        with self.assertRaisesRegex(TerminalDeviceError, f"belongs to device {first.id}"):
            self.deploy(second, self.good)
        self.assertEqual(before, host.read_config())
        self.assertIn(first.id, " ".join(self.driver.observe(second).findings))
        # An administrator may say that the other database is gone.
        self.assertEqual("reload", self.deploy(replace(second, adopting=True), self.good, epoch=1).plan)
        self.assertNotIn(first.id.encode(), host.read_config())
        self.still_serving()
        with self.assertRaisesRegex(TerminalDeviceError, f"belongs to device {second.id}"):
            self.deploy(first, self.good)
        self.deploy(replace(first, adopting=True), self.good, epoch=49)
        self.assertEqual(49, self.driver.observe(first).epoch)
        # Once nothing of it is left there, another may follow, whatever epoch it counts from.
        self.deploy(first, epoch=50)
        self.deploy(second, self.good, epoch=1)
        self.still_serving()

    def test_an_edit_during_the_deployment_is_kept(self) -> None:
        host = self.host()
        device, before, calls = device_of(host), host.read_config(), []
        added = b"# an administrator was faster\n"

        def edit() -> None:
            calls.append(1)
            if len(calls) == 2:
                host.write_config(before + added)

        self.deploy(device, self.good, check=edit)
        self.assertTrue(host.read_config().startswith(before + added))
        self.still_serving()

    def test_an_older_file_put_in_its_place_during_the_deployment_is_kept(self) -> None:
        host = self.host()
        device, before, calls = device_of(host), host.read_config(), []
        added = b"# out of an administrator's archive\n"
        host.run(["tee", f"{host.config_path}.saved"], input=before + added, check=True)
        host.run(["touch", "-d", "2001-01-01", f"{host.config_path}.saved"], check=True)

        def exchange() -> None:
            calls.append(1)
            if len(calls) == 2:
                host.run(["mv", f"{host.config_path}.saved", host.config_path], check=True)

        self.deploy(device, self.good, check=exchange)
        self.assertTrue(host.read_config().startswith(before + added))
        self.still_serving()

    def test_a_missing_sudoers_line_is_shown(self) -> None:
        lines = [line for line in rights.sudoers_lines("user") if "-USR2" not in line and "balancer-note" not in line]
        host = self.host(sudoers="\n".join(lines))
        before = host.read_config()
        with self.assertRaises(TerminalDeviceError) as caught:
            self.deploy(device_of(host), self.good)
        self.assertIn(
            "user ALL=(root) NOPASSWD: /usr/bin/tee /etc/haproxy/.haproxy.cfg.balancer-note", str(caught.exception)
        )
        self.assertEqual(before, host.read_config())

    def test_each_missing_sudoers_line_is_named(self) -> None:
        lines = rights.sudoers_lines("user", read=True)
        host = self.host(sudoers="\n".join(lines))
        host.run(["chown", "root:haproxy", host.config_path], check=True)
        host.run(["chmod", "640", host.config_path], check=True)
        before = host.run(["cat", "/etc/sudoers"], check=True).stdout
        device = device_of(host)
        self.deploy(device, self.good)
        # Starting, stopping, addresses and what is done by hosts without a master process.
        unused = ("-TERM", " -sf ", "-W -D", "^address", "balancer-states")
        needed = [line for line in lines if not any(word in line for word in unused)]
        # Putting back, and what is left then, comes after something else went wrong.
        needed = [line for line in needed if f"balancer-old {host.config_path}" not in line and "/rm " not in line]
        for number, line in enumerate(needed):
            with self.subTest(line):
                self.assertIn(line.encode(), before)
                sudoers = b"".join(each for each in before.splitlines(keepends=True) if each.strip() != line.encode())
                host.run(["tee", "/etc/sudoers"], input=sudoers, check=True)
                with self.assertRaises(TerminalDeviceError) as caught:
                    self.deploy(device, with_limit(self.good, 10 + number))
                self.assertIn(line.partition("NOPASSWD: ")[2], str(caught.exception))
                self.assertIn("sudoers", str(caught.exception))
                host.run(["tee", "/etc/sudoers"], input=before, check=True)
                self.still_serving()
        self.assertEqual({}, dict(self.deploy(device, with_limit(self.good, 9)).rejected))
        self.assertEqual([], self.left_behind(host))

    def test_a_reload_that_sudo_refuses_is_taken_back(self) -> None:
        lines = [line for line in rights.sudoers_lines("user") if "-USR2" not in line]
        host = self.host(sudoers="\n".join(lines))
        before = host.read_config()
        with self.assertRaises(TerminalDeviceError) as caught:
            self.deploy(device_of(host), self.good)
        self.assertIn("user ALL=(root) NOPASSWD: /usr/bin/kill ^-USR2 [0-9]+( [0-9]+)*$", str(caught.exception))
        self.assertEqual(before, host.read_config())
        self.assertEqual([], self.left_behind(host))

    def test_a_full_disk_and_a_read_only_one(self) -> None:
        host = self.host(run_as="root")
        device, before = device_of(host), host.read_config()
        host.run(["mount", "-t", "tmpfs", "-o", "size=8k", "full", "/etc/haproxy"], check=True)
        host.run(["tee", "/etc/haproxy/haproxy.cfg"], input=before, check=True)
        host.run(["sh", "-c", "cat /dev/zero >/etc/haproxy/fill"])
        with self.assertRaisesRegex(TransientDeviceError, "`write` .*No space left on device"):
            self.deploy(device, self.good)
        self.assertEqual(before, host.run(["cat", "/etc/haproxy/haproxy.cfg"]).stdout)
        host.run(["rm", "/etc/haproxy/fill"], check=True)
        host.run(["mount", "-o", "remount,ro", "/etc/haproxy"], check=True)
        with self.assertRaisesRegex(TransientDeviceError, "Read-only file system"):
            self.deploy(device, self.good)
        host.run(["mount", "-o", "remount,rw,size=1m", "/etc/haproxy"], check=True)
        self.assertEqual({}, self.deploy(device, self.good).rejected)
        self.still_serving()

    def test_what_a_host_lacks_is_said(self) -> None:
        host = self.host(run_as="root")
        for fields, message in (
            ({"config_path": "/etc/haproxy/other.cfg"}, "/etc/haproxy/other.cfg does not exist: create it"),
            ({"config_path": "/etc/nowhere/haproxy.cfg"}, "the directory of /etc/nowhere/haproxy.cfg does not exist"),
            ({"socket": "/run/nowhere/balancer.sock"}, "the directory of the stats socket /run/nowhere/balancer.sock"),
        ):
            with self.subTest(message):
                device = device_of(host, **fields)
                with self.assertRaisesRegex(TerminalDeviceError, message):
                    self.deploy(device, self.good)
                self.assertIn(message, " ".join(self.driver.observe(device).findings))

    def test_a_haproxy_that_runs_but_was_removed_is_no_fault_of_a_load_balancer(self) -> None:
        for run_as in ("root", "sudo", "group"):
            with self.subTest(run_as):
                host = self.host(run_as=run_as)
                device = device_of(host)
                self.deploy(device, self.good)
                before = host.read_config()
                host.run(["cp", "/usr/sbin/haproxy", "/run/gone"], check=True)
                host.run(["chmod", "644", "/run/gone"], check=True)
                host.run(["mount", "--bind", "/run/gone", "/usr/sbin/haproxy"], check=True)
                with self.assertRaisesRegex(TerminalDeviceError, "no program /usr/sbin/haproxy .* install it"):
                    self.deploy(device, self.good, load_balancer([self.backend.port], self.port()))
                self.assertEqual([], self.left_behind(host))
                self.assertEqual(before, host.read_config())
                self.still_serving()
                host.stop()

    def test_a_file_with_half_a_block_is_not_guessed_at(self) -> None:
        host = self.host()
        device = device_of(host)
        self.deploy(device, self.good)
        cut = host.read_config()[:-40]
        host.write_config(cut)
        with self.assertRaisesRegex(TerminalDeviceError, "BEGIN to its END marker"):
            self.deploy(device, self.good)
        self.assertEqual(cut, host.read_config())


class TestInterrupted(DeployingCase):
    """The controller, its connection or the device dies in the middle."""

    def setUp(self) -> None:
        super().setUp()
        self.backend = self.backends(1)[0]
        self.serving, self.new = self.port(), self.port()
        self.good = load_balancer([self.backend.port], self.serving)
        self.more = load_balancer([self.backend.port], self.new)

    def step(self, host: Host, device_id: str, content: bytes) -> tuple[list[str], bytes, bytes]:
        """The command line of a deployment step, and the two things that it is told: what to do, and to go on."""
        device = replace(device_of(host), id=device_id)
        pool = Pool(connect_timeout=5)
        self.addCleanup(pool.close)
        state = deploy.look(pool.connection(device.id, device.endpoint), device, timeout=20)
        order = deploy.Order(
            content=content,
            sidecar=Sidecar(device_id=device_id, epoch=99),
            action=Action.RELOAD,
            has_block=True,
        )
        how = deploy.means(state, device, "")
        argv, told = deploy._argv(device, state, how, 5), deploy._told(state, how, order)
        return argv, told, f"go 0 {' '.join(str(each.pid) for each in state.processes)}\n".encode()

    def installed(self, host: Host, device_id: str, content: bytes) -> Pool:
        """A deployment that has come so far; nobody has said yet whether it serves."""
        argv, told, go = self.step(host, device_id, content)
        pool = Pool(connect_timeout=5)
        self.addCleanup(pool.close)
        session = pool.connection("x", device_of(host).endpoint).session(argv, timeout=60)
        self.assertEqual(b"balancer-deploy 1", session.readline())
        session.write(told + go)
        while (line := session.readline()) and not line.startswith(b"accepted "):
            pass
        self.assertEqual(b"installed ", session.readline())
        self.assertEqual(content, host.read_config())
        return pool

    def prepared(self, run_as: str = "sudo") -> tuple[Host, str, bytes, bytes]:
        host = self.host(run_as=run_as)
        device = device_of(host)
        self.deploy(device, self.good)
        before = host.read_config()
        self.deploy(device, self.good, self.more)
        after = host.read_config()
        self.deploy(device, self.good)
        self.assertEqual(before, host.read_config())
        return host, device.id, before, after

    def test_a_connection_cut_in_the_upload_installs_nothing(self) -> None:
        host, device_id, before, after = self.prepared()
        argv, told, _ = self.step(host, device_id, after)
        for cut in (0, 1, 10, len(told) // 2, len(told) - 1, len(told)):
            with self.subTest(cut):
                pool = Pool(connect_timeout=5)
                session = pool.connection("x", device_of(host).endpoint).session(argv, timeout=30)
                self.assertEqual(b"balancer-deploy 1", session.readline())
                session.write(told[:cut])
                pool.close()
                eventually(lambda: self.left_behind(host) == [], "staged file removed")
                self.assertEqual(before, host.read_config())
        self.assertEqual(page(self.backend.port), fetch(self.serving).text)

    def test_a_reload_that_gets_lost_is_asked_for_again(self) -> None:
        host = self.host(run_as="root")
        device = device_of(host)
        self.deploy(device, self.good)
        # A master that is busy with the reload before does not hear the next one.
        deaf = '#!/bin/sh\nmkdir /run/lost 2>/dev/null && exit 0\nexec /run/real-kill "$@"\n'
        host.run(["cp", "-p", "/usr/bin/kill", "/run/real-kill"], check=True)
        host.run(["tee", "/run/deaf-kill"], input=deaf.encode(), check=True)
        host.run(["chmod", "755", "/run/deaf-kill"], check=True)
        host.run(["mount", "--bind", "/run/deaf-kill", "/usr/bin/kill"], check=True)
        applied = self.deploy(device, self.good, self.more)
        self.assertEqual("reload", applied.plan)
        self.assertEqual(0, host.run(["test", "-d", "/run/lost"]).returncode, "none was lost")
        self.assertEqual(page(self.backend.port), fetch(self.new).text)

    def test_what_cannot_be_recorded_does_not_run_on(self) -> None:
        """Also where HAProxy is asked for the reload over its master socket, while the step records."""
        for run_as, method in (("group", "master socket"), ("root", "signal")):
            with self.subTest(method):
                host = self.host(run_as=run_as)
                device = device_of(host)
                self.assertIn(method, self.deploy(device, self.good).sentence)
                before = host.read_config()
                broken = (
                    "#!/bin/sh\ncase $* in *balancer-note*) echo 'mv: Input/output error' >&2; exit 1 ;; esac\n"
                    'exec /run/real-mv "$@"\n'
                )
                host.run(["cp", "-p", "/usr/bin/mv", "/run/real-mv"], check=True)
                host.run(["tee", "/run/broken-mv"], input=broken.encode(), check=True)
                host.run(["chmod", "755", "/run/broken-mv"], check=True)
                host.run(["mount", "--bind", "/run/broken-mv", "/usr/bin/mv"], check=True)
                with self.assertRaisesRegex(TransientDeviceError, "`record` .*Input/output error"):
                    self.deploy(device, self.good, self.more)
                self.assertEqual(before, host.read_config())
                self.assertEqual(page(self.backend.port), fetch(self.serving).text)
                eventually(lambda: not listens(self.new), "the previous configuration runs again")
                host.stop()

    def test_a_controller_that_dies_before_its_verdict_leaves_the_old_configuration(self) -> None:
        for run_as in ("sudo", "root", "group"):
            with self.subTest(run_as):
                host, device_id, before, after = self.prepared(run_as)
                pool = self.installed(host, device_id, after)
                pool.close()
                self.put_back(host, before)

    def test_a_controller_that_hangs_is_given_up_within_the_steps_time(self) -> None:
        host, device_id, before, after = self.prepared()
        self.installed(host, device_id, after)
        self.put_back(host, before)

    def test_a_master_that_is_busy_with_the_reload_before_is_asked_again(self) -> None:
        host = self.host(run_as="group")
        device = device_of(host)
        self.assertIn("master socket", self.deploy(device, self.good).sentence)
        (master,) = {each.master_socket for each in self.looked_at(host).leaders}
        calls: list[int] = []
        back = threading.Timer(0.4, lambda: host.run(["mv", f"{master}.away", str(master)], check=True))
        self.addCleanup(back.join)

        def refuse_for_a_moment() -> None:
            calls.append(1)
            # The last call before the file is installed and the master asked.
            if len(calls) == 2:
                host.run(["mv", str(master), f"{master}.away"], check=True)
                back.start()

        made = self.deploy(device, self.good, self.more, check=refuse_for_a_moment)
        self.assertEqual("reload", made.plan)
        self.assertEqual(page(self.backend.port), fetch(self.new).text)

    def looked_at(self, host: Host) -> HostState:
        device = device_of(host)
        pool = Pool(connect_timeout=5)
        self.addCleanup(pool.close)
        return deploy.look(pool.connection(device.id, device.endpoint), device, timeout=20)

    def waiting(self, host: Host) -> list[str]:
        """The numbers, as the device counts, of shells that wait for an order."""
        return host.run(["pgrep", "-f", "^/bin/sh -c echo balancer-deploy 1 "]).stdout.decode().split()

    def test_the_shell_that_waits_for_the_next_deployment_is_used_or_done_without(self) -> None:
        host = self.host()
        device = device_of(host)
        self.deploy(device, self.good)
        self.deploy(device, self.good, self.more)
        eventually(lambda: len(self.waiting(host)) == 1, "one waits")
        (first,) = self.waiting(host)
        self.assertEqual("reload", self.deploy(device, self.good).plan)
        eventually(lambda: len(self.waiting(host)) == 1, "the next one waits")
        (second,) = self.waiting(host)
        self.assertNotEqual(first, second)
        host.run(["kill", "-9", second], check=True)
        self.assertEqual("reload", self.deploy(device, self.good, self.more).plan)
        self.assertEqual(page(self.backend.port), fetch(self.new).text)
        eventually(lambda: len(self.waiting(host)) == 1, "one waits again")
        self.driver.close()
        eventually(lambda: self.waiting(host) == [], "it ends with the connection")

    def test_channels_that_are_opened_at_once_do_not_take_each_other_s_place(self) -> None:
        host = self.host()
        device = device_of(host)
        self.deploy(device, self.good)
        pool = Pool(connect_timeout=5)
        self.addCleanup(pool.close)
        connection = pool.connection(device.id, device.endpoint)
        connection.run(["true"], timeout=20)
        first, done = connection._transport, threading.Event()

        def open_sessions() -> None:
            while not done.is_set():
                with contextlib.suppress(TransientDeviceError):
                    if (session := connection.further_session(["true"])) is not None:
                        session.close()

        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        other = threading.Thread(target=open_sessions)
        other.start()
        try:
            for _ in range(300):
                self.assertIn("Pid: ", runtime.ask(connection, device.socket or "", "show info"))
        finally:
            done.set()
            other.join()
            sys.setswitchinterval(interval)
        self.assertIs(first, connection._transport)

    def one_at_a_time(self) -> Host:
        """A device whose SSH server lets one command run at a time."""
        host = self.host()
        (sshd,) = host.run(["pgrep", "-o", "sshd"], check=True).stdout.decode().split()
        host.run(["tee", "-a", "/etc/ssh/sshd_config"], input=b"MaxSessions 1\n", check=True)
        host.run(["kill", "-HUP", sshd], check=True)
        eventually(lambda: self.lets_run(host) == 1, "the SSH server has read its configuration")
        return host

    def lets_run(self, host: Host) -> int:
        """How many commands a new connection lets run at a time, of two."""
        pool = Pool(connect_timeout=5)
        running: list[object] = []
        with contextlib.closing(pool), contextlib.suppress(TransientDeviceError):
            connection = pool.connection("x", device_of(host).endpoint)
            running.append(connection.session(["cat"], timeout=60))
            running.append(connection.further_session(["cat"]))
        return len(running)

    def test_a_server_that_lets_one_command_run_at_a_time_is_enough(self) -> None:
        host = self.one_at_a_time()
        device = device_of(host)
        self.deploy(device, self.good)
        eventually(lambda: len(self.waiting(host)) == 1, "one waits")
        observation = self.driver.observe(device)
        self.assertTrue(observation.reachable, observation.sentence)
        for balancers in ((self.good, self.more), (self.good,)):
            self.assertEqual("reload", self.deploy(device, *balancers).plan)
            self.assertEqual([], self.waiting(host))

    def test_a_server_that_still_counts_the_command_before_is_asked_again(self) -> None:
        host = self.one_at_a_time()
        pool = Pool(connect_timeout=5)
        self.addCleanup(pool.close)
        connection = pool.connection("x", device_of(host).endpoint)
        for number in range(100):
            self.assertEqual(f"{number}\n".encode(), connection.run(["echo", str(number)], timeout=20).stdout)
        # One that is given up has yet to see that its input has ended.
        for _ in range(10):
            connection.session(["cat"], timeout=20).close()
            self.assertEqual(b"here\n", connection.run(["echo", "here"], timeout=20).stdout)

    def test_a_server_that_lets_no_further_command_run_is_named(self) -> None:
        host = self.one_at_a_time()
        pool = Pool(connect_timeout=5)
        self.addCleanup(pool.close)
        connection = pool.connection("x", device_of(host).endpoint)
        busy = connection.session(["cat"], timeout=60)
        with self.assertRaisesRegex(TransientDeviceError, "opens no session .*: raise MaxSessions in its sshd_config$"):
            connection.run(["true"], timeout=20)
        self.assertEqual(0, busy.finish().rc)
        self.assertEqual(0, connection.run(["true"], timeout=20).rc)

    def test_what_is_refused_because_somebody_edited_the_file_is_no_fault_of_a_load_balancer(self) -> None:
        host = self.host()
        device = device_of(host)
        self.deploy(device, self.good)
        listener = self.more.listeners[0].id
        section = f"frontend fe-{listener}\n    bind 127.0.0.1:{self.port()}\n    default_backend none\nbackend none\n"
        before = host.read_config()
        host.write_config(section.encode() + before)
        # Brings the section among what is known of the device.
        self.deploy(device, with_limit(self.good, 100))
        host.write_config(host.read_config().removeprefix(section.encode()))
        made = self.deploy(device, with_limit(self.good, 100), self.more)
        self.assertEqual({}, dict(made.rejected))
        self.assertEqual(page(self.backend.port), fetch(self.new).text)

    def test_a_device_that_lost_power_before_the_reload_gets_it_later(self) -> None:
        """The new file is installed and the previous one still lies beside it, but HAProxy runs the old one."""
        host, device_id, before, after = self.prepared(run_as="root")
        device = replace(device_of(host), id=device_id)
        directory = Path(host.config_path).parent
        host.run(["tee", str(directory / ".haproxy.cfg.balancer-old")], input=before, check=True)
        host.write_config(after)
        self.assertIn("not seen through", self.driver.observe(device).repair or "")
        made = self.deploy(device, self.good, self.more)
        self.assertEqual("reload", made.plan)
        self.assertEqual(page(self.backend.port), fetch(self.new).text)
        self.assertEqual([], self.left_behind(host))
        self.assertIsNone(self.driver.observe(device).repair)

    def test_what_was_not_seen_serving_is_not_after_a_roll_back_either(self) -> None:
        """The device lost its power before the reload, and what comes next is taken back."""
        host, device_id, before, after = self.prepared(run_as="root")
        device = replace(device_of(host), id=device_id)
        served = self.render(device, [self.good]).blocks
        host.run(["tee", f"{Path(host.config_path).parent}/.haproxy.cfg.balancer-old"], input=before, check=True)
        host.write_config(after)
        self.driver.forget(device_id)
        calls: list[None] = []

        def lost() -> None:
            calls.append(None)
            if len(calls) == 3:
                raise LeaseLost("lost")

        with self.assertRaises(LeaseLost):
            self.deploy(device, with_limit(self.good, 77), check=lost)
        self.assertEqual(after, host.read_config())
        self.assertEqual([], self.left_behind(host))
        stored = load_sidecar(host.run(["cat", f"{host.config_path}.balancer"], check=True).stdout)
        self.assertEqual(UNKNOWN, stored.digest)
        observation = self.driver.observe(device, served)
        self.assertIsNone(observation.drift)
        self.assertEqual("the last deployment was not seen through to its end", observation.repair)
        made = self.deploy(device, self.good)
        self.assertIn("never seen serving", made.sentence)
        self.assertEqual(before, host.read_config())
        self.assertEqual("noop", self.deploy(device, self.good).plan)

    def test_a_haproxy_that_is_gone_is_seen_and_started_again(self) -> None:
        host = self.host()
        device = device_of(host)
        self.deploy(device, self.good)
        host.stop_haproxy()
        self.assertEqual("HAProxy is not running", self.driver.observe(device).repair)
        made = self.deploy(device, self.good)
        self.assertIn("started", made.sentence)
        self.assertEqual(page(self.backend.port), fetch(self.serving).text)
        self.assertIsNone(self.driver.observe(device).repair)

    def test_a_lost_sidecar_costs_a_reload_and_nothing_else(self) -> None:
        host = self.host()
        device = device_of(host)
        self.deploy(device, self.good)
        sidecar = f"{host.config_path}.balancer"
        for content in (b"", b"{nonsense", None):
            with self.subTest(content):
                if content is None:
                    host.run(["rm", sidecar], check=True)
                else:
                    host.run(["tee", sidecar], input=content, check=True)
                self.assertIn("but nothing was deployed", self.deploy(device, self.good).sentence)
                stored = load_sidecar(host.run(["cat", sidecar], check=True).stdout)
                self.assertEqual(device.id, stored.device_id)

    def put_back(self, host: Host, before: bytes) -> None:
        eventually(lambda: host.read_config() == before, "the file is put back")
        eventually(lambda: self.left_behind(host) == [], "nothing is left")
        eventually(lambda: self.closed(self.new), "the new port is closed again")
        self.assertEqual(page(self.backend.port), fetch(self.serving).text)

    def closed(self, port: int) -> bool:
        try:
            fetch(port)
        except OSError:
            return True
        return False


class TestUnderLoad(DeployingCase):
    def test_no_request_fails_during_reloads(self) -> None:
        backends = self.backends(2)
        for haproxy, run_as in (("master-worker", "sudo"), ("daemon", "root"), ("master-worker", "group")):
            with self.subTest(haproxy=haproxy, run_as=run_as):
                host, port = self.host(haproxy=haproxy, run_as=run_as), self.port()
                device, balancer = device_of(host), load_balancer([each.port for each in backends], port)
                self.deploy(device, balancer)
                with Traffic.heavy(port, least=500) as traffic:
                    for number in range(10):
                        made = self.deploy(device, with_limit(balancer, 900 + number))
                        self.assertEqual("reload", made.plan)
                self.assertEqual([], traffic.failures)
                self.assertGreaterEqual(traffic.count, 500)


class TestWithoutRoot(DeployingCase):
    def test_sshd_and_haproxy_of_an_ordinary_user(self) -> None:
        code = """
import sys
from pathlib import Path
from balancer.devbox.backends import Backend
from balancer.devbox.host import Host
from balancer.devbox.processes import free_port
from balancer.drivers.haproxy.driver import HAProxyDriver
from tests.integration.deploying import SETTINGS, device_of, load_balancer
from tests.integration.running import fetch
from balancer.core.model import DeviceSpec

root = Path(sys.argv[1])
driver, port = HAProxyDriver(SETTINGS), free_port()
with Backend(root / "backend") as backend, Host(root / "host", isolated=False) as host:
    device = driver.validate_device(device_of(host))
    before = host.read_config()

    def deploy(*balancers, epoch):
        spec = DeviceSpec(device=device, load_balancers=balancers, monitors=(), revision=1)
        made = driver.apply(device, driver.render(spec), epoch=epoch, last={}, check=lambda: None)
        print(made.sentence.split()[0], *(fetch(port).text.split() for _ in balancers), made.rejected)

    one = load_balancer([backend.port], port)
    deploy(one, epoch=1)
    host.stop_haproxy()
    deploy(one, epoch=2)
    deploy(epoch=3)
    assert host.read_config() == before
    driver.close()
"""
        done = as_ordinary_user(self.directory, code)
        self.assertEqual("", "" if done.returncode == 0 else done.stderr)
        self.assertEqual(["reloaded", "started", "reloaded"], [line.split()[0] for line in done.stdout.splitlines()])

    def test_what_haproxy_cannot_start_with_is_rejected_and_not_tried_again(self) -> None:
        code = """
import sys
from pathlib import Path
from balancer.core.model import DeviceSpec
from balancer.devbox.backends import Backend, page
from balancer.devbox.host import Host
from balancer.devbox.processes import free_port
from balancer.drivers.haproxy.driver import HAProxyDriver
from balancer.exceptions import TransientDeviceError
from tests.integration.deploying import SETTINGS, device_of, load_balancer, with_limit
from tests.integration.running import fetch

root = Path(sys.argv[1])
driver, port = HAProxyDriver(SETTINGS), free_port()
with Backend(root / "backend") as backend, Host(root / "host", isolated=False) as host:
    device = driver.validate_device(device_of(host))
    # Only root may listen there; haproxy -c does not see that.
    good, bad = load_balancer([backend.port], port), load_balancer([backend.port], 81)
    accepted = {}

    def deploy(*balancers, epoch):
        global accepted
        spec = DeviceSpec(device=device, load_balancers=balancers, monitors=(), revision=1)
        try:
            made = driver.apply(device, driver.render(spec), epoch=epoch, last=accepted, check=lambda: None)
        except TransientDeviceError as error:
            print("failed", error)
        else:
            accepted = made.accepted_blocks
            print("applied", made.plan, list(made.rejected) == [bad.id], *made.rejected.values())
        assert fetch(port).text == page(backend.port)

    def failures():
        return host.haproxy_log.read_text().count("Some protocols failed to start")

    deploy(good, epoch=1)
    epoch = 2
    while bad.id and epoch < 5:
        deploy(good, bad, epoch=epoch)
        epoch += 1
    tried = failures()
    deploy(with_limit(good, 99), bad, epoch=epoch)
    assert 0 < tried == failures(), (tried, failures())
    driver.close()
"""
        done = as_ordinary_user(self.directory, code, timeout=120)
        self.assertEqual("", "" if done.returncode == 0 else done.stderr + done.stdout)
        lines = done.stdout.splitlines()
        self.assertEqual(["applied reload False"], lines[:1])
        self.assertRegex(lines[-1], "^applied reload True .*HAProxy accepted the configuration, but no new process")
        self.assertIn("tried again when it is changed", lines[-1])


class TestSocket(DeployingCase):
    def test_the_stats_socket_answers_over_the_connection(self) -> None:
        (backend,) = self.backends(1)
        host = self.host()
        device = device_of(host)
        self.deploy(device, load_balancer([backend.port], self.port()))
        pool = Pool(connect_timeout=5)
        self.addCleanup(pool.close)
        info = runtime.show_info(pool.connection(device.id, device.endpoint), host.socket)
        self.assertIn(info.pid, host.haproxy_pids())
        with self.assertRaisesRegex(TransientDeviceError, "does not connect to /run/haproxy/none.sock"):
            runtime.show_info(pool.connection(device.id, device.endpoint), "/run/haproxy/none.sock")
