"""What the closing line of a test run counts, shown by running small test modules."""

import subprocess
import sys
import tempfile
import textwrap
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GOOD = "class TestIt(unittest.TestCase):\n    def test_good(self): pass\n"


class TestTally(unittest.TestCase):
    def test_all_outcomes(self) -> None:
        self.assertTally(
            "1 passed, 3 failed, 2 skipped",
            """
            class TestIt(unittest.TestCase):
                def test_good(self): pass
                def test_failing(self): self.fail("no")
                def test_error(self): raise OSError
                def test_skipped(self): self.skipTest("no")
                @unittest.expectedFailure
                def test_known_to_fail(self): self.fail("not yet")
                @unittest.expectedFailure
                def test_said_to_fail(self): pass
            """,
        )

    def test_all_good(self) -> None:
        status, output = run(GOOD)
        self.assertEqual((0, "1 passed, 0 failed, 0 skipped"), (status, output[-1]))

    def test_a_test_with_failing_subtests_counts_once(self) -> None:
        self.assertTally(
            "1 passed, 1 failed, 0 skipped",
            """
            class TestIt(unittest.TestCase):
                def test_bad(self):
                    for number in range(5):
                        with self.subTest(number=number): self.assertEqual(3, number)
                def test_good(self):
                    for number in range(5):
                        with self.subTest(number=number): pass
            """,
        )

    def test_a_failing_tear_down_after_a_failing_body_counts_once(self) -> None:
        self.assertTally(
            "0 passed, 1 failed, 0 skipped",
            """
            class TestIt(unittest.TestCase):
                def tearDown(self): raise OSError
                def test_bad(self): self.fail("no")
            """,
        )

    def test_a_failing_class_set_up_counts(self) -> None:
        self.assertTally(
            "1 passed, 1 failed, 0 skipped",
            """
            class TestBroken(unittest.TestCase):
                @classmethod
                def setUpClass(cls): raise OSError
                def test_never_run(self): pass
            class TestIt(unittest.TestCase):
                def test_good(self): pass
            """,
        )

    def test_a_module_that_does_not_import_counts(self) -> None:
        self.assertTally("0 passed, 1 failed, 0 skipped", "import no_such_module_anywhere")

    def test_a_module_that_ends_the_program_counts(self) -> None:
        self.assertTally("0 passed, 1 failed, 0 skipped", "raise SystemExit(0)")

    def test_no_test_is_a_failure(self) -> None:
        self.assertTally("0 passed, 0 failed, 0 skipped", "")

    def test_nothing_but_skipped_tests_is_a_failure(self) -> None:
        self.assertTally(
            "0 passed, 0 failed, 1 skipped",
            """
            @unittest.skip("never")
            class TestIt(unittest.TestCase):
                def test_good(self): pass
            """,
        )

    def test_a_name_that_is_not_there_is_a_failure(self) -> None:
        for name in ("sample.test_missing", "sample/missing", "sample.test_it.TestIt.test_missing"):
            with self.subTest(name=name):
                status, output = run(GOOD, name)
                self.assertNotEqual(0, status)
                self.assertRegex(output[-1], r"^0 passed, [01] failed, 0 skipped$")

    def test_names_and_times_are_shown(self) -> None:
        _, output = run(GOOD)
        self.assertRegex(output[0], r"^test_good \(sample\.test_it\.TestIt.*\) \.\.\. ok \(\d+\.\d\d s\)$")
        self.assertIn("The slowest of 1 tests:", output)

    def assertTally(self, expected: str, body: str) -> None:
        status, output = run(body)
        self.assertEqual(expected, output[-1], "\n".join(output))
        self.assertNotEqual(0, status)


def run(body: str, *names: str) -> tuple[int, list[str]]:
    """Run a test module with that body. Returns exit status and the output's lines."""
    with tempfile.TemporaryDirectory() as directory:
        package = Path(directory, "sample")
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "test_it.py").write_text("import unittest\n" + textwrap.dedent(body))
        done = subprocess.run(
            [sys.executable, "-m", "nose2", "-v", "--plugin", "tests.runner.tally", *(names or ["sample"])],
            cwd=directory,
            env={"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
    return done.returncode, done.stdout.splitlines() or [""]
