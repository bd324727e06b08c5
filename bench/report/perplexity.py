"""Perplexity beside fp32's on the same windows of text."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bench.report.rows import Row
from bench.report.statistics import Array, student_p


@dataclass(frozen=True, kw_only=True)
class Change:
    """``ratio`` is this perplexity over fp32's. ``standard_error`` is that of the ratio; None for a single window."""

    ratio: float
    standard_error: float | None
    windows: int

    @property
    def p(self) -> float | None:
        """Two-sided p of no change, by Student's t over windows; None for a single window."""
        if self.standard_error is None:
            return None
        if self.standard_error == 0:
            return 1.0 if self.ratio == 1 else 0.0
        return student_p((self.ratio - 1) / self.standard_error, self.windows)

    @property
    def shows(self) -> bool:
        """Whether the change is more than the spread between windows explains: at 95 %."""
        return self.p is not None and self.p < 0.05


def change(row: Row, reference: Row) -> Change | None:
    """How ``row`` changes perplexity against ``reference``, window by window; None unless both scored the same tokens.

    The ratio is exp(d), d the difference of the nats per token over all windows. Tokens of one window are not
    independent of each other, windows are taken to be: the error of d is that of a ratio estimate over windows,
    sqrt(n / (n - 1) sum (x - d t)^2) / sum t, for windows of t tokens that differ by x nats. Source: Cochran,
    Sampling Techniques, 3rd edition, 2.11.
    """
    ours, theirs = (_windows(one) for one in (row, reference))
    if ours is None or theirs is None or not np.array_equal(ours[1], theirs[1]):
        return None
    differences, tokens = ours[0] - theirs[0], ours[1]
    windows, total = len(tokens), float(tokens.sum())
    mean = float(differences.sum()) / total
    ratio = math.exp(mean)
    if windows < 2:
        return Change(ratio=ratio, standard_error=None, windows=windows)
    spread = float(((differences - mean * tokens) ** 2).sum())
    error = math.sqrt(windows / (windows - 1) * spread) / total
    return Change(ratio=ratio, standard_error=ratio * error, windows=windows)


def _windows(row: Row) -> tuple[Array, Array] | None:
    """Nats and tokens of each window; None without them, or without the digest of the text that they are of."""
    nats, tokens = (np.array(row["series"].get(name, ())) for name in ("window_nats", "window_tokens"))
    usable = row["settings"].get("text_digest") is not None and len(nats) == len(tokens) and tokens.sum() > 0
    return (nats, tokens) if usable else None
