"""The HAProxy driver against a real device, for tests: what to deploy, and what is seen afterwards."""

from __future__ import annotations

import tempfile
import time
import unittest
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from balancer.config import Settings, SshSettings
from balancer.core.model import (
    Applied,
    Candidate,
    Credential,
    Device,
    DeviceSpec,
    Endpoint,
    HealthMonitor,
    Listener,
    LoadBalancer,
    Member,
    Pool,
    Protocol,
    VirtualIp,
    new_id,
)
from balancer.devbox.backends import Backend
from balancer.devbox.host import Host
from balancer.devbox.processes import free_port
from balancer.drivers.haproxy.driver import HAProxyDriver
from balancer.exceptions import NotYet
from tests.integration.running import fetch

SETTINGS = Settings(ssh=SshSettings(connect_timeout=5.0, step_timeout=10.0))


def device_of(host: Host, **fields: Any) -> Device:
    """The device that a host is, with its password when it has one."""
    credential = Credential(password=host.password) if host.password else Credential(private_key=host.private_key)
    endpoint = Endpoint(
        **{
            "host": host.address,
            "port": host.ssh_port,
            "username": host.user,
            "credential": credential,
            **fields.pop("endpoint", {}),
        }
    )
    return Device(
        **{
            "id": new_id(),
            "name": "device",
            "type": "HAPROXY",
            "endpoint": endpoint,
            "config_path": host.config_path,
            "socket": host.socket,
            **fields,
        }
    )


def load_balancer(ports: Sequence[int], port: int, **fields: Any) -> LoadBalancer:
    """Listens at every address on `port`, members on loopback at `ports`; as if an administrator had made it."""
    protocol = fields.pop("protocol", Protocol.HTTP)
    monitors: Sequence[HealthMonitor] = fields.pop("monitors", ())
    pool = Pool(
        **{
            "id": new_id(),
            "protocol": protocol,
            "algorithm": "ROUND_ROBIN",
            "members": tuple(Member(id=new_id(), address="127.0.0.1", port=each) for each in ports),
            "health_monitor_ids": tuple(each.id for each in monitors),
            **fields.pop("pool", {}),
        }
    )
    listener = Listener(id=new_id(), protocol=protocol, port=port, default_pool_id=pool.id)
    return LoadBalancer(
        **{
            "id": new_id(),
            "project_id": "foo",
            "exempt": True,
            "device_id": "",
            "virtual_ips": (VirtualIp(id=new_id(), address="*"),),
            "listeners": (listener,),
            "pools": (pool,),
            **fields,
        }
    )


def with_members(balancer: LoadBalancer, **fields: Any) -> LoadBalancer:
    """The same with every member changed."""
    (pool,) = balancer.pools
    return replace(balancer, pools=(replace(pool, members=tuple(replace(each, **fields) for each in pool.members)),))


def with_limit(balancer: LoadBalancer, connections: int) -> LoadBalancer:
    """The same with a limit of its listeners, which HAProxy gets by a reload only."""
    return replace(
        balancer, listeners=tuple(replace(each, connection_limit=connections) for each in balancer.listeners)
    )


class DeployingCase(unittest.TestCase):
    """Starts hosts and back ends of its own and stops them; one driver."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="balancer-test-")
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.driver = HAProxyDriver(SETTINGS)
        self.addCleanup(self.driver.close)
        self._numbers = iter(range(1000))
        self._epoch = 0
        self.put_off = 0

    def host(self, **how: Any) -> Host:
        host = Host(self.directory / f"host{next(self._numbers)}", **how)
        self.addCleanup(host.stop)
        return host.start()

    def backends(self, count: int, address: str = "127.0.0.1") -> list[Backend]:
        made = []
        for _ in range(count):
            backend = Backend(self.directory / f"backend{next(self._numbers)}", address=address)
            self.addCleanup(backend.stop)
            made.append(backend.start())
        return made

    def port(self) -> int:
        return free_port()

    def render(
        self, device: Device, balancers: Sequence[LoadBalancer], monitors: Sequence[HealthMonitor] = ()
    ) -> Candidate:
        ordered = tuple(sorted(balancers, key=lambda each: each.id))
        return self.driver.render(
            DeviceSpec(device=device, load_balancers=ordered, monitors=tuple(monitors), revision=1)
        )

    def deploy(
        self,
        device: Device,
        *balancers: LoadBalancer,
        monitors: Sequence[HealthMonitor] = (),
        epoch: int | None = None,
        last: Mapping[str, str] | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> Applied:
        """As the reconciler does; every deployment under a later epoch than the one before. Comes back as long as
        HAProxy could not hand over its stick tables yet; `put_off` counts how often."""
        self._epoch += 1
        deadline = time.monotonic() + 60
        while True:
            try:
                return self.driver.apply(
                    device,
                    self.render(device, balancers, monitors),
                    epoch=self._epoch if epoch is None else epoch,
                    last=last or {},
                    check=check,
                    deployed=last or {},
                )
            except NotYet as rest:
                if "stick tables" not in str(rest) or time.monotonic() > deadline:
                    raise
                self.put_off += 1
                time.sleep(rest.seconds)

    def answers(self, port: int, count: int) -> list[str]:
        return [fetch(port).text for _ in range(count)]

    def left_behind(self, host: Host) -> list[str]:
        """Names in the configuration's directory that are not to stay."""
        stay = ("haproxy.cfg.balancer", "haproxy.cfg.balancer-states")
        listed = host.run(["ls", "-A", str(Path(host.config_path).parent)], check=True).stdout.decode().split()
        return [name for name in listed if "balancer" in name and name not in stay]
