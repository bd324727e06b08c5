"""Ratios of turns: their value from known rounds, and the coverage of their intervals in simulation."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from bench.core.records import Case, Measurement, Turn
from bench.report.statistics import Interval
from bench.report.turns import PairedRatio, paired_ratio, ratio_change, ratio_of_sets

ROUNDS = 10
TRIALS = 1500


def a_row(turns: tuple[Turn, ...], seconds: tuple[float, ...]) -> Measurement:
    case = Case(experiment="inference", model="m", dataset="d", image_size=32, device="cpu", threads=1, budget="smoke")
    return Measurement(case=case, seconds=seconds, turns=turns)


def test_a_ratio_is_the_median_over_sets_of_the_median_over_rounds() -> None:
    turns = (
        Turn(set=0, round=0, samples=3, reference_seconds=4.0),  # 4 / 2
        Turn(set=0, round=1, samples=1, reference_seconds=9.0),  # 9 / 3
        Turn(set=0, round=2, samples=1, reference_seconds=8.0),  # 8 / 1
        Turn(set=1, round=0, samples=1, reference_seconds=7.0),  # 7 / 1
        Turn(set=2, round=0, samples=2, reference_seconds=3.0),  # 3 / 1.5
    )
    found = paired_ratio(a_row(turns, (1.0, 2.0, 30.0, 3.0, 1.0, 1.0, 1.0, 2.0)))
    assert found is not None
    assert found.by_set == pytest.approx((3.0, 7.0, 2.0))
    assert found.value == pytest.approx(3.0)
    assert (found.sets, found.rounds) == (3, 5)
    assert found.interval is not None
    assert found.interval.low < 3.0 < found.interval.high


def test_rounds_without_the_reference_do_not_count() -> None:
    turns = (Turn(set=0, round=0, samples=1), Turn(set=0, round=1, samples=1, reference_seconds=2.0))
    found = paired_ratio(a_row(turns, (5.0, 1.0)))
    assert found is not None
    assert (found.value, found.rounds) == (pytest.approx(2.0), 1)
    assert found.interval is None


def test_rows_of_one_stretch_have_no_paired_ratio() -> None:
    assert paired_ratio(a_row((), (1.0,))) is None
    assert paired_ratio(a_row((Turn(set=0, round=0, samples=1),), (1.0,))) is None


def test_sets_that_agree_by_chance_do_not_hide_the_noise_of_their_rounds() -> None:
    rounds = [0.9, 0.95, 1.0, 1.05, 1.1]
    agreeing = ratio_of_sets([rounds, rounds, rounds])
    assert agreeing.interval is not None
    assert agreeing.interval.high > 1.05
    assert agreeing.spread == pytest.approx(1.4826 * 0.05, rel=0.05)


def test_a_change_of_ratio_has_the_intervals_of_both_runs() -> None:
    def of(value: float, low: float, high: float) -> PairedRatio:
        shared: dict[str, Any] = {"sets": 3, "rounds": 30, "spread": 0.01, "by_set": (value,) * 3}
        return PairedRatio(value=value, interval=Interval(low=low, high=high), **shared)

    change = ratio_change(of(2.0, 2.0 / 1.04, 2.0 * 1.04), of(1.8, 1.8 / 1.03, 1.8 * 1.03))
    assert change.value == pytest.approx(0.9)
    assert change.interval is not None
    assert change.interval.low == pytest.approx(0.9 / 1.05, rel=1e-3)
    assert change.interval.high == pytest.approx(0.9 * 1.05, rel=1e-3)


Rounds = npt.NDArray[np.float64]


def simulated(noise: str, sets: int, generator: np.random.Generator) -> Rounds:
    """Logarithms of ratios around 0, shape (trials, sets, rounds)."""
    shape = (TRIALS, sets, ROUNDS)
    between = {"processes differ": 0.02, "processes alike": 0.0}.get(noise, 0.005)
    found: Rounds = 0.01 * generator.standard_t(2, shape) + between * generator.standard_normal((TRIALS, sets, 1))
    number = np.arange(ROUNDS)
    if noise == "slow phases":  # from one round on, and not the same for both routes
        begin = generator.integers(0, ROUNDS + 5, (TRIALS, sets, 1))
        found += 0.05 * generator.standard_normal((TRIALS, sets, 1)) * (number >= begin)
    if noise == "bursts":  # of a neighbour, over rounds that follow one another
        begin, length = generator.integers(-5, 30, (TRIALS, sets, 1)), generator.integers(1, 8, (TRIALS, sets, 1))
        sign = generator.choice([-1.0, 1.0], shape)
        found += sign * generator.exponential(0.5, shape) * ((number >= begin) & (number < begin + length))
    return found


@pytest.mark.parametrize("sets", [3, 6, 12])
@pytest.mark.parametrize("noise", ["heavy tails", "processes alike", "processes differ", "slow phases", "bursts"])
def test_intervals_cover_the_truth(noise: str, sets: int) -> None:
    trials = np.exp(simulated(noise, sets, np.random.default_rng(sets)))
    found = [ratio_of_sets(trial.tolist()).interval for trial in trials]
    covered = [interval is not None and interval.low <= 1.0 <= interval.high for interval in found]
    assert np.mean(covered) >= 0.93


def test_quiet_intervals_are_short_enough_to_see_five_percent() -> None:
    trials = 1.05 * np.exp(simulated("heavy tails", 3, np.random.default_rng(3)))
    found = [ratio_of_sets(trial.tolist()).interval for trial in trials]
    assert np.mean([interval is not None and interval.low > 1.0 for interval in found]) >= 0.95
