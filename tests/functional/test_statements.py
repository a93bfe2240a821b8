"""How many statements a request costs the database: what it is fast by, whatever the machine."""

from __future__ import annotations

from typing import Any

import webob

from tests.functional.case import NODE, VIRTUAL_IP, ApiCase
from tests.statements import note_statements


class StatementsTest(ApiCase):
    worker = False

    def setUp(self) -> None:
        super().setUp()
        self.statements: list[str] = []
        note_statements(self.engine, self.statements)
        self.register()
        self.path = self.create(nodes=[NODE], virtualIps=[VIRTUAL_IP])
        (self.node,) = self.get(f"{self.path}/nodes")["nodes"]

    def ask(self, method: str, path: str, body: Any = None) -> list[str]:
        """The statements of one request that must succeed."""
        self.statements.clear()
        answer = self.call(method, path, body)
        self.assertLess(answer.status, 300, answer.json)
        return list(self.statements)

    def change_weight(self, weight: int) -> list[str]:
        return self.ask("PUT", f"{self.path}/nodes/{self.node['id']}", {"weight": weight})

    def test_a_change_reads_nothing_that_is_known_and_writes_only_what_differs(self) -> None:
        self.change_weight(2)
        statements = self.change_weight(3)
        self.assertLessEqual(len(statements), 6, statements)
        self.assertEqual(3, sum(each.startswith("UPDATE") for each in statements), statements)
        (written,) = (each for each in statements if each.startswith("UPDATE load_balancers"))
        self.assertNotIn("project_id", written)

    def test_a_change_costs_as_much_beside_others(self) -> None:
        self.change_weight(2)
        alone = self.change_weight(3)
        for number in range(3):
            self.register(name=f"other {number}", ip=f"192.0.2.{20 + number}")
            self.create(nodes=[NODE], virtualIps=[{**VIRTUAL_IP, "port": 81 + number}])
        self.assertEqual(alone, self.change_weight(4))

    def test_what_is_known_is_asked_for_at_a_glance(self) -> None:
        """By one statement, that is."""
        for path in (self.path, "/foo/loadbalancers", f"{self.path}/nodes"):
            self.ask("GET", path)
            self.statements.clear()
            response = webob.Request.blank(path).get_response(self.app)
            self.assertEqual((200, 1), (response.status_int, len(self.statements)), self.statements)
        self.change_weight(7)
        self.assertEqual(7, self.get(f"{self.path}/nodes")["nodes"][0]["weight"])

    def test_what_was_created_just_now_is_not_read_to_be_changed(self) -> None:
        path = self.create(nodes=[NODE], virtualIps=[{**VIRTUAL_IP, "port": 81}])
        statements = self.ask("PUT", path, {"name": "other"})
        self.assertFalse([each for each in statements if "FROM members" in each], statements)

    def test_creating_costs_as_much_whatever_there_is(self) -> None:
        def body(port: int) -> dict[str, Any]:
            return {
                "name": "web",
                "protocol": "HTTP",
                "algorithm": "ROUND_ROBIN",
                "nodes": [NODE],
                "virtualIps": [{**VIRTUAL_IP, "port": port}],
            }

        alone = self.ask("POST", "/foo/loadbalancers", body(81))
        for number in range(3):
            self.register(name=f"other {number}", ip=f"192.0.2.{20 + number}")
        self.assertEqual(alone, self.ask("POST", "/foo/loadbalancers", body(82)))
        self.assertLessEqual(len(alone), 20, alone)
