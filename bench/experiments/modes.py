"""Routes of torch itself: a network is converted, then runs eager or compiled into a cache folder of its own."""

from __future__ import annotations

import os
import shutil
import sysconfig
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.core.errors import Unsupported
from bench.core.precisions import BASELINE, Precision
from bench.core.records import Case, Figure, Scalar
from bench.core.workspace import Workspace
from bench.experiments.conversion import whats_converted
from bench.measure import memory
from bench.measure.clock import synchronize
from bench.measure.reasons import Part, parts_of
from bench.precision.converted import Converted, Setting, converter_of, tensors_as_stored
from bench.runtimes.route import Order, Prepare, Ran, Run


def preparer(precision: Precision) -> Prepare:
    """Function that brings a network to ``precision`` and its device.

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
        weights = tuple(tuple(parameter.shape) for parameter in order.network.parameters())
        begin = time.perf_counter()
        converted = convert(order.network, setting)
        synchronize(device)
        as_it_is = precision.name == BASELINE  # then it was moved to its device, which is a part of loading
        return TorchRoute(order, converted, None if as_it_is else time.perf_counter() - begin, weights)

    return prepare


class TorchRoute:
    """A module, as the mode of its case runs it."""

    notes: tuple[str, ...] = ()
    compile_seconds: float | None = None

    def __init__(
        self,
        order: Order,
        converted: Converted,
        convert_seconds: float | None,
        weights: tuple[tuple[int, ...], ...],
    ) -> None:
        self.convert_seconds = convert_seconds
        self.input_dtype = converted.input_dtype
        self._order = order
        self._converted = converted
        self._network: nn.Module = converted.network
        self._weights = weights

    @property
    def network(self) -> nn.Module:
        """The converted network, whatever mode runs it."""
        return self._converted.network

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

    def parts(self, images: Tensor) -> list[Part]:
        return parts_of(lambda: self.run(images), torch.device(self._order.case.device), self._weights)

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


def prepare_mode(network: nn.Module, case: Case, workspace: Workspace, *, may_freeze: bool) -> nn.Module:
    """``network`` in the mode of ``case``. A compiled one is compiled at its first call, for one input shape.

    Repeat 0 of set 0 compiles into an empty cache folder, so that its cold figures are cold; later repeats and sets
    reuse that folder.
    On a CPU, weights are frozen if they may be: without that, Inductor neither lays them out for oneDNN beforehand nor
    finds the int8 kernels. Every precision that allows freezing has it, so that rows differ in precision alone.

    Raises:
        Unsupported: nothing can be compiled here.
    """
    if case.mode == "eager":
        return network
    prepare_compiler(case, workspace, may_freeze=may_freeze)
    return compiled(network)


def prepare_compiler(case: Case, workspace: Workspace, *, may_freeze: bool) -> None:
    """Point the compiler at the cache folder of ``case``, empty for repeat 0 of set 0.

    Raises:
        Unsupported: nothing can be compiled here.
    """
    reason = why_not_compiled(case.device)
    if reason:
        raise Unsupported(reason)
    cache = workspace.results / "compiled" / case.row
    if (case.repeat == 0 and workspace.set_number == 0) or not cache.is_dir():
        _empty_cache(cache, cache.parent / "instructions")
    _use_cache(cache)
    torch._inductor.config.freezing = may_freeze and case.device == "cpu"


def compiled(network: nn.Module) -> nn.Module:
    """``network`` under ``torch.compile``, each input shape compiled for itself."""
    torch._dynamo.reset()
    return torch.compile(network, dynamic=False)  # type: ignore[return-value]  # a Module where a Module is given


def why_not_compiled(device: str) -> str | None:
    """Reason why ``torch.compile`` cannot build kernels for ``device`` here; None if it can."""
    import torch._inductor.compile_fx  # noqa: F401  (seconds of import, which are not part of compiling a network)
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler
    from torch.utils._triton import has_triton

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return "mode compiled needs a C++ compiler (g++ or clang++), and none was found"
    if device != "cpu" and not has_triton():
        return "mode compiled needs Triton and a GPU of compute capability 7.0 or later on CUDA"
    headers = Path(sysconfig.get_path("include"))
    if not (headers / "Python.h").is_file():
        return f"mode compiled needs the headers of Python {sysconfig.get_python_version()}, and Python.h was not found"
    return None


def _empty_cache(cache: Path, probed: Path) -> None:
    """Empty ``cache`` except for the compiler's vector instructions, which torch looks up there.

    torch finds them by compiling a test program for each kind. That takes seconds and is no part of compiling a
    network, so that it is done once, into ``probed``.
    """
    from torch._inductor.cpu_vec_isa import pick_vec_isa

    if not probed.is_dir():
        partial = probed.with_name(f"{probed.name}.{os.getpid()}.partial")
        _use_cache(partial)
        partial.mkdir(parents=True, exist_ok=True)
        pick_vec_isa()
        os.replace(partial, probed)
    shutil.rmtree(cache, ignore_errors=True)
    shutil.copytree(probed, cache)


def _use_cache(cache: Path) -> None:
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache)
    os.environ["TRITON_CACHE_DIR"] = str(cache / "triton")


def graph_breaks() -> int:
    """Number of graph breaks so far in this process. Each splits the network into separate graphs."""
    counters: Any = torch._dynamo.utils.counters
    return sum(counters["graph_break"].values())
