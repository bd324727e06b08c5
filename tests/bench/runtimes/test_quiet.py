"""Runtimes send nothing and write nothing into the home folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.core.runtimes import why_not

ROOT = Path(__file__).resolve().parents[3]
CODE = """
import socket, sys

def refuse(*_, **__):
    print("CONNECTS")
    raise OSError("no network in this test")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
import numpy, torch
from bench.runtimes import onnx_classifiers, openvino_classifiers
import nncf, onnx, onnxruntime, openvino
from openvino import opset13 as ops

images = ops.parameter([-1, 3, 8, 8], dtype=numpy.float32)
weights = numpy.ones((4, 3, 3, 3), numpy.float32)
layer = ops.convolution(images, weights, [1, 1], [0, 0], [0, 0], [1, 1])
model = openvino.Model([layer], [images])
batches = [numpy.random.rand(2, 3, 8, 8).astype(numpy.float32) for _ in range(2)]
nncf.quantize(model, nncf.Dataset(batches), subset_size=2)
openvino.convert_model(torch.nn.ReLU(), example_input=torch.zeros(2, 3))
openvino.Core().compile_model(model, "CPU")(batches[0])
value = onnx.helper.make_tensor_value_info
nodes = [onnx.helper.make_node("Relu", ["x"], ["y"])]
graph = onnx.helper.make_graph(nodes, "g", [value("x", 1, [2])], [value("y", 1, [2])])
made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=10)
onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"x": numpy.ones(2, numpy.float32)})
"""


@pytest.mark.slow
def test_nothing_is_sent_and_nothing_is_written_at_home(tmp_path: Path) -> None:
    for runtime in ("onnxruntime", "openvino"):
        reason = why_not(runtime, "int8_static", "native", "cpu")
        if reason:
            pytest.skip(reason)
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "XDG_CONFIG_HOME": str(tmp_path / "c")}
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
    command = [sys.executable, "-c", CODE]
    done = subprocess.run(
        command, cwd=ROOT, env={**environment, **home}, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "CONNECTS" not in done.stdout
    assert [str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*")] == []


def test_a_runtime_that_was_imported_too_early_is_refused() -> None:
    code = "import sys, types; sys.modules['openvino_telemetry'] = types.ModuleType('openvino_telemetry')\n"
    code += "from bench.runtimes.quiet import keep_quiet\nkeep_quiet()"
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "openvino_telemetry was imported before" in done.stderr
