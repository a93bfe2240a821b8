"""Changes of a load balancer: pure functions from one tree to the next.

Each function here returns a `Change`; the service loads the tree, applies the change, checks the rules and saves
the result. An unknown child raises `NotFound`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from balancer.core.model import (
    HealthMonitor,
    Listener,
    LoadBalancer,
    Member,
    Pool,
    SessionPersistence,
    Tree,
    VirtualIp,
    new_id,
)
from balancer.exceptions import NotFound

Change = Callable[[Tree], Tree]
_Child = TypeVar("_Child", Listener, Member, Pool, HealthMonitor)


def replaced(
    children: Sequence[_Child], child_id: str, kind: str, change: Callable[[_Child], _Child]
) -> tuple[_Child, ...]:
    """The children with the one of that id changed. Raises `NotFound`."""
    if all(child.id != child_id for child in children):
        raise NotFound(kind, child_id)
    return tuple(change(child) if child.id == child_id else child for child in children)


def without(children: Sequence[_Child], child_id: str, kind: str) -> tuple[_Child, ...]:
    """The children without the one of that id. Raises `NotFound`."""
    left = tuple(child for child in children if child.id != child_id)
    if len(left) == len(children):
        raise NotFound(kind, child_id)
    return left


def _with(tree: Tree, **fields: Any) -> Tree:
    return replace(tree, load_balancer=replace(tree.load_balancer, **fields))


def _pool(load_balancer: LoadBalancer, pool_id: str | None) -> Pool:
    """The pool of that id; None means the only one."""
    if pool_id is None:
        (pool,) = load_balancer.pools
        return pool
    for pool in load_balancer.pools:
        if pool.id == pool_id:
            return pool
    raise NotFound("Pool", pool_id)


# --- pools and members. `pool_id` None means the load balancer's only pool. ---


def update_pool(change: Callable[[Pool], Pool], pool_id: str | None = None) -> Change:
    def apply(tree: Tree) -> Tree:
        pool = _pool(tree.load_balancer, pool_id)
        return _with(tree, pools=replaced(tree.load_balancer.pools, pool.id, "Pool", change))

    return apply


def add_members(*members: Member, pool_id: str | None = None) -> Change:
    return update_pool(lambda pool: replace(pool, members=pool.members + members), pool_id)


def replace_member(member_id: str, change: Callable[[Member], Member], pool_id: str | None = None) -> Change:
    return update_pool(lambda pool: replace(pool, members=replaced(pool.members, member_id, "Node", change)), pool_id)


def remove_member(member_id: str, pool_id: str | None = None) -> Change:
    return update_pool(lambda pool: replace(pool, members=without(pool.members, member_id, "Node")), pool_id)


def set_persistence(persistence: SessionPersistence | None, pool_id: str | None = None) -> Change:
    """Give the pool this session persistence, or none."""
    return update_pool(lambda pool: replace(pool, session_persistence=persistence), pool_id)


def remove_persistence(persistence_id: str) -> Change:
    def change(pool: Pool) -> Pool:
        if pool.session_persistence is None or pool.session_persistence.id != persistence_id:
            raise NotFound("Session persistence", persistence_id)
        return replace(pool, session_persistence=None)

    return update_pool(change)


# --- listeners and virtual IPs ------------------------------------------------


def place_listener(listener: Listener, virtual_ip: VirtualIp) -> Change:
    """The listener, new or changed, at that virtual IP alone; one with an equal address is shared, with the prefix
    length given here. Virtual IPs that nothing listens on any more go."""

    def apply(tree: Tree) -> Tree:
        balancer = tree.load_balancer
        present = next((vip for vip in balancer.virtual_ips if vip.address == virtual_ip.address), None)
        at = replace(virtual_ip, id=present.id if present else new_id())
        placed = replace(listener, virtual_ip_ids=(at.id,))
        if present is None:
            virtual_ips = (*balancer.virtual_ips, at)
        else:
            virtual_ips = tuple(at if vip.id == at.id else vip for vip in balancer.virtual_ips)
        if any(each.id == listener.id for each in balancer.listeners):
            listeners = tuple(placed if each.id == listener.id else each for each in balancer.listeners)
        else:
            listeners = (*balancer.listeners, placed)
        return drop_unused_virtual_ips(_with(tree, virtual_ips=virtual_ips, listeners=listeners))

    return apply


def replace_listener(listener_id: str, change: Callable[[Listener], Listener]) -> Change:
    return lambda tree: _with(tree, listeners=replaced(tree.load_balancer.listeners, listener_id, "Virtual IP", change))


def remove_listener(listener_id: str) -> Change:
    """Remove a listener, and the virtual IPs that nothing listens on any more."""

    def apply(tree: Tree) -> Tree:
        listeners = without(tree.load_balancer.listeners, listener_id, "Virtual IP")
        return drop_unused_virtual_ips(_with(tree, listeners=listeners))

    return apply


def drop_unused_virtual_ips(tree: Tree) -> Tree:
    """Without the virtual IPs that no listener names. One listener at all of them keeps all."""
    balancer = tree.load_balancer
    if any(not listener.virtual_ip_ids for listener in balancer.listeners):
        return tree
    used = {vip_id for listener in balancer.listeners for vip_id in listener.virtual_ip_ids}
    return _with(tree, virtual_ips=tuple(vip for vip in balancer.virtual_ips if vip.id in used))


# --- health monitors ----------------------------------------------------------


def add_monitor(monitor: HealthMonitor, pool_id: str | None = None) -> Change:
    def apply(tree: Tree) -> Tree:
        associate = update_pool(
            lambda pool: replace(pool, health_monitor_ids=(*pool.health_monitor_ids, monitor.id)), pool_id
        )
        return replace(associate(tree), monitors=(*tree.monitors, monitor))

    return apply


def remove_monitor(monitor_id: str) -> Change:
    """Take the monitor off every pool of the load balancer."""

    def apply(tree: Tree) -> Tree:
        monitors = without(tree.monitors, monitor_id, "Health monitor")
        pools = tuple(
            replace(pool, health_monitor_ids=tuple(i for i in pool.health_monitor_ids if i != monitor_id))
            for pool in tree.load_balancer.pools
        )
        return replace(_with(tree, pools=pools), monitors=monitors)

    return apply
