"""One scenario in the words of every dialect: what each of them sends for it, and what it shows.

A scenario is about a load balancer of the project foo with one virtual IP address, one pool and whatever a `Setup`
says; that much every dialect can express. A dialect that is to be tested too needs one more class here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from tests.functional.lbaas_v1 import LB, LbaasV1Case
from tests.functional.lbaas_v2 import Body

PROJECT = "foo"
Place = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A health monitor; `fall` is how many checks in a row must fail."""

    kind: str
    delay: int = 5
    timeout: int = 2
    fall: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """`members`: address and port to weight, and whether it is switched on. The words are those of LBaaS v2."""

    vip: Place
    algorithm: str = "ROUND_ROBIN"
    members: dict[Place, tuple[int, bool]]
    check: Check | None = None
    persistence: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """The ids, as 32 hex digits."""

    load_balancer: str
    pool: str


class Dialect(ABC):
    name: ClassVar[str]

    def __init__(self, case: LbaasV1Case) -> None:
        self.case = case

    @abstractmethod
    def make(self, setup: Setup) -> None: ...
    @abstractmethod
    def seen(self, made: Made) -> Setup: ...
    @abstractmethod
    def set_algorithm(self, made: Made, algorithm: str) -> None: ...
    @abstractmethod
    def add_member(self, made: Made, place: Place, weight: int) -> None: ...
    @abstractmethod
    def change_member(self, made: Made, place: Place, *, weight: int | None = None, up: bool | None = None) -> None: ...
    @abstractmethod
    def remove_member(self, made: Made, place: Place) -> None: ...
    @abstractmethod
    def set_check(self, made: Made, check: Check | None) -> None:
        """Instead of the one there is, if any."""

    @abstractmethod
    def set_persistence(self, made: Made, kind: str | None) -> None:
        """Instead of the one there is, if any."""

    @abstractmethod
    def delete(self, made: Made) -> None: ...


class BalancerV1(Dialect):
    name = "balancer v1"
    _ALGORITHMS: ClassVar = {"ROUND_ROBIN": "ROUND_ROBIN", "LEAST_CONNECTIONS": "LEAST_CONNECTION"}
    _KINDS: ClassVar = {"TCP": "CONNECT", "HTTP": "HTTP"}

    def _path(self, made: Made) -> str:
        return f"/{PROJECT}/loadbalancers/{made.load_balancer}"

    @classmethod
    def _check(cls, check: Check) -> Body:
        return {
            "type": cls._KINDS[check.kind],
            "delay": check.delay,
            "timeout": check.timeout,
            "attemptsBeforeDeactivation": check.fall,
        }

    @staticmethod
    def _node(place: Place, weight: int, up: bool) -> Body:
        condition = "ENABLED" if up else "DISABLED"
        return {"address": place[0], "port": place[1], "weight": weight, "condition": condition}

    def make(self, setup: Setup) -> None:
        body: Body = {
            "name": "web",
            "protocol": "HTTP",
            "algorithm": self._ALGORITHMS[setup.algorithm],
            "virtualIps": [{"address": setup.vip[0], "port": setup.vip[1]}],
            "nodes": [self._node(place, *rest) for place, rest in setup.members.items()],
        }
        if setup.check:
            body["healthMonitor"] = [self._check(setup.check)]
        if setup.persistence:
            body["sessionPersistence"] = [{"type": setup.persistence}]
        self.case.expect(202, "POST", f"/{PROJECT}/loadbalancers", body)

    def seen(self, made: Made) -> Setup:
        shown = self.case.get(f"{self._path(made)}/details")
        (vip,) = shown["virtualIps"]
        checks = self.case.get(f"{self._path(made)}/healthMonitoring")["healthMonitoring"]
        stickies = self.case.get(f"{self._path(made)}/sessionPersistence")["sessionPersistence"]
        kinds = {word: kind for kind, word in self._KINDS.items()} | {"TCP": "TCP"}
        return Setup(
            vip=(vip["address"], int(vip["port"])),
            algorithm={word: kind for kind, word in self._ALGORITHMS.items()}[shown["algorithm"]],
            members={
                (each["address"], int(each["port"])): (int(each["weight"]), each["condition"] == "ENABLED")
                for each in shown["nodes"]
            },
            check=_only(
                Check(
                    kind=kinds[each["type"]],
                    delay=int(each["delay"]),
                    timeout=int(each["timeout"]),
                    fall=int(each["attemptsBeforeDeactivation"]),
                )
                for each in checks
            ),
            persistence=_only(each["type"] for each in stickies),
        )

    def set_algorithm(self, made: Made, algorithm: str) -> None:
        self.case.expect(202, "PUT", self._path(made), {"algorithm": self._ALGORITHMS[algorithm]})

    def _node_path(self, made: Made, place: Place) -> str:
        nodes = self.case.get(f"{self._path(made)}/nodes")["nodes"]
        (found,) = (each["id"] for each in nodes if (each["address"], int(each["port"])) == place)
        return f"{self._path(made)}/nodes/{found}"

    def add_member(self, made: Made, place: Place, weight: int) -> None:
        self.case.expect(200, "POST", f"{self._path(made)}/nodes", {"nodes": [self._node(place, weight, True)]})

    def change_member(self, made: Made, place: Place, *, weight: int | None = None, up: bool | None = None) -> None:
        body: Body = {} if weight is None else {"weight": weight}
        if up is not None:
            body["condition"] = "ENABLED" if up else "DISABLED"
        self.case.expect(200, "PUT", self._node_path(made, place), body)

    def remove_member(self, made: Made, place: Place) -> None:
        self.case.expect(204, "DELETE", self._node_path(made, place))

    def set_check(self, made: Made, check: Check | None) -> None:
        path = f"{self._path(made)}/healthMonitoring"
        for each in self.case.get(path)["healthMonitoring"]:
            self.case.expect(204, "DELETE", f"{path}/{each['id']}")
        if check:
            self.case.expect(200, "POST", path, {"healthMonitoring": self._check(check)})

    def set_persistence(self, made: Made, kind: str | None) -> None:
        path = f"{self._path(made)}/sessionPersistence"
        for each in self.case.get(path)["sessionPersistence"]:
            self.case.expect(204, "DELETE", f"{path}/{each['id']}")
        if kind:
            self.case.expect(200, "POST", path, {"type": kind})

    def delete(self, made: Made) -> None:
        self.case.expect(204, "DELETE", self._path(made))


class LbaasV2(Dialect):
    name = "LBaaS v2"

    @staticmethod
    def _check(check: Check) -> Body:
        # It counts what makes a member come back apart.
        counts = {"max_retries": 2, "max_retries_down": check.fall}
        return {"type": check.kind, "delay": check.delay, "timeout": check.timeout, **counts}

    def make(self, setup: Setup) -> None:
        pool: Body = {
            "name": "web",
            "protocol": "HTTP",
            "lb_algorithm": setup.algorithm,
            "members": [
                {"address": place[0], "protocol_port": place[1], "weight": weight, "admin_state_up": up}
                for place, (weight, up) in setup.members.items()
            ],
        }
        if setup.check:
            pool["healthmonitor"] = self._check(setup.check)
        if setup.persistence:
            pool["session_persistence"] = {"type": setup.persistence}
        listener = {
            "protocol": "HTTP",
            "protocol_port": setup.vip[1],
            "default_pool": pool,
            # The older dialects have no word for it, and always mean it.
            "insert_headers": {"X-Forwarded-For": "true"},
        }
        self.case.add_balancer(project_id=PROJECT, name="web", vip_address=setup.vip[0], listeners=[listener])

    def seen(self, made: Made) -> Setup:
        balancer = self.case.show(f"loadbalancers/{made.load_balancer}", "loadbalancer")
        (listener,) = self.case.listed(f"listeners?loadbalancer_id={balancer['id']}")
        pool = self.case.show(f"pools/{made.pool}", "pool")
        self.case.assertEqual(pool["id"], listener["default_pool_id"])
        monitor_id = pool["healthmonitor_id"]
        monitor = None if monitor_id is None else self.case.show(f"healthmonitors/{monitor_id}", "healthmonitor")
        return Setup(
            vip=(balancer["vip_address"], listener["protocol_port"]),
            algorithm=pool["lb_algorithm"],
            members={
                (each["address"], each["protocol_port"]): (each["weight"], each["admin_state_up"])
                for each in self.case.listed(f"pools/{made.pool}/members")
            },
            check=None
            if monitor is None
            else Check(
                kind=monitor["type"],
                delay=monitor["delay"],
                timeout=monitor["timeout"],
                fall=monitor["max_retries_down"],
            ),
            persistence=pool["session_persistence"] and pool["session_persistence"]["type"],
        )

    def set_algorithm(self, made: Made, algorithm: str) -> None:
        self.case.put(f"pools/{made.pool}", "pool", lb_algorithm=algorithm)

    def _member(self, made: Made, place: Place) -> str:
        query = f"address={place[0]}&protocol_port={place[1]}"
        (found,) = self.case.listed(f"pools/{made.pool}/members?{query}")
        return f"pools/{made.pool}/members/{found['id']}"

    def add_member(self, made: Made, place: Place, weight: int) -> None:
        fields = {"address": place[0], "protocol_port": place[1], "weight": weight}
        self.case.post(f"pools/{made.pool}/members", "member", **fields)

    def change_member(self, made: Made, place: Place, *, weight: int | None = None, up: bool | None = None) -> None:
        fields: Body = {} if weight is None else {"weight": weight}
        if up is not None:
            fields["admin_state_up"] = up
        self.case.put(self._member(made, place), "member", **fields)

    def remove_member(self, made: Made, place: Place) -> None:
        self.case.remove(self._member(made, place))

    def set_check(self, made: Made, check: Check | None) -> None:
        old = self.case.show(f"pools/{made.pool}", "pool")["healthmonitor_id"]
        if old is not None:
            self.case.remove(f"healthmonitors/{old}")
        if check:
            self.case.post("healthmonitors", "healthmonitor", pool_id=made.pool, **self._check(check))

    def set_persistence(self, made: Made, kind: str | None) -> None:
        self.case.put(f"pools/{made.pool}", "pool", session_persistence=kind and {"type": kind})

    def delete(self, made: Made) -> None:
        self.case.remove(f"loadbalancers/{made.load_balancer}", query="?cascade=true")


class LbaasV1(Dialect):
    name = "LBaaS v1"

    @staticmethod
    def _check(check: Check) -> Body:
        return {"type": check.kind, "delay": check.delay, "timeout": check.timeout, "max_retries": check.fall}

    def make(self, setup: Setup) -> None:
        pool = self.case.pool(name="web", tenant_id=PROJECT, lb_method=setup.algorithm)
        for place, (weight, up) in setup.members.items():
            fields: Body = {"weight": weight, "admin_state_up": up, "tenant_id": PROJECT}
            self.case.member(pool, address=place[0], protocol_port=place[1], **fields)
        if setup.check:
            self.case.associate(pool, self.case.monitor(tenant_id=PROJECT, **self._check(setup.check)))
        persistence = {"session_persistence": {"type": setup.persistence}} if setup.persistence else {}
        address, port = setup.vip
        self.case.vip(pool, address=address, protocol_port=port, tenant_id=PROJECT, **persistence)

    def seen(self, made: Made) -> Setup:
        pool = self.case.one(f"pools/{made.pool}")
        vip = self.case.one(f"vips/{pool['vip_id']}")
        members = [self.case.one(f"members/{each}") for each in pool["members"]]
        monitors = [self.case.one(f"health_monitors/{each}") for each in pool["health_monitors"]]
        return Setup(
            vip=(vip["address"], vip["protocol_port"]),
            algorithm=pool["lb_method"],
            members={
                (each["address"], each["protocol_port"]): (each["weight"], each["admin_state_up"]) for each in members
            },
            check=_only(
                Check(kind=each["type"], delay=each["delay"], timeout=each["timeout"], fall=each["max_retries"])
                for each in monitors
            ),
            persistence=vip["session_persistence"] and vip["session_persistence"]["type"],
        )

    def set_algorithm(self, made: Made, algorithm: str) -> None:
        self.case.change(f"pools/{made.pool}", lb_method=algorithm)

    def _member(self, made: Made, place: Place) -> str:
        members = self.case.all("members")
        wanted = {"pool_id": self.case.one(f"pools/{made.pool}")["id"], "address": place[0], "protocol_port": place[1]}
        (found,) = (each["id"] for each in members if {key: each[key] for key in wanted} == wanted)
        return f"members/{found}"

    def add_member(self, made: Made, place: Place, weight: int) -> None:
        pool = self.case.one(f"pools/{made.pool}")
        self.case.member(pool, address=place[0], protocol_port=place[1], weight=weight, tenant_id=PROJECT)

    def change_member(self, made: Made, place: Place, *, weight: int | None = None, up: bool | None = None) -> None:
        fields: Body = {} if weight is None else {"weight": weight}
        if up is not None:
            fields["admin_state_up"] = up
        self.case.change(self._member(made, place), **fields)

    def remove_member(self, made: Made, place: Place) -> None:
        self.case.drop(self._member(made, place))

    def set_check(self, made: Made, check: Check | None) -> None:
        pool = self.case.one(f"pools/{made.pool}")
        for each in pool["health_monitors"]:
            self.case.expect(204, "DELETE", f"{LB}/pools/{made.pool}/health_monitors/{each}")
            self.case.drop(f"health_monitors/{each}")
        if check:
            self.case.associate(pool, self.case.monitor(tenant_id=PROJECT, **self._check(check)))

    def set_persistence(self, made: Made, kind: str | None) -> None:
        vip_id = self.case.one(f"pools/{made.pool}")["vip_id"]
        self.case.change(f"vips/{vip_id}", session_persistence=kind and {"type": kind})

    def delete(self, made: Made) -> None:
        """What another dialect made a load balancer for keeps it."""
        pool = self.case.one(f"pools/{made.pool}")
        self.case.drop(f"vips/{pool['vip_id']}")
        self.case.drop(f"pools/{made.pool}")
        for each in pool["health_monitors"]:
            self.case.drop(f"health_monitors/{each}")


DIALECTS: tuple[type[Dialect], ...] = (BalancerV1, LbaasV2, LbaasV1)


def _only(found: Any) -> Any:
    """The one that there is, None for none."""
    listed = list(found)
    assert len(listed) <= 1, listed
    return listed[0] if listed else None
