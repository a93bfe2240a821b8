"""The guides of the documentation, whose commands are run."""

from __future__ import annotations

import re

from tests.integration.running import ROOT

_BLOCK = re.compile(r"(?m)^\.\. code-block:: sh\n   :name: (\S+)\n\n((?:   .*\n|\n)+)")


def blocks(page: str) -> dict[str, str]:
    """Of the page of that name: each block of commands that has a name, without its indent."""
    found = _BLOCK.findall((ROOT / "doc" / "source" / f"{page}.rst").read_text(encoding="utf-8"))
    return {name: "\n".join(line[3:] for line in text.strip("\n").splitlines()) + "\n" for name, text in found}
