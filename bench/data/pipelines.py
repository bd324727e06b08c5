"""From stored images to batches: the notes' augmenting loader for training, plain tensor arithmetic for testing."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as nn_functional
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bench.data.decode import Pixels
from bench.data.images import Split, Triple

Normalization = tuple[Triple, Triple]
"""Channel means and channel standard deviations, in units where white is 1."""

CIFAR10_MEAN: Triple = (0.4914, 0.4822, 0.4465)
CIFAR10_STD: Triple = (0.247, 0.243, 0.261)
USUAL: Normalization = (CIFAR10_MEAN, CIFAR10_STD)
"""The constants that notes 1 and 2 normalise CIFAR-10 by."""
HALF: Normalization = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
"""The constants of note 4: pixels from -1 to 1."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What happens to an image on its way into a batch, in the notes' order: resize, crop, flip, normalise.

    ``crop_padding`` black pixels are put on each side and a crop of the image size is taken at random; ``None`` does
    not crop. ``flip`` mirrors left and right with probability one half. Without ``normalize`` pixels are in [0, 1].
    """

    crop_padding: int | None = None
    flip: bool = False
    normalize: Normalization | None = None


def loader_for_epoch(
    split: Split,
    indices: NDArray[np.int64],
    *,
    augmentation: Augmentation,
    image_size: int,
    batch_size: int,
    workers: int,
    shuffle: bool,
    seed: int,
    epoch: int = 0,
) -> DataLoader[tuple[Pixels, int]]:
    """Loads ``indices`` of ``split`` for one epoch: batches (N, 3, image_size, image_size) float32 and (N,) int64.

    The operations are those of torchvision's RandomCrop and RandomHorizontalFlip on PIL images, and of ToTensor and
    Normalize, which here convert a whole batch at once: the same numbers in less time. The random draws are made
    for the whole epoch beforehand: order and augmentation depend on ``seed`` and ``epoch`` alone, not on the number of
    workers, and neither read nor move torch's global generator. So a training that was interrupted resumes at any
    epoch as if it had not been.
    """
    generator = _generator(seed, epoch)
    order = torch.randperm(len(indices), generator=generator) if shuffle else torch.arange(len(indices))
    images = _AugmentedImages(split, indices, augmentation, image_size, generator)
    collate = partial(_collate, normalize=augmentation.normalize)
    return DataLoader(
        images, batch_size, sampler=order.tolist(), num_workers=workers, collate_fn=collate, generator=generator
    )


def evaluation_batches(
    split: Split,
    *,
    normalize: Normalization | None,
    image_size: int,
    batch_size: int,
    device: torch.device | str,
    indices: NDArray[np.int64] | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches (N, 3, image_size, image_size) float32 and (N,) int64 on ``device``: in order, nothing random.

    Without resizing they equal what ToTensor and Normalize give, bit for bit on CPU. Resizing is bilinear with
    antialiasing and rounds as PIL does: from 32 to 64 or 224 pixels the numbers are the same, at sizes where many
    fall on halves (75) a few in a hundred differ, by one or two grey values. ``indices`` chooses and orders the
    images; by default it is all of them.
    """
    chosen = np.arange(len(split.labels)) if indices is None else indices
    for start in range(0, len(chosen), batch_size):
        rows = chosen[start : start + batch_size]
        pixels = _floats(torch.from_numpy(np.array(split.images[rows])).to(device))
        labels = torch.from_numpy(split.labels[rows]).to(device)
        yield _normalized(_resized(pixels, image_size), normalize), labels


class _AugmentedImages(Dataset[tuple[Pixels, int]]):
    """Image ``indices[position]``, uint8 (H, W, 3), as the draws of one epoch have it."""

    def __init__(
        self,
        split: Split,
        indices: NDArray[np.int64],
        augmentation: Augmentation,
        image_size: int,
        generator: torch.Generator,
    ) -> None:
        self.images: Any = split.images
        self.labels = split.labels[indices]
        self.indices = indices
        self.augmentation = augmentation
        self.image_size = image_size
        places = 2 * (augmentation.crop_padding or 0) + 1
        self.corners = torch.randint(places, (len(indices), 2), generator=generator).numpy()
        self.flips = (torch.rand(len(indices), generator=generator) < 0.5).numpy()

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> tuple[Pixels, int]:
        # torchvision is imported here and not above: a worker that only evaluates needs none of it.
        from torchvision.transforms import functional

        image: Any = Image.fromarray(np.asarray(self.images[self.indices[position]]))
        if image.size != (self.image_size, self.image_size):
            image = functional.resize(image, [self.image_size, self.image_size])
        if self.augmentation.crop_padding is not None:
            top, left = self.corners[position].tolist()
            padded = functional.pad(image, [self.augmentation.crop_padding])
            image = functional.crop(padded, top, left, self.image_size, self.image_size)
        if self.augmentation.flip and self.flips[position]:
            image = functional.hflip(image)
        return np.asarray(image), int(self.labels[position])

    def __getstate__(self) -> dict[str, Any]:
        """Workers that are spawned, not forked, map the file again: pickling the array would copy every image."""
        state = dict(self.__dict__)
        images: Any = self.images
        if isinstance(images, np.memmap) and isinstance(getattr(images, "base", None), mmap.mmap):
            state["images"] = (images.filename, images.offset, images.shape)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if isinstance(state["images"], tuple):
            path, offset, shape = state["images"]
            state["images"] = np.memmap(path, np.uint8, "r", offset, shape)
        self.__dict__.update(state)


def _generator(seed: int, epoch: int) -> torch.Generator:
    mixed = np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(mixed[0] >> np.uint64(1)))


def _collate(items: Sequence[tuple[Pixels, int]], normalize: Normalization | None) -> tuple[Tensor, Tensor]:
    pixels = torch.from_numpy(np.stack([image for image, _ in items]))
    return _normalized(_floats(pixels), normalize), torch.tensor([label for _, label in items])


def _floats(pixels: Tensor) -> Tensor:
    """uint8 (N, H, W, 3) as contiguous float32 (N, 3, H, W), still from 0 to 255."""
    return pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)


def _resized(pixels: Tensor, image_size: int) -> Tensor:
    if pixels.shape[-2:] == (image_size, image_size):
        return pixels
    for size in ((pixels.shape[2], image_size), (image_size, image_size)):
        # As PIL: rows first, then columns, each rounded to a whole number, halves up.
        pixels = nn_functional.interpolate(pixels, size=size, mode="bilinear", antialias=True)
        pixels = pixels.add_(0.5).floor_().clamp_(0, 255)
    return pixels


def _normalized(pixels: Tensor, normalize: Normalization | None) -> Tensor:
    """Divides, subtracts and divides as ToTensor and Normalize do, in that order: no rounding differs."""
    scaled = pixels.div_(255)
    if normalize is None:
        return scaled
    mean, std = (torch.tensor(values, device=pixels.device).view(1, 3, 1, 1) for values in normalize)
    return scaled.sub_(mean).div_(std)
