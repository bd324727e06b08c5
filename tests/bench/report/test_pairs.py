from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from bench.core.records import Measurement, Peak
from bench.report.frame import rows_of, tidy
from bench.report.measurements import measurements
from bench.report.pairs import AGREEMENT
from bench.report.rows import Row

FP32 = (0, 1, 2, 3, 4, 5, 6, 0, 0, 0)
"""Seven of ten images right."""
INT8 = (0, 1, 2, 3, 4, 0, 0, 7, 0, 1)
"""Loses images 5 and 6, gains image 7, and labels image 9 otherwise, both times wrongly: six alike, six right."""


def row_at(run: Any, precision: str, **values: Any) -> Row:
    rows = rows_of(tidy([run]), "inference")
    return next(row for row in rows if {"precision": precision, **values}.items() <= row.items())


def nothing_said(row: Row) -> bool:
    return all(row[name] is None for name in AGREEMENT)


def test_agreement_change_and_p_by_hand(make: Any, run_of: Any) -> None:
    run = run_of(make.inference(labels=FP32), make.inference(labels=INT8, precision="int8"))
    row = row_at(run, "int8")
    values = [row[name] for name in AGREEMENT]
    # Two lost, one gained: (1 - 2) / 10; sqrt(3 - 1/10) / 10; P(X <= 1 of 3) = 1/2.
    assert values == pytest.approx([0.6, math.sqrt(0.6 * 0.4 / 10), -0.1, math.sqrt(2.9) / 10, 1.0, 10])
    assert nothing_said(row_at(run, "fp32"))
    line = measurements(tidy([run]), [run]).set_index("precision").loc["int8"]
    assert [line[name] for name in AGREEMENT] == pytest.approx(values)


def test_any_batch_size_and_mode_is_held_against_fp32_eager(make: Any, run_of: Any) -> None:
    run = run_of(
        make.inference(labels=INT8, mode="compiled", batch_size=8),
        make.inference(labels=FP32, batch_size=1),
        make.inference(labels=INT8, batch_size=32, precision="int8"),
    )
    assert row_at(run, "int8")[AGREEMENT[0]] == 0.6
    assert row_at(run, "fp32", mode="compiled")[AGREEMENT[0]] == 0.6
    assert nothing_said(row_at(run, "fp32", mode="eager"))


@pytest.mark.parametrize(("fp32", "int8"), [(10, 6), (6, 10)])
def test_images_that_both_judged_are_compared(make: Any, run_of: Any, fp32: int, int8: int) -> None:
    run = run_of(make.inference(labels=FP32[:fp32]), make.inference(labels=INT8[:int8], precision="int8"))
    values = [row_at(run, "int8")[name] for name in AGREEMENT]
    # Of six images one is lost and none gained.
    expected = [5 / 6, math.sqrt(5 / 6 / 6 / 6), -1 / 6, math.sqrt(1 - 1 / 6) / 6, 1.0, 6]
    assert values == pytest.approx(expected)


def test_of_several_eager_rows_the_one_with_most_images_is_the_reference(make: Any, run_of: Any) -> None:
    run = run_of(
        make.inference(labels=FP32, mode="compiled"),
        make.inference(labels=FP32[:3], batch_size=1),
        make.inference(labels=FP32[:9], batch_size=8),
        make.inference(labels=INT8, precision="int8"),
    )
    assert row_at(run, "int8")["images compared"] == 9


def test_fp32_compiled_stands_in_where_there_is_no_eager_row(make: Any, run_of: Any) -> None:
    run = run_of(
        make.inference(labels=FP32, mode="compiled"), make.inference(labels=INT8, mode="compiled", precision="int8")
    )
    assert row_at(run, "int8")[AGREEMENT[0]] == 0.6
    assert nothing_said(row_at(run, "fp32"))


@pytest.mark.parametrize(
    "other",
    [
        {"artefact": "other.pt"},
        {"weights_sha256": "2" * 64},
        {"model": "resnet18"},
        {"recipe": "short"},
        {"seed": 1},
        {"image_size": 64},
        {"options": (("weights", "mine.pt"),)},
    ],
    ids=lambda other: next(iter(other)),
)
def test_other_weights_and_images_are_never_paired(make: Any, run_of: Any, other: dict[str, Any]) -> None:
    one = {"artefact": "one.pt", "weights_sha256": "1" * 64} if "weights_sha256" in other else {"artefact": "one.pt"}
    facts = {"labels": INT8, "precision": "int8", **one, **other}
    run = run_of(make.inference(labels=FP32, **one), make.inference(**facts))
    assert nothing_said(row_at(run, "int8"))
    same = run_of(make.inference(labels=FP32, **one), make.inference(**{**facts, **undone(other)}))
    assert not nothing_said(row_at(same, "int8"))


def undone(other: dict[str, Any]) -> dict[str, Any]:
    one = {"artefact": "one.pt", "weights_sha256": "1" * 64, "seed": 0, "image_size": 32, "labels": INT8}
    same = {**one, "model": "cnn_small", "recipe": None}
    return {name: {**same, "options": ()}[name] for name in other}


@pytest.mark.parametrize("lost", ["predictions", "truth", "short truth"])
def test_where_labels_are_missing_nothing_is_said(make: Any, run_of: Any, lost: str) -> None:
    outcomes = make.inference(labels=FP32), make.inference(labels=INT8, precision="int8")
    if lost == "predictions":
        make.predictions.popitem()
        run = run_of(*outcomes)
    else:
        from bench.core.labels import pack

        labels = {"truth": {}, "short truth": {"test_labels": pack(range(5))}}[lost]
        run = run_of(*outcomes, datasets=[make.dataset(**labels)])
    assert nothing_said(row_at(run, "int8"))
    assert row_at(run, "int8")["quality [1]"] == 0.6


def test_labels_of_one_file_serve_the_rows_of_another(make: Any, run_of: Any) -> None:
    one = run_of(make.inference(labels=FP32), name="a.json")
    other = run_of(make.inference(labels=INT8, precision="int8"), name="b.json", datasets=[make.dataset()])
    row = rows_of(tidy([other, one]), "inference")[1]
    assert (row["precision"], row[AGREEMENT[0]]) == ("int8", 0.6)


def test_weights_are_held_against_fp32_of_the_same_network(make: Any, run_of: Any) -> None:
    run = run_of(
        make.inference(weight_bytes=1000, batch_size=1),
        make.inference(weight_bytes=9000, model="resnet18"),
        make.inference(weight_bytes=250, mode="compiled", batch_size=8, precision="int8"),
        make.inference(weight_bytes=None, precision="unknown"),
    )
    assert row_at(run, "int8")["weights over fp32 [1]"] == 0.25
    assert row_at(run, "fp32", model="resnet18")["weights over fp32 [1]"] == 1.0
    assert row_at(run, "unknown")["weights over fp32 [1]"] is None


def test_peaks_and_throughput_are_held_against_fp32_in_the_same_mode(make: Any, run_of: Any) -> None:
    def measured(peak: int, rate: float, blocks: Sequence[float], **changes: Any) -> Measurement:
        peaks = (Peak(phase="steady", kind="rss", bytes=peak),)
        series = {"block_seconds": tuple(blocks)}
        weights = 300 if changes.get("precision") else 1000
        made: Measurement = make.inference(
            peaks=peaks, weight_bytes=weights, figures={"throughput": rate}, series=series, **changes
        )
        return made

    run = run_of(
        measured(100, 10.0, [1.0] * 6),
        measured(200, 20.0, [0.9, *[1.0] * 4, 1.25], mode="compiled"),
        measured(50, 80.0, [1.0] * 6, mode="compiled", precision="int8"),
        measured(50, 80.0, [1.0] * 5, precision="int8"),
    )
    row = row_at(run, "int8", mode="compiled")
    assert row["steady peak over fp32 same mode [1]"] == (300 + 50) / (1000 + 200)  # what is in use during a step
    ends = [row[f"throughput over fp32 same mode{end} [1]"] for end in ("", " from", " to")]
    assert ends == pytest.approx([4.0, 4.0 * 0.9, 4.0 * 1.25])
    eager = row_at(run, "int8", mode="eager")
    assert eager["throughput over fp32 same mode [1]"] == 8.0
    assert eager["throughput over fp32 same mode from [1]"] is None  # five blocks give no interval
