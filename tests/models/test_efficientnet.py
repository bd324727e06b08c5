"""EfficientNet-Lite0, layer by layer, and with its published weights on two photographs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from bench.data.known import crops
from models import CLASSIFIERS
from models.efficientnet import STAGES, Block, SameConv2d, efficientnet_lite0, published_names
from models.pretrained import LITE0, class_names


def test_parameters_are_as_many_as_published() -> None:
    network = efficientnet_lite0()
    assert sum(parameter.numel() for parameter in network.parameters()) == 4_652_008
    assert sum(tensor.numel() for tensor in network.state_dict().values()) == 4_694_073
    assert len(network.state_dict()) == 296


def test_blocks_are_those_of_the_paper_without_squeeze_and_excitation() -> None:
    blocks = [module for module in efficientnet_lite0().modules() if isinstance(module, Block)]
    assert len(blocks) == sum(count for *_, count in STAGES) == 16
    assert [block.project_conv.out_channels for block in blocks] == [
        *[16, 24, 24, 40, 40, 80, 80, 80, 112, 112, 112],
        *[192] * 4,
        320,
    ]
    assert [block.depthwise_conv.kernel_size[0] for block in blocks] == [3, 3, 3, 5, 5, 3, 3, 3, 5, 5, 5, 5, 5, 5, 5, 3]
    assert [block.adds for block in blocks].count(True) == 9
    assert {type(module) for module in efficientnet_lite0().modules() if "Sigmoid" in type(module).__name__} == set()


@pytest.mark.parametrize(("side", "kernel"), [(8, 3), (7, 3), (8, 5), (9, 5)])
def test_padding_is_that_of_tensorflow(side: int, kernel: int) -> None:
    """Stride 2: ceil(side / 2) places, and of an odd number of pixels one more goes right and below."""
    convolution = SameConv2d(1, 1, kernel, stride=2, bias=False)
    image = torch.randn(1, 1, side, side)
    total = max((-(-side // 2) - 1) * 2 + kernel - side, 0)
    padded = torch.zeros(side + total, side + total)
    padded[total // 2 : total // 2 + side, total // 2 : total // 2 + side] = image[0, 0]
    expected = functional.conv2d(padded[None, None], convolution.weight, stride=2)
    assert torch.equal(convolution(image), expected)
    assert expected.shape[-1] == -(-side // 2)


def test_names_of_the_published_file_lose_their_underscores() -> None:
    assert list(published_names({"_blocks.1._bn0.weight": 0, "_fc.bias": 1})) == ["blocks.1.bn0.weight", "fc.bias"]


def test_no_module_is_called_twice() -> None:
    calls: list[nn.Module] = []
    network = efficientnet_lite0().eval()
    for module in network.modules():
        module.register_forward_hook(lambda module, inputs, output: calls.append(module))
    with torch.inference_mode():
        network(torch.zeros(1, 3, 64, 64))
    assert len(calls) == len(set(calls)) > 100


def test_the_published_weights_know_a_coffee_and_a_cat() -> None:
    network = CLASSIFIERS["efficientnet_lite0"].build().eval()
    mean, std = (np.array([float(number) for number in half.split(",")]) for half in LITE0.normalize.split("/"))
    images = torch.from_numpy((crops(2, 224) / 255 - mean) / std).float().permute(0, 3, 1, 2)
    with torch.inference_mode():
        coffee, cat = network(images).softmax(1)
    assert int(coffee.argmax()) == 967
    assert float(coffee[967]) > 0.9
    assert int(cat.argmax()) in {281, 282, 285}
    assert float(cat[[281, 282, 285]].sum()) > 0.85
    names = class_names(LITE0)
    assert (names[967], names[281], names[285]) == ("espresso", "tabby", "Egyptian cat")
