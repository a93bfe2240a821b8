"""What `bin/balancer-devbox` does: up, demo, status, down.

Everything the DevBox makes is below its state directory, and every process it starts is written down there before
the next step, so that `down` finds it whatever happened to `up`.
"""

from __future__ import annotations

import difflib
import fcntl
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from balancer.devbox.backends import Backend, page
from balancer.devbox.host import Host, Login, isolation_refused, remove_outside_paths
from balancer.devbox.processes import ProcessId, StartError, first_free_port, spawn, tail, wait_until
from balancer.drivers.haproxy import names
from balancer.exceptions import InvalidInput

CHECKOUT = Path(__file__).resolve().parent.parent.parent
SCRIPTS = CHECKOUT / "tests/manual"
LOGIN = Login(user="user", password="swordfish")  # noqa: S106 - documented, and exists only inside the DevBox
BACKEND_PORTS = (8001, 8002, 8003)
API_PORT = 8181
NAME = "HAProxy"  # of the files createDeviceHAProxy and createLBcommandHAProxy
ANSWERS = 6
COMES_BACK = 75.0
"""Seconds in which HAProxy uses a back end again that it had taken out: two checks of the slowest monitor, and some."""
DEPLOYS = 60.0
"""Seconds in which a load balancer is deployed on a machine that is busy with other things."""

# Of services, in `State`; a back end's holds its port.
ISOLATED_DEVICE = "the device in its namespaces"
SSHD, HAPROXY = "the device's sshd", "the device's haproxy"
API = "balancer-api and its worker"

API_CONFIGURATION = "balancer-api.conf"


class DevBoxError(RuntimeError):
    """The DevBox cannot go on; the message says why and what can be done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One thing that runs. `where`: what it listens on, for people."""

    name: str
    process: ProcessId
    where: str
    log: str


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What is written down; paths are absolute. `ready`: `up` came to its end."""

    services: tuple[Service, ...] = ()
    outside_paths: tuple[str, ...] = ()
    isolated: bool = False
    ready: bool = False
    api_url: str = ""
    traffic_url: str = ""
    ssh_port: int = 0
    ssh_user: str = ""
    device: str = ""
    backend_ports: tuple[int, ...] = ()
    load_balancer: str = ""

    @property
    def config(self) -> str:
        """The device's haproxy.cfg as this machine sees it."""
        return f"{self.device}/etc/haproxy/haproxy.cfg"

    @classmethod
    def load(cls, path: Path) -> State | None:
        """None when nothing is written down."""
        try:
            stored: dict[str, Any] = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        stored["services"] = [Service(**{**one, "process": ProcessId(**one["process"])}) for one in stored["services"]]
        attributes: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in stored.items()
        }
        return cls(**attributes)

    def save(self, path: Path) -> None:
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as new:
            json.dump(asdict(self), new, indent=1)
        Path(new.name).replace(path)


def in_turn(answers: Sequence[str], expected: Sequence[str]) -> bool:
    """Whether all of `expected` answered, one after the other, in an order that repeats."""
    count = len(expected)
    return (
        len(answers) >= 2 * count
        and sorted(answers[:count]) == sorted(expected)
        and all(answer == answers[index % count] for index, answer in enumerate(answers))
    )


class DevBox:
    """`directory`: the state directory; made by `up`, removed by `down`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self._state_file = self.directory / "state.json"
        self._before = self.directory / "haproxy.cfg.before"
        self.state = State()

    # --- the commands ---

    def up(self) -> bool:
        """Starts everything, or what has died, and shows it; only shows it when all runs. True when the back ends
        answered in turn."""
        with self._alone():
            if not self._is_up():
                self._start()
                good = self.show()
                self._suggest()
                return good
            if all(one.process.alive() for one in self.state.services):
                _say("The DevBox is already up.")
            else:
                self._mend()
            return self.show()

    def demo(self) -> bool:
        """`up`, then `down`, whatever happens between; not when one is up. True when the back ends answered in turn."""
        with self._alone():
            if self._is_up():
                raise DevBoxError(
                    f"the DevBox of {self.directory} is up, and a demo would take it down: look at it with `up` or "
                    "`status`, take it down with `down`, or give the demo another place with --state-dir DIR"
                )
            self._start()
            try:
                good = self.show()
            finally:
                self._stop()
            _say("\nEverything is taken down again.")
        return good

    def status(self) -> bool:
        """Says what runs. True when all does."""
        state = self._load()
        if state is None:
            _say("The DevBox is not up. Start it with: bin/balancer-devbox up")
            return False
        self._list_services()
        return state.ready and all(one.process.alive() for one in state.services)

    def down(self) -> None:
        """Stops what is written down and removes the state directory."""
        with self._alone():
            if self._load() is None:
                _say("The DevBox is not up: nothing to stop.")
                return
            self._stop()
            _say("The DevBox is down; nothing of it is left.")

    # --- up ---

    def _start(self) -> None:
        self._make_directory()
        try:
            self._start_backends()
            self._start_device()
            self._start_api()
            self._register()
            self._record(ready=True)
        except BaseException:
            self._stop()
            _say("\nThis did not work. What was started is taken down.")
            raise

    def _make_directory(self) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            # `down` removes it whole.
            if any(self.directory.iterdir()):
                raise DevBoxError(f"{self.directory} holds something else: give an empty place with --state-dir DIR")
            self.directory.chmod(0o700)
        except PermissionError as error:
            raise DevBoxError(f"cannot write {self.directory}: give another place with --state-dir DIR") from error
        self._record()

    def _start_backends(self) -> None:
        for wanted in BACKEND_PORTS:
            port = first_free_port(range(max(wanted, *self.state.backend_ports, 0), wanted + 200))
            if port != wanted:
                _say(f"Port {wanted} is taken: this back end listens on {port}.")
            self._start_backend(port)
            self._record(backend_ports=(*self.state.backend_ports, port))
        _say(f"Three back ends answer on 127.0.0.1, ports {', '.join(map(str, self.state.backend_ports))}.")

    def _start_backend(self, port: int) -> None:
        backend = Backend(self.directory / f"backend-{port}", port).start()
        assert backend.process is not None
        self._note_service(_backend_name(port), backend.process, f"127.0.0.1:{port}", backend.log)

    def _start_device(self) -> None:
        refused = isolation_refused()
        port = first_free_port((*(() if refused else (22,)), *range(2200, 2400)))
        directory = self.directory / "device"
        if refused and not _may_be_registered(directory):
            directory = Path(tempfile.mkdtemp(prefix="balancer-devbox-", dir="/tmp"))
            self._record(outside_paths=(str(directory),))
            _say(f"{self.directory} has characters that a device's paths may not have: its files are in {directory}.")
        self._record(isolated=not refused, device=str(directory), ssh_port=port)
        host = self._host()
        if refused:
            _say(f"No isolated device is possible here ({refused}): sshd and haproxy run as {host.user},")
            _say(f"with key login instead of a password, on ports above 1024 (sshd: {port}).")
        else:
            _say(
                f"The device runs in namespaces of its own; its login {LOGIN.user}/{LOGIN.password} exists only there."
            )
            if port != 22:
                _say(f"Port 22 is taken: the device's sshd listens on {port}.")
        self._boot(host)
        self._before.write_bytes(host.read_config())
        self._write_bodies(host)

    def _host(self) -> Host:
        state = self.state
        return Host(Path(state.device), isolated=state.isolated, ssh_port=state.ssh_port, login=LOGIN, outlive=True)

    def _boot(self, host: Host) -> None:
        """For the first time or again, from its state directory."""
        try:
            host.start()
        except BaseException:
            host.stop()
            raise
        finally:
            outside = dict.fromkeys((*self.state.outside_paths, *map(str, host.outside_paths())))
            self._record(outside_paths=tuple(outside), ssh_user=host.user)
        sshd, haproxy = f"sshd 127.0.0.1:{host.ssh_port}", f"haproxy with {host.config_path}"
        if host.isolated:
            (init,) = host.processes()
            self._note_service(ISOLATED_DEVICE, init, f"{sshd}, {haproxy}", host.ssh_log.parent)
        else:
            for name, where, log, process in zip(
                (SSHD, HAPROXY), (sshd, haproxy), (host.ssh_log, host.haproxy_log), host.processes(), strict=True
            ):
                self._note_service(name, process, where, log)

    def _write_bodies(self, host: Host) -> None:
        """Copies of the request bodies, changed where this machine needs it, and says where."""
        directory = self.directory / "json"
        directory.mkdir(exist_ok=True)
        changed = []
        device = _read_body(f"createDevice{NAME}")
        if host.ssh_port != int(device["port"]):
            device["port"] = str(host.ssh_port)
            changed.append(f"createDevice{NAME}: port {host.ssh_port}")
        if not host.isolated:
            del device["password"]
            device |= {
                "user": host.user,
                "key_filename": f"{self.state.device}/login_key",
                "remote_config_path": host.config_path,
                "socket": host.socket,
            }
            changed.append(f"createDevice{NAME}: user, key_filename, remote_config_path, socket")
        reserved = (API_PORT, host.status_port)
        balancer = _read_body(f"createLBcommand{NAME}")
        vip, nodes = balancer["virtualIps"][0], balancer["nodes"]
        wanted = int(vip["port"])
        candidates = (*((wanted,) if host.isolated else ()), *range(8080, 8280))
        vip_port = first_free_port((one for one in candidates if one not in reserved), vip["address"])
        if vip_port != wanted:
            vip["port"] = str(vip_port)
            changed.append(f"createLBcommand{NAME}: virtual IP port {vip_port}")
        for node, port in zip(nodes, self.state.backend_ports, strict=True):
            if int(node["port"]) != port:
                node["port"] = str(port)
                changed.append(f"createLBcommand{NAME}: node port {port}")
        (directory / f"createDevice{NAME}").write_text(json.dumps(device, indent=1) + "\n")
        (directory / f"createLBcommand{NAME}").write_text(json.dumps(balancer, indent=1) + "\n")
        self._record(traffic_url=f"http://127.0.0.1:{vip['port']}/")
        if changed:
            _say(f"The request bodies of tests/manual are used as copies in {directory}, with these changes:")
            for change in changed:
                _say(f"    {change}")

    def _start_api(self) -> None:
        port = first_free_port(range(API_PORT, API_PORT + 200))
        if port != API_PORT:
            _say(f"Port {API_PORT} is taken: the API listens on {port}.")
        # It runs in the state directory, whose path may have characters that mean something to oslo.config.
        (self.directory / API_CONFIGURATION).write_text(
            "[DEFAULT]\n"
            "bind_host = 127.0.0.1\n"
            f"bind_port = {port}\n"
            f"paste_config = {_escaped(CHECKOUT / 'etc/balancer-api-paste.ini')}\n"
            "[sql]\n"
            "connection = sqlite:///balancer.sqlite\n"
        )
        self._record(api_url=f"http://127.0.0.1:{port}")
        self._run_api()
        _say(f"The API answers at {self.state.api_url}.")

    def _run_api(self) -> None:
        url = self.state.api_url
        command = [sys.executable, str(CHECKOUT / "bin/balancer-api"), "--config-file", API_CONFIGURATION]
        log = self.directory / "balancer-api.log"
        with log.open("ab") as output:
            synced = subprocess.run(
                [*command, "--dbsync"], stdout=output, stderr=output, cwd=self.directory, timeout=120, check=False
            )
        if synced.returncode:
            raise DevBoxError(f"balancer-api --dbsync failed. {log} ends:\n{tail(log)}")
        process = ProcessId.of(spawn(command, log, cwd=self.directory))
        self._note_service(API, process, url.removeprefix("http://"), log)

        def answers() -> bool:
            if not process.alive():
                raise StartError(f"balancer-api ended. {log} ends:\n{tail(log)}")
            return _answers(url)

        wait_until(answers, "balancer-api does not answer", log, timeout=60)

    def _register(self) -> None:
        device = self._script(f"createDevice.sh {NAME}")["device"]
        created = self._script(f"createLB.sh {NAME}", DEVICE_ID=device["id"])["loadbalancer"]
        self._record(load_balancer=created["id"])
        # On a busy machine a deployment may take longer than the API lets its caller wait.
        deadline = time.monotonic() + DEPLOYS
        while created["status"] == "BUILD" and time.monotonic() < deadline:
            time.sleep(1)
            created = self._script(f"getLBDetails.sh {created['id']}", quiet=True)
        _say(f"Load balancer {created['id']} is {created['status']}.")
        if created["status"] != "ACTIVE":
            log = self.directory / "balancer-api.log"
            raise DevBoxError(
                f"the load balancer is {created['status']}: {created.get('status_reason') or 'no reason given'}.\n"
                f"{log} ends:\n{tail(log)}"
            )

    # --- up, when something has died ---

    def _mend(self) -> None:
        """Starts again what has died, where it was; the database stays. Takes nothing down when that fails."""
        dead = [one.name for one in self.state.services if not one.process.alive()]
        _say(f"Started again, with what it had, because it has died: {', '.join(dead)}.")
        backends = [port for port in self.state.backend_ports if _backend_name(port) in dead]
        try:
            for port in backends:
                self._start_backend(port)
            device = [one for one in self.state.services if one.name in (ISOLATED_DEVICE, SSHD, HAPROXY)]
            if any(one.name in dead for one in device):
                if not Path(self.state.config).exists():
                    raise DevBoxError(f"{self.state.device} is lost, and the device's configuration and keys with it")
                for one in device:
                    one.process.stop()
                host = self._host()
                host.stop()  # what is left of a haproxy whose master was killed
                self._boot(host)
            if API in dead:
                self._run_api()
        except (DevBoxError, StartError, OSError, subprocess.SubprocessError) as error:
            raise DevBoxError(
                f"{error}\nThe rest of the DevBox is as it was. Mend this and try `up` again; or `down` removes all of "
                "it, its database too, and the next `up` starts afresh"
            ) from error
        self._wait_for(backends)

    def _wait_for(self, backends: Sequence[int]) -> None:
        """Until HAProxy uses them; for a bounded time, because somebody may have taken their nodes out of service."""
        expected = {page(port) for port in backends}
        deadline = time.monotonic() + COMES_BACK
        told = False
        while not expected <= set(self._answers()) and time.monotonic() < deadline:
            if not told:
                _say(f"Waiting until HAProxy's monitors let them in again, {COMES_BACK:.0f} s at most. Ctrl-C is safe.")
            told = True
            time.sleep(1)

    # --- show ---

    def show(self) -> bool:
        """Prints what runs, the change of haproxy.cfg and some answers. True when they came in turn."""
        state = self.state
        self._list_services()
        _say(f"\nWhat the balancer changed in {state.config}:")
        before, after = self._before.read_text(), Path(state.config).read_text()
        for line in difflib.unified_diff(
            before.splitlines(), after.splitlines(), "haproxy.cfg before", "haproxy.cfg now", lineterm=""
        ):
            _say(f"    {line}")
        _say(f"\n{ANSWERS} times: curl {state.traffic_url}")
        answers = self._answers()
        for answer in answers:
            _say(f"    {answer.rstrip()}")
        good = in_turn(answers, [page(port) for port in state.backend_ports])
        _say("The three back ends answered in turn." if good else "The back ends did NOT answer in turn.")
        return good

    def _answers(self) -> list[str]:
        return [_curl(self.state.traffic_url) for _ in range(ANSWERS)]

    def _list_services(self) -> None:
        _say("\nWhat runs:")
        for one in self.state.services:
            alive = f"pid {one.process.pid}" if one.process.alive() else "NOT RUNNING"
            _say(f"    {one.name}: {alive}, {one.where}")
            _say(f"        log: {one.log}")

    def _suggest(self) -> None:
        state = self.state
        _say("\nWhat to try next:")
        if state.api_url != f"http://127.0.0.1:{API_PORT}":
            _say(f"    export BALANCER_URL={state.api_url}")
        nodes = self._script(f"getLBNodes.sh {state.load_balancer}", quiet=True)["nodes"]
        scripts = os.path.relpath(SCRIPTS)
        scripts = shlex.quote(scripts if len(scripts) < len(str(SCRIPTS)) else str(SCRIPTS))
        command = shlex.quote(str(CHECKOUT / "bin/balancer-devbox"))
        option = "" if self.directory == CHECKOUT / ".devbox" else f" --state-dir {shlex.quote(str(self.directory))}"
        _say(f"    curl {state.traffic_url}")
        _say(f"    {scripts}/getLBDetails.sh {state.load_balancer}")
        _say(f"    {scripts}/changeNodeStatus.sh {state.load_balancer} {nodes[0]['id']} outofservice")
        _say(f"    {scripts}/changeNodeStatus.sh {state.load_balancer} {nodes[0]['id']} inservice")
        _say(f"    {scripts}/deleteLB.sh {state.load_balancer}")
        if state.isolated:
            _say(f"    ssh -p {state.ssh_port} {state.ssh_user}@127.0.0.1      (password {LOGIN.password})")
        else:
            key = shlex.quote(f"{state.device}/login_key")
            _say(f"    ssh -T -p {state.ssh_port} -i {key} {state.ssh_user}@127.0.0.1")
        _say(f"    {command} status{option}")
        _say(f"    {command} down{option}")

    # --- down ---

    def _stop(self) -> None:
        """Stops everything, the last started first, and removes what was made. Raises when something stays."""
        for service in reversed(self.state.services):
            service.process.stop(grace=20)
        remove_outside_paths([Path(path) for path in self.state.outside_paths])
        shutil.rmtree(self.directory)
        self.state = State()

    # --- state ---

    def _is_up(self) -> bool:
        """Whether an `up` came to its end here. What is left of one that was killed is taken down first."""
        state = self._load()
        if state is None or state.ready:
            return state is not None
        _say("An earlier `up` was killed: taking down what it left.")
        self._stop()
        return False

    def _load(self) -> State | None:
        if self.directory.exists() and self.directory.stat().st_uid != os.geteuid():
            raise DevBoxError(
                f"{self.directory} belongs to user number {self.directory.stat().st_uid}: run this as that user"
            )
        state = State.load(self._state_file)
        if state is not None:
            self.state = state
        return state

    def _record(self, **changes: Any) -> None:
        self.state = replace(self.state, **changes)
        self.state.save(self._state_file)

    def _note_service(self, name: str, process: ProcessId, where: str, log: Path) -> None:
        """In the place of an earlier one of that name, or behind all others."""
        new = {one.name: one for one in self.state.services}
        new[name] = Service(name=name, process=process, where=where, log=str(log))
        self._record(services=tuple(new.values()))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Two at a time on one state directory would tread on each other. The lock is on the directory above."""
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.directory.parent, os.O_RDONLY)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise DevBoxError("another balancer-devbox is at work here; wait for it") from error
            yield
        finally:
            os.close(lock)

    def _script(self, command: str, *, quiet: bool = False, **variables: str) -> dict[str, Any]:
        """Runs a script of tests/manual, shows it and returns its answer."""
        program, *arguments = command.split()
        environment = {"BALANCER_URL": self.state.api_url, "JSON_DIR": str(self.directory / "json"), **variables}
        if not quiet:
            _say(f"    tests/manual/{command}")
        done = subprocess.run(
            [str(SCRIPTS / program), *arguments],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            log = self.directory / "balancer-api.log"
            raise DevBoxError(f"{command} failed:\n{done.stdout}{done.stderr}\n{log} ends:\n{tail(log)}")
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


def _backend_name(port: int) -> str:
    return f"back end {port} (lighttpd)"


def _say(text: str) -> None:
    print(text, flush=True)


def _read_body(name: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((SCRIPTS / name).read_text())
    return body


def _may_be_registered(directory: Path) -> bool:
    """Whether a device may have files there: their paths go into haproxy.cfg, so the driver refuses blanks and more."""
    try:
        names.file_path(str(directory / "etc/haproxy/haproxy.cfg"), "")
    except InvalidInput:
        return False
    return True


def _escaped(path: Path) -> str:
    """For a value in a file of oslo.config."""
    return str(path).replace("$", "$$")


# Loopback is asked directly, whatever proxy the environment names.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _answers(url: str) -> bool:
    try:
        with _DIRECT.open(url, timeout=2) as answer:
            return int(answer.status) == 200
    except (urllib.error.URLError, OSError):
        return False


def _curl(url: str) -> str:
    """The answer's body, or what curl complained of."""
    done = subprocess.run(
        ["curl", "-sS", "--noproxy", "*", "--max-time", "5", url], capture_output=True, text=True, check=False
    )
    return done.stdout if done.returncode == 0 else done.stderr
