"""Addresses of registered subnets: given with the load balancer, and back when its device runs without it."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from balancer.cluster.local import NoNotifier
from balancer.core import changes, scheduler
from balancer.core.model import (
    AddressRange,
    Caller,
    FixedIp,
    Listener,
    LoadBalancer,
    Network,
    Port,
    Subnet,
    Tree,
    VirtualIp,
    new_id,
)
from balancer.core.networks import NoNetworks, whole
from balancer.core.service import Service
from balancer.drivers.fake import FakeDriver
from balancer.exceptions import CapabilityConflict, Conflict, Forbidden, InvalidInput, NoSuitableDevice, NotFound
from tests.contract import samples
from tests.contract.databases import DatabaseCase, Mariadb, Postgresql, SqliteFile

if TYPE_CHECKING:
    Suite = DatabaseCase
else:
    Suite = object

ADMIN = Caller(admin=True)
TENANT = Caller(project_id=samples.PROJECT, user_id="u")


class NetworksContract(Suite):
    def setUp(self) -> None:
        super().setUp()
        driver = FakeDriver()
        placing = scheduler.from_names(
            ["balancer.core.scheduler.filter_capabilities", "balancer.core.scheduler.filter_addresses"],
            ["balancer.core.scheduler.lbs_on"],
            {},
        )
        self.service = Service(self.repository, lambda _: driver, placing, NoNotifier())
        self.device = self.service.register_device(ADMIN, samples.device(supports_ipv6=True))
        self.network = self.service.networks.add_network(ADMIN, Network(id=new_id(), project_id="admin", name="front"))

    # --- steps ---

    def subnet(self, cidr: str = "192.0.2.0/28", **fields: Any) -> Subnet:
        values: dict[str, Any] = {"network_id": self.network.id, "project_id": "admin", "ranges": whole(cidr)}
        return self.service.networks.add_subnet(ADMIN, Subnet(id=new_id(), cidr=cidr, **{**values, **fields}))

    def create(self, *wanted: VirtualIp, caller: Caller = TENANT, port: int = 80) -> LoadBalancer:
        balancer = replace(samples.load_balancer("", port=port, members=0), virtual_ips=wanted)
        return self.service.create(caller, Tree(load_balancer=balancer)).load_balancer

    def deploy(self, device_id: str | None = None) -> None:
        device_id = device_id or self.device.id
        lease = self.leases.claim(device_id)
        spec = self.repository.load_spec(device_id)
        assert lease is not None and spec is not None
        driver = FakeDriver()
        candidate = driver.render(spec)
        applied = driver.apply(spec.device, candidate, epoch=lease.epoch, last={}, check=lambda: None)
        self.repository.record_applied(lease, spec, candidate, applied)
        self.leases.release(lease)

    def delete(self, balancer: LoadBalancer) -> None:
        self.service.delete(TENANT, balancer.project_id, balancer.id)

    def taken(self) -> list[str]:
        return sorted(each.address for port in self.service.networks.ports(ADMIN) for each in port.fixed_ips)

    # --- giving ---

    def test_every_attribute_of_networks_comes_back(self) -> None:
        network = Network(id=new_id(), project_id="p", name="n", description="d", shared=False)
        subnet = Subnet(
            id=new_id(),
            network_id=network.id,
            project_id="p",
            name="s",
            description="d",
            cidr="2001:db8:7::/64",
            gateway="2001:db8:7::1",
            ranges=(AddressRange(first="2001:db8:7::10", last="2001:db8:7::20"),),
            device_ids=(self.device.id,),
            interface="eth7",
        )
        fixed = FixedIp(subnet_id=subnet.id, address="2001:db8:7::5")
        port = Port(id=new_id(), network_id=network.id, project_id="p", name="p", description="d", fixed_ips=(fixed,))
        stored: list[Any] = [
            self.service.networks.add_network(ADMIN, network),
            self.service.networks.add_subnet(ADMIN, subnet),
            self.service.networks.add_port(ADMIN, port),
        ]
        self.assertEqual([network, subnet, port], [replace(each, created_at=None, updated_at=None) for each in stored])
        self.assertEqual([], samples.defaults_in(replace(subnet, created_at=1, updated_at=1)))  # type: ignore[arg-type]
        self.assertIn((stored[0], (stored[1],)), self.service.networks.networks(ADMIN))

    def test_an_address_is_chosen_with_all_that_belongs_to_it(self) -> None:
        subnet = self.subnet(interface="eth1", gateway="192.0.2.1")
        balancer = self.create(VirtualIp(id=new_id(), address="", subnet_id=subnet.id))
        (vip,) = balancer.virtual_ips
        self.assertEqual(
            ("192.0.2.2", 28, self.network.id, subnet.id, "eth1"),
            (vip.address, vip.prefix_length, vip.network_id, vip.subnet_id, vip.interface),
        )
        (port,) = self.service.networks.ports(TENANT)
        self.assertEqual((vip.port_id, balancer.id), (port.id, port.load_balancer_id))
        self.assertEqual(
            "192.0.2.3",
            self.create(VirtualIp(id=new_id(), address="", network_id=self.network.id), port=81).virtual_ips[0].address,
        )

    def test_several_addresses_of_both_families(self) -> None:
        four, six = self.subnet(), self.subnet("2001:db8::/64")
        balancer = self.create(
            VirtualIp(id=new_id(), address="", network_id=self.network.id),
            VirtualIp(id=new_id(), address="", subnet_id=six.id),
            VirtualIp(id=new_id(), address="2001:db8::99", network_id=self.network.id),
        )
        self.assertEqual(["192.0.2.1", "2001:db8::1", "2001:db8::99"], [vip.address for vip in balancer.virtual_ips])
        self.assertEqual([four.id, six.id, six.id], [vip.subnet_id for vip in balancer.virtual_ips])

    def test_an_address_alone_is_taken_from_the_subnet_that_it_is_in(self) -> None:
        subnet = self.subnet()
        asked = self.create(VirtualIp(id=new_id(), address="192.0.2.9"))
        self.assertEqual(subnet.id, asked.virtual_ips[0].subnet_id)
        elsewhere = self.create(VirtualIp(id=new_id(), address="198.51.100.9"), caller=ADMIN)
        self.assertIsNone(elsewhere.virtual_ips[0].port_id)
        self.assertEqual(["192.0.2.9"], self.taken())

    def test_what_load_balancers_and_devices_had_before_is_given_to_nobody(self) -> None:
        self.create(VirtualIp(id=new_id(), address="192.0.2.1"), caller=ADMIN)
        endpoint = replace(self.device.endpoint, host="192.0.2.3")
        self.service.change_device(ADMIN, self.device.id, lambda old: replace(old, endpoint=endpoint))
        subnet = self.subnet()
        given = [
            self.create(VirtualIp(id=new_id(), address="", subnet_id=subnet.id), port=port).virtual_ips[0].address
            for port in (81, 82)
        ]
        self.assertEqual(["192.0.2.2", "192.0.2.4"], given)

    def test_what_does_not_fit_is_refused_by_field_and_leaves_nothing(self) -> None:
        subnet = self.subnet(gateway="192.0.2.1", ranges=(AddressRange(first="192.0.2.2", last="192.0.2.3"),))
        self.service.networks.add_network(ADMIN, hidden := Network(id=new_id(), project_id="other", shared=False))
        secret = self.subnet("198.51.100.0/24", network_id=hidden.id)
        cases: list[tuple[type[Exception], str, dict[str, Any]]] = [
            (InvalidInput, "subnet_id", {"subnet_id": new_id()}),
            (InvalidInput, "network_id", {"network_id": new_id()}),
            (InvalidInput, "port_id", {"port_id": new_id()}),
            (InvalidInput, "address", {}),
            (InvalidInput, "address", {"subnet_id": subnet.id, "address": "192.0.3.1"}),
            (InvalidInput, "address", {"subnet_id": subnet.id, "address": "*"}),
            (InvalidInput, "address", {"subnet_id": subnet.id, "address": "192.0.2.1"}),
            (InvalidInput, "address", {"subnet_id": subnet.id, "address": "192.0.2.15"}),
            (InvalidInput, "subnet_id", {"subnet_id": secret.id}),
            (InvalidInput, "network_id", {"network_id": hidden.id}),
            (InvalidInput, "subnet_id", {"network_id": self.network.id, "subnet_id": secret.id}),
            (Forbidden, "address", {"address": "192.0.2.9"}),
            (Forbidden, "address", {"address": "198.51.100.9"}),
        ]
        for kind, field, wanted in cases:
            with self.subTest(wanted), self.assertRaises(kind) as caught:
                self.create(VirtualIp(**{"id": new_id(), "address": "", **wanted}))
            self.assertEqual(field, caught.exception.field)  # type: ignore[attr-defined]
        self.assertEqual([], self.taken())
        # An administrator may have any that a host can have.
        self.create(VirtualIp(id=new_id(), address="192.0.2.9"), caller=ADMIN)

    def test_the_last_address_is_given_and_then_none(self) -> None:
        subnet = self.subnet(ranges=(AddressRange(first="192.0.2.2", last="192.0.2.3"),))
        for number in (2, 3):
            vip = self.create(VirtualIp(id=new_id(), address="", subnet_id=subnet.id), port=number).virtual_ips[0]
            self.assertEqual(f"192.0.2.{number}", vip.address)
        with self.assertRaises(Conflict) as caught:
            self.create(VirtualIp(id=new_id(), address="", subnet_id=subnet.id), port=4)
        self.assertIn("No address is left", str(caught.exception))

    def test_one_address_is_given_once_to_many_who_ask_at_once(self) -> None:
        subnet = self.subnet("198.51.100.0/24")
        given, errors = [], []

        def ask(number: int) -> None:
            try:
                vip = VirtualIp(id=new_id(), address="", subnet_id=subnet.id)
                given.append(self.create(vip, port=1000 + number).virtual_ips[0].address)
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        self.assertEqual([], errors)
        self.assertEqual([f"198.51.100.{number}" for number in range(1, 7)], sorted(given))

    # --- sharing ---

    def test_load_balancers_of_one_project_share_an_address_at_one_device(self) -> None:
        self.subnet()
        first = self.create(VirtualIp(id=new_id(), address="192.0.2.9"))
        self.service.register_device(ADMIN, samples.device())
        second = self.create(VirtualIp(id=new_id(), address="192.0.2.9"), port=81)
        self.assertEqual(first.virtual_ips[0].port_id, second.virtual_ips[0].port_id)
        self.assertEqual(first.device_id, second.device_id)
        other = replace(samples.load_balancer("", port=82), project_id="other", virtual_ips=first.virtual_ips[:1])
        other = replace(other, virtual_ips=(VirtualIp(id=new_id(), address="192.0.2.9"),))
        with self.assertRaises(Conflict):
            self.service.create(ADMIN, Tree(load_balancer=other))
        self.delete(first)
        self.deploy()
        self.assertEqual(["192.0.2.9"], self.taken())
        (port,) = self.service.networks.ports(ADMIN)
        self.assertEqual(second.id, port.load_balancer_id)
        self.delete(second)
        self.deploy()
        self.assertEqual([], self.taken())

    # --- addresses outside every subnet ---

    def ask_at_once(self, *projects: str) -> tuple[list[LoadBalancer], list[Exception]]:
        """Each asks for the same address, at a port and at a device of its own."""
        offered = AddressRange(first="203.0.113.0", last="203.0.113.15")
        devices = [self.service.register_device(ADMIN, samples.device(vip_ranges=(offered,))) for _ in projects]
        made: list[LoadBalancer] = []
        errors: list[Exception] = []
        together = threading.Barrier(len(projects), timeout=60)

        def ask(number: int, project_id: str) -> None:
            vip = VirtualIp(id=new_id(), address="203.0.113.5")
            wanted = samples.load_balancer("", port=1000 + number, members=0)
            tree = Tree(load_balancer=replace(wanted, project_id=project_id, virtual_ips=(vip,)))
            caller = Caller(project_id=project_id, user_id="u")
            together.wait()
            try:
                made.append(self.service.create(caller, tree, device_id=devices[number].id).load_balancer)
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=ask, args=each) for each in enumerate(projects)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        return made, errors

    def test_of_many_projects_that_ask_at_once_one_has_the_address(self) -> None:
        made, errors = self.ask_at_once(*(f"project-{number}" for number in range(6)))
        self.assertEqual((1, [Conflict] * 5), (len(made), [type(each) for each in errors]), errors)
        self.assertEqual({"virtual_ips"}, {each.field for each in errors if isinstance(each, Conflict)})
        with self.repository.read() as tx:
            self.assertEqual([made[0].id], [each.id for each in tx.load_balancers()])

    def test_an_address_that_a_project_asks_for_at_many_devices_at_once_is_at_one(self) -> None:
        made, errors = self.ask_at_once(*[samples.PROJECT] * 6)
        self.assertEqual((1, [CapabilityConflict] * 5), (len(made), [type(each) for each in errors]), errors)

    # --- giving back ---

    def test_an_address_is_free_only_after_its_device_runs_without_it(self) -> None:
        subnet = self.subnet()
        balancer = self.create(VirtualIp(id=new_id(), address="", subnet_id=subnet.id))
        self.deploy()
        self.delete(balancer)
        self.assertEqual(["192.0.2.1"], self.taken())
        self.deploy()
        self.assertEqual([], self.taken())

    def test_an_address_that_was_exchanged_is_free_after_that(self) -> None:
        self.subnet()
        balancer = self.create(VirtualIp(id=new_id(), address="192.0.2.9"))
        self.deploy()
        (listener,) = balancer.listeners
        moved = replace(balancer.virtual_ips[0], address="192.0.2.10")
        changed = self.service.change(TENANT, balancer.project_id, balancer.id, changes.place_listener(listener, moved))
        self.assertEqual(["192.0.2.10"], [vip.address for vip in changed.load_balancer.virtual_ips])
        self.assertNotEqual(balancer.virtual_ips[0].port_id, changed.load_balancer.virtual_ips[0].port_id)
        self.assertEqual(["192.0.2.10", "192.0.2.9"], self.taken())
        self.deploy()
        self.assertEqual(["192.0.2.10"], self.taken())

    def test_a_lasting_virtual_ip_keeps_its_address_without_a_listener(self) -> None:
        subnet = self.subnet()
        wanted = VirtualIp(id=new_id(), address="", subnet_id=subnet.id)
        for lasting, taken in ((False, []), (True, ["192.0.2.1"])):
            balancer = self.create(replace(wanted, id=new_id(), lasting=lasting))
            bound = replace(balancer.listeners[0], virtual_ip_ids=(balancer.virtual_ips[0].id,))

            def bind(_: Listener, bound: Listener = bound) -> Listener:
                return bound

            for change in (changes.replace_listener(bound.id, bind), changes.remove_listener(bound.id)):
                self.service.change(TENANT, balancer.project_id, balancer.id, change)
            self.deploy()
            self.assertEqual(taken, self.taken())

    def test_a_device_that_is_removed_by_force_gives_back_all(self) -> None:
        subnet = self.subnet()
        self.create(VirtualIp(id=new_id(), address="", subnet_id=subnet.id))
        self.service.remove_device(ADMIN, self.device.id, force=True)
        self.assertEqual([], self.taken())

    def test_a_refused_load_balancer_holds_no_address(self) -> None:
        subnet = self.subnet()
        balancer = replace(
            samples.load_balancer("", members=0), virtual_ips=(VirtualIp(id=new_id(), address="", subnet_id=subnet.id),)
        )
        with self.assertRaises(NotFound):
            self.service.create(TENANT, Tree(load_balancer=balancer), device_id=new_id())
        self.assertEqual([], self.taken())

    # --- ports of administrators ---

    def test_a_port_serves_one_load_balancer_and_stays_when_that_goes(self) -> None:
        subnet = self.subnet()
        fixed = FixedIp(subnet_id=subnet.id, address="")
        port = self.service.networks.add_port(
            ADMIN, Port(id=new_id(), network_id=self.network.id, project_id=samples.PROJECT, fixed_ips=(fixed,))
        )
        balancer = self.create(VirtualIp(id=new_id(), address="", port_id=port.id))
        self.assertEqual(("192.0.2.1", subnet.id), (balancer.virtual_ips[0].address, balancer.virtual_ips[0].subnet_id))
        with self.assertRaises(InvalidInput) as caught:
            self.create(VirtualIp(id=new_id(), address="", port_id=port.id), port=81)
        self.assertIn("in use", str(caught.exception))
        with self.assertRaises(Conflict):
            self.service.networks.remove_port(ADMIN, port.id)
        self.delete(balancer)
        self.deploy()
        self.assertEqual(["192.0.2.1"], self.taken())
        self.service.networks.remove_port(ADMIN, port.id)
        self.assertEqual([], self.taken())

    # --- where ---

    def test_a_load_balancer_goes_where_its_subnet_is_served(self) -> None:
        far = self.service.register_device(ADMIN, samples.device())
        subnet = self.subnet(device_ids=(far.id,))
        for number in (1, 2):
            wanted = VirtualIp(id=new_id(), address="", subnet_id=subnet.id)
            self.assertEqual(far.id, self.create(wanted, port=number).device_id)
        both = self.subnet("198.51.100.0/24", device_ids=(self.device.id,))
        with self.assertRaises(NoSuitableDevice):
            self.create(
                VirtualIp(id=new_id(), address="", subnet_id=subnet.id),
                VirtualIp(id=new_id(), address="", subnet_id=both.id),
            )

    def test_a_new_address_of_another_subnet_takes_the_load_balancer_along(self) -> None:
        here = self.create(VirtualIp(id=new_id(), address="192.0.2.200"), caller=ADMIN)
        far = self.service.register_device(ADMIN, samples.device())
        subnet = self.subnet("198.51.100.0/24", device_ids=(far.id,))
        (listener,) = here.listeners
        change = changes.place_listener(listener, VirtualIp(id=new_id(), address="", subnet_id=subnet.id))
        self.assertEqual(far.id, self.service.change(TENANT, here.project_id, here.id, change).load_balancer.device_id)

    # --- registering ---

    def test_what_is_in_use_is_not_removed(self) -> None:
        subnet = self.subnet()
        balancer = self.create(VirtualIp(id=new_id(), address="", subnet_id=subnet.id))
        for remove, object_id in (
            (self.service.networks.remove_network, self.network.id),
            (self.service.networks.remove_subnet, subnet.id),
        ):
            with self.assertRaises(Conflict):
                remove(ADMIN, object_id)
        self.delete(balancer)
        self.deploy()
        self.service.networks.remove_network(ADMIN, self.network.id)
        self.assertEqual([], self.service.networks.subnets(ADMIN))

    def test_two_subnets_at_one_device_are_apart(self) -> None:
        self.subnet(device_ids=(self.device.id,))
        far = self.service.register_device(ADMIN, samples.device())
        for device_ids in ((), (far.id, self.device.id)):
            with self.assertRaises(Conflict):
                self.subnet("192.0.2.8/30", device_ids=device_ids)
        self.subnet("192.0.2.8/30", device_ids=(far.id,))

    def test_a_subnet_that_makes_no_sense_is_refused_by_field(self) -> None:
        outside = AddressRange(first="192.0.2.1", last="192.0.2.200")
        behind = AddressRange(first="192.0.2.3", last="192.0.2.2")
        once = AddressRange(first="192.0.2.2", last="192.0.2.3")
        cases: list[tuple[str, dict[str, Any]]] = [
            ("gateway", {"gateway": "192.0.3.1"}),
            ("ranges", {"ranges": (outside,)}),
            ("ranges", {"ranges": (behind,)}),
            ("ranges", {"ranges": (once, once)}),
            ("ranges", {"ranges": ()}),
            ("device_ids", {"device_ids": (new_id(),)}),
        ]
        for field, wrong in cases:
            with self.subTest(wrong), self.assertRaises(InvalidInput) as caught:
                self.subnet(**wrong)
            self.assertEqual(field, caught.exception.field)

    def test_projects_see_what_is_theirs_and_change_nothing(self) -> None:
        hidden = self.service.networks.add_network(ADMIN, Network(id=new_id(), project_id="other", shared=False))
        self.subnet("198.51.100.0/24", network_id=hidden.id)
        self.assertEqual([self.network.id], [each.id for each, _ in self.service.networks.networks(TENANT)])
        self.assertEqual([], self.service.networks.subnets(TENANT))
        for write in (
            lambda: self.service.networks.add_network(TENANT, Network(id=new_id(), project_id="x")),
            lambda: self.service.networks.remove_network(TENANT, hidden.id),
        ):
            with self.assertRaises(Forbidden):
                write()

    def test_without_networks_everything_is_believed(self) -> None:
        networks, wanted = NoNetworks(), VirtualIp(id=new_id(), address="", subnet_id="s", port_id="p")
        with self.repository.write() as tx:
            given = networks.allot(tx, TENANT, samples.load_balancer(""), wanted)
            self.assertEqual(("s", "p", "10."), (given.subnet_id, given.port_id, given.address[:3]))
            asked = networks.allot(tx, TENANT, samples.load_balancer(""), replace(wanted, address="192.0.2.1"))
            self.assertEqual("192.0.2.1", asked.address)


class NetworksOnSqlite(NetworksContract, SqliteFile):
    pass


class NetworksOnPostgresql(NetworksContract, Postgresql):
    pass


class NetworksOnMariadb(NetworksContract, Mariadb):
    pass
