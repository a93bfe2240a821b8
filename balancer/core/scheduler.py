"""Which device gets a load balancer: filters, then the lowest sum of weighted costs.

Filters and cost functions are named in the configuration by their dotted names and may come from anywhere; those
here are the shipped ones.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from balancer.core.model import AdminState, Algorithm, Capabilities, Device, Protocol, Tree
from balancer.exceptions import ConfigurationError, NoSuitableDevice, NotOffered


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A device with what the decision needs: its effective capabilities, those of the wanted (address, port)
    pairs that are not free there, whether the addresses can be served there at all, those of them that the caller may
    not have there, and how many load balancers it has."""

    device: Device
    capabilities: Capabilities
    blocked: frozenset[tuple[str, int]] = frozenset()
    serves: bool = True
    closed: tuple[str, ...] = ()
    load_balancers: int = 0


class Refusal(str):
    """Why a device may not take a load balancer, in words that follow "the device". `field` is what of the load
    balancer is against it, in the model's words, empty when nothing of it is; `terms` are the names of algorithms in
    it."""

    def __new__(cls, sentence: str, *, field: str = "", terms: tuple[str, ...] = ()) -> Refusal:
        made = super().__new__(cls, sentence)
        made.field, made.terms = field, terms
        return made

    field: str
    terms: tuple[str, ...]


Filter = Callable[[Tree, Option], str | None]
"""Returns None when the device may take the tree, else why not: a `Refusal`, or just its words."""

Cost = Callable[[Tree, Option], float]


def filter_admin_state(tree: Tree, option: Option) -> str | None:
    state = option.device.admin_state
    return None if state is AdminState.ENABLED else f"is {state}"


IPV6 = "IPv6"


# Words that no registration uses: whoever offers these, or any, can do it, else its driver says so.
_SAME: Mapping[Protocol, Protocol | None] = {
    Protocol.PROMETHEUS: Protocol.HTTP,
    Protocol.PROXY: None,
    Protocol.PROXYV2: None,
}


def needs(tree: Tree) -> frozenset[str]:
    """Algorithms, protocols and IPv6 that a device must offer to serve the tree."""
    balancer = tree.load_balancer
    asked = {*(pool.protocol for pool in balancer.pools), *(listener.protocol for listener in balancer.listeners)}
    wanted: set[str] = {protocol for each in asked if (protocol := _SAME.get(each, each)) is not None}
    wanted |= {pool.algorithm for pool in balancer.pools}
    if any(":" in vip.address for vip in balancer.virtual_ips):
        wanted.add(IPV6)
    return frozenset(wanted)


def _offered(option: Option) -> set[str]:
    """What `needs` is compared with."""
    offered: set[str] = {*option.capabilities.protocols, *option.capabilities.algorithms}
    return offered | {IPV6} if option.device.supports_ipv6 else offered


def filter_capabilities(tree: Tree, option: Option) -> Refusal | None:
    """The device must offer all that the tree needs."""
    missing = sorted(needs(tree) - _offered(option))
    if not missing:
        return None
    terms = tuple(each for each in missing if isinstance(each, Algorithm))
    return Refusal(f"does not offer {', '.join(missing)}", field=_field_of(missing[0]), terms=terms)


def _field_of(need: str) -> str:
    if need == IPV6:
        return "virtual_ips"
    return "algorithm" if isinstance(need, Algorithm) else "protocol"


def filter_served(tree: Tree, option: Option) -> Refusal | None:
    """Its addresses must be of subnets that reach the device, and the device one of those that its flavor and its
    availability zone name. Always asked, whatever the configuration names."""
    if option.serves:
        return None
    if tree.load_balancer.flavor_id is None and tree.load_balancer.availability_zone is None:
        sentence = "does not serve the subnet of its addresses, or has not the one that is shared"
    else:
        sentence = "is not of its flavor or availability zone, or does not serve the subnet of its addresses"
    return Refusal(sentence, field="virtual_ips")


def filter_provider(tree: Tree, option: Option) -> str | None:
    """The device must be of the provider that was asked for. Always asked."""
    wanted = tree.load_balancer.provider
    return None if wanted in (None, option.device.type.lower()) else f"is not of provider {wanted}"


def filter_addresses(tree: Tree, option: Option) -> Refusal | None:
    """Every address and port that the tree listens on must be free."""
    if not option.blocked:
        return None
    return Refusal(f"has port {min(port for _, port in option.blocked)} taken", field="virtual_ips")


def lbs_on(tree: Tree, option: Option) -> float:
    """The number of load balancers on the device."""
    return option.load_balancers


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduler:
    filters: Sequence[Filter]
    costs: Sequence[tuple[Cost, float]]

    def refusal(self, tree: Tree, option: Option) -> Refusal | None:
        """Why the device may not take it, None when it may."""
        for test in (filter_provider, filter_served, *self.filters):
            reason = test(tree, option)
            if reason:
                return reason if isinstance(reason, Refusal) else Refusal(reason)
        return None

    def choose(self, tree: Tree, options: Sequence[Option]) -> Device:
        """The cheapest device that no filter refuses; among equals the one with the lowest id.

        Raises `NoSuitableDevice` with the reasons.
        """
        reasons: list[Refusal] = []
        fit: list[Option] = []
        for option in options:
            refusal = self.refusal(tree, option)
            if refusal is None:
                fit.append(option)
            elif refusal not in reasons:
                reasons.append(refusal)
        if not fit:
            why = "; ".join(f"a device {reason}" for reason in reasons) or "no device is registered"
            of_provider = [option for option in options if filter_provider(tree, option) is None]
            offered = {each for option in of_provider for each in _offered(option)}
            error = NotOffered if of_provider and needs(tree) - offered else NoSuitableDevice
            fields = {reason.field for reason in reasons}
            raise error(
                f"Suitable device not found: {why}",
                field=fields.pop() if len(fields) == 1 else "",
                terms=tuple(term for reason in reasons for term in reason.terms),
            )
        return min(fit, key=lambda option: (self._cost(tree, option), option.device.id)).device

    def _cost(self, tree: Tree, option: Option) -> float:
        return sum(weight * cost(tree, option) for cost, weight in self.costs)


def from_names(filters: Sequence[str], costs: Sequence[str], weights: Mapping[str, float]) -> Scheduler:
    """A scheduler of the functions of those dotted names. Raises `ConfigurationError`."""
    return Scheduler(
        filters=[_resolve("device_filters", name) for name in filters],
        costs=[(_resolve("device_cost_functions", name), weights.get(name, 1.0)) for name in costs],
    )


def _resolve(option: str, name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(f"{option}: there is no function {name!r} ({error})") from error
