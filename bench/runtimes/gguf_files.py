"""GGUF files written anew in another number format, by llama.cpp's own Python package."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, LlamaFileType

from bench.core.errors import Unsupported
from bench.measure.clock import no_collection
from bench.runtimes.language_route import Conversion, LanguageOrder
from bench.runtimes.route import converted_into

MODEL = "model.gguf"
KINDS = {"f16": "F16", "bf16": "BF16", "q8_0": "Q8_0", "q4_0": "Q4_0"}
"""Names of precisions -> the package's names of number formats."""
BITS = {"F32": 32, "F16": 16, "BF16": 16, "Q8_0": 8, "Q4_0": 4, "Q4_1": 4, "Q5_0": 5, "Q5_1": 5, "Q6_K": 6, "Q4_K": 4}
"""Bits of a weight, its share of the scales apart."""
EMBEDDING = "token_embd.weight"
"""The output head as well, in models that tie both: llama.cpp keeps it in 8 bits where the rest has 4."""


@dataclass(frozen=True, kw_only=True)
class Held:
    """The tensors of a GGUF file."""

    weight_bytes: int
    parameters: dict[str, int]
    """Number format -> weights held in it."""
    in_products: dict[str, int]
    """Number format -> weights of matrices held in it."""

    def parameters_in(self, bits: int) -> int:
        """Weights held in ``bits`` bits or fewer."""
        return sum(count for name, count in self.parameters.items() if BITS.get(name, 32) <= bits)


class PlainReader(GGUFReader):
    """The package's reader on a plain view of its mapped file.

    It cuts the vocabulary into a million slices, and each slice of a ``numpy.memmap`` takes twice as long.
    """

    @property
    def data(self) -> Any:
        return self._data

    @data.setter
    def data(self, mapped: Any) -> None:
        self._data = np.asarray(mapped)


def written(order: LanguageOrder, kind: str) -> tuple[Path, Conversion]:
    """The model of ``order`` as a GGUF file of ``kind``, a key of ``KINDS``, and the seconds that writing it took.

    Raises:
        Unsupported: the model has no GGUF file to begin with.
    """
    source = order.gguf
    if source is None:
        raise Unsupported(
            f"{order.name} has no GGUF file: the suite writes others from a published one, whose tokenizer and names "
            "of weights are llama.cpp's own"
        )
    folder = order.files / f"gguf-{kind}"

    def convert(partial: Path) -> None:
        begin = time.perf_counter()
        rewrite(source, partial / MODEL, kind, order.layers)
        Conversion(steps={f"write GGUF in {kind}": time.perf_counter() - begin}).write(partial)

    converted_into(folder, fresh=order.fresh, convert=convert)
    return folder / MODEL, Conversion.read(folder)


def rewrite(source: Path, target: Path, kind: str, layers: int | None = None) -> None:
    """Write ``source`` as ``target`` with its matrices in the number format of ``kind``; vectors stay as they are.

    Args:
        kind: key of ``KINDS``, or ``as_published`` for the number formats of ``source``.
        layers: keep only the first so many.
    """
    with no_collection():  # the reader makes a million small arrays
        _rewrite(source, target, kind, layers)


def _rewrite(source: Path, target: Path, kind: str, layers: int | None) -> None:
    reader = PlainReader(source)
    architecture = str(reader.fields["general.architecture"].contents())
    with closing(GGUFWriter(target, architecture)) as writer:  # also where the disk is full
        _copy(reader, writer, architecture, kind, layers)


def _copy(reader: GGUFReader, writer: Any, architecture: str, kind: str, layers: int | None) -> None:
    for name, entry in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        value: Any = entry.contents()
        if layers is not None and name == f"{architecture}.block_count":
            value = layers
        if name == "general.file_type" and kind in KINDS:
            value = int(LlamaFileType[f"MOSTLY_{KINDS[kind]}"])
        nested = entry.types[-1] if entry.types[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(name, value, entry.types[0], nested)
    for tensor in reader.tensors:
        if layers is None or not tensor.name.startswith("blk.") or int(tensor.name.split(".")[1]) < layers:
            _add(writer, tensor, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()


def held_in(file: Path) -> Held:
    """Sizes and number formats of the tensors in ``file``."""
    size = 0
    parameters: Counter[str] = Counter()
    in_products: Counter[str] = Counter()
    with no_collection():
        tensors = PlainReader(file).tensors
    for tensor in tensors:
        size += int(tensor.n_bytes)
        parameters[tensor.tensor_type.name] += int(tensor.n_elements)
        if len(tensor.shape) > 1:
            in_products[tensor.tensor_type.name] += int(tensor.n_elements)
    return Held(weight_bytes=size, parameters=dict(parameters), in_products=dict(in_products))


def _add(writer: GGUFWriter, tensor: Any, kind: str) -> None:
    if len(tensor.shape) == 1 or kind not in KINDS:
        raw = None if tensor.tensor_type in (GGMLQuantizationType.F32, GGMLQuantizationType.F16) else tensor.tensor_type
        writer.add_tensor(tensor.name, np.array(tensor.data), raw_dtype=raw)
        return
    wanted = GGMLQuantizationType[KINDS[kind]]
    if kind == "q4_0" and tensor.name == EMBEDDING:
        wanted = GGMLQuantizationType.Q8_0
    full = gguf.dequantize(tensor.data, tensor.tensor_type)
    if wanted is GGMLQuantizationType.F16:
        writer.add_tensor(tensor.name, full.astype(np.float16))
        return
    writer.add_tensor(tensor.name, gguf.quantize(full, wanted), raw_dtype=wanted)
