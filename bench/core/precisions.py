"""The precisions that a model is measured at: one literal table. Importing it imports no torch."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from bench.core.records import Scalar

BASELINE, MIXED = "fp32", "int8_mixed"
"""Precision that the others are compared with; and static int8 whose most sensitive layers stay in floating point."""
GRAPH_MODES = ("reduce-overhead", "max-autotune")
"""Modes of ``torch.compile`` that replay CUDA graphs: on CUDA only."""
COMPILED_MODES = ("compiled", *GRAPH_MODES)
"""Modes of torch's networks besides ``eager``. What compiles by default may be compiled in each of them."""
Library = Literal["torch", "bitsandbytes", "torchao", "nncf", "gguf"]
EAGER_STATIC = "static int8 runs in int8 only when it is compiled: eagerly, its graph computes in fp32 between steps"
CUDA_STATIC = (
    "no kept route to int8 convolutions on CUDA is used: PyTorch's convolution takes no int8 tensors there, and its "
    "cuDNN kernel for older quantised tensors is experimental; rounding in floating point would only simulate int8"
)
EAGER_DYNAMIC = "run eagerly on CUDA, torchao formats the operands of each int8 product as text: compile it"


@dataclass(frozen=True, kw_only=True)
class Precision:
    """One way to hold a model's weights and to compute with them."""

    name: str
    library: Library
    summary: str
    weight_bits: int
    """Bits of one weight as stored, without its scales."""
    activation_bits: int
    """Bits of what a weight is multiplied by, as this precision means it; a row's coverage shows what ran."""
    layers: str = "linear layers"
    convert: str | None = None
    """``module:function`` under ``bench.precision`` that converts a classifier; None: for language models only."""
    settings: Mapping[str, Scalar] = field(default_factory=dict)
    """Keyword arguments of that function."""
    load: str | None = None
    """``module:function`` there that says how transformers loads a language model; None: for classifiers only."""
    load_settings: Mapping[str, Scalar] = field(default_factory=dict)
    """Keyword arguments of that function."""
    devices: tuple[str, ...] = ("cpu", "cuda")
    modes: tuple[str, ...] = ("eager", "compiled")
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Reasons by device or mode that is not listed, and by both where a mode lacks on a device: ``cuda eager``."""

    @property
    def low_bits(self) -> int:
        """Numbers of so many bits or fewer count as converted: 16 for half precision, else 8."""
        return 16 if min(self.weight_bits, self.activation_bits) == 16 else 8


PRECISIONS: dict[str, Precision] = {
    "fp32": Precision(
        name="fp32",
        library="torch",
        summary="float32 throughout, TF32 off: the baseline",
        weight_bits=32,
        activation_bits=32,
        layers="all layers",
        convert="native:as_is",
        load="language_loading:plain",
        load_settings={"dtype": "float32"},
    ),
    "tf32": Precision(
        name="tf32",
        library="torch",
        summary="float32 weights, products in TensorFloat-32",
        weight_bits=32,
        activation_bits=19,
        layers="all layers",
        convert="native:as_tf32",
        devices=("cuda",),
        load="language_loading:plain",
        load_settings={"dtype": "float32", "tf32": True},
    ),
    "bf16": Precision(
        name="bf16",
        library="torch",
        summary="weights and activations in bfloat16",
        weight_bits=16,
        activation_bits=16,
        layers="all layers",
        convert="native:as_type",
        settings={"dtype": "bfloat16"},
        load="language_loading:plain",
        load_settings={"dtype": "bfloat16"},
    ),
    "fp16": Precision(
        name="fp16",
        library="torch",
        summary="weights and activations in float16",
        weight_bits=16,
        activation_bits=16,
        layers="all layers",
        convert="native:as_type",
        settings={"dtype": "float16"},
        devices=("cuda",),
        load="language_loading:plain",
        load_settings={"dtype": "float16"},
    ),
    "bf16_autocast": Precision(
        name="bf16_autocast",
        library="torch",
        summary="float32 weights, products in bfloat16 by torch.autocast",
        weight_bits=32,
        activation_bits=16,
        layers="all layers",
        convert="native:autocast",
        settings={"dtype": "bfloat16"},
    ),
    "int8_static": Precision(
        name="int8_static",
        library="torchao",
        summary="int8 weights and activations, scales from training images (PT2E, x86 Inductor quantizer)",
        weight_bits=8,
        activation_bits=8,
        layers="convolutions and linear layers",
        convert="static_int8:convert",
        devices=("cpu",),
        modes=("compiled",),
        reasons={"eager": EAGER_STATIC, "cuda": CUDA_STATIC},
    ),
    "int8_dynamic": Precision(
        name="int8_dynamic",
        library="torchao",
        summary="int8 weights, activations rounded to int8 at each call",
        weight_bits=8,
        activation_bits=8,
        convert="torchao_layers:linear",
        settings={"kind": "int8_dynamic"},
        reasons={"cuda eager": EAGER_DYNAMIC},
    ),
    "fp8_dynamic": Precision(
        name="fp8_dynamic",
        library="torchao",
        summary="float8 (e4m3) weights, activations rounded to it at each call, the rest in bfloat16",
        weight_bits=8,
        activation_bits=8,
        convert="torchao_layers:linear",
        settings={"kind": "fp8_dynamic"},
        load="language_loading:torchao",
        load_settings={"kind": "fp8_dynamic"},
        devices=("cuda",),
    ),
    "fp8_weights": Precision(
        name="fp8_weights",
        library="torchao",
        summary="float8 (e4m3) weights, expanded to bfloat16 at each call",
        weight_bits=8,
        activation_bits=16,
        convert="torchao_layers:linear",
        settings={"kind": "fp8_weight_only"},
        load="language_loading:torchao",
        load_settings={"kind": "fp8_weight_only"},
        devices=("cuda",),
    ),
    "int8_linear": Precision(
        name="int8_linear",
        library="torchao",
        summary="int8 weights, expanded at each call",
        weight_bits=8,
        activation_bits=32,
        convert="torchao_layers:linear",
        settings={"kind": "int8_weight_only"},
    ),
    "int4_linear": Precision(
        name="int4_linear",
        library="torchao",
        summary="int4 weights in groups, bfloat16 activations",
        weight_bits=4,
        activation_bits=16,
        convert="torchao_layers:linear",
        settings={"kind": "int4_weight_only"},
        load="language_loading:torchao",
        load_settings={"kind": "int4_weight_only"},
    ),
    "int8_weights": Precision(
        name="int8_weights",
        library="torchao",
        summary="int8 weights with a scale for each output channel, expanded at each call",
        weight_bits=8,
        activation_bits=32,
        layers="convolutions and linear layers",
        convert="torchao_layers:int8_weights",
    ),
    "int8_weights_bf16": Precision(
        name="int8_weights_bf16",
        library="torchao",
        summary="int8 weights with a scale for each output channel, expanded to bfloat16 and multiplied in it",
        weight_bits=8,
        activation_bits=16,
        layers="convolutions and linear layers",
        convert="torchao_layers:int8_weights",
        settings={"dtype": "bfloat16"},
    ),
    "nf4_weights": Precision(
        name="nf4_weights",
        library="bitsandbytes",
        summary="NF4 weights in blocks of 64, expanded at each call",
        weight_bits=4,
        activation_bits=32,
        layers="convolutions and linear layers",
        convert="bitsandbytes_layers:four_bit_weights",
        settings={"quant_type": "nf4"},
    ),
    "nf4_weights_bf16": Precision(
        name="nf4_weights_bf16",
        library="bitsandbytes",
        summary="NF4 weights in blocks of 64, expanded to bfloat16 and multiplied in it",
        weight_bits=4,
        activation_bits=16,
        layers="convolutions and linear layers",
        convert="bitsandbytes_layers:four_bit_weights",
        settings={"quant_type": "nf4", "dtype": "bfloat16"},
    ),
    "fp4_weights": Precision(
        name="fp4_weights",
        library="bitsandbytes",
        summary="FP4 weights in blocks of 64, expanded at each call",
        weight_bits=4,
        activation_bits=32,
        layers="convolutions and linear layers",
        convert="bitsandbytes_layers:four_bit_weights",
        settings={"quant_type": "fp4"},
    ),
    "int8_bnb": Precision(
        name="int8_bnb",
        library="bitsandbytes",
        summary="LLM.int8() without outliers (threshold 0)",
        weight_bits=8,
        activation_bits=8,
        convert="bitsandbytes_layers:linear_eight_bits",
        settings={"threshold": 0.0},
        load="language_loading:eight_bits",
        load_settings={"threshold": 0.0},
    ),
    "int8_bnb_outliers": Precision(
        name="int8_bnb_outliers",
        library="bitsandbytes",
        summary="LLM.int8() with activations of 6 and more kept in 16 bits",
        weight_bits=8,
        activation_bits=8,
        convert="bitsandbytes_layers:linear_eight_bits",
        settings={"threshold": 6.0},
        load="language_loading:eight_bits",
        load_settings={"threshold": 6.0},
    ),
    "nf4": Precision(
        name="nf4",
        library="bitsandbytes",
        summary="NF4 weights in blocks of 64",
        weight_bits=4,
        activation_bits=32,
        convert="bitsandbytes_layers:linear_four_bits",
        settings={"quant_type": "nf4", "nested": False},
        load="language_loading:four_bits",
        load_settings={"quant_type": "nf4", "nested": False, "compute": "float32"},
    ),
    "nf4_double": Precision(
        name="nf4_double",
        library="bitsandbytes",
        summary="NF4 weights whose scales are quantised too",
        weight_bits=4,
        activation_bits=32,
        convert="bitsandbytes_layers:linear_four_bits",
        settings={"quant_type": "nf4", "nested": True},
        load="language_loading:four_bits",
        load_settings={"quant_type": "nf4", "nested": True, "compute": "float32"},
    ),
    "fp4": Precision(
        name="fp4",
        library="bitsandbytes",
        summary="FP4 weights in blocks of 64",
        weight_bits=4,
        activation_bits=32,
        convert="bitsandbytes_layers:linear_four_bits",
        settings={"quant_type": "fp4", "nested": False},
        load="language_loading:four_bits",
        load_settings={"quant_type": "fp4", "nested": False, "compute": "float32"},
    ),
    "int8_linear_bf16": Precision(
        name="int8_linear_bf16",
        library="torchao",
        summary="int8 weights, expanded at each call, bfloat16 activations",
        weight_bits=8,
        activation_bits=16,
        load="language_loading:torchao",
        load_settings={"kind": "int8_weight_only"},
    ),
    "int8_packed": Precision(
        name="int8_packed",
        library="torch",
        summary="int8 weights multiplied with bfloat16 activations by torch's kernel for that",
        weight_bits=8,
        activation_bits=16,
        load="language_loading:packed",
    ),
    "nf4_bf16": Precision(
        name="nf4_bf16",
        library="bitsandbytes",
        summary="NF4 weights in blocks of 64, expanded to bfloat16 and multiplied in it",
        weight_bits=4,
        activation_bits=16,
        load="language_loading:four_bits",
        load_settings={"quant_type": "nf4", "nested": False, "compute": "bfloat16"},
    ),
    "nf4_double_bf16": Precision(
        name="nf4_double_bf16",
        library="bitsandbytes",
        summary="NF4 weights whose scales are quantised too, expanded to bfloat16 and multiplied in it",
        weight_bits=4,
        activation_bits=16,
        load="language_loading:four_bits",
        load_settings={"quant_type": "nf4", "nested": True, "compute": "bfloat16"},
    ),
    "fp4_bf16": Precision(
        name="fp4_bf16",
        library="bitsandbytes",
        summary="FP4 weights in blocks of 64, expanded to bfloat16 and multiplied in it",
        weight_bits=4,
        activation_bits=16,
        load="language_loading:four_bits",
        load_settings={"quant_type": "fp4", "nested": False, "compute": "bfloat16"},
    ),
    "int4_weights": Precision(
        name="int4_weights",
        library="nncf",
        summary="int4 weights in groups, embedding and output head in 8 bits or in 4, by the runtime's own tool",
        weight_bits=4,
        activation_bits=16,
        devices=("cpu",),
        modes=(),
    ),
    "gguf": Precision(
        name="gguf",
        library="gguf",
        summary="the GGUF file as it was published: 4 bits in blocks of 32 in the files known here",
        weight_bits=4,
        activation_bits=8,
        layers="all layers",
        devices=("cpu",),
        modes=(),
    ),
    "q8_0": Precision(
        name="q8_0",
        library="gguf",
        summary="8-bit weights in blocks of 32 with a scale each",
        weight_bits=8,
        activation_bits=8,
        layers="all layers",
        devices=("cpu",),
        modes=(),
    ),
    "q4_0": Precision(
        name="q4_0",
        library="gguf",
        summary="4-bit weights in blocks of 32 with a scale each, embedding and output head in 8 bits",
        weight_bits=4,
        activation_bits=8,
        layers="all layers",
        devices=("cpu",),
        modes=(),
    ),
}
"""Every precision by its name. Linear-only ones leave convolutions as they are: coverage shows how much that is.
Of language models, ``fp4`` and ``int8_bnb_outliers`` are what ``load_in_4bit`` and ``load_in_8bit`` alone mean."""
PRECISIONS[MIXED] = dataclasses.replace(
    PRECISIONS["int8_static"],
    name=MIXED,
    summary="int8_static, its most sensitive layers in floating point",
)
CLASSIFIER_PRECISIONS = tuple(name for name, precision in PRECISIONS.items() if precision.convert and name != MIXED)
LANGUAGE_PRECISIONS = tuple(name for name, precision in PRECISIONS.items() if precision.load)


def why_not(precision: Precision, device: str, mode: str) -> str | None:
    """Reason why ``precision`` cannot run on ``device`` (``cpu``, ``cuda``, ``cuda:N``) in ``mode``, or None if it may.

    What only torch can tell (a GPU too old, an operation that is not there) the conversion itself says, by raising
    ``Unsupported``.
    """
    kind = device.partition(":")[0]
    if kind not in precision.devices:
        return precision.reasons.get(kind, f"{precision.name} runs on {' and '.join(precision.devices)} only")
    if mode in GRAPH_MODES and kind != "cuda":
        return f"mode {mode} replays CUDA graphs: it runs on cuda only"
    if f"{kind} {mode}" in precision.reasons:
        return precision.reasons[f"{kind} {mode}"]
    if mode not in precision.modes and not (mode in GRAPH_MODES and "compiled" in precision.modes):
        return precision.reasons.get(mode, f"{precision.name} runs {' and '.join(precision.modes)} only")
    if importlib.util.find_spec(precision.library) is None:
        return f"{precision.name} needs the package {precision.library}, which is not installed: pip install it"
    return None
