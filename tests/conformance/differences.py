"""What the suite finds and the documentation announces (doc/source/api-lbaas-v2.rst, "Differences from Octavia"), and
why some of its tests are skipped. Anything else is a difference that has to be put right or announced."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One test. `text` is why it failed or was skipped."""

    id: str
    outcome: str
    text: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Tests whose id and text match these regular expressions, and the reason."""

    test: str
    text: str
    reason: str

    def explains(self, result: Result) -> bool:
        return bool(re.search(self.test, result.id) and re.search(self.text, result.text))


@dataclass(slots=True, kw_only=True)
class Verdict:
    """`announced` and `skipped`: test id to reason. `stale`: what is listed and did not show."""

    announced: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    unexplained: list[Result] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)


DIFFERENCES: Sequence[Known] = (
    Known(
        test=r"test_listener\..*terminated_https",
        text="not allowed in this deployment",
        reason="TLS is not terminated: TERMINATED_HTTPS is refused with 400",
    ),
)

SKIPS: Sequence[Known] = (
    Known(
        test="AmphoraAPITest",
        text="^Amphora tests only run with the amphora provider",
        reason="There are no amphorae, and the provider is called otherwise",
    ),
)


def judged(
    results: Sequence[Result],
    *,
    differences: Sequence[Known] = DIFFERENCES,
    skips: Sequence[Known] = SKIPS,
    partly: bool,
) -> Verdict:
    """`partly`: not all tests were run, so that nothing can be said about what did not show."""
    verdict = Verdict()
    listed = {"failed": differences, "skipped": skips}
    used: set[Known] = set()
    for result in results:
        if result.outcome == "passed":
            continue
        known = next((each for each in listed[result.outcome] if each.explains(result)), None)
        if known is None:
            verdict.unexplained.append(result)
            continue
        used.add(known)
        (verdict.announced if result.outcome == "failed" else verdict.skipped)[result.id] = known.reason
    if not partly:
        verdict.stale = [f"{each.test} {each.text}" for each in (*differences, *skips) if each not in used]
    return verdict
