"""Who may do what (oslo.policy). Each route names its `Rule`; what a rule asks for by default stands here.

A rule is asked twice: may the caller do this in its own project, and may it do this in a project that is not its own?
The second makes it act everywhere; whose an object is, the core finds out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from oslo_config import cfg
from oslo_policy import policy

from balancer.core.model import Caller
from balancer.exceptions import ConfigurationError, Forbidden

ADMIN = "rule:admin"
READ = "rule:read"
READ_MEMBER = "rule:read_member"
WRITE = "rule:write"
READ_QUOTA = "rule:read_quota"
WRITE_QUOTA = "rule:write_quota"

BASE: tuple[policy.RuleDefault, ...] = (
    policy.RuleDefault("admin", "role:admin or role:load-balancer_admin", "Administrators, in every project."),
    policy.RuleDefault("own_project", "project_id:%(project_id)s", "The token is for the project that is asked about."),
    policy.RuleDefault(
        "own_reader",
        "rule:own_project and (role:reader or role:member or role:load-balancer_observer or role:load-balancer_member)",
        "Who may look at everything in its own project.",
    ),
    policy.RuleDefault(
        "read",
        "rule:own_reader or role:load-balancer_global_observer or rule:admin",
        "Who may look at load balancers and their parts.",
    ),
    policy.RuleDefault(
        "read_member",
        "rule:read or role:service",
        "Who may look at the members of a pool through the LBaaS v2 API.",
    ),
    policy.RuleDefault(
        "write",
        "(rule:own_project and (role:member or role:load-balancer_member)) or rule:admin",
        "Who may change load balancers and their parts.",
    ),
    policy.RuleDefault(
        "read_quota",
        "rule:own_reader or role:load-balancer_global_observer or role:load-balancer_quota_admin or rule:admin",
        "Who may look at a project's quotas.",
    ),
    policy.RuleDefault(
        "prometheus",
        "rule:admin",
        "Who may have PROMETHEUS listeners, which show the counters of all projects on a device; asked beside the rule "
        "of the request.",
    ),
    policy.RuleDefault("write_quota", "role:load-balancer_quota_admin or rule:admin", "Who may set quotas."),
)

REFUSAL = "Policy does not allow this request to be performed."
# No project has this id.
_ELSEWHERE = "\0"


@dataclass(frozen=True, slots=True)
class Rule:
    """The name of a rule in a policy file, and what it asks for when no file says so: one of those above."""

    name: str
    default: str


PUBLIC = Rule("", "@")
"""For everybody, without a token. No policy file changes that."""


def documented(operations: Mapping[Rule, Iterable[tuple[str, str]]]) -> list[policy.RuleDefault]:
    """All rules as oslo.policy's tools want them. `operations`: rule to the (method, path) that it is asked for."""
    meanings = {f"rule:{base.name}": base.description or "" for base in BASE}
    return [
        *BASE,
        *(
            policy.DocumentedRuleDefault(
                rule.name,
                rule.default,
                meanings[rule.default],
                [{"method": method, "path": path} for method, path in where],
            )
            for rule, where in operations.items()
            if rule != PUBLIC
        ),
    ]


class Policy:
    """The rules in force: those of the policy file (YAML or JSON, rule to check) instead of the defaults.

    Raises `ConfigurationError`: no such file, a rule in it that nothing asks for, a check that means nothing.
    """

    def __init__(self, rules: Iterable[Rule], policy_file: str | None = None) -> None:
        checks = {base.name: base.check_str for base in BASE}
        for rule in rules:
            if rule != PUBLIC and checks.setdefault(rule.name, rule.default) != rule.default:
                raise ValueError(f"the policy rule {rule.name} has two defaults")
        if policy_file is not None:
            checks |= _read(policy_file, checks)
        parsed = policy.Rules.from_dict(checks)
        for name, check in checks.items():
            if "http:" in check or "https:" in check:
                raise ConfigurationError(f"{policy_file}: {name}: a check cannot ask another server")
            # What cannot be parsed becomes the check that always fails.
            if str(parsed[name]) == "!" and check.strip() != "!":
                raise ConfigurationError(f"{policy_file}: {name}: cannot understand {check!r}")
        self._enforcer = policy.Enforcer(cfg.ConfigOpts(), rules=parsed, use_conf=False)
        try:
            self._enforcer.check_rules(raise_on_violation=True)
        except policy.InvalidDefinitionError as error:
            raise ConfigurationError(f"{policy_file}: {error}") from error
        # An answer depends on nothing else, and takes oslo.policy 100 µs.
        self._allows = lru_cache(maxsize=4096)(self._ask)

    def authorise(self, rule: Rule, caller: Caller, project_id: str | None = None) -> Caller:
        """The caller as the core is to see it in this request, about that project if it is about one.

        Raises `Forbidden`. A caller that already is an administrator, as all are without Keystone, passes.
        """
        if caller.admin:
            return caller
        if rule == PUBLIC:
            return replace(caller, admin=self._allows("admin", caller, _ELSEWHERE))
        everywhere = self._allows(rule.name, caller, _ELSEWHERE)
        own = caller.project_id
        if not everywhere and (own is None or not self._allows(rule.name, caller, own)):
            raise Forbidden(REFUSAL)
        if not everywhere and project_id not in (None, own):
            raise Forbidden("This is another project's path")
        return replace(
            caller,
            every_project=everywhere,
            admin=everywhere and self._allows("admin", caller, _ELSEWHERE),
            exports=self._allows("prometheus", caller, _ELSEWHERE if own is None else own),
        )

    def _ask(self, name: str, caller: Caller, project_id: str) -> bool:
        credentials: dict[str, Any] = {"roles": sorted(caller.roles), "user_id": caller.user_id}
        # A missing project must not be equal to one that is called None.
        if caller.project_id is not None:
            credentials["project_id"] = caller.project_id
        return bool(self._enforcer.enforce(name, {"project_id": project_id}, credentials))


def _read(policy_file: str, known: Mapping[str, str]) -> dict[str, str]:
    try:
        content = yaml.safe_load(Path(policy_file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"The policy file {policy_file} cannot be read: {error}") from error
    content = {} if content is None else content
    if not isinstance(content, dict) or not all(isinstance(check, str) for check in content.values()):
        raise ConfigurationError(f"The policy file {policy_file} must map names of rules to checks, which are text")
    own = {name for check in content.values() for name in content if f"rule:{name}" in check}
    unknown = sorted(str(name) for name in content if name not in known and name not in own)
    if unknown:
        raise ConfigurationError(
            f"The policy file {policy_file} has rules that nothing asks for: {', '.join(unknown)}; "
            "etc/policy.yaml.sample lists those there are"
        )
    return content
