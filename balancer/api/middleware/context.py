"""The Paste filter ``context``: who is calling, according to Keystone's ``authtoken`` in front of it.

What counts is the object that ``authtoken`` left in the environ together with its verdict: headers alone can be
forged when no ``authtoken`` removes them, and ``authtoken`` leaves the object of an expired token there, too.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from balancer.api.errors import HttpError
from balancer.api.middleware.access import AccessLog
from balancer.api.middleware.faults import Faults
from balancer.api.wsgi import CALLER, Application
from balancer.core.model import Caller

OPEN_PATHS = ("/", "/healthcheck")
_NOBODY = Caller()


def caller_of(environ: dict[str, Any]) -> Caller | None:
    """The caller with a valid token; None when there is none."""
    auth = environ.get("keystone.token_auth")
    user = getattr(auth, "user", None)
    if user is None or environ.get("HTTP_X_IDENTITY_STATUS") != "Confirmed":
        return None
    if environ.get("HTTP_X_SERVICE_IDENTITY_STATUS", "Confirmed") != "Confirmed":
        return None
    roles = frozenset(role.lower() for role in user.role_names or ())
    return Caller(project_id=user.project_id, user_id=user.user_id, roles=roles)


def _unauthorised(environ: dict[str, Any], start_response: Any) -> Any:
    raise HttpError(HTTPStatus.UNAUTHORIZED, "A valid token is needed in X-Auth-Token")


class ContextMiddleware:
    """Lets version documents and the health check through for everybody, the rest with a valid token only."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self._refuse = AccessLog(Faults(_unauthorised))

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        caller = caller_of(environ)
        path = environ.get("PATH_INFO", "").rstrip("/") or "/"
        environ[CALLER] = caller or _NOBODY
        if caller is None and path not in OPEN_PATHS:
            return self._refuse(environ, start_response)
        return self._app(environ, start_response)
