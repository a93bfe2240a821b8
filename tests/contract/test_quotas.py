"""How many objects a project may have: what counts, until when, and that nobody slips through, on every database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from balancer.cluster.local import NoNotifier
from balancer.config import Settings
from balancer.core import changes, scheduler
from balancer.core.model import (
    Caller,
    Device,
    L7Policy,
    L7Rule,
    LoadBalancer,
    QuotaResource,
    Tree,
    new_id,
)
from balancer.core.quotas import UNLIMITED
from balancer.core.reconciler import Reconciler
from balancer.core.service import Service
from balancer.drivers.registry import Registry
from balancer.exceptions import Forbidden, OverQuota
from tests.contract.databases import DatabaseCase, Mariadb, Postgresql, SqliteFile
from tests.contract.test_deployments import at_once
from tests.unit.objects import device, member, monitor, tree

if TYPE_CHECKING:
    Suite = DatabaseCase
else:
    Suite = object

ADMIN = Caller(admin=True)


class QuotasContract(Suite):
    def setUp(self) -> None:
        super().setUp()
        self.registry = Registry(Settings())
        self.addCleanup(self.registry.close)
        self.service = self.make_service()
        self.reconciler = Reconciler(
            self.repository,
            self.leases,
            self.registry.driver_for,
            lease_seconds=60,
            observe_interval=600,
            retry_first=0.2,
            retry_max=1,
        )
        self.device: Device = self.service.register_device(ADMIN, device())

    def make_service(self, **defaults: int) -> Service:
        placing = scheduler.from_names(Settings().device_filters, Settings().device_cost_functions, {})
        quotas = {**UNLIMITED, **{QuotaResource(name): limit for name, limit in defaults.items()}}
        return Service(self.repository, self.registry.driver_for, placing, NoNotifier(), quotas)

    def limit(self, **limits: int | None) -> None:
        self.service.set_quotas(ADMIN, "foo", {QuotaResource(name): limit for name, limit in limits.items()})

    def used(self, project: str = "foo") -> dict[str, int]:
        """What counts, without what there is none of."""
        return {each.value: number for each, number in self.service.usage(ADMIN, project).items() if number}

    def create(self, wanted: Tree | None = None, project: str = "foo", port: int = 80) -> LoadBalancer:
        wanted = wanted or tree(("*", port), members=(member(),))
        balancer = replace(wanted.load_balancer, project_id=project)
        return self.service.create(ADMIN, replace(wanted, load_balancer=balancer)).load_balancer

    def change(self, balancer: LoadBalancer, change: Callable[[Tree], Tree]) -> Tree:
        return self.service.change(ADMIN, balancer.project_id, balancer.id, change)

    def deploy(self) -> None:
        self.assertIn("applied", self.reconciler.reconcile(self.device.id))

    def refused(self, resource: str, write: Callable[[], object], says: str) -> None:
        before = self.used()
        with self.assertRaisesRegex(OverQuota, says) as caught:
            write()
        self.assertEqual((QuotaResource(resource),), caught.exception.resources)
        self.assertEqual(before, self.used())

    # --- limits ---

    def test_without_limits_anything_goes(self) -> None:
        for port in range(80, 85):
            self.create(port=port)
        self.assertEqual({"load_balancer": 5, "listener": 5, "pool": 5, "member": 5}, self.used())

    def test_limits_are_the_projects_own_or_the_default(self) -> None:
        service = self.make_service(pool=7, member=8)
        self.limit(pool=1, l7_rule=0)
        expected = {**UNLIMITED, QuotaResource.POOL: 1, QuotaResource.MEMBER: 8, QuotaResource.L7_RULE: 0}
        self.assertEqual(expected, service.quotas(ADMIN, "foo"))
        self.assertEqual(7, service.quotas(ADMIN, "bar")[QuotaResource.POOL])
        self.assertEqual(7, service.set_quotas(ADMIN, "foo", {QuotaResource.POOL: None})[QuotaResource.POOL])
        self.assertEqual({"foo": {QuotaResource.L7_RULE: 0}}, service.all_quotas(ADMIN))
        self.assertTrue(service.reset_quotas(ADMIN, "foo"))
        self.assertFalse(service.reset_quotas(ADMIN, "foo"))
        self.assertEqual({}, service.all_quotas(ADMIN))
        self.assertEqual(8, service.quotas(ADMIN, "foo")[QuotaResource.MEMBER])

    def test_a_project_sees_its_own_limits_and_changes_none(self) -> None:
        own = Caller(project_id="foo")
        self.assertEqual(UNLIMITED, self.service.quotas(own, "foo"))
        self.assertEqual({}, self.service.all_quotas(own))
        self.limit(pool=1)
        self.assertEqual({"foo": {QuotaResource.POOL: 1}}, self.service.all_quotas(own))
        self.assertEqual({}, self.service.all_quotas(Caller(project_id="bar")))
        for call in (
            partial(self.service.quotas, own, "bar"),
            partial(self.service.usage, own, "bar"),
            partial(self.service.set_quotas, own, "foo", {}),
            partial(self.service.reset_quotas, own, "foo"),
        ):
            with self.assertRaises(Forbidden):
                call()

    def test_a_refused_creation_leaves_nothing(self) -> None:
        self.limit(load_balancer=1)
        self.create()
        self.refused("load_balancer", partial(self.create, port=81), "may have 1 load balancer, and 1 count")
        self.create(project="bar", port=81)
        self.limit(load_balancer=2)
        self.create(port=82)

    def test_defaults_hold_for_every_project(self) -> None:
        self.service = self.make_service(listener=1)
        self.create()
        self.refused("listener", partial(self.create, port=81), "1 listener")
        self.create(project="bar", port=81)

    def test_every_resource_has_its_limit(self) -> None:
        policy = L7Policy(id=new_id(), position=1, action="REJECT", rules=(_rule(), _rule()))
        wanted = tree(("*", 80), ("*", 81), members=(member(1), member(2), member(3)), monitors=(monitor(),))
        listeners = wanted.load_balancer.listeners
        with_policy = (replace(listeners[0], l7_policies=(policy,)), *listeners[1:])
        wanted = replace(wanted, load_balancer=replace(wanted.load_balancer, listeners=with_policy))
        counted = {
            "load_balancer": 1,
            "listener": 2,
            "pool": 1,
            "member": 3,
            "health_monitor": 1,
            "l7_policy": 1,
            "l7_rule": 2,
        }
        for resource, number in counted.items():
            self.limit(**{resource: number - 1})
            self.refused(resource, partial(self.create, wanted), f"may have {number - 1} ")
            self.limit(**{resource: number})
        self.create(wanted)
        self.assertEqual(counted, self.used())

    def test_what_does_not_become_more_is_never_refused(self) -> None:
        balancer = self.create()
        self.limit(load_balancer=0, listener=0, pool=0, member=0, health_monitor=0)
        there = balancer.pools[0].members[0]
        self.change(balancer, changes.replace_member(there.id, lambda each: replace(each, weight=5)))
        self.refused("member", partial(self.change, balancer, changes.add_members(member(8005))), "0 members, and 1")
        swapped = partial(_swap, there.id)
        self.change(balancer, swapped)
        self.service.delete(ADMIN, "foo", balancer.id)

    def test_a_change_that_is_tried_out_is_refused_as_well(self) -> None:
        balancer = self.create()
        self.limit(member=1)
        add = changes.add_members(member(8005))
        with self.assertRaises(OverQuota):
            self.service.preview(ADMIN, lambda service: service.change(ADMIN, "foo", balancer.id, add))

    # --- until when something counts ---

    def test_a_deleted_load_balancer_counts_until_its_device_runs_without_it(self) -> None:
        self.limit(load_balancer=1)
        balancer = self.create()
        self.deploy()
        self.service.delete(ADMIN, "foo", balancer.id)
        self.assertEqual({"load_balancer": 1, "listener": 1, "pool": 1, "member": 1}, self.used())
        self.refused("load_balancer", partial(self.create, port=81), "until its device runs without it")
        self.deploy()
        self.assertEqual({}, self.used())
        self.create(port=81)

    def test_removed_children_count_until_their_device_runs_without_them(self) -> None:
        wanted = tree(("*", 80), ("*", 81), members=(member(1), member(2)), monitors=(monitor(), monitor()))
        balancer = self.create(wanted)
        self.deploy()
        self.change(balancer, changes.remove_member(balancer.pools[0].members[0].id))
        self.change(balancer, changes.remove_listener(balancer.listeners[0].id))
        self.change(balancer, changes.remove_monitor(wanted.monitors[0].id))
        there = {"load_balancer": 1, "listener": 2, "pool": 1, "member": 2, "health_monitor": 2}
        self.assertEqual(there, self.used())
        self.limit(member=2)
        self.refused("member", partial(self.change, balancer, changes.add_members(member(3))), "and 2 count")
        self.deploy()
        self.assertEqual({**there, "listener": 1, "member": 1, "health_monitor": 1}, self.used())
        self.change(balancer, changes.add_members(member(3)))

    def test_what_a_failed_deployment_was_to_remove_still_counts(self) -> None:
        balancer = self.create(tree(("*", 80), members=(member(1), member(2))))
        self.deploy()
        self.service.change_device(ADMIN, self.device.id, lambda old: replace(old, extras={"behaviour": "unreachable"}))
        self.change(balancer, changes.remove_member(balancer.pools[0].members[0].id))
        self.reconciler.reconcile(self.device.id)
        self.assertEqual(2, self.used()["member"])

    def test_what_was_removed_is_not_kept_for_ever(self) -> None:
        balancer = self.create()
        for port in range(8100, 8105):
            self.change(balancer, partial(_swap, None, port=port))
            self.deploy()
        self.assertEqual([(1,)], self.query("SELECT count(*) FROM removed_objects"))
        self.service.delete(ADMIN, "foo", balancer.id)
        self.deploy()
        self.assertEqual([(0,)], self.query("SELECT count(*) FROM removed_objects"))

    # --- many at once ---

    def test_no_more_than_allowed_whoever_asks_at_the_same_moment(self) -> None:
        # One device each: two requests for one device come one after the other anyhow.
        there = [self.service.register_device(ADMIN, device()) for _ in range(8)]
        for project, service in (("foo", self.service), ("new", self.make_service(load_balancer=3))):
            with self.subTest(project=project):
                if service is self.service:
                    self.limit(load_balancer=3)
                wanted = tree(("*", 80 if project == "foo" else 81), project_id=project)
                outcomes = at_once([partial(self.create_on, service, each, wanted) for each in there])
                self.assertEqual({Tree, OverQuota}, {type(each) for each in outcomes}, outcomes)
                self.assertEqual(3, sum(isinstance(each, Tree) for each in outcomes))
                self.assertEqual(3, self.used(project)["load_balancer"])

    def create_on(self, service: Service, there: Device, wanted: Tree) -> Tree:
        return service.create(ADMIN, _with_new_ids(wanted), device_id=there.id)


def _with_new_ids(wanted: Tree) -> Tree:
    balancer = wanted.load_balancer
    [vip] = balancer.virtual_ips
    [pool] = balancer.pools
    [listener] = balancer.listeners
    vip, pool = replace(vip, id=new_id()), replace(pool, id=new_id(), members=())
    listener = replace(listener, id=new_id(), virtual_ip_ids=(vip.id,), default_pool_id=pool.id)
    balancer = replace(balancer, id=new_id(), virtual_ips=(vip,), pools=(pool,), listeners=(listener,))
    return replace(wanted, load_balancer=balancer)


def _rule() -> L7Rule:
    return L7Rule(id=new_id(), type="PATH", compare_type="EQUAL_TO", value="/x")


def _swap(member_id: str | None, balancer_tree: Tree, port: int = 8009) -> Tree:
    """One member less, one more."""
    gone = member_id or balancer_tree.load_balancer.pools[0].members[0].id
    return changes.add_members(member(port))(changes.remove_member(gone)(balancer_tree))


class QuotasOnSqlite(QuotasContract, SqliteFile):
    pass


class QuotasOnPostgresql(QuotasContract, Postgresql):
    pass


class QuotasOnMariadb(QuotasContract, Mariadb):
    pass
