"""Drivers found by the names that the configuration gives."""

from __future__ import annotations

import unittest

from balancer.config import Settings
from balancer.drivers.fake import FakeDriver
from balancer.drivers.haproxy.driver import HAProxyDriver
from balancer.drivers.registry import Registry
from balancer.exceptions import ConfigurationError, InvalidInput


class TestRegistry(unittest.TestCase):
    def test_shipped_drivers_in_any_case(self) -> None:
        registry = Registry(Settings())
        self.addCleanup(registry.close)
        self.assertIsInstance(registry.driver_for("HAPROXY"), HAProxyDriver)
        self.assertIs(registry.driver_for("haproxy"), registry.driver_for("HaProxy"))
        self.assertIsInstance(registry.driver_for("dummy"), FakeDriver)

    def test_a_class_by_its_name(self) -> None:
        registry = Registry(Settings(device_drivers=("balancer.drivers.fake:FakeDriver",)))
        self.assertIsInstance(registry.driver_for("DUMMY"), FakeDriver)

    def test_an_unknown_type_is_refused_with_the_known_ones(self) -> None:
        with self.assertRaisesRegex(InvalidInput, "DUMMY, HAPROXY") as caught:
            Registry(Settings()).driver_for("F5")
        self.assertEqual("type", caught.exception.field)

    def test_a_driver_that_is_not_there_is_named(self) -> None:
        for name in (
            "nonsense",
            "nowhere.at_all:Class",
            "balancer.drivers.fake:Nothing",
            "balancer.drivers.fake:_VERSION",
        ):
            with self.subTest(name), self.assertRaisesRegex(ConfigurationError, f"device_drivers: .*{name}"):
                Registry(Settings(device_drivers=(name,)))
