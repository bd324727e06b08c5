"""The route of a classifier in torch itself: converted by ``bench.precision``, eager or compiled by torch.compile."""

from __future__ import annotations

import time

import torch
from torch import Tensor, nn

from bench.core.precisions import BASELINE, Precision
from bench.core.records import Figure, Scalar
from bench.experiments.conversion import whats_converted
from bench.experiments.modes import compiled, graph_breaks, prepare_mode
from bench.measure import memory
from bench.measure.clock import synchronize
from bench.precision.converted import Converted, Setting, converter_of, tensors_as_stored
from bench.runtimes.route import Order, Prepare, Ran, Run


def preparer(precision: Precision) -> Prepare:
    """What brings a network to ``precision`` and its device.

    It raises ``Unsupported`` where the network cannot be converted, or this machine cannot run the result.
    """
    convert = converter_of(precision)

    def prepare(order: Order) -> TorchRoute:
        device = torch.device(order.case.device)
        setting = Setting(
            device=device,
            batch_size=order.case.batch_size,
            image_shape=order.image_shape,
            calibration=order.calibration,
        )
        begin = time.perf_counter()
        converted = convert(order.network, setting)
        synchronize(device)
        as_it_is = precision.name == BASELINE  # then it was moved to its device, which is a part of loading
        return TorchRoute(order, converted, None if as_it_is else time.perf_counter() - begin)

    return prepare


class TorchRoute:
    """A module, as the mode of its case runs it."""

    notes: tuple[str, ...] = ()
    compile_seconds: float | None = None

    def __init__(self, order: Order, converted: Converted, convert_seconds: float | None) -> None:
        self.convert_seconds = convert_seconds
        self.input_dtype = converted.input_dtype
        self._order = order
        self._converted = converted
        self._network: nn.Module = converted.network

    def start(self) -> None:
        """Have the compiler ready, where the mode asks for it.

        Raises:
            Unsupported: nothing can be compiled here.
        """
        order, converted = self._order, self._converted
        self._network = prepare_mode(converted.network, order.case, order.workspace, may_freeze=converted.may_freeze)

    def run(self, images: Tensor) -> Tensor:
        logits: Tensor = self._network(images)
        return logits

    def for_batch(self, size: int) -> Run:
        """Compiled once more for another size, since each shape is compiled for itself."""
        case = self._order.case
        if case.mode == "eager" or size == case.batch_size:
            return self.run
        return compiled(self._converted.network)

    def ran(self, images: Tensor, *, parameters: int, flops: int) -> Ran:
        return whats_converted(
            lambda: self.run(images),
            self._order.precision,
            self._converted.network,
            parameters=parameters,
            flops=flops,
        )

    def weight_bytes(self) -> int:
        return memory.bytes_of(tensors_as_stored(self._converted.network))

    def serialized_bytes(self) -> int:
        return memory.serialized_bytes(self._converted.network)

    def flags(self) -> dict[str, Scalar]:
        """The library of its precision: torch's own settings stand in every row."""
        return {"library": self._order.precision.library}

    def figures(self) -> dict[str, Figure]:
        if self._order.case.mode == "eager":
            return {}
        return {"graph_breaks": Figure(value=graph_breaks(), unit="breaks", better="lower", exact=True)}
