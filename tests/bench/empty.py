"""The least that can stand behind a WSGI server: the floor of every request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_BODY = b'{"nothing": "at all"}'


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(_BODY)))])
    return [_BODY]


def app_factory(global_conf: Mapping[str, Any], **local_conf: Any) -> Any:
    return application


def write_paste_file(path: Path) -> Path:
    """A pipeline with which balancer-api serves this instead of itself."""
    path.write_text("[app:main]\npaste.app_factory = tests.bench.empty:app_factory\n")
    return path
