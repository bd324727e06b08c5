"""New heads for networks that were trained on other classes, and what of a network is frozen."""

from __future__ import annotations

import types
from collections.abc import Callable

from torch import nn

from bench.core.errors import InputError


def _resnet18_cifar(network: nn.Module, classes: int) -> str:
    network.classifier = nn.Sequential(nn.Flatten(), nn.Linear(512, classes))
    return "classifier"


def _resnet14_cifar(network: nn.Module, classes: int) -> str:
    network.classifier = nn.Sequential(nn.Flatten(), nn.Linear(64, classes))
    return "classifier"


def _resnet18(network: nn.Module, classes: int) -> str:
    network.fc = nn.Linear(512, classes)
    return "fc"


def _vgg16(network: nn.Module, classes: int) -> str:
    """As note 2 builds it: 25088 to 4096 to 4096 to the classes, ReLU and dropout of one half between."""
    network.classifier = nn.Sequential(
        nn.Linear(25088, 4096),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(4096, 4096),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(4096, classes),
    )
    return "classifier"


HEADS: dict[str, Callable[[nn.Module, int], str]] = {
    "resnet14_cifar": _resnet14_cifar,
    "resnet18_cifar": _resnet18_cifar,
    "resnet18": _resnet18,
    "vgg16": _vgg16,
}
"""Network -> what puts a new head of so many classes on it, and says what it is called there."""


def replace_head(network: nn.Module, model: str, classes: int) -> str:
    """Put a new head on ``network``, drawn from torch's global generator. Returns the name of the module that it is.

    Raises:
        InputError: nobody has said where the head of ``model`` is.
    """
    if model not in HEADS:
        raise InputError(f"the head of '{model}' is not known: transfer takes {', '.join(HEADS)}")
    return HEADS[model](network, classes)


def freeze_all_but(network: nn.Module, head: str) -> None:
    """No weight but those of the module ``head`` learns, and what is frozen stays in evaluation mode.

    Batch norm would take up the statistics of the new images otherwise, and dropout would be on.
    """
    for name, child in network.named_children():
        if name != head:
            child.requires_grad_(False)
            child.eval()
            child.train = types.MethodType(_stay, child)  # type: ignore[method-assign]


def _stay(module: nn.Module, mode: bool = True) -> nn.Module:
    return module
