"""What goes wrong on a device: a message says what, where and how to mend it; the old configuration serves on; once it
is mended everything is as it was asked for."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from balancer.devbox.processes import accepts, free_port
from tests.integration.running import eventually
from tests.scenarios.world import BY_RESTART, ScenarioCase, answers

_FILL = """\
cp -a /etc/haproxy /run/kept
mount -t tmpfs -o size=64k,mode=755 full /etc/haproxy
cp -a /run/kept/. /etc/haproxy
cat /dev/zero >/etc/haproxy/fill 2>/dev/null || true
"""
# The small file system goes, what is on it stays.
_EXCHANGE = """\
rm -rf /run/kept
cp -a /etc/haproxy /run/kept
umount /etc/haproxy
cp -a /run/kept/. /etc/haproxy
"""


class DeviceFailures(ScenarioCase):
    def on_device(self, script: str) -> None:
        self.host.run(["sh", "-ec", script], check=True)

    @contextlib.contextmanager
    def broken(self, how: str, *, mend: str) -> Iterator[None]:
        """Two scripts; the second one is run whatever happens in between."""
        self.on_device(how)
        try:
            with self.nothing_changes():
                yield
        finally:
            self.on_device(mend)

    @contextlib.contextmanager
    def rewritten(self, path: str, content: bytes) -> Iterator[None]:
        """A file on the device has another content in the block."""
        before = self.world.on_device(path)
        self.host.run(["tee", path], input=content, check=True)
        try:
            with self.nothing_changes():
                yield
        finally:
            self.host.run(["tee", path], input=before, check=True)

    @contextlib.contextmanager
    def nothing_changes(self) -> Iterator[None]:
        """What is served stays as it is, and no request fails."""
        world = self.world
        config, ports = world.config(), world.ports
        with self.traffic() as traffic:
            yield
            self.assertEqual(config, world.config())
            self.assertEqual([], [port for port in ports if not answers(port)])
        self.no_request_failed(traffic)

    def add_in_vain(self, *tell: str) -> str:
        """A load balancer that cannot be deployed; it and the device say why."""
        balancer = self.world.add()
        self.says(tell, balancer=balancer)
        self.says(tell)
        return balancer

    def test_disk_full(self) -> None:
        self.on_device(_FILL)
        try:
            with self.nothing_changes():
                self.add_in_vain("No space left on device", "/etc/haproxy", "free some space")
            # Nobody has to ask for it.
            self.on_device("rm /etc/haproxy/fill")
            self.well_within(BY_RESTART, "space was freed")
        finally:
            self.on_device(_EXCHANGE)

    def test_read_only_file_system(self) -> None:
        read_only = "mount --bind /etc/haproxy /etc/haproxy && mount -o remount,bind,ro /etc/haproxy"
        with self.broken(read_only, mend="umount /etc/haproxy"):
            self.add_in_vain("Read-only file system", "/etc/haproxy", "mount it writable")
        self.well_within(BY_RESTART, "writable again")

    def test_sudo_refused(self) -> None:
        lines = self.world.on_device("/etc/sudoers").splitlines(keepends=True)
        without = b"".join(line for line in lines if not line.startswith(self.host.user.encode() + b" "))
        with self.rewritten("/etc/sudoers", without):
            refused = self.add_in_vain("sudo refused", "Add to the device's sudoers", "NOPASSWD: /usr/bin/tee")
            self.assertEqual("ERROR", self.world.status(refused)[0])
        self.world.retry()
        self.well_within(BY_RESTART, "sudo allows it again")

    def test_haproxy_missing(self) -> None:
        """It runs, but its program was removed."""
        remove = "cp /usr/sbin/haproxy /run/gone; chmod 644 /run/gone; mount --bind /run/gone /usr/sbin/haproxy"
        with self.broken(remove, mend="umount /usr/sbin/haproxy"):
            self.add_in_vain("/usr/sbin/haproxy", "install it")
        self.world.retry()
        self.well_within(BY_RESTART, "haproxy is back")

    def test_hand_written_part_broken(self) -> None:
        path = self.host.config_path
        with self.rewritten(path, b"nonsense here\n" + self.world.config()):
            self.add_in_vain(f"hand-written part of {path}", "unknown keyword 'nonsense'", "mend that part")
        self.world.retry()
        self.well_within(BY_RESTART, "the hand-written part is mended")

    def test_host_key_changed(self) -> None:
        etc = self.host.root / "etc/ssh"
        old = self.host.host_key
        new = self.host.root / "new_key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", new], check=True)
        for suffix in ("", ".pub"):
            (etc / f"ssh_host_ed25519_key{suffix}").write_bytes(Path(f"{new}{suffix}").read_bytes())
        self.assertNotEqual(old, self.host.host_key)
        self.restart_sshd()
        try:
            with self.nothing_changes():
                self.add_in_vain("the host key changed: expected ssh-ed25519 SHA256:", "set its host_key")
        finally:
            changed = self.world.ask("PUT", f"/devices/{self.world.device}", {"host_key": self.host.host_key})
        self.assertEqual(200, changed.status, changed.text)
        self.well_within(BY_RESTART, "the new host key is set")

    def restart_sshd(self) -> None:
        """As when a device was reinstalled; what goes over open connections is over."""
        here = Path(f"/proc/{self.host.processes()[0].pid}/root")
        for entry in (here / "proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (entry / "comm").read_text() == "sshd\n":
                    self.host.run(["kill", "-9", entry.name])
        eventually(lambda: not accepts("127.0.0.1", self.host.ssh_port), "sshd is gone")
        self.host.run(["/usr/sbin/sshd", "-f", "/etc/ssh/sshd_config"], check=True)
        eventually(lambda: accepts("127.0.0.1", self.host.ssh_port), "sshd is back")

    def test_port_taken_on_the_host(self) -> None:
        with socket.create_server(("0.0.0.0", free_port())) as taken:
            port = taken.getsockname()[1]
            with self.traffic() as traffic:
                bad = self.world.add(port)
                good = self.world.add()
                self.says([f"port {port}", "in use on the device", "choose another port"], balancer=bad)
                self.assertEqual("ERROR", self.world.status(bad)[0])
                eventually(lambda: self.world.status(good)[0] == "ACTIVE", "its neighbour is deployed")
                self.assertTrue(answers(self.world.balancers[good][0]))
        self.world.retry()
        self.well_within(BY_RESTART, "the port is free again")
        self.no_request_failed(traffic)

    def test_one_of_two_load_balancers_is_refused_by_haproxy(self) -> None:
        bad, good = self.world.add(), self.world.add()
        self._await(BY_RESTART, "both there")
        (served,) = self.world.balancers[bad]
        before = self.world.config()
        with self.traffic() as traffic:
            with self.while_the_worker_sleeps():
                refused = self.world.add_port(bad)
                self.world.add_port(good)
                # A section of the administrator's that happens to have the name that the service will use.
                section = f"frontend fe-{refused}\n    bind 127.0.0.1:{free_port()}\n    default_backend none\n"
                section += "backend none\n"
                self.host.run(["tee", self.host.config_path], input=section.encode() + before, check=True)
            self.says([f"'fe-{refused}'", "HAProxy does not accept it"], balancer=bad)
            self.assertEqual("ERROR", self.world.status(bad)[0])
            eventually(lambda: self.world.status(good)[0] == "ACTIVE", "its neighbour is deployed")
            self.assertTrue(all(map(answers, self.world.balancers[good])))
            self.assertEqual([True, False], list(map(answers, self.world.balancers[bad])), "its last good state serves")
            self.assertTrue(answers(served))
            config = self.world.config()
            self.host.run(["tee", self.host.config_path], input=config.removeprefix(section.encode()), check=True)
            self.world.retry()
            self.well_within(BY_RESTART, "the section is gone")
        self.no_request_failed(traffic)
