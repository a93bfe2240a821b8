"""What a benchmark gives, and how it is told. Every figure stands beside its floor, measured in the same run in turns
with it, so that whatever else the machine does slows both."""

from __future__ import annotations

import operator
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

_HOLDS = {"≤": operator.le, "≥": operator.ge}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What `Result.compared` is to be; `sign` is ≤ or ≥."""

    sign: str
    limit: float
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.sign} {self.limit:g}{f' {self.unit}' if self.unit else ''}"

    def met(self, compared: float) -> bool:
        holds: bool = _HOLDS[self.sign](compared, self.limit)
        return holds


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One row of the table. `value` and `floor` are in `unit`; `compared` is their ratio or, where the target says so,
    their difference. Without a floor it is the value itself. `details` go into the JSON only."""

    row: str
    what: str
    unit: str
    value: float
    floor: float | None
    compared: float
    target: Target | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        return None if self.target is None else self.target.met(self.compared)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "target": str(self.target) if self.target else None, "met": self.met}


def in_turns(rounds: int, floor: Callable[[], float], ours: Callable[[], float]) -> tuple[list[float], list[float]]:
    """The figures of the floor and ours, each measured `rounds` times, one after the other."""
    floors, values = [], []
    for _ in range(rounds):
        floors.append(floor())
        values.append(ours())
    return floors, values


def ratio(values: Sequence[float], floors: Sequence[float]) -> float:
    """The median of what neighbours in time give."""
    return statistics.median(value / floor for value, floor in zip(values, floors, strict=True))


def percentile(values: Sequence[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(percent / 100 * (len(ordered) - 1)))]


def table(results: Iterable[Result]) -> str:
    """Markdown, as it stands in the documentation."""
    rows = [_HEAD, *map(_cells, results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, " | ".join("-" * width for width in widths))
    return "\n".join(f"| {line} |" for line in lines)


def line(result: Result) -> str:
    """For whoever watches."""
    return "  ".join(filter(None, _cells(result)))


_HEAD = ("row", "what", "floor", "measured", "compared", "target")


def _cells(result: Result) -> tuple[str, ...]:
    mark = {None: "", True: " ✓", False: " ✗"}[result.met]
    return (
        result.row,
        result.what,
        "" if result.floor is None else f"{_figure(result.floor)} {result.unit}",
        f"{_figure(result.value)} {result.unit}",
        f"{result.compared:.2f}",
        f"{result.target or ''}{mark}",
    )


def _figure(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
