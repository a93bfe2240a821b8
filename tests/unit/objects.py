"""Small builders for the model's objects, for tests only."""

from __future__ import annotations

from typing import Any

from balancer.core.model import (
    Algorithm,
    Credential,
    Device,
    Endpoint,
    HealthMonitor,
    Listener,
    LoadBalancer,
    Member,
    MonitorType,
    Pool,
    Protocol,
    Tree,
    VirtualIp,
    new_id,
)


def device(**fields: Any) -> Device:
    """A device of type dummy; any field may be given."""
    host = fields.pop("host", f"192.0.2.{new_id()[:4]}")
    endpoint = Endpoint(host=host, username="user", credential=Credential(password=new_id()))
    return Device(**{"id": new_id(), "name": "a device", "type": "dummy", "endpoint": endpoint, **fields})


def member(port: int = 8001, address: str = "127.0.0.1", **fields: Any) -> Member:
    return Member(**{"id": new_id(), "address": address, "port": port, **fields})


def monitor(**fields: Any) -> HealthMonitor:
    return HealthMonitor(
        **{"id": new_id(), "project_id": "foo", "type": MonitorType.TCP, "delay": 5.0, "timeout": 5.0, **fields}
    )


def tree(*addresses: tuple[str, int], members: tuple[Member, ...] | None = None, **fields: Any) -> Tree:
    """A load balancer with one pool, listening at the addresses (default: port 80 everywhere)."""
    algorithm = fields.pop("algorithm", Algorithm.ROUND_ROBIN)
    protocol = fields.pop("protocol", Protocol.HTTP)
    monitors = fields.pop("monitors", ())
    pool = Pool(
        id=new_id(),
        protocol=protocol,
        algorithm=algorithm,
        members=(member(8001), member(8002)) if members is None else members,
        health_monitor_ids=tuple(each.id for each in monitors),
    )
    by_address: dict[str, VirtualIp] = {}
    listeners = []
    for address, port in addresses or (("*", 80),):
        vip = by_address.setdefault(address, VirtualIp(id=new_id(), address=address))
        listeners.append(
            Listener(id=new_id(), virtual_ip_ids=(vip.id,), protocol=protocol, port=port, default_pool_id=pool.id)
        )
    balancer = LoadBalancer(
        **{
            "id": new_id(),
            "project_id": "foo",
            "device_id": "",
            "virtual_ips": tuple(by_address.values()),
            "listeners": tuple(listeners),
            "pools": (pool,),
            **fields,
        }
    )
    return Tree(load_balancer=balancer, monitors=monitors)
