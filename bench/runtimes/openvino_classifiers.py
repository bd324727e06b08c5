"""Image classifiers in OpenVINO's CPU plugin: converted from torch, quantised by NNCF.

NNCF's correction of biases helps most networks and ruins some (resnet14_cifar lost 10 points of accuracy). Both ways
are tried, and the one whose outputs are closer to float32's on held-out calibration images is kept.
"""

from __future__ import annotations

import json
import logging
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.core.errors import Unsupported
from bench.core.precisions import MIXED, Precision
from bench.core.records import Figure, Scalar
from bench.measure.products import Product
from bench.measure.quality import divergences
from bench.measure.reasons import Part
from bench.runtimes import openvino_core
from bench.runtimes.mixed import Mixed, Tried, find_mixed
from bench.runtimes.quiet import keep_quiet
from bench.runtimes.route import CORRECTION, Order, Prepare, Ran, Run, converted_into, faults_named, whats_run

keep_quiet()

import openvino  # noqa: E402  (telemetry is switched off before)

TITLE = "OpenVINO"
DEVICE = "CPU"
MODEL = "model.xml"
CHOICE = "choice.json"
"""File beside the model with its notes, and whether NNCF corrected its biases."""
HINTS = {"fp32": "f32", "bf16": "bf16", "int8_static": "f32", MIXED: "f32"}
"""Precision -> number format of what is not quantised."""
QUANTISED = ("int8_static", MIXED)
MODULE = "__module."
"""Begin of the names of nodes that stand for a module of the network."""
WEIGHTED = ("Convolution", "GroupConvolution", "MatMul")
"""Layers of a graph before it is compiled."""
TRACED_BATCH = 2
CALIBRATION_BATCH = 8
PROFILED_CALLS = 3
"""Calls with counters, of which the last counts: the first ones allocate."""
HELD_OUT = 4
"""One calibration image of so many judges between the two ways and calibrates neither."""
FORMATS = {
    "f32": ("float32", 32),
    "bf16": ("bfloat16", 16),
    "f16": ("float16", 16),
    "u8": ("int8", 8),
    "i8": ("int8", 8),
}
"""OpenVINO's names of types -> format and bits."""
MATMUL = "MatMul"
ATTENTION = "ScaledDotProductAttention"
FUSED = ("Subgraph", ATTENTION)
"""Layers whose products follow from the names of the operators that they are made of."""
PRODUCTS = ("Convolution", "FullyConnected", MATMUL, ATTENTION)

Images = npt.NDArray[np.float32]


def preparer(precision: Precision) -> Prepare:
    """Preparer of networks at ``precision``."""
    if precision.name in QUANTISED:
        import nncf

        nncf.set_log_level(logging.ERROR)
    return _prepare


def _prepare(order: Order) -> OpenvinoRoute:
    """Convert the network of ``order``, quantise it where that is asked for, and compile the file for the CPU.

    Raises:
        Unsupported: OpenVINO does not take the network, or the processor lacks the number format.
    """
    core = openvino_core.core()
    if order.precision.name == "bf16" and "BF16" not in core.get_property(DEVICE, "OPTIMIZATION_CAPABILITIES"):
        raise Unsupported(f"{TITLE} has no bfloat16 kernels for this processor: it would compute in float32")
    begin = time.perf_counter()
    with faults_named(TITLE):
        written = converted_into(order.folder, fresh=order.fresh, convert=lambda folder: _convert(order, folder))
    openvino_core.leave_signal_stack()
    converted = time.perf_counter()
    with faults_named(TITLE):
        compiled = _compile(core, order, order.case.batch_size)
    return OpenvinoRoute(
        core,
        order,
        compiled,
        convert_seconds=converted - begin if written else None,
        compile_seconds=time.perf_counter() - converted,
    )


class OpenvinoRoute:
    """A model compiled for one batch size."""

    input_dtype = torch.float32

    def __init__(
        self,
        core: openvino.Core,
        order: Order,
        compiled: openvino.CompiledModel,
        *,
        convert_seconds: float | None,
        compile_seconds: float,
    ) -> None:
        self.convert_seconds = convert_seconds
        self.compile_seconds: float | None = compile_seconds
        choice = json.loads((order.folder / CHOICE).read_text())
        self.notes = tuple(choice["notes"])
        self._corrected: bool | None = choice["corrected"]
        self._mixed = Mixed.read(order.folder)
        self._core = core
        self._order = order
        self._compiled = compiled
        self._run = _runner(compiled)

    def start(self) -> None:
        """Nothing is left to do."""

    def run(self, images: Tensor) -> Tensor:
        return self._run(images)

    def for_batch(self, size: int) -> Run:
        """The model compiled once more, for ``size`` images."""
        return self._run if size == self._order.case.batch_size else _runner(_compile(self._core, self._order, size))

    def ran(self, images: Tensor, *, parameters: int, flops: int) -> Ran:
        """The products of the compiled graph, as the plugin tells them."""
        precision = self._order.precision
        if precision.name == "fp32":
            return Ran(compute="float32", absent={"coverage": "fp32 is the baseline: nothing is converted"})
        model = self._core.read_model(self._order.folder / MODEL)
        held = sum(_size(constant) for constant in _constants(model) if _bits(constant) <= precision.low_bits)
        model.reshape([self._order.case.batch_size, *self._order.image_shape])
        ran = list(products_of(self._compiled, model))
        return whats_run(ran, precision, weights=held, parameters=parameters, flops=flops)

    def parts(self, images: Tensor) -> list[Part]:
        """Nodes of a model compiled once more with counters, which the measured one is without."""
        compiled = _compile(self._core, self._order, len(images), PERF_COUNT=True)
        request = compiled.create_infer_request()
        for _ in range(PROFILED_CALLS):
            request.infer([images.numpy()])
        return [
            Part(name=f"{node.node_type} {node.exec_type}", seconds=node.real_time.total_seconds())
            for node in request.get_profiling_info()
            if node.real_time.total_seconds() > 0
        ]

    def weight_bytes(self) -> int:
        return (self._order.folder / MODEL).with_suffix(".bin").stat().st_size

    def serialized_bytes(self) -> int:
        model = self._order.folder / MODEL
        return model.stat().st_size + model.with_suffix(".bin").stat().st_size

    def flags(self) -> dict[str, Scalar]:
        corrected = {} if self._corrected is None else {"runtime_bias_correction": self._corrected}
        return {
            **corrected,
            "runtime_threads": self._compiled.get_property("INFERENCE_NUM_THREADS"),
            "runtime_streams": self._compiled.get_property("NUM_STREAMS"),
            "runtime_version": openvino.__version__,
            "runtime_inference_precision": self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name(),
        }

    def figures(self) -> dict[str, Figure]:
        return {}

    def texts(self) -> dict[str, str]:
        return self._mixed.texts if self._mixed else {}


def _layers(model: openvino.Model) -> dict[str, str]:
    """Our name of each layer -> OpenVINO's. Its own numbers differ from one conversion to the next: ours count."""
    nodes = [node for node in model.get_ordered_ops() if node.get_type_name() in WEIGHTED]
    names = [node.get_friendly_name() for node in nodes]
    ours = [
        name if name.startswith(MODULE) else f"{node.get_type_name()} {place}"
        for place, (node, name) in enumerate(zip(nodes, names, strict=True), start=1)
    ]
    return dict(zip(ours, names, strict=True))


def _traced(order: Order) -> openvino.Model:
    images = torch.zeros(TRACED_BATCH, *order.image_shape)
    with warnings.catch_warnings(), _plain_attention():
        warnings.simplefilter("ignore")  # tracing warns of each size that becomes a constant, and that it is old
        model = openvino.convert_model(order.network, example_input=images)
    model.reshape([-1, *order.image_shape])
    return model


def _convert(order: Order, folder: Path) -> None:
    model = _traced(order)
    notes: tuple[str, ...] = ()
    corrected: bool | None = None
    if order.precision.name in QUANTISED:
        quantiser = _Quantiser(model, order)
        spared: tuple[str, ...] = ()
        if order.precision.name == MIXED:
            mixed = quantiser.mixed()
            mixed.write(folder)
            spared = mixed.spared
            notes = (mixed.note,)
        model, corrected = quantiser.quantised(spared), quantiser.corrected
        notes = (quantiser.note, *notes)
    if order.precision.name == "bf16":
        notes = ("the file holds the weights in float16, as OpenVINO saves them by default",)
    openvino.save_model(model, folder / MODEL, compress_to_fp16=order.precision.name == "bf16")
    (folder / CHOICE).write_text(json.dumps({"notes": notes, "corrected": corrected}))


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Keep torch from its fused encoder layer, which it takes in one of two traces only and OpenVINO does not know."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


class _Quantiser:
    """A traced model, quantised with all its layers or without some."""

    def __init__(self, model: openvino.Model, order: Order) -> None:
        """Choose between corrected and plain biases, by all layers quantised, unless the case says which."""
        images = np.concatenate([batch.numpy() for batch in order.calibration()])
        judging, kept = images[::HELD_OUT], np.delete(images, np.s_[::HELD_OUT], axis=0)
        self._batches = [kept[at : at + CALIBRATION_BATCH] for at in range(0, len(kept), CALIBRATION_BATCH)]
        self._attends = any(node.get_type_name() == "ScaledDotProductAttention" for node in model.get_ops())
        self._model = model
        self._order = order
        self._layers = _layers(model)
        forced = order.case.option(CORRECTION)
        if forced is not None:
            self.corrected = bool(forced)
            self.note = f"NNCF {'with' if forced else 'without'} bias correction, as it was asked for"
            return
        expected = _logits(model, judging, order)
        far = {}
        for self.corrected in (True, False):
            far[self.corrected] = float(divergences(expected, _logits(self.quantised(()), judging, order)).mean())
        self.corrected = best = min(far, key=lambda corrected: far[corrected])
        self.note = (
            f"NNCF {'with' if best else 'without'} bias correction: KL divergence from float32 of {far[best]:.2g} "
            f"against {far[not best]:.2g} nats the other way, on {len(judging)} held-out training images"
        )

    def quantised(self, spared: Sequence[str]) -> openvino.Model:
        """The model with all but these layers in int8, by our names of them."""
        import nncf

        names = [self._layers[name] for name in spared]
        quantised: openvino.Model = nncf.quantize(
            self._model.clone(),
            nncf.Dataset(self._batches),
            subset_size=len(self._batches),
            model_type=nncf.ModelType.TRANSFORMER if self._attends else None,
            ignored_scope=nncf.IgnoredScope(names=names) if names else None,
            advanced_parameters=nncf.AdvancedQuantizationParameters(disable_bias_correction=not self.corrected),
        )
        return quantised

    def mixed(self) -> Mixed:
        """Layers that have to stay in floating point."""
        images = np.concatenate([batch.numpy() for batch in self._order.held_out()])

        def tried(model: openvino.Model) -> Tried:
            held = sum(_size(constant) * _bits(constant) // 8 for constant in _constants(model))
            return Tried(logits=_logits(model, images, self._order), weight_bytes=held)

        return find_mixed(
            tuple(self._layers),
            lambda spared: tried(self.quantised(spared)),
            tried(self._model),
            self._order.most_drop,
            self._order.held_out_labels(),
        )


def _logits(model: openvino.Model, images: Images, order: Order) -> Images:
    """Logits of ``images``, in float32 between what is quantised."""
    compiled = openvino_core.core().compile_model(model.clone(), DEVICE, _settings("f32", order.case.threads))
    parts = [images[at : at + CALIBRATION_BATCH] for at in range(0, len(images), CALIBRATION_BATCH)]
    return np.concatenate([np.array(compiled(part)[0]) for part in parts])


def _settings(hint: str, threads: int) -> dict[str, Any]:
    return {
        "INFERENCE_PRECISION_HINT": hint,
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "CACHE_DIR": "",
    }


def _compile(core: openvino.Core, order: Order, batch_size: int, **further: bool) -> openvino.CompiledModel:
    """The file, compiled for ``batch_size`` images and the threads of ``order``.

    Raises:
        Unsupported: the plugin took another number of threads.
    """
    model = core.read_model(order.folder / MODEL)
    model.reshape([batch_size, *order.image_shape])
    compiled = core.compile_model(
        model, DEVICE, {**_settings(HINTS[order.precision.name], order.case.threads), **further}
    )
    threads = compiled.get_property("INFERENCE_NUM_THREADS")
    if threads != order.case.threads:
        raise Unsupported(f"{TITLE} computes in {threads} threads in place of {order.case.threads}")
    return compiled


def _runner(compiled: openvino.CompiledModel) -> Run:
    request = compiled.create_infer_request()

    def run(images: Tensor) -> Tensor:
        outputs = request.infer([images.numpy()], share_inputs=True, share_outputs=True)
        return torch.from_numpy(outputs[0])

    return run


def products_of(compiled: openvino.CompiledModel, model: openvino.Model) -> Iterator[Product]:
    """Convolutions and matrix products of the graph that the plugin runs, and the format that each computes in.

    Small products, and attention, are parts of a "Subgraph": their shapes are those of ``model``, which was compiled.
    """
    named = {node.get_friendly_name(): node for node in model.get_ops() if node.get_type_name() in (MATMUL, ATTENTION)}
    for node in compiled.get_runtime_model().get_ordered_ops():
        facts = node.get_rt_info()
        layer, kind = facts["layerType"].astype(str), facts["runtimePrecision"].astype(str)
        flops = _flops(layer, node)
        if layer in FUSED:
            parts = facts["originalLayersNames"].astype(str).split(",")
            flops = sum(_flops(named[part].get_type_name(), named[part]) for part in parts if part in named)
        if flops:
            name, bits = FORMATS.get(kind, (kind, 64))
            yield Product(operator=layer, flops=flops, format=name, bits=bits)


def _flops(layer: str, node: openvino.Node) -> int:
    """Two FLOPs for each multiply-add of one node; 0 for what is no product."""
    if layer not in PRODUCTS:
        return 0
    output = np.prod(node.get_output_shape(0))
    left, right = (list(node.get_input_shape(at)) for at in (0, 1))
    if layer == "Convolution":
        # Groups stand in front of a grouped convolution's weights: channels of an output are the last three sides.
        return int(2 * output * np.prod(right[-3:]))
    if layer == ATTENTION:  # queries with keys, then weights with values, of shapes (batch, heads, tokens, width)
        return int(2 * (np.prod(left) + output) * right[-2])
    return int(2 * output * left[-1])


def _constants(model: openvino.Model) -> Iterator[Any]:
    """Weights: constants of more than one dimension, which scales of single channels have as well."""
    for node in model.get_ops():
        if node.get_type_name() == "Constant" and len(node.get_output_shape(0)) > 1:
            yield node


def _size(node: openvino.Node) -> int:
    return int(np.prod(node.get_output_shape(0)))


def _bits(node: openvino.Node) -> int:
    bits: int = node.get_output_element_type(0).bitwidth
    return bits
