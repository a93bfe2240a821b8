"""Rows a, b and c: from a request until a device does as it says."""

from __future__ import annotations

import http.client
import itertools
import json
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from balancer.core.model import Credential, Endpoint
from balancer.devbox.host import Host, RunAs
from balancer.devbox.processes import free_port
from balancer.drivers.haproxy import runtime
from balancer.drivers.ssh import Connection
from tests.bench.asking import request
from tests.bench.measuring import Result, Target, in_turns, percentile, ratio
from tests.bench.site import ASYNC, Site, seconds_until_served, site, until_closed

_CREATE = Target(sign="≤", limit=1.5)
_PAUSE = 0.1


# --- a: create ----------------------------------------------------------------------------


def create(*, quick: bool) -> Iterator[Result]:
    """A load balancer more, beside 1, 100 and 1000."""
    rounds = 1 if quick else 9
    ways: tuple[tuple[RunAs, Sequence[int]], ...] = (("group", (1, 100, 1000)), ("sudo", (1, 100)))
    if quick:
        ways = (("group", (1,)),)
    for run_as, sizes in ways:
        with (
            tempfile.TemporaryDirectory(prefix="balancer-bench-") as directory,
            site(Path(directory), run_as=run_as) as at,
            Twin(Path(directory, "twin"), at) as twin,
        ):
            for before, size in itertools.pairwise((0, *sizes)):
                at.fill(size - before)
                twin.follow()
                floors, values = in_turns(rounds, twin.create, partial(_through_the_api, at))
                yield Result(
                    row="a",
                    what=f"create beside {size} ({'sudo' if run_as == 'sudo' else 'no sudo'})",
                    unit="ms",
                    value=statistics.median(values) * 1000,
                    floor=statistics.median(floors) * 1000,
                    compared=ratio(values, floors),
                    target=_CREATE,
                    details={"values": values, "floors": floors},
                )


class Script:
    """A shell on the host that puts into service what it gets: the least that can be done."""

    _TEXT = """
    while read -r bytes file master; do
        if [ "$bytes" = 0 ]; then
            haproxy -c -q -f "$file"
        else
            head -c "$bytes" >"$file.new" && haproxy -c -q -f "$file.new" && mv "$file.new" "$file" &&
                kill -USR2 "$master"
        fi
        echo "$?"
    done
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._shell: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._shell = self._host.open(["sh", "-c", self._TEXT])
        return self

    def install(self, content: bytes, path: str, master: int) -> None:
        """Returns when the HAProxy whose master process has that number (as the host counts) has been told."""
        self._tell(b"%d %b %d\n%b" % (len(content), path.encode(), master, content))

    def check(self, path: str) -> None:
        self._tell(b"0 %b -\n" % path.encode())

    def _tell(self, order: bytes) -> None:
        assert self._shell is not None and self._shell.stdin is not None and self._shell.stdout is not None
        self._shell.stdin.write(order)
        said = self._shell.stdout.readline()
        assert said == b"0\n", said

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._shell is not None and self._shell.stdin is not None and self._shell.stdout is not None
        self._shell.stdin.close()
        self._shell.wait(10)
        self._shell.stdout.close()


def sections(name: str, listens_at: str, member: int) -> str:
    """What an administrator would write for one load balancer."""
    return f"""\
frontend {name}
    mode http
    timeout client 50s
    bind {listens_at}
    default_backend {name}-pool
backend {name}-pool
    mode http
    timeout connect 5s
    timeout server 50s
    balance roundrobin
    server a 127.0.0.1:{member} weight 1
    server b 127.0.0.2:{member} weight 1
    server c 127.0.0.3:{member} weight 1
"""


class Twin:
    """A second device with the same load balancers, for the floor: one that is deployed to by hand in between would
    have to be looked at anew each time."""

    def __init__(self, root: Path, at: Site) -> None:
        self._at = at
        self._host = Host(root, isolated=True, run_as="group")
        self._script = Script(self._host)
        self._port = free_port()

    def __enter__(self) -> Self:
        self._host.__enter__()
        self._script.__enter__()
        self._own, self._master = self._host.read_config(), self._host.haproxy_pids()[0]
        return self

    def follow(self) -> None:
        """Serves what the device serves, at another port of the same addresses."""
        _, begin, block = self._at.host.read_config().partition(b"# ----- BEGIN ")
        there = b":%d " % self._at.port
        assert there in block, "the device has listeners"
        self._install(self._own + begin + block.replace(there, b":%d " % self._port))
        # Until the workers of before are gone.
        time.sleep(_PAUSE)

    def create(self) -> float:
        """Seconds until one load balancer more serves; then it is taken away again."""
        before, (address, _) = self._host.read_config(), self._at.order()
        more = sections("bench", f"{address}:{self._port}", self._at.backend.port).encode()
        # What was idle for a while is slow at first, on some machines by tens of milliseconds. So it has just worked
        # here, as the service has below.
        self._script.check(self._host.config_path)
        began = time.perf_counter()
        self._install(before + more)
        took = seconds_until_served(address, self._port, began)
        time.sleep(_PAUSE)
        self._install(before)
        until_closed(address, self._port)
        time.sleep(_PAUSE)
        return took

    def _install(self, content: bytes) -> None:
        self._script.install(content, self._host.config_path, self._master)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._script.__exit__(kind, error, trace)
        self._host.__exit__(kind, error, trace)


def _through_the_api(at: Site) -> float:
    address, order = at.order()
    body = json.dumps(order)
    with closing(http.client.HTTPConnection("127.0.0.1", at.service.port, timeout=30)) as connection:
        headers = {"Content-Type": "application/json", "Prefer": "respond-async"}
        connection.request("POST", "/foo/loadbalancers?dry_run=1", body, headers)
        assert connection.getresponse().read()
        began = time.perf_counter()
        connection.request("POST", "/foo/loadbalancers", body, headers)
        answer = connection.getresponse()
        assert answer.status == 202, answer.status
        made = json.loads(answer.read())["loadbalancer"]["id"]
        took = seconds_until_served(address, at.port, began)
    at.await_deployed()
    time.sleep(_PAUSE)
    at.delete(made)
    until_closed(address, at.port)
    time.sleep(_PAUSE)
    return took


# --- b: one weight ------------------------------------------------------------------------

_WEIGHT = Target(sign="≤", limit=15, unit="ms above")


def change_weight(*, quick: bool) -> Iterator[Result]:
    rounds = 3 if quick else 40
    with tempfile.TemporaryDirectory(prefix="balancer-bench-") as directory, site(Path(directory)) as at:
        (balancer,) = at.fill(1)
        member = _Member(at, balancer)
        host = at.host
        endpoint = Endpoint(
            host=host.address,
            port=host.ssh_port,
            username=host.user,
            credential=Credential(password=host.password),
        )
        with (
            closing(Connection(endpoint, connect_timeout=5.0)) as channel,
            closing(http.client.HTTPConnection("127.0.0.1", at.service.port, timeout=30)) as api,
        ):
            weights = itertools.cycle(range(1, 200))

            def bare() -> float:
                weight, began = next(weights), time.perf_counter()
                said = runtime.ask(channel, host.socket, f"set server {member.name} weight {weight}")
                assert not said.strip(), said
                return member.seconds_until(weight, began)

            def through_the_api() -> float:
                weight, began = next(weights), time.perf_counter()
                path = f"/foo/loadbalancers/{balancer}/nodes/{member.id}"
                headers = {"Content-Type": "application/json", "Prefer": "respond-async"}
                api.request("PUT", path, json.dumps({"weight": weight}), headers)
                answer = api.getresponse()
                assert answer.status == 200, answer.read()
                answer.read()
                took = member.seconds_until(weight, began)
                at.await_deployed()
                return took

            bare(), through_the_api()
            floors, values = in_turns(rounds, bare, through_the_api)
    low, high = percentile(floors, 50) * 1000, percentile(values, 50) * 1000
    yield Result(
        row="b",
        what="weight, p50",
        unit="ms",
        value=high,
        floor=low,
        compared=high - low,
        target=_WEIGHT,
        details={"values": values, "floors": floors, "p95": percentile(values, 95)},
    )


class _Member:
    """The first one of a load balancer, as HAProxy names it."""

    def __init__(self, at: Site, balancer: str) -> None:
        self._at = at
        self.id = str(at.call("GET", f"/foo/loadbalancers/{balancer}/nodes").json["nodes"][0]["id"])
        (line,) = (each for each in at.ask_haproxy("show servers state").splitlines() if f" {self.id} " in each)
        self._backend = line.split()[1]
        self.name = f"{self._backend}/{self.id}"

    def weight(self) -> int:
        try:
            said = self._at.ask_haproxy(f"show servers state {self._backend}")
        except OSError:
            return -1  # between two workers
        return next(
            (int(words[7]) for line in said.splitlines() if len(words := line.split()) > 7 and words[3] == self.id), -1
        )

    def seconds_until(self, weight: int, began: float, *, timeout: float = 30.0) -> float:
        while self.weight() != weight:
            assert time.perf_counter() - began < timeout, "the weight does not arrive"
            # Asking all the time would take a core from what is measured.
            time.sleep(0.001)
        return time.perf_counter() - began


# --- c: a thousand changes ----------------------------------------------------------------


def change_many(*, quick: bool) -> Iterator[Result]:
    balancers, nodes = (5, 2) if quick else (100, 10)
    with tempfile.TemporaryDirectory(prefix="balancer-bench-") as directory, site(Path(directory)) as at:
        ids = at.fill(balancers, nodes)
        members = [
            (balancer, str(node["id"]))
            for balancer in ids
            for node in at.call("GET", f"/foo/loadbalancers/{balancer}/nodes").json["nodes"]
        ]
        # As a user's script would not do it: neighbours are not changed one after the other.
        random.Random(1).shuffle(members)
        kinds = {"weights": {"weight": 7}, "what needs a reload": {"backup": True}}
        for kind, changed in kinds.items():
            before = dict(at.plans())
            body = json.dumps(changed).encode()
            requests = [
                request("PUT", f"/foo/loadbalancers/{balancer}/nodes/{node}", body, headers=ASYNC)
                for balancer, node in members
            ]
            began = time.perf_counter()
            answered = at.at_once(requests, 200)
            at.await_deployed()
            took = time.perf_counter() - began
            plans = {plan: count - before.get(plan, 0) for plan, count in at.plans().items()}
            details = {"answered": answered, "plans": plans}
            what = f"{len(members)} changes of one device, {kind}"
            reloads = plans.get("reload", 0)
            yield Result(
                row="c",
                what=what,
                unit="s",
                value=took,
                floor=None,
                compared=took,
                target=Target(sign="≤", limit=5, unit="s"),
                details=details,
            )
            yield Result(
                row="c",
                what=f"{what}: reloads",
                unit="reloads",
                value=reloads,
                floor=None,
                compared=reloads,
                target=Target(sign="≤", limit=3),
                details=details,
            )
