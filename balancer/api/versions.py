"""The version document: which dialects there are, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from balancer.api.policy import PUBLIC
from balancer.api.response import Response, reply
from balancer.api.wsgi import Request, Route, Table
from balancer.core.service import Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A dialect in the version document. `path` is where it begins, or where its description is when `rel` says so.
    `updated`: when the dialect's authors published that version, None for our own."""

    id: str
    status: str
    path: str
    rel: str = "self"
    updated: str | None = None


# Clients of Octavia take the highest one that is current for what the server can do. But one whose `self` is the very
# address that they were given they take before all others, so this one, which begins there, has none.
BALANCER_V1 = Version(id="v1.0", status="SUPPORTED", path="/openapi.json", rel="describedby")
_LBAAS_V2_DATES = (
    "2016-12-11T00:00:00Z",
    "2018-04-20T00:00:00Z",
    "2018-07-31T00:00:00Z",
    "2018-12-18T00:00:00Z",
    "2018-12-19T00:00:00Z",
    "2019-01-21T00:00:00Z",
    "2019-01-25T00:00:00Z",
    "2018-01-25T12:00:00Z",
    "2019-02-12T00:00:00Z",
    "2019-03-04T00:00:00Z",
    "2019-03-05T00:00:00Z",
    "2019-06-24T00:00:00Z",
    "2019-09-11T00:00:00Z",
    "2019-09-13T00:00:00Z",
    "2019-11-10T00:00:00Z",
    "2020-03-10T00:00:00Z",
    "2020-03-15T00:00:00Z",
    "2020-04-29T00:00:00Z",
    "2020-04-29T01:00:00Z",
    "2020-05-12T00:00:00Z",
    "2020-08-02T00:00:00Z",
    "2020-09-03T00:00:00Z",
    "2020-09-04T00:00:00Z",
    "2020-09-07T00:00:00Z",
    "2020-10-15T00:00:00Z",
    "2021-10-02T00:00:00Z",
    "2022-08-29T00:00:00Z",
)
LBAAS_V2 = tuple(
    Version(
        id=f"v2.{minor}",
        status="CURRENT" if minor == len(_LBAAS_V2_DATES) - 1 else "SUPPORTED",
        path="/v2",
        updated=updated,
    )
    for minor, updated in enumerate(_LBAAS_V2_DATES)
)
MOUNTED: Sequence[Version] = (BALANCER_V1, *LBAAS_V2)


def table(service: Service) -> Table:
    def document(request: Request) -> Response:
        base = request.application_url
        return reply(
            {
                "versions": [
                    {
                        "id": version.id,
                        "status": version.status,
                        **({"updated": version.updated} if version.updated else {}),
                        "links": [{"rel": version.rel, "href": base + version.path}],
                    }
                    for version in MOUNTED
                ]
            }
        )

    return {"/": {"GET": Route(PUBLIC, document)}}
