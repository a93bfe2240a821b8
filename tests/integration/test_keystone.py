"""The service behind a real Keystone: both as processes, everything over HTTP, tokens as users get them."""

from __future__ import annotations

import datetime
import tempfile
import time
import unittest
from pathlib import Path
from typing import Any

from tests.integration.keystone import Keystone
from tests.integration.running import Answer, RunningService, eventually

PASTE = """\
[pipeline:main]
pipeline = authtoken context apiv1app
[app:apiv1app]
paste.app_factory = balancer.bootstrap:app_factory
[filter:context]
paste.filter_factory = balancer.bootstrap:context_factory
[filter:authtoken]
paste.filter_factory = balancer.bootstrap:authtoken_factory
"""
USERS = {
    "balancer": ("service", ("service",)),
    "alice": ("red", ("member",)),
    "rita": ("red", ("reader",)),
    "bob": ("blue", ("load-balancer_member",)),
    "olga": ("blue", ("load-balancer_global_observer",)),
    "root": ("blue", ("admin",)),
    "newcomer": ("red", ("nothing-in-particular",)),
}
CACHE_SECONDS = 6
DEVICE = {"name": "d", "type": "dummy", "ip": "192.0.2.10", "port": "22", "user": "u", "password": "-"}
LOAD_BALANCER = {"name": "web", "protocol": "HTTP", "algorithm": "ROUND_ROBIN"}


class TestKeystone(unittest.TestCase):
    keystone: Keystone
    service: RunningService
    tokens: dict[str, str]
    red: str
    blue: str

    @classmethod
    def setUpClass(cls) -> None:
        root = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.keystone = cls.enterClassContext(Keystone(root, USERS))
        paste = root / "paste.ini"
        paste.write_text(PASTE)
        options = {
            "DEFAULT": {"paste_config": str(paste), "workers": "0"},
            "api": {"deploy_wait_seconds": "0"},
            "keystone_authtoken": {
                "auth_type": "password",
                "auth_url": cls.keystone.url,
                "username": "balancer",
                "password": cls.keystone.passwords["balancer"],
                "project_name": "service",
                "user_domain_name": "Default",
                "project_domain_name": "Default",
                "www_authenticate_uri": cls.keystone.url,
                "token_cache_time": str(CACHE_SECONDS),
            },
        }
        cls.service = cls.enterClassContext(RunningService(root / "service", options))
        cls.tokens = {name: cls.keystone.token(name) for name in USERS}
        assert cls.ask("POST", "/devices", "root", DEVICE).status == 200
        cls.red, cls.blue = (f"/{cls.keystone.projects[name]}/loadbalancers" for name in ("red", "blue"))

    @classmethod
    def ask(
        cls, method: str, path: str, who: str | None, body: Any = None, *, token: str | None = None, **headers: str
    ) -> Answer:
        token = cls.tokens[who] if who is not None else token
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent["X-Auth-Token"] = token
        return cls.service.call(method, path, body, headers=sent)

    def create(self, who: str, path: str) -> str:
        answer = self.ask("POST", path, who, LOAD_BALANCER)
        self.assertEqual(202, answer.status, answer.text)
        return f"{path}/{answer.json['loadbalancer']['id']}"

    def test_projects_and_roles(self) -> None:
        mine, theirs = self.create("alice", self.red), self.create("bob", self.blue)
        for who, own, other in (
            ("alice", 200, 403),
            ("rita", 200, 403),
            ("bob", 403, 200),
            ("olga", 200, 200),
            ("root", 200, 200),
            ("newcomer", 403, 403),
        ):
            answers = [self.ask("GET", path, who).status for path in (mine, theirs)]
            self.assertEqual([own, other], answers, who)
        for who, status in (("rita", 403), ("bob", 403), ("olga", 403), ("newcomer", 403), ("alice", 202)):
            self.assertEqual(status, self.ask("PUT", mine, who, {"name": "another"}).status, who)
        for who in ("alice", "rita", "bob", "olga", "newcomer"):
            for method, path in (("GET", "/devices"), ("POST", "/devices")):
                self.assertEqual(403, self.ask(method, path, who, DEVICE).status, who)
        self.assertEqual(200, self.ask("GET", "/devices", "root").status)
        # Bob's load balancer behind Alice's project is not there, like one that never was.
        crossed, unknown = (
            self.ask("GET", f"{self.red}/{each}", "alice") for each in (theirs.rpartition("/")[2], "0" * 32)
        )
        self.assertEqual((404, 404), (crossed.status, unknown.status))
        self.assertEqual(204, self.ask("DELETE", mine, "alice").status)
        self.assertEqual(204, self.ask("DELETE", theirs, "root").status)

    def test_without_a_good_token(self) -> None:
        token = self.tokens["alice"]
        middle = len(token) // 2
        tampered = token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1 :]
        for bad in (None, "", "x", tampered, token[:-1], "gAAAAA" + "A" * 180, "../users", "é"):
            answer = self.ask("GET", self.red, None, token=bad.encode().decode("latin-1") if bad else bad)
            self.assertEqual(401, answer.status, bad)
            self.assertEqual({"code", "title", "message"}, set(answer.json["error"]))
            self.assertEqual(f'Keystone uri="{self.keystone.url}"', answer.headers["Www-Authenticate"])
        self.assertEqual(200, self.ask("GET", "/", None).status)
        # No worker is there, and it says so.
        self.assertEqual({"healthy": False}, self.ask("GET", "/healthcheck", None).json)

    def test_a_token_for_no_project_or_for_another(self) -> None:
        unscoped = self.keystone.unscoped_token("alice")
        self.assertEqual(403, self.ask("GET", self.red, None, token=unscoped).status)
        elsewhere = self.keystone.token("admin", "admin")
        self.assertEqual(200, self.ask("GET", self.red, None, token=elsewhere).status)

    def test_forged_headers(self) -> None:
        forged = {
            "X_Identity_Status": "Confirmed",
            "X_Roles": "admin",
            "X_User_Id": "root",
            "X_Project_Id": self.keystone.projects["blue"],
            "X_Service_Identity_Status": "Confirmed",
        }
        for token in (None, "invented"):
            self.assertEqual(401, self.ask("GET", "/devices", None, token=token, **forged).status)
        self.assertEqual(403, self.ask("GET", "/devices", "alice", **forged).status)
        self.assertEqual(403, self.ask("GET", self.blue, "alice", **forged).status)
        # A token of a service beside it has to be a good one, and of a service.
        self.assertEqual(401, self.ask("GET", self.red, "alice", X_Service_Token="invented").status)
        self.assertEqual(401, self.ask("GET", self.red, "alice", X_Service_Token=self.tokens["rita"]).status)
        self.assertEqual(200, self.ask("GET", self.red, "alice", X_Service_Token=self.tokens["balancer"]).status)

    def test_expired_and_revoked_tokens_although_they_are_remembered(self) -> None:
        expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=12)
        expiring = self.keystone.short_token("alice", expires.replace(tzinfo=None).isoformat(timespec="seconds"))
        self.assertEqual(200, self.ask("GET", self.red, None, token=expiring).status)
        unused, revoked = self.keystone.token("alice"), self.keystone.token("alice")
        self.assertEqual(200, self.ask("GET", self.red, None, token=revoked).status)
        for token in (unused, revoked):
            self.keystone.revoke(token)
        self.assertEqual(401, self.ask("GET", self.red, None, token=unused).status)
        eventually(
            lambda: self.ask("GET", self.red, None, token=revoked).status == 401,
            "the revoked token is refused",
            seconds=CACHE_SECONDS + 30,
        )
        while datetime.datetime.now(datetime.UTC) < expires:
            time.sleep(0.2)
        self.assertEqual(401, self.ask("GET", self.red, None, token=expiring).status)

    def test_while_keystone_is_away(self) -> None:
        known, unknown = self.keystone.token("alice"), self.keystone.token("alice")
        self.assertEqual(200, self.ask("GET", self.red, None, token=known).status)
        self.keystone.stop()
        try:
            self.assertEqual(200, self.ask("GET", self.red, None, token=known).status)
            for token in (unknown, "invented"):
                answer = self.ask("GET", self.red, None, token=token)
                self.assertEqual(503, answer.status)
                self.assertEqual("1", answer.headers["Retry-After"])
                self.assertEqual("Keystone cannot be asked about the token now", answer.json["error"]["message"])
                self.assertIn("X-Openstack-Request-Id", answer.headers)
            self.assertEqual(401, self.ask("GET", self.red, None).status)
            self.assertEqual(200, self.ask("GET", "/", None).status)
        finally:
            self.keystone.start()
        self.assertEqual(200, self.ask("GET", self.red, None, token=unknown).status)

    def test_nothing_secret_is_in_the_log(self) -> None:
        self.ask("GET", self.red, "alice")
        log = self.service.log.read_text()
        self.assertIn("GET", log)
        for secret in (*self.tokens.values(), *self.keystone.passwords.values()):
            self.assertNotIn(secret, log)
