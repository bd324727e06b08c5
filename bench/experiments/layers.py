"""Latency, memory and error of a single linear or 3x3 layer, to find the sizes from which a precision pays.

Inputs are drawn at random, since the time of a layer does not depend on them, except for outliers in LLM.int8().
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from bench.core.precisions import BASELINE
from bench.core.records import Case, Cold, Figure, Measurement
from bench.core.runtimes import REASON_KEY
from bench.core.workspace import Workspace
from bench.experiments.modes import bits_of, precision_of, prepare_mode, whats_converted
from bench.experiments.subject import size_of
from bench.experiments.timing import fewest_bytes, timed
from bench.measure import machine, memory
from bench.measure.reasons import memory_rate, parts_of, reason_of
from bench.measure.trace import traced
from bench.precision.converted import Setting, converter_of, tensors_as_stored

CALIBRATION_BATCHES = 4
CALIBRATION_BATCH = 32
OUTLIER = 8.0
"""Value of one input column for a precision that keeps large values out of int8; random inputs have none."""
NOT_OF_A_LAYER = {
    "quality": "a single layer predicts nothing",
    "serialized_bytes": "a single layer is not stored in a file",
}


def _linear(width: int) -> nn.Module:
    return nn.Linear(width, width)


def _conv3x3(width: int) -> nn.Module:
    return nn.Conv2d(width, width, kernel_size=3, padding=1)


LAYERS: dict[str, Callable[[int], nn.Module]] = {"linear": _linear, "conv3x3": _conv3x3}
"""Constructors of layers with ``width`` inputs and outputs."""


def run(case: Case, workspace: Workspace) -> Measurement:
    """Time the layer ``case.model`` of option ``width`` on ``batch_size`` inputs, and compare its output with float32.

    Raises:
        Unsupported: this machine cannot run the case's precision or mode, or the layer cannot be converted.
    """
    precision = precision_of(case)
    torch.manual_seed(case.seed)
    shape = input_shape(case)
    layer = nn.Sequential(LAYERS[case.model](shape[0])).eval()
    inputs = torch.randn(case.batch_size, *shape)
    if precision.settings.get("threshold"):
        inputs[:, 0] = OUTLIER
    with torch.inference_mode():
        expected = layer(inputs)
    parameters, flops = size_of(lambda: nn.Sequential(LAYERS[case.model](shape[0])), shape)
    expanded = [tuple(parameter.shape) for parameter in layer.parameters()]
    setting = Setting(
        device=torch.device(case.device),
        batch_size=case.batch_size,
        image_shape=shape,
        calibration=lambda: _random(shape),
    )
    converted = converter_of(precision)(layer, setting)
    network = prepare_mode(converted.network, case, workspace, may_freeze=converted.may_freeze)
    inputs = inputs.to(setting.device, converted.input_dtype)

    def step() -> Tensor:
        output: Tensor = network(inputs)
        return output

    with torch.inference_mode():
        times = timed(step, case, throughput=False, turns=workspace.turns)
        ran = whats_converted(step, precision, converted.network, parameters=parameters, flops=flops * case.batch_size)
        shapes = [*expanded, *(tuple(tensor.shape) for tensor in tensors_as_stored(converted.network))]
        parts = parts_of(step, setting.device, shapes)
    weights = memory.bytes_of(tensors_as_stored(converted.network))
    rate = memory_rate(setting.device)
    reason = reason_of(parts, times.typical, weight_bytes=weights, bytes_per_second=rate) if parts else None
    measurement = Measurement(
        case=case,
        seconds=times.latencies.seconds,
        device_seconds=times.latencies.device_seconds,
        items_per_step=case.batch_size,
        cold=Cold(first_step=times.first_seconds),
        weight_bytes=weights,
        peaks=times.peaks,
        coverage=ran.coverage,
        flags={**machine.current_flags(), "library": precision.library, "compute": ran.compute},
        device_state=tuple(times.watch.states),
        figures={
            **times.figures(case.batch_size),
            "bytes_per_step": fewest_bytes(weights, inputs, times.output),
            "flops_per_input": Figure(value=flops, unit="FLOP", exact=True),
            **bits_of(precision),
            **_error(times.output, expected, case),
        },
        texts={REASON_KEY: str(reason)} if reason else {},
        absent={**ran.absent, **times.absent(setting.device), **NOT_OF_A_LAYER},
    )
    with torch.inference_mode():
        return traced(measurement, workspace, step)


def input_shape(case: Case) -> tuple[int, ...]:
    """Shape of one input: features of a linear layer; channels, height and width of a convolution."""
    width = int(case.option("width") or 0)
    return (width,) if case.model == "linear" else (width, case.image_size, case.image_size)


def _random(shape: tuple[int, ...]) -> Iterator[Tensor]:
    return (torch.randn(CALIBRATION_BATCH, *shape) for _ in range(CALIBRATION_BATCHES))


def _error(output: Tensor, expected: Tensor, case: Case) -> dict[str, Figure]:
    """Distance from float32's output, relative to that output (Frobenius norms); empty for float32 itself."""
    if case.precision == BASELINE:
        return {}
    distance = (output.float().cpu() - expected).norm() / expected.norm()
    return {"relative_error": Figure(value=float(distance), unit="1", better="lower")}
