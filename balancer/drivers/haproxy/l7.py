"""Layer 7 policies as lines of a frontend. Pure.

HAProxy looks at the rules of ``http-request`` in the order of the file, and chooses the backend after them. So all that
reject come first, then those that redirect elsewhere, then those that choose a pool; among their like, the position
counts. LBaaS v2 documents this order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from balancer.core import regex
from balancer.core.model import L7Policy, L7Rule
from balancer.drivers.haproxy import names
from balancer.exceptions import InvalidInput, Unsupported

_ORDER: Mapping[str, int] = {"REJECT": 0, "REDIRECT_TO_URL": 1, "REDIRECT_PREFIX": 1, "REDIRECT_TO_POOL": 2}
_MATCH: Mapping[str, str] = {
    "EQUAL_TO": "str",
    "STARTS_WITH": "beg",
    "ENDS_WITH": "end",
    "CONTAINS": "sub",
    "REGEX": "reg",
}
_FILE_TYPE_COMPARES = ("EQUAL_TO", "REGEX")
_CODES = (301, 302, 303, 307, 308)
_CODE = 302


def used_pools(policies: Sequence[L7Policy]) -> tuple[str, ...]:
    """Ids of the pools that policies which count send requests to."""
    to_pools = [each for each in _active(policies) if each.action == "REDIRECT_TO_POOL"]
    return tuple(dict.fromkeys(str(each.redirect.get("pool_id") or "") for each in to_pools))


def lines(policies: Sequence[L7Policy], backend_of: Callable[[str], str | None]) -> list[str]:
    """`backend_of` gives the backend of a pool's id, None for one that is switched off: then the policy does nothing.
    Raises `InvalidInput`."""
    active = _active(policies)
    conditions = [_acl(rule) for policy in active for rule in policy.rules if rule.admin_up]
    actions = [_action(policy, backend_of) for policy in active]
    return [*conditions, *(line for line in actions if line is not None)]


def _active(policies: Sequence[L7Policy]) -> list[L7Policy]:
    """A policy without a rule would catch everything: it does not count."""
    for policy in policies:
        if policy.action not in _ORDER:
            raise InvalidInput(f"action must be one of {', '.join(_ORDER)}", field="action")
    found = [each for each in policies if each.admin_up and any(rule.admin_up for rule in each.rules)]
    return sorted(found, key=lambda each: (_ORDER[each.action], each.position))


def _action(policy: L7Policy, backend_of: Callable[[str], str | None]) -> str | None:
    condition = " ".join(f"{'!' if rule.invert else ''}{_name(rule)}" for rule in policy.rules if rule.admin_up)
    redirect = policy.redirect
    if policy.action == "REJECT":
        return f"http-request deny deny_status 403 if {condition}"
    if policy.action == "REDIRECT_TO_POOL":
        backend = backend_of(str(redirect.get("pool_id") or ""))
        return None if backend is None else f"use_backend {backend} if {condition}"
    how, key = ("location", "url") if policy.action == "REDIRECT_TO_URL" else ("prefix", "prefix")
    code = redirect.get("http_code") or _CODE
    if code not in _CODES:
        raise InvalidInput(f"redirect_http_code must be one of {', '.join(map(str, _CODES))}", field="http_code")
    return f"http-request redirect {how} {names.url(redirect.get(key), key)} code {code} if {condition}"


def _acl(rule: L7Rule) -> str:
    value = rule.value
    if rule.compare_type not in _MATCH:
        raise InvalidInput(f"compare_type must be one of {', '.join(_MATCH)}", field="compare_type")
    match = _MATCH[rule.compare_type]
    if rule.type == "HOST_NAME":
        sample, match = "req.hdr(host),host_only", f"{match} -i"
    elif rule.type == "PATH":
        sample = "path"
    elif rule.type == "FILE_TYPE":
        if rule.compare_type not in _FILE_TYPE_COMPARES:
            allowed = ", ".join(_FILE_TYPE_COMPARES)
            raise InvalidInput(f"compare_type of a FILE_TYPE rule must be one of {allowed}", field="compare_type")
        if rule.compare_type == "EQUAL_TO":
            # With its dot, so that a file that merely has this name does not match.
            sample, match, value = "path", "end", f".{value.removeprefix('.')}"
        else:
            sample = "path,word(-1,/),word(-1,.)"
    elif rule.type == "HEADER":
        sample = f"req.hdr({names.token(rule.key, 'key')})"
    elif rule.type == "COOKIE":
        sample = f"req.cook({names.token(rule.key, 'key')})"
    else:
        raise Unsupported(f"HAProxy on these devices has no rules of type {rule.type}", field="type")
    if not value:
        raise InvalidInput("value must not be empty", field="value")
    problem = regex.problem(value) if rule.compare_type == "REGEX" else None
    if problem is not None:
        raise InvalidInput(f"value is no regular expression that can be used ({problem})", field="value")
    return f"acl {_name(rule)} {sample} -m {match} -- {names.quote(value, 'value')}"


def _name(rule: L7Rule) -> str:
    return f"l7-{names.object_id(rule.id)}"
