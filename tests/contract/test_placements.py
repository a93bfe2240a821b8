"""Flavors and availability zones, as every database keeps them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from balancer.core.model import Placement, PlacementKind, PlacementProfile, new_id
from balancer.core.ports import Transaction
from balancer.exceptions import Conflict, NotFound
from tests.contract.databases import DatabaseCase, Mariadb, Postgresql, SqliteFile

if TYPE_CHECKING:
    Suite = DatabaseCase
else:
    Suite = object

FLAVOR, ZONE = PlacementKind.FLAVOR, PlacementKind.AVAILABILITY_ZONE


class PlacementsContract(Suite):
    def add(self, tx: Transaction, kind: PlacementKind, name: str) -> tuple[PlacementProfile, Placement]:
        profile = PlacementProfile(id=new_id(), kind=kind, name="näme", provider="dummy", data='{"devices": "ä, b"}')
        placement = Placement(
            id=new_id(), kind=kind, name=name, description="line\nline", enabled=False, profile_id=profile.id
        )
        tx.placements.add_profile(profile)
        tx.placements.add_placement(placement)
        return profile, placement

    def test_they_come_back_each_kind_by_itself(self) -> None:
        with self.repository.write() as tx:
            profile, flavor = self.add(tx, FLAVOR, "gold")
            # A zone may have the name of a flavor.
            zone_profile, zone = self.add(tx, ZONE, "gold")
        with self.repository.read() as tx:
            self.assertEqual([flavor], tx.placements.placements(FLAVOR))
            self.assertEqual([zone_profile], tx.placements.profiles(ZONE))
            self.assertEqual(
                (profile, zone), (tx.placements.profile(FLAVOR, profile.id), tx.placements.placement(ZONE, zone.id))
            )
            for missing in (
                lambda: tx.placements.profile(ZONE, profile.id),
                lambda: tx.placements.placement(FLAVOR, zone.id),
            ):
                with self.assertRaises(NotFound):
                    missing()

    def test_they_change_and_go(self) -> None:
        with self.repository.write() as tx:
            profile, flavor = self.add(tx, FLAVOR, "gold")
            _, other = self.add(tx, FLAVOR, "silver")
        changed, renamed = replace(profile, data="{}"), replace(flavor, name="platinum", enabled=True)
        with self.repository.write() as tx:
            tx.placements.save_profile(changed)
            tx.placements.save_placement(renamed)
        with self.repository.write() as tx:
            self.assertEqual(changed, tx.placements.profile(FLAVOR, profile.id))
            self.assertEqual(renamed, tx.placements.placement(FLAVOR, flavor.id))
            tx.placements.delete_placement(flavor.id)
            tx.placements.delete_profile(profile.id)
        with self.repository.read() as tx:
            self.assertEqual([other], tx.placements.placements(FLAVOR))

    def test_two_of_one_name_are_refused_whoever_was_faster(self) -> None:
        with self.repository.write() as tx:
            self.add(tx, FLAVOR, "gold")
        with self.assertRaises(Conflict), self.repository.write() as tx:
            self.add(tx, FLAVOR, "gold")


class PlacementsOnSqlite(PlacementsContract, SqliteFile):
    pass


class PlacementsOnPostgresql(PlacementsContract, Postgresql):
    pass


class PlacementsOnMariadb(PlacementsContract, Mariadb):
    pass
