"""Changes to networks of the suite, for comparing them with and without something. All change the network in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from models.resnet import Residual


class Plain(nn.Module):
    """``relu(body(x))``: a residual block without its skip connection."""

    def __init__(self, block: Residual) -> None:
        super().__init__()
        self.body = block.body
        self.relu = block.relu

    def forward(self, images: Tensor) -> Tensor:
        output: Tensor = self.relu(self.body(images))
        return output


def without_dropout(network: nn.Module) -> nn.Module:
    """Dropout layers become identities."""
    return _replaced(network, nn.Dropout, lambda _: nn.Identity())


def with_dropout_after_activation(network: nn.Module) -> nn.Module:
    """Each dropout that stands right before an activation changes places with it."""
    for sequence in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        for place in range(len(sequence) - 1):
            if isinstance(sequence[place], nn.Dropout) and isinstance(sequence[place + 1], nn.ReLU):
                sequence[place], sequence[place + 1] = sequence[place + 1], sequence[place]
    return network


def without_batch_norm(network: nn.Module) -> nn.Module:
    """Batch norm layers become identities. Convolutions keep what bias they have."""
    return _replaced(network, nn.BatchNorm2d, lambda _: nn.Identity())


def without_skips(network: nn.Module) -> nn.Module:
    """Residual blocks lose their shortcuts, and the weights of those."""
    return _replaced(network, Residual, Plain)


def initialised_by_xavier(network: nn.Module) -> nn.Module:
    """Weights of convolutions and linear layers drawn anew: X. Glorot and Y. Bengio, 2010, uniform; biases zero."""
    return _initialised(network, nn.init.xavier_uniform_)


def initialised_by_he(network: nn.Module) -> nn.Module:
    """Weights of convolutions and linear layers drawn anew: K. He et al., 2015, uniform, for ReLU; biases zero."""
    return _initialised(network, lambda weight: nn.init.kaiming_uniform_(weight, nonlinearity="relu"))


def _replaced(network: nn.Module, kind: type[nn.Module], replacement: Callable[[Any], nn.Module]) -> nn.Module:
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, kind):
                setattr(parent, name, replacement(child))
    return network


def _initialised(network: nn.Module, draw: Callable[[Tensor], Tensor]) -> nn.Module:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            draw(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network
