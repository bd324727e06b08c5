"""Routes of classifiers in every runtime but torch: right outputs, coverage of what ran, files, threads, refusals."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import models
from bench.core.errors import Unsupported
from bench.core.runtimes import RUNTIMES, why_not
from bench.experiments.subject import size_of
from bench.runtimes.route import Order, Route, preparer_of
from tests import check_fuzz

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


class Branching(nn.Module):
    """Gives other outputs for bright images: a trace of black ones keeps the branch of black ones alone."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.dark, self.bright = nn.Linear(3, 10), nn.Linear(3, 10)

    def forward(self, images: Tensor) -> Tensor:
        layer = self.bright if images.abs().sum() > 1 else self.dark
        outputs: Tensor = layer(images.mean((2, 3)))
        return outputs


class OneLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 10)


class Sized(OneLayer):
    """Divides by the number of images, which a trace keeps as it is."""

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.layer(images.amax((2, 3)) / int(images.shape[0]))
        return outputs


class Overwriting(OneLayer):
    """Writes into its own input."""

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.layer(images.mul_(2).mean((2, 3)))
        return outputs


@pytest.mark.parametrize("precision", ["fp32", "int8_static"])
@pytest.mark.parametrize("made", [Branching, Sized])
def test_an_export_that_computes_something_else_is_no_row(
    order: Callable[..., Order], made: type[nn.Module], precision: str
) -> None:
    with pytest.raises(Unsupported, match=r"computes something else than this network.* \d+\.\d% off"):
        prepared(order(made().eval(), "openvino", precision))


def test_a_network_that_writes_into_its_input_is_compared_by_copies(order: Callable[..., Order]) -> None:
    network, images = Overwriting().eval(), torch.rand(4, 3, 32, 32)
    with torch.inference_mode():
        found = prepared(order(network, "onnxruntime", "fp32")).run(images.clone()).clone()
        assert torch.allclose(found, network(images.clone()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", [0, 1])
def test_small_layers_that_openvino_fuses_wrongly_give_the_right_outputs(tmp_path: Path, seed: int) -> None:
    """Linear layers of 16 and 28 in int8 gave numbers around 1e8 where the batch was known, on AVX-512 at least."""
    if why_not("openvino", "int8_static", "native", "cpu"):
        pytest.skip("OpenVINO is not installed")
    assert check_fuzz.exported_outcome(seed, "openvino", "int8_static", tmp_path) == "right"


def test_a_file_that_gives_two_answers_is_compiled_for_batches_of_any_size(
    order: Callable[..., Order], network: nn.Module, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    if why_not("openvino", "fp32", "native", "cpu"):
        pytest.skip("OpenVINO is not installed")
    from bench.runtimes import openvino_classifiers

    monkeypatch.setattr(openvino_classifiers, "AGREEMENT", -1.0)  # as if the two were far apart
    for repeat in (0, 1):  # a later process does as the first found
        route = prepared(order(network, "openvino", "int8_static", repeat=repeat))
        assert route.flags()["runtime_any_batch"] is True
        assert route.notes[-1].startswith("compiled for batches of any size")
        with torch.inference_mode():
            assert (route.run(images) - network(images)).norm() <= 0.1 * network(images).norm()
        ran = route.ran(images, parameters=10, flops=10)
        assert ran.coverage is not None
        assert ran.coverage.quantized_flops is None
        assert "coverage FLOPs" in ran.absent


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
