"""``python -m tests.bench``: measures the rows that are named, prints their table, writes them as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from tests.bench import deployments, fleet, lbaas_v2, requests
from tests.bench.measuring import Result, line, table


class Benchmark(Protocol):
    def __call__(self, *, quick: bool) -> Iterator[Result]: ...


ROWS: Mapping[str, Benchmark] = {
    "a": deployments.create,
    "b": deployments.change_weight,
    "c": deployments.change_many,
    "d": fleet.create_everywhere,
    "e": requests.run,
    "f": lbaas_v2.run,
}


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cores": os.cpu_count(),
        "processor": _cpu(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "haproxy": _first_line("haproxy", "-v"),
        "load": os.getloadavg()[0],
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _cpu() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _first_line(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True).stdout.partition("\n")[0]


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 when every target was met."""
    parser = argparse.ArgumentParser(prog="tests/bench/run.sh", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {' '.join(ROWS)}; all when none is named")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured there")
    parser.add_argument("--quick", action="store_true", help="only see that it works: too short to tell anything")
    options = parser.parse_args(argv)
    if unknown := set(options.rows) - ROWS.keys():
        parser.error(f"no such row: {', '.join(sorted(unknown))}; there are {' '.join(ROWS)}")
    about, results = machine(), []
    for name in options.rows or ROWS:
        for result in ROWS[name](quick=options.quick):
            results.append(result)
            print(line(result), file=sys.stderr, flush=True)
    print(table(results))
    if options.json:
        told = {"machine": about, "quick": options.quick, "results": [each.as_json() for each in results]}
        options.json.write_text(json.dumps(told, indent=1) + "\n")
    return int(any(each.met is False for each in results))


if __name__ == "__main__":
    sys.exit(main())
