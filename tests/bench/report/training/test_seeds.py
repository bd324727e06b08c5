from __future__ import annotations

import math
from typing import Any

import pytest

from bench.report.frame import rows_of, tidy
from bench.report.groups import Group, training_groups
from bench.report.seeds import difference, difference_cell, faster, ratio, ratio_cell
from bench.report.statistics import Timing, per_second, student, summarise

T_OF_3 = 4.302653
"""Student's t at 97.5 % with two degrees of freedom, from a table."""
T_OF_2 = 12.706205


def groups(run_of: Any, *outcomes: Any) -> list[Group]:
    return training_groups(rows_of(tidy([run_of(*outcomes)]), "ladder"), [])


def test_the_mean_of_seeds_has_a_t_interval(learn: Any) -> None:
    found = student([1.0, 2.0, 4.0])
    assert found.value == pytest.approx(7 / 3)
    assert found.interval is not None
    assert found.interval.error(found.value) == pytest.approx(learn.half_width([1, 2, 4], T_OF_3), rel=1e-6)


def test_one_value_and_values_alike_by_chance_have_no_interval() -> None:
    assert student([3.0]).interval is None
    assert student([0.1 + 0.2, 0.3, 0.3]).interval is None
    nothing = student([0.0, 0.0]).interval  # twice the same training
    assert nothing is not None
    assert (nothing.low, nothing.high) == (0.0, 0.0)


def test_items_a_second_turn_the_interval_round() -> None:
    timing: Timing = summarise([[1.0, 2.0, 4.0, 4.0, 5.0, 8.0]])
    rate = per_second(timing, 40)
    assert rate.interval is not None
    assert (rate.value, rate.interval.low, rate.interval.high) == (10.0, 5.0, 40.0)


def test_differences_are_paired_by_seed(learn: Any, run_of: Any) -> None:
    base = [learn.rung(0, 100, accuracy, seed=seed) for seed, accuracy in enumerate((0.60, 0.70, 0.80))]
    row = [learn.rung(2, 100, accuracy, seed=seed) for seed, accuracy in enumerate((0.62, 0.73, 0.81))]
    extra = learn.rung(2, 100, 0.99, seed=7)  # has no partner
    one, other = groups(run_of, *base, *row, extra)
    found = difference(other, one)
    assert found is not None
    assert (found.processes, found.side) == (3, "across")
    assert found.estimate.value == pytest.approx(0.02)
    assert found.error == pytest.approx(learn.half_width([0.02, 0.03, 0.01], T_OF_3), rel=1e-6)
    assert difference_cell(found) == "+2.00 ± 2.48 (0 inside)"


def test_ratios_are_paired_by_seed_too(learn: Any, run_of: Any) -> None:
    base = [learn.rung(0, rate, seed=seed) for seed, rate in enumerate((100, 200))]
    row = [learn.rung(2, rate, seed=seed) for seed, rate in enumerate((210, 280))]
    one, other = groups(run_of, *base, *row)
    found = faster(other, one)
    assert found is not None
    assert found.processes == 2
    assert found.estimate.value == pytest.approx(math.sqrt(2.1 * 1.4))
    half = learn.half_width([math.log(2.1), math.log(1.4)], T_OF_2)
    interval = found.estimate.interval
    assert interval is not None
    assert math.log(interval.high / found.estimate.value) == pytest.approx(half, rel=1e-6)
    assert found.side == "across"  # two seeds so far apart tell little
    assert ratio(other, one, lambda row: None) is None


def test_one_seed_has_the_interval_of_its_epochs_and_has_to_be_a_tenth_faster(learn: Any, run_of: Any) -> None:
    def side(rate: float) -> str:
        base = learn.rung(0, 100, seconds=(10.0, 10.01) * 4)
        row = learn.rung(2, rate, seconds=(1_000 / rate, 1_000.1 / rate) * 4)
        one, other = groups(run_of, base, row)
        found = faster(other, one)
        assert found is not None
        assert found.processes == 1
        return str(found.side)

    assert (side(108), side(112), side(88)) == ("across", "above", "below")
    few = groups(run_of, learn.rung(0, 100), learn.rung(2, 200))  # four epochs give no interval
    found = faster(few[1], few[0])
    assert found is not None
    assert (found.side, ratio_cell(found)) == ("unknown", "2.00")
