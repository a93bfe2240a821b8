"""The command `neutron` of the last release that had it, in a virtualenv of its own: its libraries are not ours.

As a program, run by that virtualenv's Python: reads one command per line, a JSON list of words, and tells of each its
exit status and what it printed, as a JSON list. Starting anew for every command would take seconds each.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

RELEASE = "python-neutronclient==9.0.0"
ROOT = Path(__file__).resolve().parent.parent.parent
_DIRECTORY = ROOT / ".venv-neutron"


def python() -> Path:
    """The virtualenv's, which is made when it is not there."""
    found = _DIRECTORY / "bin" / "python"
    with (ROOT / ".venv-neutron.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        built = _DIRECTORY / ".built-from"
        if not built.exists() or built.read_text() != RELEASE:
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(_DIRECTORY)], check=True, timeout=120)
            install = [str(found), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "-q", RELEASE]
            subprocess.run(install, check=True, timeout=600)
            built.write_text(RELEASE)
    return found


class Neutron:
    """A context manager. `url`: where the API is; without Keystone."""

    def __init__(self, url: str) -> None:
        self._environ = {**os.environ, "OS_AUTH_TYPE": "none", "OS_ENDPOINT": url, "PYTHONWARNINGS": "ignore"}
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [str(python()), str(Path(__file__).resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self._environ,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None and self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(30)

    def run(self, words: list[str]) -> tuple[int, str]:
        """Exit status and output, with the errors at its end."""
        assert self._process is not None and self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        status, output = json.loads(self._process.stdout.readline())
        return int(status), str(output)


def _main() -> None:
    from neutronclient.shell import NeutronShell  # type: ignore[import-not-found,unused-ignore]

    answers = sys.stdout
    for line in sys.stdin:
        out, errors = io.StringIO(), io.StringIO()
        status: Any
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            try:
                status = NeutronShell("2.0").run(json.loads(line))
            except SystemExit as end:
                status = end.code
            except Exception as error:
                status, _ = 1, errors.write(repr(error))
        print(json.dumps([int(status or 0), out.getvalue() + errors.getvalue()]), file=answers, flush=True)


if __name__ == "__main__":
    _main()
