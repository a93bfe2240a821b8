"""The paths of the balancer API."""

from __future__ import annotations

import re

from balancer.api.policy import ADMIN, READ, READ_QUOTA, WRITE, WRITE_QUOTA
from balancer.api.v1.handlers import Handlers
from balancer.api.v1.names import RESERVED
from balancer.api.wsgi import Guard, Route, Table
from balancer.config import Settings
from balancer.core.service import Service

_TAKEN = "|".join(re.escape(name) for name in RESERVED)
REQUIREMENTS = {"tenant": f"(?!(?:{_TAKEN})(?:/|$))[^/]{{1,255}}"}
BALANCERS = "/{tenant}/loadbalancers"
BALANCER = f"{BALANCERS}/{{lb_id}}"

admin, read, write, read_quota, write_quota = (
    Guard("balancer", default) for default in (ADMIN, READ, WRITE, READ_QUOTA, WRITE_QUOTA)
)


def table(service: Service, settings: Settings) -> Table:
    does = Handlers(service, settings)
    common: dict[str, dict[str, Route]] = {
        "/devices": {
            "GET": admin("device:list", does.list_devices),
            "POST": admin("device:create", does.register_device),
        },
        "/devices/{device_id}": {
            "GET": admin("device:show", does.show_device),
            "PUT": admin("device:update", does.change_device),
            "DELETE": admin("device:delete", does.remove_device),
        },
        "/devices/{device_id}/info": {"GET": admin("device:info", does.show_device_info)},
        "/devices/{device_id}/deployments": {"GET": admin("deployment:list", does.list_deployments)},
        "/devices/{device_id}/deployments/{n}": {"GET": admin("deployment:show", does.show_deployment)},
        "/devices/{device_id}/retry": {"POST": admin("device:retry", does.retry_device)},
        "/devices/{device_id}/resync": {"POST": admin("device:resync", does.resync_device)},
        "/devices/{device_id}/adopt": {"POST": admin("device:adopt", does.adopt_device)},
        "/algorithms": {"GET": read("capability:list", does.list_algorithms)},
        "/protocols": {"GET": read("capability:list", does.list_protocols)},
    }
    # The old client puts its project before everything.
    with_tenant = {f"/{{tenant}}{path}": methods for path, methods in common.items()}
    return {
        **common,
        **with_tenant,
        BALANCERS: {
            "GET": read("load_balancer:list", does.list_load_balancers),
            "POST": write("load_balancer:create", does.create_load_balancer),
        },
        "/{tenant}/quotas": {
            "GET": read_quota("quota:show", does.show_quotas),
            "PUT": write_quota("quota:update", does.change_quotas),
            "DELETE": write_quota("quota:delete", does.reset_quotas),
        },
        f"{BALANCERS}/find_for_VM/{{vm_id}}": {"GET": read("load_balancer:list", does.find_load_balancers)},
        BALANCER: {
            "GET": read("load_balancer:show", does.show_load_balancer),
            "PUT": write("load_balancer:update", does.change_load_balancer),
            "DELETE": write("load_balancer:delete", does.delete_load_balancer),
        },
        f"{BALANCER}/details": {"GET": read("load_balancer:show", does.show_details)},
        f"{BALANCER}/stats": {"GET": read("load_balancer:statistics", does.show_statistics)},
        # Old scripts add one node, or one health monitor, with PUT.
        f"{BALANCER}/nodes": {
            "GET": read("node:list", does.list_nodes),
            "POST": write("node:create", does.add_nodes),
            "PUT": write("node:create", does.add_nodes),
        },
        f"{BALANCER}/nodes/{{node_id}}": {
            "GET": read("node:show", does.show_node),
            "PUT": write("node:update", does.change_node),
            "DELETE": write("node:delete", does.remove_node),
        },
        f"{BALANCER}/nodes/{{node_id}}/{{status}}": {"PUT": write("node:update", does.change_node_status)},
        f"{BALANCER}/virtualIps": {
            "GET": read("virtual_ip:list", does.list_virtual_ips),
            "POST": write("virtual_ip:create", does.add_virtual_ip),
        },
        f"{BALANCER}/virtualIps/{{vip_id}}": {
            "GET": read("virtual_ip:show", does.show_virtual_ip),
            "PUT": write("virtual_ip:update", does.change_virtual_ip),
            "DELETE": write("virtual_ip:delete", does.remove_virtual_ip),
        },
        f"{BALANCER}/healthMonitoring": {
            "GET": read("health_monitor:list", does.list_health_monitors),
            "POST": write("health_monitor:create", does.add_health_monitor),
            "PUT": write("health_monitor:create", does.add_health_monitor),
        },
        f"{BALANCER}/healthMonitoring/{{probe_id}}": {
            "GET": read("health_monitor:show", does.show_health_monitor),
            "DELETE": write("health_monitor:delete", does.remove_health_monitor),
        },
        f"{BALANCER}/sessionPersistence": {
            "GET": read("session_persistence:list", does.list_session_persistences),
            "POST": write("session_persistence:create", does.add_session_persistence),
        },
        f"{BALANCER}/sessionPersistence/{{sticky_id}}": {
            "GET": read("session_persistence:show", does.show_session_persistence),
            "DELETE": write("session_persistence:delete", does.remove_session_persistence),
        },
    }
