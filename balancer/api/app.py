"""The whole application: every dialect behind one WSGI callable."""

from __future__ import annotations

from typing import cast

from oslo_policy.policy import RuleDefault

from balancer.api import health, identity, metrics, policy, versions
from balancer.api.lbaas_v1 import routes as lbaas_v1
from balancer.api.lbaas_v2 import routes as lbaas_v2
from balancer.api.middleware.access import AccessLog
from balancer.api.middleware.concurrency import Concurrency
from balancer.api.middleware.faults import Faults
from balancer.api.middleware.size import SizeLimit
from balancer.api.neutron import routes as neutron
from balancer.api.v1 import openapi
from balancer.api.v1 import routes as v1
from balancer.api.wsgi import Application, Router, Table, operations
from balancer.config import Settings
from balancer.core.service import Service


def balancer_table(service: Service, settings: Settings) -> Table:
    """The balancer API with its description, and what is outside every dialect."""
    described = {
        **versions.table(service),
        **health.table(service),
        **metrics.table(service),
        **v1.table(service, settings),
    }
    return {**described, **openapi.table(described)}


def table(service: Service, settings: Settings) -> Table:
    """Everything that is served, by all dialects."""
    return {
        **lbaas_v2.table(service, settings),
        **lbaas_v1.table(service, settings),
        **neutron.table(service, settings),
        **balancer_table(service, settings),
        **identity.table(),
    }


def make_app(service: Service, settings: Settings) -> Application:
    """A plain WSGI application for any server. Raises `ConfigurationError` for a bad policy file."""
    served = table(service, settings)
    rules = policy.Policy((rule for rule, _, _ in operations(served)), settings.policy_file)
    router = Router(served, {**v1.REQUIREMENTS, **lbaas_v2.REQUIREMENTS}, rules)
    limits = settings.api
    bounded = Concurrency(router, limits.max_requests, limits.max_project_requests)
    return AccessLog(Faults(SizeLimit(bounded, limits.max_body_bytes)))


def policy_rules() -> list[RuleDefault]:
    """For oslo.policy's tools (entry point ``oslo.policy.policies``): ``oslopolicy-sample-generator`` writes
    etc/policy.yaml.sample from this."""
    # A table needs no service before it is asked.
    served = table(cast(Service, None), Settings())
    where: dict[policy.Rule, list[tuple[str, str]]] = {}
    for rule, method, path in operations(served):
        where.setdefault(rule, []).append((method, path))
    return policy.documented(where)


def make_metrics_app(service: Service) -> Application:
    """For a port of its own: the metrics, for whoever reaches it."""
    served = metrics.table(service)
    return AccessLog(Faults(Router(served, {}, policy.Policy(rule for rule, _, _ in operations(served)))))
