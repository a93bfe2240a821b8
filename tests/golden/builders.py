"""Small load balancers with fixed ids, so that what is rendered of them can be recorded."""

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
    VirtualIp,
)


def oid(number: int) -> str:
    return f"{number:032x}"


DEVICE = Device(
    id=oid(0xD),
    name="d",
    type="HAPROXY",
    endpoint=Endpoint(host="192.0.2.1", username="root", credential=Credential()),
)


def member(number: int, **fields: Any) -> Member:
    return Member(**{"id": oid(0x100 + number), "address": "192.0.2.10", "port": 8000 + number, **fields})


def balancer(*members: Member, **fields: Any) -> LoadBalancer:
    protocol = fields.pop("protocol", Protocol.HTTP)
    pool = Pool(
        id=oid(0x20),
        protocol=protocol,
        algorithm=fields.pop("algorithm", Algorithm.ROUND_ROBIN),
        members=members or (member(1), member(2)),
        health_monitor_ids=tuple(each.id for each in fields.pop("monitors", ())),
        session_persistence=fields.pop("persistence", None),
        admin_up=fields.pop("pool_up", True),
    )
    listener = Listener(
        **{"id": oid(0x30), "protocol": protocol, "port": 80, "default_pool_id": pool.id, **fields.pop("listener", {})}
    )
    return LoadBalancer(
        **{
            "id": oid(0x10),
            "project_id": "foo",
            "device_id": DEVICE.id,
            "virtual_ips": (VirtualIp(id=oid(0x40), address="*"),),
            "listeners": (listener,),
            "pools": (pool,),
            **fields,
        }
    )


def monitor(number: int, kind: MonitorType, **fields: Any) -> HealthMonitor:
    return HealthMonitor(
        **{"id": oid(0x50 + number), "project_id": "foo", "type": kind, "delay": 15, "timeout": 2.5, **fields}
    )
