"""Attributes of the OpenStack dialects: their types, and who may send them when.

These dialects take more spellings of a value than JSON has types for it (numbers as text, words for yes and no) and
refuse what they do not know. A `Resource` lists the attributes of one object; it reads what callers send, and the
reference is generated from it.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from balancer.core.rules import host_address
from balancer.exceptions import InvalidInput, Rejected

Values = dict[str, Any]
Schema = dict[str, Any]

_TRUE = ("true", "t", "yes", "y", "on", "1")
_FALSE = ("false", "f", "no", "n", "off", "0")
_STRICT = ("true", "1", "false", "0")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Unconvertible(ValueError):
    """Raised by kinds: the value is of another type, and cannot be read as one of this."""


class Kind(Protocol):
    """A type of values. `read` gives the form in which they are kept, and raises `ValueError` with the reason;
    `query` does the same for the text of a filter."""

    def read(self, value: Any) -> Any: ...
    def query(self, text: str) -> Any: ...
    def schema(self) -> Schema:
        """What may be sent, as JSON Schema, for the reference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    longest: int = 255
    shortest: int = 0
    pattern: str | None = None
    says: str = ""

    def read(self, value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError("it must be text")
        if not self.shortest <= len(value) <= self.longest:
            raise ValueError(f"it must have {self.shortest} to {self.longest} characters")
        if self.pattern is not None and not re.fullmatch(self.pattern, value):
            raise ValueError(f"it must be {self.says}")
        return value

    def query(self, text: str) -> str:
        return text

    def schema(self) -> Schema:
        extra = {"x-pattern": self.says, "pattern": f"^{self.pattern}$"} if self.pattern else {}
        return {"type": "string", "minLength": self.shortest, "maxLength": self.longest, **extra}


@dataclass(frozen=True, slots=True, kw_only=True)
class Integer:
    least: int
    most: int = 2**31 - 1

    def read(self, value: Any) -> int:
        if isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
            value = int(value)
        elif isinstance(value, float) and math.isfinite(value):
            value = math.trunc(value)
        if not isinstance(value, int):
            raise Unconvertible("it must be a whole number")
        number = int(value)
        if not self.least <= number <= self.most:
            raise ValueError(f"it must be from {self.least} to {self.most}")
        return number

    def query(self, text: str) -> int:
        if not _INTEGER.fullmatch(text):
            raise ValueError("it must be a whole number")
        return int(text)

    def schema(self) -> Schema:
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


@dataclass(frozen=True, slots=True, kw_only=True)
class Boolean:
    """`strict`: true and false, 1 and 0, or these as text, and no other words or numbers."""

    strict: bool = False

    def read(self, value: Any) -> bool:
        if isinstance(value, int) and (not self.strict or value in (0, 1)):
            return bool(value)
        text = value.strip().lower() if isinstance(value, str) else ""
        if text in (_STRICT if self.strict else (*_TRUE, *_FALSE)):
            return text in _TRUE
        raise Unconvertible("it must be true or false")

    def query(self, text: str) -> bool:
        """Words that mean nothing are no, unless it is strict."""
        return self.read(text) if self.strict else text.strip().lower() in _TRUE

    def schema(self) -> Schema:
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One of some words or numbers, in exactly that spelling."""

    values: tuple[str, ...] | tuple[int, ...]

    def read(self, value: Any) -> Any:
        if isinstance(value, str) and isinstance(self.values[0], int) and _INTEGER.fullmatch(value):
            value = int(value)
        if isinstance(value, bool) or value not in self.values:
            raise ValueError(f"it must be one of {', '.join(map(str, self.values))}")
        # The text itself, not a member of an enumeration that equals it.
        return value

    def query(self, text: str) -> Any:
        return int(text) if isinstance(self.values[0], int) and _INTEGER.fullmatch(text) else text

    def schema(self) -> Schema:
        return {"enum": [str(value) if isinstance(value, str) else value for value in self.values]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Uuid:
    """Kept as 32 hex digits."""

    def read(self, value: Any) -> str:
        text = value.lower() if isinstance(value, str) else ""
        if not _UUID.fullmatch(text):
            raise ValueError("it must be a UUID")
        return text.replace("-", "")

    def query(self, text: str) -> str:
        """What is none matches nothing."""
        try:
            return show_uuid(self.read(text)) or ""
        except ValueError:
            return text

    def schema(self) -> Schema:
        return {"type": "string", "x-pattern": "a UUID"}


def show_uuid(kept: str | None) -> str | None:
    """An id with its dashes. What is no id is shown as it is."""
    if kept is None or not _UUID.fullmatch(kept) or "-" in kept:
        return kept
    return f"{kept[:8]}-{kept[8:12]}-{kept[12:16]}-{kept[16:20]}-{kept[20:]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """An IPv4 or IPv6 address, kept as it was spelled."""

    def read(self, value: Any) -> str:
        try:
            host_address(value if isinstance(value, str) else "")
        except ValueError:
            raise ValueError("it must be an IPv4 or IPv6 address, not a link-local one") from None
        return str(value)

    def query(self, text: str) -> str:
        return text

    def schema(self) -> Schema:
        return {"type": "string", "x-pattern": "an IPv4 or IPv6 address"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cidr:
    """An address range, kept with its prefix length and without host bits."""

    def read(self, value: Any) -> str:
        try:
            return str(ipaddress.ip_network(value if isinstance(value, str) else "", strict=False))
        except ValueError:
            raise ValueError("it must be an address range such as 192.0.2.0/24") from None

    def query(self, text: str) -> str:
        return text

    def schema(self) -> Schema:
        return {"type": "string", "x-pattern": "an address range such as 192.0.2.0/24"}


MOST_ITEMS = 1000
"""Of a list in a body: each item is an object to be stored, or is compared with the others."""


def _check_list(value: Any) -> None:
    """Raises `ValueError`."""
    if not isinstance(value, list):
        raise ValueError("it must be a list")
    if len(value) > MOST_ITEMS:
        raise ValueError(f"it must have {MOST_ITEMS} items at most")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOf:
    """Kept as a tuple."""

    item: Kind

    def read(self, value: Any) -> tuple[Any, ...]:
        found = []
        _check_list(value)
        for number, each in enumerate(value):
            try:
                found.append(self.item.read(each))
            except ValueError as error:
                raise ValueError(f"item {number}: {error}") from None
        return tuple(found)

    def query(self, text: str) -> Any:
        return self.item.query(text)

    def schema(self) -> Schema:
        return {"type": "array", "items": self.item.schema()}


@dataclass(frozen=True, slots=True, kw_only=True)
class TextMap:
    """Names to texts."""

    def read(self, value: Any) -> dict[str, str]:
        if not isinstance(value, dict):
            raise ValueError("it must be an object")
        for name, text in value.items():
            if not isinstance(text, str):
                raise ValueError(f'the value of {name} must be text, such as "true"')
        return dict(value)

    def query(self, text: str) -> str:
        return text

    def schema(self) -> Schema:
        return {"type": "object"}


# --- attributes of an object ----------------------------------------------------------------------


class _Unset:
    """Stands for: nothing was said."""


DEFAULT = _Unset()
"""A null means the default."""
REFUSED = _Unset()
"""A null is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """`create` and `update` say whether it may be sent then, `required` that it must be when creating. `null` is what
    a null means. `default` is what is kept when nothing was sent.

    `stored` names the model's field that holds exactly this value, by which a filter can be narrowed in the database.
    `refused`: why it can have no value but its default here. `since`: the version of the API that brought it.
    """

    kind: Kind
    says: str
    create: bool = False
    required: bool = False
    update: bool = False
    default: Any = None
    null: Any = DEFAULT
    shown: bool = True
    stored: str = ""
    refused: str = ""
    since: str = ""
    nested: Resource | None = None
    """Of what kind the object, or each one in the list, is."""
    many: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """`name` is the key around one object in a body, `plural` that around a list; `title` names it in messages."""

    name: str
    plural: str
    title: str
    attributes: Mapping[str, Attribute]
    links: str = ""
    ignored_filters: frozenset[str] = field(default_factory=frozenset)

    @property
    def links_key(self) -> str:
        return self.links or f"{self.plural}_links"

    def without(self, *names: str) -> Resource:
        return replace(self, attributes={key: each for key, each in self.attributes.items() if key not in names})

    def having(self, **attributes: Attribute) -> Resource:
        return replace(self, attributes={**self.attributes, **attributes})

    # --- reading ---

    def created(self, body: Mapping[str, Any]) -> Values:
        """All that a new object needs: what was sent, and the defaults. `body` has it below its key."""
        return self.read_new(self._content(body))

    def read_new(self, sent: Any, path: str = "") -> Values:
        """The same of the object itself, found at `path` of the body."""
        given = self._read(sent, path, creating=True)
        for name, attribute in self.attributes.items():
            if attribute.required and name not in given:
                raise _invalid(_join(path, name), None, "it is required")
            if attribute.create:
                given.setdefault(name, attribute.default)
        return given

    def changed(self, body: Mapping[str, Any]) -> Values:
        """What was sent."""
        return self._read(self._content(body), "", creating=False)

    def items(self, body: Mapping[str, Any]) -> list[tuple[Values, Mapping[str, Any]]]:
        """Several new objects below the plural key: each with its defaults, and as it was sent."""
        listed = self._content(body, self.plural)
        self._check_list(self.plural, listed)
        return [(self.read_new(each, f"{self.plural}[{number}]"), each) for number, each in enumerate(listed)]

    def _content(self, body: Mapping[str, Any], key: str = "") -> Any:
        key = key or self.name
        for name in body:
            if name != key:
                raise _invalid(name, None, f"the body has {key} and nothing else")
        if key not in body:
            raise _invalid(key, None, "it is required")
        return body[key]

    def _read(self, sent: Any, path: str, *, creating: bool) -> Values:
        if not isinstance(sent, dict):
            raise _invalid(path or self.name, sent, "it must be an object")
        values: Values = {}
        for name, value in sent.items():
            where = _join(path, name)
            attribute = self.attributes.get(name)
            if attribute is None:
                raise _invalid(where, None, "there is no such attribute")
            if not (attribute.create if creating else attribute.update):
                raise _invalid(where, None, f"it cannot be set when {'creating' if creating else 'updating'}")
            values[name] = self._value(attribute, where, value, creating=creating)
        return values

    def _value(self, attribute: Attribute, where: str, value: Any, *, creating: bool) -> Any:
        if attribute.refused and value not in (None, attribute.default):
            raise Rejected(f"{where} is {attribute.refused}", field=where)
        if value is None:
            if attribute.null is REFUSED or (creating and attribute.required):
                raise _invalid(where, value, "it must not be null")
            return attribute.default if attribute.null is DEFAULT else attribute.null
        nested = attribute.nested
        if nested is None:
            try:
                return attribute.kind.read(value)
            except Unconvertible as error:
                raise _invalid(where, value, f"{error}", InvalidInput) from None
            except ValueError as error:
                raise _invalid(where, value, f"{error}") from None
        if not attribute.many:
            return nested.read_new(value, where) if creating else nested._read(value, where, creating=False)
        self._check_list(where, value)
        return tuple(nested.read_new(each, f"{where}[{number}]") for number, each in enumerate(value))

    @staticmethod
    def _check_list(where: str, value: Any) -> None:
        try:
            _check_list(value)
        except ValueError as error:
            raise _invalid(where, value, f"{error}") from None

    # --- asking ---

    def filters(self) -> Mapping[str, Kind]:
        """By what lists of such objects can be filtered."""
        return {name: attribute.kind for name, attribute in self.attributes.items()}

    def stored(self, equal: Mapping[str, Any]) -> dict[str, Any]:
        """Of these filters those that the database can apply, by its names."""
        return {
            attribute.stored: value.replace("-", "") if isinstance(attribute.kind, Uuid) else value
            for name, value in equal.items()
            if (attribute := self.attributes.get(name)) is not None and attribute.stored
        }

    # --- telling ---

    def json_schema(self) -> Schema:
        """For the reference."""
        return {
            "title": self.title,
            "required": [name for name, attribute in self.attributes.items() if attribute.required],
            "properties": {name: _documented(attribute) for name, attribute in self.attributes.items()},
        }


def _documented(attribute: Attribute) -> Schema:
    if attribute.nested is not None:
        schema: Schema = {"type": "array", "items": {}} if attribute.many else {"type": "object"}
    else:
        schema = attribute.kind.schema()
    notes = [attribute.says]
    if attribute.since:
        notes.append(f"Since {attribute.since}.")
    if not attribute.create:
        schema = {"readOnly": True}
    elif not attribute.update:
        notes.append("Cannot be changed.")
    if not attribute.shown:
        notes.append("Not shown.")
    if attribute.refused:
        notes.append(f"Only its default is accepted: it is {attribute.refused}.")
    if attribute.create and not attribute.required and attribute.default is not None:
        default = attribute.default
        schema["default"] = list(default) if isinstance(default, tuple) else default
    return {**schema, "description": " ".join(notes)}


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _invalid(where: str, value: Any, reason: str, error: type[InvalidInput] = Rejected) -> InvalidInput:
    shown = "" if value is None or isinstance(value, dict | list) else f" Value: '{str(value)[:60]}'."
    return error(f"Invalid input for field/attribute {where}.{shown} {reason[:1].upper()}{reason[1:]}", field=where)
