"""The attributes of networks, subnets, ports, agents and quotas, in Neutron's words."""

from __future__ import annotations

from collections.abc import Mapping

from balancer.api.attributes import (
    REFUSED,
    Address,
    Attribute,
    Boolean,
    Choice,
    Cidr,
    Integer,
    ListOf,
    Resource,
    Text,
    Uuid,
)
from balancer.core.model import QuotaResource
from balancer.core.quotas import LARGEST

_NAME = Attribute(kind=Text(), says="A name.", create=True, update=True, default="")
_DESCRIPTION = Attribute(kind=Text(), says="A description.", create=True, update=True, default="")
_PROJECT = Attribute(kind=Text(), says="The project; the caller's own unless it is given.", create=True)
_UP = Attribute(
    kind=Boolean(),
    says="Always true.",
    create=True,
    default=True,
    refused="always true: what is here cannot be switched off",
)
_STATUS = Attribute(kind=Text(), says="`ACTIVE`.")


def _read_only(says: str) -> Attribute:
    return Attribute(kind=Text(), says=says)


_TIMES = {"created_at": _read_only("When it was made, UTC."), "updated_at": _read_only("When it was changed last.")}

RANGE = Resource(
    name="allocation_pool",
    plural="allocation_pools",
    title="range of a subnet",
    attributes={
        "start": Attribute(kind=Address(), says="The first address.", create=True, update=True, required=True),
        "end": Attribute(kind=Address(), says="The last address.", create=True, update=True, required=True),
    },
)
FIXED_IP = Resource(
    name="fixed_ip",
    plural="fixed_ips",
    title="address of a port",
    attributes={
        "subnet_id": Attribute(kind=Uuid(), says="Its subnet. Default: one that fits.", create=True),
        "ip_address": Attribute(kind=Address(), says="The address. Default: one that is free.", create=True),
    },
)
NETWORK = Resource(
    name="network",
    plural="networks",
    title="network",
    attributes={
        "id": Attribute(kind=Uuid(), says="The id."),
        "name": _NAME,
        "description": _DESCRIPTION,
        "project_id": _PROJECT,
        "tenant_id": Attribute(kind=Text(), says="The same as `project_id`.", create=True),
        "shared": Attribute(
            kind=Boolean(),
            says="Whether every project may take addresses from it, or only its own.",
            create=True,
            update=True,
            default=True,
        ),
        "admin_state_up": _UP,
        "status": _STATUS,
        "subnets": _read_only("The ids of its subnets."),
        "router:external": Attribute(kind=Boolean(), says="Always false."),
        **_TIMES,
    },
)
SUBNET = Resource(
    name="subnet",
    plural="subnets",
    title="subnet",
    attributes={
        "id": Attribute(kind=Uuid(), says="The id."),
        "name": _NAME,
        "description": _DESCRIPTION,
        "project_id": _PROJECT,
        "tenant_id": Attribute(kind=Text(), says="The same as `project_id`.", create=True),
        "network_id": Attribute(kind=Uuid(), says="Its network.", create=True, required=True),
        "cidr": Attribute(kind=Cidr(), says="Its addresses.", create=True, required=True),
        "ip_version": Attribute(
            kind=Choice(values=(4, 6)), says="Must be that of `cidr`. Default: that of `cidr`.", create=True
        ),
        "gateway_ip": Attribute(
            kind=Address(),
            says="An address that nobody is given. Default: the first one; null: none.",
            create=True,
            update=True,
            default="",
            null=None,
        ),
        "allocation_pools": Attribute(
            kind=Text(),
            says="Where addresses are chosen from, and projects may ask for one. Default: all but the gateway.",
            create=True,
            update=True,
            default=(),
            null=REFUSED,
            nested=RANGE,
            many=True,
        ),
        "device_ids": Attribute(
            kind=ListOf(item=Uuid()),
            says="The devices where its addresses can be served. Default: all. (Not of Neutron.)",
            create=True,
            update=True,
            default=(),
        ),
        "interface": Attribute(
            kind=Text(longest=15, shortest=1, pattern="[A-Za-z0-9][A-Za-z0-9._:@-]{0,14}", says="a network interface"),
            says="Where devices add its addresses. Default: where the device says. (Not of Neutron.)",
            create=True,
            update=True,
        ),
        "enable_dhcp": Attribute(
            kind=Boolean(), says="Always false.", create=True, default=False, refused="always false: nobody serves DHCP"
        ),
        "dns_nameservers": _read_only("Always empty."),
        "host_routes": _read_only("Always empty."),
        **_TIMES,
    },
)
PORT = Resource(
    name="port",
    plural="ports",
    title="port",
    attributes={
        "id": Attribute(kind=Uuid(), says="The id."),
        "name": Attribute(kind=Text(), says="A name.", create=True, default=""),
        "description": Attribute(kind=Text(), says="A description.", create=True, default=""),
        "project_id": _PROJECT,
        "tenant_id": Attribute(kind=Text(), says="The same as `project_id`.", create=True),
        "network_id": Attribute(kind=Uuid(), says="Its network.", create=True, required=True),
        "fixed_ips": Attribute(
            kind=Text(),
            says="Its addresses. Default: one that is free.",
            create=True,
            default=(),
            nested=FIXED_IP,
            many=True,
        ),
        "device_id": _read_only("The load balancer that has it, as `lb-ID`; empty when none has."),
        "device_owner": _read_only("`Octavia` when a load balancer has it; empty when none has."),
        "admin_state_up": _UP,
        "status": _STATUS,
        "mac_address": _read_only("Always empty: the address is at a device's own interface."),
        "security_groups": _read_only("Always empty."),
        **_TIMES,
    },
)
AGENT = Resource(
    name="agent",
    plural="agents",
    title="agent",
    attributes={
        "id": Attribute(kind=Uuid(), says="The id."),
        "agent_type": _read_only("`Loadbalancerv2 agent`; a list can be asked for those of `Loadbalancer agent`, too."),
        "binary": _read_only("What Neutron's own is called."),
        "topic": _read_only("What Neutron's own listens to."),
        "host": _read_only("The host where the worker runs."),
        "availability_zone": _read_only("Always null."),
        "admin_state_up": Attribute(
            kind=Boolean(),
            says="A worker that is switched off takes nothing new into hand: others do its work, and what is deployed "
            "stays. One that is started anew is on.",
            update=True,
            null=REFUSED,
        ),
        "alive": Attribute(kind=Boolean(), says="Whether it told lately that it is."),
        "description": Attribute(kind=Text(), says="A description.", update=True, default=""),
        "configurations": _read_only("The drivers that there are, and how many load balancers it looks after."),
        "created_at": _read_only("When it was started, UTC."),
        "started_at": _read_only("When it was started, UTC."),
        "heartbeat_timestamp": _read_only("When it told last that it is alive, UTC."),
    },
)


def _limit(objects: str) -> Attribute:
    return Attribute(
        kind=Integer(least=-1, most=LARGEST), says=f"How many {objects}; -1: any number.", update=True, default=None
    )


QUOTA = Resource(
    name="quota",
    plural="quotas",
    title="quota",
    attributes={
        "project_id": _read_only("The project; only in lists."),
        "tenant_id": _read_only("The project; only in lists."),
        "loadbalancer": _limit("load balancers"),
        "listener": _limit("listeners"),
        "vip": _limit("listeners, which LBaaS v1 calls VIPs"),
        "pool": _limit("pools"),
        "member": _limit("members"),
        "healthmonitor": _limit("health monitors"),
        "health_monitor": _limit("health monitors"),
        "l7policy": _limit("L7 policies"),
        "l7rule": _limit("L7 rules"),
    },
)
QUOTA_RESOURCES: Mapping[str, QuotaResource] = {
    "loadbalancer": QuotaResource.LOAD_BALANCER,
    "listener": QuotaResource.LISTENER,
    "vip": QuotaResource.LISTENER,
    "pool": QuotaResource.POOL,
    "member": QuotaResource.MEMBER,
    "healthmonitor": QuotaResource.HEALTH_MONITOR,
    "health_monitor": QuotaResource.HEALTH_MONITOR,
    "l7policy": QuotaResource.L7_POLICY,
    "l7rule": QuotaResource.L7_RULE,
}
EXTENSION = Resource(
    name="extension",
    plural="extensions",
    title="extension",
    attributes={
        "alias": _read_only("What clients look for."),
        "name": _read_only("A name."),
        "description": _read_only("What it is."),
        "updated": _read_only("When Neutron's authors published it."),
        "links": _read_only("Always empty."),
        "namespace": _read_only("Always empty."),
    },
)
SERVICE_PROVIDER = Resource(
    name="service_provider",
    plural="service_providers",
    title="service provider",
    attributes={
        "service_type": _read_only("`LOADBALANCER` for LBaaS v1, `LOADBALANCERV2` for v2."),
        "name": _read_only("What load balancers ask for it by."),
        "default": Attribute(kind=Boolean(), says="Whether Neutron's clients may take it for the default."),
    },
)
REFERENCE = (NETWORK, SUBNET, RANGE, PORT, FIXED_IP, AGENT, QUOTA, EXTENSION, SERVICE_PROVIDER)
"""What the documentation tells, in this order."""
