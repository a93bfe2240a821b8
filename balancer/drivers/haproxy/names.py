"""What may be written into haproxy.cfg: names made of ids, allow-list grammars and quoting.

The API has checked its input already. This is the last line of defence: whatever reaches the file passes through
one of these functions, and what does not match raises `InvalidInput` with the field that is to blame.
"""

from __future__ import annotations

import ipaddress
import re
from math import isfinite

from balancer.core.rules import host_address
from balancer.exceptions import InvalidInput

WILDCARD = "*"

_ID = re.compile(r"[0-9a-f]{32}")
_COOKIE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_METHOD = re.compile(r"[A-Z]{1,16}")
_HTTP_PATH = re.compile(r"/[\x21-\x7e]{0,1023}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_LOGIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
_INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")
_FILE_PATH = re.compile(r"(/\.?[A-Za-z0-9_][A-Za-z0-9_.+-]*)+")
_CODE = re.compile(r"[1-5][0-9][0-9]")
_TOKEN = re.compile(r"[A-Za-z0-9_.~^|!*+-]{1,255}")
_URL = re.compile(r"(?:[a-z][a-z0-9+.-]*:/)?/[\x21-\x7e]{0,1023}")
_PRINTABLE = re.compile(r"[\x20-\x7e]*")

# sockaddr_un holds 107 characters; HAProxy binds "<path>.<pid>.tmp" before it renames.
SOCKET_PATH_MAX = 90


def _matched(pattern: re.Pattern[str], value: object, field: str, allowed: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise InvalidInput(f"{field} must be {allowed}", field=field)
    return value


def object_id(value: str, field: str = "id") -> str:
    return _matched(_ID, value, field, "32 hexadecimal digits")


# --- sections ----------------------------------------------------------------


def frontend(listener_id: str) -> str:
    return f"fe-{object_id(listener_id)}"


def backend(pool_id: str, suffix: str = "") -> str:
    """`suffix` tells apart the backends of one pool that serves listeners of different modes."""
    return f"be-{object_id(pool_id)}{'-' + suffix if suffix else ''}"


def monitor_backend(pool_id: str, monitor_id: str) -> str:
    return f"mon-{object_id(pool_id)}-{object_id(monitor_id)}"


def health_frontend(pool_id: str) -> str:
    """Answers whether all monitors of a pool agree that a member is up."""
    return f"hm-{object_id(pool_id)}"


def health_address(device_id: str, pool_id: str) -> str:
    """Where that frontend listens: an abstract socket, so no port is taken. With the device's id, as two HAProxies
    may share a network."""
    return f"abns@balancer-{object_id(device_id)}-{object_id(pool_id)}"


SECTION = re.compile(r"\b(?:fe|be|mon|hm)-[0-9a-f]{32}(?:-[0-9a-z]+)?\b")
"""Finds our section names in HAProxy's messages."""

_SECTION_PARTS = re.compile(r"(fe|be|mon|hm)-([0-9a-f]{32})(?:-[0-9a-z]+)?")


def section_of(name: str) -> tuple[str, str] | None:
    """``"be-<id>-tcp"`` -> ("be", id): the kind of one of our sections, and the object that it is about."""
    match = _SECTION_PARTS.fullmatch(name)
    return None if match is None else (match[1], match[2])


def is_object_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None


# --- values ------------------------------------------------------------------


def quote(text: str, field: str = "value") -> str:
    """One word of haproxy.cfg that stands for exactly `text`."""
    if not _PRINTABLE.fullmatch(text):
        raise InvalidInput(f"{field} must have printable ASCII characters only", field=field)
    return "'" + text.replace("'", "'\"'\"'") + "'"


def ip(value: str, field: str = "address") -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return host_address(value)
    except ValueError:
        raise InvalidInput(f"{field} must be an IPv4 or IPv6 address, not a link-local one", field=field) from None


def network(value: str, field: str) -> str:
    try:
        # A zone may be any text, and Python keeps that of an IPv6 network of one address.
        if "%" in value:
            raise ValueError
        return str(ipaddress.ip_network(value, strict=False))
    except ValueError:
        raise InvalidInput(f"{field} must be an address range such as 192.0.2.0/24", field=field) from None


def client_prefixes(value: object, field: str) -> tuple[int, int]:
    """How much of an IPv4 and of an IPv6 address makes a client. A netmask or a length up to 32 is for IPv4, one beyond
    is for IPv6; without one each address is a client."""
    text = "" if value is None else str(value).strip()
    if text in ("", "None"):
        return 32, 128
    if text.isascii() and text.isdigit() and 32 < int(text) <= 128:
        return 32, int(text)
    try:
        return ipaddress.ip_network(f"0.0.0.0/{text}").prefixlen, 128
    except ValueError:
        raise InvalidInput(f"{field} must be a netmask such as 255.255.255.0 or 24", field=field) from None


def port(value: int, field: str = "port") -> int:
    return integer(value, 1, 65535, field)


def integer(value: int, low: int, high: int, field: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise InvalidInput(f"{field} must be a whole number from {low} to {high}", field=field)
    return value


def endpoint(address: str, port_number: int, field: str = "address") -> str:
    """``192.0.2.1:80``, ``[2001:db8::1]:80``."""
    return f"{bracketed(address, field)}:{port(port_number)}"


def bracketed(address: str, field: str = "address") -> str:
    """``192.0.2.1``, ``[2001:db8::1]``: HAProxy takes what follows the last colon for a port."""
    parsed = ip(address, field)
    return f"[{parsed}]" if parsed.version == 6 else str(parsed)


LONGEST = 24 * 86400
"""Seconds: HAProxy counts milliseconds in 31 bits."""


def seconds(value: float, field: str) -> str:
    """A time of at least one millisecond and at most `LONGEST` seconds, as HAProxy writes it."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or not 0 < value <= LONGEST:
        raise InvalidInput(f"{field} must be more than 0 and at most {LONGEST} seconds", field=field)
    milliseconds = max(1, round(value * 1000))
    return f"{milliseconds // 1000}s" if milliseconds % 1000 == 0 else f"{milliseconds}ms"


def milliseconds(value: int, field: str) -> str:
    return seconds(integer(value, 1, LONGEST * 1000, field) / 1000, field)


def cookie(value: str, field: str) -> str:
    return _matched(_COOKIE, value, field, "1 to 64 letters, digits, '_', '.' or '-'")


def method(value: str, field: str) -> str:
    return _matched(_METHOD, value, field, "an HTTP method in capital letters")


def http_path(value: str, field: str) -> str:
    """Quoted."""
    return quote(_matched(_HTTP_PATH, value, field, "a path that begins with '/' without blanks, ASCII only"), field)


def token(value: object, field: str) -> str:
    """The name of a header or of a cookie, as an argument of a sample: without what HAProxy reads specially there."""
    return _matched(_TOKEN, value, field, "1 to 255 letters, digits or any of _.~^|!*+-")


def url(value: object, field: str) -> str:
    """An absolute URL or a path, quoted, for where HAProxy expects a log format."""
    text = _matched(_URL, value, field, "a URL such as https://example.org/path, or a path, ASCII without blanks")
    return quote(text.replace("%", "%%"), field)


def host(value: str, field: str) -> str:
    """Quoted."""
    return quote(_matched(_HOST, value, field, "a host name"), field)


def codes(value: str, field: str) -> str:
    """``200``, ``200,202``, ``200-204`` and mixtures."""
    ranges = []
    for part in value.replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        last = last if dash else first
        if not _CODE.fullmatch(first) or not _CODE.fullmatch(last) or first > last:
            raise InvalidInput(f"{field} must be HTTP codes such as 200, 200,202 or 200-204", field=field)
        ranges.append(f"{first}-{last}" if dash else first)
    return ",".join(ranges)


# --- the device's own --------------------------------------------------------


def login(value: str, field: str = "user") -> str:
    return _matched(_LOGIN, value, field, "a login name of letters, digits, '_', '.' or '-'")


def interface(value: str, field: str = "interface") -> str:
    return _matched(_INTERFACE, value, field, "the name of a network interface")


def file_path(value: str, field: str) -> str:
    """An absolute path without ``.``, ``..``, blanks or anything a shell or sudoers reads specially."""
    _matched(_FILE_PATH, value, field, "an absolute path of letters, digits, '_', '.', '+', '-' and '/'")
    if len(value) > 255:
        raise InvalidInput(f"{field} must have at most 255 characters", field=field)
    return value


def socket_path(value: str, field: str = "socket") -> str:
    file_path(value, field)
    if len(value) > SOCKET_PATH_MAX:
        raise InvalidInput(f"{field} must have at most {SOCKET_PATH_MAX} characters", field=field)
    return value
