from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench.core.records import DeviceState, Figure, Measurement
from bench.report.compare.changes import count
from bench.report.compare.thresholds import TIMES

NETWORKS = ("a", "b", "c", "d", "e", "f", "g", "h")


def latency(comparison: Any, **values: Any) -> Any:
    """The one latency row that has these values."""
    return next(
        item
        for item in comparison.times
        if item.metric == "latency" and all(getattr(item.pair.case, name) == value for name, value in values.items())
    )


def test_a_slowdown_of_a_tenth_in_ten_processes_is_found_among_rows_that_stayed(
    noisy: Any, repeats: Any, compared: Any
) -> None:
    before = [item for name in NETWORKS for item in repeats(noisy(10), model=name)]
    after = [item for name in NETWORKS for item in repeats(noisy(10, 0.011 if name == "c" else 0.01), model=name)]
    comparison = compared(before, after)
    worse = [item for item in comparison.times if item.outcome == "worse"]
    assert [(item.pair.case.model, item.metric) for item in worse] == [("c", "latency")]
    assert worse[0].ratio == pytest.approx(1.1, abs=0.03)
    assert worse[0].interval.low < worse[0].ratio < worse[0].interval.high
    assert comparison.status == 1
    assert count(compared(after, before).times, "better") == 1
    assert compared(after, before).status == 0


def test_a_run_against_itself_and_against_another_of_the_same_is_no_change(
    noisy: Any, repeats: Any, compared: Any
) -> None:
    before, after = ([item for name in NETWORKS for item in repeats(noisy(10), model=name)] for _ in range(2))
    assert {item.outcome for item in compared(before, after).times} == {"same"}
    assert {item.outcome for item in compared(before, before).times} == {"same"}


@pytest.mark.parametrize(("old", "new"), [(4, 4), (4, 10), (10, 4), (1, 1)])
def test_below_five_processes_a_side_nothing_is_told(
    noisy: Any, repeats: Any, compared: Any, old: int, new: int
) -> None:
    item = latency(compared(repeats(noisy(old)), repeats(noisy(new, 0.03))))
    assert (item.outcome, item.obstacle) == ("cannot tell", "fewer than 5 processes a side")
    assert item.ratio == pytest.approx(3, rel=0.1)
    assert (item.p, item.interval) == (None, None)


def test_five_processes_are_enough_for_few_rows_and_too_few_for_many(noisy: Any, repeats: Any, compared: Any) -> None:
    assert latency(compared(repeats(noisy(5)), repeats(noisy(5, 0.02)))).outcome == "worse"
    before, after = (
        [item for name in NETWORKS for item in repeats(noisy(5, seconds), model=name)] for seconds in (0.01, 0.02)
    )
    item = latency(compared(before, after), model="c")
    # 16 rows, latency and throughput of each network: 16 * 2 / C(10, 5) = 0.13; 16 * 2 / C(12, 6) = 0.035.
    assert (item.outcome, item.obstacle) == ("cannot tell", "16 rows need 6 processes a side")
    assert item.p == pytest.approx(16 * 2 / 252)


def test_samples_of_one_process_are_no_processes(make: Any, compared: Any) -> None:
    """Ten thousand samples cannot tell what the next process would have given."""
    steady = make.inference([0.010 + index * 1e-9 for index in range(10_000)])
    slower = make.inference([0.011 + index * 1e-9 for index in range(10_000)])
    assert latency(compared([steady], [slower])).outcome == "cannot tell"


def test_what_shows_but_stays_below_the_threshold_is_the_same(noisy: Any, repeats: Any, compared: Any) -> None:
    medians = [0.01 + index * 1e-6 for index in range(12)]
    item = latency(compared(repeats(medians), repeats([1.03 * median for median in medians])))
    assert item.p < 0.001
    assert TIMES["inference"]["latency"] == 0.07
    assert item.outcome == "same"
    beyond = latency(compared(repeats(medians), repeats([1.08 * median for median in medians])))
    assert beyond.outcome == "worse"


def test_some_slow_processes_are_no_slower_code(repeats: Any, compared: Any) -> None:
    """What goes on beside slows some of them; slower code slows the best as well."""
    medians = [0.01 + index * 1e-6 for index in range(24)]
    some = [value if index < 7 else 1.2 * value for index, value in enumerate(medians)]
    item = latency(compared(repeats(medians), repeats(some)))
    assert item.p < 0.01
    assert item.ratio == pytest.approx(1.2, abs=0.001)
    assert item.ratio_of_best == pytest.approx(1.0, abs=0.001)
    assert item.outcome == "no clear difference"
    assert latency(compared(repeats(some), repeats(medians))).outcome == "no clear difference"
    assert latency(compared(repeats(medians), repeats([1.2 * value for value in medians]))).outcome == "worse"


def test_a_change_that_noise_explains_is_no_clear_difference(repeats: Any, compared: Any) -> None:
    wild = [0.006, 0.008, 0.010, 0.013, 0.016, 0.02]
    item = latency(compared(repeats(wild), repeats([value * 1.15 for value in wild])))
    assert item.ratio == pytest.approx(1.15)
    assert item.outcome == "no clear difference"


def test_of_throughput_more_is_better(make: Any, compared: Any) -> None:
    def side(rate: float) -> list[Any]:
        return [make.inference(repeat=repeat, figures={"throughput": rate + repeat}) for repeat in range(8)]

    def outcome(before: float, after: float) -> str:
        comparison = compared(side(before), side(after))
        return next(item.outcome for item in comparison.times if item.metric == "throughput")

    assert (outcome(1000, 800), outcome(800, 1000)) == ("worse", "better")


def test_seeds_are_the_processes_of_a_training(make: Any, noisy: Any, compared: Any) -> None:
    def side(seconds: float) -> list[Any]:
        return [make.training(seconds=[value] * 3, seed=seed) for seed, value in enumerate(noisy(6, seconds))]

    (item,) = compared(side(10.0), side(13.0)).times
    assert (item.metric, item.outcome) == ("seconds per epoch", "worse")
    assert len(item.old) == len(item.new) == 6


def test_only_seeds_are_joined(make: Any, compared: Any) -> None:
    both = [make.prefill(prompt=prompt, repeat=repeat) for prompt in (32, 128) for repeat in range(3)]
    assert [len(item.old) for item in compared(both, both).times] == [3, 3]


def test_another_amount_of_work_is_not_compared(make: Any, noisy: Any, repeats: Any, compared: Any) -> None:
    old, new = repeats(noisy(6)), repeats(noisy(6, 0.02))
    others = [replace(item, items_per_step=2) for item in new]
    assert latency(compared(old, others)).obstacle == "1 and 2 items a step"

    def with_tokens(items: Any, count: int) -> Any:
        figure = {"new_tokens": Figure(value=count, unit="tokens", exact=True)}
        return [replace(item, figures={**item.figures, **figure}) for item in items]

    item = latency(compared(with_tokens(old, 20), with_tokens(new, 30)))
    assert (item.outcome, item.obstacle) == ("cannot tell", "other work: new_tokens")
    assert latency(compared(with_tokens(old, 20), with_tokens(new, 20))).outcome == "worse"


def test_energy_is_compared_where_both_have_it(noisy: Any, repeats: Any, compared: Any) -> None:
    old, new = repeats(noisy(6)), repeats(noisy(6))
    metered = [replace(item, energy_joules_per_item=0.5 + index / 100) for index, item in enumerate(old)]
    more = [replace(item, energy_joules_per_item=0.8 + index / 100) for index, item in enumerate(new)]

    def energy(before: Any, after: Any) -> list[Any]:
        return [item for item in compared(before, after).times if item.metric == "energy"]

    assert energy(old, new) == []
    assert energy(metered, new)[0].obstacle == "not measured in NEW"
    assert energy(metered, more)[0].outcome == "worse"


def test_what_is_timed_for_nobody_is_not_compared(make: Any, compared: Any) -> None:
    both = [make.perplexity((300.0, 310.0, 140.0)), make.chat()]
    assert compared(both, both).times == ()


def test_smoke_runs_tell_no_times(noisy: Any, repeats: Any, compared: Any) -> None:
    old, new = (repeats(noisy(6, seconds), budget="smoke") for seconds in (0.01, 0.02))
    assert latency(compared(old, new)).obstacle == "smoke run"


def paced(processes: list[Measurement], *reference: float) -> list[Measurement]:
    """Each with what the reference work took while it measured."""
    states = [DeviceState(at=0.0, reference_seconds=seconds) for seconds in reference]
    return [replace(one, device_state=(state,)) for one, state in zip(processes, states, strict=True)]


def test_processes_in_a_slow_phase_of_the_machine_do_not_count(noisy: Any, repeats: Any, compared: Any) -> None:
    before = paced(repeats(noisy(8)), *(1.0, 1.1) * 4)
    after = repeats((*noisy(6), *noisy(6, 0.014)))
    item = latency(compared(before, paced(after, *(1.05,) * 6, *(1.4,) * 6)))
    assert (item.outcome, item.disturbed, len(item.new)) == ("same", (0, 6), 6)
    few = latency(compared(before, paced(after, *(1.05,) * 4, *(1.4,) * 8)))
    assert (few.outcome, few.disturbed) == ("cannot tell", (0, 8))
    assert few.obstacle == "fewer than 5 processes a side that were not disturbed"
    assert latency(compared(before, paced(after, *(1.0,) * 12))).disturbed == (0, 0)


def test_a_slower_machine_is_no_slow_phase_of_another(make: Any, noisy: Any, repeats: Any, compared: Any) -> None:
    before, after = paced(repeats(noisy(8)), *(1.0,) * 8), paced(repeats(noisy(8, 0.02)), *(1.5,) * 8)
    assert latency(compared(before, after)).disturbed == (0, 8)
    elsewhere = latency(compared(before, after, new={"machine": make.machine(cores=64)}, anyway=True))
    assert (elsewhere.outcome, elsewhere.disturbed) == ("worse", (0, 0))


def test_processes_that_others_disturbed_do_not_count(noisy: Any, repeats: Any, compared: Any) -> None:
    before, after = repeats(noisy(6)), repeats((*noisy(6), *noisy(6, 0.03)))
    others = (DeviceState(at=1.0, foreign_cores=2.0),)
    disturbed = [replace(one, device_state=others) if index > 5 else one for index, one in enumerate(after)]
    item = latency(compared(before, disturbed))
    assert (item.outcome, item.disturbed) == ("same", (0, 6))


@pytest.mark.parametrize("experiment", ["noise", "ceilings"])
def test_a_machine_that_changed_is_no_regression_and_is_told(
    noisy: Any, repeats: Any, compared: Any, experiment: str
) -> None:
    def side(seconds: float) -> list[Any]:
        found = repeats(noisy(10, seconds))
        return [replace(item, case=replace(item.case, experiment=experiment), figures={}) for item in found]

    told = "The machine itself changed in 1 row"
    for before, after in ((0.01, 0.02), (0.02, 0.01)):
        comparison = compared(side(before), side(after))
        assert comparison.machine_changes == 1
        assert (comparison.status, told in comparison.verdict) == (0, True)
    slower = compared(paced(side(0.01), *(1.0,) * 10), paced(side(0.02), *(1.5,) * 10))
    assert told in slower.verdict  # although that is a slow phase throughout
    same = compared(side(0.01), side(0.01))
    assert "machine itself" not in same.verdict
    ours = compared(repeats(noisy(10)), repeats(noisy(10, 0.02)))
    assert (ours.status, ours.machine_changes) == (1, 0)
