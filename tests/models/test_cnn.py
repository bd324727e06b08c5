"""The plain networks, layer by layer as the notes give them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from models.cnn import cnn_small, cnn_vgg


def layers_of(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if not list(module.children())]


def names_of(network: nn.Module) -> list[str]:
    return [type(layer).__name__ for layer in layers_of(network)]


def conv(inputs: int, outputs: int) -> int:
    return inputs * outputs * 9 + outputs


def linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def test_cnn_small_has_the_layers_of_note_4() -> None:
    network = cnn_small()
    block = ["Conv2d", "BatchNorm2d", "Tanh", "MaxPool2d"]
    assert names_of(network) == [*block * 4, "Flatten", *["Linear", "Dropout", "ReLU"] * 2, "Linear"]
    assert [m.out_channels for m in layers_of(network) if isinstance(m, nn.Conv2d)] == [8, 16, 32, 64]
    assert [m.out_features for m in layers_of(network) if isinstance(m, nn.Linear)] == [64, 32, 10]
    assert [m.p for m in layers_of(network) if isinstance(m, nn.Dropout)] == [0.2, 0.2]


def test_cnn_vgg_has_the_layers_of_note_2() -> None:
    network = cnn_vgg()
    block = ["Conv2d", "ReLU", "Conv2d", "ReLU", "MaxPool2d"]
    assert names_of(network) == [*block * 3, "Flatten", *["Linear", "ReLU"] * 2, "Linear"]
    assert [m.out_channels for m in layers_of(network) if isinstance(m, nn.Conv2d)] == [16, 32, 64, 128, 128, 256]


def test_cnn_small_has_the_number_of_parameters_that_note_4_publishes() -> None:
    convolutions = conv(3, 8) + conv(8, 16) + conv(16, 32) + conv(32, 64)
    norms = 2 * (8 + 16 + 32 + 64)
    expected = convolutions + norms + linear(256, 64) + linear(64, 32) + linear(32, 10)
    assert expected == 43_626
    assert sum(p.numel() for p in cnn_small().parameters()) == expected


def test_cnn_vgg_has_as_many_parameters_as_its_layers_hold() -> None:
    blocks = conv(3, 16) + conv(16, 32) + conv(32, 64) + conv(64, 128) + conv(128, 128) + conv(128, 256)
    expected = blocks + linear(4096, 2048) + linear(2048, 256) + linear(256, 10)
    assert sum(p.numel() for p in cnn_vgg().parameters()) == expected


def test_weights_of_cnn_small_are_xavier_uniform() -> None:
    torch.manual_seed(0)
    for layer in layers_of(cnn_small()):
        if isinstance(layer, nn.Conv2d | nn.Linear):
            window = layer.kernel_size[0] * layer.kernel_size[1] if isinstance(layer, nn.Conv2d) else 1
            bound = math.sqrt(6 / ((layer.weight.shape[0] + layer.weight.shape[1]) * window))
            assert layer.weight.abs().max().item() == pytest.approx(bound, rel=0.04)
            assert layer.weight.abs().max().item() <= bound
            assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.12)


def test_biases_and_norms_of_cnn_small_are_drawn_as_in_note_4() -> None:
    torch.manual_seed(0)
    layers = [layer for _ in range(20) for layer in layers_of(cnn_small())]
    biases = torch.cat([m.bias.detach() for m in layers if isinstance(m, nn.Conv2d | nn.Linear) and m.bias is not None])
    norms = [m for m in layers if isinstance(m, nn.BatchNorm2d)]
    scales = torch.cat([norm.weight.detach() for norm in norms])
    # Within four standard errors: 4,520 biases, 2,400 scales.
    assert biases.mean().item() == pytest.approx(0.0, abs=0.06)
    assert biases.std().item() == pytest.approx(1.0, abs=0.045)
    assert scales.mean().item() == pytest.approx(1.0, abs=0.0017)
    assert scales.std().item() == pytest.approx(0.02, abs=0.0012)
    assert all(not norm.bias.any() for norm in norms)


@pytest.mark.parametrize("factory", [cnn_small, cnn_vgg])
@pytest.mark.parametrize("classes", [10, 7])
def test_a_batch_of_one_gives_a_finite_logit_for_each_class(factory: type[nn.Module], classes: int) -> None:
    with torch.inference_mode():
        logits = factory(classes).eval()(torch.randn(1, 3, 32, 32))
    assert logits.shape == (1, classes)
    assert logits.isfinite().all()


def test_the_same_seed_gives_the_same_weights() -> None:
    networks = []
    for _ in range(2):
        torch.manual_seed(3)
        networks.append(cnn_small().state_dict())
    assert all(torch.equal(networks[0][name], networks[1][name]) for name in networks[0])
