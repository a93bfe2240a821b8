"""The single commands that may need more rights than the login user has, and the sudoers lines that grant them.

Both come from the same functions: what the remote step runs is what an administrator is told to allow.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from balancer.drivers.haproxy import names
from balancer.drivers.haproxy.addresses import AddressAction, Entry

# Where Debian has them. On a device the paths that were found are used; sudo compares the files, not their names.
DEFAULT_TOOLS: Mapping[str, str] = {
    "cat": "/usr/bin/cat",
    "cp": "/usr/bin/cp",
    "mv": "/usr/bin/mv",
    "rm": "/usr/bin/rm",
    "tee": "/usr/bin/tee",
    "kill": "/usr/bin/kill",
    "systemctl": "/usr/bin/systemctl",
    "haproxy": "/usr/sbin/haproxy",
    "ip": "/usr/bin/ip",
}
DEFAULT_CONFIG = "/etc/haproxy/haproxy.cfg"
DEFAULT_SOCKET = "/run/haproxy/balancer.sock"
DEFAULT_PID_FILE = "/run/haproxy.pid"
DEFAULT_UNIT = "haproxy.service"

_UNIT = re.compile(r"[A-Za-z0-9@_.-]{1,64}\.service")

Argv = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """The files of one configuration; all in its directory, so that a rename never crosses file systems."""

    config: str

    def _beside(self, kind: str) -> str:
        directory, name = posixpath.split(self.config)
        return posixpath.join(directory, f".{name}.balancer-{kind}")

    @property
    def staged(self) -> str:
        return self._beside("new")

    @property
    def previous(self) -> str:
        return self._beside("old")

    @property
    def note(self) -> str:
        return self._beside("note")

    @property
    def sidecar(self) -> str:
        return f"{self.config}.balancer"

    @property
    def states(self) -> str:
        """The server state file."""
        return f"{self.config}.balancer-states"


def file_steps(config: str, tools: Mapping[str, str] = DEFAULT_TOOLS) -> dict[str, Argv]:
    """The steps of a deployment that touch files, by their names in the remote step."""
    paths = Paths(config=names.file_path(config, "remote_config_path"))
    cp, mv, rm, tee = (tools[each] for each in ("cp", "mv", "rm", "tee"))
    return {
        "copy": (cp, "-p", config, paths.staged),
        "write": (tee, paths.staged),
        "check": (tools["haproxy"], "-c", "-f", paths.staged),
        "note": (tee, paths.note),
        "record": (mv, "-f", paths.note, paths.sidecar),
        "states": (tee, paths.states),
        "backup": (cp, "-p", config, paths.previous),
        "install": (mv, "-f", paths.staged, config),
        "restore": (mv, "-f", paths.previous, config),
        "clean": (rm, "-f", paths.staged, paths.note, paths.previous),
        "discard": (rm, "-f", paths.staged, paths.note),
    }


def read_steps(config: str, tools: Mapping[str, str] = DEFAULT_TOOLS) -> dict[str, Argv]:
    """Needed with more rights only where the login user may not read the configuration."""
    return {"read": (tools["cat"], config), "read_staged": (tools["cat"], Paths(config=config).staged)}


def quick_check_step(config: str, program: str) -> Argv:
    """The check of a file that has nothing to do with certificates of authorities, after a first file on standard input
    that says so."""
    return (program, "-c", "-f", "/dev/stdin", "-f", Paths(config=config).staged)


# --- bringing a configuration into service -----------------------------------


def unit_step(action: str, unit: str, tools: Mapping[str, str] = DEFAULT_TOOLS) -> Argv:
    """`action`: reload, start or stop."""
    if not _UNIT.fullmatch(unit):
        raise ValueError(f"{unit!r} is not a service unit")
    return (tools["systemctl"], action, unit)


def signal_step(action: str, pids: Sequence[int], tools: Mapping[str, str] = DEFAULT_TOOLS) -> Argv:
    """`action`: reload (of a master process) or stop."""
    return (tools["kill"], {"reload": "-USR2", "stop": "-TERM"}[action], *map(str, pids))


def handover_step(program: str, config: str, pid_file: str, extra: Sequence[str], pids: Sequence[int]) -> Argv:
    """Starts a haproxy without master process that takes over from `pids`. `extra`: further arguments it had."""
    return (program, "-D", "-f", config, "-p", pid_file, *extra, "-sf", *map(str, pids))


def start_pid_file(socket: str) -> str:
    """Where a haproxy that the service starts itself puts its number: beside the stats socket."""
    return socket.removesuffix(".sock") + ".pid"


def start_step(program: str, config: str, pid_file: str) -> Argv:
    return (program, "-W", "-D", "-f", config, "-p", pid_file)


# --- virtual IP addresses ----------------------------------------------------


def address_step(action: AddressAction, entry: Entry, tools: Mapping[str, str] = DEFAULT_TOOLS) -> Argv:
    """IPv6 without waiting for somebody else to claim it: it is ours to say who has it."""
    nodad = ("nodad",) if action is AddressAction.ADD and ":" in entry.address else ()
    return (tools["ip"], "address", action.value, *str(entry).split(), *nodad)


def address_line(login: str, ip: str = DEFAULT_TOOLS["ip"]) -> str:
    """The sudoers line that allows adding and removing any address, and nothing else that ip can do."""
    operand = "[0-9a-f.:]+/[0-9]+ dev [A-Za-z0-9][A-Za-z0-9_.-]*"
    return f"{names.login(login)} ALL=(root) NOPASSWD: {ip} ^address (add|del) {operand}( nodad)?$"


# --- what to write into sudoers ----------------------------------------------


def sudoers_lines(
    login: str,
    config: str = DEFAULT_CONFIG,
    *,
    tools: Mapping[str, str] = DEFAULT_TOOLS,
    unit: str | None = None,
    pid_file: str = DEFAULT_PID_FILE,
    socket: str = DEFAULT_SOCKET,
    read: bool = False,
) -> list[str]:
    """Everything that `login` needs to deploy to a host without being root; for sudo 1.9.10 or later.

    `unit`: the host runs haproxy under systemd as this unit; None: as a process of its own, reloaded by signal or, when
    it has no master process, by a new process that writes `pid_file`. `socket`: the service's stats socket. `read`:
    also to read a configuration that the login may not read.
    """
    user = names.login(login)
    steps = list(file_steps(config, tools).values())
    if read:
        steps += read_steps(config, tools).values()
    if unit is not None:
        steps += [unit_step(action, unit, tools) for action in ("reload", "start", "stop")]
    else:
        steps += [signal_step(action, (1,), tools) for action in ("reload", "stop")]
        steps.append(handover_step(tools["haproxy"], config, pid_file, (), (1,)))
        steps.append(start_step(tools["haproxy"], config, start_pid_file(socket)))
    return [*(sudoers_line(user, step) for step in steps), address_line(user, tools["ip"])]


def sudoers_line(login: str, step: Argv) -> str:
    """The line that allows a step: exactly, or whatever process numbers stand at its end."""
    fixed = list(step)
    while fixed and fixed[-1].isdigit():
        fixed.pop()
    command = shlex.join(step)
    if len(fixed) < len(step):
        # Brackets instead of backslashes: those mean something to sudoers itself.
        literal = re.sub(r"([.+])", r"[\1]", " ".join(fixed[1:]))
        command = f"{step[0]} ^{literal} [0-9]+( [0-9]+)*$"
    return f"{login} ALL=(root) NOPASSWD: {command}"


# --- as text of the remote step ----------------------------------------------


def shell_functions(steps: Mapping[str, Argv], *, sudo: Mapping[str, str | None]) -> str:
    """One function ``do_STEP`` per step, to be called in a shell of its own: it becomes the command. `sudo` maps a step
    to the path of sudo when it needs that."""
    lines = []
    for name, argv in steps.items():
        prefix = (path, "-n") if argv and (path := sudo.get(name)) else ()
        command = f"exec {shlex.join((*prefix, *argv))}" if argv else ":"
        lines.append(f"do_{name}() {{ {command}; }}\n")
    return "".join(lines)
