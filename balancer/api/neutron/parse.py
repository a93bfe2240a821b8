"""Request bodies about networks, agents and quotas, turned into objects of the model and changes of them.

All raise `InvalidInput`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from balancer.api.attributes import Uuid, Values
from balancer.api.neutron import schemas
from balancer.core.model import (
    AddressRange,
    Caller,
    FixedIp,
    Network,
    Port,
    QuotaResource,
    Subnet,
    WorkerRecord,
    new_id,
)
from balancer.core.networks import whole
from balancer.exceptions import InvalidInput, NotFound

Body = Mapping[str, Any]

# Without Keystone there are no projects; what is made has to be of one.
_DEFAULT_PROJECT = "default"


def path_id(noun: str, text: str) -> str:
    """Raises `NotFound` for what is no id."""
    try:
        return Uuid().read(text)
    except ValueError:
        raise NotFound(noun, text) from None


def network(body: Body, caller: Caller) -> Network:
    values = schemas.NETWORK.created(body)
    return Network(
        id=new_id(),
        project_id=_project(values, caller),
        name=values["name"],
        description=values["description"],
        shared=values["shared"],
    )


def network_change(body: Body) -> Callable[[Network], Network]:
    values = schemas.NETWORK.changed(body)
    return lambda old: replace(old, **values)


def subnet(body: Body, caller: Caller) -> Subnet:
    values = schemas.SUBNET.created(body)
    cidr = values["cidr"]
    addresses = ipaddress.ip_network(cidr)
    if values["ip_version"] not in (None, addresses.version):
        raise InvalidInput(f"ip_version must be {addresses.version}, that of cidr", field="ip_version")
    gateway = values["gateway_ip"]
    if gateway == "":
        (all_of_them,) = whole(cidr)
        gateway = all_of_them.first if addresses.num_addresses > 2 else None
    return Subnet(
        id=new_id(),
        network_id=values["network_id"],
        project_id=_project(values, caller),
        name=values["name"],
        description=values["description"],
        cidr=cidr,
        gateway=_canonical(gateway),
        ranges=_ranges(values) or whole(cidr),
        device_ids=tuple(dict.fromkeys(values["device_ids"])),
        interface=values["interface"],
    )


def subnet_change(body: Body) -> Callable[[Subnet], Subnet]:
    values = schemas.SUBNET.changed(body)
    fields: Values = {name: values[name] for name in ("name", "description", "interface") if name in values}
    if "gateway_ip" in values:
        fields["gateway"] = _canonical(values["gateway_ip"])
    if "allocation_pools" in values:
        fields["ranges"] = _ranges(values)
    if "device_ids" in values:
        fields["device_ids"] = tuple(dict.fromkeys(values["device_ids"]))
    return lambda old: replace(old, **fields)


def port(body: Body, caller: Caller) -> Port:
    values = schemas.PORT.created(body)
    return Port(
        id=new_id(),
        network_id=values["network_id"],
        project_id=_project(values, caller),
        name=values["name"],
        description=values["description"],
        fixed_ips=tuple(
            FixedIp(subnet_id=each["subnet_id"] or "", address=_canonical(each["ip_address"]) or "")
            for each in values["fixed_ips"]
        ),
    )


# --- agents and quotas ---------------------------------------------------------


def agent_change(body: Body) -> Callable[[WorkerRecord], WorkerRecord]:
    values = schemas.AGENT.changed(body)
    fields = {"admin_state_up": "enabled", "description": "description"}
    return lambda old: replace(old, **{fields[name]: value for name, value in values.items()})


def quota_change(body: Body) -> dict[QuotaResource, int | None]:
    """What was sent; None for what falls back to the default."""
    changed: dict[QuotaResource, int | None] = {}
    for name, limit in schemas.QUOTA.changed(body).items():
        if changed.setdefault(schemas.QUOTA_RESOURCES[name], limit) != limit:
            raise InvalidInput(f"{name} contradicts another name of the same limit", field=name)
    return changed


def own_project(caller: Caller) -> str:
    """What a caller that names no project means."""
    return caller.project_id or _DEFAULT_PROJECT


def _project(values: Values, caller: Caller) -> str:
    named = values["project_id"] or values["tenant_id"]
    if values["project_id"] and values["tenant_id"] not in (None, values["project_id"]):
        raise InvalidInput("project_id and tenant_id contradict each other", field="tenant_id")
    return str(named or own_project(caller))


def _ranges(values: Values) -> tuple[AddressRange, ...]:
    return tuple(
        AddressRange(first=str(ipaddress.ip_address(each["start"])), last=str(ipaddress.ip_address(each["end"])))
        for each in values["allocation_pools"]
    )


def _canonical(address: str | None) -> str | None:
    return None if address is None else str(ipaddress.ip_address(address))
