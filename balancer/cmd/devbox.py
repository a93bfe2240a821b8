"""The part of `bin/balancer-devbox` that runs once there is a virtualenv."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from balancer.devbox.box import CHECKOUT, DevBox, DevBoxError
from balancer.devbox.processes import StartError

_DESCRIPTION = """\
A load balancer to try, on this machine alone: three web servers, a device (an sshd and an haproxy of its own) and
balancer-api, all on loopback. Run as root the device has its own users and files, which exist only inside it.
"""

_COMMANDS = """\
commands:
  up      start everything, create a load balancer, show answers through it; stays (default); starts again what has
          died of one that is up
  demo    the same, then stop; refuses when one is up
          both: status 0 only when all three back ends answered in turn
  status  say what runs; status 0 when everything does, 3 otherwise
  down    stop everything and remove what was made
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 done, 1 failed, 2 usage, 3 `status` of a DevBox that is not up."""
    parser = argparse.ArgumentParser(
        prog="balancer-devbox",
        description=_DESCRIPTION,
        epilog=_COMMANDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", nargs="?", default="up", choices=("up", "demo", "status", "down"))
    parser.add_argument(
        "--state-dir",
        metavar="DIR",
        type=Path,
        default=CHECKOUT / ".devbox",
        help="where everything it makes is kept while it is up (default: .devbox in the checkout)",
    )
    arguments = parser.parse_args(argv)
    # As Ctrl-C: what was started is stopped on the way out.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    box = DevBox(arguments.state_dir)
    try:
        match arguments.command:
            case "up":
                return 0 if box.up() else 1
            case "demo":
                return 0 if box.demo() else 1
            case "status":
                return 0 if box.status() else 3
            case "down":
                box.down()
    except KeyboardInterrupt:
        return 130
    except (DevBoxError, StartError, OSError, subprocess.SubprocessError) as error:
        print(f"balancer-devbox: {error}", file=sys.stderr)
        return 1
    return 0


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
