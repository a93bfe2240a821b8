"""What HAProxy's table of statistics means. `tests/integration/test_statistics.py` reads real ones."""

from __future__ import annotations

import unittest

from balancer.core.model import Counters, ObjectKind, ObjectSample, OperatingStatus
from balancer.drivers.haproxy.statistics import device_sample

LISTENER, POOL, ONE, TWO, MONITOR = (digit * 32 for digit in "abc01")
COLUMNS = (
    *("pxname", "svname", "qcur", "scur", "slim", "stot", "bin", "bout", "ereq", "econ", "eresp"),
    *("status", "weight", "check_status", "last_chk", "a column of tomorrow", ""),
)
ONLINE, OFFLINE, DEGRADED = OperatingStatus.ONLINE, OperatingStatus.OFFLINE, OperatingStatus.DEGRADED
ERROR, DRAINING, NO_MONITOR = OperatingStatus.ERROR, OperatingStatus.DRAINING, OperatingStatus.NO_MONITOR


def line(pxname: str, svname: str, status: str, **cells: object) -> str:
    row = {"pxname": pxname, "svname": svname, "status": status, "weight": 1, **cells}
    return ",".join(str(row.get(column, "")) for column in COLUMNS)


def table(*lines: str) -> str:
    return "\n".join(("# " + ",".join(COLUMNS), *lines, "", ""))


def objects(*lines: str) -> dict[str, ObjectSample]:
    return {each.object_id: each for each in device_sample("p", table(*lines)).objects}


def statuses(*lines: str) -> dict[str, OperatingStatus | None]:
    return {object_id: each.status for object_id, each in objects(*lines).items()}


def server(status: str, *, name: str = ONE, section: str = f"be-{POOL}", **cells: object) -> str:
    return line(section, name, status, **cells)


def backend(status: str = "UP", *, section: str = f"be-{POOL}", **cells: object) -> str:
    return line(section, "BACKEND", status, **cells)


class TestTable(unittest.TestCase):
    def test_every_object_with_its_counters(self) -> None:
        found = objects(
            line(f"fe-{LISTENER}", "FRONTEND", "OPEN", scur=3, slim=9, stot=10, bin=2**40, bout=2, ereq=4, econ="x"),
            server("no check", scur=1, stot=5, bin=6, bout=7, econ=8, eresp=9),
            backend(stot=5, bin=6, bout=7, econ=8, eresp=10),
        )
        self.assertEqual(
            {
                LISTENER: ObjectSample(
                    kind=ObjectKind.LISTENER,
                    object_id=LISTENER,
                    status=ONLINE,
                    counters=Counters(
                        bytes_in=2**40, bytes_out=2, active_connections=3, total_connections=10, request_errors=4
                    ),
                ),
                ONE: ObjectSample(
                    kind=ObjectKind.MEMBER,
                    object_id=ONE,
                    status=NO_MONITOR,
                    counters=Counters(
                        bytes_in=6, bytes_out=7, active_connections=1, total_connections=5, request_errors=17
                    ),
                ),
                POOL: ObjectSample(
                    kind=ObjectKind.POOL,
                    object_id=POOL,
                    status=ONLINE,
                    counters=Counters(bytes_in=6, bytes_out=7, total_connections=5, request_errors=18),
                ),
            },
            found,
        )

    def test_what_is_not_ours_is_left_out(self) -> None:
        self.assertEqual(
            {},
            objects(
                line("www", "FRONTEND", "OPEN"),
                line("be-www", "s1", "UP"),
                line(f"be-{POOL}", "s1", "UP"),
                line(f"fe-{POOL}x", "FRONTEND", "OPEN"),
                line(f"hm-{POOL}", "FRONTEND", "OPEN"),
                line(f"mon-{POOL}-{MONITOR}", ONE, "DOWN"),
                line(f"mon-{POOL}-{MONITOR}", "BACKEND", "DOWN"),
            ),
        )

    def test_cells_may_be_quoted_and_hold_commas(self) -> None:
        found = objects(server("UP", last_chk='"a ""b"", c"', stot=7), backend())
        self.assertEqual((7, ONLINE), (found[ONE].counters.total_connections, found[ONE].status))

    def test_the_process_is_named(self) -> None:
        self.assertEqual(("1-2", ()), (device_sample("1-2", table()).process, device_sample("1-2", table()).objects))

    def test_what_is_no_table_is_refused(self) -> None:
        for text in ("", "Permission denied\n", "# pxname,svname\n", "Unknown command: 'show stat'\n"):
            with self.assertRaises(ValueError):
                device_sample("p", text)

    def test_a_cut_row_is_left_out(self) -> None:
        self.assertEqual([ONE], list(objects(server("UP"), server("UP", name=TWO)[:60])))


class TestStatuses(unittest.TestCase):
    def test_of_a_frontend(self) -> None:
        for status, limits, expected in (
            ("OPEN", {"scur": 4, "slim": 5}, ONLINE),
            ("OPEN", {"scur": 5, "slim": 5}, DEGRADED),
            ("OPEN", {"scur": 5}, ONLINE),
            ("FULL", {}, DEGRADED),
            ("STOP", {}, OFFLINE),
        ):
            self.assertEqual({LISTENER: expected}, statuses(line(f"fe-{LISTENER}", "FRONTEND", status, **limits)))

    def test_of_a_server(self) -> None:
        for status, weight, expected in (
            ("UP", 1, ONLINE),
            ("UP 1/3", 1, ONLINE),
            ("UP", 0, DRAINING),
            ("DOWN", 1, ERROR),
            ("DOWN 1/2", 1, ERROR),
            ("DRAIN", 1, DRAINING),
            ("NOLB", 1, DRAINING),
            ("MAINT", 1, OFFLINE),
            ("MAINT (via be-x/s)", 1, OFFLINE),
            ("no check", 1, NO_MONITOR),
            ("no check", 0, NO_MONITOR),
            ("a word of tomorrow", 1, None),
        ):
            with self.subTest(status):
                self.assertEqual({ONE: expected}, statuses(server(status, weight=weight, check_status="L7OK")))

    def test_a_server_counts_as_up_before_its_first_check_and_is_undecided(self) -> None:
        for check_status in ("INI", "* INI"):
            waiting = server("UP 1/3", check_status=check_status)
            self.assertEqual({ONE: None, POOL: None}, statuses(waiting, backend()))
        # A state that was taken over from the process before is known.
        self.assertEqual({ONE: ERROR, POOL: ERROR}, statuses(server("DOWN", check_status="INI"), backend("DOWN")))
        # So is the pool's, when another server surely serves.
        known = server("UP", name=TWO, check_status="L4OK")
        self.assertEqual({ONE: None, TWO: ONLINE, POOL: ONLINE}, statuses(waiting, known, backend()))

    def test_several_monitors_are_undecided_until_each_has_checked(self) -> None:
        asked = server("UP", check_status="L7OK")
        first = server("UP", section=f"mon-{POOL}-{MONITOR}", check_status="L4OK")
        second = server("UP 1/3", section=f"mon-{POOL}-{LISTENER}", check_status="INI")
        self.assertEqual({ONE: None, POOL: None}, statuses(asked, backend(), first, second))
        self.assertEqual({ONE: ONLINE, POOL: ONLINE}, statuses(asked, backend(), first))
        self.assertEqual({ONE: ERROR, POOL: ERROR}, statuses(server("DOWN"), backend("DOWN"), first, second))

    def test_of_a_backend(self) -> None:
        self.assertEqual({POOL: ONLINE}, statuses(backend()))
        self.assertEqual({ONE: OFFLINE, POOL: ERROR}, statuses(server("MAINT"), backend("DOWN")))

    def test_a_pool_with_a_backend_for_each_mode_is_as_the_worse(self) -> None:
        found = objects(
            server("DOWN", stot=1),
            backend("DOWN", stot=1),
            server("UP", section=f"be-{POOL}-tcp", stot=2),
            backend("UP", section=f"be-{POOL}-tcp", stot=2),
        )
        self.assertEqual((ERROR, ERROR), (found[ONE].status, found[POOL].status))
        self.assertEqual((3, 3), (found[ONE].counters.total_connections, found[POOL].counters.total_connections))
