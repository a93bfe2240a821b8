"""Flavors and availability zones within a transaction: `balancer.core.ports.PlacementRows`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Table, delete, insert, select, update

from balancer.core.model import Placement, PlacementKind, PlacementProfile
from balancer.db.tables import placement_profiles, placements
from balancer.exceptions import NotFound

_NOUNS = {
    (placements, PlacementKind.FLAVOR): "Flavor",
    (placements, PlacementKind.AVAILABILITY_ZONE): "Availability Zone",
    (placement_profiles, PlacementKind.FLAVOR): "Flavor Profile",
    (placement_profiles, PlacementKind.AVAILABILITY_ZONE): "Availability Zone Profile",
}


class SqlPlacementRows:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def profiles(self, kind: PlacementKind) -> list[PlacementProfile]:
        return [_profile(row) for row in self._rows(placement_profiles, kind)]

    def profile(self, kind: PlacementKind, profile_id: str) -> PlacementProfile:
        return _profile(self._row(placement_profiles, kind, profile_id))

    def add_profile(self, profile: PlacementProfile) -> None:
        self._connection.execute(insert(placement_profiles).values(**asdict(profile)))

    def save_profile(self, profile: PlacementProfile) -> None:
        this = placement_profiles.c.id == profile.id
        self._connection.execute(update(placement_profiles).where(this).values(**asdict(profile)))

    def delete_profile(self, profile_id: str) -> None:
        self._connection.execute(delete(placement_profiles).where(placement_profiles.c.id == profile_id))

    def placements(self, kind: PlacementKind) -> list[Placement]:
        return [_placement(row) for row in self._rows(placements, kind)]

    def placement(self, kind: PlacementKind, placement_id: str) -> Placement:
        return _placement(self._row(placements, kind, placement_id))

    def add_placement(self, placement: Placement) -> None:
        self._connection.execute(insert(placements).values(**asdict(placement)))

    def save_placement(self, placement: Placement) -> None:
        this = placements.c.id == placement.id
        self._connection.execute(update(placements).where(this).values(**asdict(placement)))

    def delete_placement(self, placement_id: str) -> None:
        self._connection.execute(delete(placements).where(placements.c.id == placement_id))

    def _rows(self, table: Table, kind: PlacementKind) -> list[Mapping[Any, Any]]:
        query = select(table).where(table.c.kind == kind.value).order_by(table.c.id)
        return [dict(row) for row in self._connection.execute(query).mappings()]

    def _row(self, table: Table, kind: PlacementKind, row_id: str) -> Mapping[Any, Any]:
        query = select(table).where(table.c.id == row_id, table.c.kind == kind.value)
        found = self._connection.execute(query).mappings().first()
        if found is None:
            raise NotFound(_NOUNS[table, kind], row_id)
        return dict(found)


def _profile(row: Mapping[Any, Any]) -> PlacementProfile:
    return PlacementProfile(**{**row, "kind": PlacementKind(row["kind"])})


def _placement(row: Mapping[Any, Any]) -> Placement:
    return Placement(**{**row, "kind": PlacementKind(row["kind"])})
