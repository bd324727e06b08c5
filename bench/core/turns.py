"""Turns: what a worker that takes them is offered, and which route the others are compared with. No torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from bench.core.amounts import ARITHMETIC_OPTIONS
from bench.core.records import Case, Peak, Scalar

TURN_SECONDS = 0.05
"""A turn goes on for about so long, or for one call that takes longer."""
TURN_CALLS = 3
"""The fewest calls of a turn, where they are not longer than a turn."""
TURN_SAMPLES = 50
"""The most samples that are kept of a turn, evenly spread over it: thousands of short calls say no more."""
UNDISTURBED = 0.05
"""Quantile of the calls of a set that tells its pace: what the machine does while nothing disturbs it.

Other work slows a call and never quickens it, and it slows routes that wait for memory more than those that live in
their caches. Medians of two routes are then as far apart as the neighbours of that minute have it. Source: Chen and
Revels, Robust benchmarking in noisy environments, arXiv 1608.04295, which takes the fastest call."""
SAME_PACE = 1.3
"""Most by which the paces of the reference in two sets may differ. Beyond it the machine itself was slower in one, for
minutes and by factors up to 1.7, as virtual ones are that share cores; and routes were slowed unequally. On a machine
whose sets are 7 % apart 1.15 kept whichever came close together, and runs differed by 6.6 % instead of 5.5 %."""
TWIN = "twin"
"""Option of a case that runs its route once more in its set: what sets the two apart is noise."""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """Samples of one turn, in seconds."""

    seconds: tuple[float, ...]
    device_seconds: tuple[float, ...] | None = None
    last: bool = False
    """True if the work is fixed, and this turn did the rest of it."""


class Turns(Protocol):
    """The set that a worker belongs to."""

    def serve(self, take: Callable[[], Taken], peaks: Callable[[], Sequence[Peak]] | None, held_bytes: int) -> bool:
        """Call ``take`` once in each round, when its turn comes, and wait in between; returns after the last round.

        Args:
            peaks: the one other pass of a worker that does not belong to the first set; None if there is but one set.
            held_bytes: memory that this process holds now, for whether those of the set fit together.

        Returns:
            Whether the rounds ended because the ratios were certain enough, not because time was up.
        """
        ...


def off_pace(reference: Mapping[int, Sequence[float]]) -> frozenset[int]:
    """Sets in which the machine had another pace than in those that count: no ratio is taken there.

    The quickest pace that two sets have counts, or where no two have one the quickest: one set has no interval.

    Args:
        reference: seconds of the reference's calls, by set; each has some.
    """
    paces = {number: sorted(calls)[int(UNDISTURBED * len(calls))] for number, calls in reference.items()}
    alike = [
        frozenset(number for number, pace in paces.items() if quickest <= pace <= SAME_PACE * quickest)
        for quickest in sorted(paces.values())
    ]
    kept: frozenset[int] = max(alike, key=lambda sets: len(sets) > 1, default=frozenset())  # the first of equals
    return frozenset(paces) - kept


def reference_of(case: Case) -> Case:
    """The route that each row of the set of ``case`` is compared with: float32, eager, in torch.

    Of trainings and their steps it is the notes' loop without workers, which is the lowest rung of a ladder.
    """
    options = {name: value for name, value in case.options if name != TWIN}
    plain = dataclasses.replace(case, runtime="torch", precision="fp32", mode="eager")
    if case.pipeline is None:
        return dataclasses.replace(plain, options=tuple(options.items()))
    start: dict[str, Scalar] = {"workers": 0, **({"rung": 0} if "rung" in options else {})}
    kept = {name: value for name, value in options.items() if name not in ARITHMETIC_OPTIONS}
    return dataclasses.replace(plain, pipeline="dataloader", options=tuple(sorted({**kept, **start}.items())))


def is_twin(case: Case) -> bool:
    """True if ``case`` runs its route once more."""
    return bool(case.option(TWIN))
