"""What a conversion needs to know, what it gives back, and where it is found."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.core.errors import Unsupported
from bench.core.precisions import Precision

WEIGHTED = (nn.Conv2d, nn.Linear)
"""Layers that hold nearly all weights of a classifier and do nearly all of its arithmetic."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where the network is going to run, and on what."""

    device: torch.device
    batch_size: int
    image_shape: tuple[int, ...]
    """Shape of one input, without the batch."""
    calibration: Callable[[], Iterator[Tensor]]
    """Batches of training images as the network takes them, for scales of activations."""


@dataclass(frozen=True, kw_only=True)
class Converted:
    """A network at its precision, in evaluation mode on its device."""

    network: nn.Module
    input_dtype: torch.dtype = torch.float32
    may_freeze: bool = False
    """Whether compiling may fold weights into constants. It would expand those that are stored quantised."""


Converter = Callable[[nn.Module, Setting], Converted]
"""Takes a network (float32, on the CPU, in evaluation mode) to its device and precision, perhaps in place."""


def converter_of(precision: Precision) -> Converter:
    """The conversion of ``precision``. Its library is imported here, which is no part of converting.

    The conversion raises ``Unsupported`` where nothing in a network can be converted, or this machine cannot run it.
    """
    if precision.convert is None:
        raise Unsupported(f"{precision.name} is for language models only")
    module, _, function = precision.convert.partition(":")
    chosen: Callable[..., Converted] = getattr(importlib.import_module(f"bench.precision.{module}"), function)

    @torch.no_grad()
    def convert(network: nn.Module, setting: Setting) -> Converted:
        return chosen(network, setting, **precision.settings)

    return convert


def layers_of(network: nn.Module, kinds: Sequence[type[nn.Module]]) -> list[str]:
    """Names of the modules of exactly these ``kinds``: a subclass may compute something else.

    Raises:
        Unsupported: there is none.
    """
    names = [name for name, module in network.named_modules() if type(module) in kinds]
    if not names:
        raise Unsupported(f"the network has no {' or '.join(kind.__name__ for kind in kinds)}: nothing to convert")
    return names


def replace_module(network: nn.Module, name: str, module: nn.Module) -> None:
    """Put ``module`` where the module called ``name`` is, by a dotted name as ``named_modules`` gives it."""
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, module)
