from __future__ import annotations

import pytest

from bench.data.images import ImageDataset, load_dataset


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> ImageDataset:
    return load_dataset("mnist5k", data_dir=tmp_path_factory.mktemp("data"), progress=lambda line: None)
