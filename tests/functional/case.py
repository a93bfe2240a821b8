"""The real application over a real database, the fake driver and a real worker, all in this process."""

from __future__ import annotations

import json
import tempfile
import threading
import time
import unittest
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import sqlalchemy as sa
import webob

from balancer.api.app import make_app
from balancer.api.wsgi import Application
from balancer.config import ApiSettings, Settings
from balancer.core import scheduler
from balancer.core.model import AdminState
from balancer.core.reconciler import Reconciler
from balancer.core.service import Service
from balancer.core.worker import Worker
from balancer.db import migrations, tables
from balancer.db.engine import make_engine
from balancer.db.leases import SqlLeases, make_owner
from balancer.db.repository import SqlRepository
from balancer.db.secrets import Keys, new_key
from balancer.drivers.registry import Registry

DEVICE: Mapping[str, Any] = {
    "name": "HAP-001",
    "type": "dummy",
    "version": "1",
    "ip": "192.0.2.10",
    "port": "22",
    "user": "user",
    "password": "not a secret",
}
LOAD_BALANCER: Mapping[str, Any] = {"name": "web", "protocol": "HTTP", "algorithm": "ROUND_ROBIN"}
NODE: Mapping[str, Any] = {"address": "198.51.100.1", "port": 8001}
VIRTUAL_IP: Mapping[str, Any] = {"address": "203.0.113.5", "port": 80}
NO_ID = "0" * 32


@cache
def synced_database() -> bytes:
    """The file of an empty database with all its tables, made once for the process."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "balancer.sqlite"
        engine = make_engine(f"sqlite:///{path}")
        migrations.sync(engine)
        engine.dispose()
        return path.read_bytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    json: Any
    headers: Mapping[str, str]


class WorkerNotifier:
    """Wakes the worker of this process."""

    def __init__(self) -> None:
        self.worker: Worker | None = None

    def notify(self, device_id: str) -> None:
        if self.worker is not None:
            self.worker.wake([device_id])


class ApiCase(unittest.TestCase):
    """`worker` False: nothing is deployed, and writes do not wait for it."""

    worker: ClassVar[bool] = True
    max_body_bytes: ClassVar[int] = 1024 * 1024
    app: Application

    def setUp(self) -> None:
        database = Path(self.enterContext(tempfile.TemporaryDirectory())) / "balancer.sqlite"
        database.write_bytes(synced_database())
        self.engine = make_engine(f"sqlite:///{database}")
        self.addCleanup(self.engine.dispose)
        wait = 10.0 if self.worker else 0.0
        self.settings = Settings(
            device_drivers=("dummy", "haproxy"),
            api=ApiSettings(deploy_wait_seconds=wait, max_body_bytes=self.max_body_bytes),
        )
        self.registry = Registry(self.settings)
        self.addCleanup(self.registry.close)
        self.secrets = Keys([new_key()])
        self.repository = SqlRepository(self.engine, secrets=self.secrets)
        self.notifier = WorkerNotifier()
        self.service = self._make_service(self.repository)
        self.app = make_app(self.service, self.settings)
        if self.worker:
            self.notifier.worker = self._start_worker()

    def _make_service(self, repository: SqlRepository) -> Service:
        placing = scheduler.from_names(self.settings.device_filters, self.settings.device_cost_functions, {})
        types = self.registry.types()
        return Service(repository, self.registry.driver_for, placing, self.notifier, device_types=types)

    def make_reconciler(self) -> Reconciler:
        options = self.settings.worker
        return Reconciler(
            self.repository,
            SqlLeases(self.engine, make_owner(), options.lease_seconds),
            self.registry.driver_for,
            lease_seconds=options.lease_seconds,
            observe_interval=options.observe_interval,
            retry_first=options.retry_first,
            retry_max=options.retry_max,
        )

    def _start_worker(self) -> Worker:
        worker = Worker(
            self.repository, self.make_reconciler(), name="tests", threads=2, scan_interval=0.5, observe_interval=60.0
        )
        thread = threading.Thread(target=worker.run, name="worker")
        thread.start()
        self.addCleanup(thread.join, 30)
        self.addCleanup(worker.stop)
        return worker

    # --- asking -----------------------------------------------------------------------

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        environ: Mapping[str, Any] | None = None,
    ) -> Answer:
        """One request. `body` is sent as JSON, `raw` as it is."""
        request = webob.Request.blank(path, method=method, environ=dict(environ or {}))
        if body is not None:
            raw = json.dumps(body).encode()
        if raw is not None:
            request.body = raw
            request.headers["Content-Type"] = "application/json"
        request.headers.update(headers or {})
        response = request.get_response(self.app)
        if method == "GET" and response.status_int == 200 and "/loadbalancers" in path and "/stats" not in path:
            response = self._as_from_scratch(request, response)
        return Answer(
            status=response.status_int,
            json=json.loads(response.body) if response.body and response.content_type == "application/json" else None,
            headers=dict(response.headers),
        )

    def _as_from_scratch(self, request: webob.Request, response: webob.Response) -> webob.Response:
        """What is remembered from one request to the next must never show. A worker may change it in between."""
        for _ in range(5):
            forgetful = SqlRepository(self.engine, secrets=self.secrets)
            fresh = request.copy().get_response(make_app(self._make_service(forgetful), self.settings))
            if (fresh.status_int, fresh.body) == (response.status_int, response.body):
                break
            response = request.copy().get_response(self.app)
        self.assertEqual(fresh.body, response.body, "what is remembered is not what is stored")
        return response

    def text(self, path: str) -> tuple[str, str]:
        """Media type and body of a GET that must succeed."""
        response = webob.Request.blank(path).get_response(self.app)
        self.assertEqual(200, response.status_int, response.text)
        return response.headers["Content-Type"], response.text

    def get(self, path: str) -> Any:
        """The body of a GET that must succeed."""
        return self.expect(200, "GET", path)

    def expect(self, status: int, method: str, path: str, body: Any = None) -> Any:
        """The body of a request that must answer with that status."""
        answer = self.call(method, path, body)
        self.assertEqual(status, answer.status, answer.json)
        return answer.json

    def refuse(self, status: int, method: str, path: str, body: Any = None, *, field: str | None = None) -> str:
        """The message of a request that must be refused with that status and field, leaving nothing behind."""
        self.wait_for_the_worker()
        before = self.rows()
        answer = self.call(method, path, body)
        self.assertEqual(status, answer.status, answer.json)
        error = answer.json["error"]
        self.assertEqual(status, error["code"])
        if field is not None:
            self.assertEqual(field, error.get("field"), error)
        self.assertEqual(before, self.rows())
        message: str = error["message"]
        return message

    def until(self, holds: Callable[[], object]) -> None:
        """Waits for what a worker is to do on its own account."""
        deadline = time.monotonic() + 30
        while not holds():
            self.assertLess(time.monotonic(), deadline, "it did not happen")
            time.sleep(0.01)

    def wait_for_the_worker(self) -> None:
        """Until it has done what was asked for, or failed at it, so that its writing is not the request's."""
        if not self.worker:
            return
        devices = tables.devices
        in_hand = sa.select(sa.func.count()).where(
            devices.c.desired_revision > devices.c.applied_revision,
            devices.c.error.is_(None),
            devices.c.admin_state != AdminState.MAINTENANCE.value,
        )
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            with self.engine.connect() as connection:
                if not connection.scalar(in_hand):
                    return
            time.sleep(0.01)

    # --- what there is --------------------------------------------------------------------

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table, without what workers write on their own account."""
        skipped = {"leases", "device_observations", "object_statistics", "workers", "deployment_totals"}
        skipped |= {"reservations", "deployments", "accepted_blocks"} if self.worker else set()
        volatile = {
            "host_key",
            "deployed_epoch",
            "applied_revision",
            "error",
            "failures",
            "retry_at",
            "halted_revision",
            "waiting_since",
        }
        if self.worker:
            volatile |= {"adopting", "applied_generation", "applied_changed_at", "moving_from", "move_phase", "notices"}
            volatile |= {"resyncing", "updated_at"}
        with self.engine.connect() as connection:
            return {
                table.name: [
                    tuple(row)
                    for row in connection.execute(
                        sa.select(*(column for column in table.columns if column.name not in volatile))
                    )
                ]
                for table in tables.metadata.sorted_tables
                if table.name not in skipped
            }

    def register(self, **fields: Any) -> str:
        """The id of a new device."""
        device_id: str = self.expect(200, "POST", "/devices", {**DEVICE, **fields})["device"]["id"]
        return device_id

    def create(self, **fields: Any) -> str:
        """The path of a new load balancer of the project foo."""
        answer = self.expect(202, "POST", "/foo/loadbalancers", {**LOAD_BALANCER, **fields})
        return f"/foo/loadbalancers/{answer['loadbalancer']['id']}"
