"""One method for each method of a path: parse, call the service, view."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

import webob

from balancer.api import listing
from balancer.api.attributes import Resource, Uuid
from balancer.api.listing import Item, View
from balancer.api.neutron import parse, schemas, views
from balancer.api.wsgi import Request, reply
from balancer.core.service import Service
from balancer.exceptions import NotFound

# They would have to be looked for inside of the addresses: better refused than ignored.
_NO_FILTER = ("fixed_ips",)


class Handlers:
    def __init__(self, service: Service) -> None:
        self._service = service

    # --- networks -----------------------------------------------------------------

    def list_networks(self, request: Request) -> webob.Response:
        return _listed(request, schemas.NETWORK, self._networks(request))

    def show_network(self, request: Request) -> webob.Response:
        return _one(request, schemas.NETWORK, self._networks(request))

    def _networks(self, request: Request) -> list[Item]:
        return [
            Item(view=views.network(each, subnets), created_at=each.created_at)
            for each, subnets in self._service.networks.networks(request.caller)
        ]

    def create_network(self, request: Request) -> webob.Response:
        network = parse.network(request.json_object(), request.caller)
        stored = self._service.networks.add_network(request.caller, network)
        return reply({"network": views.network(stored, ())}, HTTPStatus.CREATED)

    def change_network(self, request: Request) -> webob.Response:
        change = parse.network_change(request.json_object())
        stored = self._service.networks.change_network(request.caller, _id(request, "Network"), change)
        subnets = [each for each in self._service.networks.subnets(request.caller) if each.network_id == stored.id]
        return reply({"network": views.network(stored, subnets)})

    def remove_network(self, request: Request) -> webob.Response:
        self._service.networks.remove_network(request.caller, _id(request, "Network"))
        return reply(None, HTTPStatus.NO_CONTENT)

    # --- subnets ------------------------------------------------------------------

    def list_subnets(self, request: Request) -> webob.Response:
        return _listed(request, schemas.SUBNET, self._subnets(request))

    def show_subnet(self, request: Request) -> webob.Response:
        return _one(request, schemas.SUBNET, self._subnets(request))

    def _subnets(self, request: Request) -> list[Item]:
        found = self._service.networks.subnets(request.caller)
        return [Item(view=views.subnet(each), created_at=each.created_at) for each in found]

    def create_subnet(self, request: Request) -> webob.Response:
        subnet = parse.subnet(request.json_object(), request.caller)
        stored = self._service.networks.add_subnet(request.caller, subnet)
        return reply({"subnet": views.subnet(stored)}, HTTPStatus.CREATED)

    def change_subnet(self, request: Request) -> webob.Response:
        change = parse.subnet_change(request.json_object())
        stored = self._service.networks.change_subnet(request.caller, _id(request, "Subnet"), change)
        return reply({"subnet": views.subnet(stored)})

    def remove_subnet(self, request: Request) -> webob.Response:
        self._service.networks.remove_subnet(request.caller, _id(request, "Subnet"))
        return reply(None, HTTPStatus.NO_CONTENT)

    # --- ports --------------------------------------------------------------------

    def list_ports(self, request: Request) -> webob.Response:
        return _listed(request, schemas.PORT, self._ports(request))

    def show_port(self, request: Request) -> webob.Response:
        return _one(request, schemas.PORT, self._ports(request))

    def _ports(self, request: Request) -> list[Item]:
        return [
            Item(view=views.port(each, user), created_at=each.created_at)
            for each, user in self._service.networks.ports_with_users(request.caller)
        ]

    def create_port(self, request: Request) -> webob.Response:
        port = parse.port(request.json_object(), request.caller)
        stored = self._service.networks.add_port(request.caller, port)
        return reply({"port": views.port(stored, None)}, HTTPStatus.CREATED)

    def remove_port(self, request: Request) -> webob.Response:
        self._service.networks.remove_port(request.caller, _id(request, "Port"))
        return reply(None, HTTPStatus.NO_CONTENT)


def _id(request: Request, noun: str) -> str:
    return parse.path_id(noun, request.part("id"))


def _one(request: Request, resource: Resource, items: Iterable[Item]) -> webob.Response:
    """The one that the path names, as far as the caller may see it. Raises `NotFound`."""
    noun = resource.title.capitalize()
    wanted = Uuid().query(_id(request, noun))
    view = next((item.view for item in items if item.view["id"] == wanted), None)
    if view is None:
        raise NotFound(noun, request.part("id"))
    return reply({resource.name: listing.choose(view, listing.fields_of(request.query_string))})


def _listed(request: Request, resource: Resource, items: Iterable[Item]) -> webob.Response:
    """Filters that there are not are passed over, as Neutron does; links are there when pages are asked for."""
    known = {name: kind for name, kind in resource.filters().items() if name not in _NO_FILTER}
    asked = {name for name, _ in parse_qsl(request.query_string, keep_blank_values=True, errors="replace")}
    wanted = listing.read(request.query_string, known, ignored=asked - known.keys() - set(_NO_FILTER), marker=Uuid())
    found: list[View]
    found, links = wanted.page(items, request.path_url)
    body: dict[str, Any] = {resource.plural: found}
    if "limit" in asked:
        body[resource.links_key] = links
    return reply(body)
