"""What projects may point at, as against administrators: pure checks of load balancers.

A tenant's virtual IP is in one of the ranges that its device is registered with, or was taken from a registered subnet.
A tenant's member is no address that belongs to the infrastructure. Whatever an administrator gave a load balancer may
stay; what a tenant adds is checked.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache

from balancer.config import FORBIDDEN_MEMBER_RANGES
from balancer.core.model import AddressRange, Device, LoadBalancer, VirtualIp
from balancer.core.rules import WILDCARD, Address, say
from balancer.exceptions import ConfigurationError, Forbidden

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


# --- ranges ------------------------------------------------------------------


def parse_range(text: str) -> AddressRange:
    """``192.0.2.0/24``, ``192.0.2.1-192.0.2.9`` or a single address. Raises `ValueError`."""
    first, dash, last = (part.strip(" ") for part in text.partition("-"))
    if "%" in text:
        raise ValueError("an address with a zone cannot be used")
    if not dash:
        network = ipaddress.ip_network(first)
        return AddressRange(first=str(network[0]), last=str(network[-1]))
    one, other = ipaddress.ip_address(first), ipaddress.ip_address(last)
    if one.version != other.version or int(one) > int(other):
        raise ValueError(f"{text} is no range of addresses")
    return AddressRange(first=str(one), last=str(other))


def range_text(addresses: AddressRange) -> str:
    """As short as `parse_range` understands it."""
    if addresses.first == addresses.last:
        return addresses.first
    first, last = ipaddress.ip_address(addresses.first), ipaddress.ip_address(addresses.last)
    networks = list(ipaddress.summarize_address_range(first, last))
    return str(networks[0]) if len(networks) == 1 else f"{addresses.first}-{addresses.last}"


@lru_cache(maxsize=4096)
def _bounds(addresses: AddressRange) -> tuple[int, int, int]:
    first, last = ipaddress.ip_address(addresses.first), ipaddress.ip_address(addresses.last)
    return first.version, int(first), int(last)


def _within(address: IpAddress, ranges: Iterable[AddressRange]) -> AddressRange | None:
    number, version = int(address), address.version
    for each in ranges:
        its_version, first, last = _bounds(each)
        if version == its_version and first <= number <= last:
            return each
    return None


# --- members -------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Confines:
    """Where members of projects may not be."""

    forbidden_members: tuple[AddressRange, ...] = tuple(map(parse_range, FORBIDDEN_MEMBER_RANGES))


DEFAULT_CONFINES = Confines()


def confines(ranges: Iterable[str]) -> Confines:
    """Of the option. Raises `ConfigurationError`."""
    found = []
    for text in ranges:
        try:
            found.append(parse_range(text))
        except ValueError as error:
            raise ConfigurationError(f"[tenants] forbidden_member_ranges: {error}") from None
    return Confines(forbidden_members=tuple(found))


def targets(load_balancer: LoadBalancer) -> set[Address]:
    """Everything that its device would send traffic or checks to."""
    found = set()
    for pool in load_balancer.pools:
        for member in pool.members:
            found.add((member.address, member.port))
            checked = member.monitor_address or member.address, member.monitor_port or member.port
            found.add(checked)
    return found


def member_refusal(address: str, confines: Confines, hosts: Collection[str]) -> str | None:
    """Why a member of a project may not be there; None when it may. `hosts`: where devices are managed."""
    found = _forbidden(address, confines)
    if found is not None:
        return f"{address} is in {range_text(found)}, where projects may not have members"
    if any(_same(address, host) for host in hosts):
        return f"{address} is where a device is managed: projects may not have members there"
    return None


@lru_cache(maxsize=65536)
def _forbidden(address: str, confines: Confines) -> AddressRange | None:
    for meant in _meant(address):
        found = _within(meant, confines.forbidden_members)
        if found is not None:
            return found
    return None


@lru_cache(maxsize=65536)
def _meant(address: str) -> tuple[IpAddress, ...]:
    """The address and the IPv4 address inside of it, to which routers or the kernel would send."""
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, ipaddress.IPv4Address):
        return (parsed,)
    inner = parsed.ipv4_mapped or parsed.sixtofour
    if inner is None and parsed in _NAT64:
        inner = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
    return (parsed,) if inner is None else (parsed, inner)


def _same(address: str, host: str) -> bool:
    try:
        return ipaddress.ip_address(host) in _meant(address)
    except ValueError:
        # A host name; it may be anywhere.
        return False


def check_members(
    load_balancer: LoadBalancer, before: LoadBalancer | None, confines: Confines, hosts: Collection[str]
) -> None:
    """Raises `Forbidden` (field ``members``) for what a project adds to what was there before."""
    old = set() if before is None else targets(before)
    for target in sorted(targets(load_balancer) - old):
        refusal = member_refusal(target[0], confines, hosts)
        if refusal is not None:
            raise Forbidden(f"A member at {say(target)}: {refusal}", field="members")


# --- virtual IPs -----------------------------------------------------------------


def closed(load_balancer: LoadBalancer, before: LoadBalancer | None, device: Device) -> tuple[str, ...]:
    """The addresses that a project adds to what was there before and may not have on the device. An address that it was
    given may be used on further ports; every address of a device may not."""
    old = set() if before is None else _used(before)
    return tuple(sorted({address for address, _ in _used(load_balancer, device) - old}))


def _used(load_balancer: LoadBalancer, device: Device | None = None) -> set[tuple[str, int | None]]:
    """(address, port) of wildcards, (address, None) of others; with a device, without what is open there."""
    found: set[tuple[str, int | None]] = set()
    for vip in load_balancer.virtual_ips:
        if device is not None and _open(vip, device):
            continue
        if not _is_wildcard(vip.address):
            found.add((vip.address, None))
            continue
        ports = {each.port for each in load_balancer.listeners if vip.id in (each.virtual_ip_ids or (vip.id,))}
        found |= {(vip.address, port) for port in ports or {0}}
    return found


def _is_wildcard(address: str) -> bool:
    return address == WILDCARD or ipaddress.ip_address(address).is_unspecified


def _open(vip: VirtualIp, device: Device) -> bool:
    # Where it is managed is nobody's, however wide the ranges are.
    if _is_wildcard(vip.address) or _same(vip.address, device.endpoint.host):
        return False
    if vip.port_id is not None and vip.subnet_id is not None:
        return True
    return _within(ipaddress.ip_address(vip.address), device.vip_ranges) is not None


def say_closed(addresses: Collection[str]) -> str:
    """For a message."""
    if WILDCARD in addresses or any(_is_wildcard(each) for each in addresses):
        return "Listening on every address of a device is for administrators"
    what = " and ".join(sorted(addresses))
    return f"{what}: no device offers that to projects (vip_ranges), and no registered subnet has it"


# --- both ---------------------------------------------------------------------------


def beyond(load_balancer: LoadBalancer, device: Device, confines: Confines, hosts: Collection[str]) -> str | None:
    """What of the load balancer only an administrator may ask for; None when there is nothing."""
    addresses = closed(load_balancer, None, device)
    if addresses:
        return say_closed(addresses)
    for address in sorted({address for address, _ in targets(load_balancer)}):
        refusal = member_refusal(address, confines, hosts)
        if refusal is not None:
            return refusal
    return None
