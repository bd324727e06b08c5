"""What a whole run of benchmark cases is started with."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.runs import NETWORKS


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
