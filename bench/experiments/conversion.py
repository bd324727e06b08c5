"""Coverage of a precision, counted from the tensors that are stored and the products that ran."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import nn

from bench.core.errors import Unsupported
from bench.core.experiments import LANGUAGE_EXPERIMENTS
from bench.core.precisions import BASELINE, PRECISIONS, Precision
from bench.core.records import Case, Figure
from bench.core.runtimes import Kind, why_not
from bench.measure import products
from bench.precision.converted import weights_in
from bench.runtimes.route import Ran, whats_run

PADDING = "aten::_weight_int4pack_mm"
"""Operator by which torchao multiplies int4 weights on CUDA. Its trace has the padded widths only."""


def precision_of(case: Case) -> Precision:
    """Precision that ``case`` names.

    Raises:
        Unsupported: its runtime does not run it on the device of the case, or not in its mode.
    """
    kind: Kind = "languages" if case.experiment in LANGUAGE_EXPERIMENTS else "classifiers"
    reason = why_not(case.runtime, case.precision, case.mode, case.device, kind=kind)
    if reason:
        raise Unsupported(reason)
    return PRECISIONS[case.precision]


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
    held = weights_in(network, precision.low_bits)
    found = whats_run(ran, precision, weights=held, parameters=parameters, flops=flops)
    if precision.name == BASELINE:
        unseen = found.absent.get("coverage FLOPs")
        unknown = {"compute": unseen} if unseen else {}
        return Ran(compute=found.compute, absent={"coverage": "fp32 is the baseline: nothing is converted", **unknown})
    if "coverage FLOPs" in found.absent and any(product.operator == PADDING for product in ran):
        reason = found.absent["coverage FLOPs"]
        padded = ": torchao pads the inputs of int4 layers to a multiple of 1024, and multiplies the zeros too"
        return replace(found, absent={"coverage FLOPs": reason + padded})
    return found


def bits_of(precision: Precision) -> dict[str, Figure]:
    """Nominal bits of weights and activations, as figures of a row."""
    bits = {"weight_bits": precision.weight_bits, "activation_bits": precision.activation_bits}
    return {name: Figure(value=value, unit="bit", exact=True) for name, value in bits.items()}
