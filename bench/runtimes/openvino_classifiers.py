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
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.core.errors import Unsupported
from bench.core.precisions import MIXED, Precision
from bench.core.records import Figure, Scalar
from bench.measure.quality import divergences
from bench.measure.reasons import Part
from bench.precision.weights import check_exported
from bench.runtimes import openvino_core
from bench.runtimes.mixed import Mixed, Tried, find_mixed
from bench.runtimes.openvino_graph import bits_of, constants_of, products_of, size_of
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
AGREEMENT = 0.1
"""Largest relative difference between outputs of one file compiled in two ways, which round alike."""
HELD_OUT = 4
"""One calibration image of so many judges between the two ways and calibrates neither."""
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
        compiled, seconds = _agreeing(core, order, order.case.batch_size)
    return OpenvinoRoute(
        core,
        order,
        compiled,
        convert_seconds=converted - begin if written else None,
        compile_seconds=seconds,
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
        self._any_batch = _any_batch(order, order.case.batch_size).exists()
        self.notes = (*choice["notes"], *((ANY_BATCH,) if self._any_batch else ()))
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
        if size == self._order.case.batch_size:
            return self._run
        return _runner(_agreeing(self._core, self._order, size)[0])

    def ran(self, images: Tensor, *, parameters: int, flops: int) -> Ran:
        """The products of the compiled graph, as the plugin tells them."""
        precision = self._order.precision
        if precision.name == "fp32":
            return Ran(compute="float32", absent={"coverage": "fp32 is the baseline: nothing is converted"})
        model = self._core.read_model(self._order.folder / MODEL)
        held = sum(size_of(constant) for constant in constants_of(model) if bits_of(constant) <= precision.low_bits)
        if self._any_batch:
            without_shapes = whats_run((), precision, weights=held, parameters=parameters, flops=flops)
            return replace(without_shapes, absent={"coverage FLOPs": ANY_BATCH, "compute": ANY_BATCH})
        model.reshape([self._order.case.batch_size, *self._order.image_shape])
        ran = list(products_of(self._compiled, model))
        return whats_run(ran, precision, weights=held, parameters=parameters, flops=flops)

    def parts(self, images: Tensor) -> list[Part]:
        """Nodes of a model compiled once more with counters, which the measured one is without."""
        compiled = _compile(self._core, self._order, None if self._any_batch else len(images), PERF_COUNT=True)
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
            **({"runtime_any_batch": True} if self._any_batch else {}),
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
    check_exported(TITLE, order.network, lambda images: _outputs(model, images.numpy(), order), order.image_shape)
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
            held = sum(size_of(constant) * bits_of(constant) // 8 for constant in constants_of(model))
            return Tried(logits=_logits(model, images, self._order), weight_bytes=held)

        return find_mixed(
            tuple(self._layers),
            lambda spared: tried(self.quantised(spared)),
            tried(self._model),
            self._order.most_drop,
            self._order.held_out_labels(),
        )


def _outputs(model: openvino.Model, images: Images, order: Order) -> Tensor:
    return torch.from_numpy(_logits(model, images, order))


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


def _compile(core: openvino.Core, order: Order, batch_size: int | None, **further: bool) -> openvino.CompiledModel:
    """The file, compiled for ``batch_size`` images; None: for any number of them.

    Raises:
        Unsupported: the plugin took another number of threads.
    """
    model = core.read_model(order.folder / MODEL)
    if batch_size is not None:
        model.reshape([batch_size, *order.image_shape])
    compiled = core.compile_model(
        model, DEVICE, {**_settings(HINTS[order.precision.name], order.case.threads), **further}
    )
    threads = compiled.get_property("INFERENCE_NUM_THREADS")
    if threads != order.case.threads:
        raise Unsupported(f"{TITLE} computes in {threads} threads in place of {order.case.threads}")
    return compiled


ANY_BATCH = (
    "compiled for batches of any size: for this one OpenVINO fuses layers in a way that gives other outputs for the "
    "same file"
)


def _any_batch(order: Order, batch_size: int) -> Path:
    """File that says so, for later processes."""
    return order.folder / f"any-batch-for-{batch_size}"


def _agreeing(core: openvino.Core, order: Order, batch_size: int) -> tuple[openvino.CompiledModel, float]:
    """The file compiled for ``batch_size`` images, or for any number where the two give different outputs for noise.

    With sizes that are known OpenVINO fuses small layers that follow one another (its pull request 30007), and in int8
    some of these networks give numbers around 1e8. The first process looks; later ones do as it found.

    Returns:
        It, and the seconds of compiling it.
    """
    said = _any_batch(order, batch_size)
    begin = time.perf_counter()
    compiled = _compile(core, order, None if said.exists() else batch_size)
    seconds = time.perf_counter() - begin
    if said.exists() or not order.fresh:
        return compiled, seconds
    noise = torch.randn(batch_size, *order.image_shape, generator=torch.Generator().manual_seed(0)).numpy()
    begin = time.perf_counter()
    plain = _compile(core, order, None)
    plain_seconds = time.perf_counter() - begin
    expected, found = np.array(plain(noise)[0]), np.array(compiled(noise)[0])
    if np.linalg.norm(found - expected) <= AGREEMENT * np.linalg.norm(expected):
        return compiled, seconds
    said.touch()
    return plain, plain_seconds


def _runner(compiled: openvino.CompiledModel) -> Run:
    request = compiled.create_infer_request()

    def run(images: Tensor) -> Tensor:
        outputs = request.infer([images.numpy()], share_inputs=True, share_outputs=True)
        return torch.from_numpy(outputs[0])

    return run
