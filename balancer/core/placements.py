"""Flavors and availability zones: names under which administrators offer some of the devices."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Mapping
from dataclasses import replace
from typing import Any

from balancer.core.model import Caller, LoadBalancer, Placement, PlacementKind, PlacementProfile
from balancer.core.ports import PlacementRows, Transaction, Transactions
from balancer.core.retry import after_lost_race
from balancer.exceptions import Conflict, Forbidden, InvalidInput, Unsupported

DEVICES = "devices"
CAPABILITIES = {DEVICES: "Names or ids of the devices that may serve the load balancers (with commas between them)."}
"""What the data of a profile may say, whatever the provider; its driver may know more words (`profile_words`)."""

NOUNS = {PlacementKind.FLAVOR: "Flavor", PlacementKind.AVAILABILITY_ZONE: "Availability Zone"}
_FIELDS = {PlacementKind.FLAVOR: "flavor_id", PlacementKind.AVAILABILITY_ZONE: "availability_zone"}


def device_words(data: str, known: Container[str] | None = None, field: str = "data") -> frozenset[str] | None:
    """The names and ids of devices in a profile's data, a JSON object; None: all devices. Raises `InvalidInput`, and
    `Unsupported` for a word that is not `known` (None: all are)."""
    try:
        values: Any = json.loads(data)
    except (ValueError, RecursionError):
        raise InvalidInput(f"{field} must be JSON", field=field) from None
    if not isinstance(values, dict):
        raise InvalidInput(f"{field} must be a JSON object", field=field)
    for name in values:
        if known is not None and name not in known:
            raise Unsupported(f"{field}: there is no capability {name} with this provider", field=field)
    named = values.get(DEVICES)
    if named is None:
        return None
    words = named.split(",") if isinstance(named, str) else named
    if not isinstance(words, list) or not all(isinstance(word, str) and word.strip() for word in words):
        raise InvalidInput(f"{field}: {DEVICES} must be text such as HAP-001,HAP-002", field=field)
    return frozenset(word.strip() for word in words)


def settle(rows: PlacementRows, balancer: LoadBalancer) -> LoadBalancer:
    """The load balancer with the provider that its flavor or availability zone decides.

    Raises `InvalidInput` for one that is unknown or switched off, or of another provider.
    """
    for kind, name in _chosen(balancer):
        field = _FIELDS[kind]
        placement = find(rows, kind, name)
        if placement is None:
            raise InvalidInput(f"{NOUNS[kind]} {name} not found", field=field)
        if not placement.enabled:
            raise InvalidInput(f"{NOUNS[kind]} {name} is not enabled", field=field)
        provider = rows.profile(kind, placement.profile_id).provider
        if balancer.provider not in (None, provider):
            raise InvalidInput(f"{NOUNS[kind]} {name} is of provider {provider}, not {balancer.provider}", field=field)
        balancer = replace(balancer, provider=provider)
    return balancer


def device_ids(tx: Transaction, balancer: LoadBalancer) -> frozenset[str] | None:
    """The devices that its flavor and its availability zone leave to it; None: all."""
    found: frozenset[str] | None = None
    for kind, name in _chosen(balancer):
        placement = find(tx.placements, kind, name)
        words = None if placement is None else device_words(tx.placements.profile(kind, placement.profile_id).data)
        if words is not None:
            devices = frozenset(
                each.id
                for each in tx.devices()
                if each.name in words or words & {each.id, each.id.upper(), _dashed(each.id)}
            )
            found = devices if found is None else found & devices
    return found


def _dashed(object_id: str) -> str:
    return "-".join((object_id[:8], object_id[8:12], object_id[12:16], object_id[16:20], object_id[20:]))


def _chosen(balancer: LoadBalancer) -> list[tuple[PlacementKind, str]]:
    chosen = (
        (PlacementKind.FLAVOR, balancer.flavor_id),
        (PlacementKind.AVAILABILITY_ZONE, balancer.availability_zone),
    )
    return [(kind, name) for kind, name in chosen if name is not None]


def find(rows: PlacementRows, kind: PlacementKind, name: str) -> Placement | None:
    """A flavor by its id, an availability zone by its name."""
    for each in rows.placements(kind):
        if name == (each.id if kind is PlacementKind.FLAVOR else each.name):
            return each
    return None


class PlacementService:
    """What callers can ask of flavors and zones. Changes and profiles are for administrators.

    `words_of` are those of a provider's driver; it raises `InvalidInput` for a provider that there is not.
    """

    def __init__(self, repository: Transactions, words_of: Callable[[str], Mapping[str, str]]) -> None:
        self._repository = repository
        self._words_of = words_of

    def capabilities(self, provider: str | None) -> dict[str, str]:
        """What the data of its profiles may say, and what that means; None: of any provider."""
        return CAPABILITIES | ({} if provider is None else dict(self._words_of(provider)))

    # --- profiles ---

    def profiles(self, caller: Caller, kind: PlacementKind) -> list[PlacementProfile]:
        _require_admin(caller)
        with self._repository.read() as tx:
            return tx.placements.profiles(kind)

    def profile(self, caller: Caller, kind: PlacementKind, profile_id: str) -> PlacementProfile:
        _require_admin(caller)
        with self._repository.read() as tx:
            return tx.placements.profile(kind, profile_id)

    @after_lost_race
    def add_profile(self, caller: Caller, profile: PlacementProfile) -> PlacementProfile:
        _require_admin(caller)
        self._check(profile)
        with self._repository.write() as tx:
            tx.placements.add_profile(profile)
        return profile

    @after_lost_race
    def change_profile(
        self,
        caller: Caller,
        kind: PlacementKind,
        profile_id: str,
        change: Callable[[PlacementProfile], PlacementProfile],
    ) -> PlacementProfile:
        """Only its name can be changed while something uses it: raises `Conflict`."""
        _require_admin(caller)
        with self._repository.write() as tx:
            old = tx.placements.profile(kind, profile_id)
            new = change(old)
            self._check(new)
            if (new.provider, new.data) != (old.provider, old.data):
                self._refuse_in_use(tx, old)
            tx.placements.save_profile(new)
        return new

    @after_lost_race
    def remove_profile(self, caller: Caller, kind: PlacementKind, profile_id: str) -> None:
        """Raises `Conflict` while something uses it."""
        _require_admin(caller)
        with self._repository.write() as tx:
            self._refuse_in_use(tx, tx.placements.profile(kind, profile_id))
            tx.placements.delete_profile(profile_id)

    def _check(self, profile: PlacementProfile) -> None:
        device_words(profile.data, self.capabilities(profile.provider))

    @staticmethod
    def _refuse_in_use(tx: Transaction, profile: PlacementProfile) -> None:
        for each in tx.placements.placements(profile.kind):
            if each.profile_id == profile.id:
                raise Conflict(f"Profile {profile.id} is in use by {NOUNS[profile.kind]} {each.name}")

    # --- flavors and zones ---

    def placements(self, caller: Caller, kind: PlacementKind) -> list[Placement]:
        with self._repository.read() as tx:
            return tx.placements.placements(kind)

    @after_lost_race
    def add_placement(self, caller: Caller, placement: Placement) -> Placement:
        """Raises `InvalidInput` for an unknown profile, `Conflict` for a name that another has."""
        _require_admin(caller)
        with self._repository.write() as tx:
            if placement.profile_id not in {each.id for each in tx.placements.profiles(placement.kind)}:
                raise InvalidInput(f"Profile {placement.profile_id} not found", field="profile_id")
            self._refuse_same_name(tx, placement)
            tx.placements.add_placement(placement)
        return placement

    @after_lost_race
    def change_placement(
        self, caller: Caller, kind: PlacementKind, placement_id: str, change: Callable[[Placement], Placement]
    ) -> Placement:
        _require_admin(caller)
        with self._repository.write() as tx:
            new = change(tx.placements.placement(kind, placement_id))
            self._refuse_same_name(tx, new)
            tx.placements.save_placement(new)
        return new

    @after_lost_race
    def remove_placement(self, caller: Caller, kind: PlacementKind, placement_id: str) -> None:
        """Raises `Conflict` while a load balancer uses it."""
        _require_admin(caller)
        with self._repository.write() as tx:
            old = tx.placements.placement(kind, placement_id)
            column = _FIELDS[kind]
            users = tx.stamps_having(LoadBalancer, {column: old.id if kind is PlacementKind.FLAVOR else old.name})
            if users:
                raise Conflict(f"{NOUNS[kind]} {old.name} is in use by load balancer {users[0].load_balancer_id}")
            tx.placements.delete_placement(placement_id)

    @staticmethod
    def _refuse_same_name(tx: Transaction, placement: Placement) -> None:
        for each in tx.placements.placements(placement.kind):
            if each.name == placement.name and each.id != placement.id:
                raise Conflict(f"There is a {NOUNS[placement.kind]} named {placement.name} already", field="name")


def _require_admin(caller: Caller) -> None:
    if not caller.acts_everywhere:
        raise Forbidden("This is for administrators")
