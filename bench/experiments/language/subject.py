"""Subject of a language case: the model at its precision, loaded as users load it, and the facts of every row."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig
from transformers.pytorch_utils import Conv1D
from transformers.utils import logging as transformers_logging

import models
from bench.core.errors import InputError, TooLittleMemory, Unsupported
from bench.core.precisions import BASELINE, Precision
from bench.core.records import Case, Cold, Coverage, Figure, Scalar
from bench.core.workspace import Workspace
from bench.experiments.modes import bits_of, precision_of
from bench.measure import machine, memory
from bench.measure.clock import synchronize
from bench.measure.state import Watch
from bench.precision.converted import tensors_as_stored, weights_in
from bench.precision.language_loading import Loading, bitsandbytes_cpu_kernels, loading_of
from bench.precision.weights import WrongConversion, check_weight, expanded
from models.language_files import weight_files

NOTHING_CONVERTED = (BASELINE, "tf32")
RANDOM = "random weights, so that the text of this model has no meaning"


@dataclass(frozen=True, kw_only=True)
class Size:
    """Numbers of parameters of a model before conversion."""

    parameters: int
    in_products: int
    """Parameters of linear layers, output head included; each is multiplied once for every token."""
    in_converted: int
    """Parameters of linear layers except the output head, which every method leaves as it is."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Causal language model of transformers in evaluation mode, on its device."""

    model: Any
    precision: Precision
    device: torch.device
    size: Size
    load_seconds: float

    facts: Mapping[str, Any] = field(default_factory=dict)
    """Arguments that every Measurement of this model has in common."""

    @property
    def config(self) -> Any:
        """Configuration of the language model, also if it is part of a multimodal one."""
        return self.model.config.get_text_config(decoder=True)


def load_model(case: Case, workspace: Workspace) -> Subject:
    """Load the model of ``case`` by ``AutoModelForCausalLM.from_pretrained``, timed.

    Raises:
        TooLittleMemory: it does not fit, by an estimate before loading.
        Unsupported: this machine or these versions cannot load it at the case's precision.
    """
    precision = precision_of(case)
    device = torch.device(case.device)
    loading = loading_of(precision, device)
    folder = folder_of(workspace)
    size = size_of(folder)
    check_memory(case.model, size, precision, loading, device)
    quiet()
    torch.zeros(1, device=device)  # creates the CUDA context, which is no part of loading
    begin = time.perf_counter()
    model = from_pretrained(folder, loading, device)
    seconds = time.perf_counter() - begin
    check_place(model, device)
    check_something_converted(model, precision)
    return Subject(
        model=model,
        precision=precision,
        device=device,
        size=size,
        load_seconds=seconds,
        facts=facts_of(case, model, precision, size),
    )


def from_pretrained(folder: Path, loading: Loading, device: torch.device) -> Any:
    """Model in evaluation mode on ``device``, by the arguments of ``loading``.

    Raises:
        InputError: weights are missing, which transformers would draw at random with only a warning.
    """
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        str(folder),
        **load_arguments(loading, device),
        local_files_only=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    model, found = loaded
    missing = sorted(found["missing_keys"])
    if missing:
        raise InputError(f"{folder} lacks {len(missing)} weights of its model, {missing[0]} first; give all its files")
    loading.finish(model)
    model.eval()
    decode_plainly(model)
    synchronize(device)
    return model


def decode_plainly(model: Any) -> None:
    """Forget how its checkpoint would generate: a row is one greedy sequence with a cache, whatever is configured.

    Beams, penalties, an absent cache and outputs of every layer would make another algorithm of it, under the same
    name. What its tokens mean stays.
    """
    given = model.generation_config
    tokens = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")
    model.generation_config = GenerationConfig(**{name: getattr(given, name, None) for name in tokens})
    for config in {id(config): config for config in (model.config, model.config.get_text_config())}.values():
        config.use_cache, config.return_dict = True, True
        config.output_attentions = config.output_hidden_states = False


def unwatched(watch: Watch) -> dict[str, str]:
    """Reason for missing readings of the device, as a part of ``absent``."""
    return {"device_state": watch.why_absent} if watch.why_absent else {}


def quiet() -> None:
    """Turn off progress bars and advice of transformers, which would be written during timing."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def folder_of(workspace: Workspace) -> Path:
    """Folder that was fetched before any case ran."""
    if workspace.model_folder is None:
        raise RuntimeError("fetch the language model first")
    return workspace.model_folder


def load_arguments(loading: Loading, device: torch.device) -> dict[str, Any]:
    """Arguments of ``from_pretrained``, with the users' ``device_map="auto"`` if that means this device alone."""
    alone = device.type == "cuda" and torch.cuda.device_count() == 1
    return {**loading.arguments, "device_map": "auto" if alone else {"": str(device)}}


def size_of(folder: Path) -> Size:
    """Size of the model in ``folder``, counted on tensors without content."""
    config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    head = model.get_output_embeddings()
    linear = {module: module.weight.numel() for module in model.modules() if isinstance(module, nn.Linear | Conv1D)}
    return Size(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        in_products=sum(linear.values()),
        in_converted=sum(count for module, count in linear.items() if module is not head),
    )


def check_memory(name: str, size: Size, precision: Precision, loading: Loading, device: torch.device) -> None:
    """Refuse a model that cannot fit, before minutes are spent on it.

    Raises:
        TooLittleMemory: the weights alone exceed the free memory.
    """
    free = memory.available_bytes(device)
    dtype = loading.arguments.get("dtype")
    rest = 4 if dtype == torch.float32 else 2
    low = min(precision.weight_bits / 8, rest)
    needed = int(low * size.in_converted + rest * (size.parameters - size.in_converted))
    if free is not None and needed > free:
        raise TooLittleMemory(
            f"{name} at {precision.name} needs {needed / 1e9:.1f} GB for its weights, and {device} has "
            f"{free / 1e9:.1f} GB free; choose fewer bits (--precisions), or a smaller model (--llm)"
        )


def check_weights(model: Any, folder: Path, precision: Precision) -> int:
    """Compare each layer's weight, expanded, with the one of its name in the checkpoint ``folder``.

    Returns:
        How many were compared.

    Raises:
        WrongConversion: one is further off than the format's rounding allows.
    """
    compared = 0
    for file in weight_files(folder):
        with safe_open(file, framework="pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118  (no mapping)
                name, _, kind = key.rpartition(".")
                compared += kind == "weight" and _is_rounded(model, name, tensors.get_tensor(key), precision)
    return compared


def _is_rounded(model: Any, name: str, weight: Tensor, precision: Precision) -> bool:
    """True if the layer ``name`` of ``model`` has ``weight`` rounded; False where it has none of that name and shape.

    Raises:
        WrongConversion: it has another one.
    """
    try:
        layer = model.get_submodule(name)
    except AttributeError:  # names of a checkpoint may lack the model's prefix, or have one of their own
        return False
    stored = expanded(layer)
    if stored is None:
        return False
    # GPT-2 keeps its matrices turned, and bitsandbytes turns them again when it replaces their layers.
    as_they_are = [
        given for given in (weight, weight.mT if weight.ndim == 2 else weight) if given.shape == stored.shape
    ]
    if not as_they_are:
        return False
    stored = stored.detach().float().cpu()
    for given in as_they_are[1:]:
        with suppress(WrongConversion):
            check_weight(name, stored, given.float(), layer, precision)
            return True
    check_weight(name, stored, as_they_are[0].float(), layer, precision)
    return True


def check_place(model: Any, device: torch.device) -> None:
    """Check that the whole model is on ``device``.

    Raises:
        TooLittleMemory: ``device_map="auto"`` put a part of it elsewhere.
    """
    elsewhere = {str(tensor.device) for tensor in model.parameters() if tensor.device.type != device.type}
    if elsewhere:
        raise TooLittleMemory(
            f"the model does not fit on {device}: a part of it is on {', '.join(sorted(elsewhere))}; choose fewer bits "
            "(--precisions), or a smaller model (--llm)"
        )


def check_something_converted(model: Any, precision: Precision) -> None:
    """Refuse a row of few bits that is none: methods of linear layers leave Conv1D (GPT-2) and experts as they are.

    Raises:
        Unsupported: no weight is stored in as few bits as ``precision`` means.
    """
    if precision.name not in NOTHING_CONVERTED and weights_in(model, precision.low_bits) == 0:
        raise Unsupported(
            f"{precision.name} converts linear layers, and this model has none besides its output head, which stays: "
            "nothing is converted"
        )


def facts_of(case: Case, model: Any, precision: Precision, size: Size) -> dict[str, Any]:
    """Arguments common to all Measurements of a model, read before its first step, which may repack weights."""
    spec = models.language_model(case.model)
    low = None if precision.name in NOTHING_CONVERTED else weights_in(model, precision.low_bits)
    absent = {
        "serialized_bytes": "the checkpoint is read, not written; see figure checkpoint_bytes of load",
        "energy_joules_per_item": "see decode",
        "quality": RANDOM if spec.random else "see perplexity",
        **memory.absent_peaks(torch.device(case.device)),
    }
    return {
        "case": case,
        "weight_bytes": memory.bytes_of(tensors_as_stored(model)),
        "coverage": None
        if low is None
        else Coverage(quantized_parameters=low, total_parameters=size.parameters, quantized_flops=None, total_flops=0),
        "flags": {**machine.current_flags(), **_flags(case, model, precision)},
        "figures": {
            "parameters": Figure(value=size.parameters, unit="parameters", exact=True),
            **bits_of(precision),
        },
        "absent": absent,
        "notes": (spec.caveat,) if spec.caveat else (),
    }


class Measurable(Protocol):
    """A loaded model that rows are made of."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """Arguments that every Measurement of this model has in common."""

    @property
    def cold(self) -> Cold:
        """Seconds of loading and converting."""


def measured(route: Measurable, **own: Any) -> dict[str, Any]:
    """Arguments of a Measurement: those common to all rows of the model, joined with this row's ``own``."""
    joined: dict[str, Any] = {**route.facts, "cold": route.cold}
    joined["absent"] = dict(joined["absent"])
    for name, value in own.items():
        joined[name] = {**joined[name], **value} if isinstance(joined.get(name), dict) else value
    for name in ("quality", "energy_joules_per_item"):
        if own.get(name) is not None:
            del joined["absent"][name]
    coverage = joined.get("coverage")
    if coverage is not None and coverage.quantized_flops is not None:
        joined["absent"].pop("coverage", None)
    return joined


def _flags(case: Case, model: Any, precision: Precision) -> dict[str, Scalar]:
    found: dict[str, Scalar] = {
        "library": precision.library,
        "rest": str(model.get_input_embeddings().weight.dtype).removeprefix("torch."),
        "attention": str(model.config._attn_implementation),
    }
    if precision.library == "bitsandbytes" and case.device == "cpu":
        found["bitsandbytes_cpu_kernels"] = bitsandbytes_cpu_kernels(precision.weight_bits)
    return found
