"""The table of precisions, and why one cannot run."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import pytest

from bench.core.precisions import BASELINE, CLASSIFIER_PRECISIONS, LANGUAGE_PRECISIONS, PRECISIONS, why_not
from bench.core.runtimes import RUNTIMES

HERE = [name for name, precision in PRECISIONS.items() if "cpu" in precision.devices and precision.modes]
"""Precisions of torch. Those without a mode belong to other runtimes."""


def test_names_agree_with_the_table() -> None:
    assert all(name == precision.name for name, precision in PRECISIONS.items())
    others = {name for runtime in RUNTIMES.values() for name in (*runtime.classifiers, *runtime.languages)}
    assert {*CLASSIFIER_PRECISIONS, *LANGUAGE_PRECISIONS, *others} == set(PRECISIONS)
    assert {name for name, precision in PRECISIONS.items() if not precision.modes} <= others
    assert PRECISIONS[BASELINE].weight_bits == 32


@pytest.mark.parametrize("name", PRECISIONS)
def test_each_names_functions_that_are_there(name: str) -> None:
    for reference in filter(None, (PRECISIONS[name].convert, PRECISIONS[name].load)):
        module, _, function = reference.partition(":")
        assert callable(getattr(importlib.import_module(f"bench.precision.{module}"), function))


@pytest.mark.parametrize("name", HERE)
def test_what_runs_on_a_cpu_runs_there_in_one_mode_at_least(name: str) -> None:
    precision = PRECISIONS[name]
    assert {why_not(precision, "cpu", mode) for mode in ("eager", "compiled")} >= {None}


@pytest.mark.parametrize(
    ("name", "device", "mode", "reason"),
    [
        ("tf32", "cpu", "eager", "tf32 runs on cuda only"),
        ("fp16", "cpu", "compiled", "fp16 runs on cuda only"),
        ("fp8_dynamic", "cpu", "eager", "fp8_dynamic runs on cuda only"),
        (
            "int8_dynamic",
            "cuda:0",
            "eager",
            "run eagerly on CUDA, torchao formats the operands of each int8 product as text",
        ),
        ("bf16", "cpu", "reduce-overhead", "mode reduce-overhead replays CUDA graphs: it runs on cuda only"),
        ("int8_static", "cuda", "max-autotune", "no kept route to int8 convolutions on CUDA is used"),
        ("int8_static", "cpu", "eager", "static int8 runs in int8 only when it is compiled"),
        ("int8_static", "cuda:1", "compiled", "no kept route to int8 convolutions on CUDA is used"),
    ],
)
def test_what_cannot_run_says_why(name: str, device: str, mode: str, reason: str) -> None:
    found = why_not(PRECISIONS[name], device, mode)
    assert found is not None
    assert found.startswith(reason)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str, *rest: Any) -> None:
        return None

    monkeypatch.setattr(importlib.util, "find_spec", find)
    assert "needs the package bitsandbytes" in str(why_not(PRECISIONS["nf4"], "cpu", "eager"))


def test_half_precision_counts_from_sixteen_bits_down() -> None:
    bits = {name: PRECISIONS[name].low_bits for name in ("bf16", "bf16_autocast", "int8_static", "nf4_weights")}
    assert bits == {"bf16": 16, "bf16_autocast": 16, "int8_static": 8, "nf4_weights": 8}


@pytest.mark.parametrize(
    ("name", "device", "mode"),
    [("int8_dynamic", "cuda", "compiled"), ("bf16", "cuda:1", "max-autotune"), ("int8_packed", "cuda", "eager")],
)
def test_what_runs_on_cuda_has_no_reason(name: str, device: str, mode: str) -> None:
    assert why_not(PRECISIONS[name], device, mode) is None
