"""The paths of networks, subnets and ports. ``{api}`` is v2.0 or v2, as for LBaaS v2."""

from __future__ import annotations

from balancer.api.neutron.handlers import Handlers
from balancer.api.policy import ADMIN, READ
from balancer.api.wsgi import Guard, Table
from balancer.config import Settings
from balancer.core.service import Service

REQUIREMENTS = {"api": r"v2(?:\.0)?"}
read, admin = Guard("network", READ), Guard("network", ADMIN)


def table(service: Service, settings: Settings) -> Table:
    does = Handlers(service)
    return {
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
    }
