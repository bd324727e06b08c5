from __future__ import annotations

import pytest

from bench.core.errors import InputError
from bench.core.recipes import RECIPES
from bench.train.schedule import Schedule, schedule

NOTE_0 = RECIPES["note0_resnet18_cifar"]
NOTE_4 = RECIPES["note4_cnn_small"]


def test_without_a_budget_the_recipe_runs_to_its_end() -> None:
    assert schedule(NOTE_0, 50_000, None, 4_000) == Schedule(epochs=150, images_per_epoch=50_000, milestones=(50, 100))


@pytest.mark.parametrize(
    ("train_images", "budget", "epoch", "expected"),
    [
        (4_000, 24_000, 4_000, (6, 4_000)),
        (50_000, 24_000, 4_000, (6, 4_000)),
        (4_000, 10_000, None, (3, 3_333)),
        (4_000, 2_400, 4_000, (1, 2_400)),
        (100, 256, 128, (3, 85)),
        (4_000, 1, None, (1, 1)),
    ],
)
def test_a_budget_is_cut_into_equal_epochs(
    train_images: int, budget: int, epoch: int | None, expected: tuple[int, int]
) -> None:
    found = schedule(NOTE_4, train_images, budget, epoch)
    assert (found.epochs, found.images_per_epoch) == expected
    assert found.images_per_epoch <= min(train_images, epoch or train_images)
    assert budget - found.epochs < found.epochs * found.images_per_epoch <= budget


@pytest.mark.parametrize(
    ("epochs", "milestones"), [(150, (50, 100)), (30, (10, 20)), (10, (4, 7)), (3, (1, 2)), (2, (1,)), (1, ())]
)
def test_milestones_keep_their_share_and_never_come_first(epochs: int, milestones: tuple[int, ...]) -> None:
    assert schedule(NOTE_0, 100, 100 * epochs, None).milestones == milestones


@pytest.mark.parametrize(("images", "budget", "epoch"), [(0, None, None), (10, 0, None), (10, 10, -1)])
def test_nothing_to_train_on_is_refused(images: int, budget: int | None, epoch: int | None) -> None:
    with pytest.raises(InputError, match="trains nothing: 1 or more"):
        schedule(NOTE_4, images, budget, epoch)
