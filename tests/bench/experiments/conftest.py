"""Workspace of an experiment that runs in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.core.workspace import Workspace


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def workspace(tmp_path: Path, data_dir: Path) -> Workspace:
    return Workspace(results=tmp_path, data_dir=data_dir)
