"""Every row against what the machine could do: bytes against the bandwidth, FLOPs against their number format's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from bench.report.rows import PLACE, Row, figure

Limit = Literal["memory", "arithmetic"]

FAR = 0.1
"""Share of either limit below which neither moving the least bytes nor the arithmetic can be what takes the time."""
BACKWARD = 3
"""FLOPs of a training step over those of its forward pass: the gradients of inputs and of weights take one each."""
UPDATES = 2
"""Times that a training step moves each weight at least: read, and written anew."""
FORWARD = "flops_per_image"
FORMATS = {"fp32": "float32", "tf32": "tf32", "bf16_autocast": "bfloat16"}
"""What trainings multiply in: their flags do not tell."""
TRAININGS = ("training", "ladder")
"""Experiments whose samples are epochs."""
STEP = "training_step"
"""The experiment whose samples are training steps, FLOPs of the backward pass counted."""


def add_limits(rows: Sequence[Row]) -> None:
    """Add to every row what share of each limit it reaches, by the ceilings that were measured in the same place."""
    ceilings = {_place(row): row for row in rows if row["experiment"] == "ceilings"}
    bandwidths = _bandwidths(rows)
    forward = {_network(row): figure(row, FORWARD) for row in rows if row["experiment"] == "inference"}
    for row in rows:
        row.update(_shares(row, ceilings.get(_place(row)), bandwidths.get(_place(row)), forward.get(_network(row))))


def arithmetic_limit(ceiling: Row, name: str | None) -> float | None:
    """FLOPs a second in the format ``name``. One that is slower than float32 here could be widened to it: it cannot
    have the lower limit."""
    rates = [figure(ceiling, f"product_{each}") for each in (name, "float32")]
    known = [rate for rate in rates if rate is not None]
    return max(known) if rates[0] is not None else None


def bound_by(row: Row) -> Limit | Literal["neither"] | None:
    """Which limit the row is nearer to, or that it is far from both; None where a limit is not known.

    One limit alone tells what the row is near to, but not that it is far from the other.
    """
    shares: dict[Limit, float | None] = {
        "memory": row["share of bandwidth [1]"],
        "arithmetic": row["share of arithmetic [1]"],
    }
    known = {name: share for name, share in shares.items() if share is not None}
    if not known:
        return None
    nearest = max(known, key=lambda name: known[name])
    if known[nearest] >= FAR:
        return nearest
    return "neither" if len(known) == len(shares) else None


def _place(row: Row) -> tuple[object, ...]:
    return tuple(row[name] for name in PLACE)


def _network(row: Row) -> tuple[object, ...]:
    return (*_place(row), *(row[name] for name in ("model", "dataset", "image size [px]")))


def _bandwidths(rows: Sequence[Row]) -> dict[tuple[object, ...], float]:
    """One for each place, so that its rows can be held against one another: the highest that was reached there.

    Decoding rows of earlier versions measured one each, beside the ceilings or in their stead.
    """
    found: dict[tuple[object, ...], float] = {}
    for row in rows:
        found[_place(row)] = max(found.get(_place(row), 0.0), figure(row, "bandwidth") or 0.0)
    return {place: bandwidth for place, bandwidth in found.items() if bandwidth}


def _shares(row: Row, ceiling: Row | None, bandwidth: float | None, forward: float | None) -> Row:
    """``forward`` are the FLOPs of an image as the network's inference tells them, for trainings that do not."""
    arithmetic = arithmetic_limit(ceiling, _format(row)) if ceiling else None
    of_bandwidth = _share(_bytes(row), row, bandwidth)
    of_arithmetic = _share(_flops(row, forward), row, arithmetic)
    known = [share for share in (of_bandwidth, of_arithmetic) if share is not None]
    return {
        "bandwidth [B/s]": bandwidth,
        "share of bandwidth [1]": of_bandwidth,
        "share of arithmetic [1]": of_arithmetic,
        "share of limit [1]": max(known, default=None),
    }


def _share(work: float | None, row: Row, limit: float | None) -> float | None:
    return work / row["median [s]"] / limit if work and limit else None


def _format(row: Row) -> str | None:
    told = FORMATS.get(row["precision"]) if row["experiment"] in (*TRAININGS, STEP) else row["flags"].get("compute")
    return str(told) if told else None


def _flops(row: Row, forward: float | None) -> float | None:
    """Of one sample: a step, in a training an epoch."""
    if row["experiment"] in ("decode", STEP):
        return figure(row, "flops_per_step")
    each = figure(row, "flops_per_input" if row["experiment"] == "layers" else FORWARD)
    if row["experiment"] in TRAININGS:
        each = BACKWARD * (each or forward or 0.0)
    return each * row["items per step"] if each else None


def _bytes(row: Row) -> float | None:
    """The fewest that one sample has to move."""
    weights = row["weights [B]"]
    if row["experiment"] == STEP:
        return UPDATES * weights if weights else None
    if row["experiment"] not in TRAININGS:
        return figure(row, "bytes_per_step")
    rate = figure(row, "steps_per_second")
    return None if rate is None or weights is None else UPDATES * weights * rate * row["median [s]"]
