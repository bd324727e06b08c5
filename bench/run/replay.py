"""Hands samples that a worker took to pytest-benchmark, through its public interface.

pytest-benchmark times a function with the clock it is given. Ours stands still except when the function is "called":
then it moves by the next sample. Statistics, groups, ``--benchmark-json``, ``--benchmark-compare`` and the rest then
work on our samples, which are stored exactly as they were taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any


class ReplayClock:
    """The ``timer`` of every benchmark item. Reads 0, then the sample, so that the difference is exact."""

    def __init__(self) -> None:
        self._now: float | None = None
        self._samples: Iterator[float] = iter(())

    def __call__(self) -> float:
        if self._now is None:
            # A clock that stands still would make `benchmark(f)` calibrate for ever.
            raise RuntimeError("cases are measured by `measure(case)`; calling `benchmark` directly would time nothing")
        return self._now

    def replay(self, benchmark: Any, seconds: Sequence[float]) -> None:
        """Make ``seconds`` the rounds of the ``benchmark`` fixture."""
        self._samples = iter(seconds)
        try:
            benchmark.pedantic(self._step, setup=self._rewind, rounds=len(seconds))
        finally:
            self._now = None

    def _rewind(self) -> None:
        self._now = 0.0

    def _step(self) -> None:
        # --benchmark-cprofile calls the target once more, after the last sample: then the clock stays where it is.
        self._now = next(self._samples, self._now)
