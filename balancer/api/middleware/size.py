"""Reads the body, up to a limit, and hands it on from memory."""

from __future__ import annotations

import io
from http import HTTPStatus
from typing import Any

from balancer.api.errors import HttpError
from balancer.api.wsgi import Application

_CHUNK = 64 * 1024


class SizeLimit:
    """Refuses a body longer than `longest` bytes with 413, without reading more of it than that.

    The inner application finds a body of known length, whether it was sent in chunks or not.
    """

    def __init__(self, app: Application, longest: int) -> None:
        self._app = app
        self._longest = longest

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        body = self._read(environ)
        environ["wsgi.input"] = io.BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        return self._app(environ, start_response)

    def _read(self, environ: dict[str, Any]) -> bytes:
        declared = environ.get("CONTENT_LENGTH") or ""
        if "HTTP_TRANSFER_ENCODING" in environ:
            left = self._longest + 1
        elif declared.isascii() and declared.isdigit():
            left = int(declared[:20])
            if left > self._longest:
                raise self._too_long()
        elif declared:
            raise HttpError(HTTPStatus.BAD_REQUEST, "Content-Length is not a number")
        else:
            return b""
        body = bytearray()
        while left > 0:
            try:
                piece = environ["wsgi.input"].read(min(left, _CHUNK))
            except TimeoutError:
                raise HttpError(HTTPStatus.REQUEST_TIMEOUT, "The body did not come in time") from None
            except (OSError, ValueError):
                raise HttpError(HTTPStatus.BAD_REQUEST, "The body could not be read to its end") from None
            if not piece:
                break
            body += piece
            left -= len(piece)
        if len(body) > self._longest:
            raise self._too_long()
        if declared and "HTTP_TRANSFER_ENCODING" not in environ and left:
            raise HttpError(HTTPStatus.BAD_REQUEST, "The body is shorter than its Content-Length")
        return bytes(body)

    def _too_long(self) -> HttpError:
        return HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body may have {self._longest} bytes at most")
