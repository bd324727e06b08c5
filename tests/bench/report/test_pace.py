"""A phase is slow where the reference work took clearly longer than at best, with as many threads on that device."""

from __future__ import annotations

from typing import Any

import pytest

from bench.core.records import DeviceState, Measurement
from bench.report.pace import paces_of, reference_seconds, slowdown


def process(make: Any, *seconds: float | None, **changes: Any) -> Measurement:
    states = tuple(DeviceState(at=float(at), reference_seconds=each) for at, each in enumerate(seconds))
    measured: Measurement = make.inference(device_state=states, **changes)
    return measured


def test_the_median_of_its_readings_counts(make: Any) -> None:
    assert reference_seconds(process(make, 4.0, None, 1.0, 2.0)) == 2.0
    assert reference_seconds(process(make, None, 0.0)) is None
    assert reference_seconds(process(make)) is None


@pytest.mark.parametrize(("seconds", "ratio"), [(1.29, None), (1.31, 1.31), (0.9, None)])
def test_three_tenths_more_than_the_best_is_a_slow_phase(make: Any, seconds: float, ratio: float | None) -> None:
    paces = paces_of([process(make, 1.5), process(make, 1.0), process(make)])
    assert slowdown(process(make, seconds), paces) == ratio
    assert slowdown(process(make), paces) is None


def test_other_threads_and_devices_are_no_measure(make: Any) -> None:
    paces = paces_of([process(make, 1.0, threads=1), process(make, 3.0, threads=2)])
    assert slowdown(process(make, 3.3, threads=2), paces) is None
    assert slowdown(process(make, 9.0, threads=4), paces) is None
    assert slowdown(process(make, 9.0, threads=2, device="cuda"), paces) is None
