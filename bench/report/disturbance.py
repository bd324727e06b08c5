"""Disturbances of a row while its samples were taken, by the readings of the device between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.core.other_work import needed_cores
from bench.core.records import DeviceState, Measurement
from bench.report.pace import Paces, slowdown

CONTENDED = 0.1
"""Cores that others may use beyond those that the case leaves idle: more makes its threads wait for one another."""
DRIFT = 0.05
"""Relative change of the clock, from the first reading to the last, from which on a row is marked."""
ORDINARY = ("ApplicationsClocksSetting", "UserDefinedClocks", "SwPowerCap")
"""Reasons of NVML's that are no faults: settings, and the power cap, which a GPU under load reaches as a rule."""


def disturbances(repeats: Sequence[Measurement], cores: int, paces: Paces) -> str | None:
    """Warnings about the samples of ``repeats``, the worst of each kind; None where nothing is known to have
    disturbed them. ``cores`` are those of the machine that the case may use, ``paces`` its best."""
    found = [
        *_cpu(repeats, cores),
        *_slowed(repeats, paces),
        *_gpu(repeats),
        *_throttled(repeats),
        *_drifted(repeats),
    ]
    return "; ".join(found) or None


def undisturbed(measurement: Measurement, cores: int, paces: Paces) -> bool:
    """True if no other process and no slow phase of the machine is known to have changed its times."""
    return not any((*_cpu([measurement], cores), *_slowed([measurement], paces), *_gpu([measurement])))


def foreign_cores(states: Sequence[DeviceState]) -> float | None:
    """Cores that others kept busy on average from the first reading to the last; None where no reading tells."""
    watched = [state for state in states if state.foreign_cores is not None]
    begins = [0.0, *(state.at for state in watched)]
    spans = [(state.at - begin, state.foreign_cores or 0.0) for begin, state in zip(begins, watched, strict=False)]
    total = sum(span for span, _ in spans)
    return sum(span * used for span, used in spans) / total if total else None


def _cpu(repeats: Sequence[Measurement], cores: int) -> Iterator[str]:
    """Cores that the case leaves idle are there for others to use."""
    used = [(foreign_cores(repeat.device_state) or 0.0, cores - needed_cores(repeat.case)) for repeat in repeats]
    contended = [most for most, idle in used if most - max(0, idle) >= CONTENDED]
    if contended:
        yield f"disturbed: other processes used {100 * max(contended) / cores:.0f} % of the CPU"


def _slowed(repeats: Sequence[Measurement], paces: Paces) -> Iterator[str]:
    found = [ratio for repeat in repeats if (ratio := slowdown(repeat, paces)) is not None]
    if found:
        yield f"slow phase: reference work took {max(found):.1f} times its best"


def _gpu(repeats: Sequence[Measurement]) -> Iterator[str]:
    most = max((state.foreign_processes or 0 for repeat in repeats for state in repeat.device_state), default=0)
    if most:
        yield f"disturbed: {most} other process{'es' if most > 1 else ''} on the GPU"


def _throttled(repeats: Sequence[Measurement]) -> Iterator[str]:
    texts = [state.throttle or "" for repeat in repeats for state in repeat.device_state]
    reasons = dict.fromkeys(reason for text in texts for reason in text.split(", ") if reason)
    throttling = [reason for reason in reasons if reason not in ORDINARY]
    if throttling:
        yield f"throttled: {', '.join(throttling)}"


def _drifted(repeats: Sequence[Measurement]) -> Iterator[str]:
    changes = [change for repeat in repeats if (change := _drift(repeat.device_state)) is not None]
    most = max(changes, key=abs, default=0.0)
    if abs(most) > DRIFT:
        yield f"clock drifted by {100 * most:+.0f} %"


def _drift(states: Sequence[DeviceState]) -> float | None:
    clocks = [state.clock_hz for state in states if state.clock_hz]
    return clocks[-1] / clocks[0] - 1 if len(clocks) > 1 else None
