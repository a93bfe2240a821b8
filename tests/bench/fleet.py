"""Row d: a hundred devices at once."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psutil

from balancer.devbox.backends import Backend
from balancer.devbox.host import Host
from balancer.devbox.processes import free_port
from tests.bench.asking import Asker, request
from tests.bench.deployments import Script, sections
from tests.bench.measuring import Result, Target
from tests.bench.site import ASYNC, OPTIONS, seconds_until_served
from tests.integration.running import RunningService, children, eventually

_CONVERGE = Target(sign="≤", limit=2)
_FLOOR_DEPLOYMENTS = 2

# $1 how many; the first line of each configuration makes it one that HAProxy starts with.
_START = """
set -e
number=0
while [ "$number" -lt "$1" ]; do
    here=/etc/haproxy/device-$number
    install -d -m 2775 -o root -g haproxy "$here"
    printf 'global\\n    maxconn 100\\n    stats socket /run/haproxy/own-%s.sock\\n' "$number" >"$here/haproxy.cfg"
    chgrp haproxy "$here/haproxy.cfg"
    chmod 664 "$here/haproxy.cfg"
    haproxy -W -D -f "$here/haproxy.cfg" -p "/run/haproxy/$number.pid" \\
        -S "/run/haproxy/master-$number.sock,mode,660,group,haproxy"
    number=$((number + 1))
done
number=0
while [ "$number" -lt "$1" ]; do
    # The one that makes the daemon ends before the daemon has written it.
    until cat "/run/haproxy/$number.pid" 2>/dev/null; do sleep 0.01; done
    number=$((number + 1))
done
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Device:
    """`master`: the process number of its HAProxy, as the host counts."""

    number: int
    master: int

    @property
    def path(self) -> str:
        return f"/etc/haproxy/device-{self.number}/haproxy.cfg"

    def address(self, balancer: int) -> str:
        return f"127.200.{self.number}.{balancer + 1}"


def create_everywhere(*, quick: bool) -> Iterator[Result]:
    count, each_has = (3, 2) if quick else (100, 10)
    with (
        tempfile.TemporaryDirectory(prefix="balancer-bench-") as directory,
        Backend(Path(directory, "backend"), address="0.0.0.0") as backend,
        Host(Path(directory, "host"), isolated=True, run_as="group", haproxy="none") as host,
    ):
        started = host.run(["sh", "-c", _START, "bench", str(count)], timeout=120, check=True)
        devices = [_Device(number=i, master=int(pid)) for i, pid in enumerate(started.stdout.split())]
        assert len(devices) == count, started
        port = free_port()
        floor = _by_hand(host, devices, backend.port, port, each_has)
        with RunningService(Path(directory, "service"), OPTIONS, debug=False) as service:
            for each in devices:
                service.register(host, remote_config_path=each.path, socket=f"/run/haproxy/balancer-{each.number}.sock")
            _await(service, "observed_at IS NOT NULL", count, "device_observations")
            api, took = _through_the_api(service, devices, backend.port, port, each_has)
            worker = psutil.Process(children(_pid(service))[0])
            to_devices = [each for each in worker.net_connections() if each.raddr and each.raddr.port == host.ssh_port]
            details = {
                "api_seconds": api,
                "worker_rss_mb": round(worker.memory_info().rss / 1e6, 1),
                "api_rss_mb": round(psutil.Process(_pid(service)).memory_info().rss / 1e6, 1),
                "ssh_connections": len(to_devices),
                "worker_threads": worker.num_threads(),
            }
    yield Result(
        row="d",
        what=f"{count} devices x {each_has} load balancers at once",
        unit="s",
        value=took,
        floor=floor,
        compared=took / floor,
        target=_CONVERGE,
        details=details,
    )
    for name, what in (("worker_rss_mb", "memory of the worker, MB"), ("ssh_connections", "SSH connections")):
        yield Result(row="d", what=what, unit="", value=details[name], floor=None, compared=details[name])
    yield Result(
        row="d", what="the API's time for them, apart", unit="s", value=api, floor=None, compared=api, details=details
    )


def _pid(service: RunningService) -> int:
    assert service.process is not None
    return service.process.pid


def _by_hand(host: Host, devices: Sequence[_Device], member: int, port: int, each_has: int) -> float:
    """Seconds for two deployments to each device, as many at a time as there are cores."""
    before = host.run(["cat", devices[0].path], check=True).stdout
    cores = os.cpu_count() or 1

    def some(which: Sequence[_Device]) -> None:
        with Script(host) as script:
            for part in range(1, _FLOOR_DEPLOYMENTS + 1):
                for each in which:
                    these = [each.address(i) for i in range(each_has * part // _FLOOR_DEPLOYMENTS)]
                    text = "".join(sections(f"b{i}", f"{at}:{port}", member) for i, at in enumerate(these))
                    began = time.perf_counter()
                    script.install(_own(before, each) + text.encode(), each.path, each.master)
                    seconds_until_served(these[-1], port, began)

    began = time.perf_counter()
    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(some, [devices[core::cores] for core in range(cores)]))
    took = time.perf_counter() - began
    with Script(host) as script:
        for each in devices:
            script.install(_own(before, each), each.path, each.master)
    return took


def _own(before: bytes, device: _Device) -> bytes:
    """The configuration that a device has to begin with, made of the first one's."""
    return before.replace(b"own-0.sock", b"own-%d.sock" % device.number)


def _through_the_api(
    service: RunningService, devices: Sequence[_Device], member: int, port: int, each_has: int
) -> tuple[float, float]:
    """Seconds until the API has answered, and from then on until every device serves: the worker stands still in the
    meantime."""
    orders = [
        {
            "name": "bench",
            "protocol": "HTTP",
            "algorithm": "ROUND_ROBIN",
            "virtualIps": [{"address": device.address(i), "port": port}],
            "nodes": [{"address": f"127.0.0.{each}", "port": member} for each in (1, 2, 3)],
        }
        for i in range(each_has)
        for device in devices
    ]
    requests = iter(request("POST", "/foo/loadbalancers", json.dumps(each).encode(), headers=ASYNC) for each in orders)
    (worker,) = children(_pid(service))
    os.kill(worker, signal.SIGSTOP)
    try:
        with Asker(service.port, 16) as asker:
            pace = asker.ask(lambda: next(requests, None), status=202)
    finally:
        os.kill(worker, signal.SIGCONT)
    began = time.perf_counter()
    assert not pace.wrong, pace.wrong
    _await(service, "desired_revision > applied_revision", 0)
    took = time.perf_counter() - began
    for device in devices:
        for i in range(each_has):
            seconds_until_served(device.address(i), port, time.perf_counter())
    return pace.seconds, took


def _await(service: RunningService, condition: str, count: int, table: str = "devices") -> None:
    """Until that many rows are so. Asking the API would cost what is measured."""
    with closing(sqlite3.connect(f"file:{service.root / 'balancer.sqlite'}?mode=ro", uri=True, timeout=5)) as database:

        def done() -> bool:
            query = f"SELECT count(*) FROM {table} WHERE {condition}"
            return bool(database.execute(query).fetchone()[0] == count)

        eventually(done, condition, seconds=120)
