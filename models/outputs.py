"""Outputs of a network as one tensor of logits; and networks made whole before they are used. Imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from models.factory import ModelError, reason

NAMED = ("logits", "out")
"""Keys under which transformers' and torchvision's networks return their logits."""


def logits_in(output: Any) -> tuple[Any, str | None]:
    """The logits in what a network returned, and which part of it they are: None where it is a tensor, or has none.

    A mapping or an object has them under ``logits`` or ``out``, else as its first tensor; so has a tuple or a list.
    """
    if isinstance(output, Tensor):
        return output, None
    for name in NAMED:
        if isinstance(output, Mapping) and isinstance(output.get(name), Tensor):
            return output[name], f"'{name}' of the {type(output).__name__}"
        if isinstance(getattr(output, name, None), Tensor):
            return getattr(output, name), f".{name} of the {type(output).__name__}"
    for name, value in _parts(output):
        if isinstance(value, Tensor):
            return value, f"the first tensor ({name}) of the {type(output).__name__}"
    return output, None


def adapt(network: nn.Module, image_shape: tuple[int, ...], *, grey: bool = False) -> tuple[str, ...]:
    """Let ``network`` return logits alone, if it returns them inside of something else for one black image.

    It becomes an instance of a subclass of its own class: its names of weights stay as they are, and it can be
    compiled, exported and converted like any other.

    Args:
        image_shape: of one image, without the batch.
        grey: the three channels of all images are alike, so that a network for one channel may have the first.

    Returns:
        What was changed, a clause each: which part of the output the logits are, and that one channel is taken. Where
        no image passes nothing is changed: who tries the network tells what is wrong with it.
    """
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        image = torch.zeros(1, *image_shape)
        output = _tried(network, image)
        one_channel = output is None and grey
        output = _tried(network, image[:, :1]) if one_channel else output
    finally:
        for module, training in modes.items():
            module.training = training
    if output is None:
        return ()
    taken = logits_in(output)[1]
    if taken is not None or one_channel:
        _subclass(network, forward=_forward_of(type(network), one_channel=one_channel))
    said = (f"the logits are {taken} that the network returns",) if taken else ()
    return (*said, *(("the network takes one channel: grey images are given as such",) if one_channel else ()))


def _tried(network: nn.Module, images: Tensor) -> Any:
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            return network(images)
    except Exception:
        return None


def whole(network: nn.Module, image_shape: tuple[int, ...], name: str) -> nn.Module:
    """``network`` with lazy layers given their shapes by one black image, and a ``train`` that returns it.

    Raises:
        ModelError: an image of that shape does not pass through the lazy layers.
    """
    if network.train(network.training) is not network:
        _subclass(network, train=_train_of(type(network)))
    if not any(is_lazy(tensor) for tensor in (*network.parameters(), *network.buffers())):
        return network
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            network(torch.zeros(1, *image_shape))
    except Exception as error:
        sides = "x".join(map(str, image_shape))
        raise ModelError(f"network '{name}': an image of {sides} does not pass its lazy layers: {reason(error)}") from (
            error
        )
    return network.train(was_training)


def _parts(output: Any) -> list[tuple[Any, Any]]:
    if isinstance(output, Mapping):
        return list(output.items())
    if isinstance(output, tuple | list):
        return list(enumerate(output))
    if is_dataclass(output) and not isinstance(output, type):
        return [(item.name, getattr(output, item.name)) for item in fields(output)]
    return []


def _subclass(network: nn.Module, **methods: Any) -> None:
    kind = type(network)
    network.__class__ = type(kind.__name__, (kind,), {"__module__": kind.__module__, **methods})


def _forward_of(kind: type[nn.Module], *, one_channel: bool) -> Any:
    def forward(self: nn.Module, images: Tensor) -> Any:
        return logits_in(kind.forward(self, images[:, :1] if one_channel else images))[0]

    return forward


def _train_of(kind: type[nn.Module]) -> Any:
    def train(self: nn.Module, mode: bool = True) -> nn.Module:
        kind.train(self, mode)
        return self

    return train
