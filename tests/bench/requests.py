"""Row e: API requests per second against an empty application on the same server, which is `balancer-api` itself."""

from __future__ import annotations

import itertools
import json
import statistics
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench.asking import Asker, request
from tests.bench.empty import write_paste_file
from tests.bench.measuring import Result, Target, in_turns, ratio
from tests.integration.running import RunningService, eventually

_LISTED = 100
_MEMBERS = 3
_GET_ONE = Target(sign="≥", limit=0.35)


def run(*, quick: bool) -> Iterator[Result]:
    rounds, seconds = (1, 0.05) if quick else (5, 0.3)
    with tempfile.TemporaryDirectory(prefix="balancer-bench-") as directory:
        root = Path(directory)
        service = RunningService(root / "service", {"api": {"deploy_wait_seconds": "0"}}, debug=False)
        first = _fill(service, 10 if quick else _LISTED)
        # What has been deployed stays; from here on nothing but requests is measured.
        service.configure({"DEFAULT": {"workers": "0"}})
        paste = write_paste_file(root / "empty.ini")
        nothing = RunningService(root / "empty", {"DEFAULT": {"workers": "0", "paste_config": str(paste)}}, debug=False)
        with service, nothing:
            for asked in _requests(first):
                for concurrency in (1, 16):
                    yield _compare(service, nothing, asked, concurrency, rounds, seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    what: str
    status: int
    write: Callable[[], bytes]
    target: Target | None = None


def _requests(first: str) -> Iterator[_Asked]:
    get_one, list_all = request("GET", f"/foo/loadbalancers/{first}"), request("GET", "/foo/loadbalancers")
    yield _Asked(what="GET one", status=200, write=lambda: get_one, target=_GET_ONE)
    yield _Asked(what=f"list {_LISTED}", status=200, write=lambda: list_all)
    numbers = itertools.count(10_000)

    def post() -> bytes:
        body = json.dumps(_order(next(numbers))).encode()
        return request("POST", "/other/loadbalancers", body, headers="Prefer: respond-async\r\n")

    yield _Asked(what=f"POST with {_MEMBERS} nodes", status=202, write=post)


def _order(number: int) -> dict[str, object]:
    """Each number has an address of its own."""
    return {
        "name": f"web {number}",
        "protocol": "HTTP",
        "algorithm": "ROUND_ROBIN",
        "virtualIps": [{"address": f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", "port": 80}],
        "nodes": [{"address": f"198.51.100.{each}", "port": 8080} for each in range(1, _MEMBERS + 1)],
        "healthMonitor": [{"type": "HTTP", "delay": 5, "timeout": 2, "attemptsBeforeDeactivation": 3, "path": "/"}],
    }


def _fill(service: RunningService, count: int) -> str:
    """Deploys and observes that many load balancers; the id of one."""
    device = {"name": "d", "type": "dummy", "version": "1", "ip": "192.0.2.1", "port": "22", "user": "u"}
    with service:
        made = service.call("POST", "/devices", {**device, "password": "none"})
        assert made.status == 200, made
        ids = []
        for number in range(count):
            answer = service.call("POST", "/foo/loadbalancers", _order(number))
            assert answer.status == 202, answer
            ids.append(str(answer.json["loadbalancer"]["id"]))

        def seen() -> bool:
            service.call("GET", f"/devices/{made.json['device']['id']}/info?refresh=1")
            listed = service.call("GET", "/foo/loadbalancers").json["loadbalancers"]
            return all(each["status"] == "ACTIVE" and each["operating_status"] for each in listed)

        eventually(seen, "all load balancers are deployed and observed", seconds=60)
    return ids[0]


def _compare(
    service: RunningService, nothing: RunningService, asked: _Asked, concurrency: int, rounds: int, seconds: float
) -> Result:
    empty = request("GET", "/")
    with Asker(nothing.port, concurrency) as floor, Asker(service.port, concurrency) as ours:

        def pace() -> float:
            seen = ours.ask(asked.write, seconds=seconds, status=asked.status)
            assert not seen.wrong, seen.wrong
            return seen.per_second

        floor.ask(lambda: empty, seconds=seconds)
        pace()
        floors, values = in_turns(rounds, lambda: floor.ask(lambda: empty, seconds=seconds).per_second, pace)
    return Result(
        row="e",
        what=f"{asked.what}, concurrency {concurrency}",
        unit="requests/s",
        value=statistics.median(values),
        floor=statistics.median(floors),
        compared=ratio(values, floors),
        target=asked.target,
        details={"values": values, "floors": floors},
    )
