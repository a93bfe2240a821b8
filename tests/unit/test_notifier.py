"""The wake-up of the worker: delivered, or dropped at once."""

from __future__ import annotations

import os
import unittest

from balancer.cluster.local import PipeNotifier


class TestPipeNotifier(unittest.TestCase):
    def setUp(self) -> None:
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.writing, False)
        self.addCleanup(os.close, self.writing)
        self.notifier = PipeNotifier()
        self.notifier.attach(self.writing)

    def test_one_line_per_wake_up(self) -> None:
        self.notifier.notify("a" * 32)
        self.notifier.attach(None)
        self.notifier.notify("b" * 32)
        self.assertEqual(b"a" * 32 + b"\n", os.read(self.reading, 1000))
        os.close(self.reading)

    def test_a_worker_that_does_not_read_or_is_gone_is_not_waited_for(self) -> None:
        for _ in range(5000):
            self.notifier.notify("a" * 32)
        os.close(self.reading)
        self.notifier.notify("a" * 32)
