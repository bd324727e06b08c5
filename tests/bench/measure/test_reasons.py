"""Named reasons come from the operators of a step, its seconds and its bytes."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch._C._autograd import DeviceType

from bench.core.runtimes import Cause, Reason
from bench.measure.reasons import Part, parts_after_first, parts_of, reason_of, timed_events

CPU = torch.device("cpu")


def part(name: str, seconds: float, *, calls: float = 1.0, on_weights: bool = False) -> Part:
    return Part(name=name, seconds=seconds, calls=calls, on_weights=on_weights)


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (part("bitsandbytes::dequantize_4bit", 4e-3, on_weights=True), "weights converted at each call"),
        (part("aten::mul", 4e-3, on_weights=True), "weights converted at each call"),
        (part("aten::_slow_conv2d_forward", 4e-3, on_weights=True), "fallback kernel"),
        (part("Convolution ref_any_f32", 4e-3), "fallback kernel"),
        (part("QuantizeLinear", 4e-3), "rounding between operators"),
        (part("DynamicQuantizeLinear", 4e-3), "rounding between operators"),
        (part("bitsandbytes::int8_vectorwise_quant", 4e-3), "rounding between operators"),
        (part("quantized_decomposed::quantize_per_tensor", 4e-3), "rounding between operators"),
        (part("aten::round", 4e-3), "rounding between operators"),
        (part("Reorder reorder_i8", 4e-3), "conversion of layout or format"),
        (part("aten::copy_", 4e-3), "conversion of layout or format"),
        (part("aten::add", 4e-3, calls=400), "too small a batch"),
    ],
)
def test_the_largest_cause_is_named_with_its_operator_and_share(found: Part, kind: Cause) -> None:
    reason = reason_of([part("aten::mkldnn_convolution", 5e-3, on_weights=True), found], 10e-3, weight_bytes=1)
    assert (reason.kind, reason.operator) == (kind, found.name)
    assert reason.share == pytest.approx(0.4)


def test_a_product_that_is_called_quantised_rounds_nothing() -> None:
    for name in ("FullyConnectedQuantizedLegacy brgemm_avx512_i8", "QLinearConv", "onednn::qconv2d_pointwise"):
        assert part(name, 1e-3).kind is None


def test_nodes_of_one_operator_count_together() -> None:
    """OpenVINO and ONNX Runtime tell each node of a graph: no single one is large."""
    nodes = [part("FullyConnected brgemm", 1e-3, on_weights=True) for _ in range(6)]
    reason = reason_of([*nodes, part("Softmax", 2e-3)], 8e-3, weight_bytes=1)
    assert (reason.kind, reason.operator, reason.share) == ("arithmetic", "FullyConnected brgemm", pytest.approx(0.75))


def test_time_outside_of_operators_is_the_hosts() -> None:
    reason = reason_of([part("aten::mm", 1e-3, calls=10)], 4e-3, weight_bytes=1)
    assert reason.kind == "host-bound"
    assert reason.share == pytest.approx(0.75)


def test_weights_read_at_the_rate_of_memory_are_the_limit() -> None:
    parts = [part("aten::addmm", 10e-3, on_weights=True)]
    bound = reason_of(parts, 10e-3, weight_bytes=80_000_000, bytes_per_second=10e9)
    assert (bound.kind, bound.operator) == ("memory-bound", "aten::addmm")
    assert bound.share == pytest.approx(0.8)
    assert reason_of(parts, 10e-3, weight_bytes=40_000_000, bytes_per_second=10e9).kind == "arithmetic"


def test_without_a_cause_the_products_are() -> None:
    reason = reason_of([part("aten::mm", 9.5e-3), part("aten::copy_", 0.5e-3)], 10e-3, weight_bytes=1)
    assert reason == Reason(kind="arithmetic", operator="aten::mm", share=0.95)


def test_a_reason_is_read_as_it_was_written() -> None:
    reason = Reason(kind="host-bound", operator="a|b", share=0.25)
    assert Reason.read(str(reason)) == Reason(kind="host-bound", operator="a/b", share=0.25)
    assert Reason.read("nothing of the kind") is None


def test_no_operators_are_refused() -> None:
    with pytest.raises(ValueError, match="without operators"):
        reason_of([], 1e-3, weight_bytes=1)


class Expanding(nn.Module):
    """Multiplies by weights that it makes of int8 at each call."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.register_buffer("stored", torch.ones(side, side, dtype=torch.int8))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        stored: torch.Tensor = self.stored
        return inputs @ (stored.float() * 0.5)


def test_operators_of_a_real_step_show_expanded_weights() -> None:
    network, inputs = Expanding(1024), torch.ones(1, 1024)
    with torch.inference_mode():
        network(inputs)
        parts = parts_of(lambda: network(inputs), CPU, [(1024, 1024)])
    expanding = sum(each.seconds for each in parts if each.kind == "weights converted at each call")
    assert expanding > 0.3 * sum(each.seconds for each in parts)
    assert {each.name for each in parts if each.on_weights} >= {"aten::mul", "aten::copy_"}
    plain = parts_of(lambda: inputs @ inputs.T, CPU, [(1024, 1024)])
    assert not [each for each in plain if each.kind == "weights converted at each call"]


def test_only_operators_after_the_first_token_are_those_of_a_step() -> None:
    left, right = torch.ones(256, 256), torch.ones(256, 256)

    def generate(at_first: Callable[[], None]) -> int:
        torch.linalg.inv(left + torch.eye(256))
        at_first()
        for _ in range(4):
            left @ right
        return 4

    parts = parts_after_first(generate, CPU, [(256, 256)])
    (product,) = (each for each in parts if each.name == "aten::mm")
    assert (product.calls, product.on_weights) == (1.0, True)
    assert not [each for each in parts if "linalg" in each.name]


def event(name: str, device: DeviceType, microseconds: float, *, annotation: bool = False) -> Any:
    return SimpleNamespace(
        name=name,
        device_type=device,
        self_device_time_total=microseconds,
        self_cpu_time_total=microseconds,
        is_user_annotation=annotation,
    )


def test_a_gpus_work_counts_once_at_its_operator_or_at_its_kernel() -> None:
    operator, kernel = event("aten::mm", DeviceType.CPU, 5.0), event("sgemm", DeviceType.CUDA, 5.0)
    replayed = event("fused_add", DeviceType.CUDA, 3.0)
    mark = event("step", DeviceType.CUDA, 9.0, annotation=True)

    def names(*events: Any) -> list[str]:
        return [one.name for one, _ in timed_events(events, on_gpu=True)]

    assert names(operator, kernel, mark) == ["aten::mm"]
    assert names(operator, kernel, replayed) == ["sgemm", "fused_add"]
    assert timed_events([operator], on_gpu=False) == [(operator, 5e-6)]
