"""One method for each method of a path: parse, call the service, view. Nothing waits for the deployment: replies tell
what is pending."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from balancer.api import agents, listing
from balancer.api.attributes import Boolean, Resource, Uuid
from balancer.api.errors import HttpError
from balancer.api.lbaas_v2 import parse, schemas, views
from balancer.api.listing import Item, View
from balancer.api.response import Response, reply
from balancer.api.wsgi import Request
from balancer.core import changes
from balancer.core.changes import Change
from balancer.core.model import (
    Caller,
    HealthMonitor,
    L7Policy,
    L7Rule,
    Listener,
    LoadBalancer,
    Member,
    Placement,
    PlacementKind,
    Pool,
)
from balancer.core.service import Service
from balancer.core.shown import Shown
from balancer.core.workers import in_charge
from balancer.exceptions import InvalidInput, NotFound

# Without Keystone there are no projects; what is made has to be of one.
DEFAULT_PROJECT = "default"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kind:
    """One kind of objects: how it is called, where it is in a load balancer, and how it is shown. `hidden` are values
    that it can be filtered by beside those shown."""

    resource: Resource
    model: type
    noun: str
    parts: Callable[[LoadBalancer, Shown], Iterable[Any]]
    view: Callable[[Shown, Any], View]
    hidden: Callable[[View], Mapping[str, Any]] = lambda view: {}


def _balancer_id(view: View) -> Mapping[str, Any]:
    return {"loadbalancer_id": view["loadbalancers"][0]["id"]}


LOAD_BALANCER = Kind(
    resource=schemas.LOAD_BALANCER,
    model=LoadBalancer,
    noun="Load balancer",
    parts=lambda balancer, shown: [balancer],
    view=views.load_balancer,
)
LISTENER = Kind(
    resource=schemas.LISTENER,
    model=Listener,
    noun="Listener",
    parts=lambda balancer, shown: balancer.listeners,
    view=views.listener,
    hidden=_balancer_id,
)
POOL = Kind(
    resource=schemas.POOL,
    model=Pool,
    noun="Pool",
    parts=lambda balancer, shown: balancer.pools,
    view=views.pool,
    hidden=lambda view: {**_balancer_id(view), "listener_id": view["listeners"]},
)
MEMBER = Kind(
    resource=schemas.MEMBER,
    model=Member,
    noun="Member",
    parts=lambda balancer, shown: [member for pool in balancer.pools for member in pool.members],
    view=views.member,
)
HEALTH_MONITOR = Kind(
    resource=schemas.HEALTH_MONITOR,
    model=HealthMonitor,
    noun="Health monitor",
    parts=lambda balancer, shown: shown.tree.monitors,
    view=views.health_monitor,
    hidden=lambda view: {"pool_id": view["pools"]},
)
L7_POLICY = Kind(
    resource=schemas.L7_POLICY,
    model=L7Policy,
    noun="L7Policy",
    parts=lambda balancer, shown: [policy for each in balancer.listeners for policy in each.l7_policies],
    view=views.l7_policy,
)
L7_RULE = Kind(
    resource=schemas.L7_RULE,
    model=L7Rule,
    noun="L7Rule",
    parts=lambda balancer, shown: [
        rule for each in balancer.listeners for policy in each.l7_policies for rule in policy.rules
    ],
    view=views.l7_rule,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Choices:
    """Flavors, or availability zones: the words of both."""

    kind: PlacementKind
    resource: Resource
    profile: Resource
    noun: str
    profile_noun: str
    profile_id: str
    data: str
    named: bool
    """Whether paths have its name instead of its id."""


FLAVORS = Choices(
    kind=PlacementKind.FLAVOR,
    resource=schemas.FLAVOR,
    profile=schemas.FLAVOR_PROFILE,
    noun="Flavor",
    profile_noun="Flavor Profile",
    profile_id="flavor_profile_id",
    data="flavor_data",
    named=False,
)
ZONES = Choices(
    kind=PlacementKind.AVAILABILITY_ZONE,
    resource=schemas.AVAILABILITY_ZONE,
    profile=schemas.AVAILABILITY_ZONE_PROFILE,
    noun="Availability Zone",
    profile_noun="Availability Zone Profile",
    profile_id="availability_zone_profile_id",
    data="availability_zone_data",
    named=True,
)


def _view(kind: Kind, shown: Shown, object_id: str) -> View:
    for part in kind.parts(shown.tree.load_balancer, shown):
        if part.id == object_id:
            return kind.view(shown, part)
    raise NotFound(kind.noun, object_id)


@lru_cache(maxsize=5000)
def _items(kind: Kind, shown: Shown) -> tuple[Item, ...]:
    """What is shown is the same object as long as it is the same."""
    return tuple(_item(kind, shown, part) for part in kind.parts(shown.tree.load_balancer, shown))


def _item(kind: Kind, shown: Shown, part: Any) -> Item:
    view = kind.view(shown, part)
    return Item(view=view, created_at=part.created_at, hidden=kind.hidden(view))


class Handlers:
    def __init__(self, service: Service) -> None:
        self._service = service

    # --- what all kinds share ---------------------------------------------------

    def list_of(self, kind: Kind) -> Callable[[Request], Response]:
        """All that the caller may see."""

        def answer(request: Request) -> Response:
            wanted = _listing(request, kind.resource)
            equal = wanted.equal
            of = kind.model
            if "loadbalancer_id" in equal:
                stored, of = {"id": equal["loadbalancer_id"].replace("-", "")}, LoadBalancer
            else:
                stored = kind.resource.stored(equal)
            project_id = equal.get("project_id", equal.get("tenant_id"))
            found = self._service.readable(request.caller, project_id=project_id, kind=of, equal=stored)
            items: Iterable[Item] = (item for shown in found for item in _items(kind, shown))
            if kind is HEALTH_MONITOR:
                # One may be of several load balancers; it is shown as the first one has it.
                items = wanted.once(items)
            return _listed(request, kind, wanted, items)

        return answer

    def show_of(self, kind: Kind, part: str = "id") -> Callable[[Request], Response]:
        def answer(request: Request) -> Response:
            object_id = _id(request, kind, part)
            shown = self._service.holder(request.caller, kind.model, object_id)
            return _one(request, kind, _view(kind, shown, object_id))

        return answer

    def _changed(self, request: Request, kind: Kind, of: Shown, change: Change, object_id: str) -> View:
        """The object after the change of its load balancer."""
        return _view(kind, self._change(request, of, change), object_id)

    def _change(self, request: Request, of: Shown, change: Change) -> Shown:
        balancer = of.tree.load_balancer
        return self._service.shown(self._service.change(request.caller, balancer.project_id, balancer.id, change))

    def _update(self, request: Request, kind: Kind, change: Callable[[str], Change], part: str = "id") -> Response:
        object_id = _id(request, kind, part)
        of = self._service.holder(request.caller, kind.model, object_id)
        return reply({kind.resource.name: self._changed(request, kind, of, change(object_id), object_id)})

    def _delete(self, request: Request, kind: Kind, change: Callable[[str], Change], part: str = "id") -> Response:
        object_id = _id(request, kind, part)
        balancer = self._service.holder(request.caller, kind.model, object_id).tree.load_balancer
        self._service.change(request.caller, balancer.project_id, balancer.id, change(object_id))
        return _gone()

    def _create(self, request: Request, kind: Kind, of: Shown, change: Change, object_id: str) -> Response:
        return reply({kind.resource.name: self._changed(request, kind, of, change, object_id)}, HTTPStatus.CREATED)

    # --- load balancers ---------------------------------------------------------

    def create_load_balancer(self, request: Request) -> Response:
        tree = parse.load_balancer(request.json_object(), _default_project(request.caller))
        stored = self._service.create(request.caller, tree)
        view = views.load_balancer_with_all(self._service.shown(stored))
        return reply({"loadbalancer": view}, HTTPStatus.CREATED)

    def change_load_balancer(self, request: Request) -> Response:
        change = parse.load_balancer_change(request.json_object())
        return self._update(request, LOAD_BALANCER, lambda _: change)

    def delete_load_balancer(self, request: Request) -> Response:
        balancer = self._holder(request, LOAD_BALANCER).tree.load_balancer
        if (balancer.listeners or balancer.pools) and not _flag(request, "cascade"):
            raise InvalidInput(f"Load balancer {balancer.id} has listeners or pools; cascade=true deletes them with it")
        self._service.delete(request.caller, balancer.project_id, balancer.id)
        return _gone()

    def fail_over(self, request: Request) -> Response:
        balancer = self._holder(request, LOAD_BALANCER).tree.load_balancer
        self._service.move(request.caller, balancer.project_id, balancer.id)
        return reply(None, HTTPStatus.ACCEPTED)

    def show_load_balancer_statistics(self, request: Request) -> Response:
        return reply({"stats": views.statistics(self._holder(request, LOAD_BALANCER).statistics)})

    def show_status_tree(self, request: Request) -> Response:
        return reply({"statuses": views.status_tree(self._holder(request, LOAD_BALANCER))})

    # --- agents -----------------------------------------------------------------

    def list_load_balancers_of_agent(self, request: Request) -> Response:
        """Those that the worker looks after; of one that is not there, none."""
        wanted = _listing(request, schemas.LOAD_BALANCER)
        worker_id = parse.path_id("Agent", request.part("id"))
        workers = self._service.workers.all(request.caller)
        shown = (
            each
            for each in self._service.readable(request.caller)
            if (worker := in_charge(workers, each.tree.load_balancer.device_id)) and worker.id == worker_id
        )
        return _listed(request, LOAD_BALANCER, wanted, (item for each in shown for item in _items(LOAD_BALANCER, each)))

    def show_agent_of_load_balancer(self, request: Request) -> Response:
        """Null when no worker is there."""
        device_id = self._holder(request, LOAD_BALANCER).tree.load_balancer.device_id
        workers = self._service.workers.all(request.caller)
        worker = in_charge(workers, device_id)
        if worker is None:
            return reply({"agent": None})
        counts = self._service.load_balancers_of_devices(request.caller)
        instances = sum(number for device_id, number in counts.items() if in_charge(workers, device_id) is worker)
        return reply({"agent": agents.agent(worker, drivers=self._service.providers(), instances=instances)})

    def _holder(self, request: Request, kind: Kind, part: str = "id") -> Shown:
        return self._service.holder(request.caller, kind.model, _id(request, kind, part))

    # --- listeners --------------------------------------------------------------

    def create_listener(self, request: Request) -> Response:
        balancer_id, listener = parse.listener(request.json_object())
        of = self._service.holder(request.caller, LoadBalancer, balancer_id)
        return self._create(request, LISTENER, of, changes.add_listener(listener), listener.id)

    def change_listener(self, request: Request) -> Response:
        change = parse.listener_change(request.json_object())
        return self._update(request, LISTENER, lambda each: changes.change_listener(each, change))

    def delete_listener(self, request: Request) -> Response:
        return self._delete(request, LISTENER, changes.remove_listener)

    def show_listener_statistics(self, request: Request) -> Response:
        seen = self._holder(request, LISTENER).statistics
        return reply({"stats": views.statistics(seen, _id(request, LISTENER))})

    # --- pools ------------------------------------------------------------------

    def create_pool(self, request: Request) -> Response:
        values, pool_id, change = parse.pool(request.json_object())
        if values["loadbalancer_id"]:
            of = self._service.holder(request.caller, LoadBalancer, values["loadbalancer_id"])
        else:
            of = self._service.holder(request.caller, Listener, values["listener_id"])
        return self._create(request, POOL, of, change, pool_id)

    def change_pool(self, request: Request) -> Response:
        change = parse.pool_change(request.json_object())
        return self._update(request, POOL, lambda each: changes.change_pool(each, change))

    def delete_pool(self, request: Request) -> Response:
        return self._delete(request, POOL, changes.remove_pool)

    # --- members ----------------------------------------------------------------

    def list_members(self, request: Request) -> Response:
        shown, pool = self._pool(request)
        wanted = _listing(request, schemas.MEMBER)
        return _listed(request, MEMBER, wanted, (_item(MEMBER, shown, member) for member in pool.members))

    def show_member(self, request: Request) -> Response:
        shown, pool = self._pool(request)
        return _one(request, MEMBER, views.member(shown, _within(pool.members, MEMBER, request)))

    def create_member(self, request: Request) -> Response:
        body = request.json_object()
        shown, pool = self._pool(request)
        if "members" in body:
            members = parse.members(body)
            after = self._change(request, shown, changes.add_members(*members, pool_id=pool.id))
            made = [_view(MEMBER, after, member.id) for member in members]
            return reply({"members": made}, HTTPStatus.CREATED)
        member = parse.member(body)
        return self._create(request, MEMBER, shown, changes.add_members(member, pool_id=pool.id), member.id)

    def change_member(self, request: Request) -> Response:
        change = parse.member_change(request.json_object())
        shown, pool = self._pool(request)
        member = _within(pool.members, MEMBER, request)
        done = changes.replace_member(member.id, change, pool.id)
        return reply({"member": self._changed(request, MEMBER, shown, done, member.id)})

    def delete_member(self, request: Request) -> Response:
        shown, pool = self._pool(request)
        member = _within(pool.members, MEMBER, request)
        self._change(request, shown, changes.remove_member(member.id, pool.id))
        return _gone()

    def set_members(self, request: Request) -> Response:
        pool_id = _id(request, POOL, "pool_id")
        change = parse.member_batch(pool_id, request.json_object(), additive=_flag(request, "additive_only"))
        shown, _ = self._pool(request)
        self._change(request, shown, change)
        return reply(None, HTTPStatus.ACCEPTED)

    def _pool(self, request: Request) -> tuple[Shown, Pool]:
        pool_id = _id(request, POOL, "pool_id")
        shown = self._service.holder(request.caller, Pool, pool_id)
        return shown, next(pool for pool in shown.tree.load_balancer.pools if pool.id == pool_id)

    # --- health monitors ----------------------------------------------------------

    def create_health_monitor(self, request: Request) -> Response:
        pool_id, values = parse.health_monitor(request.json_object())
        of = self._service.holder(request.caller, Pool, pool_id)
        monitor = parse.new_monitor(values, of.tree.load_balancer.project_id)
        return self._create(request, HEALTH_MONITOR, of, changes.add_only_monitor(monitor, pool_id), monitor.id)

    def change_health_monitor(self, request: Request) -> Response:
        change = parse.health_monitor_change(request.json_object())
        return self._update(request, HEALTH_MONITOR, lambda each: changes.change_monitor(each, change))

    def delete_health_monitor(self, request: Request) -> Response:
        return self._delete(request, HEALTH_MONITOR, changes.remove_only_monitor)

    # --- L7 policies and rules ------------------------------------------------------

    def create_l7_policy(self, request: Request) -> Response:
        listener_id, policy = parse.l7_policy(request.json_object())
        of = self._service.holder(request.caller, Listener, listener_id)
        return self._create(request, L7_POLICY, of, changes.add_l7_policy(listener_id, policy), policy.id)

    def change_l7_policy(self, request: Request) -> Response:
        change = parse.l7_policy_change(request.json_object())
        return self._update(request, L7_POLICY, lambda each: changes.change_l7_policy(each, change))

    def delete_l7_policy(self, request: Request) -> Response:
        return self._delete(request, L7_POLICY, changes.remove_l7_policy)

    def list_l7_rules(self, request: Request) -> Response:
        shown, policy = self._policy(request)
        wanted = _listing(request, schemas.L7_RULE)
        return _listed(request, L7_RULE, wanted, (_item(L7_RULE, shown, rule) for rule in policy.rules))

    def show_l7_rule(self, request: Request) -> Response:
        shown, policy = self._policy(request)
        return _one(request, L7_RULE, views.l7_rule(shown, _within(policy.rules, L7_RULE, request)))

    def create_l7_rule(self, request: Request) -> Response:
        body = request.json_object()
        shown, policy = self._policy(request)
        if "rules" in body:
            rules = parse.l7_rules(body)
            after = self._change(
                request, shown, changes.together(*(changes.add_l7_rule(policy.id, rule) for rule in rules))
            )
            return reply({"rules": [_view(L7_RULE, after, rule.id) for rule in rules]}, HTTPStatus.CREATED)
        rule = parse.l7_rule(body)
        return self._create(request, L7_RULE, shown, changes.add_l7_rule(policy.id, rule), rule.id)

    def change_l7_rule(self, request: Request) -> Response:
        change = parse.l7_rule_change(request.json_object())
        shown, policy = self._policy(request)
        rule = _within(policy.rules, L7_RULE, request)
        done = changes.change_l7_rule(policy.id, rule.id, change)
        return reply({"rule": self._changed(request, L7_RULE, shown, done, rule.id)})

    def delete_l7_rule(self, request: Request) -> Response:
        shown, policy = self._policy(request)
        rule = _within(policy.rules, L7_RULE, request)
        self._change(request, shown, changes.remove_l7_rule(policy.id, rule.id))
        return _gone()

    def _policy(self, request: Request) -> tuple[Shown, L7Policy]:
        policy_id = _id(request, L7_POLICY, "l7policy_id")
        shown = self._service.holder(request.caller, L7Policy, policy_id)
        listeners = shown.tree.load_balancer.listeners
        return shown, next(each for listener in listeners for each in listener.l7_policies if each.id == policy_id)

    # --- quotas -----------------------------------------------------------------

    def list_quotas(self, request: Request) -> Response:
        own = self._service.all_quotas(request.caller)
        items = (Item(view=views.quota(project_id, limits)) for project_id, limits in own.items())
        wanted = listing.read(request.query_string, schemas.QUOTA.filters())
        found, links = replace(wanted, fields=()).page(items, request.path_url, told_apart="project_id")
        return reply({"quotas": found, "quotas_links": links})

    def show_quota(self, request: Request) -> Response:
        project_id = request.part("project_id")
        limits = self._service.quotas(request.caller, project_id)
        return reply({"quota": views.quota(project_id, limits)})

    def show_default_quota(self, request: Request) -> Response:
        return reply({"quota": views.quota(None, self._service.default_quotas)})

    def change_quota(self, request: Request) -> Response:
        project_id = request.part("project_id")
        changed = parse.quota_change(request.json_object())
        limits = self._service.set_quotas(request.caller, project_id, changed)
        return reply({"quota": views.quota(project_id, limits)}, HTTPStatus.ACCEPTED)

    def reset_quota(self, request: Request) -> Response:
        project_id = request.part("project_id")
        if not self._service.reset_quotas(request.caller, project_id):
            raise NotFound("Quota", project_id)
        return reply(None, HTTPStatus.ACCEPTED)

    # --- providers and amphorae ---------------------------------------------------

    def list_providers(self, request: Request) -> Response:
        wanted = listing.read(request.query_string, schemas.PROVIDER.filters())
        items = (Item(view={"name": name, "description": says}) for name, says in self._service.providers().items())
        return reply({"providers": wanted.page(items, request.path_url, told_apart="name")[0]})

    def list_amphorae(self, request: Request) -> Response:
        """HAProxy runs on hosts that are there already."""
        return reply({"amphorae": [], "amphorae_links": []})

    def refuse_amphora(self, request: Request) -> Response:
        raise NotFound("Amphora", request.part("id"))


# --- flavors and availability zones -----------------------------------------------


class ChoiceHandlers:
    """Of flavors, or of availability zones, and of their profiles."""

    def __init__(self, service: Service, choices: Choices) -> None:
        self._service = service
        self._of = choices

    def list_all(self, request: Request) -> Response:
        of = self._of
        key = "name" if of.named else "id"
        found = self._service.placements.placements(request.caller, of.kind)
        items = sorted((self._view(each) for each in found), key=lambda view: str(view[key]))
        return _plain_list(request, of.resource, items, told_apart=key)

    def show(self, request: Request) -> Response:
        return _one_view(request, self._of.resource, self._view(self._found(request)))

    def create(self, request: Request) -> Response:
        of = self._of
        wanted = parse.placement(request.json_object(), of.resource, of.kind, of.profile_id)
        made = self._service.placements.add_placement(request.caller, wanted)
        return reply({of.resource.name: self._view(made)}, HTTPStatus.CREATED)

    def change(self, request: Request) -> Response:
        of = self._of
        change = parse.placement_change(request.json_object(), of.resource)
        changed = self._service.placements.change_placement(request.caller, of.kind, self._found(request).id, change)
        return reply({of.resource.name: self._view(changed)})

    def remove(self, request: Request) -> Response:
        self._service.placements.remove_placement(request.caller, self._of.kind, self._found(request).id)
        return _gone()

    def _view(self, item: Placement) -> View:
        return views.placement(item, self._of.resource, self._of.profile_id)

    def _found(self, request: Request) -> Placement:
        name = request.part("id")
        wanted = name if self._of.named else parse.path_id(self._of.noun, name)
        for each in self._service.placements.placements(request.caller, self._of.kind):
            if wanted == (each.name if self._of.named else each.id):
                return each
        raise NotFound(self._of.noun, name)

    # --- profiles ---

    def list_profiles(self, request: Request) -> Response:
        of = self._of
        items = [views.profile(each, of.data) for each in self._service.placements.profiles(request.caller, of.kind)]
        return _plain_list(request, of.profile, items)

    def show_profile(self, request: Request) -> Response:
        of = self._of
        found = self._service.placements.profile(request.caller, of.kind, self._profile_id(request))
        return _one_view(request, of.profile, views.profile(found, of.data))

    def create_profile(self, request: Request) -> Response:
        of = self._of
        wanted = parse.profile(request.json_object(), of.profile, of.kind, of.data)
        made = self._service.placements.add_profile(request.caller, wanted)
        return reply({of.profile.name: views.profile(made, of.data)}, HTTPStatus.CREATED)

    def change_profile(self, request: Request) -> Response:
        of = self._of
        change = parse.profile_change(request.json_object(), of.profile, of.data)
        changed = self._service.placements.change_profile(request.caller, of.kind, self._profile_id(request), change)
        return reply({of.profile.name: views.profile(changed, of.data)})

    def remove_profile(self, request: Request) -> Response:
        self._service.placements.remove_profile(request.caller, self._of.kind, self._profile_id(request))
        return _gone()

    def _profile_id(self, request: Request) -> str:
        return parse.path_id(self._of.profile_noun, request.part("id"))

    def list_capabilities(self, request: Request) -> Response:
        """What the data of profiles may say."""
        known = self._service.placements.capabilities(parse.provider(request.part("provider")))
        wanted = listing.read(request.query_string, schemas.CAPABILITY.filters())
        items = (Item(view={"name": name, "description": says}) for name, says in known.items())
        key = "flavor_capabilities" if self._of is FLAVORS else "availability_zone_capabilities"
        return reply({key: wanted.page(items, request.path_url, told_apart="name")[0]})


# --- requests and replies ---------------------------------------------------------


def acceptable(request: Request) -> None:
    """Raises `HttpError` 406 when the caller does not want JSON."""
    if request.headers.get("Accept") and not request.accept.acceptable_offers(["application/json"]):
        raise HttpError(HTTPStatus.NOT_ACCEPTABLE, "Only application/json is served")


def _default_project(caller: Caller) -> str | None:
    if caller.project_id is None and caller.user_id is None:
        return DEFAULT_PROJECT
    return caller.project_id


def _id(request: Request, kind: Kind, part: str = "id") -> str:
    return parse.path_id(kind.noun, request.part(part))


def _flag(request: Request, name: str) -> bool:
    return Boolean().query(request.query_text(name) or "")


def _within(parts: Iterable[Any], kind: Kind, request: Request) -> Any:
    """The one that the path names. Raises `NotFound`."""
    object_id = _id(request, kind)
    for part in parts:
        if part.id == object_id:
            return part
    raise NotFound(kind.noun, object_id)


def _listing(request: Request, resource: Resource) -> listing.Listing:
    return listing.read(
        request.query_string,
        resource.filters(),
        ignored=("verbose", *resource.ignored_filters),
        marker=Uuid(),
    )


def _listed(request: Request, kind: Kind, wanted: listing.Listing, items: Iterable[Item]) -> Response:
    found, links = wanted.page(items, request.path_url)
    return reply({kind.resource.plural: found, kind.resource.links_key: links})


def _plain_list(request: Request, resource: Resource, found: Iterable[View], *, told_apart: str = "id") -> Response:
    """Of objects that have no times."""
    marker = Uuid() if told_apart == "id" else None
    wanted = listing.read(request.query_string, resource.filters(), ignored=("verbose",), marker=marker)
    page, links = wanted.page((Item(view=view) for view in found), request.path_url, told_apart=told_apart)
    return reply({resource.plural: page, resource.links_key: links})


def _one(request: Request, kind: Kind, view: View) -> Response:
    return _one_view(request, kind.resource, view)


def _one_view(request: Request, resource: Resource, view: View) -> Response:
    fields = listing.fields_of(request.query_string)
    return reply({resource.name: listing.choose(view, fields)})


def _gone() -> Response:
    return reply(None, HTTPStatus.NO_CONTENT)
