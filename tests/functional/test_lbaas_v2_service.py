"""LBaaS v2: quotas, providers and moving on purpose."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from tests.functional.case import DEVICE
from tests.functional.lbaas_v2 import V2, Body, LbaasCase

LIMITS = ("loadbalancer", "load_balancer", "listener", "pool", "member", "healthmonitor", "health_monitor")
UNLIMITED = dict.fromkeys((*LIMITS, "l7policy", "l7rule"), -1)


class TestQuotas(LbaasCase):
    worker = False

    def quota(self, project: str) -> Body:
        return self.show(f"quotas/{project}", "quota")

    def test_a_project_s_own(self) -> None:
        own = {"project_id": "p", "tenant_id": "p"}
        self.assertEqual({**own, **UNLIMITED}, self.quota("p"))
        self.assertEqual(UNLIMITED, self.show("quotas/defaults", "quota"))
        self.assertEqual(UNLIMITED, self.show("quotas/p/default", "quota"))
        self.assertEqual([], self.listed("quotas"))
        self.refused(404, "DELETE", "quotas/p")
        body = {"quota": {"load_balancer": "3", "pool": 0, "l7rule": None}}
        changed = self.expect(202, "PUT", f"{V2}/quotas/p", body)["quota"]
        expected = {**own, **UNLIMITED, "loadbalancer": 3, "load_balancer": 3, "pool": 0}
        self.assertEqual(expected, changed)
        self.assertEqual(expected, self.quota("p"))
        listed = {**dict.fromkeys(UNLIMITED), **own, "loadbalancer": 3, "load_balancer": 3, "pool": 0}
        self.assertEqual([listed], self.listed("quotas"))
        self.expect(202, "PUT", f"{V2}/quotas/p", {"quota": {"pool": None}})
        self.assertEqual(-1, self.quota("p")["pool"])
        self.assertIsNone(self.expect(202, "DELETE", f"{V2}/quotas/p"))
        self.assertEqual({**own, **UNLIMITED}, self.quota("p"))

    def test_refusals(self) -> None:
        for values in (
            {"pool": -2},
            {"pool": 2000000001},
            {"pool": "many"},
            {"floatingip": 1},
            {"project_id": "q"},
            {"loadbalancer": 1, "load_balancer": 2},
        ):
            self.refused(400, "PUT", "quotas/p", {"quota": values})
        self.refused(400, "PUT", "quotas/p", {})
        self.assertEqual(405, self.call("POST", f"{V2}/quotas", {"quota": {}}).status)

    def test_what_is_over_a_quota(self) -> None:
        balancer = self.add_balancer()
        pool = self.add_pool(loadbalancer_id=balancer["id"])
        limits = dict.fromkeys(("loadbalancer", "listener", "pool", "member", "healthmonitor"), 1)
        self.expect(202, "PUT", f"{V2}/quotas/default", {"quota": limits})
        self.add_member(pool)
        refusals: tuple[tuple[str, str, Body, str], ...] = (
            ("loadbalancers", "loadbalancer", {"vip_subnet_id": self.subnet_id}, "Load Balancer"),
            (
                "pools",
                "pool",
                {"loadbalancer_id": balancer["id"], "protocol": "TCP", "lb_algorithm": "SOURCE_IP"},
                "Pool",
            ),
            (f"pools/{pool['id']}/members", "member", {"address": "198.51.100.2", "protocol_port": 1}, "Member"),
        )
        for path, key, fields, kind in refusals:
            text = self.refused(403, "POST", path, {key: fields})
            self.assertTrue(text.startswith(f"Quota has been met for resources: {kind}"), text)
        # A batch that replaces as many is none too many.
        batch = {"members": [{"address": "198.51.100.3", "protocol_port": 1}]}
        self.expect(202, "PUT", f"{V2}/pools/{pool['id']}/members", batch)
        self.refused(
            403,
            "PUT",
            f"pools/{pool['id']}/members?additive_only=true",
            {"members": [{"address": "198.51.100.4", "protocol_port": 1}]},
        )


class TestProviders(LbaasCase):
    worker = False

    def test_list(self) -> None:
        providers = self.get(f"{V2}/providers")
        self.assertEqual(["providers"], list(providers))
        self.assertEqual(["dummy", "haproxy"], [each["name"] for each in providers["providers"]])
        for field in ("name", "description"):
            expected = [{field: each[field]} for each in providers["providers"]]
            self.assertEqual(expected, self.get(f"{V2}/providers?fields={field}")["providers"])
        self.assertEqual(["haproxy"], [each["name"] for each in self.get(f"{V2}/providers?name=haproxy")["providers"]])

    def test_one_that_there_is_not(self) -> None:
        body = {"loadbalancer": {"vip_subnet_id": self.subnet_id, "provider": "cloud"}}
        self.assertIn("dummy, haproxy", self.refused(400, "POST", "loadbalancers", body))


class TestFailover(LbaasCase):
    def device_of(self, balancer: Body) -> str:
        with self.repository.read() as tx:
            return tx.load_balancer(balancer["id"].replace("-", "")).device_id

    def test_to_another_device_and_back(self) -> None:
        balancer = self.add_balancer()
        path = f"loadbalancers/{balancer['id']}"
        self.settled(path, "loadbalancer")
        # There is nowhere to go: deployed anew.
        self.assertIsNone(self.expect(202, "PUT", f"{V2}/{path}/failover"))
        self.assertEqual("ACTIVE", self.settled(path, "loadbalancer")["provisioning_status"])
        self.assertEqual(self.device_id, self.device_of(balancer))
        other = self.register(**{**DEVICE, "name": "other", "ip": "192.0.2.99"})
        self.expect(202, "PUT", f"{V2}/{path}/failover")
        self.assertEqual("ACTIVE", self.settled(path, "loadbalancer")["provisioning_status"])
        self.assertEqual(other, self.device_of(balancer))
        self.refused(404, "PUT", "loadbalancers/x/failover")


class TestFlavors(LbaasCase):
    worker = False

    def add_profile(self, data: str = "{}", **fields: Any) -> Body:
        values = {"name": "profile", "provider_name": "dummy", "flavor_data": data}
        return self.post("flavorprofiles", "flavorprofile", **{**values, **fields})

    def add_flavor(self, profile: Body, **fields: Any) -> Body:
        return self.post("flavors", "flavor", **{"name": "gold", "flavor_profile_id": profile["id"], **fields})

    def test_profiles(self) -> None:
        data = '{"devices": "HAP-001"}'
        made = self.add_profile(data)
        expected = {"id": made["id"], "name": "profile", "provider_name": "dummy", "flavor_data": data}
        self.assertEqual(expected, made)
        path = f"flavorprofiles/{made['id']}"
        self.assertEqual(made, self.show(path, "flavorprofile"))
        body = self.get(f"{V2}/flavorprofiles?fields=name")
        self.assertEqual({"flavorprofiles": [{"name": "profile"}], "flavorprofile_links": []}, body)
        self.assertEqual("new", self.put(path, "flavorprofile", name="new", flavor_data="{}")["name"])
        for fields, status in (
            ({"flavor_data": "{"}, 400),
            ({"flavor_data": "[]"}, 400),
            ({"flavor_data": '{"devices": 5}'}, 400),
            ({"flavor_data": '{"number_of_stars": "SINGLE"}'}, 501),
            ({"provider_name": "cloud"}, 400),
            ({"name": None}, 400),
        ):
            self.refused(status, "PUT", path, {"flavorprofile": fields})
            values = {"name": "p", "provider_name": "dummy", "flavor_data": "{}", **fields}
            self.refused(status, "POST", "flavorprofiles", {"flavorprofile": values})
        flavor = self.add_flavor(made)
        self.refused(409, "DELETE", path)
        self.refused(409, "PUT", path, {"flavorprofile": {"flavor_data": data}})
        self.put(path, "flavorprofile", name="newer")
        self.remove(f"flavors/{flavor['id']}")
        self.remove(path)
        self.refused(404, "GET", "flavorprofiles/00000000-0000-0000-0000-000000000000")

    def test_flavors(self) -> None:
        profile = self.add_profile()
        made = self.add_flavor(profile, description="d")
        expected = {"name": "gold", "description": "d", "enabled": True, "flavor_profile_id": profile["id"]}
        self.assertEqual({"id": made["id"], **expected}, made)
        path = f"flavors/{made['id']}"
        body = {"flavor": {"name": "gold", "flavor_profile_id": profile["id"]}}
        self.refused(409, "POST", "flavors", body)
        body["flavor"] |= {"name": "silver", "flavor_profile_id": self.subnet_id}
        self.refused(400, "POST", "flavors", body)
        other = self.add_flavor(profile, name="silver", enabled=False)
        self.assertEqual([made], self.listed("flavors?enabled=true"))
        self.assertEqual([other], self.listed("flavors?name=silver"))
        self.assertEqual(["silver", "gold"], [each["name"] for each in self.listed("flavors?sort=name:desc")])
        changed = self.put(path, "flavor", name="platinum", enabled="False", description=None)
        self.assertEqual(("platinum", False, ""), (changed["name"], changed["enabled"], changed["description"]))
        self.refused(400, "PUT", path, {"flavor": {"flavor_profile_id": profile["id"]}})
        self.refused(409, "PUT", path, {"flavor": {"name": "silver"}})
        self.remove(path)

    def test_they_choose_devices(self) -> None:
        other = self.register(name="HAP-002", ip="192.0.2.11", supports_ipv6=1)
        by_name = self.add_flavor(self.add_profile('{"devices": "HAP-002, HAP-003"}'))
        made = self.add_balancer(flavor_id=by_name["id"])
        self.assertEqual((by_name["id"], "dummy"), (made["flavor_id"], made["provider"]))
        self.assertEqual(other, self.device_of(made))
        self.refused(409, "DELETE", f"flavors/{by_name['id']}")
        nowhere = self.add_flavor(self.add_profile('{"devices": "HAP-009"}'), name="nowhere")
        disabled = self.add_flavor(self.add_profile(), name="disabled", enabled=False)
        for fields, status in (
            ({"flavor_id": nowhere["id"]}, 503),
            ({"flavor_id": disabled["id"]}, 400),
            ({"flavor_id": self.subnet_id}, 400),
            ({"flavor_id": by_name["id"], "provider": "haproxy"}, 400),
            ({"availability_zone": "mars"}, 400),
        ):
            body = {"loadbalancer": {"vip_subnet_id": self.subnet_id, **fields}}
            with self.subTest(fields):
                self.refused(status, "POST", "loadbalancers", body)
        self.remove(f"loadbalancers/{made['id']}")
        self.remove(f"flavors/{by_name['id']}")

    def device_of(self, balancer: Body) -> str:
        with self.repository.read() as tx:
            return tx.load_balancer(balancer["id"].replace("-", "")).device_id

    def test_a_profile_says_what_the_driver_of_its_provider_knows(self) -> None:
        body = {"name": "p", "provider_name": "haproxy", "flavor_data": '{"loadbalancer_topology": "SINGLE"}'}
        self.refused(501, "POST", "flavorprofiles", {"flavorprofile": body})
        profile = self.post("flavorprofiles", "flavorprofile", **{**body, "provider_name": "dummy"})
        flavor = self.post("flavors", "flavor", name="f", flavor_profile_id=profile["id"])
        balancer = self.add_balancer(flavor_id=flavor["id"])
        self.assertEqual("dummy", balancer["provider"])

    def test_zones_go_by_their_names(self) -> None:
        other = self.register(name="HAP-002", ip="192.0.2.11", supports_ipv6=1)
        profile = self.post(
            "availabilityzoneprofiles",
            "availability_zone_profile",
            name="p",
            provider_name="dummy",
            availability_zone_data=f'{{"devices": "{other}"}}',
        )
        body = self.get(f"{V2}/availabilityzoneprofiles")
        self.assertEqual({"availability_zone_profiles": [profile], "availability_zone_profile_links": []}, body)
        made = self.post(
            "availabilityzones", "availability_zone", name="az b", availability_zone_profile_id=profile["id"]
        )
        expected = {"description": "", "enabled": True, "availability_zone_profile_id": profile["id"]}
        self.assertEqual({"name": "az b", **expected}, made)
        self.post("availabilityzones", "availability_zone", name="az a", availability_zone_profile_id=profile["id"])
        body = self.get(f"{V2}/availabilityzones")
        self.assertEqual(["az a", "az b"], [each["name"] for each in body["availability_zones"]])
        self.assertEqual([], body["availability_zones_links"])
        path = "availabilityzones/az%20b"
        self.assertEqual(made, self.show(path, "availability_zone"))
        self.assertEqual("d", self.put(path, "availability_zone", description="d")["description"])
        self.refused(400, "PUT", path, {"availability_zone": {"name": "other"}})
        balancer = self.add_balancer(availability_zone="az b")
        self.assertEqual(("az b", other), (balancer["availability_zone"], self.device_of(balancer)))
        self.refused(409, "DELETE", path)
        self.remove(f"loadbalancers/{balancer['id']}")
        self.remove(path)
        # What no path could name could never be removed.
        for name in ("a/b", "/", ".", "..", "a.json", "a\nb", "a\x7fb"):
            body = {"name": name, "availability_zone_profile_id": profile["id"]}
            told = self.refused(400, "POST", "availabilityzones", {"availability_zone": body})
            self.assertIn("attribute name. Value", told)
        for name in ("...", "a.json.b", "ä", "%2f", "a?b#c"):
            self.post("availabilityzones", "availability_zone", name=name, availability_zone_profile_id=profile["id"])
            self.remove(f"availabilityzones/{quote(name)}")

    def test_capabilities(self) -> None:
        for kind in ("flavor", "availability_zone"):
            path, key = f"{V2}/providers/dummy/{kind}_capabilities", f"{kind}_capabilities"
            self.assertEqual(5, len(self.get(path)[key]))
            for provider in ("haproxy", "HAProxy", "octavia"):
                (capability,) = self.get(f"{V2}/providers/{provider}/{kind}_capabilities")[key]
                self.assertEqual({"name", "description"}, set(capability))
            self.assertEqual([{"name": "devices"}], self.get(f"{path}?name=devices&fields=name")[key])
            self.assertEqual([], self.get(f"{path}?name=other")[key])
            self.refused(400, "GET", f"providers/cloud/{kind}_capabilities")
