from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils._python_dispatch import TorchDispatchMode

from bench.core.recipes import Recipe
from bench.train.loop import train
from bench.train.state import RunningMean, begin, warm_up
from bench.train.step import Settings
from bench.train.training import Schedule, Training

Make = Callable[..., Training]


def _weights(training: Training) -> dict[str, list[float]]:
    return {name: value.tolist() for name, value in training.network.state_dict().items()}


def walk(network: nn.Module, *, seed: int) -> None:
    """As a step would: weights and batch norm's statistics move in place, its count goes up."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            if tensor.is_floating_point():
                tensor.add_(torch.randn(tensor.shape, generator=generator))
            else:
                tensor.add_(1)


class _Kernels(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.ran: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.ran.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def test_it_is_torchs_running_mean_bit_for_bit_but_for_whole_numbers(tiny_network: nn.Sequential) -> None:
    ours = RunningMean(tiny_network, 0.9)
    mean = get_ema_multi_avg_fn(0.9)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    theirs = AveragedModel(tiny_network, multi_avg_fn=mean, use_buffers=True)
    for step in range(4):
        walk(tiny_network, seed=step)
        ours.update()
        theirs.update_parameters(tiny_network)
    expected, found = theirs.module.state_dict(), ours.network.state_dict()
    for name, value in found.items():
        if value.is_floating_point():
            assert torch.equal(value, expected[name])
            assert not torch.equal(value, tiny_network.state_dict()[name])
    assert int(found["1.num_batches_tracked"]) == 4


def test_a_step_is_one_kernel_over_all_tensors(tiny_network: nn.Sequential) -> None:
    mean = RunningMean(tiny_network, 0.9)
    kernels = _Kernels()
    with kernels:
        mean.update()
        mean.update()
    assert kernels.ran == ["_foreach_copy_", "_foreach_lerp_"]


def test_warming_up_runs_both_kernels_and_changes_nothing(tiny_network: nn.Sequential) -> None:
    mean = RunningMean(tiny_network, 0.5)
    walk(tiny_network, seed=1)
    before = copy.deepcopy(mean.network.state_dict())
    kernels = _Kernels()
    with kernels:
        mean.warm_up()
    assert {"_foreach_copy_", "_foreach_lerp_"} <= set(kernels.ran)
    for name, value in mean.network.state_dict().items():
        assert torch.equal(value, before[name])
    mean.update()
    for name, value in mean.network.state_dict().items():
        assert torch.equal(value, tiny_network.state_dict()[name])  # the first step is still taken as it is


@pytest.mark.parametrize("steps", [1, 3])
def test_it_goes_on_from_what_was_kept(tiny_network: nn.Sequential, steps: int) -> None:
    through = RunningMean(tiny_network, 0.9)
    for step in range(steps):
        walk(tiny_network, seed=step)
        through.update()
    resumed = RunningMean(tiny_network, 0.9)
    resumed.go_on_from(copy.deepcopy(through.network.state_dict()))
    walk(tiny_network, seed=9)
    for mean in (through, resumed):
        mean.update()
    for name, value in through.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name])


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
    training = make(recipe=replace(sgd, averaging=0.9), settings=Settings(channels_last=True, fused=True))
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
