"""What the conformance run makes of the suite's results."""

from __future__ import annotations

import unittest

from tests.conformance.differences import Known, Result, judged

DIFFERS = Known(test=r"Pool.*create", text="501", reason="not here", announced="")
SKIPS = Known(test="", text="^no virtual machines", reason="nothing to run them on", announced="")


def result(test: str, outcome: str, text: str = "") -> Result:
    return Result(id=test, outcome=outcome, text=text, seconds=0.1)


class TestVerdict(unittest.TestCase):
    def judge(self, *results: Result, partly: bool = False) -> tuple[dict[str, str], dict[str, str], list[str], int]:
        verdict = judged(results, differences=(DIFFERS,), skips=(SKIPS,), partly=partly)
        return verdict.announced, verdict.skipped, [each.id for each in verdict.unexplained], len(verdict.stale)

    def test_what_is_listed_is_explained(self) -> None:
        self.assertEqual(
            ({"PoolTest.test_create": "not here"}, {"Other": "nothing to run them on"}, [], 0),
            self.judge(
                result("PoolTest.test_create", "failed", "Got 501"),
                result("Other", "skipped", "no virtual machines here"),
                result("PoolTest.test_delete", "passed"),
            ),
        )

    def test_anything_else_is_not(self) -> None:
        for test, outcome, text in (
            ("PoolTest.test_create", "failed", "Got 400"),
            ("PoolTest.test_delete", "failed", "Got 501"),
            ("PoolTest.test_create", "skipped", "501"),
            ("Other", "failed", "no virtual machines here"),
            ("Other", "skipped", ""),
        ):
            self.assertEqual(({}, {}, [test], 2), self.judge(result(test, outcome, text)))

    def test_what_did_not_show_is_told_when_everything_was_run(self) -> None:
        self.assertEqual(({}, {}, [], 2), self.judge(result("PoolTest.test_create", "passed")))
        self.assertEqual(({}, {}, [], 0), self.judge(result("PoolTest.test_create", "passed"), partly=True))
