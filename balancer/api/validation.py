"""Reads objects by their JSON Schemas: coercion, validation, canonical form; errors name field and allowed values.

Beyond JSON Schema (draft 2020-12) a property may have

- ``format``: one of `FORMATS`, which also give the canonical form;
- ``x-synonyms``: further spellings of an enum's values, ``{"SOURCE_IP": "HASH_SOURCE"}``;
- ``x-alias-of``: another spelling of the field's name;
- ``x-single``: a bare value is a list of one;
- ``x-one-of``: fields of which an object needs just one (checked elsewhere);
- ``readOnly``: ignored in what a caller sends; ``writeOnly``: its value never appears in a message.

``x-haproxy`` (the effect on HAProxy), ``x-stored`` (kept and returned, without a meaning) and ``x-shown`` (what a reply
has when nothing was sent) are documentation.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker, validators
from jsonschema.exceptions import ValidationError

from balancer.core.rules import host_address, normalise_address
from balancer.core.tenants import parse_range
from balancer.exceptions import InvalidInput

Schema = Mapping[str, Any]

# C0 and C1 controls, the line and paragraph separators, and halves of surrogate pairs.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?", re.ASCII)
_BOOLEANS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_PATH = re.compile(r"/[A-Za-z0-9._~!$&()*+,;=:@%/?-]*")
_CODES = re.compile(r"[1-5][0-9]{2}(-[1-5][0-9]{2})?(,[1-5][0-9]{2}(-[1-5][0-9]{2})?)*")
_DURATION = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)?")
_MILLISECONDS = {None: 1, "ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_LONGEST_DURATION = 24 * 86_400_000
_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


# --- formats: from text to the canonical form; ValueError when it is none -----------


def _text(value: str) -> str:
    if _CONTROL.search(value):
        raise ValueError
    return value


def _multiline(value: str) -> str:
    _text(re.sub(r"\r?\n", "", value))
    return value


def _address(value: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = host_address(value)
    if address.is_multicast:
        raise ValueError
    return address


def _member_address(value: str) -> str:
    address = _address(value)
    if address.is_unspecified or value == "255.255.255.255":
        raise ValueError
    return str(address)


def _listen_address(value: str) -> str:
    canonical = normalise_address(value)
    if canonical != "*" and (_address(canonical).is_multicast or canonical == "255.255.255.255"):
        raise ValueError
    return canonical


def _host(value: str) -> str:
    try:
        return _member_address(value)
    except ValueError:
        pass
    labels = value.rstrip(".").split(".")
    if len(value) > 253 or not all(_LABEL.fullmatch(label) for label in labels) or labels[-1].isdigit():
        raise ValueError
    return value


def _netmask(value: str) -> int:
    """The prefix length."""
    text = value.removeprefix("/")
    if text.isascii() and text.isdigit():
        length = int(text[:4])
        if length > 128:
            raise ValueError
        return length
    bits = f"{int(ipaddress.IPv4Address(text)):032b}"
    if "01" in bits:
        raise ValueError
    return bits.count("1")


def _http_path(value: str) -> str:
    if not _PATH.fullmatch(value):
        raise ValueError
    return value


def _http_codes(value: str) -> str:
    codes = value.replace(" ", "")
    if not _CODES.fullmatch(codes):
        raise ValueError
    for item in codes.split(","):
        first, _, last = item.partition("-")
        if last and int(last) < int(first):
            raise ValueError
    return codes


def _duration(value: str) -> int:
    match = _DURATION.fullmatch(value)
    if not match:
        raise ValueError
    milliseconds = int(match[1]) * _MILLISECONDS[match[2]]
    if not 0 < milliseconds <= _LONGEST_DURATION:
        raise ValueError
    return milliseconds


def object_id(value: str) -> str:
    """32 hex digits from any spelling of a UUID. Raises `ValueError`."""
    lower = value.lower()
    if not _ID.fullmatch(lower):
        raise ValueError(value)
    return lower.replace("-", "")


@dataclass(frozen=True, slots=True)
class Format:
    """`schema` says in JSON Schema's own words what is accepted, or most of it, for the description of an API."""

    canonical: Callable[[str], Any]
    says: str
    schema: Schema


_ADDRESS: Schema = {"anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]}

FORMATS: Mapping[str, Format] = {
    "text": Format(_text, "text without control characters", {"pattern": r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"}),
    "multiline": Format(
        _multiline,
        "text without control characters except line ends",
        {"pattern": r"^[^\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029]*$"},
    ),
    "member-address": Format(_member_address, "an IPv4 or IPv6 address of one host, not a link-local one", _ADDRESS),
    "listen-address": Format(
        _listen_address,
        "an IPv4 or IPv6 address, not a link-local one, or 0.0.0.0 for every address",
        {"anyOf": [*_ADDRESS["anyOf"], {"enum": ["*", ""]}]},
    ),
    "host": Format(
        _host, "an IPv4 or IPv6 address or a host name", {"anyOf": [*_ADDRESS["anyOf"], {"format": "hostname"}]}
    ),
    "address-range": Format(
        parse_range,
        "a network (192.0.2.0/28), a range (192.0.2.1-192.0.2.9) or an address",
        {"anyOf": [*_ADDRESS["anyOf"], {"pattern": "^[0-9A-Fa-f.:]+[-/][0-9A-Fa-f.:]+$"}]},
    ),
    "netmask": Format(
        _netmask,
        "a netmask like 255.255.255.0 or a prefix length like 24 (64 for IPv6)",
        {"anyOf": [{"pattern": "^/?[0-9]{1,3}$"}, {"format": "ipv4"}], "minimum": 0, "maximum": 128},
    ),
    "http-path": Format(
        _http_path, "a path that begins with / and has no spaces, quotes, # or \\", {"pattern": f"^{_PATH.pattern}$"}
    ),
    "http-codes": Format(
        _http_codes,
        "HTTP status codes like 200, 200,202 or 200-204",
        {"pattern": f"^({_CODES.pattern})$", "minimum": 100, "maximum": 599},
    ),
    "duration": Format(
        _duration,
        "a time like 2000 (milliseconds), 500ms or 2s, above 0 and below 24 days",
        {"pattern": f"^{_DURATION.pattern}$", "minimum": 1, "maximum": _LONGEST_DURATION},
    ),
    "object-id": Format(object_id, "an id of 32 hex digits", {"pattern": "^[0-9a-f]{32}$"}),
}


def _checker() -> FormatChecker:
    checker = FormatChecker(formats=())
    for name, form in FORMATS.items():

        def check(value: object, form: Format = form) -> bool:
            if isinstance(value, str):
                form.canonical(value)
            return True

        checker.checks(name, raises=ValueError)(check)
    return checker


_CHECKER = _checker()


def _pattern(validator: Any, pattern: str, instance: object, schema: Schema) -> Iterator[ValidationError]:
    # In Python a final $ also matches before a line end, which must not slip through.
    if isinstance(instance, str) and (instance.endswith("\n") or not re.search(pattern, instance)):
        yield ValidationError(f"does not match {pattern}")


_Validator = validators.extend(Draft202012Validator, {"pattern": _pattern})
_WORDS = frozenset(_Validator.VALIDATORS)


# --- reading -----------------------------------------------------------------------


class Reader:
    """Reads objects of one schema (``type: object`` with properties)."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.properties: Mapping[str, Schema] = schema["properties"]
        self.required: tuple[str, ...] = tuple(schema.get("required", ()))
        # One for each property, and each with nothing but what is checked: an object of so many costs several times as
        # much to look through. What is required depends on whether the whole object is sent.
        self._validators = {
            key: _Validator({word: value for word, value in each.items() if word in _WORDS}, format_checker=_CHECKER)
            for key, each in self.properties.items()
        }

    def target(self, key: str) -> str:
        """The field behind a key: itself, unless it is another spelling."""
        alias: str = self.properties.get(key, {}).get("x-alias-of", key)
        return alias

    def read(self, sent: Mapping[str, Any], *, path: str = "", partial: bool = False) -> dict[str, Any]:
        """Canonical values of the known fields that were sent; `partial` leaves the others out, else they get
        their defaults. A null stands for the default.

        `path` is where the object is in the body, for messages. Raises `InvalidInput`.
        """
        given = {
            key: value
            for key, value in sent.items()
            if key in self.properties and not self.properties[key].get("readOnly")
        }
        present = {key: _coerce(self.properties[key], value) for key, value in given.items() if value is not None}
        self._require(given, present, path, partial)
        error = min(self._errors(present), key=_order, default=None)
        if error is not None:
            raise _invalid(error, self.schema, path)
        values = self._canonical(present, path)
        for key in given.keys() - present.keys():
            values.setdefault(self.target(key), self.properties[self.target(key)].get("default"))
        if not partial:
            for key, schema in self.properties.items():
                if "default" in schema:
                    values.setdefault(key, schema["default"])
        return values

    def _errors(self, present: Mapping[str, Any]) -> Iterator[ValidationError]:
        for key, validator in self._validators.items():
            if key in present:
                for error in validator.iter_errors(present[key]):
                    error.relative_path.appendleft(key)
                    yield error

    def _require(self, given: Iterable[str], present: Iterable[str], path: str, partial: bool) -> None:
        here = {self.target(key) for key in present}
        wanted = {self.target(key) for key in given} if partial else self.required
        for key in self.required:
            if key in wanted and key not in here:
                field = _join(path, key)
                raise InvalidInput(f"{field} is required", field=field)

    def _canonical(self, present: Mapping[str, Any], path: str) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, value in present.items():
            target, canonical = self.target(key), _canonical(self.properties[key], value)
            if target in values and values[target] != canonical:
                field = _join(path, key)
                other = next(k for k in present if k != key and self.target(k) == target)
                raise InvalidInput(f"{field} contradicts {_join(path, other)}", field=field)
            values[target] = canonical
        return values


def _types(schema: Schema) -> tuple[str, ...]:
    kind = schema.get("type", ())
    return (kind,) if isinstance(kind, str) else tuple(kind)


def names_it(text: str, name: str) -> bool:
    """Whether the text is a spelling of the name: in any case, and with ``_``, ``-`` or nothing between its words.
    ``RoundRobin`` and ``round-robin`` are ``ROUND_ROBIN``."""
    words = re.split("[_-]", name)
    return re.fullmatch("[_-]?".join(map(re.escape, words)), text, re.IGNORECASE | re.ASCII) is not None


def _coerce(schema: Schema, value: Any) -> Any:
    """The value in the type that the schema wants, where that is beyond doubt; else as it is."""
    types = _types(schema)
    if "x-single" in schema and not isinstance(value, list):
        value = [value]
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        return {key: _coerce(properties.get(key, {}), item) for key, item in value.items()}
    if isinstance(value, list):
        return [_coerce(schema.get("items", {}), item) for item in value]
    if isinstance(value, str) and "enum" in schema:
        if value in schema["enum"]:
            return value
        names = {name: name for name in schema["enum"] if isinstance(name, str)} | dict(schema.get("x-synonyms", {}))
        return next((target for name, target in names.items() if names_it(value, name)), value)
    if "boolean" in types:
        if isinstance(value, str):
            return _BOOLEANS.get(value.lower(), value)
        return bool(value) if isinstance(value, int) and value in (0, 1) else value
    if isinstance(value, bool):
        return value
    if "string" in types:
        return str(value) if "integer" in types and isinstance(value, int) else value
    if "integer" in types:
        if isinstance(value, str) and _INTEGER.fullmatch(value):
            return int(value)
        return int(value) if isinstance(value, float) and value.is_integer() else value
    if "number" in types and isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    return value


def _canonical(schema: Schema, value: Any) -> Any:
    form = FORMATS.get(schema.get("format", ""))
    return form.canonical(value) if form and isinstance(value, str) else value


# --- messages ------------------------------------------------------------------------


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _order(error: ValidationError) -> tuple[str, ...]:
    return tuple(f"{part:09}" if isinstance(part, int) else part for part in error.absolute_path)


@contextmanager
def below(path: str) -> Iterator[None]:
    """Errors about the object at `path` get that path; a message about one of its fields begins with the field."""
    try:
        yield
    except InvalidInput as error:
        if not path:
            raise
        message = _join(path, str(error)) if error.field else str(error)
        raise InvalidInput(message, field=_join(path, error.field) if error.field else path) from None


def _field(path: str, parts: Iterable[str | int]) -> str:
    for part in parts:
        path = f"{path}[{part}]" if isinstance(part, int) else _join(path, part)
    return path


def _invalid(error: ValidationError, schema: Schema, path: str) -> InvalidInput:
    where = schema
    for part in error.absolute_path:
        where = where.get("items", {}) if isinstance(part, int) else where.get("properties", {}).get(part, {})
    field = _field(path, error.absolute_path)
    value: Any = error.instance
    wanted: Any = error.validator_value
    if error.validator == "required":
        missing = next(key for key in wanted if key not in value)
        field = _join(field, missing)
        return InvalidInput(f"{field} is required", field=field)
    return InvalidInput(f"{field} {_rule(error, where)}{_but(where, value)}", field=field)


def _rule(error: ValidationError, schema: Schema) -> str:
    wanted: Any = error.validator_value
    match error.validator:
        case "type":
            return f"must be {_named(_types(schema))}"
        case "enum":
            return f"must be one of {', '.join(str(item) for item in wanted)}"
        case "minimum" | "maximum":
            low, high = schema.get("minimum"), schema.get("maximum")
            return f"must be {_between(low, high)}"
        case "format":
            return f"must be {FORMATS[wanted].says}"
        case "pattern":
            return f"must be {schema.get('x-pattern', f'text that matches {wanted}')}"
        case "minLength":
            return "must not be empty" if wanted == 1 else f"must have at least {wanted} characters"
        case "maxLength":
            return f"must have at most {wanted} characters"
        case "minItems" | "maxItems":
            return f"must have {_between(schema.get('minItems', 0), schema.get('maxItems'))} items"
        case _:
            return f"is not allowed ({error.validator})"


def _named(types: Iterable[str]) -> str:
    names = {
        "integer": "an integer",
        "number": "a number",
        "string": "text",
        "boolean": "true or false",
        "array": "a list",
        "object": "an object",
    }
    return " or ".join(names[name] for name in types)


def _between(low: float | None, high: float | None) -> str:
    if low is None:
        return f"at most {high}"
    if high is None:
        return f"at least {low}"
    return f"between {low} and {high}"


def _but(schema: Schema, value: Any) -> str:
    """What was sent instead, if that is short and no secret."""
    if schema.get("writeOnly") or isinstance(value, dict | list):
        return ""
    text = json.dumps(value)
    return f", not {text}" if len(text) <= 60 else ""
