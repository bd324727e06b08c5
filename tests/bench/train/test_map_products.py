from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from bench.train.map_products import LARGEST_MAP, multiply_small_maps


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
