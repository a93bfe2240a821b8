"""A real systemd as the first process of a device, with the packaged unit of haproxy and hardly another one."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from balancer.devbox.processes import StartError

PROGRAM = Path("/usr/lib/systemd/systemd")
UNIT = Path("/usr/lib/systemd/system/haproxy.service")

# Those that every service refers to, doing nothing.
_TARGETS = ("sysinit", "basic", "multi-user", "shutdown", "network-online", "default")
# There is no journal that a chrooted haproxy could log to.
_DROP_IN = "[Service]\nBindReadOnlyPaths=\n"


def systemd_refused() -> str:
    """Why no systemd can be started in namespaces of its own; empty when one can."""
    for each in (PROGRAM, UNIT):
        if not each.exists():
            return f"{each} is missing"
    mounted = _cgroup2()
    if mounted is None:
        return "no cgroup2 is mounted"
    return "" if os.access(mounted, os.W_OK) else f"{mounted} may not be written"


def write_units(units: Path, configuration: Path) -> None:
    """What the device shall have as /usr/lib/systemd/system and /etc/systemd/system."""
    drop_in = configuration / f"{UNIT.name}.d"
    units.mkdir(parents=True, exist_ok=True)
    drop_in.mkdir(parents=True, exist_ok=True)
    shutil.copy(UNIT, units)
    for each in _TARGETS:
        (units / f"{each}.target").write_text(f"[Unit]\nDescription={each}\nDefaultDependencies=no\n")
    (drop_in / "device.conf").write_text(_DROP_IN)


class ControlGroup:
    """One that is the device's root: systemd makes its own below it. It must be removed after the device ended."""

    def __init__(self, name: str) -> None:
        mounted = _cgroup2()
        if mounted is None:
            raise StartError("no cgroup2 is mounted")
        self.path = mounted / name
        self.path.mkdir()

    def remove(self) -> None:
        deadline = time.monotonic() + 20
        while self.path.exists():
            try:
                for directory, _, _ in os.walk(self.path, topdown=False):
                    os.rmdir(directory)
            except OSError:
                # The kernel takes a moment to let go of processes that ended.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


def _cgroup2() -> Path | None:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(where)
    return None
