"""The smoke budget on the CPU: every experiment and mode, every network once, and the report that comes of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.core.budgets import BUDGETS, COMPILED_KINDS, COMPILED_LANGUAGE_KINDS
from bench.core.experiments import EXPERIMENTS, LANGUAGE_EXPERIMENTS
from bench.core.precisions import CLASSIFIER_PRECISIONS, LANGUAGE_PRECISIONS, PRECISIONS, why_not
from bench.core.quality import unpack
from bench.core.records import Measurement, from_json
from bench.core.runtimes import REASON_KEY

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SMOKE = BUDGETS["smoke"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("smoke")
    options = ["--budget", "smoke", "--device", "cpu", "--dataset", "mnist5k", "--data-dir", str(folder / "data")]
    files = ["--benchmark-json", str(folder / "run.json"), "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", "bench", *options, *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=2400)
    assert done.returncode == 0, done.stdout
    return folder


@pytest.fixture(scope="module")
def measurements(results: Path) -> list[Measurement]:
    rows = json.loads((results / "run.json").read_text())["benchmarks"]
    return [from_json(Measurement, row["extra_info"]) for row in rows]


def test_every_network_was_timed(measurements: list[Measurement]) -> None:
    timed = {found.case.model for found in measurements if found.case.experiment == "inference"}
    assert timed == {*SMOKE.trained, *SMOKE.untrained}


def test_every_experiment_precision_and_mode_ran(measurements: list[Measurement]) -> None:
    """Each precision that a CPU has, on a network and on single layers, and each kind of them compiled."""
    ran = {(found.case.experiment, found.case.precision, found.case.mode) for found in measurements}
    for name in CLASSIFIER_PRECISIONS:
        precision = PRECISIONS[name]
        assert (("inference", name, "eager") in ran) == (why_not(precision, "cpu", "eager") is None)
        assert (("inference", name, "compiled") in ran) == (name in COMPILED_KINDS)
        assert (("layers", name, "eager") in ran) == (why_not(precision, "cpu", "eager") is None)
    assert ("training", "fp32", "eager") in ran


def test_every_language_experiment_ran_at_every_precision(measurements: list[Measurement]) -> None:
    """Each precision that a CPU has, and each kind of them compiled."""
    ran = {(found.case.experiment, found.case.precision, found.case.mode) for found in measurements}
    for name in LANGUAGE_PRECISIONS:
        precision = PRECISIONS[name]
        for experiment in LANGUAGE_EXPERIMENTS:
            assert ((experiment, name, "eager") in ran) == (why_not(precision, "cpu", "eager") is None)
        compiles = name in COMPILED_LANGUAGE_KINDS and precision.library != "bitsandbytes"
        assert (("decode", name, "compiled") in ran) == compiles


def test_language_rows_have_what_the_report_shows(measurements: list[Measurement]) -> None:
    for found in measurements:
        if found.case.experiment not in LANGUAGE_EXPERIMENTS:
            continue
        assert found.weight_bytes
        if found.case.runtime != "torch":  # tests/bench/runtimes has what other runtimes give
            continue
        assert "4-bit already" in found.notes[0]
        assert (found.quality is not None) == (found.case.experiment == "perplexity")
        assert (found.quality is None) == ("quality" in found.absent)
        assert bool(found.texts.keys() - {REASON_KEY}) == (found.case.experiment == "chat")
        assert (REASON_KEY in found.texts) == (found.case.experiment in ("prefill", "decode"))
        if found.case.experiment == "load":
            assert {peak.phase for peak in found.peaks} == {"load"}
            assert found.figures["resident_bytes"].value == pytest.approx(found.weight_bytes, rel=0.15)
        if found.case.experiment == "decode":
            assert found.figures["bytes_per_step"].value > 0
            assert found.figures["flops_per_step"].value > 0
            assert found.figures["throughput"].value > 0
            assert (found.cold.compile is not None) == (found.case.mode == "compiled")


def test_the_reference_takes_part_twice_in_its_sets(measurements: list[Measurement]) -> None:
    twins = [one for one in measurements if one.case.option("twin")]
    assert {twin.case.model for twin in twins} == set(SMOKE.twins)
    for twin in twins:
        assert {turn.set for turn in twin.turns} == set(range(SMOKE.sets))
        assert all(turn.reference_seconds for turn in twin.turns)


def test_pytest_benchmark_has_the_samples_of_all_sets(results: Path) -> None:
    rows = json.loads((results / "run.json").read_text())["benchmarks"]
    assert sum(len({turn["set"] for turn in row["extra_info"]["turns"]}) > 1 for row in rows) > 2
    for row in rows:
        assert row["stats"]["rounds"] == len(row["extra_info"]["seconds"])
        assert row["stats"]["data"] == row["extra_info"]["seconds"]


def test_the_ceilings_are_measured_once(measurements: list[Measurement]) -> None:
    [found] = [found for found in measurements if found.case.experiment == "ceilings"]
    for name in ("float32", "bfloat16", "float16", "int8"):
        assert found.figures[f"product_{name}"].value > 0
        assert len(found.series[f"product_{name}_seconds"]) >= 3
    assert "CUDA" in found.absent["figures.product_tf32"]


def test_rows_say_what_a_step_has_to_move(measurements: list[Measurement]) -> None:
    for found in measurements:
        if found.case.experiment in ("inference", "layers"):
            assert found.figures["bytes_per_step"].value > (found.weight_bytes or 0)


def test_what_cannot_run_here_stands_there_with_its_reason(results: Path) -> None:
    failures = json.loads((results / "run.json").read_text())["halfbyte"]["failures"]
    assert {failure["kind"] for failure in failures} == {"unsupported"}
    reasons = {failure["case"]["precision"]: failure["message"] for failure in failures}
    assert reasons["tf32"] == "tf32 runs on cuda only"
    linear_only = [
        failure["message"]
        for failure in failures
        if (failure["case"]["model"], failure["case"]["precision"]) == ("conv3x3", "nf4")
    ]
    assert linear_only == ["the network has no Linear: nothing to convert"]
    compiled = {
        failure["case"]["precision"]: failure["message"]
        for failure in failures
        if (failure["case"]["experiment"], failure["case"]["mode"]) == ("decode", "compiled")
    }
    assert compiled == {"nf4": "transformers compiles no decoding of models quantised by bitsandbytes"}


def test_coverage_tells_what_was_converted(measurements: list[Measurement]) -> None:
    for found in measurements:
        if found.case.experiment not in ("inference", "layers"):
            continue
        assert (found.coverage is None) == ("coverage" in found.absent) == (found.case.precision == "fp32")
        if found.coverage and found.case.precision == "int8_static":
            assert found.coverage.quantized_flops == found.coverage.total_flops
        if found.coverage and found.case.precision in ("int8_weights", "nf4_weights"):
            assert found.coverage.quantized_parameters > 0.95 * found.coverage.total_parameters
            assert found.coverage.quantized_flops == 0


def test_predictions_are_in_the_file_and_pair_with_their_labels(results: Path) -> None:
    stored = json.loads((results / "run.json").read_text())
    labels = unpack(stored["halfbyte"]["datasets"][0]["test_labels"])
    found = [row["extra_info"]["quality"] for row in stored["benchmarks"] if row["extra_info"]["quality"]]
    judged = [quality for quality in found if quality["predictions"] and quality["metric"] == "accuracy"]
    assert len(judged) > len(CLASSIFIER_PRECISIONS)
    for quality in judged:
        predicted = unpack(stored["halfbyte"]["predictions"][quality["predictions"]["sha256"]])
        right = sum(one == other for one, other in zip(predicted, labels, strict=False))
        assert len(predicted) == quality["samples"]
        assert right / len(predicted) == pytest.approx(quality["value"])


def test_a_network_has_an_accuracy_if_it_was_trained_and_else_a_reason(measurements: list[Measurement]) -> None:
    for found in measurements:
        if found.case.experiment not in ("training", "inference"):
            continue
        trained = found.case.model in SMOKE.trained
        assert (found.quality is not None) == trained, found.case
        assert ("quality" in found.absent) != trained, found.case


def test_inference_is_judged_with_the_weights_of_the_training(measurements: list[Measurement]) -> None:
    """The same weights on the same images: training and inference, eager and compiled, agree on the accuracy."""
    judged = [
        found
        for found in measurements
        if found.case.experiment in ("training", "inference")
        and (found.case.recipe, found.case.runtime, found.case.precision) == ("note4_cnn_small", "torch", "fp32")
        and found.quality
    ]
    ran = {(found.case.experiment, found.case.mode) for found in judged}
    assert ran == {("training", "eager"), ("inference", "eager"), ("inference", "compiled")}
    assert len({found.quality.value for found in judged if found.quality}) == 1


def test_every_row_has_its_samples_and_figures(measurements: list[Measurement]) -> None:
    for found in measurements:
        assert found.flags["threads"]
        if EXPERIMENTS[found.case.experiment].sampling:
            enough = len(found.seconds) >= SMOKE.sampling.min_samples
            # Most of loading's time passes in the start of worker processes, outside of its samples.
            late = sum(found.seconds) >= SMOKE.sampling.max_seconds or found.case.experiment == "loading"
            assert enough or found.turns or late
        if found.case.experiment not in ("ceilings", "loading"):
            assert found.weight_bytes
        if found.case.experiment == "inference":
            assert found.serialized_bytes
            assert found.cold.first_step
            assert {peak.phase for peak in found.peaks} == {"load", "steady"}
            assert found.figures["flops_per_image"].value > 0


def test_pytest_benchmark_reads_the_file(results: Path) -> None:
    command = [sys.executable, "-m", "pytest_benchmark", "compare", str(results / "run.json")]
    done = subprocess.run(command, cwd=results, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "test_inference[cnn_small-32px-fp32-eager-b32]" in done.stdout


def test_the_report_names_every_network_and_says_that_it_means_nothing(results: Path) -> None:
    files: list[Any] = [results / "run.json", "--out", results / "out"]
    subprocess.run([sys.executable, "-m", "bench.report", "render", *files], cwd=ROOT, check=True, capture_output=True)
    summary = (results / "out" / "summary.md").read_text()
    assert all(model in summary for model in (*SMOKE.trained, *SMOKE.untrained))
    assert "mean nothing" in summary
    assert "nan" not in summary.lower().split()
    assert (results / "out" / "measurements.csv").is_file()


def test_a_second_run_resumes_everything(results: Path) -> None:
    options = ["--budget", "smoke", "--device", "cpu", "--dataset", "mnist5k", "--data-dir", str(results / "data")]
    files = ["--benchmark-json", str(results / "run.json"), "-p", "no:cacheprovider", "--resume"]
    command = [sys.executable, "-m", "pytest", "bench", *options, *files]
    first = json.loads((results / "run.json").read_text())["benchmarks"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
    taken = len(first) + 1  # the pretraining that two transfers begin with is no test of its own
    assert f"resuming: {taken} measurements" in done.stdout
    stored = json.loads((results / "run.json").read_text())
    again = stored["benchmarks"]
    assert stored["halfbyte"]["resumed"] == taken
    assert [row["extra_info"] for row in again] == [row["extra_info"] for row in first]
