"""The attributes of networks, subnets and ports, in Neutron's words."""

from __future__ import annotations

from balancer.api.attributes import (
    REFUSED,
    Address,
    Attribute,
    Boolean,
    Choice,
    Cidr,
    ListOf,
    Resource,
    Text,
    Uuid,
)

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
REFERENCE = (NETWORK, SUBNET, RANGE, PORT, FIXED_IP)
"""What the documentation tells, in this order."""
