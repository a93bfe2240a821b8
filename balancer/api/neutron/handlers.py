"""One method for each method of a path: parse, call the service, view."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from balancer.api import agents, listing
from balancer.api.attributes import Resource, Uuid
from balancer.api.listing import Item, View
from balancer.api.neutron import extensions, parse, schemas, views
from balancer.api.response import Response, reply
from balancer.api.wsgi import Request
from balancer.core.model import Quotas, WorkerRecord
from balancer.core.service import Service
from balancer.core.workers import in_charge
from balancer.exceptions import NotFound

# They would have to be looked for inside of the addresses: better refused than ignored.
_NO_FILTER = ("fixed_ips",)


class Handlers:
    def __init__(self, service: Service) -> None:
        self._service = service

    # --- networks -----------------------------------------------------------------

    def list_networks(self, request: Request) -> Response:
        return _listed(request, schemas.NETWORK, self._networks(request))

    def show_network(self, request: Request) -> Response:
        return _one(request, schemas.NETWORK, self._networks(request))

    def _networks(self, request: Request) -> list[Item]:
        return [
            Item(view=views.network(each, subnets), created_at=each.created_at)
            for each, subnets in self._service.networks.networks(request.caller)
        ]

    def create_network(self, request: Request) -> Response:
        network = parse.network(request.json_object(), request.caller)
        stored = self._service.networks.add_network(request.caller, network)
        return reply({"network": views.network(stored, ())}, HTTPStatus.CREATED)

    def change_network(self, request: Request) -> Response:
        change = parse.network_change(request.json_object())
        stored = self._service.networks.change_network(request.caller, _id(request, "Network"), change)
        subnets = [each for each in self._service.networks.subnets(request.caller) if each.network_id == stored.id]
        return reply({"network": views.network(stored, subnets)})

    def remove_network(self, request: Request) -> Response:
        self._service.networks.remove_network(request.caller, _id(request, "Network"))
        return reply(None, HTTPStatus.NO_CONTENT)

    # --- subnets ------------------------------------------------------------------

    def list_subnets(self, request: Request) -> Response:
        return _listed(request, schemas.SUBNET, self._subnets(request))

    def show_subnet(self, request: Request) -> Response:
        return _one(request, schemas.SUBNET, self._subnets(request))

    def _subnets(self, request: Request) -> list[Item]:
        found = self._service.networks.subnets(request.caller)
        return [Item(view=views.subnet(each), created_at=each.created_at) for each in found]

    def create_subnet(self, request: Request) -> Response:
        subnet = parse.subnet(request.json_object(), request.caller)
        stored = self._service.networks.add_subnet(request.caller, subnet)
        return reply({"subnet": views.subnet(stored)}, HTTPStatus.CREATED)

    def change_subnet(self, request: Request) -> Response:
        change = parse.subnet_change(request.json_object())
        stored = self._service.networks.change_subnet(request.caller, _id(request, "Subnet"), change)
        return reply({"subnet": views.subnet(stored)})

    def remove_subnet(self, request: Request) -> Response:
        self._service.networks.remove_subnet(request.caller, _id(request, "Subnet"))
        return reply(None, HTTPStatus.NO_CONTENT)

    # --- ports --------------------------------------------------------------------

    def list_ports(self, request: Request) -> Response:
        return _listed(request, schemas.PORT, self._ports(request))

    def show_port(self, request: Request) -> Response:
        return _one(request, schemas.PORT, self._ports(request))

    def _ports(self, request: Request) -> list[Item]:
        return [
            Item(view=views.port(each, user), created_at=each.created_at)
            for each, user in self._service.networks.ports_with_users(request.caller)
        ]

    def create_port(self, request: Request) -> Response:
        port = parse.port(request.json_object(), request.caller)
        stored = self._service.networks.add_port(request.caller, port)
        return reply({"port": views.port(stored, None)}, HTTPStatus.CREATED)

    def remove_port(self, request: Request) -> Response:
        self._service.networks.remove_port(request.caller, _id(request, "Port"))
        return reply(None, HTTPStatus.NO_CONTENT)

    # --- agents -------------------------------------------------------------------

    def list_agents(self, request: Request) -> Response:
        return _listed(request, schemas.AGENT, self._agents(request))

    def show_agent(self, request: Request) -> Response:
        return _one(request, schemas.AGENT, self._agents(request))

    def _agents(self, request: Request) -> list[Item]:
        workers = self._service.workers.all(request.caller)
        balancers = self._service.load_balancers_of_devices(request.caller)
        served = Counter({each.id: 0 for each in workers})
        for device_id, number in balancers.items():
            worker = in_charge(workers, device_id)
            if worker is not None:
                served[worker.id] += number
        return [self._agent(each, served[each.id]) for each in workers]

    def _agent(self, worker: WorkerRecord, instances: int) -> Item:
        view = agents.agent(worker, drivers=self._service.providers(), instances=instances)
        return Item(view=view, created_at=worker.started_at, hidden={"agent_type": [agents.V1, agents.V2]})

    def change_agent(self, request: Request) -> Response:
        change = parse.agent_change(request.json_object())
        self._service.workers.change(request.caller, _id(request, "Agent"), change)
        return self.show_agent(request)

    def remove_agent(self, request: Request) -> Response:
        self._service.workers.remove(request.caller, _id(request, "Agent"))
        return reply(None, HTTPStatus.NO_CONTENT)

    # --- quotas -------------------------------------------------------------------

    def list_quotas(self, request: Request) -> Response:
        """Of the projects that have some of their own; each row with all limits."""
        defaults = self._service.default_quotas
        return reply(
            {
                "quotas": [
                    {"tenant_id": project_id, "project_id": project_id, **views.quota({**defaults, **own})}
                    for project_id, own in self._service.all_quotas(request.caller).items()
                ]
            }
        )

    def show_own_project(self, request: Request) -> Response:
        project_id = parse.own_project(request.caller)
        return reply({"tenant": {"tenant_id": project_id, "project_id": project_id}})

    def show_quota(self, request: Request) -> Response:
        return self._quota(self._service.quotas(request.caller, request.part("project_id")))

    def show_default_quota(self, request: Request) -> Response:
        return self._quota(self._service.default_quotas)

    def change_quota(self, request: Request) -> Response:
        changed = parse.quota_change(request.json_object())
        return self._quota(self._service.set_quotas(request.caller, request.part("project_id"), changed))

    def reset_quota(self, request: Request) -> Response:
        self._service.reset_quotas(request.caller, request.part("project_id"))
        return reply(None, HTTPStatus.NO_CONTENT)

    @staticmethod
    def _quota(limits: Quotas) -> Response:
        return reply({"quota": views.quota(limits)})

    # --- what there is --------------------------------------------------------------

    def list_resources(self, request: Request) -> Response:
        """Of Neutron's core, as far as it is here."""
        found = (schemas.NETWORK, schemas.SUBNET, schemas.PORT)
        return reply(
            {
                "resources": [
                    {
                        "name": each.name,
                        "collection": each.plural,
                        "links": [{"rel": "self", "href": f"{request.path_url.rstrip('/')}/{each.plural}"}],
                    }
                    for each in found
                ]
            }
        )

    def list_extensions(self, request: Request) -> Response:
        return _listed(request, schemas.EXTENSION, (Item(view=each) for each in extensions.shown()), told_apart="alias")

    def show_extension(self, request: Request) -> Response:
        alias = request.part("alias")
        for each in extensions.shown():
            if each["alias"] == alias:
                return reply({"extension": each})
        raise NotFound("Extension", alias)

    def list_service_providers(self, request: Request) -> Response:
        names = tuple(self._service.providers())
        default = extensions.DEFAULT_PROVIDER if extensions.DEFAULT_PROVIDER in names else names[0]
        found = (
            Item(view={"service_type": kind, "name": name, "default": name == default})
            for kind in extensions.SERVICE_TYPES
            for name in names
        )
        return _listed(request, schemas.SERVICE_PROVIDER, found, told_apart="name")


def _id(request: Request, noun: str) -> str:
    return parse.path_id(noun, request.part("id"))


def _one(request: Request, resource: Resource, items: Iterable[Item]) -> Response:
    """The one that the path names, as far as the caller may see it. Raises `NotFound`."""
    noun = resource.title.capitalize()
    wanted = Uuid().query(_id(request, noun))
    view = next((item.view for item in items if item.view["id"] == wanted), None)
    if view is None:
        raise NotFound(noun, request.part("id"))
    return reply({resource.name: listing.choose(view, listing.fields_of(request.query_string))})


def _listed(request: Request, resource: Resource, items: Iterable[Item], *, told_apart: str = "id") -> Response:
    """Filters that there are not are passed over, as Neutron does; links are there when pages are asked for."""
    known = {name: kind for name, kind in resource.filters().items() if name not in _NO_FILTER}
    asked = {name for name, _ in parse_qsl(request.query_string, keep_blank_values=True, errors="replace")}
    ignored = asked - known.keys() - set(_NO_FILTER)
    marker = Uuid() if told_apart == "id" else None
    wanted = listing.read(request.query_string, known, ignored=ignored, marker=marker)
    found: list[View]
    found, links = wanted.page(items, request.path_url, told_apart=told_apart)
    body: dict[str, Any] = {resource.plural: found}
    if "limit" in asked:
        body[resource.links_key] = links
    return reply(body)
