"""Turns: what a worker that takes them is offered, and when the rounds of a set end. Standard library only."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from bench.core.budgets import BUDGETS, Sampling
from bench.core.records import Case

TAKING_TURNS = ("inference", "layers", "prefill", "decode")
"""Experiments whose routes are measured in sets."""
TURN_SECONDS = 0.05
"""A turn goes on for about so long, or for one call that takes longer."""
TURN_CALLS = 3
"""The fewest calls of a turn, where they are not longer than a turn."""
TIMING_OPTIONS = ("max_seconds", "min_samples")
"""Options of a case that change how long it is timed, and nothing of what it computes."""
TWIN = "twin"
"""Option of a case that runs its route once more in its set: what sets the two apart is noise."""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """Samples of one turn, in seconds."""

    seconds: tuple[float, ...]
    device_seconds: tuple[float, ...] | None = None


class Turns(Protocol):
    """The set that a worker belongs to."""

    def serve(self, take: Callable[[], Taken], held_bytes: int) -> bool:
        """Call ``take`` once in each round, when its turn comes, and wait in between; returns after the last round.

        Args:
            held_bytes: memory that this process holds now, for whether those of the set fit together.

        Returns:
            Whether the rounds ended because the ratios were certain enough, not because time was up.
        """
        ...


def reference_of(case: Case) -> Case:
    """The route that each row of the set of ``case`` is compared with: float32, eager, in torch."""
    options = tuple(pair for pair in case.options if pair[0] != TWIN)
    return dataclasses.replace(case, runtime="torch", precision="fp32", mode="eager", options=options)


def is_twin(case: Case) -> bool:
    """Whether ``case`` runs its route once more."""
    return bool(case.option(TWIN))


def sampling(case: Case) -> Sampling:
    """The stopping rule of ``case``: the budget's for its experiment, with what the command line changed of it."""
    budget = BUDGETS[case.budget]
    own = {
        "layers": budget.layers.sampling,
        "noise": budget.noise.sampling,
        "loading": budget.loading,
        "prefill": budget.language.sampling,
        "decode": budget.language.sampling,
    }
    rule = own.get(case.experiment, budget.sampling)
    changed = {name: case.option(name) for name in TIMING_OPTIONS if case.option(name) is not None}
    return dataclasses.replace(rule, **changed)  # type: ignore[arg-type]  # checked by pytest-benchmark's own options
