"""The watch reads between samples, seldom, and tells who else was there."""

from __future__ import annotations

from typing import Any

import pynvml
import pytest
import torch

from bench.measure import state
from bench.measure.competition import CpuTimes
from bench.measure.state import Watch

CPU = torch.device("cpu")


class Clock:
    """Stands still but when told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(state.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(state, "cpu_times", lambda: CpuTimes(at=self.now, busy=2 * self.now, own=0.5 * self.now))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_at_most_five_readings_a_second(clock: Clock) -> None:
    watch = Watch(CPU)
    for _ in range(1000):
        watch()
        clock.now += 0.001
    assert len(watch.states) == 5


def test_a_reading_of_a_cpu_times_the_reference_work() -> None:
    watch = Watch(CPU)
    watch()
    [found] = watch.states
    assert found.reference_seconds is not None
    assert 0 < found.reference_seconds < 1


def test_cores_of_others_are_since_the_reading_before(clock: Clock) -> None:
    watch = Watch(CPU)
    for now in (0.0, 0.3, 0.6):
        clock.now = now
        watch()
    assert [found.foreign_cores for found in watch.states] == [None, 1.5, 1.5]


def test_what_too_short_a_time_cannot_tell_counts_for_the_next_reading(clock: Clock) -> None:
    watch = Watch(CPU)
    clock.now = 0.05
    watch()
    clock.now = 0.30
    watch()
    assert [found.foreign_cores for found in watch.states] == [None, 1.5]


def test_the_end_is_read_unless_it_was_just_now(clock: Clock) -> None:
    watch = Watch(CPU)
    watch()
    clock.now = 0.05
    watch.last()
    assert len(watch.states) == 1
    clock.now = 0.15
    watch.last()
    assert [found.at for found in watch.states] == [0.0, 0.15]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A GPU of which NVML tells nothing, until a test makes it answer."""

    def silent(*_: Any) -> Any:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    monkeypatch.setattr(state, "handle_of", lambda device: "handle")
    for question in (
        "ClockInfo",
        "Temperature",
        "PowerUsage",
        "ComputeRunningProcesses",
        "CurrentClocksEventReasons",
        "CurrentClocksThrottleReasons",
    ):
        monkeypatch.setattr(pynvml, f"nvmlDeviceGet{question}", silent)
    return monkeypatch


def throttle_now() -> str | None:
    watch = Watch(torch.device("cuda"))
    watch()
    return watch.states[0].throttle


BITS = pynvml.nvmlClocksEventReasonSwPowerCap | pynvml.nvmlClocksThrottleReasonHwSlowdown


@pytest.mark.parametrize("question", ["CurrentClocksEventReasons", "CurrentClocksThrottleReasons"])
@pytest.mark.parametrize(
    ("bits", "told"), [(BITS, "SwPowerCap, HwSlowdown"), (0, ""), (pynvml.nvmlClocksEventReasonGpuIdle, "")]
)
def test_throttling_is_asked_by_either_name(gpu: pytest.MonkeyPatch, question: str, bits: int, told: str) -> None:
    gpu.setattr(pynvml, f"nvmlDeviceGet{question}", lambda handle: bits)
    assert throttle_now() == told


def test_no_answer_is_not_no_throttling(gpu: pytest.MonkeyPatch) -> None:
    assert throttle_now() is None
