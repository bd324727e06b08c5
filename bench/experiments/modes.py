"""Routes of torch itself: a network is converted, then runs eager or compiled into a cache folder of its own.

Coverage of a precision is counted from the tensors that are stored and the products that ran.
"""

from __future__ import annotations

import os
import shutil
import sysconfig
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.core.errors import Unsupported
from bench.core.experiments import LANGUAGE_EXPERIMENTS
from bench.core.precisions import BASELINE, GRAPH_MODES, MIXED, PRECISIONS, Precision
from bench.core.records import Case, Figure, Scalar
from bench.core.runtimes import Kind, why_not
from bench.core.workspace import Workspace
from bench.measure import memory, products
from bench.measure.clock import synchronize
from bench.measure.reasons import Part, parts_of
from bench.precision.converted import (
    WEIGHTED,
    Converted,
    Converter,
    Setting,
    converter_of,
    layers_of,
    tensors_as_stored,
    weights_in,
)
from bench.runtimes.mixed import Mixed, Tried, find_mixed, in_batches, logits_of
from bench.runtimes.route import Order, Prepare, Ran, Run, whats_run

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


JUDGING_BATCH = 50
"""Images of a call where mixed precision is judged."""


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
        order.network.to(memory_format=layout_of(precision, device))
        mixed = _mixed(order, setting, convert) if precision.name == MIXED else None
        converted = convert(order.network, replace(setting, spared=mixed.spared) if mixed else setting)
        synchronize(device)
        as_it_is = precision.name == BASELINE  # then it was moved to its device, which is a part of loading
        return TorchRoute(order, converted, None if as_it_is else time.perf_counter() - begin, weights, mixed)

    return prepare


def _mixed(order: Order, setting: Setting, convert: Converter) -> Mixed:
    """Layers that have to stay in floating point: searched for in the first process, read from its file in others.

    The graph that rounds between operators is judged as it is, uncompiled: it gives what its int8 kernels give but for
    the order of additions.
    """
    known = None if order.fresh else Mixed.read(order.folder)
    if known:
        return known
    from bench.precision.static_int8 import exported

    names = layers_of(order.network, WEIGHTED)
    batches = in_batches(order.held_out(), JUDGING_BATCH)
    graph = exported(order.network, setting)

    def tried(network: nn.Module) -> Tried:
        return Tried(logits=logits_of(network, batches), weight_bytes=memory.bytes_of(tensors_as_stored(network)))

    def attempt(spared: tuple[str, ...]) -> Tried:
        return tried(convert(graph, replace(setting, spared=spared)).network)

    found = find_mixed(names, attempt, tried(order.network), order.most_drop, order.held_out_labels())
    order.folder.mkdir(parents=True, exist_ok=True)
    found.write(order.folder)
    return found


class TorchRoute:
    """A module, as the mode of its case runs it."""

    compile_seconds: float | None = None

    def __init__(
        self,
        order: Order,
        converted: Converted,
        convert_seconds: float | None,
        weights: tuple[tuple[int, ...], ...],
        mixed: Mixed | None = None,
    ) -> None:
        self.notes: tuple[str, ...] = (mixed.note,) if mixed else ()
        self._mixed = mixed
        self.convert_seconds = convert_seconds
        self.input_dtype = converted.input_dtype
        self.memory_format = layout_of(order.precision, torch.device(order.case.device))
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
        logits: Tensor = self._network(images.contiguous(memory_format=self.memory_format))
        return logits

    def for_batch(self, size: int) -> Run:
        """Compiled once more for another size, since each shape is compiled for itself."""
        case = self._order.case
        if case.mode == "eager" or size == case.batch_size:
            return self.run
        again = compiled(self._converted.network, case.mode)
        return lambda images: again(images.contiguous(memory_format=self.memory_format))

    def ran(self, images: Tensor, *, parameters: int, flops: int) -> Ran:
        return whats_converted(
            lambda: self.run(images),
            self._order.precision,
            self._converted.network,
            parameters=parameters,
            flops=flops,
        )

    def parts(self, images: Tensor) -> list[Part]:
        stored = [tuple(tensor.shape) for tensor in tensors_as_stored(self._converted.network)]
        return parts_of(lambda: self.run(images), torch.device(self._order.case.device), [*self._weights, *stored])

    def weight_bytes(self) -> int:
        return memory.bytes_of(tensors_as_stored(self._converted.network))

    def serialized_bytes(self) -> int:
        return memory.serialized_bytes(self._converted.network)

    def flags(self) -> dict[str, Scalar]:
        """The library of its precision, and the layout of images: torch's own settings stand in every row."""
        last = self.memory_format == torch.channels_last
        return {"library": self._order.precision.library, "layout": "channels_last" if last else "contiguous"}

    def figures(self) -> dict[str, Figure]:
        if self._order.case.mode == "eager":
            return {}
        figures = {"graph_breaks": Figure(value=graph_breaks(), unit="breaks", better="lower", exact=True)}
        return figures | (graph_figures() if self._order.case.mode in GRAPH_MODES else {})

    def texts(self) -> dict[str, str]:
        return self._mixed.texts if self._mixed else {}


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
    return compiled(network, case.mode)


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
        _empty_cache(cache, cache.parent / "instructions" if case.device == "cpu" else None)
    _use_cache(cache)
    torch._inductor.config.freezing = may_freeze and case.device == "cpu"


def compiled(network: nn.Module, mode: str = "compiled") -> nn.Module:
    """``network`` under ``torch.compile`` in one of ``COMPILED_MODES``, each input shape compiled for itself."""
    torch._dynamo.reset()
    chosen = compiler_mode(mode)
    return torch.compile(network, dynamic=False, mode=chosen)  # type: ignore[return-value]  # a Module for a Module


def compiler_mode(mode: str) -> str:
    """Mode of ``torch.compile`` for a mode of a case."""
    return mode if mode in GRAPH_MODES else "default"


def layout_of(precision: Precision, device: torch.device) -> torch.memory_format:
    """Memory format of images and convolutions.

    On CUDA it is channels last: there cuDNN's kernels for tensor cores take no other, and convert at each layer. The
    baseline stays as torch comes, and so does a convolution whose weight is stored quantised.
    """
    as_it_is = precision.name == BASELINE or precision.layers == "convolutions and linear layers"
    return torch.contiguous_format if device.type != "cuda" or as_it_is else torch.channels_last


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


def _empty_cache(cache: Path, probed: Path | None) -> None:
    """Empty ``cache`` except for the compiler's vector instructions, which torch looks up there.

    torch finds them by compiling a test program for each kind. That takes seconds and is no part of compiling a
    network, so that it is done once, into ``probed``; None on CUDA, whose kernels need none of them.
    """
    if probed is None:
        shutil.rmtree(cache, ignore_errors=True)
        cache.mkdir(parents=True)
        return
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


def graph_figures() -> dict[str, Figure]:
    """Counts of CUDA graphs that were not recorded so far in this process, and of inputs that a replay copies."""
    counters: Any = torch._dynamo.utils.counters["inductor"]
    skips, copied = counters["cudagraph_skips"], counters["cudagraph_recorded_non_static_inputs"]
    return {
        "cudagraph_skips": Figure(value=skips, unit="graphs", better="lower", exact=True),
        "cudagraph_copied_inputs": Figure(value=copied, unit="inputs", better="lower", exact=True),
    }


def graph_breaks() -> int:
    """Number of graph breaks so far in this process. Each splits the network into separate graphs."""
    counters: Any = torch._dynamo.utils.counters
    return sum(counters["graph_break"].values())
