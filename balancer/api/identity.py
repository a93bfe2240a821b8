"""Where clients without Keystone look for projects.

The command line of Octavia asks for a project before it sets its quotas. There is none to be looked up; who is told
that it may not look takes the name for the id, and goes on.
"""

from __future__ import annotations

from http import HTTPStatus

from balancer.api.errors import HttpError
from balancer.api.policy import PUBLIC
from balancer.api.response import Response
from balancer.api.wsgi import Request, Route, Table


def table() -> Table:
    def refuse(request: Request) -> Response:
        raise HttpError(HTTPStatus.FORBIDDEN, "Projects are Keystone's; what is named here counts as an id")

    return {"/projects": {"GET": Route(PUBLIC, refuse)}}
