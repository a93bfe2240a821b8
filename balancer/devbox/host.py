"""A device made of a real sshd and a real haproxy, for the DevBox and for tests.

Isolated (root), the device has its own mount, process, host-name and cgroup namespaces: its `/etc` with its users,
passwords and sudoers, `/run` and `/tmp` exist only there, and ending the first process of the process
namespace ends everything in it. Otherwise sshd and haproxy are plain processes of the current user, with key login.

Either way sshd listens on loopback only, and everything that stays is below one state directory.
"""

from __future__ import annotations

import ctypes
import grp
import http.client
import os
import pwd
import secrets
import select
import shutil
import socket
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path, PurePath
from types import TracebackType
from typing import Literal, Self

import psutil
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from balancer.devbox import files
from balancer.devbox.processes import ProcessId, StartError, free_port, spawn, tail, wait_until
from balancer.devbox.systemd import PROGRAM, UNIT, ControlGroup, systemd_refused, write_units
from balancer.drivers.haproxy.rights import sudoers_lines

RunAs = Literal["sudo", "root", "group"]
HaproxyMode = Literal["master-worker", "daemon", "systemd", "none"]

HOSTNAME = "devbox"
# The cgroup's name would tell which unit of this machine started the device.
_NAMESPACES = ("--mount", "--pid", "--uts", "--cgroup")

RELEASE_DIRECTORY = "/opt"
"""Where an isolated device finds another HAProxy than the machine's."""

# What an isolated device takes over from the machine's /etc, as far as everybody may read it.
_FROM_THE_MACHINE = (
    "alternatives",
    "bash.bashrc",
    "debian_version",
    "environment",
    "gai.conf",
    "haproxy/errors",
    "host.conf",
    "inputrc",
    "iproute2",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "localtime",
    "login.defs",
    "networks",
    "os-release",
    "profile",
    "profile.d",
    "protocols",
    "resolv.conf",
    "rpc",
    "services",
    "shells",
    "ssl",
    "terminfo",
    "timezone",
)

# Run by the first process of the namespaces; $1 is the state directory, $2 how long to live: "stay", or "parent" to
# end with the process at the other end of standard input, $3 the login user, $4 the host name, $5 the directory of
# another HAProxy or nothing, $6 where that is shown, $7 the path of systemd or nothing. The shell's `wait` reaps
# orphans, as an init must.
# Bind mounts come first: the state directory may be below /tmp or /run. /etc is mounted whole: a mount on one of its
# files is gone as soon as the machine puts a new file in the place of its own.
_INIT = """
set -e
mount --bind "$1/etc" /etc
if [ -n "$5" ]; then
    mount --bind "$5" "$6"
    mount --bind "$6/haproxy" /usr/sbin/haproxy
fi
if [ -n "$7" ]; then
    mount --bind "$1/units" /usr/lib/systemd/system
    # What it would set as it starts is not this device's alone.
    for tree in /proc/sys /sys; do
        mount --rbind "$tree" "$tree"
        mount -o remount,ro,bind "$tree"
    done
    # The machine's own may be mounted right there, and the kernel does not mount the same thing over itself.
    mount -t tmpfs device-cgroup /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
fi
mount -t tmpfs -o mode=755,nosuid,nodev device-lib /var/lib/haproxy
mount -t tmpfs -o mode=755,nosuid,nodev device-run /run
mount -t tmpfs -o mode=1777,nosuid,nodev device-tmp /tmp
cd /
mkdir -m 755 /run/sshd /run/lock /run/home
install -d -m 2775 -o haproxy -g haproxy /run/haproxy
install -d -m 750 -o "$3" -g "$3" "/run/home/$3"
hostname "$4"
trap 'exit 0' TERM
echo ready
exec 3<&0 </dev/null >/dev/null
if [ -n "$7" ]; then
    mkdir -p /run/systemd/system
    # 48, SIGRTMIN+14, is its order to end at once.
    [ "$2" = stay ] || (cat <&3; kill -48 1) &
    exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin "$7" --system --log-target=null --show-status=false
fi
case $2 in
    stay) sleep infinity & ;;
    *) cat <&3 & ;;
esac
wait $!
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Who logs in to the device. Without root it is the current user, without password."""

    user: str
    password: str


@cache
def isolation_refused() -> str:
    """Why this process cannot make an isolated device; empty when it can."""
    if os.geteuid() != 0:
        return "not root"
    trial = subprocess.run(
        ["unshare", *_NAMESPACES, "--fork", "--mount-proc", "mount", "-t", "tmpfs", "trial", "/run"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return "" if trial.returncode == 0 else f"no right to make namespaces: {trial.stderr.strip()}"


class Host:
    """One device. A context manager; `start` after `stop` is a reboot: configuration and keys are kept.

    `haproxy`: how it is started; "systemd" makes a real one the device's first process, with the packaged unit.
    `root`: state directory, made when missing. `isolated`: None means when possible. `ssh_port`: 0 means any free.
    `run_as`: "sudo" logs in as an ordinary user with the lines `sudoers`, "group" as one who may write
    `/etc/haproxy` and use the sockets through the group haproxy, "root" as root. `netns`: the device gets a network
    of its own, reached at `address` over its interface `eth0`; only isolated. `outlive`: the device stays when
    this process ends (otherwise an isolated one ends with it). `release`: a directory with another `haproxy`, made to
    find what it needs in `RELEASE_DIRECTORY`; only isolated. `forwarding`: the SSH server connects to sockets.
    """

    def __init__(
        self,
        root: Path,
        *,
        isolated: bool | None = None,
        ssh_port: int = 0,
        login: Login | None = None,
        haproxy_config: bytes | None = None,
        run_as: RunAs = "sudo",
        haproxy: HaproxyMode = "master-worker",
        netns: bool = False,
        sudoers: str | None = None,
        outlive: bool = False,
        release: Path | None = None,
        forwarding: bool = True,
    ) -> None:
        self.root = root.absolute()
        self.isolated = not isolation_refused() if isolated is None else isolated
        if self.isolated and isolation_refused():
            raise StartError(f"no isolated device possible: {isolation_refused()}")
        if netns and not self.isolated:
            raise StartError("a network of its own needs an isolated device")
        if haproxy == "systemd" and (not self.isolated or systemd_refused()):
            raise StartError(f"no systemd: {systemd_refused() or 'it needs an isolated device'}")
        if release is not None and not self.isolated:
            raise StartError("another HAProxy needs an isolated device")
        self.run_as: RunAs = run_as
        self.haproxy: HaproxyMode = haproxy
        self.netns = netns
        self.outlive = outlive
        self._release = release
        self._forwarding = forwarding
        self.address = "127.0.0.1"
        self.ssh_port = ssh_port
        self.status_port = 0
        if self.isolated:
            given = login or Login(user="user", password=secrets.token_urlsafe(12))
            self.user = "root" if run_as == "root" else given.user
            self.password: str | None = given.password
        else:
            self.user = pwd.getpwuid(os.geteuid()).pw_name
            self.password = None
        self._sudoers = sudoers
        self._haproxy_config = haproxy_config
        self._init: ProcessId | None = None
        self._sshd: ProcessId | None = None
        self._lifeline: subprocess.Popen[bytes] | None = None
        self._outside: list[Path] = []
        self._cgroup: ControlGroup | None = None
        self._etc = self.root / "etc"
        self._log_dir = self.root / "log"
        self._run_dir: PurePath = PurePath("/run")

    # --- what a caller needs to know ---

    @property
    def config_path(self) -> str:
        """Where the device has its haproxy.cfg."""
        return "/etc/haproxy/haproxy.cfg" if self.isolated else str(self._etc / "haproxy/haproxy.cfg")

    @property
    def socket(self) -> str:
        """A path on the device where the login user can be given a stats socket."""
        return str(self._run_dir / "haproxy/balancer.sock")

    @property
    def master_socket(self) -> str:
        return str(self._run_dir / "haproxy-master.sock")

    @property
    def pid_file(self) -> str:
        return str(self._run_dir / "haproxy.pid")

    @property
    def ssh_log(self) -> Path:
        return self._log_dir / "sshd.log"

    @property
    def haproxy_log(self) -> Path:
        return self._log_dir / "haproxy.log"

    @property
    def private_key(self) -> str:
        """The login user's key, in OpenSSH's format."""
        return (self.root / "login_key").read_text()

    @property
    def host_key(self) -> str:
        """The server's public key: ``ssh-ed25519 AAAA…``."""
        return (self._etc / "ssh/ssh_host_ed25519_key.pub").read_text().strip()

    def processes(self) -> tuple[ProcessId, ...]:
        """Ending these ends the device."""
        if self.isolated:
            return (self._init,) if self._init else ()
        # Workers come and go with every reload.
        lasting = self.haproxy_pids()[: 1 if self.haproxy == "master-worker" else None]
        return tuple(one for one in (self._sshd, *map(ProcessId.of, lasting)) if one)

    def outside_paths(self) -> tuple[Path, ...]:
        """What a device that is not isolated had to make outside the state directory."""
        return tuple(self._outside)

    # --- life ---

    def start(self) -> Self:
        """Returns when sshd accepts connections and haproxy serves; raises `StartError` with the log's end."""
        try:
            self._write_files()
            if self.isolated:
                self._start_namespaces()
            self._start_sshd()
            if self.haproxy != "none":
                self.start_haproxy()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Ends every process of the device; the state directory stays. Does nothing when it is not running."""
        for process in self.processes():
            if self.haproxy == "systemd":
                process.kill()  # SIGTERM would only make it load itself anew
            else:
                process.stop()
        if not self.isolated and self.haproxy_pids():
            self.stop_haproxy()
        if self._lifeline is not None:
            if self._lifeline.stdin:
                self._lifeline.stdin.close()
            if self._lifeline.stdout:
                self._lifeline.stdout.close()
            try:
                self._lifeline.wait(5)
            except subprocess.TimeoutExpired:
                self._lifeline.kill()
                self._lifeline.wait(5)
        self._lifeline = self._init = self._sshd = None
        if self._cgroup is not None:
            self._cgroup.remove()
            self._cgroup = None
        remove_outside_paths(self._outside)
        self._outside = []

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- inside the device ---

    def run(
        self, argv: Sequence[str], *, input: bytes = b"", timeout: float = 30.0, check: bool = False
    ) -> subprocess.CompletedProcess[bytes]:
        """Runs a command on the device as root (not isolated: as the current user), working directory `/`."""
        return subprocess.run(
            [*self._inside(), *argv], input=input, capture_output=True, cwd="/", timeout=timeout, check=check
        )

    def open(self, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        """Starts a command as `run` does, to be talked to over its standard input and output."""
        return subprocess.Popen(
            [*self._inside(), *argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/", bufsize=0
        )

    def read_config(self) -> bytes:
        return (self._etc / "haproxy/haproxy.cfg").read_bytes()

    def write_config(self, content: bytes) -> None:
        """In place, as an editor would; owner and mode stay."""
        (self._etc / "haproxy/haproxy.cfg").write_bytes(content)

    def start_haproxy(self) -> None:
        """As an administrator would start it by hand. Raises `StartError` with the log's end."""
        log = self.haproxy_log
        if self.haproxy == "systemd":
            self._systemctl("start")
            wait_until(self._serves, "haproxy does not serve", log)
            return
        argv = ["haproxy", "-f", self.config_path, "-p", self.pid_file]
        argv[0] = shutil.which("haproxy", path="/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin") or "haproxy"
        if self.haproxy == "daemon":
            argv.append("-D")
        else:
            mode = "mode,660,group,haproxy" if self.isolated and self.run_as == "group" else "mode,600"
            argv += ["-W", "-S", f"{self.master_socket},{mode}"]
        started = spawn(argv, log, inside=self._inside())
        processes = 1 if self.haproxy == "daemon" else 2

        def serves() -> bool:
            running = self.haproxy_pids()
            if not running and self._ended(started):
                raise StartError(f"haproxy ended at once. {log} ends:\n{tail(log)}")
            if self.haproxy == "daemon" and not self._ended(started):
                return False  # the one that makes the daemon may be seen beside it
            return len(running) >= processes and self._serves()

        wait_until(serves, "haproxy does not serve", log)

    def stop_haproxy(self) -> None:
        """At once, without waiting for connections."""
        if self.haproxy == "systemd":
            self._systemctl("stop")
            return
        pids = [str(pid) for pid in self.haproxy_pids()]
        if pids:
            self.run(["kill", "-TERM", *pids])
        wait_until(lambda: not self.haproxy_pids(), "haproxy does not stop", self.haproxy_log)

    def haproxy_pids(self) -> tuple[int, ...]:
        """Process numbers as the device sees them, oldest first (a master before its workers)."""
        found = []
        for entry in self._proc().glob("[0-9]*"):
            try:
                ours = self.isolated or self.config_path in (entry / "cmdline").read_text().split("\0")
                if (entry / "comm").read_text() == "haproxy\n" and ours and not self._ended(int(entry.name)):
                    found.append((_start_ticks(entry), int(entry.name)))
            except OSError:
                continue  # ended while we looked
        return tuple(pid for _, pid in sorted(found))

    # --- how it is done ---

    def _systemctl(self, action: str) -> None:
        done = self.run(["systemctl", action, UNIT.name], timeout=30)
        if done.returncode:
            raise StartError(f"systemctl {action} {UNIT.name}: {done.stderr.decode(errors='replace').strip()}")

    def _proc(self) -> Path:
        return Path(f"/proc/{self._init.pid}/root/proc") if self._init else Path("/proc")

    def _ended(self, pid: int) -> bool:
        """`pid` as the device sees it. A zombie has ended."""
        try:
            return "\nState:\tZ" in (self._proc() / str(pid) / "status").read_text()
        except OSError:
            return True

    def _inside(self) -> list[str]:
        if not self.isolated:
            return []
        if self._init is None:
            raise StartError("the device is not running")
        net = ["--net"] if self.netns else []
        # --root: in a chroot the mount namespace's own root is another one.
        return ["nsenter", "--target", str(self._init.pid), *_NAMESPACES, *net, "--root", "--wd", "--"]

    def _write_files(self) -> None:
        self._log_dir.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o700)
        for directory in (self._etc, *(self._etc / name for name in ("haproxy", "pam.d", "ssh", "sudoers.d"))):
            if not directory.exists():
                directory.mkdir()
                directory.chmod(0o755)  # whatever the umask
        if self.haproxy == "systemd":
            write_units(self.root / "units", self._etc / "systemd/system")
        if not self.isolated:
            self._make_run_directory()
        if not (self.root / "login_key").exists():
            self._write_keys()
        config = self._etc / "haproxy/haproxy.cfg"
        if self.isolated:
            self._write_accounts()
            for name in _FROM_THE_MACHINE:
                _take_over(Path("/etc") / name, self._etc / name)
        if not config.exists():
            if self._haproxy_config is None:
                self.status_port = free_port()
                admin = self._run_dir / "haproxy/admin.sock"
                text = files.haproxy_config(status_port=self.status_port, socket=admin, own_user=self.isolated)
                self._haproxy_config = text.encode()
            config.write_bytes(self._haproxy_config)
            config.chmod(0o644)
            if self.isolated and self.run_as == "group":
                gid = grp.getgrnam("haproxy").gr_gid
                for path, mode in ((config.parent, 0o2775), (config, 0o664)):
                    os.chown(path, 0, gid)
                    path.chmod(mode)

    def _write_keys(self) -> None:
        server, client = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
        for key, path in ((server, self._etc / "ssh/ssh_host_ed25519_key"), (client, self.root / "login_key")):
            path.touch(mode=0o600)
            path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        public = server.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        (self._etc / "ssh/ssh_host_ed25519_key.pub").write_bytes(public + b"\n")
        # The line that the documentation tells administrators to use.
        line = client.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        (self._etc / "ssh/authorized_keys").write_bytes(b"restrict,port-forwarding " + line + b"\n")

    def _write_accounts(self) -> None:
        assert self.password is not None
        user = files.Account(
            name=self.user,
            uid=0 if self.user == "root" else next(uid for uid in range(61000, 65000) if not _uid_taken(uid)),
            # Not the machine's /root: nothing outside may change.
            home=f"/run/home/{self.user}",
            login_shell="/bin/bash",
            password=_hash_password(self.password),
        )
        root = files.Account(name="root", uid=0, home="/root", login_shell="/bin/bash")
        haproxy, sshd = _service_account("haproxy"), _service_account("sshd")
        nobody = files.Account(name="nobody", uid=65534, home="/nonexistent", login_shell="/usr/sbin/nologin")
        accounts = (user, *(() if user.uid == 0 else (root,)), nobody, haproxy, sshd)
        groups: dict[str, tuple[int, tuple[str, ...]]] = {"tty": (5, ())}
        groups |= {one.name: (one.gid, ()) for one in accounts}
        if self.run_as == "group":
            groups["haproxy"] = (haproxy.gid, (self.user,))
        lines = (
            self._sudoers
            if self._sudoers is not None
            else default_sudoers(self.user, self.run_as, UNIT.name if self.haproxy == "systemd" else None)
        )
        for name, mode, text in (
            ("passwd", 0o644, files.passwd(accounts)),
            ("shadow", 0o600, files.shadow(accounts)),
            ("group", 0o644, files.group(groups)),
            ("gshadow", 0o600, files.gshadow(groups)),
            ("hosts", 0o644, files.hosts(HOSTNAME)),
            ("hostname", 0o644, f"{HOSTNAME}\n"),
            ("nsswitch.conf", 0o644, files.NSSWITCH),
            ("pam.d/other", 0o644, files.PAM),
            ("sudoers", 0o440, files.sudoers(lines)),
        ):
            path = self._etc / name
            path.touch(mode=0o600)
            path.write_text(text)
            path.chmod(mode)

    def _make_run_directory(self) -> None:
        run = self.root / "run"
        # haproxy binds "<path>.<pid>.tmp" first; the kernel takes 107 characters.
        if len(str(run / "haproxy/balancer.sock")) > 90:
            run = self._make_short_run_directory(run)
            self._outside.append(run)
        (run / "haproxy").mkdir(parents=True, exist_ok=True)
        self._run_dir = run
        privilege_separation = Path("/run/sshd")
        if os.geteuid() == 0 and not privilege_separation.exists():
            privilege_separation.mkdir(mode=0o755)
            self._outside.append(privilege_separation)

    def _make_short_run_directory(self, link: Path) -> Path:
        """The same at every start, remembered by the link: the sockets' paths are known to the service."""
        if not link.is_symlink():
            link.symlink_to(tempfile.mkdtemp(prefix="balancer-devbox-", dir="/tmp"))
            return link.readlink()
        short = link.readlink()
        try:
            short.mkdir(mode=0o700)
        except FileExistsError as error:
            found = short.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                raise StartError(f"{short} is this device's and somebody else has made it meanwhile") from error
        return short

    def _start_namespaces(self) -> None:
        net = ["--net"] if self.netns else []
        life = "stay" if self.outlive else "parent"
        log = self._log_dir / "device.log"
        join: list[str] = []
        if self.haproxy == "systemd":
            self._cgroup = ControlGroup(f"balancer-device-{secrets.token_hex(4)}")
            join = ["/bin/sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', str(self._cgroup.path)]
        with log.open("ab") as errors:
            self._lifeline = subprocess.Popen(
                [
                    *join,
                    *(
                        "unshare",
                        "--mount",
                        "--pid",
                        "--uts",
                        "--cgroup",
                        *net,
                        "--fork",
                        "--kill-child",
                        "--mount-proc",
                        "--",
                    ),
                    *("/bin/sh", "-c", _INIT, "init", str(self.root), life, self.user, HOSTNAME),
                    *(str(self._release or ""), RELEASE_DIRECTORY, str(PROGRAM) if self._cgroup else ""),
                ],
                stdin=subprocess.DEVNULL if self.outlive else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd="/",
                start_new_session=True,
            )
        assert self._lifeline.stdout is not None
        readable, _, _ = select.select([self._lifeline.stdout], [], [], 10)
        if not readable or self._lifeline.stdout.readline() != b"ready\n":
            raise StartError(f"the device's namespaces could not be made. {log} ends:\n{tail(log)}")
        (init,) = psutil.Process(self._lifeline.pid).children()
        self._init = ProcessId.of(init.pid)
        if self.netns:
            self._connect_network(init.pid)
        if self._cgroup is not None:

            def up() -> bool:
                return self.run(["systemctl", "is-active", "default.target"]).returncode == 0

            wait_until(up, "systemd does not start", log)

    def _connect_network(self, init: int) -> None:
        """A pair of interfaces; 198.18.0.0/15 is meant for tests. It goes away with the device."""
        taken = {address.address for many in psutil.net_if_addrs().values() for address in many}
        number = next(n for n in range(1, 255) if f"198.18.{n}.1" not in taken)
        here = f"bal{number}"
        # The pair exists before the next device looks for a free number, or this fails.
        _checked(["ip", "link", "add", here, "type", "veth", "peer", "name", "eth0", "netns", str(init)])
        _checked([*self._inside(), "ip", "link", "set", "lo", "up"])
        for prefix, dev, end in (([], here, 1), (self._inside(), "eth0", 2)):
            _checked([*prefix, "ip", "address", "add", f"198.18.{number}.{end}/24", "dev", dev])
            _checked([*prefix, "ip", "address", "add", f"fd00:198:18:{number}::{end}/64", "dev", dev, "nodad"])
            _checked([*prefix, "ip", "link", "set", dev, "up"])
        self.address = f"198.18.{number}.2"

    def _start_sshd(self) -> None:
        directory = PurePath("/etc/ssh") if self.isolated else self._etc / "ssh"
        chosen = self.ssh_port
        log = self.ssh_log
        sshd = shutil.which("sshd", path="/usr/local/sbin:/usr/sbin:/usr/bin") or "/usr/sbin/sshd"
        # A free port may be taken by somebody else before sshd has it.
        for attempt in range(3):
            self.ssh_port = chosen or free_port()
            text = files.sshd_config(
                addresses=tuple(dict.fromkeys((self.address, "127.0.0.1"))),
                port=self.ssh_port,
                user=self.user,
                directory=directory,
                password=self.isolated,
                strict_modes=self.isolated or _strict_modes_pass(self._etc / "ssh/authorized_keys"),
                forwarding=self._forwarding,
            )
            (self._etc / "ssh/sshd_config").write_text(text)
            pid = spawn([sshd, "-D", "-e", "-f", str(directory / "sshd_config")], log, inside=self._inside())
            try:
                wait_until(partial(self._sshd_answers, pid), "sshd does not answer", log)
            except StartError:
                if chosen or attempt == 2:
                    raise
            else:
                if not self.isolated:
                    self._sshd = ProcessId.of(pid)
                return

    def _sshd_answers(self, pid: int) -> bool:
        if self._ended(pid):
            raise StartError(f"sshd ended at once. {self.ssh_log} ends:\n{tail(self.ssh_log)}")
        try:
            with socket.create_connection((self.address, self.ssh_port), 1) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def _serves(self) -> bool:
        """Whether the hand-written page answers; a configuration given by the caller is not known to have one."""
        if not self.status_port:
            return True
        if self.netns:
            return self.run(["curl", "-sf", f"http://127.0.0.1:{self.status_port}/alive"]).returncode == 0
        connection = http.client.HTTPConnection("127.0.0.1", self.status_port, timeout=1)
        try:
            connection.request("GET", "/alive")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()


def default_sudoers(user: str, run_as: RunAs, unit: str | None = None) -> str:
    """What the login user may do as root: just what the driver tells administrators to allow."""
    return "\n".join(sudoers_lines(user, unit=unit)) if run_as == "sudo" else ""


def remove_outside_paths(paths: Sequence[Path]) -> None:
    """Removes what `Host.outside_paths` named. /run/sshd stays while another sshd lives by it."""
    for path in paths:
        if path == Path("/run/sshd"):
            others = (one for one in psutil.process_iter(["name", "status"]) if one.info["name"] == "sshd")
            living = (one for one in others if one.info["status"] != psutil.STATUS_ZOMBIE)
            if path.exists() and not any(_shares_our_mounts(one.pid) for one in living):
                path.rmdir()
        else:
            shutil.rmtree(path, ignore_errors=True)


def _shares_our_mounts(pid: int) -> bool:
    """Whether that process sees the same /run; yes when we may not know."""
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt") == os.readlink("/proc/self/ns/mnt")
    except PermissionError:
        return True
    except OSError:
        return False  # ended while we looked


def _take_over(source: Path, target: Path) -> None:
    """A copy in the place of an earlier one; nothing when there is nothing that everybody may read."""
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)
    if not source.exists() or _private(source.resolve()):
        return
    if source.is_dir():
        # Links inside stay links.
        shutil.copytree(
            source, target, symlinks=True, ignore=lambda at, names: [one for one in names if _private(Path(at, one))]
        )
    else:
        shutil.copy(source, target)  # what a link names may be in /run, which the device has of its own


def _private(path: Path) -> bool:
    """Whether others may not read it, or it is no file, directory or link at all."""
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return False
    wanted = stat.S_IROTH | stat.S_IXOTH if stat.S_ISDIR(mode) else stat.S_IROTH
    return mode & wanted != wanted or not (stat.S_ISDIR(mode) or stat.S_ISREG(mode))


def _start_ticks(entry: Path) -> int:
    """When the process of this entry of /proc started."""
    return int((entry / "stat").read_text().rpartition(")")[2].split()[19])


def _checked(argv: Sequence[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise StartError(f"{' '.join(argv)}: {done.stderr.strip()}")


def _uid_taken(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
        return True
    except KeyError:
        return False


def _service_account(name: str) -> files.Account:
    """An account of the machine that the device needs as well, with the machine's numbers: files belong to it."""
    try:
        found = pwd.getpwnam(name)
    except KeyError as error:
        raise StartError(f"there is no user {name}: is the Debian package installed that makes it?") from error
    return files.Account(
        name=name, uid=found.pw_uid, group=found.pw_gid, home=found.pw_dir, login_shell="/usr/sbin/nologin"
    )


def _hash_password(password: str) -> str:
    """A SHA-512 crypt(3) hash, by the C library that sshd checks it with."""
    crypt = ctypes.CDLL("libcrypt.so.1").crypt
    crypt.restype = ctypes.c_char_p
    alphabet = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    salt = "".join(secrets.choice(alphabet) for _ in range(16))
    hashed: bytes | None = crypt(password.encode(), f"$6$rounds=5000${salt}$".encode())
    if not hashed:
        raise StartError("crypt(3) refused to hash the password")
    return hashed.decode()


def _strict_modes_pass(path: Path) -> bool:
    """Whether sshd would accept this key file: no directory above it may be writable for others (/tmp is)."""
    return not any(
        parent.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH) or parent.stat().st_uid not in (0, os.geteuid())
        for parent in (path, *path.parents)
    )
