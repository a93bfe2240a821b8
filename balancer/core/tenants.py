"""What projects may point at, as against administrators: pure checks of load balancers.

A tenant's virtual IP is in one of the ranges that its device is registered with, or was taken from a registered subnet.
A tenant's member is no address that belongs to the infrastructure: nothing of a device, and no virtual IP, since load
balancers that lead to each other use up the connections of their devices. Whatever an administrator gave a load
balancer may stay; what a tenant adds is checked.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from balancer.config import FORBIDDEN_MEMBER_RANGES
from balancer.core.model import AddressRange, AddressUse, Device, Host, LoadBalancer, Protocol, VirtualIp
from balancer.core.rules import WILDCARD, Address, say, wanted_addresses
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What addresses are, as far as the service knows: where devices are managed, what they have of their own, and
    which of the addresses that somebody wants to send traffic to (`sent_to`) are virtual IPs."""

    hosts: tuple[Host, ...] = ()
    managed: frozenset[IpAddress] = frozenset()
    own: frozenset[IpAddress] = frozenset()
    virtual: frozenset[str] = frozenset()


def know(hosts: Iterable[Host], virtual: Iterable[str] = ()) -> Known:
    hosts = tuple(hosts)
    return Known(
        hosts=hosts,
        managed=frozenset(_parsed(each for host in hosts for each in host.managed)),
        own=frozenset(_parsed(each for host in hosts for each in host.own)),
        virtual=frozenset(virtual),
    )


def targets(load_balancer: LoadBalancer) -> set[Address]:
    """Everything that its device would send traffic or checks to."""
    found = set()
    for pool in load_balancer.pools:
        for member in pool.members:
            found.add((member.address, member.port))
            checked = member.monitor_address or member.address, member.monitor_port or member.port
            found.add(checked)
    return found


def sent_to(load_balancers: Iterable[LoadBalancer]) -> set[str]:
    """The addresses where packets for their members may end, normalised as virtual IPs are."""
    return {str(meant) for each in load_balancers for address, _ in targets(each) for meant in _meant(address)}


def member_refusal(address: str, confines: Confines, known: Known) -> str | None:
    """Why a member of a project may not be there; None when it may."""
    found = _forbidden(address, confines)
    if found is not None:
        return f"{address} is in {range_text(found)}, where projects may not have members"
    if _is_managed(address, known):
        return f"{address} is where a device is managed: projects may not have members there"
    if not known.own.isdisjoint(_meant(address)):
        return f"{address} is an address of a device: projects may not have members there"
    if _is_virtual(address, known):
        return f"{address} is a virtual IP: projects may not have members there"
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


def _parsed(hosts: Iterable[str]) -> Iterator[IpAddress]:
    """Without host names, which may be anywhere."""
    for host in hosts:
        with contextlib.suppress(ValueError):
            yield ipaddress.ip_address(host)


def _is_managed(address: str, known: Known) -> bool:
    return not known.managed.isdisjoint(_meant(address))


def _is_virtual(address: str, known: Known) -> bool:
    return any(str(meant) in known.virtual for meant in _meant(address))


def check_members(load_balancer: LoadBalancer, before: LoadBalancer | None, confines: Confines, known: Known) -> None:
    """Raises `Forbidden` (field ``members``) for what a project adds to what was there before."""
    old = set() if before is None else targets(before)
    for target in sorted(targets(load_balancer) - old):
        refusal = member_refusal(target[0], confines, known)
        if refusal is not None:
            raise Forbidden(f"A member at {say(target)}: {refusal}", field="members")


def check_chain(load_balancer: LoadBalancer, before: LoadBalancer | None, known: Known) -> None:
    """Raises `Forbidden` (field ``virtual_ips``) when a project would listen anywhere else while a member is a virtual
    IP: whichever link closes a loop, it is made by a new member or by a new place to listen. An administrator's chain
    may stay as it is."""
    old = set() if before is None else wanted_addresses(before) | {(vip.address, 0) for vip in before.virtual_ips}
    new = wanted_addresses(load_balancer) | {(vip.address, 0) for vip in load_balancer.virtual_ips}
    if not new - old:
        return
    for address, _ in sorted(targets(load_balancer)):
        if _is_virtual(address, known):
            raise Forbidden(
                f"A member is at {address}, a virtual IP: only an administrator can let such a load balancer listen",
                field="virtual_ips",
            )


def check_exports(load_balancer: LoadBalancer, before: LoadBalancer | None) -> None:
    """Raises `Forbidden` (field ``protocol``) for a listener that would show what the device counts for everybody."""
    old = set() if before is None else {each.id for each in before.listeners if each.protocol is Protocol.PROMETHEUS}
    if any(each.protocol is Protocol.PROMETHEUS and each.id not in old for each in load_balancer.listeners):
        raise Forbidden(
            "A PROMETHEUS listener shows the counters of all projects on its device: it is for administrators",
            field="protocol",
        )


# --- virtual IPs -----------------------------------------------------------------


def of_devices(addresses: Iterable[str], hosts: Collection[Host]) -> frozenset[str]:
    """Those of the addresses that are no load balancer's: where devices are managed, and what they have of their own
    unless it is in their own `vip_ranges`."""
    return frozenset(each for each in addresses if not _is_wildcard(each) and _is_of_any(each, hosts))


def _is_of_any(address: str, hosts: Collection[Host]) -> bool:
    meant = _meant(address)
    for host in hosts:
        if any(each in meant for each in _parsed(host.managed)):
            return True
        if address in host.own and not opens(address, host.vip_ranges):
            return True
    return False


def addresses(load_balancer: LoadBalancer) -> set[str]:
    return {vip.address for vip in load_balancer.virtual_ips}


def closed(
    load_balancer: LoadBalancer, before: LoadBalancer | None, device: Device, taken: Collection[str]
) -> tuple[str, ...]:
    """The addresses that a project adds to what was there before and may not have on the device. An address that it was
    given may be used on further ports; every address of a device may not. `taken`: its addresses that are devices', as
    from `of_devices`."""
    old = set() if before is None else _used(before)
    return tuple(sorted({address for address, _ in _used(load_balancer, device, taken) - old}))


def _used(
    load_balancer: LoadBalancer, device: Device | None = None, taken: Collection[str] = ()
) -> set[tuple[str, int | None]]:
    """(address, port) of wildcards, (address, None) of others; with a device, without what is open there."""
    found: set[tuple[str, int | None]] = set()
    for vip in load_balancer.virtual_ips:
        if device is not None and vip.address not in taken and _open(vip, device):
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
    if _is_wildcard(vip.address) or any(each in _meant(vip.address) for each in _parsed((device.endpoint.host,))):
        return False
    if vip.port_id is not None and vip.subnet_id is not None and _is_ordinary(vip.address):
        return True
    return opens(vip.address, device.vip_ranges)


def _is_ordinary(address: str) -> bool:
    """Whether it is an address that a network could have, which not every network driver makes sure of."""
    return not any(
        each.is_loopback or each.is_link_local or each.is_multicast or each.is_unspecified for each in _meant(address)
    )


def opens(address: str, vip_ranges: Iterable[AddressRange]) -> bool:
    return _within(ipaddress.ip_address(address), vip_ranges) is not None


def say_closed(addresses: Collection[str]) -> str:
    """For a message."""
    if WILDCARD in addresses or any(_is_wildcard(each) for each in addresses):
        return "Listening on every address of a device is for administrators"
    what = " and ".join(sorted(addresses))
    return f"{what}: no device offers that to projects (vip_ranges), and no registered subnet has it"


def unregistered(load_balancer: LoadBalancer, before: LoadBalancer | None = None) -> set[str]:
    """Its addresses that are of no registered subnet, so that nothing but the load balancers themselves says whose they
    are; without those that it had before."""
    old = set() if before is None else addresses(before)
    return {
        vip.address
        for vip in load_balancer.virtual_ips
        if vip.port_id is None and not _is_wildcard(vip.address) and vip.address not in old
    }


def of_others(load_balancer: LoadBalancer, uses: Iterable[AddressUse]) -> frozenset[str]:
    """The addresses that load balancers of other projects have."""
    return frozenset(
        use.address
        for use in uses
        if use.load_balancer_id != load_balancer.id and use.project_id != load_balancer.project_id
    )


def shared_at(load_balancer: LoadBalancer, uses: Iterable[AddressUse]) -> frozenset[str] | None:
    """The devices where other load balancers have the addresses already: one address is at one device. None: nowhere,
    so that any device will do."""
    elsewhere: dict[str, set[str]] = {}
    for use in uses:
        if use.load_balancer_id != load_balancer.id:
            elsewhere.setdefault(use.address, set()).add(use.device_id)
    return frozenset(set.intersection(*elsewhere.values())) if elsewhere else None


def _is_wide(vip: VirtualIp) -> bool:
    if vip.port_id is not None or vip.prefix_length is None or _is_wildcard(vip.address):
        return False
    return vip.prefix_length < ipaddress.ip_address(vip.address).max_prefixlen


# --- both ---------------------------------------------------------------------------


def beyond(load_balancer: LoadBalancer, device: Device, confines: Confines, known: Known) -> str | None:
    """What of the load balancer only an administrator may ask for; None when there is nothing."""
    # An address that was given may become one of the device's own, for the time when the service is away.
    taken = {each for each in addresses(load_balancer) if not _is_wildcard(each) and _is_managed(each, known)}
    refused = closed(load_balancer, None, device, taken)
    if refused:
        return say_closed(refused)
    for vip in load_balancer.virtual_ips:
        if _is_wide(vip):
            return f"{vip.address}/{vip.prefix_length}: a network at a device is for administrators"
    for address in sorted({address for address, _ in targets(load_balancer)}):
        refusal = member_refusal(address, confines, known)
        if refusal is not None:
            return refusal
    return None
