"""One step of a training: forward pass, backward pass, optimiser."""

from __future__ import annotations

import time
import types
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as nn_functional
from torch import Tensor, nn
from torch.nn import functional

from bench.core.errors import InputError
from bench.core.recipes import Recipe, TestFaults
from bench.core.records import Case
from bench.measure.clock import synchronize
from bench.train.evaluate import check_logits, evaluating

LARGEST_MAP = 4
"""Output pixels up to which a product was the faster one (docs/method.md)."""


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


def multiply_small_maps(network: nn.Module) -> None:
    """Let the plain convolutions of ``network`` multiply where their output has few pixels.

    Which they are is seen at each call, by the size of what they are given. State dicts stay as they are.
    """
    for module in network.modules():
        if type(module) is nn.Conv2d and _is_plain(module):
            module.forward = types.MethodType(_forward, module)  # type: ignore[method-assign]


def _is_plain(convolution: nn.Conv2d) -> bool:
    zeros = convolution.padding_mode == "zeros" and not isinstance(convolution.padding, str)
    return zeros and convolution.groups == 1 and convolution.dilation == (1, 1)


def _forward(convolution: nn.Conv2d, maps: Tensor) -> Tensor:
    """(N, C, H, W) to (N, K, H', W')."""
    height, width = (_output_side(convolution, maps.shape[2 + axis], axis) for axis in range(2))
    if height * width > LARGEST_MAP:
        return nn.Conv2d.forward(convolution, maps)
    if height == width == 1:
        return _one_pixel(convolution, maps)
    kernel, padding, stride = convolution.kernel_size, tuple(map(int, convolution.padding)), convolution.stride
    columns = nn_functional.unfold(maps, kernel, padding=padding, stride=stride)  # (N, C x kernel, H' x W')
    rows = columns.transpose(1, 2).flatten(0, 1)
    products = nn_functional.linear(rows, convolution.weight.flatten(1), convolution.bias)
    return products.view(len(maps), height, width, -1).permute(0, 3, 1, 2)


def _one_pixel(convolution: nn.Conv2d, maps: Tensor) -> Tensor:
    """One output pixel: a linear layer of the pixels under the kernel, without the taps that meet only padding."""
    (top, bottom), (left, right) = (_met(convolution, maps.shape[2 + axis], axis) for axis in range(2))
    above, before = (int(padding) for padding in convolution.padding)
    pixels = maps[:, :, top - above : bottom - above, left - before : right - before]
    taps = convolution.weight[:, :, top:bottom, left:right]
    return nn_functional.linear(pixels.flatten(1), taps.flatten(1), convolution.bias)[:, :, None, None]


def _met(convolution: nn.Conv2d, side: int, axis: int) -> tuple[int, int]:
    """The first of the taps that meet pixels where the kernel stands at its first place, and the one after the last."""
    padding = int(convolution.padding[axis])
    return padding, min(convolution.kernel_size[axis], padding + side)


def _output_side(convolution: nn.Conv2d, side: int, axis: int) -> int:
    room = side + 2 * int(convolution.padding[axis]) - convolution.kernel_size[axis]
    return int(room // convolution.stride[axis] + 1)


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a step needs. ``network`` is what is called, compiled or not; its weights are the optimiser's."""

    name: str
    network: nn.Module
    optimizer: torch.optim.Optimizer
    recipe: Recipe
    settings: Settings
    device: torch.device
    classes: int

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, K) and mean loss of a batch (N, 3, H, W) with labels (N,), after which the weights have moved."""
        outputs, loss = self.forward(images, labels)
        self.backward(loss)
        self.update()
        return outputs.detach(), loss.detach()

    def forward(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and mean cross-entropy.

        Raises:
            InputError: what the network returns are no logits.
        """
        with self.settings.arithmetic(self.device):
            outputs = self.network(images)
            check_logits(outputs, self.name, images=len(labels), classes=self.classes)
            loss = functional.cross_entropy(outputs, labels, label_smoothing=self.recipe.label_smoothing)
        return outputs, loss

    def backward(self, loss: Tensor) -> None:
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped

    def update(self) -> None:
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def compile_now(step: Step, image_size: int, batch_sizes: Sequence[int]) -> float:
    """Seconds of the first forward and backward pass at each of ``batch_sizes``, which compile what is to be compiled.

    Network and optimiser are afterwards as they were before.
    """
    begin = time.perf_counter()
    with evaluating(step.network, TestFaults(train_mode=True)):
        for size in batch_sizes:
            images = torch.zeros(size, 3, image_size, image_size, device=step.device)
            images = images.to(memory_format=step.settings.memory_format)
            _, loss = step.forward(images, torch.zeros(size, dtype=torch.int64, device=step.device))
            step.backward(loss)
            step.optimizer.zero_grad(set_to_none=True)
    synchronize(step.device)
    return time.perf_counter() - begin
