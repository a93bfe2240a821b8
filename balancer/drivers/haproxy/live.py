"""Which changes of a configuration a running HAProxy takes over its stats socket, and the commands for them. Pure.

The servers of our backends are read back from the text. Of a server that stays, the old one with everything overwritten
that can be changed while HAProxy runs must be the new one; servers may come and go where HAProxy allows it. Whatever
else differs needs a reload.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from balancer.drivers.haproxy.host import version_number
from balancer.drivers.haproxy.names import endpoint

# Beyond that a reload is over sooner.
_MOST_COMMANDS = 3000

_SECTION = re.compile(r"^(?=[^\s])", re.MULTILINE)
_BACKEND = re.compile(r"backend (be-[0-9a-f]{32}(?:-[a-z]+)?) from balancer-[a-z]+")
_SERVER = re.compile(r"    server ([0-9a-f]{32}) \[?([0-9a-f.:]+?)\]?:([0-9]{1,5})((?: [][A-Za-z0-9_.:-]+)*)")
_FLAGS = frozenset({"check", "backup", "disabled", "send-proxy", "send-proxy-v2"})
_VALUED = frozenset(
    {"inter", "fall", "rise", "addr", "port", "verify", "cookie", "weight", "minconn", "maxconn", "slowstart"}
)
# In `show servers state`: maintenance that was asked for over the socket, or that a server was added in.
_FORCED_MAINTENANCE = 0x01


# --- what a version can do ---------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """`change`: weight, state, address, most connections. `add`: servers come and go, also ones with health checks."""

    change: bool = False
    add: bool = False
    add_with_cookie: bool = False


_SINCE: tuple[tuple[tuple[int, int], Abilities], ...] = (
    ((3, 0), Abilities(change=True, add=True, add_with_cookie=True)),
    ((2, 6), Abilities(change=True, add=True)),
)


def abilities(version: str | None) -> Abilities:
    """Of HAProxy in that version; of an unknown or older one, none: it is reloaded."""
    number = version_number(version)
    return next((able for since, able in _SINCE if number is not None and number >= since), Abilities())


# --- what to do --------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """How HAProxy must show a server afterwards."""

    address: str
    port: int
    weight: int
    maintenance: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """`phases`: commands sent together, each phase only after the one before was accepted. `leaving`:
    ``backend/server`` of those to be deleted at the end, all in maintenance by then. `expected`: ``backend/server`` to
    its state afterwards."""

    phases: tuple[tuple[str, ...], ...]
    leaving: tuple[str, ...]
    expected: Mapping[str, State]

    @property
    def commands(self) -> tuple[str, ...]:
        return (*(each for phase in self.phases for each in phase), *(f"del server {each}" for each in self.leaving))


def difference(old: bytes, new: bytes, able: Abilities) -> Change | str:
    """How a HAProxy that runs the file `old` comes to run `new` without a reload, or why it cannot."""
    before, after = (_SECTION.split(text.decode("latin-1")) for text in (old, new))
    if len(before) != len(after):
        return "the configuration changed"
    made = _Commands(able)
    try:
        for was, now in zip(before, after, strict=True):
            if was != now:
                made.backend(_backend(was), _backend(now))
    except _NeedsReload as reason:
        return str(reason)
    return made.change()


def spoken(change: Change, most: int = 5) -> str:
    """Its commands, the first ones of many."""
    commands = change.commands
    more = f" and {len(commands) - most} more" if len(commands) > most else ""
    return f"`{'`, `'.join(commands[:most])}`{more}"


class _NeedsReload(Exception):
    """Completes "HAProxy is reloaded because"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Server:
    """`fixed` are the words that cannot be changed while HAProxy runs."""

    address: str
    port: int
    weight: int = 1
    maxconn: int | None = None
    disabled: bool = False
    fixed: tuple[str, ...] = ()

    @property
    def state(self) -> State:
        return State(address=self.address, port=self.port, weight=self.weight, maintenance=self.disabled)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Backend:
    """`frame`: all its lines that are no server."""

    name: str
    frame: tuple[str, ...]
    servers: Mapping[str, _Server]

    def has(self, line: str) -> bool:
        return f"    {line}" in self.frame


def _backend(text: str) -> _Backend:
    lines = text.splitlines()
    match = _BACKEND.fullmatch(lines[0]) if lines else None
    if match is None:
        raise _NeedsReload("the configuration changed")
    frame, servers = [], {}
    for line in lines:
        server = _SERVER.fullmatch(line)
        if server is None:
            frame.append(line)
        else:
            servers[server[1]] = _server(server[2], int(server[3]), server[4].split())
    return _Backend(name=match[1], frame=tuple(frame), servers=servers)


def _server(address: str, port: int, words: list[str]) -> _Server:
    found: dict[str, str] = {}
    fixed: list[str] = []
    rest = iter(words)
    for word in rest:
        value = next(rest, "") if word in _VALUED else ""
        if word in ("weight", "maxconn", "disabled"):
            found[word] = value
        elif word in _FLAGS or value:
            fixed += [word, value] if value else [word]
        else:
            raise _NeedsReload(f"a server has the setting {word}")
    if not all(found[each].isdigit() for each in ("weight", "maxconn") if each in found):
        raise _NeedsReload("the settings of a server are not understood")
    return _Server(
        address=address,
        port=port,
        weight=int(found.get("weight", 1)),
        maxconn=int(found["maxconn"]) if "maxconn" in found else None,
        disabled="disabled" in found,
        fixed=tuple(fixed),
    )


class _Commands:
    """Collects commands. What takes traffic comes before what gives it up, so that somebody serves at any time."""

    def __init__(self, able: Abilities) -> None:
        self._able = able
        self._adding: list[str] = []
        self._taking: list[str] = []
        self._giving_up: list[str] = []
        self._leaving: list[str] = []
        self._expected: dict[str, State] = {}

    def change(self) -> Change | str:
        phases = tuple(tuple(each) for each in (self._adding, self._taking, self._giving_up) if each)
        made = Change(phases=phases, leaving=tuple(self._leaving), expected=self._expected)
        if len(made.commands) > _MOST_COMMANDS:
            return "so much changed that a reload is sooner over"
        return made

    def backend(self, old: _Backend, new: _Backend) -> None:
        if not self._able.change:
            raise _NeedsReload("this version of HAProxy takes no changes while it runs")
        if (old.name, old.frame) != (new.name, new.frame):
            raise _NeedsReload("the configuration changed")
        if [each for each in old.servers if each in new.servers] != [
            each for each in new.servers if each in old.servers
        ]:
            raise _NeedsReload("the order of servers changed")
        for name, server in new.servers.items():
            key = f"{new.name}/{name}"
            if name not in old.servers:
                self._add(key, server, new)
            elif server != old.servers[name]:
                self._alter(key, old.servers[name], server, new)
        for name, server in old.servers.items():
            if name not in new.servers:
                self._remove(f"{old.name}/{name}", server, old)

    def _alter(self, key: str, old: _Server, new: _Server, backend: _Backend) -> None:
        changed = replace(
            old,
            address=new.address,
            port=new.port,
            weight=new.weight,
            maxconn=new.maxconn,
            disabled=new.disabled,
        )
        if changed != new:
            raise _NeedsReload("a server has other settings than its weight, state, address or most connections")
        if (old.address, old.port) != (new.address, new.port):
            self._taking.append(f"set server {key} addr {new.address} port {new.port}")
        if old.maxconn != new.maxconn:
            if new.maxconn is None:
                # Requests that wait in its queue by then would stay there.
                raise _NeedsReload("a server gets any number of connections")
            if "minconn" in new.fixed:
                raise _NeedsReload("the most connections of a server with minconn change")
            self._taking.append(f"set maxconn server {key} {new.maxconn}")
        if old.weight != new.weight:
            if backend.has("balance static-rr"):
                raise _NeedsReload("static-rr keeps weights as they were at the start")
            # The other way round every server could be without weight for a moment.
            (self._taking if new.weight else self._giving_up).append(f"set weight {key} {new.weight}")
        if old.disabled != new.disabled:
            state, phase = ("maint", self._giving_up) if new.disabled else ("ready", self._taking)
            phase.append(f"set server {key} state {state}")
        self._expected[key] = new.state

    def _add(self, key: str, server: _Server, backend: _Backend) -> None:
        self._check_coming_and_going(server, backend)
        if "cookie" in server.fixed and not self._able.add_with_cookie:
            raise _NeedsReload("this version of HAProxy adds no server with a cookie while it runs")
        checked = "check" in server.fixed
        if checked and backend.has("option external-check"):
            raise _NeedsReload("a server that is pinged is added")
        # HAProxy takes one that it enables for healthy. Without weight until it was told otherwise, none is asked
        # before its first good checks.
        quiet = checked and not server.disabled and server.weight > 0
        words = [*server.fixed, "weight", "0" if quiet else str(server.weight)]
        if server.maxconn is not None:
            words += ["maxconn", str(server.maxconn)]
        words += ["disabled"] if server.disabled else []
        self._adding.append(f"add server {key} {endpoint(server.address, server.port)} {' '.join(words)}")
        if checked:
            self._adding.append(f"enable health {key}")
        if not server.disabled:
            self._adding.append(f"enable server {key}")
        if quiet:
            self._adding += [f"set server {key} health down", f"set weight {key} {server.weight}"]
        self._expected[key] = server.state

    def _remove(self, key: str, server: _Server, backend: _Backend) -> None:
        self._check_coming_and_going(server, backend)
        if not server.disabled:
            self._giving_up.append(f"set server {key} state maint")
        self._leaving.append(key)

    def _check_coming_and_going(self, server: _Server, backend: _Backend) -> None:
        if not self._able.add:
            raise _NeedsReload("this version of HAProxy adds and removes no servers while it runs")
        if backend.has("balance static-rr"):
            raise _NeedsReload("static-rr keeps its servers as they were at the start")
        if "backup" in server.fixed:
            raise _NeedsReload("a backup server comes or goes")


# --- what HAProxy answers ----------------------------------------------------

# What is asked, and the answer that means that it was done.
_ANSWERS: tuple[tuple[re.Pattern[str], re.Pattern[str]], ...] = tuple(
    (re.compile(asked), re.compile(answer, re.DOTALL))
    for asked, answer in (
        (r"add server \S+ .*", r"New server registered\."),
        (r"del server \S+", r"Server deleted\."),
        (
            r"set server \S+ addr \S+ port [0-9]+",
            r"(IP changed from '[^']*' to '[^']*'|no need to change the addr|port changed from '[^']*' to '[^']*'|"
            r"no need to change the port|, )+ by 'stats socket command'",
        ),
        (r"(enable (server|health)|set (server|weight|maxconn)) .*", r""),
        (r"(experimental-mode on|set timeout cli [0-9]+|set var proc\.\S+ str\([0-9a-f-]+\))", r""),
    )
)


def accepted(command: str, answer: str) -> bool:
    """Whether HAProxy did what the command asked for; any other answer than the known ones says that it did not."""
    expected = next((answer for asked, answer in _ANSWERS if asked.fullmatch(command)), None)
    return expected is not None and expected.fullmatch(answer.strip()) is not None


STILL_USED = re.compile(r"Server still has connections attached to it, cannot remove it\.")
"""The answer to ``del server`` that may be another one soon."""


def server_states(answer: str) -> dict[str, State]:
    """``backend/server`` to what ``show servers state`` says. Raises `ValueError` when the text is none of it."""
    rows = [line.split() for line in answer.strip().splitlines()]
    header = next((row[1:] for row in rows if row[:1] == ["#"]), [])
    columns = ("be_name", "srv_name", "srv_addr", "srv_port", "srv_uweight", "srv_admin_state")
    try:
        places = [header.index(each) for each in columns]
    except ValueError:
        raise ValueError(f"no states of servers: {answer[:80]!r}") from None
    return dict(_states([row[place] for place in places] for row in rows if len(row) > max(places) and row[0] != "#"))


def _states(rows: Iterable[Sequence[str]]) -> Iterator[tuple[str, State]]:
    for backend, server, address, port, weight, admin in rows:
        yield (
            f"{backend}/{server}",
            State(
                address=address,
                port=int(port),
                weight=int(weight),
                maintenance=bool(int(admin) & _FORCED_MAINTENANCE),
            ),
        )


def differing(expected: Mapping[str, State], seen: Mapping[str, State]) -> tuple[str, ...]:
    """``backend/server`` of those that are not as expected."""
    return tuple(key for key, state in expected.items() if key not in seen or not _same(state, seen[key]))


def _same(expected: State, seen: State) -> bool:
    try:
        addresses = ipaddress.ip_address(expected.address), ipaddress.ip_address(seen.address)
    except ValueError:
        return False
    return addresses[0] == addresses[1] and replace(expected, address="") == replace(seen, address="")
