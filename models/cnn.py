"""The plain convolutional networks of notes 2 and 4. Images of 3x32x32; shapes stand where they change."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn


def cnn_small(classes: int = 10) -> nn.Module:
    """Note 4's own network: 43,626 parameters with 10 classes, as the note publishes.

    Maps ``(N, 3, 32, 32)`` to logits ``(N, classes)``. Dropout stands before the activation, as in the note.
    """
    features = nn.Sequential(
        # 3x32x32
        _conv_norm_tanh_pool(3, 8),  # 8x16x16
        _conv_norm_tanh_pool(8, 16),  # 16x8x8
        _conv_norm_tanh_pool(16, 32),  # 32x4x4
        _conv_norm_tanh_pool(32, 64),  # 64x2x2
    )
    classifier = nn.Sequential(
        nn.Flatten(),  # 256
        nn.Linear(256, 64),
        nn.Dropout(0.2),
        nn.ReLU(),
        nn.Linear(64, 32),
        nn.Dropout(0.2),
        nn.ReLU(),
        nn.Linear(32, classes),
    )
    network = nn.Sequential(OrderedDict(features=features, classifier=classifier))
    network.apply(_initialise_as_note_4)
    return network


def cnn_vgg(classes: int = 10) -> nn.Module:
    """Note 2's network in the manner of VGG. Maps ``(N, 3, 32, 32)`` to logits ``(N, classes)``."""
    features = nn.Sequential(
        # 3x32x32
        _conv_relu_conv_relu_pool(3, 16, 32),  # 32x16x16
        _conv_relu_conv_relu_pool(32, 64, 128),  # 128x8x8
        _conv_relu_conv_relu_pool(128, 128, 256),  # 256x4x4
    )
    classifier = nn.Sequential(
        nn.Flatten(),  # 4096
        nn.Linear(4096, 2048),
        nn.ReLU(),
        nn.Linear(2048, 256),
        nn.ReLU(),
        nn.Linear(256, classes),
    )
    return nn.Sequential(OrderedDict(features=features, classifier=classifier))


def _conv_norm_tanh_pool(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size=3, padding=1),
        nn.BatchNorm2d(outputs),
        nn.Tanh(),
        nn.MaxPool2d(2),
    )


def _conv_relu_conv_relu_pool(inputs: int, between: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, between, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(between, outputs, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )


def _initialise_as_note_4(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.normal_(module.bias, mean=0.0, std=1.0)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, mean=1.0, std=0.02)
        nn.init.zeros_(module.bias)
