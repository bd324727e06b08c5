"""The noise floor: how far two rows came apart that measured the same thing in processes of their own."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bench.report.rows import IDENTITY, PLACE, Row, grouped
from bench.report.statistics import Estimate, speed_up

SAME = tuple(name for name in IDENTITY if name != "options")
"""What the two rows of a pair share: their letter is an option."""


@dataclass(frozen=True, kw_only=True)
class Noise:
    """One A/A pair."""

    first: Row
    processes: int
    """Of each of the two at least."""
    ratio: Estimate
    """Median of A over median of B."""
    spread: float | None
    """Standard deviation of the processes' medians over their mean; None for fewer than three processes."""
    floor: float
    """Largest relative difference between the medians of a process of A and one of B."""


def noises(rows: Sequence[Row]) -> list[Noise]:
    """The pairs among ``rows``, which are of experiment noise."""
    pairs = [members for members in grouped(rows, SAME).values() if len(members) == 2]
    return [_noise(*sorted(pair, key=lambda row: str(row["settings"].get("side")))) for pair in pairs]


def add_noise(rows: Sequence[Row]) -> None:
    """Add the largest noise floor of its place to every row: what one process measured has to be further apart."""
    floors: dict[tuple[object, ...], float] = {}
    for noise in noises([row for row in rows if row["experiment"] == "noise"]):
        place = tuple(noise.first[name] for name in PLACE)
        floors[place] = max(noise.floor, floors.get(place, 0.0))
    for row in rows:
        row["noise floor [1]"] = floors.get(tuple(row[name] for name in PLACE))


def _noise(a: Row, b: Row) -> Noise:
    ours, theirs = ([statistics.median(samples) for samples in row["processes"]] for row in (a, b))
    ratios = [one / other for one in ours for other in theirs]
    medians = [*ours, *theirs]
    return Noise(
        first=a,
        processes=min(len(ours), len(theirs)),
        ratio=speed_up(a["timing"], b["timing"]),
        spread=statistics.stdev(medians) / statistics.fmean(medians) if len(medians) > 2 else None,
        floor=max(max(ratio, 1 / ratio) for ratio in ratios) - 1,
    )
