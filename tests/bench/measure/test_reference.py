"""The reference work is the same each time, and stray slow calls of it do not count."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from bench.measure import reference
from bench.measure.reference import PER_THREAD, ReferenceWork, reference_work


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_the_lower_quartile_of_its_warm_calls_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 0.5, 10.0, 15.0, 20.0, 23.0, 30.0, 31.0, 40.0, 47.0])  # the first is not warm
    monkeypatch.setattr(reference, "WARM_UP", 1)
    monkeypatch.setattr(reference, "CALLS", 4)
    work = ReferenceWork(2)
    monkeypatch.setattr(reference.time, "perf_counter", lambda: next(times))
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
