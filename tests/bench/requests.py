"""Row e: API requests per second against an empty application on the same server, which is `balancer-api` itself; also
with a Keystone, which is asked once."""

from __future__ import annotations

import itertools
import json
import statistics
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench.asking import Asker, request
from tests.bench.empty import write_paste_file
from tests.bench.measuring import Result, Target, in_turns, ratio
from tests.integration.keystone import Keystone
from tests.integration.running import RunningService, eventually

_LISTED = 100
_MEMBERS = 3
_GET_ONE = Target(sign="≥", limit=0.35)
_GET_ONE_WITH_KEYSTONE = Target(sign="≥", limit=0.2)
_USERS = {"service": ("service", ("service",)), "user": ("measured", ("member",))}
_PIPELINE = """\
[pipeline:main]
pipeline = authtoken context apiv1app
[app:apiv1app]
paste.app_factory = balancer.bootstrap:app_factory
[filter:context]
paste.filter_factory = balancer.bootstrap:context_factory
[filter:authtoken]
paste.filter_factory = balancer.bootstrap:authtoken_factory
"""


def run(*, quick: bool) -> Iterator[Result]:
    with (
        tempfile.TemporaryDirectory(prefix="balancer-bench-") as directory,
        Keystone(Path(directory), _USERS) as keystone,
    ):
        root = Path(directory)
        project, token = keystone.projects["measured"], keystone.token("user")
        service = RunningService(root / "service", {"api": {"deploy_wait_seconds": "0"}}, debug=False)
        first = _fill(service, project, 10 if quick else _LISTED)
        # What has been deployed stays; from here on nothing but requests is measured.
        service.configure({"DEFAULT": {"workers": "0"}})
        paste = write_paste_file(root / "empty.ini")
        nothing = RunningService(root / "empty", {"DEFAULT": {"workers": "0", "paste_config": str(paste)}}, debug=False)
        with nothing:
            with service:
                yield from _all(service, nothing, _requests(project, first), quick)
            (root / "keystone.ini").write_text(_PIPELINE)
            service.configure(
                {
                    "DEFAULT": {"paste_config": str(root / "keystone.ini")},
                    "keystone_authtoken": {
                        "auth_type": "password",
                        "auth_url": keystone.url,
                        "username": "service",
                        "password": keystone.passwords["service"],
                        "project_name": "service",
                        "user_domain_name": "Default",
                        "project_domain_name": "Default",
                        "www_authenticate_uri": keystone.url,
                    },
                }
            )
            with service:
                yield from _all(service, nothing, _requests(project, first, token), quick)


def _all(service: RunningService, nothing: RunningService, asked: Iterable[_Asked], quick: bool) -> Iterator[Result]:
    rounds, seconds = (1, 0.05) if quick else (5, 0.3)
    for each in asked:
        for concurrency in (1, 16):
            yield _compare(service, nothing, each, concurrency, rounds, seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    what: str
    status: int
    write: Callable[[], bytes]
    target: Target | None = None


# Each has an address that none had before.
_NUMBERS = itertools.count(10_000)


def _requests(project: str, first: str, token: str | None = None) -> Iterator[_Asked]:
    """`token`: of a user of the project, where there is a Keystone."""
    path = f"/{project}/loadbalancers"
    headers, where = ("", "") if token is None else (f"X-Auth-Token: {token}\r\n", " with Keystone")
    get_one, list_all = (request("GET", each, headers=headers) for each in (f"{path}/{first}", path))
    target = _GET_ONE if token is None else _GET_ONE_WITH_KEYSTONE
    yield _Asked(what=f"GET one{where}", status=200, write=lambda: get_one, target=target)
    if token is None:
        yield _Asked(what=f"list {_LISTED}", status=200, write=lambda: list_all)

    def post() -> bytes:
        body = json.dumps(_order(next(_NUMBERS))).encode()
        return request("POST", path, body, headers=f"{headers}Prefer: respond-async\r\n")

    yield _Asked(what=f"POST with {_MEMBERS} nodes{where}", status=202, write=post)


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


def _fill(service: RunningService, project: str, count: int) -> str:
    """Deploys and observes that many load balancers; the id of one."""
    device = {"name": "d", "type": "dummy", "version": "1", "ip": "192.0.2.1", "port": "22", "user": "u"}
    with service:
        made = service.call("POST", "/devices", {**device, "password": "none", "vip_ranges": ["10.0.0.0/8"]})
        assert made.status == 200, made
        ids = []
        for number in range(count):
            answer = service.call("POST", f"/{project}/loadbalancers", _order(number))
            assert answer.status == 202, answer
            ids.append(str(answer.json["loadbalancer"]["id"]))

        def seen() -> bool:
            service.call("GET", f"/devices/{made.json['device']['id']}/info?refresh=1")
            listed = service.call("GET", f"/{project}/loadbalancers").json["loadbalancers"]
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
