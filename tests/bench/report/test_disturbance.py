"""What the readings between samples tell of who and what disturbed them."""

from __future__ import annotations

from typing import Any

import pytest

from bench.core.records import DeviceState
from bench.report.disturbance import disturbances, foreign_cores
from bench.report.pace import paces_of


def states(*cores: float | None, **changes: Any) -> tuple[DeviceState, ...]:
    """A reading every second, from second 1 on."""
    return tuple(DeviceState(at=float(at), foreign_cores=used, **changes) for at, used in enumerate(cores, start=1))


def told(make: Any, device_state: tuple[DeviceState, ...], *, cores: int = 2, **changes: Any) -> str | None:
    return disturbances([make.inference(device_state=device_state, **changes)], cores, {})


def test_cores_of_others_are_averaged_over_time() -> None:
    readings = (
        DeviceState(at=0.0),
        DeviceState(at=1.0, foreign_cores=1.0),
        DeviceState(at=2.0),  # too soon to tell: the next one covers it
        DeviceState(at=4.0, foreign_cores=0.0),
    )
    assert foreign_cores(readings) == 0.25
    assert foreign_cores(states(None)) is None


@pytest.mark.parametrize(
    ("used", "threads", "words"),
    [
        (0.5, 2, "disturbed: other processes used 25 % of the CPU"),
        (0.05, 2, None),
        (0.5, 1, None),  # the other core was free for it
        (1.2, 1, "disturbed: other processes used 60 % of the CPU"),
    ],
)
def test_a_competitor_is_named_where_no_idle_core_takes_it(
    make: Any, used: float, threads: int, words: str | None
) -> None:
    assert told(make, states(used, used), threads=threads) == words


def test_a_slow_phase_is_told_by_the_reference_work(make: Any) -> None:
    calm, slow = (
        make.inference(device_state=states(0.0, 0.0, reference_seconds=seconds)) for seconds in (1e-6, 1.43e-6)
    )
    paces = paces_of([calm, slow])
    assert disturbances([calm], 2, paces) is None
    assert disturbances([calm, slow], 2, paces) == "slow phase: reference work took 1.4 times its best"


@pytest.mark.parametrize(("used", "words"), [(2.5, None), (3.2, "disturbed: other processes used 80 % of the CPU")])
def test_a_row_of_a_gpu_needs_one_core(make: Any, used: float, words: str | None) -> None:
    assert told(make, states(used, used), cores=4, threads=4, device="cuda") == words


def test_other_processes_on_the_gpu(make: Any) -> None:
    readings = (DeviceState(at=0.0, foreign_processes=0), DeviceState(at=1.0, foreign_processes=2))
    assert told(make, readings) == "disturbed: 2 other processes on the GPU"


def test_throttling_is_named_once_and_settings_are_none(make: Any) -> None:
    readings = (
        DeviceState(at=0.0, throttle="ApplicationsClocksSetting, UserDefinedClocks"),
        DeviceState(at=1.0, throttle="SwPowerCap, HwSlowdown"),
        DeviceState(at=2.0, throttle="SwPowerCap"),
    )
    assert told(make, readings) == "throttled: HwSlowdown"
    assert told(make, readings[:1]) is None


@pytest.mark.parametrize(
    ("begin", "end", "words"),
    [(2.0e9, 1.8e9, "clock drifted by -10 %"), (2.0e9, 2.2e9, "clock drifted by +10 %"), (2.0e9, 1.95e9, None)],
)
def test_a_clock_that_drifts(make: Any, begin: float, end: float, words: str | None) -> None:
    assert told(make, (DeviceState(at=0.0, clock_hz=begin), DeviceState(at=1.0, clock_hz=end))) == words


def test_the_worst_of_all_repeats_is_told(make: Any) -> None:
    calm, busy = (make.inference(device_state=states(used), repeat=index) for index, used in enumerate((0.0, 1.0)))
    assert disturbances([calm, busy], 2, {}) == "disturbed: other processes used 50 % of the CPU"


def test_a_disturbed_row_is_marked(make: Any, summary_of: Any) -> None:
    summary = summary_of(make.inference(device_state=states(1.0, 1.0)))
    assert make.table(summary, "marks")[0]["marks"] == "disturbed"
