"""Nine augmented training images in one picture, as note 2 shows them."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
from PIL import Image

from bench.data.augmentation import Augmentation
from bench.data.images import ImageDataset
from bench.data.pipelines import loader_for_epoch

SIDE = 3
GAP = 4
TILE = 96
"""A tile is enlarged by the whole number that comes nearest to this many pixels from below."""


def augmented_grid_png(dataset: ImageDataset, augmentation: Augmentation, image_size: int, seed: int) -> bytes:
    """A PNG of 3x3 tiles with white gaps: the first nine images of a shuffled epoch, augmented, not normalised.

    A tile of 32 pixels is drawn three times as large, so the picture is 3 * 96 + 4 * 4 = 304 pixels wide and high.
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
