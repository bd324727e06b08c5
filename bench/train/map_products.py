"""Convolutions of small feature maps as matrix products.

On maps of one or two pixels a side, as the last stages of ImageNet networks have them for images of 32 pixels, oneDNN
takes many times what the arithmetic needs for the gradient of the weights: 50 ms for 512 to 512 channels of 3x3 on 64
maps of one pixel, on two cores of an AMD EPYC (torch 2.14). There eight of the nine taps meet nothing but padding.
"""

from __future__ import annotations

import types

import torch.nn.functional as nn_functional
from torch import Tensor, nn

LARGEST_MAP = 4
"""Output pixels up to which a product was the faster one (docs/method.md)."""


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
