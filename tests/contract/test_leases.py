"""What every database must keep of leases: the port `Leases`."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import unittest
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from balancer.core.model import Lease
from balancer.db.leases import SqlLeases, is_gone, make_owner
from balancer.exceptions import LeaseLost
from tests.contract import samples
from tests.contract.databases import DatabaseCase, Mariadb, Postgresql, SqliteFile

if TYPE_CHECKING:
    Suite = DatabaseCase
else:
    Suite = object

ROOT = Path(__file__).resolve().parents[2]


class LeasesContract(Suite):
    def setUp(self) -> None:
        super().setUp()
        device = samples.device()
        with self.repository.write() as tx:
            tx.add_device(device)
            tx.bump(device.id)
        self.device_id = device.id

    def other(self, seconds: float = 60.0) -> SqlLeases:
        return SqlLeases(self.engine, make_owner(), seconds)

    def take(self, leases: SqlLeases) -> Lease:
        lease = leases.claim(self.device_id)
        assert lease is not None
        return lease

    def test_a_lease_has_one_owner_at_a_time(self) -> None:
        before = self.repository.now()
        lease = self.take(self.leases)
        self.assertEqual((self.device_id, 1), (lease.device_id, lease.epoch))
        self.assertTrue(before + 59 < lease.expires_at < self.repository.now() + 61)
        self.assertIsNone(self.other().claim(self.device_id))
        self.assertIsNone(self.leases.claim(self.device_id))

    def test_what_is_released_is_free_and_every_claim_has_a_new_epoch(self) -> None:
        for epoch in (1, 2, 3):
            leases = self.other()
            lease = self.take(leases)
            self.assertEqual(epoch, lease.epoch)
            leases.release(lease)

    def test_what_expired_is_free_and_lost_to_its_owner(self) -> None:
        short = self.other(0.05)
        old = self.take(short)
        time.sleep(0.1)
        new = self.take(self.leases)
        self.assertEqual(2, new.epoch)
        self.assertRaises(LeaseLost, short.renew, old)
        short.release(old)
        self.assertIsNone(self.other().claim(self.device_id))

    def test_renewing_keeps_the_epoch_and_moves_the_end(self) -> None:
        lease = self.take(self.leases)
        time.sleep(0.02)
        renewed = self.leases.renew(lease)
        self.assertEqual(replace(lease, expires_at=renewed.expires_at), renewed)
        self.assertGreater(renewed.expires_at, lease.expires_at)

    def test_an_expired_lease_that_nobody_took_can_be_renewed(self) -> None:
        short = self.other(0.05)
        lease = self.take(short)
        time.sleep(0.1)
        self.assertEqual(lease.epoch, short.renew(lease).epoch)

    def test_a_released_lease_cannot_be_renewed(self) -> None:
        lease = self.take(self.leases)
        self.leases.release(lease)
        self.leases.release(lease)
        self.assertRaises(LeaseLost, self.leases.renew, lease)

    def test_a_device_that_is_not_there_has_no_lease(self) -> None:
        self.assertIsNone(self.leases.claim("x"))
        lease = self.take(self.leases)
        with self.repository.write() as tx:
            tx.delete_device(self.device_id)
        self.assertIsNone(self.leases.claim(self.device_id))
        self.assertRaises(LeaseLost, self.leases.renew, lease)
        self.leases.release(lease)

    def test_one_of_many_who_ask_at_once_gets_it(self) -> None:
        barrier, taken = threading.Barrier(8, timeout=30), []

        def ask(leases: SqlLeases) -> None:
            barrier.wait()
            taken.append(leases.claim(self.device_id))

        threads = [threading.Thread(target=ask, args=(self.other(),)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        self.assertEqual((8, 1), (len(taken), sum(lease is not None for lease in taken)))

    def test_what_a_killed_process_of_this_host_held_is_taken_over_at_once(self) -> None:
        process = self.start_holder()
        self.assertIsNone(self.leases.claim(self.device_id))
        self.assertEqual([], self.due())
        self.assertAlmostEqual(3600.0, self.repository.next_due_in() or 0, delta=30)
        process.kill()
        # Dead, and not yet waited for by its parent.
        self.wait_until(lambda: self.due() == [self.device_id])
        process.wait(timeout=20)
        self.assertEqual([self.device_id], self.due())
        self.assertIsNone(self.repository.next_due_in())
        self.assertEqual(2, self.take(self.leases).epoch)
        self.assertEqual([], self.due())

    def test_a_lease_of_another_host_or_container_is_left_to_expiry(self) -> None:
        process = self.start_holder()
        owner = self.query("SELECT owner FROM leases")[0][0]
        process.kill()
        process.wait(timeout=20)
        host, rest = str(owner).split(":", 1)
        kernel, namespace, pid, start = rest.split(":")[0].split("/")
        self.assertTrue(is_gone(str(owner)))
        for foreign in (
            f"{host}:{'0' * 32}/{namespace}/{pid}/{start}:{'0' * 32}",
            f"{host}:{kernel}/1/{pid}/{start}:{'0' * 32}",
            f"{host}:-:{'0' * 32}",
            "",
            "nonsense",
        ):
            self.assertFalse(is_gone(foreign), foreign)

    def due(self) -> list[str]:
        return [
            each.device_id for each in self.repository.due(observe_interval=3600, limit=5) if each.reason == "deploy"
        ]

    def wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)

    def start_holder(self) -> subprocess.Popen[str]:
        """A process of its own that took the lease and holds it for an hour."""
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, self.url, self.device_id],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self.addCleanup(close, process)
        assert process.stdout is not None
        self.assertEqual("taken\n", process.stdout.readline())
        return process


class LeasesOnSqlite(LeasesContract, SqliteFile):
    pass


class LeasesOnPostgresql(LeasesContract, Postgresql):
    pass


class LeasesOnMariadb(LeasesContract, Mariadb):
    pass


class TestOwner(unittest.TestCase):
    def test_every_owner_has_its_own_name_that_fits_the_column(self) -> None:
        owners = {make_owner() for _ in range(10)}
        self.assertEqual(10, len(owners))
        self.assertLessEqual(max(map(len, owners)), 255)

    def test_this_process_is_not_gone(self) -> None:
        self.assertFalse(is_gone(make_owner()))

    def test_a_later_process_of_the_same_number_is_another_one(self) -> None:
        head, start, tail = self.parts(make_owner())
        self.assertTrue(is_gone(f"{head}/{int(start) - 1}:{tail}"))

    def test_a_number_that_nobody_has_is_gone(self) -> None:
        head, start, tail = self.parts(make_owner())
        unused = int(Path("/proc/sys/kernel/pid_max").read_text()) + 1
        self.assertTrue(is_gone(f"{head.rpartition('/')[0]}/{unused}/{start}:{tail}"))

    @unittest.skipIf(os.getuid(), "needs a process of somebody else")
    def test_a_process_of_somebody_else_is_not_gone(self) -> None:
        # Process 1 may not be signalled by an ordinary user, which must not be taken for its end.
        head, _, tail = self.parts(make_owner())
        start = Path("/proc/1/stat").read_text().rpartition(")")[2].split()[19]
        owner = f"{head.rpartition('/')[0]}/1/{start}:{tail}"
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, owner], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        self.assertEqual("PermissionError False\n", done.stdout, done.stderr)

    @staticmethod
    def parts(owner: str) -> tuple[str, str, str]:
        rest, _, tail = owner.rpartition(":")
        head, _, start = rest.rpartition("/")
        return head, start, tail


HOLDER = """
import sys
from balancer.db.engine import make_engine
from balancer.db.leases import SqlLeases, make_owner
lease = SqlLeases(make_engine(sys.argv[1]), make_owner(), 3600.0).claim(sys.argv[2])
print("taken" if lease else "refused", flush=True)
sys.stdin.read()
"""

AS_NOBODY = """
import os, sys
from balancer.db.leases import is_gone
os.setgid(65534)
os.setuid(65534)
try:
    os.kill(1, 0)
except OSError as error:
    print(type(error).__name__, is_gone(sys.argv[1]))
"""


def close(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait(timeout=20)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
