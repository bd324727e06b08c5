"""The network of a case before it is converted: what it weighs and multiplies, and whether it does so twice alike.

It is built once more for this, after all that is timed of loading, so that nothing here enters a figure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from bench.core.precisions import BASELINE, Precision
from bench.measure import work
from bench.precision import weights

RANDOM = (
    "two calls on one batch differ: this network draws random numbers in evaluation (dropout that does not ask for "
    "its mode?), so that predictions of its rows differ by chance, whatever the precision"
)
COMPILES_ITSELF = "this network compiles itself by torch.compile: its eager rows are not eager"


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What is known of a network from one run of it as it was given."""

    parameters: int
    flops_per_image: int
    flops_doubtful: str | None
    """Why the FLOPs cannot be relied on; None where a trace agrees with them."""
    random: bool
    """Whether two calls on one batch differ."""
    notes: tuple[str, ...] = ()
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    """What each layer multiplies by, by its name."""
    outputs: Tensor | None = None
    """Logits for the images that were given."""
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    """Layers whose weight is read outside of their own forward, and what reads it."""

    def check(self, converted: nn.Module, precision: Precision) -> None:
        """See that ``converted`` holds this network's weights, rounded, and that nothing reads them as they were.

        Raises:
            WrongConversion: a weight is further off than rounding allows.
            Unsupported: something else than a replaced layer reads its weight.
        """
        if precision.name == BASELINE:
            return
        weights.check_readers(converted, self.elsewhere, precision)
        weights.check_conversion(converted, self.weights, precision)


def look_at(build: Callable[[], nn.Module], image_shape: tuple[int, ...], given: Tensor | None = None) -> Reference:
    """Run what ``build`` makes on two images of noise, several times, and on those that are ``given``.

    Args:
        build: makes the network with its weights, in evaluation mode and settled: the same one at every call.
        image_shape: of one image, without the batch.
    """
    flops = work.flops_of_network(build, image_shape)
    network = build()
    images = torch.rand(2, *image_shape, generator=torch.Generator().manual_seed(0))
    compiles = _frames()
    with torch.no_grad():
        first = network(images)
        differ = not _same(first, network(images))
        outputs = None if given is None else network(given)
    itself = _frames() > compiles
    notes = ((RANDOM,) if differ else ()) + ((COMPILES_ITSELF,) if itself else ())
    return Reference(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        flops_per_image=flops,
        flops_doubtful=work.disagreement(network, image_shape, flops),
        random=differ,
        notes=notes,
        weights=weights.computed_with(network, images),
        outputs=outputs,
        elsewhere=weights.read_elsewhere(network, images),
    )


def _same(first: Any, second: Any) -> bool:
    """Alike to rounding: threads may add in another order."""
    if not isinstance(first, Tensor) or not isinstance(second, Tensor):
        return True  # whoever tries the network tells what it returns
    return torch.allclose(first.float(), second.float(), rtol=1e-3, atol=1e-5, equal_nan=True)


def _frames() -> int:
    counters: Any = torch._dynamo.utils.counters
    return int(counters["frames"]["total"])
