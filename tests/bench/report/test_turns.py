"""Ratios of turns: their value from known calls, and the coverage of their intervals in simulation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from bench.core.records import Case, Measurement, Turn
from bench.report.statistics import Interval
from bench.report.turns import (
    MOST_DEGREES,
    Common,
    PairedRatio,
    among_others,
    common_spread,
    p_of_change,
    paired_ratio,
    ratio_change,
)

ROUNDS = 10
TRIALS = 600


def a_row(turns: tuple[Turn, ...], seconds: tuple[float, ...]) -> Measurement:
    case = Case(experiment="inference", model="m", dataset="d", image_size=32, device="cpu", threads=1, budget="smoke")
    return Measurement(case=case, seconds=seconds, turns=turns)


def of_sets(*values: float, common: Common | None = None) -> PairedRatio:
    return PairedRatio(by_set=values, rounds=10 * len(values), common=common)


def test_a_ratio_is_the_median_over_sets_of_undisturbed_calls() -> None:
    turns = (
        Turn(set=0, round=0, samples=4, reference_seconds=4.0, reference_calls=(4.0, 4.0)),
        Turn(set=0, round=1, samples=4, reference_seconds=6.5, reference_calls=(4.0, 9.0)),
        Turn(set=1, round=0, samples=1, reference_seconds=4.2, reference_calls=(4.2,)),
        Turn(set=2, round=0, samples=1, reference_seconds=4.4, reference_calls=(4.4,)),
    )
    found = paired_ratio(a_row(turns, (2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 30.0, 30.0, 0.6, 2.2)))
    assert found is not None
    assert found.by_set == pytest.approx((2.0, 7.0, 2.0))
    assert found.value == pytest.approx(2.0)
    assert (found.sets, found.rounds) == (3, 4)
    assert found.interval is not None
    assert found.interval.low < 2.0 < found.interval.high


@pytest.mark.parametrize(
    ("paces", "expected"),
    [
        (((2.0, 1.0), (3.4, 1.4), (3.4, 1.4), (2.2, 1.0)), (2.0, 2.2)),
        (((2.0, 1.0), (3.4, 1.7), (3.5, 1.4), (3.4, 1.6)), (2.0, 2.5, 2.125)),
        (((3.4, 1.7), (2.0, 0.8)), (2.5,)),
    ],
    ids=["the quickest pace of two sets", "one quick set", "no pace of two sets"],
)
def test_sets_of_another_pace_do_not_count(paces: Sequence[tuple[float, float]], expected: tuple[float, ...]) -> None:
    """Seconds of the reference and of the row in each set."""
    turns = tuple(
        Turn(set=number, round=0, samples=1, reference_seconds=theirs, reference_calls=(theirs,))
        for number, (theirs, _) in enumerate(paces)
    )
    found = paired_ratio(a_row(turns, tuple(ours for _, ours in paces)))
    assert found is not None
    assert found.by_set == pytest.approx(expected)
    assert found.rounds == len(expected)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((False, True), (2.125,)),
        ((True, True), (2.0, 2.125)),
        ((False, False), (2.0,)),
        ((None, None), (2.0,)),
    ],
    ids=["one of another pace", "both count", "none counts", "an earlier version"],
)
def test_the_sets_of_the_subject_count_whatever_sets_the_row_was_in(
    counts: Sequence[bool | None], expected: tuple[float, ...]
) -> None:
    """A slow route has the first, quick set, and the one that took its place: the others' pace counts."""
    turns = tuple(
        Turn(set=number, round=0, samples=1, reference_seconds=theirs, reference_calls=(theirs,), counts=count)
        for number, theirs, count in zip((0, 3), (2.0, 3.4), counts, strict=True)
    )
    found = paired_ratio(a_row(turns, (1.0, 1.6)))
    assert found is not None
    assert found.by_set == pytest.approx(expected)


def test_short_calls_are_compared_in_stretches_as_long_as_the_other_route_takes_for_one() -> None:
    short = (0.001, 0.003) * 25  # 10 of them are a stretch: its median is 2 ms, though half of the calls take 1 ms
    turn = Turn(set=0, round=0, samples=50, reference_seconds=0.02, reference_calls=(0.02, 0.02, 0.02))
    found = paired_ratio(a_row((turn,), short))
    assert found is not None
    assert found.value == pytest.approx(10.0)


def test_both_routes_have_equally_many_stretches() -> None:
    quick = 0.01 + 0.001 * np.arange(50)  # its fastest twentieth of all 50 is 12.4 ms, of every 25th 11.2 ms
    turn = Turn(set=0, round=0, samples=50, reference_seconds=0.02, reference_calls=(0.02, 0.02))
    found = paired_ratio(a_row((turn,), tuple(quick)))
    assert found is not None
    assert found.value == pytest.approx(0.02 / np.quantile([0.01, 0.035], 0.05))


def test_files_without_the_calls_of_the_reference_are_compared_turn_by_turn() -> None:
    turns = (
        Turn(set=0, round=0, samples=3, reference_seconds=0.04),
        Turn(set=0, round=1, samples=1, reference_seconds=0.04),
    )
    found = paired_ratio(a_row(turns, (0.01, 0.02, 0.03, 0.02)))
    assert found is not None
    assert found.value == pytest.approx(2.0)


def test_the_reference_is_as_fast_as_itself() -> None:
    turns = tuple(
        Turn(set=0, round=number, samples=2, reference_seconds=1.5, reference_calls=(1.0, 2.0)) for number in range(3)
    )
    found = paired_ratio(a_row(turns, (1.0, 2.0) * 3))
    assert found is not None
    assert found.value == 1.0


def test_rounds_without_the_reference_do_not_count() -> None:
    turns = (Turn(set=0, round=0, samples=1), Turn(set=0, round=1, samples=1, reference_seconds=2.0))
    found = paired_ratio(a_row(turns, (5.0, 1.0)))
    assert found is not None
    assert found.value == pytest.approx(2.0)
    assert found.rounds == 1
    assert found.interval is None


def test_rows_of_one_stretch_have_no_paired_ratio() -> None:
    assert paired_ratio(a_row((), (1.0,))) is None
    assert paired_ratio(a_row((Turn(set=0, round=0, samples=1),), (1.0,))) is None


def test_sets_that_agree_by_chance_do_not_hide_the_noise_of_other_rows() -> None:
    alone = of_sets(2.0, 2.001, 2.002).interval
    beside = of_sets(2.0, 2.001, 2.002, common=Common(variance=0.05**2, degrees=4)).interval
    assert alone is not None
    assert beside is not None
    # (4 x 0.0025 + 2 x 0.25e-6) / 6, Student's 2.447 for 6 degrees, 1.16 for a median of three
    half = 1.16 * 2.447 * math.sqrt(0.01 / 6 / 3)
    assert beside.high == pytest.approx(2.001 * math.exp(half), rel=2e-3)
    assert alone.high < 2.01


def test_a_common_spread_narrows_the_interval_of_two_sets() -> None:
    alone = of_sets(1.98, 2.02).interval
    beside = of_sets(1.98, 2.02, common=Common(variance=0.014**2, degrees=10)).interval
    assert alone is not None
    assert beside is not None
    assert alone.high > 2.2
    assert beside.high < 2.06


@pytest.mark.parametrize("degrees", [2.0, 4.0])
def test_the_common_spread_is_that_of_the_rows(degrees: float) -> None:
    generator = np.random.default_rng(0)
    variances = 0.02**2 * degrees / generator.chisquare(degrees, 20_000)
    rows = np.exp(np.sqrt(variances)[:, None] * generator.standard_normal((20_000, 3)))
    found = common_spread(of_sets(*row) for row in rows.tolist())
    assert found is not None
    assert found.variance == pytest.approx(0.02**2, rel=0.1)
    assert found.degrees == pytest.approx(degrees, rel=0.25)


def test_rows_that_spread_alike_do_not_count_for_more_than_the_most() -> None:
    rows = [(1.0, 1.01 + 0.0001 * place) for place in range(20)]
    found = common_spread(of_sets(*row) for row in rows)
    assert found is not None
    assert found.degrees == MOST_DEGREES


def test_few_rows_and_rows_of_one_set_have_no_common_spread() -> None:
    assert common_spread(of_sets(1.0, 1.01) for _ in range(7)) is None
    assert common_spread(of_sets(1.0) for _ in range(70)) is None
    assert common_spread(of_sets(1.0, 1.0, 1.0) for _ in range(70)) is None  # the reference itself


def test_rows_of_one_experiment_have_a_common_spread() -> None:
    rows = [of_sets(1.0, 1.01, 1.01 + 0.001 * place) for place in range(9)]
    reference = of_sets(1.0, 1.0, 1.0)
    given = [*rows, rows[0], reference]
    found = among_others(given, [*["inference"] * 9, "decode", "inference"])
    assert [row.by_set for row in found] == [row.by_set for row in given]
    assert {row.common for row in found[:9]} == {common_spread(rows)}
    assert (found[9].common, found[10].common) == (None, None)
    assert found[10].interval == Interval(low=1.0, high=1.0)


def test_a_change_of_ratio_has_the_intervals_of_both_runs() -> None:
    old, new = of_sets(1.98, 2.0, 2.02), of_sets(1.77, 1.8, 1.83)
    change = ratio_change(old, new)
    assert change.value == pytest.approx(0.9)
    assert change.interval is not None
    assert old.interval is not None
    assert new.interval is not None
    sides = math.log(old.interval.high / 2.0), math.log(new.interval.high / 1.8)
    assert math.log(change.interval.high / 0.9) == pytest.approx(math.hypot(*sides), rel=1e-6)
    assert math.log(0.9 / change.interval.low) == pytest.approx(math.hypot(*sides), rel=1e-6)


def test_the_p_of_a_change_is_students() -> None:
    old, new = of_sets(1.0, 1.01, 0.99), of_sets(1.1, 1.11, 1.09)
    errors = [1.16 * float(np.log(one.by_set).std(ddof=1)) / math.sqrt(3) for one in (old, new)]
    quotient = math.log(1.1) / math.hypot(*errors)
    # Student's t with four degrees of freedom in closed form, about 3.98 for Welch's here
    exact = 1 - quotient / math.sqrt(4 + quotient**2) * (1 + 2 / (4 + quotient**2))
    assert p_of_change(old, new, 0.0) == pytest.approx(exact, rel=0.05)
    assert p_of_change(old, old, 0.0) == 1.0
    assert p_of_change(old, of_sets(1.1), 0.0) is None


def test_what_differs_from_run_to_run_is_no_change() -> None:
    """The error of a median of three is 1.16 / sqrt(3) of the spread of its sets, of the run as a whole 1.0 more."""
    old, new = of_sets(1.0, 1.01, 0.99), of_sets(1.06, 1.07, 1.05)
    spreads = [float(np.log(one.by_set).std(ddof=1)) for one in (old, new)]
    quotient = math.log(1.06) / (math.sqrt(1.16**2 / 3 + 1.0) * math.hypot(*spreads))
    exact = 1 - quotient / math.sqrt(4 + quotient**2) * (1 + 2 / (4 + quotient**2))
    assert p_of_change(old, new, 1.0) == pytest.approx(exact, rel=0.05)
    assert p_of_change(old, new, 0.0) < 0.005
    assert p_of_change(old, new, 1.0) > 0.01


def test_runs_of_one_state_differ_as_often_as_their_p_says() -> None:
    generator = np.random.default_rng(5)
    spreads = 0.02 * np.sqrt(4 / generator.chisquare(4, (150, 40)))
    values = []
    for row in spreads:
        sides = [np.exp(row[:, None] * generator.standard_normal((40, 3))).tolist() for _ in range(2)]
        old, new = (among_others([of_sets(*sets) for sets in side], ["inference"] * 40) for side in sides)
        values += [p_of_change(*both, 0.0) for both in zip(old, new, strict=True)]
    found = np.array(values, dtype=float)
    assert np.mean(found < 0.05) == pytest.approx(0.05, abs=0.015)
    assert np.mean(found < 0.001) < 0.003


Calls = npt.NDArray[np.float64]


def simulated(noise: str, sets: int, generator: np.random.Generator) -> tuple[Calls, Calls]:
    """Seconds of one call a round of the reference and of the row, shape (trials, sets, rounds). Noise only slows."""
    shape = (TRIALS, sets, ROUNDS)
    between = {"processes differ": 0.02, "processes alike": 0.0}.get(noise, 0.005)
    both = [0.01 * np.abs(generator.standard_t(2, shape)) for _ in range(2)]
    both[1] += between * generator.standard_normal((TRIALS, sets, 1))
    number = np.arange(ROUNDS)
    for calls in both:
        if noise == "slow phases":  # from one round on, and not the same for both routes
            begin = generator.integers(0, ROUNDS + 5, (TRIALS, sets, 1))
            calls += 0.05 * np.abs(generator.standard_normal((TRIALS, sets, 1))) * (number >= begin)
        if noise == "bursts":  # of a neighbour, over rounds that follow one another
            begin, length = generator.integers(-5, 30, (TRIALS, sets, 1)), generator.integers(1, 8, (TRIALS, sets, 1))
            calls += generator.exponential(0.5, shape) * ((number >= begin) & (number < begin + length))
    return np.exp(both[0]), np.exp(both[1])


def rows_of(references: Calls, calls: Calls) -> list[PairedRatio]:
    found = []
    for theirs, ours in zip(references.tolist(), calls.tolist(), strict=True):
        turns = tuple(
            Turn(set=number, round=place, samples=1, reference_seconds=value, reference_calls=(value,))
            for number, values in enumerate(theirs)
            for place, value in enumerate(values)
        )
        ratio = paired_ratio(a_row(turns, tuple(value for values in ours for value in values)))
        assert ratio is not None
        found.append(ratio)
    return found


def covered(rows: list[PairedRatio]) -> float:
    intervals = [row.interval for row in rows]
    return float(np.mean([one is not None and one.low <= 1.0 <= one.high for one in intervals]))


@pytest.mark.parametrize("sets", [3, 6, 12])
@pytest.mark.parametrize("noise", ["heavy tails", "processes alike", "processes differ", "slow phases", "bursts"])
def test_intervals_cover_the_truth(noise: str, sets: int) -> None:
    rows = rows_of(*simulated(noise, sets, np.random.default_rng(sets)))
    assert covered(rows) >= 0.93
    if sets == 3:
        runs = [rows[start : start + 40] for start in range(0, TRIALS, 40)]  # rows of one run
        assert np.mean([covered([with_common(row, run) for row in run]) for run in runs]) >= 0.93


def test_rows_of_a_run_that_spread_unlike_one_another_are_covered_as_well() -> None:
    kinds = ["heavy tails", "processes alike", "processes differ", "slow phases", "bursts"]
    rows = [rows_of(*simulated(noise, 3, np.random.default_rng(8)))[:300] for noise in kinds]
    runs = [[row for kind in rows for row in kind[start : start + 8]] for start in range(0, 296, 8)]
    assert np.mean([covered([with_common(row, run) for row in run]) for run in runs]) >= 0.93


def with_common(row: PairedRatio, run: list[PairedRatio]) -> PairedRatio:
    return PairedRatio(by_set=row.by_set, rounds=row.rounds, common=common_spread(run))


def test_quiet_intervals_are_short_enough_to_see_five_percent() -> None:
    references, calls = simulated("heavy tails", 3, np.random.default_rng(3))
    found = [row.interval for row in rows_of(1.05 * references, calls)]
    assert np.mean([interval is not None and interval.low > 1.0 for interval in found]) >= 0.95
