"""The paths of LBaaS v1. Both prefixes of its clients are one: ``{api}`` is v2.0 or v2."""

from __future__ import annotations

from balancer.api.lbaas_v1 import handlers
from balancer.api.lbaas_v1.handlers import Handlers
from balancer.api.policy import ADMIN, READ, WRITE
from balancer.api.wsgi import Guard, Route, Table
from balancer.config import Settings
from balancer.core.service import Service

REQUIREMENTS = {"api": r"v2(?:\.0)?"}
read, write, admin = (Guard("lbaas_v1", default) for default in (READ, WRITE, ADMIN))


def table(service: Service, settings: Settings) -> Table:
    does = Handlers(service)
    paths: dict[str, dict[str, Route]] = {
        "/vips": {
            "GET": read("vip:get_all", does.list_of(handlers.VIP)),
            "POST": write("vip:post", does.create_vip),
        },
        "/vips/{id}": {
            "GET": read("vip:get_one", does.show_of(handlers.VIP)),
            "PUT": write("vip:put", does.change_vip),
            "DELETE": write("vip:delete", does.delete_vip),
        },
        "/pools": {
            "GET": read("pool:get_all", does.list_of(handlers.POOL)),
            "POST": write("pool:post", does.create_pool),
        },
        "/pools/{id}": {
            "GET": read("pool:get_one", does.show_of(handlers.POOL)),
            "PUT": write("pool:put", does.change_pool),
            "DELETE": write("pool:delete", does.delete_pool),
        },
        "/pools/{id}/stats": {"GET": read("pool:get_stats", does.show_statistics)},
        "/pools/{id}/loadbalancer-agent": {"GET": admin("pool:get_agent", does.show_agent)},
        "/pools/{id}/health_monitors": {
            "GET": read("pool_health_monitor:get_all", does.list_associations),
            "POST": write("pool_health_monitor:post", does.associate),
        },
        "/pools/{id}/health_monitors/{monitor_id}": {
            "GET": read("pool_health_monitor:get_one", does.show_association),
            "DELETE": write("pool_health_monitor:delete", does.disassociate),
        },
        "/members": {
            "GET": read("member:get_all", does.list_of(handlers.MEMBER)),
            "POST": write("member:post", does.create_member),
        },
        "/members/{id}": {
            "GET": read("member:get_one", does.show_of(handlers.MEMBER)),
            "PUT": write("member:put", does.change_member),
            "DELETE": write("member:delete", does.delete_member),
        },
        "/health_monitors": {
            "GET": read("health_monitor:get_all", does.list_health_monitors),
            "POST": write("health_monitor:post", does.create_health_monitor),
        },
        "/health_monitors/{id}": {
            "GET": read("health_monitor:get_one", does.show_health_monitor),
            "PUT": write("health_monitor:put", does.change_health_monitor),
            "DELETE": write("health_monitor:delete", does.delete_health_monitor),
        },
    }
    return {
        **{f"/{{api}}/lb{path}": methods for path, methods in paths.items()},
        "/{api}/agents/{id}/loadbalancer-pools": {"GET": admin("agent:get_pools", does.list_pools_of_agent)},
    }
