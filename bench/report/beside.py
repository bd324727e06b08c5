"""Comparisons of a result: with the reference, and with the limits of the machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.report.statistics import Estimate, Interval

Side = Literal["above", "below", "across", "unknown"]
"""Place of an interval beside the value of no difference."""
Limit = Literal["memory", "arithmetic", "neither"]
FAR = 0.1
"""Share of either limit below which neither moving the least bytes nor the arithmetic can be what takes the time."""


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """Speed over that of the reference. Without an interval where one process measured either of them."""

    value: float
    interval: Interval | None = None
    """95 %, the variation between sets or processes included."""
    sets: int = 1
    """Fresh processes of the route that the interval is over."""
    rounds: int = 0
    """Rounds of all sets in which both took a turn; 0: they did not take turns."""

    @property
    def estimate(self) -> Estimate:
        return Estimate(value=self.value, interval=self.interval)


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """A classifier and the reference on the same images, with the same weights."""

    images: int
    alike: float
    """Share that both label the same."""
    lost: int
    """Images that only the reference labels rightly."""
    gained: int
    """Images that only this one labels rightly."""
    change: Estimate
    """Accuracy less the reference's, a fraction of 1, with its 95 % interval."""
    p: float
    """p of McNemar's test, exact and two-sided."""
    worst_class: tuple[int, float] | None = None
    """Class that loses most accuracy, and its change."""


@dataclass(frozen=True, kw_only=True)
class Beside:
    """Comparison of a result with the reference: torch, fp32, eager, of the same model at the same size and batch."""

    ratio: Ratio | None = None
    side: Side = "unknown"
    """True if the ratio lies beside 1, by its interval, or by the margin of one process."""
    same_mode: float | None = None
    """Times as fast as torch's fp32 in the same mode, by medians."""
    same_mode_side: Side = "unknown"
    tf32: float | None = None
    """Times as fast as torch's TF32, eager, by medians; None where that was not measured."""
    weights: float | None = None
    """Bytes of the weights over the reference's."""
    memory: float | None = None
    """Bytes in use during a step, weights included, over the reference's."""
    agreement: Agreement | None = None
    perplexity: Estimate | None = None
    """Perplexity over the reference's on the same text, with its 95 % interval."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Shares of what the machine was measured to do, fractions of 1."""

    bandwidth: float | None = None
    """Bytes a second of the memory, as the result's run measured it."""
    of_bandwidth: float | None = None
    of_arithmetic: float | None = None

    @property
    def reached(self) -> float | None:
        return max((share for share in (self.of_bandwidth, self.of_arithmetic) if share is not None), default=None)

    @property
    def bound(self) -> Limit | None:
        """Limit that is nearer, or that both are far; None where one is not known and the other is far."""
        known: dict[Limit, float | None] = {"memory": self.of_bandwidth, "arithmetic": self.of_arithmetic}
        shares = {name: share for name, share in known.items() if share is not None}
        if not shares:
            return None
        nearest = max(shares, key=lambda name: shares[name])
        if shares[nearest] >= FAR:
            return nearest
        return "neither" if len(shares) == len(known) else None


def side_of(low: float, high: float, neutral: float, margin: float = 1.0) -> Side:
    """Place of the interval beside ``neutral``, from a factor ``margin`` beyond it on."""
    return "above" if low > neutral * margin else "below" if high < neutral / margin else "across"
