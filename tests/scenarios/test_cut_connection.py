"""The connection to the device breaks, or hangs, in the middle of an upload."""

from __future__ import annotations

from tests.scenarios.world import BY_ANOTHER_WORKER, BY_RESTART, ScenarioCase

_NODES = 200


class CutConnection(ScenarioCase):
    proxied = True

    def next_upload(self) -> int:
        """Bytes that the service will have sent when the next load balancer of many nodes is half uploaded."""
        empty, before = len(self.world.config()), self.proxy.sent
        self.world.add(idle=_NODES)
        self._await(BY_RESTART, "to see how much is sent")
        sent, block = self.proxy.sent - before, len(self.world.config()) - empty
        # The next upload is longer by one block; what comes before it is the same.
        return sent + block - len(self.world.config()) // 2

    def test_cut_in_the_middle_of_the_upload(self) -> None:
        half = self.next_upload()
        with self.traffic() as traffic:
            self.proxy.cut_after(half)
            self.world.add(idle=_NODES)
            self.assertTrue(self.proxy.reached.wait(10))
            self.well_within(BY_RESTART, "cut in the middle of the upload")
        self.no_request_failed(traffic)

    def test_hanging_in_the_middle_of_the_upload(self) -> None:
        half = self.next_upload()
        with self.traffic() as traffic:
            self.proxy.hold_after(half)
            self.world.add(idle=_NODES)
            self.assertTrue(self.proxy.reached.wait(10))
            self.well_within(BY_ANOTHER_WORKER, "hanging in the middle of the upload")
            # What arrives late changes nothing.
            self.proxy.release()
            self.stays_well(2)
        self.no_request_failed(traffic)
