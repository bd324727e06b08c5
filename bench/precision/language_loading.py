"""Arguments by which transformers loads a language model at a precision, as its users do.

bitsandbytes and torchao are imported here, so that their import is not timed as loading.
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
"""Number of weights that share a scale; small models are not wide enough for 128."""
PACKED_OUTPUTS = 32
"""Number of outputs side by side in bitsandbytes' layout for AVX512-BF16."""


def _nothing(model: Any) -> None:
    """Leave the model as it is."""


@dataclass(frozen=True, kw_only=True)
class Loading:
    """Arguments of ``from_pretrained``, and the last step on the model that it returns."""

    arguments: Mapping[str, Any] = field(default_factory=dict)
    finish: Callable[[Any], None] = _nothing


def loading_of(precision: Precision, device: torch.device) -> Loading:
    """Loading of a language model at ``precision`` for ``device``.

    Raises:
        Unsupported: the precision is not for language models, or this machine or these versions cannot do it.
    """
    if precision.load is None:
        raise Unsupported(f"{precision.name} is for image classifiers only")
    module, _, function = precision.load.partition(":")
    chosen: Callable[..., Loading] = getattr(importlib.import_module(f"bench.precision.{module}"), function)
    return chosen(device, **precision.load_settings)


def plain(device: torch.device, *, dtype: str, tf32: bool = False) -> Loading:
    """Load all weights in one number format."""
    if dtype == "bfloat16":
        need_capability(device, "bfloat16")
    if tf32:
        allow_tf32(device)
    return Loading(arguments={"dtype": getattr(torch, dtype)})


def eight_bits(device: torch.device, *, threshold: float) -> Loading:
    """Load by LLM.int8(); activations of ``threshold`` or more stay in 16 bits, none if it is 0."""
    _import_bitsandbytes()
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=threshold)
    return Loading(arguments={"quantization_config": config, "dtype": sixteen_bits(device)})


def four_bits(device: torch.device, *, quant_type: Literal["nf4", "fp4"], nested: bool, compute: str) -> Loading:
    """Load 4-bit weights, expanded to ``compute`` at each call and multiplied in it."""
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
    """Keep bitsandbytes from repacking, at the first call, weights of shapes on which that fails.

    It repacks on processors with bfloat16 products, for outputs in multiples of 32 and rows of whole blocks. Others are
    expanded at each call, as all are on other processors.
    """
    from bitsandbytes.nn.modules import Linear4bit

    from bench.precision.bitsandbytes_layers import BLOCK

    for layer in model.modules():
        if isinstance(layer, Linear4bit) and (layer.out_features % PACKED_OUTPUTS or layer.in_features % BLOCK):
            layer.support_avx512bf16_for_cpu = False


def torchao(device: torch.device, *, kind: str) -> Loading:
    """Load with a weight-only configuration of torchao, everything else in bfloat16."""
    from transformers import TorchAoConfig

    from bench.precision.torchao_layers import configuration_of

    need_capability(device, "bfloat16")
    try:
        config = TorchAoConfig(configuration_of(kind, device, INT4_GROUP))
    except ImportError as error:
        raise Unsupported(f"torchao cannot do {kind} here: {error}") from error
    return Loading(arguments={"quantization_config": config, "dtype": torch.bfloat16})


def packed(device: torch.device) -> Loading:
    """Load in bfloat16, then pack int8 weights in all linear layers except the output head."""
    from bench.precision.native import pack_linear_layers

    return Loading(
        arguments={"dtype": torch.bfloat16},
        finish=lambda model: pack_linear_layers(model, keep=model.get_output_embeddings()),
    )


def sixteen_bits(device: torch.device) -> torch.dtype:
    """Type of all that is not quantised: bfloat16, as checkpoints are published, or float16 on a GPU without it."""
    old = device.type == "cuda" and torch.cuda.get_device_capability(device) < TF32_CAPABILITY
    return torch.float16 if old else torch.bfloat16


def bitsandbytes_cpu_kernels(bits: int) -> str:
    """Kernels that multiply weights of ``bits`` bits on this CPU. For 4 bits bitsandbytes looks for optional ones."""
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

    # It logs at every call that inputs are rounded to float16, inside each timed sample.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
