"""Lists page by page."""

from __future__ import annotations

from tests.functional.case import DEVICE, LOAD_BALANCER, NO_ID, ApiCase


class TestPages(ApiCase):
    worker = False

    def setUp(self) -> None:
        super().setUp()
        for port in range(1, 6):
            self.expect(200, "POST", "/devices", {**DEVICE, "port": port})
            self.expect(202, "POST", "/foo/loadbalancers", {**LOAD_BALANCER, "name": str(port)})

    def ids(self, path: str) -> list[str]:
        (listed,) = self.get(path).values()
        return [each["id"] for each in listed]

    def test_from_the_first_to_the_last(self) -> None:
        for path in ("/devices", "/foo/devices", "/foo/loadbalancers"):
            whole = self.ids(path)
            self.assertEqual(5, len(whole))
            found = self.ids(f"{path}?limit=2")
            while page := self.ids(f"{path}?limit=2&marker={found[-1]}"):
                self.assertLessEqual(len(page), 2)
                found += page
            self.assertEqual(whole, found)
            self.assertEqual(whole[3:], self.ids(f"{path}?marker={whole[2]}"))
            dashed = f"{whole[2][:8]}-{whole[2][8:12]}-{whole[2][12:16]}-{whole[2][16:20]}-{whole[2][20:]}"
            self.assertEqual(whole[3:], self.ids(f"{path}?marker={dashed}"))
            self.assertEqual(whole, self.ids(f"{path}?limit=1000"))

    def test_pages_that_cannot_be(self) -> None:
        other = self.ids("/devices")[0]
        for path in ("/devices", "/foo/loadbalancers"):
            for limit in ("0", "-1", "1001", "x", "", "1.5", "9" * 30):
                self.refuse(400, "GET", f"{path}?limit={limit}", field="limit")
            for marker in ("x", "", NO_ID, "%00"):
                self.refuse(400, "GET", f"{path}?marker={marker}", field="marker")
        self.refuse(400, "GET", f"/foo/loadbalancers?marker={other}", field="marker")
        self.refuse(400, "GET", f"/bar/loadbalancers?marker={self.ids('/foo/loadbalancers')[0]}", field="marker")
