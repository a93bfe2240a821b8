"""The device that the other tests and the DevBox stand on: real sshd, real haproxy, nothing of it outside."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import unittest
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import paramiko

from balancer.devbox import files
from balancer.devbox.backends import Backend, page
from balancer.devbox.host import HaproxyMode, Host, Login, RunAs, isolation_refused
from balancer.devbox.processes import ProcessId, StartError, free_port, spawn, wait_until
from tests.integration.ordinary_user import ORDINARY_USER, as_ordinary_user
from tests.integration.running import ROOT, eventually, fetch

PRIVATE_FILES = ("passwd", "shadow", "group", "gshadow", "hosts", "sudoers")
PRIVATE_DIRECTORIES = ("haproxy", "ssh", "sudoers.d")

ALL_RIGHTS = "user ALL=(root) NOPASSWD: ALL"


@contextmanager
def ssh(host: Host, *, by_key: bool = False, port: int | None = None) -> Iterator[paramiko.SSHClient]:
    """A login as the device's user; the server must show the device's key."""
    client = paramiko.SSHClient()
    name, _, key = host.host_key.partition(" ")
    port = port or host.ssh_port
    client.get_host_keys().add(f"[{host.address}]:{port}", name, paramiko.Ed25519Key(data=base64.b64decode(key)))
    with client:
        client.connect(
            host.address,
            port,
            host.user,
            password=None if by_key else host.password,
            pkey=paramiko.Ed25519Key.from_private_key(io.StringIO(host.private_key)) if by_key else None,
            allow_agent=False,
            look_for_keys=False,
            timeout=30,
        )
        yield client


def remote(client: paramiko.SSHClient, command: str) -> tuple[int, str, str]:
    """Exit status, output, errors."""
    _, output, errors = client.exec_command(command, timeout=30)
    text, complaint = output.read().decode(), errors.read().decode()
    return output.channel.recv_exit_status(), text, complaint


def machine() -> dict[str, str]:
    """Whatever a device could leave behind on this machine: accounts, configuration, run-time files, mounts."""
    seen = {"mounts": Path("/proc/self/mountinfo").read_text(), "name": socket.gethostname()}
    paths = [Path("/etc") / name for name in PRIVATE_FILES]
    for name in PRIVATE_DIRECTORIES:
        paths += sorted((Path("/etc") / name).rglob("*"))
    for path in paths:
        if path.is_file():
            seen[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    for directory in ("/run", "/run/haproxy", "/run/sshd", "/var/lib/haproxy", "/home"):
        seen[directory] = " ".join(sorted(os.listdir(directory))) if os.path.isdir(directory) else "none"
    return seen


def processes_in(namespace: str) -> list[int]:
    """Every process of a process namespace, as `readlink /proc/PID/ns/pid` names it."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(entry / "ns/pid") == namespace and "\nState:\tZ" not in (entry / "status").read_text():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


class DeviceCase(unittest.TestCase):
    def setUp(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="balancer-test-"))
        self.addCleanup(shutil.rmtree, self.root)

    def device(
        self,
        *,
        isolated: bool = True,
        run_as: RunAs = "sudo",
        haproxy: HaproxyMode = "master-worker",
        netns: bool = False,
        haproxy_config: bytes | None = None,
        login: Login | None = None,
        sudoers: str | None = None,
        start: bool = True,
    ) -> Host:
        host = Host(
            self.root / "device",
            isolated=isolated,
            run_as=run_as,
            haproxy=haproxy,
            netns=netns,
            haproxy_config=haproxy_config,
            login=login,
            sudoers=sudoers,
        )
        self.addCleanup(host.stop)
        return host.start() if start else host


@unittest.skipIf(isolation_refused(), "needs root and the right to make namespaces")
class IsolatedDeviceTest(DeviceCase):
    def test_the_password_opens_the_device_and_not_this_machine(self) -> None:
        host = self.device()
        with ssh(host) as client:
            self.assertEqual(remote(client, "id -un; cd; pwd"), (0, "user\n/run/home/user\n", ""))
        with self.assertRaises(KeyError):
            pwd.getpwnam("user")
        # The same configuration outside: only the accounts differ.
        outside = self.root / "outside"
        outside.mkdir()
        shutil.copy(self.root / "device/etc/ssh/ssh_host_ed25519_key", outside)
        port = free_port()
        (outside / "sshd_config").write_text(
            files.sshd_config(
                addresses=("127.0.0.1",),
                port=port,
                user="user",
                directory=outside,
                password=True,
                strict_modes=False,
            )
        )
        if not os.path.exists("/run/sshd"):
            os.mkdir("/run/sshd", 0o755)
            self.addCleanup(os.rmdir, "/run/sshd")
        log = self.root / "outside.log"
        sshd = ProcessId.of(spawn(["/usr/sbin/sshd", "-D", "-e", "-f", str(outside / "sshd_config")], log))
        self.addCleanup(sshd.stop)
        wait_until(lambda: "Server listening" in log.read_text(), "sshd does not start", log)
        with self.assertRaises(paramiko.AuthenticationException), ssh(host, port=port):
            pass
        self.assertIn("Invalid user user", log.read_text())

    def test_a_wrong_password_is_refused(self) -> None:
        host = self.device(login=Login(user="user", password="right-one"))
        host.password = "wrong-one"
        with self.assertRaises(paramiko.AuthenticationException), ssh(host):
            pass

    def test_every_way_to_log_in_and_to_run_haproxy(self) -> None:
        ways: tuple[tuple[RunAs, HaproxyMode], ...] = tuple(
            itertools.product(("sudo", "root", "group"), ("master-worker", "daemon"))
        )
        for run_as, haproxy in ways:
            with self.subTest(run_as=run_as, haproxy=haproxy):
                host = self.device(run_as=run_as, haproxy=haproxy, sudoers=None if run_as == "group" else ALL_RIGHTS)
                self.assertEqual(fetch(host.status_port).text, "hand-written page\n")
                self.assertEqual(len(host.haproxy_pids()), 2 if haproxy == "master-worker" else 1)
                for by_key in (False, True):
                    with ssh(host, by_key=by_key) as client:
                        user = "root" if run_as == "root" else "user"
                        self.assertEqual(remote(client, "id -un")[1], f"{user}\n")
                        status, output, complaint = remote(client, "sudo -n id -un")
                        if run_as == "group":
                            self.assertNotEqual(status, 0, "a user of the group needs no root")
                        else:
                            self.assertEqual((status, output, complaint), (0, "root\n", ""))
                        writable, _, _ = remote(client, "touch /etc/haproxy/new && rm /etc/haproxy/new")
                        self.assertEqual(writable == 0, run_as != "sudo")
                host.stop()
                shutil.rmtree(self.root / "device")

    def test_the_sudo_user_may_do_what_the_driver_needs_and_nothing_else(self) -> None:
        host = self.device()
        with ssh(host) as client:
            allowed = remote(client, "sudo -n -l")[1]
            self.assertIn("haproxy -c -f", allowed)
            check = remote(client, "sudo -n tee /etc/haproxy/.haproxy.cfg.balancer-new </etc/haproxy/haproxy.cfg")
            self.assertEqual(check[0], 0, check)
            check = remote(client, "sudo -n /usr/sbin/haproxy -c -f /etc/haproxy/.haproxy.cfg.balancer-new")
            self.assertEqual(check[0], 0, check)
            for command in ("id", "tee /etc/passwd </dev/null", "/usr/sbin/haproxy -f /tmp/x", "sh -c id"):
                self.assertIn("a password is required", remote(client, f"sudo -n {command}")[2], command)

    def test_a_user_of_the_group_may_use_the_sockets(self) -> None:
        host = self.device(run_as="group")
        ask = "import socket; s = socket.socket(socket.AF_UNIX); s.connect('{}'); s.sendall(b'{}\\n')"
        ask += "; s.shutdown(1); print(s.recv(999).decode())"
        with ssh(host) as client:
            for path, question, answer in (
                (host.master_socket, "show proc", "worker"),
                ("/run/haproxy/admin.sock", "show info", "Name: HAProxy"),
            ):
                command = f'/usr/bin/python3 -c "{ask.format(path, question)}"'
                self.assertIn(answer, remote(client, command)[1], path)
            self.assertEqual(remote(client, "touch /run/haproxy/x")[0], 0)

    def test_nothing_changes_outside_and_nothing_stays(self) -> None:
        before = machine()
        host = self.device(sudoers=ALL_RIGHTS)
        with ssh(host) as client:
            remote(client, "sudo -n sh -c 'echo >> /etc/passwd; echo x > /etc/haproxy/x; echo x > /etc/sudoers.d/x'")
            remote(client, "sudo -n sh -c 'echo x > /run/x; echo x > /tmp/balancer-test-x; hostname other'")
            # A session's program must not keep the device alive.
            client.exec_command("sleep 600")
            eventually(lambda: b"sleep 600" in host.run(["ps", "ax"]).stdout, "the program runs")
            self.assertEqual(machine(), before)
            namespace = os.readlink(f"/proc/{host.processes()[0].pid}/ns/pid")
            self.assertGreater(len(processes_in(namespace)), 4)
            host.stop()
        self.assertEqual(processes_in(namespace), [])
        self.assertEqual(machine(), before)
        self.assertFalse(os.path.exists("/tmp/balancer-test-x"))
        shutil.rmtree(host.root)
        host.root.mkdir()

    def test_its_etc_is_its_own_whatever_this_machine_does_with_its_files(self) -> None:
        """`useradd` and every editor put a new file in the place of the old one, and so does a package's upgrade."""
        code = """
            import os, sys
            from pathlib import Path
            from balancer.devbox.host import Host
            from tests.integration.test_devbox_host import ALL_RIGHTS, machine, remote, ssh
            etc = Path("/etc")
            assert etc.stat().st_dev != int(sys.argv[2]), "this is the machine's own /etc"
            with Host(Path(sys.argv[1]), sudoers=ALL_RIGHTS) as host:
                for name in ("passwd", "shadow", "group", "gshadow", "sudoers", "nsswitch.conf", "pam.d/other"):
                    new = etc / f"{name}.new"
                    new.write_text("root:x:0:0::/root:/bin/sh\\n" if name == "passwd" else "")
                    new.rename(etc / name)
                for name in ("haproxy", "ssh", "sudoers.d"):
                    (etc / name).rename(etc / f"{name}.old")
                    (etc / name).mkdir()
                (etc / "secret").write_text("not for the device")
                before = machine(), sorted(os.listdir(etc))
                for by_key in (False, True):
                    with ssh(host, by_key=by_key) as client:
                        print(remote(client, "id -un; sudo -n id -un; sudo -n head -1 /etc/haproxy/haproxy.cfg"))
                        print(remote(client, "sudo -n touch /etc/new; sudo -n ls /etc/shadow /etc/shadow- /etc/secret"))
                host.stop_haproxy()
                host.start_haproxy()
                print((machine(), sorted(os.listdir(etc))) == before)
        """
        script = 'mkdir "$1" && mount -t tmpfs etc "$1" && cp -a /etc/. "$1" && mount --bind "$1" /etc'
        script += ' && shift && exec "$@"'
        done = subprocess.run(
            [
                *("unshare", "--mount", "--", "sh", "-c", script, "sh", str(self.root / "etc")),
                *(sys.executable, "-c", textwrap.dedent(code), str(self.root / "device"), str(os.stat("/etc").st_dev)),
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=ROOT,
        )
        self.assertEqual(done.stderr, "")
        *answers, unchanged = done.stdout.splitlines()
        no_file = "ls: cannot access '/etc/{}': No such file or directory\n"
        missing = no_file.format("shadow-") + no_file.format("secret")
        first = "# Written by hand by the administrator of this device. The balancer adds its own part"
        expected = (0, f"user\nroot\n{first}\n", ""), (2, "/etc/shadow\n", missing)
        self.assertEqual(answers, [repr(one) for one in (*expected, *expected)])
        self.assertEqual(unchanged, "True")

    def test_it_ends_with_the_process_that_made_it(self) -> None:
        code = """
            import os, sys, time
            from pathlib import Path
            from balancer.devbox.host import Host
            host = Host(Path(sys.argv[1])).start()
            print(os.readlink(f"/proc/{host.processes()[0].pid}/ns/pid"), flush=True)
            time.sleep(60)
        """
        child = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), str(self.root / "device")],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert child.stdout is not None
        with child.stdout:
            namespace = child.stdout.readline().strip()
        self.assertGreater(len(processes_in(namespace)), 3)
        child.send_signal(signal.SIGKILL)
        child.wait(5)
        eventually(lambda: not processes_in(namespace), "the device ends")

    def test_a_reboot_keeps_the_configuration_and_forgets_what_ran(self) -> None:
        host = self.device()
        text = host.read_config() + b"# changed\n"
        host.write_config(text)
        host.run(["touch", "/run/marker"], check=True)
        key, port = host.host_key, host.ssh_port
        host.stop()
        host.start()
        self.assertEqual((host.read_config(), host.host_key, host.ssh_port), (text, key, port))
        self.assertNotEqual(host.run(["test", "-e", "/run/marker"]).returncode, 0)
        self.assertEqual(fetch(host.status_port).status, 200)

    def test_haproxy_can_be_stopped_and_started_alone(self) -> None:
        host = self.device()
        host.stop_haproxy()
        self.assertEqual(host.haproxy_pids(), ())
        with self.assertRaises(OSError):
            fetch(host.status_port)
        host.start_haproxy()
        self.assertEqual(fetch(host.status_port).status, 200)

    def test_orphans_are_reaped_as_by_an_init(self) -> None:
        host = self.device(haproxy="daemon")
        host.run(["sh", "-c", "sleep 0.1 & sleep 0.2 &"], check=True)
        host.run(["haproxy", "-f", host.config_path, "-D", "-p", host.pid_file, "-sf", str(host.haproxy_pids()[0])])
        eventually(lambda: b"<defunct>" not in host.run(["ps", "ax"]).stdout, "no zombie is left")
        self.assertEqual(len(host.haproxy_pids()), 1)

    def test_a_configuration_that_haproxy_refuses_is_told_with_its_words(self) -> None:
        host = self.device(haproxy_config=b"global\nnonsense here\n", start=False)
        before = machine()
        with self.assertRaisesRegex(StartError, "unknown keyword 'nonsense'"):
            host.start()
        self.assertEqual(machine(), before)
        self.assertEqual(host.processes(), ())

    def test_a_taken_port_is_told_with_the_log(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            host = Host(self.root / "device", ssh_port=taken.getsockname()[1])
            with self.assertRaisesRegex(StartError, "Address already in use"):
                host.start()

    def test_a_network_of_its_own(self) -> None:
        before = set(os.listdir("/sys/class/net"))
        with self.device(netns=True, start=False) as host:
            self.assertNotEqual(host.address, "127.0.0.1")
            with ssh(host) as client:
                self.assertIn("eth0", remote(client, "ls /sys/class/net; ip -o addr show dev eth0")[1])
            with self.assertRaises(OSError):
                fetch(host.status_port)  # loopback is its own too
            self.assertEqual(len(set(os.listdir("/sys/class/net")) - before), 1)
        eventually(lambda: set(os.listdir("/sys/class/net")) == before, "the interface is gone")

    def test_it_can_be_made_in_a_chroot(self) -> None:
        """Build machines often are one; the root of the namespaces is another one there."""
        new_root = self.root / "chroot"
        new_root.mkdir()
        code = """
            import sys
            from pathlib import Path
            from balancer.devbox.host import Host
            from tests.integration.test_devbox_host import fetch
            with Host(Path(sys.argv[1])) as host:
                print(host.isolated, fetch(host.status_port).text.strip(), host.run(["pwd"]).stdout.decode().strip())
        """
        script = 'mount --rbind / "$1" && cd / && exec chroot "$1" env PYTHONPATH="$2" "$3" -c "$4" "$5"'
        done = subprocess.run(
            [
                *("unshare", "--mount", "--", "sh", "-c", script, "sh"),
                *(str(new_root), str(ROOT), sys.executable, textwrap.dedent(code), str(self.root / "device")),
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual((done.stdout, done.stderr), ("True hand-written page /\n", ""))

    def test_root_without_the_right_to_make_namespaces_gets_a_plain_device(self) -> None:
        code = """
            import os, sys
            from pathlib import Path
            from balancer.devbox.host import Host, isolation_refused
            from tests.integration.running import eventually
            from tests.integration.test_devbox_host import fetch, machine, remote, ssh
            assert "no right to make namespaces" in isolation_refused()
            before = machine()
            assert before["/run/sshd"] == "none"
            with Host(Path(sys.argv[1])) as host, ssh(host, by_key=True) as client:
                print(host.isolated, fetch(host.status_port).text.strip(), remote(client, "id -un")[1].strip())
                assert os.path.isdir("/run/sshd")
            eventually(lambda: machine() == before, "what sshd needed outside is gone")
        """
        # The sshd of a DevBox beside it, which lives by another /run/sshd, is no reason to leave this one.
        with Host(self.root / "other", isolated=True):
            drop = ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"]
            script = 'mount -t tmpfs run /run && exec "$@"'
            done = subprocess.run(
                [
                    *("unshare", "--mount", "--", "sh", "-c", script, "sh"),
                    *(*drop, sys.executable, "-c", textwrap.dedent(code), str(self.root / "device")),
                ],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
                cwd=ROOT,
            )
        self.assertEqual((done.stdout, done.stderr), ("False hand-written page root\n", ""))


class PlainDeviceTest(DeviceCase):
    """Without namespaces: what an ordinary user gets."""

    def test_key_login_as_this_user_and_haproxy_in_the_state_directory(self) -> None:
        before = machine()
        host = self.device(isolated=False)
        self.assertEqual(host.user, pwd.getpwuid(os.geteuid()).pw_name)
        self.assertGreater(host.ssh_port, 1023)
        self.assertIsNone(host.password)
        self.assertTrue(host.config_path.startswith(str(self.root)))
        with ssh(host, by_key=True) as client:
            self.assertEqual(remote(client, "id -u")[1], f"{os.geteuid()}\n")
        self.assertEqual(fetch(host.status_port).text, "hand-written page\n")
        running = [*host.processes(), *map(ProcessId.of, host.haproxy_pids())]
        self.assertGreater(len(running), 2)
        host.stop()
        eventually(lambda: not any(one.alive() for one in running), "everything has ended")
        self.assertEqual(machine(), before)

    def test_the_sockets_fit_however_deep_the_state_directory_is(self) -> None:
        self.root = self.root / ("deep" * 10) / ("deeper" * 10)
        host = self.device(isolated=False)
        self.assertLess(len(host.socket), 90)
        (short,) = (path for path in host.outside_paths() if path.name.startswith("balancer-devbox-"))
        self.assertTrue(host.socket.startswith(str(short)))
        registered = host.socket
        host.stop()
        self.assertFalse(short.exists())
        again = self.device(isolated=False)
        self.assertEqual(again.socket, registered, "a reboot moves nothing that the service knows")
        self.assertEqual(again.outside_paths(), (short, *again.outside_paths()[1:]))
        again.stop()
        self.assertFalse(short.exists())
        short.symlink_to(self.root)
        self.addCleanup(short.unlink)
        with self.assertRaisesRegex(StartError, f"{short} .*somebody else"):
            self.device(isolated=False)

    def test_an_ordinary_user_can_have_one(self) -> None:
        code = """
            import os, sys
            from pathlib import Path
            from tests.integration.test_devbox_host import remote, ssh, fetch
            from balancer.devbox.host import Host, isolation_refused
            assert os.geteuid() != 0
            assert isolation_refused(), "an ordinary user cannot make an isolated device"
            with Host(Path(sys.argv[1])) as host:
                assert not host.isolated
                with ssh(host, by_key=True) as client:
                    print(host.user, fetch(host.status_port).text.strip())
                    assert remote(client, f"/usr/sbin/haproxy -c -f {host.config_path}")[0] == 0
            print("left:", *host.haproxy_pids())
        """
        done = as_ordinary_user(self.root, textwrap.dedent(code))
        self.assertEqual(done.stderr, "")
        self.assertEqual(done.stdout, f"{ORDINARY_USER} hand-written page\nleft:\n")


class BackendTest(unittest.TestCase):
    def setUp(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="balancer-test it's $odd-"))
        self.addCleanup(shutil.rmtree, self.root)
        self.backend = Backend(self.root / "backend").start()
        self.addCleanup(self.backend.stop)

    def test_it_names_its_port_and_counts_requests(self) -> None:
        for _ in range(3):
            self.assertEqual(fetch(self.backend.port).text, page(self.backend.port))
        self.assertEqual(fetch(self.backend.port, "/missing").status, 404)
        eventually(lambda: self.backend.requests() == 3, "three requests are counted")
        eventually(lambda: self.backend.requests("/missing") == 1, "other paths are counted apart")

    def test_it_can_be_killed_and_started_again_on_its_port(self) -> None:
        port = self.backend.port
        for end in (self.backend.kill, self.backend.stop):
            end()
            with self.assertRaises(OSError):
                fetch(port)
            self.backend.start()
            self.assertEqual(fetch(port).text, page(port))

    def test_a_taken_port_is_told(self) -> None:
        with self.assertRaisesRegex(StartError, f"port {self.backend.port} is in use"):
            Backend(self.root / "second", self.backend.port).start()
