"""Shares of the machine's limits, joined from the run's ceilings; and what a row far from both is called."""

from __future__ import annotations

from typing import Any

import pytest

from bench.report.cells import EXPANDED, HARDLY_CONVERTED, HOST_BOUND, limit_cell, marks
from bench.report.frame import rows_of, tidy
from bench.report.limits import bound_by
from bench.report.rows import Row

MILLISECOND = (0.001,) * 30
SHARE = "share of limit [%] ↑"


def row_of(run: Any, experiment: str = "inference") -> Row:
    (row,) = rows_of(tidy([run]), experiment)
    return row


def inference(make: Any, moved: float, flops: float, **changes: Any) -> Any:
    """A step of a millisecond that moves so many bytes and does so many FLOPs."""
    figures = {"bytes_per_step": moved, "flops_per_image": flops}
    return make.inference(MILLISECOND, figures=figures, **{"compute": "float32", **changes})


@pytest.mark.parametrize(
    ("moved", "flops", "cell", "bound"),
    [
        (4e6, 1e7, "40.0 (memory)", "memory"),  # 4 GB/s of 10, 10 GFLOP/s of 100
        (4e5, 6e7, "60.0 (arithmetic)", "arithmetic"),
        (1e5, 5e6, "5.0 (arithmetic)", "neither"),
    ],
)
def test_the_larger_share_is_the_rows(
    make: Any, run_of: Any, moved: float, flops: float, cell: str, bound: str
) -> None:
    row = row_of(run_of(inference(make, moved, flops), make.ceilings(1e10, float32=1e11)))
    assert limit_cell(row) == cell
    assert bound_by(row) == bound
    assert (HOST_BOUND in marks(row)) == (bound == "neither")


def test_a_batch_does_the_flops_of_all_its_images(make: Any, run_of: Any) -> None:
    row = row_of(run_of(inference(make, 0, 1e6, batch_size=32), make.ceilings(float32=1e11)))
    assert row["share of arithmetic [1]"] == pytest.approx(0.32)


def test_the_limit_is_that_of_the_format_that_ran(make: Any, run_of: Any) -> None:
    one = inference(make, 0, 1e7, compute="int8", precision="int8_static")
    row = row_of(run_of(one, make.ceilings(float32=1e11, int8=4e11)))
    assert row["share of arithmetic [1]"] == pytest.approx(0.025)


def test_a_format_slower_than_float32_is_held_against_float32(make: Any, run_of: Any) -> None:
    one = inference(make, 0, 1e7, compute="bfloat16", precision="bf16")
    assert row_of(run_of(one, make.ceilings(float32=1e11, bfloat16=1e9)))["share of arithmetic [1]"] == 0.1


def test_one_limit_alone_does_not_make_a_row_host_bound(make: Any, run_of: Any) -> None:
    """A format that was not measured, or not told."""
    for compute in ("float16", None):
        one = inference(make, 1e5, 5e6, compute=compute, precision="fp16")
        row = row_of(run_of(one, make.ceilings(1e10, float32=1e11)))
        assert (row["share of arithmetic [1]"], bound_by(row)) == (None, None)
        assert limit_cell(row) == "1.0"
        assert marks(row) == []


def test_expanding_weights_is_named_where_it_is_that(make: Any, run_of: Any) -> None:
    one = inference(make, 1e5, 5e6, precision="nf4_weights", bits=(4, 32))
    assert marks(row_of(run_of(one, make.ceilings(1e10, float32=1e11)))) == [EXPANDED]


def test_a_row_that_hardly_expands_anything_is_not_slow_for_that(make: Any, run_of: Any) -> None:
    one = inference(make, 1e5, 5e6, precision="nf4", bits=(4, 32), shares=(0.004, 0.0))
    assert marks(row_of(run_of(one, make.ceilings(1e10, float32=1e11)))) == [HARDLY_CONVERTED, HOST_BOUND]


def test_without_ceilings_there_is_no_share(make: Any, run_of: Any) -> None:
    row = row_of(run_of(inference(make, 4e6, 1e7)))
    assert (row["share of limit [1]"], limit_cell(row), bound_by(row)) == (None, "–", None)


def test_ceilings_of_another_machine_are_not_taken(make: Any, run_of: Any) -> None:
    here = run_of(inference(make, 4e6, 1e7), name="here.json")
    there = run_of(make.ceilings(float32=1e11), name="there.json", machine=make.machine(cores=64))
    (row,) = rows_of(tidy([here, there]), "inference")
    assert row["share of limit [1]"] is None


def test_a_layer_goes_by_its_own_flops(make: Any, run_of: Any) -> None:
    layer = make.layer(1.0, width=256, batch_size=8)
    figures = {"flops_per_input": 1e6, "bytes_per_step": 1e6}
    layer = make.with_figures(layer, figures)
    row = row_of(run_of(layer, make.ceilings(1e10, float32=1e11)), "layers")
    assert (row["share of arithmetic [1]"], row["share of bandwidth [1]"]) == (pytest.approx(0.08), pytest.approx(0.1))


def test_a_training_does_three_passes_and_moves_each_weight_twice_a_step(make: Any, run_of: Any) -> None:
    """An epoch of 10 s over 50,000 images in 100 steps; FLOPs of an image are those that its inference tells."""
    training = make.training(seconds=(10.0,) * 3, figures={"steps_per_second": 10.0})
    outcomes = (training, inference(make, 1, 1e6), make.ceilings(1e6, float32=1e11))
    row = row_of(run_of(*outcomes), "training")
    assert row["share of arithmetic [1]"] == pytest.approx(3 * 50_000 * 1e6 / 10 / 1e11)
    assert row["share of bandwidth [1]"] == pytest.approx(2 * 174_504 * 10 / 1e6)


def test_decoding_rows_of_earlier_versions_share_the_highest_of_their_bandwidths(make: Any, run_of: Any) -> None:
    """They tell one each, and the share of it: half of 10^10 bytes a second, which is a quarter of another one's."""
    one = make.decode(20.0, share=0.5)
    other = make.decode(20.0, precision="nf4", figures={"bandwidth": 2e10, "share_of_bandwidth": 0.25})
    rows = rows_of(tidy([run_of(one, other)]), "decode")
    assert [(row["bandwidth [B/s]"], row["share of bandwidth [1]"]) for row in rows] == [(2e10, 0.25)] * 2
    assert [limit_cell(row) for row in rows] == ["25.0"] * 2
    row = row_of(run_of(one, make.ceilings(5e9, float32=1e11)), "decode")
    assert (row["bandwidth [B/s]"], row["share of bandwidth [1]"]) == (1e10, 0.5)


def test_bandwidths_of_another_place_are_not_taken(make: Any, run_of: Any) -> None:
    other = make.decode(20.0, threads=1, figures={"bandwidth": 2e10})
    rows = rows_of(tidy([run_of(make.decode(20.0, share=0.5), other)]), "decode")
    assert {row["threads"]: row["bandwidth [B/s]"] for row in rows} == {1: 2e10, 2: 1e10}


def test_decoding_rows_are_held_against_the_runs_ceilings(make: Any, run_of: Any) -> None:
    decode = make.decode(20.0, figures={"bytes_per_step": 1e8, "flops_per_step": 1.5e9})
    decode = make.without_figures(decode, "bandwidth", "share_of_bandwidth")
    row = row_of(run_of(decode, make.ceilings(1e10, float32=1e11)), "decode")
    assert limit_cell(row) == "75.0 (arithmetic)"
    assert row["share of bandwidth [1]"] == pytest.approx(0.5)


def test_the_report_lists_the_ceilings(make: Any, summary_of: Any) -> None:
    summary = summary_of(inference(make, 4e6, 1e7), make.ceilings(1e10, float32=1e11, bfloat16=1e9))
    memory, single, half = make.table(summary, "ceiling")
    assert (memory["reached"], single["reached"], half["reached"]) == ("10.0 GB/s", "100 GFLOP/s", "1.00 GFLOP/s")
    assert "held against float32" in half["marks"]
    assert make.table(summary, SHARE)[0][SHARE] == "40.0 (memory)"
