"""Settings that make a training fast change its rounding alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from bench.core.recipes import Recipe
from bench.train.loop import train
from bench.train.state import begin, compile_steps
from bench.train.step import LARGEST_MAP, Settings, multiply_small_maps
from bench.train.training import Schedule, Training

Make = Callable[..., Training]
FAST = Settings(channels_last=True, products=True, fused=True)


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


@pytest.mark.slow
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


class Convolutions(TorchDispatchMode):
    """Counts the convolutions that run."""

    count = 0

    def __torch_dispatch__(
        self, function: object, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:  # type: ignore[type-arg]
        self.count += "convolution.default" in str(function)
        return function(*args, **(kwargs or {}))  # type: ignore[operator]


def gradients(layer: nn.Module, maps: Tensor) -> list[Tensor]:
    maps = maps.clone().requires_grad_()
    result = layer(maps)
    result.backward(torch.linspace(-1, 1, result.numel(), dtype=result.dtype).view_as(result))
    return [result.detach(), maps.grad, *(parameter.grad for parameter in layer.parameters())]  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("side", "kernel", "stride", "padding", "output"),
    [
        (1, 3, 1, 1, 1),
        (2, 3, 2, 1, 1),
        (2, 3, 1, 1, 2),
        (4, 1, 2, 0, 2),
        (4, 4, 4, 0, 1),
        (1, 7, 2, 3, 1),
        (3, 5, 3, 1, 1),
    ],
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels last"])
def test_small_maps_are_multiplied_to_the_same_numbers(
    side: int, kernel: int, stride: int, padding: int, output: int, layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 6, kernel, stride, padding).double().to(memory_format=layout)
    multiplied = copy.deepcopy(layer)
    multiply_small_maps(multiplied)
    maps = torch.randn(3, 4, side, side, dtype=torch.float64).to(memory_format=layout)
    expected = gradients(layer, maps)
    with Convolutions() as seen:
        found = gradients(multiplied, maps)
    assert seen.count == 0
    assert found[0].shape == (3, 6, output, output)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, 3, padding=1, groups=2),
        nn.Conv2d(4, 6, 3, padding=2, dilation=2),
        nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(4, 6, 3, padding="same"),
    ],
    ids=["groups", "dilation", "reflect", "same"],
)
def test_other_convolutions_stay(layer: nn.Conv2d) -> None:
    multiply_small_maps(layer)
    with Convolutions() as seen:
        layer(torch.ones(1, 4, 2, 2))
    assert seen.count == 1


def test_large_maps_stay_and_so_do_state_dicts() -> None:
    layer = nn.Conv2d(4, 6, 3, padding=1)
    names = list(layer.state_dict())
    multiply_small_maps(layer)
    with Convolutions() as seen:
        layer(torch.ones(1, 4, 3, 3))
    assert LARGEST_MAP < 3 * 3
    assert seen.count == 1
    assert list(layer.state_dict()) == names


def test_first_passes_come_before_the_first_epoch_and_change_nothing(make: Make) -> None:
    training = make(schedule=Schedule(epochs=1, images_per_epoch=60))
    run = begin(training)
    shapes: list[int] = []
    run.network.register_forward_hook(lambda module, inputs, output: shapes.append(len(inputs[0])))
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    assert compile_steps(training, run) is None
    assert shapes == [8, 4]
    assert all(torch.equal(value, before[name]) for name, value in run.network.state_dict().items())
    assert all(parameter.grad is None for parameter in run.network.parameters())
