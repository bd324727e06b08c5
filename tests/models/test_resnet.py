"""The residual networks, layer by layer as the notes give them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from models.resnet import Residual, resnet14_cifar, resnet18_cifar, resnet_custom

CIFAR = [resnet14_cifar, resnet18_cifar]
Factory = Callable[[int], nn.Module]


def parameters_of(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def blocks_of(network: nn.Module) -> list[Residual]:
    return [module for module in network.modules() if isinstance(module, Residual)]


def shapes_through(network: nn.Sequential, images: Tensor) -> list[tuple[int, ...]]:
    shapes = []
    for layer in network:
        images = layer(images)
        shapes.append(tuple(images.shape[1:]))
    return shapes


def test_resnet_custom_has_as_many_parameters_as_its_layers_hold() -> None:
    def block(inputs: int, outputs: int) -> int:
        body = inputs * outputs * 9 + outputs + 2 * outputs + outputs * outputs * 9 + outputs + 2 * outputs
        return body + inputs * outputs + outputs

    head = 4096 * 2048 + 2048 + 2048 * 512 + 512 + 512 * 10 + 10
    assert parameters_of(resnet_custom()) == block(3, 64) + block(64, 128) + block(128, 256) + head


@pytest.mark.parametrize(("factory", "widths"), [(resnet14_cifar, (16, 32, 64)), (resnet18_cifar, (64, 128, 256, 512))])
def test_cifar_resnets_have_as_many_parameters_as_their_layers_hold(factory: Factory, widths: tuple[int, ...]) -> None:
    expected = 3 * widths[0] * 9 + 2 * widths[0]
    for inputs, outputs in zip(widths[:1] + widths, widths, strict=False):
        first = inputs * outputs * 9 + outputs * outputs * 9 + 4 * outputs
        second = 2 * outputs * outputs * 9 + 4 * outputs
        projection = inputs * outputs + 2 * outputs if inputs != outputs else 0
        expected += first + second + projection
    assert parameters_of(factory(10)) == expected + widths[-1] * 10 + 10


def test_resnet18_cifar_has_the_well_known_number_of_parameters() -> None:
    assert parameters_of(resnet18_cifar()) == 11_173_962  # As kuangliu/pytorch-cifar's ResNet18.


def test_shapes_change_where_the_notes_say() -> None:
    images = torch.zeros(1, 3, 32, 32)
    stages = {
        resnet_custom: [(64, 32, 32), (64, 16, 16), (128, 16, 16), (128, 8, 8), (256, 8, 8), (256, 4, 4)],
        resnet14_cifar: [(16, 32, 32), (16, 32, 32), (32, 16, 16), (64, 8, 8), (64, 1, 1)],
        resnet18_cifar: [(64, 32, 32), (64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 1, 1)],
    }
    for factory, expected in stages.items():
        features = factory().get_submodule("features")
        assert isinstance(features, nn.Sequential)
        with torch.inference_mode():
            assert shapes_through(features.eval(), images) == expected


def test_pooling_is_the_average_of_the_notes_sizes() -> None:
    pools = {
        factory.__name__: [m.kernel_size for m in factory().modules() if isinstance(m, nn.AvgPool2d)]
        for factory in (resnet_custom, *CIFAR)
    }
    assert pools == {"resnet_custom": [2, 2, 2], "resnet14_cifar": [8], "resnet18_cifar": [4]}


def test_every_convolution_of_resnet_custom_has_a_bias_and_every_shortcut_is_one() -> None:
    network = resnet_custom()
    assert all(m.bias is not None for m in network.modules() if isinstance(m, nn.Conv2d))
    shortcuts = [block.shortcut for block in blocks_of(network)]
    assert [type(shortcut) for shortcut in shortcuts] == [nn.Conv2d] * 3
    assert all(isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1) for m in shortcuts)


@pytest.mark.parametrize("factory", CIFAR)
def test_a_cifar_shortcut_is_the_identity_unless_the_shape_changes(factory: Factory) -> None:
    network = factory(10)
    assert not any(m.bias is not None for m in network.modules() if isinstance(m, nn.Conv2d))
    projected = [not isinstance(block.shortcut, nn.Identity) for block in blocks_of(network)]
    assert projected == [False, False, *[True, False] * (len(projected) // 2 - 1)]
    assert all(type(block.shortcut[1]) is nn.BatchNorm2d for block in blocks_of(network)[2::2])  # type: ignore[index]


@pytest.mark.parametrize("factory", [resnet_custom, *CIFAR])
def test_the_body_is_conv_norm_relu_conv_norm(factory: Factory) -> None:
    body = [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Conv2d, nn.BatchNorm2d]
    assert all([type(layer) for layer in block.body.children()] == body for block in blocks_of(factory(10)))


def test_the_sum_comes_before_the_last_relu() -> None:
    block = Residual(nn.Identity(), nn.Identity())
    assert block(torch.tensor([-1.0, 2.0])).tolist() == [0.0, 4.0]


@pytest.mark.parametrize("factory", [resnet_custom, *CIFAR])
def test_no_module_is_called_twice(factory: Factory) -> None:
    calls: list[nn.Module] = []
    network = factory(10).eval()
    for module in network.modules():
        module.register_forward_hook(lambda module, inputs, output: calls.append(module))
    with torch.inference_mode():
        network(torch.zeros(1, 3, 32, 32))
    assert len(calls) == len(set(calls)) > 20


@pytest.mark.parametrize("factory", [resnet_custom, *CIFAR])
@pytest.mark.parametrize("classes", [10, 7])
def test_a_batch_of_one_gives_a_finite_logit_for_each_class(factory: Factory, classes: int) -> None:
    with torch.inference_mode():
        logits = factory(classes).eval()(torch.randn(1, 3, 32, 32))
    assert logits.shape == (1, classes)
    assert logits.isfinite().all()
