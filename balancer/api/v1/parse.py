"""Request bodies of the balancer API, turned into objects of the model and into changes of them.

Everything is validated before the service is called; what depends on the stored object is checked in the change.
All raise `InvalidInput` with the path of the field; a change that this dialect cannot express raises `Conflict`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from balancer.api import terms
from balancer.api.v1 import names, objects, schemas
from balancer.api.v1.objects import Balancer, Kind, ListenerAt
from balancer.api.validation import Reader, below, names_it, object_id
from balancer.core import changes
from balancer.core.changes import Change
from balancer.core.model import (
    Capabilities,
    Device,
    HealthMonitor,
    Member,
    Pool,
    Protocol,
    QuotaResource,
    SessionPersistence,
    Tree,
    VirtualIp,
)
from balancer.exceptions import Conflict, InvalidInput, NotFound

Body = Mapping[str, Any]

_CHILD_LISTS = ("nodes", "virtualIps", "healthMonitor", "sessionPersistence")


# --- shapes of bodies -------------------------------------------------------------------


def unwrapped(body: Body, *keys: str) -> tuple[Body, str]:
    """The object in a body that may be ``{key: object}`` or the object itself, and its path for messages."""
    for key in keys:
        if key in body and (len(body) == 1 or isinstance(body[key], dict)):
            _only(body, key)
            if not isinstance(body[key], dict):
                raise InvalidInput(f"{key} must be an object", field=key)
            return body[key], key
    return body, ""


def _only(body: Body, key: str) -> None:
    other = next((name for name in body if name != key), None)
    if other is not None:
        raise InvalidInput(f"{other} is not expected beside {key}", field=other)


def path_id(kind: str, text: str) -> str:
    """An id from a path. What is no id cannot be found: raises `NotFound`."""
    try:
        return object_id(text)
    except ValueError:
        raise NotFound(kind, text) from None


def marker(text: str) -> str:
    """An id from the query. Raises `InvalidInput`."""
    try:
        return object_id(text)
    except ValueError:
        raise InvalidInput("marker must be the id of something in the list", field="marker") from None


def path_number(kind: str, text: str) -> int:
    """A number from a path. Raises `NotFound`."""
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise NotFound(kind, text)
    return int(text)


def _only_pool(tree: Tree) -> Pool:
    """Raises `Conflict` for a load balancer of another dialect that has none or several."""
    pools = tree.load_balancer.pools
    if len(pools) != 1:
        raise Conflict(
            f"Load balancer {tree.load_balancer.id} has {len(pools)} pools, which this API cannot express; "
            "change it in the API in which it was made"
        )
    return pools[0]


def _with_only_pool(change: Change) -> Change:
    def apply(tree: Tree) -> Tree:
        _only_pool(tree)
        return change(tree)

    return apply


# --- what the devices offer -----------------------------------------------------------------


def algorithm_names(offered: Capabilities) -> list[str]:
    return [terms.ALGORITHMS[algorithm] for algorithm in offered.algorithms]


def protocol_names(offered: Capabilities) -> list[str]:
    return [protocol.value for protocol in offered.protocols if protocol in names.PROTOCOLS]


def _check_offered(field: str, value: str, offered: list[str]) -> None:
    """Without any device nothing is offered; then it is the scheduler who says so."""
    if offered and value not in offered:
        raise InvalidInput(f"{field} {value} is offered by no device; there is {', '.join(offered)}", field=field)


def _check_protocol(field: str, protocol: Protocol, offered: Capabilities) -> None:
    _check_offered(field, protocol.value, protocol_names(offered))


def _check_algorithm(pool: Pool, offered: Capabilities) -> None:
    _check_offered("algorithm", terms.ALGORITHMS[pool.algorithm], algorithm_names(offered))


# --- devices ------------------------------------------------------------------------------------


def device(body: Body) -> Device:
    sent, path = unwrapped(body, "device")
    new = objects.DEVICE.read(sent, path=path).on(objects.new_device())
    return _with_credential(new)


def device_change(body: Body) -> Callable[[Device], Device]:
    sent, path = unwrapped(body, "device")
    edit = objects.DEVICE.read(sent, path=path, partial=True)
    return lambda old: _with_credential(edit.on(old))


def _with_credential(new: Device) -> Device:
    credential = new.endpoint.credential
    if not (credential.password or credential.private_key or credential.key_filename):
        raise InvalidInput("password is required, unless there is a private_key or a key_filename", field="password")
    return new


# --- quotas -------------------------------------------------------------------------------------


_QUOTA = Reader(schemas.QUOTA)
_QUOTA_RESOURCES = {name: resource for resource, name in names.QUOTAS.items()}


def quotas(body: Body) -> dict[QuotaResource, int | None]:
    """What is to be changed; None: the default."""
    sent, path = unwrapped(body, "quota")
    unknown = next((key for key in sent if key not in _QUOTA_RESOURCES), None)
    if unknown is not None:
        field = f"{path}.{unknown}" if path else unknown
        raise InvalidInput(f"{field} is not known; there is {', '.join(_QUOTA_RESOURCES)}", field=field)
    return {_QUOTA_RESOURCES[key]: limit for key, limit in _QUOTA.read(sent, path=path, partial=True).items()}


# --- load balancers --------------------------------------------------------------------------------


def load_balancer(body: Body, project_id: str, offered: Capabilities) -> tuple[Tree, str | None]:
    """A new load balancer with its children, and the id of the device that it is to be pinned to, if any."""
    sent, path = unwrapped(body, "loadbalancer")
    children = objects.CREATION.read(sent, path=path)
    own = {key: value for key, value in sent.items() if key not in _CHILD_LISTS}
    balancer, pool = objects.BALANCER.read(own, path=path).on(objects.new_balancer(project_id))
    assert pool is not None
    _check_algorithm(pool, offered)
    _check_protocol("protocol", pool.protocol, offered)
    tree = Tree(load_balancer=replace(balancer, pools=(pool,)))
    for number, child in enumerate(children["nodes"] or ()):
        member = _new(objects.NODE, objects.new_member(), child, _item(path, "nodes", number))
        tree = changes.add_members(member)(tree)
    for number, child in enumerate(children["virtualIps"] or ()):
        at = _item(path, "virtualIps", number)
        item = _new(objects.VIRTUAL_IP, objects.new_virtual_ip(pool.protocol, pool.id), child, at)
        _check_protocol(f"{at}.protocol", item.listener.protocol, offered)
        with below(at):
            tree = _placed(tree, item)
    for number, child in enumerate(children["healthMonitor"] or ()):
        at = _item(path, "healthMonitor", number)
        monitor = _new(objects.HEALTH_MONITORING, objects.new_monitor(project_id), child, at)
        tree = changes.add_monitor(monitor)(tree)
    for number, child in enumerate(children["sessionPersistence"] or ()):
        at = _item(path, "sessionPersistence", number)
        sticky = _new(objects.SESSION_PERSISTENCE, objects.new_persistence(), child, at)
        tree = changes.set_persistence(sticky)(tree)
    device_id: str | None = children.get("device_id")
    return tree, device_id


def _item(path: str, key: str, number: int) -> str:
    return f"{path}.{key}[{number}]" if path else f"{key}[{number}]"


def _new(kind: Kind[Any], blank: Any, sent: Body, path: str) -> Any:
    return kind.read(sent, path=path).on(blank)


def load_balancer_change(body: Body, offered: Capabilities) -> Change:
    """Its own attributes. Virtual IPs that had the load balancer's protocol follow a change of it."""
    sent, path = unwrapped(body, "loadbalancer")
    for key in _CHILD_LISTS:
        if key in sent:
            raise InvalidInput(f"{key} is changed at a path of its own, not here", field=key)
    edit = objects.BALANCER.read(sent, path=path, partial=True)

    def apply(tree: Tree) -> Tree:
        old = _only_pool(tree)
        if sent.get("device_id") not in (None, tree.load_balancer.device_id):
            raise InvalidInput("device_id cannot be changed", field="device_id")
        balancer, pool = edit.on(Balancer(tree.load_balancer, old))
        assert pool is not None
        # What is as it was may be of another dialect.
        if pool.algorithm is not old.algorithm:
            _check_algorithm(pool, offered)
        if pool.protocol is not old.protocol:
            _check_protocol("protocol", pool.protocol, offered)
        listeners = tuple(
            objects.with_protocol(listener, pool.protocol) if listener.protocol is old.protocol else listener
            for listener in balancer.listeners
        )
        return replace(tree, load_balancer=replace(balancer, pools=(pool,), listeners=listeners))

    return apply


# --- nodes --------------------------------------------------------------------------------------------


def nodes(body: Body) -> tuple[tuple[Member, ...], Change]:
    """New nodes, from ``{"nodes": […]}`` or ``{"node": {…}}``, and the change that adds them."""
    if "node" in body:
        _only(body, "node")
        body = {"nodes": [body["node"]]}
    if "nodes" not in body:
        raise InvalidInput("nodes is required: a list of nodes", field="nodes")
    _only(body, "nodes")
    listed = objects.CREATION.read(body, partial=True)["nodes"]
    if not listed:
        raise InvalidInput("nodes must have at least one node", field="nodes")
    members = tuple(
        _new(objects.NODE, objects.new_member(), child, _item("", "nodes", number))
        for number, child in enumerate(listed)
    )
    return members, _with_only_pool(changes.add_members(*members))


def node_change(node_id: str, body: Body) -> Change:
    sent, path = unwrapped(body, "node")
    edit = objects.NODE.read(sent, path=path, partial=True)
    return _with_only_pool(changes.replace_member(node_id, edit.on))


def node_status_change(node_id: str, status: str) -> Change:
    """The last part of ``…/nodes/{id}/{status}``."""
    if not any(names_it(status, name) for name in objects.ROTATION_NAMES):
        raise InvalidInput(f"status must be one of {', '.join(objects.ROTATION_NAMES)}", field="status")
    edit = objects.NODE.read({"status": status.upper()}, partial=True)
    return _with_only_pool(changes.replace_member(node_id, edit.on))


def without_node(node_id: str) -> Change:
    return _with_only_pool(changes.remove_member(node_id))


# --- virtual IPs -----------------------------------------------------------------------------------------


def virtual_ip(body: Body, offered: Capabilities) -> tuple[str, Change]:
    """The id of the new virtual IP and the change that adds it."""
    sent, path = unwrapped(body, "virtualIp")
    edit = objects.VIRTUAL_IP.read(sent, path=path)
    # Its protocol may be the load balancer's, which only the change knows; the ids are decided here.
    blank = objects.new_virtual_ip(Protocol.TCP, "")

    def apply(tree: Tree) -> Tree:
        pool = _only_pool(tree)
        if pool.protocol not in names.PROTOCOLS and "protocol" not in sent:
            raise Conflict(
                f"The nodes of load balancer {tree.load_balancer.id} speak {pool.protocol}, which no virtual IP does "
                "in this API: give its protocol",
                field="protocol",
            )
        listener = replace(objects.with_protocol(blank.listener, pool.protocol), default_pool_id=pool.id)
        item = edit.on(ListenerAt(listener, blank.virtual_ip))
        _check_protocol("protocol", item.listener.protocol, offered)
        return _placed(tree, item)

    return blank.listener.id, apply


def virtual_ip_change(virtual_ip_id: str, body: Body, offered: Capabilities) -> Change:
    sent, path = unwrapped(body, "virtualIp")
    edit = objects.VIRTUAL_IP.read(sent, path=path, partial=True)

    def apply(tree: Tree) -> Tree:
        old = _listener_at(tree, virtual_ip_id)
        new = edit.on(old)
        if new.listener.protocol is not old.listener.protocol:
            _check_protocol("protocol", new.listener.protocol, offered)
        if "mask" not in edit.values and new.virtual_ip.address != old.virtual_ip.address:
            present = _address(tree, new.virtual_ip.address)
            if present is not None:
                new = ListenerAt(new.listener, replace(new.virtual_ip, asked_length=present.asked_length))
        if new.virtual_ip == old.virtual_ip:
            return changes.replace_listener(virtual_ip_id, lambda _: new.listener)(tree)
        return _placed(tree, new)

    return apply


def _listener_at(tree: Tree, virtual_ip_id: str) -> ListenerAt:
    """Raises `NotFound`, or `Conflict` for a listener of another dialect at several addresses."""
    balancer = tree.load_balancer
    listener = next((item for item in balancer.listeners if item.id == virtual_ip_id), None)
    if listener is None:
        raise NotFound("Virtual IP", virtual_ip_id)
    ids = listener.virtual_ip_ids or [vip.id for vip in balancer.virtual_ips]
    addresses = [vip for vip in balancer.virtual_ips if vip.id in ids]
    if len(addresses) != 1:
        raise Conflict(
            f"Virtual IP {virtual_ip_id} has {len(addresses)} addresses, which this API cannot express; "
            "change it in the API in which it was made"
        )
    return ListenerAt(listener, addresses[0])


def _address(tree: Tree, address: str) -> VirtualIp | None:
    return next((vip for vip in tree.load_balancer.virtual_ips if vip.address == address), None)


def _placed(tree: Tree, item: ListenerAt) -> Tree:
    """The listener, new or changed, at its address; one address has one mask within a load balancer."""
    listener, wanted = item
    present = _address(tree, wanted.address)
    if present is not None:
        length = present.asked_length if wanted.asked_length is None else wanted.asked_length
        if present.id != wanted.id and present.asked_length not in (None, length):
            raise InvalidInput(f"mask is not that of the other virtual IPs at {present.address}", field="mask")
        wanted = replace(wanted, asked_length=length)
    return changes.place_listener(listener, wanted)(tree)


# --- health monitors and session persistence ------------------------------------------------------------------


def health_monitoring(body: Body, project_id: str) -> tuple[HealthMonitor, Change]:
    sent, path = unwrapped(body, "healthMonitoring", "healthMonitor")
    monitor = _new(objects.HEALTH_MONITORING, objects.new_monitor(project_id), sent, path)
    return monitor, _with_only_pool(changes.add_monitor(monitor))


def session_persistence(body: Body) -> tuple[SessionPersistence, Change]:
    sent, path = unwrapped(body, "sessionPersistence")
    sticky = _new(objects.SESSION_PERSISTENCE, objects.new_persistence(), sent, path)

    def apply(tree: Tree) -> Tree:
        present = _only_pool(tree).session_persistence
        if present is not None:
            raise Conflict(f"The load balancer has the session persistence {present.id}; delete that first")
        return changes.set_persistence(sticky)(tree)

    return sticky, apply


def without_session_persistence(sticky_id: str) -> Change:
    return _with_only_pool(changes.remove_persistence(sticky_id))
