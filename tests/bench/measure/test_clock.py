"""Samples stop when the rule says so, and their times are those of the step."""

from __future__ import annotations

import gc
import itertools
import math
import statistics
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from bench.core.amounts import Sampling
from bench.measure import clock

CPU = torch.device("cpu")


def rule(**changes: float) -> Sampling:
    fields = {"min_samples": 3, "min_seconds": 0.0, "relative_error": 1.0, "max_seconds": 5.0}
    return Sampling(**{**fields, **changes})  # type: ignore[arg-type]


def sleeper(seconds: float) -> Callable[[], None]:
    return lambda: time.sleep(seconds)


def test_a_sample_is_the_time_of_one_call() -> None:
    taken = clock.latencies(sleeper(0.02), CPU, rule(), lambda: None)
    assert len(taken.seconds) == 3
    assert min(taken.seconds) >= 0.02
    assert sorted(taken.seconds)[1] < 0.03
    assert taken.device_seconds is None


def test_what_happens_between_samples_is_in_none() -> None:
    taken = clock.latencies(sleeper(0.001), CPU, rule(), sleeper(0.05))
    assert sorted(taken.seconds)[1] < 0.02


def test_sampling_goes_on_for_its_least_time() -> None:
    begin = time.perf_counter()
    taken = clock.latencies(sleeper(0.01), CPU, rule(min_seconds=0.2), lambda: None)
    assert time.perf_counter() - begin >= 0.2
    assert len(taken.seconds) > 10


def test_out_of_time_is_said() -> None:
    durations = iter([0.001, 0.02] * 1000)
    taken = clock.latencies(
        lambda: time.sleep(next(durations)), CPU, rule(relative_error=1e-9, max_seconds=0.2), lambda: None
    )
    assert not taken.criterion_met


@pytest.mark.parametrize(
    ("samples", "passed", "met"),
    [
        ([1.0, 1.0], 9.0, False),  # too few
        ([1.0, 1.0, 1.0], 0.5, False),  # too short
        ([1.0, 2.0, 3.0], 9.0, False),  # standard error 0.577 of a mean of 2 is above 0.1
        ([1.0, 1.01, 0.99], 9.0, True),
    ],
)
def test_criterion(samples: list[float], passed: float, met: bool) -> None:
    assert spread_of(samples).meets(rule(min_seconds=1.0, relative_error=0.1), passed) is met


def test_spread_is_that_of_the_standard_library() -> None:
    samples = [0.3, 0.1, 0.45, 0.2, 0.21]
    spread = spread_of(samples)
    assert spread.mean == pytest.approx(statistics.fmean(samples))
    assert spread.standard_error == pytest.approx(statistics.stdev(samples) / math.sqrt(len(samples)))


def spread_of(samples: list[float]) -> clock.Spread:
    spread = clock.Spread()
    for sample in samples:
        spread.add(sample)
    return spread


def test_no_garbage_is_collected_inside_a_sample() -> None:
    seen: list[bool] = []
    clock.latencies(lambda: seen.append(gc.isenabled()), CPU, rule(), lambda: None)
    assert not any(seen)
    assert gc.isenabled()


def test_inside_of_another_pass_nothing_is_collected() -> None:
    with clock.no_collection():
        collected = gc.get_stats()[2]["collections"]
        clock.blocks(lambda: None, CPU, expected_seconds=60.0)
        assert not gc.isenabled()
        assert gc.get_stats()[2]["collections"] == collected
    assert gc.isenabled()


def test_a_step_may_give_several_samples_at_once() -> None:
    looks: list[int] = []
    found = clock.several_until(lambda: (1.0, 1.0), rule(), lambda: looks.append(1))
    assert found == clock.Samples(seconds=(1.0,) * 4, criterion_met=True)
    assert len(looks) == 2


def test_warm_up_goes_by_count_and_by_time() -> None:
    calls: list[float] = []
    clock.warm_up(lambda: calls.append(time.perf_counter()), CPU)
    assert len(calls) >= clock.WARM_UP_CALLS
    assert calls[-1] - calls[0] >= 0.9 * clock.WARM_UP_SECONDS


def test_warm_up_of_a_slow_step_is_short() -> None:
    calls: list[int] = []

    def step() -> None:
        calls.append(1)
        time.sleep(0.4)

    clock.warm_up(step, CPU)
    assert len(calls) == 3


def test_a_block_is_as_long_as_it_should_be() -> None:
    calls: list[int] = []

    def step() -> None:
        calls.append(1)
        time.sleep(0.01)

    blocks = clock.blocks(step, CPU, expected_seconds=0.01)
    assert blocks.steps == 10
    assert len(calls) == 60
    assert all(0.1 <= seconds < 0.2 for seconds in blocks.seconds)


@pytest.mark.parametrize(("expected", "count"), [(1.9, 6), (5.0, 2), (60.0, 1)])
def test_long_calls_are_timed_in_fewer_blocks(expected: float, count: int) -> None:
    assert len(clock.blocks(lambda: None, CPU, expected_seconds=expected).seconds) == count


def test_a_turn_has_three_calls_or_one_long_one(monkeypatch: pytest.MonkeyPatch) -> None:
    passed, calls = [0.0], [0]
    monkeypatch.setattr(clock, "time", SimpleNamespace(perf_counter=lambda: passed[0]))

    def turn_of(seconds: float) -> tuple[int, int]:
        """Samples and untimed calls."""
        calls[0] = 0

        def step() -> None:
            calls[0] += 1
            passed[0] += seconds

        taken = clock.turn(step, CPU).seconds
        assert taken == pytest.approx((seconds,) * len(taken))
        return len(taken), calls[0] - len(taken)

    assert turn_of(0.0001)[0] == 50  # of 500 calls
    assert turn_of(0.001)[0] in (25, 50)  # the sum of 50 thousandths may fall short of a turn, and 51 are halved
    assert turn_of(0.02) == (3, 2)
    assert turn_of(0.03) == (3, 1)
    assert turn_of(0.06) == (1, 1)


def test_samples_are_thinned_evenly_and_in_step() -> None:
    many = [float(place) for place in range(80_000)]
    kept = clock.thinned(many, clock.MOST_SAMPLES)
    assert len(kept) == clock.MOST_SAMPLES
    assert {later - earlier for earlier, later in itertools.pairwise(kept)} == {40.0}
    assert clock.thinned([2 * one for one in many], clock.MOST_SAMPLES) == [2 * one for one in kept]
    assert clock.thinned(many[:7], clock.MOST_SAMPLES) == many[:7]


def test_a_short_call_keeps_few_samples_of_its_turn() -> None:
    assert len(clock.turn(lambda: time.sleep(1e-4), CPU).seconds) <= clock.TURN_SAMPLES


def test_cuda_samples_share_two_events(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []

    class Event:
        def __init__(self, *, enable_timing: bool) -> None:
            assert enable_timing
            made.append(self)

        def record(self) -> None:
            """Take no time."""

        def elapsed_time(self, other: object) -> float:
            assert [self, other] == made
            return 2.0

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    clock._events.cache_clear()
    try:
        found = clock.latencies(lambda: None, torch.device("cuda"), rule(max_seconds=0.05), lambda: None)
    finally:
        clock._events.cache_clear()
    assert len(made) == 2
    assert found.device_seconds == (0.002,) * len(found.seconds)
