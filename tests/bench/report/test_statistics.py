from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from bench.report.statistics import (
    Interval,
    binomial_error,
    mcnemar,
    over_seeds,
    paired_difference,
    quantile_interval,
    speed_up,
    student_factor,
    student_p,
    summarise,
)


def test_summary_agrees_with_numpy() -> None:
    samples = np.random.default_rng(1).gamma(20.0, 0.001, size=101)
    timing = summarise([samples.tolist()])
    assert timing.samples == 101
    assert timing.median == pytest.approx(np.median(samples), rel=1e-12)
    assert timing.p95 == pytest.approx(np.percentile(samples, 95), rel=1e-12)
    assert timing.mean == pytest.approx(samples.mean(), rel=1e-12)
    assert timing.deviation == pytest.approx(samples.std(ddof=1), rel=1e-12)
    assert timing.relative_standard_error == pytest.approx(
        samples.std(ddof=1) / math.sqrt(101) / samples.mean(), rel=1e-12
    )


@pytest.mark.parametrize(("quantile", "count"), [(0.5, 6), (0.5, 25), (0.5, 1001), (0.95, 72), (0.95, 400)])
def test_interval_of_a_quantile_has_the_binomial_ranks(quantile: float, count: int) -> None:
    low = int(stats.binom.ppf(0.025, count, quantile))
    high = count - int(stats.binom.ppf(0.025, count, 1 - quantile)) + 1
    found = quantile_interval([float(rank) for rank in range(1, count + 1)], quantile)
    assert found == Interval(low=low, high=high)


def test_too_few_samples_have_no_interval() -> None:
    assert quantile_interval([1.0] * 5) is None
    assert quantile_interval([1.0] * 71, 0.95) is None
    assert summarise([[1.0]]).interval is None
    assert summarise([[1.0]]).deviation is None
    assert summarise([[1.0] * 19]).p95 is None
    with pytest.raises(ValueError, match="no sample"):
        summarise([[]])


def test_interval_covers_the_median_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    covered = sum(
        interval is not None and interval.low <= math.log(2) <= interval.high
        for interval in (quantile_interval(rng.exponential(size=30)) for _ in range(2000))
    )
    assert 0.945 <= covered / 2000 <= 0.975


def test_several_processes_widen_the_interval_to_the_median_of_each() -> None:
    timing = summarise([[1.0] * 20, [1.2] * 20])
    assert timing.interval == Interval(low=1.0, high=1.2)
    assert timing.processes == 2
    medians = [float(rank) for rank in range(10, 17)]
    assert summarise([[median] * 9 for median in medians]).interval == Interval(low=10.0, high=16.0)


@pytest.mark.parametrize(
    ("samples", "mark"),
    [
        ([1.0] * 20, None),
        ([1.0] * 20 + [1.45], None),
        ([1.0] * 50 + [1.6], "extremes"),
        ([1.0] * 50 + [0.4], "extremes"),
        ([1.0] * 200 + [1.6, 1.6], None),  # of hundreds of single calls, one in a hundred is a stray
        ([1.0] * 200 + [1.6] * 3, "extremes"),
        ([1.0] * 200 + [0.4] * 3, "extremes"),
        ([0.85, 1.15] * 10, "spread"),
        ([0.3, 1.7] * 10, "spread and extremes"),
    ],
)
def test_unstable_rows_are_marked(samples: list[float], mark: str | None) -> None:
    assert summarise([samples]).unstable == mark


def test_speed_up_is_the_baseline_over_the_row_with_the_widest_interval() -> None:
    ratio = speed_up(summarise([[2.0] * 10 + [2.2] * 10]), summarise([[1.0] * 20]))
    assert ratio.value == pytest.approx(2.1)
    assert ratio.interval == Interval(low=2.0, high=2.2)
    assert speed_up(summarise([[2.0]]), summarise([[1.0]])).interval is None


def test_fewer_seeds_need_a_wider_difference() -> None:
    assert student_factor(3) == pytest.approx(4.303, abs=1e-3)  # Student's t, 2 degrees of freedom, two-sided 95 %
    assert student_factor(30) == pytest.approx(2.045, abs=1e-3)


def test_the_p_of_a_mean_is_that_of_the_t_test() -> None:
    values = np.array([0.3, -0.1, 0.4, 0.2, 0.6])
    errors = float(values.mean() / (values.std(ddof=1) / math.sqrt(5)))
    assert student_p(errors, 5) == student_p(-errors, 5) == pytest.approx(stats.ttest_1samp(values, 0).pvalue)


def test_accuracy_of_one_seed_has_the_binomial_error() -> None:
    accuracy = over_seeds([0.7], 10_000)
    assert accuracy.standard_error == binomial_error(0.7, 10_000) == pytest.approx(0.0045826, rel=1e-4)
    assert accuracy.deviation is None


def test_accuracy_over_seeds_has_both_errors() -> None:
    accuracy = over_seeds([0.69, 0.70, 0.71], 10_000)
    assert accuracy.mean == pytest.approx(0.70)
    assert accuracy.deviation == pytest.approx(0.01)
    assert accuracy.standard_error == pytest.approx(math.sqrt(0.7 * 0.3 / 10_000 + 0.01**2 / 3))
    assert (accuracy.lowest, accuracy.highest, accuracy.seeds) == (0.69, 0.71, 3)


@pytest.mark.parametrize(("lost", "gained"), [(0, 1), (5, 5), (12, 3), (3, 12), (0, 40), (700, 640), (1, 2)])
def test_mcnemar_is_the_exact_binomial_test(lost: int, gained: int) -> None:
    assert mcnemar(lost, gained) == pytest.approx(stats.binomtest(lost, lost + gained).pvalue, rel=1e-9)
    assert mcnemar(lost, gained) <= 1


def test_predictions_that_are_right_alike_have_no_difference() -> None:
    assert mcnemar(0, 0) == 1.0
    difference = paired_difference(0, 0, 10)
    assert (difference.value, difference.standard_error) == (0.0, 0.0)
    assert not difference.beyond(2)


def test_a_paired_difference_has_the_spread_of_single_images() -> None:
    """Of one image: -1 where it is lost, 1 where it is gained, 0 otherwise."""
    images = np.array([-1] * 12 + [1] * 5 + [0] * 183)
    difference = paired_difference(12, 5, 200)
    assert difference.value == pytest.approx(images.mean())
    assert difference.standard_error == pytest.approx(images.std() / math.sqrt(200))
    assert paired_difference(10, 0, 10).standard_error == 0.0
