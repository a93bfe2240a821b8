"""Running something as a user without rights, whoever runs the tests."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

from tests.integration.running import ROOT

ORDINARY_USER = "tester" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name


def as_ordinary_user(root: Path, code: str, *, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Runs Python code in the checkout as `ORDINARY_USER`; `sys.argv[1]` is a new directory of theirs below `root`.

    Root does it in a mount namespace that knows one more user, who has a shell and no rights.
    """
    own = root / "own"
    own.mkdir()
    if os.geteuid() != 0:
        command = [sys.executable, "-c", code, str(own)]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, cwd=ROOT)
    root.chmod(0o755)
    os.chown(own, 60999, 60999)
    passwd = root / "passwd"
    passwd.write_text(Path("/etc/passwd").read_text() + f"{ORDINARY_USER}:x:60999:60999::/nonexistent:/bin/sh\n")
    # The checkout may be in a place that only root may enter, and so may be the virtualenv's path.
    script = (
        'mount --bind "$1" /etc/passwd && mount --bind "$2" /mnt && cd /mnt && '
        'exec env PYTHONPATH=/mnt setpriv --reuid 60999 --regid 60999 --clear-groups --no-new-privs "$3" -c "$4" "$5"'
    )
    python = Path(sys.executable)
    if python.is_relative_to(ROOT):
        python = Path("/mnt") / python.relative_to(ROOT)
    return subprocess.run(
        ["unshare", "--mount", "--", "sh", "-c", script, "sh", passwd, ROOT, python, code, own],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
