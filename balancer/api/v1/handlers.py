"""One method for each method of a path: parse, call the service, view."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from http import HTTPStatus
from typing import TypeVar

from balancer.api.response import Response, reply, to_json
from balancer.api.v1 import parse, views
from balancer.api.wsgi import Request
from balancer.config import Settings
from balancer.core import changes
from balancer.core.changes import Change
from balancer.core.model import Device, Page, Statistics, Tree
from balancer.core.service import Service
from balancer.core.shown import Shown

_Result = TypeVar("_Result")

_MOST_DEPLOYMENTS = 1000
_LONGEST_PAGE = 1000


class Handlers:
    def __init__(self, service: Service, settings: Settings) -> None:
        self._service = service
        self._wait_seconds = settings.api.deploy_wait_seconds

    # --- devices ---------------------------------------------------------------------------

    def list_devices(self, request: Request) -> Response:
        return reply(
            {"devices": [views.device(item) for item in self._service.devices(request.caller, _page(request))]}
        )

    def register_device(self, request: Request) -> Response:
        device = parse.device(request.json_object())
        return self._write(
            request,
            lambda service: service.register_device(request.caller, device),
            lambda stored: reply({"device": views.device(stored, sent=device.endpoint.credential)}),
        )

    def show_device(self, request: Request) -> Response:
        return reply({"device": views.device(self._service.device(request.caller, _device_id(request)))})

    def change_device(self, request: Request) -> Response:
        change = parse.device_change(request.json_object())
        device_id = _device_id(request)
        return self._write(
            request, lambda service: service.change_device(request.caller, device_id, change), _shown_device
        )

    def remove_device(self, request: Request) -> Response:
        device_id, force = _device_id(request), request.flag("force")
        return self._write(
            request,
            lambda service: service.remove_device(request.caller, device_id, force=force),
            lambda _: reply(None, HTTPStatus.NO_CONTENT),
        )

    def show_device_info(self, request: Request) -> Response:
        device_id = _device_id(request)
        if request.flag("refresh"):
            seconds = 0.0 if _asynchronous(request) else self._wait_seconds
            device = self._service.refresh_device(request.caller, device_id, seconds)
        else:
            device = self._service.device(request.caller, device_id)
        last = self._service.deployments(request.caller, device_id, limit=1)
        age = self._service.observation_age(device)
        return reply({"device": views.device_info(device, last=last[0] if last else None, age=age)})

    def retry_device(self, request: Request) -> Response:
        device_id = _device_id(request)
        return self._write(request, lambda service: service.retry_device(request.caller, device_id), _shown_device)

    def resync_device(self, request: Request) -> Response:
        device_id = _device_id(request)
        return self._write(request, lambda service: service.resync_device(request.caller, device_id), _shown_device)

    def adopt_device(self, request: Request) -> Response:
        device_id = _device_id(request)
        return self._write(request, lambda service: service.adopt_device(request.caller, device_id), _shown_device)

    def list_deployments(self, request: Request) -> Response:
        limit = request.number("limit", 20, least=1, most=_MOST_DEPLOYMENTS)
        found = self._service.deployments(request.caller, _device_id(request), limit=limit)
        return reply({"deployments": [views.deployment(each) for each in found]})

    def show_deployment(self, request: Request) -> Response:
        number = parse.path_number("Deployment", request.part("n"))
        found = self._service.deployment(request.caller, _device_id(request), number)
        return reply({"deployment": {**views.deployment(found), "diff": found.diff}})

    def list_algorithms(self, request: Request) -> Response:
        return reply({"algorithms": parse.algorithm_names(self._service.capabilities(request.caller))})

    def list_protocols(self, request: Request) -> Response:
        return reply({"protocols": parse.protocol_names(self._service.capabilities(request.caller))})

    # --- quotas --------------------------------------------------------------------------------

    def show_quotas(self, request: Request) -> Response:
        project_id = request.part("tenant")
        limits = self._service.quotas(request.caller, project_id)
        return reply(views.quota(limits, self._service.usage(request.caller, project_id)))

    def change_quotas(self, request: Request) -> Response:
        changed = parse.quotas(request.json_object())
        return self._write(
            request,
            lambda service: service.set_quotas(request.caller, request.part("tenant"), changed),
            lambda _: self.show_quotas(request),
        )

    def reset_quotas(self, request: Request) -> Response:
        return self._write(
            request,
            lambda service: service.reset_quotas(request.caller, request.part("tenant")),
            lambda _: reply(None, HTTPStatus.NO_CONTENT),
        )

    # --- load balancers ------------------------------------------------------------------------

    def list_load_balancers(self, request: Request) -> Response:
        return _listed(request, self._service.load_balancers(request.caller, request.part("tenant"), _page(request)))

    def find_load_balancers(self, request: Request) -> Response:
        shown = self._service.load_balancers(request.caller, request.part("tenant"))
        return _listed(request, [each for each in shown if views.serves_vm(each.tree, request.part("vm_id"))])

    def create_load_balancer(self, request: Request) -> Response:
        offered = self._service.capabilities(request.caller)
        tree, device_id = parse.load_balancer(request.json_object(), request.part("tenant"), offered)
        return self._write(
            request,
            lambda service: service.create(request.caller, tree, device_id=device_id),
            lambda stored: self._accepted(request, self._settled(request, stored)),
        )

    def show_load_balancer(self, request: Request) -> Response:
        return reply(b'{"loadbalancer": %b}' % _load_balancer(self._shown(request), request.caller.admin))

    def show_details(self, request: Request) -> Response:
        shown = self._shown(request)
        return reply(views.details(shown.tree, shown.devices, shown.statistics, whole=request.caller.admin))

    def show_statistics(self, request: Request) -> Response:
        if request.flag("refresh"):
            seconds = 0.0 if _asynchronous(request) else self._wait_seconds
            self._service.refresh_statistics(
                request.caller, request.part("tenant"), _load_balancer_id(request), seconds
            )
        tree = self._tree(request)
        return reply({"stats": views.statistics(tree, self._service.statistics_of(tree))})

    def change_load_balancer(self, request: Request) -> Response:
        offered = self._service.capabilities(request.caller)
        change = parse.load_balancer_change(request.json_object(), offered)
        return self._change(request, change, lambda tree: self._accepted(request, tree))

    def delete_load_balancer(self, request: Request) -> Response:
        load_balancer_id = _load_balancer_id(request)

        def answer(tree: Tree) -> Response:
            self._settled(request, tree)
            return _marked(request, reply(None, HTTPStatus.NO_CONTENT))

        return self._write(
            request, lambda service: service.delete(request.caller, request.part("tenant"), load_balancer_id), answer
        )

    # --- nodes -------------------------------------------------------------------------------------

    def list_nodes(self, request: Request) -> Response:
        shown = self._shown(request)
        return reply({"nodes": views.nodes(shown.tree, shown.statistics)})

    def add_nodes(self, request: Request) -> Response:
        members, change = parse.nodes(request.json_object())
        ids = [member.id for member in members]
        return self._change(
            request, change, lambda tree: _done(request, {"nodes": views.nodes(tree, self._seen(tree), ids)})
        )

    def show_node(self, request: Request) -> Response:
        shown = self._shown(request)
        return reply({"node": views.node(shown.tree, shown.statistics, _node_id(request))})

    def change_node(self, request: Request) -> Response:
        return self._changed_node(request, parse.node_change(_node_id(request), request.json_object()))

    def change_node_status(self, request: Request) -> Response:
        return self._changed_node(request, parse.node_status_change(_node_id(request), request.part("status")))

    def _changed_node(self, request: Request, change: Change) -> Response:
        node_id = _node_id(request)
        return self._change(
            request, change, lambda tree: _done(request, {"node": views.node(tree, self._seen(tree), node_id)})
        )

    def remove_node(self, request: Request) -> Response:
        return self._change(request, parse.without_node(_node_id(request)), lambda _: _done(request, None))

    # --- virtual IPs -----------------------------------------------------------------------------------

    def list_virtual_ips(self, request: Request) -> Response:
        shown = self._shown(request)
        return reply({"virtualIps": views.virtual_ips(shown.tree, shown.statistics)})

    def add_virtual_ip(self, request: Request) -> Response:
        offered = self._service.capabilities(request.caller)
        virtual_ip_id, change = parse.virtual_ip(request.json_object(), offered)
        return self._changed_virtual_ip(request, virtual_ip_id, change)

    def show_virtual_ip(self, request: Request) -> Response:
        shown = self._shown(request)
        return reply({"virtualIp": views.virtual_ip(shown.tree, shown.statistics, _virtual_ip_id(request))})

    def change_virtual_ip(self, request: Request) -> Response:
        offered = self._service.capabilities(request.caller)
        virtual_ip_id = _virtual_ip_id(request)
        change = parse.virtual_ip_change(virtual_ip_id, request.json_object(), offered)
        return self._changed_virtual_ip(request, virtual_ip_id, change)

    def _changed_virtual_ip(self, request: Request, virtual_ip_id: str, change: Change) -> Response:
        def answer(tree: Tree) -> Response:
            return _done(request, {"virtualIp": views.virtual_ip(tree, self._seen(tree), virtual_ip_id)})

        return self._change(request, change, answer)

    def remove_virtual_ip(self, request: Request) -> Response:
        return self._change(request, changes.remove_listener(_virtual_ip_id(request)), lambda _: _done(request, None))

    # --- health monitors -----------------------------------------------------------------------------------

    def list_health_monitors(self, request: Request) -> Response:
        return reply({"healthMonitoring": views.health_monitors(self._tree(request))})

    def add_health_monitor(self, request: Request) -> Response:
        monitor, change = parse.health_monitoring(request.json_object(), request.part("tenant"))
        return self._change(
            request, change, lambda tree: _done(request, {"healthMonitoring": views.health_monitor(tree, monitor.id)})
        )

    def show_health_monitor(self, request: Request) -> Response:
        return reply({"healthMonitoring": views.health_monitor(self._tree(request), _monitor_id(request))})

    def remove_health_monitor(self, request: Request) -> Response:
        return self._change(request, changes.remove_monitor(_monitor_id(request)), lambda _: _done(request, None))

    # --- session persistence -----------------------------------------------------------------------------------

    def list_session_persistences(self, request: Request) -> Response:
        return reply({"sessionPersistence": views.session_persistences(self._tree(request))})

    def add_session_persistence(self, request: Request) -> Response:
        sticky, change = parse.session_persistence(request.json_object())
        return self._change(
            request,
            change,
            lambda tree: _done(request, {"sessionPersistence": views.session_persistence(tree, sticky.id)}),
        )

    def show_session_persistence(self, request: Request) -> Response:
        view = views.session_persistence(self._tree(request), _sticky_id(request))
        return reply({"sessionPersistence": view})

    def remove_session_persistence(self, request: Request) -> Response:
        change = parse.without_session_persistence(_sticky_id(request))
        return self._change(request, change, lambda _: _done(request, None))

    # --- what they share -----------------------------------------------------------------------------------------

    def _shown(self, request: Request) -> Shown:
        return self._service.load_balancer(request.caller, request.part("tenant"), _load_balancer_id(request))

    def _tree(self, request: Request) -> Tree:
        return self._shown(request).tree

    def _seen(self, tree: Tree) -> Statistics:
        return self._service.statistics_of(tree)

    def _write(
        self,
        request: Request,
        write: Callable[[Service], _Result],
        answer: Callable[[_Result], Response],
    ) -> Response:
        """Every write goes this way: done and answered, or tried out with ``?dry_run=1``."""
        if request.flag("dry_run"):
            return reply({"dry_run": views.dry_run(self._service.preview(request.caller, write))})
        return answer(write(self._service))

    def _change(self, request: Request, change: Change, answer: Callable[[Tree], Response]) -> Response:
        """`answer` gets the tree once it is deployed."""
        load_balancer_id = _load_balancer_id(request)
        return self._write(
            request,
            lambda service: service.change(request.caller, request.part("tenant"), load_balancer_id, change),
            lambda tree: answer(self._settled(request, tree)),
        )

    def _settled(self, request: Request, tree: Tree) -> Tree:
        """The tree once its deployment has ended, or as it is when the time for that is over."""
        if not self._wait_seconds or _asynchronous(request):
            return tree
        return self._service.wait(request.caller, tree, self._wait_seconds)

    def _accepted(self, request: Request, tree: Tree) -> Response:
        view = views.accepted(tree, self._service.devices_of(tree), whole=request.caller.admin)
        return _marked(request, reply({"loadbalancer": view}, HTTPStatus.ACCEPTED))


@lru_cache(maxsize=5000)
def _load_balancer(shown: Shown, whole: bool) -> bytes:
    """Its JSON. What is shown is the same object as long as it is the same."""
    return to_json(views.load_balancer(shown.tree, shown.devices, shown.statistics, whole=whole))


def _listed(request: Request, shown: list[Shown]) -> Response:
    views_ = (_load_balancer(each, request.caller.admin) for each in shown)
    return reply(b'{"loadbalancers": [%b]}' % b", ".join(views_))


def _page(request: Request) -> Page:
    """What ``?limit=`` and ``?marker=`` ask for."""
    marker = request.query_text("marker")
    limit = request.number("limit", 0, least=1, most=_LONGEST_PAGE)
    return Page(marker=None if marker is None else parse.marker(marker), limit=limit or None)


def _asynchronous(request: Request) -> bool:
    return request.prefers("respond-async")


def _shown_device(device: Device) -> Response:
    return reply({"device": views.device(device)})


def _done(request: Request, body: views.View | None) -> Response:
    """The answer to a change of a load balancer's children."""
    return _marked(request, reply(body, HTTPStatus.OK if body is not None else HTTPStatus.NO_CONTENT))


def _marked(request: Request, response: Response) -> Response:
    if _asynchronous(request):
        response.headers["Preference-Applied"] = "respond-async"
    return response


def _device_id(request: Request) -> str:
    return parse.path_id("Device", request.part("device_id"))


def _load_balancer_id(request: Request) -> str:
    return parse.path_id("Load balancer", request.part("lb_id"))


def _node_id(request: Request) -> str:
    return parse.path_id("Node", request.part("node_id"))


def _virtual_ip_id(request: Request) -> str:
    return parse.path_id("Virtual IP", request.part("vip_id"))


def _monitor_id(request: Request) -> str:
    return parse.path_id("Health monitor", request.part("probe_id"))


def _sticky_id(request: Request) -> str:
    return parse.path_id("Session persistence", request.part("sticky_id"))
