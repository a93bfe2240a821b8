"""Which driver serves which device type."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any

from balancer.config import Settings
from balancer.core.ports import Driver
from balancer.exceptions import ConfigurationError, InvalidInput

LOG = logging.getLogger(__name__)

GROUP = "balancer.drivers"

# For a checkout whose installed metadata is older than itself; others are found by their entry points.
_SHIPPED: Mapping[str, str] = {
    "haproxy": "balancer.drivers.haproxy.driver:HAProxyDriver",
    "dummy": "balancer.drivers.fake:FakeDriver",
}

Factory = Callable[[Settings], Driver]


class Registry:
    """The drivers that the configuration names, by the device types they are for.

    A device type is the name of an entry point, or the `name` of a driver given as ``module:Class``; case does not
    matter.
    """

    def __init__(self, settings: Settings) -> None:
        """Raises `ConfigurationError` naming the driver that cannot be loaded."""
        self._drivers: dict[str, Driver] = {}
        for name in settings.device_drivers:
            driver = _factory(name)(settings)
            kind = (driver.name if ":" in name else name).lower()
            self._drivers[kind] = driver
            LOG.debug("driver %s serves devices of type %s", name, kind.upper())

    def driver_for(self, device_type: str) -> Driver:
        """Raises `InvalidInput` naming the types there are."""
        driver = self._drivers.get(device_type.lower())
        if driver is None:
            raise InvalidInput(
                f"type must be one of {', '.join(self.types())}, not {device_type!r}",
                field="type",
            )
        return driver

    def types(self) -> tuple[str, ...]:
        return tuple(sorted(kind.upper() for kind in self._drivers))

    def close(self) -> None:
        """Closes whatever the drivers keep open."""
        for driver in self._drivers.values():
            close = getattr(driver, "close", None)
            if close is not None:
                close()


def _factory(name: str) -> Factory:
    try:
        if ":" in name:
            return _load(name)
        for point in metadata.entry_points(group=GROUP):
            if point.name.lower() == name.lower():
                loaded: Factory = point.load()
                return loaded
        if name.lower() in _SHIPPED:
            return _load(_SHIPPED[name.lower()])
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(f"device_drivers: {name} cannot be loaded: {error}") from error
    known = sorted({point.name for point in metadata.entry_points(group=GROUP)} | set(_SHIPPED))
    raise ConfigurationError(f"device_drivers: there is no driver {name}; there are {', '.join(known)}")


def _load(target: str) -> Factory:
    module, _, attribute = target.partition(":")
    found: Any = getattr(importlib.import_module(module), attribute)
    if not callable(found):
        raise ValueError(f"{target} is not a class")
    factory: Factory = found
    return factory
