"""Loading of language models, by the arguments of transformers that the notes and users use."""

from __future__ import annotations

import pytest
import torch
from bitsandbytes.nn.modules import Linear4bit
from torch import nn
from transformers import BitsAndBytesConfig

from bench.core.errors import Unsupported
from bench.core.precisions import LANGUAGE_PRECISIONS, PRECISIONS
from bench.precision.language_loading import loading_of

CPU = torch.device("cpu")
HERE = [name for name in LANGUAGE_PRECISIONS if "cpu" in PRECISIONS[name].devices]


@pytest.mark.parametrize("name", HERE)
def test_each_names_the_type_of_what_is_not_quantised(name: str) -> None:
    arguments = loading_of(PRECISIONS[name], CPU).arguments
    assert arguments["dtype"] == (torch.float32 if name == "fp32" else torch.bfloat16)
    assert ("quantization_config" in arguments) == (PRECISIONS[name].library != "torch")


def test_the_notes_own_settings_are_what_the_bare_switches_mean() -> None:
    four = loading_of(PRECISIONS["fp4"], CPU).arguments["quantization_config"]
    assert four.to_dict() == BitsAndBytesConfig(load_in_4bit=True).to_dict()
    eight = loading_of(PRECISIONS["int8_bnb_outliers"], CPU).arguments["quantization_config"]
    assert eight.to_dict() == BitsAndBytesConfig(load_in_8bit=True).to_dict()


@pytest.mark.parametrize(
    ("name", "kind", "nested", "compute"),
    [
        ("nf4", "nf4", False, torch.float32),
        ("nf4_double", "nf4", True, torch.float32),
        ("nf4_double_bf16", "nf4", True, torch.bfloat16),
        ("fp4_bf16", "fp4", False, torch.bfloat16),
    ],
)
def test_four_bits_say_how_they_are_multiplied(name: str, kind: str, nested: bool, compute: torch.dtype) -> None:
    config = loading_of(PRECISIONS[name], CPU).arguments["quantization_config"]
    assert config.bnb_4bit_quant_type == kind
    assert config.bnb_4bit_use_double_quant is nested
    assert config.bnb_4bit_compute_dtype is compute


def test_only_shapes_that_can_be_packed_are_packed() -> None:
    """On processors with AVX512-BF16 bitsandbytes asserts multiples of 32 outputs and whole blocks of 64 inputs."""
    shapes = {"packed": (64, 32), "odd outputs": (64, 33), "odd rows": (96, 32)}
    model = nn.ModuleDict({name: Linear4bit(*shape) for name, shape in shapes.items()})
    for layer in model.values():
        layer.support_avx512bf16_for_cpu = True  # as on such a processor
    loading_of(PRECISIONS["nf4"], torch.device("cpu")).finish(model)
    packed = {name: layer.support_avx512bf16_for_cpu for name, layer in model.items()}
    assert packed == {"packed": True, "odd outputs": False, "odd rows": False}


def test_what_is_for_image_classifiers_is_refused() -> None:
    with pytest.raises(Unsupported, match="int8_static is for image classifiers only"):
        loading_of(PRECISIONS["int8_static"], CPU)
