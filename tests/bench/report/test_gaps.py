"""What some networks of a run have and others lack, from cases that are known."""

from __future__ import annotations

from typing import Any

from bench.report.gaps import Gap, gaps

NETWORKS = ("cnn_small", "resnet14_cifar", "resnet18")


def grid(make: Any, **left: Any) -> list[Any]:
    """fp32 of three networks in both modes at two batch sizes."""
    return [
        make.inference(model=model, mode=mode, batch_size=size, **left)
        for model in NETWORKS
        for mode in ("eager", "compiled")
        for size in (128, 1)
    ]


def test_a_whole_grid_has_no_gap(make: Any, run_of: Any) -> None:
    assert gaps(run_of(*grid(make))) == []


def test_what_one_network_lacks_is_named(make: Any, run_of: Any) -> None:
    half = [make.inference(model=model, precision=name) for model in NETWORKS[:2] for name in ("bf16", "fp16")]
    (found,) = gaps(run_of(*grid(make), *half))
    assert found == Gap(precisions=("bf16", "fp16"), models=("resnet18",), batch_sizes=(), others=False)


def test_single_batch_sizes_and_modes_are_named(make: Any, run_of: Any) -> None:
    outcomes = [
        outcome
        for outcome in grid(make)
        if (outcome.case.model, outcome.case.mode, outcome.case.batch_size) != ("resnet18", "compiled", 128)
    ]
    (found,) = gaps(run_of(*outcomes))
    assert found == Gap(precisions=("fp32 compiled",), models=("resnet18",), batch_sizes=(128,), others=False)


def test_where_most_lack_it_those_that_have_it_are_named(make: Any, run_of: Any) -> None:
    (found,) = gaps(run_of(*grid(make), make.inference(precision="nf4")))
    assert found == Gap(precisions=("nf4",), models=("cnn_small",), batch_sizes=(), others=True)


def test_a_failure_is_no_gap(make: Any, run_of: Any) -> None:
    half = [make.inference(model=model, precision="bf16") for model in NETWORKS[:2]]
    failed = make.failure("unsupported", "no bf16 here", model="resnet18", precision="bf16")
    assert gaps(run_of(*grid(make), *half, failed)) == []


def test_images_of_another_size_have_a_grid_of_their_own(make: Any, run_of: Any) -> None:
    assert gaps(run_of(*grid(make), make.inference(model="resnet18", image_size=224, batch_size=32))) == []
