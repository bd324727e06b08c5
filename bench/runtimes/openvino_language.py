"""Language models in OpenVINO's CPU plugin: read from GGUF by OpenVINO GenAI, weights compressed by NNCF.

The model is run by its compiled graph, one call a token. GenAI's own pipeline was not faster where both took turns in
one process; it gives no logits, and it keeps the prompts that it has seen.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.core.errors import Unsupported
from bench.core.precisions import Precision
from bench.core.records import Scalar
from bench.measure.reasons import Part
from bench.runtimes import openvino_core
from bench.runtimes.gguf_files import MODEL as GGUF
from bench.runtimes.gguf_files import written
from bench.runtimes.language_route import (
    Conversion,
    LanguageOrder,
    Logits,
    StepByStep,
    StepClock,
    Stored,
    check_threads,
)
from bench.runtimes.openvino_graph import FORMATS, bits_of, constants_of, size_of
from bench.runtimes.quiet import keep_quiet
from bench.runtimes.route import converted_into, faults_named

keep_quiet()

import openvino  # noqa: E402  (telemetry is switched off before)
from openvino import opset13 as opset  # noqa: E402

TITLE = "OpenVINO"
DEVICE = "CPU"
MODEL = "openvino_model.xml"
BASE = "openvino-f16"
"""Folder of the model that the others are compressed from."""
HINTS = {"fp32": "f32", "bf16": "bf16", "int8_weights": "bf16", "int4_weights": "bf16"}
"""Precision -> number format of what is not compressed."""
PROFILED_CALLS = 2
"""Generations with counters, whose last step counts: the first ones allocate."""
INT4_GROUP = 64
"""Weights that share a scale: small models are not wide enough for 128."""
PRODUCT = "FullyConnected"
"""Product with weights. Those of attention have none, and their number grows with the context."""


def prepare(order: LanguageOrder) -> OpenvinoLanguage:
    """Convert the model of ``order``, compress its weights where that is asked for, and compile it for the CPU.

    Raises:
        Unsupported: OpenVINO does not take the model, or the processor lacks the number format.
    """
    core = openvino_core.core()
    hint = hint_for(order.precision)
    with faults_named(TITLE):
        folder = _base(order)
        if order.precision.name in ("int8_weights", "int4_weights"):
            folder = _compressed(order, folder)
        openvino_core.leave_signal_stack()
        settings = {
            "INFERENCE_PRECISION_HINT": hint,
            "INFERENCE_NUM_THREADS": order.threads,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # a thread bound to a core that a neighbour uses waits for it
            "CACHE_DIR": "",
        }

        def last_position(**further: bool) -> openvino.CompiledModel:
            model = core.read_model(folder / MODEL)
            _keep_the_last_position(model)
            return core.compile_model(model, DEVICE, {**settings, **further})

        begin = time.perf_counter()
        compiled = last_position()
        seconds = time.perf_counter() - begin
    check_threads(TITLE, compiled.get_property("INFERENCE_NUM_THREADS"), order.threads)

    def whole() -> openvino.CompiledModel:
        return core.compile_model(str(folder / MODEL), DEVICE, settings)

    def counted() -> openvino.CompiledModel:
        return last_position(PERF_COUNT=True)

    return OpenvinoLanguage(order.precision, folder, compiled, whole, counted, load_seconds=seconds)


def hint_for(precision: Precision) -> str:
    """Number format of what is not compressed, on this processor.

    Raises:
        Unsupported: ``precision`` is bfloat16, and the processor lacks it.
    """
    hint = HINTS[precision.name]
    if hint == "bf16" and "BF16" not in openvino_core.core().get_property(DEVICE, "OPTIMIZATION_CAPABILITIES"):
        if precision.name == "bf16":
            raise Unsupported(f"{TITLE} has no bfloat16 kernels for this processor: it would compute in float32")
        return "f32"
    return hint


class OpenvinoLanguage(StepByStep):
    """A compiled model and its one request, which holds keys and values of the sequence.

    It is compiled once more, for logits of every position, when these are asked for.
    """

    why_no_logits: str | None = None
    most_scored: int | None = None

    def __init__(
        self,
        precision: Precision,
        folder: Path,
        compiled: openvino.CompiledModel,
        whole: Callable[[], openvino.CompiledModel],
        counted: Callable[[], openvino.CompiledModel],
        *,
        load_seconds: float,
    ) -> None:
        self.convert_seconds: float | None = Conversion.read(folder).seconds
        self.load_seconds = load_seconds
        self._precision = precision
        self._folder = folder
        self._compiled = compiled
        self._compile_whole = whole
        self._compile_counted = counted
        self._is_whole = False
        self._request = compiled.create_infer_request()
        self._past = 0

    def logits(self, ids: Sequence[int]) -> Logits:
        if not self._is_whole:
            self._compiled = self._compile_whole()
            self._request = self._compiled.create_infer_request()
            self._is_whole = True
        self._request.reset_state()
        self._past = 0
        return np.array(self._step(np.array([ids], dtype=np.int64))[0])

    def nats(self, ids: Sequence[int], scored: int) -> list[float]:
        raise NotImplementedError(f"{TITLE} gives logits")

    def parts(self, prompt: Sequence[int], new_tokens: int) -> list[Part]:
        """Nodes of a model compiled once more with counters, which the measured one is without."""
        counted = OpenvinoLanguage(
            self._precision,
            self._folder,
            self._compile_counted(),
            self._compile_whole,
            self._compile_counted,
            load_seconds=0.0,
        )
        for _ in range(PROFILED_CALLS):
            counted.generate(prompt, new_tokens)
        return [
            Part(name=f"{node.node_type} {node.exec_type}", seconds=node.real_time.total_seconds())
            for node in counted._request.get_profiling_info()
            if node.real_time.total_seconds() > 0
        ]

    def stored(self) -> Stored:
        """From the file's constants, and from the kernels that the plugin chose for its last call."""
        model = openvino_core.core().read_model(self._folder / MODEL)
        constants = [(size_of(node), bits_of(node)) for node in constants_of(model)]
        low = sum(size for size, bits in constants if bits <= self._precision.low_bits)
        products = list(_products(self._compiled))
        formats = {name: sum(size for kind, size in products if kind == name) for name, _ in products}
        return Stored(
            weight_bytes=(self._folder / MODEL).with_suffix(".bin").stat().st_size,
            serialized_bytes=sum(file.stat().st_size for file in self._folder.glob("openvino_model.*")),
            low_parameters=low,
            low_products=sum(
                size for name, size in formats.items() if FORMATS.get(name, (name, 64))[1] <= self._precision.low_bits
            ),
            compute=FORMATS.get(main := max(formats, key=lambda name: formats[name]), (main, 64))[0],
            notes=("the file holds weights that are not compressed in float16",),
        )

    def flags(self) -> dict[str, Scalar]:
        return {
            "runtime_threads": self._compiled.get_property("INFERENCE_NUM_THREADS"),
            "runtime_streams": self._compiled.get_property("NUM_STREAMS"),
            "runtime_version": openvino.__version__,
            "runtime_inference_precision": self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name(),
            "runtime_key_value_precision": self._compiled.get_property("KV_CACHE_PRECISION").get_type_name(),
        }

    def close(self) -> None:
        del self._request, self._compiled

    def greedy(self, prompt: Sequence[int], most: int, clock: StepClock) -> Iterator[int]:
        self._request.reset_state()
        self._past = 0
        ids = np.array([prompt], dtype=np.int64)
        for _ in range(most):
            begin = time.perf_counter()
            logits = self._step(ids)
            clock.inside(time.perf_counter() - begin)
            token = int(logits[0, -1].argmax())
            clock.token()
            ids = np.array([[token]], dtype=np.int64)
            yield token

    def _step(self, ids: npt.NDArray[np.int64]) -> Logits:
        """Logits (1, positions, vocabulary) of ``ids`` after what the request has seen; the next call overwrites them.

        Positions are all tokens once the whole model was asked for, and before that the last one.
        """
        tokens = ids.shape[1]
        seen = self._past + tokens
        self._request.infer(
            {
                "input_ids": ids,
                "attention_mask": np.ones((1, seen), dtype=np.int64),
                "position_ids": np.arange(self._past, seen, dtype=np.int64)[None],
                "beam_idx": np.zeros(1, dtype=np.int32),
            },
            share_inputs=True,
        )
        self._past = seen
        logits: Logits = self._request.get_output_tensor(0).data
        return logits


def _keep_the_last_position(model: openvino.Model) -> None:
    """Have ``model`` compute logits of the last position alone, as GenAI's pipeline does.

    The product with the output head is a fifth of the work on a prompt.

    Raises:
        RuntimeError: logits are no product.
    """
    product = model.output("logits").get_node().input_value(0).get_node()
    if product.get_type_name() != "MatMul":
        raise RuntimeError(f"logits are the result of {product.get_type_name()}, not of a product")
    last = opset.gather(product.input_value(0), np.array([-1], dtype=np.int64), np.int64(1))
    product.input(0).replace_source_output(last.output(0))
    model.validate_nodes_and_infer_types()


def _base(order: LanguageOrder) -> Path:
    """The model in float16, as GenAI writes what it reads from a GGUF file."""
    folder = order.files / BASE
    shared = LanguageOrder(**{**vars(order), "fresh": False})  # the other precisions begin with the same file

    def convert(partial: Path) -> None:
        import openvino_genai

        file, conversion = written(shared, "f16")
        begin = time.perf_counter()
        shutil.copy(file, partial / GGUF)  # GenAI writes its files beside the one that it reads
        openvino_genai.LLMPipeline(str(partial / GGUF), DEVICE, enable_save_ov_model=True)
        if not (partial / MODEL).is_file():
            raise Unsupported("OpenVINO GenAI did not write the model that it read from GGUF, and gives no reason")
        (partial / GGUF).unlink()
        steps = {**conversion.steps, "read GGUF": time.perf_counter() - begin}
        Conversion(steps=steps).write(partial)

    converted_into(folder, fresh=order.fresh and order.precision.name in ("fp32", "bf16"), convert=convert)
    shutil.rmtree(order.files / "gguf-f16", ignore_errors=True)
    return folder


def _compressed(order: LanguageOrder, base: Path) -> Path:
    """The model of ``base`` with its weights in 8 or 4 bits, by NNCF without data."""
    folder = order.files / f"openvino-{order.precision.name}"

    def convert(partial: Path) -> None:
        import logging

        import nncf

        nncf.set_log_level(logging.ERROR)
        begin = time.perf_counter()
        model = openvino_core.core().read_model(base / MODEL)
        if order.precision.weight_bits == 8:
            model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_ASYM)
        else:
            model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT4_ASYM, group_size=INT4_GROUP)
        openvino.save_model(model, partial / MODEL, compress_to_fp16=False)
        steps = {**Conversion.read(base).steps, "compress weights": time.perf_counter() - begin}
        Conversion(steps=steps).write(partial)

    converted_into(folder, fresh=order.fresh, convert=convert)
    return folder


def _products(compiled: openvino.CompiledModel) -> Iterator[tuple[str, int]]:
    """Number format of each product with weights that the plugin ran, and how many weights it has."""
    for node in compiled.get_runtime_model().get_ordered_ops():
        facts = node.get_rt_info()
        if facts["layerType"].astype(str) == PRODUCT:
            kernel = facts["primitiveType"].astype(str)
            yield kernel.rpartition("_")[2], int(np.prod(list(node.input(1).get_shape())))
