"""Summary of a network: its size in a row, its layers in a table."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.factory import ModelError, reason
from models.spec import ClassifierSpec

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Size:
    """Size of one network, and the cost of one image in it."""

    parameters: int
    multiply_adds: int
    """Multiply-adds of convolutions and matrix products, for one image."""
    weight_bytes: int
    """Parameters and buffers as they are stored."""


def size_of(spec: ClassifierSpec, classes: int = 10) -> Size:
    """Builds the network and runs one image of its size through it.

    Raises:
        ModelError: it cannot be built, or an image of that size does not pass.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    # On the meta device nothing is computed; a user's network may read its own values, which that device has none of.
    device = torch.device("cpu" if spec.group == "user" else "meta")
    with device:
        network = spec.untrained(classes).eval()
        image = torch.zeros(1, 3, spec.image_size, spec.image_size)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        try:
            network(image)
        except Exception as error:
            raise _does_not_pass(spec, error) from error
    tensors = [*network.parameters(), *network.buffers()]
    return Size(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        multiply_adds=counter.get_total_flops() // 2,
        weight_bytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors),
    )


def overview(specs: Iterable[ClassifierSpec], classes: int = 10) -> str:
    """A line for each network. Decimal units: 1 M = 10^6, 1 MB = 10^6 bytes."""
    header = ("name", "from", "image size", "outputs", "parameters", "multiply-adds (M)", "weights (MB)")
    rows = [header, *(_row(spec, classes) for spec in specs)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = [[cell.rjust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    return "\n".join("  ".join([row[0].strip().ljust(widths[0]), *row[1:]]) for row in aligned)


def layer_table(spec: ClassifierSpec, classes: int = 10) -> str:
    """Each layer with its shapes, parameters and multiply-adds for one image (torchinfo), and the totals.

    Raises:
        ModelError: the network cannot be built, or an image of its size does not pass.
    """
    import torchinfo

    network: nn.Module = spec.untrained(classes)
    try:
        table = torchinfo.summary(
            network,
            input_size=(1, 3, spec.image_size, spec.image_size),
            device="cpu",
            depth=10,
            col_width=18,
            col_names=("input_size", "output_size", "kernel_size", "num_params", "mult_adds"),
            row_settings=("var_names",),
            verbose=0,
        )
    except Exception as error:
        raise _does_not_pass(spec, error.__cause__ or error) from error
    # torchinfo 1.8 means to print "(M)" here, and prints "(Units.MEGABYTES)" from Python 3.11 on.
    return re.sub(r"\(Units\.(\w)\w*\)", r"(\1)", str(table))


def _row(spec: ClassifierSpec, classes: int) -> tuple[str, ...]:
    size = size_of(spec, classes)
    origin = ", ".join(f"note {number}" for number in spec.notes) or "user"
    return (
        spec.name,
        origin if spec.group == "notes" else spec.group,
        f"{spec.image_size}x{spec.image_size}",
        str(spec.outputs(classes)),
        f"{size.parameters:,}",
        f"{size.multiply_adds / 1e6:,.1f}",
        f"{size.weight_bytes / 1e6:,.2f}",
    )


def _does_not_pass(spec: ClassifierSpec, error: BaseException) -> ModelError:
    return ModelError(f"{spec.name}: an image of 3x{spec.image_size}x{spec.image_size} does not pass: {reason(error)}")
