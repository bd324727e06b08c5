"""Routes of classifiers in every runtime but torch: right outputs, coverage of what ran, files, threads, refusals."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import models
from bench.core.errors import Unsupported
from bench.core.runtimes import RUNTIMES, why_not
from bench.experiments.subject import size_of
from bench.runtimes.route import Order, Route, preparer_of

from .conftest import THREADS

ROUTES = [
    (runtime.name, precision)
    for runtime in RUNTIMES.values()
    for precision in runtime.classifiers
    if runtime.name != "torch"
]
COMPUTES_IN = {"fp32": "float32", "bf16": "bfloat16", "int8_static": "int8", "int8_mixed": "int8"}
BYTES = {"fp32": 4, "bf16": 2, "int8_static": 1, "int8_mixed": 1}
"""Of one weight in the model's file."""
LARGEST_ERROR = {"fp32": 1e-5, "bf16": 0.02, "int8_static": 0.1, "int8_mixed": 0.1}
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # as in a worker: exporters warn a lot


def prepared(order: Order) -> Route:
    case = order.case
    reason = why_not(case.runtime, case.precision, case.mode, case.device)
    if reason:
        pytest.skip(reason)
    try:
        return preparer_of(order.case)(order)
    except Unsupported as reason:
        if "no bfloat16 kernels" in str(reason):
            pytest.skip(str(reason))
        raise


@pytest.mark.parametrize(("runtime", "precision"), ROUTES)
def test_a_route_gives_the_networks_logits_and_tells_what_ran(
    order: Callable[..., Order], network: nn.Module, images: Tensor, runtime: str, precision: str
) -> None:
    with torch.inference_mode():
        route = prepared(order(network, runtime, precision))
        route.start()
        expected, found = network(images), route.run(images).clone()
        assert route.for_batch(3)(images[:3]).shape == (3, 10)
    assert (found - expected).norm() <= LARGEST_ERROR[precision] * expected.norm()
    parameters, flops = size_of(lambda: network, (3, 32, 32))
    ran = route.ran(images, parameters=parameters, flops=4 * flops)
    assert ran.compute == COMPUTES_IN[precision]
    if precision == "fp32":
        assert ran.coverage is None
    else:
        assert ran.coverage is not None
        assert ran.coverage.quantized_flops == ran.coverage.total_flops == 4 * flops
        weights = sum(parameter.numel() for parameter in network.parameters() if parameter.ndim > 1)
        assert weights <= ran.coverage.quantized_parameters <= parameters
    assert parameters * BYTES[precision] * 0.95 < route.weight_bytes() < parameters * BYTES[precision] * 1.3
    assert route.serialized_bytes() > route.weight_bytes()
    assert route.flags()["runtime_threads"] == THREADS


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_later_process_reads_the_files_of_the_first(
    order: Callable[..., Order], network: nn.Module, images: Tensor, runtime: str
) -> None:
    first = prepared(order(network, runtime, "fp32"))
    assert first.convert_seconds is not None

    class Untouched(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            raise AssertionError("converted again")

    again = prepared(order(Untouched(), runtime, "fp32", repeat=1))
    assert again.convert_seconds is None
    assert torch.equal(again.run(images).clone(), first.run(images).clone())
    with pytest.raises(Unsupported):
        prepared(order(Untouched(), runtime, "fp32", repeat=0))


class Spectrum(nn.Module):
    """Computes eigenvalues, for which neither runtime has an operator."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.linalg.eigvals(images[:, 0]).real[:, :10]


@pytest.mark.parametrize(("runtime", "title"), [("onnxruntime", "ONNX Runtime"), ("openvino", "OpenVINO")])
def test_an_operator_that_a_runtime_lacks_is_named(order: Callable[..., Order], runtime: str, title: str) -> None:
    with pytest.raises(Unsupported) as raised:
        prepared(order(Spectrum().eval(), runtime, "fp32"))
    reason = str(raised.value)
    assert reason.startswith(f"{title} cannot take this network (operator aten")
    assert "linalg_eig" in reason
    assert "\n" not in reason
    assert len(reason) < 400


def test_what_lacks_memory_is_no_unsupported_network(order: Callable[..., Order]) -> None:
    class Hungry(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            raise RuntimeError("std::bad_alloc")

    with pytest.raises(MemoryError):
        prepared(order(Hungry(), "openvino", "fp32"))
    assert not list((order(Hungry(), "openvino", "fp32").folder.parent).glob("*"))


def test_openvino_keeps_the_better_of_two_ways(
    order: Callable[..., Order], network: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = why_not("openvino", "int8_static", "native", "cpu")
    if reason:
        pytest.skip(reason)
    from bench.runtimes import openvino_classifiers

    preparer_of(order(network, "openvino", "int8_static").case)  # imports NNCF, its telemetry off
    quantise = sys.modules["nncf"].quantize
    torch.manual_seed(9)
    other = models.classifier("cnn_small").build(10).eval()

    def spoilt(model: Any, dataset: Any, **settings: Any) -> Any:
        if not settings["advanced_parameters"].disable_bias_correction:
            model = openvino_classifiers.openvino.convert_model(other, example_input=torch.zeros(2, 3, 32, 32))
        return quantise(model, dataset, **settings)

    monkeypatch.setattr(sys.modules["nncf"], "quantize", spoilt)
    route = prepared(order(network, "openvino", "int8_static"))
    assert isinstance(route, openvino_classifiers.OpenvinoRoute)
    assert "without bias correction" in route.notes[0]
