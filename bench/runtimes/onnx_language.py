"""Language models in ONNX Runtime, by its GenAI package: built from the checkpoint, run token by token."""

from __future__ import annotations

import contextlib
import io
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.precisions import Precision
from bench.core.records import Scalar
from bench.measure.reasons import Part
from bench.runtimes.language_route import (
    Conversion,
    LanguageOrder,
    Logits,
    StepByStep,
    StepClock,
    Stored,
)
from bench.runtimes.quiet import keep_quiet
from bench.runtimes.route import converted_into, faults_named

keep_quiet()

import onnxruntime_genai  # noqa: E402  (telemetry is switched off before)

TITLE = "ONNX Runtime GenAI"
MODEL = "model.onnx"
BUILT = {"fp32": "fp32", "int4_weights": "int4"}
"""Precision -> the builder's name of it. Its int4 quantises in blocks of 32 and computes in int8 (accuracy level 4)."""
PACKED = "MatMulNBits"


def prepare(order: LanguageOrder) -> OnnxLanguage:
    """Build the model of ``order`` as an ONNX graph and load it.

    Raises:
        Unsupported: the builder does not know the network, or the runtime does not take it.
    """
    folder = order.files / f"onnx-{order.precision.name}"
    with faults_named(TITLE):
        converted_into(folder, fresh=order.fresh, convert=lambda partial: _build(order, partial))
        begin = time.perf_counter()
        config = onnxruntime_genai.Config(str(folder))
        session = {"intra_op_num_threads": order.threads, "inter_op_num_threads": 1}
        config.overlay(json.dumps({"model": {"decoder": {"session_options": session}}}))
        model = onnxruntime_genai.Model(config)
        seconds = time.perf_counter() - begin
    return OnnxLanguage(order, folder, model, load_seconds=seconds)


class OnnxLanguage(StepByStep):
    """A loaded graph; each sequence has a generator of its own, with keys and values of its own."""

    why_no_logits: str | None = None
    most_scored: int | None = None

    def __init__(self, order: LanguageOrder, folder: Path, model: Any, *, load_seconds: float) -> None:
        self.convert_seconds: float | None = Conversion.read(folder).seconds
        self.load_seconds = load_seconds
        self._precision: Precision = order.precision
        self._threads = order.threads
        self._room = order.room
        self._folder = folder
        self._model = model

    def logits(self, ids: Sequence[int]) -> Logits:
        generator = self._generator(len(ids) + 1)
        generator.append_tokens(np.array([ids], dtype=np.int32))
        found: Logits = np.array(generator.get_output("logits"), dtype=np.float32)[0]
        return found

    def nats(self, ids: Sequence[int], scored: int) -> list[float]:
        raise NotImplementedError(f"{TITLE} gives logits")

    def parts(self, prompt: Sequence[int], new_tokens: int) -> list[Part]:
        return []

    def stored(self) -> Stored:
        """From the graph's packed products, which name the width of both operands."""
        import onnx

        graph = onnx.load(str(self._folder / MODEL), load_external_data=False).graph
        products = [_product(node) for node in graph.node if node.op_type == PACKED]
        weights = self._folder / f"{MODEL}.data"
        return Stored(
            weight_bytes=weights.stat().st_size,
            serialized_bytes=weights.stat().st_size + (self._folder / MODEL).stat().st_size,
            low_parameters=sum(count for count, _ in products),
            low_products=sum(count for count, bits in products if bits <= self._precision.low_bits),
            compute="int8" if products and all(bits == 8 for _, bits in products) else "float32",
        )

    def flags(self) -> dict[str, Scalar]:
        return {"runtime_threads": self._threads, "runtime_version": onnxruntime_genai.__version__}

    def close(self) -> None:
        del self._model

    def greedy(self, prompt: Sequence[int], most: int, clock: StepClock) -> Iterator[int]:
        generator = self._generator(len(prompt) + most)
        generator.append_tokens(np.array([prompt], dtype=np.int32))
        for _ in range(most):
            begin = time.perf_counter()
            generator.generate_next_token()
            clock.inside(time.perf_counter() - begin)
            token = int(generator.get_next_tokens()[0])
            clock.token()
            yield token

    def _generator(self, length: int) -> Any:
        parameters = onnxruntime_genai.GeneratorParams(self._model)
        parameters.set_search_options(do_sample=False, min_length=length, max_length=length)
        return onnxruntime_genai.Generator(self._model, parameters)


def _build(order: LanguageOrder, folder: Path) -> None:
    """Have the package's builder write the graph. It is quick to talk, and would read other tokens from the home."""
    from onnxruntime_genai.models import builder

    begin = time.perf_counter()
    scratch = folder / "scratch"
    fixed = ("", str(order.checkpoint), str(folder), BUILT[order.precision.name], "cpu", str(scratch))
    with contextlib.redirect_stdout(io.StringIO()):
        builder.create_model(*fixed, **builder.parse_extra_options(*fixed, ["hf_token=false"]))
    Conversion(steps={"build ONNX": time.perf_counter() - begin}).write(folder)


def _product(node: Any) -> tuple[int, int]:
    """Weights of a packed product, and bits of its wider operand: int8 activations from accuracy level 4 on."""
    facts = {attribute.name: attribute.i for attribute in node.attribute}
    return int(facts["K"] * facts["N"]), 8 if facts.get("accuracy_level") == 4 else 32
