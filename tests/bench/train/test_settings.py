"""Settings that make a training fast, and what moves by the step: rates, the running mean, early stopping."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bench.core.recipes import Recipe
from bench.train.loop import train
from bench.train.rates import stops
from bench.train.schedule import Schedule
from bench.train.settings import Settings
from bench.train.state import begin, warm_up
from bench.train.training import Training

Make = Callable[..., Training]
FAST = Settings(channels_last=True, products=True, fused=True)


@pytest.fixture
def sgd(make: Make) -> Recipe:
    return replace(make().recipe, optimizer="sgd", momentum=0.9, weight_decay=0.01, learning_rate=0.05)


def _weights(training: Training) -> dict[str, list[float]]:
    return {name: value.tolist() for name, value in training.network.state_dict().items()}


@pytest.mark.parametrize("workers", [0, 1])
def test_neither_pipeline_nor_workers_change_a_weight(make: Make, workers: int) -> None:
    plan = Schedule(epochs=2, images_per_epoch=60)
    tensors, loaded = (
        make(schedule=plan),
        make(schedule=plan, settings=Settings(pipeline="dataloader", workers=workers)),
    )
    for training in (tensors, loaded):
        train(training)
        training.checkpoint.unlink()
    assert _weights(tensors) == _weights(loaded)


def test_fast_settings_change_rounding_alone(make: Make, sgd: Recipe) -> None:
    plain, fast = make(recipe=sgd), make(recipe=sgd, settings=FAST)
    losses = []
    for training in (plain, fast):
        losses.append(train(training).history["train_loss"])
        training.checkpoint.unlink()
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    for name, value in plain.network.state_dict().items():
        torch.testing.assert_close(value, fast.network.state_dict()[name], rtol=1e-3, atol=1e-5)


def test_a_resumed_training_with_fast_settings_gives_the_same_bits(
    make: Make, kill_after: Callable[[Training, int], None]
) -> None:
    through, resumed = make(settings=FAST), make(settings=FAST)
    train(through)
    through.checkpoint.unlink()
    kill_after(make(settings=FAST), 2)
    assert train(resumed).resumed_after == 2
    assert _weights(through) == _weights(resumed)


def test_a_compiled_training_compiles_outside_its_epochs(make: Make) -> None:
    """For whole batches and for what is left over: 60 images are seven batches of 8 and one of 4."""
    plan = Schedule(epochs=2, images_per_epoch=60)
    plain, compiled = make(schedule=plan), make(schedule=plan, settings=Settings(compiled=True))
    for training in (plain, compiled):
        training.network[4].p = 0.0  # type: ignore[index]  # compiled dropout draws other numbers
    expected = train(plain)
    plain.checkpoint.unlink()
    graphs = torch._dynamo.utils.counters["stats"]
    before = graphs["unique_graphs"]
    compiled_here = []
    found = train(replace(compiled, watch=lambda: compiled_here.append(graphs["unique_graphs"] - before)))
    assert compiled_here == [2, 2]
    assert found.compile_seconds is not None
    assert expected.compile_seconds is None
    assert found.history["train_loss"] == pytest.approx(expected.history["train_loss"], rel=1e-4)


def test_patience_ends_a_training_early(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([0.9, 0.8, 0.85, float("nan"), 0.7])
    monkeypatch.setattr(
        "bench.train.loop._judge", lambda *_: {"validation_loss": next(losses), "validation_accuracy": 0.5}
    )
    training = make(
        recipe=replace(make().recipe, select="validation", patience=2), schedule=Schedule(epochs=5, images_per_epoch=48)
    )
    trained = train(training)
    assert len(trained.history["seconds"]) == 4
    assert trained.history["validation_loss"][:3] == [0.9, 0.8, 0.85]


@pytest.mark.parametrize(
    ("milestones", "losses", "epochs"),
    [((), [0.5] * 9, 3), ((4,), [0.5] * 9, 6), ((2, 4), [0.5, 0.6, 0.6, 0.6, 0.4, 0.5, 0.5, 0.3, 0.3], 7)],
)
def test_patience_begins_at_the_last_milestone(
    make: Make, milestones: tuple[int, ...], losses: list[float], epochs: int
) -> None:
    """A rate that is too high to get on is followed by a lower one: note 0's falls after 50 epochs."""
    recipe = replace(make().recipe, select="validation", patience=2)
    plan = Schedule(epochs=9, images_per_epoch=48, milestones=milestones)
    histories = [{"validation_loss": losses[:count]} for count in range(10)]
    assert [stops(recipe, plan, history) for history in histories].index(True) == epochs


def test_the_running_mean_of_the_weights_counts(make: Make) -> None:
    seen: list[dict[str, Any]] = []
    recipe = replace(make().recipe, averaging=0.5)

    def judge(network: nn.Module) -> dict[str, float]:
        seen.append(copy.deepcopy(network.state_dict()))
        return {"judged": float(len(seen))}

    training = make(recipe=recipe, judge=judge, schedule=Schedule(epochs=2, images_per_epoch=60))
    trained = train(training)
    assert trained.history["judged"] == [1.0, 2.0]
    assert _weights(training) == {name: value.tolist() for name, value in seen[-1].items()}
    plain = make(schedule=Schedule(epochs=2, images_per_epoch=60), checkpoint=training.checkpoint.with_name("other.pt"))
    train(plain)
    assert _weights(plain) != _weights(training)


def test_optimiser_and_mean_are_used_before_the_first_epoch_and_nothing_has_moved(
    make: Make, sgd: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = make(recipe=replace(sgd, averaging=0.9), settings=FAST)
    run = begin(training)
    before = copy.deepcopy(run.network.state_dict())
    stepped: list[torch.optim.SGD] = []
    step = torch.optim.SGD.step
    monkeypatch.setattr(torch.optim.SGD, "step", lambda self: (stepped.append(self), step(self)))
    averaged: list[int] = []
    monkeypatch.setattr(run.averaged, "warm_up", lambda: averaged.append(1))
    warm_up(training, run)
    assert len(averaged) == 1
    [group], [real] = stepped[0].param_groups, run.step.optimizer.param_groups
    assert {**group, "params": 0, "initial_lr": 0} == {**real, "params": 0, "initial_lr": 0}
    assert [tensor.shape for tensor in group["params"]] == [tensor.shape for tensor in real["params"]]
    assert not {tensor.data_ptr() for tensor in group["params"]} & {tensor.data_ptr() for tensor in real["params"]}
    assert not run.step.optimizer.state
    for name, value in run.network.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_training_warms_up_before_its_first_epoch(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr("bench.train.loop.warm_up", lambda *_: told.append("warm"))
    train(make(progress=told.append))
    assert told[0] == "warm"
    assert told.count("warm") == 1


def test_one_cycle_rises_falls_and_ends_near_zero(make: Make, sgd: Recipe) -> None:
    recipe = replace(sgd, one_cycle=0.25)
    rates: list[float] = []
    training = make(recipe=recipe, schedule=Schedule(epochs=4, images_per_epoch=60))
    run = begin(training)
    for epoch in range(4):
        for images, labels in run.feed(np.arange(60), epoch):
            rates.append(run.step.optimizer.param_groups[0]["lr"])
            run.step(images, labels)
            run.after_step(training.recipe)
    assert len(rates) == 4 * 8
    assert max(rates) == pytest.approx(recipe.learning_rate)
    assert rates.index(max(rates)) == 7  # a quarter of 32 steps, counted from 0
    assert rates[0] == pytest.approx(recipe.learning_rate / 5)
    assert rates[-1] < recipe.learning_rate / 20
