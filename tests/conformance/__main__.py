"""Keystone, the service, its device and the suite, all on loopback; then what they differ in. See run.sh."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.conformance.differences import Result, judged
from tests.integration.keystone import Keystone
from tests.integration.running import ROOT, RunningService

PACKAGE = "octavia_tempest_plugin.tests"
API = tuple(
    f"{PACKAGE}.api.v2.test_{each}"
    for each in (
        "amphora",
        "availability_zone",
        "availability_zone_capabilities",
        "availability_zone_profile",
        "flavor",
        "flavor_capabilities",
        "flavor_profile",
        "healthmonitor",
        "l7policy",
        "l7rule",
        "listener",
        "load_balancer",
        "member",
        "pool",
        "provider",
    )
)
# Of the scenarios, those that start no virtual machines.
SCENARIOS = tuple(
    f"{PACKAGE}.scenario.v2.test_{each}"
    for each in ("healthmonitor", "l7policy", "l7rule", "listener", "load_balancer", "member", "pool")
)
# Those of the scenarios wait for ONLINE even where nothing reports.
REPORTING = (f"{PACKAGE}.scenario.v2.test_pool",)
# Ours by default: a role of either kind is enough, and PROMETHEUS listeners are for administrators.
_PROMETHEUS = {"prometheus": "rule:write"}
# What the suite's users are, and rules that say the same.
SCHEMES: Mapping[str, Mapping[str, str]] = {
    "keystone_default_roles": _PROMETHEUS,
    "advanced": {
        **_PROMETHEUS,
        "own_reader": "rule:own_project and (role:load-balancer_observer or role:load-balancer_member)",
        "write": "(rule:own_project and role:load-balancer_member) or rule:admin",
    },
}
ROLES = ("load-balancer_member", "load-balancer_observer", "load-balancer_global_observer", "load-balancer_admin")
USERS = {
    "balancer": ("service", ("service",)),
    # So that the roles are there.
    "everything": ("nothing", ROLES),
}
PASTE = """\
[pipeline:main]
pipeline = authtoken context apiv1app
[app:apiv1app]
paste.app_factory = balancer.bootstrap:app_factory
[filter:context]
paste.filter_factory = balancer.bootstrap:context_factory
[filter:authtoken]
paste.filter_factory = balancer.bootstrap:authtoken_factory
"""
SUITE_SECONDS = 3600


def main(arguments: Sequence[str]) -> int:
    # Like control-C: what was started ends with us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    parser = argparse.ArgumentParser(prog="tests/conformance/run.sh", description=__doc__)
    parser.add_argument("--suite-python", required=True, type=os.path.abspath, help=argparse.SUPPRESS)
    parser.add_argument(
        "--roles", choices=SCHEMES, default="keystone_default_roles", help="roles of the suite's users (%(default)s)"
    )
    parser.add_argument("--keep", type=Path, help="new directory for logs and results, instead of one that is removed")
    parser.add_argument("names", nargs="*", help="modules or tests (all that need no virtual machines)")
    wanted = parser.parse_args(arguments)
    if wanted.keep is not None:
        try:
            wanted.keep.mkdir(parents=True)
        except FileExistsError:
            parser.error(f"--keep: {wanted.keep} is there already")
        return run(wanted.keep.resolve(), wanted.suite_python, wanted.roles, wanted.names)
    with tempfile.TemporaryDirectory() as made:
        return run(Path(made), wanted.suite_python, wanted.roles, wanted.names)


def run(root: Path, python: str, roles: str, names: Sequence[str]) -> int:
    results = root / "results.jsonl"
    (root / "keystone").mkdir()
    wanted = names or API + SCENARIOS
    reporting = [each for each in wanted if each.startswith(REPORTING)]
    with Keystone(root / "keystone", USERS, cache=True) as keystone, service(root, keystone, roles) as running:
        device = register(keystone, running)
        write_configuration(root, keystone, running, roles)
        for behaviour, tests in (("silent", [each for each in wanted if each not in reporting]), ("", reporting)):
            if tests:
                ask(keystone, running, "PUT", f"/devices/{device}", {"behaviour": behaviour})
                run_suite(root, python, results, tests)
    return report([Result(**json.loads(line)) for line in results.read_text().splitlines()], partly=bool(names))


def run_suite(root: Path, python: str, results: Path, tests: Sequence[str]) -> None:
    command = [python, str(ROOT / "tests/conformance/suite.py"), str(results), *tests]
    environment = {**os.environ, "TEMPEST_CONFIG_DIR": str(root), "TEMPEST_CONFIG": "tempest.conf"}
    subprocess.run(command, env=environment, cwd=root, timeout=SUITE_SECONDS, check=True)


def service(root: Path, keystone: Keystone, roles: str) -> RunningService:
    paste, policy = root / "paste.ini", root / "policy.yaml"
    paste.write_text(PASTE)
    # The suite takes it for granted that projects have these listeners; there is nothing else on the device.
    policy.write_text(json.dumps({**SCHEMES[roles], "prometheus": "rule:write"}))
    options = {
        "DEFAULT": {"paste_config": str(paste)},
        "network": {"driver": "noop"},
        "oslo_policy": {"policy_file": str(policy)},
        "worker": {"observe_interval": "1"},
        "keystone_authtoken": {
            "auth_type": "password",
            "auth_url": keystone.url,
            "username": "balancer",
            "password": keystone.passwords["balancer"],
            "project_name": "service",
            "user_domain_name": "Default",
            "project_domain_name": "Default",
            "www_authenticate_uri": keystone.url,
        },
    }
    return RunningService(root / "service", options, debug=False)


def ask(keystone: Keystone, running: RunningService, method: str, path: str, body: Any = None) -> Any:
    """As an administrator."""
    answer = running.call(method, path, body, headers={"X-Auth-Token": keystone.token("admin", "admin")})
    assert answer.status == 200, answer
    return answer.json


def register(keystone: Keystone, running: RunningService) -> str:
    """The service in the catalog, and a device: its id."""
    admin = keystone.token("admin", "admin")
    made = keystone.call("POST", "/services", {"service": {"type": "load-balancer", "name": "lb"}}, token=admin)
    url = f"http://127.0.0.1:{running.port}"
    for interface in ("public", "internal", "admin"):
        endpoint = {"service_id": made["service"]["id"], "interface": interface, "url": url, "region_id": "here"}
        keystone.call("POST", "/endpoints", {"endpoint": endpoint}, token=admin)
    body = {
        "name": "in-memory",
        "type": "dummy",
        "ip": "192.0.2.10",
        "port": "22",
        "user": "u",
        "password": "-",
        "supports_ipv6": 1,
        "behaviour": "silent",
    }
    return str(ask(keystone, running, "POST", "/devices", body)["device"]["id"])


def write_configuration(root: Path, keystone: Keystone, running: RunningService, roles: str) -> None:
    path = "/v2.0/lbaas/providers"
    providers = ask(keystone, running, "GET", path)["providers"]
    capabilities = ask(keystone, running, "GET", f"{path}/dummy/flavor_capabilities")["flavor_capabilities"]
    key = "availability_zone_capabilities"
    zones = ask(keystone, running, "GET", f"{path}/dummy/{key}")[key]
    sections: Mapping[str, Mapping[str, Any]] = {
        "DEFAULT": {"log_file": root / "tempest.log"},
        "oslo_concurrency": {"lock_path": root},
        "auth": {
            "use_dynamic_credentials": "true",
            "create_isolated_networks": "false",
            "admin_username": "admin",
            "admin_password": keystone.passwords["admin"],
            "admin_project_name": "admin",
            "admin_domain_name": "Default",
        },
        "identity": {"auth_version": "v3", "uri_v3": f"{keystone.url}/v3", "region": "here"},
        "service_available": dict.fromkeys(("nova", "glance", "neutron", "cinder", "swift"), "false"),
        "network": {"project_networks_reachable": "true"},
        "validation": {"run_validation": "false"},
        "load_balancer": {
            "provider": "dummy",
            "enabled_provider_drivers": words(providers),
            "expected_flavor_capability": words(capabilities[:1]),
            "expected_availability_zone_capability": words(zones[:1]),
            "RBAC_test_type": roles,
            "test_with_noop": "true",
            "log_user_roles": "false",
            "build_interval": "0.1",
            "build_timeout": "60",
            "check_interval": "0.1",
            "check_timeout": "60",
            "lb_build_interval": "0.1",
            "lb_build_timeout": "60",
        },
    }
    lines = [
        line
        for section, values in sections.items()
        for line in (f"[{section}]", *(f"{key} = {value}" for key, value in values.items()))
    ]
    (root / "tempest.conf").write_text("\n".join(lines) + "\n")


def words(named: Sequence[Mapping[str, str]]) -> str:
    return ",".join(f"{each['name']}:{each['description']}" for each in named)


def report(results: Sequence[Result], *, partly: bool) -> int:
    verdict = judged(results, partly=partly)
    for title, found in (("Announced differences", verdict.announced), ("Skipped", verdict.skipped)):
        print(f"\n{title}")
        for reason, count in sorted(Counter(found.values()).items()):
            print(f"  {count:4}  {reason}")
    for each in verdict.unexplained:
        print(f"\nDIFFERENCE {each.outcome}: {each.id}\n{each.text}")
    for pattern in verdict.stale:
        print(f"\nSTALE: differences.py lists what did not show: {pattern}")
    tally = Counter(each.outcome for each in results)
    print(
        f"\n{len(results)} tests: {tally['passed']} passed, {len(verdict.announced)} differ as announced, "
        f"{len(verdict.skipped)} skipped for a known reason, {len(verdict.unexplained)} differ without an explanation"
    )
    return 1 if verdict.unexplained or verdict.stale or not results else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
