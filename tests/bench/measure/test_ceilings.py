"""The bandwidth is that of the faster of a copy and a sum, in the best of several rounds."""

from __future__ import annotations

import pytest
import torch

from bench.measure import ceilings


def test_bandwidth_counts_what_is_read_and_written(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([2.0, 1.0])  # of the copy, then of the sum
    monkeypatch.setattr(ceilings, "_fastest", lambda step, device: next(times))
    monkeypatch.setattr(ceilings, "CPU_BYTES", 400)
    assert ceilings.bandwidth(torch.device("cpu")) == 400  # a sum reads 400 bytes in a second; a copy moves 800 in two


def test_the_fastest_round_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 5.0, 10.0, 12.0, 20.0, 23.0, 30.0, 34.0, 40.0, 46.0])
    monkeypatch.setattr(ceilings, "now", lambda device: next(clock))
    assert ceilings._fastest(lambda: None, torch.device("cpu")) == 2.0


def test_this_machine_moves_more_than_a_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceilings, "CPU_BYTES", 2**25)
    assert ceilings.bandwidth(torch.device("cpu")) > 5e8
