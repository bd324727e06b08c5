"""A small network with a linear layer and convolutions, and orders of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import models
from bench.core.records import Case
from bench.core.workspace import Workspace
from bench.runtimes.route import Order
from models.language_files import folder_of

THREADS = 1
LANGUAGE_MODEL = "smollm2-2-layers"


@pytest.fixture(scope="session")
def network() -> nn.Module:
    torch.manual_seed(0)
    return models.classifier("cnn_small").build(10).eval()


@pytest.fixture(scope="session")
def language_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data folder whose cache has the small language model, expanded: that takes ten seconds."""
    folder = tmp_path_factory.mktemp("data")
    folder_of(models.language_model(LANGUAGE_MODEL), folder / "cache", lambda line: None)
    return folder


@pytest.fixture
def images() -> Tensor:
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def calibration() -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(2)
    return (torch.randn(16, 3, 32, 32, generator=generator) for _ in range(2))


@pytest.fixture
def order(tmp_path: Path) -> Callable[..., Order]:
    """``order(network, runtime, precision, batch_size=4, **fields of the case)``."""

    def make(network: nn.Module, runtime: str, precision: str, batch_size: int = 4, **fields: int) -> Order:
        case = Case(
            experiment="inference",
            model="cnn_small",
            dataset="random",
            image_size=32,
            device="cpu",
            threads=THREADS,
            budget="smoke",
            runtime=runtime,
            precision=precision,
            mode="native",
            batch_size=batch_size,
            **fields,
        )
        workspace = Workspace(results=tmp_path / "results", data_dir=tmp_path)
        return Order(case=case, workspace=workspace, network=network, calibration=calibration)

    return make
