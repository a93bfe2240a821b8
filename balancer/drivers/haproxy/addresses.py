"""Virtual IP addresses on a device's interfaces: which must be there, and how to get there. Pure.

What is added is recorded before, in the sidecar, and only what is recorded is ever removed. Which addresses a load
balancer needs stands in its text, as remarks behind its binds: so it is known of every text that the device may run,
the one accepted last included.
"""

from __future__ import annotations

import ipaddress
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from balancer.drivers.haproxy import names

_REMARK = re.compile(r"^    bind .* # address ([0-9a-f.:]+)/(\d+)(?: dev (\S+))?$", re.MULTILINE)
_ENTRY = re.compile(r"([0-9a-f.:]+)/(\d{1,3}) dev (\S+)")
LOCAL = "local"
_LONGEST_NETWORK = 30
_STRANGERS = 6


class AddressAction(StrEnum):
    """Words of ``ip address``."""

    ADD = "add"
    REMOVE = "del"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An address on an interface; `str` is what ``ip address add`` takes."""

    address: str
    prefix_length: int
    interface: str

    def __str__(self) -> str:
        return f"{self.address}/{self.prefix_length} dev {self.interface}"

    @property
    def network(self) -> str:
        return str(ipaddress.ip_network(f"{self.address}/{self.prefix_length}", strict=False))


def entry(text: str) -> Entry:
    """The reverse of `str`. Raises `ValueError`."""
    match = _ENTRY.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is no address on an interface")
    parsed = ipaddress.ip_interface(f"{match[1]}/{match[2]}")
    return Entry(address=str(parsed.ip), prefix_length=parsed.network.prefixlen, interface=names.interface(match[3]))


# --- what is needed ----------------------------------------------------------


def remark(address: str, prefix_length: int | None, interface: str | None = None) -> str:
    """What stands behind a bind so that `needed` finds it; "" for an address that every host has. `interface`: where
    the address is to be added, None leaves it to the device."""
    parsed = names.ip(address)
    if parsed.is_unspecified or parsed.is_loopback:
        return ""
    length = parsed.max_prefixlen if prefix_length is None else prefix_length
    where = "" if interface is None else f" dev {names.interface(interface)}"
    return f" # address {parsed}/{names.integer(length, 1, parsed.max_prefixlen, 'prefix_length')}{where}"


def needed(texts: Iterable[str]) -> dict[str, int]:
    """Address -> prefix length, of everything that the texts of load balancers listen at. When they do not agree on
    the length, the first one has it."""
    found: dict[str, int] = {}
    for text in texts:
        for address, length, _ in _REMARK.findall(text):
            found.setdefault(address, int(length))
    return found


def named_interfaces(texts: Iterable[str]) -> dict[str, str]:
    """Address -> interface, for those of `needed` that are to be at a certain one."""
    found: dict[str, str] = {}
    for text in texts:
        for address, _, interface in _REMARK.findall(text):
            if interface:
                found.setdefault(address, interface)
    return found


def missing(wanted: Iterable[str], present: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Of the addresses, those that are on no interface."""
    there = {each.address for each in entries(present)}
    return tuple(each for each in wanted if each not in there)


def entries(present: Mapping[str, Sequence[str]]) -> tuple[Entry, ...]:
    """`present` maps an interface to its addresses, ``"192.0.2.1/24"``, in the kernel's order."""
    found = []
    for interface, addresses in present.items():
        for text in addresses:
            try:
                parsed = ipaddress.ip_interface(text)
            except ValueError:
                continue  # a peer address of a point-to-point link
            found.append(Entry(address=str(parsed.ip), prefix_length=parsed.network.prefixlen, interface=interface))
    return tuple(found)


def own(present: Mapping[str, Sequence[str]], recorded: Sequence[Entry]) -> tuple[str, ...]:
    """The addresses that the host has and that we did not add."""
    return tuple(dict.fromkeys(each.address for each in entries(present) if each not in recorded))


def routes(text: str) -> dict[str, str]:
    """``ip -o route get`` of several addresses -> address to interface, or to "local" when the host takes packets to
    it for its own although it is on no interface."""
    found = {}
    for line in text.splitlines():
        words = line.split()
        local = words[:1] == [LOCAL]
        words = words[1:] if local else words
        if len(words) > 2 and "dev" in words[:-1]:
            found[words[0]] = LOCAL if local else words[words.index("dev") + 1]
    return found


# --- what to do --------------------------------------------------------------

Step = tuple[AddressAction, Entry]


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """`before` the new configuration is brought into service, `after` it serves; `recorded` is what the sidecar says
    from before the first step on, `kept` what it says after the last one.

    `impossible` maps an address that cannot be added to the reason. `postponed` are addresses for the next time.
    """

    before: tuple[Step, ...] = ()
    after: tuple[Step, ...] = ()
    recorded: tuple[Entry, ...] = ()
    kept: tuple[Entry, ...] = ()
    impossible: Mapping[str, str] = field(default_factory=dict)
    postponed: tuple[str, ...] = ()


def changes(
    *,
    wanted: Mapping[str, int],
    present: Mapping[str, Sequence[str]],
    recorded: Sequence[Entry],
    ways: Mapping[str, str],
    interface: str | None,
    interfaces: Mapping[str, str] | None = None,
    limit: int,
    unable: str = "",
) -> Changes:
    """`wanted` as from `needed`, `recorded` what we added earlier, `ways` as from `routes` for what is missing.

    New addresses go to where `interfaces` (as from `named_interfaces`) says, else to `interface`, or without one to
    where packets to them would leave. `limit`: how many to add
    at once. `unable`: why nothing can be changed at all.
    """
    there = entries(present)
    # What we added and somebody else removed is ours no more: whoever puts it back decides.
    ours = [each for each in recorded if each in there]
    before: list[Step] = []
    added: list[Entry] = []
    impossible: dict[str, str] = {}
    postponed: list[str] = []
    for address, length in wanted.items():
        held = [each for each in there if each.address == address]
        old = next((each for each in held if each in ours), None)
        if held and not (len(held) == 1 and old is not None and old.prefix_length != length):
            continue
        where = old.interface if old is not None else (interfaces or {}).get(address) or interface or ways.get(address)
        if old is None and ways.get(address) == LOCAL:
            continue
        if unable:
            impossible[address] = unable
        elif not where:
            impossible[address] = "no route of the device says at which interface: set the device's `interface`"
        elif len(added) >= limit:
            postponed.append(address)
        else:
            fresh = Entry(address=address, prefix_length=length, interface=where)
            if old is not None:
                before += _without([old], there)
                ours.remove(old)
            before.append((AddressAction.ADD, fresh))
            added.append(fresh)
    gone = [each for each in ours if each.address not in wanted and not unable]
    kept = (*(each for each in ours if each not in gone), *added)
    leaving = [*(one for action, one in before if action is AddressAction.REMOVE), *gone]
    return Changes(
        before=tuple(before),
        after=tuple(_without(gone, there)),
        recorded=(*kept, *leaving),
        kept=kept,
        impossible=impossible,
        postponed=tuple(postponed),
    )


def _without(gone: Sequence[Entry], there: Sequence[Entry]) -> list[Step]:
    """Removes addresses and nothing else: with the first IPv4 address of a network on an interface the kernel (unless
    told otherwise) removes the others too, so those are put back."""
    steps: list[Step] = []
    for group in dict.fromkeys((each.interface, each.network) for each in gone):
        members = [each for each in there if (each.interface, each.network) == group]
        # The others first, so that as few as possible go with the first one.
        steps += [(AddressAction.REMOVE, each) for each in reversed(members) if each in gone]
        if members[0] in gone and ":" not in members[0].address:
            steps += [(AddressAction.ADD, each) for each in members if each not in gone]
    return steps


def strangers(new: Entry, present: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Some addresses of the network that an IPv4 address was added to, which are not the host's: who asks for one of
    them in the name of the new address tells the whole network where that is. None without such a network."""
    if ":" in new.address:
        return ()
    there = entries(present)
    own = {new.address, *(each.address for each in there)}
    networks = [
        ipaddress.IPv4Network(each.network)
        for each in (new, *there)
        if each.interface == new.interface and ":" not in each.address and each.prefix_length <= _LONGEST_NETWORK
    ]
    if not networks:
        return ()
    address = ipaddress.IPv4Address(new.address)
    network = next((each for each in networks if address in each), networks[0])
    # Anywhere in the network, but always the same: whoever is known there already is not asked for aloud.
    sums = (zlib.crc32(f"{address} {number}".encode()) for number in range(_STRANGERS))
    places = (str(network[each % (network.num_addresses - 2) + 1]) for each in sums)
    return tuple(dict.fromkeys(each for each in places if each not in own))


def leftover(
    wanted: Mapping[str, int], present: Mapping[str, Sequence[str]], recorded: Sequence[Entry]
) -> tuple[str, ...]:
    """Addresses that we added, that are still there, and that nothing needs any more."""
    there = entries(present)
    return tuple(each.address for each in recorded if each in there and each.address not in wanted)
