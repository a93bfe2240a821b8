"""What a request is answered with: a WSGI application that says one thing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any


def _line(status: HTTPStatus) -> str:
    return f"{int(status)} {status.phrase}"


_LINES = {status: _line(status) for status in HTTPStatus}


@dataclass(slots=True)
class Response:
    """`status` as in the status line, ``200 OK``. `headers` have their usual spelling, Content-Length among them."""

    status: str
    headers: dict[str, str]
    body: bytes

    def __call__(self, environ: Mapping[str, Any], start_response: Any) -> list[bytes]:
        start_response(self.status, list(self.headers.items()))
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [self.body]


def to_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def reply(body: Mapping[str, Any] | bytes | None, status: HTTPStatus = HTTPStatus.OK) -> Response:
    """A JSON response; bytes are JSON already, None answers without a body."""
    if body is None:
        headers = {} if status is HTTPStatus.NO_CONTENT else {"Content-Length": "0"}
        return Response(_LINES[status], headers, b"")
    return of_type("application/json", body if isinstance(body, bytes) else to_json(body), status)


def of_type(media: str, body: bytes, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(_LINES[status], {"Content-Type": media, "Content-Length": str(len(body))}, body)
