"""Two runs to compare, made with the report's own maker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.core.records import Failure, Measurement
from bench.report.compare.comparison import Comparison, compare

Outcomes = Sequence[Measurement | Failure]


@pytest.fixture
def noisy() -> Callable[..., list[float]]:
    """Medians of some processes in seconds, 2 % apart from each other, around ``seconds``."""
    rng = np.random.default_rng(5)

    def noisy(processes: int, seconds: float = 0.01) -> list[float]:
        return [float(value) for value in seconds * rng.lognormal(0, 0.02, size=processes)]

    return noisy


@pytest.fixture
def repeats(make: Any) -> Callable[..., list[Measurement]]:
    """One measurement for each median: a process of its own, with 30 samples around it."""

    def repeats(medians: Sequence[float], **changes: Any) -> list[Measurement]:
        spread = np.linspace(0.9, 1.1, 31)
        return [
            make.inference([float(value) for value in median * spread], repeat=repeat, **changes)
            for repeat, median in enumerate(medians)
        ]

    return repeats


@pytest.fixture
def compared(make: Any, tmp_path: Path) -> Callable[..., Comparison]:
    """The comparison of two files of outcomes; ``old`` and ``new`` change what they say of their run."""

    def compared(
        before: Outcomes,
        after: Outcomes,
        *,
        old: dict[str, Any] | None = None,
        new: dict[str, Any] | None = None,
        anyway: bool = False,
    ) -> Comparison:
        paths = [
            make.write(tmp_path / name / "run.json", outcomes, **(suite or {}))
            for name, outcomes, suite in (("old", before, old), ("new", after, new))
        ]
        return compare(*paths, anyway=anyway)

    return compared
