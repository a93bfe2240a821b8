"""Where the addresses of load balancers come from: the shipped network drivers, and registering subnets."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from uuid import UUID

from balancer.core import tenants
from balancer.core.model import (
    AddressRange,
    Caller,
    FixedIp,
    LoadBalancer,
    Network,
    Port,
    Subnet,
    VirtualIp,
    new_id,
)
from balancer.core.ports import NetworkRows, Networks, Transaction, Transactions
from balancer.core.retry import after_lost_race
from balancer.core.rules import WILDCARD
from balancer.exceptions import ConfigurationError, Conflict, Forbidden, InvalidInput, NotFound

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


class AddressPools:
    """``pools``: addresses of the subnets that an administrator registered. An address that is in none of them is
    whoever's who asks for it."""

    def allot(self, tx: Transaction, caller: Caller, load_balancer: LoadBalancer, wanted: VirtualIp) -> VirtualIp:
        if wanted.port_id is not None:
            return self._of_port(tx.networks, caller, load_balancer, wanted, wanted.port_id)
        if wanted.address == WILDCARD and wanted.network_id is None and wanted.subnet_id is None:
            return wanted
        found = _candidates(tx.networks, caller, load_balancer, wanted)
        if not wanted.address:
            return self._any(tx, load_balancer, wanted, found)
        if not found and wanted.network_id is None and wanted.subnet_id is None:
            return wanted
        within = [subnet for subnet in found if contains(subnet, wanted.address)]
        if not within:
            raise InvalidInput(f"{wanted.address} is not in {_named(found)}", field="address")
        return self._this(tx.networks, caller, load_balancer, wanted, within[0])

    def device_ids(self, tx: Transaction, load_balancer: LoadBalancer) -> frozenset[str] | None:
        found: frozenset[str] | None = None
        for vip in load_balancer.virtual_ips:
            if vip.port_id is None or vip.subnet_id is None:
                continue
            served = tx.networks.subnet(vip.subnet_id).device_ids
            users = tx.networks.users(vip.port_id)
            # One address is at one device, whoever of the project shares it.
            elsewhere = {device_id for user, device_id in users.items() if user != load_balancer.id}
            for some in (frozenset(served), frozenset(elsewhere)):
                if some:
                    found = some if found is None else found & some
        return found

    # --- the ways to an address ---

    def _any(
        self, tx: Transaction, load_balancer: LoadBalancer, wanted: VirtualIp, candidates: Sequence[Subnet]
    ) -> VirtualIp:
        rows = tx.networks
        if not candidates:
            raise InvalidInput("An address, or a network, subnet or port to take it from, is required", field="address")
        others = _of_devices(tx, candidates)
        for candidate in candidates:
            subnet = rows.subnet(candidate.id)
            address = first_free(subnet, rows.taken(subnet.id) | others)
            if address is not None:
                return _held(rows, load_balancer, wanted, subnet, address)
        raise Conflict(f"No address is left in {_named(candidates)}", field="subnet_id")

    def _this(
        self, rows: NetworkRows, caller: Caller, load_balancer: LoadBalancer, wanted: VirtualIp, candidate: Subnet
    ) -> VirtualIp:
        subnet = rows.subnet(candidate.id)
        check_usable(subnet, wanted.address)
        if not caller.acts_everywhere and not in_ranges(subnet, wanted.address):
            raise Forbidden(
                f"{wanted.address} is not among the addresses that projects may take from {_named([subnet])}",
                field="address",
            )
        port = rows.port_at(subnet.id, wanted.address)
        if port is None:
            return _held(rows, load_balancer, wanted, subnet, wanted.address)
        # Load balancers of one project may share an address, on different ports.
        if port.load_balancer_id is None or port.project_id != load_balancer.project_id:
            raise Conflict(f"{wanted.address} is taken", field="address")
        return _completed(wanted, subnet, wanted.address, port.id)

    def _of_port(
        self, rows: NetworkRows, caller: Caller, load_balancer: LoadBalancer, wanted: VirtualIp, port_id: str
    ) -> VirtualIp:
        port = _one(rows.port, port_id)
        if port is None or not (caller.acts_everywhere or port.project_id == load_balancer.project_id):
            raise InvalidInput(f"Port {port_id} is not there", field="port_id")
        if wanted.network_id not in (None, port.network_id):
            raise InvalidInput(f"Port {port_id} is not of network {wanted.network_id}", field="network_id")
        users = rows.users(port_id).keys() | ({port.load_balancer_id} - {None})
        if users - {load_balancer.id}:
            raise InvalidInput(f"Port {port_id} is in use", field="port_id")
        fixed = [
            each
            for each in port.fixed_ips
            if wanted.subnet_id in (None, each.subnet_id) and wanted.address in ("", each.address)
        ]
        if len(fixed) != 1:
            field = "subnet_id" if wanted.subnet_id else "address" if wanted.address else "port_id"
            what = "no such address" if not fixed else "several addresses: name one"
            raise InvalidInput(f"Port {port_id} has {what}", field=field)
        return _completed(wanted, rows.subnet(fixed[0].subnet_id), fixed[0].address, port_id)


class NoNetworks:
    """``noop``: believes every network, subnet and port, and makes an address up where none is named. What came about
    so is for devices in memory."""

    def allot(self, tx: Transaction, caller: Caller, load_balancer: LoadBalancer, wanted: VirtualIp) -> VirtualIp:
        if wanted.address and not (wanted.network_id or wanted.subnet_id or wanted.port_id):
            return wanted
        # Of 10.0.0.0/8 and by the id, so that hardly two are the same.
        made_up = str(ipaddress.IPv4Address((10 << 24) + int(wanted.id[-6:], 16)))
        return replace(
            wanted,
            address=wanted.address or made_up,
            network_id=wanted.network_id or new_id(),
            subnet_id=wanted.subnet_id or new_id(),
            port_id=wanted.port_id or new_id(),
        )

    def device_ids(self, tx: Transaction, load_balancer: LoadBalancer) -> frozenset[str] | None:
        if all(vip.port_id is None for vip in load_balancer.virtual_ips):
            return None
        return frozenset(device.id for device in tx.devices() if device.type.lower() == _IN_MEMORY)


_IN_MEMORY = "dummy"
_DRIVERS: Mapping[str, Callable[[], Networks]] = {"pools": AddressPools, "noop": NoNetworks}


def networks_of(name: str) -> Networks:
    """The network driver of that name. Raises `ConfigurationError`."""
    if name not in _DRIVERS:
        raise ConfigurationError(f"[network] driver must be one of {', '.join(_DRIVERS)}, not {name}")
    return _DRIVERS[name]()


def _of_devices(tx: Transaction, subnets: Sequence[Subnet]) -> frozenset[str]:
    """Addresses in the subnets that nobody is given unasked, since a device has them."""
    hosts = tx.hosts()
    there = {each for host in hosts for each in (*host.managed, *host.own) if _is_address(each)}
    within = {str(ipaddress.ip_address(each)) for each in there if any(contains(one, each) for one in subnets)}
    return tenants.of_devices(within, hosts)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _candidates(rows: NetworkRows, caller: Caller, load_balancer: LoadBalancer, wanted: VirtualIp) -> list[Subnet]:
    """The subnets that may be meant, those of IPv4 first. Raises `InvalidInput` for one that is named and not there,
    `Forbidden` for an address of one that is not for the project."""
    every = rows.subnets()
    named = wanted.network_id is not None or wanted.subnet_id is not None
    if not every and not named:
        return []
    usable = {
        network.id
        for network in rows.networks()
        if caller.acts_everywhere or may_use(network, load_balancer.project_id)
    }
    subnets = [subnet for subnet in every if subnet.network_id in usable]
    if wanted.network_id is not None:
        if wanted.network_id not in usable:
            raise InvalidInput(f"Network {wanted.network_id} is not there", field="network_id")
        subnets = [subnet for subnet in subnets if subnet.network_id == wanted.network_id]
        if not subnets:
            raise InvalidInput(f"Network {wanted.network_id} has no subnet", field="network_id")
    if wanted.subnet_id is not None:
        subnets = [subnet for subnet in subnets if subnet.id == wanted.subnet_id]
        if not subnets:
            where = "" if wanted.network_id is None else f" in network {wanted.network_id}"
            raise InvalidInput(f"Subnet {wanted.subnet_id} is not there{where}", field="subnet_id")
    if not named:
        # An address alone says which subnet it is of; nothing at all says nothing.
        subnets = [subnet for subnet in subnets if wanted.address and contains(subnet, wanted.address)]
        if not subnets and wanted.address and any(contains(subnet, wanted.address) for subnet in every):
            raise Forbidden(f"{wanted.address} is not for this project", field="address")
    return sorted(subnets, key=lambda subnet: ":" in subnet.cidr)


def may_use(network: Network, project_id: str | None) -> bool:
    return network.shared or network.project_id == project_id


def _held(rows: NetworkRows, load_balancer: LoadBalancer, wanted: VirtualIp, subnet: Subnet, address: str) -> VirtualIp:
    """The virtual IP with a new port of its own."""
    port = Port(
        id=new_id(),
        network_id=subnet.network_id,
        project_id=load_balancer.project_id,
        name=_port_name(load_balancer, wanted),
        fixed_ips=(FixedIp(subnet_id=subnet.id, address=address),),
        load_balancer_id=load_balancer.id,
    )
    rows.add_port(port)
    return _completed(wanted, subnet, address, port.id)


def _port_name(load_balancer: LoadBalancer, wanted: VirtualIp) -> str:
    """As Neutron called the port of a vip, where the address is for one listener; else it has no name."""
    for listener in load_balancer.listeners:
        if wanted.id in listener.virtual_ip_ids:
            return f"vip-{UUID(listener.id)}"
    return ""


def _completed(wanted: VirtualIp, subnet: Subnet, address: str, port_id: str) -> VirtualIp:
    own = ipaddress.ip_network(subnet.cidr).prefixlen
    return replace(
        wanted,
        address=address,
        prefix_length=own if wanted.prefix_length is None else wanted.prefix_length,
        network_id=subnet.network_id,
        subnet_id=subnet.id,
        port_id=port_id,
        interface=subnet.interface,
    )


def _named(subnets: Sequence[Subnet]) -> str:
    return ", ".join(f"subnet {subnet.name or subnet.id} ({subnet.cidr})" for subnet in subnets) or "any subnet"


# --- addresses of a subnet ----------------------------------------------------------


def contains(subnet: Subnet, address: str) -> bool:
    return address != WILDCARD and ipaddress.ip_address(address) in ipaddress.ip_network(subnet.cidr)


def in_ranges(subnet: Subnet, address: str) -> bool:
    number = ipaddress.ip_address(address)
    if number.version != ipaddress.ip_network(subnet.cidr).version:
        return False
    return any(_number(each.first) <= int(number) <= _number(each.last) for each in subnet.ranges)


@lru_cache(maxsize=65536)
def _number(address: str) -> int:
    return int(ipaddress.ip_address(address))


def check_usable(subnet: Subnet, address: str) -> None:
    """Raises `InvalidInput` (field ``address``) for one that no host of the subnet can have."""
    if not contains(subnet, address):
        raise InvalidInput(f"{address} is not in {_named([subnet])}", field="address")
    if _number(address) in _unusable(subnet):
        raise InvalidInput(f"{address} is the gateway, or the network's own, in {_named([subnet])}", field="address")


def _unusable(subnet: Subnet) -> set[int]:
    network = ipaddress.ip_network(subnet.cidr)
    found = set() if subnet.gateway is None else {_number(subnet.gateway)}
    if network.num_addresses > 2:
        found.add(int(network.network_address))
        if network.version == 4:
            found.add(int(network.broadcast_address))
    return found


def first_free(subnet: Subnet, taken: Iterable[str]) -> str | None:
    """The lowest address of its ranges that nobody has, in canonical form."""
    network = ipaddress.ip_network(subnet.cidr)
    used = _unusable(subnet) | {_number(each) for each in taken}
    for each in subnet.ranges:
        number, last = _number(each.first), _number(each.last)
        # As long as there are taken ones at most, however large the range is.
        while number <= last and number in used:
            number += 1
        if number <= last:
            return str(network[number - int(network.network_address)])
    return None


def whole(cidr: str) -> tuple[AddressRange, ...]:
    """All addresses that hosts of the network can have."""
    network = ipaddress.ip_network(cidr)
    first, last = 0, network.num_addresses - 1
    if network.num_addresses > 2:
        first = 1
        last -= network.version == 4
    return (AddressRange(first=str(network[first]), last=str(network[last])),)


def check_subnet(subnet: Subnet) -> None:
    """Whether a subnet makes sense in itself. Raises `InvalidInput` (fields ``gateway``, ``ranges``)."""
    network = ipaddress.ip_network(subnet.cidr)
    if subnet.gateway is not None and ipaddress.ip_address(subnet.gateway) not in network:
        raise InvalidInput(f"gateway must be in {subnet.cidr}", field="gateway")
    if not subnet.ranges:
        raise InvalidInput("ranges must have one range at least", field="ranges")
    before: list[tuple[int, int]] = []
    for each in subnet.ranges:
        first, last = ipaddress.ip_address(each.first), ipaddress.ip_address(each.last)
        if first not in network or last not in network:
            raise InvalidInput(f"ranges: {each.first}-{each.last} is not in {subnet.cidr}", field="ranges")
        if int(first) > int(last):
            raise InvalidInput(f"ranges: {each.first} is behind {each.last}", field="ranges")
        if any(int(first) <= other_last and other_first <= int(last) for other_first, other_last in before):
            raise InvalidInput(f"ranges: {each.first}-{each.last} overlaps another range", field="ranges")
        before.append((int(first), int(last)))


def check_apart(subnet: Subnet, others: Iterable[Subnet]) -> None:
    """Two subnets at one device must not have the same address. Raises `Conflict`."""
    network = ipaddress.ip_network(subnet.cidr)
    for other in others:
        if other.id == subnet.id or not _overlap(network, ipaddress.ip_network(other.cidr)):
            continue
        if not subnet.device_ids or not other.device_ids or set(subnet.device_ids) & set(other.device_ids):
            raise Conflict(f"{subnet.cidr} overlaps {_named([other])}, which the same devices serve", field="cidr")


def _overlap(one: IpNetwork, other: IpNetwork) -> bool:
    return one.version == other.version and one.overlaps(other)


def _one(find: Callable[[str], Port], object_id: str) -> Port | None:
    try:
        return find(object_id)
    except NotFound:
        return None


# --- registering ------------------------------------------------------------------------


class NetworkService:
    """What callers can ask of the registered networks. Projects see those that they may use, and their own ports;
    changes are for administrators. What a caller may not see raises `NotFound`."""

    def __init__(self, repository: Transactions) -> None:
        self._repository = repository

    def networks(self, caller: Caller) -> list[tuple[Network, tuple[Subnet, ...]]]:
        """Each with its subnets."""
        with self._repository.read() as tx:
            subnets = tx.networks.subnets()
            return [
                (network, tuple(subnet for subnet in subnets if subnet.network_id == network.id))
                for network in tx.networks.networks()
                if _sees(caller, network)
            ]

    def subnets(self, caller: Caller) -> list[Subnet]:
        with self._repository.read() as tx:
            seen = {network.id for network in tx.networks.networks() if _sees(caller, network)}
            return [subnet for subnet in tx.networks.subnets() if subnet.network_id in seen]

    def ports_with_users(self, caller: Caller) -> list[tuple[Port, str | None]]:
        """Each with the id of a load balancer that has it, if any."""
        with self._repository.read() as tx:
            users = tx.networks.users_of_all()
            return [(port, users.get(port.id)) for port in tx.networks.ports() if caller.acts_in(port.project_id)]

    def ports(self, caller: Caller) -> list[Port]:
        with self._repository.read() as tx:
            return [port for port in tx.networks.ports() if caller.acts_in(port.project_id)]

    @after_lost_race
    def add_network(self, caller: Caller, network: Network) -> Network:
        _require_admin(caller)
        with self._repository.write() as tx:
            tx.networks.add_network(network)
            return tx.networks.network(network.id)

    @after_lost_race
    def change_network(self, caller: Caller, network_id: str, change: Callable[[Network], Network]) -> Network:
        _require_admin(caller)
        with self._repository.write() as tx:
            tx.networks.save_network(change(tx.networks.network(network_id)))
            return tx.networks.network(network_id)

    @after_lost_race
    def remove_network(self, caller: Caller, network_id: str) -> None:
        """With its subnets. Raises `Conflict` while an address of them is taken."""
        _require_admin(caller)
        with self._repository.write() as tx:
            tx.networks.delete_network(network_id)

    @after_lost_race
    def add_subnet(self, caller: Caller, subnet: Subnet) -> Subnet:
        """Raises `NotFound` (network), `InvalidInput`, and `Conflict` when a device would serve an address twice."""
        _require_admin(caller)
        with self._repository.write() as tx:
            tx.networks.network(subnet.network_id)
            self._check(tx, subnet)
            tx.networks.add_subnet(subnet)
            return tx.networks.subnet(subnet.id)

    @after_lost_race
    def change_subnet(self, caller: Caller, subnet_id: str, change: Callable[[Subnet], Subnet]) -> Subnet:
        """What is taken already stays where it is."""
        _require_admin(caller)
        with self._repository.write() as tx:
            new = change(tx.networks.subnet(subnet_id))
            self._check(tx, new)
            tx.networks.save_subnet(new)
            return tx.networks.subnet(subnet_id)

    @after_lost_race
    def remove_subnet(self, caller: Caller, subnet_id: str) -> None:
        """Raises `Conflict` while one of its addresses is taken."""
        _require_admin(caller)
        with self._repository.write() as tx:
            tx.networks.delete_subnet(subnet_id)

    @after_lost_race
    def add_port(self, caller: Caller, port: Port) -> Port:
        """An empty address is chosen. Raises `NotFound` (network), `InvalidInput`, `Conflict`."""
        _require_admin(caller)
        with self._repository.write() as tx:
            tx.networks.network(port.network_id)
            own = [subnet for subnet in tx.networks.subnets() if subnet.network_id == port.network_id]
            wanted = port.fixed_ips or (FixedIp(subnet_id="", address=""),)
            taken = tuple(_fixed(tx, own, each) for each in wanted)
            tx.networks.add_port(replace(port, fixed_ips=taken))
            return tx.networks.port(port.id)

    @after_lost_race
    def remove_port(self, caller: Caller, port_id: str) -> None:
        """Raises `Conflict` while a load balancer has it."""
        _require_admin(caller)
        with self._repository.write() as tx:
            tx.networks.delete_port(port_id)

    @staticmethod
    def _check(tx: Transaction, subnet: Subnet) -> None:
        check_subnet(subnet)
        check_apart(subnet, tx.networks.subnets())
        unknown = set(subnet.device_ids) - {device.id for device in tx.devices()}
        if unknown:
            raise InvalidInput(f"device_ids: there is no device {min(unknown)}", field="device_ids")


def _fixed(tx: Transaction, subnets: Sequence[Subnet], wanted: FixedIp) -> FixedIp:
    named = [subnet for subnet in subnets if wanted.subnet_id in ("", subnet.id)]
    if wanted.address:
        named = [subnet for subnet in named if contains(subnet, wanted.address)]
    if not named:
        raise InvalidInput("fixed_ips names no subnet of the network", field="fixed_ips")
    rows = tx.networks
    others = _of_devices(tx, named)
    for candidate in named:
        subnet = rows.subnet(candidate.id)
        if wanted.address:
            check_usable(subnet, wanted.address)
            return FixedIp(subnet_id=subnet.id, address=wanted.address)
        address = first_free(subnet, rows.taken(subnet.id) | others)
        if address is not None:
            return FixedIp(subnet_id=subnet.id, address=address)
    raise Conflict(f"No address is left in {_named(named)}", field="fixed_ips")


def _sees(caller: Caller, network: Network) -> bool:
    return caller.acts_everywhere or may_use(network, caller.project_id)


def _require_admin(caller: Caller) -> None:
    if not caller.acts_everywhere:
        raise Forbidden("Networks are changed by administrators")
