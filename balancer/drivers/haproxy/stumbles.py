"""What HAProxy did not start with, though it had accepted it, is not tried again and again.

An address or port that cannot be bound shows only when HAProxy starts. A failed reload is not harmless: HAProxy stops
listening for two seconds while it tries, for all load balancers of the device, and version 2.6 ends when one of
them has several health monitors.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from balancer.core.model import Candidate

# Seconds; then somebody may have changed what kept it from starting.
_REMEMBERED = 3600.0
# A reload can fail for a reason of the host's own, so one failure without a word is no proof.
_PROOF = 2
AGAIN = "It is tried again when it is changed, after an hour, or by a resync of the device"


@dataclass(slots=True)
class _Stumble:
    text: str
    sentence: str
    times: int
    last: float


class Stumbles:
    """By device, then by load balancer: the text that HAProxy did not start with."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[str, dict[str, _Stumble]] = {}

    def note(self, device_id: str, texts: Mapping[str, str], sentence: str, *, proven: bool) -> None:
        """`texts`: of the load balancers that are to blame; `proven`: HAProxy said so."""
        known = self._known.setdefault(device_id, {})
        for load_balancer_id, text in texts.items():
            before = known.get(load_balancer_id)
            times = before.times if before is not None and before.text == text else 0
            known[load_balancer_id] = _Stumble(
                text=text, sentence=sentence, times=_PROOF if proven else times + 1, last=self._clock()
            )

    def served(self, device_id: str, texts: Mapping[str, str]) -> None:
        """HAProxy runs these."""
        known = self._known.get(device_id, {})
        for load_balancer_id, stumble in list(known.items()):
            if texts.get(load_balancer_id) == stumble.text:
                del known[load_balancer_id]

    def forget(self, device_id: str) -> None:
        self._known.pop(device_id, None)

    def spare(self, device_id: str, candidate: Candidate, accepted: Mapping[str, str]) -> Candidate:
        """The candidate without what is known not to start: those load balancers keep their last `accepted` text."""
        known = self._known.get(device_id)
        if not known:
            return candidate
        now = self._clock()
        for load_balancer_id, stumble in list(known.items()):
            if candidate.blocks.get(load_balancer_id) != stumble.text or now - stumble.last > _REMEMBERED:
                del known[load_balancer_id]
        blocks, rejected = dict(candidate.blocks), dict(candidate.rejected)
        for load_balancer_id, stumble in known.items():
            if stumble.times >= _PROOF:
                last = accepted.get(load_balancer_id, "")
                blocks[load_balancer_id] = "" if last == stumble.text else last
                rejected.setdefault(load_balancer_id, f"{stumble.sentence}. {AGAIN}")
        return replace(candidate, blocks=blocks, rejected=rejected)


def newcomers(old: bytes, blocks: Mapping[str, str]) -> dict[str, str]:
    """Those of the blocks that listen where the `old` file did not."""
    present = _binds(old.decode("utf-8", "replace"))
    return {key: text for key, text in blocks.items() if not _binds(text) <= present}


def _binds(text: str) -> frozenset[str]:
    lines: Iterable[str] = (line.strip() for line in text.splitlines())
    return frozenset(line for line in lines if line.startswith("bind "))
