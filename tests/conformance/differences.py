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
    """Tests whose id and text match these regular expressions, the reason, and the words of the reference that
    announce it."""

    test: str
    text: str
    reason: str
    announced: str

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
        announced="TLS is not terminated: TERMINATED_HTTPS and every attribute about certificates",
    ),
    Known(
        test=r"LoadBalancerScenarioTest\.test_load_balancer_ipv[46]_CRUD_with_compute_flavor",
        text=r"\nService: compute, Region: ",
        reason="Not of this service: makes a size of virtual machines at a compute service first",
        announced="two scenarios make a size of virtual machines",
    ),
    Known(
        test=r"LoadBalancerScenarioTest\.test_load_balancer_ipv6_CRUD$",
        text=r"assertEqual\(self\.lb_member_vip_ipv6_net\[const\.ID\],",
        reason="Not of this service: without Neutron the suite asks for one network and then looks for another one",
        announced="one asks for a network and looks for another",
    ),
)

SKIPS: Sequence[Known] = (
    Known(
        test="AmphoraAPITest",
        text="^Amphora tests only run with the amphora provider",
        reason="There are no amphorae, and the provider is called otherwise",
        announced="Tests of amphorae",
    ),
    Known(
        test=r"_LC_backup_member_list",
        text="^Skipped until bug: https://launchpad.net/bugs/2045803 is resolved",
        reason="The suite skips it, whatever it is run against",
        announced="a test that the suite skips everywhere",
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
