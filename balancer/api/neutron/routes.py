"""The paths of networks, subnets and ports, and of what else clients of Neutron ask about load balancing.

``{api}`` is v2.0 or v2, as for LBaaS v2.
"""

from __future__ import annotations

from balancer.api.neutron.handlers import Handlers
from balancer.api.policy import ADMIN, READ, READ_QUOTA, WRITE_QUOTA
from balancer.api.wsgi import Guard, Table
from balancer.config import Settings
from balancer.core.service import Service

REQUIREMENTS = {"api": r"v2(?:\.0)?"}
read, admin, read_quota, write_quota = (Guard("network", default) for default in (READ, ADMIN, READ_QUOTA, WRITE_QUOTA))


def table(service: Service, settings: Settings) -> Table:
    does = Handlers(service)
    return {
        "/{api}": {"GET": read("resource:get_all", does.list_resources)},
        "/{api}/networks": {
            "GET": read("network:get_all", does.list_networks),
            "POST": admin("network:post", does.create_network),
        },
        "/{api}/networks/{id}": {
            "GET": read("network:get_one", does.show_network),
            "PUT": admin("network:put", does.change_network),
            "DELETE": admin("network:delete", does.remove_network),
        },
        "/{api}/subnets": {
            "GET": read("subnet:get_all", does.list_subnets),
            "POST": admin("subnet:post", does.create_subnet),
        },
        "/{api}/subnets/{id}": {
            "GET": read("subnet:get_one", does.show_subnet),
            "PUT": admin("subnet:put", does.change_subnet),
            "DELETE": admin("subnet:delete", does.remove_subnet),
        },
        "/{api}/ports": {
            "GET": read("port:get_all", does.list_ports),
            "POST": admin("port:post", does.create_port),
        },
        "/{api}/ports/{id}": {
            "GET": read("port:get_one", does.show_port),
            "DELETE": admin("port:delete", does.remove_port),
        },
        "/{api}/agents": {"GET": admin("agent:get_all", does.list_agents)},
        "/{api}/agents/{id}": {
            "GET": admin("agent:get_one", does.show_agent),
            "PUT": admin("agent:put", does.change_agent),
            "DELETE": admin("agent:delete", does.remove_agent),
        },
        "/{api}/quotas": {"GET": read_quota("quota:get_all", does.list_quotas)},
        "/{api}/quotas/tenant": {"GET": read_quota("quota:get_project", does.show_own_project)},
        "/{api}/quotas/{project_id}": {
            "GET": read_quota("quota:get_one", does.show_quota),
            "PUT": write_quota("quota:put", does.change_quota),
            "DELETE": write_quota("quota:delete", does.reset_quota),
        },
        "/{api}/quotas/{project_id}/default": {"GET": read_quota("quota:get_defaults", does.show_default_quota)},
        "/{api}/extensions": {"GET": read("extension:get_all", does.list_extensions)},
        "/{api}/extensions/{alias}": {"GET": read("extension:get_one", does.show_extension)},
        "/{api}/service-providers": {"GET": read("service-provider:get_all", does.list_service_providers)},
    }
