"""The paths of the balancer API."""

from __future__ import annotations

import re

from balancer.api.v1.handlers import Handlers
from balancer.api.v1.names import RESERVED
from balancer.api.wsgi import Handler, Table
from balancer.config import Settings
from balancer.core.service import Service

_TAKEN = "|".join(re.escape(name) for name in RESERVED)
REQUIREMENTS = {"tenant": f"(?!(?:{_TAKEN})(?:/|$))[^/]{{1,255}}"}
BALANCERS = "/{tenant}/loadbalancers"
BALANCER = f"{BALANCERS}/{{lb_id}}"


def table(service: Service, settings: Settings) -> Table:
    does = Handlers(service, settings)
    common: dict[str, dict[str, Handler]] = {
        "/devices": {"GET": does.list_devices, "POST": does.register_device},
        "/devices/{device_id}": {
            "GET": does.show_device,
            "PUT": does.change_device,
            "DELETE": does.remove_device,
        },
        "/devices/{device_id}/info": {"GET": does.show_device_info},
        "/devices/{device_id}/deployments": {"GET": does.list_deployments},
        "/devices/{device_id}/deployments/{n}": {"GET": does.show_deployment},
        "/devices/{device_id}/retry": {"POST": does.retry_device},
        "/devices/{device_id}/adopt": {"POST": does.adopt_device},
        "/algorithms": {"GET": does.list_algorithms},
        "/protocols": {"GET": does.list_protocols},
    }
    # The old client puts its project before everything.
    with_tenant = {f"/{{tenant}}{path}": methods for path, methods in common.items()}
    return {
        **common,
        **with_tenant,
        BALANCERS: {"GET": does.list_load_balancers, "POST": does.create_load_balancer},
        "/{tenant}/quotas": {"GET": does.show_quotas, "PUT": does.change_quotas, "DELETE": does.reset_quotas},
        f"{BALANCERS}/find_for_VM/{{vm_id}}": {"GET": does.find_load_balancers},
        BALANCER: {
            "GET": does.show_load_balancer,
            "PUT": does.change_load_balancer,
            "DELETE": does.delete_load_balancer,
        },
        f"{BALANCER}/details": {"GET": does.show_details},
        f"{BALANCER}/stats": {"GET": does.show_statistics},
        # Old scripts add one node, or one health monitor, with PUT.
        f"{BALANCER}/nodes": {"GET": does.list_nodes, "POST": does.add_nodes, "PUT": does.add_nodes},
        f"{BALANCER}/nodes/{{node_id}}": {
            "GET": does.show_node,
            "PUT": does.change_node,
            "DELETE": does.remove_node,
        },
        f"{BALANCER}/nodes/{{node_id}}/{{status}}": {"PUT": does.change_node_status},
        f"{BALANCER}/virtualIps": {"GET": does.list_virtual_ips, "POST": does.add_virtual_ip},
        f"{BALANCER}/virtualIps/{{vip_id}}": {
            "GET": does.show_virtual_ip,
            "PUT": does.change_virtual_ip,
            "DELETE": does.remove_virtual_ip,
        },
        f"{BALANCER}/healthMonitoring": {
            "GET": does.list_health_monitors,
            "POST": does.add_health_monitor,
            "PUT": does.add_health_monitor,
        },
        f"{BALANCER}/healthMonitoring/{{probe_id}}": {
            "GET": does.show_health_monitor,
            "DELETE": does.remove_health_monitor,
        },
        f"{BALANCER}/sessionPersistence": {
            "GET": does.list_session_persistences,
            "POST": does.add_session_persistence,
        },
        f"{BALANCER}/sessionPersistence/{{sticky_id}}": {
            "GET": does.show_session_persistence,
            "DELETE": does.remove_session_persistence,
        },
    }
