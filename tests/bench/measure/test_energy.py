"""Energy from made-up counters: zones that are summed, a counter that starts again, reasons for none."""

from __future__ import annotations

import gc
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from bench.core.records import Case
from bench.experiments import timing
from bench.experiments.timing import why_no_energy
from bench.measure import energy
from bench.measure.energy import STOOD_STILL, Counter, Meter, meter_of, metered

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


def test_a_counter_that_fails_later_is_absent_with_its_reason(powercap: Path) -> None:
    file = zone(powercap, "intel-rapl:0", "package-0", 1_000_000)
    meter = meter_of(CPU)
    before = meter.read()
    file.unlink()
    assert meter.used(before, meter.read()) is None
    assert why_no_energy(meter, None).endswith("(No such file or directory)")


def test_a_gpu_that_fails_later_is_absent_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    import pynvml

    answers = iter([1000, 1000])

    def energy_of(handle: object) -> int:
        for answer in answers:
            return answer
        raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)

    monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", energy_of)
    monkeypatch.setattr(energy, "handle_of", lambda device: "handle")
    meter = meter_of(torch.device("cuda"))
    before = meter.read()
    assert before == (1.0,)
    assert meter.used(before, meter.read()) is None
    assert "GPU is lost" in (why_no_energy(meter, None) or "")


def case(experiment: str) -> Case:
    facts = {"model": "m", "dataset": "d", "image_size": 1, "device": "cpu", "threads": 1, "budget": "smoke"}
    return Case(experiment=experiment, **facts)  # type: ignore[arg-type]


@dataclass
class Work:
    """A step, and a counter that grows by two joules with each call of it."""

    calls: int = 0
    readings: list[float] = field(default_factory=list)

    def __call__(self) -> torch.Tensor:
        self.calls += 1
        time.sleep(0.002)
        return torch.ones(1)

    def joules(self) -> float:
        self.readings.append(time.perf_counter())
        return 2.0 * self.calls


def test_energy_is_that_of_calls_long_enough_and_of_each_item(monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work()
    monkeypatch.setattr(timing, "meter_of", lambda device: Meter(counters=(Counter(joules=work.joules),)))
    monkeypatch.setattr(timing, "seconds_of", lambda device, budget: 0.3)
    found = timing.timed(work, case("inference"), throughput=True)
    assert found.energy(items_per_step=4) == pytest.approx(0.5)
    assert "energy_joules_per_item" not in found.absent(CPU)
    begin, *_, end = work.readings
    assert 0.3 <= end - begin < 0.6


def test_nothing_but_calls_is_metered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Collecting Python's garbage takes tenths of a second of power."""
    work, collections = Work(), list[float]()
    monkeypatch.setattr(timing, "meter_of", lambda device: Meter(counters=(Counter(joules=work.joules),)))
    monkeypatch.setattr(timing, "seconds_of", lambda device, budget: 0.0)

    def seen(phase: str, info: dict[str, int]) -> None:
        collections.append(time.perf_counter())

    gc.callbacks.append(seen)
    try:
        timing.timed(work, case("inference"), throughput=True)
    finally:
        gc.callbacks.remove(seen)
    begin, *_, end = work.readings
    assert collections
    assert not [moment for moment in collections if begin <= moment <= end]


def test_without_blocks_there_is_no_energy() -> None:
    alone = timing.timed(lambda: torch.ones(1), case("layers"), throughput=False)
    assert alone.energy(2) is None
    assert "blocks" in alone.absent(CPU)["energy_joules_per_item"]


@dataclass
class Stepping:
    """A counter that moves in steps of ten joules, one for each ten calls of a joule each."""

    calls: int = 0

    def work(self) -> int:
        self.calls += 1
        return 1

    def joules(self) -> float:
        return float(self.calls // 10 * 10)


def test_a_metered_pass_begins_and_ends_at_a_step_of_the_counter() -> None:
    stepping = Stepping(calls=7)
    meter = Meter(counters=(Counter(joules=stepping.joules),))
    joules, calls = metered(meter, stepping.work, 0.0)
    assert (joules, calls) == (10.0, 10)


def test_a_counter_that_does_not_move_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "STEP_SECONDS", 0.01)
    joules, calls = metered(Meter(counters=(Counter(joules=lambda: 5.0),)), lambda: 1, 0.0)
    assert joules is None
    assert calls > 0
