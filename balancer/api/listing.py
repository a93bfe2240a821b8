"""Lists of the OpenStack dialects: filters, tags, fields, sorting and pages. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode

from balancer.api.attributes import Kind
from balancer.exceptions import InvalidInput

View = dict[str, Any]

LONGEST_PAGE = 1000
_TAGS = ("tags", "tags-any", "not-tags", "not-tags-any")
_PAGING = ("limit", "marker", "page_reverse", "sort", "sort_key", "sort_dir", "fields")
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An object as it is shown. `hidden` are further values that can be filtered by."""

    view: View
    created_at: datetime | None = None
    hidden: Mapping[str, Any] | None = None

    def value(self, name: str) -> Any:
        if self.hidden is not None and name in self.hidden:
            return self.hidden[name]
        return self.view.get(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a query asks for. `limit` None: all. `equal` must all hold, and of `any_of` one value each. `neutron`: pages
    as Neutron makes them, where each one has links to both sides unless it is the last one that way, and nothing comes
    behind something that is not there."""

    equal: Mapping[str, Any]
    tags: Mapping[str, frozenset[str]]
    fields: tuple[str, ...]
    sort: tuple[tuple[str, bool], ...]
    limit: int | None
    marker: str | None
    reverse: bool
    query: tuple[tuple[str, str], ...]
    any_of: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    neutron: bool = False

    def page(
        self, items: Iterable[Item], url: str, *, told_apart: str = "id"
    ) -> tuple[list[View], list[dict[str, str]]]:
        """The views that are asked for, and the links to the pages around them. `items` are in an order that does
        not change by itself. `marker` is a value of the attribute `told_apart`. Raises `InvalidInput`."""
        found = [item for item in items if self._matches(item)]
        # What was made at once stays as it was listed.
        found.sort(key=lambda item: item.created_at or _NEVER)
        for key, descending in reversed(self.sort):
            found.sort(key=lambda item: _sortable(item.value(key)), reverse=descending)
        page = self._cut(found, told_apart)
        views = [choose(item.view, self.fields) for item in page]
        return views, self._links(page, url, told_apart)

    def once(self, items: Iterable[Item]) -> Iterator[Item]:
        """Those that are asked for, and of several with one id the first."""
        seen = set()
        for item in filter(self._matches, items):
            if item.view["id"] not in seen:
                seen.add(item.view["id"])
                yield item

    def _matches(self, item: Item) -> bool:
        return (
            all(_equals(item.value(name), wanted) for name, wanted in self.equal.items())
            and all(any(_equals(item.value(name), each) for each in some) for name, some in self.any_of.items())
            and self._tagged(item)
        )

    def _tagged(self, item: Item) -> bool:
        if not self.tags:
            return True
        has = set(item.view.get("tags") or ())
        tests: Mapping[str, Callable[[frozenset[str]], bool]] = {
            "tags": lambda wanted: wanted <= has,
            "tags-any": lambda wanted: bool(wanted & has),
            "not-tags": lambda wanted: not wanted <= has,
            "not-tags-any": lambda wanted: not wanted & has,
        }
        return all(tests[name](wanted) for name, wanted in self.tags.items())

    def _cut(self, found: Sequence[Item], told_apart: str) -> Sequence[Item]:
        first, end = 0, len(found)
        if self.marker is not None:
            at = next((i for i, item in enumerate(found) if item.value(told_apart) == self.marker), None)
            if at is None and self.neutron:
                return []
            if at is None:
                raise InvalidInput(f"marker: there is no {self.marker} in this list", field="marker")
            first, end = (0, at) if self.reverse else (at + 1, end)
        if self.limit is None:
            return found[first:end]
        return (
            found[max(first, end - self.limit) : end] if self.reverse else found[first : min(end, first + self.limit)]
        )

    def _links(self, page: Sequence[Item], url: str, told_apart: str) -> list[dict[str, str]]:
        if not page or self.limit is None:
            return []
        kept = [(key, value) for key, value in self.query if key not in ("marker", "page_reverse", "limit")]

        def link(rel: str, marker: Any, *more: tuple[str, str]) -> dict[str, str]:
            query = urlencode([("limit", str(self.limit)), *kept, ("marker", str(marker)), *more])
            return {"rel": rel, "href": f"{url}?{query}"}

        links = []
        if self.neutron:
            whole = len(page) >= self.limit
            forward, back = whole or self.reverse, whole or not self.reverse
        else:
            forward, back = len(page) >= self.limit, self.marker is not None
        if forward:
            links.append(link("next", page[-1].value(told_apart)))
        if back:
            links.append(link("previous", page[0].value(told_apart), ("page_reverse", "True")))
        return links


def read(
    query_string: str,
    filters: Mapping[str, Kind],
    *,
    ignored: Collection[str] = (),
    marker: Kind | None = None,
) -> Listing:
    """`filters`: attribute to its kind. `marker`: the kind of what pages are told apart by. Raises `InvalidInput`."""
    query = _pairs(query_string)
    equal: dict[str, Any] = {}
    tags: dict[str, frozenset[str]] = {}
    paging: dict[str, str] = {}
    sort_keys: list[str] = []
    sort_dirs: list[str] = []
    fields: list[str] = []
    for key, text in query:
        if "\x00" in text:
            raise InvalidInput(f"{key} has a NUL in it", field=key)
        if key == "fields":
            fields.append(text)
        elif key in _TAGS and "tags" in filters:
            tags[key] = tags.get(key, frozenset()) | frozenset(text.split(","))
        elif key == "sort_key":
            sort_keys += text.split(",")
        elif key == "sort_dir":
            sort_dirs += text.split(",")
        elif key in _PAGING:
            paging[key] = text
        elif key in ignored:
            continue
        elif key not in filters:
            raise InvalidInput(f"There is no attribute {key} to filter by", field=key)
        elif key in equal:
            raise InvalidInput(f"{key} is there twice", field=key)
        else:
            try:
                equal[key] = filters[key].query(text)
            except ValueError as error:
                raise InvalidInput(f"{key}: {error}", field=key) from None
    wanted = paging.get("marker")
    return Listing(
        equal=equal,
        tags=tags,
        fields=tuple(fields),
        sort=_sort(paging.get("sort"), sort_keys, sort_dirs, filters),
        limit=_limit(paging.get("limit")),
        marker=marker.query(wanted) if wanted is not None and marker is not None else wanted,
        reverse=paging.get("page_reverse", "").lower() == "true",
        query=tuple(query),
    )


def read_neutron(query_string: str, filters: Mapping[str, Kind]) -> Listing:
    """In Neutron's way: a key that is repeated means any of its values, those that are empty and keys that mean nothing
    are passed over. Links are there only when a limit is given. Raises `InvalidInput`."""
    query = _pairs(query_string)
    values: dict[str, list[str]] = {}
    for key, text in query:
        if "\x00" in text:
            raise InvalidInput(f"{key} has a NUL in it", field=key)
        values.setdefault(key, []).append(text)
    any_of = {}
    for key, kind in filters.items():
        wanted = [text for text in values.get(key, ()) if text]
        if wanted:
            try:
                any_of[key] = tuple(map(kind.query, wanted))
            except ValueError as error:
                raise InvalidInput(f"{key}: {error}", field=key) from None
    keys, directions = values.get("sort_key", []), values.get("sort_dir", [])
    if len(keys) != len(directions):
        raise InvalidInput("sort_key and sort_dir must be there as often as each other", field="sort_dir")
    limit = values.get("limit", ["0"])[-1]
    if not re.fullmatch("[0-9]{1,18}", limit):
        raise InvalidInput("limit must be a whole number, 0 or more", field="limit")
    return Listing(
        equal={},
        tags={},
        fields=tuple(filter(None, values.get("fields", ()))),
        sort=_sort(None, keys, directions, filters),
        limit=int(limit) or None,
        marker=values.get("marker", [""])[-1] or None,
        reverse=values.get("page_reverse", [""])[-1].lower() == "true",
        query=tuple(query),
        any_of=any_of,
        neutron=True,
    )


def fields_of(query_string: str) -> tuple[str, ...]:
    return tuple(text for key, text in _pairs(query_string) if key == "fields" and text)


def choose(view: View, fields: Collection[str]) -> View:
    """Exactly the attributes that are asked for; all when none are."""
    return {name: value for name, value in view.items() if name in fields} if fields else view


def _pairs(query_string: str) -> list[tuple[str, str]]:
    return parse_qsl(query_string, keep_blank_values=True, errors="replace")


def _sort(
    sort: str | None, keys: Sequence[str], directions: Sequence[str], known: Mapping[str, Kind]
) -> tuple[tuple[str, bool], ...]:
    if sort is not None:
        parts = [part.partition(":") for part in sort.split(",")]
        pairs = [(key, direction or "asc") for key, _, direction in parts]
    else:
        missing = ["asc"] * (len(keys) - len(directions))
        pairs = list(zip(keys, [*directions, *missing], strict=False))
    for key, direction in pairs:
        if key not in known:
            raise InvalidInput(f"sort: there is no attribute {key}", field="sort")
        if direction not in ("asc", "desc"):
            raise InvalidInput(f"sort: {direction} is neither asc nor desc", field="sort")
    return tuple((key, direction == "desc") for key, direction in pairs)


def _limit(text: str | None) -> int | None:
    if text is None:
        return LONGEST_PAGE
    if text.lower() == "infinite":
        return None
    try:
        number = int(text[:20])
    except ValueError:
        raise InvalidInput("limit must be a whole number", field="limit") from None
    return None if number <= 0 else min(number, LONGEST_PAGE)


def _equals(value: Any, wanted: Any) -> bool:
    """Lists of objects are searched for an object of that id, other lists for the value."""
    if isinstance(value, list):
        return any(wanted == (each.get("id") if isinstance(each, dict) else each) for each in value)
    return bool(value == wanted)


def _sortable(value: Any) -> tuple[int, Any]:
    """Nothing comes before everything; what cannot be compared is compared as text."""
    if value is None:
        return (0, "")
    if isinstance(value, bool | int | float):
        return (1, value)
    return (2, value if isinstance(value, str) else str(value))
