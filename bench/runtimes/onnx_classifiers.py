"""Image classifiers in ONNX Runtime: exported by torch, quantised by ONNX Runtime's own tools, run on its CPU provider.

int8 is u8s8 QDQ: activations in uint8 with one scale for each tensor, weights in int8 with one for each output channel.
With signed activations, the default, convolutions stay in float32.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.export import Dim

from bench.core.errors import Unsupported
from bench.core.precisions import MIXED, Precision
from bench.core.records import Figure, Scalar
from bench.measure.products import Product
from bench.measure.reasons import Part
from bench.precision.weights import check_exported
from bench.runtimes.mixed import Mixed, Tried, find_mixed, in_batches, logits_of
from bench.runtimes.quiet import keep_quiet
from bench.runtimes.route import Order, Prepare, Ran, Run, converted_into, faults_named, whats_run

keep_quiet()

import onnx  # noqa: E402  (telemetry is switched off before)
import onnxruntime  # noqa: E402

TITLE = "ONNX Runtime"
PROVIDERS = ["CPUExecutionProvider"]
MODEL = "model.onnx"
TRACED_BATCH = 2
"""Sizes of 0 and 1 are taken for constants when a network is exported."""
CALIBRATION_BATCH = 4
"""Calibration keeps every activation of a batch at once: a ViT at 32 images took 24 GB."""
JUDGING_BATCH = 50
"""Images of a call where mixed precision is judged."""
PROFILED_CALLS = 5
"""Calls with a profile, whose median counts: the first ones allocate."""
WEIGHTED = ("Conv", "Gemm", "MatMul")
"""Layers of a graph before it is optimised."""
CONVOLUTIONS = ("Conv", "FusedConv", "QLinearConv", "ConvInteger")
PRODUCTS = (*CONVOLUTIONS, "Gemm", "FusedGemm", "QGemm", "MatMul", "FusedMatMul", "QLinearMatMul", "MatMulInteger")
FORMATS = {"float": ("float32", 32), "float16": ("float16", 16), "uint8": ("int8", 8), "int8": ("int8", 8)}
"""ONNX Runtime's names of types -> format and bits."""


def preparer(precision: Precision) -> Prepare:
    """Preparer of networks at ``precision``."""
    if precision.name != "fp32":
        import onnxruntime.quantization.shape_inference  # noqa: F401  (a second of import, no part of converting)
    return _prepare


def _prepare(order: Order) -> OnnxRoute:
    """Export the network of ``order``, quantise it where that is asked for, and make a session of the file.

    Raises:
        Unsupported: the network cannot be exported, or ONNX Runtime lacks one of its operators.
    """
    begin = time.perf_counter()
    with faults_named(TITLE):
        written = converted_into(order.folder, fresh=order.fresh, convert=lambda folder: _convert(order, folder))
    converted = time.perf_counter()
    with faults_named(TITLE):
        session = _session(order.folder / MODEL, order.case.threads)
    return OnnxRoute(
        order,
        session,
        convert_seconds=converted - begin if written else None,
        compile_seconds=time.perf_counter() - converted,
    )


class OnnxRoute:
    """A session of a model whose batch size is free."""

    input_dtype = torch.float32

    def __init__(
        self,
        order: Order,
        session: onnxruntime.InferenceSession,
        *,
        convert_seconds: float | None,
        compile_seconds: float,
    ) -> None:
        self.convert_seconds = convert_seconds
        self.compile_seconds: float | None = compile_seconds
        self._mixed = Mixed.read(order.folder)
        self.notes: tuple[str, ...] = (self._mixed.note,) if self._mixed else ()
        self._session = session
        self._precision = order.precision
        self._threads = order.case.threads
        self._folder = order.folder
        self._input = session.get_inputs()[0].name

    def start(self) -> None:
        """Nothing is left to do."""

    def run(self, images: Tensor) -> Tensor:
        (logits,) = self._session.run(None, {self._input: images.numpy()})
        return torch.from_numpy(logits)

    def for_batch(self, size: int) -> Run:
        """The same session: its batch size is free."""
        return self.run

    def ran(self, images: Tensor, *, parameters: int, flops: int) -> Ran:
        """The products of one call, from the optimised graph and the shapes of a profiled call."""
        if self._precision.name == "fp32":
            return Ran(compute="float32", absent={"coverage": "fp32 is the baseline: nothing is converted"})
        products = _products_of(self._folder / MODEL, images.numpy(), self._threads)
        held = _weights_in(onnx.load(self._folder / MODEL), self._precision.low_bits)
        return whats_run(products, self._precision, weights=held, parameters=parameters, flops=flops)

    def parts(self, images: Tensor) -> list[Part]:
        """Nodes of the optimised graph, from a session of its own with a profile."""
        graph, events = _profiled(self._folder / MODEL, images.numpy(), self._threads, calls=PROFILED_CALLS)
        weights = {tuple(tensor.dims) for tensor in graph.initializer if len(tensor.dims) > 1}
        return _parts(events, weights)

    def weight_bytes(self) -> int:
        return _bytes_of(self._folder / MODEL)

    def serialized_bytes(self) -> int:
        return (self._folder / MODEL).stat().st_size

    def flags(self) -> dict[str, Scalar]:
        options = self._session.get_session_options()
        return {
            "runtime_threads": options.intra_op_num_threads,
            "runtime_version": onnxruntime.__version__,
            "runtime_optimisation": str(options.graph_optimization_level).rpartition(".")[2],
        }

    def figures(self) -> dict[str, Figure]:
        return {}

    def texts(self) -> dict[str, str]:
        return self._mixed.texts if self._mixed else {}


def _convert(order: Order, folder: Path) -> None:
    if order.precision.name == "fp32":
        _export(order, folder / MODEL)
        return
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        exported, shaped = Path(scratch, "exported.onnx"), Path(scratch, "shaped.onnx")
        _export(order, exported)
        quant_pre_process(str(exported), str(shaped))
        spared: tuple[str, ...] = ()
        if order.precision.name == MIXED:
            mixed = _mixed(order, shaped)
            mixed.write(folder)
            spared = mixed.spared
        _quantise(order, shaped, folder / MODEL, spared)


def _quantise(order: Order, shaped: Path, file: Path, spared: Sequence[str]) -> None:
    """Write the model of ``shaped`` to ``file``, with all but the nodes ``spared`` in int8."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    quantize_static(
        str(shaped),
        str(file),
        _Calibration(order.calibration(), onnx.load(shaped).graph.input[0].name),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=list(spared),
    )


def _mixed(order: Order, shaped: Path) -> Mixed:
    """Layers that have to stay in floating point: convolutions and products, by the names of their nodes."""
    names = tuple(node.name for node in onnx.load(shaped).graph.node if node.op_type in WEIGHTED)
    batches = in_batches(order.held_out(), JUDGING_BATCH)
    trial = shaped.with_name("trial.onnx")

    def tried(file: Path) -> Tried:
        session = _session(file, order.case.threads)
        logits = logits_of(lambda images: _outputs(session, images), batches)
        return Tried(logits=logits, weight_bytes=_bytes_of(file))

    def attempt(spared: tuple[str, ...]) -> Tried:
        _quantise(order, shaped, trial, spared)
        return tried(trial)

    return find_mixed(names, attempt, tried(shaped), order.most_drop, order.held_out_labels())


def _bytes_of(file: Path) -> int:
    return sum(_array(tensor).nbytes for tensor in onnx.load(file).graph.initializer)


def _export(order: Order, file: Path) -> None:
    images = torch.zeros(TRACED_BATCH, *order.image_shape)
    program = torch.onnx.export(
        order.network,
        (images,),
        dynamo=True,
        dynamic_shapes=({0: Dim.DYNAMIC},),
        external_data=False,
        verbose=False,
    )
    if program is None:
        raise RuntimeError("torch.onnx.export gave no program")
    program.save(str(file))
    session = _session(file, order.case.threads)
    check_exported(TITLE, order.network, lambda images: _outputs(session, images), order.image_shape)


def _outputs(session: onnxruntime.InferenceSession, images: Tensor) -> Tensor:
    (outputs,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    return torch.from_numpy(outputs)


class _Calibration:
    """Training images, a few at a time, as ONNX Runtime's calibration asks for them."""

    def __init__(self, batches: Iterator[Tensor], name: str) -> None:
        self._feeds = ({name: part.numpy()} for images in batches for part in torch.split(images, CALIBRATION_BATCH))

    def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
        return next(self._feeds, None)

    def __len__(self) -> int:
        raise TypeError("an iterator has no length")


def _session(file: Path, threads: int, **settings: str | bool) -> onnxruntime.InferenceSession:
    """A session that computes in ``threads`` threads.

    Raises:
        Unsupported: ONNX Runtime took another number of threads.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors: a warning about files for this processor only is meant
    for name, value in settings.items():
        setattr(options, name, value)
    session = onnxruntime.InferenceSession(str(file), options, providers=PROVIDERS)
    taken = session.get_session_options().intra_op_num_threads
    if taken != threads:
        raise Unsupported(f"{TITLE} computes in {taken} threads in place of {threads}")
    return session


def _profiled(
    file: Path, images: npt.NDArray[np.float32], threads: int, *, calls: int
) -> tuple[onnx.GraphProto, list[dict[str, Any]]]:
    """The optimised graph, and one event a kernel and call, of a session of its own, which is not timed."""
    with tempfile.TemporaryDirectory() as scratch:
        optimised = Path(scratch, "optimised.onnx")
        settings: dict[str, str | bool] = {
            "optimized_model_filepath": str(optimised),
            "enable_profiling": True,
            "profile_file_prefix": str(Path(scratch, "profile")),
        }
        session = _session(file, threads, **settings)
        for _ in range(calls):
            session.run(None, {session.get_inputs()[0].name: images})
        events = json.loads(Path(session.end_profiling()).read_text())
        graph = onnx.load(optimised).graph
    kernels = [event for event in events if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")]
    return graph, kernels


def _parts(events: Iterable[Mapping[str, Any]], weights: set[tuple[int, ...]]) -> list[Part]:
    """Operators of one call: the median of each node's calls."""
    by_node: dict[str, list[Mapping[str, Any]]] = {}
    for event in events:
        by_node.setdefault(event["name"], []).append(event)
    return [
        Part(
            name=called[0]["args"]["op_name"],
            seconds=statistics.median(event["dur"] for event in called) / 1e6,
            on_weights=any(tuple(shape) in weights for shape in _shapes(called[0])),
        )
        for called in by_node.values()
    ]


def _shapes(event: Mapping[str, Any]) -> Iterator[list[int]]:
    for typed in event["args"].get("input_type_shape", ()):
        yield from typed.values()


def _products_of(file: Path, images: npt.NDArray[np.float32], threads: int) -> list[Product]:
    """Convolutions and matrix products of one call.

    The optimised graph names each operator and its weights, the profile the shapes and types that they met.
    """
    graph, events = _profiled(file, images, threads, calls=1)
    called = {event["name"].removesuffix("_kernel_time"): event["args"] for event in events}
    sizes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    return [
        _product(node.op_type, called[node.name], [sizes[name] for name in node.input if name in sizes])
        for node in graph.node
        if node.op_type in PRODUCTS and node.name in called
    ]


def _product(operator: str, called: Mapping[str, Any], constants: list[list[int]]) -> Product:
    """One operator that ran, two FLOPs for each multiply-add.

    Args:
        called: what the profile tells of it: types and shapes of inputs and outputs.
        constants: shapes of its constants, of which weights are the largest.
    """
    (kind, taken), *_ = called["input_type_shape"][0].items()
    (output,) = called["output_type_shape"][0].values()
    weight = max((shape for shape in constants if len(shape) > 1), key=np.prod, default=None)
    if operator in CONVOLUTIONS:
        if weight is None:
            raise ValueError(f"a {operator} whose weights are no constant")
        multiplied = np.prod(output) // weight[0] * np.prod(weight)
    else:
        multiplied = np.prod(output) * taken[-1]
    name, bits = FORMATS.get(kind, (kind, 64))
    return Product(operator=operator, flops=int(2 * multiplied), format=name, bits=bits)


def _weights_in(model: onnx.ModelProto, bits: int) -> int:
    """Weights that the file holds in ``bits`` bits or fewer: of more than one dimension, as scales are not."""
    arrays = [_array(tensor) for tensor in model.graph.initializer if len(tensor.dims) > 1]
    return sum(array.size for array in arrays if 8 * array.itemsize <= bits)


def _array(tensor: onnx.TensorProto) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = onnx.numpy_helper.to_array(tensor)
    return array
