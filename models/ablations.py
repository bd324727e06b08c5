"""Parts that help a network by the notes, as networks with and without them. No torch at import."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A classifier of the suite, changed."""

    model: str
    change: str | None = None
    """Name of a function of ``models.variants`` that changes a new network of ``model``; None: it is as it is."""

    def apply(self, network: nn.Module) -> nn.Module:
        """``network`` changed in place, weights drawn anew where the change draws them."""
        if self.change is None:
            return network
        change: Callable[[nn.Module], nn.Module] = getattr(importlib.import_module("models.variants"), self.change)
        return change(network)


ABLATIONS: dict[str, Mapping[str, Variant]] = {
    # Note 4: dropout helps, and it makes no difference whether it stands before or after the activation.
    "dropout": {
        "none": Variant(model="cnn_small", change="without_dropout"),
        "before activation": Variant(model="cnn_small"),
        "after activation": Variant(model="cnn_small", change="with_dropout_after_activation"),
    },
    # Note 4: with ReLU, He's initialisation beats Xavier's. cnn_vgg has no other activation and no batch norm.
    "initialisation": {
        "xavier": Variant(model="cnn_vgg", change="initialised_by_xavier"),
        "he": Variant(model="cnn_vgg", change="initialised_by_he"),
    },
    "batch norm": {
        "without": Variant(model="resnet14_cifar", change="without_batch_norm"),
        "with": Variant(model="resnet14_cifar"),
    },
    "skip connections": {
        "without": Variant(model="resnet14_cifar", change="without_skips"),
        "with": Variant(model="resnet14_cifar"),
    },
    # Note 2: a ResNet overfits more easily than a VGG.
    "overfitting": {
        "vgg": Variant(model="cnn_vgg"),
        "resnet": Variant(model="resnet_custom"),
    },
}
"""Question -> variants; the first is what the others are compared with."""
