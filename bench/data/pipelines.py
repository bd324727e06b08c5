"""Pipelines from stored images to batches, and a picture of the first images of one.

Training images come from the notes' loader or, faster, from tensors on the device; test images by tensor arithmetic.
"""

from __future__ import annotations

import dataclasses
import io
import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as nn_functional
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bench.data.augmentation import Augmentation, Draws, Normalization, draw
from bench.data.images import ImageDataset, Split

Constants = tuple[Tensor, Tensor]
"""Means and standard deviations, float32 (1, 3, 1, 1) each."""
SIDE = 3
"""Tiles a side of the picture of augmented images."""
GAP = 4
TILE = 96
"""Largest side of a tile in pixels; images are enlarged by a whole number."""


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
) -> DataLoader[tuple[Tensor, int]]:
    """Load ``indices`` of ``split`` for one epoch: batches (N, 3, image_size, image_size) float32 and (N,) int64.

    It applies the notes' RandomCrop, RandomHorizontalFlip, ToTensor and Normalize of torchvision to one PIL image after
    the other, in a DataLoader. Only the random draws are made for the whole epoch beforehand (``draw``): so they do not
    depend on the number of workers.
    """
    draws, generator = draw(indices, augmentation, shuffle=shuffle, seed=seed, epoch=epoch)
    images = _AugmentedImages(split, indices, augmentation, image_size, draws)
    return DataLoader(images, batch_size, sampler=draws.order.tolist(), num_workers=workers, generator=generator)


def evaluation_batches(
    split: Split,
    *,
    normalize: Normalization | None,
    image_size: int,
    batch_size: int,
    device: torch.device | str,
    indices: NDArray[np.int64] | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches (N, 3, image_size, image_size) float32 and (N,) int64 on ``device``: in order, nothing random.

    Without resizing they equal those of ToTensor and Normalize, bit for bit on CPU. Resizing is bilinear with
    antialiasing and rounds as PIL does. From 32 to 64 or 224 pixels the numbers are the same. At sizes where many
    values are halves (75), a few in a hundred differ by one or two grey values. ``indices`` selects and orders the
    images; the default is all of them.
    """
    chosen = np.arange(len(split.labels)) if indices is None else indices
    constants = constants_on(device, normalize)
    for start in range(0, len(chosen), batch_size):
        rows = chosen[start : start + batch_size]
        pixels = floats(torch.from_numpy(np.array(split.images[rows])).to(device))
        labels = torch.from_numpy(split.labels[rows]).to(device)
        yield normalized(resized(pixels, image_size), constants), labels


class _AugmentedImages(Dataset[tuple[Tensor, int]]):
    """Images ``indices``, float32 (3, image_size, image_size) each, augmented by the draws of one epoch."""

    def __init__(
        self, split: Split, indices: NDArray[np.int64], augmentation: Augmentation, image_size: int, draws: Draws
    ) -> None:
        self.images: Any = split.images
        self.labels = split.labels[indices]
        self.indices = indices
        self.augmentation = augmentation
        self.image_size = image_size
        self.corners = draws.corners.numpy()
        self.flips = draws.flips.numpy()

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
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
        pixels = functional.to_tensor(image)
        if self.augmentation.normalize is not None:
            pixels = functional.normalize(pixels, *map(list, self.augmentation.normalize), inplace=True)
        return pixels, int(self.labels[position])

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the place of a mapped file, not its array: a spawned worker would get a copy of every image."""
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


def floats(pixels: Tensor, memory_format: torch.memory_format = torch.contiguous_format) -> Tensor:
    """Convert uint8 (N, H, W, 3) to float32 (N, 3, H, W) in ``memory_format``, still from 0 to 255."""
    return pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=memory_format)


def resized(pixels: Tensor, image_size: int) -> Tensor:
    """Resize float32 (N, 3, H, W) from 0 to 255; the result is rounded to integers."""
    if pixels.shape[-2:] == (image_size, image_size):
        return pixels
    for size in ((pixels.shape[2], image_size), (image_size, image_size)):
        # As PIL: rows first, then columns, each rounded to an integer, halves up.
        pixels = nn_functional.interpolate(pixels, size=size, mode="bilinear", antialias=True)
        pixels = pixels.add_(0.5).floor_().clamp_(0, 255)
    return pixels


def constants_on(device: torch.device | str, normalize: Normalization | None) -> Constants | None:
    """Return means and standard deviations on ``device``. Call it once an epoch: on a GPU the copy is a wait."""
    if normalize is None:
        return None
    mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in normalize)
    return mean, std


def normalized(pixels: Tensor, constants: Constants | None) -> Tensor:
    """Normalise float32 from 0 to 255 in place, with the bits of ToTensor and Normalize."""
    scaled = pixels.div_(255)
    if constants is None:
        return scaled
    mean, std = constants
    return scaled.sub_(mean).div_(std)


class ImageTensors:
    """Split on a device, augmented a batch at a time by tensor operations.

    ``images`` are uint8 (N, H, W, 3), ``labels`` int64 (N,). On the CPU its batches equal the notes' loader's bit for
    bit. On a GPU nothing waits for the device within an epoch: draws and normalising constants are copied there in one
    piece before its first batch.
    """

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
        """Yield the batches of one epoch of ``indices``: (N, 3, image_size, image_size) float32 and (N,) int64.

        Images are in ``memory_format``. The draws equal those of ``loader_for_epoch`` for the same arguments.
        """
        device = self.images.device
        draws, _ = draw(indices, augmentation, shuffle=shuffle, seed=seed, epoch=epoch)
        rows = torch.from_numpy(indices)[draws.order].to(device)
        corners, flips = draws.corners[draws.order].to(device), draws.flips[draws.order].to(device)
        labels, constants = self.labels[rows], constants_on(device, augmentation.normalize)
        for start in range(0, len(rows), batch_size):
            batch = slice(start, start + batch_size)
            pixels = _sized(self.images[rows[batch]], image_size)
            if augmentation.crop_padding is not None:
                pixels = _cropped(pixels, corners[batch], augmentation.crop_padding)
            if augmentation.flip:
                pixels = torch.where(flips[batch, None, None, None], pixels.flip(2), pixels)
            yield normalized(floats(pixels, memory_format), constants), labels[batch]


def _sized(pixels: Tensor, image_size: int) -> Tensor:
    """Resize uint8 (N, H, W, 3) to uint8 (N, image_size, image_size, 3)."""
    if pixels.shape[1:3] == (image_size, image_size):
        return pixels
    return resized(floats(pixels), image_size).to(torch.uint8).permute(0, 2, 3, 1)


def _cropped(pixels: Tensor, corners: Tensor, padding: int) -> Tensor:
    """Pad each image of (N, H, W, 3) by ``padding`` black pixels and crop H x W pixels from its corner."""
    side = pixels.shape[1]
    padded = nn_functional.pad(pixels, (0, 0, padding, padding, padding, padding))
    windows = padded.unfold(1, side, 1).unfold(2, side, 1)  # (N, 2 padding + 1, 2 padding + 1, 3, H, W), without a copy
    batch = torch.arange(len(pixels), device=pixels.device)
    return windows[batch, corners[:, 0], corners[:, 1]].permute(0, 2, 3, 1)


def augmented_grid_png(dataset: ImageDataset, augmentation: Augmentation, image_size: int, seed: int) -> bytes:
    """Draw a PNG of 3x3 tiles with white gaps: the first nine images of a shuffled epoch, augmented, not normalised.

    A tile of 32 pixels is drawn three times as large: the picture is 3 * 96 + 4 * 4 = 304 pixels wide and high.
    """
    loader = loader_for_epoch(
        dataset.train,
        np.arange(len(dataset.train.labels)),
        augmentation=dataclasses.replace(augmentation, normalize=None),
        image_size=image_size,
        batch_size=SIDE * SIDE,
        workers=0,
        shuffle=True,
        seed=seed,
    )
    batch, _ = next(iter(loader))
    tiles = np.rint(batch.numpy() * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    scale = max(1, TILE // image_size)
    step = image_size * scale + GAP
    picture = Image.new("RGB", (SIDE * step + GAP, SIDE * step + GAP), "white")
    for place, tile in enumerate(tiles):
        row, column = divmod(place, SIDE)
        enlarged = Image.fromarray(tile).resize((image_size * scale,) * 2, Image.Resampling.NEAREST)
        picture.paste(enlarged, (GAP + column * step, GAP + row * step))
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return stream.getvalue()
