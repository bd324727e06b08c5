"""Crops of two photographs that scikit-image carries: what pretrained networks are compared on where no data set fits.

The package is read, never imported: it would want dependencies that nothing here needs.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.core.errors import InputError

PHOTOGRAPHS = ("coffee", "chelsea")
"""A cup of espresso on a table, and a cat."""
WHOLE = 256 / 224
"""Shorter side of a photograph over the side of what is cut from its middle, as networks of ImageNet are judged."""
SMALLEST = 0.5
"""Side of the smallest crop over the photograph's shorter side: less holds too little of the thing."""


def crops(count: int, side: int) -> NDArray[np.uint8]:
    """Square pieces (count, side, side, 3) of the photographs, taking turns; the same ones at every call.

    The first of each is its middle, as ImageNet's networks are judged. Others have sizes and places drawn from a fixed
    seed, and half of them are mirrored.

    Raises:
        InputError: the package that carries the photographs is not installed.
    """
    draw = np.random.default_rng(0)
    pictures = [photograph(name) for name in PHOTOGRAPHS]
    pieces = np.empty((count, side, side, 3), np.uint8)
    for number in range(count):
        picture = pictures[number % len(pictures)]
        first = number < len(pictures)
        pieces[number] = middle(picture, side) if first else _drawn(picture, side, draw)
    return pieces


def photograph(name: str) -> Image.Image:
    """One photograph in colour.

    Raises:
        InputError: the package that carries it is not installed, or carries it no longer.
    """
    package = importlib.util.find_spec("skimage")
    file = Path(package.origin).parent / "data" / f"{name}.png" if package and package.origin else None
    if file is None or not file.is_file():
        raise InputError(f"the photograph {name} comes with scikit-image: pip install --no-deps scikit-image")
    with Image.open(file) as image:
        return image.convert("RGB")


def middle(picture: Image.Image, side: int) -> NDArray[np.uint8]:
    """The middle of ``picture`` resized so that its shorter side is 256 where the middle is 224 wide."""
    scale = round(side * WHOLE) / min(picture.size)
    resized = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BILINEAR)
    left, top = (resized.width - side) // 2, (resized.height - side) // 2
    return np.asarray(resized.crop((left, top, left + side, top + side)))


def _drawn(picture: Image.Image, side: int, draw: np.random.Generator) -> NDArray[np.uint8]:
    wide = round(min(picture.size) * draw.uniform(SMALLEST, 1))
    left, top = (int(draw.integers(0, whole - wide + 1)) for whole in picture.size)
    box = (left, top, left + wide, top + wide)
    piece = np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR, box=box))
    return piece[:, ::-1] if draw.integers(2) else piece
