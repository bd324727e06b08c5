"""Judgement of a route as accurate as the reference: by a margin, never by a lack of significance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.core.quality import Margins, margins_from
from bench.report.load import Run
from bench.report.results import Result
from bench.report.statistics import Estimate, Interval

Word = Literal["reference", "as accurate", "less accurate", "not enough images to say", "not judged"]
MOST = 10_000_000
"""Images beyond which no number of them is named."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    word: Word
    reason: str = ""
    """Reason why it was not judged."""
    needed: int | None = None
    """Images or tokens that would be enough, where they are not; None also where no number would be."""
    had: int = 0
    """Images or tokens that there were."""

    @property
    def accurate(self) -> bool:
        return self.word in ("reference", "as accurate")

    @property
    def open(self) -> bool:
        """True if more images could make it as accurate."""
        return self.word == "not enough images to say"

    @property
    def text(self) -> str:
        if self.word == "not judged":
            return f"quality not judged: {self.reason}"
        if self.open and self.needed is not None:
            return f"{self.word}: {self.had:,} of about {self.needed:,}"
        return self.word


def margins_of(runs: Sequence[Run], given: str | None = None) -> Margins:
    """The margins asked for, else those of the first run that names them, else the defaults.

    Raises:
        InputError: the text is not ``POINTS`` or ``POINTS/PERCENT``.
    """
    text = given if given is not None else next((run.max_drop for run in runs if run.max_drop), None)
    return Margins() if text is None else margins_from("--max-drop", text)


def judged(result: Result, margins: Margins) -> Judgement:
    """A classifier beside the reference."""
    found = result.beside.agreement
    if result.route.is_reference:
        return Judgement(word="reference")
    if result.accuracy is None:
        return Judgement(word="not judged", reason=_why_no_accuracy(result))
    if found is None:
        return Judgement(word="not judged", reason="no labels to pair with the reference's")
    return by_margin(found.change, -margins.accuracy, found.images)


def _why_no_accuracy(result: Result) -> str:
    """A few words; the whole reason stands once, above the network's table."""
    if result.first.divergence is not None:
        return "its classes are not the data set's"
    reason = result.first.absent.get("quality", "")
    return "untrained" if "train" in reason.lower() else reason or "no accuracy"


def judged_perplexity(result: Result | None, margins: Margins) -> Judgement:
    """A language model's perplexity beside the reference's; ``result`` is its row of perplexity."""
    if result is None or result.perplexity is None:
        reason = "" if result is None else result.first.absent.get("quality", "")
        return Judgement(word="not judged", reason="random weights" if reason.startswith("random") else "no perplexity")
    if result.route.is_reference:
        return Judgement(word="reference")
    ratio = result.beside.perplexity
    if ratio is None or ratio.interval is None or result.first.quality is None:
        return Judgement(word="not judged", reason="no perplexity of the reference on the same text")
    loss = Estimate(value=-math.log(ratio.value), interval=_turned(ratio))
    return by_margin(loss, -math.log1p(margins.perplexity), result.first.quality.samples)


def by_margin(change: Estimate, margin: float, samples: int) -> Judgement:
    """``change``, of which more is better, with its interval against the ``margin``, which is not above 0."""
    interval = change.interval
    if interval is None:
        return Judgement(word="not judged", reason="no interval")
    if interval.low > margin:
        return Judgement(word="as accurate")
    if interval.high < margin:
        return Judgement(word="less accurate")
    return Judgement(word="not enough images to say", needed=_needed(change, margin, samples), had=samples)


def _turned(ratio: Estimate) -> Interval:
    """Interval of the logarithm of the fall of perplexity."""
    assert ratio.interval is not None
    return Interval(low=-math.log(ratio.interval.high), high=-math.log(ratio.interval.low))


def _needed(change: Estimate, margin: float, samples: int) -> int | None:
    """Samples for an interval that ends at the margin, were the change what it is: its width goes with 1 / sqrt(n)."""
    assert change.interval is not None
    distance = abs(change.value - margin)
    half = (change.interval.high - change.interval.low) / 2
    if distance == 0:
        return None
    needed = samples * (half / distance) ** 2
    if needed > MOST:
        return None
    step: int = 10 ** max(0, math.floor(math.log10(needed)) - 1)
    return math.ceil(needed / step) * step
