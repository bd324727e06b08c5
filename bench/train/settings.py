"""How the arithmetic of a training is done: what makes it fast, and changes nothing of what is learnt but rounding."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from bench.core.errors import InputError
from bench.core.recipes import Recipe
from bench.core.records import Case
from bench.train.map_products import multiply_small_maps


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The defaults are those of the notes' loops, but for the pipeline."""

    pipeline: Literal["dataloader", "tensor"] = "tensor"
    workers: int | None = None
    """Of the data loader; None is the recipe's number. The tensor pipeline has none."""
    channels_last: bool = False
    """Images and feature maps lie in memory pixel by pixel, as the fast convolution kernels want them."""
    products: bool = False
    """Convolutions of small maps are done as matrix products, see ``map_products``."""
    fused: bool = False
    """The optimiser moves all parameters in one kernel."""
    compiled: bool = False
    """Forward and backward pass go through ``torch.compile``."""
    autocast: torch.dtype | None = None
    """What the operands of products are rounded to at each call; weights stay float32."""

    @property
    def memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def arithmetic(self, device: torch.device) -> AbstractContextManager[object]:
        """The number format of the forward pass."""
        return torch.autocast(device.type, dtype=self.autocast) if self.autocast else nullcontext()


def settings_of(case: Case) -> Settings:
    """The settings that ``case`` names: its pipeline, mode and precision, and the options called as the fields here.

    Raises:
        InputError: the pipeline is unknown, or the workers are no number.
    """
    pipeline, workers = case.pipeline or "tensor", case.option("workers")
    if pipeline not in ("dataloader", "tensor"):
        raise InputError(f"pipeline '{pipeline}' is unknown: dataloader or tensor is allowed")
    if workers is not None and not isinstance(workers, int):
        raise InputError(f"option workers is {workers!r}: a number of 0 or more is allowed")
    return Settings(
        pipeline="dataloader" if pipeline == "dataloader" else "tensor",
        workers=workers,
        channels_last=bool(case.option("channels_last")),
        products=bool(case.option("products")),
        fused=bool(case.option("fused")),
        compiled=case.mode == "compiled",
        autocast=torch.bfloat16 if case.precision == "bf16_autocast" else None,
    )


def lay_out(network: nn.Module, settings: Settings) -> nn.Module:
    """``network`` itself, its weights laid out and its small convolutions replaced as ``settings`` say."""
    if settings.products:
        multiply_small_maps(network)
    network.to(memory_format=settings.memory_format)
    return network


def optimizer_of(network: nn.Module, recipe: Recipe, settings: Settings) -> torch.optim.Optimizer:
    """The recipe's optimiser over all parameters that require gradients.

    Raises:
        InputError: there is none.
    """
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if not trainable:
        raise InputError("the network has no parameter to train: give one with parameters that require gradients")
    return optimizer_over(trainable, recipe, settings)


def optimizer_over(trainable: Sequence[Tensor], recipe: Recipe, settings: Settings) -> torch.optim.Optimizer:
    """The recipe's optimiser over these tensors."""
    rate, decay, fused = recipe.learning_rate, recipe.weight_decay, settings.fused or None
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            trainable, lr=rate, momentum=recipe.momentum, nesterov=recipe.nesterov, weight_decay=decay, fused=fused
        )
    return torch.optim.Adam(trainable, lr=rate, weight_decay=decay, fused=fused)
