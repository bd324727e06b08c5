"""Readings between samples are few, name other work, and time the same reference work."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest
import torch

from bench.core.other_work import CpuTimes
from bench.measure import state
from bench.measure.state import PER_THREAD, ReferenceWork, Watch, reference_work

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


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_the_lower_quartile_of_its_warm_calls_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 0.5, 10.0, 15.0, 20.0, 23.0, 30.0, 31.0, 40.0, 47.0])  # the first is not warm
    monkeypatch.setattr(state, "WARM_UP", 1)
    monkeypatch.setattr(state, "CALLS", 4)
    work = ReferenceWork(2)
    monkeypatch.setattr(state.time, "perf_counter", lambda: next(times))
    assert work.seconds() == 3.0


def test_it_works_inside_and_outside_of_inference_mode() -> None:
    with torch.inference_mode():
        work = ReferenceWork(2)
        assert work.seconds() > 0
    assert work.seconds() > 0
    with torch.inference_mode():
        assert work.seconds() > 0


def test_it_stays_the_same_work(threads: None) -> None:
    torch.set_num_threads(2)
    work = reference_work(2)
    assert reference_work(2) is work
    assert work.seconds() > 0
    assert torch.equal(work._numbers, torch.ones(2 * PER_THREAD))


def test_what_others_do_in_a_pause_is_not_foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a core is foreign while the step works; two are busy in the pause, with the turns of other routes."""
    readings = [
        CpuTimes(at=0.0, busy=0.0, own=0.0),  # begin
        CpuTimes(at=1.0, busy=1.5, own=1.0),  # pause
        CpuTimes(at=5.0, busy=9.5, own=1.0),  # resume
        CpuTimes(at=6.0, busy=11.0, own=2.0),  # reading
    ]
    monkeypatch.setattr(state, "cpu_times", lambda: readings.pop(0))
    watch = state.Watch(torch.device("cpu"))
    watch.pause()
    watch.resume()
    watch()
    assert watch.states[-1].foreign_cores == pytest.approx(0.5)


def test_the_reference_work_of_a_gpu_row_has_one_thread(gpu: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def work(threads: int) -> ReferenceWork:
        asked.append(threads)
        return ReferenceWork(threads)

    gpu.setattr(torch, "get_num_threads", lambda: 8)
    gpu.setattr(state, "reference_work", work)
    Watch(torch.device("cuda"))
    Watch(CPU)
    assert asked == [1, 8]


OURS, SIBLING, OTHER = os.getpid(), os.getpid() + 1, os.getpid() + 2


@pytest.mark.parametrize(
    ("running", "told"),
    [
        ([OURS], 0),
        ([OURS, SIBLING], 0),  # it waits for its turn in our set
        ([OTHER, SIBLING, OURS], 1),
        ([OTHER], 0),  # in a container, where numbers are the host's: a single one is ours
        ([OTHER, OTHER + 1], None),
    ],
)
def test_processes_of_one_run_are_not_foreign_to_one_another(
    gpu: pytest.MonkeyPatch, tmp_path: Path, running: list[int], told: int | None
) -> None:
    for pid, parent in ((OURS, os.getppid()), (SIBLING, os.getppid()), (OTHER, 1)):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (odd ) name) S {parent} 1 1 0")
    gpu.setattr(state, "PROC", tmp_path)
    gpu.setattr(state, "cpu_times", lambda: None)
    found = [SimpleNamespace(pid=pid) for pid in running]
    gpu.setattr(pynvml, "nvmlDeviceGetComputeRunningProcesses", lambda handle: found)
    watch = Watch(torch.device("cuda"))
    watch()
    assert watch.states[0].foreign_processes == told
