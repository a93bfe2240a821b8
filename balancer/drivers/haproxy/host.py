"""What the observation step found on a host, taken apart. Pure."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from balancer.core.model import Bind
from balancer.drivers.haproxy.names import WILDCARD
from balancer.exceptions import TransientDeviceError

_VERSION = re.compile(r"version ((\d+)\.(\d+)[^ ,\n]*)")
_SUM = re.compile("[0-9a-f]{64}")
# Arguments of a running haproxy that take a value, and those that a successor gets anew.
_WITH_VALUE = frozenset({"-f", "-p", "-n", "-N", "-L", "-C", "-m", "-x", "-S"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A haproxy. `unit` is the systemd service it belongs to, `master_socket` one that the login user may use."""

    pid: int
    parent: int
    uid: int
    unit: str | None
    argv: tuple[str, ...]
    master_socket: str | None = None

    @property
    def master_worker(self) -> bool:
        return any(word in ("-W", "-Ws") for word in self.argv)

    @property
    def configurations(self) -> tuple[str, ...]:
        """The operands of -f, and what stands behind --."""
        found: list[str] = []
        words = iter(self.argv[1:])
        for word in words:
            if word == "--":
                found.extend(words)
            elif word == "-f":
                found.append(next(words, ""))
            elif word in _WITH_VALUE:
                next(words, None)
        return tuple(found)

    def operand(self, paths: tuple[str, ...]) -> str | None:
        """The operand of -f that is, or whose directory holds, one of the paths."""
        for each in self.configurations:
            if each in paths or each.rstrip("/") in {posixpath.dirname(path) for path in paths}:
                return each
        return None

    @property
    def pid_file(self) -> str | None:
        words = self.argv
        return next((words[index + 1] for index, word in enumerate(words[:-1]) if word == "-p"), None)

    def further_arguments(self, operand: str) -> tuple[str, ...]:
        """What a successor must get besides -D, -f OPERAND, -p FILE and -sf."""
        kept: list[str] = []
        words = list(self.argv[1:])
        while words:
            word = words.pop(0)
            if word in ("-sf", "-st"):
                while words and words[0].isdigit():
                    words.pop(0)
            elif word in ("-D", "-W", "-Ws", "-db", "-q"):
                continue
            elif word in ("-x", "-p", "-S") or (word == "-f" and words[:1] == [operand]):
                words[:1] = []
            else:
                kept.append(word)
                if word in _WITH_VALUE and words:
                    kept.append(words.pop(0))
        return tuple(kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostState:
    """A host as the login user sees it.

    `path` is the real path of haproxy.cfg, `config` its bytes (None when there is no such file, or when it cannot be
    read: then `config_exists`). `processes` are this configuration's, masters and workers, oldest first.
    `previous_exists`: an earlier deployment was not verified. `leftovers`: one goes on, or was cut off together with
    the host before it changed anything. `listening` are the TCP sockets of all programs. `ping_command`: there is one
    beside the configuration; `states`: so is a server state file. `ping_groups`: the groups (first, last) that may ping
    without being root.
    """

    uid: int
    hostname: str
    tools: Mapping[str, str]
    path: str
    directory: frozenset[str]
    socket_directory: bool
    previous_exists: bool
    leftovers: bool
    mode: tuple[int, int, str] | None
    config: bytes | None
    config_by_sudo: bool
    sidecar: bytes | None
    version: str | None
    unit: str | None
    processes: tuple[Process, ...] = ()
    listening: tuple[Bind, ...] = ()
    addresses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ping_command: bool = False
    states: bool = False
    ping_groups: tuple[int, int] = (1, 0)

    @property
    def config_exists(self) -> bool:
        return self.mode is not None

    @property
    def leaders(self) -> tuple[Process, ...]:
        """The masters, or the processes without one: those that no other one of them is the parent of."""
        pids = {each.pid for each in self.processes}
        return tuple(each for each in self.processes if each.parent not in pids)

    @property
    def old_workers(self) -> int:
        """Processes that serve what was there before a reload to its end."""
        return max(0, len(self.processes) - sum(each.master_worker for each in self.leaders) - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """What the deployment step says before it changes anything. `sums`: path to sha256 in hexadecimal. `before`: the
    numbers of this configuration's processes. The rest is there when it was asked for, as in `HostState`."""

    sums: Mapping[str, str]
    before: frozenset[int]
    modes: tuple[tuple[int, int, str], ...] = ()
    one_file: bool = True
    directory: frozenset[str] = frozenset()
    socket_directory: bool = False
    previous_exists: bool = False
    ping_command: bool = False
    ping_groups: tuple[int, int] = (1, 0)
    listening: tuple[Bind, ...] = ()
    addresses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def read(cls, lines: Iterable[str]) -> Glance:
        values: dict[str, list[str]] = {}
        sums: dict[str, str] = {}
        numbered: list[str] = []
        for line in lines:
            key, _, rest = line.partition(" ")
            if _SUM.fullmatch(key):
                sums[rest.lstrip(" *")] = key
            elif key.rstrip(":").isdigit():
                numbered.append(line)
            else:
                values.setdefault(key, []).append(rest)
        files = [each.split(" ") for each in values.get("mode", ())]
        return cls(
            sums=sums,
            before=frozenset(int(each) for each in " ".join(values.get("before", ())).split() if each.isdigit()),
            modes=tuple((int(owner), int(group), mode) for owner, group, mode, _ in files),
            one_file=len({inode for *_, inode in files}) == 1,
            directory=frozenset(values.get("directory", ())),
            socket_directory="socket-directory" in values,
            previous_exists="previous" in values,
            ping_command="ping-command" in values,
            ping_groups=_pair(values.get("ping-groups", [""])[0]),
            listening=_listening(values),
            addresses=_addresses("\n".join(numbered)),
        )

    def shows(self, known: HostState, sidecar_digest: str) -> bool:
        """Whether the host is as it was when it was looked at, but for who listens there."""
        return (
            self.one_file
            and set(self.modes) == {known.mode}
            and self.directory == known.directory - {"exists"}
            and self.socket_directory == known.socket_directory
            and self.previous_exists == known.previous_exists
            and self.ping_command == known.ping_command
            and self.ping_groups == known.ping_groups
            and self.addresses == known.addresses
            and self.sums.get(f"{known.path}.balancer") == sidecar_digest
        )


def parse(text: bytes, config_path: str) -> HostState:
    """The output of the observation step. Raises `TransientDeviceError` when it is cut short."""
    lines = text.decode("utf-8", "replace").splitlines()
    # Whatever a login shell prints before is not ours.
    if "balancer-observe 1" not in lines or lines[-1] != "end 0":
        raise TransientDeviceError(
            "the host did not answer the observation as expected; it said: " + (" / ".join(lines[-3:]) or "nothing")
        )
    values: dict[str, list[str]] = {}
    for line in lines[lines.index("balancer-observe 1") + 1 :]:
        key, _, rest = line.partition(" ")
        values.setdefault(key, []).append(rest)

    def one(key: str) -> str | None:
        return values[key][0] if key in values else None

    def data(key: str) -> bytes | None:
        found = one(key)
        return None if found is None else _decoded(found)

    path = one("path") or config_path
    mode = one("mode")
    tools: dict[str, str] = {}
    for entry in values.get("tool", ()):
        name, _, where = entry.partition(" ")
        tools.setdefault(name, where)
    sudo_config = data("sudo-config")
    version = (data("version") or b"").decode("utf-8", "replace")
    found = _VERSION.search(version)
    owner_group_mode = mode.split(" ") if mode else None
    return HostState(
        uid=int(one("uid") or -1),
        hostname=one("hostname") or "",
        tools=tools,
        path=path,
        directory=frozenset(values.get("directory", ())),
        socket_directory="socket-directory" in values,
        previous_exists="previous" in values,
        leftovers="leftover" in values,
        mode=(int(owner_group_mode[0]), int(owner_group_mode[1]), owner_group_mode[2]) if owner_group_mode else None,
        # sudo that refuses prints nothing; an empty file needs no sudo to be compared.
        config=data("config") if "config" in values else (sudo_config or None),
        config_by_sudo=bool(sudo_config),
        sidecar=data("sidecar"),
        version=found[1] if found else None,
        unit=one("unit"),
        processes=_processes(values, (path, config_path)),
        listening=_listening(values),
        addresses=_addresses((data("addresses") or b"").decode("utf-8", "replace")),
        ping_command="ping-command" in values,
        states="states" in values,
        ping_groups=_pair(one("ping-groups")),
    )


def ping_command(host: HostState, settings: Mapping[str, str]) -> str | None:
    """The command with which HAProxy may ping, None when it could not: under a chroot it finds no command, and without
    root's rights the kernel must let its group. `settings` are those of the hand-written `global`."""
    if not host.ping_command or "chroot" in settings:
        return None
    root = not {"user", "uid"} & settings.keys() and all(each.uid == 0 for each in host.processes)
    everybody = host.ping_groups[0] <= 1 and host.ping_groups[1] >= 65534
    return f"{host.path}.balancer-ping" if root or everybody else None


def _pair(text: str | None) -> tuple[int, int]:
    first, _, last = (text or "").partition(" ")
    return (int(first), int(last)) if first.isdigit() and last.isdigit() else (1, 0)


def version_number(version: str | None) -> tuple[int, int] | None:
    """``"2.6.12-1"`` -> (2, 6)."""
    match = re.match(r"(\d+)\.(\d+)", version or "")
    return (int(match[1]), int(match[2])) if match else None


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""


def _processes(values: Mapping[str, list[str]], paths: tuple[str, ...]) -> tuple[Process, ...]:
    sockets = {}
    for entry in values.get("master-socket", ()):
        pid, _, where = entry.partition(" ")
        sockets[int(pid)] = _decoded(where).decode("utf-8", "replace")
    found = []
    for entry in values.get("process", ()):
        pid, parent, uid, unit, *argv = entry.split(" ")
        if not (pid.isdigit() and parent.isdigit() and uid.isdigit()):
            continue  # it ended while it was looked at
        words = _decoded(argv[0] if argv else "").decode("utf-8", "replace").rstrip("\0").split("\0")
        process = Process(
            pid=int(pid),
            parent=int(parent),
            uid=int(uid),
            unit=None if unit == "-" else unit,
            argv=tuple(words),
            master_socket=sockets.get(int(pid)),
        )
        if process.operand(paths) and "-c" not in process.argv:
            found.append(process)
    return tuple(sorted(found, key=lambda each: each.pid))


def _listening(values: Mapping[str, list[str]]) -> tuple[Bind, ...]:
    found = [_by_kernel(each) for each in values.get("listening", ())]
    found += [_by_ss(each) for each in values.get("LISTEN", ())]
    return tuple(dict.fromkeys(each for each in found if each is not None))


def _by_kernel(entry: str) -> Bind | None:
    """``0100007F:1F90``, longer for IPv6: the kernel prints words in the host's byte order, here little-endian."""
    address, _, port = entry.partition(":")
    try:
        raw = bytes.fromhex(address)
        number = int(port, 16)
    except ValueError:
        return None
    if len(raw) not in (4, 16):
        return None
    packed = b"".join(raw[index : index + 4][::-1] for index in range(0, len(raw), 4))
    return _bind(ipaddress.ip_address(packed), number)


def _by_ss(entry: str) -> Bind | None:
    """``0 4096 127.0.0.1:80 0.0.0.0:*``: two queues, what it listens at, the other side. A star is every address, IPv6
    and IPv4."""
    words = entry.split()
    address, _, port = (words[2] if len(words) > 2 else "").rpartition(":")
    address = address.partition("%")[0].strip("[]")
    try:
        return _bind(ipaddress.ip_address("::" if address == "*" else address), int(port))
    except ValueError:
        return None


def _bind(parsed: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> Bind:
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    text = WILDCARD if parsed.version == 4 and parsed.is_unspecified else str(parsed)
    return Bind(address=text, first_port=port, last_port=port)


def _addresses(text: str) -> dict[str, tuple[str, ...]]:
    """``ip -o addr show`` -> interface to its addresses with prefix lengths."""
    found: dict[str, tuple[str, ...]] = {}
    for interface, address in _address_words(text):
        found[interface] = (*found.get(interface, ()), address)
    return found


def _address_words(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        words = line.split()
        if len(words) > 3 and words[2] in ("inet", "inet6"):
            yield words[1], words[3]
