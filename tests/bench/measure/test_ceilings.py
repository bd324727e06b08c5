"""Ceilings: the best of several samples, correct products, and the reason for a missing format."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from bench.measure import ceilings

CPU = torch.device("cpu")


def nothing() -> None:
    pass


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes the clock tell these seconds for one sample after the other."""

    def ticking(*seconds: float) -> None:
        times = iter([end for taken in seconds for end in (0.0, taken)])
        monkeypatch.setattr(ceilings.clock, "now", lambda device: next(times))

    return ticking


def test_the_fastest_sample_counts(ticking: Callable[..., None]) -> None:
    ticking(5.0, 2.0, 4.0)
    found = ceilings.summing(400, 3, CPU, nothing)
    assert found.seconds == (5.0, 2.0, 4.0)
    assert found.best == 200  # bytes a second


def test_a_copy_reads_and_writes(ticking: Callable[..., None]) -> None:
    ticking(2.0, 2.0, 2.0)
    assert ceilings.copying(400, 3, CPU, nothing).best == 400


def test_the_fastest_side_counts_and_a_long_product_is_the_last(ticking: Callable[..., None]) -> None:
    ticking(0.01, 0.01, 0.01, 0.06, 0.06, 0.06, 0.001)  # 2 x 4^3 / 0.01 = 12,800; 2 x 8^3 / 0.06 = 17,067
    found = ceilings.multiplying("bfloat16", (4, 8, 16), 3, CPU, nothing)
    assert found.work == 2 * 8**3
    assert found.best == pytest.approx(2 * 8**3 / 0.06)


def test_the_fastest_kernel_counts(ticking: Callable[..., None]) -> None:
    """Of a side: the BLAS library's, then oneDNN's."""
    assert len(ceilings.products("float32", 4, CPU)) == 2
    ticking(0.04, 0.04, 0.04, 0.01, 0.02, 0.02)
    found = ceilings.multiplying("float32", (4,), 3, CPU, nothing)
    assert found.seconds == (0.01, 0.02, 0.02)
    assert found.best == pytest.approx(2 * 4**3 / 0.01)


def test_what_does_not_fit_in_memory_is_left_out(ticking: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceilings.memory, "available_bytes", lambda device: 8**2 * ceilings.ELEMENT_BYTES)
    ticking(*(0.01,) * 6, *(0.001,) * 3)
    assert ceilings.multiplying("bfloat16", (4, 8, 16), 3, CPU, nothing).work == 2 * 8**3
    ticking(0.01, 0.01, 0.01)
    assert ceilings.multiplying("bfloat16", (16,), 3, CPU, nothing).work == 2 * 16**3  # the first is tried in any case


def test_a_watch_looks_after_every_sample() -> None:
    seen: list[int] = []
    ceilings.summing(400, 4, CPU, lambda: seen.append(1))
    assert len(seen) == 4


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16", "float8", "int8"])
def test_a_product_is_that_of_its_matrices(name: str) -> None:
    """Whole numbers below 64: exact in float32 and int8, rounded in 16 bits and in 8."""
    tolerance = {"bfloat16": 0.01, "float16": 0.01, "float8": 0.05}
    draw = torch.Generator().manual_seed(0)
    left, right = (torch.randint(0, 64, (32, 32), generator=draw, dtype=torch.int8).float() for _ in range(2))
    for step in ceilings.products(name, 32, CPU):
        found: Any = step()
        torch.testing.assert_close(found.float(), left @ right.t(), rtol=tolerance.get(name, 0.0), atol=0.0)


def test_tf32_is_absent_from_a_cpu_with_its_reason() -> None:
    assert ceilings.why_not("tf32", CPU) == "TF32 is a format of CUDA GPUs"
    assert ceilings.why_not("float8", CPU) == "float8 is a format of CUDA GPUs"
    assert ceilings.why_not("bfloat16", CPU) is None


def test_a_gpu_too_old_for_float8_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    cuda = torch.device("cuda")
    assert ceilings.why_not("float8", cuda) == "float8 needs a GPU of compute capability 8.9 or later"
    assert ceilings.why_not("tf32", cuda) is None


def test_this_machine_moves_more_than_a_disk() -> None:
    assert ceilings.copying(2**22, 3, CPU, nothing).best > 1e7
