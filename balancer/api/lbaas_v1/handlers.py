"""One method for each method of a path: parse, call the service, view. Nothing waits for the deployment: replies tell
what is pending."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from balancer.api import agents, listing
from balancer.api.attributes import Kind as ValueKind
from balancer.api.attributes import Resource, show_uuid
from balancer.api.lbaas_v1 import parse, schemas, views
from balancer.api.listing import Item, View
from balancer.api.response import Response, reply
from balancer.api.wsgi import NotAnObject, Request
from balancer.core import changes
from balancer.core.changes import Change
from balancer.core.model import HealthMonitor, Listener, LoadBalancer, Member, Pool, Tree
from balancer.core.service import Service
from balancer.core.shown import Shown
from balancer.core.workers import in_charge
from balancer.exceptions import InvalidInput, NotFound, Rejected

# They would have to be looked for inside of objects. Neutron passed them over.
_NO_FILTERS = ("session_persistence", "health_monitors_status", "pools")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kind:
    """One kind of objects: how it is called, where it is in a load balancer, and how it is shown."""

    resource: Resource
    model: type
    noun: str
    parts: Callable[[LoadBalancer], Iterable[Any]]
    view: Callable[[Shown, Any], View]


VIP = Kind(
    resource=schemas.VIP,
    model=Listener,
    noun="Listener",
    parts=lambda balancer: balancer.listeners,
    view=views.vip,
)
POOL = Kind(
    resource=schemas.POOL,
    model=Pool,
    noun="Pool",
    parts=lambda balancer: balancer.pools,
    view=views.pool,
)
MEMBER = Kind(
    resource=schemas.MEMBER,
    model=Member,
    noun="Member",
    parts=lambda balancer: [member for pool in balancer.pools for member in pool.members],
    view=views.member,
)
_MONITOR = "Health monitor"


def _view(kind: Kind, shown: Shown, object_id: str) -> View:
    for part in kind.parts(shown.tree.load_balancer):
        if part.id == object_id:
            return kind.view(shown, part)
    raise NotFound(kind.noun, object_id)


@lru_cache(maxsize=5000)
def _items(kind: Kind, shown: Shown) -> tuple[Item, ...]:
    """What is shown is the same object as long as it is the same."""
    parts = kind.parts(shown.tree.load_balancer)
    return tuple(Item(view=kind.view(shown, part), created_at=part.created_at) for part in parts)


class Handlers:
    def __init__(self, service: Service) -> None:
        self._service = service

    # --- what vips, pools and members share -----------------------------------------

    def list_of(self, kind: Kind) -> Callable[[Request], Response]:
        """All that the caller may see."""

        def answer(request: Request) -> Response:
            wanted = _listing(request, kind.resource)
            one = {name: values[0] for name, values in wanted.any_of.items() if len(values) == 1}
            found = self._service.readable(request.caller, kind=kind.model, equal=kind.resource.stored(one))
            return _listed(request, kind.resource, wanted, (item for shown in found for item in _items(kind, shown)))

        return answer

    def show_of(self, kind: Kind) -> Callable[[Request], Response]:
        def answer(request: Request) -> Response:
            shown, object_id = self._holder(request, kind)
            return _one(request, kind.resource, _view(kind, shown, object_id))

        return answer

    def _holder(self, request: Request, kind: Kind, part: str = "id") -> tuple[Shown, str]:
        """The load balancer that holds what the path names, and the id of that."""
        object_id = parse.path_id(kind.noun, request.part(part))
        return self._service.holder(request.caller, kind.model, object_id), object_id

    def _change(self, request: Request, of: Shown, change: Change) -> Shown:
        balancer = of.tree.load_balancer
        return self._service.shown(self._service.change(request.caller, balancer.project_id, balancer.id, change))

    def _delete(self, request: Request, kind: Kind, change: Callable[[str], Change]) -> Response:
        of, object_id = self._holder(request, kind)
        balancer = of.tree.load_balancer
        self._service.change(request.caller, balancer.project_id, balancer.id, change(object_id))
        return _gone()

    def _update(
        self,
        request: Request,
        kind: Kind,
        values: Mapping[str, Any],
        change: Callable[[str, Mapping[str, Any]], Change],
        move: Callable[[str, str, Mapping[str, Any]], parse.TwoChange],
    ) -> Response:
        """Of what is of a pool: `move` is for when its new pool is of another load balancer than its old one."""
        of, object_id = self._holder(request, kind)
        balancer = of.tree.load_balancer
        to = self._to(request, balancer, values)
        if to is None:
            shown = self._change(request, of, change(object_id, values))
            return reply({kind.resource.name: _view(kind, shown, object_id)})
        both = self._service.change_two(
            request.caller, balancer.project_id, (balancer.id, to), move(object_id, values["pool_id"], values)
        )
        for tree in both:
            if any(part.id == object_id for part in kind.parts(tree.load_balancer)):
                return reply({kind.resource.name: _view(kind, self._service.shown(tree), object_id)})
        raise NotFound(kind.noun, object_id)

    def _to(self, request: Request, balancer: LoadBalancer, values: Mapping[str, Any]) -> str | None:
        """The id of the load balancer that has the new pool, None for none or the same."""
        pool_id = values.get("pool_id")
        if pool_id is None:
            return None
        other = self._service.holder(request.caller, Pool, pool_id).tree.load_balancer
        if other.project_id != balancer.project_id:
            raise parse.refusal(
                HTTPStatus.FORBIDDEN, "NotAuthorized", f"Pool {show_uuid(pool_id)} is of another project"
            )
        return None if other.id == balancer.id else other.id

    # --- vips -------------------------------------------------------------------------

    def create_vip(self, request: Request) -> Response:
        values, listener, change = parse.vip(_body(request), request.caller)
        of = self._service.holder(request.caller, Pool, values["pool_id"])
        parse.check_tenant(values, request.caller, of.tree.load_balancer.project_id, "vip")
        try:
            shown = self._change(request, of, change)
        except InvalidInput as error:
            if error.field != "subnet_id" or isinstance(error, Rejected):
                raise
            subnet = show_uuid(values["subnet_id"])
            raise parse.refusal(HTTPStatus.NOT_FOUND, "SubnetNotFound", f"Subnet {subnet} could not be found") from None
        return reply({"vip": _view(VIP, shown, listener.id)}, HTTPStatus.CREATED)

    def change_vip(self, request: Request) -> Response:
        return self._update(request, VIP, parse.vip_change(_body(request)), parse.changed_vip, parse.moved_vip)

    def delete_vip(self, request: Request) -> Response:
        return self._delete(request, VIP, parse.without_vip)

    # --- pools ------------------------------------------------------------------------

    def create_pool(self, request: Request) -> Response:
        pool_id, tree = parse.pool(_body(request), request.caller)
        stored = self._service.create(request.caller, tree)
        return reply({"pool": _view(POOL, self._service.shown(stored), pool_id)}, HTTPStatus.CREATED)

    def change_pool(self, request: Request) -> Response:
        change = parse.pool_change(_body(request))
        of, pool_id = self._holder(request, POOL)
        shown = self._change(request, of, changes.change_pool(pool_id, change))
        return reply({"pool": _view(POOL, shown, pool_id)})

    def delete_pool(self, request: Request) -> Response:
        return self._delete(request, POOL, parse.without_pool)

    def show_statistics(self, request: Request) -> Response:
        shown, pool = self._pool(request)
        return reply({"stats": views.statistics(shown, pool)})

    # --- agents -----------------------------------------------------------------------

    def list_pools_of_agent(self, request: Request) -> Response:
        """Of the load balancers that the worker looks after; of one that is not there, none."""
        wanted = _listing(request, schemas.POOL)
        agent = request.part("id").lower().replace("-", "")
        workers = self._service.workers.all(request.caller)
        shown = (
            each
            for each in self._service.readable(request.caller)
            if (worker := in_charge(workers, each.tree.load_balancer.device_id)) and worker.id == agent
        )
        return _listed(request, schemas.POOL, wanted, (item for each in shown for item in _items(POOL, each)))

    def show_agent(self, request: Request) -> Response:
        """Null when no worker is there."""
        shown, _ = self._holder(request, POOL)
        workers = self._service.workers.all(request.caller)
        worker = in_charge(workers, shown.tree.load_balancer.device_id)
        if worker is None:
            return reply({"agent": None})
        counts = self._service.load_balancers_of_devices(request.caller)
        instances = sum(number for device_id, number in counts.items() if in_charge(workers, device_id) is worker)
        view = agents.agent(worker, drivers=self._service.providers(), instances=instances, agent_type=agents.V1)
        return reply({"agent": view})

    def _pool(self, request: Request, part: str = "id") -> tuple[Shown, Pool]:
        shown, pool_id = self._holder(request, POOL, part)
        return shown, next(pool for pool in shown.tree.load_balancer.pools if pool.id == pool_id)

    # --- members ----------------------------------------------------------------------

    def create_member(self, request: Request) -> Response:
        values, member = parse.member(_body(request), request.caller)
        of = self._service.holder(request.caller, Pool, values["pool_id"])
        parse.check_tenant(values, request.caller, of.tree.load_balancer.project_id, "member")
        shown = self._change(request, of, changes.add_members(member, pool_id=values["pool_id"]))
        return reply({"member": _view(MEMBER, shown, member.id)}, HTTPStatus.CREATED)

    def change_member(self, request: Request) -> Response:
        values = parse.member_change(_body(request))
        return self._update(request, MEMBER, values, parse.changed_member, parse.moved_member)

    def delete_member(self, request: Request) -> Response:
        return self._delete(request, MEMBER, parse.without_member)

    # --- health monitors ----------------------------------------------------------------

    def list_health_monitors(self, request: Request) -> Response:
        wanted = _listing(request, schemas.HEALTH_MONITOR)
        found = self._service.monitors.readable(request.caller)
        items = (Item(view=views.health_monitor(each), created_at=each.monitor.created_at) for each in found)
        return _listed(request, schemas.HEALTH_MONITOR, wanted, items)

    def show_health_monitor(self, request: Request) -> Response:
        return _one(request, schemas.HEALTH_MONITOR, self._monitor_view(request, _monitor_id(request)))

    def _monitor_view(self, request: Request, monitor_id: str) -> View:
        return views.health_monitor(self._service.monitors.one(request.caller, monitor_id))

    def create_health_monitor(self, request: Request) -> Response:
        monitor = self._service.monitors.add(request.caller, parse.health_monitor(_body(request), request.caller))
        return reply({"health_monitor": self._monitor_view(request, monitor.id)}, HTTPStatus.CREATED)

    def change_health_monitor(self, request: Request) -> Response:
        change = parse.health_monitor_change(_body(request))
        monitor_id = _monitor_id(request)
        self._service.change_monitor(request.caller, monitor_id, change)
        return reply({"health_monitor": self._monitor_view(request, monitor_id)})

    def delete_health_monitor(self, request: Request) -> Response:
        self._service.monitors.remove(request.caller, _monitor_id(request))
        return _gone()

    # --- which monitors check which pools ---------------------------------------------------

    def list_associations(self, request: Request) -> Response:
        shown, pool = self._pool(request)
        wanted = _listing(request, schemas.ASSOCIATION)
        items = (Item(view=views.association(shown, each, pool.id)) for each in _monitors_of(shown.tree, pool))
        return _listed(request, schemas.ASSOCIATION, wanted, items)

    def show_association(self, request: Request) -> Response:
        shown, pool = self._pool(request)
        monitor_id = _monitor_id(request, "monitor_id")
        for each in _monitors_of(shown.tree, pool):
            if each.id == monitor_id:
                return _one(request, schemas.ASSOCIATION, views.association(shown, each, pool.id))
        raise parse.not_associated(monitor_id, pool.id)

    def associate(self, request: Request) -> Response:
        body = _body(request, bulk=True)
        monitor_ids = parse.associations(body)
        shown, pool = self._pool(request)
        balancer = shown.tree.load_balancer
        after = self._service.change_using(
            request.caller, balancer.project_id, balancer.id, monitor_ids, parse.associate(pool.id)
        )
        made = self._service.shown(after)
        found = [views.association(made, each, pool.id) for each in after.monitors if each.id in monitor_ids]
        bulk = schemas.ASSOCIATION.plural in body
        return reply(
            {schemas.ASSOCIATION.plural: found} if bulk else {schemas.ASSOCIATION.name: found[0]}, HTTPStatus.CREATED
        )

    def disassociate(self, request: Request) -> Response:
        shown, pool = self._pool(request)
        self._change(request, shown, parse.disassociated(_monitor_id(request, "monitor_id"), pool.id))
        return _gone()


# --- requests and replies ---------------------------------------------------------


def _body(request: Request, *, bulk: bool = False) -> dict[str, Any]:
    """Raises `InvalidInput` for a list of new objects, unless `bulk`."""
    try:
        body = request.json_object()
    except NotAnObject as error:
        if request.method == "PUT":
            raise parse.refusal(HTTPStatus.BAD_REQUEST, "BadRequest", str(error)) from None
        raise
    for plural in () if bulk else ("vips", "pools", "members", "health_monitors"):
        if plural in body:
            raise Rejected(f"{plural}: several at once (bulk) are not supported", field=plural)
    return body


def _monitor_id(request: Request, part: str = "id") -> str:
    return parse.path_id(_MONITOR, request.part(part))


def _monitors_of(tree: Tree, pool: Pool) -> Iterable[HealthMonitor]:
    return (each for each in tree.monitors if each.id in pool.health_monitor_ids)


def _listing(request: Request, resource: Resource) -> listing.Listing:
    filters: dict[str, ValueKind] = {key: kind for key, kind in resource.filters().items() if key not in _NO_FILTERS}
    return listing.read_neutron(request.query_string, filters)


def _listed(request: Request, resource: Resource, wanted: listing.Listing, items: Iterable[Item]) -> Response:
    found, links = wanted.page(items, request.path_url)
    return reply({resource.plural: found, **({} if wanted.limit is None else {resource.links_key: links})})


def _one(request: Request, resource: Resource, view: View) -> Response:
    return reply({resource.name: listing.choose(view, listing.fields_of(request.query_string))})


def _gone() -> Response:
    return reply(None, HTTPStatus.NO_CONTENT)
