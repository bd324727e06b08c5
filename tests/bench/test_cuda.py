"""The same cases on a CUDA GPU: what only there is measured. Skipped where the driver tells of none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.options import gpu_count
from bench.records import Measurement, from_json

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(gpu_count() == 0, reason="no CUDA GPU here"),
]


@pytest.fixture(scope="module")
def measurements(tmp_path_factory: pytest.TempPathFactory) -> list[Measurement]:
    folder = tmp_path_factory.mktemp("cuda")
    options = ["--budget", "smoke", "--device", "cuda", "--dataset", "mnist5k", "--models", "cnn_small,resnet18"]
    files = ["--data-dir", str(folder / "data"), "--benchmark-json", str(folder / "run.json")]
    command = [sys.executable, "-m", "pytest", "bench", "-p", "no:cacheprovider", *options, *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout
    rows = json.loads((folder / "run.json").read_text())["benchmarks"]
    return [from_json(Measurement, row["extra_info"]) for row in rows]


def test_both_times_are_kept(measurements: list[Measurement]) -> None:
    for found in measurements:
        if found.case.experiment == "inference":
            assert found.device_seconds is not None
            assert len(found.device_seconds) == len(found.seconds)
            assert all(device <= wall for device, wall in zip(found.device_seconds, found.seconds, strict=True))


def test_peaks_are_the_allocators(measurements: list[Measurement]) -> None:
    for found in measurements:
        assert {peak.kind for peak in found.peaks} == {"cuda_allocated", "cuda_reserved"}
        held = {peak.bytes for peak in found.peaks if (peak.phase, peak.kind) == ("steady", "cuda_allocated")}
        assert found.weight_bytes is not None
        assert min(held) >= found.weight_bytes


def test_clocks_are_read_while_measuring(measurements: list[Measurement]) -> None:
    for found in measurements:
        if found.case.experiment == "inference":
            assert found.device_state[0].clock_hz or found.absent["device_state"]


def test_fp32_ran_without_tf32(measurements: list[Measurement]) -> None:
    assert all(not found.flags["matmul_tf32"] and not found.flags["cudnn_tf32"] for found in measurements)


def test_compiled_ran(measurements: list[Measurement]) -> None:
    assert "compiled" in {found.case.mode for found in measurements}
