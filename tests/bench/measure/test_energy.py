"""Energy from made-up counters: which zones add up, a counter that starts again, and why there is none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from bench.experiments.timing import why_no_energy
from bench.measure import energy
from bench.measure.energy import STOOD_STILL, Counter, Meter, meter_of

CPU = torch.device("cpu")


def zone(root: Path, place: str, name: str, microjoules: int, span: int = 1_000_000_000) -> Path:
    folder = root / place
    folder.mkdir()
    (folder / "name").write_text(f"{name}\n")
    (folder / "max_energy_range_uj").write_text(f"{span}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    return folder / "energy_uj"


@pytest.fixture
def powercap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    return tmp_path


def test_packages_and_memory_add_up_and_nothing_counts_twice(powercap: Path) -> None:
    package, memory, other = (
        zone(powercap, "intel-rapl:0", "package-0", 1_000_000),
        zone(powercap, "intel-rapl:0:1", "dram", 2_000_000),
        zone(powercap, "intel-rapl:1", "package-1", 3_000_000),
    )
    zone(powercap, "intel-rapl:0:0", "core", 0)
    zone(powercap, "intel-rapl:2", "psys", 0)
    zone(powercap, "intel-rapl-mmio:0", "package-0", 0)
    meter = meter_of(CPU)
    before = meter.read()
    assert before == (1.0, 2.0, 3.0)
    for file, value in ((package, 1_500_000), (memory, 2_250_000), (other, 3_100_000)):
        file.write_text(str(value))
    assert meter.used(before, meter.read()) == pytest.approx(0.85)


def test_a_counter_that_starts_again(powercap: Path) -> None:
    file = zone(powercap, "intel-rapl:0", "package-0", 999_000_000, span=1_000_000_000)
    meter = meter_of(CPU)
    before = meter.read()
    file.write_text("2500000")
    assert meter.used(before, meter.read()) == pytest.approx(3.5)


def test_no_zone_is_absent_with_its_reason(powercap: Path) -> None:
    meter = meter_of(CPU)
    assert meter.counters == ()
    assert meter.why_absent is not None
    assert "no RAPL zone" in meter.why_absent
    assert meter.used(meter.read(), meter.read()) is None
    assert why_no_energy(meter, None) == meter.why_absent


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_counter_for_root_alone_is_absent_with_its_reason(powercap: Path) -> None:
    zone(powercap, "intel-rapl:0", "package-0", 1).chmod(0)
    assert "intel-rapl:0/energy_uj cannot be read (Permission denied)" in (meter_of(CPU).why_absent or "")


def test_a_counter_that_fails_is_absent_with_its_reason(powercap: Path) -> None:
    zone(powercap, "intel-rapl:0", "package-0", 1).unlink()
    assert "intel-rapl:0/energy_uj cannot be read (No such file" in (meter_of(CPU).why_absent or "")


def test_a_counter_that_stands_still_tells_nothing() -> None:
    meter = Meter(counters=(Counter(joules=lambda: 5.0),))
    assert meter.used(meter.read(), meter.read()) is None
    assert why_no_energy(meter, None) == STOOD_STILL


def test_energy_is_for_each_item_of_all_blocks(powercap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 4 calls of 2 items, 3 blocks, 12 joules: half a joule each."""
    from bench.experiments import timing
    from bench.measure.clock import Blocks
    from bench.records import Case

    file = zone(powercap, "intel-rapl:0", "package-0", 0, span=10**9)

    def blocks(step: object, device: object, expected: float) -> Blocks:
        file.write_text("12000000")
        return Blocks(seconds=(1.0, 1.0, 1.0), steps=4)

    monkeypatch.setattr(timing.clock, "blocks", blocks)
    facts = {"model": "m", "dataset": "d", "image_size": 1, "device": "cpu", "threads": 1, "budget": "smoke"}
    found = timing.timed(lambda: torch.ones(1), Case(experiment="inference", **facts), throughput=True)  # type: ignore[arg-type]
    assert found.energy(items_per_step=2) == pytest.approx(0.5)
    assert "energy_joules_per_item" not in found.absent(CPU)
    alone = timing.timed(lambda: torch.ones(1), Case(experiment="layers", **facts), throughput=False)  # type: ignore[arg-type]
    assert alone.energy(2) is None
    assert "blocks" in alone.absent(CPU)["energy_joules_per_item"]
