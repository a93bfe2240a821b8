"""Workers in the words of Neutron, where they are agents: what both of its load-balancing dialects show."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from balancer.api.attributes import show_uuid
from balancer.core.model import WorkerRecord

V1, V2 = "Loadbalancer agent", "Loadbalancerv2 agent"
"""`agent_type`: any worker serves both dialects."""
_OWN_NAMES = {V1: ("neutron-lbaas-agent", "n-lbaas_agent"), V2: ("neutron-lbaasv2-agent", "n-lbaasv2_agent")}


def agent(item: WorkerRecord, *, drivers: Iterable[str], instances: int, agent_type: str = V2) -> dict[str, Any]:
    """`instances`: how many load balancers it looks after."""
    binary, topic = _OWN_NAMES[agent_type]
    return {
        "id": show_uuid(item.id),
        "agent_type": agent_type,
        "binary": binary,
        "topic": topic,
        "host": item.host,
        "availability_zone": None,
        "admin_state_up": item.enabled,
        "alive": item.alive,
        "description": item.description,
        "configurations": {"device_drivers": list(drivers), "instances": instances},
        "created_at": _time(item.started_at),
        "started_at": _time(item.started_at),
        "heartbeat_timestamp": _time(item.seen_at),
    }


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S")
