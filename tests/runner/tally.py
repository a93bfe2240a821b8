"""nose2 plugin: each test's time, the slowest tests, and the closing tally that run_tests.sh prints last.

One test counts once, by the worst that happened to it (body, subtests, tear-down). What unittest reports
outside of a test counts too: a module that does not import, a failing `setUpClass` or `setUpModule` is one
failure. An expected failure counts as skipped, since the behaviour is known not to be there; an unexpected
success counts as failed. A run in which nothing passed and nothing failed is a failure: whoever asked for
tests got none.
"""

from __future__ import annotations

import faulthandler
import heapq
import time
from collections import Counter
from pathlib import Path
from typing import Any, Literal

from nose2 import events, result

Outcome = Literal["passed", "failed", "skipped"]
WORSE: dict[Outcome, int] = {"passed": 0, "skipped": 1, "failed": 2}
SLOWEST_SHOWN = 10
STUCK_SECONDS = 120.0


def classify(outcome: str, *, expected: bool, raised: bool) -> Outcome:
    """What an outcome that nose2 reports counts as; `raised` tells a failed subtest from a good one."""
    if outcome == result.SKIP:
        return "skipped"
    if outcome == result.PASS:
        return "passed" if expected else "failed"
    if outcome == result.FAIL and expected:
        return "skipped"
    if outcome == result.SUBTEST and not raised:
        return "passed"
    return "failed"


def sentence(counts: Counter[Outcome]) -> str:
    """The tally, in the form that continuous integration reads."""
    return f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped"


class Tally(events.Plugin):
    """Counts outcomes and times; see the module's description."""

    configSection = "tally"
    alwaysOn = True

    def __init__(self) -> None:
        self.counts: Counter[Outcome] = Counter()
        self.durations: list[tuple[float, str]] = []
        self.tally_file: Path | None = None
        self._worst: Outcome | None = None
        self._started: float | None = None
        self.session.pluginargs.add_argument(
            "--tally-file", metavar="FILE", help="Write the closing tally to FILE instead of the error output"
        )

    def handleArgs(self, event: Any) -> None:
        if event.args.tally_file:
            self.tally_file = Path(event.args.tally_file)

    def startTest(self, event: Any) -> None:
        self._worst = None
        self._started = time.perf_counter()
        # A test that hangs says where.
        faulthandler.dump_traceback_later(STUCK_SECONDS, repeat=True)

    def setTestOutcome(self, event: Any) -> None:
        """Put the time so far behind the word that nose2 prints for the outcome."""
        if self._started is None:
            return
        words = {
            result.ERROR: "ERROR",
            result.FAIL: "expected failure" if event.expected else "FAIL",
            result.PASS: "ok" if event.expected else "unexpected success",
            result.SKIP: f"skipped: {event.reason}",
            result.SUBTEST: "FAIL",
        }
        event.longLabel = f"{words[event.outcome]} ({time.perf_counter() - self._started:.2f} s)"

    def testOutcome(self, event: Any) -> None:
        outcome = classify(event.outcome, expected=bool(event.expected), raised=event.exc_info is not None)
        if self._started is None:
            self.counts[outcome] += 1
        elif self._worst is None or WORSE[outcome] > WORSE[self._worst]:
            self._worst = outcome

    def stopTest(self, event: Any) -> None:
        if self._started is None:
            return
        faulthandler.cancel_dump_traceback_later()
        self.durations.append((time.perf_counter() - self._started, event.test.id()))
        # No outcome at all is not a success.
        self.counts[self._worst or "failed"] += 1
        self._started = None

    def wasSuccessful(self, event: Any) -> None:
        if self.counts["failed"] or not self.counts["passed"]:
            event.success = False

    def afterSummaryReport(self, event: Any) -> None:
        stream = event.stream
        if self.durations:
            stream.writeln(f"\nThe slowest of {len(self.durations)} tests:")
            for seconds, name in heapq.nlargest(SLOWEST_SHOWN, self.durations):
                stream.writeln(f"{seconds:8.2f} s  {name}")
        if self.tally_file is None:
            stream.writeln(sentence(self.counts))
        else:
            stream.flush()
            self.tally_file.write_text(sentence(self.counts) + "\n", encoding="utf-8")
