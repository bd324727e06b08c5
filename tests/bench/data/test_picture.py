from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from bench.data.augmentation import USUAL, Augmentation
from bench.data.images import ImageDataset
from bench.data.picture import augmented_grid_png


def opened(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png))


@pytest.mark.parametrize(("image_size", "side"), [(32, 3 * 96 + 16), (64, 3 * 64 + 16)])
def test_it_is_a_png_of_nine_tiles_and_gaps(digits: ImageDataset, image_size: int, side: int) -> None:
    picture = opened(augmented_grid_png(digits, Augmentation(crop_padding=4), image_size, seed=0))
    assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (side, side))


def test_tiles_are_training_images_not_normalised(digits: ImageDataset) -> None:
    pixels = np.asarray(opened(augmented_grid_png(digits, Augmentation(normalize=USUAL), 32, seed=0)))
    known = {image.tobytes() for image in digits.train.images}
    tiles = [
        np.ascontiguousarray(pixels[4 + row * 100 : 100 + row * 100 : 3, 4 + column * 100 : 100 + column * 100 : 3])
        for row in range(3)
        for column in range(3)
    ]
    assert len({tile.tobytes() for tile in tiles}) == 9
    assert all(tile.tobytes() in known for tile in tiles)
    assert (pixels[:4] == 255).all()
    assert (pixels[100:104] == 255).all()


def test_the_seed_chooses_the_images(digits: ImageDataset) -> None:
    pictures = [augmented_grid_png(digits, Augmentation(crop_padding=4), 32, seed) for seed in (0, 0, 1)]
    assert pictures[0] == pictures[1] != pictures[2]
