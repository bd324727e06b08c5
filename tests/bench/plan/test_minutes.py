"""Choice of the cases that fit: answers first, trainings paid for once, what was measured for nothing."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest

from bench.core.budgets import BUDGETS
from bench.core.experiments import EXPERIMENTS
from bench.core.precisions import PRECISIONS
from bench.core.runtimes import RUNTIMES
from bench.plan.minutes import (
    CONVERTED_SECONDS,
    FIRST_ROUTES,
    FIXED_SECONDS,
    LATER,
    REFERENCE,
    WHOLE_TRAINING_SECONDS,
    Wanted,
    choose,
    estimate,
)

OPENVINO = ("openvino", "int8_static", "native")
SLOW = ("torch", "nf4_weights", "eager")


def inference(model: str, route: tuple[str, str, str], batch: int = 32, **changes: Any) -> Wanted:
    runtime, precision, mode = route
    params = {"model": model, "image_size": 32, "batch_size": batch}
    fields: dict[str, Any] = {
        "test": f"{model} {precision} b{batch}",
        "experiment": "inference",
        "params": {**params, "runtime": runtime, "precision": precision, "mode": mode},
        "seconds": 5.0,
        "training": f"training of {model}",
        "training_seconds": 10.0,
    }
    return Wanted(**{**fields, **changes})


def names_of(wanted: Sequence[Wanted]) -> list[str]:
    return [one.test for one in wanted]


NETWORKS = [inference(model, route) for model in ("a", "b", "c") for route in (REFERENCE, SLOW, OPENVINO)]


def test_each_network_is_answered_before_any_other_route() -> None:
    found = choose(NETWORKS, 60.0, "cpu")
    expected = [f"{model} {name} b32" for model in "abc" for name in ("fp32", "int8_static")]
    assert names_of(found.chosen) == expected
    assert [one.test for one in found.left_out] == [f"{model} nf4_weights b32" for model in "abc"]
    assert all(one.seconds == 5.0 for one in found.left_out)


def test_a_network_without_a_rival_gets_no_time() -> None:
    found = choose(NETWORKS, 42.0, "cpu")
    assert names_of(found.chosen) == [
        "a fp32 b32",
        "a int8_static b32",
        "b fp32 b32",
        "b int8_static b32",
    ]
    costs = {one.test: one.seconds for one in found.left_out}
    assert costs["c fp32 b32"] == 15.0


def test_what_is_left_goes_to_further_routes_of_the_networks_that_were_answered() -> None:
    assert "a nf4_weights b32" in names_of(choose(NETWORKS, 66.0, "cpu").chosen)


def test_the_cheapest_networks_are_answered_first_and_further_winners_come_after_all() -> None:
    compiled = ("torch", "bf16", "compiled")
    dear = [inference("dear", route, seconds=30.0) for route in (REFERENCE, OPENVINO, compiled)]
    cheap = [inference("cheap", route) for route in (REFERENCE, OPENVINO, compiled)]
    seen = {seconds: choose([*dear, *cheap], seconds, "cpu") for seconds in (25.0, 94.0, 130.0)}
    models = {seconds: [str(one.model) for one in found.chosen] for seconds, found in seen.items()}
    assert models == {
        25.0: ["cheap"] * 3,
        94.0: ["cheap"] * 2 + ["dear"] * 2,
        130.0: ["cheap"] * 3 + ["dear"] * 3,
    }


def test_a_training_is_paid_for_once_and_its_own_test_is_free() -> None:
    training = inference("a", REFERENCE, test="training a", experiment="training", seconds=0.0)
    found = choose([training, *NETWORKS[:3]], 20.0, "cpu")
    assert names_of(found.chosen) == ["a fp32 b32", "a int8_static b32", "training a"]


def test_what_was_measured_costs_nothing_and_makes_room() -> None:
    measured = [inference("a", route, measured=True) for route in (REFERENCE, OPENVINO)]
    found = choose([*measured, *NETWORKS[3:]], 20.0, "cpu")
    assert names_of(found.chosen) == ["a fp32 b32", "a int8_static b32", "b fp32 b32", "b int8_static b32"]


def test_the_smallest_batch_with_a_rival_comes_first() -> None:
    wanted = [inference("a", route, batch) for route in (REFERENCE, OPENVINO) for batch in (32, 1)]
    assert names_of(choose(wanted, 20.0, "cpu").chosen) == ["a fp32 b1", "a int8_static b1"]


def test_cases_of_one_subject_run_together() -> None:
    wanted = [inference("a", route, batch) for route in (REFERENCE, OPENVINO, SLOW) for batch in (1, 32)]
    batches = [one.batch for one in choose(wanted, 1000.0, "cpu").chosen]
    assert [size for size, _ in itertools.groupby(batches)] == [1, 32]


def test_nothing_fits_into_no_time() -> None:
    assert not choose(NETWORKS, -1.0, "cpu").chosen


@pytest.mark.parametrize(("kind", "device"), list(FIRST_ROUTES))
def test_likely_winners_are_routes_by_their_names(kind: str, device: str) -> None:
    routes = FIRST_ROUTES[kind, device]
    assert routes[0] == REFERENCE
    assert len(set(routes)) == len(routes)
    for runtime, precision, _ in routes:
        assert runtime in RUNTIMES
        assert precision in PRECISIONS or runtime != "torch"


def test_every_experiment_has_a_place_and_an_estimate() -> None:
    assert {name for names in LATER for name in names} == set(FIXED_SECONDS) == set(EXPERIMENTS)


def test_an_estimate_grows_with_its_mode_and_knows_trainings_without_end() -> None:
    quick, full = BUDGETS["quick"], BUDGETS["full"]
    eager = estimate("inference", {"mode": "eager"}, quick, 1)
    compiled = estimate("inference", {"mode": "compiled"}, quick, 1)
    assert compiled - eager == pytest.approx(1.25 * CONVERTED_SECONDS["compiled"])
    assert estimate("training", {}, full, 1) == WHOLE_TRAINING_SECONDS > estimate("training", {}, quick, 1)


def test_a_training_on_a_gpu_takes_its_steps() -> None:
    gpu, quick = BUDGETS["gpu"], BUDGETS["quick"]
    named = {"model": "resnet18_cifar", "recipe": "short_resnet18_cifar"}
    assert gpu.train_images == 100_000  # in steps of 16 images, 7 ms each
    assert estimate("training", named, gpu, 1, "cuda") == pytest.approx(1.25 * (10 + 0.007 * 6250))
    assert estimate("training", named, quick, 1) < 20
