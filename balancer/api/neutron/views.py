"""Networks, subnets, ports and quotas as Neutron shows them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from balancer.api.attributes import show_uuid
from balancer.api.neutron import schemas
from balancer.core.model import Network, Port, Quotas, Subnet

View = dict[str, Any]

OWNER = "Octavia"


def network(item: Network, subnets: Iterable[Subnet]) -> View:
    return {
        **_head(item),
        "shared": item.shared,
        "admin_state_up": True,
        "status": "ACTIVE",
        "subnets": [show_uuid(each.id) for each in subnets],
        "router:external": False,
        **_times(item),
    }


def subnet(item: Subnet) -> View:
    return {
        **_head(item),
        "network_id": show_uuid(item.network_id),
        "cidr": item.cidr,
        "ip_version": ipaddress.ip_network(item.cidr).version,
        "gateway_ip": item.gateway,
        "allocation_pools": [{"start": each.first, "end": each.last} for each in item.ranges],
        "device_ids": [show_uuid(each) for each in item.device_ids],
        "interface": item.interface,
        "enable_dhcp": False,
        "dns_nameservers": [],
        "host_routes": [],
        **_times(item),
    }


def port(item: Port, load_balancer_id: str | None) -> View:
    """`load_balancer_id`: who has it."""
    return {
        **_head(item),
        "network_id": show_uuid(item.network_id),
        "fixed_ips": [{"subnet_id": show_uuid(each.subnet_id), "ip_address": each.address} for each in item.fixed_ips],
        "device_id": "" if load_balancer_id is None else f"lb-{show_uuid(load_balancer_id)}",
        "device_owner": "" if load_balancer_id is None else OWNER,
        "admin_state_up": True,
        "status": "ACTIVE",
        "mac_address": "",
        "security_groups": [],
        **_times(item),
    }


def quota(limits: Quotas) -> View:
    return {name: limits[resource] for name, resource in schemas.QUOTA_RESOURCES.items()}


def _head(item: Network | Subnet | Port) -> View:
    return {
        "id": show_uuid(item.id),
        "name": item.name,
        "description": item.description,
        "project_id": item.project_id,
        "tenant_id": item.project_id,
    }


def _times(item: Network | Subnet | Port) -> View:
    return {"created_at": _time(item.created_at), "updated_at": _time(item.updated_at)}


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
