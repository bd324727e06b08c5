from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from bench.core.precisions import PRECISIONS
from bench.precision.converted import Converted, Setting, converter_of

Convert = Callable[..., Converted]


@pytest.fixture
def convert() -> Convert:
    """``convert(name, network, images)``: a network at a precision on the CPU, calibrated on ``images``."""

    def convert(name: str, network: nn.Module, images: Tensor) -> Converted:
        setting = Setting(
            device=torch.device("cpu"),
            batch_size=len(images),
            image_shape=tuple(images.shape[1:]),
            calibration=lambda: iter(images.split(32)),
        )
        return converter_of(PRECISIONS[name])(network.eval(), setting)

    return convert


@pytest.fixture(autouse=True)
def _compiler_as_before() -> Iterator[None]:
    """torch's compiler forgets what a test compiled, and its switches are as before."""
    import torch._inductor.config

    yield
    torch._dynamo.reset()
    torch._inductor.config.freezing = False
