"""The registered networks within a transaction: `balancer.core.ports.NetworkRows`."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, delete, insert, or_, select, update

from balancer.core.model import AddressRange, FixedIp, Network, Port, Subnet
from balancer.db.mapping import Row, Values
from balancer.db.prepared import Prepared
from balancer.db.tables import (
    devices,
    fixed_ips,
    load_balancers,
    network_ports,
    networks,
    pools,
    reservations,
    subnets,
    virtual_ips,
)
from balancer.exceptions import Conflict, InUse, NotFound


class SqlNetworkRows:
    """A subnet's row is the lock of its addresses: a transaction that is `locking` takes it before it looks which are
    free, and before it gives one back."""

    def __init__(self, connection: Connection, *, locking: bool, now: datetime) -> None:
        self._connection = connection
        self._locking = locking
        self._now = now

    # --- networks ---

    def networks(self) -> list[Network]:
        return [_network(row) for row in self._rows(_oldest_first(networks))]

    def network(self, network_id: str) -> Network:
        return _network(self._row(networks, "Network", network_id))

    def add_network(self, network: Network) -> None:
        self._insert(networks, _network_values(network))

    def save_network(self, network: Network) -> None:
        self._update(networks, "Network", _network_values(network))

    def delete_network(self, network_id: str) -> None:
        self.network(network_id)
        if self._rows(select(network_ports.c.id).where(network_ports.c.network_id == network_id).limit(1)):
            raise InUse(f"Network {network_id} has ports", kind="Network")
        # Its subnets go with it.
        pool_id = self._pool_naming(subnets.c.network_id == network_id)
        if pool_id is not None:
            raise InUse(f"Network {network_id} has a subnet that is in use by pool {pool_id}", kind="Network")
        self._connection.execute(delete(networks).where(networks.c.id == network_id))

    # --- subnets ---

    def subnets(self) -> list[Subnet]:
        return [_subnet(row) for row in _SUBNETS.rows(self._connection)]

    def subnet(self, subnet_id: str) -> Subnet:
        return _subnet(self._row(subnets, "Subnet", subnet_id, lock=True))

    def add_subnet(self, subnet: Subnet) -> None:
        self._insert(subnets, _subnet_values(subnet))

    def save_subnet(self, subnet: Subnet) -> None:
        self._update(subnets, "Subnet", _subnet_values(subnet))

    def delete_subnet(self, subnet_id: str) -> None:
        self.subnet(subnet_id)
        taken = self._rows(select(fixed_ips.c.address).where(fixed_ips.c.subnet_id == subnet_id).limit(1))
        if taken:
            raise InUse(
                f"Subnet {subnet_id} has addresses that are taken, {taken[0]['address']} for one", kind="Subnet"
            )
        pool_id = self._pool_naming(subnets.c.id == subnet_id)
        if pool_id is not None:
            raise InUse(f"Subnet {subnet_id} is in use by pool {pool_id}", kind="Subnet")
        self._connection.execute(delete(subnets).where(subnets.c.id == subnet_id))

    def _pool_naming(self, which: ColumnElement[bool]) -> str | None:
        """The id of a pool that has one of these subnets."""
        found: str | None = self._connection.scalar(
            select(pools.c.id)
            .join(subnets, subnets.c.id == pools.c.subnet_id)
            .join(load_balancers, load_balancers.c.id == pools.c.load_balancer_id)
            .where(which, load_balancers.c.deleted.is_(False))
            .limit(1)
        )
        return found

    # --- ports ---

    def ports(self) -> list[Port]:
        return self._ports(_oldest_first(network_ports))

    def port(self, port_id: str) -> Port:
        found = self._ports(select(network_ports).where(network_ports.c.id == port_id))
        if not found:
            raise NotFound("Port", port_id)
        return found[0]

    def port_at(self, subnet_id: str, address: str) -> Port | None:
        this = select(fixed_ips.c.port_id).where(fixed_ips.c.subnet_id == subnet_id, fixed_ips.c.address == address)
        found = self._ports(select(network_ports).where(network_ports.c.id.in_(this)))
        return found[0] if found else None

    def taken(self, subnet_id: str) -> set[str]:
        """Those too that load balancers had before the subnet was registered, and where devices are managed."""
        held = self._connection.scalars(select(fixed_ips.c.address).where(fixed_ips.c.subnet_id == subnet_id))
        older = select(virtual_ips.c.address).where(virtual_ips.c.port_id.is_(None), virtual_ips.c.address != "*")
        hosts = filter(_is_address, self._connection.scalars(select(devices.c.host)))
        return {*held, *self._connection.scalars(older.distinct()), *hosts}

    def add_port(self, port: Port) -> None:
        values = asdict(port)
        del values["fixed_ips"], values["created_at"], values["updated_at"]
        self._row(networks, "Network", port.network_id)
        for each in port.fixed_ips:
            self._row(subnets, "Subnet", each.subnet_id, lock=True)
            if self.port_at(each.subnet_id, each.address) is not None:
                raise Conflict(f"{each.address} is taken", field="address")
        self._insert(network_ports, values)
        rows = [{**asdict(each), "port_id": port.id, "ordinal": i} for i, each in enumerate(port.fixed_ips)]
        if rows:
            self._connection.execute(insert(fixed_ips), rows)

    def delete_port(self, port_id: str) -> None:
        for each in self.port(port_id).fixed_ips:
            self.subnet(each.subnet_id)
        users = self.users(port_id)
        if users:
            raise InUse(f"Port {port_id} is in use by load balancer {min(users)}", kind="ServicePort")
        self._connection.execute(delete(network_ports).where(network_ports.c.id == port_id))

    def users(self, port_id: str) -> dict[str, str]:
        """Those too that have left it and whose devices still serve it."""
        having = (
            select(load_balancers.c.id, load_balancers.c.device_id)
            .join(virtual_ips, virtual_ips.c.load_balancer_id == load_balancers.c.id)
            .where(virtual_ips.c.port_id == port_id)
        )
        found = {row["id"]: row["device_id"] for row in self._rows(having)}
        serving = (
            select(reservations.c.load_balancer_id, reservations.c.device_id, subnets.c.device_ids)
            .join(fixed_ips, fixed_ips.c.address == reservations.c.address)
            .join(subnets, subnets.c.id == fixed_ips.c.subnet_id)
            .where(fixed_ips.c.port_id == port_id)
        )
        for row in self._rows(serving):
            # Elsewhere the same address is another one.
            if not row["device_ids"] or row["device_id"] in row["device_ids"]:
                found.setdefault(row["load_balancer_id"], row["device_id"])
        return found

    def users_of_all(self) -> dict[str, str]:
        """A port that was made for a load balancer is its until it goes."""
        having = select(virtual_ips.c.port_id, virtual_ips.c.load_balancer_id).where(virtual_ips.c.port_id.is_not(None))
        made = select(network_ports.c.id, network_ports.c.load_balancer_id).where(
            network_ports.c.load_balancer_id.is_not(None)
        )
        found = {row["port_id"]: row["load_balancer_id"] for row in self._rows(having)}
        return found | {row["id"]: row["load_balancer_id"] for row in self._rows(made)}

    def release(self, *, port_ids: Collection[str] = (), addresses: Collection[str] = ()) -> None:
        """Give back those of the ports, and of the ports at the addresses, that were made for a load balancer and that
        nobody needs any more."""
        if not port_ids and not addresses:
            return
        at = select(fixed_ips.c.port_id).where(fixed_ips.c.address.in_(sorted(addresses)))
        candidates = self._ports(
            select(network_ports)
            .where(
                network_ports.c.load_balancer_id.is_not(None),
                or_(network_ports.c.id.in_(sorted(port_ids)), network_ports.c.id.in_(at)),
            )
            .order_by(network_ports.c.id)
        )
        for subnet_id in sorted({each.subnet_id for port in candidates for each in port.fixed_ips}):
            self.subnet(subnet_id)
        for port in candidates:
            users = self.users(port.id)
            this = network_ports.c.id == port.id
            if not users:
                self._connection.execute(delete(network_ports).where(this))
            elif port.load_balancer_id not in users:
                # Of those who share it, another one.
                self._connection.execute(update(network_ports).where(this).values(load_balancer_id=min(users)))

    # --- rows ---

    def _rows(self, query: Select[Any]) -> Sequence[Row]:
        return self._connection.execute(query).mappings().all()

    def _row(self, table: Table, kind: str, object_id: str, *, lock: bool = False) -> Row:
        query = select(table).where(table.c.id == object_id)
        rows = self._rows(query.with_for_update() if lock and self._locking else query)
        if not rows:
            raise NotFound(kind, object_id)
        return rows[0]

    def _insert(self, table: Table, values: Values) -> None:
        self._connection.execute(insert(table).values(**values, created_at=self._now, updated_at=self._now))

    def _update(self, table: Table, kind: str, values: Values) -> None:
        before = self._row(table, kind, values["id"])
        if any(before[name] != value for name, value in values.items()):
            this = table.c.id == values["id"]
            self._connection.execute(update(table).where(this).values(**values, updated_at=self._now))

    def _ports(self, query: Select[Any]) -> list[Port]:
        rows = self._rows(query)
        these = query.with_only_columns(network_ports.c.id).order_by(None)
        addresses = select(fixed_ips).where(fixed_ips.c.port_id.in_(these)).order_by(fixed_ips.c.ordinal)
        held: dict[str, list[FixedIp]] = {}
        for row in self._rows(addresses) if rows else ():
            held.setdefault(row["port_id"], []).append(FixedIp(subnet_id=row["subnet_id"], address=row["address"]))
        return [Port(**row, fixed_ips=tuple(held.get(row["id"], ()))) for row in rows]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _oldest_first(table: Table) -> Select[Any]:
    return select(table).order_by(table.c.created_at, table.c.id)


_SUBNETS = Prepared(_oldest_first(subnets))


def _network(row: Row) -> Network:
    return Network(**row)


def _network_values(network: Network) -> Values:
    return _without_times(asdict(network))


def _subnet(row: Row) -> Subnet:
    ranges: Iterable[Mapping[str, str]] = row["ranges"]
    return Subnet(
        **{
            **row,
            "ranges": tuple(AddressRange(**each) for each in ranges),
            "device_ids": tuple(row["device_ids"]),
        }
    )


def _subnet_values(subnet: Subnet) -> Values:
    values = _without_times(asdict(subnet))
    return {**values, "ranges": list(values["ranges"]), "device_ids": list(values["device_ids"])}


def _without_times(values: Values) -> Values:
    return {name: value for name, value in values.items() if name not in ("created_at", "updated_at")}
