"""What a precision really converted, from what is stored and what ran."""

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
"""Share of the FLOPs that a trace may miss, or count twice, before nothing is concluded from it."""
PADDING = "aten::_weight_int4pack_mm"
"""What torchao multiplies int4 weights with on CUDA. Its trace tells the padded widths only."""


@dataclass(frozen=True, kw_only=True)
class Ran:
    """``compute``: the number format in which most of the arithmetic ran, None where the trace does not tell."""

    coverage: Coverage | None = None
    compute: str | None = None
    absent: Mapping[str, str] = field(default_factory=dict)


def precision_of(case: Case) -> Precision:
    """The precision that ``case`` names.

    Raises:
        Unsupported: it does not run on the device of the case, or not in its mode.
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
    """Trace ``step`` once, untimed, and count.

    Args:
        parameters: of the network before it was converted.
        flops: of one step of that network.
        without: operators whose products are not counted, and are not in ``flops``.
    """
    if precision.name == "tf32":
        return Ran(compute="tf32", absent={"coverage": "a trace does not tell TF32 from float32"})
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
        reason += ": torchao pads the inputs of int4 layers to a multiple of 1024, and the zeros are multiplied too"
    return Ran(coverage=coverage, absent={"coverage FLOPs": reason})


def bits_of(precision: Precision) -> dict[str, Figure]:
    """How wide weights and activations are meant to be, as figures of a row."""
    bits = {"weight_bits": precision.weight_bits, "activation_bits": precision.activation_bits}
    return {name: Figure(value=value, unit="bit", exact=True) for name, value in bits.items()}
