"""The version document: which dialects there are, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import webob

from balancer.api.policy import PUBLIC
from balancer.api.wsgi import Request, Route, Table, reply
from balancer.core.service import Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A dialect in the version document. `path` is where it begins, with a slash at both ends."""

    id: str
    status: str
    path: str


BALANCER_V1 = Version(id="v1.0", status="CURRENT", path="/")
MOUNTED: Sequence[Version] = (BALANCER_V1,)


def table(service: Service) -> Table:
    def document(request: Request) -> webob.Response:
        base = request.application_url
        return reply(
            {
                "versions": [
                    {
                        "id": version.id,
                        "status": version.status,
                        "links": [{"rel": "self", "href": base + version.path}],
                    }
                    for version in MOUNTED
                ]
            }
        )

    return {"/": {"GET": Route(PUBLIC, document)}}
