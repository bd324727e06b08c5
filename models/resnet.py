"""The residual networks of notes 0, 1, 2 and 4. Images of 3x32x32; shapes stand where they change."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn


class Residual(nn.Module):
    """``relu(body(x) + shortcut(x))``. No module is called twice, which torch's quantisers could not follow."""

    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut
        self.relu = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        output: Tensor = self.relu(self.body(images) + self.shortcut(images))
        return output


def resnet_custom(classes: int = 10) -> nn.Module:
    """Notes 1 and 2: three wide residual blocks. Maps ``(N, 3, 32, 32)`` to logits ``(N, classes)``.

    The sizes of the linear layers are note 2's: note 1's do not fit together.
    """
    features = nn.Sequential(
        # 3x32x32
        _projected_block(3, 64),  # 64x32x32
        nn.AvgPool2d(2),  # 64x16x16
        _projected_block(64, 128),  # 128x16x16
        nn.AvgPool2d(2),  # 128x8x8
        _projected_block(128, 256),  # 256x8x8
        nn.AvgPool2d(2),  # 256x4x4
    )
    classifier = nn.Sequential(
        nn.Flatten(),  # 4096
        nn.Linear(4096, 2048),
        nn.ReLU(),
        nn.Linear(2048, 512),
        nn.ReLU(),
        nn.Linear(512, classes),
    )
    return nn.Sequential(OrderedDict(features=features, classifier=classifier))


def resnet14_cifar(classes: int = 10) -> nn.Module:
    """Note 4's residual network, 14 layers deep. Maps ``(N, 3, 32, 32)`` to logits ``(N, classes)``."""
    features = nn.Sequential(
        # 3x32x32
        _stem(16),  # 16x32x32
        _stage(16, 16, stride=1),  # 16x32x32
        _stage(16, 32, stride=2),  # 32x16x16
        _stage(32, 64, stride=2),  # 64x8x8
        nn.AvgPool2d(8),  # 64x1x1
    )
    classifier = nn.Sequential(nn.Flatten(), nn.Linear(64, classes))
    return nn.Sequential(OrderedDict(features=features, classifier=classifier))


def resnet18_cifar(classes: int = 10) -> nn.Module:
    """Note 0's residual network, 18 layers deep. Maps ``(N, 3, 32, 32)`` to logits ``(N, classes)``."""
    features = nn.Sequential(
        # 3x32x32
        _stem(64),  # 64x32x32
        _stage(64, 64, stride=1),  # 64x32x32
        _stage(64, 128, stride=2),  # 128x16x16
        _stage(128, 256, stride=2),  # 256x8x8
        _stage(256, 512, stride=2),  # 512x4x4
        nn.AvgPool2d(4),  # 512x1x1
    )
    classifier = nn.Sequential(nn.Flatten(), nn.Linear(512, classes))
    return nn.Sequential(OrderedDict(features=features, classifier=classifier))


def _projected_block(inputs: int, outputs: int) -> Residual:
    """Notes 1 and 2: every convolution has a bias, and the shortcut is always a 1x1 convolution."""
    body = nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size=3, padding=1),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, kernel_size=3, padding=1),
        nn.BatchNorm2d(outputs),
    )
    return Residual(body, nn.Conv2d(inputs, outputs, kernel_size=1))


def _stem(outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, outputs, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def _stage(inputs: int, outputs: int, *, stride: int) -> nn.Sequential:
    """Two basic blocks, the first of which changes the shape."""
    return nn.Sequential(_basic_block(inputs, outputs, stride=stride), _basic_block(outputs, outputs, stride=1))


def _basic_block(inputs: int, outputs: int, *, stride: int) -> Residual:
    """Notes 0 and 4: no convolution has a bias; the shortcut is the identity unless the shape changes."""
    body = nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
    )
    if stride == 1 and inputs == outputs:
        return Residual(body, nn.Identity())
    projection = nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, bias=False),
        nn.BatchNorm2d(outputs),
    )
    return Residual(body, projection)
