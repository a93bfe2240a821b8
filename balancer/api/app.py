"""The whole application: every dialect behind one WSGI callable."""

from __future__ import annotations

from balancer.api import versions
from balancer.api.middleware.access import AccessLog
from balancer.api.middleware.concurrency import Concurrency
from balancer.api.middleware.faults import Faults
from balancer.api.middleware.size import SizeLimit
from balancer.api.v1 import routes as v1
from balancer.api.wsgi import Application, Router
from balancer.config import Settings
from balancer.core.service import Service


def make_app(service: Service, settings: Settings) -> Application:
    """A plain WSGI application for any server."""
    router = Router({**versions.table(service), **v1.table(service, settings)}, v1.REQUIREMENTS)
    return AccessLog(Faults(SizeLimit(Concurrency(router, settings.api.max_requests), settings.api.max_body_bytes)))
