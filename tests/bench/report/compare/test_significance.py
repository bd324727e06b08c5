from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from bench.report.compare.significance import holm, processes_needed, rank_test, ratio_interval, smallest_p


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == [1.0, 1.0]  # twice 0.5, and never less for the larger one
    assert holm([0.02]) == [0.02]
    assert holm([0.02, 0.02]) == [0.04, 0.04]
    assert holm([]) == []


def test_holm_rejects_what_its_steps_reject() -> None:
    """In the order of p: each against alpha over the number of those left, until one fails."""
    rng = np.random.default_rng(1)
    for _ in range(200):
        values = rng.beta(0.3, 2, size=8).tolist()
        rejected: set[int] = set()
        for left, index in zip(range(8, 0, -1), np.argsort(values), strict=True):
            if values[index] > 0.05 / left:
                break
            rejected.add(int(index))
        assert {index for index, p in enumerate(holm(values)) if p <= 0.05} == rejected


@pytest.mark.parametrize(("count", "p"), [(3, 0.1), (4, 2 / 70), (5, 2 / 252), (10, 2 / 184_756)])
def test_the_smallest_p_is_that_of_processes_that_do_not_overlap(count: int, p: float) -> None:
    one, other = [float(value) for value in range(count)], [float(value) for value in range(100, 100 + count)]
    assert rank_test(one, other) == rank_test(other, one) == pytest.approx(p) == pytest.approx(smallest_p(count, count))


def test_four_against_four_cannot_go_below_0_029() -> None:
    assert round(smallest_p(4, 4), 3) == 0.029


def test_the_rank_test_is_exact() -> None:
    """Against all ways to divide eleven values into five and six."""
    old, new = [1.0, 2.5, 3.0, 6.0, 7.0], [2.0, 4.0, 5.0, 8.0, 9.0, 10.0]

    def u_of(some: tuple[float, ...], rest: tuple[float, ...]) -> float:
        return abs(sum(one > other for one in some for other in rest) - len(some) * len(rest) / 2)

    values = (*old, *new)
    found = u_of(tuple(old), tuple(new))
    ways = [
        u_of(some, tuple(value for value in values if value not in some)) for some in itertools.combinations(values, 5)
    ]
    assert rank_test(old, new) == pytest.approx(sum(way >= found for way in ways) / len(ways))


def test_tied_values_have_the_approximation() -> None:
    old, new = [1.0, 1.0, 2.0, 3.0, 4.0], [3.0, 4.0, 4.0, 5.0, 6.0]
    assert rank_test(old, new) == pytest.approx(stats.mannwhitneyu(old, new, method="asymptotic").pvalue)
    assert rank_test([1.0] * 5, [1.0] * 5) == 1.0


@pytest.mark.parametrize("rows", [1, 6, 7, 180])
def test_the_processes_needed_are_the_fewest(rows: int) -> None:
    needed = processes_needed(rows, 0.05)
    assert rows * 2 / math.comb(2 * needed, needed) <= 0.05 < rows * 2 / math.comb(2 * needed - 2, needed - 1)


def test_the_interval_of_a_ratio_is_reproducible_and_holds_it() -> None:
    assert ratio_interval([2.0] * 5, [3.0] * 6).low == ratio_interval([2.0] * 5, [3.0] * 6).high == 1.5
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(200):
        old, new = rng.lognormal(0, 0.1, size=15), 1.2 * rng.lognormal(0, 0.1, size=15)
        found = ratio_interval(old.tolist(), new.tolist())
        assert found == ratio_interval(old.tolist(), new.tolist())
        held += found.low <= 1.2 <= found.high
    assert 0.9 <= held / 200 <= 0.995
