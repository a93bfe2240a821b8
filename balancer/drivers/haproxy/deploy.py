"""The two remote steps: looking at a host, and putting a configuration into service there."""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
import shlex
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from balancer.core.model import Device
from balancer.drivers.haproxy import rights, runtime
from balancer.drivers.haproxy.addresses import AddressAction, Step, routes, strangers
from balancer.drivers.haproxy.file import Sidecar, digest, dump_sidecar
from balancer.drivers.haproxy.host import Glance, HostState, Process, parse, version_number
from balancer.drivers.haproxy.plan import Action
from balancer.drivers.haproxy.rights import Argv, Paths
from balancer.drivers.ssh import Connection, Session, Stream
from balancer.exceptions import LaterOwner, TerminalDeviceError, TransientDeviceError

RELOAD_METHODS = ("systemctl", "signal", "master socket", "handover")
OLDEST_VERSION = (2, 4)
# Since then a file can say that the client in HAProxy itself needs no certificates of authorities.
_HTTPCLIENT_VERSION = (2, 6)
# What may use that client.
_USES_HTTPCLIENT = re.compile(rb"httpclient|lua|ocsp|acme|@system-ca", re.IGNORECASE)

_OBSERVE = resources.files(__package__).joinpath("observe.sh").read_text()
_DEPLOY = resources.files(__package__).joinpath("deploy.sh").read_text()
_TOOLS = ("cat", "cp", "mv", "rm", "tee", "flock", "timeout", "base64", "sha256sum")
# Lines that a login shell may print before the step's own.
_GREETING_LINES = 100
# Seconds that a step has to clean up after its time was over.
_GRACE = 4
# Of questions whether HAProxy is done; each takes time from it, and no reload is over before the first.
_POLL_WAIT, _POLL_FIRST, _POLL_LAST = 0.02, 0.008, 0.05
# Of a step before it is told to go on.
_ANSWERS = (b"accepted ", b"rejected ", b"failed-", b"busy ", b"stale ", b"foreign ")
# A process that lives so long has not stumbled over its configuration.
_SETTLED = 0.3
# When no new process is there by then, the reload was lost. One too many does no harm: the file is the same.
_LOST = 1.5
_MASTER_TIMEOUT = 5.0
# A file of so many bytes is not sent as a whole.
_LARGE = 65536


def config_of(device: Device) -> str:
    return device.config_path or rights.DEFAULT_CONFIG


def socket_of(device: Device) -> str:
    return device.socket or rights.DEFAULT_SOCKET


def look(connection: Connection, device: Device, *, timeout: float) -> HostState:
    """Looks at the host and changes nothing."""
    config, socket = config_of(device), socket_of(device)
    done = connection.run(
        ["timeout", str(timeout), "/bin/sh", "-c", _OBSERVE, "balancer", config, socket], timeout=timeout + 1
    )
    if done.rc == 127:
        raise TerminalDeviceError(f"{connection.where}: the device lacks the command timeout")
    return parse(done.stdout, config)


def ways(connection: Connection, host: HostState, addresses: Sequence[str], *, timeout: float) -> dict[str, str]:
    """Address -> the interface that packets to it leave by, or "local"; those without a route are left out."""
    if "ip" not in host.tools or not addresses:
        return {}
    questions = "".join(f"route get {each}\n" for each in addresses).encode()
    argv = ["timeout", str(timeout), host.tools["ip"], "-o", "-force", "-batch", "-"]
    return routes(connection.run(argv, stdin=questions, timeout=timeout + 1).stdout.decode("utf-8", "replace"))


# --- what a host needs and how it is done there ------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """How to deploy to one host: the commands of each step, which of them through sudo, the operand of haproxy's -f.

    `method` says in a word how HAProxy is reloaded. With `master_socket` it is asked over that socket, not by a
    command. `keep_mode`: the new file must get owner and mode of the old one. `masters`: processes that stay.
    `ip`: the command that changes addresses, with sudo when it needs that; () when there is no way, which then says
    `no_ip`.
    """

    steps: Mapping[str, Argv]
    sudo: Mapping[str, str | None]
    method: str
    operand: str
    keep_mode: bool
    masters: frozenset[int] = frozenset()
    master_socket: str | None = None
    ip: Argv = ()
    no_ip: str = ""


def means(host: HostState, device: Device, where: str) -> Means:
    """Raises `TerminalDeviceError` saying what the host lacks."""
    running = host.leaders[-1] if host.leaders else None
    program = _program(host, running)
    version = version_number(host.version)
    _demand(host, device, where, program)
    tools = {**rights.DEFAULT_TOOLS, **host.tools, "haproxy": program}
    files = None if host.uid == 0 or "writable" in host.directory else host.tools["sudo"]
    steps: dict[str, Argv] = {**rights.file_steps(host.path, tools), **rights.read_steps(host.path, tools)}
    sudo: dict[str, str | None] = dict.fromkeys(rights.file_steps(host.path, tools), files)
    sudo |= dict.fromkeys(rights.read_steps(host.path, tools), host.tools.get("sudo") if host.config_by_sudo else None)
    # Without sudo: where the login user may read the file, and HAProxy accepts it for him, it does for root.
    quick = version is not None and version >= _HTTPCLIENT_VERSION
    steps["check_quickly"] = rights.quick_check_step(host.path, program) if quick else ()
    root = None if host.uid == 0 else host.tools.get("sudo")
    method, master_socket, operand = "start", None, host.path
    pid_file = rights.start_pid_file(socket_of(device))
    if running is None:
        steps["reload"] = ()
        steps["stop"] = ()
        if host.unit:
            steps["start"] = rights.unit_step("start", host.unit, tools)
            steps["stop"] = rights.unit_step("stop", host.unit, tools)
            sudo |= {"start": root, "stop": root}
        else:
            steps["start"] = rights.start_step(program, host.path, pid_file)
            sudo["start"] = files
    else:
        operand = running.operand((host.path, config_of(device))) or host.path
        may_signal = host.uid in (0, running.uid)
        signal = None if may_signal else root
        pids = tuple(each.pid for each in host.leaders)
        steps["start"] = ()
        steps["stop"] = rights.signal_step("stop", pids, tools)
        sudo |= {"stop": signal, "reload": signal}
        method = _method(host, running, device, where)
        if method == "systemctl" and running.unit:
            steps["reload"] = rights.unit_step("reload", running.unit, tools)
            steps["stop"] = rights.unit_step("stop", running.unit, tools)
        elif method == "handover":
            successor = running.pid_file or pid_file
            extra = running.further_arguments(operand)
            steps["reload"] = rights.handover_step(program, operand, successor, extra, pids)
        elif method == "signal":
            steps["reload"] = rights.signal_step("reload", (running.pid,), tools)
        else:
            master_socket = running.master_socket
            steps["reload"] = ()
        if signal is None and not may_signal and master_socket is None:
            raise TerminalDeviceError(
                f"{where}: {device.endpoint.username} may not reload HAProxy: give the login user its master socket "
                "(-S PATH,mode,660,group,GROUP) or sudo with the lines of the documentation"
            )
    return Means(
        steps=steps,
        sudo=sudo,
        method=method,
        operand=operand,
        # What root makes anew is root's with mode 644.
        keep_mode=host.mode != (0, 0, "644") or (files is None and host.uid != 0),
        masters=frozenset(each.pid for each in host.leaders if each.master_worker),
        master_socket=master_socket,
        **_ip(host, device),
    )


def _method(host: HostState, running: Process, device: Device, where: str) -> str:
    """How the running HAProxy is reloaded: as the device's registration says, else as it can be."""
    wanted = device.extras.get("reload_method")
    if wanted is not None:
        lacks = {
            "systemctl": "" if running.unit and "systemctl" in host.tools else "HAProxy does not run as a service",
            "signal": "" if running.master_worker else "HAProxy has no master process",
            "master socket": "" if running.master_socket else "there is no master socket that the login user may use",
            "handover": "HAProxy has a master process" if running.master_worker else "",
        }[str(wanted)]
        if lacks:
            raise TerminalDeviceError(f"{where}: reload_method is {wanted}, but {lacks}: change one or the other")
        return str(wanted)
    may_signal = host.uid in (0, running.uid)
    if running.unit and not may_signal and "systemctl" in host.tools:
        return "systemctl"
    if not running.master_worker:
        return "handover"
    return "signal" if may_signal or not running.master_socket else "master socket"


def _ip(host: HostState, device: Device) -> dict[str, Any]:
    if "ip" not in host.tools:
        return {"no_ip": "the device has no command ip (iproute2)"}
    if host.uid == 0:
        return {"ip": (host.tools["ip"],)}
    if "sudo" in host.tools:
        return {"ip": (host.tools["sudo"], "-n", host.tools["ip"])}
    return {"no_ip": f"{device.endpoint.username} is not root, and the device has no sudo"}


def _program(host: HostState, running: Process | None) -> str:
    """The haproxy that runs checks its next configuration too."""
    if running is not None and running.argv[0].startswith("/"):
        return running.argv[0]
    return host.tools.get("haproxy", "")


def _demand(host: HostState, device: Device, where: str, program: str) -> None:
    user, config = device.endpoint.username, config_of(device)
    missing = [tool for tool in _TOOLS if tool not in host.tools]
    version = version_number(host.version)
    if "exists" not in host.directory:
        problem = f"the directory of {config} does not exist: is HAProxy installed?"
    elif not host.config_exists:
        problem = f"{config} does not exist: create it; it may be empty"
    elif "readable" not in host.directory:
        problem = f"{user} may not read the directory of {config}"
    elif host.config is None and host.mode and not host.config_by_sudo:
        problem = (
            f"{user} may not read {config}: let its group read it, or allow "
            f"`{' '.join(rights.read_steps(host.path, {**rights.DEFAULT_TOOLS, **host.tools})['read'])}` in sudoers"
        )
    elif not program:
        problem = "there is no haproxy: install it"
    elif missing:
        problem = f"commands are missing: {', '.join(missing)}"
    elif version is not None and version < OLDEST_VERSION:
        problem = f"HAProxy {host.version} is too old: 2.4 or later is needed"
    elif not host.socket_directory:
        problem = f"the directory of the stats socket {socket_of(device)} does not exist: create it or set `socket`"
    elif host.uid != 0 and "writable" not in host.directory and "sudo" not in host.tools:
        problem = f"{user} may not write beside {config}, and there is no sudo: give its group the right to"
    else:
        return
    raise TerminalDeviceError(f"{where}: {problem}")


# --- putting a configuration into service ------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to install; `content` None leaves the file as it is. `action` says what to do with HAProxy afterwards,
    `has_block` whether the stats socket of ours is in `content`. `heir_of`: the device id of a sidecar that may be
    replaced. `trial`: only ask haproxy -c. `look`: say, too, what a glance at the host shows.

    `before`: changes of addresses before `content` is installed, recorded in `sidecar`. `after`: those once it serves;
    `sidecar_after` is what then is recorded.
    """

    content: bytes | None
    sidecar: Sidecar
    action: Action
    has_block: bool
    heir_of: str = ""
    ask: bool = True
    trial: bool = False
    look: bool = False
    before: tuple[Step, ...] = ()
    after: tuple[Step, ...] = ()
    sidecar_after: Sidecar | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """`seconds` from sending the new file until it was seen serving, by the worker `pid` (0: none was looked for).
    `refused` maps addresses that could not be added or removed to the reason. `old_workers`: those that were there
    before, and may have connections to serve to their end."""

    pid: int
    seconds: float
    old_workers: int = 0
    refused: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """HAProxy refused the configuration (`started` False), or to start with it. The old one serves as before."""

    output: str
    started: bool = False


class Changed(TransientDeviceError):
    """The file on the host is not the one that was looked at."""


class _CutOff(TransientDeviceError):
    """The step ended without a word, before anything was changed."""


class _StepFailed(Exception):
    """What the step says while HAProxy gets ready."""

    def __init__(self, word: str, said: str) -> None:
        super().__init__(said)
        self.word = word


class NotStarted(TransientDeviceError):
    """HAProxy accepted the configuration, but no process came up with it."""


def deploy(
    connection: Connection,
    device: Device,
    host: HostState,
    how: Means,
    order: Order,
    *,
    timeout: float,
    check: Callable[[], None],
    prepare: Callable[[], bytes | None] = lambda: None,
    judge: Callable[[Glance], None] = lambda seen: None,
    spare: Spare | None = None,
) -> Served | Rejected:
    """Installs the file under the lock, has HAProxy take it, and sees it serving; otherwise the previous file is put
    back and taken again. One remote step of at most `timeout` seconds; whatever happens to this end of it, it ends in
    one of the two.

    While HAProxy checks the file, `prepare` is called; it returns the server state file for the worker to come, None to
    leave it as it is. Then `judge` sees what there is on the host: until it returns nothing is changed, and nothing is
    when it raises. `spare`: a step that may be waiting for an order like this one.

    Raises `Changed`, `LeaseLost`, `TransientDeviceError`, `TerminalDeviceError`, and what the two raise.
    """
    argv, longest = _argv(device, host, how, timeout), timeout + _GRACE + 1
    waiting = spare.take(argv, longest) if spare is not None else None
    if waiting is not None:
        # Somebody may have ended it just now.
        with contextlib.suppress(_CutOff):
            return _deploy(connection, device, waiting, host, how, order, timeout, check, prepare, judge)
    session = connection.session(argv, timeout=longest)
    return _deploy(connection, device, session, host, how, order, timeout, check, prepare, judge)


def _deploy(
    connection: Connection,
    device: Device,
    session: Session,
    host: HostState,
    how: Means,
    order: Order,
    timeout: float,
    check: Callable[[], None],
    prepare: Callable[[], bytes | None],
    judge: Callable[[Glance], None],
) -> Served | Rejected:
    began = time.monotonic()
    master: Stream | None = None
    try:
        _read_greeting(session, connection.where)
        # When the step has ended already, what it said is still there to be read.
        with contextlib.suppress(TransientDeviceError):
            session.write(_told(host, how, order))
        states = None
        if not order.trial:
            check()
            states = prepare()
            if order.action is Action.RELOAD and how.master_socket:
                master = _at_master(connection, how.master_socket)
        word, said, seen = _seen(session)
        if not word:
            raise _CutOff(f"{connection.where}: the deployment was cut off{': ' + said if said else ''}")
        if word in ("accepted", "rejected") and seen.sums.get(host.path) != digest(host.config or b""):
            # Then it is not the fault of what was to be deployed.
            raise _failure("changed", "", connection, how)
        staged = seen.sums.get(Paths(config=host.path).staged)
        arrived = order.content is None or staged == digest(order.content)
        if word == "rejected" and staged is not None and not arrived:
            raise _failure("incomplete", "", connection, how)
        if word == "rejected" and not _refused_by_sudo(said):
            return Rejected(output=said)
        if word != "accepted":
            raise _failure(word, said, connection, how)
        if order.trial:
            return Served(pid=0, seconds=time.monotonic() - began)
        if not arrived:
            raise _failure(*_unread(connection, how, timeout), connection, how)
        judge(seen)
        check()
        return _go(connection, device, session, how, order, states, seen.before, began, timeout, check, master)
    finally:
        if master is not None:
            master.close()
        # What the step cleans up, or puts back, comes after its last word.
        with contextlib.suppress(TransientDeviceError):
            session.finish()
        session.close()


def _at_master(connection: Connection, path: str) -> Stream | None:
    """Ready to be asked for the reload, while HAProxy still checks."""
    with contextlib.suppress(TransientDeviceError):
        return connection.stream(path, timeout=_MASTER_TIMEOUT)
    return None


def _unread(connection: Connection, how: Means, timeout: float) -> tuple[str, str]:
    """Why the new file is not seen to be what was sent, in a word of the step's and what was said."""
    sudo = how.sudo.get("read_staged")
    if sudo is not None:
        done = connection.run([sudo, "-n", *how.steps["read_staged"]], timeout=timeout)
        if done.rc:
            return "failed-read_staged", done.stderr.decode("utf-8", "replace")
    return "incomplete", ""


def _go(
    connection: Connection,
    device: Device,
    session: Session,
    how: Means,
    order: Order,
    states: bytes | None,
    before: frozenset[int],
    began: float,
    timeout: float,
    check: Callable[[], None],
    master: Stream | None,
) -> Served | Rejected:
    """From the moment on when the host is changed."""
    refused: dict[str, str] = {}
    pids = " ".join(map(str, sorted(before)))
    session.write(f"go {len(states or b'')} {pids}\n".encode() + (states or b""))
    word, said = _result(session, how, order, connection, refused)
    if word.startswith("failed-") and word[7:] in ("start", "reload") and "[ALERT]" in said:
        return Rejected(output=said, started=True)
    if word == "committed" and order.action is Action.LIVE:
        return Served(pid=0, seconds=time.monotonic() - began)
    if word != "installed":
        raise _failure(word, said, connection, how)
    served = _see_it_through(connection, device, session, how, order, before, timeout, check, master)
    took = time.monotonic() - began
    after = b"" if order.sidecar_after is None else dump_sidecar(order.sidecar_after)
    # When the step has ended, its last word is still there to be read.
    with contextlib.suppress(TransientDeviceError):
        session.write(f"commit {len(after)}\n".encode() + after)
    word, said = _result(session, how, order, connection, refused)
    if word != "committed":
        if word == "failed-record":
            # While HAProxy got ready, which then came up: the step is putting the previous file back.
            _roll_back(connection, session, how.master_socket if order.action is Action.RELOAD else None)
        raise _failure(word, said, connection, how)
    return Served(pid=served, seconds=took, old_workers=len(before - how.masters), refused=refused)


class Spare:
    """A step that is started before it is needed and waits for its order, so that the next deployment need not wait for
    a login shell. It ends with the connection. As long as nothing of it is taken, it is opened in the background."""

    def __init__(self, connection: Connection, device: Device, host: HostState, how: Means, *, timeout: float) -> None:
        self._connection = connection
        self._argv = _argv(device, host, how, timeout)
        self._session: Session | None = None
        self._thread = threading.Thread(target=self._open, name=f"spare-{device.id[:8]}", daemon=True)
        self._thread.start()

    def _open(self) -> None:
        with contextlib.suppress(TransientDeviceError, TerminalDeviceError):
            self._session = self._connection.further_session(self._argv)

    def take(self, argv: Sequence[str], timeout: float) -> Session | None:
        """The session, with `timeout` seconds from now on; None when it has ended or is none for that."""
        self._thread.join(timeout)
        session, self._session = self._session, None
        if session is not None and (argv != self._argv or not session.begin_again(timeout)):
            session.close()
            return None
        return session

    def close(self) -> None:
        self.take((), 0.0)


# The step waits for its order before anything else, so that its time begins then.
_WAITING = 'echo balancer-deploy 1 && read -r order && exec timeout -k "$1" "$2" /bin/sh -c "$3" balancer $order'


def _argv(device: Device, host: HostState, how: Means, timeout: float) -> list[str]:
    values = {
        "config": host.path,
        "given": config_of(device),
        "socket": socket_of(device),
        "device": device.id,
        "operand": how.operand,
        "keep": _yes(how.keep_mode),
        "direct": _yes(how.sudo["write"] is None),
    }
    settings = "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())
    functions = rights.shell_functions(how.steps, sudo=how.sudo)
    return ["/bin/sh", "-c", _WAITING, "balancer", str(_GRACE), str(timeout), settings + functions + _DEPLOY]


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _told(host: HostState, how: Means, order: Order) -> bytes:
    """What the step reads first."""
    functions = _address_functions(host, how, order).encode() if order.before or order.after else b""
    note = b"" if order.trial else dump_sidecar(order.sidecar)
    first, sent, last = _differing(host, order.content or b"")
    words = (
        str(order.sidecar.epoch),
        "check" if order.trial else order.action.value,
        _yes(order.ask),
        _yes(order.look),
        str(len(functions)),
        "-" if order.content is None else str(len(sent)),
        str(len(note)),
        order.heir_of or "-",
        _yes(bool(how.steps["check_quickly"]) and not _USES_HTTPCLIENT.search(order.content or b"lua")),
        str(first),
        str(last),
    )
    return f"{' '.join(words)}\n".encode() + functions + sent + note


def _differing(host: HostState, new: bytes) -> tuple[int, bytes, int]:
    """How much of a large new file is the beginning of the one that is there, what is to be sent, and how much is its
    end. The sums tell when that was another file by then."""
    there = host.config
    if there is None or host.config_by_sudo or len(new) < _LARGE:
        return 0, new, 0
    first = _alike(len(there), len(new), lambda begin, end: there[begin:end] == new[begin:end])
    last = _alike(
        len(there) - first,
        len(new) - first,
        lambda begin, end: there[len(there) - end : len(there) - begin] == new[len(new) - end : len(new) - begin],
    )
    return first, new[first : len(new) - last], last


def _alike(one: int, other: int, same: Callable[[int, int], bool]) -> int:
    """How many bytes are the same before the first that is not, in texts of these lengths."""
    low, high = 0, min(one, other)
    while low < high:
        middle = (low + high + 1) // 2
        if same(low, middle):
            low = middle
        else:
            high = middle - 1
    return low


def _address_functions(host: HostState, how: Means, order: Order) -> str:
    lines = []
    for name, steps in (("do_add", order.before), ("do_remove", order.after)):
        lines.append(f"{name}() {{ :")
        for action, entry in steps:
            argv = (*how.ip, *rights.address_step(action, entry)[1:])
            lines.append(f"attempt {shlex.join((f'{action} {entry}', *argv))}")
        lines.append("}")
    lines.append("do_announce() { :")
    ping = host.tools.get("ping")
    for action, entry in order.before:
        others = strangers(entry, host.addresses) if ping and action is AddressAction.ADD else ()
        if ping and others:
            lines.append(f"announce {shlex.join((ping, entry.address, *others))}")
    lines.append("}")
    return "".join(f"{line}\n" for line in lines)


def _read_greeting(session: Session, where: str) -> None:
    for _ in range(_GREETING_LINES):
        line = session.readline()
        if line == b"balancer-deploy 1":
            return
        if not line:
            break
    raise _CutOff(f"{where}: the device did not run the deployment step")


def _reply(session: Session) -> tuple[str, str]:
    """The word and its text; the text of "pids" is plain."""
    return _taken_apart(session.readline())


def _taken_apart(line: bytes) -> tuple[str, str]:
    word, _, rest = line.decode("ascii", "replace").partition(" ")
    if word == "pids":
        return word, rest
    try:
        return word, base64.b64decode(rest, validate=True).decode("utf-8", "replace")
    except binascii.Error:
        return "", rest


def _seen(session: Session) -> tuple[str, str, Glance]:
    """The first answer, and what the step said before about what there is."""
    lines: list[str] = []
    while line := session.readline():
        if line.startswith(_ANSWERS):
            return (*_taken_apart(line), Glance.read(lines))
        lines.append(line.decode("utf-8", "replace"))
    return "", "", Glance.read(())


def _result(
    session: Session, how: Means, order: Order, connection: Connection, refused: dict[str, str]
) -> tuple[str, str]:
    """The next answer; what it says of addresses first goes into `refused`."""
    word, said = _reply(session)
    if word != "addresses":
        return word, said
    user = connection.endpoint.username
    for line in said.splitlines():
        for action, entry in (*order.before, *order.after):
            what = f"{action} {entry}: "
            if line.startswith(what):
                reason = line.removeprefix(what).strip()
                command = f"{how.ip[-1]} address {action}"
                refused[entry.address] = (
                    f"sudo refused `{command} …` ({reason}). Add to the device's sudoers: "
                    f"{rights.address_line(user, how.ip[-1])}"
                    if _refused_by_sudo(reason)
                    else f"`{command} {entry}` failed: {reason}"
                )
    return _reply(session)


def _see_it_through(
    connection: Connection,
    device: Device,
    session: Session,
    how: Means,
    order: Order,
    before: frozenset[int],
    timeout: float,
    check: Callable[[], None],
    master: Stream | None,
) -> int:
    asked = how.master_socket if order.action is Action.RELOAD else None
    try:
        if asked:
            runtime.reload_by_master(connection, asked, master)
        deadline = time.monotonic() + timeout / 2
        again = _once_more(connection, session, how) if order.action is Action.RELOAD else None
        pid = _await_service(connection, device, session, order, before, how.masters, deadline, again)
        check()
    except _StepFailed as error:
        _roll_back(connection, session, asked)
        raise _failure(error.word, str(error), connection, how) from None
    except BaseException as error:
        # Also when the lease is gone: what nobody verified must not stay.
        _roll_back(connection, session, asked)
        if isinstance(error, TransientDeviceError):
            kind = NotStarted if isinstance(error, NotStarted) else TransientDeviceError
            raise kind(f"{error}. The previous configuration was put back") from None
        raise
    return pid


def _roll_back(connection: Connection, session: Session, master_socket: str | None) -> None:
    # When the connection is gone, or something failed there, the step does it by itself.
    with contextlib.suppress(TransientDeviceError):
        session.write(b"rollback\n")
    with contextlib.suppress(TransientDeviceError):
        word = ""
        while word not in ("rolled-back", "failed-restore"):
            word, _ = _reply(session)
            if not word:
                return
        if master_socket:
            runtime.reload_by_master(connection, master_socket)


def _await_service(
    connection: Connection,
    device: Device,
    session: Session,
    order: Order,
    before: frozenset[int],
    masters: frozenset[int],
    deadline: float,
    again: Callable[[], None] | None,
) -> int:
    """The number of the worker that serves the new configuration. `again` asks for the reload once more."""
    if order.action is Action.INSTALL:
        return 0
    if order.action is Action.STOP:
        _poll(lambda: None if _processes(session) else 0, deadline)
        if _processes(session):
            raise TransientDeviceError(f"{connection.where}: HAProxy did not stop")
        return 0
    asked = _by_socket(connection, device, before) if order.has_block else _by_processes(session, before, masters)
    while time.monotonic() < deadline:
        found = _poll(asked, min(deadline, time.monotonic() + _LOST))
        if found is not None:
            return found
        if again is not None and not _processes(session) - before:
            again()
    if not _processes(session) - before:
        raise NotStarted(
            f"{connection.where}: HAProxy accepted the configuration, but no new process of it lives; its own log on "
            "the device says why"
        )
    # It says what keeps the socket from answering.
    pid = asked()
    if pid is None:
        raise TransientDeviceError(f"{connection.where}: a new HAProxy process lives, but the one before still serves")
    return pid


def _once_more(connection: Connection, session: Session, how: Means) -> Callable[[], None] | None:
    """A master that is busy with the reload before can lose the one asked for now. None where none gets lost."""
    if how.master_socket is not None:
        socket = how.master_socket
        return lambda: runtime.reload_by_master(connection, socket)
    if how.method in ("signal", "systemctl"):
        return lambda: session.write(b"again\n")
    return None


def _by_socket(connection: Connection, device: Device, before: frozenset[int]) -> Callable[[], int | None]:
    def ask() -> int | None:
        pid = runtime.show_info(connection, socket_of(device)).pid
        return None if pid in before else pid

    return ask


def _by_processes(session: Session, before: frozenset[int], masters: frozenset[int]) -> Callable[[], int | None]:
    """No socket of ours is left to be asked. A process that stumbles over its configuration does so at once."""
    first_seen: list[float] = []

    def ask() -> int | None:
        now = _processes(session)
        new = now - before
        if not new:
            first_seen.clear()
            return None
        first_seen.append(time.monotonic())
        settled = first_seen[-1] - first_seen[0] >= _SETTLED
        return max(new) if settled or not now & before - masters else None

    return ask


def _poll(ask: Callable[[], int | None], deadline: float) -> int | None:
    """The first answer before the deadline. A question that fails for the moment is asked again."""
    time.sleep(_POLL_WAIT)
    pause = _POLL_FIRST
    while time.monotonic() < deadline:
        with contextlib.suppress(TransientDeviceError):
            answer = ask()
            if answer is not None:
                return answer
        time.sleep(pause)
        pause = min(pause * 1.2, _POLL_LAST)
    return None


def _processes(session: Session) -> frozenset[int]:
    session.write(b"pids\n")
    word, said = _reply(session)
    if word.startswith("failed-"):
        raise _StepFailed(word, said)
    if word != "pids":
        raise TransientDeviceError("the deployment step ended early")
    return frozenset(int(each) for each in said.split())


# --- what went wrong ---------------------------------------------------------


# What the device says -> what is to be done there.
_REMEDIES = {
    "No space left": "On the device, free some space there",
    "Disk quota": "On the device, free some space there, or raise the quota",
    "Read-only file system": "On the device, find out why that file system is read-only and mount it writable",
    "Input/output error": "The device's disk is broken: its kernel log says more",
}


def _is_missing(said: str) -> bool:
    return "command not found" in said


def _refused_by_sudo(said: str) -> bool:
    return said.startswith("sudo:") or "is not allowed to execute" in said or "may not run sudo" in said


def _failure(word: str, said: str, connection: Connection, how: Means) -> Exception:
    where = connection.where
    said = " ".join(said.split())
    step = "check" if word == "rejected" else word.removeprefix("failed-")
    if word == "changed":
        return Changed(f"{where}: haproxy.cfg was changed meanwhile")
    if word == "stale":
        return later_owner(where, int(said or 0))
    if word == "foreign":
        return TerminalDeviceError(foreign_sentence(where, said))
    if word == "busy":
        return TransientDeviceError(f"{where}: another deployment is going on there")
    if word == "incomplete":
        return TransientDeviceError(f"{where}: the new configuration did not arrive whole")
    if step in how.steps or step == "lock":
        command = " ".join(how.steps.get(step, ()))
        if step == "check" and (word == "failed-check" or _is_missing(said)):
            program = how.steps[step][0]
            return TerminalDeviceError(f"{where}: there is no program {program} that can be run ({said}): install it")
        if command and _refused_by_sudo(said):
            user = connection.endpoint.username
            return TerminalDeviceError(
                f"{where}: sudo refused `{command}` ({said}). Add to the device's sudoers: "
                f"{rights.sudoers_line(user, how.steps[step])}"
            )
        sentence = f"{where}: the step `{step}` of the deployment failed ({command or 'lock'}): {said}"
        remedy = next((remedy for problem, remedy in _REMEDIES.items() if problem in said), None)
        if remedy is not None:
            return TransientDeviceError(f"{sentence}. {remedy}; the deployment is tried again by itself")
        if step in ("reload", "start", "stop"):
            return TransientDeviceError(sentence)
        return TerminalDeviceError(sentence)
    return TransientDeviceError(f"{where}: the deployment was cut off{': ' + said if said else ''}")


def later_owner(where: str, epoch: int) -> LaterOwner:
    return LaterOwner(f"{where}: a later owner (epoch {epoch}) has deployed to this device", epoch=epoch)


def foreign_sentence(where: str, owner: str) -> str:
    return (
        f"{where}: the configuration there belongs to device {owner} of another database. Adopt it if that one is "
        "gone (POST /devices/{id}/adopt)"
    )
