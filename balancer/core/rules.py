"""What a load balancer must fulfil whatever the dialect: pure checks that raise, and pure answers."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable

from balancer.core.model import Bind, LoadBalancer, Reservation, Tree
from balancer.exceptions import Conflict, InvalidInput

WILDCARD = "*"
Address = tuple[str, int]


def normalise_address(text: str) -> str:
    """The one form in which addresses are stored and compared: ``"*"``, or a canonical IP address.

    Raises `ValueError` when it is neither.
    """
    if text in ("", WILDCARD, "0.0.0.0"):  # noqa: S104 - compared, not bound
        return WILDCARD
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id:
        raise ValueError("an address with a zone cannot be used")
    return str(address)


def say(address: Address) -> str:
    """For messages: ``192.0.2.1:80``, ``[2001:db8::1]:80``, ``every address, port 80``."""
    host, port = address
    if host == WILDCARD:
        return f"port {port} on every address"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def listener_addresses(load_balancer: LoadBalancer) -> list[tuple[str, Address]]:
    """(listener id, address) of everything the load balancer listens on, admin-down or not."""
    by_id = {vip.id: vip.address for vip in load_balancer.virtual_ips}
    return [
        (listener.id, (by_id[vip_id], listener.port))
        for listener in load_balancer.listeners
        for vip_id in (listener.virtual_ip_ids or by_id)
    ]


def wanted_addresses(load_balancer: LoadBalancer) -> set[Address]:
    """The (address, port) pairs a load balancer needs on its device."""
    return {address for _, address in listener_addresses(load_balancer)}


def wanted_reservations(load_balancer: LoadBalancer) -> list[Reservation]:
    return [
        Reservation(device_id=load_balancer.device_id, address=address, port=port, load_balancer_id=load_balancer.id)
        for address, port in sorted(wanted_addresses(load_balancer))
    ]


def check(tree: Tree) -> None:
    """Whether the tree makes sense in itself. Raises `InvalidInput` or `Conflict`."""
    balancer = tree.load_balancer
    pool_ids = {pool.id for pool in balancer.pools}
    virtual_ip_ids = {vip.id for vip in balancer.virtual_ips}
    for listener in balancer.listeners:
        pool_id = listener.default_pool_id
        if pool_id is not None and pool_id not in pool_ids:
            raise InvalidInput(f"Pool {pool_id} is not of this load balancer", field="default_pool_id")
        if not virtual_ip_ids.issuperset(listener.virtual_ip_ids):
            raise InvalidInput("A listener names a virtual IP of another load balancer", field="virtual_ip_ids")
    addresses = (address for _, address in listener_addresses(balancer))
    _refuse_twice(addresses, "virtual_ips", "asked for twice by this load balancer")
    for pool in balancer.pools:
        members = ((member.address, member.port) for member in pool.members)
        _refuse_twice(members, "members", "a node of this load balancer already")


def _refuse_twice(addresses: Iterable[Address], field: str, what: str) -> None:
    for address, times in Counter(addresses).items():
        if times > 1:
            raise Conflict(f"{say(address)} is {what}", field=field)


def binds_overlap(address: Address, binds: Iterable[Bind]) -> bool:
    """Whether one of the binds takes exactly this address and port.

    A wildcard beside a specific address does not count: the kernel gives the connection to the specific one.
    """
    host, port = address
    return any(bind.address == host and bind.first_port <= port <= bind.last_port for bind in binds)


def check_foreign_binds(load_balancer: LoadBalancer, binds: Iterable[Bind]) -> None:
    """Raises `Conflict` when a hand-written section of the device listens there."""
    binds = tuple(binds)
    for address in sorted(wanted_addresses(load_balancer)):
        if binds_overlap(address, binds):
            sentence = f"{say(address)} is used by a hand-written section of the device's configuration"
            raise Conflict(sentence, field="virtual_ips")
