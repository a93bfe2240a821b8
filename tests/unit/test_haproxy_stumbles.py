"""What HAProxy did not start with is not tried again and again."""

from __future__ import annotations

import unittest

from balancer.core.model import Candidate
from balancer.drivers.haproxy.stumbles import Stumbles, newcomers

GOOD, BAD, OLDER = "frontend a\n    bind *:81\n", "frontend b\n    bind *:80\n", "frontend b\n    bind *:8080\n"


class TestStumbles(unittest.TestCase):
    def setUp(self) -> None:
        self.now = 100.0
        self.stumbles = Stumbles(lambda: self.now)

    def spared(self, accepted: dict[str, str] | None = None, bad: str = BAD) -> tuple[str, str]:
        """What is tried of the bad one, and why not all of it."""
        candidate = Candidate(head="", blocks={"a": GOOD, "b": bad}, digest="")
        spared = self.stumbles.spare("device", candidate, accepted or {})
        self.assertEqual(GOOD, spared.blocks["a"])
        self.assertLessEqual(spared.rejected.keys(), {"b"})
        return spared.blocks["b"], spared.rejected.get("b", "")

    def test_nothing_is_spared_unasked(self) -> None:
        self.assertEqual((BAD, ""), self.spared())

    def test_what_haproxy_named_is_not_tried_again(self) -> None:
        self.stumbles.note("device", {"b": BAD}, "It cannot bind", proven=True)
        text, why = self.spared({"b": OLDER})
        self.assertEqual(OLDER, text)
        self.assertRegex(why, r"^It cannot bind\. It is tried again when")
        # What was accepted once may not start any more.
        self.assertEqual("", self.spared({"b": BAD})[0])

    def test_without_a_word_it_takes_two_failures(self) -> None:
        self.stumbles.note("device", {"b": BAD}, "No process lives", proven=False)
        self.assertEqual((BAD, ""), self.spared())
        self.stumbles.note("device", {"b": BAD}, "No process lives", proven=False)
        self.assertEqual("", self.spared()[0])

    def test_a_change_an_hour_or_forgetting_lets_it_be_tried_again(self) -> None:
        for again in ("change", "hour", "forget"):
            self.stumbles.note("device", {"b": BAD}, "It cannot bind", proven=True)
            self.assertEqual("", self.spared()[0])
            if again == "change":
                self.assertEqual((OLDER, ""), self.spared(bad=OLDER))
            elif again == "hour":
                self.now += 3601
            else:
                self.stumbles.forget("device")
            self.assertEqual((BAD, ""), self.spared(), again)

    def test_what_was_served_meanwhile_begins_anew(self) -> None:
        self.stumbles.note("device", {"b": BAD}, "No process lives", proven=False)
        self.stumbles.served("device", {"a": GOOD, "b": BAD})
        self.stumbles.note("device", {"b": BAD}, "No process lives", proven=False)
        self.assertEqual((BAD, ""), self.spared())

    def test_failures_of_different_texts_do_not_add_up(self) -> None:
        self.stumbles.note("device", {"b": OLDER}, "No process lives", proven=False)
        self.stumbles.note("device", {"b": BAD}, "No process lives", proven=False)
        self.assertEqual((BAD, ""), self.spared())

    def test_who_is_new(self) -> None:
        old = b"listen x\n  bind *:81\n" + OLDER.encode()
        self.assertEqual({"b": BAD}, newcomers(old, {"a": GOOD, "b": BAD, "c": ""}))
        self.assertEqual({}, newcomers(old, {"b": OLDER.replace("frontend b", "frontend c")}))
