"""Small networks as people write them: each is one way in which a measurement can go wrong without a word."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm


def plain(classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(128, 64),
        nn.ReLU(),
        nn.Linear(64, classes),
    )


def _linear(norm: Any, classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), norm(nn.Linear(3072, 64)), nn.ReLU(), norm(nn.Linear(64, classes)))


def old_weight_norm(classes: int) -> nn.Module:
    """`weight` is derived at each forward: it is stale after a state dict was loaded."""
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # deprecated, and in use
        return _linear(weight_norm, classes)


def new_weight_norm(classes: int) -> nn.Module:
    return _linear(parametrizations.weight_norm, classes)


def old_spectral_norm(classes: int) -> nn.Module:
    return _linear(spectral_norm, classes)


def new_spectral_norm(classes: int) -> nn.Module:
    return _linear(parametrizations.spectral_norm, classes)


def pruned(classes: int) -> nn.Module:
    return _linear(lambda layer: prune.random_unstructured(layer, "weight", amount=0.5), classes)


class SharedParameter(nn.Module):
    """Two linear layers, one Parameter."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem, self.pool = nn.Conv2d(3, 8, 3, stride=2), nn.AdaptiveAvgPool2d(4)
        self.a, self.b = nn.Linear(128, 128, bias=False), nn.Linear(128, 128, bias=False)
        self.b.weight = self.a.weight
        self.head = nn.Linear(128, classes)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.b(self.a(self.pool(self.stem(x).relu()).flatten(1)).relu()).relu())
        return found


class SharedModule(SharedParameter):
    """One linear layer under two names."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.b = self.a


class Recurrent(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.cells, self.head = nn.LSTM(96, 64, batch_first=True), nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.cells(x.permute(0, 2, 1, 3).flatten(2))[0][:, -1])
        return found


class EncoderLayers(nn.Module):
    """Fused operators read the weights of linear layers themselves."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.patch, self.position = nn.Conv2d(3, 64, 8, stride=8), nn.Parameter(torch.zeros(1, 16, 64))
        self.layers = nn.TransformerEncoder(nn.TransformerEncoderLayer(64, 4, 128, batch_first=True), 2)
        self.head = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.layers(self.patch(x).flatten(2).transpose(1, 2) + self.position).mean(1))
        return found


def hf_vit(classes: int) -> nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    shape = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    return ViTForImageClassification(ViTConfig(**shape, image_size=32, patch_size=8, num_labels=classes))


def imagenet_head() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 64), nn.ReLU(), nn.Linear(64, 1000))


class AutocastInside(nn.Module):
    """bfloat16, whatever the row says."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.c, self.d = nn.Conv2d(3, 64, 3, stride=2), nn.Conv2d(64, 64, 3)
        self.pool, self.head = nn.AdaptiveAvgPool2d(4), nn.Linear(1024, classes)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            found: Tensor = self.head(self.pool(self.d(self.c(x).relu()).relu()).flatten(1))
            return found


class CompiledInside(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.c, self.pool, self.head = nn.Conv2d(3, 16, 3, stride=2), nn.AdaptiveAvgPool2d(4), nn.Linear(256, classes)

    @torch.compile(backend="eager")
    def forward(self, x: Tensor) -> Any:
        return self.head(self.pool(self.c(x).relu()).flatten(1))


class DropsInEvaluation(nn.Module):
    """Dropout without ``training=self.training``: two calls on one image differ."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3072, 64), nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.b(nn.functional.dropout(self.a(x.flatten(1)).relu(), 0.5))
        return found


class TrainReturnsNone(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.c, self.norm, self.pool = nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(4)
        self.head = nn.Linear(128, classes)

    def train(self, mode: bool = True) -> None:  # type: ignore[override]
        super().train(mode)
        self.norm.eval()

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.pool(self.norm(self.c(x)).relu()).flatten(1))
        return found


def lazy(classes: int) -> nn.Module:
    layers = nn.LazyConv2d(8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.LazyLinear(classes)
    return nn.Sequential(*layers)


class Wrapper(nn.Module):
    """All its keys begin with ``module.``, and rightly so."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.module = plain(classes)

    def forward(self, x: Tensor) -> Any:
        return self.module(x)


def hooked(classes: int) -> nn.Module:
    """A hook doubles what a layer gives."""
    network = plain(classes)
    network[5].register_forward_hook(lambda module, inputs, output: output * 2)  # type: ignore[index]
    return network


def one_channel(classes: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 8, 3, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(512, classes))
