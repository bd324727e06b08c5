from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from bench.core.errors import InputError
from bench.core.recipes import RECIPES
from bench.train.training import Schedule, Training, epoch_indices, schedule, stops

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


@pytest.mark.parametrize(
    ("milestones", "losses", "epochs"),
    [((), [0.5] * 9, 3), ((4,), [0.5] * 9, 6), ((2, 4), [0.5, 0.6, 0.6, 0.6, 0.4, 0.5, 0.5, 0.3, 0.3], 7)],
)
def test_patience_begins_at_the_last_milestone(
    make: Callable[..., Training], milestones: tuple[int, ...], losses: list[float], epochs: int
) -> None:
    """A rate that is too high to get on is followed by a lower one: note 0's falls after 50 epochs."""
    recipe = replace(make().recipe, select="validation", patience=2)
    plan = Schedule(epochs=9, images_per_epoch=48, milestones=milestones)
    histories = [{"validation_loss": losses[:count]} for count in range(10)]
    assert [stops(recipe, plan, history) for history in histories].index(True) == epochs


def test_short_epochs_walk_through_whole_passes() -> None:
    indices = np.arange(100, 110)
    walked = np.concatenate([epoch_indices(indices, 4, 7, epoch) for epoch in range(5)])
    assert sorted(walked[:10]) == sorted(walked[10:]) == indices.tolist()
    assert walked[:10].tolist() != walked[10:].tolist()
    assert walked[:10].tolist() != indices.tolist()
    assert epoch_indices(indices, 4, 8, 0).tolist() != walked[:4].tolist()
    assert epoch_indices(indices, 10, 7, 3).tolist() == indices.tolist()
