"""Changes of a load balancer: pure functions from one tree to the next.

Each function here returns a `Change`; the service loads the tree, applies the change, checks the rules and saves
the result. An unknown child raises `NotFound`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from balancer.core import rules
from balancer.core.model import (
    HealthMonitor,
    L7Policy,
    L7Rule,
    Listener,
    LoadBalancer,
    Member,
    Pool,
    SessionPersistence,
    Tree,
    VirtualIp,
    new_id,
)
from balancer.exceptions import Conflict, InvalidInput, NotFound

Change = Callable[[Tree], Tree]
_Child = TypeVar("_Child", Listener, Member, Pool, HealthMonitor, L7Policy, L7Rule)


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


def together(*changes: Change) -> Change:
    """One after the other."""

    def apply(tree: Tree) -> Tree:
        for change in changes:
            tree = change(tree)
        return tree

    return apply


def delete(tree: Tree) -> Tree:
    """The load balancer, with all that is below it."""
    return _with(tree, deleted=True)


def update_load_balancer(change: Callable[[LoadBalancer], LoadBalancer]) -> Change:
    return lambda tree: replace(tree, load_balancer=change(tree.load_balancer))


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
    """The listener, new or changed, at that virtual IP alone; one with an equal address is shared, with the mask
    asked for here. Virtual IPs that nothing listens on any more go."""

    def apply(tree: Tree) -> Tree:
        balancer = tree.load_balancer
        present = next((vip for vip in balancer.virtual_ips if vip.address == virtual_ip.address), None)
        if present is None:
            at = replace(virtual_ip, id=new_id(), lasting=False)
        else:
            at = replace(present, asked_length=virtual_ip.asked_length)
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
    """Without those that no listener names and that are not lasting. One listener at all of them keeps all."""
    balancer = tree.load_balancer
    if any(not listener.virtual_ip_ids for listener in balancer.listeners):
        return tree
    used = {vip_id for listener in balancer.listeners for vip_id in listener.virtual_ip_ids}
    return _with(tree, virtual_ips=tuple(vip for vip in balancer.virtual_ips if vip.id in used or vip.lasting))


# --- health monitors ----------------------------------------------------------


def add_monitor(monitor: HealthMonitor, pool_id: str | None = None) -> Change:
    def apply(tree: Tree) -> Tree:
        associate = update_pool(
            lambda pool: replace(pool, health_monitor_ids=(*pool.health_monitor_ids, monitor.id)), pool_id
        )
        return replace(associate(tree), monitors=(*tree.monitors, monitor))

    return apply


def associate_monitor(monitor: HealthMonitor, pool_id: str) -> Change:
    """The pool uses the monitor, which is there already, besides those that it has."""

    def apply(tree: Tree) -> Tree:
        after = update_pool(
            lambda pool: replace(pool, health_monitor_ids=(*pool.health_monitor_ids, monitor.id)), pool_id
        )(tree)
        known = any(each.id == monitor.id for each in tree.monitors)
        return after if known else replace(after, monitors=(*tree.monitors, monitor))

    return apply


def disassociate_monitor(monitor_id: str, pool_id: str) -> Change:
    """The pool uses the monitor no more, which stays, also when nothing uses it then. Raises `NotFound`."""

    def apply(tree: Tree) -> Tree:
        left = without(tree.monitors, monitor_id, "Health monitor")
        after = update_pool(
            lambda pool: replace(
                pool, health_monitor_ids=tuple(each for each in pool.health_monitor_ids if each != monitor_id)
            ),
            pool_id,
        )(tree)
        if any(monitor_id in pool.health_monitor_ids for pool in after.load_balancer.pools):
            return after
        released = (each for each in tree.monitors if each.id == monitor_id)
        return replace(after, monitors=left, released=(*tree.released, *released))

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


# --- with the checks of what goes together --------------------------------------------------------------
# A change of one object is refused for that object's sake, and for no other that was there before.


def add_listener(listener: Listener) -> Change:
    """At all virtual IPs. Its L7 policies are numbered in their order."""

    def apply(tree: Tree) -> Tree:
        added = replace(listener, l7_policies=_numbered(listener.l7_policies))
        after = _with(tree, listeners=(*tree.load_balancer.listeners, added))
        rules.check_listener(after.load_balancer, added)
        for policy in added.l7_policies:
            rules.check_l7_policy(after.load_balancer, added, policy)
        return after

    return apply


def change_listener(listener_id: str, change: Callable[[Listener], Listener]) -> Change:
    def apply(tree: Tree) -> Tree:
        before = _listener(tree.load_balancer, listener_id)
        after = _with(tree, listeners=replaced(tree.load_balancer.listeners, listener_id, "Listener", change))
        rules.check_listener(after.load_balancer, _listener(after.load_balancer, listener_id), before)
        return after

    return apply


def _listener(balancer: LoadBalancer, listener_id: str) -> Listener:
    for listener in balancer.listeners:
        if listener.id == listener_id:
            return listener
    raise NotFound("Listener", listener_id)


def add_pool(pool: Pool, *, listener_id: str | None = None) -> Change:
    """`listener_id`: the listener whose default pool it becomes; one that has another already raises `Conflict`."""

    def apply(tree: Tree) -> Tree:
        balancer = tree.load_balancer
        after = _with(tree, pools=(*balancer.pools, pool))
        if listener_id is not None:
            listener = _listener(balancer, listener_id)
            if listener.default_pool_id is not None:
                raise Conflict(
                    f"Listener {listener_id} has the default pool {listener.default_pool_id} already",
                    field="listener_id",
                )
            rules.check_behind(listener, pool, "protocol")
            after = replace_listener(listener_id, lambda each: replace(each, default_pool_id=pool.id))(after)
        if pool.session_persistence is not None:
            rules.check_persistence(pool.protocol, pool.session_persistence)
        return after

    return apply


def change_pool(pool_id: str, change: Callable[[Pool], Pool]) -> Change:
    def apply(tree: Tree) -> Tree:
        before = _pool(tree.load_balancer, pool_id)
        after = update_pool(change, pool_id)(tree)
        persistence = _pool(after.load_balancer, pool_id).session_persistence
        if persistence is not None and persistence != before.session_persistence:
            rules.check_persistence(before.protocol, persistence)
        return after

    return apply


def remove_pool(pool_id: str) -> Change:
    """With its members and the health monitors that nothing else here uses; listeners lose it as their default.

    Raises `Conflict` while an L7 policy redirects to it.
    """

    def apply(tree: Tree) -> Tree:
        balancer = tree.load_balancer
        pools = without(balancer.pools, pool_id, "Pool")
        for listener in balancer.listeners:
            for policy in listener.l7_policies:
                if policy.redirect.get("pool_id") == pool_id:
                    raise Conflict(f"Pool {pool_id} is in use by L7 policy {policy.id}", field="pool_id")
        listeners = tuple(
            replace(each, default_pool_id=None) if each.default_pool_id == pool_id else each
            for each in balancer.listeners
        )
        used = {monitor_id for pool in pools for monitor_id in pool.health_monitor_ids}
        gone = set(_pool(balancer, pool_id).health_monitor_ids) - used
        monitors = tuple(monitor for monitor in tree.monitors if monitor.id not in gone)
        return replace(_with(tree, pools=pools, listeners=listeners), monitors=monitors)

    return apply


def set_members(
    pool_id: str, wanted: Sequence[tuple[Member, Callable[[Member], Member]]], *, additive: bool = False
) -> Change:
    """The pool's members, told apart by address and port: for each that is wanted the new one, and what to make of
    one that is there. Whoever is not among them goes, unless `additive`."""

    def apply(tree: Tree) -> Tree:
        present = {
            rules.member_key(member.address, member.port): member
            for member in _pool(tree.load_balancer, pool_id).members
        }
        kept: dict[rules.Address, Member] = dict(present) if additive else {}
        new: list[Member] = []
        seen: set[rules.Address] = set()
        for member, change in wanted:
            key = rules.member_key(member.address, member.port)
            old = present.get(key)
            if old is None:
                new.append(member)
            elif key in seen:
                raise InvalidInput(f"members: {rules.say(key)} is there twice", field="members")
            else:
                kept[key] = change(old)
            seen.add(key)
        # Who stays keeps its place.
        members = (*(kept[key] for key in present if key in kept), *new)
        return update_pool(lambda pool: replace(pool, members=members), pool_id)(tree)

    return apply


def add_only_monitor(monitor: HealthMonitor, pool_id: str) -> Change:
    """Raises `Conflict` when the pool has one already."""

    def apply(tree: Tree) -> Tree:
        pool = _pool(tree.load_balancer, pool_id)
        if pool.health_monitor_ids:
            raise Conflict(f"Pool {pool_id} has the health monitor {pool.health_monitor_ids[0]} already")
        rules.check_monitor(pool, monitor)
        return add_monitor(monitor, pool_id)(tree)

    return apply


def change_monitor(monitor_id: str, change: Callable[[HealthMonitor], HealthMonitor]) -> Change:
    """Of a health monitor that one pool uses; raises `Conflict` for one that several share."""

    def apply(tree: Tree) -> Tree:
        after = replace(tree, monitors=replaced(tree.monitors, monitor_id, "Health monitor", change))
        (monitor,) = (each for each in after.monitors if each.id == monitor_id)
        rules.check_monitor(_only_user(tree, monitor_id), monitor)
        return after

    return apply


def remove_only_monitor(monitor_id: str) -> Change:
    """Of a health monitor that one pool uses; raises `Conflict` for one that several share."""

    def apply(tree: Tree) -> Tree:
        after = remove_monitor(monitor_id)(tree)
        _only_user(tree, monitor_id)
        return after

    return apply


def _only_user(tree: Tree, monitor_id: str) -> Pool:
    users = [pool for pool in tree.load_balancer.pools if monitor_id in pool.health_monitor_ids]
    if len(users) != 1 or monitor_id in tree.shared:
        raise Conflict(f"Health monitor {monitor_id} is shared by several pools: change it in the API of LBaaS v1")
    owners = {each.project_id for each in tree.monitors if each.id == monitor_id}
    if owners - {tree.load_balancer.project_id}:
        raise Conflict(f"Health monitor {monitor_id} is another project's, and an administrator gave it to this pool")
    return users[0]


# --- L7 policies and rules ------------------------------------------------------------------------------


def _numbered(policies: Sequence[L7Policy]) -> tuple[L7Policy, ...]:
    """In the order of their positions (of their places where these are the same), which become 1..n."""
    ordered = sorted(policies, key=lambda policy: policy.position)
    return tuple(replace(policy, position=number) for number, policy in enumerate(ordered, 1))


def _placed(policies: Sequence[L7Policy], policy: L7Policy) -> tuple[L7Policy, ...]:
    """The policy where it wants to be; those behind move on."""
    others = [each for each in policies if each.id != policy.id]
    others.insert(policy.position - 1, policy)
    return tuple(replace(each, position=number) for number, each in enumerate(others, 1))


def settle_redirect(policy: L7Policy) -> L7Policy:
    """With what its action needs, and nothing else."""
    target = rules.REDIRECT_TARGETS[policy.action]
    redirect = {} if target is None else {target: policy.redirect.get(target)}
    if target in ("url", "prefix"):
        redirect["http_code"] = policy.redirect.get("http_code") or rules.DEFAULT_REDIRECT_CODE
    return replace(policy, redirect=redirect)


def add_l7_policy(listener_id: str, policy: L7Policy) -> Change:
    """At its position; a position beyond the last one makes it the last one."""
    return _l7_policies(listener_id, lambda policies: _placed(policies, settle_redirect(policy)), checked=policy.id)


def change_l7_policy(policy_id: str, change: Callable[[L7Policy], L7Policy]) -> Change:
    def apply(tree: Tree) -> Tree:
        listener, old = _policy(tree, policy_id)
        new = settle_redirect(change(old))
        return _l7_policies(listener.id, lambda policies: _placed(policies, new), checked=policy_id)(tree)

    return apply


def remove_l7_policy(policy_id: str) -> Change:
    def apply(tree: Tree) -> Tree:
        listener, _ = _policy(tree, policy_id)
        return _l7_policies(listener.id, lambda policies: _numbered(without(policies, policy_id, "L7Policy")))(tree)

    return apply


def add_l7_rule(policy_id: str, rule: L7Rule) -> Change:
    return _l7_rules(policy_id, lambda present: (*present, rule))


def change_l7_rule(policy_id: str, rule_id: str, change: Callable[[L7Rule], L7Rule]) -> Change:
    return _l7_rules(policy_id, lambda present: replaced(present, rule_id, "L7Rule", change))


def remove_l7_rule(policy_id: str, rule_id: str) -> Change:
    return _l7_rules(policy_id, lambda present: without(present, rule_id, "L7Rule"))


def _l7_rules(policy_id: str, change: Callable[[tuple[L7Rule, ...]], tuple[L7Rule, ...]]) -> Change:
    def apply(tree: Tree) -> Tree:
        listener, policy = _policy(tree, policy_id)
        new = replace(policy, rules=change(policy.rules))
        return _l7_policies(
            listener.id, lambda policies: replaced(policies, policy_id, "L7Policy", lambda _: new), checked=policy_id
        )(tree)

    return apply


def _policy(tree: Tree, policy_id: str) -> tuple[Listener, L7Policy]:
    for listener in tree.load_balancer.listeners:
        for policy in listener.l7_policies:
            if policy.id == policy_id:
                return listener, policy
    raise NotFound("L7Policy", policy_id)


def _l7_policies(
    listener_id: str,
    change: Callable[[tuple[L7Policy, ...]], tuple[L7Policy, ...]],
    *,
    checked: str | None = None,
) -> Change:
    """`checked`: the id of the policy that is new or changed."""

    def apply(tree: Tree) -> Tree:
        listener = _listener(tree.load_balancer, listener_id)
        changed = replace(listener, l7_policies=change(listener.l7_policies))
        for policy in changed.l7_policies:
            if policy.id == checked:
                rules.check_l7_policy(tree.load_balancer, changed, policy)
        return replace_listener(listener_id, lambda _: changed)(tree)

    return apply
