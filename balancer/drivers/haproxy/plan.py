"""What must be done to bring a new file into service. Pure."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from balancer.core.model import Bind, Device, DeviceSpec, Preview
from balancer.drivers.haproxy import live, render
from balancer.drivers.haproxy.file import diff, parse
from balancer.drivers.haproxy.names import WILDCARD

ASKED_FOR = "an administrator asked for it"


class Action(StrEnum):
    """Values are those of the remote step. LIVE: HAProxy was told over its socket and is not reloaded."""

    NOOP = "noop"
    LIVE = "live"
    RELOAD = "reload"
    START = "start"
    STOP = "stop"
    INSTALL = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`reason` completes "HAProxy was …ed because"; with LIVE it shows the commands of `change`."""

    action: Action
    reason: str
    change: live.Change | None = None


def plan(
    *,
    old: bytes,
    new: bytes,
    has_block: bool,
    verified: bool,
    running: bool,
    able: live.Abilities,
    moves: bool = False,
    leftovers: bool = False,
    distrust: str = "",
) -> Plan:
    """`old` is the file as it is, `new` as it shall be; `has_block` whether `new` has anything of ours.

    `verified`: the block in `old` was seen serving. `running`: a HAProxy runs with this file, that can do what `able`
    says. `moves`: addresses are to be added or removed. `leftovers`: files of a deployment that was cut off lie beside
    it. `distrust`: why HAProxy may run something else than `old`, "" when it does not.
    """
    only = "only addresses change" if moves else "what a deployment that was cut off left is removed"
    beside = Plan(action=Action.INSTALL, reason=only)
    if not running:
        if has_block:
            return Plan(action=Action.START, reason="HAProxy is not running")
        if old == new and (moves or leftovers):
            return beside
        if old == new:
            return Plan(action=Action.NOOP, reason="nothing to serve, and HAProxy is not running")
        return Plan(action=Action.INSTALL, reason="HAProxy is not running, and nothing is left to serve")
    if not verified and not distrust:
        distrust = "the configuration on the host was never seen serving"
    if distrust:
        return Plan(action=Action.RELOAD, reason=distrust)
    if old != new:
        found = live.difference(old, new, able)
        if isinstance(found, str):
            return Plan(action=Action.RELOAD, reason=found)
        return Plan(action=Action.LIVE, reason=live.spoken(found), change=found)
    if moves or leftovers:
        return beside
    return Plan(action=Action.NOOP, reason="the configuration is what it shall be")


def reload_interval(old_workers: int, *, free: int, longest: float) -> float:
    """Seconds from one reload to the next. Each leaves a worker that serves its connections to their end, for up to
    `hard-stop-after`: with many of them reloads become rarer, or the device would run out of memory."""
    if old_workers <= free:
        return 0.0
    return min(longest, 2.0 ** min(old_workers - free - 1, 30))


# --- what would be done --------------------------------------------------------

_WOULD = {
    Action.NOOP: "nothing to do: {}",
    Action.LIVE: "HAProxy would be told over its socket, without a reload: {}",
    Action.RELOAD: "HAProxy would be reloaded because {}",
    Action.START: "HAProxy would be started because {}",
    Action.STOP: "HAProxy would be stopped because {}",
    Action.INSTALL: "the configuration would be installed without a reload: {}",
}


def preview(spec: DeviceSpec, before: Device, *, hard_stop_after: int = render.HARD_STOP_AFTER) -> Preview:
    """`balancer.core.ports.Driver.preview`. The head is shown as it is before it gives way to hand-written settings."""
    rendered = render.candidate(spec).blocks
    old_blocks = dict(spec.accepted_blocks)
    new_blocks = {key: text for key, text in old_blocks.items() if key not in spec.removed} | dict(rendered)
    texts = {key: (old_blocks.get(key, ""), new_blocks.get(key, "")) for key in sorted(old_blocks | new_blocks)}
    heads = [
        render.head(device, blocks.values(), hard_stop_after=hard_stop_after) if any(blocks.values()) else ""
        for device, blocks in ((before, old_blocks), (spec.device, new_blocks))
    ]
    texts = {"": (heads[0], heads[1]), **texts}
    changed = {key: (old, new) for key, (old, new) in texts.items() if old != new}
    seen = before.observation
    planned = plan(
        old="".join(old for old, _ in changed.values()).encode(),
        new="".join(new for _, new in changed.values()).encode(),
        has_block=any(new_blocks.values()),
        verified=True,
        running=seen is None or bool(seen.facts.get("running", True)),
        able=live.abilities(None if seen is None else seen.version),
        distrust=ASKED_FOR if spec.device.resyncing else "",
    )
    return Preview(
        plan={Action.NOOP: "noop", Action.LIVE: "runtime"}.get(planned.action, "reload"),
        sentence=_WOULD[planned.action].format(planned.reason),
        diffs={key: _labelled_diff(key or "head", old, new) for key, (old, new) in changed.items()},
    )


def _labelled_diff(name: str, old: str, new: str) -> str:
    return diff(old.encode(), new.encode(), labels=(f"before/{name}", f"after/{name}"))


# --- ports that others hold --------------------------------------------------


def port_conflicts(
    *, old: bytes, blocks: Mapping[str, str], listening: Sequence[Bind], running: bool
) -> dict[str, str]:
    """Load balancers whose new addresses another program on the host holds: id -> sentence.

    What `old` binds is HAProxy's own while it runs.
    """
    lines = frozenset(old.decode("utf-8", "replace").split("\n")) if running else frozenset()
    new = {
        load_balancer_id: [bind for line, binds in _binds(text) if line not in lines for bind in binds]
        for load_balancer_id, text in blocks.items()
    }
    if not any(_collide(wanted, each) for binds in new.values() for wanted in binds for each in listening):
        # Whose sockets they are takes long to find out with many load balancers.
        return {}
    own = parse(old).binds if running else ()
    others = [bind for bind in listening if not any(_within(bind, each) for each in own)]
    found = {}
    for load_balancer_id, binds in new.items():
        for wanted in binds:
            if any(_within(wanted, each) for each in own):
                continue
            holder = next((each for each in others if _collide(wanted, each)), None)
            if holder is not None:
                found[load_balancer_id] = (
                    f"port {wanted.first_port} at {_spoken(wanted.address)} is in use on the device: another program "
                    f"listens at {_spoken(holder.address)}:{holder.first_port}. Stop it there, or choose another port"
                )
                break
    return found


@functools.lru_cache(maxsize=20_000)
def _binds(text: str) -> tuple[tuple[str, tuple[Bind, ...]], ...]:
    """The bind lines of a load balancer's text, which stays the same as long as nobody changes it."""
    return tuple((line, _line_binds(line)) for line in text.split("\n") if line.lstrip().startswith("bind "))


@functools.lru_cache(maxsize=20_000)
def _line_binds(line: str) -> tuple[Bind, ...]:
    return parse(f"frontend x\n{line}\n".encode()).binds


def hand_written_conflicts(
    *, hand_written: Sequence[Bind], block: str, blocks: Mapping[str, str]
) -> dict[str, tuple[Bind, bool]]:
    """Load balancers that listen where a hand-written section does, which HAProxy allows and then splits the traffic
    between the two: id -> the first bind that the present `block` of the file has not, or else the first, and whether
    it has it already."""
    found: dict[str, tuple[Bind, bool]] = {}
    present = frozenset(block.split("\n"))
    for load_balancer_id, text in blocks.items() if hand_written else ():
        for line in text.split("\n"):
            if not line.lstrip().startswith("bind "):
                continue
            for wanted in _line_binds(line):
                # What is new counts, whatever else is there already.
                known = load_balancer_id in found and (line in present or not found[load_balancer_id][1])
                if not known and any(_within(wanted, each) for each in hand_written):
                    found[load_balancer_id] = wanted, line in present
    return found


def say_hand_written(bind: Bind) -> str:
    return f"port {bind.first_port} at {_spoken(bind.address)} is used by a hand-written section of the configuration"


def _within(inner: Bind, outer: Bind) -> bool:
    return (
        inner.address == outer.address and outer.first_port <= inner.first_port and inner.last_port <= outer.last_port
    )


def _collide(wanted: Bind, other: Bind) -> bool:
    if wanted.last_port < other.first_port or other.last_port < wanted.first_port:
        return False
    if ":" in wanted.address:
        return other.address in (wanted.address, "::") or (wanted.address == "::" and ":" in other.address)
    if other.address == "::":
        # A socket for every IPv6 address usually takes IPv4 as well.
        return True
    return ":" not in other.address and (wanted.address == other.address or WILDCARD in (wanted.address, other.address))


def _spoken(address: str) -> str:
    return "every address" if address == WILDCARD else address


# --- finding whom HAProxy means when it does not say -------------------------


def halves(ids: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """For a bisection."""
    everything = tuple(ids)
    middle = len(everything) // 2
    return everything[:middle], everything[middle:]
