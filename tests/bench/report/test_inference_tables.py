from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import bench
from bench.core.records import Peak
from bench.report.render import render

FP32 = (0, 1, 2, 3, 4, 5, 6, 0, 0, 0)
INT8 = (0, 1, 2, 3, 4, 0, 0, 7, 0, 1)
PUBLISHED = Path(bench.__file__).resolve().parents[1] / "results" / "published" / "amd-epyc-2-cores"


def int8(make: Any, milliseconds: float = 0.5, **changes: Any) -> Any:
    facts = {"precision": "int8", "bits": (8, 8), "shares": (0.998, 0.9999), "compute": "int8", "weight_bytes": 45_371}
    return make.inference([milliseconds / 1e3] * 30, **{**facts, **changes})


def test_one_row_holds_accuracy_latency_memory_and_what_was_converted(make: Any, summary_of: Any) -> None:
    peaks = (Peak(phase="steady", kind="rss", bytes=2_000_000),)
    summary = summary_of(
        make.inference([0.002] * 30, labels=FP32),
        make.inference([0.001] * 30, labels=FP32, mode="compiled"),
        int8(make, labels=INT8, mode="compiled", peaks=peaks),
    )
    eager, compiled, row = make.table(summary, "p50 [ms] ↓")
    assert "### cnn_small" in summary
    assert (row["batch"], row["precision"], row["mode"]) == ("1", "int8", "compiled")
    assert row["speed-up over fp32, same mode [×] ↑"] == "2.00"
    assert row["speed-up over fp32 eager [×] ↑"] == "4.00"
    assert row["accuracy [%] ↑"] == "60.00 ± 15.49"
    assert row["change to fp32 [points] ↑"] == "-10.00 ± 17.03"
    assert row["agreement with fp32 [%] ↑"] == "60.00 ± 15.49"
    assert row["McNemar p"] == "1.0"
    assert (row["weights [MB] ↓"], row["weights, of fp32's [%] ↓"]) == ("0.0454", "26.0")
    assert row["steady peak, process [MB] ↓"] == "2.00"
    assert (row["parameters converted [%]"], row["FLOPs converted [%]"]) == ("99.8", "100.0")
    assert eager["change to fp32 [points] ↑"] == eager["speed-up over fp32, same mode [×] ↑"] == "baseline"
    assert compiled["change to fp32 [points] ↑"] == "0.00 ± 0.00"
    assert make.table(summary, "computes in")[2]["computes in"] == "int8"


def test_networks_and_their_image_sizes_have_tables_of_their_own(make: Any, summary_of: Any) -> None:
    summary = summary_of(make.inference(), make.inference(image_size=224), make.inference(model="resnet18"))
    headings = [line for line in summary.splitlines() if line.startswith("### ")]
    assert headings == ["### cnn_small, 32 px", "### cnn_small, 224 px", "### resnet18", "### All networks in detail"]


def test_fp32_alone_has_no_columns_or_text_on_precisions(make: Any, summary_of: Any) -> None:
    summary = summary_of(make.inference(labels=FP32), make.inference(labels=FP32, mode="compiled"))
    header = list(make.table(summary, "p50 [ms] ↓")[0])
    assert "agreement with fp32 [%] ↑" in header
    assert not {"weights, of fp32's [%] ↓", "speed-up over fp32, same mode [×] ↑", "parameters converted [%]"} & set(
        header
    )
    assert "converted" not in summary.split("## Inference")[1].split("## Failures")[0]


def test_rows_judged_on_fewer_images_say_so(make: Any, summary_of: Any) -> None:
    whole, part = make.table(summary_of(make.inference(labels=FP32), int8(make, labels=INT8[:6])), "p50 [ms] ↓")
    assert (whole["tested on [images]"], part["tested on [images]"]) == ("10", "6")
    assert (whole["compared on [images]"], part["compared on [images]"]) == ("–", "6")
    assert part["change to fp32 [points] ↑"] == "-16.67 ± 15.21"
    even = make.table(summary_of(make.inference(labels=FP32), int8(make, labels=INT8)), "p50 [ms] ↓")[1]
    assert "compared on [images]" not in even


def test_a_precision_that_hardly_converts_is_marked_and_counted_nowhere(make: Any, summary_of: Any) -> None:
    fast = {"precision": "int8_bnb", "shares": (0.0005, 0.0001), "weight_bytes": 174_000}
    summary = summary_of(make.inference([0.002] * 30), make.inference(model="other"), int8(make, **fast))
    row = make.table(summary, "p50 [ms] ↓")[1]
    assert row["marks"] == "hardly converted"
    assert (row["parameters converted [%]"], row["FLOPs converted [%]"]) == ("0.05", "0.01")
    picks = summary.split("## What to pick")[1].split("## What the notes claim")[0]
    assert "counted in no statement: int8_bnb on cnn_small." in picks
    assert "int8_bnb eager (" not in picks
    findings = summary.split("## Inference")[1].split("###")[0]
    assert "int8_bnb eager against" not in findings
    assert "Shortest latency at 32 px, batch 1: other fp32 eager" in findings


def test_what_a_trace_cannot_tell_does_not_hide_that_nothing_was_stored_low(make: Any, summary_of: Any) -> None:
    summary = summary_of(
        make.inference([0.002] * 30),
        int8(make, shares=(0.0005, None)),
        make.inference(precision="autocast", bits=(32, 16), shares=(0.0, None)),
    )
    rows = make.table(summary, "p50 [ms] ↓")
    assert {row["precision"]: row["marks"] for row in rows[1:]} == {"int8": "hardly converted", "autocast": "–"}
    assert {row["FLOPs converted [%]"] for row in rows if "FLOPs converted [%]" in row} <= {"–"}


@pytest.mark.parametrize("shares", [(0.05, 0.0), (0.0, 0.05), (0.05, None), None])
def test_five_per_cent_of_either_is_not_hardly(
    make: Any, summary_of: Any, shares: tuple[float, float | None] | None
) -> None:
    summary = summary_of(make.inference([0.002] * 30), int8(make, shares=shares))
    assert make.table(summary, "p50 [ms] ↓")[1].get("marks", "–") == "–"
    assert "int8 eager against fp32 eager, in 1 pair of rows: faster in 1 (4.00 ×)." in summary


def test_gains_are_over_fp32_in_the_same_mode(make: Any, summary_of: Any) -> None:
    summary = summary_of(
        make.inference([0.004] * 30),
        make.inference([0.002] * 30, mode="compiled"),
        make.inference([0.004] * 30, batch_size=8),
        make.inference([0.002] * 30, batch_size=8, mode="compiled"),
        int8(make, 1.0, mode="compiled"),
        int8(make, 8.0, mode="compiled", batch_size=8),
    )
    line = (
        "int8 compiled against fp32 compiled, in 2 pairs of rows: faster in 1 (2.00 ×), slower in 1 (0.25 ×); "
        "over fp32 eager 0.50 to 4.00 ×."
    )
    assert line in summary


def test_cases_that_cannot_run_share_a_row_over_models_and_modes(make: Any, summary_of: Any) -> None:
    cases = [
        make.failure("unsupported", "tf32 needs CUDA", model=model, mode=mode, precision="tf32", recipe=recipe)
        for model, recipe in (("cnn_small", "one"), ("vgg16", None))
        for mode in ("eager", "compiled")
    ]
    crashed = [make.failure("crashed", "signal 11", model=model, mode="compiled") for model in ("a", "b")]
    summary = summary_of(*cases, *crashed, make.failure("crashed", "signal 11", model="a"))
    (row,) = make.table(summary.split("cannot run here")[1], "reason")
    assert (row["model"], row["mode"], row["cases"]) == ("cnn_small, vgg16", "compiled, eager", "4")
    assert row["recipe"] == "one, none"
    failed = make.table(summary, "reason")
    assert [(row["model"], row["mode"]) for row in failed] == [("a", "eager"), ("a, b", "compiled")]


def test_reports_of_earlier_versions_still_render(tmp_path: Path) -> None:
    summary = render([PUBLISHED / "cifar10-jpeg.json"], tmp_path).summary.read_text()
    assert "### resnet14_cifar" in summary
    assert "fp32 compiled against fp32 eager, in 6 pairs of rows:" in summary
    assert "Cannot be judged by classifiers: no row with 8-bit or 4-bit weights was measured." in summary
    assert "agreement with fp32" not in summary


def test_nothing_reads_nan(make: Any, tmp_path: Path) -> None:
    outcomes = [
        make.inference(labels=FP32),
        make.inference([0.001], None, weight_bytes=None, precision="bf16"),
        int8(make, labels=INT8),
        make.layer(),
        make.layer(seconds=(0.001,), precision="int8", error=0.01),
        make.training(),
    ]
    render([make.write(tmp_path / "run.json", outcomes)], tmp_path)
    for name in ("summary.md", "measurements.csv"):
        text = (tmp_path / name).read_text().lower().replace("tenant", "")
        assert not {"nan", "inf", "none"} & set(text.replace("|", " ").replace(",", " ").split()), name
