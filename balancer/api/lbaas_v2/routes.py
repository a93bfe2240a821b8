"""The paths of LBaaS v2. Both prefixes of its clients are one: ``{api}`` is v2.0 or v2."""

from __future__ import annotations

from balancer.api.lbaas_v2 import handlers
from balancer.api.lbaas_v2.handlers import ChoiceHandlers, Choices, Handlers
from balancer.api.policy import ADMIN, READ, READ_MEMBER, READ_QUOTA, WRITE, WRITE_QUOTA
from balancer.api.wsgi import Guard, Handler, Request, Route, Table
from balancer.config import Settings
from balancer.core.service import Service

REQUIREMENTS = {"api": r"v2(?:\.0)?"}
_API = "os_load-balancer_api"
admin, read, read_member, write, read_quota, write_quota = (
    Guard(_API, default) for default in (ADMIN, READ, READ_MEMBER, WRITE, READ_QUOTA, WRITE_QUOTA)
)


def table(service: Service, settings: Settings) -> Table:
    does = Handlers(service)
    paths: dict[str, dict[str, Route]] = {
        "/loadbalancers": {
            "GET": read("loadbalancer:get_all", does.list_of(handlers.LOAD_BALANCER)),
            "POST": write("loadbalancer:post", does.create_load_balancer),
        },
        "/loadbalancers/{id}": {
            "GET": read("loadbalancer:get_one", does.show_of(handlers.LOAD_BALANCER)),
            "PUT": write("loadbalancer:put", does.change_load_balancer),
            "DELETE": write("loadbalancer:delete", does.delete_load_balancer),
        },
        "/loadbalancers/{id}/failover": {"PUT": admin("loadbalancer:put_failover", does.fail_over)},
        "/loadbalancers/{id}/stats": {"GET": read("loadbalancer:get_stats", does.show_load_balancer_statistics)},
        "/loadbalancers/{id}/status": {"GET": read("loadbalancer:get_status", does.show_status_tree)},
        "/loadbalancers/{id}/statuses": {"GET": read("loadbalancer:get_status", does.show_status_tree)},
        "/listeners": {
            "GET": read("listener:get_all", does.list_of(handlers.LISTENER)),
            "POST": write("listener:post", does.create_listener),
        },
        "/listeners/{id}": {
            "GET": read("listener:get_one", does.show_of(handlers.LISTENER)),
            "PUT": write("listener:put", does.change_listener),
            "DELETE": write("listener:delete", does.delete_listener),
        },
        "/listeners/{id}/stats": {"GET": read("listener:get_stats", does.show_listener_statistics)},
        "/pools": {
            "GET": read("pool:get_all", does.list_of(handlers.POOL)),
            "POST": write("pool:post", does.create_pool),
        },
        "/pools/{id}": {
            "GET": read("pool:get_one", does.show_of(handlers.POOL)),
            "PUT": write("pool:put", does.change_pool),
            "DELETE": write("pool:delete", does.delete_pool),
        },
        "/pools/{pool_id}/members": {
            "GET": read_member("member:get_all", does.list_members),
            "POST": write("member:post", does.create_member),
            "PUT": write("member:put", does.set_members),
        },
        "/pools/{pool_id}/members/{id}": {
            "GET": read_member("member:get_one", does.show_member),
            "PUT": write("member:put", does.change_member),
            "DELETE": write("member:delete", does.delete_member),
        },
        "/healthmonitors": {
            "GET": read("healthmonitor:get_all", does.list_of(handlers.HEALTH_MONITOR)),
            "POST": write("healthmonitor:post", does.create_health_monitor),
        },
        "/healthmonitors/{id}": {
            "GET": read("healthmonitor:get_one", does.show_of(handlers.HEALTH_MONITOR)),
            "PUT": write("healthmonitor:put", does.change_health_monitor),
            "DELETE": write("healthmonitor:delete", does.delete_health_monitor),
        },
        "/l7policies": {
            "GET": read("l7policy:get_all", does.list_of(handlers.L7_POLICY)),
            "POST": write("l7policy:post", does.create_l7_policy),
        },
        "/l7policies/{id}": {
            "GET": read("l7policy:get_one", does.show_of(handlers.L7_POLICY)),
            "PUT": write("l7policy:put", does.change_l7_policy),
            "DELETE": write("l7policy:delete", does.delete_l7_policy),
        },
        "/l7policies/{l7policy_id}/rules": {
            "GET": read("l7rule:get_all", does.list_l7_rules),
            "POST": write("l7rule:post", does.create_l7_rule),
        },
        "/l7policies/{l7policy_id}/rules/{id}": {
            "GET": read("l7rule:get_one", does.show_l7_rule),
            "PUT": write("l7rule:put", does.change_l7_rule),
            "DELETE": write("l7rule:delete", does.delete_l7_rule),
        },
        "/quotas": {"GET": read_quota("quota:get_all", does.list_quotas)},
        "/quotas/defaults": {"GET": read_quota("quota:get_defaults", does.show_default_quota)},
        "/quotas/{project_id}": {
            "GET": read_quota("quota:get_one", does.show_quota),
            "PUT": write_quota("quota:put", does.change_quota),
            "DELETE": write_quota("quota:delete", does.reset_quota),
        },
        "/quotas/{project_id}/default": {"GET": read_quota("quota:get_defaults", does.show_default_quota)},
        "/providers": {"GET": read("provider:get_all", does.list_providers)},
        **_choices(service, handlers.FLAVORS, "flavors", "flavorprofiles", "flavor", "flavor-profile"),
        **_choices(
            service,
            handlers.ZONES,
            "availabilityzones",
            "availabilityzoneprofiles",
            "availability-zone",
            "availability-zone-profile",
        ),
    }
    below = {f"/{{api}}/lbaas{path}": methods for path, methods in paths.items()}
    # Octavia's own, for whoever looks for its virtual machines.
    amphora = "/{api}/octavia/amphorae/{id}"
    below |= {
        "/{api}/octavia/amphorae": {"GET": admin("amphora:get_all", does.list_amphorae)},
        amphora: {
            "GET": admin("amphora:get_one", does.refuse_amphora),
            "DELETE": admin("amphora:delete", does.refuse_amphora),
        },
        f"{amphora}/stats": {"GET": admin("amphora:get_stats", does.refuse_amphora)},
        f"{amphora}/failover": {"PUT": admin("amphora:put_failover", does.refuse_amphora)},
        f"{amphora}/config": {"PUT": admin("amphora:put_config", does.refuse_amphora)},
    }
    below |= {
        "/{api}/agents/{id}/agent-loadbalancers": {
            "GET": admin("agent:get_loadbalancers", does.list_load_balancers_of_agent)
        },
        "/{api}/lbaas/loadbalancers/{id}/loadbalancer-hosting-agent": {
            "GET": admin("loadbalancer:get_agent", does.show_agent_of_load_balancer)
        },
    }
    return {path: {method: _negotiated(route) for method, route in methods.items()} for path, methods in below.items()}


def _choices(
    service: Service, choices: Choices, path: str, profiles: str, rule: str, profile_rule: str
) -> dict[str, dict[str, Route]]:
    does = ChoiceHandlers(service, choices)
    return {
        f"/{path}": {
            "GET": read(f"{rule}:get_all", does.list_all),
            "POST": admin(f"{rule}:post", does.create),
        },
        f"/{path}/{{id}}": {
            "GET": read(f"{rule}:get_one", does.show),
            "PUT": admin(f"{rule}:put", does.change),
            "DELETE": admin(f"{rule}:delete", does.remove),
        },
        f"/{profiles}": {
            "GET": admin(f"{profile_rule}:get_all", does.list_profiles),
            "POST": admin(f"{profile_rule}:post", does.create_profile),
        },
        f"/{profiles}/{{id}}": {
            "GET": admin(f"{profile_rule}:get_one", does.show_profile),
            "PUT": admin(f"{profile_rule}:put", does.change_profile),
            "DELETE": admin(f"{profile_rule}:delete", does.remove_profile),
        },
        f"/providers/{{provider}}/{rule.replace('-', '_')}_capabilities": {
            "GET": admin(f"provider-{rule}:get_all", does.list_capabilities),
        },
    }


def _negotiated(route: Route) -> Route:
    def answer(request: Request) -> object:
        handlers.acceptable(request)
        return route.handler(request)

    handler: Handler = answer  # type: ignore[assignment]
    return Route(route.rule, handler)
