"""A newer HAProxy than the machine's, from the packages of a later Debian release, beside what is installed.

It is downloaded once, with apt's own signature checks but a state directory of its own, and kept in `.cache`.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
import unittest
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from balancer.devbox.host import RELEASE_DIRECTORY
from tests.integration.running import ROOT

RELEASE = os.environ.get("HAPROXY_RELEASE", "trixie")
"""Of Debian; another one than the default for a run by hand."""
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_CACHE = ROOT / ".cache"


@cache
def newer_haproxy() -> Path:
    """A directory with the program `haproxy`, every library that it needs, and the dynamic linker. `Host` shows it to
    its device as `RELEASE_DIRECTORY`, where the program looks for its libraries."""
    ready = _CACHE / f"haproxy-{RELEASE}"
    _CACHE.mkdir(exist_ok=True)
    with (_CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            with tempfile.TemporaryDirectory(dir=_CACHE) as directory:
                _make(Path(directory), ready)
    return ready


def version() -> str:
    text = _run([*command(), "-v"]).stdout
    match = re.search(r"version (\S+)", text)
    assert match, text
    return match[1]


def command() -> list[str]:
    """How the program is run on this machine itself."""
    directory = newer_haproxy()
    (linker,) = directory.glob("ld-*")
    return [str(linker), "--library-path", str(directory), str(directory / "haproxy")]


def _make(work: Path, ready: Path) -> None:
    if not _KEYRING.exists():
        raise RuntimeError(f"{_KEYRING} is missing: install the package debian-archive-keyring")
    # apt gives up root's rights while it downloads.
    work.chmod(0o755)
    for each in ("lists/partial", "cache/archives/partial", "root"):
        (work / each).mkdir(parents=True)
    source = f"deb [signed-by={_KEYRING}] {_mirror()} {RELEASE} main\n"
    (work / "sources.list").write_text(source)
    settings = {
        "Dir::State::Lists": work / "lists",
        "Dir::State::status": "/dev/null",
        "Dir::Cache": work / "cache",
        "Dir::Etc::SourceList": work / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "APT::Sandbox::User": "root",
        "Debug::NoLocking": "1",
    }
    apt = ["apt-get", "-q", *(f"-o{key}={value}" for key, value in settings.items())]
    _run([*apt, "update"])
    _run([*apt, "install", "--download-only", "--yes", "--no-install-recommends", "haproxy", "patchelf"])
    for package in (work / "cache/archives").glob("*.deb"):
        _run(["dpkg-deb", "-x", str(package), str(work / "root")])
    _collect(work / "root", work / "ready")
    (work / "ready").rename(ready)


def _mirror() -> str:
    """The Debian mirror that this machine's package sources name; skips the test where there is none."""
    listed = _run(["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]).stdout
    for uri in listed.splitlines():
        if uri.rstrip("/").endswith("/debian"):
            return uri
    raise unittest.SkipTest("the package sources of this machine offer no later release of Debian")


def _collect(root: Path, target: Path) -> None:
    """Copies the program and what it loads, and tells it where to look for that."""
    target.mkdir()
    program, patchelf = root / "usr/sbin/haproxy", root / "usr/bin/patchelf"
    (linker,) = (root / "usr/lib").glob("*/ld-linux*")
    load = [str(linker), "--library-path", str(linker.parent)]
    listed = _run([*load, "--list", str(program)]).stdout
    for found in re.findall(r"=> (/\S+)", listed):
        shutil.copy(found, target / Path(found).name)
    shutil.copy(linker, target / linker.name)
    shutil.copy(program, target / "haproxy")
    _run(
        [
            *(*load, str(patchelf), "--set-interpreter", f"{RELEASE_DIRECTORY}/{linker.name}"),
            *("--force-rpath", "--set-rpath", RELEASE_DIRECTORY, str(target / "haproxy")),
        ]
    )
    target.chmod(0o755)


def _run(argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv[:2])}: {done.stderr.strip()[-2000:]}")
    return done
