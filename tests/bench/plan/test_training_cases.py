"""The cases that compare trainings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.core.amounts import COMPARISONS, CUDA_LADDER, LADDER, SCOPES
from bench.core.budgets import BUDGETS
from bench.core.errors import InputError
from bench.core.recipes import RECIPES
from bench.plan.command_line import make_plan
from bench.plan.inference_cases import largest_case
from bench.plan.plan import Plan
from bench.plan.training_cases import (
    ablation_rows,
    ladder_case,
    ladder_rows,
    largest_compared,
    needed_training,
    pretraining_case,
    scaling_rows,
    speedrun_rows,
    training_rows,
    transfer_case,
    transfer_rows,
)

DEFAULTS: dict[str, Any] = {"device": "cpu", "dataset": "mnist5k", "data_dir": "data", "budget": "full"}
FULL = COMPARISONS["full"]


def make(**given: Any) -> Plan:
    return make_plan({**DEFAULTS, **given}.get)


def test_comparisons_have_seeds_of_their_own_until_some_are_asked_for() -> None:
    """Also where those asked for are the budget's: a speedrun has more than other trainings."""
    assert BUDGETS["full"].seeds == (0, 1, 2) != FULL.speedrun_seeds
    for asked, expected in ((None, FULL.speedrun_seeds), ("0,1,2", (0, 1, 2)), ("7", (7,))):
        assert tuple(row["seed"] for row in speedrun_rows(make(seeds=asked))) == expected


def test_a_pretraining_sees_the_images_that_were_asked_for() -> None:
    [(model, usual)] = FULL.pretraining.items()
    for asked, expected in ((None, usual), (600, 600)):
        assert pretraining_case(make(train_images=asked), model=model, seed=0).option("train_images") == expected


def test_nothing_is_trained_where_no_images_are_given() -> None:
    made, usual = make(train_images=0), make()
    assert (made.trained, set(made.untrained)) == ((), {*usual.trained, *usual.untrained})
    for rows in (training_rows, ladder_rows, transfer_rows, ablation_rows, speedrun_rows, scaling_rows):
        assert list(rows(usual))
        assert not list(rows(made))
    named = make(train_images=0, models="resnet18", image_size=224)
    assert needed_training(named, "resnet18", 224) is None


def test_a_ladder_sees_more_images_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.plan.command_line.gpu_count", lambda: 1)
    on_cpu, on_gpu = (
        ladder_case(make(device=device), model="resnet18", rung=0, seed=0).option("train_images")
        for device in ("cpu", "cuda")
    )
    assert (on_cpu, on_gpu) == (FULL.ladder["resnet18"], CUDA_LADDER * FULL.ladder["resnet18"])
    asked = make(device="cuda", train_images=600)
    assert ladder_case(asked, model="resnet18", rung=0, seed=0).option("train_images") == 600
    assert len(list(ladder_rows(asked))) == len(FULL.ladder) * len(FULL.seeds) * len(LADDER)


def transfers(made: Plan, source: str) -> list[Any]:
    return [transfer_case(made, **row) for row in transfer_rows(made) if row["source"] == source]


def test_every_scope_of_a_transfer_has_one_recipe() -> None:
    recipe = "transfer_resnet18_cifar"
    cases = transfers(make(budget="full"), "five_classes")
    assert {case.option("scope") for case in cases} == set(SCOPES)
    assert {(case.model, case.recipe, case.batch_size) for case in cases} == {
        ("resnet18_cifar", recipe, RECIPES[recipe].batch_size)
    }
    assert not list(transfer_rows(make(budget="quick")))
    assert {case.recipe for case in transfers(make(), "imagenet")} == {"note2_transfer"}


@pytest.mark.parametrize("budget", ["smoke", "full"])
def test_fine_tuning_has_a_gentle_rate_and_the_pixels_of_the_training_before_it(budget: str) -> None:
    made = make(budget=budget)
    for case in transfers(made, "five_classes"):
        before = RECIPES[str(pretraining_case(made, model=case.model, seed=0).recipe)]
        after = RECIPES[str(case.recipe)]
        assert (after.optimizer, after.learning_rate <= 1e-3) == ("adam", True)
        assert (after.normalize, after.crop_padding, after.flip) == (before.normalize, before.crop_padding, before.flip)


def test_images_are_decoded_for_transfers_from_imagenet_and_for_large_inference() -> None:
    assert largest_compared(make(models="resnet18_cifar")) == 0
    assert largest_case(make(models="resnet18_cifar")).image_size == 32
    assert (largest_compared(make(models="vgg16")), largest_case(make(models="vgg16")).image_size) == (224, 224)
    assert largest_case(make(models="vgg16", image_size=64)).image_size == 224  # of the transfer
    assert largest_case(make(models="alexnet,cnn_small")).image_size == 224  # large_image_sizes
    assert largest_case(make(budget="quick")).image_size == 32


def test_given_imagenet_weights_are_part_of_the_case(tmp_path: Path) -> None:
    def options() -> dict[str, tuple[Any, Any]]:
        cases = transfers(make(imagenet_weights=str(tmp_path)), "imagenet")
        return {case.model: (case.option("imagenet_weights"), case.option("imagenet_digest")) for case in cases}

    file = tmp_path / "vgg16-397923af.pth"
    file.write_bytes(b"one")
    (tmp_path / "vgg16_bn-6c64b313.pth").write_bytes(b"another network")
    first = options()
    assert first["vgg16"][0] == str(file.resolve())
    assert first["resnet18"] == (None, None)
    file.write_bytes(b"two")
    assert options()["vgg16"][1] not in (None, first["vgg16"][1])


def test_a_folder_without_imagenet_weights_is_refused(tmp_path: Path) -> None:
    for given, budget, match in (
        (tmp_path / "no", "full", r"no is no folder; give one with vgg16-\*\.pth or resnet18-\*\.pth\."),
        (tmp_path, "full", r"holds no vgg16-\*\.pth or resnet18-\*\.pth, as torchvision names them\."),
        (tmp_path, "quick", "budget quick has no transfer from ImageNet; give --budget full"),
    ):
        with pytest.raises(InputError, match=match):
            make(imagenet_weights=str(given), budget=budget)
    for name in ("one", "two"):
        (tmp_path / f"vgg16-{name}.pth").touch()
    with pytest.raises(InputError, match=r"holds 2 files vgg16-\*\.pth; leave one of them\."):
        make(imagenet_weights=str(tmp_path))
