"""What the tests of LBaaS v1 do again and again."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from tests.functional.lbaas_v2 import Body, LbaasCase

LB = "/v2.0/lb"


class LbaasV1Case(LbaasCase):
    """With a device of type dummy, and a subnet of each IP version. What the parent asks for is LBaaS v2."""

    _watched = False

    # --- asking ---

    def add(self, plural: str, **fields: Any) -> Body:
        """The new object."""
        key = plural.rpartition("/")[2][:-1]
        made: Body = self.expect(201, "POST", f"{LB}/{plural}", {key: fields})[key]
        return made

    def change(self, path: str, **fields: Any) -> Body:
        key = path.split("/")[-2][:-1]
        changed: Body = self.expect(200, "PUT", f"{LB}/{path}", {key: fields})[key]
        return changed

    def one(self, path: str) -> Body:
        """What is shown; a query may follow the path."""
        key = path.partition("?")[0].split("/")[-2][:-1]
        shown: Body = self.get(f"{LB}/{path}")[key]
        return shown

    def all(self, path: str) -> list[Body]:
        """What a list shows; a query may follow the path."""
        found: list[Body] = self.get(f"{LB}/{path}")[path.partition("?")[0].rpartition("/")[2].removesuffix(".json")]
        return found

    def drop(self, path: str) -> None:
        self.assertIsNone(self.expect(204, "DELETE", f"{LB}/{path}"))
        self.no(404, "GET", path)

    def no(self, status: int, method: str, path: str, body: Any = None, *, kind: str | None = None) -> str:
        """What a request is told that is refused and leaves nothing behind (which a worker would not let us see)."""
        if self.worker or self._watched:
            answer = self.call(method, f"{LB}/{path}", body)
        else:
            with self.nothing_stored():
                answer = self.call(method, f"{LB}/{path}", body)
        self.assertEqual(status, answer.status, answer.json)
        self.assertEqual({"NeutronError"}, set(answer.json))
        error = answer.json["NeutronError"]
        self.assertEqual({"type", "message", "detail"}, set(error))
        self.assertEqual("", error["detail"])
        if kind is not None:
            self.assertEqual(kind, error["type"], error)
        text: str = error["message"]
        self.assertTrue(text)
        return text

    @contextlib.contextmanager
    def nothing_stored(self) -> Iterator[None]:
        """Looks once for what any number of requests must not leave behind."""
        before = self.rows()
        self._watched = True
        yield
        self._watched = False
        self.assertEqual(before, self.rows())

    def until_active(self, path: str) -> Body:
        """The object once nothing of it is pending."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            shown = self.one(path)
            if not shown["status"].startswith("PENDING"):
                return shown
            time.sleep(0.01)
        self.fail(f"{path} is still {shown['status']}")

    # --- what there is ---

    def pool(self, **fields: Any) -> Body:
        values = {"protocol": "HTTP", "lb_method": "ROUND_ROBIN", "subnet_id": self.subnet_id}
        return self.add("pools", **{**values, **fields})

    def vip(self, pool: Body, **fields: Any) -> Body:
        values = {"pool_id": pool["id"], "protocol": pool["protocol"], "protocol_port": 80, "subnet_id": self.subnet_id}
        return self.add("vips", **{**values, **fields})

    def member(self, pool: Body, **fields: Any) -> Body:
        return self.add(
            "members", **{"pool_id": pool["id"], "address": "198.51.100.1", "protocol_port": 8080, **fields}
        )

    def monitor(self, **fields: Any) -> Body:
        return self.add("health_monitors", **{"type": "TCP", "delay": 5, "timeout": 5, "max_retries": 3, **fields})

    def associate(self, pool: Body, monitor: Body) -> Body:
        return self.add(f"pools/{pool['id']}/health_monitors", id=monitor["id"])
