"""Runs tests of the suite in this interpreter, which is the suite's own: the standard library alone.

Usage: suite.py RESULTS NAME...: for every test one line of JSON in the file RESULTS: id, outcome (passed, failed,
skipped), text (why it failed or was skipped) and seconds.
"""

from __future__ import annotations

import json
import sys
import time
import unittest
from pathlib import Path
from typing import Any, TextIO


class Lines(unittest.TestResult):
    """Writes down every test as soon as it is done."""

    def __init__(self, file: TextIO) -> None:
        super().__init__()
        self._file = file
        self._since = time.monotonic()

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self._since = time.monotonic()

    def addSuccess(self, test: unittest.TestCase, details: Any = None) -> None:
        self._write(test, "passed", "")

    def addError(self, test: unittest.TestCase, err: Any = None, details: Any = None) -> None:
        self._write(test, "failed", self._text(test, err, details))

    def addFailure(self, test: unittest.TestCase, err: Any = None, details: Any = None) -> None:
        self._write(test, "failed", self._text(test, err, details))

    def addSkip(self, test: unittest.TestCase, reason: str | None = None, details: Any = None) -> None:
        said = details.get("reason") if details else None
        self._write(test, "skipped", reason or (said.as_text() if said is not None else ""))

    def addExpectedFailure(self, test: unittest.TestCase, err: Any = None, details: Any = None) -> None:
        self._write(test, "passed", "")

    def addUnexpectedSuccess(self, test: unittest.TestCase, details: Any = None) -> None:
        self._write(test, "failed", "passed unexpectedly")

    def _text(self, test: unittest.TestCase, err: Any, details: Any) -> str:
        if err is not None:
            return str(self._exc_info_to_string(err, test))  # type: ignore[attr-defined]
        return "\n".join(each.as_text() for name, each in sorted((details or {}).items()) if "traceback" in name)

    def _write(self, test: unittest.TestCase, outcome: str, text: str) -> None:
        seconds = round(time.monotonic() - self._since, 2)
        # What a class cannot set up is told as of "setUpClass (the.class)"; ids end in attributes in brackets.
        said = {"id": test.id().partition("[")[0], "outcome": outcome, "text": text, "seconds": seconds}
        self._file.write(json.dumps(said) + "\n")
        self._file.flush()
        print(f"{outcome:8}{seconds:7.1f} s  {said['id']}", flush=True)


if __name__ == "__main__":
    with Path(sys.argv[1]).open("a", encoding="utf-8") as results:
        unittest.defaultTestLoader.loadTestsFromNames(sys.argv[2:]).run(Lines(results))
