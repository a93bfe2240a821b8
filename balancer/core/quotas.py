"""How many objects a project may have: pure counting, and the check inside the transaction that adds some."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from balancer.core.model import QuotaResource, Quotas, Tree
from balancer.core.ports import Transaction
from balancer.exceptions import OverQuota

UNLIMITED: Quotas = dict.fromkeys(QuotaResource, -1)
LARGEST = 2_000_000_000

_NOUNS: Mapping[QuotaResource, tuple[str, str]] = {
    QuotaResource.LOAD_BALANCER: ("load balancer", "load balancers"),
    QuotaResource.LISTENER: ("listener", "listeners"),
    QuotaResource.POOL: ("pool", "pools"),
    QuotaResource.MEMBER: ("member", "members"),
    QuotaResource.HEALTH_MONITOR: ("health monitor", "health monitors"),
    QuotaResource.L7_POLICY: ("L7 policy", "L7 policies"),
    QuotaResource.L7_RULE: ("L7 rule", "L7 rules"),
}


def contents(tree: Tree | None) -> Counter[QuotaResource]:
    """What a load balancer counts for, without its health monitors: others may use these, too."""
    if tree is None:
        return Counter()
    balancer = tree.load_balancer
    policies = [policy for listener in balancer.listeners for policy in listener.l7_policies]
    return Counter(
        {
            QuotaResource.LOAD_BALANCER: 1,
            QuotaResource.LISTENER: len(balancer.listeners),
            QuotaResource.POOL: len(balancer.pools),
            QuotaResource.MEMBER: sum(len(pool.members) for pool in balancer.pools),
            QuotaResource.L7_POLICY: len(policies),
            QuotaResource.L7_RULE: sum(len(policy.rules) for policy in policies),
        }
    )


def check_change(tx: Transaction, defaults: Quotas, before: Tree | None, after: Tree) -> None:
    """Whether the project may have what `after` has beyond `before`. To be asked before it is stored.

    Raises `OverQuota`. What becomes less, or is replaced by as many, is never refused.
    """
    more = contents(after)
    more.subtract(contents(before))
    seen = {monitor.id for monitor in before.monitors} if before else set()
    added = [monitor.id for monitor in after.monitors if monitor.id not in seen]
    if added:
        # Another load balancer may have it.
        more[QuotaResource.HEALTH_MONITOR] = len(added) - len(tx.monitors(added))
    check(tx, defaults, after.load_balancer.project_id, more)


def check(tx: Transaction, defaults: Quotas, project_id: str, more: Mapping[QuotaResource, int]) -> None:
    """Whether the project may have so many more. Raises `OverQuota`."""
    if not any(number > 0 for number in more.values()):
        return
    limits = {**defaults, **tx.quotas(project_id)}
    limited = {resource: limits[resource] for resource, number in more.items() if number > 0 and limits[resource] >= 0}
    if not limited:
        return
    # From here on nobody else adds anything to the project, so that the counts hold until the commit.
    tx.lock_project(project_id)
    used = tx.usage(project_id, tuple(limited))
    over = tuple(resource for resource, limit in limited.items() if used[resource] + more[resource] > limit)
    if over:
        raise OverQuota(" ".join(_sentence(each, limited[each], used[each]) for each in over), resources=over)


def _sentence(resource: QuotaResource, limit: int, used: int) -> str:
    one, several = _NOUNS[resource]
    return (
        f"The project may have {limit} {one if limit == 1 else several}, and {used} count; "
        "what was deleted counts until its device runs without it."
    )
