"""The whole data set as uint8 on the training device, augmented a batch at a time by tensor operations.

On the CPU its batches equal those of the notes' loader bit for bit. On a GPU nothing waits for the device inside an
epoch: its draws, and what its images are normalised by, go there in one piece before its first batch.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as nn_functional
from numpy.typing import NDArray
from torch import Tensor

from bench.data.augmentation import Augmentation, draw
from bench.data.images import Split
from bench.data.pipelines import constants_on, floats, normalized, resized


class ImageTensors:
    """A split on a device: ``images`` uint8 (N, H, W, 3), ``labels`` int64 (N,)."""

    def __init__(self, split: Split, device: torch.device) -> None:
        self.images = torch.from_numpy(np.array(split.images)).to(device)
        self.labels = torch.from_numpy(split.labels).to(device)

    def epoch(
        self,
        indices: NDArray[np.int64],
        *,
        augmentation: Augmentation,
        image_size: int,
        batch_size: int,
        shuffle: bool,
        seed: int,
        epoch: int = 0,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch over ``indices``: batches (N, 3, image_size, image_size) float32 in ``memory_format``, (N,) int64.

        The draws are those of ``pipelines.loader_for_epoch`` for the same arguments.
        """
        device = self.images.device
        draws, _ = draw(indices, augmentation, shuffle=shuffle, seed=seed, epoch=epoch)
        rows = torch.from_numpy(indices)[draws.order].to(device)
        corners, flips = draws.corners[draws.order].to(device), draws.flips[draws.order].to(device)
        labels, constants = self.labels[rows], constants_on(device, augmentation.normalize)
        for start in range(0, len(rows), batch_size):
            some = slice(start, start + batch_size)
            pixels = _sized(self.images[rows[some]], image_size)
            if augmentation.crop_padding is not None:
                pixels = _cropped(pixels, corners[some], augmentation.crop_padding)
            if augmentation.flip:
                pixels = torch.where(flips[some, None, None, None], pixels.flip(2), pixels)
            yield normalized(floats(pixels, memory_format), constants), labels[some]


def _sized(pixels: Tensor, image_size: int) -> Tensor:
    """uint8 (N, H, W, 3) as uint8 (N, image_size, image_size, 3)."""
    if pixels.shape[1:3] == (image_size, image_size):
        return pixels
    return resized(floats(pixels), image_size).to(torch.uint8).permute(0, 2, 3, 1)


def _cropped(pixels: Tensor, corners: Tensor, padding: int) -> Tensor:
    """Of each image (N, H, W, 3) with ``padding`` black pixels around it the H x W pixels from its corner on."""
    side = pixels.shape[1]
    padded = nn_functional.pad(pixels, (0, 0, padding, padding, padding, padding))
    windows = padded.unfold(1, side, 1).unfold(2, side, 1)  # (N, 2 padding + 1, 2 padding + 1, 3, H, W), without a copy
    batch = torch.arange(len(pixels), device=pixels.device)
    return windows[batch, corners[:, 0], corners[:, 1]].permute(0, 2, 3, 1)
