"""The connection to the device breaks, or hangs, in the middle of an upload."""

from __future__ import annotations

import time

from tests.scenarios.world import BY_ANOTHER_WORKER, BY_RESTART, ScenarioCase

_NODES = 200


class CutConnection(ScenarioCase):
    proxied = True

    def next_upload(self) -> int:
        """Bytes that the service will have sent when the next load balancer of many nodes is half uploaded."""
        empty = len(self.world.config())
        self.world.add(idle=_NODES)
        self._await(BY_RESTART, "to see how much is sent")
        whole = len(self.world.config())
        # The upload is the first thing that a known device is sent. When something else comes before, that is less than
        # a third of it, and one block more follows.
        return (whole + whole - empty) // 2

    def test_cut_in_the_middle_of_the_upload(self) -> None:
        half = self.next_upload()
        with self.traffic() as traffic:
            self.proxy.cut_after(half)
            self.world.add(idle=_NODES)
            self.assertTrue(self.proxy.reached.wait(40))
            self.well_within(BY_RESTART, "cut in the middle of the upload")
        self.no_request_failed(traffic)

    def test_hanging_in_the_middle_of_the_upload(self) -> None:
        half = self.next_upload()
        with self.traffic() as traffic:
            self.proxy.hold_after(half)
            self.world.add(idle=_NODES)
            self.assertTrue(self.proxy.reached.wait(40))
            self.well_within(BY_ANOTHER_WORKER, "hanging in the middle of the upload")
            # What arrives late is looked at, but nobody says that it is to be installed.
            config = self.world.config()
            self.proxy.release()
            time.sleep(2)
            self._await(BY_RESTART, "the late order is dropped")
            self.assertEqual(config, self.world.config())
            self.stays_well(2)
        self.no_request_failed(traffic)
