"""What feeds a training: for each epoch its batches, by the notes' loader or from tensors on the device."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

import numpy as np
import torch
import torchvision.transforms.functional  # noqa: F401  # the loader's workers inherit it: each would import it, each epoch
from numpy.typing import NDArray
from torch import Tensor

from bench.core.recipes import Recipe
from bench.data.images import ImageDataset
from bench.data.pipelines import loader_for_epoch
from bench.data.tensors import ImageTensors
from bench.train.inputs import training_augmentation
from bench.train.settings import Settings

Indices = NDArray[np.int64]
Batches = Iterable[tuple[Tensor, Tensor]]
"""Images (N, 3, H, W) float32 and labels (N,) int64; on the device, or on their way to it."""
Feed = Callable[[Indices, int], Batches]
"""From the images of an epoch and its number, counted from 0, to its batches; all work is done as they are taken."""


def feed_of(
    dataset: ImageDataset, recipe: Recipe, settings: Settings, *, image_size: int, device: torch.device, seed: int
) -> Feed:
    """Augmented training images of ``dataset``, shuffled anew in each epoch; the same from either pipeline."""
    augmentation = training_augmentation(recipe, dataset)
    if settings.pipeline == "tensor":
        tensors = ImageTensors(dataset.train, device)

        def from_tensors(indices: Indices, epoch: int) -> Batches:
            return tensors.epoch(
                indices,
                augmentation=augmentation,
                image_size=image_size,
                batch_size=recipe.batch_size,
                shuffle=True,
                seed=seed,
                epoch=epoch,
                memory_format=settings.memory_format,
            )

        return from_tensors

    def from_loader(indices: Indices, epoch: int) -> Batches:
        loader = loader_for_epoch(
            dataset.train,
            indices,
            augmentation=augmentation,
            image_size=image_size,
            batch_size=recipe.batch_size,
            workers=workers_of(recipe, settings),
            shuffle=True,
            seed=seed,
            epoch=epoch,
        )
        for images, labels in loader:
            yield images.to(device, memory_format=settings.memory_format), labels.to(device)

    return from_loader


def workers_of(recipe: Recipe, settings: Settings) -> int:
    """Loader workers: those asked for, else the recipe's, but no more than there are cores. They change no image."""
    if settings.workers is not None:
        return settings.workers
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(recipe.workers, cores)
