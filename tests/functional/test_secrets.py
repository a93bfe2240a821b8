"""A device's password or private key is seen in the reply to its registration, and nowhere else."""

from __future__ import annotations

import json
import logging
import secrets
from typing import Any

from balancer.drivers.ssh import new_key_pair
from tests.functional.case import DEVICE, LOAD_BALANCER, NODE, VIRTUAL_IP, ApiCase


class Everything(logging.Handler):
    """Every record, with its traceback, as it would be written."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.setFormatter(logging.Formatter("%(name)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


class TestSecrets(ApiCase):
    def setUp(self) -> None:
        self.logged = Everything()
        root = logging.getLogger()
        before = root.level
        root.addHandler(self.logged)
        root.setLevel(logging.DEBUG)
        self.addCleanup(root.setLevel, before)
        self.addCleanup(root.removeHandler, self.logged)
        super().setUp()

    def ask(self, method: str, path: str, body: Any = None) -> str:
        answer = self.call(method, path, body)
        return json.dumps(answer.json) + repr(answer.headers)

    def test_it_is_told_to_nobody(self) -> None:
        password, (private, _) = secrets.token_hex(12), new_key_pair()
        sensitive = {"password": password, "private_key": private}
        for name, secret in sensitive.items():
            with self.subTest(name):
                # One line of a key is enough to know it again.
                needle = secret.splitlines()[1 if "\n" in secret else 0]
                own = {key: value for key, value in DEVICE.items() if key != "password"}
                body = {**own, "name": name, "ip": f"{len(name)}.example", name: secret, "note": "kept"}
                tried = self.ask("POST", "/devices?dry_run=1", body)
                shown = self.expect(200, "POST", "/devices", body)["device"]
                self.assertEqual(secret, shown[name])
                path = f"/devices/{shown['id']}"
                balancer = {**LOAD_BALANCER, "device_id": shown["id"], "nodes": [NODE]}
                told = [
                    tried,
                    # Refused, with the secret in it: the same again, a wrong type, an unreadable value elsewhere.
                    self.ask("POST", "/devices", body),
                    self.ask("POST", "/devices", {**body, name: [secret]}),
                    self.ask("POST", "/devices", {**body, name: secret + "\x01"}),
                    self.ask("POST", "/devices", {**body, "port": "x"}),
                    self.ask("POST", "/devices", {**body, "type": "HAPROXY", "private_key": "KEY" + needle}),
                    self.ask("PUT", path, {"password": password, "private_key": private}),
                    # Changed, shown, deployed to, failed.
                    self.ask("PUT", path, {name: secret}),
                    self.ask("PUT", path, {"behaviour": "broken", "name": "other"}),
                    self.ask("POST", "/foo/loadbalancers", balancer),
                    self.ask("PUT", path, {"behaviour": "unreachable"}),
                    self.ask("POST", f"{path}/retry"),
                    self.ask("PUT", path, {"behaviour": ""}),
                    self.ask("POST", "/foo/loadbalancers?dry_run=1", {**LOAD_BALANCER, "virtualIps": [VIRTUAL_IP]}),
                    self.ask("GET", "/devices"),
                    self.ask("GET", path),
                    self.ask("GET", f"{path}/info?refresh=1"),
                    self.ask("GET", f"{path}/deployments"),
                    self.ask("GET", f"{path}/deployments/1"),
                    self.ask("PUT", path, {**shown, "name": "third"}),
                ]
                self.assertIn('"***"', told[-1])
                self.assertEqual([], [each for each in told if needle in each])
                self.assertNotIn(needle, repr(self.rows()))
                with self.engine.connect() as connection:
                    everything = [tuple(row) for row in connection.exec_driver_sql("SELECT * FROM deployments")]
                self.assertTrue(everything)
                self.assertNotIn(needle, repr(everything))
        self.assertTrue(self.logged.lines)
        written = "\n".join(self.logged.lines)
        for secret in (password, private.splitlines()[1]):
            self.assertNotIn(secret, written)
