"""The anatomy of a device's haproxy.cfg: what the administrator wrote, and our block behind it.

Everything here is pure and works on bytes, so that the hand-written part stays what it is whatever its encoding.
"""

from __future__ import annotations

import difflib
import hashlib
import ipaddress
import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from balancer.core.model import Bind
from balancer.drivers.haproxy.addresses import Entry, entry
from balancer.drivers.haproxy.names import SECTION, WILDCARD
from balancer.exceptions import BalancerError, InvalidInput

_BEGIN = "# ----- BEGIN balancer device {} ----- everything from here to END is generated; edits are overwritten -----"
_END = "# ----- END balancer device {} -----"
_MARKER = re.compile(rb"# ----- (BEGIN|END) balancer device ([0-9a-f]{32}) -----")

# Sections that may hold several settings under one first word.
_TWO_WORDS = frozenset({"stats", "peers", "option", "no"})
_SECTIONS = frozenset(
    (
        *("global", "defaults", "frontend", "backend", "listen", "peers", "resolvers", "mailers", "userlist"),
        *("cache", "program", "http-errors", "ring", "log-forward", "fcgi-app", "crt-store", "traces"),
        *("log-profile", "acme"),
    )
)
_STATES, _LOAD_STATES = "server-state-file", "load-server-state-from-file"
_LOGGING = ("log global", "option httplog", "option tcplog", "option dontlognull")
_DIFF_LINES = 2000
UNKNOWN = "unknown"
"""A digest in a sidecar: that of a block that nobody has seen serving."""
_SECRET = re.compile(
    r"(?i)\b(stats auth|(?:insecure-)?password|(?:proxy-)?authorization|https?://(?=[^/\s]*@)|token|secret)\b.*"
)


class FileError(BalancerError):
    """The file cannot be taken apart; the message says how to mend it."""


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# --- hand-written part and block ---------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """`hand_written` is everything that is not ours, in its order, with the LF that we may have added.

    `block` is None when there is none of ours; `owner` is the device id in its markers.
    `moved` tells that text stood behind the block: it is now at the end of `hand_written`.
    """

    hand_written: bytes
    block: bytes | None = None
    owner: str | None = None
    moved: bool = False


def split(content: bytes) -> Parts:
    """Takes a file apart. Raises `FileError` when the markers do not make one block."""
    markers: list[tuple[bytes, str, int, int]] = []
    position = 0
    for line in content.splitlines(keepends=True) if b"balancer device" in content else ():
        if match := _MARKER.match(line):
            markers.append((match[1], match[2].decode(), position, position + len(line)))
        position += len(line)
    if not markers:
        return Parts(hand_written=content)
    kinds = [kind for kind, *_ in markers]
    if kinds != [b"BEGIN", b"END"] or markers[0][1] != markers[1][1]:
        raise FileError(
            "haproxy.cfg must have one generated block from its BEGIN to its END marker, but has the markers "
            + ", ".join(f"{kind.decode()} {owner}" for kind, owner, *_ in markers)
            + ". Remove what is left of the generated block; it is written again"
        )
    (_, owner, start, _), (_, _, _, end) = markers
    before, behind = content[:start], content[end:]
    return Parts(hand_written=before + behind, block=content[start:end], owner=owner, moved=bool(behind))


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """A whole file. `owners` has, for each load balancer, its first and last line number (from 1).

    `block_digest` is "" when the file has no block of ours. `added_lf` tells that the hand-written part lacked
    its final LF, which it needs when something follows. `findings` say which of our settings gave way.
    """

    content: bytes
    block_digest: str
    first_line: int
    owners: tuple[tuple[str, int, int], ...]
    added_lf: bool
    findings: tuple[str, ...] = ()

    def culprits(self, message: str, blocks: Mapping[str, str]) -> tuple[tuple[str, ...], bool]:
        """Whom the alerts of HAProxy mean: load balancers' ids, and whether the hand-written part."""
        guilty: dict[str, None] = {}
        hand_written = False
        for line in message.splitlines():
            if "[ALERT]" in line:
                ids, by_hand = self._blamed(line, blocks)
                guilty.update(dict.fromkeys(ids))
                hand_written = hand_written or by_hand
        return tuple(guilty), hand_written

    def alert_of(self, load_balancer_id: str, message: str, blocks: Mapping[str, str]) -> str:
        """The lines of the message that mean this load balancer."""
        lines = [line for line in message.splitlines() if "[ALERT]" in line]
        return "\n".join(line for line in lines if load_balancer_id in self._blamed(line, blocks)[0])

    def _blamed(self, line: str, blocks: Mapping[str, str]) -> tuple[list[str], bool]:
        """By the number of the line, ``[/etc/haproxy/haproxy.cfg:37]``, else by the names of sections in it."""
        number = re.search(r"\[[^\]\s]*:(\d+)\]", line)
        if number and "parsing" in line:
            at = int(number[1])
            return [owner for owner, first, last in self.owners if first <= at <= last], at < self.first_line
        named = SECTION.findall(line)
        return [owner for owner, text in blocks.items() if any(f" {name} " in text for name in named)], False


def compose(
    hand_written: bytes, *, device_id: str, head: str, blocks: Mapping[str, str], added_lf: bool = False
) -> Composed:
    """The file with our block at its end, or without it when there is nothing in it.

    `added_lf`: whether the final LF of `hand_written` is one that we added earlier.
    """
    if not any(blocks.values()):
        restored = hand_written[:-1] if added_lf and hand_written.endswith(b"\n") else hand_written
        return Composed(
            content=restored, block_digest="", first_line=restored.count(b"\n") + 2, owners=(), added_lf=False
        )
    lacks_lf = bool(hand_written) and not hand_written.endswith(b"\n")
    if lacks_lf:
        hand_written += b"\n"
    head, findings = fit_head(head, parse(hand_written))
    lines = hand_written.count(b"\n")
    first_line = lines + 1
    pieces = [_BEGIN.format(device_id) + "\n", head]
    lines += 1 + head.count("\n")
    owners = []
    for load_balancer_id, text in blocks.items():
        count = text.count("\n")
        owners.append((load_balancer_id, lines + 1, lines + count))
        pieces.append(text)
        lines += count
    pieces.append(_END.format(device_id) + "\n")
    block = "".join(pieces).encode("ascii")
    return Composed(
        content=hand_written + block,
        block_digest=digest(block),
        first_line=first_line,
        owners=tuple(owners),
        added_lf=lacks_lf or (added_lf and hand_written.endswith(b"\n")),
        findings=findings,
    )


def fit_head(head: str, written: HandWritten) -> tuple[str, tuple[str, ...]]:
    """Drops from our `global` what the hand-written one has: a repeated setting would silently win. And logging when
    there is no log to write to: HAProxy would warn about every frontend. And loading states from a file that is not
    ours."""
    kept, findings, inside = [], [], False
    for line in head.splitlines(keepends=True):
        words = line.split()
        if words and not line[0].isspace():
            inside = words[0] == "global"
        elif inside and words:
            name = setting(words)
            if name == "stats socket":
                if words[2] in written.stats_sockets:
                    findings.append(
                        f"the hand-written part has a stats socket at {words[2]}, the path that the service would "
                        "use: it must let the login user write with level admin, or choose another `socket`"
                    )
                    continue
            elif name in written.settings:
                if name == _STATES:
                    findings.append(
                        f"the hand-written global says `{written.settings[name]}`: that file is not the service's, so "
                        "what health checks have found is forgotten when HAProxy is reloaded; remove that line, and "
                        "it is kept"
                    )
                elif written.settings[name] != " ".join(words):
                    findings.append(
                        f"the hand-written global says `{written.settings[name]}`: it is kept, the service would "
                        f"have set `{' '.join(words)}`"
                    )
                continue
        elif words and words[0] == _LOAD_STATES:
            if _STATES in written.settings:
                continue
        elif " ".join(words) in _LOGGING and "log" not in written.settings:
            continue
        kept.append(line)
    return "".join(kept), tuple(findings)


def hands_over(content: bytes, states: str) -> bool:
    """Whether a HAProxy with this file reads the server state file at that path."""
    return f"\n    {_STATES} {states}\n".encode() in content


def setting(words: list[str]) -> str:
    """The name of a setting: ``maxconn``, ``stats socket``."""
    return " ".join(words[:2]) if words[0] in _TWO_WORDS else words[0]


# --- what the administrator wrote --------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class HandWritten:
    """What matters of the hand-written part. `settings` are those of its `global`, name to whole line."""

    binds: tuple[Bind, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    stats_sockets: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class _Proxy:
    kind: str
    name: str
    line: int
    mode: str = "tcp"
    idle_close: bool = False


def _words(line: str) -> list[str] | None:
    """The words of a line, quotes and comments understood; None when the quoting is broken."""
    if "'" not in line and '"' not in line and "\\" not in line:
        return line.partition("#")[0].split()
    try:
        return shlex.split(line, comments=True)
    except ValueError:
        return None


def parse(content: bytes) -> HandWritten:
    """Reads the hand-written part (or any haproxy.cfg). Never fails: what it does not understand is a finding."""
    binds: list[Bind] = []
    settings: dict[str, str] = {}
    sockets: list[str] = []
    findings: list[str] = []
    proxies: list[_Proxy] = []
    named_defaults: dict[str, _Proxy] = {}
    defaults = _Proxy(kind="defaults", name="", line=0)
    section = ""
    proxy: _Proxy | None = None
    for number, raw in enumerate(content.decode("utf-8", "replace").split("\n"), start=1):
        words = _words(raw)
        if words is None:
            findings.append(f"line {number} has unbalanced quotes")
            continue
        if not words:
            continue
        if words[0] in _SECTIONS:
            section = words[0]
            name = words[1] if len(words) > 1 and words[1] != "from" else ""
            proxy = None
            if section in ("defaults", "frontend", "backend", "listen"):
                base = _Proxy(kind="", name="", line=0) if section == "defaults" else defaults
                if "from" in words[1:-1]:
                    base = named_defaults.get(words[words.index("from", 1) + 1], base)
                proxy = _Proxy(kind=section, name=name, line=number, mode=base.mode, idle_close=base.idle_close)
                if section == "defaults":
                    defaults = proxy
                    named_defaults[name] = proxy
                else:
                    proxies.append(proxy)
        elif section == "global":
            if words[:2] == ["stats", "socket"] and len(words) > 2:
                sockets.append(words[2])
            settings[setting(words)] = " ".join(words)
        elif proxy is not None:
            if words[0] == "mode" and len(words) > 1:
                proxy.mode = words[1]
            elif words[:2] == ["option", "idle-close-on-response"]:
                proxy.idle_close = True
            elif words[:3] == ["no", "option", "idle-close-on-response"]:
                proxy.idle_close = False
        if words[0] == "bind" and section in ("frontend", "listen", "peers", "log-forward") and len(words) > 1:
            for address in words[1].split(","):
                found, finding = _bind(address, words[2:])
                binds.extend(found)
                if finding:
                    findings.append(f"line {number}: {finding}")
    findings.extend(
        f"hand-written {each.kind} {each.name} (line {each.line}) lacks `option idle-close-on-response`: requests "
        "on kept-alive connections can fail while HAProxy reloads; add that line to it or to its defaults"
        for each in proxies
        if each.kind in ("frontend", "listen") and each.mode == "http" and not each.idle_close
    )
    return HandWritten(binds=tuple(binds), settings=settings, stats_sockets=tuple(sockets), findings=tuple(findings))


def _bind(text: str, options: list[str]) -> tuple[tuple[Bind, ...], str]:
    """One address of a `bind` line -> what it takes, and what could not be understood."""
    unknown = f"`bind {text}` is not understood, so nobody is kept from taking the same port"
    if "$" in text:
        return (), unknown
    prefix, at, rest = text.rpartition("@")
    family = prefix.rpartition("+")[2] if at else ""
    if family in ("unix", "uxst", "abns", "abnsz", "fd", "sockpair", "quic4", "quic6", "uxdg", "udp", "udp4", "udp6"):
        return (), ""
    if family not in ("", "ipv4", "ipv6", "tcp", "tcp4", "tcp6"):
        return (), unknown
    if not at and text.startswith("/"):
        return (), ""
    host, _, ports = rest.rpartition(":")
    match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", ports)
    if not match:
        return (), unknown
    first, last = int(match[1]), int(match[2] or match[1])
    host = host.strip("[]")
    wild6 = family in ("ipv6", "tcp6")
    if host in ("", "*"):
        addresses = ["::"] if wild6 else [WILDCARD]
    else:
        try:
            parsed = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return (), unknown
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
            parsed = parsed.ipv4_mapped
        addresses = [WILDCARD if parsed.version == 4 and parsed.is_unspecified else str(parsed)]
    if addresses == ["::"] and "v6only" not in options:
        # Linux listens on IPv4 too.
        addresses.append(WILDCARD)
    return tuple(Bind(address=each, first_port=first, last_port=last) for each in addresses), ""


# --- the sidecar -------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """What a device remembers beside its configuration, in ``<config>.balancer``.

    `digest` is that of the block that was last brought into service ("" for none, `UNKNOWN` after a roll-back to one
    that was not seen serving); the file of the previous configuration lies beside it until that was verified.
    `added_lf`: the hand-written part got a final LF from us.
    `addresses`: those that we added to interfaces, or were about to. `withheld`: those that the block listens at and
    that another device has still to give up. `started`: HAProxy was started by us.
    """

    device_id: str
    epoch: int
    digest: str = ""
    added_lf: bool = False
    addresses: tuple[Entry, ...] = ()
    withheld: tuple[str, ...] = ()
    started: bool = False


def dump_sidecar(sidecar: Sidecar) -> bytes:
    """One key a line: the remote step reads `device_id` and `epoch` with sed."""
    return (
        json.dumps(
            {
                "version": 1,
                "device_id": sidecar.device_id,
                "epoch": sidecar.epoch,
                "digest": sidecar.digest,
                "added_lf": sidecar.added_lf,
                "addresses": [str(each) for each in sidecar.addresses],
                "withheld": list(sidecar.withheld),
                "started": sidecar.started,
            },
            indent=1,
        )
        + "\n"
    ).encode()


def load_sidecar(content: bytes) -> Sidecar:
    """Raises `FileError`."""
    try:
        data = json.loads(content)
        if data["version"] != 1:
            raise FileError(f"it has version {data['version']}, this program knows version 1")
        return Sidecar(
            device_id=str(data["device_id"]),
            epoch=int(data["epoch"]),
            digest=str(data["digest"]),
            added_lf=bool(data["added_lf"]),
            addresses=tuple(entry(str(each)) for each in data["addresses"]),
            withheld=tuple(str(each) for each in data.get("withheld", ())),
            started=bool(data["started"]),
        )
    except (ValueError, KeyError, TypeError, InvalidInput) as error:
        raise FileError(f"it is not readable ({error})") from error


# --- showing a change --------------------------------------------------------


def diff(
    old: bytes,
    new: bytes,
    *,
    labels: tuple[str, str] = ("before", "after"),
    lines_before: tuple[int, int] = (0, 0),
) -> str:
    """A unified diff; a summary when it would be very long. `lines_before`: how many lines of their files stand in
    front of the two texts."""
    before, after = (text.decode("utf-8", "replace").splitlines() for text in (old, new))
    if before == after:
        return ""
    # What both share at either end is skipped first: comparing thousands of equal lines is slow.
    head = _common(zip(before, after, strict=False))
    tail = _common(zip(reversed(before[head:]), reversed(after[head:]), strict=False))
    start, end_before, end_after = max(0, head - 3), len(before) - max(0, tail - 3), len(after) - max(0, tail - 3)
    old_lines, new_lines = before[start:end_before], after[start:end_after]
    if len(old_lines) + len(new_lines) > _DIFF_LINES:
        first = lines_before[0] + start + 1
        return f"{len(old_lines)} lines replaced by {len(new_lines)} lines from line {first} on\n"
    lines = difflib.unified_diff(old_lines, new_lines, *labels, lineterm="")
    before_start, after_start = (start + each for each in lines_before)
    return "".join(f"{_shifted(line, before_start, after_start)}\n" for line in lines)


def without_secrets(text: str) -> str:
    """What somebody wrote into our block may be anything; passwords and the like are not shown."""
    return _SECRET.sub(r"\1 ***", text)


def block_diff(old: bytes, new: bytes, labels: tuple[str, str] = ("before", "after")) -> str:
    """What differs between the generated blocks of two files, with the line numbers of the files. Nothing else is
    shown: what is hand-written may hold passwords. Raises `FileError`."""
    (old_block, old_start), (new_block, new_start) = map(_block_at, (old, new))
    return diff(old_block, new_block, labels=labels, lines_before=(old_start, new_start))


def _block_at(content: bytes) -> tuple[bytes, int]:
    """The block, and how many lines stand in front of it."""
    block = split(content).block
    if block is None:
        return b"", content.count(b"\n")
    return block, content[: content.index(block)].count(b"\n")


def _common(pairs: Iterable[tuple[str, str]]) -> int:
    def equal() -> Iterator[None]:
        for left, right in pairs:
            if left != right:
                return
            yield None

    return sum(1 for _ in equal())


def _shifted(line: str, before_start: int, after_start: int) -> str:
    """A hunk's header with the line numbers of the whole file."""
    match = re.fullmatch(r"@@ -(\d+)(,\d+)? \+(\d+)(,\d+)? @@", line)
    if not match:
        return line
    first, second = int(match[1]) + before_start, int(match[3]) + after_start
    return f"@@ -{first}{match[2] or ''} +{second}{match[4] or ''} @@"
