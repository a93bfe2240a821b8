"""What clients of Neutron may find out about the service before they use it: names of what there is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Extension:
    """As Neutron's authors named and dated it."""

    alias: str
    name: str
    updated: str
    says: str


EXTENSIONS = (
    Extension("lbaas", "LoadBalancing service", "2012-10-07T10:00:00-00:00", "Load balancers, version 1"),
    Extension(
        "lbaas_agent_scheduler",
        "Loadbalancer Agent Scheduler",
        "2013-02-07T10:00:00-00:00",
        "Which agent looks after which pool",
    ),
    Extension("lbaasv2", "LoadBalancing service v2", "2014-06-18T10:00:00-00:00", "Load balancers, version 2"),
    Extension("shared_pools", "Shared pools for LBaaSv2", "2016-01-20T10:00:00-00:00", "Pools of several listeners"),
    Extension("l7", "L7 capabilities for LBaaSv2", "2016-03-24T10:00:00-00:00", "L7 policies and rules"),
    Extension("lb_network_vip", "Create loadbalancer with network_id", "2016-09-09T22:00:00-00:00", "VIPs of networks"),
    Extension(
        "hm_max_retries_down",
        "Add a fall threshold to health monitor",
        "2016-02-24T16:00:00-00:00",
        "max_retries_down of health monitors",
    ),
    *(
        Extension(
            alias,
            "Loadbalancer Agent Scheduler V2",
            "2013-02-07T10:00:00-00:00",
            "Which agent looks after which load balancer",
        )
        for alias in ("lbaas_agent_schedulerv2", "lbaasv2_agent_scheduler")
    ),
    Extension("agent", "agent", "2013-02-03T10:00:00-00:00", "Agents: the workers of this service"),
    Extension("quotas", "Quota management support", "2012-07-29T10:00:00-00:00", "Quotas of projects"),
    Extension("service-type", "Neutron Service Type Management", "2013-01-20T00:00:00-00:00", "Service providers"),
)
SERVICE_TYPES = ("LOADBALANCER", "LOADBALANCERV2")
DEFAULT_PROVIDER = "haproxy"


def shown() -> list[dict[str, Any]]:
    return [
        {
            "alias": each.alias,
            "name": each.name,
            "description": each.says,
            "updated": each.updated,
            "links": [],
            "namespace": "",
        }
        for each in EXTENSIONS
    ]
