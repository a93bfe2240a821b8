"""Which roles may do what, by default and with a policy file."""

import tempfile
import unittest
from pathlib import Path

from balancer.api import policy
from balancer.api.policy import Policy, Rule
from balancer.core.model import Caller
from balancer.exceptions import ConfigurationError, Forbidden

RULES = {
    default: Rule(f"balancer:{default.removeprefix('rule:')}", default)
    for default in (
        policy.ADMIN,
        policy.READ,
        policy.READ_MEMBER,
        policy.WRITE,
        policy.READ_QUOTA,
        policy.WRITE_QUOTA,
    )
}
ADMIN, READ, READ_MEMBER, WRITE, READ_QUOTA, WRITE_QUOTA = RULES.values()


def caller(*roles: str, project_id: str | None = "mine") -> Caller:
    return Caller(project_id=project_id, user_id="u", roles=frozenset(roles))


class TestDefaults(unittest.TestCase):
    def setUp(self) -> None:
        self.policy = Policy(RULES.values())

    def allowed(self, rule: Rule, who: Caller, project_id: str | None = None) -> bool:
        try:
            self.policy.authorise(rule, who, project_id)
        except Forbidden:
            return False
        return True

    def rights(self, who: Caller, project_id: str) -> set[Rule]:
        return {rule for rule in RULES.values() if self.allowed(rule, who, project_id)}

    def test_each_role(self) -> None:
        reads = {READ, READ_MEMBER, READ_QUOTA}
        for role, own, others in (
            ("admin", set(RULES.values()), set(RULES.values())),
            ("load-balancer_admin", set(RULES.values()), set(RULES.values())),
            ("member", {*reads, WRITE}, set()),
            ("load-balancer_member", {*reads, WRITE}, set()),
            ("reader", reads, set()),
            ("load-balancer_observer", reads, set()),
            ("load-balancer_global_observer", reads, reads),
            ("load-balancer_quota_admin", {READ_QUOTA, WRITE_QUOTA}, {READ_QUOTA, WRITE_QUOTA}),
            ("service", {READ_MEMBER}, {READ_MEMBER}),
            ("anything-else", set(), set()),
        ):
            with self.subTest(role):
                self.assertEqual(own, self.rights(caller(role), "mine"))
                self.assertEqual(others, self.rights(caller(role), "theirs"))

    def test_without_a_role_or_a_project_nothing_is_one_s_own(self) -> None:
        self.assertEqual(set(), self.rights(caller(), "mine"))
        for project in ("None", "", "\0"):
            self.assertEqual(set(), self.rights(caller("member", project_id=None), project), project)

    def test_what_the_core_is_told(self) -> None:
        tenant = self.policy.authorise(READ, caller("member"))
        self.assertTrue(tenant.acts_in("mine"))
        self.assertFalse(tenant.acts_in("theirs") or tenant.acts_everywhere or tenant.admin)
        observer = self.policy.authorise(READ, caller("load-balancer_global_observer"))
        self.assertTrue(observer.acts_in("theirs") and not observer.admin)
        self.assertTrue(self.policy.authorise(WRITE, caller("admin")).admin)

    def test_what_is_public_is_so_without_a_token_and_gives_no_right(self) -> None:
        nobody = Caller()
        self.assertEqual(nobody, self.policy.authorise(policy.PUBLIC, nobody))
        self.assertTrue(self.policy.authorise(policy.PUBLIC, caller("admin")).admin)
        self.assertFalse(self.policy.authorise(policy.PUBLIC, caller("member")).acts_everywhere)

    def test_a_rule_has_one_default(self) -> None:
        with self.assertRaises(ValueError):
            Policy([READ, Rule(READ.name, policy.WRITE)])


class TestFile(unittest.TestCase):
    def load(self, text: str) -> Policy:
        path = Path(self.enterContext(tempfile.TemporaryDirectory())) / "policy.yaml"
        path.write_text(text, encoding="utf-8")
        return Policy(RULES.values(), str(path))

    def test_it_replaces_what_it_names(self) -> None:
        changed = self.load(
            f'"{WRITE.name}": "role:operator"\n"{ADMIN.name}": "rule:admin or rule:auditor"\n"auditor": "role:auditor"'
        )
        self.assertTrue(changed.authorise(WRITE, caller("operator"), "theirs").every_project)
        self.assertTrue(changed.authorise(ADMIN, caller("auditor")).acts_everywhere)
        with self.assertRaises(Forbidden):
            changed.authorise(WRITE, caller("admin"))
        changed.authorise(READ, caller("reader"), "mine")

    def test_an_administrator_can_be_kept_to_its_project(self) -> None:
        limited = self.load(f'"{WRITE.name}": "rule:own_project"').authorise(WRITE, caller("admin"))
        self.assertFalse(limited.acts_everywhere)

    def test_an_empty_one_changes_nothing(self) -> None:
        self.load("").authorise(READ, caller("reader"), "mine")

    def test_mistakes_end_the_start_and_are_named(self) -> None:
        for text, told in (
            ('"balancer:nodes:show": "role:admin"', "balancer:nodes:show"),
            (f'"{READ.name}": "role:admin or (role:x"', "cannot understand 'role:admin or \\(role:x'"),
            (f'"{READ.name}": "rule:nobody"', "rule is not defined|undefined|" + READ.name),
            (f'"{READ.name}": "rule:{READ.name}"', READ.name),
            (f'"{READ.name}": "http://127.0.0.1/may"', "cannot ask another server"),
            (f'"{READ.name}": 1', "must map"),
            ("- x", "must map"),
            ("{", "cannot be read"),
        ):
            with self.subTest(text), self.assertRaisesRegex(ConfigurationError, told):
                self.load(text)
        with self.assertRaisesRegex(ConfigurationError, "cannot be read"):
            Policy([], "/nonexistent/policy.yaml")
