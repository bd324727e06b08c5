"""The survey of the machine, and the flags that shape a number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bench.core.errors import InputError
from bench.core.records import from_json, to_json
from bench.measure import machine
from bench.measure.state import Watch


def test_survey_of_the_cpu() -> None:
    found = machine.survey("cpu")
    assert (
        found.versions["torch"] == torch.__version__.partition("+")[0] or found.versions["torch"] == torch.__version__
    )
    assert {"onnxruntime", "openvino", "nncf", "openvino-genai", "xllamacpp"} <= found.versions.keys()
    assert found.cores >= 1
    assert found.cuda is None
    assert from_json(machine.Machine, to_json(found)) == found


def test_the_compiler_is_the_one_that_compiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / "c++"
    compiler.write_text("#!/bin/sh\necho 'c++ (made up) 1.2.3'\necho more\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    assert machine.survey("cpu").versions["C++ compiler"] == "c++ (made up) 1.2.3"
    compiler.write_text("#!/bin/sh\nexit 1\n")
    assert "C++ compiler" not in machine.survey("cpu").versions
    monkeypatch.setenv("CXX", str(tmp_path / "nowhere"))
    assert "C++ compiler" not in machine.survey("cpu").versions


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU")
def test_cuda_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match="no usable CUDA GPU; use --device cpu"):
        machine.survey("cuda")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
def test_survey_of_a_gpu() -> None:
    found = machine.survey("cuda")
    assert found.device_memory_bytes
    assert found.driver
    assert found.versions["cuDNN"] == str(torch.backends.cudnn.version())
    assert found.capability == ".".join(map(str, torch.cuda.get_device_capability()))


def test_fp32_means_tf32_off() -> None:
    torch.backends.cudnn.allow_tf32 = True
    machine.set_flags(threads=1, device="cpu")
    now = machine.current_flags()
    assert (now["cudnn_tf32"], now["matmul_tf32"], now["threads"]) == (False, False, 1)
    assert now["float32_matmul_precision"] == "highest"


def test_what_is_chosen_behind_torch_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in machine.ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    assert machine.current_flags()["environment"] is None
    monkeypatch.setenv("LD_PRELOAD", "libjemalloc.so")
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    monkeypatch.setenv("HOME", "/anywhere")
    assert machine.current_flags()["environment"] == "ATEN_CPU_CAPABILITY=avx2 LD_PRELOAD=libjemalloc.so"


def test_the_device_is_read_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(torch.device("cpu"))
    for _ in range(100):
        watch()
    assert len(watch.states) == 1  # all within one interval
    assert watch.states[0].at < 0.2


def test_both_switches_of_tf32_say_the_same() -> None:
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    newer: list[Any] = [cudnn, cudnn.conv, cudnn.rnn, matmul] if hasattr(cudnn, "conv") else []
    for on in (True, False, True, False):
        machine.set_tf32(on=on)
        assert (matmul.allow_tf32, cudnn.allow_tf32) == (on, on)
        assert {one.fp32_precision for one in newer} <= {"tf32" if on else "ieee"}


def test_the_reference_of_a_tf32_row_is_computed_without_it() -> None:
    machine.set_tf32(on=True)
    try:
        with machine.tf32_off():
            assert not torch.backends.cudnn.allow_tf32
        assert torch.backends.cudnn.allow_tf32
    finally:
        machine.set_tf32(on=False)
