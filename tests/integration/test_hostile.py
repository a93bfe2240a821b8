"""Hostile text through every text field of every route, then a deployment of all that was accepted to a real device
whose login shell writes down each command: file and commands are what they would be with harmless text."""

from __future__ import annotations

import copy
import itertools
import json
import os
import re
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from balancer.api.v1 import schemas
from balancer.core.reconciler import Reconciler
from balancer.db.leases import SqlLeases, make_owner
from balancer.devbox.host import Host
from balancer.drivers.haproxy import file
from balancer.drivers.haproxy.driver import HAProxyDriver
from tests.functional.case import Answer
from tests.functional.lbaas_v1 import LB
from tests.functional.lbaas_v2 import V2, LbaasCase
from tests.golden.test_injection import words
from tests.hostile import CANARY, MARK, corpus
from tests.integration.deploying import SETTINGS, device_of

# Every kind of hostile text; one in two of those that differ by what stands in front of them only.
ALL = tuple(corpus())
STRINGS = (*ALL[:170], *ALL[170::2])
# What is tried again is tried with fewer: a field in another route that reads it with the same code, a number, a part
# of a path. Where any text is good, each request is a whole transaction; in a load balancer that grows, a longer one.
FEWER_STRINGS = STRINGS[::20]
FREE_STRINGS = STRINGS[::8]
GROWING_STRINGS = STRINGS[::40]
PART_STRINGS = STRINGS[::9]
HARMLESS = "pröbe 1"
VIRTUAL_IP_ADDRESS = "127.77.1.1"
# Good addresses to listen at, but this is to be on loopback only.
EVERYWHERE = ("", "*")

Leaf = tuple[str | int, ...]
KEY = "a key of the caller's own"

# Values that are accepted, for the fields whose schema does not say one.
EXAMPLES: Mapping[str, Any] = {
    "address": "127.77.2.1",
    "port": "{port}",
    "mask": "32",
    "path": "/",
    "expected": "200",
    "inter": "2s",
    "slowstart": "2s",
    "cookie": "c",
    "cookie_name": "c",
    "ipVersion": "IPv4",
    "ip": "127.0.0.1",
    "user": "user",
    "password": "not a secret",
    "remote_config_path": "/etc/haproxy/another.cfg",
    "interface": "eth0",
    "socket": "/run/haproxy/another.sock",
    "capabilities": {"algorithms": ["ROUND_ROBIN"], "protocols": ["HTTP"]},
    "delay": 3600,
}
LEFT_OUT = ("private_key", "key_filename", "host_key", "protocol")


def example(schema: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """An object with every field of a schema of the balancer API, and one of the caller's own."""
    made: dict[str, Any] = {}
    for name, each in schema["properties"].items():
        if each.get("readOnly") or "x-alias-of" in each or name in LEFT_OUT or each.get("type") == "array":
            continue
        kinds = each.get("type", "string")
        if name in EXAMPLES:
            made[name] = EXAMPLES[name]
        elif "enum" in each:
            made[name] = each["enum"][0]
        elif "integer" in kinds and "string" not in kinds:
            made[name] = each.get("default", max(1, each.get("minimum", 1)))
        elif "number" in kinds:
            made[name] = each.get("default", 1)
        elif "boolean" in kinds:
            made[name] = False
        else:
            made[name] = "text"
    return {**made, KEY: "text", **fields}


def leaves(value: Any, at: Leaf = ()) -> Iterator[tuple[Leaf, Any]]:
    """Each value that is no object or list, and where it is; also each key of the caller's own."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*at, key))
            if key == KEY:
                yield (*at, key, "is the key"), key
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, (*at, index))
    else:
        yield at, value


def with_leaf(body: Any, at: Leaf, text: str) -> Any:
    changed = copy.deepcopy(body)
    where = changed
    *way, last = at
    if last == "is the key":
        *way, last = way
        for step in way:
            where = where[step]
        where[text] = where.pop(last)
    else:
        for step in way:
            where = where[step]
        where[last] = text
    return changed


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """A request that is accepted as it is. `{port}` in its texts is a number that no other request had. Of what is
    `undone` there can be one only: what was made is removed again."""

    method: str
    path: str
    body: Any
    undone: bool = False


LINES = [
    re.compile(pattern)
    for pattern in (
        r"(frontend|backend) (fe|be|mon|hm)-[0-9a-f]{32}(-[0-9a-z]+)* from balancer-(http|tcp)",
        r"(global|peers balancer|resolvers balancer-wait|defaults balancer-(http|tcp))",
        r"bind (127\.77\.[0-9.]+:[0-9]+ transparent|abns@balancer-[0-9a-f]{32}-[0-9a-f]{32})",
        r"server [0-9a-f]{32} 127\.77\.[0-9.]+:[0-9]+( (check|backup|disabled|verify none|send-proxy(-v2)?"
        r"|(inter|slowstart) [0-9]+m?s|(fall|rise|weight|minconn|maxconn|port) [0-9]+|addr (\[[0-9a-f:]+\]|[0-9.]+)"
        r"|cookie [A-Za-z0-9_.-]+))*",
        r"http-check send meth [A-Z]+ uri /[\x21-\x7e]* ver HTTP/1\.[01]( hdr Host [A-Za-z0-9.-]+)?",
        r"http-check (connect( ssl( sni [A-Za-z0-9.-]+)?| addr abns@\S+)?|expect status [0-9,-]+"
        r"|send meth GET uri-lf /%\[srv_name\])",
        r"tcp-check connect( ssl)?",
        r"option (forwardfor|httpchk|tcp-check|httplog|tcplog|dontlognull|redispatch|idle-close-on-response"
        r"|external-check|allbackups)",
        r"external-check( (path|command) \S+)?|insecure-fork-wanted",
        r"acl l7-[0-9a-f]{32} \S+ -m (str|beg|end|sub|reg)( -i)? -- [\x20-\x7e]+",
        r"acl balancer-allowed src( [0-9a-f.:]+/[0-9]+)+",
        r"tcp-request connection reject( unless balancer-allowed)?|tcp-request inspect-delay [0-9]+m?s",
        r"http-request redirect (location|prefix) [\x21-\x7e]+ code 30[0-9] if( !?l7-[0-9a-f]{32})+",
        r"http-request set-header X-(Forwarded-IP|Client-IP|Real-IP) %\[src\]",
        r"http-request (set-header X-Forwarded-P(ort %\[dst_port\]|roto http)|set-log-level silent|return status [0-9]+"
        r"( if .*srv_is_up.*)?)",
        r"(default_backend|use_backend) be-[0-9a-f]{32}(-[a-z]+)?( if( !?l7-[0-9a-f]{32})+)?",
        r"balance (roundrobin|static-rr|leastconn|source|uri)|hash-type consistent",
        r"mode (http|tcp)|log global|retries 3",
        r"stick(-table type (ipv6|binary len 20) size 100k expire [0-9]+m?s peers balancer| on src"
        r"(,ipmask\([0-9]+,[0-9]+\))?"
        r"| (store-response|match) re[qs]\.cook\([A-Za-z0-9_.-]+\),sha1)",
        r"cookie [A-Za-z0-9_.-]+ insert indirect nocache httponly( maxidle [0-9]+m?s)?",
        r"timeout [a-z-]+ [0-9]+[msh]+|maxconn [0-9]+|hard-stop-after 3600s|load-server-state-from-file global",
        r"stats socket /run/haproxy/balancer\.sock mode 600 level admin user user",
        r"server-state-file /etc/haproxy/haproxy\.cfg\.balancer-states",
        r"acl balancer-(counts var\(proc\.balancer_began\) -m found|handed int\(1\),in_table\(balancer/handed\)"
        r"|young date\(0,ms\),sub\(proc\.balancer_began\) lt 1000)",
        r"(http-request|tcp-request content) (set-var\(proc\.balancer_began\) date\(0,ms\) unless balancer-counts"
        r"|track-sc2 int\(1\) table balancer/handed unless balancer-young)",
        r"http-request do-resolve\(txn\.balancer_wait,balancer-wait,ipv4\) str\(balancer\.invalid\) if balancer-young "
        r"!balancer-handed|tcp-request content accept if !balancer-young or balancer-handed or WAIT_END",
        r"table handed type integer size 1 expire 24d|nameserver nobody 127\.[0-9.]+:[0-9]+|resolve_retries 1"
        r"|hold (timeout|other|refused|nx) 0",
        r"peer \$HAPROXY_LOCALPEER 127\.[0-9.]+:[0-9]+",
    )
]


class TestHostileText(LbaasCase):
    worker = False
    device_type = "HAPROXY"
    # All tests together: each field meets every text once, wherever it is met first.
    tried: ClassVar[set[tuple[object, ...]]] = set()

    def setUp(self) -> None:
        self.directory = Path(self.enterContext(tempfile.TemporaryDirectory(prefix="balancer-test-")))
        self.host = Host(self.directory / "host")
        self.addCleanup(self.host.stop)
        self.host.start()
        if not self.host.isolated:
            self.skipTest("the login shell of a device can be changed by root only")
        self.commands = self.host.root / "etc" / "commands"
        self._write_down_commands()
        self.written = self.host.read_config()
        self.numbers = itertools.count(1)
        self.asked: Counter[int] = Counter()
        self.device_values: dict[str, set[str]] = {}
        super().setUp()
        _, self.own_subnet = self.add_subnet("127.77.0.0/16", "127.77.3.1", "127.77.3.250", self.network_id)

    def _write_down_commands(self) -> None:
        shell = self.host.root / "etc" / "writing-shell"
        shell.write_text("#!/bin/bash\nprintf '%s\\0' \"$@\" '' >>/etc/commands\nexec /bin/bash \"$@\"\n")
        shell.chmod(0o755)
        self.commands.touch()
        self.commands.chmod(0o666)
        accounts = self.host.root / "etc" / "passwd"
        lines = [
            line.replace("/bin/bash", "/etc/writing-shell") if line.startswith(f"{self.host.user}:") else line
            for line in accounts.read_text().splitlines(keepends=True)
        ]
        accounts.write_text("".join(lines))

    def register(self, **fields: Any) -> str:
        own = {
            "ip": self.host.address,
            "port": str(self.host.ssh_port),
            "user": self.host.user,
            "password": self.host.password,
            "remote_config_path": self.host.config_path,
            "socket": self.host.socket,
        }
        return super().register(**{**own, **fields})

    # --- requests ---------------------------------------------------------------------

    def shots(self, group: str) -> list[Shot]:
        node = example(schemas.NODE)
        another = {**node, "cookie": "another"}
        vip = example(schemas.VIRTUAL_IP, address=VIRTUAL_IP_ADDRESS, port="{port}")
        check = example(schemas.HEALTH_MONITORING, type="HTTP")
        sticky = example(schemas.SESSION_PERSISTENCE, type="HTTP_COOKIE")
        balancer = example(schemas.LOAD_BALANCER, protocol="HTTP", device_id=self.device_id)
        children = {"nodes": [node], "virtualIps": [vip], "healthMonitor": [check], "sessionPersistence": [sticky]}
        whole = {**balancer, **children}
        there = self.expect(202, "POST", "/foo/loadbalancers", self.numbered(whole))["loadbalancer"]["id"]
        own = f"/foo/loadbalancers/{there}"
        details = self.get(f"{own}/details")
        other = self.register(name="other", remote_config_path="/etc/haproxy/other.cfg", type="HAPROXY")
        device = example(schemas.DEVICE, name="d", type="HAPROXY", port=str(self.host.ssh_port))
        changed_vip = f"{own}/virtualIps/{details['virtualIps'][0]['id']}"
        groups = {
            "parts": [
                Shot(method="PUT", path=own, body=example(schemas.LOAD_BALANCER, protocol="HTTP")),
                Shot(method="POST", path=f"{own}/nodes?dry_run=1", body={"nodes": [another]}),
                Shot(method="PUT", path=f"{own}/nodes?dry_run=1", body={"node": another}),
                Shot(method="PUT", path=f"{own}/nodes/{details['nodes'][0]['id']}", body=node),
                Shot(method="POST", path=f"{own}/virtualIps?dry_run=1", body={"virtualIp": vip}),
                Shot(method="PUT", path=changed_vip, body=vip),
            ],
            "others": [
                Shot(method="POST", path=f"{own}/healthMonitoring?dry_run=1", body={"healthMonitoring": check}),
                Shot(method="PUT", path=f"{own}/healthMonitoring?dry_run=1", body={"healthMonitoring": check}),
                Shot(method="POST", path=f"{own}/sessionPersistence?dry_run=1", body=sticky),
                Shot(method="POST", path="/devices?dry_run=1", body=device),
                Shot(method="PUT", path=f"/devices/{other}", body=device),
                Shot(method="PUT", path="/foo/quotas", body={"quota": {"node": -1}}),
            ],
            "whole": [Shot(method="POST", path="/foo/loadbalancers", body=whole)],
        }
        if group == "others":
            # There can be one.
            self.expect(204, "DELETE", f"{own}/sessionPersistence/{details['sessionPersistence'][0]['id']}")
        return groups[group]

    def lbaas_shots(self, group: str) -> list[Shot]:
        said = {"name": "n", "description": "d", "tags": ["t"]}
        member = {
            "name": "n",
            "tags": ["t"],
            "address": "127.77.2.1",
            "protocol_port": "{port}",
            "monitor_address": "127.77.2.2",
        }
        check = {
            "name": "n",
            "tags": ["t"],
            "type": "HTTP",
            "delay": 3600,
            "timeout": 3,
            "max_retries": 3,
            "http_method": "GET",
            "url_path": "/",
            "expected_codes": "200",
            "http_version": 1.1,
            "domain_name": "example.org",
        }
        rule = {"type": "HEADER", "compare_type": "EQUAL_TO", "key": "k", "value": "v", "tags": ["t"]}
        to_url = {**said, "action": "REDIRECT_TO_URL", "redirect_url": "http://example.org/"}
        to_prefix = {**said, "action": "REDIRECT_PREFIX", "redirect_prefix": "http://example.org"}
        persistence = {"type": "APP_COOKIE", "cookie_name": "c"}
        pool = {**said, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "session_persistence": persistence}
        listener = {
            **said,
            "protocol": "HTTP",
            "protocol_port": "{port}",
            "insert_headers": {"X-Forwarded-Port": "true"},
            "allowed_cidrs": ["127.0.0.0/8"],
        }
        full_pool = {**pool, "members": [member], "healthmonitor": check}
        policies = [{**to_url, "rules": [rule]}, {**to_prefix, "rules": [rule]}]
        vip = {"vip_subnet_id": self.own_subnet, "vip_address": "127.77.3.10", "provider": "HAPROXY"}
        whole = {
            **said,
            **vip,
            "project_id": "foo",
            "listeners": [{**listener, "default_pool": full_pool, "l7policies": policies}],
        }
        made = self.expect(201, "POST", f"{V2}/loadbalancers", self.numbered({"loadbalancer": whole}))["loadbalancer"]
        (a_listener,), (a_pool,) = made["listeners"], made["pools"]
        a_policy = a_listener["l7policies"][0]
        paths = {
            "listener": f"{V2}/listeners/{a_listener['id']}",
            "pool": f"{V2}/pools/{a_pool['id']}",
            "member": f"{V2}/pools/{a_pool['id']}/members/{a_pool['members'][0]['id']}",
            "healthmonitor": f"{V2}/healthmonitors/{a_pool['healthmonitor']['id']}",
            "l7policy": f"{V2}/l7policies/{a_policy['id']}",
            "rule": f"{V2}/l7policies/{a_policy['id']}/rules/{a_policy['rules'][0]['id']}",
        }

        def without(body: Mapping[str, Any], *names: str) -> dict[str, Any]:
            return {name: value for name, value in body.items() if name not in names}

        changes: dict[str, Any] = {
            "listener": without(listener, "protocol", "protocol_port"),
            "pool": without(pool, "protocol"),
            "member": without(member, "address", "protocol_port"),
            "healthmonitor": without(check, "type"),
            "l7policy": to_url,
            "rule": rule,
        }
        ids = {"loadbalancer_id": made["id"]}
        members = f"{V2}/pools/{a_pool['id']}/members"
        redirecting = {**to_prefix, "listener_id": a_listener["id"]}
        of_pool = {**check, "pool_id": self.add_pool(loadbalancer_id=made["id"])["id"]}
        groups = {
            "changes": [
                Shot(method="PUT", path=f"{V2}/loadbalancers/{made['id']}", body={"loadbalancer": said}),
                *(Shot(method="PUT", path=paths[name], body={name: body}) for name, body in changes.items()),
                Shot(method="PUT", path=paths["l7policy"], body={"l7policy": to_prefix}),
                Shot(method="PUT", path=members, body={"members": [member]}),
            ],
            "objects": [
                Shot(method="POST", path=f"{V2}/listeners", body={"listener": {**listener, **ids}}),
                Shot(method="POST", path=f"{V2}/pools", body={"pool": {**pool, **ids}}),
                Shot(method="POST", path=members, body={"member": member}),
                Shot(method="POST", path=f"{V2}/healthmonitors", body={"healthmonitor": of_pool}, undone=True),
                Shot(method="POST", path=f"{V2}/l7policies", body={"l7policy": redirecting}),
                Shot(method="POST", path=f"{V2}/l7policies/{a_policy['id']}/rules", body={"rule": rule}),
                Shot(method="POST", path=f"{V2}/loadbalancers", body={"loadbalancer": whole}),
            ],
        }
        return groups[group]

    def lbaas_v1_shots(self) -> list[Shot]:
        pool = {
            "name": "n",
            "description": "d",
            "protocol": "HTTP",
            "lb_method": "ROUND_ROBIN",
            "subnet_id": self.own_subnet,
            "provider": "HAPROXY",
        }
        vip = {
            "name": "n",
            "description": "d",
            "connection_limit": 5,
            "session_persistence": {"type": "APP_COOKIE", "cookie_name": "c"},
        }
        check = {
            "type": "HTTP",
            "delay": 3600,
            "timeout": 3,
            "max_retries": 3,
            "http_method": "GET",
            "url_path": "/",
            "expected_codes": "200",
        }

        def made(path: str, key: str, **fields: Any) -> str:
            object_id: str = self.expect(201, "POST", f"{LB}/{path}", self.numbered({key: fields}))[key]["id"]
            return object_id

        pool_id, monitor_id = made("pools", "pool", **pool), made("health_monitors", "health_monitor", **check)
        where = {"pool_id": pool_id, "protocol": "HTTP", "protocol_port": "{port}", "subnet_id": self.own_subnet}
        vip_id = made("vips", "vip", **where, **vip)
        made(f"pools/{pool_id}/health_monitors", "health_monitor", id=monitor_id)
        member = {"pool_id": pool_id, "address": "127.77.2.1", "protocol_port": "{port}"}
        another = {**where, **vip, "pool_id": made("pools", "pool", **pool)}
        changed = {name: pool[name] for name in ("name", "description", "lb_method")}
        checked = {name: value for name, value in check.items() if name != "type"}
        return [
            Shot(method="POST", path=f"{LB}/pools", body={"pool": pool}),
            Shot(method="PUT", path=f"{LB}/pools/{pool_id}", body={"pool": changed}),
            Shot(method="POST", path=f"{LB}/vips", body={"vip": another}, undone=True),
            Shot(method="POST", path=f"{LB}/vips", body={"vip": {**another, "address": "127.77.3.200"}}, undone=True),
            Shot(method="PUT", path=f"{LB}/vips/{vip_id}", body={"vip": vip}),
            Shot(method="POST", path=f"{LB}/members", body={"member": member}),
            Shot(method="POST", path=f"{LB}/health_monitors", body={"health_monitor": check}, undone=True),
            Shot(method="PUT", path=f"{LB}/health_monitors/{monitor_id}", body={"health_monitor": checked}),
        ]

    def network_shots(self) -> list[Shot]:
        """Networks, flavors, zones and the rest that is no load balancer."""
        # Something to be deployed.
        self.add_listener(self.add_balancer(vip_subnet_id=self.own_subnet))
        said = {"name": "n", "description": "d"}
        self.repository.heartbeat("one:-:1", 600)
        agent = self.get("/v2.0/agents")["agents"][0]["id"]
        subnet = {
            **said,
            "gateway_ip": "127.78.0.1",
            "allocation_pools": [{"start": "127.78.0.2", "end": "127.78.0.99"}],
            "device_ids": [self.device_id],
            "interface": "eth0",
        }
        new = {**subnet, "network_id": self.network_id, "project_id": "foo", "cidr": "127.78.0.0/16"}
        _, another = self.add_subnet("127.79.0.0/16", "127.79.0.1", "127.79.0.250", self.network_id)
        changed = {
            **subnet,
            "gateway_ip": "127.79.0.251",
            "allocation_pools": [{"start": "127.79.0.2", "end": "127.79.0.99"}],
        }
        fixed = {"subnet_id": another, "ip_address": "127.79.0.5"}
        port = {**said, "network_id": self.network_id, "project_id": "foo", "fixed_ips": [fixed]}
        shots = [
            Shot(method="POST", path="/v2.0/networks", body={"network": {**said, "project_id": "foo"}}, undone=True),
            Shot(method="PUT", path=f"/v2.0/networks/{self.network_id}", body={"network": said}),
            Shot(method="POST", path="/v2.0/subnets", body={"subnet": new}, undone=True),
            Shot(method="PUT", path=f"/v2.0/subnets/{another}", body={"subnet": changed}),
            Shot(method="POST", path="/v2.0/ports", body={"port": port}, undone=True),
            Shot(method="PUT", path=f"/v2.0/agents/{agent}", body={"agent": {"description": "d"}}),
            Shot(method="PUT", path="/v2.0/quotas/foo", body={"quota": {"vip": -1}}),
            Shot(method="PUT", path=f"{V2}/quotas/foo", body={"quota": {"pool": -1}}),
        ]
        for kind, key, suffix in (("flavor", "flavor", ""), ("availabilityzone", "availability_zone", "_")):
            data = {"name": "n", "provider_name": "HAPROXY", f"{key}_data": "{}"}
            profile = self.post(f"{kind}profiles", f"{key}{suffix}profile", **data)
            choice = {**said, f"{key}_profile_id": profile["id"]}
            made = self.post(f"{kind}s", key, **{**choice, "name": "there"})
            there = f"{V2}/{kind}s/{made.get('id', 'there')}"
            shots += [
                Shot(method="POST", path=f"{V2}/{kind}profiles", body={f"{key}{suffix}profile": data}, undone=True),
                Shot(method="POST", path=f"{V2}/{kind}s", body={key: choice}, undone=True),
                Shot(method="PUT", path=there, body={key: {"description": "d"}}),
            ]
        return shots

    def numbered(self, body: Any) -> Any:
        """With a port that nobody else has."""
        return json.loads(json.dumps(body).replace('"{port}"', str(1024 + next(self.numbers) % 60000)))

    def shoot(self, shot: Shot, body: Any) -> Answer:
        answer = self.call(shot.method, shot.path, self.numbered(body))
        self.asked[answer.status] += 1
        told = (answer.json, shot.method, shot.path, body)
        self.assertIn(answer.status, (200, 201, 202, 204, 400, 403, 404, 409, 501), told)
        self.assertNotIn("Traceback", str(answer.json))
        if shot.undone and answer.status == 201:
            (made,) = answer.json.values()
            # Zones have a name instead.
            gone = self.call("DELETE", f"{shot.path}/{quote(made.get('id') or made['name'], safe='')}")
            self.assertEqual(204, gone.status, (gone.json, told))
        return answer

    # --- the test ------------------------------------------------------------------------

    def test_nodes_and_virtual_ips(self) -> None:
        self.check(self.shots("parts"))

    def test_checks_persistence_and_devices(self) -> None:
        self.check(self.shots("others"))
        self.check_devices()

    def test_whole_load_balancers(self) -> None:
        self.check(self.shots("whole"), marked={"http-check"})

    def test_paths_and_queries(self) -> None:
        shots = [*self.shots("parts"), *self.lbaas_shots("changes")]
        self.through_paths(shots)
        self.check([])

    def test_lbaas_changes(self) -> None:
        self.check(self.lbaas_shots("changes"))

    def test_lbaas_objects(self) -> None:
        self.check(self.lbaas_shots("objects"), marked={"http-check", "acl"})

    def test_lbaas_v1(self) -> None:
        self.check(self.lbaas_v1_shots())

    def test_networks_and_choices(self) -> None:
        self.check(self.network_shots())

    def check(self, shots: list[Shot], marked: Collection[str] = ()) -> None:
        """`marked`: the lines where accepted text has come to stand in the file."""
        self.assertGreaterEqual(len(STRINGS), 500)
        started, fields = time.monotonic(), 0
        for shot in shots:
            self.assertLess(self.shoot(shot, shot.body).status, 300, shot)
            fields += self.through_fields(shot)
        sent = time.monotonic() - started
        self.deploy()
        self.check_file(marked)
        self.check_commands()
        self.check_canaries()
        print(
            f"{len(STRINGS)} strings, {fields} fields of {len(shots)} requests, {sum(self.asked.values())} requests in "
            f"{sent:.0f} s ({', '.join(f'{status}: {count}' for status, count in sorted(self.asked.items()))})"
        )

    def through_fields(self, shot: Shot) -> int:
        """Returns how many fields there were. Those that take any text are tried together."""
        free, seen = [], 0
        for at, value in leaves(shot.body):
            seen += 1
            if self.shoot(shot, with_leaf(shot.body, at, HARMLESS)).status < 300:
                free.append(at)
                continue
            dialect = next((each for each in (f"{V2}/", f"{LB}/") if shot.path.startswith(each)), "")
            field = (dialect, at[-1] if isinstance(at[-1], str) else at[-2], value)
            new = isinstance(value, str) and value != "{port}" and field not in self.tried
            self.tried.add(field)
            for hostile in STRINGS if new else FEWER_STRINGS:
                if value == VIRTUAL_IP_ADDRESS and hostile in EVERYWHERE:
                    continue
                answer = self.shoot(shot, with_leaf(shot.body, at, hostile))
                if answer.status < 300 and shot.path.startswith("/devices"):
                    self.device_values.setdefault(str(at[-1]), set()).add(hostile)
        grows = shot.method == "POST" and shot.path.startswith((V2, LB)) and not shot.path.endswith("loadbalancers")
        for hostile in GROWING_STRINGS if grows else FREE_STRINGS:
            body = shot.body
            # The keys last: their values are found by them.
            for at in sorted(free, key=lambda each: each[-1] == "is the key"):
                body = with_leaf(body, at, hostile)
            if self.shoot(shot, body).status >= 300:
                for at in free:
                    self.shoot(shot, with_leaf(shot.body, at, hostile))
        return seen

    def through_paths(self, shots: list[Shot]) -> None:
        """Every part of a path that is no fixed word, and the values of queries."""
        for shot in shots:
            parts = shot.path.partition("?")[0].split("/")
            for index, part in enumerate(parts):
                if part != "foo" and not re.fullmatch("[0-9a-f-]{32,36}", part):
                    continue
                for hostile in PART_STRINGS:
                    path = "/".join([*parts[:index], quote(hostile, safe=""), *parts[index + 1 :]])
                    answer = self.call("DELETE" if index == len(parts) - 1 else shot.method, path, {})
                    self.asked[answer.status] += 1
                    self.assertIn(answer.status, (200, 202, 204, 400, 403, 404, 405, 409), (path, answer.json))
        details = shots[0].path
        for path in (
            *("/devices?limit={}", "/devices?marker={}", f"/devices/{self.device_id}/info?refresh={{}}"),
            *(f"{details}?dry_run={{}}", f"{details}/stats?refresh={{}}", "/foo/loadbalancers/find_for_VM/{}"),
            *(f"{V2}/listeners?{query}={{}}" for query in ("name", "fields", "sort", "marker", "limit", "tags", "id")),
            *(f"{V2}/listeners?{{}}=1", f"{V2}/loadbalancers?project_id={{}}"),
        ):
            for hostile in PART_STRINGS:
                answer = self.call("GET", path.format(quote(hostile, safe="")))
                self.asked[answer.status] += 1
                self.assertIn(answer.status, (200, 400, 404, 405), (path, hostile, answer.json))

    def deploy(self) -> None:
        options = self.settings.worker
        leases = SqlLeases(self.engine, make_owner(), options.lease_seconds)
        reconciler = Reconciler(
            self.repository,
            leases,
            self.registry.driver_for,
            lease_seconds=options.lease_seconds,
            observe_interval=options.observe_interval,
            retry_first=options.retry_first,
            retry_max=options.retry_max,
        )
        sentence = reconciler.reconcile(self.device_id)
        with self.repository.read() as tx:
            device = tx.device(self.device_id)
        self.assertEqual((None, device.desired_revision), (device.error, device.applied_revision), sentence)

    def check_file(self, marked: Collection[str]) -> None:
        """What was written by hand is what it was; each line of ours is one that we write."""
        parts = file.split(self.host.read_config())
        self.assertEqual(self.written, parts.hand_written)
        assert parts.block is not None
        text = parts.block.decode("ascii")
        lines = [" ".join(found) for line in text.split("\n") if (found := words(line))]
        strange = {line for line in lines if not any(pattern.fullmatch(line) for pattern in LINES)}
        self.assertEqual(set(), strange)
        there = {line.split()[0] for line in lines if MARK in line}
        self.assertLessEqual(set(marked), there)
        self.assertLessEqual(there, {"http-check", "acl", "http-request", "server", "stick", "cookie"})

    def check_commands(self) -> None:
        commands = self.commands.read_text().split("\0")
        self.assertIn("-c", commands)
        spoken = "\n".join(commands)
        for word in (MARK, CANARY, HARMLESS):
            self.assertNotIn(word, spoken)

    def check_devices(self) -> None:
        """Text that was accepted for a device itself is used: paths that are not there, users that are none."""
        meant = {"remote_config_path", "socket", "interface", "user", "ip", "port"}
        self.assertLessEqual(set(self.device_values), meant)
        driver = HAProxyDriver(SETTINGS)
        self.addCleanup(driver.close)
        tried = 0
        for name, field in (("remote_config_path", "config_path"), ("socket", "socket"), ("interface", "interface")):
            for text in sorted(self.device_values.get(name, ())):
                device = driver.validate_device(device_of(self.host, **{field: text}))
                driver.observe(device)
                tried += 1
                self.assertIsNone(re.search(r"[^A-Za-z0-9_.+/-]", text), (name, text))
        print(f"{tried} devices with accepted text")

    def check_canaries(self) -> None:
        places = ("/etc", "/run", "/tmp", "/root", "/")
        found = self.host.run(["find", *places, "-xdev", "-maxdepth", "3", "-name", f"*{CANARY}*"])
        self.assertEqual(b"", found.stdout)
        for directory in (Path.cwd(), self.directory, Path(os.path.expanduser("~"))):
            self.assertEqual([], list(directory.glob(f"*{CANARY}*")))
