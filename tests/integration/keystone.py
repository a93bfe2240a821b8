"""A real Keystone on loopback, for tests: SQLite, Fernet keys and passwords of its own, below a directory.

Run as a program (``python -m tests.integration.keystone PORT``) this module is its server.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import socketserver
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from balancer.devbox.processes import free_port, wait_until

ROOT = Path(__file__).resolve().parent.parent.parent
# Of a machine that does much else at the same time.
_SECONDS = 180


class Keystone:
    """`users` maps a name to the project and the roles that it has there; `token` gets a token with that. `cache`:
    whether it remembers what it has read."""

    def __init__(self, root: Path, users: Mapping[str, tuple[str, Sequence[str]]], *, cache: bool = False) -> None:
        self.root = root
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = root / "keystone.log"
        self._cache = "enabled = true\nbackend = dogpile.cache.memory\n" if cache else "enabled = false\n"
        self.users = users
        self.passwords = {name: secrets.token_urlsafe(12) for name in ("admin", *users)}
        self.projects: dict[str, str] = {}
        self._config = root / "keystone.conf"
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OS_KEYSTONE_CONFIG_FILES": str(self._config),
            # On the command line everybody could read it.
            "OS_BOOTSTRAP_PASSWORD": self.passwords["admin"],
        }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._config.write_text(
            f"[DEFAULT]\nlog_file = {self.root / 'keystone-service.log'}\n"
            f"[database]\nconnection = sqlite:///{self.root / 'keystone.sqlite'}?timeout=30\n"
            f"[cache]\n{self._cache}"
            "[identity]\npassword_hash_algorithm = bcrypt\npassword_hash_rounds = 4\n"
            + "".join(
                f"[{section}]\nkey_repository = {self.root / section}\n"
                for section in ("fernet_tokens", "fernet_receipts", "credential")
            )
        )
        keys = self._manage("fernet_setup", "--keystone-user", _owner(), "--keystone-group", _owner())
        _finish(self._manage("db_sync"))
        endpoints = [f"--bootstrap-{kind}-url={self.url}/v3" for kind in ("admin", "public", "internal")]
        _finish(self._manage("bootstrap", "--bootstrap-region-id=here", *endpoints))
        _finish(keys)
        try:
            self.start()
            self._populate()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.integration.keystone", str(self.port)],
                env=self._environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=ROOT,
            )
        wait_until(self._answers, "Keystone does not answer", self.log, timeout=_SECONDS)

    def stop(self) -> None:
        """As if the machine had been switched off; may be called again."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=_SECONDS)
            self._process = None

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/v3", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _manage(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = [str(Path(sys.executable).parent / "keystone-manage"), "--config-file", str(self._config), *arguments]
        return subprocess.Popen(command, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def _populate(self) -> None:
        admin = self.token("admin", "admin")
        roles = {role["name"]: role["id"] for role in self.call("GET", "/roles", token=admin)["roles"]}
        for name, (project, wanted) in self.users.items():
            if project not in self.projects:
                made = self.call("POST", "/projects", {"project": {"name": project}}, token=admin)
                self.projects[project] = made["project"]["id"]
            body = {"user": {"name": name, "password": self.passwords[name]}}
            user = self.call("POST", "/users", body, token=admin)["user"]["id"]
            for role in wanted:
                if role not in roles:
                    made = self.call("POST", "/roles", {"role": {"name": role}}, token=admin)
                    roles[role] = made["role"]["id"]
                self.call("PUT", f"/projects/{self.projects[project]}/users/{user}/roles/{roles[role]}", token=admin)

    # --- what tests ask of it ---------------------------------------------------------------

    def token(self, name: str, project: str | None = None) -> str:
        """A token of that user for its project, or for the other one that is named."""
        scope = {"project": {"name": project or self.users[name][0], "domain": {"id": "default"}}}
        password = {"user": {"name": name, "domain": {"id": "default"}, "password": self.passwords[name]}}
        return self._token({"methods": ["password"], "password": password}, scope)

    def unscoped_token(self, name: str) -> str:
        password = {"user": {"name": name, "domain": {"id": "default"}, "password": self.passwords[name]}}
        return self._token({"methods": ["password"], "password": password}, "unscoped")

    def short_token(self, name: str, expires_at: str) -> str:
        """A token that expires at that time (ISO 8601), by way of an application credential that does."""
        token = self.token(name)
        user = self.call("GET", "/auth/tokens", token=token, subject=token)["token"]["user"]["id"]
        body = {"application_credential": {"name": secrets.token_hex(4), "expires_at": expires_at}}
        made = self.call("POST", f"/users/{user}/application_credentials", body, token=token)["application_credential"]
        credential = {"id": made["id"], "secret": made["secret"]}
        return self._token({"methods": ["application_credential"], "application_credential": credential}, None)

    def revoke(self, token: str) -> None:
        self.call("DELETE", "/auth/tokens", token=token, subject=token)

    def _token(self, identity: dict[str, Any], scope: object) -> str:
        body = {"auth": {"identity": identity, **({} if scope is None else {"scope": scope})}}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_SECONDS)
        try:
            connection.request("POST", "/v3/auth/tokens", json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 201:
                raise AssertionError(f"{answer.status}: {text!r}")
            return str(answer.headers["X-Subject-Token"])
        finally:
            connection.close()

    def call(self, method: str, path: str, body: Any = None, *, token: str, subject: str | None = None) -> Any:
        headers = {"Content-Type": "application/json", "X-Auth-Token": token}
        if subject is not None:
            headers["X-Subject-Token"] = subject
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/v3{path}", data=data, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
            text = answer.read()
        return json.loads(text) if text else None


def _owner() -> str:
    return Path("/proc/self").owner()


def _finish(process: subprocess.Popen[bytes]) -> None:
    output, _ = process.communicate(timeout=_SECONDS)
    if process.returncode:
        raise AssertionError(f"{process.args!r}: {output.decode(errors='replace')[-3000:]}")


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 64


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def _serve(port: int) -> None:
    from keystone.server.wsgi import initialize_public_application  # takes seconds

    with make_server("127.0.0.1", port, initialize_public_application(), _Server, _Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    wanted = int(sys.argv.pop(1))  # Keystone reads the arguments too
    _serve(wanted)
