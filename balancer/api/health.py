"""The health check. Whoever asks learns whether the service works; why it does not is for administrators."""

from __future__ import annotations

from collections import Counter
from http import HTTPStatus
from typing import Any

from balancer.api.policy import PUBLIC
from balancer.api.response import Response, reply
from balancer.api.wsgi import Request, Route, Table
from balancer.core.service import Service
from balancer.core.status import device_status
from balancer.exceptions import BalancerError


def table(service: Service) -> Table:
    def check(request: Request) -> Response:
        """It works when the database can be read and somebody is there who deploys."""
        admin = request.caller.admin
        details: dict[str, Any]
        try:
            workers = service.working()
            details = {"database": "OK", "workers": list(workers), **(_figures(service, request) if admin else {})}
        except BalancerError as error:
            workers = ()
            details = {"database": str(error)}
        status = HTTPStatus.OK if workers else HTTPStatus.SERVICE_UNAVAILABLE
        return reply({"healthy": bool(workers), **(details if admin else {})}, status)

    return {"/healthcheck": {"GET": Route(PUBLIC, check)}}


def _figures(service: Service, request: Request) -> dict[str, Any]:
    figures = service.figures(request.caller)
    return {
        "devices": dict(sorted(Counter(device_status(each)[0].value for each in figures.devices).items())),
        "waiting_devices": figures.waiting_devices,
        "longest_wait": round(figures.longest_wait, 3),
    }
