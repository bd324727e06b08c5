"""The table of runtimes: its routes name precisions that exist, and what is missing is said in one line."""

from __future__ import annotations

import importlib.util

import pytest

from bench.core.precisions import PRECISIONS
from bench.core.runtimes import RUNTIMES, precisions_of, why_not


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_runtime_is_named_by_its_key_and_runs_known_precisions(name: str) -> None:
    runtime = RUNTIMES[name]
    assert runtime.name == name
    assert {*runtime.classifiers, *runtime.languages} <= set(PRECISIONS)
    assert bool(runtime.classifiers) == bool(runtime.classifier_entry)


def test_what_a_runtime_does_not_run_has_its_reason() -> None:
    assert why_not("torch", "fp32", "eager", "cpu") is None
    assert "not at nf4_weights" in str(why_not("openvino", "nf4_weights", "native", "cpu"))
    assert "not eager" in str(why_not("openvino", "bf16", "eager", "cpu"))
    assert "cpu only" in str(why_not("onnxruntime", "fp32", "native", "cuda:1"))
    assert "image classifiers" in str(why_not("llama_cpp", "fp32", "native", "cpu"))
    assert precisions_of("llama_cpp", "classifiers") == ()


def test_torchs_reasons_are_those_of_its_precisions() -> None:
    assert "compiled" in str(why_not("torch", "int8_static", "eager", "cpu"))


def test_missing_packages_are_named_with_the_line_that_installs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec

    def without(*names: str) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in names else there("json"))

    without("onnx", "onnxscript")
    told = why_not("onnxruntime", "fp32", "native", "cpu")
    assert told is not None
    assert told.endswith("pip install onnx onnxscript")
    without("nncf")
    assert why_not("openvino", "bf16", "native", "cpu") is None
    assert str(why_not("openvino", "int8_static", "native", "cpu")).endswith("pip install nncf")
