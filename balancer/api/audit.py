"""The audit: who asked for which change of what, and what came of it. One line of JSON each, to the logger
``balancer.audit``. It holds ids only: nothing of a request's body, and no query."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from balancer.core.model import Caller

LOGGER = "balancer.audit"
log = logging.getLogger(LOGGER)

_READING = ("GET", "HEAD", "OPTIONS", "TRACE")
_LONGEST = 255
_MOST_IDS = 1000


def request(
    *,
    request_id: str,
    global_id: str | None,
    caller: Caller,
    address: str,
    method: str,
    route: str,
    parts: Mapping[str, str],
    status: str,
    body: Sequence[bytes],
) -> None:
    """Tell of one request, unless it was for reading. `route` is its path in the table, empty for none; `parts` are the
    named parts of it; `status` is that of the answer, ``-`` when there was none."""
    if method in _READING:
        return
    answered = _answer(body) if status.startswith("2") else {}
    event: dict[str, Any] = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "request_id": request_id,
        "global_request_id": global_id,
        "user_id": caller.user_id,
        "project_id": caller.project_id,
        "admin": caller.admin,
        "address": address,
        "action": f"{method[:_LONGEST]} {route}".rstrip(),
        "target": {name: text[:_LONGEST] for name, text in parts.items()},
        "objects": _ids(answered),
        "outcome": _outcome(status),
        "status": int(status) if status.isdigit() else None,
    }
    if "dry_run" in answered:
        event["dry_run"] = True
    log.info("%s", json.dumps(event))


def _outcome(status: str) -> str:
    return {"2": "done", "4": "refused"}.get(status[:1], "failed")


def _answer(body: Sequence[bytes]) -> dict[str, Any]:
    try:
        value = json.loads(b"".join(body))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _ids(answer: Mapping[str, Any]) -> list[str]:
    """Those of the objects that an answer shows, ``{"node": {"id": …}}`` or ``{"nodes": [{"id": …}]}``."""
    objects = [item for value in answer.values() for item in (value if isinstance(value, list) else [value])]
    ids = [item["id"] for item in objects if isinstance(item, dict) and isinstance(item.get("id"), str)]
    return ids[:_MOST_IDS]
