"""What a whole run of benchmark cases is started with."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.runs import NETWORKS

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


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def networks(tmp_path: Path) -> Path:
    file = tmp_path / "networks.py"
    file.write_text(NETWORKS)
    return file


@pytest.fixture
def command(tmp_path: Path, data_dir: Path) -> Any:
    def command(*options: str, cases: str = "bench") -> list[str]:
        default = ["--budget", "smoke", "--device", "cpu", "--threads", "1", "--data-dir", str(data_dir)]
        results = ["--benchmark-json", str(tmp_path / "results" / "run.json"), "-p", "no:cacheprovider"]
        given = [] if "--dataset" in options else ["--dataset", "mnist5k"]
        return [sys.executable, "-m", "pytest", cases, *default, *given, *results, *options]

    return command
