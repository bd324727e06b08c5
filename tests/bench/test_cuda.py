"""The same cases on a CUDA GPU: what only there is measured. Skipped where the driver tells of none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.core.budgets import COMPILED_KINDS, COMPILED_LANGUAGE_KINDS
from bench.core.experiments import LANGUAGE_EXPERIMENTS
from bench.core.precisions import CLASSIFIER_PRECISIONS, LANGUAGE_PRECISIONS, PRECISIONS, why_not
from bench.core.records import Measurement, from_json
from bench.plan.command_line import gpu_count

ROOT = Path(__file__).resolve().parents[2]
BATCH = 32
ROWS = [
    *((name, "eager") for name in CLASSIFIER_PRECISIONS if why_not(PRECISIONS[name], "cuda", "eager") is None),
    *((name, "compiled") for name in COMPILED_KINDS if why_not(PRECISIONS[name], "cuda", "compiled") is None),
]
"""What the smoke budget times of ``cnn_small``."""

RESULTS = os.environ.get("HALFBYTE_CUDA_RESULTS")
"""Folder of files ``*.json`` of smoke runs on a GPU, brought from elsewhere; None runs the cases here."""

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.slow,
    pytest.mark.skipif(
        not RESULTS and gpu_count() == 0, reason="no CUDA GPU here, and no HALFBYTE_CUDA_RESULTS=folder"
    ),
]


@pytest.fixture(scope="module")
def measurements(tmp_path_factory: pytest.TempPathFactory) -> list[Measurement]:
    folder = Path(RESULTS).expanduser() if RESULTS else measured_here(tmp_path_factory.mktemp("cuda"))
    files = sorted(folder.glob("*.json"))
    assert files, f"{folder} holds no run.json of a GPU"
    rows = [row for file in files for row in json.loads(file.read_text())["benchmarks"]]
    found = [from_json(Measurement, row["extra_info"]) for row in rows]
    assert {one.case.device.partition(":")[0] for one in found} == {"cuda"}
    assert {one.case.budget for one in found} == {"smoke"}
    return found


def measured_here(folder: Path) -> Path:
    """Folder of the JSON of a smoke run."""
    options = ["--budget", "smoke", "--device", "cuda", "--dataset", "mnist5k"]
    files = ["--data-dir", str(folder / "data"), "--benchmark-json", str(folder / "run.json")]
    command = [sys.executable, "-m", "pytest", "bench", "-p", "no:cacheprovider", *options, *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout
    return folder


def test_both_times_are_kept(measurements: list[Measurement]) -> None:
    for found in measurements:
        if found.case.experiment in ("inference", "layers"):
            assert found.device_seconds is not None
            assert len(found.device_seconds) == len(found.seconds)
            assert all(device <= wall for device, wall in zip(found.device_seconds, found.seconds, strict=True))


def test_peaks_are_the_allocators(measurements: list[Measurement]) -> None:
    for found in measurements:
        if "peaks" in found.absent:
            continue
        told = set() if "peaks.device_process" in found.absent else {"device_process"}
        assert {peak.kind for peak in found.peaks} == {"cuda_allocated", "cuda_reserved"} | told
        if found.case.experiment == "load":
            continue
        held = {peak.bytes for peak in found.peaks if (peak.phase, peak.kind) == ("steady", "cuda_allocated")}
        assert found.weight_bytes is not None
        assert min(held) >= found.weight_bytes


def test_clocks_are_read_while_measuring(measurements: list[Measurement]) -> None:
    for found in measurements:
        if found.case.experiment == "inference":
            assert found.absent.get("device_state") or found.device_state[0].clock_hz


def test_only_the_tf32_row_ran_with_tf32(measurements: list[Measurement]) -> None:
    for found in measurements:
        on = found.case.precision == "tf32"
        assert (found.flags["matmul_tf32"], found.flags["cudnn_tf32"]) == (on, on)


@pytest.mark.parametrize(("name", "mode"), ROWS)
def test_every_precision_of_a_gpu_ran(measurements: list[Measurement], name: str, mode: str) -> None:
    """cnn_small has one linear layer with a multiple of 128 inputs, which is enough for int4."""
    [row] = [
        found
        for found in measurements
        if (found.case.experiment, found.case.model, found.case.precision, found.case.mode)
        == ("inference", "cnn_small", name, mode)
        and found.case.batch_size == BATCH
        and not found.case.option("twin")
    ]
    assert row.quality is not None
    if name not in ("fp32", "tf32"):
        assert row.coverage is not None
        padded = name == "int4_linear"  # its kernel multiplies whole tiles: more than the network's FLOPs
        assert row.coverage.quantized_flops is not None or padded, row.absent


@pytest.mark.parametrize("experiment", LANGUAGE_EXPERIMENTS)
@pytest.mark.parametrize("name", [name for name in LANGUAGE_PRECISIONS if "cuda" in PRECISIONS[name].devices])
def test_every_language_experiment_ran(measurements: list[Measurement], name: str, experiment: str) -> None:
    rows = [found for found in measurements if (found.case.experiment, found.case.precision) == (experiment, name)]
    assert [found for found in rows if found.case.mode == "eager"]
    compiled = [found for found in rows if found.case.mode == "compiled"]
    compiles = name in COMPILED_LANGUAGE_KINDS and PRECISIONS[name].library != "bitsandbytes"
    assert bool(compiled) == (experiment == "decode" and compiles)
    for found in compiled:
        assert found.cold.compile


def test_llm_int8_multiplies_in_int8(measurements: list[Measurement]) -> None:
    [row] = [
        found
        for found in measurements
        if (found.case.experiment, found.case.model, found.case.precision) == ("layers", "linear", "int8_bnb")
    ]
    assert row.coverage is not None
    assert row.coverage.quantized_flops == row.coverage.total_flops
    assert row.flags["compute"] == "int8"


def test_compiled_ran(measurements: list[Measurement]) -> None:
    assert "compiled" in {found.case.mode for found in measurements}
