"""Loss and accuracy of a network: measured correctly, and with the faults of a note."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from bench.core.errors import InputError
from bench.core.recipes import Recipe, TestFaults
from bench.data.augmentation import normalization, noted_test_augmentation
from bench.data.images import ImageDataset, Split
from bench.data.pipelines import ImageTensors, evaluation_batches

EVALUATION_BATCH = 250
_RIGHT = TestFaults()
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Mean cross-entropy an image, share of correct images, and the labels predicted, in the order of the batches."""

    loss: float
    accuracy: float
    predictions: NDArray[np.int64]
    samples: int

    @property
    def standard_error(self) -> float:
        """Binomial standard error sqrt(p (1 - p) / n): it covers the choice of images, not that of the seed."""
        return math.sqrt(self.accuracy * (1 - self.accuracy) / self.samples)


def evaluate(
    network: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    device: torch.device,
    faults: TestFaults = _RIGHT,
) -> Evaluation:
    """Evaluate on ``batches`` of images (N, 3, H, W) and labels (N,), in evaluation mode without gradients.

    Afterwards the network is as before, including modules that ``faults`` put into training mode.

    Raises:
        InputError: there is no batch.
    """
    loss = torch.zeros((), dtype=torch.float64, device=device)
    predicted, expected = [], []
    with evaluating(network, faults), torch.no_grad():
        for images, labels in batches:
            labels = labels.to(device, non_blocking=True)
            outputs = network(images.to(device, non_blocking=True))
            loss += functional.cross_entropy(outputs, labels, reduction="sum")
            predicted.append(outputs.argmax(1))
            expected.append(labels)
    if not predicted:
        raise InputError("there is no image to evaluate on: give a test set of at least 1 image")
    predictions, answers = torch.cat(predicted), torch.cat(expected)
    return Evaluation(
        loss=float(loss) / len(answers),
        accuracy=int((predictions == answers).sum()) / len(answers),
        predictions=predictions.cpu().numpy(),
        samples=len(answers),
    )


def evaluate_split(
    network: nn.Module,
    split: Split,
    *,
    recipe: Recipe,
    dataset: ImageDataset,
    image_size: int,
    device: torch.device,
    indices: NDArray[np.int64],
) -> Evaluation:
    """Evaluate on the images ``indices`` of ``split``, normalised as in training and not augmented."""
    batches = evaluation_batches(
        split,
        normalize=normalization(recipe.normalize, dataset),
        image_size=image_size,
        batch_size=EVALUATION_BATCH,
        device=device,
        indices=indices,
    )
    return evaluate(network, batches, device)


def evaluate_as_noted(
    network: nn.Module,
    dataset: ImageDataset,
    recipe: Recipe,
    *,
    image_size: int,
    device: torch.device,
    seed: int,
    test_images: int,
) -> Evaluation:
    """Evaluate on the first ``test_images`` of the test set with the faults of the recipe's note.

    Batches are of the note's size and shuffled by ``seed``: where batch norm takes its statistics from the batch, the
    order matters, and folders of images are not in CIFAR-10's random order. The same seed gives the same result.
    """
    count = test_images
    batch_size = recipe.test_batch_size or recipe.batch_size
    if recipe.faults.train_mode and count > 1 and count % batch_size == 1:
        count -= 1  # batch norm in training mode refuses a batch of one image
    batches = ImageTensors(dataset.test, device).epoch(
        np.arange(count),
        augmentation=noted_test_augmentation(recipe, dataset),
        image_size=image_size,
        batch_size=batch_size,
        shuffle=True,
        seed=seed,
    )
    with _seeded(seed, device):
        return evaluate(network, batches, device, recipe.faults)


def check_network(
    network: nn.Module, name: str, *, classes: int, image_size: int, device: torch.device, training: bool
) -> int:
    """Try the network on two black images, in evaluation mode and, for ``training``, in training mode too.

    Returns:
        Number of its outputs.

    Raises:
        InputError: it raises, or does not return logits of shape (2, K) with K of at least ``classes``.
    """
    images = torch.zeros(2, 3, image_size, image_size, device=device)
    for faults in (_RIGHT, TestFaults(train_mode=True))[: 2 if training else 1]:
        with evaluating(network, faults), torch.no_grad(), _seeded(0, device):
            try:
                outputs = network(images)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # a network of the user's own may raise anything
                reason = " ".join(str(error).split())[:200]
                raise InputError(
                    f"'{name}' raises {type(error).__name__} on 2 images of 3x{image_size}x{image_size}: {reason}; "
                    "correct the network, or give another --image-size"
                ) from error
        check_logits(outputs, name, images=2, classes=classes)
    return int(outputs.shape[1])


def check_logits(outputs: object, name: str, *, images: int, classes: int) -> None:
    """Check that ``outputs`` are at least ``classes`` logits an image.

    Raises:
        InputError: ``outputs`` is no tensor, or has another shape.
    """
    if isinstance(outputs, Tensor) and outputs.ndim == 2 and len(outputs) == images and outputs.shape[1] >= classes:
        return
    returned = f"shape {tuple(outputs.shape)}" if isinstance(outputs, Tensor) else f"a {type(outputs).__name__}"
    raise InputError(
        f"'{name}' returns {returned} for {images} images: "
        f"logits of shape ({images}, K) are needed, K at least {classes}"
    )


@contextmanager
def evaluating(network: nn.Module, faults: TestFaults = _RIGHT) -> Iterator[None]:
    """Set evaluation mode but for ``faults``; afterwards restore every module's mode and every buffer."""
    modes = [(module, module.training) for module in network.modules()]
    network.train(faults.train_mode)
    buffers = []
    if faults.train_mode:  # batch norm updates its statistics in training mode
        buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    if faults.dropout:
        for module in network.modules():
            if isinstance(module, _DROPOUTS):
                module.train()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Draw dropout from ``seed``, then restore torch's global generators."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
