"""How transformers is told to load a language model at a precision: by arguments, as its users do.

Imported by the worker that loads. bitsandbytes and torchao are imported here, which is no part of loading.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from bench.core.errors import Unsupported
from bench.core.precisions import Precision
from bench.measure.ceilings import TF32_CAPABILITY
from bench.precision.native import allow_tf32, need_capability

INT4_GROUP = 64
"""Weights that share a scale: small models are not wide enough for 128."""
PACKED_OUTPUTS = 32
"""Side by side in the layout of bitsandbytes for AVX512-BF16."""


def _nothing(model: Any) -> None:
    """The model is as it has to be."""


@dataclass(frozen=True, kw_only=True)
class Loading:
    """Arguments of ``from_pretrained``, and what is left to do to the model that it gives."""

    arguments: Mapping[str, Any] = field(default_factory=dict)
    finish: Callable[[Any], None] = _nothing


def loading_of(precision: Precision, device: torch.device) -> Loading:
    """How a language model is loaded at ``precision`` for ``device``.

    Raises:
        Unsupported: the precision is not for language models, or this machine or these versions cannot do it.
    """
    if precision.load is None:
        raise Unsupported(f"{precision.name} is for image classifiers only")
    module, _, function = precision.load.partition(":")
    chosen: Callable[..., Loading] = getattr(importlib.import_module(f"bench.precision.{module}"), function)
    return chosen(device, **precision.load_settings)


def plain(device: torch.device, *, dtype: str, tf32: bool = False) -> Loading:
    """All weights in one number format."""
    if dtype == "bfloat16":
        need_capability(device, "bfloat16")
    if tf32:
        allow_tf32(device)
    return Loading(arguments={"dtype": getattr(torch, dtype)})


def eight_bits(device: torch.device, *, threshold: float) -> Loading:
    """LLM.int8(); activations of ``threshold`` and more stay in 16 bits, none with 0."""
    _import_bitsandbytes()
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=threshold)
    return Loading(arguments={"quantization_config": config, "dtype": sixteen_bits(device)})


def four_bits(device: torch.device, *, quant_type: Literal["nf4", "fp4"], nested: bool, compute: str) -> Loading:
    """4-bit weights, expanded to ``compute`` at each call and multiplied in it."""
    _import_bitsandbytes()
    from transformers import BitsAndBytesConfig

    if compute == "bfloat16":
        need_capability(device, "bfloat16")
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=quant_type,
        bnb_4bit_use_double_quant=nested,
        bnb_4bit_compute_dtype=getattr(torch, compute),
    )
    return Loading(
        arguments={"quantization_config": config, "dtype": sixteen_bits(device)},
        finish=expand_odd_shapes if device.type == "cpu" else _nothing,
    )


def expand_odd_shapes(model: Any) -> None:
    """Keep bitsandbytes from repacking, at the first call, weights of shapes that it cannot repack and would fail on.

    It does so where the processor multiplies bfloat16: for outputs in multiples of 32 and rows of whole blocks.
    Others are expanded at each call, as all are on other processors.
    """
    from bitsandbytes.nn.modules import Linear4bit

    from bench.precision.bitsandbytes_layers import BLOCK

    for layer in model.modules():
        if isinstance(layer, Linear4bit) and (layer.out_features % PACKED_OUTPUTS or layer.in_features % BLOCK):
            layer.support_avx512bf16_for_cpu = False


def torchao(device: torch.device, *, kind: str) -> Loading:
    """torchao's weight-only configurations, everything else in bfloat16."""
    from transformers import TorchAoConfig

    from bench.precision.torchao_layers import configuration_of

    need_capability(device, "bfloat16")
    try:
        config = TorchAoConfig(configuration_of(kind, device, INT4_GROUP))
    except ImportError as error:
        raise Unsupported(f"torchao cannot do {kind} here: {error}") from error
    return Loading(arguments={"quantization_config": config, "dtype": torch.bfloat16})


def packed(device: torch.device) -> Loading:
    """bfloat16, then int8 weights in all linear layers but the output head."""
    from bench.precision.native import pack_linear_layers

    return Loading(
        arguments={"dtype": torch.bfloat16},
        finish=lambda model: pack_linear_layers(model, keep=model.get_output_embeddings()),
    )


def sixteen_bits(device: torch.device) -> torch.dtype:
    """What is not quantised is kept in: bfloat16, as checkpoints are published, or float16 where a GPU has none."""
    old = device.type == "cuda" and torch.cuda.get_device_capability(device) < TF32_CAPABILITY
    return torch.float16 if old else torch.bfloat16


def bitsandbytes_cpu_kernels(bits: int) -> str:
    """What multiplies weights of ``bits`` bits on this CPU. For 4 bits bitsandbytes looks for optional kernels."""
    from bitsandbytes.backends.cpu import ops
    from bitsandbytes.functional import has_avx512bf16

    if bits == 8:
        avx512 = torch.backends.cpu.get_cpu_capability() == "AVX512"
        return "torch._int_mm" if avx512 else "none: the processor has no AVX-512, so products are in floating point"
    if not has_avx512bf16():
        return "none: the processor has no AVX512-BF16, so weights are expanded and then multiplied"
    if getattr(ops, "gemm_4bit_forward_kernel", None) is not None:
        return "the optional ones of the kernels package"
    return "its own; the optional ones of the kernels package were not found"


def _import_bitsandbytes() -> None:
    import bitsandbytes  # noqa: F401

    # It says at every call that inputs are rounded to float16: inside each timed sample.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
