"""One step of a training: settings of its arithmetic, optimiser, forward and backward pass."""

from __future__ import annotations

import time
import types
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.core.errors import InputError
from bench.core.recipes import Recipe, TestFaults
from bench.core.records import Case
from bench.measure.clock import synchronize
from bench.train.evaluate import check_logits, evaluating

LARGEST_MAP = 4
"""Output pixels up to which a matrix product was faster than the convolution (docs/method.md)."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a training's arithmetic: they change speed, and of the weights only the rounding.

    The defaults are those of the notes' loops, except for the pipeline.
    """

    pipeline: Literal["dataloader", "tensor"] = "tensor"
    workers: int | None = None
    """Workers of the data loader; None is the recipe's number. The tensor pipeline has none."""
    channels_last: bool = False
    """Images and feature maps are stored pixel by pixel, for faster convolution kernels."""
    products: bool = False
    """Convolutions of small maps are matrix products, see ``multiply_small_maps``."""
    fused: bool = False
    """Optimiser that updates all parameters in one kernel."""
    compiled: bool = False
    """Forward and backward pass compiled by ``torch.compile``."""
    autocast: torch.dtype | None = None
    """Number format of the operands of products at each call; weights stay float32."""

    @property
    def memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def arithmetic(self, device: torch.device) -> AbstractContextManager[object]:
        """Context in which the forward pass has its number format."""
        return torch.autocast(device.type, dtype=self.autocast) if self.autocast else nullcontext()


def settings_of(case: Case) -> Settings:
    """Return the settings of ``case``: its pipeline, mode and precision, and its options with the names of the fields.

    Raises:
        InputError: the pipeline is unknown, or the workers are not an integer.
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
    """Apply memory format and small convolutions of ``settings`` to ``network`` in place, and return it."""
    if settings.products:
        multiply_small_maps(network)
    network.to(memory_format=settings.memory_format)
    return network


def optimizer_of(network: nn.Module, recipe: Recipe, settings: Settings) -> torch.optim.Optimizer:
    """Return the recipe's optimiser of all parameters that require gradients.

    Raises:
        InputError: no parameter does.
    """
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if not trainable:
        raise InputError("the network has no parameter to train: give one with parameters that require gradients")
    return optimizer_over(trainable, recipe, settings)


def optimizer_over(trainable: Sequence[Tensor], recipe: Recipe, settings: Settings) -> torch.optim.Optimizer:
    """Return the recipe's optimiser of the tensors ``trainable``."""
    rate, decay, fused = recipe.learning_rate, recipe.weight_decay, settings.fused or None
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            trainable, lr=rate, momentum=recipe.momentum, nesterov=recipe.nesterov, weight_decay=decay, fused=fused
        )
    return torch.optim.Adam(trainable, lr=rate, weight_decay=decay, fused=fused)


def multiply_small_maps(network: nn.Module) -> None:
    """Compute the plain convolutions of ``network`` as matrix products where their output has few pixels.

    On maps of one or two pixels a side (last stages of ImageNet networks at 32 pixels) oneDNN is slow at the gradient
    of the weights. It took 50 ms for 512 to 512 channels of 3x3 on 64 maps of one pixel, on two cores of an AMD EPYC
    (torch 2.14). There eight of the nine taps meet only padding. The size is checked at each call; state dicts do not
    change.
    """
    for module in network.modules():
        if type(module) is nn.Conv2d and _is_plain(module):
            module.forward = types.MethodType(_forward, module)  # type: ignore[method-assign]


def _is_plain(convolution: nn.Conv2d) -> bool:
    zeros = convolution.padding_mode == "zeros" and not isinstance(convolution.padding, str)
    return zeros and convolution.groups == 1 and convolution.dilation == (1, 1)


def _forward(convolution: nn.Conv2d, maps: Tensor) -> Tensor:
    """Convolve (N, C, H, W) to (N, K, H', W')."""
    height, width = (_output_side(convolution, maps.shape[2 + axis], axis) for axis in range(2))
    if height * width > LARGEST_MAP:
        return nn.Conv2d.forward(convolution, maps)
    if height == width == 1:
        return _one_pixel(convolution, maps)
    kernel, padding, stride = convolution.kernel_size, tuple(map(int, convolution.padding)), convolution.stride
    columns = functional.unfold(maps, kernel, padding=padding, stride=stride)  # (N, C x kernel, H' x W')
    rows = columns.transpose(1, 2).flatten(0, 1)
    products = functional.linear(rows, convolution.weight.flatten(1), convolution.bias)
    return products.view(len(maps), height, width, -1).permute(0, 3, 1, 2)


def _one_pixel(convolution: nn.Conv2d, maps: Tensor) -> Tensor:
    """Compute one output pixel: a linear layer of the pixels under the kernel, without taps that meet only padding."""
    (top, bottom), (left, right) = (_taps_on_pixels(convolution, maps.shape[2 + axis], axis) for axis in range(2))
    above, before = (int(padding) for padding in convolution.padding)
    pixels = maps[:, :, top - above : bottom - above, left - before : right - before]
    taps = convolution.weight[:, :, top:bottom, left:right]
    return functional.linear(pixels.flatten(1), taps.flatten(1), convolution.bias)[:, :, None, None]


def _taps_on_pixels(convolution: nn.Conv2d, side: int, axis: int) -> tuple[int, int]:
    """First tap on a pixel with the kernel at its first position, and the tap after the last one."""
    padding = int(convolution.padding[axis])
    return padding, min(convolution.kernel_size[axis], padding + side)


def _output_side(convolution: nn.Conv2d, side: int, axis: int) -> int:
    room = side + 2 * int(convolution.padding[axis]) - convolution.kernel_size[axis]
    return int(room // convolution.stride[axis] + 1)


@dataclass(frozen=True, kw_only=True)
class Step:
    """Step of a training. ``network`` may be compiled; its weights are the optimiser's."""

    name: str
    network: nn.Module
    optimizer: torch.optim.Optimizer
    recipe: Recipe
    settings: Settings
    device: torch.device
    classes: int

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Update the weights by a batch (N, 3, H, W) with labels (N,). Returns logits (N, K) and mean loss."""
        outputs, loss = self.forward(images, labels)
        self.backward(loss)
        self.update()
        return outputs.detach(), loss.detach()

    def forward(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and mean cross-entropy.

        Raises:
            InputError: the network does not return logits.
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


def first_passes(step: Step, image_size: int, batch_sizes: Sequence[int]) -> float:
    """Run forward and backward pass at each of ``batch_sizes`` for the first time; return the seconds.

    It compiles, where the step is compiled, and lets cuDNN look for its fastest kernels. Network and optimiser do not
    change.
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
