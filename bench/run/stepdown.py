"""Which cases a smaller batch may be tried for where memory did not suffice, and how that is told. No torch."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace

from bench.core.records import Failure, Measurement, Outcome

SHRINKING = ("inference", "layers", "prefill", "decode")
"""Experiments whose batch size shapes time and memory alone. What a training learns depends on it."""


def steps_down(failure: Failure) -> bool:
    """Whether a smaller batch may fit, and tells something of the case."""
    case = failure.case
    return failure.kind == "out_of_memory" and case.experiment in SHRINKING and case.batch_size > 1


def stepped_down(failure: Failure, tried: Sequence[Outcome]) -> Failure:
    """``failure``, which tells of every smaller batch that was tried.

    A batch that fits is no row of its own: the case that was asked for has none.
    """
    told = [_told(outcome) for outcome in tried]
    fitted = next((outcome for outcome in tried if isinstance(outcome, Measurement)), None)
    return replace(failure, message="; ".join([failure.message, *told]), fitted=fitted)


def _told(outcome: Outcome) -> str:
    size = outcome.case.batch_size
    if isinstance(outcome, Failure):
        return f"batch {size}: {outcome.kind}" + ("" if outcome.kind == "out_of_memory" else f" ({outcome.message})")
    return f"batch {size} fits: {statistics.median(outcome.seconds) * 1e3:.3g} ms a call"
