"""EfficientNet-Lite0: EfficientNet-B0 without squeeze-and-excitation and with ReLU6, made for phones.

Source: M. Tan and Q. Le, EfficientNet, 2019 (arXiv 1905.11946); the Lite variant by R. Liu, 2020. Images of 3x224x224;
shapes stand where they change. Padding is TensorFlow's "SAME", as the published weights were trained with.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

from torch import Tensor, nn
from torch.nn import functional

T = TypeVar("T")

STAGES = (
    # expansion, kernel, stride, channels, blocks
    (1, 3, 1, 16, 1),  # 16x112x112
    (6, 3, 2, 24, 2),  # 24x56x56
    (6, 5, 2, 40, 2),  # 40x28x28
    (6, 3, 2, 80, 3),  # 80x14x14
    (6, 5, 1, 112, 3),  # 112x14x14
    (6, 5, 2, 192, 4),  # 192x7x7
    (6, 3, 1, 320, 1),  # 320x7x7
)
STEM, HEAD = 32, 1280
EPSILON, MOMENTUM = 1e-3, 0.01
"""Constants of batch norm that TensorFlow's weights were trained with."""
DROPOUT = 0.2


class SameConv2d(nn.Conv2d):
    """A convolution with ceil(side / stride) outputs a side; an odd pixel of padding goes right and below."""

    def forward(self, images: Tensor) -> Tensor:
        down, across = (
            max((-(-side // step) - 1) * step + reach - side, 0)
            for side, step, reach in zip(images.shape[2:], self.stride, self.kernel_size, strict=True)
        )
        padded = functional.pad(images, (across // 2, across - across // 2, down // 2, down - down // 2))
        return super().forward(padded)


class Block(nn.Module):
    """Inverted residual: 1x1 convolution to more channels, one a channel, 1x1 back; added to its input if it can be."""

    def __init__(self, inputs: int, outputs: int, *, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        wide = inputs * expansion
        if expansion > 1:
            self.expand_conv = nn.Conv2d(inputs, wide, 1, bias=False)
            self.bn0 = _norm(wide)
            self.relu0 = nn.ReLU6()
        self.expands = expansion > 1
        self.depthwise_conv = _convolution(wide, wide, kernel=kernel, stride=stride, groups=wide)
        self.bn1 = _norm(wide)
        self.relu1 = nn.ReLU6()
        self.project_conv = nn.Conv2d(wide, outputs, 1, bias=False)
        self.bn2 = _norm(outputs)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, images: Tensor) -> Tensor:
        wide = self.relu0(self.bn0(self.expand_conv(images))) if self.expands else images
        wide = self.relu1(self.bn1(self.depthwise_conv(wide)))
        output: Tensor = self.bn2(self.project_conv(wide))
        return output + images if self.adds else output


class EfficientNetLite0(nn.Module):
    """Maps ``(N, 3, H, W)`` to logits ``(N, classes)``; 4.65 M parameters with 1,000 classes."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.conv_stem = _convolution(3, STEM, kernel=3, stride=2)  # 32x112x112
        self.bn0 = _norm(STEM)
        self.relu0 = nn.ReLU6()
        blocks, channels = [], STEM
        for expansion, kernel, stride, outputs, count in STAGES:
            for place in range(count):
                step = stride if place == 0 else 1
                blocks.append(Block(channels, outputs, expansion=expansion, kernel=kernel, stride=step))
                channels = outputs
        self.blocks = nn.Sequential(*blocks)  # 320x7x7
        self.conv_head = nn.Conv2d(channels, HEAD, 1, bias=False)  # 1280x7x7
        self.bn1 = _norm(HEAD)
        self.relu1 = nn.ReLU6()
        self.pool = nn.AdaptiveAvgPool2d(1)  # 1280x1x1
        self.dropout = nn.Dropout(DROPOUT)
        self.fc = nn.Linear(HEAD, classes)

    def forward(self, images: Tensor) -> Tensor:
        features = self.blocks(self.relu0(self.bn0(self.conv_stem(images))))
        features = self.pool(self.relu1(self.bn1(self.conv_head(features)))).flatten(1)
        logits: Tensor = self.fc(self.dropout(features))
        return logits


def efficientnet_lite0(classes: int = 1000) -> nn.Module:
    """A new, untrained network. Maps ``(N, 3, H, W)`` to logits ``(N, classes)``."""
    return EfficientNetLite0(classes)


def published_names(state: Mapping[str, T]) -> dict[str, T]:
    """The published weights under the names of this module: there, each part of a name begins with an underscore."""
    return {re.sub(r"(^|\.)_", r"\1", name): tensor for name, tensor in state.items()}


def _convolution(inputs: int, outputs: int, *, kernel: int, stride: int, groups: int = 1) -> nn.Conv2d:
    """Without a bias. With stride 1 "SAME" is half the kernel on every side, which needs no padding of its own."""
    if stride == 1:
        return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False)
    return SameConv2d(inputs, outputs, kernel, stride=stride, groups=groups, bias=False)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=EPSILON, momentum=MOMENTUM)
