"""The cases that follow from a plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.budgets import BUDGETS
from bench.options import make_plan
from bench.plan import Plan

DEFAULTS: dict[str, Any] = {"device": "cpu", "dataset": "mnist5k", "data_dir": "data"}


def make(**given: Any) -> Plan:
    return make_plan({**DEFAULTS, **given}.get)


def test_inference_needs_the_training_that_the_run_does() -> None:
    made = make(models="cnn_small", seeds="5,6")
    needed = made.needed_training("cnn_small")
    assert needed == made.training("cnn_small", recipe="note4_cnn_small", seed=5)


def test_with_weights_nothing_is_trained() -> None:
    made = make(models="resnet18", weights=__file__)
    assert (made.trained, made.untrained) == ((), ("resnet18",))
    assert made.needed_training("resnet18") is None
    case = made.inference("resnet18", image_size=32, mode="eager", batch_size=1, precision="fp32", repeat=0)
    assert case.option("weights") == str(Path(__file__).resolve())


def test_weights_with_other_contents_are_another_case(tmp_path: Path) -> None:
    weights = tmp_path / "weights.pt"

    def case_id() -> str:
        made = make(models="resnet18", weights=str(weights))
        return made.inference("resnet18", image_size=32, mode="eager", batch_size=1, precision="fp32", repeat=0).id

    weights.write_bytes(b"one")
    first = case_id()
    weights.write_bytes(b"two")
    assert case_id() != first


def test_a_network_whose_file_changed_is_another_case(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    model = f"{file}:network"
    file.write_text("network = 1")
    first = make(models=model).training(model, recipe="user", seed=0).id
    file.write_text("network = 2")
    assert make(models=model).training(model, recipe="user", seed=0).id != first


def test_data_are_decoded_for_the_largest_images() -> None:
    assert make(models="cnn_small,inception_v3,alexnet").largest_case().image_size == 75


def test_every_network_of_the_user_is_tried_at_its_own_size(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text("")
    made = make(models=f"inception_v3,{file}:network")
    assert [(case.model, case.image_size) for case in made.user_cases()] == [(f"{file}:network", 32)]


def test_large_images_are_for_torchvision_networks() -> None:
    made = make(budget="full")
    assert made.image_sizes("resnet18") == (32, 224)
    assert made.image_sizes("cnn_small") == (32,)


def test_smoke_compiles_only_its_smallest_network() -> None:
    made = make(budget="smoke")
    assert made.modes_of("cnn_small") == ("eager", "compiled")
    assert made.modes_of("resnet18") == ("eager",)


def test_time_limits() -> None:
    made = make()
    training = made.training("cnn_small", recipe="note4_cnn_small", seed=0)
    assert made.time_limit(training) == BUDGETS["quick"].training_timeout
    assert make(case_timeout=7.0).time_limit(training) == 7.0


def test_limits_of_pytest_benchmark_reach_the_stopping_rule() -> None:
    made = make(benchmark_max_time=3.0)
    case = made.inference("cnn_small", image_size=32, mode="eager", batch_size=1, precision="fp32", repeat=0)
    assert case.option("max_seconds") == 3.0
