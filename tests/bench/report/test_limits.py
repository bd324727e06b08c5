"""Shares of the machine's limits, from the run's ceilings; and what a row far from both is called."""

from __future__ import annotations

from typing import Any

import pytest

from bench.report.pairing import compared

MILLISECOND = (0.001,) * 30


def result_of(run: Any, experiment: str = "inference") -> Any:
    (result,) = (one for one in compared([run]) if one.case.experiment == experiment)
    return result


def inference(make: Any, moved: float, flops: float, **changes: Any) -> Any:
    """A step of a millisecond that moves so many bytes and does so many FLOPs."""
    figures = {"bytes_per_step": moved, "flops_per_image": flops}
    return make.inference(MILLISECOND, figures=figures, **{"compute": "float32", **changes})


@pytest.mark.parametrize(
    ("moved", "flops", "share", "bound"),
    [
        (4e6, 1e7, 0.4, "memory"),  # 4 GB/s of 10, 10 GFLOP/s of 100
        (4e5, 6e7, 0.6, "arithmetic"),
        (1e5, 5e6, 0.05, "neither"),
    ],
)
def test_the_larger_share_is_the_rows(
    make: Any, run_of: Any, moved: float, flops: float, share: float, bound: str
) -> None:
    result = result_of(run_of(inference(make, moved, flops), make.ceilings(1e10, float32=1e11)))
    assert (result.limits.reached, result.limits.bound) == (pytest.approx(share), bound)
    assert ("host-bound" in result.marks) == (bound == "neither")


def test_a_batch_does_the_flops_of_all_its_images(make: Any, run_of: Any) -> None:
    result = result_of(run_of(inference(make, 0, 1e6, batch_size=32), make.ceilings(float32=1e11)))
    assert result.limits.of_arithmetic == pytest.approx(0.32)


def test_the_limit_is_that_of_the_format_that_ran(make: Any, run_of: Any) -> None:
    one = inference(make, 0, 1e7, compute="int8", precision="int8_static")
    assert result_of(run_of(one, make.ceilings(float32=1e11, int8=4e11))).limits.of_arithmetic == pytest.approx(0.025)


def test_a_format_slower_than_float32_has_float32s_limit(make: Any, run_of: Any) -> None:
    one = inference(make, 0, 1e7, compute="bfloat16", precision="bf16")
    assert result_of(run_of(one, make.ceilings(float32=1e11, bfloat16=1e9))).limits.of_arithmetic == 0.1


def test_one_limit_alone_does_not_make_a_row_host_bound(make: Any, run_of: Any) -> None:
    one = inference(make, 1e5, 5e6, compute="float16", precision="fp16")
    result = result_of(run_of(one, make.ceilings(1e10, float32=1e11)))
    assert (result.limits.of_arithmetic, result.limits.bound, result.marks) == (None, None, [])


def test_expanding_weights_is_named_where_it_is_that(make: Any, run_of: Any) -> None:
    one = inference(make, 1e5, 5e6, precision="nf4_weights", bits=(4, 32))
    assert result_of(run_of(one, make.ceilings(1e10, float32=1e11))).marks == ["weights are expanded"]


def test_ceilings_of_another_machine_are_not_taken(make: Any, run_of: Any) -> None:
    here = run_of(inference(make, 4e6, 1e7), name="here.json")
    there = run_of(make.ceilings(float32=1e11), name="there.json", machine=make.machine(cores=64))
    (result,) = (one for one in compared([here, there]) if one.case.experiment == "inference")
    assert result.limits.reached is None


def test_a_training_does_three_passes_and_moves_each_weight_twice_a_step(make: Any, run_of: Any) -> None:
    """An epoch of 10 s over 50,000 images in 100 steps; FLOPs of an image are those of its inference."""
    training = make.training(seconds=(10.0,) * 3, figures={"steps_per_second": 10.0})
    run = run_of(training, inference(make, 1, 1e6), make.ceilings(1e6, float32=1e11))
    limits = result_of(run, "training").limits
    assert limits.of_arithmetic == pytest.approx(3 * 50_000 * 1e6 / 10 / 1e11)
    assert limits.of_bandwidth == pytest.approx(2 * 174_504 * 10 / 1e6)


def test_decoding_rows_share_the_highest_bandwidth_of_their_place(make: Any, run_of: Any) -> None:
    one = make.decode(20.0, share=0.5)
    other = make.decode(20.0, precision="nf4", figures={"bandwidth": 2e10, "share_of_bandwidth": 0.25})
    elsewhere = make.decode(20.0, threads=1)
    found = {(one.case.precision, one.case.threads): one.limits for one in compared([run_of(one, other, elsewhere)])}
    assert {key: limits.bandwidth for key, limits in found.items()} == {
        ("fp32", 2): 2e10,
        ("nf4", 2): 2e10,
        ("fp32", 1): 1e10,
    }
    assert found["fp32", 2].of_bandwidth == pytest.approx(0.25)
