"""Every result against what the machine could do: bytes against the bandwidth, FLOPs against their format's ceiling."""

from __future__ import annotations

from collections.abc import Sequence

from bench.core.runtimes import REASON_KEY, Reason
from bench.report.beside import Limits
from bench.report.results import Result

BACKWARD = 3
"""FLOPs of a training step over those of its forward pass: the gradients of inputs and of weights take one each."""
UPDATES = 2
"""Times that a training step moves each weight at least: read, and written anew."""
FORMATS = {"fp32": "float32", "tf32": "tf32", "bf16_autocast": "bfloat16"}
"""Number formats of trainings: their flags do not say."""
TRAININGS = ("training", "ladder")
"""Experiments whose samples are epochs."""
STEP = "training_step"
"""The experiment whose samples are training steps, FLOPs of the backward pass counted."""


def limits_of(results: Sequence[Result]) -> list[Limits]:
    """Shares of each limit that the results reach, by the ceilings that were measured in the same place."""
    ceilings = {one.place: one for one in results if one.case.experiment == "ceilings"}
    bandwidths: dict[tuple[object, ...], float] = {}
    for one in results:
        bandwidths[one.place] = max(bandwidths.get(one.place, 0.0), one.figure("bandwidth") or 0.0)
    forward = {one.network: one.figure("flops_per_image") for one in results if one.case.experiment == "inference"}
    return [
        _limits(one, ceilings.get(one.place), bandwidths.get(one.place) or None, forward.get(one.network))
        for one in results
    ]


def arithmetic_limit(ceiling: Result, name: str | None) -> float | None:
    """FLOPs a second in the format ``name``. One that is slower than float32 here could be widened to it."""
    rates = [ceiling.figure(f"product_{each}") for each in (name, "float32")]
    known = [rate for rate in rates if rate is not None]
    return max(known) if rates[0] is not None else None


def _limits(result: Result, ceiling: Result | None, bandwidth: float | None, forward: float | None) -> Limits:
    arithmetic = arithmetic_limit(ceiling, _format(result)) if ceiling else None
    return Limits(
        bandwidth=bandwidth,
        of_bandwidth=_share(_bytes(result), result, bandwidth),
        of_arithmetic=_share(_flops(result, forward), result, arithmetic),
    )


def _share(work: float | None, result: Result, limit: float | None) -> float | None:
    return work / result.timing.median / limit if work and limit else None


def _format(result: Result) -> str | None:
    if result.case.experiment in (*TRAININGS, STEP):
        return FORMATS.get(result.case.precision)
    compute = result.first.flags.get("compute")
    return str(compute) if compute else None


def _flops(result: Result, forward: float | None) -> float | None:
    """FLOPs of one sample: a step, in a training an epoch."""
    experiment = result.case.experiment
    if experiment in ("decode", STEP):
        return result.figure("flops_per_step")
    each = result.figure("flops_per_input" if experiment == "layers" else "flops_per_image")
    if experiment in TRAININGS:
        each = BACKWARD * (each or forward or 0.0)
    return each * result.first.items_per_step if each else None


def _bytes(result: Result) -> float | None:
    """The fewest that one sample has to move."""
    weights, experiment = result.weight_bytes, result.case.experiment
    if experiment == STEP:
        return UPDATES * weights if weights else None
    if experiment not in TRAININGS:
        return result.figure("bytes_per_step")
    rate = result.figure("steps_per_second")
    return None if rate is None or weights is None else UPDATES * weights * rate * result.timing.median


def slower(result: Result) -> bool:
    """True if it is slower than the reference, or where it has none than fp32 in its own mode."""
    beside = result.beside
    ratio = beside.ratio.value if beside.ratio else beside.same_mode
    return ratio is not None and ratio < 1


def why_slower(result: Result) -> str | None:
    """Named reason of a result that is slower than the reference; None of a faster one, or where none was found."""
    reason = Reason.read(result.first.texts.get(REASON_KEY, "")) if slower(result) else None
    return reason.words if reason else None
