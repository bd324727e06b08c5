"""Coverage of a precision, counted from the tensors that are stored and the products that ran."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn

from bench.core.errors import Unsupported
from bench.core.precisions import BASELINE, PRECISIONS, Precision, why_not
from bench.core.records import Case, Coverage, Figure
from bench.measure import products
from bench.precision.converted import weights_in

TOLERANCE = 0.01
"""Largest share of the FLOPs that a trace may miss or count twice; beyond it no conclusion is drawn."""
PADDING = "aten::_weight_int4pack_mm"
"""Operator by which torchao multiplies int4 weights on CUDA. Its trace has the padded widths only."""


@dataclass(frozen=True, kw_only=True)
class Ran:
    """Coverage and arithmetic of one step; ``compute`` is the number format of most FLOPs, None if unknown."""

    coverage: Coverage | None = None
    compute: str | None = None
    absent: Mapping[str, str] = field(default_factory=dict)


def precision_of(case: Case) -> Precision:
    """Precision that ``case`` names.

    Raises:
        Unsupported: it does not run on the device or in the mode of the case.
    """
    precision = PRECISIONS[case.precision]
    reason = why_not(precision, case.device, case.mode)
    if reason:
        raise Unsupported(reason)
    return precision


def whats_converted(
    step: Callable[[], object],
    precision: Precision,
    network: nn.Module,
    *,
    parameters: int,
    flops: int,
    without: Sequence[str] = (),
) -> Ran:
    """Trace ``step`` once, untimed, and count the converted parameters and FLOPs.

    Args:
        parameters: number of parameters of the network before conversion.
        flops: FLOPs of one step of that network.
        without: operators whose products are not counted, neither here nor in ``flops``.
    """
    if precision.name == "tf32":
        return Ran(compute="tf32", absent={"coverage": "a trace does not distinguish TF32 from float32"})
    device = next((parameter.device.type for parameter in network.parameters()), "cpu")
    ran = [product for product in products.products_of(step, device) if product.operator not in without]
    seen = sum(product.flops for product in ran)
    accounted = abs(seen - flops) <= TOLERANCE * flops
    share = f"{seen / flops:.1%}" if flops else "none"
    reason = f"the operators that the trace names did {share} of the network's FLOPs"
    if precision.name == BASELINE:
        unknown = {} if accounted else {"compute": reason}
        absent = {"coverage": "fp32 is the baseline: nothing is converted", **unknown}
        return Ran(compute=products.main_format(ran) if accounted else None, absent=absent)
    coverage = Coverage(
        quantized_parameters=weights_in(network, precision.low_bits),
        total_parameters=parameters,
        quantized_flops=products.flops_in(ran, precision.low_bits) if accounted else None,
        total_flops=seen if accounted else flops,
    )
    if accounted:
        return Ran(coverage=coverage, compute=products.main_format(ran))
    if seen > flops and any(product.operator == PADDING for product in ran):
        reason += ": torchao pads the inputs of int4 layers to a multiple of 1024, and multiplies the zeros too"
    return Ran(coverage=coverage, absent={"coverage FLOPs": reason})


def bits_of(precision: Precision) -> dict[str, Figure]:
    """Nominal bits of weights and activations, as figures of a row."""
    bits = {"weight_bits": precision.weight_bits, "activation_bits": precision.activation_bits}
    return {name: Figure(value=value, unit="bit", exact=True) for name, value in bits.items()}
