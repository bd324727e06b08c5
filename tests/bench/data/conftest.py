from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.data.images import ImageDataset, load_dataset

FolderMaker = Callable[..., Path]


@pytest.fixture
def make_folder(tmp_path: Path) -> FolderMaker:
    """Writes a data folder of noise: ``per_class`` images a class for training, two for testing, sizes taking turns."""

    def make(
        classes: Sequence[str] = ("cat", "dog"),
        per_class: int = 5,
        sizes: Sequence[tuple[int, int]] = ((32, 32),),
        name: str = "pets",
    ) -> Path:
        noise = np.random.default_rng(3)
        for part, count in (("train", per_class), ("test", 2)):
            for label, class_name in enumerate(classes):
                folder = tmp_path / name / part / class_name
                folder.mkdir(parents=True)
                for number in range(count):
                    width, height = sizes[(number + label) % len(sizes)]
                    pixels = noise.integers(0, 256, (height, width, 3), np.uint8)
                    Image.fromarray(pixels).save(folder / f"{number:03}.png")
        return tmp_path / name

    return make


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> ImageDataset:
    return load_dataset("mnist5k", data_dir=tmp_path_factory.mktemp("data"), progress=lambda line: None)
