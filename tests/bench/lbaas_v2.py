"""Row f: requests per second in LBaaS v2 against the same ones in the balancer API, of one service."""

from __future__ import annotations

import itertools
import json
import statistics
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench.asking import Asker, request
from tests.bench.measuring import Result, in_turns, ratio
from tests.integration.running import RunningService, eventually

_LISTED = 100
_MEMBERS = [f"198.51.100.{number}" for number in (1, 2, 3)]
_V1, _V2 = "/foo/loadbalancers", "/v2.0/lbaas/loadbalancers"
# Addresses of the balancer API are in no registered subnet, those of LBaaS v2 are in this one.
_SUBNET = "172.16.0.0/12"
_NUMBERS = itertools.count(10_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """The same asked in both APIs, each with the status of its answer."""

    what: str
    v1: Callable[[], bytes]
    v2: Callable[[], bytes]
    v1_status: int = 200
    v2_status: int = 200


def run(*, quick: bool) -> Iterator[Result]:
    rounds, seconds = (1, 0.05) if quick else (5, 0.3)
    with tempfile.TemporaryDirectory(prefix="balancer-bench-") as directory:
        service = RunningService(Path(directory), {"api": {"deploy_wait_seconds": "0"}}, debug=False)
        with service:
            first, subnet_id = _fill(service, 10 if quick else _LISTED)
        # What has been deployed stays; from here on nothing but requests is measured.
        service.configure({"DEFAULT": {"workers": "0"}})
        with service:
            for pair in _pairs(first, subnet_id):
                for concurrency in (1, 16):
                    yield _compare(service.port, pair, concurrency, rounds, seconds)


def _pairs(first: str, subnet_id: str) -> Iterator[_Pair]:
    def get(path: str) -> Callable[[], bytes]:
        return partial(_same, request("GET", path))

    def post(path: str, order: Callable[[int], dict[str, Any]]) -> Callable[[], bytes]:
        return lambda: request("POST", path, json.dumps(order(next(_NUMBERS))).encode())

    yield _Pair(what="GET one", v1=get(f"{_V1}/{first}"), v2=get(f"{_V2}/{first}"))
    yield _Pair(what=f"list {_LISTED}", v1=get(_V1), v2=get(f"{_V2}?project_id=foo"))
    created = {"v1_status": 202, "v2_status": 201}
    alone, whole = partial(_alone_v2, subnet_id), partial(_whole_v2, subnet_id)
    yield _Pair(what="POST one", v1=post("/bar/loadbalancers", _alone_v1), v2=post(_V2, alone), **created)
    yield _Pair(what="POST full tree", v1=post("/bar/loadbalancers", _whole_v1), v2=post(_V2, whole), **created)


def _same(asked: bytes) -> bytes:
    return asked


def _alone_v1(number: int) -> dict[str, Any]:
    address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    vip = {"address": address, "port": 80}
    return {"name": f"web {number}", "protocol": "HTTP", "algorithm": "ROUND_ROBIN", "virtualIps": [vip]}


def _whole_v1(number: int) -> dict[str, Any]:
    check = {"type": "HTTP", "delay": 5, "timeout": 2, "attemptsBeforeDeactivation": 3, "path": "/"}
    nodes = [{"address": each, "port": 8080} for each in _MEMBERS]
    return {**_alone_v1(number), "nodes": nodes, "healthMonitor": [check]}


def _alone_v2(subnet_id: str, number: int) -> dict[str, Any]:
    address = f"172.{16 + (number >> 16 & 15)}.{number >> 8 & 255}.{number & 255}"
    own = {"name": f"web {number}", "vip_subnet_id": subnet_id, "vip_address": address, "project_id": "bar"}
    return {"loadbalancer": own}


def _whole_v2(subnet_id: str, number: int) -> dict[str, Any]:
    check = {"type": "HTTP", "delay": 5, "timeout": 2, "max_retries": 2, "max_retries_down": 3, "url_path": "/"}
    members = [{"address": each, "protocol_port": 8080} for each in _MEMBERS]
    pool = {"name": "web", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "members": members}
    listener = {"protocol": "HTTP", "protocol_port": 80, "default_pool": {**pool, "healthmonitor": check}}
    return {"loadbalancer": {**_alone_v2(subnet_id, number)["loadbalancer"], "listeners": [listener]}}


def _fill(service: RunningService, count: int) -> tuple[str, str]:
    """Deploys and observes that many load balancers; the id of one, and that of the subnet."""

    def made(path: str, body: dict[str, Any]) -> Any:
        answer = service.call("POST", path, body)
        assert answer.status < 300, answer
        return next(iter(answer.json.values()))

    device = {"name": "d", "type": "dummy", "version": "1", "ip": "192.0.2.1", "port": "22", "user": "u"}
    device_id = made("/devices", {**device, "password": "none"})["id"]
    ids = [made(_V1, _whole_v1(number))["id"] for number in range(count)]

    def seen() -> bool:
        service.call("GET", f"/devices/{device_id}/info?refresh=1")
        listed = service.call("GET", _V1).json["loadbalancers"]
        return all(each["status"] == "ACTIVE" and each["operating_status"] for each in listed)

    eventually(seen, "all load balancers are deployed and observed", seconds=60)
    network = made("/v2.0/networks", {"network": {"name": "public"}})
    subnet = made("/v2.0/subnets", {"subnet": {"network_id": network["id"], "cidr": _SUBNET}})
    return str(ids[0]), str(subnet["id"])


def _compare(port: int, pair: _Pair, concurrency: int, rounds: int, seconds: float) -> Result:
    with Asker(port, concurrency) as asker:

        def pace(write: Callable[[], bytes], status: int) -> float:
            seen = asker.ask(write, seconds=seconds, status=status)
            assert not seen.wrong, seen.wrong
            return seen.per_second

        v1, v2 = partial(pace, pair.v1, pair.v1_status), partial(pace, pair.v2, pair.v2_status)
        v1()
        v2()
        floors, values = in_turns(rounds, v1, v2)
    return Result(
        row="f",
        what=f"LBaaS v2, {pair.what}, concurrency {concurrency}",
        unit="requests/s",
        value=statistics.median(values),
        floor=statistics.median(floors),
        compared=ratio(values, floors),
        target=None,
        details={"values": values, "floors": floors},
    )
