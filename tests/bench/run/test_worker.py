"""Which kind of failure an exception is."""

from __future__ import annotations

import pytest
import torch

from bench.run.worker import kind_of

NO_ENGINE = RuntimeError("GET was unable to find an engine to execute this computation")


@pytest.mark.parametrize(
    ("free", "reserved", "allocated", "kind"),
    [(1, 90, 90, "out_of_memory"), (1, 90, 60, "error"), (50, 40, 40, "error")],
)
def test_cudnn_without_an_engine_lacks_memory_only_where_there_is_little(
    monkeypatch: pytest.MonkeyPatch, free: int, reserved: int, allocated: int, kind: str
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free, 100))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: reserved)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: allocated)
    assert kind_of(NO_ENGINE) == kind
    assert kind_of(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) == "error"
