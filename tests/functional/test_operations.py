"""What operators look at: the health check, metrics, the access log, the audit; and what nobody is to see."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from balancer.api.app import make_metrics_app, table
from balancer.api.middleware.access import RequestIdFilter
from balancer.api.middleware.context import ContextMiddleware
from balancer.api.wsgi import CALLER, operations
from balancer.core.model import Caller
from tests.functional.case import DEVICE, LOAD_BALANCER, NO_ID, NODE, VIRTUAL_IP, ApiCase
from tests.functional.lbaas_v1 import LB, LbaasV1Case
from tests.functional.lbaas_v2 import NO_UUID, V2
from tests.integration.running import eventually

FORMS = {
    "lbaas": {"faultcode", "faultstring", "debuginfo", "NeutronError"},
    "networks": {"faultcode", "faultstring", "debuginfo", "NeutronError"},
    "lb": {"NeutronError"},
}
VIP = {"pool_id": NO_UUID, "protocol": "HTTP", "protocol_port": 80, "subnet_id": NO_UUID}
TENANT = {CALLER: Caller(project_id="foo", user_id="u1")}
NOBODY = {CALLER: Caller()}


class TestHealth(ApiCase):
    def test_it_is_well_while_there_is_a_worker(self) -> None:
        device_id = self.register()
        eventually(lambda: self.call("GET", "/healthcheck").status == 200, "the worker tells that it is alive")
        eventually(lambda: self.get(f"/devices/{device_id}")["device"]["status"] == "ONLINE", "it is seen")
        told = self.get("/healthcheck")
        self.assertEqual(
            {"healthy": True, "database": "OK", "workers": ["tests"], "devices": {"ONLINE": 1}},
            {key: told[key] for key in ("healthy", "database", "workers", "devices")},
        )
        for environ in (TENANT, NOBODY):
            self.assertEqual({"healthy": True}, self.call("GET", "/healthcheck", environ=environ).json)


class TestIllHealth(ApiCase):
    worker = False

    def check(self, environ: dict[str, Any]) -> Any:
        answer = self.call("GET", "/healthcheck", environ=environ)
        self.assertEqual(503, answer.status)
        return answer.json

    def test_without_a_worker(self) -> None:
        self.assertEqual({"healthy": False}, self.check(NOBODY))
        self.assertEqual([], self.check({})["workers"])
        self.repository.heartbeat("one", 30)
        self.assertEqual(["one"], self.get("/healthcheck")["workers"])
        self.repository.retire("one")
        self.check({})

    def test_a_worker_that_is_not_heard_of_any_more_is_none(self) -> None:
        self.repository.heartbeat("one", 0)
        self.assertEqual([], self.check({})["workers"])

    def test_without_a_database(self) -> None:
        break_database(self)
        self.assertEqual({"healthy": False}, self.check(TENANT))
        self.assertEqual({"healthy": False, "database": "The database file cannot be opened"}, self.check({}))


class TestMetrics(ApiCase):
    def figures(self, text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def read(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        answer = self.text("/metrics")
        self.assertTrue(answer[0].startswith("text/plain"), answer[0])
        return self.figures(answer[1])

    def value(self, metric: str, **labels: str) -> float:
        return self.read().get((metric, frozenset(labels.items())), 0.0)

    def test_requests_are_counted_by_their_path_in_the_table(self) -> None:
        labels = {"method": "GET", "route": "/{tenant}/loadbalancers/{lb_id}", "status": "404"}
        before = self.value("balancer_http_requests_total", **labels)
        unknown = self.value("balancer_http_requests_total", method="other", route="none", status="404")
        for project in ("foo", "bar"):
            self.call("GET", f"/{project}/loadbalancers/{NO_ID}")
        self.call("BREW", "/no/such/path/at/all")
        self.assertEqual(before + 2, self.value("balancer_http_requests_total", **labels))
        after = self.value("balancer_http_requests_total", method="other", route="none", status="404")
        self.assertEqual(unknown + 1, after)
        del labels["status"]
        self.assertGreaterEqual(self.value("balancer_http_request_duration_seconds_count", **labels), 2)

    def test_devices_load_balancers_and_deployments(self) -> None:
        device_id = self.register()
        path = self.create(nodes=[NODE], virtualIps=[VIRTUAL_IP])
        self.assertEqual(1, self.value("balancer_devices", status="ONLINE", admin_state="ENABLED"))
        self.assertEqual(1, self.value("balancer_load_balancers", status="ACTIVE"))
        self.assertEqual(0, self.value("balancer_load_balancers", status="ERROR"))
        self.assertEqual(0, self.value("balancer_devices_waiting"))
        self.assertEqual(1, self.value("balancer_workers"))
        applied = {"device": device_id, "outcome": "applied", "plan": "reload"}
        done = self.value("balancer_deployments_total", **applied)
        self.assertGreaterEqual(done, 1)
        self.assertEqual(done, self.value("balancer_deployment_duration_seconds_count", **applied))
        self.assertGreater(self.value("balancer_deployment_duration_seconds_sum", **applied), 0)
        self.expect(204, "DELETE", path)
        self.assertEqual(done + 1, self.value("balancer_deployments_total", **applied))

        self.expect(200, "PUT", f"/devices/{device_id}", {"behaviour": "unreachable"})
        self.call("POST", "/foo/loadbalancers", LOAD_BALANCER, headers={"Prefer": "respond-async"})
        failed = {"device": device_id, "outcome": "retrying", "plan": "none"}
        eventually(lambda: self.value("balancer_deployments_total", **failed) >= 1, "the failure is counted")
        self.assertEqual(1, self.value("balancer_devices_waiting"))
        self.assertGreater(self.value("balancer_devices_waiting_longest_seconds"), 0)
        self.assertEqual(1, self.value("balancer_load_balancers", status="BUILD"))

    def test_they_are_for_administrators(self) -> None:
        for environ in (TENANT, NOBODY):
            self.assertEqual(403, self.call("GET", "/metrics", environ=environ).status)

    def test_at_a_port_of_their_own_there_is_nothing_else(self) -> None:
        self.app = make_metrics_app(self.service)
        self.assertIn("balancer_devices_waiting", self.text("/metrics")[1])
        for path in ("/", "/devices", "/healthcheck"):
            self.assertEqual(404, self.call("GET", path).status)


class TestLogs(ApiCase):
    worker = False

    def test_every_line_about_a_request_has_its_id(self) -> None:
        with self.assertLogs() as logs:
            handler = logging.getLogger().handlers[0]
            handler.addFilter(RequestIdFilter())
            handler.setFormatter(logging.Formatter("%(request_id)s"))
            request_id = self.call("GET", "/devices").headers["X-Openstack-Request-Id"]
        self.assertEqual({request_id}, {record.request_id for record in logs.records})  # type: ignore[attr-defined]

    def test_the_id_that_a_caller_gave_is_logged_when_it_is_one(self) -> None:
        given = "req-01234567-89ab-cdef-0123-456789abcdef"
        for header in ("X-Openstack-Request-Id", "X-OpenStack-Global-ID"):
            for sent, logged in ((given, given), ("req-1\nx", "-"), (given + "x", "-"), ("x" * 8000, "-")):
                with self.assertLogs("balancer.api.middleware.access") as logs:
                    answer = self.call("GET", "/devices", environ={f"HTTP_{header.upper().replace('-', '_')}": sent})
                self.assertNotEqual(given, answer.headers["X-Openstack-Request-Id"])
                self.assertTrue(logs.output[-1].endswith(f"global={logged}"), logs.output[-1])

    def test_the_access_log_is_one_line_whatever_is_asked(self) -> None:
        with self.assertLogs("balancer.api.middleware.access") as logs:
            self.call("GET", "/foo%0aINFO:root:forged/loadbalancers?password=secret", environ=TENANT)
        (line,) = logs.output
        self.assertNotIn("\n", line)
        self.assertNotIn("secret", line)
        self.assertIn("user=u1 project=foo", line)


class TestAudit(ApiCase):
    worker = False

    def audited(self, method: str, path: str, body: Any = None, **environ: Any) -> list[dict[str, Any]]:
        with self.assertLogs("balancer.audit") as logs:
            logging.getLogger("balancer.audit").info("{}")
            self.call(method, path, body, environ=environ)
        self.assertNotIn("not a secret", str(logs.output))
        return [event for record in logs.records if (event := json.loads(record.getMessage()))]

    def test_reading_is_not_audited(self) -> None:
        for method in ("GET", "HEAD"):
            self.assertEqual([], self.audited(method, "/devices"))

    def test_who_what_which_object_and_what_came_of_it(self) -> None:
        (event,) = self.audited("POST", "/devices", DEVICE, REMOTE_ADDR="192.0.2.9")
        device_id = self.get("/devices")["devices"][0]["id"]
        self.assertRegex(event.pop("time"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00$")
        self.assertRegex(event.pop("request_id"), "^req-[0-9a-f-]{36}$")
        expected: dict[str, Any] = {
            "global_request_id": None,
            "user_id": None,
            "project_id": None,
            "admin": True,
            "address": "192.0.2.9",
            "action": "POST /devices",
            "target": {},
            "objects": [device_id],
            "outcome": "done",
            "status": 200,
        }
        self.assertEqual(expected, event)

        path = self.create()
        (event,) = self.audited("POST", f"{path}/nodes", {"nodes": [NODE, {**NODE, "port": 2}]}, **TENANT)
        nodes = [node["id"] for node in self.get(f"{path}/nodes")["nodes"]]
        self.assertEqual(("u1", "foo", False), (event["user_id"], event["project_id"], event["admin"]))
        self.assertEqual("POST /{tenant}/loadbalancers/{lb_id}/nodes", event["action"])
        self.assertEqual({"tenant": "foo", "lb_id": path.rpartition("/")[2]}, event["target"])
        self.assertEqual(nodes, event["objects"])

    def test_refusals_and_failures(self) -> None:
        path = f"/bar/loadbalancers/{NO_ID}"
        (event,) = self.audited("DELETE", path, **TENANT)
        self.assertEqual(("refused", 403, []), (event["outcome"], event["status"], event["objects"]))
        (event,) = self.audited("BREW", "/nothing/at\nall" + "x" * 500)
        self.assertEqual(("BREW", {}, "refused"), (event["action"], event["target"], event["outcome"]))
        (event,) = self.audited("DELETE", f"/{'x' * 255}/loadbalancers/{'y' * 5000}", **TENANT)
        self.assertEqual([255, 255], [len(text) for text in event["target"].values()])
        break_database(self)
        (event,) = self.audited("POST", "/devices", DEVICE)
        self.assertEqual(("failed", 503), (event["outcome"], event["status"]))

    def test_who_has_no_token_is_nobody(self) -> None:
        self.app = ContextMiddleware(self.app)
        (event,) = self.audited("POST", "/devices", DEVICE, HTTP_X_ROLES="admin", HTTP_X_USER_ID="mallory")
        self.assertEqual(
            (None, False, "refused", 401), tuple(event[key] for key in ("user_id", "admin", "outcome", "status"))
        )

    def test_trying_out_is_marked(self) -> None:
        (event,) = self.audited("POST", "/devices?dry_run=1", DEVICE)
        self.assertTrue(event["dry_run"])

    def test_every_writing_route_of_every_dialect(self) -> None:
        routes = [each[1:] for each in operations(table(self.service, self.settings)) if each[1] != "GET"]
        self.assertLess({"/{tenant}", "/{api}/lbaas", "/{api}/lb", "/{api}/networks"}, {_dialect(r[1]) for r in routes})
        for method, route in routes:
            parts = dict.fromkeys(re.findall(r"{(\w+)}", route), NO_ID)
            parts |= {name: text for name, text in (("api", "v2.0"), ("tenant", "foo")) if name in parts}
            with self.subTest(f"{method} {route}"):
                (event,) = self.audited(method, route.format(**parts), {}, **TENANT)
                self.assertEqual((f"{method} {route}", parts), (event["action"], event["target"]))
                self.assertEqual(("u1", "foo"), (event["user_id"], event["project_id"]))
                self.assertEqual(event["outcome"], "done" if event["status"] < 300 else "refused")


def _dialect(route: str) -> str:
    first, second, *_ = (*route.split("/")[1:], "")
    return f"/{first}/{second}" if first == "{api}" else f"/{first}"


class TestAuditOfOtherDialects(LbaasV1Case):
    worker = False

    def audited(self, method: str, path: str, body: Any = None) -> tuple[str, list[str], Any]:
        """Outcome and objects as they are told, and the answer."""
        with self.assertLogs("balancer.audit") as logs:
            answer = self.call(method, path, body)
        (event,) = (json.loads(record.getMessage()) for record in logs.records)
        self.assertEqual(answer.status, event["status"])
        return event["outcome"], event["objects"], answer.json

    def check(self, method: str, path: str, key: str, **fields: Any) -> str:
        """The id of what was written, which the event names."""
        outcome, objects, answer = self.audited(method, path, {key: fields})
        self.assertEqual(("done", [answer[key]["id"]]), (outcome, objects))
        made: str = answer[key]["id"]
        return made

    def test_what_they_write(self) -> None:
        balancer = self.check("POST", f"{V2}/loadbalancers", "loadbalancer", vip_subnet_id=self.subnet_id)
        self.check("PUT", f"{V2}/loadbalancers/{balancer}", "loadbalancer", name="other")
        pool = {"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "loadbalancer_id": balancer}
        pool_id = self.check("POST", f"{V2}/pools", "pool", **pool)
        members = f"{V2}/pools/{pool_id}/members"
        self.check("POST", members, "member", address="198.51.100.1", protocol_port=80)
        self.assertEqual(("done", [], None), self.audited("PUT", members, {"members": []}))
        self.assertEqual(("done", [], None), self.audited("DELETE", f"{V2}/pools/{pool_id}"))
        self.assertEqual("refused", self.audited("DELETE", f"{V2}/pools/{pool_id}")[0])
        pool_id = self.check(
            "POST", f"{LB}/pools", "pool", protocol="TCP", lb_method="SOURCE_IP", subnet_id=self.subnet_id
        )
        self.check("PUT", f"{LB}/pools/{pool_id}", "pool", name="other")
        self.check("POST", f"{LB}/members", "member", pool_id=pool_id, address="198.51.100.1", protocol_port=80)
        self.assertEqual(("done", [], None), self.audited("DELETE", f"{LB}/pools/{pool_id}"))
        network = self.check("POST", "/v2.0/networks", "network", name="n")
        self.assertEqual(("done", [], None), self.audited("DELETE", f"/v2.0/networks/{network}"))


class TestNothingOfTheInside(ApiCase):
    """No stack trace, SQL, path or secret in an answer, whatever is broken."""

    worker = False
    INSIDE = ("Traceback", "SELECT", "INSERT", "UPDATE", "sqlalchemy", "sqlite3", ".py", "not a secret", "line 1,")

    def check(self, status: int) -> None:
        for method, path, body in (
            ("GET", "/devices", None),
            ("POST", "/devices", DEVICE),
            ("GET", f"/foo/loadbalancers/{NO_ID}", None),
            ("POST", "/foo/loadbalancers", LOAD_BALANCER),
            ("PUT", "/foo/quotas", {"node": 1}),
            ("GET", "/metrics", None),
            ("POST", "/foo/loadbalancers?dry_run=1", LOAD_BALANCER),
            ("GET", f"{V2}/loadbalancers", None),
            ("POST", f"{V2}/loadbalancers", {"loadbalancer": {"vip_subnet_id": NO_UUID}}),
            ("GET", f"{V2}/pools/{NO_UUID}", None),
            ("DELETE", f"{V2}/l7policies/{NO_UUID}", None),
            ("PUT", f"{V2}/quotas/foo", {"quota": {"pool": 1}}),
            ("GET", f"{LB}/pools", None),
            ("POST", f"{LB}/vips", {"vip": VIP}),
            ("DELETE", f"{LB}/members/{NO_UUID}", None),
            ("GET", "/v2.0/networks", None),
            ("POST", "/v2.0/networks", {"network": {"name": "n"}}),
        ):
            with self.subTest(f"{method} {path}"), self.assertLogs(level="INFO"):
                answer = self.call(method, path, body)
                self.assertEqual(status, answer.status)
                self.assertEqual({"error"} if "v2.0" not in path else FORMS[path.split("/")[2]], set(answer.json))
                for text in self.INSIDE:
                    self.assertNotIn(text, str(answer.json))

    def test_a_database_that_cannot_be_opened(self) -> None:
        break_database(self)
        self.check(503)

    def test_a_database_that_is_none(self) -> None:
        self.engine.dispose()
        database_file(self).write_bytes(b"not a database" * 1000)
        self.check(503)

    def test_a_database_without_its_tables(self) -> None:
        with self.engine.begin() as connection:
            for name in ("devices", "load_balancers", "quotas", "networks", "subnets"):
                connection.exec_driver_sql(f"ALTER TABLE {name} RENAME TO old_{name}")
        self.check(503)

    def test_a_mistake_of_ours(self) -> None:
        class Broken:
            def __getattr__(self, name: str) -> Any:
                raise RuntimeError("SELECT password FROM devices -- not a secret")

        self.service._repository = self.service.networks._repository = Broken()
        self.check(500)

    def test_hostile_paths_and_queries(self) -> None:
        for path in (
            "/foo/loadbalancers/' OR 1=1 --",
            "/foo/loadbalancers/%00",
            "/%ff%fe/loadbalancers",
            "/foo/loadbalancers/../../etc/passwd",
            "/devices?limit=1;DROP TABLE devices",
            f"/devices/{NO_ID}/deployments/999999999999999999999999",
            "/devices?%zz=%",
            "/foo/loadbalancers?dry_run=%00",
        ):
            for method in ("GET", "DELETE", "PUT"):
                answer = self.call(method, path, {} if method == "PUT" else None)
                self.assertLess(answer.status, 500, path)
                for text in self.INSIDE:
                    self.assertNotIn(text, str(answer.json))


def database_file(case: ApiCase) -> Path:
    return Path(case.engine.url.database or "")


def break_database(case: ApiCase) -> None:
    """As if its disk were gone."""
    case.engine.dispose()
    path = database_file(case)
    path.rename(path.with_suffix(".gone"))
