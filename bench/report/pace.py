"""Slow phases of the machine, by the reference work that a process timed between its samples."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping

from bench.core.records import Measurement

SLOWER = 0.3
"""Part by which the reference work takes longer than at best from which on a process is said to be slowed. In the calm
it was seen to differ by up to 0.3, mostly between cases, and by 0.4 to 0.9 in slow phases."""

Paces = Mapping[tuple[str, int], float]
"""Device and threads -> seconds of the reference work in the process in which it was quickest."""


def paces_of(measurements: Iterable[Measurement]) -> Paces:
    """Paces of processes on one machine. The work is larger for more threads."""
    found: dict[tuple[str, int], float] = {}
    for measurement in measurements:
        seconds = reference_seconds(measurement)
        if seconds is not None:
            key = _key(measurement)
            found[key] = min(seconds, found.get(key, seconds))
    return found


def reference_seconds(measurement: Measurement) -> float | None:
    """Seconds of the reference work while this process took its samples; None where it was not timed."""
    timed = [state.reference_seconds for state in measurement.device_state if state.reference_seconds]
    return statistics.median(timed) if timed else None


def slowdown(measurement: Measurement, paces: Paces) -> float | None:
    """Times as long as at best that the reference work took in a slow phase; None in no slow phase."""
    seconds, best = reference_seconds(measurement), paces.get(_key(measurement))
    if seconds is None or best is None or seconds <= (1 + SLOWER) * best:
        return None
    return seconds / best


def _key(measurement: Measurement) -> tuple[str, int]:
    return measurement.case.device, measurement.case.threads
