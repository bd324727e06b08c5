"""Interface between the measurement of a classifier's route and the runtime that prepares it."""

from __future__ import annotations

import errno
import importlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bench.core.errors import Unsupported
from bench.core.precisions import PRECISIONS, Precision
from bench.core.quality import MOST_DROP, Margins
from bench.core.records import Case, Coverage, Figure, Scalar
from bench.core.runtimes import RUNTIMES
from bench.core.workspace import Workspace
from bench.measure.memory import Held, anonymous_growth, resident_bytes_of
from bench.measure.products import Product, flops_in, main_format
from bench.measure.reasons import Part

TOLERANCE = 0.01
"""Largest share of the FLOPs that a trace may miss or count twice; beyond it no conclusion is drawn."""
OPERATOR = re.compile(r"aten[.:]{1,2}\w+|prims?[.:]{1,2}\w+|(?<=implementation for )\w+")
"""Names of operators in the messages of exporters and of ONNX Runtime."""
LACKS_MEMORY = ("bad_alloc", "out of memory", "can't allocate memory", "Failed to allocate memory")

CORRECTION = "bias_correction"
"""Option of a case: True or False where NNCF's correction of biases is not to be chosen by what is closer."""
FULL_BYTES = 1_000_000
"""Fewer free bytes than that after a conversion failed: the disk is full. OpenVINO calls that an iostream error."""

Run = Callable[[Tensor], Tensor]
"""Takes images (N, 3, side, side) to logits (N, classes), for one batch size N."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """A network to prepare for its route."""

    case: Case
    workspace: Workspace
    network: nn.Module
    """float32, on the CPU, in evaluation mode, with its weights."""
    calibration: Callable[[], Iterator[Tensor]]
    """Batches of training images as the network takes them, for scales of activations."""
    held_out: Callable[[], Iterator[Tensor]]
    """Batches of further training images, which judge mixed precision."""
    held_out_labels: Callable[[], npt.NDArray[np.int64] | None] = lambda: None
    """Right outputs for them, in their order; None if nobody knows them."""

    @property
    def precision(self) -> Precision:
        return PRECISIONS[self.case.precision]

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of one input, without the batch."""
        return (3, self.case.image_size, self.case.image_size)

    @property
    def folder(self) -> Path:
        """Folder of the runtime's files of this route."""
        return self.workspace.results / "converted" / self.case.row

    @property
    def most_drop(self) -> float:
        """Accuracy on held-out images that mixed precision may lose."""
        named = self.case.option(MOST_DROP)
        return Margins().accuracy if named is None else float(named)

    @property
    def fresh(self) -> bool:
        """True if it converts even if the files exist, since figures of the first process are cold."""
        return self.case.repeat == 0 and self.workspace.set_number == 0


@dataclass(frozen=True, kw_only=True)
class Ran:
    """Coverage and arithmetic of one step; ``compute`` is the number format of most FLOPs, None if unknown."""

    coverage: Coverage | None = None
    compute: str | None = None
    absent: Mapping[str, str] = field(default_factory=dict)


class Route(Protocol):
    """A network at one precision in one runtime."""

    input_dtype: torch.dtype
    notes: tuple[str, ...]
    convert_seconds: float | None
    """Seconds of exporting, converting and quantising; None if nothing is converted, or files of an earlier process are
    read."""
    compile_seconds: float | None
    """Seconds from the model's files to a network that is ready for its batch size; None if that is part of the first
    call, or nothing is compiled."""

    def start(self) -> None:
        """Do the work before the first call that is no part of loading or converting."""

    def run(self, images: Tensor) -> Tensor:
        """Logits of a batch of the ordered size. The next call may overwrite them."""

    def for_batch(self, size: int) -> Run:
        """The same network for batches of ``size`` images."""

    def ran(self, images: Tensor, *, parameters: int, flops: int) -> Ran:
        """Coverage and arithmetic of one untimed call.

        Args:
            parameters: of the network before it was converted.
            flops: of one call of that network.
        """

    def parts(self, images: Tensor) -> list[Part]:
        """Operators of one call with their seconds, from a few calls that are not timed. Empty: nothing tells them."""

    def weight_bytes(self) -> int:
        """Bytes of the weights as stored, scales and all."""

    def serialized_bytes(self) -> int:
        """Bytes of the file or files that hold the model."""

    def flags(self) -> dict[str, Scalar]:
        """Settings of the runtime that shape numbers, as it tells them."""

    def figures(self) -> dict[str, Figure]:
        """Quantities particular to the runtime, after the first call."""

    def texts(self) -> dict[str, str]:
        """Words for the row: layers of mixed precision. Empty: none."""


PREPARED_CALLS = 3
"""Calls after which a runtime has laid out its buffers."""
MAPPED_FILES = (".bin", ".gguf", ".onnx", ".onnx.data")
"""Ends of the names of files that runtimes map weights from."""


def held_of_files(case: Case, workspace: Workspace) -> Held:
    """Memory that a process takes for the files of a route, which are there: reads them, and runs batches of noise.

    For a process that did nothing yet: ``bench.measure.memory.apart``.
    """
    prepare = preparer_of(case)
    order = Order(
        case=case,
        workspace=replace(workspace, set_number=1),  # files are read, not made anew
        network=nn.Identity(),
        calibration=lambda: iter(()),
        held_out=lambda: iter(()),
    )
    images = torch.rand(case.batch_size, *order.image_shape)
    with anonymous_growth() as held, torch.inference_mode():
        route = prepare(order)
        route.start()
        for _ in range(PREPARED_CALLS):
            route.run(images)
    return Held(most=held.most, last=held.last + resident_bytes_of(MAPPED_FILES))


Prepare = Callable[[Order], Route]
"""Function that prepares the route of a network. It raises ``Unsupported`` if the runtime does not take it."""


def preparer_of(case: Case) -> Prepare:
    """Preparer of a classifier for the route of ``case``. Libraries are imported here, so that imports are not timed.

    Raises:
        Unsupported: the runtime takes no classifiers.
    """
    runtime = RUNTIMES[case.runtime]
    if runtime.classifier_entry is None:
        raise Unsupported(f"{runtime.title} does not run image classifiers here")
    module, _, function = runtime.classifier_entry.partition(":")
    preparer: Callable[[Precision], Prepare] = getattr(importlib.import_module(module), function)
    return preparer(PRECISIONS[case.precision])


def whats_run(ran: Sequence[Product], precision: Precision, *, weights: int, parameters: int, flops: int) -> Ran:
    """Coverage of a step from its products.

    Args:
        ran: convolutions and matrix products of the step.
        weights: parameters stored in as few bits as ``precision`` means.
        parameters: of the network before it was converted.
        flops: of one step of that network.
    """
    seen = sum(product.flops for product in ran)
    accounted = abs(seen - flops) <= TOLERANCE * flops
    coverage = Coverage(
        quantized_parameters=min(weights, parameters),
        total_parameters=parameters,
        quantized_flops=flops_in(ran, precision.low_bits) if accounted else None,
        total_flops=seen if accounted else flops,
    )
    if accounted:
        return Ran(coverage=coverage, compute=main_format(ran))
    share = f"{seen / flops:.1%}" if flops else "none"
    reason = f"operators in the trace account for {share} of the network's FLOPs"
    return Ran(coverage=coverage, absent={"coverage FLOPs": reason})


@contextmanager
def faults_named(title: str) -> Iterator[None]:
    """Turn a runtime's exceptions into one line with the operator's name.

    Raises:
        Unsupported: the runtime does not take the network.
        MemoryError: it lacks memory.
        OSError: the disk does not take its files.
    """
    try:
        yield
    except (MemoryError, OSError, Unsupported):
        raise
    except Exception as error:
        text = " ".join(_messages(error))
        if any(sign in text for sign in LACKS_MEMORY):
            raise MemoryError(f"{title}: {text[:200]}") from error
        operators = list(dict.fromkeys(OPERATOR.findall(text)))
        name = f"operator {', '.join(operators[:3])}; " if operators else ""
        reason = " ".join(str(error).split())[:200]
        raise Unsupported(f"{title} cannot take this network ({name}{type(error).__name__}: {reason})") from error


def _messages(error: BaseException) -> Iterator[str]:
    """Text of an exception and of its causes."""
    seen: BaseException | None = error
    while seen is not None:
        yield " ".join(str(seen).split())
        seen = seen.__cause__ or seen.__context__


def converted_into(folder: Path, *, fresh: bool, convert: Callable[[Path], None]) -> bool:
    """Have the files of a route in ``folder``: ``convert`` writes them, unless an earlier process did.

    They get their place whole or not at all, so that a process that was killed leaves none behind.

    Returns:
        whether they were written now.

    Raises:
        OSError: the disk is full, also where the runtime says something else of it.
    """
    if folder.is_dir() and not fresh:
        return False
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        convert(partial)
    except BaseException as error:
        full = shutil.disk_usage(partial).free < FULL_BYTES
        shutil.rmtree(partial, ignore_errors=True)
        if full and isinstance(error, Exception) and not isinstance(error, OSError):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(partial)) from error
        raise
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return True
